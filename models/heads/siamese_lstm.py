"""Siamese LSTM for action quality (Jain, Harit and Sharma, 2020).

"Action Quality Assessment using Siamese Network-Based Deep Metric Learning". In phase 1, deep
metric learning (section III-A), a network sees two videos and learns whether their scores are
alike. In phase 2 (section III-B) it sees an expert's video beside each video of the same type of
action and learns the score, with all but its last layer left as it is. What phase 1 learned also
tells which clips are unlike the expert's (section IV).

No code of the authors is public, and the paper leaves out the width of the LSTM, the activations,
the optimiser and how long to train; :class:`Options` says what is our choice.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import safetensors
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from ...features.errors import RecipeError
from ..data import Targets, VideoFeatures, row_shapes
from ..deep import WEIGHTS, DeepHead, read_saved
from ..experts import Experts, Whom, choose_experts
from ..feed import Scale
from ..head import Explanation, LearnsFrom, Role
from ..method import Memory, Method, Seen
from ..metric_pairs import Pairs, metric_pairs
from ..network import Batch, Drawn, Losses, Network, Phase, Schedule, Stage
from ..ranges import require_bounded, require_counts
from ..reading import Reading
from ..recurrent import LSTM
from ..schedules import constant

ROLES = (
    Role("features", "one vector a clip"),
    Role("variant", "the same video altered, one vector a clip", optional=True, many=True),
)
LEARNS_FROM: LearnsFrom = "scores"
READINGS: Mapping[str, Reading] = {
    "similarity": Reading(
        "similarity to the expert",
        "How much each clip is like the expert's, from 0 to 1; below 0.5 it looks faulty.",
        "value",
        "both",
    )
}
_FEATURES = "features"
# What phase 1 and phase 2 step; names of parameters begin so.
_BODY = ("lstm.", "first.", "second.")
_METRIC = ("similarity.",)
_SCORE = ("regression.",)
# Section V-E: below it a clip is faulty.
_FAULTY_BELOW = 0.5
# Whether a saved head's phase 1 was trained; also tells it from other heads.
_METRIC_WORD = "siamese_metric"
_LEARNED = "learned"
_ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {"relu": torch.relu, "linear": lambda x: x}


@dataclass(frozen=True)
class Options:
    """Settings; where no section is named, the paper says nothing and the default is our choice.

    Args:
        hidden: M, width of the LSTM.
        first: width of the dense layer D1 (section III-B).
        second: width of the dense layer D2 (section III-B).
        activation: after D1 and after D2. ``linear`` is the derivation in section III-B, which has
            none; then the logit of similarity is a sum of one term for each video, and such a sum
            cannot tell whether two scores are near each other.
        metric_learning: whether phase 1 is trained. Without it phase 2 trains the whole network
            (table V, "Without DML").
        keep_metric: whether what the run to start from has learned stays as it is: no phase 1, and
            only the last layer learns, as for the vaults of section V-D.
        pairs: examples of phase 1, as many similar as dissimilar ones (section V-A); fewer where
            there are not so many.
        threshold: two videos are similar if their scores differ by less; 5 for diving (section
            V-A). With 0 it is such that, of the pairs of each task, the share that the paper
            has for diving (1300 of 3200) is similar.
        metric_types: phase 1 learns from so many of the most frequent action types, 3 in section
            V-A; 0 takes all.
        expert: whom a video is compared with: the ``best`` training video of its own action type,
            the ``worst`` one, or as a ``constant`` the best one of the most frequent type
            (section V-D).
        experts: how many of them; 0 takes all that share the best, or worst, score (table III).
        epochs: passes over the pairs in phase 1.
        batch: pairs a mini-batch in both phases.
        learning_rate: of Adam wherever the whole network is trained.
        scoring_epochs: passes over the training videos in phase 2.
        scoring_rate: learning rate of Adam where only the last layer is trained.
        standardise: scale each channel to mean 0 and deviation 1 over the training videos; for
            features that are not of unit scale (not in the paper).

    Raises:
        ValueError: a number out of its range.
    """

    hidden: int = 256
    first: int = 128
    second: int = 64
    activation: Literal["relu", "linear"] = "relu"
    metric_learning: bool = True
    keep_metric: bool = False
    pairs: int = 26000
    threshold: float = 0.0
    metric_types: int = 0
    expert: Whom = "best"
    experts: int = 0
    epochs: int = 20
    batch: int = 128
    learning_rate: float = 1e-3
    scoring_epochs: int = 100
    scoring_rate: float = 1e-2
    standardise: bool = False

    def __post_init__(self) -> None:
        counts = ("hidden", "first", "second", "epochs", "batch", "scoring_epochs")
        require_counts(self, *counts)
        require_counts(self, "pairs", least=2)
        require_counts(self, "metric_types", "experts", least=0)
        require_bounded(self, "threshold")
        require_bounded(self, "learning_rate", "scoring_rate", positive=True)

    @property
    def learns_metric(self) -> bool:
        """Whether there is a phase 1."""
        return self.metric_learning and not self.keep_metric

    @property
    def knows_metric(self) -> bool:
        """Whether the network can tell similar from dissimilar."""
        return self.metric_learning or self.keep_metric


class SiameseLSTM(Network):
    """The network of figures 2 and 3: one LSTM for both videos, and two last layers.

    Args:
        channels: C of the features.
        options: widths and activation.
    """

    def __init__(self, channels: int, options: Options) -> None:
        super().__init__()
        self.lstm = LSTM(channels, options.hidden)
        self.first = nn.Linear(2 * options.hidden, options.first)
        self.second = nn.Linear(options.first, options.second)
        self.similarity = nn.Linear(options.second, 1)
        self.regression = nn.Linear(options.second, 1)
        self._activate = _ACTIVATIONS[options.activation]

    def encode(self, batch: Batch, drawn: Drawn) -> Tensor:
        """(V, M) O of section III-A, the state after a video's last clip."""
        return self.lstm(batch.values[_FEATURES], batch.mask)[:, -1]  # type: ignore[no-any-return]

    def compare(self, reference: Tensor, other: Tensor) -> Tensor:
        """Z of section III-B: both states through D1 and D2.

        Args:
            reference: (B, M) states of the first videos; in phase 2, of the experts.
            other: (B, M) states of the second ones.

        Returns:
            (B, D2).
        """
        hidden = self._activate(self.first(torch.cat([reference, other], dim=-1)))
        return self._activate(self.second(hidden))

    def similarity_logit(self, reference: Tensor, other: Tensor) -> Tensor:
        """(B,) whose sigmoid is the probability that both are similar; arguments as above."""
        return self.similarity(self.compare(reference, other))[:, 0]  # type: ignore[no-any-return]

    def estimate(self, reference: Tensor, other: Tensor) -> Tensor:
        """(B,) score of the second video, S' of section III-B; arguments as above."""
        return self.regression(self.compare(reference, other))[:, 0]  # type: ignore[no-any-return]


