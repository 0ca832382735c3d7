import json
import math
import tarfile
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.interpolate import make_interp_spline

from aqakit.features.errors import RecipeError, VideoError
from aqakit.features.manifest import Manifest, Video
from aqakit.features.outcome import Outcome
from aqakit.features.segments import Sampling, Timeline
from aqakit.features.source import Source
from aqakit.features.store import FeatureStore
from aqakit.features.track_features import (
    Channel,
    Group,
    Recording,
    TrackRequest,
    import_recordings,
    import_tracks,
    parse_channels,
    resample,
)
from aqakit.features.tracks import Reading, Track, make_timeline

STEPS = Sampling("steps", 4, 3)
ALL = Group("all")


def request(
    *groups: Group, rate: float = 10, person: int | None = None, name: str = "kinematics"
) -> TrackRequest:
    return TrackRequest(name, STEPS, Reading(rate, person=person), groups or (ALL,))


@pytest.fixture
def store(tmp_path: Path) -> FeatureStore:
    return FeatureStore.create(tmp_path / "store")


def write(path: Path, values: NDArray[np.float64]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savetxt(path, values)
    return path


# Resampling


def value_at(known: list[tuple[float, float]], instant: float) -> float:
    """One column at an instant in plain Python: walk to its neighbours."""
    before = [pair for pair in known if pair[0] <= instant]
    after = [pair for pair in known if pair[0] > instant]
    if not before:
        return after[0][1]
    if not after:
        return before[-1][1]
    (t0, v0), (t1, v1) = before[-1], after[0]
    return v0 + (v1 - v0) * (instant - t0) / (t1 - t0)


def slowly(track: Track, column: int, sampling: Sampling, channel: Channel = "raw") -> list[float]:
    """Steps of one column, an instant at a time."""
    assert sampling.count is not None
    times, values = track.timeline.pts_seconds.tolist(), track.values[:, column].tolist()
    known = [(t, v) for t, v in zip(times, values, strict=True) if not math.isnan(v)]
    start, length = track.timeline.start_seconds, track.timeline.duration_seconds
    rows = []
    for step in range(sampling.count):
        if channel == "velocity":
            first, last = (start + (step + at) / sampling.count * length for at in (0, 1))
            rows.append((value_at(known, last) - value_at(known, first)) / (last - first))
            continue
        if channel == "speed":
            first, last = (start + (step + at) / sampling.count * length for at in (0, 1))
            stops = [first, *(t for t, _ in known if first < t < last), last]
            heights = [value_at(known, t) for t in stops]
            rows.append(sum(abs(b - a) for a, b in pairwise(heights)) / (last - first))
            continue
        total = 0.0
        for frame in range(sampling.frames):
            share = (step + (frame + 0.5) / sampling.frames) / sampling.count
            total += value_at(known, start + share * length)
        rows.append(total / sampling.frames - (known[0][1] if channel == "from-start" else 0))
    return rows


@st.composite
def tracks(draw: st.DrawFn) -> Track:
    samples, columns = draw(st.integers(1, 12)), draw(st.integers(1, 3))
    rate = draw(st.floats(0.1, 1000))
    if draw(st.booleans()):
        timeline = make_timeline(Path("v"), None, samples, rate)
    else:
        gaps = draw(st.lists(st.floats(0.01, 5), min_size=samples, max_size=samples))
        timeline = make_timeline(Path("v"), np.cumsum(gaps), samples, rate)
    values = np.array(
        draw(
            st.lists(
                st.lists(st.floats(-1e3, 1e3), min_size=columns, max_size=columns),
                min_size=samples,
                max_size=samples,
            )
        )
    )
    missing = np.array(
        draw(st.lists(st.booleans(), min_size=samples * columns, max_size=samples * columns))
    ).reshape(samples, columns)
    missing[draw(st.integers(0, samples - 1))] = False
    return Track(timeline, np.where(missing, np.nan, values))


@given(track=tracks(), count=st.integers(1, 7), frames=st.integers(1, 5))
def test_resampling_step_by_step(track: Track, count: int, frames: int) -> None:
    sampling = Sampling("steps", frames, count)
    columns = range(track.values.shape[1])
    made = resample(track, columns, sampling)
    expected = np.transpose([slowly(track, column, sampling) for column in columns])
    np.testing.assert_allclose(made.values, expected, rtol=1e-7, atol=1e-6)
    gaps = np.isnan(track.values)
    assert made.interpolated_values == gaps.sum()
    assert made.interpolated_samples == gaps.any(axis=1).sum()
    assert made.times[0, 0] == track.timeline.start_seconds
    assert made.times[-1, 2] == track.timeline.end_seconds
    np.testing.assert_array_equal(made.times[1:, 0], made.times[:-1, 2])
    inside = (made.instants > made.times[:, :1]) & (made.instants < made.times[:, 2:])
    assert inside.all()


@given(
    track=tracks(),
    count=st.integers(1, 7),
    channels=st.lists(st.sampled_from(get_args(Channel)), min_size=1, unique=True),
)
def test_channels_step_by_step(track: Track, count: int, channels: list[Channel]) -> None:
    sampling = Sampling("steps", 3, count)
    columns = range(track.values.shape[1])
    made = resample(track, columns, sampling, channels)
    expected = [slowly(track, c, sampling, channel) for channel in channels for c in columns]
    assert made.values.shape == (count, len(expected))
    # Rates up to 1000 a second divide rounding errors by as little as a ms.
    np.testing.assert_allclose(made.values, np.transpose(expected), rtol=1e-6, atol=1e-5)
    gaps = np.isnan(track.values)
    assert made.interpolated_values == gaps.sum()


def test_what_channels_mean() -> None:
    timeline = Timeline(np.arange(2.0, 12.0), 12.0)
    values = np.array([np.nan, 5, 7, 9, 11, 13, 15, 17, 19, 21])[:, None]
    made = resample(
        Track(timeline, values), [0], Sampling("steps", 1, 5), parse_channels("velocity")
    )
    # Held before the first known sample, at 3 s, and after the last one, at 11 s; 2 a second between.
    np.testing.assert_allclose(made.values[:, 0], [1, 2, 2, 2, 1])
    both: tuple[Channel, ...] = ("from-start", "raw")
    made = resample(Track(timeline, values), [0], Sampling("steps", 1, 5), both)
    np.testing.assert_allclose(made.values, [[0, 5], [4, 9], [8, 13], [12, 17], [16, 21]])


@given(track=tracks(), offset=st.floats(-1e3, 1e3))
def test_where_a_track_begins_matters_to_raw_alone(track: Track, offset: float) -> None:
    moved = replace(track, values=track.values + offset)
    sampling, places = Sampling("steps", 2, 3), range(track.values.shape[1])
    for channel, shift in (("raw", offset), ("from-start", 0), ("velocity", 0), ("speed", 0)):
        one, other = (
            resample(each, places, sampling, parse_channels(channel)).values
            for each in (track, moved)
        )
        np.testing.assert_allclose(other, one + shift, rtol=1e-6, atol=1e-5)


def test_resampling_against_scipy() -> None:
    rng = np.random.default_rng(0)
    values = rng.random((50, 2))
    values[[3, 4, 30], 1] = np.nan
    track = Track(make_timeline(Path("v"), None, 50, 30), values)
    sampling = Sampling("steps", 5, 8)
    made = resample(track, [0, 1], sampling)
    times = track.timeline.pts_seconds
    for column in range(2):
        known = np.isfinite(values[:, column])
        line = make_interp_spline(times[known], values[known, column], k=1)
        inside = made.instants.clip(max=times[-1])
        np.testing.assert_allclose(made.values[:, column], line(inside).mean(axis=1))


@given(rate=st.floats(0.5, 500), samples=st.integers(2, 200), slope=st.floats(-5, 5))
def test_a_straight_line_stays_one_at_any_rate(rate: float, samples: int, slope: float) -> None:
    timeline = make_timeline(Path("v"), None, samples, rate)
    track = Track(timeline, slope * timeline.pts_seconds[:, None])
    made = resample(track, [0], Sampling("steps", 4, 5))
    # Past the last sample its value is held.
    instants = made.instants.clip(max=timeline.pts_seconds[-1])
    np.testing.assert_allclose(made.values[:, 0], slope * instants.mean(axis=1), atol=1e-9)


def test_the_instants_are_those_of_frames() -> None:
    timeline = Timeline(np.arange(1000) / 100, 10.0)
    units = STEPS.plan(timeline)
    made = resample(Track(timeline, np.zeros((1000, 1))), [0], STEPS)
    assert (np.abs(units.frame_times - made.instants) < 0.01 + 1e-6).all()
    np.testing.assert_allclose(units.times, made.times)


def test_a_column_without_any_value() -> None:
    timeline = Timeline(np.arange(3.0), 3)
    values = np.array([[1, np.nan], [2, np.nan], [3, np.nan]])
    with pytest.raises(VideoError, match="column 1 has no value at all; leave it out with"):
        resample(Track(timeline, values), [0, 1], STEPS)
    with pytest.raises(VideoError, match=r"column 1 \(foot.x\) has no value"):
        resample(Track(timeline, values, ("hand.x", "foot.x")), [1], STEPS)
    assert resample(Track(timeline, values), [0], STEPS).interpolated_samples == 0


# Groups

NAMED = Track(
    Timeline(np.arange(2.0), 2), np.zeros((2, 5)), ("hand.x", "hand.y", "foot.x", "foot.y", "t")
)


@pytest.mark.parametrize(
    ("text", "places"),
    [
        ("g=0-2", [0, 1, 2]),
        ("g=4,1-2", [4, 1, 2]),
        ("g=foot", [2, 3]),
        ("g=hand.y, t", [1, 4]),
        ("g=3-3", [3]),
    ],
)
def test_columns_of_a_group(text: str, places: list[int]) -> None:
    assert Group.parse(text).places(NAMED) == places


def test_no_group_takes_all() -> None:
    assert ALL.places(NAMED) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("primary", "--group 'primary' must be NAME=COLUMNS, for example primary=0-37"),
        ("primary=", "must be NAME=COLUMNS"),
        ("primary=1,,2", "must be NAME=COLUMNS"),
        ("=0-3", "--group: '' may hold letters, digits and hyphens only"),
        ("a.b=0-3", "--group: 'a.b' may hold"),
        ("a=3-0", "3-0 runs backwards; turn it round"),
    ],
)
def test_groups_that_mean_nothing(text: str, words: str) -> None:
    with pytest.raises(RecipeError) as caught:
        Group.parse(text)
    assert words in str(caught.value)


