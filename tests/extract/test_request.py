"""From the words of a user to features."""

import itertools
import re
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from aqakit.extract.augment import Variant
from aqakit.extract.backbone import BackboneInfo, Output
from aqakit.extract.request import BACKBONES, GRAMMAR, View, plan_features
from aqakit.extract.transforms import PRESETS, FlowPreset, Preset
from aqakit.features import plugins
from aqakit.features.errors import RecipeError, WeightsError
from aqakit.features.segments import Sampling
from aqakit.features.spec import Precision

INFOS: dict[str, BackboneInfo] = {
    name: plugins.load(BACKBONES, name).INFO for name in plugins.names(BACKBONES)
}


def keys(*requests: str, weights: tuple[str, ...] = ("random",)) -> list[str]:
    return [feature.spec.key for feature in plan_features(requests, weights)]


def identities(*requests: str, weights: tuple[str, ...]) -> list[str]:
    return [feature.spec.weights for feature in plan_features(requests, weights)]


def one_line(error: pytest.ExceptionInfo[Exception]) -> str:
    message = str(error.value)
    assert "\n" not in message
    return message


# The grammar


def test_defaults_of_every_backbone() -> None:
    assert keys(*plugins.names(BACKBONES)) == [
        "c3d.rgb.fc6.clips-16.caffe.random-0.float32",
        "camera-motion.flow.border.steps-10x8-10fps.short-96.none.float32",
        "flow-hist.flow.hist.stacks-100x3-10fps.short-64.none.float32",
        "i3d.rgb.pool.stacks-400x16-10fps.inception.random-0.float32",
        "i3d-r50.rgb.pool.stacks-100x8-3.75fps.pytorchvideo.random-0.float32",
        "resnet101.rgb.pool.segments-25-last.imagenet.random-0.float32",
    ]


def test_a_stream_and_a_layer_have_defaults_of_their_own() -> None:
    assert keys("i3d.flow", "resnet101.flow", "resnet101:conv5", "resnet101.flow:conv5") == [
        "i3d.flow.pool.stacks-400x16-10fps.inception.random-0.float32",
        "resnet101.flow.pool.segments-25x11-last.flow-224.random-0.float32",
        "resnet101.rgb.conv5.segments-25-last-plus4.imagenet-448.random-0.float16",
        "resnet101.flow.conv5.segments-25x11-last-plus4.flow-448.random-0.float16",
    ]


def test_every_part_of_a_request() -> None:
    (feature,) = plan_features(["i3d.rgb:logits@steps-10x16/imagenet+zoom-125"], ["random"])
    assert feature.spec.key == ("i3d.rgb.logits.steps-10x16.imagenet.random-0.float32.zoom-125")
    assert feature.row_shape == (400,)
    assert feature.module is plugins.load(BACKBONES, "i3d")
    assert feature.view == View(PRESETS["rgb"]["imagenet"], Variant("zoom", 125))


PARTS = [
    ("", ".rgb"),
    ("", ":pool"),
    ("", "@stacks-400x16-10fps"),
    ("", "/inception"),
    ("", "+none"),
]


@pytest.mark.parametrize("parts", list(itertools.product(*PARTS)))
def test_any_part_may_be_left_out_alone(parts: tuple[str, ...]) -> None:
    assert keys("i3d" + "".join(parts)) == keys("i3d")


@given(
    st.sampled_from(
        [
            (name, output, preset)
            for name, info in INFOS.items()
            for output in info.outputs
            for preset in output.presets
        ]
    ),
    st.sampled_from(["clips-{}", "stacks-4x{}-2.5fps-loop", "steps-10x{}", "segments-3x{}-last"]),
    st.sampled_from(["none", "mask", "zoom-125", "brightness-60", "drop-10-seed3"]),
)
def test_what_is_asked_for_is_what_comes(
    choice: tuple[str, Output, str], sampling: str, variant: str
) -> None:
    name, output, preset = choice
    stream, layer = output.stream, output.layer
    sampling = sampling.format(output.frames[1] or 16)
    request = f"{name}.{stream}:{layer}@{sampling}/{preset}+{variant}"
    (feature,) = plan_features([request], ["random"])
    spec = feature.spec
    assert (spec.backbone, spec.stream, spec.layer, spec.preset) == (name, stream, layer, preset)
    assert spec.sampling == Sampling.parse(sampling)
    assert spec.variant == variant
    assert feature.view == View(PRESETS[stream][preset], Variant.parse(variant))
    assert (feature.setup.stream, feature.setup.preset) == (stream, preset)


