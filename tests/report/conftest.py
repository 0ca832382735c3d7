"""Made-up pages, and a browser that opens them."""

import dataclasses
import math
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from aqakit.models.reading import Reading
from aqakit.models.row import Row
from aqakit.report.page import Entry, Film, Moment, Page, Story, Tells
from aqakit.report.render import render

NAN = math.nan
STEP_SECONDS = 0.5
_ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
)
READINGS = {
    "high": Reading("attention to high skill", "Signs of high skill.", "attention", "good"),
    "low": Reading("attention to low skill", "Signs of low skill.", "attention", "bad"),
    "worth": Reading("worth of the step", "Higher is better.", "value", "both"),
    "so_far": Reading("score so far", "If it ended here.", "running", "both"),
    "filter": Reading("filter", "One of the patterns.", "attention", "good", detail=True),
}


def _row(name: str = "mine", **changes: Any) -> Row:
    values: dict[str, Any] = {
        field.name: NAN if field.type == "float" or field.type is float else 0
        for field in dataclasses.fields(Row)
    }
    ends = {field: (NAN, NAN) for field in values if field.endswith("interval")}
    return Row(**{**values, **ends, "name": name, "feature": "pose.x", **changes})


def _jpeg(shade: int = 90, size: tuple[int, int] = (48, 36)) -> bytes:
    picture = np.full((size[1], size[0], 3), shade, np.uint8)
    return cv2.imencode(".jpg", picture)[1].tobytes()


def _story(steps: int = 8, begin: float = 0.0, moments: Sequence[tuple[int, Tells]] = ()) -> Story:
    """Steps of half a second; the numbers of each curve are easy to tell apart."""
    edges = begin + STEP_SECONDS * np.arange(steps + 1)
    times = np.stack([edges[:-1], (edges[:-1] + edges[1:]) / 2, edges[1:]], axis=1)
    number = np.arange(steps, dtype=np.float64)
    y, x = np.mgrid[0:4, 0:6]
    worth = np.where(number % 2, -1.0, 1.0) * (1 + number) / 4
    return Story(
        times,
        {
            "high": 1 + number,
            "low": 1 + number[::-1],
            "worth": worth,
            "so_far": np.cumsum(worth),
            "filter_0": 2 + np.cos(number),
            "filter_1": 2 + np.sin(number),
        },
        READINGS,
        flags={"faulty": number % 5 == 3},
        maps={"attention": np.stack([(x == step % 6) * (y + 1.0) for step in range(steps)])},
        parts={"high_part": 1.5, "low_part": -0.25},
        notes={"expert": "the best one"},
        moments=tuple(
            Moment(*_ends(times[step]), tells, f"why {step}", step) for step, tells in moments
        ),
    )


def _ends(times: NDArray[np.float64]) -> tuple[float, float, float]:
    start, centre, end = times.tolist()
    return start, centre, end


def _entry(place: int, **changes: Any) -> Entry:
    values: dict[str, Any] = {
        "id": f"video {place}",
        "part": "test" if place % 2 else "train",
        "subject": f"subject {place % 3}",
        "task": "",
        "score": 3.0 - place,
        "deviation": 0.125,
        "rank": place + 1,
        "truth": 10.0 - place,
        "agreed": (3, 4) if place % 2 else (0, 0),
        "rival": 0 if place else None,
    }
    return Entry(**{**values, **changes})


def _page(entries: Sequence[Entry], **changes: Any) -> Page:
    values: dict[str, Any] = {
        "title": "rank-aware-attention",
        "facts": [("trained on", "28 videos"), ("made by", "aqakit 1.2.3")],
        "rows": [
            _row("rank-aware-attention", accuracy=0.9, accuracy_sd=0.02, interval=(0.8, 0.95)),
            _row("control: constant", accuracy=0.5, interval=(0.5, 0.5), feature=""),
        ],
        "warnings": ["Only 12 videos were tested."],
        "notes": ["Scores are averaged over seeds."],
        "entries": entries,
    }
    return Page(**{**values, **changes})


@pytest.fixture(scope="session")
def made_row() -> Callable[..., Row]:
    """A row of a table: ``made_row(name, **fields)``."""
    return _row


@pytest.fixture(scope="session")
def made_jpeg() -> Callable[..., bytes]:
    """A picture of one shade: ``made_jpeg(shade, (width, height))``."""
    return _jpeg


@pytest.fixture(scope="session")
def made_story() -> Callable[..., Story]:
    """A story: ``made_story(steps, begin, [(step, tells), ...])``."""
    return _story


@pytest.fixture(scope="session")
def made_entry() -> Callable[..., Entry]:
    """A video: ``made_entry(place, **fields)``."""
    return _entry


@pytest.fixture(scope="session")
def made_page() -> Callable[..., Page]:
    """A page: ``made_page(entries, **fields)``."""
    return _page


@pytest.fixture
def told_entries(write_video: Callable[..., Path], tmp_path: Path) -> list[Entry]:
    """Three videos with stories: copies of the first two, which begin 10 seconds into their files."""
    pictures = [np.full((48, 64, 3), 4 * number, np.uint8) for number in range(50)]
    path = write_video(tmp_path / "copy.mp4", pictures, fps=12, codec="libx264")
    moments: list[tuple[int, Tells]] = [(1, "bad"), (4, "good"), (6, "bad")]
    told = _story(8, 10.0, moments)
    stills = {moment.centre_seconds: _jpeg(60) for moment in told.moments}
    film = Film(path.read_bytes(), begins_seconds=10.0, thumbnail=_jpeg(), stills=stills)
    lost = Film(missing="The file is not at /videos/2.mp4 any more.", stills=stills)
    return [
        _entry(0, story=told, film=film),
        _entry(1, story=told, film=film),
        _entry(2, story=told, film=lost),
        _entry(3, untold="The store is not there any more."),
    ]


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """Chromium without a window."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("chromium is not installed")
    with playwright.sync_playwright() as tools:
        running = tools.chromium.launch(executable_path=chromium, args=list(_ARGUMENTS))
        yield running
        running.close()


@pytest.fixture
def opened(browser: Any, tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """Write a page and open it from disk: ``opened(page, hash, width, scheme)``.

    What the browser has to say, and asks for, is kept in ``heard`` of the result.
    """
    contexts = []

    def open_page(page: Page, anchor: str = "", width: int = 1280, scheme: str = "light") -> Any:
        path = tmp_path / "report.html"
        path.write_text(render(page), encoding="utf-8")
        context = browser.new_context(
            viewport={"width": width, "height": 800}, color_scheme=scheme, reduced_motion="reduce"
        )
        contexts.append(context)
        tab = context.new_page()
        tab.set_default_timeout(10_000)
        tab.heard = []
        tab.on("console", lambda said: tab.heard.append(f"{said.type}: {said.text}"))
        tab.on("pageerror", lambda error: tab.heard.append(f"thrown: {error}"))
        tab.on("request", lambda asked: tab.heard.append(f"request: {asked.url[:200]}"))
        tab.goto(f"{path.as_uri()}{anchor}")
        return tab

    yield open_page
    for context in contexts:
        context.close()
