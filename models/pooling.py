"""What a video's segments become before a plain estimator sees them: one vector of a fixed size."""

from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

Statistics = Literal["mean", "mean-deviation", "first"]


class Pooling(Protocol):
    """(T, C) segments to (D,) numbers, D a multiple of C, however many segments there are."""

    @property
    def per_channel(self) -> int:
        """D / C, the numbers a channel."""

    def pool(self, values: NDArray[Any]) -> NDArray[np.float64]:
        """(D,) numbers of (T, C) segments."""

    def shares(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """(T, D) what each segment adds to each number; they sum to :meth:`pool`."""

    def without_each(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """(T, D) numbers of the video without each of its segments; of the one that it has, if so."""


def pooling_of(statistics: Statistics) -> Pooling:
    """What a user names: ``mean``, ``mean-deviation`` or ``first``."""
    return Beginning() if statistics == "first" else Moments(statistics)


@dataclass(frozen=True)
class Beginning:
    """The first segment alone.

    A control: what it can tell was there before the action had begun, so it is no skill.
    """

    per_channel: int = 1

    def pool(self, values: NDArray[Any]) -> NDArray[np.float64]:
        """See :class:`Pooling`."""
        return np.asarray(values[0], dtype=np.float64)

    def shares(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """See :class:`Pooling`."""
        found = np.zeros_like(values)
        found[0] = values[0]
        return found

    def without_each(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """See :class:`Pooling`."""
        found = np.repeat(values[:1], len(values), axis=0)
        found[0] = values[min(1, len(values) - 1)]
        return found


@dataclass(frozen=True)
class Moments:
    """Statistics of each channel over the segments.

    Args:
        statistics: C means, and then, if so, C standard deviations.
    """

    statistics: Literal["mean", "mean-deviation"]

    @property
    def per_channel(self) -> int:
        """See :class:`Pooling`."""
        return {"mean": 1, "mean-deviation": 2}[self.statistics]

    def pool(self, values: NDArray[Any]) -> NDArray[np.float64]:
        """See :class:`Pooling`."""
        mean = values.mean(axis=0, dtype=np.float64)
        if self.statistics == "mean":
            return np.asarray(mean)
        return np.concatenate([mean, values.std(axis=0, dtype=np.float64)])

    def shares(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """See :class:`Pooling`.

        A mean is the sum of x_t / T. A standard deviation s is the sum of (x_t - mean)^2 / (T s),
        given mean and s; where s is 0, so is every share.
        """
        count = len(values)
        if self.statistics == "mean":
            return values / count
        deviation = values.std(axis=0)
        squares = (values - values.mean(axis=0)) ** 2
        ratio = np.divide(squares, deviation, out=np.zeros_like(squares), where=deviation > 0)
        return np.concatenate([values, ratio], axis=1) / count

    def without_each(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """See :class:`Pooling`."""
        if len(values) == 1:
            return self.pool(values)[None]
        # Sums less one term, of values about their mean: sums of raw squares would lose the digits.
        mean, rest = values.mean(axis=0), len(values) - 1
        centred = values - mean
        shift = -centred / rest  # (T, C) from the mean of all to the mean without one
        if self.statistics == "mean":
            return np.asarray(mean + shift)
        squares = ((centred**2).sum(axis=0) - centred**2) / rest
        return np.concatenate([mean + shift, np.sqrt((squares - shift**2).clip(min=0))], axis=1)
