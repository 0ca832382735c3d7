"""The iterations of TV-L1 as Triton kernels: one kernel an iteration, 60 bytes a pixel.

The same mathematics as ``tvl1_iterations``. An iteration reads flow u (2 values a pixel), dual q
(4), image gradient (2) and the constant of the linearised problem (1), and writes u and q into a
second set of buffers, so that neighbours still read old values; the next iteration goes back. The
new flow is needed at a pixel and at its right and lower neighbour, for the slope that moves q;
each pixel computes all three, which costs little beside the memory traffic.

Each pair stops on its own and on the device. A program works one tile of one pair and leaves the
sum of its squared changes in a table. The next iteration's programs all add up their pair's table
in the same order, so they agree, and the result does not depend on the batch or on timing:

- sum above the threshold: iterate;
- not above it: copy the state, so that both sets of buffers hold it, and mark the pair as stopped;
- marked: return.

Importing this needs Triton 3.4, whose kernels can hold the values of a window in a tuple.
"""

# Kernels are written in Triton's language, which has no annotations for pointers and blocks.
# mypy: disable-error-code="assignment,import-not-found,import-untyped,no-untyped-def,untyped-decorator"

import torch
import triton
import triton.language as tl
from torch import Tensor

from .tvl1_iterations import (
    CHUNK,
    INNER,
    LAMBDA,
    LEAST_GRADIENT,
    OUTER,
    TAU,
    THETA,
    ActivePairs,
    Linearised,
    threshold,
)
from .tvl1_median import MIDDLE, SIDE, selection_network

if tuple(int(part) for part in triton.__version__.split(".")[:2]) < (3, 4):
    raise ImportError(f"Triton is {triton.__version__}; must be 3.4 or newer")

TILE_ROWS, TILE_COLUMNS = 8, 64
# Two pixels a thread: with four, the registers of an iteration leave room for too few threads.
WARPS = 8
STOPPED = tl.constexpr(-1.0)
_NETWORK = selection_network()


@triton.jit
def _error(table, tiles, TABLE: tl.constexpr):
    """Sum of a pair's table, negative once the pair has stopped."""
    at = tl.arange(0, TABLE)
    return tl.sum(tl.load(table + at, mask=at < tiles, other=0.0), axis=0)


