"""Learning rates by epoch."""

from collections.abc import Sequence

from .network import Rate


def constant(rate: float) -> Rate:
    """The same rate in every epoch."""
    return lambda epoch: rate


def cycle(rates: Sequence[float], ends: Sequence[int]) -> Rate:
    """Several rates one after the other, again and again (Gao et al., ECCV 2020, section 5.1).

    Args:
        rates: ``rates[i]`` holds in the epochs before ``ends[i]`` that no earlier one holds in.
        ends: epochs within a cycle, from 0 and increasing; the last is the length of a cycle.

    Raises:
        ValueError: no rate, as many ends as rates are needed, or ends that do not increase from 1.
    """
    if not rates or len(rates) != len(ends):
        raise ValueError(f"{len(rates)} rates for {len(ends)} ends; give each rate an end")
    if any(end <= start for start, end in zip((0, *ends[:-1]), ends, strict=True)):
        raise ValueError(f"ends are {tuple(ends)}; they must be at least 1 and increase")
    by_epoch = [
        rate
        for rate, start, end in zip(rates, (0, *ends[:-1]), ends, strict=True)
        for _ in range(start, end)
    ]
    return lambda epoch: by_epoch[epoch % len(by_epoch)]


def step_decay(rate: float, factor: float, every: int) -> Rate:
    """A rate that is multiplied by ``factor`` after every so many epochs.

    Raises:
        ValueError: ``every`` is less than 1.
    """
    if every < 1:
        raise ValueError(f"every is {every}; it must be at least 1")
    return lambda epoch: float(rate * factor ** (epoch // every))
