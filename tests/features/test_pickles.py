import collections
import datetime
import functools
import os
import pickle
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from aqakit.features import pickles
from aqakit.features.errors import ManifestError
from aqakit.features.pickles import read_pickle

VALUE: dict[Any, Any] = {
    (1, 1): {"score": 80.5, "dive": "5253B", "judges": [8.0, 7.5], "none": None, "yes": True},
    (2, 13): {"set": {1, 2}, "frozen": frozenset("ab"), "bytes": b"\x00\xff", "turn": 1 - 2j},
    "big": 2**80,
    "mutable": bytearray(b"ab"),
}
ARRAYS = [
    np.arange(6.0).reshape(2, 3),
    np.asfortranarray(np.arange(6, dtype=np.int16).reshape(2, 3)),
    np.arange(24, dtype=">f4").reshape(2, 3, 4).transpose(0, 2, 1),
    np.array(["Suturing_B001", "é"]),
    np.array([b"ab", b"c"]),
    np.array([True, False]),
    np.zeros((0, 4)),
    np.array(2.5),
    np.arange(10)[::2],
]


def written(folder: Path, data: bytes) -> Path:
    path = folder / "data.pkl"
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("protocol", range(6))
def test_containers_and_numbers(tmp_path: Path, protocol: int) -> None:
    assert read_pickle(written(tmp_path, pickle.dumps(VALUE, protocol))) == VALUE


# From protocol 4 on, names have their length before them and cannot simply be replaced.
@pytest.mark.parametrize(
    ("core", "protocol"),
    [*(("_core", number) for number in range(6)), *(("core", number) for number in range(4))],
)
def test_arrays_of_both_numpys(tmp_path: Path, core: str, protocol: int) -> None:
    data = pickle.dumps(ARRAYS, protocol)
    assert b"numpy._core" in data
    data = data.replace(b"numpy._core", f"numpy.{core}".encode())
    for made, expected in zip(read_pickle(written(tmp_path, data)), ARRAYS, strict=True):
        assert made.dtype.newbyteorder("=") == expected.dtype.newbyteorder("=")
        assert made.flags.writeable
        np.testing.assert_array_equal(made, expected)


@pytest.mark.parametrize("protocol", range(6))
def test_scalars(tmp_path: Path, protocol: int) -> None:
    scalars = [np.float64(0.1), np.int64(-3), np.float32(0.5), np.str_("ab"), np.bool_(True)]
    made = read_pickle(written(tmp_path, pickle.dumps(scalars, protocol)))
    assert made == scalars
    assert [type(one) for one in made] == [type(one) for one in scalars]


@given(
    array=arrays.arrays(
        st.sampled_from(["<f8", ">f8", "<i4", "|u1", "<c16", "<U3"]),
        arrays.array_shapes(min_dims=0, max_dims=3, min_side=0),
    ),
    in_columns=st.booleans(),
    protocol=st.integers(0, 5),
)
def test_any_array_comes_back(
    tmp_path_factory: pytest.TempPathFactory,
    array: np.ndarray[Any, Any],
    in_columns: bool,
    protocol: int,
) -> None:
    array = np.asfortranarray(array) if in_columns else array
    path = written(tmp_path_factory.getbasetemp(), pickle.dumps(array, protocol))
    made = read_pickle(path)
    own = array.dtype.newbyteorder("=")
    assert (made.shape, made.dtype.newbyteorder("=")) == (array.shape, own)
    assert made.astype(own).tobytes() == array.astype(own).tobytes()


def test_an_array_that_stands_twice(tmp_path: Path) -> None:
    array = np.arange(3.0)
    first, second = read_pickle(written(tmp_path, pickle.dumps([array, array])))
    assert first is second


# A pickle of Python 2 and NumPy 1, written by hand: their text is bytes.

FLOAT = (
    b"cnumpy\ndtype\n(U\x02f8K\x00K\x01tR(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
)


def test_python_2(tmp_path: Path) -> None:
    key = b"(K\x01K\x02t"
    scalar = (
        b"cnumpy.core.multiarray\nscalar\n(" + FLOAT + b"U\x08" + struct.pack("<d", 80.5) + b"tR"
    )
    data = b"\x80\x02}" + key + b"}(U\x05score" + scalar + b"U\x04nameU\x02\xe9aus."
    assert read_pickle(written(tmp_path, data)) == {(1, 2): {"score": 80.5, "name": "éa"}}


def array_of_three(shape: bytes) -> bytes:
    values = struct.pack("<3d", 1.5, -2.0, 1e300)
    empty = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\x00tU\x01btR"
    return b"\x80\x02" + empty + b"(K\x01(" + shape + b"t" + FLOAT + b"I00\nU\x18" + values + b"tb."


def test_an_array_of_python_2(tmp_path: Path) -> None:
    made = read_pickle(written(tmp_path, array_of_three(b"K\x03")))
    assert made.tolist() == [1.5, -2.0, 1e300]


# What is refused


