"""ResNet-101 against the table of its paper and torchvision's whole network."""

import functools
import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from numpy.typing import NDArray
from torch import Tensor, nn
from torchvision.models import ResNet101_Weights

from aqakit.extract.backbone import Backbone, Setup
from aqakit.extract.backbones import resnet101
from aqakit.features.errors import RecipeError, WeightsError
from aqakit.features.spec import Stream

# He et al. 2016, table 1: blocks and the width of their middle; outputs are four times wider.
STAGES = ((3, 64), (4, 128), (23, 256), (3, 512))


def public_shapes() -> dict[str, tuple[int, ...]]:
    """Keys of torchvision's files, without counters, and their shapes."""
    shapes: dict[str, tuple[int, ...]] = {}

    def layer(conv: str, norm: str, width: int, channels: int, side: int) -> None:
        shapes[f"{conv}.weight"] = (width, channels, side, side)
        for kind in ("weight", "bias", "running_mean", "running_var"):
            shapes[f"{norm}.{kind}"] = (width,)

    layer("conv1", "bn1", 64, 3, 7)
    channels = 64
    for stage, (blocks, width) in enumerate(STAGES, start=1):
        for block in range(blocks):
            name = f"layer{stage}.{block}"
            layer(f"{name}.conv1", f"{name}.bn1", width, channels, 1)
            layer(f"{name}.conv2", f"{name}.bn2", width, width, 3)
            layer(f"{name}.conv3", f"{name}.bn3", 4 * width, width, 1)
            if block == 0:
                layer(f"{name}.downsample.0", f"{name}.downsample.1", 4 * width, channels, 1)
            channels = 4 * width
    return shapes | {"fc.weight": (1000, 2048), "fc.bias": (1000,)}


@functools.cache
def public_state() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    state = {}
    for key, shape in public_shapes().items():
        values = torch.rand(shape, generator=generator)
        if len(shape) > 1:
            values = (values * 2 - 1) * (6 / values[0].numel()) ** 0.5
        elif key.endswith("bn3.weight"):
            values = values * 0.2  # else the sum of 33 blocks grows beyond all measure
        elif key.endswith("running_var"):
            values = values + 0.5
        state[key] = values
    return state


@pytest.fixture(scope="module")
def public_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("resnet101") / "resnet101.pth"
    torch.save(public_state(), path)
    return path


def built(stream: Stream, preset: str, weights: Path, batch_units: int = 1) -> Backbone:
    backbone = resnet101.build(Setup(stream, preset, weights=weights))
    backbone.batch_units = batch_units
    return backbone


def whole_network(state: Mapping[str, Tensor], pictures: Tensor) -> dict[str, Tensor]:
    """What torchvision's own forward has after its last block and after its pool."""
    network, seen = torchvision.models.resnet101(weights=None), dict[str, Tensor]()
    channels = state["conv1.weight"].shape[1]
    if channels != 3:
        network.conv1 = nn.Conv2d(channels, 64, 7, stride=2, padding=3, bias=False)
    network.load_state_dict(state)
    for name in ("layer4", "avgpool"):
        network.eval().get_submodule(name).register_forward_hook(
            lambda _, __, result, name=name: seen.update({name: result})
        )
    with torch.no_grad():
        network(pictures)
    return seen


def normalised(images: NDArray[np.uint8]) -> Tensor:
    """(N, H, W, 3) pixels as torchvision normalises them, (N, 3, H, W)."""
    published = ResNet101_Weights.IMAGENET1K_V1.transforms()
    mean, std = (torch.tensor(v)[:, None, None] for v in (published.mean, published.std))
    normal: Tensor = (torch.from_numpy(images).permute(0, 3, 1, 2) / 255 - mean) / std
    return normal


def assert_close(rows: NDArray[np.float32], expected: Tensor) -> None:
    np.testing.assert_allclose(rows, expected, atol=2e-5 * float(expected.abs().max()))


@pytest.mark.parametrize(("stream", "channels"), [("rgb", 3), ("flow", 20)])
def test_parameter_count(stream: Stream, channels: int) -> None:
    with torch.device("meta"):
        network = resnet101.ResNet101(channels)
    shapes = {key: s for key, s in public_shapes().items() if "running" not in key}
    shapes["conv1.weight"] = (64, channels, 7, 7)
    total = sum(int(np.prod(s)) for key, s in shapes.items() if not key.startswith("fc."))
    assert total == {"rgb": 42_500_160, "flow": 42_553_472}[stream]
    assert sum(p.numel() for p in network.parameters()) == total


def test_a_unit_of_several_frames_is_the_mean_of_the_whole_networks(public_file: Path) -> None:
    images = np.random.default_rng(1).integers(0, 256, (2, 3, 64, 80, 3), dtype=np.uint8)
    backbone = built("rgb", "imagenet", public_file, batch_units=2)
    rows = backbone(images, np.zeros((2, 3)), ["pool", "conv5"])
    expected = whole_network(public_state(), normalised(images.reshape(6, 64, 80, 3)))
    assert_close(rows["pool"], expected["avgpool"].reshape(2, 3, 2048).mean(1))
    assert_close(rows["conv5"], expected["layer4"].reshape(2, 3, 2048, 2, 3).mean(1))


