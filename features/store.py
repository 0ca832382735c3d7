"""The feature store: a folder that maps (feature key, video id) to an array, its times and its origin.

    store.json              format and version
    parts/<key>/*.h5        one finished (video, feature) each, written by extraction
    shards/<key>/nnnn.h5    many parts merged by ``pack``
    failures/*.json         videos that could not be turned into features, and why
    sources/*.json          SHA-256 of source files seen before, by path, size and change time
    claims/*.lock           who works on which video now
    damaged.json            rows that the last ``verify`` found damaged

Any number of processes and machines may read and write one store at once, provided that its file
system has working ``flock`` locks (local disks and NFS 4 do). A finished file never changes: it is
replaced by a newer one or moved from a part into a shard, and readers follow.
"""

import json
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from filelock import BaseFileLock, FileLock, Timeout
from numpy.typing import ArrayLike, NDArray

from . import source as sources
from .catalog import Catalog, Damage, Entry
from .durable import read_json, replacing, sync_folder, write_errors, write_json
from .errors import StoreError
from .names import hash_in, hash_of, part_name, record_name
from .packing import Packer, PackSummary
from .rows import Rows
from .shard import DamagedError, Shard
from .shard_writer import ShardWriter, provenance_json
from .source import Source
from .spec import FeatureKey, FeatureSpec

FORMAT = "aqakit-store"
VERSION = 1
_FEATURES = {"parts", "shards"}
# Those of a request to 'extract'.
_NOT_IN_KEYS = {":", "@", "/"}
_OWN_NAMES = _FEATURES | {"failures", "sources", "claims", "damaged.json"}


@dataclass(frozen=True)
class Feature:
    """One feature of one video.

    Args:
        values: (N, ...) one row a unit, read-only and mapped from the file where it is contiguous.
        times: (N, 3) start, centre and end of each unit in seconds.
        frame_times: (N, F) presentation times of the frames in each unit, in seconds.
        provenance: ``spec``, ``source``, and what the extraction told of the stream and libraries.
    """

    values: NDArray[np.generic]
    times: NDArray[np.float64]
    frame_times: NDArray[np.float64]
    provenance: dict[str, Any]


@dataclass(frozen=True)
class Failure:
    """A video that could not be turned into features.

    Args:
        video: its id.
        reason: one line.
        source: identity of the source it was tried with; None where the file could not be read.
        keys: the features that were wanted.
    """

    video: str
    reason: str
    source: str | None
    keys: tuple[FeatureKey, ...] = ()


@dataclass(frozen=True)
class Overview:
    """What a store holds of one feature; superseded and damaged entries are not counted.

    Args:
        videos: number of them.
        rows: of all videos.
        row_shapes: every shape of a row met, usually one.
        parts: files not packed yet.
        shards: packed files.
        size_bytes: of all files.
    """

    videos: int
    rows: int
    row_shapes: tuple[tuple[int, ...], ...]
    parts: int
    shards: int
    size_bytes: int


