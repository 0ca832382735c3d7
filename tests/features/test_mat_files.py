from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.io import savemat

from aqakit.features.errors import ManifestError
from aqakit.features.mat_files import read_mat

LIST = np.array([[1, 37, 84.7], [5, 2, 46.2]])
FORMS = ("4", "5", "5-compressed", "7.3")


def save(path: Path, form: str, **variables: NDArray[Any]) -> Path:
    if form == "7.3":
        # MATLAB writes 512 bytes of its own before the HDF5, and each matrix column by column.
        with h5py.File(path, "w", userblock_size=512) as file:
            for name, matrix in variables.items():
                file[name] = np.atleast_2d(matrix).T
        with path.open("r+b") as raw:
            raw.write(b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM")
    else:
        savemat(path, variables, format=form[0], do_compression=form == "5-compressed")
    return path


@pytest.mark.parametrize("form", FORMS)
def test_a_matrix_of_each_version(tmp_path: Path, form: str) -> None:
    path = save(tmp_path / "a.mat", form, others=np.zeros((1, 2)), wanted=LIST)
    made = read_mat(path, "wanted")
    assert made.dtype == np.float64
    np.testing.assert_array_equal(made, LIST)


@pytest.mark.parametrize("form", FORMS)
def test_integers_become_float(tmp_path: Path, form: str) -> None:
    matrix = np.array([[1, 2, 300]], dtype=np.int16 if form == "4" else np.uint16)
    made = read_mat(save(tmp_path / "a.mat", form, idx=matrix), "idx")
    assert made.dtype == np.float64
    assert made.tolist() == [[1, 2, 300]]


@pytest.mark.parametrize("form", FORMS)
def test_no_such_variable(tmp_path: Path, form: str) -> None:
    path = save(tmp_path / "a.mat", form, second=LIST, first=LIST)
    with pytest.raises(ManifestError) as caught:
        read_mat(path, "wanted")
    assert str(caught.value) == (
        f"{path}: has no variable 'wanted' (it has first, second); get the authors' own file"
    )


@pytest.mark.parametrize("form", FORMS)
def test_a_value_that_is_not_finite(tmp_path: Path, form: str) -> None:
    matrix = LIST.copy()
    matrix[1, 2] = np.nan
    path = save(tmp_path / "a.mat", form, wanted=matrix)
    with pytest.raises(ManifestError) as caught:
        read_mat(path, "wanted")
    assert str(caught.value) == f"{path}: 'wanted' row 2, column 3 is nan; correct it"


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (np.array(["ab", "c"]), "'wanted' is <U2 of shape (2,), and a matrix of numbers is needed"),
        (np.array([[1j]]), "'wanted' is complex128 of shape (1, 1)"),
        (np.zeros((0, 3)), "'wanted' is float64 of shape (0, 3)"),
        (np.zeros((2, 2, 2)), "'wanted' is float64 of shape (2, 2, 2)"),
        ({"field": 1.0}, "of shape (1, 1), and a matrix of numbers"),
    ],
)
def test_what_is_no_matrix_of_numbers(tmp_path: Path, value: Any, words: str) -> None:
    savemat(tmp_path / "a.mat", {"wanted": value})
    with pytest.raises(ManifestError) as caught:
        read_mat(tmp_path / "a.mat", "wanted")
    assert words in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_a_group_of_hdf5_is_no_matrix(tmp_path: Path) -> None:
    path = save(tmp_path / "a.mat", "7.3", other=LIST)
    with h5py.File(path, "r+") as file:
        file["wanted/inside"] = LIST
    with pytest.raises(ManifestError, match=r"a\.mat: is no MATLAB file \("):
        read_mat(path, "wanted")


@pytest.mark.parametrize("data", [b"", b"a,b\n1,2\n", b"x" * 300, b"\0" * 200])
def test_no_matlab_file(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "a.mat").write_bytes(data)
    with pytest.raises(ManifestError, match=r"a\.mat: is no MATLAB file \(.*\); get it again"):
        read_mat(tmp_path / "a.mat", "wanted")


def test_damaged_compression(tmp_path: Path) -> None:
    path = save(tmp_path / "a.mat", "5-compressed", wanted=LIST)
    data = bytearray(path.read_bytes())
    data[150:160] = bytes(10)
    path.write_bytes(data)
    with pytest.raises(
        ManifestError, match=r"a\.mat: is no MATLAB file \(Error -3 while decompress"
    ):
        read_mat(path, "wanted")


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match=r"a\.mat: no such file; name the folder that holds it"):
        read_mat(tmp_path / "a.mat", "wanted")
    with pytest.raises(ManifestError, match="no such file"):
        read_mat(tmp_path, "wanted")


@given(form=st.sampled_from(FORMS), kept=st.floats(0, 1, exclude_max=True))
def test_a_file_that_breaks_off(
    tmp_path_factory: pytest.TempPathFactory, form: str, kept: float
) -> None:
    path = save(tmp_path_factory.getbasetemp() / "a.mat", form, wanted=LIST)
    data = path.read_bytes()
    path.write_bytes(data[: int(kept * len(data))])
    try:
        made = read_mat(path, "wanted")
    except ManifestError as error:
        assert len(str(error).splitlines()) == 1
    else:
        # Of HDF5 and of some versions, the end is padding.
        np.testing.assert_array_equal(made, LIST)
