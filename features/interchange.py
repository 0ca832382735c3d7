"""Features in and out of a store as NumPy archives, one a video.

The layout is that of the released features of Doughty et al., CVPR 2019: ``<id>_rgb.npz`` or
``<id>_flow.npz``, whose only array ``arr_0`` is (T, C) float32. A file ``aqakit-export.json`` beside
them keeps what the arrays do not say, so that the import of an export gives the very same entries:

    {"format": "aqakit-export", "version": 1, "files": {"<file>": {
        "video": id, "sha256": of the file, "times": [[start, centre, end], ...],
        "frame_times": [[...], ...], "provenance": {"spec": ..., "source": ..., ...}}}}

A time that is not known is null. Several exports may share a folder, such as those of two streams.
"""

import hashlib
import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .durable import replacing, write_all, write_errors
from .errors import DiskFullError, RecipeError, StoreError, VideoError
from .names import record_name
from .npz import read_npz, write_npz
from .outcome import Outcome
from .source import Source
from .spec import FeatureKey, FeatureSpec
from .store import Feature, FeatureStore

RECORD = "aqakit-export.json"
FORMAT = "aqakit-export"
VERSION = 1
ARRAY = "arr_0"

OnVideo = Callable[[int, int, str], None]

# File systems take names of 255 bytes; a suffix and what marks an unfinished file are added.
_NAME_BYTES = 200
# What some file system refuses, hides or reads as a path.
_UNSAFE = re.compile(r'^\.|[. ]$|[\x00-\x1f\x7f/\\:*?"<>|]|\.[0-9a-f]{16}$')


def ignore_videos(done: int, total: int, video: str) -> None:
    """Report nothing."""


def file_names(videos: Iterable[str], stream: str) -> dict[str, str]:
    """The file of each video, by id: the id itself where every file system can take it.

    Else, and where two ids differ in capitals only, what can be read of the id and a hash of it.
    """
    videos = list(videos)
    spelled = Counter(video.casefold() for video in videos)
    return {
        video: f"{video if spelled[video.casefold()] == 1 and _is_safe(video) else record_name(video)}"
        f"_{stream}.npz"
        for video in videos
    }


def _is_safe(video: str) -> bool:
    try:
        size = len(video.encode())
    except UnicodeEncodeError:
        return False
    return 0 < size <= _NAME_BYTES and not _UNSAFE.search(video)


# Export


def export_feature(
    store: FeatureStore,
    key: FeatureKey,
    folder: Path,
    overwrite: bool = False,
    on_video: OnVideo = ignore_videos,
) -> list[Outcome]:
    """Write a feature of every video that has it, and the record beside them.

    Args:
        store: that holds it.
        key: of the feature.
        folder: to write; made where there is none.
        overwrite: replace files that are there.
        on_video: told how many files of how many are written, and the last one's video.

    Returns:
        What became of each video; a damaged entry, or one that does not fit the layout, fails alone.

    Raises:
        RecipeError: its rows are maps, which the layout does not hold.
        StoreError: a file is there already, or the folder cannot be written.
        DiskFullError: no space is left.
    """
    shapes = store.overview(key).row_shapes
    if any(len(shape) != 1 for shape in shapes):
        rows = " and ".join("x".join(map(str, shape)) for shape in shapes)
        raise RecipeError(
            f"{key}: its rows are {rows}, but a file holds one vector a row, (T, C); export another "
            "layer, or read maps with FeatureStore.read"
        )
    names = file_names(store.videos(key), store.spec(key).stream)
    record = _read_entries(folder) if (folder / RECORD).exists() else {}
    taken = next((folder / name for name in names.values() if (folder / name).exists()), None)
    if taken is not None and not overwrite:
        raise StoreError(f"{taken}: is there already; name another folder, or give --overwrite")
    outcomes = []
    for number, (video, name) in enumerate(names.items(), 1):
        try:
            record[name] = _export(video, store.read(key, video), folder / name)
            outcomes.append(Outcome(video, computed=(key,)))
        except DiskFullError:
            raise
        except (StoreError, VideoError) as error:
            outcomes.append(Outcome(video, failure=str(error)))
        on_video(number, len(names), video)
    _write_record(folder, record)
    return outcomes


