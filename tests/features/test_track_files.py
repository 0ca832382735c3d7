import gzip
import json
from pathlib import Path

import numpy as np
import pytest

from aqakit.features.errors import VideoError
from aqakit.features.track_files import find_tracks, read_track, track_name
from aqakit.features.tracks import Reading

RATE = Reading(rate=30)


def test_a_folder_is_searched(tmp_path: Path) -> None:
    for name in ("b/x.csv", "a.txt.gz", "c.npz", "d.json", "notes.md", ".hidden.txt", "e.TXT"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
    pose = tmp_path / "p"
    pose.mkdir()
    (pose / "v_000_keypoints.json").touch()
    (pose / "readme.txt").touch()
    found = find_tracks([tmp_path, tmp_path / "notes.md", tmp_path / "c.npz"])
    names = ["a.txt.gz", "b/x.csv", "c.npz", "d.json", "p", "notes.md"]
    assert [path.relative_to(tmp_path).as_posix() for path in found] == names
    assert list(map(track_name, found)) == ["a", "x", "c", "d", "p", "notes"]
    assert track_name(tmp_path / "a.b.txt.gz") == "a.b"


def test_where_nothing_is(tmp_path: Path) -> None:
    with pytest.raises(VideoError, match="gone: no such file or folder; correct the path"):
        find_tracks([tmp_path / "gone"])
    with pytest.raises(VideoError, match=r"no tracks in it \(looked for .csv, .dat, .json, .npz"):
        find_tracks([tmp_path])


def test_every_format_holds_the_same_track(tmp_path: Path) -> None:
    values = np.random.default_rng(0).random((6, 4)) + 1
    text = "\n".join(" ".join(map(repr, row)) for row in values.tolist())
    (tmp_path / "a.txt").write_text(text)
    (tmp_path / "b.dat.gz").write_bytes(gzip.compress(text.encode()))
    (tmp_path / "c.csv").write_text(text.replace(" ", ","))
    np.savez(tmp_path / "d.npz", values)
    np.savez(tmp_path / "e.npz", tracks=values.reshape(6, 2, 2), arr_0=np.zeros(1))
    keypoints = [[*row[:2], 1.0, *row[2:], 0.5] for row in values.tolist()]
    results = [{"image_id": n, "keypoints": row} for n, row in enumerate(keypoints, 1)]
    (tmp_path / "f.json").write_text(json.dumps(results))
    pose = tmp_path / "g"
    pose.mkdir()
    for number, row in enumerate(keypoints):
        people = [{"pose_keypoints_2d": row}]
        (pose / f"g_{number}_keypoints.json").write_text(json.dumps({"people": people}))
    for path in find_tracks([tmp_path]):
        track = read_track(path, RATE)
        np.testing.assert_array_equal(track.values, values, err_msg=str(path))
        assert track.timeline.end_seconds == pytest.approx(0.2)


def test_times_of_an_archive(tmp_path: Path) -> None:
    path = tmp_path / "v.npz"
    np.savez(path, tracks=np.array([[1.0], [np.inf]]), times=np.array([3, 5]))
    track = read_track(path, Reading())
    np.testing.assert_array_equal(track.values, [[1], [np.nan]])
    assert (track.timeline.start_seconds, track.timeline.end_seconds) == (3, 7)


@pytest.mark.parametrize(
    ("name", "reading", "words"),
    [
        ("v.txt", Reading(1, person=0), "is no pose file, which has people; leave --person out"),
        ("v.npz", Reading(1, person=0), "is no pose file"),
        ("v.json", Reading(1, "t"), "is no text file with columns; leave --time out"),
        ("v.npz", Reading(1, "t"), "is no text file"),
        ("", Reading(1, "t"), "is no text file"),
    ],
)
def test_options_of_another_format(tmp_path: Path, name: str, reading: Reading, words: str) -> None:
    with pytest.raises(VideoError) as caught:
        read_track(tmp_path / name, reading)
    assert str(caught.value).startswith(f"{tmp_path / name}: {words}")


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"positions": np.zeros((2, 2))}, "has neither 'tracks' nor 'arr_0'"),
        ({"tracks": np.zeros(3)}, "'tracks' has shape (3,); it must be (M, C) or (M, J, D)"),
        ({"arr_0": np.zeros((0, 3))}, "'arr_0' has shape (0, 3)"),
        ({"arr_0": np.zeros((2, 3)), "times": np.zeros((2, 1))}, "'times' has shape (2, 1); it"),
        ({"arr_0": np.zeros((2, 3)), "times": np.zeros(3)}, "'times' has shape (3,); it must"),
        ({"arr_0": np.zeros((2, 3)), "times": np.zeros(2)}, "time 0.0 of sample 1 is not after"),
    ],
)
def test_broken_archives(
    tmp_path: Path, arrays: dict[str, np.ndarray[tuple[int, ...], np.dtype[np.float64]]], words: str
) -> None:
    path = tmp_path / "v.npz"
    np.savez(path, **arrays)  # type: ignore[arg-type]
    with pytest.raises(VideoError) as caught:
        read_track(path, RATE)
    assert str(caught.value).startswith(f"{path}: ")
    assert words in str(caught.value)
