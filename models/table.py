"""A table of runs: one row a recipe and its features, the controls, and what stands in the papers."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..features.errors import RecipeError
from .batch import BATCH
from .comparison import adjusted, compare_over_folds, compare_over_tasks
from .recipe import Recipe
from .recipe_file import PaperRow, find_row
from .result import Result
from .row import Row, accuracy_of, aligned, over_folds, summarise
from .run import read_recipe, read_results

# Wilcoxon's test cannot find anything at the 5 % level among fewer.
_LEAST_TASKS = 6


@dataclass(frozen=True)
class Line:
    """A row of the table, and the same of each task.

    Args:
        row: over all tasks.
        by_task: by name of the task.
        recipe: that was trained; None for a control.
        paper: the row of a paper that it follows; None where it follows none.
        dataset: name of the dataset; empty where nobody says.
        absent: runs that belong to it and are not there.
    """

    row: Row
    by_task: Mapping[str, Row]
    recipe: Recipe | None = None
    paper: PaperRow | None = None
    dataset: str = ""
    absent: int = 0

    @property
    def published(self) -> float | None:
        """The paper's own accuracy over all tasks, or of the only one."""
        alone = [*self.by_task] if len(self.by_task) == 1 else []
        return next((f for name in ("mean", *alone) if (f := self.published_of(name))), None)

    def published_of(self, task: str) -> float | None:
        """The paper's own accuracy on a task; None where it has none."""
        for figure in self.paper.reported if self.paper else ():
            if (figure.dataset, figure.task, figure.metric) == (self.dataset, task, "accuracy"):
                return figure.value
        return None

    @property
    def differences(self) -> list[str]:
        """How it differs from the row of the paper that it follows, a sentence each."""
        paper, recipe = self.paper, self.recipe
        if paper is None or recipe is None:
            return []
        found = []
        for role, key in paper.features.items():
            ours = recipe.features.get(role, "none")
            if not ours.startswith(key):
                found.append(f"{role} is {ours}, in the paper {key}")
        for name, value in paper.options.items():
            if recipe.options[name] != value:
                found.append(f"{name} is {recipe.options[name]}, in the recipe {value}")
        if self.row.dropped_pairs:
            found.append(f"{self.row.dropped_pairs} pairs lost, over all folds")
        chosen = "best on validation" if recipe.fitting.patience else "last"
        for facts in paper.paper.datasets:
            if facts.name == self.dataset and facts.epoch != chosen:
                found.append(f"the epoch is {chosen}, in the paper {facts.epoch}")
        return found


@dataclass(frozen=True)
class Compared:
    """A row against the one that others are compared with.

    Args:
        name: of the row.
        feature: of the row.
        task: on which; empty for all.
        difference: its accuracy less the other's.
        p: chance of so large a difference or a larger one, of either sign, if there is none.
        adjusted_p: after Holm's correction for all comparisons that the table makes.
        test: what was done.
    """

    name: str
    feature: str
    task: str
    difference: float
    p: float
    adjusted_p: float
    test: str


@dataclass(frozen=True)
class ResultTable:
    """All that a table says.

    Args:
        lines: trained rows in their order, then controls.
        dataset: name of the dataset; empty where nobody says.
        compared: every other row against one; empty where none was asked for.
        against: name of that one.
    """

    lines: tuple[Line, ...]
    dataset: str = ""
    compared: tuple[Compared, ...] = ()
    against: str = ""


@dataclass(frozen=True)
class _Group:
    """The runs of one row."""

    recipe: str
    folders: Sequence[Path]
    absent: int = 0


def read_table(folders: Sequence[Path], against: str = "") -> ResultTable:
    """Read runs and put them together.

    Args:
        folders: of batches or of single runs.
        against: name of the row with which every other one is compared; empty for none.

    Raises:
        RecipeError: no run there, one that cannot be read, or no row of that name.
    """
    groups: list[_Group] = []
    dataset = ""
    for folder in folders:
        known = _batch(folder)
        dataset = dataset or known.get("dataset", "")
        groups += _groups(folder, known)
    results: dict[tuple[str, str], list[Result]] = {}
    recipes: dict[tuple[str, str], tuple[Recipe, _Group]] = {}
    controls: dict[str, list[Result]] = {}
    for group in groups:
        for folder in group.folders:
            own, *others = read_results(folder)
            results.setdefault((own.name, own.feature), []).append(own)
            recipes.setdefault((own.name, own.feature), (read_recipe(folder), group))
            for other in others:
                controls.setdefault(other.name, []).append(other)
    if not results:
        raise RecipeError(f"{folders[0]}: no finished run in it; train first")
    lines = [
        replace(_line(own), dataset=dataset, **_facts(*recipes[key]))
        for key, own in results.items()
        if aligned(own)[0]
    ]
    lines += [_line(_once(own)) for own in controls.values()]
    compared = _compare(results, against) if against else ()
    return ResultTable(tuple(lines), dataset, tuple(compared), against)


