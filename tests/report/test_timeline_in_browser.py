"""The section of a video in Chromium: player, time line, moments, maps, and the better video."""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from aqakit.report.page import Entry, Film, Page, Story

# Of the film of `told_entries`: steps of half a second from 10 to 14 seconds of its file.
BEGIN, END = 10.0, 14.0
CENTRES = [10.25 + step / 2 for step in range(8)]
SIDE = 10


@pytest.fixture
def section(
    opened: Callable[..., Any], made_page: Callable[..., Page], told_entries: list[Entry]
) -> Callable[..., Any]:
    """Open the page at a section: ``section(place, entries)``; its player is ready."""

    def open_section(place: int, entries: list[Entry] | None = None) -> Any:
        tab = opened(made_page(entries or told_entries), f"#video-{place}")
        own = tab.locator(f"#video-{place}")
        own.locator(".comparison").wait_for()
        tab.wait_for_function(
            "() => [...document.querySelectorAll('video')].every(film => film.readyState > 1)"
        )
        tab.wait_for_load_state()
        return own

    return open_section


def line(own: Any) -> Any:
    return own.get_by_role("slider")


def player_at(own: Any) -> float:
    """Seconds of the first player."""
    seconds: float = own.locator("video").first.evaluate("film => film.currentTime")
    return seconds


def click_at(own: Any, seconds: float, last: float) -> None:
    box = line(own).bounding_box()
    across = SIDE + (seconds - BEGIN) / (last - BEGIN) * (box["width"] - 2 * SIDE)
    line(own).click(position={"x": across, "y": box["height"] / 2})


def film_end(own: Any) -> float:
    length: float = own.locator("video").first.evaluate("film => film.duration")
    return BEGIN + length


@pytest.mark.parametrize("seconds", [10.6, 12.0, 13.3])
def test_a_click_on_the_line_moves_the_player_there(
    seconds: float, section: Callable[..., Any]
) -> None:
    own = section(0)
    # The film is a little longer than the steps, and the line as long as the film.
    assert END < film_end(own) < END + 0.5
    click_at(own, seconds, film_end(own))
    assert player_at(own) == pytest.approx(seconds - BEGIN, abs=0.02)
    assert float(line(own).get_attribute("aria-valuenow")) == pytest.approx(seconds, abs=0.1)


def test_the_cursor_follows_the_player(section: Callable[..., Any]) -> None:
    own = section(0)
    own.locator("video").first.evaluate("film => { film.currentTime = 2.6; }")
    own.page.wait_for_function(
        "node => node.getAttribute('aria-valuenow') === '12.6'", arg=line(own).element_handle()
    )
    assert "step 6 of 8" in line(own).get_attribute("aria-valuetext")
    own.locator("video").first.evaluate("film => film.play()")
    own.page.wait_for_function(
        "node => Number(node.getAttribute('aria-valuenow')) > 12.9",
        arg=line(own).element_handle(),
    )


def test_keys_go_step_by_step_and_from_moment_to_moment(section: Callable[..., Any]) -> None:
    own = section(0)
    line(own).focus()
    scrolled = own.page.evaluate("scrollY")
    moments = {step: CENTRES[step] for step in (1, 4, 6)}
    for key, centre in (
        ("End", CENTRES[7]),
        ("ArrowRight", CENTRES[7]),
        ("ArrowLeft", CENTRES[6]),
        ("ArrowDown", CENTRES[5]),
        ("Home", CENTRES[0]),
        ("ArrowLeft", CENTRES[0]),
        ("ArrowUp", CENTRES[1]),
        ("ArrowRight", CENTRES[2]),
        ("PageUp", moments[4]),
        ("PageUp", moments[6]),
        ("PageUp", moments[6]),
        ("PageDown", moments[4]),
        ("PageDown", moments[1]),
        ("PageDown", moments[1]),
    ):
        own.page.keyboard.press(key)
        assert player_at(own) == pytest.approx(centre - BEGIN, abs=0.01), key
        assert own.page.evaluate("scrollY") == scrolled, key
    for key, paused in (("Enter", False), (" ", True)):
        own.page.keyboard.press(key)
        assert own.locator("video").first.evaluate("film => film.paused") is paused
        assert own.page.evaluate("scrollY") == scrolled
    # Other keys are left alone.
    own.page.keyboard.press("Tab")
    assert line(own).evaluate("node => node !== document.activeElement")


