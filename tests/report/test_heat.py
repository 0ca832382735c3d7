"""Tables as coloured squares: blue below zero, orange above, with numbers where they fit."""

import math
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from aqakit.report.heat import SHADES, Cells, shades_of, table_figures, texts_of
from aqakit.report.page import Page
from aqakit.report.panel import WIDTH, Drawing

NAN = math.nan
CORRELATION = np.array([[1.0, -0.5], [0.04, NAN]])


def figures(**tables: NDArray[np.float64]) -> list[Drawing]:
    return table_figures(Page("head", [], [], [], [], [], tables=tables))


def drawn(figure: Drawing) -> Cells:
    assert isinstance(figure.content, Cells) and figure.macro == "cells"
    return figure.content


def squares(content: Cells) -> dict[tuple[float, float], tuple[int, float]]:
    """By corner, the shade and the side."""
    found = {}
    for shade, path in content.squares.items():
        for x, y, side, down, back in re.findall(
            r"M([\d.]+) ([\d.]+)h([\d.]+)v([\d.]+)h-([\d.]+)z", path
        ):
            assert side == down == back
            found[float(x), float(y)] = shade, float(side)
    return found


def test_a_row_is_a_high_skill_filter_and_a_column_a_low_skill_one() -> None:
    (figure,) = figures(filter_correlation=CORRELATION)
    content = drawn(figure)
    assert (content.words.row, content.words.column) == ("high-skill filter", "low-skill filter")
    assert content.ends == ("−1", "1")
    side = 52.0
    assert squares(content) == {
        (40.0, 94.0): (10, side),
        (92.0, 94.0): (3, side),
        (40.0, 146.0): (5, side),
        (92.0, 146.0): (-1, side),
    }
    by_text = {label.text: label for label in content.labels}
    assert set(by_text) == {"1", "2", "1.00", "−0.50", "0.04", "–"}
    assert [by_text[text].x for text in ("1.00", "−0.50", "0.04", "–")] == [66, 118, 66, 118]
    assert by_text["1.00"].y == by_text["−0.50"].y == 125.5
    assert by_text["0.04"].y == by_text["–"].y == 177.5
    assert [by_text[text].look for text in ("1.00", "−0.50", "–")] == ["on-10", "on-3", ""]
    assert figure.height > 146 + side
    assert "Squares without a number: 1." in figure.caption
    assert figure.summary == "2 by 2 numbers from −0.50 to 1.00, on average 0.18."


@given(arrays(np.float64, (3, 4), elements=st.floats(-1, 1)))
def test_shades_are_even_around_zero(table: NDArray[np.float64]) -> None:
    shades = shades_of(table, 1.0)
    assert ((shades >= 0) & (shades < SHADES)).all()
    # The middle of a shade's range is at most half a step from each of its numbers.
    assert (np.abs(shades - 5 - table * 5) <= 0.5 + 1e-9).all()
    far = np.abs(table * 5 - np.round(table * 5)) < 0.49
    assert (shades_of(-table, 1.0)[far] == (SHADES - 1 - shades)[far]).all()


def test_shades_know_their_limit_and_what_is_unknown() -> None:
    assert shades_of(np.array([[-8.0, 0.0, 4.0, 8.0, NAN, 99.0]]), 8.0).tolist() == [
        [0, 5, 8, 10, -1, 10]
    ]


@pytest.mark.parametrize(
    ("side", "expected"),
    [
        (52.0, [["−0.25", "0.00", "1.00", "–"]]),
        (40.0, [["−.2", "0", "1", "–"]]),
        (29.0, []),
    ],
)
def test_numbers_are_as_long_as_squares_are_wide(side: float, expected: list[list[str]]) -> None:
    assert texts_of(np.array([[-0.25, -0.001, 1.0, NAN]]), side) == expected


def test_short_numbers_keep_their_tens() -> None:
    assert texts_of(np.array([[10.0, 0.5, -0.5, -10.04, 0.96]]), 48.0) == [
        ["10", ".5", "−.5", "−10", "1"]
    ]
    assert texts_of(np.array([[1.0]]), 21.0) == []


@pytest.mark.parametrize("columns", [1, 6, 7, 12])
def test_up_to_twelve_columns_are_numbered(columns: int) -> None:
    content = drawn(figures(filter_correlation=np.full((columns, columns), -0.5))[0])
    looks = [label.look for label in content.labels]
    assert looks.count("on-3") == columns**2


def test_large_tables_have_no_numbers_few_names_and_little_weight() -> None:
    rng = np.random.default_rng(0)
    (figure,) = figures(filter_correlation=rng.uniform(-1, 1, (13, 40)))
    content = drawn(figure)
    assert all(not label.look for label in content.labels)
    names = [label.text for label in content.labels]
    assert names == [
        *map(str, range(1, 14, 2)),
        *map(str, range(1, 41, 4)),
    ]
    assert len(squares(content)) == 13 * 40
    assert sum(map(len, content.squares.values())) < 13 * 40 * 32


@given(st.integers(1, 60), st.integers(1, 60))
def test_squares_lie_side_by_side_inside_the_drawing(rows: int, columns: int) -> None:
    (figure,) = figures(some=np.ones((rows, columns)))
    found = squares(drawn(figure))
    assert len(found) == rows * columns
    (_, side) = next(iter(found.values()))
    assert max(x for x, _ in found) + side <= WIDTH
    assert max(y for _, y in found) + side <= figure.height + 0.1 < 600
    across = sorted({x for x, _ in found})
    assert np.diff(across) == pytest.approx(np.full(columns - 1, side), abs=0.11)


def test_other_tables_go_by_their_own_name_and_range() -> None:
    first, second = figures(
        step_weight=np.array([[0.0, -2.5]]), gone=np.array([[NAN]]), zero=np.zeros((1, 1))
    )
    assert (first.id, second.id) == ("figure-table-1", "figure-table-3")
    assert first.title == "Step weight"
    content = drawn(first)
    assert content.ends == ("−2.5", "2.5")
    assert sorted(content.squares) == [0, 5]
    assert (content.words.row, content.words.column) == ("row", "column")
    assert list(drawn(second).squares) == [5]


def test_an_infinite_number_is_none() -> None:
    (figure,) = figures(some=np.array([[math.inf, 1.0]]))
    assert sorted(drawn(figure).squares) == [-1, 10]


def test_no_numbers_no_figure() -> None:
    assert figures() == figures(a=np.empty((0, 3)), b=np.full((2, 2), NAN)) == []


def test_a_table_of_another_shape_is_refused() -> None:
    with pytest.raises(ValueError, match=r"table 'some' is of shape \(3,\); it must be \(n, m\)"):
        figures(some=np.zeros(3))
