"""Pickles as data: containers, numbers, text and NumPy arrays, and nothing that could run.

A pickle is a program that may call whatever it names. This reader knows the few names that Python's
containers and NumPy's arrays have, of NumPy 1 and 2 and of Python 2 and 3, and refuses any other.
It rebuilds arrays from their parts, checked, as NumPy itself believes what a pickle says of types
and sizes.
"""

import pickle
import re
from collections.abc import Callable, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import ManifestError
from .table import shortened

# What a broken pickle raises in the unpickler, which lists no errors.
_BROKEN = (
    *(pickle.UnpicklingError, ArithmeticError, AttributeError, EOFError, ImportError, LookupError),
    *(MemoryError, RecursionError, TypeError, ValueError),
)
_NUMBERS_OR_TEXT = re.compile("b1|[iu][1248]|f[248]|c8|c16|[SU][0-9]{1,6}")


class _Type:
    """A NumPy type as a pickle describes it."""

    def __init__(self, name: str, *_flags: object) -> None:
        if not _NUMBERS_OR_TEXT.fullmatch(name):
            raise _Refused(f"an array of type {name}")
        self.numpy: np.dtype[Any] = np.dtype(name)

    def __setstate__(self, state: Sequence[Any]) -> None:
        self.numpy = self.numpy.newbyteorder(state[1])


class _Array(np.ndarray[Any, np.dtype[Any]]):
    """An array that a pickle first makes and then fills."""

    def __setstate__(self, state: Sequence[Any], /) -> None:
        _version, shape, kind, in_columns, data = state
        filled = _array(_bytes(data), kind, shape, "F" if in_columns else "C")
        content = filled.tobytes("F" if in_columns else "C")
        whole: Any = (1, filled.shape, filled.dtype, bool(in_columns), content)
        super().__setstate__(whole)


def _array(
    data: Any, kind: _Type, shape: Sequence[int], order: Any, axes: Any = None
) -> NDArray[Any]:
    """An array of as many values as there are; with axes, its own order of memory is theirs."""
    flat = np.frombuffer(bytes(data), kind.numpy)
    if axes is None:
        return flat.reshape(shape, order=order).copy(order)
    return flat.reshape(shape).transpose(axes).copy()


def _scalar(kind: _Type, data: Any) -> Any:
    return np.frombuffer(_bytes(data), kind.numpy).reshape(())[()]


def _bytes(data: Any) -> bytes:
    """Python 2 writes bytes as text."""
    return data.encode("latin1") if isinstance(data, str) else bytes(data)


def _encode(text: str, encoding: str) -> bytes:
    """Protocols before 3 write bytes as this call."""
    if encoding != "latin1":
        raise ValueError(f"bytes in encoding {encoding!r}")
    return text.encode("latin1")


_CALLS: dict[tuple[str, str], Callable[..., Any]] = {
    ("_codecs", "encode"): _encode,
    ("numpy", "dtype"): _Type,
    # NumPy 2 has them in numpy._core, NumPy 1 in numpy.core.
    **{(f"numpy.{core}.multiarray", "scalar"): _scalar for core in ("core", "_core")},
    **{(f"numpy.{core}.numeric", "_frombuffer"): _array for core in ("core", "_core")},
    **{
        (f"numpy.{core}.multiarray", "_reconstruct"): lambda *_: _Array((0,))
        for core in ("core", "_core")
    },
    **{
        (home, kind.__name__): kind
        for home in ("builtins", "__builtin__")
        for kind in (bytearray, bytes, complex, frozenset, set)
    },
}


class _Refused(Exception):
    """Something that is no plain data."""


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("numpy", "ndarray"):
            return None  # It only ever stands where it says what to reconstruct.
        call = _CALLS.get((module, name))
        if call is None:
            raise _Refused(f"{module}.{name}")
        # A pickle may set attributes of what it names; of this function they end with the file.
        return lambda *arguments: call(*arguments)


def read_pickle(path: Path) -> Any:
    """Read a pickle of builtin containers, numbers, text and NumPy's arrays and scalars of these.

    Text of Python 2 is taken as Latin-1.

    Raises:
        ManifestError: there is no such file, it is broken, or it holds anything else.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise ManifestError(f"{path}: no such file; correct its path") from None
    except OSError as error:
        raise ManifestError(f"{path}: cannot be read ({error.strerror}); correct it") from None
    try:
        return _Unpickler(BytesIO(data), encoding="latin1").load()
    except _Refused as error:
        raise ManifestError(
            f"{path}: holds {shortened(str(error))}, and only plain containers, numbers, text and "
            "arrays of them are read, as others could run a program; get the authors' own file"
        ) from None
    except _BROKEN as error:
        reason = shortened(str(error) or type(error).__name__)
        raise ManifestError(f"{path}: is no whole pickle ({reason}); get the file again") from None
