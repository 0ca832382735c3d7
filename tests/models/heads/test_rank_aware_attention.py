import errno
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import safetensors.torch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor, nn

from aqakit.features.errors import RecipeError
from aqakit.models.data import FeatureTensors, Targets, VideoFeatures
from aqakit.models.heads.rank_aware_attention import (
    Options,
    RankAwareAttention,
    RankAwareAttentionHead,
    Scores,
    attention_losses,
    build,
    phases,
    ranking_losses,
)
from aqakit.models.training import Schedule, steps_of

CHANNELS, SEGMENTS = 5, 6
READINGS: tuple[Literal["paper", "released"], ...] = ("paper", "released")
SMALL = Options(filters=2, hidden=4, epochs=2, batch_pairs=4)
WEIGHTS = "rank_aware_attention.safetensors"


def _network(
    score: Literal["paper", "released"] = "paper", filters: int = 3, seed: int = 0
) -> RankAwareAttention:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return RankAwareAttention(CHANNELS, filters, 4, score).double()


def _features(seed: int, videos: int, segments: int = SEGMENTS) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(videos, segments, CHANNELS, generator=generator, dtype=torch.float64)


class PlainBranch(nn.Module):
    """A branch as the paper draws it: filters one by one, features pooled first and ranked then."""

    def __init__(self, network: RankAwareAttention, filters: range, row: int) -> None:
        super().__init__()
        hidden = network.first.out_features // len(network.second)
        self.filters = nn.ModuleList()
        for number in filters:
            own = slice(number * hidden, (number + 1) * hidden)
            first = nn.Linear(network.first.in_features, hidden).double()
            first.load_state_dict(
                {"weight": network.first.weight[own], "bias": network.first.bias[own]}
            )
            second = nn.Linear(hidden, 1).double()
            second.load_state_dict(network.second[number].state_dict())
            self.filters.append(nn.Sequential(first, nn.ReLU(), second, nn.Softmax(dim=0)))
        self.rank = nn.Linear(network.first.in_features, 1).double()
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
def test_network_is_that_of_the_paper(
    score: Literal["paper", "released"], lengths: list[int] | None
) -> None:
    network, features = _network(score), _features(1, 3)
    counts = lengths or [SEGMENTS] * 3
    mask = None
    if lengths:
        mask = _mask(lengths)
        features = features * 1e3 * ~mask[..., None] + features * mask[..., None]
    plain = PlainNetwork(network)([v[:count] for v, count in zip(features, counts, strict=True)])
    scores: Scores = network(features, mask)
    real = _mask(counts)[..., None]
    _assert_same(scores._replace(segments=scores.segments * real), plain)
    torch.testing.assert_close(scores.video, plain.high.mean(dim=1) + plain.low.mean(dim=1))


@pytest.mark.parametrize("score", READINGS)
@pytest.mark.parametrize("masked", [False, True])
def test_gradients_of_network_and_losses(score: Literal["paper", "released"], masked: bool) -> None:
    network, features = _network(score, filters=2), _features(2, 4, 3)
    mask = _mask([3, 1, 3, 2], 3) if masked else None
    options = replace(SMALL, score=score, losses=score)
    better, worse = torch.tensor([0, 1, 0]), torch.tensor([1, 2, 3])
    names, values = zip(*network.named_parameters(), strict=True)

    def losses(*parameters: Tensor) -> Tensor:
        state = dict(zip(names, parameters, strict=True))
        scores = torch.func.functional_call(network, state, (features, mask))
        terms = ranking_losses(scores, better, worse, options) | attention_losses(
            scores, better, worse, options
        )
        return torch.stack(list(terms.values()))

    assert torch.autograd.gradcheck(losses, values)


SEEDS = st.integers(0, 1000)
QUICK = settings(max_examples=25, deadline=None)


@pytest.mark.parametrize("score", READINGS)
@given(SEEDS, st.permutations(range(4)))
@QUICK
def test_order_of_videos_changes_nothing(
    score: Literal["paper", "released"], seed: int, order: list[int]
) -> None:
    network, features, mask = _network(score), _features(seed, 4), _mask([6, 2, 5, 1])
    scores = network(features, mask)
    _assert_same(network(features[order], mask[order]), Scores(*(each[order] for each in scores)))


