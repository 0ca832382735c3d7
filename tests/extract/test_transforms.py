"""Presets: sizes, crops and values against loops, torchvision and OpenCV."""

import itertools
import re

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from torchvision.models import ResNet101_Weights

from aqakit.extract import transforms
from aqakit.extract.transforms import PRESETS, FlowPreset, Preset

FRAMES = {name: one for name, one in PRESETS["rgb"].items() if isinstance(one, Preset)}
FLOW = {name: one for name, one in PRESETS["flow"].items() if isinstance(one, FlowPreset)}
# Every way in which a frame is prepared: for a network, or for flow.
EVERY = FRAMES | {f"flow {name}": one.frames for name, one in FLOW.items()}


def noise(height: int, width: int, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def motion(height: int, width: int, seed: int = 0) -> NDArray[np.float32]:
    """A field, a part of it faster than any clamp."""
    return np.random.default_rng(seed).normal(0, 15, (height, width, 2)).astype(np.float32)


# The list


def test_every_preset_is_for_frames_or_for_flow() -> None:
    assert list(PRESETS) == ["rgb", "flow"]
    assert list(FRAMES) == list(PRESETS["rgb"])
    assert list(FLOW) == list(PRESETS["flow"])


def test_the_docstring_names_every_preset() -> None:
    text = transforms.__doc__ or ""
    start = {stream: text.index(f"Presets for {stream}") for stream in ("frames", "flow")}
    parts = {"rgb": text[start["frames"] : start["flow"]], "flow": text[start["flow"] :]}
    for stream, part in parts.items():
        items = re.findall(r"^\* (``.+?``):", part, re.MULTILINE)
        named = [name for item in items for name in re.findall(r"``([\w-]+)``", item)]
        assert sorted(named) == sorted(PRESETS[stream])  # type: ignore[index]


# Frames


@pytest.mark.parametrize(
    ("preset", "size", "expected"),
    [
        ("inception", (480, 640), (256, 341)),  # 640 * 256 / 480 = 341.33
        ("inception", (640, 480), (341, 256)),
        ("imagenet", (1080, 1920), (256, 455)),  # 455.1
        ("imagenet", (256, 256), (256, 256)),
        ("inception", (16, 2000), (256, 32000)),
        ("pytorchvideo", (480, 640), (256, 341)),
        ("imagenet-448", (480, 640), (448, 448)),
        ("imagenet-448", (1920, 1080), (448, 448)),
        ("caffe", (480, 640), (128, 171)),
        ("imagenet-112", (1920, 1080), (128, 171)),
        ("flow inception", (480, 640), (256, 341)),
        ("flow flow-224", (480, 640), (256, 341)),
        ("flow flow-448", (480, 640), (256, 341)),
        ("flow short-96", (240, 320), (96, 128)),
        ("flow short-96", (17, 31), (96, 175)),  # 175.06
        ("flow short-64", (480, 640), (64, 85)),  # 85.3
    ],
)
def test_resized(preset: str, size: tuple[int, int], expected: tuple[int, int]) -> None:
    assert EVERY[preset].resized(*size) == expected


@pytest.mark.parametrize(
    ("preset", "size", "top", "left"),
    [
        ("inception", (256, 341), 16, 58),  # (341 - 224) / 2 = 58.5
        ("imagenet", (455, 256), 115, 16),  # 115.5
        ("pytorchvideo", (256, 341), 0, 42),  # (341 - 256) / 2 = 42.5
        ("caffe", (128, 171), 8, 29),  # (171 - 112) / 2 = 29.5
        ("imagenet-112", (128, 171), 8, 29),
    ],
)
def test_the_crop_is_the_middle_and_odd_margins_end_longer(
    preset: str, size: tuple[int, int], top: int, left: int
) -> None:
    image = noise(*size)
    side = FRAMES[preset].crop
    assert side is not None
    np.testing.assert_array_equal(
        FRAMES[preset].frame(image), image[top : top + side, left : left + side]
    )


@given(
    name=st.sampled_from(sorted(EVERY)),
    height=st.integers(1, 400),
    width=st.integers(1, 400),
)
def test_frames_of_any_size_come_out_at_the_size_of_the_preset(
    name: str, height: int, width: int
) -> None:
    preset = EVERY[name]
    if max(height, width) > 40 * min(height, width):
        height = width
    frame = preset.frame(noise(height, width))
    expected = preset.resized(height, width) if preset.crop is None else (preset.crop,) * 2
    assert frame.shape == (*expected, 3)
    assert frame.dtype == np.uint8
    assert frame.flags.c_contiguous


@pytest.mark.parametrize("name", sorted(EVERY))
@pytest.mark.parametrize("size", [(2000, 16), (16, 2000), (1, 1)])
def test_extreme_shapes(name: str, size: tuple[int, int]) -> None:
    frame = EVERY[name].frame(np.full((*size, 3), 77, dtype=np.uint8))
    assert frame.shape[:2] == (EVERY[name].crop,) * 2 or EVERY[name].crop is None
    assert (frame == 77).all()


def test_a_frame_holds_no_larger_one_in_memory_and_changes_nothing() -> None:
    image = noise(300, 400)
    before = image.copy()
    frame = FRAMES["inception"].frame(image)
    assert frame.base is None
    np.testing.assert_array_equal(image, before)


@pytest.mark.parametrize(("interpolation", "mode"), [("LINEAR", "bilinear"), ("CUBIC", "bicubic")])
def test_resizing_has_half_pixel_centres(interpolation: str, mode: str) -> None:
    image = noise(300, 400)
    channels = torch.from_numpy(image).permute(2, 0, 1)[None].float()
    expected = torch.nn.functional.interpolate(channels, (256, 341), mode=mode)[0].permute(1, 2, 0)
    preset = Preset(256, interpolation=getattr(cv2, f"INTER_{interpolation}"))
    # OpenCV works in fixed point.
    np.testing.assert_allclose(
        preset.frame(image).astype(float), expected.clamp(0, 255).numpy(), atol=1.5
    )


@pytest.mark.parametrize("size", [(300, 400), (720, 500), (448, 448)])
def test_maps_are_made_of_the_whole_picture_resized_by_cubics(size: tuple[int, int]) -> None:
    image = noise(*size)
    frame = FRAMES["imagenet-448"].frame(image)
    expected = cv2.resize(image, (448, 448), interpolation=cv2.INTER_CUBIC)
    np.testing.assert_array_equal(frame, expected)
    linear = cv2.resize(image, (448, 448), interpolation=cv2.INTER_LINEAR)
    assert (size == (448, 448)) == np.array_equal(frame, linear)


@pytest.mark.parametrize(("name", "side"), [("short-64", 1024), ("short-96", 960)])
def test_flow_is_spared_the_aliases_of_fine_stripes(name: str, side: int) -> None:
    stripes = np.zeros((side, side, 3), dtype=np.uint8)
    stripes[:, ::2] = 255
    assert FLOW[name].frames.frame(stripes).std() < 1


@pytest.mark.parametrize("name", sorted(EVERY))
def test_to_network_against_loops(name: str) -> None:
    preset = EVERY[name]
    units = np.random.default_rng(1).integers(0, 256, (2, 3, 4, 5, 3), dtype=np.uint8)
    expected = np.empty((2, 3, 3, 4, 5))
    for n, f, y, x, c in itertools.product(range(2), range(3), range(4), range(5), range(3)):
        colour = 2 - c if preset.bgr else c
        value = float(units[n, f, y, x, colour])
        expected[n, c, f, y, x] = (value - preset.mean[colour]) / preset.std[colour]
    given_units = torch.from_numpy(units)
    result = preset.to_network(given_units)
    assert result.dtype == torch.float32
    np.testing.assert_allclose(result.numpy(), expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(given_units.numpy(), units)


@pytest.mark.parametrize(
    ("name", "pixel", "expected"),
    [
        ("inception", (0, 127, 255), (-1.0, -0.0039216, 1.0)),
        ("imagenet", (255, 0, 128), (2.2489083, -2.0357143, 0.4264924)),
        ("imagenet-112", (255, 0, 128), (2.2489083, -2.0357143, 0.4264924)),
        ("imagenet-448", (255, 0, 128), (2.2489083, -2.0357143, 0.4264924)),
        ("pytorchvideo", (255, 0, 51), (2.4444444, -2.0, -1.1111111)),
        ("caffe", (110, 100, 90), (-0.25, 2.34, 8.59)),  # blue, green, red
    ],
)
def test_values_by_hand(
    name: str, pixel: tuple[int, int, int], expected: tuple[float, float, float]
) -> None:
    units = torch.tensor(pixel, dtype=torch.uint8).expand(1, 1, 1, 1, 3)
    np.testing.assert_allclose(FRAMES[name].to_network(units).flatten(), expected, atol=1e-5)


@pytest.mark.parametrize("name", ["imagenet", "imagenet-112", "imagenet-448"])
def test_imagenet_is_what_torchvision_says_of_its_weights(name: str) -> None:
    published = ResNet101_Weights.IMAGENET1K_V1.transforms()
    preset = FRAMES[name]
    np.testing.assert_allclose(np.array(preset.mean) / 255, published.mean)
    np.testing.assert_allclose(np.array(preset.std) / 255, published.std)
    if name == "imagenet":
        assert [preset.resize] == published.resize_size
        assert [preset.crop] == published.crop_size


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((4, 4), dtype=np.uint8),
        np.zeros((4, 4, 4), dtype=np.uint8),
        np.zeros((4, 4, 3), dtype=np.float32),
        np.zeros((0, 4, 3), dtype=np.uint8),
    ],
)
def test_only_colour_frames(image: NDArray[np.uint8]) -> None:
    with pytest.raises(ValueError, match=r"expected uint8 \(H, W, 3\)"):
        FRAMES["caffe"].frame(image)


