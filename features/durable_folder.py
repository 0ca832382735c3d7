"""Folders that are whole or not there, whatever kills the process or fills the disk.

A folder is filled under a hidden name beside its place and renamed. Its writer locks the hidden
folder while it lives, so that what a killed one left behind can be told from work in progress; the
next call for the same folder clears it away. Between the renaming of an old folder and that of the
new one there is a moment without either; where a process dies in it, the next call puts the old one
back.
"""

import os
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from .durable import lock, sync_folder

_NEW, _OLD = "new", "old"


@contextmanager
def replacing_folder(folder: Path) -> Iterator[Path]:
    """Fill a folder that appears whole, or not at all.

    Yields an empty folder. It takes its real name, replacing what had it, when the block ends
    without an exception; else it is removed.

    Raises:
        OSError: the folder cannot be written.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    recover_folder(folder)
    aside, descriptor = _create_locked(folder)
    try:
        made = aside / _NEW
        made.mkdir()
        yield made
        for path in [*made.rglob("*"), made]:
            _sync(path)
        if folder.exists():
            os.replace(folder, aside / _OLD)
        os.replace(made, folder)
        sync_folder(folder.parent)
    finally:
        _clear(aside, folder)
        os.close(descriptor)


def recover_folder(folder: Path) -> None:
    """Clear away what killed writers of a folder left; put the old one back where none is there.

    Raises:
        OSError: something cannot be moved or removed.
    """
    own = re.compile(rf"\.{re.escape(folder.name)}\.[0-9a-f]{{12}}\.run")
    with suppress(FileNotFoundError, NotADirectoryError):
        for aside in sorted(folder.parent.iterdir()):
            if own.fullmatch(aside.name):
                _clear_unlocked(aside, folder)


def _clear_unlocked(aside: Path, folder: Path) -> None:
    descriptor = os.open(aside, os.O_RDONLY)
    try:
        if lock(descriptor):
            _clear(aside, folder)
    finally:
        os.close(descriptor)


def _clear(aside: Path, folder: Path) -> None:
    if (aside / _OLD).exists() and not folder.exists():
        os.replace(aside / _OLD, folder)
        sync_folder(folder.parent)
    shutil.rmtree(aside)


def _create_locked(folder: Path) -> tuple[Path, int]:
    while True:
        aside = folder.with_name(f".{folder.name}.{secrets.token_hex(6)}.run")
        aside.mkdir()
        descriptor = os.open(aside, os.O_RDONLY)
        # Another process may have cleared it away before it was locked.
        if lock(descriptor) and aside.exists():
            return aside, descriptor
        os.close(descriptor)


def _sync(path: Path) -> None:
    if path.is_dir():
        sync_folder(path)
        return
    with path.open("rb") as file:
        os.fsync(file.fileno())
