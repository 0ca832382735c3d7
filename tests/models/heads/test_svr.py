from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.svm import SVR

from aqakit.features.errors import RecipeError
from aqakit.models.data import Targets, VideoFeatures
from aqakit.models.heads import ranksvm, svr
from aqakit.models.heads.svr import Options
from aqakit.models.metrics import spearman
from aqakit.models.regression import Kernel

NO_PAIRS = np.zeros((0, 2), np.int64)


def _videos(seed: int) -> tuple[list[VideoFeatures], NDArray[np.float64]]:
    """Scores of about 50 +- 20 by the mean of channel 0."""
    rng = np.random.default_rng(seed)
    skill = rng.normal(size=40)
    videos = []
    for number, level in enumerate(skill):
        values = rng.normal(size=(10, 3))
        values[:, 0] += level
        values[:, 1] *= 1000  # another scale, which must not matter
        videos.append(VideoFeatures.of(f"v{number}", values, np.zeros((10, 3))))
    return videos, 50 + 20 * skill


@pytest.mark.parametrize("kernel", ["rbf", "linear", "polynomial"])
def test_it_learns_what_is_there_and_nothing_from_noise(kernel: Kernel) -> None:
    videos, scores = _videos(0)
    test_videos, test_scores = _videos(1)
    head = svr.build(Options(kernel=kernel), 0, "cpu")
    head.fit(videos, Targets(NO_PAIRS, scores))
    found = head.score(test_videos)
    assert spearman(found, test_scores) > 0.7
    assert np.abs(found - test_scores).mean() < 15
    noise = []
    for seed in range(10):
        permuted = np.random.default_rng(seed).permutation(scores)
        head.fit(videos, Targets(NO_PAIRS, permuted))
        noise.append(spearman(head.score(test_videos), test_scores))
    assert abs(np.mean(noise)) < 0.35


def test_it_is_scikit_learns_on_standardised_statistics_and_scores() -> None:
    videos, scores = _videos(0)
    head = svr.build(Options(C=2.0, epsilon=0.2), 0, "cpu")
    head.fit(videos, Targets(NO_PAIRS, scores))
    rows = np.array([[*v.values.mean(axis=0), *v.values.std(axis=0)] for v in videos])
    rows = (rows - rows.mean(axis=0)) / rows.std(axis=0)
    machine = SVR(C=2.0, epsilon=0.2).fit(rows, (scores - scores.mean()) / scores.std())
    expected = machine.predict(rows) * scores.std() + scores.mean()
    np.testing.assert_allclose(head.score(videos), expected, rtol=1e-6)


def test_it_looks_at_means_alone_where_asked() -> None:
    videos, scores = _videos(0)
    head = svr.build(Options(pooling="mean"), 0, "cpu")
    head.fit(videos, Targets(NO_PAIRS, scores))
    swung = [
        VideoFeatures.of(v.id, 3 * (v.values - v.values.mean(axis=0)), v.times) for v in videos
    ]
    np.testing.assert_allclose(head.score(swung), head.score(swung)[0], rtol=1e-9)


def test_videos_without_a_score_are_left_out() -> None:
    videos, scores = _videos(0)
    head = svr.build(Options(), 0, "cpu")
    head.fit(videos[:30], Targets(NO_PAIRS, scores[:30]))
    expected = head.score(videos)
    unknown = np.where(np.arange(40) < 30, scores, np.nan)
    head.fit(videos, Targets(NO_PAIRS, unknown))
    np.testing.assert_array_equal(head.score(videos), expected)


@pytest.mark.parametrize("scores, known", [(None, 0), (np.array([np.nan, 3.0]), 1)])
def test_missing_scores_are_named(scores: NDArray[np.float64] | None, known: int) -> None:
    with pytest.raises(RecipeError, match=f"svr learns from scores and {known} training videos"):
        svr.build(Options(), 0, "cpu").fit(_videos(0)[0][:2], Targets(NO_PAIRS, scores))


def test_options_are_checked() -> None:
    with pytest.raises(ValueError, match="C is 0"):
        Options(C=0.0)
    with pytest.raises(ValueError, match="epsilon is -1"):
        Options(epsilon=-1.0)


def test_the_file_of_another_head_is_refused(tmp_path: Path) -> None:
    videos, scores = _videos(0)
    head = svr.build(Options(), 0, "cpu")
    head.fit(videos, Targets(NO_PAIRS, scores))
    head.save(tmp_path)
    with pytest.raises(RecipeError, match="it holds a TransformedTargetRegressor"):
        ranksvm.build(ranksvm.Options(), 0, "cpu").load(tmp_path)
