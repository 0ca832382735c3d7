"""A table of runs: one row a recipe and its features, the controls, and what stands in the papers."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..features.errors import RecipeError
from .batch import BATCH
from .comparison import adjusted, compare_over_folds, compare_over_tasks
from .recipe import Recipe
from .recipe_file import Metric, PaperRow, find_row
from .result import Result
from .row import Row, accuracy_of, aligned, over_folds, summarise
from .run import has_epochs, read_recipe, read_results

MEAN = "mean"  # what papers' figures over all tasks are of
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

    def published(self, metric: Metric = "accuracy", task: str | None = None) -> float | None:
        """The paper's own figure; None where it has none.

        Args:
            metric: of the figure.
            task: whose it is; None for that over all tasks or, where it is not there, of the only one.
        """
        alone = [*self.by_task] if len(self.by_task) == 1 else []
        tasks = [MEAN, *alone] if task is None else [task]
        figures = {
            figure.task: figure.value
            for figure in (self.paper.reported if self.paper else ())
            if (figure.dataset, figure.metric) == (self.dataset, metric)
        }
        return next((figures[name] for name in tasks if name in figures), None)

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
        ours_of = {**recipe.options, **vars(recipe.fitting)}
        for name, value in {**paper.options, **vars(paper.fitting)}.items():
            # Patience is the choice of the epoch, of which the paper itself speaks.
            if name != "patience" and ours_of.get(name, value) != value:
                found.append(f"{name} is {ours_of[name]}, in the recipe {value}")
        if self.row.dropped_pairs:
            found.append(f"{self.row.dropped_pairs} pairs lost, over all folds")
        chosen = "best on validation" if recipe.fitting.patience else "last"
        for facts in paper.paper.datasets:
            if facts.name == self.dataset and facts.epoch != chosen and has_epochs(recipe):
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
        compared: every other row against one; empty where none was asked for.
        against: name of that one.
        left_out: names of rows of which no seed is there of all folds.
        unread: what is there and cannot be read, a sentence each.
    """

    lines: tuple[Line, ...]
    compared: tuple[Compared, ...] = ()
    against: str = ""
    left_out: tuple[str, ...] = ()
    unread: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Group:
    """Folders of one row of a batch, or of one run."""

    folders: Sequence[Path]
    title: str = ""
    recipe: str = ""
    absent: int = 0


@dataclass
class _Trained:
    """What is there of one recipe, whatever its split, task and seed."""

    recipe: Recipe
    paper: PaperRow | None
    runs: list[tuple[Path, Result]] = field(default_factory=list)
    absent: int = 0

    def add(self, folder: Path, result: Result) -> None:
        for other, known in self.runs:
            same_fold = (known.task, known.split) == (result.task, result.split)
            if same_fold and not _alike(known, result):
                raise RecipeError(
                    f"{folder}: other test videos, pairs or scores of split '{result.split}' than "
                    f"in {other}; print a table of each"
                )
        self.runs.append((folder, result))


def _alike(one: Result, other: Result) -> bool:
    same_truth = np.array_equal(one.truth, other.truth, equal_nan=True)
    return one.ids == other.ids and np.array_equal(one.pairs, other.pairs) and same_truth


@dataclass
class _There:
    """What is there of each recipe, by name of a control its results, and what is not there."""

    trained: dict[str, _Trained] = field(default_factory=dict)
    controls: dict[str, list[Result]] = field(default_factory=dict)
    unread: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)

    def add(self, group: _Group) -> None:
        row, absent = None, group.absent
        for folder in group.folders:
            try:
                recipe, (own, *others) = read_recipe(folder), read_results(folder)
            except RecipeError as error:
                self.unread.append(str(error))
                absent += 1
                continue
            paper, complaint = _paper(recipe, group)
            self.unread += [complaint] * bool(complaint)
            row = self.trained.setdefault(_key(recipe), _Trained(recipe, paper))
            row.add(folder, own)
            for other in others:
                self.controls.setdefault(other.name, []).append(other)
        if row is not None:
            row.absent += absent
        elif group.title:
            self.left_out.append(group.title)


def read_table(folders: Sequence[Path], against: str = "") -> ResultTable:
    """Read runs and put them together.

    Args:
        folders: of batches or of single runs.
        against: name of the row with which every other one is compared; empty for none.

    Raises:
        RecipeError: no run there that can be read, runs that do not belong into one table, or no
            row of that name.
    """
    dataset, groups = _read_batches(folders)
    there = _There()
    for group in groups:
        there.add(group)
    if not there.trained:
        none = f"{folders[0]}: no finished run in it; train first"
        raise RecipeError(there.unread[0] if there.unread else none)
    lines: list[Line] = []
    results: dict[tuple[str, str], list[Result]] = {}
    left_out = list(there.left_out)
    for name, row in _named(there.trained.values()):
        found = [replace(own, name=name) for _, own in row.runs]
        if not aligned(found)[0]:
            left_out.append(name)
            continue
        results[name, row.recipe.feature_text] = found
        lines.append(Line(*_rows(found), row.recipe, row.paper, dataset, row.absent))
    if not lines:
        raise RecipeError(
            f"{folders[0]}: of no row is one seed there of all folds; run the batch again"
        )
    lines += [Line(*_rows(_once(own))) for own in there.controls.values()]
    compared = _compare(results, against) if against else ()
    unread = tuple(dict.fromkeys(there.unread))
    return ResultTable(tuple(lines), tuple(compared), against, tuple(left_out), unread)


