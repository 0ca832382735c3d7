"""The sheet that a figure is drawn on: a plot with its axes, and above it what its signs mean.

Lengths are in units of the drawing, of which the whole width has 400. A figure fills the width of a
phone, about 320 pixels, and letters of 16 units are then 13 pixels high (``templates/figures.css``).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .axes import Axis, linear_axis

Macro = Literal["points", "lines", "cells"]

WIDTH = 400.0
LINE = 22.0
# A little more than the mean width of letters and digits of common fonts.
LETTER = 8.8
SIGN = 22.0
_PLOT = 260.0
_RIGHT = 24.0
_EDGE = 10.0
_MOST_LETTERS = 80
_SAME = 1e-12
# What no XML may hold, and what turns the direction of all text after it.
_UNPRINTABLE = re.compile(
    "[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]|[\u202a-\u202e\u2066-\u2069\u007f-\u009f]"
)


@dataclass(frozen=True)
class Key:
    """What a sign of the drawing means.

    Args:
        words: a few.
        shape: of the sign, as the template calls it; ``line`` for a line.
        look: its classes.
        x: coordinate of the sign's centre, once it has a place.
        y: likewise.
    """

    words: str
    shape: str
    look: str
    x: float = 0.0
    y: float = 0.0


@dataclass(frozen=True)
class Panel:
    """A plot and what stands around it.

    Args:
        x: to the right.
        y: upwards.
        x_title: below; empty for none.
        y_title: above the upper end of the axis, so that nobody turns the head; empty for none.
        keys: with their places.
    """

    x: Axis
    y: Axis
    x_title: str
    y_title: str
    keys: tuple[Key, ...]

    @property
    def height(self) -> float:
        """Of the whole drawing."""
        below = LINE * bool(self.x.values) + LINE * bool(self.x_title)
        return self.y.start + below + 8


@dataclass(frozen=True)
class Drawing:
    """A figure that is not SVG yet.

    Args:
        id: of its element, unique on the page; the ids of its parts begin with it.
        title: a few words.
        caption: what is to be seen, and how far to trust it.
        summary: the same figure for somebody who cannot see it.
        macro: that draws it.
        content: what the macro draws.
        height: in units.
    """

    id: str
    title: str
    caption: str
    summary: str
    macro: Macro
    content: object
    height: float


def make_panel(
    keys: Iterable[Key],
    y_title: str,
    x_title: str,
    y_axis: Callable[[float, float], Axis],
    x_values: ArrayLike,
    x_steps: int = 5,
) -> Panel:
    """Lay out a plot whose axes have ticks.

    Args:
        keys: without places.
        y_title: what grows upwards.
        x_title: what grows to the right.
        y_axis: from the coordinates of its start and end.
        x_values: that the axis to the right covers.
        x_steps: between its ticks, at most about so many.
    """
    placed, top = in_rows(keys)
    top += LINE + 6
    y = y_axis(top + _PLOT, top)
    left = 14 + LETTER * max(map(len, y.labels))
    return Panel(_roomy_axis(x_values, left, x_steps), y, x_title, y_title, placed)


def make_map(keys: Iterable[Key], places: NDArray[np.float64], below_keys: float) -> Panel:
    """Lay out a plot whose directions have no unit: a distance is as long in both of them.

    Args:
        keys: without places.
        places: (N, 2), finite, at least one.
        below_keys: room that is kept free between them and the plot.
    """
    placed, top = in_rows(keys)
    top += below_keys
    room = np.array([WIDTH - 2 * _EDGE, _PLOT])
    least, most = places.min(axis=0), places.max(axis=0)
    # Of what one unit of the drawing stands for, whichever direction needs more.
    unit = float(((most - least) / (room - 2 * _EDGE)).max())
    # Differences that are mere rounding are not drawn large.
    unit = unit if unit > _SAME * max(1e-100, np.abs(places).max()) else 1.0
    (left, low), (right, high) = ((least + most + sign * unit * room) / 2 for sign in (-1, 1))
    x = Axis(float(left), float(right), _EDGE, WIDTH - _EDGE, (), ())
    y = Axis(float(low), float(high), top + _PLOT, top, (), ())
    return Panel(x, y, "", "", placed)


def in_rows(keys: Iterable[Key]) -> tuple[tuple[Key, ...], float]:
    """Keys with places, in rows as wide as the drawing, and where the last row ends."""
    placed, x, y = [], 0.0, 0.0
    for key in keys:
        width = SIGN + 6 + LETTER * len(key.words) + 12
        if x and x + width > WIDTH + 12:
            x, y = 0.0, y + LINE
        placed.append(Key(key.words, key.shape, key.look, x + SIGN / 2, y + LINE / 2))
        x += width
    return tuple(placed), y + LINE * bool(placed)


def shown(text: str) -> str:
    """Any text as a short line that disturbs neither the drawing nor the text around it.

    Args:
        text: for example the id of a video.
    """
    line = _UNPRINTABLE.sub("\ufffd", " ".join(text.split()))
    return line if len(line) <= _MOST_LETTERS else line[: _MOST_LETTERS - 1] + "…"


def _roomy_axis(values: ArrayLike, left: float, steps: int) -> Axis:
    """To the right, with so few ticks that their labels do not touch."""
    room = WIDTH - _RIGHT - left
    for fewer in range(steps, 0, -1):
        axis = linear_axis(values, left, WIDTH - _RIGHT, fewer)
        if (1.5 + max(map(len, axis.labels))) * LETTER * (len(axis.labels) - 1) <= room:
            break
    return axis
