"""The generated set: files that agree with each other and with the scripts."""

import csv
import itertools
import json
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from aqakit import pipeline
from aqakit.extract.synthetic import (
    FolderTakenError,
    UnwritableError,
    draw_performances,
    generate,
    long_video,
    split_subjects,
    write_video,
)
from aqakit.extract.synthetic_kinematics import kinematics
from aqakit.extract.synthetic_plan import Performance
from aqakit.extract.synthetic_scene import render
from aqakit.features.manifest import Manifest
from aqakit.features.store import FeatureStore

COUNT, SEED, SIZE, FPS = 8, 3, (64, 48), 5.0


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Performance]]:
    folder = tmp_path_factory.mktemp("synthetic") / "set"
    return folder, generate(folder, COUNT, SEED, size=SIZE, fps=FPS)


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def decode(path: Path) -> tuple[NDArray[np.uint8], Fraction | None]:
    with av.open(str(path)) as container:
        rate = container.streams.video[0].average_rate
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    return np.stack(frames).astype(np.uint8), rate


def test_manifest_lists_the_performances(made: tuple[Path, list[Performance]]) -> None:
    folder, performances = made
    header = (folder / "manifest.csv").read_text().splitlines()[0]
    assert header == "id,path,score,subject,split"
    found = rows(folder / "manifest.csv")
    assert [(row["id"], float(row["score"]), row["subject"]) for row in found] == [
        (p.id, p.skill, p.subject) for p in performances
    ]
    assert len({row["id"] for row in found}) == COUNT
    assert {row["split"] for row in found} == {"train", "test"}


def test_pairs_are_all_that_differ_by_more_than_the_margin(tmp_path: Path) -> None:
    margin = 0.2
    performances = generate(tmp_path / "set", 5, 1, size=(32, 32), fps=2, margin=margin)
    assert (tmp_path / "set/pairs.csv").read_text().startswith("better,worse\n")
    found = [(row["better"], row["worse"]) for row in rows(tmp_path / "set/pairs.csv")]
    expected = set()
    for a, b in itertools.combinations(performances, 2):
        if abs(a.skill - b.skill) > margin:
            expected.add((a.id, b.id) if a.skill > b.skill else (b.id, a.id))
    assert len(found) == len(set(found))
    assert set(found) == expected


def test_truth_agrees_with_the_performances(made: tuple[Path, list[Performance]]) -> None:
    folder, performances = made
    videos = json.loads((folder / "truth.json").read_text())["videos"]
    assert list(videos) == [p.id for p in performances]
    for performance in performances:
        truth = videos[performance.id]
        assert truth["score"] == performance.skill
        assert truth["duration_seconds"] == performance.duration_seconds
        np.testing.assert_allclose(truth["tool_path"], performance.tool_path, atol=0.006)
        np.testing.assert_allclose(truth["peg_paths"], performance.peg_paths, atol=0.006)
        assert not {"execution", "synchronisation", "second_path"} & truth.keys()
        for written, mistake in zip(truth["mistakes"], performance.mistakes, strict=True):
            assert written == {
                "kind": mistake.kind,
                "start_seconds": mistake.start_seconds,
                "end_seconds": mistake.end_seconds,
                "box": list(mistake.box),
            }


def test_videos_show_the_performances(made: tuple[Path, list[Performance]]) -> None:
    folder, performances = made
    manifest = rows(folder / "manifest.csv")
    for performance, row in zip(performances[:3], manifest, strict=False):
        frames, rate = decode(folder / row["path"])
        assert rate == Fraction(5)
        assert frames.shape == (len(performance.tool_path), SIZE[1], SIZE[0], 3)
        drawn = np.stack(list(render(performance))).astype(float)
        # Encoding halves the resolution of colour, so brightness is compared.
        assert np.abs(frames.mean(axis=3) - drawn.mean(axis=3)).mean() < 4


