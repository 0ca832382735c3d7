"""Videos shared out to the machines of a Ray cluster, each video with all its features.

Every processor or GPU of the cluster gets a worker, a Ray actor, that keeps the networks it has
built. It has one video in hand at a time and writes straight into the store, which all machines
see. A video whose worker dies, alone or with its machine, is given to another one once more.
"""

import logging
import platform
import re
import socket
import time
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch

from ..features.errors import RecipeError, StoreError, UserError
from ..features.manifest import Video
from ..features.outcome import Outcome
from ..features.store import FeatureStore
from .batches import Backbones
from .extraction import Order, extract_videos
from .reading import unforeseen
from .request import plan_features

_ATTEMPTS = 2
_CONNECT_SECONDS = 5.0
# So many deaths of workers that have said nothing yet, and no life between, are no accident.
_STILLBORN = 3
# How soon a lost or a new machine is noticed while no video finishes.
_LOOK_SECONDS = 1.0
# The operating system takes a moment to end all processes of a machine's Ray, and their claims.
_CLAIM_SECONDS = 3.0
_REASON_LETTERS = 200
_COLOUR = re.compile("\x1b\\[[0-9;]*m")


def extract_on_cluster(
    order: Order, videos: Sequence[Video], devices: Sequence[str], address: str
) -> Iterator[Outcome]:
    """Compute and store whatever the store lacks of each video, on all machines of a cluster.

    Every machine must have the same aqakit, and see the store, the videos and the weights at the
    paths they have here. A program that is connected to Ray already keeps its connection.

    Args:
        order: what to compute; a worker reads its videos itself, on one core.
        videos: of the manifest.
        devices: ``cpu`` for a worker on each processor core, or ``cuda`` for one on each GPU.
        address: of the cluster, ``HOST:PORT``, or ``auto`` for the one that this machine is in.

    Yields:
        What became of each video, as they finish. One whose workers died twice is given out as
        failed and not recorded in the store.

    Raises:
        RecipeError: Ray is not installed, the cluster cannot be reached or has no such device, or
            its workers cannot start.
        UserError: as :func:`~.extraction.extract_videos`, with the name of the node.
    """
    if tuple(devices) not in {("cpu",), ("cuda",)}:
        raise RecipeError(
            f"--device {','.join(devices)} names devices of one machine; with --ray give cpu or cuda"
        )
    order = replace(order, device=devices[0], workers=0, weights=_weights_for_all(order))
    with _connected(address) as ray:
        crew = _Crew(ray, address, order, [_seen_by_all(video) for video in videos])
        try:
            yield from crew.run()
        finally:
            crew.dismiss()


def _weights_for_all(order: Order) -> tuple[str, ...]:
    """The weights found here, so that no machine takes others that it finds on its own."""
    words: dict[str, str] = {}
    for feature in plan_features(order.features, order.weights, order.precision):
        network = f"{feature.spec.backbone}.{feature.spec.stream}"
        if feature.setup.weights is not None:
            words[network] = f"{network}={feature.setup.weights.absolute()}"
        elif feature.setup.random_seed is not None:
            words[network] = f"{network}=random"
    return tuple(words.values())


def _seen_by_all(video: Video) -> Video:
    """The same video; another machine's working folder is another one."""
    return video if video.path is None else replace(video, path=video.path.absolute())


@contextmanager
def _connected(address: str) -> Iterator[Any]:
    """The module ``ray`` with a connection, which is closed again unless it was there before."""
    try:
        import ray
    except ImportError:
        raise RecipeError("--ray needs Ray; pip install 'aqakit[ray]'") from None
    if ray.is_initialized():
        yield ray
        return
    _check_listening(address)
    try:
        ray.init(address, log_to_driver=False, logging_level=logging.WARNING)
    except (OSError, RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split()).rstrip(".")
        raise RecipeError(
            f"--ray {address} cannot be used ({reason}); give HOST:PORT of a running cluster"
        ) from None
    try:
        yield ray
    finally:
        ray.shutdown()


