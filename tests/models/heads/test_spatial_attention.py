import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor, nn

from aqakit.features.errors import RecipeError
from aqakit.models.data import Stream, Targets, VideoFeatures
from aqakit.models.deep import DeepHead
from aqakit.models.head import Fitting, Session
from aqakit.models.heads.spatial_attention import (
    Encoding,
    Options,
    Reading,
    SpatialAttention,
    SpatialAttentionMethod,
    Variant,
    build,
    ranking_losses,
    spread,
)
from aqakit.models.maps import upsample
from aqakit.models.members import Alone, Stacked
from aqakit.models.network import Batch, Phase

STEPS = 3
SHAPES = {"rgb": (3, 4, 5), "flow": (2, 4, 5)}
SMALL = Options(fusion=5, channels=4, hidden=3, attend=2, epochs=2, batch_pairs=4)
READINGS: tuple[Reading, ...] = get_args(Reading)
VARIANTS: tuple[Variant, ...] = get_args(Variant)
GUIDED = VARIANTS[:-1]
every_variant = pytest.mark.parametrize("variant", VARIANTS)
QUICK = settings(max_examples=10, deadline=None)
SEEDS = st.integers(0, 1000)


def _network(
    options: Options = SMALL, shapes: Mapping[str, tuple[int, ...]] = SHAPES, seed: int = 0
) -> SpatialAttention:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return SpatialAttentionMethod(options).network(shapes).double()


def _values(seed: int, videos: int, steps: int = STEPS) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {
        role: torch.randn(videos, steps, *shape, generator=generator, dtype=torch.float64)
        for role, shape in SHAPES.items()
    }


def _mask(lengths: list[int], steps: int = STEPS) -> Tensor:
    return torch.arange(steps) < torch.tensor(lengths)[:, None]


def _filled(values: dict[str, Tensor], mask: Tensor, filler: float) -> dict[str, Tensor]:
    return {
        role: torch.where(mask[..., None, None, None], each, filler)
        for role, each in values.items()
    }


def _assert_same(one: Encoding, other: Encoding) -> None:
    for name, ours, theirs in zip(Encoding._fields, one, other, strict=True):
        assert ours.shape == theirs.shape, name
        assert torch.allclose(ours, theirs, rtol=1e-10, atol=1e-10), name


# The network against the paper, step by step and place by place.


