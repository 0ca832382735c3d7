"""Draw a scripted performance: a gripper on an arm, pegs, a tray and a board with holes.

A second gripper that assists comes from the other side of the picture, under the first.

Everything that the seed varies here (light, textures, colours, where the arm comes from, a hand-held
camera) is the same for every skill. All surfaces carry texture, so that optical flow has something
to hold on to.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from .synthetic_plan import Performance, Points

Image = NDArray[np.uint8]
Picture = NDArray[np.float32]
Colour = NDArray[np.float64]

# Lengths are in short sides of the picture.
_PEG_RADIUS = 0.045
_HOLE_RADIUS = 0.055
_ARM_WIDTH = 0.15
# Rings at equal distances would look the same after a step of one distance.
_RING_STEPS = (0.1, 0.3)
_CAMERA_SHAKE = 0.0015
# OpenCV draws at fractions of a pixel when coordinates are given in 16ths.
_SHIFT = 4
# An idle gripper is open, that of the assisting arm half.
_OPEN, _HALF_OPEN, _CLOSED = 1.7, 1.35, 1.0
# Streams of random numbers of one seed; the script has the others.
_SCENE_STREAM, _CAMERA_STREAM, _SECOND_STREAM = 3, 4, 7


def render(performance: Performance) -> Iterator[Image]:
    """Draw the frames one after another.

    Args:
        performance: the script; the same one gives the same pixels.

    Yields:
        (H, W, 3) RGB, one for each row of the tool's path.
    """
    scene = _draw_scene(performance)
    second = None if performance.second is None else _draw_second_arm(performance)
    shakes = _camera_path(performance)
    frames = zip(performance.tool_path, performance.peg_paths, performance.held, strict=True)
    for frame, (tool, pegs, held) in enumerate(frames):
        canvas = scene.ground.copy()
        for number in range(len(pegs)):
            if number != held:
                _draw_peg(canvas, pegs[number], scene.pegs[number], scene.unit)
        if second is not None and performance.second is not None:
            place = performance.second.path[frame]
            _draw_arm(canvas, second, place, scene.unit)
            _draw_jaws(canvas, second, place, scene.unit, _HALF_OPEN)
        _draw_arm(canvas, scene.arm, tool, scene.unit)
        if held >= 0:
            _draw_peg(canvas, pegs[held], scene.pegs[held], scene.unit)
        _draw_jaws(canvas, scene.arm, tool, scene.unit, _CLOSED if held >= 0 else _OPEN)
        yield _photograph(canvas, scene.light, shakes[frame])


@dataclass(frozen=True, eq=False)
class _Arm:
    """What an arm looks like.

    Args:
        colour: of its shaft.
        rings: distances from the wrist, along the arm, of the rings around it.
        shoulder: (2,) where it comes from, outside the picture.
    """

    colour: Colour
    rings: NDArray[np.float64]
    shoulder: Points


@dataclass(frozen=True, eq=False)
class _Scene:
    """All of a picture that does not move.

    Args:
        unit: short side in pixels.
        ground: (H, W, 3) table, tray and board with its holes.
        light: (H, W, 1) factor of every pixel.
        pegs: (P, 3) colours.
        arm: of the tool that carries pegs.
    """

    unit: float
    ground: Image
    light: Picture
    pegs: NDArray[np.float64]
    arm: _Arm


def _draw_scene(performance: Performance) -> _Scene:
    rng = np.random.default_rng([performance.seed, _SCENE_STREAM])
    width, height = performance.size
    unit = float(min(width, height))
    hue = rng.uniform(0, 180)
    ground = _textured((height, width), _colour(hue, 50, rng.uniform(80, 140)), unit, rng)
    tray = _textured((height, width), _colour(hue + 90, 40, rng.uniform(60, 90)), unit, rng)
    board = _textured((height, width), _colour(hue + 60, 70, rng.uniform(150, 190)), unit, rng)
    _inlay(ground, tray, performance.peg_paths[0], 0.1 * unit)
    _inlay(ground, board, performance.holes, 0.13 * unit)
    for hole in performance.holes:
        _disc(ground, hole, _HOLE_RADIUS * unit, _colour(hue, 40, 35))
    count = len(performance.holes)
    pegs = [_colour(hue + 120 + 40 * number, 210, 225) for number in range(count)]
    shoulder = np.array([rng.uniform(0.4, 0.6) * width, -0.5 * height])
    colour = _colour(rng.uniform(0, 180), 25, rng.uniform(170, 220))
    light = _light(performance.size, rng)
    rings = unit * rng.uniform(*_RING_STEPS, 20).cumsum()
    return _Scene(unit, ground, light, np.array(pegs), _Arm(colour, rings, shoulder))


def _draw_second_arm(performance: Performance) -> _Arm:
    """The assisting arm: darker, and from below."""
    rng = np.random.default_rng([performance.seed, _SECOND_STREAM])
    width, height = performance.size
    colour = _colour(rng.uniform(0, 180), 60, rng.uniform(110, 150))
    rings = min(width, height) * rng.uniform(*_RING_STEPS, 20).cumsum()
    return _Arm(colour, rings, np.array([rng.uniform(0.4, 0.6) * width, 1.5 * height]))


def _colour(hue: float, saturation: float, value: float) -> Colour:
    """(3,) RGB of OpenCV's 8-bit HSV; the hue runs to 180 and wraps."""
    pixel = np.array([[[hue % 180, saturation, value]]]).astype(np.uint8)
    return np.asarray(cv2.cvtColor(pixel, cv2.COLOR_HSV2RGB)[0, 0], dtype=np.float64)


