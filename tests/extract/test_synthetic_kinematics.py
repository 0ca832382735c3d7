"""The table agrees with the script that it measures."""

import math

import numpy as np
import pytest

from aqakit.extract.synthetic_kinematics import HEADER, PRIMARY, SECONDARY, kinematics
from aqakit.extract.synthetic_plan import Performance, plan


def column(table: np.ndarray, name: str) -> np.ndarray:
    found: np.ndarray = table[:, HEADER.index(name)]
    return found


def test_both_tools_have_as_many_columns() -> None:
    assert len(PRIMARY) == len(SECONDARY) == 11
    assert len(set(HEADER)) == len(HEADER) == 23


def test_frame_by_frame() -> None:
    performance = plan(0.2, 4, fps=12.5, size=(200, 100), synchronisation=0.3)
    second = performance.second
    assert second is not None
    table = kinematics(performance)
    assert table.shape == (len(performance.tool_path), len(HEADER))
    for frame in range(1, len(table)):
        row = dict(zip(HEADER, table[frame].tolist(), strict=True))
        before = dict(zip(HEADER, table[frame - 1].tolist(), strict=True))
        assert row["seconds"] == pytest.approx(frame / 12.5)
        for axis, name in enumerate("xy"):
            own = performance.tool_path[frame, axis] / 100 + second.base[axis]
            assert row[f"primary.{name}"] == pytest.approx(own)
            other = second.path[frame, axis] / 100 + second.own_base[axis]
            assert row[f"secondary.{name}"] == pytest.approx(other)
            for tool in ("primary", "secondary"):
                moved = row[f"{tool}.{name}"] - before[f"{tool}.{name}"]
                assert row[f"{tool}.v{name}"] == pytest.approx(moved * 12.5, abs=1e-9)
        for tool in ("primary", "secondary"):
            speed = math.hypot(row[f"{tool}.vx"], row[f"{tool}.vy"])
            assert row[f"{tool}.speed"] == pytest.approx(speed)
        turn = [row[f"primary.v{name}"] - before[f"primary.v{name}"] for name in "xy"]
        assert row["primary.acceleration"] == pytest.approx(math.hypot(*turn) * 12.5, abs=1e-9)
        assert row["primary.closed"] == float(performance.held[frame] >= 0)
        joints = [row[f"secondary.{name}"] for name in SECONDARY[5:]]
        np.testing.assert_allclose(joints, second.joints[frame])


def target(performance: Performance, table: np.ndarray) -> np.ndarray:
    assert performance.second is not None
    places = np.stack([column(table, f"primary.target_{axis}") for axis in "xy"], axis=1)
    return (places - performance.second.base) * min(performance.size)


def test_the_target_is_the_hole_of_what_is_held_or_the_next_peg() -> None:
    performance = plan(0.0, 6, fps=25, synchronisation=0.5)
    assert any(mistake.kind == "drop" for mistake in performance.mistakes)
    table = kinematics(performance)
    targets = target(performance, table)
    placed = column(table, "primary.placed")
    for frame, peg in enumerate(performance.held):
        done = sum(
            not (performance.held[frame:] == one).any() for one in range(len(performance.holes))
        )
        assert placed[frame] == done
        if peg >= 0:
            expected = performance.holes[peg]
        elif done < len(performance.holes):
            expected = performance.peg_paths[frame, done]
        else:
            expected = performance.tool_path[-1]
        np.testing.assert_allclose(targets[frame], expected)
        gap = np.hypot(*(expected - performance.tool_path[frame])) / min(performance.size)
        assert column(table, "primary.distance")[frame] == pytest.approx(gap)
    assert placed[0] == 0
    assert placed[-1] == len(performance.holes)


def test_one_tool_alone_is_not_measured() -> None:
    with pytest.raises(ValueError, match="'synthetic' has no second tool"):
        kinematics(plan(0.5, 0))
