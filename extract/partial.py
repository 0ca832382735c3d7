"""The beginning of a file of weights, kept until a later call fetches the rest.

The bytes lie in ``.<name>.part``; ``.<name>.part.json`` says which version of which file they are.
"""

import hashlib
import os
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from ..features.durable import read_json, sync_folder, write_all, write_errors, write_json

Progress = Callable[[int, int | None], None]


@dataclass(frozen=True)
class Origin:
    """Which version of which file some bytes are a beginning of.

    Args:
        url: where it is; empty where nothing is known.
        etag: its ``ETag``, empty where the server gave none.
        last_modified: its ``Last-Modified``, likewise.
        length: of the whole file in bytes, None where the server did not say.
    """

    url: str = ""
    etag: str = ""
    last_modified: str = ""
    length: int | None = None

    @property
    def validator(self) -> str:
        """What ``If-Range`` may hold: a weak ETag does not promise the same bytes."""
        return self.etag if self.etag.startswith('"') else self.last_modified


class Part:
    """The bytes of a download that is not finished.

    Every method raises DiskFullError where no space is left, and StoreError where the folder cannot
    be written to.

    Args:
        path: that the file will have.
    """

    def __init__(self, path: Path) -> None:
        self.path = path.with_name(f".{path.name}.part")
        self._label = path.with_name(f".{path.name}.part.json")

    @property
    def origin(self) -> Origin:
        """What the bytes belong to; of no URL where that is unknown."""
        match read_json(self._label):
            case {
                "url": str(url),
                "etag": str(etag),
                "last_modified": str(last_modified),
                "length": int() | None as length,
            }:
                return Origin(url, etag, last_modified, length)
        return Origin()

    @property
    def size(self) -> int:
        """Bytes that are here."""
        return self.path.stat().st_size if self.path.exists() else 0

    def begin(self, origin: Origin) -> None:
        """Start again, for bytes of this origin."""
        # Emptied before it gets its label: bytes must never stand under the label of others.
        with write_errors(self.path):
            self.path.write_bytes(b"")
        write_json(self._label, asdict(origin))

    def discard(self) -> None:
        """Forget everything."""
        with write_errors(self.path):
            self._label.unlink(missing_ok=True)
            self.path.unlink(missing_ok=True)

    def append(self, blocks: Iterable[bytes], progress: Progress) -> None:
        """Write blocks behind what is here; what came is kept if they end in an exception."""
        done, total = self.size, self.origin.length
        with write_errors(self.path):
            descriptor = os.open(self.path, os.O_WRONLY)
        try:
            progress(done, total)
            for block in blocks:
                with write_errors(self.path):
                    write_all(descriptor, memoryview(block), done)
                done += len(block)
                progress(done, total)
        finally:
            os.close(descriptor)

    def sha256(self) -> str:
        """Of the bytes that are here, in hex."""
        with write_errors(self.path), self.path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    def sync(self) -> None:
        """Make the bytes survive a power failure."""
        with write_errors(self.path), self.path.open("rb") as file:
            os.fsync(file.fileno())

    def rename(self, path: Path) -> None:
        """Give the bytes their real name."""
        with write_errors(path):
            self.path.replace(path)
            self._label.unlink(missing_ok=True)
            sync_folder(path.parent)
