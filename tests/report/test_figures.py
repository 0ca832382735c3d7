"""Figures as SVG: well formed, light, safe whatever names say, and readable in both themes."""

import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import aqakit.report.figures
from aqakit.report.figures import Figure, figures_of
from aqakit.report.page import Entry, Page, Plane

NAN = math.nan
SVG = "{http://www.w3.org/2000/svg}"
CSS = Path(aqakit.report.figures.__file__).with_name("templates") / "figures.css"
PARTS = ("train", "val", "test", "train+test", "")


def entry(id: str, place: int, **more: Any) -> Entry:
    values: dict[str, Any] = {
        "part": PARTS[place % 5],
        "subject": "",
        "task": "",
        "rank": 1 + place,
    }
    values |= {"score": place * 0.37 - 2, "deviation": NAN, "truth": place * 1.5}
    return Entry(id=id, **values | more)


def whole(videos: int = 20, **more: Any) -> Page:
    """A page with each kind of figure."""
    entries = [entry(f"v{place:03}", place) for place in range(videos)]
    rng = np.random.default_rng(0)
    values: dict[str, Any] = {
        "entries": entries,
        "learning": {
            "ranking_high": {0: [1.0, 0.5, 0.25], 1: [1.0, 0.25, 0.125]},
            "validation_accuracy": {0: [0.5, 0.6, 0.7], 1: [0.5, 0.75, 0.8]},
        },
        "plane": Plane("t-SNE", rng.normal(size=(videos, 2)), np.arange(videos)),
        "tables": {"filter_correlation": rng.uniform(-1, 1, (3, 3))},
        "scaled": True,
    }
    return Page("head", [], [], [], [], **values | more)


def parsed(figure: Figure) -> ElementTree.Element:
    return ElementTree.fromstring(str(figure.svg))


def drawn(page: Page) -> dict[str, ElementTree.Element]:
    return {figure.id: parsed(figure) for figure in figures_of(page)}


def links(svg: ElementTree.Element) -> dict[str, ElementTree.Element]:
    return {link.attrib["href"]: link for link in svg.iter(f"{SVG}a")}


def texts(svg: ElementTree.Element) -> list[str]:
    return [text.text or "" for text in svg.iter(f"{SVG}text")]


def test_a_page_has_the_figures_that_it_has_data_for() -> None:
    assert [figure.id for figure in figures_of(whole())] == [
        "figure-scores",
        "figure-losses",
        "figure-validation",
        "figure-plane",
        "figure-table-1",
    ]
    assert figures_of(Page("head", [], [], [], [], [])) == []
    alone = figures_of(whole(1, learning={}, tables={}, plane=None))
    assert [figure.id for figure in alone] == ["figure-scores"]
    assert parsed(alone[0]).attrib["viewBox"].startswith("0 0 400.0 ")


def test_each_drawing_has_a_name_a_description_and_ids_of_its_own() -> None:
    every: list[str] = []
    for figure in figures_of(whole()):
        svg = parsed(figure)
        ids = [each.attrib["id"] for each in svg.iter() if "id" in each.attrib]
        assert all(id.startswith(figure.id) for id in ids) and figure.id not in ids
        every += ids
        title, desc = svg[0], svg[1]
        assert (title.tag, desc.tag) == (f"{SVG}title", f"{SVG}desc")
        assert svg.attrib["aria-labelledby"] == title.attrib["id"]
        assert svg.attrib["aria-describedby"] == desc.attrib["id"]
        assert title.text == figure.title and desc.text
        # What is inside of a picture cannot be reached, so it must hold no link.
        assert svg.attrib["role"] == ("group" if links(svg) else "img")
    assert len(set(every)) == len(every) == 5 * 3


@pytest.mark.parametrize("id", ["figure-scores", "figure-plane"])
def test_points_lead_to_their_videos_but_do_not_stop_the_tab_key(id: str) -> None:
    svg = drawn(whole(7))[id]
    found = links(svg)
    assert sorted(found) == [f"#video-{place}" for place in range(7)]
    for place in range(7):
        link = found[f"#video-{place}"]
        assert link.attrib["tabindex"] == "-1"
        assert link.attrib["aria-label"] == (link.findtext(f"{SVG}title") or "")
        assert link.attrib["aria-label"].startswith(f"v{place:03}: score ")
        assert len(link) == 2


