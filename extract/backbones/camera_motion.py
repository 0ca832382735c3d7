"""``camera-motion``: how the picture moves along its border, where the performer seldom is.

Gao et al., ECCV 2020 (AIM), section 6: where an action has a single agent, the motion of the camera
stands for the secondary one, taken as TV-L1 flow near the edge of the image. The paper gives no
numbers; here the border is one eighth of the short side wide and cut into its four sides. Each side
gives mean and standard deviation of x and y velocity; two more numbers hold the median velocity of
the whole border, which a performer who crosses it hardly changes.

Velocity is in short sides of the picture a second, so that it depends neither on the size of the
video nor on its frame rate.
"""

import numpy as np
from numpy.typing import NDArray

from ...features.segments import Sampling
from ..backbone import Algorithm, Backbone, BackboneInfo, Output, Setup
from .flow_hist import velocities

BORDER = 1 / 8
SIDES = ("top", "bottom", "left", "right")
CHANNELS = 4 * len(SIDES) + 2

INFO = BackboneInfo(
    outputs=(
        Output(
            "flow",
            "border",
            (CHANNELS,),
            Sampling.parse("steps-10x8-10fps"),
            ("short-96", "short-64"),
            frames=(2, None),
        ),
    ),
)


def build(setup: Setup) -> Backbone:
    """The backbone; it has no weights and computes on the CPU whatever the device."""
    return Algorithm("border", camera_motion)


def camera_motion(flow: NDArray[np.generic], seconds: NDArray[np.float64]) -> NDArray[np.float64]:
    """Compute ``border`` of one unit.

    Args:
        flow: (F - 1, H, W, 2) pixels.
        seconds: (F,) presentation times of the frames.

    Returns:
        (18,): for top, bottom, left and right mean x, mean y, deviation of x and of y; then median x
        and y of the whole border.
    """
    velocity = velocities(flow, seconds)
    sides = _sides(*velocity.shape[1:3])
    found = [velocity[:, side] for side in sides]  # (F - 1, pixels, 2) each
    statistics = [np.concatenate([one.mean(axis=(0, 1)), one.std(axis=(0, 1))]) for one in found]
    border = velocity[:, np.logical_or.reduce(sides)]
    return np.concatenate([*statistics, np.median(border, axis=(0, 1))])


def _sides(height: int, width: int) -> list[NDArray[np.bool_]]:
    """(H, W) masks of the four sides; corners belong to two."""
    thick = max(1, round(BORDER * min(height, width)))
    row, column = np.arange(height)[:, None], np.arange(width)[None]
    everywhere = np.ones((height, width), dtype=bool)
    return [
        everywhere & (row < thick),
        everywhere & (row >= height - thick),
        everywhere & (column < thick),
        everywhere & (column >= width - thick),
    ]
