"""What a user names: a head with its defaults, or all that a recipe file says of a row."""

from pathlib import Path

import pytest

from aqakit.features.errors import RecipeError
from aqakit.models.choice import Choice, choose
from aqakit.models.head import Fitting

PAPER = """
title = "T"
authors = "A"
venue = "V"
datasets = []

[rows.both]
title = "Two streams"
head = "deep-ranking"
features = { rgb = "i3d.rgb", flow = "i3d.flow" }
label_range = [6, 30]
fitting.patience = { value = 4, source = "section 3" }
fitting.clip_norm = { value = 0.5, source = "section 3" }
options.margin = { value = 0.75, source = "section 3" }
options.beta = { value = 0.5, omitted = "ours" }
options.similarity = { value = false, omitted = "ours" }
options.segments = { value = 3, omitted = "ours" }
options.dropout = { value = 0.8, omitted = "ours" }
options.rgb_weight = { value = 0.4, omitted = "ours" }
options.epochs = { value = 200, omitted = "ours" }
options.batch_pairs = { value = 128, omitted = "ours" }
options.learning_rate = { value = 1e-3, omitted = "ours" }
options.momentum = { value = 0.9, omitted = "ours" }
options.weight_decay = { value = 5e-4, omitted = "ours" }
options.standardise = { value = false, omitted = "ours" }

[rows.graph]
title = "Graph"
not_run = "no head has a graph"
"""


@pytest.fixture
def paper(tmp_path: Path) -> str:
    (tmp_path / "mine.toml").write_text(PAPER)
    return str(tmp_path / "mine.toml")


def test_a_head_brings_nothing_along() -> None:
    assert choose("svr", "") == Choice("svr", {}, Fitting(), (), None)


def test_a_recipe_brings_options_fitting_features_and_labels(paper: str) -> None:
    found = choose("", f"{paper}/both")
    assert (found.head, found.label_range) == ("deep-ranking", (6.0, 30.0))
    assert found.features == ("rgb=i3d.rgb", "flow=i3d.flow")
    assert found.fitting == Fitting(clip_norm=0.5, patience=4)
    assert (found.options["margin"], found.options["segments"]) == (0.75, 3)
    assert len(found.options) == 12


def test_shipped_recipes_are_chosen_by_name() -> None:
    found = choose("", "doughty_cvpr2019/full")
    assert found.head == "rank-aware-attention"
    assert found.features == ("features=i3d.rgb.pool.stacks-400x16-10fps",)
    assert (found.options["epochs"], found.label_range) == (2000, None)


@pytest.mark.parametrize(("head", "recipe"), [("", ""), ("svr", "doughty_cvpr2019/full")])
def test_one_of_both_is_named(head: str, recipe: str) -> None:
    with pytest.raises(RecipeError, match="^name a head or a recipe, and not both$"):
        choose(head, recipe)


def test_a_row_without_a_head_says_why(paper: str) -> None:
    with pytest.raises(RecipeError) as caught:
        choose("", f"{paper}/graph")
    assert str(caught.value) == f"{paper}/graph cannot be trained: no head has a graph"


@pytest.mark.parametrize(
    ("recipe", "words"),
    [
        ("doughty_cvpr2019", "'doughty_cvpr2019' names no row; write PAPER/ROW"),
        ("doughty_cvpr2019/half", "has no row 'half'; choose one of: full, "),
        ("nobody_2020/full", "no paper 'nobody_2020'; choose one of: doughty_cvpr2019, "),
        ("nowhere.toml/full", "nowhere.toml: cannot be read (No such file or directory)"),
        ("/", "names no row"),
    ],
)
def test_a_row_that_does_not_exist_is_one_line(recipe: str, words: str) -> None:
    with pytest.raises(RecipeError) as caught:
        choose("", recipe)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
