import itertools
import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from scipy import stats

from aqakit.models.metrics import (
    LARGEST_CORRELATION,
    Order,
    fisher_z_mean,
    kendall,
    pairwise_accuracy,
    pearson,
    spearman,
)

# Few different values, so that ties are common.
SCORES = arrays(np.float64, st.integers(2, 8), elements=st.integers(0, 4).map(float))


def _all_pairs(videos: int) -> NDArray[np.int64]:
    return np.array(list(itertools.combinations(range(videos), 2)))


def test_a_tie_is_wrong_and_counted() -> None:
    order = pairwise_accuracy(np.array([2.0, 1.0, 1.0, 3.0]), np.array([[0, 1], [1, 2], [2, 3]]))
    assert order == Order(correct=1, ties=1, pairs=3)
    assert order.accuracy == pytest.approx(1 / 3)


@given(SCORES)
def test_accuracy_is_that_of_a_loop(scores: NDArray[np.float64]) -> None:
    pairs = _all_pairs(len(scores))
    right = sum(scores[i] > scores[j] for i, j in pairs)
    equal = sum(scores[i] == scores[j] for i, j in pairs)
    assert pairwise_accuracy(scores, pairs) == Order(right, equal, len(pairs))


@given(SCORES)
def test_turning_all_pairs_round_complements_the_accuracy_but_for_ties(
    scores: NDArray[np.float64],
) -> None:
    pairs = _all_pairs(len(scores))
    one, other = pairwise_accuracy(scores, pairs), pairwise_accuracy(scores, pairs[:, ::-1])
    assert one.correct + other.correct + one.ties == len(pairs)


@given(SCORES, st.floats(0.1, 10), st.floats(-5, 5))
def test_accuracy_sees_order_only(scores: NDArray[np.float64], scale: float, offset: float) -> None:
    pairs = _all_pairs(len(scores))
    assert pairwise_accuracy(scores, pairs) == pairwise_accuracy(
        np.exp(scores) * scale + offset, pairs
    )


def test_accuracy_of_no_pair_is_nan() -> None:
    assert math.isnan(pairwise_accuracy(np.zeros(2), np.zeros((0, 2), np.int64)).accuracy)


@pytest.mark.parametrize(
    "scores, pairs",
    [
        (np.array([np.nan, 0]), [[0, 1]]),
        (np.zeros((1, 2)), [[0, 1]]),
        (np.zeros(2), [0, 1]),
    ],
)
def test_scores_without_order_are_refused(scores: NDArray[np.float64], pairs: list[int]) -> None:
    with pytest.raises(ValueError, match="finite|must be"):
        pairwise_accuracy(scores, np.array(pairs))


@given(st.data())
def test_spearman_is_pearson_of_mean_ranks(data: st.DataObject) -> None:
    scores = data.draw(SCORES)
    truth = data.draw(arrays(np.float64, len(scores), elements=st.integers(0, 4).map(float)))
    found = spearman(scores, truth)
    if np.ptp(scores) == 0 or np.ptp(truth) == 0:
        assert math.isnan(found)
    else:
        ranks = [stats.rankdata(values) for values in (scores, truth)]
        assert found == pytest.approx(np.corrcoef(*ranks)[0, 1])


@given(st.data())
def test_kendall_is_counted_pair_by_pair(data: st.DataObject) -> None:
    scores = data.draw(SCORES)
    truth = data.draw(arrays(np.float64, len(scores), elements=st.integers(0, 4).map(float)))
    signs = np.array(
        [
            (np.sign(scores[i] - scores[j]), np.sign(truth[i] - truth[j]))
            for i, j in _all_pairs(len(scores))
        ]
    )
    untied = (signs != 0).sum(axis=0)
    found = kendall(scores, truth)
    if not untied.all():
        assert math.isnan(found)
    else:
        expected = (signs[:, 0] * signs[:, 1]).sum() / math.sqrt(untied[0] * untied[1])
        assert found == pytest.approx(expected)


@given(st.data())
def test_pearson_is_that_of_covariances(data: st.DataObject) -> None:
    scores = data.draw(SCORES)
    truth = data.draw(arrays(np.float64, len(scores), elements=st.integers(0, 4).map(float)))
    found = pearson(scores, truth)
    if np.ptp(scores) == 0 or np.ptp(truth) == 0:
        assert math.isnan(found)
    else:
        assert found == pytest.approx(np.corrcoef(scores, truth)[0, 1])


@pytest.mark.parametrize(
    "measure, reference",
    [(spearman, stats.spearmanr), (kendall, stats.kendalltau), (pearson, stats.pearsonr)],
)
def test_correlations_with_ties_are_those_of_scipy(
    measure: Callable[..., float], reference: Callable[..., tuple[float, float]]
) -> None:
    rng = np.random.default_rng(0)
    scores, truth = rng.integers(0, 9, (2, 60)).astype(float)
    truth += scores
    assert measure(scores, truth) == pytest.approx(reference(scores, truth)[0], rel=1e-12)
    assert 0.3 < measure(scores, truth) < 0.95


