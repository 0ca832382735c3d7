"""From a stored feature back to the extraction that computes it of other videos."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aqakit.extract.again import Again, extract_again, is_computed, request_of
from aqakit.extract.backbone import BackboneInfo
from aqakit.extract.extraction import Order, extract_videos
from aqakit.extract.request import BACKBONES, plan_features
from aqakit.extract.weights import digest
from aqakit.features import plugins
from aqakit.features.errors import RecipeError, UserError, WeightsError
from aqakit.features.manifest import Video
from aqakit.features.segments import Sampling
from aqakit.features.spec import FeatureSpec
from aqakit.features.store import FeatureStore

INFOS: dict[str, BackboneInfo] = {
    name: plugins.load(BACKBONES, name).INFO for name in plugins.names(BACKBONES)
}


def specs(
    *requests: str, weights: Sequence[str] = ("random",), **more: object
) -> list[FeatureSpec]:
    return [one.spec for one in plan_features(requests, weights, **more)]  # type: ignore[arg-type]


def planned(again: Again) -> list[FeatureSpec]:
    words = again.features, again.weights, again.precision
    return [one.spec for one in plan_features(*words, flow=again.flow)]


def one_line(error: pytest.ExceptionInfo[UserError]) -> str:
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.fixture
def fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of fetched weights, empty."""
    monkeypatch.setenv("AQAKIT_WEIGHTS", str(tmp_path / "weights"))
    (tmp_path / "weights").mkdir()
    return tmp_path / "weights"


def weights_file(path: Path, content: str) -> str:
    """A made-up file of weights, which nothing here opens; its identity in a spec."""
    path.write_text(content)
    return f"sha256-{digest(path)[:12]}"


@given(
    st.sampled_from(
        [(n, o, p) for n, info in INFOS.items() for o in info.outputs for p in o.presets]
    ),
    st.sampled_from(
        ["clips-{}", "stacks-4x{}-2.5fps-loop", "steps-10x{}", "segments-3x{}-last-plus2"]
    ),
    st.sampled_from(["none", "mask", "zoom-125", "drop-10-seed3"]),
    st.sampled_from(["float32", "float16"]),
    st.sampled_from(["opencv", "torch"]),
)
def test_every_feature_that_can_be_asked_for_can_be_asked_for_again(
    choice: tuple[str, object, str], sampling: str, variant: str, precision: str, flow: str
) -> None:
    name, output, preset = choice
    low, high = output.frames  # type: ignore[attr-defined]
    where = f"{name}.{output.stream}:{output.layer}"  # type: ignore[attr-defined]
    request = f"{where}@{sampling.format(high or max(low, 16))}/{preset}+{variant}"
    (spec,) = specs(request, precision=precision, flow=flow)
    (again,) = extract_again([spec])
    assert planned(again) == [spec]


def test_a_request_has_every_part_in_it() -> None:
    sampling = Sampling.parse("steps-10x16")
    spec = FeatureSpec("i3d", "rgb", "logits", sampling, "imagenet", variant="zoom-125")
    assert request_of(spec) == "i3d.rgb:logits@steps-10x16/imagenet+zoom-125"
    assert request_of(replace(spec, variant="none")) == "i3d.rgb:logits@steps-10x16/imagenet"


def test_as_few_extractions_as_can_be() -> None:
    several = specs("flow-hist", "camera-motion", "resnet101", "i3d.flow", flow="torch")
    halves = specs("resnet101", precision="float16")
    found = extract_again([*several, *halves, several[0]])
    assert [len(again.features) for again in found] == [2, 2, 1]
    assert [again.weights for again in found] == [
        (),
        ("resnet101.rgb=random", "i3d.flow=random"),
        ("resnet101.rgb=random",),
    ]
    assert [spec for again in found for spec in planned(again)] == [*several, *halves]


def test_flow_of_two_kinds_is_computed_apart() -> None:
    both = specs("flow-hist", flow="torch") + specs("camera-motion", flow="opencv")
    assert [again.flow for again in extract_again(both)] == ["torch", "opencv"]


def test_the_very_numbers_come_again(
    tmp_path: Path, moving_square: Callable[..., object], write_video: Callable[..., Path]
) -> None:
    videos = [Video("v", write_video(tmp_path / "v.mp4", moving_square(12)))]
    order = Order(tmp_path / "first", ("flow-hist@stacks-2x2",), precision="float16", flow="torch")
    list(extract_videos(order, videos, lambda *_: None))
    first = FeatureStore.open(tmp_path / "first")
    (key,) = first.keys()
    (again,) = extract_again([first.spec(key)])
    second = Order(
        tmp_path / "second",
        again.features,
        again.weights,
        precision=again.precision,
        flow=again.flow,
    )
    list(extract_videos(second, videos, lambda *_: None))
    one, other = (FeatureStore.open(p).read(key, "v").values for p in (first.path, second.store))
    assert one.dtype == np.float16
    np.testing.assert_array_equal(one, other)


# Weights


def of_file(weights: str, network: str = "c3d.rgb") -> FeatureSpec:
    backbone, stream = network.split(".")
    (spec,) = specs(f"{backbone}.{stream}")
    return replace(spec, weights=weights)


def test_weights_are_found_by_their_hash_among_those_that_were_fetched(fetched: Path) -> None:
    weights_file(fetched / "c3d_sports1m_pretrain_20201016-dcc47ddc.pth", "one")
    spec = of_file(weights_file(fetched / "c3d.pickle", "other"))
    (again,) = extract_again([spec])
    assert again.weights == (f"c3d.rgb={fetched / 'c3d.pickle'}",)
    assert planned(again) == [spec]


