"""camera-motion: a slow re-derivation, analytic motion, and what the middle must not change."""

import itertools
import statistics

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from aqakit.extract.backbones.camera_motion import CHANNELS, INFO, SIDES, camera_motion

Flow = NDArray[np.float32]


def slow(flow: NDArray[np.generic], seconds: NDArray[np.float64]) -> list[float]:
    """The definition, pixel by pixel."""
    fields, height, width, _ = flow.shape
    short = min(height, width)
    thick = max(1, round(short / 8))
    row: list[float] = []
    border: dict[tuple[int, int, int], tuple[float, float]] = {}
    for side in ("top", "bottom", "left", "right"):
        seen: list[tuple[float, float]] = []
        for f, y, x in itertools.product(range(fields), range(height), range(width)):
            depth = {"top": y, "bottom": height - 1 - y, "left": x, "right": width - 1 - x}[side]
            if depth < thick:
                lapse = abs(float(seconds[f + 1] - seconds[f]))
                dx, dy = (float(value) for value in flow[f, y, x])
                velocity = (dx / short / lapse, dy / short / lapse) if lapse else (0.0, 0.0)
                seen.append(velocity)
                border[f, y, x] = velocity
        axes = list(zip(*seen, strict=True))
        row += [statistics.fmean(axis) for axis in axes]
        row += [statistics.pstdev(axis) for axis in axes]
    return row + [statistics.median(axis) for axis in zip(*border.values(), strict=True)]


@given(st.integers(0, 10**6), st.integers(1, 3), st.integers(1, 20), st.integers(1, 21))
def test_against_the_definition(seed: int, fields: int, height: int, width: int) -> None:
    rng = np.random.default_rng(seed)
    flow = rng.normal(0, 3, (fields, height, width, 2)).astype(np.float32)
    seconds = np.cumsum(rng.choice([0.0, 0.04, 0.1], fields + 1))
    row = camera_motion(flow, seconds)
    assert row.shape == INFO.outputs[0].shape == (CHANNELS,)
    np.testing.assert_allclose(row, slow(flow, seconds), rtol=1e-6, atol=1e-9)


def shifted(dx: float, dy: float, size: tuple[int, int] = (24, 32), fields: int = 3) -> Flow:
    return np.full((fields, *size, 2), (dx, dy), dtype=np.float32)


def by_side(row: NDArray[np.float64]) -> NDArray[np.float64]:
    """(sides, 4): mean x, mean y, deviation of x and of y."""
    return row[:-2].reshape(len(SIDES), 4)


@pytest.mark.parametrize(("dx", "dy"), [(3, 0), (0, -1.5), (-2, 4)])
@pytest.mark.parametrize("size", [(24, 32), (32, 24), (96, 171)])
def test_a_shift_of_the_whole_picture(dx: float, dy: float, size: tuple[int, int]) -> None:
    fps = 10
    row = camera_motion(shifted(dx, dy, size), np.arange(4) / fps)
    velocity = (dx * fps / min(size), dy * fps / min(size))  # short sides a second
    expected = np.tile((*velocity, 0, 0), (len(SIDES), 1))
    np.testing.assert_allclose(by_side(row), expected, rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(row[-2:], velocity, rtol=1e-6)


def test_the_middle_changes_nothing() -> None:
    flow, seconds = shifted(1, -1), np.arange(4) / 10
    mover = flow.copy()
    mover[:, 3:-3, 3:-3] = np.random.default_rng(0).normal(0, 50, (3, 18, 26, 2))
    np.testing.assert_array_equal(camera_motion(mover, seconds), camera_motion(flow, seconds))


@pytest.mark.parametrize(
    ("rows", "columns", "sides"),
    [
        (slice(2, 3), slice(10, 11), {"top"}),
        (slice(-3, -2), slice(10, 11), {"bottom"}),
        (slice(10, 11), slice(2, 3), {"left"}),
        (slice(10, 11), slice(-3, -2), {"right"}),
        (slice(0, 1), slice(0, 1), {"top", "left"}),
        (slice(23, 24), slice(31, 32), {"bottom", "right"}),
    ],
)
def test_every_side_sees_its_own_pixels(rows: slice, columns: slice, sides: set[str]) -> None:
    flow = shifted(0, 0)
    flow[:, rows, columns] = (5, 7)
    found = by_side(camera_motion(flow, np.arange(4) / 10))
    moved = {side for side, values in zip(SIDES, found, strict=True) if (values != 0).all()}
    still = {side for side, values in zip(SIDES, found, strict=True) if (values == 0).all()}
    assert (moved, still) == (sides, set(SIDES) - sides)


def test_the_median_is_that_of_the_camera_while_a_performer_crosses_the_border() -> None:
    flow = shifted(1, 2)
    flow[:, :, 4:12] = (-30, 40)
    row = camera_motion(flow, np.arange(4) / 10)
    np.testing.assert_allclose(row[-2:], (10 / 24, 20 / 24), rtol=1e-6)
    assert abs(by_side(row)[0, 0] - 10 / 24) > 1  # the mean of the top is drawn away


def test_deviation_is_over_time_too() -> None:
    flow = shifted(0, 0, fields=2)
    flow[0], flow[1] = (1, 0), (3, 0)
    found = by_side(camera_motion(flow, np.arange(3) / 24))
    np.testing.assert_allclose(found, np.tile((2.0, 0, 1, 0), (4, 1)), rtol=1e-6)


def test_padding_has_no_motion() -> None:
    row = camera_motion(shifted(5, 5), np.full(4, 1.5))
    np.testing.assert_array_equal(row, np.zeros(CHANNELS))


def test_motion_does_not_depend_on_size_or_rate() -> None:
    flow = np.random.default_rng(1).normal(0, 1, (2, 16, 24, 2))
    seconds = np.array([0, 0.1, 0.3])
    row = camera_motion(flow, seconds)
    large = 2 * flow.repeat(2, axis=1).repeat(2, axis=2)
    np.testing.assert_allclose(camera_motion(large, seconds), row, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(camera_motion(flow / 4, seconds / 4), row, rtol=1e-9, atol=1e-12)
