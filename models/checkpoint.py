"""A training that goes on after a break: its tensors and numbers in one file, whole or not there."""

import io
import pickle
import struct
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from ..features.durable import replacing, write_all, write_errors
from ..features.errors import RecipeError

# What PyTorch lets through of its parsers of a zip archive and of the pickle in it.
_UNREADABLE = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    EOFError,
    LookupError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
    pickle.UnpicklingError,
    struct.error,
    zipfile.BadZipFile,
    zlib.error,
)


def write(path: Path, content: Mapping[str, Any]) -> None:
    """Write tensors, numbers and containers of them, whole or not at all.

    Raises:
        DiskFullError: no space is left.
        StoreError: the file cannot be made.
    """
    buffer = io.BytesIO()
    torch.save(dict(content), buffer)
    with replacing(path) as descriptor, write_errors(path):
        write_all(descriptor, buffer.getbuffer(), 0)


def read(path: Path) -> dict[str, Any] | None:
    """Read :func:`write` back, as data and never as code; None where there is no file.

    Raises:
        RecipeError: the file cannot be read.
    """
    if not path.exists():
        return None
    with fitting(path):
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()  # loading compares no checksum
        if damaged is not None:
            raise ValueError(f"{damaged} is damaged")
        content: dict[str, Any] = torch.load(path, weights_only=True, map_location="cpu")
    return content


@contextmanager
def fitting(path: Path) -> Iterator[None]:
    """Turn what goes wrong with a checkpoint's content into one line."""
    try:
        yield
    except _UNREADABLE as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise RecipeError(
            f"{path} is no checkpoint of this training ({reason}); remove it to start anew"
        ) from None
