import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn import metrics as reference

from aqakit.models.faults import Detection, detection, faulty_share, faulty_steps

FLAGS = st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=12)


def steps(*edges: float) -> NDArray[np.float64]:
    starts, ends = np.array(edges[:-1]), np.array(edges[1:])
    return np.stack([starts, (starts + ends) / 2, ends], axis=1)


def test_the_share_of_a_step_is_the_time_that_faults_fill() -> None:
    found = faulty_share(steps(0, 1, 2, 4), [(1.5, 3.0), (0.25, 0.5)])
    assert found.tolist() == [0.25, 0.5, 0.5]


def test_overlapping_faults_count_once() -> None:
    found = faulty_share(steps(0, 2), [(0, 1), (0.5, 1.5), (0.6, 0.7), (1.75, 9)])
    assert found == pytest.approx([0.875])


@given(
    st.lists(st.tuples(st.integers(0, 40), st.integers(1, 20)), max_size=6),
    st.lists(st.tuples(st.integers(0, 40), st.integers(1, 20)), min_size=1, max_size=5),
    st.integers(0, 4),
)
def test_shares_agree_with_counting_ticks(
    spans: list[tuple[int, int]], parts: list[tuple[int, int]], quarters: int
) -> None:
    faults = [(a / 8, (a + n) / 8) for a, n in spans]
    times = np.array([[a / 8, (a + n / 2) / 8, (a + n) / 8] for a, n in parts])
    expected = [
        sum(any(a <= tick < a + n for a, n in spans) for tick in range(start, start + length))
        / length
        for start, length in parts
    ]
    assert faulty_share(times, faults) == pytest.approx(expected)
    least = quarters / 4
    found = faulty_steps(times, faults, least)
    assert found.tolist() == [share > 0 and share >= least for share in expected]


def test_any_overlap_is_enough_unless_a_share_is_asked_for() -> None:
    times = steps(0, 1, 2, 3)
    faults = [(0.99, 1.5)]
    assert faulty_steps(times, faults).tolist() == [True, True, False]
    assert faulty_steps(times, faults, 0.5).tolist() == [False, True, False]
    assert faulty_steps(times, faults, 1).tolist() == [False, False, False]
    assert faulty_steps(times, []).tolist() == [False, False, False]


def test_touching_is_no_overlap_and_half_is_half_in_spite_of_rounding() -> None:
    assert faulty_steps(steps(0.1, 0.3), [(0.3, 0.4), (0.05, 0.1)]).tolist() == [False]
    assert faulty_steps(steps(0.1 + 0.2, 0.5), [(0.1, 0.3)]).tolist() == [False]
    assert faulty_steps(steps(0.3, 0.5), [(0.1, 0.1 + 0.2)]).tolist() == [False]
    assert faulty_steps(steps(0.1, 0.3), [(0.2, 0.3)], 0.5).tolist() == [True]
    assert faulty_steps(steps(0.1, 0.3), [(0.21, 0.3)], 0.5).tolist() == [False]


def test_times_that_are_none_are_refused() -> None:
    with pytest.raises(ValueError, match=r"times \(2, 2\) must be \(T, 3\)"):
        faulty_steps(np.zeros((2, 2)), [])
    for end in (1.0, 0.5, math.nan):
        with pytest.raises(ValueError, match=rf"step 1 are \[1.0, 1.0, {end}\]; its end"):
            faulty_steps(np.array([[0, 0.5, 1], [1, 1, end]]), [])
    for end in (2.0, 1.0, math.nan):
        with pytest.raises(ValueError, match=rf"a fault is \(2.0, {end}\); its end must be after"):
            faulty_steps(steps(0, 1), [(2.0, end)])
    for share in (-0.1, 1.1, math.nan):
        with pytest.raises(ValueError, match=f"least_share is {share}; it must be from 0 to 1"):
            faulty_steps(steps(0, 1), [], share)


@given(FLAGS, FLAGS)
def test_precision_recall_and_f1_are_those_of_scikit_learn_over_all_videos(
    one: list[tuple[bool, bool]], other: list[tuple[bool, bool]]
) -> None:
    total = Detection()
    for video in (one, other):
        flagged, faulty = np.array(video).T
        total += detection(flagged, faulty)
    flagged, faulty = np.array([*one, *other]).T
    precision, recall, f1, _ = reference.precision_recall_fscore_support(
        faulty, flagged, average="binary", zero_division=np.nan
    )
    assert total.precision == pytest.approx(precision, nan_ok=True)
    assert total.recall == pytest.approx(recall, nan_ok=True)
    if flagged.any() or faulty.any():
        assert total.f1 == pytest.approx(f1)
    else:
        assert math.isnan(total.f1)
    assert total.share == pytest.approx(faulty.mean())
    assert total.steps == len(faulty)


def test_detections_of_videos_add() -> None:
    one = detection(np.array([1, 1, 0, 0], bool), np.array([1, 0, 1, 0], bool))
    assert one == Detection(2, 1, 2, 4, 1.0)
    both = one + detection(np.array([1, 0], bool), np.array([1, 1], bool))
    assert both == Detection(3, 2, 4, 6, 2.0)
    assert both.precision == pytest.approx(2 / 3)
    assert both.recall == pytest.approx(1 / 2)
    assert both.f1 == pytest.approx(4 / 7)
    assert both.share == pytest.approx(4 / 6)
    assert both.chance == pytest.approx(2 / 3)


def test_chance_is_what_random_steps_of_each_video_reach() -> None:
    rng = np.random.default_rng(0)
    videos = [(5, rng.random(20) < 0.2), (15, rng.random(20) < 0.7)]
    drawn = Detection()
    for _ in range(2000):
        for count, faulty in videos:
            flagged = np.isin(np.arange(20), rng.choice(20, count, replace=False))
            drawn += detection(flagged, faulty)
    assert drawn.chance == pytest.approx(drawn.precision, abs=0.01)
    assert drawn.chance > drawn.share + 0.05


def test_nothing_to_divide_by_is_nan() -> None:
    nothing = detection(np.zeros(3, bool), np.zeros(3, bool))
    for value in (nothing.precision, nothing.recall, nothing.f1, nothing.chance):
        assert math.isnan(value)
    assert nothing.share == 0
    assert math.isnan(Detection().share)


def test_flags_must_be_as_many_as_steps() -> None:
    with pytest.raises(ValueError, match=r"flagged \(2,\) and faulty \(3,\)"):
        detection(np.zeros(2, bool), np.zeros(3, bool))
    with pytest.raises(ValueError, match=r"faulty \(2, 2\) must both be \(T,\)"):
        detection(np.zeros((2, 2), bool), np.zeros((2, 2), bool))
    assert detection(np.zeros(0, bool), np.zeros(0, bool)) == Detection()
