"""The networks that train at the same time: one, or many of one shape with weights of their own.

Many are one batched model: their parameters lie stacked along a first axis M, and every operation
runs for all of them at once (``torch.func``). Optimisers work element by element, so a stack takes the
same steps as its members would take alone.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap

from .network import Batch, Drawn, Losses, Network, Phase
from .recurrent import plain_operations

State = dict[str, Tensor]


class Members(Protocol):
    """One or many networks, as the trainer sees them."""

    parameters: Mapping[str, nn.Parameter]

    def encode(self, batch: Batch, drawn: Drawn) -> Any:
        """What ``Network.encode`` gives."""

    def losses(
        self, phase: Phase, batch: Batch, encoding: Any, positions: Tensor, labels: Tensor
    ) -> Losses:
        """(M, B) terms."""

    def clip(self, parameters: Sequence[nn.Parameter], largest: float) -> None:
        """Limit the norm of each member's gradients."""

    def state(self, number: int) -> State:
        """A copy of one member's parameters."""

    def network(self, number: int, state: State | None = None) -> Network:
        """One member with its own parameters, or with those given."""


class Alone:
    """One network."""

    def __init__(self, network: Network) -> None:
        self._network = network
        self.parameters: Mapping[str, nn.Parameter] = dict(network.named_parameters())

    def encode(self, batch: Batch, drawn: Drawn) -> Any:
        """See :class:`Members`."""
        return self._network.encode(batch, drawn)

    def losses(
        self, phase: Phase, batch: Batch, encoding: Any, positions: Tensor, labels: Tensor
    ) -> Losses:
        """See :class:`Members`."""
        terms = phase.losses(self._network, batch, encoding, positions, labels)
        return {name: term[None] for name, term in terms.items()}

    def clip(self, parameters: Sequence[nn.Parameter], largest: float) -> None:
        """See :class:`Members`."""
        nn.utils.clip_grad_norm_(parameters, largest)

    def state(self, number: int) -> State:
        """See :class:`Members`."""
        return {name: value.detach().clone() for name, value in self.parameters.items()}

    def network(self, number: int, state: State | None = None) -> Network:
        """See :class:`Members`."""
        if state is not None:
            self._network.load_state_dict(state, strict=False)
        return self._network


class Stacked:
    """Many networks of one shape.

    Args:
        networks: at least one; their parameters are copied, and given back by :meth:`network`.
    """

    def __init__(self, networks: Sequence[Network]) -> None:
        self._networks = networks
        stacked, self._buffers = stack_module_state(list(networks))
        self.parameters: Mapping[str, nn.Parameter] = {
            name: nn.Parameter(value.detach()) for name, value in stacked.items()
        }

    def encode(self, batch: Batch, drawn: Drawn) -> Any:
        """See :class:`Members`."""
        return self._each(type(self._networks[0]).encode, batch, drawn)

    def losses(
        self, phase: Phase, batch: Batch, encoding: Any, positions: Tensor, labels: Tensor
    ) -> Losses:
        """See :class:`Members`."""
        found: Losses = self._each(phase.losses, batch, encoding, positions, labels)
        return found

    def clip(self, parameters: Sequence[nn.Parameter], largest: float) -> None:
        """See :class:`Members`."""
        gradients = [p.grad for p in parameters if p.grad is not None]
        norms = torch.stack([g.flatten(1).norm(dim=1) for g in gradients]).norm(dim=0)  # (M,)
        factors = (largest / (norms + 1e-6)).clamp(max=1)  # as clip_grad_norm_ has it
        for gradient in gradients:
            gradient.mul_(factors.view(-1, *[1] * (gradient.ndim - 1)))

    def state(self, number: int) -> State:
        """See :class:`Members`."""
        return {name: value[number].detach().clone() for name, value in self.parameters.items()}

    def network(self, number: int, state: State | None = None) -> Network:
        """See :class:`Members`."""
        network = self._networks[number]
        network.load_state_dict(self.state(number) if state is None else state, strict=False)
        return network

    def _each(self, call: Callable[..., Any], *arguments: Any) -> Any:
        """Call a function with each member's network and its part of the arguments."""

        def one(parameters: State, buffers: State, *parts: Any) -> Any:
            return functional_call(self._networks[0], parameters | buffers, (call, *parts))

        # A mask that is not there has no part for each member.
        places = tuple(_axes(argument) for argument in arguments)
        mapped = vmap(one, in_dims=(0, 0, *places), randomness="error")
        with plain_operations(self._networks[0]):
            return mapped(dict(self.parameters), self._buffers, *arguments)


def _axes(argument: Any) -> Any:
    """Which axis of each tensor holds the members: the first, of whatever is there."""
    return torch.utils._pytree.tree_map(
        lambda leaf: 0 if isinstance(leaf, Tensor) else None, argument
    )
