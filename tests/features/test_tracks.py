import gzip
from pathlib import Path

import numpy as np
import pytest

from aqakit.features.errors import VideoError
from aqakit.features.segments import Timeline
from aqakit.features.tracks import Track, make_timeline, read_bytes

PATH = Path("t.txt")


def test_samples_without_times_last_one_period() -> None:
    timeline = make_timeline(PATH, None, 4, 10)
    np.testing.assert_allclose(timeline.pts_seconds, [0, 0.1, 0.2, 0.3])
    assert timeline.end_seconds == pytest.approx(0.4)


def test_the_last_of_dated_samples_lasts_as_long_as_most() -> None:
    timeline = make_timeline(PATH, np.array([5.0, 6, 7, 20]), 4, None)
    assert timeline.end_seconds == 21
    assert make_timeline(PATH, np.array([5.0, 6]), 2, 4).end_seconds == 6.25


@pytest.mark.parametrize(
    ("times", "words"),
    [
        (None, "holds no times; say how many samples a second with --rate"),
        ([0.0, 1, 1], "time 1.0 of sample 2 is not after the one before; sort the samples"),
        ([0.0, np.nan, 2], "time nan of sample 1 is not after"),
        ([np.inf], "time inf of sample 0 is not after"),
        ([3.0], "holds one sample alone; say how long it lasts with --rate"),
        ([0, 1e-300, 2e-300, 1e300], "has no times in seconds"),
    ],
)
def test_times_that_are_none(times: list[float] | None, words: str) -> None:
    array = None if times is None else np.array(times)
    with pytest.raises(VideoError) as caught:
        make_timeline(PATH, array, 3, None)
    assert str(caught.value).startswith("t.txt: ")
    assert words in str(caught.value)


def test_trim_keeps_what_begins_inside() -> None:
    values = np.arange(10.0)[:, None]
    track = Track(make_timeline(PATH, None, 10, 2), values, crowded=values[:, 0] > 6)
    kept = track.trim(1.0, 4.0)
    assert kept.values[:, 0].tolist() == [2, 3, 4, 5, 6, 7]
    assert kept.timeline.pts_seconds.tolist() == [1, 1.5, 2, 2.5, 3, 3.5]
    assert kept.timeline.end_seconds == 4
    assert kept.crowded is not None
    assert kept.crowded.tolist() == [False] * 5 + [True]
    assert track.trim(None, None) is track
    with pytest.raises(VideoError, match="between start 9 and end None"):
        track.trim(9, None)


def test_numbers_must_agree() -> None:
    timeline = Timeline(np.arange(3.0), 3)
    with pytest.raises(ValueError, match=r"values are \(2, 1\) for 3 samples"):
        Track(timeline, np.zeros((2, 1)))
    with pytest.raises(ValueError, match="1 names for 2 columns"):
        Track(timeline, np.zeros((3, 2)), ("x",))


def test_gzip_is_known_by_its_content(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(gzip.compress(b"1 2\n", mtime=0))
    (tmp_path / "b.txt.gz").write_bytes(b"1 2\n")
    assert read_bytes(tmp_path / "a.txt") == read_bytes(tmp_path / "b.txt.gz") == b"1 2\n"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty; get the file again"),
        (b" \n\n", "is empty; get the file again"),
        (gzip.compress(b"", mtime=0), "is empty; get the file again"),
        (gzip.compress(b"1 2\n" * 99, mtime=0)[:-9], "is no whole gzip file"),
        (gzip.compress(b"1 2\n" * 99, mtime=0)[:9] + b"x" * 40, "is no whole gzip file"),
        (b"\x1f\x8bnonsense that is long enough", "is no whole gzip file"),
    ],
)
def test_files_that_cannot_be_unpacked(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "v.txt"
    path.write_bytes(content)
    with pytest.raises(VideoError) as caught:
        read_bytes(path)
    assert str(caught.value).startswith(f"{path}: {words}")
    with pytest.raises(VideoError, match="gone: cannot be read"):
        read_bytes(tmp_path / "gone")
