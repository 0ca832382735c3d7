"""Losses and validation accuracy, epoch by epoch, as TensorBoard shows them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
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
    with SummaryWriter(str(folder)) as writer:

        def write(epoch: int, epochs: int, losses: Mapping[str, float]) -> None:
            for name, value in losses.items():
                writer.add_scalar(name, value, epoch)

        yield write
