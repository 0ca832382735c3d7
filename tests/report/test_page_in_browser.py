"""The page in Chromium: it opens from disk, sorts, filters, and lets no name do harm."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from aqakit.report.page import Entry, Film, Page

HOSTILE = [
    "</script><script>window.__hacked = 1</script>",
    '"><img src=x onerror="window.__hacked = 1">',
    "\U0001f3c5\U0001f469\u200d\u2695\ufe0f gold",
    "\u05e9\u05dc\u05d5\u05dd \u202egnp.exe",
    "x" * 5000,
    "a\nb",
    "javascript:window.__hacked = 1",
]


def order(tab: Any) -> list[str]:
    """Names of the rows that are seen, from the top."""
    found: list[str] = tab.locator("#ranking-table tbody tr:visible .video .name").all_inner_texts()
    return found


def sorts(tab: Any) -> dict[str, str]:
    """How each column is sorted."""
    heads = tab.locator("#ranking-table thead th").all()
    return {head.inner_text(): head.get_attribute("aria-sort") for head in heads}


@pytest.fixture
def ranked(made_page: Callable[..., Page], made_entry: Callable[..., Entry]) -> Page:
    """Five videos, of which one has no label and two have equal ones."""
    truths = (2.0, float("nan"), 10.0, 2.0, -1.5)
    names = ("video 10", "video 9", "Änne", "bob", "video 1")
    return made_page([made_entry(n, id=names[n], truth=truths[n]) for n in range(5)])


def test_it_opens_with_no_message_and_asks_for_nothing(
    opened: Callable[..., Any], made_page: Callable[..., Page], told_entries: list[Entry]
) -> None:
    tab = opened(made_page(told_entries))
    for details in tab.locator("details").all():
        details.locator("> summary").click()
    tab.wait_for_function(
        "() => [...document.querySelectorAll('video')].every(film => film.readyState > 1)"
    )
    assert tab.locator("video").count() == 6
    asked = [said for said in tab.heard if "blob:" not in said and "request: data:" not in said]
    assert asked == [f"request: {tab.url}"]


def test_a_click_on_a_head_sorts_by_it(opened: Callable[..., Any], ranked: Page) -> None:
    tab = opened(ranked)
    assert order(tab) == ["video 10", "video 9", "Änne", "bob", "video 1"]
    assert sorts(tab)["rank"] == "ascending"
    tab.get_by_role("button", name="label").click()
    # By number, equal ones in the order of the page, the unknown one last.
    assert order(tab) == ["video 1", "video 10", "bob", "Änne", "video 9"]
    assert sorts(tab) == {**dict.fromkeys(sorts(tab), "none"), "label": "ascending"}
    tab.get_by_role("button", name="label").click()
    assert order(tab) == ["Änne", "video 10", "bob", "video 1", "video 9"]
    assert sorts(tab)["label"] == "descending"
    tab.get_by_role("button", name="video").click()
    assert order(tab) == ["Änne", "bob", "video 1", "video 9", "video 10"]


def test_keys_sort_as_well(opened: Callable[..., Any], ranked: Page) -> None:
    tab = opened(ranked)
    tab.get_by_role("button", name="score").focus()
    tab.keyboard.press("Enter")
    assert order(tab) == ["video 1", "bob", "Änne", "video 9", "video 10"]
    tab.keyboard.press("Space")
    assert order(tab)[0] == "video 10"
    assert tab.evaluate("document.activeElement.textContent") == "score"


def test_videos_are_chosen_by_part_and_by_name(opened: Callable[..., Any], ranked: Page) -> None:
    both = replace(ranked.entries[2], part="train+test")
    tab = opened(replace(ranked, entries=[*ranked.entries[:2], both, *ranked.entries[3:]]))
    part, text = tab.get_by_label("Show"), tab.get_by_label("Find")
    part.select_option("tested")
    assert order(tab) == ["video 9", "Änne", "bob"]
    assert tab.get_by_role("status").first.inner_text() == "3 of 5 videos"
    part.select_option("trained")
    assert order(tab) == ["video 10", "Änne", "video 1"]
    text.fill("VIDEO 1")
    assert order(tab) == ["video 10", "video 1"]
    part.select_option("")
    text.fill("subject 1")
    assert order(tab) == ["video 9", "video 1"]
    text.fill("")
    assert tab.get_by_role("status").first.inner_text() == "5 videos"
    text.press("Enter")
    assert len(order(tab)) == 5


def test_hostile_names_are_shown_and_do_nothing(
    opened: Callable[..., Any], made_page: Callable[..., Page], told_entries: list[Entry]
) -> None:
    first = told_entries[0]
    entries = [
        replace(
            told_entries[1],
            id=name,
            subject=name,
            untold=name,
            remarks=(name,),
            film=Film(link=name, fault=name) if place % 2 else Film(missing=name),
        )
        for place, name in enumerate(HOSTILE)
    ]
    whole = " ".join(HOSTILE)
    page = made_page([first, *entries], title=whole, warnings=[whole], facts=[(whole, whole)])
    tab = opened(page, width=360)
    for place, name in enumerate(HOSTILE, start=1):
        tab.locator(f"#video-{place} > summary").click()
        tab.wait_for_selector(f"#video-{place} .comparison select")
        shown = tab.locator(f"#video-{place} summary .name").evaluate("node => node.textContent")
        assert shown == name
        said = tab.locator(f"#video-{place} .stage").first.evaluate("node => node.textContent")
        assert name in said
    assert tab.evaluate("window.__hacked") is None
    assert not [said for said in tab.heard if said.startswith("thrown: ")]
    for width in (360, 900, 1280):
        tab.set_viewport_size({"width": width, "height": 800})
        assert tab.evaluate("document.documentElement.scrollWidth") == width


def test_a_long_name_is_cut_until_its_section_opens(
    opened: Callable[..., Any], made_page: Callable[..., Page], made_entry: Callable[..., Entry]
) -> None:
    tab = opened(made_page([made_entry(0, id="long " * 400)]), width=360)
    heading = tab.locator("#video-0 h3")
    assert heading.bounding_box()["height"] < 80
    tab.locator("#video-0 summary").click()
    assert heading.bounding_box()["height"] > 800
    assert tab.locator("#ranking-table .video .name").bounding_box()["height"] < 80


def test_an_address_opens_a_section(
    opened: Callable[..., Any], made_page: Callable[..., Page], told_entries: list[Entry]
) -> None:
    tab = opened(made_page(told_entries), "#video-1")
    tab.wait_for_selector("#video-1 .timeline")
    tab.wait_for_function("() => document.activeElement.closest('details')?.id === 'video-1'")
    assert tab.locator("details.video[open]").count() == 1
    tab.locator("#video-1 > summary").click()
    # The address is this one already.
    tab.locator("#ranking-table a", has_text="video 1").click()
    assert tab.locator("#video-1").get_attribute("open") is not None
    tab.locator("#figure-scores a[href='#video-2']").first.dispatch_event("click")
    assert tab.locator("#video-2").get_attribute("open") is not None


def test_open_sections_are_open_again_after_going_away_and_back(
    opened: Callable[..., Any], made_page: Callable[..., Page], told_entries: list[Entry]
) -> None:
    tab = opened(made_page(told_entries))
    for place in (1, 3):
        tab.locator(f"#video-{place} > summary").click()
    tab.wait_for_function("() => history.state?.open.length === 2")
    tab.goto("about:blank")
    tab.go_back()
    tab.wait_for_function("() => document.querySelectorAll('details.video[open]').length === 2")
    open_ones = [own.get_attribute("id") for own in tab.locator("details.video[open]").all()]
    assert open_ones == ["video-1", "video-3"]
    assert tab.locator("#video-1 .timeline").is_visible()


def test_every_interactive_thing_is_reached_in_order(
    opened: Callable[..., Any], made_page: Callable[..., Page], told_entries: list[Entry]
) -> None:
    tab = opened(made_page(told_entries))
    tab.evaluate("document.querySelector('#video-1').open = true")
    tab.wait_for_selector("#video-1 .timeline")
    tab.evaluate(
        """() => {
          const all = 'a[href], button, select, input, summary, video, [tabindex="0"]';
          const seen = [...document.querySelectorAll(all)].filter(
            (node) => node.checkVisibility() && node.tabIndex >= 0 && !node.closest('figure'));
          seen.forEach((node, place) => { node.dataset.place = place; });
          window.wanted = seen.length;
        }"""
    )
    reached: list[int] = []
    for _ in range(200):
        tab.keyboard.press("Tab")
        place = tab.evaluate("document.activeElement?.dataset.place ?? null")
        if place is None:
            break
        # The buttons of a player are within it.
        if not reached or reached[-1] != int(place):
            reached.append(int(place))
    assert reached == list(range(tab.evaluate("window.wanted")))
    assert len(reached) > 25


def test_what_has_the_focus_is_seen_to_have_it(
    opened: Callable[..., Any], made_page: Callable[..., Page], told_entries: list[Entry]
) -> None:
    tab = opened(made_page(told_entries), "#video-1")
    for selector in (
        "#ranking-table button",
        "#part-filter",
        "#video-1 .timeline",
        "#video-1 summary",
    ):
        node = tab.locator(selector).first
        tab.keyboard.press("Tab")  # so that what follows counts as moved by keys
        node.focus()
        outline = node.evaluate("own => getComputedStyle(own).outline")
        assert "solid" in outline and "3px" in outline, selector


def test_things_to_press_are_large_enough(
    opened: Callable[..., Any], made_page: Callable[..., Page], told_entries: list[Entry]
) -> None:
    tab = opened(made_page(told_entries), "#video-1", width=390)
    tab.wait_for_selector("#video-1 .timeline")
    small = tab.evaluate(
        """() => [...document.querySelectorAll('button, select, input, summary, nav a, .video a')]
          .filter((node) => node.checkVisibility())
          .map((node) => [node.outerHTML.slice(0, 80), node.getBoundingClientRect()])
          .filter(([, box]) => box.width < 24 || box.height < 24)"""
    )
    assert small == []
