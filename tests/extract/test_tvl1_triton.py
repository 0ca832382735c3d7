"""The Triton kernels: interpreted on the processor, compiled for a GPU, and on a GPU where one is.

Triton decides when it is imported whether kernels are interpreted, so they run in a process of
their own, which writes what it found to a file.
"""

import importlib
import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from aqakit.extract import tvl1 as module
from aqakit.extract import tvl1_iterations
from aqakit.extract.flow import TVL1, FlowStream
from aqakit.extract.tvl1 import gradients, tvl1
from aqakit.extract.tvl1_iterations import Linearised, refine_batch

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("triton") is None, reason="Triton is not installed"
)
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")

_REFINE = """
import sys, torch
from aqakit.extract import tvl1_iterations
from aqakit.extract.tvl1_iterations import Linearised
for name, value in {settings!r}.items():
    setattr(tvl1_iterations, name, value)
from aqakit.extract import tvl1_triton
start = torch.load(sys.argv[1])
found = []
for pairs in ({slices}):
    state = start["flow"][pairs].clone(), start["dual"][pairs].clone()
    linear = Linearised(start["gradient"][pairs], start["constant"][pairs])
    found.append(tvl1_triton.refine(*state, linear))
torch.save(found, sys.argv[2])
"""

_FLOW = """
import sys, torch
from aqakit.extract import tvl1, tvl1_triton
tvl1.WARPS = 1
with torch.no_grad():
    torch.save(tvl1._pyramid_flow(*torch.load(sys.argv[1]), tvl1_triton.refine), sys.argv[2])
"""

_COMPILE = """
import sys, torch
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource, compile
from aqakit.extract import tvl1_triton as kernels

block = dict(ROWS=kernels.TILE_ROWS, COLUMNS=kernels.TILE_COLUMNS, TABLE=256)
numbers = dict(stop="fp32", height="i32", width="i32", tiles="i32")
jobs = [
    (kernels.iterate, "u q u_out q_out gradient constant table table_out",
     dict(active="*i32", **numbers), dict(TAU_=0.25, RATE=0.8, BOUND=0.045, LEAST=1e-7, **block)),
    (kernels.smooth, "u u_out table", numbers,
     dict(NETWORK=kernels._NETWORK, WINDOW=5, CENTRE=12, **block)),
]
sizes = []
for kernel, pointers, others, constants in jobs:
    types = {**dict.fromkeys(pointers.split(), "*fp32"), **others}
    signature = {**types, **dict.fromkeys(constants, "constexpr")}
    source = ASTSource(kernel, signature=signature, constexprs=constants)
    sizes.append(len(compile(source, target=GPUTarget("cuda", 90, 32)).asm["cubin"]))
torch.save(sizes, sys.argv[2])
"""


def texture(height: int, width: int, seed: int = 0) -> NDArray[np.uint8]:
    noise = np.random.default_rng(seed).random((height, width)).astype(np.float32)
    smooth = cv2.GaussianBlur(noise, (0, 0), 1.5)
    return np.asarray(cv2.normalize(smooth, None, 0, 255, cv2.NORM_MINMAX), dtype=np.uint8)  # type: ignore[call-overload]


def two_pairs(height: int, width: int) -> tuple[Tensor, Tensor]:
    """A still pair and one that moves."""
    image = texture(height, width + 1)
    first = np.stack([image[:, :-1], image[:, 1:]])
    return torch.from_numpy(first), torch.from_numpy(np.stack([image[:, :-1]] * 2))


def in_process(folder: Path, code: str, given: object, interpret: bool = True) -> object:
    """What the code makes of the given tensors in a new process."""
    torch.save(given, folder / "given.pt")
    environment = {
        **os.environ,
        "TRITON_INTERPRET": "1" if interpret else "0",
        "TRITON_CACHE_DIR": str(folder / "cache"),
    }
    words = [sys.executable, "-c", code, str(folder / "given.pt"), str(folder / "found.pt")]
    finished = subprocess.run(
        words, env=environment, cwd=folder, capture_output=True, text=True, check=False
    )
    assert finished.returncode == 0, finished.stderr
    found: object = torch.load(folder / "found.pt")
    return found


def start(height: int, width: int) -> dict[str, Tensor]:
    """Three pairs at some flow and dual: still, moving little and moving much."""
    torch.manual_seed(0)
    first = torch.stack([torch.from_numpy(texture(height, width, n)).float() for n in range(3)])
    second = torch.stack([first[0], first[1] + 0.5, first[2].roll(2, 1)])
    flow, dual = torch.randn(3, 2, height, width), 0.1 * torch.randn(3, 2, 2, height, width)
    dual[:, :, 0, :, -1] = dual[:, :, 1, -1] = 0
    flow[0], dual[0] = 0, 0
    flow[1] *= 0.02
    dual[1] *= 0.02
    constant = second - first
    return {"flow": flow, "dual": dual, "gradient": gradients(second), "constant": constant}


