"""TV-L1 in PyTorch: OpenCV part by part and as a whole, a plain re-derivation, independent pairs."""

import itertools
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from aqakit.extract import tvl1 as module
from aqakit.extract import tvl1_iterations
from aqakit.extract.tvl1 import gradients, level_sizes, resize, tvl1, warp
from aqakit.extract.tvl1_iterations import Linearised, refine_batch, refine_pair
from aqakit.extract.tvl1_median import median, network_median, selection_network

Image = NDArray[np.float32]


@pytest.fixture(autouse=True)
def numbers() -> None:
    torch.manual_seed(0)


def texture(height: int, width: int, seed: int = 0) -> NDArray[np.uint8]:
    noise = np.random.default_rng(seed).random((height, width)).astype(np.float32)
    smooth = cv2.GaussianBlur(noise, (0, 0), 1.5)
    return np.asarray(cv2.normalize(smooth, None, 0, 255, cv2.NORM_MINMAX), dtype=np.uint8)  # type: ignore[call-overload]


def moved(image: NDArray[np.uint8], zoom: float, x: float, y: float) -> NDArray[np.uint8]:
    """The picture magnified about its centre and moved, in pixels."""
    height, width = image.shape
    turn = cv2.getRotationMatrix2D((width / 2, height / 2), 1.0, zoom)
    turn[:, 2] += np.array([x, y])
    return np.asarray(
        cv2.warpAffine(image, turn, (width, height), borderMode=cv2.BORDER_REFLECT), dtype=np.uint8
    )


def opencv(first: NDArray[np.uint8], second: NDArray[np.uint8]) -> Image:
    """(2, H, W) flow."""
    method = cv2.optflow.DualTVL1OpticalFlow_create()  # type: ignore[attr-defined]
    return np.asarray(method.calc(first, second, None).transpose(2, 0, 1), dtype=np.float32)


def ours(first: NDArray[np.uint8], second: NDArray[np.uint8]) -> Image:
    return np.asarray(tvl1(torch.from_numpy(first)[None], torch.from_numpy(second)[None])[0])


def end_point_error(one: Image, other: Image) -> Image:
    return np.asarray(np.hypot(*(one - other)), dtype=np.float32)


def three_pairs(height: int = 40, width: int = 52) -> tuple[Tensor, Tensor]:
    """A still pair, a little motion and much: they stop at different times."""
    first = [texture(height, width, seed) for seed in range(3)]
    second = [first[0], moved(first[1], 1, 0.3, 0), moved(first[2], 1.05, 3, -2)]
    return torch.from_numpy(np.stack(first)), torch.from_numpy(np.stack(second))


def problem(first: Tensor, second: Tensor) -> Linearised:
    """The pairs linearised at no motion."""
    slope = gradients(second.float())
    return Linearised(slope, second.float() - first.float())


# ---- the whole


@given(st.integers(16, 40), st.integers(16, 40))
@settings(max_examples=8)
def test_a_still_pair_has_exactly_no_flow_at_any_size(height: int, width: int) -> None:
    image = texture(height, width)
    flow = ours(image, image)
    assert flow.shape == (2, height, width)
    np.testing.assert_array_equal(flow, 0)


def test_a_textured_square_moves_by_two_pixels() -> None:
    ground, square = texture(64, 80) // 4, texture(32, 32, 1)
    first, second = ground.copy(), ground.copy()
    first[16:48, 20:52] = square
    second[16:48, 22:54] = square
    flow = ours(first, second)
    np.testing.assert_allclose(np.median(flow[:, 22:42, 28:44], axis=(1, 2)), [2, 0], atol=0.1)
    assert np.median(np.abs(flow[:, :8])) < 0.1


