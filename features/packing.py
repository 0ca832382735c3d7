"""Merge the parts of a feature into shards, while others read and write.

A shard is in its place, whole, before anything that it replaces is removed. Whatever a crash leaves
behind is told by the same rule: a file in which no entry is the newest of its video can go.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .catalog import Catalog, Entry
from .durable import replacing, sync_folder, write_errors
from .shard import DamagedError, Shard
from .shard_writer import ShardWriter


@dataclass(frozen=True)
class PackSummary:
    """What packing did.

    Args:
        videos: entries that were merged.
        shards: files that were written.
        removed: parts and shards that were replaced or superseded.
        damaged: files left alone because rows in them are damaged.
    """

    videos: int = 0
    shards: int = 0
    removed: int = 0
    damaged: tuple[Path, ...] = ()

    @classmethod
    def sum(cls, summaries: Iterable["PackSummary"]) -> "PackSummary":
        """All features together."""
        total = cls()
        for one in summaries:
            total = cls(
                total.videos + one.videos,
                total.shards + one.shards,
                total.removed + one.removed,
                total.damaged + one.damaged,
            )
        return total


@dataclass(frozen=True)
class Packer:
    """Packs one feature at a time; the caller keeps other packers away.

    Args:
        store: folder of the store, for messages.
        claim: of a video, so that no extraction replaces a part while it is removed.
        max_bytes: of a shard.
        compress: whether its ``data`` is compressed.
    """

    store: Path
    claim: Callable[[str], AbstractContextManager[bool]]
    max_bytes: int
    compress: bool

    def pack(self, catalog: Catalog) -> PackSummary:
        """Pack the parts of one feature, and the shards that hold superseded entries.

        Raises:
            DiskFullError: no space for a shard is left.
            StoreError: the store cannot be written.
        """
        files = catalog.files()
        newest = catalog.newest()
        live = Counter(entry.shard for entry in newest.values())
        needed = [shard for shard in files if live[shard] and self._needs(catalog, shard, live)]
        damaged = {shard for shard in needed if not _is_sound(shard, newest)}
        work = set(needed) - damaged
        if work:
            work.update(self._small(files, live, newest))
        entries = [entry for _, entry in sorted(newest.items()) if entry.shard in work]
        written = 0
        removed = self._remove(catalog, [shard for shard in files if not live[shard]])
        for group in self._groups(entries):
            self._write(self._next_path(catalog), group)
            written += 1
            live.subtract(entry.shard for entry in group)
            emptied = {entry.shard for entry in group if not live[entry.shard]}
            removed += self._remove(catalog, emptied)
        return PackSummary(
            len(entries), written, removed, tuple(sorted(shard.path for shard in damaged))
        )

    def _needs(self, catalog: Catalog, shard: Shard, live: Counter[Shard]) -> bool:
        return (
            shard.path.parent == catalog.parts
            or live[shard] < len(shard.records)
            or shard.compressed != self.compress
        )

    def _small(
        self, files: Iterable[Shard], live: Counter[Shard], newest: Mapping[str, Entry]
    ) -> Iterator[Shard]:
        """Sound shards that an earlier packing left small: they are filled up on this occasion."""
        for shard in files:
            if live[shard] and shard.size_bytes < self.max_bytes // 2 and _is_sound(shard, newest):
                yield shard

    def _groups(self, entries: Iterable[Entry]) -> Iterator[list[Entry]]:
        """Entries of one layout that make up one shard each."""
        layouts: dict[Any, list[Entry]] = {}
        for entry in entries:
            layouts.setdefault(_layout(entry.shard), []).append(entry)
        for alike in layouts.values():
            group: list[Entry] = []
            size = 0
            for entry in alike:
                added = _bytes(entry)
                if group and size + added > self.max_bytes:
                    yield group
                    group, size = [], 0
                group.append(entry)
                size += added
            yield group

    def _write(self, path: Path, group: Sequence[Entry]) -> None:
        first = group[0].shard
        rows = sum(entry.record.rows for entry in group)
        with replacing(path) as descriptor, write_errors(self.store):
            writer = ShardWriter(
                descriptor,
                first.spec,
                (rows, *first.row_shape),
                first.frames_per_row,
                self.compress,
            )
            try:
                for entry in group:
                    _copy(entry, writer)
                writer.close()
            except BaseException:
                writer.abandon()
                raise

    def _next_path(self, catalog: Catalog) -> Path:
        numbers = [int(p.stem) for p in catalog.shards.glob("[0-9]*.h5") if p.stem.isdecimal()]
        return catalog.shards / f"{max(numbers, default=0) + 1:04d}.h5"

    def _remove(self, catalog: Catalog, shards: Iterable[Shard]) -> int:
        shards = list(shards)
        with write_errors(self.store):
            count = sum(self._remove_one(catalog, shard) for shard in shards)
            for folder in {shard.path.parent for shard in shards}:
                sync_folder(folder)
        return count

    def _remove_one(self, catalog: Catalog, shard: Shard) -> bool:
        """Remove a file, unless it is a part that an extraction replaced or is about to."""
        if shard.path.parent == catalog.shards:
            shard.path.unlink(missing_ok=True)
            shard.release()
            return True
        with self.claim(shard.records[0].video) as mine:
            unchanged = mine and catalog.is_current(shard)
            if unchanged:
                shard.path.unlink(missing_ok=True)
        shard.release()
        return unchanged


def _layout(shard: Shard) -> Any:
    return shard.row_shape, shard.frames_per_row, shard.spec.digest


def _bytes(entry: Entry) -> int:
    row = entry.shard.dtype.itemsize * math.prod(entry.shard.row_shape)
    return entry.record.rows * (row + 8 * (3 + entry.shard.frames_per_row))


def _is_sound(shard: Shard, newest: Mapping[str, Entry]) -> bool:
    """Whether every entry that would be copied is still what was written."""
    try:
        unsound = shard.unsound()
    except DamagedError:
        return False
    return all(newest[record.video] != (shard, record) for record in unsound)


def _copy(entry: Entry, writer: ShardWriter) -> None:
    values, times, frame_times = entry.shard.arrays(entry.record)
    writer.append(values)
    copied = writer.end_video(
        entry.record.video,
        times,
        frame_times,
        written_ns=entry.record.written_ns,
        source=entry.record.source,
        provenance=entry.record.provenance,
    )
    if copied.sha256 != entry.record.sha256:
        raise OSError(f"{entry.shard.path} changed while it was read")