def test_a_crop_must_fit() -> None:
    with pytest.raises(ValueError, match="crop is 200; it must fit into a side of 128"):
        Preset((128, 171), 200)


# Flow


def limited(flow: NDArray[np.float32], clamp: float | None) -> NDArray[np.float32]:
    """Each displacement by itself."""
    found = flow.copy()
    if clamp is not None:
        for place in np.ndindex(*flow.shape):
            found[place] = max(-clamp, min(clamp, float(flow[place])))
    return found


def slow_field(preset: FlowPreset, flow: NDArray[np.float32]) -> NDArray[np.float32]:
    """Clamp; then the middle pixel by pixel, or PyTorch's cubics, which are OpenCV's."""
    flow = limited(flow, preset.clamp)
    if preset.resize is not None:
        channels = torch.from_numpy(flow).permute(2, 0, 1)[None]
        resized = torch.nn.functional.interpolate(channels, preset.resize, mode="bicubic")
        return limited(resized[0].permute(1, 2, 0).numpy(), preset.clamp)
    if preset.crop is None:
        return flow
    top, left = (flow.shape[0] - preset.crop) // 2, (flow.shape[1] - preset.crop) // 2
    return np.array(
        [[flow[top + y, left + x] for x in range(preset.crop)] for y in range(preset.crop)]
    )


