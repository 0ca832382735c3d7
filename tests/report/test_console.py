"""Tables: every text shows whole and as text, and what went wrong is never left out."""

import io
import math
import sys
from pathlib import Path

import pytest
from rich.console import Console

from aqakit.features.catalog import Damage
from aqakit.features.outcome import Outcome
from aqakit.features.store import Failure, Overview
from aqakit.models.run import Row
from aqakit.report.console import (
    print_damages,
    print_failures,
    print_listing,
    print_outcomes,
    print_runs,
    terminal,
)
from aqakit.report.progress import Step, bars


def shown(width: int = 200) -> Console:
    return Console(width=width, record=True, force_terminal=False)


def test_markup_in_names_is_shown_as_text() -> None:
    console = shown()
    print_outcomes(console, [Outcome("[red]v1[/red]", failure="[bold] is broken; mend it")])
    print_failures(console, [("[x]", "because [y]")])
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


def row(name: str, **changes: object) -> Row:
    values: dict[str, object] = {
        "name": name,
        "feature": "flow-hist.flow.hist.x",
        "accuracy": 0.9,
        "accuracy_sd": 0.01,
        "interval": (0.8, 0.95),
        "spearman": math.nan,
        "ties": 0.0,
        "seeds": 3,
        "train_pairs": 10,
        "test_pairs": 5,
        "test_videos": 4,
        "dropped_videos": 1,
        "dropped_pairs": 2,
        "seen_test_pairs": 0,
    }
    return Row(**{**values, **changes})  # type: ignore[arg-type]


def test_runs_show_spread_interval_and_losses_and_shared_controls_once() -> None:
    console = shown()

    def control() -> Row:
        return row("control: duration", feature="", accuracy_sd=float("nan"), seeds=1)

    print_runs(console, [[row("one"), control()], [row("two"), control()]])
    text = console.export_text()
    assert "0.900 ± 0.010" in text
    assert "0.800 to 0.950" in text
    assert "1 videos have no features and are dropped, and 2 pairs with them" in text
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
    console = shown(40)
    print_failures(console, [("ranksvm-i3d", "word " * 30 + "end")])
    assert console.export_text().count("\n") == 1


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
