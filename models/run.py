"""One recipe trained under one split: all seeds, the table's rows, and a folder that keeps them.

    recipe.json         what was trained on what
    metrics.json        the rows of the table, controls among them
    predictions.csv     score of every video by every seed, and by each control
    test_pairs.csv      the pairs that were tested, and how many of their videos also train
    training_log.csv    losses, epoch by epoch
    seed-<n>/           what the head learned
    environment.json    versions of everything
    inputs.json         where its labels, videos and features are
    scored-features/    a store of the videos that were scored later, if any were

The folder is written aside and renamed when it is whole.
"""

import csv
import dataclasses
import hashlib
import importlib.metadata
import json
import math
import os
import platform
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from ..features.durable import check_writable, write_errors
from ..features.durable_folder import recover_folder, replacing_folder
from ..features.errors import RecipeError
from ..features.manifest import Video
from .controls import Facts, control_scores
from .data import VideoFeatures
from .deep import WEIGHTS, DeepHead
from .fold import Fold, shuffled
from .head import EpochLog, Head, Session
from .inputs import Inputs, write_inputs
from .method import Method
from .recipe import NO_FITTING, Recipe
from .result import CONTROL, FoldFacts, Result, read_predictions, write_predictions
from .row import Row, summarise
from .together import OnSeed, Together, Work, train_seeds
from .unfinished import unfinished

_LIBRARIES = ("aqakit", "numpy", "scikit-learn", "scipy", "torch")
_CURE_IF_FULL = "free some and train again, this run is not kept"


@dataclass(frozen=True)
class Run:
    """A trained recipe.

    Args:
        recipe: what was trained.
        fold: on whom.
        scores: (S, V) of every video by every seed.
        controls: by name, (V,) scores that look at no feature.
        logs: losses of every seed.
        heads: trained, one a seed.
    """

    recipe: Recipe
    fold: Fold
    scores: NDArray[np.float64]
    controls: Mapping[str, NDArray[np.float64]]
    logs: tuple[list[EpochLog], ...]
    heads: tuple[Head, ...]

    @property
    def results(self) -> list[Result]:
        """Its own first, then the controls'."""
        fold, recipe = self.fold, self.recipe
        tested = np.union1d(fold.test, fold.test_pairs)
        place = np.full(len(fold.videos), -1)
        place[tested] = np.arange(len(tested))
        truth = np.full(len(fold.videos), np.nan) if fold.scores is None else fold.scores
        own = Result(
            recipe.title,
            recipe.feature_text,
            recipe.task,
            recipe.split,
            recipe.seeds,
            tuple(fold.videos[number].id for number in tested),
            tuple(fold.videos[number].subject or "" for number in tested),
            self.scores[:, tested],
            truth[tested],
            place[fold.test_pairs],
            fold.seen,
            recipe.scaled,
            label_range_of(recipe, fold),
            facts_of(fold),
        )
        return [own, *(control_of(own, n, values[tested]) for n, values in self.controls.items())]

    @property
    def rows(self) -> list[Row]:
        """The table: its own row first, then the controls'."""
        return [summarise([result]) for result in self.results]


@dataclass(frozen=True)
class Manner:
    """How a run is trained, as far as it does not change what is learned.

    Args:
        device: a torch device.
        together: how several seeds are trained; see :func:`.together.train_seeds`.
        tensorboard: folder for event files, one below it for each seed; None writes none.
        checkpoint_seconds: about how often training is made safe against interruption.
    """

    device: str = "cpu"
    together: Together = "auto"
    tensorboard: Path | None = None
    checkpoint_seconds: float = 30.0