@pytest.mark.parametrize(
    ("size", "motion"),
    [((60, 75), (1.0, 1.5, 0.5)), ((48, 91), (1.03, -2.2, 1.3)), ((17, 40), (1.0, 0.7, 0.0))],
)
def test_flow_of_texture_agrees_with_opencv(
    size: tuple[int, int], motion: tuple[float, float, float]
) -> None:
    first = texture(*size)
    second = moved(first, *motion)
    error = end_point_error(ours(first, second), opencv(first, second))
    assert error.mean() < 0.05
    assert np.percentile(error, 95) < 0.2


@pytest.mark.parametrize("name", ["arm_wrestling_demo.mp4", "v_ZNVhz7ctTq0.mp4"])
def test_flow_of_real_frames_agrees_with_opencv(real_data: Path, name: str) -> None:
    frames: list[NDArray[np.uint8]] = []
    with av.open(str(real_data / "videos" / name)) as container:
        for number, frame in enumerate(container.decode(video=0)):
            if number in (40, 41):
                image = frame.to_ndarray(format="gray")
                small = cv2.resize(image, (340, 256), interpolation=cv2.INTER_AREA)
                frames.append(np.asarray(small, dtype=np.uint8))
            if number > 41:
                break
    error = end_point_error(ours(*frames), opencv(*frames))
    assert error.mean() < 0.05
    assert np.percentile(error, 95) < 0.5


def test_uint8_and_float_pictures_are_the_same() -> None:
    first, second = (images[2:] for images in three_pairs(24, 30))
    assert torch.equal(tvl1(first, second), tvl1(first.double(), second.float()))


def test_each_pair_of_a_batch_has_the_bits_that_it_has_alone() -> None:
    first, second = three_pairs()
    together = tvl1(first, second)
    for number in range(3):
        one = slice(number, number + 1)
        assert torch.equal(together[one], tvl1(first[one], second[one]))


def test_the_batched_path_gives_what_single_pairs_give() -> None:
    """Other devices take this path."""
    first, second = three_pairs()
    with torch.no_grad():
        batch = module._pyramid_flow(first, second, refine_batch)
    torch.testing.assert_close(batch, tvl1(first, second), rtol=0, atol=0.01)


def test_wrong_pictures_are_named() -> None:
    image = torch.zeros(1, 20, 20, dtype=torch.uint8)
    with pytest.raises(ValueError, match=r"\(1, 20, 20\).*\(1, 20, 21\)"):
        tvl1(image, torch.zeros(1, 20, 21, dtype=torch.uint8))
    with pytest.raises(ValueError, match=r"\(20, 20\).*B, H, W"):
        tvl1(image[0], image[0])
    with pytest.raises(ValueError, match="20 x 15.*16"):
        tvl1(image[:, :15], image[:, :15])
    with pytest.raises(ValueError, match="first is torch.int64"):
        tvl1(image.long(), image)
    with pytest.raises(ValueError, match="second is torch.bool"):
        tvl1(image, image.bool())
    with pytest.raises(ValueError, match="first is on cpu and second on meta"):
        tvl1(image, image.to("meta"))


# ---- its parts


@given(st.integers(16, 300), st.integers(16, 300))
def test_levels_shrink_by_a_fifth_down_to_16_pixels(height: int, width: int) -> None:
    sizes = level_sizes(height, width)
    assert sizes[0] == (height, width)
    assert 1 <= len(sizes) <= 5
    assert min(sizes[-1]) >= 16
    for larger, smaller in itertools.pairwise(sizes):
        for before, after in zip(larger, smaller, strict=True):
            assert abs(after - 0.8 * before) <= 0.5
    if len(sizes) < 5:
        assert round(0.8 * min(sizes[-1])) < 16


@given(st.integers(16, 60), st.integers(16, 60))
@settings(max_examples=20)
def test_resizing_down_and_up_is_that_of_opencv(height: int, width: int) -> None:
    image = texture(height, width).astype(np.float32)
    down = cv2.resize(image, None, fx=0.8, fy=0.8, interpolation=cv2.INTER_LINEAR)
    size = (round(height * 0.8), round(width * 0.8))
    found = resize(torch.from_numpy(image), size, (1.25, 1.25)).numpy()
    np.testing.assert_allclose(found, down, atol=1e-3)
    up = cv2.resize(down, (width, height), interpolation=cv2.INTER_LINEAR)
    pixel = size[0] / height, size[1] / width
    back = resize(torch.from_numpy(down), (height, width), pixel).numpy()
    np.testing.assert_allclose(back, up, atol=1e-3)


