"""The two stages, and what looks after a store, as plain functions on named files.

Each stage is imported inside its function: a machine that trains need not have PyAV or OpenCV
working, one that extracts need not have scikit-learn.
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from .features.errors import (
    DiskFullError,
    ManifestError,
    RecipeError,
    VideoError,
    WeightsError,
)
from .features.spec import Precision
from .report.progress import Show, Step, silent

if TYPE_CHECKING:
    from .extract.registry import Known
    from .features.catalog import Damage
    from .features.dataset import Imported
    from .features.manifest import Manifest, Video
    from .features.outcome import Outcome
    from .features.packing import PackSummary
    from .features.store import Failure, FeatureStore, Overview
    from .features.weights_file import FetchOutcome, WeightsFile
    from .models.batch import Ended, Workers
    from .models.fold import Fold
    from .models.head import Fitting
    from .models.head import Precision as ComputePrecision
    from .models.matrix import Matrix
    from .models.recipe import Recipe
    from .models.recipe_file import PaperRow
    from .models.row import Row
    from .models.run import Manner
    from .models.scoring import Scored
    from .models.table import ResultTable
    from .models.together import Together
    from .report.page import Page

# Weight-free features are not of unit scale, and 28 videos are learned in seconds.
_DEMO_SETTINGS = (
    "standardise=true",
    "hidden=32",
    "learning_rate=0.01",
    "epochs=30",
    "noise=1",
)
_DEMO_SEEDS = 5
# Noise orders the few test videos well or badly by chance; only the mean of many says anything.
_DEMO_SHUFFLES = 20
DEMO_REPORT = "report.html"
_EXTRACTING_LIBRARIES = ("av", "numpy", "opencv-contrib-python", "torch", "torchvision")


def extract(
    source: Path | Manifest,
    store: Path,
    features: Sequence[str],
    weights: Sequence[str] = (),
    *,
    precision: Precision | None = None,
    devices: Sequence[str] = ("cpu",),
    flow: Literal["opencv", "torch"] | None = None,
    workers: int | None = None,
    ray: str | None = None,
    overwrite: bool = False,
    retry_failed: bool = False,
    progress: Show = silent,
) -> list[Outcome]:
    """Stage one: compute what the store lacks of every video.

    Args:
        source: a folder of videos, one video, or a manifest or its path.
        store: folder of the store; made where there is none.
        features: as ``extract.request.GRAMMAR`` says, each.
        weights: ``PATH``, ``random``, or ``BACKBONE=`` either.
        precision: of the stored values; None takes each feature's own.
        devices: torch devices; each has a process of its own where there are several.
        flow: ``opencv``, or ``torch``, which computes flow on the device; None takes what is faster
            there: OpenCV on the processor, PyTorch elsewhere.
        workers: processes that read videos, for all devices together; 0 reads in the process of the
            networks; None takes 0 on the processor and a process a core elsewhere.
        ray: address of a Ray cluster whose machines all see the store and the videos; each video is
            a task there. ``devices`` must then be ``cpu`` or ``cuda``, and ``workers`` None.
        overwrite: compute again what is there.
        retry_failed: try videos again that failed before.
        progress: told of every piece of every video.

    Returns:
        What became of each video, in the order of the manifest.

    Raises:
        UserError: nothing could be started, or the disk is full.
    """
    from .extract.devices import extract_on
    from .extract.extraction import Order
    from .extract.request import plan_features
    from .features.manifest import Manifest
    from .features.store import FeatureStore

    if ray is not None and workers is not None:
        raise RecipeError("--workers is for this machine alone; leave it out with --ray")
    if ray is None:  # another machine may have devices that this one lacks
        for device in devices:
            check_device(device)
    manifest = source if isinstance(source, Manifest) else read_source(source)
    plan_features(features, weights, precision)  # what it refuses shall leave no store behind
    on_cpu = all(device.startswith("cpu") for device in devices)
    if workers is None:
        workers = 0 if on_cpu else len(os.sched_getaffinity(0))
    order = Order(
        FeatureStore.create(store).path.absolute(),
        tuple(features),
        tuple(weights),
        _versions(),
        precision,
        flow=flow or ("opencv" if on_cpu else "torch"),
        workers=workers,
        overwrite=overwrite,
        retry_failed=retry_failed,
    )
    shares: dict[str, float] = {}
    outcomes: dict[str, Outcome] = {}

    def on_video(video_id: str, share: float) -> None:
        shares[video_id] = share
        done = len(outcomes) + sum(shares.values())
        progress(Step("extract", done, len(manifest.videos), video_id))

    if ray is not None:
        from .extract.ray_cluster import extract_on_cluster

        found = extract_on_cluster(order, manifest.videos, devices, ray)
    else:
        found = extract_on(order, manifest.videos, devices, on_video)
    try:
        for outcome in found:
            outcomes[outcome.video_id] = outcome
            shares.pop(outcome.video_id, None)
            on_video(outcome.video_id, 0.0)
    except DiskFullError as error:
        raise DiskFullError(
            f"{error} ({len(outcomes)} of {len(manifest.videos)} videos are done)"
        ) from error
    return [outcomes[video.id] for video in manifest.videos]


def read_source(source: Path) -> Manifest:
    """The videos that a user means by a folder, a manifest or one video.

    Raises:
        ManifestError: no such path, a folder without videos, or a table that cannot be used.
    """
    from .features.manifest import VIDEOS_FILE, Manifest, Video

    if source.is_dir() and not (source / VIDEOS_FILE).exists():
        return Manifest.from_folder(source)
    if source.is_dir() or source.suffix.lower() == ".csv":
        return Manifest.read(source)
    if not source.exists():
        raise ManifestError(f"{source} does not exist; name a folder of videos, a video or a CSV")
    return Manifest((Video(source.stem, source),))


def _versions() -> dict[str, str]:
    found = {name: importlib.metadata.version(name) for name in ("aqakit", *_EXTRACTING_LIBRARIES)}
    return {"python": platform.python_version(), **found}


@dataclass(frozen=True)
class Training:
    """What training one head and training many have in common.

    Args:
        manifest: table of videos with a split.
        store: that holds their features.
        pairs: list of pairs; without it pairs follow from the scores of the manifest.
        split: ``default`` for the column ``split``, ``<name>`` for ``split_<name>``.
        seeds: trainings a head, with seeds 0, 1, ...
        shuffle_pairs: train on labels turned into noise; a control.
        device: a torch device, for deep heads.
        precision: that networks compute in: ``float32``, ``bfloat16`` or ``float64``.
        clip_norm: largest norm of a step's gradients; 0 leaves them alone.
        patience: epochs to wait for a better accuracy on validation videos; 0 trains to the end.
        overwrite: replace runs that are there.
    """

    manifest: Path
    store: Path
    pairs: Path | None = None
    split: str = "default"
    seeds: int = 3
    shuffle_pairs: bool = False
    device: str = "cpu"
    precision: ComputePrecision = "float32"
    clip_norm: float = 0.0
    patience: int = 0
    overwrite: bool = False

    @property
    def fitting(self) -> Fitting:
        """What deep heads share.

        Raises:
            RecipeError: a negative number.
        """
        from .models.head import Fitting

        try:
            return Fitting(self.clip_norm, self.patience, self.precision)
        except ValueError as error:
            raise RecipeError(str(error)) from None


def train(
    training: Training,
    features: Sequence[str],
    head: str,
    out: Path,
    settings: Sequence[str] = (),
    *,
    recipe: str = "",
    start_from: Path | None = None,
    together: Together = "auto",
    tensorboard: Path | None = None,
    progress: Show = silent,
) -> Sequence[Row]:
    """Stage two: train one head on cached features, with several seeds, and keep the run.

    An interrupted training goes on when it is called again.

    Args:
        training: on whom and how often.
        features: key of a stored feature, or enough of it, or ``ROLE=KEY`` each; none takes those
            of the recipe.
        head: name of a head; empty where a recipe names it.
        out: run folder to write.
        settings: ``OPTION=VALUE`` of the head.
        recipe: ``PAPER/ROW`` of a recipe file; empty where a head is named.
        start_from: run folder whose weights are the initial ones, where the head can.
        together: how seeds of a deep head are trained: ``batch``, ``processes``, ``off`` or
            ``auto``.
        tensorboard: folder for TensorBoard's event files; None writes none.
        progress: told of every epoch.

    Returns:
        The rows of the table: the head's, then controls.

    Raises:
        UserError: labels, features or settings that do not fit.
    """
    from .features.manifest import Manifest
    from .features.store import FeatureStore
    from .models.fold import make_fold
    from .models.loading import having
    from .models.run import Manner, check_free, check_recipe

    check_free(out, training.overwrite)
    check_device(training.device)
    store = FeatureStore.open(training.store)
    chosen = _recipe(training, store, features, head, settings, recipe)
    if start_from is not None:
        chosen = replace(chosen, start_from=str(start_from))
    check_recipe(chosen, tensorboard)
    manifest = Manifest.read(training.manifest, training.pairs)
    fold = make_fold(manifest, training.split, having(store, chosen))
    manner = Manner(training.device, together, tensorboard and tensorboard / out.name)
    return _train(training, store, chosen, fold, manner, out, progress)


def _recipe(
    training: Training,
    store: FeatureStore,
    features: Sequence[str],
    head: str,
    settings: Sequence[str],
    recipe: str,
) -> Recipe:
    from .models.choice import choose
    from .models.recipe import NO_FITTING, Recipe, assign_roles

    chosen = choose(head, recipe)
    given = {n: v for n, v in vars(training.fitting).items() if v != getattr(NO_FITTING, n)}
    return Recipe.make(
        chosen.head,
        assign_roles(chosen.head, features or chosen.features, store.find_key),
        training.split,
        range(training.seeds),
        settings,
        options=chosen.options,
        shuffled=training.shuffle_pairs,
        fitting=replace(chosen.fitting, **given),
        name=recipe,
        label_range=chosen.label_range,
    )


def _train(
    training: Training,
    store: FeatureStore,
    recipe: Recipe,
    fold: Fold,
    manner: Manner,
    out: Path,
    progress: Show,
) -> Sequence[Row]:
    from .models.inputs import inputs_of
    from .models.loading import load_fold
    from .models.run import train_run, training_of, write_run

    seeds = recipe.seeds

    def on_seed(done: float, seed: int, epoch: int, losses: Mapping[str, float]) -> None:
        progress(Step(f"train {out.name}", done, len(seeds), _state_of(seed, epoch, losses)))

    videos = load_fold(store, recipe, fold, training.manifest)
    inputs = inputs_of(recipe, store, fold, training.manifest, training.pairs)
    with training_of(out, recipe, fold) as checkpoints:
        run = train_run(recipe, fold, videos, manner, checkpoints, on_seed)
        write_run(run, out, training.overwrite, inputs)
    progress(Step(f"train {out.name}", len(seeds), len(seeds)))
    return run.rows


def _state_of(seed: int, epoch: int, losses: Mapping[str, float]) -> str:
    """How a training stands, for its line of progress."""
    from .models.training import VALIDATION

    loss = sum(value for name, value in losses.items() if name != VALIDATION)
    words = [f"seed {seed}", f"epoch {epoch}", f"loss {loss:.4f}"]
    if VALIDATION in losses:
        words.append(f"validation {losses[VALIDATION]:.3f}")
    return ", ".join(words)


def baselines(
    training: Training,
    features: Sequence[str],
    heads: Sequence[str],
    out: Path,
    *,
    jobs: int = -1,
    ray: str = "",
    progress: Show = silent,
) -> tuple[ResultTable | None, list[Ended]]:
    """Train several heads on several features under one split: a batch without a file.

    Heads of one feature are trained on each feature that has no role; heads whose features have
    roles, on all that have one of theirs.

    Args:
        training: on whom and how often.
        features: keys of stored features, or enough of each, or ``ROLE=KEY``.
        heads: names; all that can be trained on these features where none is named.
        out: folder of the batch.
        jobs: runs at a time; -1 takes one a core.
        ray: address of a Ray cluster to train on; empty for this machine.
        progress: told of every run.

    Returns:
        As :func:`rerun`.

    Raises:
        UserError: labels, device or store cannot be used at all, or the disk is full.
    """
    from .features.store import FeatureStore
    from .models.batch import Workers
    from .models.matrix import Matrix, MatrixRow
    from .models.protocol import Protocol
    from .models.recipe import Recipe
    from .models.run import has_epochs

    store = FeatureStore.open(training.store)
    rows = []
    for head, words in _combinations(store, features, heads):
        deep = has_epochs(Recipe.make(head, {}, "", (0,)))
        fitting = vars(training.fitting) if deep else None
        rows.append(MatrixRow(tuple(words), head, fitting=fitting, shuffled=training.shuffle_pairs))
    matrix = Matrix(
        training.manifest,
        training.store,
        tuple(rows),
        Protocol(splits=(training.split,)),
        training.pairs,
        training.seeds,
    )
    return _run_batch(
        matrix, out, Workers(jobs, (training.device,), ray, training.overwrite), progress
    )


def rerun(
    matrix: Path,
    out: Path,
    *,
    manifest: Path | None = None,
    store: Path | None = None,
    pairs: Path | None = None,
    jobs: int = -1,
    devices: Sequence[str] = ("cpu",),
    ray: str = "",
    overwrite: bool = False,
    progress: Show = silent,
) -> tuple[ResultTable | None, list[Ended]]:
    """Train every row of a matrix on every fold with every seed; go on after a break.

    Args:
        matrix: file that ``models/matrix.py`` describes.
        out: folder of the batch.
        manifest: table of videos; None takes that of the file, as for the next two.
        store: that holds their features.
        pairs: list of pairs.
        jobs: runs at a time; -1 takes one a core.
        devices: torch devices, shared out in turn.
        ray: address of a Ray cluster to train on; empty for this machine.
        overwrite: train again what is there.
        progress: told of every run.

    Returns:
        The table, None where no run is there; and what became of each run: one that failed does
        not stop the rest.

    Raises:
        UserError: something that the matrix names does not exist or fit, or the disk is full.
    """
    from .models.batch import Workers
    from .models.matrix import read_matrix

    workers = Workers(jobs, tuple(devices), ray, overwrite)
    return _run_batch(read_matrix(matrix, manifest, store, pairs), out, workers, progress)


def _run_batch(
    matrix: Matrix, out: Path, workers: Workers, progress: Show
) -> tuple[ResultTable | None, list[Ended]]:
    from .models.batch import run_batch
    from .models.plan import plan_batch
    from .models.table import read_table

    for device in workers.devices if not workers.ray else ():
        check_device(device)
    plan = plan_batch(matrix)

    def on_run(done: int, total: int, ended: Ended) -> None:
        progress(Step("runs", done, total, ended.place))

    ended = run_batch(plan, out, workers, on_run)
    there = any(one.state != "failed" for one in ended)
    return read_table([out]) if there else None, ended


def table(folders: Sequence[Path], against: str = "") -> ResultTable:
    """One table of batches and runs.

    Args:
        folders: of batches or of runs.
        against: name of the row with which every other one is compared; empty for none.

    Raises:
        UserError: no run there, or no such row.
    """
    from .models.table import read_table

    return read_table(folders, against)


def _combinations(
    store: FeatureStore, features: Sequence[str], heads: Sequence[str]
) -> Iterator[tuple[str, Sequence[str]]]:
    """Each head with the features that it is to be trained on; unnamed ones where they suffice."""
    from .features import plugins
    from .models.head import HEADS
    from .models.recipe import roles_of

    plain = [store.find_key(feature) for feature in features if "=" not in feature]
    given = [feature for feature in features if "=" in feature]
    for head in dict.fromkeys(heads or plugins.names(HEADS)):
        roles = {role.name: role for role in roles_of(head)}
        own = [word for word in given if word.partition("=")[0] in roles]
        if "features" in roles:
            yield from ((head, [key, *own]) for key in dict.fromkeys(plain))
            continue
        named = {word.partition("=")[0] for word in own}
        needed = {role.name for role in roles.values() if not role.optional}
        if heads or own and needed <= named:
            yield head, own or given or plain


def explain(
    run: Path,
    manifest: Path,
    store: Path,
    out: Path,
    *,
    videos: Sequence[str] = (),
    seed: int | None = None,
    size: tuple[int, int] | None = None,
    overwrite: bool = False,
    device: str = "cpu",
) -> int:
    """Write what a trained head makes of videos: see ``models.explanations``.

    Args:
        run: folder of a trained run.
        manifest: table of videos.
        store: that holds the features which the run was trained on.
        out: folder to write.
        videos: ids; all of the manifest that have the features where none is named.
        seed: of the training to explain; None takes the run's first.
        size: height and width that maps are brought to; None leaves those of the features.
        overwrite: replace the folder if it is there.
        device: a torch device.

    Returns:
        The number of videos explained.

    Raises:
        UserError: a run, store or manifest that cannot be used, or a video without features.
    """
    from .features.manifest import Manifest
    from .features.store import FeatureStore
    from .models.explanations import explain_all, write_explanations
    from .models.loading import having, load
    from .models.run import read_head

    if out.exists() and not (overwrite and (out / "explanations.json").exists()):
        raise RecipeError(f"{out} is there already; name another folder, or give --overwrite")
    check_device(device)
    recipe, head = read_head(run, seed, device)
    opened = FeatureStore.open(store)
    known = {video.id: video for video in Manifest.read(manifest).videos}
    there = having(opened, recipe)
    wanted = list(dict.fromkeys(videos)) or [video for video in known if video in there]
    for video in wanted:
        if video not in known or video not in there:
            place = (
                f"no video '{video}' in {manifest}"
                if video not in known
                else (f"no {recipe.feature_text} features of video '{video}' in {store}")
            )
            raise ManifestError(f"{place}; correct the id, or run 'aqakit extract' first")
    if not wanted:
        raise ManifestError(f"{manifest}: no video has {recipe.feature_text} features in {store}")
    scoring, _ = recipe.used()
    loaded = load(opened, scoring, [known[video] for video in wanted], manifest)
    write_explanations(explain_all(head, loaded), out, size)
    return len(wanted)


def report(
    run: Path,
    out: Path,
    *,
    manifest: Path | None = None,
    store: Path | None = None,
    pairs: Path | None = None,
    beside: Sequence[Path] = (),
    new: Sequence[str] = (),
    new_store: Path | None = None,
    weights: Sequence[str] = (),
    link_videos: bool = False,
    seed: int | None = None,
    overwrite: bool = False,
    device: str = "cpu",
    progress: Show = silent,
) -> tuple[Page, Scored | None]:
    """Write a page on a run that a person reads: numbers, ranking, and what made each score.

    What the run lacks, as its store, manifest or videos have moved, the page lacks too, and says why.

    Args:
        run: folder of a trained run.
        out: HTML file to write.
        manifest: table of videos; None takes that which the run was trained on, as for the next two.
        store: that holds their features.
        pairs: list of pairs.
        beside: further runs on the same test videos, for the table.
        new: videos to be scored and shown among the run's own, as :func:`score` takes them.
        new_store: for their features, likewise.
        weights: for their features, likewise.
        link_videos: play the videos' own files rather than copies inside the page.
        seed: of the training to explain; None takes the run's first.
        overwrite: replace the file if it is there.
        device: a torch device.
        progress: told of every video.

    Returns:
        What the page shows; and what became of the new videos, None without any.

    Raises:
        UserError: no run that can be read, or a file that cannot be written.
    """
    from .extract.pictures import take_all
    from .features.durable import check_writable, write_bytes
    from .features.store import FeatureStore
    from .models.inputs import INPUTS, read_inputs
    from .models.result import read_predictions
    from .models.run import read_head
    from .models.scoring import FEATURES
    from .report.dossier import page_of
    from .report.films import Filming
    from .report.fitting import fitted
    from .report.newcomers import load_new, newcomers
    from .report.telling import load_known, read_labels, tell

    if out.is_dir():
        raise RecipeError(f"{out} is a folder; name a file, for example {out / 'report.html'}")
    if out.exists() and not overwrite:
        raise RecipeError(f"{out} is there already; name another file, or give --overwrite")
    check_writable(out)
    check_device(device)
    recipe, head = read_head(run, seed, device)
    # Runs of before inputs were kept need both to be named.
    if manifest is None or store is None or (run / INPUTS).exists():
        inputs = read_inputs(run)
        pairs = pairs or inputs.pairs
        manifest, store = manifest or inputs.manifest, store or inputs.store
    ids = read_predictions(run, everyone=True).ids
    labelled = read_labels(manifest, pairs)
    videos, untold = load_known(recipe, labelled, manifest, store, ids)
    scored = None
    if new:
        scored = score(run, new, store=new_store, weights=weights, device=device, progress=progress)
    joined = newcomers(scored, ids) if scored else []
    if joined:
        videos += load_new(recipe, FeatureStore.open(new_store or run / FEATURES), joined)
    chosen = recipe.seeds[0] if seed is None else seed
    page = page_of(run, beside, tell(recipe, head, chosen, videos, labelled, untold), joined)
    filming = Filming(
        take_all,
        {v.id: v for v in labelled.videos} | {one.id: one.video for one in joined},
        labelled.absent,
        out.parent if link_videos else None,
    )
    page, content = fitted(page, filming, progress)
    write_bytes(out, content)
    return page, scored


def score(
    run: Path,
    videos: Sequence[str],
    *,
    out: Sequence[Path] = (),
    store: Path | None = None,
    weights: Sequence[str] = (),
    device: str = "cpu",
    workers: int | None = None,
    overwrite: bool = False,
    progress: Show = silent,
) -> Scored:
    """Score new videos by a trained run, and rank them among those that trained.

    Args:
        run: folder of a trained run.
        videos: each a video, a folder of videos, a manifest, or, where no such file is there, the id
            of a video in ``store``.
        out: files to write, CSV or JSON by their suffix.
        store: that takes the features of the videos, and has those that no video file holds; None
            takes one in the run folder.
        weights: as :func:`extract` takes them; they must be those of the run.
        device: a torch device.
        workers: as :func:`extract` takes them.
        overwrite: replace files that are there.
        progress: told of every piece of every video.

    Returns:
        What became of each video, the best first; one that fails does not stop the rest.

    Raises:
        UserError: a run, videos, weights or files that cannot be used at all.
    """
    from .extract.again import extract_again, is_computed
    from .features.durable import check_writable
    from .features.errors import StoreError
    from .features.manifest import Manifest
    from .features.store import FeatureStore
    from .models.inputs import INPUTS, read_inputs
    from .models.run import read_heads
    from .models.scoring import FEATURES, Scored, Scorer
    from .report.scores import check_files, write_scores

    check_files(out, overwrite)
    check_device(device)
    recipe, heads = read_heads(run, device)
    inputs = read_inputs(run, cure="")
    keys = recipe.used()[0].values()
    if not inputs.specs.keys() >= set(keys):
        raise RecipeError(f"{run / INPUTS} lacks features of the run; train it again")
    specs = [inputs.specs[key] for key in keys]
    wanted = _to_score(videos, store)
    # Without a store for them, features that are imported are refused here.
    again = extract_again(specs if store is None else filter(is_computed, specs), weights)
    place = store or run / FEATURES
    try:
        check_writable(place / "features")
    except StoreError as error:
        raise StoreError(f"{error}, with --store (of a report: --new-store)") from None
    if again and place.resolve() == inputs.store.resolve():
        raise RecipeError(
            f"--store {place} holds the videos that the run learned from, whose ids must not be "
            "taken; name another folder, or leave it out"
        )
    failures: dict[str, str] = {}
    for one in again:
        for outcome in extract(
            Manifest(wanted),
            place,
            one.features,
            one.weights,
            precision=one.precision,
            devices=(device,),
            flow=one.flow,
            workers=workers,
            retry_failed=True,
            progress=progress,
        ):
            why = outcome.failure or ("; ".join(outcome.notes) if outcome.skipped else "")
            if why:
                failures.setdefault(outcome.video_id, why)
    scorer = Scorer.of(run, recipe, heads, inputs, FeatureStore.open(place))
    found = scorer.score(wanted, failures, _counting("score", progress))
    scored = Scored.of(run, recipe, inputs, found)
    for file in out:
        write_scores(scored, file)
    return scored


def _to_score(words: Sequence[str], store: Path | None) -> tuple[Video, ...]:
    """The videos that a user means, by ids that are all different."""
    from .features.errors import StoreError
    from .features.manifest import Video
    from .features.store import FeatureStore
    from .models.scoring import distinct

    known: set[str] = set()
    if store is not None and any(not Path(word).exists() for word in words):
        with suppress(StoreError):  # one that is still to be made holds no video
            opened = FeatureStore.open(store)
            known = {video for key in opened.keys() for video in opened.videos(key)}
    videos: list[Video] = []
    for word in words:
        is_id = word in known and not Path(word).exists()
        videos += [Video(word)] if is_id else read_source(Path(word)).videos
    return distinct(videos)


def demo(
    out: Path,
    *,
    videos: int = 40,
    seed: int = 0,
    overwrite: bool = False,
    progress: Show = silent,
) -> list[Sequence[Row]]:
    """The whole pipeline on generated videos of known skill.

    Writes ``data`` (videos, labels, truth), ``store``, ``runs`` and ``report.html`` below a folder. Run
    again with ``overwrite`` it keeps the features of videos that are the same.

    Args:
        out: folder to write.
        videos: how many to generate.
        seed: of the videos.
        overwrite: replace data and runs of an earlier demo.
        progress: told of everything.

    Returns:
        Rows of rank-aware attention, RankSVM, and rank-aware attention on shuffled pairs.

    Raises:
        UserError: the folder is taken or cannot be written.
    """
    from .extract.synthetic import generate
    from .features.durable import write_errors

    data, store, runs = out / "data", out / "store", out / "runs"
    if (data / "truth.json").exists():
        if not overwrite:
            raise RecipeError(
                f"{out} holds a demo already, or a part of one; give --overwrite to go on with it, "
                "or --out to name another folder"
            )
        with write_errors(data):
            shutil.rmtree(data)
    progress(Step("generate", 0, 1, f"{videos} videos"))
    generate(data, videos, seed)
    progress(Step("generate", 1, 1))
    for outcome in extract(data / "manifest.csv", store, ["flow-hist"], progress=progress):
        if outcome.failure is not None:
            raise VideoError(outcome.failure)
    training = Training(
        data / "manifest.csv", store, data / "pairs.csv", seeds=_DEMO_SEEDS, overwrite=overwrite
    )
    once = replace(training, seeds=1)  # nothing in RankSVM is random
    shuffling = replace(training, seeds=_DEMO_SHUFFLES, shuffle_pairs=True)
    attention, feature = "rank-aware-attention", ["flow-hist"]
    rows = [
        train(training, feature, attention, runs / attention, _DEMO_SETTINGS, progress=progress),
        train(once, feature, "ranksvm", runs / "ranksvm", progress=progress),
        train(shuffling, feature, attention, runs / "shuffled", _DEMO_SETTINGS, progress=progress),
    ]
    report(
        runs / attention,
        out / DEMO_REPORT,
        beside=[runs / "ranksvm", runs / "shuffled"],
        overwrite=overwrite,
        progress=progress,
    )
    return rows


def import_dataset(
    name: str,
    folder: Path,
    out: Path,
    *,
    videos: Path | None = None,
    rate: float | None = None,
    store: Path | None = None,
    overwrite: bool = False,
    progress: Show = silent,
) -> tuple[Imported, list[Outcome]]:
    """The published files of a dataset as a manifest, and its tracks into a store.

    Writes ``videos.csv``, ``pairs.csv`` where there are pairs, and ``absent.csv`` where files of
    videos are not there.

    Args:
        name: of the dataset.
        folder: of its files.
        out: folder of the manifest.
        videos: folder of its videos; None looks below ``folder``.
        rate: frames a second, where its annotations count frames.
        store: for kinematics or skeletons, where the dataset has them; None imports none.
        overwrite: replace a manifest that is there.
        progress: told of every track.

    Returns:
        What was imported, and what became of each track.

    Raises:
        UserError: a dataset that is not known, or files that cannot be used.
    """
    from .features import plugins
    from .features.dataset import ABSENT, DATASETS, Source, write_absent
    from .features.durable import write_errors
    from .features.manifest import PAIRS_FILE, VIDEOS_FILE
    from .features.store import FeatureStore

    importer = plugins.load(DATASETS, name)
    written = [out / file for file in (VIDEOS_FILE, PAIRS_FILE, ABSENT)]
    there = next((path for path in written if path.exists()), None)
    if there is not None and not overwrite:
        raise RecipeError(f"{there} is there already; name another folder, or give --overwrite")
    if store is not None and not hasattr(importer, "fill"):
        raise RecipeError(f"{name} holds no tracks; leave --store out and run 'aqakit extract'")
    if not folder.exists():
        raise ManifestError(f"{folder}: no such file or folder; name that of the dataset's files")
    source = Source(folder, videos, rate)
    imported = importer.read(source)
    opened = None if store is None else FeatureStore.create(store)
    with write_errors(out):
        for path in written:
            path.unlink(missing_ok=True)
    imported.manifest.write(out)
    if imported.absent:
        write_absent(imported, out)
    if opened is None:
        return imported, []
    return imported, importer.fill(source, opened, imported.manifest, _counting("import", progress))


def list_datasets() -> dict[str, str]:
    """By name of each dataset that can be imported, one line on what it is."""
    from .features import plugins
    from .features.dataset import DATASETS

    return {name: plugins.load(DATASETS, name).SUMMARY for name in plugins.names(DATASETS)}


def list_recipes(paper: str = "") -> list[PaperRow]:
    """Rows of all papers, or of one.

    Raises:
        RecipeError: no such paper.
    """
    from .models.recipe_file import find_row, read_paper, recipe_names

    if paper:
        return list(read_paper(paper).rows.values())
    return [find_row(name) for name in recipe_names()]


def split_dataset(manifest: Path, out: Path, pairs: Path | None = None, **protocol: Any) -> int:
    """Write a manifest with the folds of a protocol as its splits.

    Args:
        manifest: table of videos.
        out: folder to write.
        pairs: list of pairs; None takes that beside the manifest.
        protocol: fields of ``models.protocol.Protocol``.

    Returns:
        The number of folds.

    Raises:
        UserError: a manifest that cannot be split so.
    """
    from .features.manifest import PAIRS_FILE, VIDEOS_FILE, Manifest
    from .models.protocol import Protocol, split_by

    for path in (out / VIDEOS_FILE, out / PAIRS_FILE):
        if path.exists():
            raise RecipeError(f"{path} is there already; name another folder")
    made, names = split_by(Manifest.read(manifest, pairs), Protocol(**protocol))
    made.write(out)
    return len(names)


def check_device(device: str) -> None:
    """Raise a RecipeError unless PyTorch can compute there."""
    if device == "cpu":
        return  # always there, and PyTorch takes a while to load

    import torch

    try:
        torch.zeros(1, device=device).item()  # a device without memory has no values to give
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise RecipeError(f"--device {device} cannot be used ({reason}); use cpu") from None


@dataclass(frozen=True)
class Listing:
    """What a store holds.

    Args:
        features: by key, in order.
        failures: videos that could not be used.
    """

    features: list[tuple[str, Overview]]
    failures: list[Failure]


def list_store(folder: Path) -> Listing:
    """Count what a store holds.

    Raises:
        StoreError: no store there, or one of another version.
    """
    from .features.store import FeatureStore

    store = FeatureStore.open(folder)
    return Listing([(key, store.overview(key)) for key in store.keys()], store.failures())


def verify_store(folder: Path) -> tuple[int, list[Damage]]:
    """Read a whole store again: how many entries it holds in good order, and what is damaged.

    Raises:
        StoreError: no store there, or one of another version.
    """
    from .features.store import FeatureStore

    store = FeatureStore.open(folder)
    damages = store.verify()
    return sum(len(store.videos(key)) for key in store.keys()), damages


def pack_store(folder: Path, compress: bool) -> PackSummary:
    """Merge the parts of a store into shards.

    Raises:
        StoreError: no store there, or another process packs it.
        DiskFullError: nothing is lost.
    """
    from .features.store import FeatureStore

    return FeatureStore.open(folder).pack(compress=compress)


def export_store(
    folder: Path, feature: str, out: Path, overwrite: bool = False, progress: Show = silent
) -> list[Outcome]:
    """Write a feature of every video as ``<id>_<stream>.npz``, with a record for its way back.

    Args:
        folder: of the store.
        feature: key of a stored feature, or enough of it.
        out: folder to write.
        overwrite: replace files that are there.
        progress: told of every video.

    Raises:
        StoreError: no such feature, a file is there already, or the folder cannot be written.
        DiskFullError: no space is left.
    """
    from .features.interchange import export_feature
    from .features.store import FeatureStore

    store = FeatureStore.open(folder)
    key = store.find_key(feature)
    return export_feature(store, key, out, overwrite, _counting("export", progress))


def import_store(
    folder: Path,
    source: Path,
    described_as: str | None = None,
    sampling: str | None = None,
    preset: str | None = None,
    manifest: Path | None = None,
    progress: Show = silent,
) -> list[Outcome]:
    """Bring feature arrays into a store: an export, or arrays that other software made.

    Args:
        folder: of the store; made where there is none.
        source: folder of ``<id>_<stream>.npz`` files.
        described_as: ``BACKBONE.STREAM.LAYER``; None where an export says it.
        sampling: of foreign arrays; T equal parts by default.
        preset: of foreign arrays; ``unknown`` by default.
        manifest: of foreign arrays, with start and end of each video.
        progress: told of every file.

    Returns:
        What became of each file; a broken one does not stop the rest.

    Raises:
        RecipeError: options that do not fit the folder.
        StoreError: the store cannot be written, or the export's record cannot be read.
        DiskFullError: no space is left.
    """
    from .features.foreign import Description, import_foreign
    from .features.interchange import RECORD, import_exported
    from .features.manifest import Manifest
    from .features.store import FeatureStore

    if not source.is_dir():
        raise RecipeError(f"{source} is no folder; name the folder of the .npz files")
    report = _counting("import", progress)
    record = source / RECORD
    if record.exists():
        if any(option is not None for option in (described_as, sampling, preset, manifest)):
            raise RecipeError(
                f"{record} says what the files are; leave --as, --sampling, --preset and "
                "--manifest out, or move it away"
            )
        return import_exported(FeatureStore.create(folder), source, report)
    if described_as is None:
        raise RecipeError(
            f"{source}: has no {RECORD}; say what its files are, for example --as i3d.rgb.pool"
        )
    description = Description.parse(described_as, sampling, preset or "unknown")
    dated = None if manifest is None else Manifest.read(manifest)
    return import_foreign(FeatureStore.create(folder), source, description, dated, report)


def import_tracks(
    folder: Path,
    paths: Sequence[Path],
    name: str,
    *,
    rate: float | None = None,
    time_column: str | None = None,
    groups: Sequence[str] = (),
    sampling: str = "steps-10x16",
    channels: str = "raw",
    person: int | None = None,
    manifest: Path | None = None,
    progress: Show = silent,
) -> list[Outcome]:
    """Bring kinematics or poses into a store, resampled by time to steps.

    Args:
        folder: of the store; made where there is none.
        paths: files of tracks, or folders of them.
        name: the backbone of the features, such as ``kinematics``.
        rate: samples a second, where the files have no times.
        time_column: header of a column of seconds.
        groups: ``NAME=COLUMNS`` each, one feature a group; one of all columns by default.
        sampling: ``steps-TxF``.
        channels: that each column becomes, any of ``raw,from-start,velocity,speed``.
        person: place of the person in each frame of a pose file; the surest one by default.
        manifest: whose videos the tracks belong to; start and end cut them.
        progress: told of every video.

    Returns:
        What became of each video; a broken file does not stop the rest.

    Raises:
        UserError: options that mean nothing, or a store that cannot be written.
    """
    from .features.manifest import Manifest
    from .features.segments import Sampling
    from .features.store import FeatureStore
    from .features.track_features import (
        WHOLE,
        Group,
        TrackRequest,
        import_tracks,
        parse_channels,
    )
    from .features.track_files import find_tracks
    from .features.tracks import Reading

    request = TrackRequest(
        name,
        Sampling.parse(sampling),
        Reading(rate, time_column, person),
        tuple(map(Group.parse, groups)) or (Group(WHOLE),),
        parse_channels(channels),
    )
    known = None if manifest is None else Manifest.read(manifest)
    find_tracks(paths)  # what it refuses shall leave no store behind
    store = FeatureStore.create(folder)
    return import_tracks(store, paths, request, known, _counting("import", progress))


def _counting(stage: str, progress: Show) -> Callable[[int, int, str], None]:
    return lambda done, total, video: progress(Step(stage, done, total, video))


def list_weights() -> list[WeightsFile]:
    """Every known file of weights and whether it is here, judged by its name and size."""
    from .extract import registry

    return [registry.listed(entry) for entry in registry.known().values()]


def fetch_weights(
    names: Sequence[str], progress: Show = silent, *, everything: bool = False
) -> list[FetchOutcome]:
    """Download files of weights, unless they are here in good order.

    Args:
        names: of backbones, for the preferred file of each, or of files.
        progress: told of the bytes of each file.
        everything: fetch every known file, whatever the names.

    Returns:
        What became of each file; one that failed does not stop the rest.

    Raises:
        WeightsError: a name that means nothing.
        DiskFullError: no space is left; what came so far is kept.
        StoreError: the folder cannot be written to.
    """
    from .extract import registry

    chosen = list(registry.known().values()) if everything else registry.choose(names)
    return [_fetch(entry, progress) for entry in chosen]


def _fetch(entry: Known, progress: Show) -> FetchOutcome:
    from .extract.download import download
    from .features.weights_file import FetchOutcome

    name = entry.checkpoint.file

    def on_bytes(done_bytes: int, total_bytes: int | None) -> None:
        detail = f"{done_bytes / 1e6:.1f} MB"
        if total_bytes is None:
            progress(Step(f"fetch {name}", 0, 1, detail))
        else:
            progress(Step(f"fetch {name}", done_bytes, total_bytes, detail))

    try:
        receipt = download(entry.checkpoint, entry.path.parent, on_bytes)
    except WeightsError as error:
        return FetchOutcome(name, failure=str(error))
    unpublished = ("no published checksum",) if not entry.checkpoint.sha256_prefix else ()
    if receipt is None:
        size = entry.path.stat().st_size
        return FetchOutcome(name, size_bytes=size, notes=unpublished)
    return FetchOutcome(name, receipt.url, receipt.size_bytes, receipt.sha256, unpublished)


def check_weights() -> list[WeightsFile]:
    """Every known file of weights; those that are here are read, compared and fitted."""
    from .extract import registry

    return [registry.checked(entry) for entry in registry.known().values()]
