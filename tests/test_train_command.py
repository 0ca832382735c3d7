"""``aqakit train`` and ``aqakit baselines`` on a store of made-up features with planted skill."""

import contextlib
import csv
import errno
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result

from aqakit import pipeline
from aqakit.cli import main
from aqakit.features.segments import Sampling
from aqakit.features.source import Source
from aqakit.features.spec import FeatureSpec
from aqakit.features.store import FeatureStore
from aqakit.models import run as runs
from aqakit.models.checkpoint import read as read_checkpoint
from aqakit.models.data import VideoFeatures
from aqakit.models.head import Fitting
from aqakit.models.run import read_heads, read_rows
from aqakit.models.training import VALIDATION

STEPS, CHANNELS, VIDEOS = 12, 6, 24
SPEC = FeatureSpec("flow-hist", "flow", "hist", Sampling("stacks", 3, 12, 10.0), "short-64")
QUICK = ("--set", "epochs=30", "--set", "hidden=8", "--set", "learning_rate=0.01")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store, a manifest and pairs of videos whose skill shows in one channel half of the time."""
    folder = tmp_path_factory.mktemp("labels")
    rng = np.random.default_rng(0)
    skill = rng.permutation(VIDEOS)
    store = FeatureStore.create(folder / "store")
    for number in range(VIDEOS):
        values = rng.normal(0, 1, (STEPS, CHANNELS)).astype(np.float32)
        values[::2, 0] += skill[number] / 2
        edges = np.linspace(0, 10 + rng.random(), STEPS + 1)
        times = np.stack([edges[:-1], (edges[:-1] + edges[1:]) / 2, edges[1:]], axis=1)
        source = Source(f"v{number}.mp4", 1, 1, f"{number:064}")
        with store.begin(SPEC, f"v{number}", source, values.shape, 3) as part:
            part.append(values)
            part.finish(times, np.repeat(times[:, :1], 3, axis=1), {})
    with (folder / "manifest.csv").open("w") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "subject", "score", "split", "split_checked"])
        for number in range(VIDEOS):
            part_name = "train" if number < 16 else "test"
            checked = "val" if 10 <= number < 16 else part_name
            score = int(skill[number])
            writer.writerow([f"v{number}", f"s{number % 4}", score, part_name, checked])
    better = [(a, b) for a in range(VIDEOS) for b in range(VIDEOS) if skill[a] > skill[b] + 2]
    lines = "".join(f"v{a},v{b}\n" for a, b in better)
    (folder / "pairs.csv").write_text("better,worse\n" + lines)
    return folder


def aqakit(folder: Path, command: str, *words: str) -> Result:
    common = ["--pairs", str(folder / "pairs.csv"), "--store", str(folder / "store")]
    return CliRunner().invoke(main, [command, str(folder / "manifest.csv"), *common, *words])


def train(folder: Path, out: Path, *words: str, head: str = "rank-aware-attention") -> Result:
    return aqakit(
        folder, "train", "--feature", "flow-hist", "--head", head, "--out", str(out), *words
    )


def test_a_run_folder_holds_everything_and_scores_again(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "runs" / "one"
    result = train(folder, out, *QUICK, "--seeds", "2")
    assert result.exit_code == 0, result.output
    own, *controls = read_rows(out)
    assert own.accuracy > 0.8
    assert own.spearman > 0.8
    assert own.interval[0] <= own.accuracy <= own.interval[1]
    assert (own.seeds, own.dropped_videos, own.seen_test_pairs) == (2, 0, 0)
    assert [row.name for row in controls] == [
        "control: constant",
        "control: shorter is better",
        "control: duration, sign from training",
        "control: subject mean",
    ]
    assert (controls[0].accuracy, controls[0].ties) == (0, 1)
    assert f"{own.accuracy:.3f}" in result.output
    assert {path.name for path in out.iterdir()} == {
        "environment.json",
        "inputs.json",
        "metrics.json",
        "predictions.csv",
        "recipe.json",
        "seed-0",
        "seed-1",
        "test_pairs.csv",
        "training_log.csv",
    }
    log = list(csv.DictReader((out / "training_log.csv").read_text().splitlines()))
    assert len(log) == 60
    assert "torch" in json.loads((out / "environment.json").read_text())["libraries"]

    recipe, heads = read_heads(out)
    store = FeatureStore.open(folder / "store")
    stored = store.read(recipe.features["features"], "v20")
    video = VideoFeatures.of("v20", stored.values, stored.times)
    kept = {
        row["id"]: row for row in csv.DictReader((out / "predictions.csv").read_text().splitlines())
    }
    assert (kept["v20"]["part"], kept["v3"]["part"]) == ("test", "train")
    for seed, head in enumerate(heads):
        assert head.score([video])[0] == pytest.approx(float(kept["v20"][f"seed_{seed}"]))
        assert head.explain(video).curves["high_attention"].shape == (STEPS,)


def test_the_same_run_twice_gives_the_same_numbers(folder: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        assert train(folder, tmp_path / name, *QUICK, "--seeds", "1").exit_code == 0
    for file in ("metrics.json", "predictions.csv", "training_log.csv"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


def test_shuffled_pairs_teach_nothing(folder: Path, tmp_path: Path) -> None:
    result = train(folder, tmp_path / "run", *QUICK, "--seeds", "10", "--shuffle-pairs")
    assert result.exit_code == 0, result.output
    own = read_rows(tmp_path / "run")[0]
    assert own.name == "rank-aware-attention (labels shuffled)"
    assert 0.25 < own.accuracy < 0.75


def run_of(batch: Path, head: str) -> Path:
    return batch / f"{head}-{SPEC.key}" / "all" / "default" / "seed-0"


def test_baselines_print_one_table_and_keep_a_folder_each(folder: Path, tmp_path: Path) -> None:
    words = ["--feature", "flow-hist", "--head", "ranksvm", "--head", "svr", "--seeds", "1"]
    result = aqakit(folder, "baselines", *words, "--out", str(tmp_path))
    assert result.exit_code == 0, result.output
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "batch.json",
        *(f"{head}-{SPEC.key}" for head in ("ranksvm", "svr")),
    ]
    assert result.output.count("control: shorter is better") == 1
    for head in ("ranksvm", "svr"):
        assert read_rows(run_of(tmp_path, head))[0].accuracy > 0.7


def test_a_head_that_lacks_its_labels_does_not_stop_the_rest(folder: Path, tmp_path: Path) -> None:
    table = (folder / "manifest.csv").read_text().splitlines()
    without = ["id,split", *(",".join(line.split(",")[:4:3]) for line in table[1:])]
    (tmp_path / "manifest.csv").write_text("\n".join(without))
    words = ["--feature", "flow-hist", "--head", "svr", "--head", "ranksvm", "--seeds", "1"]
    common = ["--pairs", str(folder / "pairs.csv"), "--store", str(folder / "store")]
    result = CliRunner().invoke(
        main,
        [
            "baselines",
            str(tmp_path / "manifest.csv"),
            *common,
            *words,
            "--out",
            str(tmp_path / "r"),
        ],
    )
    assert result.exit_code == 3
    assert "svr learns from scores" in result.output
    assert "ranksvm" in result.output


def test_a_run_is_not_overwritten_unasked_and_nothing_else_ever_is(
    folder: Path, tmp_path: Path
) -> None:
    words = ("--seeds", "1", "--set", "C=0.5")
    assert train(folder, tmp_path / "run", *words, head="ranksvm").exit_code == 0
    before = (tmp_path / "run" / "metrics.json").read_bytes()
    again = train(folder, tmp_path / "run", "--seeds", "1", head="ranksvm")
    assert again.exit_code == 1
    assert "is there already; name another folder, or give --overwrite" in again.output
    assert (tmp_path / "run" / "metrics.json").read_bytes() == before
    assert train(folder, tmp_path / "run", "--overwrite", head="ranksvm").exit_code == 0
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "thesis.txt").write_text("all of it")
    result = train(folder, tmp_path / "precious", "--overwrite", head="ranksvm")
    assert result.exit_code == 1
    assert (tmp_path / "precious" / "thesis.txt").read_text() == "all of it"


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--feature", "i3d"], "no i3d features in"),
        (["--head", "raan"], "no head 'raan'; choose one of"),
        (["--set", "epoch=3"], "has no option 'epoch'"),
        (["--split", "fold9"], "no split 'fold9'; choose one of: default"),
        (["--store", "elsewhere"], "no feature store here; run 'aqakit extract' first"),
        (["--pairs", "nowhere.csv"], "nowhere.csv"),
        (["--device", "cuda:9"], "--device cuda:9 cannot be used"),
        (["--device", "meta"], "--device meta cannot be used"),
        (["--set", "learning_rate=1e38"], "learning_rate is 1e+38; it must be from 0 to 1e+09"),
        (["--feature", ""], "'' is no key of a stored feature; name one that 'aqakit store ls"),
        (["--feature", "i3d:logits@steps-10x16"], "is no key of a stored feature; name one that"),
        (["--seeds", "0"], "no seeds"),
        (["--patience", "3"], "split 'default' has none; write val into some of its cells"),
        (["--clip-norm", "nan"], "clip_norm is nan; it must be 0 or more"),
        (["--feature", "colour=flow-hist"], "has no feature 'colour'; it has: features (one vec"),
        (["--feature", "flow-hist"], ": features is given twice, as flow-hist"),
        (["--head", "aim"], "aim needs scene (the whole scene, one vector a step, such as I3D"),
        (["--head", "siamese-lstm", "--start-from", "nowhere"], "nowhere/seed-0/head.safetensors"),
        (
            ["--start-from", "nowhere", "--seeds", "1"],
            "cannot start from another run; leave --start-from out",
        ),
    ],
)
def test_a_mistake_is_one_line(folder: Path, tmp_path: Path, words: list[str], line: str) -> None:
    result = train(folder, tmp_path / "run", *words)
    assert result.exit_code == 1, result.output
    assert result.output.startswith("Error: ")
    assert line in result.output
    assert result.output.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_labels_that_contradict_are_one_line(folder: Path, tmp_path: Path) -> None:
    for text, line in {
        "better,worse\nv0,v1\nv1,v0\n": "v0",
        "better,worse\nv0,v99\n": "v99",
        "better,worse\nv0,v0\n": "v0",
    }.items():
        (tmp_path / "pairs.csv").write_text(text)
        result = train(folder, tmp_path / "run", "--pairs", str(tmp_path / "pairs.csv"))
        assert result.exit_code == 1
        assert "pairs.csv" in result.output
        assert line in result.output
        assert result.output.count("\n") == 1


def put(store: FeatureStore, spec: FeatureSpec, videos: int, facts: dict[str, object]) -> None:
    """Features of the first videos, of the stretch from 1 to 2 s of a file of 5 bytes each."""
    rng = np.random.default_rng(1)
    for number in range(videos):
        source = Source(f"v{number}.mp4", 5, 1, f"{number:064}", 1.0, 2.0)
        with store.begin(spec, f"v{number}", source, (3, 2), 1) as part:
            part.append(rng.normal(number, 1, (3, 2)))
            part.finish(np.zeros((3, 3)), np.zeros((3, 1)), facts)


def test_a_failed_run_costs_no_other_and_duplicates_are_run_once(
    folder: Path, tmp_path: Path
) -> None:
    shutil.copytree(folder / "store", tmp_path / "store")
    few = replace(SPEC, backbone="i3d", stream="rgb", layer="pool")
    put(FeatureStore.open(tmp_path / "store"), few, 3, {})
    words = ["--feature", "i3d", "--feature", "flow-hist", "--feature", "flow", "--seeds", "1"]
    words += ["--head", "ranksvm", "--store", str(tmp_path / "store"), "--out", str(tmp_path / "r")]
    result = aqakit(folder, "baselines", *words)
    assert result.exit_code == 3, result.output
    assert f"failed: ranksvm-{few.key}/all/default/seed-0: no pair of two test" in result.output
    # The row, the other one that has nothing to show, and the run that failed, by its row and run.
    assert result.output.count("ranksvm") == 4
    assert {path.name for path in (tmp_path / "r").iterdir()} == {
        "batch.json",
        f"ranksvm-{SPEC.key}",
    }
    absent = aqakit(folder, "baselines", *words, "--split", "fold9")
    assert (absent.exit_code, absent.output.count("\n")) == (1, 1)
    assert "no split 'fold9'" in absent.output


def test_a_full_disk_stops_the_batch(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(runs, "_write_log", full)
    words = ["--feature", "flow-hist", "--head", "ranksvm", "--head", "svr", "--jobs", "1"]
    result = aqakit(folder, "baselines", *words, "--out", str(tmp_path))
    assert result.exit_code == 1
    assert "no space left on the disk; free some and train again" in result.output
    assert not list(tmp_path.rglob("recipe.json"))
    assert not list(tmp_path.rglob(".*"))


def test_a_batch_goes_on_after_a_break(folder: Path, tmp_path: Path) -> None:
    words = ["--feature", "flow-hist", "--seeds", "1", "--out", str(tmp_path)]
    first = aqakit(folder, "baselines", *words, "--head", "ranksvm")
    kept = (run_of(tmp_path, "ranksvm") / "metrics.json").stat().st_mtime_ns
    both = aqakit(folder, "baselines", *words, "--head", "ranksvm", "--head", "svr")
    assert both.exit_code == 0, both.output
    assert "1 runs trained, 1 there already, 0 failed" in both.output
    row = next(line for line in first.output.splitlines() if line.startswith("ranksvm"))
    assert row.split() in [line.split() for line in both.output.splitlines()]
    assert (run_of(tmp_path, "ranksvm") / "metrics.json").stat().st_mtime_ns == kept
    noise = aqakit(folder, "baselines", *words, "--head", "ranksvm", "--shuffle-pairs")
    assert noise.exit_code == 0
    assert "ranksvm (labels shuffled)" in noise.output
    again = ["--pairs", str(tmp_path / "fewer.csv")]
    lines = (folder / "pairs.csv").read_text().splitlines()
    (tmp_path / "fewer.csv").write_text("\n".join(lines[:-3]))
    other = aqakit(folder, "baselines", *words, "--head", "ranksvm", *again)
    assert other.exit_code == 3
    assert "the folder holds a run of other labels, settings or splits" in other.output


@pytest.mark.parametrize(
    ("row", "facts", "fits"),
    [
        ("here/{}.mp4,1,2", {"stream": {}}, True),
        ("here/{}.mp4,1,3", {"stream": {}}, False),
        ("here/{}.mp4,,2", {"stream": {}}, False),
        ("here/{}.mp4,1,3", {}, True),  # imported
        ("here/renamed-{}.mp4,1,2", {"stream": {}}, True),
        ("here/other-{}.mp4,1,2", {"stream": {}}, False),
        ("gone/{}.mp4,1,2", {"stream": {}}, True),
        ("gone/renamed-{}.mp4,1,2", {"stream": {}}, False),
        (",1,2", {"stream": {}}, True),
    ],
)
def test_features_of_another_stretch_or_file_are_refused(
    tmp_path: Path, row: str, facts: dict[str, object], fits: bool
) -> None:
    put(FeatureStore.create(tmp_path / "store"), SPEC, 8, facts)
    (tmp_path / "here").mkdir()
    lines = ["id,path,start,end,score,split"]
    for number in range(8):
        (tmp_path / "here" / f"v{number}.mp4").write_text("12345")
        (tmp_path / "here" / f"renamed-v{number}.mp4").write_text("12345")
        (tmp_path / "here" / f"other-v{number}.mp4").write_text("another")
        part = "test" if number % 2 else "train"
        lines.append(f"v{number},{row.format(f'v{number}')},{number},{part}")
    (tmp_path / "manifest.csv").write_text("\n".join(lines))
    words = ["--store", str(tmp_path / "store"), "--feature", "flow-hist", "--head", "ranksvm"]
    words += ["--seeds", "1", "--out", str(tmp_path / "run")]
    result = CliRunner().invoke(main, ["train", str(tmp_path / "manifest.csv"), *words])
    assert result.exit_code == (0 if fits else 1), result.output
    if not fits:
        assert result.output.count("\n") == 1
        assert "of 8 of 8 videos, first 'v0', are of another stretch or file" in result.output
        assert "run 'aqakit extract'" in result.output


# Interruptions.

PROGRAM = """
from aqakit.models import run
device, together, tensorboard, _ = run.Manner.__init__.__defaults__
run.Manner.__init__.__defaults__ = (device, together, tensorboard, 0.0)  # a checkpoint an epoch
from aqakit.cli import main
main()
"""
EPOCHS = 70
SLOWLY = (f"epochs={EPOCHS}", "hidden=4", "batch_pairs=16", "schedule=released")
LONG = tuple(word for setting in SLOWLY for word in ("--set", setting))
LONG += ("--clip-norm", "5", "--split", "checked")
KEPT = ("predictions.csv", "training_log.csv", "metrics.json")


def _words(folder: Path, out: Path, *words: str) -> list[str]:
    common = ["--pairs", str(folder / "pairs.csv"), "--store", str(folder / "store")]
    common += ["--feature", "flow-hist", "--head", "rank-aware-attention", "--out", str(out)]
    return ["train", str(folder / "manifest.csv"), *common, *LONG, *words]


def _epochs_done(checkpoint: Path) -> int:
    content = read_checkpoint(checkpoint)  # which is whole whenever it is there
    return 0 if content is None else min(map(len, content["logs"]))


def _kill(words: list[str], checkpoint: Path, epochs: int) -> None:
    """Run the command and kill it when a checkpoint says that it has done so many epochs."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen([sys.executable, "-c", PROGRAM, *words], env=environment) as process:
        deadline = time.monotonic() + 120
        while _epochs_done(checkpoint) < epochs:
            assert process.poll() is None, "over before it could be killed"
            assert time.monotonic() < deadline
            time.sleep(0.01)
        workers = _children(process.pid)
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    assert epochs <= _epochs_done(checkpoint) < EPOCHS
    deadline = time.monotonic() + 20
    while any(Path(f"/proc/{worker}").exists() for worker in workers):
        assert time.monotonic() < deadline, "a process outlived the command"
        time.sleep(0.01)


