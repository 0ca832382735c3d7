"""How one row of a table did on the test part of one fold, and the files that keep it.

A run folder holds ``predictions.csv``, the score of every video by every seed and by each control; and
``test_pairs.csv``, the pairs that it was tested on. All metrics of tables follow from the two.
"""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..features.errors import RecipeError
from .fold import Fold

CONTROL = "control: "
PREDICTIONS, TEST_PAIRS = "predictions.csv", "test_pairs.csv"
_SEED = "seed_"


@dataclass(frozen=True)
class FoldFacts:
    """What is said beside the numbers of a fold: how much it is of, what it lacks or shares.

    Args:
        train_videos: that were learned from.
        train_pairs: likewise.
        dropped_videos: without features.
        dropped_pairs: that lost a video.
        shared_subjects: who perform in the training and in the test part.
    """

    train_videos: int = 0
    train_pairs: int = 0
    dropped_videos: int = 0
    dropped_pairs: int = 0
    shared_subjects: int = 0


@dataclass(frozen=True)
class Result:
    """Test scores of one row on one fold.

    Args:
        name: of the row: a recipe, a head or a control.
        feature: keys of the cached features; empty for a control.
        task: that the fold is of; empty where tasks are not told apart.
        split: name of the fold.
        seeds: trainings, in order.
        ids: of the V test videos.
        subjects: who performs each; empty where unknown.
        scores: (S, V) of each test video by each seed.
        truth: (V,) labels, nan where unknown.
        pairs: (P, 2) positions of the better and the worse test video.
        seen: (P,) how many videos of each pair also train.
        scaled: whether scores are on the scale of the labels, so that their distance means something.
        label_range: least and greatest label; nan where no video has one.
        facts: of the fold.
    """

    name: str
    feature: str
    task: str
    split: str
    seeds: tuple[int, ...]
    ids: tuple[str, ...]
    subjects: tuple[str, ...]
    scores: NDArray[np.float64]
    truth: NDArray[np.float64]
    pairs: NDArray[np.int64]
    seen: NDArray[np.int64]
    scaled: bool
    label_range: tuple[float, float]
    facts: FoldFacts


def write_predictions(
    folder: Path,
    fold: Fold,
    seeds: Sequence[int],
    scores: NDArray[np.float64],
    controls: Mapping[str, NDArray[np.float64]],
) -> None:
    """Write both files.

    Args:
        folder: that is there.
        fold: whose videos were scored.
        seeds: trainings.
        scores: (S, V) of all videos of the fold.
        controls: by name, (V,).
    """
    members = {"train": fold.train, "val": fold.validation, "test": fold.test}
    parts_of = {name: set(places.tolist()) for name, places in members.items()}
    columns = [*(f"{_SEED}{seed}" for seed in seeds), *(CONTROL + name for name in controls)]
    values = np.concatenate([scores, *(own[None] for own in controls.values())]).T
    with (folder / PREDICTIONS).open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "part", "subject", "truth", *columns])
        for place, video in enumerate(fold.videos):
            parts = [name for name, own in parts_of.items() if place in own]
            truth = "" if video.score is None else repr(video.score)
            known = [video.id, "+".join(parts), video.subject or "", truth]
            writer.writerow([*known, *map(repr, values[place].tolist())])
    with (folder / TEST_PAIRS).open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["better", "worse", "seen"])
        for (better, worse), seen in zip(fold.test_pairs, fold.seen, strict=True):
            writer.writerow([fold.videos[better].id, fold.videos[worse].id, seen])


@dataclass(frozen=True)
class Predictions:
    """Both files, read back.

    Args:
        ids: of V videos.
        parts: of the split that each is in, such as ``train``, joined by ``+`` where there are several.
        subjects: who performs each; empty where unknown.
        columns: by name of a seed's or control's column, (V,) scores.
        truth: (V,) labels, nan where unknown.
        pairs: (P, 2) positions.
        seen: (P,).
    """

    ids: tuple[str, ...]
    parts: tuple[str, ...]
    subjects: tuple[str, ...]
    columns: Mapping[str, NDArray[np.float64]]
    truth: NDArray[np.float64]
    pairs: NDArray[np.int64]
    seen: NDArray[np.int64]

    @property
    def controls(self) -> dict[str, NDArray[np.float64]]:
        """By name, (V,)."""
        return {name: own for name, own in self.columns.items() if name.startswith(CONTROL)}

    def by_seed(self, seeds: Sequence[int]) -> NDArray[np.float64]:
        """(S, V) scores."""
        return np.stack([self.columns[f"{_SEED}{seed}"] for seed in seeds])


def read_predictions(folder: Path, everyone: bool = False) -> Predictions:
    """Read the videos and test pairs of a run folder.

    Args:
        folder: of the run.
        everyone: read all videos, not only those that were tested.

    Raises:
        RecipeError: the files are not there or not whole.
    """
    try:
        with (folder / PREDICTIONS).open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        with (folder / TEST_PAIRS).open(newline="", encoding="utf-8") as file:
            pairs = list(csv.DictReader(file))
        wanted = {id for pair in pairs for id in (pair["better"], pair["worse"])}
        chosen = [
            row
            for row in rows
            if everyone or "test" in (row["part"] or "").split("+") or row["id"] in wanted
        ]
        place = {row["id"]: number for number, row in enumerate(chosen)}
        columns = [name for name in rows[0] if name.startswith((_SEED, CONTROL))]
        return Predictions(
            tuple(row["id"] for row in chosen),
            tuple(row["part"] for row in chosen),
            tuple(row["subject"] for row in chosen),
            {name: np.array([float(row[name]) for row in chosen]) for name in columns},
            np.array([float(row["truth"] or "nan") for row in chosen]),
            np.array([[place[p["better"]], place[p["worse"]]] for p in pairs]).reshape(-1, 2),
            np.array([int(pair["seen"]) for pair in pairs]),
        )
    except (OSError, ValueError, KeyError, IndexError, TypeError) as error:
        raise RecipeError(
            f"{folder} is no run that can be read ({error}); train it again"
        ) from None
