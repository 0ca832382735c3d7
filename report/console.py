"""Tables on a terminal."""

from __future__ import annotations

import io
import math
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from ..features.catalog import Damage
    from ..features.dataset import Imported
    from ..features.outcome import Outcome
    from ..features.store import Failure, Overview
    from ..features.weights_file import FetchOutcome, WeightsFile
    from ..models.batch import Ended
    from ..models.recipe_file import PaperRow
    from ..models.row import Row
    from ..models.scoring import Neighbour, Placed, Scored
    from ..models.table import ResultTable
    from .page import Page

from ..features.dataset import count_tasks
from .cells import interval, number, remarks, shared, spread, with_deviation

_MEGABYTE = 1e6
_FILE_COLUMNS = 200
_ROW_NAME_COLUMNS = 12
_ROOM_FOR_NUMBERS = 80
_NUMBERS = {"frames", "features", "seconds", "rows", "parts", "shards", "MB"}
_NUMBERS |= {"published", "seen none", "seen one", "Spearman", "Spearman published"}
_NUMBERS |= {"ties", "seeds"}
_NUMBERS |= {"videos", "absent", "subjects", "scored", "pairs", "lost pairs"}


def terminal() -> Console:
    """Where the tables go; wide enough for their longest cells where the output is a file.

    A character that the output's encoding does not have becomes a question mark.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")
    console = Console()
    return console if console.is_terminal else Console(width=_FILE_COLUMNS)


def print_outcomes(
    console: Console,
    outcomes: Sequence[Outcome],
    done: str = "computed",
    *,
    briefly: bool = False,
) -> None:
    """The closing table of an extraction or an import, and a line that counts.

    Args:
        console: to print on.
        outcomes: one a video.
        done: what became of those that went well.
        briefly: leave them out of the table.
    """
    table = _table("video", "frames", "features", "seconds", "result")
    shown = [one for one in outcomes if one.failure or not briefly]
    for outcome in shown:
        table.add_row(
            Text(outcome.video_id),
            str(outcome.frames_decoded or ""),
            str(len(outcome.computed) or ""),
            f"{outcome.seconds:.1f}" if outcome.seconds else "",
            Text(_result(outcome)),
        )
    if shown:
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


def print_runs(
    console: Console,
    runs: Sequence[Sequence[Row]],
    published: Mapping[tuple[str, str], Mapping[str, float | None]] = MappingProxyType({}),
) -> None:
    """The rows of several runs; a control that two of them share stands once, at the end.

    Args:
        console: to print on.
        runs: rows of each, its own first.
        published: by name and feature of a row, its paper's own figures, by metric.
    """
    own = [run[0] for run in runs]
    # nan differs from itself, so rows are told apart by how they read.
    controls = {repr(row): row for run in runs for row in run[1:]}.values()
    rows = [*own, *controls]

    def figure(metric: str) -> Callable[[Row], str]:
        return lambda row: number(published.get((row.name, row.feature), {}).get(metric))

    cells: dict[str, Callable[[Row], str]] = {
        "row": lambda row: row.name,
        "feature": lambda row: _short(row.feature),
        "accuracy": spread,
        "95 % interval": lambda row: interval(row.interval),
        "published": figure("accuracy"),
        "seen none": lambda row: number(row.seen_none) if row.seen_test_pairs else "",
        "seen one": lambda row: number(row.seen_one),
        "Spearman": lambda row: number(row.spearman),
        "Spearman published": figure("spearman"),
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
        console.print(f"careful: {seen} test pairs hold a video that also trains or validates")
    most = max(own, key=lambda row: row.shared_subjects)
    if most.shared_subjects:
        console.print(f"careful: {shared(most)}")
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
    if row.folds > 1:
        sentence += f", in {row.folds} folds of {row.tasks} task{'s' * (row.tasks > 1)}"
    if row.dropped_videos:
        sentence += f"; {row.dropped_videos} videos have no features and are dropped"
    if row.dropped_pairs:
        sentence += f"; {row.dropped_pairs} pairs cannot be used"
    return sentence


def print_table(console: Console, table: ResultTable) -> None:
    """The rows of a batch, then controls, what the papers say, and what differs from them."""
    trained = [[line.row] for line in table.lines if line.recipe is not None]
    trained[0] += [line.row for line in table.lines if line.recipe is None]
    published = {
        (line.row.name, line.row.feature): {
            "accuracy": line.published(),
            "spearman": line.published("spearman"),
        }
        for line in table.lines
    }
    print_runs(console, trained, published)
    for sentence in remarks(table):
        console.print(Text(sentence))


def print_ended(console: Console, ended: Sequence[Ended]) -> None:
    """Runs of a batch that could not be trained, with the reason, and a line that counts."""
    for one in ended:
        if one.state == "failed":
            console.print(Text(f"failed: {one.place}: {one.reason}"), soft_wrap=True)
    count = Counter(one.state for one in ended)
    console.print(
        f"{count['trained']} runs trained, {count['kept']} there already, {count['failed']} failed"
    )


def print_scores(console: Console, scored: Scored) -> None:
    """New videos, the best first; then what is to be known of each, and those without a score."""
    placed = [(video.id, video.placed) for video in scored.videos if video.placed is not None]
    table = _table("video", "score", "place", "better than", "next better", "next worse")
    for id, one in placed:
        table.add_row(
            *map(
                Text,
                (
                    id,
                    with_deviation(one.score, one.deviation),
                    _place(one),
                    f"{one.percentile:.0f} %",
                ),
            ),
            *map(Text, (_neighbour(one.better), _neighbour(one.worse))),
        )
    if placed:
        console.print(table)
    for video in scored.videos:
        for note in video.notes:
            console.print(Text(f"{video.id}: {note}"), soft_wrap=True)
    for video in scored.videos:
        if video.failure:
            console.print(Text(f"failed: {video.id}: {video.failure}"), soft_wrap=True)
    if placed:
        for sentence in _how_scored(scored, placed[0][1]):
            console.print(sentence)
    console.print(f"{len(placed)} scored, {len(scored.videos) - len(placed)} failed")


def _place(one: Placed) -> str:
    best, worst = one.seed_ranks
    return f"{one.rank} of {one.of}" + f" ({best} to {worst})" * (best != worst)


def _neighbour(one: Neighbour | None) -> str:
    if one is None:
        return "none"
    return one.id if math.isnan(one.label) else f"{one.id} (label {one.label:g})"


def _how_scored(scored: Scored, one: Placed) -> Iterator[str]:
    several = len(scored.seeds) > 1
    yield (
        "place among the training videos and the video itself, and than how many of them it is better"
        + "; in brackets the best and the worst place by a single seed" * several
    )
    if scored.scaled:
        yield "score on the scale of the labels" + ", mean ± deviation over seeds" * several
    else:
        yield (
            "score on a scale on which training videos have mean 0 and deviation 1"
            + "; mean ± deviation over seeds" * several
        )


def print_datasets(console: Console, datasets: Mapping[str, str]) -> None:
    """What can be imported."""
    table = _table("dataset", "what is read")
    for name, summary in datasets.items():
        table.add_row(name, Text(summary))
    console.print(table)


def print_imported(console: Console, imported: Imported, out: Path) -> None:
    """Counts of each task, and what the importer has to say."""
    table = _table("task", "videos", "absent", "subjects", "scored", "pairs", "lost pairs")
    for task in count_tasks(imported):
        cells = (
            task.videos,
            task.absent,
            task.subjects,
            task.scored,
            task.pairs,
            task.absent_pairs,
        )
        table.add_row(Text(task.task), *(str(cell or "") for cell in cells))
    console.print(table)
    for note in imported.notes:
        console.print(Text(note))
    console.print(
        Text(
            f"{len(imported.manifest.videos)} videos, {len(imported.absent)} without a file, "
            f"{len(imported.manifest.pairs)} pairs in {out}"
        )
    )


def print_recipes(console: Console, rows: Sequence[PaperRow], whole: bool) -> None:
    """Rows of papers; with their settings and the papers' own figures where ``whole``."""
    table = _table("recipe", "as the paper calls it", "head")
    for row in rows:
        table.add_row(Text(row.name), Text(row.title), Text(row.head or f"none: {row.not_run}"))
    console.print(table)
    for row in rows if whole else ():
        console.print(Text(row.name))
        for line in _recipe_lines(row):
            console.print(Text(f"  {line}"), soft_wrap=True)