def similarity_losses(
    network: SiameseLSTM, batch: Batch, encoding: Tensor, positions: Tensor, labels: Tensor
) -> Losses:
    """Binary cross-entropy of phase 1 (section III-A).

    Args:
        network: whose last layer is the sigmoid one.
        batch: not looked at.
        encoding: (V, M).
        positions: (B, 2) of both videos of each pair.
        labels: (B, 1) 1 for similar pairs, else 0.

    Returns:
        ``similarity``, (B,) terms.
    """
    logits = network.similarity_logit(encoding[positions[:, 0]], encoding[positions[:, 1]])
    loss = functional.binary_cross_entropy_with_logits(logits, labels[:, 0], reduction="none")
    return {"similarity": loss}


def scoring_losses(
    network: SiameseLSTM, batch: Batch, encoding: Tensor, positions: Tensor, labels: Tensor
) -> Losses:
    """Squared error of phase 2 (section III-B, the last equation).

    Args:
        network: whose last layer is the regression.
        batch: not looked at.
        encoding: (V, M).
        positions: (B, 2) of an expert's video and of the video to score.
        labels: (B, 1) standardised scores of the latter.

    Returns:
        ``score``, (B,) terms.
    """
    estimates = network.estimate(encoding[positions[:, 0]], encoding[positions[:, 1]])
    return {"score": (estimates - labels[:, 0]).square()}


def lone_clip_states(lstm: LSTM, clips: Tensor) -> Tensor:
    """State after clip j of a video that is zero before it, for all j at once (section IV).

    The states over zeros are the same for all videos and clips, so one pass over T zeros and one
    step of T clips at once do instead of T passes.

    Args:
        lstm: of the network.
        clips: (T, C).

    Returns:
        (T, M).
    """
    zero = clips.new_zeros(1, clips.shape[1])
    state = cell = clips.new_zeros(1, lstm.hidden_size)
    states, cells = [state], [cell]
    for _ in range(len(clips) - 1):
        state, cell = _step(lstm, zero, state, cell)
        states.append(state)
        cells.append(cell)
    return _step(lstm, clips, torch.cat(states), torch.cat(cells))[0]


