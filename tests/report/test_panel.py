"""How a drawing is laid out: nothing lies outside of it, and any text is one short line."""

import unicodedata
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aqakit.report.axes import Axis, linear_axis
from aqakit.report.panel import (
    LINE,
    WIDTH,
    Key,
    Panel,
    in_rows,
    make_map,
    make_panel,
    shown,
)

WORDS = st.lists(st.text("abc ", min_size=1, max_size=30), max_size=9)
NUMBERS = st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=5)


def keys(words: list[str]) -> list[Key]:
    return [Key(text, "circle", "") for text in words]


def panel(y: list[float], x: list[float], words: list[str] | None = None) -> Panel:
    def upwards(start: float, end: float) -> Axis:
        return linear_axis(y, start, end)

    return make_panel(keys(words or []), "score", "label", upwards, x)


@given(WORDS)
def test_keys_stand_in_order_in_rows_and_do_not_overlap(words: list[str]) -> None:
    placed, bottom = in_rows(keys(words))
    assert [key.words for key in placed] == words
    for one, two in pairwise(placed):
        if one.y == two.y:
            assert two.x - one.x > 8 * len(one.words) + 16
        else:
            assert (two.x, two.y) == (11, one.y + LINE)
    assert all(key.y < bottom for key in placed) and bottom <= LINE * len(words)


def test_a_key_that_does_not_fit_begins_a_row() -> None:
    placed, bottom = in_rows(keys(["a" * 14, "b" * 14, "c" * 14]))
    assert [key.y for key in placed] == [11, 11, 33] and bottom == 44
    assert in_rows([]) == ((), 0.0)


@given(NUMBERS, NUMBERS, WORDS)
def test_a_plot_lies_between_its_titles_and_inside_the_drawing(
    y: list[float], x: list[float], words: list[str]
) -> None:
    made = panel(y, x, words)
    _, bottom = in_rows(keys(words))
    assert bottom + LINE <= made.y.end < made.y.start < made.height - 2 * LINE
    # As wide as their letters: labels to the left of the plot fit, and those below do not touch.
    assert made.x.start >= 8.8 * max(map(len, made.y.labels))
    assert made.x.start + 100 < made.x.end < WIDTH
    ticks = made.x.ticks
    for one, two in pairwise(ticks):
        assert two.at - one.at > 8.8 * (len(one.label) + len(two.label)) / 2 or len(ticks) <= 3


def test_axes_grow_to_the_right_and_upwards() -> None:
    made = panel([0, 1], [0, 10])
    assert made.x.place([0, 10]).tolist() == [made.x.start, made.x.end]
    assert made.y.place([0, 1]).tolist() == [made.y.start, made.y.end]
    assert made.y.end < made.y.start


@given(st.lists(st.tuples(st.floats(-1e6, 1e6), st.floats(-1e6, 1e6)), min_size=1, max_size=6))
def test_distances_of_a_map_are_alike_in_both_directions(places: list[tuple[float, float]]) -> None:
    values = np.array(places)
    made = make_map([], values, 2 * LINE)
    x, y = made.x.place(values[:, 0]), made.y.place(values[:, 1])
    assert ((made.x.start <= x) & (x <= made.x.end)).all()
    assert ((made.y.end <= y) & (y <= made.y.start)).all() and made.y.end == 2 * LINE
    drawn = np.hypot(x[:, None] - x, y[:, None] - y)
    real = np.hypot(*(values[:, None] - values).T).T
    unit = (made.x.high - made.x.low) / (made.x.end - made.x.start)
    assert drawn * unit == pytest.approx(real, abs=1e-6 * max(1.0, real.max()))
    assert made.height == pytest.approx(made.y.start + 8)


def test_a_map_fills_its_plot_in_one_direction() -> None:
    made = make_map([], np.array([[0.0, 0.0], [1.0, 1.0]]), 0.0)
    assert made.y.place([0, 1]).tolist() == pytest.approx([250, 10])
    assert np.diff(made.x.place([0, 1])) == pytest.approx(240)


def test_text_is_one_short_line_without_what_xml_or_the_reader_cannot_bear() -> None:
    assert shown("a\nb \t c") == "a b c"
    assert shown("x" * 80) == "x" * 80
    assert shown("x" * 81) == "x" * 79 + "…"
    assert shown("a\x00b\ud800c\u202ed\u2069e\uffff\x7f") == "a�b�c�d�e��"
    assert shown("<שלום> & 🤸 é") == "<שלום> & 🤸 é"


@given(st.text())
def test_no_text_holds_a_control_character(text: str) -> None:
    made = shown(text)
    assert len(made) <= 80
    assert not {"Cc", "Cs", "Zl", "Zp"} & set(map(unicodedata.category, made))
