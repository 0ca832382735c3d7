import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.func import functional_call

from aqakit.features.errors import RecipeError
from aqakit.models.data import Stream, Targets, VideoFeatures
from aqakit.models.deep import DeepHead, Job, fit_batched
from aqakit.models.head import DEFAULT_SESSION, Session
from aqakit.models.heads.aim import (
    AIM,
    ROLES,
    TASKS,
    AsymmetricInteraction,
    AsymmetricNetwork,
    Encoding,
    Options,
    Variant,
    build,
    losses,
    rate_of,
    squared_error,
)
from aqakit.models.members import Stacked
from aqakit.models.metrics import spearman
from aqakit.models.network import Batch, Phase
from aqakit.models.recipe import Recipe
from aqakit.models.recurrent import plain_operations

WIDTHS = {"primary": 3, "secondary": 3, "scene": 4}
UNEQUAL = {"primary": 3, "secondary": 2, "scene": 4}
STEPS, HIDDEN = 5, 3
SMALL = Options(hidden=HIDDEN, regression_hidden=4, dropout=0.0, epochs=3, batch_videos=4)
VARIANTS: tuple[Variant, ...] = get_args(Variant)
TWO_STREAMS = tuple(v for v in VARIANTS if not v.startswith("scene-"))
FUSED = tuple(v for v in TWO_STREAMS if v != "without-fusion")
NO_PAIRS = np.zeros((0, 2), np.int64)
SEEDS = st.integers(0, 1000)
QUICK = settings(max_examples=10, deadline=None)


def _network(
    options: Options, widths: Mapping[str, int] = WIDTHS, seed: int = 0
) -> AsymmetricNetwork:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = AIM(options).network({role: (width,) for role, width in widths.items()})
        # Weights of the size of features, so that no part is too small to be seen in a test.
        for parameter in network.parameters():
            nn.init.normal_(parameter, std=0.7)
        return network.double()


def _batch(
    seed: int, videos: int, lengths: Sequence[int] | None = None, widths: Mapping[str, int] = WIDTHS
) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    values = {
        role: torch.randn(videos, STEPS, width, generator=generator, dtype=torch.float64)
        for role, width in widths.items()
    }
    if lengths is None:
        return Batch(values)
    mask = torch.arange(STEPS) < torch.tensor(lengths)[:, None]
    return Batch({role: value * mask[..., None] for role, value in values.items()}, mask)


def _encode(network: AsymmetricNetwork, batch: Batch) -> Encoding:
    return network.encode(batch, {})


def _flat(encoding: Encoding) -> dict[str, Tensor]:
    return {"fused": encoding.fused} | encoding.scores | encoding.weights


def _assert_same(one: Encoding, other: Encoding, tolerance: float = 1e-10) -> None:
    ours, theirs = _flat(one), _flat(other)
    assert ours.keys() == theirs.keys()
    for name, value in ours.items():
        assert torch.allclose(value, theirs[name], rtol=tolerance, atol=tolerance), name


# The network against loops over single numbers.

Numbers = list[float]


def _linear(layer: nn.Module, inputs: Numbers) -> Numbers:
    assert isinstance(layer, nn.Linear)
    return [
        sum(w * x for w, x in zip(row, inputs, strict=True)) + bias
        for row, bias in zip(layer.weight.tolist(), layer.bias.tolist(), strict=True)
    ]


def _relu(numbers: Numbers) -> Numbers:
    return [max(number, 0.0) for number in numbers]


def _sigmoid(number: float) -> float:
    return 1 / (1 + math.exp(-number))


def _plain_lstm(lstm: nn.Module, steps: list[Numbers]) -> list[Numbers]:
    by_input, by_state, *biases = (
        getattr(lstm, f"{name}_l0").tolist()
        for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    )
    state, cell, found = [0.0] * HIDDEN, [0.0] * HIDDEN, []
    for step in steps:
        gates = [
            sum(w * x for w, x in zip(by_input[row], step, strict=True))
            + sum(w * h for w, h in zip(by_state[row], state, strict=True))
            + biases[0][row]
            + biases[1][row]
            for row in range(4 * HIDDEN)
        ]
        for unit in range(HIDDEN):
            enter, forget, candidate, leave = gates[unit::HIDDEN]
            cell[unit] = _sigmoid(forget) * cell[unit] + _sigmoid(enter) * math.tanh(candidate)
            state[unit] = _sigmoid(leave) * math.tanh(cell[unit])
        found.append(list(state))
    return found


def _plain_interaction(
    network: AsymmetricNetwork, variant: Variant, primary: list[Numbers], secondary: list[Numbers]
) -> list[Numbers]:
    """Equations 1 to 3."""
    if variant == "exchanged":
        primary, secondary = secondary, primary
    module: Any = network.interaction
    if variant == "without-aim":
        return [
            _relu(_linear(module.layer, p + s)) for p, s in zip(primary, secondary, strict=True)
        ]
    read = []
    for p, s in zip(primary, secondary, strict=True):
        transformed = s if variant == "without-transformation" else _linear(module.transform, s)
        difference = [a - b for a, b in zip(p, transformed, strict=True)]
        read.append(p + (transformed if variant == "without-difference" else difference))
    return _plain_lstm(module.lstm, read)


