"""Preprocessing by name: what a network saw in its training, and what it must see again.

A preset has two halves. The first touches each decoded frame, or flow field, once, on the processor:
resize, then centre crop. The second touches a batch of units on the device: order of the channels,
mean and scale. Features keep the name of their preset, so that two of them are never mistaken for
one.

Presets for frames are those of the published code:

* ``inception``: I3D, Carreira and Zisserman, CVPR 2017: short side 256, crop 224, RGB in [-1, 1].
* ``imagenet``: torchvision's ResNets: short side 256, crop 224, ImageNet statistics. Many
  action-quality repositories feed I3D this way.
* ``caffe``: C3D, Tran et al., ICCV 2015: 128 x 171, crop 112, BGR in 0..255 less the Sports-1M
  training mean. Each channel's mean stands for the released mean image.
* ``imagenet-112``: PyTorch ports of C3D: the same size, RGB with ImageNet statistics.
* ``imagenet-448``: spatial attention, Li et al. 2019: 448 x 448 whatever the proportions, bicubic.
* ``pytorchvideo``: its I3D R50: short side 256, crop 256, mean 0.45, deviation 0.225.

Presets for flow fields:

* ``inception``: I3D: short side 256 before the flow, clamped at 20 pixels, crop 224, in [-1, 1].
* ``flow-224``: two-stream networks: the same.
* ``flow-448``: their maps: the same flow, resized to 448 x 448 with the frames of ``imagenet-448``.
* ``short-64``, ``short-96``: flow on small frames, for what needs no network, in pixels. TV-L1 on 64
  costs less than half of that on 96.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from ..features.spec import Stream

if TYPE_CHECKING:
    from torch import Tensor

Triple = tuple[float, float, float]
Pixel = TypeVar("Pixel", np.uint8, np.float32)


@dataclass(frozen=True)
class Preset:
    """Preprocessing of one name.

    Args:
        resize: length of the short side, the long one following in proportion; or (height, width),
            whatever the proportions were.
        crop: side of the square cut from the middle; None keeps the whole frame.
        mean: subtracted from each channel, red first, in pixel values 0..255.
        std: each channel is divided by it afterwards, red first, in pixel values.
        bgr: whether the network wants blue first.
        interpolation: of OpenCV. Bilinear, without smoothing, is what the published code does.

    Raises:
        ValueError: the crop does not fit into the resized frame.
    """

    resize: int | tuple[int, int]
    crop: int | None = None
    mean: Triple = (0.0, 0.0, 0.0)
    std: Triple = (1.0, 1.0, 1.0)
    bgr: bool = False
    interpolation: int = cv2.INTER_LINEAR

    def __post_init__(self) -> None:
        short = self.resize if isinstance(self.resize, int) else min(self.resize)
        if self.crop is not None and self.crop > short:
            raise ValueError(f"crop is {self.crop}; it must fit into a side of {short}")

    def frame(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Resize and crop one decoded frame.

        An odd margin leaves its extra pixel at the bottom and at the right, as Caffe's crop does.

        Args:
            image: (H, W, 3) RGB.

        Returns:
            (h, w, 3), contiguous, sharing no memory with a larger frame.

        Raises:
            ValueError: not an 8-bit colour frame.
        """
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or not image.size:
            raise ValueError(f"image is {image.dtype} {image.shape}; expected uint8 (H, W, 3)")
        height, width = self.resized(image.shape[0], image.shape[1])
        if (height, width) != image.shape[:2]:
            resized = cv2.resize(image, (width, height), interpolation=self.interpolation)
            image = np.asarray(resized, dtype=np.uint8)
        return np.ascontiguousarray(_cropped(image, self.crop))

    def resized(self, height: int, width: int) -> tuple[int, int]:
        """Height and width after resizing; the long side is rounded down, as torchvision does."""
        if not isinstance(self.resize, int):
            return self.resize
        short = min(height, width)
        return self.resize * height // short, self.resize * width // short

    def to_network(self, units: "Tensor") -> "Tensor":
        """Turn frames into the network's input.

        Args:
            units: (N, F, H, W, 3) uint8 RGB, on the device of the network.

        Returns:
            (N, 3, F, H, W) float32, on the same device. In memory the channels stay last, which
            convolutions on a processor prefer (I3D by a third).
        """
        pixels = units.float()
        pixels = pixels.sub_(pixels.new_tensor(self.mean)).div_(pixels.new_tensor(self.std))
        if self.bgr:
            pixels = pixels.flip(-1)
        return pixels.movedim(-1, 1)


