"""flow-hist: a slow re-derivation, analytic motion, and independence of size and frame rate."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aqakit.extract.backbone import Setup
from aqakit.extract.backbones.flow_hist import INFO, build, flow_grid, flow_hist, velocities


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
    flow = rng.normal(0, 3, (fields, height, width, 2)).astype(np.float32)
    seconds = np.cumsum(rng.uniform(0.02, 0.2, fields + 1))
    row = flow_hist(flow, seconds)
    assert row.shape == INFO.outputs[0].shape
    np.testing.assert_allclose(row, slow(flow, seconds), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(("dx", "dy", "direction"), [(1, 0, 0), (0, 1, 2), (-1, 0, 4), (1, -1, 7)])
def test_uniform_motion_fills_one_direction(dx: float, dy: float, direction: int) -> None:
    flow = np.tile(np.array([dx, dy], dtype=np.float32), (2, 8, 12, 1))
    row = flow_hist(flow, np.array([0.0, 0.5, 1.0]))
    speed = math.hypot(dx, dy) / 8 / 0.5
    expected = np.zeros((16, 8))
    expected[:, direction] = speed
    np.testing.assert_allclose(row[:-2].reshape(16, 8), expected, rtol=1e-6)
    np.testing.assert_allclose(row[-2:], [speed, 0], atol=1e-7)


def test_speed_does_not_depend_on_size_or_rate() -> None:
    rng = np.random.default_rng(1)
    flow = rng.normal(0, 1, (2, 8, 8, 2))
    seconds = np.array([0, 0.1, 0.2])
    row = flow_hist(flow, seconds)
    large = 2 * flow.repeat(2, axis=1).repeat(2, axis=2)
    np.testing.assert_allclose(flow_hist(large, seconds), row, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(flow_hist(flow / 2, seconds / 2), row, rtol=1e-5, atol=1e-6)


def test_velocities_are_short_sides_a_second_also_backwards() -> None:
    flow = np.full((3, 4, 10, 2), (2.0, -1.0))
    # Padding holds a frame; a loop begins again from the first one.
    found = velocities(flow, np.array([0.0, 0.25, 0.25, 0.0]))
    np.testing.assert_allclose(found[0], np.broadcast_to((2.0, -1.0), (4, 10, 2)))
    np.testing.assert_array_equal(found[1], 0)
    np.testing.assert_allclose(found[2], found[0])


def test_held_frames_have_no_speed() -> None:
    flow = np.ones((1, 8, 8, 2), dtype=np.float32)
    np.testing.assert_array_equal(flow_hist(flow, np.zeros(2)), 0)


def slow_grid(flow: np.ndarray, seconds: np.ndarray) -> np.ndarray:
    fields, height, width, _ = flow.shape
    found = np.zeros((9, 14, 14))
    for row in range(14):
        for column in range(14):
            rows = [y for y in range(height) if int(y / height * 14 + 1e-9) == row]
            columns = [x for x in range(width) if int(x / width * 14 + 1e-9) == column]
            for number in range(fields):
                lapse = seconds[number + 1] - seconds[number]
                for y in rows:
                    for x in columns:
                        dx, dy = flow[number, y, x]
                        speed = math.hypot(dx, dy) / min(height, width) / lapse
                        share = speed / (fields * len(rows) * len(columns))
                        angle = math.degrees(math.atan2(dy, dx)) % 360
                        found[int((angle + 22.5) // 45) % 8, row, column] += share
                        found[8, row, column] += share
    return found


@given(st.integers(0, 10**6), st.integers(1, 3), st.integers(14, 19), st.integers(14, 33))
def test_the_grid_against_its_definition(seed: int, fields: int, height: int, width: int) -> None:
    rng = np.random.default_rng(seed)
    flow = rng.normal(0, 3, (fields, height, width, 2)).astype(np.float32)
    seconds = np.cumsum(rng.uniform(0.02, 0.2, fields + 1))
    maps = flow_grid(flow, seconds)
    assert maps.shape == INFO.outputs[1].shape
    np.testing.assert_allclose(maps, slow_grid(flow, seconds), rtol=1e-4, atol=1e-6)


def test_the_grid_shows_where_something_moves() -> None:
    flow = np.zeros((2, 28, 42, 2), dtype=np.float32)
    flow[:, 10:12, 33:36] = (0, -2)
    maps = flow_grid(flow, np.array([0.0, 0.5, 1.0]))
    expected = np.zeros((9, 14, 14))
    expected[[6, 8], 5, 11] = 2 / 28 / 0.5
    np.testing.assert_allclose(maps, expected, atol=1e-7)


def test_a_picture_smaller_than_the_grid_leaves_cells_empty() -> None:
    maps = flow_grid(np.ones((1, 7, 7, 2), dtype=np.float32), np.array([0.0, 1.0]))
    assert np.count_nonzero(maps[8]) == 49
    assert maps[8].max() == pytest.approx(math.sqrt(2) / 7)


def test_the_backbone_gives_the_layers_that_are_wanted() -> None:
    flow = np.random.default_rng(2).normal(0, 1, (2, 2, 16, 20, 2)).astype(np.float32)
    seconds = np.array([[0.0, 0.1, 0.2], [0.2, 0.4, 0.6]])
    backbone = build(Setup("flow", "short-64"))
    both = backbone(flow, seconds, ["hist", "grid"])
    assert list(backbone(flow, seconds, ["grid"])) == ["grid"]
    assert {values.dtype.name for values in both.values()} == {"float32"}
    for number in range(2):
        unit = flow[number], seconds[number]
        np.testing.assert_array_equal(both["hist"][number], flow_hist(*unit).astype(np.float32))
        np.testing.assert_array_equal(both["grid"][number], flow_grid(*unit).astype(np.float32))
