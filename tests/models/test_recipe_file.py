"""Recipe files of a user: what is read, what is inherited, and what each mistake says."""

import re
from dataclasses import FrozenInstanceError
from pathlib import Path

import pytest

from aqakit.features.errors import RecipeError
from aqakit.models.head import Fitting
from aqakit.models.recipe_file import DatasetFacts, Reported, find_row, read_paper, recipe_names

TOP = """
title = "On pegs"
authors = "Ann Able and Bo Best"
venue = "PEGS 2020"

[[datasets]]
name = "pegs"
protocol = "four folds"
epoch = "last"
seeds = 5
source = "section 4"
"""
FULL = """
[rows.full]
title = "Ours"
head = "ranksvm"
features = { features = "flow-hist.flow" }
label_range = [6, 30]
options.C = { value = 2, source = "section 3" }
options.kernel = { value = "linear", omitted = "not said" }
options.gamma = { value = 1.0, omitted = "not said" }
options.search = { value = "none", omitted = "not said" }
options.pooling = { value = "mean", source = "equation 1" }
fitting.patience = { value = 7, source = "section 5" }
reported = [
    { dataset = "pegs", task = "mean", metric = "accuracy", value = 0.75, source = "Table 1" },
    { dataset = "pegs", task = "long", metric = "spearman", value = -0.5, source = "Table 1" },
]
"""
CHILD = """
[rows.child]
title = "Ours, with search"
extends = "full"
options.search = { value = "grid", source = "section 6" }
"""


@pytest.fixture
def write(tmp_path: Path) -> "Writer":
    return Writer(tmp_path / "own.toml")


class Writer:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __call__(self, *parts: str) -> Path:
        self.path.write_text("".join(parts))
        return self.path

    def complaint(self, *parts: str) -> str:
        """What reading says, without the name of the file in front of it."""
        path = self(*parts)
        with pytest.raises(RecipeError) as caught:
            read_paper(path)
        message = str(caught.value)
        assert "\n" not in message
        front = f"{path}: "
        assert message.startswith(front)
        return message.removeprefix(front)


def test_a_row_is_read_whole(write: Writer) -> None:
    path = write(TOP, FULL)
    row = find_row(f"{path}/full")
    assert row.name == f"{path}/full"
    assert (row.title, row.head, row.not_run) == ("Ours", "ranksvm", "")
    assert row.features == {"features": "flow-hist.flow"}
    assert row.options == {
        "C": 2.0,
        "kernel": "linear",
        "gamma": 1.0,
        "search": "none",
        "pooling": "mean",
    }
    assert isinstance(row.options["C"], float)
    assert row.fitting == Fitting(patience=7)
    assert row.label_range == (6.0, 30.0)
    assert row.reported == (
        Reported("pegs", "mean", "accuracy", 0.75, "Table 1"),
        Reported("pegs", "long", "spearman", -0.5, "Table 1"),
    )
    assert row.sources == {"C": "section 3", "pooling": "equation 1", "patience": "section 5"}
    assert row.omitted == {"kernel": "not said", "gamma": "not said", "search": "not said"}


def test_the_paper_is_read_whole(write: Writer) -> None:
    path = write(TOP, FULL, CHILD)
    paper = read_paper(path)
    about = paper.publication
    assert (about.name, about.title) == (str(path), "On pegs")
    assert (about.authors, about.venue) == ("Ann Able and Bo Best", "PEGS 2020")
    assert about.datasets == (DatasetFacts("pegs", "four folds", "last", 5, "section 4"),)
    assert list(paper.rows) == ["full", "child"]
    assert all(row.paper is about for row in paper.rows.values())


def test_options_come_in_the_order_of_the_head(write: Writer) -> None:
    lines = FULL.splitlines()
    turned = [*lines[:5], *reversed(lines[5:9]), *lines[9:]]
    assert list(find_row(f"{write(TOP, chr(10).join(turned))}/full").options) == [
        "C",
        "kernel",
        "gamma",
        "search",
        "pooling",
    ]


