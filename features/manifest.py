"""The table of videos: where they are, how good they are, which is better, and who is for training.

A manifest is a CSV file with a header. Its columns are ``id, path, start, end, task, subject, trial,
score, difficulty, action_type`` in any order, of which ``path`` (or ``id``, for labels alone) must be there,
``score_<name>`` for scores of parts of a performance, and ``split`` or ``split_<name>`` with ``train``,
``val``, ``test`` or nothing in each cell. Pairs are a second file: CSV with the header
``better,worse``, or a line ``better worse`` for each. A folder with ``videos.csv`` and ``pairs.csv``, as
:meth:`Manifest.write` makes it, is read as one.
"""

import math
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .errors import ManifestError
from .table import read_table, read_text, read_words, shortened, write_csv

COLUMNS = (
    *("id", "path", "start", "end", "task", "subject", "trial", "score", "difficulty"),
    "action_type",
)
PARTS = ("train", "val", "test")
DEFAULT_SPLIT = "default"
_PART_SCORE = "score"
VIDEOS_FILE, PAIRS_FILE = "videos.csv", "pairs.csv"
VIDEO_SUFFIXES = frozenset({
    ".3gp", ".asf", ".avi", ".flv", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts",
    ".ogv", ".ts", ".vob", ".webm", ".wmv",
})  # fmt: skip


@dataclass(frozen=True)
class Video:
    """One performance by one subject.

    Args:
        id: any text of one line.
        path: of the file; None where only labels are known.
        start_seconds: where the performance begins; None is the start of the file.
        end_seconds: where it ends; None is the end of the file.
        task: what is performed; videos of different tasks are not compared.
        subject: who performs it.
        score: higher is better.
        difficulty: of the action, where its sport has one.
        action_type: variant of the task.
        parts: by name, scores of parts of the performance, such as ``execution``.
        trial: which repetition of its subject it is.
    """

    id: str
    path: Path | None = None
    start_seconds: float | None = None
    end_seconds: float | None = None
    task: str | None = None
    subject: str | None = None
    score: float | None = None
    difficulty: float | None = None
    action_type: str | None = None
    parts: Mapping[str, float] = field(default_factory=dict, hash=False)
    trial: str | None = None


class Pair(NamedTuple):
    """Two videos by id, of which the first shows more skill."""

    better: str
    worse: str


