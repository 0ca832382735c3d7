"""One device in this process, or several with a process each over one store.

The processes share a list of videos and a store. Each goes through the whole list and leaves out
what another has claimed or done, so that a fast device does more of it.
"""

import multiprocessing
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess

from ..features.errors import UserError
from ..features.manifest import Video
from ..features.outcome import Outcome
from .extraction import OnVideo, Order, extract_videos

_ATTEMPTS = 2
# A process that is no more wanted ends at its next word; some take long for it.
_PATIENCE_SECONDS = 10


def extract_on(
    order: Order, videos: Sequence[Video], devices: Sequence[str], on_video: OnVideo
) -> Iterator[Outcome]:
    """Compute and store whatever the store lacks of each video, on one device or on several.

    Args:
        order: what to compute; its workers are shared out to the devices.
        videos: of the manifest.
        devices: torch devices; one that stands twice gets two processes.
        on_video: told how much of a video in hand has been read, 0 to 1.

    Yields:
        What became of each video, as they finish.

    Raises:
        UserError: as :func:`~.extraction.extract_videos`.
    """
    if len(devices) == 1:
        yield from extract_videos(replace(order, device=devices[0]), videos, on_video)
        return
    left = {video.id: video for video in videos}
    for _ in range(_ATTEMPTS):
        skipped: dict[str, Outcome] = {}
        with _started(order, list(left.values()), devices) as processes:
            for outcome in _heard(list(processes), on_video):
                if outcome.skipped:
                    skipped[outcome.video_id] = outcome
                elif left.pop(outcome.video_id, None):
                    yield outcome
        died = any(process.exitcode for process in processes.values())
        if not (left and died):
            break
    for video in left.values():
        reason = f"{video.path}: the processes that had it in hand died; run it again"
        failed = Outcome(video.id, failure=reason)
        yield failed if died else skipped[video.id]


@contextmanager
def _started(
    order: Order, videos: Sequence[Video], devices: Sequence[str]
) -> Iterator[dict[Connection, SpawnProcess]]:
    """A process a device, and the pipe that it tells of its work through; none when it ends."""
    context = multiprocessing.get_context("spawn")
    processes: dict[Connection, SpawnProcess] = {}
    try:
        for number, device in enumerate(devices):
            workers = len(range(number, order.workers, len(devices)))
            share = replace(order, device=device, workers=workers)
            # Each starts elsewhere in the list, so that they seldom meet.
            first = number * len(videos) // len(devices)
            turned = [*videos[first:], *videos[:first]]
            here, there = context.Pipe()
            process = context.Process(target=_extract_share, args=(share, turned, there))
            process.start()
            there.close()
            processes[here] = process
        yield processes
    finally:
        for connection, process in processes.items():
            connection.close()
            process.join(_PATIENCE_SECONDS)
            if process.is_alive():
                process.terminate()
                process.join()


def _heard(connections: list[Connection], on_video: OnVideo) -> Iterator[Outcome]:
    """What each process says became of each video; a process that dies says no more."""
    while connections:
        for connection in wait(connections):
            assert isinstance(connection, Connection)
            try:
                message = connection.recv()
            except (EOFError, OSError):
                connections.remove(connection)
                continue
            match message:
                case Outcome() as outcome:
                    with suppress(OSError):
                        connection.send(None)
                    yield outcome
                case UserError() as error:
                    raise error
                case video_id, share:
                    on_video(video_id, share)


def _extract_share(order: Order, videos: Sequence[Video], parent: Connection) -> None:
    """What runs inside the process of a device, while somebody listens."""
    with suppress(EOFError, BrokenPipeError, ConnectionResetError, KeyboardInterrupt):
        try:
            for outcome in extract_videos(order, videos, lambda *news: parent.send(news)):
                parent.send(outcome)
                # Who claims the video next shall speak of it later.
                parent.recv()
        except UserError as error:
            parent.send(error)
