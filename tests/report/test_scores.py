"""Scores of new videos as files and on a terminal."""

import csv
import importlib.metadata
import io
import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from aqakit.features.errors import RecipeError, StoreError
from aqakit.features.manifest import Video
from aqakit.models.scoring import Neighbour, Placed, Scored, ScoredVideo
from aqakit.report.console import print_scores
from aqakit.report.scores import check_files, write_scores

BEST = Placed(1 / 3, 0.25, (0.1, 0.3), 1, 9, (1, 2), 87.5, None, Neighbour("t7", 0.2, math.nan))
WORST = Placed(-1.5, math.nan, (-1.0, -2.0), 9, 9, (9, 9), 0.0, Neighbour("t1", -1.25, 12.5), None)
SCORED = Scored(
    Path("runs/one"),
    "ranksvm",
    {"rgb": "c3d.rgb", "flow": "i3d.flow"},
    {"c3d.rgb": "sha256-1f2e3d4c5b6a", "i3d.flow": "random-0"},
    (0, 5),
    False,
    (
        ScoredVideo(
            Video('a,"b" 🏊 <i>', Path("videos/a.mp4")), BEST, ("longer", "damaged; badly")
        ),
        ScoredVideo(Video("b\udcff", Path("b\udcff.mp4")), WORST),
        ScoredVideo(Video("c", None), failure="c.mp4 is empty"),
    ),
)


@pytest.mark.parametrize("file", ["scores.csv", "SCORES.CSV", "new/deep.json"])
def test_a_file_is_written_by_its_suffix(tmp_path: Path, file: str) -> None:
    check_files([tmp_path / file], overwrite=False)
    write_scores(SCORED, tmp_path / file)
    text = (tmp_path / file).read_text()
    assert text.startswith("{" if file.endswith("json") else "id,path,score,")
    assert text.endswith("\n")


def test_csv_holds_a_row_a_video(tmp_path: Path) -> None:
    write_scores(SCORED, tmp_path / "scores.csv")
    text = (tmp_path / "scores.csv").read_text(encoding="utf-8")
    first, second, third = csv.DictReader(text.splitlines())
    assert first == {
        "id": 'a,"b" 🏊 <i>',
        "path": "videos/a.mp4",
        "score": repr(1 / 3),
        "deviation": "0.25",
        "rank": "1",
        "of": "9",
        "best_seed_rank": "1",
        "worst_seed_rank": "2",
        "percentile": "87.5",
        "better_neighbour_id": "",
        "better_neighbour_score": "",
        "better_neighbour_label": "",
        "worse_neighbour_id": "t7",
        "worse_neighbour_score": "0.2",
        "worse_neighbour_label": "",
        "seed_0": "0.1",
        "seed_5": "0.3",
        "notes": "longer; damaged; badly",
        "failure": "",
    }
    # A name that is no text can be written all the same.
    assert (second["id"], second["path"]) == (r"b\udcff", r"b\udcff.mp4")
    assert (second["deviation"], second["better_neighbour_label"]) == ("", "12.5")
    assert {name for name, cell in third.items() if cell} == {"id", "failure"}
    assert third["failure"] == "c.mp4 is empty"


def test_json_holds_the_run_too(tmp_path: Path) -> None:
    write_scores(SCORED, tmp_path / "scores.json")
    found = json.loads((tmp_path / "scores.json").read_text())
    videos = found.pop("videos")
    assert found == {
        "aqakit": importlib.metadata.version("aqakit"),
        "run": "runs/one",
        "title": "ranksvm",
        "features": {"rgb": "c3d.rgb", "flow": "i3d.flow"},
        "weights": {"c3d.rgb": "sha256-1f2e3d4c5b6a", "i3d.flow": "random-0"},
        "seeds": [0, 5],
        "scaled": False,
    }
    assert videos[0] == {
        "id": 'a,"b" 🏊 <i>',
        "path": "videos/a.mp4",
        "score": 1 / 3,
        "deviation": 0.25,
        "seeds": {"0": 0.1, "5": 0.3},
        "rank": 1,
        "of": 9,
        "seed_ranks": [1, 2],
        "percentile": 87.5,
        "better": None,
        "worse": {"id": "t7", "score": 0.2, "label": None},
        "notes": ["longer", "damaged; badly"],
        "failure": None,
    }
    assert (videos[1]["id"], videos[1]["deviation"]) == ("b\udcff", None)
    assert videos[2] == {"id": "c", "path": None, "notes": [], "failure": "c.mp4 is empty"}


def test_what_cannot_be_written_is_refused_before(tmp_path: Path) -> None:
    there = tmp_path / "there.csv"
    there.write_text("precious")
    (tmp_path / "folder.csv").mkdir()
    for file, line in {
        "scores.xlsx": "name a file that ends in .csv or .json",
        "scores": "name a file that ends in .csv or .json",
        "folder.csv": "is a folder; name a file",
        "there.csv": "is there already; name another file, or give --overwrite",
    }.items():
        with pytest.raises(RecipeError) as caught:
            check_files([tmp_path / "free.csv", tmp_path / file], overwrite=False)
        assert str(caught.value).startswith(f"--out {tmp_path / file}")
        assert str(caught.value).endswith(line)
    check_files([there], overwrite=True)
    assert there.read_text() == "precious"
    with pytest.raises(RecipeError, match="name a file that ends in"):
        write_scores(SCORED, tmp_path / "scores.txt")


def test_a_file_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    there = tmp_path / "there.json"
    there.write_text("precious")
    odd = replace(SCORED, features={"rgb": Path("no JSON")})  # type: ignore[dict-item]
    with pytest.raises(TypeError):
        write_scores(odd, there)
    assert there.read_text() == "precious"
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="cannot be written"):
        write_scores(SCORED, tmp_path / "file" / "scores.csv")
    assert {path.name for path in tmp_path.iterdir()} == {"there.json", "file"}


def printed(scored: Scored) -> list[str]:
    text = io.StringIO()
    print_scores(Console(file=text, width=120), scored)
    return [line.rstrip() for line in text.getvalue().splitlines() if line.strip()]


def test_a_terminal_shows_places_notes_and_failures() -> None:
    scored = replace(
        SCORED, videos=(replace(SCORED.videos[0], video=Video("[b]a")), *SCORED.videos[2:])
    )
    header, _, row, *rest = printed(scored)
    assert header.split("  ")[0].strip() == "video"
    assert " ".join(row.split()) == "[b]a 0.333 ± 0.250 1 of 9 (1 to 2) 88 % none t7"
    assert rest[:3] == ["[b]a: longer", "[b]a: damaged; badly", "failed: c: c.mp4 is empty"]
    assert "by a single seed" in " ".join(rest[3:])
    assert rest[-1] == "1 scored, 1 failed"


def test_one_seed_has_neither_spread_nor_range() -> None:
    one = replace(
        SCORED, seeds=(0,), scaled=True, videos=(replace(SCORED.videos[1], video=Video("b")),)
    )
    _, _, row, place, score, counts = printed(one)
    assert " ".join(row.split()) == "b -1.500 9 of 9 0 % t1 (label 12.5) none"
    assert "seed" not in place
    assert score == "score on the scale of the labels"
    assert counts == "1 scored, 0 failed"


def test_where_nothing_was_scored_only_failures_are_shown() -> None:
    nothing = replace(SCORED, videos=SCORED.videos[2:])
    assert printed(nothing) == ["failed: c: c.mp4 is empty", "0 scored, 1 failed"]
