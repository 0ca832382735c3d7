import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from aqakit.extract import state_dict
from aqakit.extract.backbone import Setup
from aqakit.features.errors import WeightsError


class Small(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.bn = nn.BatchNorm2d(4)
        self.fc = nn.Linear(4, 2)


def small_state() -> dict[str, Tensor]:
    """Distinct values under the keys of ``Small``, without the counter."""
    shapes = {
        "conv.weight": (4, 3, 3, 3),
        "conv.bias": (4,),
        "bn.weight": (4,),
        "bn.bias": (4,),
        "bn.running_mean": (4,),
        "bn.running_var": (4,),
        "fc.weight": (2, 4),
        "fc.bias": (2,),
    }
    generator = torch.Generator().manual_seed(3)
    return {key: torch.rand(shape, generator=generator) for key, shape in shapes.items()}


def assert_same(state: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert list(state) == list(expected)
    for key, value in expected.items():
        torch.testing.assert_close(state[key], value, rtol=0, atol=0)


def one_line(error: pytest.ExceptionInfo[WeightsError]) -> str:
    message = str(error.value)
    assert "\n" not in message
    return message


# Reading


def save_safetensors(state: dict[str, Tensor], path: Path) -> None:
    safetensors.torch.save_file(state, path)


def save_old_torch(state: dict[str, Tensor], path: Path) -> None:
    torch.save(state, path, _use_new_zipfile_serialization=False)


@pytest.mark.parametrize("save", [torch.save, save_old_torch, save_safetensors])
def test_every_format_whatever_the_file_is_called(
    save: Callable[[Any, Path], None], tmp_path: Path
) -> None:
    path = tmp_path / "weights.bin"
    save(small_state(), path)
    # safetensors sorts its keys
    read = state_dict.read_state_dict(path)
    assert_same({key: read[key] for key in small_state()}, small_state())


@pytest.mark.parametrize("envelope", ["state_dict", "model_state"])
@pytest.mark.parametrize("prefix", ["module.", "backbone.", "module.backbone."])
def test_envelopes_and_prefixes_come_off(envelope: str, prefix: str, tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    wrapped = {prefix + key: value for key, value in small_state().items()}
    torch.save({"meta": {"epoch": 3}, envelope: wrapped}, path)
    assert_same(state_dict.read_state_dict(path), small_state())


class Malicious:
    """Unpickled by Python's own reader, it creates a file."""

    def __init__(self, victim: Path) -> None:
        self.victim = victim

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, (f"touch '{self.victim}'",)


def save_pickle(content: Any, path: Path) -> None:
    path.write_bytes(pickle.dumps(content, protocol=2))


@pytest.mark.parametrize("save", [torch.save, save_old_torch, save_pickle])
def test_code_in_a_file_is_not_run(save: Callable[[Any, Path], None], tmp_path: Path) -> None:
    path, victim = tmp_path / "weights.pth", tmp_path / "victim"
    save({"fc.weight": Malicious(victim)}, path)
    with pytest.raises(WeightsError) as error:
        state_dict.read_state_dict(path)
    assert not victim.exists()
    message = one_line(error)
    assert message.startswith(
        f"{path} was not read, because it would run '{os.system.__module__}.system'; "
    )
    assert message.endswith("ask its author for a state dict of plain tensors")
    # The file is a working trap: Python's own reader would have run it.
    if save is save_pickle:
        pickle.loads(path.read_bytes())
        assert victim.exists()


def test_a_whole_model_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "model.pth"
    torch.save(nn.Linear(2, 2), path)
    with pytest.raises(WeightsError, match=r"it would run 'torch\.nn\.modules\.linear\.Linear'"):
        state_dict.read_state_dict(path)


def test_missing_empty_text_and_directory(tmp_path: Path) -> None:
    (tmp_path / "empty.pth").touch()
    (tmp_path / "text.pth").write_text("not weights\n")
    for name, reason in {
        "none.pth": "cannot be read (No such file or directory); correct --weights",
        "empty.pth": "is empty; fetch it again",
        "text.pth": "is neither a safetensors file nor a PyTorch state dict, or is damaged; "
        "fetch it again",
        "": "is a directory; name the file of weights in it",
    }.items():
        with pytest.raises(WeightsError) as error:
            state_dict.read_state_dict(tmp_path / name)
        assert one_line(error) == f"{tmp_path / name} {reason}"


@pytest.mark.parametrize("save", [torch.save, save_old_torch, save_safetensors])
@pytest.mark.parametrize("kept", [0.02, 0.5, 0.99])
def test_a_download_that_broke_off(
    save: Callable[[Any, Path], None], kept: float, tmp_path: Path
) -> None:
    path = tmp_path / "weights.pth"
    save(small_state(), path)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * kept)])
    with pytest.raises(WeightsError, match="or is damaged; fetch it again"):
        state_dict.read_state_dict(path)


