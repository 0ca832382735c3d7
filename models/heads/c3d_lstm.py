"""C3D-LSTM (Parmar and Morris, CVPR Workshops 2017, arXiv 1611.05125).

"Learning To Score Olympic Events" reads the C3D features of a video's clips one after the other with
an LSTM and regresses the score from its state. Trained on incremental labels, the score is taken to
build up evenly over the clips, so that the score so far says what each clip adds and where points are
lost (used so by Jain et al., section IV, arXiv 2002.12096). A support vector regression of the last
state may take the place of the linear layer: the paper's C3D-LSTM-SVR.

Numbers that the paper's authors chose are those of their code (github.com/ParitoshParmar/LTSOE). It
has one LSTM for the final score, where the paper had two for execution and difficulty; its authors
call one better, and so it is here. It also clips gradients inside the LSTM, steps biases at twice the
learning rate and spares them weight decay; here they are treated like all other parameters.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.svm import SVR
from torch import Tensor, nn

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
    Schedule,
    Stage,
    draw_dropout,
    dropout,
)
from ..ranges import require_counts, require_not_negative, require_positive
from ..reading import Reading
from ..recurrent import LSTM
from ..schedules import constant

Labels = Literal["incremental", "final"]
Kernel = Literal["linear", "rbf"]
# Its name, and what to take where only pairs are known.
_LEARNS = ("c3d-lstm", "deep-ranking, which learns from pairs")
ROLES = (Role("features", "one vector a clip, such as C3D's fc6"),)
LEARNS_FROM: LearnsFrom = "scores"
READINGS: Mapping[str, Reading] = {
    "score_so_far": Reading(
        "score so far", "The score of the video up to each clip.", "running", "both"
    ),
    "gain": Reading(
        "gain",
        "What each clip adds to the score so far; below 0 it takes from it.",
        "value",
        "both",
    ),
}


@dataclass(frozen=True)
class Options:
    """Settings; the defaults are those of the authors' code unless said otherwise.

    Args:
        labels: ``incremental`` expects the share t / T of the score after clip t of T and takes the
            loss after every clip; ``final`` takes it after the last clip alone. The paper has both;
            the first is its proposal and our default.
        hidden: width of the LSTM's state.
        dropout: share of the features that training leaves out.
        epochs: passes over the videos; 60 passes over the paper's 300 dives are about the 3500
            mini-batches of the code.
        batch_videos: videos a mini-batch.
        learning_rate: of Adam.
        weight_decay: of Adam, added to the gradients.
        svr: score by a support vector regression of the last state, its units scaled to mean 0 and
            deviation 1 (our choice), in place of the linear layer.
        kernel: of that regression; ``rbf`` has scikit-learn's ``scale`` width (our choice).
        C: its weight of errors against flatness; scikit-learn's default (our choice).
        epsilon: errors below it are free there, in the units that scores are learned in;
            scikit-learn's default (our choice).
        standardise: scale each channel to mean 0 and deviation 1 over the training videos; for
            features that are not of unit scale (not in the paper).
        standardise_scores: learn scores in standard deviations from their mean, so that learning
            rate and weight decay fit scores of any range (our choice); the code learns them as they
            are.

    Raises:
        ValueError: a number out of its range.
    """

    labels: Labels = "incremental"
    hidden: int = 256
    dropout: float = 0.5
    epochs: int = 60
    batch_videos: int = 5
    learning_rate: float = 1e-3
    weight_decay: float = 5e-3
    svr: bool = False
    kernel: Kernel = "linear"
    C: float = 1.0
    epsilon: float = 0.1
    standardise: bool = False
    standardise_scores: bool = True

    def __post_init__(self) -> None:
        require_counts(self, "hidden", "epochs", "batch_videos")
        require_positive(self, "learning_rate", "C")
        require_not_negative(self, "weight_decay", "epsilon")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout is {self.dropout}; it must be at least 0 and less than 1")


class ClipReader(Network):
    """The network: an LSTM over the clips, and a linear layer from its state to the score so far.

    Args:
        channels: C of the features.
        hidden: width H of the state.
        dropout: share of the features that training leaves out.
    """

    def __init__(self, channels: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.channels = channels
        self.dropout = dropout
        self.lstm = LSTM(channels, hidden)
        self.regress = nn.Linear(hidden, 1)

    def draw(
        self, videos: int, steps: int, generator: torch.Generator, device: torch.device
    ) -> Drawn:
        """Which features are left out: (V, T, C)."""
        if not self.dropout:
            return {}
        shape = (videos, steps, self.channels)
        return {"features": draw_dropout(shape, self.dropout, generator, device)}

    def encode(self, batch: Batch, drawn: Drawn) -> Tensor:
        """(V, T, H) state after each clip; after padding it is that of the last real clip."""
        states: Tensor = self.lstm(dropout(batch.values["features"], drawn, "features"), batch.mask)
        return states

    def scores_so_far(self, states: Tensor) -> Tensor:
        """(...) from (..., H) states, as they are learned."""
        found: Tensor = self.regress(states)
        return found.squeeze(-1)


class Units(NamedTuple):
    """How scores are learned: less the offset, divided by the scale."""

    offset: float
    scale: float


def final_loss(scores: Tensor, label: Tensor) -> Tensor:
    """Half the squared error after the last clip.

    Args:
        scores: (B, T) after each clip.
        label: (B,) of each video.

    Returns:
        (B,) terms.
    """
    return (scores[:, -1] - label).square() / 2


def incremental_loss(scores: Tensor, labels: Tensor, real: Tensor) -> Tensor:
    """Half the squared error, as a mean over the clips of a video.

    Args:
        scores: (B, T) after each clip.
        labels: (B, T) that are expected there.
        real: (B, T) 1 for a clip, 0 for padding, which counts for nothing.

    Returns:
        (B,) terms.
    """
    squares = (scores - labels).square() / 2
    return (squares * real).sum(dim=1) / real.sum(dim=1)


def shares_so_far(real: Tensor) -> Tensor:
    """(B, T) share of the score that clip t of T is expected to end at, t / T; (B, T) 1 if real."""
    return real.cumsum(dim=1) / real.sum(dim=1, keepdim=True)


def losses(
    kind: Labels,
    network: ClipReader,
    batch: Batch,
    states: Tensor,
    positions: Tensor,
    labels: Tensor,
) -> Losses:
    """The loss of some videos, by its kind.

    Args:
        kind: of labels.
        network: that reads the states.
        batch: of V videos.
        states: (V, T, H) its encoding.
        positions: (B, 1) of each example's video in the batch.
        labels: (B, 2) its score and the offset of scores, both divided by the scale of scores.
    """
    chosen = positions[:, 0]
    scores = network.scores_so_far(states[chosen])
    score, offset = labels.unbind(dim=1)
    if kind == "final":
        return {"final": final_loss(scores, score - offset)}
    real = torch.ones_like(scores) if batch.mask is None else batch.mask[chosen].to(scores.dtype)
    expected = shares_so_far(real) * score[:, None] - offset[:, None]
    return {"incremental": incremental_loss(scores, expected, real)}


class C3DLSTM(Method):
    """What C3D-LSTM adds to all deep heads.

    Args:
        options: settings.
    """

    roles = ROLES

    def __init__(self, options: Options) -> None:
        self.options = options
        self.standardise = options.standardise

    def network(self, shapes: Mapping[str, tuple[int, ...]]) -> ClipReader:
        """See :class:`..method.Method`."""
        return ClipReader(shapes["features"][0], self.options.hidden, self.options.dropout)

    def stages(
        self, videos: Sequence[VideoFeatures], targets: Targets, rng: np.random.Generator
    ) -> list[Stage]:
        """One, of the videos that have a score."""
        options = self.options
        which, scores = targets.some_scores(*_LEARNS)
        units = _units(scores, options.standardise_scores)
        labels = np.stack([scores, np.full_like(scores, units.offset)], axis=1) / units.scale
        phase = Phase(
            functools.partial(losses, options.labels),
            functools.partial(
                torch.optim.Adam, lr=options.learning_rate, weight_decay=options.weight_decay
            ),
            constant(options.learning_rate),
        )
        schedule = Schedule(options.epochs, options.batch_videos)
        return [Stage([phase], which[:, None], labels, schedule)]

    def remember(
        self,
        network: ClipReader,
        see: Callable[[Sequence[VideoFeatures]], Seen],
        videos: Sequence[VideoFeatures],
        targets: Targets,
    ) -> Memory:
        """How scores were scaled and, where asked, the regression of the last states."""
        which, scores = targets.some_scores(*_LEARNS)
        units = _units(scores, self.options.standardise_scores)
        numbers = {"offset": units.offset, "scale": units.scale}
        tensors = {name: torch.tensor(value).double() for name, value in numbers.items()}
        if self.options.svr:
            states = see([videos[number] for number in which]).encoding[:, -1]
            learned = (scores - units.offset) / units.scale
            tensors |= self._regression(states.double().cpu().numpy(), learned)
        return Memory(tensors)

    def scores(self, network: ClipReader, memory: Memory, seen: Seen) -> Tensor:
        """(V,) after the last clip."""
        return self._read(network, memory, seen.encoding[:, -1])

    def explain(self, network: ClipReader, memory: Memory, seen: Seen) -> Explanation:
        """The score so far after each clip, and what each clip adds.

        The score starts from 0 with incremental labels, whose clips are ``faulty`` where it falls;
        with final ones from that of a state of zeros. Start and gains sum up to the score.
        """
        states = seen.encoding[0]
        so_far = self._read(network, memory, states).double().cpu().numpy()
        builds_up = self.options.labels == "incremental"
        start = 0.0 if builds_up else float(self._read(network, memory, states[0] * 0))
        gain = np.diff(so_far, prepend=start)
        return Explanation(
            seen.videos[0].times,
            {"score_so_far": so_far, "gain": gain},
            {"start": start, "gains": float(gain.sum())},
            flags={"faulty": gain < 0} if builds_up else {},
        )

    def embed(self, network: ClipReader, memory: Memory, seen: Seen) -> Tensor:
        """(V, H) state after the last clip."""
        last: Tensor = seen.encoding[:, -1]
        return last

    def _regression(
        self, states: NDArray[np.float64], scores: NDArray[np.float64]
    ) -> dict[str, Tensor]:
        """What a support vector regression of (n, H) states, scaled like features, comes down to."""
        options = self.options
        mean, deviation = states.mean(axis=0), states.std(axis=0)
        factor = np.divide(1, deviation, out=np.zeros_like(deviation), where=deviation > 1e-8)
        states = (states - mean) * factor
        # With its default tolerance the last digits of states would show in the first ones of scores.
        machine = SVR(kernel=options.kernel, C=options.C, epsilon=options.epsilon, tol=1e-8)
        machine.fit(states, scores)
        # The width that scikit-learn calls "scale"; constant states have none.
        variance = float(states.var())
        parts = {
            "mean": mean,  # (H,)
            "factor": factor,  # (H,)
            "vectors": machine.support_vectors_,  # (S, H)
            "coefficients": machine.dual_coef_[0],  # (S,)
            "intercept": machine.intercept_[0],
            "gamma": 1 / (states.shape[1] * variance) if variance else 1.0,
        }
        return {name: torch.tensor(value).double() for name, value in parts.items()}

    def _read(self, network: ClipReader, memory: Memory, states: Tensor) -> Tensor:
        """(...) scores, in their own units, of (..., H) states."""
        tensors = {name: tensor.to(states.device) for name, tensor in memory.tensors.items()}
        if self.options.svr:
            scaled = (states.double() - tensors["mean"]) * tensors["factor"]
            learned = _kernel_of(self.options.kernel, scaled, tensors)
            learned = learned @ tensors["coefficients"] + tensors["intercept"]
        else:
            learned = network.scores_so_far(states).double()
        return learned * tensors["scale"] + tensors["offset"]


def build(options: Options, seed: int, device: str) -> DeepHead:
    """The head, not trained yet."""
    return DeepHead(C3DLSTM(options), seed, device)


def _kernel_of(kernel: Kernel, states: Tensor, tensors: Mapping[str, Tensor]) -> Tensor:
    """(..., S) kernel of (..., H) states with the S support vectors."""
    vectors = tensors["vectors"]
    if kernel == "linear":
        return states @ vectors.mT
    distances = (states[..., None, :] - vectors).square().sum(dim=-1)
    return torch.exp(-tensors["gamma"] * distances)


def _units(scores: NDArray[np.float64], standardise: bool) -> Units:
    if not standardise:
        return Units(0.0, 1.0)
    # Equal scores have no deviation to divide by, and nothing to tell.
    return Units(float(scores.mean()), float(scores.std()) or 1.0)
