"""Take pictures of videos for a page: a thumbnail, stills of some moments, a small copy.

Where a copy is made, everything comes from one pass over the video. Where none is, a video with an
index is jumped about in, and only what lies between a key frame and the moment is decoded.
"""

import math
from collections.abc import Generator, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from operator import itemgetter

import av
import numpy as np
from av import VideoFrame

from ..features.errors import VideoError
from ..features.pictures import Pictures, Quality, Wish
from ..features.segments import Timeline
from .apart import each_apart
from .decode import TimelineDiffersError, decode, scan
from .reading import unforeseen
from .seeking import CannotSeekError, seeking
from .shrink import Shrinker, within_short_side
from .small_copy import Codec, CopyError, SmallCopy, best_codec

_USUAL = Quality()
# Times are rounded, and so are rates that are measured by them: 30.3 frames a second are 30.
_SAME_RATE = 0.05
# A stretch ends before the frame that its end shows; and lengths that differ by less are the same.
_MOMENT = 1e-4


def take_all(
    wishes: Sequence[Wish], quality: Quality = _USUAL, jobs: int = -1
) -> Generator[Pictures, None, None]:
    """Take the pictures of many videos, in their order.

    A generator that is closed early ends the work. A video that kills the process which decodes it
    costs its own pictures only.

    Args:
        wishes: one a video.
        quality: of all pictures.
        jobs: videos at once, each in a process of its own; -1 is one a core.
    """
    return each_apart(partial(take_pictures, quality=quality), wishes, _killed, jobs)


def _killed(wish: Wish) -> Pictures:
    return Pictures(
        fault=f"{wish.path}: the process that took its pictures was killed; free memory and try "
        "again, or convert the video"
    )


def take_pictures(wish: Wish, quality: Quality = _USUAL) -> Pictures:
    """Take the pictures of one video; whatever is wrong with it becomes the fault of the result."""
    try:
        try:
            return _jump_about(wish, quality)
        except CannotSeekError:
            return _read(wish, quality)
    except CopyError as error:
        rest = take_pictures(replace(wish, copy=False), quality)
        return replace(rest, fault=rest.fault or str(error))
    except VideoError as error:
        return Pictures(fault=str(error))
    except Exception as error:  # noqa: BLE001 - what nobody foresaw costs its video, not the page
        return Pictures(fault=unforeseen(wish.path, error))


def _read(wish: Wish, quality: Quality) -> Pictures:
    try:
        return _Reader(wish, quality, exact=False).read()
    except TimelineDiffersError:
        return _Reader(wish, quality, exact=True).read()


def _jump_about(wish: Wish, quality: Quality) -> Pictures:
    """Thumbnail and stills, without reading the whole file.

    Raises:
        CannotSeekError: the file has to be read, or a copy of it is to be made.
    """
    if wish.copy and math.isinf(wish.longest_copy_seconds):
        raise CannotSeekError
    with seeking(wish.path) as video:
        begins, ends = video.begins_seconds, video.ends_seconds
        # What a header says of the end is good enough for its middle, not to cut stills off.
        last = math.inf
        if wish.start_seconds is not None:
            begins = max(begins, wish.start_seconds)
        if wish.end_seconds is not None:
            ends, last = min(ends, wish.end_seconds), wish.end_seconds - _MOMENT
        if begins >= ends or _copied(wish, ends - begins):
            raise CannotSeekError
        album = _Album(quality, Shrinker(video.pixel_aspect))
        for seconds, still in sorted(_moments(wish, begins, ends), key=itemgetter(0)):
            album.take(video.at(min(max(seconds, begins), last)), still)
    return Pictures(album.thumbnail, album.stills, begins_seconds=begins, seconds=ends - begins)


def _copied(wish: Wish, seconds: float) -> bool:
    """Whether a copy of a stretch that lasts so long is made."""
    return wish.copy and seconds <= wish.longest_copy_seconds + _MOMENT


def _moments(wish: Wish, begins: float, ends: float) -> Iterator[tuple[float, float | None]]:
    """When a picture is to be taken, and of which moment it is the still; None is the thumbnail."""
    yield (begins + ends) / 2, None
    yield from ((seconds, seconds) for seconds in wish.stills if math.isfinite(seconds))


class _Album:
    """The pictures of one video as they are taken.

    Args:
        quality: of them.
        shrinker: of the video's frames.
    """

    def __init__(self, quality: Quality, shrinker: Shrinker) -> None:
        self._quality, self._shrinker = quality, shrinker
        self.thumbnail: bytes | None = None
        self.stills: dict[float, bytes] = {}

    def take(self, frame: VideoFrame, still: float | None) -> None:
        """Keep a frame as the still of a moment; None is the thumbnail."""
        if still is None:
            self.thumbnail = self._jpeg(frame, self._quality.thumbnail_width)
        else:
            self.stills[still] = self._jpeg(frame, self._quality.still_width)

    def _jpeg(self, frame: VideoFrame, side: int) -> bytes:
        return self._shrinker.jpeg(frame, side, self._quality.jpeg_quality)


