"""Tables: every text shows whole and as text, and what went wrong is never left out."""

import dataclasses
import io
import math
import sys
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from aqakit.features.catalog import Damage
from aqakit.features.dataset import Imported
from aqakit.features.manifest import Manifest, Pair, Video
from aqakit.features.outcome import Outcome
from aqakit.features.store import Failure, Overview
from aqakit.models.batch import Ended
from aqakit.models.head import Fitting
from aqakit.models.recipe import Recipe
from aqakit.models.recipe_file import PaperRow, Publication, Reported
from aqakit.models.row import Row
from aqakit.models.table import Compared, Line, ResultTable
from aqakit.report.console import (
    print_damages,
    print_datasets,
    print_ended,
    print_imported,
    print_listing,
    print_outcomes,
    print_recipes,
    print_runs,
    print_table,
    terminal,
)
from aqakit.report.progress import Step, bars


def shown(width: int = 200) -> Console:
    return Console(width=width, record=True, force_terminal=False)


def test_markup_in_names_is_shown_as_text() -> None:
    console = shown()
    print_outcomes(console, [Outcome("[red]v1[/red]", failure="[bold] is broken; mend it")])
    print_ended(console, [Ended("[x]", "failed", "because [y]")])
    text = console.export_text()
    for part in ("[red]v1[/red]", "[bold] is broken; mend it", "[x]: because [y]"):
        assert part in text


def test_a_long_reason_folds_and_is_not_cut() -> None:
    console = shown(60)
    reason = " ".join(f"word{number}" for number in range(40))
    print_outcomes(console, [Outcome("v", failure=reason)])
    text = console.export_text()
    assert all(word in text for word in reason.split())


def test_outcomes_are_counted_by_kind() -> None:
    console = shown()
    outcomes = [
        Outcome("a", 100, ("k",), seconds=1.5, notes=("c3d: 13 of 16 frames padded",)),
        Outcome("b", kept=("k",)),
        Outcome("c", failure="is empty", known_before=True),
        Outcome("d", notes=("another process has it in hand",)),
    ]
    print_outcomes(console, outcomes)
    text = console.export_text()
    assert "1 computed, 1 there already, 1 skipped, 1 failed" in text
    assert "13 of 16 frames padded" in text
    assert "--retry-failed tries again" in text
    assert "another process has it in hand" in text


def row(name: str, **changes: Any) -> Row:
    values: dict[str, Any] = {
        **{own.name: math.nan if own.type is float else 0 for own in dataclasses.fields(Row)},
        "feature": "flow-hist.flow.hist.x",
        "accuracy": 0.9,
        "accuracy_sd": 0.01,
        "interval": (0.8, 0.95),
        "ties": 0.0,
        "seeds": 3,
        "folds": 1,
        "tasks": 1,
        "train_pairs": 10,
        "test_pairs": 5,
        "test_videos": 4,
        "dropped_videos": 1,
        "dropped_pairs": 2,
    }
    return Row(**{**values, "name": name, **changes})


def test_runs_show_spread_interval_and_losses_and_shared_controls_once() -> None:
    console = shown()

    def control() -> Row:
        return row("control: duration", feature="", accuracy_sd=float("nan"), seeds=1)

    print_runs(console, [[row("one"), control()], [row("two"), control()]])
    text = console.export_text()
    assert "0.900 ± 0.010" in text
    assert "0.800 to 0.950" in text
    assert "1 videos have no features and are dropped; 2 pairs cannot be used" in text
    assert "flow-hist hist: 5 test pairs of 4 videos" in text
    assert text.count("control: duration") == 1
    assert "nan" not in text
    assert "careful" not in text
    print_runs(console, [[row("one", seen_test_pairs=3)]])
    assert "careful: 3 test pairs hold a video that also trains" in console.export_text()


def test_each_of_several_features_is_shown_short() -> None:
    console = shown()
    both = "resnet101.rgb.conv5.segments-25 + i3d.flow.pool.stacks-400"
    print_runs(console, [[row("one", feature=both, seen_test_pairs=3)]])
    text = console.export_text()
    assert "resnet101 conv5 + i3d pool: 5 test pairs of 4 videos" in text
    assert "segments-25" not in text


def test_columns_and_losses_are_shown_only_where_there_are_any() -> None:
    console = shown()
    print_runs(console, [[row("one", dropped_videos=0, dropped_pairs=0)]])
    text = console.export_text()
    for word in ("Spearman", "ties", "dropped"):
        assert word not in text
    print_runs(console, [[row("one", spearman=0.5, ties=0.25)]])
    text = console.export_text()
    for word in ("Spearman", "0.500", "ties", "25%"):
        assert word in text


