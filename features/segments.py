"""Sampling: which frames of a video make up each unit in time.

Every rule yields units of the same number of frames, so that one array holds them. A rule sees only
the presentation times of the decoded frames, never the frames: the whole plan of a video is known
before its first frame is needed, and decoding can stream.

A frame is shown from its own time until the time of the next one. Sampling at an instant, and
resampling to another rate, take the frame that is shown then (no blending, no re-encoding).
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, cast, get_args

import numpy as np
from numpy.typing import NDArray

from .errors import RecipeError, VideoError

Rule = Literal["segments", "stacks", "clips", "steps"]
Pick = Literal["last", "random"]
Short = Literal["hold", "loop", "refuse"]

# Presentation times are rationals that arrive as floats: 7/30 s must find the frame at 7/30 s.
_TIME_TOLERANCE = 1e-6
# A slip of the keyboard must not fill the memory with instants.
_HIGHEST_FPS = 1000


@dataclass(frozen=True)
class Timeline:
    """Presentation times of the frames that a video shows.

    Args:
        pts_seconds: (M,) strictly increasing.
        end_seconds: when the last frame stops being shown; later than its start.

    Raises:
        ValueError: no frame, times that do not increase, or an end that is not after them.
    """

    pts_seconds: NDArray[np.float64]
    end_seconds: float

    def __post_init__(self) -> None:
        times = self.pts_seconds
        if len(times) == 0 or not np.isfinite(times).all() or (np.diff(times) <= 0).any():
            raise ValueError("pts_seconds must be at least one strictly increasing time")
        if not times[-1] < self.end_seconds < np.inf:
            raise ValueError(
                f"end_seconds is {self.end_seconds}, not after the last frame at "
                f"{self.pts_seconds[-1]}"
            )

    @property
    def start_seconds(self) -> float:
        """Time of the first frame."""
        return float(self.pts_seconds[0])

    @property
    def duration_seconds(self) -> float:
        """How long the video shows something."""
        return self.end_seconds - self.start_seconds

    def shown_at(self, seconds: NDArray[np.float64]) -> NDArray[np.int64]:
        """Index of the frame shown at each instant; the nearest one outside the video."""
        index = np.searchsorted(self.pts_seconds, seconds + _TIME_TOLERANCE, side="right") - 1
        return index.clip(0, len(self.pts_seconds) - 1).astype(np.int64)

    def trim(self, start_seconds: float | None, end_seconds: float | None) -> "Timeline":
        """The frames that start within ``[start_seconds, end_seconds)``.

        Raises:
            VideoError: no frame starts in that window.
        """
        begin = -np.inf if start_seconds is None else start_seconds - _TIME_TOLERANCE
        stop = self.end_seconds if end_seconds is None else min(end_seconds, self.end_seconds)
        keep = (self.pts_seconds >= begin) & (self.pts_seconds < stop - _TIME_TOLERANCE)
        if not keep.any():
            raise VideoError(
                f"no frame between start {start_seconds} and end {end_seconds} s: the video shows "
                f"{self.start_seconds:.3f} to {self.end_seconds:.3f} s; correct the manifest"
            )
        return Timeline(self.pts_seconds[keep], stop)


@dataclass(frozen=True)
class Units:
    """N sampled units of F frames each.

    Args:
        frames: (N, F) index of each frame in the timeline; never decreasing within a unit unless
            the unit was padded by ``loop``.
        times: (N, 3) start, centre and end of each unit in seconds.
        frame_times: (N, F) the decoded frames' own presentation times in seconds.
        padded_frames: slots of one unit that had to be filled because the video is shorter.
    """

    frames: NDArray[np.int64]
    times: NDArray[np.float64]
    frame_times: NDArray[np.float64]
    padded_frames: int = 0

    def __len__(self) -> int:
        return len(self.frames)


@dataclass(frozen=True)
class Sampling:
    """The rule that picks the units of a video.

    Args:
        rule: ``segments`` (equal parts, of each one frame with its neighbours), ``stacks``
            (consecutive frames, starts spread evenly, overlapping where the video is short),
            ``clips`` (consecutive frames, one after the other, a shorter rest dropped) or ``steps``
            (equal parts; frames spread evenly over each, or, with ``fps``, consecutive frames of
            that rate in its middle).
        frames: frames a unit, F. Those of a segment are consecutive around the picked frame, which
            stands at F // 2 unless the video begins or ends there.
        count: equal parts or stacks a video; None for ``clips``, which takes as many as fit.
        fps: rate to resample to first; None keeps the decoded frames.
        pick: the frame of a segment.
        seed: of ``pick="random"`` and of the candidates.
        short: what fills a stack or clip of a video with fewer frames: its last frame, its frames
            again from the first, or nothing (the video is refused).
        candidates: of each segment, so many more frames drawn at random, each a unit of its own. A
            segment's units then are its candidates in order of time and, last, the picked frame.

    Raises:
        ValueError: a combination that has no meaning.
    """

    rule: Rule
    frames: int
    count: int | None = None
    fps: float | None = None
    pick: Pick = "last"
    seed: int = 0
    short: Short = "hold"
    candidates: int = 0

    def __post_init__(self) -> None:
        if self.frames < 1 or (self.count is not None and self.count < 1):
            raise ValueError("a sampling needs at least one unit of at least one frame")
        if (self.count is None) != (self.rule == "clips"):
            raise ValueError("clips take as many units as fit; every other rule needs a count")
        if self.fps is not None and not 0 < self.fps <= _HIGHEST_FPS:
            raise ValueError(f"fps is {self.fps}; it must be above 0 and at most {_HIGHEST_FPS}")
        if self.fps is not None:
            # 10 and 10.0 are one rate, and must give one digest.
            object.__setattr__(self, "fps", float(self.fps))
        if self.rule in ("segments", "steps") and self.short != "hold":
            raise ValueError("hold, loop and refuse apply to stacks and clips only")
        if self.rule != "segments" and (self.pick != "last" or self.seed or self.candidates):
            raise ValueError("pick, seed and candidates apply to segments only")
        if self.pick == "random" and self.candidates:
            raise ValueError("candidates stand beside the last frame of a segment")
        if self.seed and self.pick == "last" and not self.candidates:
            raise ValueError("a seed needs something random")

    @property
    def text(self) -> str:
        """Readable form, for example ``stacks-400x16-10fps``; :meth:`parse` reads it back."""
        size = str(self.frames) if self.count is None else f"{self.count}x{self.frames}"
        if self.rule == "segments" and self.frames == 1:
            size = str(self.count)
        words = [self.rule, size]
        if self.rule == "segments":
            words.append("last" if self.pick == "last" else f"random{self.seed}")
        if self.candidates:
            words.append(f"plus{self.candidates}" + f"seed{self.seed}" * (self.seed != 0))
        if self.fps is not None:
            words.append(f"{self.fps!r}fps".replace(".0fps", "fps"))
        if self.short != "hold":
            words.append(self.short)
        return "-".join(words)

    @classmethod
    def parse(cls, text: str) -> "Sampling":
        """Read :attr:`text` back.

        Raises:
            RecipeError: the text names no sampling.
        """
        match = _TEXT.fullmatch(text)
        sizes = {"stacks": (True,), "steps": (True,), "clips": (False,), "segments": (True, False)}
        if match is None or bool(match["frames"]) not in sizes[match["rule"]]:
            raise RecipeError(
                f"'{text}' is no sampling; write segments-25-last, stacks-400x16-10fps, clips-16 "
                "or steps-10x16"
            )
        first = int(match["first"])
        rule = cast(Rule, match["rule"])
        frames = int(match["frames"] or (1 if rule == "segments" else first))
        pick = match["pick"] or "last"
        try:
            return cls(
                rule=rule,
                frames=frames,
                count=None if rule == "clips" else first,
                fps=float(match["fps"]) if match["fps"] else None,
                pick="last" if pick == "last" else "random",
                seed=int(match["seed"] or pick.removeprefix("last").removeprefix("random") or 0),
                short=cast(Short, match["short"] or "hold"),
                candidates=int(match["candidates"] or 0),
            )
        except ValueError as error:
            raise RecipeError(f"'{text}' is no sampling: {error}") from None

    def plan(self, timeline: Timeline) -> Units:
        """Pick the units of one video.

        Raises:
            VideoError: the video is shorter than one unit and ``short`` is ``refuse``.
        """
        return _RULES[self.rule](self, timeline)


_TEXT = re.compile(
    rf"(?P<rule>{'|'.join(get_args(Rule))})-(?P<first>\d+)(x(?P<frames>\d+))?"
    rf"(-(?P<pick>last|random\d+))?(-plus(?P<candidates>\d+)(seed(?P<seed>\d+))?)?"
    rf"(-(?P<fps>[\d.]+(e[+-]?\d+)?)fps)?(-(?P<short>{'|'.join(get_args(Short))}))?"
)


def equal_parts(
    start_seconds: float, end_seconds: float, count: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Cut a stretch into N parts of equal duration.

    Returns:
        (N + 1,) edges, and (N, 3) start, centre and end of each part, in seconds.
    """
    edges = np.linspace(start_seconds, end_seconds, count + 1)
    starts, ends = edges[:-1], edges[1:]
    return edges, np.stack([starts, (starts + ends) / 2, ends], axis=1)


