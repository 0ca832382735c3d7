"""Pictures that say which frame they are, however small and however coarsely encoded."""

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

# Grey levels so far apart that no encoder takes one for another.
_STEP = 22


def _numbered(frames: int, size: tuple[int, int] = (64, 48)) -> list[NDArray[np.uint8]]:
    """Pictures whose left half is the tens of their number and whose right half the units."""
    width, height = size
    pictures = []
    for number in range(frames):
        picture = np.empty((height, width, 3), np.uint8)
        picture[:, : width // 2] = 20 + _STEP * (number // 10)
        picture[:, width // 2 :] = 20 + _STEP * (number % 10)
        pictures.append(picture)
    return pictures


def _number_of(picture: NDArray[np.uint8]) -> int:
    """The number of a picture; an error where it shows none clearly."""
    width = picture.shape[1]
    halves = picture[:, : width * 3 // 8], picture[:, width * 5 // 8 :]
    digits = [(float(half.mean()) - 20) / _STEP for half in halves]
    assert all(abs(digit - round(digit)) < 0.3 for digit in digits), digits
    return 10 * round(digits[0]) + round(digits[1])


@pytest.fixture
def numbered() -> Callable[..., list[NDArray[np.uint8]]]:
    """Up to 110 pictures that show their number: ``numbered(frames, size)``."""
    return _numbered


@pytest.fixture
def number_of() -> Callable[[NDArray[np.uint8]], int]:
    """Reads the number that a picture shows."""
    return _number_of
