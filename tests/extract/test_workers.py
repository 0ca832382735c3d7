"""Processes that read videos tell what a reader in this process tells, and may die."""

import multiprocessing
import os
import queue
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from aqakit.extract import extraction, workers
from aqakit.extract.augment import Variant
from aqakit.extract.backbone import Setup
from aqakit.extract.extraction import Order, extract_videos
from aqakit.extract.flow import TVL1
from aqakit.extract.layout import Wish
from aqakit.extract.reading import Closed, Items, Job, Message, Opened, Refused
from aqakit.extract.request import Feature, View
from aqakit.extract.transforms import FlowPreset, Preset
from aqakit.extract.workers import Died, InlineReader, ReaderProcesses, Readers
from aqakit.features.errors import RecipeError, StoreError
from aqakit.features.manifest import Video
from aqakit.features.segments import Sampling, Units
from aqakit.features.spec import FeatureSpec
from aqakit.features.store import FeatureStore

Write = Callable[..., Path]
Pictures = Callable[..., list[np.ndarray]]


def told_by(readers: Readers, jobs: dict[str, Job]) -> dict[str, list[Message]]:
    """All messages of all videos, as many of them at once as the readers take."""
    told: dict[str, list[Message]] = {name: [] for name in jobs}
    waiting, running = list(jobs), 0
    while waiting or running:
        while waiting and readers.free():
            name = waiting.pop(0)
            readers.start(name, jobs[name])
            running += 1
        name, message = readers.receive()
        assert not isinstance(message, Died)
        told[name].append(message)
        if isinstance(message, Closed | Refused):
            readers.finished(name)
            running -= 1
    return told


def plain(message: Message) -> Any:
    """What of a message must not depend on who read it."""
    match message:
        case Opened():
            units = [
                [one.frames.tolist(), one.times.tolist(), one.padded_frames]
                if isinstance(one, Units)
                else one
                for one in message.units
            ]
            return message.facts, message.frames, units
        case Items():
            return message.feed, message.numbers, np.asarray(message.pictures).tobytes()
        case Closed():
            return message.damaged_frames
        case Refused():
            return message
    raise AssertionError(message)


def test_messages_of_processes_equal_those_of_this_process(
    tmp_path: Path, moving_square: Pictures, write_video: Write
) -> None:
    frames = Preset(24)
    wishes = (
        Wish(View(frames), Sampling.parse("clips-4")),
        Wish(View(frames, Variant.parse("mask")), Sampling.parse("segments-4-last")),
        Wish(View(FlowPreset(frames)), Sampling.parse("stacks-4x3-10fps")),
        Wish(View(frames), Sampling.parse("clips-24-refuse")),
    )
    jobs = {}
    for number in range(5):
        pictures = moving_square(16 + 4 * number, step=number + 1)
        path = write_video(tmp_path / f"v{number}.mp4", pictures)
        jobs[path.stem] = Job(path, None, 0.9 if number == 3 else None, wishes)
    broken = tmp_path / "broken.mp4"
    broken.write_text("not a video")
    jobs["broken"] = Job(broken, None, None, wishes)
    jobs["elsewhere"] = replace(jobs["v1"], flow_elsewhere=True)
    with TVL1(1) as tvl1, InlineReader(tvl1) as inline:
        expected = told_by(inline, jobs)
    with ReaderProcesses(2, "opencv") as processes:
        found = told_by(processes, jobs)
        assert len(multiprocessing.active_children()) == 2
    assert multiprocessing.active_children() == []
    assert [type(one) for one in expected["broken"]] == [Refused]
    for name, messages in expected.items():
        assert [plain(one) for one in found[name]] == [plain(one) for one in messages]


class Mean:
    """A backbone of one number a unit."""

    batch_units = 1

    def __call__(self, images: np.ndarray, seconds: Any, layers: Any) -> dict[str, np.ndarray]:
        return {"mean": images.reshape(1, -1).mean(axis=1, keepdims=True).astype(np.float32)}


def large_frames(*_: Any) -> list[Feature]:
    """A feature whose frames fill many messages, in no time."""
    spec = FeatureSpec("fake", "rgb", "mean", Sampling.parse("clips-2"), "imagenet-448")
    module: Any = type("module", (), {"build": staticmethod(lambda setup: Mean())})
    return [Feature(spec, module, Setup("rgb", "imagenet-448"), (1,))]


@pytest.fixture
def videos(
    tmp_path: Path, moving_square: Pictures, write_video: Write, monkeypatch: pytest.MonkeyPatch
) -> list[Video]:
    """Three videos of 12 messages of frames each, and a feature that looks at them."""
    monkeypatch.setattr(extraction, "plan_features", large_frames)
    pictures = moving_square(84)
    return [Video(name, write_video(tmp_path / f"{name}.mp4", pictures)) for name in "abc"]


