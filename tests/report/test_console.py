"""Tables: every text shows whole and as text, and what went wrong is never left out."""

import math

from rich.console import Console

from aqakit.features.outcome import Outcome
from aqakit.models.run import Row
from aqakit.report.console import print_failures, print_outcomes, print_runs
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
    assert "1 videos, 2 pairs" in text
    assert text.count("control: duration") == 1
    assert "nan" not in text
    assert "careful" not in text
    print_runs(console, [[row("one", seen_test_pairs=3)]])
    assert "careful: 3 test pairs hold a video that also trains" in console.export_text()


def test_progress_is_silent_where_nobody_watches() -> None:
    console = shown()
    with bars(console) as show:
        show(Step("extract", 0.5, 2, "v1"))
    assert console.export_text().strip() == ""
    watched = Console(width=100, record=True, force_terminal=True)
    with bars(watched) as show:
        show(Step("extract", 1, 2, "[v1] 3/9"))
    assert "[v1] 3/9" in watched.export_text()
