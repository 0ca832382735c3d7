import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor
from torch.func import functional_call, stack_module_state, vmap

from aqakit.features.errors import RecipeError
from aqakit.models.data import Targets, VideoFeatures
from aqakit.models.deep import DeepHead, Job, fit_batched
from aqakit.models.head import Session
from aqakit.models.heads.temporal_attention import (
    Options,
    Pooling,
    Scores,
    TemporalAttention,
    build,
    losses,
)
from aqakit.models.network import Batch, Losses

CHANNELS, SEGMENTS = 5, 6
POOLINGS: tuple[Pooling, ...] = ("softmax", "uniform", "last-segment", "stpn")
SMALL = Options(filters=2, hidden=4, epochs=2, batch_pairs=4)
SEEDS = st.integers(0, 1000)
QUICK = settings(max_examples=15, deadline=None)
each_pooling = pytest.mark.parametrize("pooling", POOLINGS)


def _options(pooling: Pooling, **changed: Any) -> Options:
    """With every loss that the pooling has."""
    weight = 0.3 if pooling == "softmax" else 0.0
    return replace(SMALL, pooling=pooling, diversity_weight=weight, sparsity_weight=0.2, **changed)


def _network(options: Options, seed: int = 0) -> TemporalAttention:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return TemporalAttention(CHANNELS, options).double()


def _features(seed: int, videos: int, segments: int = SEGMENTS) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(videos, segments, CHANNELS, generator=generator, dtype=torch.float64)


def _mask(lengths: list[int], segments: int = SEGMENTS) -> Tensor:
    return torch.arange(segments) < torch.tensor(lengths)[:, None]


def _encode(network: TemporalAttention, features: Tensor, mask: Tensor | None = None) -> Tensor:
    return network.encode(Batch({"features": features}, mask), {})


def _run(network: TemporalAttention, features: Tensor, mask: Tensor | None = None) -> Scores:
    return network.read(Batch({"features": features}, mask), _encode(network, features, mask))


# The network against plain loops, video by video and segment by segment.


def _plain_weights(network: TemporalAttention, video: NDArray[np.float64]) -> NDArray[np.float64]:
    """(K, T) weights of one video (T, C)."""
    count = len(video)
    if network.pooling == "uniform":
        return np.full((1, count), 1 / count)
    if network.pooling == "last-segment":
        return np.array([[0.0] * (count - 1) + [1.0]])
    layers = network.attention
    assert layers is not None
    first, second = layers.first, layers.second
    filters, hidden = second.weight.shape
    logits = np.zeros((filters, count))
    for k in range(filters):
        for t in range(count):
            for h in range(hidden):
                row = k * hidden + h
                unit = first.weight[row].detach().numpy() @ video[t] + first.bias[row].item()
                logits[k, t] += second.weight[k, h].item() * max(0.0, unit)
            logits[k, t] += second.bias[k].item()
    if network.pooling == "stpn":
        return np.asarray(1 / (1 + np.exp(-logits)))
    exponentials = np.exp(logits)
    return np.asarray(exponentials / exponentials.sum(axis=1, keepdims=True))


def _plain_score(network: TemporalAttention, video: NDArray[np.float64]) -> float:
    """Features are pooled first and ranked then: equation 5."""
    pooled = np.zeros(CHANNELS)
    for weights in _plain_weights(network, video):
        for t, weight in enumerate(weights):
            pooled += weight * video[t] / (len(video) if network.pooling == "stpn" else 1)
    return float(network.rank.weight[0].detach().numpy() @ pooled + network.rank.bias.item())


@each_pooling
@pytest.mark.parametrize("lengths", [None, [SEGMENTS, 1, 4]])
def test_network_is_that_of_plain_loops(pooling: Pooling, lengths: list[int] | None) -> None:
    network, features = _network(_options(pooling)), _features(1, 3)
    mask = None
    if lengths:
        mask = _mask(lengths)
        features = torch.where(mask[..., None], features, 1e3 * features)
    weights, scores = _encode(network, features, mask), _run(network, features, mask)
    for number, count in enumerate(lengths or [SEGMENTS] * 3):
        video = features[number, :count].numpy()
        np.testing.assert_allclose(
            weights[number, :, :count].detach(), _plain_weights(network, video), rtol=1e-9
        )
        assert not weights[number, :, count:].any()
        assert scores.video[number].item() == pytest.approx(_plain_score(network, video))
        for t in range(count):
            expected = network.rank(features[number, t])[0].item()
            assert scores.segments[number, t].item() == pytest.approx(expected)


