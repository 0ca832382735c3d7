"""How well scores put videos in order."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

RESAMPLES = 1000
LEVEL = 0.95
_LEAST_VIDEOS = 3


@dataclass(frozen=True)
class Order:
    """How many pairs are in the right order.

    Args:
        correct: pairs whose better video has the higher score.
        ties: pairs of equal scores, which are not correct.
        pairs: all of them.
    """

    correct: int
    ties: int
    pairs: int

    @property
    def accuracy(self) -> float:
        """Share of correct pairs; nan of none."""
        return self.correct / self.pairs if self.pairs else math.nan


def pairwise_accuracy(scores: NDArray[np.float64], pairs: NDArray[np.int64]) -> Order:
    """Count correctly ordered pairs (section 5.2 of Doughty et al., CVPR 2019).

    Args:
        scores: (V,), higher is better.
        pairs: (P, 2) positions of the better and the worse video.

    Raises:
        ValueError: a score that is not finite, or arrays of other shapes.
    """
    _check(scores[None], pairs)
    better, worse = scores[pairs[:, 0]], scores[pairs[:, 1]]
    return Order(int((better > worse).sum()), int((better == worse).sum()), len(pairs))


def spearman(scores: NDArray[np.float64], truth: NDArray[np.float64]) -> float:
    """Rank correlation; equal values share the mean of their ranks.

    Args:
        scores: (V,).
        truth: (V,), nan where unknown; those videos are left out.

    Returns:
        From -1 to 1; nan where one side is constant or fewer than two videos are known.

    Raises:
        ValueError: shapes differ, or a score is not finite.
    """
    if scores.shape != truth.shape or not np.isfinite(scores).all():
        raise ValueError(f"scores {scores.shape} must be finite and as many as truth {truth.shape}")
    known = np.isfinite(truth)
    scores, truth = scores[known], truth[known]
    if len(scores) < 2 or np.ptp(scores) == 0 or np.ptp(truth) == 0:
        return math.nan
    return float(stats.spearmanr(scores, truth).statistic)


def bootstrap_interval(
    scores: NDArray[np.float64],
    pairs: NDArray[np.int64],
    seed: int = 0,
    resamples: int = RESAMPLES,
    level: float = LEVEL,
) -> tuple[float, float]:
    """Percentile interval of the accuracy, mean over seeds, when test videos are drawn anew.

    Videos are drawn, not pairs: pairs that share a video are not independent, and an interval over
    pairs would be too narrow. A pair counts as often as both its videos were drawn together. A draw
    that holds no pair is left out. Of two test videos every draw that holds a pair is the same one,
    which says nothing about others.

    Args:
        scores: (S, V) of every seed.
        pairs: (P, 2) positions of the better and the worse video.
        seed: of the draws.
        resamples: number of draws.
        level: share of draws inside.

    Returns:
        Both ends; nan of pairs of fewer than three videos.

    Raises:
        ValueError: a score that is not finite, arrays of other shapes, or a level outside (0, 1).
    """
    _check(scores, pairs)
    if not 0 < level < 1:
        raise ValueError(f"level is {level}; it must be between 0 and 1")
    videos, places = np.unique(pairs, return_inverse=True)
    if len(videos) < _LEAST_VIDEOS:
        return math.nan, math.nan
    better, worse = places.reshape(pairs.shape).T
    correct = (scores[:, pairs[:, 0]] > scores[:, pairs[:, 1]]).mean(axis=0)  # (P,)
    rng = np.random.default_rng(seed)
    draws = rng.multinomial(len(videos), np.full(len(videos), 1 / len(videos)), size=resamples)
    found = []
    for drawn in draws:
        weights = drawn[better] * drawn[worse]
        if weights.any():
            found.append(float(weights @ correct / weights.sum()))
    if not found:
        return math.nan, math.nan
    low, high = np.quantile(found, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def _check(scores: NDArray[np.float64], pairs: NDArray[np.int64]) -> None:
    if scores.ndim != 2 or pairs.ndim != 2 or pairs.shape[1] != 2:
        raise ValueError(f"scores {scores.shape[1:]} must be (V,) and pairs {pairs.shape} (P, 2)")
    if not np.isfinite(scores).all():
        raise ValueError("a score is not finite")
