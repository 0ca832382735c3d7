import numpy as np
import pytest
from numpy.typing import NDArray

from aqakit.features.errors import RecipeError
from aqakit.models.data import Targets, VideoFeatures
from aqakit.models.frequencies import Frequencies, Transform
from aqakit.models.heads import frequency_ranksvm
from aqakit.models.heads.frequency_ranksvm import Options
from aqakit.models.metrics import pairwise_accuracy
from aqakit.models.ranking import RankingOptions, ranking_head

TRANSFORMS = pytest.mark.parametrize("transform", ["dct", "dft"])


def _problem(seed: int) -> tuple[list[VideoFeatures], NDArray[np.int64]]:
    """The more skilled, the larger a channel swings."""
    rng = np.random.default_rng(seed)
    skill = rng.normal(size=30)
    videos = []
    for number, level in enumerate(skill):
        steps = int(rng.integers(20, 40))
        time = (np.arange(steps) + 0.5) / steps
        values = 0.1 * rng.normal(size=(steps, 2))
        values[:, 0] += (1 + 0.2 * level) * np.cos(4 * np.pi * time)
        videos.append(VideoFeatures.of(f"v{number}", values, np.zeros((steps, 3))))
    return videos, np.argwhere(skill[:, None] > skill)


@TRANSFORMS
def test_it_learns_from_pairs(transform: Transform) -> None:
    videos, pairs = _problem(0)
    test_videos, test_pairs = _problem(1)
    head = frequency_ranksvm.build(Options(transform=transform, C=0.1, coefficients=5), 0, "cpu")
    head.fit(videos, Targets(pairs))
    assert pairwise_accuracy(head.score(test_videos), test_pairs).accuracy > 0.8


@TRANSFORMS
def test_it_is_the_ranking_of_these_frequencies(transform: Transform) -> None:
    videos, pairs = _problem(0)
    head = frequency_ranksvm.build(
        Options(0.3, search="grid", transform=transform, coefficients=3), 0, "cpu"
    )
    same = ranking_head(RankingOptions(0.3, search="grid"), Frequencies(transform, 3))
    for one in (head, same):
        one.fit(videos, Targets(pairs))
    np.testing.assert_array_equal(head.score(videos), same.score(videos))
    assert head.explain(videos[0]).notes == same.explain(videos[0]).notes


def test_missing_pairs_are_named() -> None:
    videos, _ = _problem(0)
    with pytest.raises(RecipeError, match="no pair of two training videos"):
        frequency_ranksvm.build(Options(), 0, "cpu").fit(
            videos, Targets(np.zeros((0, 2), np.int64), np.arange(30.0))
        )


def test_options_are_checked() -> None:
    with pytest.raises(ValueError, match="coefficients is 0"):
        Options(coefficients=0)
    with pytest.raises(ValueError, match="C is 0"):
        Options(C=0.0)
