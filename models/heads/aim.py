"""Asymmetric interaction (Gao et al., "An Asymmetric Modeling for Action Assessment", ECCV 2020).

Who acts is divided into a primary agent, which dominates, and secondary ones: in surgery the tips of
the master tools, and those of the slave tools with their handles. An asymmetric interaction module
(AIM) compares the two at each step and reads the comparisons with an LSTM. An attention that looks at
the whole scene weighs its outcome against the scene itself, a regression gives each step a score, and
their sum is the score of the video.

The authors published no code, and their supplement, which has the preprocessing, is not at hand. What
the paper leaves open is decided here and said to be our choice.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ...features.errors import RecipeError
from ..data import Targets, VideoFeatures
from ..deep import DeepHead
from ..head import Explanation, LearnsFrom, Role
from ..method import Memory, Method, Seen
from ..network import (
    Batch,
    Drawn,
    Losses,
    Network,
    Phase,
    Rate,
    Schedule,
    Stage,
    draw_dropout,
    dropout,
)
from ..ranges import require_bounded, require_counts
from ..reading import Reading
from ..recurrent import LSTM
from ..schedules import constant, cycle, step_decay

Variant = Literal[
    "full",
    "without-aim",
    "without-fusion",
    "exchanged",
    "without-transformation",
    "without-difference",
    "scene-only",
    "scene-kinetic",
]
Rates = Literal["cycle", "constant", "steps"]
Labels = Literal["rescaled", "raw"]
Given = TypeVar("Given")

ROLES = (
    Role("primary", "kinematics or poses of the primary agent, one vector a step", optional=True),
    Role("secondary", "those of the secondary agents, one vector a step", optional=True),
    Role("scene", "the whole scene, one vector a step, such as I3D's logits"),
)
LEARNS_FROM: LearnsFrom = "scores"
READINGS: Mapping[str, Reading] = {
    "score": Reading(
        "step score", "What each step adds to the score of the video.", "value", "both"
    ),
    "execution": Reading(
        "step score of the execution",
        "What each step adds to the score of the execution.",
        "value",
        "both",
    ),
    "synchronisation": Reading(
        "step score of the synchronisation",
        "What each step adds to the score of the synchronisation.",
        "value",
        "both",
    ),
    "scene_weight": Reading(
        "weight of the scene",
        "How much of the step's score is read from the scene as a whole.",
        "attention",
        "nothing",
    ),
    "interaction_weight": Reading(
        "weight of the interaction",
        "How much of the step's score is read from how those who act move together.",
        "attention",
        "nothing",
    ),
}
# Without an AIM feature; without two streams that could be fused.
_ONE_STREAM: tuple[Variant, ...] = ("scene-only", "scene-kinetic")
TASKS = ("score", "execution", "synchronisation")
_STREAMS = ("scene_weight", "interaction_weight")
_CYCLE_FACTORS, _CYCLE_ENDS = (1.0, 0.1, 0.01), (20, 50, 100)
_STEPS, _STEP_FACTOR = 3, 0.1
_DEVIATION = 5.0  # of rescaled scores


@dataclass(frozen=True)
class Options:
    """Settings; the defaults are those of section 5.1 unless said otherwise.

    Args:
        variant: ``full``; or, of section 5.3, ``without-aim`` (primary and secondary side by side
            through one layer with ReLU, in place of the AIM feature), ``without-fusion`` (half of
            either stream), ``exchanged`` (primary and secondary swap their parts),
            ``without-transformation`` (both must have as many channels), ``without-difference`` (what
            is transformed stands beside the primary and is not subtracted), ``scene-only`` (the
            paper's baseline); or, of section 5.2, ``scene-kinetic`` (scene, primary and secondary
            side by side in place of the scene). What the layers of ``without-aim`` and
            ``scene-kinetic`` look like is our choice.
        hidden: d, width of the encoded scene and of the LSTM's state.
        regression_hidden: width of the first layer of a regression.
        dropout: share of that layer's outputs that training leaves out; where, is our choice.
        multi_task: learn the scores of execution and synchronisation as well, section 4.
        theta: weight of the execution in equation 8; synchronisation has 1 - theta.
        epochs: passes over the videos.
        batch_videos: videos a mini-batch.
        learning_rate: of Adam, the largest of its cycle.
        schedule: ``cycle`` has it in the first 20 of every 100 epochs, a tenth until the 50th and a
            hundredth for the rest; ``constant``; ``steps`` takes a tenth after each third of the
            epochs. The latter two are not in the paper.
        weight_decay: of Adam, added to the gradients; 0.8 for AQA-7 (section 5.5).
        labels: ``rescaled`` learns scores in units in which those that train have mean 0 and
            deviation 5, and turns them back (our choice); ``raw`` learns them as they are (the
            paper). Adam with so strong a decay moves weights that matter less to the loss than to the
            decay towards 0 and stops where the two balance, which depends on the unit of the scores:
            five suits scores from 6 to 30, as the paper's surgical ones are.
        standardise: scale each channel to mean 0 and deviation 1 over the training videos (our
            choice: the units of kinematics differ, and metres would drown in logits).

    Raises:
        ValueError: a number out of its range, or several tasks for a variant with one stream.
    """

    variant: Variant = "full"
    hidden: int = 512
    regression_hidden: int = 128
    dropout: float = 0.2
    multi_task: bool = False
    theta: float = 0.4
    epochs: int = 3000
    batch_videos: int = 64
    learning_rate: float = 1e-4
    schedule: Rates = "cycle"
    weight_decay: float = 0.5
    labels: Labels = "rescaled"
    standardise: bool = True

    def __post_init__(self) -> None:
        require_counts(self, "hidden", "regression_hidden", "epochs", "batch_videos")
        require_bounded(self, "weight_decay")
        require_bounded(self, "learning_rate", positive=True)
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout is {self.dropout}; it must be from 0 to less than 1")
        if not 0 <= self.theta <= 1:
            raise ValueError(f"theta is {self.theta}; it must be from 0 to 1")
        if self.multi_task and self.variant in _ONE_STREAM:
            raise ValueError(
                f"multi_task is true and variant is {self.variant}, which has no interaction to "
                "score; choose another variant"
            )

    @property
    def tasks(self) -> tuple[str, ...]:
        """Names of the scores that are learned."""
        return TASKS if self.multi_task else TASKS[:1]


class Encoding(NamedTuple):
    """What the network makes of V videos of T steps.

    Args:
        fused: (V, T, d) equation 4, what the score is read from.
        scores: by task, (V, T) score of each step, 0 in padding.
        weights: by stream, (V, T) its weight in the fusion, 0 in padding; empty where there is one
            stream alone.
    """

    fused: Tensor
    scores: dict[str, Tensor]
    weights: dict[str, Tensor]

    def totals(self, task: str) -> Tensor:
        """(V,) the sum over steps: equations 6 and 7."""
        return self.scores[task].sum(dim=1)


class AsymmetricInteraction(nn.Module):
    """The module that gives the method its name: equations 1 to 3.

    The paper's transformation has as many inputs as outputs, those of the primary. Where the
    secondary has another number of channels, it maps from that number to the primary's.

    Args:
        primary: N, channels of the primary.
        secondary: channels of the secondary.
        options: width and variant.
    """

    def __init__(self, primary: int, secondary: int, options: Options) -> None:
        super().__init__()
        transforms = options.variant != "without-transformation"
        self.subtracts = options.variant != "without-difference"
        self.transform = nn.Linear(secondary, primary) if transforms else nn.Identity()
        self.lstm = LSTM(2 * primary, options.hidden)

    def forward(self, primary: Tensor, secondary: Tensor, mask: Tensor | None) -> Tensor:
        """(V, T, d) AIM feature from (V, T, N) and (V, T, S)."""
        transformed = self.transform(secondary)
        compared = primary - transformed if self.subtracts else transformed  # equation 1
        states: Tensor = self.lstm(torch.cat([primary, compared], dim=-1), mask)  # equations 2, 3
        return states


class PlainInteraction(nn.Module):
    """What stands in its place in ``without-aim``: one layer; arguments as above."""

    def __init__(self, primary: int, secondary: int, options: Options) -> None:
        super().__init__()
        self.layer = nn.Linear(primary + secondary, options.hidden)

    def forward(self, primary: Tensor, secondary: Tensor, mask: Tensor | None) -> Tensor:
        """(V, T, d)."""
        joined: Tensor = self.layer(torch.cat([primary, secondary], dim=-1))
        return joined.relu()


class Regression(nn.Module):
    """R of equations 6 and 7: two layers that give each step a score.

    Args:
        channels: d.
        hidden: width of the first.
    """

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.first = nn.Linear(channels, hidden)
        self.second = nn.Linear(hidden, 1)

    def forward(self, features: Tensor, drawn: Drawn, task: str) -> Tensor:
        """(V, T) from (V, T, d); dropout as drawn for the task."""
        hidden = dropout(self.first(features).relu(), drawn, task)
        scores: Tensor = self.second(hidden)
        return scores.squeeze(-1)


class AsymmetricNetwork(Network):
    """The network of figure 2, and its variants.

    Args:
        channels: of each role that the variant looks at.
        options: sizes and variant.
    """

    def __init__(self, channels: Mapping[str, int], options: Options) -> None:
        super().__init__()
        variant = options.variant
        self.variant = variant
        self.share = options.dropout
        self.regression_hidden = options.regression_hidden
        scene = sum(channels.values()) if variant == "scene-kinetic" else channels["scene"]
        self.encoder = nn.Linear(scene, options.hidden)
        if variant not in _ONE_STREAM:
            kind = PlainInteraction if variant == "without-aim" else AsymmetricInteraction
            primary, secondary = self._agents(channels["primary"], channels["secondary"])
            self.interaction = kind(primary, secondary, options)
            if variant != "without-fusion":
                self.key = nn.Linear(scene, options.hidden)
        self.regressions = nn.ModuleDict(
            {task: Regression(options.hidden, options.regression_hidden) for task in options.tasks}
        )

    def draw(
        self, videos: int, steps: int, generator: torch.Generator, device: torch.device
    ) -> Drawn:
        """Which outputs of each regression's first layer are left out."""
        if not self.share:
            return {}
        shape = (videos, steps, self.regression_hidden)
        return {
            task: draw_dropout(shape, self.share, generator, device) for task in self.regressions
        }

    def encode(self, batch: Batch, drawn: Drawn) -> Encoding:
        """See :class:`Encoding`."""
        values, mask = batch.values, batch.mask
        scene = values["scene"]
        if self.variant == "scene-kinetic":
            scene = torch.cat([scene, values["primary"], values["secondary"]], dim=-1)
        encoded = self.encoder(scene).relu()  # X of section 3.2
        if self.variant in _ONE_STREAM:
            read, weights = {"score": encoded}, {}
        else:
            agents = self._agents(values["primary"], values["secondary"])
            streams = torch.stack([encoded, self.interaction(*agents, mask)], dim=-2)
            shares = self._shares(streams, scene)
            fused = (shares[..., None] * streams).sum(dim=-2)  # equation 4
            read = dict(zip(TASKS, (fused, *streams.unbind(dim=-2)), strict=True))
            weights = dict(zip(_STREAMS, shares.unbind(dim=-1), strict=True))
        scores = {
            task: regression(read[task], drawn, task)
            for task, regression in self.regressions.items()
        }
        return Encoding(
            read["score"], _without_padding(scores, mask), _without_padding(weights, mask)
        )

    def _agents(self, primary: Given, secondary: Given) -> tuple[Given, Given]:
        """Who takes the part of the primary, and who that of the secondary."""
        return (secondary, primary) if self.variant == "exchanged" else (primary, secondary)

    def _shares(self, streams: Tensor, scene: Tensor) -> Tensor:
        """(V, T, 2) weights of the two streams: equation 5.

        The equation leaves the shape of X + Y open. Here X and Y in R^d stand side by side as the
        columns of a d x 2 matrix, the one reading in which equations 4 and 5 fit the sizes that the
        paper gives: its transpose times the key in R^d makes two numbers a step, softmax turns them
        into one weight a stream, and their sum with these weights is Z in R^d again.

        Args:
            streams: (V, T, 2, d) encoded scene X and AIM feature Y.
            scene: (V, T, C) what the key is learned from.
        """
        if self.variant == "without-fusion":
            return torch.full_like(streams[..., 0], 0.5)
        key: Tensor = self.key(scene)
        return (streams * key[..., None, :]).sum(dim=-1).softmax(dim=-1)


