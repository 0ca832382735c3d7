import numpy as np
import pytest
import scipy.fft
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from aqakit.models.frequencies import Frequencies, Transform

TRANSFORMS = pytest.mark.parametrize("transform", ["dct", "dft"])
VALUES = arrays(np.float64, st.tuples(st.integers(1, 9), st.just(2)), elements=st.floats(-1e6, 1e6))
COEFFICIENTS = st.integers(1, 7)


def reference(transform: Transform, values: NDArray[np.float64], count: int) -> NDArray[np.float64]:
    """(K, C) by the libraries' fast transforms; zeros where there are none."""
    if transform == "dct":
        found = scipy.fft.dct(values, axis=0, norm="ortho") / np.sqrt(len(values))
    else:
        found = np.abs(scipy.fft.rfft(values, axis=0)) / len(values)
    missing = np.zeros((max(0, count - len(found)), values.shape[1]))
    return np.concatenate([found[:count], missing])


@TRANSFORMS
@given(values=VALUES, count=COEFFICIENTS)
def test_they_are_the_lowest_of_the_whole_transform(
    transform: Transform, values: NDArray[np.float64], count: int
) -> None:
    found = Frequencies(transform, count).pool(values)
    expected = reference(transform, values, count).ravel()
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-9 * max(1, np.abs(values).max()))


@TRANSFORMS
@given(values=VALUES, count=COEFFICIENTS)
def test_shares_of_steps_sum_to_the_coefficients(
    transform: Transform, values: NDArray[np.float64], count: int
) -> None:
    pooling = Frequencies(transform, count)
    shares = pooling.shares(values)
    assert shares.shape == (len(values), 2 * pooling.per_channel)
    scale = max(1, np.abs(values).max())
    np.testing.assert_allclose(shares.sum(axis=0), pooling.pool(values), atol=1e-9 * scale)


@TRANSFORMS
def test_a_step_has_a_share_of_its_own_channel_alone(transform: Transform) -> None:
    values = np.zeros((8, 2))
    values[3, 1] = 1
    shares = Frequencies(transform, 4).shares(values).reshape(8, 4, 2)
    assert not shares[:, :, 0].any()
    assert (np.abs(shares[3, :, 1]) > 0.01).all()


@TRANSFORMS
@given(values=VALUES, count=COEFFICIENTS)
def test_without_a_step_it_is_at_the_mean_of_the_others(
    transform: Transform, values: NDArray[np.float64], count: int
) -> None:
    pooling = Frequencies(transform, count)
    found = pooling.without_each(values)
    expected = []
    for step in range(len(values)):
        rest = np.delete(values, step, axis=0)
        moved = values.copy()
        if len(rest):
            moved[step] = rest.mean(axis=0)
        expected.append(reference(transform, moved, count).ravel())
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-8 * max(1, np.abs(values).max()))


@TRANSFORMS
@pytest.mark.parametrize("steps", [20, 21, 400])
def test_the_same_movement_has_the_same_coefficients_at_any_rate(
    transform: Transform, steps: int
) -> None:
    time = (np.arange(steps) + 0.5) / steps
    movement = 3 + 2 * np.cos(2 * np.pi * time) - np.cos(4 * np.pi * time)
    found = Frequencies(transform, 6).pool(movement[:, None])
    half = np.sqrt(0.5)  # of a wave of size 1, in an orthonormal transform
    expected = {
        "dct": [3, 0, 2 * half, 0, -half, 0],
        "dft": [3, 1, 0.5, 0, 0, 0],
    }[transform]
    np.testing.assert_allclose(found, expected, atol=1e-12)


def test_a_later_start_of_a_cycle_leaves_magnitudes_alone() -> None:
    values = np.random.default_rng(0).normal(size=(12, 3))
    pooling = Frequencies("dft", 5)
    later = pooling.pool(np.roll(values, 4, axis=0))
    np.testing.assert_allclose(later, pooling.pool(values), atol=1e-12)
    assert np.abs(Frequencies("dct", 5).pool(np.roll(values, 4, axis=0)) - later).max() > 0.1


@TRANSFORMS
def test_all_channels_of_a_coefficient_lie_together(transform: Transform) -> None:
    found = Frequencies(transform, 3).pool(np.array([[1.0, 2, 3]] * 4))
    np.testing.assert_allclose(found, [1, 2, 3, 0, 0, 0, 0, 0, 0], atol=1e-12)


@TRANSFORMS
def test_channels_that_are_nearly_still_stay_finite(transform: Transform) -> None:
    values = np.full((30, 2), 1e-300)
    values[4, 0] = 5e-324
    pooling = Frequencies(transform, 6)
    for numbers in (pooling.pool(values), pooling.shares(values), pooling.without_each(values)):
        assert np.isfinite(numbers).all()
        assert np.abs(numbers).max() < 1e-290


@TRANSFORMS
@given(level=st.floats(-1e6, 1e6), steps=st.integers(1, 90))
def test_a_channel_that_rests_has_a_mean_and_nothing_else(
    transform: Transform, level: float, steps: int
) -> None:
    found = Frequencies(transform, 5).pool(np.full((steps, 1), level))
    assert found[0] == pytest.approx(abs(level) if transform == "dft" else level)
    assert not found[1:].any()


@TRANSFORMS
def test_where_a_channel_rests_does_not_change_what_steps_add_beyond_the_mean(
    transform: Transform,
) -> None:
    values = np.random.default_rng(0).normal(size=(9, 2))
    pooling = Frequencies(transform, 4)
    moved = pooling.shares(values + 100)[:, 2:]
    np.testing.assert_allclose(moved, pooling.shares(values)[:, 2:], atol=1e-12)


@TRANSFORMS
def test_half_precision_is_transformed_in_double(transform: Transform) -> None:
    values = np.repeat([60000, -60000], 2500).astype(np.float16)[:, None]  # no float16 holds a sum
    found = Frequencies(transform, 3).pool(values)
    expected = reference(transform, values.astype(np.float64), 3)[:, 0]
    np.testing.assert_allclose(found, expected, atol=1e-9)
