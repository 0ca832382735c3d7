from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from aqakit.models.losses import diversity_loss, margin_ranking_loss, outdo_uniform_loss

MARGINS = st.floats(0, 2)
PAIRS = st.integers(1, 6)
SEEDS = st.integers(0, 2**32)


def _scores(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@given(SEEDS, PAIRS, MARGINS)
def test_margin_ranking_loss_is_equation_10(seed: int, pairs: int, margin: float) -> None:
    better, worse = _scores(seed, 2, pairs)
    terms = []
    for i in range(pairs):
        terms.append(max(0.0, margin - float(better[i]) + float(worse[i])))
    loss = margin_ranking_loss(better, worse, margin)
    assert loss.tolist() == pytest.approx(terms, abs=1e-12)


@given(SEEDS, PAIRS, MARGINS)
def test_outdo_uniform_loss_is_equation_13(seed: int, pairs: int, margin: float) -> None:
    better, worse, uniform_better, uniform_worse = _scores(seed, 4, pairs)
    terms = []
    for i in range(pairs):
        attended = float(better[i]) - float(worse[i])
        uniform = float(uniform_better[i]) - float(uniform_worse[i])
        terms.append(max(0.0, margin - attended + uniform))
    loss = outdo_uniform_loss(
        better[:, None], worse[:, None], uniform_better, uniform_worse, margin
    )
    assert loss.tolist() == pytest.approx(terms, abs=1e-12)


@given(SEEDS, PAIRS, st.integers(1, 4), MARGINS)
def test_of_several_filters_the_one_that_separates_least_counts(
    seed: int, pairs: int, filters: int, margin: float
) -> None:
    better, worse = _scores(seed, 2, pairs, filters)
    uniform_better, uniform_worse = _scores(seed + 1, 2, pairs)
    terms = []
    for i in range(pairs):
        attended = min(float(better[i, k]) - float(worse[i, k]) for k in range(filters))
        terms.append(max(0.0, margin - attended + float(uniform_better[i] - uniform_worse[i])))
    loss = outdo_uniform_loss(better, worse, uniform_better, uniform_worse, margin)
    assert loss.tolist() == pytest.approx(terms, abs=1e-12)


@given(SEEDS, st.integers(1, 4), st.integers(1, 4), st.integers(1, 6), st.booleans())
def test_diversity_loss_is_equation_19(
    seed: int, videos: int, filters: int, segments: int, squared: bool
) -> None:
    attention = _scores(seed, videos, filters, segments).softmax(dim=2)
    losses = diversity_loss(attention, squared)
    assert losses.shape == (videos,)
    for video in range(videos):
        total = 0.0
        for a in range(filters):
            for b in range(filters):
                product = sum(
                    float(attention[video, a, t]) * float(attention[video, b, t])
                    for t in range(segments)
                )
                total += (product - (a == b)) ** 2
        assert float(losses[video]) == pytest.approx(total if squared else total**0.5, abs=1e-12)


def test_equal_scores_cost_the_margin() -> None:
    same = torch.ones(3)
    assert margin_ranking_loss(same, same, 0.7).tolist() == pytest.approx([0.7] * 3)
    each = torch.ones(3, 2)
    assert outdo_uniform_loss(each, each, same, same, 0.3).tolist() == pytest.approx([0.3] * 3)


def test_separated_pairs_cost_nothing() -> None:
    zeros = torch.zeros(4)
    assert margin_ranking_loss(zeros + 1, zeros, 1.0).tolist() == [0] * 4
    attended = outdo_uniform_loss(zeros[:, None] + 2, zeros[:, None], zeros, zeros, 1.5)
    assert attended.tolist() == [0] * 4


def test_filters_on_a_segment_of_their_own_cost_nothing() -> None:
    assert diversity_loss(torch.eye(3, 5)[None]).tolist() == [0]


def test_filters_on_the_same_segment_cost_the_most() -> None:
    same = torch.zeros(1, 3, 5)
    same[:, :, 2] = 1
    assert diversity_loss(same).tolist() == [6]
    torch.testing.assert_close(diversity_loss(same, squared=False), torch.tensor([6**0.5]))


@pytest.mark.parametrize("squared", [True, False])
def test_the_least_diversity_loss_has_a_gradient(squared: bool) -> None:
    attention = torch.eye(3, 5)[None].requires_grad_()
    diversity_loss(attention, squared).sum().backward()
    assert attention.grad is not None
    assert not attention.grad.any()


@given(SEEDS, st.permutations(range(5)))
def test_each_term_is_that_of_its_pair_or_video(seed: int, order: list[int]) -> None:
    better, worse = _scores(seed, 2, 5, 3)
    one, other = _scores(seed + 1, 2, 5)
    attention = _scores(seed, 5, 3, 4)
    margin = margin_ranking_loss(one, other, 1.0)
    assert margin_ranking_loss(one[order], other[order], 1.0).equal(margin[order])
    outdone = outdo_uniform_loss(better, worse, one, other, 0.3)
    moved = outdo_uniform_loss(better[order], worse[order], one[order], other[order], 0.3)
    assert moved.equal(outdone[order])
    torch.testing.assert_close(diversity_loss(attention[order]), diversity_loss(attention)[order])


# A hinge has no gradient where it bends; these scores stay away from there.
@pytest.mark.parametrize(
    ("loss", "shapes"),
    [
        (lambda a, b: margin_ranking_loss(a, b, 1.0), [(5,)] * 2),
        (lambda a, b, c, d: outdo_uniform_loss(a, b, c, d, 0.3), [(5, 3)] * 2 + [(5,)] * 2),
        (diversity_loss, [(2, 3, 4)]),
        (lambda attention: diversity_loss(attention, squared=False), [(2, 3, 4)]),
    ],
    ids=["margin", "outdo_uniform", "diversity", "diversity_unsquared"],
)
def test_gradients(loss: Callable[..., Tensor], shapes: list[tuple[int, ...]]) -> None:
    scores = [_scores(seed, *shape).requires_grad_() for seed, shape in enumerate(shapes)]
    assert torch.autograd.gradcheck(loss, scores)


def test_shapes_must_agree() -> None:
    with pytest.raises(ValueError, match=r"shapes differ: \(3,\) and \(3, 1\)"):
        margin_ranking_loss(torch.zeros(3), torch.zeros(3, 1), 1.0)
    with pytest.raises(ValueError, match=r"shapes differ: \(3, 2\) and \(3, 1\)"):
        outdo_uniform_loss(
            torch.zeros(3, 2), torch.zeros(3, 1), torch.zeros(3), torch.zeros(3), 1.0
        )
    with pytest.raises(ValueError, match=r"shapes differ: \(3,\) and \(2,\)"):
        outdo_uniform_loss(
            torch.zeros(3, 2), torch.zeros(3, 2), torch.zeros(3), torch.zeros(2), 1.0
        )
