"""Read a video once and tell, piece by piece, all that its features look at.

A reader needs no network and no store, so it can run in a process of its own, and a file that kills
its decoder takes nothing else with it.
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..features.errors import UserError, VideoError
from ..features.segments import Timeline, Units
from .augment import Variant
from .decode import Scan, TimelineDiffersError, decode, scan
from .flow import TVL1, FlowStream, grey
from .layout import Layout, Wish, lay_out
from .transforms import Preset

# Large enough that sending a piece costs nothing beside making it, small enough to bound memory.
_PIECE_BYTES = 4 << 20
_MIN_FRAMES = 2

Kind = Literal["frames", "grey", "fields"]


@dataclass(frozen=True)
class Job:
    """A video to read.

    Args:
        path: the file.
        start_seconds: where the used stretch begins; None is the file's own start.
        end_seconds: where it ends; None is the file's own end.
        wishes: what to make of it.
        flow_elsewhere: hand out grey frames instead of flow between them, for an accelerator that
            the reader does not hold.
    """

    path: Path
    start_seconds: float | None
    end_seconds: float | None
    wishes: tuple[Wish, ...]
    flow_elsewhere: bool = False


@dataclass(frozen=True)
class Opened:
    """The whole plan of a video, before its first frame; a second one starts all over.

    Args:
        facts: what the container says of the stream.
        frames: that will be decoded.
        units: of each wish, by frame numbers of the used stretch; or why there are none.
    """

    facts: dict[str, Any]
    frames: int
    units: tuple[Units | str, ...]


class Feed(NamedTuple):
    """Where items belong: a kind, the feed's position in the layout, and the kind of its fields."""

    kind: Kind
    position: int
    part: int = 0


@dataclass(frozen=True)
class Items:
    """The next items of a feed.

    Args:
        feed: where they belong.
        numbers: of frames or of pairs, in order.
        pictures: (n, h, w, 3) uint8 frames, (n, h, w) uint8 grey, or (n, h, w, 2) float32 flow.
        reached: frames decoded so far.
    """

    feed: Feed
    numbers: tuple[int, ...]
    pictures: Any
    reached: int


@dataclass(frozen=True)
class Closed:
    """The video has been read to its end.

    Args:
        damaged_frames: how many the decoder had to make up in part.
        spent: seconds by what they were spent on.
    """

    damaged_frames: int
    spent: dict[str, float]


@dataclass(frozen=True)
class Refused:
    """The video cannot be used.

    Args:
        reason: one line.
        lasting: it is the file's fault, and will be the same the next time.
    """

    reason: str
    lasting: bool


Message = Opened | Items | Closed | Refused


