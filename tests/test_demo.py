"""``aqakit demo`` on a set too small to learn much from: everything is there and runs again."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from aqakit import pipeline
from aqakit.cli import main
from aqakit.features.store import FeatureStore


def test_the_whole_pipeline_and_once_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline, "_DEMO_SHUFFLES", 2)
    out = tmp_path / "demo"
    words = ["demo", "--out", str(out), "--videos", "16"]
    first = CliRunner().invoke(main, words)
    assert first.exit_code == 0, first.output
    for row in ("rank-aware-attention", "ranksvm", "labels shuffled", "control: constant"):
        assert row in first.output
    assert {path.name for path in out.iterdir()} == {"data", "store", "runs", "report.html"}
    assert first.output.splitlines()[-1] == f"what made each score: {out / 'report.html'}"
    page = (out / "report.html").read_text()
    assert "labels shuffled" in page
    assert page.count('src="data:image/jpeg') == 16
    assert len(json.loads((out / "data" / "truth.json").read_text())["videos"]) == 16
    store = FeatureStore.open(out / "store")
    (key,) = store.keys()
    assert len(store.videos(key)) == 16

    taken = CliRunner().invoke(main, words)
    assert taken.exit_code == 1
    assert f"Error: {out} holds a demo already, or a part of one; give --overwrite" in taken.output
    assert taken.output.count("\n") == 1
    parts = {path: path.stat().st_mtime_ns for path in out.glob("store/parts/*/*.h5")}
    again = CliRunner().invoke(main, [*words, "--overwrite"])
    assert again.exit_code == 0, again.output
    assert {path: path.stat().st_mtime_ns for path in out.glob("store/parts/*/*.h5")} == parts
    assert again.output == first.output


def test_a_seed_below_0_is_wrong_usage(tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["demo", "--out", str(tmp_path / "demo"), "--seed", "-1"])
    assert result.exit_code == 2
    assert "-1 is not in the range x>=0" in result.output
