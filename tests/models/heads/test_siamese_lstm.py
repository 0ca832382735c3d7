import itertools
import json
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap

from aqakit.features.errors import RecipeError
from aqakit.models.data import Stream, Targets, VideoFeatures
from aqakit.models.deep import DeepHead, Job, fit_batched, read_saved
from aqakit.models.head import Explanation, Fitting, Session
from aqakit.models.heads import rank_aware_attention
from aqakit.models.heads.siamese_lstm import (
    ROLES,
    Options,
    SiameseLSTM,
    SiameseMethod,
    build,
    corresponding_clips,
    lone_clip_states,
    scoring_losses,
    similarity_losses,
)
from aqakit.models.network import Batch, Losses
from aqakit.models.recurrent import plain_operations

CHANNELS, CLIPS = 5, 6
SMALL = Options(
    hidden=4, first=5, second=3, epochs=2, scoring_epochs=2, batch=4, pairs=20, learning_rate=1e-2
)
# So that similar, dissimilar and equal pairs are among them.
SCORES = np.array([60.0, 62.0, 75.0, 91.0, 91.0, 74.0])
NO_PAIRS = np.empty((0, 2), dtype=np.int64)
WEIGHTS = "head.safetensors"
ALONE = Session()
QUICK = settings(max_examples=25, deadline=None)
SEEDS = st.integers(0, 1000)
Activation = Literal["relu", "linear"]
ACTIVATIONS: tuple[Activation, ...] = ("relu", "linear")


def _network(options: Options = SMALL, seed: int = 0) -> SiameseLSTM:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = SiameseLSTM(CHANNELS, options).double()
        # Initial values are so small that a ReLU hardly ever changes anything.
        for parameter in network.parameters():
            parameter.data.mul_(2)
        return network


def _features(seed: int, videos: int, clips: int = CLIPS) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(videos, clips, CHANNELS, generator=generator, dtype=torch.float64)


def _mask(lengths: Sequence[int], clips: int = CLIPS) -> Tensor:
    return torch.arange(clips) < torch.tensor(lengths)[:, None]


def _encoded(network: SiameseLSTM, features: Tensor, mask: Tensor | None = None) -> Tensor:
    return network.encode(Batch({"features": features}, mask), {})


def _times(steps: int) -> NDArray[np.float64]:
    starts = np.arange(steps)[:, None]
    return np.asarray(starts + np.array([0.0, 0.5, 1.0]))


def _video(
    id: str, values: NDArray[Any], task: str | None = None, kind: str | None = None, **streams: Any
) -> VideoFeatures:
    times = _times(len(values))
    named = {"features": values, **{name.replace("_", "-"): s for name, s in streams.items()}}
    return VideoFeatures(id, {name: Stream(v, times) for name, v in named.items()}, task, kind)


def _videos(
    seed: int, count: int = 6, clips: int = CLIPS, channels: int = CHANNELS, **more: Any
) -> list[VideoFeatures]:
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(count, clips, channels)).astype(np.float32)
    return [_video(f"v{number}", each, **more) for number, each in enumerate(values)]


def _typed(*kinds: str | tuple[str, str] | None) -> list[VideoFeatures]:
    """Videos of these action types, or of these tasks and action types."""
    found = []
    for number, kind in enumerate(kinds):
        task, action = kind if isinstance(kind, tuple) else (None, kind)
        found.append(_video(f"v{number}", np.zeros((2, CHANNELS)), task, action))
    return found


def _targets(scores: NDArray[np.float64] | None = SCORES) -> Targets:
    return Targets(NO_PAIRS, scores)


def _fitted(
    options: Options = SMALL,
    seed: int = 0,
    videos: Sequence[VideoFeatures] | None = None,
    scores: NDArray[np.float64] = SCORES,
    session: Session = ALONE,
) -> DeepHead:
    head = build(options, seed, "cpu")
    head.fit(_videos(0) if videos is None else videos, _targets(scores), session)
    return head


def _parts(head: DeepHead) -> tuple[SiameseLSTM, SiameseMethod]:
    network, method = head._trained, head.method
    assert isinstance(network, SiameseLSTM)
    assert isinstance(method, SiameseMethod)
    return network, method


def _states(head: DeepHead, video: VideoFeatures) -> Tensor:
    """(1, M) O of one video."""
    values = torch.from_numpy(np.asarray(video.values, dtype=np.float32))[None]
    return _encoded(_parts(head)[0], values).detach()


# The network against the paper, video by video.


def _plain_state(network: SiameseLSTM, clips: Tensor) -> Tensor:
    """O of one video (T, C), by PyTorch's own layer."""
    layer = nn.LSTM(CHANNELS, network.lstm.hidden_size, batch_first=True).double()
    layer.load_state_dict(network.lstm.state_dict())
    _, (state, _) = layer(clips[None])
    found: Tensor = state[0, 0].detach()
    return found


def _plain_embedding(
    network: SiameseLSTM, one: Tensor, other: Tensor, activation: str
) -> list[float]:
    """Z of one pair, number by number."""

    def layer(weights: Tensor, bias: Tensor, inputs: list[float]) -> list[float]:
        sums = [
            sum(w * x for w, x in zip(row, inputs, strict=True)) + b
            for row, b in zip(weights.detach().tolist(), bias.detach().tolist(), strict=True)
        ]
        return [max(0.0, each) for each in sums] if activation == "relu" else sums

    concatenated = one.detach().tolist() + other.detach().tolist()
    hidden = layer(network.first.weight, network.first.bias, concatenated)
    return layer(network.second.weight, network.second.bias, hidden)