def test_maps_of_448_pixels_are_the_whole_networks_last_block(public_file: Path) -> None:
    images = np.random.default_rng(2).integers(0, 256, (1, 1, 448, 448, 3), dtype=np.uint8)
    rows = built("rgb", "imagenet-448", public_file)(images, np.zeros((1, 1)), ["conv5"])
    assert list(rows) == ["conv5"]
    assert rows["conv5"].shape == (1, 2048, 14, 14)
    assert_close(rows["conv5"], whole_network(public_state(), normalised(images[0]))["layer4"])


# Flow


def fields(units: int, count: int = 10, side: int = 64) -> NDArray[np.float32]:
    shape = (units, count, side, side, 2)
    return np.random.default_rng(3).normal(0, 8, shape).clip(-20, 20).astype(np.float32)


def stacked(flow: NDArray[np.float32]) -> Tensor:
    """The 20 channels x1, y1, x2, y2, ... of each unit, one after the other, over the clamp."""
    pictures = [
        np.stack([unit[number // 2, :, :, number % 2] for number in range(20)]) for unit in flow
    ]
    return torch.from_numpy(np.stack(pictures)) / 20


def own_flow_state() -> dict[str, Tensor]:
    """Weights of a network that was trained on 20 channels, each with filters of its own."""
    generator = torch.Generator().manual_seed(1)
    first = (torch.rand((64, 20, 7, 7), generator=generator) * 2 - 1) * 0.1
    return public_state() | {"conv1.weight": first}


def test_flow_through_weights_of_its_own(tmp_path: Path) -> None:
    torch.save(own_flow_state(), tmp_path / "flow.pth")
    flow = fields(2)
    backbone = built("flow", "flow-224", tmp_path / "flow.pth", batch_units=2)
    rows = backbone(flow, np.zeros((2, 11)), ["pool", "conv5"])
    expected = whole_network(own_flow_state(), stacked(flow))
    assert_close(rows["pool"], expected["avgpool"].flatten(1))
    assert_close(rows["conv5"], expected["layer4"])


def test_flow_through_weights_for_colours_has_their_mean_in_every_channel(
    public_file: Path,
) -> None:
    colours = public_state()["conv1.weight"]
    first = torch.empty(64, 20, 7, 7)
    for channel in range(20):
        first[:, channel] = (colours[:, 0] + colours[:, 1] + colours[:, 2]) / 3
    flow = fields(1)
    rows = built("flow", "flow-224", public_file)(flow, np.zeros((1, 11)), ["pool"])
    expected = whole_network(public_state() | {"conv1.weight": first}, stacked(flow))
    assert_close(rows["pool"], expected["avgpool"].flatten(1))


@pytest.mark.parametrize("count", [1, 9, 11])
def test_flow_of_another_number_of_fields(count: int) -> None:
    with torch.device("meta"):
        network = resnet101.ResNet101(20)
    with pytest.raises(RecipeError) as error:
        network(torch.empty(1, 2, count, 64, 64, device="meta"))
    assert str(error.value) == (
        f"resnet101 needs 10 flow fields a unit, not {count}; use a sampling of 11 frames such as "
        "segments-25x11-last"
    )


@pytest.mark.parametrize("layer", ["pool", "conv5"])
def test_the_default_samplings_have_the_frames_that_the_streams_need(layer: str) -> None:
    frames = {
        one.stream: one.sampling.frames for one in resnet101.INFO.outputs if one.layer == layer
    }
    assert frames == {"rgb": 1, "flow": 11}


@pytest.mark.parametrize(
    ("stream", "shape", "needed"),
    [
        ("rgb", (64, 20, 7, 7), "64x3x7x7"),
        ("rgb", (64, 1, 7, 7), "64x3x7x7"),
        ("flow", (64, 18, 7, 7), "64x20x7x7"),
        ("flow", (64, 3, 5, 5), "64x20x7x7"),
        ("flow", (64,), "64x20x7x7"),
    ],
)
def test_a_first_layer_of_neither_colours_nor_flow(
    stream: Stream, shape: tuple[int, ...], needed: str, tmp_path: Path
) -> None:
    path = tmp_path / "other.pth"
    torch.save({"conv1.weight": torch.zeros(shape)}, path)
    found = "x".join(map(str, shape))
    words = f", has another shape of conv1.weight ({found}, not {needed}); give"
    with pytest.raises(WeightsError, match=re.escape(words)):
        built(stream, "imagenet" if stream == "rgb" else "flow-224", path)


@pytest.mark.parametrize("stream", ["rgb", "flow"])
def test_random_weights_stay_in_scale(stream: Stream) -> None:
    output = next(one for one in resnet101.INFO.outputs if one.stream == stream)
    backbone = resnet101.build(Setup(stream, output.presets[0], random_seed=1))
    backbone.batch_units = 1
    images = np.random.default_rng(2).integers(0, 256, (1, 1, 96, 96, 3), dtype=np.uint8)
    unit = images if stream == "rgb" else fields(1, side=96)
    rows = backbone(unit, np.zeros((1, 1)), ["pool"])["pool"]
    assert 0.1 < rows.std() < 100


def test_checkpoints_are_those_that_torchvision_publishes() -> None:
    published = [ResNet101_Weights.IMAGENET1K_V1.url, ResNet101_Weights.IMAGENET1K_V2.url]
    assert [checkpoint.url for checkpoint in resnet101.INFO.checkpoints] == published
    for checkpoint in resnet101.INFO.checkpoints:
        assert checkpoint.url.endswith(f"/{checkpoint.file}")
        assert checkpoint.file == f"resnet101-{checkpoint.sha256_prefix[:8]}.pth"