def test_the_same_request_twice_is_one_feature() -> None:
    assert len(keys("flow-hist", "flow-hist:hist", "flow-hist.flow@stacks-100x3-10.0fps")) == 1


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        (
            "i4d",
            f"no backbone 'i4d'; choose one of: {', '.join(INFOS)}",
        ),
        ("i3d.depth", "i3d has no stream 'depth'; choose one of: rgb, flow"),
        ("i3d.track", "i3d has no stream 'track'; choose one of: rgb, flow"),
        ("c3d.flow", "c3d has no stream 'flow'; choose one of: rgb"),
        ("flow-hist.rgb", "flow-hist has no stream 'rgb'; choose one of: flow"),
        ("i3d:fc6", "i3d has no layer 'fc6'; choose one of: pool, logits"),
        ("i3d/caffe", "i3d has no preset 'caffe'; choose one of: inception, imagenet"),
        ("i3d.flow/imagenet", "i3d has no preset 'imagenet'; choose one of: inception"),
        ("resnet101:conv5/imagenet", "has no preset 'imagenet'; choose one of: imagenet-448"),
        ("i3d@stack-9", "'stack-9' is no sampling; write"),
        ("c3d@clips-8", "needs units of 16 frames, not 8; use a sampling such as clips-16"),
        ("resnet101.flow@clips-12", "needs units of 11 frames, not 12"),
        ("flow-hist@clips-1", "'flow-hist@clips-1' needs units of at least 2 frames, not 1"),
        (
            "i3d.flow@segments-25-last",
            "'i3d.flow@segments-25-last' needs units of at least 10 frames, not 1",
        ),
        ("i3d+blur-3", "'blur-3' is no variant; choose one of: none, mask"),
        ("i3d+zoom-99", "zoom takes 100 to 1000 per cent, not 99"),
        ("i3d pool", f"'i3d pool' is no feature; write {GRAMMAR}"),
        ("", f"'' is no feature; write {GRAMMAR}"),
        ("i3d/inception@clips-16", "'i3d/inception@clips-16' is no feature"),
        ("i3d:pool.flow", "'i3d:pool.flow' is no feature"),
        ("i3d+mask+none", "'i3d+mask+none' is no feature"),
        ("i3d:", "'i3d:' is no feature"),
        ("i3d\n", "is no feature"),
    ],
)
def test_a_request_that_fits_nothing(request_: str, words: str) -> None:
    with pytest.raises(RecipeError, match=re.escape(words)):
        keys(request_)


# Variants


@pytest.mark.parametrize(
    ("asked", "named"),
    [("zoom-0125", "zoom-125"), ("brightness-100", "none"), ("drop-05-seed00", "drop-5")],
)
def test_a_variant_has_one_name(asked: str, named: str) -> None:
    (feature,) = plan_features([f"flow-hist+{asked}"])
    assert feature.spec.variant == named
    assert feature.view.variant == Variant.parse(named)
    assert keys(f"flow-hist+{asked}", f"flow-hist+{named}") == [feature.spec.key]


# Precision


def test_maps_are_stored_in_half_unless_told() -> None:
    requests = ["resnet101:conv5", "resnet101:pool"]
    expected: dict[Precision | None, list[str]] = {
        None: ["float16", "float32"],
        "float32": ["float32", "float32"],
        "float16": ["float16", "float16"],
    }
    for precision, found in expected.items():
        features = plan_features(requests, ["random"], precision)
        assert [feature.spec.precision for feature in features] == found


# Setups


def test_layers_of_one_network_share_its_setup() -> None:
    requests = (
        "i3d",
        "i3d:logits",
        "i3d@clips-16",
        "i3d+mask",
        "i3d/imagenet",
        "i3d.flow:logits",
        "i3d.flow",
        "camera-motion",
        "flow-hist/short-96",
    )
    features = plan_features(requests, ["random"])
    assert len(features) == len(requests)
    setups = [id(feature.setup) for feature in features]
    assert len(set(setups[:4])) == 1
    assert len(set(setups[5:7])) == 1
    assert len(set(setups)) == 5


def test_features_that_see_the_same_share_a_view() -> None:
    features = plan_features(["i3d.flow", "resnet101.flow", "i3d", "i3d+mask"], ["random"])
    views = [feature.view for feature in features]
    assert views[0] == views[1]  # one flow for both
    assert hash(views[0]) == hash(views[1])
    assert len(set(views)) == 3
    assert isinstance(views[0].preset, FlowPreset)
    assert isinstance(views[2].preset, Preset)


def test_the_device_is_for_all() -> None:
    features = plan_features(["i3d", "flow-hist"], ["random"], device="cuda:1")
    assert [feature.setup.device for feature in features] == ["cuda:1", "cuda:1"]
    assert torch.device(features[0].setup.device).index == 1


