from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.io import savemat

from aqakit.features.dataset import DATASETS, Source, count_tasks
from aqakit.features.datasets.aqa_7 import SUMMARY, read
from aqakit.features.errors import ManifestError
from aqakit.features.plugins import load

TRAIN = np.array([[1, 1, 21.6], [1, 370, 102.6], [2, 3, 16.87], [6, 91, 49.8], [3, 175, 8]])
TEST = np.array([[5, 88, 104.88], [4, 206, 50], [1, 2, 80.85]])


def write(
    folder: Path, train: NDArray[np.float64] = TRAIN, test: NDArray[np.float64] = TEST
) -> Path:
    (folder / "Split_4").mkdir(parents=True, exist_ok=True)
    for part, rows in (("train", train), ("test", test)):
        savemat(
            folder / "Split_4" / f"split_4_{part}_list.mat", {f"consolidated_{part}_list": rows}
        )
    return folder


def test_counts_of_the_paper(tmp_path: Path) -> None:
    """Numbers of videos and ranges of scores: table 1 of Parmar and Morris, WACV 2019."""
    rng = np.random.default_rng(0)
    table = {1: (370, 21.6, 102.6), 2: (176, 12.3, 16.87), 3: (175, 8, 50), 4: (206, 8, 50)}
    table |= {5: (88, 46.2, 104.88), 6: (91, 49.8, 99.36)}
    rows = np.array(
        [
            (action, number, rng.uniform(lowest, highest))
            for action, (videos, lowest, highest) in table.items()
            for number in range(1, videos + 1)
        ]
    )
    rows = rows[rng.permutation(len(rows))]
    imported = read(Source(write(tmp_path, rows[:803], rows[803:])))
    counts = {count.task: count.videos for count in count_tasks(imported)}
    assert counts == {
        "diving": 370,
        "gym-vault": 176,
        "skiing": 175,
        "snowboard": 206,
        "sync-diving-3m": 88,
        "sync-diving-10m": 91,
    }
    assert len(imported.manifest.part("default", "train")) == 803
    assert len(imported.manifest.part("default", "test")) == 303
    assert len(imported.absent) == 1106
    assert imported.notes == ()
    by_id = {video.id: video for video in imported.manifest.videos}
    for action, number, score in rows[:50]:
        task = list(counts)[int(action) - 1]
        assert by_id[f"{task}-{int(number):03d}"].score == score


def test_rows_become_videos(tmp_path: Path) -> None:
    manifest = read(Source(write(tmp_path))).manifest
    assert [(video.id, video.task, video.score) for video in manifest.videos] == [
        ("diving-001", "diving", 21.6),
        ("diving-002", "diving", 80.85),
        ("diving-370", "diving", 102.6),
        ("gym-vault-003", "gym-vault", 16.87),
        ("skiing-175", "skiing", 8),
        ("snowboard-206", "snowboard", 50),
        ("sync-diving-3m-088", "sync-diving-3m", 104.88),
        ("sync-diving-10m-091", "sync-diving-10m", 49.8),
    ]
    assert manifest.part("default", "test") == ("diving-002", "snowboard-206", "sync-diving-3m-088")


@pytest.mark.parametrize("scaled", ["train", "test", "both"])
def test_scores_times_a_hundred(tmp_path: Path, scaled: str) -> None:
    plain = [video.score for video in read(Source(write(tmp_path))).manifest.videos]
    lists = {
        part: rows * (1, 1, 100) if scaled in (part, "both") else rows
        for part, rows in (("train", TRAIN), ("test", TEST))
    }
    imported = read(Source(write(tmp_path, **lists)))
    assert [video.score for video in imported.manifest.videos] == pytest.approx(plain)
    told = ["train", "test"] if scaled == "both" else [scaled]
    assert imported.notes == tuple(
        f"split_4_{part}_list.mat holds scores times 100; they were divided by it" for part in told
    )


