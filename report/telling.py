"""What a trained head makes of the videos of its run, as far as its store and manifest are still there."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..features.errors import UserError
from ..features.manifest import Manifest, Pair, Video
from ..features.store import FeatureStore
from ..models.data import VideoFeatures
from ..models.embedding import FEWEST_FOR_TSNE
from ..models.explanations import Explained, explain_all
from ..models.head import Head
from ..models.loading import having, load
from ..models.reading import readings_of
from ..models.recipe import Recipe
from .dossier import Told
from .stories import story_of


@dataclass(frozen=True)
class Labelled:
    """The manifest of a run, if it can be read.

    Args:
        videos: in its order.
        pairs: better and worse video, by id, as listed; empty where pairs follow from scores.
        absent: why it cannot be read, one sentence; empty where it can.
        unpaired: why the list of pairs cannot be read, one sentence; empty where it can.
    """

    videos: tuple[Video, ...] = ()
    pairs: tuple[Pair, ...] = ()
    absent: str = ""
    unpaired: str = ""


def read_labels(manifest: Path, pairs: Path | None) -> Labelled:
    """The videos and pairs that a run was trained on, or why they cannot be had."""
    try:
        labels = Manifest.read(manifest, pairs)
        return Labelled(labels.videos, labels.pairs)
    except UserError as error:
        unpaired = (
            f"The list of pairs cannot be used: {_sentence(error)} If it has moved, make this page "
            "again with --pairs."
        )
    try:
        return Labelled(Manifest.read(manifest).videos, unpaired=unpaired)
    except UserError as error:
        return Labelled(
            absent=f"The manifest that the run was trained on cannot be used: {_sentence(error)} If it "
            "has moved, make this page again with --manifest."
        )


def load_known(
    recipe: Recipe, labelled: Labelled, manifest: Path, store: Path, ids: Collection[str]
) -> tuple[list[VideoFeatures], str]:
    """The features of a run's own videos that are there, or why none is.

    Args:
        recipe: of the run.
        labelled: videos of its manifest.
        manifest: that they are of, for messages.
        store: folder of their features.
        ids: of the videos of the run.

    Returns:
        Features, and one sentence on those that lack; empty where none does.
    """
    if labelled.absent:
        return [], labelled.absent
    found, reasons = [], list[str]()
    try:
        opened = FeatureStore.open(store)
        scoring, _ = recipe.used()
        there = having(opened, recipe).intersection(ids)
    except UserError as error:
        return [], (
            f"The features of the run cannot be used: {_sentence(error)} If the store has moved, make "
            "this page again with --store."
        )
    for video in labelled.videos:
        if video.id in there:
            try:  # what is wrong with one is not to cost the others
                found += load(opened, scoring, [video], manifest)
            except UserError as error:
                reasons.append(_sentence(error))
    if reasons:
        count = f"{len(reasons)} of {len(there)} videos"
        return found, f"The features of {count} cannot be used, first: {reasons[0]}"
    return (
        found,
        "" if found else f"{store} holds no {recipe.feature_text} features of these videos.",
    )


def tell(
    recipe: Recipe,
    head: Head,
    seed: int,
    videos: Sequence[VideoFeatures],
    labelled: Labelled,
    untold: str,
) -> Told:
    """What the head of one seed makes of videos.

    Args:
        recipe: of the run.
        head: of the seed.
        seed: of the head.
        videos: with their features.
        labelled: the run's own.
        untold: why nothing is told of others, one sentence.
    """
    tasks = {video.id: video.task for video in labelled.videos if video.task}
    untold = " ".join(filter(None, (untold, labelled.unpaired)))
    if not videos:
        return Told({}, None, {}, tasks, labelled.pairs, seed, untold)
    explained = explain_all(head, videos)
    readings = readings_of(recipe.head)
    stories = {id: story_of(one, readings) for id, one in explained.explanations.items()}
    return Told(stories, _plane(explained), explained.tables, tasks, labelled.pairs, seed, untold)


def _plane(explained: Explained) -> tuple[str, NDArray[np.float64]] | None:
    if explained.embedding is None:
        return None
    method = "PCA" if len(explained.embedding) < FEWEST_FOR_TSNE else "t-SNE"
    return method, explained.embedding


def _sentence(error: UserError) -> str:
    text = str(error)
    return text if text.endswith(".") else text + "."
