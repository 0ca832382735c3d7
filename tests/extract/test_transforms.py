import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torchvision.models import ResNet101_Weights

from aqakit.extract.transforms import PRESETS, Preset


def noise(height: int, width: int, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize(
    ("preset", "size", "expected"),
    [
        ("inception", (480, 640), (256, 341)),  # 640 * 256 / 480 = 341.33
        ("inception", (640, 480), (341, 256)),
        ("imagenet", (1080, 1920), (256, 455)),  # 455.1
        ("imagenet", (256, 256), (256, 256)),
        ("inception", (16, 2000), (256, 32000)),
        ("caffe", (480, 640), (128, 171)),
        ("imagenet-112", (1920, 1080), (128, 171)),
        ("short-96", (240, 320), (96, 128)),
        ("short-96", (17, 31), (96, 175)),  # 175.06
    ],
)
def test_resized(preset: str, size: tuple[int, int], expected: tuple[int, int]) -> None:
    assert PRESETS[preset].resized(*size) == expected


@pytest.mark.parametrize(
    ("preset", "size", "top", "left"),
    [
        ("inception", (256, 341), 16, 58),  # (341 - 224) / 2 = 58.5
        ("imagenet", (455, 256), 115, 16),  # 115.5
        ("caffe", (128, 171), 8, 29),  # (171 - 112) / 2 = 29.5
        ("imagenet-112", (128, 171), 8, 29),
    ],
)
def test_the_crop_is_the_middle_and_odd_margins_end_longer(
    preset: str, size: tuple[int, int], top: int, left: int
) -> None:
    image = noise(*size)
    side = PRESETS[preset].crop
    assert side is not None
    np.testing.assert_array_equal(
        PRESETS[preset].frame(image), image[top : top + side, left : left + side]
    )


@settings(max_examples=60, deadline=None)
@given(
    name=st.sampled_from(sorted(PRESETS)),
    height=st.integers(1, 400),
    width=st.integers(1, 400),
)
def test_frames_of_any_size_come_out_at_the_size_of_the_preset(
    name: str, height: int, width: int
) -> None:
    preset = PRESETS[name]
    if max(height, width) > 40 * min(height, width):
        height = width
    frame = preset.frame(noise(height, width))
    expected = preset.resized(height, width) if preset.crop is None else (preset.crop,) * 2
    assert frame.shape == (*expected, 3)
    assert frame.dtype == np.uint8
    assert frame.flags.c_contiguous


@pytest.mark.parametrize("name", sorted(PRESETS))
@pytest.mark.parametrize("size", [(2000, 16), (16, 2000), (1, 1)])
def test_extreme_shapes(name: str, size: tuple[int, int]) -> None:
    frame = PRESETS[name].frame(np.full((*size, 3), 77, dtype=np.uint8))
    assert frame.shape[:2] == (PRESETS[name].crop,) * 2 or PRESETS[name].crop is None
    assert (frame == 77).all()


def test_a_frame_holds_no_larger_one_in_memory_and_changes_nothing() -> None:
    image = noise(300, 400)
    before = image.copy()
    frame = PRESETS["inception"].frame(image)
    assert frame.base is None
    np.testing.assert_array_equal(image, before)


def test_resizing_is_bilinear_with_half_pixel_centres() -> None:
    image = noise(300, 400)
    expected = torch.nn.functional.interpolate(
        torch.from_numpy(image).permute(2, 0, 1)[None].float(), (256, 341), mode="bilinear"
    )[0].permute(1, 2, 0)
    resized = Preset(256).frame(image).astype(float)
    np.testing.assert_allclose(resized, expected.numpy(), atol=1)  # OpenCV works in fixed point


def test_flow_is_spared_the_aliases_of_fine_stripes() -> None:
    stripes = np.zeros((960, 960, 3), dtype=np.uint8)
    stripes[:, ::2] = 255
    spread = PRESETS["short-96"].frame(stripes).std()
    assert spread < 1


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_to_network_against_loops(name: str) -> None:
    preset = PRESETS[name]
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
        ("caffe", (110, 100, 90), (-0.25, 2.34, 8.59)),  # blue, green, red
        ("short-96", (1, 2, 3), (1.0, 2.0, 3.0)),
    ],
)
def test_values_by_hand(
    name: str, pixel: tuple[int, int, int], expected: tuple[float, float, float]
) -> None:
    units = torch.tensor(pixel, dtype=torch.uint8).expand(1, 1, 1, 1, 3)
    np.testing.assert_allclose(PRESETS[name].to_network(units).flatten(), expected, atol=1e-5)


def test_imagenet_is_what_torchvision_says_of_its_weights() -> None:
    published = ResNet101_Weights.IMAGENET1K_V1.transforms()
    preset = PRESETS["imagenet"]
    assert [preset.resize] == published.resize_size
    assert [preset.crop] == published.crop_size
    np.testing.assert_allclose(np.array(preset.mean) / 255, published.mean)
    np.testing.assert_allclose(np.array(preset.std) / 255, published.std)


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
        PRESETS["caffe"].frame(image)


def test_a_crop_must_fit() -> None:
    with pytest.raises(ValueError, match="crop is 200; it must fit into a side of 128"):
        Preset((128, 171), 200)
