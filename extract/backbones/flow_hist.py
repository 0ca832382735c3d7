"""``flow-hist``: how much moves where and in which direction, without any weights.

The picture is cut into a grid. Each cell holds a histogram of 8 flow directions weighted by speed,
averaged over the unit's flow fields. Histograms of oriented flow follow Laptev et al., CVPR 2008
(HOF); the grids and the numbers beside the histograms are ours.

``hist`` is one vector: the histograms of 4 x 4 cells, the mean speed of the whole picture and how
much it changes from the unit's first field to its last. ``grid`` is a map for heads that look at
places: of each of 14 x 14 cells, as many as the maps of ``resnet101:conv5`` have, the histogram and
the mean speed. Like those it keeps, for each segment, the last frame and four drawn at random.

Speed is in short sides of the picture a second, so that it depends neither on the size of the video
nor on its frame rate.
"""

from collections.abc import Collection

import numpy as np
from numpy.typing import NDArray

from ...features.segments import Sampling
from ..backbone import Backbone, BackboneInfo, Output, Setup

GRID = 4
DIRECTIONS = 8
CHANNELS = GRID * GRID * DIRECTIONS + 2
MAP_GRID = 14
_PRESETS = ("short-64", "short-96")
_ONE_FIELD = (2, None)

INFO = BackboneInfo(
    outputs=(
        Output(
            "flow",
            "hist",
            (CHANNELS,),
            Sampling.parse("stacks-100x3-10fps"),
            _PRESETS,
            frames=_ONE_FIELD,
        ),
        Output(
            "flow",
            "grid",
            (DIRECTIONS + 1, MAP_GRID, MAP_GRID),
            Sampling.parse("segments-25x3-last-plus4"),
            _PRESETS,
            precision="float16",
            frames=_ONE_FIELD,
        ),
    ),
)


def build(setup: Setup) -> Backbone:
    """The backbone; it has no weights and computes on the CPU whatever the device."""
    return _FlowHist()


class _FlowHist:
    """Both layers, of which only those that are wanted are computed."""

    batch_units = 1

    def __call__(
        self,
        images: NDArray[np.generic],
        seconds: NDArray[np.float64],
        layers: Collection[str],
    ) -> dict[str, NDArray[np.float32]]:
        functions = {"hist": flow_hist, "grid": flow_grid}
        units = list(zip(images, seconds, strict=True))
        return {
            layer: np.array([functions[layer](*unit) for unit in units], dtype=np.float32)
            for layer in layers
        }


def flow_hist(flow: NDArray[np.generic], seconds: NDArray[np.float64]) -> NDArray[np.float64]:
    """Compute ``hist`` of one unit.

    Args:
        flow: (F - 1, H, W, 2) pixels.
        seconds: (F,) presentation times of the frames.

    Returns:
        (130,): direction fastest, then column, then row of the grid; then mean speed and its change.
    """
    velocity = velocities(flow, seconds)
    speed = np.hypot(velocity[..., 0], velocity[..., 1])
    histograms = _histograms(velocity, speed, GRID)
    means = speed.mean(axis=(1, 2))
    return np.concatenate([histograms.ravel(), [means.mean(), means[-1] - means[0]]])


def flow_grid(flow: NDArray[np.generic], seconds: NDArray[np.float64]) -> NDArray[np.float64]:
    """Compute ``grid`` of one unit.

    Args:
        flow: (F - 1, H, W, 2) pixels.
        seconds: (F,) presentation times of the frames.

    Returns:
        (9, 14, 14): of each cell, by row and column, the histogram and then the mean speed, which is
        its sum.
    """
    velocity = velocities(flow, seconds)
    speed = np.hypot(velocity[..., 0], velocity[..., 1])
    histograms = _histograms(velocity, speed, MAP_GRID)
    maps = np.concatenate([histograms, histograms.sum(axis=1, keepdims=True)], axis=1)
    return np.ascontiguousarray(maps.T).reshape(DIRECTIONS + 1, MAP_GRID, MAP_GRID)


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


def _histograms(
    velocity: NDArray[np.float64], speed: NDArray[np.float64], grid: int
) -> NDArray[np.float64]:
    """(grid * grid, 8) of each cell, row by row, the mean speed of its pixels in each direction."""
    fields, height, width, _ = velocity.shape
    turn = np.arctan2(velocity[..., 1], velocity[..., 0]) * (DIRECTIONS / (2 * np.pi))
    direction = np.round(turn).astype(np.int64) % DIRECTIONS
    cell = _cells(height, width, grid)
    sums = np.bincount(
        (cell * DIRECTIONS + direction).ravel(),
        weights=speed.ravel(),
        minlength=grid * grid * DIRECTIONS,
    ).reshape(grid * grid, DIRECTIONS)
    # A picture of fewer pixels than cells leaves some cells without any.
    pixels = np.bincount(cell.ravel(), minlength=grid * grid).clip(min=1) * fields
    means: NDArray[np.float64] = sums / pixels[:, None]
    return means


def _cells(height: int, width: int, grid: int) -> NDArray[np.int64]:
    """(H, W) number of the grid cell that each pixel lies in."""
    row = np.arange(height) * grid // height
    column = np.arange(width) * grid // width
    return row[:, None] * grid + column