def _plain_output(layer: nn.Linear, embedding: list[float]) -> float:
    weights = layer.weight[0].detach().tolist()
    (bias,) = layer.bias.detach().tolist()
    return float(sum(w * z for w, z in zip(weights, embedding, strict=True)) + bias)


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("lengths", [None, [CLIPS, 1, 4]])
def test_network_is_that_of_the_paper(activation: Activation, lengths: list[int] | None) -> None:
    network, features = _network(replace(SMALL, activation=activation)), _features(1, 3)
    counts = lengths or [CLIPS] * 3
    encoding = _encoded(network, features, _mask(lengths) if lengths else None)
    plain = [_plain_state(network, v[:n]) for v, n in zip(features, counts, strict=True)]
    torch.testing.assert_close(encoding, torch.stack(plain))
    pairs = list(itertools.product(range(3), repeat=2))
    one, other = (encoding[[pair[side] for pair in pairs]] for side in (0, 1))
    logits = network.similarity_logit(one, other).tolist()
    estimates = network.estimate(one, other).tolist()
    for row, (p, q) in enumerate(pairs):
        embedding = _plain_embedding(network, plain[p], plain[q], activation)
        assert network.compare(one, other)[row].tolist() == pytest.approx(embedding)
        assert logits[row] == pytest.approx(_plain_output(network.similarity, embedding))
        assert estimates[row] == pytest.approx(_plain_output(network.regression, embedding))


def test_widths_are_those_of_the_paper() -> None:
    network = SiameseLSTM(4096, Options())
    assert network.first.weight.shape == (128, 2 * 256)
    assert network.second.weight.shape == (64, 128)
    assert network.similarity.weight.shape == network.regression.weight.shape == (1, 64)


def test_without_activations_the_expert_is_a_bias() -> None:
    # The last step of the derivation in section III-B, which leaves biases out.
    network = _network(replace(SMALL, activation="linear"))
    for layer in (network.first, network.second, network.regression):
        layer.bias.data.zero_()
    one, other = _encoded(network, _features(2, 4)).split(2)
    zero = torch.zeros_like(one)
    by_expert, by_video = network.compare(one, zero), network.compare(zero, other)
    weights = network.regression.weight[0]
    expected = ((by_expert + by_video) * weights).sum(dim=1)
    torch.testing.assert_close(network.estimate(one, other), expected)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_only_activations_let_similarity_be_more_than_a_sum(activation: Activation) -> None:
    network = _network(replace(SMALL, activation=activation, first=32, second=16))
    p, q, r, s = _encoded(network, 3 * _features(3, 4)).split(1)
    crossed = network.similarity_logit(p, r) + network.similarity_logit(q, s)
    straight = network.similarity_logit(p, s) + network.similarity_logit(q, r)
    assert torch.allclose(crossed, straight, rtol=1e-9) == (activation == "linear")


def test_order_of_a_pair_matters_to_the_network() -> None:
    network = _network()
    one, other = _encoded(network, _features(4, 2)).split(1)
    forth, back = network.similarity_logit(one, other), network.similarity_logit(other, one)
    assert not torch.allclose(forth, back)


# Losses.

LOSSES = {"similarity": similarity_losses, "score": scoring_losses}
POSITIONS = torch.tensor([[0, 1], [2, 0], [3, 3], [1, 2], [0, 3]])


def _labels(name: str) -> Tensor:
    labels = [1.0, 0.0, 1.0, 0.0, 0.0] if name == "similarity" else [0.3, -1.2, 2.0, 0.0, 0.7]
    return torch.tensor(labels, dtype=torch.float64)[:, None]


def _terms(network: SiameseLSTM, name: str, features: Tensor, mask: Tensor | None) -> Losses:
    batch = Batch({"features": features}, mask)
    return LOSSES[name](network, batch, network.encode(batch, {}), POSITIONS, _labels(name))


def test_similarity_loss_is_binary_cross_entropy() -> None:
    network, features = _network(), _features(5, 4)
    (terms,) = _terms(network, "similarity", features, None).values()
    encoding = _encoded(network, features)
    expected = []
    for (p, q), label in zip(POSITIONS.tolist(), _labels("similarity")[:, 0], strict=True):
        embedding = _plain_embedding(network, encoding[p], encoding[q], "relu")
        similar = 1 / (1 + math.exp(-_plain_output(network.similarity, embedding)))
        expected.append(-math.log(similar if label else 1 - similar))
    assert terms.tolist() == pytest.approx(expected)


def test_scoring_loss_is_the_squared_error() -> None:
    network, features = _network(), _features(6, 4)
    (terms,) = _terms(network, "score", features, None).values()
    encoding = _encoded(network, features)
    expected = []
    for (expert, video), label in zip(POSITIONS.tolist(), _labels("score")[:, 0], strict=True):
        embedding = _plain_embedding(network, encoding[expert], encoding[video], "relu")
        expected.append((float(label) - _plain_output(network.regression, embedding)) ** 2)
    assert terms.tolist() == pytest.approx(expected)


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("lengths", [None, [3, 1, 3, 2]])
def test_gradients_of_network_and_losses(
    name: str, activation: Activation, lengths: list[int] | None
) -> None:
    network, features = _network(replace(SMALL, activation=activation)), _features(7, 4, 3)
    mask = _mask(lengths, 3) if lengths else None
    own = {"similarity": "regression", "score": "similarity"}[name]
    used = [(n, p) for n, p in network.named_parameters() if not n.startswith(own)]
    names, values = zip(*used, strict=True)

    def losses(*parameters: Tensor) -> Tensor:
        state = dict(zip(names, parameters, strict=True))
        terms: Losses = functional_call(network, state, (_terms, name, features, mask))
        return terms[name]

    assert torch.autograd.gradcheck(losses, values)


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("masked", [False, True])
def test_many_members_at_once_are_each_alone(name: str, masked: bool) -> None:
    networks = [_network(seed=seed) for seed in range(3)]
    features = torch.stack([_features(seed, 4) for seed in range(3)])
    masks = torch.stack([_mask(lengths) for lengths in ([6, 2, 3, 1], [1, 6, 6, 4], [5, 5, 5, 2])])
    parameters, buffers = stack_module_state(networks)

    def one(
        own: dict[str, Tensor], own_buffers: dict[str, Tensor], values: Tensor, mask: Tensor
    ) -> Losses:
        arguments = (_terms, name, values, mask if masked else None)
        found: Losses = functional_call(networks[0], (own, own_buffers), arguments)
        return found

    with plain_operations(networks[0]):
        together = vmap(one)(parameters, buffers, features, masks)[name]
    for number, network in enumerate(networks):
        alone = _terms(network, name, features[number], masks[number] if masked else None)[name]
        torch.testing.assert_close(together[number], alone)


