"""Do pieces of work in processes of their own; one that dies takes only its own piece with it."""

from collections.abc import Callable, Generator, Iterator, Sequence
from multiprocessing.connection import Connection, wait
from signal import SIG_IGN, SIGINT, signal
from typing import Any, Self, TypeVar, cast

from joblib import effective_n_jobs
from joblib.externals.loky.backend.context import get_context

Piece = TypeVar("Piece")
Result = TypeVar("Result")

# So many deaths, and no result between them, are the machine's fault and not that of the pieces.
_TOO_MANY = 5


def each_apart(
    work: Callable[[Piece], Result],
    pieces: Sequence[Piece],
    lost: Callable[[Piece], Result],
    jobs: int = -1,
) -> Generator[Result, None, None]:
    """Results in the order of the pieces, as they come.

    A generator that is closed, or not used any more, ends the processes at once.

    Args:
        work: done on each piece; raises nothing. It, the pieces and the results travel by pickle.
        pieces: of work.
        lost: the result of a piece whose process died. After five deaths without a result between
            them no more processes are started, and the rest is lost.
        jobs: processes at once; -1 is one a core.
    """
    ready: dict[int, Result] = {}
    with _Crew(work, min(effective_n_jobs(jobs), len(pieces))) as crew:
        given = 0
        for number in range(len(pieces)):
            while True:
                while given < len(pieces) and crew.idle():
                    crew.give(given, pieces[given])
                    given += 1
                if number in ready or not crew.busy():
                    break
                for done, result in crew.receive():
                    ready[done] = lost(pieces[done]) if result is None else cast(Result, result[0])
            yield ready.pop(number) if number in ready else lost(pieces[number])


class _Crew:
    """Processes that each do one piece at a time.

    Args:
        work: what they do.
        size: how many.
    """

    def __init__(self, work: Callable[[Any], Any], size: int) -> None:
        self._work = work
        # None is a process that is started when there is something to do.
        self._idle: list[_Process | None] = [None] * size
        self._busy: dict[Connection, tuple[int, _Process]] = {}
        self._deaths = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for process in [*self._idle, *(process for _, process in self._busy.values())]:
            if process is not None:
                process.end()

    def idle(self) -> bool:
        """Whether another piece can be given."""
        return bool(self._idle) and self._deaths < _TOO_MANY

    def busy(self) -> bool:
        """Whether a result is to come."""
        return bool(self._busy)

    def give(self, number: int, piece: Any) -> None:
        """Let a piece be done."""
        process = self._idle.pop() or _Process(self._work)
        self._busy[process.pipe] = number, process
        process.give(piece)

    def receive(self) -> Iterator[tuple[int, tuple[Any] | None]]:
        """Wait for results, at least one; None is that of a process that died."""
        for pipe in wait(list(self._busy)):
            number, process = self._busy.pop(cast(Connection, pipe))
            result = process.receive()
            if result is None:
                process.end()
            self._deaths = self._deaths + 1 if result is None else 0
            self._idle.append(process if result else None)
            yield number, result


class _Process:
    """One process and the pipe to it."""

    def __init__(self, work: Callable[[Any], Any]) -> None:
        # Joblib's processes, unlike those of Python, do not run the main script once more.
        context = get_context("loky")
        self.pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(work, theirs), daemon=True)
        self._process.start()
        theirs.close()  # only the process holds it, so its death ends the pipe

    def give(self, piece: Any) -> None:
        """Hand over a piece."""
        try:
            self.pipe.send(piece)
        except OSError:
            pass  # it is dead, which is noticed when the result is waited for

    def receive(self) -> tuple[Any] | None:
        """The result; None where there will be none."""
        try:
            return (self.pipe.recv(),)
        except (EOFError, OSError):
            return None

    def end(self) -> None:
        """Kill it; it holds nothing that has to be put in order."""
        self._process.terminate()
        self._process.join()
        self.pipe.close()


def _serve(work: Callable[[Any], Any], pipe: Connection) -> None:
    signal(SIGINT, SIG_IGN)  # whoever gave the work decides when it ends
    try:
        while True:
            pipe.send(work(pipe.recv()))
    except (EOFError, OSError):
        return  # whoever gave the work is no more
