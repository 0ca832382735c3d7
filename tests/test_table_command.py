"""``aqakit baselines --matrix`` and ``aqakit table`` as a user runs them, on names that are no help."""

import csv
import io
import json
import math
import re
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

from aqakit.cli import main
from aqakit.features.manifest import Manifest, Video
from aqakit.features.segments import Sampling
from aqakit.features.source import Source
from aqakit.features.spec import FeatureSpec
from aqakit.features.store import FeatureStore
from aqakit.models.batch import BATCH
from aqakit.models.recipe import Recipe

I3D = FeatureSpec("i3d", "rgb", "pool", Sampling.parse("stacks-4x16-10fps"), "inception")
POSE = FeatureSpec("pose", "track", "all", Sampling.parse("steps-4x2"), "raw")
TASKS, SUBJECTS, TRIALS = ("cut|sew & more", "[red]fold_%"), ("s/0", "../s1", "s 2"), 4
CONTROLS = (
    "control: constant",
    "control: shorter is better",
    "control: duration, sign from training",
    "control: subject mean",
)
MINE = "mine | [bold] & _x_"
# Of this one there are no features of I3D.
LOST = f"{TASKS[0]} s/0 0"


def aqakit(*words: object, width: int = 300) -> Result:
    return CliRunner(env={"COLUMNS": f"{width}"}).invoke(main, list(map(str, words)))


def one_line(result: Result) -> str:
    assert result.exit_code == 1, result.output
    assert result.output.startswith("Error: ")
    assert result.output.count("\n") == 1
    return result.output


def usage(result: Result) -> str:
    assert result.exit_code == 2, result.output
    assert result.output.startswith("Usage: ")
    return result.output.splitlines()[-1]


def paper(head: str, features: str, options: Mapping[str, Any]) -> str:
    lines = [
        'title = "T"\nauthors = "A"\nvenue = "CVPR 1999"',
        '[[datasets]]\nname = "made"\nprotocol = "leave one out"\nepoch = "last"\nsource = "s"',
        f'[rows.full]\ntitle = "Ours"\nhead = "{head}"\nfeatures = {{ features = "{features}" }}',
        *(
            f'options.{name} = {{ value = {json.dumps(value)}, source = "s" }}'
            for name, value in Recipe.make(head, {}, "", (0,), options=options).options.items()
        ),
        "reported = [",
        '  { dataset = "made", task = "mean", metric = "accuracy", value = 0.8125, source = "s" },',
        f'  {{ dataset = "made", task = "{TASKS[1]}", metric = "accuracy", value = 0.4375, source = "s" }},',
        '  { dataset = "made", task = "mean", metric = "spearman", value = 0.3125, source = "s" },',
        "]",
    ]
    return "\n".join(lines)


