import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aqakit.extract.synthetic import generate
from aqakit.extract.synthetic_plan import Mistake
from aqakit.extract.synthetic_truth import (
    Pointing,
    Truth,
    cover,
    mass_inside,
    mistake_cover,
    mistaken,
    mistaken_share,
    pointing,
    read_truth,
    tool_cover,
)

SIZE = (160, 120)
WHOLE = (0, 0, 160, 120)


def mistake(start: float, end: float, box: tuple[int, int, int, int] = WHOLE) -> Mistake:
    return Mistake("detour", start, end, box)


def steps(*edges: float) -> np.ndarray:
    starts, ends = np.array(edges[:-1]), np.array(edges[1:])
    return np.stack([starts, (starts + ends) / 2, ends], axis=1)


def test_truth_of_a_generated_set_is_read_back(tmp_path: Path) -> None:
    performances = generate(tmp_path / "set", count=4, seed=3)
    truth = read_truth(tmp_path / "set" / "truth.json")
    assert list(truth) == [p.id for p in performances]
    for performance in performances:
        found = truth[performance.id]
        assert found.mistakes == performance.mistakes
        assert found.fps == performance.fps
        assert np.abs(found.tool_path - performance.tool_path).max() <= 0.005


def test_share_of_a_step_is_the_time_that_mistakes_fill() -> None:
    found = mistaken_share(steps(0, 1, 2, 4), [mistake(0.25, 0.5), mistake(1.5, 3.0)])
    assert found.tolist() == [0.25, 0.5, 0.5]


def test_overlapping_mistakes_count_once() -> None:
    found = mistaken_share(
        steps(0, 2), [mistake(0, 1), mistake(0.5, 1.5), mistake(0.6, 0.7), mistake(1.75, 9)]
    )
    assert found == pytest.approx([0.875])


@given(
    st.lists(st.tuples(st.integers(0, 40), st.integers(1, 20)), max_size=6),
    st.lists(st.tuples(st.integers(0, 40), st.integers(1, 20)), min_size=1, max_size=5),
)
def test_share_agrees_with_counting_ticks(
    spans: list[tuple[int, int]], parts: list[tuple[int, int]]
) -> None:
    mistakes = [mistake(a / 8, (a + n) / 8) for a, n in spans]
    times = np.array([[a / 8, (a + n / 2) / 8, (a + n) / 8] for a, n in parts])
    expected = [
        sum(any(a <= tick < a + n for a, n in spans) for tick in range(start, start + length))
        / length
        for start, length in parts
    ]
    assert mistaken_share(times, mistakes) == pytest.approx(expected)
    assert mistaken(times, mistakes).tolist() == [share >= 0.5 for share in expected]


def test_half_a_step_is_enough_in_spite_of_rounding() -> None:
    assert mistaken(steps(0.1, 0.3), [mistake(0.2, 0.3)]).tolist() == [True]
    assert mistaken(steps(0.1, 0.3), [mistake(0.21, 0.3)]).tolist() == [False]


def test_pointing_counts_and_adds_up() -> None:
    one = pointing(np.array([1, 1, 0, 0], bool), np.array([1, 0, 1, 0], bool))
    assert one == Pointing(2, 1, 2, 4, 1.0)
    both = one + pointing(np.array([1, 0], bool), np.array([1, 1], bool))
    assert both == Pointing(3, 2, 4, 6, 2.0)
    assert both.precision == pytest.approx(2 / 3)
    assert both.recall == pytest.approx(1 / 2)
    assert both.share == pytest.approx(4 / 6)
    assert both.chance == pytest.approx(2 / 3)


def test_chance_is_what_random_steps_of_each_video_reach() -> None:
    rng = np.random.default_rng(0)
    videos = [(5, rng.random(20) < 0.2), (15, rng.random(20) < 0.7)]
    drawn = Pointing()
    for _ in range(2000):
        for count, wanted in videos:
            pointed = np.isin(np.arange(20), rng.choice(20, count, replace=False))
            drawn += pointing(pointed, wanted)
    assert drawn.chance == pytest.approx(drawn.precision, abs=0.01)
    assert drawn.chance > drawn.share + 0.05