def middle(sign: ElementTree.Element) -> tuple[float, float]:
    if "cx" in sign.attrib:
        return float(sign.attrib["cx"]), float(sign.attrib["cy"])
    begin = re.match(r"M([\d.]+) ([\d.]+)m", sign.attrib["d"])
    assert begin is not None
    return float(begin[1]), float(begin[2])


def ticks(svg: ElementTree.Element, look: str, axis: str) -> tuple[list[float], list[float]]:
    labels = [text for text in svg.iter(f"{SVG}text") if text.attrib.get("class") == look]
    lines = [path.attrib["d"] for path in svg.iter(f"{SVG}path") if path.get("class") == "grid"]
    pattern = r"M[\d.]+ ([\d.]+)H" if axis == "y" else r"M([\d.]+) [\d.]+V"
    at = [float(found[1]) for line in lines if (found := re.match(pattern, line))]
    return [float((label.text or "").replace("−", "-")) for label in labels], at


def test_a_sign_can_be_read_off_the_axes() -> None:
    page = whole(20)
    svg = drawn(page)["figure-scores"]
    x_values, x_at = ticks(svg, "under", "x")
    y_values, y_at = ticks(svg, "left", "y")
    for place, own in enumerate(page.entries):
        x, y = middle(links(svg)[f"#video-{place}"][1])
        read_x = np.interp(x, x_at, x_values)
        read_y = np.interp(y, y_at[::-1], y_values[::-1])
        assert read_x == pytest.approx(own.truth, abs=0.02)
        assert read_y == pytest.approx(own.score, abs=0.02)


def test_all_that_is_drawn_lies_inside_the_drawing() -> None:
    for svg in drawn(whole()).values():
        width, height = map(float, svg.attrib["viewBox"].split()[2:])
        for each in svg.iter():
            for name in ("x", "cx"):
                assert 0 <= float(each.attrib.get(name, 0)) <= width
            for name in ("y", "cy"):
                assert 0 <= float(each.attrib.get(name, 0)) <= height


def test_each_kind_of_figure_draws_its_signs() -> None:
    found = drawn(whole())
    shapes = {"train": "path", "val": "path", "test": "circle", "both": "path", "unused": "path"}
    for id, look in (("figure-scores", "plain"), ("figure-plane", "shaded")):
        groups = {
            group.attrib["class"].split()[1]: group
            for group in found[id].iter(f"{SVG}g")
            if group.attrib["class"].startswith(f"{look} ")
        }
        assert {part: len(group) for part, group in groups.items()} == dict.fromkeys(shapes, 4)
        for part, shape in shapes.items():
            assert groups[part][0][1].tag == SVG + shape
    assert [path.get("class") for path in found["figure-scores"].iter(f"{SVG}path")].count("rule")
    shaded = [link.attrib["class"] for link in links(found["figure-plane"]).values()]
    assert {"shade-0", "shade-8"} < set(shaded)
    assert len(list(found["figure-plane"].iter(f"{SVG}rect"))) == 9 + 1
    losses = found["figure-losses"]
    means = [p for p in losses.iter(f"{SVG}path") if "mean" in p.attrib.get("class", "")]
    seeds = [g for g in losses.iter(f"{SVG}g") if "seed" in g.attrib["class"]]
    assert len(means) == 1 and len(seeds[0]) == 2
    assert {"ranking high", "loss ↑", "epoch →"} <= set(texts(losses))
    table = found["figure-table-1"]
    assert len(list(table.iter(f"{SVG}rect"))) == 11
    assert {"→ low-skill filter", "↓ high-skill filter"} < set(texts(table))


def test_500_videos_are_light() -> None:
    small, large = ({f.id: len(f.svg) for f in figures_of(whole(n))} for n in (100, 600))
    for id in ("figure-scores", "figure-plane"):
        assert (large[id] - small[id]) / 500 < 200


HOSTILE = "</title></svg><script>alert(1)</script>\"'&amp;\n\u202e\x00\ud800 \u05d0 🤸" + "x" * 5000


def test_hostile_names_are_text() -> None:
    page = whole(
        entries=[entry(HOSTILE, 0), entry("b", 1)],
        plane=Plane("<i>", np.zeros((1, 2)), np.array([0])),
        learning={HOSTILE: {0: [1.0]}},
        tables={HOSTILE: np.ones((1, 1))},
    )
    figures = figures_of(page)
    assert len(figures) == 4
    for figure in figures:
        svg = parsed(figure)
        assert {each.tag.removeprefix(SVG) for each in svg.iter()} <= {
            *("svg", "title", "desc", "g", "path", "text", "a", "circle", "rect")
        }
        names = {name for each in svg.iter() for name in each.attrib}
        assert not any(name.startswith("on") or name == "style" for name in names)
        str(figure.svg).encode()
        figure.caption.encode()
        assert len(figure.svg) < 6000
    words = links(parsed(figures[0]))["#video-0"].attrib["aria-label"]
    assert words.startswith("</title></svg><script>alert(1)</script>\"'&amp; ��� א 🤸xxx")


