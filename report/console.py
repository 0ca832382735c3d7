"""Tables on a terminal."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from ..features.catalog import Damage
    from ..features.outcome import Outcome
    from ..features.store import Failure, Overview
    from ..models.run import Row

_MEGABYTE = 1e6
_FILE_COLUMNS = 200


def terminal() -> Console:
    """Where the tables go; wide enough for their longest cells where the output is a file."""
    console = Console()
    return console if console.is_terminal else Console(width=_FILE_COLUMNS)


def print_outcomes(console: Console, outcomes: Sequence[Outcome]) -> None:
    """The closing table of an extraction, and a line that counts."""
    table = _table("video", "frames", "features", "seconds", "result")
    for outcome in outcomes:
        table.add_row(
            Text(outcome.video_id),
            str(outcome.frames_decoded or ""),
            str(len(outcome.computed) or ""),
            f"{outcome.seconds:.1f}" if outcome.seconds else "",
            Text(_result(outcome)),
        )
    console.print(table)
    failed = sum(outcome.failure is not None for outcome in outcomes)
    computed = sum(bool(outcome.computed) for outcome in outcomes)
    kept = sum(bool(o.kept) and not o.computed and o.failure is None for o in outcomes)
    skipped = len(outcomes) - failed - computed - kept
    counts = [f"{computed} computed", f"{kept} there already", f"{failed} failed"]
    if skipped:
        counts.insert(2, f"{skipped} skipped")
    console.print(", ".join(counts))


def _result(outcome: Outcome) -> str:
    if outcome.failure is not None:
        return outcome.failure + " (known; --retry-failed tries again)" * outcome.known_before
    word = "done" if outcome.computed else "there already" if outcome.kept else "skipped"
    return "; ".join([word, *outcome.notes])


def print_listing(
    console: Console,
    features: Sequence[tuple[str, Overview]],
    failures: Sequence[Failure],
) -> None:
    """Features and failures of a store."""
    table = _table("feature", "videos", "rows", "row", "parts", "shards", "MB")
    for key, stored in features:
        shapes = ", ".join("x".join(map(str, shape)) for shape in stored.row_shapes)
        table.add_row(
            key,
            str(stored.videos),
            str(stored.rows),
            shapes,
            str(stored.parts),
            str(stored.shards),
            f"{stored.size_bytes / _MEGABYTE:.1f}",
        )
    console.print(table)
    if failures:
        failed = _table("failed video", "reason")
        for failure in failures:
            failed.add_row(Text(failure.video), Text(failure.reason))
        console.print(failed)


def print_damages(console: Console, checked: int, damages: Sequence[Damage]) -> None:
    """What a verification found."""
    if damages:
        table = _table("damaged file", "videos", "what", "cure")
        for damage in damages:
            videos = ", ".join(damage.videos)
            table.add_row(Text(str(damage.path)), Text(videos), damage.reason, damage.cure)
        console.print(table)
    console.print(f"{checked} (video, feature) entries read, {len(damages)} damaged files")


def print_runs(console: Console, runs: Sequence[Sequence[Row]]) -> None:
    """The rows of several runs; a control that two of them share stands once, at the end."""
    own = [run[0] for run in runs]
    # nan differs from itself, so rows are told apart by how they read.
    controls = {repr(row): row for run in runs for row in run[1:]}.values()
    table = _table("row", "feature", "pairwise accuracy", "95 % interval", "Spearman", "ties")
    for name in ("seeds", "test pairs", "test videos", "dropped"):
        table.add_column(name, justify="right")
    for row in [*own, *controls]:
        spread = "" if math.isnan(row.accuracy_sd) else f" ± {row.accuracy_sd:.3f}"
        low, high = row.interval
        table.add_row(
            Text(row.name),
            Text(_short(row.feature)),
            f"{row.accuracy:.3f}{spread}",
            "" if math.isnan(low) else f"{low:.3f} to {high:.3f}",
            "" if math.isnan(row.spearman) else f"{row.spearman:.3f}",
            f"{row.ties:.0%}",
            str(row.seeds),
            str(row.test_pairs),
            str(row.test_videos),
            f"{row.dropped_videos} videos, {row.dropped_pairs} pairs",
        )
    console.print(table)
    seen = max(row.seen_test_pairs for row in own)
    if seen:
        console.print(f"careful: {seen} test pairs hold a video that also trains")
    console.print("mean ± deviation over seeds; interval by resampling test videos; a tie is wrong")


def print_failures(console: Console, failures: Iterable[tuple[str, str]]) -> None:
    """Runs of a batch that could not be trained, with the reason."""
    for name, reason in failures:
        console.print(Text(f"failed: {name}: {reason}"))


def _short(key: str) -> str:
    """Backbone and layer of a feature's key."""
    words = key.split(".")
    return " ".join([words[0], *words[2:3]])


def _table(*names: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    numbers = {"frames", "features", "seconds", "rows", "parts", "shards", "MB"}
    for name in names:
        # A long cell folds; nothing is ever cut off.
        table.add_column(name, justify="right" if name in numbers else "left", overflow="fold")
    return table
