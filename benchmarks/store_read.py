"""Gathering random rows through the feature store against the same gather from a bare memory map.

Writes the features of a training set to a store, reads random rows of random videos as one batch, and
does the same from one ``numpy.memmap`` of all rows. The two take turns, so that both meet the same
machine; the figure is the median of the ratios of their speeds.
"""

import argparse
import functools
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from aqakit.features.rows import Rows
from aqakit.features.segments import Sampling
from aqakit.features.source import Source
from aqakit.features.spec import FeatureSpec
from aqakit.features.store import FeatureStore

FRAMES = 16
Gather = Callable[[], NDArray[np.generic]]


def main() -> None:
    """Print the table and, as the last line, the figures as JSON."""
    options = _options()
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        figures = run(Path(folder), options)
    print(json.dumps(figures))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--videos", type=int, default=75)
    parser.add_argument("--rows", type=int, default=400, help="of each video")
    parser.add_argument("--width", type=int, default=1024, help="values of a row")
    parser.add_argument("--batch", type=int, default=4096, help="rows of one gather")
    parser.add_argument("--repeats", type=int, default=60)
    parser.add_argument("--folder", type=Path, help="where the store is written; default: /tmp")
    return parser.parse_args()


def run(folder: Path, options: argparse.Namespace) -> dict[str, float]:
    """Write both stores and time them."""
    random = np.random.default_rng(0)
    bare = np.memmap(
        folder / "bare", np.float32, "w+", shape=(options.videos, options.rows, options.width)
    )
    bare[:] = random.random(bare.shape, np.float32)
    bare.flush()
    store, key = _write(folder / "store", bare)
    videos = store.videos(key)
    parts = _compare(store.rows(key, videos), bare, options)
    store.pack()
    packed = _compare(FeatureStore.open(store.path).rows(key, videos), bare, options)
    print(f"{'layout':<10}{'store GB/s':>12}{'memmap GB/s':>13}{'ratio':>8}")
    for name, (ours, theirs, ratio) in {"packed": packed, "parts": parts}.items():
        print(f"{name:<10}{ours:>12.2f}{theirs:>13.2f}{ratio:>8.2f}")
    return {
        "ratio_to_memmap": round(packed[2], 3),
        "ratio_to_memmap_parts": round(parts[2], 3),
        "store_gb_per_second": round(packed[0], 3),
        "memmap_gb_per_second": round(packed[1], 3),
    }


def _write(path: Path, bare: NDArray[np.float32]) -> tuple[FeatureStore, str]:
    store = FeatureStore.create(path)
    count = bare.shape[1]
    spec = FeatureSpec("i3d", "rgb", "pool", Sampling("stacks", FRAMES, count, 10.0), "i3d")
    for number, values in enumerate(bare):
        source = Source(f"{number}.mp4", 0, 0, f"{number:064x}")
        with store.begin(spec, f"video{number:04d}", source, values.shape, FRAMES) as part:
            part.append(values)
            part.finish(np.zeros((count, 3)), np.zeros((count, FRAMES)), {})
    return store, spec.key


def _compare(
    rows: Rows, bare: NDArray[np.float32], options: argparse.Namespace
) -> tuple[float, float, float]:
    """GB/s of the store and of the memory map, and the median ratio of the two."""
    random = np.random.default_rng(1)
    flat = bare.reshape(-1, options.width)
    for video, count in enumerate(rows.counts):
        # The bare map's pages were mapped when it was written; map the store's as well.
        rows.gather(np.full(count, video), np.arange(count))
    ours: list[float] = []
    theirs: list[float] = []
    for repeat in range(options.repeats):
        videos = random.integers(options.videos, size=options.batch)
        index = random.integers(options.rows, size=options.batch)
        flat_index = videos * options.rows + index
        turns: list[tuple[list[float], Gather]] = [
            (ours, functools.partial(rows.gather, videos, index)),
            (theirs, functools.partial(flat.__getitem__, flat_index)),
        ]
        # Each goes first every other time.
        first, second = (_time(action, times) for times, action in turns[:: 1 - repeat % 2 * 2])
        if not np.array_equal(first, second):
            raise AssertionError("the store gave other rows than the memory map")
    size = options.batch * options.width * 4 / 1e9
    ratio = statistics.median(b / a for a, b in zip(ours, theirs, strict=True))
    return size / statistics.median(ours), size / statistics.median(theirs), ratio


def _time(action: Gather, times: list[float]) -> NDArray[np.generic]:
    begin = time.perf_counter()
    result = action()
    times.append(time.perf_counter() - begin)
    return result


if __name__ == "__main__":
    main()
