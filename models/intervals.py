"""Intervals of a table's numbers: how much they would vary with other test videos.

Percentile bootstrap (Efron and Tibshirani 1993, chapter 13). Videos are drawn, not pairs: pairs that
share a video are not independent, and an interval over pairs would be too narrow. Models stay as they
are, so what training on other videos would change is not in the interval.
"""

import math
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .metrics import check_scored_pairs
from .weighted_metrics import Array, Counts, ScoreMetric, weighted_accuracy

RESAMPLES = 1000
LEVEL = 0.95
_LEAST_UNITS = 3


@dataclass(frozen=True, eq=False)
class FoldPairs:
    """Scores of one fold's test videos and the pairs that they should order.

    Args:
        scores: (S, V) of every seed.
        pairs: (P, 2) positions of the better and the worse video.
        weight: of the fold in the mean over folds, not negative.
        units: (V,) name of what each video is drawn with, see :func:`interval`; None draws the
            videos of this fold on their own.
    """

    scores: Array
    pairs: NDArray[np.int64]
    weight: float = 1.0
    units: Sequence[Hashable] | None = None


@dataclass(frozen=True, eq=False)
class FoldScores:
    """Scores of one fold's test videos and what they should be.

    Args:
        scores: (S, V) of every seed.
        truth: (V,) labels, nan where unknown; those videos are left out.
        weight: of the fold in the mean over folds, not negative.
        units: as of :class:`FoldPairs`.
    """

    scores: Array
    truth: Array
    weight: float = 1.0
    units: Sequence[Hashable] | None = None


@dataclass(frozen=True, eq=False)
class Statistic:
    """Any number of one fold, for test videos that count any number of times.

    Args:
        of: from (R, V), how often each video counts in each of R drawings, to (R,) values; nan where
            a drawing has none.
        videos: V, those that the number is of.
        weight: of the fold in the mean over folds, not negative.
        units: (V,) as of :class:`FoldPairs`.
    """

    of: Callable[[Counts], Array]
    videos: int
    weight: float = 1.0
    units: Sequence[Hashable] | None = None


def accuracy_interval(
    folds: Sequence[FoldPairs], seed: int = 0, resamples: int = RESAMPLES, level: float = LEVEL
) -> tuple[float, float]:
    """Interval of the pairwise accuracy, mean over folds and seeds; arguments as of :func:`interval`.

    A pair counts as often as both its videos were drawn together. Folds without pairs are left out.

    Raises:
        ValueError: as :func:`interval`; a score that is not finite, or arrays of other shapes.
    """
    return interval([_accuracy(fold) for fold in folds if len(fold.pairs)], seed, resamples, level)


def score_interval(
    metric: ScoreMetric,
    folds: Sequence[FoldScores],
    seed: int = 0,
    resamples: int = RESAMPLES,
    level: float = LEVEL,
) -> tuple[float, float]:
    """Interval of a metric of scores, mean over folds and seeds; arguments as of :func:`interval`.

    Args:
        metric: one of :mod:`.weighted_metrics`, such as ``weighted_spearman``.
        folds: of which those without known truth are left out.
        seed: of the drawings.
        resamples: number of drawings.
        level: share of drawings inside.

    Raises:
        ValueError: as :func:`interval`; a score that is not finite, or arrays of other shapes.
    """
    found = [_scored(metric, fold) for fold in folds]
    return interval([one for one in found if one.videos], seed, resamples, level)


