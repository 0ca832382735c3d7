"""ResNet-101 of single frames, up to its last pool.

He et al., "Deep Residual Learning for Image Recognition", CVPR 2016 (arXiv 1512.03385), as
torchvision builds it. A unit of several frames gives the mean of its frames' features.
"""

from torch import Tensor, nn
from torchvision.models import resnet101

from ...features.segments import Sampling
from ..backbone import Backbone, BackboneInfo, Checkpoint, Setup
from ..network import NetworkBackbone
from ..transforms import PRESETS
from ..weights import filled

INFO = BackboneInfo(
    stream="rgb",
    layers={"pool": (2048,)},
    sampling=Sampling.parse("segments-25-last"),
    presets=("imagenet",),
    checkpoints=(
        Checkpoint(
            file="resnet101-63fe2227.pth",
            source="torchvision, ImageNet weights V1",
            url="https://download.pytorch.org/models/resnet101-63fe2227.pth",
            sha256_prefix="63fe2227",
        ),
        Checkpoint(
            file="resnet101-cd907fc2.pth",
            source="torchvision, ImageNet weights V2",
            url="https://download.pytorch.org/models/resnet101-cd907fc2.pth",
            sha256_prefix="cd907fc2",
        ),
    ),
)

_BLOCKS = 3 + 4 + 23 + 3


def build(setup: Setup) -> Backbone:
    """ResNet-101 with the weights that the setup asks for.

    Raises:
        WeightsError: the file of weights cannot be read or does not fit.
    """
    network = filled(
        ResNet101, setup, rename="network.{}".format, ignored=("fc.",), gain=_random_gain
    )
    return NetworkBackbone(network, PRESETS[setup.preset], setup.device)


def _random_gain(name: str) -> float:
    """Let every block add 1/33 of the variance: at full size it would double in each of the 33."""
    return _BLOCKS**-0.5 if name.endswith("bn3.weight") else 1.0


class ResNet101(nn.Module):
    """The network, up to its last pool."""

    def __init__(self) -> None:
        super().__init__()
        self.network = resnet101(weights=None)
        self.network.fc = nn.Identity()

    def forward(self, frames: Tensor) -> dict[str, Tensor]:
        """Compute the one layer.

        Args:
            frames: (N, 3, F, H, W).

        Returns:
            ``pool`` (N, 2048).
        """
        units, _, count = frames.shape[:3]
        rows = self.network(frames.movedim(2, 1).flatten(0, 1))  # (N * F, 2048)
        return {"pool": rows.unflatten(0, (units, count)).mean(dim=1)}
