"""flow-hist: a slow re-derivation, analytic motion, and independence of size and frame rate."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aqakit.extract.backbones.flow_hist import CHANNELS, INFO, flow_hist


def slow(flow: np.ndarray, seconds: np.ndarray) -> list[float]:
    """The definition, pixel by pixel."""
    fields, height, width, _ = flow.shape
    histogram = np.zeros((4, 4, 8))
    pixels = np.zeros((4, 4))
    means = []
    for number in range(fields):
        lapse = seconds[number + 1] - seconds[number]
        speeds = []
        for y in range(height):
            for x in range(width):
                dx, dy = flow[number, y, x]
                speed = math.hypot(dx, dy) / min(height, width) / lapse if lapse else 0.0
                angle = math.degrees(math.atan2(dy, dx)) % 360
                row, column = y * 4 // height, x * 4 // width
                histogram[row, column, int((angle + 22.5) // 45) % 8] += speed
                pixels[row, column] += 1
                speeds.append(speed)
        means.append(sum(speeds) / len(speeds))
    cells = (histogram / pixels[:, :, None]).ravel().tolist()
    return [*cells, sum(means) / fields, means[-1] - means[0]]


@given(st.integers(0, 10**6), st.integers(1, 3), st.integers(4, 9), st.integers(4, 11))
def test_against_the_definition(seed: int, fields: int, height: int, width: int) -> None:
    rng = np.random.default_rng(seed)
    flow = rng.normal(0, 3, (2, fields, height, width, 2)).astype(np.float32)
    seconds = np.cumsum(rng.uniform(0.02, 0.2, (2, fields + 1)), axis=1)
    rows = flow_hist(flow, seconds)["hist"]
    assert rows.shape == (2, *INFO.layers["hist"])
    for row, one, times in zip(rows, flow, seconds, strict=True):
        np.testing.assert_allclose(row, slow(one, times), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(("dx", "dy", "direction"), [(1, 0, 0), (0, 1, 2), (-1, 0, 4), (1, -1, 7)])
def test_uniform_motion_fills_one_direction(dx: float, dy: float, direction: int) -> None:
    flow = np.tile(np.array([dx, dy], dtype=np.float32), (1, 2, 8, 12, 1))
    row = flow_hist(flow, np.array([[0.0, 0.5, 1.0]]))["hist"][0]
    speed = math.hypot(dx, dy) / 8 / 0.5
    expected = np.zeros((16, 8))
    expected[:, direction] = speed
    np.testing.assert_allclose(row[:-2].reshape(16, 8), expected, rtol=1e-6)
    np.testing.assert_allclose(row[-2:], [speed, 0], atol=1e-7)


def test_speed_does_not_depend_on_size_or_rate() -> None:
    rng = np.random.default_rng(1)
    flow = rng.normal(0, 1, (1, 2, 8, 8, 2))
    seconds = np.array([[0, 0.1, 0.2]])
    large = 2 * flow.repeat(2, axis=2).repeat(2, axis=3)
    np.testing.assert_allclose(
        flow_hist(flow, seconds)["hist"], flow_hist(large, seconds)["hist"], rtol=1e-5, atol=1e-6
    )
    np.testing.assert_allclose(
        flow_hist(flow, seconds)["hist"],
        flow_hist(flow / 2, seconds / 2)["hist"],
        rtol=1e-5,
        atol=1e-6,
    )


def test_held_frames_have_no_speed_and_no_batch_is_empty_rows() -> None:
    flow = np.zeros((1, 1, 8, 8, 2), dtype=np.float32)
    np.testing.assert_array_equal(flow_hist(flow, np.zeros((1, 2)))["hist"], 0)
    assert flow_hist(flow[:0], np.zeros((0, 2)))["hist"].shape == (0, CHANNELS)
