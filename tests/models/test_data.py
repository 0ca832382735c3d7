import re
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from aqakit.features.errors import RecipeError
from aqakit.models import data
from aqakit.models.data import Stream, VideoFeatures, channels_of, row_shapes


def _times(count: int) -> NDArray[np.float64]:
    centres = np.arange(count, dtype=np.float64)
    return np.stack([centres, centres + 0.5, centres + 1], axis=1)


def _stream(shape: tuple[int, ...], alternatives: int = 1) -> Stream:
    return Stream(np.random.default_rng(0).random(shape), _times(shape[0]), alternatives)


def _video(id: str, **streams: Stream) -> VideoFeatures:
    return VideoFeatures(id, streams)


def test_duration_spans_all_rows_in_any_order() -> None:
    times = np.array([[4.0, 5.0, 6.0], [1.0, 2.0, 7.5], [2.0, 3.0, 4.0]])
    assert VideoFeatures.of("v", np.zeros((3, 2)), times).duration_seconds == 6.5


def test_duration_spans_rows_that_do_not_count_outside_training() -> None:
    times = np.array([[1.0, 1.0, 1.5], [3.0, 3.5, 4.0], [5.0, 5.5, 7.0], [4.0, 4.5, 5.0]])
    stream = Stream(np.zeros((4, 2)), times, alternatives=2)
    assert _video("v", features=stream).duration_seconds == 6


@pytest.mark.parametrize("shape", [(4,), (4, 2, 2), (4, 2, 2, 2)])
def test_more_than_a_vector_a_step_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(RecipeError) as caught:
        channels_of([VideoFeatures.of("v07", np.zeros(shape), _times(4))])
    message = str(caught.value)
    assert "'v07'" in message
    assert f"rows of shape {shape[1:]}; this head needs one vector" in message
    assert "\n" not in message


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_refused(value: float) -> None:
    values = np.zeros((4, 2))
    values[2, 1] = value
    with pytest.raises(RecipeError, match="'v07' holds values that are not finite.*--overwrite"):
        VideoFeatures.of("v07", values, _times(4))
    with pytest.raises(RecipeError, match="'v07' holds values that are not finite.*--overwrite"):
        _video("v07", rgb=_stream((4, 2)), flow=Stream(values, _times(4)))


def test_values_too_large_to_be_looked_at_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.full((4, 2), np.nan)
    monkeypatch.setattr(data, "_CHECKED_BYTES", values.nbytes)
    with pytest.raises(RecipeError, match="not finite"):
        VideoFeatures.of("v", values, _times(4))
    monkeypatch.setattr(data, "_CHECKED_BYTES", values.nbytes - 1)
    VideoFeatures.of("v", values, _times(4))


@pytest.mark.parametrize(("segments", "times"), [(4, 3), (3, 4), (0, 0)])
def test_a_time_for_every_row_is_needed(segments: int, times: int) -> None:
    with pytest.raises(ValueError, match=r"times for \(\d, 2\) values"):
        VideoFeatures.of("v", np.zeros((segments, 2)), _times(times))


def test_rows_must_be_a_multiple_of_the_alternatives() -> None:
    with pytest.raises(ValueError, match=r"\(7, 2\) values, 3 a step"):
        _stream((7, 2), alternatives=3)
    assert _stream((6, 2), alternatives=3).steps == 2


@given(st.integers(1, 5), st.integers(1, 4))
def test_the_last_alternative_of_each_step_counts(steps: int, alternatives: int) -> None:
    stream = _stream((steps * alternatives, 3), alternatives)
    assert stream.steps == steps
    last = [step * alternatives + alternatives - 1 for step in range(steps)]
    np.testing.assert_array_equal(stream.step_values, [stream.values[row] for row in last])
    np.testing.assert_array_equal(stream.step_times, [stream.times[row] for row in last])
    video = _video("v", rgb=stream, flow=_stream((steps, 1)))
    np.testing.assert_array_equal(video.values, stream.step_values)
    np.testing.assert_array_equal(video.times, stream.step_times)


def test_a_video_of_one_feature_knows_what_else_is_said_of_it() -> None:
    values, times = np.zeros((2, 3)), _times(2)
    video = VideoFeatures.of("v", values, times, task="suturing", action_type="tuck")
    assert list(video.streams) == ["features"]
    assert video.main.values is values
    assert video.main.times is times
    assert (video.task, video.action_type) == ("suturing", "tuck")


def test_a_video_without_a_feature_is_a_mistake_of_the_program() -> None:
    with pytest.raises(ValueError, match="no features of video 'v07'"):
        _video("v07")


def test_row_shapes_are_those_of_every_role() -> None:
    videos = [_video(name, rgb=_stream((2, 5, 4, 3)), track=_stream((2, 7))) for name in "ab"]
    assert row_shapes(videos) == {"rgb": (5, 4, 3), "track": (7,)}


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"rgb": (2, 4)}, "video 'b' has 4 channels and 'a' 3; extract both with one"),
        ({"rgb": (2, 3, 4, 4)}, "video 'b' has rows of shape (3, 4, 4) and 'a' 3; extract both"),
        ({"flow": (2, 3)}, "video 'b' has the features flow and 'a' rgb; extract the same of both"),
        ({"rgb": (2, 3), "flow": (2, 3)}, "'b' has the features rgb, flow and 'a' rgb; extract"),
    ],
)
def test_rows_that_differ_are_refused(other: dict[str, Any], message: str) -> None:
    first = _video("a", rgb=_stream((2, 3)))
    second = _video("b", **{role: _stream(shape) for role, shape in other.items()})
    with pytest.raises(RecipeError, match=re.escape(message)):
        row_shapes([first, second])


def test_channels_are_those_of_the_only_vector() -> None:
    assert channels_of([VideoFeatures.of("v", np.zeros((4, 3)), _times(4))]) == 3
    with pytest.raises(RecipeError, match="'b' has 4 channels and 'a' 3; extract both"):
        channels_of([_video("a", features=_stream((2, 3))), _video("b", features=_stream((2, 4)))])
