import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor, nn

from aqakit.features.errors import RecipeError
from aqakit.models.data import Stream, Targets, VideoFeatures
from aqakit.models.deep import DeepHead, Job, fit_batched
from aqakit.models.head import DEFAULT_SESSION
from aqakit.models.heads.pairwise_mlp import (
    Options,
    PairwiseMLP,
    PairwiseRanking,
    Unit,
    build,
    losses,
)
from aqakit.models.members import Stacked
from aqakit.models.metrics import pairwise_accuracy
from aqakit.models.network import Batch

CHANNELS = {"features": 5, "rgb": 4, "flow": 3}
SEGMENTS = 6
SMALL = Options(epochs=3, batch_pairs=4, learning_rate=1e-3)
UNITS: tuple[Unit, ...] = ("segment", "video")
BOTH = ("rgb", "flow")
SEEDS = st.integers(0, 1000)
QUICK = settings(max_examples=25, deadline=None)
CPU = torch.device("cpu")
POSITIONS = torch.tensor([[0, 1], [2, 1], [3, 0]])


def _network(unit: Unit = "segment", seed: int = 0, roles: Sequence[str] = BOTH) -> PairwiseMLP:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return PairwiseMLP({role: (CHANNELS[role],) for role in roles}, unit, (4, 3)).double()


def _batch(seed: int, videos: int, mask: Tensor | None = None) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    values = {
        role: torch.randn(videos, SEGMENTS, CHANNELS[role], generator=generator).double()
        for role in BOTH
    }
    return Batch(values, mask)


def _mask(lengths: list[int], segments: int = SEGMENTS) -> Tensor:
    return torch.arange(segments) < torch.tensor(lengths)[:, None]


def _drawn(network: PairwiseMLP, videos: int, seed: int = 0) -> dict[str, Tensor]:
    found = network.draw(videos, SEGMENTS, torch.Generator().manual_seed(seed), CPU)
    return {name: tensor.double() for name, tensor in found.items()}


def _plain_score(network: PairwiseMLP, role: str, row: Sequence[float]) -> float:
    """Unit by unit; rectified but for the last."""
    layers = [m for m in network.rank[role].modules() if isinstance(m, nn.Linear)]
    values = list(row)
    for layer in layers:
        outputs = [
            sum(w * x for w, x in zip(weights, values, strict=True)) + bias
            for weights, bias in zip(layer.weight.tolist(), layer.bias.tolist(), strict=True)
        ]
        values = outputs if layer is layers[-1] else [max(0.0, x) for x in outputs]
    (score,) = values
    return score


def _plain_mean(rows: Tensor) -> list[float]:
    return [sum(column) / len(column) for column in rows.T.tolist()]


# The network and its loss against loops.


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("lengths", [None, [6, 1, 3]])
def test_network_scores_its_unit(unit: Unit, lengths: list[int] | None, training: bool) -> None:
    network = _network(unit)
    batch = _batch(1, 3, None if lengths is None else _mask(lengths))
    drawn = _drawn(network, 3) if training else {}
    assert bool(drawn) == (training and unit == "segment")
    for role, scores in zip(network.streams, network.encode(batch, drawn), strict=True):
        for video, length in enumerate(lengths or [SEGMENTS] * 3):
            rows = batch.values[role][video, :length]
            if unit == "video":
                expected = [_plain_score(network, role, _plain_mean(rows))]
            elif training:
                step = math.floor(drawn[role][video].flatten()[0].item() * length)
                expected = [_plain_score(network, role, rows[step].tolist())]
            else:
                expected = [_plain_score(network, role, row) for row in rows.tolist()]
            count = 1 if unit == "video" or training else length
            assert scores[video, :count].tolist() == pytest.approx(expected)


def test_layers_are_those_of_the_paper() -> None:
    network = PairwiseMLP({"features": (4096,)}, "segment")
    layers = [m for m in network.modules() if isinstance(m, nn.Linear)]
    widths = [(layer.in_features, layer.out_features) for layer in layers]
    assert widths == [(4096, 1000), (1000, 512), (512, 256), (256, 128), (128, 64), (64, 1)]


