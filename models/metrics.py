"""How well scores put videos in order."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

# A table of three digits prints any larger correlation as 1. Fisher's z of 1 itself is infinite.
LARGEST_CORRELATION = 0.999
# Correlations are sums: 1 may come out as a little more.
_ROUNDING = 1e-9
# Values that differ by less than this share of their size differ by rounding alone.
_SAME = 1e-12


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
    check_scored_pairs(scores[None], pairs)
    better, worse = scores[pairs[:, 0]], scores[pairs[:, 1]]
    return Order(int((better > worse).sum()), int((better == worse).sum()), len(pairs))


def check_scored_pairs(scores: NDArray[np.float64], pairs: NDArray[np.int64]) -> None:
    """Ask that (S, V) scores have an order and that pairs are (P, 2).

    Raises:
        ValueError: a score that is not finite, or arrays of other shapes.
    """
    if scores.ndim != 2 or pairs.ndim != 2 or pairs.shape[1] != 2:
        raise ValueError(f"scores {scores.shape[1:]} must be (V,) and pairs {pairs.shape} (P, 2)")
    if not np.isfinite(scores).all():
        raise ValueError("a score is not finite")


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
    scores, truth = of_known(scores, truth)
    if _has_constant(scores, truth):
        return math.nan
    return float(stats.spearmanr(scores, truth).statistic)


def kendall(scores: NDArray[np.float64], truth: NDArray[np.float64]) -> float:
    """Kendall's tau-b: pairs in the same order less those in opposite order, corrected for ties.

    With n0 pairs, of which n1 are tied on one side and n2 on the other, the difference is divided by
    the root of (n0 - n1)(n0 - n2).

    Args:
        scores: (V,).
        truth: (V,), nan where unknown; those videos are left out.

    Returns:
        From -1 to 1; nan where one side is constant or fewer than two videos are known.

    Raises:
        ValueError: shapes differ, or a score is not finite.
    """
    scores, truth = of_known(scores, truth)
    if _has_constant(scores, truth):
        return math.nan
    return float(stats.kendalltau(scores, truth).statistic)


def pearson(scores: NDArray[np.float64], truth: NDArray[np.float64]) -> float:
    """Linear correlation.

    Args:
        scores: (V,).
        truth: (V,), nan where unknown; those videos are left out.

    Returns:
        From -1 to 1; nan where one side is constant, up to rounding, or fewer than two videos are
        known.

    Raises:
        ValueError: shapes differ, or a score is not finite.
    """
    scores, truth = of_known(scores, truth)
    if _has_constant(scores, truth, _SAME):
        return math.nan
    return float(stats.pearsonr(scores, truth).statistic)


def fisher_z_mean(
    correlations: Sequence[float] | NDArray[np.float64],
    weights: Sequence[float] | NDArray[np.float64] | None = None,
) -> float:
    """Mean correlation over tasks: tanh of the mean of atanh, Fisher's z.

    Section 5.1 of Gao et al., ECCV 2020, has it for the actions of a dataset. Papers do not say what
    becomes of a task whose correlation is exactly 1. Its z is infinite and would hide all other
    tasks, so correlations beyond :data:`LARGEST_CORRELATION` either way count as that.

    Args:
        correlations: (K,) of the tasks; nan where a task has none, which is left out.
        weights: (K,) of the tasks, not negative; None weighs them alike.

    Returns:
        From -:data:`LARGEST_CORRELATION` to it; nan where no task has a correlation and a weight.

    Raises:
        ValueError: a correlation outside [-1, 1], a weight that is negative or not finite, or
            another number of weights.
    """
    values = np.asarray(correlations, dtype=np.float64)
    shares = np.ones_like(values) if weights is None else np.asarray(weights, dtype=np.float64)
    if values.ndim != 1 or values.shape != shares.shape:
        raise ValueError(f"correlations {values.shape} must be (K,) as weights {shares.shape}")
    if not np.isfinite(shares).all() or (shares < 0).any():
        raise ValueError(f"weights are {shares.tolist()}; they must be finite and not negative")
    known = ~np.isnan(values)
    values, shares = values[known], shares[known]
    if (np.abs(values) > 1 + _ROUNDING).any():
        raise ValueError(f"correlations are {values.tolist()}; they must be from -1 to 1")
    if not shares.any():
        return math.nan
    limited = values.clip(-LARGEST_CORRELATION, LARGEST_CORRELATION)
    return float(np.tanh(np.average(np.arctanh(limited), weights=shares)))


def of_known(
    scores: NDArray[np.float64], truth: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Scores and truth of the videos whose truth is known.

    Args:
        scores: (V,).
        truth: (V,), nan where unknown.

    Raises:
        ValueError: shapes differ, or a score is not finite.
    """
    if scores.ndim != 1 or scores.shape != truth.shape or not np.isfinite(scores).all():
        raise ValueError(
            f"scores {scores.shape} must be (V,), finite and as many as truth {truth.shape}"
        )
    known = np.isfinite(truth)
    return scores[known], truth[known]


def _has_constant(
    scores: NDArray[np.float64], truth: NDArray[np.float64], share: float = 0.0
) -> bool:
    """Whether one side has no two values that differ by more than a share of their size."""
    if not len(scores):
        return True
    return any(np.ptp(side) <= share * np.abs(side).max() for side in (scores, truth))
