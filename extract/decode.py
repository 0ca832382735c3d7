"""Decode a video as a stream of frames with their presentation times.

A video is read twice. The scan reads packets without decoding them, which costs little more than
reading the file, and gives the presentation time of every frame, so that the whole plan of a video
is known before its first frame is decoded. The decoding then hands out one frame at a time. Should
the decoder show frames at other times than the packets promised, :class:`TimelineDiffersError` asks
the caller to scan again by decoding.
"""

import errno
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.container import InputContainer
from av.video.stream import VideoStream
from numpy.typing import NDArray

from ..features.errors import VideoError
from ..features.segments import Timeline

# A broken file would otherwise fill the terminal with the decoder's own messages.
av.logging.set_level(None)

# A packet's or frame's presentation time and duration, in ticks.
_Shown = tuple[int | None, int | None]

# Below this a seek saves nothing: the decoder starts at a key frame anyway.
_SEEK_FROM_SECONDS = 5.0
# A file ends before its stated end when more than this is missing: headers round, and the sound may
# run on for a moment after the picture.
_TRUNCATED_FRAMES = 3
_TRUNCATED_SHARE = 0.02
_PLACEHOLDER_CODECS = ("none", "unknown")


class TimelineDiffersError(Exception):
    """The decoder showed other frame times than the packets promised."""


@dataclass(frozen=True)
class StreamFacts:
    """What the container says of the decoded stream; kept as provenance."""

    codec: str
    width: int
    height: int
    stream_index: int
    nominal_fps: float | None
    time_base: str
    pixel_format: str | None
    pixel_aspect: str | None

    def to_dict(self) -> dict[str, str | int | float | None]:
        """Plain values for a JSON file."""
        return asdict(self)


@dataclass(frozen=True)
class Scan:
    """A video's timeline before any frame is decoded.

    Args:
        path: the video file.
        pts: (M,) presentation times in ticks of ``time_base``, increasing.
        time_base: seconds of a tick.
        origin: tick that a player shows as 0 s.
        timeline: the same times in seconds, from the origin.
        facts: of the stream.
        exact: the times are the decoder's own, not the packets'.
        stated_end_seconds: where the container says that the picture ends; None where the file
            holds all that it promises.
    """

    path: Path
    pts: NDArray[np.int64]
    time_base: Fraction
    origin: int
    timeline: Timeline
    facts: StreamFacts
    exact: bool
    stated_end_seconds: float | None = None

    def window(self, start_seconds: float | None, end_seconds: float | None) -> Timeline:
        """The part of the timeline that starts within ``[start_seconds, end_seconds)``.

        Raises:
            VideoError: no frame starts there, or the file breaks off before the end of the window.
        """
        reached = self.timeline.end_seconds
        if self.stated_end_seconds is not None and (end_seconds is None or end_seconds > reached):
            raise VideoError(
                f"{self.path} breaks off at {reached:.3f} of {self.stated_end_seconds:.3f} s; copy "
                f"it again, or set 'end' to {reached:.3f} in the manifest to use what is there"
            )
        try:
            return self.timeline.trim(start_seconds, end_seconds)
        except VideoError as error:
            raise VideoError(f"{self.path}: {error}") from None

    def index_of(self, pts: int) -> int | None:
        """Position of a frame by its presentation time; None if no frame was promised then."""
        index = int(np.searchsorted(self.pts, pts))
        return index if index < len(self.pts) and self.pts[index] == pts else None


@dataclass(frozen=True)
class DecodedFrame:
    """One frame as it is to be shown.

    Args:
        index: position in the scanned timeline.
        frame: the decoder's picture; converted only when :meth:`rgb` is called.
    """

    index: int
    frame: av.VideoFrame

    def rgb(self) -> NDArray[np.uint8]:
        """(H, W, 3) picture, turned as the file asks for."""
        image = self.frame.to_ndarray(format="rgb24")
        quarter_turns = round(self.frame.rotation / 90) % 4
        return np.ascontiguousarray(np.rot90(image, quarter_turns)).astype(np.uint8, copy=False)


