"""Preprocessing by name: what a network saw in its training, and what it must see again.

A preset has two halves. The first touches each decoded frame once, on the processor: resize, then
centre crop. The second touches a batch of units on the device: order of the channels, mean and
scale. Features keep the name of their preset, so that two of them are never mistaken for one.

Presets are those of the published code:

* ``inception``: I3D, Carreira and Zisserman, CVPR 2017: short side 256, crop 224, RGB in [-1, 1].
* ``imagenet``: torchvision's ResNets: short side 256, crop 224, ImageNet statistics. Many
  action-quality repositories feed I3D this way.
* ``caffe``: C3D, Tran et al., ICCV 2015: 128 x 171, crop 112, BGR in 0..255 less the Sports-1M
  training mean. Each channel's mean stands for the released mean image.
* ``imagenet-112``: PyTorch ports of C3D: the same size, RGB with ImageNet statistics.
* ``short-64``, ``short-96``: for optical flow on small frames; no network, pixels as they are.
  TV-L1 on 64 costs less than half of that on 96.
"""

from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Triple = tuple[float, float, float]


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
        if self.crop is not None:
            top, left = (height - self.crop) // 2, (width - self.crop) // 2
            image = image[top : top + self.crop, left : left + self.crop]
        return np.ascontiguousarray(image)

    def resized(self, height: int, width: int) -> tuple[int, int]:
        """Height and width after resizing; the long side is rounded down, as torchvision does."""
        if not isinstance(self.resize, int):
            return self.resize
        short = min(height, width)
        return self.resize * height // short, self.resize * width // short

    def to_network(self, units: Tensor) -> Tensor:
        """Turn frames into the network's input.

        Args:
            units: (N, F, H, W, 3) uint8 RGB, on the device of the network.

        Returns:
            (N, 3, F, H, W) float32, on the same device. In memory the channels stay last, which
            convolutions on a processor prefer (I3D by a third).
        """
        mean = torch.tensor(self.mean, device=units.device)
        std = torch.tensor(self.std, device=units.device)
        pixels = units.float().sub_(mean).div_(std)
        if self.bgr:
            pixels = pixels.flip(-1)
        return pixels.movedim(-1, 1)


def _pixel_values(red: float, green: float, blue: float) -> Triple:
    """Statistics published for pixels in [0, 1], in pixel values."""
    return 255 * red, 255 * green, 255 * blue


_IMAGENET_MEAN = _pixel_values(0.485, 0.456, 0.406)
_IMAGENET_STD = _pixel_values(0.229, 0.224, 0.225)

PRESETS: dict[str, Preset] = {
    "inception": Preset(256, 224, mean=(127.5, 127.5, 127.5), std=(127.5, 127.5, 127.5)),
    "imagenet": Preset(256, 224, mean=_IMAGENET_MEAN, std=_IMAGENET_STD),
    "caffe": Preset((128, 171), 112, mean=(101.41, 97.66, 90.25), bgr=True),
    "imagenet-112": Preset((128, 171), 112, mean=_IMAGENET_MEAN, std=_IMAGENET_STD),
    # No published convention to follow: shrink without aliasing, which flow would take for motion.
    "short-64": Preset(64, interpolation=cv2.INTER_AREA),
    "short-96": Preset(96, interpolation=cv2.INTER_AREA),
}
