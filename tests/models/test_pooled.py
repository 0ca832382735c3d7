from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from aqakit.features.errors import RecipeError
from aqakit.models.data import Stream, Targets, VideoFeatures
from aqakit.models.head import Session
from aqakit.models.heads import ranksvm, svr
from aqakit.models.pooled import PooledHead, Pooling, pool, shares, without_each

POOLINGS: list[Pooling] = ["mean", "mean-deviation"]
VALUES = arrays(np.float64, st.tuples(st.integers(1, 6), st.just(3)), elements=st.floats(-9, 9))


def _video(id: str, level: float, rng: np.random.Generator, steps: int = 8) -> VideoFeatures:
    """Skill shows in the mean of channel 0; the rest is noise."""
    values = rng.normal(size=(steps, 4)).astype(np.float32)
    values[:, 0] += level
    starts = np.arange(steps, dtype=np.float64)
    return VideoFeatures.of(id, values, np.stack([starts, starts + 0.5, starts + 1], axis=1))


def _problem() -> tuple[list[VideoFeatures], Targets]:
    rng = np.random.default_rng(0)
    levels = rng.uniform(-3, 3, 24)
    videos = [_video(f"v{number}", level, rng) for number, level in enumerate(levels)]
    return videos, Targets(np.argwhere(levels[:, None] > levels + 1), levels)


def _heads() -> list[PooledHead]:
    return [
        ranksvm.build(ranksvm.Options(C=0.1), 0, "cpu"),
        ranksvm.build(ranksvm.Options(C=0.1, pooling="mean"), 0, "cpu"),
        svr.build(svr.Options(), 0, "cpu"),
        svr.build(svr.Options(kernel="linear"), 0, "cpu"),
    ]


HEADS = pytest.mark.parametrize("number", range(len(_heads())))


def _trained(number: int) -> tuple[PooledHead, list[VideoFeatures]]:
    head = _heads()[number]
    videos, targets = _problem()
    assert head.fit(videos, targets) == []
    return head, videos


@pytest.mark.parametrize("pooling", POOLINGS)
@given(values=VALUES)
def test_shares_of_segments_sum_to_the_statistics(
    pooling: Pooling, values: NDArray[np.float64]
) -> None:
    total = shares(values, pooling).sum(axis=0)
    np.testing.assert_allclose(total, pool(values, pooling), atol=1e-9)


def test_pool_is_mean_then_deviation() -> None:
    values = np.array([[1.0, 5], [3, 5]])
    np.testing.assert_array_equal(pool(values, "mean-deviation"), [2, 5, 1, 0])
    np.testing.assert_array_equal(pool(values, "mean"), [2, 5])


def test_half_precision_is_summed_in_double() -> None:
    values = np.full((5000, 1), 60000, np.float16)
    expected = np.array([60000.0, 0.0])
    np.testing.assert_allclose(pool(values, "mean-deviation"), expected)


def test_without_each_segment() -> None:
    values = np.array([[1.0], [2], [6]])
    np.testing.assert_allclose(without_each(values, "mean"), [[4.0], [3.5], [1.5]])
    np.testing.assert_allclose(without_each(values[:1], "mean"), [[1.0]])


@HEADS
def test_a_saved_head_scores_alike(number: int, tmp_path: Path) -> None:
    head, videos = _trained(number)
    head.save(tmp_path)
    again = _heads()[number]
    again.load(tmp_path)
    np.testing.assert_array_equal(again.score(videos), head.score(videos))


@HEADS
def test_a_score_does_not_depend_on_the_other_videos(number: int) -> None:
    head, videos = _trained(number)
    alone = np.array([head.score([video])[0] for video in videos])
    np.testing.assert_allclose(head.score(videos), alone, rtol=1e-9)


@HEADS
def test_the_explanation_follows_the_skill(number: int) -> None:
    head, _ = _trained(number)
    video = _video("x", 0.0, np.random.default_rng(1), steps=10)
    video.values[:, :] = 0
    video.values[3, 0] = 1.5
    (curve,) = head.explain(video).curves.values()
    assert np.argmax(curve) == 3
    np.testing.assert_array_equal(head.explain(video).times, video.times)