def _export(video: str, feature: Feature, path: Path) -> dict[str, Any]:
    values = feature.values
    if values.ndim != 2:
        raise VideoError(
            f"video '{video}' has an array of shape {values.shape}; the layout holds one vector a "
            "row, (T, C)"
        )
    if not np.isfinite(values).all():
        raise VideoError(f"video '{video}' holds values that are not finite; extract it again")
    write_npz(path, values.astype(np.float32))
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {
        "video": video,
        "sha256": digest,
        "times": _nested(feature.times),
        "frame_times": _nested(feature.frame_times),
        "provenance": feature.provenance,
    }


def _nested(times: NDArray[np.float64]) -> Any:
    """Nested lists, with None for nan, which JSON has not; a float's decimals name it exactly."""
    values = times.astype(object)
    values[np.isnan(times)] = None
    return values.tolist()


def _write_record(folder: Path, files: Mapping[str, Any]) -> None:
    record = {"format": FORMAT, "version": VERSION, "files": files}
    text = json.dumps(record, sort_keys=True, separators=(",", ":")) + "\n"
    with replacing(folder / RECORD) as descriptor, write_errors(folder):
        write_all(descriptor, memoryview(text.encode()), 0)


# Import


@dataclass(frozen=True)
class Exported:
    """What the record of an export says of one file.

    Args:
        video: id.
        sha256: of the file, in hex.
        spec: of the feature.
        source: what the feature was computed from.
        times: (T, 3) in seconds.
        frame_times: (T, F) in seconds.
        provenance: the rest of it.
    """

    video: str
    sha256: str
    spec: FeatureSpec
    source: Source
    times: NDArray[np.float64]
    frame_times: NDArray[np.float64]
    provenance: dict[str, Any]


def import_exported(
    store: FeatureStore, folder: Path, on_video: OnVideo = ignore_videos
) -> list[Outcome]:
    """Take back what :func:`export_feature` wrote, under its own keys, sources and times.

    The store then holds what the first store held: an extraction of the same videos keeps it.

    Raises:
        StoreError: the record cannot be read, or the store cannot be written.
        DiskFullError: no space is left.
    """
    entries = read_record(folder)
    strangers = sorted(path.name for path in folder.glob("*.npz") if path.name not in entries)
    outcomes = []
    for number, (name, entry) in enumerate(entries.items(), 1):
        outcomes.append(_import(store, folder / name, entry))
        on_video(number, len(entries), entry.video)
    for name in strangers:
        reason = (
            f"{folder / name}: is not in {RECORD}; import it from a folder of its own with --as"
        )
        outcomes.append(Outcome(name, failure=reason))
    return outcomes


def _import(store: FeatureStore, path: Path, entry: Exported) -> Outcome:
    def read() -> NDArray[np.float32]:
        if store.source(path).sha256 != entry.sha256:
            raise VideoError(
                f"{path}: is not what was exported; export it again, or move {RECORD} away and "
                "import the folder with --as"
            )
        values = read_array(path)
        if len(values) != len(entry.times):
            raise VideoError(f"{path}: {len(values)} rows, but {RECORD} has {len(entry.times)}")
        return values

    with store.claim(entry.video) as mine:
        if not mine:
            return Outcome(entry.video, notes=("another process has it in hand",))
        try:
            if holds(store, entry.spec, entry.video, entry.source, entry.provenance):
                return Outcome(entry.video, kept=(entry.spec.key,))
            feature = Feature(read(), entry.times, entry.frame_times, entry.provenance)
        except VideoError as error:
            return Outcome(entry.video, failure=str(error))
        put(store, entry.spec, entry.video, entry.source, feature)
        return Outcome(entry.video, computed=(entry.spec.key,))


def read_record(folder: Path) -> dict[str, Exported]:
    """The record of an export, by file.

    Raises:
        StoreError: there is none, or it is damaged.
    """
    entries = _read_entries(folder)
    try:
        return {name: _exported(name, entry) for name, entry in sorted(entries.items())}
    except (TypeError, KeyError, ValueError, AttributeError, OverflowError) as error:
        raise _damaged(folder, " ".join(str(error).split())) from None


