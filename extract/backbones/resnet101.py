"""ResNet-101 of single frames or of stacked flow fields: its last block, and that block's mean.

He et al., "Deep Residual Learning for Image Recognition", CVPR 2016 (arXiv 1512.03385), as
torchvision builds it. Stream ``rgb``: a unit of several frames gives the mean of its frames'
features. Stream ``flow``: the 10 fields between the 11 frames of a unit are 20 channels, x and y of
the first field first, as in Simonyan and Zisserman, "Two-Stream Convolutional Networks", NIPS 2014.
No weights for flow are published; its first layer is made from that for RGB, each of its 20 channels
the mean of the three (Wang et al., "Temporal Segment Networks", ECCV 2016, section 3.2).

``conv5`` is what spatial attention looks at: 2048 channels on the 14 x 14 grid of a picture of
448 x 448 (Li et al. 2019, section 4.2). Its default sampling keeps, for each of 25 segments, the last
frame, which tests, and four drawn at random, from which training can draw one each epoch.
"""

import functools
from collections.abc import Mapping

from torch import Tensor, nn

from ...features.errors import RecipeError
from ...features.segments import Sampling
from ..backbone import Backbone, BackboneInfo, Checkpoint, Output, Setup
from ..network import NetworkBackbone
from ..state_dict import filled

_FIELDS = 10
_MAP = (2048, 14, 14)

INFO = BackboneInfo(
    outputs=(
        Output("rgb", "pool", (2048,), Sampling.parse("segments-25-last"), ("imagenet",)),
        Output(
            "rgb",
            "conv5",
            _MAP,
            Sampling.parse("segments-25-last-plus4"),
            ("imagenet-448",),
            "float16",
        ),
        Output(
            "flow",
            "pool",
            (2048,),
            Sampling.parse("segments-25x11-last"),
            ("flow-224",),
            frames=(11, 11),
        ),
        Output(
            "flow",
            "conv5",
            _MAP,
            Sampling.parse("segments-25x11-last-plus4"),
            ("flow-448",),
            "float16",
            frames=(11, 11),
        ),
    ),
    checkpoints=(
        Checkpoint(
            file="resnet101-63fe2227.pth",
            source="torchvision, ImageNet weights V1",
            url="https://download.pytorch.org/models/resnet101-63fe2227.pth",
            sha256_prefix="63fe2227b86e8f1f2063f43a75c84d195911b6a0eace650907dd3dc62dd49a0a",
            licence="unknown (torchvision is BSD-3-Clause)",
            layout="keys such as layer1.0.conv1.weight",
        ),
        Checkpoint(
            file="resnet101-cd907fc2.pth",
            source="torchvision, ImageNet weights V2",
            url="https://download.pytorch.org/models/resnet101-cd907fc2.pth",
            sha256_prefix="cd907fc2",
            licence="unknown (torchvision is BSD-3-Clause)",
            layout="keys such as layer1.0.conv1.weight",
        ),
    ),
)

_BLOCKS = 3 + 4 + 23 + 3
_FIRST_LAYER = "network.conv1.weight"
_COLOUR_FILTERS = (64, 3, 7, 7)


def build(setup: Setup) -> Backbone:
    """ResNet-101 with the weights that the setup asks for.

    Raises:
        WeightsError: the file of weights cannot be read or does not fit.
    """
    channels = 2 * _FIELDS if setup.stream == "flow" else 3
    network = filled(
        functools.partial(ResNet101, channels),
        setup,
        rename="network.{}".format,
        ignored=("fc.",),
        gain=_random_gain,
        adapt=functools.partial(_first_layer_for, channels),
    )
    return NetworkBackbone(network, setup)


def _first_layer_for(channels: int, name: str, weight: Tensor) -> Tensor:
    """The first layer's weights for other channels than colours: each gets the colours' mean."""
    if name != _FIRST_LAYER or weight.shape != _COLOUR_FILTERS or channels == 3:
        return weight
    return weight.mean(dim=1, keepdim=True).repeat(1, channels, 1, 1)


def _random_gain(name: str) -> float:
    """Let every block add 1/33 of the variance: at full size it would double in each of the 33."""
    return _BLOCKS**-0.5 if name.endswith("bn3.weight") else 1.0


class ResNet101(nn.Module):
    """The network, up to its last pool.

    Args:
        channels: of its input: 3 of colour or 20 of stacked flow.
    """

    def __init__(self, channels: int = 3) -> None:
        from torchvision.models import resnet101  # takes longer to load than all else

        super().__init__()
        self.network = resnet101(weights=None)
        self.network.fc = nn.Identity()
        if channels != 3:
            self.network.conv1 = nn.Conv2d(channels, 64, 7, stride=2, padding=3, bias=False)

    def forward(self, frames: Tensor) -> Mapping[str, Tensor]:
        """Compute both layers.

        Args:
            frames: (N, 3, F, H, W) frames, or (N, 2, 10, H, W) flow fields.

        Returns:
            ``pool`` (N, 2048) and ``conv5`` (N, 2048, H / 32, W / 32).

        Raises:
            RecipeError: not 10 flow fields a unit.
        """
        units, channels, count = frames.shape[:3]
        if channels != 3 and count != _FIELDS:
            raise RecipeError(
                f"resnet101 needs {_FIELDS} flow fields a unit, not {count}; use a sampling of "
                f"{_FIELDS + 1} frames such as {INFO.outputs[2].sampling.text}"
            )
        pictures = frames.movedim(2, 1)  # (N, F, C, H, W)
        pictures = pictures.flatten(0, 1) if channels == 3 else pictures.flatten(1, 2)
        maps = self._last_block(pictures)  # (N * F, 2048, h, w), or (N, 2048, h, w) of flow
        maps = maps.unflatten(0, (units, -1)).mean(dim=1)
        return {"pool": maps.mean(dim=(2, 3)), "conv5": maps}

    def _last_block(self, x: Tensor) -> Tensor:
        net = self.network
        x = net.maxpool(net.relu(net.bn1(net.conv1(x))))
        for block in (net.layer1, net.layer2, net.layer3, net.layer4):
            x = block(x)
        return x