def scan(path: Path, exact: bool = False) -> Scan:
    """Read the presentation time of every frame of FFmpeg's best video stream.

    Args:
        path: a video file.
        exact: take the times from decoded frames instead of packets; slow, for files whose packets
            carry no usable times.

    Raises:
        VideoError: the file cannot be opened, has no video stream that can be decoded, or no frame.
    """
    with _opened(path) as (container, stream):
        facts, time_base = _facts(stream), _time_base(stream)
        origin = round(Fraction(container.start_time or 0, av.time_base) / time_base)
        stated = _stated_end(container, stream)
        packets = _read_packets(path, container, stream)
        if packets.corrupt and stream.frames > len(packets.shown):
            # Some demuxers guess the duration anew from the size of a cut file.
            stated = max(
                stated, stream.frames * _nominal_ticks(facts, time_base) * float(time_base)
            )
        complete = stream.frames <= len(packets.shown) and _usable(packets.shown)
    shown = packets.shown
    if exact or not complete:
        exact = True
        with _opened(path) as (container, stream):
            shown = [(frame.pts, frame.duration) for frame in _frames(path, container, stream)]
    if not shown:
        raise VideoError(f"{path} holds no video frame; record or export it again")
    pts = _increasing(shown, facts, time_base)
    frame_ticks = _typical_ticks(pts, facts, time_base)
    seconds = ((pts - origin) * float(time_base)).astype(np.float64)
    end = float(seconds[-1]) + _last_ticks(pts, shown, frame_ticks) * float(time_base)
    slack = max(_TRUNCATED_FRAMES * frame_ticks * float(time_base), _TRUNCATED_SHARE * stated)
    broken_off = stated - max(end, packets.reached_seconds) > slack
    return Scan(
        path,
        pts,
        time_base,
        origin,
        Timeline(seconds, end),
        facts,
        exact,
        stated if broken_off else None,
    )


def decode(plan: Scan, first: int, last: int) -> Iterator[DecodedFrame]:
    """Decode frames ``first`` to ``last`` of a scanned video, one at a time.

    Raises:
        TimelineDiffersError: a frame came at a time that the scan does not hold, or was left out;
            scan again with ``exact=True``.
        VideoError: the file breaks off or cannot be decoded between the two frames.
    """
    if plan.exact:
        yield from _decode_in_order(plan, first, last)
        return
    expected = first
    for index, frame in _decode_by_time(plan, first):
        if index < first:
            continue
        if index != expected:
            raise TimelineDiffersError(str(plan.path))
        yield DecodedFrame(index, frame)
        expected += 1
        if index == last:
            return
    raise TimelineDiffersError(str(plan.path))


def _decode_by_time(plan: Scan, first: int) -> Iterator[tuple[int, av.VideoFrame]]:
    """Frames from a key frame before ``first`` on, with their position in the plan."""
    with _opened(plan.path) as (container, stream):
        if plan.timeline.pts_seconds[first] - plan.timeline.start_seconds > _SEEK_FROM_SECONDS:
            container.seek(int(plan.pts[first]), stream=stream, backward=True)
        for frame in _frames(plan.path, container, stream):
            index = None if frame.pts is None else plan.index_of(frame.pts)
            if index is None:
                raise TimelineDiffersError(str(plan.path))
            yield index, frame


def _decode_in_order(plan: Scan, first: int, last: int) -> Iterator[DecodedFrame]:
    """Frames by their place in the decoder's output, whose times an exact scan has repaired."""
    with _opened(plan.path) as (container, stream):
        for index, frame in enumerate(_frames(plan.path, container, stream)):
            if index >= first:
                yield DecodedFrame(index, frame)
            if index == last:
                return
    raise VideoError(f"{plan.path} gave fewer frames on a second reading; is it being written?")


@contextmanager
def _opened(path: Path) -> Iterator[tuple[InputContainer, VideoStream]]:
    """A file's container and the video stream that FFmpeg calls best."""
    check_file(path)
    try:
        container = av.open(str(path))
    except (av.FFmpegError, OSError, ValueError) as error:
        raise VideoError(
            f"{path} is not a video that FFmpeg can open ({_reason(error)}); convert it, or remove "
            "it from the batch"
        ) from None
    with container:
        stream = container.streams.best("video")
        if stream is None:
            raise VideoError(f"{path} has no video stream; give the file with the picture")
        assert isinstance(stream, VideoStream)
        codec = stream.codec_context
        if codec is None or codec.name in _PLACEHOLDER_CODECS:
            raise VideoError(
                f"{path} uses a video codec that this FFmpeg cannot decode; convert it to H.264"
            )
        stream.thread_type = "AUTO"
        yield container, stream


def check_file(path: Path) -> None:
    """Raise a VideoError unless a path is a file that can be read and holds something."""
    try:
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            raise VideoError(f"{path} is a folder; give a video file")
        # Opening a pipe would wait for ever for somebody who writes into it.
        if not stat.S_ISREG(status.st_mode):
            raise VideoError(f"{path} is a pipe or a device; give a video file")
        with path.open("rb"):
            size = status.st_size
    except OSError as error:
        cure = (
            "correct the path" if error.errno == errno.ENOENT else "make it readable for this user"
        )
        raise VideoError(f"{path} cannot be read ({error.strerror}); {cure}") from None
    if size == 0:
        raise VideoError(f"{path} is empty (0 bytes); copy it again")


