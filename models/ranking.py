"""What the heads that rank with a RankSVM have in common."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

from .data import Targets
from .pooled import Kind, PooledHead
from .pooling import Pooling
from .ranges import require_positive
from .rank_svm import RankSVM
from .searched import Search, Searched, groups_of

_C_FACTORS = (0.01, 0.1, 1.0, 10.0, 100.0)


@dataclass(frozen=True)
class RankingOptions:
    """Settings of a RankSVM on numbers of deviation 1.

    Args:
        C: weight of a misordered pair against the norm of the weights; scikit-learn's default, as
            papers that compare with RankSVM name none.
        search: ``grid`` chooses C inside the training part, from a hundredth of C over the number
            of columns to a hundred times that, a factor of 10 apart; see
            :class:`.searched.Searched`.

    Raises:
        ValueError: a number out of its range.
    """

    C: float = 1.0
    search: Search = "none"

    def __post_init__(self) -> None:
        require_positive(self, "C")


def ranking_head(options: RankingOptions, pooling: Pooling) -> PooledHead:
    """The head, not trained yet; nothing in it is random, and it computes on the CPU."""
    pipeline = Pipeline([("scale", StandardScaler()), ("rank", RankSVM(options.C))])

    def fit(rows: NDArray[np.float64], targets: Targets) -> Any:
        pairs = targets.some_pairs()
        if options.search == "none":
            return pipeline.fit(rows, rank__pairs=pairs)
        groups = groups_of(targets.subjects, len(rows))
        # Differences grow with the number of columns, so that C needs to shrink with it.
        grid = {"rank__C": [options.C * factor / rows.shape[1] for factor in _C_FACTORS]}
        return Searched(pipeline, grid, "rank__pairs").fit(rows, pairs=pairs, groups=groups)

    return PooledHead(Kind(fit, Pipeline, pooling, linear=True, trusted=(RankSVM,)))
