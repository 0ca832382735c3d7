"""A torch network as a backbone: frames in, rows of numbers out."""

from collections.abc import Mapping
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from .transforms import Preset

# Fixed algorithms in full float32: cuDNN else times several, and rounds factors to 10 bits.
_REPEATABLE = {"enabled": True, "benchmark": False, "deterministic": True, "allow_tf32": False}


class NetworkBackbone:
    """The :class:`~.backbone.Backbone` made of a network and a preset.

    The same batch gives the same bits in every run on one machine. Another batch size may change
    the last bits of a row, because libraries choose their algorithms by it, and no more.

    Args:
        network: from (N, 3, F, H, W) float32 to a mapping of layer name to (N, ...). It is moved
            to the device and put into evaluation mode.
        preset: of the frames that will come.
        device: a torch device.
    """

    def __init__(self, network: nn.Module, preset: Preset, device: str) -> None:
        self._network = network.to(device).eval().requires_grad_(False)
        self._preset = preset
        self._device = torch.device(device)

    def __call__(
        self, images: NDArray[np.generic], seconds: NDArray[np.float64]
    ) -> dict[str, NDArray[np.float32]]:
        """Compute every layer of a batch of units; ``seconds`` makes no difference.

        Raises:
            ValueError: the images are not (N, F, H, W, 3) uint8.
            RecipeError: the network cannot take units of so many frames.
        """
        if images.ndim != 5 or images.shape[-1] != 3 or images.dtype != np.uint8:
            raise ValueError(
                f"images are {images.dtype} {images.shape}; expected uint8 (N, F, H, W, 3)"
            )
        units = torch.from_numpy(np.array(images, order="C")).to(self._device)
        with torch.inference_mode(), torch.backends.cudnn.flags(**_REPEATABLE):
            rows: Mapping[str, Tensor] = self._network(self._preset.to_network(units))
        return {
            layer: cast(NDArray[np.float32], values.cpu().numpy()) for layer, values in rows.items()
        }
