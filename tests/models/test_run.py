"""Runs: trained, written whole, and read back only where they are what is asked for."""

import csv
import errno
import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from aqakit.features.errors import DiskFullError, RecipeError, StoreError
from aqakit.features.manifest import Manifest, Pair, Video
from aqakit.features.spec import FeatureKey
from aqakit.models import fold as fold_module
from aqakit.models import run as runs
from aqakit.models.data import Targets, VideoFeatures
from aqakit.models.deep import DeepHead
from aqakit.models.fold import Fold, make_fold
from aqakit.models.head import Fitting
from aqakit.models.inputs import Inputs, read_inputs
from aqakit.models.recipe import Recipe
from aqakit.models.run import (
    Manner,
    Run,
    check_free,
    read_heads,
    read_rows,
    state_of,
    train_run,
    training_of,
    write_run,
)
from aqakit.models.together import Work, train_seeds

VIDEOS = 8


def table(pairs: tuple[Pair, ...] = ()) -> Manifest:
    videos = tuple(Video(f"v{number}", score=float(number)) for number in range(VIDEOS))
    split = {video.id: "test" if number % 2 else "train" for number, video in enumerate(videos)}
    return Manifest(videos, {"default": split}, pairs)


def validated() -> Manifest:
    """Videos 2, 4 and 6 do not train; they validate."""
    manifest = table()
    split = {**manifest.splits["default"], "v2": "val", "v4": "val", "v6": "val"}
    more = (*manifest.videos, Video("v8", score=8.0), Video("v9", score=9.0))
    return Manifest(more, {"default": {**split, "v8": "train", "v9": "train"}})


def fold(manifest: Manifest | None = None) -> Fold:
    return make_fold(manifest or table(), "default", {f"v{number}" for number in range(10)})


def recipe(*settings: str, head: str = "ranksvm", seeds: int = 2) -> Recipe:
    feature = {"features": FeatureKey("i3d.rgb.pool")}
    return Recipe.make(head, feature, "default", range(seeds), settings)


def features() -> list[VideoFeatures]:
    rng = np.random.default_rng(0)
    return [
        VideoFeatures.of(f"v{number}", rng.normal(number, 1, (3, 2)), np.zeros((3, 3)))
        for number in range(10)
    ]


def trained(chosen: Recipe | None = None, labels: Fold | None = None) -> Run:
    labels = labels or fold()
    own = {video.id for video in labels.videos}
    videos = [video for video in features() if video.id in own]
    return train_run(chosen or recipe(), labels, videos, Manner(together="off"))


def test_targets_are_worked_out_once_and_shuffled_anew_for_each_seed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made: list[Targets] = []
    given: list[Targets] = []
    work_out, shuffle = Fold.training_targets, fold_module.shuffled

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


def works(
    chosen: Recipe, labels: Fold, monkeypatch: pytest.MonkeyPatch, manner: Manner
) -> list[Work]:
    """What is handed to training."""
    seen: list[Work] = []

    def watch(recipe: Recipe, handed: list[Work], *rest: Any) -> Any:
        seen.extend(handed)
        return train_seeds(recipe, handed, *rest)

    monkeypatch.setattr(runs, "train_seeds", watch)
    own = {video.id for video in labels.videos}
    train_run(chosen, labels, [video for video in features() if video.id in own], manner)
    return seen


def test_each_seed_is_trained_on_the_training_part_and_validated_on_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = replace(recipe(), fitting=Fitting(patience=3), start_from="runs/one")
    manner = Manner(tensorboard=tmp_path / "events", checkpoint_seconds=7)
    found = works(chosen, fold(validated()), monkeypatch, manner)
    assert [work.seed for work in found] == [0, 1]
    for work in found:
        assert [video.id for video in work.videos] == ["v0", "v8", "v9"]
        assert work.targets.scores is not None
        assert work.targets.scores.tolist() == [0, 8, 9]
        assert work.session.validation is not None
        videos, targets = work.session.validation
        assert [video.id for video in videos] == ["v2", "v4", "v6"]
        assert sorted(map(tuple, targets.pairs.tolist())) == [(1, 0), (2, 0), (2, 1)]
        assert work.session.fitting == Fitting(patience=3)
        assert work.session.start_from == Path(f"runs/one/seed-{work.seed}")
        assert work.session.checkpoint_seconds == 7
        assert work.tensorboard == tmp_path / "events" / f"seed-{work.seed}"


