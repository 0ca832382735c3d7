"""TV-L1 optical flow between frames of a stream, on all cores.

The method is that of Zach et al. 2007 in OpenCV's ``DualTVL1OpticalFlow`` with its default
parameters. OpenCV keeps only part of its threads busy on pictures of this size, so pairs are
computed side by side, one thread each, and given out in order.
"""

import os
import threading
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Self

import cv2
import numpy as np
from numpy.typing import NDArray

Flow = NDArray[np.float32]


def grey(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(H, W) luma of an (H, W, 3) RGB picture, 0..255."""
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), dtype=np.uint8)


class TVL1:
    """A pool of threads that compute flow; use it as a context manager.

    Args:
        threads: pairs computed at once; the processor's cores by default.
    """

    def __init__(self, threads: int | None = None) -> None:
        self.threads = threads or len(os.sched_getaffinity(0))
        self._local = threading.local()

    def __enter__(self) -> Self:
        self._opencv_threads = cv2.getNumThreads()
        cv2.setNumThreads(1)
        self._pool = ThreadPoolExecutor(self.threads, thread_name_prefix="tvl1")
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(cancel_futures=True)
        cv2.setNumThreads(self._opencv_threads)

    def submit(self, first: NDArray[np.uint8], second: NDArray[np.uint8]) -> Future[Flow]:
        """Start the flow of one pair.

        Args:
            first: (H, W) grey, 0..255.
            second: the later picture of the same size.

        Returns:
            Future of (H, W, 2) x and y displacement in pixels from the first to the second.
        """
        return self._pool.submit(self._flow, first, second)

    def _flow(self, first: NDArray[np.uint8], second: NDArray[np.uint8]) -> Flow:
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
        self._pictures: dict[int, NDArray[np.uint8]] = {}
        self._started = 0
        self._running: deque[tuple[int, Future[Flow]]] = deque()

    @property
    def wanted(self) -> frozenset[int]:
        """Numbers of all frames that some pair needs."""
        return frozenset(self._last_use)

    def push(self, number: int, image: NDArray[np.uint8]) -> Iterator[tuple[int, Flow]]:
        """Take an (H, W, 3) picture; give out finished fields as (pair number, flow), in order."""
        if number in self._last_use:
            self._pictures[number] = grey(image)
        while self._started < len(self._pairs) and max(self._pairs[self._started]) <= number:
            self._start(self._started)
            self._started += 1
        # Two waiting pairs a thread keep every thread busy and memory bounded.
        yield from self._finished(leave_running=2 * self._tvl1.threads)

    def finish(self) -> Iterator[tuple[int, Flow]]:
        """Give out the rest."""
        yield from self._finished(leave_running=0)

    def _start(self, position: int) -> None:
        first, second = self._pairs[position]
        if first == second:
            future: Future[Flow] = Future()
            future.set_result(np.zeros((*self._pictures[first].shape, 2), dtype=np.float32))
        else:
            future = self._tvl1.submit(self._pictures[first], self._pictures[second])
        self._running.append((position, future))
        for frame in {first, second}:
            if self._last_use[frame] == position:
                del self._pictures[frame]

    def _finished(self, leave_running: int) -> Iterator[tuple[int, Flow]]:
        while self._running and (len(self._running) > leave_running or self._running[0][1].done()):
            position, future = self._running.popleft()
            yield position, future.result()
