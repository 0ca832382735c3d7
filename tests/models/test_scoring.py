"""Places of new videos among those that trained, and what is noted of each."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from aqakit.features.errors import ManifestError, RecipeError
from aqakit.features.manifest import Video
from aqakit.features.segments import Sampling, Timeline
from aqakit.features.source import Source
from aqakit.features.spec import FeatureSpec
from aqakit.features.store import FeatureStore
from aqakit.models.data import VideoFeatures
from aqakit.models.head import Head
from aqakit.models.inputs import Inputs
from aqakit.models.recipe import Recipe
from aqakit.models.scoring import (
    Neighbour,
    Placed,
    Reference,
    Scored,
    ScoredVideo,
    Scorer,
    distinct,
    padded_frames,
)

SPEC = FeatureSpec("flow-hist", "flow", "hist", Sampling.parse("stacks-2x4-10fps"), "short-64")
IDS = ("a", "b", "c", "d")
REFERENCE = Reference(
    IDS,
    np.array([0.1, np.nan, 0.3, 0.4]),
    np.array([[1.0, 2.0, 3.0, 4.0], [40.0, 20.0, 30.0, 10.0]]),
    scaled=True,
)


def place(*scores: float, itself: str | None = None) -> Placed:
    return REFERENCE.place(np.array(scores), itself)


def test_a_place_among_training_videos() -> None:
    # Means over seeds: a 20.5, b 11, c 16.5, d 7.
    found = place(2.5, 25.0)
    assert found == Placed(
        13.75,
        found.deviation,
        (2.5, 25.0),
        3,
        5,
        (3, 3),
        50.0,
        Neighbour("c", 16.5, 0.3),
        found.worse,
    )
    assert found.deviation == pytest.approx(15.909902576697319)
    assert found.worse is not None
    assert (found.worse.id, found.worse.score) == ("b", 11.0)
    assert math.isnan(found.worse.label)


def test_seeds_that_differ_show_in_the_ranks() -> None:
    assert place(0.0, 50.0).seed_ranks == (1, 5)
    assert place(3.5, 35.0).seed_ranks == (2, 2)


def test_the_ends_of_the_ranking_have_one_neighbour() -> None:
    best, worst = place(9.0, 90.0), place(0.0, 0.0)
    assert (best.rank, best.percentile, best.better) == (1, 100.0, None)
    assert (worst.rank, worst.percentile, worst.worse) == (5, 0.0, None)
    assert best.worse == Neighbour("a", 20.5, 0.1)
    assert worst.better == Neighbour("d", 7.0, 0.4)


def test_a_tie_is_half_and_no_neighbour() -> None:
    found = place(3.0, 30.0)
    assert (found.rank, found.percentile) == (2, 62.5)
    assert found.better is not None
    assert found.worse is not None
    assert (found.better.id, found.worse.id) == ("a", "b")


def test_a_training_video_is_not_ranked_beside_itself() -> None:
    found = place(3.0, 30.0, itself="c")
    assert (found.rank, found.of) == (2, 4)
    assert found.percentile == pytest.approx(200 / 3)
    assert found.score == 16.5
    # Nor where another machine rounds its score down.
    found = place(2.999, 29.99, itself="c")
    assert found.better is not None
    assert (found.rank, found.better.id, found.seed_ranks) == (2, "a", (2, 2))


def test_scores_without_a_unit_are_brought_to_one_scale() -> None:
    found = replace(REFERENCE, scaled=False).place(np.array([2.5, 25.0]))
    assert (found.score, found.deviation) == (0.0, 0.0)


# Reading the training videos


def write_predictions(folder: Path, *rows: str) -> None:
    (folder / "predictions.csv").write_text("\n".join(["id,part,subject,truth,seed_0", *rows]))
    (folder / "test_pairs.csv").write_text("better,worse,seen\n")


def recipe(seeds: int = 1) -> Recipe:
    return Recipe.make("ranksvm", {"features": SPEC.key}, "default", range(seeds))


def test_only_videos_that_trained_are_the_reference(tmp_path: Path) -> None:
    write_predictions(tmp_path, "a,train,,0.5,1", "b,val,,,2", "c,train+test,,,3", "d,test,,,4")
    found = Reference.read(tmp_path, recipe())
    assert (found.ids, found.seeds.tolist(), found.scaled) == (("a", "c"), [[1.0, 3.0]], False)
    assert found.labels.tolist()[0] == 0.5
    assert math.isnan(found.labels[1])


@pytest.mark.parametrize(("part", "seeds"), [("test", 1), ("train", 2)])
def test_predictions_that_lack_something_are_one_line(
    tmp_path: Path, part: str, seeds: int
) -> None:
    write_predictions(tmp_path, f"a,{part},,0.5,1")
    with pytest.raises(RecipeError) as caught:
        Reference.read(tmp_path, recipe(seeds))
    assert str(caught.value) == (
        f"{tmp_path} holds no predictions of training videos by each seed; train it again"
    )


# Scoring


@dataclass
class Made:
    """A head that scores a video by its first value; some ids it refuses, or has no number for."""

    seen: list[VideoFeatures] = field(default_factory=list)

    def score(self, videos: Sequence[VideoFeatures]) -> NDArray[np.float64]:
        self.seen += videos
        if "refused" in {video.id for video in videos}:
            raise RecipeError("refused; give another")
        odd = {"odd": np.nan}
        return np.array([odd.get(v.id, float(v.values[0, 0])) for v in videos])


def put(
    store: FeatureStore,
    id: str,
    value: float,
    seconds: float = 4.0,
    size: tuple[int, int] | None = (64, 48),
    damaged: int = 0,
) -> None:
    times = np.array([[0, 0.2, 0.4], [seconds - 0.4, seconds - 0.2, seconds]])
    frames = np.arange(8).reshape(2, 4) / 10
    facts: dict[str, Any] = {"frames_damaged": damaged}
    if size is not None:
        facts["stream"] = {"width": size[0], "height": size[1]}
    source = Source(f"{id}.mp4", 1, 1, f"{id:0>64}")
    with store.begin(SPEC, id, source, (2, 1), 4) as part:
        part.append(np.full((2, 1), value, np.float32))
        part.finish(times, frames, facts)


def scorer(tmp_path: Path, **known: Any) -> Scorer:
    sizes, seconds = {"64x48": 3, "80x60": 1}, (3.0, 5.0)
    path = tmp_path / "none"
    inputs = Inputs(path, None, path, {SPEC.key: SPEC}, sizes, seconds)
    heads = cast(Sequence[Head], known.pop("heads", [Made()]))
    reference = replace(REFERENCE, seeds=REFERENCE.seeds[:1])
    store = FeatureStore.create(tmp_path / "new")
    return Scorer(recipe(), heads, reference, replace(inputs, **known), store, None)


def notes(found: Scorer, id: str) -> tuple[str, ...]:
    (one,) = found.score([Video(id)], {}, lambda *_: None)
    assert not one.failure
    return one.notes


def test_the_best_come_first_and_failures_last(tmp_path: Path) -> None:
    head, told = Made(), list[tuple[int, int, str]]()
    found = scorer(tmp_path, heads=[head])
    for id, value in {"low": 1.5, "odd": 2.0, "refused": 3.0, "high": 3.5, "broken": 9.0}.items():
        put(found.store, id, value)
    ids = ("low", "odd", "refused", "gone", "high", "broken")
    videos = [Video(id, task="t", action_type="x") for id in ids]
    gone = f"no {SPEC.key} features of 'gone' in {found.store.path}; "
    result = found.score(videos, {"broken": "broken off"}, lambda *step: told.append(step))
    assert [(one.id, one.failure) for one in result] == [
        ("high", ""),
        ("low", ""),
        ("odd", "its score is not finite; look at its features, or train again"),
        ("refused", "refused; give another"),
        ("gone", gone + "import them there first, under this id"),
        ("broken", "broken off"),
    ]
    assert [one.placed.rank for one in result if one.placed] == [2, 4]
    assert all(one.placed is None for one in result if one.failure)
    assert {(video.task, video.action_type) for video in head.seen} == {("t", "x")}
    assert told[0] == (1, 6, "low")
    assert told[-1] == (6, 6, "broken")


def test_a_video_like_those_that_trained_has_no_note(tmp_path: Path) -> None:
    found = scorer(tmp_path)
    put(found.store, "v", 2.5)
    assert notes(found, "v") == ()


def test_what_is_unlike_the_training_videos_is_noted(tmp_path: Path) -> None:
    found = scorer(tmp_path)
    put(found.store, "small", 2.5, size=(32, 24))
    put(found.store, "short", 2.5, seconds=2.9)
    put(found.store, "long", 2.5, seconds=5.1)
    put(found.store, "hardly", 2.5, seconds=5.04)
    put(found.store, "high", 4.5)
    put(found.store, "low", 0.5)
    put(found.store, "damaged", 2.5, damaged=3)
    assert notes(found, "small") == ("32x24; the run learned from 64x48, 80x60",)
    assert notes(found, "short") == ("2.9 s, shorter than any training video (3.0 to 5.0 s)",)
    assert notes(found, "long") == ("5.1 s, longer than any training video (3.0 to 5.0 s)",)
    assert notes(found, "hardly") == ()
    assert notes(found, "high") == ("scores above all training videos",)
    assert notes(found, "low") == ("scores below all training videos",)
    assert notes(found, "damaged") == ("3 damaged frames",)


def test_many_sizes_are_counted(tmp_path: Path) -> None:
    sizes = {"1x1": 1, "2x2": 9, "3x3": 5, "4x4": 7, "5x5": 1}
    found = scorer(tmp_path, sizes=sizes)
    put(found.store, "v", 2.5)
    assert notes(found, "v") == ("64x48; the run learned from 2x2, 4x4, 3x3 and 2 other sizes",)


def test_nothing_is_said_of_what_is_unknown(tmp_path: Path) -> None:
    found = scorer(tmp_path, sizes={}, seconds=(math.nan, math.nan))
    put(found.store, "v", 2.5, seconds=99.0)
    put(found.store, "imported", 2.5, size=None)
    assert notes(found, "v") == ()
    assert notes(found, "imported") == ()


def test_a_file_that_trained_is_recognised_by_its_bytes(tmp_path: Path) -> None:
    found = scorer(tmp_path)
    training = FeatureStore.create(tmp_path / "training")
    source = Source("other name.mp4", 7, 8, f"{'v':0>64}")
    with training.begin(SPEC, "c", source, (2, 1), 4) as part:
        part.append(np.zeros((2, 1), np.float32))
        part.finish(np.zeros((2, 3)), np.zeros((2, 4)), {})
    put(training, "not-in-reference", 1.0)
    put(found.store, "v", 3.0)
    put(found.store, "not-in-reference", 3.0)
    found = replace(found, training=training)
    assert notes(found, "v") == ("this file trained the model, as c",)
    assert notes(found, "not-in-reference") == ()
    put(found.store, "v", 9.0)  # the same file, at the top
    assert notes(found, "v") == ("this file trained the model, as c",)
    put(found.store, "v", 3.0)
    (one,) = found.score([Video("v")], {}, lambda *_: None)
    assert one.placed is not None
    assert (one.placed.of, one.placed.rank) == (4, 2)


# Padding, from what is stored


@given(
    st.sampled_from(
        [
            "stacks-3x8-10fps",
            "stacks-3x8-7.5fps-loop",
            "stacks-3x8",
            "clips-8",
            "clips-8-5fps",
            "segments-3x8-last",
            "segments-3-last",
            "segments-2x8-last-plus2",
            "steps-3x8",
            "steps-3x8-10fps",
        ]
    ),
    st.integers(1, 30),
    st.sampled_from([0.04, 0.1, 0.25, 1 / 30]),
    st.sampled_from([0.0, 3.7]),
)
def test_padding_is_what_the_plan_says(
    text: str, frames: int, spacing: float, start: float
) -> None:
    sampling = Sampling.parse(text)
    times = start + spacing * np.arange(frames, dtype=np.float64)
    units = sampling.plan(Timeline(times, float(times[-1]) + spacing))
    found = padded_frames(sampling, units.times, units.frame_times)
    assert found == units.padded_frames


def test_unknown_times_are_not_padding() -> None:
    nothing = np.full((2, 3), np.nan), np.full((2, 4), np.nan)
    assert padded_frames(SPEC.sampling, *nothing) == 0


def test_padding_is_noted(tmp_path: Path) -> None:
    found = scorer(tmp_path, seconds=(0.1, 5.0))
    put(found.store, "v", 2.5, seconds=0.2)
    short = np.array([[0, 0.1, 0.2], [0, 0.1, 0.2]])
    for id, facts in {"v": {"stream": {"width": 64, "height": 48}}, "imported": {}}.items():
        with found.store.begin(SPEC, id, Source(id, 2, 1, f"{id:0>64}"), (2, 1), 4) as part:
            part.append(np.full((2, 1), 2.5, np.float32))
            part.finish(short, np.array([[0, 0.1, 0.1, 0.1]] * 2), facts)
    assert notes(found, "v") == (
        "too short for flow-hist: 2 of the 4 frames that it looks at are made up from others",
    )
    assert notes(found, "imported") == ()


# Ids


def test_files_of_one_name_are_told_apart_by_their_folders() -> None:
    videos = [Video("x", Path("/a/x.mp4")), Video("x", Path("/b/x.mp4")), Video("y", Path("y.mp4"))]
    assert [video.id for video in distinct(videos)] == ["a/x", "b/x", "y"]
    assert [video.path for video in distinct(videos)] == [video.path for video in videos]


def test_the_same_video_twice_is_scored_once() -> None:
    video, stretch = Video("x", Path("x.mp4")), Video("x2", Path("x.mp4"), 1.0, 2.0)
    assert distinct([video, stretch, video]) == (video, stretch)


def test_ids_that_stay_equal_are_one_line() -> None:
    files = [Video("x", Path("/a/c/x.mp4")), Video("x", Path("/b/c/x.mp4"))]
    with pytest.raises(ManifestError) as caught:
        distinct(files)
    assert str(caught.value) == (
        "/b/c/x.mp4 and /a/c/x.mp4 are both called 'c/x'; list them in a manifest, with an id each"
    )
    with pytest.raises(ManifestError, match="a video and another are both called 'x'"):
        distinct([Video("x", task="a"), Video("x", start_seconds=1.0)])


def test_all_is_said_of_the_run(tmp_path: Path) -> None:
    chosen, inputs = recipe(), scorer(tmp_path).inputs
    found = Scored.of(tmp_path, chosen, inputs, [ScoredVideo(Video("v"))])
    assert found == Scored(
        tmp_path, "ranksvm", {"features": SPEC.key}, {SPEC.key: "none"}, (0,), False,
        (ScoredVideo(Video("v")),),
    )  # fmt: skip
