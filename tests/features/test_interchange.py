import json
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from aqakit.features.errors import RecipeError, StoreError
from aqakit.features.interchange import (
    RECORD,
    export_feature,
    file_names,
    import_exported,
    put,
    read_record,
)
from aqakit.features.segments import Sampling
from aqakit.features.source import Source
from aqakit.features.spec import FeatureSpec
from aqakit.features.store import Feature, FeatureStore

SPEC = FeatureSpec("i3d", "rgb", "pool", Sampling("clips", 2), "i3d", "random-0")
FLOW = replace(SPEC, stream="flow")
KEY = SPEC.key


def source(content: str = "a") -> Source:
    return Source("v.mp4", 10, 20, content * 64, 1.5, None)


def feature(seed: int = 0, rows: int = 5, width: int = 3) -> Feature:
    rng = np.random.default_rng(seed)
    return Feature(
        rng.random((rows, width), np.float32),
        rng.random((rows, 3)),
        rng.random((rows, 2)),
        {"libraries": {"av": "1"}, "seed": seed},
    )


def bits(array: NDArray[np.generic]) -> bytes:
    """Every bit of an array, where all nan are alike."""
    array = np.array(array)
    array[np.isnan(array)] = np.nan
    return array.tobytes()


def assert_same(one: Feature, other: Feature) -> None:
    assert one.values.dtype == other.values.dtype
    for name in ("values", "times", "frame_times"):
        assert bits(getattr(one, name)) == bits(getattr(other, name))
    assert one.provenance == other.provenance


@pytest.fixture
def store(tmp_path: Path) -> FeatureStore:
    opened = FeatureStore.create(tmp_path / "store")
    for number, video in enumerate(("v1", "v2")):
        put(opened, SPEC, video, source(), feature(number))
    return opened


@pytest.fixture
def other(tmp_path: Path) -> FeatureStore:
    return FeatureStore.create(tmp_path / "other")


# Names


@pytest.mark.parametrize(
    ("video", "name"),
    [
        ("v07", "v07_rgb.npz"),
        ("-dQw4_w9", "-dQw4_w9_rgb.npz"),
        ("Übung 跳水", "Übung 跳水_rgb.npz"),
        ("a.b", "a.b_rgb.npz"),
    ],
)
def test_a_safe_id_is_the_name(video: str, name: str) -> None:
    assert file_names([video], "rgb") == {video: name}


@pytest.mark.parametrize(
    "video", ["a/b", ".", "..", ".hidden", "a:b", "a\\b", "a\nb", "end.", "x" * 300, "a\udcffb"]
)
def test_any_other_id_is_named_by_a_hash(video: str) -> None:
    name = file_names([video], "flow")[video]
    assert name.endswith("_flow.npz")
    assert len(name.encode()) < 100
    assert name.isascii()
    assert "/" not in name
    assert name[0] != "."


@given(st.sets(st.text(min_size=1), max_size=8))
def test_names_are_distinct_even_where_capitals_are_not(videos: set[str]) -> None:
    extended = sorted(videos | {video.upper() for video in videos})
    names = file_names(extended, "rgb")
    assert len({name.casefold() for name in names.values()}) == len(extended)
    # The name that one id has by its hash is not that of an id which reads like it.
    taken = file_names([name.removesuffix("_rgb.npz") for name in names.values()], "rgb")
    hashed = {name for video, name in names.items() if name != f"{video}_rgb.npz"}
    assert hashed.isdisjoint(taken.values())


# Round trip

MOMENTS = st.one_of(st.just(np.nan), st.floats(allow_nan=False, allow_infinity=False))
PRECISIONS = st.sampled_from(["float32", "float16"])


@st.composite
def features(draw: st.DrawFn, precision: str) -> Feature:
    rows, width, frames = (draw(st.integers(1, 4)) for _ in range(3))
    finite = st.floats(allow_nan=False, allow_infinity=False, width=16)
    if precision == "float32":
        finite = st.floats(allow_nan=False, allow_infinity=False, width=32)
    return Feature(
        draw(arrays(precision, (rows, width), elements=finite)),
        draw(arrays("float64", (rows, 3), elements=MOMENTS)),
        draw(arrays("float64", (rows, frames), elements=MOMENTS)),
        {"note": draw(st.text(max_size=5))},
    )