def test_without_validation_videos_there_is_no_validation(monkeypatch: pytest.MonkeyPatch) -> None:
    for work in works(recipe(), fold(), monkeypatch, Manner()):
        assert work.session.validation is None
        assert work.session.start_from is None
        assert work.tensorboard is None


def test_test_videos_change_nothing_that_is_learned() -> None:
    """Not even with patience: only videos of part val choose the epoch."""
    settings = ("epochs=12", "hidden=4", "learning_rate=0.05", "filters=1")
    chosen = recipe(*settings, head="rank-aware-attention", seeds=1)
    chosen, labels = replace(chosen, fitting=Fitting(patience=2)), fold(validated())
    videos = features()
    run = train_run(chosen, labels, videos, Manner())
    assert 2 < len(run.logs[0]) < 12
    rng = np.random.default_rng(9)
    tests = set(labels.test.tolist())
    other = [
        VideoFeatures.of(video.id, rng.normal(-5, 9, (3, 2)), video.times) if n in tests else video
        for n, video in enumerate(videos)
    ]
    again = train_run(chosen, labels, other, Manner())
    assert again.logs == run.logs
    assert not np.allclose(again.scores[:, labels.test], run.scores[:, labels.test])
    kept = [place for place in range(10) if place not in tests]
    np.testing.assert_array_equal(again.scores[:, kept], run.scores[:, kept])
    # And validation videos do choose.
    others = set(labels.validation.tolist())
    chosen_by = [
        VideoFeatures.of(video.id, -video.values, video.times) if n in others else video
        for n, video in enumerate(videos)
    ]
    assert train_run(chosen, labels, chosen_by, Manner()).logs != run.logs


def test_validation_accuracy_is_in_the_log_and_validation_videos_in_the_predictions(
    tmp_path: Path,
) -> None:
    chosen = recipe("epochs=3", "hidden=2", head="rank-aware-attention", seeds=1)
    run = trained(chosen, fold(validated()))
    write_run(run, tmp_path / "run")
    with (tmp_path / "run" / "training_log.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [float(row["validation_accuracy"]) for row in rows] == [
        losses["validation_accuracy"] for losses in run.logs[0]
    ]
    with (tmp_path / "run" / "predictions.csv").open() as file:
        parts = {row["id"]: row["part"] for row in csv.DictReader(file)}
    assert [id for id, part in parts.items() if part == "val"] == ["v2", "v4", "v6"]
    assert {part for id, part in parts.items()} == {"train", "val", "test"}


def test_videos_must_be_those_of_the_fold() -> None:
    for videos in (features(), features()[7::-1]):
        with pytest.raises(ValueError, match="videos must be those of the fold, in its order"):
            train_run(recipe(), fold(), videos, Manner())


@pytest.mark.parametrize("head", ["rank-aware-attention", "ranksvm"])
def test_heads_of_a_folder_score_as_they_did(tmp_path: Path, head: str) -> None:
    settings = ("epochs=2", "hidden=2") if head != "ranksvm" else ()
    run = trained(recipe(*settings, head=head))
    write_run(run, tmp_path / "run")
    chosen, heads = read_heads(tmp_path / "run")
    assert chosen == run.recipe
    for found, scores in zip(heads, run.scores, strict=True):
        np.testing.assert_array_equal(found.score(features()[:VIDEOS]), scores)
    with pytest.raises(RecipeError, match="none is no run; name a folder"):
        read_heads(tmp_path / "none")


