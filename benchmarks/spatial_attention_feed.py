"""Training spatial attention from maps on disk: how much a step waits, and how much is read for it.

Writes the maps of generated videos into a feature store, by its own writer and packed: for each of 25
segments five alternatives of 2048 x 14 x 14 for the picture and the same for the flow, 200 MB a video.
That is more than training keeps in memory, so each step reads those alternatives that it drew.

* ``read_ratio``: bytes that the disk gave for a batch over bytes of the rows that it wanted. Before
  each batch its files' pages are dropped from the page cache; none is in the process.
* ``wait_share``: share of training steps that passed while they waited for their batch, the first of
  all included, which nothing could be read ahead of. The same steps are also taken by a feed that
  begins to read a batch when a step asks for it; both must see the same losses. The page cache is
  dropped before each of the two, and what a step has read stays in it as it does in real training.

Times hold for the machine at hand: the faster it computes, the less time there is to read.
"""

import argparse
import itertools
import json
import mmap
import os
import statistics
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from aqakit.features.segments import Sampling
from aqakit.features.source import Source
from aqakit.features.spec import FeatureSpec
from aqakit.features.spec import Stream as SpecStream
from aqakit.features.store import FeatureStore
from aqakit.models.data import Stream, Targets, VideoFeatures
from aqakit.models.feed import Feed, Scale, Wanted
from aqakit.models.head import Fitting
from aqakit.models.heads.spatial_attention import Options, SpatialAttentionMethod
from aqakit.models.network import Batch
from aqakit.models.steps import Trainee
from aqakit.models.training import steps_of

SEED = 0
STREAMS: tuple[SpecStream, ...] = ("rgb", "flow")
FRAMES: dict[SpecStream, int] = {"rgb": 1, "flow": 11}


@dataclass(frozen=True)
class Way:
    """What one way to feed the same steps took.

    Args:
        seconds: of each step, its wait included.
        waits: seconds that each step waited for its batch.
        losses: of each step.
    """

    seconds: list[float]
    waits: list[float]
    losses: list[float]

    @property
    def share(self) -> float:
        """Of the steps' time that they waited."""
        return sum(self.waits) / sum(self.seconds)


class TimedFeed(Feed):
    """A feed that notes how long each batch was waited for."""

    def __init__(self, videos: Sequence[VideoFeatures], device: str) -> None:
        super().__init__(videos, device, resident_bytes=0)
        self.waits: list[float] = []

    def batches(self, wanted: Iterable[Wanted]) -> Iterator[Batch]:
        """As of :class:`Feed`."""
        batches = self._source(wanted)
        while True:
            begin = time.perf_counter()
            batch = next(batches, None)
            if batch is None:
                return
            self.waits.append(time.perf_counter() - begin)
            yield batch

    def _source(self, wanted: Iterable[Wanted]) -> Iterator[Batch]:
        return super().batches(wanted)


class LateFeed(TimedFeed):
    """The same without reading ahead."""

    def _source(self, wanted: Iterable[Wanted]) -> Iterator[Batch]:
        return map(self.batch, wanted)


def main() -> None:
    """Print the tables and, as the last line, the figures as JSON."""
    options = _options()
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        figures = run(Path(folder), options)
    print(json.dumps(figures))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--videos", type=int, default=32)
    parser.add_argument("--segments", type=int, default=25, help="of each video")
    parser.add_argument("--alternatives", type=int, default=5, help="stored frames of a segment")
    parser.add_argument("--channels", type=int, default=2048, help="of each stream's maps")
    parser.add_argument("--side", type=int, default=14, help="of the maps")
    parser.add_argument("--pairs", type=int, default=16, help="of one step")
    parser.add_argument("--steps", type=int, default=8, help="timed each way")
    parser.add_argument("--batches", type=int, default=3, help="whose reads are counted")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--folder", type=Path, help="where the store is written; default: /tmp")
    return parser.parse_args()


