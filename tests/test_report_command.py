"""``aqakit report`` as a user runs it: on generated videos, on every head, and on what has moved."""

import csv
import json
import shutil
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from aqakit.cli import main
from aqakit.features.segments import Sampling
from aqakit.features.source import Source
from aqakit.features.spec import FeatureSpec
from aqakit.features.store import FeatureStore
from aqakit.report.budget import LIMIT_BYTES

VIDEOS = 8
HOSTILE = (
    "<script>window.__hacked = 1</script>",
    "\"quotes\" & 'more' </script><!--",
    "ein Lächeln 🤹🏽‍♀️",
    "تقييم \u202e المهارات",
    "x" * 3000,
    "{{ 7 * 7 }} ${7 * 7}",
)


class Text(HTMLParser):
    """The text that a reader sees, and elements by name."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.seen: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self._hidden = 0
        self.feed(page.read_text())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._hidden += tag in ("script", "style")

    def handle_endtag(self, tag: str) -> None:
        self._hidden -= tag in ("script", "style")

    def handle_data(self, data: str) -> None:
        if not self._hidden:
            self.seen.append(data)

    @property
    def text(self) -> str:
        return " ".join("".join(self.seen).split())


def aqakit(*words: str | Path) -> Result:
    return CliRunner(env={"COLUMNS": "300"}).invoke(main, list(map(str, words)))


def done(*words: str | Path) -> Result:
    result = aqakit(*words)
    assert result.exit_code == 0, result.output
    return result


def one_line(result: Result) -> str:
    assert result.exit_code == 1, result.output
    assert result.output.count("\n") == 1
    return result.output.removeprefix("Error: ").rstrip()


@pytest.fixture(scope="module")
def made(
    tmp_path_factory: pytest.TempPathFactory,
    small_project: Callable[[Path, int, int, str], Path],
) -> Path:
    """A project: videos, features, a run, its control, and a batch."""
    folder = tmp_path_factory.mktemp("made") / "project"
    project = small_project(folder, VIDEOS, 5, "flow-hist@stacks-8x2-5fps")
    data, store, runs = project / "data", project / "store", project / "runs"
    common = (data / "manifest.csv", "--store", store, "--feature", "flow-hist")
    quick = ("--set", "epochs=2", "--set", "hidden=4", "--seeds", "2", "--together", "off")
    attention = ("--head", "rank-aware-attention", *quick)
    done("train", *common, *attention, "--out", runs / "attention")
    done("train", *common, *attention, "--shuffle-pairs", "--out", runs / "shuffled")
    done("baselines", *common, "--head", "ranksvm", "--out", runs / "batch", "--jobs", "1")
    # Nothing is left where the run learned it, so that copies have only what is beside them.
    return project.rename(project.with_name("kept"))


@pytest.fixture
def project(made: Path, tmp_path: Path) -> Path:
    """A copy of it that a test may change; it reads nothing of the first one."""
    shutil.copytree(made, tmp_path / "project")
    return tmp_path / "project"


def test_one_page_holds_all_of_a_run(project: Path) -> None:
    run, out = project / "runs" / "attention", project / "report.html"
    result = done("report", run, "--beside", project / "runs" / "shuffled", "--out", out)
    assert f"{out}: {VIDEOS} videos, {VIDEOS} explained, {VIDEOS} to play" in result.output
    assert out.stat().st_size < LIMIT_BYTES
    page = Text(out)
    for number in range(VIDEOS):
        assert f"v{number}" in page.text
    rows = json.loads((run / "metrics.json").read_text())["rows"]
    assert f"{rows[0]['accuracy']:.3f}" in page.text
    for row in rows[1:]:
        assert row["name"] in page.text
    assert "labels shuffled" in page.text
    assert "3 videos" in page.text
    assert sum(tag == "details" and "video" in (a.get("class") or "") for tag, a in page.tags) == (
        VIDEOS
    )
    assert "http://" not in out.read_text().replace("http://www.w3.org/2000/svg", "")
    assert "https://" not in out.read_text()
    again = one_line(aqakit("report", run, "--out", out))
    assert again == f"{out} is there already; name another file, or give --overwrite"
    before = out.read_bytes()
    done("report", run, "--beside", project / "runs" / "shuffled", "--out", out, "--overwrite")
    assert out.read_bytes() == before


def test_linked_videos_are_not_copied(project: Path) -> None:
    run, out = project / "runs" / "attention", project / "report.html"
    copied = done("report", run, "--out", project / "copied.html")
    linked = done("report", run, "--out", out, "--link-videos")
    assert f"{VIDEOS} to play" in copied.output
    assert f"{VIDEOS} to play" in linked.output
    assert '"link":"data/videos/v0.mp4"' in out.read_text()
    assert out.stat().st_size < (project / "copied.html").stat().st_size


def test_a_project_that_moved_as_a_whole_lacks_nothing(project: Path, tmp_path: Path) -> None:
    moved = project.rename(tmp_path / "elsewhere")
    result = done("report", moved / "runs" / "attention", "--out", tmp_path / "report.html")
    assert f"{VIDEOS} explained, {VIDEOS} to play" in result.output
    assert result.output.count("\n") == 1


def test_videos_that_moved_leave_all_but_the_players(project: Path) -> None:
    (project / "data" / "videos").rename(project / "moved")
    out = project / "report.html"
    result = done("report", project / "runs" / "attention", "--out", out)
    assert f"{VIDEOS} explained, 0 to play" in result.output
    reason = f"The file {project / 'data' / 'videos' / 'v0.mp4'} is not there"
    assert reason in out.read_text()
    assert f"{VIDEOS} of them: " in result.output or "1 of them: The file" in result.output


def test_a_store_that_moved_leaves_the_numbers_and_the_players(project: Path) -> None:
    (project / "store").rename(project / "moved")
    out = project / "report.html"
    result = done("report", project / "runs" / "attention", "--out", out)
    assert f"0 explained, {VIDEOS} to play" in result.output
    assert "The features of the run cannot be used" in result.output
    assert "no feature store here" in result.output
    assert "make this page again with --store" in Text(out).text
    found = done(
        *("report", project / "runs" / "attention", "--out", out, "--overwrite"),
        *("--store", project / "moved"),
    )
    assert f"{VIDEOS} explained" in found.output


def test_a_manifest_that_moved_leaves_the_numbers(project: Path) -> None:
    moved = (project / "data").rename(project / "moved")
    out = project / "report.html"
    result = done("report", project / "runs" / "attention", "--out", out)
    assert "0 explained, 0 to play" in result.output
    assert "The manifest that the run was trained on cannot be used" in result.output
    text = Text(out).text
    assert "make this page again with --manifest" in text
    assert "v0" in text
    found = done(
        *("report", project / "runs" / "attention", "--out", out, "--overwrite"),
        *("--manifest", moved / "manifest.csv"),
    )
    assert f"{VIDEOS} explained, {VIDEOS} to play" in found.output


def test_a_broken_video_says_why_in_its_place(project: Path) -> None:
    path = project / "data" / "videos" / "v3.mp4"
    path.write_bytes(b"\0" * path.stat().st_size)
    out = project / "report.html"
    result = done("report", project / "runs" / "attention", "--out", out)
    assert f"{VIDEOS} explained, {VIDEOS - 1} to play" in result.output
    assert f"{path} is not a video" in result.output


def test_runs_of_before_say_what_they_need(project: Path) -> None:
    run, out = project / "runs" / "attention", project / "report.html"
    (run / "inputs.json").unlink()
    said = one_line(aqakit("report", run, "--out", out))
    assert "--manifest" in said
    assert "--store" in said
    assert not out.exists()
    done(
        *("report", run, "--out", out, "--manifest", project / "data" / "manifest.csv"),
        *("--store", project / "store"),
    )


def test_what_is_no_run_is_named(project: Path) -> None:
    out = project / "report.html"
    for folder, words in (
        (project / "data", "no run"),
        (project / "nowhere", "no run"),
        (project / "runs" / "batch", "name one of"),
    ):
        said = one_line(aqakit("report", folder, "--out", out))
        assert str(folder) in said
        assert words in said
    said = one_line(aqakit("report", project / "runs" / "attention", "--out", out, "--seed", "7"))
    assert "no seed 7" in said
    (project / "runs" / "attention" / "seed-0" / "head.safetensors").write_bytes(b"no")
    assert "head.safetensors" in one_line(aqakit("report", project / "runs" / "attention"))


def test_a_run_of_a_batch_has_its_page(project: Path) -> None:
    (recipe,) = (project / "runs" / "batch").rglob("recipe.json")
    result = done("report", recipe.parent, "--out", project / "report.html")
    assert f"{VIDEOS} explained, {VIDEOS} to play" in result.output


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on videos, subjects and tasks of hostile names, without files."""
    folder = tmp_path_factory.mktemp("hostile")
    store = FeatureStore.create(folder / "store")
    spec = FeatureSpec("i3d", "rgb", "pool", Sampling.parse("steps-6x1"), "made")
    edges = np.linspace(0, 6, 7)
    times = np.stack([edges[:-1], (edges[:-1] + edges[1:]) / 2, edges[1:]], axis=1)
    rng = np.random.default_rng(0)
    with (folder / "manifest.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "subject", "task", "action_type", "score", "split"])
        for number, id in enumerate(HOSTILE):
            part = "train" if number < 3 else "test"
            writer.writerow([id, HOSTILE[number - 1], HOSTILE[0], HOSTILE[1], number, part])
            values = rng.normal(number, 1, (6, 4)).astype(np.float32)
            with store.begin(spec, id, Source("v", 1, 1, f"{number:064}"), (6, 4), 1) as own:
                own.append(values)
                own.finish(times, times[:, :1], {})
    done(
        *("train", folder / "manifest.csv", "--store", folder / "store", "--feature", "i3d"),
        *(
            "--head",
            "siamese-lstm",
            "--set",
            "metric_learning=false",
            "--set",
            "hidden=4",
            "--seeds",
            "1",
        ),
        *("--set", "scoring_epochs=1", "--out", folder / "run"),
    )
    return folder


def test_hostile_names_are_text(hostile: Path, tmp_path: Path) -> None:
    out = tmp_path / "report.html"
    result = done("report", hostile / "run", "--out", out)
    assert "6 explained, 0 to play" in result.output
    page = Text(out)
    for id in HOSTILE:
        assert " ".join(id.split()) in page.text
    assert "49" not in page.text.replace("0.49", "")
    scripts = [attrs.get("type") for tag, attrs in page.tags if tag == "script"]
    assert scripts.count(None) + scripts.count("module") == 1
    assert not any(name.startswith("on") for _, attrs in page.tags for name in attrs)


def test_new_videos_are_scored_ranked_and_explained_among_the_others(project: Path) -> None:
    run, out = project / "runs" / "attention", project / "report.html"
    new = project / "new"
    new.mkdir()
    shutil.copy(project / "data" / "videos" / "v2.mp4", new / "again.mp4")
    shutil.copy(project / "data" / "videos" / "v6.mp4", new / "v0.mp4")
    (new / "broken.mp4").write_bytes(b"no")
    result = aqakit("report", run, "--new", new, "--out", out)
    assert result.exit_code == 3, result.output
    assert f"failed: broken: {new / 'broken.mp4'} is not a video" in result.output
    assert f"{VIDEOS + 2} videos, {VIDEOS + 2} explained, {VIDEOS + 2} to play" in result.output
    page = Text(out).text
    for words in ("again", "v0 (new)", "this file trained the model, as v2"):
        assert words in page
    assert "Videos marked new were scored for this page" in page
    with (run / "predictions.csv").open() as file:
        known = {
            row["id"]: [float(row["seed_0"]), float(row["seed_1"])] for row in csv.DictReader(file)
        }
    scored = done("score", run, new / "again.mp4", "--out", project / "scores.csv")
    assert scored.exit_code == 0
    (row,) = csv.DictReader((project / "scores.csv").read_text().splitlines())
    assert [float(row["seed_0"]), float(row["seed_1"])] == known["v2"]


def test_new_videos_are_told_of_where_the_others_are_gone(project: Path) -> None:
    new = project / "new.mp4"
    shutil.copy(project / "data" / "videos" / "v6.mp4", new)
    (project / "data").rename(project / "moved")
    out = project / "report.html"
    result = done("report", project / "runs" / "attention", "--new", new, "--out", out)
    assert f"{VIDEOS + 1} videos, 1 explained, 1 to play" in result.output
    assert "The manifest that the run was trained on cannot be used" in result.output