def fill(store: FeatureStore, spec: FeatureSpec, noise: float, lost: str = "") -> None:
    rng = np.random.default_rng(int(noise))
    for task in TASKS:
        for subject in SUBJECTS:
            for trial in range(TRIALS):
                name = f"{task} {subject} {trial}"
                values = rng.normal(trial, noise, (4, 3)).astype(np.float32)
                source = Source(name, 1, 1, f"{trial:064}")
                if name != lost:
                    with store.begin(spec, name, source, values.shape, 1) as part:
                        part.append(values)
                        part.finish(np.zeros((4, 3)), np.zeros((4, 1)), {})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A manifest, a store, a recipe file and a matrix of 3 rows x 2 tasks x 3 subjects."""
    folder = tmp_path_factory.mktemp("table")
    store = FeatureStore.create(folder / "store")
    fill(store, POSE, 1)
    fill(store, I3D, 9, LOST)
    videos = tuple(
        Video(f"{task} {subject} {trial}", task=task, subject=subject, score=float(trial))
        for task in TASKS
        for subject in SUBJECTS
        for trial in range(TRIALS)
    )
    Manifest(videos).write(folder / "manifest")
    (folder / "paper.toml").write_text(paper("ranksvm", "i3d", {}))
    rows: list[dict[str, Any]] = [
        {"head": "svr", "name": MINE, "features": ["pose"]},
        {"recipe": f"{folder / 'paper.toml'}/full", "features": ["i3d"], "options": {"C": 2.0}},
        {"head": "ranksvm", "features": ["pose"]},
    ]
    write_matrix(folder / "matrix.toml", rows)
    return folder


def toml(value: Any) -> str:
    if not isinstance(value, dict):
        return json.dumps(value)
    return f"{{ {', '.join(f'{name} = {toml(own)}' for name, own in value.items())} }}"


def write_matrix(path: Path, rows: list[dict[str, Any]], **top: str) -> None:
    said = {"manifest": "manifest", "store": "store", "tasks": "each", "dataset": "made", **top}
    lines = [f"{name} = {json.dumps(value)}" for name, value in said.items()]
    lines.append('[protocol]\nkind = "leave-one-user-out"')
    for row in rows:
        lines.append("[[rows]]")
        for name, value in row.items():
            lines.append(f"{name} = {toml(value)}")
    path.write_text("\n".join(lines))


@pytest.fixture(scope="module")
def batch(folder: Path) -> Path:
    out = folder / "runs"
    result = aqakit("baselines", "--matrix", folder / "matrix.toml", "--out", out, "--jobs", "1")
    assert result.exit_code == 0, result.output
    assert "18 runs trained, 0 there already, 0 failed" in result.output
    (folder / "printed").write_text(result.output)
    return out


@pytest.fixture(autouse=True)
def quick_intervals(monkeypatch: pytest.MonkeyPatch) -> None:
    """Most of the time of a table goes into them, and here only their place counts."""
    for name in ("accuracy_interval", "score_interval"):
        monkeypatch.setattr(f"aqakit.models.row.{name}", lambda *folds: (0.125, 0.875))


def full(folder: Path) -> str:
    return f"{folder / 'paper.toml'}/full"


Numbers = dict[tuple[str, str], dict[str, float]]


def numbers(*folders: Path) -> Numbers:
    """The CSV of batches and runs: by name of a row and task, its numbers; nan where there is none."""
    result = aqakit("table", *folders, "--format", "csv")
    assert result.exit_code == 0, result.output
    found: Numbers = {}
    for own in csv.DictReader(io.StringIO(result.output)):
        place = own.pop("name"), own.pop("task")
        del own["feature"]
        found[place] = {name: float(cell or "nan") for name, cell in own.items()}
    return found


# table.


def test_the_table_on_the_terminal_says_all(folder: Path, batch: Path) -> None:
    result = aqakit("table", batch)
    assert result.exit_code == 0, result.output
    text = result.output
    rows = {line.split("  ")[0].strip(): line for line in text.splitlines()}
    mine = rows[MINE]
    means = numbers(batch)[MINE, "mean"]
    assert f"{means['accuracy']:.3f} " in mine
    assert f"{means['spearman']:.3f} " in mine
    assert "0.125 to 0.875" in mine
    published = rows[full(folder)]
    for cell in ("0.812", "0.312", "i3d pool"):
        assert cell in published
    assert sum("control: constant" in line for line in text.splitlines()) == 1
    for sentence in (
        "pose all: 36 test pairs of 24 videos, in 6 folds of 2 tasks",
        # A lost video loses three pairs of its own subject where it tests, and three more of
        # another subject in each of the two folds that it trains.
        f"{full(folder)}: 3 videos without features and 15 pairs are lost, over all folds.",
        f"{full(folder)}, beside CVPR 1999: C is 2.0, in the recipe 1.0.",
        f"{full(folder)}, beside CVPR 1999: 15 pairs lost, over all folds.",
    ):
        assert sentence in text
    assert "features is" not in text
    # What the batch printed itself is the same, but for the intervals.
    printed = (folder / "printed").read_text()
    for name in (MINE, full(folder), "ranksvm", "control: subject mean"):
        assert any(line.startswith(name) for line in printed.splitlines())


def test_csv_parses_back_with_every_metric_of_every_task(folder: Path, batch: Path) -> None:
    found = numbers(batch)
    names = [MINE, full(folder), "ranksvm", *CONTROLS]
    assert list(found) == [(name, task) for name in names for task in ("mean", *TASKS)]
    errors = ("mse", "mae", "relative_l2", "relative_l2_x100")
    for name in ("accuracy", *errors):
        own = [found[MINE, task][name] for task in ("mean", *TASKS)]
        assert own[0] == pytest.approx((own[1] + own[2]) / 2)
    # Scores of SVR are on the scale of the labels, those of RankSVM are not.
    ranker = found["ranksvm", "mean"]
    assert all(math.isnan(ranker[name]) for name in errors)
    for metric in ("accuracy", "spearman", "kendall", "pearson"):
        assert ranker[metric] > 0.5
    published = [found[full(folder), task]["published_accuracy"] for task in ("mean", *TASKS)]
    assert published == pytest.approx([0.8125, math.nan, 0.4375], nan_ok=True)
    paper = found[full(folder), "mean"]
    assert paper["published_spearman"] == 0.3125
    assert (paper["dropped_videos"], paper["dropped_pairs"]) == (3, 15)
    assert found["control: constant", TASKS[1]]["accuracy"] == 0


@pytest.mark.parametrize("by_task", [False, True])
def test_markdown_is_one_table_whatever_the_names(by_task: bool, batch: Path) -> None:
    result = aqakit("table", batch, "--format", "markdown", *["--by-task"] * by_task)
    assert result.exit_code == 0, result.output
    head, _, below = result.output.partition("\n\n")
    rows = [re.findall(r"(?:\\.|[^|\\])*\|", line[1:]) for line in head.splitlines()]
    assert len({len(row) for row in rows}) == 1
    assert all(line.startswith("| ") for line in (head.splitlines()[0], *head.splitlines()[2:]))
    assert "mine \\| [bold] & _x_" in head
    assert all(line.startswith("- ") for line in below.splitlines())
    assert ("cut\\|sew & more" in head) is by_task
    assert ("as published" in head) is by_task


def test_latex_has_no_bare_character_that_means_something(batch: Path) -> None:
    result = aqakit("table", batch, "--format", "latex", "--by-task")
    assert result.exit_code == 0, result.output
    table, _, below = result.output.partition(r"\end{tabular}")
    assert r"cut|sew \& more & [red]fold\_\%" in table
    assert r"mine | [bold] \& \_x\_ & " in table
    body = [line for line in table.splitlines() if line.endswith(r"\\")]
    assert len({len(re.findall(r"(?<!\\)&", line)) for line in body}) == 1
    assert all(line.startswith("% ") for line in below.strip().splitlines())


def test_rows_are_compared_on_each_of_few_tasks(batch: Path) -> None:
    result = aqakit("table", batch, "--compare", "ranksvm")
    assert result.exit_code == 0, result.output
    for task in TASKS:
        assert f"{MINE} less ranksvm in {task}: " in result.output
    # 2 tasks of 2 other rows; those whose folds all differ alike are not tested.
    tested = result.output.count(", p = ")
    assert tested + result.output.count(", no p.") == 4
    assert f"with Holm's correction for {tested} comparisons" in result.output
    assert "corrected resampled t-test over folds" in result.output


def test_folders_of_single_runs_make_a_table_too(batch: Path) -> None:
    runs = sorted(path.parent for path in batch.rglob("recipe.json") if "svr" not in str(path))
    mine = [run for run in runs if run.relative_to(batch).parts[0].startswith("mine")]
    assert len(mine) == 6
    whole, alone = numbers(batch), numbers(*mine)
    assert list(alone) == [(name, task) for name in (MINE, *CONTROLS) for task in ("mean", *TASKS)]
    assert alone[MINE, "mean"]["accuracy"] == whole[MINE, "mean"]["accuracy"]
    assert (alone[MINE, "mean"]["folds"], alone[MINE, "mean"]["tasks"]) == (6, 2)


def test_runs_that_are_gone_are_told(folder: Path, batch: Path, tmp_path: Path) -> None:
    copied = tmp_path / "runs"
    shutil.copytree(batch, copied)
    rows = json.loads((copied / BATCH).read_text())["rows"]
    for place in (*rows[0]["runs"][:2], *rows[2]["runs"]):
        shutil.rmtree(copied / place)
    result = aqakit("table", copied)
    assert f"{MINE}: 2 runs are not there." in result.output
    assert "ranksvm is left out: no seed is there of all its folds." in result.output
    assert one_line(aqakit("table", copied, "--compare", "ranksvm")).startswith(
        f"Error: 0 rows are called 'ranksvm'; name one of '{MINE}', '{full(folder)}'"
    )
    for place in rows[0]["runs"] + rows[1]["runs"]:
        shutil.rmtree(copied / place, ignore_errors=True)
    assert "no finished run in it; train first" in one_line(aqakit("table", copied))


def test_a_mistake_is_one_line(batch: Path, tmp_path: Path) -> None:
    assert f"{tmp_path}/none: no such folder; name a batch or a run" in one_line(
        aqakit("table", tmp_path / "none")
    )
    assert f"{tmp_path}: no finished run in it; train first" in one_line(aqakit("table", tmp_path))
    assert "0 rows are called 'nobody'; name one of" in one_line(
        aqakit("table", batch, "--compare", "nobody")
    )
    (tmp_path / BATCH).write_text('{"rows": ')
    assert f"{tmp_path / BATCH}: cannot be read (" in one_line(aqakit("table", tmp_path))


def test_wrong_usage_of_the_table(batch: Path) -> None:
    assert "Missing argument" in usage(aqakit("table"))
    assert "'html' is not one of" in usage(aqakit("table", batch, "--format", "html"))
    for form in ("text", "csv"):
        line = usage(aqakit("table", batch, "--by-task", "--format", form))
        assert line == "Error: --by-task is for --format markdown and latex; csv has all tasks"


# baselines --matrix.


def test_a_batch_that_is_there_is_kept(folder: Path, batch: Path) -> None:
    words = ("baselines", "--matrix", folder / "matrix.toml", "--out", batch, "--jobs", "1")
    result = aqakit(*words)
    assert result.exit_code == 0, result.output
    assert "0 runs trained, 18 there already, 0 failed" in result.output
    shutil.copy(folder / "matrix.toml", folder / "other.toml")
    text = (
        (folder / "other.toml")
        .read_text()
        .replace('"C": 2.0', '"C": 3.0')
        .replace("C = 2.0", "C = 3.0")
    )
    (folder / "other.toml").write_text(text)
    changed = aqakit(*words[:2], folder / "other.toml", *words[3:])
    assert changed.exit_code == 3
    assert "0 runs trained, 12 there already, 6 failed" in changed.output
    assert changed.output.count("failed: ") == 6
    # What lies in its place is not of this batch.
    assert f"{full(folder)} is left out: no seed is there of all its folds." in changed.output
    assert "C is" not in changed.output
    assert aqakit(*words).exit_code == 0


def test_manifest_and_store_of_the_command_line_stand_in_for_those_of_the_file(
    folder: Path, tmp_path: Path
) -> None:
    rows = [{"head": "ranksvm", "features": ["pose"]}]
    write_matrix(tmp_path / "m.toml", rows, manifest="nowhere", store="nowhere", tasks="together")
    words = ("baselines", "--matrix", tmp_path / "m.toml", "--jobs", "1", "--out")
    assert "nowhere" in one_line(aqakit(*words, tmp_path / "no"))
    missing = aqakit(*words, tmp_path / "no", "--store", folder / "store")
    assert str(tmp_path / "nowhere") in one_line(missing)
    given = [folder / "manifest", "--store", folder / "store"]
    result = aqakit(*words, tmp_path / "runs", *given)
    assert result.exit_code == 0, result.output
    assert "3 runs trained" in result.output
    pairs = tmp_path / "pairs.csv"
    lines = [f"{TASKS[0]} {subject} 3,{TASKS[0]} {subject} 0" for subject in SUBJECTS]
    pairs.write_text("\n".join(["better,worse", *lines]))
    result = aqakit(*words, tmp_path / "few", *given, "--pairs", pairs)
    assert result.exit_code == 0, result.output
    assert "pose all: 3 test pairs of" in result.output


def test_a_batch_of_which_all_fails_has_no_table_and_ends_with_three(
    folder: Path, tmp_path: Path
) -> None:
    scored = Manifest.read(folder / "manifest")
    nameless = tuple(replace(video, score=None) for video in scored.videos)
    replace(scored, videos=nameless, pairs=scored.pairs_from_scores()).write(tmp_path / "manifest")
    write_matrix(tmp_path / "m.toml", [{"head": "svr", "features": ["pose"]}])
    words = ("--matrix", tmp_path / "m.toml", "--out", tmp_path / "runs", "--jobs", "1")
    result = aqakit("baselines", tmp_path / "manifest", "--store", folder / "store", *words)
    assert result.exit_code == 3, result.output
    lines = result.output.splitlines()
    assert len(lines) == 7
    assert all(line.startswith("failed: svr-pose.track.all") for line in lines[:6])
    assert all("svr learns from scores" in line for line in lines[:6])
    assert lines[6] == "0 runs trained, 0 there already, 6 failed"


def test_wrong_usage_of_a_batch(folder: Path, tmp_path: Path) -> None:
    matrix, out = folder / "matrix.toml", ("--out", tmp_path / "runs")
    for words in (["--feature", "pose"], ["--head", "svr"], ["--seeds", "2"]):
        line = usage(aqakit("baselines", "--matrix", matrix, *words, *out))
        assert line == f"Error: {words[0]} does not go with --matrix; say it in {matrix}"
    needed = "Error: give MANIFEST, --store and --feature, or --matrix FILE"
    labels, store = folder / "manifest", ("--store", folder / "store")
    for given in ([], [labels], [labels, *store], [*store, "--feature", "pose"]):
        assert usage(aqakit("baselines", *given, *out)) == needed
    for jobs in ("0", "-2", "many"):
        assert "--jobs" in usage(aqakit("baselines", "--matrix", matrix, "--jobs", jobs, *out))
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (None, "cannot be read (No such file or directory); correct its path"),
        ("rows = [", "is not TOML ("),
        ("seedz = 3", "key 'rows' is missing"),
        ("[[rows]]\nhead = 'svr'\nseed = 3", "unknown key 'rows.1.seed'; remove or correct it"),
        ("[[rows]]\nhead = 'svr'", "has no manifest; add it, or name it on the command line"),
    ],
)
def test_a_matrix_that_cannot_be_used_is_one_line(
    content: str | None, line: str, tmp_path: Path
) -> None:
    path = tmp_path / "[m].toml"
    if content is not None:
        path.write_text(content)
    message = one_line(aqakit("baselines", "--matrix", path, "--out", tmp_path / "runs"))
    assert message.startswith(f"Error: {path}: ")
    assert line in message