def interval(
    folds: Sequence[Statistic], seed: int = 0, resamples: int = RESAMPLES, level: float = LEVEL
) -> tuple[float, float]:
    """Percentile interval of a weighted mean over folds when test videos are drawn anew.

    Without ``units``, videos are drawn with replacement within each fold, as many as it has.

    With them, what is drawn are the units of all such folds together. Named by video, a video that
    several folds test is drawn, or not, in all of them at once; drawn apart it would count as several
    videos, and the interval would be too narrow. Named by subject, whole subjects are drawn, as
    performances of one subject are not independent. A fold then counts as often as its units were
    drawn on average, so that this also draws the folds where each is one subject.

    In a drawing, folds that have no value are left out of the mean; a drawing of none is left out.

    Args:
        folds: the number of each.
        seed: of the drawings.
        resamples: number of drawings.
        level: share of drawings inside.

    Returns:
        Both ends; nan where neither a fold without units nor all the others together have three
        units. Of two videos every drawing that holds a pair is the same one, which says nothing
        about others.

    Raises:
        ValueError: a level outside (0, 1), a weight that is negative or not finite, or another
            number of units than of videos.
    """
    if not 0 < level < 1:
        raise ValueError(f"level is {level}; it must be between 0 and 1")
    _check(folds)
    rng = np.random.default_rng(seed)
    total, weight = np.zeros(resamples), np.zeros(resamples)
    varied = False
    for alike in _drawn_together(folds):
        numbers = _numbers(alike)
        units = 1 + max(int(own.max()) for own in numbers)
        varied |= units >= _LEAST_UNITS
        drawn = rng.multinomial(units, np.full(units, 1 / units), size=resamples)
        for fold, own in zip(alike, numbers, strict=True):
            values, share = fold.of(drawn[:, own]), drawn[:, np.unique(own)].mean(axis=1)
            share = np.where(np.isnan(values), 0.0, fold.weight * share)
            total += share * np.where(share > 0, values, 0.0)
            weight += share
    held = weight > 0
    if not varied or not held.any():
        return math.nan, math.nan
    low, high = np.quantile(total[held] / weight[held], [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def _check(folds: Sequence[Statistic]) -> None:
    for fold in folds:
        if not 0 <= fold.weight < math.inf:
            raise ValueError(f"weight is {fold.weight}; it must be finite and not negative")
        if fold.units is not None and len(fold.units) != fold.videos:
            raise ValueError(f"units are {len(fold.units)}; they must be {fold.videos}, as videos")


def _drawn_together(folds: Sequence[Statistic]) -> Iterator[list[Statistic]]:
    """Each fold on its own but for those with units, which are the last."""
    yield from ([fold] for fold in folds if fold.units is None)
    named = [fold for fold in folds if fold.units is not None]
    if named:
        yield named


def _numbers(folds: Sequence[Statistic]) -> list[NDArray[np.int64]]:
    """For each fold, (V,) numbers of its videos' units, from 0 and without gaps over all folds."""
    known: dict[Hashable, int] = {}
    return [
        np.array(
            [
                known.setdefault(name, len(known))
                for name in (range(fold.videos) if fold.units is None else fold.units)
            ]
        )
        for fold in folds
    ]


def _accuracy(fold: FoldPairs) -> Statistic:
    check_scored_pairs(fold.scores, fold.pairs)
    better, worse = fold.pairs.T
    correct = (fold.scores[:, better] > fold.scores[:, worse]).mean(axis=0)  # (P,)
    videos, places = np.unique(fold.pairs, return_inverse=True)
    pairs = places.reshape(fold.pairs.shape)
    return Statistic(
        lambda counts: weighted_accuracy(correct, pairs, counts),
        len(videos),
        fold.weight,
        _chosen(fold.units, videos),
    )


def _scored(metric: ScoreMetric, fold: FoldScores) -> Statistic:
    if fold.scores.shape[1:] != fold.truth.shape or not np.isfinite(fold.scores).all():
        raise ValueError(
            f"scores {fold.scores.shape} must be (S, V), finite and fit truth {fold.truth.shape}"
        )
    known = np.flatnonzero(np.isfinite(fold.truth))
    scores, truth = fold.scores[:, known], fold.truth[known]
    return Statistic(
        lambda counts: _mean([metric(own, truth, counts) for own in scores]),
        len(known),
        fold.weight,
        _chosen(fold.units, known),
    )


def _chosen(
    units: Sequence[Hashable] | None, videos: NDArray[np.int64]
) -> Sequence[Hashable] | None:
    return None if units is None else [units[place] for place in videos]


def _mean(by_seed: Sequence[Array]) -> Array:
    """(R,) mean over the seeds that have a value; nan where none has."""
    values = np.array(by_seed)
    known = ~np.isnan(values)
    count = known.sum(axis=0)
    total = np.where(known, values, 0.0).sum(axis=0)
    found: Array = np.divide(total, count, out=np.full(len(count), np.nan), where=count > 0)
    return found
