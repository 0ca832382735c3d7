"""One video between its first frame and its finished parts."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..features.errors import VideoError
from ..features.manifest import Video
from ..features.segments import Units
from ..features.spec import FeatureKey
from ..features.store import PartWriter
from .batches import Batches, Taker
from .clips import UnitGatherer
from .flow import TVL1, FlowStream
from .layout import Layout, Wish, lay_out
from .reading import Clock, Closed, Items, Opened, unforeseen
from .request import Feature

Begin = Callable[[Feature, Units], AbstractContextManager[PartWriter]]


@dataclass(frozen=True)
class Fault:
    """Why a feature of a video could not be computed.

    Args:
        reason: one line.
        lasting: it will be the same the next time.
    """

    reason: str
    lasting: bool


class _AbandonedError(Exception):
    """Makes a part's block end without leaving a trace."""


class _Track:
    """Features of one video that come from the same network and the same units.

    Args:
        features: that differ in their layers, or in how they are stored.
        units: of the video.
        writers: by feature key; opened parts.
        on_fault: told of a feature that cannot be stored.
    """

    def __init__(
        self,
        video: Video,
        features: Sequence[Feature],
        units: Units,
        writers: Mapping[FeatureKey, PartWriter],
        clock: Clock,
        on_fault: Callable[[FeatureKey, Fault], None],
    ) -> None:
        self.features = features
        self.layers = tuple(dict.fromkeys(feature.spec.layer for feature in features))
        self.units = units
        self._video = video
        self._writers = dict(writers)
        self._clock = clock
        self._on_fault = on_fault
        self._pushed = 0
        self._done = 0

    def push(self, unit: NDArray[Any], batches: Batches) -> None:
        """Send the next unit to the network, unless nothing of it is wanted any more."""
        if not self._writers:
            return
        seconds = self.units.frame_times[self._pushed]
        self._pushed += 1
        batches.push(self.features[0], self.layers, self, unit, seconds)

    def accept(self, rows: dict[str, NDArray[np.float32]]) -> None:
        """Write the next rows of each feature."""
        count = len(next(iter(rows.values())))
        for feature in self.features:
            spec = feature.spec
            if spec.key not in self._writers:
                continue
            with np.errstate(over="ignore"):
                values = rows[spec.layer].astype(spec.precision)
            if not np.isfinite(values).all():
                at = self.units.frame_times[self._done, 0]
                reason = (
                    f"{self._video.path}: {spec.key} is not finite at {at:.3f} s; check the "
                    "weights, or use --precision float32"
                )
                self._drop(spec.key, Fault(reason, lasting=True))
                continue
            with self._clock("write"):
                self._writers[spec.key].append(values)
        self._done += count

    def fail(self, error: Exception) -> None:
        """Give all features up."""
        lasting = isinstance(error, VideoError)
        reason = str(error) if lasting else unforeseen(self._video.path, error)
        for feature in self.features:
            self._drop(feature.spec.key, Fault(reason, lasting))

    def _drop(self, key: FeatureKey, fault: Fault) -> None:
        self._writers.pop(key, None)
        self._on_fault(key, fault)

    def finish(self, provenance: Mapping[str, Any]) -> None:
        """Complete the parts that are whole."""
        if self.features[0].spec.stream != "flow":
            provenance = {name: fact for name, fact in provenance.items() if name != "flow"}
        for writer in self._writers.values():
            with self._clock("write"):
                writer.finish(
                    self.units.times,
                    self.units.frame_times,
                    {**provenance, "padded_frames": self.units.padded_frames},
                )


@dataclass(frozen=True)
class Finished:
    """What became of a video that was read to its end.

    Args:
        frames: decoded.
        computed: keys of the features that are stored now.
        faults: of the others, by key.
        notes: what a careful person wants to know, such as padding.
    """

    frames: int
    computed: tuple[FeatureKey, ...]
    faults: dict[FeatureKey, Fault]
    notes: tuple[str, ...]