class Plain:
    """One video through the equations, with loops over steps, places and channels."""

    def __init__(self, network: SpatialAttention, options: Options) -> None:
        self.w = {name: value.detach() for name, value in network.named_parameters()}
        self.options = options
        self.stride = 2 if options.reading == "released" else 1

    def unit(self, name: str, inputs: Tensor, state: Tensor) -> Tensor:
        weights = {n.split(".")[-1]: v for n, v in self.w.items() if n.startswith(f"{name}.")}
        cell = nn.GRUCell(weights["weight_ih"].shape[1], state.numel()).double()
        cell.load_state_dict(weights)
        after: Tensor = cell(inputs[None], state[None])[0]
        return after.detach()

    def linear(self, name: str, inputs: Tensor) -> Tensor:
        bias = self.w.get(f"{name}.bias", torch.zeros(()))
        return self.w[f"{name}.weight"] @ inputs + bias

    def normalised(self, name: str, inputs: Tensor) -> Tensor:
        if self.options.reading == "paper":
            return inputs
        centred = inputs - inputs.mean()
        scaled = centred / (centred.square().mean() + 1e-5).sqrt()
        return scaled * self.w[f"{name}.weight"] + self.w[f"{name}.bias"]

    def fused(self, rgb: Tensor, flow: Tensor) -> tuple[list[Tensor], tuple[int, int]]:
        """Equation 1: C values of each place, row by row."""
        maps = torch.cat([rgb, flow])
        height = (maps.shape[1] - 2) // self.stride + 1
        width = (maps.shape[2] - 2) // self.stride + 1
        places = []
        for row in range(height):
            for column in range(width):
                top, left = row * self.stride, column * self.stride
                patch = maps[:, top : top + 2, left : left + 2]
                hidden = torch.stack([(kernel * patch).sum() for kernel in self.w["first.weight"]])
                hidden = (hidden + self.w["first.bias"]).clamp(min=0)
                kernels = self.w["second.weight"][:, :, 0, 0]
                places.append(kernels @ hidden + self.w["second.bias"])
        return places, (height, width)

    def guided(
        self, places: list[Tensor], skill: Tensor, state: Tensor
    ) -> tuple[list[Tensor], list[float], Tensor]:
        """Equations 2 to 6."""
        stacked = torch.stack(places)
        looks_at = []
        if self.options.variant != "skill-state":
            pooled = stacked.mean(0) + stacked.max(0).values
            looks_at.append(self.normalised("attention.map_norm", pooled))
        if self.options.variant != "low-level":
            looks_at.append(self.normalised("attention.state_norm", skill))
        seen = torch.cat(looks_at)
        if self.options.variant == "without-attention-gru":
            state = self.linear("attention.unit", seen)
        else:
            state = self.unit("attention.unit", seen, state)
        logits = []
        for place in places:
            of_place = self.linear("attention.of_place", place)
            energy = (of_place + self.linear("attention.of_state", state)).tanh()
            logits.append(float(self.linear("attention.weigh", energy)))
        return places, _softmax(logits), state

    def convolutional(
        self, places: list[Tensor], size: tuple[int, int]
    ) -> tuple[list[Tensor], list[float]]:
        """Woo et al., equations 2 and 3, with a softmax in place of the last sigmoid."""
        stacked = torch.stack(places)
        both = []
        for pooled in (stacked.mean(0), stacked.max(0).values):
            narrow = self.linear("attention.narrow", pooled).clamp(min=0)
            both.append(self.linear("attention.widen", narrow))
        refined = [place * (both[0] + both[1]).sigmoid() for place in places]
        kernel, logits = self.w["attention.place.weight"][0], []
        for row in range(size[0]):
            for column in range(size[1]):
                total = 0.0
                for number, place in enumerate(refined):
                    down = number // size[1] - row + 3
                    right = number % size[1] - column + 3
                    if 0 <= down < 7 and 0 <= right < 7:
                        total += float(kernel[0, down, right] * place.mean())
                        total += float(kernel[1, down, right] * place.max())
                logits.append(total)
        return refined, _softmax(logits)

    def video(self, rgb: Tensor, flow: Tensor) -> Encoding:
        """Equations 7 to 9."""
        skill = torch.zeros(self.options.hidden, dtype=torch.float64)
        state, so_far, attention = skill, [], []
        for one_rgb, one_flow in zip(rgb, flow, strict=True):
            places, size = self.fused(one_rgb, one_flow)
            if self.options.variant == "cbam":
                places, weights = self.convolutional(places, size)
            else:
                places, weights, state = self.guided(places, skill, state)
            attended = torch.zeros_like(places[0])
            for weight, place in zip(weights, places, strict=True):
                attended = attended + weight * place
            skill = self.unit("skill", attended, skill)
            so_far.append(self.linear("score", skill)[0])
            attention.append(torch.tensor(weights, dtype=torch.float64).view(size))
        return Encoding(so_far[-1], skill, torch.stack(so_far), torch.stack(attention))


def _softmax(logits: list[float]) -> list[float]:
    weights = np.exp(logits)
    return list(weights / weights.sum())


@every_variant
@pytest.mark.parametrize("reading", READINGS)
@pytest.mark.parametrize("lengths", [None, [STEPS, 1]])
def test_network_is_that_of_the_paper(
    variant: Variant, reading: Reading, lengths: list[int] | None
) -> None:
    options = replace(SMALL, variant=variant, reading=reading)
    network, values = _network(options), _values(1, 2)
    for parameter in network.parameters():
        parameter.requires_grad_(False).mul_(2)  # away from where all functions are straight
    mask = None if lengths is None else _mask(lengths)
    encoding = network.encode(Batch(values, mask), {})
    for video, length in enumerate(lengths or [STEPS] * 2):
        expected = Plain(network, options).video(
            values["rgb"][video, :length], values["flow"][video, :length]
        )
        _assert_same(
            Encoding(
                encoding.scores[video],
                encoding.skill[video],
                encoding.so_far[video, :length],
                encoding.attention[video, :length],
            ),
            expected,
        )
        assert not encoding.attention[video, length:].any()
        assert (encoding.so_far[video, length:] == encoding.scores[video]).all()


@pytest.mark.parametrize("role", SHAPES)
def test_one_stream_is_enough(role: str) -> None:
    network, values = _network(shapes={role: SHAPES[role]}), _values(2, 1)
    assert network.first.in_channels == SHAPES[role][0]
    # The other stream, of zeros, adds nothing.
    both = _network()
    for name, value in network.named_parameters():
        if name != "first.weight":
            both.get_parameter(name).data.copy_(value)
    weight = torch.zeros_like(both.first.weight)
    own = slice(0, 3) if role == "rgb" else slice(3, 5)
    weight[:, own] = network.first.weight.detach()
    both.first.weight.data.copy_(weight)
    _assert_same(network.encode(Batch({role: values[role]}), {}), both.encode(Batch(values), {}))


