"""What runs inside a reader process."""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from typing import Any

import cv2
import torch
from torch.utils.data import IterableDataset

from .flow import TVL1, Method
from .reading import Items, Message, read


class Videos(IterableDataset[Message]):
    """The messages of the videos that come through a pipe, until None comes or nothing can.

    Args:
        jobs: end of a pipe that gives a ``reading.Job`` each.
        method: how flow is computed.
    """

    def __init__(self, jobs: Any, method: Method) -> None:
        super().__init__()
        self._jobs = jobs
        self._method: Method = method

    def __iter__(self) -> Iterator[Message]:
        """Read one video after the other, on one core."""
        cv2.setNumThreads(1)
        # An end of the file is the end of the process that gave the videos.
        with TVL1(1, self._method) as tvl1, suppress(EOFError):
            while (job := self._jobs.recv()) is not None:
                for message in read(job, tvl1):
                    yield _shared(message)


def _shared(message: Message) -> Message:
    """The message with its pictures as a tensor, which travels through shared memory."""
    if isinstance(message, Items):
        return replace(message, pictures=torch.from_numpy(message.pictures))
    return message
