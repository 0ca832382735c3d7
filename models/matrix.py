"""The file of a batch: which rows are trained on which videos, under which protocol.

manifest = "manifest"            # folder or CSV; paths are relative to this file
store = "store"
seeds = 3
tasks = "each"                   # one model a task; "together" trains one on all
dataset = "epic-skills"          # whose published figures stand beside ours

[protocol]
kind = "leave-one-user-out"      # all of models/protocol.py

[[rows]]
recipe = "doughty_cvpr2019/full"
features = ["i3d.rgb.pool"]

[[rows]]
head = "svr"
name = "SVR"
options = { kernel = "linear" }
features = ["i3d.rgb.pool", "c3d.rgb.fc6"]   # one row each
"""

import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from annotated_types import Len
from pydantic import BaseModel, ConfigDict

from ..features.errors import RecipeError
from .head import Precision
from .protocol import Kind, Protocol
from .toml_errors import naming

Tasks = Literal["each", "together"]
Option = bool | int | float | str


@dataclass(frozen=True)
class MatrixRow:
    """One row of a batch, on one choice of features.

    Args:
        features: ``ROLE=KEY`` or ``KEY`` each; none takes those of the recipe.
        head: name of a head; empty where a recipe says it.
        recipe: ``PAPER/ROW``; empty where a head is named.
        name: of the row; empty for that of the recipe or the head.
        options: of the head, over those of the recipe.
        fitting: what deep heads share, over that of the recipe.
        shuffled: a control on labels turned into noise.
        label_range: least and greatest label; None takes that of the recipe.
    """

    features: tuple[str, ...]
    head: str = ""
    recipe: str = ""
    name: str = ""
    options: Mapping[str, Option] | None = None
    fitting: Mapping[str, Any] | None = None
    shuffled: bool = False
    label_range: tuple[float, float] | None = None


@dataclass(frozen=True)
class Matrix:
    """All of a batch.

    Args:
        manifest: table of videos.
        store: that holds their features.
        rows: what is trained.
        protocol: how videos are split.
        pairs: list of pairs; None takes that beside the manifest, or scores.
        seeds: trainings of a head that has epochs; others have nothing random in them.
        tasks: ``each`` trains one model a task, ``together`` one on all.
        dataset: name of the dataset, for the published figures; empty where there are none.
    """

    manifest: Path
    store: Path
    rows: tuple[MatrixRow, ...]
    protocol: Protocol
    pairs: Path | None = None
    seeds: int = 3
    tasks: Tasks = "together"
    dataset: str = ""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class _Fitting(_Strict):
    clip_norm: float | None = None
    patience: int | None = None
    precision: Precision | None = None


class _Row(_Strict):
    recipe: str = ""
    head: str = ""
    name: str = ""
    features: list[str | list[str]] = []
    options: dict[str, Option] = {}
    fitting: _Fitting = _Fitting()
    shuffled: bool = False
    # TOML has no tuples.
    label_range: Annotated[list[float], Len(2, 2)] | None = None


class _Protocol(_Strict):
    kind: Kind
    splits: list[str] = []
    folds: int = 0
    repeats: int = 1
    train: list[str] = []
    test: list[str] = []
    validation: float = 0.0
    seed: int = 0


class _File(_Strict):
    manifest: str | None = None
    store: str | None = None
    rows: list[_Row]
    protocol: _Protocol = _Protocol(kind="published")
    pairs: str | None = None
    seeds: int = 3
    tasks: Tasks = "together"
    dataset: str = ""


def read_matrix(
    path: Path,
    manifest: Path | None = None,
    store: Path | None = None,
    pairs: Path | None = None,
) -> Matrix:
    """Read a matrix.

    Args:
        path: of the file.
        manifest: in place of the file's own, as the next two.
        store: likewise.
        pairs: likewise.

    Raises:
        RecipeError: one line that names the file, the key and the cure.
    """
    with naming(path):
        found = _File.model_validate(tomllib.loads(path.read_bytes().decode()))
        if found.seeds < 1:
            raise RecipeError(f"seeds = {found.seeds}; give 1 or more")
        if not found.rows:
            raise RecipeError("has no [[rows]]; add one with a recipe or a head")
        own = found.protocol.model_dump().items()
        protocol: dict[str, Any] = {n: tuple(v) if isinstance(v, list) else v for n, v in own}
        return Matrix(
            _place(path, found, "manifest", manifest),
            _place(path, found, "store", store),
            tuple(
                matrix_row
                for number, row in enumerate(found.rows, 1)
                for matrix_row in _rows(path, number, row)
            ),
            Protocol(**protocol),
            pairs or (path.parent / found.pairs if found.pairs and manifest is None else None),
            found.seeds,
            found.tasks,
            found.dataset,
        )


def _place(path: Path, found: _File, name: str, given: Path | None) -> Path:
    own = getattr(found, name)
    if given is None and own is None:
        raise RecipeError(f"has no {name}; add it, or name it on the command line")
    return path.parent / own if given is None else given


def _recipe(path: Path, recipe: str) -> str:
    """``FILE.toml/ROW`` lies where the matrix does; ``PAPER/ROW`` comes with the package."""
    file, slash, row = recipe.rpartition("/")
    return f"{path.parent / file}{slash}{row}" if file.endswith(".toml") else recipe


def _rows(path: Path, number: int, row: _Row) -> Iterator[MatrixRow]:
    if bool(row.recipe) == bool(row.head):
        raise RecipeError(f"row {number}: names both a recipe and a head, or neither; name one")
    if row.label_range is not None and not row.label_range[0] < row.label_range[1]:
        least, most = row.label_range
        raise RecipeError(
            f"row {number}: label_range is {least:g} to {most:g}; write the least label first"
        )
    choices: Sequence[str | list[str]] = row.features or [[]]
    for features in choices:
        least_most = None if row.label_range is None else (row.label_range[0], row.label_range[1])
        yield MatrixRow(
            (features,) if isinstance(features, str) else tuple(features),
            row.head,
            _recipe(path, row.recipe),
            row.name or row.recipe,
            row.options,
            row.fitting.model_dump(exclude_none=True),
            row.shuffled,
            least_most,
        )
