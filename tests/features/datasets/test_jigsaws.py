import pickle
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from aqakit.features.dataset import DATASETS, Source, count_tasks
from aqakit.features.datasets.jigsaws import SUMMARY, fill, read
from aqakit.features.errors import ManifestError
from aqakit.features.manifest import Manifest
from aqakit.features.outcome import Outcome
from aqakit.features.plugins import load
from aqakit.features.store import FeatureStore

# Which surgeons did which trials; those left out were not released.
TRIALS = {
    "Suturing": {surgeon: "12345" for surgeon in "BCDEFGI"} | {"H": "1345"},
    "Needle_Passing": {"B": "1234", "C": "12345", "D": "12345", "E": "1345", "F": "134"}
    | {"H": "245", "I": "2345"},
    "Knot_Tying": {surgeon: "12345" for surgeon in "CDEFG"}
    | {"B": "1234", "H": "345"}
    | {"I": "1235"},
}
LEVEL = dict(zip("BCDEFGHI", "NIEEINNN", strict=True))
LINES = ("Suturing_B001\tN\t\t13\t3\t2\t1\t2\t2\t3", "Suturing_B002 N 6\t1 1 1 1 1 1 \t")


def write_meta(folder: Path, task: str, lines: Sequence[str]) -> Path:
    path = folder / task / f"meta_file_{task}.txt"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n")
    return folder


def names(task: str) -> list[str]:
    return [f"{task}_{who}00{n}" for who, numbers in TRIALS[task].items() for n in numbers]


def write_all(folder: Path) -> Path:
    rng = np.random.default_rng(0)
    for task in TRIALS:
        lines = []
        for place, name in enumerate(names(task)):
            parts = rng.integers(1, 6, 6)
            cells = [name, LEVEL[name[-4]], str(parts.sum()), *map(str, parts)]
            # As released: one or two tabs, and blank lines between the surgeons.
            lines += [("\t\t" if place % 2 else "\t").join(cells)] + [""] * (place % 5 == 4)
        write_meta(folder, task, lines)
    return folder


# The manifest


def test_counts_of_the_papers(tmp_path: Path) -> None:
    imported = read(Source(write_all(tmp_path)))
    counts = {count.task: (count.videos, count.subjects) for count in count_tasks(imported)}
    assert counts == {"suturing": (39, 8), "needle-passing": (28, 7), "knot-tying": (36, 8)}
    assert all(6 <= (video.score or 0) <= 30 for video in imported.manifest.videos)
    assert len(imported.absent) == 103
    assert imported.notes == (
        "self-proclaimed levels of the surgeons: novice B, G, H, I; intermediate C, F; expert D, E",
    )


def test_a_line_becomes_a_video(tmp_path: Path) -> None:
    first, second = read(Source(write_meta(tmp_path, "Suturing", LINES))).manifest.videos
    assert (first.id, first.task, first.subject, first.trial) == (
        *("Suturing_B001", "suturing"),
        *("B", "1"),
    )
    assert first.score == 13
    assert first.parts == {
        "respect-for-tissue": 3,
        "suture-needle-handling": 2,
        "time-and-motion": 1,
        "flow-of-operation": 2,
        "overall-performance": 2,
        "quality-of-final-product": 3,
    }
    assert (second.score, second.trial, second.action_type) == (6, "2", None)


def test_tasks_of_two_words(tmp_path: Path) -> None:
    write_meta(tmp_path, "Needle_Passing", ["Needle_Passing_F003 I 9 1 2 1 2 1 2"])
    (video,) = read(Source(tmp_path)).manifest.videos
    assert (video.task, video.subject, video.trial) == ("needle-passing", "F", "3")


def test_the_left_camera(tmp_path: Path) -> None:
    write_meta(tmp_path, "Suturing", LINES)
    folder = tmp_path / "Suturing" / "video"
    folder.mkdir()
    for camera in (1, 2):
        (folder / f"Suturing_B001_capture{camera}.avi").touch()
    imported = read(Source(tmp_path))
    assert imported.manifest.videos[0].path == folder / "Suturing_B001_capture1.avi"
    assert imported.absent == ("Suturing_B002",)


