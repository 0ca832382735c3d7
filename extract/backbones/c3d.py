"""C3D: eight layers of 3 x 3 x 3 filters over 16 frames, up to its first full layer.

Tran et al., "Learning Spatiotemporal Features with 3D Convolutional Networks", ICCV 2015 (arXiv
1412.0767), section 3.3 and figure 3. The feature is fc6 after its ReLU; the two layers after it
are left out. As in the released network, the last pool pads height and width by one, and fc6 reads
what it leaves in the order channel, time, height, width.
"""

import re
from collections import OrderedDict

import torch.nn.functional as F
from torch import Tensor, nn

from ...features.errors import RecipeError
from ...features.segments import Sampling
from ..backbone import Backbone, BackboneInfo, Checkpoint, Output, Setup
from ..network import NetworkBackbone
from ..state_dict import filled

_SAMPLING = Sampling.parse("clips-16")

INFO = BackboneInfo(
    outputs=(Output("rgb", "fc6", (4096,), _SAMPLING, ("caffe", "imagenet-112"), frames=(16, 16)),),
    checkpoints=(
        Checkpoint(
            file="c3d_sports1m_pretrain_20201016-dcc47ddc.pth",
            source="mmaction2 model zoo, Sports-1M",
            url="https://download.openmmlab.com/mmaction/recognition/c3d/"
            "c3d_sports1m_pretrain_20201016-dcc47ddc.pth",
            sha256_prefix="dcc47ddc",
            licence="unknown (mmaction2 is Apache-2.0)",
            layout="keys such as conv1a.conv.weight and fc6.weight",
        ),
        Checkpoint(
            file="c3d.pickle",
            source="DavideA/c3d-pytorch on GitHub, Sports-1M",
            url="http://imagelab.ing.unimore.it/files/c3d_pytorch/c3d.pickle",
            licence="unknown (c3d-pytorch is MIT)",
            layout="keys such as conv1.weight and fc6.weight",
        ),
    ),
)

_FRAMES = 16
# Layers after fc6, by their names alone and behind mmaction2's classifier.
_LATER_LAYERS = ("fc7.", "fc8.", "cls_head.fc_cls.")


def build(setup: Setup) -> Backbone:
    """C3D with the weights that the setup asks for.

    Raises:
        WeightsError: the file of weights cannot be read or does not fit.
    """
    network = filled(C3D, setup, rename=_own_name, ignored=_LATER_LAYERS)
    return NetworkBackbone(network, setup)


def _own_name(key: str) -> str:
    """Name here of mmaction2's ``conv1a.conv.weight`` or c3d-pytorch's ``conv1.weight``."""
    name = re.fullmatch(r"(conv\d)([ab]?)(?:\.conv)?\.(weight|bias)", key)
    return f"features.{name[1]}{name[2] or 'a'}.{name[3]}" if name else key


class C3D(nn.Module):
    """The network, up to fc6."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(_layers())
        self.fc6 = nn.Linear(512 * 4 * 4, 4096)

    def forward(self, frames: Tensor) -> dict[str, Tensor]:
        """Compute the one layer.

        Args:
            frames: (N, 3, 16, 112, 112).

        Returns:
            ``fc6`` (N, 4096).

        Raises:
            RecipeError: not 16 frames a unit.
        """
        if frames.shape[2] != _FRAMES:
            raise RecipeError(
                f"c3d needs units of {_FRAMES} frames, not {frames.shape[2]}; "
                f"use a sampling such as {_SAMPLING.text}"
            )
        x = self.features(frames).flatten(1)  # (N, 512, 1, 4, 4) to (N, 8192)
        return {"fc6": F.relu(self.fc6(x))}


def _layers() -> "OrderedDict[str, nn.Module]":
    """Everything before fc6, by the paper's names."""
    return OrderedDict[str, nn.Module](
        conv1a=Convolution(3, 64),
        pool1=nn.MaxPool3d((1, 2, 2)),
        conv2a=Convolution(64, 128),
        pool2=nn.MaxPool3d(2),
        conv3a=Convolution(128, 256),
        conv3b=Convolution(256, 256),
        pool3=nn.MaxPool3d(2),
        conv4a=Convolution(256, 512),
        conv4b=Convolution(512, 512),
        pool4=nn.MaxPool3d(2),
        conv5a=Convolution(512, 512),
        conv5b=Convolution(512, 512),
        pool5=nn.MaxPool3d(2, padding=(0, 1, 1)),
    )


class Convolution(nn.Conv3d):
    """3 x 3 x 3 filters that keep the size, and a ReLU."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__(channels, width, kernel_size=3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, T, H, W) to (N, width, T, H, W)."""
        return F.relu(super().forward(x), inplace=True)
