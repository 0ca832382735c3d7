"""EPIC-Skills 2018: pairs of four tasks in four published folds.

Doughty, Damen and Mayol-Cuevas, *Who's Better? Who's Best?*, CVPR 2018 (its surgery is JIGSAWS with
annotations of pairs). It is published twice, and either layout is read, wherever it lies below the folder:

- hazeld/EPIC-Skills2018: ``annotations/<Sub_Task>/<sub_task>_gt.csv`` with all pairs, and
  ``annotations/<Sub_Task>/splits/<sub_task>_{train,val}_{1..4}.csv``. What it calls a video says
  neither sub-task nor camera: there are three videos ``A1``.
- hazeld/rank-aware-attention-network: ``EPIC-Skills/splits/<task>/{train,test}_split{1..4}.txt``. Its
  names, such as ``Sonic/A1-S``, are those of the released features as well, and the ids here.

A fold is a split of pairs, not of videos: most test pairs hold a training video. Files are those that
the paper used: of the stationary camera, of the right camera (``capture2``) of surgery, and of the
head camera of CMU-MMAC for dough rolling, of whose recordings ``dough_rolling_segments.csv`` names the
parts. Frames are taken to count from 0, the last one included, at 30 a second; that gives 101 s on
average, where table 1 of Doughty et al., CVPR 2019, has 102 s.
"""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from ..dataset import Imported, Source, VideoFiles
from ..errors import ManifestError
from ..manifest import Manifest, Pair, Video
from ..pair_lists import Listed, Merged, merge, read_pair_list, repetitions
from ..table import read_table, read_text, shortened
from ._epic_sub_tasks import DOUGH, SUB_TASKS, TASKS, SubTask

SUMMARY = "EPIC-Skills 2018: pairs of surgery, drawing, dough rolling, chopstick using; four folds"

FOLDS = ("1", "2", "3", "4")
# A part of a fold, and what file names of the annotations and of the lists call it.
_PARTS = (("train", "train", "train"), ("test", "val", "test"))
_SEGMENTS = "dough_rolling_segments.csv"
_SEGMENT_RATE = 30.0
_RECORDING = "Pizza_7150991"


def read(source: Source) -> Imported:
    """Read the layouts that are there; of a task in both, the annotations count.

    Args:
        source: its ``rate`` is that of the recordings of dough rolling.

    Raises:
        ManifestError: neither layout is there, or a file is missing, is there twice, or holds
            something else than its layout.
    """
    if not source.folder.is_dir():
        raise ManifestError(f"{source.folder}: no such folder; name that of the annotations")
    annotated, listed = _layouts(source.folder)
    if not annotated and not listed:
        raise ManifestError(
            f"{source.folder}: neither annotations/<Task>/splits nor splits/<task> of EPIC-Skills is "
            "below it; name the folder of a copy of hazeld/EPIC-Skills2018"
        )
    annotations: dict[str, list[Listed]] = {}
    for sub_task in SUB_TASKS:
        if sub_task.folder in annotated:
            lines = _annotations(sub_task, annotated[sub_task.folder])
            annotations.setdefault(sub_task.task, []).extend(lines)
    lists = {task: _lists(task, folder) for task, folder in listed.items()}
    merged = merge(line for task in TASKS for line in annotations.get(task, lists.get(task, ())))
    stretches = _stretches(source)
    videos = tuple(_videos(merged.pairs, stretches, VideoFiles(source)))
    manifest = Manifest(videos, pairs=merged.pairs, pair_splits=merged.splits)
    notes = [
        *_missing(videos),
        *_comparison(annotations, lists),
        *repetitions(merged.pairs),
        *_in_no_fold(merged),
        *_dating(videos, stretches, source.rate or _SEGMENT_RATE),
    ]
    return Imported.of(manifest, notes)


def _layouts(folder: Path) -> tuple[dict[str, Path], dict[str, Path]]:
    """Folders of annotations by that of the sub-task, and of lists by task."""
    annotated: dict[str, Path] = {}
    listed: dict[str, Path] = {}
    for splits in [folder, *sorted(folder.rglob("splits"))]:
        owner = splits.resolve().parent.name
        if splits.name == "splits" and owner in {sub_task.folder for sub_task in SUB_TASKS}:
            _enter(annotated, owner, splits.parent)
        for task in TASKS:
            lists = splits / task.replace("-", "_")
            if (lists / "train_split1.txt").exists():
                _enter(listed, task, lists)
    return annotated, listed


def _enter(found: dict[str, Path], name: str, path: Path) -> None:
    if found.setdefault(name, path) != path:
        raise ManifestError(f"{found[name]} and {path} hold the same; name the folder of one")


def _annotations(sub_task: SubTask, folder: Path) -> Iterator[Listed]:
    """Lines of the CSV files of one sub-task: all its pairs, then those of each fold."""
    name = sub_task.folder.lower()
    yield from _all_pairs(sub_task, folder / f"{name}_gt.csv")
    for fold in FOLDS:
        for part, word, _ in _PARTS:
            path = folder / "splits" / f"{name}_{word}_{fold}.csv"
            for place, codes in _rows(path, ("better",), ("worse",)):
                yield Listed(place, _pair(sub_task, place, codes), fold, part)


def _all_pairs(sub_task: SubTask, path: Path) -> Iterator[Listed]:
    for place, (first, second, better) in _rows(path, ("vid1",), ("vid2",), ("best", "better")):
        if better not in (first, second):
            raise ManifestError(
                f"{place}: the better of {shortened(first)} and {shortened(second)} is "
                f"{shortened(better)}; write one of them"
            )
        worse = second if better == first else first
        yield Listed(place, _pair(sub_task, place, (better, worse)))


