import numpy as np
import pytest
import scipy.fft
from numpy.typing import NDArray

from aqakit.features.errors import RecipeError
from aqakit.models.data import Targets, VideoFeatures
from aqakit.models.frequencies import Transform
from aqakit.models.heads import frequency_svr, svr
from aqakit.models.heads.frequency_svr import Options
from aqakit.models.metrics import spearman
from aqakit.models.regression import RegressionOptions, regressor

NO_PAIRS = np.zeros((0, 2), np.int64)
TRANSFORMS = pytest.mark.parametrize("transform", ["dct", "dft"])


def _videos(seed: int) -> tuple[list[VideoFeatures], NDArray[np.float64]]:
    """The more skilled, the larger a channel swings slowly and the less fast; means say nothing."""
    rng = np.random.default_rng(seed)
    skill = rng.normal(size=40)
    videos = []
    for number, level in enumerate(skill):
        steps = int(rng.integers(30, 60))
        time = (np.arange(steps) + 0.5) / steps
        values = 0.1 * rng.normal(size=(steps, 3))
        slow, fast = np.cos(2 * np.pi * time), np.cos(10 * np.pi * time)
        values[:, 1] += (1 + 0.2 * level) * slow + (1 - 0.2 * level) * fast
        videos.append(VideoFeatures.of(f"v{number}", values, np.zeros((steps, 3))))
    return videos, 50 + 20 * skill


@TRANSFORMS
def test_it_learns_what_is_there_and_nothing_from_noise(transform: Transform) -> None:
    videos, scores = _videos(0)
    test_videos, test_scores = _videos(1)
    head = frequency_svr.build(Options(transform=transform, C=0.1, coefficients=12), 0, "cpu")
    head.fit(videos, Targets(NO_PAIRS, scores))
    found = head.score(test_videos)
    assert spearman(found, test_scores) > 0.85
    assert np.abs(found - test_scores).mean() < 10
    noise = []
    for seed in range(10):
        permuted = np.random.default_rng(seed).permutation(scores)
        head.fit(videos, Targets(NO_PAIRS, permuted))
        noise.append(spearman(head.score(test_videos), test_scores))
    assert abs(np.mean(noise)) < 0.35


def test_statistics_without_time_see_less_of_it() -> None:
    videos, scores = _videos(0)
    test_videos, test_scores = _videos(1)
    head = svr.build(svr.Options(kernel="linear", C=0.1), 0, "cpu")
    head.fit(videos, Targets(NO_PAIRS, scores))
    assert spearman(head.score(test_videos), test_scores) < 0.5


@TRANSFORMS
def test_it_is_a_linear_machine_on_the_lowest_coefficients(transform: Transform) -> None:
    videos, scores = _videos(0)
    head = frequency_svr.build(Options(transform=transform, coefficients=4, epsilon=0.2), 0, "cpu")
    head.fit(videos, Targets(NO_PAIRS, scores))
    rows = []
    for video in videos:
        steps = len(video.values)
        if transform == "dct":
            found = scipy.fft.dct(video.values, axis=0, norm="ortho") / np.sqrt(steps)
        else:
            found = np.abs(scipy.fft.rfft(video.values, axis=0)) / steps
        rows.append(found[:4].ravel())
    machine = regressor(RegressionOptions(kernel="linear", epsilon=0.2)).fit(rows, scores)
    np.testing.assert_allclose(head.score(videos), machine.predict(rows), atol=1e-6)


def test_missing_scores_are_named() -> None:
    message = "frequency-svr learns from scores and 0 .* or take frequency-ranksvm, which learns"
    with pytest.raises(RecipeError, match=message):
        frequency_svr.build(Options(), 0, "cpu").fit(_videos(0)[0][:2], Targets(NO_PAIRS))


def test_options_are_checked() -> None:
    with pytest.raises(ValueError, match="coefficients is 0"):
        Options(coefficients=0)
    with pytest.raises(ValueError, match="C is 0"):
        Options(C=0.0)
