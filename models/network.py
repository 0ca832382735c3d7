"""What the trainer needs of a network, and what a head's training is made of.

One trainer serves all heads, alone or many members at once, where a member is one network on one fold
with one seed. For that a network is a plain module whose random numbers are given to it, and a loss
has one term an example: the trainer takes the means, so that padding counts for nothing.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

Drawn = dict[str, Tensor]
Losses = dict[str, Tensor]
Rate = Callable[[int], float]


class Batch(NamedTuple):
    """Features of V videos.

    Args:
        values: by role, (V, T, ...) float; rows of padding are 0.
        mask: (V, T) True where a step is real; None where all are.
    """

    values: dict[str, Tensor]
    mask: Tensor | None = None


class Network(nn.Module):
    """Base of all networks.

    ``forward`` calls any function with the network, so that ``torch.func.functional_call`` can run
    it with the parameters of another member. Layers must be ones that ``torch.func.vmap`` knows:
    :class:`..recurrent.LSTM` in place of ``nn.LSTM``, and no dropout of its own.
    """

    def forward(self, call: Callable[..., Any], *arguments: Any) -> Any:
        """``call(self, *arguments)``."""
        return call(self, *arguments)

    def draw(
        self, videos: int, steps: int, generator: torch.Generator, device: torch.device
    ) -> Drawn:
        """Random numbers of one training pass over ``videos`` of ``steps``; each (V, T, ...)."""
        return {}

    def encode(self, batch: Batch, drawn: Drawn) -> Any:
        """The dear part: a tensor, or tuples of tensors, (V, ...) each.

        Args:
            batch: of V videos.
            drawn: from :meth:`draw` while training, else empty.
        """
        raise NotImplementedError


def dropout(values: Tensor, drawn: Drawn, name: str) -> Tensor:
    """Apply a mask that :func:`draw_dropout` drew; nothing where none was drawn."""
    return values * drawn[name] if name in drawn else values


def draw_dropout(
    shape: Sequence[int], share: float, generator: torch.Generator, device: torch.device
) -> Tensor:
    """A mask of 0, with probability ``share``, and 1 / (1 - share): inverted dropout."""
    keep = torch.rand(*shape, generator=generator, device=device) >= share
    return keep / (1 - share)


def along_steps(numbers: Tensor, steps: int) -> Tensor:
    """Numbers of each video, (V, N), as (V, T, N / T) with zeros at the end where T does not fit.

    The trainer wants random numbers along the steps; these are not numbers of a step.
    """
    width = -(-numbers.shape[1] // steps)
    room = steps * width - numbers.shape[1]
    filled: Tensor = functional.pad(numbers, (0, room))
    return filled.view(-1, steps, width)


def off_steps(carried: Tensor, count: int) -> Tensor:
    """(V, count) numbers that :func:`along_steps` took, also if steps were added since."""
    return carried.flatten(1)[:, :count]


@dataclass(frozen=True)
class Phase:
    """What one mini-batch does.

    Args:
        losses: ``losses(network, batch, encoding, positions, labels)`` gives terms, (B,) each, of
            B examples; the sum of their means is minimised. ``positions`` (B, W) are those of each
            example's videos in the batch, ``labels`` are (B, L).
        optimiser: makes the optimiser of some parameters.
        rate: learning rate by epoch, which counts from 0.
        trains: names of parameters that are stepped, or what they begin with; empty for all.
        keeps_encoding: the step leaves ``encode`` as it is, so that the next phase may use this
            one's encoding.
    """

    losses: Callable[[Any, Batch, Any, Tensor, Tensor], Losses]
    optimiser: Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer]
    rate: Rate
    trains: tuple[str, ...] = ()
    keeps_encoding: bool = False


@dataclass(frozen=True)
class Schedule:
    """How long and how to train.

    Args:
        epochs: passes over all examples.
        batch: examples a mini-batch; the last of an epoch may be smaller.
        noise: standard deviation of Gaussian noise on every feature value.
        shared_noise: one (T, ...) draw for all videos of a batch instead of one each.
        carry_gradients: compute gradients for all parameters in every phase and clear only those of
            the phase after its step, and those of the first phase at the start of an epoch, so that
            a step also applies what the other phases' losses left.
        vary: draw one of the stored alternatives of each segment anew for every mini-batch.
    """

    epochs: int
    batch: int
    noise: float = 0.0
    shared_noise: bool = False
    carry_gradients: bool = False
    vary: bool = False


@dataclass(frozen=True)
class Stage:
    """One training from its examples; a head has one or several, one after the other.

    Args:
        phases: take the mini-batches in turn, also from one epoch to the next.
        examples: (N, W) positions of each example's videos among the training videos.
        labels: (N, L) float; L may be 0.
        schedule: how long and how.
    """

    phases: Sequence[Phase]
    examples: NDArray[np.int64]
    labels: NDArray[np.float64]
    schedule: Schedule