def _plain_shares(
    network: AsymmetricNetwork, variant: Variant, streams: list[Numbers], scene: Numbers
) -> Numbers:
    """Equation 5."""
    if variant == "without-fusion":
        return [0.5, 0.5]
    key = _linear(network.key, scene)
    exponentials = [
        math.exp(sum(a * b for a, b in zip(stream, key, strict=True))) for stream in streams
    ]
    return [exponential / sum(exponentials) for exponential in exponentials]


def _plain_regression(network: AsymmetricNetwork, task: str, features: Numbers) -> float:
    """Equations 6 and 7, of one step."""
    module: Any = network.regressions[task]
    (score,) = _linear(module.second, _relu(_linear(module.first, features)))
    return score


def _plain(
    network: AsymmetricNetwork, variant: Variant, video: Mapping[str, list[Numbers]]
) -> dict[str, list[Any]]:
    """Step by step: what is fused, the scores by task, and the weights."""
    scenes = video["scene"]
    if variant == "scene-kinetic":
        scenes = [scene + p + s for scene, p, s in zip(*(video[r] for r in _ORDER), strict=True)]
    encoded = [_relu(_linear(network.encoder, scene)) for scene in scenes]
    if variant.startswith("scene-"):
        scores = [_plain_regression(network, "score", step) for step in encoded]
        return {"fused": encoded, "score": scores}
    states = _plain_interaction(network, variant, video["primary"], video["secondary"])
    found: dict[str, list[Any]] = {"fused": [], "scene_weight": [], "interaction_weight": []}
    for x, y, scene in zip(encoded, states, scenes, strict=True):
        first, second = _plain_shares(network, variant, [x, y], scene)
        found["scene_weight"].append(first)
        found["interaction_weight"].append(second)
        found["fused"].append([first * a + second * b for a, b in zip(x, y, strict=True)])
    for task, read in zip(TASKS, (found["fused"], encoded, states), strict=True):
        if task in network.regressions:
            found[task] = [_plain_regression(network, task, step) for step in read]
    return found


_ORDER = ("scene", "primary", "secondary")


def _options(variant: Variant, **more: Any) -> Options:
    return replace(SMALL, variant=variant, multi_task=variant in TWO_STREAMS, **more)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("lengths", [None, [STEPS, 1, 3]])
@pytest.mark.parametrize("widths", [WIDTHS, UNEQUAL])
def test_network_is_that_of_the_paper(
    variant: Variant, lengths: list[int] | None, widths: Mapping[str, int]
) -> None:
    if variant == "without-transformation":
        widths = WIDTHS
    network, batch = _network(_options(variant), widths), _batch(1, 3, lengths, widths)
    found = _flat(_encode(network, batch))
    totals = {task: _encode(network, batch).totals(task) for task in network.regressions}
    for video, length in enumerate(lengths or [STEPS] * 3):
        rows = {role: value[video, :length].tolist() for role, value in batch.values.items()}
        expected = _plain(network, variant, rows)
        assert expected.keys() == found.keys()
        for name, values in expected.items():
            assert torch.allclose(found[name][video, :length], torch.tensor(values).double()), name
        for task, total in totals.items():
            assert total[video].item() == pytest.approx(sum(expected[task]))


@pytest.mark.parametrize("theta", [0.4, 1.0])
def test_losses_are_those_of_equation_8(theta: float) -> None:
    network, batch = _network(_options("full")), _batch(2, 3, [STEPS, 2, 4])
    positions = [2, 0, 2, 1]
    labels: list[Numbers] = [[3, 1, -1], [0.5, 2, 7], [-2, 0, 1], [4, 4, 4]]
    found = losses(
        theta,
        network,
        batch,
        _encode(network, batch),
        torch.tensor(positions)[:, None],
        torch.tensor(labels).double(),
    )
    assert list(found) == ["score", "execution", "synchronisation"]
    for example, (video, truth) in enumerate(zip(positions, labels, strict=True)):
        length = (STEPS, 2, 4)[video]
        rows = {role: value[video, :length].tolist() for role, value in batch.values.items()}
        plain = _plain(network, "full", rows)
        for task, weight, label in zip(TASKS, (1.0, theta, 1 - theta), truth, strict=True):
            expected = weight * (sum(plain[task]) - label) ** 2
            assert found[task][example].item() == pytest.approx(expected)


