"""Videos of a lab's own table, a row each."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from statistics import fmean
from typing import NamedTuple

from .dataset import Source, VideoFiles
from .errors import ManifestError
from .loose_columns import Columns
from .loose_table import LooseTable, read_number, read_seconds
from .manifest import VIDEO_SUFFIXES, Video
from .table import shortened


def without_suffix(name: str) -> str:
    """The name or path of a video file, with slashes and no suffix; anything else as it is."""
    path = PurePosixPath(name.replace("\\", "/"))
    return str(path.with_suffix("")) if path.suffix.lower() in VIDEO_SUFFIXES else name


def read_ids(table: LooseTable, columns: Columns) -> list[str]:
    """The id of each row: of files, their name or, where several have one name, their path.

    Raises:
        ManifestError: a row without a name, or two of one name.
    """
    column = columns.meanings.get("id") or columns.meanings["path"]
    cells = [cells[column] for _, cells in table.rows]
    ids = [without_suffix(cell) for cell in cells]
    if "id" not in columns.meanings or all(id != cell for id, cell in zip(ids, cells, strict=True)):
        names = [PurePosixPath(id).name for id in ids]
        ids = names if len({*names}) == len(names) else ids
    seen: dict[str, str] = {}
    for (place, _), id in zip(table.rows, ids, strict=True):
        if not id:
            raise ManifestError(
                f"{place}: {shortened(table.written[column])} is empty; name the video, or remove "
                "the line"
            )
        if seen.setdefault(id, place) != place:
            raise ManifestError(
                f"{place}: {shortened(id)} again, as in {seen[id]}; give each video one row, and "
                "each judge a column"
            )
    return ids


def read_videos(
    table: LooseTable, columns: Columns, ids: Sequence[str], source: Source
) -> Iterator[Video]:
    """The video of each row.

    Args:
        table: of videos.
        columns: what its columns are.
        ids: of its rows.
        source: paths start from the table's folder or from ``videos``, and files are looked for by
            name below ``videos`` or ``folder``; ``rate`` is that of columns of frames.

    Raises:
        ManifestError: a cell that cannot be understood, or frames and no rate.
    """
    files = VideoFiles(source)
    folders = [folder for folder in (table.path.parent, source.videos) if folder is not None]
    rows = [_Row(table, columns, place, cells) for place, cells in table.rows]
    times = Counter(row.file.stem for row in rows)
    for row, id in zip(rows, ids, strict=True):
        start, end = row.stretch(source.rate)
        scores = row.scores()
        yield Video(
            id,
            _find(row.file, folders, files, times[row.file.stem] > 1),
            start,
            end,
            task=row.text("task") or None,
            subject=row.text("subject") or None,
            score=scores.pop("score", None),
            difficulty=row.number(columns.meanings.get("difficulty")),
            action_type=row.text("action_type") or None,
            parts=scores,
            trial=row.text("trial") or None,
        )


class _File(NamedTuple):
    """What a row says of its file: its path, or nothing more than its name without suffix."""

    path: str
    folder: str
    stem: str


def _find(file: _File, folders: Sequence[Path], files: VideoFiles, is_common: bool) -> Path | None:
    """The file at the path that the row says, in such a folder, or, if not common, of that name."""
    for folder in folders if file.path else ():
        if (folder / file.path).is_file():
            return folder / file.path
    found = files.find(file.stem, file.folder)
    if found is None and file.folder and not is_common:
        found = files.find(file.stem)
    return found


@dataclass(frozen=True)
class _Row:
    table: LooseTable
    columns: Columns
    place: str
    cells: Mapping[str, str]

    def text(self, meaning: str) -> str:
        return self.cells.get(self.columns.meanings.get(meaning, ""), "")

    @property
    def file(self) -> _File:
        name = (self.text("path") or self.text("id")).replace("\\", "/")
        bare = PurePosixPath(without_suffix(name))
        return _File(name if str(bare) != name else "", bare.parent.name, bare.name)

    def number(self, column: str | None) -> float | None:
        if column is None:
            return None
        return read_number(self.place, shortened(self.table.written[column]), self.cells[column])

    def scores(self) -> dict[str, float]:
        """By name of the part, or ``score``; those that are not given are left out."""
        named = {**self.columns.parts}
        if "score" in self.columns.meanings:
            named["score"] = self.columns.meanings["score"]
        found = {name: self.number(column) for name, column in named.items()}
        for name, judges in self.columns.means.items():
            marks = [mark for mark in map(self.number, judges) if mark is not None]
            found[name] = fmean(marks) if marks else None
        return {name: value for name, value in found.items() if value is not None}

    def stretch(self, rate: float | None) -> tuple[float | None, float | None]:
        """Start and end in seconds."""
        start, end = (self._seconds(meaning, rate) for meaning in ("start", "end"))
        if start is not None and start < 0:
            raise ManifestError(
                f"{self.place}: starts at {start:g} s; count from the start of the file"
            )
        if end is not None and end <= (start or 0):
            raise ManifestError(
                f"{self.place}: ends at {end:g} s, not after its start at {start or 0:g} s; correct "
                "one"
            )
        return start, end

    def _seconds(self, meaning: str, rate: float | None) -> float | None:
        column = self.columns.meanings.get(meaning)
        if column is not None:
            written = shortened(self.table.written[column])
            return read_seconds(self.place, written, self.cells[column])
        frame = self.number(self.columns.meanings.get(f"{meaning}_frame"))
        if frame is None:
            return None
        if rate is None:
            raise ManifestError(f"{self.place}: counts frames; give --rate, how many a second has")
        # The last frame belongs to the stretch.
        return (frame + (meaning == "end")) / rate