def test_the_line_says_what_the_head_says_of_each_step(
    section: Callable[..., Any], told_entries: list[Entry]
) -> None:
    own = section(0)
    story = told_entries[0].story
    assert story is not None
    line(own).focus()
    own.page.keyboard.press("Home")
    for step in range(8):
        high, low = (story.curves[name] / story.curves[name].mean() for name in ("high", "low"))
        worth, so_far = story.curves["worth"][step], story.curves["so_far"][step]
        start, end = 10 + step / 2, 10.5 + step / 2
        change = f" ({so_far - story.curves['so_far'][step - 1]:+.3f} by this step)" if step else ""
        said = [
            f"0:{start:04.1f} to 0:{end:04.1f}, step {step + 1} of 8",
            f"attention to high skill: {high[step]:.1f} × its average",
            f"attention to low skill: {low[step]:.1f} × its average",
            f"worth of the step: {worth:.3f}",
            f"score so far: {so_far:.3f}{change}",
            *(["marked: faulty"] if step == 3 else []),
        ]
        assert line(own).get_attribute("aria-valuetext") == "; ".join(said)
        shown = own.locator(".readout").inner_text()
        assert all(part in shown for part in said)
        own.page.keyboard.press("ArrowRight")


def test_pointing_reads_a_step_without_moving_the_player(section: Callable[..., Any]) -> None:
    own = section(0)
    own.page.keyboard.press("Home")
    before = player_at(own)
    box = line(own).bounding_box()
    line(own).hover(position={"x": box["width"] - SIDE - 2, "y": 80})
    assert "step 8 of 8" in own.locator(".readout").inner_text()
    assert player_at(own) == before
    own.page.mouse.move(0, 0)
    assert "step 1 of 8" in own.locator(".readout").inner_text()


def test_curves_for_the_curious_are_shown_when_asked_for(section: Callable[..., Any]) -> None:
    own = section(0)
    assert own.locator(".timeline .lane").count() == 4  # attention, two lines, one flag
    height = line(own).bounding_box()["height"]
    own.get_by_role("button", name="Show 2 more curves").click()
    assert own.locator(".timeline .lane").count() == 6
    assert line(own).bounding_box()["height"] > height + 100
    assert own.locator(".legend li").count() == 7
    own.get_by_role("button", name="Show fewer curves").click()
    assert own.locator(".timeline .lane").count() == 4


def test_legend_explains_curves_and_counts_flags(section: Callable[..., Any]) -> None:
    words = section(0).locator(".legend li").all_inner_texts()
    assert words == [
        "attention to high skill Signs of high skill.",
        "attention to low skill Signs of low skill.",
        "worth of the step Higher is better.",
        "score so far If it ended here.",
        "faulty 1 of 8 steps is marked.",
    ]


def path_of(own: Any, selector: str) -> list[tuple[float, float]]:
    """Corners of a path of M, L, H and V."""
    corners: list[tuple[float, float]] = []
    text = own.locator(selector).first.get_attribute("d").replace("Z", "")
    for sign, numbers in re.findall(r"([MLHV])([^MLHV]*)", text):
        values = [float(number) for number in numbers.split()]
        last = corners[-1] if corners else (0.0, 0.0)
        point = {"H": (values[0], last[1]), "V": (last[0], values[0])}.get(sign, tuple(values))
        corners.append(point)  # type: ignore[arg-type]
    return corners


def test_areas_are_as_high_as_their_numbers(
    section: Callable[..., Any], told_entries: list[Entry]
) -> None:
    own = section(0)
    story = told_entries[0].story
    assert story is not None
    end, width = film_end(own), line(own).evaluate("node => node.clientWidth")
    for name, tells, sign in (("high", "good", -1), ("low", "bad", 1)):
        corners = path_of(own, f".timeline .area.{tells}")
        base = corners[0][1]
        tops = corners[1:-1:2]
        # Both share a scale: the highest of them reaches half of the lane's 76 pixels.
        expected = sign * story.curves[name] / 8 * 38
        np.testing.assert_allclose([y - base for _, y in tops], expected, atol=0.11)
        edges = [x for x, _ in tops] + [corners[-1][0]]
        seconds = BEGIN + (np.array(edges) - SIDE) / (width - 2 * SIDE) * (end - BEGIN)
        np.testing.assert_allclose(seconds, 10 + np.arange(9) / 2, atol=0.01)


