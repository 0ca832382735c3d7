"""What a training has reached before its run folder is there: checkpoints beside it, until it is whole."""

import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..features.durable import lock, read_json, write_errors, write_json
from ..features.errors import RecipeError

_IDENTITY = "training.json"
_CURE_IF_FULL = "free some and give the same command again; training goes on where it stands"


def unfinished_folder(run: Path) -> Path:
    """Where the checkpoints of a run are until it is whole."""
    return run.with_name(f".{run.name}.training")


@contextmanager
def unfinished(run: Path, *identity: str) -> Iterator[Path]:
    """A folder for the checkpoints of a run that is being trained, removed when the block ends well.

    What an earlier, interrupted call left there is kept if it was of the same training.

    Args:
        run: folder of the run.
        identity: whatever makes another training of it.

    Raises:
        RecipeError: another process trains this run now.
        StoreError: the folder cannot be written.
    """
    folder = unfinished_folder(run)
    digest = hashlib.sha256("\0".join(identity).encode()).hexdigest()
    with write_errors(folder, _CURE_IF_FULL):
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder, os.O_RDONLY)
    try:
        if not lock(descriptor):
            raise RecipeError(f"{run} is being trained by another process; name another folder")
        if read_json(folder / _IDENTITY) != digest:
            with write_errors(folder, _CURE_IF_FULL):
                _empty(folder)
            write_json(folder / _IDENTITY, digest)
        try:
            yield folder
        except BaseException:
            # A head that keeps no checkpoints, or a mistake found at once, leaves nothing to go on from.
            if [entry.name for entry in folder.iterdir()] == [_IDENTITY]:
                shutil.rmtree(folder)
            raise
        with write_errors(folder, _CURE_IF_FULL):
            shutil.rmtree(folder)
    finally:
        os.close(descriptor)


def _empty(folder: Path) -> None:
    for entry in folder.iterdir():
        entry.unlink()