def _check_listening(address: str) -> None:
    """Raise a RecipeError where nobody listens; Ray itself would try for minutes, and tell of it."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdigit():
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), _CONNECT_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise RecipeError(
            f"--ray {address} cannot be reached ({error}); start Ray there with 'ray start --head'"
        ) from None


class _Worker:
    """What a Ray actor does: it extracts one video after the other."""

    def __init__(self, order: Order) -> None:
        self._order = order
        self._backbones: Backbones = {}
        self._node = platform.node()
        torch.set_num_threads(1)  # Ray runs as many workers as there are cores

    def ready(self) -> None:
        """Answer as soon as it runs."""

    def extract(self, video: Video, inherited: bool) -> Outcome | UserError:
        """What became of a video, or what stops all of them.

        Args:
            video: to extract.
            inherited: from a worker that died, whose claim may be there for another moment.
        """
        try:
            self._check_store()
            outcome = self._try(video)
            if outcome.skipped and inherited:
                time.sleep(_CLAIM_SECONDS)
                outcome = self._try(video)
        except UserError as error:
            return type(error)(f"on node {self._node}: {error}")
        if outcome.failure is None or outcome.known_before:
            return outcome
        return replace(outcome, failure=f"on node {self._node}: {outcome.failure}")

    def _check_store(self) -> None:
        """Raise a StoreError where there is none; extraction would make one that only this sees."""
        try:
            FeatureStore.open(self._order.store)
        except StoreError as error:
            raise StoreError(
                f"the store is not to be seen ({error}); give every node the store, the videos and "
                "the weights at the paths that they have where the command runs"
            ) from error

    def _try(self, video: Video) -> Outcome:
        [outcome] = extract_videos(
            self._order, [video], lambda *_: None, backbones=self._backbones, threads=1
        )
        return outcome


class _Crew:
    """The workers of a cluster, and who of them has which video in hand."""

    def __init__(self, ray: Any, address: str, order: Order, videos: Sequence[Video]) -> None:
        self._ray = ray
        self._address = address
        self._resource = "GPU" if order.device == "cuda" else "CPU"
        # A worker on a GPU is no task, because Ray would end its process after each video.
        self._actor = ray.remote(
            num_cpus=1, num_gpus=int(order.device == "cuda"), max_restarts=0, max_task_retries=0
        )(_Worker)
        self._order = ray.put(order)
        self._waiting = deque(videos)
        self._given: Counter[str] = Counter()
        self._stillborn = 0
        self._last_words = ""
        # By the promise of a worker's next answer; the video is None while it starts.
        self._busy: dict[Any, tuple[Any, Video | None]] = {}

    def run(self) -> Iterator[Outcome]:
        while self._waiting or self._in_hand():
            self._hire()
            heard, _ = self._ray.wait(list(self._busy), timeout=_LOOK_SECONDS)
            for promise in heard:
                outcome = self._hear(promise, *self._busy.pop(promise))
                if outcome is not None:
                    yield outcome

    def dismiss(self) -> None:
        """Stop all workers; what they have in hand leaves no trace."""
        for worker, _ in self._busy.values():
            self._ray.kill(worker)

    def _in_hand(self) -> bool:
        return any(video is not None for _, video in self._busy.values())

    def _give(self, worker: Any) -> None:
        """Let a worker go on with the next video."""
        if not self._waiting:
            # An idle one could die unnoticed, and cost a video that comes back one of its attempts.
            self._ray.kill(worker)
            return
        video = self._waiting.popleft()
        inherited = self._given[video.id] > 0
        self._given[video.id] += 1
        self._busy[worker.extract.remote(video, inherited)] = (worker, video)

    def _hire(self) -> None:
        """Start as many workers as the cluster has room for now, and videos wait for."""
        room = int(self._ray.cluster_resources().get(self._resource, 0))
        if not room and not self._in_hand():
            raise RecipeError(
                f"--ray {self._address}: no node of the cluster has a {self._resource}; add one "
                "with 'ray start --address', then run the same command again"
            )
        if self._stillborn >= _STILLBORN:
            if not self._busy:
                raise RecipeError(
                    f"--ray {self._address}: workers die as they start ({self._last_words}); look "
                    "after the nodes, and install the same aqakit on each"
                )
            return
        starting = sum(video is None for _, video in self._busy.values())
        for _ in range(min(room - len(self._busy), len(self._waiting) - starting)):
            worker = self._actor.remote(self._order)
            self._busy[worker.ready.remote()] = (worker, None)

    def _hear(self, promise: Any, worker: Any, video: Video | None) -> Outcome | None:
        """Act on a worker's answer, or its death; a video's outcome if there is one."""
        try:
            found = self._ray.get(promise)
        except self._ray.exceptions.RayTaskError as error:
            if video is None:
                raise  # a worker that cannot be made will not be made the next time
            self._give(worker)
            return Outcome(video.id, failure=unforeseen(video.path, error.cause))
        except self._ray.exceptions.RayError as error:
            self._ray.kill(worker)  # for one that was only out of reach
            self._last_words = _in_short(error)
            if video is None:
                self._stillborn += 1
                return None
            return self._lost(video)
        self._stillborn = 0
        if isinstance(found, UserError):
            self._ray.kill(worker)
            raise found
        self._give(worker)
        return found if isinstance(found, Outcome) else None

    def _lost(self, video: Video) -> Outcome | None:
        if self._given[video.id] < _ATTEMPTS:
            self._waiting.append(video)
            return None
        failure = (
            f"{video.path}: the worker that had it in hand died, {_ATTEMPTS} times "
            f"({self._last_words}); "
            "free memory on the nodes or convert the file, then run it again"
        )
        return Outcome(video.id, failure=failure)


def _in_short(error: Exception) -> str:
    """The one sentence that says why, out of the many lines that Ray writes about a death."""
    lines = [" ".join(_COLOUR.sub("", line).split()) for line in str(error).splitlines()]
    lines = [line for line in lines if line]
    for line in lines:
        if "because its " in line:
            return line.partition(". ")[0].rstrip(".")
    return lines[-1][:_REASON_LETTERS]
