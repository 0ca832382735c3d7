"""Batches: killed ones go on, failing runs stop nothing, and who computes does not matter."""

import fcntl
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from joblib.externals.loky.process_executor import TerminatedWorkerError
from threadpoolctl import threadpool_info

from aqakit.features.errors import RecipeError
from aqakit.features.manifest import Manifest, Video
from aqakit.features.segments import Sampling
from aqakit.features.source import Source
from aqakit.features.spec import FeatureSpec
from aqakit.features.store import FeatureStore
from aqakit.models.batch import BATCH, Ended, Workers, run_batch
from aqakit.models.inputs import read_inputs
from aqakit.models.matrix import Matrix, MatrixRow, read_matrix
from aqakit.models.plan import plan_batch
from aqakit.models.protocol import Protocol
from aqakit.models.run import train_run
from aqakit.models.table import read_table

SPEC = FeatureSpec("pose", "track", "all", Sampling.parse("steps-4x2"), "raw")
SUBJECTS, TRIALS, TASKS = 5, 4, ("bend", "lift")
QUICK = {"epochs": 3, "hidden": 4, "learning_rate": 0.01, "batch_pairs": 16}
MATRIX = """
manifest = "manifest"
store = "store"
seeds = 2
tasks = "each"

[protocol]
kind = "leave-one-user-out"

[[rows]]
head = "rank-aware-attention"
features = ["pose"]
options = { epochs = 20, hidden = 8, learning_rate = 0.01, batch_pairs = 16 }

[[rows]]
head = "temporal-attention"
features = ["pose"]
options = { epochs = 20 }

[[rows]]
head = "ranksvm"
features = ["pose"]
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store, a manifest and a matrix of 50 runs: 2 tasks x 5 subjects x (2 + 2 + 1) trainings."""
    folder = tmp_path_factory.mktemp("batch")
    rng = np.random.default_rng(0)
    store, videos = FeatureStore.create(folder / "store"), []
    for task in TASKS:
        for subject in range(SUBJECTS):
            for trial in range(TRIALS):
                name = f"{task}-{subject}-{trial}"
                videos.append(
                    Video(name, task=task, subject=f"s{subject}", score=trial, trial=f"{trial}")
                )
                values = rng.normal(trial, 1, (4, 3)).astype(np.float32)
                edges = np.linspace(0, 2, 5)
                times = np.stack([edges[:-1], (edges[:-1] + edges[1:]) / 2, edges[1:]], axis=1)
                digest = f"{len(videos):064}"
                with store.begin(SPEC, name, Source(name, 1, 1, digest), values.shape, 2) as part:
                    part.append(values)
                    part.finish(times, np.repeat(times[:, :1], 2, axis=1), {})
    Manifest(tuple(videos)).write(folder / "manifest")
    (folder / "matrix.toml").write_text(MATRIX)
    return folder


ATTENTION = MatrixRow(("pose",), "rank-aware-attention", options=QUICK)


def matrix(folder: Path, *rows: MatrixRow, seeds: int = 2) -> Matrix:
    return Matrix(
        folder / "manifest",
        folder / "store",
        rows or (MatrixRow(("pose",), "ranksvm"), ATTENTION),
        Protocol("leave-one-user-out"),
        seeds=seeds,
        tasks="each",
    )


def bits(out: Path) -> dict[str, bytes]:
    names = ("predictions.csv", "test_pairs.csv", "metrics.json", "head.safetensors")
    found = [path for path in out.rglob("*") if path.name in names]
    return {str(path.relative_to(out)): path.read_bytes() for path in sorted(found)}


def test_every_row_is_trained_on_every_fold_with_every_seed_in_folders_of_their_own(
    folder: Path, tmp_path: Path
) -> None:
    plan = plan_batch(matrix(folder))
    ended = run_batch(plan, tmp_path, Workers(jobs=1))
    assert {one.state for one in ended} == {"trained"}
    # Nothing in RankSVM is random, so it is trained once.
    assert len(ended) == 2 * 5 * (1 + 2)
    for one in ended:
        assert (tmp_path / one.place / "recipe.json").exists()
    attention, svm = (f"{head}-{SPEC.key}" for head in ("rank-aware-attention", "ranksvm"))
    place = "bend/leave-one-user-out-s3"
    assert (tmp_path / attention / place / "seed-1" / "seed-1" / "head.safetensors").exists()
    assert not (tmp_path / svm / place / "seed-1").exists()
    inputs = read_inputs(tmp_path / attention / place / "seed-1")
    assert (inputs.manifest, inputs.store) == (folder / "manifest", folder / "store")
    assert (inputs.specs, inputs.seconds) == ({SPEC.key: SPEC}, (2.0, 2.0))
    known = json.loads((tmp_path / BATCH).read_text())
    assert known["protocol"] == {"kind": "leave-one-user-out"}
    assert [len(row["runs"]) for row in known["rows"]] == [10, 20]
    again = run_batch(plan, tmp_path, Workers(jobs=1))
    assert {one.state for one in again} == {"kept"}
    assert {one.state for one in run_batch(plan, tmp_path, Workers(1, overwrite=True))} == {
        "trained"
    }


