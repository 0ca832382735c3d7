"""``aqakit train`` and ``aqakit baselines`` on a store of made-up features with planted skill."""

import csv
import errno
import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from aqakit.cli import main
from aqakit.features.segments import Sampling
from aqakit.features.source import Source
from aqakit.features.spec import FeatureSpec
from aqakit.features.store import FeatureStore
from aqakit.models import run as runs
from aqakit.models.data import VideoFeatures
from aqakit.models.run import read_heads, read_rows

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
        writer.writerow(["id", "subject", "score", "split"])
        for number in range(VIDEOS):
            part_name = "train" if number < 16 else "test"
            writer.writerow([f"v{number}", f"s{number % 4}", int(skill[number]), part_name])
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
        "metrics.json",
        "predictions.csv",
        "recipe.json",
        "seed-0",
        "seed-1",
        "training_log.csv",
    }
    log = list(csv.DictReader((out / "training_log.csv").read_text().splitlines()))
    assert len(log) == 60
    assert "torch" in json.loads((out / "environment.json").read_text())["libraries"]

    recipe, heads = read_heads(out)
    store = FeatureStore.open(folder / "store")
    stored = store.read(recipe.feature, "v20")
    video = VideoFeatures("v20", stored.values, stored.times)
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


def test_baselines_print_one_table_and_keep_a_folder_each(folder: Path, tmp_path: Path) -> None:
    words = ["--feature", "flow-hist", "--head", "ranksvm", "--head", "svr", "--seeds", "1"]
    result = aqakit(folder, "baselines", *words, "--out", str(tmp_path))
    assert result.exit_code == 0, result.output
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        f"{head}-{SPEC.key}" for head in ("ranksvm", "svr")
    ]
    assert result.output.count("control: shorter is better") == 1
    for path in tmp_path.iterdir():
        assert read_rows(path)[0].accuracy > 0.7


def test_a_head_that_lacks_its_labels_does_not_stop_the_rest(folder: Path, tmp_path: Path) -> None:
    table = (folder / "manifest.csv").read_text().splitlines()
    without = ["id,split", *(",".join(line.split(",")[::3]) for line in table[1:])]
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
    assert f"failed: ranksvm-{few.key}: no pair of two test videos" in result.output
    assert result.output.count("ranksvm") == 2  # the row, and what failed
    assert [path.name for path in (tmp_path / "r").iterdir()] == [f"ranksvm-{SPEC.key}"]
    absent = aqakit(folder, "baselines", *words, "--split", "fold9")
    assert (absent.exit_code, absent.output.count("\n")) == (1, 1)
    assert "no split 'fold9'" in absent.output


def test_a_full_disk_stops_the_batch(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(runs, "_write_log", full)
    words = ["--feature", "flow-hist", "--head", "ranksvm", "--head", "svr", "--seeds", "1"]
    result = aqakit(folder, "baselines", *words, "--out", str(tmp_path))
    assert result.exit_code == 1
    assert "no space left on the disk; free some and train again" in result.output
    assert list(tmp_path.iterdir()) == []


def test_a_batch_goes_on_after_a_break(folder: Path, tmp_path: Path) -> None:
    words = ["--feature", "flow-hist", "--seeds", "1", "--out", str(tmp_path)]
    first = aqakit(folder, "baselines", *words, "--head", "ranksvm")
    kept = (tmp_path / f"ranksvm-{SPEC.key}" / "metrics.json").stat().st_mtime_ns
    both = aqakit(folder, "baselines", *words, "--head", "ranksvm", "--head", "svr")
    assert both.exit_code == 0, both.output
    assert "failed" not in both.output
    row = next(line for line in first.output.splitlines() if line.startswith("ranksvm"))
    assert row.split() in [line.split() for line in both.output.splitlines()]
    assert (tmp_path / f"ranksvm-{SPEC.key}" / "metrics.json").stat().st_mtime_ns == kept
    other = aqakit(folder, "baselines", *words, "--head", "ranksvm", "--shuffle-pairs")
    assert other.exit_code == 3
    assert "is there already" in other.output


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