@pytest.mark.parametrize("unit", UNITS)
def test_the_better_unit_is_to_be_ahead_by_the_margin(unit: Unit) -> None:
    network, batch = _network(unit), _batch(2, 4)
    encoding = network.encode(batch, _drawn(network, 4))
    found = losses(0.4, network, batch, encoding, POSITIONS, torch.zeros(3, 0))
    assert list(found) == ["ranking_rgb", "ranking_flow"]
    for role, scores in zip(BOTH, encoding, strict=True):
        flat = scores[:, 0].tolist()
        expected = [max(0.0, 0.4 - flat[i] + flat[j]) for i, j in POSITIONS.tolist()]
        assert found[f"ranking_{role}"].tolist() == pytest.approx(expected)
        assert sum(expected) > 0


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("masked", [False, True])
def test_gradients_of_network_and_losses(unit: Unit, masked: bool) -> None:
    network = _network(unit)
    batch, drawn = _batch(3, 4, _mask([6, 4, 2, 5]) if masked else None), _drawn(network, 4)
    names, values = zip(*network.named_parameters(), strict=True)

    def terms(*parameters: Tensor) -> Tensor:
        def of(network: Any) -> Tensor:
            encoding = network.encode(batch, drawn)
            found = losses(0.4, network, batch, encoding, POSITIONS, torch.zeros(3, 0))
            return torch.stack(list(found.values()))

        state = dict(zip(names, parameters, strict=True))
        found: Tensor = torch.func.functional_call(network, state, (of,))
        return found

    assert torch.autograd.gradcheck(terms, values)


