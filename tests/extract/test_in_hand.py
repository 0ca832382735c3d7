"""One video on its way into the store, beside others that share its batches."""

from collections.abc import Callable, Collection
from contextlib import AbstractContextManager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from aqakit.extract.backbone import Algorithm, Setup
from aqakit.extract.batches import Batches
from aqakit.extract.flow import TVL1
from aqakit.extract.in_hand import Begin, Finished, InHand, wishes_of
from aqakit.extract.reading import Clock, Closed, Items, Job, Opened, read
from aqakit.extract.request import Feature, plan_features
from aqakit.features.errors import DiskFullError
from aqakit.features.manifest import Video
from aqakit.features.segments import Sampling, Units
from aqakit.features.spec import FeatureSpec
from aqakit.features.store import FeatureStore, PartWriter

Write = Callable[..., Path]
Pictures = Callable[..., list[np.ndarray]]
Rule = Callable[[np.ndarray, float], float]


class Network:
    """A row of one number a unit, by a rule of its pixels and its first time; batches of 4."""

    batch_units = 4

    def __init__(self, rule: Rule) -> None:
        self.batches: list[int] = []
        self._rule = rule

    def __call__(
        self, images: np.ndarray, seconds: np.ndarray, layers: Collection[str]
    ) -> dict[str, np.ndarray]:
        self.batches.append(len(images))
        rows = [[self._rule(unit, at[0])] for unit, at in zip(images, seconds, strict=True)]
        return {layer: np.array(rows, np.float32) + (layer == "more") for layer in layers}


def brightness(unit: np.ndarray, seconds: float) -> float:
    return float(unit.mean())


def fake(
    network: Any, sampling: str = "clips-5", layer: str = "mean", name: str = "fake"
) -> Feature:
    """A feature of ``network``; those of one name share it."""
    spec = FeatureSpec(name, "rgb", layer, Sampling.parse(sampling), "caffe")
    module: Any = SimpleNamespace(build=lambda setup: network)
    return Feature(spec, module, Setup("rgb", "caffe"), (1,))


def beginner(store: FeatureStore, video: Video) -> Begin:
    assert video.path is not None
    source = store.source(video.path)

    def begin(feature: Feature, units: Units) -> AbstractContextManager[PartWriter]:
        shape = (len(units), *feature.row_shape)
        return store.begin(feature.spec, video.id, source, shape, units.frames.shape[1])

    return begin


class Desk:
    """A store, batches, and videos of given brightness, each read at once and held by hand."""

    def __init__(self, folder: Path, write_video: Write) -> None:
        self.store = FeatureStore.create(folder / "store")
        self.clock = Clock()
        self.batches = Batches(self.clock, {})
        self._folder = folder
        self._write_video = write_video

    def hand(
        self, name: str, grey: int, features: list[Feature], frames: int = 20
    ) -> tuple[InHand, list[Any]]:
        """The video in hand, and all that its reader tells."""
        pictures = [np.full((48, 64, 3), grey, np.uint8)] * frames
        path = self._write_video(self._folder / f"{name}.mp4", pictures, fps=25)
        video = Video(name, path)
        begin = beginner(self.store, video)
        hand = InHand(video, features, begin, self.batches, None, self.clock)
        with TVL1(1) as tvl1:
            return hand, list(read(Job(path, None, None, wishes_of(features)), tvl1))

    def parts(self) -> set[Path]:
        """Everything below the parts of the store, half-written files included."""
        return set(self.store.path.glob("parts/*/*"))


@pytest.fixture
def desk(tmp_path: Path, write_video: Write) -> Desk:
    return Desk(tmp_path, write_video)


def hear(hand: InHand, told: list[Any]) -> Finished | None:
    for message in told:
        if isinstance(message, Opened):
            hand.open(message)
        elif isinstance(message, Items):
            hand.take(message)
        elif isinstance(message, Closed):
            return hand.close(message, {"libraries": {}})
    return None


def means(store: FeatureStore, feature: Feature, video: str) -> list[float]:
    return [float(value) for value in np.ravel(store.read(feature.spec.key, video).values)]


