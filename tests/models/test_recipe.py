"""Recipes: what a user writes, and what a run folder keeps."""

import json
from dataclasses import replace
from typing import Any

import pytest

from aqakit.features.errors import RecipeError
from aqakit.features.spec import FeatureKey
from aqakit.models.head import Fitting
from aqakit.models.recipe import Recipe, assign_roles, roles_of, typed_options

ATTENTION = "rank-aware-attention"


def make(*settings: str, head: str = ATTENTION) -> Recipe:
    return Recipe.make(head, {"features": FeatureKey("flow-hist.x")}, "default", [0, 1], settings)


def test_settings_take_the_type_of_the_option() -> None:
    options = make("epochs=7", "noise=0", "disparity=false", "score=released").options
    assert (options["epochs"], options["noise"]) == (7, 0.0)
    assert (options["disparity"], options["score"]) == (False, "released")
    assert options["filters"] == 3


@pytest.mark.parametrize("fitting", [Fitting(), Fitting(0.5, 3, "bfloat16")])
def test_json_round_trip(fitting: Fitting) -> None:
    recipe = replace(
        make("epochs=7"),
        fitting=fitting,
        start_from="runs/one",
        shuffled=True,
        name="mine",
        task="bend",
        label_range=(6.0, 30.0),
    )
    for own in (recipe, replace(recipe, label_range=None)):
        again = Recipe.from_json(own.to_json())
        assert again == own
        assert isinstance(again.fitting, Fitting)
        assert isinstance(again.seeds, tuple)


@pytest.mark.parametrize(
    "changed",
    [
        {"fitting": Fitting(clip_norm=1)},
        {"fitting": Fitting(patience=1)},
        {"fitting": Fitting(precision="float64")},
        {"start_from": "runs/one"},
        {"shuffled": True},
        {"features": {"features": FeatureKey("i3d.x")}},
        {"seeds": (0,)},
        {"name": "mine"},
        {"task": "bend"},
        {"label_range": (0.0, 1.0)},
    ],
)
def test_whatever_changes_numbers_makes_another_recipe(changed: dict[str, Any]) -> None:
    other = replace(make(), **changed)
    assert other != make()
    assert other.to_json() != make().to_json()


def test_fitting_is_given_from_outside() -> None:
    fitting = Fitting(2, 5, "float64")
    recipe = Recipe.make("svr", {}, "default", [0], fitting=fitting, start_from="runs/one")
    assert (recipe.fitting, recipe.start_from) == (fitting, "runs/one")


@pytest.mark.parametrize(
    "values", [{"clip_norm": -1}, {"patience": -1}, {"clip_norm": float("nan")}]
)
def test_fitting_out_of_range_is_refused(values: dict[str, float]) -> None:
    ((name, value),) = values.items()
    with pytest.raises(ValueError, match=f"{name} is {value}; it must be 0 or more"):
        Fitting(**values)  # type: ignore[arg-type]


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
        Recipe.make(ATTENTION, {}, "default", [])


@pytest.mark.parametrize(
    "damage",
    [
        lambda values: values.pop("head"),
        lambda values: values.update(extra=1),
        lambda values: values["options"].update(unknown=1),
        lambda values: values.pop("fitting"),
        lambda values: values["fitting"].update(extra=1),
        lambda values: values["fitting"].update(patience=-1),
        lambda values: values.update(fitting=None),
        lambda values: values.update(options=None),
        lambda values: values["options"].update(epochs="many"),
        lambda values: values.update(seeds=3),
        lambda values: values.update(label_range=3),
        lambda values: values.update(head=3),
    ],
)
def test_a_damaged_recipe_is_one_line(damage: object) -> None:
    values = json.loads(make().to_json())
    damage(values)  # type: ignore[operator]
    with pytest.raises(RecipeError):
        Recipe.from_json(json.dumps(values))


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", "3", "null", '"recipe"'])
def test_what_is_no_recipe_is_one_line(text: str) -> None:
    with pytest.raises(RecipeError, match="^not a recipe: .*; train the run again$"):
        Recipe.from_json(text)


# Names and labels.


def test_a_row_is_called_by_its_name_or_its_head_and_says_that_labels_are_noise() -> None:
    recipe = make()
    assert recipe.title == ATTENTION
    assert replace(recipe, name="mine").title == "mine"
    assert replace(recipe, name="mine", shuffled=True).title == "mine (labels shuffled)"
    assert replace(recipe, shuffled=True).title == f"{ATTENTION} (labels shuffled)"


@pytest.mark.parametrize(
    ("head", "scaled"), [("svr", True), ("c3d-lstm", True), ("ranksvm", False), (ATTENTION, False)]
)
def test_scores_are_on_the_scale_of_the_labels_where_the_head_learns_them(
    head: str, scaled: bool
) -> None:
    assert make(head=head).scaled is scaled


# Options from a file.