def test_videos_of_the_archive(tmp_path: Path) -> None:
    write(tmp_path)
    paths = [
        tmp_path / "Actions" / "diving" / "001.avi",
        tmp_path / "Actions" / "gym_vault" / "003.avi",
        tmp_path / "Actions" / "sync_diving_3m" / "088.avi",
        tmp_path / "Actions" / "sync_diving_10m" / "091.avi",
    ]
    for path in (*paths, tmp_path / "Actions" / "trampoline" / "001.avi"):
        path.parent.mkdir(parents=True)
        path.touch()
    imported = read(Source(tmp_path))
    assert [video.path for video in imported.manifest.videos if video.path] == paths
    assert imported.absent == ("diving-002", "diving-370", "skiing-175", "snowboard-206")


def test_videos_of_a_copy_elsewhere(tmp_path: Path) -> None:
    path = tmp_path / "frames" / "ski_big_air-out" / "175.mp4"
    path.parent.mkdir(parents=True)
    path.touch()
    imported = read(Source(write(tmp_path / "lists"), tmp_path / "frames"))
    assert [video.path for video in imported.manifest.videos if video.path] == [path]


def changed(row: int, column: int, value: float) -> NDArray[np.float64]:
    rows = TRAIN.copy()
    rows[row, column] = value
    return rows


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (
            {"train": changed(3, 0, 7)},
            "train_list.mat, row 4: action 7 is none of 1 to 6; correct it",
        ),
        ({"train": changed(3, 0, 0)}, "row 4: action 0 is none of 1 to 6"),
        ({"train": changed(3, 0, 1.5)}, "row 4: action 1.5 is none of 1 to 6"),
        (
            {"train": changed(2, 1, 177)},
            "row 3: video 177 of gym-vault is none of 1 to 176; correct",
        ),
        ({"train": changed(0, 1, 0)}, "row 1: video 0 of diving is none of 1 to 370"),
        ({"train": changed(0, 1, 2.5)}, "row 1: video 2.5 of diving is none of 1 to 370"),
        (
            {"train": changed(2, 2, 17)},
            "row 3: score 17 of gym-vault is not within 12.3 and 16.87; correct it",
        ),
        ({"train": changed(0, 2, 0)}, "row 1: score 0 of diving is not within 21.6 and 102.6"),
        (
            {"train": changed(0, 2, 8085)},
            "row 1: score 8085 of diving is not within 21.6 and 102.6",
        ),
        (
            {"train": changed(0, 2, np.nan)},
            "train_list.mat: 'consolidated_train_list' row 1, column 3 is nan; correct it",
        ),
        ({"train": TRAIN[:, :2]}, "has 2 columns, not action, video and score"),
        ({"train": changed(1, 1, 1)}, "train_list.mat: lists 'diving-001' twice"),
        ({"test": TRAIN[1:2]}, "test_list.mat: lists 'diving-370' and in "),
    ],
)
def test_what_does_not_fit(tmp_path: Path, wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ManifestError) as caught:
        read(Source(write(tmp_path, **wrong)))
    assert message in str(caught.value)
    assert f"{tmp_path}/Split_4/split_4_" in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("part", ["train", "test"])
def test_a_missing_file(tmp_path: Path, part: str) -> None:
    path = write(tmp_path) / "Split_4" / f"split_4_{part}_list.mat"
    path.unlink()
    with pytest.raises(ManifestError) as caught:
        read(Source(tmp_path))
    assert str(caught.value) == f"{path}: no such file; name the folder that holds it"


def test_a_list_under_another_name(tmp_path: Path) -> None:
    write(tmp_path)
    path = tmp_path / "Split_4" / "split_4_test_list.mat"
    savemat(path, {"consolidated_train_list": TEST})
    with pytest.raises(ManifestError, match="has no variable 'consolidated_test_list'"):
        read(Source(tmp_path))


def test_the_importer_is_found_by_its_name() -> None:
    module = load(DATASETS, "aqa-7")
    assert (module.read, module.SUMMARY) == (read, SUMMARY)
    assert len(SUMMARY.splitlines()) == 1