def _read_entries(folder: Path) -> dict[str, Any]:
    path = folder / RECORD
    try:
        found = json.loads(path.read_bytes())
    except OSError as error:
        raise StoreError(f"{path}: cannot be read ({error.strerror}); correct it") from None
    except (ValueError, RecursionError) as error:
        raise _damaged(folder, str(error)) from None
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        raise _damaged(folder, "it is something else")
    if found.get("version") != VERSION:
        raise _damaged(folder, f"it is of version {found.get('version')}, not {VERSION}")
    files = found.get("files")
    if not isinstance(files, dict):
        raise _damaged(folder, "it lists no files")
    return files


def _damaged(folder: Path, reason: str) -> StoreError:
    return StoreError(
        f"{folder / RECORD}: is no record of an export that can be read ({reason}); export again, "
        "or move it away and import with --as"
    )


def _exported(name: str, entry: Any) -> Exported:
    if Path(name).name != name:
        raise ValueError(f"{name!r} is no file name")
    if not isinstance(entry["video"], str) or not entry["video"] or "\0" in entry["video"]:
        raise ValueError(f"{name} has no video")
    provenance = dict(entry["provenance"])
    spec = FeatureSpec.from_json(json.dumps(provenance.pop("spec")))
    source = Source(**provenance.pop("source"))
    times, frame_times = (
        np.array(entry[part], dtype=np.float64) for part in ("times", "frame_times")
    )
    if times.ndim != 2 or times.shape[1] != 3 or frame_times.ndim != 2 or not frame_times.size:
        raise ValueError(f"times of {name} have shapes {times.shape} and {frame_times.shape}")
    if len(times) != len(frame_times):
        raise ValueError(f"{name} has {len(times)} times and {len(frame_times)} frame times")
    return Exported(
        entry["video"], str(entry["sha256"]), spec, source, times, frame_times, provenance
    )


# What every import does


def read_array(path: Path) -> NDArray[np.float32]:
    """The array of one file of the layout, (T, C).

    Raises:
        VideoError: the file is broken, lacks ``arr_0``, or holds another shape, no rows, or values
            that are not finite numbers of 32 bits.
    """
    found = read_npz(path, (ARRAY,))
    if ARRAY not in found:
        raise VideoError(f"{path}: has no array '{ARRAY}'; save it with numpy.savez(file, array)")
    array = found[ARRAY]
    if array.ndim != 2 or not array.size:
        raise VideoError(
            f"{path}: '{ARRAY}' has shape {array.shape}; it must be (T, C) with at least one row"
        )
    with np.errstate(over="ignore"):
        values = array.astype(np.float32)
    if not np.isfinite(values).all():
        row = int(np.flatnonzero(~np.isfinite(values).all(axis=1))[0])
        raise VideoError(
            f"{path}: row {row} holds values that are not finite as float32; compute it again"
        )
    return values


def holds(
    store: FeatureStore,
    spec: FeatureSpec,
    video: str,
    source: Source,
    facts: Mapping[str, Any],
) -> bool:
    """Whether a store holds a feature of this source, made in this very way.

    Args:
        store: to look into.
        spec: of the feature.
        video: id.
        source: what it would be made from.
        facts: what its provenance must say, word for word.
    """
    if not store.has(spec.key, video, source):
        return False
    try:
        stored = store.read(spec.key, video).provenance
    except StoreError:
        return False  # damaged, and now replaced
    return all(stored.get(name) == fact for name, fact in facts.items())


def put(
    store: FeatureStore, spec: FeatureSpec, video: str, source: Source, feature: Feature
) -> None:
    """Write a whole feature of one video.

    Raises:
        DiskFullError: no space is left.
        StoreError: the store cannot be written.
    """
    frames = feature.frame_times.shape[1]
    with store.begin(spec, video, source, feature.values.shape, frames) as part:
        part.append(feature.values)
        part.finish(feature.times, feature.frame_times, feature.provenance)


def parse_word(option: str, text: str) -> str:
    """A word of a feature's key as a user gave it.

    Raises:
        RecipeError: it holds something else than letters, digits and hyphens.
    """
    if not text.replace("-", "").isalnum():
        raise RecipeError(f"{option}: {text!r} may hold letters, digits and hyphens only")
    return text
