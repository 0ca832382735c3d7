"""Training AIM on all folds with all seeds at the same time against one after another.

The features are random, of the sizes of JIGSAWS: 10 steps of 38 columns for the primary, 38 for the
secondary and 400 for the scene, with scores from 6 to 30. Every member, one fold with one seed, is a
training of its own with its own batches, dropout and weights. One after another, each has all cores.
Together they are shared out over processes of one core each, or are one batched model; the default is
what ``aqakit train`` takes on such a device.

Both must predict the same scores for all videos; a relative difference above the tolerance is an
error (Adam divides gradients by their size, and so makes much of a rounding error in a small one). The
two ways take turns, so that both meet the same machine, and the figure is the median over rounds of
the ratio of their times. Processes are started before the clock is, as a real training of 3000 epochs
takes many minutes. On a busy machine the figure says nothing: threads of one product wait for each
other, and schedulers may give several processes no more than one.
"""

import argparse
import json
import os
import statistics
import time
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from aqakit.models.data import Stream, Targets, VideoFeatures
from aqakit.models.head import DEFAULT_SESSION
from aqakit.models.recipe import Recipe
from aqakit.models.together import Together, Work, train_seeds

TOLERANCE = 1e-4
SEED = 0
STEPS = 10
CHANNELS = {"primary": 38, "secondary": 38, "scene": 400}


def main() -> None:
    """Print the table and, as the last line, the figures as JSON."""
    print(json.dumps(run(_options())))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--videos", type=int, default=39, help="39, or 78 with both cameras")
    parser.add_argument("--folds", type=int, default=4)
    parser.add_argument("--seeds", type=int, default=10, help="trainings a fold")
    parser.add_argument("--epochs", type=int, default=60, help="of each training")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--together", choices=["batch", "processes"], help="default: by device")
    options = parser.parse_args()
    options.together = options.together or _usual(options.device)
    return options


def _usual(device: str) -> Together:
    return "processes" if device.startswith("cpu") else "batch"


def run(options: argparse.Namespace) -> dict[str, float | int | str]:
    """Train both ways in turns, and compare predictions and times."""
    videos, scores = _jigsaws_like(options.videos)
    works = _works(videos, scores, options.folds, options.seeds)
    _train(works[: os.cpu_count()], videos, 1, options.device, options.together)
    rounds = []
    for _ in range(options.rounds):
        each, all_at_once = (
            _train(works, videos, options.epochs, options.device, way)
            for way in ("off", options.together)
        )
        rounds.append(Round(each, all_at_once))
    _print(rounds, options.together)
    difference = max(one.difference for one in rounds)
    if not difference <= TOLERANCE:  # nor nan
        raise AssertionError(f"predictions differ by {difference:.1e}")
    return {
        "speedup": round(statistics.median(one.speedup for one in rounds), 2),
        "max_difference": float(f"{difference:.2e}"),
        "device": options.device,
        "together": options.together,
        "members": len(works),
        "epochs": options.epochs,
        "cores": os.cpu_count() or 1,
        "seconds": round(statistics.median(one.together.seconds for one in rounds), 2),
        "seconds_one_after_another": round(
            statistics.median(one.alone.seconds for one in rounds), 2
        ),
    }


class Trained(NamedTuple):
    """(M, V) scores of all videos by each member, and how long its training took."""

    scores: NDArray[np.float64]
    seconds: float


class Round(NamedTuple):
    """One training each way."""

    alone: Trained
    together: Trained

    @property
    def speedup(self) -> float:
        """How many times as long one after another takes."""
        return self.alone.seconds / self.together.seconds

    @property
    def difference(self) -> float:
        """The largest between two predictions, as a share of the score."""
        apart = np.abs(self.alone.scores - self.together.scores)
        return float((apart / np.abs(self.alone.scores)).max())


def _train(
    works: list[Work], videos: list[VideoFeatures], epochs: int, device: str, way: Together
) -> Trained:
    recipe = Recipe.make("aim", {}, "default", [0], [f"epochs={epochs}"])
    begin = time.perf_counter()
    trained = train_seeds(recipe, works, device, way, None, lambda done, seed, epoch, log: None)
    seconds = time.perf_counter() - begin
    return Trained(np.stack([head.score(videos) for head, _ in trained]), seconds)


def _works(
    videos: list[VideoFeatures], scores: NDArray[np.float64], folds: int, seeds: int
) -> list[Work]:
    """Each fold leaves out the videos of its number, with each seed."""
    fold_of = np.random.default_rng(SEED).permutation(len(videos)) % folds
    return [
        Work(
            seed,
            [video for video, own in zip(videos, fold_of, strict=True) if own != fold],
            Targets(np.zeros((0, 2), np.int64), scores[fold_of != fold]),
            DEFAULT_SESSION,
        )
        for fold in range(folds)
        for seed in range(seeds)
    ]


def _jigsaws_like(count: int) -> tuple[list[VideoFeatures], NDArray[np.float64]]:
    random = np.random.default_rng(SEED)
    times = np.zeros((STEPS, 3))
    videos = [
        VideoFeatures(
            f"{number}",
            {
                role: Stream(random.normal(size=(STEPS, width)).astype(np.float32), times)
                for role, width in CHANNELS.items()
            },
        )
        for number in range(count)
    ]
    return videos, random.integers(6, 31, count).astype(np.float64)


def _print(rounds: list[Round], together: Together) -> None:
    table = Table("round", "one after another s", f"{together} s", "ratio", "difference")
    for number, one in enumerate(rounds, 1):
        seconds = f"{one.alone.seconds:.2f}", f"{one.together.seconds:.2f}"
        table.add_row(f"{number}", *seconds, f"{one.speedup:.2f}", f"{one.difference:.1e}")
    Console().print(table)


if __name__ == "__main__":
    main()
