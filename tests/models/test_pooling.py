import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from aqakit.models.pooling import Moments, Statistics, pooling_of

STATISTICS: list[Statistics] = ["mean", "mean-deviation", "first"]
VALUES = arrays(np.float64, st.tuples(st.integers(1, 6), st.just(3)), elements=st.floats(-9, 9))


@pytest.mark.parametrize("statistics", STATISTICS)
@given(values=VALUES)
def test_shares_of_segments_sum_to_the_statistics(
    statistics: Statistics, values: NDArray[np.float64]
) -> None:
    pooling = pooling_of(statistics)
    total = pooling.shares(values).sum(axis=0)
    np.testing.assert_allclose(total, pooling.pool(values), atol=1e-9)


@pytest.mark.parametrize("statistics", STATISTICS)
@given(values=VALUES)
def test_there_are_as_many_numbers_a_channel_as_said(
    statistics: Statistics, values: NDArray[np.float64]
) -> None:
    pooling = pooling_of(statistics)
    width = 3 * pooling.per_channel
    assert pooling.pool(values).shape == (width,)
    for of_steps in (pooling.shares, pooling.without_each):
        assert of_steps(values).shape == (len(values), width)


def test_they_are_mean_then_deviation() -> None:
    values = np.array([[1.0, 5], [3, 5]])
    np.testing.assert_array_equal(Moments("mean-deviation").pool(values), [2, 5, 1, 0])
    np.testing.assert_array_equal(Moments("mean").pool(values), [2, 5])


def test_half_precision_is_summed_in_double() -> None:
    values = np.full((5000, 1), 60000, np.float16)
    np.testing.assert_allclose(Moments("mean-deviation").pool(values), [60000.0, 0.0])


def test_without_each_segment() -> None:
    values = np.array([[1.0], [2], [6]])
    pooling = Moments("mean")
    np.testing.assert_allclose(pooling.without_each(values), [[4.0], [3.5], [1.5]])
    np.testing.assert_allclose(pooling.without_each(values[:1]), [[1.0]])


@pytest.mark.parametrize("statistics", STATISTICS)
@given(values=arrays(np.float64, (5, 2), elements=st.floats(-9, 9)))
def test_without_each_segment_is_the_rest_pooled(
    statistics: Statistics, values: NDArray[np.float64]
) -> None:
    pooling = pooling_of(statistics)
    expected = [pooling.pool(np.delete(values, step, axis=0)) for step in range(5)]
    np.testing.assert_allclose(pooling.without_each(values), expected, atol=1e-6)


def test_the_beginning_is_all_that_first_sees() -> None:
    values = np.array([[1.0, 5], [3, 7], [9, 9]])
    np.testing.assert_array_equal(pooling_of("first").pool(values), [1, 5])
    np.testing.assert_array_equal(pooling_of("first").shares(values)[1:], np.zeros((2, 2)))
