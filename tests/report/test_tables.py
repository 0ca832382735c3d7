"""Tables for papers and programs: every number is in them, and no name breaks them."""

import csv
import dataclasses
import io
import math
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aqakit.models.head import Fitting
from aqakit.models.recipe import Recipe
from aqakit.models.recipe_file import Metric, PaperRow, Publication, Reported
from aqakit.models.row import Row
from aqakit.models.table import Compared, Line, ResultTable
from aqakit.report.tables import notes, numbers, render, tasks, words

NAN = math.nan
INTERVALS = ("interval", "subject_interval", "spearman_interval")


def row(name: str = "mine", **changes: Any) -> Row:
    """With another number in every field."""
    numbered: dict[str, Any] = {
        field.name: (place + 0.125 if field.type is float else place)
        for place, field in enumerate(dataclasses.fields(Row))
    }
    ends = {name: (place + 0.25, place + 0.5) for place, name in enumerate(INTERVALS)}
    return Row(**{**numbered, **ends, "name": name, "feature": "pose.x", **changes})


def bare(name: str = "mine", **changes: Any) -> Row:
    """With an accuracy and nothing else."""
    nothing: dict[str, Any] = {
        field.name: NAN if field.type is float else 0 for field in dataclasses.fields(Row)
    }
    nothing |= dict.fromkeys(INTERVALS, (NAN, NAN)) | {"accuracy": 0.5, "ties": 0.0, "seeds": 1}
    del nothing["name"]
    return row(name, **{**nothing, "feature": "pose.x", **changes})


RECIPE = Recipe.make("ranksvm", {}, "1", (0,))


def paper(*figures: tuple[str, Metric, float]) -> PaperRow:
    reported = tuple(Reported("made", task, metric, value, "t") for task, metric, value in figures)
    publication = Publication("p", "Title", "Authors", "CVPR 1999", ())
    return PaperRow(
        *("p/full", publication, "Ours", "ranksvm", {}, {}, Fitting(), None, reported, {}, {}, "")
    )


def line(own: Row, by_task: dict[str, Row] | None = None, **more: Any) -> Line:
    return Line(own, by_task or {}, **{"recipe": RECIPE, "dataset": "made", **more})


def table(*lines: Line, **more: Any) -> ResultTable:
    return ResultTable(lines, **more)


def markdown_cells(text: str) -> list[list[str]]:
    """The cells of each row, read as GitHub's specification says."""
    found = []
    for one in text.splitlines():
        if one.startswith("|"):
            cells = re.findall(r"((?:\\.|[^|\\])*)\|", one[1:])
            found.append([re.sub(r"\\([\\|])", r"\1", cell).strip() for cell in cells])
    return [found[0], *found[2:]]


def latex_cells(text: str) -> list[list[str]]:
    rows = re.findall(r"^(.*) \\\\$", text, flags=re.MULTILINE)
    return [[cell.strip() for cell in re.split(r"(?<!\\)&", one)] for one in rows]


def csv_of(made: ResultTable) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(render(made, "csv"))))


def by_place(made: ResultTable) -> dict[tuple[str, str], dict[str, str]]:
    return {(own["name"], own["task"]): own for own in csv_of(made)}


# CSV.


def test_csv_parses_back_with_every_number_of_every_row() -> None:
    by_task = {"bend": row(accuracy=0.75, mse=NAN), "": row(accuracy=0.25)}
    found = csv_of(table(line(row(), by_task), line(row("control: constant", feature=""))))
    assert [own["name"] for own in found] == ["mine"] * 3 + ["control: constant"]
    assert [own["task"] for own in found] == ["mean", "bend", "all", "mean"]
    for cells, own in zip(found, [row(), *by_task.values()], strict=False):
        for name, value in dataclasses.asdict(own).items():
            if name in INTERVALS:
                assert (float(cells[f"{name}_low"]), float(cells[f"{name}_high"])) == value
            elif isinstance(value, str):
                assert cells[name] == value
            else:
                assert float(cells[name] or NAN) == pytest.approx(value, nan_ok=True), name
    assert len(found[0]) == len(dataclasses.fields(Row)) + len(INTERVALS) + len(["task"]) + 6