def _segments(sampling: Sampling, timeline: Timeline) -> Units:
    assert sampling.count is not None
    edges, times = equal_parts(timeline.start_seconds, timeline.end_seconds, sampling.count)
    grid, instants = _grid(sampling, timeline)
    first = np.searchsorted(instants[:-1], edges[:-1] - _TIME_TOLERANCE)
    stop = np.searchsorted(instants[:-1], edges[1:] - _TIME_TOLERANCE)
    # A part in which no frame starts shows the frame that began before it.
    first = np.where(stop > first, first, stop - 1).clip(0)
    last = np.maximum(stop - 1, first)
    random = np.random.default_rng(sampling.seed)
    if sampling.pick == "random":
        picked = random.integers(first, last, endpoint=True)[:, None]
    else:
        size = (sampling.count, sampling.candidates)
        drawn = random.integers(first[:, None], last[:, None], size, endpoint=True)
        picked = np.column_stack([np.sort(drawn, axis=1), last])
    times = times.repeat(picked.shape[1], axis=0)
    return _around(sampling, timeline, grid, picked.ravel(), times)


def _steps(sampling: Sampling, timeline: Timeline) -> Units:
    assert sampling.count is not None
    edges, times = equal_parts(timeline.start_seconds, timeline.end_seconds, sampling.count)
    if sampling.fps is None:
        frames = timeline.shown_at(instants_of_steps(edges, sampling.frames))
        return Units(frames, times, timeline.pts_seconds[frames])
    grid, instants = _grid(sampling, timeline)
    middle = np.searchsorted(instants[:-1], times[:, 1] + _TIME_TOLERANCE, side="right") - 1
    return _around(sampling, timeline, grid, middle.clip(0), times)