@pytest.mark.parametrize("name", ["", "c3d=", "c3d.rgb="])
def test_weights_are_taken_as_asked(tmp_path: Path, fetched: Path, name: str) -> None:
    spec = of_file(weights_file(tmp_path / "mine.pth", "mine"))
    weights_file(fetched / "c3d.pickle", "other")
    (again,) = extract_again([*specs("flow-hist"), spec], [f"{name}{tmp_path / 'mine.pth'}"])
    assert again.weights == (f"c3d.rgb={tmp_path / 'mine.pth'}",)


def test_a_word_without_a_name_must_be_for_one_network(tmp_path: Path, fetched: Path) -> None:
    identity = weights_file(tmp_path / "mine.pth", "mine")
    both = [of_file(identity), of_file(identity, "i3d.flow")]
    with pytest.raises(WeightsError) as caught:
        extract_again(both, [str(tmp_path / "mine.pth")])
    assert "could be for any of c3d.rgb, i3d.flow; write BACKBONE=" in one_line(caught)
    words = [f"c3d={tmp_path / 'mine.pth'}", f"i3d={tmp_path / 'mine.pth'}"]
    (again,) = extract_again(both, words)
    assert [word.partition("=")[0] for word in again.weights] == ["c3d.rgb", "i3d.flow"]


def test_no_weights_are_one_line(fetched: Path) -> None:
    with pytest.raises(WeightsError) as caught:
        extract_again([of_file("sha256-0123456789ab")])
    assert one_line(caught) == (
        "no weights for c3d.rgb; give those whose SHA-256 begins with 0123456789ab as --weights "
        "c3d.rgb=PATH, or run 'aqakit weights fetch c3d'"
    )


@pytest.mark.parametrize("asked", [True, False])
def test_other_weights_are_one_line_with_both_hashes(
    tmp_path: Path, fetched: Path, asked: bool
) -> None:
    path = tmp_path / "mine.pth" if asked else fetched / "c3d.pickle"
    identity = weights_file(path, "others")
    with pytest.raises(WeightsError) as caught:
        extract_again([of_file("sha256-0123456789ab")], [str(path)] * asked)
    assert one_line(caught) == (
        f"{path} has a SHA-256 that begins with {identity.removeprefix('sha256-')}, and the run "
        "learned from weights 0123456789ab; give those as --weights c3d.rgb=PATH"
    )


def test_random_weights_in_place_of_a_file_are_refused(fetched: Path) -> None:
    with pytest.raises(WeightsError) as caught:
        extract_again([of_file("sha256-0123456789ab")], ["random"])
    assert one_line(caught) == (
        "the run learned from c3d.rgb with weights whose SHA-256 begins with 0123456789ab; give "
        "those as --weights c3d.rgb=PATH"
    )


def test_random_and_fetched_weights_of_one_network_are_two_extractions(fetched: Path) -> None:
    both = [of_file(weights_file(fetched / "c3d.pickle", "mine")), *specs("c3d")]
    found = extract_again(both)
    assert [spec for again in found for spec in planned(again)] == both


def test_weights_for_a_network_that_is_not_there_are_refused(tmp_path: Path) -> None:
    for word, words in {
        "i3d=x": "i3d is not among the networks asked for",
        "x.pth": "could be for any of no network",
    }.items():
        with pytest.raises(WeightsError) as caught:
            extract_again(specs("flow-hist"), [word])
        assert words in one_line(caught)


# What cannot be computed


def test_tracks_and_features_of_others_are_imported_not_computed() -> None:
    steps = Sampling.parse("steps-4x2")
    track = FeatureSpec("kinematics", "track", "primary", steps, "raw")
    foreign = FeatureSpec("i3d", "rgb", "pool", steps, "unknown", weights="imported")
    assert [is_computed(one) for one in (track, foreign, *specs("i3d"))] == [False, False, True]
    for spec, command in ((track, "import-tracks"), (foreign, "import")):
        with pytest.raises(RecipeError) as caught:
            extract_again([spec])
        assert one_line(caught) == (
            f"{spec.key} is not computed from a video; bring it into a store with 'aqakit store "
            f"{command}', and give that store as --store"
        )


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"backbone": "slowfast"}, "no backbone 'slowfast'; choose one of"),
        ({"layer": "grid9"}, "flow-hist has no layer 'grid9'"),
        ({"preset": "short-8"}, "flow-hist has no preset 'short-8'"),
        ({"stream": "rgb"}, "flow-hist has no stream 'rgb'"),
        ({"variant": "sepia"}, "'sepia' is no variant"),
    ],
)
def test_what_this_version_does_not_have_is_one_line(change: dict[str, str], words: str) -> None:
    (spec,) = specs("flow-hist")
    other = replace(spec, **change)  # type: ignore[arg-type]
    with pytest.raises(RecipeError) as caught:
        extract_again([other])
    assert one_line(caught).startswith(f"{other.key} cannot be computed here: ")
    assert words in one_line(caught)


def test_other_arithmetic_is_one_line() -> None:
    (spec,) = specs("flow-hist")
    older = replace(spec, version=7)
    with pytest.raises(RecipeError) as caught:
        extract_again([older])
    assert one_line(caught) == (
        f"the run learned from {older.key}, and this version computes {spec.key}; use the version "
        "that extracted it, or extract and train again"
    )
