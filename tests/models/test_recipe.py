"""Recipes: what a user writes, and what a run folder keeps."""

import json

import pytest

from aqakit.features.errors import RecipeError
from aqakit.models.recipe import Recipe

ATTENTION = "rank-aware-attention"


def make(*settings: str, head: str = ATTENTION) -> Recipe:
    return Recipe.make(head, "flow-hist.x", "default", [0, 1], settings)


def test_settings_take_the_type_of_the_option() -> None:
    options = make("epochs=7", "noise=0", "disparity=false", "score=released").options
    assert (options["epochs"], options["noise"]) == (7, 0.0)
    assert (options["disparity"], options["score"]) == (False, "released")
    assert options["filters"] == 3


def test_json_round_trip() -> None:
    recipe = make("epochs=7")
    assert Recipe.from_json(recipe.to_json()) == recipe


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("epochs", "write OPTION=VALUE"),
        ("epoch=3", "has no option 'epoch'; it has: filters, hidden, epochs"),
        ("epochs=many", "epochs is 'many'; it must be a whole number"),
        ("noise=low", "noise is 'low'; it must be a number"),
        ("disparity=perhaps", "disparity is 'perhaps'; it must be true or false"),
        ("score=mine", "score is 'mine'; choose one of: paper, released"),
        ("epochs=0", "rank-aware-attention: epochs is 0; it must be at least 1"),
    ],
)
def test_a_setting_that_does_not_fit_is_one_line(setting: str, words: str) -> None:
    with pytest.raises(RecipeError, match=words):
        make(setting)


def test_an_unknown_head_names_the_known_ones() -> None:
    with pytest.raises(RecipeError, match=r"no head 'raan'; choose one of: .*rank-aware-attention"):
        make(head="raan")


def test_no_seed_is_an_error() -> None:
    with pytest.raises(RecipeError, match="no seeds"):
        Recipe.make(ATTENTION, "x", "default", [])


@pytest.mark.parametrize(
    "damage",
    [
        lambda values: values.pop("head"),
        lambda values: values.update(extra=1),
        lambda values: values["options"].update(unknown=1),
    ],
)
def test_a_damaged_recipe_is_one_line(damage: object) -> None:
    values = json.loads(make().to_json())
    damage(values)  # type: ignore[operator]
    with pytest.raises(RecipeError):
        Recipe.from_json(json.dumps(values))
    with pytest.raises(RecipeError, match="not a recipe"):
        Recipe.from_json("{")
