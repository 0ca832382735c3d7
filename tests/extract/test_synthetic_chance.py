"""Stretches fit into their performance, and their sum is what was asked for."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aqakit.extract.synthetic_chance import shares, stretches


@given(st.integers(0, 10**6), st.floats(0, 5), st.floats(0.1, 1), st.floats(1, 3))
def test_shares_are_in_their_range_and_sum_up(
    seed: int, total: float, low: float, ratio: float
) -> None:
    parts = shares(total, (low, low * ratio), np.random.default_rng(seed))
    assert all(low - 1e-9 <= part <= low * ratio + 1e-9 for part in parts)
    assert total - low - 1e-9 <= sum(parts) <= total + low + 1e-9


def test_a_small_total_becomes_a_share_as_often_as_it_should() -> None:
    rng = np.random.default_rng(0)
    sums = [sum(shares(0.1, (0.4, 0.8), rng)) for _ in range(4000)]
    assert set(sums) == {0.0, 0.4}
    assert np.mean(sums) == pytest.approx(0.1, abs=0.01)


@given(st.integers(0, 10**6), st.floats(0, 0.8))
def test_stretches_do_not_overlap_and_lie_inside(seed: int, share: float) -> None:
    seconds = 10.0
    found = stretches(share * seconds, (0.3, 0.9), seconds, np.random.default_rng(seed))
    edges = [0.0, *itertools.chain.from_iterable(found), seconds]
    assert all(before <= after + 1e-9 for before, after in itertools.pairwise(edges))
    lengths = [end - start for start, end in found]
    assert all(0.3 - 1e-9 <= length <= 0.9 + 1e-9 for length in lengths)
