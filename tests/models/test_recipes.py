"""The shipped recipe files: that they are whole, that their rows can be built, that numbers agree."""

import dataclasses
import importlib
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from aqakit.features import plugins
from aqakit.features.datasets.aqa_7 import ACTIONS
from aqakit.features.datasets.jigsaws import TASKS
from aqakit.features.segments import Sampling
from aqakit.models.head import HEADS
from aqakit.models.recipe import Recipe, roles_of
from aqakit.models.recipe_file import PaperRow, Reported, find_row, read_paper, recipe_names

PAPERS = {
    "doughty_cvpr2019": "003_595abdbcc6d5658f.txt",
    "gao_eccv2020": "001_5dbd4ec52ff1a5a6.txt",
    "jain_arxiv2020": "002_edcf53d9052ee3ec.txt",
    "li_arxiv2019": "000_f9046e9f47a08c49.txt",
}
SHIPPED = [find_row(name) for name in recipe_names()]
RUN = [row for row in SHIPPED if row.head]
ROWS = [row for row in SHIPPED if row.paper.name in PAPERS]
DIVE_TYPES = [f"dive-type-{number}" for number in range(1, 7)]
TASKS_OF = {
    "epic-skills": ["surgery", "drawing", "dough-rolling", "chopstick-using"],
    "best": ["scrambled-eggs", "tie-tie", "apply-eyeliner", "braid-hair", "origami"],
    "jigsaws": [*TASKS.values()],
    "jigsaws-louo": [*TASKS.values()],
    "aqa-7": [action.task for action in ACTIONS],
    "tasd-2": ["sync-diving-3m", "sync-diving-10m"],
    "infant-grasp": ["infant-grasp"],
    "unlv-dive": ["diving", *DIVE_TYPES],
    "unlv-vault": ["gym-vault"],
}


def options_of(head: str) -> Any:
    """The class of its options."""
    return importlib.import_module(f"{HEADS}.{head.replace('-', '_')}").Options


def of_row(row: PaperRow) -> Recipe:
    return Recipe.make(row.head, row.features, "default", (0,), options=row.options)


