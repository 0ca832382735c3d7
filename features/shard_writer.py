"""Write a file of the store, in the format that :mod:`aqakit.features.shard` reads.

HDF5 only lays the file out. Rows go through plain writes to their place in a file whose whole space
was reserved before the first of them, because HDF5 cannot let go of a file on a full disk.
"""

import hashlib
import io
import json
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Protocol

import h5py
import numpy as np
from numpy.typing import ArrayLike, NDArray

from .durable import write_all
from .shard import FORMAT, HDF5_ERRORS, VERSION, Place, Record
from .spec import FeatureSpec

# Object headers of HDF5 1.8 and later carry checksums: a damaged one is an error, not a wrong number.
_LIBRARY = ("v110", "v110")
_ALIGNMENT_BYTES = 64
# Room for HDF5's own structures, which take a few kilobytes.
_SLACK_BYTES = 1 << 16
_CHUNK_BYTES = 1 << 18


class ShardWriter:
    """Writes one file, row by row; nothing of it can be read before :meth:`close`.

    Args:
        descriptor: of a new, empty file, open for reading and writing; stays open.
        spec: of the feature.
        shape: (N, ...) of all rows of all videos.
        frames_per_row: F.
        compress: store ``data`` in compressed chunks instead of end to end.

    Raises:
        OSError: the disk has no room for the whole file.
        ValueError: no rows, or rows without frames.
    """

    def __init__(
        self,
        descriptor: int,
        spec: FeatureSpec,
        shape: tuple[int, ...],
        frames_per_row: int,
        compress: bool = False,
    ) -> None:
        if min(shape) < 1 or frames_per_row < 1:
            raise ValueError(f"shape is {shape} with {frames_per_row} frames a row; none may be 0")
        self._spec = spec
        self._disk = _Disk(descriptor)
        shapes = {"data": shape, "times": (shape[0], 3), "frame_times": (shape[0], frames_per_row)}
        chunk = _chunk_rows(shape, np.dtype(spec.precision)) if compress else 1
        self._disk.reserve(_layout_bytes(shapes, spec, chunk))
        self._file = h5py.File(
            self._disk,
            "w",
            libver=_LIBRARY,
            alignment_threshold=1,
            alignment_interval=_ALIGNMENT_BYTES,
        )
        self._columns = {
            name: _contiguous(self._file, descriptor, name, shape, _dtype(name, spec))
            for name, shape in shapes.items()
            if name != "data" or not compress
        }
        if compress:
            self._columns["data"] = _chunked(self._file, shape, np.dtype(spec.precision), chunk)
        self._records: list[Record] = []
        self._hash = hashlib.sha256()

    def append(self, values: ArrayLike) -> None:
        """Write the next rows of the video in hand, (n, ...).

        Raises:
            OSError: the disk failed.
            ValueError: a shape that does not fit, or more rows than announced.
        """
        self._hash.update(self._columns["data"].append(values))
        self._disk.check()

    def end_video(
        self,
        video: str,
        times: ArrayLike,
        frame_times: ArrayLike,
        *,
        written_ns: int,
        source: str,
        provenance: str,
    ) -> Record:
        """Close the video in hand.

        Args:
            video: its id.
            times: (n, 3) of its n rows.
            frame_times: (n, F).
            written_ns: time of writing.
            source: identity of its source.
            provenance: JSON.

        Raises:
            OSError: the disk failed.
            ValueError: other numbers of times than of rows, or an id that HDF5 cannot hold.
        """
        if not video or "\0" in video:
            raise ValueError(f"video id is {video!r}; it must be text without NUL")
        for name, values in (("times", times), ("frame_times", frame_times)):
            self._hash.update(self._columns[name].append(values))
        ends = {name: column.rows for name, column in self._columns.items()}
        if len(set(ends.values())) != 1:
            raise ValueError(f"arrays of video {video!r} differ in rows: {ends}")
        first = self._records[-1].stop if self._records else 0
        rows = ends["data"] - first
        record = Record(video, first, rows, self._hash.hexdigest(), written_ns, source, provenance)
        self._records.append(record)
        self._hash = hashlib.sha256()
        return record

    def close(self) -> None:
        """Write the table and mark the file complete.

        Raises:
            OSError: the disk failed.
            ValueError: rows are missing.
        """
        expected = self._file["data"].shape[0]
        written = self._records[-1].stop if self._records else 0
        if written != expected or self._columns["data"].rows != expected:
            raise ValueError(f"{written} of {expected} rows belong to an ended video")
        table = _table(self._records)
        self._disk.reserve(self._disk.size + table.nbytes + _SLACK_BYTES)
        self._file["videos"] = table
        self._file.attrs.update(
            {
                "format": FORMAT,
                "version": VERSION,
                "spec": self._spec.to_json(),
                "digest": self._spec.digest,
                "videos_sha256": hashlib.sha256(table.tobytes()).hexdigest(),
            }
        )
        self._file.attrs["complete"] = True
        try:
            self._file.close()
        finally:
            self._disk.check()

    def abandon(self) -> None:
        """Let go of an unfinished file."""
        self._disk.abandoned = True
        # HDF5 may stumble over what a full disk did not take; the file is to be deleted anyway.
        with suppress(*HDF5_ERRORS):
            self._file.close()


