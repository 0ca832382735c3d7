"""Folders written aside: a writer that is killed at any moment leaves one whole folder or none."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from aqakit.features.durable_folder import recover_folder, replacing_folder


def fill(folder: Path, text: str) -> None:
    with replacing_folder(folder) as made:
        (made / "deep").mkdir()
        (made / "deep" / "file").write_text(text)


def text_of(folder: Path) -> str:
    return (folder / "deep" / "file").read_text()


def test_a_folder_is_written_and_replaced_and_nothing_else_is_left(tmp_path: Path) -> None:
    folder = tmp_path / "made" / "run"
    for text in ("one", "two"):
        fill(folder, text)
        assert text_of(folder) == text
        assert list(folder.parent.iterdir()) == [folder]


def test_an_exception_leaves_the_old_folder(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    fill(folder, "one")
    with pytest.raises(KeyError), replacing_folder(folder) as made:
        (made / "half").touch()
        raise KeyError
    assert text_of(folder) == "one"
    assert list(tmp_path.iterdir()) == [folder]


def test_a_new_folder_that_cannot_take_its_place_leaves_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "run"
    fill(folder, "one")
    replace = os.replace

    def refuse(source: Path, target: Path) -> None:
        if source.name == "new":
            raise OSError("the disk is gone for a moment")
        replace(source, target)

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(OSError, match="gone for a moment"):
        fill(folder, "two")
    assert text_of(folder) == "one"
    assert list(tmp_path.iterdir()) == [folder]


# Stops for ever before the N-th renaming; N past the last one stops while the folder is filled.
KILLED = """
import os, sys
from pathlib import Path
from aqakit.features.durable_folder import replacing_folder

folder, stop, replace = Path(sys.argv[1]), int(sys.argv[2]), os.replace
def halt():
    print("here", flush=True)
    sys.stdin.read()
def counted(*names):
    global stop
    stop -= 1
    if stop == 0:
        halt()
    replace(*names)
os.replace = counted
with replacing_folder(folder) as made:
    (made / "deep").mkdir()
    (made / "deep" / "file").write_text("two")
    if stop > 2:
        halt()
"""


@pytest.mark.parametrize("moment", [1, 2, 3])
def test_a_killed_writer_costs_nothing(tmp_path: Path, moment: int) -> None:
    folder, other = tmp_path / "run", tmp_path / "run.2"
    for each in (folder, other):
        fill(each, "one")
    with subprocess.Popen(
        [sys.executable, "-c", KILLED, str(folder), str(moment)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"here\n"
        before = sorted(tmp_path.iterdir())
        assert len(before) == (2 if moment == 2 else 3)
        recover_folder(folder)  # work in progress is left alone
        assert sorted(tmp_path.iterdir()) == before
        process.send_signal(signal.SIGKILL)
    assert folder.exists() == (moment != 2)
    recover_folder(other)  # other folders' remains are not its own
    assert sorted(tmp_path.iterdir()) == before
    recover_folder(folder)
    assert sorted(tmp_path.iterdir()) == [folder, other]
    assert text_of(folder) == "one"
