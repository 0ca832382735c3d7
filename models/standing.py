"""One score a video from the scores of several seeds, and its place among others."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Merged(NamedTuple):
    """Scores of all seeds as one.

    Args:
        scores: (V,) mean over seeds.
        deviations: (V,) standard deviation over seeds; nan of a single one.
    """

    scores: NDArray[np.float64]
    deviations: NDArray[np.float64]


def merge_seeds(
    scores: NDArray[np.float64], reference: NDArray[np.float64], scaled: bool
) -> Merged:
    """The mean over seeds, each on one scale.

    Scores on the scale of the labels are averaged as they are. A ranker's have no unit, and each seed
    its own: they are brought to mean 0 and deviation 1 over reference videos first, so that no seed
    outweighs another.

    Args:
        scores: (S, V) of the videos.
        reference: (S, N) of the videos that trained, by the same seeds.
        scaled: whether scores are on the scale of the labels.

    Raises:
        ValueError: other seeds in one than in the other, or no reference video.
    """
    if len(scores) != len(reference) or not reference.shape[1]:
        raise ValueError(
            f"scores {scores.shape} and reference {reference.shape} need (S, V), (S, N)"
        )
    if not scaled:
        centre = reference.mean(axis=1, keepdims=True)
        spread = reference.std(axis=1, keepdims=True)
        scores = (scores - centre) / np.where(spread > 0, spread, 1.0)
    deviations = scores.std(axis=0, ddof=1) if len(scores) > 1 else np.full(scores.shape[1], np.nan)
    return Merged(scores.mean(axis=0), deviations)


def ranks(scores: NDArray[np.float64], among: NDArray[np.float64]) -> NDArray[np.int64]:
    """(V,) place of each of (V,) scores among (N,) others: 1 where none of these is higher."""
    ordered = np.sort(among)
    return 1 + len(among) - np.searchsorted(ordered, scores, side="right").astype(np.int64)
