import itertools
import math
from collections.abc import Hashable, Sequence

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from aqakit.models.intervals import (
    FoldPairs,
    FoldScores,
    Statistic,
    accuracy_interval,
    interval,
    score_interval,
)
from aqakit.models.metrics import pairwise_accuracy, spearman
from aqakit.models.weighted_metrics import weighted_mse, weighted_spearman

Array = NDArray[np.float64]
# Independent noise as large as the skill: P(right) = 1/2 + atan(1)/pi.
ACCURACY = 0.75
# Of 400 intervals of 95 %, as many cover the truth in all but one of 2000 sets of so many.
BAND = stats.binom(400, 0.95).interval(0.9995)


def _all_pairs(videos: int) -> NDArray[np.int64]:
    return np.array(list(itertools.combinations(range(videos), 2)))


def _ordered(skill: Array, pairs: NDArray[np.int64]) -> NDArray[np.int64]:
    turned = skill[pairs[:, 0]] < skill[pairs[:, 1]]
    return np.asarray(np.where(turned[:, None], pairs[:, ::-1], pairs))


def _tested(
    rng: np.random.Generator, videos: int, units: Sequence[Hashable] | None = None
) -> FoldPairs:
    skill = rng.normal(size=videos)
    seen = skill + rng.normal(size=videos)
    return FoldPairs(seen[None], _ordered(skill, _all_pairs(videos)), units=units)


def _slow(folds: list[FoldPairs], resamples: int, rng: np.random.Generator) -> Array:
    """Draw each fold's videos with replacement and list every pair of drawn copies."""
    means = []
    for _ in range(resamples):
        found, weights = [], []
        for fold in folds:
            videos = sorted(set(fold.pairs.ravel().tolist()))
            drawn = rng.choice(videos, len(videos)).tolist()
            right = [
                np.mean([one[i] > one[j] for one in fold.scores])
                for i, j in fold.pairs
                for _ in range(drawn.count(i) * drawn.count(j))
            ]
            if right:
                found.append(np.mean(right))
                weights.append(fold.weight)
        if found:
            means.append(np.average(found, weights=weights))
    return np.asarray(np.quantile(means, [0.025, 0.975]))


def test_the_interval_is_that_of_drawing_videos_within_each_fold() -> None:
    rng = np.random.default_rng(0)
    folds = []
    for videos, weight in ((12, 1.0), (6, 2.5), (3, 0.5)):
        scores = -np.arange(float(videos)) + rng.normal(0, 4, (3, videos))
        folds.append(FoldPairs(scores, _all_pairs(videos), weight))
    for some in (folds[:1], folds[1:], folds):
        expected = _slow(some, 1500, np.random.default_rng(1))
        assert accuracy_interval(some, resamples=4000) == pytest.approx(expected, abs=0.03)


def test_the_interval_of_one_fold_holds_its_accuracy_mean_over_seeds() -> None:
    rng = np.random.default_rng(0)
    pairs = _all_pairs(12)
    scores = -np.arange(12.0) + rng.normal(0, 4, (3, 12))
    low, high = accuracy_interval([FoldPairs(scores, pairs)])
    mean = np.mean([pairwise_accuracy(one, pairs).accuracy for one in scores])
    assert low < mean < high
    # Seeds are averaged, not drawn: three times the same seed is one seed.
    single = accuracy_interval([FoldPairs(scores[:1], pairs)])
    assert accuracy_interval([FoldPairs(scores[[0, 0, 0]], pairs)]) == pytest.approx(single)
    assert single != pytest.approx((low, high), abs=1e-3)


def test_the_interval_is_the_same_each_time_and_only_of_videos_in_pairs() -> None:
    scores = np.random.default_rng(0).normal(size=(1, 20))
    pairs = _all_pairs(10)
    found = accuracy_interval([FoldPairs(scores, pairs)])
    assert found == accuracy_interval([FoldPairs(scores, pairs)])
    assert found == accuracy_interval([FoldPairs(scores[:, :10], pairs)])
    assert found == accuracy_interval([FoldPairs(np.roll(scores, 5), pairs + 5)])
    assert found != accuracy_interval([FoldPairs(scores, pairs)], seed=1)
    half = accuracy_interval([FoldPairs(scores, pairs)], level=0.5)
    assert found[0] < half[0] < half[1] < found[1]


