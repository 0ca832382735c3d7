"""The file format of the store: the arrays of one feature of one or many videos, in HDF5.

A part holds one video and a shard many; both have the same layout:

* ``data`` [N, ...]: the rows of every video, end to end;
* ``times`` [N, 3]: start, centre and end of each row in seconds;
* ``frame_times`` [N, F]: presentation times of each row's frames in seconds;
* ``videos``: a table of id, first row, rows, SHA-256 of the video's rows (``data``, then ``times``,
  then ``frame_times``), time of writing, identity of the source and provenance as JSON;
* attributes: format, version, spec (JSON), digest of the spec, SHA-256 of the table, and
  ``complete``, set last.

Contiguous and uncompressed by default, so that rows are read through a memory map at memory speed
while any HDF5 tool can still open the file; ``data`` may be chunked and compressed instead.
"""

import hashlib
import mmap
import os
import weakref
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import h5py
import numpy as np
from numpy.typing import NDArray

from .errors import StoreError
from .spec import FeatureSpec

FORMAT = "aqakit-features"
VERSION = 1

ARRAYS = ("data", "times", "frame_times")

# A memory map keeps a file descriptor, of which a process often may have 1024.
_MAPS = 256
_READ_BYTES = 1 << 22
# Whatever h5py makes of bytes that are not what they should be.
HDF5_ERRORS = (OSError, KeyError, RuntimeError, ValueError, TypeError, AttributeError)


class DamagedError(StoreError):
    """A file of the store does not hold what it should."""

    def __init__(self, path: Path, reason: str) -> None:
        self.path = path
        self.reason = reason
        self.cure = "delete it and run 'aqakit extract' again"
        super().__init__(f"{path}: {reason}; {self.cure}")


@dataclass(frozen=True)
class Record:
    """One video's rows in a file.

    Args:
        video: its id.
        first: index of its first row.
        rows: number of its rows.
        sha256: of its rows' bytes, in hex.
        written_ns: when it was written; a later record of the same video supersedes it.
        source: identity of its source file and stretch, in hex.
        provenance: JSON of everything known about its making.
    """

    video: str
    first: int
    rows: int
    sha256: str
    written_ns: int
    source: str
    provenance: str

    @property
    def stop(self) -> int:
        """Index after its last row."""
        return self.first + self.rows


@dataclass(frozen=True)
class Place:
    """Where an array lies in a file; ``offset`` in bytes is None for a chunked one."""

    offset: int | None
    dtype: np.dtype[Any]
    shape: tuple[int, ...]

    @classmethod
    def of(cls, dataset: h5py.Dataset) -> "Place":
        """Look it up in an open file."""
        offset = None if dataset.chunks else dataset.id.get_offset()
        return cls(offset, dataset.dtype, dataset.shape)

    @property
    def stop(self) -> int:
        """Offset after its last byte; 0 for a chunked one."""
        return 0 if self.offset is None else self.offset + self.dtype.itemsize * _size(self.shape)


class ShardRows(Protocol):
    """The rows of an array in a file."""

    def slice(self, first: int, stop: int) -> NDArray[np.generic]:
        """Consecutive rows."""

    def take(self, index: NDArray[np.intp], out: NDArray[np.generic]) -> None:
        """Gather rows, which must exist, into ``out``."""


_recently_mapped: "deque[weakref.ref[Shard]]" = deque()


class Shard:
    """A finished file, of which only the table is in memory.

    Args:
        path: of the file.
        spec: of its feature.
        records: its videos, in the order of their rows.
        places: by array name, where its rows lie.
        size_bytes: of the file.
    """

    def __init__(
        self,
        path: Path,
        spec: FeatureSpec,
        records: tuple[Record, ...],
        places: dict[str, Place],
        size_bytes: int,
    ) -> None:
        self.path = path
        self.spec = spec
        self.records = records
        self.size_bytes = size_bytes
        self._mapped: dict[str, _Mapped] | None = None
        self.places = places

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the values."""
        return self.places["data"].dtype

    @property
    def row_shape(self) -> tuple[int, ...]:
        """Shape of one row of ``data``."""
        return self.places["data"].shape[1:]

    @property
    def frames_per_row(self) -> int:
        """Frames that each row was computed from."""
        return self.places["frame_times"].shape[1]

    @property
    def compressed(self) -> bool:
        """Whether ``data`` is chunked and compressed."""
        return self.places["data"].offset is None

    def rows(self, name: str) -> ShardRows:
        """An array of the file.

        Args:
            name: ``data``, ``times`` or ``frame_times``.

        Raises:
            FileNotFoundError: the file is gone; its videos are in another one now.
            DamagedError: the file is shorter than its table says.
        """
        if self.places[name].offset is None:
            return _Chunks(self.path)
        return self._map()[name]

    def arrays(self, record: Record) -> list[NDArray[np.generic]]:
        """``data``, ``times`` and ``frame_times`` of one video.

        Raises:
            FileNotFoundError: the file is gone.
            DamagedError: the file is not what it was when it was opened.
        """
        return [self.rows(name).slice(record.first, record.stop) for name in ARRAYS]

    def release(self) -> None:
        """Let go of the memory map: the space of a removed file is free only then."""
        self._mapped = None

    def _map(self) -> "dict[str, _Mapped]":
        mapped = self._mapped
        if mapped is None:
            mapped = self._mapped = _map(self)
            _recently_mapped.append(weakref.ref(self))
            while len(_recently_mapped) > _MAPS:
                oldest = _recently_mapped.popleft()()
                if oldest is not None:
                    oldest.release()
        return mapped

    def unsound(self) -> list[Record]:
        """Videos whose rows are not what was written, found by reading all of them.

        Raises:
            FileNotFoundError: the file is gone.
            DamagedError: rows cannot be read at all.
        """
        with self.path.open("rb") as raw, _damage(self.path):
            return [record for record in self.records if self._hash(raw, record) != record.sha256]

    def _hash(self, raw: BinaryIO, record: Record) -> str:
        """SHA-256 of a video's rows, by plain reads: a bad disk kills who reads it through a map."""
        digest = hashlib.sha256()
        for name, place in self.places.items():
            if place.offset is None:
                digest.update(self.rows(name).slice(record.first, record.stop).data)
                continue
            row_bytes = place.dtype.itemsize * _size(place.shape[1:])
            raw.seek(place.offset + record.first * row_bytes)
            for rest in range(record.rows * row_bytes, 0, -_READ_BYTES):
                digest.update(raw.read(min(rest, _READ_BYTES)))
        return digest.hexdigest()