def test_results_do_not_depend_on_the_number_of_workers(folder: Path, tmp_path: Path) -> None:
    plan = plan_batch(matrix(folder))
    for jobs in (1, 3):
        run_batch(plan, tmp_path / str(jobs), Workers(jobs))
    alone, several = bits(tmp_path / "1"), bits(tmp_path / "3")
    assert len(alone) == 30 * 3 + 20
    assert alone == several


def test_a_run_computes_on_one_thread_and_gives_the_others_back(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: set[int] = set()

    def watch(*given: object) -> object:
        seen.update({torch.get_num_threads(), *(p["num_threads"] for p in threadpool_info())})
        return train_run(*given)  # type: ignore[arg-type]

    monkeypatch.setattr("aqakit.models.batch.train_run", watch)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    run_batch(plan_batch(matrix(folder, MatrixRow(("pose",), "ranksvm"))), tmp_path, Workers(1))
    assert seen == {1}
    assert torch.get_num_threads() == 2
    torch.set_num_threads(before)


def test_a_failing_run_does_not_stop_the_rest_and_is_counted_in_the_table(
    folder: Path, tmp_path: Path
) -> None:
    scores = Manifest.read(folder / "manifest").videos
    unknown = tuple(replace(v, score=None) if v.subject == "s2" else v for v in scores)
    Manifest(unknown).write(tmp_path / "manifest")
    rows = (MatrixRow(("pose",), "ranksvm"), MatrixRow(("pose",), "svr"))
    lacking = replace(matrix(folder, *rows), manifest=tmp_path / "manifest")
    ended = run_batch(plan_batch(lacking), tmp_path / "runs", Workers(jobs=2))
    failed = [one for one in ended if one.state == "failed"]
    assert len(failed) == 4
    assert all("leave-one-user-out-s2" in one.place for one in failed)
    assert all("no pair of two test videos" in one.reason for one in failed)
    lines = read_table([tmp_path / "runs"]).lines
    assert [line.absent for line in lines[:2]] == [2, 2]
    assert lines[0].row.folds == 8


def test_a_mistake_in_the_program_is_one_failed_run(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:

    def broken(recipe: object, fold: object, *rest: object) -> object:
        if "lift" in str(recipe):
            raise ZeroDivisionError("by nothing")
        return train_run(recipe, fold, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr("aqakit.models.batch.train_run", broken)
    plan = plan_batch(matrix(folder, MatrixRow(("pose",), "ranksvm")))
    ended = run_batch(plan, tmp_path, Workers(jobs=1))
    reasons = [one.reason for one in ended if one.state == "failed"]
    assert len(reasons) == 5
    assert reasons[0].startswith("ZeroDivisionError in test_batch.py:")
    assert not list(tmp_path.rglob(".seed-0.training"))


def test_a_run_whose_process_is_killed_is_tried_twice_and_then_given_up(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = plan_batch(matrix(folder, MatrixRow(("pose",), "ranksvm")))
    victim = plan.all_jobs[3].place
    deaths: list[str] = []

    def parallel(jobs: object, store: Path, out: Path, workers: Workers) -> object:
        for job in jobs:  # type: ignore[attr-defined]
            if job.place == victim:
                (out / job.place).with_name(".seed-0.training").mkdir(parents=True, exist_ok=True)
                deaths.append(job.place)
                raise TerminatedWorkerError
            yield Ended(job.place, "trained")

    monkeypatch.setattr("aqakit.models.batch._parallel", parallel)
    ended = run_batch(plan, tmp_path, Workers())
    assert deaths == [victim, victim]
    assert [one.place for one in ended if one.state == "failed"] == [victim]
    assert "killed twice" in next(one.reason for one in ended if one.reason)


def command(folder: Path, out: Path) -> list[str]:
    words = ["baselines", "--matrix", str(folder / "matrix.toml"), "--jobs", "2", "--out", str(out)]
    return [sys.executable, "-m", "aqakit", *words]


def finished(out: Path) -> dict[str, int]:
    """By run folder, when it was written."""
    return {
        str(path.parent.relative_to(out)): path.stat().st_mtime_ns
        for path in out.rglob("recipe.json")
        if not any(part.startswith(".") for part in path.relative_to(out).parts)
    }


def held(out: Path) -> bool:
    """Whether a process trains one of the runs."""
    for folder in out.rglob(".seed-*.training"):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(descriptor)
    return False


def test_a_killed_batch_goes_on_without_repeating_a_finished_run(
    folder: Path, tmp_path: Path
) -> None:
    out = tmp_path / "runs"
    process = subprocess.Popen(command(folder, out), stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while len(finished(out)) < 8 and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    # The command alone: its workers must end by themselves.
    process.kill()
    process.wait()
    time.sleep(3)  # several times as long as they take to notice
    assert not held(out)
    before = finished(out)
    assert 8 <= len(before) < 50
    second = subprocess.run(
        command(folder, out), capture_output=True, text=True, timeout=240, check=True
    )
    after = finished(out)
    assert len(after) == 50
    assert {place: after[place] for place in before} == before
    counts = f"{50 - len(before)} runs trained, {len(before)} there already, 0 failed"
    assert counts in second.stdout
    assert not list(out.rglob(".*"))
    undisturbed = plan_batch(read_matrix(folder / "matrix.toml"))
    run_batch(undisturbed, tmp_path / "whole", Workers(jobs=1))
    assert bits(tmp_path / "whole") == bits(out)


def test_a_ray_cluster_gives_the_same_bits(folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("ray")
    (tmp_path / "few.toml").write_text(
        f"manifest = '{folder / 'manifest'}'\nstore = '{folder / 'store'}'\n"
        "[protocol]\nkind = 'leave-one-user-out'\n"
        "[[rows]]\nhead = 'ranksvm'\nfeatures = ['pose']\n"
    )
    words = ["baselines", "--matrix", str(tmp_path / "few.toml"), "--out", str(tmp_path / "ray")]
    # Not below pytest's own folder, because the paths of Ray's sockets must be short.
    with tempfile.TemporaryDirectory(dir="/tmp", ignore_cleanup_errors=True) as short:
        (Path(short) / "ray").mkdir()
        more = {"RAY_TMPDIR": short, "RAY_USAGE_STATS_ENABLED": "0", "OMP_NUM_THREADS": "1"}
        done = subprocess.run(
            [sys.executable, "-m", "aqakit", *words, "--ray", "local", "--jobs", "2"],
            capture_output=True,
            text=True,
            timeout=240,
            env={**os.environ, **more},
            check=False,
        )
    assert done.returncode == 0, done.stderr
    assert "5 runs trained, 0 there already, 0 failed" in done.stdout
    run_batch(plan_batch(read_matrix(tmp_path / "few.toml")), tmp_path / "here", Workers(jobs=1))
    assert bits(tmp_path / "ray") == bits(tmp_path / "here")


def test_labels_shuffled_are_drawn_anew_for_each_seed(folder: Path, tmp_path: Path) -> None:
    row = MatrixRow(("pose",), "ranksvm", shuffled=True)
    run_batch(plan_batch(matrix(folder, row, seeds=3)), tmp_path, Workers(jobs=1))
    (line, *_) = read_table([tmp_path]).lines
    assert line.row.seeds == 3
    assert line.row.accuracy_sd > 0


def test_a_damaged_run_is_trained_again_and_one_of_other_labels_is_kept_out_of_the_table(
    folder: Path, tmp_path: Path
) -> None:
    out = tmp_path / "runs"
    plan = plan_batch(matrix(folder, MatrixRow(("pose",), "ranksvm")))
    first = run_batch(plan, out, Workers(jobs=1))
    before = bits(out)
    (out / first[4].place / "predictions.csv").write_text("id,part")
    states = [one.state for one in run_batch(plan, out, Workers(jobs=1))]
    assert states == ["kept"] * 4 + ["trained"] + ["kept"] * 5
    assert bits(out) == before
    videos = Manifest.read(folder / "manifest").videos
    changed = (replace(videos[0], score=9.0), *videos[1:])
    Manifest(changed).write(tmp_path / "manifest")
    other = replace(plan.matrix, manifest=tmp_path / "manifest")
    ended = run_batch(plan_batch(other), out, Workers(jobs=1))
    failed = [one for one in ended if one.state == "failed"]
    assert len(failed) == 5
    assert failed[0].reason.startswith("the folder holds a run of other labels, settings or splits")
    (line, *_) = read_table([out]).lines
    assert (line.row.folds, line.absent) == (5, 5)


def test_processes_that_die_while_loading_do_not_go_on_forever(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def parallel(*given: object) -> Iterator[Ended]:
        raise TerminatedWorkerError("no memory")
        yield

    monkeypatch.setattr("aqakit.models.batch._parallel", parallel)
    plan = plan_batch(matrix(folder, MatrixRow(("pose",), "ranksvm")))
    with pytest.raises(RecipeError, match="processes are killed before they can train"):
        run_batch(plan, tmp_path, Workers())