def test_order_in_which_streams_are_named_changes_nothing() -> None:
    turned = _network(shapes=dict(reversed(SHAPES.items())))
    values = _values(3, 2)
    _assert_same(
        _network().encode(Batch(values), {}),
        turned.encode(Batch(dict(reversed(values.items()))), {}),
    )


def test_sizes_are_those_of_section_3_5() -> None:
    with torch.device("meta"):
        network = SpatialAttention({"rgb": (2048, 14, 14), "flow": (2048, 14, 14)}, Options())
    shapes = {name: tuple(value.shape) for name, value in network.named_parameters()}
    assert shapes["first.weight"] == (512, 4096, 2, 2)
    assert shapes["second.weight"] == (256, 512, 1, 1)
    assert shapes["attention.unit.weight_hh"] == shapes["skill.weight_hh"] == (3 * 128, 128)
    assert shapes["attention.unit.weight_ih"] == (3 * 128, 256 + 128)
    assert shapes["attention.weigh.weight"] == (1, 32)
    assert shapes["attention.of_place.weight"] == (32, 256)  # of the channels, not 512
    assert shapes["attention.of_state.weight"] == (32, 128)
    assert "attention.weigh.bias" not in shapes


@pytest.mark.parametrize(("reading", "side"), [("paper", 13), ("released", 7)])
def test_fused_map_has_the_size_of_its_reading(reading: Reading, side: int) -> None:
    shapes = {"flow": (1, 14, 14)}
    network = _network(replace(SMALL, reading=reading), shapes)
    maps = torch.randn(1, 2, 1, 14, 14, dtype=torch.float64)
    assert network.encode(Batch({"flow": maps}), {}).attention.shape == (1, 2, side, side)


@pytest.mark.parametrize("variant", GUIDED)
@pytest.mark.parametrize("reading", READINGS)
def test_each_variant_sees_what_it_should(variant: Variant, reading: Reading) -> None:
    network = _network(replace(SMALL, variant=variant, reading=reading))
    _, all_steps = network.attention.prepare(network.fuse(_values(4, 1)))
    prepared = [each[:, 0] for each in all_steps]
    generator = torch.Generator().manual_seed(0)
    skill, state, other = torch.randn(3, 1, 3, generator=generator, dtype=torch.float64)
    pooled = torch.randn(1, 4, generator=generator, dtype=torch.float64)

    def moves(*changed: Any) -> bool:
        before = network.attention.step(prepared, skill, state)
        after = network.attention.step(*changed)
        return not torch.allclose(before[0], after[0], rtol=1e-6, atol=0)

    assert moves([pooled, prepared[1]], skill, state) == (variant != "skill-state")
    assert moves(prepared, other, state) == (variant != "low-level")
    assert moves(prepared, skill, other) == (variant != "without-attention-gru")
    assert moves([prepared[0], prepared[1].flip(1)], skill, state)


@pytest.mark.parametrize("reading", READINGS)
def test_cbam_looks_at_one_map_alone(reading: Reading) -> None:
    network, values = _network(replace(SMALL, variant="cbam", reading=reading)), _values(5, 1)
    alone = [
        network.encode(Batch({role: v[:, t : t + 1] for role, v in values.items()}), {}).attention
        for t in range(STEPS)
    ]
    together = network.encode(Batch(values), {}).attention
    torch.testing.assert_close(together, torch.cat(alone, dim=1), rtol=1e-10, atol=1e-10)
    guided = _network(replace(SMALL, reading=reading)).encode(Batch(values), {}).attention
    shortened = {role: v[:, 1:] for role, v in values.items()}
    later = _network(replace(SMALL, reading=reading)).encode(Batch(shortened), {}).attention
    assert not torch.allclose(guided[:, 1:], later)


