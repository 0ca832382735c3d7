import itertools
import math
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
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVR
from torch import Tensor

from aqakit.features.errors import RecipeError
from aqakit.models.data import Targets, VideoFeatures
from aqakit.models.deep import DeepHead, Job, fit_batched
from aqakit.models.head import DEFAULT_SESSION, Fitting, Session
from aqakit.models.heads.c3d_lstm import (
    C3DLSTM,
    ClipReader,
    Kernel,
    Labels,
    Options,
    build,
    final_loss,
    incremental_loss,
    losses,
    shares_so_far,
)
from aqakit.models.members import Stacked
from aqakit.models.metrics import spearman
from aqakit.models.network import Batch

CHANNELS, CLIPS, HIDDEN = 4, 5, 3
SMALL = Options(hidden=HIDDEN, epochs=3, batch_videos=2)
LABELS: tuple[Labels, ...] = ("incremental", "final")
NO_PAIRS = np.zeros((0, 2), np.int64)
SEEDS = st.integers(0, 1000)
QUICK = settings(max_examples=25, deadline=None)


def _network(seed: int = 0, dropout: float = 0.0) -> ClipReader:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return ClipReader(CHANNELS, HIDDEN, dropout).double()


def _features(seed: int, videos: int, clips: int = CLIPS) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(videos, clips, CHANNELS, generator=generator, dtype=torch.float64)


def _mask(lengths: list[int], clips: int = CLIPS) -> Tensor:
    return torch.arange(clips) < torch.tensor(lengths)[:, None]


def _batch(features: Tensor, mask: Tensor | None = None) -> Batch:
    return Batch({"features": features}, mask)


# The network and its losses against loops.


def _sigmoid(value: float) -> float:
    return 1 / (1 + math.exp(-value))


def _plain_states(network: ClipReader, clips: NDArray[np.float64]) -> list[list[float]]:
    """(T, H), gate by gate and unit by unit."""
    lstm: Any = network.lstm
    by_input, by_state = (w.tolist() for w in (lstm.weight_ih_l0, lstm.weight_hh_l0))
    bias = (lstm.bias_ih_l0 + lstm.bias_hh_l0).tolist()
    state, cell, found = [0.0] * HIDDEN, [0.0] * HIDDEN, []
    for clip in clips.tolist():
        entering = [
            sum(w * x for w, x in zip(by_input[row], clip, strict=True))
            + sum(w * h for w, h in zip(by_state[row], state, strict=True))
            + bias[row]
            for row in range(4 * HIDDEN)
        ]
        for unit in range(HIDDEN):
            enter, forget, candidate, leave = entering[unit::HIDDEN]
            kept = _sigmoid(forget) * cell[unit]
            cell[unit] = kept + _sigmoid(enter) * math.tanh(candidate)
            state[unit] = _sigmoid(leave) * math.tanh(cell[unit])
        found.append(list(state))
    return found


def _plain_scores(network: ClipReader, clips: NDArray[np.float64]) -> list[float]:
    weights, bias = network.regress.weight[0].tolist(), network.regress.bias.item()
    return [
        sum(w * h for w, h in zip(weights, state, strict=True)) + bias
        for state in _plain_states(network, clips)
    ]


@pytest.mark.parametrize("lengths", [None, [CLIPS, 1, 3]])
def test_network_reads_clip_after_clip(lengths: list[int] | None) -> None:
    network, features = _network(), _features(1, 3)
    mask = None if lengths is None else _mask(lengths)
    states = network.encode(_batch(features, mask), {})
    scores = network.scores_so_far(states)
    for video, length in enumerate(lengths or [CLIPS] * 3):
        clips = features[video, :length].numpy()
        expected = _plain_states(network, clips)
        assert torch.allclose(states[video, :length], torch.tensor(expected).double())
        assert states[video, -1].tolist() == pytest.approx(expected[-1])
        assert scores[video, :length].tolist() == pytest.approx(_plain_scores(network, clips))


