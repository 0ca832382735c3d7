"""Flow: analytic displacements, OpenCV itself as reference, order and bounded memory."""

import subprocess
import sys
import threading
from concurrent.futures import CancelledError, Future
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from aqakit.extract import tvl1_engines
from aqakit.extract.flow import TVL1, Flow, FlowStream, Method, grey
from aqakit.extract.tvl1 import tvl1 as compute
from aqakit.extract.tvl1_engines import Batches

RNG = np.random.default_rng(0)
NOISE = RNG.integers(0, 255, (64, 96, 3)).astype(np.uint8)
TEXTURE = np.asarray(cv2.GaussianBlur(NOISE, (0, 0), 2), dtype=np.uint8)
METHODS: list[Method] = ["opencv", "torch"]


def shifted(pixels: int) -> NDArray[np.uint8]:
    return np.roll(TEXTURE, pixels, axis=1)


def _random(shape: tuple[int, int]) -> NDArray[np.uint8]:
    return RNG.integers(0, 255, shape).astype(np.uint8)


def use_batches(tvl1: TVL1) -> Batches:
    """Let an entered TVL1 gather batches as for an accelerator, and work them on the processor."""
    tvl1._engine.close()
    engine = tvl1._engine = Batches(torch.device("cpu"))
    return engine


@pytest.mark.parametrize("method", METHODS)
def test_a_still_pair_has_no_flow_and_a_shift_is_found(method: Method) -> None:
    with TVL1(2, method) as tvl1:
        still = tvl1.submit(grey(TEXTURE), grey(TEXTURE)).result()
        moved = tvl1.submit(grey(TEXTURE), grey(shifted(2))).result()
    assert still.shape == (64, 96, 2)
    assert still.dtype == moved.dtype == np.float32
    np.testing.assert_array_equal(still, 0)
    inner = moved[10:-10, 10:-10]
    np.testing.assert_allclose(np.median(inner, axis=(0, 1)), [2, 0], atol=0.1)


def test_the_stream_equals_opencv_pair_by_pair_in_order() -> None:
    frames = [shifted(step) for step in (0, 1, 3, 4, 6, 7, 7)]
    pairs = np.array([[0, 1], [0, 2], [2, 3], [3, 3], [1, 4], [4, 6]])
    found: list[tuple[int, np.ndarray]] = []
    with TVL1(2) as tvl1:
        stream = FlowStream(tvl1, pairs)
        for number, frame in enumerate(frames):
            found.extend(stream.push(number, grey(frame)))
        found.extend(stream.finish())
    assert [position for position, _ in found] == list(range(len(pairs)))
    method = cv2.optflow.DualTVL1OpticalFlow_create()  # type: ignore[attr-defined]
    for position, flow in found:
        first, second = (grey(frames[number]) for number in pairs[position])
        expected = (
            method.calc(first, second, None)
            if pairs[position][0] != pairs[position][1]
            else 0 * flow
        )
        np.testing.assert_array_equal(flow, expected)


def test_batches_give_the_bits_of_threads_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tvl1_engines, "BATCH_PAIRS", 3)
    frames = [shifted(step)[:24, :32] for step in (0, 1, 3, 4, 6, 7, 7, 9)]
    pairs = np.array([[0, 1], [0, 2], [2, 3], [3, 3], [1, 4], [4, 6], [6, 7]])

    def run(batched: bool) -> list[tuple[int, Flow]]:
        with TVL1(2, "torch") as tvl1:
            if batched:
                use_batches(tvl1)
            stream = FlowStream(tvl1, pairs)
            found = [
                each for number, f in enumerate(frames) for each in stream.push(number, grey(f))
            ]
            return found + list(stream.finish())

    batched, threaded = run(True), run(False)
    assert [position for position, _ in batched] == list(range(len(pairs)))
    for (_, ours), (_, expected) in zip(batched, threaded, strict=True):
        np.testing.assert_array_equal(ours, expected)


def test_a_batch_starts_when_full_or_flushed_and_sizes_do_not_mix(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tvl1_engines, "BATCH_PAIRS", 2)
    sizes: list[tuple[int, ...]] = []

    def flow(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
        sizes.append(tuple(first.shape))
        return torch.stack((first.float(), second.float()), 1)

    monkeypatch.setattr(tvl1_engines, "tvl1", flow)
    small, large = _random((16, 20)), _random((17, 20))
    with TVL1(1, "torch") as tvl1:
        use_batches(tvl1)
        assert tvl1.capacity == 4
        futures = [tvl1.submit(p, p) for p in (small, large, small, large, small)]
        for future in futures[:4]:
            future.result()
        assert not futures[4].done()
        tvl1.flush()
        np.testing.assert_array_equal(futures[4].result()[..., 1], small)
    assert sizes == [(2, 16, 20), (2, 17, 20), (1, 16, 20)]


def test_large_pictures_come_in_smaller_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tvl1_engines, "BATCH_PIXELS", 3 * 16 * 20)
    with TVL1(1, "torch") as tvl1:
        use_batches(tvl1)
        futures = [tvl1.submit(_random((16, 20)), _random((16, 20))) for _ in range(3)]
        assert [future.result().shape for future in futures] == [(16, 20, 2)] * 3
        huge = tvl1.submit(_random((64, 64)), _random((64, 64)))
        assert huge.result().shape == (64, 64, 2)