def _without_padding(steps: Mapping[str, Tensor], mask: Tensor | None) -> dict[str, Tensor]:
    if mask is None:
        return dict(steps)
    return {name: torch.where(mask, values, 0) for name, values in steps.items()}


def squared_error(scores: Tensor, labels: Tensor) -> Tensor:
    """Terms of the mean squared error, section 3.3: (B,) of (B,) scores and (B,) labels."""
    return (scores - labels).square()


def losses(
    theta: float,
    network: AsymmetricNetwork,
    batch: Batch,
    encoding: Encoding,
    positions: Tensor,
    labels: Tensor,
) -> Losses:
    """Equation 8; without further tasks the first of its terms alone.

    Args:
        theta: weight of the execution.
        network: that made the encoding.
        batch: of V videos.
        encoding: of them.
        positions: (B, 1) of each example's video in the batch.
        labels: (B, L) its scores, in the order of ``TASKS``.
    """
    weights = dict(zip(TASKS, (1.0, theta, 1 - theta), strict=True))
    chosen = positions[:, 0]
    return {
        task: weights[task] * squared_error(encoding.totals(task)[chosen], labels[:, number])
        for number, task in enumerate(TASKS)
        if task in encoding.scores
    }


class Units(NamedTuple):
    """How scores are learned: less the offset, divided by the scale; (L,) each, one a task."""

    offset: NDArray[np.float64]
    scale: NDArray[np.float64]


