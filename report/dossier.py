"""From a run folder to the values of its page: all but the films, which need the videos.

What the folder alone knows is here; what only the store knows, the explanations, comes as :class:`Told`.
"""

import csv
import json
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..features import plugins
from ..features.errors import RecipeError
from ..features.table import shortened
from ..models.head import HEADS
from ..models.recipe import NO_FITTING, Recipe
from ..models.result import Predictions, read_predictions
from ..models.row import Row
from ..models.run import read_recipe, read_rows
from ..models.standing import merge_seeds, ranks
from .cells import counted
from .newcomers import Newcomer
from .page import Entry, Page, Plane, Story
from .warnings import warnings_of

_NAMES_SHOWN = 5
_NO_STORY = "Its features are not in the store, so nothing explains its score."


@dataclass(frozen=True)
class Told:
    """What could be explained, and what labels and store know beside the run.

    Args:
        stories: by id of the video.
        plane: how embeddings were brought to the plane, ``t-SNE`` or ``PCA``, and (n, 2) the places of
            the videos of ``stories``, in their order; None where the head embeds none.
        tables: by name, figures over all videos.
        tasks: by id, what is performed.
        pairs: ids of all labelled pairs, the better one first.
        seed: whose explanations these are.
        untold: why there are no stories, one sentence; empty where there are.
    """

    stories: Mapping[str, Story]
    plane: tuple[str, NDArray[np.float64]] | None
    tables: Mapping[str, NDArray[np.float64]]
    tasks: Mapping[str, str]
    pairs: Sequence[tuple[str, str]]
    seed: int
    untold: str


def page_of(run: Path, beside: Sequence[Path], told: Told, new: Sequence[Newcomer] = ()) -> Page:
    """The values of a run's page, without films.

    Args:
        run: its folder.
        beside: other runs on the same test, whose rows are to stand in the table; one that comes
            again, or is the run itself, stands there once.
        told: what could be explained.
        new: videos to be ranked among the run's own.

    Raises:
        RecipeError: a folder is no run that can be read, or one beside tests other videos or pairs.
        ValueError: a plane of other videos than the stories.
    """
    kept = _read(run)
    others = _others(kept, beside)
    entries = _entries(kept, told, new)
    noise = [other.rows[0] for other in others if other.recipe.shuffled]
    return Page(
        title=kept.recipe.title,
        facts=[*_facts(kept)],
        rows=[*_own_rows([kept, *others]), *kept.rows[1:]],
        warnings=warnings_of(kept.rows[0], [*kept.rows[1:], *noise], kept.recipe),
        notes=[*_notes(kept.recipe, entries, told)],
        entries=entries,
        scaled=kept.recipe.scaled,
        learning=_learning(run / "training_log.csv"),
        plane=_plane(told, entries),
        tables=told.tables,
    )


@dataclass(frozen=True)
class _Kept:
    """What a run folder holds."""

    folder: Path
    recipe: Recipe
    rows: list[Row]
    found: Predictions

    def members(self, part: str) -> NDArray[np.bool_]:
        """(V,) which videos are in a part of the split."""
        return np.array([part in own.split("+") for own in self.found.parts], dtype=bool)

    @property
    def tested(self) -> tuple[list[str], list[tuple[str, str]]]:
        """Ids of the test videos, and of both videos of each test pair, in an order of their own."""
        ids, pairs = self.found.ids, self.found.pairs
        videos = sorted(ids[place] for place in np.flatnonzero(self.members("test")))
        return videos, sorted((ids[better], ids[worse]) for better, worse in pairs)


def _read(folder: Path) -> _Kept:
    recipe = read_recipe(folder)
    return _Kept(folder, recipe, read_rows(folder), read_predictions(folder, everyone=True))


def _others(kept: _Kept, beside: Sequence[Path]) -> list[_Kept]:
    places = {folder.resolve(): folder for folder in beside}
    places.pop(kept.folder.resolve(), None)
    others = [_read(folder) for folder in places.values()]
    for other in others:
        if other.tested != kept.tested:
            raise RecipeError(
                f"{other.folder} tests other videos or pairs than {kept.folder}; leave it out, or "
                "train it on the same labels and split"
            )
    return others


def _own_rows(runs: Sequence[_Kept]) -> list[Row]:
    """The first row of each; those that read alike also say their folder."""
    rows = [run.rows[0] for run in runs]
    count = Counter((row.name, row.feature) for row in rows)
    return [
        replace(row, name=f"{row.name} ({run.folder.name})")
        if count[row.name, row.feature] > 1
        else row
        for row, run in zip(rows, runs, strict=True)
    ]


