"""What the tables of a terminal, of a paper and of a page say alike."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..models.row import Row
    from ..models.table import Compared, Line, ResultTable


def spread(row: Row) -> str:
    """Accuracy and its deviation over seeds."""
    return with_deviation(row.accuracy, row.accuracy_sd)


def with_deviation(value: float, deviation: float) -> str:
    """A number and its deviation over seeds, where there are several."""
    own = "" if math.isnan(deviation) else f" ± {deviation:.3f}"
    return f"{value:.3f}{own}"


def counted(number: int, thing: str) -> str:
    """For example ``1 video`` and ``2 videos``."""
    return f"{number} {thing}{'s' * (number != 1)}"


def interval(ends: tuple[float, float]) -> str:
    """Both ends; nothing where there is none."""
    low, high = ends
    return "" if math.isnan(low) else f"{low:.3f} to {high:.3f}"


def number(value: float | None) -> str:
    """Three digits; nothing where there is no number."""
    return "" if value is None or math.isnan(value) else f"{value:.3f}"


def shared(row: Row) -> str:
    """How many subjects train and are tested; a subject may be one of several folds."""
    if row.folds > 1:
        return f"{row.shared_subjects / row.folds:.1f} subjects a fold train and are tested"
    return f"{row.shared_subjects} subjects train and are tested"


def remarks(table: ResultTable) -> list[str]:
    """What was lost, what differs from the papers, what was compared, and where a p comes from."""
    found = [
        sentence
        for line in table.lines
        if line.recipe
        for sentence in _of_line(line, called(table, line.row.name, line.row.feature))
    ]
    for name in table.left_out:
        found.append(f"{name} is left out: no seed is there of all its folds.")
    if table.unread:
        found.append(f"{len(table.unread)} files or runs cannot be read, first {table.unread[0]}.")
    found += [_comparison(table, one) for one in table.compared]
    tested = sum(not math.isnan(one.p) for one in table.compared)
    for test in dict.fromkeys(one.test for one in table.compared):
        found.append(
            f"p: accuracy against {table.against}, {test}, with Holm's correction for "
            f"{tested} comparisons. Folds or tasks with the same subjects are not "
            "independent; p is optimistic by as much."
        )
    return found


def called(table: ResultTable, name: str, feature: str) -> str:
    """The name of a row, with its feature where several rows have it."""
    several = sum(line.row.name == name for line in table.lines) > 1
    return f"{name} on {feature}" if several else name


def _comparison(table: ResultTable, one: Compared) -> str:
    on = f" in {one.task}" * bool(one.task)
    # A test says nothing of one fold, nor of the same difference in each.
    p = "no p" if math.isnan(one.adjusted_p) else f"p = {one.adjusted_p:.3g}"
    name = called(table, one.name, one.feature)
    return f"{name} less {table.against}{on}: {one.difference:+.3f}, {p}."


def _of_line(line: Line, name: str) -> Iterator[str]:
    row = line.row
    if row.seen_test_pairs:
        yield (
            f"{name}: {row.seen_test_pairs} of {row.test_pairs} test pairs hold a video that also "
            "trains or validates."
        )
    if row.shared_subjects:
        yield f"{name}: {shared(row)}."
    if row.dropped_videos or row.dropped_pairs:
        yield (
            f"{name}: {row.dropped_videos} videos without features and {row.dropped_pairs} pairs "
            "are lost, over all folds."
        )
    # Of runs that no batch planned, only those are missed that others have in common.
    if lacking := max(line.absent, row.missing):
        yield f"{name}: {lacking} runs are not there."
    if line.paper is not None:
        for difference in line.differences:
            yield f"{name}, beside {line.paper.paper.venue}: {difference}."
