"""Take single frames out of a long video without reading the rest of it.

Containers with an index of presentation times are jumped about in. Whatever is odd about a file ends
in :class:`CannotSeekError`: ``decode.py`` reads it from one end to the other and knows what is wrong.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

import av
from av import VideoFrame
from av.container import InputContainer
from av.video.stream import VideoStream

from ..features.errors import VideoError
from .decode import check_file

_INDEXED = frozenset({"mp4", "mov", "matroska", "webm"})
# Decoding on costs less than a jump to a moment that is nearer than this.
_NEAR_SECONDS = 2.0
# Presentation times are rationals that arrive as floats.
_TOLERANCE = 1e-6


class CannotSeekError(Exception):
    """The file has to be read as a whole."""


@contextmanager
def seeking(path: Path) -> Iterator["Seeker"]:
    """Open a video to take frames out of it.

    Raises:
        CannotSeekError: at any point in the block, the file has to be read as a whole.
    """
    try:
        check_file(path)
        with av.open(str(path)) as container:
            stream = container.streams.best("video")
            if not _INDEXED & set(container.format.name.split(",")) or stream is None:
                raise CannotSeekError
            assert isinstance(stream, VideoStream)
            stream.thread_type = "AUTO"
            yield Seeker(container, stream)
    except (VideoError, av.FFmpegError, OSError, ValueError) as error:
        raise CannotSeekError from error


class Seeker:
    """A video whose frames are asked for by time, in seconds of the file's own clock.

    Raises:
        CannotSeekError: the file does not say how long it is.
    """

    def __init__(self, container: InputContainer, stream: VideoStream) -> None:
        if stream.codec_context is None or stream.time_base is None:
            raise CannotSeekError
        self._container, self._stream = container, stream
        self._tick = stream.time_base
        self._origin = round(Fraction(container.start_time or 0, av.time_base) / self._tick)
        self._frames: Iterator[VideoFrame] = iter(())
        # The frames shown before and after the last moment asked for.
        self._shown: VideoFrame | None = None
        self._next: VideoFrame | None = None
        aspect = stream.codec_context.sample_aspect_ratio
        self.pixel_aspect = str(aspect) if aspect else None
        begins = self._origin if stream.start_time is None else stream.start_time
        self.begins_seconds = self._seconds(begins)
        self.ends_seconds = self._end()

    def _end(self) -> float:
        if self._stream.duration:
            return self.begins_seconds + float(self._stream.duration * self._tick)
        if self._container.duration:
            # Matroska counts from 0, not from its first frame.
            return self._container.duration / av.time_base - float(self._origin * self._tick)
        raise CannotSeekError

    def _seconds(self, pts: int) -> float:
        return float((pts - self._origin) * self._tick)

    def at(self, seconds: float) -> VideoFrame:
        """The frame shown at a moment; before the first one, that one.

        Raises:
            CannotSeekError: the file breaks off before, or holds no usable times.
        """
        ahead = seconds - self._reached()
        if not 0 <= ahead < _NEAR_SECONDS:
            self._jump(seconds)
        while self._next is not None and self._time(self._next) <= seconds + _TOLERANCE:
            self._shown, self._next = self._next, next(self._frames, None)
        if self._shown is None:
            if self._next is None or self._time(self._next) > self.begins_seconds + _TOLERANCE:
                raise CannotSeekError
            return self._next
        if self._next is None and seconds > self._until(self._shown) + _TOLERANCE:
            raise CannotSeekError
        return self._shown

    def _reached(self) -> float:
        return float("inf") if self._shown is None else self._time(self._shown)

    def _jump(self, seconds: float) -> None:
        target = self._origin + int((max(seconds, self.begins_seconds) + _TOLERANCE) / self._tick)
        self._container.seek(target, stream=self._stream, backward=True)
        self._frames = self._container.decode(self._stream)
        self._shown, self._next = None, next(self._frames, None)

    def _time(self, frame: VideoFrame) -> float:
        if frame.pts is None:
            raise CannotSeekError
        return self._seconds(frame.pts)

    def _until(self, last: VideoFrame) -> float:
        """When the last frame that the file holds stops being shown."""
        return self._time(last) + float((last.duration or 0) * self._tick)
