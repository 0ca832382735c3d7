import os
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from aqakit.features.errors import RecipeError
from aqakit.features.foreign import Description, import_foreign
from aqakit.features.manifest import Manifest, Video
from aqakit.features.segments import Sampling
from aqakit.features.store import FeatureStore

I3D = Description.parse("i3d.rgb.pool", None, "unknown")
KEY = "i3d.rgb.pool.steps-4x1.unknown.imported.float32"


def values(seed: int = 0, rows: int = 4) -> NDArray[np.float32]:
    return np.random.default_rng(seed).random((rows, 3), np.float32)


@pytest.fixture
def store(tmp_path: Path) -> FeatureStore:
    return FeatureStore.create(tmp_path / "store")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "foreign"
    made.mkdir()
    for number, video in enumerate(("v1", "v2")):
        np.savez(made / f"{video}_rgb.npz", values(number))
    return made


def failures(
    store: FeatureStore, folder: Path, manifest: Manifest | None = None
) -> dict[str, str | None]:
    return {o.video_id: o.failure for o in import_foreign(store, folder, I3D, manifest)}


def test_arrays_become_features_without_times(store: FeatureStore, folder: Path) -> None:
    outcomes = import_foreign(store, folder, I3D)
    assert [(o.video_id, o.computed) for o in outcomes] == [("v1", (KEY,)), ("v2", (KEY,))]
    assert all(o.notes == ("times unknown, so no controls by duration",) for o in outcomes)
    found = store.read(KEY, "v2")
    np.testing.assert_array_equal(found.values, values(1))
    assert found.times.shape == (4, 3)
    assert found.frame_times.shape == (4, 1)
    assert np.isnan(found.times).all()
    assert np.isnan(found.frame_times).all()
    assert found.provenance["source"]["name"] == "v2_rgb.npz"
    assert found.provenance["times"] == "unknown"


def test_a_manifest_dates_the_rows(store: FeatureStore, folder: Path) -> None:
    videos = (Video("v1", start_seconds=2, end_seconds=10), Video("v2", start_seconds=1))
    outcomes = import_foreign(store, folder, I3D, Manifest(videos))
    assert [len(o.notes) for o in outcomes] == [0, 1]
    expected = [[2, 3, 4], [4, 5, 6], [6, 7, 8], [8, 9, 10]]
    np.testing.assert_array_equal(store.read(KEY, "v1").times, expected)
    assert np.isnan(store.read(KEY, "v2").times).all()

    moved = Manifest((Video("v1", end_seconds=4), Video("v2")))
    outcomes = import_foreign(store, folder, I3D, moved)
    assert [bool(o.computed) for o in outcomes] == [True, False]
    np.testing.assert_array_equal(store.read(KEY, "v1").times[:, 1], [0.5, 1.5, 2.5, 3.5])


def test_only_a_changed_file_is_imported_anew(store: FeatureStore, folder: Path) -> None:
    import_foreign(store, folder, I3D)
    np.savez(folder / "v1_rgb.npz", values(9))
    os.utime(folder / "v1_rgb.npz", ns=(1, 1))
    outcomes = import_foreign(store, folder, I3D)
    assert [(o.computed, o.kept) for o in outcomes] == [((KEY,), ()), ((), (KEY,))]
    np.testing.assert_array_equal(store.read(KEY, "v1").values, values(9))


def test_files_in_folders_have_their_place_as_id(store: FeatureStore, folder: Path) -> None:
    (folder / "Sonic").mkdir()
    np.savez(folder / "Sonic" / "D5-S_rgb.npz", values(3))
    assert failures(store, folder) == {"Sonic/D5-S": None, "v1": None, "v2": None}
    np.testing.assert_array_equal(store.read(KEY, "Sonic/D5-S").values, values(3))


def test_the_other_stream_is_left_alone(store: FeatureStore, folder: Path) -> None:
    np.savez(folder / "v1_flow.npz", values(5))
    assert len(import_foreign(store, folder, I3D)) == 2
    flow = Description.parse("i3d.flow.pool", "clips-16", "inception")
    (outcome,) = import_foreign(store, folder, flow)
    assert outcome.computed == ("i3d.flow.pool.clips-16.inception.imported.float32",)
    assert store.read(outcome.computed[0], "v1").frame_times.shape == (4, 16)