class InHand:
    """Turns what a reader tells of one video into stored features.

    Args:
        video: in hand.
        features: that the store lacks.
        begin: opens the part that a feature's rows go to.
        batches: shared by all videos in hand.
        tvl1: where flow is computed if the reader leaves that to others; else unused.
        clock: of the process.
    """

    def __init__(
        self,
        video: Video,
        features: Sequence[Feature],
        begin: Begin,
        batches: Batches,
        tvl1: TVL1 | None,
        clock: Clock,
    ) -> None:
        self.video = video
        self.features = features
        self._begin = begin
        self._batches = batches
        self._tvl1 = tvl1
        self._clock = clock
        self.wishes = wishes_of(features)
        self._open = {feature.spec.key: ExitStack() for feature in features}
        self._forget()

    def _forget(self) -> None:
        self.frames = self.reached = 0
        self._faults: dict[FeatureKey, Fault] = {}
        self._tracks: dict[int, list[_Track]] = {}
        self._gatherers: dict[int, UnitGatherer] = {}
        self._streams: list[FlowStream] = []
        self._facts: dict[str, Any] = {}

    @property
    def share(self) -> float:
        """How much of the video has been read, 0 to 1."""
        return self.reached / self.frames if self.frames else 0.0

    def open(self, opened: Opened) -> None:
        """Learn the plan; a second one starts all over.

        Raises:
            DiskFullError: no space for a feature is left.
        """
        self.abandon()
        self.frames, self._facts = opened.frames, opened.facts
        units = [one if isinstance(one, Units) else None for one in opened.units]
        self._layout: Layout = lay_out(self.wishes, units)
        for position, planned in enumerate(opened.units):
            features = [f for f in self.features if _wish(f) == self.wishes[position]]
            if isinstance(planned, str):
                for feature in features:
                    self._on_fault(feature.spec.key, Fault(planned, lasting=True))
                continue
            self._gatherers[position] = UnitGatherer(self._layout.slots[position])
            self._tracks[position] = list(self._make_tracks(features, planned))
        if self._tvl1 is not None:
            self._streams = [FlowStream(self._tvl1, feed.pairs) for feed in self._layout.flows]

    def _make_tracks(self, features: Sequence[Feature], units: Units) -> Iterator[_Track]:
        by_network: dict[Any, list[Feature]] = {}
        for feature in features:
            by_network.setdefault((feature.spec.backbone, feature.setup), []).append(feature)
        for group in by_network.values():
            writers = {
                one.spec.key: self._open[one.spec.key].enter_context(self._begin(one, units))
                for one in group
            }
            yield _Track(self.video, group, units, writers, self._clock, self._on_fault)

    def _on_fault(self, key: FeatureKey, fault: Fault) -> None:
        self._faults.setdefault(key, fault)
        _close_without_trace(self._open[key])

    def take(self, items: Items) -> None:
        """Take the next items of a feed."""
        self.reached = max(self.reached, items.reached)
        kind, position, part = items.feed
        for number, item in zip(items.numbers, np.asarray(items.pictures), strict=True):
            if kind == "frames":
                self._deliver(self._layout.frames[position].wishes, number, item)
            elif kind == "fields":
                wishes = self._layout.flows[position].fields[part][1]
                self._deliver(wishes, number, item)
            else:
                with self._clock("flow"):
                    done = list(self._streams[position].push(number, item))
                self._deliver_flow(position, done)

    def close(self, closed: Closed, versions: Mapping[str, Any]) -> Finished:
        """Compute what still waits, and store the features that are whole.

        Args:
            closed: the reader's last word.
            versions: kept with every feature; ``flow`` only with those that look at flow.

        Raises:
            DiskFullError: the disk is full.
        """
        for position, stream in enumerate(self._streams):
            with self._clock("flow"):
                done = list(stream.finish())
            self._deliver_flow(position, done)
        self._batches.flush(self._is_mine)
        provenance = {
            **versions,
            "stream": self._facts,
            "frames_decoded": self.frames,
            "frames_damaged": closed.damaged_frames,
        }
        for tracks in self._tracks.values():
            for track in tracks:
                track.finish(provenance)
        computed = tuple(f.spec.key for f in self.features if f.spec.key not in self._faults)
        for key in computed:
            with self._clock("write"):
                self._open[key].close()
        return Finished(
            self.frames, computed, self._faults, tuple(dict.fromkeys(self._notes(closed)))
        )

    def abandon(self) -> None:
        """Leave no trace of what has been computed so far."""
        self._batches.drop(self._is_mine)
        for stack in self._open.values():
            _close_without_trace(stack)
        self._forget()

    def _is_mine(self, taker: Taker) -> bool:
        return any(taker in tracks for tracks in self._tracks.values())

    def _deliver(self, wishes: Sequence[int], number: int, item: NDArray[Any]) -> None:
        for wish in wishes:
            for unit in self._gatherers[wish].push(number, item):
                for track in self._tracks[wish]:
                    track.push(unit, self._batches)

    def _deliver_flow(self, position: int, done: Sequence[tuple[int, NDArray[np.float32]]]) -> None:
        for pair, flow in done:
            for preset, wishes in self._layout.flows[position].fields:
                self._deliver(wishes, pair, preset.field(flow))

    def _notes(self, closed: Closed) -> Iterator[str]:
        for tracks in self._tracks.values():
            for track in tracks:
                spec = track.features[0].spec
                if track.units.padded_frames:
                    padded = f"{track.units.padded_frames} of {spec.sampling.frames}"
                    yield f"{spec.backbone}: {padded} frames padded"
        if closed.damaged_frames:
            yield f"{closed.damaged_frames} damaged frames"


def wishes_of(features: Sequence[Feature]) -> tuple[Wish, ...]:
    """What a video's features look at, each once."""
    return tuple(dict.fromkeys(_wish(feature) for feature in features))


def _wish(feature: Feature) -> Wish:
    return Wish(feature.view, feature.spec.sampling)


def _close_without_trace(stack: ExitStack) -> None:
    with suppress(_AbandonedError), stack:
        raise _AbandonedError