def test_a_row_inherits_all_but_title_and_numbers(write: Writer) -> None:
    paper = read_paper(write(TOP, FULL, CHILD))
    full, child = paper.rows["full"], paper.rows["child"]
    assert (child.title, child.reported) == ("Ours, with search", ())
    assert child.options == {**full.options, "search": "grid"}
    assert (child.head, child.features) == (full.head, full.features)
    assert (child.fitting, child.label_range) == (full.fitting, full.label_range)
    assert child.omitted == {"kernel": "not said", "gamma": "not said"}
    assert child.sources["search"] == "section 6"
    assert full.options["search"] == "none"


def test_a_row_may_stand_before_the_one_that_it_extends_and_be_extended(write: Writer) -> None:
    grandchild = '[rows.grandchild]\ntitle = "G"\nextends = "child"\n'
    options = 'options.C = { value = 5.0, omitted = "why" }\n'
    row = read_paper(write(TOP, grandchild, options, CHILD, FULL)).rows["grandchild"]
    assert row.options == {
        "C": 5.0,
        "kernel": "linear",
        "gamma": 1.0,
        "search": "grid",
        "pooling": "mean",
    }
    assert (row.omitted, "C" in row.sources) == (
        {"C": "why", "kernel": "not said", "gamma": "not said"},
        False,
    )


def test_features_and_range_are_replaced_whole_and_fitting_one_by_one(write: Writer) -> None:
    base = FULL.replace("ranksvm", "deep-ranking").replace("{ features =", "{ rgb =")
    base = re.sub(r"options.*\n", "", base) + _deep_ranking()
    own = """
[rows.other]
title = "Other"
extends = "full"
features = { flow = "flow-hist" }
label_range = [0, 1]
fitting.clip_norm = { value = 1, omitted = "ours" }
fitting.precision = { value = "float64", source = "section 2" }
"""
    row = read_paper(write(TOP, base, own)).rows["other"]
    assert row.features == {"flow": "flow-hist"}
    assert row.label_range == (0.0, 1.0)
    assert row.fitting == Fitting(1.0, 7, "float64")
    assert (row.omitted["clip_norm"], row.sources["patience"]) == ("ours", "section 5")


def _deep_ranking() -> str:
    values = (
        "margin=1.0 beta=0.5 similarity=false segments=3 dropout=0.8 rgb_weight=0.4 epochs=200 "
        "batch_pairs=128 learning_rate=1e-3 momentum=0.9 weight_decay=5e-4 standardise=false"
    )
    settings = (word.split("=") for word in values.split())
    lines = [
        f'[rows.full.options.{name}]\nvalue = {value}\nomitted = "why"\n'
        for name, value in settings
    ]
    return "".join(lines)


def test_a_row_may_say_why_it_is_not_run(write: Writer) -> None:
    row = read_paper(
        write(TOP, '[rows.graph]\ntitle = "Graph"\nnot_run = "no head has a graph"\n')
    ).rows["graph"]
    assert (row.head, row.not_run, row.options) == ("", "no head has a graph", {})
    assert (row.features, row.fitting, row.label_range) == ({}, Fitting(), None)


def test_a_row_that_is_run_may_extend_one_that_is_not(write: Writer) -> None:
    graph = '[rows.graph]\ntitle = "Graph"\nnot_run = "no head has a graph"\n'
    row = read_paper(write(TOP, graph, FULL.replace('"Ours"', '"Ours"\nextends = "graph"'))).rows
    assert (row["full"].head, row["full"].not_run) == ("ranksvm", "")