def test_an_archive_unpacked_into_a_folder_of_its_own(tmp_path: Path) -> None:
    write_meta(tmp_path / "Suturing", "Suturing", LINES)
    imported = read(Source(tmp_path))
    assert len(imported.manifest.videos) == 2
    assert imported.notes[:2] == (
        "no meta_file_Needle_Passing.txt, so needle-passing is left out",
        "no meta_file_Knot_Tying.txt, so knot-tying is left out",
    )


def test_the_manifest_survives_its_table(tmp_path: Path) -> None:
    made = read(Source(write_all(tmp_path / "in"))).manifest
    made.write(tmp_path / "out")
    assert Manifest.read(tmp_path / "out") == made


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            "Suturing_B001 N 16 3 6 1 2 2 2",
            "line 3: suture-needle-handling is 6, not within 1 and 5; correct it",
        ),
        (
            "Suturing_B001 N 10 3 2 1 2 2 0",
            "line 3: quality-of-final-product is 0, not within 1 and",
        ),
        (
            "Suturing_B001 N 14 3 2 1 2 2 3",
            "line 3: the global rating is 14, but its components sum to 13; correct one",
        ),
        ("Suturing_B001 X 13 3 2 1 2 2 3", "line 3: level is 'X', none of N, I and E; correct it"),
        (
            "Suturing_B001 N 13 3 2 1 2 2",
            "'Suturing_B001 N 13 3 2 1 2 2' is not of the form 'Suturing_B001 N 13 3 2 1 2 2 3'; corr",
        ),
        ("Suturing_B001 N 13 3 2 1 2 2.5 2.5", "is not of the form"),
        ("Suturing_B001 N 13 3 2 1 2 2 -3", "is not of the form"),
        (
            "Knot_Tying_B001 N 13 3 2 1 2 2 3",
            "line 3: 'Knot_Tying_B001' is no trial such as Suturing_B",
        ),
        ("Suturing_001 N 13 3 2 1 2 2 3", "line 3: 'Suturing_001' is no trial"),
    ],
)
def test_a_line_that_does_not_fit(tmp_path: Path, line: str, message: str) -> None:
    write_meta(tmp_path, "Suturing", ["Suturing_C001 I 6 1 1 1 1 1 1", "", line])
    with pytest.raises(ManifestError) as caught:
        read(Source(tmp_path))
    assert message in str(caught.value)
    assert f"{tmp_path}/Suturing/meta_file_Suturing.txt, line 3: " in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_a_trial_on_two_lines(tmp_path: Path) -> None:
    write_meta(tmp_path, "Suturing", [LINES[0], LINES[0]])
    with pytest.raises(ManifestError, match=r"Suturing\.txt, line 2: Suturing_B001 again; remove"):
        read(Source(tmp_path))


@pytest.mark.parametrize("there", [True, False])
def test_no_meta_file_at_all(tmp_path: Path, there: bool) -> None:
    folder = tmp_path if there else tmp_path / "nowhere"
    with pytest.raises(ManifestError) as caught:
        read(Source(folder))
    assert str(caught.value) == (
        f"{folder}: no meta_file_Suturing.txt, nor one of the other tasks, below it; name the folder "
        "that holds the tasks' folders"
    )


def test_a_task_in_two_folders(tmp_path: Path) -> None:
    write_meta(tmp_path / "a", "Suturing", LINES)
    write_meta(tmp_path / "b", "Suturing", LINES)
    with pytest.raises(
        ManifestError, match=r"a/Suturing/meta_file_Suturing\.txt and .*/b/Suturing"
    ):
        read(Source(tmp_path))


# The four folds


def folds_of(number: int, tasks: Sequence[str] = tuple(TRIALS)) -> dict[str, list[list[str]]]:
    return {task: [names(task)[fold::number] for fold in range(number)] for task in tasks}


def write_folds(folder: Path, folds: Any, protocol: int = 2) -> Path:
    (folder / "splits.pkl").write_bytes(pickle.dumps(folds, protocol))
    return folder


def test_four_folds(tmp_path: Path) -> None:
    folds = folds_of(4)
    imported = read(Source(write_folds(write_all(tmp_path), folds)))
    manifest = imported.manifest
    assert list(manifest.splits) == ["1", "2", "3", "4"]
    for number in range(4):
        tested = {id for task in folds.values() for id in task[number]}
        assert set(manifest.part(str(number + 1), "test")) == tested
        assert len(manifest.part(str(number + 1), "train")) == 103 - len(tested)
    assert "the folds of splits.pkl mix surgeons: those tested on also train" in imported.notes


