"""Pictures of videos: read again and compared with the frames that they come from."""

import io
import multiprocessing
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from aqakit.extract import decode as decode_file
from aqakit.extract import pictures as pictures_file
from aqakit.extract.decode import Scan, TimelineDiffersError, decode, scan
from aqakit.extract.pictures import take_all, take_pictures
from aqakit.extract.seeking import CannotSeekError
from aqakit.extract.small_copy import CODECS
from aqakit.features.errors import VideoError
from aqakit.features.pictures import Pictures, Quality, Wish

Picture = NDArray[np.uint8]
Numbered = Callable[..., list[np.ndarray]]
NumberOf = Callable[[np.ndarray], int]
Write = Callable[..., Path]
either = pytest.mark.parametrize("copy", [True, False])
FAST_START = {"movflags": "+faststart"}


def image_of(jpeg: bytes | None) -> Picture:
    assert jpeg is not None
    image = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
    assert image is not None
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB).astype(np.uint8)


def film_of(copy: bytes | None) -> tuple[list[Picture], list[float], float]:
    """Frames of a copy, their times, and how long it lasts."""
    assert copy is not None
    with av.open(io.BytesIO(copy), "r") as container:
        frames = list(container.decode(video=0))
        assert container.duration is not None
        seconds = container.duration / av.time_base
    images = [np.asarray(frame.to_ndarray(format="rgb24"), np.uint8) for frame in frames]
    return images, [float(frame.time) for frame in frames], seconds


@either
@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.avi"])
def test_stills_show_the_frame_of_their_moment(
    tmp_path: Path,
    numbered: Numbered,
    number_of: NumberOf,
    write_video: Write,
    name: str,
    copy: bool,
) -> None:
    path = write_video(tmp_path / name, numbered(100), fps=10, codec_options={"g": "12"})
    moments = (-1.0, 0.0, 0.04, 0.1, 3.333, 3.4, 7.77, 9.95, 11.0)
    found = take_pictures(Wish(path, None, None, moments, copy))
    assert found.fault == ""
    numbers = {at: number_of(image_of(jpeg)) for at, jpeg in found.stills.items()}
    assert numbers == dict(zip(moments, (0, 0, 0, 1, 33, 34, 77, 99, 99), strict=True))
    assert number_of(image_of(found.thumbnail)) in (49, 50)
    assert (found.copy is not None) == copy


@either
def test_of_a_stretch_only_the_stretch_is_shown(
    tmp_path: Path, numbered: Numbered, number_of: NumberOf, write_video: Write, copy: bool
) -> None:
    path = write_video(tmp_path / "a.mp4", numbered(100), fps=10, codec_options={"g": "12"})
    found = take_pictures(Wish(path, 2.0, 5.0, (0.5, 3.0, 8.0), copy))
    numbers = [number_of(image_of(found.stills[at])) for at in (0.5, 3.0, 8.0)]
    assert numbers == [20, 30, 49]
    assert number_of(image_of(found.thumbnail)) in (34, 35)
    assert (found.begins_seconds, found.seconds) == pytest.approx((2.0, 3.0))
    if copy:
        images, times, seconds = film_of(found.copy)
        assert [number_of(image) for image in images] == list(range(20, 50))
        np.testing.assert_allclose(times, np.arange(30) / 10, atol=1e-3)
        assert seconds == pytest.approx(3.0, abs=2e-3)


def test_a_stretch_between_two_frames_begins_with_the_second(
    tmp_path: Path, numbered: Numbered, number_of: NumberOf, write_video: Write
) -> None:
    path = write_video(tmp_path / "a.mp4", numbered(100), fps=10)
    found = take_pictures(Wish(path, 2.03, 5.07, copy=True))
    images, _, seconds = film_of(found.copy)
    assert (number_of(images[0]), number_of(images[-1])) == (21, 50)
    assert found.begins_seconds == pytest.approx(2.1)
    # The last one is shown until the end of the stretch.
    assert found.seconds == pytest.approx(2.97) and seconds == pytest.approx(2.97, abs=2e-3)


