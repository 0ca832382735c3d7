"""Tables of runs, against plain loops over what was written; and what belongs together."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from aqakit.features.errors import RecipeError
from aqakit.features.manifest import Manifest, Video
from aqakit.features.spec import FeatureKey
from aqakit.models.batch import BATCH
from aqakit.models.fold import Fold, make_fold
from aqakit.models.head import Fitting, Head
from aqakit.models.recipe import Recipe
from aqakit.models.run import Run, write_run
from aqakit.models.table import Line, ResultTable, read_table

VIDEOS, FOLDS = 18, ("1", "2", "3")
POSE, I3D = FeatureKey("pose.track.all.steps-4"), FeatureKey("i3d.rgb.pool.stacks-4")
SVM, ATTENTION = "ranksvm", "rank-aware-attention"


def fold_of(task: str, split: str, lost: Sequence[str] = ()) -> Fold:
    """A third of the videos of a task tests; their labels follow from the name of the task."""
    order = np.random.default_rng([ord(letter) for letter in task]).permutation(VIDEOS)
    videos = tuple(
        Video(f"{task}-{n}", task=task or None, subject=f"s{n % 6}", score=float(order[n]))
        for n in range(VIDEOS)
    )
    parts = {
        video.id: "test" if f"{1 + n % len(FOLDS)}" == split else "train"
        for n, video in enumerate(videos)
    }
    return make_fold(Manifest(videos, {split: parts}), split, {v.id for v in videos} - {*lost})


class Learned:
    """Stands where a trained head would."""

    def save(self, folder: Path) -> None:
        (folder / "head").touch()


@dataclass
class Runs:
    """Writes run folders below a folder, and keeps what it wrote."""

    folder: Path
    scores: dict[tuple[str, str, str, int], NDArray[np.float64]] = field(default_factory=dict)
    folds: dict[tuple[str, str], Fold] = field(default_factory=dict)

    def write(
        self,
        place: str,
        name: str = "",
        task: str = "",
        split: str = "1",
        seeds: Sequence[int] = (0,),
        *,
        noise: float = 6.0,
        head: str = SVM,
        feature: FeatureKey = POSE,
        options: Mapping[str, Any] | None = None,
        lost: Sequence[str] = (),
        **more: Any,
    ) -> Path:
        recipe = Recipe.make(
            *(head, {"features": feature}, split, seeds),
            options=options,
            name=name,
            task=task,
            **more,
        )
        fold = fold_of(task, split, lost)
        assert fold.scores is not None
        rows = []
        for seed in seeds:
            rng = np.random.default_rng([len(name), len(task), int(split), seed, int(noise)])
            rows.append(fold.scores + rng.normal(0, noise, len(fold.videos)))
            self.scores[recipe.title, task, split, seed] = rows[-1]
        self.folds[task, split] = fold
        rng = np.random.default_rng(int(split))
        controls = {"constant": np.zeros(len(fold.videos)), "a coin": rng.random(len(fold.videos))}
        heads: tuple[Head, ...] = (Learned(),) * len(seeds)  # type: ignore[assignment]
        run = Run(recipe, fold, np.stack(rows), controls, ([],) * len(seeds), heads)
        write_run(run, self.folder / place)
        return self.folder / place

    def accuracy(self, name: str, task: str, split: str, seed: int) -> float:
        return accuracy(self.scores[name, task, split, seed], self.folds[task, split])


def accuracy(scores: NDArray[np.float64], fold: Fold) -> float:
    return sum(bool(scores[a] > scores[b]) for a, b in fold.test_pairs) / len(fold.test_pairs)


def batch(
    folder: Path, *rows: tuple[str, str, Sequence[str]], dataset: str = "made", **more: Any
) -> Path:
    """``batch.json`` of rows: title, name of the recipe, and run folders."""
    known = [{"title": title, "recipe": recipe, "runs": runs} for title, recipe, runs in rows]
    protocol = {"kind": "published"}
    whole = {"dataset": dataset, "protocol": protocol, "tasks": "each", "rows": known, **more}
    text = json.dumps(whole)
    (folder / BATCH).write_text(text)
    return folder


@pytest.fixture(autouse=True)
def no_intervals(monkeypatch: pytest.MonkeyPatch) -> None:
    """They take most of the time, and nothing here is about them."""
    for name in ("accuracy_interval", "score_interval"):
        monkeypatch.setattr(f"aqakit.models.row.{name}", lambda *folds: (0.0, 1.0))


@pytest.fixture
def runs(tmp_path: Path) -> Runs:
    return Runs(tmp_path / "runs")


def named(table: ResultTable, name: str) -> Line:
    (line,) = (line for line in table.lines if line.row.name == name)
    return line


def error_of(*folders: Path, against: str = "") -> str:
    with pytest.raises(RecipeError) as caught:
        read_table(folders, against)
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    return message


# Rows.


def test_a_row_is_over_all_folds_and_tasks_and_a_control_stands_once(runs: Runs) -> None:
    shape = {"bend": FOLDS, "lift": FOLDS[:1]}
    for task, splits in shape.items():
        for split in splits:
            for seed in (0, 1):
                runs.write(f"mine/{task}/{split}/{seed}", "mine", task, split, (seed,))
            runs.write(f"svm/{task}/{split}", "", task, split)
    table = read_table([runs.folder])
    assert [line.row.name for line in table.lines] == [
        "mine",
        SVM,
        "control: constant",
        "control: a coin",
    ]
    mine = named(table, "mine")
    by_task = {
        task: np.mean([[runs.accuracy("mine", task, s, n) for n in (0, 1)] for s in splits], axis=0)
        for task, splits in shape.items()
    }
    assert mine.row.accuracy == pytest.approx(np.mean([*by_task.values()]))
    assert mine.row.accuracy_sd == pytest.approx(np.std(sum(by_task.values()) / 2, ddof=1))
    assert (mine.row.seeds, mine.row.folds, mine.row.tasks) == (2, 4, 2)
    assert {task: row.accuracy for task, row in mine.by_task.items()} == pytest.approx(
        {task: own.mean() for task, own in by_task.items()}
    )
    assert (mine.by_task["bend"].folds, mine.by_task["lift"].folds) == (3, 1)
    assert mine.recipe is not None
    assert mine.recipe.features == {"features": POSE}

    coin = named(table, "control: a coin")
    assert (coin.row.folds, coin.row.seeds, coin.row.feature, coin.recipe) == (4, 1, "", None)
    own = {
        key: accuracy(np.random.default_rng(int(key[1])).random(VIDEOS), fold)
        for key, fold in runs.folds.items()
    }
    bend = np.mean([own["bend", split] for split in FOLDS])
    assert coin.row.accuracy == pytest.approx((bend + own["lift", "1"]) / 2)
    assert coin.by_task["lift"].accuracy == pytest.approx(own["lift", "1"])
    assert coin.differences == []


def test_a_control_is_over_the_largest_test_part_of_each_fold(runs: Runs) -> None:
    for split in FOLDS[:2]:
        gone = ("-0",) if split == "1" else ("-1", "-4")
        runs.write(f"less/{split}", "less", split=split, lost=gone)
        runs.write(f"all/{split}", "all", split=split)
        runs.write(f"more/{split}", "more", split=split, lost=gone[:1])
    table = read_table([runs.folder])
    whole, coin = named(table, "all").row, named(table, "control: a coin").row
    assert named(table, "less").row.test_videos == whole.test_videos - 3
    assert (coin.test_videos, coin.test_pairs) == (whole.test_videos, whole.test_pairs)
    assert coin.dropped_videos == 0


def test_what_is_not_there_is_counted_and_only_common_seeds_count(runs: Runs) -> None:
    places = [f"{split}-{seed}" for split in FOLDS[:2] for seed in (0, 1, 2)]
    for place in places[:4]:
        split, seed = place.split("-")
        runs.write(place, "mine", split=split, seeds=(int(seed),))
    batch(runs.folder, ("mine", "", places), ("gone", "", ["nowhere"]))
    table = read_table([runs.folder])
    line = named(table, "mine")
    assert (line.absent, line.row.missing, line.row.seeds, line.row.folds) == (2, 2, 1, 2)
    own = [runs.accuracy("mine", "", split, 0) for split in FOLDS[:2]]
    assert line.row.accuracy == pytest.approx(np.mean(own))
    assert math.isnan(line.row.accuracy_sd)
    assert table.left_out == ("gone",)


def test_a_row_of_which_the_folds_have_no_seed_in_common_is_left_out(runs: Runs) -> None:
    runs.write("a", "torn", split="1", seeds=(0,))
    runs.write("b", "torn", split="2", seeds=(1,))
    assert error_of(runs.folder) == (
        f"{runs.folder}: of no row is one seed there of all folds; run the batch again"
    )
    runs.write("c", "whole", split="1")
    table = read_table([runs.folder], "whole")
    assert [line.row.name for line in table.lines[:1]] == ["whole"]
    assert table.left_out == ("torn",)
    assert table.compared == ()


# Papers.

DATASET = """
title = "T"
authors = "A"
venue = "CVPR 1999"

