"""What a head is: a model that scores videos from their cached features, and says why.

A file of ``heads/`` is a head. It defines ``Options``, a frozen dataclass of its settings; ``ROLES``,
the features that it looks at; ``LEARNS_FROM``, whether it learns from ``pairs`` or from ``scores``,
in which case its scores are on the scale of the labels and errors between the two mean something;
``READINGS``, how a person reads each curve of its explanations (``reading.py``); and
``build(options: Options, seed: int, device: str) -> Head``. Its options, with the seed, and what
``save`` wrote make the same head again.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from .data import Targets, VideoFeatures

HEADS = f"{__package__}.heads"
OnEpoch = Callable[[int, int, Mapping[str, float]], None]
Precision = Literal["float32", "bfloat16", "float64"]
LearnsFrom = Literal["pairs", "scores"]
EpochLog = dict[str, float]


def no_report(epoch: int, epochs: int, losses: Mapping[str, float]) -> None:
    """Report nothing."""


@dataclass(frozen=True)
class Role:
    """A feature that a head looks at.

    Args:
        name: what the user calls it; ``features`` where a head has one alone.
        meaning: for the message that it is missing.
        axes: of one row: 1 for a vector, 3 for maps (C, H, W).
        optional: whether the head works without it.
        many: whether it may be given several times; then it is ``<name>-1``, ``<name>-2``, ...
    """

    name: str
    meaning: str
    axes: int = 1
    optional: bool = False
    many: bool = False


ONE_FEATURE = (Role("features", "one vector a time step"),)


@dataclass(frozen=True)
class Fitting:
    """What all deep heads share of their training; it changes numbers, so a recipe keeps it.

    Args:
        clip_norm: largest norm of a step's gradients; 0 leaves them alone.
        patience: stop after so many epochs without a better validation accuracy, and keep the best
            epoch; 0 trains to the end and keeps the last.
        precision: that networks compute in.

    Raises:
        ValueError: a negative number.
    """

    clip_norm: float = 0.0
    patience: int = 0
    precision: Precision = "float32"

    def __post_init__(self) -> None:
        for name in ("clip_norm", "patience"):
            if not 0 <= getattr(self, name) < np.inf:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be 0 or more")


@dataclass(frozen=True)
class Session:
    """One call of ``fit``: what it may look at besides the training part, and whom it tells.

    Args:
        validation: videos that do not train, and their targets by position among them; None where
            there are none.
        fitting: what all deep heads share.
        start_from: folder that a head of the same kind saved, of which to take what can be taken to
            begin with; None begins with random weights.
        checkpoint: file from which an interrupted training goes on, and which it keeps up to date;
            None keeps none.
        checkpoint_seconds: about how often it is written.
        on_epoch: told epochs done, epochs in all, and the epoch's losses and validation accuracy.
    """

    validation: tuple[Sequence[VideoFeatures], Targets] | None = None
    fitting: Fitting = Fitting()
    start_from: Path | None = None
    checkpoint: Path | None = None
    checkpoint_seconds: float = 30.0
    on_epoch: OnEpoch = no_report


DEFAULT_SESSION = Session()


@dataclass(frozen=True)
class Explanation:
    """Why a video has its score.

    Args:
        times: (T, 3) start, centre and end of each step in seconds.
        curves: by name, (T,) what the head makes of each step.
        scores: by name, the parts that the score is made of.
        maps: by name, (T, H, W) what it makes of each place; H and W are those of the features.
        flags: by name, (T,) which steps are found to be something, for example faulty.
        notes: by name, a word such as the video that this one was compared with.
    """

    times: NDArray[np.float64]
    curves: Mapping[str, NDArray[np.float64]]
    scores: Mapping[str, float]
    maps: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)
    flags: Mapping[str, NDArray[np.bool_]] = field(default_factory=dict)
    notes: Mapping[str, str] = field(default_factory=dict)


class Head(Protocol):
    """A trainable model from cached features to a score."""

    @property
    def roles(self) -> Sequence[Role]:
        """What it looks at with its options; roles of many only while it trains."""

    def fit(
        self, videos: Sequence[VideoFeatures], targets: Targets, session: Session = DEFAULT_SESSION
    ) -> list[EpochLog]:
        """Train from scratch, or from the session's checkpoint.

        Args:
            videos: of the training part.
            targets: by position among them.
            session: validation videos, checkpoint, and whom to tell.

        Returns:
            Losses epoch by epoch; empty for a head that has none.

        Raises:
            RecipeError: labels or features that this head needs are missing.
        """

    def score(self, videos: Sequence[VideoFeatures]) -> NDArray[np.float64]:
        """(V,) scores; higher is better."""

    def explain(self, video: VideoFeatures) -> Explanation:
        """What made the score of one video."""

    def save(self, folder: Path) -> None:
        """Write what was learned into an existing folder; no format that can hold code."""

    def load(self, folder: Path) -> None:
        """Read it back into a head built with the same options."""
