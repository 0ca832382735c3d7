"""Networks as backbones: folded normalisations, batches of one size, rows that never change."""

import warnings
from typing import NamedTuple

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from aqakit.extract import network as network_module
from aqakit.extract.backbone import BackboneInfo, Setup
from aqakit.extract.network import NetworkBackbone, default_batch_units, folded
from aqakit.extract.request import BACKBONES
from aqakit.extract.transforms import PRESETS, Preset
from aqakit.features import plugins
from aqakit.features.spec import Stream

SECONDS = np.zeros((1, 1))
LAYERS = ("maps", "mean")


def units(count: int, seed: int = 0) -> NDArray[np.uint8]:
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (count, 4, 12, 12, 3), dtype=np.uint8)


class Toy(nn.Module):
    """A convolution whose result would tell if training mode, gradients or TF32 were on."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv3d(3, 8, 3)
        self.drop = nn.Dropout(0.5)
        self.seen: list[int] = []

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        assert torch.is_inference_mode_enabled()
        assert torch.backends.cudnn.deterministic
        assert not torch.backends.cudnn.benchmark
        assert not torch.backends.cudnn.allow_tf32
        assert not any(parameter.requires_grad for parameter in self.parameters())
        self.seen.append(len(x))
        maps = self.drop(self.conv(x))
        return {"maps": maps, "mean": maps.mean(dim=(2, 3, 4))}


def made_toy() -> Toy:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Toy()


@pytest.fixture
def toy() -> NetworkBackbone:
    return NetworkBackbone(made_toy(), Setup("rgb", "inception"), batch_units=5)


def test_rows_are_the_networks_own(toy: NetworkBackbone) -> None:
    images = units(2)
    plain = torch.from_numpy(images.astype(np.float32) / 127.5 - 1).permute(0, 4, 1, 2, 3)
    expected = made_toy().conv(plain.contiguous()).detach().numpy()
    rows = toy(images, SECONDS, LAYERS)
    assert list(rows) == ["maps", "mean"]
    assert all(values.dtype == np.float32 for values in rows.values())
    np.testing.assert_allclose(rows["maps"], expected, atol=1e-5)
    np.testing.assert_allclose(rows["mean"], expected.mean(axis=(2, 3, 4)), atol=1e-5)


def test_only_the_layers_that_are_wanted(toy: NetworkBackbone) -> None:
    assert list(toy(units(1), SECONDS, ["mean"])) == ["mean"]


@pytest.mark.parametrize("count", [0, 1, 3, 5])
def test_the_network_always_sees_a_full_batch(count: int) -> None:
    backbone = NetworkBackbone(made_toy(), Setup("rgb", "inception"), batch_units=5)
    rows = backbone(units(count), SECONDS, LAYERS)
    assert {layer: len(values) for layer, values in rows.items()} == {"maps": count, "mean": count}
    assert isinstance(backbone._network, Toy)
    assert backbone._network.seen == [5]


def test_units_a_batch_by_default() -> None:
    assert NetworkBackbone(made_toy(), Setup("rgb", "inception")).batch_units == 4
    assert default_batch_units("cpu") == 4
    assert default_batch_units("cuda") == default_batch_units("cuda:1") == 32


def test_read_only_and_reversed_images_are_taken_in_silence(toy: NetworkBackbone) -> None:
    images = units(2)
    images.flags.writeable = False
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        rows = toy(images[::-1], SECONDS, LAYERS)["mean"]
    np.testing.assert_array_equal(rows[::-1], toy(units(2), SECONDS, LAYERS)["mean"])


def test_the_given_network_is_left_as_it_was_but_in_evaluation() -> None:
    network = made_toy()
    NetworkBackbone(network, Setup("rgb", "inception"))(units(1), SECONDS, LAYERS)
    assert all(parameter.requires_grad for parameter in network.parameters())
    assert network.seen == []


def test_the_processes_own_settings_come_back(
    toy: NetworkBackbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", True)
    toy(units(1), SECONDS, LAYERS)
    assert torch.backends.cudnn.benchmark
    assert not torch.is_inference_mode_enabled()


@pytest.mark.parametrize(
    "images",
    [units(1)[0], units(1).astype(np.float32), units(1)[..., :2]],
)
def test_only_colour_units(toy: NetworkBackbone, images: NDArray[np.generic]) -> None:
    expected = (
        rf"images are {images.dtype} \({', '.join(map(str, images.shape))}\); "
        r"expected uint8 \(N, F, H, W, 3\)"
    )
    with pytest.raises(ValueError, match=expected):
        toy(images, SECONDS, LAYERS)


@pytest.mark.parametrize(
    "images",
    [
        np.zeros((4, 12, 12, 2), dtype=np.float32),
        np.zeros((1, 4, 12, 12, 2)),
        np.zeros((1, 4, 12, 12, 2), dtype=np.uint8),
        np.zeros((1, 4, 12, 12, 3), dtype=np.float32),
    ],
)
def test_only_flow_units(images: NDArray[np.generic]) -> None:
    backbone = NetworkBackbone(nn.Identity(), Setup("flow", "inception"))
    with pytest.raises(ValueError, match=r"images are .*; expected float32 \(N, F, H, W, 2\)"):
        backbone(images, SECONDS, LAYERS)


def test_no_more_units_than_a_batch_holds(toy: NetworkBackbone) -> None:
    with pytest.raises(ValueError, match="6 units; a batch holds at most 5"):
        toy(units(6), SECONDS, LAYERS)


# Every network of the folder


class Case(NamedTuple):
    """A network, and the unit to give it: (F, H, W, C)."""

    name: str
    stream: Stream
    shape: tuple[int, ...]


# Units that cost less than those of the default preset, where a network takes them.
SMALL = {
    "i3d.rgb": (9, 48, 48, 3),
    "i3d.flow": (9, 48, 48, 2),
    "i3d-r50.rgb": (8, 224, 224, 3),
    "resnet101.rgb": (2, 64, 64, 3),
    "resnet101.flow": (10, 64, 64, 2),
}


def every_case() -> list[Case]:
    infos: dict[str, BackboneInfo] = {
        name: plugins.load(BACKBONES, name).INFO for name in plugins.names(BACKBONES)
    }
    return [
        Case(name, stream, SMALL.get(f"{name}.{stream}") or usual_unit(info, stream))
        for name, info in infos.items()
        if info.checkpoints
        for stream in info.streams
    ]


def usual_unit(info: BackboneInfo, stream: Stream) -> tuple[int, ...]:
    """Shape of a unit of the default layer, of a square video."""
    output = next(one for one in info.outputs if one.stream == stream)
    preset, frames = PRESETS[stream][output.presets[0]], output.sampling.frames
    if isinstance(preset, Preset):
        return (frames, *preset.frame(np.zeros((256, 256, 3), dtype=np.uint8)).shape)
    size = preset.frames.resized(256, 256)
    return (frames - 1, *preset.field(np.zeros((*size, 2), dtype=np.float32)).shape)


def label(case: Case) -> str:
    return f"{case.name}.{case.stream}"


def layers_of(case: Case) -> list[str]:
    info: BackboneInfo = plugins.load(BACKBONES, case.name).INFO
    return [one.layer for one in info.outputs if one.stream == case.stream]


def images_of(case: Case, count: int) -> NDArray[np.generic]:
    rng = np.random.default_rng(1)
    if case.stream == "rgb":
        return rng.integers(0, 256, (count, *case.shape), dtype=np.uint8)
    return rng.normal(0, 6, (count, *case.shape)).astype(np.float32)


Norm = nn.BatchNorm2d | nn.BatchNorm3d


def normalisations(network: nn.Module) -> list[Norm]:
    return [one for one in network.modules() if isinstance(one, nn.BatchNorm2d | nn.BatchNorm3d)]


def setup_of(case: Case) -> Setup:
    info: BackboneInfo = plugins.load(BACKBONES, case.name).INFO
    preset = next(one.presets[0] for one in info.outputs if one.stream == case.stream)
    return Setup(case.stream, preset, random_seed=0)


def unfolded(case: Case) -> NetworkBackbone:
    """A backbone of two units a batch, its network with normalisations that do something."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(network_module, "folded", lambda network: network)
        backbone = plugins.load(BACKBONES, case.name).build(setup_of(case))
    assert isinstance(backbone, NetworkBackbone)
    backbone.batch_units = 2
    generator = torch.Generator().manual_seed(2)
    for norm in normalisations(backbone._network):
        assert norm.running_mean is not None
        assert norm.running_var is not None
        norm.running_mean.normal_(0, 0.1, generator=generator)
        norm.running_var.uniform_(0.5, 1.5, generator=generator)
        norm.weight.mul_(torch.empty_like(norm.weight).uniform_(0.5, 1.5, generator=generator))
        norm.bias.normal_(0, 0.1, generator=generator)
    return backbone


