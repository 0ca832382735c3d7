"""Flow: analytic displacements, OpenCV itself as reference, order and bounded memory."""

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from aqakit.extract.flow import TVL1, FlowStream, grey

RNG = np.random.default_rng(0)
NOISE = RNG.integers(0, 255, (64, 96, 3)).astype(np.uint8)
TEXTURE = np.asarray(cv2.GaussianBlur(NOISE, (0, 0), 2), dtype=np.uint8)


def shifted(pixels: int) -> NDArray[np.uint8]:
    return np.roll(TEXTURE, pixels, axis=1)


def test_a_still_pair_has_no_flow_and_a_shift_is_found() -> None:
    with TVL1(2) as tvl1:
        still = tvl1.submit(grey(TEXTURE), grey(TEXTURE)).result()
        moved = tvl1.submit(grey(TEXTURE), grey(shifted(2))).result()
    assert still.shape == (64, 96, 2)
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
            found.extend(stream.push(number, frame))
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


def test_only_wanted_frames_are_kept_and_few_pairs_wait() -> None:
    pairs = np.array([[n, n + 1] for n in range(40)])
    with TVL1(1) as tvl1:
        stream = FlowStream(tvl1, pairs)
        assert stream.wanted == set(range(41))
        for number in range(41):
            list(stream.push(number, TEXTURE[:16, :16]))
            assert len(stream._running) <= 2
            assert len(stream._pictures) <= 1
        assert len(list(stream.finish())) <= 2


def test_opencv_gets_its_threads_back() -> None:
    before = cv2.getNumThreads()
    with TVL1(), TVL1():
        assert cv2.getNumThreads() == 1
    assert cv2.getNumThreads() == before


def test_pictures_of_two_sizes_are_an_error_not_a_hang() -> None:
    with TVL1(1) as tvl1, pytest.raises(cv2.error):
        tvl1.submit(np.zeros((20, 20), np.uint8), np.zeros((20, 30), np.uint8)).result()