def _normal_interval(fold: FoldPairs) -> tuple[float, float]:
    """As if pairs were independent."""
    right = pairwise_accuracy(fold.scores[0], fold.pairs).accuracy
    reach = 1.96 * math.sqrt(right * (1 - right) / len(fold.pairs))
    return right - reach, right + reach


def test_intervals_cover_the_truth_as_often_as_they_say_and_those_over_pairs_do_not() -> None:
    rng = np.random.default_rng(0)
    inside = over_pairs = 0
    for _ in range(400):
        fold = _tested(rng, 30)
        low, high = accuracy_interval([fold], resamples=400)
        inside += low <= ACCURACY <= high
        low, high = _normal_interval(fold)
        over_pairs += low <= ACCURACY <= high
    assert BAND[0] <= inside <= BAND[1]
    assert over_pairs < 280


def test_intervals_of_a_correlation_cover_the_truth_as_often_as_they_say() -> None:
    rng = np.random.default_rng(1)
    expected = 6 / math.pi * math.asin(0.7 / 2)  # Spearman's of a normal pair correlated by 0.7
    inside = 0
    for _ in range(400):
        truth, noise = rng.normal(size=(2, 40))
        scores = 0.7 * truth + math.sqrt(1 - 0.7**2) * noise
        low, high = score_interval(
            weighted_spearman, [FoldScores(scores[None], truth)], resamples=400
        )
        inside += low <= expected <= high
    assert BAND[0] <= inside <= BAND[1]


def test_a_video_of_several_folds_is_one_video_where_it_is_named() -> None:
    rng = np.random.default_rng(2)
    named = apart = 0
    for _ in range(200):
        skill = rng.normal(size=40)
        seen = skill + rng.normal(size=40)
        folds = []
        for _ in range(10):
            members = rng.choice(40, 20, replace=False)
            pairs = _ordered(skill[members], _all_pairs(20))
            folds.append(FoldPairs(seen[members][None], pairs, units=members.tolist()))
        low, high = accuracy_interval(folds, resamples=300)
        named += low <= ACCURACY <= high
        nameless = [FoldPairs(fold.scores, fold.pairs) for fold in folds]
        low, high = accuracy_interval(nameless, resamples=300)
        apart += low <= ACCURACY <= high
    assert named >= stats.binom(200, 0.95).ppf(0.0005)
    assert apart < 160


def test_subjects_are_drawn_whole_where_they_are_named() -> None:
    """A subject's performances share most of its skill, and of the error made about it."""
    rng = np.random.default_rng(3)
    subjects = np.repeat(np.arange(12), 6)
    pairs = np.array([(i, j) for i, j in _all_pairs(72) if subjects[i] != subjects[j]])
    whole = apart = 0
    for _ in range(200):
        skill, error = rng.normal(size=(2, 12))[:, subjects] + 0.2 * rng.normal(size=(2, 72))
        tested = _ordered(skill, pairs)
        scores = (skill + error)[None]
        by_subject = FoldPairs(scores, tested, units=subjects.tolist())
        low, high = accuracy_interval([by_subject], resamples=300)
        whole += low <= ACCURACY <= high
        low, high = accuracy_interval([FoldPairs(scores, tested)], resamples=300)
        apart += low <= ACCURACY <= high
    assert whole >= stats.binom(200, 0.95).ppf(0.0005)
    assert apart < 160


def test_a_fold_counts_as_often_as_its_units_are_drawn() -> None:
    """However many videos they have; two are in no pair, and so of no unit."""
    pairs = _all_pairs(14) + 2
    scores = -np.arange(16.0)[None]
    # Seven subjects in each fold, of whom one has eight videos: all right in one, wrong in the other.
    names = ["nobody", "nobody", *[0] * 8, *range(1, 7)]
    right = FoldPairs(scores, pairs, units=names)
    wrong = FoldPairs(-scores, pairs, units=[f"other {name}" for name in names])
    share = stats.binom(14, 0.5)
    for level in (0.5, 0.9, 0.95):
        expected = share.ppf([(1 - level) / 2, (1 + level) / 2]) / 14
        found = accuracy_interval([right, wrong], resamples=20000, level=level)
        assert found == pytest.approx(expected)


