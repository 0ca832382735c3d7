"""AQA-7: Olympic sports (Parmar and Morris, WACV 2019).

Two lists, ``Split_4/split_4_{train,test}_list.mat``, have a row a video: number of the action,
number of the video, score. They hold six of the seven actions, 1106 videos, 803 of them to train
on; trampoline is left out, as in the papers. Actions are scored on scales of their own.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..dataset import Imported, Source, VideoFiles
from ..errors import ManifestError
from ..manifest import DEFAULT_SPLIT, Manifest, Video
from ..mat_files import read_mat
from ._split import Listed, train_test

SUMMARY = "AQA-7: folder with Split_4/split_4_train_list.mat and split_4_test_list.mat"

_SCALE = 100.0
# Scores are written with two decimals.
_ROUNDING = 0.005


class Action(NamedTuple):
    """One of the actions.

    Args:
        task: its name.
        folder: of its videos.
        videos: how many it has; they are numbered from 1.
        lowest: score, in the paper's table of the dataset.
        highest: likewise.
    """

    task: str
    folder: str
    videos: int
    lowest: float
    highest: float


ACTIONS = (
    Action("diving", "diving", 370, 21.6, 102.6),
    Action("gym-vault", "gym_vault", 176, 12.3, 16.87),
    Action("skiing", "ski_big_air", 175, 8, 50),
    Action("snowboard", "snowboard_big_air", 206, 8, 50),
    Action("sync-diving-3m", "sync_diving_3m", 88, 46.2, 104.88),
    Action("sync-diving-10m", "sync_diving_10m", 91, 49.8, 99.36),
)


class _Row(NamedTuple):
    action: Action
    number: int
    score: float

    @property
    def id(self) -> str:
        return f"{self.action.task}-{self.number:03d}"


def read(source: Source) -> Imported:
    """Videos such as ``diving-001``, with the published split.

    Raises:
        ManifestError: one line that names the file, what is wrong and the cure.
    """
    notes: list[str] = []
    folder = source.folder / "Split_4"
    paths = [folder / f"split_4_{part}_list.mat" for part in ("train", "test")]
    train, test = (_rows(path, notes) for path in paths)
    split = train_test(
        Listed(paths[0], [row.id for row in train]), Listed(paths[1], [row.id for row in test])
    )
    files = VideoFiles(source)
    videos = [
        Video(id=row.id, path=_path(files, row), task=row.action.task, score=row.score)
        for row in sorted([*train, *test], key=lambda row: (ACTIONS.index(row.action), row.number))
    ]
    return Imported.of(Manifest(tuple(videos), {DEFAULT_SPLIT: split}), notes)


def _path(files: VideoFiles, row: _Row) -> Path | None:
    """In the folder of the archive, or in the one that copies with extracted frames have."""
    stem = f"{row.number:03d}"
    return files.find(stem, row.action.folder) or files.find(stem, f"{row.action.folder}-out")


def _rows(path: Path, notes: list[str]) -> list[_Row]:
    name = f"consolidated_{'train' if 'train' in path.name else 'test'}_list"
    matrix = read_mat(path, name)
    if matrix.shape[1] != 3:
        raise ManifestError(
            f"{path}: '{name}' has {matrix.shape[1]} columns, not action, video and score; get the "
            "authors' own file"
        )
    if _is_scaled(matrix):
        matrix = matrix / (1, 1, _SCALE)
        notes.append(f"{path.name} holds scores times {_SCALE:g}; they were divided by it")
    return list(_checked(path, matrix))


def _is_scaled(matrix: NDArray[np.float64]) -> bool:
    """Whether scores are times 100: even the lowest then is above the highest that there can be."""
    return bool(matrix[:, 2].min() > max(action.highest for action in ACTIONS) + _ROUNDING)


def _checked(path: Path, matrix: NDArray[np.float64]) -> Iterator[_Row]:
    for place, (action_number, number, score) in enumerate(matrix.tolist(), 1):
        if action_number not in range(1, len(ACTIONS) + 1):
            raise ManifestError(
                f"{path}, row {place}: action {action_number:g} is none of 1 to {len(ACTIONS)}; "
                "correct it"
            )
        action = ACTIONS[int(action_number) - 1]
        if number not in range(1, action.videos + 1):
            raise ManifestError(
                f"{path}, row {place}: video {number:g} of {action.task} is none of 1 to "
                f"{action.videos}; correct it"
            )
        if not action.lowest - _ROUNDING <= score <= action.highest + _ROUNDING:
            raise ManifestError(
                f"{path}, row {place}: score {score:g} of {action.task} is not within "
                f"{action.lowest:g} and {action.highest:g}; correct it"
            )
        yield _Row(action, int(number), score)
