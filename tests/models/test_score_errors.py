import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from sklearn import metrics as reference

from aqakit.models.score_errors import mae, mse, relative_l2, relative_l2_x100

VALUES = arrays(np.float64, (2, 7), elements=st.floats(-100, 100))
ALL = [mse, mae, relative_l2, relative_l2_x100]


@given(VALUES)
def test_errors_are_those_of_scikit_learn(both: NDArray[np.float64]) -> None:
    scores, truth = both
    assert mse(scores, truth) == pytest.approx(reference.mean_squared_error(truth, scores))
    assert mae(scores, truth) == pytest.approx(reference.mean_absolute_error(truth, scores))


def test_relative_l2_divides_by_the_range_of_the_labels() -> None:
    scores, truth = np.array([10.0, 35, 60]), np.array([20.0, 30, 60])
    by_hand = ((10 / 80) ** 2 + (5 / 80) ** 2 + 0) / 3
    assert relative_l2(scores, truth, (0, 80)) == pytest.approx(by_hand)
    assert relative_l2_x100(scores, truth, (0, 80)) == pytest.approx(100 * by_hand)
    assert relative_l2(scores, truth) == pytest.approx(((10 / 40) ** 2 + (5 / 40) ** 2) / 3)
    assert relative_l2_x100(scores, truth) == pytest.approx(100 * relative_l2(scores, truth))


@given(VALUES, st.floats(0.01, 100), st.floats(-50, 50))
def test_relative_l2_has_no_unit(both: NDArray[np.float64], scale: float, offset: float) -> None:
    scores, truth = both
    if np.ptp(truth) < 1:
        truth[0] += 10
    found = relative_l2(scores * scale + offset, truth * scale + offset)
    assert found == pytest.approx(relative_l2(scores, truth), rel=1e-6, abs=1e-9)


@pytest.mark.parametrize("measure", ALL)
def test_unknown_truth_is_left_out(measure: Callable[..., float]) -> None:
    scores, truth = np.array([1.0, 99, 4, 5]), np.array([2, np.nan, 9, 6])
    kept = [0, 2, 3]
    assert measure(scores, truth) == measure(scores[kept], truth[kept]) > 0
    assert math.isnan(measure(scores, np.full(4, np.nan)))
    assert math.isnan(measure(np.zeros(0), np.zeros(0)))


@pytest.mark.parametrize("measure", ALL)
def test_other_shapes_and_infinite_scores_are_refused(measure: Callable[..., float]) -> None:
    with pytest.raises(ValueError, match=r"scores \(2,\) .* truth \(3,\)"):
        measure(np.zeros(2), np.zeros(3))
    with pytest.raises(ValueError, match="finite"):
        measure(np.array([np.nan, 0]), np.zeros(2))


def test_a_range_that_is_none_says_nothing_and_a_turned_one_is_refused() -> None:
    scores, truth = np.array([1.0, 2]), np.array([3.0, 3])
    assert math.isnan(relative_l2(scores, truth))
    assert math.isnan(relative_l2(scores, truth, (3, 3)))
    assert math.isnan(relative_l2(scores, truth, (math.nan, math.nan)))
    with pytest.raises(ValueError, match=r"label_range is \(30, 6\)"):
        relative_l2(scores, truth, (30, 6))
