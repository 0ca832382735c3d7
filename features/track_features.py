"""Tracks as features: resampled by time, one vector a step, one feature a group of columns.

A track is cut into T parts of equal duration. Each column is interpolated linearly at F instants spread
evenly over a part, and their mean is the part's row. A gap is bridged by the same line between its
neighbours, and held at the ends; how much was bridged stands in the provenance.

A column gives up to four channels: its mean as measured, ``raw``; the same less the column's first
known sample, ``from-start``, for which it does not matter where somebody stands; and its mean
``velocity`` and ``speed`` over the part, in units of the column a second: there and back is no
velocity, but it is speed.
"""

import hashlib
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, cast, get_args

import numpy as np
from numpy.typing import NDArray

from .errors import RecipeError, VideoError
from .interchange import OnVideo, holds, ignore_videos, parse_word, put
from .manifest import Manifest
from .outcome import Outcome
from .segments import Sampling, equal_parts, instants_of_steps
from .source import Source
from .spec import FeatureSpec
from .store import Feature, FeatureStore
from .track_files import find_tracks, read_track, track_name
from .track_poses import pose_files
from .tracks import Reading, Track

Channel = Literal["raw", "from-start", "velocity", "speed"]
_Array = NDArray[np.float64]

WHOLE = "all"
_HIGHEST_RATE = 1e6
_RANGE = re.compile(r"(\d+)(?:-(\d+))?")


@dataclass(frozen=True)
class Group:
    """Columns that make one feature.

    Args:
        name: layer of the feature.
        columns: numbers from 0, ranges such as ``0-37``, and names of columns or joints; none takes
            all columns.
    """

    name: str
    columns: tuple[str, ...] = ()

    @classmethod
    def parse(cls, text: str) -> "Group":
        """Read ``NAME=COLUMNS``, for example ``primary=0-37`` or ``wrists=LWrist,RWrist``.

        Raises:
            RecipeError: a name that no key can hold, or no columns.
        """
        name, _, columns = text.partition("=")
        words = tuple(word.strip() for word in columns.split(","))
        if not all(words):
            raise RecipeError(
                f"--group {text!r} must be NAME=COLUMNS, for example primary=0-37 or hands=0-8,19"
            )
        for word in words:
            match = _RANGE.fullmatch(word)
            if match and match[2] and int(match[2]) < int(match[1]):
                raise RecipeError(f"--group {text!r}: {word} runs backwards; turn it round")
        return cls(parse_word("--group", name), words)

    def places(self, track: Track) -> list[int]:
        """Positions of the columns in a track.

        Raises:
            VideoError: the track has no such column.
        """
        if not self.columns:
            return list(range(track.values.shape[1]))
        return [place for word in self.columns for place in self._places(word, track)]

    def _places(self, word: str, track: Track) -> list[int]:
        match = _RANGE.fullmatch(word)
        if match:
            first, last = int(match[1]), int(match[2] or match[1])
            if last >= track.values.shape[1]:
                raise VideoError(
                    f"has columns 0 to {track.values.shape[1] - 1}, but --group {self.name} needs "
                    f"{last}; correct it"
                )
            return list(range(first, last + 1))
        names = track.columns
        found = [i for i, name in enumerate(names) if word in (name, name.rpartition(".")[0])]
        if not found:
            named = f"they are {', '.join(names)}" if names else "its columns have no names"
            raise VideoError(f"no column {word!r} of --group {self.name} ({named}); correct it")
        return found


def parse_channels(text: str) -> tuple[Channel, ...]:
    """Read words between commas, for example ``raw,velocity``.

    Raises:
        RecipeError: a word that is no channel, one twice, or none.
    """
    words = tuple(word.strip() for word in text.split(","))
    _check_channels(words)
    return cast(tuple[Channel, ...], words)


def _check_channels(words: Sequence[str]) -> None:
    known = get_args(Channel)
    if not words or not {*known}.issuperset(words) or len({*words}) < len(words):
        raise RecipeError(
            f"--channels {','.join(words)!r} must be one or more of {', '.join(known)}, each once, "
            "between commas"
        )


