"""What UNLV-Dive and UNLV-Vault share (Parmar and Morris, CVPR-W 2017).

One column of scores a file of MATLAB, video ``001.avi`` in the first row, and two lists of rows,
counted from 1. Each video comes in its own length and stretched to one length for recurrent
networks.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..dataset import Imported, Source, VideoFiles
from ..errors import ManifestError
from ..manifest import DEFAULT_SPLIT, Manifest, Video
from ..mat_files import read_mat
from ._split import Listed, train_test, unlisted_note

_POINTS = 30.0


@dataclass(frozen=True)
class Layout:
    """Where the files of one of the two datasets are, and what they hold.

    Args:
        name: begins the ids.
        task: what is performed.
        scores: file of ``overall_scores``.
        split: folder of ``training_idx.mat`` and ``testing_idx.mat``.
        originals: folder of the videos in their own length.
        difficulty: file of ``difficulty_level``; None where there is none.
        highest: score that there can be; None takes 30, the points of three judges, times
            difficulty.
    """

    name: str
    task: str
    scores: str
    split: str
    originals: str
    difficulty: str | None = None
    highest: float | None = None


def read_unlv(source: Source, layout: Layout) -> Imported:
    """Read one of the two datasets.

    Raises:
        ManifestError: a file is missing or broken, lists that do not fit, a score out of range, or
            two files of one video.
    """
    scores = _column(source.folder / layout.scores, "overall_scores")
    difficulty = _difficulty(source.folder, layout, len(scores))
    _check_scores(source.folder / layout.scores, scores, difficulty, layout)
    stems = [f"{number:03d}" for number in range(1, len(scores) + 1)]
    ids = [f"{layout.name}-{stem}" for stem in stems]
    files = VideoFiles(source)
    # Where nothing has its own length, what was stretched is all that there is.
    own_length = any(files.find(stem, layout.originals) for stem in stems)
    within = layout.originals if own_length else ""
    videos = [
        Video(
            id=id,
            path=files.find(stem, within),
            task=layout.task,
            score=float(score),
            difficulty=None if difficulty is None else float(difficulty[row]),
        )
        for row, (id, stem, score) in enumerate(zip(ids, stems, scores, strict=True))
    ]
    folder = source.folder / layout.split
    split = train_test(
        _listed(folder / "training_idx.mat", "training_idx", ids),
        _listed(folder / "testing_idx.mat", "testing_idx", ids),
    )
    manifest = Manifest(tuple(videos), {DEFAULT_SPLIT: split})
    return Imported.of(manifest, _notes(manifest, layout, own_length))


def _column(path: Path, name: str) -> NDArray[np.float64]:
    matrix = read_mat(path, name)
    if 1 not in matrix.shape:
        raise ManifestError(
            f"{path}: '{name}' has shape {matrix.shape}, and one column is needed; get the "
            "authors' own file"
        )
    return matrix.ravel()


def _difficulty(folder: Path, layout: Layout, videos: int) -> NDArray[np.float64] | None:
    if layout.difficulty is None:
        return None
    path = folder / layout.difficulty
    found = _column(path, "difficulty_level")
    if len(found) != videos:
        raise ManifestError(
            f"{path}: {len(found)} difficulties, but {videos} scores in {layout.scores}; get both "
            "files again"
        )
    for row in np.flatnonzero(found <= 0):
        raise ManifestError(f"{path}: row {row + 1} is {found[row]:g}, not above 0; correct it")
    return found


def _check_scores(
    path: Path, scores: NDArray[np.float64], difficulty: NDArray[np.float64] | None, layout: Layout
) -> None:
    assert difficulty is not None or layout.highest is not None
    highest = np.full(len(scores), layout.highest) if difficulty is None else _POINTS * difficulty
    for row in np.flatnonzero((scores < 0) | (scores > highest + 1e-6)):
        raise ManifestError(
            f"{path}: score {scores[row]:g} of row {row + 1} is not within 0 and {highest[row]:g}; "
            "correct it"
        )


def _listed(path: Path, name: str, ids: Sequence[str]) -> Listed:
    return Listed(path, list(_ids(path, _column(path, name), ids)))


def _ids(path: Path, numbers: NDArray[np.float64], ids: Sequence[str]) -> Iterator[str]:
    for place, number in enumerate(numbers, 1):
        if number not in range(1, len(ids) + 1):
            raise ManifestError(
                f"{path}: entry {place} is {number:g}, and videos are numbered 1 to {len(ids)}; "
                "correct it"
            )
        yield ids[int(number) - 1]


def _notes(manifest: Manifest, layout: Layout, own_length: bool) -> list[str]:
    notes = unlisted_note(len(manifest.videos) - len(manifest.splits[DEFAULT_SPLIT]))
    if not own_length and any(video.path for video in manifest.videos):
        notes.append(
            f"no video below a folder {layout.originals}, so those found may be stretched to one "
            "length"
        )
    return notes
