import math
from collections.abc import Callable
from typing import TypeVar

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap

from aqakit.models.recurrent import LSTM, GRUCell, plain_operations

INPUTS, HIDDEN, STEPS = 3, 4, 5
QUICK = settings(max_examples=25, deadline=None)
SEEDS = st.integers(0, 1000)


Layer = TypeVar("Layer", bound=nn.Module)


def _seeded(make: Callable[[], Layer], seed: int = 0) -> Layer:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return make()


def _lstm(seed: int = 0) -> LSTM:
    return _seeded(lambda: LSTM(INPUTS, HIDDEN), seed).double()


def _cell(seed: int = 0) -> GRUCell:
    return _seeded(lambda: GRUCell(INPUTS, HIDDEN), seed).double()


def _random(seed: int, *shape: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def _mask(lengths: list[int], steps: int = STEPS) -> Tensor:
    return torch.arange(steps) < torch.tensor(lengths)[:, None]


def _gradcheck(layer: nn.Module, *arguments: Tensor) -> bool:
    """Of all parameters, and of those arguments that are real numbers."""
    names, values = zip(*layer.named_parameters(), strict=True)
    inputs = tuple(each.clone().requires_grad_() for each in arguments if each.is_floating_point())
    rest = tuple(each for each in arguments if not each.is_floating_point())

    def call(*tensors: Tensor) -> Tensor:
        state = dict(zip(names, tensors[: len(names)], strict=True))
        result: Tensor = functional_call(layer, state, (*tensors[len(names) :], *rest))
        return result

    return bool(torch.autograd.gradcheck(call, (*values, *inputs)))


# Long short-term memory.


def test_lstm_is_that_of_pytorch() -> None:
    ours, steps = _lstm(), _random(1, 2, STEPS, INPUTS)
    theirs = nn.LSTM(INPUTS, HIDDEN, batch_first=True).double()
    theirs.load_state_dict(ours.state_dict())
    torch.testing.assert_close(ours(steps), theirs(steps)[0])
    back = _lstm(1)
    back.load_state_dict(theirs.state_dict())
    torch.testing.assert_close(back(steps), ours(steps))


@pytest.mark.parametrize("lengths", [None, [STEPS, 1, 3]])
def test_plain_operations_give_the_same_numbers(lengths: list[int] | None) -> None:
    lstm, steps = _lstm(), _random(2, 3, STEPS, INPUTS)
    mask = None if lengths is None else _mask(lengths)
    kernels = lstm(steps, mask)
    with plain_operations(nn.Sequential(lstm)):
        plain = lstm(steps, mask)
    torch.testing.assert_close(plain, kernels, rtol=1e-10, atol=1e-10)
    weights = _random(3, *plain.shape)
    gradients = [
        torch.autograd.grad((states * weights).sum(), list(lstm.parameters()))
        for states in (plain, kernels)
    ]
    torch.testing.assert_close(*gradients, rtol=1e-10, atol=1e-10)


def test_plain_operations_end_with_their_block() -> None:
    lstm, other = _lstm(), _lstm()
    with pytest.raises(KeyError), plain_operations(lstm):
        assert lstm.plain and not other.plain
        raise KeyError
    assert not lstm.plain


@pytest.mark.parametrize("plain", [False, True])
def test_lstm_is_that_of_its_equations(plain: bool) -> None:
    lstm, steps = _lstm().requires_grad_(False), _random(2, 1, STEPS, INPUTS)
    lstm.plain = plain
    hidden, cell, expected = [0.0] * HIDDEN, [0.0] * HIDDEN, []

    def gate(kind: int, unit: int, step: int, before: list[float]) -> float:
        row = kind * HIDDEN + unit
        total = float(lstm.bias_ih_l0[row] + lstm.bias_hh_l0[row])
        total += sum(float(lstm.weight_ih_l0[row, i] * steps[0, step, i]) for i in range(INPUTS))
        return total + sum(float(lstm.weight_hh_l0[row, i]) * before[i] for i in range(HIDDEN))

    def sigmoid(value: float) -> float:
        return 1 / (1 + math.exp(-value))

    for step in range(STEPS):
        before = list(hidden)
        for unit in range(HIDDEN):
            enter, forget, new, leave = (gate(kind, unit, step, before) for kind in range(4))
            cell[unit] = sigmoid(forget) * cell[unit] + sigmoid(enter) * math.tanh(new)
            hidden[unit] = sigmoid(leave) * math.tanh(cell[unit])
        expected.append(list(hidden))
    torch.testing.assert_close(lstm(steps)[0], torch.tensor(expected, dtype=torch.float64))


@pytest.mark.parametrize("plain", [False, True])
def test_gradients_of_lstm(plain: bool) -> None:
    lstm = _lstm()
    lstm.plain = plain
    assert _gradcheck(lstm, _random(3, 2, 3, INPUTS))
    assert _gradcheck(lstm, _random(3, 2, 3, INPUTS), _mask([3, 1], 3))


@given(SEEDS, st.lists(st.integers(1, STEPS), min_size=1, max_size=4), st.floats(-1e3, 1e3))
@QUICK
def test_lstm_stands_still_over_padding(seed: int, lengths: list[int], filler: float) -> None:
    lstm, steps = _lstm(seed), _random(seed, len(lengths), STEPS, INPUTS)
    mask = _mask(lengths)
    states = lstm(torch.where(mask[..., None], steps, filler), mask)
    for video, length in enumerate(lengths):
        alone = lstm(steps[video : video + 1, :length])[0]
        torch.testing.assert_close(states[video, :length], alone, rtol=1e-10, atol=1e-10)
        rest = alone[-1:].expand(STEPS - length, -1)
        torch.testing.assert_close(states[video, length:], rest, rtol=1e-10, atol=1e-10)


# Gated recurrent unit.


def test_gru_is_that_of_pytorch() -> None:
    ours, inputs, state = _cell(), _random(1, 2, INPUTS), _random(2, 2, HIDDEN)
    theirs = nn.GRUCell(INPUTS, HIDDEN).double()
    theirs.load_state_dict(ours.state_dict())
    torch.testing.assert_close(ours(inputs, state), theirs(inputs, state))
    back = _cell(1)
    back.load_state_dict(theirs.state_dict())
    torch.testing.assert_close(back(inputs, state), ours(inputs, state))


def test_gru_is_that_of_its_equations() -> None:
    cell, inputs, state = _cell(), _random(3, 1, INPUTS), _random(4, 1, HIDDEN)
    cell.requires_grad_(False)

    def sums(kind: int, unit: int) -> tuple[float, float]:
        row = kind * HIDDEN + unit
        entering = sum(float(cell.weight_ih[row, i] * inputs[0, i]) for i in range(INPUTS))
        staying = sum(float(cell.weight_hh[row, i] * state[0, i]) for i in range(HIDDEN))
        return entering + float(cell.bias_ih[row]), staying + float(cell.bias_hh[row])

    expected = []
    for unit in range(HIDDEN):
        reset = 1 / (1 + math.exp(-sum(sums(0, unit))))
        update = 1 / (1 + math.exp(-sum(sums(1, unit))))
        entering, staying = sums(2, unit)
        candidate = math.tanh(entering + reset * staying)
        expected.append((1 - update) * candidate + update * float(state[0, unit]))
    torch.testing.assert_close(cell(inputs, state)[0], torch.tensor(expected, dtype=torch.float64))


def test_gradients_of_gru() -> None:
    assert _gradcheck(_cell(), _random(5, 2, INPUTS), _random(6, 2, HIDDEN))


# Both.


@pytest.mark.parametrize("make", [_lstm, _cell])
@given(seed=SEEDS, order=st.permutations(range(4)), first=st.integers(1, 3))
@QUICK
def test_videos_do_not_see_each_other(
    make: Callable[[int], nn.Module], seed: int, order: list[int], first: int
) -> None:
    layer = make(seed)
    if isinstance(layer, LSTM):
        arguments = [_random(seed, 4, STEPS, INPUTS), _mask([5, 2, 4, 1])]
    else:
        arguments = [_random(seed, 4, INPUTS), _random(seed + 1, 4, HIDDEN)]
    together = layer(*arguments)
    moved = layer(*(each[order] for each in arguments))
    torch.testing.assert_close(moved, together[order], rtol=1e-10, atol=1e-10)
    parts = [layer(*(each[part] for each in arguments)) for part in (slice(first), slice(first, 4))]
    torch.testing.assert_close(torch.cat(parts), together, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("make", [_lstm, _cell])
@pytest.mark.parametrize("masked", [False, True])
def test_many_members_at_once_give_what_each_gives_alone(
    make: Callable[[int], nn.Module], masked: bool
) -> None:
    layers = [make(seed) for seed in range(3)]
    if isinstance(layers[0], LSTM):
        arguments = [_random(7, 3, 2, STEPS, INPUTS)]
        if masked:
            arguments.append(torch.stack([_mask(each) for each in ([5, 1], [2, 2], [4, 5])]))
    else:
        arguments = [_random(7, 3, 2, INPUTS), _random(8, 3, 2, HIDDEN)]
    state, _ = stack_module_state(layers)

    def one(parameters: dict[str, Tensor], *own: Tensor) -> Tensor:
        result: Tensor = functional_call(layers[0], parameters, own)
        return result

    with plain_operations(layers[0]):
        together = vmap(one)(state, *arguments)
    for member, layer in enumerate(layers):
        alone = layer(*(each[member] for each in arguments))
        torch.testing.assert_close(together[member], alone, rtol=1e-10, atol=1e-10)
    wanted = torch.autograd.grad(
        sum(layer(*(a[m] for a in arguments)).square().sum() for m, layer in enumerate(layers)),
        [parameter for layer in layers for parameter in layer.parameters()],
    )
    found = torch.autograd.grad(together.square().sum(), list(state.values()))
    each_member = [torch.stack(wanted[n :: len(found)]) for n in range(len(found))]
    torch.testing.assert_close(found, tuple(each_member), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(
    ("make", "reference"),
    [(LSTM, lambda i, h: nn.LSTM(i, h, batch_first=True)), (GRUCell, nn.GRUCell)],
)
def test_initial_values_are_those_of_pytorch(
    make: Callable[[int, int], nn.Module], reference: Callable[[int, int], nn.Module]
) -> None:
    ours = _seeded(lambda: make(INPUTS, HIDDEN), 3).state_dict()
    theirs = _seeded(lambda: reference(INPUTS, HIDDEN), 3).state_dict()
    assert list(ours) == list(theirs)
    for name, value in ours.items():
        assert value.equal(theirs[name]), name
