"""What every file of ``backbones/`` promises, whatever it computes."""

import functools
from types import ModuleType
from typing import NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray

from aqakit.extract.backbone import Algorithm, BackboneInfo, Checkpoint, Output, Setup
from aqakit.extract.request import BACKBONES
from aqakit.extract.transforms import PRESETS, FlowPreset
from aqakit.features import plugins
from aqakit.features.segments import Sampling
from aqakit.features.spec import FeatureSpec, Stream

NAMES = plugins.names(BACKBONES)


def module_of(name: str) -> ModuleType:
    return plugins.load(BACKBONES, name)


def info_of(name: str) -> BackboneInfo:
    info: BackboneInfo = module_of(name).INFO
    return info


class Seen(NamedTuple):
    """A network, or an algorithm, and what it looks at."""

    name: str
    stream: Stream
    preset: str
    frames: int

    @property
    def outputs(self) -> list[Output]:
        return [
            one
            for one in info_of(self.name).outputs
            if (one.stream, one.sampling.frames) == (self.stream, self.frames)
            and self.preset in one.presets
        ]


def every_seen() -> list[Seen]:
    found = [
        Seen(name, output.stream, preset, output.sampling.frames)
        for name in NAMES
        for output in info_of(name).outputs
        for preset in output.presets
    ]
    return list(dict.fromkeys(found))


def every_output() -> list[tuple[Seen, Output]]:
    return [(seen, output) for seen in every_seen() for output in seen.outputs]


def unit(seen: Seen) -> NDArray[np.generic]:
    """One unit as the reader would hand it over, of a video of 80 x 60."""
    preset, random = PRESETS[seen.stream][seen.preset], np.random.default_rng(0)
    if isinstance(preset, FlowPreset):
        size = preset.frames.resized(60, 80)
        fields = random.normal(0, 2, (seen.frames - 1, *size, 2)).astype(np.float32)
        return np.stack([preset.field(field) for field in fields])[None]
    pictures = random.integers(0, 256, (seen.frames, 60, 80, 3), dtype=np.uint8)
    return np.stack([preset.frame(picture) for picture in pictures])[None]


Rows = dict[str, NDArray[np.float32]]


@functools.cache
def rows_twice(seen: Seen) -> tuple[Rows, Rows]:
    """Rows of all layers from one backbone, called twice."""
    info = info_of(seen.name)
    seed = 0 if info.checkpoints else None
    backbone = module_of(seen.name).build(Setup(seen.stream, seen.preset, random_seed=seed))
    assert backbone.batch_units >= 1
    backbone.batch_units = 1
    images, seconds = unit(seen), np.arange(seen.frames)[None] / 10
    layers = [output.layer for output in seen.outputs]
    return backbone(images, seconds, layers), backbone(images, seconds, layers)


def test_the_folder_is_the_list() -> None:
    assert NAMES == ["c3d", "camera-motion", "flow-hist", "i3d", "i3d-r50", "resnet101"]


def label(value: object) -> str:
    if isinstance(value, Seen):
        return ".".join(map(str, value))
    return value.layer if isinstance(value, Output) else str(value)


@pytest.mark.parametrize(("seen", "output"), every_output(), ids=label)
def test_rows_are_as_promised_and_repeat_bit_for_bit(seen: Seen, output: Output) -> None:
    rows, again = (rows[output.layer] for rows in rows_twice(seen))
    assert rows.shape == (1, *output.shape)
    assert rows.dtype == np.float32
    assert np.isfinite(rows).all()
    assert rows.std() > 0
    if output.precision == "float16":
        assert np.isfinite(rows.astype(np.float16)).all()
    np.testing.assert_array_equal(rows, again)


@pytest.mark.parametrize("seen", every_seen(), ids=label)
def test_only_the_layers_that_were_asked_for_come_back(seen: Seen) -> None:
    assert list(rows_twice(seen)[0]) == [output.layer for output in seen.outputs]


@pytest.mark.parametrize("name", NAMES)
def test_outputs_have_names_of_their_own_that_a_spec_takes(name: str) -> None:
    info = info_of(name)
    assert info.outputs
    assert len({(one.stream, one.layer) for one in info.outputs}) == len(info.outputs)
    for one in info.outputs:
        assert len(one.presets) == len(set(one.presets)) >= 1
        assert set(one.presets) <= set(PRESETS[one.stream])
        assert one.stream != "flow" or one.sampling.frames >= 2
        assert Sampling.parse(one.sampling.text) == one.sampling
        spec = FeatureSpec(name, one.stream, one.layer, one.sampling, one.presets[0])
        assert spec.key.startswith(f"{name}.{one.stream}.{one.layer}.")


