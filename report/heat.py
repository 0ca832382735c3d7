"""Figures over all videos as coloured squares, such as how alike the filters of a head attend."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .axes import drawable, signed
from .page import Page
from .panel import LINE, WIDTH, Drawing, shown

# From the least to the greatest; the middle one is around 0.
SHADES = 11
MOST_NUMBERED = 12
# More labels of rows or columns would touch.
_MOST_LABELS = 12
_GREATEST_SIDE, _GREATEST_HEIGHT = 52.0, 480.0
# Above the squares are the bar of colours, what runs across and down, and the numbers of columns.
_LEFT, _TOP = 40.0, 4 * LINE + 6
_HALF_LETTER = 5.5
# The widest that common fonts have: numbers of neighbours must not touch.
_DIGIT = 9.8
_LEADING_ZERO = re.compile(r"^(−?)0\.")


class Words(NamedTuple):
    """What a table shows.

    Args:
        title: of the figure.
        row: what a row is.
        column: what a column is.
        limit: greatest value that is possible; 0 where that is not known.
        meaning: of a square, and how far to trust it.
    """

    title: str
    row: str
    column: str
    limit: float = 0.0
    meaning: str = "Figures over all videos."


_KNOWN = {
    "filter_correlation": Words(
        "How alike the filters attend",
        "high-skill filter",
        "low-skill filter",
        1.0,
        "Each square compares when a filter for high skill and one for low skill attend: 1 at the "
        "same moments, 0 unrelated, −1 one where the other does not. Low numbers mean that the two "
        "look at different moments, not that these are the right ones.",
    )
}


class Label(NamedTuple):
    """Text of the drawing.

    Args:
        text: what it says.
        x: coordinate of its middle.
        y: coordinate of its base line.
        look: its classes; empty for those of all labels.
    """

    text: str
    x: float
    y: float
    look: str = ""


class Grid(NamedTuple):
    """Where squares lie.

    Args:
        left: coordinate of the first column.
        top: coordinate of the first row.
        side: length of a square.
    """

    left: float
    top: float
    side: float

    @classmethod
    def of(cls, shape: tuple[int, ...]) -> Grid:
        """The largest squares of which (n, m) fit."""
        rows, columns = shape
        side = min((WIDTH - _LEFT - 4) / columns, _GREATEST_HEIGHT / rows, _GREATEST_SIDE)
        return cls(_LEFT, _TOP, side)

    def label(self, text: str, row: float, column: float, look: str = "") -> Label:
        """Text in the middle of a square."""
        x, y = self.left + (column + 0.5) * self.side, self.top + (row + 0.5) * self.side
        return Label(text, round(x, 1), round(y + _HALF_LETTER, 1), look)

    def names(self, shape: tuple[int, ...]) -> list[Label]:
        """Numbers of the rows and columns, or of some, so that they do not touch."""
        rows, columns = (range(0, length, -(-length // _MOST_LABELS)) for length in shape)
        before = [self.label(str(row + 1), row, 0)._replace(x=self.left - 16) for row in rows]
        above = [self.label(str(c + 1), 0, c)._replace(y=self.top - 7) for c in columns]
        return before + above

    def path(self, those: NDArray[np.bool_]) -> str:
        """Squares of one shade as one path: thousands of them stay light."""
        side = f"{self.side:.1f}"
        return "".join(
            f"M{self.left + column * self.side:.1f} {self.top + row * self.side:.1f}"
            f"h{side}v{side}h-{side}z"
            for row, column in np.argwhere(those).tolist()
        )


@dataclass(frozen=True)
class Cells:
    """What the template draws.

    Args:
        words: names of rows and columns.
        squares: path of all of a shade, by its place on the ramp; -1 for those without a value.
        labels: numbers of rows, columns and squares.
        ends: least and greatest value of the bar that shows the colours.
        shades: number of colours.
    """

    words: Words
    squares: Mapping[int, str]
    labels: tuple[Label, ...]
    ends: tuple[str, str]
    shades: int = SHADES


def table_figures(page: Page) -> list[Drawing]:
    """One figure a table that has a number.

    Args:
        page: of a run.

    Raises:
        ValueError: a table is not (n, m).
    """
    found = []
    for place, (name, table) in enumerate(page.tables.items(), 1):
        if table.ndim != 2:
            raise ValueError(f"table '{name}' is of shape {table.shape}; it must be (n, m)")
        if drawable(table).any():
            found.append(_figure(f"figure-table-{place}", name, table))
    return found


def shades_of(table: NDArray[np.float64], limit: float) -> NDArray[np.int64]:
    """(n, m) place of each number on a ramp from -limit to limit; -1 of nan."""
    share = np.clip((table / limit + 1) / 2, 0, 1)
    known = np.isfinite(share)
    return np.where(known, np.where(known, share, 0) * (SHADES - 1) + 0.5, -1).astype(np.int64)


def texts_of(table: NDArray[np.float64], side: float) -> list[list[str]]:
    """The numbers as text that fits into squares.

    Args:
        table: (n, m), nan where there is no number.
        side: of a square.

    Returns:
        With two decimals, else with one and no zero before it; nothing where neither fits.
    """
    for write in (_two_decimals, _one_decimal):
        rows = [[write(value) if np.isfinite(value) else "–" for value in row] for row in table]
        width = _DIGIT * max(len(text) for row in rows for text in row)
        if max(width, LINE) <= side:
            return rows
    return []


def _figure(id: str, name: str, table: NDArray[np.float64]) -> Drawing:
    table = np.where(drawable(table), table, np.nan)
    words = _KNOWN.get(name) or Words(_titled(name), "row", "column")
    least, most = float(np.nanmin(table)), float(np.nanmax(table))
    limit = words.limit or max(abs(least), abs(most)) or 1.0
    grid = Grid.of(table.shape)
    missing = int(np.isnan(table).sum())
    return Drawing(
        id,
        words.title,
        words.meaning + f" Squares without a number: {missing}." * bool(missing),
        f"{table.shape[0]} by {table.shape[1]} numbers from {_two_decimals(least)} to "
        f"{_two_decimals(most)}, on average {_two_decimals(float(np.nanmean(table)))}.",
        "cells",
        _cells(table, words, grid, limit),
        grid.top + grid.side * table.shape[0] + 4,
    )


def _cells(table: NDArray[np.float64], words: Words, grid: Grid, limit: float) -> Cells:
    shades = shades_of(table, limit)
    numbers = texts_of(table, grid.side) if table.shape[1] <= MOST_NUMBERED else []
    labels = grid.names(table.shape)
    for row, texts in enumerate(numbers):
        for column, text in enumerate(texts):
            shade = int(shades[row, column])
            labels.append(grid.label(text, row, column, f"on-{shade}" if shade >= 0 else ""))
    squares = {shade: grid.path(shades == shade) for shade in np.unique(shades).tolist()}
    ends = (signed(f"{-limit:.3g}"), f"{limit:.3g}")
    return Cells(words, squares, tuple(labels), ends)


def _titled(name: str) -> str:
    text = shown(name.replace("_", " "))
    return text[:1].upper() + text[1:]


def _two_decimals(value: float) -> str:
    return signed(f"{value:.2f}")


def _one_decimal(value: float) -> str:
    return _LEADING_ZERO.sub(r"\1.", signed(f"{value:.1f}").removesuffix(".0"))