@dataclass(frozen=True)
class TrackRequest:
    """What to make of tracks.

    Args:
        name: the backbone of the features, such as ``kinematics`` or ``pose``.
        sampling: ``steps``, without a rate.
        reading: how the files are read.
        groups: one feature each.
        channels: of each column; the columns of a group come once for each, in this order.

    Raises:
        RecipeError: another sampling, a name that no key can hold, two groups of one name, or
            channels that do not exist or come twice.
    """

    name: str
    sampling: Sampling
    reading: Reading
    groups: tuple[Group, ...]
    channels: tuple[Channel, ...] = ("raw",)

    def __post_init__(self) -> None:
        parse_word("--as", self.name)
        _check_channels(self.channels)
        if self.reading.rate is not None and not 0 < self.reading.rate <= _HIGHEST_RATE:
            raise RecipeError(f"--rate {self.reading.rate} must be positive, in samples a second")
        if self.sampling.rule != "steps" or self.sampling.fps is not None:
            raise RecipeError(
                f"--sampling {self.sampling.text}: tracks are cut into equal parts; write a "
                "sampling such as steps-10x16"
            )
        for name, count in Counter(group.name for group in self.groups).items():
            if count > 1:
                raise RecipeError(f"--group {name} twice; write all its columns after one name")

    def spec(self, group: Group) -> FeatureSpec:
        """The feature that a group becomes; that of a person by place is another one."""
        person = self.reading.person
        preset = "-".join(self.channels) + (f"-person-{person}" if person is not None else "")
        return FeatureSpec(self.name, "track", group.name, self.sampling, preset)

    def facts(self, group: Group) -> dict[str, Any]:
        """What decides a feature beside its key and its source, for the provenance."""
        return {"reading": asdict(self.reading), "columns": list(group.columns)}


@dataclass(frozen=True)
class Resampled:
    """A track, or a group of its columns, in steps.

    Args:
        values: (T, C), all columns of the first channel, then of the next.
        times: (T, 3) start, centre and end of each step in seconds.
        instants: (T, F) at which the track was looked at, in seconds.
        interpolated_samples: of the track, in which some value was missing.
        interpolated_values: that were missing.
    """

    values: NDArray[np.float64]
    times: NDArray[np.float64]
    instants: NDArray[np.float64]
    interpolated_samples: int
    interpolated_values: int


@dataclass(frozen=True)
class _Line:
    """A column as straight lines between its K known samples, held before and after them."""

    seconds: _Array
    values: _Array

    def at(self, instants: _Array) -> _Array:
        return np.interp(instants, self.seconds, self.values)

    def raw(self, edges: _Array, instants: _Array) -> _Array:
        means: _Array = self.at(instants).mean(axis=1)
        return means

    def from_start(self, edges: _Array, instants: _Array) -> _Array:
        return self.raw(edges, instants) - float(self.values[0])

    def velocity(self, edges: _Array, instants: _Array) -> _Array:
        return np.diff(self.at(edges)) / np.diff(edges)

    def speed(self, edges: _Array, instants: _Array) -> _Array:
        way = np.concatenate([[0.0], np.abs(np.diff(self.values)).cumsum()])
        speeds: _Array = np.diff(np.interp(edges, self.seconds, way)) / np.diff(edges)
        return speeds


# Of a line, the edges of its parts (T + 1,) and the instants in them (T, F), to (T,).
_CHANNELS: dict[Channel, Callable[[_Line, _Array, _Array], _Array]] = {
    "raw": _Line.raw,
    "from-start": _Line.from_start,
    "velocity": _Line.velocity,
    "speed": _Line.speed,
}


