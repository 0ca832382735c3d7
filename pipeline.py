"""The two stages, and what looks after a store, as plain functions on named files.

Each stage is imported inside its function: a machine that trains need not have PyAV or OpenCV
working, one that extracts need not have scikit-learn.
"""

from __future__ import annotations

import importlib.metadata
import platform
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from .features.errors import DiskFullError, ManifestError, RecipeError, VideoError
from .features.spec import FeatureKey, Precision
from .report.progress import Show, Step, silent

if TYPE_CHECKING:
    from .features.catalog import Damage
    from .features.manifest import Manifest
    from .features.outcome import Outcome
    from .features.packing import PackSummary
    from .features.store import Failure, FeatureStore, Overview
    from .models.data import VideoFeatures
    from .models.protocol import Fold
    from .models.run import Row

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
_EXTRACTING_LIBRARIES = ("av", "numpy", "opencv-contrib-python", "torch", "torchvision")


def extract(
    source: Path,
    store: Path,
    features: Sequence[str],
    weights: Sequence[str] = (),
    *,
    precision: Precision = "float32",
    device: str = "cpu",
    overwrite: bool = False,
    retry_failed: bool = False,
    progress: Show = silent,
) -> list[Outcome]:
    """Stage one: compute what the store lacks of every video.

    Args:
        source: a folder of videos, one video, or a manifest.
        store: folder of the store; made where there is none.
        features: ``BACKBONE[:LAYER][@SAMPLING][/PRESET]`` each.
        weights: ``PATH``, ``random``, or ``BACKBONE=`` either.
        precision: of the stored values.
        device: a torch device, for networks.
        overwrite: compute again what is there.
        retry_failed: try videos again that failed before.
        progress: told of every frame.

    Returns:
        What became of each video, in the order of the manifest.

    Raises:
        UserError: nothing could be started, or the disk is full.
    """
    from .extract.extraction import Extractor
    from .extract.flow import TVL1
    from .extract.request import plan_features
    from .features.store import FeatureStore

    check_device(device)
    manifest = read_source(source)
    wanted = plan_features(features, weights, precision, device)
    outcomes: list[Outcome] = []
    with TVL1() as tvl1:
        extractor = Extractor(
            wanted, FeatureStore.create(store), tvl1, _versions(), overwrite, retry_failed
        )
        for number, video in enumerate(manifest.videos):

            def on_frames(
                done: int, total: int, number: int = number, name: str = video.id
            ) -> None:
                progress(
                    Step(
                        "extract",
                        number + done / total,
                        len(manifest.videos),
                        f"{name} {done}/{total}",
                    )
                )

            try:
                outcomes.append(extractor.extract(video, on_frames))
            except DiskFullError as error:
                raise DiskFullError(
                    f"{error} ({len(outcomes)} of {len(manifest.videos)} videos are done)"
                ) from error
            progress(Step("extract", number + 1, len(manifest.videos), video.id))
    return outcomes


def read_source(source: Path) -> Manifest:
    """The videos that a user means by a folder, a manifest or one video.

    Raises:
        ManifestError: no such path, a folder without videos, or a table that cannot be used.
    """
    from .features.manifest import Manifest, Video

    if source.is_dir():
        return Manifest.from_folder(source)
    if source.suffix.lower() == ".csv":
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
        overwrite: replace runs that are there.
    """

    manifest: Path
    store: Path
    pairs: Path | None = None
    split: str = "default"
    seeds: int = 3
    shuffle_pairs: bool = False
    device: str = "cpu"
    overwrite: bool = False


def train(
    training: Training,
    feature: str,
    head: str,
    out: Path,
    settings: Sequence[str] = (),
    progress: Show = silent,
) -> Sequence[Row]:
    """Stage two: train one head on one cached feature, with several seeds, and keep the run.

    Args:
        training: on whom and how often.
        feature: key of a stored feature, or enough of it.
        head: name of a head.
        out: run folder to write.
        settings: ``OPTION=VALUE`` of the head.
        progress: told of every epoch.

    Returns:
        The rows of the table: the head's, then controls.

    Raises:
        UserError: labels, features or settings that do not fit.
    """
    from .features.manifest import Manifest
    from .features.store import FeatureStore
    from .models.protocol import make_fold
    from .models.recipe import Recipe
    from .models.run import check_free, train_run, write_run

    check_free(out, training.overwrite)
    check_device(training.device)
    store = FeatureStore.open(training.store)
    key = store.find_key(feature)
    seeds = range(training.seeds)
    recipe = Recipe.make(head, key, training.split, seeds, settings, training.shuffle_pairs)
    manifest = Manifest.read(training.manifest, training.pairs)
    fold = make_fold(manifest, training.split, set(store.videos(key)))

    def on_seed(done: int, epoch: int, epochs: int, losses: Mapping[str, float]) -> None:
        detail = f"seed {done}, epoch {epoch}, loss {sum(losses.values()):.4f}"
        progress(Step(f"train {out.name}", done + epoch / epochs, len(seeds), detail))

    run = train_run(recipe, fold, _load(store, key, fold), training.device, on_seed)
    write_run(run, out, training.overwrite)
    progress(Step(f"train {out.name}", len(seeds), len(seeds)))
    return run.rows


def _load(store: FeatureStore, key: FeatureKey, fold: Fold) -> list[VideoFeatures]:
    from .models.data import VideoFeatures

    found = ((video.id, store.read(key, video.id)) for video in fold.videos)
    return [VideoFeatures(video, stored.values, stored.times) for video, stored in found]


def baselines(
    training: Training,
    features: Sequence[str],
    heads: Sequence[str],
    out: Path,
    progress: Show = silent,
) -> tuple[list[Sequence[Row]], list[tuple[str, str]]]:
    """Train several heads on several features, one run folder each.

    Args:
        training: on whom and how often.
        features: keys of stored features, or enough of each.
        heads: names; all that there are where none is named.
        out: folder of the run folders.
        progress: told of every epoch.

    Returns:
        Rows of each run; and the name and reason of each that failed, which does not stop the rest.

    Raises:
        UserError: labels or store cannot be used at all.
    """
    from .features import plugins
    from .features.store import FeatureStore
    from .models.head import HEADS

    store = FeatureStore.open(training.store)
    results: list[Sequence[Row]] = []
    failures: list[tuple[str, str]] = []
    for key in [store.find_key(feature) for feature in features]:
        for head in heads or plugins.names(HEADS):
            name = f"{head}-{key}"
            try:
                results.append(train(training, key, head, out / name, progress=progress))
            except RecipeError as error:
                failures.append((name, str(error)))
    return results, failures


def demo(
    out: Path,
    *,
    videos: int = 40,
    seed: int = 0,
    overwrite: bool = False,
    progress: Show = silent,
) -> list[Sequence[Row]]:
    """The whole pipeline on generated videos of known skill.

    Writes ``data`` (videos, labels, truth), ``store`` and ``runs`` below a folder. Run again with
    ``overwrite`` it keeps the features of videos that are the same.

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

    data, store, runs = out / "data", out / "store", out / "runs"
    if overwrite and (data / "truth.json").exists():
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
    attention, feature = "rank-aware-attention", "flow-hist"
    return [
        train(training, feature, attention, runs / attention, _DEMO_SETTINGS, progress),
        train(once, feature, "ranksvm", runs / "ranksvm", progress=progress),
        train(shuffling, feature, attention, runs / "shuffled", _DEMO_SETTINGS, progress),
    ]


def check_device(device: str) -> None:
    """Raise a RecipeError unless PyTorch can compute there."""
    import torch

    try:
        torch.zeros(1, device=device)
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
