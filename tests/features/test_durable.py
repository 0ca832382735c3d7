"""Files written aside: what is swept away afterwards, and what is never touched."""

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from aqakit.features import durable
from aqakit.features.durable import read_json, write_errors, write_json
from aqakit.features.errors import DiskFullError

LEFT_BEHIND = ".a.json.0123456789ab.tmp"


def test_only_what_a_killed_writer_left_is_swept_away(tmp_path: Path) -> None:
    strangers = [".notes.tmp", ".a.json.0123456789AB.tmp", "a.0123456789ab.tmp", ".a.0123.tmp"]
    for name in (LEFT_BEHIND, *strangers):
        (tmp_path / name).write_text("precious")
    write_json(tmp_path / "b.json", 1)
    assert {path.name for path in tmp_path.iterdir()} == {"b.json", *strangers}


def test_a_folder_is_listed_once_and_not_at_every_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed: list[str] = []
    scandir = os.scandir

    def watch(path: str) -> Iterator[os.DirEntry[str]]:
        listed.append(str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", watch)
    for number in range(3):
        write_json(tmp_path / "one" / f"{number}.json", number)
        write_json(tmp_path / "two" / f"{number}.json", number)
    assert listed == [str(tmp_path / "one"), str(tmp_path / "two")]
    (tmp_path / "one" / LEFT_BEHIND).touch()
    monkeypatch.setattr(durable, "_swept", set())  # as in the next process
    write_json(tmp_path / "one" / "3.json", 3)
    assert not (tmp_path / "one" / LEFT_BEHIND).exists()
    assert read_json(tmp_path / "one" / "2.json") == 2


def test_a_full_disk_has_the_cure_of_whoever_writes() -> None:
    def fill() -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with (
        pytest.raises(DiskFullError, match="^x: no space left on the disk; free .* is kept$"),
        write_errors(Path("x")),
    ):
        fill()
    with (
        pytest.raises(DiskFullError, match="^x: no space left on the disk; buy one$"),
        write_errors(Path("x"), "buy one"),
    ):
        fill()
