import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from scipy import stats

from aqakit.models.metrics import Order, bootstrap_interval, pairwise_accuracy, spearman

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


def test_spearman_leaves_unknown_truth_out() -> None:
    assert spearman(np.array([1.0, 9, 2, 3]), np.array([1, np.nan, 2, 3])) == 1
    assert math.isnan(spearman(np.array([1.0, 2]), np.array([1, np.nan])))


def test_spearman_refuses_scores_that_are_not_finite() -> None:
    with pytest.raises(ValueError, match="finite"):
        spearman(np.array([np.inf, 0]), np.zeros(2))
    with pytest.raises(ValueError, match=r"\(3,\)"):
        spearman(np.zeros(2), np.zeros(3))


def _slow_interval(
    scores: NDArray[np.float64], pairs: NDArray[np.int64], resamples: int
) -> tuple[float, float]:
    """Draw videos with replacement and list every pair of drawn copies."""
    rng = np.random.default_rng(7)
    videos = sorted(set(pairs.ravel().tolist()))
    found = []
    for _ in range(resamples):
        drawn = rng.choice(videos, len(videos)).tolist()
        right = [
            np.mean([one[i] > one[j] for one in scores])
            for i, j in pairs
            for _ in range(drawn.count(i) * drawn.count(j))
        ]
        if right:
            found.append(np.mean(right))
    low, high = np.quantile(found, [0.025, 0.975])
    return float(low), float(high)


def test_the_interval_is_that_of_drawing_videos() -> None:
    rng = np.random.default_rng(0)
    pairs = _all_pairs(12)
    scores = -np.arange(12.0) + rng.normal(0, 4, (3, 12))
    found = bootstrap_interval(scores, pairs, resamples=4000)
    assert found == pytest.approx(_slow_interval(scores, pairs, 2000), abs=0.03)
    mean = np.mean([pairwise_accuracy(one, pairs).accuracy for one in scores])
    assert found[0] < mean < found[1]


def test_the_interval_is_the_same_each_time_and_only_of_videos_in_pairs() -> None:
    scores = np.random.default_rng(0).normal(size=(1, 20))
    pairs = _all_pairs(10)
    found = bootstrap_interval(scores, pairs)
    assert found == bootstrap_interval(scores, pairs)
    assert found == bootstrap_interval(scores[:, :10], pairs)
    assert found != bootstrap_interval(scores, pairs, seed=1)


def test_the_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    pairs = _all_pairs(30)
    # Independent noise of deviation s on skills of deviation 1: P(right) = 1/2 + atan(1/s)/pi.
    expected = 0.5 + math.atan(1.0) / math.pi
    inside = 0
    for _ in range(60):
        skill = rng.normal(size=30)
        seen = skill + rng.normal(size=30)
        ordered = np.where(
            (skill[pairs[:, 0]] > skill[pairs[:, 1]])[:, None], pairs, pairs[:, ::-1]
        )
        low, high = bootstrap_interval(seen[None], ordered, resamples=200)
        inside += low <= expected <= high
    assert inside >= 50


def test_a_perfect_order_has_no_width_and_no_pairs_no_interval() -> None:
    assert bootstrap_interval(-np.arange(6.0)[None], _all_pairs(6)) == (1, 1)
    assert np.isnan(bootstrap_interval(np.zeros((1, 2)), np.zeros((0, 2), np.int64))).all()
    with pytest.raises(ValueError, match="level is 1"):
        bootstrap_interval(np.zeros((1, 2)), np.array([[0, 1]]), level=1)


def test_two_test_videos_say_nothing_about_others() -> None:
    low, high = bootstrap_interval(np.array([[2.0, 1.0]]), np.array([[0, 1]]))
    assert math.isnan(low)
    assert math.isnan(high)
    low, high = bootstrap_interval(np.array([[2.0, 1.0, 0.0]]), np.array([[0, 1], [1, 2]]))
    assert (low, high) == (1, 1)