def _children(parent: int) -> list[int]:
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # over meanwhile
            if int(path.read_text().rpartition(")")[2].split()[1]) == parent:
                found.append(int(path.parent.name))
    return found


def _bytes(run: Path) -> dict[str, bytes]:
    files = [run / name for name in KEPT] + sorted(run.glob("seed-*/head.safetensors"))
    return {str(path.relative_to(run)): path.read_bytes() for path in files}


@pytest.fixture
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.parametrize(
    ("together", "seeds", "file", "moments"),
    [
        ("off", 1, "seed-0", (1, 20, 40)),
        ("batch", 2, "batch", (15,)),
        ("processes", 2, "seed-1", (15,)),
    ],
)
def test_a_killed_training_goes_on_and_ends_with_the_same_bytes(
    folder: Path,
    tmp_path: Path,
    one_thread: None,
    together: str,
    seeds: int,
    file: str,
    moments: tuple[int, ...],
) -> None:
    words = ["--together", together, "--seeds", str(seeds), "--patience", str(EPOCHS)]
    whole, broken = tmp_path / "whole" / "run", tmp_path / "broken" / "run"
    result = CliRunner().invoke(main, _words(folder, whole, *words))
    assert result.exit_code == 0, result.output
    for epochs in moments:
        _kill(_words(folder, broken, *words), broken.parent / ".run.training" / file, epochs)
        assert not broken.exists()
    result = CliRunner().invoke(main, _words(folder, broken, *words))
    assert result.exit_code == 0, result.output
    assert _bytes(broken) == _bytes(whole)
    assert len(_bytes(whole)) == len(KEPT) + seeds
    assert [path.name for path in broken.parent.iterdir()] == ["run"]