@pytest.mark.parametrize("score", READINGS)
@given(SEEDS, st.permutations(range(SEGMENTS)))
@QUICK
def test_order_of_segments_only_moves_attention(
    score: Literal["paper", "released"], seed: int, order: list[int]
) -> None:
    network, features = _network(score), _features(seed, 2)
    scores = network(features)
    moved = scores._replace(
        high_attention=scores.high_attention[..., order],
        low_attention=scores.low_attention[..., order],
        segments=scores.segments[:, order],
    )
    _assert_same(network(features[:, order]), moved)


@pytest.mark.parametrize("score", READINGS)
@given(SEEDS, st.integers(0, 4), st.floats(-1e6, 1e6))
@QUICK
def test_masked_rows_change_nothing(
    score: Literal["paper", "released"], seed: int, more: int, filler: float
) -> None:
    network, features = _network(score), _features(seed, 2)
    padding = torch.full((2, more, CHANNELS), filler, dtype=torch.float64)
    mask = _mask([SEGMENTS] * 2, SEGMENTS + more)
    scores = network(torch.cat([features, padding], dim=1), mask)
    assert not scores.high_attention[..., SEGMENTS:].any()
    assert not scores.low_attention[..., SEGMENTS:].any()
    cut = scores._replace(
        high_attention=scores.high_attention[..., :SEGMENTS],
        low_attention=scores.low_attention[..., :SEGMENTS],
        segments=scores.segments[:, :SEGMENTS],
    )
    _assert_same(cut, network(features))


@pytest.mark.parametrize("score", READINGS)
@given(SEEDS, st.integers(1, 4))
@QUICK
def test_splitting_a_batch_changes_nothing(
    score: Literal["paper", "released"], seed: int, first: int
) -> None:
    network, features = _network(score), _features(seed, 5)
    parts = [network(part) for part in (features[:first], features[first:])]
    joined = Scores(*(torch.cat(each) for each in zip(*parts, strict=True)))
    _assert_same(network(features), joined)


# Losses.


def _scores(options: Options) -> Scores:
    scores: Scores = _network(options.score, options.filters)(_features(3, 4))
    return scores


BETTER, WORSE = torch.tensor([0, 2, 3]), torch.tensor([1, 1, 0])
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
    terms = attention_losses(scores, BETTER, WORSE, options)
    wanted = [term for name, own in EXPECTED_TERMS.items() if name != off for term in own]
    assert list(terms) == wanted
    everything = attention_losses(scores, BETTER, WORSE, SMALL)
    assert all(terms[name].equal(everything[name]) for name in wanted)


@pytest.mark.parametrize("score", READINGS)
@pytest.mark.parametrize("losses", READINGS)
def test_losses_are_equations_10_to_14_and_20(
    score: Literal["paper", "released"], losses: Literal["paper", "released"]
) -> None:
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

    expected = dict.fromkeys(
        ["ranking_high", "ranking_low", "ranking_uniform", "disparity_high", "disparity_low"]
        + ["rank_aware", "diversity"],
        0.0,
    )
    for i, j in zip(BETTER.tolist(), WORSE.tolist(), strict=True):
        expected["ranking_high"] += max(0, 0.9 - high[i].mean() + high[j].mean()) / 3
        expected["ranking_low"] += max(0, 0.9 - low[i].mean() + low[j].mean()) / 3
        expected["ranking_uniform"] += max(0, 0.9 - u[i] + u[j]) / 3
        by_uniform = float(u[i] - u[j])
        expected["disparity_high"] += max(0, 0.2 - gain(high[i], high[j]) + by_uniform) / 3
        expected["disparity_low"] += max(0, 0.2 - gain(low[i], low[j]) + by_uniform) / 3
        expected["rank_aware"] += max(0, 0.4 - gain(high[i], low[j]) + by_uniform) / 3
        for video in (i, j):
            for attention in (scores.high_attention, scores.low_attention):
                weights = attention[video].detach().numpy()
                norm = float(np.linalg.norm(weights @ weights.T - np.eye(2)))
                expected["diversity"] += 0.3 * norm ** (2 if losses == "paper" else 1) / 3
    found = ranking_losses(scores, BETTER, WORSE, options) | attention_losses(
        scores, BETTER, WORSE, options
    )
    assert list(found) == list(expected)
    assert {name: loss.item() for name, loss in found.items()} == pytest.approx(expected)


# Training.


def _times(segments: int) -> NDArray[np.float64]:
    starts = np.arange(segments, dtype=np.float64)
    return np.stack([starts, starts + 0.5, starts + 1], axis=1)