[[datasets]]
name = "made"
protocol = "three folds"
epoch = "{epoch}"
source = "section 5"

[[datasets]]
name = "other"
protocol = "one fold"
epoch = "best on validation"
source = "section 6"

[rows.full]
title = "Ours"
head = "{head}"
features = {{ features = "i3d.rgb" }}
"""


def paper(folder: Path, head: str = ATTENTION, epoch: str = "best on test") -> str:
    """A recipe file with one row, whose name is returned."""
    text = DATASET.format(head=head, epoch=epoch)
    for name, value in Recipe.make(head, {}, "", (0,)).options.items():
        text += f'options.{name} = {{ value = {json.dumps(value)}, source = "section 4" }}\n'
    figures = [
        ("made", "mean", "accuracy", 0.9),
        ("made", "bend", "accuracy", 0.8),
        ("made", "lift", "accuracy", 0.0),
        ("made", "mean", "spearman", -0.25),
        ("made", "bend", "spearman", 0.5),
        ("made", "bend", "mse", 12.5),
        ("other", "lift", "accuracy", 0.7),
    ]
    reported = "".join(
        f'    {{ dataset = "{dataset}", task = "{task}", metric = "{metric}", value = {value}, '
        'source = "Table 1" },\n'
        for dataset, task, metric, value in figures
    )
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "paper.toml").write_text(f"{text}reported = [\n{reported}]\n")
    return f"{folder / 'paper.toml'}/full"


def line_of(
    runs: Runs, row: str, tasks: Sequence[str] = ("bend",), dataset: str = "made", **recipe: Any
) -> Line:
    places = [runs.write(f"run-{task}", row, task, **recipe).name for task in tasks]
    table = read_table([batch(runs.folder, (row, row, places), dataset=dataset)])
    return table.lines[0]


def test_published_figures_stand_beside_the_row_and_its_tasks(runs: Runs, tmp_path: Path) -> None:
    line = line_of(runs, paper(tmp_path), ("bend", "lift"))
    assert (line.published(), line.published("spearman")) == (0.9, -0.25)
    assert [line.published(task=task) for task in ("bend", "lift", "mean")] == [0.8, 0.0, 0.9]
    assert line.published("spearman", "lift") is None
    assert line.published("mse", "bend") == 12.5
    # Of several tasks, one task's figure is no figure of all.
    assert line.published("mse") is None
    assert line.published("mae") is None


@pytest.mark.parametrize(
    ("task", "dataset", "expected"), [("lift", "other", 0.7), ("bend", "other", None)]
)
def test_the_figure_of_an_only_task_is_that_of_the_row(
    runs: Runs, tmp_path: Path, task: str, dataset: str, expected: float | None
) -> None:
    line = line_of(runs, paper(tmp_path), (task,), dataset)
    assert line.published() == expected
    assert (
        line_of(replace(runs, folder=tmp_path / "b"), paper(tmp_path), (task,), "").published()
        is None
    )


def test_labels_turned_into_noise_follow_no_paper(runs: Runs, tmp_path: Path) -> None:
    line = line_of(runs, paper(tmp_path), shuffled=True)
    assert (line.published(), line.differences) == (None, [])


def test_what_differs_from_the_paper_is_said_one_by_one(runs: Runs, tmp_path: Path) -> None:
    row = paper(tmp_path)
    alike = {"head": ATTENTION, "feature": I3D}
    line = line_of(runs, row, **alike)
    assert line.differences == ["the epoch is last, in the paper best on test"]
    line = line_of(replace(runs, folder=tmp_path / "o"), row, ("bend",), "other", **alike)
    assert line.differences == ["the epoch is last, in the paper best on validation"]
    other = replace(runs, folder=tmp_path / "p")
    options = {"epochs": 7, "standardise": True}
    fitting = Fitting(clip_norm=0.5, patience=3)
    line = line_of(
        *(other, row, ("bend",), "other"),
        head=ATTENTION,
        options=options,
        fitting=fitting,
        lost=("bend-0", "bend-1"),
    )
    lost = fold_of("bend", "1", ("bend-0", "bend-1")).dropped_pairs
    assert line.differences == [
        f"features is {POSE}, in the paper i3d.rgb",
        "epochs is 7, in the recipe 2000",
        "standardise is True, in the recipe False",
        "clip_norm is 0.5, in the recipe 0.0",
        f"{lost} pairs lost, over all folds",
    ]


def test_a_head_without_epochs_does_not_differ_in_them(runs: Runs, tmp_path: Path) -> None:
    line = line_of(runs, paper(tmp_path, SVM), feature=I3D)
    assert line.differences == []
    assert line.published() == 0.9


def test_a_run_alone_knows_its_paper_by_the_name_of_its_recipe(runs: Runs, tmp_path: Path) -> None:
    runs.write("one", paper(tmp_path), head=ATTENTION, feature=I3D, options={"epochs": 7})
    runs.write("two", "mine/other", head=ATTENTION)
    runs.write("three", "doughty_cvpr2019/full", head=ATTENTION)
    lines = {line.row.name: line for line in read_table([runs.folder]).lines if line.recipe}
    assert lines[paper(tmp_path)].differences == ["epochs is 7, in the recipe 2000"]
    assert lines["mine/other"].paper is None
    shipped = lines["doughty_cvpr2019/full"].paper
    assert shipped is not None
    assert shipped.paper.venue == "CVPR 2019"
    assert lines["doughty_cvpr2019/full"].published() is None


def test_a_recipe_file_that_is_gone_costs_its_figures_and_is_named(
    runs: Runs, tmp_path: Path
) -> None:
    places = [runs.write(split, "mine", split=split).name for split in FOLDS]
    batch(runs.folder, ("mine", f"{tmp_path}/gone.toml/full", places))
    table = read_table([runs.folder])
    line = named(table, "mine")
    assert (line.paper, line.published(), line.row.folds) == (None, None, 3)
    (told,) = table.unread
    assert told.startswith(f"{tmp_path}/gone.toml: cannot be read (No such file or directory);")
    assert told.endswith("; its figures are left out")


# Comparisons.


def holm(ps: Sequence[float]) -> list[float]:
    order = sorted(range(len(ps)), key=ps.__getitem__)
    found, largest = [0.0] * len(ps), 0.0
    for rank, place in enumerate(order):
        largest = max(largest, min(1.0, (len(ps) - rank) * ps[place]))
        found[place] = largest
    return found


def corrected_t(differences: Sequence[float], train: int, test: int) -> float:
    count, mean = len(differences), float(np.mean(differences))
    variance = sum((one - mean) ** 2 for one in differences) / (count - 1)
    t = mean / math.sqrt((1 / count + test / train) * variance)
    return float(2 * stats.t.cdf(-abs(t), count - 1))


def test_folds_of_one_task_are_compared_by_the_corrected_t_test(runs: Runs) -> None:
    for split in FOLDS:
        for seed in (0, 1):
            runs.write(f"mine-{split}-{seed}", "mine", split=split, seeds=(seed,), noise=3)
        runs.write(f"svm-{split}", "", split=split, noise=9)
    (one,) = read_table([runs.folder], SVM).compared
    differences = [
        sum(runs.accuracy("mine", "", split, seed) for seed in (0, 1)) / 2
        - runs.accuracy(SVM, "", split, 0)
        for split in FOLDS
    ]
    assert (one.name, one.feature, one.task) == ("mine", POSE, "")
    assert one.difference == pytest.approx(np.mean(differences))
    assert one.p == pytest.approx(corrected_t(differences, 12, 6))
    assert one.adjusted_p == one.p
    assert one.test == "corrected resampled t-test over folds"


def test_few_tasks_are_compared_one_by_one_with_holms_correction(runs: Runs) -> None:
    tasks = ("bend", "lift", "squat")
    for task in tasks:
        for split in FOLDS:
            for name, noise in (("mine", 2), ("other", 5), ("base", 12)):
                runs.write(f"{name}-{task}-{split}", name, task, split, noise=noise)
    # A task that only one of both has is not compared.
    runs.write("mine-more", "mine", "more")
    table = read_table([runs.folder], "base")
    assert table.against == "base"
    expected = []
    for name in ("mine", "other"):
        for task in tasks:
            differences = [
                runs.accuracy(name, task, s, 0) - runs.accuracy("base", task, s, 0) for s in FOLDS
            ]
            p = corrected_t(differences, 12, 6)
            expected.append((name, task, np.mean(differences), p))
    found = {(one.name, one.task): one for one in table.compared}
    assert len(found) == len(table.compared) == 6
    for (name, task, difference, p), fair in zip(
        expected, holm([p for *_, p in expected]), strict=True
    ):
        one = found[name, task]
        assert (one.difference, one.p, one.adjusted_p) == pytest.approx((difference, p, fair))
    assert max(one.adjusted_p - one.p for one in table.compared) > 0


def test_many_tasks_are_compared_by_wilcoxons_test(runs: Runs) -> None:
    tasks = tuple("abcdefg")
    for task in tasks:
        for split in FOLDS[: 1 + len(tasks) % 2]:
            runs.write(f"mine-{task}-{split}", "mine", task, split, noise=1)
            runs.write(f"base-{task}-{split}", "base", task, split, noise=12)
    (one,) = read_table([runs.folder], "base").compared
    means = [
        np.mean([runs.accuracy(name, task, s, 0) for s in FOLDS[:2]])
        for name in ("mine", "base")
        for task in tasks
    ]
    differences = np.array(means[:7]) - np.array(means[7:])
    assert one.task == ""
    assert one.test == "Wilcoxon signed-rank test over 7 tasks"
    assert one.difference == pytest.approx(differences.mean())
    expected = stats.wilcoxon(differences.round(12), zero_method="zsplit").pvalue
    assert one.p == pytest.approx(expected)
    assert one.p < 0.05


def test_nothing_can_be_tested_on_one_fold(runs: Runs) -> None:
    runs.write("a", "mine", noise=1)
    runs.write("b", "base", noise=20)
    (one,) = read_table([runs.folder], "base").compared
    assert one.difference > 0
    assert math.isnan(one.p)
    assert math.isnan(one.adjusted_p)


def test_a_row_to_compare_with_is_named_with_its_feature_where_a_name_comes_twice(
    runs: Runs,
) -> None:
    for feature in (POSE, I3D):
        for split in FOLDS:
            runs.write(f"{feature}/{split}", split=split, feature=feature, noise=len(feature))
    assert error_of(runs.folder, against="svm") == (
        f"0 rows are called 'svm'; name one of '{SVM}', with its feature where a name comes twice"
    )
    assert error_of(runs.folder, against=SVM).startswith(f"2 rows are called '{SVM}'; name one")
    (one,) = read_table([runs.folder], f"{SVM} {I3D}").compared
    assert one.feature == POSE
    assert "0 rows" in error_of(runs.folder, against="control: constant")


# What belongs together.


def test_seeds_and_folds_may_lie_in_several_folders_and_count_once(runs: Runs) -> None:
    first = runs.write("a/one", "mine", split="1", seeds=(0, 1))
    runs.write("b/two", "mine", split="2", seeds=(0,))
    third = runs.write("c/three", "mine", split="2", seeds=(1,))
    folders = [first.parent, runs.folder / "b", third, third, runs.folder]
    table = read_table(folders)
    line = named(table, "mine")
    assert (line.row.seeds, line.row.folds, line.row.missing) == (2, 2, 0)
    values = [[runs.accuracy("mine", "", s, n) for n in (0, 1)] for s in ("1", "2")]
    assert line.row.accuracy == pytest.approx(np.mean(values))
    assert len(table.lines) == 3


def test_two_recipes_of_one_name_are_told_apart_by_what_differs(runs: Runs) -> None:
    runs.write("a", noise=1, options={"C": 0.5})
    runs.write("b", noise=30, options={"C": 2.0, "pooling": "first"})
    runs.write("c", "named")
    table = read_table([runs.folder], f"{SVM} (C 0.5, pooling mean-deviation)")
    first, second, third = table.lines[:3]
    assert first.row.name == f"{SVM} (C 0.5, pooling mean-deviation)"
    assert second.row.name == f"{SVM} (C 2.0, pooling first)"
    assert third.row.name == "named"
    assert first.row.accuracy != second.row.accuracy
    assert [one.name for one in table.compared] == [second.row.name, "named"]


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"label_range": (0, 20)}, "label_range (0, 20)"),
        ({"head": ATTENTION, "name": SVM}, f"head {ATTENTION}"),
    ],
)
def test_whatever_else_changes_a_recipe_tells_it_apart(
    runs: Runs, changed: dict[str, Any], words: str
) -> None:
    runs.write("a")
    runs.write("b", **changed)
    first, second = (line.row.name for line in read_table([runs.folder]).lines if line.recipe)
    assert first != second
    assert words in second


def test_a_head_and_a_row_named_like_it_are_one_row(runs: Runs) -> None:
    runs.write("a", "", split="1")
    runs.write("b", SVM, split="2")
    assert named(read_table([runs.folder]), SVM).row.folds == 2


def test_one_fold_with_other_test_videos_is_refused(runs: Runs) -> None:
    first = runs.write("a", "mine", seeds=(0,))
    second = runs.write("b", "mine", seeds=(1,), lost=("-0",))
    assert error_of(runs.folder) == (
        f"{second}: other test videos, pairs or scores of split '1' than in {first}; print a table "
        "of each"
    )


@pytest.mark.parametrize("file", ["test_pairs.csv", "predictions.csv"])
def test_one_fold_with_other_labels_is_refused(runs: Runs, file: str) -> None:
    runs.write("a", "mine", seeds=(0,))
    second = runs.write("b", "mine", seeds=(1,))
    lines = (second / file).read_text().splitlines()
    if file == "test_pairs.csv":  # turned round
        better, worse, seen = lines[1].split(",")
        lines[1] = f"{worse},{better},{seen}"
    else:
        place = next(n for n, line in enumerate(lines) if line.split(",")[1] == "test")
        id, part, subject, truth, rest = lines[place].split(",", 4)
        lines[place] = f"{id},{part},{subject},{float(truth) + 0.5},{rest}"
    (second / file).write_text("\n".join(lines))
    assert error_of(runs.folder).startswith(f"{second}: other test videos, pairs or scores of spl")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("dataset", "other"),
        ("protocol", {"kind": "k-fold", "folds": 4}),
        ("tasks", "together"),
    ],
)
def test_batches_that_test_otherwise_are_no_table(
    runs: Runs, tmp_path: Path, name: str, value: Any
) -> None:
    one, two, three = (replace(runs, folder=tmp_path / name) for name in ("one", "two", "three"))
    for own, more in ((one, {}), (two, {name: value}), (three, {})):
        own.write("run", "mine")
        batch(own.folder, ("mine", "", ["run"]), **more)
    message = error_of(one.folder, three.folder, two.folder)
    assert message.startswith(f"{two.folder} has {name} {value} and {one.folder} ")
    assert message.endswith("; print a table of each")
    assert read_table([three.folder, one.folder]).lines[0].dataset == "made"


# Folders.


def test_folders_without_a_run(tmp_path: Path) -> None:
    assert error_of(tmp_path) == f"{tmp_path}: no finished run in it; train first"
    (tmp_path / "file").touch()
    for name in ("file", "none"):
        assert error_of(tmp_path / name) == (
            f"{tmp_path / name}: no such folder; name a batch or a run"
        )
    batch(tmp_path, ("mine", "", ["a", "b"]))
    assert error_of(tmp_path) == f"{tmp_path}: no finished run in it; train first"


def test_what_is_not_finished_is_no_run(runs: Runs) -> None:
    runs.write("a", "mine")
    runs.write(".b.training", "other")
    assert [line.row.name for line in read_table([runs.folder]).lines if line.recipe] == ["mine"]
    # A folder that the user chose may have any name.
    hidden = read_table([runs.folder / ".b.training"])
    assert hidden.lines[0].row.name == "other"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b'{"dataset": "made", "rows": [',
        b"[]",
        b"{}",
        b"3",
        b"\xff\xfe",
        b'{"dataset": "made"}',
        b'{"dataset": "made", "rows": []}',
        b'{"dataset": "made", "tasks": "each", "protocol": {}, "rows": [], "failed": 3}',
        b'{"dataset": "made", "rows": 3}',
        b'{"dataset": "made", "rows": [{"title": "a", "runs": ["x"]}]}',
        b'{"dataset": "made", "rows": [{"title": "a", "recipe": "", "runs": [3]}]}',
        b'{"dataset": "made", "rows": [{"title": "a", "recipe": "", "runs": null}]}',
    ],
)
def test_a_damaged_batch_is_one_line(runs: Runs, content: bytes) -> None:
    runs.write("a", "mine")
    (runs.folder / BATCH).write_bytes(content)
    message = error_of(runs.folder)
    assert message.startswith(f"{runs.folder / BATCH}: cannot be read (")
    assert message.endswith("); run the batch again")


@pytest.mark.parametrize(
    "file", ["recipe.json", "metrics.json", "predictions.csv", "test_pairs.csv"]
)
@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b'{"head": ', b"\xff\xfe\x00", None])
def test_a_damaged_run_is_left_out_and_told_in_one_line_with_its_folder(
    runs: Runs, file: str, content: bytes | None
) -> None:
    folder = runs.write("bad", "mine", split="2")
    if content is None:
        half = (folder / file).read_bytes()
        content = half[: len(half) // 2].rpartition(b"\n")[0]
    (folder / file).write_bytes(content)
    message = error_of(runs.folder)
    assert message.count(str(folder)) == 1
    assert "train" in message
    runs.write("good", "mine")
    table = read_table([runs.folder])
    assert table.unread == (message,)
    line = named(table, "mine")
    assert (line.row.folds, line.absent) == (1, 0)
    # A batch knows that the run belongs to it.
    batch(runs.folder, ("mine", "", ["bad", "good", "gone"]), ("lost", "", ["bad"]))
    table = read_table([runs.folder])
    assert (table.unread, named(table, "mine").absent) == ((message,), 2)
    assert table.left_out == ("lost",)


def test_pairs_that_are_lost_from_their_file_are_missed(runs: Runs) -> None:
    folder = runs.write("bad", "mine")
    lines = (folder / "test_pairs.csv").read_text().splitlines()
    (folder / "test_pairs.csv").write_text("\n".join(lines[:-1]))
    assert error_of(runs.folder) == (
        f"{folder} is no run that can be read (14 test pairs where there were more); train it again"
    )


def test_what_lies_in_the_place_of_a_failed_run_is_not_of_the_batch(runs: Runs) -> None:
    places = [runs.write(split, "mine", split=split).name for split in FOLDS]
    batch(runs.folder, ("mine", "", places), failed=[FOLDS[1]])
    line = named(read_table([runs.folder]), "mine")
    assert (line.row.folds, line.absent) == (2, 1)


def test_recipes_with_values_of_another_kind_are_one_line(runs: Runs) -> None:
    folder = runs.write("bad", "mine")
    whole = json.loads((folder / "recipe.json").read_text())
    for changed in ({"options": None}, {"options": {"C": "much"}}, {"fitting": 3}, {"head": 3}):
        (folder / "recipe.json").write_text(json.dumps({**whole, **changed}))
        assert str(folder) in error_of(runs.folder)


def test_a_file_that_is_gone_is_told(runs: Runs) -> None:
    folder = runs.write("bad", "mine")
    (folder / "predictions.csv").unlink()
    assert "predictions.csv" in error_of(runs.folder)