class Runs:
    """Makes a file when a pickle of it is read by anyone who trusts it."""

    def __init__(self, call: Callable[..., Any], *arguments: Any) -> None:
        self.call = call, arguments

    def __reduce__(self) -> tuple[Any, ...]:
        return self.call


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize(
    ("call", "name"),
    [
        (os.system, "posix.system"),
        (os.mkdir, "posix.mkdir"),
        (exec, "exec"),
        (np.load, "load"),
        (functools.partial, "functools.partial"),
        (getattr, "getattr"),
    ],
)
def test_programs(tmp_path: Path, protocol: int, call: Callable[..., Any], name: str) -> None:
    mark = tmp_path / "ran"
    path = written(tmp_path, pickle.dumps([1, Runs(call, f"mkdir {mark}")], protocol))
    with pytest.raises(ManifestError) as caught:
        read_pickle(path)
    assert f"{path}: holds '" in str(caught.value)
    assert f"{name}', and only plain containers, numbers, text and arrays" in str(caught.value)
    assert not mark.exists()


def test_a_trusting_reader_would_have_run_it(tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    pickle.loads(pickle.dumps(Runs(os.mkdir, str(mark))))
    assert mark.exists()


@pytest.mark.parametrize(
    ("value", "name"),
    [
        (collections.OrderedDict(a=1), "collections.OrderedDict"),
        (datetime.date(2020, 1, 2), "datetime.date"),
        (Path("a"), "pathlib"),
        (np.array([1, None], dtype=object), "an array of type O8"),
        (np.zeros(2, dtype=[("a", "f8")]), "an array of type V8"),
        (np.ma.masked_array([1.0], [True]), "numpy.ma"),
        (np.random.default_rng(0), "numpy.random"),
    ],
)
def test_classes_that_are_no_plain_data(tmp_path: Path, value: object, name: str) -> None:
    with pytest.raises(ManifestError, match=f"holds '{name}"):
        read_pickle(written(tmp_path, pickle.dumps(value)))


def test_the_class_of_arrays_cannot_be_called(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="is no whole pickle"):
        read_pickle(written(tmp_path, b"\x80\x02cnumpy\nndarray\n(K\x03tR."))


def test_bytes_in_another_encoding(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="no whole pickle .*bytes in encoding 'zip'"):
        read_pickle(written(tmp_path, b"\x80\x02c_codecs\nencode\n(X\x01\0\0\0aX\x03\0\0\0ziptR."))


@pytest.mark.parametrize("name", ["_codecs\nencode", "numpy._core.numeric\n_frombuffer"])
def test_what_a_pickle_sets_ends_with_it(tmp_path: Path, name: str) -> None:
    functions = [pickles._encode, pickles._array]
    before = [(one.__defaults__, dict(one.__dict__)) for one in functions]
    module = name.encode()
    state = b"(}U\x04seenK\x01s}U\x0c__defaults__)st"
    read_pickle(written(tmp_path, b"\x80\x02c" + module + b"\n" + state + b"b."))
    assert [(one.__defaults__, dict(one.__dict__)) for one in functions] == before


# NumPy itself would take the second of these and read beyond its memory.
@pytest.mark.parametrize("shape", [b"K\x02", b"K\x04", b"K\x02K\x02", b"J\xff\xff\xff\xffK\x02"])
def test_sizes_that_contradict(tmp_path: Path, shape: bytes) -> None:
    with pytest.raises(ManifestError, match="cannot reshape array of size 3"):
        read_pickle(written(tmp_path, array_of_three(shape)))


def test_a_type_whose_size_contradicts(tmp_path: Path) -> None:
    size = b"J\xff\xff\xff\xffJ\xff\xff\xff\xff"
    data = pickle.dumps(np.arange(2.0), 2)
    assert size in data
    path = written(tmp_path, data.replace(size, b"J\xff\xff\x00\x00J\xff\xff\x00\x00"))
    assert read_pickle(path).tolist() == [0, 1]


# Broken files


@pytest.mark.parametrize("protocol", range(6))
def test_a_file_that_breaks_off(tmp_path: Path, protocol: int) -> None:
    data = pickle.dumps([VALUE, ARRAYS[0]], protocol)
    for end in range(len(data)):
        with pytest.raises(ManifestError, match="is no whole pickle .*; get the file again"):
            read_pickle(written(tmp_path, data[:end]))


@given(
    protocol=st.integers(0, 5),
    changes=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), max_size=4),
)
def test_a_damaged_file_is_one_line(
    tmp_path_factory: pytest.TempPathFactory, protocol: int, changes: list[tuple[float, int]]
) -> None:
    data = bytearray(pickle.dumps([VALUE, *ARRAYS[:4]], protocol))
    for place, byte in changes:
        data[int(place * len(data))] = byte
    try:
        read_pickle(written(tmp_path_factory.getbasetemp(), bytes(data)))
    except ManifestError as error:
        assert len(str(error).splitlines()) == 1


def test_a_file_of_something_else(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="is no whole pickle"):
        read_pickle(written(tmp_path, b"better,worse\na,b\n"))


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match=r"absent\.pkl: no such file; correct its path"):
        read_pickle(tmp_path / "absent.pkl")
    with pytest.raises(ManifestError, match=r"cannot be read \(Is a directory\)"):
        read_pickle(tmp_path)