def _videos(
    seed: int, count: int = 6, channels: int = CHANNELS, segments: int = SEGMENTS
) -> list[VideoFeatures]:
    rng = np.random.default_rng(seed)
    return [
        VideoFeatures(
            f"v{number}", rng.normal(size=(segments, channels)).astype("f4"), _times(segments)
        )
        for number in range(count)
    ]


def _all_pairs(count: int) -> NDArray[np.int64]:
    """The first video is the best, the last the worst."""
    return np.stack(np.triu_indices(count, 1), axis=1)


def _fitted(options: Options = SMALL, seed: int = 0) -> RankAwareAttentionHead:
    head = build(options, seed, "cpu")
    head.fit(_videos(0), Targets(_all_pairs(6)))
    return head


def _state(parameters: list[nn.Parameter]) -> list[Tensor]:
    return [parameter.detach().clone() for parameter in parameters]


def _same(one: list[Tensor], other: list[Tensor]) -> bool:
    return all(a.equal(b) for a, b in zip(one, other, strict=True))


def _network_and_steps(options: Options) -> tuple[RankAwareAttention, Iterator[Any]]:
    network = _network(options.score, options.filters).float()
    features, schedule = FeatureTensors(_videos(0)), Schedule(1, options.batch_pairs)
    return network, steps_of(
        network, phases(network, options), features, _all_pairs(6), schedule, 0
    )


def test_ranking_and_attention_steps_leave_each_other_alone() -> None:
    network, steps = _network_and_steps(SMALL)
    ranking, attention = network.ranking_parameters, network.attention_parameters
    assert {id(p) for p in network.parameters()} == {id(p) for p in [*ranking, *attention]}
    for turn in range(6):
        stepped, fixed = (ranking, attention)[:: 1 - turn % 2 * 2]
        before, other = _state(stepped), _state(fixed)
        losses = next(steps)
        assert all(name.startswith("ranking") != bool(turn % 2) for name in losses)
        assert _same(_state(fixed), other)
        assert not _same(_state(stepped), before)
        assert all(parameter.grad is None for parameter in fixed)
        assert not any(parameter.requires_grad for parameter in fixed)


@pytest.mark.parametrize("schedule", READINGS)
@pytest.mark.parametrize("score", READINGS)
def test_training_is_that_of_a_plain_loop(
    schedule: Literal["paper", "released"], score: Literal["paper", "released"]
) -> None:
    """Filter by filter, both sides of every pair, and gradients cleared as each reading has it."""
    options = replace(
        SMALL, schedule=schedule, score=score, losses=score, learning_rate=0.01, noise=0.0
    )
    videos, pairs = _videos(5), _all_pairs(6)
    first = build(replace(options, learning_rate=1e-30, epochs=1), 4, "cpu")
    first.fit(videos, Targets(pairs))
    plain = PlainNetwork(first._trained.double())
    attention_rate = 0.001 if schedule == "released" else 0.01
    rankers = torch.optim.Adam(plain.ranking_parameters, lr=0.01)
    attenders = torch.optim.Adam(plain.attention_parameters, lr=attention_rate)
    generator = torch.Generator().manual_seed(4)
    features = [torch.from_numpy(video.values).double() for video in videos]
    ranks = True
    expected: list[dict[str, list[float]]] = []
    for _ in range(3):
        expected.append({})
        order = torch.randperm(len(pairs), generator=generator)
        if schedule == "released":
            rankers.zero_grad()
        for batch in order.split(4):
            sides = [features[int(number)] for number in pairs[batch.numpy()].T.ravel()]
            better, worse = torch.arange(len(sides)).chunk(2)
            losses = (ranking_losses if ranks else attention_losses)(
                plain(sides), better, worse, options
            )
            if schedule == "paper":
                plain.zero_grad()
            sum(losses.values(), torch.zeros(())).backward()
            optimizer = rankers if ranks else attenders
            optimizer.step()
            if schedule == "released":
                optimizer.zero_grad()
            ranks = not ranks
            for name, loss in losses.items():
                expected[-1].setdefault(name, []).append(loss.item())
    log = build(replace(options, epochs=3), 4, "cpu").fit(videos, Targets(pairs))
    for ours, theirs in zip(log, expected, strict=True):
        assert ours == pytest.approx(
            {name: float(np.mean(values)) for name, values in theirs.items()}, rel=1e-4
        )


