"""The assisting tool keeps to its rule but for its mistakes, which are as its truth says."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from aqakit.extract import synthetic_second
from aqakit.extract.synthetic_plan import SYNCHRONISATION_SHARE, Mistake, Performance, plan
from aqakit.extract.synthetic_second import (
    OWN_JOINTS,
    Fault,
    Second,
    draw_faults,
    follow,
    own_joints,
    second_path,
)

PICTURE = np.array([4 / 3, 1.0])
SECONDS = np.arange(101) / 20
KINDS: tuple[synthetic_second.FaultKind, ...] = ("lag", "drift", "wrong-way")


@pytest.fixture
def still(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(synthetic_second, "_SWAY", np.zeros(2))


def leader(seconds: NDArray[np.float64]) -> NDArray[np.float64]:
    """An arc that goes on and on."""
    return np.stack([0.5 + 0.1 * seconds, 0.5 + 0.1 * np.sin(seconds)], axis=1)


def path(*faults: Fault) -> NDArray[np.float64]:
    return second_path(leader, SECONDS, faults, PICTURE, np.random.default_rng(0))


def fault(kind: synthetic_second.FaultKind, amount: float) -> Fault:
    return Fault(kind, 1.0, 3.0, amount, np.array([0.6, -0.8]))


def second_of(performance: Performance) -> Second:
    assert performance.second is not None
    return performance.second


def own_mistakes(performance: Performance) -> list[Mistake]:
    return [mistake for mistake in performance.mistakes if mistake.kind in KINDS]


def test_the_rule_is_the_same_for_everyone_and_linear() -> None:
    a, b, c = np.random.default_rng(0).random((3, 5, 2))
    mixed = 0.2 * a + 0.3 * b + 0.5 * c
    parts = [follow(one, PICTURE) for one in (a, b, c)]
    np.testing.assert_allclose(
        follow(mixed, PICTURE), 0.2 * parts[0] + 0.3 * parts[1] + 0.5 * parts[2]
    )
    right, down = np.array([[0.1, 0.0]]), np.array([[0.0, 0.1]])
    moved = [follow(a[:1] + step, PICTURE) - follow(a[:1], PICTURE) for step in (right, down)]
    np.testing.assert_allclose(np.concatenate(moved), [[-0.06, 0], [0, 0.03]], atol=1e-12)


@pytest.mark.usefixtures("still")
def test_without_mistakes_it_is_where_it_should_be() -> None:
    np.testing.assert_array_equal(path(), follow(leader(SECONDS), PICTURE))


@pytest.mark.usefixtures("still")
@pytest.mark.parametrize("kind", KINDS)
def test_a_mistake_is_over_when_it_is_over(kind: synthetic_second.FaultKind) -> None:
    wrong = np.hypot(*(path(fault(kind, 0.3)) - path()).T) > 1e-9
    during = (SECONDS > 1) & (SECONDS < 3)
    np.testing.assert_array_equal(wrong, during)


@pytest.mark.usefixtures("still")
def test_each_mistake_is_what_it_is_called() -> None:
    middle = int(np.flatnonzero(SECONDS == 2)[0])
    late = follow(leader(np.array([2 - 0.3])), PICTURE)[0]
    np.testing.assert_allclose(path(fault("lag", 0.3))[middle], late)
    drifted = path(fault("drift", 0.2))[middle] - path()[middle]
    np.testing.assert_allclose(drifted, [0.12, -0.16])
    begun, should = (follow(leader(np.array([t])), PICTURE)[0] for t in (1.0, 2.0))
    np.testing.assert_allclose(path(fault("wrong-way", 2.0))[middle], begun - (should - begun))


def test_sway_is_small_and_does_not_know_of_mistakes() -> None:
    sways = [path(*faults) - path() for faults in ((), (fault("drift", 0.2),))]
    np.testing.assert_array_equal(sways[0], 0)
    outside = (SECONDS <= 1) | (SECONDS >= 3)
    np.testing.assert_allclose(sways[1][outside], 0, atol=1e-12)
    away = path() - follow(leader(SECONDS), PICTURE)
    assert 0 < np.abs(away).max() < 0.08


def test_joints_have_a_posture_of_their_own_in_each_performance() -> None:
    rng = np.random.default_rng(3)
    drawn = np.stack([own_joints(SECONDS, rng) for _ in range(50)])
    assert drawn.shape == (50, len(SECONDS), len(OWN_JOINTS))
    assert drawn.mean(axis=1).std() > 1
    assert (drawn.std(axis=1) > 0.05).all()


def test_less_synchronisation_means_more_of_every_mistake() -> None:
    counts = {}
    for level in (0.1, 0.5, 0.9):
        rng = np.random.default_rng(7)
        found = [one for _ in range(80) for one in draw_faults(level, 6.0, rng)]
        counts[level] = Counter(one.kind for one in found)
    for kind in KINDS:
        assert counts[0.1][kind] > counts[0.5][kind] > counts[0.9][kind]
    worst, best = (
        np.mean([one.amount for one in draw_faults(level, 500.0, np.random.default_rng(1))])
        for level in (0.0, 0.9)
    )
    assert worst > 1.5 * best


@given(st.floats(0, 1), st.floats(0, 1), st.integers(0, 2**31))
def test_the_first_tool_does_not_see_the_second(
    skill: float, synchronisation: float, seed: int
) -> None:
    alone, assisted = plan(skill, seed), plan(skill, seed, synchronisation=synchronisation)
    np.testing.assert_array_equal(alone.tool_path, assisted.tool_path)
    np.testing.assert_array_equal(alone.peg_paths, assisted.peg_paths)
    assert [one for one in assisted.mistakes if one.kind not in KINDS] == list(alone.mistakes)
    assert alone.second is None
    assert alone.skill == alone.execution == assisted.execution == skill
    share = SYNCHRONISATION_SHARE
    expected = share * synchronisation + (1 - share) * skill
    assert assisted.skill == pytest.approx(expected, abs=1e-4)


@given(
    st.floats(0, 1),
    st.integers(0, 2**31),
    st.sampled_from([(160, 120), (120, 160), (64, 64)]),
    st.sampled_from([5.0, 10.0, 25.0]),
)
def test_mistakes_of_the_second_tool_lie_in_their_boxes(
    synchronisation: float, seed: int, size: tuple[int, int], fps: float
) -> None:
    performance = plan(0.5, seed, size=size, fps=fps, synchronisation=synchronisation)
    places = second_of(performance).path
    assert places.shape == performance.tool_path.shape
    assert ((places >= 0) & (places <= size)).all()
    starts = [one.start_seconds for one in performance.mistakes]
    assert starts == sorted(starts)
    for mistake in own_mistakes(performance):
        assert 0 <= mistake.start_seconds < mistake.end_seconds <= performance.duration_seconds
        first = int(np.ceil(mistake.start_seconds * fps))
        last = int(np.floor(mistake.end_seconds * fps))
        x0, y0, x1, y1 = mistake.box
        assert 0 <= x0 < x1 <= size[0] and 0 <= y0 < y1 <= size[1]
        there = places[first : last + 1]
        assert ((there >= (x0, y0)) & (there <= (x1, y1))).all()


def test_perfect_synchronisation_leaves_only_sway() -> None:
    for seed in range(10):
        performance = plan(1.0, seed, synchronisation=1.0)
        assert performance.mistakes == ()
        unit = min(performance.size)
        should = follow(performance.tool_path / unit, PICTURE)
        assert np.abs(second_of(performance).path / unit - should).max() < 0.1


def test_the_machine_stands_elsewhere_and_the_rule_holds_in_its_coordinates() -> None:
    one = second_of(plan(1.0, 0, synchronisation=1.0))
    other = second_of(plan(1.0, 1, synchronisation=1.0))
    assert not np.allclose(one.base, other.base)
    at = np.array([[0.4, 0.6]])
    moved = follow(at + one.base, PICTURE) - follow(at, PICTURE)
    np.testing.assert_allclose(moved[0], one.own_base)


@pytest.mark.parametrize("value", [-0.01, 1.01, float("nan")])
def test_synchronisation_outside_its_range(value: float) -> None:
    with pytest.raises(ValueError, match=r"synchronisation is .*; it lies in 0\.\.1"):
        plan(0.5, 0, synchronisation=value)