def test_one_task_has_one_loss() -> None:
    network, batch = _network(SMALL), _batch(2, 2)
    encoding = _encode(network, batch)
    labels = torch.tensor([[1.0], [-2.0]]).double()
    found = losses(0.4, network, batch, encoding, torch.tensor([[1], [0]]), labels)
    assert list(found) == ["score"]
    totals = encoding.totals("score")
    assert torch.equal(found["score"], squared_error(totals[[1, 0]], labels[:, 0]))


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("lengths", [None, [2, 1]])
def test_gradients_of_network_and_losses(variant: Variant, lengths: list[int] | None) -> None:
    options = replace(_options(variant), hidden=2, regression_hidden=2)
    widths = dict.fromkeys(WIDTHS, 2)
    network = _network(options, widths, seed=3)
    whole = _batch(4, 2, lengths, widths)
    batch = Batch(
        {role: value[:, :2] for role, value in whole.values.items()},
        None if whole.mask is None else whole.mask[:, :2],
    )
    labels = torch.tensor([[1.0, 2.0, 3.0], [-1.0, 0.0, 2.0]]).double()
    positions = torch.tensor([[1], [0]])
    names, values = zip(*network.named_parameters(), strict=True)

    def terms(used: AsymmetricNetwork) -> Tensor:
        found = losses(0.4, used, batch, used.encode(batch, {}), positions, labels)
        return torch.stack(list(found.values()))

    def of_parameters(*parameters: Tensor) -> Tensor:
        found: Tensor = functional_call(
            network, dict(zip(names, parameters, strict=True)), (terms,)
        )
        return found

    with plain_operations(network):
        assert torch.autograd.gradcheck(of_parameters, values)


# Properties.


@pytest.mark.parametrize("variant", VARIANTS)
@given(SEEDS, st.permutations(range(4)))
@QUICK
def test_order_of_videos_changes_nothing(variant: Variant, seed: int, order: list[int]) -> None:
    network, batch = _network(_options(variant)), _batch(seed, 4, [5, 2, 4, 1])
    assert batch.mask is not None
    moved = Batch({role: v[order] for role, v in batch.values.items()}, batch.mask[order])
    once = _encode(network, batch)
    expected = Encoding(
        once.fused[order],
        {name: value[order] for name, value in once.scores.items()},
        {name: value[order] for name, value in once.weights.items()},
    )
    _assert_same(_encode(network, moved), expected)


@pytest.mark.parametrize("variant", VARIANTS)
@given(SEEDS, st.integers(1, 3), st.floats(-100, 100))
@QUICK
def test_padding_changes_nothing(variant: Variant, seed: int, more: int, filler: float) -> None:
    network, batch = _network(_options(variant)), _batch(seed, 3)
    padding = {role: torch.full((3, more, w), filler) for role, w in WIDTHS.items()}
    padded = Batch(
        {r: torch.cat([v, padding[r].double()], dim=1) for r, v in batch.values.items()},
        (torch.arange(STEPS + more) < STEPS).expand(3, -1),
    )
    found = _flat(_encode(network, padded))
    once = _encode(network, batch)
    for name, value in _flat(once).items():
        assert torch.allclose(found[name][:, :STEPS], value, rtol=1e-10, atol=1e-10), name
    for name in (*once.scores, *once.weights):
        assert not found[name][:, STEPS:].any()


@pytest.mark.parametrize("variant", VARIANTS)
@given(SEEDS, st.integers(1, 4))
@QUICK
def test_splitting_a_batch_changes_nothing(variant: Variant, seed: int, first: int) -> None:
    network, batch = _network(_options(variant)), _batch(seed, 5)
    parts = [
        _flat(_encode(network, Batch({role: v[part] for role, v in batch.values.items()})))
        for part in (slice(first), slice(first, None))
    ]
    for name, value in _flat(_encode(network, batch)).items():
        joined = torch.cat([part[name] for part in parts])
        assert torch.allclose(joined, value, rtol=1e-10, atol=1e-10), name


@given(SEEDS)
@QUICK
def test_float32_is_near_float64(seed: int) -> None:
    network, batch = _network(_options("full")), _batch(seed, 3, [5, 2, 4])
    exact = _encode(network, batch)
    rough = _encode(
        network.float(), Batch({r: v.float() for r, v in batch.values.items()}, batch.mask)
    )
    for name, value in _flat(exact).items():
        assert torch.allclose(_flat(rough)[name].double(), value, rtol=1e-4, atol=1e-4), name


@pytest.mark.parametrize("variant", VARIANTS)
def test_members_at_once_are_members_one_by_one(variant: Variant) -> None:
    options = replace(_options(variant), dropout=0.5)
    networks = [_network(options, seed=seed) for seed in range(3)]
    batches = [_batch(seed, 4, [5, 2, 4, 1]) for seed in range(3)]
    generator = torch.Generator().manual_seed(0)
    draws = [network.draw(4, STEPS, generator, torch.device("cpu")) for network in networks]
    labels = torch.randn(3, 4, 3, generator=generator).double()
    positions = torch.tensor([[[2], [0], [1], [3]]] * 3)
    phase = _phase(options)
    alone = [
        phase.losses(n, b, n.encode(b, d), positions[0], labels[number])
        for number, (n, b, d) in enumerate(zip(networks, batches, draws, strict=True))
    ]
    members = Stacked(networks)
    batch = Batch(
        {role: torch.stack([b.values[role] for b in batches]) for role in WIDTHS},
        torch.stack([b.mask for b in batches if b.mask is not None]),
    )
    drawn = {name: torch.stack([draw[name] for draw in draws]) for name in draws[0]}
    found = members.losses(phase, batch, members.encode(batch, drawn), positions, labels)
    assert found.keys() == alone[0].keys()
    for name, terms in found.items():
        expected = torch.stack([one[name] for one in alone])
        assert torch.allclose(terms, expected, rtol=1e-10, atol=1e-10), name


