"""Compare where in the picture a head looks with what really happened there.

``truth.json`` of a generated set says when and where each mistake happened and where the tool was;
this file says how much of an attention map lies there.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .synthetic_plan import Box, Mistake

# About the reach of the gripper around its tip, in short sides of the picture, as boxes of mistakes
# have it.
_TIP_REACH = 0.09


@dataclass(frozen=True, eq=False)
class Truth:
    """What is known of one video.

    Args:
        fps: frames a second.
        mistakes: in the order of their beginning.
        tool_path: (F, 2) x and y of the tool's tip in pixels, one row a frame.
    """

    fps: float
    mistakes: tuple[Mistake, ...]
    tool_path: NDArray[np.float64]


def read_truth(path: Path) -> dict[str, Truth]:
    """The truth of each video of a set, by id.

    Args:
        path: ``truth.json`` that :func:`.synthetic.generate` wrote.
    """
    videos = json.loads(path.read_text())["videos"]
    return {id: _truth(known) for id, known in videos.items()}


def _truth(known: Mapping[str, Any]) -> Truth:
    mistakes = tuple(Mistake(**{**one, "box": tuple(one["box"])}) for one in known["mistakes"])
    return Truth(known["fps"], mistakes, np.array(known["tool_path"]))


def tool_cover(
    times: NDArray[np.float64], truth: Truth, size: tuple[int, int], grid: tuple[int, int]
) -> NDArray[np.float64]:
    """(T, H, W) share of each cell that the box around the tool's tip covers.

    The box holds the tip, and as much around it as the gripper takes, in all frames of the step.

    Args:
        times: (T, 3) start, centre and end of each step in seconds.
        truth: of the video.
        size: width and height of the picture in pixels.
        grid: H and W, cells that the picture is cut into.
    """
    reach = _TIP_REACH * min(size)
    frames = np.arange(len(truth.tool_path)) / truth.fps
    found = []
    for start, centre, end in times:
        shown = (frames + 1 / truth.fps > start) & (frames < end)
        shown[np.abs(frames - centre).argmin()] = True  # a step past the end holds the last frame
        path = truth.tool_path[shown]
        low, high = path.min(axis=0) - reach, path.max(axis=0) + reach
        found.append(cover([(low[0], low[1], high[0], high[1])], size, grid))
    return np.stack(found)


def mistake_cover(
    times: NDArray[np.float64], truth: Truth, size: tuple[int, int], grid: tuple[int, int]
) -> NDArray[np.float64]:
    """(T, H, W) share of each cell that boxes of a step's mistakes cover; arguments as above.

    A step has the mistakes that overlap it. Without one its cells are all 0.
    """
    found = []
    for start, _, end in times:
        boxes: list[Box] = [
            m.box for m in truth.mistakes if m.start_seconds < end and m.end_seconds > start
        ]
        found.append(cover(boxes, size, grid))
    return np.stack(found)


def cover(
    boxes: Sequence[tuple[float, float, float, float]],
    size: tuple[int, int],
    grid: tuple[int, int],
) -> NDArray[np.float64]:
    """(H, W) share of each cell that boxes cover; of boxes that overlap, the larger share.

    Args:
        boxes: x0, y0, x1, y1 each, in pixels; what lies outside the picture covers nothing.
        size: width and height of the picture in pixels.
        grid: H and W, cells that the picture is cut into.
    """
    height, width = grid
    found = np.zeros(grid)
    for x0, y0, x1, y1 in boxes:
        columns = _overlaps(x0 * width / size[0], x1 * width / size[0], width)
        rows = _overlaps(y0 * height / size[1], y1 * height / size[1], height)
        found = np.maximum(found, rows[:, None] * columns)
    return found


def _overlaps(start: float, end: float, cells: int) -> NDArray[np.float64]:
    """(N,) length that a span has in common with each of N cells of length 1."""
    left = np.arange(cells)
    return np.asarray((np.minimum(left + 1, end) - np.maximum(left, start)).clip(min=0))


def mass_inside(attention: NDArray[np.float64], covered: NDArray[np.float64]) -> float:
    """Share of a map's weight that lies in a region, as a mean over the steps that have one.

    Args:
        attention: (T, H, W) not negative; each step is divided by its sum.
        covered: (T, H, W) share of each cell that the region covers.

    Returns:
        From 0 to 1; nan where no step has a region. Of a map that is the same everywhere it is the
        region's share of the picture, which chance would reach.
    """
    inside = (attention * covered).sum(axis=(1, 2)) / attention.sum(axis=(1, 2))
    kept = covered.any(axis=(1, 2))
    return float(inside[kept].mean()) if kept.any() else float("nan")