# Properties.


@given(SEEDS, st.permutations(range(4)))
@QUICK
def test_order_of_videos_changes_nothing(seed: int, order: list[int]) -> None:
    network, features, mask = _network(), _features(seed, 4), _mask([6, 2, 5, 1])
    encoding = _encoded(network, features, mask)
    permuted = _encoded(network, features[order], mask[order])
    torch.testing.assert_close(permuted, encoding[order], rtol=0, atol=1e-10)
    expert = encoding[:1].expand_as(encoding)
    torch.testing.assert_close(
        network.estimate(expert, permuted),
        network.estimate(expert, encoding)[order],
        rtol=0,
        atol=1e-10,
    )


@given(SEEDS, st.integers(1, CLIPS), st.integers(1, 4), st.floats(-1e3, 1e3))
@QUICK
def test_padding_changes_nothing(seed: int, clips: int, more: int, filler: float) -> None:
    network, features = _network(), _features(seed, 2, clips)
    padded = nn.functional.pad(features, (0, 0, 0, more), value=filler)
    found = _encoded(network, padded, _mask([clips, clips], clips + more))
    torch.testing.assert_close(found, _encoded(network, features), rtol=0, atol=1e-10)


@given(SEEDS, st.integers(1, 4))
@QUICK
def test_splitting_the_batch_changes_nothing(seed: int, at: int) -> None:
    network, features, mask = _network(), _features(seed, 5), _mask([6, 2, 5, 1, 6])
    parts = [_encoded(network, features[part], mask[part]) for part in (slice(at), slice(at, None))]
    whole = _encoded(network, features, mask)
    torch.testing.assert_close(torch.cat(parts), whole, rtol=0, atol=1e-10)


# Scores without pairs for phase 1.


@pytest.mark.parametrize(
    ("threshold", "message"),
    [
        (0.5, "no pairs .* less than threshold=0.5; raise it, or set metric_learning=false"),
        (50.0, "all pairs .* less than threshold=50; lower it, or set metric_learning=false"),
    ],
)
def test_a_threshold_that_tells_nothing_apart_is_told(threshold: float, message: str) -> None:
    scores = np.array([1.0, 2, 3, 4])
    with pytest.raises(RecipeError, match=message):
        _fitted(replace(SMALL, threshold=threshold), videos=_videos(0, 4), scores=scores)


@pytest.mark.parametrize("scores", [[7.0, 7, 7], [7.0, 8]])
def test_scores_that_allow_no_pairs_are_told(scores: list[float]) -> None:
    with pytest.raises(RecipeError, match="scores differ more and less.*metric_learning=false"):
        _fitted(videos=_videos(0, len(scores)), scores=np.array(scores))
    options = replace(SMALL, metric_learning=False)
    head = _fitted(options, videos=_videos(0, len(scores)), scores=np.array(scores))
    assert np.isfinite(head.score(_videos(1))).all()


# What is trained.

KINDS = ("a", "b", "b", "a", "b", "b")
KIND_SCORES = np.array([5.0, 9, 3, 8, 9, 3])


def _stages(options: Options, videos: Sequence[VideoFeatures], scores: NDArray[np.float64]) -> Any:
    method = SiameseMethod(options)
    expanded = method.expand(videos)
    return method.stages(expanded, _targets(scores), np.random.default_rng(0))


def test_scoring_pairs_each_video_with_each_expert_of_its_type() -> None:
    scores = np.array([5.0, 9, 3, 8, np.nan, 9])
    (_, stage) = _stages(SMALL, _typed(*KINDS), scores)
    expected = {(3, 0), (3, 3), (1, 1), (5, 1), (1, 2), (5, 2), (1, 5), (5, 5)}
    assert set(map(tuple, stage.examples.tolist())) == expected
    assert len(stage.examples) == len(expected)
    known = scores[np.isfinite(scores)]
    for (_, video), (label,) in zip(stage.examples.tolist(), stage.labels.tolist(), strict=True):
        assert label == pytest.approx((scores[video] - known.mean()) / known.std())


def test_as_many_pairs_as_videos_with_one_expert() -> None:
    # Section V-D counts 174 pairs of 174 training videos for one worst performer a type.
    (_, stage) = _stages(replace(SMALL, expert="worst", experts=1), _typed(*KINDS), KIND_SCORES)
    assert sorted(stage.examples[:, 1].tolist()) == list(range(6))


@pytest.mark.parametrize(
    ("metric_learning", "keep_metric", "trained"),
    [(True, False, ["similarity", "score"]), (False, False, ["score"])],
)
def test_phases_train_in_turn(metric_learning: bool, keep_metric: bool, trained: list[str]) -> None:
    options = replace(SMALL, metric_learning=metric_learning, keep_metric=keep_metric)
    log = build(options, 0, "cpu").fit(_videos(0), _targets())
    assert [list(epoch) for epoch in log] == [[name] for name in trained for _ in range(2)]


def _weights(head: DeepHead) -> dict[str, Tensor]:
    return {name: p.detach().clone() for name, p in _parts(head)[0].named_parameters()}


