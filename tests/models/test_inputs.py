"""What a run was trained from, found again wherever its folder went."""

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from aqakit.features.errors import RecipeError
from aqakit.features.manifest import Manifest, Video
from aqakit.features.segments import Sampling
from aqakit.features.source import Source
from aqakit.features.spec import FeatureSpec
from aqakit.features.store import FeatureStore
from aqakit.models.fold import Fold, make_fold
from aqakit.models.inputs import Inputs, inputs_of, read_inputs, size_of, write_inputs
from aqakit.models.recipe import Recipe

FLOW = FeatureSpec("flow-hist", "flow", "hist", Sampling("stacks", 3, 12, 10.0), "short-64")
ALTERED = FeatureSpec("c3d", "rgb", "fc6", Sampling("clips", 16), "caffe", variant="zoom-125")
TRACK = FeatureSpec("kinematics", "track", "primary", Sampling.parse("steps-2x4"), "raw")
SIZES = [(320, 240), (160, 120), (320, 240), (640, 480)]  # the last one tests
LASTS = [4.0, 9.5, 6.0, 99.0]


def put(
    store: FeatureStore, spec: FeatureSpec, id: str, start: float, end: float, facts: object
) -> None:
    edges = np.linspace(start, end, 3)
    times = np.stack([edges[:-1], (edges[:-1] + edges[1:]) / 2, edges[1:]], axis=1)
    with store.begin(spec, id, Source(id, 5, 1, f"{id:0>64}"), (2, 1), 3) as part:
        part.append(np.zeros((2, 1), np.float32))
        part.finish(times, np.zeros((2, 3)), {"stream": facts} if facts else {})


def labels() -> Fold:
    videos = tuple(Video(f"v{number}", score=float(number)) for number in range(5))
    split = {f"v{number}": "train" if number < 3 else "test" for number in range(5)}
    return make_fold(Manifest(videos, {"default": split}), "default", {v.id for v in videos})


def recipe(*specs: FeatureSpec, head: str = "ranksvm") -> Recipe:
    roles = ("features", "variant-1", "variant-2")
    return Recipe.make(
        head, {r: s.key for r, s in zip(roles, specs, strict=False)}, "default", (0,)
    )


@pytest.fixture
def store(tmp_path: Path) -> FeatureStore:
    store = FeatureStore.create(tmp_path / "project" / "store")
    for number, lasts in enumerate([*LASTS, 1.0]):
        width, height = [*SIZES, (9, 9)][number]
        put(store, FLOW, f"v{number}", 1.5, 1.5 + lasts, {"width": width, "height": height})
        put(store, ALTERED, f"v{number}", 0, 1, {"width": 1, "height": 1})
        put(store, TRACK, f"v{number}", math.nan, math.nan, None)
    return store


def made(tmp_path: Path, store: FeatureStore) -> Inputs:
    manifest = tmp_path / "project" / "manifest.csv"
    manifest.write_text("id,split\nv0,train\n")
    (tmp_path / "project" / "pairs.csv").write_text("better,worse\n")
    return inputs_of(recipe(FLOW), store, labels(), manifest, manifest.with_name("pairs.csv"))


@pytest.fixture
def run(tmp_path: Path, store: FeatureStore) -> Path:
    folder = tmp_path / "project" / "runs" / "one"
    folder.mkdir(parents=True)
    write_inputs(made(tmp_path, store), folder)
    return folder


def test_sizes_and_seconds_are_those_of_training_videos_alone(
    tmp_path: Path, store: FeatureStore
) -> None:
    inputs = made(tmp_path, store)
    assert inputs.sizes == {"320x240": 2, "160x120": 1}
    assert inputs.seconds == (4.0, 9.5)
    assert inputs.specs == {FLOW.key: FLOW}


def test_features_that_only_training_needs_have_their_specs_too(store: FeatureStore) -> None:
    chosen = recipe(FLOW, ALTERED, head="siamese-lstm")
    assert chosen.used()[1] == {"variant-1": ALTERED.key}
    inputs = inputs_of(chosen, store, labels(), Path("manifest.csv"), None)
    assert inputs.specs == {FLOW.key: FLOW, ALTERED.key: ALTERED}
    assert inputs.sizes == {"320x240": 2, "160x120": 1}


def test_what_is_unknown_stays_so(tmp_path: Path, store: FeatureStore) -> None:
    inputs = inputs_of(recipe(TRACK), store, labels(), Path("manifest.csv"), None)
    write_inputs(inputs, tmp_path)
    found = read_inputs(tmp_path)
    assert found.sizes == {} == inputs.sizes
    assert np.isnan([*found.seconds, *inputs.seconds]).all()
    assert found.pairs is None


def test_what_was_written_is_read_back(tmp_path: Path, store: FeatureStore, run: Path) -> None:
    assert read_inputs(run) == made(tmp_path, store)