@each_pooling
def test_losses_are_those_of_plain_loops(pooling: Pooling) -> None:
    options = _options(pooling, ranking_margin=0.9)
    network, features = _network(options), _features(3, 4)
    pairs = torch.tensor([[0, 1], [2, 1], [3, 0]])
    batch, weights = Batch({"features": features}), _encode(network, features)
    found = losses(network, batch, weights, pairs, options)
    expected: dict[str, list[float]] = {"ranking": []}
    for i, j in pairs.tolist():
        better, worse = features[i].numpy(), features[j].numpy()
        difference = _plain_score(network, better) - _plain_score(network, worse)
        expected["ranking"].append(max(0.0, 0.9 - difference))
        both = [_plain_weights(network, video) for video in (better, worse)]
        if pooling == "softmax":
            overlaps = [np.square(one @ one.T - np.eye(2)).sum() for one in both]
            expected.setdefault("diversity", []).append(0.3 * sum(overlaps))
        if pooling == "stpn":
            expected.setdefault("sparsity", []).append(0.2 * sum(np.abs(one).sum() for one in both))
    assert list(found) == list(expected)
    for name, terms in found.items():
        assert terms.tolist() == pytest.approx(expected[name]), name


def test_losses_without_weight_are_left_out() -> None:
    for pooling in POOLINGS:
        options = replace(SMALL, pooling=pooling, sparsity_weight=0.0)
        network, features = _network(options), _features(3, 4)
        batch, weights = Batch({"features": features}), _encode(network, features)
        assert list(losses(network, batch, weights, torch.tensor([[0, 1]]), options)) == ["ranking"]


def test_filters_are_of_softmax_alone() -> None:
    for filters in (1, 4):
        assert (
            len(_encode(_network(replace(SMALL, filters=filters)), _features(0, 1))[0]) == filters
        )
    assert len(_encode(_network(_options("stpn", filters=4)), _features(0, 1))[0]) == 1
    for pooling in ("uniform", "last-segment"):
        network = _network(replace(SMALL, pooling=pooling))
        assert [name for name, _ in network.named_parameters()] == ["rank.weight", "rank.bias"]


Terms = Callable[[TemporalAttention, Tensor, Tensor | None, Tensor], Losses]


def _terms(options: Options) -> Terms:
    def terms(
        network: TemporalAttention, features: Tensor, mask: Tensor | None, pairs: Tensor
    ) -> Losses:
        batch = Batch({"features": features}, mask)
        return losses(network, batch, network.encode(batch, {}), pairs, options)

    return terms


@each_pooling
@pytest.mark.parametrize("masked", [False, True])
def test_gradients_of_network_and_losses(pooling: Pooling, masked: bool) -> None:
    options = _options(pooling)
    network, features = _network(options), _features(2, 4, 3)
    mask = _mask([3, 1, 3, 2], 3) if masked else None
    pairs = torch.tensor([[0, 1], [1, 2], [0, 3]])
    names, values = zip(*network.named_parameters(), strict=True)

    def total(*parameters: Tensor) -> Tensor:
        state = dict(zip(names, parameters, strict=True))
        terms = functional_call(network, state, (_terms(options), features, mask, pairs))
        return torch.stack(list(terms.values()))

    assert torch.autograd.gradcheck(total, values)


@each_pooling
@pytest.mark.parametrize("masked", [False, True])
def test_members_at_once_are_those_one_by_one(pooling: Pooling, masked: bool) -> None:
    options = _options(pooling)
    networks = [_network(options, seed) for seed in range(3)]
    features = torch.stack([_features(seed, 4) for seed in range(3)])
    # The last member's last video is padding alone, as where it has fewer videos than others.
    mask = torch.stack([_mask(lengths) for lengths in ([6, 1, 4, 2], [3, 6, 5, 6], [6, 6, 2, 0])])
    pairs = torch.tensor([[[0, 1], [2, 3]], [[3, 0], [1, 0]], [[1, 2], [0, 1]]])
    state, _ = stack_module_state(networks)

    def one(state: dict[str, Tensor], *own: Any) -> Losses:
        found: Losses = functional_call(networks[0], state, (_terms(options), *own))
        return found

    axes = (0, 0, 0 if masked else None, 0)
    together = vmap(one, axes)(state, features, mask if masked else None, pairs)
    gradients = torch.autograd.grad(
        torch.stack(list(together.values())).sum(), list(state.values())
    )
    for member, network in enumerate(networks):
        own = mask[member] if masked else None
        alone = _terms(options)(network, features[member], own, pairs[member])
        for name, expected in alone.items():
            torch.testing.assert_close(together[name][member], expected)
        total = torch.stack(list(alone.values())).sum()
        wanted = torch.autograd.grad(total, list(network.parameters()))
        for found, expected in zip(gradients, wanted, strict=True):
            torch.testing.assert_close(found[member], expected)


