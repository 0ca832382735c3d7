"""Batches against a slow reading, row by row, wherever the features lie."""

import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from aqakit.features.errors import RecipeError
from aqakit.models.data import Stream, VideoFeatures
from aqakit.models.feed import Feed, Scale, Wanted, statistics
from aqakit.models.network import Batch

ENOUGH = 1 << 20
SEEDS = st.integers(0, 1000)


def _times(count: int) -> NDArray[np.float64]:
    centres = np.arange(count, dtype=np.float64)
    return np.stack([centres, centres + 0.5, centres + 1], axis=1)


def _video(name: str, segments: int, channels: int = 3, seed: int = 0) -> VideoFeatures:
    values = np.random.default_rng(seed).random((segments, channels), np.float32)
    return VideoFeatures.of(name, values, _times(segments))


def _stream(
    seed: int, steps: int, shape: tuple[int, ...], alternatives: int = 1, kind: str = "float32"
) -> Stream:
    rows = steps * alternatives
    values = np.random.default_rng(seed).normal(size=(rows, *shape)).astype(kind)
    return Stream(values, _times(rows), alternatives)


def _slow(video: VideoFeatures, role: str, chosen: Sequence[int] | None) -> NDArray[np.float64]:
    """The rows of one video, step by step."""
    stream = video.streams[role]
    rows = []
    for step in range(stream.steps):
        place = stream.alternatives - 1
        if chosen is not None and stream.alternatives > 1:
            place = chosen[step]
        rows.append(np.asarray(stream.values[step * stream.alternatives + place], np.float64))
    return np.stack(rows)


def test_channels_must_agree() -> None:
    with pytest.raises(RecipeError, match="'b' has 4 channels and 'a' 3; extract both"):
        Feed([_video("a", 2), _video("b", 2, channels=4)])


def test_streams_of_different_numbers_of_steps_are_refused() -> None:
    streams = {"primary": _stream(0, 4, (2,)), "secondary": _stream(1, 5, (3,), alternatives=2)}
    with pytest.raises(RecipeError) as caught:
        Feed([VideoFeatures("v07", streams)])
    message = str(caught.value)
    assert "video 'v07' differ in their number of steps (4 of primary, 5 of secondary)" in message
    assert "extract them with samplings of the same number" in message
    assert "\n" not in message
    streams["secondary"] = _stream(1, 4, (3,), alternatives=2)
    assert Feed([VideoFeatures("v07", streams)]).steps == 4


@given(st.lists(st.integers(1, 6), min_size=1, max_size=6), st.data(), st.sampled_from([0, ENOUGH]))
def test_a_batch_holds_the_rows_of_its_videos(
    lengths: list[int], data: st.DataObject, resident_bytes: int
) -> None:
    videos = [_video(f"{n}", length, seed=n) for n, length in enumerate(lengths)]
    # As of several members side by side: in any order, and again.
    chosen = data.draw(st.lists(st.integers(0, len(videos) - 1), min_size=1, max_size=8))
    feed = Feed(videos, resident_bytes=resident_bytes)
    assert len(feed) == len(videos)
    assert feed.shapes == {"features": (3,)}
    assert feed.steps == max(lengths)
    assert feed.lengths.tolist() == lengths
    batch = feed.batch(Wanted(torch.tensor(chosen)))
    values, mask = batch.values["features"], batch.mask
    assert values.dtype == torch.float32
    assert values.shape == (len(chosen), max(lengths), 3)
    assert (mask is None) == (len(set(lengths)) == 1)
    for row, number in enumerate(chosen):
        length = lengths[number]
        np.testing.assert_array_equal(values[row, :length].numpy(), videos[number].values)
        assert not values[row, length:].any()
        if mask is not None:
            assert mask[row].tolist() == [t < length for t in range(values.shape[1])]


@given(
    st.lists(st.integers(1, 4), min_size=1, max_size=4),
    st.integers(1, 3),
    st.booleans(),
    st.sampled_from(["float16", "float32", "float64"]),
    st.sampled_from([torch.float32, torch.float64]),
    SEEDS,
)
def test_drawn_rows_are_those_of_a_slow_reading_wherever_they_lie(
    lengths: list[int], each: int, draws: bool, kind: str, dtype: torch.dtype, seed: int
) -> None:
    """Maps with several rows a step beside a vector with one, of ragged videos."""
    videos = [
        VideoFeatures(
            f"v{n}",
            {
                "rgb": _stream(seed + n, steps, (2, 2, 3), each, kind),
                "track": _stream(seed - n - 1 + 5000, steps, (4,)),
            },
        )
        for n, steps in enumerate(lengths)
    ]
    rng = np.random.default_rng(seed)
    chosen = rng.integers(0, len(videos), 5)
    picks = rng.integers(0, each, (5, max(lengths))) if draws else None
    wanted = Wanted(torch.from_numpy(chosen), None if picks is None else torch.from_numpy(picks))
    for resident_bytes in (0, ENOUGH):
        feed = Feed(videos, dtype=dtype, resident_bytes=resident_bytes)
        assert feed.alternatives == each
        (ahead,) = feed.batches([wanted])
        for batch in (feed.batch(wanted), ahead):
            assert list(batch.values) == ["rgb", "track"]
            for role, values in batch.values.items():
                assert values.dtype == dtype
                for row, number in enumerate(chosen):
                    pick = None if picks is None else picks[row].tolist()
                    expected = _slow(videos[number], role, pick)
                    if dtype == torch.float32:
                        expected = expected.astype(np.float32)
                    own = values[row, : len(expected)].numpy()
                    np.testing.assert_array_equal(own, expected)
                    assert not values[row, len(expected) :].any()


