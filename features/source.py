"""What features were computed from: the bytes of a file and the stretch of it that was used."""

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from .durable import read_json, write_json
from .errors import VideoError


@dataclass(frozen=True)
class Source:
    """A file as it was when features were computed from it.

    Args:
        name: file name, without its folder.
        size_bytes: of the file.
        mtime_ns: when it was last changed, in nanoseconds since 1970.
        sha256: of its bytes, in hex.
        start_seconds: where the used stretch begins; None is the file's own start.
        end_seconds: where it ends; None is the file's own end.
    """

    name: str
    size_bytes: int
    mtime_ns: int
    sha256: str
    start_seconds: float | None = None
    end_seconds: float | None = None

    @property
    def identity(self) -> str:
        """Hex digest of what decides the features: the bytes and the stretch, not name or time."""
        start, end = (
            None if seconds is None else float(seconds)
            for seconds in (self.start_seconds, self.end_seconds)
        )
        return hashlib.sha256(json.dumps([self.sha256, start, end]).encode()).hexdigest()

    def to_dict(self) -> dict[str, Any]:
        """The fields, ready for JSON."""
        return asdict(self)


def identify(
    path: Path, memory: Path, start_seconds: float | None, end_seconds: float | None
) -> Source:
    """Identify a source file, hashing it only where it changed since the last time.

    Args:
        path: the file.
        memory: folder that remembers size, change time and SHA-256 of the files seen before.
        start_seconds: start of the used stretch.
        end_seconds: end of the used stretch.

    Raises:
        VideoError: the file is missing or cannot be read.
        StoreError: the memory cannot be written.
    """
    path = path.absolute()
    record = memory / f"{hashlib.sha256(str(path).encode(errors='surrogatepass')).hexdigest()}.json"
    try:
        status = path.stat()
        seen = {"path": str(path), "size_bytes": status.st_size, "mtime_ns": status.st_mtime_ns}
        known = read_json(record)
        if isinstance(known, dict) and known.items() > seen.items() and "sha256" in known:
            digest = str(known["sha256"])
        else:
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            write_json(record, {**seen, "sha256": digest})
    except OSError as error:
        raise VideoError(
            f"{path}: {error.strerror or error}; correct its path or its permissions"
        ) from None
    return Source(path.name, status.st_size, status.st_mtime_ns, digest, start_seconds, end_seconds)