def test_what_is_read_cannot_be_changed_by_accident(write: Writer) -> None:
    row = find_row(f"{write(TOP, FULL)}/full")
    with pytest.raises(FrozenInstanceError):
        row.head = "svr"  # type: ignore[misc]


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("title", "titel", "key 'title' is missing; add it"),
        ("[[data", 'note = "x"\n[[data', "unknown key 'note'; remove or correct it"),
        ("seeds = 5", "seed = 5", "unknown key 'datasets.1.seed'; remove or correct it"),
        ("seeds = 5", "seeds = 0", "datasets.1: seeds is 0; give 1 or more"),
        ('"On pegs"', '" "', "title: is empty; fill it in"),
        ('"PEGS 2020"', "2020", "venue is '2020': Input should be a valid string; correct it"),
        ("label_range", "labels", "unknown key 'rows.full.labels'; remove or correct it"),
        ("[6, 30]", "[30, 6]", "rows.full: label_range is [30.0, 6.0]; give the least and the "),
        ("[6, 30]", "[6, inf]", "rows.full: label_range is [6.0, inf]; give the least and the "),
        ("[6, 30]", "[6]", "rows.full: label_range is [6.0]; give the least and the greatest"),
        (
            "value = 2,",
            'value = 2, omitted = "o",',
            "rows.full.options.C: has both source and omitted, or neither; give one of them",
        ),
        (
            ', source = "section 3"',
            "",
            "rows.full.options.C: has both source and omitted, or neither; give one of them",
        ),
        ('"section 3"', '""', "rows.full.options.C.source: is empty; fill it in"),
        ("value = 2,", "values = 2,", "key 'rows.full.options.C.value' is missing; add it"),
        (
            "value = 2,",
            "value = [2],",
            "rows.full.options.C.value: give a number, true, false or a word",
        ),
        ("value = 2,", 'value = "2",', "rows.full: C is '2'; it must be a number"),
        ("value = 2,", "value = true,", "rows.full: C is True; it must be a number"),
        ("value = 2,", "value = 0,", "rows.full: ranksvm: C is 0.0; it must be positive and "),
        ('"mean", source', '"median", source', "rows.full: pooling is 'median'; choose one of: "),
        ("options.C ", "options.c ", "rows.full: ranksvm has no option 'c'; it has: C, "),
        (
            'options.search = { value = "none", omitted = "not said" }',
            "",
            "rows.full lacks options of ranksvm: search; add each with its source, or with omitted",
        ),
        ('"ranksvm"', '"rank-svm"', "rows.full: no head 'rank-svm'; choose one of: aim, "),
        (
            'head = "ranksvm"',
            'head = "ranksvm"\nnot_run = "why"',
            "rows.full: has both head and not_run; give one of them",
        ),
        (
            'head = "ranksvm"',
            "",
            "rows.full has no head; name one, or say in not_run why there is none",
        ),
        (
            'head = "ranksvm"',
            'not_run = "why"',
            "rows.full is not run, but has features, options or fitting; remove them",
        ),
        ("{ features =", "{ rgb =", "rows.full.features: ranksvm has no feature 'rgb'; it has: f"),
        ("value = 7,", "value = 7.5,", "rows.full.fitting.patience.value is '7.5': "),
        ("value = 7,", "value = -1,", "rows.full: patience is -1; it must be 0 or more"),
        ("fitting.patience", "fitting.epochs", "unknown key 'rows.full.fitting.epochs'; remove "),
        ("value = 0.75", 'value = "0.75"', "rows.full.reported.1.value is '0.75': Input should be"),
        ("value = 0.75", "value = 75.0", "rows.full.reported.1: accuracy is 75; it must be from 0"),
        ("value = -0.5", "value = -1.5", "rows.full.reported.2: spearman is -1.5; it must be from"),
        ("value = -0.5", "value = nan", "rows.full.reported.2: spearman is nan; it must be from "),
        ('"spearman"', '"mse"', "rows.full.reported.2: mse is -0.5; it must be from 0 to inf"),
        ('"spearman"', '"rho"', "rows.full.reported.2.metric is 'rho': Input should be 'accuracy'"),
        ('"mean", metric', '"", metric', "rows.full.reported.1.task: is empty; fill it in"),
        (
            'dataset = "pegs", task = "long"',
            'dataset = "bricks", task = "long"',
            "rows.full.reported.2.dataset is 'bricks', which is not under [[datasets]]; add it, ",
        ),
        (
            'task = "long", metric = "spearman", value = -0.5',
            'task = "mean", metric = "accuracy", value = 0.7',
            "rows.full.reported.2 says pegs mean accuracy once more; keep one of them",
        ),
        ('epoch = "last"', 'epoch = "best"', "datasets.1.epoch is 'best': Input should be 'last'"),
        ("[rows.full]", '[rows."a/b"]', "rows.'a/b' is no name of a row; use letters, digits and"),
        ("[rows.full]", "[rows.full", "is not TOML (Expected ']'"),
    ],
)
def test_each_mistake_has_its_line(write: Writer, old: str, new: str, complaint: str) -> None:
    text = TOP + FULL
    assert old in text
    assert write.complaint(text.replace(old, new, 1)).startswith(complaint)


