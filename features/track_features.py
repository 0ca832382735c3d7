"""Tracks as features: resampled by time, one vector a step, one feature a group of columns.

A track is cut into T parts of equal duration. Each column is interpolated linearly at F instants spread
evenly over a part, and their mean is the part's row. A gap is bridged by the same line between its
neighbours, and held at the ends; how much was bridged stands in the provenance.
"""

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

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


@dataclass(frozen=True)
class TrackRequest:
    """What to make of files of tracks.

    Args:
        name: the backbone of the features, such as ``kinematics`` or ``pose``.
        sampling: ``steps``, without a rate.
        reading: how the files are read.
        groups: one feature each.

    Raises:
        RecipeError: another sampling, a name that no key can hold, or two groups of one name.
    """

    name: str
    sampling: Sampling
    reading: Reading
    groups: tuple[Group, ...]

    def __post_init__(self) -> None:
        parse_word("--as", self.name)
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
        preset = "raw" if person is None else f"raw-person-{person}"
        return FeatureSpec(self.name, "track", group.name, self.sampling, preset)

    def facts(self, group: Group) -> dict[str, Any]:
        """What decides a feature beside its key and its source, for the provenance."""
        return {"reading": asdict(self.reading), "columns": list(group.columns)}


@dataclass(frozen=True)
class Resampled:
    """A track, or a group of its columns, in steps.

    Args:
        values: (T, C).
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


def resample(track: Track, places: Sequence[int], sampling: Sampling) -> Resampled:
    """Mean of some columns over each of T equal parts, by linear interpolation at F instants a part.

    Args:
        track: (M, C'), with gaps.
        places: of the C columns.
        sampling: ``steps``.

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
    columns = [
        np.interp(instants, timeline.pts_seconds[there], column[there]).mean(axis=1)
        for column, there in zip(values.T, known.T, strict=True)
    ]
    return Resampled(
        np.stack(columns, axis=1),
        times,
        instants,
        int((~known).any(axis=1).sum()),
        int((~known).sum()),
    )


@dataclass(frozen=True)
class _Item:
    """A stretch of a track that becomes features of one video."""

    video: str
    path: Path
    start_seconds: float | None = None
    end_seconds: float | None = None
    failure: str | None = None


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
    items = _items(find_tracks(paths), manifest)
    outcomes = []
    for number, item in enumerate(items, 1):
        outcomes.append(_import(store, item, request))
        on_video(number, len(items), item.video)
    return outcomes


def _items(paths: Sequence[Path], manifest: Manifest | None) -> list[_Item]:
    items = [item for path in paths for item in _items_of(path, manifest)]
    seen: dict[str, Path] = {}
    for item in items:
        if item.video in seen and item.failure is None:
            raise RecipeError(
                f"{seen[item.video]} and {item.path} both stand for video '{item.video}'; rename one "
                "or import their folders into stores of their own"
            )
        if item.failure is None:
            seen[item.video] = item.path
    return items


def _items_of(path: Path, manifest: Manifest | None) -> list[_Item]:
    name = track_name(path)
    if manifest is None:
        return [_Item(name, path)]
    by_id = [video for video in manifest.videos if video.id == name]
    by_file = [video for video in manifest.videos if video.path and video.path.stem == name]
    found = [
        _Item(video.id, path, video.start_seconds, video.end_seconds) for video in by_id or by_file
    ]
    reason = (
        f"{path}: the manifest has no video with id or file {name!r}; list it or rename the file"
    )
    return found or [_Item(name, path, failure=reason)]


def _import(store: FeatureStore, item: _Item, request: TrackRequest) -> Outcome:
    if item.failure is not None:
        return Outcome(item.video, failure=item.failure)
    with store.claim(item.video) as mine:
        if not mine:
            return Outcome(item.video, notes=("another process has it in hand",))
        try:
            source = _source(store, item)
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


def _source(store: FeatureStore, item: _Item) -> Source:
    """What the features are made from; of a folder, all its files together."""
    stretch = (item.start_seconds, item.end_seconds)
    if not item.path.is_dir():
        return store.source(item.path, *stretch)
    digest, size, changed = hashlib.sha256(), 0, 0
    try:
        for path in pose_files(item.path):
            data, status = path.read_bytes(), path.stat()
            digest.update(hashlib.sha256(path.name.encode(errors="surrogatepass")).digest())
            digest.update(hashlib.sha256(data).digest())
            size, changed = size + status.st_size, max(changed, status.st_mtime_ns)
    except OSError as error:
        raise VideoError(f"{path}: cannot be read ({error.strerror}); correct it") from None
    return Source(item.path.name, size, changed, digest.hexdigest(), *stretch)


def _features(item: _Item, request: TrackRequest, groups: Iterable[Group]) -> dict[Group, Feature]:
    track = read_track(item.path, request.reading)
    try:
        track = track.trim(item.start_seconds, item.end_seconds)
        return {group: _feature(track, group, request) for group in groups}
    except VideoError as error:
        raise VideoError(f"{item.path}: {error}") from None


def _feature(track: Track, group: Group, request: TrackRequest) -> Feature:
    places = group.places(track)
    with np.errstate(over="ignore", invalid="ignore"):
        made = resample(track, places, request.sampling)
        values = made.values.astype(np.float32)
    if not np.isfinite(values).all():
        raise VideoError("holds values too large for float32; correct its unit")
    provenance = {
        **request.facts(group),
        "names": [track.columns[place] for place in places] if track.columns else [],
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
