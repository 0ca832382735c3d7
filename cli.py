"""The commands. Each parses its options, calls one function of ``pipeline`` and prints.

Libraries are imported inside the commands, so that ``--help`` is there at once.
"""

import dataclasses
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from . import __version__
from .features.errors import UserError

PARTLY_FAILED = 3

_path = click.Path(path_type=Path)
_store = click.option("--store", required=True, type=_path, help="Folder that holds the features.")
_out = click.option("--out", required=True, type=_path, help="Folder to write.")
_overwrite = click.option("--overwrite", is_flag=True, help="Replace what is there already.")


class _Group(click.Group):
    """Turns an error that the user can mend into one line and exit status 1."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except UserError as error:
            raise click.ClickException(str(error)) from None


def _training_options(command: Callable[..., None]) -> Callable[..., None]:
    """What training one head and training many have in common."""
    options = [
        click.argument("manifest", type=_path),
        click.option("--pairs", type=_path, help="File of pairs 'better worse', CSV or plain."),
        _store,
        click.option(
            "--split",
            default="default",
            show_default=True,
            help="NAME of the column split_NAME; 'default' is the column split.",
        ),
        click.option("--seeds", default=3, show_default=True, help="Repeat with this many seeds."),
        click.option(
            "--shuffle-pairs", is_flag=True, help="Control: turn half of the training pairs round."
        ),
        click.option("--device", default="cpu", show_default=True, help="For deep heads."),
        _overwrite,
    ]

    @functools.wraps(command)
    def with_training(**values: Any) -> None:
        from .pipeline import Training

        common = {field.name: values.pop(field.name) for field in dataclasses.fields(Training)}
        command(training=Training(**common), **values)

    wrapped: Callable[..., None] = with_training
    for option in reversed(options):
        wrapped = option(wrapped)
    return wrapped


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="aqakit")
def main() -> None:
    """Score how well an action is performed in a video, and say where and why.

    Stage one, 'extract', turns videos into cached features. Stage two, 'train', learns from the
    cache who does it better.
    """


@main.command()
@click.argument("source", type=_path)
@_store
@click.option(
    "--feature",
    "features",
    multiple=True,
    required=True,
    metavar="BACKBONE[:LAYER][@SAMPLING][/PRESET]",
    help="What to extract, for example flow-hist, i3d or i3d:logits@steps-10x16. Repeatable.",
)
@click.option(
    "--weights",
    multiple=True,
    metavar="[BACKBONE=]PATH|random",
    help="A network's weights; without it, those in $AQAKIT_WEIGHTS or ~/.cache/aqakit/weights.",
)
@click.option(
    "--precision",
    type=click.Choice(["float32", "float16"]),
    default="float32",
    show_default=True,
    help="Of the stored values.",
)
@click.option("--device", default="cpu", show_default=True, help="Where networks run.")
@click.option("--retry-failed", is_flag=True, help="Try videos again that failed before.")
@_overwrite
def extract(source: Path, store: Path, **options: Any) -> None:
    """Decode the videos of SOURCE and store their features.

    SOURCE is a folder of videos, one video, or a manifest (CSV). What the store has already is
    kept; run the same command again after a break and it goes on. Exit status 3 says that some
    videos failed.
    """
    from . import pipeline
    from .report import console, progress

    terminal = console.terminal()
    with progress.bars(terminal) as show:
        outcomes = pipeline.extract(source, store, progress=show, **options)
    console.print_outcomes(terminal, outcomes)
    if any(outcome.failure for outcome in outcomes):
        raise SystemExit(PARTLY_FAILED)


@main.command()
@_training_options
@_out
@click.option("--feature", required=True, help="Key of a stored feature, or enough of it.")
@click.option("--head", required=True, help="What to train, for example rank-aware-attention.")
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="OPTION=VALUE",
    help="An option of the head. Repeatable.",
)
def train(**options: Any) -> None:
    """Train one head on cached features and print its table.

    MANIFEST (CSV) lists the videos; its split column says which ones train and which ones test.
    """
    from . import pipeline
    from .report import console, progress

    terminal = console.terminal()
    with progress.bars(terminal) as show:
        rows = pipeline.train(progress=show, **options)
    console.print_runs(terminal, [rows])


@main.command()
@_training_options
@_out
@click.option("--feature", "features", multiple=True, required=True, help="Repeatable.")
@click.option("--head", "heads", multiple=True, help="Repeatable; all heads by default.")
def baselines(**options: Any) -> None:
    """Train every head on every feature, one run folder each, and print one table.

    Exit status 3 says that some runs failed; a head that needs scores fails where only pairs are
    known.
    """
    from . import pipeline
    from .report import console, progress

    terminal = console.terminal()
    with progress.bars(terminal) as show:
        results, failures = pipeline.baselines(progress=show, **options)
    if results:
        console.print_runs(terminal, results)
    console.print_failures(terminal, failures)
    if failures:
        raise SystemExit(PARTLY_FAILED)


@main.command()
@click.option("--out", default="demo", show_default=True, type=_path, help="Folder to write.")
@click.option(
    "--videos",
    type=click.IntRange(min=16),  # fewer leave a single subject to learn from
    default=40,
    show_default=True,
    help="How many to generate.",
)
@click.option("--seed", default=0, show_default=True, help="Of the generated videos.")
@_overwrite
def demo(**options: Any) -> None:
    """Run the whole pipeline on generated videos of known skill; nothing is downloaded."""
    from . import pipeline
    from .report import console, progress

    terminal = console.terminal()
    with progress.bars(terminal) as show:
        results = pipeline.demo(progress=show, **options)
    console.print_runs(terminal, results)


@main.group()
def store() -> None:
    """Look after a store of features."""


@store.command()
@click.argument("folder", metavar="STORE", type=_path)
def ls(folder: Path) -> None:
    """List features, videos, rows and bytes, and videos that failed."""
    from . import pipeline
    from .report import console

    listing = pipeline.list_store(folder)
    console.print_listing(console.terminal(), listing.features, listing.failures)


@store.command()
@click.argument("folder", metavar="STORE", type=_path)
def verify(folder: Path) -> None:
    """Read everything again and name what is damaged; exit status 3 if anything is."""
    from . import pipeline
    from .report import console

    checked, damages = pipeline.verify_store(folder)
    console.print_damages(console.terminal(), checked, damages)
    if damages:
        raise SystemExit(PARTLY_FAILED)


@store.command()
@click.argument("folder", metavar="STORE", type=_path)
@click.option("--compress", is_flag=True, help="Smaller, but read more slowly.")
def pack(folder: Path, compress: bool) -> None:
    """Merge the small files of single videos into shards of about 1 GB."""
    from . import pipeline

    packed = pipeline.pack_store(folder, compress)
    click.echo(f"{packed.videos} entries packed into {packed.shards} shards")
    for path in packed.damaged:
        click.echo(f"left alone, damaged: {path}; run 'aqakit store verify {folder}'")
