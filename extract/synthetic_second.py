"""Script an assisting tool that has to follow the tool that carries pegs.

The assisting tool has a frame of its own: where it should be is a fixed linear function of where the
steady hand of the first tool is, the same in every video (see :func:`follow`). On top of that it has
motion of its own that says nothing: it sways about that place, and its wrist turns, opens and reaches
as it likes. Synchronisation in [0, 1] sets how much of three mistakes happens: lag (it comes too
late), drift (it leaves its place) and wrong way (it goes where it should come from). They show in
where one tool is relative to the other more than in what either does alone.

The first tool drives and the second one answers: a mistake of the first moves both, one of the second
moves the second alone.

Lengths are in short sides of the picture.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from .synthetic_chance import stretches

FaultKind = Literal["lag", "drift", "wrong-way"]
Points = NDArray[np.float64]

# Joints of the assisting tool that the rule says nothing about.
OWN_JOINTS = ("roll", "pitch", "yaw", "jaw", "elbow", "reach")

# The middles of where the two tools work, in shares of the picture.
_LEADER_MIDDLE, _MIDDLE = np.array([0.5, 0.55]), np.array([0.5, 0.8])
# Left and right are swapped, and less of the way is gone.
_RULE = np.array([[-0.6, 0.0], [0.0, 0.3]])

# What the seed varies and synchronisation does not: two slow waves of each coordinate.
_SWAY = np.array([0.015, 0.035])
_OWN_HERTZ = (0.05, 0.6)
_POSTURE, _BASE = 1.5, 1.0

# How much goes wrong at synchronisation 0: share of the time, and the range of one mistake. The best
# hand's rare mistakes are smaller than the worst one's by the last factor.
_FAULT_SHARE, _FAULT_SECONDS = 0.85, (0.6, 1.3)
_LAG_SECONDS, _DRIFT_LENGTH, _WRONG_WAY = (0.3, 0.6), (0.1, 0.2), (2.0, 2.0)
_SMALLEST = 0.4
# Totals vary by this share either way between performances of one synchronisation.
_LUCK = 0.05


@dataclass(frozen=True, eq=False)
class Fault:
    """One mistake of the assisting tool; it sets in and ends by and by.

    Args:
        kind: what goes wrong.
        start_seconds: its beginning.
        end_seconds: its end.
        amount: seconds of a lag; short sides of a drift; of a wrong way, how many times the way that
            the tool should go is taken off.
        direction: (2,) unit vector of a drift.
    """

    kind: FaultKind
    start_seconds: float
    end_seconds: float
    amount: float
    direction: Points

    def depth(self, seconds: NDArray[np.float64]) -> NDArray[np.float64]:
        """(F,) how far it has set in at each time, from 0 to 1."""
        progress = (seconds - self.start_seconds) / (self.end_seconds - self.start_seconds)
        return (4 * np.minimum(progress, 1 - progress)).clip(0, 1)


@dataclass(frozen=True, eq=False)
class Second:
    """What the assisting tool does.

    Args:
        synchronisation: 0 (worst) to 1 (best).
        path: (F, 2) x and y of its tip in pixels, one row a frame.
        joints: (F, 6) its :data:`OWN_JOINTS`, in no unit.
        base: (2,) what sensors add to every place of the first tool, in short sides: the machine that
            holds both stands somewhere else in each performance.
    """

    synchronisation: float
    path: Points
    joints: NDArray[np.float64]
    base: Points

    @property
    def own_base(self) -> Points:
        """(2,) what they add to every place of this tool, so that the rule holds as it does else."""
        return np.asarray(_RULE @ self.base)


def follow(leader: Points, picture: Points) -> Points:
    """Where the assisting tool should be.

    Args:
        leader: (F, 2) where the steady hand of the first tool is.
        picture: (2,) width and height.

    Returns:
        (F, 2).
    """
    return np.asarray((leader - picture * _LEADER_MIDDLE) @ _RULE.T + picture * _MIDDLE)


def draw_faults(
    synchronisation: float, seconds: float, rng: np.random.Generator
) -> tuple[Fault, ...]:
    """Mistakes that do not overlap, anywhere in the performance.

    Args:
        synchronisation: 0 (worst) to 1 (best).
        seconds: how long the performance is.
        rng: of their kinds, times and sizes.
    """
    clumsiness = 1 - synchronisation
    total = _FAULT_SHARE * clumsiness * rng.uniform(1 - _LUCK, 1 + _LUCK) * seconds
    size = _SMALLEST + (1 - _SMALLEST) * clumsiness
    ranges = dict(zip(get_args(FaultKind), (_LAG_SECONDS, _DRIFT_LENGTH, _WRONG_WAY), strict=True))
    faults = []
    for start, end in stretches(total, _FAULT_SECONDS, seconds, rng):
        kind: FaultKind = rng.choice(get_args(FaultKind)).item()
        angle = rng.uniform(0, 2 * np.pi)
        direction = np.array([np.cos(angle), np.sin(angle)])
        faults.append(Fault(kind, start, end, size * rng.uniform(*ranges[kind]), direction))
    return tuple(faults)


def second_path(
    leader: Callable[[NDArray[np.float64]], Points],
    seconds: NDArray[np.float64],
    faults: Sequence[Fault],
    picture: Points,
    rng: np.random.Generator,
) -> Points:
    """Where the assisting tool is.

    Args:
        leader: where the steady hand of the first tool is at given times.
        seconds: (F,) times of the frames.
        faults: mistakes, of which no two overlap.
        picture: (2,) width and height.
        rng: of its sway.

    Returns:
        (F, 2), perhaps outside the picture.
    """
    late = [fault.amount * fault.depth(seconds) for fault in faults if fault.kind == "lag"]
    places = follow(leader((seconds - sum(late)).clip(0)), picture)
    for fault in faults:
        depth = fault.depth(seconds)[:, None]
        if fault.kind == "drift":
            places = places + depth * fault.amount * fault.direction
        elif fault.kind == "wrong-way":
            begun = follow(leader(np.array([fault.start_seconds])), picture)
            places = places - depth * fault.amount * (places - begun)
    return np.asarray(places + _SWAY * _waves(seconds, len(_SWAY), rng))


def own_joints(seconds: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    """(F, 6) what :data:`OWN_JOINTS` do: a posture of this performance, and waves about it."""
    posture = rng.normal(0, _POSTURE, len(OWN_JOINTS))
    return posture + _waves(seconds, len(OWN_JOINTS), rng)


def draw_base(rng: np.random.Generator) -> Points:
    """(2,) where the machine stands."""
    return rng.normal(0, _BASE, 2)


def _waves(
    seconds: NDArray[np.float64], count: int, rng: np.random.Generator
) -> NDArray[np.float64]:
    """(F, count) sums of two slow sines each, which nothing else knows about."""
    hertz, phase = rng.uniform(*_OWN_HERTZ, (2, count)), rng.uniform(0, 2 * np.pi, (2, count))
    return np.asarray(np.sin(2 * np.pi * hertz * seconds[:, None, None] + phase).sum(axis=1))
