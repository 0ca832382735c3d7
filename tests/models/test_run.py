"""Runs: trained, written whole, and read back only where they are what is asked for."""

import csv
import errno
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from aqakit.features.errors import DiskFullError, RecipeError, StoreError
from aqakit.features.manifest import Manifest, Pair, Video
from aqakit.models import protocol
from aqakit.models import run as runs
from aqakit.models.data import Targets, VideoFeatures
from aqakit.models.heads.rank_aware_attention import RankAwareAttentionHead
from aqakit.models.protocol import Fold, make_fold
from aqakit.models.recipe import Recipe
from aqakit.models.run import Run, check_free, finished_rows, read_rows, train_run, write_run

VIDEOS = 8


def table(pairs: tuple[Pair, ...] = ()) -> Manifest:
    videos = tuple(Video(f"v{number}", score=float(number)) for number in range(VIDEOS))
    split = {video.id: "test" if number % 2 else "train" for number, video in enumerate(videos)}
    return Manifest(videos, {"default": split}, pairs)


def fold(manifest: Manifest | None = None) -> Fold:
    return make_fold(manifest or table(), "default", {f"v{number}" for number in range(VIDEOS)})


def recipe(*settings: str, head: str = "ranksvm", seeds: int = 2) -> Recipe:
    return Recipe.make(head, "i3d.rgb.pool", "default", range(seeds), settings)


def features() -> list[VideoFeatures]:
    rng = np.random.default_rng(0)
    return [
        VideoFeatures(f"v{number}", rng.normal(number, 1, (3, 2)), np.zeros((3, 3)))
        for number in range(VIDEOS)
    ]


def trained(chosen: Recipe | None = None, labels: Fold | None = None) -> Run:
    labels = labels or fold()
    return train_run(chosen or recipe(), labels, features()[: len(labels.videos)])


def test_targets_are_worked_out_once_and_shuffled_anew_for_each_seed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made: list[Targets] = []
    given: list[Targets] = []
    work_out, shuffle = Fold.training_targets, protocol.shuffled

    def count(labels: Fold) -> Targets:
        made.append(work_out(labels))
        return made[-1]

    def watch(targets: Targets, rng: np.random.Generator) -> Targets:
        given.append(targets)
        return shuffle(targets, rng)

    monkeypatch.setattr(Fold, "training_targets", count)
    monkeypatch.setattr(runs, "shuffled", watch)
    trained(replace(recipe(seeds=3), shuffled=True))
    assert len(made) == 1
    assert [targets is made[0] for targets in given] == [True] * 3


def test_scores_that_are_not_finite_are_told_with_the_cure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        RankAwareAttentionHead, "score", lambda self, videos: np.full(len(videos), np.nan)
    )
    chosen = recipe("epochs=1", "hidden=2", head="rank-aware-attention")
    with pytest.raises(RecipeError, match=r"diverged with seed 0.*not finite; lower learning_rate"):
        trained(chosen)


def test_a_video_that_trains_and_tests_is_said_to_do_both(tmp_path: Path) -> None:
    pairs = (Pair("v1", "v0"), Pair("v2", "v1"), Pair("v3", "v2"))
    manifest = Manifest(table().videos, {}, pairs, {"default": ("train", "test", "test")})
    write_run(trained(labels=fold(manifest)), tmp_path / "run")
    with (tmp_path / "run" / "predictions.csv").open() as file:
        parts = {row["id"]: row["part"] for row in csv.DictReader(file)}
    assert parts == {"v0": "train", "v1": "train+test", "v2": "test", "v3": "test"}


def test_only_the_very_run_is_taken_for_finished(tmp_path: Path) -> None:
    run = trained()
    write_run(run, tmp_path / "run")
    assert repr(finished_rows(tmp_path / "run", recipe(), fold())) == repr(list(run.rows))
    assert repr(read_rows(tmp_path / "run")) == repr(list(run.rows))
    others = [
        (recipe("C=2"), fold()),
        (recipe(seeds=1), fold()),
        (recipe(), fold(table((Pair("v2", "v0"), Pair("v3", "v1"))))),
    ]
    for chosen, labels in others:
        assert finished_rows(tmp_path / "run", chosen, labels) is None
    assert finished_rows(tmp_path / "none", recipe(), fold()) is None
    (tmp_path / "run" / "metrics.json").write_text("[]")
    assert finished_rows(tmp_path / "run", recipe(), fold()) is None


def test_a_killed_writer_is_mended_before_the_next_training(tmp_path: Path) -> None:
    write_run(trained(), tmp_path / "run")
    aside = tmp_path / ".run.0123456789ab.run"
    aside.mkdir()
    (tmp_path / "run").rename(aside / "old")
    with pytest.raises(RecipeError, match="is there already; name another folder, or give --over"):
        check_free(tmp_path / "run", overwrite=False)
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
    assert len(read_rows(tmp_path / "run")) > 1


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_folder_that_cannot_be_made_is_told_before_training(
    tmp_path: Path, overwrite: bool
) -> None:
    (tmp_path / "file").touch()
    for out in ("file/run", "file/deep/run"):
        with pytest.raises(StoreError, match=r"file/.*run: cannot be written \(Not a directory\)"):
            check_free(tmp_path / out, overwrite)
    with pytest.raises(StoreError, match="cannot be written"):
        check_free(Path("/proc/run"), overwrite)
    check_free(tmp_path / "new" / "run", overwrite)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_full_disk_keeps_the_old_run_and_says_that_the_new_one_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_run(trained(), tmp_path / "run")
    before = (tmp_path / "run" / "metrics.json").read_bytes()

    def full(run: Run, path: Path) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    monkeypatch.setattr(runs, "_write_log", full)
    with pytest.raises(DiskFullError, match="free some and train again, this run is not kept"):
        write_run(trained(recipe("C=2")), tmp_path / "run", overwrite=True)
    assert (tmp_path / "run" / "metrics.json").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
