import sys
from pathlib import Path

import pytest

from aqakit.features.errors import RecipeError
from aqakit.models.tensorboard import logging_to


def test_event_files_hold_every_number(tmp_path: Path) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    log = [{"rank": 1 / epoch, "validation_accuracy": 0.1 * epoch} for epoch in range(1, 6)]
    with logging_to(tmp_path / "seed-0") as write:
        for epoch, losses in enumerate(log, 1):
            write(epoch, 5, losses)
    events = accumulator.EventAccumulator(str(tmp_path / "seed-0")).Reload()
    assert events.Tags()["scalars"] == ["rank", "validation_accuracy"]
    for name in log[0]:
        found = [(event.step, event.value) for event in events.Scalars(name)]
        assert found == [
            (epoch, pytest.approx(losses[name], rel=1e-6)) for epoch, losses in enumerate(log, 1)
        ]


def test_without_a_folder_nothing_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with logging_to(None) as write:
        write(1, 2, {"rank": 1.0})
    assert list(tmp_path.iterdir()) == []


def test_a_missing_package_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("torch.utils.tensorboard")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    with pytest.raises(RecipeError) as caught, logging_to(tmp_path / "logs"):
        pytest.fail("it logs")
    line = "--tensorboard needs TensorBoard; install it with: pip install 'aqakit[tensorboard]'"
    assert str(caught.value) == line
    assert not (tmp_path / "logs").exists()