def _changed(one: dict[str, Tensor], other: dict[str, Tensor]) -> set[str]:
    return {name.split(".")[0] for name in one if not one[name].equal(other[name])}


def test_only_the_last_layer_learns_to_score() -> None:
    short, long = (_fitted(replace(SMALL, scoring_epochs=n)) for n in (1, 4))
    assert _changed(_weights(short), _weights(long)) == {"regression"}


def test_without_metric_learning_all_learns_to_score() -> None:
    options = replace(SMALL, metric_learning=False)
    short, long = (_fitted(replace(options, scoring_epochs=n)) for n in (1, 4))
    assert _changed(_weights(short), _weights(long)) == {"lstm", "first", "second", "regression"}


def test_metric_learning_leaves_the_last_layer_of_scoring_alone() -> None:
    network = SiameseMethod(SMALL).network({"features": (CHANNELS,)})
    (first, second) = _stages(SMALL, _videos(0), SCORES)
    trained = {
        stage.phases[0].losses: {
            name.split(".")[0]
            for name, _ in network.named_parameters()
            if name.startswith(stage.phases[0].trains)
        }
        for stage in (first, second)
    }
    assert trained == {
        similarity_losses: {"lstm", "first", "second", "similarity"},
        scoring_losses: {"regression"},
    }
    assert [stage.phases[0].keeps_encoding for stage in (first, second)] == [False, True]


def test_options_reach_the_schedule() -> None:
    options = replace(
        SMALL, epochs=3, scoring_epochs=7, batch=5, learning_rate=0.2, scoring_rate=0.3
    )
    first, second = _stages(options, _videos(0), SCORES)
    assert (first.schedule.epochs, first.schedule.batch) == (3, 5)
    assert (second.schedule.epochs, second.schedule.batch) == (7, 5)
    assert [stage.phases[0].rate(9) for stage in (first, second)] == [0.2, 0.3]
    (alone,) = _stages(replace(options, metric_learning=False), _videos(0), SCORES)
    assert alone.phases[0].rate(9) == 0.2


def test_options_choose_pairs_of_phase_1() -> None:
    videos, scores = _typed(*KINDS, "c"), np.array([*KIND_SCORES, 0.0])

    def drawn(**changed: Any) -> Any:
        return _stages(replace(SMALL, **{"pairs": 1000, **changed}), videos, scores)[0]

    assert len(drawn(pairs=7).examples) == 6
    assert set(drawn(metric_types=2).examples.ravel().tolist()) == set(range(6))
    assert set(drawn().examples.ravel().tolist()) == set(range(7))
    stage = drawn(threshold=4.5)
    assert len(stage.labels) > 0
    for (one, other), (label,) in zip(stage.examples.tolist(), stage.labels.tolist(), strict=True):
        assert (abs(scores[one] - scores[other]) < 4.5) == bool(label)


# Variants.


def _with_variants(seed: int, count: int = 6) -> list[VideoFeatures]:
    rng = np.random.default_rng(seed)

    def values() -> NDArray[np.float32]:
        return rng.normal(size=(CLIPS, CHANNELS)).astype(np.float32)

    return [
        _video(f"v{i}", values(), "dive", "x", variant_1=values(), variant_2=values())
        for i in range(count)
    ]


def test_variants_become_videos_of_their_own() -> None:
    videos = _with_variants(0, 2)
    expanded = SiameseMethod(SMALL).expand(videos)
    assert [video.id for video in expanded] == [
        "v0",
        "v1",
        *("v0+variant-1", "v1+variant-1", "v0+variant-2", "v1+variant-2"),
    ]
    for video, (i, role) in zip(
        expanded,
        itertools.product((0, 1), ("features", "variant-1", "variant-2")),
        strict=False,
    ):
        assert list(video.streams) == ["features"]
        assert (video.task, video.action_type) == ("dive", "x")
        found = expanded[i + 2 * ("features", "variant-1", "variant-2").index(role)]
        assert found.streams["features"] is videos[i].streams[role]


def test_variants_take_part_in_metric_learning_alone() -> None:
    videos = _with_variants(1)
    first, second = _stages(replace(SMALL, pairs=1000), videos, SCORES)
    assert set(first.examples.ravel().tolist()) == set(range(18))
    assert set(second.examples[:, 1].tolist()) == set(range(6))
    # No video is compared with itself in another shape.
    assert (first.examples[:, 0] % 6 != first.examples[:, 1] % 6).all()


def test_variants_make_more_pairs() -> None:
    options = replace(SMALL, pairs=1000)
    (alone, _), (more, _) = (_stages(options, v, SCORES) for v in (_videos(1), _with_variants(1)))
    assert len(more.examples) == 9 * len(alone.examples)


@pytest.mark.parametrize("standardise", [False, True])
def test_videos_are_scored_without_their_variants(tmp_path: Path, standardise: bool) -> None:
    videos = _with_variants(2)
    head = _fitted(replace(SMALL, standardise=standardise), videos=videos)
    plain = [_video(v.id, v.values, v.task, v.action_type) for v in videos]
    scores = head.score(videos)
    np.testing.assert_array_equal(head.score(plain), scores)
    head.save(tmp_path)
    again = build(replace(SMALL, standardise=standardise), 0, "cpu")
    again.load(tmp_path)
    np.testing.assert_array_equal(again.score(plain), scores)
    assert again.explain(plain[0]).curves["similarity"].shape == (CLIPS,)


def test_variants_of_another_feature_are_refused() -> None:
    values = np.zeros((CLIPS, CHANNELS))
    videos = [_video("v0", values, variant_1=np.zeros((CLIPS, 3)))]
    message = "variant-1 of video 'v0' has rows of 3 channels and its features have 5; extract"
    with pytest.raises(RecipeError, match=message):
        SiameseMethod(SMALL).expand(videos)


