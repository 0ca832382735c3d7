"""TV-L1 flow in PyTorch against OpenCV's, in speed and in what comes out.

Both compute the flow of the same consecutive frames at 340 x 256. On the processor each has all
cores and the two take turns, a block of pairs at a time, so that both meet the same machine; the
figure is the ratio of their speeds over all blocks. Where there is a CUDA device, it computes the
pairs in batches, again and again for some seconds. The error is the distance in pixels between the
two ends of a flow vector.

A machine without opencv-contrib can read OpenCV's flow from a file that another has written with
the same option. The file holds the frames too.
"""

import argparse
import itertools
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import av
import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from aqakit.extract.flow import TVL1, Flow, Grey, Method
from aqakit.extract.tvl1 import tvl1
from aqakit.extract.tvl1_engines import BATCH_PAIRS

WIDTH, HEIGHT = 340, 256
Pair = tuple[Grey, Grey]


class Reference(NamedTuple):
    """Pairs of frames, and OpenCV's flow between them."""

    pairs: list[Pair]
    flows: list[Flow]
    pairs_per_second: float | None


def main() -> None:
    """Print the table and, as the last line, the figures as JSON."""
    options = _options()
    if options.reference and options.reference.exists():
        reference = _read(options.reference)
        torch_flows, torch_speed = _on_all_cores("torch", reference.pairs)
        ratio = None
    else:
        pairs = list(_pairs(options.frames, options.pairs))
        reference, torch_flows, torch_speed, ratio = _compare(pairs, options.block)
        if options.reference:
            _write(options.reference, reference)
    errors = _errors(torch_flows, reference.flows)
    cuda = _on_cuda(reference, options.seconds) if torch.cuda.is_available() else None
    _print(reference.pairs_per_second, torch_speed, errors, cuda)
    figures = {
        "pairs": len(reference.pairs),
        "opencv_pairs_per_second": reference.pairs_per_second,
        "torch_cpu_pairs_per_second": torch_speed,
        "torch_cpu_to_opencv": ratio,
        "mean_epe_px": float(errors.mean()),
        "p95_epe_px": float(np.percentile(errors, 95)),
        "cuda_pairs_per_second": cuda[0] if cuda else None,
        "cuda_mean_epe_px": float(cuda[1].mean()) if cuda else None,
    }
    print(json.dumps({name: _rounded(value) for name, value in figures.items()}))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=Path, help="folder of videos; default: generated frames")
    parser.add_argument("--pairs", type=int, default=24, help="of consecutive frames, in all")
    parser.add_argument("--block", type=int, default=8, help="pairs between two turns")
    parser.add_argument("--seconds", type=float, default=5.0, help="of the CUDA measurement")
    parser.add_argument("--reference", type=Path, help=".npz of OpenCV's flow, read if it is there")
    return parser.parse_args()


def _pairs(folder: Path | None, count: int) -> Iterator[Pair]:
    if folder is None:
        yield from itertools.islice(_generated(), count)
        return
    files = sorted(path for path in folder.iterdir() if path.is_file())
    for number, path in enumerate(files):
        # Files take equal shares of the count, as nearly as it goes.
        share = count * (number + 1) // len(files) - count * number // len(files)
        yield from itertools.islice(itertools.pairwise(_video(path)), share)


def _video(path: Path) -> Iterator[Grey]:
    """Grey frames of a video from the 21st on, where fading in is over."""
    with av.open(str(path)) as container:
        for frame in itertools.islice(container.decode(video=0), 20, None):
            image = frame.to_ndarray(format="gray")
            small = cv2.resize(image, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA)
            yield np.asarray(small, dtype=np.uint8)


def _generated() -> Iterator[Pair]:
    """Texture that moves, turns and grows, each pair in its own way."""
    random = np.random.default_rng(0)
    while True:
        noise = random.random((HEIGHT, WIDTH)).astype(np.float32)
        smooth = cv2.GaussianBlur(noise, (0, 0), 2)
        first = np.asarray(
            255 * (smooth - smooth.min()) / (smooth.max() - smooth.min()), dtype=np.uint8
        )
        angle, zoom = random.normal(0, 1), random.normal(1, 0.01)
        turn = cv2.getRotationMatrix2D((WIDTH / 2, HEIGHT / 2), angle, zoom)
        turn[:, 2] = turn[:, 2] + random.normal(0, 2, 2)
        second = cv2.warpAffine(first, turn, (WIDTH, HEIGHT), borderMode=cv2.BORDER_REFLECT)
        yield first, np.asarray(second, dtype=np.uint8)


