"""Stories: the moments of a video against curves whose telling steps are known."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from aqakit.models.head import Explanation
from aqakit.models.reading import Reading
from aqakit.report.page import Story
from aqakit.report.stories import story_of

Array = NDArray[np.float64]

VALUE = Reading("step score", "", "value", "both")
RUNNING = Reading("score so far", "", "running", "both")
GOOD = Reading("attention to high skill", "", "attention", "good")
BAD = Reading("attention to low skill", "", "attention", "bad")
ATTENTION = Reading("attention", "", "attention", "nothing")
WEIGHED = Reading("step score", "", "value", "both", weighed_by="attention")
DETAIL = Reading("filter", "", "value", "both", detail=True)


def times_of(steps: int, seconds: float = 1.0) -> Array:
    return (np.arange(steps)[:, None] + [0, 0.5, 1]) * seconds


def told(
    curves: Mapping[str, Sequence[float] | Array],
    readings: Mapping[str, Reading],
    flags: Mapping[str, Sequence[bool]] | None = None,
    times: Array | None = None,
) -> Story:
    found = {name: np.asarray(curve, dtype=float) for name, curve in curves.items()}
    steps = len(next(iter(found.values())))
    explanation = Explanation(
        times_of(steps) if times is None else times,
        found,
        {"high": 1.5},
        {"attention": np.ones((steps, 2, 2))},
        {name: np.array(own) for name, own in (flags or {}).items()},
        {"expert": "anna"},
    )
    return story_of(explanation, readings)


def spikes(steps: int, at: Mapping[int, float], elsewhere: float = 0.0) -> Array:
    curve = np.full(steps, elsewhere)
    for step, height in at.items():
        curve[step] = height
    return curve


def of(story: Story, tells: str) -> list[int]:
    return [moment.step for moment in story.moments if moment.tells == tells]


def test_a_story_holds_what_the_head_explained() -> None:
    story = told({"v": [1, 2, 3, 4], "f_2": [4, 3, 2, 1]}, {"v": VALUE, "f": DETAIL})
    assert {name: own.label for name, own in story.readings.items()} == {
        "v": "step score",
        "f_2": "filter 2",
    }
    assert story.curves["v"].tolist() == [1, 2, 3, 4]
    assert (story.parts, story.notes) == ({"high": 1.5}, {"expert": "anna"})
    assert story.maps["attention"].shape == (4, 2, 2)
    assert story.times.tolist() == times_of(4).tolist()


def test_moments_of_values_are_the_highest_and_the_lowest() -> None:
    curve = spikes(40, {5: 3, 20: 9, 33: -4, 12: -8})
    story = told({"v": curve}, {"v": VALUE})
    words = [(m.step, m.tells, m.why) for m in story.moments]
    assert words == [
        (5, "good", "high step score"),
        (12, "bad", "lowest step score"),
        (20, "good", "highest step score"),
        (33, "bad", "low step score"),
    ]
    first = story.moments[0]
    assert (first.start_seconds, first.centre_seconds, first.end_seconds) == (5, 5.5, 6)


def test_there_are_three_of_a_kind_and_none_near_a_stronger_one() -> None:
    heights = {10: 5.0, 13: 4.0, 30: 3.0, 50: 2.9, 70: 2.8, 90: 2.7}
    story = told({"v": spikes(100, heights)}, {"v": VALUE})
    # 13 is within a tenth of the video of 10.
    assert of(story, "good") == [10, 30, 50]
    apart = told({"v": spikes(100, {10: 5.0, 20: 4.0})}, {"v": VALUE})
    assert of(apart, "good") == [10, 20]
    short = told({"v": spikes(9, {1: 5.0, 2: 4.0, 4: 4.5})}, {"v": VALUE})
    assert of(short, "good") == [1, 4]


def test_the_slope_of_a_peak_is_no_moment_of_its_own() -> None:
    hill = np.maximum(0, 30 - np.abs(np.arange(100) - 50.0))
    assert of(told({"v": hill}, {"v": VALUE}), "good") == [50]


def test_two_steps_are_apart_in_seconds_as_well() -> None:
    """Stacks overlap: many steps may be of nearly the same second."""
    times = times_of(40, 0.01)
    times[20:] += 10
    story = told({"v": spikes(40, {2: 5, 12: 4, 30: 3})}, {"v": VALUE}, times=times)
    assert of(story, "good") == [2, 30]


def test_attention_finds_the_moment_and_the_score_there_says_what_it_is() -> None:
    attention = spikes(40, {5: 20, 20: 10, 30: 4}, 1.0)
    score = spikes(40, {5: -1, 20: 2, 30: 0.1, 12: 50, 13: -50})
    readings = {"attention": ATTENTION, "v": WEIGHED}
    story = told({"attention": attention, "v": score}, readings)
    assert [(m.step, m.tells, m.why) for m in story.moments] == [
        (5, "bad", "highest attention, low score there"),
        (20, "good", "high attention, high score there"),
    ]


def test_neither_attention_nor_scores_speak_for_themselves_where_one_weighs_the_other() -> None:
    high = Reading("step score", "", "value", "both", weighed_by="attention")
    attention = spikes(40, {5: 9}, 1.0)
    low_there = spikes(40, {5: -5, 12: 3, 30: 3})
    story = told({"attention": attention, "v": low_there}, {"attention": GOOD, "v": high})
    assert [(m.step, m.tells, m.why) for m in story.moments] == [
        (5, "bad", "highest attention to high skill, low score there")
    ]
    flat_there = spikes(40, {12: 3, 30: -3})
    story = told({"attention": attention, "v": flat_there}, {"attention": GOOD, "v": high})
    assert [(m.step, m.tells) for m in story.moments] == [(5, "notable")]
    rounding = 3 + 1e-7 * np.random.default_rng(0).random(40)
    story = told({"attention": attention, "v": rounding}, {"attention": GOOD, "v": high})
    assert [(m.step, m.tells) for m in story.moments] == [(5, "notable")]


def test_values_that_attention_weighs_come_before_others() -> None:
    curves = {
        "u": spikes(40, {25: 9, 35: -9}),
        "attention": spikes(40, {5: 9, 15: 9}, 1.0),
        "v": spikes(40, {5: 2, 15: -2}),
    }
    story = told(curves, {"u": VALUE, "attention": ATTENTION, "v": WEIGHED})
    assert [(m.step, m.tells) for m in story.moments] == [(5, "good"), (15, "bad")]


def test_weighed_scores_are_what_attention_makes_of_the_mean_step() -> None:
    rng = np.random.default_rng(0)
    attention, score = rng.dirichlet(np.full(30, 0.3)), rng.normal(size=30)
    pull = [weight * (value - score.mean()) for weight, value in zip(attention, score, strict=True)]
    assert sum(pull) == pytest.approx(attention @ score - score.mean())
    story = told({"attention": attention, "v": score}, {"attention": ATTENTION, "v": WEIGHED})
    assert int(np.argmax(pull)) in of(story, "good")
    assert int(np.argmin(pull)) in of(story, "bad")


def test_one_step_that_alone_counts_is_judged_by_its_score() -> None:
    last = spikes(10, {9: 1.0})
    readings = {"attention": ATTENTION, "v": WEIGHED}
    for height, tells in ((3.0, "good"), (-3.0, "bad")):
        story = told({"attention": last, "v": spikes(10, {9: height, 4: 9, 5: -9})}, readings)
        assert [(m.step, m.tells) for m in story.moments] == [(9, tells)]


def test_even_attention_leaves_the_word_to_the_scores() -> None:
    even = 1 + 0.2 * np.sin(np.arange(40))
    curve = spikes(40, {20: 9})
    story = told({"attention": even, "v": curve}, {"attention": ATTENTION, "v": WEIGHED})
    assert [(m.step, m.why) for m in story.moments] == [(20, "highest step score")]


def test_attention_that_weighs_nothing_speaks_for_itself() -> None:
    curves = {"a": spikes(40, {5: 9, 25: 4}, 1.0), "b": spikes(40, {15: 9}, 1.0)}
    story = told(curves, {"a": GOOD, "b": BAD})
    assert [(m.step, m.tells, m.why) for m in story.moments] == [
        (5, "good", "highest attention to high skill"),
        (15, "bad", "highest attention to low skill"),
        (25, "good", "high attention to high skill"),
    ]
    # It comes before values, and what it leaves open they say.
    story = told(
        {**curves, "b": np.ones(40), "v": spikes(40, {33: -5})}, {"a": GOOD, "b": BAD, "v": VALUE}
    )
    assert (of(story, "good"), of(story, "bad")) == ([5, 25], [33])


def test_attention_is_notable_where_nothing_is_good_or_bad() -> None:
    curves = {"attention": spikes(20, {4: 9}, 1.0), "v": np.ones(20)}
    story = told(curves, {"attention": ATTENTION, "v": WEIGHED})
    assert [(m.step, m.tells, m.why) for m in story.moments] == [
        (4, "notable", "highest attention")
    ]


@pytest.mark.parametrize("kind", [GOOD, BAD, ATTENTION])
def test_even_attention_tells_nothing(kind: Reading) -> None:
    waves = 1 + 0.24 * np.sin(np.arange(50))
    assert not told({"attention": waves}, {"attention": kind}).moments
    assert told({"attention": np.r_[waves, 9]}, {"attention": kind}).moments


def test_moments_of_a_score_so_far_are_its_rises_and_falls() -> None:
    steps = spikes(40, {4: 0.5, 10: 2, 20: -3, 30: 5})
    story = told({"s": 7 + np.cumsum(steps)}, {"s": RUNNING})
    assert [(m.step, m.tells, m.why) for m in story.moments] == [
        (10, "good", "rise of the score so far"),
        (20, "bad", "greatest fall of the score so far"),
        (30, "good", "greatest rise of the score so far"),
    ]
    # From which score it began nobody knows; and the least rise is no fall.
    climb = told({"s": 100 + np.cumsum(spikes(40, {20: 0.01}, 1.0))}, {"s": RUNNING})
    assert of(climb, "bad") == []
    assert 0 not in of(climb, "good")


def test_flagged_steps_with_the_lowest_value_are_the_bad_ones() -> None:
    curve = spikes(40, {5: 0.1, 15: 0.4, 25: 0.3, 35: 0.2, 9: 0.0}, 0.9)
    flags = [step in (5, 15, 25, 35) for step in range(40)]
    story = told({"s": curve}, {"s": VALUE}, {"faulty": flags})
    assert [(m.step, m.why) for m in story.moments if m.tells == "bad"] == [
        (5, "looks faulty: low step score"),
        (25, "looks faulty: low step score"),
        (35, "looks faulty: low step score"),
    ]
    none = told({"s": curve}, {"s": VALUE}, {"faulty": [False] * 40})
    assert [m.why for m in none.moments if m.step == 9] == ["lowest step score"]


def test_details_make_no_moments_and_says_is_heeded() -> None:
    curve = spikes(40, {10: 5, 20: -5})
    assert not told({"f": curve}, {"f": DETAIL}).moments
    for says, good, bad in (("good", [10], []), ("bad", [], [10]), ("nothing", [], [])):
        reading = Reading("x", "", "value", says)  # type: ignore[arg-type]
        story = told({"v": curve}, {"v": reading})
        assert (of(story, "good"), of(story, "bad")) == (good, bad)


def test_an_explanation_without_curves_has_no_moments() -> None:
    story = story_of(Explanation(times_of(3), {}, {}, flags={"faulty": np.ones(3, bool)}), {})
    assert story.moments == ()


def test_steps_of_unknown_times_make_no_moments() -> None:
    curve = spikes(40, {10: 9, 30: 5})
    assert not told({"v": curve}, {"v": VALUE}, times=np.full((40, 3), np.nan)).moments
    some = times_of(40)
    some[10, 2] = np.nan
    assert of(told({"v": curve}, {"v": VALUE}, times=some), "good") == [30]


def test_what_differs_by_rounding_alone_is_constant() -> None:
    rng = np.random.default_rng(0)
    for reading in (VALUE, RUNNING, GOOD):
        noise = 3 + 1e-7 * rng.random(50)
        assert not told({"v": noise}, {"v": reading}).moments, reading.kind
    scaled = told({"v": 1e-12 * rng.random(50)}, {"v": VALUE})
    assert scaled.moments, "small numbers are no rounding"


numbers = st.floats(-1e6, 1e6, allow_subnormal=False).map(lambda x: round(x, 3))
KINDS: list[Reading] = [VALUE, RUNNING, GOOD, BAD, ATTENTION, WEIGHED, DETAIL]


@st.composite
def stories(draw: st.DrawFn) -> tuple[dict[str, Any], dict[str, Reading], dict[str, Any], Array]:
    steps = draw(st.integers(1, 30))
    chosen = draw(st.lists(st.sampled_from(KINDS), max_size=4, unique_by=id))
    readings = {"attention" if own is ATTENTION else f"c{n}": own for n, own in enumerate(chosen)}
    of_steps = st.lists(numbers, min_size=steps, max_size=steps).map(np.array)
    curves = {
        name: np.abs(draw(of_steps)) if own.kind == "attention" else draw(of_steps)
        for name, own in readings.items()
    }
    flags = {"faulty": draw(st.lists(st.booleans(), min_size=steps, max_size=steps))}
    pauses = draw(st.lists(st.floats(0, 10), min_size=steps, max_size=steps))
    times = times_of(steps) + np.cumsum(pauses)[:, None]
    hidden = draw(st.lists(st.booleans(), min_size=steps, max_size=steps))
    if draw(st.booleans()):
        times[np.array(hidden)] = np.nan
    return curves, readings, flags, times


@given(stories())
def test_whatever_the_curves_moments_are_few_apart_and_in_order(
    made: tuple[dict[str, Any], dict[str, Reading], dict[str, Any], Array],
) -> None:
    curves, readings, flags, times = made
    explanation = Explanation(times, curves, {}, flags={k: np.array(v) for k, v in flags.items()})
    moments = story_of(explanation, readings).moments
    for tells in ("good", "bad", "notable"):
        assert sum(moment.tells == tells for moment in moments) <= 3
    if any(moment.tells == "notable" for moment in moments):
        assert {moment.tells for moment in moments} == {"notable"}
    for moment in moments:
        at = (moment.start_seconds, moment.centre_seconds, moment.end_seconds)
        assert at == tuple(times[moment.step])
        assert moment.why
    if moments:
        length = np.nanmax(times[:, 2]) - np.nanmin(times[:, 0])
    for one in moments:
        for other in moments:
            if one is not other:
                assert abs(one.step - other.step) >= 2
                assert abs(one.centre_seconds - other.centre_seconds) >= 0.1 * length
    assert [m.centre_seconds for m in moments] == sorted(m.centre_seconds for m in moments)


value_lists = st.lists(st.integers(-9, 9).map(float), min_size=1, max_size=40).map(np.array)


@given(value_lists)
def test_values_turned_upside_down_swap_good_and_bad(values: Array) -> None:
    story, turned = (told({"v": sign * values}, {"v": VALUE}) for sign in (1, -1))
    assert of(story, "good") == of(turned, "bad")
    assert of(story, "bad") == of(turned, "good")


@given(value_lists, st.sampled_from([0.5, 4.0]), st.integers(-9, 9))
def test_another_unit_of_values_has_the_same_moments(
    values: Array, factor: float, shift: int
) -> None:
    one, other = (told({"v": own}, {"v": VALUE}) for own in (values, factor * values + shift))
    assert [(m.step, m.tells) for m in one.moments] == [(m.step, m.tells) for m in other.moments]


@given(value_lists)
def test_values_stand_out_of_the_mean_and_the_outermost_is_told(values: Array) -> None:
    story = told({"v": values}, {"v": VALUE})
    least = values.mean() + 0.75 * values.std()
    good = of(story, "good")
    for step in good:
        assert values[step] >= least - 1e-9
        assert values[step] >= max(values[max(0, step - 1) : step + 2])
    top = int(values.argmax())
    if values[top] - values.mean() > values.mean() - values.min() + 1e-9:
        # No step is further off the mean, so none can stand in its way.
        assert top in good


@given(st.integers(1, 40), st.floats(-1e6, 1e6), st.sampled_from(KINDS))
def test_constant_curves_tell_nothing(steps: int, value: float, reading: Reading) -> None:
    curve = np.full(steps, abs(value))
    flags = {"faulty": [True] * steps}
    assert not told(
        {"attention": curve, "v": curve}, {"v": reading, "attention": ATTENTION}, flags
    ).moments


def test_values_that_are_no_numbers_are_passed_over() -> None:
    curve = spikes(40, {10: np.nan, 20: 5, 30: np.inf})
    for reading in (VALUE, GOOD):
        assert of(told({"v": curve}, {"v": reading}), "good") == [20]
    assert not told({"v": np.full(9, np.nan)}, {"v": VALUE}).moments
