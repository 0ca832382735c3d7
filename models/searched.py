"""Settings that are chosen inside the training part, by grid search over inner folds."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, clone
from sklearn.model_selection import GroupKFold, ParameterGrid
from sklearn.utils.validation import check_is_fitted, validate_data

from .metrics import pairwise_accuracy

Search = Literal["none", "grid"]
Fold = tuple[NDArray[np.int64], NDArray[np.int64]]
_MOST_FOLDS = 5


class NothingHeldOutError(ValueError):
    """No inner fold holds a pair of two rows out and leaves a pair to learn from."""


class Searched(BaseEstimator):  # type: ignore[misc]
    """An estimator with those settings of a grid that put held-out rows in order best.

    Each setting is fitted on every inner fold and counts the pairs of two held-out rows that it
    orders; the one with the most pairs, of equally good ones the first, is fitted again on all
    rows. Scores of different fits need not be on one scale, so no pair spans two folds.

    Args:
        estimator: whose ``predict`` scores rows, higher is better.
        grid: values to try, by the name of a parameter.
        pairs_name: of the argument of its ``fit`` that takes pairs; empty where it learns from y.

    Attributes:
        chosen_: value by the name of a parameter.
        tried_: every setting, with its share of held-out pairs in the right order as ``accuracy``.
        held_out_pairs_: number of them.
        folds_: number of inner folds.
    """

    def __init__(
        self, estimator: Any, grid: Mapping[str, Sequence[Any]], pairs_name: str = ""
    ) -> None:
        self.estimator = estimator
        self.grid = grid
        self.pairs_name = pairs_name

    def fit(
        self,
        X: Any,
        y: Any = None,
        pairs: NDArray[np.int64] | None = None,
        groups: NDArray[Any] | None = None,
    ) -> "Searched":
        """Choose settings, then fit with them.

        Args:
            X: (n, D).
            y: (n,) grades, higher is better.
            pairs: (P, 2) rows of the better and the worse item; those of different grades if None.
            groups: (n,) what no inner fold may part, such as the subject; each row alone if None.

        Raises:
            NothingHeldOutError: no inner fold holds a pair out and leaves one to learn from.
            ValueError: no finite numbers, or fewer than two rows.
        """
        if y is None:
            X = validate_data(self, X, dtype=np.float64, ensure_min_samples=2)
        else:
            X, y = validate_data(self, X, y, y_numeric=True, dtype=np.float64, ensure_min_samples=2)
        if pairs is None:
            if y is None:
                raise ValueError("y is None and so is pairs; give one of them")
            pairs = np.argwhere(y[:, None] > y[None, :])
        folds = inner_folds(pairs, np.arange(len(X)) if groups is None else groups)
        self.folds_ = len(folds)
        self.held_out_pairs_ = sum(len(_within(pairs, held_out)) for _, held_out in folds)
        self.tried_ = [
            {**setting, "accuracy": self._correct(setting, X, y, pairs, folds)}
            for setting in ParameterGrid(self.grid)
        ]
        best = max(self.tried_, key=lambda tried: tried["accuracy"])
        self.chosen_ = {name: value for name, value in best.items() if name != "accuracy"}
        self.best_estimator_ = self._fitted(self.chosen_, X, y, pairs)
        return self

    def predict(self, X: Any) -> NDArray[np.float64]:
        """(n,) scores of (n, D) rows; higher is better."""
        check_is_fitted(self)
        X = validate_data(self, X, reset=False, dtype=np.float64)
        return np.asarray(self.best_estimator_.predict(X))

    def _correct(
        self,
        setting: Mapping[str, Any],
        X: Any,
        y: Any,
        pairs: NDArray[np.int64],
        folds: list[Fold],
    ) -> float:
        """Share of held-out pairs that are in the right order."""
        correct = 0
        for train, held_out in folds:
            own = None if y is None else y[train]
            fitted = self._fitted(setting, X[train], own, _within(pairs, train))
            scores = np.asarray(fitted.predict(X[held_out]), np.float64)
            correct += pairwise_accuracy(scores, _within(pairs, held_out)).correct
        return correct / self.held_out_pairs_

    def _fitted(self, setting: Mapping[str, Any], X: Any, y: Any, pairs: NDArray[np.int64]) -> Any:
        estimator = clone(self.estimator).set_params(**setting)
        return estimator.fit(X, y, **({self.pairs_name: pairs} if self.pairs_name else {}))


def inner_folds(pairs: NDArray[np.int64], groups: NDArray[Any]) -> list[Fold]:
    """Folds that keep groups whole, each with a pair to learn from and a pair to test on.

    There are as many as five where each of them has such pairs, else fewer, larger ones; where no
    number will do, all that have such pairs of as many as possible.

    Args:
        pairs: (P, 2) rows of the better and the worse item.
        groups: (n,) of each row; where all are of one group, each row is its own.

    Returns:
        (m,) rows that train and (n - m,) rows that are held out, both rising, of each fold.

    Raises:
        NothingHeldOutError: there is none.
    """
    if len(np.unique(groups)) == 1:
        groups = np.arange(len(groups))
    most = min(_MOST_FOLDS, len(np.unique(groups)))
    partial: list[Fold] = []
    for count in range(most, 1, -1):
        usable = list(_usable(pairs, groups, count))
        if len(usable) == count:
            return usable
        partial = partial or usable
    if not partial:
        raise NothingHeldOutError(
            f"none of {len(pairs)} pairs can be held out while another one trains"
        )
    return partial


def _usable(pairs: NDArray[np.int64], groups: NDArray[Any], count: int) -> Iterator[Fold]:
    for train, held_out in GroupKFold(count).split(groups, groups=groups):
        if len(_within(pairs, train)) and len(_within(pairs, held_out)):
            yield train, held_out


def _within(pairs: NDArray[np.int64], rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """(Q, 2) pairs of two of some rows, by position among them; the rows rise."""
    both = np.isin(pairs, rows).all(axis=1)
    return np.searchsorted(rows, pairs[both])


def groups_of(subjects: Sequence[str | None], rows: int) -> NDArray[np.int64]:
    """(n,) a number for each subject; a row of an unknown one is alone.

    Args:
        subjects: of each row, None where unknown; empty where nobody says.
        rows: n.
    """
    numbers: dict[str | int, int] = {}
    names = subjects or [None] * rows
    keys = [row if name is None else name for row, name in enumerate(names)]
    return np.array([numbers.setdefault(key, len(numbers)) for key in keys], dtype=np.int64)
