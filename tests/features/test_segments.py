import re
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aqakit.features.errors import RecipeError, VideoError
from aqakit.features.segments import Sampling, Short, Timeline, Units

RATES = st.one_of(
    st.sampled_from([10.0, 19.62, 25.0, 30000 / 1001, 60.0]),
    st.floats(1, 240),
)


@st.composite
def timelines(draw: st.DrawFn) -> Timeline:
    """A constant or variable rate, gaps of any length, a start that need not be zero."""
    rate = draw(RATES)
    gaps = draw(st.lists(st.integers(1, 40), min_size=1, max_size=120))
    start = draw(st.sampled_from([0.0, 0.033, 5.5, -0.04, 3600.0]))
    pts = start + np.cumsum([0, *gaps])[:-1] / rate
    return Timeline(pts, float(pts[-1] + gaps[-1] / rate))


@st.composite
def samplings(draw: st.DrawFn) -> Sampling:
    rule = draw(st.sampled_from(["segments", "stacks", "clips", "steps"]))
    count = draw(st.integers(1, 40))
    frames = draw(st.integers(1, 20))
    fps = draw(st.one_of(st.none(), RATES))
    if rule == "segments":
        seed = draw(st.integers(0, 10**6))
        candidates = draw(st.integers(0, 5))
        if draw(st.booleans()):
            return Sampling("segments", frames, count, fps, pick="random", seed=seed)
        return Sampling(
            "segments", frames, count, fps, seed=seed * bool(candidates), candidates=candidates
        )
    if rule == "steps":
        return Sampling("steps", frames, count, fps)
    short: Short = draw(st.sampled_from(["hold", "loop", "refuse"]))
    if rule == "clips":
        return Sampling("clips", frames, fps=fps, short=short)
    return Sampling("stacks", frames, count, fps, short=short)


def plan(sampling: Sampling, timeline: Timeline) -> Units | None:
    """The units; None where the video is too short and that is refused."""
    try:
        return sampling.plan(timeline)
    except VideoError:
        assert sampling.short == "refuse"
        return None


@settings(deadline=None)
@given(samplings(), timelines())
def test_units_are_frames_of_the_video_in_order(sampling: Sampling, timeline: Timeline) -> None:
    units = plan(sampling, timeline)
    if units is None:
        return
    assert units.frames.shape == units.frame_times.shape == (len(units), sampling.frames)
    assert units.frames.dtype == np.int64
    if sampling.count is None:
        assert len(units) >= 1
    else:
        assert len(units) == sampling.count * (1 + sampling.candidates)
    assert ((units.frames >= 0) & (units.frames < len(timeline.pts_seconds))).all()
    assert (units.frame_times == timeline.pts_seconds[units.frames]).all()
    assert (np.diff(units.frames[:, 0]) >= 0).all()
    if not (units.padded_frames and sampling.short == "loop"):
        assert (np.diff(units.frames, axis=1) >= 0).all()


@settings(deadline=None)
@given(samplings(), timelines())
def test_times_lie_in_order_within_the_video(sampling: Sampling, timeline: Timeline) -> None:
    units = plan(sampling, timeline)
    if units is None:
        return
    start, centre, end = units.times.T
    slack = 1e-6
    assert (start < end).all()
    assert np.allclose(centre, (start + end) / 2)
    assert (start >= timeline.start_seconds - slack).all()
    assert (end <= timeline.end_seconds + slack).all()
    assert (np.diff(start) >= 0).all()
    # No frame is shown after its unit has ended, save neighbours of a picked one.
    if not (sampling.rule == "segments" or (sampling.rule == "steps" and sampling.fps)):
        assert (units.frame_times < end[:, None] + slack).all()


@settings(deadline=None)
@given(timelines(), st.integers(1, 50))
def test_the_last_frame_of_a_segment_is_the_last_that_starts_in_it(
    timeline: Timeline, count: int
) -> None:
    units = Sampling("segments", 1, count).plan(timeline)
    edges = np.linspace(timeline.start_seconds, timeline.end_seconds, count + 1)
    for number, (frame,) in enumerate(units.frames):
        slow = 0
        for index, seconds in enumerate(timeline.pts_seconds):
            if seconds < edges[number + 1] - 1e-6:
                slow = index
        assert frame == slow


@settings(deadline=None)
@given(timelines(), st.integers(1, 50), st.integers(0, 1000))
def test_a_random_frame_lies_in_its_segment_and_is_the_same_again(
    timeline: Timeline, count: int, seed: int
) -> None:
    sampling = Sampling("segments", 1, count, pick="random", seed=seed)
    units = sampling.plan(timeline)
    assert (units.frames == sampling.plan(timeline).frames).all()
    assert (units.frames <= Sampling("segments", 1, count).plan(timeline).frames).all()
    starts = (timeline.pts_seconds[:, None] >= units.times[:, 0] - 1e-6) & (
        timeline.pts_seconds[:, None] < units.times[:, 2] - 1e-6
    )
    for number in np.flatnonzero(starts.any(axis=0)):
        assert starts[units.frames[number, 0], number]


