"""What a backbone is: sampled frames or flow of one video in, one row of numbers a unit out.

A file of ``backbones/`` is a backbone. It defines ``INFO`` and ``build``:

* ``INFO``: a :class:`BackboneInfo`;
* ``build(setup: Setup) -> Backbone``.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ..features.segments import Sampling
from ..features.spec import Precision, Stream


@dataclass(frozen=True)
class Checkpoint:
    """A public file of weights that users will have.

    Args:
        file: its published name; the same name is looked for among fetched weights.
        source: who publishes it and where, one phrase.
        url: where the file itself is.
        sha256_prefix: what is published of its SHA-256, in hex, all 64 digits at best; empty where
            nothing is.
        mirrors: other places of the same bytes, tried in this order when ``url`` fails.
        size_bytes: its published size; None where none is published to the byte.
        licence: of the file, as far as its publisher says.
        layout: how its keys are named, one phrase.
        stream: whose network it fills; None where it can fill that of any.
    """

    file: str
    source: str
    url: str
    sha256_prefix: str = ""
    mirrors: tuple[str, ...] = ()
    size_bytes: int | None = None
    licence: str = "unknown"
    layout: str = "unknown"
    stream: Stream | None = None

    @property
    def urls(self) -> tuple[str, ...]:
        """Every place that has it, the preferred first."""
        return (self.url, *self.mirrors)


@dataclass(frozen=True)
class Output:
    """One thing that a backbone can give for each unit.

    Args:
        stream: what the backbone sees for it.
        layer: its name.
        shape: of one unit's row.
        sampling: the default rule.
        presets: names of preprocessing in ``transforms.PRESETS``; the first is the default.
        precision: of stored values by default; maps are large enough to be stored in half.
        frames: the fewest and the most that a unit may have; None is no limit.
    """

    stream: Stream
    layer: str
    shape: tuple[int, ...]
    sampling: Sampling
    presets: tuple[str, ...]
    precision: Precision = "float32"
    frames: tuple[int, int | None] = (1, None)


@dataclass(frozen=True)
class BackboneInfo:
    """What can be known of a backbone before it is built.

    Args:
        outputs: the default first, the default layer of each stream before its others.
        checkpoints: public weights, the preferred first; empty for an algorithm without weights.
        version: raised when the same input and weights give other numbers.
    """

    outputs: tuple[Output, ...]
    checkpoints: tuple[Checkpoint, ...] = ()
    version: int = 1

    @property
    def streams(self) -> tuple[Stream, ...]:
        """The streams that it can see, the default first."""
        return tuple(dict.fromkeys(output.stream for output in self.outputs))

    def checkpoints_of(self, stream: Stream) -> tuple[Checkpoint, ...]:
        """The public weights that can fill the network of a stream."""
        return tuple(one for one in self.checkpoints if one.stream in (None, stream))


@dataclass(frozen=True)
class Setup:
    """How to build a backbone.

    Args:
        stream: what it will see.
        preset: name in ``transforms.PRESETS``.
        weights: file of weights; None with ``random_seed`` set, or without need of any.
        random_seed: seed of random weights, asked for by name; None otherwise.
        device: a torch device such as ``cpu`` or ``cuda:0``.
    """

    stream: Stream
    preset: str
    weights: Path | None = None
    random_seed: int | None = None
    device: str = "cpu"


class Backbone(Protocol):
    """Turns a batch of units into rows, the same bits whatever else is in the batch.

    Attributes:
        batch_units: units that it takes at once.
    """

    batch_units: int

    def __call__(
        self,
        images: NDArray[np.generic],
        seconds: NDArray[np.float64],
        layers: Collection[str],
    ) -> dict[str, NDArray[np.float32]]:
        """Compute layers of a batch of units.

        Args:
            images: for stream ``rgb`` (N, F, H, W, 3) uint8 RGB; for stream ``flow``
                (N, F - 1, H, W, 2) float32, x and y displacement in pixels between consecutive
                frames of the unit. Already resized and cropped by the preset.
            seconds: (N, F) presentation times of the frames.
            layers: names of those that are wanted.

        Returns:
            By layer name, (N, *shape) as its :class:`Output` says.
        """


class Algorithm:
    """The backbone made of a plain function of one unit.

    Args:
        layer: its only one.
        function: from (F - 1, H, W, 2) flow and (F,) seconds to the unit's row.
    """

    batch_units = 1

    def __init__(
        self,
        layer: str,
        function: Callable[[NDArray[np.generic], NDArray[np.float64]], NDArray[np.float64]],
    ) -> None:
        self._layer = layer
        self._function = function

    def __call__(
        self,
        images: NDArray[np.generic],
        seconds: NDArray[np.float64],
        layers: Collection[str],
    ) -> dict[str, NDArray[np.float32]]:
        """Compute the one layer of each unit."""
        rows = [self._function(*unit) for unit in zip(images, seconds, strict=True)]
        return {self._layer: np.array(rows, dtype=np.float32)}