@triton.jit
def _tile(height, width, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    """Rows (ROWS, 1) and columns (1, COLUMNS) of this program's tile."""
    across = tl.cdiv(width, COLUMNS)
    tile = tl.program_id(0)
    y = (tile // across) * ROWS + tl.arange(0, ROWS)[:, None]
    x = (tile % across) * COLUMNS + tl.arange(0, COLUMNS)[None, :]
    return y, x


@triton.jit
def _divergence(q, y, x, inside, width, size):
    """Backward differences of one component's q, with nothing before the first pixel."""
    at = y * width + x
    here = tl.load(q + at, mask=inside, other=0.0) + tl.load(q + size + at, mask=inside, other=0.0)
    left = tl.load(q + at - 1, mask=inside & (x > 0), other=0.0)
    above = tl.load(q + size + at - width, mask=inside & (y > 0), other=0.0)
    return here - left - above


@triton.jit
def _changes(u, q, gradient, constant, y, x, inside, width, size, BOUND, LEAST):
    """Flow at some pixels and the change that this iteration makes to it."""
    at = y * width + x
    u_x = tl.load(u + at, mask=inside, other=0.0)
    u_y = tl.load(u + size + at, mask=inside, other=0.0)
    g_x = tl.load(gradient + at, mask=inside, other=0.0)
    g_y = tl.load(gradient + size + at, mask=inside, other=0.0)
    residual = tl.load(constant + at, mask=inside, other=0.0) + g_x * u_x + g_y * u_y
    step = -residual / tl.maximum(g_x * g_x + g_y * g_y, LEAST)
    step = tl.minimum(tl.maximum(step, -BOUND), BOUND)
    change_x = _divergence(q, y, x, inside, width, size) + step * g_x
    change_y = _divergence(q + 2 * size, y, x, inside, width, size) + step * g_y
    return u_x, u_y, change_x, change_y


@triton.jit
def _move_dual(q, q_out, at, inside, size, slope_x, slope_y, TAU_, RATE):
    """Chambolle's step for one component of the flow."""
    norm = 1.0 + RATE * tl.sqrt(slope_x * slope_x + slope_y * slope_y)
    old_x = tl.load(q + at, mask=inside, other=0.0)
    old_y = tl.load(q + size + at, mask=inside, other=0.0)
    tl.store(q_out + at, (old_x + TAU_ * slope_x) / norm, mask=inside)
    tl.store(q_out + size + at, (old_y + TAU_ * slope_y) / norm, mask=inside)


@triton.jit
def _copy(source, target, at, inside, size, PLANES: tl.constexpr):
    for plane in tl.static_range(PLANES):
        value = tl.load(source + plane * size + at, mask=inside)
        tl.store(target + plane * size + at, value, mask=inside)


@triton.jit(do_not_specialize=["stop"])
def iterate(
    u,
    q,
    u_out,
    q_out,
    gradient,
    constant,
    table,
    table_out,
    active,
    stop,
    height,
    width,
    tiles,
    TAU_: tl.constexpr,
    RATE: tl.constexpr,
    BOUND: tl.constexpr,
    LEAST: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    TABLE: tl.constexpr,
):
    """One inner iteration of one tile (program 0) of one pair (program 1).

    ``active`` (B,) receives whether the pair iterated. RATE is tau / theta, BOUND lambda * theta.
    """
    # 64 bits: a large batch has more values than 32 can count.
    pair = tl.program_id(1).to(tl.int64)
    tile = tl.program_id(0)
    size = height * width
    error = _error(table + pair * tiles, tiles, TABLE)
    u += pair * 2 * size
    q += pair * 4 * size
    u_out += pair * 2 * size
    q_out += pair * 4 * size
    gradient += pair * 2 * size
    constant += pair * size
    y, x = _tile(height, width, ROWS, COLUMNS)
    inside = (y < height) & (x < width)
    at = y * width + x
    note = STOPPED
    if error > stop:
        u_x, u_y, change_x, change_y = _changes(
            u, q, gradient, constant, y, x, inside, width, size, BOUND, LEAST
        )
        squares = tl.where(inside, change_x * change_x + change_y * change_y, 0.0)
        note = tl.sum(tl.sum(squares, axis=1), axis=0)
        u_x += change_x
        u_y += change_y
        tl.store(u_out + at, u_x, mask=inside)
        tl.store(u_out + size + at, u_y, mask=inside)
        # The last column has no slope in x and the last row none in y.
        has_right = inside & (x + 1 < width)
        right_x, right_y, change_x, change_y = _changes(
            u, q, gradient, constant, y, x + 1, has_right, width, size, BOUND, LEAST
        )
        x_slope_x = tl.where(has_right, right_x + change_x - u_x, 0.0)
        y_slope_x = tl.where(has_right, right_y + change_y - u_y, 0.0)
        has_lower = inside & (y + 1 < height)
        lower_x, lower_y, change_x, change_y = _changes(
            u, q, gradient, constant, y + 1, x, has_lower, width, size, BOUND, LEAST
        )
        x_slope_y = tl.where(has_lower, lower_x + change_x - u_x, 0.0)
        y_slope_y = tl.where(has_lower, lower_y + change_y - u_y, 0.0)
        _move_dual(q, q_out, at, inside, size, x_slope_x, x_slope_y, TAU_, RATE)
        q += 2 * size
        q_out += 2 * size
        _move_dual(q, q_out, at, inside, size, y_slope_x, y_slope_y, TAU_, RATE)
    elif error >= 0:
        _copy(u, u_out, at, inside, size, 2)
        _copy(q, q_out, at, inside, size, 4)
    tl.store(table_out + pair * tiles + tile, note)
    if tile == 0:
        tl.store(active + pair, (error > stop).to(tl.int32))


@triton.jit
def _exchange(window, low: tl.constexpr, high: tl.constexpr):
    """The window, a tuple of blocks, with the lesser of two in place ``low``; low < high."""
    least = tl.minimum(window[low], window[high])
    greatest = tl.maximum(window[low], window[high])
    between = window[low + 1 : high]
    return window[:low] + (least,) + between + (greatest,) + window[high + 1 :]


@triton.jit(do_not_specialize=["stop"])
def smooth(
    u,
    u_out,
    table,
    stop,
    height,
    width,
    tiles,
    NETWORK: tl.constexpr,
    WINDOW: tl.constexpr,
    CENTRE: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    TABLE: tl.constexpr,
):
    """The median of one tile (program 0) of one component of one pair (program 1).

    A pair that has stopped is left as it is, or copied where its buffers differ still.
    """
    plane = tl.program_id(1).to(tl.int64)
    size = height * width
    error = _error(table + (plane // 2) * tiles, tiles, TABLE)
    u += plane * size
    u_out += plane * size
    y, x = _tile(height, width, ROWS, COLUMNS)
    inside = (y < height) & (x < width)
    at = y * width + x
    if error > stop:
        window = ()
        for place in tl.static_range(WINDOW * WINDOW):
            # The border is repeated.
            row = tl.minimum(tl.maximum(y + (place // WINDOW - WINDOW // 2), 0), height - 1)
            column = tl.minimum(tl.maximum(x + (place % WINDOW - WINDOW // 2), 0), width - 1)
            window = window + (tl.load(u + row * width + column),)
        for number in tl.static_range(len(NETWORK)):
            window = _exchange(window, NETWORK[number][0], NETWORK[number][1])
        tl.store(u_out + at, window[CENTRE], mask=inside)
    elif error >= 0:
        _copy(u, u_out, at, inside, size, 1)


class _Pairs:
    """The buffers of a batch after one warp, and which of them hold the newest values."""

    def __init__(self, flow: Tensor, dual: Tensor, problem: Linearised) -> None:
        pairs, _, self.height, self.width = flow.shape
        self.problem = problem
        self.flow, self._flow_out = flow.contiguous(), torch.empty_like(flow)
        self.dual, self._dual_out = dual.contiguous(), torch.empty_like(dual)
        self._tiles = triton.cdiv(self.height, TILE_ROWS) * triton.cdiv(self.width, TILE_COLUMNS)
        # Before the first iteration every pair has infinite error.
        self._table = torch.full((pairs, self._tiles), float("inf"), device=flow.device)
        self._table_out = torch.empty_like(self._table)
        self.active = torch.ones(pairs, dtype=torch.int32, device=flow.device)
        self._stop = threshold(self.height, self.width)
        self._block = {
            "ROWS": TILE_ROWS,
            "COLUMNS": TILE_COLUMNS,
            "TABLE": triton.next_power_of_2(self._tiles),
            "num_warps": WARPS,
        }

    def iterate(self) -> None:
        """One inner iteration of every pair that has not stopped."""
        iterate[(self._tiles, len(self.active))](
            self.flow,
            self.dual,
            self._flow_out,
            self._dual_out,
            self.problem.gradient,
            self.problem.constant,
            self._table,
            self._table_out,
            self.active,
            self._stop,
            self.height,
            self.width,
            self._tiles,
            TAU_=TAU,
            RATE=TAU / THETA,
            BOUND=LAMBDA * THETA,
            LEAST=LEAST_GRADIENT,
            **self._block,
        )
        self.flow, self._flow_out = self._flow_out, self.flow
        self.dual, self._dual_out = self._dual_out, self.dual
        self._table, self._table_out = self._table_out, self._table

    def smooth(self) -> None:
        """The median of the flow of every pair that has not stopped."""
        smooth[(self._tiles, 2 * len(self.active))](
            self.flow,
            self._flow_out,
            self._table,
            self._stop,
            self.height,
            self.width,
            self._tiles,
            NETWORK=_NETWORK,
            WINDOW=SIDE,
            CENTRE=MIDDLE,
            **self._block,
        )
        self.flow, self._flow_out = self._flow_out, self.flow


def refine(flow: Tensor, dual: Tensor, problem: Linearised) -> tuple[Tensor, Tensor]:
    """All iterations after one warp, for many pairs, each of which stops on its own.

    Args:
        flow: (B, 2, H, W) flow at which the pairs were warped.
        dual: (B, 2, 2, H, W); its memory is used.
        problem: the linearised pairs, contiguous.

    Returns:
        Flow and dual, each pair's after its convergence or after 10 x 30 iterations.
    """
    pairs = _Pairs(flow, dual, problem)
    looks = ActivePairs(flow.device)
    for _ in range(OUTER):
        pairs.smooth()
        for iteration in range(INNER):
            pairs.iterate()
            if iteration % CHUNK == CHUNK - 1 and not looks.look(pairs.active):
                return pairs.flow, pairs.dual
    return pairs.flow, pairs.dual
