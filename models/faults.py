"""How well the steps that a head calls faulty are those where something went wrong.

Precision and recall of faulty clips are those of table VIII of Jain et al. 2020, beside what chance
would reach.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# Shares are sums of differences of times: a half may come out as a little less.
_ROUNDING = 1e-9


def faulty_share(
    times: NDArray[np.float64], faults: Iterable[tuple[float, float]]
) -> NDArray[np.float64]:
    """(T,) share of each step that faults fill; where several overlap, time counts once.

    Args:
        times: (T, 3) start, centre and end of each step in seconds.
        faults: start and end of each in seconds, in any order.

    Raises:
        ValueError: another shape, or a step or fault that does not end after its start.
    """
    if times.ndim != 2 or times.shape[1] != 3:
        raise ValueError(f"times {times.shape} must be (T, 3)")
    starts, ends = times[:, 0], times[:, 2]
    wrong = np.flatnonzero(~(ends > starts))
    if len(wrong):
        step = times[wrong[0]].tolist()
        raise ValueError(f"times of step {wrong[0]} are {step}; its end must be after its start")
    filled = np.zeros(len(times))
    for start, end in _merged(faults):
        filled += (np.minimum(ends, end) - np.maximum(starts, start)).clip(min=0)
    return np.asarray(filled / (ends - starts))


def faulty_steps(
    times: NDArray[np.float64],
    faults: Iterable[tuple[float, float]],
    least_share: float = 0.0,
) -> NDArray[np.bool_]:
    """(T,) whether each step is faulty: faults fill some of it, and at least a share.

    Args:
        times: (T, 3) start, centre and end of each step in seconds.
        faults: start and end of each in seconds, in any order.
        least_share: from 0, where any overlap is enough, to 1.

    Raises:
        ValueError: a share outside [0, 1]; otherwise as :func:`faulty_share`.
    """
    if not 0 <= least_share <= 1:
        raise ValueError(f"least_share is {least_share}; it must be from 0 to 1")
    share = faulty_share(times, faults)
    return np.asarray((share > _ROUNDING) & (share >= least_share - _ROUNDING))


def _merged(faults: Iterable[tuple[float, float]]) -> list[tuple[float, float]]:
    """Spans that do not overlap and fill the same time."""
    found: list[tuple[float, float]] = []
    for start, end in sorted(faults):
        if not end > start:
            raise ValueError(f"a fault is {(start, end)}; its end must be after its start")
        if found and start <= found[-1][1]:
            found[-1] = found[-1][0], max(found[-1][1], end)
        else:
            found.append((start, end))
    return found


@dataclass(frozen=True)
class Detection:
    """Steps that were flagged against faulty ones; counts of any number of videos add.

    Args:
        flagged: steps that were flagged.
        right: of these, faulty ones.
        faulty: steps that are.
        steps: all of them.
        by_chance: faulty steps expected among as many steps of each video, drawn at random.
    """

    flagged: int = 0
    right: int = 0
    faulty: int = 0
    steps: int = 0
    by_chance: float = 0.0

    def __add__(self, other: "Detection") -> "Detection":
        return Detection(
            self.flagged + other.flagged,
            self.right + other.right,
            self.faulty + other.faulty,
            self.steps + other.steps,
            self.by_chance + other.by_chance,
        )

    @property
    def precision(self) -> float:
        """Share of flagged steps that are faulty; nan where none is flagged."""
        return _ratio(self.right, self.flagged)

    @property
    def recall(self) -> float:
        """Share of faulty steps that were flagged; nan where none is faulty."""
        return _ratio(self.right, self.faulty)

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall; nan where no step is flagged or faulty."""
        return _ratio(2 * self.right, self.flagged + self.faulty)

    @property
    def share(self) -> float:
        """Share of faulty steps: the precision of flagging steps of any video at random."""
        return _ratio(self.faulty, self.steps)

    @property
    def chance(self) -> float:
        """Precision of as many steps of each video, drawn at random.

        It is above :attr:`share` for a head that flags more steps of videos with more faults, which
        does not take knowing where in a video they are.
        """
        return _ratio(self.by_chance, self.flagged)


def detection(flagged: NDArray[np.bool_], faulty: NDArray[np.bool_]) -> Detection:
    """Compare the steps of one video.

    Args:
        flagged: (T,) by a head.
        faulty: (T,) in truth, of :func:`faulty_steps`.

    Raises:
        ValueError: shapes differ.
    """
    if flagged.shape != faulty.shape or flagged.ndim != 1:
        raise ValueError(f"flagged {flagged.shape} and faulty {faulty.shape} must both be (T,)")
    count, known = int(flagged.sum()), int(faulty.sum())
    right = int((flagged & faulty).sum())
    return Detection(count, right, known, len(faulty), count * known / max(1, len(faulty)))


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else float("nan")
