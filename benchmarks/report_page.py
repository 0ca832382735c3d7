"""A report of many videos: how long it takes to write, how large it is, how fast it opens.

    python benchmarks/report_page.py [--videos 500] [--seconds 12] [--size 320x240]

Ten generated performances are filmed once and copied, each a file of its own; features are drawn at
random, as only their shape matters here. Beside the report stands what reading and decoding every
video once takes on as many cores, which no report with pictures of all videos can beat by much. The
page is opened by headless Chromium, from disk, with an empty cache.
"""

import argparse
import os
import shutil
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
from joblib import Parallel, delayed
from playwright.sync_api import sync_playwright

from aqakit import pipeline
from aqakit.extract.decode import decode, scan
from aqakit.extract.synthetic import write_video
from aqakit.extract.synthetic_plan import plan
from aqakit.extract.synthetic_scene import render
from aqakit.features.manifest import Manifest, Video
from aqakit.features.segments import Sampling
from aqakit.features.spec import FeatureSpec
from aqakit.features.store import FeatureStore

STEPS, CHANNELS, DIFFERENT, OPENINGS = 100, 130, 10, 5
SPEC = FeatureSpec("flow-hist", "flow", "hist", Sampling.parse("steps-100x3"), "made")


def make_set(folder: Path, count: int, seconds: float, size: tuple[int, int]) -> Manifest:
    """Videos, their features and labels."""
    rng, store = np.random.default_rng(0), FeatureStore.create(folder / "store")
    (folder / "videos").mkdir()
    videos, parts = [], {}
    for number in range(count):
        path = folder / "videos" / f"v{number}.mp4"
        skill = number % DIFFERENT / DIFFERENT
        if number < DIFFERENT:
            frames = list(render(plan(skill, number, size=size, fps=25)))
            wanted = round(seconds * 25)
            write_video(path, (frames * (1 + wanted // len(frames)))[:wanted], 25)
        else:
            shutil.copy(folder / "videos" / f"v{number % DIFFERENT}.mp4", path)
        video = Video(f"v{number}", path, score=skill + number * 1e-4, subject=f"s{number % 25}")
        videos.append(video)
        parts[video.id] = "test" if number % 25 < 5 else "train"
        values = rng.normal(skill, 1, (STEPS, CHANNELS)).astype(np.float32)
        edges = np.linspace(0, seconds, STEPS + 1)
        times = np.stack([edges[:-1], (edges[:-1] + edges[1:]) / 2, edges[1:]], axis=1)
        with store.begin(SPEC, video.id, store.source(path), values.shape, 1) as part:
            part.append(values)
            part.finish(times, times[:, 1:2], {})
    return Manifest(tuple(videos), {"default": parts})


def decode_all(path: Path) -> int:
    """Every frame once, as the reference."""
    found = scan(path)
    return sum(1 for _ in decode(found, 0, len(found.pts) - 1))


def opening_seconds(page: Path) -> list[float]:
    """From the call to the end of loading, in new browsers' contexts."""
    found = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"),
            args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"],
        )
        for _ in range(OPENINGS):
            context = browser.new_context()
            tab = context.new_page()
            began = time.perf_counter()
            tab.goto(page.as_uri(), wait_until="load")
            tab.evaluate("() => new Promise(done => requestAnimationFrame(() => done()))")
            found.append(time.perf_counter() - began)
            context.close()
        browser.close()
    return found


def main() -> None:
    """Make a set, its report, and print the figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--videos", type=int, default=500)
    parser.add_argument("--seconds", type=float, default=12.0)
    parser.add_argument("--size", default="320x240")
    options = parser.parse_args()
    width, height = map(int, options.size.split("x"))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        manifest = make_set(folder, options.videos, options.seconds, (width, height))
        manifest.write(folder / "manifest")
        training = pipeline.Training(folder / "manifest", folder / "store", seeds=1)
        settings = ("epochs=1", "hidden=8", "batch_pairs=4096")
        pipeline.train(training, [SPEC.key], "rank-aware-attention", folder / "run", settings)
        paths = [video.path for video in manifest.videos]
        began = time.perf_counter()
        jobs = len(os.sched_getaffinity(0))
        frames = sum(Parallel(n_jobs=jobs)(delayed(decode_all)(path) for path in paths))
        reference = time.perf_counter() - began
        began = time.perf_counter()
        page, _ = pipeline.report(folder / "run", folder / "report.html")
        written = time.perf_counter() - began
        size = (folder / "report.html").stat().st_size
        opened = opening_seconds(folder / "report.html")
    copies = sum(entry.film.copy is not None for entry in page.entries)
    stills = sum(len(entry.film.stills) for entry in page.entries)
    print(
        f"{options.videos} videos of {options.seconds:g} s, {options.size}, {frames} frames; {jobs} cores"
    )
    print(f"decoding all once        {reference:6.1f} s")
    print(f"writing the report       {written:6.1f} s  ({written / reference:.2f} of it)")
    print(f"size {size / 1e6:.2f} MB; {copies} copies to play, {stills} pictures of moments")
    print(
        f"opening, median of {len(opened)}    {statistics.median(opened):6.2f} s  ({max(opened):.2f} at most)"
    )


if __name__ == "__main__":
    main()
