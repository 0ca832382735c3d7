"""ResNet-101 against the table of its paper and torchvision's whole network."""

from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from torch import Tensor
from torchvision.models import ResNet101_Weights

from aqakit.extract.backbone import Setup
from aqakit.extract.backbones import resnet101

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


def test_parameter_count() -> None:
    with torch.device("meta"):
        network = resnet101.ResNet101()
    shapes = {key: s for key, s in public_shapes().items() if "running" not in key}
    total = sum(int(np.prod(s)) for key, s in shapes.items() if not key.startswith("fc."))
    assert total == 42_500_160
    assert sum(p.numel() for p in network.parameters()) == total


def test_values_against_the_whole_network(public_file: Path) -> None:
    images = np.random.default_rng(1).integers(0, 256, (2, 3, 64, 80, 3), dtype=np.uint8)
    rows = resnet101.build(Setup("imagenet", weights=public_file))(images, np.zeros((2, 3)))

    whole, pooled = torchvision.models.resnet101(weights=None), list[Tensor]()
    whole.load_state_dict(public_state())
    whole.eval().avgpool.register_forward_hook(lambda _, __, result: pooled.append(result))
    normalise = ResNet101_Weights.IMAGENET1K_V1.transforms()
    mean, std = (torch.tensor(v)[:, None, None] for v in (normalise.mean, normalise.std))
    frames = torch.from_numpy(images).flatten(0, 1).permute(0, 3, 1, 2) / 255
    with torch.no_grad():
        whole((frames - mean) / std)
    expected = pooled[0].reshape(2, 3, 2048).mean(1)
    np.testing.assert_allclose(rows["pool"], expected, atol=2e-5 * float(expected.max()))


def test_full_size_with_random_weights_stays_in_scale() -> None:
    images = np.random.default_rng(2).integers(0, 256, (1, 1, 224, 224, 3), dtype=np.uint8)
    rows = resnet101.build(Setup("imagenet", random_seed=1))(images, np.zeros((1, 1)))
    assert rows["pool"].shape[1:] == resnet101.INFO.layers["pool"]
    assert 0.1 < rows["pool"].std() < 100


def test_checkpoints_are_those_that_torchvision_publishes() -> None:
    published = [ResNet101_Weights.IMAGENET1K_V1.url, ResNet101_Weights.IMAGENET1K_V2.url]
    assert [checkpoint.url for checkpoint in resnet101.INFO.checkpoints] == published
    for checkpoint in resnet101.INFO.checkpoints:
        assert checkpoint.url.endswith(f"/{checkpoint.file}")
        assert checkpoint.file == f"resnet101-{checkpoint.sha256_prefix}.pth"
