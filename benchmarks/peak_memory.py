"""Peak memory of extraction does not grow with the length of a video.

Generates a video of one minute and one of twenty, extracts the same features of each in a process
of its own, and compares the largest resident size that each process ever had.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.table import Table

from aqakit.extract.synthetic import long_video

_EXTRACT = """
import resource, sys
from pathlib import Path
from aqakit import pipeline

video, store, *features = sys.argv[1:]
(outcome,) = pipeline.extract(Path(video), Path(store), features, ["random"])
if outcome.failure:
    sys.exit(outcome.failure)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""
# All that there is, at once. At 3 frames a second even a minute fills a batch of clips, which is what
# memory is bounded by.
_FEATURES = (
    "flow-hist",
    "camera-motion",
    "c3d@clips-16-3fps",
    "i3d@stacks-8x16-10fps",
    "i3d.flow@stacks-4x10-10fps",
    "i3d-r50@stacks-8x8-3.75fps",
    "resnet101",
    "resnet101.flow@segments-4x11-last",
    "resnet101:conv5@segments-8-last-plus4",
    "resnet101.flow:conv5@segments-4x11-last",
)


def peak_megabytes(video: Path, store: Path, features: list[str]) -> float:
    """Peak resident size of a process that extracts features of one video."""
    words = [sys.executable, "-c", _EXTRACT, str(video), str(store), *features]
    finished = subprocess.run(words, check=True, capture_output=True, text=True)
    return int(finished.stdout) / 1024


def main() -> None:
    """Measure and print; the last line is one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, nargs=2, default=(1.0, 20.0))
    parser.add_argument("--feature", action="append", help="repeatable")
    options = parser.parse_args()
    features = options.feature or list(_FEATURES)
    table = Table("minutes", "frames", "peak MB")
    peaks = []
    with tempfile.TemporaryDirectory() as folder:
        for minutes in options.minutes:
            video = Path(folder) / f"{minutes:g}.mp4"
            long_video(video, 60 * minutes)
            peaks.append(peak_megabytes(video, Path(folder) / f"store-{minutes:g}", features))
            table.add_row(f"{minutes:g}", str(round(minutes * 1500)), f"{peaks[-1]:.0f}")
    Console().print(table)
    short, long = peaks
    figures = {"features": features, "peak_mb": peaks, "ratio_long_to_short": long / short}
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
