"""Spatial attention (Li et al., ICCV Workshops 2019, arXiv 1901.02579).

From each segment of a video comes one frame, as maps of a network that saw the picture and of one
that saw the flow around it. They are fused, and at each step an attention over the places of the
fused map is derived from the map as a whole and from what was seen before. A recurrent unit
aggregates the attended features, and the score is read from its last state.

Where the authors' code differs from their paper, the paper is the default and the code is
``reading=released``. The code also begins with random states, even in a test; here states begin with
zeros in both readings. Training on randomised labels (section 4.4) is ``--shuffle-pairs`` of the
command, as for every head.

The baseline ``cbam`` is Woo et al., "CBAM: Convolutional Block Attention Module", ECCV 2018 (arXiv
1807.06521).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from ...features.errors import RecipeError
from .. import reading
from ..data import Targets, VideoFeatures
from ..deep import DeepHead
from ..head import Explanation, LearnsFrom, Role
from ..losses import margin_ranking_loss
from ..method import Memory, Method, Seen
from ..network import Batch, Drawn, Losses, Network, Phase, Schedule, Stage
from ..ranges import require_bounded, require_counts
from ..recurrent import GRUCell
from ..schedules import constant

Reading = Literal["paper", "released"]
Variant = Literal["full", "without-attention-gru", "low-level", "skill-state", "cbam"]

ROLES = (
    Role("rgb", "maps of single frames, (C, H, W) a step", axes=3, optional=True),
    Role("flow", "maps of stacked flow, (C, H, W) a step", axes=3, optional=True),
)
LEARNS_FROM: LearnsFrom = "pairs"
READINGS: Mapping[str, reading.Reading] = {
    "score_so_far": reading.Reading(
        "score so far",
        "The score of the video up to each step: where it rises, the step spoke for the performance.",
        "running",
        "both",
    )
}

_KERNEL = 2  # of the first fusion layer, section 3.5
_STRIDES: dict[Reading, int] = {"paper": 1, "released": 2}
_CBAM_REDUCTION = 16  # Woo et al., section 4
_CBAM_KERNEL = 7  # Woo et al., equation 3


@dataclass(frozen=True)
class Options:
    """Settings; the defaults are those of section 3.5 unless said otherwise.

    Args:
        fusion: kernels of the first fusion layer.
        channels: C of the fused map, kernels of the second fusion layer.
        hidden: width of the states of both recurrent units.
        attend: width of the attention layer, equation 5.
        epochs: passes over the pairs (authors' code, which has 70 for dough rolling; the paper does
            not say).
        batch_pairs: pairs a mini-batch (authors' code; the paper does not say).
        learning_rate: of stochastic gradient descent; 0.0005 for the videos of infants.
        momentum: of it.
        weight_decay: of it, on all parameters.
        margin: epsilon of equation 11.
        variant: ``full``; or, of section 4.4, ``without-attention-gru`` (one fully connected layer in
            its place), ``low-level`` (the attention's unit sees only the map), ``skill-state`` (it
            sees only what was seen before); or, of section 4.2, ``cbam`` (attention of the map alone,
            see :class:`ConvolutionalAttention`).
        reading: ``paper``; ``released`` moves the first fusion layer by 2 places instead of 1, and
            normalises the map's vector and the skill state before the attention looks at them.
        standardise: scale each channel to mean 0 and deviation 1 over the training videos; for
            features that are not of unit scale, such as ``flow-hist:grid`` (not in the paper).

    Raises:
        ValueError: a number out of its range.
    """

    fusion: int = 512
    channels: int = 256
    hidden: int = 128
    attend: int = 32
    epochs: int = 30
    batch_pairs: int = 16
    learning_rate: float = 1e-3
    momentum: float = 0.9
    weight_decay: float = 1e-3
    margin: float = 0.5
    variant: Variant = "full"
    reading: Reading = "paper"
    standardise: bool = False

    def __post_init__(self) -> None:
        require_counts(self, "fusion", "channels", "hidden", "attend", "epochs", "batch_pairs")
        require_bounded(self, "weight_decay", "margin")
        require_bounded(self, "learning_rate", positive=True)
        if not 0 <= self.momentum < 1:
            raise ValueError(f"momentum is {self.momentum}; it must be from 0 to less than 1")


class Encoding(NamedTuple):
    """What the network makes of V videos of T steps.

    Args:
        scores: (V,) equation 9.
        skill: (V, hidden) skill state after the last step.
        so_far: (V, T) what the score would be if the video ended with each step.
        attention: (V, T, h, w) weights of the places of the fused map, equation 6. They sum to 1
            over the places of a step; those of padding are 0.
    """

    scores: Tensor
    skill: Tensor
    so_far: Tensor
    attention: Tensor


class GuidedAttention(nn.Module):
    """The attention of the paper: from the map as a whole and what was seen before.

    The paper gives W_xa 512 columns although the fused map has 256 channels; here its columns follow
    the channels.

    Args:
        options: sizes, variant and reading.
    """

    def __init__(self, options: Options) -> None:
        super().__init__()
        channels, hidden = options.channels, options.hidden
        self.sees_map = options.variant != "skill-state"
        self.sees_state = options.variant != "low-level"
        inputs = channels * self.sees_map + hidden * self.sees_state
        recurs = options.variant != "without-attention-gru"
        self.unit = _orthogonal(GRUCell(inputs, hidden)) if recurs else nn.Linear(inputs, hidden)
        self.of_place = nn.Linear(channels, options.attend)  # W_xa, b_xa
        self.of_state = nn.Linear(hidden, options.attend)  # W_ha, b_ha
        self.weigh = nn.Linear(options.attend, 1, bias=False)  # omega_a
        normalise = options.reading == "released"
        norms = (channels, self.sees_map), (hidden, self.sees_state)
        self.map_norm, self.state_norm = (
            nn.LayerNorm(width) if normalise and sees else nn.Identity() for width, sees in norms
        )

    def prepare(self, maps: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """What does not depend on the states, for all steps at once.

        Args:
            maps: (V, T, C, h, w) fused.

        Returns:
            (V, T, P, C) features of the P = h w places; and by step the map's vector (V, T, C),
            equation 2, and what equation 5 makes of the places alone (V, T, P, attend).
        """
        places = maps.flatten(3).mT
        pooled = self.map_norm(places.mean(dim=2) + places.amax(dim=2))
        return places, (pooled, self.of_place(places))

    def step(
        self, prepared: Sequence[Tensor], skill: Tensor, state: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Equations 3 to 6.

        Args:
            prepared: of one step, from :meth:`prepare`.
            skill: (V, hidden) skill state before the step.
            state: (V, hidden) of the attention's recurrent unit before the step.

        Returns:
            (V, P) weights that sum to 1, and (V, hidden) the unit's state after the step.
        """
        pooled, of_place = prepared
        looks_at = [pooled] * self.sees_map + [self.state_norm(skill)] * self.sees_state
        seen = torch.cat(looks_at, dim=-1)
        state = self.unit(seen, state) if isinstance(self.unit, GRUCell) else self.unit(seen)
        energy = (of_place + self.of_state(state)[:, None]).tanh()  # (V, P, attend)
        return self.weigh(energy).squeeze(-1).softmax(dim=-1), state


class ConvolutionalAttention(nn.Module):
    """The baseline of section 4.2: channel and then spatial attention of Woo et al.

    It looks at one fused map at a time and neither at the skill state nor at earlier maps. Where Woo
    et al. squash the spatial map by a sigmoid, multiply the features with it and go on with a map,
    here a vector is wanted: a softmax over the places takes the sigmoid's place and gives the
    weights of equation 7 (authors' code). What is weighted has the channel attention in it. Layers
    are those of Woo et al. in both readings; the authors' code has others.

    Args:
        channels: C of the fused map.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        narrow = max(1, channels // _CBAM_REDUCTION)
        self.narrow = nn.Linear(channels, narrow)
        self.widen = nn.Linear(narrow, channels)
        self.place = nn.Conv2d(2, 1, _CBAM_KERNEL, padding=_CBAM_KERNEL // 2, bias=False)

    def prepare(self, maps: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """As of :class:`GuidedAttention`, but for the weights: the logits (V, T, P) are all."""
        pooled = torch.stack([maps.mean(dim=(3, 4)), maps.amax(dim=(3, 4))])
        channel = self.widen(functional.relu(self.narrow(pooled))).sum(dim=0).sigmoid()
        refined = maps * channel[..., None, None]
        both = torch.stack([refined.mean(dim=2), refined.amax(dim=2)], dim=2)  # (V, T, 2, h, w)
        logits = self.place(both.flatten(0, 1)).flatten(1).unflatten(0, both.shape[:2])
        return refined.flatten(3).mT, (logits,)

    def step(
        self, prepared: Sequence[Tensor], skill: Tensor, state: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Weights of the places, whatever was seen before."""
        return prepared[0].softmax(dim=-1), state


class SpatialAttention(Network):
    """The network.

    Args:
        shapes: (C, H, W) of the maps, by role; one size of all, of at least 2 x 2.
        options: sizes, variant and reading.
    """

    def __init__(self, shapes: Mapping[str, tuple[int, ...]], options: Options) -> None:
        super().__init__()
        # In an order of their own: which weights belong to which stream must not depend on who asks.
        self.roles = [role.name for role in ROLES if role.name in shapes]
        self.widths = [shapes[role][0] for role in self.roles]
        self.stride = _STRIDES[options.reading]
        self.hidden = options.hidden
        self.first = nn.Conv2d(sum(self.widths), options.fusion, _KERNEL, self.stride)
        self.second = nn.Conv2d(options.fusion, options.channels, 1)
        self.attention: GuidedAttention | ConvolutionalAttention = (
            ConvolutionalAttention(options.channels)
            if options.variant == "cbam"
            else GuidedAttention(options)
        )
        self.skill = _orthogonal(GRUCell(options.channels, options.hidden))
        self.score = nn.Linear(options.hidden, 1)

    def encode(self, batch: Batch, drawn: Drawn) -> Encoding:
        """Score videos: equations 1 to 9; see :class:`..network.Network`."""
        maps = self.fuse(batch.values)
        places, prepared = self.attention.prepare(maps)
        # Of the parameters' type: a state in half precision would lose what each step adds to it.
        skill = state = self.score.weight.new_zeros(maps.shape[0], self.hidden)
        skills, attention = [], []
        for number in range(maps.shape[1]):
            now = [each[:, number] for each in prepared]
            weights, state = self.attention.step(now, skill, state)
            attended = (weights[:, None] @ places[:, number]).squeeze(1)  # equation 7
            after = self.skill(attended, skill)  # equation 8
            if batch.mask is not None:
                real = batch.mask[:, number, None]
                after, weights = torch.where(real, after, skill), weights * real
            skill = after
            skills.append(skill)
            attention.append(weights)
        so_far = self.score(torch.stack(skills, dim=1)).squeeze(-1)
        shown = torch.stack(attention, dim=1).unflatten(2, maps.shape[3:])
        # Padding comes last and leaves the skill state alone: it is that of the last real step.
        return Encoding(so_far[:, -1], skill, so_far, shown)

    def fuse(self, values: Mapping[str, Tensor]) -> Tensor:
        """(V, T, C, h, w) fused maps: equation 1.

        All maps of a stream are one convolution. The sum of the streams' convolutions is that of
        their concatenation, without the copy of gigabytes that the latter would take.

        Args:
            values: by role, (V, T, c, H, W).
        """
        shape = values[self.roles[0]].shape[:2]
        weights = self.first.weight.split(self.widths, dim=1)
        maps = [values[role].flatten(0, 1) for role in self.roles]
        hidden = functional.conv2d(maps[0], weights[0], self.first.bias, self.stride)
        for more, weight in zip(maps[1:], weights[1:], strict=True):
            hidden = hidden + functional.conv2d(more, weight, stride=self.stride)
        fused: Tensor = self.second(functional.relu(hidden)).unflatten(0, shape)
        return fused


def ranking_losses(encoding: Encoding, positions: Tensor, margin: float) -> Losses:
    """Equation 11; the paper sums over pairs where the trainer takes the mean (authors' code).

    Args:
        encoding: of V videos.
        positions: (B, 2) of the better and of the worse video of each pair.
        margin: epsilon.
    """
    better, worse = (encoding.scores[side] for side in positions.unbind(dim=1))
    return {"ranking": margin_ranking_loss(better, worse, margin)}


class SpatialAttentionMethod(Method):
    """What the head adds to all deep heads.

    Args:
        options: settings.
    """

    roles = ROLES
    small = False

    def __init__(self, options: Options) -> None:
        self.options = options
        self.standardise = options.standardise

    def network(self, shapes: Mapping[str, tuple[int, ...]]) -> SpatialAttention:
        """See :class:`..method.Method`.

        Raises:
            RecipeError: maps of different sizes, or too small ones.
        """
        sizes = {role: shape[1:] for role, shape in shapes.items()}
        if len(set(sizes.values())) > 1:
            found = " and ".join(f"{role} {_by(size)}" for role, size in sizes.items())
            raise RecipeError(
                f"the maps differ in size ({found}); give spatial-attention two features of one size"
            )
        for role, size in sizes.items():
            if min(size) < _KERNEL:
                raise RecipeError(
                    f"the maps of {role} are {_by(size)}; spatial-attention needs a feature with "
                    "maps of at least 2 x 2, such as resnet101:conv5"
                )
        return SpatialAttention(shapes, self.options)

    def stages(
        self, videos: Sequence[VideoFeatures], targets: Targets, rng: np.random.Generator
    ) -> list[Stage]:
        """Ranking of pairs, section 3.5; of each segment one stored frame is drawn at random."""
        options = self.options
        phase = Phase(self._losses, self._optimiser, constant(options.learning_rate))
        labels = np.zeros((len(targets.pairs), 0))
        schedule = Schedule(options.epochs, options.batch_pairs, vary=True)
        return [Stage([phase], targets.pairs, labels, schedule)]

    def scores(self, network: SpatialAttention, memory: Memory, seen: Seen) -> Tensor:
        """Equation 9."""
        scores: Tensor = seen.encoding.scores
        return scores

    def explain(self, network: SpatialAttention, memory: Memory, seen: Seen) -> Explanation:
        """The score so far, and where the attention was at each step.

        Each weight is shared out evenly over the places that its cell of the fused map sees, so that
        the maps have the size of the feature and each still sums to 1.
        """
        encoding, video = seen.encoding, seen.videos[0]
        size = video.main.values.shape[2:]
        attention = spread(encoding.attention[0].double(), size, network.stride)
        so_far = encoding.so_far[0].double()
        return Explanation(
            video.times,
            curves={"score_so_far": so_far.cpu().numpy()},
            scores={"score": float(encoding.scores[0])},
            maps={"attention": attention.cpu().numpy()},
        )

    def embed(self, network: SpatialAttention, memory: Memory, seen: Seen) -> Tensor:
        """The skill state after the last step, of which the score is a linear function."""
        skill: Tensor = seen.encoding.skill
        return skill

    def _losses(
        self, network: Any, batch: Batch, encoding: Encoding, positions: Tensor, labels: Tensor
    ) -> Losses:
        return ranking_losses(encoding, positions, self.options.margin)

    def _optimiser(self, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        options = self.options
        return torch.optim.SGD(
            parameters,
            lr=options.learning_rate,
            momentum=options.momentum,
            weight_decay=options.weight_decay,
        )


def build(options: Options, seed: int, device: str) -> DeepHead:
    """The head, not trained yet."""
    return DeepHead(SpatialAttentionMethod(options), seed, device)


def spread(attention: Tensor, size: Sequence[int], stride: int) -> Tensor:
    """Weights of the fused map as weights of the places that it was made of.

    A cell of the fused map sees 2 x 2 places, and lies in the middle of them: with a stride of 1 the
    13 x 13 cells of a 14 x 14 map lie on the corners between its places.

    Args:
        attention: (T, h, w).
        size: H and W of the map before the fusion.
        stride: of the fusion.

    Returns:
        (T, H, W), each with the sum that it had; places that no cell sees have 0.
    """
    evenly = attention.new_full((1, 1, _KERNEL, _KERNEL), 1 / _KERNEL**2)
    places = functional.conv_transpose2d(attention[:, None], evenly, stride=stride)[:, 0]
    height, width = (whole - part for whole, part in zip(size, places.shape[1:], strict=True))
    return functional.pad(places, (0, width, 0, height))


def _orthogonal(cell: GRUCell) -> GRUCell:
    """Orthogonal weights (authors' code; the paper does not say)."""
    nn.init.orthogonal_(cell.weight_ih)
    nn.init.orthogonal_(cell.weight_hh)
    return cell


def _by(size: Sequence[int]) -> str:
    return " x ".join(map(str, size))
