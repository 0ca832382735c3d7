"""C3D against the table of its paper and a plain functional re-derivation."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from aqakit.extract.backbone import Backbone, Setup
from aqakit.extract.backbones import c3d
from aqakit.features.errors import RecipeError, WeightsError

# Tran et al. 2015, section 3.3: widths of the eight layers; the pools in between halve height and
# width, and all but the first halve time.
WIDTHS = {
    "conv1a": (3, 64),
    "conv2a": (64, 128),
    "conv3a": (128, 256),
    "conv3b": (256, 256),
    "conv4a": (256, 512),
    "conv4b": (512, 512),
    "conv5a": (512, 512),
    "conv5b": (512, 512),
}
# Channels, time, side of what leaves each layer for 16 frames of 112 x 112.
OUTPUTS = {
    "conv1a": (64, 16, 112),
    "pool1": (64, 16, 56),
    "conv2a": (128, 16, 56),
    "pool2": (128, 8, 28),
    "conv3a": (256, 8, 28),
    "conv3b": (256, 8, 28),
    "pool3": (256, 4, 14),
    "conv4a": (512, 4, 14),
    "conv4b": (512, 4, 14),
    "pool4": (512, 2, 7),
    "conv5a": (512, 2, 7),
    "conv5b": (512, 2, 7),
    "pool5": (512, 1, 4),
}
DAVIDEA = {"conv1a": "conv1", "conv2a": "conv2"}
CAFFE_MEAN = torch.tensor([90.25, 97.66, 101.41])


def on_meta() -> c3d.C3D:
    with torch.device("meta"):
        return c3d.C3D()


def test_every_layers_output_shape() -> None:
    network, seen = on_meta(), dict[str, tuple[int, ...]]()
    for name, layer in network.features.named_children():
        layer.register_forward_hook(
            lambda _, __, result, name=name: seen.update({name: tuple(result.shape[1:])})
        )
    rows = network(torch.empty(2, 3, 16, 112, 112, device="meta"))
    assert seen == {name: (c, t, side, side) for name, (c, t, side) in OUTPUTS.items()}
    assert {name: tuple(values.shape) for name, values in rows.items()} == {"fc6": (2, 4096)}


def test_every_layers_parameter_count() -> None:
    counts = {f"features.{name}": i * o * 27 + o for name, (i, o) in WIDTHS.items()}
    counts["fc6"] = 8192 * 4096 + 4096
    network = on_meta()
    for name, count in counts.items():
        layer = network.get_submodule(name)
        assert sum(p.numel() for p in layer.parameters()) == count, name
    total = sum(counts.values())
    assert total == 61_214_464
    assert sum(p.numel() for p in network.parameters()) == total


# Values, from state dicts of the public keys


def compact(shape: tuple[int, ...], fan_in: int, generator: torch.Generator) -> Tensor:
    """Random weights that differ along every axis, yet are saved in a few kilobytes."""
    strides = (29, 23, 7, 3, 1)[-len(shape) :]
    length = 1 + sum((size - 1) * stride for size, stride in zip(shape, strides, strict=True))
    bound = math.sqrt(6 / fan_in)
    values = (torch.rand(length, generator=generator) * 2 - 1) * bound
    return values.as_strided(shape, strides)


def plain_state() -> dict[str, Tensor]:
    """Weights up to fc6, by the paper's names."""
    generator = torch.Generator().manual_seed(0)
    state = {}
    for name, (channels, width) in WIDTHS.items():
        shape = (width, channels, 3, 3, 3)
        state[f"{name}.weight"] = compact(shape, channels * 27, generator)
        state[f"{name}.bias"] = torch.rand(width, generator=generator)
    state["fc6.weight"] = compact((4096, 8192), 8192, generator)
    state["fc6.bias"] = torch.rand(4096, generator=generator)
    return state


def later_layers() -> dict[str, Tensor]:
    zero = torch.zeros(1)
    return {
        "fc7.weight": zero.expand(4096, 4096),
        "fc7.bias": zero.expand(4096),
        "fc8.weight": zero.expand(487, 4096),
        "fc8.bias": zero.expand(487),
    }


def davidea_state() -> dict[str, Tensor]:
    """Keys of c3d.pickle: conv1.weight, conv3a.weight, fc6.weight."""
    renamed = {}
    for key, value in plain_state().items():
        layer, kind = key.split(".")
        renamed[f"{DAVIDEA.get(layer, layer)}.{kind}"] = value
    return renamed | later_layers()