def resample(
    track: Track, places: Sequence[int], sampling: Sampling, channels: Sequence[Channel] = ("raw",)
) -> Resampled:
    """Some columns in T equal parts, interpolated linearly at F instants a part.

    ``raw`` is the mean over the instants, ``from-start`` the same less the first known sample x_0,
    ``velocity`` the mean over a part, (x(end) - x(start)) / (end - start), and ``speed`` that of its
    size, the way that x goes over (end - start).

    Args:
        track: (M, C'), with gaps.
        places: of the columns.
        sampling: ``steps``.
        channels: of each column.

    Raises:
        VideoError: a column without any value.
    """
    assert sampling.count is not None
    timeline = track.timeline
    edges, times = equal_parts(timeline.start_seconds, timeline.end_seconds, sampling.count)
    instants = instants_of_steps(edges, sampling.frames)  # (T, F)
    values = track.values[:, list(places)]
    known = np.isfinite(values)
    for place, known_column in zip(places, known.T, strict=True):
        if not known_column.any():
            name = f" ({track.columns[place]})" if track.columns else ""
            raise VideoError(f"column {place}{name} has no value at all; leave it out with --group")
    lines = [
        _Line(timeline.pts_seconds[there], column[there])
        for column, there in zip(values.T, known.T, strict=True)
    ]
    columns = [_CHANNELS[channel](line, edges, instants) for channel in channels for line in lines]
    return Resampled(
        np.stack(columns, axis=1),
        times,
        instants,
        int((~known).any(axis=1).sum()),
        int((~known).sum()),
    )


@dataclass(frozen=True)
class Recording:
    """A stretch of a track that becomes features of one video.

    Args:
        video: id.
        path: where the track lies, for messages.
        read: gives the whole track; raises :class:`VideoError`.
        identify: gives what the track is read from, as a whole; raises :class:`VideoError`.
        start_seconds: where the stretch begins; None is the start of the track.
        end_seconds: where it ends; None is the end of the track.
    """

    video: str
    path: Path
    read: Callable[[], Track]
    identify: Callable[[], Source]
    start_seconds: float | None = None
    end_seconds: float | None = None


def import_tracks(
    store: FeatureStore,
    paths: Iterable[Path],
    request: TrackRequest,
    manifest: Manifest | None = None,
    on_video: OnVideo = ignore_videos,
) -> list[Outcome]:
    """Import tracks; an unchanged one that was made in the same way is kept.

    Args:
        store: to write.
        paths: files, or folders of them.
        request: what to make of them.
        manifest: whose videos the tracks belong to, by id or by the name of the video's file; start
            and end cut the track.
        on_video: told how many videos of how many are done, and the last one.

    Returns:
        What became of each video, or of each file that belongs to none.

    Raises:
        RecipeError: two files stand for one video.
        VideoError: a path does not exist or holds no track.
        StoreError: the store cannot be written.
        DiskFullError: no space is left.
    """
    found = [
        item for path in find_tracks(paths) for item in _of_file(store, path, request, manifest)
    ]
    return import_recordings(store, found, request, on_video)


def import_recordings(
    store: FeatureStore,
    recordings: Sequence[Recording | Outcome],
    request: TrackRequest,
    on_video: OnVideo = ignore_videos,
) -> list[Outcome]:
    """Import tracks that somebody else has found; an unchanged one made in the same way is kept.

    Args:
        store: to write.
        recordings: the tracks; or what became of a video without one.
        request: what to make of them.
        on_video: told how many videos of how many are done, and the last one.

    Returns:
        What became of each video.

    Raises:
        RecipeError: two tracks stand for one video.
        StoreError: the store cannot be written.
        DiskFullError: no space is left.
    """
    _check_one_each([item for item in recordings if isinstance(item, Recording)])
    outcomes = []
    for number, item in enumerate(recordings, 1):
        outcome = item if isinstance(item, Outcome) else _import(store, item, request)
        outcomes.append(outcome)
        on_video(number, len(recordings), outcome.video_id)
    return outcomes


def _check_one_each(recordings: Iterable[Recording]) -> None:
    seen: dict[str, Path] = {}
    for one in recordings:
        if one.video in seen:
            raise RecipeError(
                f"{seen[one.video]} and {one.path} both stand for video '{one.video}'; rename one "
                "or import their folders into stores of their own"
            )
        seen[one.video] = one.path