def _read_batches(folders: Iterable[Path]) -> tuple[str, list[_Group]]:
    """Name of their dataset, and the folders of their runs row by row."""
    groups: list[_Group] = []
    first: tuple[Path, dict[str, Any]] | None = None
    dataset = ""
    for folder in folders:
        if not folder.is_dir():
            raise RecipeError(f"{folder}: no such folder; name a batch or a run")
        if not (folder / BATCH).exists():
            groups += [_Group([run]) for run in _runs_below(folder)]
            continue
        settings, own = _read_batch(folder)
        first = first or (folder, settings)
        _check_same(*first, folder, settings)
        dataset = settings["dataset"]
        groups += own
    return dataset, groups


def _check_same(
    first: Path, known: Mapping[str, Any], folder: Path, settings: Mapping[str, Any]
) -> None:
    """What is tested otherwise makes no row together, nor two that can be compared."""
    for name, value in settings.items():
        if value != known[name]:
            raise RecipeError(
                f"{folder} has {name} {value} and {first} {known[name]}; print a table of each"
            )


def _runs_below(folder: Path) -> Iterator[Path]:
    for found in sorted(folder.rglob("recipe.json")):
        # A name with a dot at its beginning is of something that is not finished.
        if not any(part.startswith(".") for part in found.relative_to(folder).parts):
            yield found.parent


def _read_batch(folder: Path) -> tuple[dict[str, Any], list[_Group]]:
    """How it tests, and its runs row by row."""
    try:
        known = json.loads((folder / BATCH).read_text())
        failed, groups = set(known.get("failed", ())), []
        for row in known["rows"]:
            # Where a run failed, an older one of other settings may lie.
            there = [folder / place for place in row["runs"] if place not in failed]
            there = [place for place in there if (place / "recipe.json").exists()]
            absent = len(row["runs"]) - len(there)
            groups.append(_Group(there, str(row["title"]), str(row["recipe"]), absent))
        settings = {name: known[name] for name in ("dataset", "protocol", "tasks")}
        return {**settings, "dataset": str(known["dataset"])}, groups
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise RecipeError(
            f"{folder / BATCH}: cannot be read ({error}); run the batch again"
        ) from None


def _paper(recipe: Recipe, group: _Group) -> tuple[PaperRow | None, str]:
    """The row of a paper that a recipe follows, and why it cannot be read."""
    if recipe.shuffled:
        return None, ""
    try:
        # A run alone has the name from 'aqakit train --recipe', or follows no paper.
        return find_row(group.recipe or recipe.name), ""
    except RecipeError as error:
        return None, f"{error}; its figures are left out" if group.recipe else ""


def _key(recipe: Recipe) -> str:
    """Alike for the trainings that make one row."""
    name = recipe.name or recipe.head
    return replace(recipe, name=name, split="", seeds=(), task="").to_json()


def _named(rows: Iterable[_Trained]) -> Iterator[tuple[str, _Trained]]:
    """Names of rows; those of one name and feature also say what tells them apart."""
    alike: dict[tuple[str, str], list[_Trained]] = {}
    for row in rows:
        alike.setdefault((row.recipe.title, row.recipe.feature_text), []).append(row)
    for (title, _), twins in alike.items():
        settings = [_settings(row.recipe) for row in twins]
        for row, own in zip(twins, settings, strict=True):
            apart = [
                f"{name} {value}"
                for name, value in own.items()
                if any(other.get(name) != value for other in settings)
            ]
            yield f"{title} ({', '.join(apart)})" if apart else title, row


def _settings(recipe: Recipe) -> dict[str, Any]:
    names = ("head", "start_from", "label_range")
    more = {name: getattr(recipe, name) for name in names}
    return {**more, **recipe.features, **recipe.options, **vars(recipe.fitting)}


def _rows(results: Sequence[Result]) -> tuple[Row, dict[str, Row]]:
    """Over all tasks, and of each."""
    tasks: dict[str, list[Result]] = {}
    for result in results:
        tasks.setdefault(result.task, []).append(result)
    by_task = {task: summarise(own) for task, own in tasks.items() if aligned(own)[0]}
    return summarise(results), by_task


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
