"""Losses over pairs of videos of which one shows more skill.

All come from Doughty et al., "The Pros and Cons: Rank-aware Temporal Attention for Skill
Determination in Long Videos", CVPR 2019 (arXiv 1812.05538). The paper sums over pairs; here and in
the authors' code they are means over the batch, so that learning rates do not depend on its size.
Each loss gives one term a pair; the trainer takes the mean. The sums of equation 15 and the weight of
equation 20 keep their meaning, as every term is a mean.
"""

import torch
from torch import Tensor


def margin_ranking_loss(better: Tensor, worse: Tensor, margin: float) -> Tensor:
    """Hinge on the score difference of each pair: equations 10 to 12.

    Args:
        better: (P,) scores of the more skilled videos.
        worse: (P,) scores of the others.
        margin: in score units.

    Returns:
        (P,) terms; 0 for a pair that is separated by ``margin``, which a pair of equal scores costs.

    Raises:
        ValueError: shapes differ.
    """
    _same_shape(better, worse)
    return (margin - (better - worse)).clamp(min=0)


def outdo_uniform_loss(
    better: Tensor, worse: Tensor, uniform_better: Tensor, uniform_worse: Tensor, margin: float
) -> Tensor:
    """Hinge on how much more attention separates a pair than uniform weighting does.

    With the high-skill scores of both videos, or the low-skill scores of both, it is the disparity
    loss, equation 13. With the high-skill score of the better video and the low-skill score of the
    worse one it is the rank-aware loss, equation 14.

    Args:
        better: (P, K) scores of the more skilled videos by attention; K is 1, or the number of
            filters, of which the one that separates the pair least counts (the authors' code).
        worse: (P, K) scores of the others.
        uniform_better: (P,) scores of the more skilled videos by uniform weighting.
        uniform_worse: (P,) scores of the others.
        margin: in score units.

    Returns:
        (P,) terms.

    Raises:
        ValueError: shapes differ.
    """
    _same_shape(better, worse)
    _same_shape(uniform_better, uniform_worse)
    gain = (better - worse).amin(dim=1) - (uniform_better - uniform_worse)
    return (margin - gain).clamp(min=0)


def diversity_loss(attention: Tensor, squared: bool = True) -> Tensor:
    """How far the filters of a module are from attending to different, few segments: equation 19.

    Args:
        attention: (V, K, T) weights that sum to 1 over time.
        squared: the squared Frobenius norm of the paper, or the plain one of the authors' code.

    Returns:
        (V,) one value a video.
    """
    identity = torch.eye(attention.shape[1], dtype=attention.dtype, device=attention.device)
    distance = (attention @ attention.mT - identity).flatten(1)
    return distance.square().sum(dim=1) if squared else distance.norm(dim=1)


def _same_shape(one: Tensor, other: Tensor) -> None:
    if one.shape != other.shape:
        raise ValueError(f"shapes differ: {tuple(one.shape)} and {tuple(other.shape)}")
