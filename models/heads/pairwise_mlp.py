"""Pairwise ranking by a perceptron (Yao et al., CVPR 2016, DOI 10.1109/CVPR.2016.112).

"Highlight Detection with Pairwise Deep Ranking for First-Person Video Summarization" scores segments
with a network of fully connected layers, one for appearance and one for motion, so that a highlight's
segment is ahead of any other segment by a margin, and fuses both late. Doughty et al., CVPR 2018 (arXiv
1703.09913), compare their skill ranker with it; as a ranker of skill it takes segments of the better
video for the highlights.

Layers, margin and late fusion are the paper's (not checked against its text); everything
else is our choice.
"""

import functools
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from ...features.errors import RecipeError
from ..data import Targets, VideoFeatures
from ..deep import DeepHead
from ..head import Explanation, LearnsFrom, Role
from ..losses import margin_ranking_loss
from ..method import Memory, Method, Seen
from ..network import (
    Batch,
    Drawn,
    Losses,
    Network,
    Phase,
    Schedule,
    Stage,
    along_steps,
    off_steps,
)
from ..ranges import require_counts, require_not_negative, require_positive
from ..reading import Reading
from ..schedules import constant
from ..two_stream import (
    STREAM_READINGS,
    explained,
    fused,
    steps_at,
    take_steps,
    video_scores,
)

Unit = Literal["segment", "video"]
WIDTHS = (1000, 512, 256, 128, 64)
ROLES = (
    Role("features", "one vector a segment, instead of rgb and flow", optional=True),
    Role("rgb", "one vector a segment, of its picture", optional=True),
    Role("flow", "one vector a segment, of its motion", optional=True),
)
LEARNS_FROM: LearnsFrom = "pairs"
READINGS: Mapping[str, Reading] = {
    **STREAM_READINGS,
    "features_score": Reading(
        "step score by the features", "The same as the step score.", "value", "both", detail=True
    ),
}


@dataclass(frozen=True)
class Options:
    """Settings.

    Args:
        margin: by which the better video's unit is to be ahead (the paper).
        unit: that is ranked: ``segment`` draws one of every video for each mini-batch and scores a
            video by the mean over all its segments; ``video`` ranks the mean of its features.
        rgb_weight: of the spatial stream's score, the other's being the rest (our choice).
        epochs: passes over the pairs (our choice).
        batch_pairs: pairs a mini-batch (our choice).
        learning_rate: of Adam (our choice).
        weight_decay: of it, added to the gradients (our choice).
        standardise: scale each channel to mean 0 and deviation 1 over the training videos; for
            features that are not of unit scale (our choice).

    Raises:
        ValueError: a number out of its range.
    """

    margin: float = 1.0
    unit: Unit = "segment"
    rgb_weight: float = 0.5
    epochs: int = 200
    batch_pairs: int = 128
    learning_rate: float = 1e-4
    weight_decay: float = 0.0
    standardise: bool = False

    def __post_init__(self) -> None:
        require_counts(self, "epochs", "batch_pairs")
        require_positive(self, "margin", "learning_rate")
        if not 0 <= self.rgb_weight <= 1:
            raise ValueError(f"rgb_weight is {self.rgb_weight}; it must be from 0 to 1")
        require_not_negative(self, "weight_decay")


class PairwiseMLP(Network):
    """The network: fully connected layers with rectifiers between them, for each stream.

    Args:
        shapes: of a row by role: ``features``, or ``rgb`` or ``flow`` or both.
        unit: that is ranked.
        widths: of the layers before the last one, which has one output.
    """

    def __init__(
        self,
        shapes: Mapping[str, tuple[int, ...]],
        unit: Unit,
        widths: Sequence[int] = WIDTHS,
    ) -> None:
        super().__init__()
        self.unit = unit
        self.rank = nn.ModuleDict(
            {
                role.name: _layers((shapes[role.name][0], *widths, 1))
                for role in ROLES
                if role.name in shapes
            }
        )

    @property
    def streams(self) -> tuple[str, ...]:
        """Roles in the order of the encoding."""
        return tuple(self.rank)

    def draw(
        self, videos: int, steps: int, generator: torch.Generator, device: torch.device
    ) -> Drawn:
        """Which segment of each video a stream sees."""
        if self.unit == "video":
            return {}
        return {
            role: along_steps(torch.rand(videos, 1, generator=generator, device=device), steps)
            for role in self.streams
        }

    def encode(self, batch: Batch, drawn: Drawn) -> tuple[Tensor, ...]:
        """Scores of each stream: (V, 1) of a segment drawn or the pooled video, else (V, T)."""
        return tuple(self._scores(role, batch, drawn) for role in self.streams)

    def of_rows(self, role: str, rows: Tensor) -> Tensor:
        """(V, T) scores of (V, T, C) rows of a stream."""
        found: Tensor = self.rank[role](rows)
        return found.squeeze(-1)

    def _scores(self, role: str, batch: Batch, drawn: Drawn) -> Tensor:
        rows = batch.values[role]
        if self.unit == "video":
            rows = _mean(rows, batch.mask)[:, None]
        elif drawn:
            place = off_steps(drawn[role], 1)
            rows = take_steps(rows, steps_at(place, batch.mask, rows.shape[1]))
        return self.of_rows(role, rows)


