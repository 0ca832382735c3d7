"""From the store to what heads learn from: the features of a fold's videos."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from ..features.errors import ManifestError
from ..features.manifest import Video
from ..features.origin import comes_from
from ..features.spec import FeatureKey
from ..features.store import FeatureStore
from .data import Stream, VideoFeatures
from .fold import Fold
from .recipe import Recipe


def having(store: FeatureStore, recipe: Recipe) -> set[str]:
    """Ids of the videos that have all features that scoring them takes."""
    scoring, _ = recipe.used()
    return set.intersection(*(set(store.videos(key)) for key in scoring.values()))


def load_fold(
    store: FeatureStore, recipe: Recipe, fold: Fold, manifest: Path
) -> list[VideoFeatures]:
    """The features of a fold's videos; those that only training needs, of its training part.

    Raises:
        ManifestError: a training video lacks one, or as :func:`load` does.
        StoreError: some cannot be read.
    """
    scoring, training = recipe.used()
    videos = load(store, scoring, fold.videos, manifest)
    if not training:
        return videos
    trained = [fold.videos[place] for place in fold.train]
    for key in training.values():
        there = set(store.videos(key))
        lacking = [video.id for video in trained if video.id not in there]
        if lacking:
            raise ManifestError(
                f"no {key} features of {len(lacking)} of {len(trained)} training videos, first "
                f"'{lacking[0]}'; run 'aqakit extract' first, or leave them out"
            )
    more = load(store, training, trained, manifest)
    for place, altered in zip(fold.train, more, strict=True):
        streams = {**videos[place].streams, **altered.streams}
        videos[place] = replace(videos[place], streams=streams)
    return videos


def load(
    store: FeatureStore,
    features: Mapping[str, FeatureKey],
    videos: Sequence[Video],
    manifest: Path,
) -> list[VideoFeatures]:
    """The features of some videos of a manifest.

    Raises:
        ManifestError: they are of other stretches or files than the manifest names.
        StoreError: some cannot be read.
    """
    streams: dict[str, dict[str, Stream]] = {video.id: {} for video in videos}
    for role, key in features.items():
        found = [(video, store.read(key, video.id)) for video in videos]
        others = [video.id for video, stored in found if not comes_from(stored.provenance, video)]
        if others:
            raise ManifestError(
                f"{manifest}: the stored {key} features of {len(others)} of {len(found)} videos, "
                f"first '{others[0]}', are of another stretch or file than it names; run 'aqakit "
                "extract' with it (and with --overwrite where a file was only renamed)"
            )
        alternatives = 1 + store.spec(key).sampling.candidates
        for video, stored in found:
            streams[video.id][role] = Stream(stored.values, stored.times, alternatives)
    return [
        VideoFeatures(video.id, streams[video.id], video.task, video.action_type)
        for video in videos
    ]
