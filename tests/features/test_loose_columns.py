from pathlib import Path

import pytest

from aqakit.features.errors import ManifestError
from aqakit.features.loose_columns import Columns, read_splits, recognise, split_columns
from aqakit.features.loose_table import LooseTable


def table(*rows: str) -> LooseTable:
    """A table of the columns Set and Fold."""
    cells = [dict(zip(("set", "fold"), row.split(","), strict=True)) for row in rows]
    lines = [(f"line {number}", row) for number, row in enumerate(cells, 2)]
    return LooseTable(Path("t.csv"), {"set": "Set", "fold": "Fold"}, lines)


def error_of(of: LooseTable, splits: dict[str, str]) -> str:
    with pytest.raises(ManifestError) as caught:
        read_splits(of, splits)
    return str(caught.value)


def test_the_columns_of_a_manifest() -> None:
    names = [
        "id",
        "path",
        "start",
        "end",
        "task",
        "subject",
        "trial",
        "score",
        "difficulty",
        "action_type",
    ]
    found = recognise([*names, "score_execution", "split", "split_user"])
    assert found == Columns(
        {name: name for name in found.meanings},
        {"execution": "score_execution"},
        {},
        {"split": "", "split_user": "user"},
        [],
    )
    assert set(found.meanings) == set(names)


def test_the_first_of_several_names_counts_and_the_others_are_told() -> None:
    found = recognise(["total", "participant", "score", "group", "video", "clip"])
    assert found.meanings == {"id": "video", "subject": "participant", "score": "score"}
    assert found.unused == ["total", "group", "clip"]


def test_a_name_beside_a_file_may_be_anybodys() -> None:
    assert recognise(["name", "score"]).meanings == {"id": "name", "score": "score"}
    found = recognise(["name", "file"])
    assert (found.meanings, found.unused) == ({"path": "file"}, ["name"])


def test_judges_give_parts_and_means() -> None:
    found = recognise(
        ["video", "rater_1", "judge_2_score", "execution_1", "exec_judge_2", "sync_score_1", "age"]
    )
    assert found.means == {
        "score": ["rater_1", "judge_2_score"],
        "execution": ["execution_1", "exec_judge_2"],
        "synchronisation": ["sync_score_1"],
    }
    judges = [judge for group in found.means.values() for judge in group]
    assert found.parts == {judge: judge for judge in judges}
    assert found.unused == ["age"]


def test_a_column_of_its_own_comes_before_a_mean() -> None:
    found = recognise(["video", "final_score", "rater_1", "execution", "execution_1"])
    assert found.means == {}
    assert found.parts == {
        "execution": "execution",
        "rater_1": "rater_1",
        "execution_1": "execution_1",
    }


def test_scores_of_parts() -> None:
    found = recognise(["id", "respect_for_tissue_score", "score_flow", "synchronization", "exec"])
    assert found.parts == {
        "respect_for_tissue": "respect_for_tissue_score",
        "flow": "score_flow",
        "synchronisation": "synchronization",
        "execution": "exec",
    }
    found = recognise(["id", "execution", "exec"])
    assert (found.parts, found.unused) == ({"execution": "execution"}, ["exec"])
    assert recognise(["id", "age", "judge", "camera_1", "round_1_2_score"]).unused == [
        *("age", "judge", "camera_1", "round_1_2_score"),
    ]


def test_split_columns() -> None:
    names = ["fold", "cv_fold", "split_a_b", "subset", "splitting", "offset", "set_1"]
    assert split_columns(names) == {
        "fold": "",
        "cv_fold": "",
        "split_a_b": "a_b",
        "subset": "",
        "set_1": "1",
    }


def test_a_column_of_parts_is_a_split() -> None:
    found = read_splits(table("Train,", "testing,", ",", "DEV,"), {"set": ""})
    assert found == {"default": ["train", "test", "", "val"]}
    assert read_splits(table("test,", ","), {"set": "user"}) == {"user": ["test", ""]}


def test_a_column_of_numbers_is_of_folds() -> None:
    found = read_splits(table("1,10.0", "2,2.0", ",", "1,2.0"), {"set": "", "fold": "b"})
    assert found == {
        "1": ["test", "train", "", "test"],
        "2": ["train", "test", "", "train"],
        "b-2": ["train", "test", "", "test"],
        "b-10": ["test", "train", "", "train"],
    }
    assert list(found) == ["1", "2", "b-2", "b-10"]


@pytest.mark.parametrize("rows", [("train,", "trian,"), ("1,", "2,", "test,"), ("train,", "2,")])
def test_cells_of_something_else(rows: tuple[str, ...]) -> None:
    message = error_of(table(*rows), {"set": ""})
    assert "'Set' is '" in message
    assert message.startswith("line ")
    assert message.endswith(
        "write train, val or test, or the number of a fold, in every cell, or rename the column"
    )


def test_a_wrong_cell_is_the_one_that_is_told() -> None:
    assert error_of(table("train,", "trian,"), {"set": ""}).startswith("line 3: 'Set' is 'trian'")


def test_one_fold_is_none() -> None:
    assert error_of(table("1,", "1,"), {"set": ""}) == (
        "t.csv: 'Set' has one fold, 1; number two or more, or remove the column"
    )


def test_two_columns_of_one_split() -> None:
    assert error_of(table("train,test"), {"set": "", "fold": ""}) == (
        "t.csv: two columns give split 'default'; rename one"
    )
