"""Recipe files: a TOML a paper, with all rows of its tables and where each number comes from.

    title = "..."                    # of the paper; authors and venue beside it
    [[datasets]]                     # that it tests on
    name = "epic-skills"
    protocol = "published four folds of pairs"
    epoch = "best on test"           # whose weights are tested
    source = "section 5.2"
    [rows.full]
    title = "Ours"                   # as its table says
    head = "svr"                     # or: not_run = "why there is no head for it"
    features = { features = "i3d" }  # by role, how the key of the paper's feature begins
    options.C = { value = 1.0, source = "section 5.1" }
    options.degree = { value = 3, omitted = "not used by this kernel" }
    fitting.patience = { value = 20, source = "section 5.1" }
    label_range = [6, 30]            # that the labels allow
    reported = [{ dataset = "epic-skills", task = "mean", metric = "accuracy", value = 0.8, source = "Table 2" }]
    [rows.without-noise]
    title = "Ours without noise"
    extends = "full"                 # all but title and reported are that row's unless said anew

A row has every option of its head, so each number has a source or is said to be ours. ``features`` and
``label_range`` are inherited or replaced as a whole, options and fitting one by one. ``features`` is left
out where the paper does not say, or used what no backbone here gives.
"""

import functools
import math
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Annotated, Any, Generic, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, model_validator

from ..features.errors import RecipeError
from .head import Fitting, Precision
from .recipe import Recipe, roles_of
from .toml_errors import naming

Epoch = Literal["last", "best on validation", "best on test", "omitted"]
Metric = Literal[
    "accuracy",
    "spearman",
    "mse",
    "mae",
    "relative-l2",
    "relative-l2-x100",
    "faulty-precision",
    "faulty-recall",
]
Value = TypeVar("Value")
_SUFFIX = ".toml"
_PLAIN = (bool, int, float, str)
_LEAST = {"spearman": -1.0}
_GREATEST = {"accuracy": 1.0, "spearman": 1.0, "faulty-precision": 1.0, "faulty-recall": 1.0}


@dataclass(frozen=True)
class DatasetFacts:
    """How a paper tests on a dataset.

    Args:
        name: of the importer, or a word where there is none or the paper has two protocols.
        protocol: in words.
        epoch: whose weights are tested.
        seeds: trainings of each fold; None where the paper does not say.
        source: where all that is said.
    """

    name: str
    protocol: str
    epoch: Epoch
    seeds: int | None
    source: str


@dataclass(frozen=True)
class Reported:
    """A number of a paper.

    Args:
        dataset: name of one of its datasets.
        task: of the dataset; ``mean`` over all of them.
        metric: ``accuracy`` of pairs, ``faulty-precision`` and ``faulty-recall`` of clips are shares.
        value: shares and correlations are not per cent.
        source: table or section.
    """

    dataset: str
    task: str
    metric: Metric
    value: float
    source: str


@dataclass(frozen=True)
class Publication:
    """What is known of a paper as a whole.

    Args:
        name: of the shipped file without its suffix, or path of another one.
        title: of the paper.
        authors: as the paper lists them.
        venue: where and when.
        datasets: that it tests on.
    """

    name: str
    title: str
    authors: str
    venue: str
    datasets: tuple[DatasetFacts, ...]


@dataclass(frozen=True)
class PaperRow:
    """A row of a paper's tables.

    Args:
        name: ``<publication>/<row>``, which :func:`find_row` takes.
        paper: that has it.
        title: as its table says.
        head: that stands for it; empty where there is none.
        features: how the key of the paper's feature begins, by role; empty where nobody knows.
        options: of the head, all of them.
        fitting: what deep heads share.
        label_range: least and greatest label that the dataset allows; None where nobody says.
        reported: the paper's own numbers.
        sources: where the paper has an option, or a setting of the fitting.
        omitted: why it has the value that it has, of those that the paper does not give.
        not_run: why there is no head; empty where there is one.
    """

    name: str
    paper: Publication
    title: str
    head: str
    features: Mapping[str, str]
    options: Mapping[str, Any]
    fitting: Fitting
    label_range: tuple[float, float] | None
    reported: tuple[Reported, ...]
    sources: Mapping[str, str]
    omitted: Mapping[str, str]
    not_run: str


@dataclass(frozen=True)
class Paper:
    """A recipe file.

    Args:
        publication: the paper.
        rows: by the word after the name of the paper, in the order of the file.
    """

    publication: Publication
    rows: Mapping[str, PaperRow]


def recipe_names() -> list[str]:
    """Names of all rows of the shipped papers, such as ``doughty_cvpr2019/full``."""
    return [row.name for name in _shipped() for row in read_paper(name).rows.values()]


