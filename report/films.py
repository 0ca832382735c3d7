"""Pictures and copies of a run's videos, taken and put into its page."""

import math
import os
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import quote

from ..features.manifest import Video
from ..features.pictures import Pictures, Quality, Wish
from .budget import (
    LIMIT_BYTES,
    Plan,
    by_interest,
    copies_that_fit,
    keep_what_fits,
    plan_pictures,
)
from .page import Entry, Film, Moment, Page
from .progress import Show, Step, silent

Take = Callable[[Sequence[Wish], Quality], Generator[Pictures, None, None]]
# A video whose length is not known is taken for so long until it was looked at.
_UNKNOWN_SECONDS = 60.0
# The end of a video may lie behind the last step that was looked at.
_LONGER, _TAIL_SECONDS = 1.2, 5.0
# Each round of copies starts its processes anew; what small copies still leave then is little.
_ROUNDS = 4


@dataclass(frozen=True)
class Filming:
    """Where a page's pictures come from.

    Args:
        take: takes pictures of several videos, in order.
        videos: by id.
        absent: why others cannot be shown, one sentence; empty where the manifest could be read.
        link_from: folder of the page, where it is to refer to the files; None copies them into it.
    """

    take: Take
    videos: Mapping[str, Video]
    absent: str = ""
    link_from: Path | None = None


def with_films(page: Page, text_bytes: int, filming: Filming, progress: Show = silent) -> Page:
    """The page with what can be played and seen of its videos.

    Args:
        page: without.
        text_bytes: of the page as it is.
        filming: where pictures come from.
        progress: told of every video.
    """
    missing = {n: _why_missing(entry, filming) for n, entry in enumerate(page.entries)}
    there = [n for n in by_interest(page.entries) if not missing[n]]
    plan = plan_pictures(text_bytes, len(there), _most_moments(page.entries))
    taken = _Taking(page, filming, plan, progress).take(there)
    kept = keep_what_fits([taken[n] for n in there], plan.room_bytes)
    found = dict(zip(there, kept, strict=True))
    entries = [
        replace(entry, film=_film(entry, filming, missing[n], found.get(n)))
        for n, entry in enumerate(page.entries)
    ]
    return replace(page, entries=entries, notes=[*page.notes, *_said(entries, filming)])


def _why_missing(entry: Entry, filming: Filming) -> str:
    video = filming.videos.get(entry.id)
    if video is None:
        return filming.absent or _NOT_LISTED
    if video.path is None:
        return "The manifest names no file of this video, so there is nothing to play."
    try:
        video.path.stat()
    except FileNotFoundError:
        return f"The file {video.path} is not there: it was moved, renamed or deleted."
    except OSError as error:
        return f"The file {video.path} cannot be reached: {error.strerror}."
    return ""


_NOT_LISTED = "The manifest does not list this video any more, so there is nothing to play."


def _most_moments(entries: Sequence[Entry]) -> int:
    return max((len(entry.story.moments) for entry in entries if entry.story), default=0)


