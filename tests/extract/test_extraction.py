"""Videos into a store: the same bits however the work is shared out, and faults where they belong."""

from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from aqakit.extract.backbone import Setup
from aqakit.extract.backbones import flow_hist, i3d, resnet101
from aqakit.extract.devices import extract_on
from aqakit.extract.extraction import Order, extract_videos
from aqakit.extract.flow import Method
from aqakit.extract.in_hand import InHand
from aqakit.extract.reading import Items
from aqakit.features.errors import DiskFullError, WeightsError
from aqakit.features.manifest import Video
from aqakit.features.outcome import Outcome
from aqakit.features.store import FeatureStore, PartWriter

Write = Callable[..., Path]
Pictures = Callable[..., list[np.ndarray]]
# Few pairs of frames, because TV-L1 takes its time.
FLOW = "flow-hist@stacks-2x2"
TOO_LONG = "flow-hist@clips-100-refuse"


@pytest.fixture
def videos(tmp_path: Path, moving_square: Pictures, write_video: Write) -> list[Video]:
    return [
        Video(name, write_video(tmp_path / f"{name}.mp4", moving_square(24, step=step)))
        for step, name in enumerate(("v0", "v1", "v2", "v3"), start=1)
    ]


def outcomes_of(order: Order, videos: list[Video]) -> dict[str, Outcome]:
    return {one.video_id: one for one in extract_videos(order, videos, lambda *_: None)}


def contents(store: Path) -> dict[tuple[str, str], list[bytes]]:
    """Every stored number, by feature and video."""
    opened = FeatureStore.open(store)
    found = {}
    for key in opened.keys():
        for video in opened.videos(key):
            read = opened.read(key, video)
            arrays = (read.values, read.times, read.frame_times)
            found[key, video] = [np.asarray(array).tobytes() for array in arrays]
    return found


def replace_build(
    monkeypatch: pytest.MonkeyPatch, module: Any, rule: Callable[[np.ndarray], np.ndarray]
) -> list[tuple[int, list[str]]]:
    """Let a backbone follow a rule of its images; returns what it will have been called with."""
    calls: list[tuple[int, list[str]]] = []

    class Fake:
        batch_units = 4

        def __call__(
            self, images: np.ndarray, seconds: np.ndarray, layers: Collection[str]
        ) -> dict[str, np.ndarray]:
            calls.append((len(images), sorted(layers)))
            shapes = {one.layer: one.shape for one in module.INFO.outputs}
            values = rule(images).astype(np.float32)
            return {
                layer: np.stack([np.full(shapes[layer], value, np.float32) for value in values])
                for layer in layers
            }

    monkeypatch.setattr(module, "build", lambda setup: Fake())
    return calls


def test_the_same_bits_however_the_work_is_shared_out(videos: list[Video], tmp_path: Path) -> None:
    features = (FLOW, "flow-hist@stacks-1x3+mask")
    found: list[dict[tuple[str, str], list[bytes]]] = []
    for workers, devices in ((0, ("cpu",)), (2, ("cpu",)), (1, ("cpu", "cpu"))):
        order = Order(tmp_path / f"store{len(found)}", features, workers=workers)
        outcomes = list(extract_on(order, videos, devices, lambda *_: None))
        assert sorted(one.video_id for one in outcomes) == ["v0", "v1", "v2", "v3"]
        assert all(len(one.computed) == 2 for one in outcomes), outcomes
        assert all(one.spent.keys() >= {"decode", "flow", "write"} for one in outcomes)
        found.append(contents(order.store))
    assert len(found[0]) == 8
    assert found[1] == found[0]
    assert found[2] == found[0]


