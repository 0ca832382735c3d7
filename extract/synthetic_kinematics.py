"""What sensors in both tools would have measured: a table with one row a frame.

``aqakit store import-tracks`` takes it with ``--time seconds --group primary=primary --group
secondary=secondary``. Lengths are in short sides of the picture, speeds in short sides a second. Places are
measured from the machine that holds the tools, which stands somewhere else in each performance.
"""

import numpy as np
from numpy.typing import NDArray

from .synthetic_plan import Performance
from .synthetic_second import OWN_JOINTS, Points

_MOTION = ("x", "y", "vx", "vy", "speed")
PRIMARY = (*_MOTION, "acceleration", "closed", "distance", "target_x", "target_y", "placed")
SECONDARY = (*_MOTION, *OWN_JOINTS)
HEADER = (
    "seconds",
    *(f"primary.{name}" for name in PRIMARY),
    *(f"secondary.{name}" for name in SECONDARY),
)


def kinematics(performance: Performance) -> NDArray[np.float64]:
    """The table of a performance with two tools.

    Of the primary: place, velocity, speed, size of the acceleration, whether it holds a peg (1 or 0),
    where it has to go, how far that is, and how many pegs are in their holes. Of the secondary: place,
    velocity, speed and its joints.

    Returns:
        (F, 23) in the order of :data:`HEADER`.

    Raises:
        ValueError: there is no second tool.
    """
    if performance.second is None:
        raise ValueError(f"'{performance.id}' has no second tool")
    unit, fps = min(performance.size), performance.fps
    tool = performance.tool_path / unit + performance.second.base
    second = performance.second.path / unit + performance.second.own_base
    motion = _motion(tool, fps)
    change = np.diff(motion[:, 2:4], axis=0, prepend=motion[:1, 2:4]) * fps
    target, placed = _target(performance)
    target = target / unit + performance.second.base
    primary = [
        motion,
        np.hypot(*change.T),
        performance.held >= 0,
        np.hypot(*(target - tool).T),
        target,
        placed,
    ]
    seconds = np.arange(len(tool)) / fps
    return np.column_stack([seconds, *primary, _motion(second, fps), performance.second.joints])


def _motion(path: Points, fps: float) -> NDArray[np.float64]:
    """(F, 5) place, velocity since the frame before, and speed."""
    velocity = np.diff(path, axis=0, prepend=path[:1]) * fps
    return np.column_stack([path, velocity, np.hypot(*velocity.T)])


def _target(performance: Performance) -> tuple[Points, NDArray[np.int64]]:
    """(F, 2) where the tool has to go in pixels, and (F,) how many pegs are in their holes.

    That is the hole of the peg that it holds, or the next peg, or, after the last one, where it rests.
    """
    held, pegs = performance.held, performance.peg_paths
    frames, count = pegs.shape[:2]
    # A peg is in its hole from when it is held for the last time.
    after = [int(np.flatnonzero(held == peg).max(initial=-1)) + 1 for peg in range(count)]
    placed = (np.arange(frames)[:, None] >= after).sum(axis=1)
    target = np.repeat(performance.tool_path[-1:], frames, axis=0)
    for frame in range(frames):
        if held[frame] >= 0:
            target[frame] = performance.holes[held[frame]]
        elif placed[frame] < count:
            target[frame] = pegs[frame, placed[frame]]
    return target, placed
