import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from aqakit.features.dataset import DATASETS, Source
from aqakit.features.datasets.mtl_aqa import SUMMARY, read
from aqakit.features.errors import ManifestError
from aqakit.features.manifest import Manifest
from aqakit.features.plugins import load

DIVE: dict[str, Any] = {
    "primary_view": 0,
    "start_frame": 50,
    "end_frame": 150,
    "position": 1,
    "difficulty": 3.4,
    "armstand": 0,
    "rotation_type": 2,
    "ss_no": 7,
    "tw_no": 0,
    "final_score": 81.6,
}
DIVES: dict[Any, Any] = {
    (22, 130): DIVE | {"final_score": 104.5, "armstand": 1, "ss_no": 9},
    (1, 1): DIVE,
    (1, 2): DIVE | {"final_score": 0.0, "start_frame": 0},
}


def write(
    folder: Path,
    dives: Any = DIVES,
    train: Any = ((22, 130), (1, 1)),
    test: Any = ((1, 2),),
    protocol: int = 2,
) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, value in (
        ("final_annotations_dict", dives),
        ("train_split_0", train if isinstance(train, str) else list(train)),
        ("test_split_0", test if isinstance(test, str) else list(test)),
    ):
        (folder / f"{name}.pkl").write_bytes(pickle.dumps(value, protocol))
    return folder


def test_counts_of_the_paper(tmp_path: Path) -> None:
    keys = [(event, dive) for event in range(1, 17) for dive in range(1, 90)][:1412]
    rng = np.random.default_rng(0)
    dives = {key: DIVE | {"final_score": float(rng.uniform(0, 104.5))} for key in keys}
    order = [keys[place] for place in rng.permutation(len(keys))]
    imported = read(Source(write(tmp_path, dives, order[:1059], order[1059:])))
    assert len(imported.manifest.videos) == 1412
    assert set(imported.manifest.part("default", "train")) == {
        f"{event:02d}_{dive:02d}" for event, dive in order[:1059]
    }
    assert len(imported.manifest.part("default", "test")) == 353
    assert len(imported.absent) == 1412
    assert imported.notes == ()


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_an_annotation_becomes_a_video(tmp_path: Path, protocol: int) -> None:
    first, _, last = read(Source(write(tmp_path, protocol=protocol))).manifest.videos
    assert (first.id, last.id) == ("01_01", "22_130")
    assert (first.task, first.score, first.difficulty) == ("diving", 81.6, 3.4)
    assert first.action_type == "position-1 armstand-0 rotation-2 somersaults-7 twists-0"
    assert last.action_type == "position-1 armstand-1 rotation-2 somersaults-9 twists-0"
    assert (first.path, first.start_seconds, first.end_seconds) == (None, None, None)


def test_numbers_of_numpy(tmp_path: Path) -> None:
    dive = {name: np.float64(value) for name, value in DIVE.items()}
    key = (np.int64(1), np.int32(7))
    write(tmp_path, {key: dive}, [key], [])
    (video,) = read(Source(tmp_path)).manifest.videos
    assert (video.id, video.score) == ("01_07", 81.6)
    assert video.action_type == "position-1 armstand-0 rotation-2 somersaults-7 twists-0"


def test_the_repository_as_a_whole(tmp_path: Path) -> None:
    below = tmp_path / "MTL-AQA_dataset_release" / "Ready_2_Use"
    write(below / "MTL-AQA_split_0_data")
    # Other data sets of the repository have the same file names.
    write(below / "UNLV_Dive_split_4", {(1, 9): DIVE}, [(1, 9)], [])
    assert len(read(Source(tmp_path)).manifest.videos) == 3


def test_the_manifest_survives_its_table(tmp_path: Path) -> None:
    made = read(Source(write(tmp_path / "in"), rate=25)).manifest
    made.write(tmp_path / "out")
    assert Manifest.read(tmp_path / "out") == made


# Videos


