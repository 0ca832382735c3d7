"""One device in this process, or several with a process each over one store.

The processes ask for one video after the other, so that a fast device does more of them.
"""

import multiprocessing
import os
import time
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess

from ..features.errors import RecipeError, UserError
from ..features.manifest import Video
from ..features.outcome import Outcome
from .extraction import OnVideo, Order, extract_videos

_ATTEMPTS = 2
# A process that is no more wanted ends at its next word; some take long for it.
_PATIENCE_SECONDS = 10
_NEXT_PLEASE = "next"


def extract_on(
    order: Order, videos: Sequence[Video], devices: Sequence[str], on_video: OnVideo
) -> Iterator[Outcome]:
    """Compute and store whatever the store lacks of each video, on one device or on several.

    Args:
        order: what to compute; its workers are shared out to the devices, at least one to each.
        videos: of the manifest.
        devices: torch devices; one that stands twice gets two processes.
        on_video: told how much of a video in hand has been read, 0 to 1.

    Yields:
        What became of each video, as they finish. One whose process died twice is given out as
        failed and not recorded in the store.

    Raises:
        UserError: as :func:`~.extraction.extract_videos`.
    """
    if len(devices) == 1:
        yield from extract_videos(replace(order, device=devices[0]), videos, on_video)
        return
    office = _Office(videos, on_video)
    while office.waiting:
        given = office.given
        with _started(order, devices) as processes:
            yield from office.serve(list(processes))
        if office.waiting and office.given == given:
            raise RecipeError(
                f"--device {','.join(devices)}: every process died as it started; try one device"
            )


class _Office:
    """Hands out videos to the processes, and hears what became of them.

    Args:
        videos: to do.
        on_video: told how much of a video in hand has been read, 0 to 1.
    """

    def __init__(self, videos: Sequence[Video], on_video: OnVideo) -> None:
        self.waiting = deque(videos)
        self.given = 0
        self._on_video = on_video
        self._deaths: Counter[str] = Counter()

    def serve(self, connections: list[Connection]) -> Iterator[Outcome]:
        """Answer until every process has ended; the videos of one that died wait again."""
        in_hand: dict[Connection, dict[str, Video]] = {one: {} for one in connections}
        while connections:
            for connection in wait(connections):
                assert isinstance(connection, Connection)
                try:
                    message = connection.recv()
                except (EOFError, OSError):
                    connections.remove(connection)
                    yield from self._mourn(in_hand[connection].values())
                    continue
                match message:
                    case Outcome() as outcome:
                        del in_hand[connection][outcome.video_id]
                        yield outcome
                    case UserError() as error:
                        raise error
                    case video_id, share:
                        self._on_video(video_id, share)
                    case _:
                        self._give(connection, in_hand[connection])

    def _give(self, connection: Connection, in_hand: dict[str, Video]) -> None:
        video = self.waiting.popleft() if self.waiting else None
        if video is not None:
            self.given += 1
            in_hand[video.id] = video
        with suppress(OSError):  # it died meanwhile, which its pipe will tell
            connection.send(video)

    def _mourn(self, videos: Iterable[Video]) -> Iterator[Outcome]:
        for video in videos:
            self._deaths[video.id] += 1
            if self._deaths[video.id] < _ATTEMPTS:
                self.waiting.append(video)
                continue
            reason = f"{video.path}: the process that had it in hand died {_ATTEMPTS} times; run it again"
            yield Outcome(video.id, failure=reason)


@contextmanager
def _started(order: Order, devices: Sequence[str]) -> Iterator[dict[Connection, SpawnProcess]]:
    """A process a device, and the pipe that it speaks through; none is left when the block ends."""
    context = multiprocessing.get_context("spawn")
    processes: dict[Connection, SpawnProcess] = {}
    threads = max(1, len(os.sched_getaffinity(0)) // len(devices))
    try:
        for number, device in enumerate(devices):
            workers = max(1, len(range(number, order.workers, len(devices))))
            share = replace(order, device=device, workers=workers if order.workers else 0)
            here, there = context.Pipe()
            process = context.Process(target=_extract_share, args=(share, threads, there))
            process.start()
            there.close()
            processes[here] = process
        yield processes
    finally:
        _end(processes)


def _end(processes: dict[Connection, SpawnProcess]) -> None:
    for connection in processes:
        connection.close()
    deadline = time.monotonic() + _PATIENCE_SECONDS
    for process in processes.values():
        process.join(max(0.0, deadline - time.monotonic()))
        if process.is_alive():
            process.terminate()
            process.join()


def _extract_share(order: Order, threads: int, parent: Connection) -> None:
    """What runs inside the process of a device, while somebody listens."""
    import torch

    torch.set_num_threads(threads)

    def videos() -> Iterator[Video]:
        while True:
            parent.send(_NEXT_PLEASE)
            video = parent.recv()
            if video is None:
                return
            yield video

    with suppress(EOFError, BrokenPipeError, ConnectionResetError, KeyboardInterrupt):
        try:
            for outcome in extract_videos(
                order, videos(), lambda *news: parent.send(news), threads=threads
            ):
                parent.send(outcome)
        except UserError as error:
            parent.send(error)