@pytest.mark.parametrize("name", sorted(FLOW))
@pytest.mark.parametrize("size", [(256, 259), (301, 256)])
def test_fields_against_the_definition(name: str, size: tuple[int, int]) -> None:
    flow = motion(*size)
    before = flow.copy()
    field = FLOW[name].field(flow)
    assert field.dtype == np.float32
    assert field.flags.c_contiguous
    tolerance = 0 if FLOW[name].resize is None else 5e-3  # OpenCV rounds the cubics' factors
    np.testing.assert_allclose(field, slow_field(FLOW[name], before), rtol=0, atol=tolerance)
    np.testing.assert_array_equal(flow, before)


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("inception", (224, 224)),
        ("flow-224", (224, 224)),
        ("flow-448", (448, 448)),
        ("short-64", (256, 341)),
        ("short-96", (256, 341)),
    ],
)
def test_size_of_a_field(name: str, shape: tuple[int, int]) -> None:
    assert FLOW[name].field(motion(256, 341)).shape == (*shape, 2)


def test_a_resized_field_shows_what_the_resized_picture_shows_in_pixels_of_its_own() -> None:
    flow = np.zeros((256, 341, 2), dtype=np.float32)
    flow[128:, :170] = (4, -2)
    field = FLOW["flow-448"].field(flow)
    # Away from the edges, the same displacements; left and bottom as in the picture.
    np.testing.assert_allclose(
        field[230:, :220], np.broadcast_to((4, -2), (218, 220, 2)), atol=1e-5
    )
    np.testing.assert_allclose(field[:218], 0, atol=1e-5)
    np.testing.assert_allclose(field[:, 228:], 0, atol=1e-5)


def test_the_crop_of_a_field_is_the_crop_of_the_frame() -> None:
    picture = noise(256, 341)
    flow = picture[..., :2].astype(np.float32)
    cut = FlowPreset(Preset(256), crop=224).field(flow)
    np.testing.assert_array_equal(cut, FRAMES["inception"].frame(picture)[..., :2])


@pytest.mark.parametrize("name", sorted(FLOW))
def test_fields_to_network_against_loops(name: str) -> None:
    units = np.stack([[motion(4, 5, seed) for seed in range(3)] for _ in range(2)])
    divisor = FLOW[name].clamp or 1.0
    assert divisor == (1.0 if name.startswith("short-") else 20.0)
    expected = np.empty((2, 2, 3, 4, 5))
    for n, f, y, x, c in itertools.product(range(2), range(3), range(4), range(5), range(2)):
        expected[n, c, f, y, x] = units[n, f, y, x, c] / divisor
    given_units = torch.from_numpy(units.copy())
    result = FLOW[name].to_network(given_units)
    assert result.dtype == torch.float32
    np.testing.assert_allclose(result.numpy(), expected, rtol=1e-6)
    np.testing.assert_array_equal(given_units.numpy(), units)


@pytest.mark.parametrize("name", [name for name, one in FLOW.items() if one.clamp])
def test_clamped_flow_reaches_the_network_between_minus_one_and_one(name: str) -> None:
    # Steps from one end to the other, which cubics make higher.
    fast = 300 * np.sign(motion(256, 256))
    field = torch.from_numpy(FLOW[name].field(fast))[None, None]
    values = FLOW[name].to_network(field)
    assert (float(values.min()), float(values.max())) == (-1, 1)


def test_a_field_is_cropped_or_resized() -> None:
    with pytest.raises(ValueError, match="a field is either cropped or resized"):
        FlowPreset(Preset(256), crop=224, resize=(448, 448))


def test_presets_of_one_flow_differ_only_behind_it() -> None:
    """So that flow need be computed once for several networks."""
    assert FLOW["inception"] == FLOW["flow-224"]
    assert FLOW["inception"].frames == FLOW["flow-448"].frames
