import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aqakit.features.errors import VideoError
from aqakit.features.npz import read_npz, write_npz


class Loud:
    """Tells when it is unpickled."""

    def __reduce__(self) -> tuple[type[BaseException], tuple[str]]:
        return SystemExit, ("unpickled",)


def archive(**arrays: object) -> bytes:
    data = io.BytesIO()
    np.savez_compressed(data, **arrays)  # type: ignore[arg-type]
    return data.getvalue()


def test_what_was_written_is_read(tmp_path: Path) -> None:
    array = np.random.default_rng(0).random((5, 3), np.float32)
    write_npz(tmp_path / "deep" / "v.npz", array)
    found = read_npz(tmp_path / "deep" / "v.npz", ("arr_0", "times"))
    assert found.keys() == {"arr_0"}
    np.testing.assert_array_equal(found["arr_0"], array)
    with np.load(tmp_path / "deep" / "v.npz") as loaded:
        np.testing.assert_array_equal(loaded["arr_0"], array)
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["v.npz"]


def test_equal_arrays_make_equal_files(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_npz(tmp_path / name, np.arange(6.0).reshape(2, 3))
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


@pytest.mark.parametrize("objects", [[Loud()], np.array([Loud()], dtype=object)])
def test_nothing_is_ever_unpickled(tmp_path: Path, objects: object) -> None:
    path = tmp_path / "v.npz"
    path.write_bytes(archive(arr_0=np.array(objects, dtype=object)))
    with pytest.raises(VideoError, match="no NumPy archive of plain numbers.*allow_pickle=False"):
        read_npz(path, ("arr_0",))


def test_a_bare_pickle_is_not_read(tmp_path: Path) -> None:
    import pickle

    path = tmp_path / "v.npz"
    path.write_bytes(pickle.dumps(Loud()))
    with pytest.raises(VideoError, match="no NumPy archive of plain numbers"):
        read_npz(path, ("arr_0",))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "no NumPy archive"),
        (b"rows of text\n", "no NumPy archive"),
        (archive(arr_0=np.zeros((9, 9)))[:-40], "no NumPy archive"),
        (archive(arr_0=np.array(["a"])), "'arr_0' holds <U1, not real numbers"),
        (archive(arr_0=np.array([[1j]])), "'arr_0' holds complex128, not real numbers"),
    ],
)
def test_broken_archives(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "v.npz"
    path.write_bytes(content)
    with pytest.raises(VideoError) as caught:
        read_npz(path, ("arr_0",))
    assert str(caught.value).startswith(f"{path}: ")
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_single_array_and_no_file(tmp_path: Path) -> None:
    np.save(tmp_path / "v.npy", np.zeros(3))
    with pytest.raises(VideoError, match=r"v.npy: is a single array \(.npy\); save it with"):
        read_npz(tmp_path / "v.npy", ("arr_0",))
    with pytest.raises(VideoError, match="gone.npz: no such file; correct its path"):
        read_npz(tmp_path / "gone.npz", ("arr_0",))


WHOLE = archive(arr_0=np.arange(12.0).reshape(4, 3))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=300)
@given(
    place=st.integers(0, len(WHOLE) - 1), byte=st.integers(0, 255), stop=st.integers(0, len(WHOLE))
)
def test_any_damage_is_one_line(tmp_path: Path, place: int, byte: int, stop: int) -> None:
    path = tmp_path / "v.npz"
    for content in (WHOLE[:place] + bytes([byte]) + WHOLE[place + 1 :], WHOLE[:stop]):
        path.write_bytes(content)
        try:
            found = read_npz(path, ("arr_0",))
        except VideoError as error:
            assert "\n" not in str(error)
        else:
            assert found == {} or found["arr_0"].dtype.kind in "fiu"