@pytest.mark.parametrize("kind", LABELS)
@pytest.mark.parametrize("lengths", [None, [CLIPS, 1, 3]])
def test_losses_are_mean_squared_errors_of_real_clips(
    kind: Labels, lengths: list[int] | None
) -> None:
    network, features = _network(), _features(2, 3)
    mask = None if lengths is None else _mask(lengths)
    batch = _batch(features, mask)
    positions, scores, offset = [2, 0, 1, 2], [3.0, -1.0, 0.5, 2.0], 0.7
    labels = torch.tensor([[score, offset] for score in scores], dtype=torch.float64)
    found = losses(
        kind, network, batch, network.encode(batch, {}), torch.tensor(positions)[:, None], labels
    )
    assert list(found) == [kind]
    for term, video, score in zip(found[kind].tolist(), positions, scores, strict=True):
        length = CLIPS if lengths is None else lengths[video]
        reached = _plain_scores(network, features[video, :length].numpy())
        errors = [
            (reached[clip - 1] - (score * clip / length - offset)) ** 2 / 2
            for clip in range(1, length + 1)
        ]
        expected = errors[-1] if kind == "final" else sum(errors) / length
        assert term == pytest.approx(expected)


def test_scores_are_taken_to_build_up_evenly() -> None:
    real = torch.tensor([[1.0, 1.0, 1.0, 1.0], [1.0, 1.0, 0.0, 0.0]])
    shares = shares_so_far(real)
    assert shares[0].tolist() == [0.25, 0.5, 0.75, 1]
    assert shares[1, :2].tolist() == [0.5, 1]


def test_a_loss_counts_no_padding() -> None:
    scores = torch.tensor([[1.0, 2.0, 9.0]])
    real = torch.tensor([[1.0, 1.0, 0.0]])
    assert incremental_loss(scores, torch.tensor([[0.0, 0.0, 7.0]]), real).tolist() == [1.25]
    assert final_loss(scores, torch.tensor([7.0])).tolist() == [2.0]


@pytest.mark.parametrize("kind", LABELS)
@pytest.mark.parametrize("masked", [False, True])
def test_gradients_of_network_and_losses(kind: Labels, masked: bool) -> None:
    network, mask = _network(), _mask([4, 1, 2], 4) if masked else None
    batch = _batch(_features(3, 3, 4), mask)
    labels = torch.tensor([[1.0, 0.5], [-2.0, 0.5], [0.3, 0.5]], dtype=torch.float64)
    positions = torch.tensor([[0], [1], [2]])
    names, values = zip(*network.named_parameters(), strict=True)

    def loss(*parameters: Tensor) -> Tensor:
        def of(network: Any) -> Tensor:
            states = network.encode(batch, {})
            return losses(kind, network, batch, states, positions, labels)[kind]

        state = dict(zip(names, parameters, strict=True))
        found: Tensor = torch.func.functional_call(network, state, (of,))
        return found

    assert torch.autograd.gradcheck(loss, values)


# Properties.


@given(SEEDS, st.permutations(range(4)))
@QUICK
def test_order_of_videos_changes_nothing(seed: int, order: list[int]) -> None:
    network, features, mask = _network(), _features(seed, 4), _mask([5, 2, 4, 1])
    states = network.encode(_batch(features, mask), {})
    moved = network.encode(_batch(features[order], mask[order]), {})
    assert torch.allclose(moved, states[order], rtol=1e-10, atol=1e-10)


