"""What heads learn from: cached features of videos, and who is better than whom."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..features.errors import RecipeError

# Above this, features stay where they lie and a batch reads only its own videos.
_RESIDENT_BYTES = 4 << 30


@dataclass(frozen=True)
class VideoFeatures:
    """One feature of one video.

    Args:
        id: of the video.
        values: (T, C); may be mapped from a file.
        times: (T, 3) start, centre and end of each row in seconds; nan where unknown.

    Raises:
        RecipeError: the feature has another number of axes, or holds values that are not finite.
        ValueError: as many times as rows are needed.
    """

    id: str
    values: NDArray[Any]
    times: NDArray[np.float64]

    def __post_init__(self) -> None:
        if self.values.ndim != 2:
            raise RecipeError(
                f"the feature of video '{self.id}' has shape {self.values.shape}; this head needs "
                "one vector a time step, (T, C)"
            )
        if self.times.shape != (len(self.values), 3) or not len(self.values):
            raise ValueError(f"{self.times.shape} times for {self.values.shape} values")
        if not np.isfinite(self.values).all():
            raise RecipeError(
                f"the feature of video '{self.id}' holds values that are not finite; extract it "
                "again with --overwrite"
            )

    @property
    def duration_seconds(self) -> float:
        """From the start of the first row to the end of the last; nan where a time is unknown."""
        return float(self.times[:, 2].max() - self.times[:, 0].min())


@dataclass(frozen=True)
class Targets:
    """What is known of a list of videos.

    Args:
        pairs: (P, 2) positions in the list, the better video first.
        scores: (V,), higher is better, nan where unknown; None where only pairs are known.
    """

    pairs: NDArray[np.int64]
    scores: NDArray[np.float64] | None = None


def channels_of(videos: Sequence[VideoFeatures]) -> int:
    """The number of channels that all videos have.

    Raises:
        RecipeError: it differs.
    """
    first = videos[0]
    channels = int(first.values.shape[1])
    for video in videos:
        if video.values.shape[1] != channels:
            raise RecipeError(
                f"video '{video.id}' has {video.values.shape[1]} channels and '{first.id}' "
                f"{channels}; extract both with one aqakit command"
            )
    return channels


class FeatureTensors:
    """Features of several videos, batch by batch, on a device.

    They stay on the device where they fit; else a batch is read from where they lie. Videos of
    different length are padded with zeros and come with a mask.

    Args:
        videos: at least one, all with the same number of channels.
        device: a torch device.
        resident_bytes: keep on the device what fits in so many bytes, as float32.

    Raises:
        RecipeError: videos with different numbers of channels.
    """

    def __init__(
        self,
        videos: Sequence[VideoFeatures],
        device: str = "cpu",
        resident_bytes: int = _RESIDENT_BYTES,
    ) -> None:
        self._videos = videos
        self._device = device
        self._lengths = torch.tensor([len(video.values) for video in videos])
        longest = int(self._lengths.max())
        self._ragged = bool((self._lengths != longest).any())
        self.channels = channels_of(videos)
        size = len(videos) * longest * self.channels * 4
        self._resident = self._stack(range(len(videos))) if size <= resident_bytes else None

    def __len__(self) -> int:
        return len(self._videos)

    def batch(self, which: Tensor) -> tuple[Tensor, Tensor | None]:
        """Features of some videos.

        Args:
            which: (V,) positions, increasing, each once.

        Returns:
            (V, T, C) float32, which the caller must not change, and (V, T) True where a row is
            real, or None where all are.
        """
        if self._resident is None:
            values = self._stack(which.tolist())
        elif len(which) == len(self._videos):
            values = self._resident
        else:
            values = self._resident[which.to(self._resident.device)]
        if not self._ragged:
            return values, None
        mask = torch.arange(values.shape[1]) < self._lengths[which][:, None]
        return values, mask.to(self._device)

    def _stack(self, which: Sequence[int]) -> Tensor:
        arrays = [self._videos[number].values for number in which]
        values = np.zeros((len(arrays), max(map(len, arrays)), self.channels), dtype=np.float32)
        for row, array in zip(values, arrays, strict=True):
            row[: len(array)] = array
        return torch.from_numpy(values).to(self._device)
