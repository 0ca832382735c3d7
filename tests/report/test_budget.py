"""What fits into a page: less than asked, in the order of interest, and never more than the room."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aqakit.features.pictures import Pictures
from aqakit.models.reading import Reading
from aqakit.report.budget import (
    LIMIT_BYTES,
    by_interest,
    copies_that_fit,
    keep_what_fits,
    plan_pictures,
    with_stories_that_fit,
)
from aqakit.report.page import Entry, Page, Story

SHOWN = Reading("attention", "", "attention", "good")
DETAIL = Reading("filter", "", "attention", "good", detail=True)


def entry(number: int, part: str = "test", story: Story | None = None) -> Entry:
    return Entry(f"v{number}", part, "", "", -number, 0.1, number + 1, np.nan, story=story)


def story(steps: int, filters: int) -> Story:
    names = [f"filter_{n}" for n in range(filters)]
    curves = {name: np.zeros(steps) for name in ("attention", *names)}
    readings = {"attention": SHOWN, **dict.fromkeys(names, DETAIL)}
    return Story(np.zeros((steps, 3)), curves, readings)


def page(entries: list[Entry]) -> Page:
    return Page("head", [], [], [], ["a note"], entries)


def pictures(thumbnail: int, stills: list[int], copy: int) -> Pictures:
    shown = {float(n): bytes(size) for n, size in enumerate(stills)}
    return Pictures(bytes(thumbnail), shown, bytes(copy), "video/mp4", 0.0, 1.0, "")


def bytes_of(found: list[Pictures]) -> int:
    return sum(
        len(each.thumbnail or b"") + len(each.copy or b"") + sum(map(len, each.stills.values()))
        for each in found
    )


def test_new_and_tested_videos_come_first_and_better_ones_before_worse() -> None:
    parts = ("train", "test", "val", "train+test", "new")
    entries = [entry(number, part) for number, part in enumerate(parts)]
    assert by_interest(entries) == [4, 1, 3, 0, 2]


def test_few_videos_get_all_their_moments_large_and_many_get_fewer_and_smaller() -> None:
    few, many, most = (plan_pictures(1_000_000, n, 6) for n in (10, 500, 20_000))
    assert (few.stills, few.quality.still_width) == (6, 480)
    assert 2 <= many.stills < 6
    assert many.quality.still_width == 160
    assert most.stills == 0
    assert most.copies_bytes == 0
    assert few.copies_bytes > many.copies_bytes
    full = plan_pictures(LIMIT_BYTES, 10, 6)
    assert (full.stills, full.room_bytes) == (0, 0)


@given(st.integers(0, 30_000_000), st.integers(0, 5000), st.integers(0, 8))
def test_a_plan_never_promises_more_than_there_is(text: int, videos: int, moments: int) -> None:
    plan = plan_pictures(text, videos, moments)
    assert 0 <= plan.copies_bytes <= plan.room_bytes
    assert text + plan.room_bytes * 4 / 3 <= max(text, LIMIT_BYTES)
    assert plan.stills <= moments


def test_a_copy_that_is_too_long_leaves_its_room_to_the_next() -> None:
    assert copies_that_fit([(4, 60.0), (2, 50.0), (9, 40.0), (1, 0.5)], 100) == [4, 9]
    assert copies_that_fit([(4, 60.0)], 59) == []


def test_thumbnails_go_before_moments_and_moments_before_copies() -> None:
    asked = [pictures(10, [20, 20], 100), pictures(10, [20], 30)]
    everything = keep_what_fits(asked, 210)
    assert everything == asked
    kept = keep_what_fits(asked, 110)
    assert [each.copy is None for each in kept] == [True, False]
    kept = keep_what_fits(asked, 45)
    assert [len(each.stills) for each in kept] == [0, 1]
    assert all(each.thumbnail for each in kept)
    kept = keep_what_fits(asked, 15)
    assert [each.thumbnail is None for each in kept] == [False, True]


@given(
    st.lists(
        st.tuples(
            st.integers(0, 50), st.lists(st.integers(0, 50), max_size=4), st.integers(0, 200)
        ),
        max_size=8,
    ),
    st.integers(0, 1000),
)
def test_what_is_kept_fits(sizes: list[tuple[int, list[int], int]], room: int) -> None:
    asked = [pictures(*each) for each in sizes]
    kept = keep_what_fits(asked, room)
    assert bytes_of(kept) <= room
    assert len(kept) == len(asked)
    if bytes_of(asked) <= room:
        assert kept == asked


def test_stories_stay_whole_where_there_is_room() -> None:
    whole = page([entry(0, story=story(100, 6)), entry(1)])
    assert with_stories_that_fit(whole, 100_000) is whole


def test_details_go_first_and_then_stories_of_training_videos() -> None:
    entries = [entry(n, "train" if n % 2 else "test", story(100, 6)) for n in range(4)]
    # Three columns of times, an attention and six filters of 100 steps, 3 bytes a value.
    slim = with_stories_that_fit(page(entries), 4 * 4 * 300)
    assert [list(one.story.curves) for one in slim.entries if one.story] == [["attention"]] * 4
    assert "what the head makes of 0 of 4 videos" in slim.notes[-1]
    cut = with_stories_that_fit(page(entries), 2 * 4 * 300)
    assert [one.story is not None for one in cut.entries] == [True, False, True, False]
    assert "aqakit explain" in cut.entries[1].untold
    assert "what the head makes of 2 of 4 videos" in cut.notes[-1]


def test_maps_count() -> None:
    told = replace(story(10, 0), maps={"attention": np.zeros((10, 14, 14))})
    kept = with_stories_that_fit(page([entry(0, story=told)]), 2000)
    assert kept.entries[0].story is None


@pytest.mark.parametrize("untold", ["", "no features"])
def test_a_video_without_a_story_keeps_its_reason(untold: str) -> None:
    entries = [replace(entry(0), untold=untold), entry(1, story=story(100, 0))]
    kept = with_stories_that_fit(page(entries), 0)
    assert kept.entries[0].untold == untold
    assert "1 of 2 videos" in kept.notes[-1]
