"""The 5 x 5 median of flow fields, border repeated.

Away from the processor a selection network finds it: comparisons whose places are fixed before the
data are seen, so every pixel does the same work side by side. The network is the "forgetful" one:
of 14 of the 25 values neither the least nor the greatest can be the median, because 11 more are to
come; forget both, take in another value, and repeat with one fewer.
"""

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

SIDE = 5
COUNT = SIDE * SIDE
MIDDLE = COUNT // 2


def _least_and_greatest(pool: list[int]) -> list[tuple[int, int]]:
    """Exchanges that bring the least of the pool to its front and the greatest to its end."""
    half = len(pool) // 2
    # The lesser of each couple goes to the front half, the greater to the back half.
    exchanges = [(pool[i], pool[-1 - i]) for i in range(half)]
    # With an odd number the middle takes part in both contests.
    front, back = pool[: len(pool) - half], pool[half:]
    exchanges += [(front[0], other) for other in front[1:]]
    exchanges += [(other, back[-1]) for other in back[:-1]]
    return exchanges


def selection_network() -> tuple[tuple[int, int], ...]:
    """Exchanges (low, high) after which place ``MIDDLE`` of 25 holds their median.

    An exchange puts the lesser of two values into the first place, the greater into the second.
    """
    # The middle place enters first and leaves last.
    order = sorted(range(COUNT), key=lambda place: abs(place - MIDDLE))
    pool, waiting = order[: MIDDLE + 2], order[MIDDLE + 2 :]
    network: list[tuple[int, int]] = []
    while True:
        pool.sort()
        network += _least_and_greatest(pool)
        pool = pool[1:-1]
        if not waiting:
            break
        pool.append(waiting.pop(0))
    return tuple(network)


def median(flow: Tensor) -> Tensor:
    """5 x 5 median of each channel.

    Args:
        flow: (B, C, H, W) float32.

    Returns:
        The same shape.
    """
    if flow.device.type == "cpu":
        # OpenCV's is several times faster than the network in whole-picture operations.
        channels = flow.reshape(-1, *flow.shape[-2:]).numpy()
        smooth = np.stack([cv2.medianBlur(channel, SIDE) for channel in channels])
        return torch.from_numpy(smooth).view(flow.shape)
    return network_median(flow)


def network_median(flow: Tensor) -> Tensor:
    """The same by the selection network."""
    height, width = flow.shape[-2:]
    reach = SIDE // 2
    padded = F.pad(flow, (reach, reach, reach, reach), mode="replicate")
    window = [
        padded[..., top : top + height, left : left + width]
        for top in range(SIDE)
        for left in range(SIDE)
    ]
    for low, high in selection_network():
        window[low], window[high] = (
            torch.minimum(window[low], window[high]),
            torch.maximum(window[low], window[high]),
        )
    return window[MIDDLE].contiguous()
