"""Units of all videos in hand on their way through the networks, in batches that they share."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ..features.errors import UserError, VideoError
from .backbone import Backbone, Setup
from .reading import Clock
from .request import Feature


class Taker(Protocol):
    """Who gets the rows of its units, in order."""

    def accept(self, rows: dict[str, NDArray[np.float32]]) -> None:
        """Take the rows of the next units, by layer."""

    def fail(self, error: Exception) -> None:
        """Learn that the rows of its next units could not be computed."""


@dataclass
class _Unit:
    taker: Taker
    images: NDArray[Any]
    seconds: NDArray[np.float64]
    layers: tuple[str, ...]


_Key = tuple[Setup, str, tuple[int, ...]]

# Networks and algorithms that were built, by name and how.
Backbones = dict[tuple[str, Setup], Backbone]


class Batches:
    """Gathers units of one network and one shape, and runs it when a batch is full.

    Args:
        clock: to which the networks' time is added.
        backbones: built before; those that are built now are added.
    """

    def __init__(self, clock: Clock, backbones: Backbones) -> None:
        self._clock = clock
        self._backbones = backbones
        self._waiting: dict[_Key, list[_Unit]] = {}

    def backbone(self, feature: Feature) -> Backbone:
        """The network or algorithm of a feature, built when it is first needed.

        Raises:
            WeightsError: the file of weights cannot be read or does not fit.
        """
        key = (feature.spec.backbone, feature.setup)
        if key not in self._backbones:
            with self._clock("load"):
                self._backbones[key] = feature.module.build(feature.setup)
        return self._backbones[key]

    def push(
        self,
        feature: Feature,
        layers: tuple[str, ...],
        taker: Taker,
        images: NDArray[Any],
        seconds: NDArray[np.float64],
    ) -> None:
        """Take the next unit of a video.

        Args:
            feature: any of those that share the network.
            layers: that are wanted.
            taker: who gets the rows.
            images: (F, H, W, C) one unit.
            seconds: (F,) presentation times of its frames.
        """
        key = (feature.setup, feature.spec.backbone, images.shape)
        waiting = self._waiting.setdefault(key, [])
        waiting.append(_Unit(taker, images, seconds, layers))
        backbone = self.backbone(feature)
        if len(waiting) == backbone.batch_units:
            self._run(backbone, self._waiting.pop(key))

    def flush(self, concerns: Callable[[Taker], bool]) -> None:
        """Run every batch that holds a unit of certain takers, full or not."""
        for key in list(self._waiting):
            if any(concerns(unit.taker) for unit in self._waiting[key]):
                setup, name, _ = key
                self._run(self._backbones[name, setup], self._waiting.pop(key))

    def drop(self, concerns: Callable[[Taker], bool]) -> None:
        """Forget the waiting units of certain takers."""
        for key, units in list(self._waiting.items()):
            self._waiting[key] = [unit for unit in units if not concerns(unit.taker)]
            if not self._waiting[key]:
                del self._waiting[key]

    def _run(self, backbone: Backbone, units: list[_Unit]) -> None:
        layers = dict.fromkeys(layer for unit in units for layer in unit.layers)
        try:
            with self._clock("model"):
                rows = backbone(
                    np.stack([unit.images for unit in units]),
                    np.stack([unit.seconds for unit in units]),
                    layers,
                )
        except Exception as error:  # what nobody foresaw costs a video, not the night
            if isinstance(error, UserError) and not isinstance(error, VideoError):
                raise
            takers = list({id(unit.taker): unit.taker for unit in units}.values())
            if len(takers) == 1:
                takers[0].fail(error)
            else:  # whose fault it is shows when each is alone
                for taker in takers:
                    self._run(backbone, [unit for unit in units if unit.taker is taker])
            return
        for number, unit in enumerate(units):
            own = {layer: rows[layer][number : number + 1] for layer in unit.layers}
            try:
                unit.taker.accept(own)
            except UserError:
                raise
            except Exception as error:  # noqa: BLE001 - the others' rows are good
                unit.taker.fail(error)
