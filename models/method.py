"""What one deep head adds to all of them: its network, what it trains on, and how it explains itself.

A file of ``heads/`` subclasses :class:`Method` and hands it to :class:`..deep.DeepHead`, which does
the rest.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ..features.errors import RecipeError
from .data import Targets, VideoFeatures
from .feed import Scale
from .head import ONE_FEATURE, Explanation, Role
from .network import Batch, Network, Stage


class Seen(NamedTuple):
    """Videos as a trained network sees them.

    Args:
        batch: their features, scaled as in training, on the network's device.
        encoding: what ``Network.encode`` makes of it.
        videos: V of them.
    """

    batch: Batch
    encoding: Any
    videos: Sequence[VideoFeatures]


@dataclass(frozen=True)
class Memory:
    """What a head keeps of its training videos beside weights.

    Args:
        tensors: by name.
        words: by name.
    """

    tensors: Mapping[str, Tensor] = field(default_factory=dict)
    words: Mapping[str, str] = field(default_factory=dict)


class Method:
    """Base of what a head's file defines.

    Args of the class:
        roles: features that it looks at.
        standardise: whether each channel is scaled to mean 0 and deviation 1 over the training
            videos.
        small: whether features and network are so small that many seeds at once pay.
    """

    roles: tuple[Role, ...] = ONE_FEATURE
    standardise: bool = False
    small: bool = True

    def expand(self, videos: Sequence[VideoFeatures]) -> list[VideoFeatures]:
        """The videos that train: those given, first and in their order, and any made of them."""
        return list(videos)

    def network(self, shapes: Mapping[str, tuple[int, ...]]) -> Network:
        """The network for rows of these shapes, by role; all its initial values are drawn here."""
        raise NotImplementedError

    def start(self, network: Any, folder: Path) -> Scale:
        """Take what can be taken of a trained head's folder as initial values, before :meth:`stages`.

        Returns:
            The scale of the features that these values were trained on, which is kept.

        Raises:
            RecipeError: the folder holds no head that fits, or this head always begins anew.
        """
        raise RecipeError("this head cannot start from another run; leave --start-from out")

    def stages(
        self, videos: Sequence[VideoFeatures], targets: Targets, rng: np.random.Generator
    ) -> list[Stage]:
        """What is trained, one after the other.

        Args:
            videos: from :meth:`expand`.
            targets: of the videos that were expanded, by position.
            rng: of whatever is chosen by chance.

        Raises:
            RecipeError: labels that this head needs are missing.
        """
        raise NotImplementedError

    def remember(
        self,
        network: Any,
        see: Callable[[Sequence[VideoFeatures]], Seen],
        videos: Sequence[VideoFeatures],
        targets: Targets,
    ) -> Memory:
        """What scoring needs of the training videos; called with a network in evaluation mode.

        Args:
            network: trained, or half way when a validation accuracy is wanted.
            see: runs it.
            videos: that train, as given to ``fit``.
            targets: by position among them.
        """
        return Memory()

    def scores(self, network: Any, memory: Memory, seen: Seen) -> Tensor:
        """(V,) scores of the videos seen; higher is better."""
        raise NotImplementedError

    def explain(self, network: Any, memory: Memory, seen: Seen) -> Explanation:
        """Why the one video seen has its score."""
        raise NotImplementedError

    def embed(self, network: Any, memory: Memory, seen: Seen) -> Tensor | None:
        """(V, D) what the network makes of each video as a whole; None for heads without such."""
        return None

    def tables(self, explanations: Sequence[Explanation]) -> dict[str, NDArray[np.float64]]:
        """By name, two-dimensional figures over several explained videos; none for most heads."""
        return {}