def test_values_that_differ_by_rounding_alone_have_no_linear_correlation() -> None:
    same = np.array([0.1 + 0.2, 0.3, 0.1 + 0.2])
    assert math.isnan(pearson(same, np.array([1.0, 2, 3])))
    assert math.isnan(pearson(np.array([1.0, 2, 3]), same))
    assert pearson(same + [0, 1e-9, 0], np.array([1.0, 3, 1])) == pytest.approx(1)
    assert pearson(np.array([1e6, 1e6 + 1, 1e6 + 2]), np.arange(3.0)) == pytest.approx(1)


@pytest.mark.parametrize("measure", [spearman, kendall, pearson])
def test_correlations_leave_unknown_truth_out(measure: Callable[..., float]) -> None:
    assert measure(np.array([1.0, 9, 2, 3]), np.array([1, np.nan, 2, 3])) == pytest.approx(1)
    assert math.isnan(measure(np.array([1.0, 2]), np.array([1, np.nan])))
    assert math.isnan(measure(np.zeros(0), np.zeros(0)))


@pytest.mark.parametrize("measure", [spearman, kendall, pearson])
def test_correlations_refuse_scores_that_are_not_finite_and_other_shapes(
    measure: Callable[..., float],
) -> None:
    with pytest.raises(ValueError, match="finite"):
        measure(np.array([np.inf, 0]), np.zeros(2))
    with pytest.raises(ValueError, match=r"scores \(2,\) .* truth \(3,\)"):
        measure(np.zeros(2), np.zeros(3))
    with pytest.raises(ValueError, match=r"scores \(2, 2\) must be \(V,\)"):
        measure(np.eye(2), np.eye(2))


# Rows of table 2 of Gao et al., ECCV 2020: three tasks and their average.
@pytest.mark.parametrize(
    "tasks, average",
    [((0.31, 0.39, 0.58), 0.43), ((0.34, 0.23, 0.72), 0.46), ((0.63, 0.65, 0.82), 0.71)],
)
def test_fisher_z_mean_is_that_of_published_tables(
    tasks: tuple[float, ...], average: float
) -> None:
    assert round(fisher_z_mean(tasks), 2) == average


@given(st.lists(st.floats(-0.99, 0.99), min_size=1, max_size=6))
def test_fisher_z_mean_lies_between_its_tasks_and_turns_with_them(tasks: list[float]) -> None:
    found = fisher_z_mean(tasks)
    assert min(tasks) - 1e-9 <= found <= max(tasks) + 1e-9
    assert fisher_z_mean([-one for one in tasks]) == pytest.approx(-found)
    logs = [0.5 * math.log((1 + one) / (1 - one)) for one in tasks]
    mean = math.exp(2 * sum(logs) / len(logs))
    assert found == pytest.approx((mean - 1) / (mean + 1), abs=1e-12)


def test_a_perfect_task_counts_as_the_largest_printed_correlation() -> None:
    assert fisher_z_mean([1.0]) == pytest.approx(LARGEST_CORRELATION)
    assert fisher_z_mean([-1.0]) == pytest.approx(-LARGEST_CORRELATION)
    assert fisher_z_mean([1.0, -1.0]) == pytest.approx(0)
    assert fisher_z_mean([1.0, 0.2]) == fisher_z_mean([LARGEST_CORRELATION, 0.2]) < 0.97
    assert fisher_z_mean([1 + 1e-15, 0.2]) == fisher_z_mean([1.0, 0.2])


def test_tasks_without_a_correlation_are_left_out_of_the_mean() -> None:
    assert fisher_z_mean([0.5, math.nan, 0.7]) == fisher_z_mean([0.5, 0.7])
    assert fisher_z_mean([0.5, math.nan], [1, 5]) == pytest.approx(0.5)
    for nothing in ([], [math.nan]):
        assert math.isnan(fisher_z_mean(nothing))
    assert math.isnan(fisher_z_mean([math.nan, 0.5], [1, 0]))


def test_weights_of_tasks_count_as_repetitions() -> None:
    assert fisher_z_mean([0.2, 0.9], [3, 1]) == pytest.approx(fisher_z_mean([0.2, 0.2, 0.2, 0.9]))
    assert fisher_z_mean([0.2, 0.9], [0, 2]) == pytest.approx(0.9)


@pytest.mark.parametrize(
    "tasks, weights, message",
    [
        ([1.01], None, r"correlations are \[1.01\]"),
        ([math.inf, 0.5], None, "correlations are"),
        ([0.5, 0.6], [1.0], r"\(2,\) must be \(K,\) as weights \(1,\)"),
        ([0.5, 0.6], [1.0, -2.0], r"weights are \[1.0, -2.0\]"),
        ([0.5], [math.nan], r"weights are \[nan\]"),
    ],
)
def test_what_is_no_correlation_is_refused(
    tasks: list[float], weights: list[float] | None, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        fisher_z_mean(tasks, weights)