@each_pooling
@given(SEEDS, st.permutations(range(4)))
@QUICK
def test_order_of_videos_changes_nothing(pooling: Pooling, seed: int, order: list[int]) -> None:
    network, features = _network(_options(pooling)), _features(seed, 4)
    mask = _mask([6, 2, 5, 1])
    scores = _run(network, features, mask).video
    moved = _run(network, features[order], mask[order]).video
    torch.testing.assert_close(moved, scores[order], rtol=1e-10, atol=1e-10)


@each_pooling
@given(SEEDS, st.integers(0, 4), st.floats(-1e6, 1e6))
@QUICK
def test_masked_rows_change_nothing(pooling: Pooling, seed: int, more: int, filler: float) -> None:
    network, features = _network(_options(pooling)), _features(seed, 2)
    padding = torch.full((2, more, CHANNELS), filler, dtype=torch.float64)
    longer = torch.cat([features, padding], dim=1)
    mask = _mask([SEGMENTS] * 2, SEGMENTS + more)
    scores = _run(network, longer, mask).video
    torch.testing.assert_close(scores, _run(network, features).video, rtol=1e-10, atol=1e-10)


@each_pooling
@given(SEEDS, st.integers(1, 4))
@QUICK
def test_splitting_a_batch_changes_nothing(pooling: Pooling, seed: int, first: int) -> None:
    network, features = _network(_options(pooling)), _features(seed, 5)
    parts = [_run(network, part).video for part in (features[:first], features[first:])]
    joined = torch.cat(parts)
    torch.testing.assert_close(_run(network, features).video, joined, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("pooling", ["softmax", "uniform", "stpn"])
@given(SEEDS, st.permutations(range(SEGMENTS)))
@QUICK
def test_only_the_last_segment_knows_the_order(
    pooling: Pooling, seed: int, order: list[int]
) -> None:
    network, features = _network(_options(pooling)), _features(seed, 2)
    moved = _run(network, features[:, order]).video
    torch.testing.assert_close(moved, _run(network, features).video, rtol=1e-10, atol=1e-10)


# The head.


def _times(segments: int) -> NDArray[np.float64]:
    starts = np.arange(segments, dtype=np.float64)
    return np.stack([starts, starts + 0.5, starts + 1], axis=1)


def _videos(seed: int, count: int = 6, segments: int = SEGMENTS) -> list[VideoFeatures]:
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(count, segments, CHANNELS)).astype("f4")
    return [VideoFeatures.of(f"v{n}", rows, _times(segments)) for n, rows in enumerate(values)]


def _all_pairs(count: int) -> NDArray[np.int64]:
    """The first video is the best, the last the worst."""
    return np.stack(np.triu_indices(count, 1), axis=1)


def _fitted(options: Options, seed: int = 0) -> DeepHead:
    head = build(options, seed, "cpu")
    head.fit(_videos(0), Targets(_all_pairs(6)))
    return head


@each_pooling
def test_loaded_head_gives_the_same_scores(pooling: Pooling, tmp_path: Path) -> None:
    options = _options(pooling, standardise=True)
    head, again = _fitted(options), build(options, 1, "cpu")
    head.save(tmp_path)
    again.load(tmp_path)
    videos = [*_videos(9, 3), *_videos(8, 1, segments=2)]
    np.testing.assert_array_equal(head.score(videos), again.score(videos))


def test_weights_of_another_pooling_are_told_in_one_line(tmp_path: Path) -> None:
    _fitted(_options("softmax")).save(tmp_path)
    with pytest.raises(RecipeError, match="does not hold this head .*train it again") as caught:
        build(_options("uniform"), 0, "cpu").load(tmp_path)
    assert "\n" not in str(caught.value)


@each_pooling
def test_explanation_tells_what_made_the_score(pooling: Pooling) -> None:
    head, video = _fitted(_options(pooling)), _videos(7, 1, segments=9)[0]
    explanation = head.explain(video)
    np.testing.assert_array_equal(explanation.times, video.times)
    attention, score = explanation.curves["attention"], explanation.curves["score"]
    assert attention.shape == score.shape == (9,)
    total = {"softmax": 2.0, "uniform": 1.0, "last-segment": 1.0}
    if pooling in total:
        assert attention.sum() == pytest.approx(total[pooling], rel=1e-5)
    assert (attention >= 0).all()
    assert (attention <= 2).all()
    bias = head._trained.get_parameter("rank.bias").item()
    weighted = attention @ (score - bias) / (9 if pooling == "stpn" else 1) + bias
    assert explanation.scores == {pooling: pytest.approx(weighted, rel=1e-4, abs=1e-5)}
    assert explanation.scores[pooling] == pytest.approx(head.score([video])[0], rel=1e-5)


