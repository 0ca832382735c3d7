"""Ticks are round, cover the data, and tell each other apart; places follow a rule of three."""

import math

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from aqakit.report.axes import linear_axis, log_axis, signed

NUMBERS = st.floats(-1e12, 1e12).map(lambda value: float(f"{value:.6g}"))
POSITIVE = st.floats(1e-12, 1e12)


@given(st.lists(NUMBERS, min_size=1, max_size=9))
def test_ticks_of_a_linear_axis_are_round_cover_the_data_and_differ(values: list[float]) -> None:
    axis = linear_axis(values, 10.0, 110.0)
    assert 2 <= len(axis.values) <= 8
    step = (axis.high - axis.low) / (len(axis.values) - 1)
    assert axis.low <= min(values) + 1e-9 * step and max(values) <= axis.high + 1e-9 * step
    assert (axis.values[0], axis.values[-1]) == (axis.low, axis.high)
    assert np.allclose(np.diff(axis.values), step)
    assert float(f"{step:.0e}") == pytest.approx(step) and f"{step:.0e}"[0] in "125"
    assert len(set(axis.labels)) == len(axis.labels)


@given(st.lists(NUMBERS, min_size=1, max_size=9))
def test_labels_of_a_linear_axis_say_their_values(values: list[float]) -> None:
    axis = linear_axis(values, 0.0, 1.0)
    said = [float(label.replace("−", "-")) for label in axis.labels]
    room = (axis.high - axis.low) * 1e-9
    assert said == pytest.approx(axis.values, rel=1e-9, abs=room)


def test_ticks_and_labels_known_by_hand() -> None:
    axis = linear_axis([0.12, 0.93], 0.0, 100.0)
    assert axis.labels == ("0.0", "0.2", "0.4", "0.6", "0.8", "1.0")
    assert [tick.at for tick in axis.ticks] == pytest.approx([0, 20, 40, 60, 80, 100])
    assert linear_axis([-3.2, 4.1], 0, 1).labels == ("−4", "−2", "0", "2", "4", "6")
    assert linear_axis([0, 3e7], 0, 1).labels == ("0", "1e7", "2e7", "3e7")
    assert linear_axis([0, 2e-5], 0, 1, steps=2).labels == ("0", "1e−5", "2e−5")
    assert linear_axis([1, 30], 0, 1).labels == ("0", "10", "20", "30")


@pytest.mark.parametrize("value", [0.0, 5.0, -5.0, 1e-9, 123456.789])
def test_one_value_has_an_axis_around_it(value: float) -> None:
    axis = linear_axis([value, value], 0.0, 1.0)
    assert axis.low < value < axis.high
    assert 0.2 < float(axis.place(value)) < 0.8


def test_rounding_errors_are_not_drawn_large() -> None:
    axis = linear_axis([1e10, 1e10 + 1e-5], 0.0, 1.0)
    assert axis.high - axis.low > 1e8


@example(0.0, 5e-324, 0.5)
@example(1e-310, 3e-310, 0.5)
@given(NUMBERS, NUMBERS, st.floats(0, 1))
def test_a_value_lies_where_its_share_of_the_range_says(
    one: float, two: float, share: float
) -> None:
    axis = linear_axis([one, two], 200.0, 40.0)
    value = axis.low + share * (axis.high - axis.low)
    assert float(axis.place(value)) == pytest.approx(200 - 160 * share, abs=1e-3)


def test_a_log_axis_gives_each_factor_the_same_room() -> None:
    axis = log_axis([0.002, 0.7], 300.0, 0.0)
    assert axis.labels == ("0.001", "0.01", "0.1", "1")
    assert axis.place([0.001, 0.01, 0.1, 1]).tolist() == pytest.approx([300, 200, 100, 0])
    assert float(axis.place(0.2)) == pytest.approx(-100 * math.log10(0.2))


@given(st.lists(POSITIVE, min_size=1, max_size=9))
def test_a_log_axis_reaches_from_a_power_of_ten_to_one_above_all(values: list[float]) -> None:
    axis = log_axis(values, 0.0, 1.0, decades=3)
    assert max(values) <= axis.high * (1 + 1e-6) and axis.high < 10.01 * max(values)
    # Three powers below the top where values reach so far, else the one below the least.
    assert axis.low == pytest.approx(axis.high / 1000) or axis.low <= min(values) * (1 + 1e-6)
    assert axis.low > min(min(values), axis.high / 1.1) / 10.01
    assert 2 <= len(axis.values) <= 4
    assert [float(label.replace("−", "-")) for label in axis.labels] == pytest.approx(axis.values)
    assert len(set(axis.labels)) == len(axis.labels)


def test_what_is_too_low_for_a_log_axis_lies_on_its_end() -> None:
    axis = log_axis([0.0, 1e-9, 1.0], 300.0, 100.0, decades=2)
    assert axis.low == 0.01
    assert axis.place([0.0, 1e-9, 0.01, 1.0, 9.0]).tolist() == pytest.approx(
        [300, 300, 300, 100, 100]
    )


def test_what_has_no_axis_is_refused_by_its_values() -> None:
    for made in (linear_axis, log_axis):
        with pytest.raises(ValueError, match="values are empty"):
            made([], 0.0, 1.0)
        for wrong in ("inf", "nan", "-2e+200"):
            with pytest.raises(ValueError) as caught:
                made([1.0, float(wrong)], 0.0, 1.0)
            assert str(caught.value) == f"values hold {wrong}; each must be between ±1e+150"
    with pytest.raises(ValueError, match="values must hold one above 0"):
        log_axis([0.0, -1.0], 0.0, 1.0)


def test_a_minus_is_a_minus_sign_and_zero_has_none() -> None:
    assert [signed(number) for number in ("-0.5", "-0.00", "0.25", "-0")] == [
        "−0.5",
        "0.00",
        "0.25",
        "0",
    ]