def test_still_pairs_do_not_make_a_batch_wait_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tvl1_engines, "BATCH_PAIRS", 2)
    pairs = np.array([[0, 1]] + [[1, 1]] * 20)
    with TVL1(1, "torch") as tvl1:
        use_batches(tvl1)
        stream = FlowStream(tvl1, pairs)
        for number in range(2):
            assert not list(stream.push(number, grey(shifted(number)[:16, :16])))
        assert [position for position, _ in stream.finish()] == list(range(21))


def test_an_error_in_a_batch_reaches_each_of_its_pairs() -> None:
    with TVL1(1, "torch") as tvl1:
        use_batches(tvl1)
        futures = [tvl1.submit(_random((16, 20)), _random((16, 30))) for _ in range(2)]
        tvl1.flush()
        for future in futures:
            with pytest.raises(ValueError, match="16, 30"):
                future.result()


def test_pairs_that_never_ran_are_cancelled_on_leaving() -> None:
    with TVL1(1, "torch") as tvl1:
        use_batches(tvl1)
        future: Future[Flow] = tvl1.submit(_random((16, 20)), _random((16, 20)))
    with pytest.raises(CancelledError):
        future.result(timeout=10)


def test_only_wanted_frames_are_kept_and_few_pairs_wait() -> None:
    pairs = np.array([[n, n + 1] for n in range(40)])
    with TVL1(1) as tvl1:
        assert tvl1.capacity == 2
        stream = FlowStream(tvl1, pairs)
        assert stream.wanted == set(range(41))
        for number in range(41):
            list(stream.push(number, grey(TEXTURE[:16, :16])))
            assert len(stream._running) <= 2
            assert len(stream._pictures) <= 1
        assert len(list(stream.finish())) <= 2


def test_libraries_get_their_threads_back() -> None:
    before = cv2.getNumThreads(), torch.get_num_threads()
    with TVL1(), TVL1():
        assert cv2.getNumThreads() == 1
    with TVL1(method="torch"), TVL1():
        assert cv2.getNumThreads() == 1
    assert (cv2.getNumThreads(), torch.get_num_threads()) == before


def test_two_threads_run_torch_side_by_side(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both are inside at once, each with one thread of its own, and neither changes the result."""
    both = threading.Barrier(2, timeout=60)
    threads: list[int] = []

    def flow(*pair: torch.Tensor) -> torch.Tensor:
        both.wait()
        threads.append(torch.get_num_threads())
        found = compute(*pair)
        both.wait()
        return found

    monkeypatch.setattr(tvl1_engines, "tvl1", flow)
    first, second = grey(TEXTURE), grey(shifted(1))
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with TVL1(2, "torch") as tvl1:
            found = [tvl1.submit(first, second) for _ in range(2)]
            np.testing.assert_array_equal(found[0].result(), found[1].result())
            # A network in this thread keeps its cores.
            assert torch.get_num_threads() == 2
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    assert threads == [1, 1]


def test_pictures_of_two_sizes_are_an_error_not_a_hang() -> None:
    pair = np.zeros((20, 20), np.uint8), np.zeros((20, 30), np.uint8)
    with TVL1(1) as tvl1, pytest.raises(cv2.error):
        tvl1.submit(*pair).result()
    with TVL1(1, "torch") as tvl1, pytest.raises(ValueError, match="20, 30"):
        tvl1.submit(*pair).result()


def test_names_and_wrong_choices() -> None:
    assert TVL1().name == f"opencv {cv2.__version__}"
    assert TVL1(method="torch").name == f"torch {torch.__version__.split('+')[0]}"
    wrong: Any = "farneback"
    with pytest.raises(ValueError, match="'farneback'.*opencv, torch"):
        TVL1(method=wrong)
    with pytest.raises(ValueError, match="'cuda'.*'cpu'"):
        TVL1(device="cuda")


def test_opencv_needs_no_torch() -> None:
    code = (
        "import sys, numpy as np\n"
        "from aqakit.extract.flow import TVL1\n"
        "with TVL1(1) as tvl1:\n"
        "    tvl1.submit(*np.zeros((2, 20, 20), np.uint8)).result()\n"
        "sys.exit('torch' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parent)
