"""What can be scored without looking at a video: rows that a model must beat to mean anything."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .metrics import pairwise_accuracy


@dataclass(frozen=True)
class Facts:
    """What is known of V videos beside their features.

    Args:
        durations: (V,) in seconds; nan where unknown.
        subjects: who performs each; None where unknown.
        scores: (V,) labels, nan where unknown; None where no video has one.
    """

    durations: NDArray[np.float64]
    subjects: Sequence[str | None]
    scores: NDArray[np.float64] | None = None


def control_scores(
    facts: Facts, train: NDArray[np.int64], train_pairs: NDArray[np.int64]
) -> dict[str, NDArray[np.float64]]:
    """Scores of all videos by each control that the labels allow.

    Args:
        facts: of all videos.
        train: positions of the training videos; no label of another one is looked at.
        train_pairs: (P, 2) positions of the better and the worse video.

    Returns:
        By name, (V,): ``constant``; ``shorter is better`` and ``duration``, whose sign is the one
        that orders more training pairs, where every duration is known, as imported features may
        have no times; and ``subject mean``, where every video has a subject.
    """
    found = {"constant": np.zeros(len(facts.durations))}
    if np.isfinite(facts.durations).all():
        found["shorter is better"] = -facts.durations
        found["duration, sign from training"] = _signed_duration(facts.durations, train_pairs)
    if all(subject is not None for subject in facts.subjects):
        found["subject mean"] = _subject_mean(facts.subjects, _merit(facts, train, train_pairs))
    return found


def _signed_duration(
    durations: NDArray[np.float64], train_pairs: NDArray[np.int64]
) -> NDArray[np.float64]:
    shorter, longer = (pairwise_accuracy(sign * durations, train_pairs) for sign in (-1, 1))
    return durations if longer.correct > shorter.correct else -durations


def _merit(
    facts: Facts, train: NDArray[np.int64], train_pairs: NDArray[np.int64]
) -> NDArray[np.float64]:
    """(V,) how good each training video is known to be; nan for every other video.

    Its score, or the share of its training pairs that it wins where not all are scored.
    """
    merit = np.full(len(facts.durations), np.nan)
    if facts.scores is not None and np.isfinite(facts.scores[train]).all():
        merit[train] = facts.scores[train]
        return merit
    wins = np.bincount(train_pairs[:, 0], minlength=len(merit))
    losses = np.bincount(train_pairs[:, 1], minlength=len(merit))
    compared = wins + losses > 0
    merit[compared] = wins[compared] / (wins + losses)[compared]
    return merit


def _subject_mean(
    subjects: Sequence[str | None], merit: NDArray[np.float64]
) -> NDArray[np.float64]:
    """(V,) mean merit of the subject's training videos; of all of them for a new subject."""
    known = np.isfinite(merit)
    names = np.array(subjects, dtype=object)
    overall = merit[known].mean() if known.any() else 0.0
    scores = np.full(len(merit), overall)
    for name in set(names[known]):
        scores[names == name] = merit[known & (names == name)].mean()
    return scores