def _entries(kept: _Kept, told: Told, new: Sequence[Newcomer]) -> list[Entry]:
    """All videos, the best first; of equal ones, as the run has them."""
    unordered = [*_own_entries(kept, told), *(_new_entry(one, told, kept.recipe) for one in new)]
    scores = np.array([entry.score for entry in unordered])
    rank = ranks(scores, scores)
    ordered = [
        replace(unordered[place], rank=int(rank[place]))
        for place in np.argsort(-scores, kind="stable")
    ]
    return _with_rivals(ordered)


def _own_entries(kept: _Kept, told: Told) -> Iterator[Entry]:
    found, recipe = kept.found, kept.recipe
    scores, deviations = _merged(kept)
    won, met = _won(told.pairs)
    agreed, tested = _agreed(scores, found.pairs)
    for place, id in enumerate(found.ids):
        story = told.stories.get(id)
        yield Entry(
            id=id,
            part=found.parts[place],
            subject=found.subjects[place],
            task=told.tasks.get(id) or recipe.task,
            score=float(scores[place]),
            deviation=float(deviations[place]),
            rank=0,  # known when all are there
            truth=float(found.truth[place]),
            won=(won[id], met[id]),
            agreed=(int(agreed[place]), int(tested[place])),
            story=story,
            untold="" if story else told.untold or _NO_STORY,
        )


def _new_entry(new: Newcomer, told: Told, recipe: Recipe) -> Entry:
    label = new.video.score
    return Entry(
        id=new.id,
        part="new",
        subject=new.video.subject or "",
        task=new.video.task or recipe.task,
        score=new.placed.score,
        deviation=new.placed.deviation,
        rank=0,  # known when all are there
        truth=math.nan if label is None else label,
        story=told.stories[new.id],
        remarks=new.remarks,
    )


def _merged(kept: _Kept) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(V,) score and deviation of each video."""
    try:
        by_seed = kept.found.by_seed(kept.recipe.seeds)
        return merge_seeds(by_seed, by_seed[:, kept.members("train")], kept.recipe.scaled)
    except (KeyError, ValueError) as error:
        raise RecipeError(
            f"{kept.folder} is no run that can be read ({error}); train it again"
        ) from None


def _won(pairs: Sequence[tuple[str, str]]) -> tuple[Counter[str], Counter[str]]:
    """By id, in how many pairs a video is the better one, and in how many it is."""
    better = Counter(one for one, _ in pairs)
    return better, better + Counter(other for _, other in pairs)


def _agreed(
    scores: NDArray[np.float64], pairs: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(V,) test pairs of each video that its score orders rightly, a tie being wrong, and all."""
    right = pairs[scores[pairs[:, 0]] > scores[pairs[:, 1]]]
    size = len(scores)
    return np.bincount(right.ravel(), minlength=size), np.bincount(pairs.ravel(), minlength=size)


def _with_rivals(entries: Sequence[Entry]) -> list[Entry]:
    """Each with the best of its task, of those with a story if one is better."""
    best: dict[str, int] = {}
    best_told: dict[str, int] = {}
    for place, entry in enumerate(entries):
        best.setdefault(entry.task, place)
        if entry.story is not None:
            best_told.setdefault(entry.task, place)

    def rival(entry: Entry) -> int | None:
        wanted = (best_told.get(entry.task), best[entry.task])
        better = (one for one in wanted if one is not None and entries[one].score > entry.score)
        return next(better, None)

    return [replace(entry, rival=rival(entry)) for entry in entries]


def _facts(kept: _Kept) -> Iterator[tuple[str, str]]:
    """What was trained on what; what nobody wrote down is left out."""
    recipe, own = kept.recipe, kept.rows[0]
    yield "Model", f"{recipe.title}, head {recipe.head}" if recipe.name else recipe.title
    yield "Features", _features(recipe)
    if recipe.task:
        yield "Task", recipe.task
    learns = "with their scores" if recipe.scaled else f"in {counted(own.train_pairs, 'pair')}"
    yield "Trained on", f"{_people(kept, 'train')}, {learns}"
    if kept.members("val").any():
        yield "Validated on", _people(kept, "val")
    yield "Tested on", f"{_people(kept, 'test')}, in {counted(own.test_pairs, 'pair')}"
    yield "Split", recipe.split
    yield "Seeds", f"{len(recipe.seeds)}: {', '.join(map(str, recipe.seeds))}"
    if settings := _settings(recipe):
        yield "Settings", ", ".join(f"{name} {_word(value)}" for name, value in settings.items())
    if recipe.start_from:
        yield "Started from", recipe.start_from
    if left_out := _left_out(kept):
        yield "Left out", left_out
    if versions := _versions(kept.folder):
        yield "made by", versions  # the footer shows it


def _features(recipe: Recipe) -> str:
    """Keys, which hold the hash of the weights; with their roles where there are several."""
    keys = {role: key for role, key in recipe.features.items() if not role.startswith("variant-")}
    words = [f"{role}: {key}" for role, key in keys.items()] if len(keys) > 1 else [*keys.values()]
    if altered := len(recipe.features) - len(keys):
        words.append(f"{counted(altered, 'altered version')} of the videos for training")
    return "; ".join(words)


