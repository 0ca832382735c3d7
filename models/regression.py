"""What the heads that regress scores with a support vector machine have in common."""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from sklearn.compose import TransformedTargetRegressor
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVR

from .data import Targets
from .pooled import Kind, PooledHead
from .pooling import Pooling
from .ranges import require_counts, require_not_negative, require_positive
from .searched import Search, Searched, groups_of

Kernel = Literal["rbf", "linear", "polynomial"]
_SCIKIT_LEARNS: dict[Kernel, str] = {"rbf": "rbf", "linear": "linear", "polynomial": "poly"}
_C_FACTORS = (0.1, 1.0, 10.0, 100.0, 1000.0)
_LINEAR_C_FACTORS = (0.01, 0.1, 1.0, 10.0, 100.0)
_EPSILON_FACTORS = (1.0, 5.0)
_WIDTHS = (0.1, 1.0, 10.0)


@dataclass(frozen=True)
class RegressionOptions:
    """Settings. The defaults are scikit-learn's, for columns and scores of deviation 1.

    Args:
        kernel: ``rbf``, ``linear`` or ``polynomial``, (gamma x . y + 1)^degree: without the 1, which
            is our choice, an even degree could not tell high from low. Gamma is scikit-learn's
            ``scale``, 1 over the number of columns.
        degree: of the polynomial.
        C: weight of errors against flatness.
        epsilon: errors below it are free; in standard deviations of the training scores.
        search: ``grid`` chooses C, epsilon and gamma inside the training part, see
            :class:`.searched.Searched`: C from a tenth to a thousand times that given, and for a
            linear kernel from a hundredth of it over the number of columns to a hundred times that,
            a factor of 10 apart; once and five times epsilon; a tenth of gamma to ten times it.

    Raises:
        ValueError: a number out of its range.
    """

    kernel: Kernel = "rbf"
    degree: int = 3
    C: float = 1.0
    epsilon: float = 0.1
    search: Search = "none"

    def __post_init__(self) -> None:
        require_counts(self, "degree")
        require_positive(self, "C")
        require_not_negative(self, "epsilon")


def regressor(options: RegressionOptions) -> TransformedTargetRegressor:
    """Columns and scores brought to mean 0 and deviation 1, then the machine; not fitted yet."""
    machine = SVR(
        kernel=_SCIKIT_LEARNS[options.kernel],
        degree=options.degree,
        coef0=1.0,  # of the polynomial alone
        C=options.C,
        epsilon=options.epsilon,
    )
    pipeline = Pipeline([("scale", StandardScaler()), ("regress", machine)])
    return TransformedTargetRegressor(pipeline, transformer=StandardScaler())


def regression_head(
    options: RegressionOptions, pooling: Pooling, name: str, instead: str
) -> PooledHead:
    """The head, not trained yet; nothing in it is random, and it computes on the CPU.

    Args:
        options: settings.
        pooling: what its columns are.
        name: of the head, for a message.
        instead: the head to take where only pairs are known.
    """

    def fit(rows: NDArray[np.float64], targets: Targets) -> Any:
        known, scores = targets.some_scores(name, f"{instead}, which learns from pairs")
        groups = groups_of(targets.subjects, len(rows))[known]
        rows = rows[known]
        if options.search == "none":
            return regressor(options).fit(rows, scores)
        grid = _grid(options, rows.shape[1])
        pairs = _pairs_of(known, targets)
        return Searched(regressor(options), grid).fit(rows, scores, pairs, groups)

    linear = options.kernel == "linear"
    return PooledHead(Kind(fit, TransformedTargetRegressor, pooling, linear))


def _pairs_of(known: NDArray[np.int64], targets: Targets) -> NDArray[np.int64] | None:
    """The pairs of the labels, as videos of different tasks are not to be compared; None of none."""
    place = np.full(int(targets.pairs.max(initial=known.max())) + 1, -1)
    place[known] = np.arange(len(known))
    pairs = place[targets.pairs]
    kept = pairs[(pairs >= 0).all(axis=1)]
    return kept if len(kept) else None


def _grid(options: RegressionOptions, columns: int) -> dict[str, list[float]]:
    """Values to try by the name that they have in :func:`regressor`."""
    epsilons = sorted({options.epsilon * factor for factor in _EPSILON_FACTORS})
    if options.kernel == "linear":
        # This kernel grows with the number of columns, so that C needs to shrink with it.
        costs = [options.C * factor / columns for factor in _LINEAR_C_FACTORS]
        grid = {"C": costs, "epsilon": epsilons}
    else:
        costs = [options.C * factor for factor in _C_FACTORS]
        gammas = [factor / columns for factor in _WIDTHS]
        grid = {"C": costs, "epsilon": epsilons, "gamma": gammas}
    return {f"regressor__regress__{name}": values for name, values in grid.items()}
