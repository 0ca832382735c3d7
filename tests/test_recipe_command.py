"""``aqakit recipes``, and ``aqakit train --recipe`` with rows of papers and of files of one's own."""

import json
import re
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
from aqakit.models.recipe import Recipe
from aqakit.models.recipe_file import find_row, recipe_names
from aqakit.models.run import read_recipe, read_rows
from aqakit.models.table import read_table

I3D = FeatureSpec("i3d", "rgb", "pool", Sampling.parse("stacks-4x16-10fps"), "inception")
POSE = FeatureSpec("pose", "track", "all", Sampling.parse("steps-4x2"), "raw")
VIDEOS = 12
QUICK: dict[str, Any] = {"epochs": 2, "hidden": 3, "batch_pairs": 16, "learning_rate": 0.01}
ATTENTION = "rank-aware-attention"


def aqakit(*words: object) -> Result:
    return CliRunner(env={"COLUMNS": "300"}).invoke(main, list(map(str, words)))


def one_line(result: Result) -> str:
    assert result.exit_code == 1, result.output
    assert result.output.startswith("Error: ")
    assert result.output.count("\n") == 1
    return result.output


def options(head: str, **changes: Any) -> str:
    made = Recipe.make(head, {}, "", (0,), options=changes).options
    return "".join(
        f'options.{name} = {{ value = {json.dumps(value)}, source = "section 4" }}\n'
        for name, value in made.items()
    )


PAPER = f"""
title = "A paper of one's own"
authors = "A"
venue = "CVPR 1999"

[[datasets]]
name = "made"
protocol = "one fold"
epoch = "best on test"
source = "section 5"

[rows.full]
title = "Ours"
head = "{ATTENTION}"
features = {{ features = "i3d.rgb" }}
label_range = [0, 20]
fitting.clip_norm = {{ value = 0.5, source = "section 4" }}
reported = [{{ dataset = "made", task = "mean", metric = "accuracy", value = 0.8125, source = "Table 1" }}]
{options(ATTENTION, **QUICK)}

[rows.narrow]
title = "Ours, of another range"
extends = "full"
label_range = [0, 5]

[rows.graph]
title = "Graph"
not_run = "no head has a graph"
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with two features whose mean tells the score, a manifest, and a recipe file."""
    folder = tmp_path_factory.mktemp("recipes")
    store, rng = FeatureStore.create(folder / "store"), np.random.default_rng(0)
    for spec in (I3D, POSE):
        for number in range(VIDEOS):
            values = rng.normal(number, 1, (4, 3)).astype(np.float32)
            source = Source(f"v{number}.mp4", 1, 1, f"{number:064}")
            with store.begin(spec, f"v{number}", source, values.shape, 1) as part:
                part.append(values)
                part.finish(np.zeros((4, 3)), np.zeros((4, 1)), {})
    videos = tuple(Video(f"v{n}", score=float(n)) for n in range(VIDEOS))
    parts = ("train", "test", "val")
    splits = {
        "default": {video.id: parts[n % 2] for n, video in enumerate(videos)},
        "checked": {video.id: parts[n % 3] for n, video in enumerate(videos)},
    }
    Manifest(videos, splits).write(folder / "manifest")
    (folder / "my paper.toml").write_text(PAPER)
    return folder


def train(folder: Path, recipe: str, out: Path, *words: object) -> Result:
    common = ("train", folder / "manifest", "--store", folder / "store", "--seeds", "1")
    return aqakit(*common, "--recipe", recipe, "--out", out, *words)


def full(folder: Path) -> str:
    return f"{folder / 'my paper.toml'}/full"


# Listing.


def test_every_row_of_every_paper_is_listed_with_its_head() -> None:
    result = aqakit("recipes")
    assert result.exit_code == 0
    rows = {line.split()[0]: line for line in result.output.splitlines() if line.strip()}
    assert len(recipe_names()) > 40
    for name in recipe_names():
        row = find_row(name)
        assert (row.head or row.not_run) in rows[name]
        assert row.title in rows[name]


def test_a_paper_shows_each_number_with_its_source_or_that_it_is_omitted() -> None:
    result = aqakit("recipes", "doughty_cvpr2019")
    assert result.exit_code == 0
    assert "gao_eccv2020" not in result.output
    part = result.output.split("\ndoughty_cvpr2019/full\n")[1].split("\ndoughty")[0]
    row = find_row("doughty_cvpr2019/full")
    for name, value in row.options.items():
        said = row.sources.get(name) or f"omitted: {row.omitted[name]}"
        assert f"  {name} = {value}  ({said})\n" in part
    for figure in row.reported:
        assert f"on {figure.dataset}, {figure.task}: {figure.value:g}  ({figure.source})" in part


def test_a_file_of_ones_own_is_listed_alike(folder: Path) -> None:
    path = folder / "my paper.toml"
    result = aqakit("recipes", path)
    assert result.exit_code == 0, result.output
    for part in (
        f"{path}/narrow",
        "none: no head has a graph",
        "  labels from 0 to 20\n",
        "  clip_norm = 0.5  (section 4)\n",
        "  the paper's accuracy on made, mean: 0.8125  (Table 1)\n",
    ):
        assert part in result.output


