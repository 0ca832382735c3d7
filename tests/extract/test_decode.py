"""Decoding: against OpenCV's reader, generated files of known timing, and real broken files."""

import json
import os
import re
from collections.abc import Callable
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from aqakit.extract.decode import Scan, TimelineDiffersError, decode, scan
from aqakit.features.errors import VideoError

REAL_FRAMES = {
    "v_GGSY1Qvo990.mp4": 355,
    "v_ZNVhz7ctTq0.mp4": 420,
    "arm_wrestling_demo.mp4": 280,
    "timestamp_gaps.mp4": 32,
    "flipping_a_pancake.mkv": 310,
    "rotation_0.mov": 3,
    "rotation_90.mov": 3,
    "nasa_13013.mp4": 390,
    "h265_video.mp4": 10,
    "av1_video.mkv": 125,
    "bikes.mp4": 250,
}
Pictures = Callable[..., list[np.ndarray]]
Write = Callable[..., Path]


def all_frames(found: Scan) -> list[np.ndarray]:
    return [frame.rgb() for frame in decode(found, 0, len(found.pts) - 1)]


@pytest.mark.parametrize("name", REAL_FRAMES)
def test_real_files_give_all_their_frames_at_the_times_of_the_scan(
    real_data: Path, name: str
) -> None:
    found = scan(real_data / "videos" / name)
    indices = [frame.index for frame in decode(found, 0, len(found.pts) - 1)]
    assert indices == list(range(REAL_FRAMES[name]))
    assert not found.exact


def test_the_best_stream_of_several_is_taken(real_data: Path) -> None:
    found = scan(real_data / "videos" / "nasa_13013.mp4")
    assert (found.facts.stream_index, found.facts.width, found.facts.height) == (3, 480, 270)
    assert all_frames(found)[0].shape == (270, 480, 3)


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.avi"])
def test_pictures_and_times_come_back(
    tmp_path: Path, moving_square: Pictures, write_video: Write, name: str
) -> None:
    pictures = moving_square(30)
    found = scan(write_video(tmp_path / name, pictures, fps=20))
    times = found.timeline.pts_seconds
    np.testing.assert_allclose(np.diff(times), 0.05, atol=1e-3)
    assert found.timeline.duration_seconds == pytest.approx(1.5, abs=2e-3)
    for seen, drawn in zip(all_frames(found), pictures, strict=True):
        assert np.abs(seen.astype(int) - drawn).mean() < 12


def test_gaps_between_frames_are_kept(
    tmp_path: Path, moving_square: Pictures, write_video: Write
) -> None:
    shown = [0, 1, 2, 5, 6, 9]
    found = scan(write_video(tmp_path / "gaps.mp4", moving_square(6), fps=10, times=shown))
    np.testing.assert_allclose(found.timeline.pts_seconds, np.array(shown) / 10)


@pytest.mark.parametrize("rotation", [0, 90, 180, -90])
def test_rotation_is_honoured_as_opencv_does(
    tmp_path: Path, moving_square: Pictures, write_video: Write, rotation: int
) -> None:
    path = write_video(tmp_path / "turned.mp4", moving_square(3), rotation=rotation)
    reader = cv2.VideoCapture(str(path))
    for seen in all_frames(scan(path)):
        picture = np.asarray(reader.read()[1])
        assert seen.shape == picture.shape
        # The two convert YUV to RGB with different rounding.
        assert np.abs(seen.astype(int) - picture[:, :, ::-1]).mean() < 3
    reader.release()


def test_packets_in_decoding_order_are_sorted(
    tmp_path: Path, moving_square: Pictures, write_video: Write
) -> None:
    path = write_video(tmp_path / "b.avi", moving_square(30), codec_options={"bf": "2"})
    found = scan(path)
    assert (np.diff(found.pts) > 0).all()
    assert len(all_frames(found)) == 30


def test_decoding_starts_and_stops_anywhere(
    tmp_path: Path, moving_square: Pictures, write_video: Write
) -> None:
    found = scan(write_video(tmp_path / "long.mp4", moving_square(300), fps=25))
    whole = all_frames(found)
    for first, last in [(0, 0), (7, 11), (180, 200), (299, 299)]:
        part = list(decode(found, first, last))
        assert [frame.index for frame in part] == list(range(first, last + 1))
        for frame in part:
            np.testing.assert_array_equal(frame.rgb(), whole[frame.index])


