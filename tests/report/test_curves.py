"""Learning curves: the mean is a mean, thinning hides no peak, and gaps stay gaps."""

import math
import re
import warnings
from collections.abc import Mapping, Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from aqakit.models.training import VALIDATION
from aqakit.report.axes import Axis, linear_axis
from aqakit.report.curves import (
    ACCURACY,
    COLOURS,
    MOST_POINTS,
    Curves,
    by_epoch,
    learning_figures,
    mean_of,
    path_of,
    thin,
)
from aqakit.report.page import Page
from aqakit.report.panel import Drawing, Panel

NAN = math.nan
VALUES = st.lists(st.one_of(st.floats(-1e3, 1e3), st.just(NAN)), max_size=80)


def figures(learning: Mapping[str, Mapping[int, Sequence[float]]]) -> list[Drawing]:
    return learning_figures(Page("head", [], [], [], [], [], learning=learning))


def drawn(figure: Drawing) -> Curves:
    assert isinstance(figure.content, Curves) and figure.macro == "lines"
    assert figure.height == figure.content.panel.height
    return figure.content


def plot(epochs: int, least: float = 0.0, most: float = 1.0) -> Panel:
    return Panel(
        Axis(0.0, float(epochs), 0.0, 10.0 * epochs, (), ()),
        linear_axis([least, most], 100.0, 0.0),
        "",
        "",
        (),
    )


def places(path: str) -> list[tuple[str, float, float]]:
    found = re.findall(r"([ML])(-?[\d.]+) (-?[\d.]+)", path)
    return [(step, float(x), float(y)) for step, x, y in found]


def test_the_name_of_the_accuracy_is_that_of_the_trainer() -> None:
    assert ACCURACY == VALIDATION


@given(VALUES, st.integers(4, 20))
def test_thinning_keeps_the_ends_and_the_extremes(own: list[float], most: int) -> None:
    values = np.array(own)
    kept = thin(values, most)
    known = [place for place, value in enumerate(own) if not math.isnan(value)]
    assert len(kept) <= most and set(kept.tolist()) <= set(known)
    assert (np.diff(kept) > 0).all()
    if len(known) <= most:
        assert kept.tolist() == known
        return
    assert (kept[0], kept[-1]) == (known[0], known[-1])
    assert values[kept].min() == np.nanmin(values) and values[kept].max() == np.nanmax(values)


def test_thinning_keeps_every_stretch() -> None:
    values = np.sin(np.arange(3000) / 7)
    kept = thin(values)
    assert 150 < len(kept) <= MOST_POINTS == 200
    assert np.diff(kept).max() <= 2 * math.ceil(3000 / 99)
    # Each of 99 stretches keeps its own peak.
    for stretch in np.array_split(np.arange(3000), 99):
        own = kept[(kept >= stretch[0]) & (kept <= stretch[-1])]
        assert values[own].max() == values[stretch].max()
        assert values[own].min() == values[stretch].min()


def test_too_few_points_are_refused() -> None:
    with pytest.raises(ValueError, match="most is 3; it must be 4 or more"):
        thin(np.zeros(9), 3)


def test_the_mean_is_over_the_seeds_that_have_a_value() -> None:
    values = by_epoch({0: [1.0, 2.0, 3.0], 7: [3.0], 2: [math.inf, 4.0]})
    assert values.shape == (3, 3)
    assert values[1, 0] == 3 and np.isnan([values[1, 1], values[2, 0], values[2, 2]]).all()
    assert mean_of(values).tolist() == [2.0, 3.0, 3.0]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.isnan(mean_of(np.full((2, 1), NAN))).all()


def test_a_path_goes_from_epoch_to_epoch() -> None:
    panel = plot(3)
    assert places(path_of(np.array([0.0, 0.25, 1.0]), panel)) == [
        ("M", 10.0, 100.0),
        ("L", 20.0, 75.0),
        ("L", 30.0, 0.0),
    ]


def test_a_path_is_interrupted_where_nothing_is_known_and_dots_what_stands_alone() -> None:
    values = np.array([NAN, 0.0, NAN, 0.5, 1.0, NAN, 1.0])
    path = path_of(values, plot(7))
    assert [step for step, _, _ in places(path)] == ["M", "M", "L", "M"]
    assert path == "M20.0 100.0h0M40.0 50.0L50.0 0.0M70.0 0.0h0"


