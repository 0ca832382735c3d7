"""Attention filters of a network, all as one matrix product, block by block.

A filter is two fully connected layers, C -> H -> ReLU -> 1 (section 3.3 of Doughty et al., CVPR
2019). The hidden layer of every segment of every video by every filter is far larger than the
features themselves, and writing and reading it costs as much as the products that matter. So it is
made for a block of segments at a time and never exists as a whole.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

# Rows worked on at once: enough for full speed of the product, few enough to save the memory.
_ROWS = {"cpu": 8192}
_ROWS_ON_ACCELERATOR = 1 << 17


class AttentionFilters(nn.Module):
    """F filters, each a number for every segment, before the softmax of section 3.3.

    Args:
        channels: C of the features.
        filters: F.
        hidden: H, width of a filter's first layer.
    """

    def __init__(self, channels: int, filters: int, hidden: int) -> None:
        super().__init__()
        self.first = nn.Linear(channels, filters * hidden)
        # One row a filter, which reads that filter's H units and no others.
        self.second = nn.Linear(hidden, filters)

    def forward(self, features: Tensor) -> Tensor:
        """(V, F, T) of (V, T, C)."""
        first, second = self.first, self.second
        outputs = filter_outputs(features, first.weight, first.bias, second.weight)
        return (outputs + second.bias).mT


def attention_over_time(logits: Tensor, mask: Tensor | None) -> Tensor:
    """(V, F, T) weights that sum to 1 over the real steps; 0 at others.

    Args:
        logits: (V, F, T).
        mask: (V, T) True where a step is real; None where all are.
    """
    if mask is not None:
        # Not infinity: a video of padding alone must not become nan, which spreads in gradients.
        logits = logits.masked_fill(~mask[:, None], torch.finfo(logits.dtype).min)
    return logits.softmax(dim=2)


def filter_outputs(features: Tensor, weight: Tensor, bias: Tensor, read: Tensor) -> Tensor:
    """Output of every filter's second layer for every segment, without its bias.

    Gradients flow to the weights only: features are data. Under autocast it computes in the dtype
    of that, as a linear layer does.

    Args:
        features: (V, T, C).
        weight: (F * H, C) first layers of the F filters, one below the other.
        bias: (F * H,) their biases.
        read: (F, H) second layers.

    Returns:
        (V, T, F).
    """
    features, weight, bias, read = _cast(features, weight, bias, read)
    outputs, _ = _outputs(features.flatten(0, 1), weight, bias, read)
    found: Tensor = outputs.unflatten(0, features.shape[:2])
    return found


class _FilterOutputs(torch.autograd.Function):
    """Keeps one byte a hidden unit for the backward pass, in place of four and a second copy.

    Of one network rows are (N, C) and the rest as in :func:`filter_outputs`; under ``torch.func.vmap``
    all have the members M as a further first axis.
    """

    @staticmethod
    def forward(
        rows: Tensor, weight: Tensor, bias: Tensor, read: Tensor, keep: bool
    ) -> tuple[Tensor, Tensor]:
        """(..., N, F) outputs, and (..., N, F * H) which units are active; no rows unless kept."""
        shape = rows.shape[:-1]
        outputs = rows.new_empty(*shape, read.shape[-2])
        kept = (*shape[:-1], shape[-1] if keep else 0, bias.shape[-1])
        active = rows.new_empty(kept, dtype=torch.bool)
        every = _with_members(2, rows, weight, outputs, active, read)
        _write_outputs(*every, *_with_members(1, bias))
        return outputs, active

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
        ctx.mark_non_differentiable(output[1])
        ctx.save_for_backward(*inputs[:4], output[1])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        rows, weight, bias, read, active = ctx.saved_tensors
        found = _FilterGradients.apply(gradients[0], rows, weight, bias, read, active)
        return None, *found, None

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], *inputs: Any) -> tuple[Any, Any]:
        rows, *weights = _stacked(info.batch_size, in_dims[:4], inputs[:4])
        return _outputs(rows, *weights, keep=inputs[4]), (0, 0)


def _outputs(rows: Tensor, *weights: Tensor, keep: bool = False) -> tuple[Tensor, Tensor]:
    """Apply :class:`_FilterOutputs`, keeping what gradients need if asked or if any will be wanted.

    A tensor under ``torch.func.vmap`` does not tell whether it needs gradients; what it holds does,
    once the rule for members has unpacked it and comes here again.
    """
    keep = keep or (torch.is_grad_enabled() and any(each.requires_grad for each in weights))
    found: tuple[Tensor, Tensor] = _FilterOutputs.apply(rows, *weights, keep)
    return found


class _FilterGradients(torch.autograd.Function):
    """Gradients of the weights.

    With m the mask of active units and d the gradient of an output, the one product
    G = (d m)^T X gives the gradients of both layers: of W it is read * G, of read it is the sum of
    d m (W x + b) over rows, which is rowsum(W * G) + b * colsum(d m).
    """

    @staticmethod
    def forward(
        gradient: Tensor, rows: Tensor, weight: Tensor, bias: Tensor, read: Tensor, active: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Of ``weight``, ``bias`` and ``read``, in their shapes."""
        product, total = torch.zeros_like(weight), torch.zeros_like(bias)
        every = _with_members(2, gradient, rows, active, product)
        _add_products(*every, *_with_members(1, total))
        of_read = (weight * product).sum(-1).addcmul_(bias, total).view_as(read)
        scale = read.reshape(bias.shape)
        return product.mul_(scale[..., None]), total.mul_(scale), of_read

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: tuple[Tensor, ...]) -> None:
        pass

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], *inputs: Tensor) -> tuple[Any, Any]:
        return _FilterGradients.apply(*_stacked(info.batch_size, in_dims, inputs)), (0, 0, 0)


