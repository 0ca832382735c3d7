"""Rows: folds, tasks and seeds put together, against plain loops."""

import math
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from aqakit.models.result import FoldFacts, Result
from aqakit.models.row import aligned, over_folds, summarise

VIDEOS = 7


def result(
    task: str = "a", split: str = "1", seeds: tuple[int, ...] = (0, 1), scaled: bool = True
) -> Result:
    rng = np.random.default_rng([len(task), ord(task[0]), ord(split[0])])
    truth = rng.permutation(VIDEOS).astype(float)
    scores = np.stack([truth + np.random.default_rng(s).normal(0, 3, VIDEOS) for s in seeds])
    pairs = np.argwhere(truth[:, None] > truth)
    seen = rng.integers(0, 2, len(pairs))
    facts = FoldFacts(10, 20, 1, 2, 3)
    return Result(
        "mine",
        "i3d",
        task,
        split,
        seeds,
        tuple(f"{task}-{split}-{number}" for number in range(VIDEOS)),
        tuple(f"s{number % 4}" for number in range(VIDEOS)),
        scores,
        truth,
        pairs,
        seen,
        scaled,
        (0, 10),
        facts,
    )


def several() -> list[Result]:
    """Task ``a`` has three folds, task ``b`` one."""
    return [result("a", "1"), result("a", "2"), result("a", "3"), result("b", "1")]


def accuracy(scores: NDArray[np.float64], pairs: NDArray[np.int64]) -> float:
    return sum(bool(scores[a] > scores[b]) for a, b in pairs) / len(pairs)


def mean_of_tasks(values: dict[str, list[float]]) -> float:
    return float(np.mean([np.mean(own) for own in values.values()]))


def test_accuracy_is_the_mean_over_tasks_of_the_mean_over_folds_for_each_seed() -> None:
    by_seed = []
    for seed in range(2):
        tasks: dict[str, list[float]] = {}
        for fold in several():
            tasks.setdefault(fold.task, []).append(accuracy(fold.scores[seed], fold.pairs))
        by_seed.append(mean_of_tasks(tasks))
    row = summarise(several())
    assert row.accuracy == pytest.approx(np.mean(by_seed))
    assert row.accuracy_sd == pytest.approx(np.std(by_seed, ddof=1))
    assert row.interval[0] < row.accuracy < row.interval[1]
    assert row.subject_interval[0] < row.accuracy < row.subject_interval[1]
    assert row.subject_interval != row.interval
    assert (row.seeds, row.folds, row.tasks, row.missing) == (2, 4, 2, 0)
    assert (row.test_pairs, row.test_videos) == (4 * 21, 4 * VIDEOS)
    assert (row.train_pairs, row.dropped_videos, row.dropped_pairs) == (80, 4, 8)
    assert row.shared_subjects == 12


def test_a_video_of_several_folds_is_drawn_in_all_at_once_and_an_unknown_subject_gives_no_interval() -> (
    None
):
    folds = [result("a", "1"), result("a", "1")]
    alike = [replace(folds[0], split="1"), replace(folds[1], split="2")]
    apart = [alike[0], replace(alike[1], ids=tuple(f"other-{number}" for number in range(VIDEOS)))]
    wide, narrow = (summarise(one).interval for one in (alike, apart))
    assert wide[1] - wide[0] > 1.2 * (narrow[1] - narrow[0])
    assert wide == summarise(folds[:1]).interval
    nameless = [replace(folds[0], subjects=("", *folds[0].subjects[1:]))]
    assert np.isnan(summarise(nameless).subject_interval).all()


def test_intervals_of_correlations_hold_them() -> None:
    row = summarise(several()[:3])
    assert row.spearman_interval[0] < row.spearman < row.spearman_interval[1]
    assert np.isnan(summarise(several()).spearman_interval).all()


def test_seen_pairs_are_told_apart() -> None:
    folds = several()
    row = summarise(folds)
    for kept, found in ((0, row.seen_none), (1, row.seen_one)):
        by_seed = []
        for seed in range(2):
            tasks: dict[str, list[float]] = {}
            for fold in folds:
                own = fold.pairs[fold.seen == kept]
                tasks.setdefault(fold.task, []).append(accuracy(fold.scores[seed], own))
            by_seed.append(mean_of_tasks(tasks))
        assert found == pytest.approx(np.mean(by_seed))
    assert row.seen_test_pairs == sum(int(fold.seen.sum()) for fold in folds)
    honest = [replace(fold, seen=np.zeros_like(fold.seen)) for fold in folds]
    assert math.isnan(summarise(honest).seen_one)
    assert summarise(honest).seen_none == pytest.approx(row.accuracy)


def test_correlations_are_averaged_by_fisher_over_tasks() -> None:
    folds = several()
    by_seed = []
    for seed in range(2):
        tasks: dict[str, list[float]] = {}
        for fold in folds:
            rho = stats.spearmanr(fold.scores[seed], fold.truth).statistic
            tasks.setdefault(fold.task, []).append(rho)
        by_seed.append(np.tanh(np.mean([np.arctanh(np.mean(own)) for own in tasks.values()])))
    assert summarise(folds).spearman == pytest.approx(np.mean(by_seed))
    unlabelled = [replace(fold, truth=np.full(VIDEOS, np.nan)) for fold in folds]
    assert math.isnan(summarise(unlabelled).spearman)


def test_errors_are_of_scores_on_the_scale_of_the_labels_only() -> None:
    folds = several()
    row = summarise(folds)
    tasks: dict[str, list[float]] = {}
    for fold in folds:
        tasks.setdefault(fold.task, []).append(float(((fold.scores - fold.truth) ** 2).mean()))
    assert row.mse == pytest.approx(mean_of_tasks(tasks))
    assert row.relative_l2 == pytest.approx(row.mse / 100)
    assert row.relative_l2_x100 == pytest.approx(row.mse)
    assert row.mae > 0
    ranker = summarise([result(scaled=False)])
    assert math.isnan(ranker.mse)
    assert math.isnan(ranker.mae)
    assert math.isnan(ranker.relative_l2)
    assert ranker.spearman > 0


def test_seeds_of_a_fold_may_come_one_by_one_and_only_common_ones_count() -> None:
    whole = several()
    apart = [
        replace(fold, seeds=(seed,), scores=fold.scores[seed : seed + 1])
        for seed in (1, 0)
        for fold in whole
    ]
    assert summarise(apart) == summarise(whole)
    lacking = [one for one in apart if (one.task, one.split, one.seeds) != ("a", "2", (1,))]
    folds, missing = aligned(lacking)
    assert [fold.seeds for fold in folds] == [(0,)] * 4
    assert missing == 1
    row = summarise(lacking)
    assert (row.seeds, row.missing) == (1, 1)
    assert math.isnan(row.accuracy_sd)
    none = [
        replace(whole[0], seeds=(0,), scores=whole[0].scores[:1]),
        replace(whole[1], seeds=(5, 6)),
    ]
    with pytest.raises(ValueError, match="no result"):
        summarise(none)


def test_a_fold_without_a_number_is_left_out_of_the_mean() -> None:
    folds = [result("a", "1"), result("a", "2")]
    found = over_folds(folds, lambda own, fold: math.nan if fold.split == "1" else float(own[0]))
    assert found == pytest.approx(folds[1].scores[:, 0])
    assert np.isnan(over_folds(folds, lambda own, fold: math.nan)).all()
