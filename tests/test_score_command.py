"""``aqakit score`` as a user runs it: on generated videos, broken ones and runs that moved."""

import csv
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from click.testing import CliRunner, Result

from aqakit import pipeline
from aqakit.cli import main
from aqakit.extract.synthetic import write_video
from aqakit.extract.synthetic_plan import plan
from aqakit.extract.synthetic_scene import render
from aqakit.features.outcome import Outcome
from aqakit.features.segments import Sampling
from aqakit.features.source import Source
from aqakit.features.spec import FeatureSpec
from aqakit.features.store import FeatureStore
from aqakit.models.result import read_predictions

VIDEOS = 7
FEATURE = "flow-hist@stacks-2x4-5fps"
ATTENTION = (
    *("--head", "rank-aware-attention", "--seeds", "2"),
    *("--set", "epochs=3", "--set", "hidden=4", "--set", "standardise=true"),
)
# A narrow tube, so that few and alike videos have scores of their own.
SVR = ("--head", "svr", "--set", "C=1000", "--set", "epsilon=0.001")


def aqakit(*words: str | Path) -> Result:
    return CliRunner(env={"COLUMNS": "300"}).invoke(main, list(map(str, words)))


def done(*words: str | Path) -> Result:
    result = aqakit(*words)
    assert result.exit_code == 0, result.output
    return result


def one_line(result: Result) -> str:
    assert result.exit_code == 1, result.output
    assert result.output.count("\n") == 1
    return result.output.removeprefix("Error: ").rstrip()


@pytest.fixture(scope="module")
def made(
    tmp_path_factory: pytest.TempPathFactory,
    small_project: Callable[[Path, int, int, str], Path],
) -> Path:
    """A project: videos, their features, and two runs trained on them."""
    folder = tmp_path_factory.mktemp("made") / "project"
    project = small_project(folder, VIDEOS, 4, FEATURE)
    data, store = project / "data", project / "store"
    for name, words in {"attention": ATTENTION, "svr": SVR}.items():
        common = ("--store", store, "--feature", "flow-hist", "--out", project / "runs" / name)
        done("train", data / "manifest.csv", *common, *words)
    return project


@pytest.fixture
def project(made: Path, tmp_path: Path) -> Path:
    """A copy of it that a test may change; it reads nothing of the first one."""
    shutil.copytree(made, tmp_path / "project")
    return tmp_path / "project"


def score(run: Path, *words: str | Path) -> tuple[Result, dict[str, dict[str, str]]]:
    """The result, and by id the rows of the table written, in its order."""
    out = run.parent.parent / "scores.csv"
    result = aqakit("score", run, *words, "--out", out, "--overwrite")
    rows = csv.DictReader(out.read_text().splitlines()) if out.exists() else ()
    return result, {row["id"]: row for row in rows}


def video(path: Path, seed: int = 5, frames: int = 30, size: tuple[int, int] = (64, 48)) -> Path:
    pictures = list(render(plan(0.5, seed, size=size, fps=5)))
    write_video(path, [pictures[number % len(pictures)] for number in range(frames)], 5)
    return path


def test_a_training_video_has_its_training_score_to_the_last_bit(project: Path) -> None:
    for name, scaled, count in (("attention", False, 2), ("svr", True, 3)):
        run, new = project / "runs" / name, project / "new"
        result, rows = score(run, project / "data" / "videos", "--store", new)
        assert result.exit_code == 0, result.output
        check_as_trained(run, rows, scaled, count)