def instants_of_steps(edges: NDArray[np.float64], count: int) -> NDArray[np.float64]:
    """Instants spread evenly over parts of a timeline, each in the middle of an equal share.

    Args:
        edges: (N + 1,) of the parts, in seconds.
        count: instants a part, F.

    Returns:
        (N, F) seconds.
    """
    offsets = (np.arange(count) + 0.5) / count
    return edges[:-1, None] + offsets * np.diff(edges)[:, None]


def _around(
    sampling: Sampling,
    timeline: Timeline,
    grid: NDArray[np.int64],
    picked: NDArray[np.int64],
    times: NDArray[np.float64],
) -> Units:
    """Units of F consecutive grid frames around picked ones, moved into the video at its ends."""
    missing = max(0, sampling.frames - len(grid))
    begin = (picked - sampling.frames // 2).clip(0, len(grid) - sampling.frames + missing)
    slots = np.minimum(begin[:, None] + np.arange(sampling.frames), len(grid) - 1)
    frames = grid[slots]
    return Units(frames, times, timeline.pts_seconds[frames], missing)


def _grid(sampling: Sampling, timeline: Timeline) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Frames of the resampled video, (K,), and the (K + 1,) edges between them in seconds."""
    if sampling.fps is None:
        edges = np.append(timeline.pts_seconds, timeline.end_seconds)
        return np.arange(len(timeline.pts_seconds), dtype=np.int64), edges
    count = max(1, int(timeline.duration_seconds * sampling.fps + _TIME_TOLERANCE))
    edges = timeline.start_seconds + np.arange(count + 1) / sampling.fps
    # The one frame of a video shorter than 1 / fps ends with the video.
    return timeline.shown_at(edges[:-1]), edges.clip(max=timeline.end_seconds)


def _consecutive(
    sampling: Sampling, timeline: Timeline, starts: Callable[[int], NDArray[np.int64]]
) -> Units:
    """Units of F consecutive grid frames; ``starts`` gives their first frames from the last start."""
    grid, edges = _grid(sampling, timeline)
    missing = max(0, sampling.frames - len(grid))
    if missing and sampling.short == "refuse":
        raise VideoError(
            f"{len(grid)} frames are fewer than the {sampling.frames} of {sampling.text}; use a "
            "shorter unit, or a sampling that ends in -hold or -loop to pad"
        )
    begin = starts(len(grid) - sampling.frames + missing)
    slots = begin[:, None] + np.arange(sampling.frames)
    slots = _PADDING[sampling.short](slots, len(grid))
    frames = grid[slots]
    start, end = edges[begin], edges[np.minimum(begin + sampling.frames, len(grid))]
    times = np.stack([start, (start + end) / 2, end], axis=1)
    return Units(frames, times, timeline.pts_seconds[frames], missing)


def _stacks(sampling: Sampling, timeline: Timeline) -> Units:
    count = sampling.count
    assert count is not None
    return _consecutive(
        sampling,
        timeline,
        lambda last_start: np.linspace(0, last_start, count).round().astype(np.int64),
    )


def _clips(sampling: Sampling, timeline: Timeline) -> Units:
    return _consecutive(
        sampling,
        timeline,
        lambda last_start: np.arange(0, last_start + 1, sampling.frames, dtype=np.int64),
    )


_RULES: dict[Rule, Callable[[Sampling, Timeline], Units]] = {
    "segments": _segments,
    "stacks": _stacks,
    "clips": _clips,
    "steps": _steps,
}
_PADDING: dict[Short, Callable[[NDArray[np.int64], int], NDArray[np.int64]]] = {
    "hold": lambda slots, available: np.minimum(slots, available - 1),
    "loop": lambda slots, available: slots % available,
    "refuse": lambda slots, available: slots,
}
