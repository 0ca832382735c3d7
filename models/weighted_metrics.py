"""Metrics of videos that count several times or not at all, for many such drawings at once.

A bootstrap draws videos with replacement. Here a drawing is how often it holds each video, and every
metric equals the one of :mod:`.metrics` and :mod:`.score_errors` of that many copies of each video,
without making them.

``counts`` is (R, V) throughout: in each of R drawings, how often each of V videos counts. Functions
return (R,) values, nan where a drawing has none.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Counts = NDArray[np.int64]
# Of scores (V,), truth (V,) without nan, and counts (R, V).
ScoreMetric = Callable[[Array, Array, Counts], Array]


def weighted_accuracy(correct: Array, pairs: NDArray[np.int64], counts: Counts) -> Array:
    """Pairwise accuracy; a pair counts once for every two copies of its videos.

    Args:
        correct: (P,) how much of each pair is right, 0 or 1, or its mean over seeds.
        pairs: (P, 2) positions of the better and the worse video.
        counts: (R, V).
    """
    videos = counts.shape[1]
    place = pairs[:, 0] * videos + pairs[:, 1]
    # Sums over pairs become products of (V, V) matrices: many pairs share their two videos' counts.
    right, every = (
        np.bincount(place, own, videos**2).reshape(videos, videos).astype(np.float64)
        for own in (correct, np.ones_like(correct))
    )
    return _ratio(_quadratic(counts, right), _quadratic(counts, every))


def weighted_spearman(scores: Array, truth: Array, counts: Counts) -> Array:
    """Rank correlation, copies of a video being tied."""
    return _pearson(_ranks(scores, counts), _ranks(truth, counts), counts)


def weighted_kendall(scores: Array, truth: Array, counts: Counts) -> Array:
    """Kendall's tau-b, copies of a video being tied."""
    orders = [np.sign(side[:, None] - side) for side in (scores, truth)]
    untied = [_quadratic(counts, np.abs(order)) for order in orders]
    return _ratio(_quadratic(counts, orders[0] * orders[1]), np.sqrt(untied[0] * untied[1]))


def weighted_pearson(scores: Array, truth: Array, counts: Counts) -> Array:
    """Linear correlation."""
    return _pearson(scores[None], truth[None], counts)


def weighted_mse(scores: Array, truth: Array, counts: Counts) -> Array:
    """Mean squared error; a relative L2 of a fixed range of labels is this over its square."""
    return _ratio(counts @ np.square(scores - truth), counts.sum(axis=1))


def weighted_mae(scores: Array, truth: Array, counts: Counts) -> Array:
    """Mean absolute error."""
    return _ratio(counts @ np.abs(scores - truth), counts.sum(axis=1))


def _quadratic(counts: Counts, matrix: Array) -> Array:
    """(R,) sum over i and j of c_i c_j m_ij."""
    drawn = counts.astype(np.float64)
    return np.asarray(((drawn @ matrix) * drawn).sum(axis=1))


def _ranks(values: Array, counts: Counts) -> Array:
    """(R, V) mean rank of the copies of each video among the drawn ones."""
    _, group = np.unique(values, return_inverse=True)
    order = np.argsort(group, kind="stable")
    starts = np.flatnonzero(np.diff(group[order], prepend=-1))
    held = np.add.reduceat(counts[:, order], starts, axis=1)  # (R, G) copies of each value
    mean_rank = held.cumsum(axis=1) - (held - 1) / 2
    return np.asarray(mean_rank[:, group])


def _pearson(x: Array, y: Array, counts: Counts) -> Array:
    """Of x and y, (R, V) or (1, V)."""
    x, y = _centred(x, counts), _centred(y, counts)
    spread = np.sqrt((counts * x**2).sum(axis=1) * (counts * y**2).sum(axis=1))
    return _ratio((counts * x * y).sum(axis=1), spread).clip(-1, 1)


def _centred(values: Array, counts: Counts) -> Array:
    """(R, V) values less the mean of each drawing; 0 where all that it holds are equal."""
    mean = _ratio((counts * values).sum(axis=1), counts.sum(axis=1))
    drawn = counts > 0
    highest = np.where(drawn, values, -np.inf).max(axis=1)
    lowest = np.where(drawn, values, np.inf).min(axis=1)
    # Else rounding of the mean would be taken for a spread.
    return np.where((highest > lowest)[:, None], values - mean[:, None], 0.0)


def _ratio(part: NDArray[np.number], whole: NDArray[np.number]) -> Array:
    found: Array = np.divide(part, whole, out=np.full(len(whole), np.nan), where=whole > 0)
    return found
