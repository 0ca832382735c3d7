"""NumPy archives (.npz) from elsewhere, read without trust: no pickle, and one line for what is wrong.

A damaged archive fails in as many ways as ZIP, zlib and NumPy's header have parts; they all become
:class:`VideoError`.
"""

import os
import struct
import warnings
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .durable import replacing, write_errors
from .errors import VideoError

_NUMBERS = "fiu"
# NotImplementedError: an unknown compression; RuntimeError: a password.
_BROKEN = (
    EOFError,
    KeyError,
    MemoryError,
    NotImplementedError,
    OSError,
    OverflowError,
    RuntimeError,
    SyntaxError,
    TypeError,
    ValueError,
    struct.error,
    zipfile.BadZipFile,
    zlib.error,
)


def read_npz(path: Path, names: Sequence[str]) -> dict[str, NDArray[Any]]:
    """Arrays of numbers in an archive.

    Args:
        path: of the archive.
        names: of the arrays that are wanted.

    Returns:
        Those that are there, by name.

    Raises:
        VideoError: the file cannot be read, is no whole archive, or a wanted array holds something
            else than numbers.
    """
    try:
        # NumPy leaves a file open that it opened itself and cannot use.
        with path.open("rb") as file, warnings.catch_warnings():
            # Archives of Python 2 are welcome, which NumPy remarks upon.
            warnings.simplefilter("ignore")
            loaded = np.load(file, allow_pickle=False)
            if isinstance(loaded, np.ndarray):
                raise VideoError(f"{path}: is a single array (.npy); save it with numpy.savez")
            with loaded:
                found = {name: loaded[name] for name in names if name in loaded.files}
    except FileNotFoundError:
        raise VideoError(f"{path}: no such file; correct its path") from None
    except _BROKEN as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise VideoError(
            f"{path}: is no NumPy archive of plain numbers that can be read ({reason}); copy it "
            "again or save it anew with numpy.savez"
        ) from None
    for name, array in found.items():
        # An array that carries another name than .npy comes as bytes.
        if not isinstance(array, np.ndarray) or array.dtype.kind not in _NUMBERS:
            kind = getattr(array, "dtype", type(array).__name__)
            raise VideoError(f"{path}: '{name}' holds {kind}, not real numbers; save it as float32")
    return found


def write_npz(path: Path, array: NDArray[np.generic]) -> None:
    """Write one array as ``arr_0``, uncompressed; the file appears whole or not at all.

    Raises:
        DiskFullError: no space is left.
        StoreError: the file cannot be made.
    """
    with (
        replacing(path) as descriptor,
        write_errors(path),
        os.fdopen(os.dup(descriptor), "wb") as f,
    ):
        np.savez(f, array)