def test_a_video_without_a_variant_that_others_have_is_refused() -> None:
    with pytest.raises(RecipeError, match="'v0' has the features features and 'v0'"):
        SiameseMethod(SMALL).expand([*_with_variants(3, 1), *_videos(3, 1)])


def test_roles_are_the_features_and_any_number_of_variants() -> None:
    features, variant = ROLES
    assert (features.name, features.optional, features.many) == ("features", False, False)
    assert (variant.name, variant.optional, variant.many) == ("variant", True, True)


# Clips (section IV).


@given(SEEDS, st.integers(1, 8))
@QUICK
def test_lone_clips_are_videos_that_are_zero_before_and_end_after(seed: int, clips: int) -> None:
    network, features = _network(), _features(seed, 1, clips)
    states = lone_clip_states(network.lstm, features[0])
    assert states.shape == (clips, SMALL.hidden)
    for j in range(clips):
        trimmed = features[0, : j + 1].clone()
        trimmed[:j] = 0
        torch.testing.assert_close(states[j], _plain_state(network, trimmed))


@given(st.integers(1, 40), st.integers(1, 40))
@QUICK
def test_corresponding_clips_lie_at_the_same_relative_place(clips: int, of_expert: int) -> None:
    found = corresponding_clips(clips, of_expert)
    assert found.shape == (clips,)
    for j, other in enumerate(found):
        middle = (j + 0.5) / clips
        assert other / of_expert <= middle + 1e-9
        assert middle < (other + 1) / of_expert + 1e-9
    np.testing.assert_array_equal(corresponding_clips(clips, clips), np.arange(clips))


def _similarity_by_hand(head: DeepHead, expert: VideoFeatures, video: VideoFeatures) -> list[float]:
    """The curve of section IV for videos of any number of clips."""
    network = _parts(head)[0]
    found = []
    for j in range(len(video.values)):
        other = int((j + 0.5) * len(expert.values) / len(video.values))
        states = []
        for clips, place in ((expert.values, other), (video.values, j)):
            trimmed = torch.tensor(clips[: place + 1])
            trimmed[:place] = 0
            states.append(_encoded(network, trimmed[None]))
        found.append(float(network.similarity_logit(*states).detach().sigmoid()))
    return found


@pytest.mark.parametrize("clips", [CLIPS, 2 * CLIPS, 4, 1])
def test_explanation_compares_each_clip_with_the_experts(clips: int) -> None:
    videos = _videos(0)
    scores = np.arange(6.0)
    head = _fitted(replace(SMALL, epochs=20), videos=videos, scores=scores)
    video = _videos(9, 1, clips)[0]
    explanation = head.explain(video)
    expected = _similarity_by_hand(head, videos[5], video)
    curve = explanation.curves["similarity"]
    assert curve.dtype == np.float64
    assert curve.tolist() == pytest.approx(expected, abs=1e-6)
    np.testing.assert_array_equal(explanation.flags["faulty"], curve < 0.5)
    np.testing.assert_array_equal(explanation.times, video.times)
    assert explanation.notes == {"expert": "v5", "expert_of": "all"}
    network = _parts(head)[0]
    whole = network.similarity_logit(_states(head, videos[5]), _states(head, video)).sigmoid()
    assert explanation.scores["similarity"] == pytest.approx(float(whole.detach()), abs=1e-6)
    assert explanation.scores["against v5"] == pytest.approx(head.score([video])[0], abs=1e-5)


def test_several_experts_are_averaged() -> None:
    videos = _videos(0)
    videos[3] = _video("v3", videos[3].values[:4])  # experts of different length
    head = _fitted(videos=videos)
    video = _videos(9, 1)[0]
    explanation = head.explain(video)
    assert explanation.notes["expert"] == "v3, v4"
    curves = [_similarity_by_hand(head, videos[i], video) for i in (3, 4)]
    expected = np.mean(curves, axis=0).tolist()
    assert explanation.curves["similarity"].tolist() == pytest.approx(expected, abs=1e-6)
    parts = [explanation.scores[f"against v{i}"] for i in (3, 4)]
    assert parts[0] != parts[1]
    assert np.mean(parts) == pytest.approx(head.score([video])[0], rel=1e-12)


def test_explanation_names_whom_a_video_was_compared_with() -> None:
    values = _videos(0)
    kinds = ["x", "x", "x", "y", "y", "y"]
    videos = [_video(v.id, v.values, "dive", k) for v, k in zip(values, kinds, strict=True)]
    head = _fitted(replace(SMALL, experts=1), videos=videos)
    clips = _videos(9, 1)[0].values

    def notes(task: str | None, kind: str | None) -> Any:
        return head.explain(_video("new", clips, task, kind)).notes

    assert notes("dive", "x") == {"expert": "v2", "expert_of": "dive, x"}
    assert notes("dive", "y") == {"expert": "v3", "expert_of": "dive, y"}
    assert notes("dive", "z") == {"expert": "v3", "expert_of": "dive"}
    assert notes("vault", None) == {"expert": "v3", "expert_of": "all"}


def test_without_a_metric_no_clip_is_called_faulty() -> None:
    explanation = _fitted(replace(SMALL, metric_learning=False)).explain(_videos(9, 1)[0])
    assert not explanation.curves
    assert not explanation.flags
    assert list(explanation.scores) == ["against v3", "against v4"]


# The head.


def test_score_is_the_estimate_beside_the_expert_in_the_unit_of_the_scores() -> None:
    videos, scores = _videos(0), np.array([60.0, 62, 75, 90, 91, 74])
    head = _fitted(videos=videos, scores=scores)
    network = _parts(head)[0]
    for video in _videos(9, 3):
        estimate = network.estimate(_states(head, videos[4]), _states(head, video))
        expected = float(estimate.detach()) * scores.std() + scores.mean()
        assert head.score([video])[0] == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("metric_learning", [True, False])