def test_losses_stand_on_one_axis_and_accuracy_apart() -> None:
    found = figures({"rank_loss": {0: [2.0, 1.0], 1: [3.0, 1.5]}, ACCURACY: {0: [0.5, 0.75]}})
    assert [figure.id for figure in found] == ["figure-losses", "figure-validation"]
    losses, accuracy = map(drawn, found)
    assert [key.words for key in losses.panel.keys] == ["rank loss"]
    (curve,) = losses.curves
    x, y = losses.panel.x, losses.panel.y
    assert not y.logarithmic and (x.low, x.high, x.labels) == (0, 2, ("0", "1", "2"))

    def drawn_by_hand(values: list[float]) -> list[tuple[str, float, float]]:
        unit_x, unit_y = (x.end - x.start) / 2, (y.start - y.end) / (y.high - y.low)
        return [
            (step, round(x.start + unit_x * epoch, 1), round(y.start - unit_y * (v - y.low), 1))
            for step, epoch, v in zip("ML", (1, 2), values, strict=True)
        ]

    assert places(curve.mean) == drawn_by_hand([2.5, 1.25])
    assert list(map(places, curve.seeds)) == [drawn_by_hand([2, 1]), drawn_by_hand([3, 1.5])]
    # One seed is its own mean.
    assert accuracy.curves[0].seeds == ()
    assert losses.line is None and accuracy.line is not None
    assert (
        accuracy.line[1] == accuracy.line[3] == pytest.approx(accuracy.panel.y.place(0.5), abs=0.1)
    )
    assert accuracy.panel.y.high >= 1
    assert "mean over 2 seeds" in found[0].caption and "stopped" not in found[0].caption
    assert "seeds" not in found[1].caption and "0.5 is chance" in found[1].caption
    assert found[0].summary == "1 curve. rank loss: 2.5 in epoch 1, 1.25 in epoch 2."


@pytest.mark.parametrize(
    ("values", "logarithmic", "hidden"),
    [
        ([1.0, 0.011], False, None),
        ([1.0, 0.009], True, None),
        ([1.0, 1e-7], True, "; lower values lie on the lowest, 0.0001."),
        ([10.0, 0.01, 0.0], True, "; lower values lie on the lowest, 0.01."),
        ([1.0, 1e-7, -1.0], False, None),
        ([0.0, 0.0], False, None),
        ([1.0, 0.0], False, None),
    ],
)
def test_losses_that_span_decades_have_an_axis_of_powers(
    values: list[float], logarithmic: bool, hidden: str | None
) -> None:
    (figure,) = figures({"loss": {0: values}})
    panel = drawn(figure).panel
    assert panel.y.logarithmic == logarithmic
    assert ("ten times the one below" in figure.caption) == logarithmic
    assert ("lower values" in figure.caption) == (hidden is not None)
    assert (hidden or "") in figure.caption
    for _, x, y in places(drawn(figure).curves[0].mean):
        assert panel.x.start <= x <= panel.x.end and panel.y.end <= y <= panel.y.start


def test_lines_of_one_figure_differ_in_more_than_colour() -> None:
    found = drawn(figures({f"loss_{n}": {0: [1.0]} for n in range(12)})[0])
    looks = [curve.look for curve in found.curves]
    assert len(set(looks)) == 12
    assert [key.look for key in found.panel.keys] == looks
    for one in range(12 - COLOURS):
        colour, dash = looks[one].split()
        assert looks[one + COLOURS].split()[0] == colour
        assert looks[one + COLOURS].split()[1] != dash
    assert len({look.split()[1] for look in looks[:COLOURS]}) == COLOURS


def test_long_logs_of_many_seeds_are_light() -> None:
    rng = np.random.default_rng(0)
    logs = {seed: rng.exponential(size=3000).tolist() for seed in range(20)}
    (figure,) = figures({"loss": logs})
    (curve,) = drawn(figure).curves
    paths: list[str] = [curve.mean, *curve.seeds]
    assert len(paths) == 21
    assert all(100 < len(places(path)) <= MOST_POINTS for path in paths)
    assert sum(map(len, paths)) < 21 * MOST_POINTS * 14


def test_seeds_that_stop_early_are_told_of() -> None:
    (figure,) = figures({"loss": {0: [3.0, 2.0, 1.0], 1: [3.0]}})
    assert "where some have stopped, it is over the others." in figure.caption
    # Losses of two stages end at different epochs, in all seeds alike.
    stages: dict[str, dict[int, list[float]]] = {
        "first": {0: [1.0, NAN], 1: [2.0, NAN]},
        "second": {0: [NAN, 1.0], 1: [NAN, 2.0]},
    }
    (figure,) = figures(stages)
    assert "stopped" not in figure.caption
    assert figure.summary == (
        "2 curves. first: 1.5 in epoch 1, 1.5 in epoch 1; second: 1.5 in epoch 2, 1.5 in epoch 2."
    )


@pytest.mark.parametrize(
    "learning", [{}, {"loss": {}}, {"loss": {0: []}}, {"loss": {0: [NAN]}, ACCURACY: {0: [NAN]}}]
)
def test_no_curve_no_figure(learning: dict[str, dict[int, list[float]]]) -> None:
    assert figures(learning) == []


def test_one_epoch_is_a_dot() -> None:
    (figure,) = figures({"loss": {3: [0.5]}})
    content = drawn(figure)
    assert content.panel.x.labels == ("0", "1")
    assert content.curves[0].mean.endswith("h0")


def test_a_hostile_name_is_a_short_line() -> None:
    (figure,) = figures({"a_\n<b>" + "x" * 500: {0: [1.0]}})
    assert drawn(figure).panel.keys[0].words == "a <b>" + "x" * 74 + "…"


def as_array(values: list[float]) -> NDArray[np.float64]:
    return np.array(values, dtype=np.float64)


@given(VALUES)
def test_a_path_has_the_points_that_thinning_keeps(own: list[float]) -> None:
    values = as_array(own)
    path = path_of(values, plot(max(len(own), 1), -1e3, 1e3)) if np.isfinite(values).any() else ""
    assert len(places(path)) == np.isfinite(values).sum()
