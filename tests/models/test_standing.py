"""One score from several seeds, and a place among others, each worked out anew by loops."""

import math
import statistics

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from aqakit.models.standing import merge_seeds, ranks

Array = NDArray[np.float64]
VALUES = st.integers(-50, 50).map(lambda n: n / 4)


def scores(seeds: int) -> st.SearchStrategy[Array]:
    shape = st.tuples(st.just(seeds), st.integers(1, 6))
    return arrays(np.float64, shape, elements=VALUES)


BOTH = st.integers(1, 4).flatmap(lambda seeds: st.tuples(scores(seeds), scores(seeds)))


@given(BOTH, st.booleans())
def test_each_seed_is_brought_to_one_scale_and_averaged(
    both: tuple[Array, Array], scaled: bool
) -> None:
    own, reference = both
    merged = merge_seeds(own, reference, scaled)
    for video in range(own.shape[1]):
        found = []
        for seed in range(len(own)):
            value, others = own[seed][video], reference[seed].tolist()
            if not scaled:
                value = (value - statistics.fmean(others)) / (statistics.pstdev(others) or 1.0)
            found.append(value)
        assert merged.scores[video] == pytest.approx(statistics.fmean(found), abs=1e-9)
        if len(found) == 1:
            assert math.isnan(merged.deviations[video])
        else:
            assert merged.deviations[video] == pytest.approx(statistics.stdev(found), abs=1e-9)


def test_no_seed_outweighs_another() -> None:
    reference = np.array([[0.0, 1.0, 2.0], [0.0, 1000.0, 2000.0]])
    own = np.array([[2.0], [0.0]])  # the best by one seed, the worst by the other
    assert merge_seeds(own, reference, scaled=False).scores == pytest.approx([0.0])
    assert merge_seeds(own, reference, scaled=True).scores == pytest.approx([1.0])


def test_reference_videos_that_are_all_alike_only_shift() -> None:
    merged = merge_seeds(np.array([[5.0, 3.0]]), np.array([[3.0, 3.0]]), scaled=False)
    assert merged.scores.tolist() == [2.0, 0.0]


@pytest.mark.parametrize(
    ("own", "reference"),
    [(np.zeros((2, 3)), np.zeros((1, 3))), (np.zeros((2, 3)), np.zeros((2, 0)))],
)
def test_what_does_not_fit_is_named(own: Array, reference: Array) -> None:
    with pytest.raises(ValueError, match=r"scores \(2, 3\) and reference \(\d, \d\) need \(S, V\)"):
        merge_seeds(own, reference, scaled=True)


@given(arrays(np.float64, st.integers(0, 8), elements=VALUES), st.lists(VALUES, max_size=8))
def test_a_rank_is_one_more_than_the_number_of_better_ones(own: Array, among: list[float]) -> None:
    found = ranks(own, np.array(among, np.float64))
    assert found.dtype == np.int64
    assert found.tolist() == [1 + sum(other > score for other in among) for score in own.tolist()]
