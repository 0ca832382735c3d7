"""Gradient steps: mini-batches of examples in, losses out.

A mini-batch runs each distinct video once and then gathers the examples. Phases take the mini-batches
in turn; each steps its own parameters on its own losses, and no gradient is computed for the others.
Where one phase leaves the dear part of the network alone, the next phase's mini-batch shares its
outcome: with two phases, that saves every other forward pass.

All chance comes from the seed, the stage and the epoch, so that training can go on at any epoch, and
from each member's own generators, so that a member takes the same steps alone and among others.
"""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from .feed import Feed, Scale, Wanted
from .head import Fitting
from .members import Members
from .network import Batch, Drawn, Losses, Network, Phase, Schedule, Stage


@dataclass(frozen=True)
class Trainee:
    """One network and what it learns from.

    Args:
        network: on the feed's device.
        stages: one after the other; of the same shape for all that train at once.
        places: (V,) positions of its training videos in the feed.
        scale: of its features.
        seed: of the order of examples, of noise and of dropout.
    """

    network: Network
    stages: Sequence[Stage]
    places: Tensor
    scale: Scale
    seed: int

    def steps_of(self, stage: int) -> int:
        """Mini-batches an epoch."""
        plan = self.stages[stage]
        return -(-len(plan.examples) // plan.schedule.batch)

    def shares(self, stage: int) -> bool:
        """Whether encoding all videos of two mini-batches at once is less work than each one's own.

        Alone, the first of the two runs forward only. Few videos are nearly all in every batch, and
        half as many forward passes are needed; of many videos a batch holds others than the next.
        """
        plan = self.stages[stage]
        if not any(phase.keeps_encoding for phase in plan.phases):
            return False
        videos = len(np.unique(plan.examples))
        drawn = plan.examples.shape[1] * min(plan.schedule.batch, len(plan.examples))
        together, each = (videos * (1 - (1 - 1 / videos) ** (n * drawn)) for n in (2, 1))
        return bool(2 * together < 3 * each)


class Turn(NamedTuple):
    """A phase, the parameters that it steps, and their optimiser."""

    phase: Phase
    parameters: Sequence[nn.Parameter]
    optimiser: torch.optim.Optimizer


def turns_of(phases: Sequence[Phase], members: Members) -> list[Turn]:
    """An optimiser for each phase."""
    found = []
    for phase in phases:
        chosen = [p for name, p in members.parameters.items() if _stepped(name, phase)]
        if not chosen:
            raise ValueError(f"no parameter begins with any of {phase.trains}")
        found.append(Turn(phase, chosen, phase.optimiser(chosen)))
    return found


def _stepped(name: str, phase: Phase) -> bool:
    return not phase.trains or name.startswith(phase.trains)


class Epoch:
    """The steps of one epoch of one stage.

    Args:
        members: that are stepped.
        trainees: what each of them learns from.
        feed: of all their videos.
        turns: the stage's phases.
        stage: number of the stage.
        number: of the epoch, from 0.
        fitting: clipping and precision.
    """

    def __init__(
        self,
        members: Members,
        trainees: Sequence[Trainee],
        feed: Feed,
        turns: Sequence[Turn],
        stage: int,
        number: int,
        fitting: Fitting,
    ) -> None:
        self._members = members
        self._turns = turns
        self._fitting = fitting
        self._schedule: Schedule = trainees[0].stages[stage].schedule
        self._supplies = [_Supply(one, feed, stage, number) for one in trainees]
        self._feed = feed
        self._device = next(iter(members.parameters.values())).device
        self._first_step = number * trainees[0].steps_of(stage)
        self._steps = trainees[0].steps_of(stage)
        self._shares = trainees[0].shares(stage) and not self._schedule.carry_gradients
        self._rate_epoch = number
        scales = [one.scale for one in trainees]
        self._scale = scales[0] if len(scales) == 1 else _stacked_scales(scales)

    def run(self) -> Iterator[Losses]:
        """Take the steps; yields (M,) losses after each."""
        for turn in self._turns:
            for group in turn.optimiser.param_groups:
                group["lr"] = turn.phase.rate(self._rate_epoch)
        if self._schedule.carry_gradients:
            self._require(())
            self._turns[0].optimiser.zero_grad()
        plan = list(self._plan())
        batches = self._feed.batches(self._wanted(numbers) for numbers, _ in plan)
        for (numbers, turns), batch in zip(plan, batches, strict=True):
            yield from self._steps_on(batch, numbers, turns)

    def _plan(self) -> Iterator[tuple[tuple[int, ...], tuple[Turn, ...]]]:
        """Numbers of the mini-batches that are loaded together, and whose turn they are."""
        number = 0
        while number < self._steps:
            turn, after = (self._turn(number + ahead) for ahead in (0, 1))
            together = self._shares and turn.phase.keeps_encoding and number + 1 < self._steps
            size = 2 if together else 1
            yield tuple(range(number, number + size)), (turn, after)[:size]
            number += size

    def _turn(self, number: int) -> Turn:
        return self._turns[(self._first_step + number) % len(self._turns)]

    def _wanted(self, numbers: Sequence[int]) -> Wanted:
        return _side_by_side([supply.wanted(numbers) for supply in self._supplies])

    def _steps_on(
        self, raw: Batch, numbers: Sequence[int], turns: Sequence[Turn]
    ) -> Iterator[Losses]:
        batch, drawn = self._prepared(raw)
        examples = [self._examples(number) for number in numbers]
        first, last = turns[0], turns[-1]
        if len(turns) == 1:
            if not self._schedule.carry_gradients:
                self._require(first.phase.trains)
            with self._autocast():
                encoding = self._members.encode(batch, drawn)
            yield self._step(first, batch, encoding, examples[0])
            return
        self._require(last.phase.trains)
        with self._autocast():
            encoding = self._members.encode(batch, drawn)
        self._require(first.phase.trains)
        yield self._step(first, batch, _detached(encoding), examples[0])
        self._require(last.phase.trains)
        yield self._step(last, batch, encoding, examples[1])

    def _step(self, turn: Turn, batch: Batch, encoding: Any, examples: "_Examples") -> Losses:
        with self._autocast():
            terms = self._members.losses(
                turn.phase, batch, encoding, examples.positions, examples.labels
            )
        means = {name: _mean(term, examples.real) for name, term in terms.items()}
        torch.stack(list(means.values())).sum().backward()
        if self._fitting.clip_norm:
            self._members.clip(turn.parameters, self._fitting.clip_norm)
        turn.optimiser.step()
        turn.optimiser.zero_grad()
        return {name: mean.detach() for name, mean in means.items()}

    def _prepared(self, raw: Batch) -> tuple[Batch, Drawn]:
        """Scale features and add each member's noise; draw its random numbers."""
        if len(self._supplies) > 1:
            count = len(self._supplies)
            raw = Batch(
                {role: values.unflatten(0, (count, -1)) for role, values in raw.values.items()},
                None if raw.mask is None else raw.mask.unflatten(0, (count, -1)),
            )
        batch = self._scale.apply(raw)
        if self._schedule.noise:
            noise = self._joined([supply.noise(batch, self._device) for supply in self._supplies])
            batch = _with_noise(batch, noise)
        drawn = self._joined([supply.draw(self._device) for supply in self._supplies])
        kind = next(iter(batch.values.values())).dtype
        return batch, {name: value.to(kind) for name, value in drawn.items()}

    def _joined(self, parts: Sequence[Drawn]) -> Drawn:
        joined = {}
        for name in parts[0]:
            rows = [_lengthened(part[name], self._feed.steps) for part in parts]
            most = max(map(len, rows))
            # Of one member alone there is nothing to join, and these are as large as features.
            alone = len(rows) == 1
            joined[name] = rows[0] if alone else torch.stack([_filled(one, most) for one in rows])
        return joined

    def _examples(self, number: int) -> "_Examples":
        found = [supply.examples(number) for supply in self._supplies]
        if len(found) == 1:
            positions, labels = found[0]
            return _Examples(positions.to(self._device), labels.to(self._device), None)
        most = max(len(positions) for positions, _ in found)
        real = torch.stack([torch.arange(most) < len(positions) for positions, _ in found])
        return _Examples(
            torch.stack([_filled(positions, most) for positions, _ in found]).to(self._device),
            torch.stack([_filled(labels, most) for _, labels in found]).to(self._device),
            None if real.all() else real.to(self._device),
        )

    def _require(self, trains: tuple[str, ...]) -> None:
        for name, parameter in self._members.parameters.items():
            parameter.requires_grad_(not trains or name.startswith(trains))

    def _autocast(self) -> torch.autocast:
        half = self._fitting.precision == "bfloat16"
        return torch.autocast(self._device.type, torch.bfloat16, enabled=half)


class _Examples(NamedTuple):
    """(B, W) positions in the batch, (B, L) labels and, of many members, (M, B) which are real."""

    positions: Tensor
    labels: Tensor
    real: Tensor | None


class _Supply:
    """One member's mini-batches of one epoch."""

    def __init__(self, trainee: Trainee, feed: Feed, stage: int, epoch: int) -> None:
        self._trainee = trainee
        self._feed = feed
        self._plan = trainee.stages[stage]
        self._key = (trainee.seed, stage, epoch)
        order = self._generator(0, "cpu")
        examples = torch.as_tensor(np.ascontiguousarray(self._plan.examples))
        self._batches = torch.randperm(len(examples), generator=order).split(
            self._plan.schedule.batch
        )
        self._picks = self._generator(1, "cpu")
        self._noise: torch.Generator | None = None
        self._draws: torch.Generator | None = None
        self._longest = int(feed.lengths[trainee.places].max())
        self._counts: list[int] = []
        self._positions: dict[int, Tensor] = {}

    def wanted(self, numbers: Sequence[int]) -> Wanted:
        """The videos of some mini-batches, each once."""
        examples = [
            torch.as_tensor(np.ascontiguousarray(self._plan.examples))[self._batches[n]]
            for n in numbers
        ]
        videos, positions = torch.cat(examples).unique(return_inverse=True)
        parts = positions.split([len(one) for one in examples])
        self._positions |= dict(zip(numbers, parts, strict=True))
        self._counts.append(len(videos))
        alternatives = None
        if self._plan.schedule.vary and self._feed.alternatives > 1:
            shape = (len(videos), self._longest)
            alternatives = torch.randint(self._feed.alternatives, shape, generator=self._picks)
            alternatives = _lengthened(alternatives, self._feed.steps)
        return Wanted(self._trainee.places[videos], alternatives)

    def examples(self, number: int) -> tuple[Tensor, Tensor]:
        """(B, W) positions among the wanted videos, and (B, L) labels."""
        labels = torch.as_tensor(np.ascontiguousarray(self._plan.labels))[self._batches[number]]
        kind = next(self._trainee.network.parameters()).dtype
        return self._positions.pop(number), labels.to(kind)

    def noise(self, batch: Batch, device: torch.device) -> Drawn:
        """Of the videos wanted longest ago, by role."""
        schedule = self._plan.schedule
        if self._noise is None:
            self._noise = self._generator(2, device)
        found = {}
        for role, values in batch.values.items():
            shape = (self._longest, *self._feed.shapes[role])
            if not schedule.shared_noise:
                shape = (self._counts[0], *shape)
            noise = torch.randn(shape, generator=self._noise, device=device, dtype=values.dtype)
            noise = noise.mul_(schedule.noise)
            found[role] = noise[None] if schedule.shared_noise else noise
        return found

    def draw(self, device: torch.device) -> Drawn:
        """The network's random numbers for the videos wanted longest ago, which are done then."""
        if self._draws is None:
            self._draws = self._generator(3, device)
        return self._trainee.network.draw(self._counts.pop(0), self._longest, self._draws, device)

    def _generator(self, purpose: int, device: torch.device | str) -> torch.Generator:
        (state,) = np.random.SeedSequence([*self._key, purpose]).generate_state(1, np.uint64)
        # Seeds beyond int64 are refused.
        return torch.Generator(device).manual_seed(int(state >> np.uint64(1)))


def _side_by_side(wanted: Sequence[Wanted]) -> Wanted:
    """What all members want, one after the other, each list as long as the longest."""
    if len(wanted) == 1:
        return wanted[0]
    most = max(len(one.videos) for one in wanted)
    videos = torch.cat([_filled(one.videos, most) for one in wanted])
    drawn = [one.alternatives for one in wanted if one.alternatives is not None]
    return Wanted(videos, torch.cat([_filled(one, most) for one in drawn]) if drawn else None)


def _filled(rows: Tensor, most: int) -> Tensor:
    """The rows with the first one again for those that a member lacks.

    A real one in place of zeros: nothing need be finite, nor smooth, of a video or an example that
    nobody gave, such as a video beside itself, and nan times 0 is nan.
    """
    lacking = most - len(rows)
    return torch.cat([rows, rows[:1].expand(lacking, *rows.shape[1:])]) if lacking else rows


def _with_noise(batch: Batch, noise: Drawn) -> Batch:
    """The batch with noise on its real rows; those of padding stay 0."""
    values = {}
    for role, rows in batch.values.items():
        added = noise[role]
        if batch.mask is not None:
            added = added * batch.mask[(..., *[None] * (rows.ndim - batch.mask.ndim))]
        values[role] = rows + added
    return Batch(values, batch.mask)


def _lengthened(tensor: Tensor, steps: int) -> Tensor:
    """(V, steps, ...) the tensor with zeros behind its second axis."""
    lacking = steps - tensor.shape[1]
    if not lacking:
        return tensor
    return torch.cat([tensor, tensor.new_zeros(len(tensor), lacking, *tensor.shape[2:])], dim=1)


def _stacked_scales(scales: Sequence[Scale]) -> Scale:
    def together(parts: Sequence[Tensor]) -> Tensor:
        return torch.stack(list(parts))[:, None, None]

    roles = scales[0].mean
    return Scale(
        {role: together([scale.mean[role] for scale in scales]) for role in roles},
        {role: together([scale.factor[role] for scale in scales]) for role in roles},
    )


def _mean(terms: Tensor, real: Tensor | None) -> Tensor:
    """(M,) mean of each member's (M, B) terms over the examples that are real."""
    if real is None:
        return terms.mean(dim=1)
    return torch.where(real, terms, 0).sum(dim=1) / real.sum(dim=1)


def _detached(encoding: Any) -> Any:
    return torch.utils._pytree.tree_map(
        lambda leaf: leaf.detach() if isinstance(leaf, Tensor) else leaf, encoding
    )


def means_of(steps: Sequence[Losses]) -> dict[str, Tensor]:
    """(M,) mean of each loss over the steps that have it."""
    names = dict.fromkeys(itertools.chain.from_iterable(steps))
    return {name: torch.stack([s[name] for s in steps if name in s]).mean(dim=0) for name in names}
