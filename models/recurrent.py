"""Recurrent layers that ``torch.func.vmap`` can run for many members at once.

``nn.LSTM`` and ``nn.GRUCell`` have no batching rule. These layers have their parameters' names,
shapes, order of gates and initial values, so that a state dict of either fits the other.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn import functional


class LSTM(nn.LSTM):
    """One layer of long short-term memory (Hochreiter and Schmidhuber, 1997; gates as in PyTorch).

    It runs PyTorch's own kernels, which take less than half the time, except within
    :func:`plain_operations`.

    Args:
        inputs: channels of a step.
        hidden: width of the state.
    """

    weight_ih_l0: nn.Parameter
    weight_hh_l0: nn.Parameter
    bias_ih_l0: nn.Parameter
    bias_hh_l0: nn.Parameter

    def __init__(self, inputs: int, hidden: int) -> None:
        super().__init__(inputs, hidden, batch_first=True)
        self.plain = False

    def forward(self, steps: Tensor, mask: Tensor | None = None) -> Tensor:  # type: ignore[override]
        """Hidden state after each step, from a state of zeros.

        Args:
            steps: (V, T, inputs).
            mask: (V, T) True where a step is real, which those at a video's beginning are; the
                state stays as it is over the others.

        Returns:
            (V, T, hidden).
        """
        states = self._step_by_step(steps) if self.plain else super().forward(steps)[0]
        if mask is None:
            return states
        last = mask.sum(dim=1, keepdim=True) - 1
        held = torch.arange(mask.shape[1], device=mask.device).minimum(last)  # (V, T)
        return states.gather(1, held[..., None].expand(-1, -1, self.hidden_size))

    def _step_by_step(self, steps: Tensor) -> Tensor:
        # All that does not depend on the state is one product over all steps.
        bias = self.bias_ih_l0 + self.bias_hh_l0
        entering = functional.linear(steps, self.weight_ih_l0, bias)
        state = cell = entering.new_zeros(*entering.shape[:1], self.hidden_size)
        states = []
        for number in range(entering.shape[1]):
            gates = entering[:, number] + functional.linear(state, self.weight_hh_l0)
            enter, forget, candidate, leave = gates.chunk(4, dim=-1)
            cell = forget.sigmoid() * cell + enter.sigmoid() * candidate.tanh()
            state = leave.sigmoid() * cell.tanh()
            states.append(state)
        return torch.stack(states, dim=1)


@contextmanager
def plain_operations(network: nn.Module) -> Iterator[None]:
    """Let a network's recurrent layers use operations that ``vmap`` knows, while the block runs."""
    layers = [layer for layer in network.modules() if isinstance(layer, LSTM)]
    for layer in layers:
        layer.plain = True
    try:
        yield
    finally:
        for layer in layers:
            layer.plain = False


class GRUCell(nn.Module):
    """One step of a gated recurrent unit (Chung et al. 2014, arXiv 1412.3555).

    As in PyTorch, the reset gate multiplies what the candidate takes from the state after its
    matrix and not before it, and the update gate is the share of the old state and not of the new.

    Args:
        inputs: channels of a step.
        hidden: width of the state.
    """

    def __init__(self, inputs: int, hidden: int) -> None:
        super().__init__()
        self.weight_ih = nn.Parameter(torch.empty(3 * hidden, inputs))
        self.weight_hh = nn.Parameter(torch.empty(3 * hidden, hidden))
        self.bias_ih = nn.Parameter(torch.empty(3 * hidden))
        self.bias_hh = nn.Parameter(torch.empty(3 * hidden))
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -1 / math.sqrt(hidden), 1 / math.sqrt(hidden))

    def forward(self, inputs: Tensor, state: Tensor) -> Tensor:
        """The state after a step.

        Args:
            inputs: (V, inputs).
            state: (V, hidden) before it.

        Returns:
            (V, hidden).
        """
        entering = functional.linear(inputs, self.weight_ih, self.bias_ih).chunk(3, dim=-1)
        staying = functional.linear(state, self.weight_hh, self.bias_hh).chunk(3, dim=-1)
        reset = (entering[0] + staying[0]).sigmoid()
        update = (entering[1] + staying[1]).sigmoid()
        candidate = (entering[2] + reset * staying[2]).tanh()
        return candidate + update * (state - candidate)