def test_scores_have_the_unit_of_the_labels(metric_learning: bool) -> None:
    options = replace(SMALL, metric_learning=metric_learning)
    one, other = (_fitted(options, scores=labels) for labels in (SCORES, 8 * SCORES - 40))
    videos = _videos(9)
    np.testing.assert_allclose(other.score(videos), 8 * one.score(videos) - 40, rtol=1e-4)


def test_unscored_videos_teach_nothing() -> None:
    videos, scores = _videos(0), SCORES.copy()
    scores[2] = np.nan
    others = [*videos[:2], _videos(77)[2], *videos[3:]]
    one, other = (_fitted(videos=each, scores=scores) for each in (videos, others))
    np.testing.assert_array_equal(one.score(_videos(9)), other.score(_videos(9)))


@pytest.mark.parametrize(
    ("scores", "known"),
    [(None, 0), (np.full(6, np.nan), 0), (np.array([1.0, *[np.nan] * 5]), 1)],
)
def test_missing_scores_are_told(scores: NDArray[np.float64] | None, known: int) -> None:
    with pytest.raises(RecipeError) as caught:
        build(SMALL, 0, "cpu").fit(_videos(0), _targets(scores))
    message = str(caught.value)
    assert f"siamese-lstm learns from scores and {known} training videos have one" in message
    assert "manifest's column score" in message
    assert "\n" not in message


def test_missing_features_are_told() -> None:
    videos = [VideoFeatures("v0", {"rgb": Stream(np.zeros((2, CHANNELS)), _times(2))})]
    with pytest.raises(RecipeError, match="video 'v0' has no features"):
        build(SMALL, 0, "cpu").fit(videos, _targets(SCORES[:1]))


@pytest.mark.parametrize("standardise", [False, True])
@pytest.mark.parametrize("metric_learning", [False, True])
def test_loaded_head_scores_and_explains_alike(
    tmp_path: Path, standardise: bool, metric_learning: bool
) -> None:
    options = replace(SMALL, standardise=standardise, metric_learning=metric_learning)
    kinds = ["x", "y", "x", "y", "x", "x"]
    videos = [
        _video(v.id, v.values[: 3 + i % 3], "dive", kind)
        for i, (v, kind) in enumerate(zip(_videos(0), kinds, strict=True))
    ]
    head, again = _fitted(options, videos=videos), build(options, 5, "cpu")
    head.save(tmp_path)
    again.load(tmp_path)
    unseen = [_video(v.id, v.values, "dive", k) for v, k in zip(_videos(9), "xyzxyz", strict=True)]
    np.testing.assert_array_equal(head.score(unseen), again.score(unseen))
    for video in unseen:
        _assert_same_explanation(head.explain(video), again.explain(video))


def _assert_same_explanation(one: Explanation, other: Explanation) -> None:
    assert one.scores == other.scores
    assert one.notes == other.notes
    assert one.curves.keys() == other.curves.keys()
    for ours, theirs in ((one.curves, other.curves), (one.flags, other.flags)):
        for name in ours:
            np.testing.assert_array_equal(ours[name], theirs[name])


def test_the_seed_makes_every_number_and_global_generators_are_left_alone() -> None:
    torch_state, numpy_state = torch.get_rng_state(), np.random.get_state(legacy=False)
    first = _fitted(seed=3)
    assert torch.get_rng_state().equal(torch_state)
    assert str(np.random.get_state(legacy=False)) == str(numpy_state)
    again, other = _fitted(seed=3), _fitted(seed=4)
    videos = _videos(9)
    np.testing.assert_array_equal(first.score(videos), again.score(videos))
    assert not np.allclose(first.score(videos), other.score(videos))


def test_videos_are_scored_each_on_its_own() -> None:
    head = _fitted()
    long, short = _videos(7, 1, clips=9)[0], _videos(8, 1, clips=2)[0]
    together = head.score([long, short])
    assert together.tolist() == [head.score([long])[0], head.score([short])[0]]


def test_members_train_at_once_as_they_would_alone() -> None:
    videos = [_video(v.id, v.values[: 3 + i % 3]) for i, v in enumerate(_videos(0))]
    session = Session(fitting=Fitting(precision="float64"))
    heads = [build(SMALL, seed, "cpu") for seed in range(3)]
    logs = fit_batched([Job(head, videos, _targets(), session) for head in heads])
    for seed, (head, log) in enumerate(zip(heads, logs, strict=True)):
        alone = build(SMALL, seed, "cpu")
        for ours, theirs in zip(log, alone.fit(videos, _targets(), session), strict=True):
            assert ours == pytest.approx(theirs, rel=1e-8)
        unseen = _videos(9)
        np.testing.assert_allclose(head.score(unseen), alone.score(unseen), rtol=1e-8)


CHANGES: dict[str, Any] = {
    "activation": "linear",
    "metric_learning": False,
    "threshold": 2.5,
    "expert": "worst",
    "experts": 2,
    "pairs": 6,
    "epochs": 3,
    "batch": 3,
    "learning_rate": 3e-2,
    "scoring_epochs": 4,
    "scoring_rate": 0.1,
    "standardise": True,
    "hidden": 3,
    "first": 4,
    "second": 2,
}


@pytest.mark.parametrize("name", CHANGES)
def test_each_option_changes_the_scores(name: str) -> None:
    scores = np.array([60.0, 62, 75, 90, 91, 74])
    plain = _fitted(scores=scores)
    changed = _fitted(replace(SMALL, **{name: CHANGES[name]}), scores=scores)
    videos = _videos(9)
    assert not np.allclose(plain.score(videos), changed.score(videos), rtol=1e-9)