# Properties.


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("training", [False, True])
@given(seed=SEEDS, order=st.permutations(range(4)))
@QUICK
def test_order_of_videos_changes_nothing(
    unit: Unit, training: bool, seed: int, order: list[int]
) -> None:
    network, batch = _network(unit), _batch(seed, 4, _mask([6, 2, 5, 1]))
    drawn = _drawn(network, 4, seed) if training else {}
    assert batch.mask is not None
    moved = Batch({r: v[order] for r, v in batch.values.items()}, batch.mask[order])
    found = network.encode(moved, {name: tensor[order] for name, tensor in drawn.items()})
    for one, other in zip(found, network.encode(batch, drawn), strict=True):
        assert torch.allclose(one, other[order], rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("training", [False, True])
@given(seed=SEEDS, more=st.integers(0, 4), filler=st.floats(-1e6, 1e6))
@QUICK
def test_padding_changes_nothing(
    unit: Unit, training: bool, seed: int, more: int, filler: float
) -> None:
    network, batch = _network(unit), _batch(seed, 2)
    drawn = _drawn(network, 2, seed) if training else {}
    padding = {role: torch.full((2, more, CHANNELS[role]), filler).double() for role in BOTH}
    wider = {role: torch.cat([batch.values[role], padding[role]], dim=1) for role in BOTH}
    padded = Batch(wider, _mask([SEGMENTS] * 2, SEGMENTS + more))
    grown = {
        name: torch.cat([t, t.new_zeros(2, more, t.shape[2])], dim=1) for name, t in drawn.items()
    }
    pairs = zip(network.encode(batch, drawn), network.encode(padded, grown), strict=True)
    for plain, found in pairs:
        assert torch.allclose(found[:, : plain.shape[1]], plain, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("unit", UNITS)
@given(seed=SEEDS, first=st.integers(1, 4))
@QUICK
def test_splitting_a_batch_changes_nothing(unit: Unit, seed: int, first: int) -> None:
    network, batch = _network(unit), _batch(seed, 5)
    parts = [
        network.encode(Batch({r: v[part] for r, v in batch.values.items()}), {})
        for part in (slice(first), slice(first, None))
    ]
    whole = network.encode(batch, {})
    for *halves, together in zip(*parts, whole, strict=True):
        assert torch.allclose(torch.cat(halves), together, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("training", [False, True])
def test_many_networks_at_once_are_each_alone(unit: Unit, training: bool) -> None:
    networks = [_network(unit, seed) for seed in range(3)]
    stacked = Stacked(networks)
    masks = [_mask([6, 2, 5, number + 1]) for number in range(3)]
    batches = [_batch(number, 4, mask) for number, mask in enumerate(masks)]
    drawn = [_drawn(networks[0], 4, number) if training else {} for number in range(3)]
    together = Batch(
        {role: torch.stack([b.values[role] for b in batches]) for role in BOTH},
        torch.stack(masks),
    )
    numbers = {name: torch.stack([one[name] for one in drawn]) for name in drawn[0]}
    encoding = stacked.encode(together, numbers)
    positions = torch.stack([POSITIONS, POSITIONS.flip(0), POSITIONS.flip(1)])
    phase = PairwiseRanking(SMALL).stages(_videos(0), _targets(), _rng())[0].phases[0]
    terms = stacked.losses(phase, together, encoding, positions, torch.zeros(3, 3, 0))
    for number, network in enumerate(networks):
        batch = batches[number]
        alone = network.encode(batch, drawn[number])
        for one, other in zip(encoding, alone, strict=True):
            assert torch.allclose(one[number], other)
        expected = losses(1.0, network, batch, alone, positions[number], torch.zeros(3, 0))
        assert terms.keys() == expected.keys()
        assert all(torch.allclose(terms[name][number], expected[name]) for name in terms)


# The head.


def _rng() -> np.random.Generator:
    return np.random.default_rng(0)


def _times(segments: int) -> NDArray[np.float64]:
    starts = np.arange(segments, dtype=np.float64)
    return np.stack([starts, starts + 0.5, starts + 1], axis=1)


def _videos(seed: int, count: int = 6, roles: Sequence[str] = BOTH) -> list[VideoFeatures]:
    """Videos of 4 to 6 segments."""
    rng = np.random.default_rng(seed)
    found = []
    for number in range(count):
        length = 4 + number % 3
        values = {r: rng.normal(size=(length, c)).astype("f4") for r, c in CHANNELS.items()}
        streams = {role: Stream(values[role], _times(length)) for role in roles}
        found.append(VideoFeatures(f"v{number}", streams))
    return found


PAIRS = np.array([[0, 1], [1, 2], [0, 3], [4, 1], [5, 2]])


def _targets() -> Targets:
    return Targets(PAIRS)


def _fitted(options: Options = SMALL, roles: Sequence[str] = BOTH, seed: int = 0) -> DeepHead:
    head = build(options, seed, "cpu")
    head.fit(_videos(0, roles=roles), _targets())
    return head


def _skilled(seed: int) -> tuple[list[VideoFeatures], NDArray[np.int64]]:
    """Skill shows in channel 0; pairs are all pairs."""
    rng = np.random.default_rng(seed)
    skill = rng.normal(size=20)
    videos = []
    for number, level in enumerate(skill):
        rows = rng.normal(size=(8, 3))
        rows[:, 0] += level
        videos.append(VideoFeatures.of(f"v{number}", rows, _times(8)))
    return videos, np.argwhere(skill[:, None] > skill)


@pytest.mark.parametrize("unit", UNITS)
def test_it_learns_what_is_there(unit: Unit) -> None:
    (videos, pairs), (others, truth) = _skilled(0), _skilled(1)
    options = Options(epochs=40, unit=unit, learning_rate=1e-3)
    head = build(options, 0, "cpu")
    log = head.fit(videos, Targets(pairs))
    assert log[-1]["ranking_features"] < 0.8 * log[0]["ranking_features"]
    assert pairwise_accuracy(head.score(others), truth).accuracy > 0.8
    backwards = build(options, 0, "cpu")
    backwards.fit(videos, Targets(pairs[:, ::-1].copy()))
    assert pairwise_accuracy(backwards.score(others), truth).accuracy < 0.2


def test_streams_are_trained_each_on_its_own() -> None:
    videos = _videos(0)
    altered = [
        VideoFeatures(
            v.id,
            {
                "rgb": v.streams["rgb"],
                "flow": Stream(5 * v.streams["flow"].values[::-1], v.streams["flow"].times),
            },
        )
        for v in videos
    ]
    parts = []
    for training in (videos, altered):
        head = build(SMALL, 0, "cpu")
        head.fit(training, _targets())
        parts.append([head.explain(video).scores for video in videos])
    for one, other in zip(*parts, strict=True):
        assert one["rgb"] == other["rgb"]
        assert one["flow"] != pytest.approx(other["flow"])


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("roles", [BOTH, ("features",), ("flow",)])
def test_explanation_tells_what_made_the_score(unit: Unit, roles: tuple[str, ...]) -> None:
    head = _fitted(replace(SMALL, unit=unit, rgb_weight=0.3), roles)
    network: Any = head._trained
    for video in _videos(7, count=3, roles=roles):
        explanation = head.explain(video)
        score = head.score([video])[0]
        assert np.array_equal(explanation.times, video.times)
        assert list(explanation.curves) == [*(f"{role}_score" for role in roles), "score"]
        assert list(explanation.scores) == list(roles)
        weights = {"rgb": 0.3, "flow": 0.7} if roles == BOTH else {roles[0]: 1.0}
        total = sum(weights[role] * explanation.scores[role] for role in roles)
        assert total == pytest.approx(score, rel=1e-5)
        fused = sum(weights[role] * explanation.curves[f"{role}_score"] for role in roles)
        np.testing.assert_allclose(explanation.curves["score"], fused, rtol=1e-4, atol=1e-7)
        for role in roles:
            curve, rows = explanation.curves[f"{role}_score"], video.streams[role].values
            assert curve.shape == (len(rows),)
            first = network.of_rows(role, torch.from_numpy(rows[:1])[None])
            assert curve[0] == pytest.approx(first.item(), rel=1e-5)
            if unit == "segment":
                assert curve.mean() == pytest.approx(explanation.scores[role], rel=1e-5)
            else:
                pooled = torch.from_numpy(rows.mean(axis=0))[None, None]
                expected = network.of_rows(role, pooled).item()
                assert explanation.scores[role] == pytest.approx(expected, rel=1e-5)


CHANGES: dict[str, Callable[[Options], Options]] = {
    "margin": lambda o: replace(o, margin=1e-3),
    "unit": lambda o: replace(o, unit="video"),
    "rgb_weight": lambda o: replace(o, rgb_weight=0.9),
    "epochs": lambda o: replace(o, epochs=4),
    "batch_pairs": lambda o: replace(o, batch_pairs=3),
    "learning_rate": lambda o: replace(o, learning_rate=2e-3),
    "weight_decay": lambda o: replace(o, weight_decay=0.1),
    "standardise": lambda o: replace(o, standardise=True),
}


@pytest.mark.parametrize("name", CHANGES)
def test_each_option_matters(name: str) -> None:
    changed = CHANGES[name](SMALL)
    one, other = (_fitted(o).score(_videos(1)) for o in (changed, SMALL))
    assert not np.allclose(one, other, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("roles", [BOTH, ("features",)])
def test_a_saved_head_is_the_same_head(roles: tuple[str, ...], tmp_path: Path) -> None:
    head, again = _fitted(roles=roles), build(SMALL, 0, "cpu")
    head.save(tmp_path)
    again.load(tmp_path)
    videos = _videos(9, roles=roles)
    np.testing.assert_array_equal(head.score(videos), again.score(videos))
    assert head.explain(videos[0]).scores == again.explain(videos[0]).scores


def test_seeds_repeat_differ_and_train_at_once() -> None:
    first, same, other = (_fitted(seed=seed).score(_videos(1)) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, same)
    assert not np.allclose(first, other)
    heads = [build(SMALL, seed, "cpu") for seed in (0, 1)]
    fit_batched([Job(head, _videos(0), _targets(), DEFAULT_SESSION) for head in heads])
    for head, alone in zip(heads, (first, other), strict=True):
        np.testing.assert_allclose(head.score(_videos(1)), alone, rtol=1e-3, atol=1e-5)


def test_one_of_the_stored_frames_is_drawn() -> None:
    (stage,) = PairwiseRanking(SMALL).stages(_videos(0), _targets(), _rng())
    assert stage.schedule.vary
    assert stage.examples.tolist() == PAIRS.tolist()


def test_missing_pairs_and_a_mixture_of_features_are_named() -> None:
    head = build(SMALL, 0, "cpu")
    with pytest.raises(RecipeError, match="no pair of two training videos; add pairs"):
        head.fit(_videos(0), Targets(PAIRS[:0], np.arange(6.0)))
    with pytest.raises(RecipeError) as caught:
        head.fit(_videos(0, roles=("features", "rgb")), _targets())
    message = str(caught.value)
    assert "pairwise-mlp looks at features, or at rgb and flow" in message
    assert "\n" not in message


@pytest.mark.parametrize(
    "options, message",
    [
        ({"epochs": 0}, "epochs is 0; it must be at least 1"),
        ({"batch_pairs": 0}, "batch_pairs is 0"),
        ({"margin": -1.0}, "margin is -1.0; it must be positive and finite"),
        ({"learning_rate": math.inf}, "learning_rate is inf"),
        ({"rgb_weight": 1.1}, "rgb_weight is 1.1; it must be from 0 to 1"),
        ({"weight_decay": -1e-3}, "weight_decay is -0.001; it must be finite and not negative"),
    ],
)
def test_options_are_checked(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Options(**options)
