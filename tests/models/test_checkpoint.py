import errno
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aqakit.features.errors import DiskFullError, RecipeError
from aqakit.models import checkpoint

QUICK = settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
LEAVES = st.none() | st.booleans() | st.integers(-5, 5) | st.floats(allow_nan=False) | st.text()
CONTENTS = st.dictionaries(
    st.text(), st.recursive(LEAVES, lambda c: st.lists(c) | st.dictionaries(st.text(), c))
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "training" / "seed-0"


@QUICK
@given(CONTENTS)
def test_numbers_and_containers_come_back(path: Path, content: dict[str, Any]) -> None:
    checkpoint.write(path, content)
    assert checkpoint.read(path) == content
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize("kind", [torch.float32, torch.float64, torch.bfloat16, torch.int64])
def test_tensors_come_back_to_the_bit(path: Path, kind: torch.dtype) -> None:
    values = (100 * torch.randn(3, 4, generator=torch.Generator().manual_seed(0))).to(kind)
    checkpoint.write(path, {"a": {"b": [values, values[:, 1]]}, "best": -np.inf})
    found = checkpoint.read(path)
    assert found is not None
    whole, column = found["a"]["b"]
    assert whole.dtype == kind
    assert whole.equal(values)
    assert column.equal(values[:, 1])
    assert found["best"] == -np.inf


def test_the_state_of_an_optimiser_comes_back(path: Path) -> None:
    parameter = torch.nn.Parameter(torch.ones(3))
    optimiser = torch.optim.Adam([parameter], 0.1, weight_decay=0.5)
    parameter.grad = torch.tensor([1.0, 2, 3])
    optimiser.step()
    checkpoint.write(path, {"optimiser": optimiser.state_dict()})
    found = checkpoint.read(path)
    assert found is not None
    assert repr(found["optimiser"]) == repr(optimiser.state_dict())


def test_where_nothing_was_written_nothing_is_read(path: Path) -> None:
    assert checkpoint.read(path) is None


class _Code:
    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
        return os.mkdir, ("owned",)


@pytest.mark.parametrize("wrapped", [False, True])
def test_a_file_is_never_run_as_code(
    path: Path, wrapped: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    path.parent.mkdir()
    if wrapped:
        torch.save({"a": _Code()}, path, pickle_protocol=2)
    else:
        path.write_bytes(pickle.dumps(_Code(), protocol=2))
    with pytest.raises(RecipeError) as caught:
        checkpoint.read(path)
    assert "\n" not in str(caught.value)
    assert f"{path} is no checkpoint of this training (" in str(caught.value)
    assert not (tmp_path / "owned").exists()


def _refused(path: Path) -> str:
    """The one line that reading ends in."""
    with pytest.raises(RecipeError) as caught:
        checkpoint.read(path)
    message = str(caught.value)
    assert message.startswith(f"{path} is no checkpoint of this training (")
    assert message.endswith("); remove it to start anew")
    assert "\n" not in message
    return message


@QUICK
@given(st.binary(max_size=400))
def test_whatever_lies_there_ends_in_one_line(path: Path, content: bytes) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    _refused(path)


@QUICK
@given(st.integers(0, 10**6), st.integers(1, 20))
def test_damage_anywhere_never_ends_in_more_than_one_line(
    path: Path, seed: int, count: int
) -> None:
    checkpoint.write(path, {"a": torch.arange(9.0), "logs": [[{"loss": 1.5}]], "epoch": 3})
    content = bytearray(path.read_bytes())
    random = np.random.default_rng(seed)
    for place in random.integers(0, len(content), count):
        content[place] = random.integers(256)
    path.write_bytes(content)
    try:
        checkpoint.read(path)
    except RecipeError as error:
        assert "\n" not in str(error)


def test_a_number_of_a_tensor_that_has_changed_is_noticed(path: Path) -> None:
    values = torch.arange(100.0)
    checkpoint.write(path, {"a": values})
    content = path.read_bytes()
    kept = values.numpy().tobytes()
    assert content.count(kept) == 1
    path.write_bytes(content.replace(kept, (values + 1).numpy().tobytes()))
    assert "is damaged" in _refused(path)


def test_a_full_disk_keeps_the_checkpoint_before(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint.write(path, {"epoch": 1})

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", full)
        with pytest.raises(DiskFullError, match="no space left on the disk"):
            checkpoint.write(path, {"epoch": 2})
    assert checkpoint.read(path) == {"epoch": 1}
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_what_does_not_fit_is_one_line_and_what_fits_is_left_alone(path: Path) -> None:
    for error in (KeyError("stage"), ValueError("two\nlines"), RuntimeError(), TypeError("no")):
        line = pytest.raises(RecipeError, match=r"is no checkpoint of this training \(.+\); remove")
        with line, checkpoint.fitting(path):
            raise error
    with pytest.raises(RecipeError, match=r"\(two\)"), checkpoint.fitting(path):
        raise ValueError("two\nlines")
    with pytest.raises(RecipeError, match=r"\(RuntimeError\)"), checkpoint.fitting(path):
        raise RuntimeError
    with pytest.raises(KeyboardInterrupt), checkpoint.fitting(path):
        raise KeyboardInterrupt