class _Column(Protocol):
    rows: int

    def append(self, values: ArrayLike) -> memoryview: ...


class _Contiguous:
    """Appends to a contiguous dataset by plain writes."""

    def __init__(self, descriptor: int, place: Place) -> None:
        self.rows = 0
        self._descriptor = descriptor
        self._place = place

    def append(self, values: ArrayLike) -> memoryview:
        block = _block(values, self._place.dtype, self._place.shape, self.rows)
        assert self._place.offset is not None
        row_bytes = self._place.dtype.itemsize * _size(self._place.shape[1:])
        offset = self._place.offset + self.rows * row_bytes
        write_all(self._descriptor, block.data.cast("B"), offset)
        self.rows += len(block)
        return block.data


class _Compressed:
    """Appends to a chunked dataset through HDF5."""

    def __init__(self, dataset: h5py.Dataset) -> None:
        self.rows = 0
        self._dataset = dataset

    def append(self, values: ArrayLike) -> memoryview:
        block = _block(values, self._dataset.dtype, self._dataset.shape, self.rows)
        self._dataset[self.rows : self.rows + len(block)] = block
        self.rows += len(block)
        return block.data


def _block(
    values: ArrayLike, dtype: np.dtype[Any], shape: tuple[int, ...], written: int
) -> NDArray[np.generic]:
    block = np.ascontiguousarray(values, dtype=dtype)
    if block.ndim != len(shape) or block.shape[1:] != shape[1:]:
        raise ValueError(f"rows are {block.shape}; they must be (n, {str(shape[1:])[1:-1]})")
    if len(block) < 1 or written + len(block) > shape[0]:
        raise ValueError(f"{written} + {len(block)} rows; there must be {shape[0]} in all")
    return block


class _Disk(io.RawIOBase):
    """What HDF5 sees of a file: one that is empty at first, though its space is reserved.

    HDF5 cannot let go of a file that it failed to write, so a failure is kept for :meth:`check`.
    """

    def __init__(self, descriptor: int) -> None:
        super().__init__()
        self.size = 0
        self.abandoned = False
        self._descriptor = descriptor
        self._position = 0
        self._failure: OSError | None = None

    def reserve(self, size: int) -> None:
        """Take the space of the whole file now, so that a full disk is met before any work is done."""
        if hasattr(os, "posix_fallocate"):  # macOS has none: a full disk is met while writing
            os.posix_fallocate(self._descriptor, 0, size)

    def check(self) -> None:
        """Raise the first failure to write, if there was one."""
        if self._failure is not None:
            raise self._failure

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self.size}
        self._position = base[whence] + offset
        return self._position

    def tell(self) -> int:
        return self._position

    def readinto(self, buffer: Any) -> int:
        count = os.preadv(self._descriptor, [buffer], self._position)
        self._position += count
        return count

    def write(self, data: Any) -> int:
        view = memoryview(data).cast("B")
        self._attempt(lambda: write_all(self._descriptor, view, self._position))
        self._position += len(view)
        self.size = max(self.size, self._position)
        return len(view)

    def truncate(self, size: int | None = None) -> int:
        self.size = self._position if size is None else size
        self._attempt(lambda: os.ftruncate(self._descriptor, self.size))
        return self.size

    def _attempt(self, action: Callable[[], None]) -> None:
        if self._failure is None and not self.abandoned:
            try:
                action()
            except OSError as error:
                self._failure = error