def check_as_trained(
    run: Path, rows: dict[str, dict[str, str]], scaled: bool, seed_count: int
) -> None:
    """Scores by each seed as kept; merged and ranked as worked out here."""
    kept = read_predictions(run, everyone=True)
    assert {*rows} == {*kept.ids}
    trained = [number for number, part in enumerate(kept.parts) if part == "train"]
    by_seed = []
    for seed in range(seed_count):
        column = kept.columns[f"seed_{seed}"]
        assert [float(rows[id][f"seed_{seed}"]) for id in kept.ids] == column.tolist()
        values = column[trained]
        by_seed.append(column if scaled else (column - values.mean()) / values.std())
    assert f"seed_{seed_count}" not in kept.columns
    merged = np.mean(by_seed, axis=0).tolist()
    assert len({*merged}) > VIDEOS // 2
    for number, id in enumerate(kept.ids):
        row = rows[id]
        assert float(row["score"]) == pytest.approx(merged[number], rel=1e-9)
        others = [merged[place] for place in trained if place != number]
        better = sum(other > merged[number] for other in others)
        assert (int(row["rank"]), int(row["of"])) == (1 + better, 1 + len(others))
        said = f"this file trained the model, as {id}" in row["notes"]
        assert said == (number in trained)
    ordered = [float(row["score"]) for row in rows.values()]
    assert ordered == sorted(ordered, reverse=True)


def test_nothing_is_computed_twice_nor_written_into_the_store_of_the_training(
    project: Path,
) -> None:
    run, videos = project / "runs" / "attention", project / "data" / "videos"
    before = {path: path.stat().st_mtime_ns for path in (project / "store").rglob("*")}
    _, first = score(run, videos / "v1.mp4", video(project / "new.mp4"))
    parts = {path: path.stat().st_mtime_ns for path in run.glob("scored-features/parts/*/*")}
    assert len(parts) == 2
    _, second = score(run, videos / "v1.mp4", project / "new.mp4", videos / "v2.mp4")
    after = {path: path.stat().st_mtime_ns for path in run.glob("scored-features/parts/*/*")}
    assert parts.items() < after.items()
    assert len(after) == 3
    assert {id: second[id] for id in first} == first
    assert {path: path.stat().st_mtime_ns for path in (project / "store").rglob("*")} == before


def test_a_video_of_the_same_name_is_computed_anew(project: Path) -> None:
    run, name = project / "runs" / "attention", "v1.mp4"
    _, trained = score(run, project / "data" / "videos" / name)
    _, other = score(run, video(project / name, seed=9))
    assert list(trained) == list(other) == ["v1"]
    assert other["v1"]["seed_0"] != trained["v1"]["seed_0"]
    assert "trained the model" in trained["v1"]["notes"]
    assert "trained the model" not in other["v1"]["notes"]


def test_a_run_that_was_scored_with_is_still_a_run(project: Path) -> None:
    run = project / "runs" / "svr"
    score(run, video(project / "new.mp4"))
    assert "svr" in done("table", project / "runs").output
    words = ("--store", project / "store", "--feature", "flow-hist", "--head", "svr")
    manifest = project / "data" / "manifest.csv"
    assert "is there already" in one_line(aqakit("train", manifest, *words, "--out", run))
    done("train", manifest, *words, "--out", run, "--overwrite")
    assert not (run / "scored-features").exists()


def test_a_project_that_moved_scores_as_before(project: Path) -> None:
    new = video(project / "new.mp4")
    _, before = score(project / "runs" / "attention", new, project / "data" / "videos" / "v2.mp4")
    moved = project.rename(project.with_name("moved"))
    shutil.rmtree(moved / "runs" / "attention" / "scored-features")
    files = (moved / "new.mp4", moved / "data" / "videos" / "v2.mp4")
    result, after = score(moved / "runs" / "attention", *files)
    assert result.exit_code == 0, result.output
    for id, row in before.items():
        path = row.pop("path").replace(str(project), str(moved))
        assert after[id].pop("path") == path
    assert after == before
    shutil.rmtree(moved / "store")
    shutil.rmtree(moved / "data")
    result, alone = score(moved / "runs" / "attention", moved / "new.mp4")
    assert alone["new"]["seed_0"] == before["new"]["seed_0"]


