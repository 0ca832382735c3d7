import errno
import itertools
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import pytest
import safetensors.torch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap

from aqakit.features.errors import RecipeError
from aqakit.models.data import Targets, VideoFeatures
from aqakit.models.deep import DeepHead, Job, fit_batched
from aqakit.models.feed import Feed, Scale
from aqakit.models.head import Fitting, Session
from aqakit.models.heads.rank_aware_attention import (
    Options,
    RankAwareAttention,
    RankAwareMethod,
    Scores,
    attention_losses,
    branch_scores,
    build,
    filter_correlation,
    ranking_losses,
)
from aqakit.models.network import Batch, Losses, Phase
from aqakit.models.steps import Trainee
from aqakit.models.training import steps_of

CHANNELS, SEGMENTS = 5, 6
Reading = Literal["paper", "released"]
READINGS: tuple[Reading, ...] = ("paper", "released")
SMALL = Options(filters=2, hidden=4, epochs=2, batch_pairs=4)
WEIGHTS = "head.safetensors"


def _network(score: Reading = "paper", filters: int = 3, seed: int = 0) -> RankAwareAttention:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return RankAwareAttention(CHANNELS, filters, 4, score).double()


def _run(network: RankAwareAttention, features: Tensor, mask: Tensor | None = None) -> Scores:
    batch = Batch({"features": features}, mask)
    return network.read(batch, network.encode(batch, {}))


def _features(seed: int, videos: int, segments: int = SEGMENTS) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(videos, segments, CHANNELS, generator=generator, dtype=torch.float64)


class PlainBranch(nn.Module):
    """A branch as the paper draws it: filters one by one, features pooled first and ranked then."""

    def __init__(self, network: RankAwareAttention, filters: range, row: int) -> None:
        super().__init__()
        layers = network.attention
        hidden, channels = layers.second.in_features, layers.first.in_features
        self.filters = nn.ModuleList()
        for number in filters:
            own = slice(number * hidden, (number + 1) * hidden)
            first = nn.Linear(channels, hidden).to(layers.first.weight)
            first.load_state_dict(
                {"weight": layers.first.weight[own], "bias": layers.first.bias[own]}
            )
            second = nn.Linear(hidden, 1).to(first.weight)
            second.load_state_dict(
                {
                    "weight": layers.second.weight[number : number + 1],
                    "bias": layers.second.bias[number : number + 1],
                }
            )
            self.filters.append(nn.Sequential(first, nn.ReLU(), second, nn.Softmax(dim=0)))
        self.rank = nn.Linear(channels, 1).to(layers.first.weight)
        self.rank.load_state_dict(
            {
                "weight": network.rank.weight[row : row + 1],
                "bias": network.rank.bias[row : row + 1],
            }
        )

    def forward(self, segments: Tensor, score: str) -> tuple[Tensor, Tensor]:
        """(R,) scores and (K, T) attention of one video (T, C)."""
        weights = [layer(segments) for layer in self.filters]  # K of (T, 1)
        attention = torch.cat(weights, dim=1).T
        if score == "paper":
            pooled = (sum(weights, torch.zeros(())) * segments).sum(dim=0)
            return self.rank(pooled), attention
        pooled_by_filter = [(weight * segments).sum(dim=0) for weight in weights]
        return torch.cat([2 * self.rank(each).tanh() for each in pooled_by_filter]), attention


class PlainNetwork(nn.Module):
    """The three branches, one video at a time."""

    def __init__(self, network: RankAwareAttention) -> None:
        super().__init__()
        count = network.filters
        self.score = network.score
        self.high = PlainBranch(network, range(count), 0)
        self.low = PlainBranch(network, range(count, 2 * count), 1)
        self.uniform = PlainBranch(network, range(0), 2)

    @property
    def ranking_parameters(self) -> list[nn.Parameter]:
        return [p for branch in self.children() for p in branch.get_submodule("rank").parameters()]

    @property
    def attention_parameters(self) -> list[nn.Parameter]:
        return [
            p for branch in self.children() for p in branch.get_submodule("filters").parameters()
        ]

    def forward(self, videos: list[Tensor]) -> Scores:
        high, high_attention = zip(*(self.high(v, self.score) for v in videos), strict=True)
        low, low_attention = zip(*(self.low(v, self.score) for v in videos), strict=True)
        uniform = torch.cat([self.uniform.rank(video.mean(dim=0)) for video in videos])
        if self.score == "released":
            uniform = 2 * uniform.tanh()
        segments = [
            torch.cat([b.rank(v) for b in (self.high, self.low, self.uniform)], dim=1)
            for v in videos
        ]
        return Scores(
            torch.stack(high),
            torch.stack(low),
            uniform,
            torch.stack([_padded(each, SEGMENTS) for each in high_attention]),
            torch.stack([_padded(each, SEGMENTS) for each in low_attention]),
            torch.stack([_padded(each.T, SEGMENTS).T for each in segments]),
        )


def _padded(rows: Tensor, length: int) -> Tensor:
    return nn.functional.pad(rows, (0, length - rows.shape[1]))


def _assert_same(one: Scores, other: Scores) -> None:
    for name, ours, theirs in zip(Scores._fields, one, other, strict=True):
        assert torch.allclose(ours, theirs, rtol=1e-9, atol=1e-9), name


