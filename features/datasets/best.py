"""BEST, the Bristol Everyday Skill Tasks: pairs of YouTube videos of five tasks, in one split of videos.

Doughty, Mayol-Cuevas and Damen, *The Pros and Cons*, CVPR 2019, which calls it YouTubeSkill. Read from
hazeld/rank-aware-attention-network: ``BEST.csv`` says from when to when each video shows its task,
``splits/<task>/{train,test}_vid_list.txt`` name the videos and ``{train,test}.txt`` the pairs of both
parts. Table 1 of the paper counts the pairs of all 100 videos of a task; the lists leave out those of a
training and a test video, and hold 61 to 63 % of them.

An id is YouTube's and may begin with ``-`` or ``_``. Files are looked for by it, as the authors' script
names them; asked to trim, the script cuts its videos, but for those of scrambled eggs.
"""

import math
from collections.abc import Iterator, Mapping
from pathlib import Path

from ..dataset import Imported, Source, VideoFiles
from ..errors import ManifestError
from ..manifest import DEFAULT_SPLIT, Manifest, Video
from ..pair_lists import Listed, merge, read_pair_list, repetitions
from ..table import read_table, read_text, shortened

SUMMARY = "BEST (YouTubeSkill): pairs of eyeliner, braids, origami, scrambled eggs, ties; one split"

_TABLE = "BEST.csv"
_COLUMNS = ("task", "vid_id", "start_seconds", "end_seconds")
_PARTS = ("train", "test")


def read(source: Source) -> Imported:
    """Read the videos, their split and their pairs.

    Raises:
        ManifestError: a file is missing, is there twice, or holds something else than published.
    """
    table, files = _table(source.folder), VideoFiles(source)
    videos = {video.id: video for video in _videos(table, files)}
    split: dict[str, str] = {}
    lines: list[Listed] = []
    notes: list[str] = []
    for task in dict.fromkeys(str(video.task) for video in videos.values()):
        folder = table.parent / "splits" / task.replace("-", "_")
        if not folder.is_dir():
            notes.append(f"{task} has no pairs, as {folder} is not there")
            continue
        parts = _parts(folder)
        for id in [id for id in parts if id not in videos]:
            notes.append(f"{shortened(id)} of {task} has no start and end, as {_TABLE} lacks it")
            videos[id] = Video(id, files.find(id), task=task)
        for id in parts:
            if videos[id].task != task:
                raise ManifestError(
                    f"{folder}: lists {shortened(id)}, which is of {videos[id].task} in {table}; "
                    "correct one"
                )
        split |= parts
        lines += _pairs(folder, parts)
    if not lines:
        raise ManifestError(f"{table}: no folder splits beside it; fetch it as well")
    pairs = merge(lines).pairs
    manifest = Manifest(tuple(videos.values()), {DEFAULT_SPLIT: split}, pairs)
    return Imported.of(manifest, [*notes, *repetitions(pairs), *_about(manifest)])


def _table(folder: Path) -> Path:
    found = sorted(folder.rglob(_TABLE))
    if not found:
        raise ManifestError(
            f"{folder}: no {_TABLE} in it; name the folder of a copy of "
            "hazeld/rank-aware-attention-network"
        )
    if len(found) > 1:
        raise ManifestError(f"{found[0]} and {found[1]} hold the same; name the folder of one")
    return found[0]


def _videos(path: Path, files: VideoFiles) -> Iterator[Video]:
    table = read_table(path, read_text(path), _COLUMNS)
    for column in _COLUMNS:
        if column not in table.columns:
            raise ManifestError(f"{path}: has no column '{column}'; fetch the published file again")
    seen: dict[str, str] = {}
    for place, cells in table.rows:
        id = cells["vid_id"]
        if seen.setdefault(id, place) != place:
            raise ManifestError(f"{place}: {shortened(id)} again, as in {seen[id]}; remove one")
        start, end = _stretch(place, cells)
        task = cells["task"].replace("_", "-")
        yield Video(id, files.find(id), start, end, task)


def _stretch(place: str, cells: Mapping[str, str]) -> tuple[float, float]:
    texts = cells["start_seconds"], cells["end_seconds"]
    try:
        start, end = map(float, texts)
    except ValueError:
        start = end = math.nan
    # Not `end <= start`, which is false of numbers that are none.
    if not 0 <= start < end < math.inf:
        raise ManifestError(
            f"{place}: goes from second {shortened(texts[0])} to {shortened(texts[1])}; fetch the "
            "published file again"
        )
    return start, end


def _parts(folder: Path) -> dict[str, str]:
    """The part of each video of a task, in the order of its lists."""
    found: dict[str, str] = {}
    for part in _PARTS:
        path = folder / f"{part}_vid_list.txt"
        for id in filter(None, map(str.strip, read_text(path).splitlines())):
            if found.setdefault(id, part) != part:
                raise ManifestError(
                    f"{path}: lists {shortened(id)}, as {found[id]}_vid_list.txt does; remove one"
                )
    return found


def _pairs(folder: Path, parts: Mapping[str, str]) -> Iterator[Listed]:
    for part in _PARTS:
        for line in read_pair_list(folder / f"{part}.txt", DEFAULT_SPLIT, part):
            for id in line.pair:
                if parts.get(id) != part:
                    raise ManifestError(
                        f"{line.place}: {shortened(id)} is not in {part}_vid_list.txt; list it there, "
                        "or remove the line"
                    )
            yield line


def _about(manifest: Manifest) -> Iterator[str]:
    listed = manifest.splits[DEFAULT_SPLIT]
    alone = [video.id for video in manifest.videos if video.id not in listed]
    if alone:
        yield f"videos in no part of the split: {len(alone)}, the first {shortened(alone[0])}"
    if any(video.path is not None for video in manifest.videos):
        yield (
            "start and end count from the beginning of the whole YouTube video; empty their cells "
            "for videos that were cut, as the authors' script does with --trim"
        )
