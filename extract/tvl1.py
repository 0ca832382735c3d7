"""TV-L1 optical flow in PyTorch, on any device, many pairs at once.

The method is that of Zach, Pock and Bischof, "A duality based approach for realtime TV-L1 optical
flow" (DAGM 2007), as Sanchez, Meinhardt-Llopis and Facciolo write it down ("TV-L1 optical flow
estimation", Image Processing On Line 2013), with the choices of OpenCV's ``DualTVL1OpticalFlow``
and its default parameters: pictures are 0..255, the pyramid is plain bilinear resizing, warping is
bicubic and zero outside the picture, and a 5 x 5 median cleans the flow before every outer
iteration. OpenCV 4 rounds the position it samples at to 1/32 pixel; this does not.

Shapes: B pairs, H rows, W columns. Flow is (B, 2, H, W), x before y.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import torch
import torch.nn.functional as F
from torch import Tensor

from .tvl1_iterations import Linearised, refine_batch, refine_pair

SCALES = 5
SCALE_STEP = 0.8
WARPS = 5
# A level of the pyramid with a shorter side carries no motion worth finding.
SMALLEST_SIDE = 16

Refine = Callable[[Tensor, Tensor, Linearised], tuple[Tensor, Tensor]]


def tvl1(first: Tensor, second: Tensor) -> Tensor:
    """Displacement of every pixel from the first picture of each pair to the second.

    Each pair stops iterating on its own, so its flow does not depend on the rest of the batch. On
    the processor pairs are worked one after another, because one pair fits its caches.

    Args:
        first: (B, H, W) grey, 0..255, uint8 or floating point.
        second: the later pictures, of the same shape and on the same device.

    Returns:
        (B, 2, H, W) float32 x and y displacement in pixels.

    Raises:
        ValueError: shapes differ or are not (B, H, W), a side is under 16 pixels, the type is
            neither uint8 nor floating point, or the devices differ.
    """
    _check(first, second)
    with torch.no_grad(), current(first.device):
        if first.device.type != "cpu":
            return _pyramid_flow(first, second, _refine_for(first.device))
        flow = torch.empty(first.shape[0], 2, *first.shape[1:])
        for number in range(first.shape[0]):
            one = slice(number, number + 1)
            flow[one] = _pyramid_flow(first[one], second[one], refine_pair)
        return flow


def _check(first: Tensor, second: Tensor) -> None:
    if first.shape != second.shape:
        raise ValueError(
            f"first is {tuple(first.shape)} and second {tuple(second.shape)}; must be equal"
        )
    if first.dim() != 3:
        raise ValueError(f"first has shape {tuple(first.shape)}; must be (B, H, W)")
    if min(first.shape[1:]) < SMALLEST_SIDE:
        height, width = first.shape[1:]
        raise ValueError(f"pictures are {width} x {height}; sides must be >= {SMALLEST_SIDE}")
    for name, images in (("first", first), ("second", second)):
        if images.dtype != torch.uint8 and not images.is_floating_point():
            raise ValueError(f"{name} is {images.dtype}; must be uint8 or floating point")
    if first.device != second.device:
        raise ValueError(f"first is on {first.device} and second on {second.device}; must be equal")


def current(device: torch.device) -> AbstractContextManager[object]:
    """Makes the device the one that kernels and events go to where they are not told."""
    return torch.cuda.device(device) if device.type == "cuda" else nullcontext()


def _refine_for(device: torch.device) -> Refine:
    """The iterations in the fastest form that the device can run."""
    if device.type == "cuda":
        try:
            from .tvl1_triton import refine
        except ImportError:
            # PyTorch has builds for CUDA that come without Triton, or with an old one.
            return refine_batch
        return refine
    return refine_batch


def _pyramid_flow(first: Tensor, second: Tensor, refine: Refine) -> Tensor:
    """(B, 2, H, W) flow, from the coarsest level to the finest."""
    sizes = level_sizes(first.shape[1], first.shape[2])
    factor = 1 / SCALE_STEP
    levels = [torch.stack((first, second), 1).float()]
    for size in sizes[1:]:
        levels.append(resize(levels[-1], size, (factor, factor)))
    flow = torch.zeros(first.shape[0], 2, *sizes[-1], device=first.device)
    for level in reversed(levels):
        rows, columns = level.shape[-2:]
        if flow.shape[-2:] != (rows, columns):
            pixel = flow.shape[-2] / rows, flow.shape[-1] / columns
            flow = resize(flow, (rows, columns), pixel) * factor
        flow = _level_flow(level[:, 0], level[:, 1], flow, refine)
    return flow


def level_sizes(height: int, width: int) -> list[tuple[int, int]]:
    """(height, width) of each level of the pyramid, finest first."""
    sizes = [(height, width)]
    while len(sizes) < SCALES:
        # Half rounds to even, as OpenCV rounds.
        smaller = (round(sizes[-1][0] * SCALE_STEP), round(sizes[-1][1] * SCALE_STEP))
        if min(smaller) < SMALLEST_SIDE:
            break
        sizes.append(smaller)
    return sizes


def _level_flow(first: Tensor, second: Tensor, flow: Tensor, refine: Refine) -> Tensor:
    """Better flow at one level: the second picture is warped by the flow found so far."""
    stack = torch.cat((second[:, None], gradients(second)), 1)
    dual = flow.new_zeros(flow.shape[0], 2, 2, *flow.shape[-2:])
    for _ in range(WARPS):
        warped = warp(stack, flow)
        gradient = warped[:, 1:].contiguous()
        constant = warped[:, 0] - (gradient * flow).sum(1) - first
        flow, dual = refine(flow, dual, Linearised(gradient, constant))
    return flow


def resize(images: Tensor, size: tuple[int, int], pixel: tuple[float, float]) -> Tensor:
    """Bilinear resizing with half-pixel centres and no smoothing.

    Args:
        images: (..., H, W) floating point.
        size: rows and columns of the result.
        pixel: height and width of a new pixel in old pixels. It differs from H / rows where the
            pyramid rounded the number of rows.

    Returns:
        (..., *size)
    """
    for dim, count, step in zip((-2, -1), size, pixel, strict=True):
        old = images.shape[dim]
        at = (torch.arange(count, dtype=torch.float64) + 0.5) * step - 0.5
        at = at.clamp(0, old - 1)
        low = at.floor()
        shape = (count, 1) if dim == -2 else (count,)
        share = (at - low).float().view(shape).to(images.device)
        low = low.long().to(images.device)
        high = (low + 1).clamp(max=old - 1)
        images = torch.lerp(images.index_select(dim, low), images.index_select(dim, high), share)
    return images


def gradients(images: Tensor) -> Tensor:
    """(B, 2, H, W) central differences in x and y of (B, H, W) pictures, border repeated."""
    padded = F.pad(images[:, None], (1, 1, 1, 1), mode="replicate")[:, 0]
    x = padded[:, 1:-1, 2:] - padded[:, 1:-1, :-2]
    y = padded[:, 2:, 1:-1] - padded[:, :-2, 1:-1]
    return torch.stack((x, y), 1) / 2


def warp(images: Tensor, flow: Tensor) -> Tensor:
    """(B, C, H, W) pictures sampled where the flow points: bicubic (a = -0.75), zero outside."""
    height, width = images.shape[-2:]
    x = torch.arange(width, device=flow.device) + flow[:, 0]
    y = torch.arange(height, device=flow.device)[:, None] + flow[:, 1]
    # grid_sample measures from -1 to 1 between the outer edges of the corner pixels.
    grid = torch.stack(((2 * x + 1) / width - 1, (2 * y + 1) / height - 1), -1)
    there = F.grid_sample(images, grid, mode="bicubic", padding_mode="zeros", align_corners=False)
    # That measure costs a position its last bits, and TV-L1 makes much of little: without this a
    # still pair would find motion of up to a pixel in places.
    return torch.where((flow != 0).any(1, keepdim=True), there, images)
