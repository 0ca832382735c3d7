"""The one trainer of deep heads: stages of epochs, alone or many members at once.

It keeps the last epoch or, with patience, the one that does best on validation videos; it never looks
at test videos. With a checkpoint, an interrupted training goes on at an epoch and ends with the same
bits.
"""

import itertools
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor, nn

from ..features.errors import RecipeError
from . import checkpoint
from .feed import Feed
from .head import EpochLog, Fitting
from .members import Alone, Members, Stacked, State
from .network import Network
from .steps import Epoch, Trainee, Turn, means_of, turns_of

Accuracy = Callable[[Network], float]
OnMemberEpoch = Callable[[int, int, int, EpochLog], None]
VALIDATION = "validation_accuracy"


@dataclass(frozen=True)
class Keeping:
    """Where an interrupted training goes on from.

    Args:
        path: of the file.
        seconds: about how often it is written.
    """

    path: Path
    seconds: float


@dataclass
class _Watch:
    """One member's validation: its best epoch, and whether it has waited too long for a better."""

    best: float = -np.inf
    best_epoch: int = -1
    state: State | None = None
    stopped: bool = False


@dataclass
class _Progress:
    """How far training has come: all that a checkpoint holds beside tensors."""

    stage: int = 0
    epoch: int = 0
    logs: list[list[EpochLog]] = field(default_factory=list)
    watches: list[_Watch] = field(default_factory=list)


def train(
    trainees: Sequence[Trainee],
    feed: Feed,
    fitting: Fitting,
    accuracies: Sequence[Accuracy | None],
    keeping: Keeping | None = None,
    on_epoch: OnMemberEpoch = lambda member, epoch, epochs, log: None,
) -> tuple[list[Network], list[list[EpochLog]]]:
    """Train networks of one shape at once; each takes the steps that it would take alone.

    Args:
        trainees: one or several, whose stages have as many mini-batches an epoch; networks are
            trained in place.
        feed: of all their videos.
        fitting: what all deep heads share.
        accuracies: of each member on its validation videos, asked in the last stage; None for none.
        keeping: the checkpoint.
        on_epoch: told a member's number, epochs done and in all, and its losses.

    Returns:
        The networks, and the mean of each loss, epoch by epoch, of each.

    Raises:
        RecipeError: nothing to learn from, a loss that is not finite any more, or a checkpoint that
            cannot be read.
    """
    for trainee in trainees:
        if not all(len(stage.examples) for stage in trainee.stages):
            raise RecipeError("no pair of two training videos; add pairs, or change the split")
    networks = [trainee.network.train() for trainee in trainees]
    members: Members = Alone(networks[0]) if len(networks) == 1 else Stacked(networks)
    training = _Training(members, trainees, feed, fitting, accuracies, keeping, on_epoch)
    logs = training.run()
    found = [members.network(number, training.kept(number)) for number in range(len(networks))]
    for network in found:
        network.requires_grad_(True).eval()
    return found, logs