def _mask(lengths: list[int], segments: int = SEGMENTS) -> Tensor:
    return torch.arange(segments) < torch.tensor(lengths)[:, None]


# The network against the paper, video by video and filter by filter.


@pytest.mark.parametrize("score", READINGS)
@pytest.mark.parametrize("lengths", [None, [SEGMENTS, 1, 4]])
def test_network_is_that_of_the_paper(score: Reading, lengths: list[int] | None) -> None:
    network, features = _network(score), _features(1, 3)
    counts = lengths or [SEGMENTS] * 3
    mask = None
    if lengths:
        mask = _mask(lengths)
        features = features * 1e3 * ~mask[..., None] + features * mask[..., None]
    plain = PlainNetwork(network)([v[:count] for v, count in zip(features, counts, strict=True)])
    scores = _run(network, features, mask)
    real = _mask(counts)[..., None]
    _assert_same(scores._replace(segments=scores.segments * real), plain)
    torch.testing.assert_close(scores.video, plain.high.mean(dim=1) + plain.low.mean(dim=1))


@pytest.mark.parametrize("score", READINGS)
@pytest.mark.parametrize("masked", [False, True])
def test_gradients_of_network_and_losses(score: Reading, masked: bool) -> None:
    network, features = _network(score, filters=2), _features(2, 4, 3)
    mask = _mask([3, 1, 3, 2], 3) if masked else None
    options = replace(SMALL, score=score, losses=score)
    pairs = torch.tensor([[0, 1], [1, 2], [0, 3]])
    names, values = zip(*network.named_parameters(), strict=True)

    def losses(*parameters: Tensor) -> Tensor:
        state = dict(zip(names, parameters, strict=True))
        scores = functional_call(network, state, (_run, features, mask))
        terms = ranking_losses(scores, pairs, options) | attention_losses(scores, pairs, options)
        return torch.stack(list(terms.values()))

    assert torch.autograd.gradcheck(losses, values)


SEEDS = st.integers(0, 1000)
QUICK = settings(max_examples=25, deadline=None)


@pytest.mark.parametrize("score", READINGS)
@given(SEEDS, st.permutations(range(4)))
@QUICK
def test_order_of_videos_changes_nothing(score: Reading, seed: int, order: list[int]) -> None:
    network, features, mask = _network(score), _features(seed, 4), _mask([6, 2, 5, 1])
    scores = _run(network, features, mask)
    _assert_same(
        _run(network, features[order], mask[order]), Scores(*(each[order] for each in scores))
    )


@pytest.mark.parametrize("score", READINGS)
@given(SEEDS, st.permutations(range(SEGMENTS)))
@QUICK
def test_order_of_segments_only_moves_attention(
    score: Reading, seed: int, order: list[int]
) -> None:
    network, features = _network(score), _features(seed, 2)
    scores = _run(network, features)
    moved = scores._replace(
        high_attention=scores.high_attention[..., order],
        low_attention=scores.low_attention[..., order],
        segments=scores.segments[:, order],
    )
    _assert_same(_run(network, features[:, order]), moved)


@pytest.mark.parametrize("score", READINGS)
@given(SEEDS, st.integers(0, 4), st.floats(-1e6, 1e6))
@QUICK
def test_masked_rows_change_nothing(score: Reading, seed: int, more: int, filler: float) -> None:
    network, features = _network(score), _features(seed, 2)
    padding = torch.full((2, more, CHANNELS), filler, dtype=torch.float64)
    mask = _mask([SEGMENTS] * 2, SEGMENTS + more)
    scores = _run(network, torch.cat([features, padding], dim=1), mask)
    assert not scores.high_attention[..., SEGMENTS:].any()
    assert not scores.low_attention[..., SEGMENTS:].any()
    cut = scores._replace(
        high_attention=scores.high_attention[..., :SEGMENTS],
        low_attention=scores.low_attention[..., :SEGMENTS],
        segments=scores.segments[:, :SEGMENTS],
    )
    _assert_same(cut, _run(network, features))


@pytest.mark.parametrize("score", READINGS)
@given(SEEDS, st.integers(1, 4))
@QUICK
def test_splitting_a_batch_changes_nothing(score: Reading, seed: int, first: int) -> None:
    network, features = _network(score), _features(seed, 5)
    parts = [_run(network, part) for part in (features[:first], features[first:])]
    joined = Scores(*(torch.cat(each) for each in zip(*parts, strict=True)))
    _assert_same(_run(network, features), joined)


# Losses.


def _scores(options: Options) -> Scores:
    return _run(_network(options.score, options.filters), _features(3, 4))


PAIRS = torch.tensor([[0, 1], [2, 1], [3, 0]])
EXPECTED_TERMS = {
    "disparity": ["disparity_high", "disparity_low"],
    "rank_aware": ["rank_aware"],
    "diversity": ["diversity"],
}


@pytest.mark.parametrize("off", EXPECTED_TERMS)
def test_each_loss_can_be_left_out(off: str) -> None:
    changed: dict[str, Any] = {off: False}
    options = replace(SMALL, **changed)
    scores = _scores(options)
    terms = attention_losses(scores, PAIRS, options)
    wanted = [term for name, own in EXPECTED_TERMS.items() if name != off for term in own]
    assert list(terms) == wanted
    everything = attention_losses(scores, PAIRS, SMALL)
    assert all(terms[name].equal(everything[name]) for name in wanted)