def test_nothing_is_left_beside_the_folder(made: tuple[Path, list[Performance]]) -> None:
    folder, _ = made
    assert [entry.name for entry in folder.parent.iterdir()] == ["set"]
    assert sorted(entry.name for entry in folder.iterdir()) == [
        "manifest.csv",
        "pairs.csv",
        "truth.json",
        "videos",
    ]


def test_same_seed_same_files(made: tuple[Path, list[Performance]], tmp_path: Path) -> None:
    folder, _ = made
    generate(tmp_path / "again", COUNT, SEED, size=SIZE, fps=FPS)
    for path in folder.rglob("*"):
        if path.is_file():
            again = tmp_path / "again" / path.relative_to(folder)
            assert again.read_bytes() == path.read_bytes(), path.name


@pytest.mark.parametrize("seed", range(4))
def test_split_is_disjoint_and_covers_the_range(seed: int) -> None:
    performances = draw_performances(40, seed)
    parts = split_subjects(performances, seed)
    skills: dict[str, list[float]] = {"train": [], "test": []}
    for performance in performances:
        skills[parts[performance.subject]].append(performance.skill)
    assert (len(skills["train"]), len(skills["test"])) == (28, 12)
    for found in skills.values():
        assert min(found) < 0.35
        assert max(found) > 0.65


def test_performances_of_one_subject_are_alike() -> None:
    by_subject: dict[str, list[float]] = {}
    for performance in draw_performances(40, 0):
        by_subject.setdefault(performance.subject, []).append(performance.skill)
    assert len(by_subject) == 10
    assert all(len(skills) == 4 for skills in by_subject.values())
    assert all(0 < max(skills) - min(skills) <= 0.24 for skills in by_subject.values())


@pytest.fixture(scope="module")
def assisted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Performance]]:
    folder = tmp_path_factory.mktemp("assisted") / "set"
    return folder, generate(folder, COUNT, SEED, size=SIZE, fps=FPS, second_agent=True)


def test_a_second_agent_brings_its_truth(assisted: tuple[Path, list[Performance]]) -> None:
    folder, performances = assisted
    videos = json.loads((folder / "truth.json").read_text())["videos"]
    parts = ("execution", "synchronisation")
    for performance, row in zip(performances, rows(folder / "manifest.csv"), strict=True):
        second, truth = performance.second, videos[performance.id]
        assert second is not None
        np.testing.assert_allclose(truth["second_path"], second.path, atol=0.006)
        own = (performance.execution, second.synchronisation)
        assert tuple(truth[part] for part in parts) == own
        assert tuple(float(row[f"score_{part}"]) for part in parts) == own
        assert float(row["score"]) == truth["score"] == performance.skill
        assert [one["kind"] for one in truth["mistakes"]] == [m.kind for m in performance.mistakes]
    kinds = {one["kind"] for truth in videos.values() for one in truth["mistakes"]}
    assert kinds & {"lag", "drift", "wrong-way"}


def test_the_manifest_of_a_second_agent_can_be_read(
    assisted: tuple[Path, list[Performance]],
) -> None:
    folder, performances = assisted
    manifest = Manifest.read(folder / "manifest.csv", folder / "pairs.csv")
    for video, performance in zip(manifest.videos, performances, strict=True):
        assert performance.second is not None
        assert video.parts == {
            "execution": performance.execution,
            "synchronisation": performance.second.synchronisation,
        }


def test_kinematics_can_be_imported(
    assisted: tuple[Path, list[Performance]], tmp_path: Path
) -> None:
    folder, performances = assisted
    outcomes = pipeline.import_tracks(
        tmp_path / "store",
        [folder / "kinematics"],
        "kinematics",
        time_column="seconds",
        groups=["primary=primary", "secondary=secondary"],
        sampling="steps-1x4",
        manifest=folder / "manifest.csv",
    )
    assert [outcome.failure for outcome in outcomes] == [None] * COUNT
    store = FeatureStore.open(tmp_path / "store")
    for performance in performances:
        table = kinematics(performance)[:, 1:]
        edges = np.arange(4) + 0.5
        frames = np.arange(len(table))
        for group, part in (("primary", slice(0, 11)), ("secondary", slice(11, 22))):
            key = store.find_key(f"kinematics.track.{group}")
            expected = [
                np.interp(edges * len(table) / 4, frames, values).mean()
                for values in table[:, part].T
            ]
            found = store.read(key, performance.id).values
            np.testing.assert_allclose(found[0], expected, rtol=1e-4, atol=1e-4)