def test_paths_from_the_working_folder_are_absolute_when_read(
    tmp_path: Path, store: FeatureStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    made(tmp_path, store)
    monkeypatch.chdir(tmp_path)
    opened = FeatureStore.open(Path("project/store"))
    files = Path("project/manifest.csv"), Path("project/pairs.csv")
    inputs = inputs_of(recipe(FLOW), opened, labels(), *files)
    (tmp_path / "run").mkdir()
    write_inputs(inputs, Path("run"))
    monkeypatch.chdir("/")
    found = read_inputs(tmp_path / "run")
    assert (found.manifest, found.pairs, found.store) == (
        *(tmp_path / file for file in files),
        tmp_path / "project" / "store",
    )


def places(inputs: Inputs) -> set[Path]:
    assert inputs.pairs is not None
    return {inputs.manifest, inputs.pairs, inputs.store}


def of(project: Path) -> set[Path]:
    return {project / name for name in ("manifest.csv", "pairs.csv", "store")}


def test_a_project_that_was_moved_is_found(tmp_path: Path, run: Path) -> None:
    (tmp_path / "project").rename(tmp_path / "moved")
    assert places(read_inputs(tmp_path / "moved" / "runs" / "one")) == of(tmp_path / "moved")


def test_a_copy_does_not_read_its_original(tmp_path: Path, run: Path) -> None:
    shutil.copytree(tmp_path / "project", tmp_path / "copy")
    (tmp_path / "project" / "manifest.csv").write_text("id,split\nother,train\n")
    assert places(read_inputs(tmp_path / "copy" / "runs" / "one")) == of(tmp_path / "copy")


def test_a_run_that_was_copied_alone_does_not_read_what_lies_beside_it(
    tmp_path: Path, run: Path
) -> None:
    other = tmp_path / "other"
    shutil.copytree(run, other / "runs" / "one")
    FeatureStore.create(other / "store")
    for name in ("manifest.csv", "pairs.csv"):
        (other / name).write_text("id,split\nv0,test\n")
    assert places(read_inputs(other / "runs" / "one")) == of(tmp_path / "project")


def test_each_path_is_looked_for_alone(tmp_path: Path, run: Path) -> None:
    (tmp_path / "project").rename(tmp_path / "moved")
    (tmp_path / "moved" / "pairs.csv").unlink()
    found = read_inputs(tmp_path / "moved" / "runs" / "one")
    assert found.manifest == tmp_path / "moved" / "manifest.csv"
    assert found.pairs == tmp_path / "project" / "pairs.csv"  # where the caller will miss it
    assert found.store == tmp_path / "moved" / "store"


def test_an_edited_manifest_is_still_found_in_its_place(tmp_path: Path, run: Path) -> None:
    (tmp_path / "project" / "manifest.csv").write_text("id,split\nv0,test\n")
    assert places(read_inputs(run)) == of(tmp_path / "project")
    (tmp_path / "project").rename(tmp_path / "moved")
    assert places(read_inputs(tmp_path / "moved" / "runs" / "one")) == of(tmp_path / "moved")


def test_a_manifest_may_be_a_folder(tmp_path: Path, store: FeatureStore) -> None:
    folder = tmp_path / "project" / "manifest"
    folder.mkdir()
    (folder / "videos.csv").write_text("id\nv0\n")
    run = tmp_path / "project" / "run"
    run.mkdir()
    write_inputs(inputs_of(recipe(FLOW), store, labels(), folder, None), run)
    shutil.copytree(tmp_path / "project", tmp_path / "copy")
    assert read_inputs(tmp_path / "copy" / "run").manifest == tmp_path / "copy" / "manifest"


def test_paths_count_from_where_the_run_will_be(tmp_path: Path, store: FeatureStore) -> None:
    aside = tmp_path / "project" / ".aside" / "new"
    aside.mkdir(parents=True)
    run = tmp_path / "project" / "run"
    write_inputs(made(tmp_path, store), aside, run)
    aside.rename(run)
    (tmp_path / "project").rename(tmp_path / "moved")
    assert places(read_inputs(tmp_path / "moved" / "run")) == of(tmp_path / "moved")


def test_a_run_of_an_older_version_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(RecipeError) as caught:
        read_inputs(tmp_path)
    assert str(caught.value) == (
        f"{tmp_path} does not say what it was trained from, as runs of older versions; give "
        "--manifest and --store, or train it again"
    )
    with pytest.raises(RecipeError, match="of older versions; train it again$"):
        read_inputs(tmp_path, cure="")


@pytest.mark.parametrize(
    "break_",
    [
        lambda known: "{",
        lambda known: "[]",
        lambda known: json.dumps({**known, "store": None}),
        lambda known: json.dumps({**known, "features": {"a": {"backbone": "b"}}}),
        lambda known: json.dumps({k: v for k, v in known.items() if k != "sizes"}),
        lambda known: json.dumps({**known, "seconds": [1]}),
        lambda known: json.dumps({**known, "manifest": "manifest.csv"}),
    ],
)
def test_a_damaged_file_is_one_line(run: Path, break_: Callable[[object], str]) -> None:
    file = run / "inputs.json"
    file.write_text(break_(json.loads(file.read_text())))
    with pytest.raises(RecipeError) as caught:
        read_inputs(run)
    assert str(caught.value).startswith(f"{file} cannot be read (")
    assert str(caught.value).endswith("give --manifest and --store, or train the run again")
    assert "\n" not in str(caught.value)


def test_a_feature_that_was_not_decoded_has_no_size() -> None:
    assert size_of({}) == ""
    assert size_of({"stream": {"width": 4, "height": 3}}) == "4x3"