@given(SEEDS, st.integers(0, 4), st.floats(-1e6, 1e6), st.sampled_from(LABELS))
@QUICK
def test_padding_changes_nothing(seed: int, more: int, filler: float, kind: Labels) -> None:
    network, features = _network(), _features(seed, 2)
    padding = torch.full((2, more, CHANNELS), filler, dtype=torch.float64)
    padded = _batch(torch.cat([features, padding], dim=1), _mask([CLIPS] * 2, CLIPS + more))
    states, wider = (network.encode(batch, {}) for batch in (_batch(features), padded))
    assert torch.allclose(wider[:, :CLIPS], states, rtol=1e-10, atol=1e-10)
    assert torch.allclose(wider[:, -1], states[:, -1], rtol=1e-10, atol=1e-10)
    positions = torch.tensor([[1], [0]])
    labels = torch.tensor([[1.0, 0.2], [2.0, 0.2]], dtype=torch.float64)
    one, other = (
        losses(kind, network, batch, encoding, positions, labels)[kind]
        for batch, encoding in ((_batch(features), states), (padded, wider))
    )
    assert torch.allclose(one, other, rtol=1e-10, atol=1e-10)


@given(SEEDS, st.integers(1, 4))
@QUICK
def test_splitting_a_batch_changes_nothing(seed: int, first: int) -> None:
    network, features = _network(), _features(seed, 5)
    parts = [network.encode(_batch(part), {}) for part in (features[:first], features[first:])]
    whole = network.encode(_batch(features), {})
    assert torch.allclose(torch.cat(parts), whole, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("kind", LABELS)
def test_many_networks_at_once_are_each_alone(kind: Labels) -> None:
    networks = [_network(seed, dropout=0.4) for seed in range(3)]
    stacked = Stacked(networks)
    features = torch.stack([_features(seed, 4) for seed in range(3)])
    mask = torch.stack([_mask([5, 2, 4, number + 1]) for number in range(3)])
    kept = (torch.rand(3, 4, CLIPS, CHANNELS, generator=torch.Generator().manual_seed(0)) > 0.4) / 1
    positions = torch.tensor([[[0], [3]], [[1], [2]], [[3], [3]]])
    labels = torch.randn(3, 2, 2, generator=torch.Generator().manual_seed(1)).double()
    phase = C3DLSTM(replace(SMALL, labels=kind)).stages(_videos(0), _targets(), _rng())[0].phases[0]
    states = stacked.encode(_batch(features, mask), {"features": kept})
    terms = stacked.losses(phase, _batch(features, mask), states, positions, labels)[kind]
    for number, network in enumerate(networks):
        batch = _batch(features[number], mask[number])
        alone = network.encode(batch, {"features": kept[number]})
        assert torch.allclose(states[number], alone)
        expected = losses(kind, network, batch, alone, positions[number], labels[number])[kind]
        assert torch.allclose(terms[number], expected)


def test_dropout_leaves_out_a_share_of_the_features_and_keeps_their_sum() -> None:
    network = ClipReader(50, HIDDEN, 0.3)
    drawn = network.draw(20, 30, torch.Generator().manual_seed(0), torch.device("cpu"))
    kept = drawn["features"]
    assert kept.shape == (20, 30, 50)
    assert kept.unique().tolist() == pytest.approx([0, 1 / 0.7])
    assert float(kept.mean()) == pytest.approx(1, abs=0.02)
    rows = torch.randn(20, 30, 50, generator=torch.Generator().manual_seed(1))
    expected = network.encode(_batch(rows * kept), {})
    assert torch.equal(network.encode(_batch(rows), drawn), expected)
    nothing = _network(dropout=0.0).draw(2, 3, torch.Generator(), torch.device("cpu"))
    assert nothing == {}


# The head.


def _rng() -> np.random.Generator:
    return np.random.default_rng(0)


def _times(clips: int) -> NDArray[np.float64]:
    starts = np.arange(clips, dtype=np.float64)
    return np.stack([starts, starts + 0.5, starts + 1], axis=1)


def _videos(seed: int, count: int = 6) -> list[VideoFeatures]:
    """Videos of 2 to 5 clips."""
    rng = np.random.default_rng(seed)
    lengths = 2 + np.arange(count) % 4
    return [
        VideoFeatures.of(f"v{n}", rng.normal(size=(t, CHANNELS)).astype("f4"), _times(t))
        for n, t in enumerate(lengths.tolist())
    ]


SCORES = np.array([61.0, 40.0, 75.0, 52.0, 88.0, 47.0])


def _targets(scores: NDArray[np.float64] | None = SCORES) -> Targets:
    return Targets(NO_PAIRS, scores)


def _fitted(options: Options = SMALL, targets: Targets | None = None, seed: int = 0) -> DeepHead:
    head = build(options, seed, "cpu")
    head.fit(_videos(0), _targets() if targets is None else targets)
    return head


def _skilled(seed: int) -> tuple[list[VideoFeatures], NDArray[np.float64]]:
    """Each clip shows its points in channel 0; a score is their sum."""
    rng = np.random.default_rng(seed)
    videos, scores = [], []
    for number in range(40):
        values = 0.1 * rng.normal(size=(6, CHANNELS)).astype("f4")
        points = rng.choice([-1.0, 1.0, 2.0], size=6)
        values[:, 0] += points
        videos.append(VideoFeatures.of(f"v{number}", values, _times(6)))
        scores.append(10 * points.sum() + 50)
    return videos, np.array(scores)


@pytest.mark.parametrize("kind", LABELS)
def test_it_learns_what_is_there_and_nothing_from_noise(kind: Labels) -> None:
    (videos, scores), (others, truth) = _skilled(0), _skilled(1)
    options = Options(
        labels=kind, hidden=8, epochs=40, batch_videos=10, learning_rate=0.02, dropout=0.0
    )
    head = build(options, 0, "cpu")
    log = head.fit(videos, _targets(scores))
    assert log[-1][kind] < 0.3 * log[0][kind]
    assert spearman(head.score(others), truth) > 0.9
    assert np.abs(head.score(others) - truth).mean() < 0.4 * truth.std()
    head.fit(videos, _targets(np.random.default_rng(0).permutation(scores)))
    assert head.score(others).std() < 0.3 * truth.std()


def test_bad_clips_are_found_faulty() -> None:
    videos, scores = _skilled(0)
    head = build(Options(hidden=8, epochs=60, batch_videos=10, learning_rate=0.02), 0, "cpu")
    head.fit(videos, _targets(scores))
    rows = [(v.values[:, 0], head.explain(v).curves["gain"]) for v in _skilled(2)[0]]
    points, gains = (np.concatenate(part) for part in zip(*rows, strict=True))
    assert gains[points < 0].mean() < gains[points > 0].mean()


@pytest.mark.parametrize("kind", LABELS)
@pytest.mark.parametrize("svr", [False, True])
def test_explanation_tells_how_the_score_came_about(kind: Labels, svr: bool) -> None:
    head = _fitted(replace(SMALL, labels=kind, svr=svr))
    for video in _videos(7):
        explanation = head.explain(video)
        score = float(head.score([video])[0])
        so_far, gain = explanation.curves["score_so_far"], explanation.curves["gain"]
        assert np.array_equal(explanation.times, video.times)
        assert so_far.shape == gain.shape == (len(video.values),)
        assert so_far[-1] == pytest.approx(score)
        for clip in range(len(so_far)):
            cut = VideoFeatures.of("cut", video.values[: clip + 1], video.times[: clip + 1])
            assert so_far[clip] == pytest.approx(head.score([cut])[0], rel=1e-5)
        start = explanation.scores["start"]
        assert start + gain.sum() == pytest.approx(score)
        assert explanation.scores == pytest.approx({"start": start, "gains": score - start})
        np.testing.assert_allclose(gain[1:], np.diff(so_far), rtol=1e-6, atol=1e-6)
        if kind == "incremental":
            assert start == 0
            fallen = [so_far[0] < 0, *(b < a for a, b in itertools.pairwise(so_far))]
            assert explanation.flags["faulty"].tolist() == fallen
        else:
            assert not explanation.flags


def test_final_scores_start_from_a_state_of_zeros() -> None:
    head = _fitted(replace(SMALL, labels="final"))
    network: Any = head._trained
    bias = network.regress.bias.item() * SCORES.std() + SCORES.mean()
    assert head.explain(_videos(0)[0]).scores["start"] == pytest.approx(bias, rel=1e-6)


def test_scores_are_learned_in_their_own_units() -> None:
    plain, tenfold = _fitted(), _fitted(targets=_targets(10 * SCORES))
    np.testing.assert_allclose(tenfold.score(_videos(3)), 10 * plain.score(_videos(3)), rtol=1e-4)
    raw = _fitted(replace(SMALL, standardise_scores=False, labels="final"))
    network: Any = raw._trained
    states = torch.tensor(raw.embed(_videos(3))).float()
    expected = network.scores_so_far(states).double().detach().numpy()
    np.testing.assert_allclose(raw.score(_videos(3)), expected, rtol=1e-6)
    # Three epochs do not reach 40 points from 0, but they reach a mean that is given.
    assert (raw.score(_videos(3)) < 20).all()
    assert (plain.score(_videos(3)) > 20).all()


def test_equal_scores_are_learned_as_what_they_are() -> None:
    head = _fitted(replace(SMALL, labels="final", epochs=60), _targets(np.full(6, 5.0)))
    np.testing.assert_allclose(head.score(_videos(0)), 5, atol=0.5)


def test_videos_without_a_score_are_left_out() -> None:
    head = build(SMALL, 0, "cpu")
    head.fit(_videos(0)[:4], _targets(SCORES[:4]))
    expected = head.score(_videos(1))
    unknown = np.where(np.arange(6) < 4, SCORES, np.nan)
    np.testing.assert_array_equal(_fitted(targets=_targets(unknown)).score(_videos(1)), expected)


@pytest.mark.parametrize("kernel", ["linear", "rbf"])
@pytest.mark.parametrize("kind", LABELS)
def test_regression_of_the_last_states_is_scikit_learns(kernel: Kernel, kind: Labels) -> None:
    options = replace(SMALL, labels=kind, svr=True, kernel=kernel, C=3.0, epsilon=0.05)
    scores = np.where(np.arange(6) == 2, np.nan, SCORES)
    head = _fitted(options, _targets(scores))
    known = np.isfinite(scores)
    mean, deviation = scores[known].mean(), scores[known].std()
    states = head.embed(_videos(0))
    others = head.embed(_videos(4))
    assert states is not None and others is not None
    machine = make_pipeline(StandardScaler(), SVR(kernel=kernel, C=3.0, epsilon=0.05, tol=1e-8))
    machine.fit(states[known], (scores[known] - mean) / deviation)
    expected = machine.predict(others) * deviation + mean
    np.testing.assert_allclose(head.score(_videos(4)), expected, rtol=1e-4)
    assert np.ptp(expected) > 1


def test_a_regression_without_support_vectors_gives_a_constant() -> None:
    head = _fitted(replace(SMALL, svr=True, epsilon=100.0))
    assert np.ptp(head.score(_videos(1))) == 0


def test_embedding_is_the_last_state() -> None:
    head = _fitted()
    found = head.embed(_videos(0))
    network: Any = head._trained
    rows = torch.from_numpy(_videos(0)[3].values)[None]
    assert found is not None
    assert found.shape == (6, HIDDEN)
    last = network.encode(_batch(rows), {})[0, -1]
    np.testing.assert_allclose(found[3], last.detach().numpy(), rtol=1e-6)


CHANGES: dict[str, Callable[[Options], Options]] = {
    "labels": lambda o: replace(o, labels="final"),
    "hidden": lambda o: replace(o, hidden=HIDDEN + 1),
    "dropout": lambda o: replace(o, dropout=0.0),
    "epochs": lambda o: replace(o, epochs=4),
    "batch_videos": lambda o: replace(o, batch_videos=3),
    "learning_rate": lambda o: replace(o, learning_rate=2e-3),
    "weight_decay": lambda o: replace(o, weight_decay=0.1),
    "svr": lambda o: replace(o, svr=True),
    "standardise": lambda o: replace(o, standardise=True),
    "standardise_scores": lambda o: replace(o, standardise_scores=False),
}


@pytest.mark.parametrize("name", CHANGES)
def test_each_option_matters(name: str) -> None:
    changed = CHANGES[name](SMALL)
    assert not np.allclose(_fitted(changed).score(_videos(1)), _fitted().score(_videos(1)))


@pytest.mark.parametrize(
    "options",
    [SMALL, replace(SMALL, svr=True, standardise=True), replace(SMALL, svr=True, kernel="rbf")],
)
def test_a_saved_head_is_the_same_head(options: Options, tmp_path: Path) -> None:
    head, again = _fitted(options), build(options, 0, "cpu")
    head.save(tmp_path)
    again.load(tmp_path)
    np.testing.assert_array_equal(head.score(_videos(9)), again.score(_videos(9)))
    one, other = (h.explain(_videos(9)[0]).curves["gain"] for h in (head, again))
    np.testing.assert_array_equal(one, other)


def test_seeds_repeat_and_differ() -> None:
    first, same, other = (_fitted(seed=seed).score(_videos(1)) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, same)
    assert not np.allclose(first, other)


@pytest.mark.parametrize("svr", [False, True])
def test_seeds_train_at_once_as_alone(svr: bool) -> None:
    options = replace(SMALL, svr=svr)
    heads = [build(options, seed, "cpu") for seed in range(3)]
    fit_batched([Job(head, _videos(0), _targets(), DEFAULT_SESSION) for head in heads])
    for seed, head in enumerate(heads):
        alone = _fitted(options, seed=seed).score(_videos(1))
        np.testing.assert_allclose(head.score(_videos(1)), alone, rtol=1e-5)


def test_double_precision_is_single_precision_but_for_rounding() -> None:
    found = []
    for precision in ("float32", "float64"):
        head = build(replace(SMALL, epochs=1), 0, "cpu")
        fitting = Fitting(precision="float64" if precision == "float64" else "float32")
        head.fit(_videos(0), _targets(), Session(fitting=fitting))
        found.append(head.score(_videos(1)))
    assert not np.array_equal(found[0], found[1])
    np.testing.assert_allclose(found[0], found[1], rtol=1e-3)


@pytest.mark.parametrize("scores, known", [(None, 0), (np.array([np.nan, 3.0]), 1)])
def test_missing_scores_are_named(scores: NDArray[np.float64] | None, known: int) -> None:
    with pytest.raises(RecipeError) as caught:
        build(SMALL, 0, "cpu").fit(_videos(0)[:2], _targets(scores))
    message = str(caught.value)
    assert f"c3d-lstm learns from scores and {known} training videos have one" in message
    assert "column score" in message
    assert "\n" not in message


@pytest.mark.parametrize(
    "options, message",
    [
        ({"hidden": 0}, "hidden is 0; it must be at least 1"),
        ({"epochs": 0}, "epochs is 0"),
        ({"batch_videos": -1}, "batch_videos is -1"),
        ({"learning_rate": 0.0}, "learning_rate is 0.0; it must be positive"),
        ({"learning_rate": math.nan}, "learning_rate is nan"),
        ({"C": math.inf}, "C is inf"),
        ({"epsilon": -0.1}, "epsilon is -0.1; it must be finite and not negative"),
        ({"weight_decay": math.nan}, "weight_decay is nan"),
        ({"dropout": 1.0}, "dropout is 1.0; it must be at least 0 and less than 1"),
    ],
)
def test_options_are_checked(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Options(**options)