@every_variant
def test_recurrent_units_begin_orthogonal(variant: Variant) -> None:
    network = _network(replace(SMALL, hidden=8, variant=variant))
    names = {n for n, _ in network.named_parameters() if re.search(r"weight_[ih]h$", n)}
    recurs = variant in ("full", "low-level", "skill-state")
    assert len(names) == (4 if recurs else 2)
    for name in names:
        weight = network.get_parameter(name).detach()
        tall = weight if weight.shape[0] > weight.shape[1] else weight.T
        eye = torch.eye(tall.shape[1], dtype=torch.float64)
        torch.testing.assert_close(tall.T @ tall, eye, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("variant", "reading"), [*((variant, "paper") for variant in VARIANTS), ("full", "released")]
)
def test_gradients_of_network_and_loss(variant: Variant, reading: Reading) -> None:
    options = replace(SMALL, fusion=3, channels=2, hidden=2, variant=variant, reading=reading)
    network = _network(options, seed=1)
    batch = Batch(_values(6, 2, 2), _mask([1, 2], 2))
    positions = torch.tensor([[0, 1], [1, 0]])
    names, values = zip(*network.named_parameters(), strict=True)

    def terms(called: SpatialAttention) -> tuple[Tensor, ...]:
        encoding = called.encode(batch, {})
        return (ranking_losses(encoding, positions, 0.5)["ranking"], *encoding)

    def run(*parameters: Tensor) -> tuple[Tensor, ...]:
        state = dict(zip(names, parameters, strict=True))
        found: tuple[Tensor, ...] = torch.func.functional_call(network, state, (terms,))
        return found

    assert (terms(network)[0] > 0).all()
    assert torch.autograd.gradcheck(run, values)


# Properties.


@every_variant
@given(seed=SEEDS, order=st.permutations(range(4)), first=st.integers(1, 3))
@QUICK
def test_videos_do_not_see_each_other(
    variant: Variant, seed: int, order: list[int], first: int
) -> None:
    network, values = _network(replace(SMALL, variant=variant)), _values(seed, 4)
    mask = _mask([3, 1, 2, 3])
    encoding = network.encode(Batch(values, mask), {})
    moved = Batch({role: each[order] for role, each in values.items()}, mask[order])
    _assert_same(network.encode(moved, {}), Encoding(*(each[order] for each in encoding)))
    parts = [
        network.encode(Batch({role: v[part] for role, v in values.items()}, mask[part]), {})
        for part in (slice(first), slice(first, 4))
    ]
    _assert_same(Encoding(*(torch.cat(each) for each in zip(*parts, strict=True))), encoding)


@every_variant
@given(seed=SEEDS, more=st.integers(0, 3), filler=st.floats(-1e3, 1e3))
@QUICK
def test_padding_changes_nothing(variant: Variant, seed: int, more: int, filler: float) -> None:
    network = _network(replace(SMALL, variant=variant))
    values = _values(seed, 2, STEPS + more)
    mask = _mask([STEPS, 2], STEPS + more)
    padded = network.encode(Batch(_filled(values, mask, filler), mask), {})
    for video, length in enumerate([STEPS, 2]):
        own = {role: each[video : video + 1, :length] for role, each in values.items()}
        alone = network.encode(Batch(own), {})
        place = slice(video, video + 1)
        cut = padded.so_far[place, :length], padded.attention[place, :length]
        _assert_same(Encoding(padded.scores[place], padded.skill[place], *cut), alone)


@every_variant
@given(seed=SEEDS)
@QUICK
def test_weights_sum_to_1_over_the_places_of_a_step(variant: Variant, seed: int) -> None:
    attention = _network(replace(SMALL, variant=variant)).encode(Batch(_values(seed, 2)), {})[3]
    assert attention.shape == (2, STEPS, 3, 4)
    assert (attention > 0).all()
    torch.testing.assert_close(attention.sum(dim=(2, 3)), torch.ones(2, STEPS).double())


@every_variant
@pytest.mark.parametrize("reading", READINGS)
@pytest.mark.parametrize("masked", [False, True])
def test_many_members_at_once_give_what_each_gives_alone(
    variant: Variant, reading: Reading, masked: bool
) -> None:
    options = replace(SMALL, variant=variant, reading=reading)
    networks = [_network(options, seed=seed) for seed in range(3)]
    batches = [Batch(_values(seed, 4), _mask([3, seed + 1, 2, 3])) for seed in range(3)]
    positions = torch.tensor([[0, 1], [2, 3], [3, 1]])
    labels = torch.zeros(3, 0)
    (phase,) = _stages(options)[0].phases
    together = Batch(
        {role: torch.stack([batch.values[role] for batch in batches]) for role in SHAPES},
        torch.stack([batch.mask for batch in batches if batch.mask is not None]),
    )
    if not masked:
        batches = [Batch(batch.values) for batch in batches]
        together = Batch(together.values)
    stacked = Stacked(networks)
    encoding = stacked.encode(together, {})
    losses = _losses(
        stacked, phase, together, encoding, positions.expand(3, 3, 2), labels.expand(3, 3, 0)
    )
    losses.sum().backward()
    for member, (network, batch) in enumerate(zip(networks, batches, strict=True)):
        alone = Alone(network)
        own = alone.encode(batch, {})
        _assert_same(Encoding(*(each[member] for each in encoding)), own)
        terms = _losses(alone, phase, batch, own, positions, labels)
        torch.testing.assert_close(losses[member], terms[0], rtol=1e-10, atol=1e-10)
        terms.sum().backward()
        for name, parameter in network.named_parameters():
            gradient = stacked.parameters[name].grad
            assert gradient is not None and parameter.grad is not None, name
            torch.testing.assert_close(gradient[member], parameter.grad, rtol=1e-9, atol=1e-10)


