"""Losses and validation accuracy, epoch by epoch, as TensorBoard shows them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from ..features.errors import RecipeError
from .head import OnEpoch, no_report


@contextmanager
def logging_to(folder: Path | None) -> Iterator[OnEpoch]:
    """A listener that writes event files into a folder; one that does nothing without a folder.

    Raises:
        RecipeError: TensorBoard is not installed.
    """
    if folder is None:
        yield no_report
        return
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise RecipeError(
            "--tensorboard needs TensorBoard; install it with: pip install 'aqakit[tensorboard]'"
        ) from None
    with ExitStack() as stack:
        writers: list[SummaryWriter] = []

        def write(epoch: int, epochs: int, losses: Mapping[str, float]) -> None:
            if not writers:
                # What an earlier, interrupted training logged from here on is shown no more.
                writers.append(stack.enter_context(SummaryWriter(str(folder), purge_step=epoch)))
            for name, value in losses.items():
                writers[0].add_scalar(name, value, epoch)

        yield write