@dataclass(frozen=True)
class FlowPreset:
    """Preprocessing of flow of one name.

    Args:
        frames: size of the frames that flow is computed between.
        clamp: no displacement is longer along either axis, in pixels of those frames; None keeps
            all.
        crop: side of the square cut from the middle; None keeps the whole field.
        resize: (height, width) of the field, whatever the proportions were, bicubic; None keeps its
            size. Displacements stay in pixels of the frames.

    Raises:
        ValueError: both a crop and a resize.
    """

    frames: Preset
    clamp: float | None = None
    crop: int | None = None
    resize: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        if self.crop is not None and self.resize is not None:
            raise ValueError("a field is either cropped or resized")

    def field(self, flow: NDArray[np.float32]) -> NDArray[np.float32]:
        """Clamp, resize and crop one field, (H, W, 2) to (h, w, 2) in pixels; the input is kept."""
        flow = self._clamped(flow)
        if self.resize is not None:
            height, width = self.resize
            resized = cv2.resize(flow, (width, height), interpolation=cv2.INTER_CUBIC)
            # Cubics overshoot, which flow kept as 8-bit pictures, as networks learnt it, cannot.
            flow = self._clamped(np.asarray(resized, dtype=np.float32))
        return np.ascontiguousarray(_cropped(flow, self.crop))

    def _clamped(self, flow: NDArray[np.float32]) -> NDArray[np.float32]:
        return flow if self.clamp is None else np.clip(flow, -self.clamp, self.clamp)

    def to_network(self, units: "Tensor") -> "Tensor":
        """Turn fields into the network's input.

        Args:
            units: (N, F, H, W, 2) float32 pixels, on the device of the network.

        Returns:
            (N, 2, F, H, W) float32, on the same device; in [-1, 1] where the preset clamps.
        """
        scaled = units if self.clamp is None else units.div(self.clamp)
        return scaled.movedim(-1, 1)


def _cropped(image: NDArray[Pixel], crop: int | None) -> NDArray[Pixel]:
    if crop is None:
        return image
    top, left = (image.shape[0] - crop) // 2, (image.shape[1] - crop) // 2
    return image[top : top + crop, left : left + crop]


def _pixel_values(red: float, green: float, blue: float) -> Triple:
    """Statistics published for pixels in [0, 1], in pixel values."""
    return 255 * red, 255 * green, 255 * blue


_IMAGENET_MEAN = _pixel_values(0.485, 0.456, 0.406)
_IMAGENET_STD = _pixel_values(0.229, 0.224, 0.225)

# What I3D, and two-stream networks before it, were trained on.
_FLOW_FRAMES = Preset(256)
_FLOW_CLAMP = 20.0

PRESETS: Mapping[Stream, Mapping[str, Preset | FlowPreset]] = {
    "rgb": {
        "inception": Preset(256, 224, mean=(127.5, 127.5, 127.5), std=(127.5, 127.5, 127.5)),
        "imagenet": Preset(256, 224, mean=_IMAGENET_MEAN, std=_IMAGENET_STD),
        "imagenet-448": Preset(
            (448, 448), mean=_IMAGENET_MEAN, std=_IMAGENET_STD, interpolation=cv2.INTER_CUBIC
        ),
        "pytorchvideo": Preset(
            256, 256, mean=_pixel_values(0.45, 0.45, 0.45), std=_pixel_values(0.225, 0.225, 0.225)
        ),
        "caffe": Preset((128, 171), 112, mean=(101.41, 97.66, 90.25), bgr=True),
        "imagenet-112": Preset((128, 171), 112, mean=_IMAGENET_MEAN, std=_IMAGENET_STD),
    },
    "flow": {
        "inception": FlowPreset(_FLOW_FRAMES, _FLOW_CLAMP, crop=224),
        "flow-224": FlowPreset(_FLOW_FRAMES, _FLOW_CLAMP, crop=224),
        "flow-448": FlowPreset(_FLOW_FRAMES, _FLOW_CLAMP, resize=(448, 448)),
        # No published convention to follow: shrink without aliasing, which flow takes for motion.
        "short-64": FlowPreset(Preset(64, interpolation=cv2.INTER_AREA)),
        "short-96": FlowPreset(Preset(96, interpolation=cv2.INTER_AREA)),
    },
}
