from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import skops.io
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from sklearn.metrics import make_scorer
from sklearn.model_selection import GridSearchCV, GroupKFold
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVR
from sklearn.utils.estimator_checks import check_estimator

from aqakit.models.rank_svm import RankSVM
from aqakit.models.searched import NothingHeldOutError, Searched, groups_of, inner_folds


@pytest.mark.parametrize(
    "estimator",
    [Searched(SVR(), {"C": [0.1, 1.0]}), Searched(RankSVM(), {"C": [0.1, 1.0]}, "pairs")],
)
def test_it_is_a_scikit_learn_estimator(estimator: Searched) -> None:
    check_estimator(estimator, on_skip=None)


def _problem(seed: int = 0) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
    """60 rows of 10 subjects; the skill shows in the square of a channel, so that width counts."""
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(60, 4))
    skill = rows[:, 0] ** 2 + rows[:, 1] + rng.normal(size=60) / 2
    return rows, skill, np.repeat(np.arange(10), 6)


def _ordered(truth: NDArray[np.float64]) -> NDArray[np.int64]:
    return np.argwhere(truth[:, None] > truth[None, :])


def test_it_chooses_what_scikit_learns_own_search_does() -> None:
    rows, skill, groups = _problem()
    machine = Pipeline([("scale", StandardScaler()), ("regress", SVR())])
    grid = {"regress__C": [0.01, 1.0, 100.0], "regress__gamma": [0.01, 0.1, 1.0]}
    found = Searched(machine, grid).fit(rows, skill, groups=groups)

    def order(truth: NDArray[np.float64], scores: NDArray[np.float64]) -> float:
        return float(np.mean([scores[better] > scores[worse] for better, worse in _ordered(truth)]))

    theirs = GridSearchCV(machine, grid, scoring=make_scorer(order), cv=GroupKFold(5))
    theirs.fit(rows, skill, groups=groups)
    assert found.chosen_ == theirs.best_params_
    np.testing.assert_array_equal(found.predict(rows), theirs.predict(rows))
    # Their mean over folds is ours over pairs, as all folds are equally large.
    ours = [tried["accuracy"] for tried in found.tried_]
    np.testing.assert_allclose(ours, theirs.cv_results_["mean_test_score"])
    assert found.folds_ == 5


class Spy(BaseEstimator):  # type: ignore[misc]
    """Predicts its parameter times the first channel, and remembers what it was shown."""

    shown: ClassVar[list[tuple[NDArray[np.float64], NDArray[np.int64] | None]]] = []
    asked: ClassVar[list[NDArray[np.float64]]] = []

    def __init__(self, factor: float = 1.0) -> None:
        self.factor = factor

    def fit(self, X: Any, y: Any = None, pairs: Any = None) -> "Spy":
        Spy.shown.append((X[:, 0], pairs))
        return self

    def predict(self, X: Any) -> Any:
        Spy.asked.append(X[:, 0])
        return self.factor * X[:, 0]


@pytest.fixture
def spy() -> type[Spy]:
    Spy.shown, Spy.asked = [], []
    return Spy


def test_nobody_who_is_held_out_was_looked_at(spy: type[Spy]) -> None:
    rows = np.arange(20.0)[:, None]
    groups = np.arange(20) % 7
    Searched(spy(), {"factor": [1.0]}).fit(rows, rows[:, 0], groups=groups)
    *inner, whole = spy.shown
    assert len(inner) == len(spy.asked) == 5
    tested: list[float] = []
    for (learned, _), asked in zip(inner, spy.asked, strict=True):
        assert not set(groups[learned.astype(int)]) & set(groups[asked.astype(int)])
        assert sorted([*learned, *asked]) == list(range(20))
        tested.extend(asked)
    assert sorted(tested) == list(range(20))
    np.testing.assert_array_equal(whole[0], rows[:, 0])


def test_pairs_learn_and_count_only_within_their_side(spy: type[Spy]) -> None:
    rng = np.random.default_rng(0)
    truth = rng.permutation(20).astype(np.float64)
    pairs = _ordered(truth)[rng.random(190) < 0.5]
    known = {tuple(truth[pair]) for pair in pairs}
    found = Searched(spy(), {"factor": [1.0, -1.0]}, "pairs").fit(truth[:, None], pairs=pairs)
    expected = 0
    for (learned, own), asked in zip(spy.shown[:5], spy.asked[:5], strict=True):
        assert own is not None
        inside = {pair for pair in known if set(pair) <= set(learned)}
        assert {tuple(learned[pair]) for pair in own} == inside
        assert len(own) == len(inside)
        expected += sum(set(pair) <= set(asked) for pair in known)
    assert found.held_out_pairs_ == expected
    assert [tried["accuracy"] for tried in found.tried_] == [1, 0]
    np.testing.assert_array_equal(spy.shown[-1][1], pairs)


