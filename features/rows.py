"""Rows of many videos of one feature, gathered from wherever they are stored."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .catalog import Catalog, Entry
from .errors import StoreError


class Rows:
    """Random access to the rows of many videos.

    The videos are looked up once; after that a gather from a packed store is one memory copy. Files
    that move meanwhile are found again.

    Args:
        catalog: of the feature.
        videos: ids; a video is later named by its place among them.
        locate: finds a video's rows, or raises :class:`StoreError`.

    Raises:
        StoreError: a video has no such feature, or the videos' rows differ in shape or type.
    """

    def __init__(
        self, catalog: Catalog, videos: Sequence[str], locate: Callable[[str], Entry]
    ) -> None:
        if not videos:
            raise ValueError("rows of no video at all")
        self.videos = tuple(videos)
        self._catalog = catalog
        self._locate = locate
        self._look_up()

    def _look_up(self) -> None:
        entries = [self._locate(video) for video in self.videos]
        self._shards = list(dict.fromkeys(entry.shard for entry in entries))
        number = {shard: index for index, shard in enumerate(self._shards)}
        self._file = np.array([number[entry.shard] for entry in entries], dtype=np.intp)
        self._first = np.array([entry.record.first for entry in entries], dtype=np.intp)
        self.counts: NDArray[np.intp] = np.array(
            [entry.record.rows for entry in entries], dtype=np.intp
        )
        shape, dtype = self._shards[0].row_shape, self._shards[0].dtype
        for video, entry in zip(self.videos, entries, strict=True):
            if (entry.shard.row_shape, entry.shard.dtype) != (shape, dtype):
                raise StoreError(
                    f"{entry.shard.path}: rows of video {video!r} have shape "
                    f"{entry.shard.row_shape}, those of {self.videos[0]!r} {shape}; read them apart"
                )
        self.row_shape, self.dtype = shape, dtype
        self._found = True

    def gather(self, videos: ArrayLike, rows: ArrayLike) -> NDArray[np.generic]:
        """Copy rows, in the order asked for.

        Args:
            videos: (n,) places of the videos among :attr:`videos`.
            rows: (n,) indices within each video, from 0 to its count - 1.

        Returns:
            (n, *row_shape).

        Raises:
            ValueError: a row that does not exist, or lengths that differ.
            StoreError: the rows can no longer be read.
        """
        video_index, row_index = np.asarray(videos, np.intp), np.asarray(rows, np.intp)

        def attempt() -> NDArray[np.generic]:
            if not self._found:
                self._look_up()
            self._check(video_index, row_index)
            out = np.empty((len(row_index), *self.row_shape), self.dtype)
            try:
                self._copy(video_index, row_index, out)
            except FileNotFoundError:
                self._found = False  # packed or extracted again meanwhile
                raise
            return out

        return self._catalog.reading(attempt)

    def _check(self, videos: NDArray[np.intp], rows: NDArray[np.intp]) -> None:
        if videos.ndim != 1 or videos.shape != rows.shape:
            raise ValueError(f"videos are {videos.shape} and rows {rows.shape}; both must be (n,)")
        if len(videos) and not 0 <= videos.min() <= videos.max() < len(self.videos):
            raise ValueError(f"videos must be in 0..{len(self.videos) - 1}")
        if ((rows < 0) | (rows >= self.counts[videos])).any():
            raise ValueError("rows must be within their videos' counts")

    def _copy(
        self, videos: NDArray[np.intp], rows: NDArray[np.intp], out: NDArray[np.generic]
    ) -> None:
        index = self._first[videos] + rows
        if len(self._shards) == 1:
            self._shards[0].rows("data").take(index, out)
            return
        files = self._file[videos]
        order = np.argsort(files, kind="stable")
        # One small block, hot in the cache, takes the rows of each file on their way to `out`.
        block = np.empty((np.bincount(files).max(initial=0), *self.row_shape), self.dtype)
        edges = np.searchsorted(files[order], np.arange(len(self._shards) + 1))
        for shard, begin, end in zip(self._shards, edges, edges[1:], strict=False):
            if begin < end:
                wanted = order[begin:end]
                shard.rows("data").take(index[wanted], block[: len(wanted)])
                out[wanted] = block[: len(wanted)]
