"""Tables on a terminal."""

from __future__ import annotations

import io
import math
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from ..features.catalog import Damage
    from ..features.outcome import Outcome
    from ..features.store import Failure, Overview
    from ..features.weights_file import FetchOutcome, WeightsFile
    from ..models.run import Row

_MEGABYTE = 1e6
_FILE_COLUMNS = 200
_ROW_NAME_COLUMNS = 12
_ROOM_FOR_NUMBERS = 80
_NUMBERS = {"frames", "features", "seconds", "rows", "parts", "shards", "MB"}
_NUMBERS |= {"Spearman", "ties", "seeds"}


def terminal() -> Console:
    """Where the tables go; wide enough for their longest cells where the output is a file.

    A character that the output's encoding does not have becomes a question mark.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")
    console = Console()
    return console if console.is_terminal else Console(width=_FILE_COLUMNS)


def print_outcomes(console: Console, outcomes: Sequence[Outcome], done: str = "computed") -> None:
    """The closing table of an extraction or an import, and a line that counts."""
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
    computed = sum(bool(o.computed) and o.failure is None for o in outcomes)
    kept = sum(bool(o.kept) and not o.computed and o.failure is None for o in outcomes)
    skipped = sum(outcome.skipped for outcome in outcomes)
    counts = [f"{computed} {done}", f"{kept} there already", f"{failed} failed"]
    if skipped:
        counts.insert(2, f"{skipped} skipped")
    console.print(", ".join(counts))
    _print_spent(console, outcomes)


def _print_spent(console: Console, outcomes: Sequence[Outcome]) -> None:
    """Where the time of all processes went, the most first."""
    stages = dict.fromkeys(stage for outcome in outcomes for stage in outcome.spent)
    spent = {stage: sum(one.spent.get(stage, 0.0) for one in outcomes) for stage in stages}
    total = sum(spent.values())
    if total:
        ordered = sorted(spent, key=spent.__getitem__, reverse=True)
        shares = [f"{stage} {spent[stage] / total:.0%}" for stage in ordered]
        console.print(f"time went into {', '.join(shares)}")


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
            Text(key),
            str(stored.videos),
            str(stored.rows),
            shapes,
            str(stored.parts),
            str(stored.shards),
            f"{stored.size_bytes / _MEGABYTE:.1f}",
        )
    console.print(table)
    if failures:
        failed = _table("failed video", "wanted", "reason")
        for failure in failures:
            wanted = dict.fromkeys(map(_short, failure.keys))
            failed.add_row(Text(failure.video), Text(", ".join(wanted)), Text(failure.reason))
        console.print(failed)


def print_damages(console: Console, checked: int, damages: Sequence[Damage]) -> None:
    """What a verification found."""
    if damages:
        table = _table("damaged file", "videos", "what", "cure")
        for damage in damages:
            videos = ", ".join(damage.videos)
            table.add_row(
                Text(str(damage.path)), Text(videos), Text(damage.reason), Text(damage.cure)
            )
        console.print(table)
    console.print(f"{checked} (video, feature) entries read, {len(damages)} damaged files")


def print_runs(console: Console, runs: Sequence[Sequence[Row]]) -> None:
    """The rows of several runs; a control that two of them share stands once, at the end."""
    own = [run[0] for run in runs]
    # nan differs from itself, so rows are told apart by how they read.
    controls = {repr(row): row for run in runs for row in run[1:]}.values()
    rows = [*own, *controls]
    cells: dict[str, Callable[[Row], str]] = {
        "row": lambda row: row.name,
        "feature": lambda row: _short(row.feature),
        "accuracy": _accuracy,
        "95 % interval": _interval,
        "Spearman": lambda row: "" if math.isnan(row.spearman) else f"{row.spearman:.3f}",
        "ties": lambda row: f"{row.ties:.0%}" if row.ties else "",
        "seeds": lambda row: str(row.seeds),
    }
    table = _run_table([{name: of(row) for name, of in cells.items()} for row in rows])
    if console.width >= _ROOM_FOR_NUMBERS:  # else numbers must fold as well, not be cut off
        table.columns[0].min_width = _ROW_NAME_COLUMNS
        for column in table.columns[1:]:
            column.no_wrap = column.header != "feature"
    console.print(table)
    for sentence in dict.fromkeys(map(_tested, own)):
        console.print(Text(sentence))
    seen = max(row.seen_test_pairs for row in own)
    if seen:
        console.print(f"careful: {seen} test pairs hold a video that also trains")
    console.print(
        "accuracy is the share of test pairs in the right order, a tie is wrong; mean ± deviation "
        "over seeds; interval by resampling test videos"
    )


def _run_table(rows: Sequence[Mapping[str, str]]) -> Table:
    # A column in which no row has something to say takes room from the others.
    shown = [name for name in rows[0] if any(row[name] for row in rows)]
    table = _table(*shown)
    table.padding, table.show_edge = (0, 1, 0, 0), False
    for row in rows:
        table.add_row(*(Text(row[name]) for name in shown))
    return table


def _tested(row: Row) -> str:
    sentence = f"{_short(row.feature)}: {row.test_pairs} test pairs of {row.test_videos} videos"
    if row.dropped_videos:
        sentence += (
            f"; {row.dropped_videos} videos have no features and are dropped, and "
            f"{row.dropped_pairs} pairs with them"
        )
    return sentence


def _accuracy(row: Row) -> str:
    spread = "" if math.isnan(row.accuracy_sd) else f" ± {row.accuracy_sd:.3f}"
    return f"{row.accuracy:.3f}{spread}"


def _interval(row: Row) -> str:
    low, high = row.interval
    return "" if math.isnan(low) else f"{low:.3f} to {high:.3f}"


def print_failures(console: Console, failures: Iterable[tuple[str, str]]) -> None:
    """Runs of a batch that could not be trained, with the reason."""
    for name, reason in failures:
        console.print(Text(f"failed: {name}: {reason}"), soft_wrap=True)


def print_weights(console: Console, files: Sequence[WeightsFile]) -> None:
    """Known files of weights; below the table, where others are to be had, or what is wrong."""
    table = _table("file", "backbone", "MB", "licence", "SHA-256", "keys", "state")
    for file in files:
        table.add_row(
            Text(file.name),
            ", ".join(file.backbones),
            _megabytes(file.size_bytes),
            Text(file.licence),
            file.checksum,
            Text(file.layout),
            f"partial, {file.detail}" if file.state == "partial" else file.state,
        )
    console.print(table)
    for file in files:
        if file.state in ("missing", "partial") and file.urls:
            console.print(Text(f"{file.name} is at {' or '.join(file.urls)}"), soft_wrap=True)
        if file.state == "damaged":
            cure = f"run 'aqakit weights fetch {file.name}' to replace it"
            console.print(Text(f"damaged: {file.name} {file.detail}; {cure}"))
    here = sum(file.state in ("present", "damaged") for file in files)
    damaged = sum(file.state == "damaged" for file in files)
    console.print(f"{here} of {len(files)} files are here, {damaged} damaged")


def print_fetched(console: Console, outcomes: Sequence[FetchOutcome]) -> None:
    """What became of files of weights that were to be fetched, and a line that counts."""
    table = _table("file", "MB", "SHA-256", "from", "result")
    for outcome in outcomes:
        word = "fetched" if outcome.url else "there already"
        table.add_row(
            Text(outcome.name),
            _megabytes(outcome.size_bytes),
            outcome.sha256[:12],
            Text(outcome.url),
            Text(outcome.failure or "; ".join([word, *outcome.notes])),
        )
    console.print(table)
    failed = sum(outcome.failure is not None for outcome in outcomes)
    console.print(f"{len(outcomes) - failed} here, {failed} failed")


def _megabytes(size_bytes: int | None) -> str:
    return "" if size_bytes is None else f"{size_bytes / _MEGABYTE:.1f}"


def _short(keys: str) -> str:
    """Backbone and layer of each feature's key."""
    words = [key.split(".") for key in keys.split(" + ")]
    return " + ".join(" ".join([one[0], *one[2:3]]) for one in words)


def _table(*names: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in names:
        # A long cell folds; nothing is ever cut off.
        table.add_column(name, justify="right" if name in _NUMBERS else "left", overflow="fold")
    return table
