"""Tables of numbers in MATLAB files, of any version: before 7.3 through SciPy, 7.3 as HDF5."""

import zlib
from collections.abc import Collection
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray
from scipy.io import loadmat, whosmat
from scipy.io.matlab import MatReadError, matfile_version

from .errors import ManifestError

# What SciPy and h5py raise of broken files; neither lists its errors.
_BROKEN = (
    *(ArithmeticError, EOFError, LookupError, MemoryError, OSError, RuntimeError, TypeError),
    *(ValueError, MatReadError, zlib.error),
)


def read_mat(path: Path, name: str) -> NDArray[np.float64]:
    """Read a matrix of real numbers.

    Args:
        path: of the file.
        name: of the variable.

    Returns:
        (R, C) as MATLAB shows it.

    Raises:
        ManifestError: one line that names the file, what is wrong and the cure.
    """
    if not path.is_file():
        raise ManifestError(f"{path}: no such file; name the folder that holds it")
    try:
        found = _variables(path, name)
    except _BROKEN as error:
        reason = " ".join(str(error).split())
        raise ManifestError(f"{path}: is no MATLAB file ({reason}); get it again") from None
    if name not in found:
        raise ManifestError(
            f"{path}: has no variable '{name}' (it has {_listed(found)}); get the authors' own file"
        )
    matrix = np.asarray(found[name])
    if matrix.dtype.kind not in "fiub" or matrix.ndim != 2 or not matrix.size:
        raise ManifestError(
            f"{path}: '{name}' is {matrix.dtype} of shape {matrix.shape}, and a matrix of numbers "
            "is needed; get the authors' own file"
        )
    if not np.isfinite(matrix).all():
        row, column = np.argwhere(~np.isfinite(matrix))[0]
        raise ManifestError(
            f"{path}: '{name}' row {row + 1}, column {column + 1} is {matrix[row, column]}; "
            "correct it"
        )
    return matrix.astype(np.float64)


def _variables(path: Path, name: str) -> dict[str, Any]:
    """Variables of a file; None instead of those that nobody asked for."""
    if matfile_version(path)[0] < 2:
        names = dict.fromkeys(entry[0] for entry in whosmat(path))
        return names | (loadmat(path, variable_names=[name]) if name in names else {})
    with h5py.File(path) as file:
        # MATLAB stores columns one after the other, HDF5 rows.
        return {key: value[()].T if key == name else None for key, value in file.items()}


def _listed(names: Collection[str]) -> str:
    return ", ".join(sorted(names)) or "none"
