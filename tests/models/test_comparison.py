import itertools
import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats

from aqakit.models.comparison import (
    Comparison,
    adjusted,
    compare_over_folds,
    compare_over_tasks,
)

Array = NDArray[np.float64]
# Steps of 1/8 are exact, and few, so that differences tie and vanish.
SHARES = st.integers(0, 4).map(lambda number: number / 8)


def test_the_corrected_t_is_that_of_the_formula() -> None:
    first, second = [0.9, 0.8, 0.85, 0.7], [0.8, 0.82, 0.7, 0.65]
    found = compare_over_folds(first, second, [30, 30, 30, 10], [10, 10, 10, 20])
    differences = [a - b for a, b in zip(first, second, strict=True)]
    mean = sum(differences) / 4
    variance = sum((one - mean) ** 2 for one in differences) / 3
    t = mean / math.sqrt((1 / 4 + 12.5 / 25) * variance)
    assert found.difference == pytest.approx(0.07)
    assert found.statistic == pytest.approx(t)
    area = stats.t(3).cdf(-t) + stats.t(3).sf(t)
    assert found.p_value == pytest.approx(area)
    assert found.compared == 4


def test_without_the_correction_it_is_the_paired_t_test() -> None:
    rng = np.random.default_rng(0)
    first, second = rng.normal(0.2, 1, 12), rng.normal(size=12)
    huge = [10**12] * 12
    found = compare_over_folds(first, second, huge, [1] * 12)
    expected = stats.ttest_rel(first, second)
    assert found.statistic == pytest.approx(expected.statistic)
    assert found.p_value == pytest.approx(expected.pvalue)
    corrected = compare_over_folds(first, second, [9] * 12, [3] * 12)
    shrunk = math.sqrt((1 / 12) / (1 / 12 + 1 / 3))
    assert corrected.statistic == pytest.approx(found.statistic * shrunk)


def test_where_folds_share_training_videos_only_the_corrected_test_keeps_its_level() -> None:
    """Two equally good features, each with a line of least squares, on 20 random splits of 40."""
    rng = np.random.default_rng(0)
    corrected = plain = 0
    for _ in range(400):
        truth = rng.normal(size=40)
        features = truth + rng.normal(size=(2, 40))
        errors = []
        for _ in range(20):
            order = rng.permutation(40)
            errors.append([_test_error(one, truth, order[10:], order[:10]) for one in features])
        first, second = np.transpose(errors)
        corrected += compare_over_folds(first, second, [30] * 20, [10] * 20).p_value < 0.05
        plain += bool(stats.ttest_rel(first, second).pvalue < 0.05)
    low, high = stats.binom(400, 0.05).interval(0.999)
    assert low <= corrected <= high
    assert plain > 4 * high


def _test_error(
    feature: Array, truth: Array, train: NDArray[np.int64], test: NDArray[np.int64]
) -> float:
    line = stats.linregress(feature[train], truth[train])
    return float(np.square(line.slope * feature[test] + line.intercept - truth[test]).mean())


def _wilcoxon(differences: list[float]) -> tuple[float, float]:
    """Smaller sum of ranks, and share of all signs that are as far from even."""
    ranks: list[float] = stats.rankdata(np.abs(differences)).tolist()

    def up(signs: tuple[float, ...]) -> float:
        shares = (
            0.5 if not one else float(s > 0) for one, s in zip(differences, signs, strict=True)
        )
        return sum(rank * share for rank, share in zip(ranks, shares, strict=True))

    total = sum(ranks)
    found = up(tuple(differences))
    everyone = [up(signs) for signs in itertools.product((-1.0, 1.0), repeat=len(differences))]
    far = sum(abs(one - total / 2) >= abs(found - total / 2) - 1e-9 for one in everyone)
    return min(found, total - found), far / len(everyone)


@given(st.lists(st.tuples(SHARES, SHARES), min_size=1, max_size=7))
def test_over_tasks_all_signs_are_tried_with_ties_and_zeros(
    rows: list[tuple[float, float]],
) -> None:
    first, second = zip(*rows, strict=True)
    found = compare_over_tasks(first, second)
    differences = [a - b for a, b in rows]
    statistic, p_value = _wilcoxon(differences)
    assert found.compared == len(rows)
    assert found.difference == pytest.approx(np.mean(differences))
    assert found.statistic == pytest.approx(statistic)
    assert found.p_value == pytest.approx(p_value)


def test_differences_that_are_equal_but_for_rounding_tie() -> None:
    first, second = [0.3, 0.8, 0.5, 0.9], [0.2, 0.7, 0.6, 0.4]
    assert len({abs(a - b) for a, b in zip(first, second, strict=True)}) == 3
    found = compare_over_tasks(first, second)
    assert (found.statistic, found.p_value) == _wilcoxon([1, 1, -1, 5])
    huge = compare_over_tasks(np.array(first) * 1e9 / 7, np.array(second) * 1e9 / 7)
    tiny = compare_over_tasks(np.array(first) * 1e-13, np.array(second) * 1e-13)
    assert huge.p_value == tiny.p_value == found.p_value
    equal = compare_over_tasks([0.1 + 0.2, 0.5], [0.3, 0.5])
    assert equal == Comparison(0.0, 1.5, 1.0, 2)


def test_more_tasks_are_compared_exactly_or_nearly() -> None:
    rng = np.random.default_rng(1)
    first, second = rng.normal(0.3, 1, 20), rng.normal(size=20)
    exact = stats.wilcoxon(first - second, method="exact")
    assert compare_over_tasks(first, second).p_value == pytest.approx(exact.pvalue)
    second[:4] = first[:4]
    near = stats.wilcoxon(first - second, zero_method="zsplit", method="asymptotic")
    assert compare_over_tasks(first, second).p_value == pytest.approx(near.pvalue)


