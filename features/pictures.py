"""What may be shown of a video: which pictures are wanted, and what could be taken."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Quality:
    """How large and how good pictures are; none is ever larger than the video itself.

    Widths and heights are those of a video that is wider than high. Of an upright one they change
    places, so that its pictures hold as many pixels.

    Args:
        thumbnail_width: in pixels, of a picture for a table.
        still_width: in pixels, of a picture of one moment.
        jpeg_quality: of both, 1 to 100.
        copy_height: in pixels, of a copy.
        copy_fps: frames a second of a copy, at most; of a faster video every second, third and so
            on is shown, and none is ever invented.
        copy_bits_per_second: size of a copy: of one of S seconds at most this times S + 1. Where
            FFmpeg cannot write H.264, pictures that are mostly noise may take more.

    Raises:
        ValueError: a number that nothing can be made with.
    """

    thumbnail_width: int = 120
    still_width: int = 240
    jpeg_quality: int = 60
    copy_height: int = 240
    copy_fps: float = 30.0
    copy_bits_per_second: int = 150_000

    def __post_init__(self) -> None:
        for name in ("thumbnail_width", "still_width", "copy_height"):
            if getattr(self, name) < 2:
                raise ValueError(f"{name} is {getattr(self, name)}; a picture needs 2 pixels")
        if not 1 <= self.jpeg_quality <= 100:
            raise ValueError(f"jpeg_quality is {self.jpeg_quality}, not from 1 to 100")
        if not 0 < self.copy_fps <= 1000:
            raise ValueError(f"copy_fps is {self.copy_fps}, not over 0 and up to 1000")
        if self.copy_bits_per_second < 10_000:
            raise ValueError(
                f"copy_bits_per_second is {self.copy_bits_per_second}; below 10000 nothing can be "
                "made out"
            )


@dataclass(frozen=True)
class Wish:
    """The pictures wanted of one video. Times are seconds of the file's own clock.

    Args:
        path: the file.
        start_seconds: where the used stretch begins; None is the file's own start.
        end_seconds: where it ends; None is the file's own end.
        stills: of which moments; one outside the stretch gets the nearest frame of it.
        copy: whether a small copy that a browser plays is wanted.
        longest_copy_seconds: a stretch that lasts longer gets none, which is no fault. Of a file
            with an index its header says how long it lasts.

    Raises:
        ValueError: longest_copy_seconds is not a number.
    """

    path: Path
    start_seconds: float | None = None
    end_seconds: float | None = None
    stills: tuple[float, ...] = ()
    copy: bool = False
    longest_copy_seconds: float = math.inf

    def __post_init__(self) -> None:
        if math.isnan(self.longest_copy_seconds):
            raise ValueError("longest_copy_seconds is nan, no length that others are longer than")


@dataclass(frozen=True)
class Pictures:
    """What could be taken of one video.

    Args:
        thumbnail: JPEG of the frame in the middle of the stretch.
        stills: by moment, JPEG of the frame shown then; what could not be taken is not there.
        copy: of the stretch, without sound; its own times begin at 0.
        media_type: of the copy.
        begins_seconds: time, on the file's clock, of the first frame of the stretch.
        seconds: length of the stretch, as far as it can be shown; 0 where nothing is known of it.
        fault: why something is missing, one line; empty where nothing is.
    """

    thumbnail: bytes | None = None
    stills: Mapping[float, bytes] = field(default_factory=dict)
    copy: bytes | None = None
    media_type: str = "video/mp4"
    begins_seconds: float = 0.0
    seconds: float = 0.0
    fault: str = ""