def test_a_constant_expert_changes_the_scores_of_other_types() -> None:
    videos = [
        _video(v.id, v.values, None, kind) for v, kind in zip(_videos(0), "yyxxxx", strict=True)
    ]
    explained = [
        _fitted(options, videos=videos).explain(videos[0])
        for options in (SMALL, replace(SMALL, expert="constant"))
    ]
    assert [each.notes["expert"] for each in explained] == ["v1", "v3, v4"]


@pytest.mark.parametrize("precision", ["float64", "bfloat16"])
def test_other_precisions_score_much_alike(precision: Literal["float64", "bfloat16"]) -> None:
    session = Session(fitting=Fitting(precision=precision))
    head, plain = _fitted(session=session), _fitted()
    scores = head.score(_videos(9))
    tolerance = 1e-4 if precision == "float64" else 1.0
    np.testing.assert_allclose(scores, plain.score(_videos(9)), atol=tolerance)
    parts = [head.explain(video).scores for video in _videos(9)]
    means = [(part["against v3"] + part["against v4"]) / 2 for part in parts]
    np.testing.assert_allclose(scores, means, rtol=1e-12)
    curve = head.explain(_videos(9, 1)[0]).curves["similarity"]
    assert ((curve > 0) & (curve < 1)).all()


# Starting from another run.


def _saved(folder: Path, options: Options = SMALL, seed: int = 7, **more: Any) -> Path:
    folder.mkdir()
    _fitted(options, seed, **more).save(folder)
    return folder


def test_what_another_run_learned_can_be_kept(tmp_path: Path) -> None:
    source = _saved(tmp_path / "dives")
    options = replace(SMALL, keep_metric=True, scoring_epochs=3)
    vaults, scores = _videos(50, 4), np.array([13.0, 15, 16, 14])
    head = build(options, 1, "cpu")
    log = head.fit(vaults, _targets(scores), Session(start_from=source))
    assert [list(epoch) for epoch in log] == [["score"]] * 3
    there = build(SMALL, 0, "cpu")
    there.load(source)
    assert _changed(_weights(there), _weights(head)) == {"regression"}
    explanation = head.explain(vaults[0])
    assert explanation.curves["similarity"].shape == (CLIPS,)
    assert explanation.notes["expert"] == "v2"
    assert 13 - 5 < head.score(vaults).mean() < 16 + 5


@pytest.mark.parametrize("metric_learning", [True, False])
def test_another_run_can_be_trained_on(tmp_path: Path, metric_learning: bool) -> None:
    source = _saved(tmp_path / "dives")
    options = replace(SMALL, metric_learning=metric_learning, learning_rate=1e-9)
    there = build(SMALL, 0, "cpu")
    there.load(source)
    started = _fitted(options, 1, _videos(50), session=Session(start_from=source))
    anew = _fitted(options, 1, _videos(50))
    for name in ("lstm.weight_ih_l0", "first.weight", "second.bias", "similarity.weight"):
        here, origin = _weights(started)[name], _weights(there)[name]
        torch.testing.assert_close(here, origin, rtol=0, atol=1e-6)
        assert not torch.allclose(_weights(anew)[name], origin, atol=1e-3)


def test_keeping_needs_a_run_to_start_from_at_each_training(tmp_path: Path) -> None:
    source = _saved(tmp_path / "dives")
    head = build(replace(SMALL, keep_metric=True), 0, "cpu")
    message = "keep_metric=true keeps what another run has learned; name it with --start-from"
    with pytest.raises(RecipeError, match=message):
        head.fit(_videos(0), _targets())
    head.fit(_videos(0), _targets(), Session(start_from=source))
    with pytest.raises(RecipeError, match=message):
        head.fit(_videos(0), _targets())


def test_a_run_without_a_metric_has_none_to_keep(tmp_path: Path) -> None:
    source = _saved(tmp_path / "dives", replace(SMALL, metric_learning=False))
    head = build(replace(SMALL, keep_metric=True), 0, "cpu")
    with pytest.raises(RecipeError, match="was trained without metric learning"):
        head.fit(_videos(0), _targets(), Session(start_from=source))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"hidden": 3}, r"has lstm.weight_ih_l0 of 12x5 and this training needs 16x5"),
        ({"first": 6}, r"has first.weight of 6x8 and this training needs 5x8"),
        ({"second": 2}, r"has second.weight of 2x5 and this training needs 3x5"),
    ],
)
def test_a_run_of_another_width_is_refused(
    tmp_path: Path, changed: dict[str, Any], message: str
) -> None:
    source = _saved(tmp_path / "dives", replace(SMALL, **changed))
    with pytest.raises(RecipeError) as caught:
        _fitted(session=Session(start_from=source))
    assert re.search(message, str(caught.value))
    assert str(source) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_run_of_another_feature_is_refused(tmp_path: Path) -> None:
    source = _saved(tmp_path / "dives", videos=_videos(0, channels=3))
    with pytest.raises(
        RecipeError, match="16x3 and this training needs 16x5; give the same featur"
    ):
        _fitted(session=Session(start_from=source))


def _break_by_nothing(folder: Path) -> None:
    (folder / WEIGHTS).unlink()


def _break_by_noise(folder: Path) -> None:
    (folder / WEIGHTS).write_bytes(np.random.default_rng(0).bytes(1000))


def _break_by_another_head(folder: Path) -> None:
    options = rank_aware_attention.Options(filters=1, hidden=2, epochs=1)
    head = rank_aware_attention.build(options, 0, "cpu")
    head.fit(_videos(0), Targets(np.array([[0, 1]])))
    head.save(folder)


