"""Warnings: each has its cause and its numbers, and a large clean run has none."""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from aqakit.models.recipe import Recipe
from aqakit.models.row import Row
from aqakit.report.warnings import warnings_of

NAN = math.nan
DEEP = Recipe.make("rank-aware-attention", {"features": "i3d.rgb.pool"}, "default", range(3))
PLAIN = Recipe.make("ranksvm", {"features": "i3d.rgb.pool"}, "default", [0])

CLEAN = Row(
    name="rank-aware-attention",
    feature="i3d.rgb.pool",
    accuracy=0.85,
    accuracy_sd=0.01,
    interval=(0.8, 0.9),
    subject_interval=(0.78, 0.92),
    seen_none=0.85,
    seen_one=NAN,
    spearman=0.8,
    spearman_interval=(0.7, 0.9),
    kendall=0.6,
    pearson=0.8,
    mse=NAN,
    mae=NAN,
    relative_l2=NAN,
    relative_l2_x100=NAN,
    ties=0.0,
    seeds=3,
    folds=1,
    tasks=1,
    train_pairs=5000,
    test_pairs=900,
    test_videos=100,
    dropped_videos=0,
    dropped_pairs=0,
    seen_test_pairs=0,
    shared_subjects=0,
)


def control(accuracy: float, name: str = "control: shorter is better") -> Row:
    return replace(CLEAN, name=name, feature="", accuracy=accuracy, accuracy_sd=NAN, seeds=1)


def warned(controls: Sequence[Row] = (), recipe: Recipe = DEEP, **changes: Any) -> list[str]:
    return warnings_of(replace(CLEAN, **changes), controls, recipe)


def test_a_large_clean_run_has_none() -> None:
    controls = [
        control(0.5),
        control(0.6, "control: subject mean"),
        control(0.0, "control: constant"),
    ]
    assert warned(controls) == []
    assert warned(controls, subject_interval=(NAN, NAN), interval=(NAN, NAN)) == []
    patient = replace(DEEP, fitting=replace(DEEP.fitting, patience=0))
    assert warned(controls, patient) == []


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (
            {"accuracy": 0.6, "interval": (0.45, 0.75)},
            (
                "The accuracy, 0.600, may be no better than a coin's 0.5; its 95 % interval is 0.450 to "
                "0.750."
            ),
        ),
        (
            {"accuracy": 0.5, "interval": (NAN, NAN)},
            "The accuracy, 0.500, is no better than a coin's 0.5.",
        ),
        (
            {"accuracy": 0.4, "interval": (0.3, 0.45)},
            (
                "The accuracy, 0.400, is no better than a coin's 0.5; its 95 % interval is 0.300 to "
                "0.450."
            ),
        ),
        (
            {"subject_interval": (0.5, 0.99)},
            (
                "For other subjects the accuracy, 0.850, may be no better than a coin's 0.5; its 95 % "
                "interval over subjects is 0.500 to 0.990."
            ),
        ),
        (
            {"seen_test_pairs": 100, "seen_none": 0.71},
            (
                "100 of 900 test pairs hold a video that also trained or chose the epoch, which flatters "
                "the accuracy; on the other 800 it is 0.710."
            ),
        ),
        (
            {"seen_test_pairs": 900, "seen_none": NAN},
            (
                "900 of 900 test pairs hold a video that also trained or chose the epoch, which flatters "
                "the accuracy; no other is left."
            ),
        ),
        (
            {"shared_subjects": 4},
            "4 subjects both train and are tested; the accuracy on somebody new may be lower.",
        ),
        (
            {"shared_subjects": 1},
            "1 subject both trains and is tested; the accuracy on somebody new may be lower.",
        ),
        (
            {"test_videos": 19},
            (
                "Few were tested, 19 videos and 900 pairs, so the accuracy is rough: the 95 % interval "
                "goes from 0.800 to 0.900."
            ),
        ),
        (
            {"test_pairs": 49, "interval": (NAN, NAN)},
            "Few were tested, 100 videos and 49 pairs, so the accuracy is rough.",
        ),
        (
            {"dropped_videos": 1, "dropped_pairs": 5},
            (
                "1 video without features and 5 pairs were left out; if these were the hard ones, the "
                "accuracy is flattering."
            ),
        ),
        (
            {"dropped_pairs": 1},
            "1 pair was left out; if these were the hard ones, the accuracy is flattering.",
        ),
        ({"missing": 1}, "1 training is not there, so the means are over fewer."),
        ({"missing": 2}, "2 trainings are not there, so the means are over fewer."),
        (
            {"ties": 0.0625},
            (
                "6.2% of the test pairs have equal scores, which count as wrong: the model cannot tell "
                "these videos apart."
            ),
        ),
        (
            {"seeds": 1, "accuracy_sd": NAN},
            (
                "It was trained once, with one seed; another seed gives other numbers, and nobody knows "
                "how different."
            ),
        ),
        (
            {"accuracy_sd": 0.05},
            (
                "Trainings that differ by the seed alone differ much: the accuracy's deviation over 3 "
                "seeds is 0.050."
            ),
        ),
    ],
)
def test_each_cause_has_its_sentence_and_no_other(changes: dict[str, Any], expected: str) -> None:
    assert warned(**changes) == [expected]