@pytest.mark.parametrize("score", READINGS)
@pytest.mark.parametrize("losses", READINGS)
def test_losses_are_equations_10_to_14_and_20(score: Reading, losses: Reading) -> None:
    options = replace(
        SMALL,
        score=score,
        losses=losses,
        ranking_margin=0.9,
        disparity_margin=0.2,
        rank_aware_margin=0.4,
        diversity_weight=0.3,
    )
    scores = _scores(options)
    high = scores.high.detach().numpy()  # (V, R)
    low = scores.low.detach().numpy()
    u = scores.uniform.detach().numpy()

    def gain(better: NDArray[np.float64], worse: NDArray[np.float64]) -> float:
        difference = better - worse
        return float(difference.min() if losses == "released" else difference.mean())

    expected: dict[str, list[float]] = {}

    def add(name: str, term: float) -> None:
        expected.setdefault(name, []).append(term)

    for i, j in PAIRS.tolist():
        add("ranking_high", max(0, 0.9 - high[i].mean() + high[j].mean()))
        add("ranking_low", max(0, 0.9 - low[i].mean() + low[j].mean()))
        add("ranking_uniform", max(0, 0.9 - u[i] + u[j]))
        by_uniform = float(u[i] - u[j])
        add("disparity_high", max(0, 0.2 - gain(high[i], high[j]) + by_uniform))
        add("disparity_low", max(0, 0.2 - gain(low[i], low[j]) + by_uniform))
        add("rank_aware", max(0, 0.4 - gain(high[i], low[j]) + by_uniform))
        overlap = 0.0
        for video in (i, j):
            for attention in (scores.high_attention, scores.low_attention):
                weights = attention[video].detach().numpy()
                norm = float(np.linalg.norm(weights @ weights.T - np.eye(2)))
                overlap += norm ** (2 if losses == "paper" else 1)
        add("diversity", 0.3 * overlap)
    found = ranking_losses(scores, PAIRS, options) | attention_losses(scores, PAIRS, options)
    assert list(found) == list(expected)
    for name, terms in found.items():
        assert terms.tolist() == pytest.approx(expected[name]), name


# Training.


def _times(segments: int) -> NDArray[np.float64]:
    starts = np.arange(segments, dtype=np.float64)
    return np.stack([starts, starts + 0.5, starts + 1], axis=1)


def _videos(
    seed: int, count: int = 6, channels: int = CHANNELS, segments: int = SEGMENTS
) -> list[VideoFeatures]:
    rng = np.random.default_rng(seed)
    return [
        VideoFeatures.of(
            f"v{number}", rng.normal(size=(segments, channels)).astype("f4"), _times(segments)
        )
        for number in range(count)
    ]


def _all_pairs(count: int) -> NDArray[np.int64]:
    """The first video is the best, the last the worst."""
    return np.stack(np.triu_indices(count, 1), axis=1)


def _fitted(options: Options = SMALL, seed: int = 0) -> DeepHead:
    head = build(options, seed, "cpu")
    head.fit(_videos(0), Targets(_all_pairs(6)))
    return head


def _state(parameters: list[nn.Parameter]) -> list[Tensor]:
    return [parameter.detach().clone() for parameter in parameters]


def _same(one: list[Tensor], other: list[Tensor]) -> bool:
    return all(a.equal(b) for a, b in zip(one, other, strict=True))


def _parts(network: RankAwareAttention) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """Parameters of the ranking layers, and of the attention modules."""
    return list(network.rank.parameters()), list(network.attention.parameters())


class Step(NamedTuple):
    """What one step saw, (V, T, C) and (P, 2), and its losses."""

    features: Tensor
    pairs: Tensor
    losses: dict[str, float]


def _steps(
    network: RankAwareAttention, options: Options, pairs: NDArray[np.int64] | None = None
) -> Iterator[Step]:
    """Train on, step by step, with a record of what each step was given."""
    videos = _videos(0)
    pairs = _all_pairs(len(videos)) if pairs is None else pairs
    rng = np.random.default_rng(0)
    (stage,) = RankAwareMethod(options).stages(videos, Targets(pairs), rng)
    given: list[tuple[Tensor, Tensor]] = []

    def recording(phase: Phase) -> Phase:
        def losses(
            network: Any, batch: Batch, encoding: Any, positions: Tensor, labels: Tensor
        ) -> Losses:
            given.append((batch.values["features"].clone(), positions.clone()))
            return phase.losses(network, batch, encoding, positions, labels)

        return replace(phase, losses=losses)

    stage = replace(stage, phases=[recording(phase) for phase in stage.phases])
    trainee = Trainee(network, [stage], torch.arange(len(videos)), Scale({}, {}), 0)
    feed = Feed(videos, dtype=network.rank.weight.dtype)
    for losses in steps_of(trainee, feed, Fitting()):
        yield Step(*given[-1], {name: float(loss) for name, loss in losses.items()})


