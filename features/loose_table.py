"""Tables of a lab's own: with any delimiter, headers as people write them, and gaps told in words.

A column goes by the plain form of its header: ``Start (s)``, ``start_s`` and ``StartS`` are all
``start_s``; ``Judge1`` and ``judge 1`` are ``judge_1``.
"""

import csv
import io
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from .errors import ManifestError
from .table import read_table, read_text, shortened

_NOTHING = frozenset({"", "-", "--", "?", "na", "n/a", "nan", "none", "null"})


@dataclass(frozen=True)
class LooseTable:
    """A table by plain names.

    Args:
        path: of its file.
        written: header of each column as it is written, by plain name.
        rows: place, and cells by plain name; a cell that says that there is nothing is empty.
    """

    path: Path
    written: dict[str, str]
    rows: list[tuple[str, dict[str, str]]]


def read_loose_table(path: Path) -> LooseTable:
    """Read a table with commas, semicolons or tabs between its columns.

    A column without a header, such as the row numbers that data frames write, is left out.

    Raises:
        ManifestError: no such file, no text, a row with too many cells, or two columns of one plain
            name.
    """
    text = read_text(path)
    first = next(filter(str.strip, text.splitlines()))
    delimiter = max(",;\t", key=first.count)
    if delimiter != ",":
        text = _with_commas(path, text, delimiter)
    header = next(filter(any, _lines(path, text, ",")))
    table = read_table(path, text, [cell.lower() for cell in header], families=())
    written: dict[str, str] = {}
    for cell in filter(None, header):
        plain = plain_name(cell)
        if plain in written:
            raise ManifestError(
                f"{path}: columns {shortened(written[plain])} and {shortened(cell)} read alike; "
                "rename one"
            )
        written[plain] = cell
    rows = [
        (place, {plain: _something(cells[cell.lower()]) for plain, cell in written.items()})
        for place, cells in table.rows
    ]
    return LooseTable(path, written, rows)


def plain_name(header: str) -> str:
    """Lower-case words and numbers of a header with underscores between them."""
    text = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Za-z])(?=[0-9])", " ", header)
    return re.sub(r"[\W_]+", "_", text.lower()).strip("_")


def _something(cell: str) -> str:
    return "" if cell.lower() in _NOTHING else cell


def _lines(path: Path, text: str, delimiter: str) -> Iterator[list[str]]:
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        for cells in reader:
            yield [cell.strip() for cell in cells]
    except csv.Error as error:
        raise ManifestError(
            f"{path}, line {reader.line_num}: is not CSV ({error}); correct its quotes"
        ) from None


def _with_commas(path: Path, text: str, delimiter: str) -> str:
    """The same lines as CSV; a blank line stays one, so that line numbers stay right."""
    written = io.StringIO()
    csv.writer(written, lineterminator="\n").writerows(_lines(path, text, delimiter))
    return written.getvalue()


def read_number(place: str, name: str, cell: str) -> float | None:
    """A number with a decimal point or comma; None for an empty cell.

    Raises:
        ManifestError: it is something else.
    """
    if not cell:
        return None
    try:
        value = float(cell if "." in cell else cell.replace(",", ".", 1))
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise ManifestError(
            f"{place}: {name} is {shortened(cell)}; write a number such as 12.5, or leave it empty"
        )
    return value


def read_seconds(place: str, name: str, cell: str) -> float | None:
    """Seconds, or hours, minutes and seconds with colons; None for an empty cell.

    Raises:
        ManifestError: it is something else.
    """
    if ":" not in cell:
        return read_number(place, name, cell)
    if not re.fullmatch(r"([0-9]+:)?[0-9]+:[0-9]+([.,][0-9]+)?", cell):
        raise ManifestError(
            f"{place}: {name} is {shortened(cell)}; write seconds, or a time such as 1:02:03.5"
        )
    seconds = 0.0
    for part in cell.split(":"):
        seconds = 60 * seconds + float(part.replace(",", "."))
    return seconds