def test_just_enough_is_no_cause() -> None:
    assert warned(test_videos=20, test_pairs=50, accuracy_sd=0.049, interval=(0.501, 0.9)) == []


def test_a_head_without_chance_needs_one_seed() -> None:
    assert warned(recipe=PLAIN, seeds=1, accuracy_sd=NAN) == []


def test_a_control_that_does_as_well_and_one_that_comes_close_are_told_apart() -> None:
    assert warned([control(0.85)]) == [
        (
            "The control 'shorter is better' (0.850) does at least as well as this run, 0.850, without "
            "learning skill from the videos; so the run need not have learned any."
        )
    ]
    assert warned([control(0.8)]) == [
        (
            "The control 'shorter is better' (0.800) learns no skill from the videos and yet lies within "
            "the 95 % interval of this run's 0.850, 0.800 to 0.900: the test videos are too few to tell "
            "them apart."
        )
    ]
    several = [control(0.9), control(0.95, "shuffled"), control(0.81), control(0.82, "control: x")]
    above, close = warned(several)
    assert above.startswith("The controls 'shuffled' (0.950) and 'shorter is better' (0.900) do at")
    assert close.startswith(
        "The controls 'x' (0.820) and 'shorter is better' (0.810) learn no skill"
    )
    assert "and yet lie within" in close
    assert warned([control(0.799)]) == []
    # Within an interval that chance is in as well, what is no better than chance says no more.
    chance, close = warned([control(0.45), control(0.55)], accuracy=0.6, interval=(0.4, 0.8))
    assert chance.startswith("The accuracy, 0.600, may be no better")
    assert close.startswith("The control 'shorter is better' (0.550) learns")


def test_an_accuracy_without_an_interval_is_compared_with_controls_that_are_better() -> None:
    assert warned([control(0.8)], interval=(NAN, NAN)) == []
    assert len(warned([control(0.9)], interval=(NAN, NAN))) == 1


def test_a_run_on_shuffled_labels_is_a_control_and_blamed_for_nothing_else_by_chance() -> None:
    shuffled = replace(DEEP, shuffled=True)
    by_chance = {"accuracy": 0.5, "interval": (0.4, 0.6), "accuracy_sd": 0.2}
    (sentence,) = warned([control(0.9)], shuffled, **by_chance)
    assert sentence.startswith("This run is itself a control: it learned from shuffled labels")
    first, second = warned([], shuffled, **by_chance, test_videos=3)
    assert (first, "Few were tested" in second) == (sentence, True)


def test_what_is_worst_comes_first() -> None:
    found = warned(
        [control(0.7), control(0.55, "control: subject mean")],
        accuracy=0.6,
        interval=(0.4, 0.8),
        seen_test_pairs=5,
        shared_subjects=2,
        test_videos=5,
        dropped_videos=1,
        missing=1,
        ties=0.1,
        accuracy_sd=0.2,
    )
    causes = (
        *("may be no better than a coin", "at least as well", "also trained", "yet lies within"),
        *("both train", "Few were", "left out", "not there", "equal scores", "by the seed alone"),
    )
    assert len(found) == len(causes)
    for sentence, cause in zip(found, causes, strict=True):
        assert cause in sentence
        assert sentence.endswith(".")
        assert sentence[0].isupper() or sentence[0].isdigit()