def test_columns_that_are_not_there() -> None:
    with pytest.raises(VideoError, match="has columns 0 to 4, but --group g needs 7; correct it"):
        Group.parse("g=0-7").places(NAMED)
    with pytest.raises(VideoError, match=r"no column 'head' of --group g \(they are hand.x, hand"):
        Group.parse("g=head").places(NAMED)
    bare = Track(NAMED.timeline, NAMED.values)
    with pytest.raises(VideoError, match=r"'head' of --group g \(its columns have no names\)"):
        Group.parse("g=head").places(bare)


@pytest.mark.parametrize(
    ("sampling", "rate", "names", "words"),
    [
        (Sampling("clips", 16), 1.0, "a", "--sampling clips-16: tracks are cut into equal parts"),
        (Sampling("steps", 4, 3, fps=5), 1.0, "a", "tracks are cut into equal parts"),
        (STEPS, 0.0, "a", "--rate 0.0 must be positive"),
        (STEPS, math.nan, "a", "--rate nan must be positive"),
        (STEPS, math.inf, "a", "--rate inf must be positive"),
        (STEPS, 1.0, "aba", "--group a twice; write all its columns after one name"),
    ],
)
def test_requests_that_mean_nothing(
    sampling: Sampling, rate: float, names: str, words: str
) -> None:
    with pytest.raises(RecipeError) as caught:
        TrackRequest("pose", sampling, Reading(rate), tuple(map(Group, names)))
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("text", "channels"),
    [
        ("raw", ("raw",)),
        ("velocity, raw", ("velocity", "raw")),
        ("raw,from-start,velocity", ("raw", "from-start", "velocity")),
    ],
)
def test_channels_that_a_user_asks_for(text: str, channels: tuple[str, ...]) -> None:
    assert parse_channels(text) == channels