def test_what_is_unlike_the_training_videos_is_one_line_each(project: Path) -> None:
    run = project / "runs" / "attention"
    shortest, longest = json.loads((run / "inputs.json").read_text())["seconds"]
    span = f"({shortest} to {longest} s)"
    files = (
        video(project / "large.mp4", size=(96, 64)),
        video(project / "short.mp4", frames=2),
        video(project / "long.mp4", frames=100),
    )
    for _ in range(2):  # what is there already is told as when it was computed
        result, rows = score(run, *files)
        assert result.exit_code == 0, result.output
        lines = [line.rstrip() for line in result.output.splitlines()]
        assert "large: 96x64; the run learned from 64x48" in lines
        assert f"short: 0.4 s, shorter than any training video {span}" in lines
        assert (
            "short: too short for flow-hist: 2 of the 4 frames that it looks at are made up from "
            "others"
        ) in lines
        assert f"long: 20.0 s, longer than any training video {span}" in lines
        assert rows["short"]["notes"].startswith(f"0.4 s, shorter than any training video {span}; ")


def cut(path: Path, source: Path) -> Path:
    """The first half of a Matroska file."""
    with av.open(str(source)) as given, av.open(str(path), "w") as taken:
        stream = taken.add_stream_from_template(given.streams.video[0])
        for packet in given.demux(given.streams.video[0]):
            if packet.dts is not None:
                packet.stream = stream
                taken.mux(packet)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return path


def test_what_cannot_be_scored_is_one_line_each_and_stops_no_other(
    project: Path, write_sound: Callable[[Path], Path]
) -> None:
    folder = project / "given"
    folder.mkdir()
    video(folder / "good.mp4")
    video(folder / "single.mp4", frames=1)
    (folder / "empty.mp4").touch()
    (folder / "text.mp4").write_text("no video at all")
    write_sound(folder / "sound.m4v")
    cut(folder / "half.mkv", video(project / "whole.mp4", frames=60))
    run = project / "runs" / "attention"
    for _ in range(2):  # and again, although it is known
        result, rows = score(run, folder)
        assert result.exit_code == 3
        assert list(rows) == ["good", "empty", "half", "single", "sound", "text"]
        assert rows["good"]["score"]
        assert rows["good"]["failure"] == ""
        lines = {
            "empty": f"{folder}/empty.mp4 is empty (0 bytes); copy it again",
            "single": f"{folder}/single.mp4 shows a single frame; skill needs a video of at least 2",
            "sound": f"{folder}/sound.m4v has no video stream; give the file with the picture",
        }
        assert {id: rows[id]["failure"] for id in lines} == lines
        assert f"{folder}/text.mp4 is not a video that FFmpeg can open" in rows["text"]["failure"]
        assert f"{folder}/half.mkv breaks off at " in rows["half"]["failure"]
        assert all(not row["score"] for id, row in rows.items() if id != "good")
        for id in list(rows)[1:]:
            assert f"failed: {id}: {rows[id]['failure']}" in result.output.splitlines()
        assert result.output.splitlines()[-1] == "1 scored, 5 failed"
    result, rows = score(run, folder / "empty.mp4")
    assert (result.exit_code, list(rows)) == (3, ["empty"])
    assert result.output.splitlines()[-1] == "0 scored, 1 failed"


def test_a_failure_of_another_day_is_tried_again(project: Path) -> None:
    run, new = project / "runs" / "attention", video(project / "new.mp4")
    store = FeatureStore.create(run / "scored-features")
    (key,) = FeatureStore.open(project / "store").keys()
    store.record_failure("new", "the disk was away", store.source(new), [key])
    result, rows = score(run, new)
    assert (result.exit_code, rows["new"]["failure"]) == (0, "")


