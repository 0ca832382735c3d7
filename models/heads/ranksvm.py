"""RankSVM (Joachims, KDD 2002): a linear score that orders pairs, over pooled features."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from sklearn.utils.validation import check_is_fitted, validate_data

from ...features.errors import RecipeError
from ..data import Targets
from ..pooled import Kind, PooledHead, Pooling

# Of the solver, in MB.
_CACHE = 500


@dataclass(frozen=True)
class Options:
    """Settings. The defaults are scikit-learn's; papers that compare with RankSVM name none.

    Args:
        C: weight of a misordered pair against the norm of the weights.
        pooling: ``mean-deviation`` sees the standard deviation of each channel beside its mean.

    Raises:
        ValueError: a number out of its range.
    """

    C: float = 1.0
    pooling: Pooling = "mean-deviation"

    def __post_init__(self) -> None:
        if not 0 < self.C < math.inf:
            raise ValueError(f"C is {self.C}; it must be positive and finite")


class RankSVM(BaseEstimator):  # type: ignore[misc]
    """Linear support vector machine on the differences of pairs.

    Minimises ``|w|^2 / 2 + C sum hinge(w . d)`` over d = better - worse and, with the other label,
    -d of each pair, which leaves no room for an intercept. As a scikit-learn estimator it learns from rows and grades; the
    pairs are those of different grades, or those given.

    Args:
        C: weight of the hinge.
    """

    def __init__(self, C: float = 1.0) -> None:
        self.C = C

    def fit(
        self, X: Any, y: Any = None, pairs: NDArray[np.integer[Any]] | None = None
    ) -> "RankSVM":
        """Learn an order.

        Args:
            X: (n, D).
            y: (n,) grades, higher is better; only their order counts. Not looked at beside pairs.
            pairs: (P, 2) rows of the better and the worse item.

        Raises:
            ValueError: no pair, or no finite numbers.
        """
        if pairs is None:
            X, y = validate_data(self, X, y, y_numeric=True, dtype=np.float64)
            pairs = np.argwhere(y[:, None] > y[None, :])
        else:
            X = validate_data(self, X, dtype=np.float64)
        if not len(pairs):
            raise ValueError("no pair to order; y has one class, all grades are equal")
        # The weights lie in the span of the rows: n coordinates say all that D would.
        basis, coordinates = np.linalg.qr(X.T)  # (D, r), (r, n) with r = min(n, D)
        better, worse = coordinates.T[pairs[:, 0]], coordinates.T[pairs[:, 1]]
        # LinearSVC has the same loss, but its solver can stall where pairs contradict each other.
        machine = SVC(kernel="linear", C=self.C, cache_size=_CACHE)
        machine.fit(
            np.concatenate([better - worse, worse - better]), np.repeat([1, -1], len(pairs))
        )
        self.coef_ = basis @ machine.coef_[0]
        self.n_iter_ = int(machine.n_iter_.sum())
        return self

    def predict(self, X: Any) -> NDArray[np.float64]:
        """(n,) scores of (n, D) rows; higher is better."""
        check_is_fitted(self)
        X = validate_data(self, X, reset=False, dtype=np.float64)
        return np.asarray(X @ self.coef_)


def build(options: Options, seed: int, device: str) -> PooledHead:
    """The head, not trained yet; nothing in it is random, and it computes on the CPU."""

    def fit(rows: NDArray[np.float64], targets: Targets) -> Pipeline:
        if not len(targets.pairs):
            raise RecipeError("no pair of two training videos; add pairs, or change the split")
        pipeline = Pipeline([("scale", StandardScaler()), ("rank", RankSVM(options.C))])
        return pipeline.fit(rows, rank__pairs=targets.pairs)

    trusted = [f"{RankSVM.__module__}.{RankSVM.__qualname__}"]
    return PooledHead(Kind(fit, options.pooling, linear=True, trusted=trusted))