class _Training:
    def __init__(
        self,
        members: Members,
        trainees: Sequence[Trainee],
        feed: Feed,
        fitting: Fitting,
        accuracies: Sequence[Accuracy | None],
        keeping: Keeping | None,
        on_epoch: OnMemberEpoch,
    ) -> None:
        self._members = members
        self._trainees = trainees
        self._feed = feed
        self._fitting = fitting
        self._accuracies = accuracies
        self._keeping = keeping
        self._on_epoch = on_epoch
        self._written = -math.inf  # the first epoch is kept at once
        self._stages = trainees[0].stages
        self._progress = _Progress(
            logs=[[] for _ in trainees], watches=[_Watch() for _ in trainees]
        )

    def run(self) -> list[list[EpochLog]]:
        turns = self._resume()
        progress = self._progress
        while progress.stage < len(self._stages):
            turns = turns or turns_of(self._stages[progress.stage].phases, self._members)
            while progress.epoch < self._epochs and not self._all_stopped:
                self._one_epoch(turns)
                self._keep(turns)
            progress.stage, progress.epoch, turns = progress.stage + 1, 0, []
        self._keep([], now=True)
        return progress.logs

    def kept(self, number: int) -> State | None:
        """The best epoch's parameters; None for the last epoch's."""
        return self._progress.watches[number].state

    @property
    def _epochs(self) -> int:
        return self._stages[self._progress.stage].schedule.epochs

    @property
    def _all_stopped(self) -> bool:
        return all(watch.stopped for watch in self._progress.watches)

    def _one_epoch(self, turns: Sequence[Turn]) -> None:
        progress = self._progress
        epoch = Epoch(
            self._members,
            self._trainees,
            self._feed,
            turns,
            progress.stage,
            progress.epoch,
            self._fitting,
        )
        means = {name: mean.tolist() for name, mean in means_of(list(epoch.run())).items()}
        progress.epoch += 1
        done = sum(stage.schedule.epochs for stage in self._stages[: progress.stage])
        total = sum(stage.schedule.epochs for stage in self._stages)
        for number, watch in enumerate(progress.watches):
            if watch.stopped:
                continue
            log = {name: values[number] for name, values in means.items()}
            _check_finite(log, done + progress.epoch)
            self._validate(number, watch, log)
            progress.logs[number].append(log)
            self._on_epoch(number, done + progress.epoch, total, log)

    def _validate(self, number: int, watch: _Watch, log: EpochLog) -> None:
        accuracy = self._accuracies[number]
        if accuracy is None or self._progress.stage + 1 < len(self._stages):
            return
        network = self._members.network(number).eval()
        log[VALIDATION] = found = accuracy(network)
        network.train()
        patience = self._fitting.patience
        if not patience:
            return
        if found > watch.best:
            watch.best, watch.best_epoch = found, self._progress.epoch
            watch.state = self._members.state(number)
        watch.stopped = self._progress.epoch - watch.best_epoch >= patience

    def _keep(self, turns: Sequence[Turn], now: bool = False) -> None:
        if self._keeping is None:
            return
        if not now and time.monotonic() - self._written < self._keeping.seconds:
            return
        progress = self._progress
        content = {
            "parameters": {name: p.detach() for name, p in self._members.parameters.items()},
            "optimisers": [turn.optimiser.state_dict() for turn in turns],
            "gradients": [_gradients(turn.parameters) for turn in turns],
            "stage": progress.stage,
            "epoch": progress.epoch,
            "logs": progress.logs,
            "watches": [vars(watch) for watch in progress.watches],
        }
        checkpoint.write(self._keeping.path, content)
        self._written = time.monotonic()

    def _resume(self) -> list[Turn]:
        """Go on where a checkpoint stands, if there is one; its optimisers, if within a stage."""
        content = checkpoint.read(self._keeping.path) if self._keeping else None
        if content is None:
            return []
        with checkpoint.fitting(self._keeping.path):  # type: ignore[union-attr]
            for name, parameter in self._members.parameters.items():
                kept = content["parameters"][name]
                if kept.shape != parameter.shape:  # which copying would not mind
                    raise ValueError(f"{name} has shape {tuple(kept.shape)}")
                parameter.data.copy_(kept)
            self._progress = _Progress(
                content["stage"],
                content["epoch"],
                content["logs"],
                [_Watch(**values) for values in content["watches"]],
            )
            if self._progress.stage >= len(self._stages):
                return []
            turns = turns_of(self._stages[self._progress.stage].phases, self._members)
            if not content["optimisers"]:
                return turns
            for turn, state, gradients in zip(
                turns, content["optimisers"], content["gradients"], strict=True
            ):
                turn.optimiser.load_state_dict(state)
                for parameter, gradient in zip(turn.parameters, gradients, strict=True):
                    parameter.grad = None if gradient is None else gradient.to(parameter)
        return turns


def _gradients(parameters: Sequence[nn.Parameter]) -> list[Any]:
    """What another phase's step left for the next one; None where nothing is left."""
    return [None if p.grad is None else p.grad.detach() for p in parameters]


def _check_finite(log: EpochLog, epoch: int) -> None:
    if not np.isfinite(list(log.values())).all():
        raise RecipeError(
            f"training diverged in epoch {epoch} ({log}); lower learning_rate, or set "
            "standardise=true where the head has it"
        )


def steps_of(trainee: Trainee, feed: Feed, fitting: Fitting) -> Iterator[dict[str, Tensor]]:
    """Take one gradient step of the first stage at each ``next``, without end; yields its losses."""
    members = Alone(trainee.network.train())
    turns = turns_of(trainee.stages[0].phases, members)
    for number in itertools.count():
        for losses in Epoch(members, [trainee], feed, turns, 0, number, fitting).run():
            yield {name: loss[0] for name, loss in losses.items()}
