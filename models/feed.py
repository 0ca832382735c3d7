"""Features on their way to a network: kept on its device where they fit, else read ahead of it."""

import itertools
import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..features.errors import RecipeError
from ..features.mapped import will_need
from .data import Stream, VideoFeatures, row_shapes
from .network import Batch

# Above this, features stay where they lie and a batch reads only its own rows.
_RESIDENT_BYTES = 4 << 30
# Batches read ahead of the one in work: one keeps the disk busy, more only take memory.
_AHEAD = 1
# Reading is waiting: more requests at once than cores keep a disk's queue filled.
_READERS = 4


class Wanted(NamedTuple):
    """Rows that one mini-batch needs.

    Args:
        videos: (V,) positions in the feed.
        alternatives: (V, T) which of a step's rows; None takes the last of each.
    """

    videos: Tensor
    alternatives: Tensor | None = None


class Feed:
    """Features of several videos, batch by batch, on a device.

    Videos of different length are padded with zeros and come with a mask.

    Args:
        videos: at least one, all with rows of the same shapes.
        device: a torch device.
        dtype: of the batches.
        resident_bytes: keep on the device what fits in so many bytes.

    Raises:
        RecipeError: videos whose rows differ in shape, or streams of a video that differ in their
            number of steps or of alternatives.
    """

    def __init__(
        self,
        videos: Sequence[VideoFeatures],
        device: str = "cpu",
        dtype: torch.dtype = torch.float32,
        resident_bytes: int = _RESIDENT_BYTES,
    ) -> None:
        self._videos = videos
        self._device = torch.device(device)
        self._dtype = dtype
        self.shapes = row_shapes(videos)
        for video in videos:
            _check_steps(video)
        self.lengths = torch.tensor([video.main.steps for video in videos])
        self.steps = int(self.lengths.max())
        self.alternatives = _alternatives(videos)
        self._ragged = bool((self.lengths != self.steps).any())
        self._resident: dict[str, Tensor] | None = None
        if sum(self._bytes_of(role) for role in self.shapes) <= resident_bytes:
            everything = Wanted(torch.arange(len(videos)))
            rows = {role: self._gather(role, everything, whole=True) for role in self.shapes}
            self._resident = {role: self._sent(kept) for role, kept in rows.items()}

    def __len__(self) -> int:
        return len(self._videos)

    def batch(self, wanted: Wanted) -> Batch:
        """Features of some videos, (V, T, ...) each, which the caller must not change."""
        return self._on_device(wanted, None)

    def batches(self, wanted: Iterable[Wanted]) -> Iterator[Batch]:
        """One batch after the other; where features are not resident, the next is being read."""
        if self._resident is not None:
            yield from map(self.batch, wanted)
            return
        with ThreadPoolExecutor(1) as ahead, ThreadPoolExecutor(_READERS) as readers:

            def read(one: Wanted) -> dict[str, Tensor]:
                return {role: self._gather(role, one, mapper=readers.map) for role in self.shapes}

            requests = iter(wanted)
            waiting = deque(
                (one, ahead.submit(read, one)) for one in itertools.islice(requests, _AHEAD)
            )
            while waiting:
                one, future = waiting.popleft()
                rows = future.result()
                for following in itertools.islice(requests, 1):
                    waiting.append((following, ahead.submit(read, following)))
                batch = self._on_device(one, rows)
                del rows, future  # gigabytes, where features are maps
                yield batch

    def _on_device(self, wanted: Wanted, rows: Mapping[str, Tensor] | None) -> Batch:
        values = {role: self._values(role, wanted, rows) for role in self.shapes}
        if not self._ragged:
            return Batch(values)
        mask = torch.arange(self.steps) < self.lengths[wanted.videos][:, None]
        return Batch(values, mask.to(self._device))

    def _values(self, role: str, wanted: Wanted, rows: Mapping[str, Tensor] | None) -> Tensor:
        if self._resident is None:
            read = rows[role] if rows is not None else self._gather(role, wanted)
            return self._sent(read).to(self._dtype)
        kept = self._resident[role]
        everything = torch.equal(wanted.videos, torch.arange(len(self)))
        found = kept if everything else kept[wanted.videos.to(self._device)]
        each = self._alternatives_of(role)
        if each > 1:
            found = found.unflatten(1, (self.steps, each))
            found = _choose(found, wanted.alternatives)
        return found.to(self._dtype)

    def _gather(
        self,
        role: str,
        wanted: Wanted,
        whole: bool = False,
        mapper: Callable[..., Iterable[None]] = map,
    ) -> Tensor:
        """(V, T, ...) rows in memory; with ``whole`` (V, T * alternatives, ...)."""
        streams = [self._videos[number].streams[role] for number in wanted.videos.tolist()]
        each = streams[0].alternatives
        length = self.steps * (each if whole else 1)
        half = streams[0].values.dtype == np.float16
        # Halves stay so in memory that is kept and on their way to a GPU; else readers convert them.
        stays = half and (whole or self._device.type == "cuda")
        kind = torch.float16 if stays else self._dtype
        out = torch.zeros(len(streams), length, *self.shapes[role], dtype=kind)

        def copy(number: int) -> None:
            stream, chosen = streams[number], wanted.alternatives
            if whole:
                places = np.arange(len(stream.values))
            else:
                places = _places(stream, None if chosen is None else chosen[number])
            _copy(stream.values, places, out[number, : len(places)])

        deque(mapper(copy, range(len(streams))), maxlen=0)
        return out

    def _sent(self, rows: Tensor) -> Tensor:
        if self._device.type == "cuda":
            return rows.pin_memory().to(self._device, non_blocking=True)
        return rows.to(self._device)

    def _alternatives_of(self, role: str) -> int:
        return self._videos[0].streams[role].alternatives

    def _bytes_of(self, role: str) -> int:
        half = self._videos[0].streams[role].values.dtype == np.float16
        row = int(np.prod(self.shapes[role])) * (2 if half else self._dtype.itemsize)
        return len(self) * self.steps * self._alternatives_of(role) * row