def train_run(
    recipe: Recipe,
    fold: Fold,
    videos: Sequence[VideoFeatures],
    manner: Manner,
    checkpoints: Path | None = None,
    on_seed: OnSeed = lambda done, seed, epoch, losses: None,
) -> Run:
    """Train a recipe with each of its seeds and test it.

    Args:
        recipe: what to train.
        fold: on whom.
        videos: features in the order of ``fold.videos``.
        manner: how.
        checkpoints: folder in which an interrupted training finds itself again, from
            :func:`training_of`; None keeps none.
        on_seed: told how far it is; see :func:`.together.train_seeds`.

    Raises:
        RecipeError: the head cannot learn from these labels or features, or a label is out of range.
        ValueError: other videos than those of the fold.
    """
    if [video.id for video in videos] != [video.id for video in fold.videos]:
        raise ValueError("videos must be those of the fold, in its order")
    check_labels(recipe, fold.videos)
    if recipe.fitting.patience and not len(fold.validation_pairs):
        raise RecipeError(
            f"patience needs pairs of two validation videos, and split '{recipe.split}' has none; "
            "write val into some of its cells, or give the protocol a share validation"
        )
    works = _works(recipe, fold, videos, manner)
    trained = train_seeds(recipe, works, manner.device, manner.together, checkpoints, on_seed)
    heads, logs = zip(*trained, strict=True)
    scores = np.stack([head.score(videos) for head in heads])
    for seed, own in zip(recipe.seeds, scores, strict=True):
        if not np.isfinite(own).all():
            raise RecipeError(
                f"{recipe.head} diverged with seed {seed}, its scores are not finite; lower "
                "learning_rate, or set standardise=true where it has the option"
            )
    durations = np.array([video.duration_seconds for video in videos])
    facts = Facts(durations, tuple(video.subject for video in fold.videos), fold.scores)
    controls = control_scores(facts, fold.train, fold.train_pairs)
    return Run(recipe, fold, scores, controls, logs, heads)


def label_range_of(recipe: Recipe, fold: Fold) -> tuple[float, float]:
    """Least and greatest label: of the recipe, or found in the fold; nan where there is none."""
    if recipe.label_range is not None:
        return recipe.label_range
    known = np.zeros(0) if fold.scores is None else fold.scores[np.isfinite(fold.scores)]
    return (float(known.min()), float(known.max())) if len(known) else (math.nan, math.nan)


def facts_of(fold: Fold) -> FoldFacts:
    """What is said beside the numbers of a fold."""
    return FoldFacts(
        len(fold.train),
        len(fold.train_pairs),
        len(fold.dropped_videos),
        fold.dropped_pairs + fold.parted_pairs,
        len(fold.shared_subjects),
    )


def control_of(own: Result, name: str, scores: NDArray[np.float64]) -> Result:
    """The result of a control on the fold of another result.

    Args:
        own: the other one.
        name: of the control.
        scores: (V,) of the test videos.
    """
    return dataclasses.replace(
        own, name=CONTROL + name, feature="", seeds=(0,), scores=scores[None], scaled=False
    )


def check_labels(recipe: Recipe, videos: Iterable[Video]) -> None:
    """Ask whether all labels are in the range that the recipe allows.

    Args:
        recipe: that may have a range.
        videos: whose scores are asked.

    Raises:
        RecipeError: one is not.
    """
    if recipe.label_range is None:
        return
    least, most = recipe.label_range
    for video in videos:
        if video.score is not None and not least <= video.score <= most:
            raise RecipeError(
                f"video '{video.id}' has score {video.score:g}, outside {least:g} to {most:g}; "
                "correct the manifest, or the label_range of the recipe"
            )


def check_recipe(recipe: Recipe, tensorboard: Path | None = None) -> None:
    """Ask before hours of training whether all that a recipe names is there and counts.

    Raises:
        RecipeError: a setting that this head would ignore, or a run to start from that lacks a seed.
    """
    given = recipe.fitting != NO_FITTING or recipe.start_from or tensorboard
    if given and not has_epochs(recipe):
        raise RecipeError(
            f"{recipe.head} trains without epochs; leave --patience, --clip-norm, --precision, "
            "--tensorboard and --start-from out"
        )
    starts = _start_files(recipe)
    if starts and not _may_start(recipe):
        raise RecipeError(f"{recipe.head} cannot start from another run; leave --start-from out")
    for path in starts.values():
        if not path.exists():
            raise RecipeError(
                f"{path} is not there; name another run with --start-from, or train as many --seeds "
                "as it has"
            )


def has_epochs(recipe: Recipe) -> bool:
    """Whether its head trains in epochs; one that does not has nothing random in it."""
    return isinstance(recipe.build(recipe.seeds[0], "cpu"), DeepHead)


def _may_start(recipe: Recipe) -> bool:
    head = recipe.build(recipe.seeds[0], "cpu")
    return isinstance(head, DeepHead) and type(head.method).start is not Method.start


def _start_files(recipe: Recipe) -> dict[int, Path]:
    """By seed, the weights to start from."""
    if not recipe.start_from:
        return {}
    return {seed: Path(recipe.start_from) / f"seed-{seed}" / WEIGHTS for seed in recipe.seeds}