def _compare(pairs: list[Pair], block: int) -> tuple[Reference, list[Flow], float, float]:
    """Flow of OpenCV and PyTorch, PyTorch's pairs a second, and the ratio to OpenCV's."""
    flows: dict[Method, list[Flow]] = {"opencv": [], "torch": []}
    seconds: dict[Method, float] = {"opencv": 0.0, "torch": 0.0}
    for turn, start in enumerate(range(0, len(pairs), block)):
        part = pairs[start : start + block]
        # Each goes first every other time.
        for method in list(flows)[:: 1 - turn % 2 * 2]:
            found, speed = _on_all_cores(method, part)
            flows[method] += found
            seconds[method] += len(part) / speed
    ratio = seconds["opencv"] / seconds["torch"]
    reference = Reference(pairs, flows["opencv"], len(pairs) / seconds["opencv"])
    return reference, flows["torch"], len(pairs) / seconds["torch"], ratio


def _on_all_cores(method: Method, pairs: list[Pair]) -> tuple[list[Flow], float]:
    """Flow, and pairs a second."""
    with TVL1(method=method) as engine:
        # The first call of a process loads and allocates.
        engine.submit(*(image[:32, :32] for image in pairs[0])).result()
        begin = time.perf_counter()
        futures = [engine.submit(*pair) for pair in pairs]
        engine.flush()
        flows = [future.result() for future in futures]
        return flows, len(pairs) / (time.perf_counter() - begin)


def _on_cuda(reference: Reference, seconds: float) -> tuple[float, NDArray[np.float32]]:
    """Pairs a second, with pictures and flow on the device, and errors against OpenCV."""
    count = len(reference.pairs)
    order = torch.arange(-(-count // BATCH_PAIRS) * BATCH_PAIRS) % count
    first, second = (
        torch.from_numpy(np.stack(images))[order].cuda()
        for images in zip(*reference.pairs, strict=True)
    )
    batches = list(zip(first.split(BATCH_PAIRS), second.split(BATCH_PAIRS), strict=True))
    # This round compiles the kernels too.
    flow = torch.cat([tvl1(*batch) for batch in batches])[:count].permute(0, 2, 3, 1)
    errors = _errors(list(flow.cpu().numpy()), reference.flows)
    torch.cuda.synchronize()
    begin, rounds = time.perf_counter(), 0
    while time.perf_counter() - begin < seconds:
        for batch in batches:
            tvl1(*batch)
        torch.cuda.synchronize()
        rounds += 1
    return rounds * len(order) / (time.perf_counter() - begin), errors


def _errors(ours: list[Flow], theirs: list[Flow]) -> NDArray[np.float32]:
    """End-point error of every pixel of every pair."""
    difference = np.stack(ours) - np.stack(theirs)
    return np.asarray(np.hypot(difference[..., 0], difference[..., 1]), dtype=np.float32)


def _write(path: Path, reference: Reference) -> None:
    first, second = (np.stack(images) for images in zip(*reference.pairs, strict=True))
    speed = reference.pairs_per_second
    np.savez(path, first=first, second=second, flow=np.stack(reference.flows), speed=speed or 0)


def _read(path: Path) -> Reference:
    """The speed of another machine is left out: it says nothing about this one."""
    with np.load(path) as file:
        pairs = list(zip(file["first"], file["second"], strict=True))
        return Reference(pairs, list(file["flow"]), None)


def _print(
    opencv_speed: float | None,
    torch_speed: float,
    errors: NDArray[np.float32],
    cuda: tuple[float, NDArray[np.float32]] | None,
) -> None:
    print(f"{'':<12}{'pairs/s':>10}{'mean px':>10}{'95 % px':>10}")
    if opencv_speed:
        print(f"{'opencv':<12}{opencv_speed:>10.2f}{0:>10.4f}{0:>10.4f}")
    rows = {"torch cpu": (torch_speed, errors), **({"torch cuda": cuda} if cuda else {})}
    for name, (speed, error) in rows.items():
        print(f"{name:<12}{speed:>10.2f}{error.mean():>10.4f}{np.percentile(error, 95):>10.4f}")


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 5)


if __name__ == "__main__":
    main()