@pytest.mark.parametrize("name", NAMES)
def test_maps_are_stored_in_half_and_vectors_in_full(name: str) -> None:
    for one in info_of(name).outputs:
        assert one.precision == ("float16" if len(one.shape) > 1 else "float32")


# Checkpoints


def test_every_checkpoint() -> None:
    """Backbone, file, host, published digits of the checksum, bytes, whose network it fills."""
    found = [
        (
            name,
            one.file,
            one.url.split("/")[2],
            one.sha256_prefix[:8],
            one.size_bytes,
            one.stream,
        )
        for name in NAMES
        for one in info_of(name).checkpoints
    ]
    assert found == [
        (
            "c3d",
            "c3d_sports1m_pretrain_20201016-dcc47ddc.pth",
            "download.openmmlab.com",
            "dcc47ddc",
            None,
            None,
        ),
        ("c3d", "c3d.pickle", "imagelab.ing.unimore.it", "", None, None),
        ("i3d", "rgb_imagenet.pt", "github.com", "2609088c", 50_883_138, "rgb"),
        ("i3d", "flow_imagenet.pt", "github.com", "", None, "flow"),
        ("i3d-r50", "I3D_8x8_R50.pyth", "dl.fbaipublicfiles.com", "", None, None),
        ("resnet101", "resnet101-63fe2227.pth", "download.pytorch.org", "63fe2227", None, None),
        ("resnet101", "resnet101-cd907fc2.pth", "download.pytorch.org", "cd907fc2", None, None),
    ]


@pytest.mark.parametrize("name", NAMES)
def test_what_is_said_of_checkpoints_can_be_true(name: str) -> None:
    info = info_of(name)
    for one in info.checkpoints:
        assert one.url.startswith(("https://", "http://"))
        assert one.url.endswith(f"/{one.file}")
        assert one.source
        assert one.layout != "unknown"
        assert one.stream in (None, *info.streams)
    if info.checkpoints:
        for stream in info.streams:
            assert info.checkpoints_of(stream), f"nothing to fetch for {name}.{stream}"


def test_checkpoints_of_a_stream_are_its_own_and_those_of_any() -> None:
    files: dict[str, Stream | None] = {"a.pt": "flow", "b.pt": None, "c.pt": "rgb"}
    checkpoints = tuple(
        Checkpoint(file, "a zoo", f"https://example.org/{file}", stream=stream)
        for file, stream in files.items()
    )
    sampling = Sampling.parse("clips-16")
    outputs = (
        Output("rgb", "pool", (2,), sampling, ("imagenet",)),
        Output("flow", "pool", (2,), sampling, ("inception",)),
        Output("rgb", "maps", (2,), sampling, ("imagenet",)),
    )
    info = BackboneInfo(outputs, checkpoints)
    assert info.streams == ("rgb", "flow")
    assert [one.file for one in info.checkpoints_of("rgb")] == ["b.pt", "c.pt"]
    assert [one.file for one in info.checkpoints_of("flow")] == ["a.pt", "b.pt"]


def test_the_places_of_a_file_begin_with_its_publisher() -> None:
    one = Checkpoint("a.pt", "a zoo", "https://example.org/a.pt", mirrors=("https://b.org/a.pt",))
    assert one.urls == ("https://example.org/a.pt", "https://b.org/a.pt")


# A plain function as a backbone


def test_an_algorithm_sees_one_unit_at_a_time() -> None:
    def function(flow: NDArray[np.generic], seconds: NDArray[np.float64]) -> NDArray[np.float64]:
        assert (flow.shape, seconds.shape) == ((2, 4, 5, 2), (3,))
        return np.array([flow.astype(np.float64).sum(), seconds[-1]])

    flow = np.ones((3, 2, 4, 5, 2), dtype=np.float32) * np.arange(3)[:, None, None, None, None]
    seconds = np.arange(9.0).reshape(3, 3)
    rows = Algorithm("sum", function)(flow.astype(np.float32), seconds, ["sum"])
    assert list(rows) == ["sum"]
    assert rows["sum"].dtype == np.float32
    np.testing.assert_array_equal(rows["sum"], [[0, 2], [80, 5], [160, 8]])


def test_an_algorithm_takes_as_many_times_as_units() -> None:
    algorithm = Algorithm("none", lambda flow, seconds: np.zeros(1))
    with pytest.raises(ValueError, match=r"zip\(\)"):
        algorithm(np.zeros((2, 1, 4, 4, 2)), np.zeros((1, 2)), ["none"])