def test_infinite_errors_are_none(write: Writer) -> None:
    text = FULL.replace('"spearman", value = -0.5', '"mse", value = inf')
    assert write.complaint(TOP, text).startswith("rows.full.reported.2: mse is inf; it must be")


def test_a_row_that_extends_none_that_there_is(write: Writer) -> None:
    assert write.complaint(TOP, FULL, CHILD.replace('"full"', '"fool"')) == (
        "rows.child.extends is 'fool', which is no row; choose one of: full, child"
    )


def test_rows_that_extend_each_other(write: Writer) -> None:
    looped = FULL.replace('"Ours"', '"Ours"\nextends = "child"')
    assert write.complaint(TOP, looped, CHILD) == (
        "rows.full.extends: full -> child -> full goes round; give one row all options"
    )


def test_an_inherited_option_that_another_head_lacks(write: Writer) -> None:
    child = CHILD + 'head = "svr"\n'
    assert write.complaint(TOP, FULL, child.replace("[rows.child]", "[rows.svr]")).startswith(
        "rows.svr: svr has no option 'gamma'; it has: kernel, degree, C, epsilon, search, pooling"
    )


def test_a_long_or_broken_value_does_not_fill_the_line(write: Writer) -> None:
    long = FULL.replace('"Ours"', '["' + "x" * 500 + '\\n"]')
    assert len(write.complaint(TOP, long)) < 200


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    path = tmp_path / "none.toml"
    expected = f"{path}: cannot be read (No such file or directory); correct its path"
    with pytest.raises(RecipeError, match=re.escape(expected)):
        read_paper(path)
    with pytest.raises(RecipeError, match=re.escape(expected)):
        find_row(f"{path}/full")


def test_a_file_that_is_no_text(tmp_path: Path) -> None:
    path = tmp_path / "own.toml"
    path.write_bytes(b"title = '\xff'")
    with pytest.raises(RecipeError, match="is not TOML") as caught:
        read_paper(path)
    assert str(path) in str(caught.value)


def test_a_file_is_read_again_when_it_has_changed(write: Writer) -> None:
    name = f"{write(TOP, FULL)}/full"
    assert find_row(name).options["C"] == 2.0
    write(TOP, FULL.replace("value = 2,", "value = 3,"))
    assert find_row(name).options["C"] == 3.0


def test_a_file_is_found_from_where_one_is(write: Writer, monkeypatch: pytest.MonkeyPatch) -> None:
    write(TOP, FULL)
    monkeypatch.chdir(write.path.parent)
    assert find_row("own.toml/full").name == "own.toml/full"


def test_a_row_that_is_not_there(write: Writer) -> None:
    path = write(TOP, FULL, CHILD)
    expected = f"{path} has no row 'half'; choose one of: full, child"
    with pytest.raises(RecipeError, match=re.escape(expected)):
        find_row(f"{path}/half")


@pytest.mark.parametrize("name", ["full", "", "own.toml", "papers/own.toml"])
def test_a_name_without_a_row(name: str) -> None:
    with pytest.raises(RecipeError, match=f"'{name}' names no row; write PAPER/ROW, for example"):
        find_row(name)


def test_a_paper_that_is_not_shipped() -> None:
    with pytest.raises(
        RecipeError, match="no paper 'nobody_2020'; choose one of: doughty_cvpr2019"
    ):
        find_row("nobody_2020/full")


def test_shipped_rows_are_found_by_name() -> None:
    names = recipe_names()
    assert len(names) == len(set(names))
    assert "doughty_cvpr2019/full" in names
    assert [find_row(name).name for name in names] == names


def test_shipped_rows_are_read_once() -> None:
    assert find_row("doughty_cvpr2019/full") is find_row("doughty_cvpr2019/full")


def test_a_mistake_in_a_shipped_file_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pegs_2020.toml").write_text(TOP + FULL.replace("value = 2,", "value = 0,"))
    monkeypatch.setattr("aqakit.models.recipe_file._folder", lambda: tmp_path)
    with pytest.raises(RecipeError, match=r"pegs_2020\.toml: rows\.full: ranksvm: C is 0\.0"):
        find_row("pegs_2020/full")