def test_gradients_are_central_differences_with_repeated_border() -> None:
    images = torch.rand(2, 5, 7)
    padded = np.pad(images.numpy(), ((0, 0), (1, 1), (1, 1)), mode="edge")
    x = (padded[:, 1:-1, 2:] - padded[:, 1:-1, :-2]) / 2
    y = (padded[:, 2:, 1:-1] - padded[:, :-2, 1:-1]) / 2
    np.testing.assert_array_equal(gradients(images).numpy(), np.stack((x, y), 1))


def test_warping_is_that_of_opencv() -> None:
    image = texture(30, 40).astype(np.float32)
    # Multiples of 1/32 pixel, because OpenCV 4 rounds to them; many lead outside.
    steps = np.random.default_rng(1).integers(-320, 320, (2, 30, 40))
    flow = (steps / 32).astype(np.float32)
    x = np.arange(40, dtype=np.float32) + flow[0]
    y = np.arange(30, dtype=np.float32)[:, None] + flow[1]
    expected = cv2.remap(image, x, y, cv2.INTER_CUBIC, borderMode=cv2.BORDER_CONSTANT)
    found = warp(torch.from_numpy(image)[None, None], torch.from_numpy(flow)[None])[0, 0]
    np.testing.assert_allclose(found.numpy(), expected, atol=0.05)


def test_warping_by_nothing_changes_no_bit() -> None:
    images = torch.rand(2, 3, 23, 37) * 255
    assert torch.equal(warp(images, torch.zeros(2, 2, 23, 37)), images)


@given(st.integers(1, 20), st.integers(1, 20), st.integers(0, 99))
@settings(max_examples=20)
def test_both_medians_are_that_of_opencv(height: int, width: int, seed: int) -> None:
    values = np.random.default_rng(seed).integers(-4, 4, (2, 2, height, width)).astype(np.float32)
    expected = np.stack([[cv2.medianBlur(c, 5) for c in pair] for pair in values])
    for each in (median, network_median):
        np.testing.assert_array_equal(each(torch.from_numpy(values)).numpy(), expected)


def test_the_network_selects_the_median_of_any_25_values() -> None:
    """By the 0-1 principle zeros and ones are enough; all counts, in many orders."""
    random = np.random.default_rng(0)
    ones = np.arange(26).repeat(400)
    wires = random.permuted(np.arange(25) < ones[:, None], axis=1).T.copy()
    for low, high in selection_network():
        assert low < high
        wires[low], wires[high] = wires[low] & wires[high], wires[low] | wires[high]
    np.testing.assert_array_equal(wires[12], ones > 12)


def plain_iteration(
    u: Image, p: Image, gradient: Image, constant: Image
) -> tuple[Image, Image, float]:
    """One iteration pixel by pixel as the papers write it: v by thresholding, u, then p."""
    tau, lam, theta = 0.25, 0.15, 0.3
    height, width = constant.shape
    new_u, new_p, error = np.empty_like(u), np.empty_like(p), 0.0
    for y in range(height):
        for x in range(width):
            g = gradient[:, y, x]
            rho, square = constant[y, x] + g @ u[:, y, x], g @ g
            if rho < -lam * theta * square:
                step = lam * theta * g
            elif rho > lam * theta * square:
                step = -lam * theta * g
            else:
                step = -rho * g / square if square > 1e-7 else 0 * g
            v = u[:, y, x] + step
            for c in range(2):
                divergence = p[c, 0, y, x] + p[c, 1, y, x]
                divergence -= p[c, 0, y, x - 1] if x else 0
                divergence -= p[c, 1, y - 1, x] if y else 0
                new_u[c, y, x] = v[c] + theta * divergence
    for y in range(height):
        for x in range(width):
            for c in range(2):
                here = new_u[c, y, x]
                u_x = new_u[c, y, x + 1] - here if x + 1 < width else 0
                u_y = new_u[c, y + 1, x] - here if y + 1 < height else 0
                norm = 1 + tau / theta * np.hypot(u_x, u_y)
                new_p[c, 0, y, x] = (p[c, 0, y, x] + tau / theta * u_x) / norm
                new_p[c, 1, y, x] = (p[c, 1, y, x] + tau / theta * u_y) / norm
                error += (here - u[c, y, x]) ** 2
    return new_u, new_p, error


