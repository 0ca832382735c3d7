import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from aqakit.features.errors import RecipeError
from aqakit.models.data import FeatureTensors, VideoFeatures


def _times(count: int) -> NDArray[np.float64]:
    centres = np.arange(count, dtype=np.float64)
    return np.stack([centres, centres + 0.5, centres + 1], axis=1)


def _video(name: str, segments: int, channels: int = 3, seed: int = 0) -> VideoFeatures:
    values = np.random.default_rng(seed).random((segments, channels), np.float32)
    return VideoFeatures(name, values, _times(segments))


def test_duration_spans_all_rows_in_any_order() -> None:
    times = np.array([[4.0, 5.0, 6.0], [1.0, 2.0, 7.5], [2.0, 3.0, 4.0]])
    assert VideoFeatures("v", np.zeros((3, 2)), times).duration_seconds == 6.5


@pytest.mark.parametrize("shape", [(4,), (4, 2, 2), (4, 2, 2, 2)])
def test_more_than_a_vector_a_step_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(RecipeError) as caught:
        VideoFeatures("v07", np.zeros(shape), _times(4))
    message = str(caught.value)
    assert "'v07'" in message
    assert str(shape) in message
    assert "\n" not in message


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_refused(value: float) -> None:
    values = np.zeros((4, 2))
    values[2, 1] = value
    with pytest.raises(RecipeError, match="'v07' holds values that are not finite.*--overwrite"):
        VideoFeatures("v07", values, _times(4))


@pytest.mark.parametrize(("segments", "times"), [(4, 3), (3, 4), (0, 0)])
def test_a_time_for_every_row_is_needed(segments: int, times: int) -> None:
    with pytest.raises(ValueError, match=r"times for \(\d, 2\) values"):
        VideoFeatures("v", np.zeros((segments, 2)), _times(times))


def test_channels_must_agree() -> None:
    with pytest.raises(RecipeError, match="'b' has 4 channels and 'a' 3; extract both"):
        FeatureTensors([_video("a", 2), _video("b", 2, channels=4)])


@given(
    st.lists(st.integers(1, 6), min_size=1, max_size=6), st.data(), st.sampled_from([0, 1 << 20])
)
def test_a_batch_holds_the_rows_of_its_videos(
    lengths: list[int], data: st.DataObject, resident_bytes: int
) -> None:
    videos = [_video(f"{n}", length, seed=n) for n, length in enumerate(lengths)]
    chosen = sorted(data.draw(st.sets(st.integers(0, len(videos) - 1), min_size=1)))
    tensors = FeatureTensors(videos, resident_bytes=resident_bytes)
    assert len(tensors) == len(videos)
    assert tensors.channels == 3
    values, mask = tensors.batch(torch.tensor(chosen))
    assert values.dtype == torch.float32
    assert (mask is None) == (len(set(lengths)) == 1)
    for row, number in enumerate(chosen):
        length = lengths[number]
        np.testing.assert_array_equal(values[row, :length].numpy(), videos[number].values)
        assert not values[row, length:].any()
        if mask is not None:
            assert mask[row].tolist() == [t < length for t in range(values.shape[1])]


def test_features_are_read_as_float32_whatever_they_are() -> None:
    values = np.array([[1.5, -2.25]], dtype=np.float16)
    batch, _ = FeatureTensors([VideoFeatures("v", values, _times(1))]).batch(torch.tensor([0]))
    assert batch.dtype == torch.float32
    assert batch.tolist() == [[[1.5, -2.25]]]


def test_features_that_do_not_fit_are_read_when_asked_for() -> None:
    videos = [_video("a", 4), _video("b", 4)]
    size = 2 * 4 * 3 * 4
    resident = FeatureTensors(videos, resident_bytes=size)
    elsewhere = FeatureTensors(videos, resident_bytes=size - 1)
    before = videos[1].values.copy()
    videos[1].values[:] = 7
    second = torch.tensor([1])
    np.testing.assert_array_equal(resident.batch(second)[0][0].numpy(), before)
    np.testing.assert_array_equal(elsewhere.batch(second)[0][0].numpy(), videos[1].values)


def test_features_are_left_as_they_are() -> None:
    video = _video("a", 4)
    before = video.values.copy()
    batch, _ = FeatureTensors([video], resident_bytes=0).batch(torch.tensor([0]))
    batch.add_(1)
    np.testing.assert_array_equal(video.values, before)
