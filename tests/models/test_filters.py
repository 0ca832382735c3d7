"""The blocked product of all filters against plain layers, forward and backward."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from aqakit.models import filters
from aqakit.models.filters import filter_outputs


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
