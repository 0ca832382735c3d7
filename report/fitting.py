"""A page that stays below its limit: stories and pictures that fit, and the HTML of them."""

from dataclasses import replace

from .budget import (
    GROWTH,
    LIMIT_BYTES,
    RESERVE,
    by_interest,
    story_bytes,
    with_stories_that_fit,
    without_story,
)
from .films import NO_ROOM, Filming, with_films
from .page import Entry, Page
from .progress import Show, silent
from .render import render

# Markup and sentences around the pictures of a video.
_AROUND_BYTES = 600
# Of what the text of all videos leaves, stories may take so much, so that some pictures fit too.
_STORIES = 0.6


def fitted(page: Page, filming: Filming, progress: Show = silent) -> tuple[Page, bytes]:
    """The page with what fits of its stories and films, and its HTML.

    Where the text alone of very many videos is above the limit, so is the page.

    Args:
        page: with all stories, without films.
        filming: where pictures come from.
        progress: told of every video.
    """
    bare = replace(page, entries=[without_story(entry) for entry in page.entries])
    left = LIMIT_BYTES * (1 - RESERVE) - len(html(bare)) - _AROUND_BYTES * len(page.entries)
    page = with_stories_that_fit(page, _STORIES * max(0.0, left))
    text_bytes = len(html(page)) + _AROUND_BYTES * len(page.entries)
    page = with_films(page, text_bytes, filming, progress)
    content = html(page)
    while len(content) > LIMIT_BYTES:
        lighter = lightened(page, len(content) - LIMIT_BYTES)
        if lighter is page:
            break
        page, content = lighter, html(lighter)
    return page, content


def html(page: Page) -> bytes:
    """What is written."""
    return render(page).encode()


def lightened(page: Page, excess_bytes: int) -> Page:
    """The page without some copies, pictures and stories, of the videos of least interest first.

    Args:
        page: that is too large.
        excess_bytes: by which it is.

    Returns:
        The same page where nothing is left to leave out.
    """
    entries, saved = list(page.entries), 0
    for lighter in (_without_copy, _without_stills, _without_thumbnail, _without_story):
        for place in reversed(by_interest(entries)):
            if saved >= excess_bytes:
                return replace(page, entries=entries)
            entries[place], spared = lighter(entries[place])
            saved += spared
    return replace(page, entries=entries) if saved else page


def _without_copy(entry: Entry) -> tuple[Entry, int]:
    film = entry.film
    if film.copy is None:
        return entry, 0
    return replace(entry, film=replace(film, copy=None, missing=NO_ROOM)), _text(film.copy)


def _without_stills(entry: Entry) -> tuple[Entry, int]:
    spared = _text(*entry.film.stills.values())
    return replace(entry, film=replace(entry.film, stills={})), spared


def _without_thumbnail(entry: Entry) -> tuple[Entry, int]:
    spared = _text(entry.film.thumbnail or b"")
    return replace(entry, film=replace(entry.film, thumbnail=None)), spared


def _without_story(entry: Entry) -> tuple[Entry, int]:
    return without_story(entry), story_bytes(entry.story)


def _text(*parts: bytes) -> int:
    return int(GROWTH * sum(map(len, parts)))