def _losses(
    members: Alone | Stacked,
    phase: Phase,
    batch: Batch,
    encoding: Any,
    positions: Tensor,
    labels: Tensor,
) -> Tensor:
    return members.losses(phase, batch, encoding, positions, labels)["ranking"]


# Loss and training.


def test_loss_is_equation_11() -> None:
    scores = torch.tensor([0.4, 0.1, 0.9, -0.2], dtype=torch.float64)
    encoding = Encoding(scores, *(torch.zeros(0) for _ in range(3)))
    positions = torch.tensor([[2, 0], [2, 3], [1, 2], [0, 0]])
    terms = ranking_losses(encoding, positions, 0.6)
    expected = [
        max(0.0, -float(scores[better]) + float(scores[worse]) + 0.6)
        for better, worse in positions.tolist()
    ]
    assert list(terms) == ["ranking"]
    assert terms["ranking"].tolist() == pytest.approx(expected)
    assert expected[1] == 0 < min(expected[0], expected[2], expected[3])


def _stages(options: Options) -> Any:
    pairs = _all_pairs(4)
    rng = np.random.default_rng(0)
    return SpatialAttentionMethod(options).stages(_videos(0, 4), Targets(pairs), rng)


def test_training_is_that_of_section_3_5() -> None:
    (stage,) = _stages(Options())
    (phase,) = stage.phases
    assert stage.examples.tolist() == _all_pairs(4).tolist()
    assert stage.labels.shape == (6, 0)
    schedule = stage.schedule
    assert (schedule.epochs, schedule.batch, schedule.vary) == (30, 16, True)
    assert {phase.rate(epoch) for epoch in range(30)} == {1e-3}
    optimiser = phase.optimiser([nn.Parameter(torch.ones(1))])
    assert isinstance(optimiser, torch.optim.SGD)
    group = optimiser.param_groups[0]
    found = {name: group[name] for name in ("lr", "momentum", "weight_decay", "dampening")}
    assert found == {"lr": 1e-3, "momentum": 0.9, "weight_decay": 1e-3, "dampening": 0}
    assert not group["nesterov"]