def test_extraction_is_told_what_the_user_asks_for(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[dict[str, object]] = []
    extract = pipeline.extract

    def watch(*words: Any, **more: Any) -> list[Outcome]:
        seen.append(more)
        return extract(*words, **more)

    monkeypatch.setattr(pipeline, "extract", watch)
    done("score", project / "runs" / "svr", video(project / "new.mp4"), "--workers", "1")
    assert [more["workers"] for more in seen] == [1]


def test_a_video_that_another_process_has_in_hand_is_not_waited_for(project: Path) -> None:
    run, new = project / "runs" / "attention", video(project / "new.mp4")
    with FeatureStore.create(run / "scored-features").claim("new"):
        result, rows = score(run, new)
    assert result.exit_code == 3
    assert rows["new"]["failure"] == "another process has it in hand"


def test_a_manifest_gives_stretches_and_names(project: Path) -> None:
    video(project / "long.mp4", frames=60)
    lines = ["id,path,start,end", "first,long.mp4,0,5", "second,long.mp4,5,10", "none,gone.mp4,,"]
    (project / "new.csv").write_text("\n".join(lines))
    result, rows = score(project / "runs" / "attention", project / "new.csv")
    assert result.exit_code == 3
    assert {*rows} == {"first", "second", "none"}
    assert rows["first"]["seed_0"] != rows["second"]["seed_0"]
    assert rows["none"]["failure"] == (
        f"{project}/gone.mp4 cannot be read (No such file or directory); correct the path"
    )


def test_files_of_one_name_have_ids_with_their_folders(project: Path) -> None:
    for number, name in enumerate(("a", "b")):
        (project / name).mkdir()
        video(project / name / "x.mp4", seed=number)
    files = (project / "a" / "x.mp4", project / "b" / "x.mp4", project / "a" / "x.mp4")
    _, rows = score(project / "runs" / "attention", *files)
    assert {*rows} == {"a/x", "b/x"}
    assert rows["a/x"]["score"] != rows["b/x"]["score"]


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--out", "x.xlsx"], "--out x.xlsx: name a file that ends in .csv or .json"),
        (["--out", "{there}"], "is there already; name another file, or give --overwrite"),
        (["gone.mp4"], "gone.mp4 does not exist; name a folder of videos, a video or a CSV"),
        (["gone", "--store", "{project}/new"], "gone does not exist; name a folder of videos"),
        (["--device", "cuda:9"], "--device cuda:9 cannot be used"),
        (["--weights", "i3d=x"], "--weights i3d=x: i3d is not among the networks asked for"),
        (["--store", "{project}/store"], "store holds the videos that the run learned from, whose"),
    ],
)
def test_a_mistake_is_one_line_before_anything_is_computed(
    project: Path, words: list[str], line: str
) -> None:
    there = project / "there.json"
    there.write_text("precious")
    run, new = project / "runs" / "attention", video(project / "v1.mp4")
    given = [word.format(there=there, project=project) for word in words]
    before = sorted(project.rglob("*"))
    assert line in one_line(aqakit("score", run, new, *given))
    assert sorted(project.rglob("*")) == before
    assert there.read_text() == "precious"


def test_what_is_no_run_that_can_score_is_one_line(project: Path) -> None:
    new, run = video(project / "new.mp4"), project / "runs" / "attention"
    runs = project / "runs"
    assert one_line(aqakit("score", runs, new)) == (
        f"{runs} holds several runs; name one of them, for example {run}"
    )
    batch = ("--store", project / "store", "--feature", "flow-hist", "--head", "ranksvm")
    manifest = project / "data" / "manifest.csv"
    done("baselines", manifest, *batch, "--seeds", "1", "--jobs", "1", "--out", project / "batch")
    line = one_line(aqakit("score", project / "batch", new))
    assert line.startswith(
        f"{project / 'batch'} holds several runs; name one of them, for example "
    )
    done("score", line.rpartition("for example ")[2], new)
    assert "is no run; name a folder" in one_line(aqakit("score", project / "data", new))
    for damage, line in {
        "seed-1/head.safetensors": "train it again",
        "predictions.csv": "train it again",
        "inputs.json": "cannot be read (Expecting value: line 1 column 1 (char 0)); train the run",
    }.items():
        whole = (run / damage).read_bytes()
        (run / damage).write_bytes(b"")
        assert line in one_line(aqakit("score", run, new))
        (run / damage).write_bytes(whole)
    (run / "inputs.json").unlink()
    assert one_line(aqakit("score", run, new)) == (
        f"{run} does not say what it was trained from, as runs of older versions; train it again"
    )


# Features that this machine does not compute as the training's did


def train_on(folder: Path, spec: FeatureSpec) -> Path:
    """A run trained on made-up numbers that a store has as that feature; its store is beside it."""
    store, rng = FeatureStore.create(folder / "store"), np.random.default_rng(0)
    rows = ["id,score,split"]
    for number in range(8):
        put(store, spec, f"v{number}", rng.normal(number, 1, (3, 4)), number)
        rows.append(f"v{number},{number},{'test' if number % 2 else 'train'}")
    (folder / "manifest.csv").write_text("\n".join(rows))
    words = ("--store", folder / "store", "--feature", spec.backbone, "--head", "ranksvm")
    done("train", folder / "manifest.csv", *words, "--out", folder / "runs" / "one")
    return folder / "runs" / "one"


