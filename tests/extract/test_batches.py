"""Units of several videos share batches, and nobody pays for the fault of another."""

from collections.abc import Callable, Collection
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from aqakit.extract.backbone import Setup
from aqakit.extract.batches import Batches
from aqakit.extract.reading import Clock
from aqakit.extract.request import Feature
from aqakit.features.errors import RecipeError, UserError, VideoError, WeightsError
from aqakit.features.segments import Sampling
from aqakit.features.spec import FeatureSpec

POISON = 13


class Network:
    """Gives each unit's mean and the number of its batch; refuses batches that hold poison."""

    batch_units = 4

    def __init__(self, error: Exception | None = None) -> None:
        self.batches: list[list[int]] = []
        self.layers: list[list[str]] = []
        self._error = error

    def __call__(
        self, images: np.ndarray, seconds: np.ndarray, layers: Collection[str]
    ) -> dict[str, np.ndarray]:
        assert len(images) == len(seconds) <= self.batch_units
        self.batches.append([int(unit.flat[0]) for unit in images])
        self.layers.append(list(layers))
        if self._error is not None and (images == POISON).any():
            raise self._error
        rows = images.reshape(len(images), -1).mean(axis=1, keepdims=True).astype(np.float32)
        return {layer: rows + number for number, layer in enumerate(sorted(layers))}


class Video:
    """Takes what it is given."""

    def __init__(self) -> None:
        self.rows: list[dict[str, float]] = []
        self.errors: list[Exception] = []

    def accept(self, rows: dict[str, np.ndarray]) -> None:
        assert all(values.shape == (1, 1) for values in rows.values())
        self.rows.append({layer: float(values.item()) for layer, values in rows.items()})

    def fail(self, error: Exception) -> None:
        self.errors.append(error)

    @property
    def means(self) -> list[float]:
        return [row["mean"] for row in self.rows]


def feature(build: Callable[[Setup], Any], setup: Setup | None = None) -> Feature:
    spec = FeatureSpec("fake", "rgb", "mean", Sampling.parse("clips-2"), "imagenet")
    module: Any = SimpleNamespace(build=build)
    return Feature(spec, module, setup or Setup("rgb", "imagenet"), (1,))


def push(
    batches: Batches, one: Feature, video: Video, *values: int, layers: tuple[str, ...] = ("mean",)
) -> None:
    for value in values:
        images = np.full((2, 3, 4, 3), value, np.uint8)
        batches.push(one, layers, video, images, np.array([0.0, 0.1]))


def test_units_of_several_videos_fill_one_batch() -> None:
    network, batches = Network(), Batches(Clock(), {})
    one, (a, b) = feature(lambda setup: network), (Video(), Video())
    push(batches, one, a, 1, 2, 3)
    assert network.batches == []
    push(batches, one, b, 4, 5)
    assert network.batches == [[1, 2, 3, 4]]
    assert (a.means, b.means) == ([1, 2, 3], [4])
    push(batches, one, a, 6)
    batches.flush(lambda taker: taker is b)
    assert network.batches[1:] == [[5, 6]]
    assert (a.means, b.means) == ([1, 2, 3, 6], [4, 5])
    batches.flush(lambda taker: True)
    assert len(network.batches) == 2, "nothing waits any more"


def test_a_flush_leaves_the_batches_of_others_waiting() -> None:
    network, batches = Network(), Batches(Clock(), {})
    one, (a, b) = feature(lambda setup: network), (Video(), Video())
    push(batches, one, a, 1)
    batches.flush(lambda taker: taker is b)
    assert network.batches == []


def test_units_of_other_shapes_and_networks_stay_apart() -> None:
    networks: dict[str, Network] = {}
    batches, video = Batches(Clock(), {}), Video()

    def build(setup: Setup) -> Network:
        assert setup.preset not in networks, "built twice"
        return networks.setdefault(setup.preset, Network())

    for _ in range(3):
        for preset in ("imagenet", "inception"):
            one = feature(build, Setup("rgb", preset))
            push(batches, one, video, 1)
            wide = np.full((2, 3, 8, 3), 2, np.uint8)
            batches.push(one, ("mean",), video, wide, np.array([0.0, 0.1]))
    batches.flush(lambda taker: True)
    assert {p: n.batches for p, n in networks.items()} == {
        "imagenet": [[1, 1, 1], [2, 2, 2]],
        "inception": [[1, 1, 1], [2, 2, 2]],
    }


def test_layers_are_computed_together_and_each_video_gets_its_own() -> None:
    network, batches = Network(), Batches(Clock(), {})
    one, (a, b, c) = feature(lambda setup: network), (Video(), Video(), Video())
    push(batches, one, a, 1, layers=("mean",))
    push(batches, one, b, 2, layers=("other",))
    push(batches, one, c, 3, layers=("other", "mean"))
    batches.flush(lambda taker: True)
    assert network.layers == [["mean", "other"]]
    assert (a.rows, b.rows, c.rows) == ([{"mean": 1}], [{"other": 3}], [{"other": 4, "mean": 3}])


@pytest.mark.parametrize("error", [ZeroDivisionError("odd"), VideoError("too odd")])
def test_who_made_a_batch_fail_fails_alone(error: Exception) -> None:
    network, batches = Network(error), Batches(Clock(), {})
    one, (a, b, c) = feature(lambda setup: network), (Video(), Video(), Video())
    push(batches, one, a, 1)
    push(batches, one, b, POISON)
    push(batches, one, a, 2)
    push(batches, one, c, 3)
    assert (a.means, b.means, c.means) == ([1, 2], [], [3])
    assert (a.errors, b.errors, c.errors) == ([], [error], [])
    push(batches, one, c, 4, 5, 6, 7)
    assert c.means == [3, 4, 5, 6, 7]


def test_what_the_user_can_mend_stops_everything() -> None:
    network, batches = Network(RecipeError("needs 10 fields")), Batches(Clock(), {})
    one = feature(lambda setup: network)
    with pytest.raises(RecipeError, match="needs 10 fields"):
        push(batches, one, Video(), 1, 2, 3, POISON)


def test_weights_that_do_not_fit_are_told_at_the_first_unit() -> None:
    def build(setup: Setup) -> Network:
        raise WeightsError("do not fit")

    with pytest.raises(UserError, match="do not fit"):
        push(Batches(Clock(), {}), feature(build), Video(), 1)


def test_dropped_units_are_never_computed() -> None:
    network, batches = Network(), Batches(Clock(), {})
    one, (a, b) = feature(lambda setup: network), (Video(), Video())
    push(batches, one, a, 1, 2)
    push(batches, one, b, 3)
    batches.drop(lambda taker: taker is a)
    push(batches, one, b, 4, 5, 6)
    assert network.batches == [[3, 4, 5, 6]]
    assert (a.rows, a.errors) == ([], [])
    push(batches, one, a, 7)
    batches.drop(lambda taker: taker is a)
    batches.flush(lambda taker: True)
    assert len(network.batches) == 1


def test_time_is_counted_by_what_it_was_spent_on() -> None:
    clock = Clock()
    batches = Batches(clock, {})
    push(batches, feature(lambda setup: Network()), Video(), 1, 2, 3, 4)
    assert clock.spent.keys() == {"load", "model"}