@dataclass(frozen=True)
class Manifest:
    """Videos with their labels.

    A pair that is listed twice stays twice, as in published lists: it counts twice.

    Args:
        videos: in the order of the table.
        splits: by name of a split, the part (train, val or test) of each video in it, by id.
        pairs: in the order of their list.
        pair_splits: by name of a split, the part of each pair; empty for a pair in none. Names may
            be those of ``splits``, and then decide for pairs.

    Raises:
        ManifestError: an id twice, a pair of unknown videos or of one with itself, a pair and its
            reverse, a part other than train, val and test, or values without meaning.
    """

    videos: tuple[Video, ...]
    splits: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    pairs: tuple[Pair, ...] = ()
    pair_splits: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _check_videos(self.videos, [f"video {i + 1}" for i in range(len(self.videos))])
        ids = {video.id for video in self.videos}
        _check_pairs(self.pairs, ids, [f"pair {i + 1}" for i in range(len(self.pairs))])
        for name in (*self.splits, *self.pair_splits):
            _check_text("splits", "a name", name)
        for name, parts in self.splits.items():
            _check_parts(name, parts.values(), {*PARTS})
            for unknown in parts.keys() - ids:
                raise ManifestError(f"split '{name}': no video {unknown!r}; list it as a video")
        for name, cells in self.pair_splits.items():
            _check_parts(name, cells, {"", *PARTS})
            if len(cells) != len(self.pairs):
                raise ValueError(
                    f"{len(cells)} cells of split '{name}' for {len(self.pairs)} pairs"
                )

    @classmethod
    def read(cls, path: Path, pairs: Path | None = None) -> "Manifest":
        """Read a manifest and, where given, its list of pairs.

        Paths in the table are relative to its folder. Of a folder, its ``videos.csv`` is read and,
        where no other pairs are given, its ``pairs.csv``.

        Raises:
            ManifestError: one line that names file, line, value and cure.
        """
        path = Path(path)
        if path.is_dir() and (path / VIDEOS_FILE).exists():
            beside = path / PAIRS_FILE
            pairs = beside if pairs is None and beside.exists() else pairs
            path = path / VIDEOS_FILE
        videos, splits = _read_videos(path)
        if pairs is None:
            return cls(videos, splits)
        found, pair_splits = _read_pairs(Path(pairs), {video.id for video in videos}, path)
        return cls(videos, splits, found, pair_splits)

    @classmethod
    def from_folder(cls, folder: Path) -> "Manifest":
        """Every video file below a folder, by suffix; hidden files and folders are left out.

        Linked folders are entered as well, each folder once.

        A video's id is its path in the folder without suffix, or with it where several files
        would share an id.

        Raises:
            ManifestError: no folder, no video in it, a folder that cannot be listed, or a file name
                that cannot be an id.
        """
        folder = Path(folder)
        if not folder.is_dir():
            raise ManifestError(f"{folder}: no such folder; name a folder of videos or a CSV file")
        try:
            files = sorted(_video_files(folder))
        except OSError as error:
            raise ManifestError(
                f"{error.filename}: cannot be listed ({error.strerror}); make it readable for this "
                "user, or move it out of the folder of videos"
            ) from None
        if not files:
            raise ManifestError(
                f"{folder}: no video in it (looked for {', '.join(sorted(VIDEO_SUFFIXES))}); name "
                "the folder that holds the videos"
            )
        whole = [file.relative_to(folder).as_posix() for file in files]
        short = [name.removesuffix(file.suffix) for name, file in zip(whole, files, strict=True)]
        count = Counter(short)
        ids = [s if count[s] == 1 else w for s, w in zip(short, whole, strict=True)]
        if len(set(ids)) < len(ids):
            ids = whole
        for id, file in zip(ids, files, strict=True):
            _check_text(str(file), "id", id)
        return cls(tuple(Video(id, file) for id, file in zip(ids, files, strict=True)))

    def write(self, folder: Path) -> tuple[Path, Path | None]:
        """Write ``videos.csv`` and, where there are pairs, ``pairs.csv`` for :meth:`read`.

        Paths below the folder are written relative to it, so that it can be moved as a whole.

        Returns:
            The paths of both files; None for that of no pairs.

        Raises:
            ManifestError: a path or an id cannot be written in UTF-8.
            StoreError: the folder cannot be written.
        """
        folder = Path(folder)
        table, list_of_pairs = folder / VIDEOS_FILE, folder / PAIRS_FILE
        write_csv(table, _video_rows(self, folder))
        if not self.pairs:
            return table, None
        write_csv(list_of_pairs, _pair_rows(self))
        return table, list_of_pairs

    @property
    def tasks(self) -> tuple[str, ...]:
        """Tasks in the order in which they come first; videos without one count as task ``""``."""
        return tuple(dict.fromkeys(video.task or "" for video in self.videos))

    def of_task(self, task: str) -> "Manifest":
        """The videos of one task and their pairs; ``""`` has those without a task."""
        videos = tuple(video for video in self.videos if (video.task or "") == task)
        ids = {video.id for video in videos}
        kept = [number for number, pair in enumerate(self.pairs) if ids.issuperset(pair)]
        return Manifest(
            videos,
            {
                name: {id: part for id, part in parts.items() if id in ids}
                for name, parts in self.splits.items()
            },
            tuple(self.pairs[number] for number in kept),
            {
                name: tuple(cells[number] for number in kept)
                for name, cells in self.pair_splits.items()
            },
        )

    def part(self, split: str, part: str) -> tuple[str, ...]:
        """Ids of the videos in one part of a split, in the order of the table.

        Raises:
            ManifestError: no such split of videos.
        """
        self._require(split, self.splits)
        return tuple(v.id for v in self.videos if self.splits[split].get(v.id) == part)

    def pairs_in(self, split: str, part: str) -> tuple[Pair, ...]:
        """Pairs in one part of a split.

        Where the list of pairs has a column for the split, it decides; else a pair belongs to the
        part that holds both its videos, and one across two parts to none.

        Raises:
            ManifestError: no such split.
        """
        if split in self.pair_splits:
            cells = zip(self.pairs, self.pair_splits[split], strict=True)
            return tuple(pair for pair, cell in cells if cell == part)
        self._require(split, self.splits)
        held = set(self.part(split, part))
        return tuple(pair for pair in self.pairs if held.issuperset(pair))

    def pairs_from_scores(self) -> tuple[Pair, ...]:
        """Every pair of videos of one task with different scores, the better one first."""
        order = order_by_score(self.videos).tolist()
        return tuple(Pair(self.videos[a].id, self.videos[b].id) for a, b in order)

    def _require(self, split: str, known: Iterable[str]) -> None:
        if split not in known:
            names = ", ".join([*self.splits, *self.pair_splits.keys() - self.splits.keys()])
            raise ManifestError(
                f"no split '{split}'; choose one of: {names}"
                if names
                else f"no split '{split}'; add a column split_{split} to the manifest"
            )


