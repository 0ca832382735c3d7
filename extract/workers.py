"""Readers: one in this process, or many in processes of their own.

PyTorch's ``DataLoader`` does the plumbing: its worker turns the videos it is given into messages,
whose pictures travel through shared memory. Each worker has a loader of its own, so that one that
dies takes nothing with it but the video it had in hand.
"""

import multiprocessing
import queue
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Protocol, Self

from ..features.errors import RecipeError, UserError
from .flow import TVL1, Method
from .reading import Job, Message, read

# A worker reads ahead by so many pieces; more would only take memory.
_READ_AHEAD = 2
# So many deaths, and no word between them, are the machine's fault and not that of their videos.
_TOO_MANY = 5


@dataclass(frozen=True)
class Died:
    """The process that read a video is no more.

    Args:
        reason: one phrase.
    """

    reason: str


class Readers(Protocol):
    """Reads several videos at once."""

    def free(self) -> bool:
        """Whether another video can be started."""

    def start(self, name: str, job: Job) -> None:
        """Start reading a video; only while one is free."""

    def receive(self) -> tuple[str, Message | Died]:
        """Wait for the next message of any video that was started.

        Raises:
            UserError: something other than a video is at fault.
        """

    def finished(self, name: str) -> None:
        """Let go of the reader of a video, which has said its last word or is no more wanted."""


class InlineReader:
    """Reads in this process, one video at a time.

    Args:
        tvl1: entered; where flow is computed.
    """

    def __init__(self, tvl1: TVL1) -> None:
        self._tvl1 = tvl1
        self._name = ""
        self._messages: Iterator[Message] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing to stop."""

    def free(self) -> bool:
        """Whether no video is being read."""
        return self._messages is None

    def start(self, name: str, job: Job) -> None:
        """Start reading a video."""
        self._name, self._messages = name, read(job, self._tvl1)

    def receive(self) -> tuple[str, Message | Died]:
        """Read on until there is something to tell."""
        assert self._messages is not None
        return self._name, next(self._messages)

    def finished(self, name: str) -> None:
        """Be free again."""
        self._messages = None


class ReaderProcesses:
    """Reads in worker processes, started when they are first needed.

    Args:
        workers: how many; each decodes and computes flow on one core.
        method: how flow is computed.
    """

    def __init__(self, workers: int, method: Method) -> None:
        self._method = method
        self._inbox: queue.Queue[tuple[_Worker, Message | Died | BaseException]] = queue.Queue(
            maxsize=2 * workers
        )
        self._idle: list[_Worker | None] = [None] * workers
        self._busy: dict[str, _Worker] = {}
        self._names: dict[_Worker, str] = {}
        # Since some worker had something to tell.
        self._deaths = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        workers = [*self._busy.values(), *filter(None, self._idle)]
        for worker in workers:
            worker.stop()
        while any(worker.alive() for worker in workers):
            with suppress(queue.Empty):  # a worker may wait to be heard before it ends
                self._inbox.get(timeout=0.05)

    def free(self) -> bool:
        """Whether a worker has nothing to do."""
        return bool(self._idle)

    def start(self, name: str, job: Job) -> None:
        """Give a video to an idle worker."""
        worker = self._idle.pop() or _Worker(self._method, self._inbox)
        self._busy[name] = worker
        self._names[worker] = name
        worker.give(job)

    def receive(self) -> tuple[str, Message | Died]:
        """Wait for any worker.

        Raises:
            RecipeError: workers die as they start.
            UserError: something else than a video is at fault.
        """
        while True:
            worker, message = self._inbox.get()
            name = self._names.get(worker)
            if isinstance(message, BaseException):
                raise message
            if isinstance(message, Died):
                self._bury(worker)
                self._deaths += 1
                if self._deaths == _TOO_MANY:
                    raise RecipeError(
                        f"{_TOO_MANY} processes that read videos died before they had read anything "
                        f"({message.reason}); free memory, or use --workers 0"
                    )
            else:
                self._deaths = 0
            if name is not None:
                return name, message

    def _bury(self, worker: "_Worker") -> None:
        """Let another worker be started in the place of one that is dead."""
        if worker in self._idle:
            self._idle.remove(worker)
        else:
            del self._busy[self._names.pop(worker)]
        self._idle.append(None)

    def finished(self, name: str) -> None:
        """The worker of a video may take another."""
        worker = self._busy.pop(name, None)
        if worker is not None:
            del self._names[worker]
            self._idle.append(worker)


class _Worker:
    """A loader with one worker process, and the thread that listens to it."""

    def __init__(self, method: Method, inbox: "queue.Queue[Any]") -> None:
        # Only this process holds the end that gives, so whatever kills it ends the worker, too.
        jobs, self._jobs = multiprocessing.Pipe(duplex=False)
        self._inbox = inbox
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._listen, args=(jobs, method), daemon=True)
        self._thread.start()

    def give(self, job: Job | None) -> None:
        """Hand over the next video, or None for the end; a dead worker tells of it elsewhere."""
        with suppress(OSError):
            self._jobs.send(job)

    def stop(self) -> None:
        """End at the next piece of the video in hand, or at once without one."""
        self._stopping.set()
        self.give(None)

    def alive(self) -> bool:
        """Whether it may still say something."""
        return self._thread.is_alive()

    def _listen(self, jobs: Any, method: Method) -> None:
        from torch.utils.data import DataLoader

        from .worker_process import Videos

        try:
            messages = iter(
                DataLoader(
                    Videos(jobs, method),
                    batch_size=None,
                    collate_fn=_as_it_is,
                    num_workers=1,
                    prefetch_factor=_READ_AHEAD,
                    multiprocessing_context="spawn",
                )
            )
        except BaseException as error:  # noqa: BLE001 - raised again where it is heard
            self._inbox.put((self, error))
            return
        jobs.close()  # the worker has its own
        try:
            for message in messages:
                if self._stopping.is_set():
                    return
                self._inbox.put((self, message))
        except UserError as error:
            self._inbox.put((self, error))
        except Exception as error:  # noqa: BLE001 - a worker that was killed, or its sockets
            self._inbox.put((self, Died(str(error).splitlines()[0])))


def _as_it_is(message: Any) -> Any:
    return message