class Both(NamedTuple):
    """One network as it was made and as a backbone uses it, and a full batch through the latter."""

    case: Case
    plain: NetworkBackbone
    backbone: NetworkBackbone
    rows: dict[str, NDArray[np.float32]]


@pytest.fixture(scope="module", params=every_case(), ids=label)
def both(request: pytest.FixtureRequest) -> Both:
    case: Case = request.param
    plain = unfolded(case)
    backbone = NetworkBackbone(plain._network, setup_of(case), batch_units=2)
    return Both(case, plain, backbone, backbone(images_of(case, 2), SECONDS, layers_of(case)))


def test_a_folded_network_gives_what_the_plain_one_gives(both: Both) -> None:
    expected = both.plain(images_of(both.case, 2), SECONDS, layers_of(both.case))
    for layer, rows in both.rows.items():
        scale = float(np.abs(expected[layer]).max())
        np.testing.assert_allclose(rows, expected[layer], rtol=0, atol=1e-5 * scale, err_msg=layer)


def test_no_normalisation_is_left_and_the_original_keeps_its_own(both: Both) -> None:
    plain = both.plain._network
    count = len(normalisations(plain))
    before = {key: value.clone() for key, value in plain.state_dict().items()}
    network = folded(plain)
    assert not normalisations(network)
    assert len(normalisations(plain)) == count
    for key, value in plain.state_dict().items():
        assert torch.equal(value, before[key]), key
    addresses = {value.data_ptr() for value in plain.state_dict().values()}
    assert addresses.isdisjoint(value.data_ptr() for value in network.state_dict().values())


