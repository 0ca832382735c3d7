"""What of a video must be looked at, for all its features together.

Each frame is resized once for every preset that some feature asks for; flow is computed once between
frames of one size, whatever the number of features that look at it. The layout follows from the
units alone, so that whoever reads a video and whoever runs the networks agree on it without a word.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..features.segments import Sampling, Units
from .augment import Variant
from .clips import frame_pairs
from .request import View
from .transforms import FlowPreset, Preset


@dataclass(frozen=True)
class Wish:
    """Units of a video under one view; several features may share them."""

    view: View
    sampling: Sampling


@dataclass(frozen=True)
class FrameFeed:
    """Frames of one size.

    Args:
        variant: how the video is altered first.
        preset: of the frames.
        wishes: positions of those that look at them.
    """

    variant: Variant
    preset: Preset
    wishes: tuple[int, ...]


@dataclass(frozen=True)
class FlowFeed:
    """Flow between frames of one size.

    Args:
        variant: how the video is altered first.
        frames: size of the frames.
        pairs: (P, 2) frame numbers, ordered by the later one.
        fields: what the fields are made into, and positions of the wishes that look at it.
    """

    variant: Variant
    frames: Preset
    pairs: NDArray[np.int64]
    fields: tuple[tuple[FlowPreset, tuple[int, ...]], ...]


@dataclass(frozen=True)
class Layout:
    """All feeds of a video.

    Args:
        frames: feeds of frames.
        flows: feeds of flow.
        slots: by wish, (N, S) number of the frame, or of the pair of frames, in each slot of each
            unit.
    """

    frames: tuple[FrameFeed, ...]
    flows: tuple[FlowFeed, ...]
    slots: dict[int, NDArray[np.int64]]


def lay_out(wishes: Sequence[Wish], units: Sequence[Units | None]) -> Layout:
    """Group wishes by what they look at.

    Args:
        wishes: of all features.
        units: of each wish, by frame numbers of the whole video; None for a wish that the video
            cannot fulfil.
    """
    seen: dict[View, list[int]] = {}
    for position, (wish, planned) in enumerate(zip(wishes, units, strict=True)):
        if planned is not None:
            seen.setdefault(wish.view, []).append(position)
    frame_feeds: list[FrameFeed] = []
    between: dict[tuple[Variant, Preset], list[tuple[FlowPreset, tuple[int, ...]]]] = {}
    slots: dict[int, NDArray[np.int64]] = {}
    for view, positions in seen.items():
        if isinstance(view.preset, FlowPreset):
            group = between.setdefault((view.variant, view.preset.frames), [])
            group.append((view.preset, tuple(positions)))
        else:
            frame_feeds.append(FrameFeed(view.variant, view.preset, tuple(positions)))
            slots |= {position: _frames(units, position) for position in positions}
    flow_feeds: list[FlowFeed] = []
    for (variant, size), fields in between.items():
        positions = [position for _, some in fields for position in some]
        pairs, pair_slots = frame_pairs(*(_frames(units, position) for position in positions))
        flow_feeds.append(FlowFeed(variant, size, pairs, tuple(fields)))
        slots |= dict(zip(positions, pair_slots, strict=True))
    return Layout(tuple(frame_feeds), tuple(flow_feeds), slots)


def _frames(units: Sequence[Units | None], position: int) -> NDArray[np.int64]:
    planned = units[position]
    assert planned is not None  # wishes that cannot be fulfilled have been left out
    return planned.frames