@given(st.lists(st.text(), min_size=1, max_size=5))
def test_any_ids_are_well_formed(ids: list[str]) -> None:
    entries = [entry(id, place) for place, id in enumerate(ids)]
    svg = drawn(whole(entries=entries, plane=None, learning={}, tables={}))["figure-scores"]
    assert len(links(svg)) == len(ids)


@given(st.lists(st.tuples(st.floats(), st.floats()), max_size=6))
def test_any_numbers_make_a_page(values: list[tuple[float, float]]) -> None:
    entries = [entry("v", n, score=s, truth=t) for n, (s, t) in enumerate(values)]
    for svg in drawn(whole(entries=entries, plane=None)).values():
        assert "nan" not in " ".join(
            value for each in svg.iter() for value in each.attrib.values() if each.tag != f"{SVG}a"
        )


def test_the_same_page_gives_the_same_bytes() -> None:
    assert [f.svg for f in figures_of(whole())] == [f.svg for f in figures_of(whole())]


def variables(dark: bool) -> Mapping[str, str]:
    css = re.sub(r"/\*.*?\*/", "", CSS.read_text(), flags=re.DOTALL)
    light, other = css.split("@media (prefers-color-scheme: dark)")
    own = dict(re.findall(r"--([\w-]+): (#[0-9a-f]+)", light))
    return own | (dict(re.findall(r"--([\w-]+): (#[0-9a-f]+)", other)) if dark else {})


def luminance(colour: str) -> float:
    """Relative luminance of WCAG 2."""
    digits = colour[1:] if len(colour) == 7 else "".join(2 * digit for digit in colour[1:])
    shares = [int(digits[place : place + 2], 16) / 255 for place in (0, 2, 4)]
    linear = [s / 12.92 if s <= 0.04045 else ((s + 0.055) / 1.055) ** 2.4 for s in shares]
    return float(np.dot(linear, [0.2126, 0.7152, 0.0722]))


def numbered_shades(css: str) -> Iterator[tuple[str, str]]:
    """Variable of the square and of the number in it, by the classes of the style sheet."""
    for shade in range(11):
        square = re.search(rf"\.diverging-{shade} {{ fill: var\(--([\w-]+)\)", css)
        number = re.search(rf"\.on-{shade}\b[^{{]*{{ fill: var\(--([\w-]+)\)", css)
        assert square is not None and number is not None
        yield square[1], number[1]


@pytest.mark.parametrize("dark", [False, True])
def test_numbers_can_be_read_on_their_squares(dark: bool) -> None:
    colours = variables(dark)
    for square, number in numbered_shades(CSS.read_text()):
        low, high = sorted((luminance(colours[square]), luminance(colours[number])))
        assert (high + 0.05) / (low + 0.05) >= 4.5, (square, number)


@pytest.mark.parametrize("dark", [False, True])
def test_ramps_are_told_apart_by_lightness_alone(dark: bool) -> None:
    colours = variables(dark)
    scores = [luminance(colours[f"shade-{shade}"]) for shade in range(9)]
    assert (np.diff(scores) > 0).all() if dark else (np.diff(scores) < 0).all()
    squares = [square for square, _ in numbered_shades(CSS.read_text())]
    lights = np.array([luminance(colours[square]) for square in squares])
    for side in (lights[5::-1], lights[5:]):
        assert (np.diff(side) > 0).all() if dark else (np.diff(side) < 0).all()


def test_every_class_that_is_drawn_has_a_look() -> None:
    css = CSS.read_text()
    plain = {"plain", "shaded", "axis", "key", "seed", "mean", "dash-1", "bar", "points"}
    for svg in drawn(whole(tables={"some": np.linspace(-1, 1, 12).reshape(1, 12)})).values():
        used = {name for each in svg.iter() for name in each.attrib.get("class", "").split()}
        missing = {name for name in used if not re.search(rf"\.{name}\b", css)} - plain
        assert not missing