def test_only_the_very_training_goes_on_where_it_stopped(tmp_path: Path) -> None:
    out = tmp_path / "run"

    def kept(chosen: Recipe, labels: Fold) -> bool:
        """Whether it finds what the call before, which broke off, left."""
        with pytest.raises(KeyboardInterrupt), training_of(out, chosen, labels) as folder:
            found = (folder / "seed-0").exists()
            (folder / "seed-0").touch()
            raise KeyboardInterrupt
        return found

    assert not kept(recipe(), fold())
    assert kept(recipe(), fold())
    for chosen, labels in ((recipe("C=2"), fold()), (recipe(), fold(validated()))):
        assert not kept(chosen, labels)
        assert not kept(recipe(), fold())


def test_scores_that_are_not_finite_are_told_with_the_cure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(DeepHead, "score", lambda self, videos: np.full(len(videos), np.nan))
    chosen = recipe("epochs=1", "hidden=2", head="rank-aware-attention", seeds=1)
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
    assert state_of(tmp_path / "run", recipe(), fold()) == "finished"
    assert repr(read_rows(tmp_path / "run")) == repr(list(run.rows))
    others = [
        (recipe("C=2"), fold()),
        (replace(recipe(), fitting=Fitting(patience=3)), fold()),
        (replace(recipe(), start_from="runs/one"), fold()),
        (recipe(), fold(validated())),
        (recipe(seeds=1), fold()),
        (recipe(), fold(table((Pair("v2", "v0"), Pair("v3", "v1"))))),
    ]
    for chosen, labels in others:
        assert state_of(tmp_path / "run", chosen, labels) == "other"
    assert state_of(tmp_path / "none", recipe(), fold()) == "absent"
    (tmp_path / "empty").mkdir()
    assert state_of(tmp_path / "empty", recipe(), fold()) == "other"
    for name in ("predictions.csv", "test_pairs.csv", "metrics.json", "recipe.json"):
        whole = (tmp_path / "run" / name).read_text()
        (tmp_path / "run" / name).write_text(whole[: len(whole) // 2])
        assert state_of(tmp_path / "run", recipe(), fold()) == "damaged", name
        (tmp_path / "run" / name).write_text(whole)
    assert state_of(tmp_path / "run", recipe(), fold()) == "finished"
    (tmp_path / "run" / "metrics.json").write_text("[]")
    assert state_of(tmp_path / "run", recipe(), fold()) == "damaged"


def test_a_run_says_what_it_was_trained_from_and_stays_itself_with_more_in_its_folder(
    tmp_path: Path,
) -> None:
    (tmp_path / "manifest.csv").write_text("id\n")
    inputs = Inputs(tmp_path / "manifest.csv", None, tmp_path / "store", {}, {"4x3": 2}, (1.0, 2.5))
    run = tmp_path / "runs" / "one"
    write_run(trained(), run, inputs=inputs)
    assert read_inputs(run) == inputs
    places = json.loads((run / "inputs.json").read_text())
    assert places["manifest"]["relative"] == "../../manifest.csv"
    (run / "scored-features").mkdir()
    (run / "scored-features" / "store.json").write_text("{}")
    assert state_of(run, recipe(), fold()) == "finished"
    write_run(trained(), run, overwrite=True)
    assert not (run / "scored-features").exists()
    with pytest.raises(RecipeError, match="does not say what it was trained from"):
        read_inputs(run)


def test_an_option_that_is_newer_than_a_run_has_its_default(tmp_path: Path) -> None:
    write_run(trained(), tmp_path / "run")
    path = tmp_path / "run" / "recipe.json"
    kept = json.loads(path.read_text())
    del kept["options"]["kernel"]
    path.write_text(json.dumps(kept))
    assert state_of(tmp_path / "run", recipe(), fold()) == "finished"


def test_patience_without_validation_pairs_is_refused() -> None:
    chosen = recipe("epochs=1", "hidden=2", head="rank-aware-attention", seeds=1)
    with pytest.raises(
        RecipeError, match="patience needs pairs of two validation videos, and split"
    ):
        trained(replace(chosen, fitting=Fitting(patience=3)))


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