@pytest.mark.parametrize("text", ["", "raw,pace", "raw,", "velocity,raw,velocity", "Raw"])
def test_channels_that_mean_nothing(text: str) -> None:
    with pytest.raises(RecipeError) as caught:
        parse_channels(text)
    assert str(caught.value) == (
        f"--channels {text!r} must be one or more of raw, from-start, velocity, speed, each once, between "
        "commas"
    )
    with pytest.raises(RecipeError, match="--channels '' must be one or more of raw"):
        TrackRequest("pose", STEPS, Reading(1), (ALL,), ())


@pytest.mark.parametrize(
    ("channels", "person", "preset"),
    [
        ("raw", None, "raw"),
        ("raw", 2, "raw-person-2"),
        ("raw,from-start,velocity", None, "raw-from-start-velocity"),
        ("velocity", 0, "velocity-person-0"),
    ],
)
def test_channels_are_part_of_the_key(channels: str, person: int | None, preset: str) -> None:
    reading = Reading(1, person=person)
    asked = TrackRequest("pose", STEPS, reading, (ALL,), parse_channels(channels))
    assert asked.spec(ALL).preset == preset


# Into the store


def test_each_group_is_a_feature(store: FeatureStore, tmp_path: Path) -> None:
    values = np.random.default_rng(1).random((20, 6))
    values[4:6, 1] = np.nan
    path = write(tmp_path / "v1.txt", values)
    asked = request(Group.parse("primary=0-2"), Group.parse("secondary=3-5"))
    (outcome,) = import_tracks(store, [path], asked)
    keys = (
        "kinematics.track.primary.steps-3x4.raw.none.float32",
        "kinematics.track.secondary.steps-3x4.raw.none.float32",
    )
    assert outcome.computed == keys
    assert outcome.notes == ("gaps in 2 of 20 samples bridged",)
    track = Track(make_timeline(path, None, 20, 10), values)
    for key, places in zip(keys, ([0, 1, 2], [3, 4, 5]), strict=True):
        found = store.read(key, "v1")
        made = resample(track, places, STEPS)
        np.testing.assert_array_equal(found.values, made.values.astype(np.float32))
        np.testing.assert_array_equal(found.times, made.times)
        np.testing.assert_array_equal(found.frame_times, made.instants)
    told = [store.read(key, "v1").provenance for key in keys]
    assert [one["interpolated_samples"] for one in told] == [2, 0]
    assert [one["interpolated_values"] for one in told] == [2, 0]
    assert told[0]["source"]["name"] == "v1.txt"