class _Taking:
    """Takes copies in rounds: the room that one leaves, as copies are smaller than feared, is the next's."""

    def __init__(self, page: Page, filming: Filming, plan: Plan, progress: Show) -> None:
        self._page = page
        self._filming = filming
        self._plan = plan
        self._progress = progress
        self._room = float(plan.copies_bytes)
        self._found: dict[int, Pictures] = {}

    def take(self, places: Sequence[int]) -> Mapping[int, Pictures]:
        """By place, the pictures of each video, with a copy of as many as there is room for."""
        waiting = list(places)
        for _ in range(0 if self._filming.link_from else _ROUNDS):
            chosen = copies_that_fit([(n, self._estimate(n)) for n in waiting], self._room)
            if not chosen:
                break
            self._round(chosen, len(places), copy=True)
            self._room -= sum(len(self._found[n].copy or b"") for n in chosen)
            waiting = [n for n in waiting if n not in self._found or self._was_longer(n)]
        rest = [n for n in waiting if n not in self._found]
        if rest:
            self._round(rest, len(places), copy=False)
        return self._found

    def _round(self, places: Sequence[int], total: int, copy: bool) -> None:
        wishes = [self._wish(n, copy) for n in places]
        with closing(self._filming.take(wishes, self._plan.quality)) as taken:
            for n, pictures in zip(places, taken, strict=True):
                self._found[n] = pictures
                done = len(self._found)
                self._progress(Step("pictures", done, total, self._page.entries[n].id))

    def _was_longer(self, n: int) -> bool:
        """Whether a video has no copy only because nobody had known how long it is."""
        pictures = self._found[n]
        return pictures.copy is None and not pictures.fault

    def _estimate(self, n: int) -> float:
        # As much as a copy may take; see features/pictures.py.
        return self._plan.quality.copy_bits_per_second / 8 * (self._seconds(n) + 1)

    def _seconds(self, n: int) -> float:
        if n in self._found:
            return self._found[n].seconds
        story = self._page.entries[n].story
        if story is None or not len(story.times):
            return _UNKNOWN_SECONDS
        seconds = float(story.times[:, 2].max() - story.times[:, 0].min())
        return seconds if math.isfinite(seconds) else _UNKNOWN_SECONDS

    def _wish(self, n: int, copy: bool) -> Wish:
        entry = self._page.entries[n]
        video = self._filming.videos[entry.id]
        assert video.path is not None  # what has none is missing
        moments = shown_moments(entry, self._plan.stills)
        return Wish(
            video.path,
            video.start_seconds,
            video.end_seconds,
            tuple(moment.centre_seconds for moment in moments),
            copy,
            _LONGER * self._seconds(n) + _TAIL_SECONDS,
        )


def shown_moments(entry: Entry, most: int) -> list[Moment]:
    """The moments of which there is room for a picture: good and bad ones in turn."""
    moments = entry.story.moments if entry.story else ()
    good = [one for one in moments if one.tells == "good"]
    others = [one for one in moments if one.tells != "good"]
    turns: list[Moment] = []
    for place in range(max(len(good), len(others), 0)):
        turns += others[place : place + 1] + good[place : place + 1]
    return turns[:most]


def _film(entry: Entry, filming: Filming, missing: str, pictures: Pictures | None) -> Film:
    if pictures is None:
        return Film(missing=missing)
    link = ""
    if filming.link_from is not None:
        path = filming.videos[entry.id].path
        assert path is not None  # what has none is missing
        link = _url(path, filming.link_from)
    if pictures.copy is None and not link and not pictures.fault:
        missing = NO_ROOM
    elif pictures.copy is None and not link:
        missing = pictures.fault
    return Film(
        pictures.copy,
        pictures.media_type,
        link,
        0.0 if link else pictures.begins_seconds,
        pictures.thumbnail,
        dict(pictures.stills),
        missing,
        "" if missing else pictures.fault,
    )


NO_ROOM = (
    f"The page is to stay below {LIMIT_BYTES / 1e6:.0f} MB and has no room for a copy of this video; "
    "make it with --link-videos to play all of them."
)


def _url(path: Path, folder: Path) -> str:
    """Relative, so that the page and the file can be moved together, where no link lies between.

    A browser follows ``..`` by the name of the page's folder, not by the place that a symbolic link in
    it leads to.
    """
    path, folder = path.absolute(), folder.absolute()
    if folder.resolve() != folder:
        return path.as_uri()
    return quote(os.fsencode(os.path.relpath(path, folder)))


def _said(entries: Sequence[Entry], filming: Filming) -> list[str]:
    """What the page says of its players."""
    said = []
    copies = sum(entry.film.copy is not None for entry in entries)
    if filming.link_from is not None:
        said.append(
            "Videos are played from their own files; move them and this page together, or its players "
            "find nothing."
        )
    elif copies < len(entries):
        said.append(
            f"{copies} of {len(entries)} videos can be played here, from small copies without sound; "
            "the section of each other one says why it cannot."
        )
    else:
        said.append("Players show small copies of the videos, without sound.")
    return said
