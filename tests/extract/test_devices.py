"""Several devices, with a process each, over one list of videos."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from aqakit.extract import devices
from aqakit.extract.devices import extract_on
from aqakit.extract.extraction import Order
from aqakit.features.errors import RecipeError, StoreError
from aqakit.features.manifest import Video
from aqakit.features.store import FeatureStore

Write = Callable[..., Path]
Pictures = Callable[..., list[np.ndarray]]
FLOW = "flow-hist@stacks-2x2"
# Some seconds of work a video, so that a process has one in hand when it is killed.
LONG = "flow-hist@clips-2/short-96"


@pytest.fixture
def videos(tmp_path: Path, moving_square: Pictures, write_video: Write) -> list[Video]:
    folder = tmp_path / "videos"
    folder.mkdir()
    return [
        Video(f"v{step}", write_video(folder / f"v{step}.mp4", moving_square(24, step=step)))
        for step in range(6)
    ]


def test_a_device_process_that_is_killed_leaves_its_work_to_the_other(
    videos: list[Video], tmp_path: Path
) -> None:
    killed: list[int] = []

    def kill_one(name: str, share: float) -> None:
        if not killed:
            victim = multiprocessing.active_children()[0]
            assert victim.pid is not None
            killed.append(victim.pid)
            os.kill(victim.pid, signal.SIGKILL)

    order = Order(tmp_path / "store", (FLOW,))
    with FeatureStore.create(order.store).claim("v3") as mine:
        assert mine
        outcomes = list(extract_on(order, videos, ("cpu", "cpu"), kill_one))
    assert len(killed) == 1
    assert Counter(one.video_id for one in outcomes) == Counter(one.id for one in videos)
    assert not any(one.failure for one in outcomes), outcomes
    assert [one.video_id for one in outcomes if one.skipped] == ["v3"], "it is another's"
    store = FeatureStore.open(order.store)
    (key,) = store.keys()
    assert store.videos(key) == ["v0", "v1", "v2", "v4", "v5"]
    assert multiprocessing.active_children() == []


def test_processes_that_die_too_often_are_told_of(
    videos: list[Video], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(devices, "_ATTEMPTS", 1)
    killed: set[int | None] = set()

    def kill_all(name: str, share: float) -> None:
        for victim in multiprocessing.active_children():
            if victim.pid is not None:
                killed.add(victim.pid)
                os.kill(victim.pid, signal.SIGKILL)

    order = Order(tmp_path / "store", (FLOW,))
    outcomes = list(extract_on(order, videos, ("cpu", "cpu"), kill_all))
    assert len(killed) >= 2
    assert Counter(one.video_id for one in outcomes) == Counter(one.id for one in videos)
    failed = [one for one in outcomes if one.failure]
    assert failed
    for one in failed:
        words = "the process that had it in hand died 1 times; run it again"
        assert one.failure == f"{videos[int(one.video_id[1:])].path}: {words}"
    assert FeatureStore.open(order.store).failures() == []


def test_what_the_user_can_mend_is_raised_and_leaves_no_process(
    videos: list[Video], tmp_path: Path
) -> None:
    order = Order(tmp_path / "store", (FLOW,))
    FeatureStore.create(order.store)
    marker = order.store / "store.json"
    marker.write_text(marker.read_text().replace('"version": 1', '"version": 99'))
    with pytest.raises(StoreError, match="is a store of version 99"):
        list(extract_on(order, videos, ("cpu", "cpu"), lambda *_: None))
    assert multiprocessing.active_children() == []


def test_leaving_early_leaves_no_process(videos: list[Video], tmp_path: Path) -> None:
    order = Order(tmp_path / "store", (FLOW,))
    outcomes = extract_on(order, videos, ("cpu", "cpu"), lambda *_: None)
    assert next(outcomes).computed
    outcomes.close()  # type: ignore[attr-defined]
    assert multiprocessing.active_children() == []
    assert not list(order.store.glob("parts/*/.*"))


def descendants(ancestor: int) -> set[int]:
    """Running processes below one."""
    parents = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            pid, rest = stat.read_text().split(" (", 1)
        except OSError:  # it has just ended
            continue
        state, parent = rest.rpartition(") ")[2].split()[:2]
        if state != "Z":
            parents[int(pid)] = int(parent)
    found = {ancestor}
    while more := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= more
    return found - {ancestor}


def runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] != "Z"
    except OSError:
        return False


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks for processes in /proc")
def test_a_command_that_is_killed_leaves_no_process(videos: list[Video], tmp_path: Path) -> None:
    store = tmp_path / "store"
    words = ["extract", str(tmp_path / "videos"), "--store", str(store), "--feature", LONG]
    words += ["--device", "cpu,cpu", "--workers", "2"]
    process = subprocess.Popen((sys.executable, "-m", "aqakit", *words), stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not list(store.glob("parts/*/*")) and time.monotonic() < deadline:
        assert process.poll() is None
        time.sleep(0.05)
    left = descendants(process.pid)
    assert len(left) >= 4, "two processes, with one worker each"
    process.send_signal(signal.SIGKILL)
    process.wait()
    while any(map(runs, left)) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not any(map(runs, left))


def test_a_video_is_computed_once_even_where_all_are_wanted_again(
    videos: list[Video], tmp_path: Path
) -> None:
    order = Order(tmp_path / "store", (FLOW,))
    list(extract_on(order, videos, ("cpu",), lambda *_: None))
    store = FeatureStore.open(order.store)
    (key,) = store.keys()
    again = replace(order, overwrite=True)
    outcomes = list(extract_on(again, videos, ("cpu", "cpu"), lambda *_: None))
    assert Counter(one.video_id for one in outcomes) == Counter(one.id for one in videos)
    assert all(one.computed == (key,) and not one.kept for one in outcomes)


def test_a_process_that_is_interrupted_leaves_its_video_to_others(
    videos: list[Video], tmp_path: Path
) -> None:
    interrupted: list[int] = []

    def interrupt_one(name: str, share: float) -> None:
        if not interrupted:
            victim = multiprocessing.active_children()[0]
            assert victim.pid is not None
            interrupted.append(victim.pid)
            os.kill(victim.pid, signal.SIGINT)

    order = Order(tmp_path / "store", (FLOW,))
    outcomes = list(extract_on(order, videos, ("cpu", "cpu"), interrupt_one))
    assert interrupted
    assert Counter(one.video_id for one in outcomes) == Counter(one.id for one in videos)
    assert all(one.computed for one in outcomes), outcomes


def test_processes_that_die_as_they_start_end_it(
    videos: list[Video], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(devices, "_extract_share", _die)
    with pytest.raises(RecipeError, match="every process died as it started; try one device"):
        list(extract_on(Order(tmp_path / "s", (FLOW,)), videos, ("cpu", "cpu"), lambda *_: None))


def _die(*_: object) -> None:
    os._exit(1)
