"""TV-L1 optical flow between frames of a stream, on all cores or on an accelerator.

The method is that of Zach et al. 2007 in OpenCV's ``DualTVL1OpticalFlow`` with its default
parameters, computed by OpenCV itself or by ``tvl1`` in PyTorch. On the processor both keep only
part of their threads busy on pictures of this size, so pairs are computed side by side, one thread
each; other devices get pairs in batches. Either way flow is given out in order.
"""

import os
import threading
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Protocol, Self, get_args

import cv2
import numpy as np
from numpy.typing import NDArray

from ..features.spec import FlowMethod

Grey = NDArray[np.uint8]
Flow = NDArray[np.float32]
Method = FlowMethod


def grey(image: NDArray[np.uint8]) -> Grey:
    """(H, W) luma of an (H, W, 3) RGB picture, 0..255."""
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), dtype=np.uint8)


class _Engine(Protocol):
    """What computes flow, between its making and ``close``."""

    capacity: int

    def submit(self, first: Grey, second: Grey) -> Future[Flow]: ...

    def flush(self) -> None: ...

    def close(self) -> None: ...


class TVL1:
    """Computes flow in the background; use it as a context manager.

    While it is entered and works on the processor, OpenCV runs single-threaded, because the pairs
    themselves run side by side.

    Args:
        threads: pairs computed at once on the processor, whose cores are the default.
        method: "opencv", or "torch" for the same algorithm in PyTorch.
        device: where PyTorch works, as it names devices; OpenCV works on "cpu" only.

    Raises:
        ValueError: unknown method, or OpenCV on another device than "cpu".
    """

    def __init__(
        self, threads: int | None = None, method: Method = "opencv", device: str = "cpu"
    ) -> None:
        if method not in get_args(Method):
            raise ValueError(f"method is {method!r}; must be one of {', '.join(get_args(Method))}")
        if method == "opencv" and device != "cpu":
            raise ValueError(f"device is {device!r}; method 'opencv' works on 'cpu' only")
        self._threads = threads or len(os.sched_getaffinity(0))
        self._method = method
        self._device = device

    @property
    def name(self) -> str:
        """Library and version that compute the flow."""
        if self._method == "opencv":
            return f"opencv {cv2.__version__}"
        import torch

        return f"torch {torch.__version__.split('+')[0]}"

    @property
    def capacity(self) -> int:
        """Pairs that may wait, so that all threads or the device stay busy and memory bounded."""
        return self._engine.capacity

    def __enter__(self) -> Self:
        self._engine: _Engine
        if self._method == "opencv":
            self._engine = _OpenCV(self._threads)
        else:
            # Here and not above: OpenCV's users need not wait for PyTorch to load.
            from .tvl1_engines import engine

            self._engine = engine(self._threads, self._device)
        return self

    def __exit__(self, *_: object) -> None:
        self._engine.close()

    def submit(self, first: Grey, second: Grey) -> Future[Flow]:
        """Start the flow of one pair, or keep the pair until a batch is full.

        Args:
            first: (H, W) grey, 0..255.
            second: the later picture of the same size.

        Returns:
            Future of (H, W, 2) x and y displacement in pixels from the first to the second. It
            may wait for ever unless ``flush`` follows the last pair.
        """
        return self._engine.submit(first, second)

    def flush(self) -> None:
        """Start what waits for a batch to fill."""
        self._engine.flush()


class _OpenCV:
    """One pair a thread."""

    def __init__(self, threads: int) -> None:
        # Two waiting pairs a thread keep every thread busy.
        self.capacity = 2 * threads
        self._local = threading.local()
        self._opencv_threads = cv2.getNumThreads()
        cv2.setNumThreads(1)
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="tvl1")

    def submit(self, first: Grey, second: Grey) -> Future[Flow]:
        return self._pool.submit(self._flow, first, second)

    def flush(self) -> None:
        """Nothing waits."""

    def close(self) -> None:
        self._pool.shutdown(cancel_futures=True)
        cv2.setNumThreads(self._opencv_threads)

    def _flow(self, first: Grey, second: Grey) -> Flow:
        method = getattr(self._local, "method", None)
        if method is None:
            # OpenCV's object holds its pyramids, so threads must not share one.
            method = self._local.method = _create()
        return np.asarray(method.calc(first, second, None), dtype=np.float32)


def _create() -> Any:
    return cv2.optflow.DualTVL1OpticalFlow_create()  # type: ignore[attr-defined]


class FlowStream:
    """Turns a stream of pictures into the stream of flow fields between pairs of them.

    Args:
        tvl1: an entered pool.
        pairs: (P, 2) frame numbers, ordered by the later of each pair. A pair of a frame with
            itself, which padding makes, has zero flow and costs nothing.
    """

    def __init__(self, tvl1: TVL1, pairs: NDArray[np.int64]) -> None:
        self._tvl1 = tvl1
        self._pairs = [(int(a), int(b)) for a, b in pairs]
        self._last_use: dict[int, int] = {}
        for position, pair in enumerate(self._pairs):
            for frame in pair:
                self._last_use[frame] = position
        self._pictures: dict[int, Grey] = {}
        self._started = 0
        # Pair number, and its flow to come or, for a still pair, flow at once.
        self._running: deque[tuple[int, Future[Flow] | _Still]] = deque()
        self._waiting = 0

    @property
    def wanted(self) -> frozenset[int]:
        """Numbers of all frames that some pair needs."""
        return frozenset(self._last_use)

    def push(self, number: int, picture: Grey) -> Iterator[tuple[int, Flow]]:
        """Take an (H, W) picture; give out finished fields as (pair number, flow), in order."""
        if number in self._last_use:
            self._pictures[number] = picture
        while self._started < len(self._pairs) and max(self._pairs[self._started]) <= number:
            self._start(self._started)
            self._started += 1
        yield from self._finished(may_wait=self._tvl1.capacity)

    def finish(self) -> Iterator[tuple[int, Flow]]:
        """Give out the rest."""
        self._tvl1.flush()
        yield from self._finished(may_wait=0)

    def _start(self, position: int) -> None:
        first, second = self._pairs[position]
        if first == second:
            self._running.append((position, _Still(self._pictures[first].shape)))
        else:
            future = self._tvl1.submit(self._pictures[first], self._pictures[second])
            self._running.append((position, future))
            self._waiting += 1
        for frame in {first, second}:
            if self._last_use[frame] == position:
                del self._pictures[frame]

    def _finished(self, may_wait: int) -> Iterator[tuple[int, Flow]]:
        # Only submitted pairs count: with ``capacity`` of them, the oldest is sure to be started.
        while self._running and (self._waiting > may_wait or self._running[0][1].done()):
            position, flow = self._running.popleft()
            self._waiting -= isinstance(flow, Future)
            yield position, flow.result()


class _Still:
    """The flow of a frame to itself, which takes memory only once it is asked for."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self._shape = shape

    def done(self) -> bool:
        return True

    def result(self) -> Flow:
        return np.zeros((*self._shape, 2), dtype=np.float32)