def _step(lstm: LSTM, clips: Tensor, state: Tensor, cell: Tensor) -> tuple[Tensor, Tensor]:
    """State and cell, (N, M) each, after one clip each, (N, C)."""
    _, after = nn.LSTM.forward(lstm, clips[:, None], (state[None], cell[None]))
    return after[0][0], after[1][0]


def corresponding_clips(clips: int, of_expert: int) -> NDArray[np.int64]:
    """(T,) the expert's clip at the same relative place; the same one where both have T clips.

    The paper pads videos (table VII) and does not say what it does where lengths differ.
    """
    return (2 * np.arange(clips) + 1) * of_expert // (2 * clips)


class SiameseMethod(Method):
    """What the head adds to others.

    Args:
        options: settings.
    """

    roles = ROLES

    def __init__(self, options: Options) -> None:
        self.options = options
        self.standardise = options.standardise
        self._started = False

    def expand(self, videos: Sequence[VideoFeatures]) -> list[VideoFeatures]:
        """The videos, then the first variants of all of them, then the second ones, and so on.

        Raises:
            RecipeError: videos or variants that differ in what they have.
        """
        shapes = row_shapes(videos)
        variants = [role for role in shapes if role != _FEATURES]
        for role in variants:
            if shapes[role] != shapes[_FEATURES]:
                raise RecipeError(
                    f"{role} of video '{videos[0].id}' has rows of {shapes[role][0]} channels and "
                    f"its features have {shapes[_FEATURES][0]}; extract both with one backbone"
                )
        originals = [_part(video, _FEATURES, video.id) for video in videos]
        altered = [_part(v, role, f"{v.id}+{role}") for role in variants for v in videos]
        return originals + altered

    def network(self, shapes: Mapping[str, tuple[int, ...]]) -> SiameseLSTM:
        """See :class:`SiameseLSTM`."""
        return SiameseLSTM(shapes[_FEATURES][0], self.options)

    def start(self, network: SiameseLSTM, folder: Path) -> Scale:
        """Take what phase 1 of another run has learned, all but the regression (section V-D).

        The scale of the channels comes along: what was learned holds for features of that scale.

        Raises:
            RecipeError: the folder holds no head of this kind, of these widths and settings.
        """
        path, own = folder / WEIGHTS, network.state_dict()
        wanted = [name for name in own if name.startswith(_BODY + _METRIC)]
        try:
            saved = read_saved(path)
        except (OSError, KeyError, ValueError, safetensors.SafetensorError) as error:
            raise RecipeError(
                f"{path} holds no trained head ({str(error).splitlines()[0]}); name another run "
                "with --start-from"
            ) from None
        if _METRIC_WORD not in saved.words or not saved.tensors["network"].keys() >= set(wanted):
            raise RecipeError(f"{path} is no siamese-lstm; name another run with --start-from")
        if self.options.keep_metric and saved.words[_METRIC_WORD] != _LEARNED:
            raise RecipeError(
                f"{path} was trained without metric learning, which keep_metric=true would keep; "
                "name another run with --start-from"
            )
        for name, used in self._settings.items():
            if saved.words[name] != used:
                raise RecipeError(
                    f"{path} was trained with {name}={saved.words[name]} and this run has "
                    f"{name}={used}; set it to the same, or name another run with --start-from"
                )
        taken = {name: saved.tensors["network"][name] for name in wanted}
        _check_widths(path, own, taken)
        network.load_state_dict(taken, strict=False)
        self._started = True
        return Scale(saved.tensors["mean"], saved.tensors["factor"])

    @property
    def _settings(self) -> dict[str, str]:
        """What a run that starts from this one must have in common with it."""
        return {
            "activation": self.options.activation,
            "standardise": str(self.options.standardise).lower(),
        }

    def stages(
        self, videos: Sequence[VideoFeatures], targets: Targets, rng: np.random.Generator
    ) -> list[Stage]:
        """Phase 1, which pairs all videos and variants, and phase 2, which pairs originals.

        Raises:
            RecipeError: fewer than two scores, no pairs, or no run whose metric can be kept.
        """
        options, started = self.options, self._started
        self._started = False
        if options.keep_metric and not started:
            raise RecipeError(
                "keep_metric=true keeps what another run has learned; name it with --start-from"
            )
        scores = _scores_of(targets)
        originals = videos[: len(scores)]
        found = [_scoring_stage(originals, scores, options)]
        if options.learns_metric:
            versions = len(videos) // len(originals)
            pairs = metric_pairs(
                originals,
                scores,
                versions,
                rng,
                most=options.pairs,
                threshold=options.threshold,
                types=options.metric_types,
            )
            found.insert(0, _metric_stage(pairs, options))
        return found

    def remember(
        self,
        network: SiameseLSTM,
        see: Callable[[Sequence[VideoFeatures]], Seen],
        videos: Sequence[VideoFeatures],
        targets: Targets,
    ) -> Memory:
        """The experts, as the network sees them, and the unit of the scores."""
        scores = _scores_of(targets)
        experts = choose_experts(videos, scores, self.options.expert, self.options.experts)
        chosen = [videos[position] for position in experts.positions]
        seen = see(chosen)
        mean, deviation = _unit(scores)
        tensors = {
            "expert_clips": seen.batch.values[_FEATURES],
            "expert_lengths": torch.tensor([video.main.steps for video in chosen]),
            "expert_states": seen.encoding,
            "score_unit": torch.tensor([mean, deviation], dtype=torch.float64),
        }
        words = {
            _METRIC_WORD: _LEARNED if self.options.knows_metric else "none",
            **self._settings,
            "experts": json.dumps([video.id for video in chosen]),
            "expert_kinds": json.dumps([[kind, list(m)] for kind, m in experts.of_kind.items()]),
        }
        return Memory(tensors, words)

    def scores(self, network: SiameseLSTM, memory: Memory, seen: Seen) -> Tensor:
        """(V,) in the unit of the training scores; the mean over a video's experts."""
        return torch.stack([parts.mean() for parts in self._parts(network, memory, seen)])

    def explain(self, network: SiameseLSTM, memory: Memory, seen: Seen) -> Explanation:
        """How much each clip is like the expert's, and whom the video was compared with.

        Of the metric, if one was learned: the curve ``similarity``, the sigmoid's output for each
        clip (section IV), its mean where there are several experts; the flag ``faulty`` where it
        is below 0.5 (section V-E); and the score ``similarity`` of both videos as a whole.
        Where an expert has another number of clips, each clip is compared with its clip at the
        same relative place. Clips before the one compared are zero as the network sees them, after
        any scaling: the paper zeroes the pictures, whose features are not at hand.

        The score ``against <id>`` is what an expert adds to the mean that is the video's score. The
        note ``expert`` names the experts and ``expert_of`` the action type that is theirs, or the
        task, or ``all``, where a video's own never trained.
        """
        (video,), experts = seen.videos, _experts_in(memory)
        ids = json.loads(memory.words["experts"])
        which = experts.of(video)
        (parts,) = self._parts(network, memory, seen)
        scores = {f"against {ids[i]}": float(part) for i, part in zip(which, parts, strict=True)}
        notes = {"expert": ", ".join(ids[i] for i in which), "expert_of": experts.name_of(video)}
        if not self.options.knows_metric:
            return Explanation(video.times, {}, scores, notes=notes)
        states = memory.tensors["expert_states"][list(which)]
        whole = network.similarity_logit(states, seen.encoding.expand_as(states)).sigmoid()
        scores["similarity"] = float(whole.mean())
        curve = _clip_similarity(network, memory, which, seen.batch.values[_FEATURES][0])
        flags = {"faulty": curve < _FAULTY_BELOW}
        return Explanation(video.times, {"similarity": curve}, scores, flags=flags, notes=notes)

    def embed(self, network: SiameseLSTM, memory: Memory, seen: Seen) -> Tensor:
        """(V, D2) the Siamese embedding; see :meth:`embeddings`."""
        return self.embeddings(network, memory, seen)["siamese"]

    def embeddings(self, network: SiameseLSTM, memory: Memory, seen: Seen) -> dict[str, Tensor]:
        """Both embeddings of section V-F.

        Returns:
            ``lstm``, (V, M) O of each video; ``siamese``, (V, D2) Z of each video beside its
            expert, the mean where there are several.
        """
        rows = [
            network.compare(states, own.expand_as(states)).mean(dim=0)
            for states, own in self._beside(memory, seen)
        ]
        return {"lstm": seen.encoding, "siamese": torch.stack(rows)}

    def _parts(self, network: SiameseLSTM, memory: Memory, seen: Seen) -> list[Tensor]:
        """For each video (E,) its score by each of its experts."""
        mean, deviation = memory.tensors["score_unit"].tolist()
        return [
            network.estimate(states, own.expand_as(states)).double() * deviation + mean
            for states, own in self._beside(memory, seen)
        ]

    def _beside(self, memory: Memory, seen: Seen) -> list[tuple[Tensor, Tensor]]:
        """For each video (E, M) states of its experts and (M,) its own."""
        experts, states = _experts_in(memory), memory.tensors["expert_states"]
        return [
            (states[list(experts.of(video))], own)
            for video, own in zip(seen.videos, seen.encoding, strict=True)
        ]