@settings(deadline=None)
@given(
    timelines(),
    st.integers(1, 30),
    st.integers(1, 24),
    st.integers(0, 5),
    st.one_of(st.none(), RATES),
)
def test_windows_and_candidates_follow_from_single_picked_frames(
    timeline: Timeline, count: int, frames: int, candidates: int, fps: float | None
) -> None:
    alone = Sampling("segments", 1, count, fps).plan(timeline)
    units = Sampling("segments", frames, count, fps, candidates=candidates).plan(timeline)
    each = Sampling("segments", 1, count, fps, candidates=candidates).plan(timeline)
    rows = each.frames.reshape(count, candidates + 1)
    assert rows[:, -1].tolist() == alone.frames[:, 0].tolist()
    assert (np.diff(rows, axis=1) >= 0).all()
    shown = Sampling("clips", 1, fps=fps).plan(timeline).frames[:, 0].tolist()
    for picked, window in zip(each.frames[:, 0].tolist(), units.frames.tolist(), strict=True):
        # A frame that is shown for several instants may be picked at any of them.
        places = [place for place, frame in enumerate(shown) if frame == picked]
        wanted = []
        for place in places:
            begin = min(max(place - frames // 2, 0), max(len(shown) - frames, 0))
            window_here = shown[begin : begin + frames]
            wanted.append(window_here + [shown[-1]] * (frames - len(window_here)))
        assert window in wanted
    assert units.padded_frames == max(0, frames - len(shown))


@settings(deadline=None)
@given(timelines(), st.integers(1, 20), st.integers(1, 16), RATES)
def test_steps_of_a_rate_take_consecutive_frames_around_their_middle(
    timeline: Timeline, count: int, frames: int, fps: float
) -> None:
    units = Sampling("steps", frames, count, fps).plan(timeline)
    shown = Sampling("clips", 1, fps=fps).plan(timeline).frames[:, 0].tolist()
    for times, window in zip(units.times, units.frames.tolist(), strict=True):
        lapse = times[1] - timeline.start_seconds + 1e-6
        middle = min(int(lapse * fps + 1e-9), len(shown) - 1)
        near = []
        for place in (middle - 1, middle):  # the instant itself may fall on either side
            begin = min(max(place - frames // 2, 0), max(len(shown) - frames, 0))
            window_here = shown[begin : begin + frames]
            near.append(window_here + [shown[-1]] * (frames - len(window_here)))
        assert window in near


@settings(deadline=None)
@given(samplings(), timelines(), st.floats(0, 3), st.floats(0.1, 3))
def test_a_trimmed_video_is_sampled_inside_its_window(
    sampling: Sampling, timeline: Timeline, start: float, length: float
) -> None:
    start += timeline.start_seconds
    try:
        part = timeline.trim(start, start + length)
    except VideoError:
        return
    units = plan(sampling, part)
    if units is not None:
        slack = 2e-6
        assert (units.frame_times >= start - slack).all()
        assert (units.frame_times <= start + length + slack).all()
        assert (units.times[:, 2] <= start + length + slack).all()


def test_random_segments_of_two_seeds_differ() -> None:
    timeline = Timeline(np.arange(500) / 25, 20.0)
    one, two = (Sampling("segments", 1, 25, pick="random", seed=s).plan(timeline) for s in (1, 2))
    assert (one.frames != two.frames).any()


@settings(deadline=None, max_examples=40)
@given(timelines(), st.sampled_from([1.0, 10.0, 25.0, 30000 / 1001]))
def test_resampling_shows_the_frame_of_each_instant(timeline: Timeline, fps: float) -> None:
    units = Sampling("clips", 1, fps=fps).plan(timeline)
    frame = 0
    for number, (found,) in enumerate(units.frames):
        instant = timeline.start_seconds + number / fps
        while (timeline.pts_seconds[frame + 1 :] <= instant + 1e-6).any():
            frame += 1
        assert found == frame


def test_every_frame_is_kept_once_at_its_own_rate() -> None:
    for rate in (10, 19.62, 24, 25, 30000 / 1001, 30, 50, 59.94):
        pts = np.array([round(i / rate, 9) for i in range(1000)])
        units = Sampling("clips", 1, fps=rate).plan(Timeline(pts, 1000 / rate))
        assert units.frames.ravel().tolist() == list(range(1000)), rate


@settings(deadline=None)
@given(timelines(), st.integers(1, 20))
def test_clips_take_each_frame_once_and_drop_less_than_a_clip(
    timeline: Timeline, frames: int
) -> None:
    units = Sampling("clips", frames).plan(timeline)
    available = len(timeline.pts_seconds)
    if available >= frames:
        taken = units.frames.ravel().tolist()
        assert taken == list(range(len(taken)))
        assert 0 <= available - len(taken) < frames
        assert units.padded_frames == 0
    else:
        assert units.padded_frames == frames - available
        expected = np.minimum(np.arange(frames), available - 1)
        assert (units.frames == expected).all()


def test_145_frames_are_nine_clips_of_16() -> None:
    assert len(Sampling("clips", 16).plan(Timeline(np.arange(145) / 25, 145 / 25))) == 9


@settings(deadline=None)
@given(timelines(), st.integers(1, 20), st.integers(2, 40))
def test_stacks_are_consecutive_and_reach_from_first_to_last_frame(
    timeline: Timeline, frames: int, count: int
) -> None:
    units = Sampling("stacks", frames, count).plan(timeline)
    available = len(timeline.pts_seconds)
    if available < frames:
        assert units.padded_frames == frames - available
        return
    assert (np.diff(units.frames, axis=1) == 1).all()
    assert units.frames[0, 0] == 0
    assert units.frames[-1, -1] == available - 1
    # Starts are spread evenly, to the nearest frame.
    steps = np.diff(units.frames[:, 0])
    assert steps.max() - steps.min() <= 1 + 1e-9 or len(steps) == 1


def test_a_short_video_is_held_looped_or_refused() -> None:
    timeline = Timeline(np.array([0.0, 0.1, 0.2]), 0.3)
    held = Sampling("clips", 5).plan(timeline)
    looped = Sampling("clips", 5, short="loop").plan(timeline)
    assert held.frames.tolist() == [[0, 1, 2, 2, 2]]
    assert looped.frames.tolist() == [[0, 1, 2, 0, 1]]
    assert held.padded_frames == looped.padded_frames == 2
    assert held.times.tolist() == [[0.0, pytest.approx(0.15), 0.3]]
    with pytest.raises(VideoError, match="^3 frames are fewer than the 5 of clips-5-refuse; use"):
        Sampling("clips", 5, short="refuse").plan(timeline)


def test_steps_spread_their_frames_over_equal_parts() -> None:
    units = Sampling("steps", 2, 5).plan(Timeline(np.arange(100) / 10, 10.0))
    assert units.frames.tolist() == [[5, 15], [25, 35], [45, 55], [65, 75], [85, 95]]
    assert units.times[:, 1].tolist() == [1, 3, 5, 7, 9]


@settings(deadline=None)
@given(timelines(), st.floats(0, 1), st.floats(0, 1))
def test_a_trim_keeps_the_frames_that_start_in_it(
    timeline: Timeline, first: float, second: float
) -> None:
    low, high = sorted((first, second))
    begin = timeline.start_seconds + low * timeline.duration_seconds
    end = timeline.start_seconds + high * timeline.duration_seconds
    kept = [t for t in timeline.pts_seconds if begin - 1e-6 <= t < end - 1e-6]
    if not kept:
        with pytest.raises(VideoError, match="no frame between start"):
            timeline.trim(begin, end)
        return
    trimmed = timeline.trim(begin, end)
    assert trimmed.pts_seconds.tolist() == kept
    assert trimmed.end_seconds == min(end, timeline.end_seconds)


@settings(deadline=None)
@given(timelines())
def test_no_trim_keeps_everything(timeline: Timeline) -> None:
    trimmed = timeline.trim(None, None)
    assert trimmed.pts_seconds.tolist() == timeline.pts_seconds.tolist()
    assert trimmed.end_seconds == timeline.end_seconds


@settings(deadline=None)
@given(samplings())
def test_the_text_of_a_sampling_reads_back(sampling: Sampling) -> None:
    assert Sampling.parse(sampling.text) == sampling


@pytest.mark.parametrize(
    "text",
    ["segments-25-last", "segments-25-random7", "stacks-400x16-10fps", "clips-16-loop",
     "segments-25x11-last-plus4-10fps", "segments-25-last-plus4seed7", "steps-10x16-10fps"],
)  # fmt: skip
def test_known_texts(text: str) -> None:
    assert Sampling.parse(text).text == text


def test_a_rate_that_needs_all_digits_keeps_them() -> None:
    close = Sampling("clips", 16, fps=30000 / 1001)
    assert close.text != replace(close, fps=29.97002997).text


@pytest.mark.parametrize(
    "text",
    ["", "segments", "clips-0", "stacks-16", "clips-4x16", "steps-10x16-loop", "clips-16-0fps",
     "segments-25-first", "clips-16-1.2.3fps", "segments-25-random3-plus4", "clips-16 ",
     "clips-16-plus4"],
)  # fmt: skip
def test_other_texts_are_refused_by_name(text: str) -> None:
    with pytest.raises(RecipeError, match=f"^'{re.escape(text)}' is no sampling") as caught:
        Sampling.parse(text)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("pts", "end"),
    [([], 1.0), ([0.0, 0.0], 1.0), ([1.0, 0.5], 2.0), ([0.0, 1.0], 1.0), ([0.0, np.nan], 1.0),
     ([0.0], np.nan), ([0.0], np.inf), ([-np.inf, 0.0], 1.0)],
)  # fmt: skip
def test_a_timeline_without_meaning_is_refused(pts: list[float], end: float) -> None:
    with pytest.raises(ValueError, match="_seconds"):
        Timeline(np.array(pts), end)


@pytest.mark.parametrize("fps", [0.0, -1.0, np.nan, np.inf, 1e8])
def test_a_rate_without_meaning_is_refused(fps: float) -> None:
    with pytest.raises(ValueError, match="fps"):
        Sampling("clips", 16, fps=fps)
