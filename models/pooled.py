"""Heads that see a video as one vector: statistics over its segments, then scikit-learn.

:class:`PooledHead` is what such heads have in common; a file of ``heads/`` gives it an estimator.
"""

import zipfile
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import skops.io
from numpy.typing import NDArray
from skops.io.exceptions import UntrustedTypesFoundException

from ..features.errors import RecipeError
from .data import Targets, VideoFeatures, channels_of
from .head import DEFAULT_SESSION, ONE_FEATURE, EpochLog, Explanation, Session

Pooling = Literal["mean", "mean-deviation"]
_FILE = "estimator.skops"
# What skops lets through of its parsers of a zip archive and of the JSON in it.
_UNREADABLE = (
    AttributeError,
    ImportError,
    LookupError,
    NotImplementedError,
    OSError,
    TypeError,
    UntrustedTypesFoundException,
    ValueError,
    zipfile.BadZipFile,
    zlib.error,
)


class Scorer(Protocol):
    """A fitted scikit-learn estimator."""

    def predict(self, X: NDArray[np.float64]) -> NDArray[np.float64]:
        """(n,) scores of (n, D) rows."""


Fit = Callable[[NDArray[np.float64], Targets], Scorer]


@dataclass(frozen=True)
class Kind:
    """What one head adds to :class:`PooledHead`.

    Args:
        fit: fits an estimator to (V, D) pooled videos.
        estimator: what ``fit`` gives.
        pooling: the statistics.
        linear: whether the estimator's score is linear in them.
        trusted: full names of the classes, beside scikit-learn's, that its file may hold.
    """

    fit: Fit
    estimator: type
    pooling: Pooling
    linear: bool
    trusted: Sequence[str] = ()


class PooledHead:
    """Scores the statistics of a video's segments.

    Args:
        kind: estimator and pooling.
    """

    roles = ONE_FEATURE

    def __init__(self, kind: Kind) -> None:
        self._kind = kind
        self._estimator: Any = None

    def fit(
        self, videos: Sequence[VideoFeatures], targets: Targets, session: Session = DEFAULT_SESSION
    ) -> list[EpochLog]:
        """Train from scratch; there are no epochs to log. See :class:`.head.Head`."""
        self._estimator = self._kind.fit(self._pooled(videos), targets)
        return []

    def score(self, videos: Sequence[VideoFeatures]) -> NDArray[np.float64]:
        """(V,) scores."""
        rows = self._pooled(videos)
        expected = self._trained.n_features_in_
        if rows.shape[1] != expected:
            raise RecipeError(
                f"video '{videos[0].id}' has {videos[0].values.shape[1]} channels and the head was "
                f"trained on {expected // _statistics(self._kind.pooling)}; give it the feature "
                "that the run was trained on"
            )
        return np.asarray(self._estimator.predict(rows), np.float64)

    def explain(self, video: VideoFeatures) -> Explanation:
        """How much each segment adds to the score.

        A linear score is the sum of its segments' contributions and of an offset, exactly (see
        :func:`shares`). For another one it is occlusion: the score less that of the video without
        the segment; these do not sum up.
        """
        score = float(self.score([video])[0])
        values = np.asarray(video.values, np.float64)
        if self._kind.linear:
            parts = shares(values, self._kind.pooling)
            offset = float(self._estimator.predict(np.zeros_like(parts[:1]))[0])
            curve = self._estimator.predict(parts) - offset
            return Explanation(video.times, {"contribution": curve}, {"offset": offset})
        curve = score - self._estimator.predict(without_each(values, self._kind.pooling))
        return Explanation(video.times, {"occlusion": curve}, {"score": score})

    def save(self, folder: Path) -> None:
        """Write the estimator with skops, which loads nothing but known classes."""
        skops.io.dump(self._trained, folder / _FILE)

    def load(self, folder: Path) -> None:
        """Read it back.

        Raises:
            RecipeError: the file is missing, damaged, or holds other classes.
        """
        path = folder / _FILE
        try:
            found = skops.io.load(path, trusted=list(self._kind.trusted))
        except _UNREADABLE as error:
            reason = (str(error) or type(error).__name__).splitlines()[0]
            raise RecipeError(
                f"{path} does not hold this head ({reason}); train it again"
            ) from None
        if not isinstance(found, self._kind.estimator):
            raise RecipeError(
                f"{path} does not hold this head (it holds a {type(found).__name__}); train it again"
            )
        self._estimator = found

    @property
    def _trained(self) -> Any:
        if self._estimator is None:
            raise ValueError("the head is not trained; call fit or load first")
        return self._estimator

    def _pooled(self, videos: Sequence[VideoFeatures]) -> NDArray[np.float64]:
        channels_of(videos)
        return np.stack([pool(video.values, self._kind.pooling) for video in videos])


def pool(values: NDArray[Any], pooling: Pooling) -> NDArray[np.float64]:
    """(D,) statistics of (T, C) segments: D = C means, then C standard deviations."""
    mean = values.mean(axis=0, dtype=np.float64)
    if pooling == "mean":
        return np.asarray(mean)
    return np.concatenate([mean, values.std(axis=0, dtype=np.float64)])


def shares(values: NDArray[np.float64], pooling: Pooling) -> NDArray[np.float64]:
    """(T, D) what each segment adds to each statistic; they sum to :func:`pool`.

    A mean is the sum of x_t / T. A standard deviation s is the sum of (x_t - mean)^2 / (T s), given
    mean and s; where s is 0, so is every share.
    """
    count = len(values)
    if pooling == "mean":
        return values / count
    deviation = values.std(axis=0)
    squares = (values - values.mean(axis=0)) ** 2
    ratio = np.divide(squares, deviation, out=np.zeros_like(squares), where=deviation > 0)
    return np.concatenate([values, ratio], axis=1) / count


def without_each(values: NDArray[np.float64], pooling: Pooling) -> NDArray[np.float64]:
    """(T, D) statistics of the video without each of its segments; of the one that it has, if so."""
    if len(values) == 1:
        return pool(values, pooling)[None]
    # Sums less one term, of values about their mean: sums of raw squares would lose the digits.
    mean, rest = values.mean(axis=0), len(values) - 1
    centred = values - mean
    shift = -centred / rest  # (T, C) from the mean of all to the mean without one
    if pooling == "mean":
        return np.asarray(mean + shift)
    squares = ((centred**2).sum(axis=0) - centred**2) / rest
    return np.concatenate([mean + shift, np.sqrt((squares - shift**2).clip(min=0))], axis=1)


def _statistics(pooling: Pooling) -> int:
    return {"mean": 1, "mean-deviation": 2}[pooling]