def test_an_exact_scan_agrees_with_the_packets(
    tmp_path: Path, moving_square: Pictures, write_video: Write
) -> None:
    path = write_video(tmp_path / "a.mp4", moving_square(40), codec_options={"bf": "2"})
    quick, exact = scan(path), scan(path, exact=True)
    np.testing.assert_array_equal(quick.pts, exact.pts)
    assert quick.timeline.end_seconds == exact.timeline.end_seconds
    for one, other in zip(all_frames(quick), all_frames(exact), strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_wrong_plan_is_noticed(
    tmp_path: Path, moving_square: Pictures, write_video: Write
) -> None:
    planned = scan(write_video(tmp_path / "a.mp4", moving_square(20), fps=20))
    write_video(tmp_path / "a.mp4", moving_square(20), fps=20, times=range(0, 40, 2))
    with pytest.raises(TimelineDiffersError):
        all_frames(planned)


def test_facts_are_plain_values(
    tmp_path: Path, moving_square: Pictures, write_video: Write
) -> None:
    facts = scan(write_video(tmp_path / "a.mp4", moving_square(5), fps=20)).facts.to_dict()
    assert json.loads(json.dumps(facts)) == facts
    assert (facts["codec"], facts["width"], facts["nominal_fps"]) == ("mpeg4", 64, 20.0)


def truncated(path: Path, share: float) -> Path:
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    return path


@pytest.mark.parametrize(
    ("name", "options"), [("a.mkv", {}), ("a.avi", {}), ("a.mp4", {"movflags": "faststart"})]
)
def test_a_file_that_breaks_off_says_where_and_its_intact_part_is_usable(
    tmp_path: Path,
    moving_square: Pictures,
    write_video: Write,
    name: str,
    options: dict[str, str],
) -> None:
    path = write_video(tmp_path / name, moving_square(100), container_options=options)
    found = scan(truncated(path, 0.6))
    with pytest.raises(VideoError) as error:
        found.window(None, None)
    line = str(error.value)
    assert re.search(rf"{name} breaks off at (\d\.\d+) of \d\.\d+ s", line), line
    end = float(line.split("'end' to ")[1].split()[0])
    part = found.window(None, end)
    assert 20 < len(part.pts_seconds) < 90
    decoded = list(decode(found, 0, len(part.pts_seconds) - 1))
    assert len(decoded) == len(part.pts_seconds)


def test_a_whole_file_is_not_called_broken(
    tmp_path: Path, moving_square: Pictures, write_video: Write
) -> None:
    for name in ("a.mkv", "a.avi", "a.mp4"):
        found = scan(write_video(tmp_path / name, moving_square(50)))
        assert len(found.window(None, None).pts_seconds) == 50


def test_an_empty_window_names_the_file_and_what_it_shows(
    tmp_path: Path, moving_square: Pictures, write_video: Write
) -> None:
    found = scan(write_video(tmp_path / "a.mp4", moving_square(50), fps=25))
    with pytest.raises(VideoError, match=r"a\.mp4: no frame between start 9 .* 0\.000 to 2\.000 s"):
        found.window(9, None)


def test_a_moov_that_never_came_is_one_line(
    tmp_path: Path, moving_square: Pictures, write_video: Write
) -> None:
    path = truncated(write_video(tmp_path / "a.mp4", moving_square(50)), 0.5)
    with pytest.raises(VideoError, match=r"a\.mp4 is not a video that FFmpeg can open"):
        scan(path)


def unknown_codec(path: Path, write_video: Write, pictures: list[np.ndarray]) -> Path:
    """An AVI whose codec no decoder knows: its four-letter code is replaced."""
    write_video(path, pictures)
    path.write_bytes(path.read_bytes().replace(b"FMP4", b"QQQQ"))
    return path


def test_files_that_hold_no_picture(
    tmp_path: Path, moving_square: Pictures, write_video: Write, write_sound: Write
) -> None:
    text = tmp_path / "text.mp4"
    text.write_text("this is not a video\n" * 50)
    empty = tmp_path / "empty.mp4"
    empty.touch()
    pipe = tmp_path / "pipe.mp4"
    os.mkfifo(pipe)
    cases = {
        tmp_path / "absent.mp4": "cannot be read .*; correct the path",
        tmp_path: "is a folder; give a video file",
        pipe: "is a pipe or a device; give a video file",
        empty: r"is empty \(0 bytes\); copy it again",
        text: "is not a video that FFmpeg can open .*; convert it",
        write_sound(tmp_path / "sound.mp4"): "has no video stream; give",
        unknown_codec(tmp_path / "q.avi", write_video, moving_square(9)): "codec .*; convert it",
        frameless(tmp_path / "none.avi"): "holds no video frame; record or export it again",
    }
    for path, words in cases.items():
        with pytest.raises(VideoError, match=words) as error:
            scan(path)
        assert str(path) in str(error.value)
        assert "\n" not in str(error.value)


def frameless(path: Path) -> Path:
    """A container that declares a video stream and holds no packet of it."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        container.start_encoding()
    return path