@pytest.mark.parametrize("refine", [refine_pair, refine_batch])
def test_iterations_equal_a_plain_re_derivation(
    refine: module.Refine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tvl1_iterations, "OUTER", 1)
    monkeypatch.setattr(tvl1_iterations, "INNER", 3)
    gradient = 20 * torch.randn(1, 2, 7, 9)
    gradient[..., 2, 3] = 0
    linear = Linearised(gradient, 10 * torch.randn(1, 7, 9))
    u, p = torch.randn(1, 2, 7, 9), 0.3 * torch.randn(1, 2, 2, 7, 9)
    p[:, :, 0, :, -1] = p[:, :, 1, -1] = 0
    flow, dual = refine(u.clone(), 0.3 * p, linear)
    expected, expected_p = median(u)[0].double().numpy(), p[0].double().numpy()
    for _ in range(3):
        expected, expected_p, error = plain_iteration(
            expected, expected_p, gradient[0].double().numpy(), linear.constant[0].double().numpy()
        )
        assert error > tvl1_iterations.threshold(7, 9)
    np.testing.assert_allclose(flow[0].numpy(), expected, atol=1e-5)
    np.testing.assert_allclose(dual[0].numpy() / 0.3, expected_p, atol=1e-5)


def test_pairs_of_a_batch_stop_each_on_its_own() -> None:
    linear = problem(*three_pairs(18, 21))
    flow, dual = torch.zeros(3, 2, 18, 21), torch.zeros(3, 2, 2, 18, 21)
    together = refine_batch(flow.clone(), dual.clone(), linear)
    assert together[0][1:].abs().amax((1, 2, 3)).min() > 0
    for number in range(3):
        one = slice(number, number + 1)
        part = Linearised(linear.gradient[one], linear.constant[one])
        for refine in (refine_batch, refine_pair):
            alone = refine(flow[one].clone(), dual[one].clone(), part)
            for all_pairs, pair in zip(together, alone, strict=True):
                torch.testing.assert_close(all_pairs[one], pair, rtol=0, atol=1e-4)


@pytest.mark.parametrize("refine", [refine_pair, refine_batch])
def test_iterations_end_at_the_threshold_or_after_all(
    refine: module.Refine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopping happens just after the first change that is small enough."""
    first, second = three_pairs(18, 21)
    linear = problem(first[1:2], second[1:2])
    start = torch.zeros(1, 2, 18, 21), torch.zeros(1, 2, 2, 18, 21)
    stopped = refine(start[0].clone(), start[1].clone(), linear)
    u, p = (tensor[0].double().numpy() for tensor in start)
    errors: list[float] = []
    while not errors or errors[-1] > tvl1_iterations.threshold(18, 21):
        if len(errors) % 30 == 0:
            u = median(torch.from_numpy(u).float()[None])[0].double().numpy()
        u, p, error = plain_iteration(
            u, p, linear.gradient[0].double().numpy(), linear.constant[0].double().numpy()
        )
        errors.append(error)
    assert 3 < len(errors) < 300
    np.testing.assert_allclose(stopped[0][0].numpy(), u, atol=1e-4)
    monkeypatch.setattr(tvl1_iterations, "EPSILON", 0.0)
    went_on = refine(start[0].clone(), start[1].clone(), linear)
    assert not torch.allclose(went_on[0], stopped[0], atol=1e-4)
