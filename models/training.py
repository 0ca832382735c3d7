"""The one trainer of deep heads: pairs in, gradient steps out.

A batch of pairs runs each distinct video once and then gathers the pairs. A head names phases, which
take the mini-batches in turn; each steps its own parameters on its own losses, and no gradient is
computed for the others.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

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
    """

    parameters: Sequence[nn.Parameter]
    learning_rate: float
    losses: Callable[[Any, Tensor, Tensor], Losses]


@dataclass(frozen=True)
class Schedule:
    """How long and how to train.

    Args:
        epochs: passes over all pairs.
        batch_pairs: pairs a mini-batch; the last of an epoch may be smaller.
        noise: standard deviation of Gaussian noise on every feature value.
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
    optimizers = [torch.optim.Adam(phase.parameters, lr=phase.learning_rate) for phase in phases]
    all_pairs = torch.from_numpy(np.ascontiguousarray(pairs))
    turn = 0
    network.train()
    while True:
        order = torch.randperm(len(all_pairs), generator=generator)
        if schedule.carry_gradients:
            optimizers[0].zero_grad()
        for batch in order.split(schedule.batch_pairs):
            phase, optimizer = phases[turn % len(phases)], optimizers[turn % len(phases)]
            if not schedule.carry_gradients:
                _require_gradients(network, phase.parameters)
            losses = _losses(network, phase, features, all_pairs[batch], schedule, generator)
            torch.stack(list(losses.values())).sum().backward()
            optimizer.step()
            optimizer.zero_grad()
            turn += 1
            yield {name: loss.detach() for name, loss in losses.items()}


def _losses(
    network: nn.Module,
    phase: Phase,
    features: FeatureTensors,
    pairs: Tensor,
    schedule: Schedule,
    generator: torch.Generator,
) -> Losses:
    videos, positions = pairs.unique(return_inverse=True)
    values, mask = features.batch(videos)
    if schedule.noise:
        shape = values.shape[1:] if schedule.shared_noise else values.shape
        noise = torch.randn(shape, generator=generator).mul_(schedule.noise)
        values = values + noise.to(values.device)
    positions = positions.to(values.device)
    return phase.losses(network(values, mask), positions[:, 0], positions[:, 1])


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
