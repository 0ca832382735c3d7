from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.io import savemat

from aqakit.features.dataset import Imported, Source
from aqakit.features.datasets._unlv import Layout, read_unlv
from aqakit.features.errors import ManifestError

DIVE = Layout("dive", "diving", "scores.mat", "split", "original", difficulty="difficulty.mat")
VAULT = Layout("vault", "gym-vault", "scores.mat", "split", "original", highest=20.0)
SCORES = np.array([[52.8], [0.0], [19.95], [20.0]])


def write(
    folder: Path,
    scores: NDArray[Any] = SCORES,
    difficulty: NDArray[Any] | None = None,
    train: Sequence[float] = (4, 1),
    test: Sequence[float] = (3, 2),
) -> Path:
    (folder / "split").mkdir()
    savemat(folder / "scores.mat", {"overall_scores": scores})
    difficulty = np.full(scores.shape, 3.2) if difficulty is None else difficulty
    savemat(folder / "difficulty.mat", {"difficulty_level": difficulty})
    savemat(folder / "split" / "training_idx.mat", {"training_idx": np.array([train])})
    savemat(folder / "split" / "testing_idx.mat", {"testing_idx": np.array([test])})
    return folder


def read(folder: Path, layout: Layout = DIVE, videos: Path | None = None) -> Imported:
    return read_unlv(Source(folder, videos), layout)


def test_rows_become_videos(tmp_path: Path) -> None:
    difficulty = np.array([[3.2], [2.9], [3.0], [3.6]])
    manifest = read(write(tmp_path, difficulty=difficulty)).manifest
    assert [video.id for video in manifest.videos] == [f"dive-00{n}" for n in (1, 2, 3, 4)]
    assert [video.score for video in manifest.videos] == [52.8, 0.0, 19.95, 20.0]
    assert [video.difficulty for video in manifest.videos] == [3.2, 2.9, 3.0, 3.6]
    assert {video.task for video in manifest.videos} == {"diving"}


def test_lists_count_from_one(tmp_path: Path) -> None:
    manifest = read(write(tmp_path)).manifest
    assert manifest.part("default", "train") == ("dive-001", "dive-004")
    assert manifest.part("default", "test") == ("dive-002", "dive-003")


def test_a_row_of_scores_is_as_good_as_a_column(tmp_path: Path) -> None:
    imported = read(write(tmp_path, scores=SCORES.T))
    assert [video.score for video in imported.manifest.videos] == [52.8, 0.0, 19.95, 20.0]


def test_without_difficulties(tmp_path: Path) -> None:
    write(tmp_path, scores=SCORES / 3)
    (tmp_path / "difficulty.mat").unlink()
    manifest = read(tmp_path, VAULT).manifest
    assert {video.difficulty for video in manifest.videos} == {None}


def test_no_video_is_there(tmp_path: Path) -> None:
    imported = read(write(tmp_path))
    assert imported.absent == ("dive-001", "dive-002", "dive-003", "dive-004")
    assert imported.notes == ()


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def test_videos_in_their_own_length_come_first(tmp_path: Path) -> None:
    write(tmp_path)
    own = [tmp_path / "original" / f"00{n}.avi" for n in (1, 2)]
    touch(*own, *(tmp_path / "stretched" / f"00{n}.avi" for n in (1, 2, 3)))
    imported = read(tmp_path)
    assert [video.path for video in imported.manifest.videos] == [*own, None, None]
    assert imported.absent == ("dive-003", "dive-004")
    assert imported.notes == ()


def test_stretched_videos_are_told(tmp_path: Path) -> None:
    write(tmp_path)
    touch(tmp_path / "stretched" / "002.avi")
    imported = read(tmp_path)
    assert imported.absent == ("dive-001", "dive-003", "dive-004")
    assert imported.notes == (
        "no video below a folder original, so those found may be stretched to one length",
    )


def test_videos_elsewhere(tmp_path: Path) -> None:
    folder = tmp_path / "annotations"
    folder.mkdir()
    write(folder)
    touch(tmp_path / "original" / "004.avi")
    imported = read(folder, videos=tmp_path / "original")
    assert imported.manifest.videos[3].path == tmp_path / "original" / "004.avi"
    assert imported.notes == ()


def test_a_video_in_no_list(tmp_path: Path) -> None:
    imported = read(write(tmp_path, test=(3,)))
    assert "dive-002" not in imported.manifest.splits["default"]
    assert imported.notes == ("videos in neither list, and so in no part of the split: 1",)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (
            {"train": (1, 5)},
            "split/training_idx.mat: entry 2 is 5, and videos are numbered 1 to 4; correct it",
        ),
        ({"test": (0, 2)}, "split/testing_idx.mat: entry 1 is 0, and videos are numbered 1 to 4"),
        ({"test": (2, -1)}, "split/testing_idx.mat: entry 2 is -1, and videos"),
        ({"test": (2.5,)}, "split/testing_idx.mat: entry 1 is 2.5, and videos"),
        ({"train": (4, 4)}, "split/training_idx.mat: lists 'dive-004' twice"),
        ({"test": (3, 4)}, "testing_idx.mat: lists 'dive-004' and in "),
        (
            {"scores": np.array([[1.0], [-0.5], [2], [3]])},
            "scores.mat: score -0.5 of row 2 is not within 0 and 96; correct it",
        ),
        (
            {"scores": np.array([[1.0], [2], [96.5], [3]])},
            "score 96.5 of row 3 is not within 0 and",
        ),
        (
            {"scores": np.array([[1.0], [np.nan], [2], [3]])},
            "scores.mat: 'overall_scores' row 2, column 1 is nan; correct it",
        ),
        (
            {"scores": np.ones((2, 2))},
            "scores.mat: 'overall_scores' has shape (2, 2), and one column",
        ),
        (
            {"difficulty": np.ones((3, 1))},
            "difficulty.mat: 3 difficulties, but 4 scores in scores.mat; get both files again",
        ),
        (
            {"difficulty": np.array([[3.0], [0], [3], [3]])},
            "difficulty.mat: row 2 is 0, not above 0; correct it",
        ),
    ],
)
def test_what_does_not_fit(tmp_path: Path, wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ManifestError) as caught:
        read(write(tmp_path, **wrong))
    assert message in str(caught.value)
    assert str(tmp_path) in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_scores_at_the_limits(tmp_path: Path) -> None:
    # 30 * 4.1 is a little less than 123 in floating point.
    write(tmp_path, scores=np.array([[0.0], [123.0], [1], [1]]), difficulty=np.full((4, 1), 4.1))
    assert read(tmp_path).manifest.videos[1].score == 123.0


def test_a_score_above_a_fixed_limit(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="score 20.5 of row 2 is not within 0 and 20"):
        read(write(tmp_path, scores=np.array([[15.0], [20.5], [1], [1]])), VAULT)


@pytest.mark.parametrize(
    "name", ["scores.mat", "difficulty.mat", "split/training_idx.mat", "split/testing_idx.mat"]
)
def test_a_missing_file(tmp_path: Path, name: str) -> None:
    write(tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(ManifestError) as caught:
        read(tmp_path)
    assert str(caught.value) == (f"{tmp_path / name}: no such file; name the folder that holds it")