def rows(found: Iterable[PaperRow]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("row", [pytest.param(row, id=row.name) for row in found])


def figures_of(paper: str, table: str) -> set[tuple[str, str, str, str, float]]:
    """The cells of a table that some row of the paper has."""
    found: set[tuple[str, str, str, str, float]] = set()
    for row in read_paper(paper).rows.values():
        for one in row.reported:
            words = re.findall(r"\w+", one.source)
            if table in words and {"Table", "Tables"} & set(words):
                found.add((row.title, one.dataset, one.task, one.metric, one.value))
    return found


def test_the_papers_are_there() -> None:
    assert {row.paper.name for row in ROWS} == set(PAPERS)


@rows(RUN)
def test_a_row_has_a_reason_for_every_option_of_its_head(row: PaperRow) -> None:
    names = [field.name for field in dataclasses.fields(options_of(row.head))]
    assert [*row.options] == names
    assert set(row.sources) | set(row.omitted) == set(names)
    assert not set(row.sources) & set(row.omitted)


@rows(RUN)
def test_what_is_said_to_be_the_heads_default_or_unused_is(row: PaperRow) -> None:
    defaults = dataclasses.asdict(options_of(row.head)())
    for name, why in row.omitted.items():
        if "the head's default" in why or "not used" in why:
            assert row.options[name] == defaults[name], name


@rows(RUN)
def test_a_row_builds_its_head(row: PaperRow) -> None:
    head = of_row(row).build(0, "cpu")
    assert {role.name for role in head.roles} <= {role.name for role in roles_of(row.head)}


@rows(row for row in RUN if row.features)
def test_features_suffice_and_each_is_looked_at(row: PaperRow) -> None:
    scoring, training = of_row(row).used()
    assert (scoring, training) == (row.features, {})


@rows(row for row in RUN if row.features)
def test_features_begin_as_keys_do(row: PaperRow) -> None:
    for key in row.features.values():
        backbone, stream, *words = key.split(".")
        assert stream in ("rgb", "flow", "track")
        known = plugins.names("aqakit.extract.backbones")
        assert (backbone in known) == (stream != "track")
        for sampling in words[1:2]:
            if not sampling.endswith("x"):  # the number of frames is not in the paper
                assert Sampling.parse(sampling).text == sampling


def test_only_methods_without_a_head_are_not_run() -> None:
    assert {row.name for row in ROWS if not row.head} == {
        "gao_eccv2020/st-gcn",
        "gao_eccv2020/jr-gcn",
        "gao_eccv2020/dct-dft-apen",
        "gao_eccv2020/random",
        "jain_arxiv2020/s3d",
    }


@rows(ROWS)
def test_figures_are_of_tasks_that_the_dataset_has(row: PaperRow) -> None:
    for one in row.reported:
        tasks = TASKS_OF[one.dataset]
        assert one.task in tasks or (one.task == "mean" and len(tasks) > 1)


@rows(ROWS)
def test_only_jigsaws_and_vaults_have_a_range_of_labels(row: PaperRow) -> None:
    ranges = {"jigsaws": (6, 30), "jigsaws-louo": (6, 30), "unlv-vault": (0, 20)}
    if row.head and row.reported:
        assert {ranges.get(one.dataset) for one in row.reported} == {row.label_range}


@pytest.mark.parametrize(
    ("paper", "table", "cells"),
    [
        ("doughty_cvpr2019", "2", 6 * 2),
        ("li_arxiv2019", "1", 5 * 5 - 2),
        ("li_arxiv2019", "2", 4 * 5),
        ("gao_eccv2020", "2", 6 * 4),
        ("gao_eccv2020", "3", 3 * 4),
        ("gao_eccv2020", "4", 10 * 3),
        ("gao_eccv2020", "5", 7 * 4),
        ("gao_eccv2020", "6", 2 * 2),
        ("gao_eccv2020", "7", 5 * 7 + 1),
        ("jain_arxiv2020", "I", 11),
        ("jain_arxiv2020", "II", 11),
        ("jain_arxiv2020", "IV", 6 * 16),
        ("jain_arxiv2020", "V", 3 * 2 + 1),  # two rows are those of tables I and II
        ("jain_arxiv2020", "VI", 5 * 2),
        ("jain_arxiv2020", "VIII", 3 * 2),
    ],
)
def test_no_cell_of_a_table_is_missing(paper: str, table: str, cells: int) -> None:
    assert len(figures_of(paper, table)) == cells


@rows(row for row in ROWS if row.paper.name == "gao_eccv2020")
def test_means_are_those_of_fishers_z_over_the_tasks(row: PaperRow) -> None:
    for dataset in {one.dataset for one in row.reported}:
        by_task = {one.task: one.value for one in row.reported if one.dataset == dataset}
        mean = by_task.pop("mean", None)
        if mean is not None:
            values = np.array([*by_task.values()])
            assert len(values) == len(TASKS_OF[dataset])
            # Table 3 has the plain mean of one row.
            plain = (row.name, dataset) == ("gao_eccv2020/jr-gcn", "jigsaws-louo")
            found = values.mean() if plain else np.tanh(np.arctanh(values).mean())
            assert found == pytest.approx(mean, abs=0.0101)


@pytest.mark.parametrize("paper", PAPERS)
def test_every_figure_stands_in_the_paper(real_data: Path, paper: str) -> None:
    path = real_data.parent / "papers" / PAPERS[paper]
    if not path.is_file():
        pytest.skip(f"no paper at {path}")
    numbers = set(re.findall(r"\d+(?:\.\d+)?", path.read_text()))
    per_cent = paper != "jain_arxiv2020"
    for row in read_paper(paper).rows.values():
        for one in row.reported:
            assert numbers & written(one, per_cent), (row.name, one)


def written(one: Reported, per_cent: bool) -> set[str]:
    """How a figure may stand in a paper."""
    value = abs(one.value) * (100 if per_cent else 1)
    return {
        f"{value:.{digits}f}" for digits in range(4) if abs(round(value, digits) - value) < 1e-9
    }


@pytest.mark.parametrize(
    ("name", "parent", "changed"),
    [
        ("doughty_cvpr2019/with-disparity", "full", {"rank_aware": False}),
        ("doughty_cvpr2019/one-filter", "full", {"filters": 1}),
        ("doughty_cvpr2019/with-diversity", "softmax-attention", {"diversity_weight": 0.1}),
        (
            "doughty_cvpr2019/one-module",
            "softmax-attention",
            {"filters": 6, "diversity_weight": 0.1},
        ),
        ("li_arxiv2019/full-infant-grasp", "full", {"learning_rate": 5e-4}),
        ("li_arxiv2019/full-dough-rolling", "full", {"epochs": 70}),
        ("li_arxiv2019/cbam", "full", {"variant": "cbam"}),
        ("li_arxiv2019/low-level-infant-grasp", "full-infant-grasp", {"variant": "low-level"}),
        ("gao_eccv2020/without-aim", "full", {"variant": "without-aim"}),
        ("gao_eccv2020/tasd-2-multi-task", "full", {"multi_task": True}),
        ("gao_eccv2020/aqa-7", "full", {"weight_decay": 0.8}),
        ("jain_arxiv2020/worst-performer", "full", {"expert": "worst"}),
        ("jain_arxiv2020/without-metric-learning", "full", {"metric_learning": False}),
        ("jain_arxiv2020/vault", "full", {"keep_metric": True}),
        ("jain_arxiv2020/pose-dft", "pose-dct", {"transform": "dft"}),
        ("jain_arxiv2020/c3d-lstm-incremental", "c3d-lstm-final", {"labels": "incremental"}),
    ],
)
def test_an_ablation_changes_what_its_paper_says(
    name: str, parent: str, changed: dict[str, Any]
) -> None:
    row = find_row(name)
    base = read_paper(row.paper.name).rows[parent].options
    assert {key: value for key, value in row.options.items() if value != base[key]} == changed


STATED = {
    "doughty_cvpr2019/full": """
        filters=3 epochs=2000 batch_pairs=128 learning_rate=0.0001 noise=0.01 ranking=True
        disparity=True rank_aware=True diversity=True ranking_margin=1.0 disparity_margin=0.1
        rank_aware_margin=0.3 diversity_weight=0.1 schedule=paper score=paper losses=paper
    """,
    "li_arxiv2019/full": """
        fusion=512 channels=256 hidden=128 attend=32 learning_rate=0.001 momentum=0.9
        weight_decay=0.001 margin=0.5 variant=full reading=paper
    """,
    "gao_eccv2020/full": """
        variant=full hidden=512 regression_hidden=128 dropout=0.2 multi_task=False theta=0.4
        epochs=3000 batch_videos=64 learning_rate=0.0001 schedule=cycle weight_decay=0.5 labels=raw
    """,
    "jain_arxiv2020/full": """
        first=128 second=64 metric_learning=True keep_metric=False pairs=26000 threshold=5.0
        metric_types=3 expert=best experts=0
    """,
}


@pytest.mark.parametrize("name", STATED)
def test_numbers_that_the_papers_state(name: str) -> None:
    row = find_row(name)
    assert [f"{option}={row.options[option]}" for option in row.sources] == STATED[name].split()


@rows(row for row in RUN if row.head == "spatial-attention")
def test_infants_and_dough_have_settings_of_their_own(row: PaperRow) -> None:
    word = row.name.rpartition("/")[2]
    infants, dough = word.endswith("-infant-grasp"), word.endswith("-dough-rolling")
    assert row.options["learning_rate"] == (5e-4 if infants else 1e-3)
    assert row.options["epochs"] == (70 if dough else 30)
    assert row.features["flow"].endswith("-10fps.flow-448") != infants
    if infants or dough:
        other = find_row(row.name.removesuffix("-infant-grasp").removesuffix("-dough-rolling"))
        assert row.options["variant"] == other.options["variant"]
