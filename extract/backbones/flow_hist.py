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
from ..backbone import Backbone, BackboneInfo, Setup

GRID = 4
DIRECTIONS = 8
CHANNELS = GRID * GRID * DIRECTIONS + 2

INFO = BackboneInfo(
    stream="flow",
    layers={"hist": (CHANNELS,)},
    sampling=Sampling("stacks", frames=3, count=100, fps=10.0),
    presets=("short-64", "short-96"),
)


def build(setup: Setup) -> Backbone:
    """The backbone; it has no weights and computes on the CPU whatever the device."""
    return flow_hist


def flow_hist(
    images: NDArray[np.generic], seconds: NDArray[np.float64]
) -> dict[str, NDArray[np.float32]]:
    """Compute ``hist``.

    Args:
        images: (N, F - 1, H, W, 2) flow in pixels.
        seconds: (N, F) presentation times. A pair of the same time, which padding makes, has speed
            zero.

    Returns:
        ``hist`` (N, 130): direction fastest, then column, then row of the grid; then mean speed and
        its change.
    """
    rows = [_unit(flow, np.diff(times)) for flow, times in zip(images, seconds, strict=True)]
    return {"hist": np.array(rows, dtype=np.float32).reshape(-1, CHANNELS)}


def _unit(flow: NDArray[np.generic], lapses: NDArray[np.float64]) -> NDArray[np.float64]:
    """(130,) of one unit from (F - 1, H, W, 2) flow and (F - 1,) seconds between frames."""
    fields, height, width, _ = flow.shape
    elapsed = np.abs(lapses)
    rate = np.divide(1.0, elapsed, out=np.zeros_like(elapsed), where=elapsed > 0)
    velocity = flow * (rate / min(height, width))[:, None, None, None]
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


def _cells(height: int, width: int) -> NDArray[np.int64]:
    """(H, W) number of the grid cell that each pixel lies in."""
    row = np.arange(height) * GRID // height
    column = np.arange(width) * GRID // width
    return row[:, None] * GRID + column