def put(store: FeatureStore, spec: FeatureSpec, id: str, values: np.ndarray, number: int) -> None:
    with store.begin(spec, id, Source(id, 1, 1, f"{number:064}"), values.shape, 1) as part:
        part.append(values.astype(np.float32))
        part.finish(np.zeros((3, 3)), np.zeros((3, 1)), {})


def test_weights_of_another_hash_are_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = FeatureSpec("c3d", "rgb", "fc6", Sampling("clips", 16), "caffe", "sha256-0123456789ab")
    run, new = train_on(tmp_path, spec), video(tmp_path / "new.mp4")
    monkeypatch.setenv("AQAKIT_WEIGHTS", str(tmp_path / "weights"))
    assert one_line(aqakit("score", run, new)).startswith(
        "no weights for c3d.rgb; give those whose"
    )
    mine = tmp_path / "mine.pickle"
    mine.write_text("other weights")
    assert one_line(aqakit("score", run, new, "--weights", mine)) == (
        f"{mine} has a SHA-256 that begins with 53959fa102f3, and the run learned from weights "
        "0123456789ab; give those as --weights c3d.rgb=PATH"
    )
    assert not (run / "scored-features").exists()


TRACK = FeatureSpec("kinematics", "track", "primary", Sampling.parse("steps-3x1"), "raw")


def test_tracks_are_scored_from_a_store(tmp_path: Path) -> None:
    run = train_on(tmp_path, TRACK)
    new = FeatureStore.create(tmp_path / "new")
    put(new, TRACK, "good", np.full((3, 4), 6.5), 100)
    put(new, TRACK, "bad", np.full((3, 4), 0.5), 101)
    put(new, TRACK, "again", FeatureStore.open(tmp_path / "store").read(TRACK.key, "v2").values, 2)
    put(new, replace(TRACK, layer="secondary"), "lacks", np.zeros((3, 4)), 102)
    words = ("good", "bad", "again", "--store", tmp_path / "new")
    result, rows = score(run, *words)
    assert result.exit_code == 0, result.output
    assert list(rows) == ["good", "again", "bad"]
    kept = read_predictions(run, everyone=True)
    assert float(rows["again"]["seed_0"]) == pytest.approx(
        kept.columns["seed_0"][kept.ids.index("v2")], rel=1e-9
    )
    assert rows["again"]["notes"] == "this file trained the model, as v2"
    (tmp_path / "new.csv").write_text("id\nbad\nlacks\n")
    result, listed = score(run, tmp_path / "new.csv", "--store", tmp_path / "new")
    assert result.exit_code == 3
    assert listed["bad"] == rows["bad"]
    assert listed["lacks"]["failure"] == (
        f"no {TRACK.key} features of 'lacks' in {tmp_path / 'new'}; import them there first, under "
        "this id"
    )
    assert not (run / "scored-features").exists()


def test_new_tracks_may_lie_beside_those_of_the_training(tmp_path: Path) -> None:
    run = train_on(tmp_path, TRACK)
    put(FeatureStore.open(tmp_path / "store"), TRACK, "new", np.full((3, 4), 3.5), 100)
    result, rows = score(run, "new", "--store", tmp_path / "store")
    assert (result.exit_code, rows["new"]["of"]) == (0, "5")


def test_tracks_without_a_store_are_one_line(tmp_path: Path) -> None:
    run = train_on(tmp_path, TRACK)
    assert one_line(aqakit("score", run, video(tmp_path / "new.mp4"))) == (
        f"{TRACK.key} is not computed from a video; bring it into a store with 'aqakit store "
        "import-tracks', and give that store as --store"
    )
    words = (video(tmp_path / "new.mp4"), "--store", tmp_path / "none")
    assert "no feature store here" in one_line(aqakit("score", run, *words))