# What the equations say, and what each variant changes.


def test_identity_transformation_leaves_no_difference_of_equal_agents() -> None:
    """Equation 1: what is compared vanishes, so the LSTM's weights for it cannot matter."""
    module = AsymmetricInteraction(3, 3, SMALL).double()
    with torch.no_grad():
        module.transform.weight.copy_(torch.eye(3))  # type: ignore[operator]
        module.transform.bias.zero_()  # type: ignore[operator]
    agents = _batch(5, 2).values["primary"]
    before = module(agents, agents, None)
    with torch.no_grad():
        module.lstm.weight_ih_l0[:, 3:] += 1.0
    assert torch.allclose(module(agents, agents, None), before)
    assert not torch.allclose(module(agents, agents + 1, None), before)


@pytest.mark.parametrize("variant", FUSED)
@pytest.mark.parametrize("towards", ["scene_weight", "interaction_weight"])
def test_key_chooses_the_stream_that_it_agrees_with(variant: Variant, towards: str) -> None:
    network, batch = _network(_options(variant)), _batch(6, 2)
    captured: dict[str, Tensor] = {}
    network.interaction.register_forward_hook(lambda _, __, out: captured.update(y=out.detach()))
    encoded = network.encoder(batch.values["scene"]).relu().detach()
    _encode(network, batch)
    step = (encoded[0, 0] - captured["y"][0, 0]) * (1 if towards == "scene_weight" else -1)
    with torch.no_grad():
        network.key.weight.zero_()
        network.key.bias.copy_(1e3 * step)
    found = _encode(network, batch)
    stream = encoded if towards == "scene_weight" else captured["y"]
    assert found.weights[towards][0, 0].item() == pytest.approx(1)
    assert torch.allclose(found.fused[0, 0], stream[0, 0])


@pytest.mark.parametrize("variant", TWO_STREAMS)
def test_weights_of_the_fusion_share_out_each_step(variant: Variant) -> None:
    found = _encode(_network(_options(variant)), _batch(7, 3))
    scene, interaction = (found.weights[name] for name in ("scene_weight", "interaction_weight"))
    assert torch.allclose(scene + interaction, torch.ones(3, STEPS).double())
    assert bool(torch.all(scene == 0.5)) == (variant == "without-fusion")


def test_exchanged_is_full_with_swapped_agents() -> None:
    widths = {**UNEQUAL, "primary": 2, "secondary": 3}
    full, exchanged = _network(_options("full"), UNEQUAL), _network(_options("exchanged"), widths)
    exchanged.load_state_dict(full.state_dict())
    batch = _batch(8, 3, None, UNEQUAL)
    swapped = Batch(
        {
            "primary": batch.values["secondary"],
            "secondary": batch.values["primary"],
            "scene": batch.values["scene"],
        }
    )
    _assert_same(_encode(exchanged, swapped), _encode(full, batch))


LOOKED_AT = [
    (variant, role, variant != "scene-only" or role == "scene")
    for variant in VARIANTS
    for role in WIDTHS
]


@pytest.mark.parametrize(("variant", "role", "looks"), LOOKED_AT)
def test_variant_looks_at_its_roles(variant: Variant, role: str, looks: bool) -> None:
    network, batch = _network(_options(variant)), _batch(9, 2)
    other = Batch({**batch.values, role: batch.values[role] + 0.3})
    changed = not torch.allclose(
        _encode(network, other).totals("score"), _encode(network, batch).totals("score")
    )
    assert changed == looks


@pytest.mark.parametrize("variant", VARIANTS[1:])
def test_variant_is_not_the_full_network(variant: Variant) -> None:
    full, other = _network(_options("full")), _network(_options(variant))
    shared = {name: value for name, value in full.state_dict().items()}
    fits = {
        name: shared[name]
        for name, value in other.state_dict().items()
        if name in shared and shared[name].shape == value.shape
    }
    other.load_state_dict(fits, strict=False)
    batch = _batch(10, 3)
    ours, theirs = (_encode(network, batch).totals("score") for network in (full, other))
    assert not torch.allclose(ours, theirs)


