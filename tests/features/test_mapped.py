import ctypes
import mmap
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from aqakit.features import mapped
from aqakit.features.mapped import will_need
from aqakit.features.segments import Sampling
from aqakit.features.source import Source
from aqakit.features.spec import FeatureSpec
from aqakit.features.store import FeatureStore

ROW = (64, 32, 32)  # 128 kB in half precision


def _stored(folder: Path, rows: int = 40, row: tuple[int, ...] = ROW) -> NDArray[Any]:
    """Rows of a second video of a packed store, whose first row is that of no page."""
    store = FeatureStore.create(folder / "store")
    spec = FeatureSpec(
        "resnet101", "rgb", "conv5", Sampling("segments", 1, rows), "imagenet", precision="float16"
    )
    for number in range(2):
        source = Source(f"{number}.mp4", 0, 0, f"{number:064x}")
        with store.begin(spec, f"v{number}", source, (rows, *row), 1) as part:
            values = np.random.default_rng(number).random((rows, *row), np.float32)
            part.append(values)
            part.finish(np.zeros((rows, 3)), np.zeros((rows, 1)), {})
    store.pack()
    return FeatureStore.open(store.path).read(spec.key, "v1").values


class Asked:
    """Stands in for a map and notes what it is asked for."""

    def __init__(self, memory: mmap.mmap) -> None:
        self.memory = memory
        self.ranges: list[tuple[int, int]] = []

    def madvise(self, option: int, start: int, length: int) -> None:
        assert option == mmap.MADV_WILLNEED
        self.memory.madvise(option, start, length)
        self.ranges.append((start, start + length))


def _asked(
    array: NDArray[Any], rows: list[int], monkeypatch: pytest.MonkeyPatch
) -> list[tuple[int, int]]:
    memory = mapped._memory_of(array)
    assert memory is not None
    spy = Asked(memory)
    monkeypatch.setattr(mapped, "_memory_of", lambda _: spy)
    monkeypatch.setattr(np, "frombuffer", lambda _, *rest: np.ndarray((1,), "u1", memory))
    will_need(array, rows)
    return spy.ranges


@pytest.mark.parametrize("rows", [[0], [39, 3, 17], []])
def test_exactly_the_pages_of_the_rows_are_asked_for(
    tmp_path: Path, rows: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    array = _stored(tmp_path)
    content = next((tmp_path / "store" / "shards").glob("*/*.h5")).read_bytes()
    size = array[0].nbytes
    wanted = set()
    for row in rows:
        first = content.index(array[row].tobytes())
        wanted |= set(range(first // mmap.PAGESIZE, (first + size - 1) // mmap.PAGESIZE + 1))
    pages = [
        page
        for start, stop in _asked(array, rows, monkeypatch)
        for page in range(start // mmap.PAGESIZE, (stop - 1) // mmap.PAGESIZE + 1)
    ]
    assert set(pages) == wanted


def _resident_megabytes(path: Path) -> float:
    """How much of a file is in the page cache, by the kernel's own count of another map of it."""
    size = os.path.getsize(path)
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as memory:
        pages = -(-size // mmap.PAGESIZE)
        states = (ctypes.c_ubyte * pages)()
        view = np.frombuffer(memory, np.uint8, 1)
        libc = ctypes.CDLL(None, use_errno=True)
        failed = libc.mincore(ctypes.c_void_p(view.ctypes.data), ctypes.c_size_t(size), states)
        assert not failed
        del view
        return sum(state & 1 for state in states) * mmap.PAGESIZE / 1e6


def test_rows_that_were_asked_for_are_read_and_no_others(tmp_path: Path) -> None:
    array = _stored(tmp_path, 200)
    path = next((tmp_path / "store" / "shards").glob("*/*.h5"))
    memory = mapped._memory_of(array)
    assert memory is not None
    memory.madvise(mmap.MADV_DONTNEED)
    with path.open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    before = _resident_megabytes(path)
    if before > 1:
        pytest.skip("this file system keeps its pages")
    rows = list(range(3, 200, 20))
    will_need(array, rows)
    copy = array[rows]
    read = _resident_megabytes(path) - before
    assert read == pytest.approx(copy.nbytes / 1e6, rel=0.2)


@pytest.mark.parametrize(
    "array",
    [np.zeros((4, 1 << 17), np.uint8), np.zeros((0, 3)), np.zeros((4, 3))],
)
def test_arrays_in_memory_are_left_alone(array: NDArray[Any]) -> None:
    assert mapped._memory_of(array) is None
    will_need(array, range(len(array)))


def test_small_rows_and_scattered_ones_are_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    large = _stored(tmp_path)
    small = _stored(tmp_path / "small", row=(64,))
    assert _asked(small, [0, 1], monkeypatch) == []
    monkeypatch.undo()
    assert _asked(large[::2], [0, 1], monkeypatch) == []