@pytest.mark.parametrize(
    ("paper", "line"),
    [
        ("nobody_2020", "no paper 'nobody_2020'; choose one of: doughty_cvpr2019, gao_eccv2020"),
        ("nowhere.toml", "nowhere.toml: cannot be read (No such file or directory); correct"),
        ("doughty_cvpr2019/full", "no paper 'doughty_cvpr2019/full'; choose one of"),
    ],
)
def test_a_paper_that_is_not_there_is_one_line(paper: str, line: str) -> None:
    assert line in one_line(aqakit("recipes", paper))


# Training.


def test_a_row_of_a_file_brings_all_that_it_says(folder: Path, tmp_path: Path) -> None:
    result = train(folder, full(folder), tmp_path / "run")
    assert result.exit_code == 0, result.output
    recipe = read_recipe(tmp_path / "run")
    assert (recipe.head, recipe.name, recipe.title) == (ATTENTION, full(folder), full(folder))
    assert {name: recipe.options[name] for name in QUICK} == QUICK
    assert recipe.features == {"features": I3D.key}
    assert (recipe.label_range, recipe.fitting.clip_norm) == ((0, 20), 0.5)
    own = read_rows(tmp_path / "run")[0]
    assert own.name == full(folder)
    # A table of the run knows the paper again.
    line = read_table([tmp_path / "run"]).lines[0]
    assert line.paper == find_row(full(folder))
    assert line.differences == []


def test_options_features_and_fitting_of_the_command_line_go_over_it(
    folder: Path, tmp_path: Path
) -> None:
    words = ["--set", "epochs=1", "--set", "standardise=true", "--feature", "pose"]
    words += ["--patience", "4", "--split", "checked"]
    result = train(folder, full(folder), tmp_path / "run", *words)
    assert result.exit_code == 0, result.output
    recipe = read_recipe(tmp_path / "run")
    assert (recipe.options["epochs"], recipe.options["hidden"]) == (1, 3)
    assert recipe.options["standardise"] is True
    assert recipe.features == {"features": POSE.key}
    assert (recipe.fitting.patience, recipe.fitting.clip_norm) == (4, 0.5)
    text = aqakit("table", tmp_path / "run").output
    for difference in (
        f"features is {POSE.key}, in the paper i3d.rgb",
        "epochs is 1, in the recipe 2",
        "standardise is True, in the recipe False",
    ):
        assert f"{full(folder)}, beside CVPR 1999: {difference}." in re.sub(r"\s*\n", " ", text)


def test_a_shipped_row_trains_by_name(folder: Path, tmp_path: Path) -> None:
    quick = [word for name in ("epochs=1", "batch_pairs=8") for word in ("--set", name)]
    lacking = train(folder, "doughty_cvpr2019/last-segment", tmp_path / "run", *quick)
    # The paper has 400 stacks, and the store four.
    assert "no i3d.rgb.pool.stacks-400x16-10fps features in" in one_line(lacking)
    words = [*quick, "--feature", "i3d"]
    result = train(folder, "doughty_cvpr2019/last-segment", tmp_path / "run", *words)
    assert result.exit_code == 0, result.output
    recipe = read_recipe(tmp_path / "run")
    assert (recipe.head, recipe.options["pooling"]) == ("temporal-attention", "last-segment")
    assert "doughty_cvpr2019/last-segment" in result.output


@pytest.mark.parametrize(
    ("row", "words", "line"),
    [
        ("graph", [], "my paper.toml/graph cannot be trained: no head has a graph"),
        ("half", [], "has no row 'half'; choose one of: full, narrow, graph"),
        ("full", ["--head", "svr"], "name a head or a recipe, and not both"),
        ("full", ["--set", "epoch=3"], f"{ATTENTION} has no option 'epoch'; it has: filters"),
        ("full", ["--set", "epochs=many"], "epochs is 'many'; it must be a whole number"),
        ("full", ["--feature", "c3d"], "no c3d features in"),
        ("full", ["--clip-norm", "nan"], "clip_norm is nan; it must be 0 or more"),
        (
            "full",
            ["--patience", "4"],
            "and split 'default' has none; write val into some of its cells",
        ),
        (
            "narrow",
            [],
            "has score 6, outside 0 to 5; correct the manifest, or the label_range of the recipe",
        ),
    ],
)
def test_a_mistake_is_one_line_and_trains_nothing(
    row: str, words: list[str], line: str, folder: Path, tmp_path: Path
) -> None:
    recipe = f"{folder / 'my paper.toml'}/{row}"
    assert line in one_line(train(folder, recipe, tmp_path / "run", *words))
    assert not list(tmp_path.iterdir())


def test_neither_head_nor_recipe_is_one_line(folder: Path, tmp_path: Path) -> None:
    words = ("--feature", "i3d", "--out", tmp_path / "run")
    result = aqakit("train", folder / "manifest", "--store", folder / "store", *words)
    assert one_line(result) == "Error: name a head or a recipe, and not both\n"
