"""A torch network as a backbone: units in, rows of numbers out."""

import copy
import itertools
from collections.abc import Collection, Mapping
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from .backbone import Setup
from .transforms import PRESETS

# Fixed algorithms in full float32: cuDNN else times several, and rounds factors to 10 bits.
_REPEATABLE = {"enabled": True, "benchmark": False, "deterministic": True, "allow_tf32": False}
_CONVOLUTIONS = (nn.Conv2d, nn.Conv3d)
_NORMALISATIONS = (nn.BatchNorm2d, nn.BatchNorm3d)
_CHANNELS = {"rgb": 3, "flow": 2}


class NetworkBackbone:
    """The :class:`~.backbone.Backbone` made of a network and a preset.

    A row has the same bits in every run on one machine, whatever else is in its batch: libraries
    choose their algorithms by the size of a batch, so every batch is filled up to one size.

    Args:
        network: from (N, C, F, H, W) float32 to a mapping of layer name to (N, ...). It is moved
            to the device and put into evaluation mode, its normalisations folded into the
            convolutions before them.
        setup: names preset and device.
        batch_units: N that the network always sees; by default enough to keep the device busy.
    """

    def __init__(self, network: nn.Module, setup: Setup, batch_units: int | None = None) -> None:
        self._network = folded(network.eval()).requires_grad_(False).to(setup.device)
        self._preset = PRESETS[setup.stream][setup.preset]
        self._channels = _CHANNELS[setup.stream]
        self._device = torch.device(setup.device)
        self.batch_units = batch_units or default_batch_units(setup.device)

    def __call__(
        self,
        images: NDArray[np.generic],
        seconds: NDArray[np.float64],
        layers: Collection[str],
    ) -> dict[str, NDArray[np.float32]]:
        """Compute layers of at most ``batch_units`` units; ``seconds`` makes no difference.

        Raises:
            ValueError: the images are not (N, F, H, W, C) of the stream's type, or too many.
            RecipeError: the network cannot take units of so many frames.
        """
        dtype = np.uint8 if self._channels == 3 else np.float32
        if images.ndim != 5 or images.shape[-1] != self._channels or images.dtype != dtype:
            raise ValueError(
                f"images are {images.dtype} {images.shape}; expected {np.dtype(dtype)} "
                f"(N, F, H, W, {self._channels})"
            )
        count = len(images)
        if count > self.batch_units:
            raise ValueError(f"{count} units; a batch holds at most {self.batch_units}")
        full = np.zeros((self.batch_units, *images.shape[1:]), dtype)
        full[:count] = images
        units = torch.from_numpy(full).to(self._device)
        with torch.inference_mode(), torch.backends.cudnn.flags(**_REPEATABLE):
            rows: Mapping[str, Tensor] = self._network(self._preset.to_network(units))
            found = {layer: rows[layer][:count].cpu().numpy() for layer in layers}
        return cast(dict[str, NDArray[np.float32]], found)


def default_batch_units(device: str) -> int:
    """Units a batch: enough for large matrices; a processor's caches hold few."""
    return 4 if torch.device(device).type == "cpu" else 32


def folded(network: nn.Module) -> nn.Module:
    """Fold each normalisation into the convolution that stands right before it.

    In evaluation a normalisation multiplies and adds constants of its channel, which its convolution
    can do in passing. A pair is taken where the two follow one another among the children of one
    module and agree in channels, as they do in every network here; a test compares outputs.

    Args:
        network: in evaluation mode; it is left alone.

    Returns:
        A copy.
    """
    network = copy.deepcopy(network)
    for parent in network.modules():
        children = list(parent.named_children())
        for (name, first), (next_name, second) in itertools.pairwise(children):
            if (
                isinstance(first, _CONVOLUTIONS)
                and isinstance(second, _NORMALISATIONS)
                and first.out_channels == second.num_features
            ):
                setattr(parent, name, fuse_conv_bn_eval(first, second))
                setattr(parent, next_name, nn.Identity())
    return network