class FeatureStore:
    """A store on disk; :meth:`open` or :meth:`create` gives one.

    Cheap to make and to send to another process: files are opened when they are first needed.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._catalogs: dict[FeatureKey, Catalog] = {}
        self._claimed: set[str] = set()
        self._lost = _read_lost(path)

    def __reduce__(self) -> tuple[type["FeatureStore"], tuple[Path]]:
        return FeatureStore, (self.path,)

    @classmethod
    def open(cls, path: Path) -> "FeatureStore":
        """Open a store to read from it; nothing is written.

        Raises:
            StoreError: there is no store, or one that this version cannot read.
        """
        path = Path(path)
        try:
            _check_version(path)
        except OSError as error:
            raise StoreError(
                f"{path}: cannot be read ({error.strerror}); correct its permissions"
            ) from error
        return cls(path)

    @classmethod
    def create(cls, path: Path) -> "FeatureStore":
        """Open a store to write to it, making it where there is none.

        Raises:
            StoreError: the folder holds something else, is a store of another version, or cannot
                be written.
            DiskFullError: no space is left.
        """
        path = Path(path)
        marker = path / "store.json"
        if path.is_file():
            raise StoreError(f"{path} is a file; name a folder for the store")
        if not marker.exists():
            with write_errors(path):
                path.mkdir(parents=True, exist_ok=True)
                names = {entry.name for entry in path.iterdir() if entry.name[0] != "."}
            # A store may have lost its marker, to a careless copy say; its features are whole.
            strangers = names if names.isdisjoint(_FEATURES) else names - _OWN_NAMES
            if strangers and not marker.exists():
                raise StoreError(
                    f"{path}: holds other files ({min(strangers)!r}) and is no feature store; "
                    "name a new or empty folder"
                )
            write_json(marker, {"format": FORMAT, "version": VERSION})
        return cls.open(path)

    # Reading

    @property
    def damaged(self) -> list[Damage]:
        """What could not be used so far; :meth:`verify` looks at everything."""
        return [damage for catalog in self._catalogs.values() for damage in catalog.damaged]

    def keys(self) -> list[FeatureKey]:
        """Keys of the features that have at least one finished file."""
        folders = {
            folder.name
            for kind in ("parts", "shards")
            for folder in (self.path / kind).glob("*")
            if folder.is_dir()
        }
        return [key for key in sorted(folders) if self._catalog(key).paths()]

    def find_key(self, text: str) -> FeatureKey:
        """The one feature that a user means.

        Args:
            text: a whole key, its first words (``i3d``, ``i3d.rgb``), or any part of one key only.
                Features of altered videos are meant only where no other is.

        Raises:
            StoreError: no such feature, or several.
        """
        if not text or set(text) & _NOT_IN_KEYS:
            raise StoreError(
                f"'{text}' is no key of a stored feature; name one that 'aqakit store ls "
                f"{self.path}' lists, or its first words"
            )
        keys = self.keys()
        matches = [
            [key for key in keys if key == text],
            [key for key in keys if key.startswith(f"{text}.")],
            [key for key in keys if key.startswith(text)],
            [key for key in keys if text in key],
        ]
        found = next(filter(None, matches), [])
        plain = [key for key in found if len(found) > 1 and self.spec(key).variant == "none"]
        for one in (found, plain):
            if len(one) == 1:
                return one[0]
        if found:
            raise StoreError(f"{self.path}: '{text}' may be {', '.join(found)}; name one in full")
        held = f"it holds {', '.join(keys)}" if keys else "it is empty"
        raise StoreError(f"no {text} features in {self.path} ({held}); run 'aqakit extract' first")

    def spec(self, key: FeatureKey) -> FeatureSpec:
        """What a stored feature is.

        Raises:
            StoreError: no file of this feature can be read.
        """
        for shard in self._catalog(key).files():
            return shard.spec
        raise StoreError(f"no {key} features in {self.path}; run 'aqakit extract' first")

    def videos(self, key: FeatureKey) -> list[str]:
        """Ids of the videos that have a feature, sorted."""
        return sorted(
            video
            for video, entry in self._catalog(key).newest().items()
            if not self._is_lost(key, entry)
        )

    def overview(self, key: FeatureKey) -> Overview:
        """Count what is stored of one feature."""
        catalog = self._catalog(key)
        entries = [e for e in catalog.newest().values() if not self._is_lost(key, e)]
        files = catalog.files()
        parts = sum(shard.path.parent == catalog.parts for shard in files)
        return Overview(
            videos=len(entries),
            rows=sum(entry.record.rows for entry in entries),
            row_shapes=tuple(sorted({entry.shard.row_shape for entry in entries})),
            parts=parts,
            shards=len(files) - parts,
            size_bytes=sum(shard.size_bytes for shard in files),
        )

    def has(self, key: FeatureKey, video_id: str, source: Source) -> bool:
        """Whether a video's feature was computed from this very source and can be read."""
        entry = self._catalog(key).find(video_id)
        return (
            entry is not None
            and entry.record.source == source.identity
            and not self._is_lost(key, entry)
        )

    def read(self, key: FeatureKey, video_id: str) -> Feature:
        """A video's feature, the newest if it was computed from several sources.

        Raises:
            StoreError: the video has no such feature, or its file is damaged.
        """

        def attempt() -> Feature:
            shard, record = self._locate(key, video_id)
            values, times, frame_times = shard.arrays(record)
            return Feature(
                values,
                times.astype(np.float64, copy=False),
                frame_times.astype(np.float64, copy=False),
                json.loads(record.provenance),
            )

        return self._catalog(key).reading(attempt)

    def rows(self, key: FeatureKey, video_ids: Sequence[str]) -> Rows:
        """Random access to the rows of many videos, at the speed of a memory map.

        Raises:
            StoreError: a video has no such feature.
        """
        return Rows(self._catalog(key), video_ids, lambda video: self._locate(key, video))

    # Writing

    def source(
        self,
        path: Path,
        start_seconds: float | None = None,
        end_seconds: float | None = None,
    ) -> Source:
        """Identify a source file; an unchanged one seen before is not hashed again.

        Raises:
            VideoError: the file is missing or cannot be read.
            StoreError: the store cannot be written.
        """
        return sources.identify(Path(path), self.path / "sources", start_seconds, end_seconds)

    @contextmanager
    def claim(self, video_id: str) -> Iterator[bool]:
        """Keep everybody else from working on a video while the block runs.

        Yields False where somebody else, or another block of this process, holds the claim. The
        claim of a killed process is gone with it.

        Raises:
            StoreError: the store cannot be written.
        """
        lock = self._try_lock(record_name(video_id))
        if lock is None:
            yield False
            return
        self._claimed.add(video_id)
        try:
            yield True
        finally:
            self._claimed.discard(video_id)
            lock.release()

    @contextmanager
    def begin(
        self,
        spec: FeatureSpec,
        video_id: str,
        source: Source,
        shape: tuple[int, ...],
        frames_per_unit: int,
    ) -> Iterator["PartWriter"]:
        """Write one feature of one video.

        The feature is there when the block ends, whole; what an older source gave is removed then.
        A block that ends in an exception leaves no trace. The video is claimed for the time of the
        block unless this store has claimed it already.

        Args:
            spec: of the feature.
            video_id: any text.
            source: what it is computed from.
            shape: (N, ...) of the values; the disk space is taken at once.
            frames_per_unit: F.

        Raises:
            DiskFullError: no space for the feature is left.
            StoreError: somebody else works on the video, or the store cannot be written.
            ValueError: the block ends without :meth:`PartWriter.finish`.
        """
        catalog = self._catalog(spec.key)
        path = catalog.parts / part_name(video_id, source.identity)
        with self._own(video_id), replacing(path) as descriptor:
            previous = catalog.find(video_id)
            # Clocks of machines differ; the entry written last must be the newest all the same.
            after = previous.record.written_ns + 1 if previous else 0
            with write_errors(self.path):
                writer = ShardWriter(descriptor, spec, shape, frames_per_unit)
            part = PartWriter(self.path, writer, video_id, source, spec, after)
            try:
                yield part
                part.close()
            except BaseException:
                writer.abandon()
                raise
        self._remove_superseded(catalog, path, video_id)

    def pack(self, max_bytes: int = 1 << 30, compress: bool = False) -> PackSummary:
        """Merge parts into shards and drop what was superseded.

        Readers and extractions may go on meanwhile. Files with damaged rows that nothing newer
        replaces are left alone.

        Args:
            max_bytes: about the size of a shard, at most; a larger video has one of its own.
            compress: store ``data`` in compressed chunks. Shards in the other form are rewritten.

        Raises:
            DiskFullError: no space for a shard is left; nothing is lost.
            StoreError: another process packs this store, or it cannot be written.
        """
        if max_bytes < 1:
            raise ValueError(f"max_bytes is {max_bytes}; it must be positive")
        with self._packing():
            packer = Packer(self.path, self.claim, max_bytes, compress)
            return PackSummary.sum(packer.pack(self._catalog(key)) for key in self.keys())

    def verify(self) -> list[Damage]:
        """Read everything again and name what is damaged.

        Rows that are not what was written are remembered: their videos count as not done from now
        on, so that the next extraction replaces them.

        Raises:
            StoreError: the store cannot be written.
        """
        found: list[Damage] = []
        lost: set[_Lost] = set()
        for key in self.keys():
            catalog = self._catalog(key)
            for shard in catalog.files():
                damage, records = _verify(shard)
                found.extend(damage)
                lost.update((key, record.video, record.written_ns) for record in records)
            found.extend(catalog.damaged)
        if lost != self._lost:
            write_json(self.path / "damaged.json", sorted(lost))
            self._lost = lost
        return found

    # Failures

    def record_failure(
        self,
        video_id: str,
        reason: str,
        source: Source | None = None,
        keys: Iterable[FeatureKey] = (),
    ) -> None:
        """Remember that features of a video could not be computed, whatever became of others.

        Raises:
            StoreError: the store cannot be written.
        """
        found = tuple(sorted(keys))
        others = self._failures_without(video_id, found)
        failure = Failure(video_id, reason, source.identity if source else None, found)
        self._write_failures(video_id, [*others, failure])

    def failures_of(self, video_id: str, source: Source) -> dict[FeatureKey, str]:
        """Why features of a video could not be computed the last time, by key.

        Those that were tried with another source are left out.
        """
        return {
            key: failure.reason
            for failure in _read_failures(self._failure_path(video_id))
            if failure.source == source.identity
            for key in failure.keys
        }

    def clear_failure(self, video_id: str, keys: Iterable[FeatureKey]) -> None:
        """Forget that features of a video failed, if they did.

        Raises:
            StoreError: the store cannot be written.
        """
        if self._failure_path(video_id).exists():
            self._write_failures(video_id, self._failures_without(video_id, tuple(keys)))

    def failures(self) -> list[Failure]:
        """Every failure on record, by id."""
        files = (self.path / "failures").glob("*.json")
        found = [failure for file in files for failure in _read_failures(file)]
        return sorted(found, key=lambda failure: (failure.video, failure.keys))

    # Inner workings

    def _catalog(self, key: FeatureKey) -> Catalog:
        if key not in self._catalogs:
            self._catalogs[key] = Catalog(
                key, self.path / "parts" / key, self.path / "shards" / key
            )
        return self._catalogs[key]

    def _locate(self, key: FeatureKey, video_id: str) -> Entry:
        entry = self._catalog(key).find(video_id)
        if entry is None:
            raise StoreError(
                f"no {key} features of video {video_id!r} in {self.path}; run 'aqakit extract' first"
            )
        if self._is_lost(key, entry):
            raise StoreError(
                f"{entry.shard.path}: rows of video {video_id!r} are damaged; run 'aqakit extract' "
                "again"
            )
        return entry

    def _is_lost(self, key: FeatureKey, entry: Entry) -> bool:
        return (key, entry.record.video, entry.record.written_ns) in self._lost

    def _try_lock(self, name: str) -> BaseFileLock | None:
        folder = self.path / "claims"
        with write_errors(folder):
            folder.mkdir(exist_ok=True)
            lock = FileLock(folder / f"{name}.lock", thread_local=False)
            try:
                lock.acquire(blocking=False)
            except Timeout:
                return None
        return lock

    @contextmanager
    def _own(self, video_id: str) -> Iterator[None]:
        if video_id in self._claimed:
            yield
            return
        with self.claim(video_id) as mine:
            if not mine:
                raise StoreError(
                    f"{self.path}: another process works on video {video_id!r}; wait for it"
                )
            yield

    @contextmanager
    def _packing(self) -> Iterator[None]:
        lock = self._try_lock("pack")
        if lock is None:
            raise StoreError(f"{self.path}: another process is packing it; wait for it")
        try:
            yield
        finally:
            lock.release()

    def _remove_superseded(self, catalog: Catalog, newest: Path, video_id: str) -> None:
        older = [
            path
            for path in catalog.parts.iterdir()
            if path != newest and hash_in(path.name) == hash_of(video_id)
        ]
        with write_errors(self.path):
            for path in older:
                path.unlink(missing_ok=True)
            if older:
                sync_folder(catalog.parts)

    def _failures_without(self, video_id: str, keys: tuple[FeatureKey, ...]) -> list[Failure]:
        """Failures of a video on record, save those of some features, and of none in particular."""
        found = _read_failures(self._failure_path(video_id))
        left = [
            replace(failure, keys=tuple(key for key in failure.keys if key not in keys))
            for failure in found
        ]
        return [failure for failure in left if failure.keys]

    def _write_failures(self, video_id: str, failures: Sequence[Failure]) -> None:
        path = self._failure_path(video_id)
        if failures:
            write_json(path, [asdict(failure) for failure in failures])
            return
        with write_errors(self.path):
            path.unlink(missing_ok=True)

    def _failure_path(self, video_id: str) -> Path:
        return self.path / "failures" / f"{record_name(video_id)}.json"


