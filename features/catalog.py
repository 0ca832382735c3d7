"""Where the rows of one feature are: which part or shard holds the newest entry of each video.

Files come, are superseded and move from parts to shards while others read them. Nothing is cached
that a changed folder would not renew, and a file that is gone is looked for again.
"""

import errno
import os
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, TypeVar

from .errors import StoreError
from .names import hash_in, hash_of, part_name
from .shard import DamagedError, Record, Shard, open_shard

Found = TypeVar("Found")

# Two changes of a folder within one tick of the file system's clock leave the same time behind.
_SETTLED_NS = 1_000_000_000
_ATTEMPTS = 20


@dataclass(frozen=True)
class Damage:
    """A file, or some videos in it, that cannot be used.

    Args:
        path: the file.
        videos: ids of the videos whose rows are lost; empty where the file does not tell.
        reason: what is wrong.
        cure: what to do about it.
    """

    path: Path
    videos: tuple[str, ...]
    reason: str
    cure: str


class Entry(NamedTuple):
    """One video's rows: the file and the record in its table."""

    shard: Shard
    record: Record


class _Stamp(NamedTuple):
    """A file as it was listed; a file that replaced it has another stamp."""

    inode: int
    size: int
    mtime_ns: int

    @classmethod
    def of(cls, status: os.stat_result) -> "_Stamp":
        return cls(status.st_ino, status.st_size, status.st_mtime_ns)


class Catalog:
    """The files of one feature.

    Args:
        key: of the feature.
        parts: folder of its parts; need not exist.
        shards: folder of its shards; need not exist.
    """

    def __init__(self, key: str, parts: Path, shards: Path) -> None:
        self.key = key
        self.parts = parts
        self.shards = shards
        self._listing: dict[str, _Stamp] = {}
        self._listed_when: tuple[int, ...] | None = None
        self._parts_by_hash: dict[str, list[str]] = {}
        self._in_shards: dict[str, Entry] | None = None
        self._opened: dict[str, tuple[_Stamp, Shard | Damage]] = {}

    @property
    def damaged(self) -> list[Damage]:
        """Files met so far that cannot be used."""
        return [found for _, found in self._opened.values() if isinstance(found, Damage)]

    def find(self, video: str) -> Entry | None:
        """The newest entry of a video, opening only the files that may hold it."""

        def look() -> Entry | None:
            self._list()
            if self._in_shards is None:
                shards = filter(self._is_shard, self._listing)
                self._in_shards = _newest(self._open(shards))
            parts = _newest(self._open(self._parts_by_hash.get(hash_of(video), [])))
            found = [e for e in (self._in_shards.get(video), parts.get(video)) if e is not None]
            return max(found, key=lambda entry: entry.record.written_ns, default=None)

        return self.reading(look)

    def newest(self) -> dict[str, Entry]:
        """The newest entry of every video, by id."""
        return _newest(self.files())

    def files(self) -> list[Shard]:
        """Every part and shard that can be read, also those that were superseded."""
        return self.reading(lambda: list(self._open(self._list())))

    def paths(self) -> list[Path]:
        """Every part and shard, also damaged ones."""
        return [Path(path) for path in self.reading(self._list)]

    def is_current(self, shard: Shard) -> bool:
        """Whether an opened file is still the one of its name."""
        stamp, found = self._opened.get(str(shard.path), (None, None))
        with suppress(FileNotFoundError):
            return found is shard and _Stamp.of(shard.path.stat()) == stamp
        return False

    def reading(self, action: Callable[[], Found]) -> Found:
        """Read from files that may move: look again when one is gone.

        Raises:
            StoreError: a file may not be opened, or files keep vanishing.
        """
        for _ in range(_ATTEMPTS):
            try:
                return action()
            except FileNotFoundError:
                self._listed_when = None
            except OSError as error:
                crowded = error.errno in (errno.EMFILE, errno.ENFILE)
                cure = "run 'aqakit store pack'" if crowded else "correct its permissions"
                raise StoreError(
                    f"{error.filename or self.parts}: cannot be read ({error.strerror}); {cure}"
                ) from error
        raise StoreError(f"{self.shards}: files keep vanishing; stop what deletes them")

    def _open(self, paths: Iterable[str]) -> Iterator[Shard]:
        for path in paths:
            stamp = self._listing[path]
            known = self._opened.get(path)
            if known is None or known[0] != stamp:
                known = self._opened[path] = stamp, self._load(Path(path))
            if isinstance(known[1], Shard):
                yield known[1]

    def _load(self, path: Path) -> Shard | Damage:
        try:
            shard = open_shard(path)
            if shard.spec.key != self.key:
                raise DamagedError(path, f"holds another feature, {shard.spec.key}")
            first = shard.records[0]
            if path.parent == self.parts and path.name != part_name(first.video, first.source):
                raise DamagedError(path, f"holds another video, {first.video!r}")
        except DamagedError as error:
            return Damage(path, (), error.reason, error.cure)
        except PermissionError:
            return Damage(path, (), "may not be read", "correct its permissions")
        return shard

    def _list(self) -> list[str]:
        """Paths of the finished files, listed again if a folder changed."""
        when = tuple(_changed_ns(folder) for folder in (self.parts, self.shards))
        if when == self._listed_when:
            return list(self._listing)
        settled = max(when) < time.time_ns() - _SETTLED_NS
        self._listed_when = when if settled else None
        # A file that moves while its folder is listed may be missed in both places, but not twice.
        listing = self._scan()
        while (again := self._scan()) != listing:
            listing = again
        if listing != self._listing:
            self._adopt(listing)
        return list(listing)

    def _adopt(self, listing: dict[str, _Stamp]) -> None:
        self._listing = listing
        for path in [
            path for path, (stamp, _) in self._opened.items() if listing.get(path) != stamp
        ]:
            _, gone = self._opened.pop(path)
            if isinstance(gone, Shard):
                gone.release()
        self._in_shards = None
        self._parts_by_hash = defaultdict(list)
        for path in listing:
            if not self._is_shard(path):
                self._parts_by_hash[hash_in(os.path.basename(path))].append(path)

    def _is_shard(self, path: str) -> bool:
        return os.path.dirname(path) == str(self.shards)

    def _scan(self) -> dict[str, _Stamp]:
        # Parts first: a part that is missed was in a shard before the shards are listed.
        return dict(_files(self.parts)) | dict(_files(self.shards))


def _files(folder: Path) -> Iterator[tuple[str, _Stamp]]:
    try:
        with os.scandir(folder) as entries:
            for entry in sorted(entries, key=lambda entry: entry.name):
                if entry.name.endswith(".h5") and not entry.name.startswith("."):
                    with suppress(FileNotFoundError):
                        yield entry.path, _Stamp.of(entry.stat())
    except FileNotFoundError:
        return


def _changed_ns(folder: Path) -> int:
    try:
        return folder.stat().st_mtime_ns
    except FileNotFoundError:
        return 0


def _newest(shards: Iterable[Shard]) -> dict[str, Entry]:
    """The newest record of each video; of equal ones, that in the last file."""
    newest: dict[str, Entry] = {}
    for shard in shards:
        for record in shard.records:
            known = newest.get(record.video)
            if known is None or record.written_ns >= known.record.written_ns:
                newest[record.video] = Entry(shard, record)
    return newest
