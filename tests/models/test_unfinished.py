import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from aqakit.features.errors import RecipeError, StoreError
from aqakit.models.unfinished import unfinished


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return tmp_path / "runs" / "one"


def _broken_off(run: Path, *identity: str) -> Path:
    """A training that reached a checkpoint."""
    with pytest.raises(KeyboardInterrupt), unfinished(run, *identity) as folder:
        (folder / "seed-0").write_text("half way")
        raise KeyboardInterrupt
    return folder


def test_what_an_interrupted_call_left_is_there_for_the_next(run: Path) -> None:
    folder = _broken_off(run, "recipe", "fold")
    assert folder == run.parent / ".one.training"
    with unfinished(run, "recipe", "fold") as again:
        assert (again / "seed-0").read_text() == "half way"
    assert list(run.parent.iterdir()) == []


@pytest.mark.parametrize("other", [("recipe", "other"), ("recipefold",), ("recipe", "fold", "")])
def test_what_another_training_left_is_cleared_away(run: Path, other: tuple[str, ...]) -> None:
    _broken_off(run, "recipe", "fold")
    with unfinished(run, *other) as folder:
        assert [path.name for path in folder.iterdir()] == ["training.json"]
    assert list(run.parent.iterdir()) == []


def test_a_damaged_note_of_what_it_was_clears_everything(run: Path) -> None:
    folder = _broken_off(run, "recipe")
    (folder / "training.json").write_text("{")
    with unfinished(run, "recipe") as again:
        assert [path.name for path in again.iterdir()] == ["training.json"]


def test_a_failure_without_a_checkpoint_leaves_nothing(run: Path) -> None:
    with pytest.raises(ValueError), unfinished(run, "recipe"):
        raise ValueError
    assert list(run.parent.iterdir()) == []


def test_two_trainings_of_one_run_at_once_are_one_line(run: Path) -> None:
    with unfinished(run, "recipe") as folder:
        (folder / "seed-0").write_text("half way")
        for identity in ("recipe", "other"):
            with pytest.raises(RecipeError) as caught, unfinished(run, identity):
                pytest.fail("both train")
            line = f"{run} is being trained by another process; name another folder"
            assert str(caught.value) == line
        assert (folder / "seed-0").read_text() == "half way"
        with unfinished(run.with_name("two"), "recipe"):
            pass


def test_a_killed_process_holds_nothing(run: Path) -> None:
    program = f"""
        import os, signal
        from pathlib import Path
        from aqakit.models.unfinished import unfinished
        with unfinished(Path({str(run)!r}), "recipe") as folder:
            (folder / "seed-0").write_text("half way")
            os.kill(os.getpid(), signal.SIGKILL)
    """
    killed = subprocess.run([sys.executable, "-c", textwrap.dedent(program)], check=False)
    assert killed.returncode == -9
    with unfinished(run, "recipe") as folder:
        assert (folder / "seed-0").read_text() == "half way"


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    line = pytest.raises(StoreError, match=r"file/\.run\.training: cannot be written")
    with line, unfinished(tmp_path / "file" / "run", "recipe"):
        pytest.fail("it trains")
