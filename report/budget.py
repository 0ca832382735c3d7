"""What of a run's videos fits into one page: which pictures, how large, and whose copies.

A page is one file that is mailed and opened on a phone, so it stays below :data:`LIMIT_BYTES`. Text and
curves come first; then a thumbnail of each video, pictures of its moments, and copies to play of as many
as still fit: new videos, then those of the test part, then others, and of each the better ones first.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from ..features.pictures import Pictures, Quality
from ..models.reading import reading_of
from .page import Entry, Page, Story

LIMIT_BYTES = 20_000_000
# What the markup around each picture and the estimates below may be wrong by.
RESERVE = 0.03
# Base64 writes three bytes as four characters.
GROWTH = 4 / 3
# Share of what text leaves that pictures of moments may take; copies get what is left then.
_STILLS = 0.5
# Bytes of a JPEG by its squared width: as much as textured pictures of 120 to 480 pixels take; others
# take a third of it.
_BYTES_A_SQUARED_PIXEL = 0.14
_STILL_WIDTHS = (480, 320, 240, 160)
# A value of a curve, 16 bits in base64.
_BYTES_A_VALUE = 3
_FEWEST_STILLS = 2


@dataclass(frozen=True)
class Plan:
    """How much each video gets.

    Args:
        quality: size of pictures and copies.
        stills: pictures of moments a video, at most.
        room_bytes: for pictures and copies, as they are before they become text.
        copies_bytes: of it for copies, by estimate.
    """

    quality: Quality
    stills: int
    room_bytes: float
    copies_bytes: float


def plan_pictures(text_bytes: int, videos: int, most_moments: int) -> Plan:
    """Share out the room that the text of a page leaves.

    Args:
        text_bytes: of the page without pictures.
        videos: on the page.
        most_moments: of any of them.
    """
    room = max(0.0, LIMIT_BYTES * (1 - RESERVE) - text_bytes) / GROWTH
    quality = Quality()
    stills, width = _stills(_STILLS * room / max(1, videos), most_moments)
    used = videos * (_jpeg_bytes(quality.thumbnail_width) + stills * _jpeg_bytes(width))
    return Plan(replace(quality, still_width=width), stills, room, max(0.0, room - used))


def _stills(bytes_a_video: float, moments: int) -> tuple[int, int]:
    """How many and how wide: all moments where they fit, else fewer of them in the smallest size."""
    for width in _STILL_WIDTHS:
        if moments * _jpeg_bytes(width) <= bytes_a_video:
            return moments, width
    fitting = int(bytes_a_video / _jpeg_bytes(_STILL_WIDTHS[-1]))
    return (min(fitting, moments) if fitting >= _FEWEST_STILLS else 0), _STILL_WIDTHS[-1]


def _jpeg_bytes(width: int) -> float:
    return _BYTES_A_SQUARED_PIXEL * width**2


def by_interest(entries: Sequence[Entry]) -> list[int]:
    """Places of entries in the order in which room is given: new and tested ones, better ones first."""

    def turn(place: int) -> tuple[int, int]:
        part = entries[place].part
        return (0 if part == "new" else 1 if "test" in part else 2), place

    return sorted(range(len(entries)), key=turn)


def copies_that_fit(wanted: Iterable[tuple[int, float]], room_bytes: float) -> list[int]:
    """Which videos to copy, in the order given; one too long leaves its room to the next.

    Args:
        wanted: place and estimated bytes of each copy.
        room_bytes: for all of them.
    """
    chosen = []
    for place, size in wanted:
        if size <= room_bytes:
            chosen.append(place)
            room_bytes -= size
    return chosen


def keep_what_fits(pictures: Sequence[Pictures], room_bytes: float) -> list[Pictures]:
    """Thumbnails first, then pictures of moments, then copies; of the first videos before others.

    Args:
        pictures: of videos, those of most interest first.
        room_bytes: for all of them.
    """
    left = room_bytes
    kept = [replace(each, thumbnail=None, stills={}, copy=None) for each in pictures]

    def fits(*parts: bytes) -> bool:
        nonlocal left
        size = sum(map(len, parts))
        if size > left:
            return False
        left -= size
        return True

    for place, each in enumerate(pictures):
        if each.thumbnail is not None and fits(each.thumbnail):
            kept[place] = replace(kept[place], thumbnail=each.thumbnail)
    for place, each in enumerate(pictures):
        if fits(*each.stills.values()):
            kept[place] = replace(kept[place], stills=each.stills)
    for place, each in enumerate(pictures):
        if each.copy is not None and fits(each.copy):
            kept[place] = replace(kept[place], copy=each.copy)
    return kept


def with_stories_that_fit(page: Page, room_bytes: float) -> Page:
    """The page without the curves for which there is no room.

    Details go first, of all videos; then whole stories, of the videos of least interest.

    Args:
        page: with all stories.
        room_bytes: for their text.
    """
    if _text_bytes(page.entries) <= room_bytes:
        return page
    entries = [_without_details(entry) for entry in page.entries]
    left, dropped = _text_bytes(entries), 0
    for place in reversed(by_interest(entries)):
        if left <= room_bytes:
            break
        left -= story_bytes(entries[place].story)
        dropped += entries[place].story is not None
        entries[place] = without_story(entries[place])
    said = (
        f"The page is to stay below {LIMIT_BYTES / 1e6:.0f} MB, so curves of single filters are left "
        f"out, and what the head makes of {dropped} of {len(entries)} videos; 'aqakit explain' writes "
        "all of it."
    )
    return replace(page, entries=entries, notes=[*page.notes, said])


def without_story(entry: Entry) -> Entry:
    """The video without what the head makes of it, if it had that, and why."""
    return entry if entry.story is None else replace(entry, story=None, untold=_NO_ROOM)


_NO_ROOM = "There is no room on this page for what the head makes of this video; 'aqakit explain' writes it."


def _text_bytes(entries: Iterable[Entry]) -> int:
    return sum(story_bytes(entry.story) for entry in entries)


def story_bytes(story: Story | None) -> int:
    """About as many as it takes on the page; 0 of none."""
    if story is None:
        return 0
    values = story.times.size + sum(curve.size for curve in story.curves.values())
    places = sum(each.size for each in story.maps.values())
    return _BYTES_A_VALUE * values + int(GROWTH * places)


def _without_details(entry: Entry) -> Entry:
    if entry.story is None:
        return entry
    readings = entry.story.readings
    kept = {n: own for n, own in entry.story.curves.items() if not reading_of(n, readings).detail}
    return replace(entry, story=replace(entry.story, curves=kept))