def order_by_score(videos: Sequence[Video]) -> NDArray[np.int64]:
    """(P, 2) positions of every two videos of one task with different scores, the better first.

    In the order of the better video, then of the worse.
    """
    tasks: dict[str | None, list[int]] = {}
    for place, video in enumerate(videos):
        if video.score is not None:
            tasks.setdefault(video.task, []).append(place)
    found = [np.empty((0, 2), dtype=np.int64)]
    for places in tasks.values():
        scores = np.array([videos[place].score for place in places], dtype=np.float64)
        found.append(np.array(places)[np.argwhere(scores[:, None] > scores)])
    pairs = np.concatenate(found)
    return pairs if len(tasks) < 2 else pairs[np.lexsort(pairs.T[::-1])]


def _read_videos(path: Path) -> tuple[tuple[Video, ...], dict[str, dict[str, str]]]:
    table = read_table(path, read_text(path), COLUMNS, ("split", _PART_SCORE))
    if not {"path", "id"} & set(table.columns):
        raise ManifestError(f"{path}: has no column 'path'; add one that names the video files")
    videos = [_video(place, cells, path.parent) for place, cells in table.rows]
    places = [place for place, _ in table.rows]
    _check_videos(videos, places)
    columns = _split_columns(path, table.columns)
    for place, cells in table.rows:
        for column in columns.values():
            _part(place, cells[column])
    splits = {
        name: {
            video.id: cells[column].lower()
            for video, (_, cells) in zip(videos, table.rows, strict=True)
            if cells[column]
        }
        for name, column in columns.items()
    }
    return tuple(videos), splits


def _video(place: str, cells: dict[str, str], folder: Path) -> Video:
    path = cells.get("path", "")
    if not path and not cells.get("id"):
        raise ManifestError(f"{place}: neither path nor id; fill in one of them")
    return Video(
        id=cells.get("id") or Path(path).stem,
        path=folder / path if path else None,
        start_seconds=_number(place, cells, "start"),
        end_seconds=_number(place, cells, "end"),
        task=cells.get("task") or None,
        subject=cells.get("subject") or None,
        score=_number(place, cells, "score"),
        difficulty=_number(place, cells, "difficulty"),
        action_type=cells.get("action_type") or None,
        parts=_part_scores(place, cells),
        trial=cells.get("trial") or None,
    )


def _part_scores(place: str, cells: dict[str, str]) -> dict[str, float]:
    found = {
        column.removeprefix(f"{_PART_SCORE}_"): _number(place, cells, column)
        for column in cells
        if column.startswith(f"{_PART_SCORE}_")
    }
    return {name: value for name, value in found.items() if value is not None}


def _number(place: str, cells: dict[str, str], column: str) -> float | None:
    text = cells.get(column, "")
    if not text:
        return None
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise ManifestError(
            f"{place}: {column} is {text!r}; write a finite number such as 12.5, or leave it empty"
        )
    return value


def _read_pairs(
    path: Path, ids: set[str], manifest: Path
) -> tuple[tuple[Pair, ...], dict[str, tuple[str, ...]]]:
    text = read_text(path)
    first = next(filter(str.strip, text.splitlines()))
    table = read_table(path, text, ("better", "worse")) if "," in first else read_words(path, text)
    for column in ("better", "worse"):
        if column not in table.columns:
            raise ManifestError(f"{path}: has no column '{column}'; begin it with better,worse")
    pairs = [Pair(cells["better"], cells["worse"]) for _, cells in table.rows]
    places = [place for place, _ in table.rows]
    _check_pairs(pairs, ids, places, f"correct it or add the video to {manifest.name}")
    columns = _split_columns(path, table.columns)
    splits = {
        name: tuple(_part(place, cells[column]) for place, cells in table.rows)
        for name, column in columns.items()
    }
    return tuple(pairs), splits


def _split_columns(path: Path, columns: Iterable[str]) -> dict[str, str]:
    """Split columns by the name of their split."""
    found: dict[str, str] = {}
    for column in columns:
        if column == "split" or column.startswith("split_"):
            name = column.removeprefix("split").removeprefix("_") or DEFAULT_SPLIT
            if name in found:
                raise ManifestError(
                    f"{path}: columns '{found[name]}' and '{column}' are one split; remove one"
                )
            found[name] = column
    return found


def _part(place: str, cell: str) -> str:
    if cell and cell.lower() not in PARTS:
        raise ManifestError(
            f"{place}: split is {shortened(cell)}; write {', '.join(PARTS)} or nothing"
        )
    return cell.lower()


def _check_parts(name: str, parts: Iterable[str], allowed: set[str]) -> None:
    for part in parts:
        if part not in allowed:
            raise ManifestError(
                f"split '{name}': a part is {shortened(part)}; use {', '.join(PARTS)}"
            )


