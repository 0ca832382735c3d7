"""A table of runs as Markdown, CSV or LaTeX, for a paper or another program."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Literal

import pandas as pd

from ..models.row import Row
from ..models.table import Line, ResultTable
from .cells import interval, number, remarks, spread

Format = Literal["markdown", "csv", "latex"]
_MEAN = "mean"
_METRICS = ("spearman", "kendall", "pearson", "mse", "mae", "relative_l2")
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
    frame = tasks(table) if by_task else words(table)
    if form == "latex":
        text = str(frame.to_latex(index=False, escape=True)).replace("±", r"$\pm$")
        return text + "".join(f"% {line}\n" for line in notes(table))
    text = frame.map(_markdown).to_markdown(index=False, disable_numparse=True)
    return "\n".join([text, "", *(f"- {_markdown(line)}" for line in notes(table))]) + "\n"


def numbers(table: ResultTable) -> pd.DataFrame:
    """Every number of every row, over all tasks and of each."""
    rows = []
    for line in table.lines:
        for task, row in {_MEAN: line.row, **line.by_task}.items():
            own = dataclasses.asdict(row)
            ends = {name: own.pop(name) for name in _INTERVALS}
            bounds = {
                f"{n}_{end}": v
                for n, both in ends.items()
                for end, v in zip(("low", "high"), both, strict=True)
            }
            place = {"name": own.pop("name"), "feature": own.pop("feature"), "task": task or "all"}
            paper = line.published_of(task)
            rows.append({**place, **own, **bounds, "published": paper})
    return pd.DataFrame(rows)


def words(table: ResultTable) -> pd.DataFrame:
    """A row a recipe, over all tasks; columns in which nothing would stand are left out."""
    columns: dict[str, Callable[[Line], str]] = {
        "row": lambda line: line.row.name,
        "feature": lambda line: line.row.feature,
        "pairwise accuracy": lambda line: spread(line.row),
        "95 % interval, videos": lambda line: interval(line.row.interval),
        "95 % interval, subjects": lambda line: interval(line.row.subject_interval),
        "published": lambda line: number(line.published),
        "seen none": lambda line: number(line.row.seen_none) if line.row.seen_test_pairs else "",
        "seen one": lambda line: number(line.row.seen_one),
        **{name.replace("_", " "): _metric(name) for name in _METRICS},
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
        own = {name or "all": _known(line.by_task, name) for name in names}
        rows.append(
            {"row": line.row.name, "feature": line.row.feature, _MEAN: spread(line.row), **own}
        )
        figures = {name: line.published_of(name) for name in (_MEAN, *names)}
        if any(figure is not None for figure in figures.values()):
            stated = {name or "all": number(figure) for name, figure in figures.items()}
            rows.append({"row": f"{line.row.name}, as published", "feature": "", **stated})
    frame = pd.DataFrame(rows)
    return frame.loc[:, [bool(frame[name].any()) for name in frame.columns]]


def notes(table: ResultTable) -> list[str]:
    """What a reader must know beside the numbers."""
    row = table.lines[0].row
    measured = (
        f"Share of test pairs in the right order, a tie is wrong: mean over {row.tasks} task(s) of "
        f"the mean over folds ({row.folds} in all), ± standard deviation over seeds; interval by "
        f"resampling test videos. {row.test_pairs} test pairs of {row.test_videos} test videos."
    )
    return [measured, *remarks(table)]


def _metric(name: str) -> Callable[[Line], str]:
    return lambda line: number(getattr(line.row, name))


def _known(by_task: Mapping[str, Row], name: str) -> str:
    return spread(by_task[name]) if name in by_task else ""


def _p(table: ResultTable, line: Line) -> str:
    found = [
        one.adjusted_p
        for one in table.compared
        if (one.name, one.feature) == (line.row.name, line.row.feature)
    ]
    return f"{found[0]:.3g}" if found and not math.isnan(found[0]) else ""


def _markdown(text: str) -> str:
    return text.replace("|", r"\|")