@each_pooling
def test_seeds_trained_as_one_batched_model_are_those_trained_alone(pooling: Pooling) -> None:
    options = _options(pooling, epochs=4, learning_rate=0.01)
    together = [build(options, seed, "cpu") for seed in range(2)]
    videos, targets = _videos(0), Targets(_all_pairs(6))
    fit_batched([Job(head, videos, targets, Session()) for head in together])
    for seed, head in enumerate(together):
        alone = _fitted(options, seed).score(_videos(9))
        np.testing.assert_allclose(head.score(_videos(9)), alone, rtol=1e-4, atol=1e-5)


def test_without_pairs_nothing_can_be_learned() -> None:
    with pytest.raises(RecipeError, match="no pair of two training videos; add pairs") as caught:
        build(SMALL, 0, "cpu").fit(_videos(0), Targets(np.empty((0, 2), dtype=np.int64)))
    assert "\n" not in str(caught.value)


CHANGED: dict[str, Any] = {
    "pooling": "uniform",
    "filters": 3,
    "hidden": 5,
    "epochs": 5,
    "batch_pairs": 5,
    "learning_rate": 0.02,
    "noise": 0.1,
    "ranking_margin": 0.1,
    "diversity_weight": 0.5,
    "sparsity_weight": 1.0,
    "standardise": True,
}


@pytest.mark.parametrize("name", list(vars(Options())))
def test_every_option_counts(name: str) -> None:
    pooling: Pooling = "stpn" if name == "sparsity_weight" else "softmax"
    base = replace(SMALL, pooling=pooling, epochs=4, learning_rate=0.01)
    scores = _fitted(base).score(_videos(9))
    found = _fitted(replace(base, **{name: CHANGED[name]})).score(_videos(9))
    assert np.abs(scores - found).max() > 1e-4


def test_the_penalty_lowers_attention() -> None:
    shares = []
    for weight in (0.0, 1.0):
        options = _options("stpn", epochs=30, learning_rate=0.03)
        head = _fitted(replace(options, sparsity_weight=weight))
        shares.append(head.explain(_videos(7, 1)[0]).curves["attention"].mean())
    assert shares[1] < shares[0] / 2


def _planted(seed: int, count: int) -> tuple[list[VideoFeatures], NDArray[np.int64]]:
    """Skill shows in 3 of 12 segments, of which the last is one, and pairs of every two videos."""
    rng = np.random.default_rng(seed)
    skill = rng.normal(size=count)
    videos = []
    for number in range(count):
        values = 0.5 * rng.normal(size=(12, 4))
        values[:, 0] = 0
        telling = [*rng.choice(11, 2, replace=False), 11]
        values[telling, 0] = 1
        values[telling, 1] = skill[number] + 0.1 * rng.normal(size=3)
        videos.append(VideoFeatures.of(f"v{number}", values, _times(12)))
    pairs = np.argwhere(skill[:, None] > skill[None, :])
    return videos, np.random.default_rng(seed).permutation(pairs)


@each_pooling
def test_skill_in_few_segments_is_learned(pooling: Pooling) -> None:
    options = Options(
        pooling, hidden=16, epochs=30, batch_pairs=64, learning_rate=0.03, standardise=True
    )
    head = build(options, 0, "cpu")
    videos, pairs = _planted(0, 60)
    head.fit(videos, Targets(pairs[:300]))
    videos, pairs = _planted(100, 30)
    scores = head.score(videos)
    assert (scores[pairs[:, 0]] > scores[pairs[:, 1]]).mean() > 0.8


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        *(({name: 0}, f"{name} is 0") for name in ("filters", "hidden", "epochs", "batch_pairs")),
        ({"learning_rate": 0.0}, "learning_rate is 0; it must be positive"),
        *(
            ({name: value}, rf"{name} is {re.escape(str(value))}; it must be from 0 to 1e\+09")
            for name in (
                "learning_rate",
                "noise",
                "ranking_margin",
                "diversity_weight",
                "sparsity_weight",
            )
            for value in (float("nan"), float("inf"), -0.1)
        ),
        (
            {"diversity_weight": 0.1, "pooling": "stpn"},
            "diversity_weight is 0.1 with pooling=stpn; only pooling=softmax",
        ),
    ],
)
def test_options_out_of_range_are_refused(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Options(**changed)