class _Reader:
    """Reads a video as its scan says, from one end of the stretch to the other where it must.

    Raises:
        VideoError: nothing of the stretch can be shown.
    """

    def __init__(self, wish: Wish, quality: Quality, exact: bool) -> None:
        self._wish, self._quality = wish, quality
        self._plan = scan(wish.path, exact)
        self._fault = ""
        self._stretch = self._used()
        # When each frame of the stretch begins and ends to be shown.
        self._times = self._stretch.pts_seconds
        self._ends = np.append(self._times[1:], self._stretch.end_seconds)
        self._reached = self._stretch.start_seconds
        self._shrinker = Shrinker(self._plan.facts.pixel_aspect)
        self._album = _Album(quality, self._shrinker)
        self._wanted = self._frames_of_moments()

    def _used(self) -> Timeline:
        """The stretch of the manifest, or what the file holds of it."""
        start = self._wish.start_seconds
        try:
            return self._plan.window(start, self._wish.end_seconds)
        except VideoError as error:
            if self._plan.stated_end_seconds is None:
                raise
            self._fault = str(error)
            return replace(self._plan, stated_end_seconds=None).window(start, None)

    def _frames_of_moments(self) -> dict[int, list[float | None]]:
        """Of which frame of the stretch which pictures are taken."""
        begins, ends = self._stretch.start_seconds, self._stretch.end_seconds
        wanted: dict[int, list[float | None]] = {}
        for seconds, still in _moments(self._wish, begins, ends):
            if self._fault and seconds >= ends:
                continue  # lost with the rest of the file: its last frame shows another moment
            index = int(self._stretch.shown_at(np.array([seconds]))[0])
            wanted.setdefault(index, []).append(still)
        return wanted

    def read(self) -> Pictures:
        """Take what can be taken.

        Raises:
            TimelineDiffersError: frames come at other times than the scan says.
            CopyError: a copy is to be made and cannot be.
        """
        copy, media_type = None, Pictures.media_type
        if _copied(self._wish, self._stretch.duration_seconds):
            codec = best_codec()
            copy, media_type = self._read_all(codec), codec.media_type
        else:
            self._read_wanted()
        begins = self._stretch.start_seconds
        return Pictures(
            self._album.thumbnail,
            self._album.stills,
            copy,
            media_type,
            begins,
            self._reached - begins,
            self._fault,
        )

    def _read_wanted(self) -> None:
        wanted = sorted(self._wanted)
        # The frames of an exact scan are counted from the first one: there is no jumping to them.
        runs = [(wanted[0], wanted[-1])] if self._plan.exact else [(one, one) for one in wanted]
        for first, last in runs:
            for _ in self._decoded(first, last):
                pass
        self._reached = self._stretch.end_seconds

    def _read_all(self, codec: Codec) -> bytes | None:
        """Take everything in one pass; the copy is None where no frame could be decoded."""
        try:
            return self._copy(codec)
        except av.FFmpegError as error:
            raise CopyError(
                f"{self._wish.path}: no copy of it could be encoded ({error.strerror}); make the "
                "page with --link-videos"
            ) from None

    def _copy(self, codec: Codec) -> bytes | None:
        kept = _kept(self._stretch, self._quality.copy_fps)
        fps = len(kept) / self._stretch.duration_seconds
        copy: SmallCopy | None = None
        with ExitStack() as stack:
            for index, frame in self._decoded(0, len(self._times) - 1):
                if index not in kept:
                    continue
                if copy is None:
                    shown = self._shrinker.shown_size(frame)
                    size = within_short_side(shown, self._quality.copy_height)
                    rate = self._quality.copy_bits_per_second
                    copy = stack.enter_context(SmallCopy(codec, size, fps, rate))
                copy.add(self._shrinker.video(frame, size), float(self._times[index]))
            return copy.finish(self._reached) if copy is not None else None

    def _decoded(self, first: int, last: int) -> Iterator[tuple[int, VideoFrame]]:
        """Frames of the stretch by number, the wanted ones taken; an error is kept as the fault."""
        begins = int(np.searchsorted(self._plan.timeline.pts_seconds, self._times[0]))
        try:
            for one in decode(self._plan, begins + first, begins + last):
                index = one.index - begins
                self._reached = float(self._ends[index])
                for still in self._wanted.get(index, ()):
                    self._album.take(one.frame, still)
                yield index, one.frame
        except VideoError as error:
            self._fault = self._fault or str(error)


def _kept(stretch: Timeline, most_fps: float) -> frozenset[int]:
    """Frames that a copy shows: all, or every second or third, as others would make it stutter."""
    fps = len(stretch.pts_seconds) / stretch.duration_seconds
    every = max(1, math.ceil(fps / most_fps - _SAME_RATE))
    step = 1 / most_fps / (1 + _SAME_RATE) if every == 1 else every / fps
    # In the middle of its time a frame is shown even where times are rounded.
    instants = np.arange(stretch.start_seconds + step / 2 / every, stretch.end_seconds, step)
    return frozenset({0, *stretch.shown_at(instants).tolist()})
