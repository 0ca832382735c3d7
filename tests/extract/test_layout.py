"""Who looks at what of a video: every wish finds all its items, and none is made twice."""

from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from aqakit.extract.augment import Variant
from aqakit.extract.layout import Wish, lay_out
from aqakit.extract.request import View
from aqakit.extract.transforms import FlowPreset, Preset
from aqakit.features.segments import Sampling, Timeline, Units

SMALL, LARGE = Preset(24), Preset(32)
VIEWS = [
    View(SMALL),
    View(LARGE),
    View(SMALL, Variant("mask")),
    View(FlowPreset(SMALL)),
    View(FlowPreset(SMALL, clamp=2.0, crop=16)),
    View(FlowPreset(SMALL, resize=(16, 16))),
    View(FlowPreset(LARGE)),
    View(FlowPreset(SMALL), Variant("zoom", 150)),
]
SAMPLINGS = [
    Sampling.parse(text)
    for text in (
        "stacks-7x4",
        "stacks-5x3-10fps",
        "clips-4",
        "clips-16-loop",
        "segments-5x11-last-plus2",
        "steps-4x5",
        "steps-3x4-8fps",
    )
]
WISHES = st.lists(
    st.builds(Wish, st.sampled_from(VIEWS), st.sampled_from(SAMPLINGS)), max_size=8, unique=True
)


def timeline(frames: int) -> Timeline:
    return Timeline(np.arange(frames) / 25, frames / 25)


def planned(wishes: list[Wish], frames: int) -> list[Units | None]:
    return [wish.sampling.plan(timeline(frames)) for wish in wishes]


@given(WISHES, st.integers(2, 40), st.data())
def test_every_slot_of_every_unit_is_filled_with_what_it_asks_for(
    wishes: list[Wish], frames: int, data: st.DataObject
) -> None:
    units = planned(wishes, frames)
    for position in range(len(wishes)):
        if data.draw(st.booleans(), label=f"wish {position} cannot be fulfilled"):
            units[position] = None
    layout = lay_out(wishes, units)
    fed: dict[int, np.ndarray] = {}
    for feed in layout.frames:
        for wish in feed.wishes:
            assert wishes[wish].view == View(feed.preset, feed.variant)
            fed[wish] = layout.slots[wish]
    for between in layout.flows:
        for preset, members in between.fields:
            assert preset.frames == between.frames
            for wish in members:
                assert wishes[wish].view == View(preset, between.variant)
                fed[wish] = between.pairs[layout.slots[wish]]
    assert fed.keys() == layout.slots.keys()
    assert set(fed) == {number for number, one in enumerate(units) if one is not None}
    for wish, items in fed.items():
        one = units[wish]
        assert one is not None
        if items.ndim == 2:
            np.testing.assert_array_equal(items, one.frames)
        else:
            expected = [[list(pair) for pair in pairwise(row)] for row in one.frames.tolist()]
            np.testing.assert_array_equal(items, expected)


@given(WISHES, st.integers(2, 40))
def test_nothing_is_made_twice(wishes: list[Wish], frames: int) -> None:
    layout = lay_out(wishes, planned(wishes, frames))
    frame_feeds = [(feed.variant, feed.preset) for feed in layout.frames]
    flow_feeds = [(feed.variant, feed.frames) for feed in layout.flows]
    assert len(set(frame_feeds)) == len(frame_feeds)
    assert len(set(flow_feeds)) == len(flow_feeds)
    for between in layout.flows:
        assert len(set(map(tuple, between.pairs.tolist()))) == len(between.pairs)
        later = between.pairs.max(axis=1)
        assert (np.diff(later) >= 0).all(), "a pair must be complete when its later frame is there"
        presets = [preset for preset, _ in between.fields]
        assert len(set(presets)) == len(presets)


def test_no_wish_gives_no_feed() -> None:
    layout = lay_out([], [])
    assert (layout.frames, layout.flows, layout.slots) == ((), (), {})
