"""The iterations of TV-L1 on one level, after one warp, in plain PyTorch.

Minimises the linearised problem of Zach et al. 2007 in turns: a threshold step on the data term
(section 3 there; eq. 15 of Sanchez et al., IPOL 2013) and a step of Chambolle's method on the dual
variables p. What is kept is q = theta * p: the flow then changes by the divergence of q itself,
and a pass over memory is saved.

Two forms with equal results: ``refine_pair`` for one pair on the processor, which reads its error
after every iteration, and ``refine_batch`` for many pairs on another device, where each pair stops
on its own and the host never waits for the device's latest iteration.

Shapes: flow u is (B, 2, H, W) with components x, y. The dual q is (B, 2, 2, H, W): component of
the flow, then direction of the derivative.
"""

from collections import deque
from typing import NamedTuple

import torch
from torch import Tensor

from .tvl1_median import median

TAU = 0.25
LAMBDA = 0.15
THETA = 0.3
EPSILON = 0.01
OUTER = 10
INNER = 30
# Below it a gradient says nothing about motion; single precision's epsilon, as in OpenCV.
LEAST_GRADIENT = 1.1920928955078125e-07
# Iterations between two looks of the host at how many pairs still move.
CHUNK = 10


class Linearised(NamedTuple):
    """Brightness change of a pair as a linear function of its flow: constant + gradient . u.

    ``gradient`` is (B, 2, H, W), ``constant`` (B, H, W); both in grey levels.
    """

    gradient: Tensor
    constant: Tensor


def threshold(height: int, width: int) -> float:
    """A pair stops once the sum of its squared changes of flow is not above this."""
    return EPSILON * EPSILON * height * width


class _Step:
    """One inner iteration in place, for a flow and a dual whose memory stays where it is.

    All views are made here, once: between operations of a few microseconds threads that work side
    by side queue for Python's lock, and each view would queue as well.
    """

    def __init__(self, flow: Tensor, dual: Tensor, problem: Linearised) -> None:
        gradient, constant = problem
        self._flow, self._gradient = flow, gradient
        self.change = torch.empty_like(flow)
        self._residual = torch.empty_like(constant)
        self._step = self._residual[:, None]
        # -(constant + gradient . u) / |gradient|^2, the step before it is limited, is linear in u.
        inverse = -1 / gradient.square().sum(1).clamp(min=LEAST_GRADIENT)
        self._at_rest = constant * inverse
        self._per_x, self._per_y = gradient[:, 0] * inverse, gradient[:, 1] * inverse
        self._flow_x, self._flow_y = flow[:, 0], flow[:, 1]

        self._q_x, self._q_y = dual[:, :, 0], dual[:, :, 1]
        self._q_left, self._q_above = self._q_x[..., :-1], self._q_y[..., :-1, :]
        self._change_right, self._change_below = self.change[..., 1:], self.change[..., 1:, :]

        self._left, self._right = flow[..., :-1], flow[..., 1:]
        self._above, self._below = flow[..., :-1, :], flow[..., 1:, :]
        # The last column has no slope in x and the last row none in y: those stay zero.
        self.slope = torch.zeros_like(dual)
        self._slope_x, self._slope_y = self.slope[:, :, 0], self.slope[:, :, 1]
        self._inner_slope_x = self._slope_x[..., :-1]
        self._inner_slope_y = self._slope_y[..., :-1, :]
        self._norm = torch.empty_like(flow)
        self.divisor = self._norm[:, :, None]
        self._one = flow.new_ones(())

    def find_change(self) -> None:
        """Set ``change``: the data term's step plus the divergence of q."""
        residual, change = self._residual, self.change
        torch.addcmul(self._at_rest, self._per_x, self._flow_x, out=residual)
        residual.addcmul_(self._per_y, self._flow_y).clamp_(-LAMBDA * THETA, LAMBDA * THETA)
        torch.add(self._q_x, self._q_y, out=change)
        self._change_right.sub_(self._q_left)
        self._change_below.sub_(self._q_above)
        change.addcmul_(self._step, self._gradient)

    def apply(self) -> None:
        """Add ``change`` to the flow; set ``slope`` and ``divisor``, by which the dual moves."""
        norm = self._norm
        self._flow.add_(self.change)
        torch.sub(self._right, self._left, out=self._inner_slope_x)
        torch.sub(self._below, self._above, out=self._inner_slope_y)
        torch.mul(self._slope_x, self._slope_x, out=norm)
        norm.addcmul_(self._slope_y, self._slope_y).sqrt_()
        torch.add(self._one, norm, alpha=TAU / THETA, out=norm)