@settings(max_examples=60)
@given(data=st.data(), precision=PRECISIONS)
def test_an_export_comes_back_bit_for_bit(data: st.DataObject, precision: str) -> None:
    spec = replace(SPEC, precision=precision)  # type: ignore[arg-type]
    ids = st.text(min_size=1, max_size=9).filter(lambda text: "\0" not in text)
    videos = data.draw(st.sets(ids, min_size=1, max_size=3))
    with tempfile.TemporaryDirectory() as folder:
        first, second = (FeatureStore.create(Path(folder) / name) for name in ("one", "two"))
        for video in videos:
            put(first, spec, video, source(), data.draw(features(precision)))
        out = Path(folder) / "out"
        assert not any(outcome.failure for outcome in export_feature(first, spec.key, out))
        assert not any(outcome.failure for outcome in import_exported(second, out))
        assert second.videos(spec.key) == first.videos(spec.key) == sorted(videos)
        assert second.spec(spec.key) == spec
        for video in videos:
            assert_same(second.read(spec.key, video), first.read(spec.key, video))


@pytest.mark.parametrize("video", ["a/b/../c", "-x", "Übung 跳水", ".", "x" * 5000, "a\udcffb"])
def test_odd_ids_come_back(tmp_path: Path, other: FeatureStore, video: str) -> None:
    store = FeatureStore.create(tmp_path / "store")
    put(store, SPEC, video, source(), feature())
    export_feature(store, KEY, tmp_path / "out")
    import_exported(other, tmp_path / "out")
    assert_same(other.read(KEY, video), store.read(KEY, video))


def test_an_import_keeps_the_source_so_that_nothing_is_computed_again(
    store: FeatureStore, other: FeatureStore, tmp_path: Path
) -> None:
    export_feature(store, KEY, tmp_path / "out")
    outcomes = import_exported(other, tmp_path / "out")
    assert [(o.video_id, o.computed) for o in outcomes] == [("v1", (KEY,)), ("v2", (KEY,))]
    assert other.has(KEY, "v1", source())
    again = import_exported(other, tmp_path / "out")
    assert [(o.kept, o.computed) for o in again] == [((KEY,), ())] * 2


def test_the_layout_is_that_of_the_released_features(store: FeatureStore, tmp_path: Path) -> None:
    export_feature(store, KEY, tmp_path / "out")
    assert {p.name for p in (tmp_path / "out").iterdir()} == {"v1_rgb.npz", "v2_rgb.npz", RECORD}
    with np.load(tmp_path / "out" / "v2_rgb.npz") as loaded:
        assert loaded.files == ["arr_0"]
        assert loaded["arr_0"].dtype == np.float32
        np.testing.assert_array_equal(loaded["arr_0"], feature(1).values)


# Writing over


def test_two_streams_share_a_folder(
    store: FeatureStore, other: FeatureStore, tmp_path: Path
) -> None:
    put(store, FLOW, "v1", source(), feature(7))
    export_feature(store, KEY, tmp_path / "out")
    export_feature(store, FLOW.key, tmp_path / "out")
    assert not any(outcome.failure for outcome in import_exported(other, tmp_path / "out"))
    assert other.keys() == store.keys()
    assert_same(other.read(FLOW.key, "v1"), store.read(FLOW.key, "v1"))