def touch(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    return path


def test_a_stretch_of_an_event(tmp_path: Path) -> None:
    event = touch(tmp_path / "videos" / "01.mp4")
    source = Source(write(tmp_path / "info"), tmp_path / "videos", rate=25)
    imported = read(source)
    first, second, last = imported.manifest.videos
    assert (first.path, first.start_seconds, first.end_seconds) == (event, 2, 6)
    assert (second.path, second.start_seconds, second.end_seconds) == (event, 0, 6)
    assert (last.path, last.start_seconds, last.end_seconds) == (None, 2, 6)
    assert imported.absent == ("22_130",)


def test_a_dive_that_is_cut_already(tmp_path: Path) -> None:
    touch(tmp_path / "videos" / "01.mp4")
    cut = [touch(tmp_path / "videos" / f"{name}.mp4") for name in ("01_01", "22_130")]
    source = Source(write(tmp_path / "info"), tmp_path / "videos", rate=25)
    first, second, last = read(source).manifest.videos
    assert [(video.path, video.start_seconds) for video in (first, last)] == [
        (cut[0], None),
        (cut[1], None),
    ]
    assert (second.path, second.end_seconds) == (tmp_path / "videos" / "01.mp4", 6)


def test_cut_dives_need_no_rate(tmp_path: Path) -> None:
    cut = touch(write(tmp_path) / "01_01.mp4")
    first, *others = read(Source(tmp_path)).manifest.videos
    assert (first.path, first.end_seconds) == (cut, None)
    assert {video.path for video in others} == {None}


def test_an_event_needs_a_rate(tmp_path: Path) -> None:
    event = touch(write(tmp_path) / "01.mp4")
    with pytest.raises(ManifestError) as caught:
        read(Source(tmp_path))
    assert str(caught.value) == (
        f"{event}: annotations count its frames; say how many a second it has with --rate, or cut it "
        "into files such as 01_01.mp4 where events differ"
    )


@pytest.mark.parametrize("rate", [0.0, -25.0, np.nan, np.inf])
def test_a_rate_without_meaning(tmp_path: Path, rate: float) -> None:
    with pytest.raises(
        ManifestError, match=f"--rate {rate:g} must be positive, in frames a second"
    ):
        read(Source(write(tmp_path), rate=rate))


# What does not fit


def one(**changes: Any) -> dict[Any, Any]:
    return {**DIVES, (1, 1): DIVE | changes}


def without(name: str) -> dict[Any, Any]:
    return {**DIVES, (1, 1): {key: value for key, value in DIVE.items() if key != name}}


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (
            {"dives": one(final_score=105.0)},
            "dict.pkl, 01_01: final_score is 105, not finite and within 0 and 104.5; correct it",
        ),
        ({"dives": one(final_score=-1.0)}, "01_01: final_score is -1, not finite and within 0 and"),
        ({"dives": one(final_score=np.nan)}, "01_01: final_score is nan, not finite"),
        (
            {"dives": one(difficulty=np.inf)},
            "01_01: difficulty is inf, not finite and of at least 0",
        ),
        ({"dives": one(difficulty="3.4")}, "01_01: difficulty is '3.4'; a number is needed"),
        ({"dives": one(difficulty=True)}, "01_01: difficulty is 'True'; a number is needed"),
        ({"dives": one(final_score=1j)}, "01_01: final_score is '1j'; a number is needed"),
        ({"dives": without("final_score")}, "01_01: final_score is missing; a number is needed"),
        ({"dives": without("tw_no")}, "01_01: tw_no is missing"),
        ({"dives": one(position=3)}, "01_01: position is 3, not finite and within 0 and 2"),
        ({"dives": one(rotation_type=1.5)}, "01_01: rotation_type is 1.5, no number of a class"),
        ({"dives": one(end_frame=50)}, "01_01: frames 50 to 50 are no stretch of whole frames"),
        (
            {"dives": one(start_frame=2.5)},
            "01_01: frames 2.5 to 150 are no stretch of whole frames",
        ),
        ({"dives": {(1, 1): [81.6]}}, "dict.pkl, 01_01: is no annotation by name"),
        ({"dives": {}}, "dict.pkl: holds no annotations by key; get the authors' own file"),
        ({"dives": [DIVE]}, "dict.pkl: holds no annotations by key"),
        (
            {"dives": {"01_01": DIVE}},
            "dict.pkl: '01_01' is no key of event and dive such as (1, 1)",
        ),
        ({"dives": {(1, 2, 3): DIVE}}, "dict.pkl: '(1, 2, 3)' is no key of event and dive"),
        ({"dives": {(1, -2): DIVE}}, "dict.pkl: '(1, -2)' is no key"),
        (
            {"train": [(1, 1), (1, 3)]},
            "train_split_0.pkl: lists '01_03', which final_annotations_dict",
        ),
        ({"train": [(1, 1), 5]}, "train_split_0.pkl: '5' is no key of event and dive"),
        ({"train": "all"}, "train_split_0.pkl: holds no list of keys; get the authors' own file"),
        ({"train": [(1, 1), (1, 1)]}, "train_split_0.pkl: lists '01_01' twice"),
        ({"test": [(1, 1)]}, "test_split_0.pkl: lists '01_01' and in "),
    ],
)
def test_one_clear_line(tmp_path: Path, wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ManifestError) as caught:
        read(Source(write(tmp_path, **wrong)))
    assert message in str(caught.value)
    assert str(tmp_path) in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_a_dive_in_no_list(tmp_path: Path) -> None:
    imported = read(Source(write(tmp_path, train=[(1, 1)])))
    assert imported.notes == ("videos in neither list, and so in no part of the split: 1",)
    assert "22_130" not in imported.manifest.splits["default"]


@pytest.mark.parametrize("name", ["final_annotations_dict", "train_split_0", "test_split_0"])
def test_a_missing_file(tmp_path: Path, name: str) -> None:
    path = write(tmp_path) / f"{name}.pkl"
    path.unlink()
    with pytest.raises(ManifestError) as caught:
        read(Source(tmp_path))
    assert str(caught.value) == f"{path}: no such file; correct its path"


def test_a_pickle_that_would_run_a_program(tmp_path: Path) -> None:
    write(tmp_path)
    (tmp_path / "test_split_0.pkl").write_bytes(b"cos\nsystem\n(S'true'\ntR.")
    with pytest.raises(ManifestError, match=r"test_split_0\.pkl: holds 'os\.system', and only"):
        read(Source(tmp_path))


def test_the_importer_is_found_by_its_name() -> None:
    module = load(DATASETS, "mtl-aqa")
    assert (module.read, module.SUMMARY) == (read, SUMMARY)
    assert len(SUMMARY.splitlines()) == 1