def run(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Write the store, count what batches read, and time steps both ways."""
    store = _write(folder / "store", options)
    ratios = [_read_ratio(store, number, options) for number in range(options.batches)]
    late = _train(store, LateFeed, options)
    ahead = _train(store, TimedFeed, options)
    if ahead.losses != late.losses:
        raise AssertionError(f"losses differ: {ahead.losses} and {late.losses}")
    _print(ratios, ahead, late)
    return {
        "wait_share": round(ahead.share, 4),
        "wait_share_without_reading_ahead": round(late.share, 4),
        "read_ratio": round(max(ratios), 4),
        "seconds_per_step": round(statistics.median(ahead.seconds), 3),
        "seconds_per_step_without_reading_ahead": round(statistics.median(late.seconds), 3),
        "steps": options.steps,
        "store_gb": round(sum(file.stat().st_size for file in _files(store)) / 1e9, 2),
        "device": options.device,
    }


# The store.


def _write(path: Path, options: argparse.Namespace) -> FeatureStore:
    store = FeatureStore.create(path)
    random = np.random.default_rng(SEED)
    rows = options.segments * options.alternatives
    shape = (rows, options.channels, options.side, options.side)
    # Numbers drawn once and turned by a row a video: drawing all would take longer than training.
    values = np.maximum(random.standard_normal(shape, np.float32), 0).astype(np.float16)
    for stream, number in itertools.product(STREAMS, range(options.videos)):
        source = Source(f"{number}.mp4", 0, 0, f"{number:064x}")
        spec = _spec(stream, options)
        with store.begin(spec, _id(number), source, shape, FRAMES[stream]) as part:
            part.append(np.roll(values, number + rows // 2 * (stream == "flow"), axis=0))
            part.finish(np.zeros((rows, 3)), np.zeros((rows, FRAMES[stream])), {})
    store.pack()
    return store


def _spec(stream: SpecStream, options: argparse.Namespace) -> FeatureSpec:
    sampling = Sampling(
        "segments", FRAMES[stream], options.segments, candidates=options.alternatives - 1
    )
    preset = {"rgb": "imagenet-448", "flow": "flow-448"}[stream]
    return FeatureSpec(
        "resnet101", stream, "conv5", sampling, preset, weights="random-0", precision="float16"
    )


def _id(number: int) -> str:
    return f"video{number:03d}"


def _files(store: FeatureStore) -> list[Path]:
    return sorted(store.path.glob("shards/*/*.h5"))


def _videos(store: FeatureStore, options: argparse.Namespace) -> list[VideoFeatures]:
    """All videos, and none of their pages in memory."""
    opened = FeatureStore.open(store.path)
    found = []
    for number in range(options.videos):
        streams: dict[str, Stream] = {}
        for stream in STREAMS:
            stored = opened.read(_spec(stream, options).key, _id(number))
            streams[stream] = Stream(stored.values, stored.times, options.alternatives)
        found.append(VideoFeatures(_id(number), streams))
    _forget(store, found)
    return found


def _forget(store: FeatureStore, videos: Sequence[VideoFeatures]) -> None:
    """Drop all pages of the store, those that the process has mapped first."""
    for video in videos:
        for stream in video.streams.values():
            _map_of(stream.values).madvise(mmap.MADV_DONTNEED)
    os.sync()
    for file in _files(store):
        with file.open("rb") as raw:
            os.posix_fadvise(raw.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def _map_of(values: NDArray[Any]) -> mmap.mmap:
    base: Any = values
    while not isinstance(base, mmap.mmap):
        base = base.obj if isinstance(base, memoryview) else base.base
    return base


# What a batch reads.


def _read_ratio(store: FeatureStore, number: int, options: argparse.Namespace) -> float:
    """Bytes that the disk gave for one batch over bytes of the rows wanted."""
    videos = _videos(store, options)
    generator = torch.Generator().manual_seed(number)
    chosen = torch.randperm(len(videos), generator=generator)[: 2 * options.pairs].sort().values
    shape = (len(chosen), options.segments)
    wanted = Wanted(chosen, torch.randint(options.alternatives, shape, generator=generator))
    feed = Feed(videos, resident_bytes=0)
    before = _bytes_read()
    (batch,) = feed.batches([wanted])
    read = _bytes_read() - before
    return read / sum(values.numel() * 2 for values in batch.values.values())


def _bytes_read() -> int:
    """What the process had from disks so far."""
    lines = Path("/proc/self/io").read_text().splitlines()
    return int(dict(line.split(": ") for line in lines)["read_bytes"])


# Training steps.


def _train(store: FeatureStore, kind: type[TimedFeed], options: argparse.Namespace) -> Way:
    """Take the steps, from the same weights and with the same pairs and frames each time."""
    videos = _videos(store, options)
    method = SpatialAttentionMethod(Options(batch_pairs=options.pairs))
    every = np.stack(np.triu_indices(options.videos, 1), axis=1)
    stages = method.stages(videos, Targets(every), np.random.default_rng(SEED))
    torch.manual_seed(SEED)
    shape = (options.channels, options.side, options.side)
    network = method.network(dict.fromkeys(STREAMS, shape)).to(options.device)
    feed = kind(videos, options.device)
    trainee = Trainee(network, stages, torch.arange(len(videos)), Scale({}, {}), SEED)
    seconds, losses = [], []
    steps = steps_of(trainee, feed, Fitting())
    for _ in range(options.steps):
        begin = time.perf_counter()
        losses.append(float(next(steps)["ranking"]))
        seconds.append(time.perf_counter() - begin)
    return Way(seconds, feed.waits[: options.steps], losses)


def _print(ratios: list[float], ahead: Way, late: Way) -> None:
    table = Table("batch", "bytes read / bytes wanted")
    for number, ratio in enumerate(ratios):
        table.add_row(f"{number + 1}", f"{ratio:.3f}")
    Console().print(table)
    table = Table("step", "s", "of it waiting", "s without reading ahead", "of it waiting", "loss")
    for number, loss in enumerate(ahead.losses):
        numbers = [
            f"{value:.2f}"
            for way in (ahead, late)
            for value in (way.seconds[number], way.waits[number])
        ]
        table.add_row(f"{number + 1}", *numbers, f"{loss:.5f}")
    Console().print(table)


if __name__ == "__main__":
    main()
