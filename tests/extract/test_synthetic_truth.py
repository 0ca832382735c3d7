import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aqakit.extract.synthetic import generate
from aqakit.extract.synthetic_plan import Mistake
from aqakit.extract.synthetic_truth import (
    Truth,
    cover,
    mass_inside,
    mistake_cover,
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