def _dtype(name: str, spec: FeatureSpec) -> np.dtype[Any]:
    return np.dtype(spec.precision if name == "data" else "float64").newbyteorder("<")


def _size(shape: tuple[int, ...]) -> int:
    return int(np.prod(shape, dtype=np.int64))


def _chunk_rows(shape: tuple[int, ...], dtype: np.dtype[Any]) -> int:
    return min(shape[0], max(1, _CHUNK_BYTES // (dtype.itemsize * _size(shape[1:]))))


def _layout_bytes(shapes: dict[str, tuple[int, ...]], spec: FeatureSpec, chunk: int) -> int:
    """Upper bound of a file without its table; a chunk that does not shrink is stored as it is."""
    total = _SLACK_BYTES
    for name, shape in shapes.items():
        whole = -(-shape[0] // chunk) * chunk
        total += _dtype(name, spec).itemsize * whole * _size(shape[1:]) + _ALIGNMENT_BYTES
    return total + shapes["data"][0] // chunk * 2 * _ALIGNMENT_BYTES


def _contiguous(
    file: h5py.File, descriptor: int, name: str, shape: tuple[int, ...], dtype: np.dtype[Any]
) -> _Column:
    layout = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    layout.set_layout(h5py.h5d.CONTIGUOUS)
    layout.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    layout.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    space = h5py.h5s.create_simple(shape)
    dataset = h5py.h5d.create(file.id, name.encode(), h5py.h5t.py_create(dtype), space, layout)
    return _Contiguous(descriptor, Place(dataset.get_offset(), dtype, shape))


def _chunked(file: h5py.File, shape: tuple[int, ...], dtype: np.dtype[Any], chunk: int) -> _Column:
    options = {"compression": "gzip", "compression_opts": 4, "shuffle": True}
    chunks = (chunk, *shape[1:])
    return _Compressed(file.create_dataset("data", shape, dtype, chunks=chunks, **options))


def _table(records: Sequence[Record]) -> NDArray[np.void]:
    ids, provenances = (
        [_encode(getattr(record, name)) for record in records] for name in ("video", "provenance")
    )
    columns = [
        ("id", _text(max(map(len, ids)))),
        ("first", "<i8"),
        ("rows", "<i8"),
        ("sha256", _text(64)),
        ("written_ns", "<i8"),
        ("source", _text(64)),
        ("provenance", _text(max(map(len, provenances)))),
    ]
    rows = [
        (name, r.first, r.rows, r.sha256.encode(), r.written_ns, r.source.encode(), provenance)
        for r, name, provenance in zip(records, ids, provenances, strict=True)
    ]
    return np.array(rows, dtype=columns)


def _text(length: int) -> Any:
    return h5py.string_dtype("utf-8", max(1, length))


def _encode(text: str) -> bytes:
    # File names that are not valid UTF-8 reach Python as lone surrogates.
    return text.encode(errors="surrogatepass")


def provenance_json(values: dict[str, Any]) -> str:
    """Canonical JSON of a provenance.

    Raises:
        ValueError: it holds something that is no JSON.
    """
    try:
        return json.dumps(values, sort_keys=True, separators=(",", ":"))
    except TypeError as error:
        raise ValueError(f"provenance must be JSON: {error}") from None
