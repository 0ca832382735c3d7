"""Many networks as one batched model: what each of them gives and does is what it does alone."""

from collections.abc import Callable, Iterable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn, optim

from aqakit.models.members import Alone, Stacked
from aqakit.models.network import Batch, Drawn, Losses, Network, Phase, draw_dropout, dropout

MEMBERS, VIDEOS, STEPS, CHANNELS, HIDDEN, EXAMPLES = 3, 5, 4, 3, 6, 7
SEEDS = st.integers(0, 1000)
QUICK = settings(max_examples=25)


class Toy(Network):
    """A tuple for an encoding; with a buffer that differs from member to member."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.first = nn.Linear(CHANNELS, HIDDEN)
            self.second = nn.Parameter(torch.randn(HIDDEN))
            self.register_buffer("shift", torch.randn(HIDDEN))
        self.double()

    def encode(self, batch: Batch, drawn: Drawn) -> tuple[Tensor, Tensor]:
        hidden = dropout((self.first(batch.values["x"]) + self.shift).tanh(), drawn, "keep")
        if batch.mask is None:
            return hidden.mean(dim=1), hidden
        mask = batch.mask[..., None]
        return (hidden * mask).sum(dim=1) / mask.sum(dim=1), hidden * mask


def _losses(
    network: Toy, batch: Batch, encoding: tuple[Tensor, Tensor], positions: Tensor, labels: Tensor
) -> Losses:
    pooled, hidden = encoding
    scores = pooled @ network.second + batch.values["x"].sum(dim=(1, 2))
    better, worse = positions.unbind(dim=1)
    return {
        "rank": (labels[:, 0] - scores[better] + scores[worse]).clamp(min=0),
        "size": hidden[better].square().sum(dim=(1, 2)),
    }


PHASE = Phase(_losses, optim.Adam, lambda epoch: 0.1)


def _networks() -> list[Toy]:
    return [Toy(seed) for seed in range(MEMBERS)]


def _inputs(seed: int, masked: bool, drops: bool) -> tuple[Batch, Drawn, Tensor, Tensor]:
    """Of all members, along the first axis."""
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(MEMBERS, VIDEOS, STEPS, CHANNELS, generator=generator).double()
    mask = torch.rand(MEMBERS, VIDEOS, STEPS, generator=generator) < 0.6
    mask[..., 0] = True
    keep = draw_dropout((MEMBERS, VIDEOS, STEPS, HIDDEN), 0.5, generator, torch.device("cpu"))
    positions = torch.randint(VIDEOS, (MEMBERS, EXAMPLES, 2), generator=generator)
    labels = torch.rand(MEMBERS, EXAMPLES, 1, generator=generator).double()
    drawn = {"keep": keep.double()} if drops else {}
    return Batch({"x": values}, mask if masked else None), drawn, positions, labels


def _of(member: int, batch: Batch, drawn: Drawn) -> tuple[Batch, Drawn]:
    mask = None if batch.mask is None else batch.mask[member]
    own = Batch({role: values[member] for role, values in batch.values.items()}, mask)
    return own, {name: value[member] for name, value in drawn.items()}


@QUICK
@given(SEEDS, st.booleans(), st.booleans())
def test_a_stack_gives_what_its_members_give(seed: int, masked: bool, drops: bool) -> None:
    networks = _networks()
    stack = Stacked(networks)
    batch, drawn, positions, labels = _inputs(seed, masked, drops)
    encoding = stack.encode(batch, drawn)
    terms = stack.losses(PHASE, batch, encoding, positions, labels)
    sum(term.sum() for term in terms.values()).backward()  # type: ignore[union-attr]
    for number, network in enumerate(_networks()):
        alone = Alone(network)
        own, own_drawn = _of(number, batch, drawn)
        expected = alone.encode(own, own_drawn)
        for ours, theirs in zip(encoding, expected, strict=True):
            torch.testing.assert_close(ours[number], theirs, rtol=0, atol=1e-12)
        found = alone.losses(PHASE, own, expected, positions[number], labels[number])
        assert terms.keys() == found.keys()
        sum(term.sum() for term in found.values()).backward()  # type: ignore[union-attr]
        for name, term in found.items():
            assert term.shape == (1, EXAMPLES)
            torch.testing.assert_close(terms[name][number], term[0], rtol=0, atol=1e-12)
        for name, parameter in alone.parameters.items():
            gradient = stack.parameters[name].grad
            assert gradient is not None
            torch.testing.assert_close(gradient[number], parameter.grad, rtol=0, atol=1e-12)


def test_dropout_multiplies_by_what_was_drawn_and_by_nothing_else() -> None:
    network = Toy(0)
    batch, drawn, *_ = _inputs(0, masked=False, drops=True)
    own, own_drawn = _of(0, batch, drawn)
    hidden = network.encode(own, {})[1]
    torch.testing.assert_close(network.encode(own, own_drawn)[1], hidden * own_drawn["keep"])


def test_drawn_masks_are_0_or_the_inverse_of_the_share_that_is_kept() -> None:
    mask = draw_dropout((1000, 20), 0.2, torch.Generator().manual_seed(0), torch.device("cpu"))
    assert sorted(set(mask.unique().tolist())) == pytest.approx([0, 1.25])
    assert float(mask.mean()) == pytest.approx(1, abs=0.02)
    again = draw_dropout((1000, 20), 0.2, torch.Generator().manual_seed(0), torch.device("cpu"))
    assert mask.equal(again)


@QUICK
@given(SEEDS, st.floats(0.01, 30))
def test_each_members_gradients_are_clipped_as_pytorch_clips_them(
    seed: int, largest: float
) -> None:
    generator = torch.Generator().manual_seed(seed)
    stack, alone = Stacked(_networks()), [Alone(network) for network in _networks()]
    for name, parameter in stack.parameters.items():
        if name == "second" and seed % 2:
            continue  # of another phase, without a gradient
        # Members of very different norms: one may be clipped while another is not.
        size = torch.tensor([0.1, 1, 10]).view(-1, *[1] * (parameter.ndim - 1))
        parameter.grad = size * torch.randn(parameter.shape, generator=generator).double()
        for number, one in enumerate(alone):
            one.parameters[name].grad = parameter.grad[number].clone()
    stack.clip(list(stack.parameters.values()), largest)
    for number, one in enumerate(alone):
        parameters = list(one.parameters.values())
        before = torch.cat([p.grad.flatten() for p in parameters if p.grad is not None])
        nn.utils.clip_grad_norm_(parameters, largest)
        after = torch.cat([p.grad.flatten() for p in parameters if p.grad is not None])
        assert float(after.norm()) <= min(largest, float(before.norm())) * (1 + 1e-9)
        for name, own in one.parameters.items():
            gradient = stack.parameters[name].grad
            if own.grad is None:
                assert gradient is None
            else:
                assert gradient is not None
                torch.testing.assert_close(gradient[number], own.grad, rtol=1e-12, atol=0)


def test_one_network_is_clipped_by_pytorch_itself() -> None:
    one, other = Alone(Toy(0)), Toy(0)
    for parameter, own in zip(one.parameters.values(), other.parameters(), strict=True):
        parameter.grad, own.grad = torch.ones_like(parameter), torch.ones_like(own)
    one.clip(list(one.parameters.values()), 0.5)
    nn.utils.clip_grad_norm_(other.parameters(), 0.5)
    for parameter, own in zip(one.parameters.values(), other.parameters(), strict=True):
        assert parameter.grad is not None and own.grad is not None
        assert parameter.grad.equal(own.grad)


Make = Callable[[Iterable[nn.Parameter]], optim.Optimizer]
OPTIMISERS: dict[str, Make] = {
    "adam": lambda parameters: optim.Adam(parameters, 0.05),
    "decay": lambda parameters: optim.Adam(parameters, 0.05, weight_decay=0.5),
    "momentum": lambda parameters: optim.SGD(parameters, 0.01, momentum=0.9, weight_decay=1e-3),
}


@pytest.mark.parametrize("make", OPTIMISERS.values(), ids=OPTIMISERS)
def test_an_optimiser_steps_a_stack_as_it_steps_its_members(make: Make) -> None:
    stack, alone = Stacked(_networks()), [Alone(network) for network in _networks()]
    everybody: list[Alone | Stacked] = [stack, *alone]
    optimisers = [make(one.parameters.values()) for one in everybody]
    for step in range(4):
        batch, drawn, positions, labels = _inputs(step, masked=True, drops=True)
        terms = stack.losses(PHASE, batch, stack.encode(batch, drawn), positions, labels)
        sum(term.mean(dim=1).sum() for term in terms.values()).backward()  # type: ignore[union-attr]
        for number, one in enumerate(alone):
            own, own_drawn = _of(number, batch, drawn)
            encoding = one.encode(own, own_drawn)
            found = one.losses(PHASE, own, encoding, positions[number], labels[number])
            sum(term.mean(dim=1).sum() for term in found.values()).backward()  # type: ignore[union-attr]
        for optimiser in optimisers:
            optimiser.step()
            optimiser.zero_grad()
    for number, one in enumerate(alone):
        for name, parameter in one.parameters.items():
            torch.testing.assert_close(
                stack.parameters[name][number], parameter, rtol=0, atol=1e-11
            )


def test_a_member_is_given_back_with_its_own_parameters_and_buffers() -> None:
    networks, originals = _networks(), _networks()
    stack = Stacked(networks)
    with torch.no_grad():
        for parameter in stack.parameters.values():
            parameter.add_(torch.arange(MEMBERS).view(-1, *[1] * (parameter.ndim - 1)))
    for number, original in enumerate(originals):
        found = stack.network(number)
        assert found is networks[number]
        for name, parameter in original.named_parameters():
            torch.testing.assert_close(found.get_parameter(name), parameter + number)
        assert found.get_buffer("shift").equal(original.get_buffer("shift"))


@pytest.mark.parametrize("number", [None, 1])
def test_a_state_is_a_copy_that_training_does_not_reach(number: int | None) -> None:
    members: Alone | Stacked = Alone(Toy(1)) if number is None else Stacked(_networks())
    place = number or 0
    state = members.state(place)
    assert state.keys() == members.parameters.keys()
    kept = {name: value.clone() for name, value in state.items()}
    with torch.no_grad():
        for parameter in members.parameters.values():
            parameter.add_(1)
    assert all(value.equal(kept[name]) for name, value in state.items())
    assert not members.network(place).get_parameter("second").equal(kept["second"])
    found = members.network(place, state)
    for name, value in kept.items():
        assert found.get_parameter(name).equal(value)
    assert found.get_parameter("second").equal(Toy(1).second)