def test_a_killed_process_costs_at_most_its_video(videos: list[Video], tmp_path: Path) -> None:
    to_kill = {"a": 1, "b": 2}
    killed: set[int | None] = set()

    def kill(name: str, share: float) -> None:
        for child in multiprocessing.active_children():
            if to_kill.get(name) and child.pid is not None and child.pid not in killed:
                assert share < 1
                to_kill[name] -= 1
                killed.add(child.pid)
                os.kill(child.pid, signal.SIGKILL)

    order = Order(tmp_path / "store", ("fake",), workers=1)
    outcomes = {one.video_id: one for one in extract_videos(order, videos, kill)}
    assert to_kill == {"a": 0, "b": 0}
    assert [name for name, one in outcomes.items() if one.computed] == ["c", "a"]
    line = str(outcomes["b"].failure)
    assert line.startswith(f"{videos[1].path}: the process that read it died 2 times (")
    assert line.endswith("; free memory or convert the file, then run it again")
    assert "\n" not in line
    store = FeatureStore.open(order.store)
    assert store.failures() == [], "the next run shall try again"
    (key,) = store.keys()
    assert store.videos(key) == ["a", "c"]
    rows = [store.read(key, name).values.tobytes() for name in "ac"]
    assert rows[0] == rows[1], "nothing of the first attempt is left"
    assert not list(order.store.glob("parts/*/.*"))
    again = {one.video_id: one for one in extract_videos(order, videos, lambda *_: None)}
    assert again["b"].computed == (key,)
    assert again["a"].kept == (key,)


def test_leaving_early_leaves_no_process_and_no_trace(videos: list[Video], tmp_path: Path) -> None:
    order = Order(tmp_path / "store", ("fake",), workers=2)

    def impatient(name: str, share: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        list(extract_videos(order, videos, impatient))
    assert multiprocessing.active_children() == []
    assert not list(order.store.glob("parts/*/*"))
    store = FeatureStore.open(order.store)
    for video in videos:
        with store.claim(video.id) as mine:
            assert mine


class Puppet:
    """Stands for a worker; the test speaks for it."""

    def __init__(self, method: str, inbox: "queue.Queue[Any]") -> None:
        self._inbox = inbox
        self.given: list[Job | None] = []
        made.append(self)

    def give(self, job: Job | None) -> None:
        self.given.append(job)

    def say(self, message: Any) -> None:
        self._inbox.put((self, message))

    def stop(self) -> None:
        self.given.append(None)

    def alive(self) -> bool:
        return False


made: list[Puppet] = []


@pytest.fixture
def puppets(monkeypatch: pytest.MonkeyPatch) -> list[Puppet]:
    made.clear()
    monkeypatch.setattr(workers, "_Worker", Puppet)
    return made


def test_an_idle_worker_that_dies_is_given_nothing_more(puppets: list[Puppet]) -> None:
    job, end = Job(Path("a.mp4"), None, None, ()), Closed(0, {})
    with ReaderProcesses(2, "opencv") as readers:
        readers.start("a", job)
        readers.start("b", job)
        assert not readers.free()
        first, second = puppets
        for name, puppet in (("a", first), ("b", second)):
            puppet.say(end)
            assert readers.receive() == (name, end)
            readers.finished(name)
        assert readers.free()
        readers.start("c", job)
        assert second.given == [job, job]
        first.say(Died("killed"))
        second.say(end)
        assert readers.receive() == ("c", end), "the death of an idle worker is nobody's message"
        readers.start("d", job)
        assert first.given == [job]
        assert puppets[2].given == [job]
        assert not readers.free()
    assert [puppet.given[-1] for puppet in puppets] == [job, None, None]


def test_a_worker_that_dies_frees_its_place(puppets: list[Puppet]) -> None:
    job = Job(Path("a.mp4"), None, None, ())
    with ReaderProcesses(1, "opencv") as readers:
        readers.start("a", job)
        puppets[0].say(Died("killed"))
        assert readers.receive() == ("a", Died("killed"))
        readers.finished("a")  # says whoever gives the video up
        assert readers.free()
        readers.start("b", job)
        assert not readers.free()
        assert len(puppets) == 2


def test_workers_that_die_as_they_start_end_it(puppets: list[Puppet]) -> None:
    job, end = Job(Path("a.mp4"), None, None, ()), Closed(0, {})
    with ReaderProcesses(1, "opencv") as readers:
        for number in range(4):
            readers.start(f"v{number}", job)
            puppets[-1].say(Died("killed"))
            readers.receive()
        readers.start("good", job)
        puppets[-1].say(end)
        assert readers.receive() == ("good", end), "a word in between is a sign of life"
        readers.finished("good")
        for number in range(5):
            readers.start(f"w{number}", job)
            puppets[-1].say(Died("killed"))
            if number < 4:
                readers.receive()
        with pytest.raises(
            RecipeError, match=r"5 processes that read videos died before .*workers 0"
        ):
            readers.receive()


def test_what_is_not_the_fault_of_a_video_is_raised(puppets: list[Puppet]) -> None:
    with ReaderProcesses(1, "opencv") as readers:
        readers.start("a", Job(Path("a.mp4"), None, None, ()))
        puppets[0].say(StoreError("the disk failed"))
        with pytest.raises(StoreError, match="the disk failed"):
            readers.receive()
