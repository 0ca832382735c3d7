"""I3D R50 against PyTorchVideo's own forward, through a made-up file of its model zoo."""

import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from aqakit.extract.backbone import Backbone, Setup
from aqakit.extract.backbones import i3d_r50
from aqakit.features.errors import RecipeError, WeightsError

MEAN, DEVIATION = 0.45, 0.225  # of all three colours, in PyTorchVideo's tutorial and its zoo


def published() -> nn.Module:
    """The network as PyTorchVideo builds it, with random weights and statistics in scale."""
    with warnings.catch_warnings():
        # It scripts functions in a way that newer releases of PyTorch warn of.
        warnings.simplefilter("ignore")
        from pytorchvideo.models.hub.resnet import i3d_r50 as hub
    with torch.device("meta"):
        network: nn.Module = hub(pretrained=False)
    network.to_empty(device="cpu")
    generator = torch.Generator().manual_seed(0)
    state = {}
    for key, value in network.state_dict().items():
        drawn = torch.rand(value.shape, generator=generator)
        if value.ndim > 1:
            drawn = (drawn * 2 - 1) * (6 / value[0].numel()) ** 0.5
        elif key.endswith("running_var"):
            drawn = drawn + 0.5
        elif key.endswith("norm_c.weight"):
            drawn = drawn * 0.4  # else the sum of 16 blocks grows beyond all measure
        state[key] = drawn.to(value.dtype)
    network.load_state_dict(state)
    return network.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def network() -> nn.Module:
    return published()


@pytest.fixture(scope="module")
def zoo_file(network: nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("i3d-r50") / "I3D_8x8_R50.pyth"
    torch.save({"model_state": network.state_dict()}, path)
    return path


@pytest.fixture(scope="module")
def backbone(zoo_file: Path) -> Backbone:
    built = i3d_r50.build(Setup("rgb", "pytorchvideo", weights=zoo_file))
    built.batch_units = 1
    return built


def units(frames: int, side: int) -> NDArray[np.uint8]:
    return np.random.default_rng(1).integers(0, 256, (1, frames, side, side, 3), dtype=np.uint8)


# 256 leave a last map of 8 x 8, on which the pool has 2 x 2 places; 10 frames leave it 5 in time.
@pytest.mark.parametrize(("frames", "side"), [(8, 256), (10, 224)])
def test_logits_are_those_of_the_published_forward(
    network: nn.Module, backbone: Backbone, frames: int, side: int
) -> None:
    images, before_head = units(frames, side), list[Tensor]()
    blocks = network.blocks
    assert isinstance(blocks, nn.ModuleList)
    hook = blocks[-1].register_forward_pre_hook(lambda _, inputs: before_head.append(inputs[0]))
    inputs = (torch.from_numpy(images).permute(0, 4, 1, 2, 3) / 255 - MEAN) / DEVIATION
    expected = network(inputs)
    hook.remove()
    rows = backbone(images, np.zeros((1, frames)), ["pool", "logits"])
    assert rows["logits"].shape == expected.shape == (1, 400)
    np.testing.assert_allclose(rows["logits"], expected, atol=2e-5 * float(expected.abs().max()))
    # The pool slides one place at a time, 4 x 7 x 7 wide.
    windows = before_head[0].unfold(2, 4, 1).unfold(3, 7, 1).unfold(4, 7, 1)
    pool = windows.mean(dim=(2, 3, 4, 5, 6, 7))
    np.testing.assert_allclose(rows["pool"], pool, atol=2e-5 * float(pool.max()))


def test_parameter_count() -> None:
    """As PyTorchVideo's model zoo says: 28.04 million."""
    with torch.device("meta"):
        network = i3d_r50.I3DR50()
    assert round(sum(p.numel() for p in network.parameters()) / 1e6, 2) == 28.04


@pytest.mark.parametrize("frames", [1, 7])
def test_too_few_frames(backbone: Backbone, frames: int) -> None:
    with pytest.raises(RecipeError) as error:
        backbone(units(frames, 32), np.zeros((1, frames)), ["pool"])
    assert str(error.value) == (
        f"i3d-r50 needs units of at least 8 frames, not {frames}; "
        "use a sampling such as stacks-100x8-3.75fps"
    )


def test_a_file_without_the_head_does_not_fit(network: nn.Module, tmp_path: Path) -> None:
    state = {key: v for key, v in network.state_dict().items() if not key.startswith("blocks.6.")}
    torch.save({"model_state": state}, tmp_path / "headless.pyth")
    with pytest.raises(WeightsError) as error:
        i3d_r50.build(Setup("rgb", "pytorchvideo", weights=tmp_path / "headless.pyth"))
    assert str(error.value) == (
        f"{tmp_path / 'headless.pyth'} does not fit I3DR50: it lacks "
        "network.blocks.6.proj.weight, network.blocks.6.proj.bias; "
        "give a checkpoint of this network, or --weights random"
    )
