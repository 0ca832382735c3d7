"""One pass over a video's frames computes all its features.

Each frame is converted and resized once for every preset that some feature asks for; flow is
computed once for every preset that some flow feature asks for.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..features.errors import VideoError
from ..features.segments import Timeline, Units
from ..features.store import PartWriter
from .clips import UnitGatherer, frame_pairs
from .decode import Scan, decode
from .flow import TVL1, FlowStream
from .request import Feature

# Enough units for a network to work in large matrices, few enough to keep memory small.
_BATCH_UNITS = 8
_MIN_FRAMES = 2


class _Track:
    """One feature of the video in hand: runs the backbone on complete units, appends rows."""

    def __init__(self, path: Path, feature: Feature, units: Units, writer: PartWriter) -> None:
        self._path = path
        self.feature = feature
        self.units = units
        self.writer = writer
        self._waiting: list[NDArray[Any]] = []
        self._done = 0

    def push(self, unit: NDArray[Any]) -> None:
        """Take the pictures, or flow fields, of the next unit."""
        self._waiting.append(unit)
        if len(self._waiting) == _BATCH_UNITS:
            self.flush()

    def flush(self) -> None:
        """Run what waits for a full batch."""
        if not self._waiting:
            return
        spec = self.feature.spec
        stop = self._done + len(self._waiting)
        seconds = self.units.frame_times[self._done : stop]
        layers = self.feature.backbone(np.stack(self._waiting), seconds)
        rows = layers[spec.layer].astype(spec.precision)
        if not np.isfinite(rows).all():
            raise VideoError(
                f"{self._path}: {spec.key} is not finite at {seconds[0, 0]:.3f} s; check the "
                "weights, or use --precision float32"
            )
        self.writer.append(rows)
        self._done = stop
        self._waiting.clear()

    def finish(self, provenance: Mapping[str, Any]) -> None:
        """Store the part with the times of its units."""
        self.writer.finish(
            self.units.times,
            self.units.frame_times,
            {**provenance, "padded_frames": self.units.padded_frames},
        )


class _PresetPass:
    """All features under one preset: each frame is resized once, each flow field computed once."""

    def __init__(self, path: Path, tracks: Sequence[_Track], tvl1: TVL1) -> None:
        self._path = path
        self._shape: tuple[int, ...] | None = None
        self.tracks = tracks
        self._preset = tracks[0].feature.preset
        rgb = [track for track in tracks if track.feature.spec.stream == "rgb"]
        flow = [track for track in tracks if track.feature.spec.stream == "flow"]
        self._rgb = [(track, UnitGatherer(track.units.frames)) for track in rgb]
        self._flow: list[tuple[_Track, UnitGatherer]] = []
        self._fields: FlowStream | None = None
        self.wanted = frozenset(number for _, units in self._rgb for number in units.wanted)
        if flow:
            pairs, slots = frame_pairs(*(track.units.frames for track in flow))
            self._flow = [
                (track, UnitGatherer(slot)) for track, slot in zip(flow, slots, strict=True)
            ]
            self._fields = FlowStream(tvl1, pairs)
            self.wanted |= self._fields.wanted

    def push(self, number: int, picture: NDArray[np.uint8]) -> None:
        """Take the next wanted frame, (H, W, 3)."""
        image = self._preset.frame(picture)
        if image.shape != (self._shape or image.shape):
            raise VideoError(
                f"{self._path}: the picture changes its shape to {picture.shape[1]}x"
                f"{picture.shape[0]} at frame {number}; convert it to one size"
            )
        self._shape = image.shape
        _hand_out(self._rgb, number, image)
        if self._fields is not None:
            for pair, field in self._fields.push(number, image):
                _hand_out(self._flow, pair, field)

    def finish(self) -> None:
        """Wait for flow still being computed, and run what waits for a full batch."""
        if self._fields is not None:
            for pair, field in self._fields.finish():
                _hand_out(self._flow, pair, field)
        for track in self.tracks:
            track.flush()


def _hand_out(
    takers: Sequence[tuple[_Track, UnitGatherer]], number: int, item: NDArray[Any]
) -> None:
    for track, gatherer in takers:
        for unit in gatherer.push(number, item):
            track.push(unit)


@dataclass(frozen=True)
class Seen:
    """What one pass found out about a video.

    Args:
        frames: decoded.
        damaged_frames: of those, how many the decoder had to make up in part.
        notes: what a careful person wants to know, such as padding.
    """

    frames: int
    damaged_frames: int
    notes: tuple[str, ...]


def compute(
    planned: Scan,
    timeline: Timeline,
    features: Sequence[Feature],
    begin: Callable[[Feature, Units], AbstractContextManager[PartWriter]],
    provenance: Mapping[str, Any],
    tvl1: TVL1,
    on_frames: Callable[[int, int], None],
) -> Seen:
    """Decode the frames of a timeline once and store every feature.

    Args:
        planned: scan of the file.
        timeline: the part of it to use.
        features: at least one.
        begin: opens the part that a feature's rows go to.
        provenance: kept with every feature.
        tvl1: an entered pool.
        on_frames: told of frames decoded and frames in all.

    Raises:
        TimelineDiffersError: scan again with ``exact=True``; nothing is stored.
        VideoError: the video cannot be decoded, or is too short; nothing is stored.
    """
    total = len(timeline.pts_seconds)
    if total < _MIN_FRAMES:
        raise VideoError(
            f"{planned.path} shows a single frame; skill needs a video of at least {_MIN_FRAMES}"
        )
    first = int(np.searchsorted(planned.timeline.pts_seconds, timeline.start_seconds))
    with ExitStack() as open_parts:
        tracks = [_track(planned, timeline, feature, begin, open_parts) for feature in features]
        passes = [
            _PresetPass(planned.path, [t for t in tracks if t.feature.spec.preset == preset], tvl1)
            for preset in dict.fromkeys(feature.spec.preset for feature in features)
        ]
        damaged = 0
        for decoded in decode(planned, first, first + total - 1):
            number = decoded.index - first
            damaged += decoded.frame.is_corrupt
            takers = [one for one in passes if number in one.wanted]
            if takers:
                picture = decoded.rgb()
                for one in takers:
                    one.push(number, picture)
            on_frames(number + 1, total)
        for one in passes:
            one.finish()
        facts = {**provenance, "frames_decoded": total, "frames_damaged": damaged}
        for track in tracks:
            track.finish(facts)
    return Seen(total, damaged, tuple(_notes(tracks, damaged)))


def _track(
    planned: Scan,
    timeline: Timeline,
    feature: Feature,
    begin: Callable[[Feature, Units], AbstractContextManager[PartWriter]],
    open_parts: ExitStack,
) -> _Track:
    try:
        units = feature.spec.sampling.plan(timeline)
    except VideoError as error:
        raise VideoError(f"{planned.path}: {error}") from None
    return _Track(planned.path, feature, units, open_parts.enter_context(begin(feature, units)))


def _notes(tracks: Sequence[_Track], damaged: int) -> Iterator[str]:
    for track in tracks:
        spec = track.feature.spec
        if track.units.padded_frames:
            padded = f"{track.units.padded_frames} of {spec.sampling.frames}"
            yield f"{spec.backbone}: {padded} frames padded"
    if damaged:
        yield f"{damaged} damaged frames"