@pytest.mark.parametrize(
    ("variant", "count"),
    [
        # transformation, LSTM (weights and biases), encoder, key, regression
        ("full", 3 * 4 + 12 * (6 + 3 + 2) + 3 * 5 + 3 * 5 + 4 * 4 + 5),
        ("without-aim", 3 * 7 + 3 * 5 + 3 * 5 + 4 * 4 + 5),
        ("without-fusion", 3 * 4 + 12 * (6 + 3 + 2) + 3 * 5 + 4 * 4 + 5),
        ("without-transformation", 12 * (6 + 3 + 2) + 3 * 5 + 3 * 5 + 4 * 4 + 5),
        ("scene-only", 3 * 5 + 4 * 4 + 5),
        ("scene-kinetic", 3 * 11 + 4 * 4 + 5),
    ],
)
def test_variant_has_no_parameters_that_it_does_not_use(variant: Variant, count: int) -> None:
    network = _network(replace(SMALL, variant=variant))
    assert sum(p.numel() for p in network.parameters()) == count
    _encode(network, _batch(11, 2)).totals("score").sum().backward()
    assert all(p.grad is not None for p in network.parameters())


def test_sizes_are_those_of_the_paper() -> None:
    network = AIM(Options()).network({"primary": (38,), "secondary": (38,), "scene": (400,)})
    shapes = {name: tuple(p.shape) for name, p in network.named_parameters() if "weight" in name}
    assert shapes == {
        "encoder.weight": (512, 400),
        "interaction.transform.weight": (38, 38),
        "interaction.lstm.weight_ih_l0": (4 * 512, 2 * 38),
        "interaction.lstm.weight_hh_l0": (4 * 512, 512),
        "key.weight": (512, 400),
        "regressions.score.first.weight": (128, 512),
        "regressions.score.second.weight": (1, 128),
    }


@given(SEEDS, st.sampled_from([0.2, 0.5]))
@QUICK
def test_dropout_leaves_out_its_share(seed: int, share: float) -> None:
    network = _network(replace(_options("full"), dropout=share, regression_hidden=50))
    generator = torch.Generator().manual_seed(seed)
    drawn = network.draw(20, STEPS, generator, torch.device("cpu"))
    assert list(drawn) == list(TASKS)
    for mask in drawn.values():
        assert mask.shape == (20, STEPS, 50)
        assert set(mask.unique().tolist()) == {0.0, float(torch.tensor(1 / (1 - share)))}
        assert (mask == 0).double().mean().item() == pytest.approx(share, abs=0.03)
    assert not torch.equal(drawn["score"], drawn["execution"])


def test_dropout_leaves_outputs_of_the_first_layer_out() -> None:
    network, batch = _network(replace(_options("full"), dropout=0.5)), _batch(12, 2)
    drawn = {task: torch.zeros(2, STEPS, 4).double() for task in TASKS}
    drawn["score"][..., 1] = 2.0
    kept: Any = network.regressions["score"]
    expected = network.encode(batch, {}).fused @ kept.first.weight[1] + kept.first.bias[1]
    expected = 2 * expected.relu() * kept.second.weight[0, 1] + kept.second.bias
    found = network.encode(batch, drawn)
    assert torch.allclose(found.scores["score"], expected)
    without: Any = network.regressions["execution"]
    assert torch.allclose(found.scores["execution"], without.second.bias.expand(2, STEPS))


def test_no_dropout_draws_nothing() -> None:
    network = _network(SMALL)
    assert not network.draw(2, STEPS, torch.Generator(), torch.device("cpu"))


# How it is trained.


def _phase(options: Options) -> Phase:
    videos, targets = _data(0)
    (stage,) = AIM(options).stages(videos, targets, np.random.default_rng(0))
    (phase,) = stage.phases
    return phase


def test_defaults_are_those_of_the_paper() -> None:
    optimiser = _phase(Options()).optimiser([nn.Parameter(torch.zeros(1))])
    assert isinstance(optimiser, torch.optim.Adam)
    assert optimiser.defaults["weight_decay"] == 0.5
    (stage,) = AIM(Options()).stages(*_data(0), np.random.default_rng(0))
    assert (stage.schedule.epochs, stage.schedule.batch) == (3000, 64)
    rates = [stage.phases[0].rate(epoch) for epoch in (0, 19, 20, 49, 50, 99, 100, 2919, 2920)]
    assert rates == pytest.approx([1e-4, 1e-4, 1e-5, 1e-5, 1e-6, 1e-6, 1e-4, 1e-4, 1e-5])


def test_weight_decay_is_that_of_the_options() -> None:
    optimiser = _phase(Options(weight_decay=0.8)).optimiser([nn.Parameter(torch.zeros(1))])
    assert optimiser.defaults["weight_decay"] == 0.8


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (Options(schedule="constant", learning_rate=0.3), [0.3] * 6),
        (Options(schedule="steps", learning_rate=1.0, epochs=6), [1, 1, 0.1, 0.1, 0.01, 0.01]),
        (Options(schedule="steps", learning_rate=1.0, epochs=5), [1, 1, 0.1, 0.1, 0.01]),
        (Options(learning_rate=2.0), [2.0] * 20 + [0.2] * 30 + [0.02] * 50 + [2.0]),
    ],
)
def test_learning_rate_follows_the_schedule(options: Options, expected: list[float]) -> None:
    rate = rate_of(options)
    assert [rate(epoch) for epoch in range(len(expected))] == pytest.approx(expected)