def test_moments_are_numbered_alike_and_lead_there(section: Callable[..., Any]) -> None:
    own = section(0)
    buttons = own.locator(".moments button")
    assert [" ".join(text.split()) for text in buttons.all_inner_texts()] == [
        "1 Moment 1: 0:10.8 why 1",
        "2 Moment 2: 0:12.3 why 4",
        "3 Moment 3: 0:13.3 why 6",
    ]
    for place, step in enumerate((1, 4, 6)):
        buttons.nth(place).click()
        assert player_at(own) == pytest.approx(CENTRES[step] - BEGIN, abs=0.01)
        current = [own.get_attribute("aria-current") for own in buttons.all()]
        assert current == [str(other == place).lower() for other in range(3)]
        # Wherever its sign is hit.
        sign = own.locator(f".timeline [data-moment='{(place + 1) % 3}']")
        sign.click(position={"x": 2, "y": 11})
        following = CENTRES[(1, 4, 6)[(place + 1) % 3]]
        assert player_at(own) == pytest.approx(following - BEGIN, abs=0.01)
    shapes = own.locator(".timeline .marker > :first-child").evaluate_all(
        "all => all.map(one => one.tagName)"
    )
    assert shapes == ["rect", "circle", "rect"]


def test_a_moment_brings_its_player_into_sight(section: Callable[..., Any]) -> None:
    own = section(0)
    own.page.set_viewport_size({"width": 390, "height": 700})
    last = own.locator(".moments button").last
    last.scroll_into_view_if_needed()
    assert own.locator("video").first.bounding_box()["y"] < 0
    last.click()
    box = own.locator("video").first.bounding_box()
    assert box["y"] >= 0 and box["y"] + box["height"] <= 700


def densest(own: Any, canvas: str) -> tuple[float, float, int]:
    """Where a map is densest, as shares of width and height, and how dense (0 to 255)."""
    x, y, most = own.locator(canvas).first.evaluate(
        """(canvas) => {
          const {data} = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
          let [best, most] = [0, -1];
          for (let place = 0; place < data.length / 4; place += 1) {
            const yellow = data[4 * place] > 200 ? data[4 * place + 3] : 0;
            if (yellow > most) [best, most] = [place, yellow];
          }
          return [(best % canvas.width) / canvas.width,
                  Math.floor(best / canvas.width) / canvas.height, most];
        }"""
    )
    return x, y, most


def test_where_it_looked_is_drawn_over_player_and_stills(section: Callable[..., Any]) -> None:
    own = section(0)
    assert not own.locator("canvas").first.is_visible()
    show = own.get_by_role("button", name="Show where it looked")
    show.click()
    assert show.get_attribute("aria-pressed") == "true"
    # Of a 6 x 4 map, step s weighs column s mod 6, and the lowest row the most.
    for step in (0, 2, 5):
        line(own).focus()
        own.page.keyboard.press("Home")
        for _ in range(step):
            own.page.keyboard.press("ArrowRight")
        x, y, most = densest(own, ".stage canvas")
        assert abs(x - (step + 0.5) / 6) < 0.1 and y > 0.7 and most > 150
    x, _, most = densest(own, ".moments li:nth-child(2) canvas")
    assert abs(x - 4.5 / 6) < 0.1 and most > 150
    assert own.locator(".stage canvas").first.bounding_box() == pytest.approx(
        own.locator("video").first.bounding_box(), abs=1
    )
    show.click()
    assert own.locator("canvas:visible").count() == 0


def test_each_map_has_its_button(section: Callable[..., Any], told_entries: list[Entry]) -> None:
    story = told_entries[0].story
    assert story is not None
    maps = {"first_map": story.maps["attention"], "second_map": story.maps["attention"]}
    entry = replace(told_entries[0], story=replace(story, maps=maps))
    own = section(0, [entry])
    names = [f"Show where it looked: {name} map" for name in ("first", "second")]
    buttons = [own.get_by_role("button", name=name) for name in names]
    for pressed in (0, 1):
        buttons[pressed].click()
        states = [one.get_attribute("aria-pressed") for one in buttons]
        assert states == [str(place == pressed).lower() for place in (0, 1)]
    assert own.locator(".stage canvas").first.is_visible()


