"""What a head is: a model that scores videos from their cached features, and says why.

A file of ``heads/`` is a head. It defines ``Options``, a frozen dataclass of its settings, and
``build(options: Options, seed: int, device: str) -> Head``. Its options, with the seed, and what
``save`` wrote make the same head again.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from .data import Targets, VideoFeatures

HEADS = f"{__package__}.heads"
OnEpoch = Callable[[int, int, Mapping[str, float]], None]


def no_report(epoch: int, epochs: int, losses: Mapping[str, float]) -> None:
    """Report nothing."""


@dataclass(frozen=True)
class Explanation:
    """Why a video has its score.

    Args:
        times: (T, 3) start, centre and end of each step in seconds.
        curves: by name, (T,) what the head makes of each step.
        scores: by name, the parts that the score is made of.
    """

    times: NDArray[np.float64]
    curves: Mapping[str, NDArray[np.float64]]
    scores: Mapping[str, float]


class Head(Protocol):
    """A trainable model from cached features to a score."""

    def fit(
        self, videos: Sequence[VideoFeatures], targets: Targets, on_epoch: OnEpoch = no_report
    ) -> list[dict[str, float]]:
        """Train from scratch.

        Args:
            videos: of the training part.
            targets: by position among them.
            on_epoch: told epochs done, epochs in all, and losses.

        Returns:
            Losses epoch by epoch; empty for a head that has none.

        Raises:
            RecipeError: labels that this head needs are missing.
        """

    def score(self, videos: Sequence[VideoFeatures]) -> NDArray[np.float64]:
        """(V,) scores; higher is better."""

    def explain(self, video: VideoFeatures) -> Explanation:
        """What made the score of one video."""

    def save(self, folder: Path) -> None:
        """Write what was learned into an existing folder; no format that can hold code."""

    def load(self, folder: Path) -> None:
        """Read it back into a head built with the same options."""
