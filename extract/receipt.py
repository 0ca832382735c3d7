"""What is known of a fetched file of weights: a small JSON file beside it, and what it proves.

Some weights are published without a checksum. The receipt keeps the SHA-256 that a file had when it
was fetched, so that damage since then is found even so.
"""

import hashlib
from dataclasses import asdict, dataclass
from pathlib import Path

from ..features.durable import read_json, write_json
from ..features.errors import WeightsError
from .backbone import Checkpoint

_SHOWN_DIGITS = 12


@dataclass(frozen=True)
class Receipt:
    """How a file was fetched.

    Args:
        url: where it came from.
        sha256: of the file, in hex.
        size_bytes: of the file.
        fetched: date and time in UTC, ISO 8601.
    """

    url: str
    sha256: str
    size_bytes: int
    fetched: str

    @classmethod
    def read(cls, path: Path) -> "Receipt | None":
        """Receipt of a file of weights; None where there is none or it cannot be read as one."""
        match read_json(_receipt_of(path)):
            case {
                "url": str(url),
                "sha256": str(sha256),
                "size_bytes": int(size_bytes),
                "fetched": str(fetched),
            }:
                return cls(url, sha256, size_bytes, fetched)
        return None

    def write(self, path: Path) -> None:
        """Write the receipt of a file of weights, beside it.

        Raises:
            DiskFullError: no space is left.
            StoreError: the folder cannot be written to.
        """
        write_json(_receipt_of(path), asdict(self))


def _receipt_of(path: Path) -> Path:
    return path.with_name(f"{path.name}.json")


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, in hex.

    Raises:
        WeightsError: the file cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise WeightsError(
            f"{path} cannot be read ({error.strerror}); correct its permissions or delete it"
        ) from None


def size_fault(path: Path, checkpoint: Checkpoint) -> str | None:
    """Why a file cannot be the right one, judged by its size alone, without reading it."""
    size, receipt = path.stat().st_size, Receipt.read(path)
    if checkpoint.size_bytes is not None and size != checkpoint.size_bytes:
        return f"has {size} bytes, the published file has {checkpoint.size_bytes}"
    if receipt is not None and size != receipt.size_bytes:
        return f"has {size} bytes, but had {receipt.size_bytes} when it was fetched"
    return None


def fault(path: Path, checkpoint: Checkpoint) -> str | None:
    """Why a file is not what was published or fetched; None where nothing speaks against it.

    Raises:
        WeightsError: the file cannot be read.
    """
    by_size = size_fault(path, checkpoint)
    if by_size is not None:
        return by_size
    found, receipt = sha256_of(path), Receipt.read(path)
    begins = f"its SHA-256 begins with {found[:_SHOWN_DIGITS]}"
    if not found.startswith(checkpoint.sha256_prefix):
        return f"is not the published file: {begins}, not with {published(checkpoint)}"
    if receipt is not None and found != receipt.sha256:
        return f"has changed since it was fetched: {begins}, not with {receipt.sha256[:12]}"
    return None


def published(checkpoint: Checkpoint) -> str:
    """The first digits of the published checksum; empty where none is published."""
    return checkpoint.sha256_prefix[:_SHOWN_DIGITS]
