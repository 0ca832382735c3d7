"""Rank-aware temporal attention (Doughty et al., CVPR 2019, arXiv 1812.05538).

Two attention modules pool a video's segments, one learning to attend to what shows high skill, one to
what shows low skill; a third branch weights all segments the same and keeps the other two from
doing worse than that. Each module has K filters (section 3.3). Each branch ranks with one linear
layer; the score of a video is high plus low (equation 16).

Losses can be left out one by one, as in the ablation of figure 4. The ways to pool segments that
table 2 compares with are the head ``temporal-attention``.

Where the authors' code differs from their paper, the paper is the default and the code is the option
value ``released``.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn, optim
from torch.nn import functional

from .. import reading
from ..data import Targets, VideoFeatures
from ..deep import DeepHead
from ..filters import AttentionFilters, attention_over_time
from ..head import ONE_FEATURE, Explanation, Head, LearnsFrom
from ..losses import diversity_loss, margin_ranking_loss, outdo_uniform_loss
from ..method import Memory, Method, Seen
from ..network import Batch, Drawn, Losses, Network, Phase, Schedule, Stage
from ..ranges import require_bounded, require_counts
from ..schedules import constant

ROLES = ONE_FEATURE
LEARNS_FROM: LearnsFrom = "pairs"
READINGS: Mapping[str, reading.Reading] = {
    "high_attention": reading.Reading(
        "attention to high skill",
        "Where the model looks for signs of high skill: the higher, the more the step counts.",
        "attention",
        "good",
    ),
    "low_attention": reading.Reading(
        "attention to low skill",
        "Where the model looks for signs of low skill: the higher, the more the step counts.",
        "attention",
        "bad",
    ),
    "high_score": reading.Reading(
        "step score for signs of high skill",
        "What the part that looks for high skill makes of the step alone; only differences count.",
        "value",
        "both",
        weighed_by="high_attention",
    ),
    "low_score": reading.Reading(
        "step score for signs of low skill",
        "What the part that looks for low skill makes of the step alone; only differences count.",
        "value",
        "both",
        weighed_by="low_attention",
    ),
    "high_filter": reading.Reading(
        "high-skill filter",
        "One of the filters whose sum is the attention to high skill.",
        "attention",
        "good",
        detail=True,
    ),
    "low_filter": reading.Reading(
        "low-skill filter",
        "One of the filters whose sum is the attention to low skill.",
        "attention",
        "bad",
        detail=True,
    ),
}
Reading = Literal["paper", "released"]
_RELEASED_ATTENTION_RATE = 0.1
_NUMBERS = (
    "learning_rate",
    "noise",
    "ranking_margin",
    "disparity_margin",
    "rank_aware_margin",
    "diversity_weight",
)


@dataclass(frozen=True)
class Options:
    """Settings; the defaults are those of section 5.1 unless said otherwise.

    Args:
        filters: K, in each of the two attention modules (section 5.2, figure 6).
        hidden: width of a filter's first layer (authors' code; the paper does not say).
        epochs: passes over the pairs.
        batch_pairs: pairs a mini-batch.
        learning_rate: of Adam.
        noise: standard deviation on every feature value.
        ranking: whether the ranking losses are used, equations 10 to 12.
        disparity: whether the disparity losses are used, equation 13.
        rank_aware: whether the rank-aware loss is used, equation 14.
        diversity: whether the diversity losses are used, equation 19.
        ranking_margin: m, m1 in section 5.1.
        disparity_margin: m2; 0.05 in the authors' code.
        rank_aware_margin: m3; 0.15 in the authors' code.
        diversity_weight: lambda of equation 20.
        schedule: ``paper`` fixes the other parameters in each step; ``released`` lets leftover
            gradients of the other step in, steps attention at a tenth of the learning rate, and
            draws one noise for all videos of a batch.
        score: ``paper`` sums the attention of the filters (equation 17) and ranks that; ``released``
            ranks each filter's pooled feature, squashes by 2 tanh and takes the mean.
        losses: ``paper``; ``released`` counts the filter that separates a pair least, and does not
            square the norm of the diversity loss.
        standardise: scale each channel to mean 0 and deviation 1 over the training videos; for
            features that are not of unit scale (not in the paper).

    Raises:
        ValueError: a number out of its range, or no loss at all.
    """

    filters: int = 3
    hidden: int = 256
    epochs: int = 2000
    batch_pairs: int = 128
    learning_rate: float = 1e-4
    noise: float = 0.01
    ranking: bool = True
    disparity: bool = True
    rank_aware: bool = True
    diversity: bool = True
    ranking_margin: float = 1.0
    disparity_margin: float = 0.1
    rank_aware_margin: float = 0.3
    diversity_weight: float = 0.1
    schedule: Reading = "paper"
    score: Reading = "paper"
    losses: Reading = "paper"
    standardise: bool = False

    def __post_init__(self) -> None:
        require_counts(self, "filters", "hidden", "epochs", "batch_pairs")
        require_bounded(self, *_NUMBERS)
        require_bounded(self, "learning_rate", positive=True)
        if not (self.ranking or self.attends):
            raise ValueError("ranking=false needs disparity or rank_aware to learn anything")

    @property
    def attends(self) -> bool:
        """Whether attention has losses of its own; else it learns from the ranking losses."""
        return self.disparity or self.rank_aware


class Scores(NamedTuple):
    """What the network makes of V videos of T segments.

    Args:
        high: (V, R) scores of the high-skill branch; R is 1, or K where each filter ranks.
        low: (V, R) of the low-skill branch.
        uniform: (V,) with all segments weighted the same.
        high_attention: (V, K, T) filters of the high-skill module.
        low_attention: (V, K, T) of the low-skill module.
        segments: (V, T, 3) what the three ranking layers make of each segment alone.
    """

    high: Tensor
    low: Tensor
    uniform: Tensor
    high_attention: Tensor
    low_attention: Tensor
    segments: Tensor

    @property
    def video(self) -> Tensor:
        """(V,) the score of each video: equation 16."""
        return self.high.mean(dim=1) + self.low.mean(dim=1)


class RankAwareAttention(Network):
    """The network.

    A ranking layer is linear and so is pooling, so a segment is ranked first and pooled then: the
    numbers are the same and (V, T) scores are pooled instead of (V, T, C) features. The first
    layers of all 2K filters are one matrix product.

    Args:
        channels: C of the features.
        filters: K.
        hidden: width of a filter's first layer.
        score: as in :class:`Options`.
    """

    def __init__(self, channels: int, filters: int, hidden: int, score: Reading) -> None:
        super().__init__()
        self.filters = filters
        self.score = score
        self.attention = AttentionFilters(channels, 2 * filters, hidden)  # K high, then K low
        self.rank = nn.Linear(channels, 3)  # high, low, uniform

    def encode(self, batch: Batch, drawn: Drawn) -> Tensor:
        """(V, 2K, T) attention of every filter, high before low: section 3.3."""
        (features,) = batch.values.values()
        return attention_over_time(self.attention(features), batch.mask)

    def read(self, batch: Batch, encoding: Tensor) -> Scores:
        """Score videos whose attention is known from :meth:`encode`: equations 3, 8, 9 and 17."""
        (features,) = batch.values.values()
        high_attention, low_attention = encoding.split(self.filters, dim=1)
        weights, biases = self.rank.weight, self.rank.bias
        # Scores are told apart by less than half precision resolves.
        ranked = functional.linear(features, weights).to(encoding.dtype)  # (V, T, 3)
        return Scores(
            self._branch(high_attention, ranked[..., 0], biases[0]),
            self._branch(low_attention, ranked[..., 1], biases[1]),
            self._squash(_mean(ranked[..., 2], batch.mask) + biases[2]),
            high_attention,
            low_attention,
            ranked + biases,
        )

    def _branch(self, attention: Tensor, ranked: Tensor, bias: Tensor) -> Tensor:
        """(V, R) from (V, K, T) attention and (V, T) ranked segments."""
        pooled = (attention * ranked[:, None]).sum(dim=2)  # (V, K)
        if self.score == "paper":
            return pooled.sum(dim=1, keepdim=True) + bias
        return self._squash(pooled + bias)

    def _squash(self, scores: Tensor) -> Tensor:
        return scores if self.score == "paper" else 2 * scores.tanh()


def phases(options: Options) -> list[Phase]:
    """The alternation of section 5.1: ranking layers, then attention.

    Without a loss of its own, attention is trained together with the ranking layers (the paper's
    softmax attention, section 5.2, with two branches and beside the uniform one).
    """
    rate = options.learning_rate
    attention_rate = rate * (_RELEASED_ATTENTION_RATE if options.schedule == "released" else 1)

    def ranking(
        network: RankAwareAttention, batch: Batch, encoding: Tensor, pairs: Tensor, labels: Tensor
    ) -> Losses:
        return ranking_losses(network.read(batch, encoding), pairs, options)

    def attention(
        network: RankAwareAttention, batch: Batch, encoding: Tensor, pairs: Tensor, labels: Tensor
    ) -> Losses:
        return attention_losses(network.read(batch, encoding), pairs, options)

    def joint(
        network: RankAwareAttention, batch: Batch, encoding: Tensor, pairs: Tensor, labels: Tensor
    ) -> Losses:
        scores = network.read(batch, encoding)
        return ranking_losses(scores, pairs, options) | attention_losses(scores, pairs, options)

    if not options.attends:
        return [Phase(joint, optim.Adam, constant(rate))]
    found = [Phase(attention, optim.Adam, constant(attention_rate), ("attention",))]
    if options.ranking:
        first = Phase(ranking, optim.Adam, constant(rate), ("rank",), keeps_encoding=True)
        found.insert(0, first)
    return found


def ranking_losses(scores: Scores, pairs: Tensor, options: Options) -> Losses:
    """Equations 10 to 12, (P,) terms each.

    Args:
        scores: of V videos.
        pairs: (P, 2) positions of the better and of the worse video of each pair.
        options: the margin.
    """
    better, worse = pairs.unbind(dim=1)
    branches = {
        "ranking_high": scores.high.mean(dim=1),
        "ranking_low": scores.low.mean(dim=1),
        "ranking_uniform": scores.uniform,
    }
    return {
        name: margin_ranking_loss(score[better], score[worse], options.ranking_margin)
        for name, score in branches.items()
    }


def attention_losses(scores: Scores, pairs: Tensor, options: Options) -> Losses:
    """Equations 13, 14 and 19 times lambda, as far as the options want them; arguments as above."""
    better, worse = pairs.unbind(dim=1)
    high, low = scores.high, scores.low
    if options.losses == "paper":
        high, low = high.mean(dim=1, keepdim=True), low.mean(dim=1, keepdim=True)
    uniform = scores.uniform[better], scores.uniform[worse]
    losses: Losses = {}
    if options.disparity:
        margin = options.disparity_margin
        losses["disparity_high"] = outdo_uniform_loss(high[better], high[worse], *uniform, margin)
        losses["disparity_low"] = outdo_uniform_loss(low[better], low[worse], *uniform, margin)
    if options.rank_aware:
        margin = options.rank_aware_margin
        losses["rank_aware"] = outdo_uniform_loss(high[better], low[worse], *uniform, margin)
    if options.diversity:
        squared = options.losses == "paper"
        per_video = diversity_loss(scores.high_attention, squared) + diversity_loss(
            scores.low_attention, squared
        )
        losses["diversity"] = options.diversity_weight * (per_video[better] + per_video[worse])
    return losses


class RankAwareMethod(Method):
    """Trains the network on pairs, scores videos and shows both attentions.

    Args:
        options: settings.
    """

    def __init__(self, options: Options) -> None:
        self.options = options
        self.standardise = options.standardise

    def network(self, shapes: Mapping[str, tuple[int, ...]]) -> RankAwareAttention:
        """A network with PyTorch's default initial values, as in the authors' code."""
        options = self.options
        ((channels,),) = shapes.values()
        return RankAwareAttention(channels, options.filters, options.hidden, options.score)

    def stages(
        self, videos: Sequence[VideoFeatures], targets: Targets, rng: np.random.Generator
    ) -> list[Stage]:
        """One training on all pairs."""
        options, known = self.options, targets.some_pairs()
        released = options.schedule == "released"
        schedule = Schedule(
            options.epochs,
            options.batch_pairs,
            options.noise,
            shared_noise=released,
            carry_gradients=released,
        )
        return [Stage(phases(options), known, np.empty((len(known), 0)), schedule)]

    def scores(self, network: RankAwareAttention, memory: Memory, seen: Seen) -> Tensor:
        """(V,) high plus low: equation 16."""
        return network.read(seen.batch, seen.encoding).video

    def tables(self, explanations: Sequence[Explanation]) -> dict[str, NDArray[np.float64]]:
        """The correlation of filters, figure 7."""
        return {"filter_correlation": filter_correlation(explanations)}

    def explain(self, network: RankAwareAttention, memory: Memory, seen: Seen) -> Explanation:
        """Both attentions, what each branch makes of each segment, and the score of each branch.

        ``high_attention`` is the sum over filters (equation 17), which ``high_filter_1``, ... are.
        """
        scores = network.read(seen.batch, seen.encoding)
        high, low, _ = _numbers(scores.segments[0].mT)
        filters = {}
        for branch, attention in (("high", scores.high_attention), ("low", scores.low_attention)):
            for number, curve in enumerate(_numbers(attention[0]), 1):
                filters[f"{branch}_filter_{number}"] = curve
        curves = {
            "high_attention": _numbers(scores.high_attention[0].sum(dim=0)),
            "low_attention": _numbers(scores.low_attention[0].sum(dim=0)),
            "high_score": high,
            "low_score": low,
        }
        parts = {
            "high": float(scores.high.mean()),
            "low": float(scores.low.mean()),
            "uniform": float(scores.uniform),
        }
        return Explanation(seen.videos[0].times, curves | filters, parts)


def branch_scores(head: Head, videos: Sequence[VideoFeatures]) -> dict[str, NDArray[np.float64]]:
    """What each branch alone makes of videos: figure 5 compares their accuracies.

    Args:
        head: trained, from :func:`build`.
        videos: V of them.

    Returns:
        (V,) scores of ``high``, ``low`` and ``uniform``.
    """
    found = [head.explain(video).scores for video in videos]
    return {
        branch: np.array([scores[branch] for scores in found])
        for branch in ("high", "low", "uniform")
    }


def filter_correlation(explanations: Iterable[Explanation]) -> NDArray[np.float64]:
    """How alike high-skill and low-skill filters attend: figure 7.

    Pearson's correlation over a video's segments, averaged over videos. The paper does not say
    which correlation. A video in which either filter weights all segments the same has none and is
    left out of the average.

    Args:
        explanations: of at least one video.

    Returns:
        (K, K), from -1 to 1: a row a high-skill filter, a column a low-skill filter; nan where no
        video has a correlation.
    """
    total, count = np.zeros(()), np.zeros(())
    for explanation in explanations:
        high, low = (_standardised(explanation.curves, branch) for branch in ("high", "low"))
        correlation = high @ low.T / high.shape[1]
        known = np.isfinite(correlation)
        total = total + np.where(known, correlation, 0)
        count = count + known
    with np.errstate(invalid="ignore"):
        return np.asarray(total / count)


def build(options: Options, seed: int, device: str) -> DeepHead:
    """The head, not trained yet."""
    return DeepHead(RankAwareMethod(options), seed, device)


def _mean(values: Tensor, mask: Tensor | None) -> Tensor:
    """(V,) mean over the real steps of (V, T); 0 where none is."""
    if mask is None:
        return values.mean(dim=1)
    return (values * mask).sum(dim=1) / mask.sum(dim=1).clamp(min=1)


def _numbers(tensor: Tensor) -> NDArray[np.float64]:
    return np.asarray(tensor.double().cpu().numpy())


def _standardised(curves: Mapping[str, NDArray[np.float64]], branch: str) -> NDArray[np.float64]:
    """(K, T) of a branch's filters, each of mean 0 and deviation 1; nan where it never changes."""
    prefix = f"{branch}_filter_"
    filters = np.stack([curve for name, curve in curves.items() if name.startswith(prefix)])
    mean, deviation = filters.mean(axis=1, keepdims=True), filters.std(axis=1, keepdims=True)
    # Attention that differs by rounding alone does not change.
    changes = np.broadcast_to(deviation > 1e-6 * mean, filters.shape)
    out = np.full_like(filters, np.nan)
    np.divide(filters - mean, deviation, out=out, where=changes)
    return out