def _rows(path: Path, *columns: Sequence[str]) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Place and cells of each row; a column is given by the names that it may have."""
    table = read_table(path, read_text(path), [name for names in columns for name in names])
    found = []
    for names in columns:
        there = [name for name in names if name in table.columns]
        if not there:
            raise ManifestError(
                f"{path}: has no column '{names[0]}'; fetch the published file again"
            )
        found.append(there[0])
    for place, cells in table.rows:
        yield place, tuple(cells[name] for name in found)


def _pair(sub_task: SubTask, place: str, codes: Sequence[str]) -> Pair:
    """Ids of the better and the worse video."""
    for code in codes:
        if not re.fullmatch(sub_task.code, code):
            raise ManifestError(
                f"{place}: {shortened(code)} is no video of {sub_task.folder}; fetch the published "
                "file again"
            )
    return Pair(*(sub_task.id.format(code) for code in codes))


def _lists(task: str, folder: Path) -> list[Listed]:
    """Lines of the text files of one task."""
    lines = [
        line
        for fold in FOLDS
        for part, _, word in _PARTS
        for line in read_pair_list(folder / f"{word}_split{fold}.txt", fold, part)
    ]
    for line in lines:
        for id in line.pair:
            if not any(sub.task == task and sub.match(id) for sub in SUB_TASKS):
                raise ManifestError(
                    f"{line.place}: {shortened(id)} is no video of {task}; fetch the published file "
                    "again"
                )
    return lines


def _stretches(source: Source) -> dict[str, tuple[float, float]]:
    """Start and end of dough rolling in seconds, by code; none where their file is not there."""
    files: dict[str, Path] = {}
    for path in sorted(source.folder.rglob(_SEGMENTS)):
        _enter(files, _SEGMENTS, path)
    rate = source.rate or _SEGMENT_RATE
    found: dict[str, tuple[float, float]] = {}
    for path in files.values():
        for place, (name, *frames) in _rows(path, ("video",), ("startframe",), ("endframe",)):
            named = re.fullmatch(f"({DOUGH.code})_{_RECORDING}", name)
            if named is None or named[1] in found:
                raise ManifestError(
                    f"{place}: video is {shortened(name)}, which is no recording or there already; "
                    "fetch the published file again"
                )
            found[named[1]] = _seconds(place, frames, rate)
    return found


def _seconds(place: str, frames: Sequence[str], rate: float) -> tuple[float, float]:
    if not all(re.fullmatch("[0-9]+", frame) for frame in frames) or int(frames[0]) > int(
        frames[1]
    ):
        raise ManifestError(
            f"{place}: goes from frame {shortened(frames[0])} to {shortened(frames[1])}; fetch the "
            "published file again"
        )
    return int(frames[0]) / rate, (int(frames[1]) + 1) / rate


def _videos(
    pairs: Sequence[Pair], stretches: Mapping[str, tuple[float, float]], files: VideoFiles
) -> Iterator[Video]:
    """Every video of a pair, by sub-task and id."""
    ids = sorted({id for pair in pairs for id in pair})
    for sub_task in SUB_TASKS:
        for match in filter(None, map(sub_task.match, ids)):
            named = match.groupdict()
            code = named["code"]
            path = sub_task.file(code, files)
            start, end = None, None
            if sub_task is DOUGH and path is None and code in stretches:
                path = files.find(f"{code}_{_RECORDING}")
                start, end = stretches[code]
            yield Video(
                match[0],
                path,
                start,
                end,
                task=sub_task.task,
                subject=named["subject"],
                action_type=sub_task.action_type,
                trial=named.get("trial"),
            )


def _missing(videos: Sequence[Video]) -> Iterator[str]:
    there = {(video.task, video.action_type) for video in videos}
    missing = [sub.folder for sub in SUB_TASKS if (sub.task, sub.action_type) not in there]
    if missing:
        yield f"left out, as its lists are not there: {', '.join(missing)}"


def _comparison(
    annotations: Mapping[str, list[Listed]], lists: Mapping[str, list[Listed]]
) -> Iterator[str]:
    """What the lists of pairs say of a task that has annotations."""
    for task in (task for task in TASKS if task in annotations and task in lists):
        ours, theirs = (
            Counter((line.pair, line.split, line.part) for line in layout[task] if line.split)
            for layout in (annotations, lists)
        )
        if ours == theirs:
            yield f"{task} is there in both layouts, with the same pairs in every fold"
        else:
            yield (
                f"{task} is there in both layouts, which differ in {(ours - theirs).total()} lines "
                f"of the annotations and {(theirs - ours).total()} of the lists; the annotations count"
            )


def _in_no_fold(merged: Merged) -> Iterator[str]:
    alone = sum(not any(cells) for cells in zip(*merged.splits.values(), strict=True))
    if alone:
        yield f"pairs in no fold: {alone}"


def _dating(
    videos: Sequence[Video], stretches: Mapping[str, tuple[float, float]], rate: float
) -> Iterator[str]:
    if not any(video.task == DOUGH.task for video in videos):
        return
    if any(video.end_seconds is not None for video in videos):
        yield f"start and end of dough rolling follow from frames at {rate:g} a second"
    elif not stretches:
        yield (
            f"whole recordings of dough rolling are not used, as {_SEGMENTS}, which names their "
            "parts, is not there"
        )
