"""``i3d-r50``: the inflated ResNet-50 of PyTorchVideo, the well-kept choice beside Inception I3D.

Carreira and Zisserman, CVPR 2017 (arXiv 1705.07750) with the ResNet-50 of Wang et al., "Non-local
Neural Networks", CVPR 2018, as PyTorchVideo builds and publishes it: 8 frames, every eighth of a
video of 30 fps (the sampling's 3.75 fps), 400 classes of Kinetics.
"""

import warnings

from torch import Tensor, nn

from ...features.errors import RecipeError
from ...features.segments import Sampling
from ..backbone import Backbone, BackboneInfo, Checkpoint, Output, Setup
from ..network import NetworkBackbone
from ..state_dict import filled

_SAMPLING = Sampling.parse("stacks-100x8-3.75fps")

INFO = BackboneInfo(
    outputs=(
        Output("rgb", "pool", (2048,), _SAMPLING, ("pytorchvideo",), frames=(8, None)),
        Output("rgb", "logits", (400,), _SAMPLING, ("pytorchvideo",), frames=(8, None)),
    ),
    checkpoints=(
        Checkpoint(
            file="I3D_8x8_R50.pyth",
            source="PyTorchVideo model zoo, Kinetics-400",
            url="https://dl.fbaipublicfiles.com/pytorchvideo/model_zoo/kinetics/I3D_8x8_R50.pyth",
            licence="unknown (PyTorchVideo is Apache-2.0)",
            layout="keys such as blocks.1.res_blocks.0.branch2.conv_a.weight under model_state",
        ),
    ),
)

# Its first stage halves the time, and its last pool is 4 long.
_LEAST_FRAMES = 8
# As in its relatives: full size in each of the 16 blocks would double the variance 16 times.
_RANDOM_GAIN = 16**-0.5


def build(setup: Setup) -> Backbone:
    """I3D R50 with the weights that the setup asks for.

    Raises:
        WeightsError: the file of weights cannot be read or does not fit.
    """
    network = filled(I3DR50, setup, rename="network.{}".format, gain=_random_gain)
    return NetworkBackbone(network, setup)


def _random_gain(name: str) -> float:
    return _RANDOM_GAIN if name.endswith("norm_c.weight") else 1.0


class I3DR50(nn.Module):
    """The network, up to its logits."""

    def __init__(self) -> None:
        super().__init__()
        with warnings.catch_warnings():
            # It scripts functions in a way that newer releases of PyTorch warn of.
            warnings.simplefilter("ignore")
            from pytorchvideo.models.hub.resnet import i3d_r50

        self.network = i3d_r50(pretrained=False)

    def forward(self, frames: Tensor) -> dict[str, Tensor]:
        """Compute both layers.

        Args:
            frames: (N, 3, F, H, W).

        Returns:
            ``pool`` (N, 2048) and ``logits`` (N, 400), before the softmax.

        Raises:
            RecipeError: fewer than 8 frames a unit.
        """
        if frames.shape[2] < _LEAST_FRAMES:
            raise RecipeError(
                f"i3d-r50 needs units of at least {_LEAST_FRAMES} frames, not {frames.shape[2]}; "
                f"use a sampling such as {_SAMPLING.text}"
            )
        *blocks, head = self.network.blocks
        x = frames
        for block in blocks:
            x = block(x)
        # The head's last layer is linear, so that the mean may be taken before it.
        pool = head.pool(x).mean(dim=(2, 3, 4))  # (N, 2048, T, h, w) to (N, 2048)
        return {"pool": pool, "logits": head.proj(pool)}
