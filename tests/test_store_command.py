"""``aqakit store export``, ``import`` and ``import-tracks`` as a user runs them."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from aqakit.cli import main
from aqakit.features.interchange import RECORD, put
from aqakit.features.segments import Sampling
from aqakit.features.source import Source
from aqakit.features.spec import FeatureSpec
from aqakit.features.store import Feature, FeatureStore

SPEC = FeatureSpec("i3d", "rgb", "pool", Sampling("clips", 2), "i3d", "random-0")
VIDEOS = [f"v{number}" for number in range(8)]
LABELS = "id,score,split\n" + "".join(
    f"{video},{number},{'test' if number % 2 else 'train'}\n" for number, video in enumerate(VIDEOS)
)


def aqakit(*words: object) -> Result:
    return CliRunner(env={"COLUMNS": "300"}).invoke(main, list(map(str, words)))


@pytest.fixture
def foreign(tmp_path: Path) -> Path:
    """Arrays of other software whose mean tells the score."""
    folder = tmp_path / "foreign"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number, video in enumerate(VIDEOS):
        np.savez(folder / f"{video}_rgb.npz", rng.random((6, 4), np.float32) + number)
    return folder


def filled(path: Path) -> FeatureStore:
    store = FeatureStore.create(path)
    rng = np.random.default_rng(0)
    for video in ("a", "b/c"):
        feature = Feature(
            rng.random((5, 3), np.float32), rng.random((5, 3)), rng.random((5, 2)), {}
        )
        put(store, SPEC, video, Source("v.mp4", 1, 2, "a" * 64), feature)
    return store


def test_out_and_in_again(tmp_path: Path) -> None:
    store, out, other = filled(tmp_path / "store"), tmp_path / "out", tmp_path / "other"
    result = aqakit("store", "export", store.path, "--feature", "i3d", "--out", out)
    assert result.exit_code == 0, result.output
    assert "2 exported, 0 there already, 0 failed" in result.output
    again = aqakit("store", "export", store.path, "--feature", "i3d", "--out", out)
    assert again.exit_code == 1
    assert "is there already; name another folder, or give --overwrite" in again.output
    over = aqakit("store", "export", store.path, "--feature", "i3d", "--out", out, "--overwrite")
    assert over.exit_code == 0, over.output

    result = aqakit("store", "import", other, out)
    assert result.exit_code == 0, result.output
    assert "2 imported, 0 there already, 0 failed" in result.output
    assert "0 imported, 2 there already" in aqakit("store", "import", other, out).output
    copied = FeatureStore.open(other)
    for video in ("a", "b/c"):
        one, two = store.read(SPEC.key, video), copied.read(SPEC.key, video)
        np.testing.assert_array_equal(one.values, two.values)
        np.testing.assert_array_equal(one.times, two.times)
        assert one.provenance == two.provenance


def test_options_that_do_not_fit_the_folder(tmp_path: Path, foreign: Path) -> None:
    store = tmp_path / "new"
    nameless = aqakit("store", "import", store, foreign)
    assert nameless.exit_code == 1
    assert f"has no {RECORD}; say what its files are" in nameless.output
    assert not store.exists()
    out = tmp_path / "out"
    aqakit("store", "export", filled(tmp_path / "store").path, "--feature", "i3d", "--out", out)
    named = aqakit("store", "import", store, out, "--as", "i3d.rgb.pool")
    assert named.exit_code == 1
    assert (
        "says what the files are; leave --as, --sampling, --preset and --manifest" in named.output
    )
    assert not store.exists()


def test_a_broken_file_ends_with_three(tmp_path: Path, foreign: Path) -> None:
    (foreign / "v9_rgb.npz").write_bytes((foreign / "v0_rgb.npz").read_bytes()[:99])
    result = aqakit("store", "import", tmp_path / "s", foreign, "--as", "i3d.rgb.pool")
    assert result.exit_code == 3
    assert "v9_rgb.npz: is no NumPy archive of plain numbers" in result.output
    assert "8 imported, 0 there already, 1 failed" in result.output


def rows(run: Path) -> dict[str, float]:
    found = json.loads((run / "metrics.json").read_text())["rows"]
    return {row["name"]: row["accuracy"] for row in found}


@pytest.mark.parametrize("head", ["rank-aware-attention", "ranksvm", "svr"])
def test_heads_learn_from_features_without_times(tmp_path: Path, foreign: Path, head: str) -> None:
    (tmp_path / "m.csv").write_text(LABELS)
    store, run = tmp_path / "s", tmp_path / "run"
    result = aqakit("store", "import", store, foreign, "--as", "i3d.rgb.pool")
    assert result.exit_code == 0, result.output
    assert "times unknown, so no controls by duration" in result.output
    words = ["--set", "epochs=2"] if head == "rank-aware-attention" else []
    words += ["--store", str(store), "--feature", "i3d", "--head", head, "--out", str(run)]
    result = aqakit("train", tmp_path / "m.csv", "--seeds", "1", *words)
    assert result.exit_code == 0, result.output
    assert rows(run).keys() == {head, "control: constant"}
    assert all(math.isfinite(accuracy) for accuracy in rows(run).values())

    from aqakit.models.data import VideoFeatures
    from aqakit.models.run import read_heads

    opened = FeatureStore.open(store)
    (key,) = opened.keys()
    stored = opened.read(key, "v1")
    _, (trained,) = read_heads(run)
    explanation = trained.explain(VideoFeatures.of("v1", stored.values, stored.times))
    assert np.isnan(explanation.times).all()
    assert all(np.isfinite(curve).all() for curve in explanation.curves.values())


def test_a_manifest_brings_the_controls_back(tmp_path: Path, foreign: Path) -> None:
    dated = "id,end,score,split\n" + "".join(
        line.replace(",", f",{9 + number},", 1) + "\n"
        for number, line in enumerate(LABELS.splitlines()[1:])
    )
    (tmp_path / "m.csv").write_text(dated)
    store, run = tmp_path / "s", tmp_path / "run"
    words = ["--as", "i3d.rgb.pool", "--manifest", str(tmp_path / "m.csv")]
    result = aqakit("store", "import", store, foreign, *words)
    assert result.exit_code == 0, result.output
    assert "times unknown" not in result.output
    words = ["--store", str(store), "--feature", "i3d", "--head", "ranksvm", "--out", str(run)]
    result = aqakit("train", tmp_path / "m.csv", *words)
    assert result.exit_code == 0, result.output
    # Longer is better here.
    assert rows(run)["control: duration, sign from training"] == 1
    assert rows(run)["control: shorter is better"] == 0


def test_tracks_become_features(tmp_path: Path) -> None:
    folder = tmp_path / "kinematics"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for video in VIDEOS[:3]:
        np.savetxt(folder / f"{video}.txt", rng.random((40, 76)))
    (folder / "v9.txt").touch()
    words = ["--as", "kinematics", "--rate", "30", "--sampling", "steps-5x4"]
    words += ["--group", "primary=0-37", "--group", "secondary=38-75"]
    result = aqakit("store", "import-tracks", tmp_path / "s", folder, *words)
    assert result.exit_code == 3
    assert f"{folder / 'v9.txt'}: is empty; get the file again" in result.output
    assert "3 imported, 0 there already, 1 failed" in result.output
    store = FeatureStore.open(tmp_path / "s")
    assert store.keys() == [
        f"kinematics.track.{group}.steps-5x4.raw.none.float32" for group in ("primary", "secondary")
    ]
    assert store.read(store.keys()[1], "v0").values.shape == (5, 38)


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--as", "pose"], "t.txt: holds no times; say how many samples a second with --rate"),
        (["--as", "a.b", "--rate", "1"], "--as: 'a.b' may hold letters, digits and hyphens only"),
        (["--as", "a", "--rate", "-1"], "--rate -1.0 must be positive, in samples a second"),
        (["--as", "a", "--rate", "1", "--sampling", "clips-16"], "tracks are cut into equal parts"),
        (
            ["--as", "a", "--rate", "1", "--time", "s"],
            "no column 's', or several (it has no header",
        ),
        (["--as", "a", "--rate", "1", "--group", "b"], "--group 'b' must be NAME=COLUMNS"),
    ],
)
def test_mistakes_are_one_line(tmp_path: Path, words: list[str], line: str) -> None:
    path = tmp_path / "t.txt"
    path.write_text("1 2\n3 4\n")
    result = aqakit("store", "import-tracks", tmp_path / "s", path, *words)
    assert result.exit_code in (1, 3)
    assert line in result.output
    assert "Traceback" not in result.output


def test_damage_left_alone_by_packing_ends_in_3_and_shows_odd_names(tmp_path: Path) -> None:
    store = FeatureStore.create(tmp_path / "store")
    values = np.arange(15, dtype=np.float32).reshape(5, 3) + 0.5
    feature = Feature(values, np.zeros((5, 3)), np.zeros((5, 2)), {})
    put(store, SPEC, "[/odd]", Source("v.mp4", 1, 2, "a" * 64), feature)
    (path,) = store.path.glob("parts/*/*.h5")
    content = path.read_bytes()
    path.write_bytes(content.replace(values.tobytes(), (values + 1).tobytes()))
    packed = aqakit("store", "pack", store.path)
    assert packed.exit_code == 3
    assert f"left alone, damaged: {path}" in packed.output
    verified = aqakit("store", "verify", store.path)
    assert verified.exit_code == 3, verified.exception
    assert "[/odd]" in verified.output
