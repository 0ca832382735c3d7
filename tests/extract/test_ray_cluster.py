"""Extraction on two nodes of Ray that this machine runs itself, against extraction in this process."""

import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import ray
import torch
from ray.cluster_utils import Cluster

from aqakit import pipeline
from aqakit.extract import ray_cluster
from aqakit.extract.extraction import Order, extract_videos
from aqakit.extract.ray_cluster import extract_on_cluster
from aqakit.features.errors import RecipeError, StoreError
from aqakit.features.manifest import Video
from aqakit.features.outcome import Outcome
from aqakit.features.store import FeatureStore

FEATURE = "flow-hist@stacks-2x2"
VIDEOS = 6
# A killed node is told from a slow one within two seconds instead of twenty.
QUICK = {
    "health_check_initial_delay_ms": 0,
    "health_check_period_ms": 500,
    "health_check_timeout_ms": 500,
    "health_check_failure_threshold": 4,
}


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A cluster whose head computes nothing; tests add nodes."""
    with (
        pytest.MonkeyPatch.context() as patch,
        # Not below pytest's own, because the paths of sockets must be short.
        tempfile.TemporaryDirectory(dir="/tmp", ignore_cleanup_errors=True) as folder,
    ):
        # Ray notes the address of a cluster in a folder of its own, which it takes for granted.
        patch.setenv("RAY_TMPDIR", folder)
        (Path(folder) / "ray").mkdir()
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("OMP_NUM_THREADS", "1")
        found = Cluster(
            initialize_head=True,
            head_node_args={
                "num_cpus": 0,
                "include_dashboard": False,
                "object_store_memory": 80 * 2**20,
                "temp_dir": folder,
                "_system_config": QUICK,
            },
        )
        yield found
        stop: Callable[[], None] = found.shutdown
        stop()


@pytest.fixture
def nodes(cluster: Any) -> list[Any]:
    """Two nodes for one worker each, those of an earlier test where it left them alive."""
    while len(cluster.worker_nodes) < 2:
        cluster.add_node(num_cpus=1, object_store_memory=80 * 2**20)
    return list(cluster.worker_nodes)


@pytest.fixture
def videos(
    tmp_path: Path, moving_square: Callable[..., Any], write_video: Callable[..., Path]
) -> list[Video]:
    """Videos of which each takes about a second."""
    found = []
    for number in range(VIDEOS):
        path = write_video(tmp_path / f"v{number}.mp4", moving_square(60, step=number + 1))
        found.append(Video(path.stem, path))
    return found


def order(folder: Path) -> Order:
    return Order(FeatureStore.create(folder).path.absolute(), (FEATURE,))


def locally(folder: Path, videos: Sequence[Video]) -> dict[str, Outcome]:
    return {one.video_id: one for one in extract_videos(order(folder), videos, lambda *_: None)}


def contents(folder: Path) -> dict[str, tuple[bytes, bytes]]:
    store = FeatureStore.open(folder)
    [key] = store.keys()
    stored = {video: store.read(key, video) for video in store.videos(key)}
    return {name: (one.values.tobytes(), one.times.tobytes()) for name, one in stored.items()}


def what(outcome: Outcome) -> Outcome:
    """What became of a video, without how long it took."""
    return replace(outcome, seconds=0.0, spent={})


def test_same_as_in_this_process(
    tmp_path: Path,
    cluster: Any,
    nodes: list[Any],
    videos: list[Video],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"no video")
    videos = [*videos[:3], Video("broken", broken)]
    monkeypatch.chdir(tmp_path)  # where the nodes are not
    near = [replace(video, path=Path(video.path.name)) for video in videos if video.path]
    expected = locally(tmp_path / "here", videos)

    found = extract_on_cluster(order(tmp_path / "there"), near, ("cpu",), cluster.address)
    outcomes = {one.video_id: one for one in found}

    assert not ray.is_initialized()
    assert outcomes.keys() == expected.keys()
    failure = outcomes.pop("broken").failure
    assert failure is not None and failure.startswith("on node ")
    assert failure.endswith(str(expected.pop("broken").failure))
    # Each of the two workers builds what it needs once.
    assert sum("load" in one.spent for one in outcomes.values()) <= 2
    for name, outcome in outcomes.items():
        assert what(outcome) == what(expected[name])
    assert contents(tmp_path / "there") == contents(tmp_path / "here")


def test_killed_node(tmp_path: Path, cluster: Any, nodes: list[Any], videos: list[Video]) -> None:
    locally(tmp_path / "here", videos)
    outcomes = []
    for outcome in extract_on_cluster(order(tmp_path / "there"), videos, ("cpu",), cluster.address):
        outcomes.append(outcome)
        if len(outcomes) == 2:
            cluster.remove_node(nodes[0], allow_graceful=False)
    assert sorted(one.video_id for one in outcomes) == [video.id for video in videos]
    assert [one.failure for one in outcomes] == [None] * VIDEOS
    assert contents(tmp_path / "there") == contents(tmp_path / "here")
    assert not FeatureStore.open(tmp_path / "there").verify()


def test_no_node_left(tmp_path: Path, cluster: Any, nodes: list[Any], videos: list[Video]) -> None:
    # So many that some are left when the nodes are gone, however fast the machine is.
    many = [Video(f"w{number}", videos[number % VIDEOS].path) for number in range(20 * VIDEOS)]
    found = extract_on_cluster(order(tmp_path / "there"), many, ("cpu",), cluster.address)
    done = next(found)
    for node in nodes:
        cluster.remove_node(node, allow_graceful=False)
    rest: list[Outcome] = []
    with pytest.raises(RecipeError, match="no node of the cluster has a CPU; add one"):
        rest.extend(found)
    assert contents(tmp_path / "there").keys() >= {one.video_id for one in [done, *rest]}


def kill_who_extracts(nodes: list[Any], times: int) -> None:
    """Kill the worker that has a video in hand, as often as asked; Ray names processes so."""
    raylets = {node.all_processes["raylet"][0].process.pid for node in nodes}
    killed: set[int] = set()
    while len(killed) < times:
        for process in set(map(int, filter(str.isdigit, os.listdir("/proc")))) - killed:
            with suppress(OSError):
                title = Path(f"/proc/{process}/cmdline").read_text(errors="replace")
                parent = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1]
                if title.startswith("ray::_Worker.extract") and int(parent) in raylets:
                    os.kill(process, signal.SIGKILL)
                    killed.add(process)
        time.sleep(0.01)


def test_video_that_kills_its_workers(
    tmp_path: Path, cluster: Any, nodes: list[Any], videos: list[Video]
) -> None:
    """It is reported after the second, and computed by the next run."""
    there = order(tmp_path / "there")
    video = videos[0]
    with ThreadPoolExecutor(1) as pool:
        killer = pool.submit(kill_who_extracts, nodes, 2)
        [outcome] = extract_on_cluster(there, [video], ("cpu",), cluster.address)
        killer.result(timeout=5)
    assert outcome.failure == (
        f"{video.path}: the worker that had it in hand died, 2 times (The actor is dead because its "
        "worker process has died); free memory on the nodes or convert the file, then run it again"
    )
    assert not FeatureStore.open(tmp_path / "there").failures()
    [outcome] = extract_on_cluster(there, [video], ("cpu",), cluster.address)
    assert outcome.computed and outcome.failure is None


def test_error_of_a_node_stops_everything(
    tmp_path: Path, cluster: Any, nodes: list[Any], videos: list[Video]
) -> None:
    missing = replace(order(tmp_path / "there"), store=tmp_path / "elsewhere")
    with pytest.raises(
        StoreError, match=r"^on node .*the store is not to be seen .*elsewhere"
    ) as caught:
        list(extract_on_cluster(missing, videos[:1], ("cpu",), cluster.address))
    assert type(caught.value) is StoreError
    assert not (tmp_path / "elsewhere").exists()


class Unreadable:
    """Ends the process that reads it."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os._exit, (1,)