def test_without_a_film_stills_and_the_reason_are_shown(section: Callable[..., Any]) -> None:
    own = section(2)
    assert own.locator(".body > .watched video").count() == 0
    assert own.locator(".watched .missing").inner_text() == (
        "The file is not at /videos/2.mp4 any more."
    )
    picture = own.locator(".watched .stage img")
    assert picture.get_attribute("alt") == "Moment 1, 0:10.8: why 1"
    assert "step 2 of 8" in line(own).get_attribute("aria-valuetext")
    own.locator(".moments button").nth(2).click()
    assert picture.get_attribute("alt") == "Moment 3, 0:13.3: why 6"
    assert "step 7 of 8" in line(own).get_attribute("aria-valuetext")
    line(own).focus()
    own.page.keyboard.press("Home")
    assert "step 1 of 8" in line(own).get_attribute("aria-valuetext")


def test_without_a_story_the_reason_is_shown(section: Callable[..., Any]) -> None:
    own = section(3)
    assert "The store is not there any more." in own.inner_text()
    assert own.get_by_role("slider").count() == 0 and own.locator(".moments").count() == 0


def test_without_times_the_line_is_drawn_by_number(
    section: Callable[..., Any], told_entries: list[Entry]
) -> None:
    story = told_entries[0].story
    assert story is not None
    times = story.times.copy()
    times[2, 1] = np.nan
    moments = tuple(replace(one, centre_seconds=np.nan) for one in story.moments)
    own = section(0, [replace(told_entries[0], story=replace(story, times=times, moments=moments))])
    assert "cannot move the player" in own.locator(".help").inner_text()
    line(own).focus()
    own.page.keyboard.press("End")
    assert line(own).get_attribute("aria-valuenow") == "8"
    assert line(own).get_attribute("aria-valuetext").startswith("step 8 of 8; ")
    own.locator(".moments button").nth(1).click()
    assert line(own).get_attribute("aria-valuenow") == "5"
    assert player_at(own) == 0
    assert own.locator(".moments button").first.inner_text().endswith("step 2 why 1")


def test_numbers_that_are_missing_break_the_line(
    section: Callable[..., Any], told_entries: list[Entry]
) -> None:
    story = told_entries[0].story
    assert story is not None
    worth = story.curves["worth"].copy()
    worth[3] = np.nan
    curves = {"worth": worth, "so_far": np.full(8, np.nan)}
    own = section(0, [replace(told_entries[0], story=replace(story, curves=curves))])
    first, second = own.locator(".timeline .line").all()
    assert first.get_attribute("d").count("M") == 2
    assert second.get_attribute("d") == ""
    line(own).focus()
    own.page.keyboard.press("Home")
    for _ in range(3):
        own.page.keyboard.press("ArrowRight")
    assert "worth of the step: unknown; score so far: unknown" in (
        line(own).get_attribute("aria-valuetext")
    )


def test_a_better_video_of_its_kind_stands_beside_it(
    section: Callable[..., Any], told_entries: list[Entry]
) -> None:
    entries = [
        replace(told_entries[0], task="knots"),
        replace(told_entries[1], task="needles", rival=None),
        replace(told_entries[2], task="knots", rank=3, rival=1),
        replace(told_entries[1], id="fourth", task="knots", rank=4, rival=2),
        replace(told_entries[1], id="as good", task="knots", rank=4, rival=2),
    ]
    own = section(3, entries)
    names = [text.strip("\u2068\u2069") for text in own.locator("option").all_inner_texts()]
    assert [name.replace("\u2068", "") for name in names] == ["1: video 0", "3: video 2"]
    assert own.locator("select").input_value() == "2"
    assert own.get_by_role("button", name="Play both").count() == 0
    own.locator("select").select_option("0")
    assert own.locator(".side h5").all_inner_texts() == ["this one: fourth", "better: video 0"]
    # The moments against this one (1 and 6) beside the only one for the other (4).
    assert own.locator(".beside").all_inner_texts() == ["0:10.8 why 1", "0:12.3 why 4"]
    assert own.locator(".beside img").count() == 2
    films = own.locator(".comparison video")
    films.evaluate_all("all => all.forEach(film => { film.currentTime = 3.5; })")
    own.get_by_role("button", name="Play both from moment 1").click()
    assert films.evaluate_all("all => all.every(film => !film.paused)")
    ours, theirs = films.evaluate_all("all => all.map(film => film.currentTime)")
    assert 0.5 <= ours < 1.0 and 2.0 <= theirs < 2.5
    own.get_by_role("button", name="Pause both").click()
    assert films.evaluate_all("all => all.every(film => film.paused)")