class PartWriter:
    """Writes one feature of one video as its rows are computed; :meth:`FeatureStore.begin` gives one."""

    def __init__(
        self,
        store: Path,
        writer: ShardWriter,
        video_id: str,
        source: Source,
        spec: FeatureSpec,
        not_before_ns: int,
    ) -> None:
        self._store = store
        self._writer = writer
        self._video_id = video_id
        self._source = source
        self._spec = spec
        self._not_before_ns = not_before_ns

    def append(self, rows: ArrayLike) -> None:
        """Write the next rows, (n, ...).

        Raises:
            DiskFullError: the disk is full.
            StoreError: the disk failed.
            ValueError: a shape that does not fit, or more rows than announced.
        """
        with write_errors(self._store):
            self._writer.append(rows)

    def finish(
        self, times: ArrayLike, frame_times: ArrayLike, provenance: Mapping[str, Any]
    ) -> None:
        """Say when the rows were, and what they were made with.

        Args:
            times: (N, 3) start, centre and end of each row in seconds.
            frame_times: (N, F) presentation times of the frames in seconds.
            provenance: JSON values by name, for example stream facts and library versions; spec and
                source are added.

        Raises:
            DiskFullError: the disk is full.
            StoreError: the disk failed.
            ValueError: other numbers of times than of rows, or a provenance that is no JSON.
        """
        everything = {
            **provenance,
            "spec": json.loads(self._spec.to_json()),
            "source": self._source.to_dict(),
        }
        with write_errors(self._store):
            self._writer.end_video(
                self._video_id,
                times,
                frame_times,
                written_ns=max(time.time_ns(), self._not_before_ns),
                source=self._source.identity,
                provenance=provenance_json(everything),
            )

    def close(self) -> None:
        """Complete the file; the store does this at the end of the block."""
        with write_errors(self._store):
            self._writer.close()