def test_a_row_has_the_same_bits_in_any_company_and_at_any_place(both: Both) -> None:
    images, layers = images_of(both.case, 2), layers_of(both.case)
    swapped = both.backbone(images[::-1], SECONDS, layers)
    alone = both.backbone(images[1:], SECONDS, layers)  # the other place is padding
    for layer, rows in both.rows.items():
        np.testing.assert_array_equal(swapped[layer][::-1], rows, err_msg=layer)
        np.testing.assert_array_equal(alone[layer], rows[1:], err_msg=layer)
        assert not np.array_equal(rows[0], rows[1])


def test_larger_batches_in_every_order_and_size() -> None:
    case = next(case for case in every_case() if label(case) == "i3d.flow")
    backbone = NetworkBackbone(unfolded(case)._network, setup_of(case), batch_units=5)
    images, layers = images_of(case, 5), layers_of(case)
    whole = backbone(images, SECONDS, layers)
    rng = np.random.default_rng(3)
    for count in range(1, 6):
        picked = rng.choice(5, count, replace=False)
        found = backbone(images[picked], SECONDS, layers)
        for layer, rows in whole.items():
            np.testing.assert_array_equal(found[layer], rows[picked], err_msg=f"{layer} {picked}")


# Folding


class Pairs(nn.Module):
    """Pairs that may be folded, and neighbours that may not."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 1)
        self.norm = nn.BatchNorm2d(4)
        self.relu = nn.ReLU()
        self.lone = nn.BatchNorm2d(4)
        self.wide = nn.Conv2d(4, 6, 1)
        self.other = nn.BatchNorm2d(4)
        self.inner = nn.Sequential(nn.Conv3d(4, 4, 1, bias=False), nn.BatchNorm3d(4))


def test_what_is_folded() -> None:
    network = folded(Pairs().eval())
    kinds = {name: type(one).__name__ for name, one in network.named_modules() if name}
    assert kinds == {
        "conv": "Conv2d",
        "norm": "Identity",
        "relu": "ReLU",
        "lone": "BatchNorm2d",
        "wide": "Conv2d",
        "other": "BatchNorm2d",  # of other channels than the convolution before it
        "inner": "Sequential",
        "inner.0": "Conv3d",
        "inner.1": "Identity",
    }


def test_folding_against_arithmetic() -> None:
    generator = torch.Generator().manual_seed(0)
    pairs = Pairs().eval().requires_grad_(False)
    pairs.norm.running_mean = torch.rand(4, generator=generator)
    pairs.norm.running_var = torch.rand(4, generator=generator) + 0.5
    pairs.norm.weight.uniform_(-2, 2, generator=generator)
    pairs.norm.bias.uniform_(-2, 2, generator=generator)
    found = folded(pairs)
    assert isinstance(found, Pairs)
    for channel in range(4):
        deviation = float(pairs.norm.running_var[channel] + pairs.norm.eps) ** 0.5
        factor = float(pairs.norm.weight[channel]) / deviation
        np.testing.assert_allclose(
            found.conv.weight[channel], pairs.conv.weight[channel] * factor, rtol=1e-5
        )
        bias = pairs.conv.bias
        assert bias is not None
        assert found.conv.bias is not None
        shift = float(bias[channel] - pairs.norm.running_mean[channel]) * factor
        np.testing.assert_allclose(
            found.conv.bias[channel], shift + float(pairs.norm.bias[channel]), rtol=1e-4, atol=1e-6
        )
