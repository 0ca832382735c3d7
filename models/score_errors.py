"""How far scores are from the labels, for heads whose scores are on the scale of the labels."""

import math

import numpy as np
from numpy.typing import NDArray

from .metrics import of_known


def mse(scores: NDArray[np.float64], truth: NDArray[np.float64]) -> float:
    """Mean squared error, in squared units of the labels.

    Args:
        scores: (V,).
        truth: (V,), nan where unknown; those videos are left out.

    Returns:
        0 or more; nan where no video is known.

    Raises:
        ValueError: shapes differ, or a score is not finite.
    """
    scores, truth = of_known(scores, truth)
    return float(np.square(scores - truth).mean()) if len(scores) else math.nan


def mae(scores: NDArray[np.float64], truth: NDArray[np.float64]) -> float:
    """Mean absolute error, in units of the labels; arguments as of :func:`mse`."""
    scores, truth = of_known(scores, truth)
    return float(np.abs(scores - truth).mean()) if len(scores) else math.nan


def relative_l2(
    scores: NDArray[np.float64],
    truth: NDArray[np.float64],
    label_range: tuple[float, float] | None = None,
) -> float:
    """Mean squared error after division by the range of the labels, which has no unit.

    The mean of ((score - truth) / (greatest - least))^2. Some papers print 100 times as much, see
    :func:`relative_l2_x100`.

    Args:
        scores: (V,).
        truth: (V,), nan where unknown; those videos are left out.
        label_range: least and greatest label of the action; None takes those of the known videos,
            which makes numbers of different test sets hard to compare.

    Returns:
        0 or more; nan where no video or no range is known, or the range has no width.

    Raises:
        ValueError: shapes differ, a score is not finite, or the least label is above the greatest.
    """
    squared = mse(scores, truth)
    if math.isnan(squared):
        return math.nan
    low, high = label_range or (float(np.nanmin(truth)), float(np.nanmax(truth)))
    if low > high:
        raise ValueError(f"label_range is {label_range}; it must be the least and greatest label")
    return squared / (high - low) ** 2 if high > low else math.nan


def relative_l2_x100(
    scores: NDArray[np.float64],
    truth: NDArray[np.float64],
    label_range: tuple[float, float] | None = None,
) -> float:
    """100 times :func:`relative_l2`, of the same arguments."""
    return 100 * relative_l2(scores, truth, label_range)
