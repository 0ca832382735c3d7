"""Films: which pictures are asked for, what is said where there is nothing to play, and links."""

import os
from collections.abc import Generator, Sequence
from dataclasses import replace
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pytest

from aqakit.features.manifest import Video
from aqakit.features.pictures import Pictures, Quality, Wish
from aqakit.models.reading import Reading
from aqakit.report import films
from aqakit.report.budget import plan_pictures
from aqakit.report.films import Filming, shown_moments, with_films
from aqakit.report.page import Entry, Moment, Page, Story
from aqakit.report.progress import Step

LENGTH = 10.0


def moment(at: float, tells: str) -> Moment:
    return Moment(at, at + 0.5, at + 1, tells, "why", int(at))  # type: ignore[arg-type]


def story() -> Story:
    times = np.array([[0.0, LENGTH / 2, LENGTH]])
    moments = (moment(1, "bad"), moment(3, "bad"), moment(5, "good"))
    reading = Reading("a", "", "attention", "good")
    return Story(times, {"a": np.zeros(1)}, {"a": reading}, moments=moments)


@pytest.fixture
def videos(tmp_path: Path) -> dict[str, Video]:
    folder = tmp_path / "their #1 films"
    folder.mkdir()
    found = {}
    for number in range(3):
        path = folder / f"v{number}?.mp4"
        path.write_bytes(b"x")
        found[f"v{number}"] = Video(f"v{number}", path, start_seconds=2.0)
    return found


def page(videos: dict[str, Video], told: bool = True) -> Page:
    entries = [
        Entry(id, "test", "", "", 0.0, 0.0, 1, np.nan, story=story() if told else None)
        for id in videos
    ]
    return Page("head", [], [], [], [], entries)


class Camera:
    """Takes a picture of 10 bytes at each time, and a copy of a given size."""

    def __init__(self, copy_bytes: int = 100, fault: str = "") -> None:
        self.rounds: list[list[Wish]] = []
        self.copy_bytes = copy_bytes
        self.fault = fault

    def __call__(self, wishes: Sequence[Wish], quality: Quality) -> Generator[Pictures, None, None]:
        self.rounds.append(list(wishes))
        for wish in wishes:
            stills = {} if self.fault else {at: b"s" * 10 for at in wish.stills}
            copy = b"c" * self.copy_bytes if wish.copy and not self.fault else None
            yield Pictures(b"t" * 10, stills, copy, "video/mp4", 2.0, LENGTH, self.fault)


def test_every_video_gets_a_copy_and_a_picture_of_each_moment(videos: dict[str, Video]) -> None:
    camera, steps = Camera(), list[Step]()
    shown = with_films(page(videos), 1000, Filming(camera, videos), steps.append)
    (wishes,) = camera.rounds
    assert [(wish.path, wish.start_seconds, wish.copy) for wish in wishes] == [
        (video.path, 2.0, True) for video in videos.values()
    ]
    assert wishes[0].stills == (1.5, 5.5, 3.5)
    for entry in shown.entries:
        assert entry.film.copy == b"c" * 100
        assert entry.film.begins_seconds == 2
        assert set(entry.film.stills) == {1.5, 3.5, 5.5}
        assert entry.film.missing == ""
    assert [step.done for step in steps] == [1, 2, 3]
    assert "small copies of the videos" in shown.notes[-1]


def test_moments_for_and_against_take_turns() -> None:
    entry = Entry("v", "test", "", "", 0.0, 0.0, 1, np.nan, story=story())
    assert [one.tells for one in shown_moments(entry, 9)] == ["bad", "good", "bad"]
    assert [one.tells for one in shown_moments(entry, 2)] == ["bad", "good"]
    assert shown_moments(replace(entry, story=None), 2) == []


