"""Support vector regression of scores over the low frequencies of pose or kinematics.

After Pirsiavash et al., ECCV 2014, "Assessing the Quality of Actions", whose machine is linear, as it
is here by default; see :mod:`..frequencies`. Rows named Pose + DCT and Pose + DFT in later papers.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from ..frequencies import Frequencies, Transform
from ..head import ONE_FEATURE, LearnsFrom
from ..pooled import STEP_READINGS, PooledHead
from ..ranges import require_counts
from ..reading import Reading
from ..regression import Kernel, RegressionOptions, regression_head

ROLES = ONE_FEATURE
LEARNS_FROM: LearnsFrom = "scores"
READINGS: Mapping[str, Reading] = STEP_READINGS


@dataclass(frozen=True)
class Options(RegressionOptions):
    """Settings, beside those of :class:`..regression.RegressionOptions`.

    Args:
        kernel: as there; the paper's is linear.
        transform: ``dct`` or ``dft``.
        coefficients: lowest ones a channel, the mean among them (our choice).

    Raises:
        ValueError: a number out of its range.
    """

    kernel: Kernel = "linear"
    transform: Transform = "dct"
    coefficients: int = 10

    def __post_init__(self) -> None:
        super().__post_init__()
        require_counts(self, "coefficients")


def build(options: Options, seed: int, device: str) -> PooledHead:
    """The head, not trained yet; nothing in it is random, and it computes on the CPU."""
    pooling = Frequencies(options.transform, options.coefficients)
    return regression_head(options, pooling, "frequency-svr", "frequency-ranksvm")