def _textured(
    shape: tuple[int, int], colour: Colour, unit: float, rng: np.random.Generator
) -> Image:
    """(H, W, 3) of one colour under noise of several sizes."""
    height, width = shape
    noise = np.zeros(shape)
    for grains in (6, 12, 24, 48):
        small = rng.standard_normal(
            (round(grains * height / unit) + 1, round(grains * width / unit) + 1)
        )
        noise += cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC)
    return (colour * (1 + 0.12 * noise[..., None])).clip(0, 255).astype(np.uint8)


def _inlay(ground: Image, surface: Image, places: Points, margin: float) -> None:
    """Put a rectangle of another surface, with a dark rim, under some places."""
    low = tuple(int(value) for value in places.min(axis=0) - margin)
    high = tuple(int(value) for value in places.max(axis=0) + margin)
    mask = np.zeros(ground.shape[:2], dtype=np.uint8)
    cv2.rectangle(mask, low, high, 255, thickness=-1)
    ground[mask > 0] = surface[mask > 0]
    cv2.rectangle(ground, low, high, (30, 30, 30), thickness=1, lineType=cv2.LINE_AA)


def _light(size: tuple[int, int], rng: np.random.Generator) -> Picture:
    """(H, W, 1) brightness of a lamp from one side."""
    width, height = size
    angle, fall = rng.uniform(0, 2 * np.pi), rng.uniform(0.1, 0.35)
    x, y = np.meshgrid(np.linspace(-1, 1, width), np.linspace(-1, 1, height))
    slope = (x * np.cos(angle) + y * np.sin(angle)) / np.sqrt(2)
    light = rng.uniform(0.8, 1.1) * (1 + fall * slope)
    return np.asarray(light[..., None], dtype=np.float32)


def _camera_path(performance: Performance) -> Points:
    """(F, 2) offset of the camera in pixels: it wanders a little and comes back."""
    rng = np.random.default_rng([performance.seed, _CAMERA_STREAM])
    steps = rng.standard_normal((len(performance.tool_path), 2))
    smooth = cv2.blur(steps, (1, 5), borderType=cv2.BORDER_REFLECT)
    return np.asarray(_CAMERA_SHAKE * min(performance.size) * smooth)