def test_frames_keep_their_own_times(
    tmp_path: Path, numbered: Numbered, number_of: NumberOf, write_video: Write
) -> None:
    shown = [0, 1, 2, 5, 6, 9, 30, 31]
    path = write_video(tmp_path / "gaps.mkv", numbered(8), fps=20, times=shown)
    images, times, _ = film_of(take_pictures(Wish(path, copy=True)).copy)
    assert [number_of(image) for image in images] == list(range(8))
    np.testing.assert_allclose(times, np.array(shown) / 20, atol=1e-3)


def test_a_first_frame_shown_for_an_instant_begins_the_copy(
    tmp_path: Path, numbered: Numbered, number_of: NumberOf, write_video: Write
) -> None:
    path = write_video(tmp_path / "a.mp4", numbered(4), fps=100, times=[0, 1, 40, 80])
    images, times, _ = film_of(take_pictures(Wish(path, copy=True)).copy)
    assert [number_of(image) for image in images] == [0, 1, 2, 3]
    np.testing.assert_allclose(times, [0, 0.01, 0.4, 0.8], atol=1e-3)


@pytest.mark.parametrize(
    ("fps", "every"), [(10, 1), (25, 1), (30, 1), (31, 1), (48, 2), (50, 2), (60, 2), (100, 4)]
)
@pytest.mark.parametrize("name", ["a.mp4", "a.mkv"])
def test_of_fast_videos_every_second_or_third_frame_is_shown(
    tmp_path: Path,
    numbered: Numbered,
    number_of: NumberOf,
    write_video: Write,
    name: str,
    fps: int,
    every: int,
) -> None:
    # Times in Matroska are rounded to milliseconds.
    path = write_video(tmp_path / name, numbered(100), fps=fps)
    images, times, _ = film_of(take_pictures(Wish(path, copy=True)).copy)
    numbers = [number_of(image) for image in images]
    assert numbers == list(range(0, 100, every))
    np.testing.assert_allclose(times, np.array(numbers) / fps, atol=2e-3)


@pytest.mark.parametrize("rotation", [0, 90, 180, -90])
@either
def test_pictures_are_turned_as_the_file_asks(
    tmp_path: Path, write_video: Write, rotation: int, copy: bool
) -> None:
    x, y = np.meshgrid(np.linspace(20, 230, 320), np.linspace(20, 230, 192))
    ramps = np.stack([x, y, 250 - (x + y) / 2], axis=2).astype(np.uint8)
    path = write_video(tmp_path / "a.mp4", [ramps] * 5, rotation=rotation)
    quality = Quality(copy_height=96, still_width=160, thumbnail_width=80, jpeg_quality=90)
    found = take_pictures(Wish(path, stills=(0.0,), copy=copy), quality)
    source = next(iter(decode(scan(path), 0, 0))).rgb()
    upright = rotation in (90, -90)
    assert source.shape[:2] == ((320, 192) if upright else (192, 320))
    assert image_of(found.thumbnail).shape[:2] == ((80, 48) if upright else (48, 80))
    images = [image_of(found.stills[0.0])]
    if copy:
        images.append(film_of(found.copy)[0][0])
    for image in images:
        assert image.shape[:2] == ((160, 96) if upright else (96, 160))
        expected = cv2.resize(source, image.shape[1::-1], interpolation=cv2.INTER_AREA)
        # Upside down it would differ by 50 and more.
        assert np.abs(image.astype(int) - expected).mean() < 6


@either
def test_pixels_that_are_not_square_are_stretched(
    tmp_path: Path, numbered: Numbered, write_video: Write, copy: bool
) -> None:
    path = tmp_path / "wide.mp4"
    options = {"x264-params": "sar=2/1"}
    write_video(path, numbered(5, (160, 120)), codec="libx264", codec_options=options)
    found = take_pictures(Wish(path, stills=(0.1,), copy=copy), Quality(copy_height=60))
    if copy:
        assert film_of(found.copy)[0][0].shape == (60, 160, 3)
    assert image_of(found.stills[0.1]).shape == (90, 240, 3)
    assert image_of(found.thumbnail).shape == (45, 120, 3)