class AIM(Method):
    """What the head adds to all deep heads.

    Args:
        options: settings.
    """

    def __init__(self, options: Options) -> None:
        self.options = options
        self.standardise = options.standardise
        needed = ("scene",) if options.variant == "scene-only" else [role.name for role in ROLES]
        # All that a variant looks at must be there; what it does not is not even loaded.
        self.roles = tuple(replace(role, optional=False) for role in ROLES if role.name in needed)

    def network(self, shapes: Mapping[str, tuple[int, ...]]) -> AsymmetricNetwork:
        """See :class:`..method.Method`.

        Raises:
            RecipeError: without transformation, primary and secondary must have as many channels.
        """
        channels = {role: shape[0] for role, shape in shapes.items()}
        if self.options.variant == "without-transformation":
            primary, secondary = channels["primary"], channels["secondary"]
            if primary != secondary:
                raise RecipeError(
                    f"variant=without-transformation subtracts {secondary} channels of secondary "
                    f"from {primary} of primary; give features of the same width, or leave the "
                    "variant out"
                )
        return AsymmetricNetwork(channels, self.options)

    def stages(
        self, videos: Sequence[VideoFeatures], targets: Targets, rng: np.random.Generator
    ) -> list[Stage]:
        """One, of the videos that have a score."""
        options = self.options
        which, labels = _known_labels(videos, targets, options.tasks)
        units = _units(labels, options.labels)
        phase = Phase(
            functools.partial(losses, options.theta),
            functools.partial(
                torch.optim.Adam,
                lr=options.learning_rate,
                weight_decay=options.weight_decay,
                fused=True,
            ),
            rate_of(options),
        )
        learned = (labels - units.offset) / units.scale
        return [
            Stage([phase], which[:, None], learned, Schedule(options.epochs, options.batch_videos))
        ]

    def remember(
        self,
        network: AsymmetricNetwork,
        see: Callable[[Sequence[VideoFeatures]], Seen],
        videos: Sequence[VideoFeatures],
        targets: Targets,
    ) -> Memory:
        """How scores were scaled."""
        _, labels = _known_labels(videos, targets, self.options.tasks)
        units = _units(labels, self.options.labels)
        return Memory({name: torch.from_numpy(values) for name, values in units._asdict().items()})

    def scores(self, network: AsymmetricNetwork, memory: Memory, seen: Seen) -> Tensor:
        """(V,) equation 6, as scores are given."""
        encoding: Encoding = seen.encoding
        return _given(encoding.totals("score"), memory, "score")

    def explain(self, network: AsymmetricNetwork, memory: Memory, seen: Seen) -> Explanation:
        """The score of each step by each task, and the weights of the fusion.

        The scores of all steps sum up to that of the video, for each task. The weights of the scene
        and of the interaction sum up to 1 at each step.
        """
        encoding: Encoding = seen.encoding
        steps = len(seen.videos[0].times)
        curves = {
            task: _given(scores[0], memory, task, steps) for task, scores in encoding.scores.items()
        } | {stream: weights[0].double() for stream, weights in encoding.weights.items()}
        return Explanation(
            seen.videos[0].times,
            {name: curve.cpu().numpy() for name, curve in curves.items()},
            {task: float(curves[task].sum()) for task in encoding.scores},
        )

    def embed(self, network: AsymmetricNetwork, memory: Memory, seen: Seen) -> Tensor:
        """(V, d) mean over the steps of what the score is read from."""
        fused: Tensor = seen.encoding.fused
        if seen.batch.mask is None:
            return fused.mean(dim=1)
        real = seen.batch.mask[..., None]
        return (fused * real).sum(dim=1) / real.sum(dim=1)


