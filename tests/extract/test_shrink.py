"""Small pictures: against OpenCV's scaling, and for sizes of every shape."""

from collections.abc import Callable
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aqakit.extract.decode import decode, scan
from aqakit.extract.shrink import Shrinker, within_long_side, within_short_side

sides = st.integers(1, 5000)


@given(sides, sides, st.integers(2, 600))
def test_sizes_keep_their_shape_and_never_grow(width: int, height: int, side: int) -> None:
    long = within_long_side((width, height), side)
    share = min(1, side / max(width, height))
    np.testing.assert_allclose(long, (width * share, height * share), atol=1)
    assert max(long) == min(side, max(width, height)) and min(long) >= 1
    short = within_short_side((width, height), side)
    share = min(1, side / min(width, height))
    np.testing.assert_allclose(short, (width * share, height * share), atol=2)
    assert min(short) <= max(2, min(side, width, height)) and not (short[0] % 2 or short[1] % 2)


def frame_of(picture: np.ndarray) -> av.VideoFrame:
    return av.VideoFrame.from_ndarray(picture, format="rgb24")


def smooth(width: int, height: int) -> np.ndarray:
    """A picture of three ramps, which any good scaling keeps."""
    x, y = np.meshgrid(np.linspace(0, 255, width), np.linspace(0, 255, height))
    return np.stack([x, y, 255 - (x + y) / 2], axis=2).astype(np.uint8)


def test_scaling_averages_what_it_leaves_out() -> None:
    # Single pixels of noise would survive a scaling that picks pixels.
    noise = np.random.default_rng(0).integers(0, 256, (480, 640, 3)).astype(np.uint8)
    small = Shrinker(None).rgb(frame_of(noise), (80, 60))
    expected = cv2.resize(noise, (80, 60), interpolation=cv2.INTER_AREA)
    assert small.std() < 1.5 * expected.std() < noise.std() / 3
    ramp = smooth(640, 480)
    found = Shrinker(None).rgb(frame_of(ramp), (80, 60)).astype(int)
    assert np.abs(found - cv2.resize(ramp, (80, 60), interpolation=cv2.INTER_AREA)).max() < 6


@pytest.mark.parametrize(
    ("aspect", "size"),
    [
        (None, (100, 60)),
        ("4/3", (133, 60)),
        ("1/2", (50, 60)),
        ("4", (400, 60)),
        ("65535/1", (100, 60)),
        ("1/1000", (100, 60)),
    ],
)
def test_pixels_that_are_not_square_are_shown_as_they_are_meant(
    aspect: str | None, size: tuple[int, int]
) -> None:
    assert Shrinker(aspect).shown_size(frame_of(smooth(100, 60))) == size


@pytest.mark.parametrize("rotation", [0, 90, 180, -90])
def test_pictures_are_turned_as_the_file_asks(
    tmp_path: Path, write_video: Callable[..., Path], rotation: int
) -> None:
    plan = scan(write_video(tmp_path / "a.mp4", [smooth(128, 96)] * 2, rotation=rotation))
    one = next(iter(decode(plan, 0, 0)))
    shrinker = Shrinker("4/3")
    size = shrinker.shown_size(one.frame)
    assert size == ((171, 96) if rotation in (0, 180) else (96, 171))
    small = (size[0] // 4 * 2, size[1] // 4 * 2)
    expected = cv2.resize(one.rgb(), small, interpolation=cv2.INTER_AREA).astype(int)
    # A picture upside down, or of which sides are exchanged, differs by 64 and more.
    assert np.abs(shrinker.rgb(one.frame, small) - expected).mean() < 4
    video = shrinker.video(one.frame, small)
    assert (video.width, video.height, video.format.name) == (*small, "yuv420p")
    back = video.to_ndarray(format="rgb24").astype(int)
    assert np.abs(back - expected).mean() < 5
    jpeg = np.frombuffer(shrinker.jpeg(one.frame, 60, 90), np.uint8)
    decoded = cv2.imdecode(jpeg, cv2.IMREAD_COLOR)
    assert decoded is not None
    shown = cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB)
    assert max(shown.shape) == 60 and (shown.shape[1] > shown.shape[0]) == (size[0] > size[1])
    expected = cv2.resize(one.rgb(), shown.shape[1::-1], interpolation=cv2.INTER_AREA).astype(int)
    assert np.abs(shown - expected).mean() < 6


@pytest.mark.parametrize(
    ("source", "colorspace", "color_range"),
    [
        ("yuv420p", 5, 1),
        ("yuv420p", 1, 1),
        ("yuvj420p", 5, 2),
        ("yuv420p10le", 9, 1),
        ("gray", 2, 0),
    ],
)
def test_colours_survive_the_way_into_a_copy(
    source: str, colorspace: int, color_range: int
) -> None:
    """Whatever matrix and range the source has, the copy shows the same colours in those of BT.709."""
    bands = np.repeat(np.array([[200, 30, 30], [30, 180, 60], [40, 60, 220]], np.uint8), 32, axis=0)
    picture = np.repeat(bands[:, None], 96, axis=1)
    frame = frame_of(picture).reformat(
        format=source, dst_colorspace=colorspace, dst_color_range=color_range
    )
    frame.colorspace, frame.color_range = colorspace, color_range
    video = Shrinker(None).video(frame, (96, 96))
    assert (video.colorspace, video.color_range) == (1, 1)
    seen = video.to_ndarray(format="rgb24").astype(int)
    expected = frame.to_ndarray(format="rgb24").astype(int)
    middle = [16, 48, 80]
    assert np.abs(seen[middle, 48] - expected[middle, 48]).max() <= 4
