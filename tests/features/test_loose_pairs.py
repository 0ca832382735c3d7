from pathlib import Path

import pytest

from aqakit.features.errors import ManifestError
from aqakit.features.loose_pairs import PairColumns, pair_columns, read_list, read_lists, read_pairs
from aqakit.features.loose_table import LooseTable, read_loose_table
from aqakit.features.manifest import Pair
from aqakit.features.pair_lists import Listed


def upper(place: str, name: str) -> str:
    """Ids are names in capitals; ``x`` is none."""
    if name == "x":
        raise ManifestError(f"{place}: no video x")
    return name.upper()


def table(folder: Path, text: str) -> LooseTable:
    path = folder / "pairs.csv"
    path.write_text(text)
    return read_loose_table(path)


def pairs_of(folder: Path, text: str) -> tuple[list[Pair], int]:
    """Pairs that are in no split, and how many are equal."""
    read = table(folder, text)
    columns = pair_columns(read.written)
    assert columns is not None
    lines, equal = read_pairs(read, columns, upper)
    assert all(line.split == "" for line in lines)
    return [line.pair for line in lines], equal


def error_of(folder: Path, text: str) -> str:
    with pytest.raises(ManifestError) as caught:
        pairs_of(folder, text)
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    return message


@pytest.mark.parametrize(
    ("names", "columns"),
    [
        (["better", "worse"], PairColumns("better", "worse")),
        (["fold", "loser", "winner"], PairColumns("winner", "loser")),
        (["vid_1", "vid_2", "best"], PairColumns("vid_1", "vid_2", "best")),
        (["vid_1", "vid_2", "better"], PairColumns("vid_1", "vid_2", "better")),
        (["left", "right", "preference"], PairColumns("left", "right", "preference")),
        (["video_1", "video_2"], None),
        (["video", "better"], None),
        (["id", "score"], None),
    ],
)
def test_what_makes_a_table_one_of_pairs(names: list[str], columns: PairColumns | None) -> None:
    assert pair_columns(names) == columns


AC, AB, BC = Pair("A", "C"), Pair("A", "B"), Pair("B", "C")
CA, BA, CB = (Pair(worse, better) for better, worse in (AC, AB, BC))


def answered(answers: tuple[str, str, str]) -> str:
    """A table that asks of a and c, a and b, b and c."""
    rows = (",".join(row) for row in zip(("a,c", "a,b", "b,c"), answers, strict=True))
    return "\n".join(["Video 1,Video 2,Preferred", *rows])


@pytest.mark.parametrize(
    ("answers", "pairs"),
    [
        (("a", "b", "c"), [AC, BA, CB]),
        (("C", "A", "b"), [CA, AB, BC]),
        (("", "a", "0"), [AB]),
        (("tie", "none", "Same"), []),
        (("1", "2", "1"), [AC, BA, BC]),
        (("0", "2", "1"), [BA, BC]),
        (("1", "-1", "0"), [AC, BA]),
        (("left", "Right", "equal"), [AC, BA]),
    ],
)
def test_answers(answers: tuple[str, str, str], pairs: list[Pair], tmp_path: Path) -> None:
    assert pairs_of(tmp_path, answered(answers)) == (pairs, 3 - len(pairs))


def test_videos_called_1_and_2_are_named(tmp_path: Path) -> None:
    text = "Video 1,Video 2,Preferred\n2,1,1\n1,2,1\n"
    assert pairs_of(tmp_path, text) == ([Pair("1", "2")] * 2, 0)


@pytest.mark.parametrize(
    ("answers", "line", "told"),
    [
        (("a", "2", "c"), 3, "2"),
        (("a", "b", "d"), 4, "d"),
        (("1", "1", "3"), 2, "1"),
        # The second video, or neither?
        (("1", "0", "1"), 2, "1"),
    ],
)
def test_answers_without_a_meaning(
    answers: tuple[str, str, str], line: int, told: str, tmp_path: Path
) -> None:
    assert error_of(tmp_path, answered(answers)) == (
        f"{tmp_path}/pairs.csv, line {line}: 'Preferred' is '{told}'; write the better video in "
        "every row, or 1 and 2, and nothing where neither is better"
    )


def test_splits_of_pairs(tmp_path: Path) -> None:
    read = table(tmp_path, "better,worse,fold\na,b,1\nc,a,2\nb,c,\n")
    lines, equal = read_pairs(read, PairColumns("better", "worse"), upper)
    place = f"{tmp_path}/pairs.csv, line "
    assert equal == 0
    assert lines == [
        Listed(f"{place}2", AB),
        Listed(f"{place}3", CA),
        Listed(f"{place}4", BC),
        Listed(f"{place}2", AB, "1", "test"),
        Listed(f"{place}2", AB, "2", "train"),
        Listed(f"{place}3", CA, "1", "train"),
        Listed(f"{place}3", CA, "2", "test"),
    ]


def test_unknown_names_are_told_even_where_neither_is_better(tmp_path: Path) -> None:
    text = "Video 1,Video 2,Preferred\na,b,\na,x,\n"
    assert error_of(tmp_path, text) == f"{tmp_path}/pairs.csv, line 3: no video x"


def test_a_list(tmp_path: Path) -> None:
    path = tmp_path / "pairs.txt"
    path.write_text("a b\nb x\n")
    with pytest.raises(ManifestError, match="line 2: no video x"):
        read_list(path, upper)
    path.write_text("a b\n")
    assert read_list(path, upper) == [Listed(f"{path}, line 1", AB)]


def test_lists_of_parts_and_folds(tmp_path: Path) -> None:
    (tmp_path / "splits").mkdir()
    files = {
        "splits/train_split1.txt": ("1", "train"),
        "splits/val_split1.txt": ("1", "val"),
        "splits/test-fold2.txt": ("2", "test"),
        "splits/test10.txt": ("10", "test"),
        "train.txt": ("default", "train"),
    }
    for file in files:
        (tmp_path / file).write_text("a b\n")
    for file in ("README.txt", "train_vid_list.txt", "best.txt"):
        (tmp_path / file).write_text("some words of text\n")
    found = {(line.split, line.part) for line in read_lists(tmp_path, upper)}
    assert found == {*files.values()}
    assert len(read_lists(tmp_path, upper)) == len(files)


def test_two_lists_of_one_part(tmp_path: Path) -> None:
    for name in ("val_1.txt", "valid1.txt"):
        (tmp_path / name).write_text("a b\n")
    with pytest.raises(ManifestError) as caught:
        read_lists(tmp_path, upper)
    assert str(caught.value) == (
        f"{tmp_path}/val_1.txt and {tmp_path}/valid1.txt are of one part; remove one"
    )
