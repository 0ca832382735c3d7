"""Asking for rows of arrays that are mapped from files before they are touched.

A page that is touched first is fetched by a page fault, and the system then reads on around it, by
megabytes on some machines: whoever picks some of many large rows reads most of the file. A range that
was asked for is read as it is and by large requests, and touching it finds its pages.
"""

import mmap
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Below this a system call costs more than the pages that are read in vain.
_LEAST_BYTES = 1 << 16
# What a request is always granted; where the system reads less at a time, a larger one is cut short.
_REQUEST_BYTES = 1 << 17


def will_need(array: NDArray[Any], rows: Iterable[int]) -> None:
    """Ask the system to read some rows of an array into memory, and nothing around them.

    Does nothing for an array that no file is mapped to, or whose rows are small.

    Args:
        array: (N, ...).
        rows: from 0 to N - 1.
    """
    row_bytes = array.nbytes // max(1, len(array))
    memory = _memory_of(array)
    if memory is None or row_bytes < _LEAST_BYTES or not array.flags.c_contiguous:
        return
    first = array.ctypes.data - np.frombuffer(memory, np.uint8, 1).ctypes.data
    for row in rows:
        stop = first + (row + 1) * row_bytes
        begin = (first + row * row_bytes) // mmap.PAGESIZE * mmap.PAGESIZE
        for start in range(begin, stop, _REQUEST_BYTES):
            memory.madvise(mmap.MADV_WILLNEED, start, min(_REQUEST_BYTES, stop - start))


def _memory_of(array: NDArray[Any]) -> mmap.mmap | None:
    """The mapped file that an array looks into."""
    base: Any = array
    while isinstance(base, np.ndarray):
        base = base.base
    if isinstance(base, memoryview):
        base = base.obj
    mapped = isinstance(base, mmap.mmap) and hasattr(base, "madvise")
    return base if mapped else None