def _check_videos(videos: Sequence[Video], places: Sequence[str]) -> None:
    seen: dict[str, str] = {}
    for video, place in zip(videos, places, strict=True):
        for name in ("id", "task", "subject", "trial", "action_type"):
            _check_text(place, name, getattr(video, name))
        for name in ("start_seconds", "end_seconds", "score", "difficulty"):
            value = getattr(video, name)
            if value is not None and not math.isfinite(value):
                raise ManifestError(f"{place}: {name} is {value}; use a finite number or none")
        for name, value in video.parts.items():
            _check_text(place, "the name of a part score", name)
            if not math.isfinite(value):
                raise ManifestError(
                    f"{place}: score_{name} is {value}; use a finite number or none"
                )
        if video.id in seen:
            raise ManifestError(
                f"{place}: id {shortened(video.id)} again, as in {seen[video.id]}; give each video "
                "an id of its own in a column 'id'"
            )
        seen[video.id] = place
        _check_stretch(video, place)


def _check_text(place: str, name: str, text: str | None) -> None:
    if text is None:
        return
    if text != text.strip() or len(text.splitlines()) != 1 or "\0" in text:
        raise ManifestError(
            f"{place}: {name} is {shortened(text)}; use text of one line without blanks around it "
            "(rename the file where an id comes from its name)"
        )


def _check_stretch(video: Video, place: str) -> None:
    start, end = video.start_seconds, video.end_seconds
    if start is not None and start < 0:
        raise ManifestError(f"{place}: start is {start}; write seconds from the start of the file")
    if end is not None and end <= (start or 0):
        raise ManifestError(f"{place}: end {end} is not after start {start or 0}; correct one")


def _check_pairs(
    pairs: Sequence[Pair],
    ids: set[str],
    places: Sequence[str],
    cure: str = "list it as a video",
) -> None:
    seen: dict[Pair, str] = {}
    for pair, place in zip(pairs, places, strict=True):
        for video in pair:
            if video not in ids:
                raise ManifestError(f"{place}: no video {shortened(video)}; {cure}")
        if pair.better == pair.worse:
            raise ManifestError(
                f"{place}: pairs {shortened(pair.better)} with itself; remove the line"
            )
        reverse = Pair(pair.worse, pair.better)
        if reverse in seen:
            raise ManifestError(
                f"{place}: {shortened(pair.better)} better than {shortened(pair.worse)} is the "
                f"reverse of {seen[reverse]}; remove one"
            )
        seen.setdefault(pair, place)


def _video_files(folder: Path) -> Iterator[Path]:
    # Links wait until all real folders are listed, so that a video's id is its real path if it has
    # one. A link may lead back up, or to a folder that was listed already.
    waiting, listed = [folder], set[tuple[int, int]]()
    for top in waiting:
        for parent, folders, files in os.walk(top, onerror=_raise):
            status = os.stat(parent)
            if (status.st_dev, status.st_ino) in listed:
                folders.clear()
                continue
            listed.add((status.st_dev, status.st_ino))
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            below = [Path(parent) / name for name in folders]
            waiting.extend(path for path in below if path.is_symlink())
            for name in files:
                if not name.startswith(".") and Path(name).suffix.lower() in VIDEO_SUFFIXES:
                    yield Path(parent) / name


def _raise(error: OSError) -> None:
    raise error


def _video_rows(manifest: Manifest, folder: Path) -> Iterator[list[str]]:
    cells: dict[str, Callable[[Video], Any]] = {
        "id": lambda video: video.id,
        "path": lambda video: _path_cell(video.path, folder),
        "start": lambda video: video.start_seconds,
        "end": lambda video: video.end_seconds,
        "task": lambda video: video.task,
        "subject": lambda video: video.subject,
        "trial": lambda video: video.trial,
        "score": lambda video: video.score,
        "difficulty": lambda video: video.difficulty,
        "action_type": lambda video: video.action_type,
    }
    scored = dict.fromkeys(name for video in manifest.videos for name in video.parts)
    scores = [f"{_PART_SCORE}_{name}" for name in scored]
    yield [*cells, *scores, *map(_split_column, manifest.splits)]
    for video in manifest.videos:
        parts = [split.get(video.id, "") for split in manifest.splits.values()]
        own = [_cell(video.parts.get(name)) for name in scored]
        yield [*(_cell(of(video)) for of in cells.values()), *own, *parts]


def _pair_rows(manifest: Manifest) -> Iterator[list[str]]:
    yield ["better", "worse", *map(_split_column, manifest.pair_splits)]
    for index, pair in enumerate(manifest.pairs):
        yield [*pair, *(cells[index] for cells in manifest.pair_splits.values())]


def _split_column(name: str) -> str:
    return "split" if name == DEFAULT_SPLIT else f"split_{name}"


def _path_cell(path: Path | None, folder: Path) -> str:
    if path is None:
        return ""
    return str(path.relative_to(folder) if path.is_relative_to(folder) else path.absolute())


def _cell(value: object) -> str:
    return "" if value is None else str(value)