def _photograph(canvas: Image, light: Picture, shake: Points) -> Image:
    height, width = canvas.shape[:2]
    shift = np.array([[1, 0, shake[0]], [0, 1, shake[1]]])
    seen = cv2.warpAffine(canvas, shift, (width, height), borderMode=cv2.BORDER_REPLICATE)
    return (seen * light).clip(0, 255).astype(np.uint8)


def _draw_arm(canvas: Image, arm: _Arm, tool: Points, unit: float) -> None:
    """A shaft that tapers towards the wrist, ringed so that sliding along itself shows."""
    along, across = _axes(arm, tool)
    wrist = tool - along * 0.12 * unit
    length = float(np.hypot(*(wrist - arm.shoulder)))
    half = _ARM_WIDTH / 2 * unit * across
    corners = [arm.shoulder - 1.6 * half, arm.shoulder + 1.6 * half, wrist + half, wrist - half]
    _polygon(canvas, np.array(corners), arm.colour)
    edge = [
        arm.shoulder + 0.5 * half,
        arm.shoulder + 1.6 * half,
        wrist + half,
        wrist + 0.3 * half,
    ]
    _polygon(canvas, np.array(edge), 0.65 * arm.colour)
    for back in arm.rings[arm.rings < length]:
        middle = wrist - along * back
        ring = half * (1 + 0.6 * back / length)
        _line(canvas, middle - ring, middle + ring, 0.35 * arm.colour, 0.03 * unit)


def _draw_jaws(canvas: Image, arm: _Arm, tool: Points, unit: float, width: float) -> None:
    """Two fingers, ``width`` pegs apart."""
    along, across = _axes(arm, tool)
    wrist = tool - along * 0.12 * unit
    opening = width * _PEG_RADIUS * unit
    for side in (-1, 1):
        knuckle = wrist + along * 0.05 * unit + side * across * opening
        tip = tool + along * 0.03 * unit + side * across * opening * 0.8
        _line(canvas, wrist, knuckle, 0.6 * arm.colour, 0.028 * unit)
        _line(canvas, knuckle, tip, 0.8 * arm.colour, 0.028 * unit)


def _axes(arm: _Arm, tool: Points) -> tuple[Points, Points]:
    """Unit vectors along the arm, towards the tool, and across it."""
    along = (tool - arm.shoulder) / np.hypot(*(tool - arm.shoulder))
    return along, np.array([-along[1], along[0]])


def _draw_peg(canvas: Image, place: Points, colour: Colour, unit: float) -> None:
    """A short cylinder from above: rim, top and a glint."""
    radius = _PEG_RADIUS * unit
    _disc(canvas, place, radius, 0.45 * colour)
    _disc(canvas, place - 0.12 * radius, 0.75 * radius, colour)
    _disc(canvas, place - 0.35 * radius, 0.25 * radius, 0.5 * colour + 127)


def _disc(canvas: Image, place: Points, radius: float, colour: Colour) -> None:
    x, y = _fixed(place)
    fixed_radius = round(radius * 2**_SHIFT)
    cv2.circle(canvas, (x, y), fixed_radius, colour.tolist(), -1, cv2.LINE_AA, _SHIFT)


def _line(canvas: Image, start: Points, end: Points, colour: Colour, width: float) -> None:
    """A bar of a width that need not be whole pixels."""
    along = (end - start) / max(float(np.hypot(*(end - start))), 1e-9)
    half = np.array([-along[1], along[0]]) * width / 2
    _polygon(canvas, np.array([start - half, start + half, end + half, end - half]), colour)


def _polygon(canvas: Image, corners: Points, colour: Colour) -> None:
    points = np.array([_fixed(corner) for corner in corners], dtype=np.int32)
    cv2.fillConvexPoly(canvas, points, colour.tolist(), cv2.LINE_AA, _SHIFT)


def _fixed(place: Points) -> tuple[int, int]:
    x, y = np.round(place * 2**_SHIFT).astype(int)
    return int(x), int(y)
