"""A table of runs as Markdown, CSV or LaTeX, for a paper or another program."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Literal

import pandas as pd

from ..models.table import MEAN
from .cells import interval, number, remarks, spread

if TYPE_CHECKING:
    from ..models.recipe_file import Metric
    from ..models.row import Row
    from ..models.table import Line, ResultTable

Format = Literal["markdown", "csv", "latex"]
_METRICS = ("spearman", "kendall", "pearson", "mse", "mae", "relative_l2")
# That papers report, by the name of their column here.
_PUBLISHED: dict[str, Metric] = {
    "accuracy": "accuracy",
    "spearman": "spearman",
    "mse": "mse",
    "mae": "mae",
    "relative_l2": "relative-l2",
    "relative_l2_x100": "relative-l2-x100",
}
_INTERVALS = ("interval", "subject_interval", "spearman_interval")


def render(table: ResultTable, form: Format, by_task: bool = False) -> str:
    """The table as text.

    Args:
        table: of runs.
        form: ``csv`` holds bare numbers, the other two say deviations and intervals in words.
        by_task: one column a task, of accuracies.
    """
    if form == "csv":
        return numbers(table).to_csv(index=False)
    frame = (tasks(table) if by_task else words(table)).map(_one_line)
    said = list(map(_one_line, notes(table)))
    if form == "latex":
        text = str(frame.to_latex(index=False, escape=True)).replace("±", r"$\pm$")
        return text + "".join(f"% {sentence}\n" for sentence in said)
    frame = frame.map(_markdown).set_axis([*map(_markdown, frame.columns)], axis="columns")
    text = frame.to_markdown(index=False, disable_numparse=True)
    return "\n".join([text, "", *(f"- {_markdown(sentence)}" for sentence in said)]) + "\n"


def numbers(table: ResultTable) -> pd.DataFrame:
    """Every number of every row, over all tasks and of each."""
    rows = []
    for line in table.lines:
        for task, row in ((MEAN, line.row), *line.by_task.items()):
            own = dataclasses.asdict(row)
            ends = {name: own.pop(name) for name in _INTERVALS}
            bounds = {
                f"{n}_{end}": v
                for n, both in ends.items()
                for end, v in zip(("low", "high"), both, strict=True)
            }
            place = {"name": own.pop("name"), "feature": own.pop("feature"), "task": task or "all"}
            figures = {
                f"published_{name}": line.published(metric, None if row is line.row else task)
                for name, metric in _PUBLISHED.items()
            }
            compared = _compared(table, row, "" if row is line.row else task)
            rows.append({**place, **own, **bounds, **figures, **compared})
    return pd.DataFrame(rows)


def _compared(table: ResultTable, row: Row, task: str) -> dict[str, Any]:
    """The columns of a comparison, which only a table with one has."""
    if not table.compared:
        return {}
    found = [
        (one.difference, one.p, one.adjusted_p)
        for one in table.compared
        if (one.name, one.feature, one.task) == (row.name, row.feature, task)
    ]
    cells = found[0] if found else (None, None, None)
    return dict(zip(("difference", "p", "adjusted_p"), cells, strict=True))


def words(table: ResultTable) -> pd.DataFrame:
    """A row a recipe, over all tasks; columns in which nothing would stand are left out."""
    columns: dict[str, Callable[[Line], str]] = {
        "row": lambda line: line.row.name,
        "feature": lambda line: line.row.feature,
        "pairwise accuracy": lambda line: spread(line.row),
        "95 % interval, videos": lambda line: interval(line.row.interval),
        "95 % interval, subjects": lambda line: interval(line.row.subject_interval),
        "published": _figure("accuracy"),
        "seen none": lambda line: number(line.row.seen_none) if line.row.seen_test_pairs else "",
        "seen one": lambda line: number(line.row.seen_one),
        **{name: cell for metric in _METRICS for name, cell in _both(metric).items()},
        "ties": lambda line: f"{line.row.ties:.1%}" if line.row.ties else "",
        "seeds": lambda line: str(line.row.seeds),
        "p": lambda line: _p(table, line),
    }
    cells = {name: [of(line) for line in table.lines] for name, of in columns.items()}
    return pd.DataFrame({name: own for name, own in cells.items() if any(own)})


def tasks(table: ResultTable) -> pd.DataFrame:
    """A row a recipe, a column a task, of accuracies; published ones in rows of their own."""
    names = list(dict.fromkeys(task for line in table.lines for task in line.by_task))
    rows = []
    for line in table.lines:
        own = [_known(line.by_task, name) for name in names]
        rows.append([line.row.name, line.row.feature, spread(line.row), *own])
        figures = [line.published(task=name) for name in (MEAN, *names)]
        if any(figure is not None for figure in figures):
            rows.append([f"{line.row.name}, as published", "", *map(number, figures)])
    # By place, as a task may be called as another column is.
    frame = pd.DataFrame(rows, columns=["row", "feature", MEAN, *(name or "all" for name in names)])
    return frame.loc[:, [any(cells) for cells in zip(*rows, strict=True)]]


def notes(table: ResultTable) -> list[str]:
    """What a reader must know beside the numbers."""
    row = table.lines[0].row
    measured = (
        f"Share of test pairs in the right order, a tie is wrong: mean over {row.tasks} task(s) of "
        f"the mean over folds ({row.folds} in all), ± standard deviation over seeds; interval by "
        f"resampling test videos. {row.test_pairs} test pairs of {row.test_videos} test videos."
    )
    return [measured, *remarks(table)]


def _both(metric: str) -> dict[str, Callable[[Line], str]]:
    """Our number, and the paper's."""
    title = metric.replace("_", " ")
    ours = {title: lambda line: number(getattr(line.row, metric))}
    return {**ours, f"{title}, published": _figure(metric)} if metric in _PUBLISHED else ours


def _figure(metric: str) -> Callable[[Line], str]:
    return lambda line: number(line.published(_PUBLISHED[metric]))


def _known(by_task: Mapping[str, Row], name: str) -> str:
    return spread(by_task[name]) if name in by_task else ""


def _p(table: ResultTable, line: Line) -> str:
    """Of the one comparison with this row; of several, one a task, notes say each."""
    found = [
        one.adjusted_p
        for one in table.compared
        if (one.name, one.feature) == (line.row.name, line.row.feature)
    ]
    return f"{found[0]:.3g}" if len(found) == 1 and not math.isnan(found[0]) else ""


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _markdown(text: str) -> str:
    return text.replace("\\", r"\\").replace("|", r"\|")
