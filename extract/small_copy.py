"""Encode frames as a small video that browsers play, and that can be jumped about in.

H.264 in MP4 where this FFmpeg can write it, else VP8 in WebM.
"""

import io
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Self

import av
from av import Packet, VideoFrame
from av.video.frame import PictureType
from av.video.stream import VideoStream

from .shrink import Size

_TICK = Fraction(1, 1000)
_KEY_FRAME_SECONDS = 1.0
# What a container spends on the index entry of a frame, and all else that is not picture.
_BITS_OF_ENTRY = 160
_BT709 = 1


class CopyError(Exception):
    """No copy can be written, which is no fault of the video; its text says why."""


@dataclass(frozen=True)
class Codec:
    """A way to write a copy.

    Args:
        name: of FFmpeg's encoder.
        container: of FFmpeg's muxer.
        media_type: as a page names it.
        options: of the encoder.
    """

    name: str
    container: str
    media_type: str
    options: Mapping[str, str]


CODECS = (
    Codec(
        "libx264",
        "mp4",
        "video/mp4",
        # Frames in the order of their times need no delay at the start that a player must undo.
        # Rate control by macroblock trees gives other bytes once in a few thousand videos.
        {
            "preset": "veryfast",
            "crf": "28",
            "bf": "0",
            "x264-params": "mbtree=0",
        },
    ),
    # VP8, as VP9 spends twice of what it is given when key frames come so often.
    Codec(
        "libvpx",
        "webm",
        "video/webm",
        {"deadline": "realtime", "cpu-used": "8", "crf": "20", "lag-in-frames": "0"},
    ),
)


def best_codec() -> Codec:
    """The first that this FFmpeg can write.

    Raises:
        CopyError: it can write none.
    """
    for codec in CODECS:
        if codec.name in av.codecs_available:
            return codec
    raise CopyError("this FFmpeg writes no video that browsers play; install one with libx264")


class SmallCopy:
    """A video being written, in memory: a process that is killed leaves no file behind.

    Args:
        codec: to write it with.
        size: of all frames.
        fps: of the frames on average.
        bits_per_second: at most, of H.264; one second more of it may be spent at the start. VP8
            takes more for pictures that are mostly noise.
    """

    def __init__(self, codec: Codec, size: Size, fps: float, bits_per_second: int) -> None:
        # WebM would number every file anew.
        options = {"fflags": "+bitexact"}
        if codec.container == "mp4":
            # The index in front lets a browser play before it has all.
            options["movflags"] = "+faststart"
        self._file = io.BytesIO()
        self._container = av.open(
            self._file, "w", format=codec.container, options=options, io_open=self._read_again
        )
        rate = max(bits_per_second // 2, bits_per_second - round(_BITS_OF_ENTRY * fps))
        self._stream = _stream(self._container, codec, size, fps, rate)
        self._begins = 0.0
        self._last_pts = -1
        self._next_key = 0
        self._held: Packet[VideoStream] | None = None

    def _read_again(self, *_: object) -> io.BytesIO:
        """What was written so far, which FFmpeg moves back when it knows the size of the index."""
        return io.BytesIO(self._file.getvalue())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._container.close()

    def add(self, frame: VideoFrame, seconds: float) -> None:
        """Append a frame that is shown from a time on; the first one's time becomes 0."""
        if self._last_pts < 0:
            self._begins = seconds
        pts = max(self._ticks(seconds), self._last_pts + 1)
        frame.pts, frame.time_base = pts, _TICK
        # A frame comes with the kind that it had in its own file.
        frame.pict_type = PictureType.I if pts >= self._next_key else PictureType.NONE
        if pts >= self._next_key:
            self._next_key = pts + round(_KEY_FRAME_SECONDS / _TICK)
        self._last_pts = pts
        self._mux(self._stream.encode(frame))

    def finish(self, seconds: float) -> bytes:
        """The whole video, whose last frame is shown until then; no more frames can be added."""
        self._mux(self._stream.encode(None))
        self._let_go(self._ticks(seconds))
        self._container.close()
        return self._file.getvalue()

    def _ticks(self, seconds: float) -> int:
        return round((seconds - self._begins) / _TICK)

    def _mux(self, packets: "list[Packet[VideoStream]]") -> None:
        for packet in packets:
            assert packet.pts is not None  # encoders pass the times of frames on
            self._let_go(packet.pts)
            self._held = packet

    def _let_go(self, until: int) -> None:
        """Write the packet that waits, whose frame is shown until then."""
        if self._held is not None and self._held.pts is not None:
            self._held.duration = max(1, until - self._held.pts)
            self._container.mux(self._held)
        self._held = None


def _stream(
    container: av.container.OutputContainer, codec: Codec, size: Size, fps: float, rate: int
) -> VideoStream:
    whole = str(10**6)  # key frames come when they are asked for
    limits = {"maxrate": str(rate), "bufsize": str(rate), "g": whole, "b": str(rate)}
    # Frames are a tick apart at least, and VP8 refuses a rate at which they would be nearer.
    stream = container.add_stream(
        codec.name,
        rate=min(1 / _TICK, max(Fraction(1), Fraction(fps).limit_denominator(1001))),
        options={**limits, **codec.options},
    )
    assert isinstance(stream, VideoStream)
    stream.width, stream.height = size
    stream.pix_fmt = "yuv420p"
    context = stream.codec_context
    context.time_base = _TICK
    context.colorspace = context.color_primaries = context.color_trc = _BT709
    # What H.264 writes depends on the number of threads: one gives the same file everywhere.
    context.thread_count = 1
    return stream
