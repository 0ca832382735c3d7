"""Figures of how training went: losses, and accuracy on validation videos, epoch by epoch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .axes import SMALLEST, Axis, drawable, linear_axis, log_axis
from .cells import counted
from .page import Page
from .panel import Drawing, Key, Panel, make_panel, shown

# The curve of this name is a share of pairs; all others are losses (``models/training.py``).
ACCURACY = "validation_accuracy"
MOST_POINTS = 200
# Lines of one figure differ in both, so that neither colour nor dashes need be told apart alone.
COLOURS, DASHES = 5, 7
# Curves that span more decades are drawn on an axis of powers of ten.
_LINEAR_DECADES = 2
_CHANCE = 0.5


class Curve(NamedTuple):
    """A quantity epoch by epoch.

    Args:
        look: classes of its lines.
        mean: path of the mean over seeds.
        seeds: path of each seed; empty where there is one alone.
    """

    look: str
    mean: str
    seeds: tuple[str, ...]


@dataclass(frozen=True)
class Curves:
    """What the template draws.

    Args:
        panel: the plot.
        curves: in order of their names.
        line: x1, y1, x2, y2 of the level of chance; None for no line.
    """

    panel: Panel
    curves: tuple[Curve, ...]
    line: tuple[float, float, float, float] | None = None


def learning_figures(page: Page) -> list[Drawing]:
    """Losses, and accuracy on validation videos, as far as the page has them.

    Args:
        page: of a run.
    """
    logs = {name: by_epoch(seeds) for name, seeds in page.learning.items()}
    logs = {name: values for name, values in logs.items() if np.isfinite(values).any()}
    accuracy = logs.pop(ACCURACY, None)
    found = []
    if logs:
        found.append(_losses(logs))
    if accuracy is not None:
        found.append(_accuracy(accuracy))
    return found


def by_epoch(seeds: Mapping[int, Sequence[float]]) -> NDArray[np.float64]:
    """(S, E) values of seeds, nan where a seed has none.

    Args:
        seeds: values of each, epoch by epoch; seeds may stop early.
    """
    values = np.full((len(seeds), max(map(len, seeds.values()), default=0)), np.nan)
    for row, own in zip(values, seeds.values(), strict=True):
        row[: len(own)] = own
    values[~drawable(values)] = np.nan
    return values


def mean_of(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """(E,) mean over those of (S, E) seeds that have a value; nan where none has."""
    known = np.isfinite(values)
    total, count = np.where(known, values, 0).sum(axis=0), known.sum(axis=0)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def thin(values: NDArray[np.float64], most: int = MOST_POINTS) -> NDArray[np.int64]:
    """Which points of a long curve are drawn, such that it looks like the whole.

    The first, the last, and the least and greatest of each of equal stretches.

    Args:
        values: (E,), nan where there is none.
        most: to draw, 4 or more.

    Returns:
        Places of them, growing; all with a value where these are no more than ``most``.

    Raises:
        ValueError: ``most`` is below 4.
    """
    if most < 4:
        raise ValueError(f"most is {most}; it must be 4 or more")
    known = np.flatnonzero(np.isfinite(values))
    if len(known) <= most:
        return known
    kept = [known[0], known[-1]]
    for stretch in np.array_split(known, (most - 2) // 2):
        kept += [stretch[values[stretch].argmin()], stretch[values[stretch].argmax()]]
    return np.unique(kept)


def path_of(values: NDArray[np.float64], panel: Panel) -> str:
    """A curve as the path of an SVG, interrupted where it has no value.

    Args:
        values: (E,) of epochs from 1; nan where there is none.
        panel: whose axes it is drawn on.
    """
    kept = thin(values)
    across, up = panel.x.place(kept + 1), panel.y.place(values[kept])
    gaps = np.isnan(values).cumsum()[kept]
    steps = ["M", *np.where(np.diff(gaps) > 0, "M", "L")]
    # A round end makes a dot of a line of no length.
    alone = [step == "M" == after for step, after in zip(steps, [*steps[1:], "M"], strict=True)]
    return "".join(
        f"{step}{x:.1f} {y:.1f}{'h0' * dot}"
        for step, x, y, dot in zip(steps, across, up, alone, strict=True)
    )


def _losses(logs: Mapping[str, NDArray[np.float64]]) -> Drawing:
    everything = np.concatenate([values.ravel() for values in logs.values()])
    known = everything[np.isfinite(everything)]

    def upwards(start: float, end: float) -> Axis:
        return (log_axis if _spans_decades(known) else linear_axis)(known, start, end)

    content = _drawn(logs, upwards, "loss")
    axis = content.panel.y
    caption = (
        "How far the model is from what it is asked to do on the training videos: it should fall, "
        f"then level out.{_of_seeds(logs)} This says nothing about videos that it has not seen."
    )
    if axis.logarithmic:
        caption += " Each line of the grid is ten times the one below"
        hidden = (known < axis.low).any()
        caption += f"; lower values lie on the lowest, {axis.labels[0]}." if hidden else "."
    return Drawing(
        "figure-losses",
        "Losses while training",
        caption,
        _told(logs),
        "lines",
        content,
        content.panel.height,
    )


def _accuracy(values: NDArray[np.float64]) -> Drawing:
    known = values[np.isfinite(values)]

    def upwards(start: float, end: float) -> Axis:
        return linear_axis([*known, _CHANCE, 1.0], start, end)

    logs = {ACCURACY: values}
    content = _drawn(logs, upwards, "accuracy")
    panel = content.panel
    height = round(float(panel.y.place(_CHANCE)), 1)
    caption = (
        "Share of the pairs of validation videos, which do not train, that are in the right order; "
        f"the dotted line at {_CHANCE} is chance.{_of_seeds(logs)} Where an epoch was chosen by "
        "it, it is a little too high for other videos."
    )
    return Drawing(
        "figure-validation",
        "Accuracy on validation videos",
        caption,
        _told(logs),
        "lines",
        Curves(panel, content.curves, (panel.x.start, height, panel.x.end, height)),
        panel.height,
    )


def _drawn(
    logs: Mapping[str, NDArray[np.float64]], upwards: Callable[[float, float], Axis], title: str
) -> Curves:
    looks = [
        f"series-{place % COLOURS + 1} dash-{place % DASHES + 1}" for place in range(len(logs))
    ]
    keys = [Key(words(name), "line", look) for name, look in zip(logs, looks, strict=True)]
    epochs = max(values.shape[1] for values in logs.values())
    panel = make_panel(keys, title, "epoch", upwards, [0, epochs], min(5, epochs))
    curves = []
    for look, values in zip(looks, logs.values(), strict=True):
        seeds = tuple(path_of(own, panel) for own in values) if len(values) > 1 else ()
        curves.append(Curve(look, path_of(mean_of(values), panel), seeds))
    return Curves(panel, tuple(curves))


def _spans_decades(known: NDArray[np.float64]) -> bool:
    above = known[known > SMALLEST]
    return bool(
        len(above) and not (known < 0).any() and above.max() > 10**_LINEAR_DECADES * above.min()
    )


def words(name: str) -> str:
    """The name of a curve as words."""
    return shown(name.replace("_", " "))


def _of_seeds(logs: Mapping[str, NDArray[np.float64]]) -> str:
    seeds = max(map(len, logs.values()))
    if seeds == 1:
        return ""
    text = f" Thick lines are the mean over {seeds} seeds, thin and paler ones each of them"
    stopped = any(len({_last(own) for own in values}) > 1 for values in logs.values())
    return text + ("; where some have stopped, it is over the others." if stopped else ".")


def _last(values: NDArray[np.float64]) -> int:
    """Place of the last value; -1 of none."""
    return max(np.flatnonzero(np.isfinite(values)).tolist(), default=-1)


def _told(logs: Mapping[str, NDArray[np.float64]]) -> str:
    """First and last mean of each curve, in words."""
    said = []
    for name, values in logs.items():
        mean = mean_of(values)
        known = np.flatnonzero(np.isfinite(mean)).tolist()
        ends = (f"{mean[place]:.3g} in epoch {place + 1}" for place in (known[0], known[-1]))
        said.append(f"{words(name)}: {', '.join(ends)}")
    return f"{counted(len(said), 'curve')}. {'; '.join(said)}."