def training_of(out: Path, recipe: Recipe, fold: Fold) -> AbstractContextManager[Path]:
    """The folder for the checkpoints of a run until its own folder is written.

    Raises:
        RecipeError: another process trains this run now.
        StoreError: the folder cannot be written.
    """
    starts = [
        hashlib.sha256(path.read_bytes()).hexdigest() for path in _start_files(recipe).values()
    ]
    return unfinished(out, recipe.to_json(), fold.digest, torch.__version__, *starts)


def _works(
    recipe: Recipe, fold: Fold, videos: Sequence[VideoFeatures], manner: Manner
) -> list[Work]:
    training, targets = [videos[place] for place in fold.train], fold.training_targets()
    validation = None
    if len(fold.validation_pairs):
        validation = [videos[place] for place in fold.validation], fold.validation_targets()
    works = []
    for seed in recipe.seeds:
        own = shuffled(targets, np.random.default_rng(seed)) if recipe.shuffled else targets
        session = Session(
            validation,
            recipe.fitting,
            start_from=Path(recipe.start_from) / f"seed-{seed}" if recipe.start_from else None,
            checkpoint_seconds=manner.checkpoint_seconds,
        )
        folder = None if manner.tensorboard is None else manner.tensorboard / f"seed-{seed}"
        works.append(Work(seed, training, own, session, folder))
    return works


def check_free(folder: Path, overwrite: bool) -> None:
    """Ask before hours of training whether a run folder can be written.

    What a killed process left of an earlier try is put back or cleared away.

    Raises:
        RecipeError: the folder is there already, and is not to be overwritten or is no run.
        StoreError: it cannot be written.
    """
    with write_errors(folder, _CURE_IF_FULL):
        recover_folder(folder)
        check_writable(folder, _CURE_IF_FULL)
        taken, is_run = os.path.lexists(folder), (folder / "recipe.json").exists()
    if not taken or overwrite and is_run:
        return
    if overwrite:
        raise RecipeError(f"{folder} is there and is no run; name another folder")
    raise RecipeError(f"{folder} is there already; name another folder, or give --overwrite")


def write_run(
    run: Run, folder: Path, overwrite: bool = False, inputs: Inputs | None = None
) -> None:
    """Write a run folder, whole or not at all.

    Args:
        run: to write.
        folder: of it.
        overwrite: replace a run that is there.
        inputs: what it was trained from; None of features that lie in no store.

    Raises:
        RecipeError: the folder is there already, and is not to be overwritten or is no run.
        DiskFullError: no space is left.
        StoreError: it cannot be written.
    """
    check_free(folder, overwrite)
    with write_errors(folder, _CURE_IF_FULL), replacing_folder(folder) as made:
        _write_files(run, made)
        if inputs is not None:
            write_inputs(inputs, made, folder)


def _write_files(run: Run, folder: Path) -> None:
    (folder / "recipe.json").write_text(run.recipe.to_json() + "\n")
    rows = [dataclasses.asdict(row) for row in run.rows]
    metrics = {
        "rows": rows,
        "dropped": run.fold.dropped_videos,
        "fold": run.fold.digest,
        "label_range": label_range_of(run.recipe, run.fold),
        "facts": dataclasses.asdict(facts_of(run.fold)),
    }
    _write_json(folder / "metrics.json", metrics)
    _write_json(folder / "environment.json", environment())
    write_predictions(folder, run.fold, run.recipe.seeds, run.scores, run.controls)
    _write_log(run, folder / "training_log.csv")
    for seed, head in zip(run.recipe.seeds, run.heads, strict=True):
        learned = folder / f"seed-{seed}"
        learned.mkdir()
        head.save(learned)


def _write_json(path: Path, value: Any) -> None:
    # JSON has no nan; a number that does not exist is null.
    path.write_text(json.dumps(_without_nan(value), indent=1, allow_nan=False) + "\n")


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(item) for item in value]
    return None if isinstance(value, float) and math.isnan(value) else value


def _write_log(run: Run, path: Path) -> None:
    names = dict.fromkeys(name for log in run.logs for losses in log for name in losses)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["seed", "epoch", *names])
        for seed, log in zip(run.recipe.seeds, run.logs, strict=True):
            for epoch, losses in enumerate(log, 1):
                writer.writerow([seed, epoch, *(losses.get(name, "") for name in names)])


def environment() -> dict[str, Any]:
    """Versions and machine that numbers were made with."""
    return {
        "libraries": {name: importlib.metadata.version(name) for name in _LIBRARIES},
        "python": platform.python_version(),
        "platform": platform.platform(),
        "threads": torch.get_num_threads(),
    }