def test_csv_holds_the_papers_figures_in_all_metrics_and_of_each_task() -> None:
    figures = paper(
        ("mean", "accuracy", 0.9),
        ("bend", "accuracy", 0.8),
        ("bend", "spearman", -0.5),
        ("mean", "mse", 3.0),
        ("mean", "mae", 4.0),
        ("mean", "relative-l2", 0.5),
        ("mean", "relative-l2-x100", 50.0),
    )
    made = table(line(row(), {"bend": row(), "lift": row()}, paper=figures), line(row("other")))
    found = {
        place: {
            name.removeprefix("published_"): float(cell)
            for name, cell in own.items()
            if name.startswith("published_") and cell
        }
        for place, own in by_place(made).items()
    }
    assert found == {
        ("mine", "mean"): {
            "accuracy": 0.9,
            "mse": 3,
            "mae": 4,
            "relative_l2": 0.5,
            "relative_l2_x100": 50,
        },
        ("mine", "bend"): {"accuracy": 0.8, "spearman": -0.5},
        ("mine", "lift"): {},
        ("other", "mean"): {},
    }


def test_the_figure_of_an_only_task_stands_beside_the_mean_of_it() -> None:
    made = table(line(row(), {"bend": row()}, paper=paper(("bend", "accuracy", 0.75))))
    assert [own["published_accuracy"] for own in csv_of(made)] == ["0.75", "0.75"]
    several = line(row(), {"bend": row(), "lift": row()}, paper=paper(("bend", "accuracy", 0.75)))
    found = [own["published_accuracy"] for own in csv_of(table(several))]
    assert found == ["", "0.75", ""]


def test_csv_holds_comparisons_where_there_are_any() -> None:
    lines = line(row(), {"bend": row(), "lift": row()}), line(row("base"), {"bend": row("base")})
    columns = ("difference", "p", "adjusted_p")
    assert not {*columns} & {*numbers(table(*lines)).columns}
    by_task = Compared("mine", "pose.x", "bend", -0.25, 0.01, 0.02, "t-test")
    for one, place in ((by_task, "bend"), (dataclasses.replace(by_task, task=""), "mean")):
        found = by_place(table(*lines, compared=(one,), against="base"))
        told = {key: tuple(own[name] for name in columns) for key, own in found.items()}
        assert told.pop(("mine", place)) == ("-0.25", "0.01", "0.02")
        assert {*told.values()} == {("", "", "")}


def test_a_task_may_be_called_as_the_mean_is() -> None:
    made = table(line(row(), {"mean": row(accuracy=0.75), "bend": row()}))
    found = [float(own["accuracy"]) for own in csv_of(made)]
    assert found == [row().accuracy, 0.75, row().accuracy]


# What stands in words.


def test_a_row_in_words() -> None:
    full = row(
        *("mine",),
        accuracy=0.9,
        accuracy_sd=0.012,
        interval=(0.8, 0.95),
        subject_interval=(0.7, 0.96),
        seen_none=0.85,
        seen_one=0.92,
        seen_test_pairs=7,
        spearman=0.5,
        kendall=0.4,
        pearson=0.3,
        mse=2.5,
        mae=1.5,
        relative_l2=0.01,
        ties=0.0625,
        seeds=3,
    )
    frame = words(table(line(full, paper=paper(("mean", "accuracy", 0.881)))))
    assert frame.iloc[0].to_dict() == {
        "row": "mine",
        "feature": "pose.x",
        "pairwise accuracy": "0.900 ± 0.012",
        "95 % interval, videos": "0.800 to 0.950",
        "95 % interval, subjects": "0.700 to 0.960",
        "published": "0.881",
        "seen none": "0.850",
        "seen one": "0.920",
        "spearman": "0.500",
        "kendall": "0.400",
        "pearson": "0.300",
        "mse": "2.500",
        "mae": "1.500",
        "relative l2": "0.010",
        "ties": "6.2%",
        "seeds": "3",
    }