def test_the_scale_of_the_features_comes_along(tmp_path: Path) -> None:
    source = _saved(tmp_path / "dives", replace(SMALL, standardise=True))
    options = replace(SMALL, standardise=True, keep_metric=True)
    started = _fitted(options, 1, _videos(50), session=Session(start_from=source))
    started.save(tmp_path)
    ours, theirs = (read_saved(folder / WEIGHTS).tensors for folder in (tmp_path, source))
    for part in ("mean", "factor"):
        assert ours[part].keys() == theirs[part].keys() == {"features"}
        assert ours[part]["features"].equal(theirs[part]["features"])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"standardise": True}, "standardise=false and this run has standardise=true"),
        ({"activation": "linear"}, "activation=relu and this run has activation=linear"),
    ],
)
def test_what_was_learned_otherwise_is_not_taken(
    change: dict[str, Any], words: str, tmp_path: Path
) -> None:
    source = _saved(tmp_path / "dives")
    with pytest.raises(RecipeError, match=words):
        _fitted(replace(SMALL, **change), session=Session(start_from=source))


@pytest.mark.parametrize("damage", [_break_by_nothing, _break_by_noise, _break_by_another_head])
def test_a_folder_that_holds_no_such_head_is_told(
    tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    source = _saved(tmp_path / "dives")
    damage(source)
    with pytest.raises(RecipeError) as caught:
        _fitted(session=Session(start_from=source))
    message = str(caught.value)
    assert str(source / WEIGHTS) in message
    assert "name another run with --start-from" in message
    assert "\n" not in message


# Embeddings (section V-F).


def test_embeddings_are_those_of_the_lstm_and_beside_the_expert() -> None:
    videos = _videos(0)
    head = _fitted(videos=videos)
    network, method = _parts(head)
    unseen = _videos(9, 3)
    siamese = head.embed(unseen)
    assert siamese is not None
    assert siamese.shape == (3, SMALL.second)
    for row, video in zip(siamese, unseen, strict=True):
        beside = [
            network.compare(_states(head, videos[i]), _states(head, video))[0] for i in (3, 4)
        ]
        expected = torch.stack(beside).mean(dim=0).detach().tolist()
        assert row.tolist() == pytest.approx(expected, abs=1e-6)
    seen = head._see(unseen)
    both = method.embeddings(network, head._memory, seen)
    np.testing.assert_allclose(both["siamese"].detach().numpy(), siamese, atol=1e-6)
    states = torch.cat([_states(head, video) for video in unseen])
    torch.testing.assert_close(both["lstm"].detach(), states)


def test_memory_holds_what_scoring_needs_as_tensors_and_words() -> None:
    memory = _fitted()._memory
    assert json.loads(memory.words["experts"]) == ["v3", "v4"]
    assert memory.tensors["expert_clips"].shape == (2, CLIPS, CHANNELS)
    assert memory.tensors["expert_states"].shape == (2, SMALL.hidden)
    assert memory.tensors["expert_lengths"].tolist() == [CLIPS, CLIPS]


# Options.


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        *(
            ({name: 0}, f"{name} is 0; it must be at least 1")
            for name in ("hidden", "first", "second", "epochs", "batch", "scoring_epochs")
        ),
        ({"pairs": 1}, "pairs is 1; it must be at least 2"),
        ({"experts": -1}, "experts is -1; it must be at least 0"),
        ({"metric_types": -1}, "metric_types is -1; it must be at least 0"),
        *(
            ({name: value}, f"{name} is {re.escape(str(value))}; it must be from 0")
            for name in ("threshold", "learning_rate", "scoring_rate")
            for value in (float("nan"), float("inf"), -0.1)
        ),
        ({"learning_rate": 0.0}, "learning_rate is 0; it must be positive"),
        ({"scoring_rate": 0.0}, "scoring_rate is 0; it must be positive"),
    ],
)
def test_options_out_of_range_are_refused(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Options(**changed)


# Each type of action has clips of its own; a video loses points for every clip that lacks what the
# others of its type show there.
PLANTED = Options(
    hidden=32, epochs=8, pairs=1500, batch=64, learning_rate=5e-3, scoring_epochs=60, experts=1
)


def _planted(seed: int, count: int) -> tuple[list[VideoFeatures], NDArray[np.float64], Any]:
    rng, fixed = np.random.default_rng(seed), np.random.default_rng(0)
    shown = fixed.normal(size=(2, 5, 8))
    videos, faults = [], rng.random((count, 5)) < 0.4
    for number in range(count):
        kind = number % 2
        values = shown[kind] * ~faults[number][:, None] + 0.3 * rng.normal(size=(5, 8))
        videos.append(_video(f"v{number}", values.astype(np.float32), None, "xy"[kind]))
    return videos, 90 - 10.0 * faults.sum(axis=1), faults


def _ordered_right(head: DeepHead, seed: int) -> float:
    videos, scores, _ = _planted(seed, 60)
    found = head.score(videos)
    right = [
        (found[i] > found[j]) == (scores[i] > scores[j])
        for i, j in itertools.combinations(range(60), 2)
        if scores[i] != scores[j]
    ]
    return float(np.mean(right))


def test_planted_skill_is_learned_and_faulty_clips_are_found() -> None:
    videos, scores, _ = _planted(1, 60)
    head = _fitted(PLANTED, videos=videos, scores=scores)
    assert _ordered_right(head, 2) > 0.8
    unseen, truth, faults = _planted(3, 40)
    errors = head.score(unseen) - truth
    assert np.square(errors).mean() < 0.5 * truth.var()
    similarity = np.stack([head.explain(video).curves["similarity"] for video in unseen])
    assert similarity[~faults].mean() > similarity[faults].mean() + 0.1


def test_from_shuffled_scores_nothing_is_learned() -> None:
    shares = []
    for seed in range(4):
        videos, scores, _ = _planted(seed, 40)
        shuffled = np.random.default_rng(seed).permutation(scores)
        options = replace(PLANTED, epochs=2, pairs=400, scoring_epochs=20)
        shares.append(_ordered_right(_fitted(options, seed, videos, shuffled), 100 + seed))
    assert 0.35 < np.mean(shares) < 0.65
