import itertools
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from aqakit.features.errors import RecipeError
from aqakit.models.data import VideoFeatures
from aqakit.models.metric_pairs import Pairs, derived_threshold, metric_pairs

SEEDS = st.integers(0, 1000)


def _typed(*kinds: str | tuple[str, str] | None) -> list[VideoFeatures]:
    """Videos of these action types, or of these tasks and action types."""
    found = []
    for number, kind in enumerate(kinds):
        task, action = kind if isinstance(kind, tuple) else (None, kind)
        values, times = np.zeros((2, 3)), np.zeros((2, 3))
        video = VideoFeatures.of(f"v{number}", values, times, task=task, action_type=action)
        found.append(video)
    return found


def _drawn(
    videos: Sequence[VideoFeatures],
    scores: NDArray[np.float64],
    versions: int = 1,
    seed: int = 0,
    most: int = 1000,
    threshold: float = 0.0,
    types: int = 0,
) -> Pairs:
    rng = np.random.default_rng(seed)
    return metric_pairs(videos, scores, versions, rng, most=most, threshold=threshold, types=types)


def _similar_by_hand(
    videos: Sequence[VideoFeatures], scores: NDArray[np.float64], threshold: float
) -> dict[tuple[int, int], bool]:
    """Unordered pairs of originals that may be drawn, and which are similar."""
    return {
        (i, j): bool(abs(scores[i] - scores[j]) < threshold)
        for i, j in itertools.combinations(range(len(videos)), 2)
        if videos[i].task == videos[j].task and not np.isnan(scores[i] + scores[j])
    }


@given(
    SEEDS,
    st.integers(1, 3),
    st.integers(2, 200),
    st.lists(st.sampled_from([np.nan, 0, 1, 2, 5, 6, 9.0]), min_size=3, max_size=9),
)
@settings(max_examples=60, deadline=None)
def test_pairs_are_labelled_by_score_difference_and_balanced(
    seed: int, versions: int, count: int, scores: list[float]
) -> None:
    known = np.array(scores)
    videos = _typed(*(("ab"[i % 2], "x") for i in range(len(scores))))
    truth = _similar_by_hand(videos, known, 4.0)
    if len(set(truth.values())) < 2:
        with pytest.raises(RecipeError, match="pairs of training videos differ by less than"):
            _drawn(videos, known, versions, seed, count, threshold=4.0)
        return
    pairs = _drawn(videos, known, versions, seed, count, threshold=4.0)
    drawn: list[list[tuple[int, int]]] = [[], []]
    for (one, other), (label,) in zip(pairs.positions.tolist(), pairs.labels.tolist(), strict=True):
        sources = one % len(videos), other % len(videos)
        assert truth[min(sources), max(sources)] == bool(label)
        assert max(one, other) < len(videos) * versions
        drawn[int(label)].append((one, other) if sources[0] < sources[1] else (other, one))
    assert len(drawn[0]) == len(drawn[1])
    available = [versions**2 * sum(v == bool(k) for v in truth.values()) for k in (0, 1)]
    assert len(drawn[0]) == min(count // 2, max(available))
    # None twice while there are others.
    for label in (0, 1):
        times = [drawn[label].count(pair) for pair in set(drawn[label])]
        assert max(times) == -(-len(drawn[label]) // available[label])
        assert len(set(drawn[label])) == min(available[label], len(drawn[label]))


def test_pairs_come_in_both_orders_and_from_the_generator() -> None:
    videos, scores = _typed(*["x"] * 12), np.arange(12.0)

    def drawn(seed: int) -> NDArray[np.int64]:
        return _drawn(videos, scores, 2, seed, most=60).positions

    np.testing.assert_array_equal(drawn(0), drawn(0))
    assert not np.array_equal(drawn(0), drawn(1))
    sources = drawn(0) % 12
    assert 0.25 < (sources[:, 0] < sources[:, 1]).mean() < 0.75


def test_only_frequent_action_types_teach_the_metric() -> None:
    videos = _typed("a", "b", "b", "c", "c", "c", "b", "c", "d", "d")

    def used(types: int) -> set[int]:
        pairs = _drawn(videos, np.arange(10.0), types=types)
        return set(pairs.positions.ravel().tolist())

    assert used(2) == {1, 2, 3, 4, 5, 6, 7}
    assert used(3) == set(range(1, 10))
    assert used(0) == set(range(10))


@given(SEEDS, st.integers(8, 40))
@settings(max_examples=25, deadline=None)
def test_derived_threshold_finds_the_papers_share_similar(seed: int, count: int) -> None:
    scores = np.random.default_rng(seed).normal(size=count)
    threshold = derived_threshold(scores)
    truth = _similar_by_hand(_typed(*["x"] * count), scores, threshold)
    assert np.mean(list(truth.values())) == pytest.approx(1300 / 3200, abs=1 / len(truth))
    assert derived_threshold(7 * scores - 3) == pytest.approx(7 * threshold)


def test_derived_threshold_of_mostly_equal_scores_finds_those_similar() -> None:
    assert derived_threshold(np.array([5.0, 5, 5, 5, 5, 2])) == 3


def test_each_task_has_its_own_derived_threshold() -> None:
    videos = _typed(*[("dive", "x")] * 4, *[("vault", "x")] * 4)
    scores = np.array([60.0, 61, 80, 90, 6.0, 6.1, 8, 9])
    # Three of six differences are below a threshold that lies 0.03 of the way from 19 to 20.
    pairs = _drawn(videos, scores)
    similar = {tuple(sorted(pair)) for pair in pairs.positions[pairs.labels[:, 0] == 1].tolist()}
    assert similar == {(0, 1), (1, 2), (2, 3), (4, 5), (5, 6), (6, 7)}


@pytest.mark.parametrize(
    ("scores", "threshold", "message"),
    [
        (
            [1.0, 2, 3, 4],
            0.5,
            "no pairs .* less than threshold=0.5; raise it, or set metric_learning=false",
        ),
        (
            [1.0, 2, 3, 4],
            50.0,
            "all pairs .* less than threshold=50; lower it, or set metric_learning=false",
        ),
        ([7.0, 7, 7], 0.0, "scores differ more and less.*metric_learning=false"),
        ([7.0, 8], 0.0, "scores differ more and less.*metric_learning=false"),
        ([7.0, np.nan], 0.0, "scores differ more and less.*metric_learning=false"),
    ],
)
def test_scores_that_allow_no_pairs_are_told(
    scores: list[float], threshold: float, message: str
) -> None:
    with pytest.raises(RecipeError, match=message) as caught:
        _drawn(_typed(*["x"] * len(scores)), np.array(scores), threshold=threshold)
    assert "\n" not in str(caught.value)