def test_features_are_read_as_float32_whatever_they_are() -> None:
    values = np.array([[1.5, -2.25]], dtype=np.float16)
    feed = Feed([VideoFeatures.of("v", values, _times(1))])
    batch = feed.batch(Wanted(torch.tensor([0]))).values["features"]
    assert batch.dtype == torch.float32
    assert batch.tolist() == [[[1.5, -2.25]]]


def test_double_precision_loses_no_digit() -> None:
    values = np.array([[1 / 3, np.pi]])
    for resident_bytes in (0, ENOUGH):
        feed = Feed(
            [VideoFeatures.of("v", values, _times(1))], "cpu", torch.float64, resident_bytes
        )
        batch = feed.batch(Wanted(torch.tensor([0]))).values["features"]
        assert batch.tolist() == [values.tolist()]


def _is_resident(videos: Sequence[VideoFeatures], bytes: int, dtype: torch.dtype) -> bool:
    """Whether a change of what was read is not seen any more."""
    feed = Feed(videos, dtype=dtype, resident_bytes=bytes)
    stream = videos[1].main
    before = stream.values.copy()
    stream.values[:] = 7
    found = feed.batch(Wanted(torch.tensor([1]))).values["features"]
    stream.values[:] = before
    return not (found == 7).all()


@pytest.mark.parametrize(
    ("kind", "dtype", "alternatives", "size"),
    [
        ("float32", torch.float32, 1, 2 * 4 * 3 * 4),
        ("float64", torch.float32, 1, 2 * 4 * 3 * 4),
        ("float32", torch.float64, 1, 2 * 4 * 3 * 8),
        ("float16", torch.float32, 1, 2 * 4 * 3 * 2),  # kept in half precision
        ("float32", torch.float32, 5, 2 * 4 * 5 * 3 * 4),  # with every row that may be drawn
    ],
)
def test_features_that_do_not_fit_are_read_when_asked_for(
    kind: str, dtype: torch.dtype, alternatives: int, size: int
) -> None:
    videos = [
        VideoFeatures(name, {"features": _stream(n, 4, (3,), alternatives, kind)})
        for n, name in enumerate("ab")
    ]
    assert _is_resident(videos, size, dtype)
    assert not _is_resident(videos, size - 1, dtype)


def test_features_are_left_as_they_are() -> None:
    video = _video("a", 4)
    before = video.values.copy()
    feed = Feed([video], resident_bytes=0)
    feed.batch(Wanted(torch.tensor([0]))).values["features"].add_(1)
    np.testing.assert_array_equal(video.values, before)


@pytest.mark.parametrize("resident_bytes", [0, ENOUGH])
def test_batches_come_in_the_order_asked_for(resident_bytes: int) -> None:
    videos = [_video(f"{n}", 2 + n % 3, seed=n) for n in range(7)]
    feed = Feed(videos, resident_bytes=resident_bytes)
    requests = [Wanted(torch.tensor(places)) for places in ([3], [0, 1, 2], [6, 5], [4, 4])]
    found = list(feed.batches(requests))
    assert len(found) == 4
    for wanted, batch in zip(requests, found, strict=True):
        alone = feed.batch(wanted)
        assert batch.values["features"].equal(alone.values["features"])
        assert batch.mask is not None and alone.mask is not None
        assert batch.mask.equal(alone.mask)
    assert list(feed.batches([])) == []


def test_one_batch_is_read_ahead_of_the_one_in_work_and_no_more() -> None:
    feed = Feed([_video(f"{n}", 2, seed=n) for n in range(6)], resident_bytes=0)
    asked: list[int] = []

    def requests() -> Iterator[Wanted]:
        for number in range(6):
            asked.append(number)
            yield Wanted(torch.tensor([number]))

    for number, _ in enumerate(feed.batches(requests())):
        assert len(asked) == min(6, number + 2)


def test_what_goes_wrong_while_reading_ahead_is_raised_and_no_thread_stays() -> None:
    videos = [_video(f"{n}", 4, seed=n) for n in range(4)]
    feed = Feed(videos, resident_bytes=0)
    object.__setattr__(videos[3].main, "values", np.zeros((4, 9)))
    threads = threading.active_count()
    batches = feed.batches(Wanted(torch.tensor([n])) for n in range(4))
    for _ in range(3):
        next(batches)
    with pytest.raises(ValueError, match="could not broadcast"):
        next(batches)
    assert threading.active_count() == threads


