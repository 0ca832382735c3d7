"""The commands. Each parses its options, calls one function of ``pipeline`` and prints.

Libraries are imported inside the commands, so that ``--help`` is there at once.
"""

import dataclasses
import functools
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from . import __version__
from .features.errors import UserError

if TYPE_CHECKING:
    from .pipeline import Training

PARTLY_FAILED = 3
# As shells have it: 128 and the number of the signal.
INTERRUPTED = 130

_path = click.Path(path_type=Path)
_store = click.option("--store", required=True, type=_path, help="Folder that holds the features.")
_out = click.option("--out", required=True, type=_path, help="Folder to write.")
_pairs = click.option("--pairs", type=_path, help="File of pairs 'better worse', CSV or plain.")
_overwrite = click.option("--overwrite", is_flag=True, help="Replace what is there already.")


class _Group(click.Group):
    """Turns an error that the user can mend, and an interruption, into one line."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except UserError as error:
            raise click.ClickException(str(error)) from None
        except KeyboardInterrupt:
            click.echo("Interrupted: what is finished is kept; the same command goes on.", err=True)
            raise SystemExit(INTERRUPTED) from None


def _devices(words: str) -> tuple[str, ...]:
    devices = tuple(word.strip() for word in words.split(","))
    if not all(devices):
        raise click.BadParameter(f"'{words}' names no device at one place; write cuda:0,cuda:1")
    return devices


def _size(words: str | None) -> tuple[int, int] | None:
    """Height and width of ``WIDTHxHEIGHT``."""
    if words is None:
        return None
    match = re.fullmatch(r"([1-9]\d{0,4})x([1-9]\d{0,4})", words)
    if match is None:
        raise click.BadParameter(f"'{words}' is no size; write WIDTHxHEIGHT, for example 320x240")
    return int(match[2]), int(match[1])


def _training_options(command: Callable[..., None], required: bool = True) -> Callable[..., None]:
    """What training one head and training many have in common."""
    options = [
        click.argument("manifest", type=_path, required=required),
        _pairs,
        click.option("--store", required=required, type=_path, help="Folder of the features."),
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
        click.option(
            "--precision",
            type=click.Choice(["float32", "bfloat16", "float64"]),
            default="float32",
            show_default=True,
            help="That deep heads compute in.",
        ),
        click.option(
            "--clip-norm",
            type=click.FloatRange(min=0),
            default=0.0,
            show_default=True,
            help="Largest norm of a deep head's gradients; 0 does not clip.",
        ),
        click.option(
            "--patience",
            type=click.IntRange(min=0),
            default=0,
            show_default=True,
            help="Stop a deep head after so many epochs without a better accuracy on the videos of "
            "part val, and keep the best epoch; 0 trains to the end and keeps the last.",
        ),
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
    metavar="BACKBONE[.STREAM][:LAYER][@SAMPLING][/PRESET][+VARIANT]",
    help="What to extract, for example flow-hist, i3d.flow or i3d:logits@steps-10x16. Repeatable.",
)
@click.option(
    "--weights",
    multiple=True,
    metavar="[BACKBONE[.STREAM]=]PATH|random",
    help="A network's weights; without it, those that 'aqakit weights fetch' fetched.",
)
@click.option(
    "--precision",
    type=click.Choice(["float32", "float16"]),
    help="Of the stored values; float32 by default, float16 for maps.",
)
@click.option(
    "--device",
    "devices",
    default="cpu",
    show_default=True,
    callback=lambda context, option, value: _devices(value),
    help="Where networks run; several, as cuda:0,cuda:1, get a process each.",
)
@click.option(
    "--flow",
    type=click.Choice(["opencv", "torch"]),
    help="What computes TV-L1; by default OpenCV on the processor and PyTorch on other devices.",
)
@click.option(
    "--workers",
    type=click.IntRange(min=0),
    help="Processes that read videos; by default none on the processor, else one a core.",
)
@click.option(
    "--ray",
    metavar="ADDRESS",
    help="A Ray cluster to compute on ('auto' finds one on this machine); needs aqakit[ray].",
)
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
@click.option(
    "--feature",
    "features",
    multiple=True,
    metavar="[ROLE=]KEY",
    help="Key of a stored feature, or enough of it; with its role where a head looks at several, "
    "as primary=KEY. Repeatable; a recipe knows its own.",
)
@click.option("--head", default="", help="What to train, for example rank-aware-attention.")
@click.option(
    "--recipe",
    default="",
    metavar="PAPER/ROW",
    help="A row of a paper with all its numbers, for example doughty_cvpr2019/full; 'aqakit recipes' "
    "lists them. Or FILE.toml/ROW of your own.",
)
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="OPTION=VALUE",
    help="An option of the head. Repeatable.",
)
@click.option(
    "--start-from",
    type=_path,
    metavar="RUN",
    help="Begin with the weights of another run, where the head can.",
)
@click.option(
    "--together",
    type=click.Choice(["auto", "batch", "processes", "off"]),
    default="auto",
    show_default=True,
    help="Train the seeds of a deep head as one batched model, in processes, or one by one.",
)
@click.option(
    "--tensorboard",
    type=_path,
    metavar="FOLDER",
    help="Write losses for TensorBoard; needs aqakit[tensorboard].",
)
def train(**options: Any) -> None:
    """Train one head on cached features and print its table.

    MANIFEST lists the videos (CSV, or a folder that 'aqakit dataset import' wrote); its split column
    says which ones train, validate and test. An interrupted training goes on when the same command
    is given again.
    """
    from . import pipeline
    from .report import console, progress

    terminal = console.terminal()
    with progress.bars(terminal) as show:
        rows = pipeline.train(progress=show, **options)
    console.print_runs(terminal, [rows])


@main.command()
@click.option(
    "--matrix",
    type=_path,
    metavar="FILE",
    help="TOML that says what is trained on what: recipes x features x splits x seeds.",
)
@functools.partial(_training_options, required=False)
@_out
@click.option(
    "--feature",
    "features",
    multiple=True,
    metavar="[ROLE=]KEY",
    help="Without a role, for each head of one feature. Repeatable.",
)
@click.option(
    "--head",
    "heads",
    multiple=True,
    help="Repeatable; by default all that these features are enough for.",
)
@click.option(
    "--jobs",
    type=click.IntRange(min=-1),
    default=-1,
    show_default=True,
    help="Runs at a time, one thread each; -1 takes one a core.",
)
@click.option(
    "--ray",
    default="",
    metavar="ADDRESS",
    help="A Ray cluster to train on ('auto' finds one on this machine); needs aqakit[ray].",
)
def baselines(
    training: "Training",
    matrix: Path | None,
    features: tuple[str, ...],
    heads: tuple[str, ...],
    out: Path,
    jobs: int,
    ray: str,
) -> None:
    """Train many rows, one run folder each, and print one table; go on after a break.

    Either MANIFEST with --store, --feature and --head: every head on every feature under one split.
    Or --matrix FILE, which says all that; MANIFEST (with its pairs), --store and --pairs then stand
    for its own. Exit status 3 says that some runs failed; a head that needs scores fails where only
    pairs are known.
    """
    from . import pipeline
    from .report import console, progress

    if matrix is not None:
        _refuse_beside_matrix(matrix)
    if matrix is None and not (training.manifest and training.store and features):
        raise click.UsageError("give MANIFEST, --store and --feature, or --matrix FILE")
    if jobs == 0:
        raise click.UsageError("--jobs is 0; give 1 or more, or -1 for one a core")
    terminal = console.terminal()
    with progress.bars(terminal) as show:
        if matrix is None:
            table, ended = pipeline.baselines(
                training, features, heads, out, jobs=jobs, ray=ray, progress=show
            )
        else:
            table, ended = pipeline.rerun(
                matrix,
                out,
                manifest=training.manifest,
                store=training.store,
                pairs=training.pairs,
                jobs=jobs,
                devices=_devices(training.device),
                ray=ray,
                overwrite=training.overwrite,
                progress=show,
            )
    if table is not None:
        console.print_table(terminal, table)
    console.print_ended(terminal, ended)
    if any(one.state == "failed" for one in ended):
        raise SystemExit(PARTLY_FAILED)


def _refuse_beside_matrix(matrix: Path) -> None:
    """Options that the file decides about must not be given without effect."""
    context = click.get_current_context()
    own = {"matrix", "manifest", "store", "pairs", "out", "jobs", "device", "ray", "overwrite"}
    for parameter in context.command.params:
        name = str(parameter.name)
        given = context.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE
        if given and name not in own:
            raise click.UsageError(
                f"{parameter.opts[0]} does not go with --matrix; say it in {matrix}"
            )


@main.command()
@click.argument("folders", metavar="RUNS...", nargs=-1, required=True, type=_path)
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "markdown", "csv", "latex"]),
    default="text",
    show_default=True,
    help="csv holds every metric of every task.",
)
@click.option("--by-task", is_flag=True, help="One column a task, in Markdown and LaTeX.")
@click.option(
    "--compare",
    "against",
    default="",
    metavar="ROW",
    help="Test every other row against this one.",
)
def table(folders: tuple[Path, ...], form: Any, by_task: bool, against: str) -> None:
    """Print one table of batches and runs, with the papers' own figures beside ours.

    RUNS are folders that 'aqakit baselines' or 'aqakit train' wrote. Below the table stands what
    differs from the papers, what was lost, and which test a p comes from.
    """
    from . import pipeline
    from .report import console, tables

    if by_task and form not in ("markdown", "latex"):
        raise click.UsageError("--by-task is for --format markdown and latex; csv has all tasks")
    found = pipeline.table(folders, against)
    if form == "text":
        console.print_table(console.terminal(), found)
    else:
        click.echo(tables.render(found, form, by_task), nl=False)


@main.command()
@click.argument("paper", required=False, default="")
def recipes(paper: str) -> None:
    """List the rows of papers that can be trained, or all of one PAPER with their settings."""
    from . import pipeline
    from .report import console

    console.print_recipes(console.terminal(), pipeline.list_recipes(paper), bool(paper))


@main.group()
def dataset() -> None:
    """Bring published datasets in, and split them into folds."""


@dataset.command(name="ls")
def dataset_ls() -> None:
    """List the datasets that can be imported."""
    from . import pipeline
    from .report import console

    console.print_datasets(console.terminal(), pipeline.list_datasets())


@dataset.command(name="import")
@click.argument("name")
@click.argument("folder", type=_path)
@_out
@click.option("--videos", type=_path, help="Folder of the videos; by default below FOLDER.")
@click.option(
    "--rate",
    type=click.FloatRange(min=0, min_open=True),
    help="Frames a second, where annotations count frames.",
)
@click.option("--store", type=_path, help="Also import kinematics or skeletons into this store.")
@_overwrite
def dataset_import(name: str, folder: Path, out: Path, **options: Any) -> None:
    """Turn the published files of dataset NAME in FOLDER into a manifest.

    'aqakit dataset ls' lists the names. Videos that are not there keep their labels and are counted
    and listed in absent.csv. Exit status 3 says that some tracks failed.
    """
    from . import pipeline
    from .report import console, progress

    terminal = console.terminal()
    with progress.bars(terminal) as show:
        imported, outcomes = pipeline.import_dataset(name, folder, out, progress=show, **options)
    console.print_imported(terminal, imported, out)
    if outcomes:
        console.print_outcomes(terminal, outcomes, "imported", briefly=True)
    if any(outcome.failure for outcome in outcomes):
        raise SystemExit(PARTLY_FAILED)


@dataset.command(name="split")
@click.argument("manifest", type=_path)
@_pairs
@_out
@click.option("--protocol", "kind", required=True, help="k-fold, leave-one-user-out, ...")
@click.option("--folds", type=int, default=0, help="Of k-fold and group-k-fold.")
@click.option("--repeats", type=int, default=1, show_default=True, help="Of the same, drawn anew.")
@click.option("--train", multiple=True, metavar="SUBJECT", help="Of fixed. Repeatable.")
@click.option("--test", multiple=True, metavar="SUBJECT", help="Of fixed. Repeatable.")
@click.option(
    "--validation", type=float, default=0.0, help="Share of training groups that choose epochs."
)
@click.option("--seed", type=int, default=0, show_default=True, help="Of whatever is drawn.")
def dataset_split(manifest: Path, out: Path, pairs: Path | None, **options: Any) -> None:
    """Write MANIFEST again, with the folds of a protocol as its splits."""
    from . import pipeline

    count = pipeline.split_dataset(manifest, out, pairs, **options)
    click.echo(f"{count} folds in {out}")


@main.command()
@click.argument("run", type=_path)
@click.argument("manifest", type=_path)
@_store
@_out
@click.option("--video", "videos", multiple=True, metavar="ID", help="Repeatable; all by default.")
@click.option("--seed", type=int, help="Of the training to explain; the run's first by default.")
@click.option(
    "--size",
    metavar="WIDTHxHEIGHT",
    callback=lambda context, option, value: _size(value),
    help="Bring attention maps to the size of the frame.",
)
@click.option("--device", default="cpu", show_default=True, help="For deep heads.")
@_overwrite
def explain(run: Path, manifest: Path, store: Path, out: Path, **options: Any) -> None:
    """Write what made the scores of a run: a table a video of what the head makes of each step.

    RUN is a folder that 'aqakit train' wrote. Attention maps are written as NumPy archives, and the
    places of videos in the plane as embedding.csv, where the head has such.
    """
    from . import pipeline

    count = pipeline.explain(run, manifest, store, out, **options)
    click.echo(f"{count} videos explained in {out}")


@main.command()
@click.argument("run", type=_path)
@click.option(
    "--out", default="report.html", show_default=True, type=_path, help="HTML file to write."
)
@click.option(
    "--manifest", type=_path, help="Table of videos; that which the run was trained on by default."
)
@click.option("--store", type=_path, help="Folder of the features; likewise.")
@_pairs
@click.option(
    "--beside",
    multiple=True,
    metavar="RUN",
    type=_path,
    help="Another run on the same test videos, for the table. Repeatable.",
)
@click.option(
    "--new",
    multiple=True,
    metavar="VIDEO",
    help="A new video, a folder of such or a manifest, to be scored and shown too. Repeatable.",
)
@click.option(
    "--new-store", type=_path, help="Folder for the features of new videos; see --store of 'score'."
)
@click.option("--weights", multiple=True, help="For the features of new videos; see 'score'.")
@click.option(
    "--link-videos",
    is_flag=True,
    help="Play the videos' own files, in full quality, rather than small copies inside the page.",
)
@click.option("--seed", type=int, help="Of the training to explain; the run's first by default.")
@click.option("--device", default="cpu", show_default=True, help="For deep heads.")
@_overwrite
def report(run: Path, out: Path, **options: Any) -> None:
    """Write one page that a person reads: how each video scored, why, and how far to trust it.

    RUN is a folder that 'aqakit train' wrote. The page is a single file below 20 MB that opens from
    disk in any browser, without a network. Where the store or the videos have moved since, it says
    what it lacks for that.
    """
    from . import pipeline
    from .report import console, progress

    terminal = console.terminal()
    with progress.bars(terminal) as show:
        page, scored = pipeline.report(run, out, progress=show, **options)
    if scored is not None:
        console.print_scores(terminal, scored)
    console.print_report(terminal, page, out)
    if scored is not None and any(video.failure for video in scored.videos):
        raise SystemExit(PARTLY_FAILED)


@main.command()
@click.argument("run", type=_path)
@click.argument("videos", metavar="VIDEO...", nargs=-1, required=True)
@click.option(
    "--out",
    multiple=True,
    type=_path,
    help="File to write, .csv or .json. Repeatable.",
)
@click.option(
    "--store",
    type=_path,
    help="Folder for the features of the videos; by default one in RUN. It must hold those that are "
    "imported, such as kinematics, and not be the one that the run learned from if others are "
    "computed.",
)
@click.option(
    "--weights",
    multiple=True,
    metavar="[BACKBONE[.STREAM]=]PATH",
    help="The network's weights that the run learned from; by default looked for among fetched ones.",
)
@click.option("--device", default="cpu", show_default=True, help="For networks and deep heads.")
@click.option(
    "--workers",
    type=click.IntRange(min=0),
    help="Processes that read videos; by default none on the processor, else one a core.",
)
@_overwrite
def score(run: Path, videos: tuple[str, ...], **options: Any) -> None:
    """Score new videos by a trained RUN, and rank them among the videos that trained.

    VIDEO is a video, a folder of videos or a manifest (CSV; its columns task and action_type count
    where the head looks at them), or the id of a video whose features are in --store. What was
    computed is kept, so the same command goes on after a break. Exit status 3 says that some videos
    could not be scored.
    """
    from . import pipeline
    from .report import console, progress

    terminal = console.terminal()
    with progress.bars(terminal) as show:
        scored = pipeline.score(run, videos, progress=show, **options)
    console.print_scores(terminal, scored)
    if any(video.failure for video in scored.videos):
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
@click.option(
    "--seed",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="Of the generated videos.",
)
@_overwrite
def demo(**options: Any) -> None:
    """Run the whole pipeline on generated videos of known skill; nothing is downloaded."""
    from . import pipeline
    from .report import console, progress

    terminal = console.terminal()
    with progress.bars(terminal) as show:
        results = pipeline.demo(progress=show, **options)
    console.print_runs(terminal, results)
    click.echo(f"what made each score: {options['out'] / pipeline.DEMO_REPORT}")


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
    """Merge the small files of single videos into shards of about 1 GB.

    Exit status 3 says that damaged files were left alone.
    """
    from . import pipeline

    packed = pipeline.pack_store(folder, compress)
    click.echo(f"{packed.videos} entries packed into {packed.shards} shards")
    for path in packed.damaged:
        click.echo(f"left alone, damaged: {path}; run 'aqakit store verify {folder}'")
    if packed.damaged:
        raise SystemExit(PARTLY_FAILED)


@store.command()
@click.argument("folder", metavar="STORE", type=_path)
@click.option("--feature", required=True, help="Key of a stored feature, or enough of it.")
@_out
@_overwrite
def export(folder: Path, feature: str, out: Path, overwrite: bool) -> None:
    """Write a feature as NumPy archives, <id>_rgb.npz or <id>_flow.npz, one a video.

    The array arr_0 of each is (T, C) float32. 'aqakit store import' takes the folder back whole,
    with times and origin, from aqakit-export.json beside the arrays. Exit status 3 says that some
    videos could not be written.
    """
    from . import pipeline

    _run_batch(
        lambda show: pipeline.export_store(folder, feature, out, overwrite, show),
        "exported",
    )


@store.command(name="import")
@click.argument("folder", metavar="STORE", type=_path)
@click.argument("source", metavar="FOLDER", type=_path)
@click.option(
    "--as",
    "described_as",
    metavar="BACKBONE.STREAM.LAYER",
    help="What the files are, for example i3d.rgb.pool; an export says it itself.",
)
@click.option("--sampling", help="What a row is, for example clips-16; T equal parts by default.")
@click.option("--preset", help="Preprocessing, a word of your own; 'unknown' by default.")
@click.option("--manifest", type=_path, help="With start and end of each video, to date the rows.")
def import_(folder: Path, source: Path, **options: Any) -> None:
    """Bring the arrays <id>_rgb.npz or <id>_flow.npz of FOLDER into a store.

    Times of arrays that aqakit did not export are unknown without --manifest; controls by duration
    are left out then. Exit status 3 says that some files failed.
    """
    from . import pipeline

    _run_batch(
        lambda show: pipeline.import_store(folder, source, progress=show, **options),
        "imported",
    )


@store.command(name="import-tracks")
@click.argument("folder", metavar="STORE", type=_path)
@click.argument("paths", metavar="PATH...", nargs=-1, required=True, type=_path)
@click.option("--as", "name", required=True, metavar="NAME", help="kinematics, pose, ...")
@click.option("--rate", type=float, help="Samples a second, where the files have no times.")
@click.option(
    "--time", "time_column", metavar="COLUMN", help="Header of the column of seconds in text files."
)
@click.option(
    "--group",
    "groups",
    multiple=True,
    metavar="NAME=COLUMNS",
    help="Columns of one feature, for example primary=0-37 or hands=LWrist,RWrist; counted from 0, "
    "without that of --time. Repeatable.",
)
@click.option(
    "--sampling", default="steps-10x16", show_default=True, help="Equal parts x instants."
)
@click.option(
    "--channels",
    default="raw",
    show_default=True,
    help="What each column becomes, any of raw,from-start,velocity,speed.",
)
@click.option(
    "--person",
    type=click.IntRange(min=0),
    help="Place in each frame of a pose file; by default the person with the highest score.",
)
@click.option(
    "--manifest", type=_path, help="Whose videos the tracks belong to; start and end cut them."
)
def import_tracks(folder: Path, paths: tuple[Path, ...], name: str, **options: Any) -> None:
    """Bring kinematics or poses into a store as features.

    PATH is a file or a folder of files: text (.txt, .csv, .tsv, .dat), NumPy (.npz), COCO keypoints
    (.json), or a folder of OpenPose files for each video. The name of the file is the id. Each
    column is resampled by time; gaps are bridged and counted. Exit status 3 says that some failed.
    """
    from . import pipeline

    _run_batch(
        lambda show: pipeline.import_tracks(folder, paths, name, progress=show, **options),
        "imported",
    )


def _run_batch(run: Callable[[Any], Any], done: str) -> None:
    """Run with progress bars, print what became of each video, and end with 3 if one failed."""
    from .report import console, progress

    terminal = console.terminal()
    with progress.bars(terminal) as show:
        outcomes = run(show)
    console.print_outcomes(terminal, outcomes, done)
    if any(outcome.failure for outcome in outcomes):
        raise SystemExit(PARTLY_FAILED)


@main.group()
def weights() -> None:
    """Look after the published weights of networks."""


@weights.command(name="ls")
def weights_ls() -> None:
    """List the known files of weights: licence, checksum, and which of them are here."""
    from . import pipeline
    from .report import console

    console.print_weights(console.terminal(), pipeline.list_weights())


@weights.command()
@click.argument("names", metavar="NAME...", nargs=-1)
@click.option("--all", "everything", is_flag=True, help="Every known file.")
def fetch(names: tuple[str, ...], everything: bool) -> None:
    """Download weights into $AQAKIT_WEIGHTS or ~/.cache/aqakit/weights.

    NAME is a backbone, such as i3d, or a file that 'aqakit weights ls' names. A download that broke
    off goes on where it stopped; each file is checked before it takes its name. Exit status 3 says
    that some files failed, 1 that all did.
    """
    from . import pipeline
    from .report import console, progress

    if bool(names) == everything:
        raise click.UsageError("name backbones or files, or say --all")
    terminal = console.terminal()
    with progress.bars(terminal) as show:
        outcomes = pipeline.fetch_weights(names, show, everything=everything)
    console.print_fetched(terminal, outcomes)
    failed = sum(outcome.failure is not None for outcome in outcomes)
    if failed:
        raise SystemExit(1 if failed == len(outcomes) else PARTLY_FAILED)


@weights.command()
def check() -> None:
    """Read the files that are here, compare and fit them; exit status 3 if one is damaged."""
    from . import pipeline
    from .report import console

    files = pipeline.check_weights()
    console.print_weights(console.terminal(), files)
    if any(file.state == "damaged" for file in files):
        raise SystemExit(PARTLY_FAILED)