def _of_file(
    store: FeatureStore, path: Path, request: TrackRequest, manifest: Manifest | None
) -> list[Recording | Outcome]:
    name = track_name(path)
    make = partial(
        Recording,
        path=path,
        read=partial(read_track, path, request.reading),
        identify=partial(_identify, store, path),
    )
    if manifest is None:
        return [make(name)]
    by_id = [video for video in manifest.videos if video.id == name]
    by_file = [video for video in manifest.videos if video.path and video.path.stem == name]
    reason = (
        f"{path}: the manifest has no video with id or file {name!r}; list it or rename the file"
    )
    return [
        make(video.id, start_seconds=video.start_seconds, end_seconds=video.end_seconds)
        for video in by_id or by_file
    ] or [Outcome(name, failure=reason)]


def _import(store: FeatureStore, item: Recording, request: TrackRequest) -> Outcome:
    with store.claim(item.video) as mine:
        if not mine:
            return Outcome(item.video, notes=("another process has it in hand",))
        try:
            source = replace(
                item.identify(), start_seconds=item.start_seconds, end_seconds=item.end_seconds
            )
            missing = {
                group: request.spec(group)
                for group in request.groups
                if not holds(store, request.spec(group), item.video, source, request.facts(group))
            }
            features = _features(item, request, missing) if missing else {}
        except VideoError as error:
            return Outcome(item.video, failure=str(error))
        for group, feature in features.items():
            put(store, missing[group], item.video, source, feature)
    keys = [request.spec(group).key for group in request.groups]
    computed = tuple(spec.key for spec in missing.values())
    kept = tuple(key for key in keys if key not in computed)
    return Outcome(item.video, computed=computed, kept=kept, notes=_notes(features))


def _identify(store: FeatureStore, path: Path) -> Source:
    """What a track is read from; of a folder, all its files together."""
    if not path.is_dir():
        return store.source(path)
    digest, size, changed = hashlib.sha256(), 0, 0
    try:
        for file in pose_files(path):
            data, status = file.read_bytes(), file.stat()
            digest.update(hashlib.sha256(file.name.encode(errors="surrogatepass")).digest())
            digest.update(hashlib.sha256(data).digest())
            size, changed = size + status.st_size, max(changed, status.st_mtime_ns)
    except OSError as error:
        raise VideoError(
            f"{error.filename or path}: cannot be read ({error.strerror}); correct it"
        ) from None
    return Source(path.name, size, changed, digest.hexdigest())


def _features(
    item: Recording, request: TrackRequest, groups: Iterable[Group]
) -> dict[Group, Feature]:
    track = item.read()
    try:
        track = track.trim(item.start_seconds, item.end_seconds)
        return {group: _feature(track, group, request) for group in groups}
    except VideoError as error:
        raise VideoError(f"{item.path}: {error}") from None


def _feature(track: Track, group: Group, request: TrackRequest) -> Feature:
    places = group.places(track)
    with np.errstate(over="ignore", invalid="ignore"):
        made = resample(track, places, request.sampling, request.channels)
        values = made.values.astype(np.float32)
    if not np.isfinite(values).all():
        raise VideoError("holds values too large for float32; correct its unit")
    provenance = {
        **request.facts(group),
        "names": [track.columns[place] for place in places] if track.columns else [],
        "channels": list(request.channels),
        "samples": len(track.values),
        "interpolated_samples": made.interpolated_samples,
        "interpolated_values": made.interpolated_values,
        "crowded_samples": int(track.crowded.sum()) if track.crowded is not None else 0,
    }
    return Feature(values, made.times, made.instants, provenance)


def _notes(features: Mapping[Group, Feature]) -> tuple[str, ...]:
    made = [feature.provenance for feature in features.values()]
    gaps = max((one["interpolated_samples"] for one in made), default=0)
    crowded = max((one["crowded_samples"] for one in made), default=0)
    notes = []
    if gaps:
        notes.append(f"gaps in {gaps} of {made[0]['samples']} samples bridged")
    if crowded:
        notes.append(f"{crowded} frames show several people")
    return tuple(notes)