def open_shard(path: Path) -> Shard:
    """Read a file's table.

    Raises:
        OSError: there is no such file, or it may not be opened.
        DamagedError: it is not a whole file of this format.
    """
    with path.open("rb") as raw:
        size = os.fstat(raw.fileno()).st_size
        with _damage(path), h5py.File(raw, "r") as file:
            return _read_header(path, file, size)


@contextmanager
def _damage(path: Path) -> Iterator[None]:
    try:
        yield
    except DamagedError:
        raise
    except HDF5_ERRORS as error:
        text = " ".join(str(error).split())
        raise DamagedError(path, f"is not a whole feature file ({text})") from error


def _read_header(path: Path, file: h5py.File, size: int) -> Shard:
    attributes = dict(file.attrs)
    if attributes.get("format") != FORMAT or not attributes.get("complete"):
        raise ValueError("it was never finished")
    if attributes["version"] != VERSION:
        raise DamagedError(
            path, f"is of version {attributes['version']}, this aqakit reads version {VERSION}"
        )
    table = file["videos"][:]
    if hashlib.sha256(table.tobytes()).hexdigest() != attributes["videos_sha256"]:
        raise ValueError("its table of videos is damaged")
    spec = FeatureSpec.from_json(attributes["spec"])
    if spec.digest != attributes["digest"]:
        raise ValueError("its spec is damaged")
    places = {name: Place.of(file[name]) for name in ARRAYS}
    records = tuple(_record(row) for row in table)
    _check_extent(records, places, size)
    return Shard(path, spec, records, places, size)


def _record(row: Any) -> Record:
    return Record(
        video=_decode(row["id"]),
        first=int(row["first"]),
        rows=int(row["rows"]),
        sha256=_decode(row["sha256"]),
        written_ns=int(row["written_ns"]),
        source=_decode(row["source"]),
        provenance=_decode(row["provenance"]),
    )


def _check_extent(records: Sequence[Record], places: dict[str, Place], size: int) -> None:
    total = sum(record.rows for record in records)
    firsts = np.cumsum([0, *(record.rows for record in records)])[:-1]
    if [record.first for record in records] != firsts.tolist():
        raise ValueError("its table of videos has gaps")
    for name, place in places.items():
        if place.shape[0] != total or place.stop > size:
            raise ValueError(f"its {name} do not hold the {total} rows of its table")


class _Mapped:
    """Rows of a contiguous array, without a copy until they are gathered."""

    def __init__(self, array: NDArray[np.generic]) -> None:
        self._array = array

    def slice(self, first: int, stop: int) -> NDArray[np.generic]:
        return self._array[first:stop]

    def take(self, index: NDArray[np.intp], out: NDArray[np.generic]) -> None:
        # With the default mode NumPy gathers into a buffer first and then copies it to `out`.
        np.take(self._array, index, axis=0, out=out, mode="clip")


class _Chunks:
    """Rows of a compressed array; the file is open only while they are read."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def slice(self, first: int, stop: int) -> NDArray[np.generic]:
        with self._dataset() as dataset:
            rows: NDArray[np.generic] = dataset[first:stop]
        return rows

    def take(self, index: NDArray[np.intp], out: NDArray[np.generic]) -> None:
        with self._dataset() as dataset:
            rows = dataset.chunks[0]
            chunk = index // rows
            # Each chunk is decompressed once, however many of its rows are wanted.
            for number in np.unique(chunk):
                wanted = chunk == number
                block = dataset[number * rows : (number + 1) * rows]
                out[wanted] = block[index[wanted] - number * rows]

    @contextmanager
    def _dataset(self) -> Iterator[h5py.Dataset]:
        with self._path.open("rb") as raw, _damage(self._path), h5py.File(raw, "r") as file:
            yield file["data"]


def _map(shard: Shard) -> dict[str, _Mapped]:
    with shard.path.open("rb") as file:
        try:
            memory = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            return {
                name: _Mapped(
                    np.frombuffer(memory, place.dtype, _size(place.shape), place.offset).reshape(
                        place.shape
                    )
                )
                for name, place in shard.places.items()
                if place.offset is not None
            }
        except ValueError as error:
            raise DamagedError(shard.path, "is shorter than it was") from error


def _size(shape: tuple[int, ...]) -> int:
    return int(np.prod(shape, dtype=np.int64))


def _decode(data: bytes) -> str:
    return data.decode(errors="surrogatepass")