def refine_pair(flow: Tensor, dual: Tensor, problem: Linearised) -> tuple[Tensor, Tensor]:
    """All iterations after one warp, for one pair.

    Args:
        flow: (1, 2, H, W) flow at which the pair was warped; changed in place.
        dual: (1, 2, 2, H, W); changed in place.
        problem: the linearised pair.

    Returns:
        Flow and dual after convergence, or after 10 x 30 iterations.
    """
    stop = threshold(*flow.shape[-2:])
    step = _Step(flow, dual, problem)
    change = step.change.view(-1)
    error = float("inf")
    for _ in range(OUTER):
        if not error > stop:
            break
        flow.copy_(median(flow))
        for _ in range(INNER):
            if not error > stop:
                break
            step.find_change()
            error = float(torch.dot(change, change))
            step.apply()
            dual.add_(step.slope, alpha=TAU).div_(step.divisor)
    return flow, dual


class ActivePairs:
    """How many pairs still iterate, known to the host a little late and without stalling it.

    Each ``look`` starts a copy and reads an earlier one, by which time the device has more work
    queued: it never idles, and the host is never more than two looks ahead of it.
    """

    def __init__(self, device: torch.device) -> None:
        self._cuda = device.type == "cuda"
        self._copies: deque[tuple[Tensor, torch.cuda.Event | None]] = deque()

    def look(self, active: Tensor) -> bool:
        """Whether any pair was active at the look before this one.

        Args:
            active: (B,) not zero where a pair still iterates.
        """
        flag = active.any()
        if self._cuda:
            host = torch.empty((), dtype=torch.bool, pin_memory=True)
            host.copy_(flag, non_blocking=True)
            event = torch.cuda.Event()
            event.record()
            self._copies.append((host, event))
        else:
            self._copies.append((flag, None))
        if len(self._copies) < 2:
            return True
        earlier, done = self._copies.popleft()
        if done is not None:
            done.synchronize()
        return bool(earlier)


def refine_batch(flow: Tensor, dual: Tensor, problem: Linearised) -> tuple[Tensor, Tensor]:
    """All iterations after one warp, for many pairs, each of which stops on its own.

    Args:
        flow: (B, 2, H, W) flow at which the pairs were warped; changed in place.
        dual: (B, 2, 2, H, W); changed in place.
        problem: the linearised pairs.

    Returns:
        Flow and dual, each pair's after its convergence or after 10 x 30 iterations.
    """
    stop = threshold(*flow.shape[-2:])
    step = _Step(flow, dual, problem)
    active = torch.ones(flow.shape[0], dtype=torch.bool, device=flow.device)
    pairs = ActivePairs(flow.device)
    for _ in range(OUTER):
        torch.where(active[:, None, None, None], median(flow), flow, out=flow)
        for iteration in range(INNER):
            step.find_change()
            # A pair that has stopped keeps its last bit: its change and its dual are left out.
            step.change.mul_(active[:, None, None, None])
            step.apply()
            moved = torch.add(dual, step.slope, alpha=TAU).div_(step.divisor)
            torch.where(active[:, None, None, None, None], moved, dual, out=dual)
            active &= step.change.square().sum((1, 2, 3)) > stop
            if iteration % CHUNK == CHUNK - 1 and not pairs.look(active):
                return flow, dual
    return flow, dual