def test_channels_stand_side_by_side(store: FeatureStore, tmp_path: Path) -> None:
    values = np.random.default_rng(1).random((20, 4))
    path = write(tmp_path / "v1.txt", values)
    group = Group.parse("g=1,3")
    asked = replace(request(group), channels=parse_channels("from-start,velocity"))
    (outcome,) = import_tracks(store, [path], asked, Manifest((Video("v1", start_seconds=0.5),)))
    assert outcome.computed == ("kinematics.track.g.steps-3x4.from-start-velocity.none.float32",)
    found = store.read(outcome.computed[0], "v1")
    # From the first sample of the stretch, not of the file.
    cut = Track(make_timeline(path, None, 20, 10), values).trim(0.5, None)
    expected = [
        slowly(cut, column, STEPS, channel) for channel in asked.channels for column in (1, 3)
    ]
    np.testing.assert_allclose(
        found.values.astype(np.float64), np.transpose(expected), rtol=1e-5, atol=1e-6
    )
    assert found.provenance["channels"] == ["from-start", "velocity"]
    # Another choice is another feature; this one stays.
    (outcome,) = import_tracks(store, [path], request(group))
    assert outcome.computed == ("kinematics.track.g.steps-3x4.raw.none.float32",)


def test_recordings_that_somebody_else_found(store: FeatureStore) -> None:
    source = Source("m", 3, 0, "ab" * 32)
    told: list[tuple[int, int, str]] = []

    def broken() -> Track:
        raise VideoError("a.tar/b.txt: is empty")

    def unreadable() -> Source:
        raise VideoError("a.tar/c.txt: cannot be read")

    found: list[Recording | Outcome] = [
        Recording("a", Path("a.tar/a.txt"), lambda: NAMED, lambda: source, 1),
        Recording("b", Path("a.tar/b.txt"), broken, lambda: source),
        Recording("c", Path("a.tar/c.txt"), lambda: NAMED, unreadable),
        Recording("d", Path("a.tar/d.txt"), lambda: NAMED, lambda: source, 9),
        Outcome("e", failure="no file of recording 'e'"),
    ]
    asked = request(Group("feet", ("foot",)))
    outcomes = import_recordings(store, found, asked, lambda *step: told.append(step))
    assert [outcome.failure for outcome in outcomes[1:3]] == [
        "a.tar/b.txt: is empty",
        "a.tar/c.txt: cannot be read",
    ]
    assert str(outcomes[3].failure).startswith("a.tar/d.txt: no frame between start 9")
    assert outcomes[4] is found[4]
    assert told == [(n, 5, video) for n, video in enumerate("abcde", 1)]
    (key,) = outcomes[0].computed
    stored = store.read(key, "a")
    assert stored.values.shape == (3, 2)
    assert stored.times[0, 0] == 1
    assert stored.provenance["names"] == ["foot.x", "foot.y"]
    assert stored.provenance["source"] == replace(source, start_seconds=1).to_dict()
    # What did not change is not read.
    again = Recording("a", Path("a.tar/a.txt"), broken, lambda: source, 1)
    assert import_recordings(store, [again], asked)[0].kept == (key,)
    assert import_recordings(store, [replace(again, end_seconds=2)], asked)[0].failure
    with pytest.raises(RecipeError, match="a.tar/a.txt and z.txt both stand for video 'a'"):
        import_recordings(store, [again, replace(again, path=Path("z.txt"))], asked)