def read_rows(folder: Path) -> list[Row]:
    """The table of a run folder.

    Raises:
        RecipeError: the folder is no run.
    """
    try:
        rows = json.loads((folder / "metrics.json").read_text())["rows"]
        return [Row(**{name: _with_nan(value) for name, value in row.items()}) for row in rows]
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise RecipeError(
            f"{folder} is no run that can be read ({error}); train it again"
        ) from None


def read_results(folder: Path) -> list[Result]:
    """How a run folder's row and its controls did.

    Raises:
        RecipeError: the folder is no run.
    """
    recipe, found = read_recipe(folder), read_predictions(folder)
    try:
        metrics = json.loads((folder / "metrics.json").read_text())
        least, most = (_with_nan(value) for value in metrics["label_range"])
        if len(found.pairs) != metrics["rows"][0]["test_pairs"]:
            raise ValueError(f"{len(found.pairs)} test pairs where there were more")
        own = Result(
            recipe.title,
            recipe.feature_text,
            recipe.task,
            recipe.split,
            recipe.seeds,
            found.ids,
            found.subjects,
            found.by_seed(recipe.seeds),
            found.truth,
            found.pairs,
            found.seen,
            recipe.scaled,
            (least, most),
            FoldFacts(**metrics["facts"]),
        )
    except (OSError, ValueError, TypeError, LookupError) as error:
        raise RecipeError(
            f"{folder} is no run that can be read ({error}); train it again"
        ) from None
    controls = (
        control_of(own, name.removeprefix(CONTROL), scores)
        for name, scores in found.controls.items()
    )
    return [own, *controls]


State = Literal["absent", "finished", "damaged", "other"]


def state_of(folder: Path, recipe: Recipe, fold: Fold) -> State:
    """What a run folder holds: this recipe trained on these labels, whole or not, or something else.

    What a killed process left of an earlier try is put back or cleared away.
    """
    recover_folder(folder)
    if not os.path.lexists(folder):
        return "absent"
    try:
        kept = Recipe.from_json((folder / "recipe.json").read_text())
        metrics = json.loads((folder / "metrics.json").read_text())
        if kept != recipe or metrics.get("fold") != fold.digest:
            return "other"
    except (OSError, ValueError, AttributeError, RecipeError):
        return "damaged" if (folder / "recipe.json").exists() else "other"
    try:
        read_results(folder)
    except RecipeError:
        return "damaged"
    return "finished"


def _with_nan(value: Any) -> Any:
    if isinstance(value, list):
        return tuple(map(_with_nan, value))
    return math.nan if value is None else value


def read_recipe(folder: Path) -> Recipe:
    """The recipe of a run folder.

    Raises:
        RecipeError: the folder is no run.
    """
    if not (folder / "recipe.json").exists():
        below = next(_runs_below(folder), None)
        if below is not None:
            raise RecipeError(f"{folder} holds several runs; name one of them, for example {below}")
        raise RecipeError(f"{folder} is no run; name a folder that 'aqakit train' wrote")
    try:
        return Recipe.from_json((folder / "recipe.json").read_text())
    except (OSError, UnicodeDecodeError, RecipeError) as error:
        raise RecipeError(
            f"{folder} is no run that can be read ({error}); train it again"
        ) from None


def _runs_below(folder: Path) -> Iterator[Path]:
    """Those beside each other in a folder, or at the places that a batch gives them."""
    for places in ("*", "*/*/*/seed-*"):
        yield from sorted(path.parent for path in folder.glob(f"{places}/recipe.json"))


def read_head(folder: Path, seed: int | None = None, device: str = "cpu") -> tuple[Recipe, Head]:
    """The recipe of a run folder and the trained head of one of its seeds, the first by default.

    Raises:
        RecipeError: the folder is no run, has no such seed, or what was learned is damaged.
    """
    recipe = read_recipe(folder)
    chosen = recipe.seeds[0] if seed is None else seed
    if chosen not in recipe.seeds:
        known = ", ".join(map(str, recipe.seeds))
        raise RecipeError(f"{folder} has no seed {chosen}; choose one of: {known}")
    head = recipe.build(chosen, device)
    head.load(folder / f"seed-{chosen}")
    return recipe, head


def read_heads(folder: Path, device: str = "cpu") -> tuple[Recipe, list[Head]]:
    """The recipe of a run folder and its trained heads, one a seed.

    Raises:
        RecipeError: the folder is no run, or what was learned is damaged.
    """
    recipe = read_recipe(folder)
    return recipe, [read_head(folder, seed, device)[1] for seed in recipe.seeds]