def _recipe_lines(row: PaperRow) -> Iterator[str]:
    for role, key in row.features.items():
        yield f"{role} = {key}"
    if row.label_range is not None:
        yield "labels from {:g} to {:g}".format(*row.label_range)
    for name, value in {**row.options, **vars(row.fitting)}.items():
        if name in row.sources:
            yield f"{name} = {value}  ({row.sources[name]})"
        elif name in row.omitted:
            yield f"{name} = {value}  (omitted: {row.omitted[name]})"
    for figure in row.reported:
        where = f"{figure.dataset}, {figure.task}"
        yield f"the paper's {figure.metric} on {where}: {figure.value:g}  ({figure.source})"


def print_report(console: Console, page: Page, path: Path) -> None:
    """Where a page is, how large, and what it lacks."""
    told = sum(entry.story is not None for entry in page.entries)
    played = sum(bool(entry.film.copy or entry.film.link) for entry in page.entries)
    size = _megabytes(path.stat().st_size)
    console.print(
        Text(f"{path}: {len(page.entries)} videos, {told} explained, {played} to play, {size} MB"),
        soft_wrap=True,
    )
    lacking = [entry.untold or entry.film.missing for entry in page.entries]
    for reason, count in Counter(filter(None, lacking)).most_common(3):
        console.print(Text(f"{count} of them: {reason}"), soft_wrap=True)


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
