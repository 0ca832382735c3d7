"""One row of a table: the results of all folds, tasks and seeds as a few numbers."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from .intervals import FoldPairs, FoldScores, accuracy_interval, score_interval
from .metrics import fisher_z_mean, kendall, pairwise_accuracy, pearson, spearman
from .result import Result
from .score_errors import mae, mse, relative_l2, relative_l2_x100
from .weighted_metrics import weighted_spearman

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Row:
    """One row of a table.

    Every number is worked out fold by fold, then averaged over the folds of a task, then over tasks
    (correlations by Fisher's z), then over seeds.

    Args:
        name: of the recipe, of the head, or of a control.
        feature: keys of the cached features; empty for a control.
        accuracy: share of test pairs in the right order; a tie is wrong.
        accuracy_sd: standard deviation over seeds; nan for a single one.
        interval: 95 % bootstrap interval of the accuracy over test videos; a video that several
            folds test is drawn in all of them at once.
        subject_interval: the same over subjects, whose performances are not independent; nan where
            some are unknown, or fewer than three.
        seen_none: accuracy on pairs of which no video trains; nan where there is none.
        seen_one: accuracy on pairs of which a video also trains; nan where there is none.
        spearman: rank correlation with the scores of test videos; nan without scores.
        spearman_interval: likewise, over test videos; nan of several tasks, as drawing anew is
            about a plain mean.
        kendall: tau-b, likewise.
        pearson: likewise.
        mse: mean squared error; nan where scores are not on the labels' scale.
        mae: mean absolute error, likewise.
        relative_l2: mean squared error after division by the range of the labels, likewise.
        relative_l2_x100: 100 times as much, as some papers print it.
        ties: share of test pairs with equal scores.
        seeds: trainings of each fold.
        folds: in all tasks.
        tasks: that were told apart.
        train_pairs: that were learned from, in all folds together, as all that follow.
        test_pairs: that were tested.
        test_videos: in the test parts.
        dropped_videos: without features.
        dropped_pairs: that lost a video.
        seen_test_pairs: test pairs of which a video also trained.
        shared_subjects: who perform in the training and in the test part of a fold.
        missing: trainings that are not there, as another fold has that seed.
    """

    name: str
    feature: str
    accuracy: float
    accuracy_sd: float
    interval: tuple[float, float]
    subject_interval: tuple[float, float]
    seen_none: float
    seen_one: float
    spearman: float
    spearman_interval: tuple[float, float]
    kendall: float
    pearson: float
    mse: float
    mae: float
    relative_l2: float
    relative_l2_x100: float
    ties: float
    seeds: int
    folds: int
    tasks: int
    train_pairs: int
    test_pairs: int
    test_videos: int
    dropped_videos: int
    dropped_pairs: int
    seen_test_pairs: int
    shared_subjects: int
    missing: int = 0


def summarise(results: Iterable[Result]) -> Row:
    """The row of a name and a feature.

    A fold may come in several results, of different seeds. Only seeds that all folds have are
    counted, as the mean of some folds is not that of all.

    Args:
        results: of one name and one feature.

    Raises:
        ValueError: none at all.
    """
    folds, missing = aligned(results)
    if not folds:
        raise ValueError("no result to summarise")
    seen = [fold.seen > 0 for fold in folds]
    accuracies = over_folds(folds, accuracy_of)
    first = folds[0]
    return Row(
        name=first.name,
        feature=first.feature,
        accuracy=float(accuracies.mean()),
        accuracy_sd=float(accuracies.std(ddof=1)) if len(accuracies) > 1 else math.nan,
        interval=accuracy_interval(_drawn(folds, _videos)),
        subject_interval=_over_subjects(folds),
        seen_none=_on_pairs(folds, [~one for one in seen]),
        seen_one=_on_pairs(folds, seen),
        spearman=_correlation(folds, spearman),
        spearman_interval=_spearman_interval(folds),
        kendall=_correlation(folds, kendall),
        pearson=_correlation(folds, pearson),
        mse=_error(folds, lambda scores, fold: mse(scores, fold.truth)),
        mae=_error(folds, lambda scores, fold: mae(scores, fold.truth)),
        relative_l2=_error(
            folds, lambda scores, fold: relative_l2(scores, fold.truth, fold.label_range)
        ),
        relative_l2_x100=_error(
            folds, lambda scores, fold: relative_l2_x100(scores, fold.truth, fold.label_range)
        ),
        ties=float(over_folds(folds, _ties).mean()),
        seeds=len(first.seeds),
        folds=len(folds),
        tasks=len({fold.task for fold in folds}),
        train_pairs=sum(fold.facts.train_pairs for fold in folds),
        test_pairs=sum(len(fold.pairs) for fold in folds),
        test_videos=sum(len(fold.truth) for fold in folds),
        dropped_videos=sum(fold.facts.dropped_videos for fold in folds),
        dropped_pairs=sum(fold.facts.dropped_pairs for fold in folds),
        seen_test_pairs=sum(int(own.sum()) for own in seen),
        shared_subjects=sum(fold.facts.shared_subjects for fold in folds),
        missing=missing,
    )


def aligned(results: Iterable[Result]) -> tuple[list[Result], int]:
    """One result a fold, of the seeds that all folds have; and how many trainings are missing."""
    parts: dict[tuple[str, str], list[Result]] = {}
    for result in results:
        parts.setdefault((result.task, result.split), []).append(result)
    seeds_of = [{seed for part in own for seed in part.seeds} for own in parts.values()]
    if not seeds_of:
        return [], 0
    common = sorted(set.intersection(*seeds_of))
    every = set.union(*seeds_of)
    missing = sum(len(every - own) for own in seeds_of)
    if not common:
        return [], missing
    return [_merged(own, common) for own in parts.values()], missing


def _merged(parts: Sequence[Result], seeds: Sequence[int]) -> Result:
    by_seed = {
        seed: own for part in parts for seed, own in zip(part.seeds, part.scores, strict=True)
    }
    scores = np.stack([by_seed[seed] for seed in seeds])
    return replace(parts[0], seeds=tuple(seeds), scores=scores)


def over_folds(folds: Sequence[Result], metric: Callable[[Array, Result], float]) -> Array:
    """(S,) mean of a metric over the folds of a task, then over tasks; folds without it left out."""
    values = np.array([[metric(own, fold) for own in fold.scores] for fold in folds])  # (F, S)
    tasks = [fold.task for fold in folds]
    means = [_known_mean(values[[own == task for own in tasks]]) for task in dict.fromkeys(tasks)]
    return _known_mean(np.array(means))


def _known_mean(values: Array) -> Array:
    """(S,) mean of (F, S) over rows that are no nan; nan where none is."""
    known = np.isfinite(values)
    count = known.sum(axis=0)
    total = np.where(known, values, 0.0).sum(axis=0)
    mean = np.full(values.shape[1], np.nan)
    np.divide(total, count, out=mean, where=count > 0)
    return mean


def _weights(folds: Sequence[Result]) -> Array:
    """(F,) of the mean over tasks of the mean over folds."""
    tasks = [fold.task for fold in folds]
    return np.array([1 / tasks.count(task) for task in tasks]) / len(set(tasks))


def _drawn(folds: Sequence[Result], units: Callable[[Result], Sequence[str]]) -> list[FoldPairs]:
    weighted = zip(folds, _weights(folds), strict=True)
    return [FoldPairs(fold.scores, fold.pairs, w, units(fold)) for fold, w in weighted]


def _videos(fold: Result) -> list[str]:
    # An id is a video's own within a manifest.
    return list(fold.ids)


def _over_subjects(folds: Sequence[Result]) -> tuple[float, float]:
    if not all(all(fold.subjects) for fold in folds):
        return math.nan, math.nan
    return accuracy_interval(_drawn(folds, lambda fold: list(fold.subjects)))


def _spearman_interval(folds: Sequence[Result]) -> tuple[float, float]:
    if len({fold.task for fold in folds}) > 1:
        return math.nan, math.nan
    weighted = zip(folds, _weights(folds), strict=True)
    scored = [FoldScores(fold.scores, fold.truth, w, fold.ids) for fold, w in weighted]
    return score_interval(weighted_spearman, scored)


def accuracy_of(scores: Array, fold: Result) -> float:
    """Of (V,) scores on one fold."""
    return pairwise_accuracy(scores, fold.pairs).accuracy


def _ties(scores: Array, fold: Result) -> float:
    order = pairwise_accuracy(scores, fold.pairs)
    return order.ties / order.pairs if order.pairs else math.nan


def _on_pairs(folds: Sequence[Result], kept: Sequence[NDArray[np.bool_]]) -> float:
    """Mean accuracy on some pairs of each fold."""
    some = [replace(fold, pairs=fold.pairs[own]) for fold, own in zip(folds, kept, strict=True)]
    return float(_known_mean(over_folds(some, accuracy_of)[:, None])[0])


def _correlation(folds: Sequence[Result], measure: Callable[[Array, Array], float]) -> float:
    """Mean over folds, then by Fisher's z over tasks, then over seeds."""
    tasks = dict.fromkeys(fold.task for fold in folds)
    by_task = np.array(
        [
            over_folds(
                [fold for fold in folds if fold.task == task],
                lambda scores, fold: measure(scores, fold.truth),
            )
            for task in tasks
        ]
    )  # (tasks, S)
    means = np.array([fisher_z_mean(own) for own in by_task.T])
    return float(_known_mean(means[:, None])[0])


def _error(folds: Sequence[Result], measure: Callable[[Array, Result], float]) -> float:
    if not all(fold.scaled for fold in folds):
        return math.nan
    return float(_known_mean(over_folds(folds, measure)[:, None])[0])