def test_interpreted_kernels_equal_plain_iterations(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two tiles side by side; one pair stops at once, one later, one with the last iteration."""
    settings = {"OUTER": 2, "INNER": 4, "CHUNK": 2, "EPSILON": 0.02}
    given = start(8, 70)
    code = _REFINE.format(settings=settings, slices="slice(3), slice(1, 2)")
    found = in_process(tmp_path, code, given)
    assert isinstance(found, list)
    iterations: list[Tensor] = []
    for name, value in settings.items():
        monkeypatch.setattr(tvl1_iterations, name, value)
    look = tvl1_iterations.ActivePairs.look

    def watch(pairs: tvl1_iterations.ActivePairs, active: Tensor) -> bool:
        iterations.append(active.clone())
        return look(pairs, active)

    monkeypatch.setattr(tvl1_iterations.ActivePairs, "look", watch)
    linear = Linearised(given["gradient"], given["constant"])
    expected = refine_batch(given["flow"].clone(), given["dual"].clone(), linear)
    # The case is the one that the name promises.
    assert torch.stack(iterations).sum(0).tolist()[::2] == [0, 4]
    assert 0 < torch.stack(iterations).sum(0)[1] < 4
    together, alone = found
    for kernel, plain in zip(together, expected, strict=True):
        torch.testing.assert_close(kernel, plain, rtol=1e-4, atol=1e-5)
    for batch, single in zip(together, alone, strict=True):
        assert torch.equal(batch[1:2], single)


def test_interpreted_kernels_find_the_flow_that_opencv_finds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two tiles one above the other, and one warp of five to save time."""
    monkeypatch.setattr(module, "WARPS", 1)
    pairs = two_pairs(16, 18)
    found = in_process(tmp_path, _FLOW, pairs)
    assert isinstance(found, Tensor)
    assert torch.equal(found[0], torch.zeros(2, 16, 18))
    method = cv2.optflow.DualTVL1OpticalFlow_create()  # type: ignore[attr-defined]
    method.setWarpingsNumber(1)
    expected = method.calc(*(images[1].numpy() for images in pairs), None).transpose(2, 0, 1)
    assert np.abs(expected).mean() > 0.3
    assert np.hypot(*(found[1].numpy() - expected)).mean() < 0.05
    torch.testing.assert_close(found, tvl1(*pairs), rtol=0, atol=0.02)


@pytest.mark.skipif(
    importlib.util.find_spec("triton.backends.nvidia") is None,
    reason="this Triton has no compiler for CUDA",
)
def test_kernels_compile_without_a_gpu(tmp_path: Path) -> None:
    """The interpreter lets pass what the compiler does not."""
    sizes = in_process(tmp_path, _COMPILE, None, interpret=False)
    assert isinstance(sizes, list)
    assert len(sizes) == 2
    assert min(sizes) > 1000


def test_a_gpu_gets_the_kernels_where_triton_is_new_enough(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    place = "aqakit.extract.tvl1_triton"
    triton = importlib.import_module("triton")
    monkeypatch.delitem(sys.modules, place, raising=False)
    assert module._refine_for(torch.device("cuda")) is importlib.import_module(place).refine
    monkeypatch.delitem(sys.modules, place)
    monkeypatch.setattr(triton, "__version__", "3.3.1")
    assert module._refine_for(torch.device("cuda")) is refine_batch
    monkeypatch.setitem(sys.modules, place, None)
    assert module._refine_for(torch.device("cuda")) is refine_batch
    assert module._refine_for(torch.device("mps")) is refine_batch


@needs_gpu
def test_a_gpu_finds_the_flow_of_the_processor() -> None:
    first, second = two_pairs(120, 160)
    on_gpu = tvl1(first.cuda(), second.cuda()).cpu()
    error = (on_gpu - tvl1(first, second)).norm(dim=1)
    assert torch.equal(on_gpu[0], torch.zeros(2, 120, 160))
    assert error.mean() < 0.05
    assert error.quantile(0.95) < 0.5


@needs_gpu
def test_on_a_gpu_a_pair_of_a_batch_has_the_bits_that_it_has_alone() -> None:
    first, second = (images.cuda() for images in two_pairs(75, 101))
    together = tvl1(first, second)
    assert torch.equal(together, tvl1(first, second))
    for number in range(2):
        one = slice(number, number + 1)
        assert torch.equal(together[one], tvl1(first[one], second[one]))


@needs_gpu
def test_on_a_gpu_kernels_equal_plain_pytorch() -> None:
    first, second = (images.cuda() for images in two_pairs(75, 101))
    with torch.no_grad():
        plain = module._pyramid_flow(first, second, refine_batch)
    error = (tvl1(first, second) - plain).norm(dim=1)
    assert error.mean() < 0.05


@needs_gpu
def test_a_stream_on_a_gpu_gives_flow_in_order() -> None:
    image = texture(64, 110)
    frames = [image[:, step : step + 96] for step in range(6)]
    pairs = np.array([[n, n + 1] for n in range(5)])
    with TVL1(method="torch", device="cuda") as on_gpu, TVL1(1, "torch") as on_cpu:
        found = []
        for engine in (on_gpu, on_cpu):
            stream = FlowStream(engine, pairs)
            flows = [each for number, f in enumerate(frames) for each in stream.push(number, f)]
            found.append(flows + list(stream.finish()))
    for (position, flow), (expected_position, expected) in zip(*found, strict=True):
        assert position == expected_position
        assert np.hypot(*np.moveaxis(flow - expected, 2, 0)).mean() < 0.05
