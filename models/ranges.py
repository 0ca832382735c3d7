"""Ranges of a head's options; what is outside raises ValueError with name, value and range."""

import math
from typing import Any

# Far above every sensible setting, and far below where a step would overflow float32.
LARGEST = 1e9


def require_counts(options: Any, *names: str, least: int = 1) -> None:
    """Numbers of something, of which there are some."""
    for name in names:
        value = getattr(options, name)
        if value < least:
            raise ValueError(f"{name} is {value}; it must be at least {least}")


def require_bounded(options: Any, *names: str, positive: bool = False) -> None:
    """Numbers from 0, or from above 0, to one that float32 can still take steps with."""
    for name in names:
        value = getattr(options, name)
        if not 0 <= value <= LARGEST:  # nor nan
            raise ValueError(f"{name} is {value}; it must be from 0 to {LARGEST:g}")
        if positive and value == 0:
            raise ValueError(f"{name} is 0; it must be positive")


def require_positive(options: Any, *names: str) -> None:
    """Finite numbers above 0."""
    for name in names:
        value = getattr(options, name)
        if not 0 < value < math.inf:
            raise ValueError(f"{name} is {value}; it must be positive and finite")


def require_not_negative(options: Any, *names: str) -> None:
    """Finite numbers from 0."""
    for name in names:
        value = getattr(options, name)
        if not 0 <= value < math.inf:
            raise ValueError(f"{name} is {value}; it must be finite and not negative")