def losses(
    margin: float,
    network: PairwiseMLP,
    batch: Batch,
    encoding: tuple[Tensor, ...],
    positions: Tensor,
    labels: Tensor,
) -> Losses:
    """Hinge on the score difference of each pair, for each stream.

    Args:
        margin: in score units.
        network: that gave the scores.
        batch: of V videos.
        encoding: (V, 1) scores of each stream.
        positions: (B, 2) of each pair's videos in the batch, the better one first.
        labels: (B, 0).
    """
    better, worse = positions.unbind(dim=1)
    return {
        f"ranking_{role}": margin_ranking_loss(scores[better, 0], scores[worse, 0], margin)
        for role, scores in zip(network.streams, encoding, strict=True)
    }


class PairwiseRanking(Method):
    """What the perceptron adds to all deep heads.

    Args:
        options: settings.
    """

    roles = ROLES

    def __init__(self, options: Options) -> None:
        self.options = options
        self.standardise = options.standardise

    def network(self, shapes: Mapping[str, tuple[int, ...]]) -> PairwiseMLP:
        """See :class:`..method.Method`.

        Raises:
            RecipeError: a feature of no stream beside those of streams.
        """
        if "features" in shapes and len(shapes) > 1:
            raise RecipeError(
                "pairwise-mlp looks at features, or at rgb and flow; leave --feature features=KEY "
                "or the others out"
            )
        return PairwiseMLP(shapes, self.options.unit)

    def stages(
        self, videos: Sequence[VideoFeatures], targets: Targets, rng: np.random.Generator
    ) -> list[Stage]:
        """One, of the pairs listed; it trains each stream on its own, as they share nothing."""
        options, known = self.options, targets.some_pairs()
        phase = Phase(
            functools.partial(losses, options.margin),
            functools.partial(
                torch.optim.Adam, lr=options.learning_rate, weight_decay=options.weight_decay
            ),
            constant(options.learning_rate),
        )
        schedule = Schedule(options.epochs, options.batch_pairs, vary=True)
        return [Stage([phase], known, np.zeros((len(known), 0)), schedule)]

    def scores(self, network: PairwiseMLP, memory: Memory, seen: Seen) -> Tensor:
        """(V,) of the mean of segments, or mean over segments, of each stream, fused."""
        return fused(self._parts(network, seen), self.options.rgb_weight)

    def explain(self, network: PairwiseMLP, memory: Memory, seen: Seen) -> Explanation:
        """What each stream makes of each segment alone.

        A stream's score is the mean of its curve where segments are ranked; the score of a pooled
        video is not.
        """
        curves = {
            role: network.of_rows(role, seen.batch.values[role])[0] for role in network.streams
        }
        parts = self._parts(network, seen)
        return explained(seen.videos[0], curves, parts, self.options.rgb_weight)

    def _parts(self, network: PairwiseMLP, seen: Seen) -> dict[str, Tensor]:
        """(V,) scores by stream."""
        mask = None if self.options.unit == "video" else seen.batch.mask
        return {
            role: video_scores(scores, mask)
            for role, scores in zip(network.streams, seen.encoding, strict=True)
        }


def build(options: Options, seed: int, device: str) -> DeepHead:
    """The head, not trained yet."""
    return DeepHead(PairwiseRanking(options), seed, device)


def _layers(sizes: Sequence[int]) -> nn.Sequential:
    """Fully connected layers of these sizes, with rectifiers between them."""
    layers: list[nn.Module] = []
    for before, after in itertools.pairwise(sizes):
        layers += [nn.Linear(before, after), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def _mean(rows: Tensor, mask: Tensor | None) -> Tensor:
    """(V, C) mean of (V, T, C) rows over the steps that are real."""
    if mask is None:
        return rows.mean(dim=1)
    real = mask[..., None]
    return torch.where(real, rows, 0).sum(dim=1) / real.sum(dim=1)
