import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
import skops.io

from aqakit.features.errors import RecipeError
from aqakit.models.data import Stream, Targets, VideoFeatures
from aqakit.models.head import Session
from aqakit.models.heads import frequency_ranksvm, frequency_svr, ranksvm, svr
from aqakit.models.pooled import PooledHead


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
        svr.build(svr.Options(kernel="polynomial", degree=2), 0, "cpu"),
        svr.build(svr.Options(search="grid"), 0, "cpu"),
        svr.build(svr.Options(kernel="linear", search="grid"), 0, "cpu"),
        ranksvm.build(ranksvm.Options(search="grid"), 0, "cpu"),
        frequency_svr.build(frequency_svr.Options(coefficients=3), 0, "cpu"),
        frequency_svr.build(frequency_svr.Options(transform="dft", coefficients=3), 0, "cpu"),
        frequency_svr.build(frequency_svr.Options(kernel="rbf", coefficients=3), 0, "cpu"),
        frequency_ranksvm.build(frequency_ranksvm.Options(search="grid", coefficients=3), 0, "cpu"),
    ]


HEADS = pytest.mark.parametrize("number", range(len(_heads())))


def _trained(number: int) -> tuple[PooledHead, list[VideoFeatures]]:
    head = _heads()[number]
    videos, targets = _problem()
    assert head.fit(videos, targets) == []
    return head, videos


@HEADS
def test_a_saved_head_scores_alike(number: int, tmp_path: Path) -> None:
    head, videos = _trained(number)
    head.save(tmp_path)
    again = _heads()[number]
    again.load(tmp_path)
    np.testing.assert_array_equal(again.score(videos), head.score(videos))
    assert again.explain(videos[0]).notes == head.explain(videos[0]).notes


SEARCHED = {5: {"C", "epsilon", "gamma"}, 6: {"C", "epsilon"}, 7: {"C"}, 11: {"C"}}


@HEADS
def test_what_a_search_chose_is_written_and_noted(number: int, tmp_path: Path) -> None:
    head, videos = _trained(number)
    head.save(tmp_path)
    notes = dict(head.explain(videos[0]).notes)
    assert set(notes) == SEARCHED.get(number, set())
    path = tmp_path / "search.json"
    assert path.exists() == (number in SEARCHED)
    if number in SEARCHED:
        record = json.loads(path.read_text())
        assert {name: format(value, "g") for name, value in record["chosen"].items()} == notes
        best = max(record["tried"], key=lambda tried: tried["accuracy"])
        assert best == {**record["chosen"], "accuracy": best["accuracy"]}
        assert len(record["tried"]) >= 5
        assert record["folds"] == 5
        assert record["held_out_pairs"] > 0


@HEADS
def test_nothing_that_is_saved_can_hold_code(number: int, tmp_path: Path) -> None:
    head, _ = _trained(number)
    head.save(tmp_path)
    path = tmp_path / "estimator.skops"
    foreign = {"aqakit.models.searched.Searched", "aqakit.models.rank_svm.RankSVM"}
    assert set(skops.io.get_untrusted_types(file=path)) <= foreign
    with zipfile.ZipFile(path) as archive:
        assert all(name.endswith((".json", ".npy")) for name in archive.namelist())


@HEADS
def test_a_score_does_not_depend_on_the_other_videos(number: int) -> None:
    head, videos = _trained(number)
    alone = np.array([head.score([video])[0] for video in videos])
    np.testing.assert_allclose(head.score(videos), alone, rtol=1e-9)


# Of the ninth the magnitude of a mean counts, which does not follow skill below 0.
@pytest.mark.parametrize("number", sorted(set(range(len(_heads()))) - {9}))
def test_the_explanation_follows_the_skill(number: int) -> None:
    head, _ = _trained(number)
    video = _video("x", 0.0, np.random.default_rng(1), steps=10)
    video.values[:, :] = 0
    video.values[3, 0] = 1.5
    (curve,) = head.explain(video).curves.values()
    assert np.argmax(curve) == 3
    np.testing.assert_array_equal(head.explain(video).times, video.times)


@pytest.mark.parametrize("number", [0, 1, 3, 6, 7, 8, 9, 11])
def test_contributions_of_a_linear_score_sum_to_it(number: int) -> None:
    head, videos = _trained(number)
    explanation = head.explain(videos[0])
    total = explanation.curves["contribution"].sum() + explanation.scores["offset"]
    assert total == pytest.approx(head.score(videos[:1])[0])


@pytest.mark.parametrize("number", [2, 4, 5, 10])
def test_a_score_that_is_not_linear_is_explained_by_occlusion(number: int) -> None:
    head, videos = _trained(number)
    explanation = head.explain(videos[0])
    assert list(explanation.curves) == ["occlusion"]
    assert explanation.scores == {"score": head.score(videos[:1])[0]}


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