@pytest.mark.parametrize("size", [(62, 46), (2, 2), (640, 16)])
def test_nothing_is_enlarged(tmp_path: Path, write_video: Write, size: tuple[int, int]) -> None:
    grey = [np.full((size[1], size[0], 3), 99, np.uint8)] * 3
    path = write_video(tmp_path / "a.mkv", grey, codec="ffv1")
    found = take_pictures(Wish(path, stills=(0.0,), copy=True))
    assert film_of(found.copy)[0][0].shape[:2] == size[::-1]
    for jpeg in (found.stills[0.0], found.thumbnail):
        height, width = image_of(jpeg).shape[:2]
        assert height <= size[1] and width <= min(size[0], 240)


def test_odd_sizes_lose_at_most_a_pixel(tmp_path: Path, write_video: Write) -> None:
    path = write_video(tmp_path / "a.mkv", [np.full((49, 65, 3), 99, np.uint8)] * 3, codec="ffv1")
    images, _, _ = film_of(take_pictures(Wish(path, copy=True)).copy)
    assert images[0].shape[:2] == (48, 64)


def test_colours_come_back(tmp_path: Path, write_video: Write) -> None:
    picture = np.zeros((96, 128, 3), np.uint8)
    picture[:48, :64], picture[:48, 64:] = (200, 40, 40), (40, 180, 60)
    picture[48:, :64], picture[48:, 64:] = (50, 60, 210), (230, 220, 50)
    path = write_video(tmp_path / "a.mp4", [picture] * 10)
    found = take_pictures(Wish(path, stills=(0.1,), copy=True))
    for image in (
        image_of(found.stills[0.1]),
        film_of(found.copy)[0][5],
        image_of(found.thumbnail),
    ):
        height, width = image.shape[:2]
        for row, column in ((1, 1), (1, 3), (3, 1), (3, 3)):
            seen = image[row * height // 4, column * width // 4].astype(int)
            assert np.abs(seen - picture[row * 24, column * 32]).max() < 14


def test_sizes_are_those_asked_for(
    tmp_path: Path, moving_square: Numbered, write_video: Write
) -> None:
    path = write_video(tmp_path / "a.mp4", moving_square(30, (640, 480)))
    usual = take_pictures(Wish(path, stills=(0.5,), copy=True))
    assert film_of(usual.copy)[0][0].shape == (240, 320, 3)
    assert image_of(usual.stills[0.5]).shape == (180, 240, 3)
    assert image_of(usual.thumbnail).shape == (90, 120, 3)
    assert usual.copy is not None and len(usual.copy) * 8 <= 150_000 * (usual.seconds + 1)
    poor = Quality(60, 80, 20, 120, 10, 20_000)
    less = take_pictures(Wish(path, stills=(0.5,), copy=True), poor)
    images, times, _ = film_of(less.copy)
    assert images[0].shape == (120, 160, 3) and np.diff(times) == pytest.approx(0.12, abs=2e-3)
    assert image_of(less.thumbnail).shape == (45, 60, 3)
    assert less.copy is not None and len(less.copy) * 8 <= 20_000 * (less.seconds + 1)
    same_size = replace(Quality(), jpeg_quality=10)
    rough = take_pictures(Wish(path, stills=(0.5,)), same_size)
    assert len(rough.stills[0.5]) < 0.6 * len(usual.stills[0.5])


def test_the_same_video_gives_the_same_bytes(
    tmp_path: Path, moving_square: Numbered, write_video: Write
) -> None:
    path = write_video(tmp_path / "a.mp4", moving_square(30, (160, 120)))
    wish = Wish(path, stills=(0.5,), copy=True)
    assert take_pictures(wish) == take_pictures(wish)


@either
def test_both_ways_take_the_same_stills(
    tmp_path: Path,
    numbered: Numbered,
    write_video: Write,
    monkeypatch: pytest.MonkeyPatch,
    copy: bool,
) -> None:
    path = write_video(tmp_path / "a.mp4", numbered(100), fps=10, codec_options={"g": "12"})
    wish = Wish(path, 1.0, 9.0, (0.2, 3.0, 7.7, 9.5), copy)
    jumped = take_pictures(replace(wish, copy=False))

    def refuse(path: Path) -> None:
        raise CannotSeekError

    monkeypatch.setattr(pictures_file, "seeking", refuse)
    read = take_pictures(wish)
    assert read.stills == jumped.stills and len(read.stills) == 4
    assert (read.begins_seconds, read.seconds) == pytest.approx((1.0, 8.0))
    assert (jumped.begins_seconds, jumped.seconds) == pytest.approx((1.0, 8.0))


def test_moments_that_are_unknown_have_no_still(
    tmp_path: Path, numbered: Numbered, write_video: Write
) -> None:
    path = write_video(tmp_path / "a.mp4", numbered(5))
    for copy in (False, True):
        found = take_pictures(Wish(path, None, None, (float("nan"), 0.1, float("inf")), copy))
        assert list(found.stills) == [0.1] and found.fault == ""


def test_stills_of_a_long_video_need_no_pass_over_it(
    tmp_path: Path, numbered: Numbered, write_video: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise AssertionError

    path = write_video(tmp_path / "a.mp4", numbered(100))
    monkeypatch.setattr(pictures_file, "scan", fail)
    assert len(take_pictures(Wish(path, stills=(1.0, 3.0))).stills) == 2


@pytest.mark.parametrize("exact", [False, True])
def test_a_file_without_an_index_is_read_no_more_than_needed(
    tmp_path: Path,
    numbered: Numbered,
    write_video: Write,
    monkeypatch: pytest.MonkeyPatch,
    exact: bool,
) -> None:
    path = write_video(tmp_path / "a.avi", numbered(100), fps=10)
    runs: list[tuple[int, int]] = []

    def recording(plan: Scan, first: int, last: int) -> Iterator[decode_file.DecodedFrame]:
        runs.append((first, last))
        return decode(plan, first, last)

    monkeypatch.setattr(pictures_file, "decode", recording)
    monkeypatch.setattr(pictures_file, "scan", lambda path, _: scan(path, exact))
    assert len(take_pictures(Wish(path, stills=(1.0, 9.0))).stills) == 2
    # Frames of an exact scan are found by counting only: one pass instead of three.
    assert runs == ([(10, 90)] if exact else [(10, 10), (50, 50), (90, 90)])


@either
@pytest.mark.parametrize("name", ["cut.mp4", "cut.mkv"])
def test_of_a_file_that_breaks_off_the_rest_is_shown(
    tmp_path: Path,
    numbered: Numbered,
    number_of: NumberOf,
    write_video: Write,
    name: str,
    copy: bool,
) -> None:
    path = tmp_path / name
    options = FAST_START if name == "cut.mp4" else {}
    write_video(path, numbered(100, (160, 120)), fps=10, container_options=options)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 3 // 5])
    reached = scan(path).timeline
    last = len(reached.pts_seconds) - 1
    assert 30 < last < 90
    found = take_pictures(Wish(path, None, None, (1.0, 9.9), copy))
    assert re.match(
        rf"{re.escape(str(path))} breaks off at {reached.end_seconds:.3f} of 10", found.fault
    )
    assert {at: number_of(image_of(jpeg)) for at, jpeg in found.stills.items()} == {1.0: 10}
    assert number_of(image_of(found.thumbnail)) in (last // 2, last // 2 + 1)
    assert found.seconds == pytest.approx(reached.end_seconds)
    if copy:
        images, _, _ = film_of(found.copy)
        assert len(images) == last + 1
        # The last one may be half a frame.
        assert [number_of(image) for image in images[:-1]] == list(range(last))
    # What the manifest uses may be whole all the same.
    whole = take_pictures(Wish(path, 0.5, 2.0, (1.0,), copy))
    assert whole.fault == "" and whole.seconds == pytest.approx(1.5)
    beyond = take_pictures(Wish(path, 9.5, 9.9, (9.7,), copy))
    assert (beyond.thumbnail, beyond.copy, dict(beyond.stills)) == (None, None, {})
    assert str(path) in beyond.fault


@either
def test_a_decoder_that_fails_half_way_leaves_what_it_has_shown(
    tmp_path: Path,
    numbered: Numbered,
    number_of: NumberOf,
    write_video: Write,
    monkeypatch: pytest.MonkeyPatch,
    copy: bool,
) -> None:
    path = write_video(tmp_path / "a.avi", numbered(100), fps=10)
    decode_frames = decode_file._frames

    def breaking(path: Path, *rest: object) -> Iterator[av.VideoFrame]:
        for frame in decode_frames(path, *rest):  # type: ignore[arg-type]
            if frame.time > 6.95:
                raise VideoError(f"{path} is broken after 6.900 s")
            yield frame

    monkeypatch.setattr(decode_file, "_frames", breaking)
    found = take_pictures(Wish(path, None, None, (3.0, 8.0), copy))
    assert found.fault == f"{path} is broken after 6.900 s"
    assert {at: number_of(image_of(jpeg)) for at, jpeg in found.stills.items()} == {3.0: 30}
    assert number_of(image_of(found.thumbnail)) in (49, 50)
    if copy:
        images, _, seconds = film_of(found.copy)
        assert [number_of(image) for image in images] == list(range(70))
        assert (seconds, found.seconds) == pytest.approx((7.0, 7.0), abs=2e-3)


def test_times_that_differ_from_the_packets_are_found_by_decoding(
    tmp_path: Path,
    numbered: Numbered,
    number_of: NumberOf,
    write_video: Write,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = write_video(tmp_path / "a.avi", numbered(60), fps=10)
    exact: list[bool] = []

    def differing(plan: Scan, first: int, last: int) -> Iterator[decode_file.DecodedFrame]:
        exact.append(plan.exact)
        for number, one in enumerate(decode(plan, first, last)):
            if not plan.exact and number == 20:
                raise TimelineDiffersError(str(plan.path))
            yield one

    monkeypatch.setattr(pictures_file, "decode", differing)
    found = take_pictures(Wish(path, None, None, (1.0, 5.0), copy=True))
    assert exact == [False, True] and found.fault == ""
    assert [number_of(image) for image in film_of(found.copy)[0]] == list(range(60))
    stills = take_pictures(Wish(path, None, None, (1.0, 5.0)))
    assert stills.stills == found.stills


@either
def test_what_is_no_video_has_a_fault_and_nothing_else(
    tmp_path: Path,
    numbered: Numbered,
    write_video: Write,
    write_sound: Callable[[Path], Path],
    copy: bool,
) -> None:
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "text.mp4").write_text("not a video")
    write_sound(tmp_path / "sound.mp4")
    write_video(tmp_path / "a.mp4", numbered(10))
    faults = {
        "empty.mp4": "is empty (0 bytes)",
        "text.mp4": "is not a video that FFmpeg can open",
        "sound.mp4": "has no video stream",
        "absent.mp4": "cannot be read (No such file or directory)",
        ".": "is a folder",
    }
    for name, reason in faults.items():
        found = take_pictures(Wish(tmp_path / name, stills=(0.1,), copy=copy))
        assert reason in found.fault and str(tmp_path / name) in found.fault
        assert found == Pictures(fault=found.fault)
    for start, end in ((5.0, 6.0), (0.3, 0.2)):
        none = take_pictures(Wish(tmp_path / "a.mp4", start, end, (0.25,), copy))
        assert f"no frame between start {start} and end {end}" in none.fault
        assert none == Pictures(fault=none.fault)


def test_what_nobody_foresaw_is_a_fault_too(
    tmp_path: Path, numbered: Numbered, write_video: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise MemoryError("no room")

    path = write_video(tmp_path / "a.mp4", numbered(3))
    monkeypatch.setattr(pictures_file, "scan", fail)
    found = take_pictures(Wish(path, copy=True))
    assert found.fault.startswith(f"{path}: unexpected MemoryError (no room)")


def test_without_an_encoder_stills_are_taken(
    tmp_path: Path, numbered: Numbered, write_video: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_video(tmp_path / "a.mp4", numbered(10))
    wish = Wish(path, stills=(0.1,), copy=True)
    monkeypatch.setattr(av, "codecs_available", {"libvpx"})
    webm = take_pictures(wish)
    assert webm.media_type == "video/webm" == CODECS[1].media_type
    assert webm.copy is not None and webm.copy[:4] == b"\x1aE\xdf\xa3"  # the mark of Matroska
    monkeypatch.setattr(av, "codecs_available", {"mpeg4"})
    found = take_pictures(wish)
    assert found.copy is None and len(found.stills) == 1 and found.thumbnail is not None
    assert found.fault == "this FFmpeg writes no video that browsers play; install one with libx264"


def test_an_encoder_that_fails_costs_the_copy_only(
    tmp_path: Path, numbered: Numbered, write_video: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_video(tmp_path / "a.mp4", numbered(10))

    def refuse(*_: object) -> None:
        raise av.FFmpegError(1, "no room for it")

    monkeypatch.setattr("aqakit.extract.small_copy.SmallCopy.add", refuse)
    found = take_pictures(Wish(path, stills=(0.1,), copy=True))
    assert found.copy is None and len(found.stills) == 1 and found.thumbnail is not None
    assert found.fault == (
        f"{path}: no copy of it could be encoded (no room for it); make the page with --link-videos"
    )


def test_a_stretch_longer_than_asked_for_gets_no_copy_and_no_fault(
    tmp_path: Path, numbered: Numbered, write_video: Write
) -> None:
    path = write_video(tmp_path / "a.mp4", numbered(10), fps=10)
    short = take_pictures(Wish(path, stills=(0.1,), copy=True, longest_copy_seconds=0.9))
    assert short.copy is None
    assert short.fault == ""
    assert short.seconds == pytest.approx(1.0)
    assert len(short.stills) == 1
    assert take_pictures(Wish(path, copy=True, longest_copy_seconds=1.0)).copy is not None


def test_many_come_in_their_order_with_the_same_pictures(
    tmp_path: Path, numbered: Numbered, write_video: Write
) -> None:
    wishes = []
    for number in range(6):
        frames = numbered(100 if number == 0 else 10 + number)
        path = write_video(tmp_path / f"{number}.mp4", frames, fps=10)
        wishes.append(Wish(path, None, None, (0.5,), copy=number % 2 == 0))
    wishes.insert(3, Wish(tmp_path / "absent.mp4"))
    quality, before = Quality(thumbnail_width=40), set(multiprocessing.active_children())
    found = list(take_all(wishes, quality, jobs=2))
    assert found == [take_pictures(wish, quality) for wish in wishes]
    assert "absent.mp4 cannot be read" in found[3].fault
    assert set(multiprocessing.active_children()) <= before


class Deadly(Wish):
    """A wish that kills the process which takes it."""

    def __reduce__(self) -> tuple[Callable[..., object], tuple[int]]:
        return os._exit, (1,)


def test_a_process_that_dies_costs_the_pictures_of_its_video(
    tmp_path: Path, numbered: Numbered, write_video: Write
) -> None:
    good = Wish(write_video(tmp_path / "a.mp4", numbered(10)))
    found = list(take_all([good, Deadly(tmp_path / "deadly.mp4"), good], jobs=1))
    assert [bool(one.thumbnail) for one in found] == [True, False, True]
    assert found[1].fault == (
        f"{tmp_path / 'deadly.mp4'}: the process that took its pictures was killed; free memory "
        "and try again, or convert the video"
    )


@either
def test_real_videos_give_all_pictures(real_data: Path, copy: bool) -> None:
    for path in sorted((real_data / "videos").iterdir()):
        plan = scan(path)
        end = plan.timeline.end_seconds
        found = take_pictures(Wish(path, None, None, (end / 3,), copy))
        assert found.fault == ""
        index = int(plan.timeline.shown_at(np.array([end / 3]))[0])
        source = next(iter(decode(plan, index, index))).rgb()
        images = [image_of(found.stills[end / 3])]
        if copy:
            frames, times, seconds = film_of(found.copy)
            assert len(frames) == len(plan.pts)
            np.testing.assert_allclose(times, plan.timeline.pts_seconds, atol=1.1e-3)
            assert seconds == pytest.approx(plan.timeline.duration_seconds, abs=2e-3)
            assert found.copy is not None and len(found.copy) * 8 <= 150_000 * (seconds + 1)
            images.append(frames[index])
        for image in images:
            expected = cv2.resize(source, image.shape[1::-1], interpolation=cv2.INTER_AREA)
            assert np.abs(image.astype(int) - expected).mean() < 9, path.name
