"""Tracks: positions or other quantities measured over time, such as kinematics or poses.

A sample without a time of its own lasts one period of the rate; the first begins at 0.
"""

import gzip
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .errors import VideoError
from .segments import Timeline

_GZIP = b"\x1f\x8b"


@dataclass(frozen=True)
class Reading:
    """What a user says of files of tracks.

    Args:
        rate: samples a second, in Hz; None where the files hold times.
        time_column: header of the column of a text file that holds times in seconds.
        person: of a pose file, the place in each frame's list, from 0; None takes the surest one.
    """

    rate: float | None = None
    time_column: str | None = None
    person: int | None = None


@dataclass(frozen=True)
class Track:
    """Samples of several quantities over time.

    Args:
        timeline: when each of the M samples is, and when the last one ends.
        values: (M, C), nan where a value is missing.
        columns: names of the C columns; empty where nobody named them. Columns ``nose.x`` and
            ``nose.y`` are joint ``nose``.
        crowded: (M,) whether a person was chosen among several; None where there are no persons.

    Raises:
        ValueError: numbers that differ.
    """

    timeline: Timeline
    values: NDArray[np.float64]
    columns: tuple[str, ...] = ()
    crowded: NDArray[np.bool_] | None = None

    def __post_init__(self) -> None:
        samples = len(self.timeline.pts_seconds)
        if self.values.ndim != 2 or len(self.values) != samples:
            raise ValueError(f"values are {self.values.shape} for {samples} samples")
        if self.columns and len(self.columns) != self.values.shape[1]:
            raise ValueError(f"{len(self.columns)} names for {self.values.shape[1]} columns")

    def trim(self, start_seconds: float | None, end_seconds: float | None) -> "Track":
        """The samples within ``[start_seconds, end_seconds)``.

        Raises:
            VideoError: there is none.
        """
        if start_seconds is None and end_seconds is None:
            return self
        kept = self.timeline.trim(start_seconds, end_seconds)
        first = int(np.searchsorted(self.timeline.pts_seconds, kept.start_seconds))
        part = slice(first, first + len(kept.pts_seconds))
        crowded = None if self.crowded is None else self.crowded[part]
        return Track(kept, self.values[part], self.columns, crowded)


def read_bytes(path: Path) -> bytes:
    """Content of a file, unpacked where it is gzipped.

    Raises:
        VideoError: it cannot be read, is empty, or breaks off.
    """
    try:
        data = path.read_bytes()
        if data.startswith(_GZIP):
            data = gzip.decompress(data)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise VideoError(f"{path}: is no whole gzip file ({error}); copy it again") from None
    except OSError as error:
        raise VideoError(f"{path}: cannot be read ({error.strerror}); correct it") from None
    if not data.strip():
        raise VideoError(f"{path}: is empty; get the file again")
    return data


def make_timeline(
    path: Path, times: NDArray[np.float64] | None, samples: int, rate: float | None
) -> Timeline:
    """When the samples of a file are.

    Args:
        path: of the file, for messages.
        times: (M,) in seconds, as the file has them; None where it has none.
        samples: M.
        rate: in Hz.

    Raises:
        VideoError: neither times nor a rate, times that do not increase, or one time alone.
    """
    if times is None:
        if rate is None:
            raise VideoError(f"{path}: holds no times; say how many samples a second with --rate")
        return Timeline(np.arange(samples) / rate, samples / rate)
    later = np.append(True, times[1:] > times[:-1])
    wrong = np.flatnonzero(~np.isfinite(times) | ~later)
    if len(wrong):
        raise VideoError(
            f"{path}: time {times[wrong[0]]} of sample {wrong[0]} is not after the one before; "
            "sort the samples"
        )
    if len(times) == 1 and rate is None:
        raise VideoError(f"{path}: holds one sample alone; say how long it lasts with --rate")
    period = 1 / rate if rate is not None else float(np.median(np.diff(times)))
    try:
        return Timeline(times, float(times[-1]) + period)
    except ValueError as error:
        raise VideoError(f"{path}: has no times in seconds ({error}); correct their unit") from None