def _video(
    number: int, roles: Sequence[str], steps: int, rng: np.random.Generator
) -> VideoFeatures:
    times = np.arange(steps * 3, dtype=np.float64).reshape(steps, 3)
    streams = {
        role: Stream(rng.normal(size=(steps, WIDTHS[role])).astype(np.float32), times)
        for role in roles
    }
    return VideoFeatures(f"v{number}", streams)


def _data(
    seed: int, videos: int = 6, roles: Sequence[str] = tuple(WIDTHS), ragged: bool = False
) -> tuple[list[VideoFeatures], Targets]:
    rng = np.random.default_rng(seed)
    steps = [STEPS - number % 3 if ragged else STEPS for number in range(videos)]
    found = [_video(number, roles, count, rng) for number, count in enumerate(steps)]
    scores, execution, synchronisation = rng.normal(20, 4, (3, videos))
    return found, Targets(
        NO_PAIRS, scores, {"execution": execution, "synchronisation": synchronisation}
    )


@pytest.mark.parametrize("multi_task", [False, True])
def test_labels_are_rescaled_by_task_or_left_raw(multi_task: bool) -> None:
    videos, targets = _data(1)
    assert targets.scores is not None
    truth = np.stack([targets.scores, *targets.parts.values()], axis=1)
    truth = truth if multi_task else truth[:, :1]
    options = replace(SMALL, multi_task=multi_task)
    (stage,) = AIM(options).stages(videos, targets, np.random.default_rng(0))
    assert stage.examples.tolist() == [[0], [1], [2], [3], [4], [5]]
    assert stage.labels == pytest.approx(5 * (truth - truth.mean(0)) / truth.std(0))
    (stage,) = AIM(replace(options, labels="raw")).stages(videos, targets, np.random.default_rng(0))
    assert np.array_equal(stage.labels, truth)


def test_videos_without_a_score_do_not_train() -> None:
    videos, targets = _data(1)
    assert targets.scores is not None
    targets.scores[[1, 4]] = np.nan
    targets.parts["execution"][1] = np.nan
    (stage,) = AIM(replace(SMALL, multi_task=True)).stages(
        videos, targets, np.random.default_rng(0)
    )
    assert stage.examples.tolist() == [[0], [2], [3], [5]]
    assert np.isfinite(stage.labels).all()


def test_equal_scores_are_learned_without_division_by_zero() -> None:
    videos, _ = _data(1)
    targets = Targets(NO_PAIRS, np.full(6, 7.0))
    (stage,) = AIM(SMALL).stages(videos, targets, np.random.default_rng(0))
    assert not stage.labels.any()


# The head as a whole.


def _fit(options: Options, seed: int = 0, **data: Any) -> tuple[DeepHead, list[VideoFeatures]]:
    videos, targets = _data(3, **data)
    head = build(options, seed, "cpu")
    head.fit(videos, targets)
    return head, videos


def test_head_learns() -> None:
    videos, _ = _data(4, videos=80)
    # The score is how far the secondary is from the primary in a channel, summed over time.
    apart = [v.streams["primary"].values - v.streams["secondary"].values for v in videos]
    scores = 50 + 3 * np.array([difference[:, 0].sum() for difference in apart], np.float64)
    head = build(
        Options(hidden=16, regression_hidden=16, epochs=120, learning_rate=1e-2, weight_decay=0.01),
        seed=0,
        device="cpu",
    )
    log = head.fit(videos[:60], Targets(NO_PAIRS, scores[:60]))
    assert len(log) == 120 and list(log[0]) == ["score"]
    assert log[-1]["score"] < 0.2 * log[0]["score"]
    unseen = head.score(videos[60:])
    assert spearman(unseen, scores[60:]) > 0.7
    assert np.square(unseen - scores[60:]).mean() < 0.5 * scores[60:].var()


@pytest.mark.parametrize("labels", ["rescaled", "raw"])
def test_unit_of_scores_does_not_matter_once_rescaled(labels: Any) -> None:
    videos, targets = _data(5)
    assert targets.scores is not None
    options = replace(SMALL, labels=labels, learning_rate=0.05)
    heads = [build(options, 0, "cpu") for _ in range(2)]
    heads[0].fit(videos, targets)
    heads[1].fit(videos, Targets(NO_PAIRS, targets.scores / 40 - 0.1))
    same = np.allclose(heads[1].score(videos), heads[0].score(videos) / 40 - 0.1, atol=1e-5)
    assert same == (labels == "rescaled")


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("ragged", [False, True])
def test_saved_head_is_the_same_head(variant: Variant, ragged: bool, tmp_path: Path) -> None:
    options = _options(variant)
    head, videos = _fit(options, ragged=ragged)
    head.save(tmp_path)
    again = build(options, 1, "cpu")
    again.load(tmp_path)
    assert np.array_equal(again.score(videos), head.score(videos))
    for name, curve in head.explain(videos[1]).curves.items():
        assert np.array_equal(again.explain(videos[1]).curves[name], curve)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("labels", ["rescaled", "raw"])