def test_only_what_changed_is_imported_anew(store: FeatureStore, tmp_path: Path) -> None:
    path = write(tmp_path / "v.txt", np.random.default_rng(1).random((9, 4)))
    two = (Group.parse("a=0-1"), Group.parse("b=2-3"))

    def names(asked: TrackRequest) -> tuple[list[str], list[str]]:
        (outcome,) = import_tracks(store, [path], asked)
        assert outcome.failure is None
        return tuple(
            [key.split(".")[2] for key in keys] for keys in (outcome.computed, outcome.kept)
        )  # type: ignore[return-value]

    assert names(request(*two)) == (["a", "b"], [])
    assert names(request(*two)) == ([], ["a", "b"])
    # Another rate dates the steps anew, other columns change one feature.
    assert names(request(*two, rate=20)) == (["a", "b"], [])
    assert names(request(two[0], Group.parse("b=1-3"), rate=20)) == (["b"], ["a"])
    write(path, np.zeros((9, 4)))
    assert names(request(*two, rate=20)) == (["a", "b"], [])


def test_a_manifest_names_and_cuts(store: FeatureStore, tmp_path: Path) -> None:
    values = np.arange(100.0)[:, None]
    write(tmp_path / "t" / "long.txt", values)
    write(tmp_path / "t" / "own.txt", values)
    write(tmp_path / "t" / "stranger.txt", values)
    videos = (
        Video("first", Path("videos/long.mp4"), end_seconds=5),
        Video("second", Path("videos/long.mp4"), start_seconds=5, end_seconds=8),
        Video("own", Path("videos/other.mp4")),
        Video("late", Path("videos/own.mp4")),
    )
    outcomes = import_tracks(store, [tmp_path / "t"], request(), Manifest(videos))
    assert [o.video_id for o in outcomes] == ["first", "second", "own", "stranger"]
    assert "the manifest has no video with id or file 'stranger'" in str(outcomes[3].failure)
    (key,) = outcomes[0].computed
    assert store.read(key, "first").times[[0, -1], [0, 2]].tolist() == [0, 5]
    second = store.read(key, "second")
    assert second.times[[0, -1], [0, 2]].tolist() == [5, 8]
    means = second.values[:, 0].astype(np.float64)
    np.testing.assert_allclose(means, 10 * second.times[:, 1], atol=0.1)
    cut = Manifest((Video("own", start_seconds=50),))
    (outcome,) = import_tracks(store, [tmp_path / "t" / "own.txt"], request(), cut)
    assert str(outcome.failure).startswith(f"{tmp_path / 't' / 'own.txt'}: no frame between")


