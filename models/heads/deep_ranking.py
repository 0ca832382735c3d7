"""Pairwise deep ranking (Doughty et al., CVPR 2018, arXiv 1703.09913).

"Who's Better? Who's Best? Pairwise Deep Ranking for Skill Determination" ranks videos with a Siamese
two-stream temporal segment network: of every video few segments are drawn, a ranking layer scores
each, and a pair is ranked segment by segment (the paper's L_rank3). Pairs without preference pull
scores together instead. Spatial and temporal stream are trained on their own and fused late.

Here the streams are cached features, so only the ranking layers learn. Losses, margin and beta are the
paper's (not checked against its text). What it shares with temporal segment networks
(Wang et al., ECCV 2016, arXiv 1608.00859) has the numbers of their code
(github.com/yjxiong/temporal-segment-networks).
"""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

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
    draw_dropout,
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

ROLES = (
    Role("rgb", "one vector a segment, of its picture", optional=True),
    Role("flow", "one vector a segment, of its motion", optional=True),
)
LEARNS_FROM: LearnsFrom = "pairs"
READINGS: Mapping[str, Reading] = STREAM_READINGS


@dataclass(frozen=True)
class Options:
    """Settings.

    Args:
        margin: m of both losses (the paper).
        beta: weight of the ranking loss against the similarity loss (the paper).
        similarity: whether the similarity loss is used, as in the paper. It takes two training videos
            of a task that no listed pair orders, directly or through others, for equally good, which
            holds only where every two training videos were compared: not for pairs that are a
            sample, nor where some were held back for a test. So it must be asked for.
        segments: drawn of every video for each mini-batch, one from each of as many equal parts
            (temporal segment networks).
        dropout: share of the features that training leaves out (their code).
        rgb_weight: of the spatial stream's score, the other's being the rest; their 1 to 1.5.
        epochs: passes over the pairs (our choice: what is trained is not a whole network).
        batch_pairs: pairs a mini-batch (their code).
        learning_rate: of stochastic gradient descent (their spatial stream), constant (our choice).
        momentum: of it (their code).
        weight_decay: of it (their code).
        standardise: scale each channel to mean 0 and deviation 1 over the training videos; for
            features that are not of unit scale (not in the paper).

    Raises:
        ValueError: a number out of its range.
    """

    margin: float = 1.0
    beta: float = 0.5
    similarity: bool = False
    segments: int = 3
    dropout: float = 0.8
    rgb_weight: float = 0.4
    epochs: int = 200
    batch_pairs: int = 128
    learning_rate: float = 1e-3
    momentum: float = 0.9
    weight_decay: float = 5e-4
    standardise: bool = False

    def __post_init__(self) -> None:
        require_counts(self, "segments", "epochs", "batch_pairs")
        require_positive(self, "margin", "learning_rate")
        if not 0 < self.beta <= 1:
            raise ValueError(f"beta is {self.beta}; it must be more than 0 and at most 1")
        if not 0 <= self.rgb_weight <= 1:
            raise ValueError(f"rgb_weight is {self.rgb_weight}; it must be from 0 to 1")
        for name in ("dropout", "momentum"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(
                    f"{name} is {getattr(self, name)}; it must be at least 0 and less than 1"
                )
        require_not_negative(self, "weight_decay")


class SegmentRanker(Network):
    """The network: a ranking layer for each stream.

    Args:
        shapes: of a row by role, ``rgb`` or ``flow`` or both.
        segments: K that training draws of each video.
        dropout: share of the features that training leaves out.
    """

    def __init__(
        self, shapes: Mapping[str, tuple[int, ...]], segments: int, dropout: float
    ) -> None:
        super().__init__()
        self.channels = {role.name: shapes[role.name][0] for role in ROLES if role.name in shapes}
        self.segments = segments
        self.dropout = dropout
        self.rank = nn.ModuleDict(
            {role: nn.Linear(channels, 1) for role, channels in self.channels.items()}
        )

    @property
    def streams(self) -> tuple[str, ...]:
        """Roles in the order of the encoding."""
        return tuple(self.channels)

    def draw(
        self, videos: int, steps: int, generator: torch.Generator, device: torch.device
    ) -> Drawn:
        """Which segments each stream sees, and which of their features are left out."""
        drawn = {}
        for role, channels in self.channels.items():
            places = torch.rand(videos, self.segments, generator=generator, device=device)
            drawn[f"{role}_places"] = along_steps(places, steps)
            if self.dropout:
                shape = (videos, self.segments * channels)
                kept = draw_dropout(shape, self.dropout, generator, device)
                drawn[f"{role}_kept"] = along_steps(kept, steps)
        return drawn

    def encode(self, batch: Batch, drawn: Drawn) -> tuple[Tensor, ...]:
        """Scores of each stream: (V, K) of the segments drawn or, of all where none are, (V, T)."""
        return tuple(self._scores(role, batch, drawn) for role in self.streams)

    def _scores(self, role: str, batch: Batch, drawn: Drawn) -> Tensor:
        rows = batch.values[role]
        if drawn:
            places = off_steps(drawn[f"{role}_places"], self.segments)
            rows = take_steps(rows, steps_at(places, batch.mask, rows.shape[1]))  # (V, K, C)
            if self.dropout:
                kept = off_steps(drawn[f"{role}_kept"], self.segments * self.channels[role])
                rows = rows * kept.unflatten(1, rows.shape[1:])
        found: Tensor = self.rank[role](rows)
        return found.squeeze(-1)


def ranking_loss(better: Tensor, worse: Tensor, margin: float) -> Tensor:
    """Hinge on the score difference of corresponding segments, the paper's L_rank3.

    Args:
        better: (B, K) scores of the segments of the more skilled videos.
        worse: (B, K) of the others.
        margin: in score units.

    Returns:
        (B,) terms. The paper sums over segments; here it is a mean, so that learning rates do not
        depend on their number.
    """
    return margin_ranking_loss(better, worse, margin).mean(dim=1)


def similarity_loss(one: Tensor, other: Tensor, margin: float) -> Tensor:
    """Hinge that keeps scores of two videos of like skill within the margin, the paper's L_sim.

    Args:
        one: (B, K) scores of the segments of one video of each pair.
        other: (B, K) of the other.
        margin: by which they may differ for nothing.

    Returns:
        (B,) terms, means over segments.
    """
    return ((one - other).abs() - margin).clamp(min=0).mean(dim=1)


def losses(
    options: Options,
    network: SegmentRanker,
    batch: Batch,
    encoding: tuple[Tensor, ...],
    positions: Tensor,
    labels: Tensor,
) -> Losses:
    """The combined loss, beta L_rank + (1 - beta) L_sim, of each stream.

    The paper sums over both sets of pairs; here, as one mini-batch has pairs of both, an example
    has the term of its set and 0 for the other.

    Args:
        options: margin, beta, and whether there is a similarity loss; without one, beta is 1.
        network: that gave the scores.
        batch: of V videos.
        encoding: (V, K) scores of each stream.
        positions: (B, 2) of each pair's videos in the batch.
        labels: (B, 1) 1 for a pair whose first video is better, 0 for one without preference.
    """
    ordered = labels[:, 0]
    beta = options.beta if options.similarity else 1.0
    found: Losses = {}
    for role, scores in zip(network.streams, encoding, strict=True):
        one, other = scores[positions[:, 0]], scores[positions[:, 1]]
        ranking = ranking_loss(one, other, options.margin)
        found[f"ranking_{role}"] = beta * ordered * ranking
        if options.similarity:
            similarity = similarity_loss(one, other, options.margin)
            found[f"similarity_{role}"] = (1 - beta) * (1 - ordered) * similarity
    return found


def similar_pairs(videos: Sequence[VideoFeatures], pairs: NDArray[np.int64]) -> NDArray[np.int64]:
    """Pairs without preference: two videos of a task that no chain of pairs orders.

    A video that is in no pair at all was not compared, and is in none of these either.

    Args:
        videos: V of them.
        pairs: (P, 2) positions among them, the better video first; contradictions order both ways.

    Returns:
        (S, 2) positions, increasing.
    """
    count = len(videos)
    better = np.zeros((count, count), bool)
    better[pairs[:, 0], pairs[:, 1]] = True
    for middle in range(count):  # Warshall, J. ACM 1962
        better |= better[:, middle, None] & better[middle]
    compared = np.zeros(count, bool)
    compared[pairs] = True
    numbers: dict[str | None, int] = {}
    tasks = np.array([numbers.setdefault(video.task, len(numbers)) for video in videos])
    alike = compared[:, None] & compared & (tasks[:, None] == tasks) & ~(better | better.T)
    return np.argwhere(np.triu(alike, 1))


class DeepRanking(Method):
    """What pairwise deep ranking adds to all deep heads.

    Args:
        options: settings.
    """

    roles = ROLES

    def __init__(self, options: Options) -> None:
        self.options = options
        self.standardise = options.standardise

    def network(self, shapes: Mapping[str, tuple[int, ...]]) -> SegmentRanker:
        """See :class:`..method.Method`."""
        return SegmentRanker(shapes, self.options.segments, self.options.dropout)

    def stages(
        self, videos: Sequence[VideoFeatures], targets: Targets, rng: np.random.Generator
    ) -> list[Stage]:
        """One, of the pairs listed and, where asked, of the pairs without preference.

        Both streams' losses are minimised at once, which trains each on its own: they share no
        parameter and no random number.
        """
        options, ordered = self.options, targets.some_pairs()
        alike = similar_pairs(videos, ordered) if options.similarity else ordered[:0]
        examples = np.concatenate([ordered, alike])
        labels = np.repeat([1.0, 0.0], [len(ordered), len(alike)])[:, None]
        phase = Phase(
            functools.partial(losses, options),
            functools.partial(
                torch.optim.SGD,
                lr=options.learning_rate,
                momentum=options.momentum,
                weight_decay=options.weight_decay,
            ),
            constant(options.learning_rate),
        )
        schedule = Schedule(options.epochs, options.batch_pairs, vary=True)
        return [Stage([phase], examples, labels, schedule)]

    def scores(self, network: SegmentRanker, memory: Memory, seen: Seen) -> Tensor:
        """(V,) mean over all segments of each stream, fused."""
        return fused(_parts(network, seen), self.options.rgb_weight)

    def explain(self, network: SegmentRanker, memory: Memory, seen: Seen) -> Explanation:
        """What each stream makes of each segment; a stream's score is the mean of its curve."""
        curves = {
            role: scores[0] for role, scores in zip(network.streams, seen.encoding, strict=True)
        }
        parts = _parts(network, seen)
        return explained(seen.videos[0], curves, parts, self.options.rgb_weight)


def build(options: Options, seed: int, device: str) -> DeepHead:
    """The head, not trained yet."""
    return DeepHead(DeepRanking(options), seed, device)


def _parts(network: SegmentRanker, seen: Seen) -> dict[str, Tensor]:
    """(V,) scores by stream."""
    return {
        role: video_scores(scores, seen.batch.mask)
        for role, scores in zip(network.streams, seen.encoding, strict=True)
    }
