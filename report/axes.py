"""Axes of a drawing: round numbers that cover the data, and where a value lies."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

# Numbers outside of these are written with an exponent.
_PLAIN_LEAST, _PLAIN_MOST = 1e-4, 1e6
# Values that differ by a smaller share of their size are one value with rounding errors.
_SAME = 1e-9
# Squares and differences of larger numbers overflow, and no score or loss is as large.
_LARGEST = 1e150
# Likewise smaller ones: powers of ten that small are no round numbers any more.
SMALLEST = 1 / _LARGEST


class Tick(NamedTuple):
    """A mark of an axis.

    Args:
        value: that it marks.
        at: its coordinate.
        label: what is written beside it.
    """

    value: float
    at: float
    label: str


@dataclass(frozen=True)
class Axis:
    """A direction of a drawing.

    Args:
        low: value at the start.
        high: value at the end.
        start: coordinate of ``low``.
        end: coordinate of ``high``; less than ``start`` where values grow upwards.
        values: of the ticks, growing.
        labels: of the ticks.
        logarithmic: whether equal factors, not differences, take equal room.
    """

    low: float
    high: float
    start: float
    end: float
    values: tuple[float, ...]
    labels: tuple[str, ...]
    logarithmic: bool = False

    def place(self, values: ArrayLike) -> NDArray[np.float64]:
        """Coordinates of values; of a value beyond an end of a logarithmic axis, that end's."""
        there, low, high = np.asarray(values, dtype=np.float64), self.low, self.high
        if self.logarithmic:
            there = np.log10(np.clip(there, low, high))
            low, high = math.log10(low), math.log10(high)
        share = (there - low) / (high - low)
        return np.asarray(self.start + share * (self.end - self.start))

    @property
    def ticks(self) -> tuple[Tick, ...]:
        """In order of value."""
        places = self.place(self.values).tolist()
        return tuple(Tick(*own) for own in zip(self.values, places, self.labels, strict=True))


def drawable(values: ArrayLike) -> NDArray[np.bool_]:
    """Which values have a place on an axis: those that are numbers, and not absurdly large."""
    return np.asarray(np.abs(np.asarray(values, dtype=np.float64)) < _LARGEST)


def linear_axis(values: ArrayLike, start: float, end: float, steps: int = 5) -> Axis:
    """An axis from one round number to another, with all values between.

    Args:
        values: at least one, finite.
        start: coordinate of the first tick.
        end: coordinate of the last tick.
        steps: between ticks, at most about so many.

    Raises:
        ValueError: no values, or one that is not finite or too large to draw.
    """
    there = _cleaned(values)
    least, most = float(there.min()), float(there.max())
    if most - least <= _SAME * max(abs(least), abs(most)):
        margin = 0.1 * abs(most) or 1.0
        least, most = least - margin, most + margin
    step = _round_step((most - least) / steps)
    first, last = math.floor(least / step), math.ceil(most / step)
    # Multiples, not sums, of the step: 0.1 three times is not 0.3.
    ticks = tuple(number * step for number in range(first, last + 1))
    return Axis(ticks[0], ticks[-1], start, end, ticks, labels_of(ticks, step))


def log_axis(values: ArrayLike, start: float, end: float, decades: int = 4) -> Axis:
    """An axis of powers of ten up to the largest value.

    Args:
        values: of which at least one is above 0.
        start: coordinate of the lowest power.
        end: coordinate of the highest.
        decades: how many are shown at most; lower values lie on the lower end.

    Raises:
        ValueError: no value is above 0, or one is not finite or too large to draw.
    """
    known = _cleaned(values)
    if not (known > 0).any():
        raise ValueError("values must hold one above 0")
    top = _power_not_below(float(known.max()))
    bottom = -_power_not_below(1 / float(known[known > 0].min()))
    bottom = max(min(bottom, top - 1), top - decades)
    ticks = tuple(10.0**power for power in range(bottom, top + 1))
    labels = tuple(label for tick in ticks for label in labels_of((tick,), tick))
    return Axis(ticks[0], ticks[-1], start, end, ticks, labels, logarithmic=True)


def labels_of(values: Sequence[float], step: float) -> tuple[str, ...]:
    """Each value with as many digits as tell it from others a step apart.

    Args:
        values: multiples of the step.
        step: above 0.
    """
    largest = max(map(abs, values))
    fine = math.floor(math.log10(step) + _SAME)
    if largest >= _PLAIN_MOST or step < _PLAIN_LEAST:
        digits = max(0, math.floor(math.log10(largest or 1.0)) - fine)
        return tuple(_exponent(f"{value:.{digits}e}") for value in values)
    return tuple(signed(f"{value:.{max(0, -fine)}f}") for value in values)


def signed(number: str) -> str:
    """A number with a minus sign instead of a hyphen, and none before a mere zero."""
    return number.replace("-", "−" if number.strip("-0.") else "")


def _exponent(number: str) -> str:
    mantissa, power = number.split("e")
    if not mantissa.strip("-0."):
        return "0"
    return signed(f"{mantissa}e{int(power)}")


def _cleaned(values: ArrayLike) -> NDArray[np.float64]:
    """The values, of which those too small to draw are 0."""
    there = np.asarray(values, dtype=np.float64)
    if not there.size:
        raise ValueError("values are empty; an axis needs at least one")
    if not (sound := drawable(there)).all():
        raise ValueError(f"values hold {there[~sound][0]}; each must be between ±{_LARGEST}")
    return np.where(np.abs(there) < SMALLEST, 0.0, there)


def _round_step(least: float) -> float:
    """The smallest of 1, 2 and 5 times a power of ten that is not below."""
    power = math.floor(math.log10(least))
    steps = (factor * 10.0**exponent for exponent in (power, power + 1) for factor in (1, 2, 5))
    return next(step for step in steps if step >= least * (1 - _SAME))


def _power_not_below(value: float) -> int:
    return math.ceil(math.log10(value) - _SAME)
