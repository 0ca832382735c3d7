"""Variants of a video, made on purpose: brightness, zoom, masked background, and so on.

A metric learner needs more pairs of alike videos than a data set has. Jain et al., Action Quality
Assessment using Siamese Network-Based Deep Metric Learning (sections III-C and V-A), make them by
changing brightness, by zooming, by masking the background, by equalising the histogram and by
dropping random frames. The paper gives no amounts, so each is part of the variant's name; and each
variant is named in the key of its features, so it is computed once and never mistaken for the
video itself.

A variant comes before all else, the preprocessing of the network included. It depends on nothing
but its name and the video: not on the number of threads, nor on the order of the videos.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from ..features.errors import RecipeError
from ..features.segments import Timeline
from .flow import grey

Picture = NDArray[np.uint8]

# Smallest and largest amount of each form that has one, in per cent.
_PERCENT = {"brightness": (1, 1000), "zoom": (100, 1000), "drop": (1, 99)}
_PLAIN = ("none", "mask", "equalise")
_UNCHANGED_PERCENT = 100
_TEXT = re.compile(
    rf"(?P<plain>{'|'.join(_PLAIN)})|(?P<form>brightness|zoom)-(?P<percent>[0-9]{{1,9}})"
    r"|drop-(?P<dropped>[0-9]{1,9})(-seed(?P<seed>[0-9]{1,9}))?"
)

VARIANTS_HELP = (
    "none, mask, equalise, "
    + ", ".join(f"{form}-P ({low} to {high} per cent)" for form, (low, high) in _PERCENT.items())
    + " or drop-P-seedN"
)


class PictureFilter(Protocol):
    """Alters the pictures of one video, one after the other.

    Attributes:
        every_frame: whether it must see every frame from the first one used, in order, also those
            that no feature wants. Others may be given any frames in any order.
    """

    every_frame: bool

    def __call__(self, picture: Picture) -> Picture:
        """Alter a picture.

        Args:
            picture: (H, W, 3) RGB; left as it is.

        Returns:
            (H, W, 3) RGB; the picture itself where nothing changes.
        """
        ...


@dataclass(frozen=True)
class Variant:
    """How a video is altered before features are computed.

    Args:
        form: ``none``, ``brightness``, ``zoom``, ``mask``, ``equalise`` or ``drop``.
        percent: brightness and zoom in per cent of the video's own; per cent of frames dropped; 0
            for the other forms.
        seed: of ``drop``; 0 for the other forms.

    Raises:
        ValueError: no such form, or an amount or seed that it does not take; so that a variant has
            one name, 100 per cent of the video's own brightness or size is ``none``.
    """

    form: str = "none"
    percent: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.form not in (*_PLAIN, *_PERCENT):
            raise ValueError(f"form is '{self.form}'; it must be one of {(*_PLAIN, *_PERCENT)}")
        low, high = _PERCENT.get(self.form, (0, 0))
        if not low <= self.percent <= high:
            raise ValueError(f"{self.form} takes {low} to {high} per cent, not {self.percent}")
        if self.percent == _UNCHANGED_PERCENT:
            raise ValueError(f"{self.form} of {self.percent} per cent changes nothing; use none")
        if self.seed < 0 or (self.seed and self.form != "drop"):
            raise ValueError(f"seed is {self.seed}; it must be 0, or positive and that of a drop")

    @property
    def text(self) -> str:
        """The one name, for example ``zoom-125`` or ``drop-10-seed3``; :meth:`parse` reads it."""
        words = [self.form]
        if self.form in _PERCENT:
            words.append(str(self.percent))
        if self.seed:
            words.append(f"seed{self.seed}")
        return "-".join(words)

    @classmethod
    def parse(cls, text: str) -> "Variant":
        """Read :attr:`text` back.

        Brightness or zoom of 100 per cent is no variant but the video itself: ``none``.

        Raises:
            RecipeError: the text names no variant, or an amount outside its range.
        """
        match = _TEXT.fullmatch(text)
        if match is None:
            raise RecipeError(f"'{text}' is no variant; choose one of: {VARIANTS_HELP}")
        form = match["plain"] or match["form"] or "drop"
        percent = int(match["percent"] or match["dropped"] or 0)
        if match["form"] and percent == _UNCHANGED_PERCENT:
            return cls()
        try:
            return cls(form, percent, int(match["seed"] or 0))
        except ValueError as error:
            raise RecipeError(f"'{text}' is no variant: {error}") from None

    def timeline(self, timeline: Timeline) -> tuple[Timeline, NDArray[np.int64]]:
        """The frames that the variant has left.

        ``drop`` takes out its share of the M frames, rounded, anywhere but at the two ends. Those
        that stay keep their times, so that each is shown until the next one that is left, as in a
        recording with lost frames; the duration does not change. Which frames go depends on M and
        the seed alone, and a larger share with the same seed takes out the same frames and more.

        Args:
            timeline: of M frames.

        Returns:
            The timeline of the M' frames left, and their (M',) positions among the M, ascending;
            the timeline itself and all positions for every form but ``drop``.
        """
        positions = np.arange(len(timeline.pts_seconds), dtype=np.int64)
        if self.form != "drop":
            return timeline, positions
        kept = np.delete(positions, _dropped(len(positions), self.percent, self.seed))
        return Timeline(timeline.pts_seconds[kept], timeline.end_seconds), kept

    def picture_filter(self) -> PictureFilter:
        """What alters the pictures of one video; every video needs its own."""
        return _FILTERS[self.form](self.percent)


def _dropped(frames: int, percent: int, seed: int) -> NDArray[np.int64]:
    """Positions of the frames to drop, in no order."""
    inner = max(0, frames - 2)
    count = min((frames * percent + 50) // 100, inner)
    # numpy promises the raw numbers of a bit generator for all versions, but not what its
    # ``Generator`` makes of them; the same key must always mean the same frames.
    draws = np.random.PCG64(seed).random_raw(inner)
    return 1 + np.argsort(draws, kind="stable")[:count]


class _Unchanged:
    """The pictures as they are."""

    every_frame = False

    def __init__(self, percent: int) -> None:
        pass

    def __call__(self, picture: Picture) -> Picture:
        return picture


class _Brightness:
    """All values times a factor, rounded half up, clipped at white."""

    every_frame = False

    def __init__(self, percent: int) -> None:
        values = (np.arange(256) * percent + 50) // 100
        self._table = values.clip(max=255).astype(np.uint8)

    def __call__(self, picture: Picture) -> Picture:
        return np.asarray(cv2.LUT(picture, self._table), dtype=np.uint8)


class _Zoom:
    """The middle of the picture, enlarged to its size.

    An odd margin leaves its extra pixel at the bottom and at the right.
    """

    every_frame = False

    def __init__(self, percent: int) -> None:
        self._percent = percent

    def __call__(self, picture: Picture) -> Picture:
        height, width = picture.shape[:2]
        rows, columns = self._cut(height), self._cut(width)
        enlarged = cv2.resize(
            picture[rows, columns], (width, height), interpolation=cv2.INTER_LINEAR
        )
        return np.asarray(enlarged, dtype=np.uint8)

    def _cut(self, side: int) -> slice:
        length = max(1, (side * 100 + self._percent // 2) // self._percent)
        begin = (side - length) // 2
        return slice(begin, begin + length)


class _Equalise:
    """The histogram of the brightness flattened, picture by picture; colours kept.

    Equalising Y of YCrCb at the same Cr and Cb adds the change of Y to red, green and blue alike.
    Adding it directly spares the rounding of two conversions: the differences between the channels
    stay exactly as they were, except where a value is clipped at black or white.

    Every picture has a histogram of its own, so a change of content can make a video flicker.
    """

    every_frame = False

    def __init__(self, percent: int) -> None:
        pass

    def __call__(self, picture: Picture) -> Picture:
        luma = grey(picture)
        change = cv2.subtract(cv2.equalizeHist(luma), luma, dtype=cv2.CV_16S)
        shifted = cv2.add(picture, cv2.merge([change] * 3), dtype=cv2.CV_8U)
        return np.asarray(shifted, dtype=np.uint8)


class _Mask:
    """Black wherever the picture is taken for background.

    The background is a mixture of Gaussians for every pixel (Zivkovic, ICPR 2004; OpenCV's MOG2 at
    its defaults, without shadows), learnt from the frames seen so far. What that means:

    * Before the first frame nothing is known of the background, so the first picture is kept whole.
      So is the first after a change of size, and most of one after a cut.
    * What stands still from the start is background until it moves. The place that it leaves is
      kept, until it has been in sight for 53 frames or so.
    * What stops is masked after as many frames.
    * A moving camera makes everything move: most of a textured picture is kept. The variant is
      for a camera at rest.
    """

    every_frame = True

    # OpenCV's own choice starts at 1/2 and takes 250 frames to fall to this: in a short video an
    # actor who pauses for a moment would be gone. A thing becomes background when the modes before
    # it weigh less than 0.9: after ln(0.9) / ln(1 - 1/500) = 53 frames.
    _LEARNING_RATE = 1 / 500
    # Side of the blur that the model sees through. The model starts with a variance of 15 and, at
    # that rate, is slow to learn a larger one: the noise of a dim room would be foreground.
    _BLUR = (5, 5)
    # Width of the gaps to close where an actor has the background's colour, in short sides.
    _GAP = 1 / 40

    def __init__(self, percent: int) -> None:
        self._model = cv2.createBackgroundSubtractorMOG2(detectShadows=False)

    def __call__(self, picture: Picture) -> Picture:
        smooth = cv2.GaussianBlur(picture, self._BLUR, 0)
        foreground = self._model.apply(smooth, learningRate=self._LEARNING_RATE)
        radius = max(1, round(min(picture.shape[:2]) * self._GAP / 2))
        disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))
        foreground = cv2.morphologyEx(foreground, cv2.MORPH_CLOSE, disc)
        return np.asarray(cv2.bitwise_and(picture, picture, mask=foreground), dtype=np.uint8)


_FILTERS: dict[str, Callable[[int], PictureFilter]] = {
    "none": _Unchanged,
    "brightness": _Brightness,
    "zoom": _Zoom,
    "mask": _Mask,
    "equalise": _Equalise,
    "drop": _Unchanged,
}