def test_where_a_fold_is_one_subject_folds_are_drawn() -> None:
    rng = np.random.default_rng(4)
    folds, accuracies = [], []
    for number in range(9):
        fold = _tested(rng, 6, units=[number] * 6)
        folds.append(fold)
        accuracies.append(pairwise_accuracy(fold.scores[0], fold.pairs).accuracy)
    drawn = rng.choice(accuracies, (20000, 9)).mean(axis=1)
    expected = np.quantile(drawn, [0.025, 0.975])
    assert accuracy_interval(folds, resamples=20000) == pytest.approx(expected, abs=0.01)


def test_folds_weigh_as_said_and_those_without_pairs_nothing() -> None:
    rng = np.random.default_rng(5)
    one, other = _tested(rng, 8), _tested(rng, 9)
    heavy = FoldPairs(other.scores, other.pairs, 1e9)
    # The second fold's drawings come after the first one's, so only about the same.
    found = accuracy_interval([one, heavy], resamples=5000)
    assert found == pytest.approx(accuracy_interval([other], resamples=5000), abs=0.02)
    light = FoldPairs(other.scores, other.pairs, 0.0)
    assert accuracy_interval([one, light]) == accuracy_interval([one])
    none = FoldPairs(other.scores, np.zeros((0, 2), np.int64))
    assert accuracy_interval([none, one, none]) == accuracy_interval([one])


def test_a_drawing_in_which_one_fold_has_no_pair_is_of_the_others() -> None:
    constant = np.array([[2.0, 1.0, 0.0]])
    right = FoldPairs(constant, np.array([[0, 1], [1, 2]]))
    wrong = FoldPairs(constant, np.array([[1, 0], [2, 1]]), weight=3)
    # A fold has a value of 1 or 0 in each drawing or none, so means are 1/4, 0 or 1.
    assert accuracy_interval([right, wrong], level=0.2) == (0.25, 0.25)
    assert accuracy_interval([right, wrong], level=0.99) == (0, 1)


def test_a_tie_is_wrong() -> None:
    tied = FoldPairs(np.array([[1.0, 1, 1], [2, 1, 0]]), _all_pairs(3))
    assert accuracy_interval([tied]) == (0.5, 0.5)


def test_a_perfect_order_has_no_width_and_no_pairs_no_interval() -> None:
    perfect = FoldPairs(-np.arange(6.0)[None], _all_pairs(6))
    assert accuracy_interval([perfect]) == (1, 1)
    assert accuracy_interval([perfect, perfect]) == (1, 1)
    assert np.isnan(accuracy_interval([FoldPairs(np.zeros((1, 2)), np.zeros((0, 2), int))])).all()
    assert np.isnan(accuracy_interval([])).all()


def test_two_test_videos_say_nothing_about_others() -> None:
    two = FoldPairs(np.array([[2.0, 1.0]]), np.array([[0, 1]]))
    three = FoldPairs(np.array([[2.0, 1.0, 0.0]]), np.array([[0, 1], [1, 2]]))
    assert np.isnan(accuracy_interval([two])).all()
    assert np.isnan(accuracy_interval([two, two])).all()
    assert accuracy_interval([three]) == (1, 1)
    assert accuracy_interval([two, three]) == accuracy_interval([three, two]) == (1, 1)
    subjects = FoldPairs(three.scores, three.pairs, units=["ann", "ann", "bob"])
    assert np.isnan(accuracy_interval([subjects])).all()
    videos = [FoldPairs(two.scores, two.pairs, units=names) for names in ("ab", "bc")]
    assert accuracy_interval(videos) == (1, 1)


