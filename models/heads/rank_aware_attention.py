"""Rank-aware temporal attention (Doughty et al., CVPR 2019, arXiv 1812.05538).

Two attention modules pool a video's segments, one learning to attend to what shows high skill, one to
what shows low skill; a third branch weights all segments the same and keeps the other two from
doing worse than that. Each module has K filters (section 3.3). Each branch ranks with one linear
layer; the score of a video is high plus low (equation 16).

Where the authors' code differs from their paper, the paper is the default and the code is the option
value ``released``.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import safetensors.torch
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from ...features.errors import RecipeError
from ..data import FeatureTensors, Targets, VideoFeatures, channels_of
from ..filters import filter_outputs
from ..head import Explanation, OnEpoch, no_report
from ..losses import diversity_loss, margin_ranking_loss, outdo_uniform_loss
from ..training import EpochLog, Losses, Phase, Schedule, train

Reading = Literal["paper", "released"]
_WEIGHTS = "rank_aware_attention.safetensors"
_RELEASED_ATTENTION_RATE = 0.1
# Far above every sensible setting, and far below where a step would overflow float32.
_LARGEST = 1e9
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
        for name in ("filters", "hidden", "epochs", "batch_pairs"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be at least 1")
        for name in _NUMBERS:
            value = getattr(self, name)
            if not 0 <= value <= _LARGEST:  # nor nan
                raise ValueError(f"{name} is {value}; it must be from 0 to {_LARGEST:g}")
        if self.learning_rate == 0:
            raise ValueError("learning_rate is 0; it must be positive")
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


class RankAwareAttention(nn.Module):
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
        self.first = nn.Linear(channels, 2 * filters * hidden)
        self.second = nn.ModuleList(nn.Linear(hidden, 1) for _ in range(2 * filters))
        self.rank = nn.Linear(channels, 3)  # high, low, uniform

    @property
    def attention_parameters(self) -> list[nn.Parameter]:
        """Of both attention modules."""
        return [*self.first.parameters(), *self.second.parameters()]

    @property
    def ranking_parameters(self) -> list[nn.Parameter]:
        """Of the three ranking layers."""
        return list(self.rank.parameters())

    def forward(self, features: Tensor, mask: Tensor | None = None) -> Scores:
        """Score videos.

        Args:
            features: (V, T, C).
            mask: (V, T) True where a segment is real; None where all are.
        """
        return self.read(features, mask, self.encode(features, mask))

    def encode(self, features: Tensor, mask: Tensor | None) -> Tensor:
        """(V, 2K, T) attention of every filter, high before low; arguments as above."""
        read = torch.cat([layer.weight for layer in self._second])  # (2K, H)
        biases = torch.cat([layer.bias for layer in self._second])
        outputs = filter_outputs(features, self.first.weight, self.first.bias, read)
        logits = (outputs + biases).mT  # (V, 2K, T)
        if mask is not None:
            logits = logits.masked_fill(~mask[:, None], -torch.inf)
        return logits.softmax(dim=2)

    def read(self, features: Tensor, mask: Tensor | None, encoding: Tensor) -> Scores:
        """Score videos whose attention is known from :meth:`encode`; arguments as above."""
        high_attention, low_attention = encoding.split(self.filters, dim=1)
        weights, biases = self.rank.weight, self.rank.bias
        ranked = functional.linear(features, weights)  # (V, T, 3)
        if mask is None:
            uniform = ranked[..., 2].mean(dim=1)
        else:
            uniform = (ranked[..., 2] * mask).sum(dim=1) / mask.sum(dim=1)
        return Scores(
            self._branch(high_attention, ranked[..., 0], biases[0]),
            self._branch(low_attention, ranked[..., 1], biases[1]),
            self._squash(uniform + biases[2]),
            high_attention,
            low_attention,
            ranked + biases,
        )

    @property
    def _second(self) -> list[nn.Linear]:
        return [layer for layer in self.second if isinstance(layer, nn.Linear)]

    def _branch(self, attention: Tensor, ranked: Tensor, bias: Tensor) -> Tensor:
        """(V, R) from (V, K, T) attention and (V, T) ranked segments."""
        pooled = (attention * ranked[:, None]).sum(dim=2)  # (V, K)
        if self.score == "paper":
            return pooled.sum(dim=1, keepdim=True) + bias
        return self._squash(pooled + bias)

    def _squash(self, scores: Tensor) -> Tensor:
        return scores if self.score == "paper" else 2 * scores.tanh()


def phases(network: RankAwareAttention, options: Options) -> list[Phase]:
    """The alternation of section 5.1: ranking layers, then attention.

    Without a loss of its own, attention is trained together with the ranking layers (the paper's
    softmax attention, section 5.2).
    """
    rate = options.learning_rate
    attention_rate = rate * (_RELEASED_ATTENTION_RATE if options.schedule == "released" else 1)

    def ranking(scores: Scores, better: Tensor, worse: Tensor) -> Losses:
        return ranking_losses(scores, better, worse, options)

    def attention(scores: Scores, better: Tensor, worse: Tensor) -> Losses:
        return attention_losses(scores, better, worse, options)

    def joint(scores: Scores, better: Tensor, worse: Tensor) -> Losses:
        return ranking(scores, better, worse) | attention(scores, better, worse)

    if not options.attends:
        return [Phase(list(network.parameters()), rate, joint)]
    found = [Phase(network.attention_parameters, attention_rate, attention)]
    if options.ranking:
        found.insert(0, Phase(network.ranking_parameters, rate, ranking, keeps_encoding=True))
    return found


def ranking_losses(scores: Scores, better: Tensor, worse: Tensor, options: Options) -> Losses:
    """Equations 10 to 12.

    Args:
        scores: of V videos.
        better: (P,) positions of the better videos.
        worse: (P,) of the others.
        options: the margin.
    """
    branches = {
        "ranking_high": scores.high.mean(dim=1),
        "ranking_low": scores.low.mean(dim=1),
        "ranking_uniform": scores.uniform,
    }
    return {
        name: margin_ranking_loss(score[better], score[worse], options.ranking_margin)
        for name, score in branches.items()
    }


def attention_losses(scores: Scores, better: Tensor, worse: Tensor, options: Options) -> Losses:
    """Equations 13, 14 and 19, as far as the options want them; arguments as above."""
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
        both = per_video[better] + per_video[worse]
        losses["diversity"] = options.diversity_weight * both.mean()
    return losses


class RankAwareAttentionHead:
    """The head: trains the network on pairs, scores videos and shows both attentions.

    Args:
        options: settings.
        seed: of initial weights, order of pairs and noise.
        device: a torch device.
    """

    def __init__(self, options: Options, seed: int, device: str) -> None:
        self.options = options
        self._seed = seed
        self._device = device
        self._network: RankAwareAttention | None = None
        self._mean = torch.zeros(0)
        self._scale = torch.zeros(0)

    def fit(
        self, videos: Sequence[VideoFeatures], targets: Targets, on_epoch: OnEpoch = no_report
    ) -> list[EpochLog]:
        """Train from scratch; see :class:`..head.Head`."""
        options = self.options
        self._mean, self._scale = _statistics(videos, options.standardise)
        self._network = _network(self._mean.shape[0], options, self._seed).to(self._device)
        return train(
            self._network,
            phases(self._network, options),
            FeatureTensors(self._prepared(videos), self._device),
            targets.pairs,
            Schedule(
                options.epochs,
                options.batch_pairs,
                options.noise,
                shared_noise=options.schedule == "released",
                carry_gradients=options.schedule == "released",
            ),
            self._seed,
            lambda epoch, losses: on_epoch(epoch, options.epochs, losses),
        )

    def score(self, videos: Sequence[VideoFeatures]) -> NDArray[np.float64]:
        """(V,) high plus low: equation 16."""
        return np.array([float(self._run(video).video) for video in videos])

    def explain(self, video: VideoFeatures) -> Explanation:
        """Both attentions, summed over filters, and what each branch makes of each segment."""
        scores = self._run(video)
        high, low, _ = scores.segments[0].double().cpu().numpy().T
        curves = {
            "high_attention": scores.high_attention[0].sum(dim=0).double().cpu().numpy(),
            "low_attention": scores.low_attention[0].sum(dim=0).double().cpu().numpy(),
            "high_score": high,
            "low_score": low,
        }
        parts = {
            "high": float(scores.high.mean()),
            "low": float(scores.low.mean()),
            "uniform": float(scores.uniform),
        }
        return Explanation(video.times, curves, parts)

    def save(self, folder: Path) -> None:
        """Write the weights and the scale of the channels as safetensors.

        Raises:
            OSError: the file cannot be written; safetensors' own writer would hide the reason.
        """
        state = self._trained.state_dict() | {"mean": self._mean, "scale": self._scale}
        tensors = {name: tensor.cpu().contiguous() for name, tensor in state.items()}
        (folder / _WEIGHTS).write_bytes(safetensors.torch.save(tensors))

    def load(self, folder: Path) -> None:
        """Read them back.

        Raises:
            RecipeError: the file is missing or is of other options.
        """
        try:
            state = safetensors.torch.load_file(folder / _WEIGHTS)
            mean, scale = state.pop("mean"), state.pop("scale")
            network = _network(mean.numel(), self.options, self._seed)
            network.load_state_dict(state)
        except (OSError, KeyError, RuntimeError, safetensors.SafetensorError) as error:
            raise RecipeError(
                f"{folder / _WEIGHTS} does not hold this head ({str(error).splitlines()[0]}); "
                "train it again"
            ) from None
        self._network, self._mean, self._scale = network.to(self._device), mean, scale

    @property
    def _trained(self) -> RankAwareAttention:
        if self._network is None:
            raise ValueError("the head is not trained; call fit or load first")
        return self._network

    def _run(self, video: VideoFeatures) -> Scores:
        network = self._trained.eval()
        channels = video.values.shape[1]
        if channels != self._mean.shape[0]:
            raise RecipeError(
                f"video '{video.id}' has {channels} channels and the head was trained on "
                f"{self._mean.shape[0]}; give it the feature that the run was trained on"
            )
        features = FeatureTensors(self._prepared([video]), self._device)
        with torch.inference_mode():
            scores: Scores = network(*features.batch(torch.tensor([0])))
        return scores

    def _prepared(self, videos: Sequence[VideoFeatures]) -> list[VideoFeatures]:
        """Videos with scaled channels; as they are where nothing is scaled."""
        if not self.options.standardise:
            return list(videos)
        mean, scale = self._mean.numpy(), self._scale.numpy()
        return [VideoFeatures(v.id, (v.values - mean) * scale, v.times) for v in videos]


def build(options: Options, seed: int, device: str) -> RankAwareAttentionHead:
    """The head, not trained yet."""
    return RankAwareAttentionHead(options, seed, device)


def _network(channels: int, options: Options, seed: int) -> RankAwareAttention:
    """A network with PyTorch's default initial values, drawn without touching global state."""
    with torch.random.fork_rng(devices=[]):
        # torch.manual_seed would seed every GPU as well, which the fork does not restore.
        torch.default_generator.manual_seed(seed)
        return RankAwareAttention(channels, options.filters, options.hidden, options.score)


def _statistics(videos: Sequence[VideoFeatures], standardise: bool) -> tuple[Tensor, Tensor]:
    """(C,) mean of each channel over all rows, and what to multiply by; 0 and 1 where not asked."""
    channels = channels_of(videos)
    if not standardise:
        return torch.zeros(channels), torch.ones(channels)
    rows = sum(len(video.values) for video in videos)
    mean = sum(video.values.sum(axis=0, dtype=np.float64) for video in videos) / rows
    variance = sum(np.square(v.values - mean).sum(axis=0) for v in videos) / rows
    deviation = np.sqrt(variance)
    # A channel that never changes says nothing; it must not become noise divided by zero.
    scale = np.divide(1, deviation, out=np.zeros_like(deviation), where=deviation > 1e-8)
    return torch.from_numpy(mean).float(), torch.from_numpy(scale).float()
