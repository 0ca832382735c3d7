"""Tracks in text files: one sample a line, numbers between commas, blanks or tabs.

So come, without header, the kinematics of JIGSAWS (Gao et al., M2CAI 2014: 76 columns between blanks,
30 Hz) and the joints of UI-PRMD (Vakanski et al., Data 2018: 66 columns between commas, 30 Hz). A first
line that is not all numbers is a header. An empty cell between commas, or one that is not finite, is a
gap.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .errors import VideoError
from .table import shortened
from .tracks import Reading, Track, make_timeline

_Line = tuple[int, list[str]]


def read_text_track(path: Path, data: bytes, reading: Reading) -> Track:
    """Read the content of a text file.

    Args:
        path: of the file, for messages.
        data: its content, unpacked.
        reading: rate, or the column of times.

    Raises:
        VideoError: one line that names file, line and cure.
    """
    lines = _lines(path, data)
    header = tuple(lines[0][1]) if not all(map(_is_number, lines[0][1])) else ()
    lines = lines[bool(header) :]
    if not lines:
        raise VideoError(f"{path}: has a header only; get the file again")
    values = _numbers(path, lines, len(header) or len(lines[0][1]))
    times = None
    if reading.time_column is not None:
        place = _place(path, header, reading.time_column)
        times = values[:, place]
        values = np.delete(values, place, axis=1)
        header = header[:place] + header[place + 1 :]
    if not values.shape[1]:
        raise VideoError(f"{path}: has no column beside its times; get the file again")
    timeline = make_timeline(path, times, len(values), reading.rate)
    return Track(timeline, np.where(np.isfinite(values), values, np.nan), header)


def _lines(path: Path, data: bytes) -> list[_Line]:
    """Cells of every line that is not blank, with its number."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise VideoError(
            f"{path}: is not UTF-8 text (byte {error.start}); name a file of numbers"
        ) from None
    written = [(number, line.strip()) for number, line in enumerate(text.splitlines(), 1)]
    written = [(number, line) for number, line in written if line]
    separator = "," if any("," in line for _, line in written[:2]) else None
    # NumPy writes a header as a comment.
    written[0] = (written[0][0], written[0][1].removeprefix("#").strip())
    if separator and all(line.endswith(separator) for _, line in written):
        written = [(number, line[:-1]) for number, line in written]
    return [(number, [cell.strip() for cell in line.split(separator)]) for number, line in written]


def _is_number(cell: str) -> bool:
    try:
        float(cell or "nan")
    except ValueError:
        return False
    return True


def _numbers(path: Path, lines: Sequence[_Line], columns: int) -> NDArray[np.float64]:
    """(M, C) of the lines below the header."""
    rows = []
    for number, cells in lines:
        if len(cells) != columns:
            raise VideoError(
                f"{path}, line {number}: {len(cells)} cells, {columns} in the first line; the file "
                "is cut off or damaged, get it again"
            )
        try:
            rows.append([float(cell or "nan") for cell in cells])
        except ValueError:
            wrong = next(cell for cell in cells if not _is_number(cell))
            raise VideoError(
                f"{path}, line {number}: {shortened(wrong)} is no number; correct it"
            ) from None
    return np.array(rows, dtype=np.float64)


def _place(path: Path, header: Sequence[str], name: str) -> int:
    if header.count(name) != 1:
        there = f"its columns are {shortened(', '.join(header))}" if header else "it has no header"
        raise VideoError(f"{path}: no column {name!r}, or several ({there}); correct --time")
    return header.index(name)