def build(options: Options, seed: int, device: str) -> DeepHead:
    """The head, not trained yet."""
    return DeepHead(AIM(options), seed, device)


def rate_of(options: Options) -> Rate:
    """The learning rate by epoch that the options ask for."""
    rate = options.learning_rate
    if options.schedule == "cycle":
        return cycle([rate * factor for factor in _CYCLE_FACTORS], _CYCLE_ENDS)
    if options.schedule == "steps":
        return step_decay(rate, _STEP_FACTOR, -(-options.epochs // _STEPS))
    return constant(rate)


def _given(learned: Tensor, memory: Memory, task: str, parts: int = 1) -> Tensor:
    """What was learned in the units in which scores are given, or of one of several equal parts."""
    offset, scale = (
        memory.tensors[name][TASKS.index(task)].to(learned.device) for name in Units._fields
    )
    return learned.double() * scale + offset / parts


def _known_labels(
    videos: Sequence[VideoFeatures], targets: Targets, tasks: Sequence[str]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """(N,) positions of the videos that have a score, and (N, L) their labels by task.

    Raises:
        RecipeError: fewer than two have one, or one of them lacks that of another task.
    """
    which, scores = targets.some_scores("aim", "a head that learns from pairs")
    unknown = np.full(len(videos), np.nan)
    labels = np.stack(
        [scores, *(targets.parts.get(task, unknown)[which] for task in tasks[1:])], axis=1
    )
    for place, column in np.argwhere(~np.isfinite(labels)):
        raise RecipeError(
            f"video '{videos[which[place]].id}' has no {tasks[column]} score; fill in the "
            f"manifest's column score_{tasks[column]}, or leave out multi_task=true"
        )
    return which, labels


def _units(labels: NDArray[np.float64], kind: Labels) -> Units:
    if kind == "raw":
        return Units(np.zeros(labels.shape[1]), np.ones(labels.shape[1]))
    deviation = labels.std(axis=0)
    # Equal scores have no deviation to divide by, and nothing to tell.
    return Units(labels.mean(axis=0), np.where(deviation > 0, deviation / _DEVIATION, 1.0))
