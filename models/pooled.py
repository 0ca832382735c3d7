"""Heads that see a video as one vector, whatever its length, and score it with scikit-learn.

:class:`PooledHead` is what such heads have in common; a file of ``heads/`` gives it an estimator and
a :class:`.pooling.Pooling`.
"""

import json
import zipfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import skops.io
from numpy.typing import NDArray
from skops.io.exceptions import UntrustedTypesFoundException

from ..features.errors import RecipeError
from .data import Targets, VideoFeatures, channels_of
from .head import DEFAULT_SESSION, ONE_FEATURE, EpochLog, Explanation, Session
from .pooling import Pooling
from .reading import Reading
from .searched import NothingHeldOutError, Searched

STEP_READINGS: Mapping[str, Reading] = {
    "contribution": Reading(
        "contribution to the score",
        "What the step adds to the score; below 0 it takes from it.",
        "value",
        "both",
    ),
    "occlusion": Reading(
        "worth to the score",
        "How much lower the score would be without what the step shows; below 0 it would be higher.",
        "value",
        "both",
    ),
}
_FILE = "estimator.skops"
# For people; the estimator holds the same.
_SEARCH_FILE = "search.json"
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
        fit: fits an estimator, or a :class:`.searched.Searched` one, to (V, D) pooled videos.
        estimator: its class.
        pooling: what the D numbers of a video are.
        linear: whether the estimator's score is linear in them.
        trusted: classes, beside scikit-learn's, that its file may hold.
    """

    fit: Fit
    estimator: type
    pooling: Pooling
    linear: bool
    trusted: Sequence[type] = ()


class PooledHead:
    """Scores a video by the numbers that pooling makes of its segments.

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
        try:
            self._estimator = self._kind.fit(self._pooled(videos), targets)
        except NothingHeldOutError as error:
            raise RecipeError(
                f"search=grid cannot try its settings, {error} within the training part; give it "
                "more pairs or scores, or set search=none"
            ) from None
        return []

    def score(self, videos: Sequence[VideoFeatures]) -> NDArray[np.float64]:
        """(V,) scores."""
        rows = self._pooled(videos)
        expected = self._trained.n_features_in_
        if rows.shape[1] != expected:
            raise RecipeError(
                f"video '{videos[0].id}' has {videos[0].values.shape[1]} channels and the head was "
                f"trained on {expected // self._kind.pooling.per_channel}; give it the feature "
                "that the run was trained on"
            )
        return np.asarray(self._estimator.predict(rows), np.float64)

    def explain(self, video: VideoFeatures) -> Explanation:
        """How much each segment adds to the score.

        A linear score is the sum of its segments' contributions and of an offset, exactly (see
        :meth:`.pooling.Pooling.shares`). For another one it is occlusion: the score less that of the
        video without the segment; these do not sum up. Notes are the settings that a search chose.
        """
        score = float(self.score([video])[0])
        values, pooling = np.asarray(video.values, np.float64), self._kind.pooling
        if self._kind.linear:
            parts = pooling.shares(values)
            offset = float(self._estimator.predict(np.zeros_like(parts[:1]))[0])
            curves = {"contribution": self._estimator.predict(parts) - offset}
            scores = {"offset": offset}
        else:
            curves = {"occlusion": score - self._estimator.predict(pooling.without_each(values))}
            scores = {"score": score}
        return Explanation(video.times, curves, scores, notes=self._chosen())

    def save(self, folder: Path) -> None:
        """Write the estimator with skops, which loads nothing but known classes.

        A search also writes ``search.json``: settings chosen and tried, the share of held-out pairs
        that each of them orders rightly, and how many pairs and folds that are.
        """
        skops.io.dump(self._trained, folder / _FILE)
        if isinstance(self._estimator, Searched):
            text = json.dumps(_record(self._estimator), indent=1)
            (folder / _SEARCH_FILE).write_text(text + "\n")

    def load(self, folder: Path) -> None:
        """Read it back.

        Raises:
            RecipeError: the file is missing, damaged, or holds other classes.
        """
        path = folder / _FILE
        trusted = [f"{kind.__module__}.{kind.__qualname__}" for kind in self._classes]
        try:
            found = skops.io.load(path, trusted=trusted)
        except _UNREADABLE as error:
            reason = (str(error) or type(error).__name__).splitlines()[0]
            raise RecipeError(
                f"{path} does not hold this head ({reason}); train it again"
            ) from None
        inner = found.estimator if isinstance(found, Searched) else found
        if not isinstance(inner, self._kind.estimator):
            raise RecipeError(
                f"{path} does not hold this head (it holds a {type(inner).__name__}); train it again"
            )
        self._estimator = found

    @property
    def _classes(self) -> Sequence[type]:
        return [Searched, *self._kind.trusted]

    @property
    def _trained(self) -> Any:
        if self._estimator is None:
            raise ValueError("the head is not trained; call fit or load first")
        return self._estimator

    def _pooled(self, videos: Sequence[VideoFeatures]) -> NDArray[np.float64]:
        channels_of(videos)
        return np.stack([self._kind.pooling.pool(video.values) for video in videos])

    def _chosen(self) -> dict[str, str]:
        if not isinstance(self._estimator, Searched):
            return {}
        chosen = _short(self._estimator.chosen_)
        return {name: format(value, "g") for name, value in chosen.items()}


def _record(searched: Searched) -> dict[str, Any]:
    return {
        "chosen": _short(searched.chosen_),
        "folds": searched.folds_,
        "held_out_pairs": searched.held_out_pairs_,
        "tried": [_short(tried) for tried in searched.tried_],
    }


def _short(settings: Mapping[str, float]) -> dict[str, float]:
    """Names as the user knows them, without those of the steps that they belong to."""
    return {name.rpartition("__")[2]: value for name, value in settings.items()}
