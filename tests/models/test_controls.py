import numpy as np
import pytest
from numpy.typing import NDArray

from aqakit.models.controls import Facts, control_scores
from aqakit.models.metrics import pairwise_accuracy

TRAIN = np.array([0, 1, 2, 3])
TRAIN_PAIRS = np.array([[0, 1], [0, 2], [3, 2], [1, 2]])
DURATIONS = np.array([10.0, 20, 30, 15, 5, 40])
SUBJECTS = ("ann", "ann", "bob", "cy", "bob", "new")
SIGNED = "duration, sign from training"


def _controls(
    scores: NDArray[np.float64] | None = None,
    durations: NDArray[np.float64] = DURATIONS,
    subjects: tuple[str | None, ...] = SUBJECTS,
) -> dict[str, NDArray[np.float64]]:
    return control_scores(Facts(durations, subjects, scores), TRAIN, TRAIN_PAIRS)


def test_constant_orders_nothing() -> None:
    order = pairwise_accuracy(_controls()["constant"], TRAIN_PAIRS)
    assert (order.accuracy, order.ties) == (0, len(TRAIN_PAIRS))


@pytest.mark.parametrize("sign", [-1, 1])
def test_the_sign_of_duration_is_the_one_that_training_pairs_prefer(sign: int) -> None:
    # As given, the better video is the shorter one in every training pair.
    durations = -sign * DURATIONS
    found = _controls(durations=durations)
    np.testing.assert_array_equal(found[SIGNED], sign * durations)
    np.testing.assert_array_equal(found["shorter is better"], -durations)
    assert pairwise_accuracy(found[SIGNED], TRAIN_PAIRS).accuracy == 1


def test_one_unknown_duration_leaves_the_controls_by_duration_out() -> None:
    durations = DURATIONS.copy()
    durations[5] = np.nan
    found = _controls(durations=durations)
    assert found.keys() == _controls().keys() - {SIGNED, "shorter is better"}


def test_shorter_is_better_where_training_pairs_do_not_say() -> None:
    np.testing.assert_array_equal(_controls(durations=np.ones(6))[SIGNED], -np.ones(6))


def test_subject_mean_of_scores() -> None:
    scores = np.array([8.0, 6, 2, 5, 99, 99])
    expected = [7, 7, 2, 5, 2, (8 + 6 + 2 + 5) / 4]
    np.testing.assert_allclose(_controls(scores)["subject mean"], expected)


@pytest.mark.parametrize("scores", [None, np.array([np.nan, 6, 2, 5, 9, 9])])
def test_subject_mean_of_won_pairs_where_training_scores_are_missing(
    scores: NDArray[np.float64] | None,
) -> None:
    # ann: (2/2 + 1/2) / 2, bob: 0/3, cy: 1/1
    expected = [0.75, 0.75, 0, 1, 0, (1 + 0.5 + 0 + 1) / 4]
    np.testing.assert_allclose(_controls(scores)["subject mean"], expected)


def test_no_label_of_another_video_is_looked_at() -> None:
    one = np.array([8.0, 6, 2, 5, 0, 0])
    other = np.array([8.0, 6, 2, 5, 7, np.nan])
    found, again = _controls(one), _controls(other)
    for name, values in found.items():
        np.testing.assert_array_equal(values, again[name])


def test_subject_mean_needs_every_subject() -> None:
    assert "subject mean" not in _controls(subjects=("ann", None, "bob", "cy", "bob", "new"))