@dataclass
class Clock:
    """Adds up seconds by what they are spent on."""

    spent: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        """Count the time of a block."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self.spent[stage] = self.spent.get(stage, 0.0) + time.perf_counter() - began


def read(job: Job, tvl1: TVL1) -> Iterator[Message]:
    """Read a video from its start to its end.

    Yields:
        :class:`Opened`, then :class:`Items` in the order of their numbers within each feed, then
        :class:`Closed`; or :class:`Refused` at any point.

    Raises:
        UserError: something other than the video is at fault.
    """
    try:
        try:
            yield from _read_as_scanned(job, tvl1, exact=False)
        except TimelineDiffersError:
            yield from _read_as_scanned(job, tvl1, exact=True)
    except VideoError as error:
        yield Refused(str(error), lasting=True)
    except UserError:
        raise
    except Exception as error:  # noqa: BLE001 - what nobody foresaw costs its video, not the night
        yield Refused(unforeseen(job.path, error), lasting=False)


def unforeseen(path: Path | None, error: Exception) -> str:
    """One line on an exception that nobody foresaw."""
    words = " ".join(str(error).split())[:200]
    cure = "try it again, and report this line if it comes back"
    if isinstance(error, MemoryError) or "OutOfMemory" in type(error).__name__:
        cure = "free memory, or use --device cpu, and run the same command again"
    return f"{path}: unexpected {type(error).__name__} ({words}); {cure}"


def _read_as_scanned(job: Job, tvl1: TVL1, exact: bool) -> Iterator[Message]:
    clock = Clock()
    with clock("decode"):
        planned = scan(job.path, exact)
    timeline = planned.window(job.start_seconds, job.end_seconds)
    total = len(timeline.pts_seconds)
    if total < _MIN_FRAMES:
        raise VideoError(
            f"{planned.path} shows a single frame; skill needs a video of at least {_MIN_FRAMES}"
        )
    units = tuple(_units(wish, timeline, job.path) for wish in job.wishes)
    yield Opened(planned.facts.to_dict(), total, units)
    if all(isinstance(one, str) for one in units):
        yield Closed(0, clock.spent)
        return
    layout = lay_out(job.wishes, [one if isinstance(one, Units) else None for one in units])
    first = int(np.searchsorted(planned.timeline.pts_seconds, timeline.start_seconds))
    reader = _Reader(planned, layout, tvl1, clock, job.flow_elsewhere)
    damaged = 0
    frames = decode(planned, first, first + total - 1)
    while True:
        with clock("decode"):
            decoded = next(frames, None)
        if decoded is None:
            break
        damaged += decoded.frame.is_corrupt
        number = decoded.index - first
        if reader.wants(number):
            with clock("decode"):
                picture = decoded.rgb()
            yield from reader.push(number, picture)
    yield from reader.finish(total)
    yield Closed(damaged, clock.spent)


def _units(wish: Wish, timeline: Timeline, path: Path) -> Units | str:
    shown, positions = wish.view.variant.timeline(timeline)
    try:
        units = wish.sampling.plan(shown)
    except VideoError as error:
        return f"{path}: {error}"
    return replace(units, frames=positions[units.frames])


class _Reader:
    """Turns decoded pictures into the items of all feeds."""

    def __init__(
        self, planned: Scan, layout: Layout, tvl1: TVL1, clock: Clock, flow_elsewhere: bool
    ) -> None:
        self._path = planned.path
        self._layout = layout
        self._clock = clock
        self._flow_elsewhere = flow_elsewhere
        self._streams = [FlowStream(tvl1, feed.pairs) for feed in layout.flows]
        self._wanted_frames = [_numbers(layout, feed.wishes) for feed in layout.frames]
        self._wanted: dict[Variant, frozenset[int]] = {}
        for feed, frames in zip(layout.frames, self._wanted_frames, strict=True):
            self._want(feed.variant, frames)
        for between, stream in zip(layout.flows, self._streams, strict=True):
            self._want(between.variant, stream.wanted)
        self._filters = {variant: variant.picture_filter() for variant in self._wanted}
        self._shapes: dict[Feed, tuple[int, ...]] = {}
        self._waiting: dict[Feed, list[tuple[int, NDArray[Any]]]] = {}

    def _want(self, variant: Variant, frames: frozenset[int]) -> None:
        self._wanted[variant] = self._wanted.get(variant, frozenset()) | frames

    def wants(self, number: int) -> bool:
        """Whether a frame must be converted at all."""
        return any(self._alters(variant, number) for variant in self._filters)

    def _alters(self, variant: Variant, number: int) -> bool:
        return self._filters[variant].every_frame or number in self._wanted[variant]

    def push(self, number: int, picture: NDArray[np.uint8]) -> Iterator[Items]:
        """Take the next wanted frame, (H, W, 3)."""
        altered: dict[Variant, NDArray[np.uint8]] = {}
        with self._clock("alter"):
            for variant, alter in self._filters.items():
                if self._alters(variant, number):
                    altered[variant] = alter(picture)
        for position, feed in enumerate(self._layout.frames):
            if number in self._wanted_frames[position]:
                image = self._resized(feed.preset, altered[feed.variant])
                yield from self._add(Feed("frames", position), number, image, number + 1)
        for position, between in enumerate(self._layout.flows):
            if number in self._streams[position].wanted:
                image = grey(self._resized(between.frames, altered[between.variant]))
                yield from self._push_flow(position, number, image)

    def _push_flow(self, position: int, number: int, image: NDArray[np.uint8]) -> Iterator[Items]:
        self._check_shape(Feed("grey", position), image, number)
        if self._flow_elsewhere:
            yield from self._add(Feed("grey", position), number, image, number + 1)
            return
        with self._clock("flow"):
            done = list(self._streams[position].push(number, image))
        yield from self._add_fields(position, done, number + 1)

    def finish(self, total: int) -> Iterator[Items]:
        """Wait for flow still being computed, and hand out what waits."""
        if not self._flow_elsewhere:
            for position, stream in enumerate(self._streams):
                with self._clock("flow"):
                    done = list(stream.finish())
                yield from self._add_fields(position, done, total)
        # Flow is ready when it is ready, so the order of arrival says nothing.
        for feed in sorted(self._waiting):
            yield self._piece(feed, total)

    def _resized(self, preset: Preset, picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
        with self._clock("resize"):
            return preset.frame(picture)

    def _add_fields(
        self, position: int, done: Sequence[tuple[int, NDArray[np.float32]]], reached: int
    ) -> Iterator[Items]:
        for pair, flow in done:
            for part, (preset, _) in enumerate(self._layout.flows[position].fields):
                with self._clock("resize"):
                    item = preset.field(flow)
                yield from self._add(Feed("fields", position, part), pair, item, reached)

    def _add(self, feed: Feed, number: int, item: NDArray[Any], reached: int) -> Iterator[Items]:
        self._check_shape(feed, item, number)
        waiting = self._waiting.setdefault(feed, [])
        waiting.append((number, item))
        if len(waiting) * item.nbytes >= _PIECE_BYTES:
            yield self._piece(feed, reached)

    def _piece(self, feed: Feed, reached: int) -> Items:
        numbers, pictures = zip(*self._waiting.pop(feed), strict=True)
        return Items(feed, numbers, np.stack(pictures), reached)

    def _check_shape(self, feed: Feed, item: NDArray[Any], number: int) -> None:
        if item.shape != self._shapes.setdefault(feed, item.shape):
            raise VideoError(
                f"{self._path}: the picture changes its shape at frame {number}; convert it to one "
                "size"
            )


def _numbers(layout: Layout, wishes: Sequence[int]) -> frozenset[int]:
    return frozenset(int(one) for wish in wishes for one in np.unique(layout.slots[wish]))