def test_a_feature_that_fails_neither_costs_the_others_nor_is_forgotten(
    videos: list[Video], tmp_path: Path
) -> None:
    store = tmp_path / "store"
    first = outcomes_of(Order(store, (TOO_LONG, FLOW)), videos[:1])["v0"]
    (key,) = FeatureStore.open(store).keys()
    assert first.computed == (key,)
    assert not first.known_before
    assert "v0.mp4: 24 frames are fewer than the 100 of clips-100-refuse" in str(first.failure)

    second = outcomes_of(Order(store, (TOO_LONG, FLOW)), videos[:1])["v0"]
    assert (second.kept, second.computed, second.known_before) == ((key,), (), True)
    assert second.failure == first.failure
    assert second.frames_decoded == 0

    # A success of other features must neither hide nor forget it.
    other = "flow-hist@stacks-3x2"
    third = outcomes_of(Order(store, (TOO_LONG, FLOW, other)), videos[:1])["v0"]
    assert (len(third.computed), third.kept) == (1, (key,))
    assert third.failure == first.failure
    last = outcomes_of(Order(store, (TOO_LONG, other)), videos[:1])["v0"]
    assert (last.known_before, last.failure) == (True, first.failure)
    alone = outcomes_of(Order(store, (other,)), videos[:1])["v0"]
    assert alone.failure is None, "nobody asked for the one that fails"
    (failure,) = FeatureStore.open(store).failures()
    assert (failure.video, len(failure.keys)) == ("v0", 1)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (ZeroDivisionError("a\nmost odd number"), "ZeroDivisionError (a most odd number); try it"),
        (torch.OutOfMemoryError("all full"), "OutOfMemoryError (all full); free memory, or use"),
    ],
)
@pytest.mark.parametrize("at", ["build", "call"])
def test_what_nobody_foresaw_is_tried_again_by_the_next_run(
    videos: list[Video],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
    words: str,
    at: str,
) -> None:
    def stumbling(*_: Any) -> Any:
        raise error

    features = (FLOW, "resnet101@segments-3-last")
    order = Order(tmp_path / "store", features, ("random",))
    with monkeypatch.context() as patch:
        replace_build(patch, resnet101, lambda images: images.mean(axis=(1, 2, 3, 4)))
        if at == "build":
            patch.setattr(flow_hist, "build", stumbling)
        else:
            patch.setattr(flow_hist, "flow_hist", stumbling)
        outcomes = outcomes_of(order, videos)
    assert len(outcomes) == 4
    for name, one in outcomes.items():
        assert f"{name}.mp4: unexpected {words}" in str(one.failure)
        assert "\n" not in str(one.failure)
        assert len(one.computed) == (0 if at == "build" else 1)
    store = FeatureStore.open(order.store)
    assert store.failures() == []
    assert not list(order.store.glob("parts/*/.*"))
    replace_build(monkeypatch, resnet101, lambda images: images.mean(axis=(1, 2, 3, 4)))
    again = outcomes_of(order, videos)
    assert not any(one.failure or one.known_before for one in again.values())
    assert all(len(one.computed) + len(one.kept) == 2 for one in again.values())
    assert all(len(store.videos(key)) == 4 for key in store.keys())


