"""Frames taken by jumping about are those that the scan of the whole file names."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from av.container import InputContainer

from aqakit.extract import seeking as seeking_file
from aqakit.extract.decode import scan
from aqakit.extract.seeking import CannotSeekError, Seeker, seeking

Numbered = Callable[..., list[np.ndarray]]
NumberOf = Callable[[np.ndarray], int]
Write = Callable[..., Path]
# Key frames every 2 s, frames in another order than they are shown.
GROUPS = {"g": "50", "bf": "2", "keyint_min": "50", "sc_threshold": "0"}


def long_file(path: Path, numbered: Numbered, write_video: Write) -> Path:
    """400 frames of 25 a second, each picture four times, so that numbers fit."""
    pictures = [picture for picture in numbered(100) for _ in range(4)]
    return write_video(path, pictures, codec="libx264", codec_options=GROUPS)


def number_at(path: Path, *moments: float, number_of: NumberOf) -> list[int]:
    with seeking(path) as video:
        return [number_of(video.at(seconds).to_ndarray(format="rgb24")) for seconds in moments]


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.mov"])
def test_every_moment_shows_its_frame_whatever_was_asked_before(
    tmp_path: Path, numbered: Numbered, number_of: NumberOf, write_video: Write, name: str
) -> None:
    path = long_file(tmp_path / name, numbered, write_video)
    moments = np.random.default_rng(0).uniform(0, 16, 40)
    moments = np.concatenate([moments, np.sort(moments), np.arange(25) * 0.16, [15.999, 0.0]])
    expected = (moments / 0.16 + 1e-6).astype(int).tolist()
    assert number_at(path, *moments, number_of=number_of) == expected


def test_the_stretch_is_that_of_the_scan(
    tmp_path: Path, numbered: Numbered, write_video: Write
) -> None:
    for name, times in (
        ("a.mp4", None),
        ("b.mkv", None),
        ("c.mp4", range(5, 45)),
        ("d.mkv", range(5, 45)),
    ):
        path = write_video(tmp_path / name, numbered(40), codec="libx264", times=times)
        found = scan(path).timeline
        with seeking(path) as video:
            assert video.begins_seconds == pytest.approx(found.start_seconds, abs=2e-3)
            assert video.ends_seconds == pytest.approx(found.end_seconds, abs=2e-3)


def test_before_the_first_frame_that_one_is_shown(
    tmp_path: Path, numbered: Numbered, number_of: NumberOf, write_video: Write
) -> None:
    path = write_video(tmp_path / "a.mp4", numbered(9), times=[3, *range(4, 12)])
    assert number_at(path, -1.0, 0.0, number_of=number_of) == [0, 0]


def test_little_is_decoded(
    tmp_path: Path,
    numbered: Numbered,
    number_of: NumberOf,
    write_video: Write,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = long_file(tmp_path / "a.mp4", numbered, write_video)
    decoded = 0
    next_of = seeking_file.Seeker._time

    def counting(self: seeking_file.Seeker, frame: av.VideoFrame) -> float:
        nonlocal decoded
        decoded += 1
        return next_of(self, frame)

    monkeypatch.setattr(seeking_file.Seeker, "_time", counting)
    assert number_at(path, 0.1, 14.1, 14.2, number_of=number_of) == [0, 88, 88]
    # 14.0 s is a key frame; a frame may be looked at more than once.
    assert decoded < 40


def test_real_files_agree_with_their_scan(real_data: Path) -> None:
    for path in sorted((real_data / "videos").iterdir()):
        found = scan(path)
        moments = np.linspace(found.timeline.start_seconds, found.timeline.pts_seconds[-1], 9)
        with seeking(path) as video:
            assert video.pixel_aspect == found.facts.pixel_aspect
            for seconds, index in zip(moments, found.timeline.shown_at(moments), strict=True):
                assert video.at(seconds).pts == found.pts[index], (path.name, seconds)


class LateContainer:
    """A container whose index leads to the group of frames after the one that is asked for."""

    def __init__(self, container: InputContainer) -> None:
        self._container = container

    def __getattr__(self, name: str) -> Any:
        return getattr(self._container, name)

    def seek(self, target: int, **options: Any) -> None:
        self._container.seek(target, **{**options, "backward": False})


def test_an_index_that_leads_past_the_moment_is_noticed(
    tmp_path: Path, numbered: Numbered, number_of: NumberOf, write_video: Write
) -> None:
    with av.open(str(long_file(tmp_path / "a.mp4", numbered, write_video))) as container:
        late: Any = LateContainer(container)
        seeker = Seeker(late, container.streams.video[0])
        assert number_of(seeker.at(8.0).to_ndarray(format="rgb24")) == 50
        with pytest.raises(CannotSeekError):
            seeker.at(3.0)


def test_odd_files_are_left_to_others(
    tmp_path: Path, numbered: Numbered, write_video: Write, write_sound: Callable[[Path], Path]
) -> None:
    whole = write_video(
        tmp_path / "whole.mp4", numbered(100), container_options={"movflags": "+faststart"}
    ).read_bytes()
    (tmp_path / "cut.mp4").write_bytes(whole[: len(whole) * 2 // 3])
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "text.mp4").write_text("no video")
    write_sound(tmp_path / "sound.mp4")
    write_video(tmp_path / "index.avi", numbered(9))
    os.mkfifo(tmp_path / "pipe.mp4")  # whoever opens it waits for ever
    for name in (
        "pipe.mp4",
        "cut.mp4",
        "empty.mp4",
        "text.mp4",
        "sound.mp4",
        "index.avi",
        "absent.mp4",
    ):
        with pytest.raises(CannotSeekError), seeking(tmp_path / name) as video:
            video.at(3.9)
            pytest.fail(name)


def test_after_the_last_frame_nothing_is_made_up(
    tmp_path: Path, numbered: Numbered, write_video: Write
) -> None:
    path = write_video(tmp_path / "a.mp4", numbered(50))
    with seeking(path) as video:
        assert video.at(1.99).time == pytest.approx(1.96)
        with pytest.raises(CannotSeekError):
            video.at(2.1)


def test_what_the_block_does_wrong_is_not_hidden(
    tmp_path: Path, numbered: Numbered, write_video: Write
) -> None:
    with pytest.raises(KeyError), seeking(write_video(tmp_path / "a.mp4", numbered(3))):
        raise KeyError