@settings(max_examples=60, deadline=None)
@example(content=b"\x80\x02}q\x00.")
@example(content=b"\x02\0\0\0\0\0\0\0{}")
@given(content=st.binary(max_size=40))
def test_no_bytes_end_in_anything_but_a_weights_error(
    content: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("fuzz") / "weights.pth"
    path.write_bytes(content)
    with pytest.raises(WeightsError) as error:
        state_dict.read_state_dict(path)
    assert one_line(error).startswith(str(path))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ([torch.zeros(1)], "holds no state dict"),
        ({}, "holds no state dict"),
        ({"state_dict": {"a": 3}}, "holds 'a', which is no named tensor"),
        ({1: torch.zeros(1)}, "holds '1', which is no named tensor"),
        ({"a": torch.zeros(1), "module.a": torch.zeros(1)}, "holds two networks under one name"),
    ],
)
def test_only_named_tensors(content: object, reason: str, tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    torch.save(content, path)
    with pytest.raises(WeightsError) as error:
        state_dict.read_state_dict(path)
    assert one_line(error).startswith(f"{path} {reason}; save")


# Fitting


def test_fit_copies_every_tensor_and_counts_nothing() -> None:
    module = Small()
    module.get_buffer("bn.num_batches_tracked").fill_(7)
    state_dict.fit(module, small_state(), Path("weights.pth"))
    state = module.state_dict()
    assert state.pop("bn.num_batches_tracked") == 0
    assert_same(state, small_state())


def test_half_precision_becomes_single() -> None:
    module = Small()
    state_dict.fit(module, {key: v.half() for key, v in small_state().items()}, Path("half.pth"))
    assert module.fc.weight.dtype == torch.float32
    torch.testing.assert_close(module.fc.weight, small_state()["fc.weight"], atol=1e-3, rtol=1e-3)


def test_renamed_and_ignored_keys() -> None:
    module = Small()
    state = {f"net.{key}": value for key, value in small_state().items()}
    state["head.weight"] = torch.zeros(5)
    state_dict.fit(module, state, Path("w.pth"), _without_net, ignored=("head.",))
    torch.testing.assert_close(module.fc.weight, small_state()["fc.weight"])


def test_what_does_not_fit_is_named() -> None:
    state = small_state()
    for key in ("conv.weight", "bn.weight", "bn.bias", "bn.running_mean", "bn.running_var"):
        del state[key]
    state["layer.weight"] = torch.zeros(1)
    state["fc.weight"] = torch.zeros(101, 4)
    state["fc.bias"] = torch.zeros(())
    before = Small().state_dict()
    module = Small()
    module.load_state_dict(before)
    with pytest.raises(WeightsError) as error:
        state_dict.fit(module, state, Path("w.pth"))
    assert one_line(error) == (
        "w.pth does not fit Small: it lacks conv.weight, bn.weight, bn.bias and 2 more, "
        "has unknown layer.weight, has another shape of fc.weight (101x4, not 2x4), "
        "fc.bias (scalar, not 2); give a checkpoint of this network, or --weights random"
    )
    assert_same(module.state_dict(), before)


def test_two_keys_for_one_place() -> None:
    state = small_state()
    state["old.bias"] = torch.zeros(2)
    with pytest.raises(WeightsError, match=r"it has unknown fc\.bias; give"):
        state_dict.fit(Small(), state, Path("w.pth"), lambda key: key.replace("old.", "fc."))


def widened(name: str, tensor: Tensor) -> Tensor:
    """Filters of three channels made from a file's single one."""
    return tensor.expand(-1, 3, -1, -1) if name == "conv.weight" else tensor


def test_a_layer_is_made_from_that_of_another_input() -> None:
    module, grey = Small(), torch.arange(36.0).reshape(4, 1, 3, 3)
    state = small_state() | {"conv.weight": grey}
    state_dict.fit(module, state, Path("w.pth"), adapt=widened)
    for channel in range(3):
        torch.testing.assert_close(module.conv.weight[:, channel], grey[:, 0], rtol=0, atol=0)
    torch.testing.assert_close(module.fc.weight, small_state()["fc.weight"], rtol=0, atol=0)
    assert state["conv.weight"] is grey


def test_layers_are_adapted_by_the_networks_names_and_only_where_they_are_used() -> None:
    seen: dict[str, tuple[int, ...]] = {}

    def adapt(name: str, tensor: Tensor) -> Tensor:
        seen[name] = tuple(tensor.shape)
        return tensor

    state = {f"net.{key}": value for key, value in small_state().items()}
    state["head.weight"] = torch.zeros(5)
    state_dict.fit(Small(), state, Path("w.pth"), _without_net, ignored=("head.",), adapt=adapt)
    assert seen == {key: tuple(value.shape) for key, value in small_state().items()}


def test_what_does_not_fit_after_all_is_named_by_the_files_key() -> None:
    state = {f"net.{key}": value for key, value in small_state().items()}
    state["net.conv.weight"] = torch.zeros(4, 1, 5, 5)
    with pytest.raises(WeightsError) as error:
        state_dict.fit(Small(), state, Path("w.pth"), _without_net, adapt=widened)
    assert "it has another shape of net.conv.weight (4x3x5x5, not 4x3x3x3); " in one_line(error)


def _without_net(key: str) -> str:
    return key.removeprefix("net.")


# Random weights


def test_random_weights_are_the_seeds_own_and_leave_the_global_generator() -> None:
    before = torch.random.get_rng_state()
    first, same, other = Small(), Small(), Small()
    torch.random.set_rng_state(before)
    for module, seed in ((first, 5), (same, 5), (other, 6)):
        state_dict.random_(module, seed)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert_same(first.state_dict(), same.state_dict())
    assert not torch.equal(first.conv.weight, other.conv.weight)


def test_random_weights_are_the_same_on_every_machine() -> None:
    """Golden: the first 24-bit draws of mt19937 with seed 5, scaled to +-sqrt(6 / 27) here."""
    module = Small()
    state_dict.random_(module, 5)
    generator = torch.Generator().manual_seed(5)
    draws = torch.randint(0, 2**24, (3,), generator=generator) / 2**24
    expected = (2 * draws - 1) * (6 / 27) ** 0.5
    torch.testing.assert_close(module.conv.weight.flatten()[:3], expected)


def test_random_layers_keep_the_size_of_activations() -> None:
    layers = nn.Sequential(*(nn.Sequential(nn.Linear(500, 500), nn.ReLU()) for _ in range(8)))
    state_dict.random_(layers, 0)
    x = torch.randn(50, 500, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        ratio = layers(x).square().mean() / x.relu().square().mean()
    assert 0.5 < ratio < 2


def test_gain_scales_by_name() -> None:
    plain, scaled = Small(), Small()
    state_dict.random_(plain, 1)
    state_dict.random_(scaled, 1, lambda name: 0.5 if name in ("fc.weight", "bn.weight") else 1.0)
    torch.testing.assert_close(scaled.fc.weight, plain.fc.weight / 2)
    torch.testing.assert_close(scaled.bn.weight, torch.full((4,), 0.5))
    torch.testing.assert_close(scaled.conv.weight, plain.conv.weight)


# Making a network


def test_filled_reads_the_file(tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    torch.save(small_state(), path)
    before = torch.random.get_rng_state()
    module = state_dict.filled(Small, Setup("rgb", "imagenet", weights=path))
    assert torch.equal(torch.random.get_rng_state(), before)
    state = module.state_dict()
    state.pop("bn.num_batches_tracked")
    assert_same(state, small_state())


def test_filled_renames_ignores_and_adapts(tmp_path: Path) -> None:
    path, grey = tmp_path / "weights.pth", torch.rand(4, 1, 3, 3)
    state = {f"net.{key}": value for key, value in small_state().items()}
    torch.save(state | {"net.conv.weight": grey, "head.weight": torch.zeros(5)}, path)
    setup = Setup("rgb", "imagenet", weights=path)
    module = state_dict.filled(Small, setup, _without_net, ignored=("head.",), adapt=widened)
    found = module.state_dict()
    torch.testing.assert_close(found["conv.weight"], grey.expand(-1, 3, -1, -1), rtol=0, atol=0)
    torch.testing.assert_close(found["fc.bias"], small_state()["fc.bias"], rtol=0, atol=0)


def test_filled_draws_the_seed() -> None:
    expected = Small()
    state_dict.random_(expected, 9)
    module = state_dict.filled(Small, Setup("rgb", "imagenet", random_seed=9))
    assert_same(module.state_dict(), expected.state_dict())


@pytest.mark.parametrize(
    "setup",
    [Setup("rgb", "imagenet"), Setup("rgb", "imagenet", weights=Path("w.pth"), random_seed=0)],
)
def test_filled_wants_one_source(setup: Setup) -> None:
    with pytest.raises(ValueError, match="either a file of weights or the seed of random ones"):
        state_dict.filled(Small, setup)


# Finding and naming
