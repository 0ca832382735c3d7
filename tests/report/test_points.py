"""Each video is a point where its numbers say, with the sign of its part and the words of its id."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from aqakit.report.page import Entry, Page, Plane
from aqakit.report.panel import Drawing
from aqakit.report.points import SHADES, Point, Points, plane_figure, score_figure

NAN = math.nan
SCORES = st.one_of(st.floats(-1e3, 1e3), st.just(NAN))


def entry(score: float, truth: float = NAN, part: str = "test", **more: Any) -> Entry:
    values: dict[str, Any] = {"id": "v", "subject": "", "task": "", "deviation": NAN, "rank": 1}
    return Entry(score=score, truth=truth, part=part, **values | more)


def page(entries: Sequence[Entry], **more: Any) -> Page:
    return Page("head", [], [], [], [], entries, **more)


def drawn(figure: Drawing | None) -> Points:
    assert figure is not None and isinstance(figure.content, Points)
    assert figure.macro == "points" and figure.height == figure.content.panel.height
    return figure.content


def points(content: Points) -> dict[int, Point]:
    return {point.video: point for group in content.groups for point in group.points}


def test_points_lie_where_label_and_score_say() -> None:
    entries = [entry(1.5, 40.0), entry(-0.5, 10.0, "train"), entry(0.25, 0.0, "val")]
    content = drawn(score_figure(page(entries)))
    x, y = content.panel.x, content.panel.y
    assert (x.low, x.high, y.low, y.high) == (0, 40, -0.5, 1.5)
    found = points(content)
    for place, (across, up) in enumerate([(1.0, 1.0), (0.25, 0.0), (0.0, 0.375)]):
        assert found[place].x == pytest.approx(x.start + across * (x.end - x.start), abs=0.051)
        assert found[place].y == pytest.approx(y.start - up * (y.start - y.end), abs=0.051)
    assert (content.panel.x_title, content.panel.y_title) == ("label", "score of the model")
    assert content.line is None and content.ramp is None


@given(st.lists(st.tuples(SCORES, SCORES), max_size=12), st.booleans())
def test_every_video_with_both_numbers_is_drawn_inside_the_plot(
    values: list[tuple[float, float]], scaled: bool
) -> None:
    figure = score_figure(page([entry(*own) for own in values], scaled=scaled))
    both = [place for place, own in enumerate(values) if not any(map(math.isnan, own))]
    if not both:
        assert figure is None
        return
    panel = drawn(figure).panel
    found = points(drawn(figure))
    assert sorted(found) == both
    for point in found.values():
        assert panel.x.start - 0.1 <= point.x <= panel.x.end + 0.1
        assert panel.y.end - 0.1 <= point.y <= panel.y.start + 0.1
        assert point.x == round(point.x, 1) and point.y == round(point.y, 1)
    assert figure is not None
    missing = len(values) - len(both)
    assert (f"{missing} video" in figure.caption) == (missing > 0)


def test_signs_say_what_a_video_was_used_for() -> None:
    parts = ["train", "val", "test", "train+test", "", "val+test", "train+val", "new"]
    entries = [entry(float(place), float(place), part) for place, part in enumerate(parts)]
    content = drawn(score_figure(page(entries)))
    shapes = {p.video: (group.part, group.shape) for group in content.groups for p in group.points}
    assert shapes == {
        0: ("train", "square"),
        1: ("val", "diamond"),
        2: ("test", "circle"),
        3: ("both", "triangle"),
        4: ("unused", "cross"),
        5: ("both", "triangle"),
        6: ("train", "square"),
        7: ("new", "plus"),
    }
    # What is drawn last lies on top.
    drawn_parts = [group.part for group in content.groups]
    assert drawn_parts == ["train", "unused", "val", "both", "test", "new"]
    words = [key.words for key in content.panel.keys]
    used = ["1 test", "2 test, but seen", "1 validation", "1 unused", "2 training"]
    assert words == ["1 new", *used]
    assert content.panel.keys[1].look == "plain test"


def test_a_point_says_who_it_is() -> None:
    long = "x" * 5000
    entries = [entry(0.5, 2.0, id="<b>\n'"), entry(-1.25, 3.0, id=long)]
    found = points(drawn(score_figure(page(entries))))
    assert found[0].words == "<b> ': score 0.500, label 2.000"
    assert found[1].words.startswith("x" * 79 + "…: score -1.250") and len(found[1].words) < 120


def test_the_caption_says_how_well_tested_videos_are_ordered() -> None:
    rng = np.random.default_rng(0)
    truth = rng.normal(size=40)
    scores = truth + rng.normal(size=40)
    parts = ["test"] * 28 + ["train"] * 8 + ["val"] * 4
    entries = [entry(*own) for own in zip(scores, truth, parts, strict=True)]
    figure = score_figure(page(entries))
    assert figure is not None
    expected = stats.spearmanr(scores[:28], truth[:28]).statistic
    assert (
        f"Over 28 test videos, Spearman's rank correlation is {expected:.3f} (1" in figure.caption
    )
    assert "So few" not in figure.caption and "Several tasks" not in figure.caption
    assert "Hollow signs" in figure.caption and "Left out" not in figure.caption
    assert figure.summary == (
        "28 test, 4 validation, 8 training. "
        f"Over 28 test videos, Spearman's rank correlation is {expected:.3f} "
        "(1: the same order, 0: none)."
    )


def test_the_caption_says_what_weakens_it() -> None:
    entries = [
        entry(0.0, 1.0),
        entry(1.0, 2.0, "train+test", task="b"),
        entry(2.0),
        entry(NAN, 1.0),
    ]
    figure = score_figure(page(entries))
    assert figure is not None
    for words in (
        "Over 2 test videos, Spearman's rank correlation is 1.000",
        "1 of them training has seen, which flatters it.",
        "So few leave much to chance.",
        "Several tasks are drawn together",
        "Left out: 2 videos without a label or score.",
    ):
        assert words in figure.caption
    assert "Hollow" not in figure.caption and "equal" not in figure.caption


@pytest.mark.parametrize(
    ("entries", "words"),
    [
        ([entry(1.0, 2.0)], "1 test video: too few, or too alike, for a rank correlation."),
        ([entry(1.0, 2.0), entry(1.0, 3.0)], "2 test videos: too few, or too alike"),
        ([entry(1.0, 2.0, "train")], "No test video has a label, so this says nothing of videos"),
    ],
)
def test_no_correlation_is_made_up(entries: list[Entry], words: str) -> None:
    figure = score_figure(page(entries))
    assert figure is not None and words in figure.caption
    assert "correlation is" not in figure.caption


def test_scores_on_the_scale_of_labels_have_a_line_where_both_are_equal() -> None:
    figure = score_figure(page([entry(12.0, 3.0), entry(4.0, 9.0)], scaled=True))
    content = drawn(figure)
    assert content.line is not None
    for place in (0, 2):
        value = content.line[place] - content.panel.x.start
        value *= (content.panel.x.high - content.panel.x.low) / (
            content.panel.x.end - content.panel.x.start
        )
        value += content.panel.x.low
        assert float(content.panel.y.place(value)) == pytest.approx(
            content.line[place + 1], abs=0.2
        )
    assert content.line[2] - content.line[0] > 200
    assert figure is not None and "On the dotted line both are equal" in figure.caption
    # Above the line is who scores more than the label.
    high, low = points(content)[0], points(content)[1]
    assert high.x < low.x and high.y < low.y


@given(st.floats(1e-4, 1e-2), st.floats(0.1, 1.0))
def test_the_line_of_equal_values_stays_inside_the_plot(most: float, share: float) -> None:
    # Long labels leave room for fewer ticks to the right, and so other ends than upwards.
    content = drawn(score_figure(page([entry(most, share * most)], scaled=True)))
    assert content.line is not None
    x, y = content.panel.x, content.panel.y
    x1, y1, x2, y2 = content.line
    assert x.start - 0.1 <= x1 < x2 <= x.end + 0.1
    assert y.end - 0.1 <= y2 < y1 <= y.start + 0.1
    assert x1 < x.start + 0.1 or y1 > y.start - 0.1


def test_pairs_stand_in_for_labels_that_no_video_has() -> None:
    entries = [entry(2.0, won=(3, 4)), entry(1.0, won=(0, 0)), entry(0.0, won=(0, 1), part="train")]
    figure = score_figure(page(entries, scaled=True))
    content = drawn(figure)
    found = points(content)
    assert sorted(found) == [0, 2]
    x = content.panel.x
    assert (x.low, x.high) == (0, 0.8)
    assert found[0].x == pytest.approx(x.start + 0.75 / 0.8 * (x.end - x.start), abs=0.051)
    assert found[0].words == "v: score 2.000, won 3 of 4 pairs"
    assert content.line is None
    assert figure is not None and figure.title == "Scores beside pairs won"
    assert "Left out: 1 video without a pair or score." in figure.caption
    assert "Hollow" in figure.caption
    # One label is enough to draw labels.
    labelled = score_figure(page([*entries, entry(1.0, 1.0)]))
    assert labelled is not None and labelled.title == "Scores beside labels"


def plane(
    places: Sequence[Sequence[float]], members: Sequence[int], method: str = "t-SNE"
) -> Plane:
    return Plane(method, np.array(places, dtype=np.float64).reshape(-1, 2), np.array(members))


def test_the_plane_links_to_its_members_and_colours_them_by_score() -> None:
    entries = [entry(10.0), entry(0.0, part="train"), entry(NAN), entry(4.4), entry(5.0)]
    places = [[0.0, 0.0], [2.0, 1.0], [5.0, 5.0], [NAN, 0.0], [1.0, 0.5]]
    figure = plane_figure(page(entries, plane=plane(places, [1, 0, 2, 3, 4])))
    content = drawn(figure)
    found = points(content)
    assert {video: point.shade for video, point in found.items()} == {0: 8, 1: 0, 4: 4}
    assert found[1].x < found[4].x < found[0].x and found[1].y > found[4].y > found[0].y
    assert content.ramp is not None
    assert (content.ramp.low, content.ramp.high, content.ramp.shades) == ("0.000", "10.000", 9)
    assert content.panel.y.end >= content.ramp.top + 22
    assert content.panel.keys[0].look == "shaded test"
    assert figure is not None
    assert "distances between far groups, their sizes and directions do not." in figure.caption
    assert "Left out: 2 videos without a place or score." in figure.caption
    assert figure.summary == "3 videos in the plane, coloured by score from 0.000 to 10.000."


@given(st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=20))
def test_a_higher_score_never_has_a_lower_shade(scores: list[float]) -> None:
    places = np.arange(2 * len(scores), dtype=np.float64).reshape(-1, 2)
    own = plane(places.tolist(), range(len(scores)))
    found = points(drawn(plane_figure(page([entry(score) for score in scores], plane=own))))
    shades = [found[place].shade or 0 for place in range(len(scores))]
    order = np.argsort(scores)
    assert (np.diff(np.array(shades)[order]) >= 0).all()
    expected = {0, SHADES - 1} if len(set(scores)) > 1 else {SHADES // 2}
    assert {min(shades), max(shades)} == expected


def test_principal_components_are_not_read_as_neighbourhoods() -> None:
    figure = plane_figure(page([entry(1.0)], plane=plane([[0.0, 0.0]], [0], "PCA")))
    assert figure is not None and "(PCA)" in figure.caption
    assert "two directions in which the videos differ most" in figure.caption
    assert "far groups" not in figure.caption


@pytest.mark.parametrize("own", [None, plane([], []), plane([[NAN, 1.0]], [0])])
def test_no_plane_no_figure(own: Plane | None) -> None:
    assert plane_figure(page([entry(1.0)], plane=own)) is None