def _check_steps(video: VideoFeatures) -> None:
    steps = {role: stream.steps for role, stream in video.streams.items()}
    if len(set(steps.values())) > 1:
        found = ", ".join(f"{count} of {role}" for role, count in steps.items())
        raise RecipeError(
            f"the features of video '{video.id}' differ in their number of steps ({found}); "
            "extract them with samplings of the same number"
        )


def _places(stream: Stream, chosen: Tensor | None) -> NDArray[np.intp]:
    """(T,) the row of each step that is chosen, or the last."""
    each, steps = stream.alternatives, stream.steps
    rows = np.arange(each - 1, steps * each, each)
    if chosen is not None and each > 1:
        rows = rows - (each - 1) + chosen[:steps].numpy()
    return rows


def _copy(values: NDArray[Any], rows: NDArray[np.intp], out: Tensor) -> None:
    """Gather rows, which must exist."""
    will_need(values, rows.tolist())
    target = out.numpy()
    if values.dtype == target.dtype:
        # With the default mode NumPy gathers into a buffer first and then copies it to `out`.
        np.take(values, rows, axis=0, out=target, mode="clip")
    elif values.dtype == np.float16:
        # PyTorch converts them ten times as fast as NumPy.
        out.copy_(torch.from_numpy(values[rows]))
    else:
        target[:] = values[rows]


def _choose(rows: Tensor, chosen: Tensor | None) -> Tensor:
    """(V, T, ...) of (V, T, alternatives, ...)."""
    if chosen is None:
        return rows[:, :, -1]
    videos, steps = rows.shape[:2]
    first = torch.arange(videos, device=rows.device)[:, None]
    return rows[first, torch.arange(steps, device=rows.device), chosen.to(rows.device)]


def _alternatives(videos: Sequence[VideoFeatures]) -> int:
    """How many rows each step of each stream has; streams with a single one do not count."""
    found = {stream.alternatives for video in videos for stream in video.streams.values()} - {1}
    if len(found) > 1:
        raise RecipeError(
            f"the features have {' and '.join(map(str, sorted(found)))} frames a segment; extract "
            "all with one sampling"
        )
    mixed = {
        role
        for role, stream in videos[0].streams.items()
        if any(video.streams[role].alternatives != stream.alternatives for video in videos)
    }
    if mixed:
        raise RecipeError(f"videos differ in their frames a segment of {', '.join(mixed)}")
    return found.pop() if found else 1


@dataclass(frozen=True)
class Scale:
    """Mean of each channel by role, and what to multiply by; roles that are missing stay as they are.

    Args:
        mean: by role, (C,), of maps (C, 1, 1); for M members at once with (M, 1, 1) before it.
        factor: likewise.
    """

    mean: Mapping[str, Tensor]
    factor: Mapping[str, Tensor]

    def apply(self, batch: Batch) -> Batch:
        """The batch with scaled channels; rows of padding stay 0."""
        if not self.mean:
            return batch
        values = dict(batch.values)
        for role, mean in self.mean.items():
            scaled = (values[role] - mean) * self.factor[role]
            if batch.mask is not None:
                ones = [1] * (scaled.ndim - batch.mask.ndim)
                scaled = scaled * batch.mask.view(*batch.mask.shape, *ones)
            values[role] = scaled
        return Batch(values, batch.mask)

    def to(self, device: torch.device | str, dtype: torch.dtype) -> "Scale":
        """On a device."""
        moved = (
            {role: tensor.to(device, dtype) for role, tensor in part.items()}
            for part in (self.mean, self.factor)
        )
        return Scale(*moved)


def statistics(videos: Sequence[VideoFeatures]) -> Scale:
    """Scale to mean 0 and deviation 1 of each channel over all steps, and all places of maps."""
    found: tuple[dict[str, Tensor], dict[str, Tensor]] = ({}, {})
    for role in row_shapes(videos):
        for part, values in zip(found, _moments(videos, role), strict=True):
            part[role] = values
    return Scale(*found)


def _moments(videos: Sequence[VideoFeatures], role: str) -> tuple[Tensor, Tensor]:
    """(C,) or (C, 1, 1) mean, and factor; one video at a time is in memory."""
    shape = videos[0].streams[role].values.shape[1:]
    # Of (T, C, ...) all axes but that of the channels; maps keep theirs to be multiplied with.
    axes = (0, *range(2, 1 + len(shape)))

    def rows() -> Iterator[Tensor]:
        for video in videos:
            # PyTorch converts halves ten times as fast as NumPy.
            yield torch.from_numpy(np.array(video.streams[role].step_values)).double()

    count = sum(video.main.steps for video in videos) * math.prod(shape[1:])
    total = torch.stack([part.sum(dim=axes, keepdim=True) for part in rows()]).sum(dim=0)
    mean = total / count
    squares = [(part - mean).square().sum(dim=axes, keepdim=True) for part in rows()]
    deviation = (torch.stack(squares).sum(dim=0) / count).sqrt()
    # A channel that never changes says nothing; it must not become noise divided by zero.
    factor = torch.where(deviation > 1e-8, 1 / deviation, 0)
    return mean[0], factor[0]