def test_files_are_replaced_only_when_asked(
    store: FeatureStore, other: FeatureStore, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    export_feature(store, KEY, out)
    before = {path: path.read_bytes() for path in out.iterdir()}
    put(store, SPEC, "v1", source("b"), feature(9))
    with pytest.raises(StoreError, match="v1_rgb.npz: is there already; name another folder, or"):
        export_feature(store, KEY, out)
    assert {path: path.read_bytes() for path in out.iterdir()} == before
    export_feature(store, KEY, out, overwrite=True)
    import_exported(other, out)
    assert_same(other.read(KEY, "v1"), store.read(KEY, "v1"))


# What is wrong


def test_what_does_not_fit_the_layout_fails_alone(store: FeatureStore, tmp_path: Path) -> None:
    broken = feature()
    broken.values[2, 1] = np.inf
    put(store, SPEC, "bad", source(), broken)
    outcomes = {o.video_id: o.failure for o in export_feature(store, KEY, tmp_path / "out")}
    assert outcomes.pop("bad") == ("video 'bad' holds values that are not finite; extract it again")
    assert outcomes == {"v1": None, "v2": None}
    assert len(read_record(tmp_path / "out")) == 2


def test_maps_do_not_fit_the_layout(tmp_path: Path, other: FeatureStore) -> None:
    maps = replace(feature(), values=np.zeros((5, 2, 2), np.float32))
    put(other, SPEC, "v", source(), maps)
    with pytest.raises(RecipeError, match="its rows are 2x2, but a file holds one vector a row"):
        export_feature(other, KEY, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_changed_a_missing_and_a_foreign_file_fail_alone(
    store: FeatureStore, other: FeatureStore, tmp_path: Path
) -> None:
    put(store, SPEC, "v3", source(), feature(3))
    out = tmp_path / "out"
    export_feature(store, KEY, out)
    np.savez(out / "v1_rgb.npz", np.zeros((5, 3), np.float32))
    (out / "v2_rgb.npz").unlink()
    np.savez(out / "guest_rgb.npz", np.zeros((5, 3), np.float32))
    failures = {o.video_id: o.failure for o in import_exported(other, out)}
    assert "v1_rgb.npz: is not what was exported; export it again" in str(failures.pop("v1"))
    assert "v2_rgb.npz: No such file or directory" in str(failures.pop("v2"))
    assert f"guest_rgb.npz: is not in {RECORD}" in str(failures.pop("guest_rgb.npz"))
    assert failures == {"v3": None}
    assert other.videos(KEY) == ["v3"]


ENTRY = {
    "video": "v",
    "sha256": "0" * 64,
    "times": [[0, 1, 2]],
    "frame_times": [[0]],
    "provenance": {"spec": json.loads(SPEC.to_json()), "source": source().to_dict()},
}


def record(**entries: object) -> str:
    return json.dumps({"format": "aqakit-export", "version": 1, "files": entries})


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "Expecting property name"),
        ("[]", "it is something else"),
        ('{"format": "aqakit-export", "version": 2}', "it is of version 2, not 1"),
        ('{"format": "aqakit-export", "version": 1}', "it lists no files"),
        (record(v={}), "'video'"),
        (record(v=None), "not subscriptable"),
        (record(**{"../v": ENTRY}), "'../v' is no file name"),
        (record(v={**ENTRY, "video": ""}), "v has no video"),
        (record(v={**ENTRY, "times": [[0, 1]]}), "times of v have shapes (1, 2) and (1, 1)"),
        (record(v={**ENTRY, "times": [[0, 1, "x"]]}), "could not convert"),
        (record(v={**ENTRY, "frame_times": [[0], [1]]}), "v has 1 times and 2 frame times"),
        (record(v={**ENTRY, "provenance": {}}), "'spec'"),
        ("[" * 10**5, "maximum recursion depth"),
    ],
)
def test_a_damaged_record_is_one_line(
    tmp_path: Path, other: FeatureStore, text: str, words: str
) -> None:
    (tmp_path / RECORD).write_text(text)
    with pytest.raises(StoreError) as caught:
        import_exported(other, tmp_path)
    message = str(caught.value)
    assert message.startswith(f"{tmp_path / RECORD}: is no record of an export that can be read (")
    assert words in message
    assert "\n" not in message


def test_rows_that_the_record_does_not_date(tmp_path: Path, other: FeatureStore) -> None:
    np.savez(tmp_path / "v_rgb.npz", np.zeros((2, 3), np.float32))
    digest = other.source(tmp_path / "v_rgb.npz").sha256
    (tmp_path / RECORD).write_text(record(**{"v_rgb.npz": {**ENTRY, "sha256": digest}}))
    (outcome,) = import_exported(other, tmp_path)
    assert outcome.failure == f"{tmp_path / 'v_rgb.npz'}: 2 rows, but {RECORD} has 1"
