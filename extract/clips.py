"""Gather a stream of frames, or of flow fields, into units without holding the video in memory.

Items arrive in order. An item is kept from its arrival until the last unit that shows it is
complete, so that overlapping stacks share their frames and memory is bounded by the overlap.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

Item = NDArray[Any]


class UnitGatherer:
    """Puts items into the slots of units and hands out each unit once it is complete.

    Args:
        slots: (N, S) item number of each slot. The largest number of a unit must not decrease from
            one unit to the next.

    Raises:
        ValueError: units whose last items are out of order.
    """

    def __init__(self, slots: NDArray[np.int64]) -> None:
        self._slots = slots
        self._completes = slots.max(axis=1)
        if (np.diff(self._completes) < 0).any():
            raise ValueError("units must be ordered by their last item")
        last_unit: dict[int, int] = {}
        for unit, row in enumerate(slots.tolist()):
            for number in row:
                last_unit[number] = unit
        self._last_unit = last_unit
        self._held: dict[int, Item] = {}
        self._next = 0

    @property
    def wanted(self) -> frozenset[int]:
        """Numbers of all items that some unit shows."""
        return frozenset(self._last_unit)

    @property
    def held_items(self) -> int:
        """How many items wait in memory."""
        return len(self._held)

    def push(self, number: int, item: Item) -> Iterator[Item]:
        """Take an item; give out, in order, the (S, ...) units that it completes."""
        if number not in self._last_unit:
            return
        self._held[number] = item
        while self._next < len(self._slots) and self._completes[self._next] <= number:
            row = self._slots[self._next].tolist()
            yield np.stack([self._held[slot] for slot in row])
            for slot in set(row):
                if self._last_unit[slot] == self._next:
                    del self._held[slot]
            self._next += 1


def frame_pairs(
    *frames: NDArray[np.int64],
) -> tuple[NDArray[np.int64], list[NDArray[np.int64]]]:
    """Pairs of consecutive frames that the units of several features need flow between.

    Args:
        frames: (N, F) frame numbers of each feature's units, F at least 2.

    Returns:
        (P, 2) distinct pairs ordered by the later frame, each once for all features; and for each
        feature the (N, F - 1) pair of each slot.

    Raises:
        ValueError: a unit of a single frame, which has no flow.
    """
    if any(one.shape[1] < 2 for one in frames):
        raise ValueError("flow needs units of at least 2 frames")
    steps = [np.stack([one[:, :-1], one[:, 1:]], axis=-1).reshape(-1, 2) for one in frames]
    both = np.concatenate(steps)
    # Looped units run backwards once; the pair is complete when the later frame has arrived.
    ordered = np.column_stack([both.max(axis=1), both])
    distinct, slots = np.unique(ordered, axis=0, return_inverse=True)
    ends = np.cumsum([len(step) for step in steps])[:-1]
    each = np.split(slots.ravel().astype(np.int64), ends)
    return distinct[:, 1:], [
        slot.reshape(len(one), -1) for slot, one in zip(each, frames, strict=True)
    ]