def test_explanation_takes_the_score_apart(variant: Variant, labels: Any) -> None:
    options = replace(_options(variant), labels=labels)
    head, videos = _fit(options, ragged=True)
    for video in videos[:3]:
        found = head.explain(video)
        assert np.array_equal(found.times, video.times)
        assert list(found.scores) == list(options.tasks)
        assert found.scores["score"] == pytest.approx(head.score([video])[0], rel=1e-6)
        for task, total in found.scores.items():
            assert found.curves[task].shape == (len(video.times),)
            assert found.curves[task].sum() == pytest.approx(total)
        if variant not in TWO_STREAMS:
            assert found.curves.keys() == found.scores.keys()
            continue
        weights = [found.curves[name] for name in ("scene_weight", "interaction_weight")]
        assert sum(weights) == pytest.approx(np.ones(len(video.times)))


def test_parts_are_explained_in_their_own_units() -> None:
    videos, targets = _data(6)
    parts = {"execution": targets.parts["execution"] + 1000, "synchronisation": np.full(6, -50.0)}
    head = build(replace(SMALL, multi_task=True, dropout=0.0), 0, "cpu")
    head.fit(videos, Targets(NO_PAIRS, targets.scores, parts))
    found = head.explain(videos[0]).scores
    assert found["execution"] == pytest.approx(1020, abs=60)
    assert found["synchronisation"] == pytest.approx(-50, abs=20)


@pytest.mark.parametrize("ragged", [False, True])
def test_embedding_is_the_mean_of_what_is_fused(ragged: bool) -> None:
    head, videos = _fit(SMALL, ragged=ragged)
    found = head.embed(videos)
    assert found is not None and found.shape == (6, HIDDEN)
    longest = videos[0].times.shape[0]
    method: Any = head.method
    seen = head._see(videos)
    for number, video in enumerate(videos):
        alone = head._see([video]).encoding.fused[0]
        assert alone.shape[0] == longest - number % 3 if ragged else longest
        assert found[number] == pytest.approx(alone.mean(dim=0).detach().numpy(), abs=1e-5)
    together = method.embed(head._trained, head._memory, seen).detach().numpy()
    assert together == pytest.approx(found, abs=1e-5)


def test_multi_task_changes_what_is_learned_and_theta_how() -> None:
    options = [
        replace(SMALL, learning_rate=0.05),
        replace(SMALL, learning_rate=0.05, multi_task=True),
        replace(SMALL, learning_rate=0.05, multi_task=True, theta=0.9),
    ]
    scores = [head.score(videos) for head, videos in map(_fit, options)]
    assert not np.allclose(scores[0], scores[1])
    assert not np.allclose(scores[1], scores[2])


CHANGED: dict[str, Any] = {
    "hidden": 4,
    "regression_hidden": 5,
    "dropout": 0.5,
    "epochs": 4,
    "batch_videos": 3,
    "learning_rate": 0.02,
    "schedule": "steps",
    "weight_decay": 0.0,
    "labels": "raw",
    "standardise": False,
}


@pytest.mark.parametrize("name", CHANGED)
def test_every_option_counts(name: str) -> None:
    base = replace(SMALL, learning_rate=0.05)
    videos, _ = _data(3)
    ours, theirs = (
        _fit(options)[0].score(videos) for options in (base, replace(base, **{name: CHANGED[name]}))
    )
    assert not np.allclose(ours, theirs)


def test_heads_trained_at_once_are_heads_trained_alone() -> None:
    options = replace(SMALL, dropout=0.2, multi_task=True, learning_rate=0.05)
    jobs, alone = [], []
    for seed, data in enumerate((_data(7, 6), _data(8, 5))):  # folds of different size
        jobs.append(Job(build(options, seed, "cpu"), *data, DEFAULT_SESSION))
        alone.append(build(options, seed, "cpu"))
        alone[-1].fit(*data)
    fit_batched(jobs)
    for job, head in zip(jobs, alone, strict=True):
        found, expected = job.head.score(job.videos), head.score(job.videos)
        assert found == pytest.approx(expected, abs=1e-4)


class _Break(Exception):
    pass


def test_interrupted_training_goes_on_to_the_same_numbers(tmp_path: Path) -> None:
    options = replace(SMALL, dropout=0.2, learning_rate=0.05, epochs=5)
    videos, targets = _data(11)
    whole, broken = build(options, 0, "cpu"), build(options, 0, "cpu")
    log = whole.fit(videos, targets)

    def stop(epoch: int, epochs: int, losses: Mapping[str, float]) -> None:
        if epoch == 4:
            raise _Break

    session = Session(checkpoint=tmp_path / "checkpoint", checkpoint_seconds=0)
    with pytest.raises(_Break):
        broken.fit(videos, targets, replace(session, on_epoch=stop))
    again = build(options, 0, "cpu")
    assert again.fit(videos, targets, session) == log
    assert np.array_equal(again.score(videos), whole.score(videos))