def _batch(folder: Path) -> dict[str, Any]:
    try:
        known: dict[str, Any] = json.loads((folder / BATCH).read_text())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise RecipeError(
            f"{folder / BATCH}: cannot be read ({error}); run the batch again"
        ) from None
    return known


def _groups(folder: Path, known: Mapping[str, Any]) -> Iterator[_Group]:
    """The runs of a batch row by row; or a run; or all runs below a folder."""
    if known:
        for row in known["rows"]:
            places = [folder / place for place in row["runs"]]
            there = [place for place in places if (place / "recipe.json").exists()]
            yield _Group(row["recipe"], there, len(places) - len(there))
        return
    if not folder.is_dir():
        raise RecipeError(f"{folder}: no such folder; name a batch or a run")
    for found in sorted(folder.rglob("recipe.json")):
        hidden = any(part.startswith(".") for part in found.relative_to(folder).parts)
        if not hidden:
            yield _Group("", [found.parent])


def _facts(recipe: Recipe, group: _Group) -> dict[str, Any]:
    paper = find_row(group.recipe) if group.recipe else None
    return {"recipe": recipe, "paper": paper, "absent": group.absent}


def _line(results: Sequence[Result]) -> Line:
    tasks: dict[str, list[Result]] = {}
    for result in results:
        tasks.setdefault(result.task, []).append(result)
    row = summarise(results)
    by_task = {task: summarise(own) for task, own in tasks.items() if aligned(own)[0]}
    return Line(row, by_task)


def _once(results: Iterable[Result]) -> list[Result]:
    """Controls of a fold, which every run on it has worked out anew, once each.

    Runs on other features may have lost other videos; the largest test part is kept.
    """
    best: dict[tuple[str, str], Result] = {}
    for result in results:
        key = result.task, result.split
        if key not in best or len(result.pairs) > len(best[key].pairs):
            best[key] = result
    return list(best.values())


def _compare(results: Mapping[tuple[str, str], Sequence[Result]], against: str) -> list[Compared]:
    named = [key for key in results if against in (key[0], f"{key[0]} {key[1]}")]
    if len(named) != 1:
        names = ", ".join(f"'{name}'" for name in dict.fromkeys(name for name, _ in results))
        raise RecipeError(
            f"{len(named)} rows are called '{against}'; name one of {names}, with its feature "
            "where a name comes twice"
        )
    base, _ = aligned(results[named[0]])
    found = [
        (key, one)
        for key, own in results.items()
        if key != named[0]
        for one in _differences(aligned(own)[0], base)
    ]
    ps = adjusted(np.array([p for _, (_, _, p, _) in found]))
    return [
        Compared(*key, task, difference, p, float(fair), test)
        for (key, (task, difference, p, test)), fair in zip(found, ps, strict=True)
    ]


def _differences(
    first: Sequence[Result], second: Sequence[Result]
) -> Iterator[tuple[str, float, float, str]]:
    """Task, difference, p and the name of the test.

    Over all tasks where there are enough of them, else for each task over its folds.
    """
    ours = {(one.task, one.split): one for one in first}
    theirs = {(one.task, one.split): one for one in second}
    shared = [key for key in ours if key in theirs]
    tasks = {task: [key for key in shared if key[0] == task] for task, _ in shared}
    if len(tasks) >= _LEAST_TASKS:
        means = [
            [_accuracy([side[k] for k in own]) for own in tasks.values()] for side in (ours, theirs)
        ]
        all_tasks = compare_over_tasks(np.array(means[0]), np.array(means[1]))
        name = f"Wilcoxon signed-rank test over {len(tasks)} tasks"
        yield "", all_tasks.difference, all_tasks.p_value, name
        return
    for task, keys in tasks.items():
        accuracies = [[_accuracy([side[key]]) for key in keys] for side in (ours, theirs)]
        sizes = np.array([(ours[k].facts.train_videos, len(ours[k].ids)) for k in keys])
        found = compare_over_folds(
            np.array(accuracies[0]), np.array(accuracies[1]), sizes[:, 0], sizes[:, 1]
        )
        name = "corrected resampled t-test over folds"
        yield task, found.difference, found.p_value, name


def _accuracy(folds: Sequence[Result]) -> float:
    return float(over_folds(folds, accuracy_of).mean())
