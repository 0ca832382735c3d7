"""Compare what a head points at, in time or in the picture, with what really happened.

``truth.json`` of a generated set says when each mistake happened and where the tool was. A head
points at steps (attention, faulty clips) or at places of a map; this file says how often it is right,
beside what chance would reach.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .synthetic_plan import Box, Mistake

# Least share of a step that mistakes must fill for the step to be one.
_LEAST_SHARE = 0.5
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


def mistaken_share(times: NDArray[np.float64], mistakes: Iterable[Mistake]) -> NDArray[np.float64]:
    """(T,) share of each step that mistakes fill; where several overlap, time counts once.

    Args:
        times: (T, 3) start, centre and end of each step in seconds, of which end is after start.
        mistakes: of the video.
    """
    filled = np.zeros(len(times))
    for start, end in _merged((m.start_seconds, m.end_seconds) for m in mistakes):
        filled += (np.minimum(times[:, 2], end) - np.maximum(times[:, 0], start)).clip(min=0)
    return np.asarray(filled / (times[:, 2] - times[:, 0]))


def mistaken(times: NDArray[np.float64], mistakes: Iterable[Mistake]) -> NDArray[np.bool_]:
    """(T,) whether mistakes fill half of a step or more; arguments as above."""
    # Shares are sums of differences of times: a half may come out as a little less.
    return mistaken_share(times, mistakes) >= _LEAST_SHARE - 1e-9


def _merged(spans: Iterable[tuple[float, float]]) -> list[tuple[float, float]]:
    """Spans that do not overlap and fill the same time."""
    found: list[tuple[float, float]] = []
    for start, end in sorted(spans):
        if found and start <= found[-1][1]:
            found[-1] = found[-1][0], max(found[-1][1], end)
        else:
            found.append((start, end))
    return found


@dataclass(frozen=True)
class Pointing:
    """How well steps that were pointed at are those of mistakes; counts of any number of videos add.

    Args:
        pointed: steps pointed at.
        right: of these, steps of mistakes.
        wanted: steps of mistakes.
        steps: all of them.
        by_chance: steps of mistakes that are expected among as many steps of each video, drawn at
            random.
    """

    pointed: int = 0
    right: int = 0
    wanted: int = 0
    steps: int = 0
    by_chance: float = 0.0

    def __add__(self, other: "Pointing") -> "Pointing":
        return Pointing(
            self.pointed + other.pointed,
            self.right + other.right,
            self.wanted + other.wanted,
            self.steps + other.steps,
            self.by_chance + other.by_chance,
        )

    @property
    def precision(self) -> float:
        """Share of the steps pointed at that are of mistakes; nan where there are none."""
        return _ratio(self.right, self.pointed)

    @property
    def recall(self) -> float:
        """Share of the steps of mistakes that were pointed at; nan where there are none."""
        return _ratio(self.right, self.wanted)

    @property
    def share(self) -> float:
        """Share of steps of mistakes: the precision of pointing anywhere in any video."""
        return _ratio(self.wanted, self.steps)

    @property
    def chance(self) -> float:
        """Precision of as many steps of each video, drawn at random.

        It is above :attr:`share` for a head that points more often in videos with more mistakes,
        which does not take knowing where in a video they are.
        """
        return _ratio(self.by_chance, self.pointed)


def pointing(pointed: NDArray[np.bool_], wanted: NDArray[np.bool_]) -> Pointing:
    """Compare the steps of one video.

    Args:
        pointed: (T,) which ones a head points at.
        wanted: (T,) which ones are of mistakes.

    Raises:
        ValueError: shapes differ.
    """
    if pointed.shape != wanted.shape or pointed.ndim != 1:
        raise ValueError(f"pointed {pointed.shape} and wanted {wanted.shape} must both be (T,)")
    count, known = int(pointed.sum()), int(wanted.sum())
    right = int((pointed & wanted).sum())
    return Pointing(count, right, known, len(wanted), count * known / max(1, len(wanted)))


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else float("nan")


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
