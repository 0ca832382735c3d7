"""Figures in which each video is a point: its score beside its label, and beside videos like it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import compress
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..models.metrics import spearman
from .axes import Axis, drawable, linear_axis, signed
from .cells import counted, number
from .page import Entry, Page
from .panel import LINE, Drawing, Key, Panel, make_map, make_panel, shown

SHADES = 9
# With fewer test videos, a rank correlation of 0.4 may be nothing but chance (95 %).
_FEW = 25
_AXIS_OF_SCORES = "score of the model"


class Part(NamedTuple):
    """What a video was used for.

    Args:
        words: that stand after their number.
        shape: of its sign.
    """

    words: str
    shape: str


# Drawn in this order: what was tested lies above what was learned.
PARTS = {
    "train": Part("training", "square"),
    "unused": Part("unused", "cross"),
    "val": Part("validation", "diamond"),
    "both": Part("test, but seen", "triangle"),
    "test": Part("test", "circle"),
    "new": Part("new", "plus"),
}


@dataclass(frozen=True)
class Point:
    """A video in a drawing.

    Args:
        video: place in the list of entries.
        words: who it is, and its numbers.
        x: coordinate.
        y: coordinate.
        shade: its colour on the ramp, from 0; None for the colour of its part.
    """

    video: int
    words: str
    x: float
    y: float
    shade: int | None = None


class Group(NamedTuple):
    """Points of one part.

    Args:
        part: a key of :data:`PARTS`.
        shape: of their signs.
        points: in order of entries.
    """

    part: str
    shape: str
    points: tuple[Point, ...]


class Ramp(NamedTuple):
    """Which colours are which scores.

    Args:
        low: score of the first colour.
        high: score of the last.
        top: coordinate of the bar.
        shades: number of colours.
    """

    low: str
    high: str
    top: float
    shades: int = SHADES


@dataclass(frozen=True)
class Points:
    """What the template draws.

    Args:
        panel: the plot.
        groups: in the order in which they are drawn.
        line: from and to, x1, y1, x2, y2, where score and label are equal; None for no line.
        ramp: of the scores; None where points have the colour of their part.
    """

    panel: Panel
    groups: tuple[Group, ...]
    line: tuple[float, float, float, float] | None = None
    ramp: Ramp | None = None


def score_figure(page: Page) -> Drawing | None:
    """Scores beside labels, or beside the pairs that were won where no video has a label.

    Args:
        page: of a run.

    Returns:
        None where no video has both.
    """
    scores = np.array([entry.score for entry in page.entries], dtype=np.float64)
    truth = np.array([entry.truth for entry in page.entries], dtype=np.float64)
    if (drawable(scores) & drawable(truth)).any():
        return _beside_labels(page, scores, truth)
    won = np.array([_share_won(entry) for entry in page.entries], dtype=np.float64)
    if (drawable(scores) & drawable(won)).any():
        return _beside_pairs(page, scores, won)
    return None


def plane_figure(page: Page) -> Drawing | None:
    """Videos as the model sees them, alike ones near each other.

    Args:
        page: of a run.

    Returns:
        None where the head embeds none.
    """
    if page.plane is None:
        return None
    entries = [page.entries[place] for place in page.plane.members]
    scores = np.array([entry.score for entry in entries], dtype=np.float64)
    known = drawable(page.plane.places).all(axis=1) & drawable(scores)
    if not known.any():
        return None
    videos, places, scores = page.plane.members[known], page.plane.places[known], scores[known]
    entries = list(compress(entries, known))
    panel = make_map(_keys(entries, "shaded"), places, 2 * LINE)
    words = [f"{shown(entry.id)}: score {number(entry.score)}" for entry in entries]
    low, high = float(scores.min()), float(scores.max())
    groups = _groups(panel, entries, videos, words, places, _shades(scores))
    ramp = Ramp(signed(number(low)), signed(number(high)), panel.y.end - 2 * LINE)
    caption = (
        f"Videos that the model finds alike lie near each other ({page.plane.method}); the bar shows "
        f"which colour is which score. {_TRUST[page.plane.method == 't-SNE']}"
    )
    return Drawing(
        "figure-plane",
        "Videos that the model finds alike",
        caption + _left_out(len(known) - len(entries), "place or score"),
        f"{counted(len(entries), 'video')} in the plane, coloured by score from {number(low)} to "
        f"{number(high)}.",
        "points",
        Points(panel, groups, ramp=ramp),
        panel.height,
    )


_TRUST = {
    True: "Only who is next to whom means something: distances between far groups, their sizes and "
    "directions do not.",
    False: "It keeps the two directions in which the videos differ most; videos that differ "
    "otherwise can lie on one point.",
}


def _beside_labels(page: Page, scores: NDArray[np.float64], truth: NDArray[np.float64]) -> Drawing:
    known = drawable(scores) & drawable(truth)
    entries = list(compress(page.entries, known))
    values = np.stack([truth[known], scores[known]], axis=1)
    words = [
        f"{shown(entry.id)}: score {number(entry.score)}, label {number(entry.truth)}"
        for entry in entries
    ]
    caption = (
        "Each sign is a video: the higher, the better its score; the further right, its label."
    )
    if page.scaled:
        caption += " On the dotted line both are equal."
    caption = f"{caption} {_agreement(entries)}{_fitted(entries)}{_tasks(entries)}"
    return Drawing(
        "figure-scores",
        "Scores beside labels",
        caption + _left_out(int((~known).sum()), "label or score"),
        f"{_counts(entries)}. {_agreement(entries)}",
        "points",
        content := _plot(entries, np.flatnonzero(known), words, values, "label", page.scaled),
        content.panel.height,
    )


def _beside_pairs(page: Page, scores: NDArray[np.float64], won: NDArray[np.float64]) -> Drawing:
    known = drawable(scores) & drawable(won)
    entries = list(compress(page.entries, known))
    values = np.stack([won[known], scores[known]], axis=1)
    words = [
        f"{shown(entry.id)}: score {number(entry.score)}, won {entry.won[0]} of {entry.won[1]} pairs"
        for entry in entries
    ]
    caption = (
        "Each sign is a video: the higher, the better its score; the further right, the more of its "
        "labelled pairs it wins. A video of few pairs, or one compared with strong videos alone, may "
        f"stand apart without being misjudged.{_fitted(entries)}{_tasks(entries)}"
    )
    return Drawing(
        "figure-scores",
        "Scores beside pairs won",
        caption + _left_out(int((~known).sum()), "pair or score"),
        f"{_counts(entries)}.",
        "points",
        content := _plot(
            entries, np.flatnonzero(known), words, values, "share of its pairs that it wins", False
        ),
        content.panel.height,
    )


def _plot(
    entries: Sequence[Entry],
    videos: NDArray[np.int64],
    words: Sequence[str],
    values: NDArray[np.float64],
    x_title: str,
    scaled: bool,
) -> Points:
    # On one scale both axes have the same ends, so that the line of equal values is the diagonal.
    x_values, y_values = (values, values) if scaled else values.T

    def upwards(start: float, end: float) -> Axis:
        return linear_axis(y_values, start, end)

    panel = make_panel(_keys(entries, "plain"), _AXIS_OF_SCORES, x_title, upwards, x_values)
    groups = _groups(panel, entries, videos, words, values, [None] * len(entries))
    return Points(panel, groups, _diagonal(panel) if scaled else None)


def _diagonal(panel: Panel) -> tuple[float, float, float, float]:
    low, high = max(panel.x.low, panel.y.low), min(panel.x.high, panel.y.high)
    x1, x2 = panel.x.place([low, high]).round(1).tolist()
    y1, y2 = panel.y.place([low, high]).round(1).tolist()
    return x1, y1, x2, y2


def _groups(
    panel: Panel,
    entries: Sequence[Entry],
    videos: NDArray[np.int64],
    words: Sequence[str],
    values: NDArray[np.float64],
    shades: Sequence[int | None],
) -> tuple[Group, ...]:
    across = panel.x.place(values[:, 0]).round(1).tolist()
    up = panel.y.place(values[:, 1]).round(1).tolist()
    points: dict[str, list[Point]] = {part: [] for part in PARTS}
    for entry, *own in zip(entries, videos.tolist(), words, across, up, shades, strict=True):
        points[part_of(entry.part)].append(Point(*own))
    return tuple(Group(part, PARTS[part].shape, tuple(own)) for part, own in points.items() if own)


def part_of(part: str) -> str:
    """Which of :data:`PARTS` a video is in.

    Args:
        part: of an entry: ``train``, ``val``, ``test``, several joined by ``+``, ``new``, or empty.
    """
    own = set(part.split("+"))
    if "test" in own:
        return "test" if own == {"test"} else "both"
    return next((name for name in ("new", "train", "val") if name in own), "unused")


def _keys(entries: Sequence[Entry], look: str) -> list[Key]:
    parts = [part_of(entry.part) for entry in entries]
    return [
        Key(f"{parts.count(name)} {part.words}", part.shape, f"{look} {name}")
        for name, part in reversed(PARTS.items())
        if name in parts
    ]


def _counts(entries: Sequence[Entry]) -> str:
    return ", ".join(key.words for key in _keys(entries, ""))


def _shades(scores: NDArray[np.float64]) -> list[int]:
    low, high = scores.min(), scores.max()
    share = (scores - low) / (high - low) if high > low else np.full(len(scores), 0.5)
    return [min(int(own * SHADES), SHADES - 1) for own in share]


def _share_won(entry: Entry) -> float:
    won, pairs = entry.won
    return won / pairs if pairs else np.nan


def _agreement(entries: Sequence[Entry]) -> str:
    """How well the order of tested videos is met; nothing else tells of videos to come."""
    tested = [entry for entry in entries if "test" in entry.part.split("+")]
    if not tested:
        return "No test video has a label, so this says nothing of videos to come."
    videos = counted(len(tested), "test video")
    scores = np.array([entry.score for entry in tested])
    found = spearman(scores, np.array([entry.truth for entry in tested]))
    if np.isnan(found):
        return f"{videos}: too few, or too alike, for a rank correlation."
    also = sum(entry.part != "test" for entry in tested)
    text = f"Over {videos}, Spearman's rank correlation is {number(found)} (1: the same order, 0: none)"
    text += f"; {also} of them training has seen, which flatters it." if also else "."
    return text + " So few leave much to chance." * (len(tested) < _FEW)


def _fitted(entries: Sequence[Entry]) -> str:
    """A word on paler signs, where there are some."""
    pale = any(part_of(entry.part) in ("train", "val") for entry in entries)
    return " Hollow signs are videos that training has seen; they prove nothing." * pale


def _tasks(entries: Sequence[Entry]) -> str:
    several = len({entry.task for entry in entries}) > 1
    return " Several tasks are drawn together; compare videos of one task only." * several


def _left_out(videos: int, lack: str) -> str:
    return f" Left out: {counted(videos, 'video')} without a {lack}." * bool(videos)
