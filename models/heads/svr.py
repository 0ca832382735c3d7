"""Support vector regression of scores over pooled features, the baseline of many papers.

As in Pirsiavash et al., ECCV 2014, and after, with statistics over time in place of their
descriptors; ``frequency-svr`` has theirs.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from ..head import ONE_FEATURE, LearnsFrom
from ..pooled import STEP_READINGS, PooledHead
from ..pooling import Statistics, pooling_of
from ..reading import Reading
from ..regression import RegressionOptions, regression_head

ROLES = ONE_FEATURE
LEARNS_FROM: LearnsFrom = "scores"
READINGS: Mapping[str, Reading] = STEP_READINGS


@dataclass(frozen=True)
class Options(RegressionOptions):
    """Settings, beside those of :class:`..regression.RegressionOptions`.

    Args:
        pooling: ``mean-deviation`` sees the standard deviation of each channel beside its mean;
            ``first`` only the first segment, a control of what shows before the action begins.

    Raises:
        ValueError: a number out of its range.
    """

    pooling: Statistics = "mean-deviation"


def build(options: Options, seed: int, device: str) -> PooledHead:
    """The head, not trained yet; nothing in it is random, and it computes on the CPU."""
    return regression_head(options, pooling_of(options.pooling), "svr", "ranksvm")