def test_the_interval_of_a_correlation_is_that_of_drawing_videos() -> None:
    rng = np.random.default_rng(6)
    folds = []
    for videos in (9, 14):
        truth = rng.integers(0, 6, videos).astype(float)
        folds.append(FoldScores(truth + rng.normal(0, 2, (2, videos)), truth))
    means = []
    for _ in range(1500):
        found = []
        for fold in folds:
            drawn = rng.integers(0, len(fold.truth), len(fold.truth))
            found.append(np.mean([spearman(own[drawn], fold.truth[drawn]) for own in fold.scores]))
        means.append(np.nanmean(found))
    expected = np.quantile(means, [0.025, 0.975])
    assert score_interval(weighted_spearman, folds, resamples=4000) == pytest.approx(
        expected, abs=0.03
    )


def test_unknown_truth_and_seeds_without_a_value_are_left_out() -> None:
    rng = np.random.default_rng(7)
    scores, truth = rng.normal(size=(2, 12)), rng.normal(size=12)
    truth[[3, 7]] = np.nan
    known = np.isfinite(truth)
    names = [f"v{number}" for number in range(12)]
    kept = [name for name, own in zip(names, known, strict=True) if own]
    for units, own in ((None, None), (names, kept)):
        found = score_interval(weighted_spearman, [FoldScores(scores, truth, 1.0, units)])
        less = FoldScores(scores[:, known], truth[known], 1.0, own)
        assert found == score_interval(weighted_spearman, [less])
    constant = np.concatenate([scores, np.zeros((1, 12))])
    assert score_interval(weighted_spearman, [FoldScores(constant, truth)]) == pytest.approx(
        score_interval(weighted_spearman, [FoldScores(scores, truth)])
    )
    nothing = FoldScores(scores, np.full(12, np.nan))
    assert np.isnan(score_interval(weighted_spearman, [nothing])).all()
    assert np.isnan(score_interval(weighted_spearman, [FoldScores(scores, np.ones(12))])).all()


def test_the_interval_of_a_mean_is_about_that_of_the_normal_distribution() -> None:
    rng = np.random.default_rng(8)
    errors = rng.normal(size=400)
    low, high = score_interval(
        weighted_mse, [FoldScores(errors[None], np.zeros(400))], resamples=4000
    )
    squares = errors**2
    reach = 1.96 * squares.std(ddof=1) / math.sqrt(400)
    assert (low, high) == pytest.approx((squares.mean() - reach, squares.mean() + reach), abs=0.02)


def test_any_statistic_of_counts_has_an_interval() -> None:
    values = np.arange(50, dtype=np.float64)

    def trimmed(counts: NDArray[np.int64]) -> Array:
        found = [stats.trim_mean(values.repeat(own), 0.1) for own in counts]
        return np.array(found, dtype=np.float64)

    low, high = interval([Statistic(trimmed, 50)], resamples=2000)
    found = stats.bootstrap(
        (values,), lambda x: stats.trim_mean(x, 0.1), method="percentile", rng=0, n_resamples=2000
    ).confidence_interval
    assert (low, high) == pytest.approx((found.low, found.high), abs=0.6)


def test_what_has_no_meaning_is_refused() -> None:
    pairs = _all_pairs(3)
    scores = np.zeros((1, 3))
    for level in (0, 1, 95):
        with pytest.raises(ValueError, match=f"level is {level}; it must be between 0 and 1"):
            accuracy_interval([FoldPairs(scores, pairs)], level=level)
    for weight in (-1.0, math.nan, math.inf):
        with pytest.raises(ValueError, match=f"weight is {weight}"):
            accuracy_interval([FoldPairs(scores, pairs, weight)])
    with pytest.raises(ValueError, match="units are 2; they must be 3"):
        interval([Statistic(lambda counts: counts[:, 0].astype(np.float64), 3, units=["a", "b"])])
    with pytest.raises(ValueError, match="finite"):
        accuracy_interval([FoldPairs(np.array([[0, np.nan, 1]]), pairs)])
    with pytest.raises(ValueError, match=r"pairs \(3,\)"):
        accuracy_interval([FoldPairs(scores, np.arange(3))])
    for wrong in (scores[0], np.zeros((1, 4)), np.array([[0, np.inf, 1]])):
        with pytest.raises(ValueError, match=r"must be \(S, V\), finite and fit truth \(3,\)"):
            score_interval(weighted_spearman, [FoldScores(wrong, np.arange(3.0))])
