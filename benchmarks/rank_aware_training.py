"""Training rank-aware attention with the package's trainer against the plain way of published code.

The plain way loads both videos of every pair of a mini-batch from ``.npz`` files, runs both sides
through the network filter by filter and computes gradients for all parameters, of which one half is
stepped. The package's trainer runs each video of a mini-batch once and only computes the gradients
that are stepped. Both start from the same weights and see the same pairs in the same order, without
noise, so their losses must agree; a difference above the tolerance is an error.

The two take turns, so that both meet the same machine. A round is one step of each phase (ranking
layers, attention); the figure is the median over rounds of the ratio of their times.
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from torch.nn import functional

from aqakit.models.data import Targets, VideoFeatures
from aqakit.models.feed import Feed, Scale
from aqakit.models.head import Fitting
from aqakit.models.heads.rank_aware_attention import Options, RankAwareAttention, RankAwareMethod
from aqakit.models.network import Batch, Losses, Phase
from aqakit.models.steps import Trainee
from aqakit.models.training import steps_of

TOLERANCE = 1e-4
SEED = 0


class PlainFilter(nn.Module):
    """One attention filter: a weight for each segment."""

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.first = nn.Linear(channels, hidden)
        self.second = nn.Linear(hidden, 1)

    def forward(self, segments: Tensor) -> Tensor:
        """(V, T, 1) from (V, T, C)."""
        weights: Tensor = self.second(functional.relu(self.first(segments))).softmax(dim=1)
        return weights


class PlainScores(NamedTuple):
    """Scores (V,) of the three branches, and the (V, K, T) attention of the two modules."""

    high: Tensor
    low: Tensor
    uniform: Tensor
    high_attention: Tensor
    low_attention: Tensor


class PlainNetwork(nn.Module):
    """The network as the paper draws it: features are pooled, then ranked."""

    def __init__(self, channels: int, options: Options) -> None:
        super().__init__()
        filters = [PlainFilter(channels, options.hidden) for _ in range(2 * options.filters)]
        self.high_filters = nn.ModuleList(filters[: options.filters])
        self.low_filters = nn.ModuleList(filters[options.filters :])
        self.rank_high = nn.Linear(channels, 1)
        self.rank_low = nn.Linear(channels, 1)
        self.rank_uniform = nn.Linear(channels, 1)

    def forward(self, segments: Tensor) -> PlainScores:
        """Score (V, T, C) videos."""
        high = [layer(segments) for layer in self.high_filters]
        low = [layer(segments) for layer in self.low_filters]
        return PlainScores(
            self.rank_high(_pool(high, segments)).squeeze(1),
            self.rank_low(_pool(low, segments)).squeeze(1),
            self.rank_uniform(segments.mean(dim=1)).squeeze(1),
            torch.cat(high, dim=2).mT,
            torch.cat(low, dim=2).mT,
        )


def main() -> None:
    """Print the table and, as the last line, the figures as JSON."""
    options = _options()
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        figures = run(Path(folder), options)
    print(json.dumps(figures))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--videos", type=int, default=75)
    parser.add_argument("--segments", type=int, default=400, help="of each video")
    parser.add_argument("--channels", type=int, default=1024, help="values of a segment")
    parser.add_argument("--pairs", type=int, default=2000)
    parser.add_argument("--batch", type=int, default=128, help="pairs of one step")
    parser.add_argument("--steps", type=int, default=20, help="timed and compared; rounds of two")
    parser.add_argument("--folder", type=Path, help="where features are written; default: /tmp")
    return parser.parse_args()


def run(folder: Path, options: argparse.Namespace) -> dict[str, float]:
    """Write features, train both ways in turns, and compare losses and times."""
    if options.steps < 2 or options.steps % 2:
        raise SystemExit("--steps must be even: every round is one step of each phase")
    videos = _write(folder, options)
    pairs = _pairs(options.videos, options.pairs)
    settings = Options(batch_pairs=options.batch, noise=0.0)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        network = RankAwareAttention(
            options.channels, settings.filters, settings.hidden, settings.score
        )
    plain = _plain_network(network, options.channels, settings)
    ours, theirs = _take_turns(
        _package_steps(network, videos, pairs, settings),
        _plain_steps(plain, folder, settings),
        options.steps,
    )
    differences = [abs(a.loss - b.loss) / abs(b.loss) for a, b in zip(ours, theirs, strict=True)]
    _print(ours, theirs, differences)
    if max(differences) > TOLERANCE:
        raise AssertionError(f"losses differ by {max(differences):.1e}")
    ours_rounds, plain_rounds = _rounds(ours), _rounds(theirs)
    return {
        "speedup": round(
            statistics.median(b / a for a, b in zip(ours_rounds, plain_rounds, strict=True)), 2
        ),
        "seconds_per_step": round(statistics.median(ours_rounds) / 2, 4),
        "plain_seconds_per_step": round(statistics.median(plain_rounds) / 2, 4),
        "max_relative_loss_difference": float(f"{max(differences):.2e}"),
        "checked_steps": len(differences),
    }


class Step(NamedTuple):
    """Summed losses of one step, and how long it took."""

    loss: float
    seconds: float


def _take_turns(
    ours: Iterator[tuple[float, NDArray[np.int64]]],
    theirs: Callable[[NDArray[np.int64]], float],
    steps: int,
) -> tuple[list[Step], list[Step]]:
    done: tuple[list[Step], list[Step]] = ([], [])
    for _ in range(steps):
        begin = time.perf_counter()
        loss, pairs = next(ours)
        done[0].append(Step(loss, time.perf_counter() - begin))
        begin = time.perf_counter()
        loss = theirs(pairs)
        done[1].append(Step(loss, time.perf_counter() - begin))
    return done


def _rounds(steps: list[Step]) -> list[float]:
    """Seconds of each ranking step and the attention step after it."""
    return [a.seconds + b.seconds for a, b in zip(steps[::2], steps[1::2], strict=True)]


def _package_steps(
    network: RankAwareAttention,
    videos: list[VideoFeatures],
    pairs: NDArray[np.int64],
    settings: Options,
) -> Iterator[tuple[float, NDArray[np.int64]]]:
    """The summed losses of each step, and the (P, 2) videos that it was taken on."""
    method, rng = RankAwareMethod(settings), np.random.default_rng(SEED)
    (stage,) = method.stages(videos, Targets(pairs), rng)
    given: list[Tensor] = []

    def telling(phase: Phase) -> Phase:
        def losses(
            network: Any, batch: Batch, encoding: Any, positions: Tensor, labels: Tensor
        ) -> Losses:
            given.append(labels)
            return phase.losses(network, batch, encoding, positions, labels)

        return replace(phase, losses=losses)

    # Labels, which the losses do not look at, say which videos a step was taken on.
    stage = replace(
        stage, phases=[telling(phase) for phase in stage.phases], labels=pairs.astype(np.float64)
    )
    trainee = Trainee(network, [stage], torch.arange(len(videos)), Scale({}, {}), SEED)
    for losses in steps_of(trainee, Feed(videos), Fitting()):
        yield float(sum(losses.values())), given[-1].long().numpy()


def _plain_steps(
    network: PlainNetwork, folder: Path, settings: Options
) -> Callable[[NDArray[np.int64]], float]:
    """Takes the next step, on (P, 2) videos, and gives its summed losses."""
    ranking = [
        parameter for name, parameter in network.named_parameters() if name.startswith("rank")
    ]
    attention = [
        parameter for name, parameter in network.named_parameters() if not name.startswith("rank")
    ]
    rankers = torch.optim.Adam(ranking, lr=settings.learning_rate)
    attenders = torch.optim.Adam(attention, lr=settings.learning_rate)
    ranks = True

    def step(pairs: NDArray[np.int64]) -> float:
        nonlocal ranks
        better, worse = (network(_load(folder, pairs[:, side])) for side in (0, 1))
        losses = _ranking_losses if ranks else _attention_losses
        loss = losses(better, worse, settings)
        rankers.zero_grad()
        attenders.zero_grad()
        loss.backward()
        (rankers if ranks else attenders).step()
        ranks = not ranks
        return loss.item()

    return step


def _ranking_losses(better: PlainScores, worse: PlainScores, settings: Options) -> Tensor:
    """Equations 10 to 12 of the paper."""
    margin = settings.ranking_margin
    return (
        functional.relu(margin - better.high + worse.high).mean()
        + functional.relu(margin - better.low + worse.low).mean()
        + functional.relu(margin - better.uniform + worse.uniform).mean()
    )


def _attention_losses(better: PlainScores, worse: PlainScores, settings: Options) -> Tensor:
    """Equations 13, 14 and 19, the last with its weight of equation 20."""
    uniform = better.uniform - worse.uniform
    disparity, aware = settings.disparity_margin, settings.rank_aware_margin
    diversity = torch.stack(
        [_overlap(side.high_attention) + _overlap(side.low_attention) for side in (better, worse)]
    )
    return (
        functional.relu(disparity - (better.high - worse.high) + uniform).mean()
        + functional.relu(disparity - (better.low - worse.low) + uniform).mean()
        + functional.relu(aware - (better.high - worse.low) + uniform).mean()
        + settings.diversity_weight * diversity.sum(dim=0).mean()
    )


def _overlap(attention: Tensor) -> Tensor:
    difference = torch.bmm(attention, attention.mT) - torch.eye(attention.shape[1])
    return difference.pow(2).sum(dim=(1, 2))


def _pool(filters: list[Tensor], segments: Tensor) -> Tensor:
    """(V, C) features pooled by the sum of the filters: equation 17."""
    weights = torch.stack(filters).sum(dim=0)
    return (weights * segments).sum(dim=1)


def _plain_network(network: RankAwareAttention, channels: int, settings: Options) -> PlainNetwork:
    """The plain network with the same weights."""
    plain = PlainNetwork(channels, settings)
    filters = [*plain.high_filters, *plain.low_filters]
    first, second = network.attention.first, network.attention.second
    weights, biases = first.weight.chunk(len(filters)), first.bias.chunk(len(filters))
    reads, offsets = second.weight.chunk(len(filters)), second.bias.chunk(len(filters))
    with torch.no_grad():
        for layer, weight, bias, read, offset in zip(
            filters, weights, biases, reads, offsets, strict=True
        ):
            layer.first.load_state_dict({"weight": weight, "bias": bias})
            layer.second.load_state_dict({"weight": read, "bias": offset})
        for row, rank in enumerate((plain.rank_high, plain.rank_low, plain.rank_uniform)):
            rank.weight.copy_(network.rank.weight[row : row + 1])
            rank.bias.copy_(network.rank.bias[row : row + 1])
    return plain


def _write(folder: Path, options: argparse.Namespace) -> list[VideoFeatures]:
    """Features in memory and, the same, as one ``.npz`` a video."""
    random = np.random.default_rng(SEED)
    times = np.zeros((options.segments, 3))
    videos = []
    for number in range(options.videos):
        values = random.random((options.segments, options.channels), np.float32)
        np.savez(_path(folder, number), features=values)
        videos.append(VideoFeatures.of(f"{number}", values, times))
    return videos


def _load(folder: Path, which: NDArray[np.int64]) -> Tensor:
    features = []
    for number in which:
        with np.load(_path(folder, number)) as file:
            features.append(torch.from_numpy(file["features"]))
    return torch.stack(features)


def _path(folder: Path, number: int) -> Path:
    return folder / f"video{number:04d}.npz"


def _pairs(videos: int, count: int) -> NDArray[np.int64]:
    """(P, 2) distinct pairs of different videos, in random order."""
    every = np.stack(np.triu_indices(videos, 1), axis=1)
    if count > len(every):
        raise SystemExit(f"{videos} videos have only {len(every)} pairs")
    return np.random.default_rng(SEED).permutation(every)[:count]


def _print(ours: list[Step], theirs: list[Step], differences: list[float]) -> None:
    table = Table("step", "phase", "plain s", "package s", "ratio", "loss", "difference")
    for number, (a, b, difference) in enumerate(zip(ours, theirs, differences, strict=True)):
        phase = "attention" if number % 2 else "ranking"
        numbers = f"{b.seconds:.2f}", f"{a.seconds:.2f}", f"{b.seconds / a.seconds:.1f}"
        table.add_row(f"{number + 1}", phase, *numbers, f"{b.loss:.5f}", f"{difference:.1e}")
    Console().print(table)


if __name__ == "__main__":
    main()
