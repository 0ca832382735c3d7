"""The blocked product of all filters against plain layers, forward and backward."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.func import functional_call, grad, stack_module_state, vmap
from torch.nn import functional

from aqakit.models import filters
from aqakit.models.filters import AttentionFilters, attention_over_time, filter_outputs


def made(seed: int, filters_: int, hidden: int, channels: int) -> tuple[Tensor, ...]:
    generator = torch.Generator().manual_seed(seed)
    shapes = [(filters_ * hidden, channels), (filters_ * hidden,), (filters_, hidden)]
    return tuple(
        torch.randn(shape, generator=generator, dtype=torch.float64, requires_grad=True)
        for shape in shapes
    )


def plain(features: Tensor, weight: Tensor, bias: Tensor, read: Tensor) -> Tensor:
    """Filter by filter, as the paper draws it."""
    hidden = read.shape[1]
    outputs = []
    for number, second in enumerate(read):
        own = slice(number * hidden, (number + 1) * hidden)
        outputs.append(
            functional.relu(functional.linear(features, weight[own], bias[own])) @ second
        )
    return torch.stack(outputs, dim=-1)


@given(
    st.integers(0, 999), st.integers(1, 4), st.integers(1, 5), st.integers(1, 6), st.integers(1, 9)
)
def test_values_and_gradients_are_those_of_plain_layers(
    seed: int, videos: int, filters_: int, hidden: int, segments: int
) -> None:
    features = torch.randn(videos, segments, 3, dtype=torch.float64)
    parameters = made(seed, filters_, hidden, 3)
    for function in (filter_outputs, plain):
        function(features, *parameters).sin().sum().backward()
        if function is filter_outputs:
            ours = [parameter.grad for parameter in parameters]
            for parameter in parameters:
                parameter.grad = None
    torch.testing.assert_close(filter_outputs(features, *parameters), plain(features, *parameters))
    for own, parameter in zip(ours, parameters, strict=True):
        torch.testing.assert_close(own, parameter.grad)


def test_the_size_of_a_block_makes_no_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    features = torch.randn(5, 7, 3, dtype=torch.float64)
    parameters = made(0, 2, 4, 3)
    found = []
    for rows in (1, 4, 100):
        monkeypatch.setitem(filters._ROWS, "cpu", rows)
        outputs = filter_outputs(features, *parameters)
        found.append([outputs, *torch.autograd.grad(outputs.cos().sum(), parameters)])
    for other in found[1:]:
        for one, two in zip(found[0], other, strict=True):
            torch.testing.assert_close(one, two)


def test_gradcheck() -> None:
    features = torch.randn(2, 3, 4, dtype=torch.float64)
    assert torch.autograd.gradcheck(
        lambda *parameters: filter_outputs(features, *parameters), made(1, 2, 3, 4)
    )


def test_nothing_is_kept_without_gradients() -> None:
    features = torch.randn(2, 3, 4, dtype=torch.float64)
    with torch.no_grad():
        assert not filter_outputs(features, *made(1, 2, 3, 4)).requires_grad


@pytest.mark.parametrize("wanted", [False, True])
def test_one_byte_a_hidden_unit_is_kept_for_gradients(wanted: bool) -> None:
    features = torch.randn(2, 3, 4, dtype=torch.float64)
    parameters = [each.detach().requires_grad_(wanted) for each in made(1, 2, 5, 4)]
    outputs, active = filters._outputs(features.flatten(0, 1), *parameters)
    assert outputs.requires_grad == wanted
    assert active.dtype == torch.bool
    assert active.shape == (6 if wanted else 0, 10)


# Many members at once.


def networks(members: int, dtype: torch.dtype = torch.float64) -> list[AttentionFilters]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(2)
        return [AttentionFilters(4, 2, 3).to(dtype) for _ in range(members)]


def of_members(own: list[AttentionFilters], features: Tensor, shared: bool = False) -> Tensor:
    """Outputs of all at once; their parameters get the gradients."""
    parameters = {
        name: torch.stack([network.get_parameter(name) for network in own])
        for name, _ in own[0].named_parameters()
    }

    def one(state: dict[str, Tensor], part: Tensor) -> Tensor:
        outputs: Tensor = functional_call(own[0], state, (part,))
        return outputs

    outputs: Tensor = vmap(one, in_dims=(0, None if shared else 0))(parameters, features)
    return outputs


def gradients_of(outputs: Tensor, own: list[AttentionFilters]) -> list[Tensor]:
    parameters = [p for network in own for p in network.parameters()]
    return list(torch.autograd.grad(outputs.sin().sum(), parameters))


@settings(deadline=None)
@given(st.integers(1, 4), st.integers(1, 3), st.integers(1, 5), st.sampled_from([1, 4, 9, 999]))
def test_members_at_once_are_those_one_by_one(
    members: int, videos: int, segments: int, rows: int
) -> None:
    own = networks(members)
    features = torch.randn(members, videos, segments, 4, dtype=torch.float64)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(filters._ROWS, "cpu", rows)
        together = of_members(own, features)
        found = gradients_of(together, own)
    alone = torch.stack([network(part) for network, part in zip(own, features, strict=True)])
    torch.testing.assert_close(together, alone)
    for one, other in zip(found, gradients_of(alone, own), strict=True):
        torch.testing.assert_close(one, other)


def test_members_may_share_their_features() -> None:
    own = networks(3)
    features = torch.randn(2, 5, 4, dtype=torch.float64)
    together = of_members(own, features, shared=True)
    alone = torch.stack([network(features) for network in own])
    torch.testing.assert_close(together, alone)
    for one, other in zip(gradients_of(together, own), gradients_of(alone, own), strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("order", ["grad in vmap", "vmap in grad"])
def test_functional_gradients_are_those_of_autograd(order: str) -> None:
    own = networks(3)
    features = torch.randn(3, 2, 5, 4, dtype=torch.float64)
    state, _ = stack_module_state(own)

    def loss(state: dict[str, Tensor], part: Tensor) -> Tensor:
        outputs: Tensor = functional_call(own[0], state, (part,))
        return outputs.sin().sum()

    def losses(state: dict[str, Tensor]) -> Tensor:
        total: Tensor = vmap(loss)(state, features).sum()
        return total

    if order == "grad in vmap":
        found = vmap(grad(loss))(state, features)
    else:
        found = grad(losses)(state)
    alone = torch.stack([network(part) for network, part in zip(own, features, strict=True)])
    expected = iter(gradients_of(alone, own))
    for member in range(3):
        for name, _ in own[0].named_parameters():
            torch.testing.assert_close(found[name][member], next(expected))


# Precision.


@pytest.mark.parametrize("members", [None, 3])
def test_autocast_computes_in_half_precision_and_trains_in_full(members: int | None) -> None:
    own = networks(members or 1, torch.float32)
    shape = (2, 5, 4) if members is None else (members, 2, 5, 4)
    features = torch.randn(shape, generator=torch.Generator().manual_seed(3))

    def outputs() -> Tensor:
        found: Tensor = own[0](features) if members is None else of_members(own, features)
        return found

    exact = outputs()
    with torch.autocast("cpu", torch.bfloat16):
        rounded = outputs()
        inner = filter_outputs(features.flatten(0, -3), *_weights(own[0]))
    assert inner.dtype == torch.bfloat16
    torch.testing.assert_close(rounded, exact, rtol=0.05, atol=0.02)
    assert not rounded.equal(exact)
    for half, full in zip(gradients_of(rounded, own), gradients_of(exact, own), strict=True):
        assert half.dtype == torch.float32
        assert float((half - full).norm()) < 0.1 * float(full.norm()) + 0.02


def _weights(network: AttentionFilters) -> tuple[Tensor, Tensor, Tensor]:
    return network.first.weight, network.first.bias, network.second.weight


def test_autocast_leaves_double_precision_alone() -> None:
    (network,) = networks(1)
    features = torch.randn(2, 5, 4, dtype=torch.float64)
    with torch.autocast("cpu", torch.bfloat16):
        assert filter_outputs(features, *_weights(network)).dtype == torch.float64


# The module.


def test_the_module_is_two_layers_for_each_filter() -> None:
    (network,) = networks(1)
    features = torch.randn(2, 5, 4, dtype=torch.float64)
    expected = plain(features, *_weights(network)).mT + network.second.bias[:, None]
    torch.testing.assert_close(network(features), expected)


@given(st.integers(0, 999), st.lists(st.integers(0, 6), min_size=1, max_size=4))
def test_attention_is_softmax_over_the_real_steps(seed: int, lengths: list[int]) -> None:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(len(lengths), 2, 6, generator=generator, dtype=torch.float64)
    logits.requires_grad_()
    mask = torch.arange(6) < torch.tensor(lengths)[:, None]
    attention = attention_over_time(logits, mask)
    values = logits.tolist()
    for video, length in enumerate(lengths):
        for number in range(2):
            exponentials = [math.exp(values[video][number][t]) for t in range(length)]
            expected = [each / sum(exponentials) for each in exponentials] + [0.0] * (6 - length)
            if length:
                assert attention[video, number].tolist() == pytest.approx(expected, abs=1e-12)
    # A video without any step leaves the others' gradients as they are.
    attention[torch.tensor(lengths) > 0].square().sum().backward()
    assert logits.grad is not None and logits.grad.isfinite().all()


def test_without_a_mask_all_steps_are_real() -> None:
    logits = torch.randn(3, 2, 5)
    everything = torch.ones(3, 5, dtype=torch.bool)
    assert attention_over_time(logits, None).equal(attention_over_time(logits, everything))
