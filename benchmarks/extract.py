"""How fast videos become features, where the time goes, and what workers and folding gain.

Three tables on generated videos, or on a folder of one's own:

* frames decoded and units computed per second, end to end, of each feature alone, with the shares
  of time spent in decoding, flow, networks and writing;
* one worker against two on flow, whole commands in turn, start of the processes included;
* each network with and without its normalisations folded away, and with the channels of its input
  first or last in memory, in turns on the same batch.

Weights are random: they change no time. ``--device cuda`` measures another device.
"""

import argparse
import functools
import json
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from aqakit import pipeline
from aqakit.extract.backbones.c3d import C3D
from aqakit.extract.backbones.i3d import InceptionI3D
from aqakit.extract.backbones.i3d_r50 import I3DR50
from aqakit.extract.backbones.resnet101 import ResNet101
from aqakit.extract.network import folded
from aqakit.extract.state_dict import random_
from aqakit.extract.synthetic import long_video

# Fewer units than by default, so that a processor is done in minutes.
_FEATURES = (
    "flow-hist@stacks-30x3-10fps",
    "camera-motion@steps-10x4-10fps",
    "c3d@stacks-16x16",
    "i3d@stacks-16x16-10fps",
    "i3d.flow@stacks-2x10-10fps",
    "i3d-r50@stacks-16x8-3.75fps",
    "resnet101@segments-25-last",
    "resnet101.flow@segments-2x11-last",
    "resnet101:conv5@segments-5-last-plus4",
)
_FILE_COLUMNS = 140
_STAGES = ("decode", "resize", "flow", "model", "write")
_NETWORKS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "c3d": (C3D, (2, 3, 16, 112, 112)),
    "i3d": (InceptionI3D, (2, 3, 16, 224, 224)),
    "i3d.flow": (functools.partial(InceptionI3D, 2), (2, 2, 15, 224, 224)),
    "i3d-r50": (I3DR50, (2, 3, 8, 256, 256)),
    "resnet101": (ResNet101, (4, 3, 1, 224, 224)),
    "resnet101.flow": (functools.partial(ResNet101, 20), (4, 2, 10, 224, 224)),
}


def main() -> None:
    """Measure and print; the last line is one JSON object."""
    options = _options()
    with _videos(options) as videos:
        features = _features(options, videos)
        workers = _workers(options, videos)
    networks = _networks(options)
    print(json.dumps({"features": features, **workers, "networks": networks}))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--videos", type=Path, help="folder; default: generated videos")
    parser.add_argument("--feature", action="append", help="repeatable")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--flow", choices=("opencv", "torch"))
    parser.add_argument("--workers", type=int, nargs=2, default=(1, 2), help="to compare")
    parser.add_argument("--rounds", type=int, default=3, help="of networks")
    return parser.parse_args()


@contextmanager
def _videos(options: argparse.Namespace) -> Iterator[Path]:
    if options.videos:
        yield options.videos
        return
    with tempfile.TemporaryDirectory() as folder:
        for number in range(4):
            long_video(Path(folder) / f"{number}.mp4", 10, size=(320, 240))
        yield Path(folder)


def _extract(options: argparse.Namespace, videos: Path, feature: str, **more: Any) -> Any:
    """What became of all videos, and the seconds that the whole took."""
    with tempfile.TemporaryDirectory() as store:
        began = time.perf_counter()
        outcomes = pipeline.extract(
            videos,
            Path(store),
            [feature],
            ["random"] if feature.partition("@")[0] not in ("flow-hist", "camera-motion") else [],
            devices=[options.device],
            flow=options.flow,
            **more,
        )
        seconds = time.perf_counter() - began
        listing = pipeline.list_store(Path(store))
    failures = [outcome.failure for outcome in outcomes if outcome.failure]
    if failures:
        raise SystemExit(failures[0])
    return outcomes, listing.features[0][1].rows, seconds


def _features(options: argparse.Namespace, videos: Path) -> dict[str, dict[str, float]]:
    table = Table("feature", "frames/s", "units/s", *_STAGES)
    figures: dict[str, dict[str, float]] = {}
    for feature in options.feature or _FEATURES:
        outcomes, rows, seconds = _extract(options, videos, feature)
        spent = {stage: sum(o.spent.get(stage, 0.0) for o in outcomes) for stage in _STAGES}
        total = sum(spent.values())
        frames = sum(outcome.frames_decoded for outcome in outcomes)
        found = {"frames_per_second": frames / seconds, "units_per_second": rows / seconds}
        shares = {stage: amount / total for stage, amount in spent.items()}
        figures[feature] = found | shares
        table.add_row(
            feature,
            *(f"{value:.1f}" for value in found.values()),
            *(f"{share:.0%}" for share in shares.values()),
        )
    _console().print(table)
    return figures


def _workers(options: argparse.Namespace, videos: Path) -> dict[str, float]:
    few, many = options.workers
    feature = "flow-hist@stacks-60x3-10fps"
    seconds = {}
    table = Table("workers", "seconds", title=feature)
    for count in (few, many):
        seconds[count] = _extract(options, videos, feature, workers=count)[2]
        table.add_row(str(count), f"{seconds[count]:.1f}")
    _console().print(table)
    return {"workers_speedup": seconds[few] / seconds[many]}


def _networks(options: argparse.Namespace) -> dict[str, dict[str, float]]:
    """Speed of the network as it is used, against that of each plainer form."""
    table = Table("network", "plain ms/unit", "folded", "channels last", "both", "ratio")
    figures: dict[str, dict[str, float]] = {}
    for name, (make, shape) in _NETWORKS.items():
        plain = make().eval().requires_grad_(False)
        random_(plain, seed=0)
        both = folded(plain).to(options.device)
        plain = plain.to(options.device)
        first = torch.rand(shape, device=options.device)
        last = first.movedim(1, -1).contiguous().movedim(-1, 1)
        ways = [(plain, first), (both, first), (plain, last), (both, last)]
        best = [float("inf")] * len(ways)
        for _ in range(options.rounds):
            for number, way in enumerate(ways):
                best[number] = min(best[number], _seconds(*way))
        each = [1000 * seconds / shape[0] for seconds in best]
        figures[name] = {"plain_to_used": each[0] / each[3], "ms_per_unit": each[3]}
        table.add_row(name, *(f"{one:.0f}" for one in each), f"{each[0] / each[3]:.2f}")
    _console().print(table)
    return figures


def _console() -> Console:
    console = Console()
    return console if console.is_terminal else Console(width=_FILE_COLUMNS)


@torch.inference_mode()
def _seconds(network: nn.Module, units: Tensor) -> float:
    began = time.perf_counter()
    rows = network(units)
    next(iter(rows.values())).cpu()  # waits for the device
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
