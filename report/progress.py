"""One live line a stage of work."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn


@dataclass(frozen=True)
class Step:
    """How far a stage has come.

    Args:
        stage: its name, for example ``extract``.
        done: so much of the total; fractions are welcome.
        total: what ``done`` ends at.
        detail: what is in hand.
    """

    stage: str
    done: float
    total: float
    detail: str = ""


Show = Callable[[Step], None]


def silent(step: Step) -> None:
    """Show nothing."""


@contextmanager
def bars(console: Console) -> Iterator[Show]:
    """Bars on a terminal, one a stage; nothing where the output is not a terminal."""
    columns = (
        TextColumn("{task.description:<10}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f}%"),
        TimeElapsedColumn(),
        TextColumn("{task.fields[detail]}", markup=False),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        tasks: dict[str, TaskID] = {}

        def show(step: Step) -> None:
            if step.stage not in tasks:
                tasks[step.stage] = progress.add_task(step.stage, detail="")
            progress.update(
                tasks[step.stage], completed=step.done, total=step.total, detail=step.detail
            )

        yield show