def _people(kept: _Kept, part: str) -> str:
    """How many videos of how many subjects a part has."""
    places = np.flatnonzero(kept.members(part))
    names = {kept.found.subjects[place] for place in places} - {""}
    of = f" of {counted(len(names), 'subject')}" if names else ""
    return counted(len(places), "video") + of


def _settings(recipe: Recipe) -> dict[str, Any]:
    """Numbers of epochs, and all that differs from the defaults."""
    usual = asdict(plugins.load(HEADS, recipe.head).Options()) | asdict(NO_FITTING)
    given = {**recipe.options, **asdict(recipe.fitting)}
    return {
        name: value
        for name, value in given.items()
        if name.endswith("epochs") or value != usual[name]
    }


def _word(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _left_out(kept: _Kept) -> str:
    own = kept.rows[0]
    found = []
    if own.dropped_videos:
        names = _known(kept.folder / "metrics.json").get("dropped", [])
        shown = [shortened(name) for name in names[:_NAMES_SHOWN]]
        shown += ["..."] * (len(names) > len(shown))
        listed = f" ({', '.join(shown)})" if shown else ""
        found.append(f"{counted(own.dropped_videos, 'video')} without features{listed}")
    if own.dropped_pairs:
        found.append(f"{counted(own.dropped_pairs, 'pair')} that cannot be used")
    return ", ".join(found)


def _versions(folder: Path) -> str:
    known = _known(folder / "environment.json")
    versions = {**known.get("libraries", {}), "Python": known.get("python")}
    return ", ".join(f"{name} {version}" for name, version in versions.items() if version)


def _known(path: Path) -> dict[str, Any]:
    """A JSON object of facts; nothing where it is not there or damaged, as no number depends on it."""
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _notes(recipe: Recipe, entries: Sequence[Entry], told: Told) -> Iterator[str]:
    """How the numbers on the page were made, a sentence each."""
    yield (
        "Accuracy is the share of test pairs in the right order, where a tie is wrong: the mean over "
        "seeds ± their deviation, with an interval from drawing the test videos anew."
    )
    many = len(recipe.seeds) > 1
    if many and recipe.scaled:
        yield (
            f"The score of a video is the mean of {len(recipe.seeds)} trainings that differ by the "
            "seed, ± their deviation."
        )
    elif not recipe.scaled:
        mean = f", then averaged over {len(recipe.seeds)} seeds, ± their deviation" if many else ""
        yield (
            "Scores of this model have no unit. They are brought to mean 0 and deviation 1 over the "
            f"training videos{mean}: 0 is like the average training video, more is better."
        )
    tasks = {entry.task for entry in entries}
    among = ", whatever their task" if len(tasks) > 1 else ""
    yield f"Ranks are among all {counted(len(entries), 'video')} of the page{among}."
    if any("train" in entry.part.split("+") for entry in entries):
        yield (
            "Videos marked trained taught the model, so their scores fit their labels better than those "
            "of new videos will."
        )
    if any(entry.part == "new" for entry in entries):
        yield (
            "Videos marked new were scored for this page; the run neither learned from them nor was it "
            "tested on them."
        )
    if any(np.isfinite(entry.truth) for entry in entries):
        yield "Label is the score that the manifest gives a video."
    if told.pairs:
        yield "Won counts the labelled pairs of a video in which it is the better one."
    yield (
        "Agreed counts the test pairs of a video that these scores put in the right order; a tie is "
        "not."
    )
    if told.stories:
        own = f", that of seed {told.seed}," if many else ""
        yield (
            f"Time lines and moments show what one model{own} makes of each step; they say where the "
            "model's score comes from, which need not be where the skill is."
        )
    if told.untold:
        yield told.untold


def _learning(log: Path) -> dict[str, dict[int, list[float]]]:
    """By column and seed, its values epoch by epoch; nothing of a head without epochs."""
    if not log.exists():
        return {}
    found: dict[str, dict[int, list[float]]] = {}
    try:
        with log.open(newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                seed = int(row.pop("seed"))
                del row["epoch"]
                for name, cell in row.items():
                    found.setdefault(name, {}).setdefault(seed, []).append(float(cell or "nan"))
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise RecipeError(f"{log} cannot be read ({error}); train the run again") from None
    return found


def _plane(told: Told, entries: Sequence[Entry]) -> Plane | None:
    if told.plane is None:
        return None
    method, places = told.plane
    if places.shape != (len(told.stories), 2):
        raise ValueError(f"plane has shape {places.shape}; it must be ({len(told.stories)}, 2)")
    row = {id: number for number, id in enumerate(told.stories)}
    members = [number for number, entry in enumerate(entries) if entry.story is not None]
    rows = [row[entries[number].id] for number in members]
    return Plane(method, places[rows], np.array(members, dtype=np.int64))