def find_row(name: str) -> PaperRow:
    """The row that a user names.

    Args:
        name: ``PAPER/ROW``, where PAPER is that of a shipped file or the path of another one.

    Raises:
        RecipeError: no such paper or row, or as :func:`read_paper`.
    """
    paper, _, row = name.rpartition("/")
    if not paper or row.endswith(_SUFFIX):
        raise RecipeError(
            f"'{name}' names no row; write PAPER/ROW, for example doughty_cvpr2019/full"
        )
    rows = read_paper(paper).rows
    if row not in rows:
        raise RecipeError(f"{paper} has no row '{row}'; choose one of: {', '.join(rows)}")
    return rows[row]


def read_paper(paper: str | Path) -> Paper:
    """Read and check a recipe file.

    Args:
        paper: name of a shipped one, or a path that ends with ``.toml``.

    Raises:
        RecipeError: one line that names the file, the row, the key and the cure.
    """
    if isinstance(paper, Path) or paper.endswith(_SUFFIX):
        return _read(Path(paper), str(paper))
    return _read_shipped(paper)


@functools.cache
def _read_shipped(name: str) -> Paper:
    known = _shipped()
    if name not in known:
        raise RecipeError(
            f"no paper '{name}'; choose one of: {', '.join(known)}, or name a file that ends with "
            f"{_SUFFIX}"
        )
    return _read(_folder().joinpath(name + _SUFFIX), name)


def _folder() -> Traversable:
    return resources.files(__package__).joinpath("recipes")


def _shipped() -> list[str]:
    files = (entry.name for entry in _folder().iterdir())
    return sorted(file.removesuffix(_SUFFIX) for file in files if file.endswith(_SUFFIX))


def _plain(value: Any) -> Any:
    if type(value) not in _PLAIN:
        raise ValueError("give a number, true, false or a word")
    return value


def _not_blank(text: str) -> str:
    if not text.strip():
        raise ValueError("is empty; fill it in")
    return text


