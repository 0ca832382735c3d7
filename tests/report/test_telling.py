"""Telling: what a head makes of the videos that are there, and why of none where they are not."""

from pathlib import Path

import numpy as np
import pytest

from aqakit import pipeline
from aqakit.features.manifest import Manifest, Pair, Video
from aqakit.features.segments import Sampling
from aqakit.features.source import Source
from aqakit.features.spec import FeatureSpec
from aqakit.features.store import FeatureStore
from aqakit.models.embedding import FEWEST_FOR_TSNE, project
from aqakit.models.run import read_head
from aqakit.report.dossier import Told
from aqakit.report.telling import Labelled, load_known, read_labels, tell

SPEC = FeatureSpec("i3d", "rgb", "pool", Sampling.parse("steps-5x1"), "made")
COUNT = 8


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("told")
    store, rng = FeatureStore.create(folder / "store"), np.random.default_rng(0)
    edges = np.arange(6.0)
    times = np.stack([edges[:-1], edges[:-1] + 0.5, edges[1:]], axis=1)
    for number in range(COUNT):
        values = rng.normal(number, 1, (5, 3)).astype(np.float32)
        source = Source(f"v{number}", 1, 1, f"{number:064}")
        with store.begin(SPEC, f"v{number}", source, values.shape, 1) as part:
            part.append(values)
            part.finish(times, times[:, :1], {})
    videos = tuple(
        Video(f"v{number}", task="sewing", score=float(number)) for number in range(COUNT + 1)
    )
    pairs = tuple(Pair(f"v{number + 1}", f"v{number}") for number in range(COUNT))
    parts = {video.id: "test" if place > 4 else "train" for place, video in enumerate(videos)}
    Manifest(videos, {"default": parts}, pairs).write(folder / "manifest")
    training = pipeline.Training(folder / "manifest", folder / "store", seeds=2)
    for head, settings in (
        ("rank-aware-attention", ("epochs=1", "hidden=2")),
        ("c3d-lstm", ("epochs=1",)),
    ):
        pipeline.train(training, [SPEC.key], head, folder / head, settings, together="off")
    return folder


def told_of(folder: Path, head: str, labelled: Labelled, store: Path, seed: int = 1) -> Told:
    recipe, trained = read_head(folder / head, seed)
    ids = [video.id for video in labelled.videos]
    manifest = folder / "manifest"
    videos, untold = load_known(recipe, labelled, manifest, store, ids)
    assert bool(videos) != bool(untold)
    return tell(recipe, trained, seed, videos, labelled, untold)


def test_each_video_that_has_features_is_told_of(folder: Path) -> None:
    labelled = read_labels(folder / "manifest", None)
    told = told_of(folder, "rank-aware-attention", labelled, folder / "store")
    assert list(told.stories) == [f"v{number}" for number in range(COUNT)]
    assert told.untold == ""
    assert told.seed == 1
    assert told.tasks == dict.fromkeys((f"v{number}" for number in range(COUNT + 1)), "sewing")
    assert list(told.pairs) == [(f"v{n + 1}", f"v{n}") for n in range(COUNT)]
    assert set(told.tables) == {"filter_correlation"}
    store = FeatureStore.open(folder / "store")
    assert told.stories["v3"].times.tolist() == store.read(SPEC.key, "v3").times.tolist()
    assert told.stories["v3"].readings["high_attention"].says == "good"


def test_embeddings_come_to_the_plane_by_the_method_named(folder: Path) -> None:
    labelled = read_labels(folder / "manifest", None)
    told = told_of(folder, "c3d-lstm", labelled, folder / "store")
    few = Labelled(labelled.videos[: FEWEST_FOR_TSNE - 1], ())
    fewer = told_of(folder, "c3d-lstm", few, folder / "store")
    assert told.plane is not None
    assert (told.plane[0], told.plane[1].shape) == ("t-SNE", (COUNT, 2))
    assert fewer.plane is not None
    assert fewer.plane[0] == "PCA"
    rows = np.random.default_rng(0).normal(size=(FEWEST_FOR_TSNE - 1, 4))
    assert project(rows, 0).tolist() == project(rows, 0, "pca").tolist()


def test_what_is_not_there_is_said_and_how_to_mend_it(folder: Path, tmp_path: Path) -> None:
    labelled = read_labels(folder / "manifest", None)
    told = told_of(folder, "rank-aware-attention", labelled, tmp_path / "store")
    assert not told.stories
    assert f"{tmp_path / 'store'}: no feature store here" in told.untold
    assert "make this page again with --store." in told.untold
    assert told.tasks
    gone = read_labels(tmp_path / "manifest.csv", None)
    assert f"{tmp_path / 'manifest.csv'}" in gone.absent
    assert "make this page again with --manifest." in gone.absent
    told = told_of(folder, "rank-aware-attention", gone, folder / "store")
    assert told.untold == gone.absent
    assert not told.stories


def test_only_videos_of_the_run_are_told_of(folder: Path) -> None:
    recipe, head = read_head(folder / "rank-aware-attention", 0)
    labelled = read_labels(folder / "manifest", None)
    place = folder / "manifest", folder / "store"
    videos, untold = load_known(recipe, labelled, *place, ["v2", "v5", "not there"])
    assert [video.id for video in videos] == ["v2", "v5"]
    assert list(tell(recipe, head, 0, videos, labelled, untold).stories) == ["v2", "v5"]


def test_a_store_without_these_videos_says_so(folder: Path) -> None:
    others = Labelled((Video("somebody else"),), ())
    told = told_of(folder, "rank-aware-attention", others, folder / "store")
    assert told.untold == f"{folder / 'store'} holds no {SPEC.key} features of these videos."
