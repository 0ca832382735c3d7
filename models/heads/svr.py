"""Support vector regression of scores over pooled features, the baseline of many papers.

As in Pirsiavash et al., ECCV 2014, and after, with statistics over time in place of their
descriptors.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from sklearn.compose import TransformedTargetRegressor
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVR

from ..data import Targets
from ..head import ONE_FEATURE
from ..pooled import Kind, PooledHead, Pooling
from ..ranges import require_not_negative, require_positive

Kernel = Literal["rbf", "linear"]

ROLES = ONE_FEATURE


@dataclass(frozen=True)
class Options:
    """Settings. The defaults are scikit-learn's, for features and scores of deviation 1.

    Args:
        kernel: ``rbf`` with scikit-learn's ``scale`` width, or ``linear``.
        C: weight of errors against flatness.
        epsilon: errors below it are free; in standard deviations of the training scores.
        pooling: ``mean-deviation`` sees the standard deviation of each channel beside its mean.

    Raises:
        ValueError: a number out of its range.
    """

    kernel: Kernel = "rbf"
    C: float = 1.0
    epsilon: float = 0.1
    pooling: Pooling = "mean-deviation"

    def __post_init__(self) -> None:
        require_positive(self, "C")
        require_not_negative(self, "epsilon")


def build(options: Options, seed: int, device: str) -> PooledHead:
    """The head, not trained yet; nothing in it is random, and it computes on the CPU."""

    def fit(rows: NDArray[np.float64], targets: Targets) -> TransformedTargetRegressor:
        known, scores = targets.some_scores("svr", "ranksvm, which learns from pairs")
        machine = SVR(kernel=options.kernel, C=options.C, epsilon=options.epsilon)
        pipeline = Pipeline([("scale", StandardScaler()), ("regress", machine)])
        regressor = TransformedTargetRegressor(pipeline, transformer=StandardScaler())
        return regressor.fit(rows[known], scores)

    return PooledHead(
        Kind(fit, TransformedTargetRegressor, options.pooling, linear=options.kernel == "linear")
    )
