"""What the heads that rank with a RankSVM have in common."""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from sklearn.decomposition import KernelPCA
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

from .data import Targets
from .pooled import Kind, PooledHead
from .pooling import Pooling
from .ranges import require_positive
from .rank_svm import RankSVM
from .searched import Search, Searched, groups_of

Kernel = Literal["linear", "rbf"]
_C_FACTORS = (0.01, 0.1, 1.0, 10.0, 100.0)
_RBF_C_FACTORS = (0.1, 1.0, 10.0)
_WIDTHS = (0.1, 0.3, 1.0)


@dataclass(frozen=True)
class RankingOptions:
    """Settings of a RankSVM on numbers of deviation 1.

    Args:
        C: weight of a misordered pair against the norm of the weights; scikit-learn's default, as
            papers that compare with RankSVM name none.
        kernel: ``linear``, or ``rbf``: the rows become their coordinates in the space of the kernel
            (all its principal components), which a linear machine then ranks.
        gamma: of ``rbf``, over the number of columns; 1 is scikit-learn's default.
        search: ``grid`` chooses C inside the training part, from a hundredth of C over the number
            of columns to a hundred times that, a factor of 10 apart; for ``rbf`` from a tenth of C
            to ten times C, and gamma from a tenth of that given to all of it. See
            :class:`.searched.Searched`.

    Raises:
        ValueError: a number out of its range.
    """

    C: float = 1.0
    kernel: Kernel = "linear"
    gamma: float = 1.0
    search: Search = "none"

    def __post_init__(self) -> None:
        require_positive(self, "C", "gamma")


def ranking_head(options: RankingOptions, pooling: Pooling) -> PooledHead:
    """The head, not trained yet; nothing in it is random, and it computes on the CPU."""
    linear = options.kernel == "linear"

    def fit(rows: NDArray[np.float64], targets: Targets) -> Any:
        pairs = targets.some_pairs()
        kernel = KernelPCA(kernel="rbf", gamma=options.gamma / rows.shape[1])
        space = [] if linear else [("space", kernel)]
        pipeline = Pipeline([("scale", StandardScaler()), *space, ("rank", RankSVM(options.C))])
        if options.search == "none":
            return pipeline.fit(rows, rank__pairs=pairs)
        groups = groups_of(targets.subjects, len(rows))
        grid = _grid(options, rows.shape[1])
        return Searched(pipeline, grid, "rank__pairs").fit(rows, pairs=pairs, groups=groups)

    return PooledHead(Kind(fit, Pipeline, pooling, linear, trusted=(RankSVM,)))


def _grid(options: RankingOptions, columns: int) -> dict[str, list[float]]:
    """Values to try by the name that they have in the pipeline."""
    if options.kernel == "linear":
        # Differences grow with the number of columns, so that C needs to shrink with it.
        return {"rank__C": [options.C * factor / columns for factor in _C_FACTORS]}
    return {
        "rank__C": [options.C * factor for factor in _RBF_C_FACTORS],
        "space__gamma": [options.gamma * width / columns for width in _WIDTHS],
    }