@pytest.mark.parametrize("factors", [[3.0, -1.0, 2.0], [2.0, 3.0, 0.0]])
def test_the_first_of_equally_good_settings_is_chosen_and_a_tie_is_wrong(
    factors: list[float], spy: type[Spy]
) -> None:
    rows = np.arange(10.0)[:, None]
    found = Searched(spy(), {"factor": factors}).fit(rows, rows[:, 0])
    assert found.chosen_ == {"factor": factors[0]}
    assert [tried["accuracy"] for tried in found.tried_] == [float(f > 0) for f in factors]
    assert found.best_estimator_.factor == factors[0]
    assert found.estimator.factor == 1  # the one that was given stays as it was


def test_without_grades_and_pairs_there_is_nothing_to_learn() -> None:
    with pytest.raises(ValueError, match="y is None and so is pairs"):
        Searched(RankSVM(), {"C": [1.0]}, "pairs").fit(np.eye(6))


def test_it_is_saved_whole(tmp_path: Path) -> None:
    rows, skill, groups = _problem()
    found = Searched(SVR(), {"C": [0.1, 1.0]}).fit(rows, skill, groups=groups)
    skops.io.dump(found, tmp_path / "x")
    again = skops.io.load(tmp_path / "x", trusted=["aqakit.models.searched.Searched"])
    assert (again.chosen_, again.tried_) == (found.chosen_, found.tried_)
    np.testing.assert_array_equal(again.predict(rows), found.predict(rows))


@given(
    groups=st.lists(st.integers(0, 6), min_size=4, max_size=30).map(np.array), seed=st.integers(0)
)
def test_folds_part_no_group_and_have_pairs_on_both_sides(
    groups: NDArray[np.int64], seed: int
) -> None:
    rng = np.random.default_rng(seed)
    pairs = rng.integers(0, len(groups), (2 * len(groups), 2))
    alone = len(set(groups.tolist())) == 1
    try:
        folds = inner_folds(pairs, groups)
    except NothingHeldOutError:
        return
    assert 1 <= len(folds) <= 5
    for train, held_out in folds:
        assert sorted([*train, *held_out]) == list(range(len(groups)))
        assert alone or not set(groups[train]) & set(groups[held_out])
        for side in (train, held_out):
            assert any(set(pair) <= set(side) for pair in pairs.tolist())
    tested = np.concatenate([held_out for _, held_out in folds])
    assert len(set(tested.tolist())) == len(tested)


def test_folds_are_fewer_and_larger_where_five_would_hold_out_no_pair() -> None:
    groups = np.repeat(np.arange(4), 3)
    across = np.array([(a, b) for a in range(12) for b in range(12) if groups[a] < groups[b]])
    folds = inner_folds(across, groups)
    assert len(folds) == 2
    assert all(len(set(groups[held_out])) == 2 for _, held_out in folds)


def test_folds_without_pairs_are_left_out_where_no_number_of_folds_will_do() -> None:
    groups = np.array([0, 0, 1, 1, 2, 2, 2, 2, 2])
    folds = inner_folds(np.array([[0, 1], [3, 2]]), groups)  # of two, one holds both pairs
    assert sorted(held_out.tolist() for _, held_out in folds) == [[0, 1], [2, 3]]


def test_one_subject_alone_is_parted() -> None:
    folds = inner_folds(_ordered(np.arange(10.0)), np.zeros(10, np.int64))
    assert sorted(np.concatenate([held_out for _, held_out in folds])) == list(range(10))


def test_pairs_that_cannot_be_held_out_are_counted() -> None:
    pairs = np.array([[0, 2], [1, 3], [0, 3]])
    with pytest.raises(NothingHeldOutError, match="none of 3 pairs can be held out while another"):
        inner_folds(pairs, np.array([0, 0, 1, 1]))


def test_groups_are_subjects_and_who_is_unknown_is_alone() -> None:
    assert groups_of(["ann", None, "ben", "ann", None], 5).tolist() == [0, 1, 2, 0, 3]
    assert groups_of([], 3).tolist() == [0, 1, 2]