def test_ranking_and_attention_steps_leave_each_other_alone() -> None:
    network = _network(filters=2).float()
    steps = _steps(network, SMALL)
    ranking, attention = _parts(network)
    assert {id(p) for p in network.parameters()} == {id(p) for p in [*ranking, *attention]}
    for turn in range(6):
        stepped, fixed = (ranking, attention)[:: 1 - turn % 2 * 2]
        before, other = _state(stepped), _state(fixed)
        losses = next(steps).losses
        assert all(name.startswith("ranking") != bool(turn % 2) for name in losses)
        assert _same(_state(fixed), other)
        assert not _same(_state(stepped), before)
        assert all(parameter.grad is None for parameter in fixed)
        assert not any(parameter.requires_grad for parameter in fixed)


# The plain way: filter by filter, both sides of every pair, and gradients cleared as each reading
# has it.


def _plain_losses(plain: PlainNetwork, step: Step, options: Options, ranks: bool) -> Losses:
    terms: dict[str, list[Tensor]] = {}

    def hinge(name: str, margin: float, gain: Tensor) -> None:
        terms.setdefault(name, []).append((margin - gain).clamp(min=0))

    for i, j in step.pairs.tolist():
        better, worse = plain([step.features[i]]), plain([step.features[j]])
        uniform = (better.uniform - worse.uniform).squeeze()
        if ranks:
            hinge("ranking_high", options.ranking_margin, better.high.mean() - worse.high.mean())
            hinge("ranking_low", options.ranking_margin, better.low.mean() - worse.low.mean())
            hinge("ranking_uniform", options.ranking_margin, uniform)
            continue
        for name, margin, one, other in (
            ("disparity_high", options.disparity_margin, better.high, worse.high),
            ("disparity_low", options.disparity_margin, better.low, worse.low),
            ("rank_aware", options.rank_aware_margin, better.high, worse.low),
        ):
            hinge(name, margin, (one - other).min() - uniform)
        power = 2 if options.losses == "paper" else 1
        overlap = torch.zeros(())
        for scores in (better, worse):
            for attention in (scores.high_attention[0], scores.low_attention[0]):
                distance = attention @ attention.T - torch.eye(len(attention))
                overlap = overlap + distance.square().sum().sqrt() ** power
        terms.setdefault("diversity", []).append(options.diversity_weight * overlap)
    return {name: torch.stack(own).mean() for name, own in terms.items()}


def _plain_training(
    plain: PlainNetwork, steps: list[Step], options: Options, epoch: int, carry: bool
) -> Iterator[dict[str, float]]:
    """Losses step by step; ``epoch`` is the number of steps in one."""
    rate = options.learning_rate
    attention_rate = rate * (0.1 if options.schedule == "released" else 1)
    rankers = torch.optim.Adam(plain.ranking_parameters, lr=rate)
    attenders = torch.optim.Adam(plain.attention_parameters, lr=attention_rate)
    for number, step in enumerate(steps):
        if number % epoch == 0:
            rankers.zero_grad()
        if not carry:
            plain.zero_grad()
        losses = _plain_losses(plain, step, options, ranks=number % 2 == 0)
        sum(losses.values(), torch.zeros(())).backward()
        optimizer = attenders if number % 2 else rankers
        optimizer.step()
        optimizer.zero_grad()
        yield {name: loss.item() for name, loss in losses.items()}


# 3 steps an epoch, so that an epoch begins with a step of either kind.
PAIRS_OF_AN_EPOCH, STEPS_OF_AN_EPOCH, STEPS = 11, 3, 21
PUBLISHED = replace(SMALL, learning_rate=0.01, disparity_margin=0.05, rank_aware_margin=0.15)


@pytest.mark.parametrize(
    ("score", "schedule", "noise", "dtype"),
    [
        ("paper", "paper", 0.01, torch.float64),
        ("paper", "paper", 0.0, torch.float32),
        ("paper", "released", 0.0, torch.float64),
        ("released", "paper", 0.0, torch.float64),
        ("released", "released", 0.01, torch.float64),
        ("released", "released", 0.0, torch.float64),
        ("released", "released", 0.01, torch.float32),
    ],
)
def test_training_is_that_of_a_plain_loop(
    score: Reading, schedule: Reading, noise: float, dtype: torch.dtype
) -> None:
    options = replace(PUBLISHED, score=score, losses=score, schedule=schedule, noise=noise)
    network = _network(score, options.filters).to(dtype)
    plain = PlainNetwork(network)
    steps = list(
        itertools.islice(_steps(network, options, _all_pairs(6)[:PAIRS_OF_AN_EPOCH]), STEPS)
    )
    carry = schedule == "released"
    expected = _plain_training(plain, steps, options, STEPS_OF_AN_EPOCH, carry)
    for step, losses in zip(steps, expected, strict=True):
        assert list(step.losses) == list(losses)
        assert step.losses == pytest.approx(losses, rel=1e-4, abs=1e-6)
    trained = PlainNetwork(network).state_dict()
    for name, weight in plain.state_dict().items():
        # Adam turns a gradient that is zero but for rounding, such as that of a number which all
        # logits share, into a step; only in double precision that is a short one.
        if dtype == torch.float64 or not name.endswith("bias"):
            torch.testing.assert_close(trained[name], weight, rtol=1e-4, atol=1e-5)


