"""Features of a fold's videos: which ones are needed of whom, and that they are the right ones."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from aqakit.features.errors import ManifestError, RecipeError
from aqakit.features.manifest import Manifest, Video
from aqakit.features.segments import Sampling
from aqakit.features.source import Source
from aqakit.features.spec import FeatureSpec
from aqakit.features.store import FeatureStore
from aqakit.models.fold import Fold, make_fold
from aqakit.models.loading import having, load, load_fold
from aqakit.models.recipe import Recipe

PLAIN = FeatureSpec("c3d", "rgb", "fc6", Sampling.parse("clips-16"), "caffe")
BRIGHT = FeatureSpec(
    "c3d", "rgb", "fc6", Sampling.parse("clips-16"), "caffe", variant="brightness-130"
)
MAPS = FeatureSpec("i3d", "rgb", "pool", Sampling.parse("segments-2-last-plus2"), "inception")
# Two of each part, in no order.
PARTS = ["test", "train", "val", "train", "test", "val"]
MANIFEST = Path("manifest.csv")
ROWS = 6


def values(spec: FeatureSpec, number: int) -> NDArray[np.float32]:
    rng = np.random.default_rng([number, len(spec.key)])
    return rng.normal(size=(ROWS, 3)).astype(np.float32)


def fill(
    store: FeatureStore, spec: FeatureSpec, numbers: Iterable[int], facts: dict[str, Any]
) -> None:
    for number in numbers:
        source = Source(f"v{number}.mp4", 5, 1, f"{number:064}", 1.0, 2.0)
        times = np.arange(3.0 * ROWS).reshape(ROWS, 3) + number
        with store.begin(spec, f"v{number}", source, (ROWS, 3), 1) as part:
            part.append(values(spec, number))
            part.finish(times, times[:, :1], facts)


@pytest.fixture
def store(tmp_path: Path) -> FeatureStore:
    return FeatureStore.create(tmp_path / "store")


def fold(available: Iterable[str] | None = None) -> Fold:
    videos = tuple(
        Video(f"v{n}", None, 1.0, 2.0, task="dive", score=float(n), action_type=f"type {n % 2}")
        for n in range(len(PARTS))
    )
    split = {video.id: part for video, part in zip(videos, PARTS, strict=True)}
    there = {video.id for video in videos} if available is None else {*available}
    return make_fold(Manifest(videos, {"default": split}), "default", there)


def siamese(variant: bool = True) -> Recipe:
    features = {"features": PLAIN.key} | ({"variant-1": BRIGHT.key} if variant else {})
    return Recipe.make("siamese-lstm", features, "default", (0,))


def test_videos_count_that_have_all_that_scoring_takes(store: FeatureStore) -> None:
    fill(store, PLAIN, (0, 1, 2, 4), {})
    fill(store, MAPS, (1, 2, 3), {})
    fill(store, BRIGHT, (3,), {})
    assert having(store, siamese()) == {"v0", "v1", "v2", "v4"}
    both = Recipe.make("deep-ranking", {"rgb": PLAIN.key, "flow": MAPS.key}, "default", (0,))
    assert having(store, both) == {"v1", "v2"}
    # A variant of the head that looks at the scene alone needs no more.
    features = {"primary": BRIGHT.key, "secondary": BRIGHT.key, "scene": MAPS.key}
    alone = Recipe.make("aim", features, "default", (0,), ["variant=scene-only"])
    assert having(store, alone) == {"v1", "v2", "v3"}
    assert having(store, Recipe.make("aim", features, "default", (0,))) == {"v3"}


def test_a_head_that_lacks_a_feature_says_which(store: FeatureStore) -> None:
    with pytest.raises(RecipeError, match=r"aim with these options needs primary \("):
        having(store, Recipe.make("aim", {"scene": MAPS.key}, "default", (0,)))


def test_features_come_in_the_order_of_the_fold_with_all_that_is_known(store: FeatureStore) -> None:
    fill(store, PLAIN, range(6), {})
    own = fold()
    found = load_fold(store, siamese(variant=False), own, MANIFEST)
    assert [video.id for video in found] == [video.id for video in own.videos]
    for number, video in enumerate(found):
        assert (video.task, video.action_type) == ("dive", f"type {number % 2}")
        assert list(video.streams) == ["features"]
        stream = video.streams["features"]
        np.testing.assert_array_equal(stream.values, values(PLAIN, number))
        assert stream.times[0].tolist() == [number, number + 1, number + 2]
        assert stream.alternatives == 1


def test_rows_among_which_training_draws_are_told(store: FeatureStore) -> None:
    fill(store, MAPS, range(6), {})
    found = load(store, {"rgb": MAPS.key}, fold().videos, MANIFEST)
    assert {video.streams["rgb"].alternatives for video in found} == {3}
    assert {video.streams["rgb"].steps for video in found} == {2}


def test_altered_videos_are_loaded_of_training_videos_alone(store: FeatureStore) -> None:
    fill(store, PLAIN, range(6), {})
    fill(store, BRIGHT, (1, 3, 4), {})
    found = load_fold(store, siamese(), fold(), MANIFEST)
    for number, (video, part) in enumerate(zip(found, PARTS, strict=True)):
        expected = ["features", "variant-1"] if part == "train" else ["features"]
        assert list(video.streams) == expected
        np.testing.assert_array_equal(video.streams["features"].values, values(PLAIN, number))
        if part == "train":
            np.testing.assert_array_equal(video.streams["variant-1"].values, values(BRIGHT, number))


def test_an_altered_training_video_that_is_not_there_is_named(store: FeatureStore) -> None:
    fill(store, PLAIN, range(6), {})
    fill(store, BRIGHT, (0, 1, 2, 4, 5), {})
    with pytest.raises(ManifestError) as caught:
        load_fold(store, siamese(), fold(), MANIFEST)
    assert str(caught.value) == (
        f"no {BRIGHT.key} features of 1 of 2 training videos, first 'v3'; run 'aqakit extract' "
        "first, or leave them out"
    )


def test_features_of_another_stretch_are_refused(store: FeatureStore) -> None:
    fill(store, PLAIN, range(6), {"stream": {}})
    videos = fold().videos
    assert len(load(store, {"features": PLAIN.key}, videos, MANIFEST)) == 6
    moved = [*videos[:4], Video("v4", None, 1.0, 2.5), Video("v5", None, 0.0, 2.0)]
    with pytest.raises(ManifestError) as caught:
        load(store, {"features": PLAIN.key}, moved, MANIFEST)
    message = str(caught.value)
    assert message.startswith(
        f"manifest.csv: the stored {PLAIN.key} features of 2 of 6 videos, first 'v4', are of another"
    )
    assert "\n" not in message
