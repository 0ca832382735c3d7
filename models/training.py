"""The one trainer of deep heads: pairs in, gradient steps out.

A batch of pairs runs each distinct video once and then gathers the pairs. A head names phases, which
take the mini-batches in turn; each steps its own parameters on its own losses, and no gradient is
computed for the others. Where one phase leaves the dear part of the network alone, the next phase's
mini-batch shares its outcome: with two phases, that saves every other forward pass.
"""

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ..features.errors import RecipeError
from .data import FeatureTensors

Losses = dict[str, Tensor]
EpochLog = dict[str, float]


@dataclass(frozen=True)
class Phase:
    """What one mini-batch does.

    Args:
        parameters: that are stepped.
        learning_rate: of Adam.
        losses: from the network's outputs for V videos, and the (P,) positions among them of the
            better and of the worse video of each pair, to terms whose sum is minimised.
        keeps_encoding: whether the network is :class:`TwoStage` and the step leaves its ``encode``
            as it is, so that the next phase may use this one's encoding.
    """

    parameters: Sequence[nn.Parameter]
    learning_rate: float
    losses: Callable[[Any, Tensor, Tensor], Losses]
    keeps_encoding: bool = False


class TwoStage(Protocol):
    """A network that computes ``read(features, mask, encode(features, mask))``."""

    def encode(self, features: Tensor, mask: Tensor | None) -> Tensor:
        """The dear part."""

    def read(self, features: Tensor, mask: Tensor | None, encoding: Tensor) -> Any:
        """The cheap part, with parameters of its own: the outputs for V videos."""


@dataclass(frozen=True)
class Schedule:
    """How long and how to train.

    Args:
        epochs: passes over all pairs.
        batch_pairs: pairs a mini-batch; the last of an epoch may be smaller.
        noise: standard deviation of Gaussian noise on every feature value, drawn anew for every
            encoding.
        shared_noise: one (T, C) draw for all videos of a batch instead of one each.
        carry_gradients: compute gradients for all parameters in every phase and clear only those of
            the phase after its step, and those of the first phase at the start of an epoch, so that
            a step also applies what the other phases' losses left.
    """

    epochs: int
    batch_pairs: int
    noise: float = 0.0
    shared_noise: bool = False
    carry_gradients: bool = False


def train(
    network: nn.Module,
    phases: Sequence[Phase],
    features: FeatureTensors,
    pairs: NDArray[np.int64],
    schedule: Schedule,
    seed: int,
    on_epoch: Callable[[int, EpochLog], None] = lambda epoch, log: None,
) -> list[EpochLog]:
    """Train a network in place.

    Args:
        network: takes ``(V, T, C)`` features and a ``(V, T)`` mask or None; on the features' device.
        phases: take the mini-batches in turn, also from one epoch to the next.
        features: of the training videos.
        pairs: (P, 2) positions among them, the better one first.
        schedule: how long and how.
        seed: of the order of pairs and of the noise; the global generators are left alone.
        on_epoch: told the number of epochs done and their log.

    Returns:
        The mean of each loss, epoch by epoch.

    Raises:
        RecipeError: no pairs, or a loss that is not finite any more.
    """
    if not len(pairs):
        raise RecipeError("no pair of two training videos; add pairs, or change the split")
    log: list[EpochLog] = []
    for epoch, losses in enumerate(_epochs(network, phases, features, pairs, schedule, seed), 1):
        if not np.isfinite(list(losses.values())).all():
            raise RecipeError(
                f"training diverged in epoch {epoch} ({losses}); lower learning_rate, or set "
                "standardise=true"
            )
        log.append(losses)
        on_epoch(epoch, losses)
    return log


