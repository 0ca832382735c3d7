"""What a backbone is: sampled frames or flow of one video in, one row of numbers a unit out.

A file of ``backbones/`` is a backbone. It defines ``INFO`` and ``build``:

* ``INFO``: a :class:`BackboneInfo`;
* ``build(setup: Setup) -> Backbone``.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ..features.segments import Sampling
from ..features.spec import Stream


@dataclass(frozen=True)
class Checkpoint:
    """A public file of weights that users will have.

    Args:
        file: its published name; the same name is looked for among fetched weights.
        source: who publishes it and where, one phrase.
        url: where the file itself is, or the page that offers it.
        sha256_prefix: what is published of its SHA-256, in hex; empty where nothing is.
    """

    file: str
    source: str
    url: str
    sha256_prefix: str = ""


@dataclass(frozen=True)
class BackboneInfo:
    """What can be known of a backbone before it is built.

    Args:
        stream: what it sees.
        layers: shape of one unit's row by layer name; the first is the default.
        sampling: the default rule.
        presets: names of preprocessing in ``transforms.PRESETS``; the first is the default.
        checkpoints: public weights, the preferred first; empty for an algorithm without weights.
        version: raised when the same input and weights give other numbers.
    """

    stream: Stream
    layers: Mapping[str, tuple[int, ...]]
    sampling: Sampling
    presets: tuple[str, ...]
    checkpoints: tuple[Checkpoint, ...] = ()
    version: int = 1


@dataclass(frozen=True)
class Setup:
    """How to build a backbone.

    Args:
        preset: name in ``transforms.PRESETS``.
        weights: file of weights; None with ``random_seed`` set, or without need of any.
        random_seed: seed of random weights, asked for by name; None otherwise.
        device: a torch device such as ``cpu`` or ``cuda:0``.
    """

    preset: str
    weights: Path | None = None
    random_seed: int | None = None
    device: str = "cpu"


class Backbone(Protocol):
    """Turns a batch of units into rows, the same whatever else is in the batch."""

    def __call__(
        self, images: NDArray[np.generic], seconds: NDArray[np.float64]
    ) -> dict[str, NDArray[np.float32]]:
        """Compute every layer of a batch of units.

        Args:
            images: for stream ``rgb`` (N, F, H, W, 3) uint8 RGB; for stream ``flow``
                (N, F - 1, H, W, 2) float32, x and y displacement in pixels between consecutive
                frames of the unit. Already resized and cropped by the preset.
            seconds: (N, F) presentation times of the frames.

        Returns:
            By layer name, (N, *shape) as :attr:`BackboneInfo.layers` says.
        """
