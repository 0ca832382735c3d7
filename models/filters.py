"""All attention filters of a network as one matrix product, block by block.

A filter is two fully connected layers, C -> H -> ReLU -> 1 (section 3.3 of Doughty et al., CVPR
2019). The hidden layer of every segment of every video by every filter is far larger than the
features themselves, and writing and reading it costs as much as the products that matter. So it is
made for a block of segments at a time and never exists as a whole.
"""

from typing import Any

import torch
from torch import Tensor

# Rows worked on at once: enough for full speed of the product, few enough to save the memory.
_ROWS = {"cpu": 8192}
_ROWS_ON_ACCELERATOR = 1 << 17


def filter_outputs(features: Tensor, weight: Tensor, bias: Tensor, read: Tensor) -> Tensor:
    """Output of every filter's second layer for every segment, without its bias.

    Gradients flow to the weights only: features are data.

    Args:
        features: (V, T, C).
        weight: (F * H, C) first layers of the F filters, one below the other.
        bias: (F * H,) their biases.
        read: (F, H) second layers.

    Returns:
        (V, T, F).
    """
    rows = features.reshape(-1, features.shape[-1])
    outputs: Tensor = _FilterOutputs.apply(rows, weight, bias, read)
    return outputs.view(*features.shape[:2], len(read))


class _FilterOutputs(torch.autograd.Function):
    """Keeps one byte a hidden unit for the backward pass, in place of four and a second copy.

    With m the mask of active units and d the gradient of an output, the one product
    G = (d m)^T X gives the gradients of both layers: of W it is read * G, of read it is the sum of
    d m (W x + b) over rows, which is rowsum(W * G) + b * colsum(d m).
    """

    @staticmethod
    def forward(ctx: Any, rows: Tensor, weight: Tensor, bias: Tensor, read: Tensor) -> Tensor:
        filters, hidden = read.shape
        step = _rows_of(rows)
        keep = any(ctx.needs_input_grad)
        active = rows.new_empty((len(rows) if keep else 0, len(weight)), dtype=torch.bool)
        outputs = rows.new_empty(len(rows), filters)
        block = rows.new_empty(min(step, len(rows)), len(weight))
        for first in range(0, len(rows), step):
            part = rows[first : first + step]
            units = torch.addmm(bias, part, weight.t(), out=block[: len(part)]).relu_()
            if keep:
                torch.gt(units, 0, out=active[first : first + step])
            units = units.view(-1, filters, hidden).mul_(read)
            torch.sum(units, 2, out=outputs[first : first + step])
        ctx.save_for_backward(rows, weight, bias, read, active)
        return outputs

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[None, Tensor, Tensor, Tensor]:
        rows, weight, bias, read, active = ctx.saved_tensors
        gradient = gradients[0].contiguous()
        filters, hidden = read.shape
        step = _rows_of(rows)
        product = torch.zeros_like(weight)
        total = torch.zeros_like(bias)
        block = rows.new_empty(min(step, len(rows)), len(weight))
        for first in range(0, len(rows), step):
            part = rows[first : first + step]
            units = block[: len(part)]
            torch.mul(
                active[first : first + step].view(-1, filters, hidden),
                gradient[first : first + step, :, None],
                out=units.view(-1, filters, hidden),
            )
            total += units.sum(0)
            product.addmm_(units.t(), part)
        of_read = (weight * product).sum(1).addcmul_(bias, total).view_as(read)
        scale = read.reshape(-1)
        return None, product.mul_(scale[:, None]), total.mul_(scale), of_read


def _rows_of(rows: Tensor) -> int:
    return _ROWS.get(rows.device.type, _ROWS_ON_ACCELERATOR)