def test_a_claimed_video_is_left_to_the_other_process(store: FeatureStore, folder: Path) -> None:
    with FeatureStore.open(store.path).claim("v1"):
        outcomes = import_foreign(store, folder, I3D)
    assert outcomes[0].notes == ("another process has it in hand",)
    assert [bool(o.computed) for o in outcomes] == [False, True]


def test_arrays_of_several_lengths_need_a_sampling(store: FeatureStore, folder: Path) -> None:
    np.savez(folder / "v3_rgb.npz", values(3, rows=7))
    with pytest.raises(RecipeError, match="4 to 7 rows; say what a row is, for example --sampling"):
        import_foreign(store, folder, I3D)
    clips = Description("i3d", "rgb", "pool", Sampling("clips", 16))
    assert not any(outcome.failure for outcome in import_foreign(store, folder, clips))
    stacks = Description.parse("i3d.rgb.pool", "stacks-4x16", "unknown")
    failure = [outcome.failure for outcome in import_foreign(store, folder, stacks)]
    assert failure[:2] == [None, None]
    assert "v3_rgb.npz: 7 rows, but stacks-4x16 gives 4; correct --sampling" in str(failure[2])


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"feat": values()}, "has no array 'arr_0'; save it with numpy.savez(file, array)"),
        ({"arr_0": values()[0]}, "'arr_0' has shape (3,); it must be (T, C)"),
        ({"arr_0": values()[None]}, "'arr_0' has shape (1, 4, 3); it must be (T, C)"),
        ({"arr_0": values(rows=0)}, "'arr_0' has shape (0, 3); it must be (T, C) with at least"),
        ({"arr_0": np.array([[0.0], [np.nan]])}, "row 1 holds values that are not finite"),
        ({"arr_0": np.array([[1e300]])}, "row 0 holds values that are not finite as float32"),
        ({"arr_0": np.array([[object()]])}, "no NumPy archive of plain numbers"),
    ],
)
def test_a_broken_file_fails_alone(
    store: FeatureStore, folder: Path, arrays: dict[str, NDArray[np.generic]], words: str
) -> None:
    np.savez(folder / "bad_rgb.npz", **arrays)  # type: ignore[arg-type]
    found = failures(store, folder)
    line = str(found.pop("bad"))
    assert line.startswith(f"{folder / 'bad_rgb.npz'}: ")
    assert words in line
    assert found == {"v1": None, "v2": None}


def test_a_file_that_breaks_off_fails_alone(store: FeatureStore, folder: Path) -> None:
    content = (folder / "v1_rgb.npz").read_bytes()
    (folder / "cut_rgb.npz").write_bytes(content[: len(content) // 2])
    (folder / "_rgb.npz").write_bytes(content)
    found = failures(store, folder)
    assert "no NumPy archive of plain numbers" in str(found["cut"])
    assert "_rgb.npz: names no video; put an id before the underscore" in str(found[""])


def test_ids_that_do_not_fit_the_manifest(store: FeatureStore, folder: Path) -> None:
    found = failures(store, folder, Manifest((Video("v2", end_seconds=3),)))
    assert "v1_rgb.npz: no video 'v1' in the manifest; list it" in str(found.pop("v1"))
    assert found == {"v2": None}


@pytest.mark.parametrize(
    ("text", "preset", "words"),
    [
        ("i3d.rgb", "x", "--as 'i3d.rgb' must be BACKBONE.STREAM.LAYER, for example i3d.rgb.pool"),
        ("i3d.depth.pool", "x", "a stream is one of rgb, flow, track"),
        ("i_3d.rgb.pool", "x", "--as: 'i_3d' may hold letters, digits and hyphens only"),
        ("i3d.rgb.pool", "a b", "--preset: 'a b' may hold"),
    ],
)
def test_descriptions_that_mean_nothing(text: str, preset: str, words: str) -> None:
    with pytest.raises(RecipeError) as caught:
        Description.parse(text, None, preset)
    assert words in str(caught.value)


def test_a_folder_without_such_files(store: FeatureStore, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="no file <id>_rgb.npz in it; name the folder"):
        import_foreign(store, tmp_path, I3D)
