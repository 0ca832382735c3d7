"""What rankers of segments in two streams have in common: segments drawn, and late fusion.

As temporal segment networks (Wang et al., ECCV 2016, arXiv 1608.00859): training sees a random
segment of each of K equal parts of a video, and the scores of rgb and flow are averaged.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from .data import VideoFeatures
from .head import Explanation
from .reading import Reading

STREAM_READINGS: Mapping[str, Reading] = {
    "score": Reading(
        "step score",
        "What the step alone is worth; only differences count.",
        "value",
        "both",
    ),
    "rgb_score": Reading(
        "step score by the picture",
        "What the picture of the step alone is worth.",
        "value",
        "both",
        detail=True,
    ),
    "flow_score": Reading(
        "step score by the motion",
        "What the motion in the step alone is worth.",
        "value",
        "both",
        detail=True,
    ),
}


def steps_at(places: Tensor, mask: Tensor | None, steps: int) -> Tensor:
    """The step at a random place of each of K equal parts of a video.

    Args:
        places: (V, K) from 0 to less than 1, within each part.
        mask: (V, T) True where a step is real, which those at the front are; None where all are.
        steps: T.

    Returns:
        (V, K) increasing; a video of fewer than K steps has some more than once.
    """
    parts = places.shape[1]
    order = torch.arange(parts, device=places.device)
    lengths = places.new_full((places.shape[0], 1), steps)
    if mask is not None:
        lengths = mask.sum(dim=1, keepdim=True).to(places.dtype)
    found = ((order + places) * lengths / parts).floor()
    # Just below 1 a place may be rounded up to the end.
    return torch.minimum(found, lengths - 1).long()


def take_steps(rows: Tensor, steps: Tensor) -> Tensor:
    """(V, K, C) rows of (V, T, C) at (V, K) steps."""
    return rows.gather(1, steps[..., None].expand(-1, -1, rows.shape[2]))


def video_scores(scores: Tensor, mask: Tensor | None) -> Tensor:
    """(V,) mean of (V, T) scores over the steps that are real."""
    if mask is None:
        return scores.mean(dim=1)
    return torch.where(mask, scores, 0).sum(dim=1) / mask.sum(dim=1)


def fused(scores: Mapping[str, Tensor], rgb_weight: float) -> Tensor:
    """Weighted mean of both streams' scores, late fusion; those of the one where there is one."""
    if "rgb" in scores and "flow" in scores:
        return rgb_weight * scores["rgb"] + (1 - rgb_weight) * scores["flow"]
    (alone,) = scores.values()
    return alone


def explained(
    video: VideoFeatures,
    curves: Mapping[str, Tensor],
    parts: Mapping[str, Tensor],
    rgb_weight: float,
) -> Explanation:
    """What each stream makes of each segment, and of the video.

    Args:
        video: that was scored.
        curves: (T,) of each stream.
        parts: its score by each stream.
        rgb_weight: that fuses them.
    """
    found = {f"{role}_score": curve for role, curve in curves.items()}
    found["score"] = fused(curves, rgb_weight)
    return Explanation(
        video.times,
        {name: curve.double().cpu().numpy() for name, curve in found.items()},
        {role: float(score) for role, score in parts.items()},
    )
