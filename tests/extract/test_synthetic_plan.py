"""The script of a performance agrees with its own truth, and skill means what it says."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from aqakit.extract.synthetic_plan import Mistake, Performance, plan

performances = st.builds(
    plan,
    skill=st.floats(0, 1),
    seed=st.integers(0, 2**31),
    size=st.sampled_from([(160, 120), (120, 160), (64, 64), (320, 180)]),
    fps=st.sampled_from([5.0, 10.0, 25.0]),
)


def shown(performance: Performance, mistake: Mistake) -> slice:
    """Frames at or between the ends of a mistake."""
    first = int(np.ceil(mistake.start_seconds * performance.fps))
    last = int(np.floor(mistake.end_seconds * performance.fps))
    return slice(first, last + 1)


def within(places: NDArray[np.float64], box: tuple[int, int, int, int]) -> bool:
    return bool(((places >= box[:2]) & (places <= box[2:])).all())


@given(performances)
def test_mistakes_lie_inside_the_performance(performance: Performance) -> None:
    width, height = performance.size
    for mistake in performance.mistakes:
        assert 0 <= mistake.start_seconds < mistake.end_seconds <= performance.duration_seconds
        x0, y0, x1, y1 = mistake.box
        assert 0 <= x0 < x1 <= width
        assert 0 <= y0 < y1 <= height
        assert within(performance.tool_path[shown(performance, mistake)], mistake.box)


@given(performances)
def test_tool_and_pegs_stay_in_the_picture(performance: Performance) -> None:
    frame = (0, 0, *performance.size)
    assert within(performance.tool_path, frame)
    assert within(performance.peg_paths, frame)


@given(performances)
def test_every_peg_ends_in_its_hole(performance: Performance) -> None:
    np.testing.assert_allclose(performance.peg_paths[-1], performance.holes)
    assert performance.held[-1] == -1


@given(performances)
def test_a_held_peg_goes_with_the_tool(performance: Performance) -> None:
    frames = np.flatnonzero(performance.held >= 0)
    pegs = performance.peg_paths[frames, performance.held[frames]]
    np.testing.assert_array_equal(pegs, performance.tool_path[frames])


@given(st.floats(0, 0.7), st.integers(0, 2**31))
def test_a_dropped_peg_leaves_the_tool_and_is_fetched(skill: float, seed: int) -> None:
    # At fewer frames a second, the way from a fallen peg to its hole may fall between two frames.
    performance = plan(skill, seed, fps=50)
    grasps = np.count_nonzero((performance.held[1:] >= 0) & (performance.held[:-1] < 0))
    drops = [m for m in performance.mistakes if m.kind == "drop"]
    assert grasps == performance.holes.shape[0] + len(drops)
    for drop in drops:
        frames = shown(performance, drop)
        peg = performance.held[frames.stop]
        assert peg >= 0
        assert performance.held[frames.start - 1] == peg
        apart = performance.peg_paths[frames, peg] - performance.tool_path[frames]
        assert np.hypot(apart[:, 0], apart[:, 1]).max() > 0.05 * min(performance.size)
        assert within(performance.peg_paths[frames, peg], drop.box)


@given(st.integers(0, 2**31))
def test_perfect_skill_makes_no_mistake(seed: int) -> None:
    assert plan(1.0, seed).mistakes == ()


def test_the_tool_stands_still_while_it_hesitates() -> None:
    """Tremor, which has another cause, is left out by choosing scripts without it there."""
    seen = 0
    for seed in range(40):
        performance = plan(0.6, seed, fps=50)
        trembling = [m for m in performance.mistakes if m.kind == "tremor"]
        for pause in (m for m in performance.mistakes if m.kind == "hesitation"):
            if all(
                t.end_seconds < pause.start_seconds or t.start_seconds > pause.end_seconds
                for t in trembling
            ):
                path = performance.tool_path[shown(performance, pause)]
                np.testing.assert_allclose(path, np.broadcast_to(path[0], path.shape))
                seen += 1
    assert seen > 5


def test_tremor_shakes_at_3_to_8_hertz() -> None:
    """The hand of skill 0, less the steady hand, holds no power elsewhere."""
    fps = 100.0
    shares = []
    for seed in range(10):
        performance = plan(0.0, seed, fps=fps)
        longest = max(
            (m for m in performance.mistakes if m.kind == "tremor"),
            key=lambda m: m.end_seconds - m.start_seconds,
        )
        path = performance.tool_path[shown(performance, longest)]
        # Jerk suppresses the slow movement by which the hand gets from place to place.
        jerk = np.diff(path, 3, axis=0) * np.hanning(len(path) - 3)[:, None]
        power = np.abs(np.fft.rfft(jerk, axis=0)) ** 2
        hertz = np.fft.rfftfreq(len(path) - 3, 1 / fps)
        shares.append(power[(hertz > 1.5) & (hertz < 11)].sum() / power.sum())
    assert np.median(shares) > 0.8


def test_less_skill_means_more_of_every_mistake() -> None:
    counts = {
        skill: Counter(m.kind for seed in range(60) for m in plan(skill, seed).mistakes)
        for skill in (0.1, 0.5, 0.9)
    }
    for kind in ("tremor", "hesitation", "detour", "drop"):
        assert counts[0.1][kind] > counts[0.5][kind] > counts[0.9][kind]


def test_tempo_and_number_of_pegs_do_not_depend_on_skill() -> None:
    for seed in range(20):
        worst, best = plan(0.0, seed), plan(1.0, seed)
        np.testing.assert_array_equal(worst.peg_paths[0], best.peg_paths[0])
        np.testing.assert_array_equal(worst.holes, best.holes)
        assert worst.duration_seconds >= best.duration_seconds


def test_same_seed_same_script() -> None:
    first, again, other = plan(0.3, 5), plan(0.3, 5), plan(0.3, 6)
    np.testing.assert_array_equal(first.tool_path, again.tool_path)
    assert first.mistakes == again.mistakes
    assert (
        first.tool_path.shape != other.tool_path.shape or (first.tool_path != other.tool_path).any()
    )


def test_size_scales_the_same_script() -> None:
    small, large = plan(0.3, 5, size=(160, 120)), plan(0.3, 5, size=(320, 240))
    np.testing.assert_allclose(large.tool_path, 2 * small.tool_path)


@pytest.mark.parametrize("skill", [-0.01, 1.01, float("nan")])
def test_skill_outside_its_range(skill: float) -> None:
    with pytest.raises(ValueError, match=r"skill is .*; it lies in 0\.\.1"):
        plan(skill, 0)


@pytest.mark.parametrize(("size", "fps"), [((16, 120), 10.0), ((160, 120), 0.5)])
def test_what_cannot_be_drawn(size: tuple[int, int], fps: float) -> None:
    with pytest.raises(ValueError, match="expected at least 32 pixels and 1 frame a second"):
        plan(0.5, 0, size=size, fps=fps)
