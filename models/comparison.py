"""Whether one row of a table is better than another by more than chance.

Both rows must be of the same folds, or of the same tasks, and higher or lower may be better. Which test
fits depends on what varies: folds of one task share their training videos, tasks share none.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from statsmodels.stats.multitest import multipletests

Values = Sequence[float] | NDArray[np.float64]
Sizes = Sequence[int] | NDArray[np.int64]
# Numbers that differ by less than this share of the largest one differ by rounding alone.
_ROUNDING = 1e-12


@dataclass(frozen=True)
class Comparison:
    """Two rows against each other.

    Args:
        difference: mean of the first less the second; nan of none.
        statistic: of the test; nan where it says nothing.
        p_value: two-sided; nan where the test says nothing.
        compared: folds or tasks of which both rows have a number.
    """

    difference: float
    statistic: float
    p_value: float
    compared: int


def compare_over_folds(
    first: Values, second: Values, train_sizes: Sizes, test_sizes: Sizes
) -> Comparison:
    """Corrected resampled t-test over the folds of one task.

    Nadeau and Bengio, "Inference for the generalization error", Machine Learning 52, 2003. Folds
    share training videos, so their differences d_1 ... d_J vary together, and a plain paired t-test
    finds differences where there are none. Its variance of the mean, s^2 / J, becomes
    (1 / J + n_test / n_train) s^2, with J - 1 degrees of freedom.

    Args:
        first: (J,) of each fold, a mean over seeds; nan where it has none, that fold is left out.
        second: (J,) of the same folds.
        train_sizes: (J,) training videos of each fold; the correction takes their mean.
        test_sizes: (J,) test videos of each fold, likewise.

    Returns:
        With t as its statistic. Rows that are equal in every fold have t = 0 and p = 1. The test says
        nothing of fewer than two folds, nor where the same difference is in all of them.

    Raises:
        ValueError: other shapes, a number that is infinite, or a size below 1.
    """
    left, right, known = _paired(first, second)
    sizes = np.array(
        [_sizes("train_sizes", train_sizes, known), _sizes("test_sizes", test_sizes, known)]
    )
    steps, count = _in_steps(left, right), len(left)
    mean = float((left - right).mean()) if count else math.nan
    if count < 2 or np.ptp(steps) <= 1 and steps.any():
        return Comparison(mean, math.nan, math.nan, count)
    if not steps.any():
        return Comparison(0.0, 0.0, 1.0, count)
    train, test = sizes.mean(axis=1)
    statistic = mean / math.sqrt((1 / count + test / train) * (left - right).var(ddof=1))
    return Comparison(mean, statistic, float(2 * stats.t.sf(abs(statistic), count - 1)), count)


def compare_over_tasks(first: Values, second: Values) -> Comparison:
    """Wilcoxon's signed-rank test over tasks.

    Section 3.1.3 of Demsar, "Statistical comparisons of classifiers over multiple data sets", JMLR 7,
    2006. The ranks of tasks without a difference are split evenly between both rows, as there. The
    p-value is exact up to 13 tasks, and up to 50 where no two differences are of the same size and
    none is 0; else it is that of a normal approximation.

    Of fewer than six tasks no p-value is below 0.05, however large the differences.

    Args:
        first: (K,) of each task; nan where it has none, that task is left out.
        second: (K,) of the same tasks.

    Returns:
        With the smaller of both sums of ranks as its statistic. Rows that are equal in every task
        have p = 1. The test says nothing of no task.

    Raises:
        ValueError: other shapes, or a number that is infinite.
    """
    left, right, _ = _paired(first, second)
    steps, count = _in_steps(left, right), len(left)
    if not count:
        return Comparison(math.nan, math.nan, math.nan, 0)
    if not steps.any():
        return Comparison(0.0, count * (count + 1) / 4, 1.0, count)
    found = stats.wilcoxon(steps, zero_method="zsplit")
    mean = float((left - right).mean())
    return Comparison(mean, float(found.statistic), float(found.pvalue), count)


def adjusted(p_values: Values) -> NDArray[np.float64]:
    """P-values that stay honest when several comparisons are made at once.

    Holm's procedure (1979), which Demsar 2006 recommends: it bounds the chance that any of the
    differences found is none.

    Args:
        p_values: (N,) of all comparisons that were made; nan where a test said nothing, which does
            not count as one.

    Returns:
        (N,) to be compared with the level itself; nan where it was.

    Raises:
        ValueError: another shape, or a p-value outside [0, 1].
    """
    values = np.asarray(p_values, dtype=np.float64)
    known = ~np.isnan(values)
    if values.ndim != 1 or not ((values[known] >= 0) & (values[known] <= 1)).all():
        raise ValueError(f"p_values are {values.tolist()}; they must be (N,) and from 0 to 1")
    found = np.full_like(values, np.nan)
    if known.any():
        found[known] = multipletests(values[known], method="holm")[1]
    return found


def _paired(
    first: Values, second: Values
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.bool_]]:
    """Both where both are known, and where that is."""
    left, right = (np.asarray(row, dtype=np.float64) for row in (first, second))
    if left.ndim != 1 or left.shape != right.shape:
        raise ValueError(f"first {left.shape} and second {right.shape} must be as many")
    if np.isinf(left).any() or np.isinf(right).any():
        raise ValueError(f"first {left.tolist()} and second {right.tolist()} must be finite or nan")
    known = ~np.isnan(left) & ~np.isnan(right)
    return left[known], right[known], known


def _sizes(name: str, sizes: Sizes, known: NDArray[np.bool_]) -> NDArray[np.int64]:
    found = np.asarray(sizes)
    if found.shape != known.shape or (found < 1).any():
        raise ValueError(f"{name} are {found.tolist()}; they must be {len(known)}, each 1 or more")
    return found[known]


def _in_steps(left: NDArray[np.float64], right: NDArray[np.float64]) -> NDArray[np.float64]:
    """First less second as whole numbers of the smallest step, so that what should tie does."""
    size = np.abs([left, right]).max(initial=0)
    return np.asarray(np.round((left - right) / (size * _ROUNDING))) if size else left - right
