"""What stands in a cell, and what is said below a table."""

import dataclasses
import math
from typing import Any

import pytest

from aqakit.models.head import Fitting
from aqakit.models.recipe import Recipe
from aqakit.models.recipe_file import DatasetFacts, PaperRow, Publication
from aqakit.models.row import Row
from aqakit.models.table import Compared, Line, ResultTable
from aqakit.report.cells import called, counted, interval, number, remarks, shared, spread

NAN = math.nan
RECIPE = Recipe.make("ranksvm", {}, "1", (0,), options={"C": 2.0})


def row(name: str = "mine", **changes: Any) -> Row:
    values: dict[str, Any] = {
        field.name: NAN if field.type is float else 0 for field in dataclasses.fields(Row)
    }
    ends = {field: (NAN, NAN) for field in values if field.endswith("interval")}
    return Row(**{**values, **ends, "name": name, "feature": "pose.x", **changes})


def said(*lines: Line, **more: Any) -> list[str]:
    return remarks(ResultTable(lines, **more))


def line(own: Row, **more: Any) -> Line:
    return Line(own, {}, **{"recipe": RECIPE, **more})


def test_cells_are_empty_where_there_is_no_number() -> None:
    assert spread(row(accuracy=0.98765, accuracy_sd=0.01234)) == "0.988 ± 0.012"
    assert spread(row(accuracy=1.0)) == "1.000"
    assert spread(row(accuracy=0.5, accuracy_sd=0.0)) == "0.500 ± 0.000"
    assert interval((0.25, 0.75)) == "0.250 to 0.750"
    assert interval((NAN, NAN)) == ""
    assert (number(0.0), number(-0.12345), number(None), number(NAN)) == ("0.000", "-0.123", "", "")


def test_nothing_is_said_where_nothing_is_amiss() -> None:
    assert said(line(row(test_pairs=3, seeds=1)), line(row("other"))) == []


def test_what_is_seen_shared_lost_or_missing_is_said_of_each_row() -> None:
    first = row(seen_test_pairs=2, test_pairs=9, shared_subjects=4, folds=1)
    second = row("other", dropped_videos=5, dropped_pairs=6)
    assert said(line(first), line(second, absent=7)) == [
        "mine: 2 of 9 test pairs hold a video that also trains or validates.",
        "mine: 4 subjects train and are tested.",
        "other: 5 videos without features and 6 pairs are lost, over all folds.",
        "other: 7 runs are not there.",
    ]


def test_a_subject_of_several_folds_is_not_counted_as_several() -> None:
    assert shared(row(shared_subjects=8, folds=8)) == "1.0 subjects a fold train and are tested"
    assert shared(row(shared_subjects=10, folds=4)) == "2.5 subjects a fold train and are tested"
    assert shared(row(shared_subjects=8, folds=1)) == "8 subjects train and are tested"


def test_pairs_may_be_lost_though_no_video_is() -> None:
    assert said(line(row(dropped_pairs=6))) == [
        "mine: 0 videos without features and 6 pairs are lost, over all folds."
    ]


def test_what_cannot_be_read_is_counted_and_the_first_is_named() -> None:
    assert said(line(row()), unread=("runs/a is broken; mend it", "runs/b is too; mend it")) == [
        "2 files or runs cannot be read, first runs/a is broken; mend it."
    ]


@pytest.mark.parametrize(("absent", "missing", "told"), [(0, 3, 3), (5, 3, 5), (0, 0, 0)])
def test_missing_trainings_count_though_no_batch_planned_them(
    absent: int, missing: int, told: int
) -> None:
    expected = [f"mine: {told} runs are not there."] if told else []
    assert said(line(row(missing=missing), absent=absent)) == expected


def test_a_control_repeats_nothing() -> None:
    assert said(Line(row("control: constant", seen_test_pairs=2, shared_subjects=1), {})) == []


def test_a_row_that_is_left_out_is_named() -> None:
    assert said(line(row()), left_out=("torn",)) == [
        "torn is left out: no seed is there of all its folds."
    ]


def test_what_differs_from_a_paper_names_where_it_appeared() -> None:
    facts = DatasetFacts("made", "p", "best on test", None, "s")
    publication = Publication("p", "Title", "Authors", "CVPR 1999", (facts,))
    paper = PaperRow(
        *("p/full", publication, "Ours", "ranksvm", {"features": "i3d"}, {"C": 1.0}, Fitting()),
        *(None, (), {}, {}, ""),
    )
    assert said(line(row(dropped_pairs=4), paper=paper, dataset="made")) == [
        "mine: 0 videos without features and 4 pairs are lost, over all folds.",
        "mine, beside CVPR 1999: features is none, in the paper i3d.",
        "mine, beside CVPR 1999: C is 2.0, in the recipe 1.0.",
        "mine, beside CVPR 1999: 4 pairs lost, over all folds.",
    ]


def compared(name: str = "mine", task: str = "", p: float = 0.04, **changes: Any) -> Compared:
    fair = p / 2 if math.isnan(p) else 2 * p
    return dataclasses.replace(Compared(name, "pose.x", task, -0.0625, p, fair, "t"), **changes)


def test_each_comparison_is_said_and_where_its_p_comes_from_once() -> None:
    rows = [line(row(name)) for name in ("mine", "other", "base")]
    found = said(
        *rows,
        compared=(compared(), compared("other", "bend"), compared("other", "lift", NAN)),
        against="base",
    )
    assert found == [
        "mine less base: -0.062, p = 0.08.",
        "other less base in bend: -0.062, p = 0.08.",
        "other less base in lift: -0.062, no p.",
        # Where a test says nothing, none was made.
        (
            "p: accuracy against base, t, with Holm's correction for 2 comparisons. Folds or tasks "
            "with the same subjects are not independent; p is optimistic by as much."
        ),
    ]


def test_rows_of_one_name_are_told_apart_by_their_features() -> None:
    lines = [line(row(missing=1)), line(row(missing=2, feature="i3d.y")), line(row("base"))]
    found = said(*lines, compared=(compared(feature="i3d.y"),), against="base")
    assert found[:3] == [
        "mine on pose.x: 1 runs are not there.",
        "mine on i3d.y: 2 runs are not there.",
        "mine on i3d.y less base: -0.062, p = 0.08.",
    ]
    assert called(ResultTable(tuple(lines)), "base", "pose.x") == "base"


def test_one_is_no_plural() -> None:
    assert [counted(number, "video") for number in (0, 1, 2)] == ["0 videos", "1 video", "2 videos"]