def test_folds_of_surgeons_are_not_said_to_mix(tmp_path: Path) -> None:
    folds = {
        task: [[id for id in names(task) if id[-4] in surgeons] for surgeons in folds]
        for task, folds in zip(
            TRIALS, [("BDFH", "CEGI"), ("BDFH", "CEGI"), ("BCDE", "FGHI")], strict=True
        )
    }
    imported = read(Source(write_folds(write_all(tmp_path), folds)))
    assert list(imported.manifest.splits) == ["1", "2"]
    assert len(imported.notes) == 1


def test_no_folds_where_there_is_no_file_of_them(tmp_path: Path) -> None:
    assert read(Source(write_all(tmp_path))).manifest.splits == {}


def test_folds_of_tasks_that_are_not_there(tmp_path: Path) -> None:
    write_meta(tmp_path, "Suturing", LINES)
    folds = {
        "Suturing": [["Suturing_B002"], ["Suturing_B001"]],
        "Knot_Tying": [["Knot_Tying_B001"]],
    }
    splits = read(Source(write_folds(tmp_path, folds))).manifest.splits
    assert splits == {
        "1": {"Suturing_B002": "test", "Suturing_B001": "train"},
        "2": {"Suturing_B002": "train", "Suturing_B001": "test"},
    }


def changed(**tasks: Any) -> dict[str, Any]:
    return {**folds_of(4), **tasks}


def first_fold_of(task: str, change: Callable[[list[str]], list[str]]) -> dict[str, Any]:
    first, *others = folds_of(4)[task]
    return changed(**{task: [change(first), *others]})


@pytest.mark.parametrize(
    ("folds", "message"),
    [
        (
            first_fold_of("Suturing", lambda fold: [*fold, "Suturing_H002"]),
            "splits.pkl: 'Suturing_H002' has no line in the meta file; get both again",
        ),
        (first_fold_of("Suturing", lambda fold: [*fold, 7]), "'7' has no line in the meta file"),  # type: ignore[list-item]
        (
            first_fold_of("Knot_Tying", lambda fold: [*fold, fold[0]]),
            "splits.pkl: 'Knot_Tying_C001' is listed twice; it belongs to one fold",
        ),
        (
            first_fold_of("Knot_Tying", lambda fold: fold[1:]),
            "splits.pkl: 'Knot_Tying_C001' is in no fold; get the file again",
        ),
        (
            changed(Suturing=folds_of(5)["Suturing"]),
            "splits.pkl: tasks have different numbers of folds; get the file again",
        ),
        (changed(Suturing=None), "splits.pkl: has no folds of Suturing; get the file again"),
        (changed(Suturing=[names("Suturing")]), "splits.pkl: has no folds of Suturing"),
        (changed(Suturing=["a", "b"]), "splits.pkl: a fold of Suturing is no list of trials"),
        ([1, 2], "splits.pkl: has no folds of Suturing"),
    ],
)
def test_folds_that_do_not_fit(tmp_path: Path, folds: Any, message: str) -> None:
    with pytest.raises(ManifestError) as caught:
        read(Source(write_folds(write_all(tmp_path), folds)))
    assert message in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


# Kinematics


def write_kinematics(folder: Path, name: str, samples: int = 60, seed: int = 0) -> Any:
    path = folder / name.rpartition("_")[0] / "kinematics" / "AllGestures" / f"{name}.txt"
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.random.default_rng(seed).normal(size=(samples, 76))
    np.savetxt(path, values, fmt="%14.6f")
    return np.loadtxt(path)


def filled(folder: Path) -> tuple[FeatureStore, dict[str, Outcome]]:
    source = Source(folder)
    path = folder / "store"
    store = FeatureStore.open(path) if path.exists() else FeatureStore.create(path)
    outcomes = fill(source, store, read(source).manifest, lambda *_: None)
    return store, {outcome.video_id: outcome for outcome in outcomes}


def key(group: str, steps: str) -> str:
    return f"kinematics.track.{group}.{steps}.raw.none.float32"


COLUMNS: Mapping[str, slice] = {
    key("all", "steps-200x8"): slice(0, 76),
    key("master-left", "steps-200x8"): slice(0, 19),
    key("master-right", "steps-200x8"): slice(19, 38),
    key("slave-left", "steps-200x8"): slice(38, 57),
    key("slave-right", "steps-200x8"): slice(57, 76),
    key("primary", "steps-10x16"): slice(0, 38),
    key("secondary", "steps-10x16"): slice(38, 76),
}