def test_carried_gradients_change_the_losses() -> None:
    options = replace(PUBLISHED, score="released", losses="released", schedule="released", noise=0)
    network = _network("released", options.filters)
    plain = PlainNetwork(network)
    steps = list(
        itertools.islice(_steps(network, options, _all_pairs(6)[:PAIRS_OF_AN_EPOCH]), STEPS)
    )
    without = list(_plain_training(plain, steps, options, STEPS_OF_AN_EPOCH, carry=False))
    totals = [sum(step.losses.values()) for step in steps], [sum(each.values()) for each in without]
    # Nothing is left over before the first step; the second applies what the first one left.
    assert totals[0][:2] == pytest.approx(totals[1][:2])
    assert max(abs(a - b) for a, b in zip(*totals, strict=True)) > 0.01


def _noise_of(step: Step) -> tuple[list[int], Tensor]:
    """Which videos a step saw, and what had been added to each, (V, T, C)."""
    clean = torch.from_numpy(np.stack([video.values for video in _videos(0)]))
    distances = (step.features[:, None] - clean).flatten(2).norm(dim=2)
    numbers = distances.argmin(dim=1)
    return numbers.tolist(), step.features - clean[numbers]


@pytest.mark.parametrize("schedule", READINGS)
def test_every_epoch_sees_every_pair_with_fresh_noise(schedule: Reading) -> None:
    options = replace(PUBLISHED, schedule=schedule, noise=0.01)
    pairs = _all_pairs(6)[:PAIRS_OF_AN_EPOCH]
    network = _network(filters=2).float()
    steps = list(itertools.islice(_steps(network, options, pairs), 2 * STEPS_OF_AN_EPOCH))
    seen: list[tuple[int, ...]] = []
    for step in steps:
        numbers, noise = _noise_of(step)
        seen += [(numbers[i], numbers[j]) for i, j in step.pairs.tolist()]
        alike = torch.allclose(noise, noise[:1].expand_as(noise), atol=1e-5)
        assert alike == (schedule == "released")
        assert float(noise.std()) == pytest.approx(0.01, rel=0.4)
    wanted = sorted(map(tuple, pairs.tolist()))
    assert sorted(seen[:PAIRS_OF_AN_EPOCH]) == sorted(seen[PAIRS_OF_AN_EPOCH:]) == wanted
    # The first steps of the two epochs.
    first, second = (_noise_of(steps[number])[1] for number in (0, STEPS_OF_AN_EPOCH))
    assert not torch.allclose(first[0], second[0], atol=1e-3)


@pytest.mark.parametrize("diversity", [False, True])
def test_without_losses_of_its_own_attention_learns_from_ranking(diversity: bool) -> None:
    options = replace(SMALL, disparity=False, rank_aware=False, diversity=diversity)
    network = _network(filters=2).float()
    ranking, attention = _parts(network)
    before = _state(ranking), _state(attention)
    losses = next(_steps(network, options)).losses
    assert ("diversity" in losses) == diversity
    assert {"ranking_high", "ranking_low", "ranking_uniform"} <= losses.keys()
    # Not the biases: that of a ranking layer moves both videos of a pair alike.
    assert not before[0][0].equal(ranking[0])
    assert not before[1][0].equal(attention[0])


def test_without_ranking_losses_only_attention_learns() -> None:
    network = _network(filters=2).float()
    ranking, attention = _parts(network)
    before = _state(ranking), _state(attention)
    next(_steps(network, replace(SMALL, ranking=False)))
    assert _same(before[0], _state(ranking))
    assert not _same(before[1], _state(attention))


@pytest.mark.parametrize("score", READINGS)
@pytest.mark.parametrize("masked", [False, True])
def test_members_at_once_are_those_one_by_one(score: Reading, masked: bool) -> None:
    networks = [_network(score, 2, seed) for seed in range(3)]
    features = torch.stack([_features(seed, 4) for seed in range(3)])
    # The last member's last video is padding alone, as where it has fewer videos than others.
    mask = torch.stack([_mask(lengths) for lengths in ([6, 1, 4, 2], [3, 6, 5, 6], [6, 6, 2, 0])])
    pairs = torch.tensor([[[0, 1], [2, 3]], [[3, 0], [1, 0]], [[1, 2], [0, 1]]])
    options = replace(SMALL, score=score, losses=score)
    state, _ = stack_module_state(networks)

    def terms(
        network: RankAwareAttention, features: Tensor, mask: Tensor | None, pairs: Tensor
    ) -> Losses:
        scores = _run(network, features, mask)
        return ranking_losses(scores, pairs, options) | attention_losses(scores, pairs, options)

    def one(state: dict[str, Tensor], *own: Any) -> Losses:
        found: Losses = functional_call(networks[0], state, (terms, *own))
        return found

    axes = (0, 0, 0 if masked else None, 0)
    together = vmap(one, axes)(state, features, mask if masked else None, pairs)
    gradients = torch.autograd.grad(
        torch.stack(list(together.values())).sum(), list(state.values())
    )
    for member, network in enumerate(networks):
        own = mask[member] if masked else None
        alone = terms(network, features[member], own, pairs[member])
        for name, expected in alone.items():
            torch.testing.assert_close(together[name][member], expected)
        total = torch.stack(list(alone.values())).sum()
        wanted = torch.autograd.grad(total, list(network.parameters()))
        for found, expected in zip(gradients, wanted, strict=True):
            torch.testing.assert_close(found[member], expected)


