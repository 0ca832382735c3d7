import itertools

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.svm import SVC
from sklearn.utils.estimator_checks import check_estimator

from aqakit.models import rank_svm
from aqakit.models.metrics import pairwise_accuracy
from aqakit.models.rank_svm import RankSVM, minimise_hinge


def _problem(seed: int, noise: float = 0.5) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Rows whose first channel holds the skill, and pairs by it."""
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(30, 5))
    skill = rows[:, 0] + noise * rng.normal(size=30)
    return rows, np.argwhere(skill[:, None] > skill)


def test_it_is_a_scikit_learn_estimator() -> None:
    """Learns from rows and grades there; pairs are another way to say the same."""
    check_estimator(RankSVM(), on_skip=None)


def test_grades_and_their_pairs_teach_the_same() -> None:
    rows, _ = _problem(0)
    grades = np.repeat([1.0, 2, 5], 10)
    by_grade = RankSVM().fit(rows, grades)
    by_pair = RankSVM().fit(rows, pairs=np.argwhere(grades[:, None] > grades))
    np.testing.assert_array_equal(by_grade.coef_, by_pair.coef_)


def test_weights_minimise_the_hinge_over_pairs() -> None:
    rows, pairs = _problem(1)
    cost = 0.01
    differences = rows[pairs[:, 0]] - rows[pairs[:, 1]]

    def objective(weights: NDArray[np.float64]) -> float:
        hinge = sum(max(0.0, 1 - float(weights @ difference)) for difference in differences)
        return float(weights @ weights) / 2 + 2 * cost * hinge

    found = RankSVM(C=cost).fit(rows, pairs=pairs).coef_
    # The objective is convex: what no small step in any direction betters is the minimum.
    rng = np.random.default_rng(0)
    for size in (0.3, 0.03, 0.003):
        for step in rng.normal(size=(100, 5)):
            assert objective(found) <= objective(found + size * step) + 1e-4
    assert objective(found) < objective(np.zeros(5)) / 1.2


def _objective(weights: NDArray[np.float64], rows: NDArray[np.float64], cost: float) -> float:
    hinge = np.maximum(0, 1 - rows @ weights).sum()
    return float(weights @ weights / 2 + cost * hinge)


@pytest.mark.parametrize("cost", [0.001, 0.1, 10.0])
@pytest.mark.parametrize("turned", [0.0, 0.3])
def test_weights_are_those_of_a_solver_that_moves_two_at_a_time(cost: float, turned: float) -> None:
    rows, pairs = _problem(1)
    turn = np.random.default_rng(0).random(len(pairs)) < turned
    pairs = np.where(turn[:, None], pairs[:, ::-1], pairs)
    differences = rows[pairs[:, 0]] - rows[pairs[:, 1]]
    found, _ = minimise_hinge(differences, 2 * cost)
    slow = SVC(kernel="linear", C=cost, tol=1e-6).fit(
        np.concatenate([differences, -differences]), np.repeat([1, -1], len(differences))
    )
    least = _objective(slow.coef_[0], differences, 2 * cost)
    assert _objective(found, differences, 2 * cost) <= least * (1 + 1e-6)
    np.testing.assert_allclose(found, slow.coef_[0], atol=0.02 * np.abs(found).max())


@pytest.mark.parametrize("turned", [0.1, 0.5])
def test_contradictory_pairs_of_many_channels_take_few_steps(turned: float) -> None:
    """A solver that moves two pairs at a time needs hundreds of thousands here."""
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(40, 500))
    pairs = np.array(list(itertools.combinations(range(40), 2)))
    turn = rng.random(len(pairs)) < turned
    found = RankSVM().fit(rows, pairs=np.where(turn[:, None], pairs[:, ::-1], pairs))
    assert found.n_iter_ < 40
    if turned < 0.5:
        assert pairwise_accuracy(found.predict(rows), pairs).accuracy > 0.85


def test_too_few_steps_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rank_svm, "_STEPS", 2)
    rows, pairs = _problem(0)
    with pytest.warns(ConvergenceWarning, match="not converged in 2 steps"):
        RankSVM().fit(rows, pairs=pairs)


def test_many_channels_of_few_videos() -> None:
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(12, 300))
    pairs = np.array(list(itertools.combinations(range(12), 2)))
    found = RankSVM().fit(rows, pairs=pairs)
    assert pairwise_accuracy(found.predict(rows), pairs).accuracy == 1
    spread = np.linalg.norm(found.coef_ - np.linalg.pinv(rows) @ (rows @ found.coef_))
    assert spread == pytest.approx(0, abs=1e-9)  # nothing outside the span of the rows


def test_turning_every_pair_round_turns_the_weights_round() -> None:
    rows, pairs = _problem(2)
    one = RankSVM(C=0.1).fit(rows, pairs=pairs)
    other = RankSVM(C=0.1).fit(rows, pairs=pairs[:, ::-1])
    np.testing.assert_allclose(one.coef_, -other.coef_, atol=2e-3)
