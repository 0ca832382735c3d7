"""Experts: the training videos that all videos of their type of action are compared with.

From Jain, Harit and Sharma, "Action Quality Assessment using Siamese Network-Based Deep Metric
Learning" (2020): section III-B and table III, and section V-D for others than the best.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .data import VideoFeatures

# Task and action type, the task alone, or nothing, for which experts are known.
Kind = tuple[str | None, ...]
Whom = Literal["best", "worst", "constant"]


def kind_of(video: VideoFeatures) -> Kind:
    """Task and action type."""
    return video.task, video.action_type


def frequent_kinds(videos: Iterable[VideoFeatures]) -> list[Kind]:
    """Task and action type, the most frequent first."""
    counts = Counter(map(kind_of, videos))
    return sorted(counts, key=lambda kind: (-counts[kind], *(word or "" for word in kind)))


class Experts(NamedTuple):
    """Whom videos are compared with.

    Args:
        positions: of the experts among the training videos.
        of_kind: by task and action type, by task alone and for all: positions in ``positions``.
    """

    positions: Sequence[int]
    of_kind: Mapping[Kind, Sequence[int]]

    def of(self, video: VideoFeatures) -> Sequence[int]:
        """Those of a video's action type; if it never trained those of its task, else of all."""
        return self.of_kind[self._known_kind(video)]

    def name_of(self, video: VideoFeatures) -> str:
        """The task and action type whose experts these are, or ``all``."""
        return ", ".join(word for word in self._known_kind(video) if word) or "all"

    def _known_kind(self, video: VideoFeatures) -> Kind:
        kind = kind_of(video)
        return next(known for known in (kind, kind[:1], ()) if known in self.of_kind)


def choose_experts(
    videos: Sequence[VideoFeatures], scores: NDArray[np.float64], whom: Whom, count: int
) -> Experts:
    """The experts of each action type (section III-B and table III).

    Args:
        videos: that train.
        scores: theirs, nan where unknown; at least one is known.
        whom: the ``best`` videos of each action type, the ``worst`` ones, or as a ``constant``
            the best ones of the most frequent type for all.
        count: how many; 0 takes all that share the best, or worst, score.
    """
    known = np.flatnonzero(np.isfinite(scores)).tolist()
    groups: dict[Kind, list[int]] = {}
    for position in known:
        kind = kind_of(videos[position])
        for each in (kind, kind[:1], ()):
            groups.setdefault(each, []).append(position)
    if whom == "constant":
        groups = {(): groups[frequent_kinds(videos[i] for i in known)[0]]}
    sign = 1 if whom == "worst" else -1

    def outstanding(members: list[int]) -> list[int]:
        ranked = sorted(members, key=lambda i: (sign * scores[i], videos[i].id))
        equal = sum(scores[i] == scores[ranked[0]] for i in members)
        return ranked[: count or equal]

    chosen = {kind: outstanding(members) for kind, members in groups.items()}
    positions = sorted({i for members in chosen.values() for i in members})
    of_kind = {kind: [positions.index(i) for i in members] for kind, members in chosen.items()}
    return Experts(positions, of_kind)