def test_fewer_than_six_tasks_never_differ_by_the_usual_level() -> None:
    for tasks, least in ((5, 1 / 16), (6, 1 / 32)):
        found = compare_over_tasks(np.arange(1.0, tasks + 1), np.zeros(tasks))
        assert found.p_value == pytest.approx(least)
        assert found.statistic == 0


def test_over_tasks_the_level_is_kept() -> None:
    rng = np.random.default_rng(2)
    first, second = rng.standard_t(3, (2, 500, 8))
    found = sum(compare_over_tasks(a, b).p_value < 0.05 for a, b in zip(first, second, strict=True))
    # Of 256 signs of 8 tasks 10 have a p-value below 0.05.
    low, high = stats.binom(500, 10 / 256).interval(0.999)
    assert low <= found <= high


def test_turning_the_rows_round_turns_the_difference() -> None:
    rng = np.random.default_rng(3)
    first, second = rng.normal(size=(2, 6))
    for compare in (_over_folds, compare_over_tasks):
        one, other = compare(first, second), compare(second, first)
        assert one.difference == pytest.approx(-other.difference)
        assert one.p_value == pytest.approx(other.p_value)
    assert _over_folds(first, second).statistic == -_over_folds(second, first).statistic


def _over_folds(first: Array, second: Array) -> Comparison:
    return compare_over_folds(first, second, [9] * len(first), [3] * len(first))


def test_what_one_row_lacks_is_left_out_with_its_sizes() -> None:
    first, second = [0.9, math.nan, 0.8, 0.7], [0.8, 0.5, math.nan, 0.65]
    found = compare_over_folds(first, second, [30, 1, 1, 20], [10, 90, 90, 5])
    assert found == compare_over_folds([0.9, 0.7], [0.8, 0.65], [30, 20], [10, 5])
    assert found.compared == 2
    assert compare_over_tasks(first, second) == compare_over_tasks([0.9, 0.7], [0.8, 0.65])


def test_where_a_test_says_nothing_there_is_no_p_value() -> None:
    for none in (
        compare_over_tasks([], []),
        compare_over_tasks([math.nan], [1.0]),
        compare_over_folds([math.nan], [1.0], [9], [3]),
    ):
        assert str(none) == str(Comparison(math.nan, math.nan, math.nan, 0))
    single = compare_over_folds([0.75], [0.5], [9], [3])
    assert str(single) == str(Comparison(0.25, math.nan, math.nan, 1))
    assert math.isnan(compare_over_folds([0.5], [0.5], [9], [3]).p_value)
    always = compare_over_folds([0.3, 0.8, 0.5], [0.2, 0.7, 0.4], [9] * 3, [3] * 3)
    assert always.difference == pytest.approx(0.1)
    assert math.isnan(always.p_value)
    assert math.isnan(always.statistic)
    equal = compare_over_folds([0.1 + 0.2, 0.5], [0.3, 0.5], [9, 9], [3, 3])
    assert equal == Comparison(0.0, 0.0, 1.0, 2)
    assert compare_over_tasks([0.5, 0.5, 0.5], [0.5, 0.5, 0.5]) == Comparison(0.0, 3.0, 1.0, 3)
    assert compare_over_tasks([0.0], [0.0]).p_value == 1


@pytest.mark.parametrize("compare", [_over_folds, compare_over_tasks])
def test_rows_of_other_folds_are_refused(compare: Callable[[Array, Array], Comparison]) -> None:
    with pytest.raises(ValueError, match=r"first \(2,\) and second \(3,\)"):
        compare(np.zeros(2), np.zeros(3))
    with pytest.raises(ValueError, match=r"first \[inf\] and second \[0.0\] must be finite or nan"):
        compare(np.array([np.inf]), np.zeros(1))


@pytest.mark.parametrize(
    "train, test, message",
    [
        ([9], [3, 3], r"train_sizes are \[9\]; they must be 2"),
        ([9, 9], [3, 0], r"test_sizes are \[3, 0\]; they must be 2, each 1 or more"),
    ],
)
def test_sizes_must_be_those_of_the_folds(train: list[int], test: list[int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        compare_over_folds([0.5, 0.6], [0.4, 0.3], train, test)


@settings(max_examples=40)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_adjusted_p_values_are_those_of_the_definition(p_values: list[float]) -> None:
    order = sorted(range(len(p_values)), key=lambda place: p_values[place])
    count, holm = len(p_values), {}
    for rank, place in enumerate(order):
        smaller = [p_values[one] * (count - r) for r, one in enumerate(order[: rank + 1])]
        holm[place] = min(1.0, max(smaller))
    assert adjusted(p_values) == pytest.approx([holm[place] for place in range(count)])


def test_tests_that_said_nothing_are_no_tests() -> None:
    found = adjusted([0.01, math.nan, 0.04])
    assert found == pytest.approx([0.02, math.nan, 0.04], nan_ok=True)
    assert np.isnan(adjusted([math.nan])).all()
    assert adjusted([]).shape == (0,)


@pytest.mark.parametrize("wrong", [[1.5], [-0.1, 0.5], [math.inf]])
def test_what_is_no_p_value_is_refused(wrong: list[float]) -> None:
    with pytest.raises(ValueError, match=rf"p_values are \[{wrong[0]}.*from 0 to 1"):
        adjusted(wrong)