# Weights


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("AQAKIT_WEIGHTS", str(tmp_path))
    return tmp_path


def test_weights_that_are_not_there_say_how_to_get_them(folder: Path) -> None:
    with pytest.raises(WeightsError, match=r"c3d_sports1m_pretrain\S*pth is missing; run 'aqakit"):
        keys("c3d", weights=())
    with pytest.raises(WeightsError, match="absent.pth cannot be read"):
        keys("c3d", weights=("absent.pth",))


def test_fetched_weights_are_found_by_stream(folder: Path) -> None:
    (folder / "flow_imagenet.pt").write_bytes(b"flow")
    (feature,) = plan_features(["i3d.flow"])
    assert feature.setup.weights == folder / "flow_imagenet.pt"
    with pytest.raises(WeightsError) as error:
        keys("i3d.flow", "i3d", weights=())
    assert one_line(error).startswith("no weights for i3d: rgb_imagenet.pt is missing; ")


def test_an_algorithm_wants_none(folder: Path) -> None:
    features = plan_features(["flow-hist", "camera-motion"])
    assert [feature.spec.weights for feature in features] == ["none", "none"]
    assert [feature.setup.random_seed for feature in features] == [None, None]


def test_weights_that_could_be_for_several() -> None:
    for requests, weights, words in (
        (("c3d", "i3d"), ("a.pth",), "could be for any of c3d.rgb, i3d.rgb; write BACKBONE=a.pth"),
        (("i3d", "i3d.flow"), ("a.pth",), "could be for any of i3d.flow, i3d.rgb; write"),
        (("flow-hist",), ("a.pth",), "could be for any of no network"),
        (("flow-hist",), ("flow-hist=a.pth",), "flow-hist is not among the networks asked for"),
        (("i3d",), ("c3d=a.pth",), "--weights c3d=a.pth: c3d is not among the networks"),
        (("i3d",), ("i3d.flow=a.pth",), "i3d.flow is not among the networks asked for"),
        (("c3d",), ("a.pth", "random"), "write BACKBONE=random to tell it from a.pth"),
    ):
        with pytest.raises(WeightsError, match=re.escape(words)) as error:
            keys(*requests, weights=weights)
        one_line(error)


def test_a_file_for_a_backbone_of_two_streams_is_ambiguous(tmp_path: Path) -> None:
    path = tmp_path / "w.pt"
    path.write_bytes(b"weights")
    with pytest.raises(WeightsError) as error:
        keys("i3d", "i3d.flow", weights=(f"i3d={path}",))
    assert one_line(error) == (
        f"--weights i3d={path} could be for any of i3d.flow, i3d.rgb; write i3d.flow={path}"
    )
    # Of one stream there is no doubt, whichever it is.
    for request in ("i3d", "i3d.flow"):
        (feature,) = plan_features([request, f"{request}:logits"], [f"i3d={path}"])[:1]
        assert feature.setup.weights == path


def test_weights_by_stream(tmp_path: Path) -> None:
    rgb, flow = tmp_path / "rgb.pt", tmp_path / "flow.pt"
    rgb.write_bytes(b"rgb")
    flow.write_bytes(b"flow")
    features = plan_features(["i3d", "i3d.flow"], [f"i3d.flow={flow}", f"i3d.rgb={rgb}"])
    assert [feature.setup.weights for feature in features] == [rgb, flow]
    # The one that is left takes what is named for none.
    features = plan_features(["i3d", "i3d.flow"], [f"i3d.flow={flow}", str(rgb)])
    assert [feature.setup.weights for feature in features] == [rgb, flow]


def test_random_weights_by_name(tmp_path: Path) -> None:
    path = tmp_path / "w.pth"
    path.write_bytes(b"weights")
    sha256 = identities("c3d", weights=(str(path),))[0]
    assert re.fullmatch("sha256-[0-9a-f]{12}", sha256)
    three = ("c3d", "i3d", "i3d.flow")
    assert identities(*three, weights=("random",)) == ["random-0"] * 3
    assert identities(*three, weights=(f"c3d={path}", "random")) == [sha256, *["random-0"] * 2]
    assert identities(*three, weights=(f"c3d={path}", "i3d=random")) == [
        sha256,
        *["random-0"] * 2,
    ]
    assert identities(*three, weights=(f"i3d.flow={path}", "i3d.rgb=random", "c3d=random")) == [
        "random-0",
        "random-0",
        sha256,
    ]


def test_a_path_with_an_equals_sign_is_a_path(tmp_path: Path) -> None:
    path = tmp_path / "lr=1.pth"
    path.write_bytes(b"weights")
    for word in (str(path), f"c3d={path}"):
        assert plan_features(["c3d"], [word])[0].setup.weights == path