def test_a_second_agent_leaves_the_first_as_it_was(
    made: tuple[Path, list[Performance]], assisted: tuple[Path, list[Performance]]
) -> None:
    for alone, other in zip(made[1], assisted[1], strict=True):
        assert (alone.id, alone.subject, alone.seed) == (other.id, other.subject, other.seed)
        assert alone.skill == other.execution
        np.testing.assert_array_equal(alone.tool_path, other.tool_path)


def test_execution_says_nothing_about_synchronisation() -> None:
    performances = [p for seed in range(20) for p in draw_performances(40, seed, second_agent=True)]
    talents = [(p.execution, p.second.synchronisation) for p in performances if p.second]
    assert len(talents) == len(performances)
    assert abs(np.corrcoef(np.array(talents).T)[0, 1]) < 0.15
    assert np.array(talents).min(axis=0) == pytest.approx(0, abs=0.05)
    assert np.array(talents).max(axis=0) == pytest.approx(1, abs=0.05)


def test_shorter_is_better_only_sometimes() -> None:
    """A model must not get by on the length of the video."""
    right = total = 0
    for seed in range(6):
        performances = draw_performances(40, seed)
        for better, worse in itertools.permutations(performances, 2):
            if better.skill - worse.skill > 0.15:
                right += better.duration_seconds < worse.duration_seconds
                total += 1
    assert 0.5 < right / total < 0.8


def test_a_full_folder_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("keep")
    with pytest.raises(FolderTakenError, match=r"is not empty; remove it or name another folder"):
        generate(tmp_path, 2, 0, size=(32, 32), fps=2)
    assert [entry.name for entry in tmp_path.iterdir()] == ["mine.txt"]


def test_an_empty_folder_is_filled(tmp_path: Path) -> None:
    generate(tmp_path / "a" / "b", 2, 0, size=(32, 32), fps=2)
    (tmp_path / "empty").mkdir()
    generate(tmp_path / "empty", 2, 0, size=(32, 32), fps=2)
    assert (tmp_path / "empty/manifest.csv").read_bytes() == (
        tmp_path / "a/b/manifest.csv"
    ).read_bytes()


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UnwritableError, match=r"file.* cannot be written .*name another folder"):
        generate(tmp_path / "file" / "set", 2, 0, size=(32, 32), fps=2)


def test_a_failed_set_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="sides are even"):
        generate(tmp_path / "set", 2, 0, size=(33, 33), fps=2)
    assert list(tmp_path.iterdir()) == []


def test_one_video_is_no_set(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="count is 1; a set needs at least 2 videos"):
        generate(tmp_path / "set", 1)


def test_no_frame_is_no_video(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no frame; a video needs"):
        write_video(tmp_path / "none.mp4", [], 10)


def test_frames_are_encoded_without_h264(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(av, "codecs_available", {"mpeg4"})
    frames = [np.full((32, 48, 3), value, dtype=np.uint8) for value in (20, 120, 220)]
    write_video(tmp_path / "old.mp4", frames, 29.97)
    found, rate = decode(tmp_path / "old.mp4")
    assert found.mean(axis=(1, 2, 3)) == pytest.approx([20, 120, 220], abs=4)
    assert rate == pytest.approx(29.97)


def test_a_long_video_has_its_length_and_moves(tmp_path: Path) -> None:
    long_video(tmp_path / "long.mp4", 12, fps=10, size=(64, 48))
    frames, rate = decode(tmp_path / "long.mp4")
    assert len(frames) == 120
    assert rate == 10
    assert (np.abs(np.diff(frames.astype(float), axis=0)).mean(axis=(1, 2, 3)) > 0).mean() > 0.9