def test_two_videos_share_a_batch_and_get_their_own_rows(desk: Desk) -> None:
    network = Network(brightness)
    feature = fake(network)
    dark, told_dark = desk.hand("dark", 40, [feature], frames=10)
    light, told_light = desk.hand("light", 200, [feature], frames=10)
    assert hear(dark, told_dark[:-1]) is None
    assert (dark.share, light.share) == (1.0, 0.0)
    assert hear(light, told_light[:-1]) is None
    assert network.batches == [4]
    for hand, told in ((dark, told_dark), (light, told_light)):
        finished = hear(hand, told[-1:])
        assert finished is not None
        assert (finished.frames, finished.computed) == (10, (feature.spec.key,))
        assert (finished.faults, finished.notes) == ({}, ())
    assert network.batches == [4]
    np.testing.assert_allclose(means(desk.store, feature, "dark"), [40, 40], atol=2)
    np.testing.assert_allclose(means(desk.store, feature, "light"), [200, 200], atol=2)
    read_back = desk.store.read(feature.spec.key, "dark")
    np.testing.assert_allclose(read_back.times[:, 0], [0, 0.2])
    np.testing.assert_allclose(read_back.frame_times, [np.arange(5) / 25, np.arange(5, 10) / 25])
    assert read_back.provenance["frames_decoded"] == 10
    assert read_back.provenance["padded_frames"] == 0
    assert read_back.provenance["stream"]["codec"] == "mpeg4"
    assert desk.clock.spent.keys() == {"load", "model", "write"}


def test_layers_of_one_network_run_it_once_and_other_units_run_it_again(desk: Desk) -> None:
    network = Network(brightness)
    features = [fake(network), fake(network, layer="more"), fake(network, "clips-10")]
    finished = hear(*desk.hand("a", 90, features, frames=20))
    assert finished is not None
    assert finished.computed == tuple(feature.spec.key for feature in features)
    assert sorted(network.batches) == [2, 4]
    plain, more, _ = (np.array(means(desk.store, feature, "a")) for feature in features)
    np.testing.assert_array_equal(more, plain + 1)


def test_a_value_that_is_not_finite_costs_its_feature_of_its_video(desk: Desk) -> None:
    bad, good = Network(lambda unit, at: np.nan if unit.mean() > 150 else 1.0), Network(brightness)
    features = [fake(bad, name="bad"), fake(good, name="good")]
    dark, told_dark = desk.hand("dark", 40, features, frames=10)
    light, told_light = desk.hand("light", 200, features, frames=10)
    hear(light, told_light[:-1])
    hear(dark, told_dark[:-1])
    finished = hear(light, told_light[-1:])
    assert finished is not None
    assert finished.computed == (features[1].spec.key,)
    (fault,) = finished.faults.values()
    assert fault.lasting
    assert f"light.mp4: {features[0].spec.key} is not finite at 0.000 s; check" in fault.reason
    finished = hear(dark, told_dark[-1:])
    assert finished is not None
    assert len(finished.computed) == 2
    assert means(desk.store, features[0], "dark") == [1, 1]
    assert desk.store.videos(features[0].spec.key) == ["dark"]
    assert len(desk.parts()) == 3


def test_a_value_too_large_for_half_precision_is_not_finite(desk: Desk) -> None:
    feature = fake(Network(lambda unit, at: 1e6))
    half = Feature(
        FeatureSpec("fake", "rgb", "mean", Sampling.parse("clips-5"), "caffe", precision="float16"),
        feature.module,
        feature.setup,
        (1,),
    )
    finished = hear(*desk.hand("a", 40, [half, feature], frames=10))
    assert finished is not None
    assert finished.computed == (feature.spec.key,)
    assert "use --precision float32" in finished.faults[half.spec.key].reason


def test_a_backbone_that_stumbles_over_one_video_does_the_others(desk: Desk) -> None:
    def stumbling(unit: np.ndarray, at: float) -> float:
        if unit.mean() > 150:
            raise ZeroDivisionError("a\nmost odd picture")
        return 1.0

    features = [fake(Network(stumbling)), fake(Network(brightness), name="good")]
    light, told_light = desk.hand("light", 200, features, frames=10)
    dark, told_dark = desk.hand("dark", 40, features, frames=10)
    hear(light, told_light[:-1])
    hear(dark, told_dark[:-1])
    done = hear(dark, told_dark[-1:])
    finished = hear(light, told_light[-1:])
    assert done is not None
    assert finished is not None
    assert (len(done.computed), finished.computed) == (2, (features[1].spec.key,))
    (fault,) = finished.faults.values()
    assert not fault.lasting
    assert "light.mp4: unexpected ZeroDivisionError (a most odd picture)" in fault.reason
    assert means(desk.store, features[0], "dark") == [1, 1]
    assert desk.store.videos(features[0].spec.key) == ["dark"]