def test_columns_in_which_nothing_would_stand_are_left_out() -> None:
    frame = words(table(line(bare()), line(bare("other"))))
    assert list(frame.columns) == ["row", "feature", "pairwise accuracy", "seeds"]
    assert frame["pairwise accuracy"].tolist() == ["0.500", "0.500"]


def test_unseen_pairs_alone_need_no_column() -> None:
    honest = bare(seen_none=0.5)
    mixed = bare("mixed", seen_none=0.4, seen_one=0.6, seen_test_pairs=3)
    assert "seen none" not in words(table(line(honest)))
    frame = words(table(line(honest), line(mixed)))
    assert frame["seen none"].tolist() == ["", "0.400"]
    assert frame["seen one"].tolist() == ["", "0.600"]


def test_published_figures_stand_beside_their_metrics() -> None:
    figures = paper(("mean", "spearman", 0.71), ("mean", "mse", 31.5), ("mean", "mae", 3.0))
    frame = words(table(line(bare(spearman=0.6, mse=30.0), paper=figures), line(bare("other"))))
    assert list(frame.columns[3:-1]) == [
        *("spearman", "spearman, published", "mse", "mse, published", "mae, published"),
    ]
    assert frame["spearman, published"].tolist() == ["0.710", ""]
    assert frame["mse, published"].tolist() == ["31.500", ""]


def test_one_comparison_a_row_is_a_column_and_several_are_not() -> None:
    lines = line(bare()), line(bare("base"))
    whole = Compared("mine", "pose.x", "", 0.1, 0.0123456, 0.0234567, "Wilcoxon")
    frame = words(table(*lines, compared=(whole,), against="base"))
    assert frame["p"].tolist() == ["0.0235", ""]
    each = tuple(dataclasses.replace(whole, task=name) for name in ("bend", "lift"))
    made = table(*lines, compared=each, against="base")
    assert "p" not in words(made)
    said = "\n".join(notes(made))
    for name in ("bend", "lift"):
        assert f"mine less base in {name}: +0.100, p = 0.0235." in said
    unknown = dataclasses.replace(whole, p=NAN, adjusted_p=NAN)
    assert "p" not in words(table(*lines, compared=(unknown,), against="base"))


def test_tasks_are_columns_and_published_rows_stand_below_ours() -> None:
    figures = paper(("mean", "accuracy", 0.9), ("bend", "accuracy", 0.0), ("x", "accuracy", 1.0))
    bend, lift = bare(accuracy=0.6, accuracy_sd=0.05), bare(accuracy=0.7)
    made = table(
        line(bare(accuracy=0.65), {"bend": bend, "lift": lift}, paper=figures),
        line(bare("other"), {"lift": lift}),
        line(bare("control: constant", feature="", accuracy=0.0), {"": lift}, recipe=None),
    )
    frame = tasks(made)
    assert frame.columns.tolist() == ["row", "feature", "mean", "bend", "lift", "all"]
    assert frame.to_numpy().tolist() == [
        ["mine", "pose.x", "0.650", "0.600 ± 0.050", "0.700", ""],
        ["mine, as published", "", "0.900", "0.000", "", ""],
        ["other", "pose.x", "0.500", "", "0.700", ""],
        ["control: constant", "", "0.000", "", "", "0.700"],
    ]


def test_a_figure_may_be_zero_and_an_empty_column_is_left_out() -> None:
    figures = paper(("mean", "accuracy", 0.0))
    bare_lines = line(bare(feature=""), {"bend": bare()}, paper=figures)
    frame = tasks(table(bare_lines))
    assert frame.columns.tolist() == ["row", "mean", "bend"]
    assert frame.to_numpy().tolist() == [
        ["mine", "0.500", "0.500"],
        ["mine, as published", "0.000", ""],
    ]