@pytest.mark.parametrize("resident_bytes", [0, ENOUGH])
def test_streams_must_agree_in_their_alternatives(resident_bytes: int) -> None:
    def video(name: str, rgb: int, flow: int) -> VideoFeatures:
        streams = {"rgb": _stream(0, 4, (3,), rgb), "flow": _stream(1, 4, (3,), flow)}
        return VideoFeatures(name, streams)

    with pytest.raises(RecipeError, match="have 3 and 5 frames a segment; extract all with one"):
        Feed([video("a", 3, 5)], resident_bytes=resident_bytes)
    with pytest.raises(RecipeError, match="have 3 and 5 frames a segment"):
        Feed([video("a", 5, 5), video("b", 3, 3)], resident_bytes=resident_bytes)
    with pytest.raises(RecipeError, match="videos differ in their frames a segment of flow$"):
        Feed([video("a", 5, 5), video("b", 5, 1)], resident_bytes=resident_bytes)
    assert (
        Feed([video("a", 5, 1), video("b", 5, 1)], resident_bytes=resident_bytes).alternatives == 5
    )


def test_scaled_channels_have_mean_0_and_deviation_1_over_all_steps() -> None:
    rng = np.random.default_rng(0)
    videos = [
        VideoFeatures.of(f"v{n}", rng.normal(size=(n + 2, 4)) * [1, 50, 1, 0] + [5, 0, 1, 3], _times(n + 2))
        for n in range(5)
    ]  # fmt: skip
    scale = statistics(videos)
    batch = scale.apply(Feed(videos).batch(Wanted(torch.arange(5))))
    assert batch.mask is not None
    rows = batch.values["features"][batch.mask].numpy()
    assert len(rows) == sum(len(video.values) for video in videos)
    np.testing.assert_allclose(rows.mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(rows.std(axis=0), [1, 1, 1, 0], atol=1e-5)
    assert not batch.values["features"][~batch.mask].any()


@pytest.mark.parametrize("half", [False, True])
def test_maps_are_scaled_over_their_places_and_all_only_by_rows_that_count(half: bool) -> None:
    track = _stream(0, 6, (3,), alternatives=4)
    maps = _stream(1, 6, (3, 2, 5), alternatives=4)
    if half:
        maps = replace(maps, values=maps.values.astype(np.float16))
    maps.values.setflags(write=False)  # as those of a store are
    video = VideoFeatures("v", {"rgb": maps, "track": track})
    scale = statistics([video])
    assert list(scale.mean) == list(scale.factor) == ["rgb", "track"]
    for role, stream, axes in (("rgb", maps, (0, 2, 3)), ("track", track, (0,))):
        rows = stream.step_values.astype(np.float64)
        mean, deviation = (of(rows, axis=axes).ravel() for of in (np.mean, np.std))
        np.testing.assert_allclose(scale.mean[role].ravel(), mean, rtol=1e-9)
        np.testing.assert_allclose(1 / scale.factor[role].ravel(), deviation, rtol=1e-9)
        batch = scale.apply(Feed([video]).batch(Wanted(torch.tensor([0]))))
        scaled = batch.values[role].numpy()[0]
        np.testing.assert_allclose(scaled.mean(axis=axes), 0, atol=1e-5)
        np.testing.assert_allclose(scaled.std(axis=axes), 1, atol=1e-5)


def test_padding_of_scaled_maps_stays_0() -> None:
    videos = [
        VideoFeatures(f"v{steps}", {"rgb": _stream(steps, steps, (3, 2, 2))}) for steps in (2, 4)
    ]
    batch = statistics(videos).apply(Feed(videos).batch(Wanted(torch.arange(2))))
    assert batch.mask is not None
    assert not batch.values["rgb"][~batch.mask].any()
    assert batch.values["rgb"][batch.mask].all()


def test_without_a_scale_a_batch_stays_the_same() -> None:
    raw = Feed([_video("v", 3)]).batch(Wanted(torch.tensor([0])))
    assert Scale({}, {}).apply(raw) is raw


@given(SEEDS)
def test_a_scale_for_each_member_scales_as_each_alone(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(3, 2, 4, 5, generator=generator)  # (M, V, T, C)
    mask = torch.rand(3, 2, 4, generator=generator) < 0.7
    means, factors = torch.randn(2, 3, 5, generator=generator)
    together = Scale({"x": means[:, None, None]}, {"x": factors[:, None, None]})
    found = together.apply(Batch({"x": values}, mask)).values["x"]
    for member in range(3):
        alone = Scale({"x": means[member]}, {"x": factors[member]})
        expected = alone.apply(Batch({"x": values[member]}, mask[member])).values["x"]
        assert found[member].equal(expected)
        assert not expected[~mask[member]].any()
    doubled = together.to("cpu", torch.float64)
    assert doubled.mean["x"].dtype == doubled.factor["x"].dtype == torch.float64