def test_the_table_of_runs_keeps_its_numbers_whole_in_80_columns() -> None:
    long = row("rank-aware-attention (labels shuffled)", spearman=0.5, ties=1.0, seeds=20)
    for width in (80, 200):
        console = shown(width)
        print_runs(console, [[long], [row("control: duration, sign from training", feature="")]])
        text = console.export_text()
        for cell in ("0.900 ± 0.010", "0.800 to 0.950", "0.500", "100%", "   20", "seeds"):
            assert cell in text
        assert max(map(len, text.splitlines())) <= width
    names = "".join(line[:12].strip() for line in text.splitlines())
    assert "rank-aware-a" in names


def test_a_narrow_table_cuts_nothing_off() -> None:
    console = shown(50)
    print_runs(console, [[row("one", spearman=0.5, ties=1.0, seeds=12345)]])
    text = "".join(console.export_text().split())
    assert "12345" in text


def test_markup_in_a_store_is_shown_as_text() -> None:
    console = shown()
    what = "rows of [/red] are gone"
    print_damages(console, 1, [Damage(Path("x.h5"), ("[/b]",), what, "extract [/i] again")])
    failure = Failure("[/v]", "is [/odd]", None, ("i3d.rgb.pool.clips-2.i3d.random-0.float32",))
    overview = Overview(1, 2, ((3,),), 1, 0, 10)
    print_listing(console, [("[/key]", overview)], [failure])
    text = console.export_text()
    for part in (what, "[/b]", "extract [/i] again", "[/v]", "is [/odd]", "i3d pool", "[/key]"):
        assert part in text


def test_a_long_failure_stays_one_line() -> None:
    console = shown(60)
    print_ended(console, [Ended("ranksvm-i3d", "failed", "word " * 30 + "end")])
    first, second = console.export_text().splitlines()
    assert first == f"failed: ranksvm-i3d: {'word ' * 30}end"
    assert second == "0 runs trained, 0 there already, 1 failed"


def test_the_runs_of_a_batch_are_counted_by_what_became_of_them() -> None:
    console = shown()
    ended = [Ended("a", "trained"), Ended("b", "kept"), Ended("c", "trained")]
    print_ended(console, [*ended, Ended("d", "failed", "it broke; mend it")])
    assert console.export_text().splitlines() == [
        "failed: d: it broke; mend it",
        "2 runs trained, 1 there already, 1 failed",
    ]


# What batches, datasets and papers add.


def test_subjects_that_train_and_are_tested_are_told() -> None:
    console = shown()
    print_runs(console, [[row("one", shared_subjects=0)]])
    assert "careful" not in console.export_text()
    print_runs(console, [[row("one", shared_subjects=2)], [row("two", shared_subjects=3)]])
    assert "careful: 3 subjects train and are tested\n" in console.export_text()


def test_pairs_that_no_part_can_use_are_counted() -> None:
    console = shown()
    print_runs(console, [[row("one", dropped_videos=0, dropped_pairs=7)]])
    assert "5 test pairs of 4 videos; 7 pairs cannot be used\n" in console.export_text()


def test_seen_pairs_have_columns_where_there_are_any() -> None:
    console = shown()
    seen = row("mixed", seen_none=0.61, seen_one=0.72, seen_test_pairs=3)
    print_runs(console, [[row("honest", seen_none=0.9)]])
    assert "seen" not in console.export_text()
    print_runs(console, [[row("honest", seen_none=0.87)], [seen]])
    text = console.export_text()
    for part in ("seen none", "seen one", "0.610", "0.720"):
        assert part in text
    assert "0.870" not in text


def test_published_figures_stand_beside_their_row_alone() -> None:
    console = shown()
    rows = [[row("mine", spearman=0.5)], [row("mine", feature="i3d.rgb.pool.x", spearman=0.4)]]
    key = ("mine", "flow-hist.flow.hist.x")
    print_runs(console, rows, {key: {"accuracy": 0.812, "spearman": None}})
    text = console.export_text()
    assert text.count("0.812") == 1
    assert "0.812" in next(one for one in text.splitlines() if "flow-hist hist" in one)
    assert "Spearman published" not in text
    print_runs(console, rows, {key: {"accuracy": None, "spearman": 0.321}})
    header, _, first, *_ = console.export_text().splitlines()
    assert "Spearman published" in header
    assert "0.321" in first
    assert " published " not in header.replace("Spearman published", "")


def test_folds_and_tasks_are_counted_in_the_line_below() -> None:
    console = shown()
    whole = row("one", dropped_videos=0, dropped_pairs=0)
    more = dataclasses.replace(whole, folds=12, tasks=4, test_pairs=99)
    print_runs(console, [[more]])
    print_runs(console, [[dataclasses.replace(whole, folds=5)]])
    text = console.export_text()
    assert "flow-hist hist: 99 test pairs of 4 videos, in 12 folds of 4 tasks\n" in text
    assert "5 test pairs of 4 videos, in 5 folds of 1 task\n" in text


RECIPE = Recipe.make("ranksvm", {}, "1", (0,))
PUBLICATION = Publication("p", "Title", "Authors", "CVPR 1999", ())


