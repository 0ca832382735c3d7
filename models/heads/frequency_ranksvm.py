"""RankSVM (Joachims, KDD 2002) over the low frequencies of pose or kinematics.

What ``frequency-svr`` is for scores, for pairs (our combination); see :mod:`..frequencies`.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from ..frequencies import Frequencies, Transform
from ..head import ONE_FEATURE, LearnsFrom
from ..pooled import STEP_READINGS, PooledHead
from ..ranges import require_counts
from ..ranking import RankingOptions, ranking_head
from ..reading import Reading

ROLES = ONE_FEATURE
LEARNS_FROM: LearnsFrom = "pairs"
READINGS: Mapping[str, Reading] = STEP_READINGS


@dataclass(frozen=True)
class Options(RankingOptions):
    """Settings, beside those of :class:`..ranking.RankingOptions`.

    Args:
        transform: ``dct`` or ``dft``.
        coefficients: lowest ones a channel, the mean among them.

    Raises:
        ValueError: a number out of its range.
    """

    transform: Transform = "dct"
    coefficients: int = 10

    def __post_init__(self) -> None:
        super().__post_init__()
        require_counts(self, "coefficients")


def build(options: Options, seed: int, device: str) -> PooledHead:
    """The head, not trained yet; nothing in it is random, and it computes on the CPU."""
    return ranking_head(options, Frequencies(options.transform, options.coefficients))
