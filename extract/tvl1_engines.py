"""TV-L1 in PyTorch behind a queue: one pair a thread on the processor, batches elsewhere."""

from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import NamedTuple

import cv2
import numpy as np
import torch

from .flow import Flow, Grey
from .tvl1 import current, tvl1

# At about 120 bytes a pixel a batch takes 0.7 GB, and fills a large device even at coarse scales.
BATCH_PAIRS = 64
BATCH_PIXELS = 64 * 340 * 256


def engine(threads: int, device: str) -> "Threads | Batches":
    """What computes flow on a device; ``threads`` counts on the processor only."""
    place = torch.device(device)
    return Threads(threads) if place.type == "cpu" else Batches(place)


class Threads:
    """One pair a thread on the processor.

    Until ``close`` OpenCV runs single-threaded everywhere, PyTorch in these threads only: networks
    that run meanwhile keep all cores.
    """

    def __init__(self, threads: int) -> None:
        # Two waiting pairs a thread keep every thread busy.
        self.capacity = 2 * threads
        self._opencv_threads = cv2.getNumThreads()
        self._torch_threads = torch.get_num_threads()
        cv2.setNumThreads(1)
        # The number holds for the thread that sets it, and for threads made later on.
        self._pool = ThreadPoolExecutor(threads, "tvl1", torch.set_num_threads, (1,))

    def submit(self, first: Grey, second: Grey) -> Future[Flow]:
        """Start one pair."""
        return self._pool.submit(self._flow, first, second)

    def flush(self) -> None:
        """Nothing waits for others."""

    def close(self) -> None:
        """Drop what has not started, and give the libraries their threads back."""
        self._pool.shutdown(cancel_futures=True)
        cv2.setNumThreads(self._opencv_threads)
        torch.set_num_threads(self._torch_threads)

    @staticmethod
    def _flow(first: Grey, second: Grey) -> Flow:
        pair = (torch.from_numpy(np.ascontiguousarray(p))[None] for p in (first, second))
        flow: Flow = _channels_last(tvl1(*pair))[0]
        return flow


class _Waiting(NamedTuple):
    first: Grey
    second: Grey
    flow: Future[Flow]


class Batches:
    """Pairs of one size gathered into batches, which a thread hands to the device in order."""

    def __init__(self, device: torch.device) -> None:
        # One batch runs while the next gathers.
        self.capacity = 2 * BATCH_PAIRS
        self._device = device
        self._gathering: dict[tuple[int, ...], list[_Waiting]] = {}
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="tvl1")

    def submit(self, first: Grey, second: Grey) -> Future[Flow]:
        """Keep the pair until its batch is full or flushed."""
        size = (*first.shape, *second.shape)
        batch = self._gathering.setdefault(size, [])
        batch.append(_Waiting(first, second, Future()))
        if len(batch) >= min(BATCH_PAIRS, BATCH_PIXELS // first.size):
            self._start(self._gathering.pop(size))
        return batch[-1].flow

    def flush(self) -> None:
        """Start every batch as it is."""
        for size in list(self._gathering):
            self._start(self._gathering.pop(size))

    def close(self) -> None:
        """Drop what has not started; its futures are cancelled."""
        self._pool.shutdown(cancel_futures=True)
        for batch in self._gathering.values():
            for pair in batch:
                pair.flow.cancel()

    def _start(self, batch: list[_Waiting]) -> None:
        self._pool.submit(self._flows, batch).add_done_callback(partial(_hand_out, batch))

    def _flows(self, batch: list[_Waiting]) -> Flow:
        with current(self._device):  # else memory is pinned by way of the first device
            first = self._upload([pair.first for pair in batch])
            second = self._upload([pair.second for pair in batch])
            return _channels_last(tvl1(first, second).cpu())

    def _upload(self, pictures: list[Grey]) -> torch.Tensor:
        """(B, H, W) on the device, from memory that it can read by itself."""
        stack = torch.empty(
            (len(pictures), *pictures[0].shape),
            dtype=torch.uint8,
            pin_memory=self._device.type == "cuda",
        )
        np.stack(pictures, out=stack.numpy())
        return stack.to(self._device, non_blocking=True)


def _hand_out(batch: list[_Waiting], flows: Future[Flow]) -> None:
    """Pass the end of a batch, good or bad, on to each of its pairs."""
    for number, pair in enumerate(batch):
        if flows.cancelled():
            pair.flow.cancel()
        elif error := flows.exception():
            pair.flow.set_exception(error)
        else:
            # A copy, so that one flow that is kept does not keep the whole batch.
            pair.flow.set_result(flows.result()[number].copy())


def _channels_last(flow: torch.Tensor) -> Flow:
    """(B, H, W, 2) of (B, 2, H, W)."""
    values: Flow = flow.permute(0, 2, 3, 1).numpy()
    return np.ascontiguousarray(values)