_Text = Annotated[str, AfterValidator(_not_blank)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class _Sourced(_Strict, Generic[Value]):
    value: Value
    source: _Text | None = None
    omitted: _Text | None = None

    @model_validator(mode="after")
    def _has_one(self) -> "_Sourced[Value]":
        if (self.source is None) == (self.omitted is None):
            raise ValueError("has both source and omitted, or neither; give one of them")
        return self


class _Fitting(_Strict):
    clip_norm: _Sourced[float] | None = None
    patience: _Sourced[int] | None = None
    precision: _Sourced[Precision] | None = None

    def given(self) -> dict[str, _Sourced[Any]]:
        return {name: own for name, own in self if own is not None}


class _Reported(_Strict):
    dataset: _Text
    task: _Text
    metric: Metric
    value: float
    source: _Text

    @model_validator(mode="after")
    def _in_range(self) -> "_Reported":
        least, greatest = _LEAST.get(self.metric, 0.0), _GREATEST.get(self.metric, math.inf)
        if not least <= self.value <= greatest or math.isinf(self.value):
            raise ValueError(
                f"{self.metric} is {self.value:g}; it must be from {least:g} to {greatest:g}"
            )
        return self


class _Row(_Strict):
    title: _Text
    extends: str | None = None
    head: str | None = None
    not_run: _Text | None = None
    features: dict[str, _Text] | None = None
    options: dict[str, _Sourced[Annotated[Any, AfterValidator(_plain)]]] = {}
    fitting: _Fitting = _Fitting()
    label_range: list[float] | None = None
    reported: list[_Reported] = []

    @model_validator(mode="after")
    def _fits(self) -> "_Row":
        if self.head is not None and self.not_run is not None:
            raise ValueError("has both head and not_run; give one of them")
        if self.label_range is not None and not _is_range(self.label_range):
            raise ValueError(
                f"label_range is {self.label_range}; give the least and the greatest label"
            )
        return self


class _Dataset(_Strict):
    name: _Text
    protocol: _Text
    epoch: Epoch
    seeds: int | None = None
    source: _Text

    @model_validator(mode="after")
    def _counts(self) -> "_Dataset":
        if self.seeds is not None and self.seeds < 1:
            raise ValueError(f"seeds is {self.seeds}; give 1 or more")
        return self


class _File(_Strict):
    title: _Text
    authors: _Text
    venue: _Text
    datasets: list[_Dataset]
    rows: dict[str, _Row]


@dataclass(frozen=True)
class _Merged:
    """A row and what it inherits."""

    head: str
    not_run: str
    features: Mapping[str, str]
    options: Mapping[str, _Sourced[Any]]
    fitting: Mapping[str, _Sourced[Any]]
    label_range: Sequence[float] | None


def _is_range(ends: Sequence[float]) -> bool:
    return len(ends) == 2 and -math.inf < ends[0] < ends[1] < math.inf


def _read(file: Traversable, name: str) -> Paper:
    with naming(file if isinstance(file, Path) else file.name):
        found = _File.model_validate(tomllib.loads(file.read_bytes().decode()))
        facts = [DatasetFacts(**dict(dataset)) for dataset in found.datasets]
        publication = Publication(name, found.title, found.authors, found.venue, tuple(facts))
        rows = {word: _row(found.rows, word, publication) for word in found.rows}
    return Paper(publication, rows)


def _row(rows: Mapping[str, _Row], word: str, paper: Publication) -> PaperRow:
    """A row of its own, checked.

    Raises:
        RecipeError: without the name of the file.
    """
    if not word or set(word) & set("/ \t\n"):
        raise RecipeError(f"rows.{word!r} is no name of a row; use letters, digits and hyphens")
    merged = _merge(_lineage(rows, word), word)
    options, fitting = _checked(merged, word)
    settings = {**merged.options, **merged.fitting}
    return PaperRow(
        name=f"{paper.name}/{word}",
        paper=paper,
        title=rows[word].title,
        head=merged.head,
        features=merged.features,
        options=options,
        fitting=fitting,
        label_range=_pair(merged.label_range),
        reported=_figures(rows[word].reported, word, paper),
        sources={name: own.source for name, own in settings.items() if own.source is not None},
        omitted={name: own.omitted for name, own in settings.items() if own.omitted is not None},
        not_run=merged.not_run,
    )


def _pair(ends: Sequence[float] | None) -> tuple[float, float] | None:
    return None if ends is None else (float(ends[0]), float(ends[1]))


def _lineage(rows: Mapping[str, _Row], word: str) -> list[_Row]:
    """The row that others extend, and so on to the one that is asked for."""
    line = [word]
    while (parent := rows[line[-1]].extends) is not None:
        if parent in line:
            loop = " -> ".join([*line, parent])
            raise RecipeError(f"rows.{word}.extends: {loop} goes round; give one row all options")
        if parent not in rows:
            raise RecipeError(
                f"rows.{line[-1]}.extends is '{parent}', which is no row; choose one of: "
                f"{', '.join(rows)}"
            )
        line.append(parent)
    return [rows[one] for one in reversed(line)]


def _merge(lineage: Sequence[_Row], word: str) -> _Merged:
    head, not_run = "", ""
    features: Mapping[str, str] = {}
    label_range: Sequence[float] | None = None
    options: dict[str, _Sourced[Any]] = {}
    fitting: dict[str, _Sourced[Any]] = {}
    for row in lineage:
        if row.head is not None or row.not_run is not None:
            head, not_run = row.head or "", row.not_run or ""
        if row.features is not None:
            features = row.features
        label_range = row.label_range or label_range
        options |= row.options
        fitting |= row.fitting.given()
    if not (head or not_run):
        raise RecipeError(f"rows.{word} has no head; name one, or say in not_run why there is none")
    if not_run and (features or options or fitting):
        raise RecipeError(
            f"rows.{word} is not run, but has features, options or fitting; remove them"
        )
    return _Merged(head, not_run, features, options, fitting, label_range)


def _checked(row: _Merged, word: str) -> tuple[Mapping[str, Any], Fitting]:
    """Options, all of them and in the order of the head, and fitting."""
    if row.not_run:
        return {}, Fitting()
    given = {name: own.value for name, own in row.options.items()}
    try:
        options = Recipe.make(row.head, {}, "", (0,), options=given).options
        roles = [role.name for role in roles_of(row.head)]
        fitting = Fitting(**{name: own.value for name, own in row.fitting.items()})
    except (RecipeError, ValueError) as error:
        raise RecipeError(f"rows.{word}: {error}") from None
    missing = [name for name in options if name not in given]
    if missing:
        raise RecipeError(
            f"rows.{word} lacks options of {row.head}: {', '.join(missing)}; add each with its "
            "source, or with omitted"
        )
    unknown = [role for role in row.features if role not in roles]
    if unknown:
        raise RecipeError(
            f"rows.{word}.features: {row.head} has no feature '{unknown[0]}'; it has: "
            f"{', '.join(roles)}"
        )
    return options, fitting


def _figures(reported: Sequence[_Reported], word: str, paper: Publication) -> tuple[Reported, ...]:
    """The paper's numbers; of one dataset, task and metric there is one."""
    names = [dataset.name for dataset in paper.datasets]
    seen = set()
    for number, one in enumerate(reported, 1):
        place = f"rows.{word}.reported.{number}"
        if one.dataset not in names:
            raise RecipeError(
                f"{place}.dataset is '{one.dataset}', which is not under [[datasets]]; add it, or "
                f"choose one of: {', '.join(names)}"
            )
        key = (one.dataset, one.task, one.metric)
        if key in seen:
            raise RecipeError(f"{place} says {' '.join(key)} once more; keep one of them")
        seen.add(key)
    return tuple(Reported(**dict(one)) for one in reported)
