"""The page as text: what it holds, what it keeps out, and that its words are those of its values."""

import base64
import hashlib
import itertools
import json
import math
import re
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from aqakit.models.row import Row
from aqakit.report.page import Entry, Film, Page, Plane, Story
from aqakit.report.render import render

# Each would do harm, or break the page, where it got out of its place.
HOSTILE = (
    "<script>window.__hacked = 1</script>",
    "</script><script>window.__hacked = 1</script>",
    "<!--<script>",
    '"><img src=x onerror="window.__hacked = 1">',
    "'; window.__hacked = 1; //",
    "{{ 7 * 7 }} {% raw %}",
    "&lt;b&gt; &amp; &quot;",
    "\U0001f3c5 gold \U0001f469\u200d\u2695\ufe0f",
    "\u05e9\u05dc\u05d5\u05dd \u202egnp.exe",
    "a\nb\tc",
    "x" * 5000,
    "]]>\u2028\u2029",
)
VOID = {"meta", "link", "img", "input", "br"}


class Tree(HTMLParser):
    """Elements with their attributes, and the text that a reader sees."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.scripts: list[tuple[dict[str, str | None], str]] = []
        self.open: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attributes)))
        if tag in {"script", "style"}:
            self.scripts.append((dict(attributes), ""))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attributes)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open.pop() == tag, f"</{tag}> closes nothing"

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] in {"script", "style"}:
            attributes, text = self.scripts[-1]
            self.scripts[-1] = (attributes, text + data)
        else:
            self.text.append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]

    def with_class(self, name: str) -> int:
        return sum(name in (own.get("class") or "").split() for _, own in self.elements)


@pytest.fixture
def full(
    made_page: Callable[..., Page],
    made_entry: Callable[..., Entry],
    made_story: Callable[..., Story],
    made_jpeg: Callable[..., bytes],
) -> Page:
    """Six videos of which three have a story, and all figures."""
    told = made_story(6, 0.0, [(1, "bad"), (4, "good")])
    stills = {moment.centre_seconds: made_jpeg() for moment in told.moments}
    film = Film(b"copy", thumbnail=made_jpeg(), stills=stills)
    entries = [made_entry(n, story=told, film=film) for n in range(3)]
    entries += [made_entry(n, untold="Nothing is stored.") for n in range(3, 6)]
    return made_page(
        entries,
        learning={"loss": {0: [3.0, 2.0, 1.0]}},
        plane=Plane("PCA", told.times[:3, :2], told.times[:3, 0].astype(int)),
        tables={"filter_correlation": told.times[:2, :2]},
    )


def test_elements_are_closed_where_they_were_opened(full: Page) -> None:
    tree = Tree(render(full))
    assert tree.open == []
    assert len(tree.all("details")) == 1 + len(full.entries)
    assert {"header", "main", "nav", "footer"} <= {name for name, _ in tree.elements}


def test_ids_are_there_once_and_links_lead_to_them(full: Page) -> None:
    tree = Tree(render(full))
    ids = [own["id"] for _, own in tree.elements if "id" in own]
    assert len(ids) == len(set(ids))
    links = [own["href"] or "" for own in tree.all("a")]
    assert {link for link in links if link.startswith("#video-")} == {
        f"#video-{n}" for n in range(6)
    }
    assert all(link.startswith("#") and link[1:] in ids for link in links)
    for _, own in tree.elements:
        for name in ("aria-labelledby", "aria-describedby"):
            assert set((own.get(name) or "").split()) <= set(ids)


def test_headings_go_down_one_at_a_time(full: Page) -> None:
    levels = [
        int(name[1]) for name, _ in Tree(render(full)).elements if re.fullmatch("h[1-6]", name)
    ]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))


def test_the_same_page_gives_the_same_text(full: Page) -> None:
    assert render(full) == render(replace(full))


def test_nothing_refers_to_a_network_or_a_file(full: Page) -> None:
    html = render(full)
    assert set(re.findall(r"https?:[^\"' )]*", html)) == {"http://www.w3.org/2000/svg"}
    for tag, own in Tree(html).elements:
        for name in ("src", "srcset", "action", "data", "poster", "background"):
            assert (own.get(name) or "data:").startswith("data:"), (tag, name)
        assert tag not in {"iframe", "object", "embed", "base"}
        assert "style" not in own and not any(name.startswith("on") for name in own)
    assert "@import" not in html and not re.search(r"url\((?!#)", html)


def policy(html: str) -> dict[str, str]:
    """What the page lets in, by kind."""
    (own,) = [own["content"] or "" for own in Tree(html).all("meta") if "http-equiv" in own]
    return dict(rule.split(" ", 1) for rule in own.split("; "))


def test_the_policy_lets_in_this_style_and_this_script_alone(full: Page) -> None:
    html = render(full)
    tree, rules = Tree(html), policy(html)
    code = [text for own, text in tree.scripts if own.get("type") != "application/json"]
    hashes = [
        f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
        for text in code
    ]
    assert [rules["style-src"], rules["script-src"]] == hashes
    assert rules["default-src"] == rules["base-uri"] == rules["form-action"] == "'none'"
    assert rules["media-src"] == "blob:" and rules["img-src"] == "data:"


def test_the_policy_lets_in_files_only_where_videos_are_linked(full: Page) -> None:
    linked = replace(full, entries=[replace(full.entries[0], film=Film(link="a.mp4"))], plane=None)
    assert policy(render(linked))["media-src"] == "blob: 'self' file:"


def shown_everywhere(text: str, made_page: Callable[..., Page], told: Story) -> Page:
    """A page that shows one text wherever text of a user can stand."""
    film = Film(missing=text, fault=text, link=text)
    story = replace(told, notes={text: text}, parts={text: 1.0})
    # Without labels, as figures write line breaks and controls in their own way.
    entry = Entry(text, "test", text, text, 1.0, 0.1, 1, math.nan, story=story, film=film)
    untold = Entry(text, "train", text, text, 0.0, 0.1, 2, math.nan, untold=text, rival=0)
    return made_page(
        [entry, untold], title=text, facts=[(text, text)], warnings=[text], notes=[text]
    )


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_is_shown_as_text(
    text: str, made_page: Callable[..., Page], made_story: Callable[..., Story]
) -> None:
    tree = Tree(render(shown_everywhere(text, made_page, made_story(2))))
    harmless = Tree(render(shown_everywhere("x" * len(text), made_page, made_story(2))))
    assert [name for name, _ in tree.elements] == [name for name, _ in harmless.elements]
    assert tree.open == []
    assert "".join(tree.text).count(text) == "".join(harmless.text).count("x" * len(text)) > 10
    kept = [json.loads(script) for own, script in tree.scripts if own.get("id") == "data"]
    assert [entry["id"] for entry in kept[0]] == [text, text]


def test_very_long_names_have_their_whole_in_a_hint(
    made_page: Callable[..., Page], made_entry: Callable[..., Entry]
) -> None:
    long = "x" * 61
    tree = Tree(render(made_page([made_entry(0, id=long), made_entry(1, id="x" * 60)])))
    hints = [own["title"] for own in tree.all("bdi") if "title" in own]
    assert set(hints) == {long}
    assert all("name" in (own["class"] or "") for own in tree.all("bdi"))


def test_what_no_file_can_hold_is_replaced(
    made_page: Callable[..., Page], made_entry: Callable[..., Entry]
) -> None:
    html = render(made_page([made_entry(0, id="caf\udce9\x00\x07\x7f.mp4")], title="\ud800"))
    html.encode("utf-8")
    assert "caf\ufffd\ufffd\ufffd\ufffd.mp4" in html
    assert not re.search("[\x00-\x08\x7f\ud800-\udfff]", html)


def cells(html: str, rows: str) -> list[list[str]]:
    """Text of each cell of the body of a table of a class."""
    (body,) = re.findall(rf'<table class="{rows} .*?<tbody[^>]*>(.*?)</tbody>', html, re.DOTALL)
    found = []
    for row in re.findall(r"<tr.*?</tr>", body, re.DOTALL):
        texts = [
            re.sub(r"<[^>]*>", "", own) for own in re.findall(r"<t[hd].*?</t[hd]>", row, re.DOTALL)
        ]
        found.append([" ".join(text.split()) for text in texts])
    return found


def heads(html: str, rows: str) -> list[str]:
    (head,) = re.findall(rf'<table class="{rows} .*?<thead[^>]*>(.*?)</thead>', html, re.DOTALL)
    return [re.sub(r"<[^>]*>", "", own) for own in re.findall(r"<th.*?</th>", head, re.DOTALL)]


def test_results_stand_as_on_the_terminal(
    made_page: Callable[..., Page], made_row: Callable[..., Row]
) -> None:
    rows = [
        made_row(
            "mine", accuracy=0.9, accuracy_sd=0.02, interval=(0.8, 0.95), spearman=0.7, seeds=5
        ),
        made_row("other", accuracy=0.85, interval=(0.7, 0.9), ties=0.051, seeds=1),
        made_row("control: constant", accuracy=0.0, ties=1.0, feature="", seeds=1),
    ]
    html = render(made_page([], rows=rows))
    assert heads(html, "results") == [
        "row",
        "accuracy",
        "95 % interval",
        "Spearman",
        "ties",
        "seeds",
    ]
    assert [row[:-1] for row in cells(html, "results")] == [
        ["mine this runpose.x", "0.900 ± 0.020", "0.800 to 0.950", "0.700", "", "5"],
        ["otherpose.x", "0.850", "0.700 to 0.900", "", "5%", "1"],
        ["control: constant", "0.000", "", "", "100%", "1"],
    ]
    tree = Tree(html)
    assert (tree.with_class("own"), tree.with_class("other"), tree.with_class("control")) == (
        1,
        1,
        1,
    )


def test_an_interval_is_drawn_from_0_to_1(
    made_page: Callable[..., Page], made_row: Callable[..., Row]
) -> None:
    row = made_row(accuracy=0.9, interval=(0.25, 0.95))
    html = render(made_page([], rows=[row, made_row("lost")]))
    assert 'd="M35.0 8H105.0"' in html and 'cx="100.0"' in html
    assert html.count('class="chance"') == 1


def test_ranking_has_a_column_only_where_a_video_has_something_to_say(
    made_page: Callable[..., Page], made_entry: Callable[..., Entry]
) -> None:
    bare = {"subject": "", "truth": float("nan"), "agreed": (0, 0)}
    html = render(made_page([made_entry(0, **bare), made_entry(1, **bare)]))
    assert heads(html, "ranking") == ["rank", "video", "part", "score"]
    assert cells(html, "ranking") == [
        ["1", "video 0", "trained", "3.000 ± 0.125"],
        ["2", "video 1", "tested", "2.000 ± 0.125"],
    ]
    told = {**bare, "task": "knots", "won": (3, 4), "deviation": float("nan"), "part": "train+test"}
    html = render(made_page([made_entry(0, **told), made_entry(1, **{**bare, "agreed": (1, 2)})]))
    assert heads(html, "ranking") == [
        "rank",
        "video",
        "task",
        "part",
        "score",
        "pairs won",
        "agreed",
    ]
    assert cells(html, "ranking") == [
        ["1", "video 0", "knots", "trained tested", "3.000", "3 of 4", ""],
        ["2", "video 1", "", "tested", "2.000 ± 0.125", "", "1 of 2"],
    ]
    # Where labels are known, what follows from them is left out.
    html = render(made_page([made_entry(0, won=(3, 4)), made_entry(1)]))
    assert heads(html, "ranking") == [
        "rank",
        "video",
        "subject",
        "part",
        "score",
        "label",
        "agreed",
    ]


def test_what_is_remarked_stands_in_the_ranking_and_in_the_section(
    made_page: Callable[..., Page], made_entry: Callable[..., Entry]
) -> None:
    marked = made_entry(0, part="new", remarks=("640x480, not 160x120", "shorter <than> any"))
    html = render(made_page([marked, made_entry(1)]))
    assert cells(html, "ranking")[0][1] == "video 0640x480, not 160x120shorter &lt;than&gt; any"
    assert "".join(Tree(html).text).count("shorter <than> any") == 2
    assert html.count('<ul class="remarks">') == 1
    assert "neither of the training nor of the test" in html
    assert "neither of the training" not in render(made_page([made_entry(1)]))


def test_numbers_are_sorted_by_their_whole_value(
    made_page: Callable[..., Page], made_entry: Callable[..., Entry]
) -> None:
    html = render(made_page([made_entry(0, score=1.00049, truth=float("nan")), made_entry(1)]))
    assert 'data-value="1.00049">1.000' in html
    assert 'class="truth" data-label="label" data-value=""></td>' in html
    assert 'data-value="0.75">3 of 4' in html


def test_pictures_load_when_they_are_seen(full: Page) -> None:
    pictures = Tree(render(full)).all("img")
    assert len(pictures) == 3
    for picture in pictures:
        assert picture["loading"] == "lazy" and picture["decoding"] == "async"
        assert (picture["src"] or "").startswith("data:image/jpeg;base64,/9j/")


def test_stories_and_pictures_are_texts_of_their_own(full: Page) -> None:
    scripts = {own.get("id"): text for own, text in Tree(render(full)).scripts if "type" in own}
    assert set(scripts) == {"data"} | {
        f"{kind}-{n}" for kind in ("story", "media") for n in range(3)
    }
    assert json.loads(scripts["story-1"])["steps"] == 6
    assert base64.b64decode(json.loads(scripts["media-2"])["copy"]) == b"copy"
    assert len(json.loads(scripts["data"])) == 6


def test_a_section_says_what_the_score_is_made_of(full: Page) -> None:
    html = render(full)
    section = html[html.index('id="video-1"') : html.index('id="video-2"')]
    words = " ".join(re.sub("<[^>]*>", " ", section).split())
    for said in (
        "score 2.000 ± 0.125",
        "rank 2 of 6",
        "label 9.000",
        "test pairs ordered as labelled 3 of 4",
        "subject subject 1",
        "high part 1.500",
        "low part -0.250",
        "expert the best one",
    ):
        assert said in words
    assert "taught the model" not in words
    assert "taught the model" in html[html.index('id="video-2"') : html.index('id="video-3"')]
    assert "Nothing is stored." in html[html.index('id="video-3"') : html.index('id="video-4"')]


def test_warnings_stand_in_their_order_with_a_word(made_page: Callable[..., Page]) -> None:
    text = " ".join(
        "".join(Tree(render(made_page([], warnings=["First.", "Second."]))).text).split()
    )
    assert "Careful: First. Careful: Second." in text
    assert "Nothing was found that speaks against these numbers." in render(
        made_page([], warnings=[])
    )


def test_who_made_it_stands_at_the_end(made_page: Callable[..., Page]) -> None:
    text = " ".join("".join(Tree(render(made_page([]))).text).split())
    assert text.count("aqakit 1.2.3") == 1
    assert "Made by aqakit 1.2.3." in text
    assert "Made by aqakit." in " ".join(
        "".join(Tree(render(made_page([], facts=[]))).text).split()
    )


def test_of_500_videos_the_page_grows_by_what_they_hold_alone(
    made_page: Callable[..., Page],
    made_entry: Callable[..., Entry],
    made_story: Callable[..., Story],
    made_jpeg: Callable[..., bytes],
) -> None:
    told = replace(made_story(400, 0.0, [(3, "good"), (90, "bad")]), maps={})
    film = Film(thumbnail=made_jpeg())
    entries = [made_entry(place, story=told, film=film) for place in range(500)]
    one, many = len(render(made_page(entries[:1]))), len(render(made_page(entries)))
    # 6 curves and 3 times of 400 steps take 2.7 bytes a number; sections and pictures the rest.
    assert (many - one) / 499 < 9 * 400 * 2.7 + 2 * len(made_jpeg()) + 5000


def contrast(one: str, other: str) -> float:
    """Of two colours, as the Web Content Accessibility Guidelines reckon it."""

    def light(colour: str) -> float:
        parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
        linear = [p / 12.92 if p <= 0.03928 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        return sum(w * p for w, p in zip((0.2126, 0.7152, 0.0722), linear, strict=True))

    brighter, darker = sorted((light(one), light(other)), reverse=True)
    return (brighter + 0.05) / (darker + 0.05)


@pytest.mark.parametrize("scheme", [0, 1])
def test_colours_stand_out_from_both_grounds(scheme: int) -> None:
    path = Path(__file__).parents[2] / "report" / "templates" / "page.css"
    colours = dict(
        re.findall(r"--([\w-]+): (#\w{6});", path.read_text().split(":root {")[scheme + 1])
    )
    assert len(colours) == 14
    for ground in (colours["paper"], colours["panel"]):
        for name, colour in colours.items():
            if name not in {"paper", "panel", "line"}:
                assert contrast(ground, colour) >= (4.5 if not name.startswith("series") else 3), (
                    name
                )
