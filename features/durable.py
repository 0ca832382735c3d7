"""Files that are whole or not there, whatever kills the process or fills the disk.

A file is written under a name that starts with a dot, synced and renamed. Its writer holds a lock on
it while it lives and the lock dies with the process, so that what a killed process left behind can
be told from a file still being written, by any process and on any machine.
"""

import errno
import fcntl
import json
import os
import re
import secrets
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from .errors import DiskFullError, StoreError

_OWN = re.compile(r"\..+\.[0-9a-f]{12}\.tmp")
_KEPT = "free some and run the same command again, what is finished is kept"
# Listing a folder of many thousand files for each one that is added takes longer than writing it.
_swept: set[Path] = set()


@contextmanager
def write_errors(path: Path, cure_if_full: str = _KEPT) -> Iterator[None]:
    """Tell a user why something could not be written below a path.

    Args:
        path: that the message names.
        cure_if_full: what to do where no space is left.

    Raises:
        DiskFullError: no space is left, or a quota is used up.
        StoreError: anything else that the operating system refused.
    """
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DiskFullError(f"{path}: no space left on the disk; {cure_if_full}") from error
        raise StoreError(
            f"{path}: cannot be written ({error.strerror or error}); choose a folder that you may "
            "write to"
        ) from error


def check_writable(path: Path, cure_if_full: str = _KEPT) -> None:
    """Ask before hours of work whether a file or folder can be made.

    Args:
        path: of it.
        cure_if_full: what to do where no space is left.

    Raises:
        StoreError: it cannot.
        DiskFullError: no space is left.
    """
    with write_errors(path, cure_if_full):
        nearest = next(parent for parent in path.absolute().parents if os.path.lexists(parent))
        tempfile.TemporaryDirectory(dir=nearest, prefix=f".{path.name[:50]}.").cleanup()


@contextmanager
def replacing(path: Path) -> Iterator[int]:
    """Write a file that appears whole, or not at all.

    Yields the descriptor of a new file, open for reading and writing. It takes its real name,
    replacing what had it, when the block ends without an exception; else it is removed.

    Raises:
        DiskFullError: no space is left.
        StoreError: the file cannot be made.
    """
    with write_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        _sweep_once(path.parent)
        temporary, descriptor = _create_locked(path)
    try:
        yield descriptor
        with write_errors(path):
            os.fsync(descriptor)
            temporary.replace(path)
            sync_folder(path.parent)
    finally:
        # After the rename this name is gone, and nobody else ever takes it.
        temporary.unlink(missing_ok=True)
        os.close(descriptor)


def sync_folder(folder: Path) -> None:
    """Make renames and removals in a folder survive a power failure."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_all(descriptor: int, data: memoryview, offset: int) -> None:
    """Write bytes at an offset; the system call alone may write fewer."""
    while data:
        written = os.pwrite(descriptor, data, offset)
        data, offset = data[written:], offset + written


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file, whole or not at all.

    Raises:
        DiskFullError: no space is left.
        StoreError: the file cannot be made.
    """
    with replacing(path) as descriptor, write_errors(path):
        write_all(descriptor, memoryview(data), 0)


def write_json(path: Path, value: Any) -> None:
    """Write a small JSON file, whole or not at all.

    Raises:
        DiskFullError: no space is left.
        StoreError: the file cannot be made.
    """
    write_bytes(path, (json.dumps(value, indent=1, sort_keys=True) + "\n").encode())


def read_json(path: Path) -> Any:
    """Content of a JSON file; None where it is missing or is not JSON."""
    with suppress(FileNotFoundError, ValueError):
        return json.loads(path.read_bytes())
    return None


def _create_locked(path: Path) -> tuple[Path, int]:
    while True:
        name = f".{path.name}.{secrets.token_hex(6)}.tmp"
        temporary = path.with_name(name)
        descriptor = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
        # Another process may have swept the file away before it was locked.
        if lock(descriptor) and os.fstat(descriptor).st_nlink:
            return temporary, descriptor
        os.close(descriptor)


def _sweep_once(folder: Path) -> None:
    """Remove what killed writers left in a folder: the temporary files that nobody holds.

    The first write of a process into a folder looks; those after it need not list it again.
    """
    place = folder.absolute()
    if place in _swept:
        return
    _swept.add(place)
    for entry in os.scandir(folder):
        if not _OWN.fullmatch(entry.name):
            continue
        try:
            descriptor = os.open(entry.path, os.O_RDWR)
        except OSError:
            continue  # finished meanwhile, or another user's
        try:
            if lock(descriptor):
                Path(entry.path).unlink(missing_ok=True)
        finally:
            os.close(descriptor)


def lock(descriptor: int) -> bool:
    """Lock an open file or folder for as long as it is open; False where somebody else has it."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
