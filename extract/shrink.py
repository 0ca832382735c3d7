"""Scale a decoded frame to a small picture with square pixels, turned as the file asks."""

from fractions import Fraction

import cv2
import numpy as np
from av import VideoFrame
from av.video.reformatter import ColorRange, Colorspace, VideoReformatter
from numpy.typing import NDArray

Size = tuple[int, int]

# Pixels more oblong than this are a mistake of the file; to believe it would fill the memory.
_MOST_OBLONG = 4


def within_long_side(size: Size, side: int) -> Size:
    """The largest size of the same shape whose longer side is no longer; never larger."""
    share = min(1.0, side / max(size))
    return max(1, round(size[0] * share)), max(1, round(size[1] * share))


def within_short_side(size: Size, side: int) -> Size:
    """The same with the shorter side, and both even."""
    share = min(1.0, side / min(size))
    # H.264 halves the resolution of colour.
    return max(2, int(size[0] * share / 2) * 2), max(2, int(size[1] * share / 2) * 2)


class Shrinker:
    """Makes small pictures of the frames of one video.

    Args:
        pixel_aspect: width of a pixel by its height, such as ``64/51``; None where the file does
            not say.
    """

    def __init__(self, pixel_aspect: str | None) -> None:
        aspect = float(Fraction(pixel_aspect)) if pixel_aspect else 1.0
        self._aspect = aspect if 1 / _MOST_OBLONG <= aspect <= _MOST_OBLONG else 1.0
        # Each keeps what it has learned of the first frame.
        self._to_rgb, self._to_video = VideoReformatter(), VideoReformatter()

    def shown_size(self, frame: VideoFrame) -> Size:
        """Width and height as a player shows the frame, in square pixels."""
        width, height = max(1, round(frame.width * self._aspect)), frame.height
        return (height, width) if _quarter_turns(frame) % 2 else (width, height)

    def rgb(self, frame: VideoFrame, size: Size) -> NDArray[np.uint8]:
        """(H, W, 3) picture of a given (W, H)."""
        turns = _quarter_turns(frame)
        width, height = reversed(size) if turns % 2 else size
        scaled = self._to_rgb.reformat(frame, width, height, "rgb24", threads=1)
        image: NDArray[np.uint8] = np.rot90(scaled.to_ndarray(), turns).astype(np.uint8, copy=False)
        return np.ascontiguousarray(image)

    def video(self, frame: VideoFrame, size: Size) -> VideoFrame:
        """The same as a frame for an encoder: 8 bit, in the colours of BT.709."""
        if _quarter_turns(frame):
            frame = VideoFrame.from_ndarray(self.rgb(frame, size), format="rgb24")
        return self._to_video.reformat(
            frame,
            *size,
            "yuv420p",
            dst_colorspace=Colorspace.ITU709,
            dst_color_range=ColorRange.MPEG,
            threads=1,
        )

    def jpeg(self, frame: VideoFrame, side: int, quality: int) -> bytes:
        """JPEG of a frame, the longer side at most so long."""
        image = self.rgb(frame, within_long_side(self.shown_size(frame), side))
        options = [cv2.IMWRITE_JPEG_QUALITY, quality, cv2.IMWRITE_JPEG_OPTIMIZE, 1]
        done, encoded = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), options)
        assert done  # of a picture that is not empty
        return encoded.tobytes()


def _quarter_turns(frame: VideoFrame) -> int:
    return round(frame.rotation / 90) % 4
