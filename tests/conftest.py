"""What several tests share: encoded videos of known content, and where real data lies."""

import csv
from collections.abc import Callable, Iterable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av.audio.stream import AudioStream
from av.video.stream import VideoStream
from hypothesis import settings
from numpy.typing import NDArray

from aqakit import pipeline
from aqakit.extract.synthetic import generate

# Machines differ in speed, and a loaded one is not a bug.
settings.register_profile("aqakit", deadline=None)
settings.load_profile("aqakit")

REAL_DATA = Path(__file__).parents[2] / "shared" / "data"


@pytest.fixture
def real_data() -> Path:
    """Folder of real videos, skeletons and pair lists."""
    if not REAL_DATA.is_dir():
        pytest.skip(f"no real data at {REAL_DATA}")
    return REAL_DATA


def _moving_square(
    frames: int, size: tuple[int, int] = (64, 48), step: int = 2
) -> list[NDArray[np.uint8]]:
    """A textured square that moves right by ``step`` pixels a frame over a textured ground."""
    width, height = size
    rng = np.random.default_rng(0)
    # Grey, because encoders halve the resolution of colour.
    ground = rng.integers(90, 160, (height, width, 1)).astype(np.uint8).repeat(3, axis=2)
    square = rng.integers(0, 255, (16, 16, 1)).astype(np.uint8).repeat(3, axis=2)
    pictures = []
    for number in range(frames):
        picture = ground.copy()
        left = (4 + step * number) % (width - 16)
        picture[16:32, left : left + 16] = square
        pictures.append(picture)
    return pictures


def _write_video(
    path: Path,
    pictures: Iterable[NDArray[np.uint8]],
    fps: int = 25,
    codec: str = "mpeg4",
    times: Iterable[int] | None = None,
    codec_options: dict[str, str] | None = None,
    container_options: dict[str, str] | None = None,
    rotation: int = 0,
) -> Path:
    """Encode pictures; ``times`` are presentation times in frames of ``fps``."""
    first, *rest = list(pictures)
    with av.open(str(path), "w", options=container_options or {}) as container:
        stream = container.add_stream(codec, rate=fps, options=codec_options or {})
        assert isinstance(stream, VideoStream)
        stream.height, stream.width = first.shape[:2]
        stream.pix_fmt = "yuv420p"
        stream.bit_rate = 2_000_000
        if rotation:
            stream.set_display_rotation(rotation)
        for picture, at in zip([first, *rest], times or range(len(rest) + 1), strict=True):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = at, Fraction(1, fps)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def _write_sound(path: Path, seconds: float = 1.0) -> Path:
    """An audio-only file."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=16000)
        assert isinstance(stream, AudioStream)
        frame = av.AudioFrame.from_ndarray(
            np.zeros((1, int(16000 * seconds)), dtype=np.float32), format="fltp", layout="mono"
        )
        frame.sample_rate = 16000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


@pytest.fixture
def moving_square() -> Callable[..., list[NDArray[np.uint8]]]:
    """Pictures of a square that moves right: ``moving_square(frames, size, step)``."""
    return _moving_square


@pytest.fixture
def write_video() -> Callable[..., Path]:
    """Encode pictures into a file of any codec, container, timing and rotation."""
    return _write_video


def _small_project(folder: Path, videos: int, trained: int, feature: str) -> Path:
    """Generated videos, of which the first ones train, and a feature of them."""
    data = folder / "data"
    generate(data, videos, 0, size=(64, 48), fps=5)
    rows = list(csv.DictReader((data / "manifest.csv").read_text().splitlines()))
    for number, row in enumerate(rows):
        row["split"] = "train" if number < trained else "test"
    lines = [",".join(rows[0]), *(",".join(row.values()) for row in rows)]
    (data / "manifest.csv").write_text("\n".join(lines))
    outcomes = pipeline.extract(data / "manifest.csv", folder / "store", [feature])
    assert not [outcome.failure for outcome in outcomes if outcome.failure]
    return folder


@pytest.fixture(scope="session")
def small_project() -> Callable[[Path, int, int, str], Path]:
    """Make ``data`` and ``store`` below a folder: ``small_project(folder, videos, trained, feature)``."""
    return _small_project


@pytest.fixture
def write_sound() -> Callable[..., Path]:
    """Write a file that holds sound only."""
    return _write_sound
