import csv
import io
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aqakit.features.errors import ManifestError
from aqakit.features.loose_table import (
    plain_name,
    read_loose_table,
    read_number,
    read_seconds,
)


def write(folder: Path, text: str) -> Path:
    path = folder / "table.csv"
    path.write_text(text)
    return path


def error_of(path: Path) -> str:
    with pytest.raises(ManifestError) as caught:
        read_loose_table(path)
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    return message


@pytest.mark.parametrize(
    ("header", "plain"),
    [
        ("Start (s)", "start_s"),
        ("start_s", "start_s"),
        ("StartS", "start_s"),
        ("StartFrame", "start_frame"),
        ("  Vid1 ", "vid_1"),
        ("Judge 3 - Execution", "judge_3_execution"),
        ("GRS", "grs"),
        ("judge10Score", "judge_10_score"),
        ("採点", "採点"),
        ("%", ""),
    ],
)
def test_plain_names(header: str, plain: str) -> None:
    assert plain_name(header) == plain


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_any_delimiter(delimiter: str, tmp_path: Path) -> None:
    lines = [["Video ID", "Final Score"], ["a", "7"], [], ["b", "NaN"], ["c", " n/a "]]
    path = write(tmp_path, "\n".join(delimiter.join(line) for line in lines))
    table = read_loose_table(path)
    assert table.written == {"video_id": "Video ID", "final_score": "Final Score"}
    assert table.rows == [
        (f"{path}, line 2", {"video_id": "a", "final_score": "7"}),
        (f"{path}, line 4", {"video_id": "b", "final_score": ""}),
        (f"{path}, line 5", {"video_id": "c", "final_score": ""}),
    ]


CELLS = st.text(st.characters(codec="ascii", exclude_categories=["C"]), max_size=8)


@given(rows=st.lists(st.tuples(CELLS, CELLS), min_size=1), delimiter=st.sampled_from(",;\t"))
def test_cells_come_back_whatever_they_hold(
    rows: list[tuple[str, str]], delimiter: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    text = io.StringIO()
    kept = [("id", cell, other) for cell, other in rows]
    csv.writer(text, delimiter=delimiter).writerows([("A", "B", "C"), *kept])
    table = read_loose_table(write(tmp_path_factory.mktemp("cells"), text.getvalue()))
    nothing = {"", "-", "--", "?", "na", "n/a", "nan", "none", "null"}
    for (_, cells), written in zip(table.rows, kept, strict=True):
        wanted = [cell.strip() for cell in written]
        assert list(cells.values()) == ["" if w.lower() in nothing else w for w in wanted]


def test_row_numbers_of_data_frames_and_commas_at_ends_are_left_out(tmp_path: Path) -> None:
    table = read_loose_table(write(tmp_path, ",video,score,\n0,a,1,\n1,b,2,\n"))
    assert [cells for _, cells in table.rows] == [
        {"video": "a", "score": "1"},
        {"video": "b", "score": "2"},
    ]


def test_headers_that_read_alike(tmp_path: Path) -> None:
    path = write(tmp_path, "video,Start (s),StartS\na,1,2\n")
    assert error_of(path) == (f"{path}: columns 'Start (s)' and 'StartS' read alike; rename one")


def test_broken_tables(tmp_path: Path) -> None:
    assert "no such file" in error_of(tmp_path / "none.csv")
    assert "has a header only" in error_of(write(tmp_path, "video;score\n"))
    for delimiter in ",;":
        path = write(tmp_path, f'video{delimiter}score\na{delimiter}1\nb{delimiter}"2"x\n')
        assert error_of(path).startswith(f"{path}, line 3: is not CSV")
        path = write(tmp_path, delimiter.join(["video", "score\na", "1", "2\n"]))
        assert error_of(path).startswith(f"{path}, line 2: 3 cells for 2 columns")


@pytest.mark.parametrize(
    ("cell", "number"), [("", None), ("7", 7), ("-7.5", -7.5), ("7,5", 7.5), ("1e2", 100)]
)
def test_numbers(cell: str, number: float | None) -> None:
    assert read_number("line 1", "'Score'", cell) == number


@pytest.mark.parametrize("cell", ["good", "inf", "1,000,000", "1,000.5", "1 2"])
def test_no_numbers(cell: str) -> None:
    with pytest.raises(ManifestError) as caught:
        read_number("line 1", "'Score'", cell)
    assert str(caught.value) == (
        f"line 1: 'Score' is {cell!r}; write a number such as 12.5, or leave it empty"
    )


@pytest.mark.parametrize(
    ("cell", "seconds"),
    [("", None), ("75.5", 75.5), ("1:15.5", 75.5), ("00:01:15,5", 75.5), ("2:00:03", 7203)],
)
def test_seconds(cell: str, seconds: float | None) -> None:
    assert read_seconds("line 1", "'Start'", cell) == seconds


@pytest.mark.parametrize("cell", ["1:", ":10", "1:2:3:4", "1.5:10", "-1:10", "a:b"])
def test_no_times(cell: str) -> None:
    with pytest.raises(ManifestError) as caught:
        read_seconds("line 1", "'Start'", cell)
    assert str(caught.value) == (
        f"line 1: 'Start' is {cell!r}; write seconds, or a time such as 1:02:03.5"
    )
