"""``flow-hist``: how much moves where and in which direction, without any weights.

For each unit the picture is cut into a 4 x 4 grid. Each cell holds a histogram of 8 flow directions
weighted by speed, averaged over the unit's flow fields; two more numbers hold the mean speed of the
whole picture and how much it changes from the unit's first field to its last. Histograms of oriented
flow follow Laptev et al., CVPR 2008 (HOF); the grid and the two last numbers are ours.

Speed is in short sides of the picture a second, so that it depends neither on the size of the video
nor on its frame rate.
"""

import numpy as np
from numpy.typing import NDArray

from ...features.segments import Sampling
from ..backbone import Algorithm, Backbone, BackboneInfo, Output, Setup

GRID = 4
DIRECTIONS = 8
CHANNELS = GRID * GRID * DIRECTIONS + 2

INFO = BackboneInfo(
    outputs=(
        Output(
            "flow",
            "hist",
            (CHANNELS,),
            Sampling.parse("stacks-100x3-10fps"),
            ("short-64", "short-96"),
            frames=(2, None),
        ),
    ),
)


def build(setup: Setup) -> Backbone:
    """The backbone; it has no weights and computes on the CPU whatever the device."""
    return Algorithm("hist", flow_hist)


def flow_hist(flow: NDArray[np.generic], seconds: NDArray[np.float64]) -> NDArray[np.float64]:
    """Compute ``hist`` of one unit.

    Args:
        flow: (F - 1, H, W, 2) pixels.
        seconds: (F,) presentation times of the frames.

    Returns:
        (130,): direction fastest, then column, then row of the grid; then mean speed and its change.
    """
    velocity = velocities(flow, seconds)
    fields, height, width, _ = velocity.shape
    speed = np.hypot(velocity[..., 0], velocity[..., 1])
    turn = np.arctan2(velocity[..., 1], velocity[..., 0]) * (DIRECTIONS / (2 * np.pi))
    direction = np.round(turn).astype(np.int64) % DIRECTIONS
    cell = _cells(height, width)
    histogram = np.bincount(
        (cell * DIRECTIONS + direction).ravel(),
        weights=speed.ravel(),
        minlength=GRID * GRID * DIRECTIONS,
    ).reshape(GRID * GRID, DIRECTIONS)
    pixels = np.bincount(cell.ravel(), minlength=GRID * GRID) * fields
    means = speed.mean(axis=(1, 2))
    return np.concatenate(
        [(histogram / pixels[:, None]).ravel(), [means.mean(), means[-1] - means[0]]]
    )


def velocities(flow: NDArray[np.generic], times: NDArray[np.float64]) -> NDArray[np.float64]:
    """Flow between frames as motion in short sides of the picture a second.

    Args:
        flow: (F - 1, H, W, 2) pixels.
        times: (F,) seconds. A pair of the same time, which padding makes, has velocity zero.

    Returns:
        (F - 1, H, W, 2).
    """
    elapsed = np.abs(np.diff(times))
    rate = np.divide(1.0, elapsed, out=np.zeros_like(elapsed), where=elapsed > 0)
    scaled: NDArray[np.float64] = flow * (rate / min(flow.shape[1:3]))[:, None, None, None]
    return scaled


def _cells(height: int, width: int) -> NDArray[np.int64]:
    """(H, W) number of the grid cell that each pixel lies in."""
    row = np.arange(height) * GRID // height
    column = np.arange(width) * GRID // width
    return row[:, None] * GRID + column
