"""How much time goes wrong in a scripted performance, and when."""

import numpy as np


def shares(total: float, size: tuple[float, float], rng: np.random.Generator) -> list[float]:
    """Cut a total into parts within a range.

    A rest that is too small for a part becomes one with such a probability that the expected sum is
    the total.

    Args:
        total: to cut.
        size: the smallest part and the largest.
        rng: of the parts.
    """
    low, high = size
    parts: list[float] = []
    while total >= high:
        parts.append(float(rng.uniform(low, high)))
        total -= parts[-1]
    if total >= low:
        parts.append(total)
    elif rng.random() < total / low:
        parts.append(low)
    return parts


def stretches(
    total: float, size: tuple[float, float], seconds: float, rng: np.random.Generator
) -> list[tuple[float, float]]:
    """Spread a total over a performance, in stretches that do not overlap.

    Args:
        total: seconds of all stretches together, less than ``seconds``.
        size: of one stretch, from and to, in seconds.
        seconds: how long the performance is.
        rng: of lengths and places.

    Returns:
        Start and end of each in seconds, one after the other.
    """
    lengths = shares(total, size, rng)
    gaps = (rng.dirichlet(np.ones(len(lengths) + 1)) * (seconds - sum(lengths))).tolist()
    found, now = [], 0.0
    for gap, length in zip(gaps[:-1], lengths, strict=True):
        found.append((now + gap, now + gap + length))
        now += gap + length
    return found