def test_nothing_to_divide_by_is_nan() -> None:
    nothing = pointing(np.zeros(3, bool), np.zeros(3, bool))
    assert math.isnan(nothing.precision)
    assert math.isnan(nothing.recall)
    assert math.isnan(nothing.chance)
    assert nothing.share == 0


def test_pointing_needs_equal_shapes() -> None:
    with pytest.raises(ValueError, match=r"pointed \(2,\) and wanted \(3,\)"):
        pointing(np.zeros(2, bool), np.zeros(3, bool))


def test_a_box_covers_parts_of_cells() -> None:
    found = cover([(40, 30, 100, 60)], SIZE, (4, 4))  # cells are 40 x 30 pixels
    expected = np.zeros((4, 4))
    expected[1] = [0, 1, 0.5, 0]
    assert found == pytest.approx(expected)


def test_overlapping_boxes_count_once_and_outside_is_nothing() -> None:
    twice = cover([WHOLE, (-50, -50, 300, 10)], SIZE, (2, 3))
    assert twice == pytest.approx(np.ones((2, 3)))
    assert not cover([(200, 10, 300, 20)], SIZE, (2, 3)).any()


@given(st.tuples(*[st.integers(0, 56)] * 4))
def test_cover_agrees_with_counting_pixels(corners: tuple[int, int, int, int]) -> None:
    x0, x1 = sorted(corners[:2])
    y0, y1 = sorted(corners[2:])
    picture = np.zeros((56, 56))
    picture[y0:y1, x0:x1] = 1
    expected = picture.reshape(14, 4, 14, 4).mean(axis=(1, 3))
    assert cover([(x0, y0, x1, y1)], (56, 56), (14, 14)) == pytest.approx(expected)


def test_tool_region_follows_the_tip() -> None:
    path = np.array([[20.0, 20.0], [20.0, 20.0], [140.0, 100.0], [140.0, 100.0]])
    truth = Truth(1.0, (), path)
    first, second = tool_cover(steps(0, 2, 4), truth, SIZE, (12, 16))  # cells of 10 x 10 pixels
    reach = 2 * 0.09 * 120
    assert first.sum() * 100 == pytest.approx(reach**2)
    assert first[0:4, 0:4].sum() == pytest.approx(first.sum())
    assert second.sum() > 0
    assert second[8:, 12:].sum() == pytest.approx(second.sum())


def test_tool_region_holds_all_frames_of_a_step() -> None:
    path = np.stack([np.linspace(30, 130, 11), np.full(11, 60.0)], axis=1)
    (found,) = tool_cover(steps(0, 1.1), Truth(10.0, (), path), SIZE, (120, 160))
    assert found.sum() == pytest.approx((100 + 2 * 10.8) * 2 * 10.8)


def test_a_step_past_the_end_has_the_last_place() -> None:
    path = np.array([[20.0, 20.0], [140.0, 100.0]])
    (found,) = tool_cover(steps(5, 6), Truth(1.0, (), path), SIZE, (12, 16))
    assert found.sum() > 0
    assert found[8:, 12:].sum() == pytest.approx(found.sum())


def test_mistake_region_is_that_of_the_steps_mistakes() -> None:
    truth = Truth(
        10.0,
        (mistake(0.5, 1.5, (0, 0, 80, 60)), mistake(1.4, 1.6, (80, 60, 160, 120))),
        np.zeros((30, 2)),
    )
    first, second, third = mistake_cover(steps(0, 1, 2, 3), truth, SIZE, (2, 2))
    assert first.tolist() == [[1, 0], [0, 0]]
    assert second.tolist() == [[1, 0], [0, 1]]
    assert not third.any()


def test_mass_is_a_mean_over_steps_with_a_region() -> None:
    attention = np.array([[[3.0, 1.0]], [[0.0, 2.0]], [[1.0, 1.0]]])
    covered = np.array([[[1.0, 0.0]], [[0.5, 0.5]], [[0.0, 0.0]]])
    assert mass_inside(attention, covered) == pytest.approx((0.75 + 0.5) / 2)
    assert mass_inside(np.ones((3, 1, 2)), covered) == pytest.approx(0.5)
    assert math.isnan(mass_inside(attention, np.zeros_like(covered)))