def mmaction_state() -> dict[str, Tensor]:
    """Keys of mmaction2's Sports-1M file: conv1a.conv.weight, fc6.weight, fc7.weight."""
    renamed = {
        key.replace(".", ".conv.") if key.startswith("conv") else key: value
        for key, value in plain_state().items()
    }
    return renamed | {key: later_layers()[key] for key in ("fc7.weight", "fc7.bias")}


def mmaction_checkpoint() -> dict[str, object]:
    """The same within a whole recogniser, as mmaction2 saves it after training."""
    state = {f"backbone.{key}": value for key, value in mmaction_state().items()}
    state["cls_head.fc_cls.weight"] = torch.zeros(1).expand(101, 4096)
    state["cls_head.fc_cls.bias"] = torch.zeros(101)
    return {"meta": {"epoch": 45}, "state_dict": state}


def reference(x: Tensor) -> Tensor:
    state = plain_state()

    def convolution(name: str, x: Tensor) -> Tensor:
        padded = F.pad(x, (1,) * 6)
        return F.conv3d(padded, state[f"{name}.weight"], state[f"{name}.bias"]).relu()

    x = F.max_pool3d(convolution("conv1a", x), (1, 2, 2))
    x = F.max_pool3d(convolution("conv2a", x), 2)
    x = F.max_pool3d(convolution("conv3b", convolution("conv3a", x)), 2)
    x = F.max_pool3d(convolution("conv4b", convolution("conv4a", x)), 2)
    x = F.pad(convolution("conv5b", convolution("conv5a", x)), (1, 1, 1, 1))
    x = F.max_pool3d(x, 2)
    weight = state["fc6.weight"].reshape(4096, 512, 1, 4, 4)  # channel, time, height, width
    return (torch.einsum("nctyx,octyx->no", x, weight) + state["fc6.bias"]).relu()


def units() -> NDArray[np.uint8]:
    return np.random.default_rng(1).integers(0, 256, (1, 16, 112, 112, 3), dtype=np.uint8)


def fc6(backbone: Backbone) -> NDArray[np.float32]:
    backbone.batch_units = 1
    return backbone(units(), np.zeros((1, 16)), ["fc6"])["fc6"]


@pytest.fixture(scope="module")
def from_mmaction(tmp_path_factory: pytest.TempPathFactory) -> NDArray[np.float32]:
    path = tmp_path_factory.mktemp("c3d") / "c3d_sports1m.pth"
    torch.save(mmaction_state(), path)
    return fc6(c3d.build(Setup("rgb", "caffe", weights=path)))


def test_values_against_the_re_derivation(from_mmaction: NDArray[np.float32]) -> None:
    frames = torch.from_numpy(units()).flip(-1) - CAFFE_MEAN  # blue first
    expected = reference(frames.permute(0, 4, 1, 2, 3).contiguous())
    assert 0.2 < float((expected > 0).float().mean()) < 0.8
    np.testing.assert_allclose(from_mmaction, expected, atol=1e-5 * float(expected.max()))


@pytest.mark.parametrize("content", [davidea_state, mmaction_checkpoint])
def test_every_public_layout_gives_the_same_rows(
    content: object, from_mmaction: NDArray[np.float32], tmp_path: Path
) -> None:
    assert callable(content)
    torch.save(content(), tmp_path / "c3d.pickle")
    rows = fc6(c3d.build(Setup("rgb", "caffe", weights=tmp_path / "c3d.pickle")))
    np.testing.assert_array_equal(rows, from_mmaction)


@pytest.mark.parametrize("surplus", ["fc9.weight", "conv6a.conv.weight", "fc60.bias", "head.bias"])
def test_only_the_later_layers_are_passed_over(surplus: str, tmp_path: Path) -> None:
    path = tmp_path / "c3d.pth"
    torch.save(mmaction_state() | {surplus: torch.zeros(1)}, path)
    with pytest.raises(WeightsError) as error:
        c3d.build(Setup("rgb", "caffe", weights=path))
    assert str(error.value) == (
        f"{path} does not fit C3D: it has unknown {surplus}; "
        "give a checkpoint of this network, or --weights random"
    )


def test_random_weights_and_the_other_preset() -> None:
    rows = fc6(c3d.build(Setup("rgb", "imagenet-112", random_seed=1)))
    assert rows.shape[1:] == c3d.INFO.outputs[0].shape
    assert rows.min() == 0
    assert 0.01 < rows.std() < 100


def test_another_number_of_frames() -> None:
    backbone = c3d.build(Setup("rgb", "caffe", random_seed=0))
    with pytest.raises(RecipeError) as error:
        backbone(units()[:, :15], np.zeros((1, 15)), ["fc6"])
    assert str(error.value) == (
        "c3d needs units of 16 frames, not 15; use a sampling such as clips-16"
    )