def test_options_reach_training() -> None:
    options = replace(
        SMALL, epochs=7, batch_pairs=3, learning_rate=0.2, momentum=0.1, weight_decay=0.3
    )
    (stage,) = _stages(options)
    assert (stage.schedule.epochs, stage.schedule.batch) == (7, 3)
    group = stage.phases[0].optimiser([nn.Parameter(torch.ones(1))]).param_groups[0]
    assert (group["lr"], group["momentum"], group["weight_decay"]) == (0.2, 0.1, 0.3)
    assert stage.phases[0].rate(5) == 0.2
    encoding = Encoding(torch.zeros(2), *(torch.zeros(0) for _ in range(3)))
    for margin in (0.5, 0.8):
        (wide,) = _stages(replace(SMALL, margin=margin))
        losses = wide.phases[0].losses(
            None, Batch({}), encoding, torch.tensor([[0, 1]]), torch.zeros(1, 0)
        )
        assert losses["ranking"].tolist() == pytest.approx([margin])


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        *(
            ({name: 0}, f"{name} is 0; it must be at least 1")
            for name in ("fusion", "channels", "hidden", "attend", "epochs", "batch_pairs")
        ),
        *(
            ({name: value}, rf"{name} is {re.escape(str(value))}; it must be from 0 to 1e\+09")
            for name in ("learning_rate", "weight_decay", "margin")
            for value in (-0.1, float("nan"), float("inf"))
        ),
        ({"learning_rate": 0.0}, "learning_rate is 0; it must be positive"),
        *(
            ({"momentum": value}, f"momentum is {value}; it must be from 0 to less than 1")
            for value in (-0.1, 1.0, float("nan"))
        ),
    ],
)
def test_options_out_of_range_are_refused(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Options(**changed)


# The head.


def _times(steps: int) -> NDArray[np.float64]:
    starts = np.arange(steps, dtype=np.float64)
    return np.stack([starts, starts + 0.5, starts + 1], axis=1)


def _video(
    name: str, rng: np.random.Generator, steps: int, alternatives: int, dtype: str = "f4"
) -> VideoFeatures:
    rows = steps * alternatives
    streams = {
        role: Stream(
            rng.normal(size=(rows, *shape)).astype(dtype),
            _times(steps).repeat(alternatives, axis=0),
            alternatives,
        )
        for role, shape in SHAPES.items()
    }
    return VideoFeatures(name, streams)


def _videos(
    seed: int, count: int, steps: int = STEPS, alternatives: int = 1, dtype: str = "f4"
) -> list[VideoFeatures]:
    rng = np.random.default_rng(seed)
    return [_video(f"v{number}", rng, steps, alternatives, dtype) for number in range(count)]


def _all_pairs(count: int) -> NDArray[np.int64]:
    """The first video is the best, the last the worst."""
    return np.stack(np.triu_indices(count, 1), axis=1)


def _changed(video: VideoFeatures, change: Callable[[NDArray[Any]], NDArray[Any]]) -> VideoFeatures:
    return VideoFeatures(
        video.id,
        {
            role: Stream(change(stream.values), stream.times, stream.alternatives)
            for role, stream in video.streams.items()
        },
    )


def _fitted(
    options: Options = SMALL, videos: list[VideoFeatures] | None = None, seed: int = 0
) -> DeepHead:
    head = build(options, seed, "cpu")
    videos = videos or _videos(0, 4)
    head.fit(videos, Targets(_all_pairs(len(videos))))
    return head


def test_standardised_maps_may_have_any_unit() -> None:
    videos = _videos(0, 4)
    in_other_units = [
        replace(
            video,
            streams={
                role: replace(stream, values=stream.values * 1000 + 7)
                for role, stream in video.streams.items()
            },
        )
        for video in videos
    ]
    options = replace(SMALL, standardise=True)
    scores = _fitted(options, videos).score(videos)
    others = _fitted(options, in_other_units).score(in_other_units)
    np.testing.assert_allclose(others, scores, rtol=1e-2, atol=1e-3)
    assert not np.allclose(_fitted(SMALL, videos).score(videos), scores, atol=1e-3)


def test_a_test_sees_the_last_alternative_and_training_sees_all() -> None:
    videos = _videos(0, 4, alternatives=3)

    def last_alone(values: NDArray[Any]) -> NDArray[Any]:
        kept = values.copy()
        kept[np.arange(len(values)) % 3 != 2] = 0
        return kept

    head, cut = _fitted(videos=videos), [_changed(video, last_alone) for video in videos]
    np.testing.assert_array_equal(head.score(videos), head.score(cut))
    single = [
        VideoFeatures(v.id, {r: Stream(s.step_values, s.step_times) for r, s in v.streams.items()})
        for v in videos
    ]
    np.testing.assert_array_equal(head.score(videos), head.score(single))
    assert not np.allclose(head.score(videos), _fitted(videos=cut).score(videos), rtol=1e-4)


@every_variant
@pytest.mark.parametrize("reading", READINGS)
def test_explanation_tells_what_made_the_score(variant: Variant, reading: Reading) -> None:
    head = _fitted(replace(SMALL, variant=variant, reading=reading))
    (video,) = _videos(7, 1, steps=5)
    explanation = head.explain(video)
    np.testing.assert_array_equal(explanation.times, video.times)
    so_far, attention = explanation.curves["score_so_far"], explanation.maps["attention"]
    assert so_far.shape == (5,)
    assert explanation.scores == {"score": pytest.approx(head.score([video])[0])}
    for end in range(1, 6):
        cut = VideoFeatures(
            "cut", {r: Stream(s.values[:end], s.times[:end]) for r, s in video.streams.items()}
        )
        assert so_far[end - 1] == pytest.approx(head.score([cut])[0], rel=1e-4)
    assert attention.shape == (5, 4, 5)
    assert attention.dtype == np.float64
    np.testing.assert_allclose(attention.sum(axis=(1, 2)), 1, rtol=1e-5)
    assert (attention[:, :, :4] > 0).all()
    # Windows that move by 2 leave out the last of 5 columns.
    assert (attention[:, :, 4] > 0).all() == (reading == "paper")


@every_variant
def test_loaded_head_gives_the_same_scores(tmp_path: Path, variant: Variant) -> None:
    options = replace(SMALL, variant=variant)
    head, again = _fitted(options), build(options, 1, "cpu")
    head.save(tmp_path)
    again.load(tmp_path)
    videos = _videos(9, 3)
    np.testing.assert_array_equal(head.score(videos), again.score(videos))


def test_loading_into_other_options_is_told_in_one_line(tmp_path: Path) -> None:
    _fitted().save(tmp_path)
    with pytest.raises(RecipeError, match="does not hold this head .*; train it again") as caught:
        build(replace(SMALL, variant="cbam"), 0, "cpu").load(tmp_path)
    assert "\n" not in str(caught.value)


def test_embedding_is_what_the_score_is_read_from() -> None:
    head, videos = _fitted(), _videos(9, 3)
    embedding = head.embed(videos)
    assert embedding is not None and embedding.shape == (3, SMALL.hidden)
    weights = head._trained.state_dict()
    scores = embedding @ weights["score.weight"][0].numpy() + weights["score.bias"].numpy()
    np.testing.assert_allclose(scores, head.score(videos), rtol=1e-5)


def test_the_seed_makes_every_number() -> None:
    videos = _videos(9, 3, alternatives=2)
    first, again, other = (_fitted(videos=videos, seed=seed).score(videos) for seed in (3, 3, 4))
    np.testing.assert_array_equal(first, again)
    assert not np.allclose(first, other)


def test_stored_half_precision_is_computed_in_single_precision() -> None:
    half = _videos(0, 4, dtype="f2")
    single = [_changed(video, lambda values: values.astype("f4")) for video in half]
    np.testing.assert_array_equal(
        _fitted(videos=half).score(half), _fitted(videos=single).score(single)
    )


def test_training_in_half_precision_stays_close() -> None:
    videos, scores = _videos(0, 4), []
    options = replace(SMALL, hidden=16, channels=16, fusion=16)
    for fitting in (Fitting(), Fitting(precision="bfloat16")):
        head = build(options, 0, "cpu")
        log = head.fit(videos, Targets(_all_pairs(4)), Session(fitting=fitting))
        assert np.isfinite([epoch["ranking"] for epoch in log]).all()
        scores.append(head.score(videos))
    np.testing.assert_allclose(scores[0], scores[1], atol=0.02)
    assert not np.array_equal(scores[0], scores[1])


def _without(role: str, video: VideoFeatures) -> VideoFeatures:
    return VideoFeatures(video.id, {r: s for r, s in video.streams.items() if r != role})


def _told(videos: list[VideoFeatures], pairs: NDArray[np.int64] | None = None) -> str:
    with pytest.raises(RecipeError) as caught:
        build(SMALL, 0, "cpu").fit(videos, Targets(_all_pairs(4) if pairs is None else pairs))
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_missing_labels_and_features_are_told_in_one_line() -> None:
    videos = _videos(0, 4)
    assert "no pair of two training videos" in _told(videos, np.zeros((0, 2), np.int64))
    other = [VideoFeatures(v.id, {"pose": v.streams["rgb"]}) for v in videos]
    assert "'v0' has none of rgb, flow" in _told(other)
    assert "'v2'" in _told([*videos[:2], _without("flow", videos[2]), videos[3]])
    flat = [_changed(v, lambda values: values.mean(axis=(2, 3))) for v in videos]
    assert "'v0' has shape (3, 3); this head needs maps" in _told(flat)


def test_maps_that_do_not_fit_are_told_in_one_line() -> None:
    videos = _videos(0, 4)
    narrow = [
        VideoFeatures(
            v.id,
            {
                "rgb": v.streams["rgb"],
                "flow": Stream(v.streams["flow"].values[..., :3], v.times),
            },
        )
        for v in videos
    ]
    assert "(rgb 4 x 5 and flow 4 x 3); give spatial-attention two features" in _told(narrow)
    thin = [_changed(v, lambda values: values[..., :1]) for v in videos]
    assert "the maps of rgb are 4 x 1; spatial-attention needs" in _told(thin)


# Of 3 x 4 x 4 places one, marked in the first channel, shows how well a video does in the second, in
# which the other places hold noise of the same size.
PLANTED = Options(
    fusion=16, channels=8, hidden=8, attend=8, epochs=10, learning_rate=0.1, weight_decay=1e-4
)


def _planted(seed: int, count: int) -> tuple[list[VideoFeatures], NDArray[np.float64]]:
    rng = np.random.default_rng(seed)
    skill = rng.normal(size=count)
    videos = []
    for number in range(count):
        values = np.zeros((3, 2, 4, 4), dtype=np.float32)
        values[:, 1] = rng.normal(size=(3, 4, 4))
        row, column = rng.integers(4, size=(2, 3))
        values[range(3), 0, row, column] = 2
        values[range(3), 1, row, column] = skill[number]
        videos.append(VideoFeatures(f"v{number}", {"flow": Stream(values, _times(3))}))
    return videos, skill


def test_skill_at_one_place_is_learned_and_attention_finds_it() -> None:
    videos, skill = _planted(0, 60)
    pairs = np.random.default_rng(0).permutation(_all_pairs(60))[:400]
    reverse = skill[pairs[:, 0]] < skill[pairs[:, 1]]
    pairs[reverse] = pairs[reverse, ::-1]
    head = build(PLANTED, 0, "cpu")
    head.fit(videos, Targets(pairs))
    videos, skill = _planted(100, 30)
    better, worse = _all_pairs(30).T
    scores = head.score(videos)
    assert ((scores[better] > scores[worse]) == (skill[better] > skill[worse])).mean() > 0.85
    shares = []
    for video in videos:
        attention = head.explain(video).maps["attention"]
        shares.append(attention[video.main.values[:, 0] > 0].sum() / len(attention))
    # Weights are shared out over windows of 2 x 2: a quarter is the most that one place can have.
    assert np.mean(shares) > 2 / 16


# Maps in the frame.


@pytest.mark.parametrize("stride", [1, 2])
@given(seed=SEEDS, height=st.integers(2, 7), width=st.integers(2, 7))
@QUICK
def test_weights_are_shared_out_among_the_places_that_they_see(
    stride: int, seed: int, height: int, width: int
) -> None:
    rows, columns = (height - 2) // stride + 1, (width - 2) // stride + 1
    attention = torch.rand(2, rows, columns, generator=torch.Generator().manual_seed(seed))
    expected = torch.zeros(2, height, width)
    for row in range(rows):
        for column in range(columns):
            top, left = row * stride, column * stride
            expected[:, top : top + 2, left : left + 2] += attention[:, row, column, None, None] / 4
    found = spread(attention, (height, width), stride)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(found.sum(dim=(1, 2)), attention.sum(dim=(1, 2)))


def _middle(picture: NDArray[np.float64]) -> tuple[float, float]:
    """Centre of mass in pixels; that of the first pixel is 0.5."""
    down, right = (np.arange(size) + 0.5 for size in picture.shape)
    total = picture.sum()
    return float(picture.sum(axis=1) @ down / total), float(picture.sum(axis=0) @ right / total)


@pytest.mark.parametrize("size", [(448, 448), (240, 426), (14, 14), (100, 333)])
@pytest.mark.parametrize("place", [(6, 6), (2, 11), (10, 3)])
def test_a_cell_of_the_fused_map_ends_up_where_it_looked(
    size: tuple[int, int], place: tuple[int, int]
) -> None:
    attention = torch.zeros(1, 13, 13, dtype=torch.float64)
    attention[0, *place] = 1
    (frame,) = upsample(spread(attention, (14, 14), 1).numpy(), size)
    # It sees the places `place` and `place + 1`, between which it lies.
    expected = [(p + 1) / 14 * side for p, side in zip(place, size, strict=True)]
    assert _middle(frame) == pytest.approx(expected, abs=0.5)


@pytest.mark.parametrize("reading", READINGS)
@pytest.mark.parametrize("place", [(7, 7), (2, 11), (9, 4)])
def test_a_hot_spot_ends_up_at_its_place_in_the_frame(
    reading: Reading, place: tuple[int, int]
) -> None:
    """Attention made to follow one channel, of a picture that has it at one place of 14 x 14."""
    options = replace(SMALL, reading=reading, fusion=1, channels=1, attend=1)
    network = _network(options, {"rgb": (1, 14, 14)}).requires_grad_(False)
    for parameter in network.parameters():
        parameter.zero_()
    network.first.weight.fill_(1)
    network.second.weight.fill_(1)
    network.attention.get_parameter("of_place.weight").fill_(1)
    network.attention.get_parameter("weigh.weight").fill_(30)
    maps = torch.zeros(1, 1, 1, 14, 14, dtype=torch.float64)
    maps[..., place[0], place[1]] = 5
    attention = network.encode(Batch({"rgb": maps}), {}).attention[0]
    (frame,) = upsample(spread(attention, (14, 14), network.stride).numpy(), (448, 448))
    down, right = _middle(frame)
    # Windows that move by 1 lie evenly around the spot; one that moves by 2 holds it somewhere.
    slack = 1.0 if reading == "paper" else 16.5
    assert down == pytest.approx((place[0] + 0.5) * 32, abs=slack)
    assert right == pytest.approx((place[1] + 0.5) * 32, abs=slack)
    assert frame[place[0] * 32 + 16, place[1] * 32 + 16] == pytest.approx(frame.max(), rel=0.05)