def _write_outputs(
    rows: Tensor, weight: Tensor, outputs: Tensor, active: Tensor, read: Tensor, bias: Tensor
) -> None:
    """Fill ``outputs`` and, where it has rows, ``active``; all with a first axis M."""
    filters, hidden = read.shape[-2:]
    block: Tensor | None = None
    for here in _blocks(rows):
        part, own = rows[here], here[0]
        if block is None:
            block = part.new_empty(*part.shape[:2], filters * hidden)
        units = block[: len(part), : part.shape[1]]
        if len(part) == 1:
            torch.addmm(bias[own][0], part[0], weight[own][0].t(), out=units[0])
        else:
            torch.baddbmm(bias[own, None], part, weight[own].mT, out=units)
        units.relu_()
        if active.shape[1]:
            torch.gt(units, 0, out=active[here])
        weighted = units.unflatten(-1, (filters, hidden)).mul_(read[own, None])
        torch.sum(weighted, -1, out=outputs[here])


def _add_products(
    gradient: Tensor, rows: Tensor, active: Tensor, product: Tensor, total: Tensor
) -> None:
    """Add (d m)^T X to ``product`` and the sum of d m to ``total``; all with a first axis M."""
    filters = gradient.shape[-1]
    block: Tensor | None = None
    for here in _blocks(rows):
        part, own = rows[here], here[0]
        if block is None:
            block = part.new_empty(*part.shape[:2], active.shape[-1])
        units = block[: len(part), : part.shape[1]]
        torch.mul(
            active[here].unflatten(-1, (filters, -1)),
            gradient[here][..., None],
            out=units.unflatten(-1, (filters, -1)),
        )
        total[own] += units.sum(1)
        if len(part) == 1:
            product[own][0].addmm_(units[0].t(), part[0])
        else:
            product[own].baddbmm_(units.mT, part)


def _blocks(rows: Tensor) -> Iterator[tuple[slice, slice]]:
    """Members and rows of (M, N, C) to work on at once: several members whole, or a part of one."""
    members, count = rows.shape[:2]
    step = _ROWS.get(rows.device.type, _ROWS_ON_ACCELERATOR)
    many = max(1, step // max(1, count))
    for first in range(0, members, many):
        for row in range(0, count, step):
            yield slice(first, first + many), slice(row, row + step)


def _with_members(axes: int, *tensors: Tensor) -> Iterator[Tensor]:
    """Each with a first axis M, of length 1 where it has ``axes`` alone."""
    return (tensor[None] if tensor.ndim == axes else tensor for tensor in tensors)


def _stacked(
    members: int, places: Sequence[int | None], tensors: Sequence[Tensor]
) -> Iterator[Tensor]:
    """Each with the members along its first axis."""
    for place, tensor in zip(places, tensors, strict=True):
        if place is None:
            yield tensor.expand(members, *tensor.shape)
        else:
            yield tensor.movedim(place, 0)


def _cast(*tensors: Tensor) -> Sequence[Tensor]:
    kind = tensors[0].device.type
    if not torch.is_autocast_enabled(kind):
        return tensors
    dtype = torch.get_autocast_dtype(kind)
    return [each if each.dtype == torch.float64 else each.to(dtype) for each in tensors]
