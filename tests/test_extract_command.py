"""``aqakit extract`` as a user runs it: real processes, killed, over folders of broken files."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

from aqakit import pipeline
from aqakit.extract.backbones import resnet101
from aqakit.extract.decode import Scan, scan
from aqakit.extract.synthetic import long_video
from aqakit.features.errors import DiskFullError
from aqakit.features.store import FeatureStore

Write = Callable[..., Path]
Pictures = Callable[..., list[np.ndarray]]
# Few pairs of frames, because TV-L1 takes its time.
FLOW = "flow-hist@stacks-2x2"
FEATURES = (FLOW, "resnet101@segments-3-last")
COMMAND = (sys.executable, "-m", "aqakit", "extract")


def asked(folder: Path, store: Path) -> list[str]:
    words = [str(folder), "--store", str(store), "--weights", "random"]
    return words + [word for feature in FEATURES for word in ("--feature", feature)]


def aqakit(*words: str) -> Result:
    from aqakit.cli import main

    return CliRunner(env={"COLUMNS": "300"}).invoke(main, list(words))


@pytest.fixture
def videos(tmp_path: Path, moving_square: Pictures, write_video: Write) -> Path:
    folder = tmp_path / "videos"
    folder.mkdir()
    for number in range(4):
        write_video(folder / f"v{number}.mp4", moving_square(24, step=number + 1))
    return folder


def contents(store: Path) -> dict[tuple[str, str], bytes]:
    """Every stored number, by feature and video."""
    opened = FeatureStore.open(store)
    found = {}
    for key in opened.keys():
        for video in opened.videos(key):
            feature = opened.read(key, video)
            arrays = (feature.values, feature.times, feature.frame_times)
            found[key, video] = b"".join(np.asarray(array).tobytes() for array in arrays)
    return found


def test_killed_anywhere_it_ends_with_the_same_features(videos: Path, tmp_path: Path) -> None:
    undisturbed = tmp_path / "undisturbed"
    assert aqakit("extract", *asked(videos, undisturbed)).exit_code == 0
    expected = contents(undisturbed)
    assert len(expected) == 8

    store = tmp_path / "killed"
    finished_at_last_kill = 0
    for wanted_parts in (0, 1, 3, 6):
        process = subprocess.Popen((*COMMAND, *asked(videos, store)), stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + 60
        while process.poll() is None and time.monotonic() < deadline:
            temporary = list(store.glob("parts/*/.*"))
            finished = len(list(store.glob("parts/*/*.h5")))
            if finished >= wanted_parts and temporary:
                break
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
        process.wait()
        found = contents(store) if (store / "store.json").exists() else {}
        assert found.items() <= expected.items()
        assert len(found) >= finished_at_last_kill
        finished_at_last_kill = len(found)

    whole = {video for _, video in contents(store)}
    outcomes = pipeline.extract(videos, store, FEATURES, ["random"])
    assert contents(store) == expected
    recomputed = {outcome.video_id for outcome in outcomes if outcome.computed}
    assert len(recomputed & whole) <= 1, "more than the video in hand was computed again"
    assert not list(store.glob("**/.*.tmp"))
    again = pipeline.extract(videos, store, FEATURES, ["random"])
    assert not any(outcome.computed for outcome in again)


def broken_folder(
    folder: Path, moving_square: Pictures, write_video: Write, write_sound: Write
) -> dict[str, str]:
    """Broken files by name, with what is to be said of each."""
    good = write_video(folder / "good.mp4", moving_square(24))
    (folder / "empty.mp4").touch()
    (folder / "text.mp4").write_text("not a video\n" * 99)
    write_sound(folder / "sound.mp4")
    write_video(folder / "one.mp4", moving_square(1))
    for name, container in (("cut.mkv", "mkv"), ("headless.mp4", "mp4")):
        whole = write_video(folder / f"whole.{container}", moving_square(100))
        content = whole.read_bytes()
        whole.unlink()
        (folder / name).write_bytes(content[: len(content) // 2])
    whole = write_video(folder / "codec.avi", moving_square(9))
    whole.write_bytes(whole.read_bytes().replace(b"FMP4", b"QQQQ"))
    (folder / "folder.mp4").mkdir()
    shutil.copy(good, folder / "folder.mp4" / "inner.mp4")
    (folder / "gone.mp4").symlink_to(folder / "nowhere.mp4")
    return {
        "empty": "is empty (0 bytes); copy it again",
        "text": "is not a video that FFmpeg can open",
        "sound": "has no video stream",
        "one": "shows a single frame",
        "cut": "breaks off at",
        "headless": "is not a video that FFmpeg can open",
        "codec": "codec that this FFmpeg cannot decode",
        "gone": "cannot be read (No such file or directory); correct the path",
    }


def test_a_folder_of_broken_files(
    tmp_path: Path, moving_square: Pictures, write_video: Write, write_sound: Write
) -> None:
    folder = tmp_path / "odd"
    folder.mkdir()
    expected = broken_folder(folder, moving_square, write_video, write_sound)
    outcomes = pipeline.extract(folder, tmp_path / "store", [FLOW])
    failures = {o.video_id: o.failure for o in outcomes if o.failure}
    assert failures.keys() == expected.keys()
    for video, words in expected.items():
        line = str(failures[video])
        assert words in line, line
        assert str(folder / video) in line
        assert "\n" not in line
    done = {outcome.video_id for outcome in outcomes if outcome.computed}
    assert done == {"good", "folder.mp4/inner"}

    result = aqakit("extract", str(folder), "--store", str(tmp_path / "store"), "--feature", FLOW)
    assert result.exit_code == 3
    for words in expected.values():
        assert words in result.output


def break_twenty(
    folder: Path, moving_square: Pictures, write_video: Write, write_sound: Write
) -> dict[str, str]:
    """Twenty files that are broken in ways of their own, with what is to be said of each."""
    expected = broken_folder(folder, moving_square, write_video, write_sound)
    shutil.rmtree(folder / "folder.mp4")
    (folder / "good.mp4").unlink()
    write_sound(folder / "radio.mkv")
    whole = write_video(
        folder / "c.mp4", moving_square(100), container_options={"movflags": "faststart"}
    )
    content = whole.read_bytes()
    whole.unlink()
    (folder / "front.mp4").write_bytes(content[: len(content) // 2])
    (folder / "tail.mp4").write_bytes(content[len(content) // 2 :])
    (folder / "header.mp4").write_bytes(content[:40])
    (folder / "noise.avi").write_bytes(np.random.default_rng(0).bytes(9999))
    (folder / "zeros.mkv").write_bytes(bytes(9999))
    (folder / "page.webm").write_text("<html><body>404: no such video</body></html>")
    (folder / "archive.mov").write_bytes(b"PK\x03\x04" + bytes(500))
    (folder / "byte.mpg").write_bytes(b"\x00")
    os.mkfifo(folder / "pipe.mp4")
    (folder / "ring.mp4").symlink_to(folder / "ring.mp4")
    picture = b"\x89PNG\r\n\x1a\n" + bytes(99)
    (folder / "picture.mp4").write_bytes(picture)
    unreadable = "is not a video that FFmpeg can open"
    return expected | {
        "radio": "has no video stream",
        "front": "breaks off at",
        "tail": unreadable,
        "header": "has no video stream",
        "noise": unreadable,
        "zeros": unreadable,
        "page": unreadable,
        "archive": unreadable,
        "byte": unreadable,
        "pipe": "is a pipe or a device; give a video file",
        "ring": "cannot be read",
        "picture": "shows a single frame",
    }


class Means:
    """Stands for a network where only the way of the videos matters."""

    batch_units = 4

    def __call__(self, images: np.ndarray, seconds: Any, layers: Any) -> dict[str, np.ndarray]:
        means = images.mean(axis=(1, 2, 3, 4), dtype=np.float64).astype(np.float32)
        return {"pool": means[:, None].repeat(2048, axis=1)}


def test_twenty_broken_videos_among_two_hundred(
    tmp_path: Path,
    moving_square: Pictures,
    write_video: Write,
    write_sound: Write,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(resnet101, "build", lambda setup: Means())
    feature = ["resnet101@segments-3-last"]
    folder = tmp_path / "many"
    folder.mkdir()
    expected = break_twenty(folder, moving_square, write_video, write_sound)
    assert len(expected) == 20
    contents_of = [
        write_video(tmp_path / f"{step}.mp4", moving_square(12, (48, 32), step)).read_bytes()
        for step in range(4)
    ]
    for number in range(180):
        (folder / f"v{number:03}.mp4").write_bytes(contents_of[number % 4])
    command = ["extract", str(folder), "--store", str(tmp_path / "store")]
    command += ["--feature", *feature, "--weights", "random"]
    first = aqakit(*command)
    assert first.exit_code == 3, first.output
    for video, words in expected.items():
        (line,) = (line for line in first.output.splitlines() if f"/{video}." in line)
        assert words in line
    stored = contents(tmp_path / "store")
    assert len(stored) == 180
    assert len(set(stored.values())) == 4
    marks = {path: path.stat().st_mtime_ns for path in (tmp_path / "store").glob("*/*/*.h5")}
    assert len(marks) == 180

    outcomes = pipeline.extract(folder, tmp_path / "store", feature, ["random"])
    assert not any(one.computed or one.frames_decoded for one in outcomes)
    assert sum(len(one.kept) for one in outcomes) == 180
    assert {one.video_id for one in outcomes if one.failure} == expected.keys()
    second = aqakit(*command)
    assert second.exit_code == 3
    for words in expected.values():
        assert words in second.output
    assert {p: p.stat().st_mtime_ns for p in (tmp_path / "store").glob("*/*/*.h5")} == marks


def test_a_failure_is_tried_again_only_when_asked_or_changed(
    tmp_path: Path, moving_square: Pictures, write_video: Write
) -> None:
    path = tmp_path / "a.mp4"
    path.write_text("not yet a video")
    run = [tmp_path / "a.mp4", tmp_path / "store", [FLOW]]
    first, second = (pipeline.extract(*run)[0] for _ in range(2))  # type: ignore[arg-type]
    assert (first.known_before, second.known_before) == (False, True)
    assert first.failure == second.failure
    assert not pipeline.extract(*run, retry_failed=True)[0].known_before  # type: ignore[arg-type]
    write_video(path, moving_square(12))
    assert pipeline.extract(*run)[0].computed  # type: ignore[arg-type]
    assert FeatureStore.open(tmp_path / "store").failures() == []


def test_a_changed_video_is_computed_again_and_an_unchanged_one_is_not(videos: Path) -> None:
    store = videos.parent / "store"
    pipeline.extract(videos, store, [FLOW])
    before = contents(store)
    shutil.copy(videos / "v3.mp4", videos / "v0.mp4")
    outcomes = pipeline.extract(videos, store, [FLOW])
    assert [outcome.video_id for outcome in outcomes if outcome.computed] == ["v0"]
    after = contents(store)
    key = next(iter(before))[0]
    assert after[key, "v0"] == before[key, "v3"]
    forced = pipeline.extract(videos, store, [FLOW], overwrite=True)
    assert all(outcome.computed for outcome in forced)
    assert contents(store) == after


def test_a_half_written_part_is_computed_again(videos: Path) -> None:
    store = videos.parent / "store"
    pipeline.extract(videos, store, [FLOW])
    before = contents(store)
    victim = next(store.glob("parts/*/*v1*.h5"))
    victim.write_bytes(victim.read_bytes()[:700])
    outcomes = pipeline.extract(videos, store, [FLOW])
    assert [outcome.video_id for outcome in outcomes if outcome.computed] == ["v1"]
    assert contents(store) == before


def test_what_nobody_foresaw_costs_its_video_and_not_the_batch(
    videos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stumbling(path: Path, exact: bool) -> Scan:
        if path.stem == "v1":
            raise ZeroDivisionError("a\nmost odd file")
        return scan(path, exact)

    store = videos.parent / "store"
    with monkeypatch.context() as patch:
        patch.setattr("aqakit.extract.reading.scan", stumbling)
        outcomes = pipeline.extract(videos, store, [FLOW])
    failed = {outcome.video_id: outcome.failure for outcome in outcomes if outcome.failure}
    assert list(failed) == ["v1"]
    assert "v1.mp4: unexpected ZeroDivisionError (a most odd file)" in str(failed["v1"])
    again = pipeline.extract(videos, store, [FLOW])
    assert [one.video_id for one in again if one.computed] == ["v1"], "it is tried again"


def test_trimming_uses_only_the_window(
    tmp_path: Path, moving_square: Pictures, write_video: Write
) -> None:
    write_video(tmp_path / "a.mp4", moving_square(50), fps=25)
    manifest = tmp_path / "manifest.csv"
    manifest.write_text("id,path,start,end\nwhole,a.mp4,,\npart,a.mp4,0.4,1.2\nnone,a.mp4,7,\n")
    outcomes = pipeline.extract(manifest, tmp_path / "store", [FLOW])
    assert [outcome.frames_decoded for outcome in outcomes] == [50, 20, 0]
    assert "no frame between start 7.0 and end None" in str(outcomes[2].failure)
    store = FeatureStore.open(tmp_path / "store")
    (key,) = store.keys()
    whole, part = (store.read(key, video) for video in ("whole", "part"))
    np.testing.assert_allclose(whole.frame_times, [[0, 0.04], [1.92, 1.96]])
    np.testing.assert_allclose(part.frame_times, [[0.4, 0.44], [1.12, 1.16]])
    np.testing.assert_allclose(part.times[:, 0], [0.4, 1.12])


def test_two_processes_share_the_work(videos: Path) -> None:
    store = videos.parent / "store"
    processes = [
        subprocess.Popen((*COMMAND, *asked(videos, store)), stdout=subprocess.DEVNULL)
        for _ in range(2)
    ]
    assert [process.wait() for process in processes] == [0, 0]
    assert len(contents(store)) == 8
    assert len(list(store.glob("parts/*/*.h5"))) == 8


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["absent"], "absent does not exist; name a folder of videos, a video or a CSV"),
        (["absent.csv"], "absent.csv"),
        (["."], "no video"),
    ],
)
def test_a_source_that_cannot_be_used_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], line: str
) -> None:
    monkeypatch.chdir(tmp_path)
    result = aqakit("extract", *words, "--store", "store", "--feature", "flow-hist")
    assert result.exit_code == 1
    assert result.output.startswith("Error: ")
    assert line in result.output
    assert result.output.count("\n") == 1
    assert not (tmp_path / "store").exists()


def test_a_store_of_another_version_is_left_alone(videos: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    pipeline.extract(videos, store, [FLOW])
    marker = store / "store.json"
    marker.write_text(marker.read_text().replace('"version": 1', '"version": 99'))
    result = aqakit("extract", str(videos), "--store", str(store), "--feature", "flow-hist")
    assert result.exit_code == 1
    assert "is a store of version 99" in result.output
    assert len(list(store.glob("parts/*/*.h5"))) == 4


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 3 MB; needs the rights to mount one."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = (
        os.geteuid() == 0
        and not subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(disk)],
            capture_output=True,
            check=False,
        ).returncode
    )
    if not mounted:
        pytest.skip("mounting a small disk needs root")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


def test_a_full_disk_stops_the_batch_and_loses_nothing(videos: Path, small_disk: Path) -> None:
    store = small_disk / "store"
    pipeline.extract(videos / "v0.mp4", store, [FLOW])
    before = contents(store)
    filler = small_disk / "filler"
    with filler.open("wb", buffering=0) as file, pytest.raises(OSError, match="No space"):
        for _ in range(4096):
            file.write(bytes(1024))
    with pytest.raises(
        DiskFullError, match=r"no space left on the disk; free some.*videos are done"
    ):
        pipeline.extract(videos, store, [FLOW])
    assert contents(store) == before
    filler.unlink()
    assert len(pipeline.extract(videos, store, [FLOW])) == 4
    assert before.items() <= contents(store).items()


PEAK = """
import resource, sys
from pathlib import Path
from aqakit import pipeline
(outcome,) = pipeline.extract(Path(sys.argv[1]), Path(sys.argv[2]), ["flow-hist@stacks-20x3-10fps"])
assert outcome.failure is None, outcome.failure
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def test_memory_does_not_grow_with_the_length_of_a_video(tmp_path: Path) -> None:
    peaks = []
    for seconds in (15, 240):
        path = tmp_path / f"{seconds}.mp4"
        long_video(path, seconds, size=(320, 240))
        run = subprocess.run(
            [sys.executable, "-c", PEAK, str(path), str(tmp_path / f"store{seconds}")],
            check=True,
            capture_output=True,
            text=True,
        )
        peaks.append(int(run.stdout))
    # Holding the long video's frames would take 1.4 GB more.
    assert peaks[1] < 1.2 * peaks[0], peaks
