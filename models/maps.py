"""Maps of an explanation in the size of the frame that they explain."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional


def upsample(maps: NDArray[np.float64], size: tuple[int, int]) -> NDArray[np.float64]:
    """Maps of an explanation in the size of the frame that the feature saw, to be laid over it.

    Interpolates between the middles of the maps' places, which cut the frame into equal parts; from
    the outermost middles to the edge of the frame nothing changes. The frame is that of the
    feature's preset: all of the video's for ``imagenet-448`` and ``flow-448``.

    Args:
        maps: (T, H, W), not negative.
        size: height and width of the frame, at least H and W.

    Returns:
        (T, height, width), each with the sum that it had: a map of attention still sums to 1.

    Raises:
        ValueError: the frame is smaller than the maps.
    """
    if size[0] < maps.shape[1] or size[1] < maps.shape[2]:
        raise ValueError(f"size is {size}; it must be at least that of the maps, {maps.shape[1:]}")
    grid = torch.from_numpy(np.asarray(maps, dtype=np.float64))[:, None]
    frames = functional.interpolate(grid, size, mode="bilinear", align_corners=False)[:, 0].numpy()
    before, after = maps.sum(axis=(1, 2)), frames.sum(axis=(1, 2))
    share = np.divide(before, after, out=np.zeros_like(after), where=after > 0)
    return np.asarray(frames * share[:, None, None])
