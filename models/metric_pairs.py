"""Pairs of videos whose scores are alike or not, which siamese-lstm learns a metric from.

From Jain, Harit and Sharma, "Action Quality Assessment using Siamese Network-Based Deep Metric
Learning" (2020): phase 1, sections III-A and V-A.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..features.errors import RecipeError
from .data import VideoFeatures
from .experts import frequent_kinds, kind_of

# Section V-A: of 3200 pairs, about 1300 are of similar videos.
_SIMILAR_SHARE = 1300 / (1300 + 1900)


class Pairs(NamedTuple):
    """What phase 1 learns from.

    Args:
        positions: (N, 2) among originals and then their variants.
        labels: (N, 1) 1 for similar pairs, else 0.
    """

    positions: NDArray[np.int64]
    labels: NDArray[np.float64]


def derived_threshold(scores: NDArray[np.float64]) -> float:
    """Score difference below which the paper's share of all pairs lies; at least one pair's.

    Args:
        scores: (V,) of one task, at least two.
    """
    one, other = np.triu_indices(len(scores), 1)
    differences = np.abs(scores[one] - scores[other])
    threshold = float(np.quantile(differences, _SIMILAR_SHARE))
    # So many equal scores that the share is made of them alone: these are the similar ones.
    return threshold or float(differences[differences > 0].min(initial=np.inf))


def metric_pairs(
    videos: Sequence[VideoFeatures],
    scores: NDArray[np.float64],
    versions: int,
    rng: np.random.Generator,
    *,
    most: int,
    threshold: float,
    types: int,
) -> Pairs:
    """Draw pairs of phase 1, as many similar as dissimilar ones, none twice while there are others.

    Only videos of one task are paired, since scores of several have no common unit; their action
    types may differ. A pair's order is by chance: the network treats its two videos differently,
    and so it learns both orders. A video is not paired with its own variants, which can be told
    from all others without looking at skill.

    Args:
        videos: originals.
        scores: of the originals, nan where unknown.
        versions: of each video; variant k of video i is at position ``i + k * len(videos)``.
        rng: chooses.
        most: pairs to draw; fewer where there are not so many.
        threshold: two videos are similar if their scores differ by less; with 0 it is that of
            :func:`derived_threshold` for each task.
        types: only videos of so many of the most frequent action types; 0 takes all.

    Raises:
        RecipeError: all pairs are similar, or none is.
    """
    similar, dissimilar = _labelled_pairs(videos, scores, threshold, types)
    if not len(similar) or not len(dissimilar):
        raise RecipeError(_one_sided(len(similar), threshold))
    available = max(len(similar), len(dissimilar)) * versions**2
    count = min(most // 2, available)
    positions = np.concatenate(
        [
            _versions_of(sources, len(videos), versions, count, rng)
            for sources in (similar, dissimilar)
        ]
    )
    swapped = rng.random(len(positions)) < 0.5
    positions[swapped] = positions[swapped, ::-1]
    return Pairs(positions, np.repeat([1.0, 0.0], count)[:, None])


def _one_sided(similar: int, threshold: float) -> str:
    if not threshold:
        return (
            "siamese-lstm learns from videos of one task whose scores differ more and less, and "
            "the training part has too few; give it more, or set metric_learning=false"
        )
    found = "all" if similar else "no"
    cure = "lower" if similar else "raise"
    return (
        f"siamese-lstm: {found} pairs of training videos differ by less than "
        f"threshold={threshold:g}; {cure} it, or set metric_learning=false"
    )


def _labelled_pairs(
    videos: Sequence[VideoFeatures], scores: NDArray[np.float64], threshold: float, types: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(P, 2) and (Q, 2) positions of originals: all similar and all dissimilar pairs."""
    found: tuple[list[NDArray[np.int64]], list[NDArray[np.int64]]] = ([], [])
    for members in _by_task(videos, scores, types):
        if len(members) < 2:
            continue
        one, other = np.triu_indices(len(members), 1)
        pairs = np.stack([members[one], members[other]], axis=1)
        limit = threshold or derived_threshold(scores[members])
        near = np.abs(scores[pairs[:, 0]] - scores[pairs[:, 1]]) < limit
        found[0].append(pairs[near])
        found[1].append(pairs[~near])
    none = np.empty((0, 2), dtype=np.int64)
    similar, dissimilar = (np.concatenate([none, *part]) for part in found)
    return similar, dissimilar


def _by_task(
    videos: Sequence[VideoFeatures], scores: NDArray[np.float64], types: int
) -> list[NDArray[np.int64]]:
    """Positions of videos with a score, task by task; of so many frequent action types, or all."""
    known = np.flatnonzero(np.isfinite(scores)).tolist()
    kinds = frequent_kinds([videos[i] for i in known])[: types or None]
    tasks: dict[str | None, list[int]] = {}
    for position in known:
        if kind_of(videos[position]) in kinds:
            tasks.setdefault(videos[position].task, []).append(position)
    return [np.array(members) for members in tasks.values()]


def _versions_of(
    sources: NDArray[np.int64], originals: int, versions: int, count: int, rng: np.random.Generator
) -> NDArray[np.int64]:
    """(count, 2) pairs of versions of the videos of (P, 2) pairs."""
    each = versions**2
    available = len(sources) * each
    rounds, rest = divmod(count, available)
    chosen = np.concatenate(
        [np.tile(np.arange(available), rounds), rng.choice(available, rest, replace=False)]
    )
    which = np.stack(np.divmod(chosen % each, versions), axis=1)
    return np.asarray(sources[chosen // each] + which * originals)