def build(options: Options, seed: int, device: str) -> DeepHead:
    """The head, not trained yet."""
    return DeepHead(SiameseMethod(options), seed, device)


def _part(video: VideoFeatures, role: str, id: str) -> VideoFeatures:
    return VideoFeatures(id, {_FEATURES: video.streams[role]}, video.task, video.action_type)


def _check_widths(path: Path, own: Mapping[str, Tensor], taken: Mapping[str, Tensor]) -> None:
    for name, tensor in taken.items():
        there, here = tuple(tensor.shape), tuple(own[name].shape)
        if there != here:
            raise RecipeError(
                f"{path} has {name} of {'x'.join(map(str, there))} and this training needs "
                f"{'x'.join(map(str, here))}; give the same feature, hidden, first and second"
            )


def _scores_of(targets: Targets) -> NDArray[np.float64]:
    """(V,) scores, nan where unknown.

    Raises:
        RecipeError: fewer than two are known.
    """
    targets.some_scores("siamese-lstm", "rank-aware-attention, which learns from pairs")
    return np.asarray(targets.scores)


def _unit(scores: NDArray[np.float64]) -> tuple[float, float]:
    """Mean and deviation of those known; the deviation is 1 where all are equal."""
    known = scores[np.isfinite(scores)]
    return float(known.mean()), float(known.std()) or 1.0