_Lost = tuple[FeatureKey, str, int]


def _check_version(path: Path) -> None:
    marker = path / "store.json"
    if not marker.exists():
        raise StoreError(f"{path}: no feature store here; run 'aqakit extract' first")
    found = read_json(marker)
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        raise StoreError(
            f"{marker}: does not describe a feature store; restore the file or name another folder"
        )
    if found.get("version") != VERSION:
        raise StoreError(
            f"{path}: is a store of version {found.get('version')}, this aqakit reads version "
            f"{VERSION}; use the aqakit that wrote it, or extract into a new folder"
        )


def _read_lost(path: Path) -> set[_Lost]:
    try:
        return {(str(k), str(v), int(t)) for k, v, t in read_json(path / "damaged.json") or ()}
    except (TypeError, ValueError):
        return set()  # the file itself is damaged; the next `verify` writes it anew


def _read_failures(path: Path) -> list[Failure]:
    try:
        return [
            Failure(found["video"], found["reason"], found["source"], tuple(found["keys"]))
            for found in read_json(path) or ()
        ]
    except (TypeError, KeyError):
        return []  # unreadable: the video is simply tried again


def _verify(shard: Shard) -> tuple[list[Damage], list[Any]]:
    try:
        records = shard.unsound()
    except FileNotFoundError:
        return [], []  # superseded or packed meanwhile
    except DamagedError as error:
        return [Damage(shard.path, (), error.reason, error.cure)], list(shard.records)
    if not records:
        return [], []
    videos = tuple(record.video for record in records)
    reason = "its rows are not what was written"
    return [Damage(shard.path, videos, reason, "run 'aqakit extract' again")], records