def test_the_best_video_has_none_beside_it(section: Callable[..., Any]) -> None:
    own = section(0)
    assert "No video of its kind is ranked higher." in own.locator(".comparison").inner_text()


def test_moments_that_tell_neither_are_compared_where_there_are_no_others(
    section: Callable[..., Any],
    told_entries: list[Entry],
    made_story: Callable[..., Story],
) -> None:
    notable = made_story(8, 10.0, [(2, "notable"), (5, "notable")])
    entries = [replace(one, story=notable) for one in told_entries[:2]]
    own = section(1, entries)
    assert own.locator(".beside").all_inner_texts() == [
        *["0:11.3 why 2"] * 2,
        *["0:12.8 why 5"] * 2,
    ]
    good = replace(entries[0], story=made_story(8, 10.0, [(1, "bad")]))
    own = section(1, [good, entries[1]])
    assert "No moment of the better video stands out for it." in own.inner_text()
    own = section(1, [entries[0], replace(entries[1], story=made_story(8, 10.0, [(1, "good")]))])
    assert "No moment of this video stands out against it." in own.inner_text()


def test_closing_a_section_pauses_its_players(section: Callable[..., Any]) -> None:
    own = section(1)
    own.locator("video").evaluate_all("all => Promise.all(all.map(film => film.play()))")
    own.locator("> summary").click()
    own.page.wait_for_function(
        "() => [...document.querySelectorAll('video')].every(own => own.paused && !own.ended)"
    )


def test_a_linked_file_plays_from_disk(
    section: Callable[..., Any], told_entries: list[Entry], tmp_path: Path
) -> None:
    copy = told_entries[0].film.copy
    assert copy is not None
    (tmp_path / "own folder").mkdir()
    (tmp_path / "own folder" / "a.mp4").write_bytes(copy)
    for link in ("own%20folder/a.mp4", (tmp_path / "own folder" / "a.mp4").as_uri()):
        own = section(0, [replace(told_entries[0], film=Film(link=link))])
        assert own.locator("video").evaluate("film => film.videoWidth") == 64
        # A link's clock is the file's own.
        line(own).focus()
        own.page.keyboard.press("Home")
        own.page.wait_for_function("() => document.querySelector('video').currentTime > 4")
        assert not own.locator(".fault").is_visible()


def test_a_linked_file_that_does_not_play_says_what_to_do(
    opened: Callable[..., Any],
    made_page: Callable[..., Page],
    told_entries: list[Entry],
    tmp_path: Path,
) -> None:
    (tmp_path / "broken.mp4").write_bytes(b"no film")
    for link in ("gone.mp4", "broken.mp4"):
        entry = replace(told_entries[0], film=Film(link=link))
        tab = opened(made_page([entry]), "#video-0")
        fault = tab.locator(".stage .fault")
        fault.wait_for()
        assert "without --link-videos" in fault.inner_text()
        assert not tab.locator("video").is_visible()


def test_a_fault_of_the_film_is_said_under_the_player(
    section: Callable[..., Any], told_entries: list[Entry]
) -> None:
    film = replace(told_entries[0].film, fault="The file breaks off at 0:13.")
    own = section(0, [replace(told_entries[0], film=film)])
    assert own.locator(".stage .fault:visible").inner_text() == "The file breaks off at 0:13."
    assert "begins at 0:10.0 of the file" in own.locator(".stage").inner_text()


def test_the_line_is_drawn_anew_when_the_window_changes(section: Callable[..., Any]) -> None:
    own = section(0)
    own.page.set_viewport_size({"width": 400, "height": 800})
    own.page.wait_for_function(
        "node => node.querySelector('svg').viewBox.baseVal.width === node.clientWidth",
        arg=line(own).element_handle(),
    )
    assert line(own).evaluate("node => node.clientWidth") < 400
    click_at(own, 12.0, film_end(own))
    assert player_at(own) == pytest.approx(2.0, abs=0.03)
