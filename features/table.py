"""Tables as people write them: CSV with the odd habits of spreadsheets, or words on lines.

A byte order mark, any line end, blank lines and commas at the ends of lines are tolerated; what is
wrong is told with file and line.
"""

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from .durable import replacing, write_all, write_errors
from .errors import ManifestError


class Table(NamedTuple):
    """Rows of a CSV file, each with the place it came from, as text of one line."""

    columns: tuple[str, ...]
    rows: list[tuple[str, dict[str, str]]]


def read_text(path: Path) -> str:
    """Text of a file that is not blank.

    Raises:
        ManifestError: there is no such file, or it holds no UTF-8 text.
    """
    if path.is_dir():
        raise ManifestError(f"{path}: is a folder; name a CSV file in it")
    try:
        # Excel begins its UTF-8 with a byte order mark.
        text = path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        raise ManifestError(f"{path}: no such file; correct its path") from None
    except UnicodeDecodeError as error:
        raise ManifestError(
            f"{path}: is not UTF-8 text (byte {error.start}); save it as CSV in UTF-8"
        ) from None
    except OSError as error:
        raise ManifestError(f"{path}: cannot be read ({error.strerror}); correct it") from None
    if not text.strip():
        raise ManifestError(f"{path}: is empty; write a header and one line for each row")
    return text


def read_table(
    path: Path, text: str, known: Sequence[str], families: Sequence[str] = ("split",)
) -> Table:
    """Read CSV with a header.

    Args:
        path: of the file, for messages.
        text: its content.
        known: columns that there may be.
        families: others: ``split`` stands for ``split`` and any ``split_<name>``.

    Raises:
        ManifestError: an unknown column, one twice, a row with too many cells, or no row.
    """
    lines = _csv_lines(path, text)
    _, header = next(lines)
    columns = [_column(cell, families) for cell in header]
    while columns and not columns[-1]:
        columns.pop()
    for column in columns:
        if column not in known and column.partition("_")[0] not in families:
            named = " or ".join(f"{family}_<name>" for family in families)
            raise ManifestError(
                f"{path}: unknown column {shortened(column)}; use {', '.join(known)}, split or "
                f"{named}, separated by commas"
            )
        if columns.count(column) > 1:
            raise ManifestError(f"{path}: column '{column}' twice; remove one")
    rows = []
    for place, cells in lines:
        if any(cells[len(columns) :]):
            raise ManifestError(
                f"{place}: {len(cells)} cells for {len(columns)} columns; put text that holds a "
                "comma in double quotes"
            )
        padded = cells + [""] * (len(columns) - len(cells))
        rows.append((place, dict(zip(columns, padded, strict=False))))
    if not rows:
        raise ManifestError(f"{path}: has a header only; add a line for each row")
    return Table(tuple(columns), rows)


def read_words(path: Path, text: str) -> Table:
    """Read lines of two words each; a first line that says ``better worse`` is a header.

    Raises:
        ManifestError: a line of fewer or more words.
    """
    rows: list[tuple[str, dict[str, str]]] = []
    for number, line in enumerate(text.splitlines(), 1):
        words = line.split()
        if not words or (not rows and [word.lower() for word in words] == ["better", "worse"]):
            continue
        place = f"{path}, line {number}"
        if len(words) != 2:
            raise ManifestError(
                f"{place}: {len(words)} words in {shortened(line)}; write the better and the worse "
                "id, or a CSV file with the header better,worse"
            )
        rows.append((place, dict(zip(("better", "worse"), words, strict=True))))
    return Table(("better", "worse"), rows)


def _column(cell: str, families: Sequence[str]) -> str:
    """A column's name in lower case, but for the name of a split or of a part score."""
    prefix, underscore, name = cell.partition("_")
    own = prefix.lower()
    return f"{own}_{name}" if own in families and underscore else cell.lower()


def _csv_lines(path: Path, text: str) -> Iterator[tuple[str, list[str]]]:
    """Rows that are not blank, with the line on which each begins."""
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    while True:
        place = f"{path}, line {reader.line_num + 1}"
        try:
            cells = [cell.strip() for cell in next(reader)]
        except StopIteration:
            return
        except csv.Error as error:
            raise ManifestError(f"{place}: is not CSV ({error}); correct its quotes") from None
        if any(cells):
            yield place, cells


def write_csv(path: Path, rows: Iterable[Sequence[str]]) -> None:
    """Write CSV in UTF-8, whole or not at all.

    Raises:
        ManifestError: a cell cannot be written in UTF-8.
        StoreError: the file cannot be written.
    """
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    try:
        data = text.getvalue().encode()
    except UnicodeEncodeError as error:
        raise ManifestError(
            f"{path}: {shortened(error.object[error.start : error.end])} is no UTF-8; rename the "
            "file that has it in its name"
        ) from None
    with replacing(path) as descriptor, write_errors(path):
        write_all(descriptor, memoryview(data), 0)


def shortened(text: str) -> str:
    """A value in a message: quoted, on one line, and not the whole of a wrong file."""
    return repr(text if len(text) <= 80 else text[:77] + "...")
