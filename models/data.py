"""What heads learn from: cached features of videos, and who is better than whom."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..features.errors import RecipeError

_CHECKED_BYTES = 16 << 20


@dataclass(frozen=True)
class Stream:
    """One feature of one video.

    Args:
        values: (R, ...); may be mapped from a file.
        times: (R, 3) start, centre and end of each row in seconds; nan where unknown.
        alternatives: rows of each step, of which training may draw one and the last is the one
            that counts else; R is a multiple of it.

    Raises:
        ValueError: as many times as rows are needed.
    """

    values: NDArray[Any]
    times: NDArray[np.float64]
    alternatives: int = 1

    def __post_init__(self) -> None:
        rows = len(self.values)
        if self.times.shape != (rows, 3) or not rows or rows % self.alternatives:
            raise ValueError(
                f"{self.times.shape} times for {self.values.shape} values, {self.alternatives} a step"
            )

    @property
    def steps(self) -> int:
        """T, the number of steps."""
        return len(self.values) // self.alternatives

    @property
    def step_values(self) -> NDArray[Any]:
        """(T, ...) the row of each step that counts outside training."""
        return self.values[self.alternatives - 1 :: self.alternatives]

    @property
    def step_times(self) -> NDArray[np.float64]:
        """(T, 3) its times."""
        return self.times[self.alternatives - 1 :: self.alternatives]


@dataclass(frozen=True)
class VideoFeatures:
    """The features of one video that a head looks at.

    Args:
        id: of the video.
        streams: by role.
        task: what is performed; None where unknown.
        action_type: variant of the task; None where unknown.

    Raises:
        RecipeError: values that are not finite.
        ValueError: no stream.
    """

    id: str
    streams: Mapping[str, Stream]
    task: str | None = None
    action_type: str | None = None

    def __post_init__(self) -> None:
        if not self.streams:
            raise ValueError(f"no features of video '{self.id}'")
        for stream in self.streams.values():
            # To read gigabytes of maps only to look at them would cost as much as an epoch.
            if stream.values.nbytes <= _CHECKED_BYTES and not np.isfinite(stream.values).all():
                raise RecipeError(
                    f"the feature of video '{self.id}' holds values that are not finite; extract "
                    "it again with --overwrite"
                )

    @classmethod
    def of(
        cls, id: str, values: NDArray[Any], times: NDArray[np.float64], **more: Any
    ) -> "VideoFeatures":
        """A video with one feature, in the role ``features``."""
        return cls(id, {"features": Stream(values, times)}, **more)

    @property
    def main(self) -> Stream:
        """The first stream; the only one, for most heads."""
        return next(iter(self.streams.values()))

    @property
    def values(self) -> NDArray[Any]:
        """(T, ...) of the first stream."""
        return self.main.step_values

    @property
    def times(self) -> NDArray[np.float64]:
        """(T, 3) start, centre and end of each step of the first stream, in seconds."""
        return self.main.step_times

    @property
    def duration_seconds(self) -> float:
        """From the start of the first row to the end of the last; nan where a time is unknown."""
        times = self.main.times
        return float(times[:, 2].max() - times[:, 0].min())


@dataclass(frozen=True)
class Targets:
    """What is known of a list of videos.

    Args:
        pairs: (P, 2) positions in the list, the better video first.
        scores: (V,), higher is better, nan where unknown; None where only pairs are known.
        parts: by name, (V,) scores of parts of the performance, such as ``execution``, nan where
            unknown.
        subjects: who performs each of the V videos, None where unknown; empty where nobody says.
    """

    pairs: NDArray[np.int64]
    scores: NDArray[np.float64] | None = None
    parts: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)
    subjects: tuple[str | None, ...] = ()

    def some_pairs(self) -> NDArray[np.int64]:
        """The pairs.

        Raises:
            RecipeError: there is none.
        """
        if not len(self.pairs):
            raise RecipeError("no pair of two training videos; add pairs, or change the split")
        return self.pairs

    def some_scores(self, head: str, instead: str) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """(n,) positions of the videos that have a score, and (n,) these scores.

        Args:
            head: that learns from them.
            instead: what to take where only pairs are known.

        Raises:
            RecipeError: fewer than two have one.
        """
        scores = np.zeros(0) if self.scores is None else self.scores
        which = np.flatnonzero(np.isfinite(scores))
        if len(which) < 2:
            raise RecipeError(
                f"{head} learns from scores and {len(which)} training videos have one; fill in the "
                f"manifest's column score, or take {instead}"
            )
        return which, scores[which]


def row_shapes(videos: Sequence[VideoFeatures]) -> dict[str, tuple[int, ...]]:
    """By role, the shape of a row that all videos have.

    Raises:
        RecipeError: it differs, or a video lacks a feature that another has.
    """
    first = videos[0]
    shapes = {role: tuple(stream.values.shape[1:]) for role, stream in first.streams.items()}
    for video in videos:
        if video.streams.keys() != shapes.keys():
            raise RecipeError(
                f"video '{video.id}' has the features {', '.join(video.streams)} and '{first.id}' "
                f"{', '.join(shapes)}; extract the same of both"
            )
        for role, shape in shapes.items():
            found = tuple(video.streams[role].values.shape[1:])
            if found != shape:
                raise RecipeError(
                    f"video '{video.id}' has {words_of(found)} and '{first.id}' "
                    f"{shape[0] if len(shape) == 1 else shape}; extract both with one aqakit command"
                )
    return shapes


def words_of(shape: tuple[int, ...]) -> str:
    """The shape of a row, for a message."""
    return f"{shape[0]} channels" if len(shape) == 1 else f"rows of shape {shape}"


def channels_of(videos: Sequence[VideoFeatures]) -> int:
    """The number of channels of the one vector a step that all videos have.

    Raises:
        RecipeError: it differs, or a row is no vector.
    """
    shape = next(iter(row_shapes(videos).values()))
    if len(shape) != 1:
        raise RecipeError(
            f"the feature of video '{videos[0].id}' has rows of shape {shape}; this head needs one "
            "vector a time step, (T, C)"
        )
    return shape[0]
