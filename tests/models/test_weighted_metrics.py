import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from aqakit.models.metrics import kendall, pairwise_accuracy, pearson, spearman
from aqakit.models.score_errors import mae, mse
from aqakit.models.weighted_metrics import (
    ScoreMetric,
    weighted_accuracy,
    weighted_kendall,
    weighted_mae,
    weighted_mse,
    weighted_pearson,
    weighted_spearman,
)

VIDEOS = 6
COUNTS = arrays(np.int64, (3, VIDEOS), elements=st.integers(0, 3))
# Few different values, so that ties are common.
BOTH = arrays(np.float64, (2, VIDEOS), elements=st.integers(0, 4).map(float))
MEASURES: list[tuple[ScoreMetric, Callable[..., float]]] = [
    (weighted_spearman, spearman),
    (weighted_kendall, kendall),
    (weighted_pearson, pearson),
    (weighted_mse, mse),
    (weighted_mae, mae),
]


@pytest.mark.parametrize("weighted, plain", MEASURES)
@given(both=BOTH, counts=COUNTS)
def test_a_weighted_metric_is_the_plain_one_of_copies(
    weighted: ScoreMetric,
    plain: Callable[..., float],
    both: NDArray[np.float64],
    counts: NDArray[np.int64],
) -> None:
    scores, truth = both
    expected = [plain(scores.repeat(own), truth.repeat(own)) for own in counts]
    assert weighted(scores, truth, counts) == pytest.approx(expected, nan_ok=True, abs=1e-9)


@pytest.mark.parametrize("weighted, plain", MEASURES)
def test_values_far_from_zero_are_as_good(
    weighted: ScoreMetric, plain: Callable[..., float]
) -> None:
    rng = np.random.default_rng(0)
    scores, truth = 0.1 + rng.normal(1e5, 1, (2, 20))
    counts = rng.multinomial(20, np.full(20, 1 / 20), size=30)
    expected = [plain(scores.repeat(own), truth.repeat(own)) for own in counts]
    assert weighted(scores, truth, counts) == pytest.approx(expected, rel=1e-6)


def test_copies_of_one_video_have_no_correlation() -> None:
    scores, truth = np.array([0.1, 0.7, 0.3]), np.array([0.1, 0.2, 0.6])
    counts = np.array([[3, 0, 0], [0, 7, 0], [0, 0, 0]])
    assert 3 * 0.1 / 3 != 0.1  # so their mean is not exactly their value
    for weighted in (weighted_spearman, weighted_kendall, weighted_pearson):
        assert np.isnan(weighted(scores, truth, counts)).all()


def test_no_correlation_is_above_one_by_rounding() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(size=15)
    counts = rng.multinomial(15, np.full(15, 1 / 15), size=500)
    for weighted in (weighted_spearman, weighted_kendall, weighted_pearson):
        found = weighted(values, 3 * values + 0.1, counts)
        assert found.max() <= 1
        assert found == pytest.approx(1)
        assert weighted(values, -values, counts).min() >= -1


@given(
    scores=arrays(np.float64, VIDEOS, elements=st.integers(0, 4).map(float)),
    counts=COUNTS,
    pairs=st.lists(
        st.tuples(st.integers(0, VIDEOS - 1), st.integers(0, VIDEOS - 1)).filter(
            lambda pair: pair[0] != pair[1]
        ),
        min_size=1,
        max_size=12,
    ),
)
def test_weighted_accuracy_is_that_of_all_pairs_of_copies(
    scores: NDArray[np.float64], counts: NDArray[np.int64], pairs: list[tuple[int, int]]
) -> None:
    expected = []
    for own in counts:
        copies = [pair for pair in pairs for _ in range(own[pair[0]] * own[pair[1]])]
        order = pairwise_accuracy(scores, np.array(copies, dtype=np.int64).reshape(-1, 2))
        expected.append(order.accuracy)
    listed = np.array(pairs)
    correct = (scores[listed[:, 0]] > scores[listed[:, 1]]).astype(float)
    found = weighted_accuracy(correct, listed, counts)
    assert found == pytest.approx(expected, nan_ok=True)


def test_an_accuracy_of_one_is_exactly_one() -> None:
    pairs = np.array([[0, 1], [1, 2], [0, 2], [0, 2]])
    counts = np.array([[1, 3, 7], [2, 1, 0], [0, 5, 0]])
    found = weighted_accuracy(np.ones(4), pairs, counts)
    assert found[:2].tolist() == [1, 1]
    assert math.isnan(found[2])