@dataclass(frozen=True)
class _Packets:
    """What the packets of a file say without decoding.

    Args:
        shown: time and duration of each packet of the video stream that is to be shown.
        reached_seconds: where the last packet of any stream ends, if the container states a
            duration for the whole file only; else 0.
        corrupt: whether a packet was cut short.
    """

    shown: list[_Shown]
    reached_seconds: float
    corrupt: bool


def _read_packets(path: Path, container: InputContainer, stream: VideoStream) -> _Packets:
    shown: list[_Shown] = []
    reached, corrupt = 0.0, False
    try:
        for packet in container.demux():
            if packet.size and packet.pts is not None and packet.time_base:
                ticks = packet.pts + (packet.duration or 0)
                reached = max(reached, float(ticks * packet.time_base))
            if packet.stream_index == stream.index and packet.size and not packet.is_discard:
                shown.append((packet.pts, packet.duration))
                corrupt |= packet.is_corrupt
    except (av.FFmpegError, OSError) as error:
        raise _broken(path, None, error) from None
    start = (container.start_time or 0) / av.time_base
    return _Packets(shown, 0.0 if stream.duration else reached - start, corrupt)


def _time_base(stream: VideoStream) -> Fraction:
    assert stream.time_base is not None  # set for every stream of an opened file
    return stream.time_base


def _stated_end(container: InputContainer, stream: VideoStream) -> float:
    """When the picture ends by the container's own word, in seconds; 0 where it does not say."""
    if stream.duration:
        return float(stream.duration * _time_base(stream))
    return (container.duration or 0) / av.time_base


def _frames(path: Path, container: InputContainer, stream: VideoStream) -> Iterator[av.VideoFrame]:
    """Decoded frames; an error of the decoder names the time it happened at."""
    reached: float | None = None
    try:
        for frame in container.decode(stream):
            reached = frame.time
            yield frame
    except (av.FFmpegError, OSError) as error:
        raise _broken(path, reached, error) from None


def _broken(path: Path, reached: float | None, error: Exception) -> VideoError:
    if isinstance(error, av.DecoderNotFoundError):
        return VideoError(
            f"{path} uses a video codec that this FFmpeg cannot decode; convert it to H.264"
        )
    where = "from its first frame" if reached is None else f"after {reached:.3f} s"
    cure = "" if reached is None else f", or set 'end' to {reached:.3f} in the manifest"
    return VideoError(f"{path} is broken {where} ({_reason(error)}); copy or record it again{cure}")


def _reason(error: Exception) -> str:
    return (getattr(error, "strerror", None) or str(error)).strip().rstrip(".")


def _facts(stream: VideoStream) -> StreamFacts:
    context = stream.codec_context
    rate, aspect = stream.average_rate, context.sample_aspect_ratio
    return StreamFacts(
        codec=context.name,
        width=context.width,
        height=context.height,
        stream_index=stream.index,
        nominal_fps=float(rate) if rate else None,
        time_base=str(stream.time_base),
        pixel_format=context.pix_fmt,
        pixel_aspect=str(aspect) if aspect else None,
    )


def _usable(shown: list[_Shown]) -> bool:
    """Whether packets carry a presentation time each, no two the same."""
    known = {pts for pts, _ in shown if pts is not None}
    return len(known) == len(shown)


def _nominal_ticks(facts: StreamFacts, time_base: Fraction) -> int:
    """Ticks of one frame at the nominal rate; 25 fps where the file names none."""
    return max(1, round(1 / (facts.nominal_fps or 25.0) / float(time_base)))


def _increasing(found: list[_Shown], facts: StreamFacts, time_base: Fraction) -> NDArray[np.int64]:
    """Strictly increasing times; a missing or repeated one follows its forerunner by a frame.

    Packets come in decoding order, so theirs are sorted; they are only used when all are there.
    """
    if _usable(found):
        return np.sort(np.array([pts for pts, _ in found], dtype=np.int64))
    step = _nominal_ticks(facts, time_base)
    times: list[int] = []
    for pts, _ in found:
        follow = times[-1] + step if times else 0
        times.append(pts if pts is not None and (not times or pts > times[-1]) else follow)
    return np.array(times, dtype=np.int64)


def _typical_ticks(pts: NDArray[np.int64], facts: StreamFacts, time_base: Fraction) -> int:
    step = int(np.median(np.diff(pts))) if len(pts) > 1 else _nominal_ticks(facts, time_base)
    return max(step, 1)


def _last_ticks(pts: NDArray[np.int64], found: list[_Shown], typical: int) -> int:
    """Ticks that the last frame is shown: as the file says, else as long as the typical frame."""
    stated = {at: ticks for at, ticks in found if at is not None}.get(int(pts[-1]))
    # Some files state the duration of the last frame in another unit, or as the rest of the file.
    return int(stated) if stated and stated <= 2 * typical else typical