def test_seeds_trained_as_one_batched_model_are_those_trained_alone() -> None:
    options = replace(SMALL, epochs=4, noise=0.01, learning_rate=0.01)
    targets, videos = Targets(_all_pairs(6)), _videos(0)
    together = [build(options, seed, "cpu") for seed in range(3)]
    fit_batched([Job(head, videos, targets, Session()) for head in together])
    for seed, head in enumerate(together):
        np.testing.assert_allclose(
            head.score(_videos(9)), _fitted(options, seed).score(_videos(9)), rtol=1e-4, atol=1e-5
        )


@pytest.mark.parametrize(("precision", "tolerance"), [("bfloat16", 0.05), ("float64", 1e-4)])
def test_other_precisions_give_about_the_same_scores(
    precision: Literal["bfloat16", "float64"], tolerance: float
) -> None:
    options, videos = replace(SMALL, epochs=10, noise=0.0, learning_rate=0.003), _videos(0)
    head = build(options, 0, "cpu")
    session = Session(fitting=Fitting(precision=precision))
    head.fit(videos, Targets(_all_pairs(6)), session)
    scores, expected = head.score(videos), _fitted(options).score(videos)
    np.testing.assert_allclose(scores, expected, atol=tolerance)
    assert not np.array_equal(scores, expected)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        *(({name: 0}, f"{name} is 0") for name in ("filters", "hidden", "epochs", "batch_pairs")),
        ({"learning_rate": 0.0}, "learning_rate is 0; it must be positive"),
        ({"noise": -0.1}, r"noise is -0.1; it must be from 0 to 1e\+09"),
        *(
            ({name: value}, rf"{name} is {re.escape(str(value))}; it must be from 0 to 1e\+09")
            for name in (
                "learning_rate",
                "noise",
                "ranking_margin",
                "disparity_margin",
                "rank_aware_margin",
                "diversity_weight",
            )
            for value in (float("nan"), float("inf"), 1e38)
        ),
        ({"ranking": False, "disparity": False, "rank_aware": False}, "ranking=false needs"),
    ],
)
def test_options_out_of_range_are_refused(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Options(**changed)


CHANGED: dict[str, Any] = {
    "filters": 3,
    "hidden": 5,
    "epochs": 5,
    "batch_pairs": 5,
    "learning_rate": 0.02,
    "noise": 0.1,
    "ranking": False,
    "disparity": False,
    "rank_aware": False,
    "diversity": False,
    "ranking_margin": 0.1,
    "disparity_margin": 3.0,
    "rank_aware_margin": 3.0,
    "diversity_weight": 0.5,
    "schedule": "released",
    "score": "released",
    "losses": "released",
    "standardise": True,
}


@pytest.mark.parametrize("name", list(vars(Options())))
def test_every_option_counts(name: str) -> None:
    # With the score of the code there are several filters of which the least can count.
    base = replace(
        SMALL, epochs=4, learning_rate=0.01, score="released" if name == "losses" else "paper"
    )
    scores = _fitted(base).score(_videos(9))
    found = _fitted(replace(base, **{name: CHANGED[name]})).score(_videos(9))
    assert np.abs(scores - found).max() > 1e-4


# Of 12 segments, 3 at random places show how well a video does, in one direction of a space in
# which the other segments point anywhere; only a marker tells which they are.
PLANTED = Options(
    filters=2, hidden=16, epochs=40, batch_pairs=64, learning_rate=0.03, standardise=True
)


def _planted(seed: int, count: int) -> tuple[list[VideoFeatures], NDArray[np.float64]]:
    rng = np.random.default_rng(seed)
    skill = rng.normal(size=count)
    videos = []
    for number in range(count):
        values = 0.5 * rng.normal(size=(12, 4))
        values[:, 0] = 0
        telling = rng.choice(12, 3, replace=False)
        values[telling, 0] = 1
        values[telling, 1] = skill[number] + 0.1 * rng.normal(size=3)
        videos.append(VideoFeatures.of(f"v{number}", values, _times(12)))
    return videos, skill


def _right(head: DeepHead, seed: int) -> float:
    """Share of pairs of fresh videos that are ordered rightly."""
    videos, skill = _planted(seed, 30)
    pairs = _all_pairs(30)
    scores = head.score(videos)
    found, true = (values[pairs[:, 0]] > values[pairs[:, 1]] for values in (scores, skill))
    return float((found == true).mean())


def _planted_head(options: Options, seed: int, shuffled: bool) -> DeepHead:
    videos, skill = _planted(seed, 60)
    pairs = np.random.default_rng(seed).permutation(_all_pairs(60))[:300]
    reverse = skill[pairs[:, 0]] < skill[pairs[:, 1]]
    if shuffled:
        reverse = np.random.default_rng(seed).random(len(pairs)) < 0.5
    pairs[reverse] = pairs[reverse, ::-1]
    head = build(options, seed, "cpu")
    head.fit(videos, Targets(pairs))
    return head


@pytest.mark.parametrize("reading", READINGS)
def test_skill_in_few_segments_is_learned(reading: Reading) -> None:
    options = replace(PLANTED, schedule=reading, score=reading, losses=reading)
    head = _planted_head(options, 0, shuffled=False)
    assert _right(head, 100) > 0.9


def test_attention_finds_the_segments_that_show_skill() -> None:
    head = _planted_head(PLANTED, 1, shuffled=False)
    video = _planted(101, 1)[0][0]
    telling = video.values[:, 0] == 1
    curves = head.explain(video).curves
    share = curves["high_attention"][telling].sum() / PLANTED.filters
    assert share > 1.5 * telling.mean()


def test_from_random_pairs_nothing_is_learned() -> None:
    options = replace(PLANTED, epochs=5)
    shares = [_right(_planted_head(options, seed, shuffled=True), 200 + seed) for seed in range(6)]
    assert 0.3 < np.mean(shares) < 0.7


# The head.


def test_the_seed_makes_every_number_and_global_generators_are_left_alone() -> None:
    torch_state, numpy_state = torch.get_rng_state(), np.random.get_state(legacy=False)
    first = _fitted(seed=3)
    assert torch.get_rng_state().equal(torch_state)
    assert str(np.random.get_state(legacy=False)) == str(numpy_state)
    torch.rand(3)
    again, other = _fitted(seed=3), _fitted(seed=4)
    videos = _videos(9)
    np.testing.assert_array_equal(first.score(videos), again.score(videos))
    assert not np.allclose(first.score(videos), other.score(videos))


def test_each_epoch_is_told_with_how_many_there_are() -> None:
    told: list[tuple[int, int, Any]] = []
    log = build(SMALL, 0, "cpu").fit(
        _videos(0), Targets(_all_pairs(6)), Session(on_epoch=lambda *epoch: told.append(epoch))
    )
    assert told == [(1, 2, log[0]), (2, 2, log[1])]


@pytest.mark.parametrize("standardise", [False, True])
def test_loaded_head_gives_the_same_scores(tmp_path: Path, standardise: bool) -> None:
    options = replace(SMALL, standardise=standardise)
    head, again = _fitted(options), build(options, 0, "cpu")
    head.save(tmp_path)
    again.load(tmp_path)
    videos = _videos(9)
    np.testing.assert_array_equal(head.score(videos), again.score(videos))
    assert [path.name for path in tmp_path.iterdir()] == [WEIGHTS]


@pytest.mark.parametrize("damage", ["missing", "empty", "cut", "noise", "foreign", "options"])
def test_weights_that_cannot_be_used_are_told_in_one_line(tmp_path: Path, damage: str) -> None:
    _fitted().save(tmp_path)
    path = tmp_path / WEIGHTS
    content = path.read_bytes()
    options = SMALL
    if damage == "missing":
        path.unlink()
    elif damage == "empty":
        path.write_bytes(b"")
    elif damage == "cut":
        path.write_bytes(content[: len(content) // 2])
    elif damage == "noise":
        path.write_bytes(np.random.default_rng(0).bytes(1000))
    elif damage == "foreign":
        safetensors.torch.save_file({"other": torch.zeros(2)}, path)
    else:
        options = replace(SMALL, filters=3)
    with pytest.raises(RecipeError) as caught:
        build(options, 0, "cpu").load(tmp_path)
    message = str(caught.value)
    assert str(path) in message
    assert "train it again" in message
    assert "\n" not in message


def test_a_full_disk_is_told_by_the_operating_system(tmp_path: Path) -> None:
    (tmp_path / WEIGHTS).symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left") as caught:
        _fitted().save(tmp_path)
    assert caught.value.errno == errno.ENOSPC


def test_no_generator_of_a_gpu_is_seeded(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(seed: int) -> None:
        raise AssertionError("seeded every GPU")

    monkeypatch.setattr(torch.cuda, "manual_seed_all", refuse)
    _fitted(seed=3)


def test_an_untrained_head_is_a_mistake_of_the_program() -> None:
    with pytest.raises(ValueError, match="not trained"):
        build(SMALL, 0, "cpu").score(_videos(0))


@pytest.mark.parametrize("standardise", [False, True])
def test_videos_of_another_feature_are_refused(standardise: bool) -> None:
    options = replace(SMALL, standardise=standardise)
    with pytest.raises(RecipeError, match="'v0' has 4 channels and the head was trained on 5"):
        _fitted(options).score(_videos(0, channels=4))
    with pytest.raises(RecipeError, match="'v0' has 4 channels and 'v0' 5"):
        build(options, 0, "cpu").fit(
            [*_videos(0, 1), *_videos(0, 1, channels=4)], Targets(np.array([[0, 1]]))
        )


@pytest.mark.parametrize("reading", READINGS)
@pytest.mark.parametrize("standardise", [False, True])
def test_explanation_tells_what_made_the_score(reading: Reading, standardise: bool) -> None:
    head = _fitted(replace(SMALL, score=reading, standardise=standardise))
    video = _videos(7, 1, segments=9)[0]
    explanation = head.explain(video)
    np.testing.assert_array_equal(explanation.times, video.times)
    for curve in explanation.curves.values():
        assert curve.shape == (9,)
    for branch in ("high", "low"):
        filters = [explanation.curves[f"{branch}_filter_{number}"] for number in (1, 2)]
        assert [curve.sum() for curve in filters] == pytest.approx([1, 1], rel=1e-5)
        np.testing.assert_allclose(
            explanation.curves[f"{branch}_attention"], sum(filters), rtol=1e-6
        )
    for name in ("high_attention", "low_attention"):
        assert (explanation.curves[name] >= 0).all()
        assert explanation.curves[name].sum() == pytest.approx(SMALL.filters, rel=1e-5)
    parts = explanation.scores
    assert parts["high"] + parts["low"] == pytest.approx(head.score([video])[0], rel=1e-5)
    if reading == "paper":
        # Attention times what each segment is worth, up to the bias that the K filters share.
        extra = SMALL.filters - 1
        for row, name in enumerate(("high", "low")):
            weighted = explanation.curves[f"{name}_attention"] @ explanation.curves[f"{name}_score"]
            bias = head._trained.get_parameter("rank.bias")[row].item()
            assert weighted - extra * bias == pytest.approx(parts[name], rel=1e-4, abs=1e-5)


def test_videos_are_scored_each_on_its_own() -> None:
    head = _fitted()
    long, short = _videos(7, 1, segments=9)[0], _videos(8, 1, segments=2)[0]
    together = head.score([long, short])
    assert together.dtype == np.float64
    assert together.tolist() == [head.score([long])[0], head.score([short])[0]]


def test_standardised_channels_have_mean_0_and_deviation_1() -> None:
    videos = [
        VideoFeatures.of(v.id, v.values * [1, 10, 100, 1, 0] + [5, 0, 0, 1, 3], v.times)
        for v in _videos(3)
    ]
    head = build(replace(SMALL, standardise=True), 0, "cpu")
    head.fit(videos, Targets(_all_pairs(6)))
    rows = head._see(videos).batch.values["features"].flatten(0, 1).numpy()
    np.testing.assert_allclose(rows.mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(rows.std(axis=0), [1, 1, 1, 1, 0], atol=1e-5)


def test_standardised_scores_do_not_depend_on_the_unit_of_features() -> None:
    options = replace(SMALL, standardise=True)
    videos = _videos(0)
    scaled = [VideoFeatures.of(v.id, v.values * 1000 - 7, v.times) for v in videos]
    one, other = build(options, 0, "cpu"), build(options, 0, "cpu")
    one.fit(videos, Targets(_all_pairs(6)))
    other.fit(scaled, Targets(_all_pairs(6)))
    np.testing.assert_allclose(one.score(videos), other.score(scaled), rtol=1e-3, atol=1e-4)


def test_diverging_training_is_told() -> None:
    videos = [VideoFeatures.of(v.id, v.values * np.float32(1e30), v.times) for v in _videos(0)]
    with pytest.raises(RecipeError, match=r"diverged in epoch \d+ .*standardise=true"):
        build(replace(SMALL, learning_rate=1e9, epochs=50), 0, "cpu").fit(
            videos, Targets(_all_pairs(6))
        )


def test_without_pairs_nothing_can_be_learned() -> None:
    with pytest.raises(RecipeError, match="no pair of two training videos; add pairs") as caught:
        build(SMALL, 0, "cpu").fit(_videos(0), Targets(np.empty((0, 2), dtype=np.int64)))
    assert "\n" not in str(caught.value)


# What the figures of the paper show.


@pytest.mark.parametrize("reading", READINGS)
def test_branch_scores_are_those_of_each_branch_alone(reading: Reading) -> None:
    head = _fitted(replace(SMALL, score=reading))
    videos = [*_videos(7, 2, segments=9), *_videos(8, 3)]
    found = branch_scores(head, videos)
    network = head._trained
    assert isinstance(network, RankAwareAttention)
    plain = PlainNetwork(network)
    for number, video in enumerate(videos):
        features = torch.from_numpy(video.values)
        for branch, row in (("high", plain.high), ("low", plain.low)):
            scores, _ = row(features, reading)
            assert found[branch][number] == pytest.approx(scores.mean().item(), rel=1e-4, abs=1e-6)
        uniform = plain.uniform.rank(features.mean(dim=0)).item()
        uniform = uniform if reading == "paper" else 2 * np.tanh(uniform)
        assert found["uniform"][number] == pytest.approx(uniform, rel=1e-4, abs=1e-6)
    np.testing.assert_allclose(found["high"] + found["low"], head.score(videos), rtol=1e-5)


@pytest.mark.parametrize("filters", [1, 2, 3])
def test_filter_correlation_is_the_mean_over_videos(filters: int) -> None:
    head = _fitted(replace(SMALL, filters=filters))
    videos = [*_videos(7, 2, segments=9), *_videos(8, 3)]
    total = np.zeros((filters, filters))
    for video in videos:
        curves = head.explain(video).curves
        for i in range(filters):
            for j in range(filters):
                high, low = curves[f"high_filter_{i + 1}"], curves[f"low_filter_{j + 1}"]
                total[i, j] += np.corrcoef(high, low)[0, 1]
    np.testing.assert_allclose(filter_correlation(map(head.explain, videos)), total / 5, atol=1e-6)


def test_a_video_of_one_segment_has_no_correlation() -> None:
    head = _fitted()
    flat = _videos(3, 1, segments=1)
    assert np.isnan(filter_correlation(map(head.explain, flat))).all()
    others = _videos(7, 2)
    np.testing.assert_array_equal(
        filter_correlation(map(head.explain, [*others, *flat])),
        filter_correlation(map(head.explain, others)),
    )


def test_a_filter_that_weights_all_segments_the_same_has_no_correlation() -> None:
    head = _fitted()
    weight = head._trained.get_parameter("attention.second.weight")
    with torch.no_grad():
        weight[1] = 0  # the second high-skill filter
    found = filter_correlation(map(head.explain, _videos(7, 2)))
    assert np.isnan(found).tolist() == [[False, False], [True, True]]