def test_kinematics_in_named_groups(tmp_path: Path) -> None:
    write_meta(tmp_path, "Suturing", LINES)
    values = {
        f"Suturing_B00{n}": write_kinematics(tmp_path, f"Suturing_B00{n}", seed=n) for n in (1, 2)
    }
    store, outcomes = filled(tmp_path)
    for name, track in values.items():
        assert set(outcomes[name].computed) == set(COLUMNS)
        assert outcomes[name].failure is None
        for feature, columns in COLUMNS.items():
            entry = store.read(feature, name)
            steps, instants = map(int, feature.split(".")[3].removeprefix("steps-").split("x"))
            # 60 samples at 30 Hz last 2 s.
            times = (np.arange(steps * instants) + 0.5) / (steps * instants) * 2
            expected = [
                np.interp(times, np.arange(60) / 30, column).reshape(steps, instants).mean(axis=1)
                for column in track.T[columns]
            ]
            np.testing.assert_allclose(
                entry.values.astype(float), np.transpose(expected), atol=1e-6
            )
            assert entry.times[-1, 2] == pytest.approx(2)


def test_a_second_fill_computes_nothing(tmp_path: Path) -> None:
    write_meta(tmp_path, "Suturing", LINES[:1])
    write_kinematics(tmp_path, "Suturing_B001")
    filled(tmp_path)
    (outcome,) = filled(tmp_path)[1].values()
    assert outcome.computed == ()
    assert set(outcome.kept) == set(COLUMNS)


def test_an_empty_file_fails_alone(tmp_path: Path) -> None:
    write_meta(tmp_path, "Suturing", LINES)
    for name in ("Suturing_B001", "Suturing_B002"):
        write_kinematics(tmp_path, name)
    empty = tmp_path / "Suturing" / "kinematics" / "AllGestures" / "Suturing_B001.txt"
    empty.write_text("")
    _, outcomes = filled(tmp_path)
    assert outcomes["Suturing_B001"].failure == f"{empty}: is empty; get the file again"
    assert outcomes["Suturing_B002"].failure is None
    assert len(outcomes["Suturing_B002"].computed) == len(COLUMNS)


def test_too_few_columns_fail_alone(tmp_path: Path) -> None:
    write_meta(tmp_path, "Suturing", LINES)
    write_kinematics(tmp_path, "Suturing_B001")
    path = tmp_path / "Suturing" / "kinematics" / "AllGestures" / "Suturing_B002.txt"
    np.savetxt(path, np.zeros((5, 38)))
    _, outcomes = filled(tmp_path)
    assert "has columns 0 to 37, but --group" in (outcomes["Suturing_B002"].failure or "")
    assert outcomes["Suturing_B001"].failure is None


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    write_meta(tmp_path, "Suturing", LINES)
    write_kinematics(tmp_path, "Suturing_B002")
    write_kinematics(tmp_path, "Suturing_H002")  # Released without a line in the meta file.
    _, outcomes = filled(tmp_path)
    path = tmp_path / "Suturing" / "kinematics" / "AllGestures" / "Suturing_B001.txt"
    assert list(outcomes) == ["Suturing_B001", "Suturing_B002"]
    assert outcomes["Suturing_B001"].failure == (
        f"{path}: no such file; get the kinematics of its task"
    )
    assert outcomes["Suturing_B002"].failure is None


def test_progress_is_told(tmp_path: Path) -> None:
    write_meta(tmp_path, "Suturing", LINES)
    for name in ("Suturing_B001", "Suturing_B002"):
        write_kinematics(tmp_path, name)
    told: list[tuple[int, int, str]] = []
    source = Source(tmp_path)
    store = FeatureStore.create(tmp_path / "store")
    fill(source, store, read(source).manifest, lambda *said: told.append(said))
    assert told == [(1, 2, "Suturing_B001"), (2, 2, "Suturing_B002")]


def test_the_importer_is_found_by_its_name() -> None:
    module = load(DATASETS, "jigsaws")
    assert (module.read, module.fill, module.SUMMARY) == (read, fill, SUMMARY)
    assert len(SUMMARY.splitlines()) == 1