@pytest.mark.parametrize("diversity", [False, True])
def test_without_losses_of_its_own_attention_learns_from_ranking(diversity: bool) -> None:
    options = replace(SMALL, disparity=False, rank_aware=False, diversity=diversity)
    network, steps = _network_and_steps(options)
    before = _state(network.ranking_parameters), _state(network.attention_parameters)
    losses = next(steps)
    assert ("diversity" in losses) == diversity
    assert {"ranking_high", "ranking_low", "ranking_uniform"} <= losses.keys()
    after = _state(network.ranking_parameters), _state(network.attention_parameters)
    # Not the biases: that of a ranking layer moves both videos of a pair alike.
    assert not before[0][0].equal(after[0][0])
    assert not before[1][0].equal(after[1][0])


def test_without_ranking_losses_only_attention_learns() -> None:
    network, steps = _network_and_steps(replace(SMALL, ranking=False))
    before = _state(network.ranking_parameters), _state(network.attention_parameters)
    next(steps)
    assert _same(before[0], _state(network.ranking_parameters))
    assert not _same(before[1], _state(network.attention_parameters))


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
        videos.append(VideoFeatures(f"v{number}", values, _times(12)))
    return videos, skill


def _right(head: RankAwareAttentionHead, seed: int) -> float:
    """Share of pairs of fresh videos that are ordered rightly."""
    videos, skill = _planted(seed, 30)
    pairs = _all_pairs(30)
    scores = head.score(videos)
    found, true = (values[pairs[:, 0]] > values[pairs[:, 1]] for values in (scores, skill))
    return float((found == true).mean())


def _planted_head(options: Options, seed: int, shuffled: bool) -> RankAwareAttentionHead:
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
def test_skill_in_few_segments_is_learned(reading: Literal["paper", "released"]) -> None:
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
        _videos(0), Targets(_all_pairs(6)), lambda *epoch: told.append(epoch)
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
def test_explanation_tells_what_made_the_score(
    reading: Literal["paper", "released"], standardise: bool
) -> None:
    head = _fitted(replace(SMALL, score=reading, standardise=standardise))
    video = _videos(7, 1, segments=9)[0]
    explanation = head.explain(video)
    assert explanation.times is video.times
    for curve in explanation.curves.values():
        assert curve.shape == (9,)
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
            bias = float(head._trained.rank.bias[row])
            assert weighted - extra * bias == pytest.approx(parts[name], rel=1e-4, abs=1e-5)


def test_videos_are_scored_each_on_its_own() -> None:
    head = _fitted()
    long, short = _videos(7, 1, segments=9)[0], _videos(8, 1, segments=2)[0]
    together = head.score([long, short])
    assert together.dtype == np.float64
    assert together.tolist() == [head.score([long])[0], head.score([short])[0]]


def test_standardised_channels_have_mean_0_and_deviation_1() -> None:
    videos = [
        VideoFeatures(v.id, v.values * [1, 10, 100, 1, 0] + [5, 0, 0, 1, 3], v.times)
        for v in _videos(3)
    ]
    head = build(replace(SMALL, standardise=True), 0, "cpu")
    head.fit(videos, Targets(_all_pairs(6)))
    rows = np.concatenate([video.values for video in head._prepared(videos)])
    np.testing.assert_allclose(rows.mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(rows.std(axis=0), [1, 1, 1, 1, 0], atol=1e-5)


def test_standardised_scores_do_not_depend_on_the_unit_of_features() -> None:
    options = replace(SMALL, standardise=True)
    videos = _videos(0)
    scaled = [VideoFeatures(v.id, v.values * 1000 - 7, v.times) for v in videos]
    one, other = build(options, 0, "cpu"), build(options, 0, "cpu")
    one.fit(videos, Targets(_all_pairs(6)))
    other.fit(scaled, Targets(_all_pairs(6)))
    np.testing.assert_allclose(one.score(videos), other.score(scaled), rtol=1e-3, atol=1e-4)


def test_diverging_training_is_told() -> None:
    videos = [VideoFeatures(v.id, v.values * np.float32(1e30), v.times) for v in _videos(0)]
    with pytest.raises(RecipeError, match=r"diverged in epoch \d+ .*standardise=true"):
        build(replace(SMALL, learning_rate=1e9, epochs=50), 0, "cpu").fit(
            videos, Targets(_all_pairs(6))
        )