@pytest.fixture
def interrupted(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run whose training was broken off; the only entry beside it is what is left of it."""
    defaults = runs.Manner.__init__.__defaults__
    monkeypatch.setattr(runs.Manner.__init__, "__defaults__", (*defaults[:3], 0.0))  # type: ignore[index]
    out = tmp_path / "runs" / "run"
    state_of = pipeline._state_of

    def stop(seed: int, epoch: int, losses: Mapping[str, float]) -> str:
        if epoch == 9:
            raise KeyboardInterrupt
        return state_of(seed, epoch, losses)

    with monkeypatch.context() as patch:
        patch.setattr(pipeline, "_state_of", stop)
        result = CliRunner().invoke(main, _words(folder, out, "--seeds", "1"))
    assert result.exit_code == 130
    line = "Interrupted: what is finished is kept; the same command goes on.\n"
    assert result.output == line
    assert [path.name for path in out.parent.iterdir()] == [".run.training"]
    assert _epochs_done(out.parent / ".run.training" / "seed-0") == 8
    return out


def test_another_recipe_does_not_continue_it(folder: Path, interrupted: Path) -> None:
    changed = ["--seeds", "1", "--set", "epochs=12", "--set", "noise=0.5"]
    found = []
    for out in (interrupted, interrupted.with_name("fresh")):
        result = CliRunner().invoke(main, _words(folder, out, *changed))
        assert result.exit_code == 0, result.output
        found.append(_bytes(out))
    assert found[0] == found[1]
    assert sorted(path.name for path in interrupted.parent.iterdir()) == ["fresh", "run"]


def test_a_damaged_checkpoint_is_one_line(folder: Path, interrupted: Path) -> None:
    checkpoint = interrupted.parent / ".run.training" / "seed-0"
    checkpoint.write_bytes(checkpoint.read_bytes()[:-100])
    words = _words(folder, interrupted, "--seeds", "1")
    result = CliRunner().invoke(main, words)
    assert result.exit_code == 1
    assert result.output.startswith(f"Error: {checkpoint} is no checkpoint of this training (")
    assert result.output.endswith("); remove it to start anew\n")
    assert result.output.count("\n") == 1
    checkpoint.unlink()
    assert CliRunner().invoke(main, words).exit_code == 0


def test_two_processes_that_train_one_run_are_one_line(folder: Path, interrupted: Path) -> None:
    descriptor = os.open(interrupted.parent / ".run.training", os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        result = CliRunner().invoke(main, _words(folder, interrupted, "--seeds", "1"))
    finally:
        os.close(descriptor)
    assert result.exit_code == 1
    line = f"Error: {interrupted} is being trained by another process; name another folder\n"
    assert result.output == line
    assert CliRunner().invoke(main, _words(folder, interrupted, "--seeds", "1")).exit_code == 0


# Validation, and how training is done.


def test_patience_stops_early_and_the_log_says_how_well_it_went(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[str] = []
    state_of = pipeline._state_of

    def note(*arguments: Any) -> str:
        shown.append(state_of(*arguments))
        return shown[-1]

    monkeypatch.setattr(pipeline, "_state_of", note)
    words = (*QUICK, "--seeds", "1", "--split", "checked", "--patience", "4")
    result = train(folder, tmp_path / "run", *words)
    assert result.exit_code == 0, result.output
    log = list(csv.DictReader((tmp_path / "run" / "training_log.csv").read_text().splitlines()))
    accuracies = [float(row["validation_accuracy"]) for row in log]
    best = accuracies.index(max(accuracies))
    assert len(log) == best + 5 <= 30
    assert read_rows(tmp_path / "run")[0].accuracy > 0.8
    losses = [
        sum(float(row[name] or 0) for name in row if name not in ("seed", "epoch", VALIDATION))
        for row in log
    ]
    assert shown == [
        f"seed 0, epoch {epoch}, loss {loss:.4f}, validation {accuracy:.3f}"
        for epoch, (loss, accuracy) in enumerate(zip(losses, accuracies, strict=True), 1)
    ]
    predictions = csv.DictReader((tmp_path / "run" / "predictions.csv").read_text().splitlines())
    assert sum(row["part"] == "val" for row in predictions) == 6


def test_without_validation_the_line_of_progress_has_no_word_of_it() -> None:
    assert pipeline._state_of(3, 7, {"a": 0.5, "b": 0.25}) == "seed 3, epoch 7, loss 0.7500"


def test_how_it_was_trained_is_kept_in_the_recipe(folder: Path, tmp_path: Path) -> None:
    few = (*QUICK, "--set", "epochs=2", "--seeds", "1", "--split", "checked")
    words = ("--precision", "float64", "--clip-norm", "0.5", "--patience", "7")
    assert train(folder, tmp_path / "run", *few, *words).exit_code == 0
    recipe, (head,) = read_heads(tmp_path / "run")
    assert recipe.fitting == Fitting(0.5, 7, "float64")
    assert {p.dtype for p in head._trained.parameters()} == {torch.float64}  # type: ignore[attr-defined]
    half = train(folder, tmp_path / "half", *few, "--precision", "bfloat16")
    assert half.exit_code == 0, half.output
    assert read_heads(tmp_path / "half")[0].fitting.precision == "bfloat16"


def test_event_files_lie_in_a_folder_of_run_and_seed(folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    words = ("--set", "epochs=2", "--set", "hidden=2", "--seeds", "2", "--together", "off")
    events = tmp_path / "events"
    result = train(folder, tmp_path / "run", *words, "--tensorboard", str(events))
    assert result.exit_code == 0, result.output
    found = sorted(str(path.parent.relative_to(events)) for path in events.rglob("events.*"))
    assert found == ["run/seed-0", "run/seed-1"]


def test_without_tensorboard_its_option_is_one_line(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.startswith("torch.utils.tensorboard")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    words = (*QUICK, "--seeds", "1", "--tensorboard", str(tmp_path / "events"))
    result = train(folder, tmp_path / "run", *words)
    assert result.exit_code == 1
    assert result.output.startswith("Error: --tensorboard needs TensorBoard; install it with: pip ")
    assert result.output.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


# Features by role.


@pytest.fixture(scope="module")
def streams(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same videos with a feature of each stream, and one of fewer steps."""
    made = tmp_path_factory.mktemp("streams")
    for name in ("manifest.csv", "pairs.csv"):
        shutil.copy(folder / name, made / name)
    store = FeatureStore.create(made / "store")
    rgb = replace(SPEC, backbone="i3d", stream="rgb", layer="pool")
    flow = replace(rgb, stream="flow")
    for spec, steps in ((rgb, 5), (flow, 5), (replace(flow, layer="logits"), 4)):
        rng = np.random.default_rng(1)
        for number in range(VIDEOS):
            source = Source(f"v{number}.mp4", 1, 1, f"{number:064}")
            with store.begin(spec, f"v{number}", source, (steps, 3), 1) as part:
                part.append(rng.normal(size=(steps, 3)).astype(np.float32))
                part.finish(np.zeros((steps, 3)), np.zeros((steps, 1)), {})
    return made


def _ranked(streams: Path, out: Path, *features: str, head: str = "deep-ranking") -> Result:
    words = [word for feature in features for word in ("--feature", feature)]
    words += ["--head", head, "--seeds", "1", "--set", "epochs=1", "--out", str(out)]
    return aqakit(streams, "train", *words)


def test_each_feature_has_its_role(streams: Path, tmp_path: Path) -> None:
    by_role = ("flow=i3d.flow.pool", "rgb=i3d.rgb")
    for name, features in {"named": by_role, "alone": ("i3d.flow.pool", "i3d.rgb")}.items():
        result = _ranked(streams, tmp_path / name, *features)
        assert result.exit_code == 0, result.output
        recipe, _ = read_heads(tmp_path / name)
        assert {role: key.split(".")[1] for role, key in recipe.features.items()} == {
            "rgb": "rgb",
            "flow": "flow",
        }
        keys = read_rows(tmp_path / name)[0].feature.split(" + ")
        assert keys == [recipe.features["rgb"], recipe.features["flow"]]
    assert _bytes(tmp_path / "named") == _bytes(tmp_path / "alone")
    assert _ranked(streams, tmp_path / "one", "rgb=i3d.rgb").exit_code == 0


@pytest.mark.parametrize(
    ("features", "line"),
    [
        (
            ("rgb=i3d.rgb", "flow=i3d.flow.logits"),
            "differ in their number of steps (5 of rgb, 4 of",
        ),
        (("rgb=i3d.rgb", "rgb=i3d.flow.pool"), "deep-ranking: rgb is given twice, as i3d.rgb"),
        (
            ("features=i3d.rgb",),
            "deep-ranking has no feature 'features'; it has: rgb (one vector a",
        ),
        (("rgb=c3d",), "no c3d features in"),
    ],
)
def test_roles_that_do_not_fit_are_one_line(
    streams: Path, tmp_path: Path, features: tuple[str, ...], line: str
) -> None:
    result = _ranked(streams, tmp_path / "run", *features)
    assert result.exit_code == 1, result.output
    assert line in result.output
    assert result.output.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_batch_of_heads_takes_what_each_can_use(streams: Path, tmp_path: Path) -> None:
    words = ["--feature", "i3d.rgb", "--feature", "flow=i3d.flow.pool", "--feature", "rgb=i3d.rgb"]
    words += ["--seeds", "1", "--out", str(tmp_path)]
    named = aqakit(streams, "baselines", *words, "--head", "ranksvm", "--head", "aim")
    assert (named.exit_code, named.output.count("\n")) == (1, 1)
    assert "aim has no feature 'flow'; it has: primary" in named.output
    assert list(tmp_path.iterdir()) == []
    result = aqakit(streams, "baselines", *words, "--head", "ranksvm", "--head", "deep-ranking")
    assert result.exit_code == 0, result.output
    one, other = (
        replace(SPEC, backbone="i3d", stream=s, layer="pool").key for s in ("rgb", "flow")
    )
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"batch.json", f"ranksvm-{one}", f"deep-ranking-{one}-{other}"}
