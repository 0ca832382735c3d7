"""Ways to pool a video's segments that rank-aware attention is compared with.

Table 2 of Doughty et al., CVPR 2019 (arXiv 1812.05538): one weighting of the segments, one linear
ranking layer on the weighted features (equation 5), and the margin ranking loss alone.

- ``uniform``: every segment counts the same (equation 3).
- ``last-segment``: only the last one counts.
- ``softmax``: one attention module of K filters, each softmax over time (section 3.3).
- ``stpn``: the class-agnostic attention of Nguyen et al., "Weakly Supervised Action Localization by
  Sparse Temporal Pooling Network", CVPR 2018 (arXiv 1712.05080): one filter ending in a sigmoid, the
  average of segments times their weights, and an L1 penalty on the weights. Doughty et al. do not
  say how they carried it over to pairs; here the penalty is the sum of both videos' norms, and the
  average divides by the number of segments, so that no score grows with a video's length.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn, optim
from torch.nn import functional

from ..data import Targets, VideoFeatures
from ..deep import DeepHead
from ..filters import AttentionFilters, attention_over_time
from ..head import ONE_FEATURE, Explanation, LearnsFrom
from ..losses import diversity_loss, margin_ranking_loss
from ..method import Memory, Method, Seen
from ..network import Batch, Drawn, Losses, Network, Phase, Schedule, Stage
from ..ranges import require_bounded, require_counts
from ..reading import Reading
from ..schedules import constant

ROLES = ONE_FEATURE
LEARNS_FROM: LearnsFrom = "pairs"
READINGS: Mapping[str, Reading] = {
    "attention": Reading(
        "attention", "How much each step counts for the score.", "attention", "nothing"
    ),
    "score": Reading(
        "step score",
        "What the step alone is worth, before attention weighs it; only differences count.",
        "value",
        "both",
        weighed_by="attention",
    ),
}
Pooling = Literal["softmax", "uniform", "last-segment", "stpn"]
_NUMBERS = ("learning_rate", "noise", "ranking_margin", "diversity_weight", "sparsity_weight")


@dataclass(frozen=True)
class Options:
    """Settings; the defaults are those of section 5.1 of Doughty et al. unless said otherwise.

    Args:
        pooling: ``softmax``, ``uniform``, ``last-segment`` or ``stpn``; see the module.
        filters: K of ``softmax`` (section 5.2: as in the full method; 6 for its test of a single
            module); the others have none, or one.
        hidden: width of a filter's first layer (their code; the paper does not say).
        epochs: passes over the pairs.
        batch_pairs: pairs a mini-batch.
        learning_rate: of Adam.
        noise: standard deviation on every feature value.
        ranking_margin: m, m1 in section 5.1.
        diversity_weight: lambda of equation 20 for ``softmax``; 0, without that loss, as in table 2,
            or 0.1 as in the ablation of figure 4.
        sparsity_weight: beta of the L1 norm of the weights of ``stpn``. Doughty et al. do not say;
            that of a public reproduction of Nguyen et al. is our choice.
        standardise: scale each channel to mean 0 and deviation 1 over the training videos; for
            features that are not of unit scale (not in the paper).

    Raises:
        ValueError: a number out of its range, or diversity without filters that could differ.
    """

    pooling: Pooling = "softmax"
    filters: int = 3
    hidden: int = 256
    epochs: int = 2000
    batch_pairs: int = 128
    learning_rate: float = 1e-4
    noise: float = 0.01
    ranking_margin: float = 1.0
    diversity_weight: float = 0.0
    sparsity_weight: float = 1e-4
    standardise: bool = False

    def __post_init__(self) -> None:
        require_counts(self, "filters", "hidden", "epochs", "batch_pairs")
        require_bounded(self, *_NUMBERS)
        require_bounded(self, "learning_rate", positive=True)
        if self.diversity_weight and self.pooling != "softmax":
            raise ValueError(
                f"diversity_weight is {self.diversity_weight} with pooling={self.pooling}; only "
                "pooling=softmax has filters that could differ"
            )


class Scores(NamedTuple):
    """What the network makes of V videos of T segments.

    Args:
        video: (V,) scores.
        segments: (V, T) what the ranking layer makes of each segment alone.
    """

    video: Tensor
    segments: Tensor


class TemporalAttention(Network):
    """The network.

    Args:
        channels: C of the features.
        options: pooling, filters and hidden.
    """

    attention: AttentionFilters | None

    def __init__(self, channels: int, options: Options) -> None:
        super().__init__()
        self.pooling = options.pooling
        self.attention = None
        if options.pooling in ("softmax", "stpn"):
            filters = options.filters if options.pooling == "softmax" else 1
            self.attention = AttentionFilters(channels, filters, options.hidden)
        self.rank = nn.Linear(channels, 1)

    def encode(self, batch: Batch, drawn: Drawn) -> Tensor:
        """(V, K, T) weights of the segments; 0 where the mask is False."""
        (features,) = batch.values.values()
        if self.attention is None:
            return _fixed_weights(self.pooling, features, batch.mask)[:, None]
        logits: Tensor = self.attention(features)
        if self.pooling == "softmax":
            return attention_over_time(logits, batch.mask)
        return logits.sigmoid() if batch.mask is None else logits.sigmoid() * batch.mask[:, None]

    def read(self, batch: Batch, encoding: Tensor) -> Scores:
        """Score videos whose weights are known: equation 5 with those of equation 17.

        Ranking is linear and so is pooling, so a segment is ranked first and pooled then.
        """
        (features,) = batch.values.values()
        ranked = functional.linear(features, self.rank.weight).to(encoding.dtype)  # (V, T, 1)
        pooled = (encoding.sum(dim=1) * ranked[..., 0]).sum(dim=1)
        if self.pooling == "stpn":
            pooled = pooled / _real_steps(features, batch.mask).sum(dim=1).clamp(min=1)
        return Scores(pooled + self.rank.bias, ranked[..., 0] + self.rank.bias)


def losses(
    network: TemporalAttention, batch: Batch, encoding: Tensor, pairs: Tensor, options: Options
) -> Losses:
    """Equation 10 and, where they have a weight, equation 19 and the L1 norm; (P,) terms each.

    Args:
        network: whose scores are wanted.
        batch: of V videos.
        encoding: their weights.
        pairs: (P, 2) positions of the better and of the worse video of each pair.
        options: margin and weights.
    """
    better, worse = pairs.unbind(dim=1)
    score = network.read(batch, encoding).video
    found = {"ranking": margin_ranking_loss(score[better], score[worse], options.ranking_margin)}
    of_videos = {}
    if options.diversity_weight:
        of_videos["diversity"] = options.diversity_weight * diversity_loss(encoding)
    if options.pooling == "stpn" and options.sparsity_weight:
        of_videos["sparsity"] = options.sparsity_weight * encoding.sum(dim=(1, 2))
    return found | {name: each[better] + each[worse] for name, each in of_videos.items()}


class TemporalAttentionMethod(Method):
    """Trains the network on pairs, scores videos and shows the weights.

    Args:
        options: settings.
    """

    def __init__(self, options: Options) -> None:
        self.options = options
        self.standardise = options.standardise

    def network(self, shapes: Mapping[str, tuple[int, ...]]) -> TemporalAttention:
        """A network with PyTorch's default initial values."""
        ((channels,),) = shapes.values()
        return TemporalAttention(channels, self.options)

    def stages(
        self, videos: Sequence[VideoFeatures], targets: Targets, rng: np.random.Generator
    ) -> list[Stage]:
        """One training of everything together on all pairs."""
        options, pairs_known = self.options, targets.some_pairs()

        def of_pairs(
            network: TemporalAttention, batch: Batch, weights: Tensor, pairs: Tensor, labels: Tensor
        ) -> Losses:
            return losses(network, batch, weights, pairs, options)

        phase = Phase(of_pairs, optim.Adam, constant(options.learning_rate))
        schedule = Schedule(options.epochs, options.batch_pairs, options.noise)
        return [Stage([phase], pairs_known, np.empty((len(pairs_known), 0)), schedule)]

    def scores(self, network: TemporalAttention, memory: Memory, seen: Seen) -> Tensor:
        """(V,) scores."""
        return network.read(seen.batch, seen.encoding).video

    def explain(self, network: TemporalAttention, memory: Memory, seen: Seen) -> Explanation:
        """The weight of each segment, summed over filters, and what it is worth."""
        scores = network.read(seen.batch, seen.encoding)
        curves = {
            "attention": seen.encoding[0].sum(dim=0).double().cpu().numpy(),
            "score": scores.segments[0].double().cpu().numpy(),
        }
        return Explanation(
            seen.videos[0].times, curves, {self.options.pooling: float(scores.video)}
        )


def build(options: Options, seed: int, device: str) -> DeepHead:
    """The head, not trained yet."""
    return DeepHead(TemporalAttentionMethod(options), seed, device)


def _fixed_weights(pooling: Pooling, features: Tensor, mask: Tensor | None) -> Tensor:
    """(V, T) weights that do not depend on what the (V, T, C) segments show."""
    real = _real_steps(features, mask)
    count = real.sum(dim=1, keepdim=True)
    if pooling == "uniform":
        return real / count.clamp(min=1)
    places = torch.arange(features.shape[1], device=features.device)
    return (places == count - 1).to(real.dtype)


def _real_steps(features: Tensor, mask: Tensor | None) -> Tensor:
    """(V, T) 1 where a step is real, 0 elsewhere, in the dtype of the features."""
    return features.new_ones(features.shape[:2]) if mask is None else mask.to(features.dtype)