def test_an_abandoned_video_leaves_no_trace(desk: Desk) -> None:
    network = Network(brightness)
    features = [fake(network), fake(network, "clips-10")]
    gone, told_gone = desk.hand("gone", 200, features)
    stays, told_stays = desk.hand("stays", 40, features)
    hear(gone, told_gone[:-1])
    assert desk.parts(), "its parts were begun"
    gone.abandon()
    assert desk.parts() == set()
    assert gone.share == 0
    finished = hear(stays, told_stays)
    assert finished is not None
    assert len(finished.computed) == 2
    assert network.batches[-2:] == [4, 2], "units of the other did not fill its batches"
    assert all(desk.store.videos(feature.spec.key) == ["stays"] for feature in features)
    gone.abandon()  # once more does no harm


def test_a_second_plan_starts_all_over(desk: Desk) -> None:
    feature = fake(Network(brightness))
    hand, told = desk.hand("a", 90, [feature])
    hear(hand, told[:-1])
    finished = hear(hand, told)
    assert finished is not None
    assert finished.computed == (feature.spec.key,)
    assert len(means(desk.store, feature, "a")) == 4
    assert len(desk.parts()) == 1


def test_a_feature_that_the_video_is_too_short_for_does_not_cost_the_others(desk: Desk) -> None:
    network = Network(brightness)
    features = [fake(network, "clips-100-refuse"), fake(network, "clips-16")]
    finished = hear(*desk.hand("a", 90, features, frames=6))
    assert finished is not None
    assert finished.computed == (features[1].spec.key,)
    assert finished.notes == ("fake: 10 of 16 frames padded",)
    (fault,) = finished.faults.values()
    assert fault.lasting
    assert "a.mp4: 6 frames are fewer than the 100" in fault.reason


def test_a_full_disk_is_raised_and_leaves_no_trace(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    hand, told = desk.hand("a", 90, [fake(Network(brightness))])
    full = "no space left on the disk"

    def append(self: PartWriter, rows: Any) -> None:
        raise DiskFullError(full)

    monkeypatch.setattr(PartWriter, "append", append)
    with pytest.raises(DiskFullError, match=full):
        hear(hand, told)
    hand.abandon()
    assert desk.parts() == set()


def test_flow_computed_beside_the_networks_gives_the_same_bits(
    tmp_path: Path, moving_square: Pictures, write_video: Write
) -> None:
    """Two features and two sizes of field share their flow; a raw feature keeps every bit of it."""
    path = write_video(tmp_path / "a.mp4", moving_square(14), fps=25)
    video = Video("a", path)
    raw: Any = SimpleNamespace(
        build=lambda setup: Algorithm("raw", lambda flow, seconds: np.ravel(flow).astype(float))
    )
    spec = FeatureSpec("raw", "flow", "raw", Sampling.parse("stacks-4x3"), "short-64")
    features = [
        Feature(spec, raw, Setup("flow", "short-64"), (2 * 64 * 85 * 2,)),
        *plan_features(["flow-hist@clips-4", "flow-hist@clips-20-loop"]),
    ]
    stored = []
    for elsewhere in (False, True):
        store = FeatureStore.create(tmp_path / f"store{elsewhere}")
        with TVL1(2) as tvl1:
            hand = InHand(
                video,
                features,
                beginner(store, video),
                Batches(Clock(), {}),
                tvl1 if elsewhere else None,
                Clock(),
            )
            told = list(read(Job(path, None, None, hand.wishes, elsewhere), tvl1))
            finished = hear(hand, told)
        assert finished is not None
        assert len(finished.computed) == 3, finished.faults
        stored.append([store.read(feature.spec.key, "a") for feature in features])
    for here, there in zip(*stored, strict=True):
        np.testing.assert_array_equal(here.values, there.values)
        np.testing.assert_array_equal(here.frame_times, there.frame_times)
    assert np.abs(stored[0][0].values).max() > 1