def _epochs(
    network: nn.Module,
    phases: Sequence[Phase],
    features: FeatureTensors,
    pairs: NDArray[np.int64],
    schedule: Schedule,
    seed: int,
) -> Iterator[EpochLog]:
    steps = steps_of(network, phases, features, pairs, schedule, seed)
    for _ in range(schedule.epochs):
        yield _means([next(steps) for _ in range(-(-len(pairs) // schedule.batch_pairs))])


def steps_of(
    network: nn.Module,
    phases: Sequence[Phase],
    features: FeatureTensors,
    pairs: NDArray[np.int64],
    schedule: Schedule,
    seed: int,
) -> Iterator[Losses]:
    """Take one gradient step at each ``next``, without end; yields its losses."""
    generator = torch.Generator().manual_seed(seed)
    turns = [
        _Turn(phase, torch.optim.Adam(phase.parameters, phase.learning_rate)) for phase in phases
    ]
    supply = _Supply(features, schedule, generator)
    work = zip(itertools.cycle(turns), supply.batches(torch.as_tensor(pairs)), strict=False)
    network.train()
    if schedule.carry_gradients:
        return _carrying_steps(network, supply, turns[0], work)
    return _separate_steps(network, supply, work)


class _Batch(NamedTuple):
    """(P, 2) pairs of videos, and whether they are the first of an epoch."""

    pairs: Tensor
    opens_epoch: bool


@dataclass(frozen=True)
class _Supply:
    """Mini-batches and, with noise, their features."""

    features: FeatureTensors
    schedule: Schedule
    generator: torch.Generator

    def batches(self, pairs: Tensor) -> Iterator[_Batch]:
        """All pairs in random order, again and again."""
        while True:
            order = torch.randperm(len(pairs), generator=self.generator)
            for number, batch in enumerate(order.split(self.schedule.batch_pairs)):
                yield _Batch(pairs[batch], number == 0)

    def load(self, videos: Tensor) -> tuple[Tensor, Tensor | None]:
        """Features of distinct videos, and their mask."""
        values, mask = self.features.batch(videos)
        if self.schedule.noise:
            shape = values.shape[1:] if self.schedule.shared_noise else values.shape
            noise = torch.randn(shape, generator=self.generator).mul_(self.schedule.noise)
            values = values + noise.to(values.device)
        return values, mask


@dataclass(frozen=True)
class _Turn:
    """A phase with its optimiser."""

    phase: Phase
    optimizer: torch.optim.Adam

    def step(self, outputs: Any, positions: Tensor) -> Losses:
        """Go down once; ``positions`` (P, 2) of the pairs among the outputs' videos."""
        losses = self.phase.losses(outputs, positions[:, 0], positions[:, 1])
        torch.stack(list(losses.values())).sum().backward()
        self.optimizer.step()
        self.optimizer.zero_grad()
        return {name: loss.detach() for name, loss in losses.items()}


_Work = Iterator[tuple[_Turn, _Batch]]


def _carrying_steps(
    network: nn.Module, supply: _Supply, first: _Turn, work: _Work
) -> Iterator[Losses]:
    """Steps that leave gradients of the other phases' parameters to their next step."""
    for turn, batch in work:
        if batch.opens_epoch:
            first.optimizer.zero_grad()
        yield turn.step(*_outputs(network, supply, batch.pairs))


def _separate_steps(network: nn.Module, supply: _Supply, work: _Work) -> Iterator[Losses]:
    """Steps that compute no other gradients, two on one encoding where that is less work."""
    for turn, batch in work:
        if not turn.phase.keeps_encoding:
            yield _alone(network, supply, turn, batch.pairs)
            continue
        next_turn, next_batch = next(work)
        if _sharing_pays(batch.pairs, next_batch.pairs):
            both = (turn, batch.pairs), (next_turn, next_batch.pairs)
            yield from _shared_steps(network, supply, *both)
        else:
            yield _alone(network, supply, turn, batch.pairs)
            yield _alone(network, supply, next_turn, next_batch.pairs)


def _outputs(network: nn.Module, supply: _Supply, pairs: Tensor) -> tuple[Any, Tensor]:
    videos, positions = pairs.unique(return_inverse=True)
    values, mask = supply.load(videos)
    return network(values, mask), positions.to(values.device)


def _alone(network: nn.Module, supply: _Supply, turn: _Turn, pairs: Tensor) -> Losses:
    _require_gradients(network, turn.phase.parameters)
    return turn.step(*_outputs(network, supply, pairs))


def _shared_steps(
    network: Any, supply: _Supply, first: tuple[_Turn, Tensor], second: tuple[_Turn, Tensor]
) -> Iterator[Losses]:
    """Two steps on one encoding of all their videos, which the first step does not change."""
    (turn, pairs), (next_turn, next_pairs) = first, second
    videos, positions = torch.cat([pairs, next_pairs]).unique(return_inverse=True)
    values, mask = supply.load(videos)
    here, there = positions.to(values.device).split([len(pairs), len(next_pairs)])
    _require_gradients(network, next_turn.phase.parameters)
    encoding = network.encode(values, mask)
    _require_gradients(network, turn.phase.parameters)
    yield turn.step(network.read(values, mask, encoding.detach()), here)
    _require_gradients(network, next_turn.phase.parameters)
    yield next_turn.step(network.read(values, mask, encoding), there)


def _sharing_pays(pairs: Tensor, next_pairs: Tensor) -> bool:
    """Whether encoding all videos once, forward and backward, is less work than each batch's own.

    Alone, the first batch runs forward only. Few videos are nearly all in every batch, and half as
    many forward passes are needed; of many videos a batch holds others than the next.
    """
    together = len(torch.cat([pairs, next_pairs]).unique())
    return 2 * together < len(pairs.unique()) + 2 * len(next_pairs.unique())


def _require_gradients(network: nn.Module, wanted: Sequence[nn.Parameter]) -> None:
    chosen = {id(parameter) for parameter in wanted}
    for parameter in network.parameters():
        parameter.requires_grad_(id(parameter) in chosen)


def _means(steps: Sequence[Mapping[str, Tensor]]) -> EpochLog:
    """Mean of each loss over the steps that have it."""
    names = dict.fromkeys(name for step in steps for name in step)
    return {
        name: float(torch.stack([step[name] for step in steps if name in step]).mean())
        for name in names
    }
