"""RankSVM (Joachims, KDD 2002): a linear score that orders pairs."""

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_solve
from sklearn.base import BaseEstimator
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.validation import check_is_fitted, validate_data

# The objective found is within this share of the least; some 20 steps reach it.
_GAP = 1e-8
_STEPS = 200


class RankSVM(BaseEstimator):  # type: ignore[misc]
    """Linear support vector machine on the differences of pairs.

    Minimises ``|w|^2 / 2 + C sum hinge(w . d)`` over d = better - worse and, with the other label,
    -d of each pair, which leaves no room for an intercept. As a scikit-learn estimator it learns
    from rows and grades; the pairs are those of different grades, or those given.

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
        differences = coordinates.T[pairs[:, 0]] - coordinates.T[pairs[:, 1]]
        # d and -d with the other label have the same hinge, so each pair counts twice.
        weights, self.n_iter_ = minimise_hinge(differences, 2 * self.C)
        self.coef_ = basis @ weights
        return self

    def predict(self, X: Any) -> NDArray[np.float64]:
        """(n,) scores of (n, D) rows; higher is better."""
        check_is_fitted(self)
        X = validate_data(self, X, reset=False, dtype=np.float64)
        return np.asarray(X @ self.coef_)


def minimise_hinge(
    differences: NDArray[np.float64], cost: float
) -> tuple[NDArray[np.float64], int]:
    """The w that minimises ``|w|^2 / 2 + cost sum max(0, 1 - w . d)``, by interior points.

    The dual, ``sum a - |sum a d|^2 / 2`` over 0 <= a <= cost, is climbed by Mehrotra's predictor
    and corrector (SIAM J. Optim. 1992), its Newton systems reduced to D unknowns as by Ferris and
    Munson (SIAM J. Optim. 2002). Solvers that move a few a at a time need a number of steps that
    explodes where pairs contradict each other, as human judgements do; this one takes tens.

    Warns with scikit-learn's ConvergenceWarning where it stops before the least is found.

    Args:
        differences: (P, D) one d a row.
        cost: positive.

    Returns:
        (D,) w, and the steps taken.
    """
    d, pairs = differences, len(differences)
    # Row 0 is a, row 1 the room left above it; each has a multiplier of the bound that it is above.
    slack = np.full((2, pairs), cost / 2)
    multiplier = np.ones((2, pairs))
    signs = np.array([[1.0], [-1.0]])
    # sum a d, but moved along with a: the sum anew each time would lose digits in cancellation.
    weights = slack[0] @ d
    for step in range(_STEPS):
        margins, combined = d @ weights, slack[0] @ d
        primal = weights @ weights / 2 + cost * np.maximum(0, 1 - margins).sum()
        if primal - (slack[0].sum() - combined @ combined / 2) <= _GAP * primal:
            return weights, step
        residual = margins - 1 - multiplier[0] + multiplier[1]
        newton = _Newton(d, residual, combined - weights, slack, multiplier)
        product = slack * multiplier
        moves, length, _ = newton.move(-product)
        after = (slack + length * signs * moves[0]) * (multiplier + length * moves[1:])
        target = (after.mean() / product.mean()) ** 3 * product.mean()
        moves, length, turn = newton.move(target - product - signs * moves[0] * moves[1:])
        weights = weights + 0.99 * length * turn
        slack = slack + 0.99 * length * signs * moves[0]
        multiplier = multiplier + 0.99 * length * moves[1:]
    warnings.warn(
        f"RankSVM has not converged in {_STEPS} steps; lower C", ConvergenceWarning, stacklevel=2
    )
    return weights, _STEPS


class _Newton:
    """The linear system of one step: (diagonal + d d') move = right-hand side.

    Args:
        d: (P, D) differences.
        residual: (P,) of the dual's gradient.
        drift: (D,) by which sum a d has left the weights.
        slack: (2, P) distance to both bounds.
        multiplier: (2, P) of both bounds.
    """

    def __init__(
        self,
        d: NDArray[np.float64],
        residual: NDArray[np.float64],
        drift: NDArray[np.float64],
        slack: NDArray[np.float64],
        multiplier: NDArray[np.float64],
    ) -> None:
        self._d, self._residual, self._drift = d, residual, drift
        self._slack, self._multiplier = slack, multiplier
        self._diagonal = (multiplier / slack).sum(axis=0)
        # A Cholesky factor of I + d' d / diagonal, by QR: the product itself can lose its last
        # digits, and with them its definiteness.
        root = np.concatenate([np.eye(d.shape[1]), d / np.sqrt(self._diagonal)[:, None]])
        self._factor = np.linalg.qr(root, mode="r")

    def move(
        self, wanted: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], float, NDArray[np.float64]]:
        """Move the products of slack and multiplier by ``wanted`` (2, P), to first order.

        Returns:
            (3, P) moves of a and of both multipliers; the longest step, at most 1, that keeps all
            positive; and the (D,) move of the weights.
        """
        d, slack, multiplier = self._d, self._slack, self._multiplier
        right = (-self._residual + wanted[0] / slack[0] - wanted[1] / slack[1]) / self._diagonal
        turn = cho_solve((self._factor, False), right @ d + self._drift)
        move = right - d @ turn / self._diagonal
        both = np.stack([move, -move])
        bounds = (wanted - multiplier * both) / slack
        ratios = np.concatenate([both / slack, bounds / multiplier])
        return np.stack([move, *bounds]), float(1 / max(1.0, -ratios.min())), turn