@pytest.mark.parametrize("number", [0, 1, 3])
def test_contributions_of_a_linear_score_sum_to_it(number: int) -> None:
    head, videos = _trained(number)
    explanation = head.explain(videos[0])
    total = explanation.curves["contribution"].sum() + explanation.scores["offset"]
    assert total == pytest.approx(head.score(videos[:1])[0])


def test_occlusion_is_the_score_less_that_without_the_segment() -> None:
    head, videos = _trained(2)
    video = videos[0]
    expected = [
        head.score([video])[0]
        - head.score(
            [
                VideoFeatures.of(
                    "x", np.delete(video.values, step, 0), np.delete(video.times, step, 0)
                )
            ]
        )[0]
        for step in range(len(video.values))
    ]
    np.testing.assert_allclose(head.explain(video).curves["occlusion"], expected, atol=1e-6)


@HEADS
def test_a_video_of_one_segment_has_an_explanation(number: int) -> None:
    head, _ = _trained(number)
    video = _video("x", 1.0, np.random.default_rng(1), steps=1)
    (curve,) = head.explain(video).curves.values()
    assert curve.shape == (1,) and np.isfinite(curve).all()


def test_other_channels_are_refused_naming_the_video() -> None:
    head, videos = _trained(0)
    narrow = VideoFeatures.of("thin", videos[0].values[:, :2], videos[0].times)
    with pytest.raises(RecipeError, match="'thin' has 2 channels and the head was trained on 4"):
        head.score([narrow])
    with pytest.raises(RecipeError, match="'thin' has 2 channels and 'v0' 4"):
        head.fit([videos[0], narrow], Targets(np.array([[0, 1]])))


def test_maps_are_refused_naming_the_video() -> None:
    head, _ = _trained(0)
    maps = VideoFeatures.of("maps", np.zeros((3, 2, 2, 2)), np.zeros((3, 3)))
    with pytest.raises(
        RecipeError, match=r"'maps' has rows of shape \(2, 2, 2\); this head needs one"
    ):
        head.score([maps])
    with pytest.raises(RecipeError, match="'maps' has rows of shape"):
        head.fit([maps], Targets(np.array([[0, 0]])))


@HEADS
def test_only_the_rows_that_count_are_looked_at(number: int) -> None:
    head, (video, *_) = _trained(number)
    rows = np.random.default_rng(2).normal(size=(3 * len(video.values), 4))
    rows[2::3] = video.values
    drawn = Stream(rows, np.repeat(video.times, 3, axis=0), alternatives=3)
    several = VideoFeatures("v0", {"features": drawn})
    np.testing.assert_array_equal(head.score([several]), head.score([video]))
    ours, theirs = (head.explain(one) for one in (several, video))
    np.testing.assert_array_equal(ours.times, theirs.times)
    for name, curve in theirs.curves.items():
        np.testing.assert_array_equal(ours.curves[name], curve)


@HEADS
def test_validation_videos_change_nothing_and_nobody_is_told(number: int) -> None:
    head, videos = _trained(number)
    again, (_, targets) = _heads()[number], _problem()
    validation = [video for video in videos[:3]], Targets(np.array([[0, 1]]), np.arange(3.0))
    session = Session(validation, on_epoch=lambda *epoch: pytest.fail("there are no epochs"))
    assert again.fit(videos, targets, session) == []
    np.testing.assert_array_equal(again.score(videos), head.score(videos))


@pytest.mark.parametrize("damage", ["missing", "cut", "text", "foreign"])
def test_a_damaged_file_is_named(damage: str, tmp_path: Path) -> None:
    head, _ = _trained(0)
    head.save(tmp_path)
    path = tmp_path / "estimator.skops"
    content = path.read_bytes()
    if damage == "missing":
        path.unlink()
    elif damage == "foreign":  # holds RankSVM, which the regression does not trust
        head = svr.build(svr.Options(), 0, "cpu")
    else:
        path.write_bytes(content[: len(content) // 2] if damage == "cut" else b"hello")
    with pytest.raises(
        RecipeError, match=r"estimator\.skops does not hold this head \(.+\); train"
    ):
        head.load(tmp_path)


def test_an_untrained_head_says_so() -> None:
    with pytest.raises(ValueError, match="not trained"):
        svr.build(svr.Options(), 0, "cpu").explain(_problem()[0][0])
