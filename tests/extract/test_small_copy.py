"""Small copies, read again by FFmpeg's own decoder."""

from collections.abc import Callable, Sequence
from pathlib import Path

import av
import numpy as np
import pytest
from av.video.stream import VideoStream
from hypothesis import example, given, settings
from hypothesis import strategies as st

from aqakit.extract import small_copy
from aqakit.extract.small_copy import CODECS, Codec, CopyError, SmallCopy, best_codec

Numbered = Callable[..., list[np.ndarray]]
NumberOf = Callable[[np.ndarray], int]
H264, VP8 = CODECS
both = pytest.mark.parametrize("codec", CODECS, ids=["h264", "vp8"])


def write(
    path: Path,
    pictures: Sequence[np.ndarray],
    times: Sequence[float],
    end: float,
    codec: Codec = H264,
    rate: int = 150_000,
) -> Path:
    height, width = pictures[0].shape[:2]
    fps = len(times) / (end - times[0])
    with SmallCopy(codec, (width, height), fps, rate) as copy:
        for picture, seconds in zip(pictures, times, strict=True):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format="yuv420p")
            copy.add(frame, seconds)
        path.write_bytes(copy.finish(end))
    return path


def read(path: Path) -> tuple[list[av.VideoFrame], float]:
    """Frames, and the length in seconds that a player shows."""
    with av.open(str(path)) as container:
        assert container.duration is not None and container.start_time == 0
        return list(container.decode(video=0)), container.duration / av.time_base


@both
def test_frames_come_back_at_their_own_times(
    tmp_path: Path, numbered: Numbered, number_of: NumberOf, codec: Codec
) -> None:
    times = 7.5 + np.array([0, 0.04, 0.1, 0.5, 0.517, 2.75, 2.8, 3.0])
    frames, seconds = read(write(tmp_path / "a", numbered(8), times.tolist(), 10.9, codec))
    assert [number_of(frame.to_ndarray(format="rgb24")) for frame in frames] == list(range(8))
    np.testing.assert_allclose([frame.time for frame in frames], times - 7.5, atol=6e-4)
    assert seconds == pytest.approx(3.4, abs=2e-3)


@both
@settings(max_examples=25)
@example(gaps=[0.0, 0.0], last=0.001)
@given(gaps=st.lists(st.floats(0, 3), min_size=0, max_size=12), last=st.floats(0.001, 3))
def test_any_times_give_increasing_ones_and_a_jump_costs_a_second_of_decoding(
    tmp_path_factory: pytest.TempPathFactory, codec: Codec, gaps: list[float], last: float
) -> None:
    times = np.cumsum([0.0, *gaps])
    pictures = list(
        np.random.default_rng(0).integers(0, 256, (len(times), 16, 16, 3)).astype(np.uint8)
    )
    path = tmp_path_factory.mktemp("copy") / "a"
    frames, seconds = read(write(path, pictures, times.tolist(), float(times[-1]) + last, codec))
    assert len(frames) == len(times)
    found = np.array([frame.time for frame in frames])
    assert found[0] == 0 and (np.diff(found) > 0).all()
    # Times less than a tick apart push the following ones back by a tick each.
    assert np.abs(found - times).max() <= 6e-4 + 1e-3 * len(times)
    assert seconds == pytest.approx(max(times[-1] + last, found[-1]), abs=3e-3 + 1e-3 * len(times))
    keys = np.array([frame.time for frame in frames if frame.key_frame])
    for at in found:
        assert at - keys[keys <= at].max() < 1.0


def noise(size: tuple[int, int], frames: int) -> list[np.ndarray]:
    width, height = size
    rng = np.random.default_rng(0)
    return list(rng.integers(0, 256, (frames, height, width, 3)).astype(np.uint8))


@pytest.mark.parametrize(
    ("size", "frames", "fps", "rate"),
    [
        ((320, 240), 60, 30, 150_000),
        ((320, 240), 60, 30, 50_000),
        ((426, 240), 12, 25, 150_000),
        ((320, 240), 40, 4, 150_000),
    ],
)
def test_even_noise_keeps_to_its_share_of_the_page(
    tmp_path: Path, size: tuple[int, int], frames: int, fps: int, rate: int
) -> None:
    times = [number / fps for number in range(frames)]
    path = write(tmp_path / "a", noise(size, frames), times, frames / fps, rate=rate)
    assert path.stat().st_size * 8 <= rate * (frames / fps + 1)


def test_frames_that_show_nothing_new_cost_little_more_than_their_entry(tmp_path: Path) -> None:
    times = [number / 30 for number in range(1800)]
    still = [np.full((16, 16, 3), 90, np.uint8)] * len(times)
    path = write(tmp_path / "a", still, times, 60.0)
    assert path.stat().st_size * 8 / len(times) < 2 * small_copy._BITS_OF_ENTRY
    # A key frame costs more than others, so there are no more of them than are of use.
    keys = [frame.time for frame in read(path)[0] if frame.key_frame]
    np.testing.assert_allclose(keys, np.arange(60), atol=1e-3)


def test_what_is_easy_to_show_does_not_use_its_share_up(
    tmp_path: Path, moving_square: Callable[..., list[np.ndarray]]
) -> None:
    times = [number / 25 for number in range(75)]
    path = write(tmp_path / "a", moving_square(75, (160, 120)), times, 3.0)
    assert path.stat().st_size * 8 < 0.6 * 150_000 * 3


def test_copies_are_made_for_browsers(tmp_path: Path, numbered: Numbered) -> None:
    times = [number / 25 for number in range(30)]
    path = write(tmp_path / "a", numbered(30), times, 1.2)
    with av.open(str(path)) as container:
        (stream,) = container.streams
        assert isinstance(stream, VideoStream)
        context = stream.codec_context
        assert (context.name, context.pix_fmt) == ("h264", "yuv420p")
        assert (context.colorspace, context.color_range) == (1, 1)
        assert (context.color_primaries, context.color_trc) == (1, 1)
        assert all(packet.pts == packet.dts for packet in container.demux() if packet.size)
    copied = path.read_bytes()
    assert copied[4:8] == b"ftyp" and 0 < copied.find(b"moov") < copied.find(b"mdat")


@both
def test_a_second_writing_gives_the_same_bytes(
    tmp_path: Path, numbered: Numbered, codec: Codec
) -> None:
    times = [number / 25 for number in range(30)]
    one, other = (write(tmp_path / name, numbered(30), times, 1.2, codec) for name in "ab")
    assert one.read_bytes() == other.read_bytes()


def test_the_best_codec_that_is_there_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    assert best_codec() is H264
    monkeypatch.setattr(av, "codecs_available", {"libvpx", "mpeg4"})
    assert best_codec() is VP8
    assert VP8.media_type == "video/webm" and VP8.container == "webm"
    monkeypatch.setattr(av, "codecs_available", {"mpeg4"})
    with pytest.raises(CopyError, match="this FFmpeg writes no video that browsers play.*libx264"):
        best_codec()