def test_options_of_a_file_take_the_type_of_the_option() -> None:
    found = typed_options(
        ATTENTION, {"epochs": 7, "noise": 0, "ranking": False, "score": "released"}
    )
    assert found == {"epochs": 7, "noise": 0.0, "ranking": False, "score": "released"}
    assert [type(value) for value in found.values()] == [int, float, bool, str]
    assert typed_options(ATTENTION, {}) == {}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"epoch": 3}, f"{ATTENTION} has no option 'epoch'; it has: filters"),
        ({"epochs": 3.0}, "epochs is 3.0; it must be a whole number"),
        ({"epochs": "3"}, "epochs is '3'; it must be a whole number"),
        ({"epochs": True}, "epochs is True; it must be a whole number"),
        ({"noise": "0.1"}, "noise is '0.1'; it must be a number"),
        ({"noise": False}, "noise is False; it must be a number"),
        ({"ranking": 1}, "ranking is 1; it must be true or false"),
        ({"ranking": "true"}, "ranking is 'true'; it must be true or false"),
        ({"score": "mine"}, "score is 'mine'; choose one of: paper, released"),
        ({"score": 3}, "score is '3'; choose one of: paper, released"),
    ],
)
def test_an_option_of_another_type_is_one_line(options: dict[str, Any], words: str) -> None:
    with pytest.raises(RecipeError) as caught:
        typed_options(ATTENTION, options)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
    with pytest.raises(RecipeError, match="no head 'nobody'"):
        typed_options("nobody", {})


def test_settings_go_over_options_and_these_over_defaults() -> None:
    given = {"epochs": 3, "hidden": 5}
    recipe = Recipe.make(ATTENTION, {}, "default", [0], ["epochs=9"], options=given)
    assert (recipe.options["epochs"], recipe.options["hidden"]) == (9, 5)
    assert recipe.options["filters"] == make().options["filters"]
    with pytest.raises(RecipeError, match=f"{ATTENTION}: epochs is 0"):
        Recipe.make(ATTENTION, {}, "default", [0], options={"epochs": 0})


# Roles.

RGB, FLOW = FeatureKey("resnet101.rgb.pool.x"), FeatureKey("resnet101.flow.pool.x")
KINEMATICS = [FeatureKey(f"kinematics.track.{name}.x") for name in ("primary", "secondary")]
SCENE = FeatureKey("i3d.rgb.logits.x")


def find(text: str) -> FeatureKey:
    """A store whose keys need no looking up."""
    return FeatureKey(text)


def test_one_feature_needs_no_role() -> None:
    assert assign_roles(ATTENTION, [RGB], find) == {"features": RGB}
    assert assign_roles(ATTENTION, [f"features={RGB}"], find) == {"features": RGB}


def test_a_key_alone_takes_the_role_of_its_stream_where_there_is_one() -> None:
    for words in ([FLOW, RGB], [RGB, FLOW], [f"flow={FLOW}", RGB]):
        assert list(assign_roles("deep-ranking", words, find).items()) == [
            ("rgb", RGB),
            ("flow", FLOW),
        ]
    assert assign_roles("deep-ranking", [FLOW], find) == {"flow": FLOW}
    assert assign_roles(ATTENTION, [FLOW], find) == {"features": FLOW}
    assert assign_roles("pairwise-mlp", [KINEMATICS[0]], find) == {"features": KINEMATICS[0]}


def test_roles_come_in_the_order_of_the_head() -> None:
    words = [f"scene={SCENE}", f"secondary={KINEMATICS[1]}", f"primary={KINEMATICS[0]}"]
    found = assign_roles("aim", words, find)
    assert (
        list(found) == [role.name for role in roles_of("aim")] == ["primary", "secondary", "scene"]
    )
    assert list(found.values()) == [*KINEMATICS, SCENE]


def test_altered_versions_are_numbered_and_stand_behind() -> None:
    variants = [FeatureKey(f"c3d.rgb.fc6.x-{n}") for n in range(12)]
    words = [*(f"variant={key}" for key in variants[:5]), RGB]
    words += [f"variant={key}" for key in variants[5:]]
    found = assign_roles("siamese-lstm", words, find)
    names = ["features", *(f"variant-{n}" for n in range(1, 13))]
    assert list(found.items()) == list(zip(names, [RGB, *variants], strict=True))
    recipe = Recipe.make("siamese-lstm", found, "default", [0])
    assert recipe.feature_text == RGB


def test_the_text_of_several_features_names_all() -> None:
    found = assign_roles("deep-ranking", [RGB, FLOW], find)
    assert Recipe.make("deep-ranking", found, "default", [0]).feature_text == f"{RGB} + {FLOW}"


@pytest.mark.parametrize(
    ("head", "words", "line"),
    [
        ("aim", [f"scene={SCENE}", f"flow={FLOW}"], "aim has no feature 'flow'; it has: primary ("),
        (
            ATTENTION,
            [f"rgb={RGB}"],
            "has no feature 'rgb'; it has: features (one vector a time ste",
        ),
        (ATTENTION, [RGB, FLOW], f": features is given twice, as {RGB} and {FLOW}; leave one out"),
        (
            "deep-ranking",
            [RGB, f"rgb={SCENE}"],
            f": rgb is given twice, as {RGB} and {SCENE}; leave",
        ),
        (
            "aim",
            [f"primary={KINEMATICS[0]}"],
            "aim needs scene (the whole scene, one vector a step",
        ),
        (
            "siamese-lstm",
            [f"variant={RGB}"],
            "siamese-lstm needs features (one vector a clip); give",
        ),
        (
            "deep-ranking",
            [],
            "deep-ranking needs rgb (one vector a segment, of its picture), flow (",
        ),
        ("nobody", [RGB], "no head 'nobody'; choose one of"),
    ],
)
def test_roles_that_do_not_fit_are_one_line(head: str, words: list[str], line: str) -> None:
    with pytest.raises(RecipeError) as caught:
        assign_roles(head, words, find)
    message = str(caught.value)
    assert line in message
    assert "\n" not in message
    if "needs" in line:
        assert message.endswith("; give each as --feature ROLE=KEY")
