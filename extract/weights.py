"""Files of weights: where they lie, and which bytes they are.

Nothing here looks into a file, so that what has been computed already is found without PyTorch.
"""

import functools
import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

from ..features.errors import WeightsError
from .backbone import Checkpoint, Setup
from .receipt import fault


def folder() -> Path:
    """Where fetched weights lie: ``$AQAKIT_WEIGHTS``, else ``~/.cache/aqakit/weights``."""
    named = os.environ.get("AQAKIT_WEIGHTS")
    return Path(named) if named else Path.home() / ".cache" / "aqakit" / "weights"


def find(checkpoints: Sequence[Checkpoint], name: str) -> Path:
    """The first of a backbone's public checkpoints that was fetched.

    Args:
        checkpoints: the preferred first; at least one.
        name: of the backbone, as the command line knows it.

    Raises:
        WeightsError: none is there, or the one that is there is damaged.
    """
    for checkpoint in checkpoints:
        path = folder() / checkpoint.file
        if path.is_file():
            _check(path, checkpoint)
            return path
    raise WeightsError(
        f"no weights for {name}: {checkpoints[0].file} is missing; run 'aqakit weights fetch "
        f"{name}', or give --weights {name}=PATH, or --weights random"
    )


def _check(path: Path, checkpoint: Checkpoint) -> None:
    wrong = fault(path, checkpoint)
    if wrong is not None:
        raise WeightsError(f"{path} {wrong}; run 'aqakit weights fetch {path.name}' to replace it")


def digest(path: Path) -> str:
    """SHA-256 of a file, in hex; a file that has not changed is read once a process.

    Raises:
        WeightsError: the file cannot be read.
    """
    try:
        status = path.stat()
        return _digest(path, status.st_size, status.st_mtime_ns)
    except OSError as error:
        raise unreadable(path, error) from None


@functools.cache
def _digest(path: Path, size_bytes: int, mtime_ns: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def identity(setup: Setup) -> str:
    """How a feature spec names the weights: ``none``, ``random-<seed>`` or ``sha256-<12 hex>``.

    Raises:
        WeightsError: the file of weights cannot be read.
    """
    if setup.random_seed is not None:
        return f"random-{setup.random_seed}"
    return "none" if setup.weights is None else f"sha256-{digest(setup.weights)[:12]}"


def unreadable(path: Path, error: OSError) -> WeightsError:
    """The error of a file that the operating system does not give."""
    return WeightsError(f"{path} cannot be read ({error.strerror}); correct --weights")