def test_a_broken_file_fails_alone(store: FeatureStore, tmp_path: Path) -> None:
    write(tmp_path / "t" / "good.txt", np.zeros((5, 4)))
    (tmp_path / "t" / "empty.txt").touch()
    (tmp_path / "t" / "huge.csv").write_text("1e300,1,1,1\n1e300,1,1,1\n")
    (tmp_path / "t" / "vast.csv").write_text("1e308,1,1,1\n-1e308,1,1,1\n1e308,1,1,1\n" * 9)
    (tmp_path / "t" / "hollow.csv").write_text("1,,1,1\n1,,1,1\n")
    (tmp_path / "t" / "narrow.csv").write_text("1,1\n1,1\n")
    asked = request(Group.parse("all=0-3"))
    outcomes = import_tracks(store, [tmp_path / "t"], asked)
    failures = {o.video_id: o.failure for o in outcomes}
    assert failures == {
        "empty": f"{tmp_path}/t/empty.txt: is empty; get the file again",
        "good": None,
        "hollow": f"{tmp_path}/t/hollow.csv: column 1 has no value at all; leave it out with "
        "--group",
        "huge": f"{tmp_path}/t/huge.csv: holds values too large for float32; correct its unit",
        "vast": f"{tmp_path}/t/vast.csv: holds values too large for float32; correct its unit",
        "narrow": f"{tmp_path}/t/narrow.csv: has columns 0 to 1, but --group all needs 3; correct "
        "it",
    }


def test_two_files_of_one_name_are_refused(store: FeatureStore, tmp_path: Path) -> None:
    for folder in ("a", "b"):
        write(tmp_path / folder / "v.txt", np.zeros((2, 2)))
    with pytest.raises(RecipeError, match="both stand for video 'v'; rename one"):
        import_tracks(store, [tmp_path / "a", tmp_path / "b"], request())


def test_a_claimed_video_is_left_to_the_other_process(store: FeatureStore, tmp_path: Path) -> None:
    path = write(tmp_path / "v.txt", np.zeros((2, 2)))
    with FeatureStore.open(store.path).claim("v"):
        (outcome,) = import_tracks(store, [path], request())
    assert outcome.notes == ("another process has it in hand",)
    assert not outcome.computed


def test_poses_of_two_people_are_two_features(store: FeatureStore, tmp_path: Path) -> None:
    pose = tmp_path / "skate"
    pose.mkdir()
    for number in range(4):
        people = [{"pose_keypoints_2d": [place, number, 0.5 + place]} for place in (0, 1)]
        (pose / f"s_{number}_keypoints.json").write_text(json.dumps({"people": people}))
    keys: list[str] = []
    for person in (None, 0, 1):
        (outcome,) = import_tracks(store, [pose], request(person=person, name="pose"))
        assert outcome.notes == ("4 frames show several people",)
        keys += outcome.computed
    assert len(set(keys)) == 3
    assert keys[1] == "pose.track.all.steps-3x4.raw-person-0.none.float32"
    assert [store.read(key, "skate").values[0, 0] for key in keys] == [1, 0, 1]
    (outcome,) = import_tracks(store, [pose], request(name="pose"))
    assert outcome.kept == (keys[0],)
    (pose / "s_2_keypoints.json").write_text('{"people": []}')
    (outcome,) = import_tracks(store, [pose], request(name="pose"))
    assert outcome.computed == (keys[0],)
    assert outcome.notes[0] == "gaps in 1 of 4 samples bridged"


def test_joints_of_uiprmd(store: FeatureStore, tmp_path: Path, real_data: Path) -> None:
    with tarfile.open(real_data / "uiprmd" / "kinect_positions.tar") as tar:
        chosen = [one for one in tar if "m01_s0" in one.name and "_e01_" in one.name]
        tar.extractall(tmp_path / "kinect", chosen, filter="data")
    asked = request(Group.parse("spine=0-8"), ALL, rate=30, name="kinect")
    outcomes = import_tracks(store, [tmp_path / "kinect"], asked)
    assert len(outcomes) == len(chosen) > 10
    assert not any(outcome.failure or outcome.notes for outcome in outcomes)
    for outcome in outcomes:
        spine, whole = (store.read(key, outcome.video_id) for key in outcome.computed)
        assert spine.values.shape == (3, 9)
        assert whole.values.shape == (3, 66)
        np.testing.assert_array_equal(whole.values[:, :9], spine.values)