def test_room_that_small_copies_leave_goes_to_others(
    videos: dict[str, Video], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Room for two copies by estimate; they turn out smaller, so the third comes in a second round.
    estimate = Quality().copy_bits_per_second / 8 * (LENGTH + 1)
    tight = replace(plan_pictures(0, 3, 3), copies_bytes=2 * estimate)
    monkeypatch.setattr(films, "plan_pictures", lambda *sizes: tight)
    camera = Camera(copy_bytes=int(estimate / 3))
    shown = with_films(page(videos), 0, Filming(camera, videos))
    assert [[wish.copy for wish in wishes] for wishes in camera.rounds] == [[True, True], [True]]
    assert all(entry.film.copy for entry in shown.entries)

    camera = Camera(copy_bytes=int(estimate))
    shown = with_films(page(videos), 0, Filming(camera, videos))
    assert [[wish.copy for wish in wishes] for wishes in camera.rounds] == [[True, True], [False]]
    assert [entry.film.copy is None for entry in shown.entries] == [False, False, True]
    last = shown.entries[2].film
    assert "no room for a copy" in last.missing
    assert "--link-videos" in last.missing
    assert last.thumbnail is not None
    assert len(last.stills) == 3
    assert "2 of 3 videos can be played here" in shown.notes[-1]


def test_what_is_larger_than_feared_does_not_make_the_page_larger(
    videos: dict[str, Video], monkeypatch: pytest.MonkeyPatch
) -> None:
    tight = replace(plan_pictures(0, 3, 3), room_bytes=350.0)
    monkeypatch.setattr(films, "plan_pictures", lambda *sizes: tight)
    shown = with_films(page(videos), 0, Filming(Camera(), videos))
    assert [entry.film.copy is None for entry in shown.entries] == [False, False, True]
    assert "no room" in shown.entries[2].film.missing


def test_a_video_longer_than_anybody_knew_leaves_its_room_to_others(
    videos: dict[str, Video], monkeypatch: pytest.MonkeyPatch
) -> None:
    # As if the store had moved: nobody knows how long they are; the first one lasts for hours.
    plan = replace(plan_pictures(0, 3, 3), copies_bytes=Quality().copy_bits_per_second / 8 * 130)
    monkeypatch.setattr(films, "plan_pictures", lambda *sizes: plan)
    lengths = {"v0?.mp4": 10_000.0, "v1?.mp4": 20.0, "v2?.mp4": 70.0}
    asked: list[list[str]] = []

    def take(wishes: Sequence[Wish], quality: Quality) -> Generator[Pictures, None, None]:
        asked.append([wish.path.name for wish in wishes])
        for wish in wishes:
            seconds = lengths[wish.path.name]
            copied = wish.copy and seconds <= wish.longest_copy_seconds
            yield Pictures(b"t", {}, b"c" * 100 if copied else None, seconds=seconds)

    shown = with_films(page(videos, told=False), 0, Filming(take, videos))
    assert asked == [["v0?.mp4", "v1?.mp4"], ["v2?.mp4"]]
    assert [entry.film.copy is None for entry in shown.entries] == [True, False, False]
    assert "no room for a copy" in shown.entries[0].film.missing


def test_a_folder_that_may_not_be_entered_is_a_sentence(
    videos: dict[str, Video], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "stat", refuse)
    shown = with_films(page(videos), 0, Filming(Camera(), videos))
    path = videos["v0"].path
    assert shown.entries[0].film.missing == f"The file {path} cannot be reached: Permission denied."


def test_a_page_in_a_linked_folder_and_odd_names_find_their_videos(
    videos: dict[str, Video], tmp_path: Path
) -> None:
    (tmp_path / "real" / "deep").mkdir(parents=True)
    (tmp_path / "linked").symlink_to(tmp_path / "real" / "deep")
    filming = Filming(Camera(), videos, link_from=tmp_path / "linked")
    link = with_films(page(videos), 0, filming).entries[0].film.link
    assert link == videos["v0"].path.as_uri()  # type: ignore[union-attr]
    odd = {"v0": Video("v0", Path(os.fsdecode(bytes(tmp_path) + b"/\xff%.mp4")))}
    odd["v0"].path.write_bytes(b"x")  # type: ignore[union-attr]
    link = with_films(page(odd), 0, Filming(Camera(), odd, link_from=tmp_path)).entries[0].film.link
    assert link == "%FF%25.mp4"


def test_links_are_relative_and_need_no_copy(videos: dict[str, Video], tmp_path: Path) -> None:
    camera, out = Camera(), tmp_path / "reports"
    out.mkdir()
    shown = with_films(page(videos), 0, Filming(camera, videos, link_from=out))
    assert not any(wish.copy for wishes in camera.rounds for wish in wishes)
    for entry in shown.entries:
        link = entry.film.link
        assert not {"#", "?", " "} & set(link)
        assert (out / unquote(link)).resolve() == videos[entry.id].path
        assert entry.film.begins_seconds == 0
        assert entry.film.missing == ""
    assert "played from their own files" in shown.notes[-1]


def test_each_reason_why_nothing_can_be_played(videos: dict[str, Video], tmp_path: Path) -> None:
    whole = page(videos)
    moved = tmp_path / "moved.mp4"
    known = {
        "v0": replace(videos["v0"], path=moved),
        "v1": replace(videos["v1"], path=None),
    }
    shown = with_films(whole, 0, Filming(Camera(), known))
    said = [entry.film.missing for entry in shown.entries]
    assert f"{moved} is not there" in said[0]
    assert "names no file" in said[1]
    assert "does not list this video" in said[2]
    assert "0 of 3 videos can be played" in shown.notes[-1]
    only = {"v2": videos["v2"]}
    shown = with_films(whole, 0, Filming(Camera(), only, absent="All is gone."))
    assert [entry.film.missing for entry in shown.entries] == ["All is gone.", "All is gone.", ""]
    broken = with_films(whole, 0, Filming(Camera(fault="It is broken."), videos))
    assert {entry.film.missing for entry in broken.entries} == {"It is broken."}
    assert {entry.film.fault for entry in broken.entries} == {""}


def test_a_copy_of_a_part_says_what_is_wrong(videos: dict[str, Video]) -> None:
    camera = Camera()

    def breaking_off(wishes: Sequence[Wish], quality: Quality) -> Generator[Pictures, None, None]:
        for pictures in camera(wishes, quality):
            yield replace(pictures, fault="It breaks off.")

    shown = with_films(page(videos), 0, Filming(breaking_off, videos))
    assert {(entry.film.missing, entry.film.fault) for entry in shown.entries} == {
        ("", "It breaks off.")
    }
    assert shown.entries[0].film.copy is not None


def test_videos_without_a_story_are_filmed_too(videos: dict[str, Video]) -> None:
    shown = with_films(page(videos, told=False), 0, Filming(Camera(), videos))
    assert all(entry.film.copy and not entry.film.stills for entry in shown.entries)