def test_a_task_called_as_a_column_is_a_column_too() -> None:
    by_task = {name: bare(accuracy=0.1 * n) for n, name in enumerate(("mean", "row", "feature"))}
    frame = tasks(table(line(bare(), by_task)))
    assert frame.columns.tolist() == ["row", "feature", "mean", "mean", "row", "feature"]
    assert frame.to_numpy().tolist() == [["mine", "pose.x", "0.500", "0.000", "0.100", "0.200"]]
    for form in ("markdown", "latex"):
        assert "0.200" in render(table(line(bare(), by_task)), form, by_task=True)


def test_notes_say_what_the_numbers_are_of() -> None:
    first = row(tasks=3, folds=12, test_pairs=345, test_videos=67, seen_test_pairs=89)
    measured, *rest = notes(table(line(first), line(row("other"))))
    for part in ("3 task(s)", "12 in all", "345 test pairs of 67 test videos"):
        assert part in measured
    assert "mine: 89 of 345 test pairs hold a video that also trains or validates." in rest


# Markdown and LaTeX.

HOSTILE = r"a|b\|c & d% _e_ $f$ #g {h} ~i ^j \k"


def test_markdown_holds_the_table_and_its_notes() -> None:
    made = table(line(bare()), line(bare("control: constant", feature="")))
    text = render(made, "markdown")
    assert markdown_cells(text) == [
        ["row", "feature", "pairwise accuracy", "seeds"],
        ["mine", "pose.x", "0.500", "1"],
        ["control: constant", "", "0.500", "1"],
    ]
    head, _, below = text.partition("\n\n")
    assert head.count("\n") == 3
    assert [f"- {note}" for note in notes(made)] == below.splitlines()
    assert text.endswith("\n")


@pytest.mark.parametrize("by_task", [False, True])
def test_no_name_breaks_markdown(by_task: bool) -> None:
    broken = bare(f"{HOSTILE}\nnext", feature="x|y", seen_test_pairs=3, test_pairs=4)
    text = render(table(line(broken, {"t|a\\sk": bare(), "\\": bare()})), "markdown", by_task)
    cells = markdown_cells(text)
    assert cells[1][:2] == [f"{HOSTILE} next", "x|y"]
    assert len({len(own) for own in cells}) == 1
    if by_task:
        assert cells[0][-2:] == ["t|a\\sk", "\\"]
    assert all(one.startswith(("|", "- ")) for one in text.splitlines() if one)


@given(st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Zl", "Zp", "Zs"))))
def test_any_name_comes_back_from_markdown(name: str) -> None:
    cells = markdown_cells(render(table(line(bare(f"x{name}x"))), "markdown"))
    assert [len(own) for own in cells] == [4, 4]
    assert cells[1][0] == f"x{name}x"


def test_latex_escapes_names_and_prints_the_deviation_as_a_sign() -> None:
    broken = bare(f"{HOSTILE}\nnext", accuracy_sd=0.05, interval=(0.25, 0.75))
    text = render(table(line(broken)), "latex")
    head, body = latex_cells(text)
    assert body[0] == (
        r"a|b\textbackslash |c \& d\% \_e\_ \$f\$ \#g \{h\} \textasciitilde i \textasciicircum j "
        r"\textbackslash k next"
    )
    assert head == ["row", "feature", "pairwise accuracy", r"95 \% interval, videos", "seeds"]
    assert body[2:] == [r"0.500 $\pm$ 0.050", "0.250 to 0.750", "1"]
    assert text.startswith(r"\begin{tabular}{lllll}")


@pytest.mark.parametrize("by_task", [False, True])
def test_notes_of_latex_are_comments_whatever_is_in_them(by_task: bool) -> None:
    broken = bare("one\ntwo\r\nthree", seen_test_pairs=3)
    text = render(table(line(broken, {"a_task & more": bare()})), "latex", by_task)
    _, _, below = text.partition("\\end{tabular}\n")
    assert len(below.splitlines()) == 2
    assert all(one.startswith("% ") for one in below.splitlines())
    assert "one two three: 3 of 0 test pairs" in below
    if by_task:
        assert latex_cells(text)[0][-1] == r"a\_task \& more"