def test_a_fault_outside_the_networks_costs_its_video(
    videos: list[Video], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    take = InHand.take

    def stumbling(self: InHand, items: Items) -> None:
        if self.video.id == "v1":
            raise ZeroDivisionError("odd")
        take(self, items)

    monkeypatch.setattr(InHand, "take", stumbling)
    order = Order(tmp_path / "store", (FLOW,))
    outcomes = outcomes_of(order, videos)
    assert [name for name, one in outcomes.items() if one.failure] == ["v1"]
    assert "v1.mp4: unexpected ZeroDivisionError (odd)" in str(outcomes["v1"].failure)
    store = FeatureStore.open(order.store)
    assert store.failures() == []
    (key,) = store.keys()
    assert store.videos(key) == ["v0", "v2", "v3"]


def test_layers_of_one_network_are_computed_in_one_call(
    videos: list[Video], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    layers = [one.layer for one in i3d.INFO.outputs if one.stream == "rgb"][:2]
    assert len(layers) == 2
    calls = replace_build(monkeypatch, i3d, lambda images: images.mean(axis=(1, 2, 3, 4)))
    asked = tuple(f"i3d.rgb:{layer}@clips-9" for layer in layers)
    outcomes = outcomes_of(Order(tmp_path / "store", asked, ("random",)), videos[:2])
    assert all(len(one.computed) == 2 for one in outcomes.values())
    assert calls == [(2, sorted(layers))] * 2, "2 clips a video, each seen once"
    store = FeatureStore.open(tmp_path / "store")
    for video in videos[:2]:
        one, other = (store.read(key, video.id).values for key in store.keys())
        np.testing.assert_array_equal(one.ravel()[:1], other.ravel()[:1])


def test_a_full_disk_stops_everything_and_leaves_no_trace(
    videos: list[Video], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    order = Order(tmp_path / "store", (FLOW,))
    done = outcomes_of(order, videos[:1])
    before = contents(order.store)

    def full(self: PartWriter, rows: Any) -> None:
        raise DiskFullError("no space left on the disk")

    with monkeypatch.context() as patch:
        patch.setattr(PartWriter, "append", full)
        with pytest.raises(DiskFullError, match="no space left"):
            outcomes_of(order, videos)
    assert done["v0"].computed
    assert contents(order.store) == before
    assert len(list(order.store.glob("parts/*/*"))) == 1
    assert len(outcomes_of(order, videos)) == 4


def test_leaving_early_leaves_no_trace_and_no_claim(videos: list[Video], tmp_path: Path) -> None:
    order = Order(tmp_path / "store", (FLOW,))
    for _ in extract_videos(order, videos, lambda *_: None):
        break
    store = FeatureStore.open(order.store)
    (key,) = store.keys()
    assert store.videos(key) == ["v0"]
    assert len(list(order.store.glob("parts/*/*"))) == 1
    for video in videos:
        with store.claim(video.id) as mine:
            assert mine


def test_a_video_that_another_process_has_in_hand_is_left_to_it(
    videos: list[Video], tmp_path: Path
) -> None:
    order = Order(tmp_path / "store", (FLOW,))
    with FeatureStore.create(order.store).claim("v1") as mine:
        assert mine
        outcomes = outcomes_of(order, videos)
    assert [name for name, one in outcomes.items() if one.skipped] == ["v1"]
    assert sum(len(one.computed) for one in outcomes.values()) == 3


def test_progress_grows_from_nothing_to_the_whole_video(
    videos: list[Video], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("aqakit.extract.reading._PIECE_BYTES", 1)
    heard: dict[str, list[float]] = {}

    def hear(name: str, share: float) -> None:
        heard.setdefault(name, []).append(share)

    order = Order(tmp_path / "store", ("flow-hist@clips-2",))
    assert len(list(extract_videos(order, videos[:2], hear, threads=1))) == 2
    assert list(heard) == ["v0", "v1"]
    for shares in heard.values():
        assert 0 < shares[0] < 1
        assert shares == sorted(shares)
        assert shares[-1] == 1


def test_networks_of_an_earlier_call_are_used_again(
    videos: list[Video], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    built: list[Setup] = []
    build = flow_hist.build

    def counted(setup: Setup) -> Any:
        built.append(setup)
        return build(setup)

    monkeypatch.setattr(flow_hist, "build", counted)
    kept: dict[Any, Any] = {}
    order = Order(tmp_path / "store", (FLOW,))
    for video in videos:
        (outcome,) = extract_videos(order, [video], lambda *_: None, backbones=kept)
        assert outcome.computed
    assert len(built) == len(kept) == 1


def test_weights_that_cannot_be_read_stop_everything(videos: list[Video], tmp_path: Path) -> None:
    bad = tmp_path / "bad.pth"
    bad.write_text("no weights")
    order = Order(tmp_path / "store", ("resnet101@segments-3-last",), (str(bad),))
    with pytest.raises(WeightsError, match=r"bad\.pth"):
        outcomes_of(order, videos)
    assert not list(order.store.glob("parts/*/*"))


@pytest.mark.parametrize(
    ("flow", "device", "beside"),
    [("opencv", "cuda:1", False), ("torch", "cpu", False), ("torch", "cuda:1", True)],
)
def test_flow_is_computed_beside_the_networks_on_accelerators_only(
    flow: Method, device: str, beside: bool
) -> None:
    assert Order(Path("store"), (FLOW,), flow=flow, device=device).flow_on_device is beside
