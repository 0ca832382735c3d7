"""Gathering: the streamed units equal plain indexing, and memory stays bounded."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aqakit.extract.clips import UnitGatherer, frame_pairs
from aqakit.features.segments import Sampling, Timeline

SAMPLINGS = st.one_of(
    st.builds(lambda n: Sampling("segments", 1, n), st.integers(1, 40)),
    st.builds(lambda n, f: Sampling("steps", f, n), st.integers(1, 12), st.integers(1, 8)),
    st.builds(lambda f: Sampling("clips", f), st.integers(1, 20)),
    st.builds(
        lambda n, f, fps: Sampling("stacks", f, n, fps),
        st.integers(1, 40),
        st.integers(1, 20),
        st.one_of(st.none(), st.floats(1, 60)),
    ),
)
TIMELINES = st.lists(st.floats(0.01, 1.0), min_size=1, max_size=60).map(
    lambda gaps: Timeline(np.cumsum(gaps), float(np.sum(gaps)) + 0.04)
)


def gather(slots: np.ndarray, items: np.ndarray) -> tuple[np.ndarray, int]:
    gatherer = UnitGatherer(slots)
    units: list[np.ndarray] = []
    most = 0
    for number, item in enumerate(items):
        units.extend(gatherer.push(number, item))
        most = max(most, gatherer.held_items)
    assert gatherer.held_items == 0
    return np.stack(units), most


@given(SAMPLINGS, TIMELINES)
def test_streamed_units_equal_indexing(sampling: Sampling, timeline: Timeline) -> None:
    units = sampling.plan(timeline)
    items = np.arange(len(timeline.pts_seconds)) * 10.0
    gathered, _ = gather(units.frames, items)
    np.testing.assert_array_equal(gathered, items[units.frames])


@given(st.integers(20, 400), st.integers(1, 16))
def test_stacks_hold_no_more_than_one_stack(frames: int, length: int) -> None:
    timeline = Timeline(np.arange(frames) / 25, frames / 25)
    units = Sampling("stacks", length, count=50).plan(timeline)
    _, most = gather(units.frames, np.arange(frames))
    assert most <= length


def test_unwanted_items_are_not_kept() -> None:
    gatherer = UnitGatherer(np.array([[2, 5]]))
    assert gatherer.wanted == {2, 5}
    assert list(gatherer.push(1, np.zeros(1))) == []
    assert gatherer.held_items == 0


def test_units_out_of_order_are_refused() -> None:
    with pytest.raises(ValueError, match="ordered by their last item"):
        UnitGatherer(np.array([[3], [1]]))


FLOW_SAMPLINGS = SAMPLINGS.filter(lambda sampling: sampling.frames > 1)


@given(st.lists(FLOW_SAMPLINGS, min_size=1, max_size=3), TIMELINES)
def test_pairs_cover_every_step_of_every_feature_once(
    samplings: list[Sampling], timeline: Timeline
) -> None:
    frames = [sampling.plan(timeline).frames for sampling in samplings]
    pairs, slots = frame_pairs(*frames)
    for one, slot in zip(frames, slots, strict=True):
        np.testing.assert_array_equal(pairs[slot][..., 0], one[:, :-1])
        np.testing.assert_array_equal(pairs[slot][..., 1], one[:, 1:])
        UnitGatherer(slot)
    assert len({tuple(pair) for pair in pairs.tolist()}) == len(pairs)
    assert (np.diff(pairs.max(axis=1)) >= 0).all()


def test_a_single_frame_has_no_flow() -> None:
    with pytest.raises(ValueError, match="at least 2 frames"):
        frame_pairs(np.zeros((3, 2), dtype=np.int64), np.zeros((3, 1), dtype=np.int64))
