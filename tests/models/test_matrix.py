"""The file of a batch: what it says, and one line for each mistake in it."""

from pathlib import Path

import pytest

from aqakit.features.errors import RecipeError
from aqakit.models.matrix import Matrix, MatrixRow, read_matrix
from aqakit.models.protocol import Protocol

HEAD = 'manifest = "m"\nstore = "s"\n'
ROW = '[[rows]]\nhead = "svr"\nfeatures = ["pose"]\n'


def read(folder: Path, text: str) -> Matrix:
    (folder / "matrix.toml").write_text(text)
    return read_matrix(folder / "matrix.toml")


def test_all_that_a_matrix_can_say(tmp_path: Path) -> None:
    text = """
    manifest = "labels"
    store = "../store"
    pairs = "labels/other.csv"
    seeds = 5
    tasks = "each"
    dataset = "epic-skills"

    [protocol]
    kind = "group-k-fold"
    folds = 4
    repeats = 2
    validation = 0.2
    seed = 7

    [[rows]]
    recipe = "doughty_cvpr2019/full"

    [[rows]]
    head = "aim"
    name = "two streams"
    features = ["i3d", ["primary=a", "secondary=b"]]
    options = { epochs = 3, theta = 0.5, labels = "raw", batch = 4, standardise = true }
    fitting = { patience = 4, clip_norm = 1 }
    shuffled = true
    label_range = [6, 30]
    """
    rest = {
        "head": "aim",
        "name": "two streams",
        "options": {
            "epochs": 3,
            "theta": 0.5,
            "labels": "raw",
            "batch": 4,
            "standardise": True,
        },
        "fitting": {"patience": 4, "clip_norm": 1.0},
        "shuffled": True,
        "label_range": (6.0, 30.0),
    }
    assert read(tmp_path, text) == Matrix(
        tmp_path / "labels",
        tmp_path / "../store",
        (
            MatrixRow(
                (),
                recipe="doughty_cvpr2019/full",
                name="doughty_cvpr2019/full",
                options={},
                fitting={},
            ),
            MatrixRow(("i3d",), **rest),  # type: ignore[arg-type]
            MatrixRow(("primary=a", "secondary=b"), **rest),  # type: ignore[arg-type]
        ),
        Protocol("group-k-fold", folds=4, repeats=2, validation=0.2, seed=7),
        tmp_path / "labels/other.csv",
        5,
        "each",
        "epic-skills",
    )


def test_the_command_line_may_name_other_videos(tmp_path: Path) -> None:
    (tmp_path / "matrix.toml").write_text("pairs = 'p.csv'\nstore = 's'\n" + ROW)
    found = read_matrix(tmp_path / "matrix.toml", Path("labels"))
    assert (found.manifest, found.store, found.pairs) == (Path("labels"), tmp_path / "s", None)
    found = read_matrix(tmp_path / "matrix.toml", Path("labels"), Path("other"), Path("pairs.csv"))
    assert (found.store, found.pairs) == (Path("other"), Path("pairs.csv"))


def test_a_recipe_of_ones_own_lies_where_the_matrix_does(tmp_path: Path) -> None:
    (row,) = read(tmp_path, HEAD + "[[rows]]\nrecipe = 'mine.toml/a'").rows
    assert (row.recipe, row.name) == (f"{tmp_path / 'mine.toml'}/a", "mine.toml/a")


def test_types_of_options_are_kept(tmp_path: Path) -> None:
    row = read(tmp_path, HEAD + ROW + "options = { a = 1, b = 1.0, c = true, d = '1' }").rows[0]
    assert row.options is not None
    assert [type(value) for value in row.options.values()] == [int, float, bool, str]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (HEAD + ROW + "[protocol]\nkind = 'k-fold'\nfold = 3", "unknown key 'protocol.fold'"),
        (HEAD + ROW + "epochs = 3", "unknown key 'rows.1.epochs'; remove or correct it"),
        ("seedz = 3\n" + HEAD + ROW, "unknown key 'seedz'"),
        ("store = 's'\n" + ROW, "has no manifest; add it, or name it on the command line"),
        (HEAD, "key 'rows' is missing"),
        (HEAD + "rows = []", "has no [[rows]]"),
        ("seeds = 0\n" + HEAD + ROW, "seeds = 0; give 1 or more"),
        ("seeds = 'two'\n" + HEAD + ROW, "seeds is 'two'"),
        ("seeds = '2'\n" + HEAD + ROW, "seeds is '2'"),
        (HEAD + ROW + "shuffled = 'yes'", "rows.1.shuffled is 'yes'"),
        (HEAD + ROW + "[protocol]\nkind = 'k-fold'\nfolds = 2\nseed = -1", "seed = -1; give 0 or"),
        ("tasks = 'all'\n" + HEAD + ROW, "tasks is 'all'"),
        (HEAD + ROW + "[protocol]\nkind = 'loso'", "protocol.kind is 'loso'"),
        (HEAD + ROW + "[protocol]\nkind = 'k-fold'", "protocol k-fold has folds = 0"),
        (
            HEAD + ROW + "[protocol]\nkind = 'fixed'\ntrain = ['A', 'B']\ntest = ['B']",
            "subject 'B' is in train and in test; leave it in one",
        ),
        (
            HEAD + "[[rows]]\nfeatures = ['pose']",
            "row 1: names both a recipe and a head, or neither",
        ),
        (HEAD + ROW + "recipe = 'a/b'", "row 1: names both a recipe and a head, or neither"),
        (HEAD + ROW + "label_range = [1]", "rows.1.label_range"),
        (HEAD + ROW + "label_range = [9, 1]", "label_range is 9 to 1"),
        ("manifest = ", "is not TOML"),
    ],
)
def test_a_mistake_is_one_line_with_file_and_key(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(RecipeError) as caught:
        read(tmp_path, text)
    assert message in str(caught.value)
    assert str(caught.value).startswith(f"{tmp_path / 'matrix.toml'}: ")
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="cannot be read \\(No such file or directory\\)"):
        read_matrix(tmp_path / "none.toml")
