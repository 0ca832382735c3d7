"""What a batch is made of: every row of a matrix on every fold with every seed, before the first runs."""

import functools
import hashlib
import re
import time
from dataclasses import dataclass, replace
from pathlib import Path

from ..features.errors import RecipeError
from ..features.manifest import Manifest
from ..features.store import FeatureStore
from .choice import choose
from .matrix import Matrix, MatrixRow
from .protocol import Protocol, split_by
from .recipe import Recipe, assign_roles
from .recipe_file import find_row
from .run import check_labels, check_recipe, has_epochs

# Of a folder's name; file systems allow 255 bytes, and its neighbours' names are longer.
_LONGEST_NAME = 200


@dataclass(frozen=True)
class Labels:
    """Whose labels the runs of one task are about; small enough to be sent to every worker.

    Args:
        manifest: table of videos.
        pairs: list of pairs; None takes that beside the manifest, or scores.
        protocol: how videos are split.
        task: whose videos alone count; empty for all.
        planned_ns: when; a process that outlives a batch shall not take what it read for another.
    """

    manifest: Path
    pairs: Path | None
    protocol: Protocol
    task: str
    planned_ns: int

    def read(self) -> tuple[Manifest, tuple[str, ...]]:
        """The manifest with its folds, and their names; kept from one run to the next."""
        return _read_labels(self)


@functools.lru_cache(maxsize=4)
def _read_labels(labels: Labels) -> tuple[Manifest, tuple[str, ...]]:
    manifest = Manifest.read(labels.manifest, labels.pairs)
    if labels.task:
        manifest = manifest.of_task(labels.task)
    return split_by(manifest, labels.protocol)


@dataclass(frozen=True)
class Job:
    """One run.

    Args:
        place: its folder, below that of the batch.
        recipe: of one seed.
        labels: of its task.
    """

    place: str
    recipe: Recipe
    labels: Labels


@dataclass(frozen=True)
class Plan:
    """All runs of a batch.

    Args:
        matrix: that it is of.
        jobs: by number of the row, in its order.
        rows: what the matrix says of each, with all its recipes' choices made.
    """

    matrix: Matrix
    jobs: tuple[tuple[Job, ...], ...]
    rows: tuple[Recipe, ...]

    @property
    def all_jobs(self) -> list[Job]:
        """Every run, the rows taking turns, so that a table has something of each early on."""
        longest = max(map(len, self.jobs))
        return [own[n] for n in range(longest) for own in self.jobs if n < len(own)]


def plan_batch(matrix: Matrix) -> Plan:
    """Make all choices before the first run: a mistake shows at once, not after a night.

    Raises:
        UserError: a recipe, head, option, feature, split or task that does not exist or fit.
    """
    store = FeatureStore.open(matrix.store)
    manifest = Manifest.read(matrix.manifest, matrix.pairs)
    tasks = manifest.tasks if matrix.tasks == "each" else ("",)
    files = matrix.manifest.absolute(), matrix.pairs and matrix.pairs.absolute()
    now = time.time_ns()
    labels = [Labels(*files, matrix.protocol, task, now) for task in tasks]
    splits = [own.read()[1] for own in labels]
    rows = [_resolve(row, store) for row in matrix.rows]
    for row in rows:
        check_labels(row, manifest.videos)
        _check_validation(row, matrix)
    _check_dataset(matrix)
    names = [_row_name(row) for row in rows]
    for name in names:
        if names.count(name) > 1:
            raise RecipeError(f"two rows are both {name}; give one a name of its own")
    jobs = []
    for row, name in zip(rows, names, strict=True):
        own, seeds = [], matrix.seeds if has_epochs(row) or row.shuffled else 1
        for task, of_task in zip(labels, splits, strict=True):
            for split in of_task:
                for seed in range(seeds):
                    recipe = replace(row, split=split, seeds=(seed,), task=task.task)
                    place = "/".join(
                        [name, _slug(task.task or "all"), _slug(split), f"seed-{seed}"]
                    )
                    own.append(Job(place, recipe, task))
        jobs.append(tuple(own))
    return Plan(matrix, tuple(jobs), tuple(rows))


def _resolve(row: MatrixRow, store: FeatureStore) -> Recipe:
    """The recipe of a row, of no split yet."""
    try:
        return _recipe(row, store)
    except (RecipeError, ValueError) as error:
        raise RecipeError(f"row '{row.name or row.recipe or row.head}': {error}") from None


def _recipe(row: MatrixRow, store: FeatureStore) -> Recipe:
    chosen = choose(row.head, row.recipe)
    recipe = Recipe.make(
        chosen.head,
        assign_roles(chosen.head, row.features or chosen.features, store.find_key),
        "",
        (0,),
        options={**chosen.options, **(row.options or {})},
        fitting=replace(chosen.fitting, **(row.fitting or {})),
        shuffled=row.shuffled,
        name=row.name or row.recipe,
        label_range=row.label_range or chosen.label_range,
    )
    check_recipe(recipe)
    recipe.used()
    return recipe


def _check_validation(row: Recipe, matrix: Matrix) -> None:
    protocol = matrix.protocol
    if row.fitting.patience and protocol.kind != "published" and not protocol.validation:
        raise RecipeError(
            f"row '{row.title}' has patience, and no video validates; give [protocol] a share "
            "validation, such as 0.2"
        )


def _check_dataset(matrix: Matrix) -> None:
    """A name with a slip in it would leave the published figures out without a word."""
    papers = [find_row(row.recipe).paper for row in matrix.rows if row.recipe]
    known = dict.fromkeys(facts.name for paper in papers for facts in paper.datasets)
    if matrix.dataset and known and matrix.dataset not in known:
        raise RecipeError(
            f"dataset '{matrix.dataset}' is in none of the papers of the rows; they have "
            f"{', '.join(known)}; correct it, or leave it out"
        )


def _row_name(recipe: Recipe) -> str:
    """Name of a row's folder; where it is too long, a hash tells it from others."""
    name = _slug(f"{recipe.title}-{'-'.join(recipe.features.values())}")
    if len(name) <= _LONGEST_NAME:
        return name
    digest = hashlib.sha256(name.encode()).hexdigest()[:12]
    return f"{name[: _LONGEST_NAME - len(digest) - 1]}-{digest}"


def _slug(text: str) -> str:
    """A name that every file system takes; two texts have two, whatever they hold."""
    plain = re.sub(r"[^A-Za-z0-9._+-]+", "-", text).strip("-.")
    if plain == text:
        return plain
    return f"{plain}-{hashlib.sha256(text.encode()).hexdigest()[:6]}"
