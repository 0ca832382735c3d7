"""A page below its limit, whatever it is made of; and what goes first where it is not."""

from collections.abc import Callable, Generator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from aqakit.features.manifest import Video
from aqakit.features.pictures import Pictures, Quality, Wish
from aqakit.report import budget, fitting
from aqakit.report.films import Filming
from aqakit.report.fitting import fitted, html, lightened
from aqakit.report.page import Entry, Film, Page

LIMIT = 600_000


@pytest.fixture(autouse=True)
def limit(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (budget, fitting):
        monkeypatch.setattr(module, "LIMIT_BYTES", LIMIT)


def filming(tmp_path: Path, entries: Sequence[Entry], size: int) -> Filming:
    def take(wishes: Sequence[Wish], quality: Quality) -> Generator[Pictures, None, None]:
        for wish in wishes:
            copy = bytes(size) if wish.copy else None
            yield Pictures(bytes(size // 4), dict.fromkeys(wish.stills, b"s"), copy, seconds=0.01)

    path = tmp_path / "v.mp4"
    path.touch()
    return Filming(take, {entry.id: Video(entry.id, path) for entry in entries})


@pytest.mark.parametrize("name", ["v", "影片" * 30, "वीडियो" * 20])
@pytest.mark.parametrize("size", [10, 4000, 90_000])
def test_a_page_stays_below_its_limit(
    name: str,
    size: int,
    made_entry: Callable[..., Entry],
    made_page: Callable[..., Page],
    made_story: Callable[..., Any],
    tmp_path: Path,
) -> None:
    told = made_story(60, 0.0, [(3, "bad"), (20, "good")])
    entries = [made_entry(place, id=f"{name}{place}", story=told) for place in range(8)]
    page, content = fitted(made_page(entries), filming(tmp_path, entries, size))
    assert len(html(made_page([]))) < len(content) <= LIMIT
    assert content == html(page)


def test_all_stays_where_there_is_room(
    made_entry: Callable[..., Entry],
    made_page: Callable[..., Page],
    made_story: Callable[..., Any],
    tmp_path: Path,
) -> None:
    entries = [made_entry(0, story=made_story(8, 0.0, [(3, "bad")]))]
    page, _ = fitted(made_page(entries), filming(tmp_path, entries, 10))
    (entry,) = page.entries
    assert entry.story is entries[0].story
    assert entry.film.copy == bytes(10)


def test_copies_go_first_then_stills_thumbnails_and_stories(
    made_entry: Callable[..., Entry],
    made_page: Callable[..., Page],
    made_story: Callable[..., Any],
) -> None:
    film = Film(bytes(300), thumbnail=bytes(30), stills={1.0: bytes(60)})
    entries = [
        made_entry(place, part=part, story=made_story(), film=film)
        for place, part in enumerate(("train", "test"))
    ]
    page = made_page(entries)

    def left(excess: int) -> list[tuple[bool, bool, bool, bool]]:
        return [
            (
                one.film.copy is not None,
                bool(one.film.stills),
                one.film.thumbnail is not None,
                one.story is not None,
            )
            for one in lightened(page, excess).entries
        ]

    assert left(1) == [(False, True, True, True), (True, True, True, True)]
    assert left(800) == [(False, True, True, True)] * 2
    assert left(860)[0] == (False, False, True, True)
    assert left(10**9) == [(False, False, False, False)] * 2
    assert "no room for a copy" in lightened(page, 1).entries[0].film.missing
    bare = replace(page, entries=lightened(page, 10**9).entries)
    assert lightened(bare, 1) is bare


def test_what_was_misjudged_is_put_right(
    made_entry: Callable[..., Entry],
    made_page: Callable[..., Page],
    made_story: Callable[..., Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(fitting, "_AROUND_BYTES", -40_000)
    entries = [made_entry(place, story=made_story(1)) for place in range(8)]
    rough = filming(tmp_path, entries, 80_000)
    page, content = fitted(made_page(entries), rough)
    assert len(content) <= LIMIT
    lacking = [entry.film.copy is None for entry in page.entries]
    assert True in lacking
    assert False in lacking