def paper_row(**changes: Any) -> PaperRow:
    whole = PaperRow(
        *("p/full", PUBLICATION, "Ours [4]", "ranksvm", {"features": "i3d.rgb"}),
        options={"C": 2.0, "search": "off", "pooling": "first"},
        fitting=Fitting(patience=20),
        label_range=(6, 30.5),
        reported=(Reported("made", "mean", "accuracy", 0.875, "Table [2]"),),
        sources={"C": "section 5", "patience": "section [6]"},
        omitted={"search": "the head's own", "precision": "ours"},
        not_run="",
    )
    return dataclasses.replace(whole, **changes)


def test_a_table_shows_rows_controls_published_figures_and_remarks() -> None:
    console = shown()
    mine = Line(
        row("mine", missing=2),
        {},
        RECIPE,
        paper_row(options={}, features={}, fitting=Fitting()),
        "made",
    )
    control = row("control: constant", feature="", accuracy=0.0, accuracy_sd=math.nan)
    compared = Compared("mine", mine.row.feature, "", 0.1, 0.01, 0.02, "t-test")
    lines = mine, Line(row("base", dropped_videos=0), {}, RECIPE), Line(control, {})
    print_table(console, ResultTable(lines, (compared,), "base", ("[torn]",)))
    text = console.export_text()
    body = text.splitlines()
    for name, part in (
        ("mine", "0.875"),
        ("base", "0.900 ± 0.010"),
        ("control: constant", "0.000"),
    ):
        assert part in next(one for one in body if one.strip().startswith(name))
    assert text.count("0.875") == 1
    for part in (
        "mine: 2 runs are not there.",
        "mine less base: +0.100, p = 0.02.",
        "[torn] is left out",
        "with Holm's correction for 1 comparisons",
    ):
        assert part in text
    assert text.index("base") < text.index("control: constant")


def test_a_table_without_controls_is_one_too() -> None:
    console = shown()
    print_table(console, ResultTable((Line(row("mine"), {}, RECIPE),)))
    assert "mine" in console.export_text()


def test_datasets_are_listed_with_what_is_read() -> None:
    console = shown()
    print_datasets(console, {"one": "reads [this] file", "two": "reads that"})
    text = console.export_text()
    for part in ("one", "reads [this] file", "two", "reads that"):
        assert part in text


def test_an_import_counts_each_task_and_says_its_notes() -> None:
    console = shown()
    videos = (
        Video("a", Path("a.mp4"), task="[cut]", subject="x", score=1.0),
        Video("b", task="[cut]", subject="y", score=2.0),
        Video("c", task="sew"),
    )
    manifest = Manifest(videos, {}, (Pair("b", "a"),))
    print_imported(console, Imported(manifest, ("b", "c"), ("a [note]",)), Path("[out]"))
    text = console.export_text()
    cells = [one.split() for one in text.splitlines()]
    assert ["task", "videos", "absent", "subjects", "scored", "pairs", "lost", "pairs"] in cells
    assert ["[cut]", "2", "1", "2", "2", "1", "1"] in cells
    assert ["sew", "1", "1"] in cells
    assert "a [note]" in text
    assert "3 videos, 2 without a file, 1 pairs in [out]" in text


def test_rows_of_papers_are_listed_and_shown_whole_only_where_asked() -> None:
    console = shown()
    rows = [paper_row(name="[x]/full"), paper_row(name="p/none", head="", not_run="has [no] head")]
    print_recipes(console, rows, whole=False)
    text = console.export_text()
    for part in ("[x]/full", "Ours [4]", "ranksvm", "none: has [no] head"):
        assert part in text
    assert "section 5" not in text
    print_recipes(console, rows[:1], whole=True)
    shown_lines = [one.rstrip() for one in console.export_text().splitlines()]
    assert shown_lines[shown_lines.index("[x]/full") :] == [
        "[x]/full",
        "  features = i3d.rgb",
        "  labels from 6 to 30.5",
        "  C = 2.0  (section 5)",
        "  search = off  (omitted: the head's own)",
        "  patience = 20  (section [6])",
        "  precision = float32  (omitted: ours)",
        "  the paper's accuracy on made, mean: 0.875  (Table [2])",
    ]


def test_an_output_without_the_characters_shows_others(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="ascii"))
    console = terminal()
    console.print("0.9 ± 0.1")
    console.file.flush()
    assert raw.getvalue() == b"0.9 ? 0.1\n"


def test_progress_is_silent_where_nobody_watches() -> None:
    console = shown()
    with bars(console) as show:
        show(Step("extract", 0.5, 2, "v1"))
    assert console.export_text().strip() == ""
    watched = Console(width=100, record=True, force_terminal=True)
    with bars(watched) as show:
        show(Step("extract", 1, 2, "[v1] 3/9"))
    assert "[v1] 3/9" in watched.export_text()
