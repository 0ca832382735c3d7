"""A table of a lab's own, with its own column names and habits; TASD-2 and Infant-Grasp come this way.

The folder is one with such a table in it, or the table itself. Columns are recognised by what people
call them (``features/loose_columns.py``); notes say what was taken for what, and what is not used.
Pairs lie beside it (``features/loose_pairs.py``): a table of them, a list ``pairs.txt``, or lists such
as ``splits/train_split1.txt``. Where pairs are all that there is, they say which videos there are.

Gao et al., ECCV 2020, describe TASD-2: synchronised diving from 3 m and 10 m, with a final score, and
scores of execution and synchronisation. Li et al., 2019, describe Infant-Grasp: of 4,371 pairs of 94
videos, one is better in 3,318; four folds. Neither paper says what the files look like.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from ..dataset import ABSENT, Imported, Source, VideoFiles
from ..errors import ManifestError
from ..loose_columns import Columns, read_splits, recognise
from ..loose_pairs import PairColumns, pair_columns, read_list, read_lists, read_pairs
from ..loose_table import LooseTable, read_loose_table
from ..loose_videos import read_ids, read_videos, without_suffix
from ..manifest import Manifest, Video
from ..pair_lists import Listed, merge, repetitions
from ..table import shortened

SUMMARY = "a table of your own: usual column names, judges, folds, pairs (TASD-2, Infant-Grasp)"

_SUFFIXES = (".csv", ".tsv")
_PAIRS, _PAIR_LIST = "pairs", "pairs.txt"


def read(source: Source) -> Imported:
    """Read a table of videos and the pairs beside it, or pairs alone.

    Args:
        source: its ``folder`` may be the table itself; its ``rate`` is needed where the table counts
            frames.

    Raises:
        ManifestError: no table, or several, or something in one that cannot be understood.
    """
    there = _find(source.folder)
    source = replace(source, folder=there.folder)
    table, columns = there.videos, recognise(there.videos.written if there.videos else ())
    names = _Names(read_ids(table, columns) if table else [], closed=table is not None)
    lines, equal = _pairs(there, names)
    videos = tuple(
        read_videos(table, columns, names.ids, source)
        if table
        else _videos_of_pairs(names.ids, VideoFiles(source))
    )
    if not videos:
        raise ManifestError(f"{there.folder}: no table and no pairs in it; name a CSV file")
    _check_tasks(lines, videos)
    merged = merge(lines)
    splits = read_splits(table, columns.splits) if table else {}
    parts = {
        split: {id: part for id, part in zip(names.ids, cells, strict=True) if part}
        for split, cells in splits.items()
    }
    notes = [*_about_table(table, columns), *there.notes, *repetitions(merged.pairs)]
    if equal:
        notes.append(f"pairs left out, as neither video is better: {equal}")
    return Imported.of(Manifest(videos, parts, merged.pairs, merged.splits), notes)


def _videos_of_pairs(ids: Iterable[str], files: VideoFiles) -> Iterator[Video]:
    return (Video(id, files.find(PurePosixPath(id).name)) for id in ids)


@dataclass(frozen=True)
class _Files:
    """What there is to read.

    Args:
        folder: of all of it.
        videos: table of videos, if any.
        pairs: table of pairs and its columns, if any.
        lists: of all pairs, ``better worse``.
        in_parts: whether lists of parts or folds may lie there, too.
        notes: on what is not read.
    """

    folder: Path
    videos: LooseTable | None
    pairs: tuple[LooseTable, PairColumns] | None
    lists: tuple[Path, ...]
    in_parts: bool
    notes: tuple[str, ...] = ()


def _find(path: Path) -> _Files:
    """The tables of a folder, or one table and the pairs that its name leads to."""
    if path.is_dir():
        files = (file for file in sorted(path.iterdir()) if file.name != ABSENT)
        tables = [file for file in files if file.suffix.lower() in _SUFFIXES]
        lists = [file for file in [path / _PAIR_LIST] if file.exists()]
        return _sort(path, tables, lists, in_parts=True)
    stems = (_PAIRS, f"{path.stem}_{_PAIRS}", f"{path.stem}-{_PAIRS}")
    beside = [path.with_name(f"{stem}{suffix}") for stem in stems for suffix in _SUFFIXES]
    tables = [path, *(file for file in beside if file.exists() and file != path)]
    lists = [file for stem in stems if (file := path.with_name(f"{stem}.txt")).exists()]
    return _sort(path.parent, tables, lists, in_parts=False)


def _sort(folder: Path, paths: Sequence[Path], lists: Sequence[Path], in_parts: bool) -> _Files:
    """Tell tables of videos, of pairs, and others apart by their columns."""
    videos: list[LooseTable] = []
    pairs: list[tuple[LooseTable, PairColumns]] = []
    others: list[Path] = []
    for table in map(read_loose_table, paths):
        columns = pair_columns(table.written)
        if columns is not None:
            pairs.append((table, columns))
        elif {"id", "path"}.intersection(recognise(table.written).meanings):
            videos.append(table)
        else:
            others.append(table.path)
    _check_one("videos", [table.path for table in videos])
    _check_one("pairs", [table.path for table, _ in pairs])
    if others and not videos and not pairs:
        raise ManifestError(f"{others[0]}: no column names the videos; call one 'id' or 'path'")
    return _Files(
        folder,
        next(iter(videos), None),
        next(iter(pairs), None),
        tuple(lists),
        in_parts,
        tuple(f"{path.name} is not read, as no column of it names videos" for path in others),
    )


def _check_one(what: str, paths: Sequence[Path]) -> None:
    if len(paths) > 1:
        raise ManifestError(
            f"{paths[0]} and {paths[1]} both list {what}; move one away, or name the table of videos"
        )


class _Names:
    """Ids by what pairs call a video: its id, or the name or path of its file.

    Args:
        ids: that there are.
        closed: whether there are no others; else any name is one.
    """

    def __init__(self, ids: Iterable[str], closed: bool) -> None:
        self._ids = dict.fromkeys(ids)
        self._closed = closed

    @property
    def ids(self) -> list[str]:
        """In the order of the table or of the pairs."""
        return [*self._ids]

    def __call__(self, place: str, name: str) -> str:
        """The id of a name at a place."""
        bare = without_suffix(name)
        for id in (name, bare, PurePosixPath(bare).name):
            if id in self._ids:
                return id
        if self._closed or not bare:
            raise ManifestError(
                f"{place}: no video {shortened(name)}; list it in the table of videos, or remove the "
                "line"
            )
        self._ids[bare] = None
        return bare


def _pairs(there: _Files, names: _Names) -> tuple[list[Listed], int]:
    """Lines of every table and list of pairs, and how many have no better video."""
    lines: list[Listed] = []
    equal = 0
    if there.pairs is not None:
        lines, equal = read_pairs(*there.pairs, names)
    for path in there.lists:
        lines += read_list(path, names)
    if there.in_parts:
        lines += read_lists(there.folder, names)
    return lines, equal


def _check_tasks(lines: Iterable[Listed], videos: Iterable[Video]) -> None:
    task_of = {video.id: video.task for video in videos}
    for line in lines:
        better, worse = (task_of[id] for id in line.pair)
        if better != worse:
            raise ManifestError(
                f"{line.place}: compares a video of {better or 'no task'} with one of "
                f"{worse or 'no task'}; correct the tasks, or remove the line"
            )


def _about_table(table: LooseTable | None, columns: Columns) -> Iterator[str]:
    if table is None:
        yield "there is no table of videos; they are those of the pairs"
        return
    written = {plain: shortened(header) for plain, header in table.written.items()}
    taken = [f"{meaning} from {written[name]}" for meaning, name in columns.meanings.items()]
    taken += [f"score_{part} from {written[name]}" for part, name in columns.parts.items()]
    for part, judges in columns.means.items():
        score = "score" if part == "score" else f"score_{part}"
        taken.append(f"{score} from the mean of {', '.join(written[name] for name in judges)}")
    taken += [f"splits from {written[name]}" for name in columns.splits]
    yield f"{table.path.name}: {'; '.join(taken)}"
    if columns.unused:
        yield (
            f"{table.path.name}: not used: {', '.join(written[name] for name in columns.unused)}; a "
            "column called score_<name> is kept as the score of a part"
        )