# Mistakes.


def _without(role: str, videos: Sequence[VideoFeatures]) -> list[VideoFeatures]:
    last = videos[-1]
    streams = {name: stream for name, stream in last.streams.items() if name != role}
    return [*videos[:-1], VideoFeatures(last.id, streams)]


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("role", WIDTHS)
def test_missing_feature_names_the_video_and_the_role(variant: Variant, role: str) -> None:
    videos, targets = _data(9)
    head = build(_options(variant), 0, "cpu")
    if variant == "scene-only" and role != "scene":
        head.fit(_without(role, videos), targets)
        return
    with pytest.raises(RecipeError, match=rf"^video 'v5' has no {role} \(.*--feature {role}=KEY$"):
        head.fit(_without(role, videos), targets)


def test_roles_are_optional_where_a_variant_works_without() -> None:
    assert {role.name for role in ROLES if role.optional} == {"primary", "secondary"}
    assert [role.name for role in AIM(Options()).roles] == ["primary", "secondary", "scene"]
    assert not any(role.optional for role in AIM(Options()).roles)
    head, videos = _fit(replace(SMALL, variant="scene-only"))
    assert np.array_equal(head.score(_without("primary", videos)), head.score(videos))


def test_without_transformation_needs_equal_widths() -> None:
    shapes = {role: (width,) for role, width in UNEQUAL.items()}
    with pytest.raises(RecipeError, match="2 channels of secondary from 3 of primary; give"):
        AIM(replace(SMALL, variant="without-transformation")).network(shapes)


def _no_scores(targets: Targets) -> Targets:
    return Targets(NO_PAIRS, None, targets.parts)


def _one_score(targets: Targets) -> Targets:
    return Targets(NO_PAIRS, np.array([np.nan] * 5 + [3.0]), targets.parts)


def _no_part(targets: Targets) -> Targets:
    return Targets(NO_PAIRS, targets.scores, {"execution": targets.parts["execution"]})


def _gap(targets: Targets) -> Targets:
    execution = targets.parts["execution"].copy()
    execution[3] = np.nan
    return Targets(NO_PAIRS, targets.scores, {**targets.parts, "execution": execution})


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (_no_scores, "0 training videos have one; fill in the manifest's column score,"),
        (_one_score, "1 training videos have one; fill in the manifest's column score,"),
        (_no_part, "video 'v0' has no synchronisation score; .* column score_synchronisation,"),
        (_gap, "video 'v3' has no execution score; .* column score_execution, or leave out"),
    ],
)
def test_missing_label_says_what_to_fill_in(
    spoil: Callable[[Targets], Targets], message: str
) -> None:
    videos, targets = _data(10)
    with pytest.raises(RecipeError, match=message) as caught:
        build(replace(SMALL, multi_task=True), 0, "cpu").fit(videos, spoil(targets))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("spoil", [_no_part, _gap])
def test_missing_part_is_no_matter_for_one_task(spoil: Callable[[Targets], Targets]) -> None:
    videos, targets = _data(10)
    head = build(SMALL, 0, "cpu")
    head.fit(videos, spoil(targets))
    assert np.isfinite(head.score(videos)).all()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("hidden", 0),
        ("regression_hidden", 0),
        ("epochs", 0),
        ("batch_videos", -1),
        ("learning_rate", 0),
        ("learning_rate", math.nan),
        ("weight_decay", -0.5),
        ("weight_decay", 1e10),
        ("dropout", 1.0),
        ("dropout", -0.1),
        ("theta", 1.5),
        ("theta", math.nan),
    ],
)
def test_option_out_of_range_is_named_with_its_value(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"^{name} is {value}; it must be"):
        Options(**{name: value})  # type: ignore[arg-type]


@pytest.mark.parametrize("variant", [v for v in VARIANTS if v not in TWO_STREAMS])
def test_one_stream_has_no_interaction_to_score(variant: Variant) -> None:
    with pytest.raises(ValueError, match=f"multi_task is true and variant is {variant}, which"):
        Options(variant=variant, multi_task=True)


def test_command_line_can_set_each_option() -> None:
    words = ["variant=without-aim", "multi_task=true", "theta=0.7", "schedule=steps", "labels=raw"]
    recipe = Recipe.make("aim", {}, "default", [0], words)
    chosen = {"variant": "without-aim", "multi_task": True, "theta": 0.7}
    assert chosen.items() <= recipe.options.items()
    with pytest.raises(RecipeError, match="choose one of: full, without-aim, without-fusion"):
        Recipe.make("aim", {}, "default", [0], ["variant=half"])