def _metric_stage(pairs: Pairs, options: Options) -> Stage:
    phase = Phase(
        similarity_losses, torch.optim.Adam, constant(options.learning_rate), _BODY + _METRIC
    )
    schedule = Schedule(options.epochs, options.batch)
    return Stage([phase], pairs.positions, pairs.labels, schedule)


def _scoring_stage(
    videos: Sequence[VideoFeatures], scores: NDArray[np.float64], options: Options
) -> Stage:
    """Each video with a score beside each of its experts, an expert beside itself too (table III).

    The squared error is that of scores of mean 0 and deviation 1 over the training videos (not in
    the paper), so that learning rates do not depend on their unit.
    """
    experts = choose_experts(videos, scores, options.expert, options.experts)
    examples = [
        (experts.positions[expert], position)
        for position in np.flatnonzero(np.isfinite(scores)).tolist()
        for expert in experts.of(videos[position])
    ]
    positions = np.array(examples, dtype=np.int64)
    mean, deviation = _unit(scores)
    labels = (scores[positions[:, 1:]] - mean) / deviation
    frozen = options.knows_metric
    rate = options.scoring_rate if frozen else options.learning_rate
    trains = _SCORE if frozen else _BODY + _SCORE
    phase = Phase(scoring_losses, torch.optim.Adam, constant(rate), trains, keeps_encoding=frozen)
    return Stage([phase], positions, labels, Schedule(options.scoring_epochs, options.batch))


def _experts_in(memory: Memory) -> Experts:
    ids = json.loads(memory.words["experts"])
    kinds = json.loads(memory.words["expert_kinds"])
    return Experts(range(len(ids)), {tuple(kind): members for kind, members in kinds})


def _clip_similarity(
    network: SiameseLSTM, memory: Memory, experts: Sequence[int], clips: Tensor
) -> NDArray[np.float64]:
    """(T,) similarity of each clip of (T, C) to that of the experts, the mean over them."""
    own = lone_clip_states(network.lstm, clips)
    curves = []
    for expert in experts:
        count = int(memory.tensors["expert_lengths"][expert])
        states = lone_clip_states(network.lstm, memory.tensors["expert_clips"][expert, :count])
        same = torch.from_numpy(corresponding_clips(len(clips), count)).to(states.device)
        curves.append(network.similarity_logit(states[same], own).sigmoid())
    return torch.stack(curves).mean(dim=0).double().cpu().numpy()
