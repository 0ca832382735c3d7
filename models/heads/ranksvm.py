"""RankSVM (Joachims, KDD 2002) over pooled features."""

from collections.abc import Mapping
from dataclasses import dataclass

from ..head import ONE_FEATURE, LearnsFrom
from ..pooled import STEP_READINGS, PooledHead
from ..pooling import Statistics, pooling_of
from ..ranking import RankingOptions, ranking_head
from ..reading import Reading

ROLES = ONE_FEATURE
LEARNS_FROM: LearnsFrom = "pairs"
READINGS: Mapping[str, Reading] = STEP_READINGS


@dataclass(frozen=True)
class Options(RankingOptions):
    """Settings, beside those of :class:`..ranking.RankingOptions`.

    Args:
        pooling: ``mean-deviation`` sees the standard deviation of each channel beside its mean;
            ``first`` only the first segment, a control of what shows before the action begins.

    Raises:
        ValueError: a number out of its range.
    """

    pooling: Statistics = "mean-deviation"


def build(options: Options, seed: int, device: str) -> PooledHead:
    """The head, not trained yet; nothing in it is random, and it computes on the CPU."""
    return ranking_head(options, pooling_of(options.pooling))
