import dataclasses
import hashlib
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aqakit.features.segments import Sampling
from aqakit.features.spec import FeatureSpec

SPEC = FeatureSpec("c3d", "rgb", "fc6", Sampling("clips", 16), "caffe", "random-0")

SAMPLINGS = st.one_of(
    st.builds(lambda n: Sampling("segments", 1, n), st.integers(1, 99)),
    st.builds(lambda n, f: Sampling("steps", f, n), st.integers(1, 99), st.integers(1, 99)),
    st.builds(
        lambda n, f, r: Sampling("stacks", f, n, r),
        st.integers(1, 99),
        st.integers(1, 99),
        st.one_of(st.none(), st.floats(1e-6, 1e3), st.integers(1, 60)),
    ),
)
WORDS = st.sampled_from(["i3d", "i3d-r50", "c3d", "pool", "fc6", "caffe", "none", "random-0"])
SPECS = st.builds(
    FeatureSpec,
    WORDS,
    st.sampled_from(["rgb", "flow"]),
    WORDS,
    SAMPLINGS,
    WORDS,
    WORDS,
    st.sampled_from(["float32", "float16"]),
    st.integers(1, 9),
    st.sampled_from(["none", "zoom-125", "mask"]),
    st.sampled_from(["opencv", "torch"]),
)


def test_the_key_is_readable() -> None:
    assert SPEC.key == "c3d.rgb.fc6.clips-16.caffe.random-0.float32"
    assert dataclasses.replace(SPEC, version=2).key == f"{SPEC.key}.v2"
    assert dataclasses.replace(SPEC, variant="zoom-125").key == f"{SPEC.key}.zoom-125"
    assert dataclasses.replace(SPEC, flow="torch").key == f"{SPEC.key}.flow-torch"


def test_the_digest_is_that_of_canonical_json_without_defaults() -> None:
    text = (
        '{"backbone":"c3d","layer":"fc6","preset":"caffe","sampling":{"frames":16,"rule":"clips"},'
        '"stream":"rgb","weights":"random-0"}'
    )
    assert SPEC.to_json() == text
    assert SPEC.digest == hashlib.sha256(text.encode()).hexdigest()


@settings(deadline=None)
@given(SPECS)
def test_json_reads_back(spec: FeatureSpec) -> None:
    again = FeatureSpec.from_json(spec.to_json())
    assert again == spec
    assert again.digest == spec.digest


@settings(deadline=None)
@given(SPECS, SPECS)
def test_key_and_digest_tell_specs_apart_alike(one: FeatureSpec, two: FeatureSpec) -> None:
    assert (one == two) == (one.key == two.key) == (one.digest == two.digest)


def test_every_field_changes_key_and_digest() -> None:
    changes: list[FeatureSpec] = [
        dataclasses.replace(SPEC, backbone="c3d2"),
        dataclasses.replace(SPEC, stream="flow"),
        dataclasses.replace(SPEC, layer="fc7"),
        dataclasses.replace(SPEC, sampling=Sampling("clips", 8)),
        dataclasses.replace(SPEC, preset="imagenet"),
        dataclasses.replace(SPEC, weights="random-1"),
        dataclasses.replace(SPEC, precision="float16"),
        dataclasses.replace(SPEC, version=3),
        dataclasses.replace(SPEC, variant="zoom-125"),
        dataclasses.replace(SPEC, flow="torch"),
    ]
    assert len(changes) == len(dataclasses.fields(SPEC))
    assert len({spec.key for spec in (SPEC, *changes)}) == len(changes) + 1
    assert len({spec.digest for spec in (SPEC, *changes)}) == len(changes) + 1


def test_a_whole_and_a_real_rate_are_one_feature() -> None:
    whole, real = (
        dataclasses.replace(SPEC, sampling=Sampling("clips", 16, fps=fps)) for fps in (10, 10.0)
    )
    assert (whole.key, whole.digest) == (real.key, real.digest)


@pytest.mark.parametrize(
    ("field", "value"),
    [("backbone", ""), ("layer", "a.b"), ("preset", "a/b"), ("weights", ".."), ("weights", "---"),
     ("stream", "audio"), ("precision", "int8")],
)  # fmt: skip
def test_what_cannot_be_in_a_key_is_refused(field: str, value: str) -> None:
    with pytest.raises(ValueError, match=f"^{field} is '{value}'"):
        dataclasses.replace(SPEC, **{field: value})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", "null", "3", '{"sampling": 3}', json.dumps({"backbone": "i3d"}),
     SPEC.to_json().replace("16", '"x"'), SPEC.to_json().replace('"c3d"', "7"),
     SPEC.to_json()[:-1] + ',"colour":1}'],
)  # fmt: skip
def test_other_json_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        FeatureSpec.from_json(text)