def test_workers_that_cannot_start(
    tmp_path: Path,
    cluster: Any,
    nodes: list[Any],
    videos: list[Video],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ray_cluster, "_STILLBORN", 2)
    deadly: Any = {"numpy": Unreadable()}
    deadly_order = replace(order(tmp_path / "s"), versions=deadly)
    with pytest.raises(RecipeError, match="workers die as they start .*install the same aqakit"):
        list(extract_on_cluster(deadly_order, videos, ("cpu",), cluster.address))


def test_waits_for_the_claim_of_a_dead_worker(
    tmp_path: Path, videos: list[Video], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch, "set_num_threads", lambda threads: None)
    there = order(tmp_path / "there")
    worker = ray_cluster._Worker(there)
    with ExitStack() as claim:
        assert claim.enter_context(FeatureStore.open(there.store).claim(videos[0].id))
        monkeypatch.setattr(time, "sleep", lambda seconds: claim.close())
        first = worker.extract(videos[0], inherited=False)
        second = worker.extract(videos[0], inherited=True)
    assert isinstance(first, Outcome) and first.skipped
    assert isinstance(second, Outcome) and second.computed


def test_no_such_device(tmp_path: Path, cluster: Any, videos: list[Video]) -> None:
    with pytest.raises(RecipeError, match="no node of the cluster has a GPU"):
        list(extract_on_cluster(order(tmp_path / "s"), videos, ("cuda",), cluster.address))
    with pytest.raises(RecipeError, match="cuda:0,cuda:1 names devices of one machine"):
        list(extract_on_cluster(order(tmp_path / "s"), videos, ("cuda:0", "cuda:1"), "auto"))


def test_without_ray(tmp_path: Path, videos: list[Video], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(RecipeError, match=r"^--ray needs Ray; pip install 'aqakit\[ray\]'$"):
        pipeline.extract(tmp_path, tmp_path / "s", [FEATURE], ray="auto")


@pytest.mark.parametrize(
    ("address", "complaint"),
    [
        ("127.0.0.1:1", "cannot be reached"),
        ("nowhere.invalid:6379", "cannot be reached"),
        ("127.0.0.1:99999", "cannot be reached"),
        ("nonsense", "cannot be used .*Invalid address"),
    ],
)
def test_unreachable(tmp_path: Path, videos: list[Video], address: str, complaint: str) -> None:
    with pytest.raises(RecipeError, match=complaint) as caught:
        pipeline.extract(tmp_path, tmp_path / "s", [FEATURE], ray=address)
    assert "\n" not in str(caught.value) and address in str(caught.value)


def test_workers_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="leave it out with --ray"):
        pipeline.extract(tmp_path, tmp_path / "s", [FEATURE], workers=2, ray="auto")
