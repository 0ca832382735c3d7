"""What the tables of a terminal and of a paper say alike."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..models.row import Row
    from ..models.table import Line, ResultTable


def spread(row: Row) -> str:
    """Accuracy and its deviation over seeds."""
    own = "" if math.isnan(row.accuracy_sd) else f" ± {row.accuracy_sd:.3f}"
    return f"{row.accuracy:.3f}{own}"


def interval(ends: tuple[float, float]) -> str:
    """Both ends; nothing where there is none."""
    low, high = ends
    return "" if math.isnan(low) else f"{low:.3f} to {high:.3f}"


def number(value: float | None) -> str:
    """Three digits; nothing where there is no number."""
    return "" if value is None or math.isnan(value) else f"{value:.3f}"


def remarks(table: ResultTable) -> list[str]:
    """What was lost, what differs from the papers, and where a p comes from."""
    found = [sentence for line in table.lines if line.recipe for sentence in _of_line(line)]
    for test in dict.fromkeys(one.test for one in table.compared):
        found.append(
            f"p: accuracy against {table.against}, {test}, with Holm's correction for "
            f"{len(table.compared)} comparisons. Folds or tasks with the same subjects are not "
            "independent; p is optimistic by as much."
        )
    return found


def _of_line(line: Line) -> Iterator[str]:
    row, name = line.row, line.row.name
    if row.seen_test_pairs:
        yield (
            f"{name}: {row.seen_test_pairs} of {row.test_pairs} test pairs hold a video that also "
            "trains."
        )
    if row.shared_subjects:
        yield f"{name}: {row.shared_subjects} subjects train and are tested, over all folds."
    if row.dropped_videos:
        yield (
            f"{name}: {row.dropped_videos} videos without features and {row.dropped_pairs} pairs "
            "are lost, over all folds."
        )
    if line.absent:
        yield f"{name}: {line.absent} runs are not there."
    if line.paper is not None:
        for difference in line.differences:
            yield f"{name}, beside {line.paper.paper.venue}: {difference}."
