"""Planning a batch: all choices are made, and mistakes told, before the first run."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from aqakit.features.errors import RecipeError, UserError
from aqakit.features.manifest import Manifest, Video
from aqakit.features.segments import Sampling
from aqakit.features.source import Source
from aqakit.features.spec import FeatureSpec
from aqakit.features.store import FeatureStore
from aqakit.models.matrix import Matrix, MatrixRow
from aqakit.models.plan import plan_batch
from aqakit.models.protocol import Protocol

SPEC = FeatureSpec("pose", "track", "all", Sampling.parse("steps-1x1"), "raw")
ATTENTION = MatrixRow(("pose",), "rank-aware-attention", options={"epochs": 3})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two tasks, three subjects, four trials each; the better one has the higher number."""
    folder = tmp_path_factory.mktemp("plan")
    store, videos = FeatureStore.create(folder / "store"), []
    for task in ("bend", "lift"):
        for subject in range(3):
            for trial in range(4):
                name = f"{task}-{subject}-{trial}"
                videos.append(Video(name, task=task, subject=f"s{subject}", score=trial))
                source = Source(name, 1, 1, f"{len(videos):064}")
                with store.begin(SPEC, name, source, (1, 2), 1) as part:
                    part.append(np.full((1, 2), trial, np.float32))
                    part.finish(np.zeros((1, 3)), np.zeros((1, 1)), {})
    Manifest(tuple(videos)).write(folder / "manifest")
    return folder


def matrix(folder: Path, *rows: MatrixRow) -> Matrix:
    return Matrix(
        folder / "manifest",
        folder / "store",
        rows,
        Protocol("leave-one-user-out"),
        seeds=2,
        tasks="each",
    )


def places(folder: Path, rows: Sequence[MatrixRow]) -> list[list[str]]:
    return [[job.place for job in jobs] for jobs in plan_batch(matrix(folder, *rows)).jobs]


def test_a_row_has_a_run_of_every_task_fold_and_seed_where_seeds_matter(folder: Path) -> None:
    plain, deep, noise = places(
        folder,
        [
            MatrixRow(("pose",), "ranksvm"),
            ATTENTION,
            MatrixRow(("pose",), "ranksvm", shuffled=True),
        ],
    )
    folds = [f"{task}/leave-one-user-out-s{n}" for task in ("bend", "lift") for n in range(3)]
    assert plain == [f"ranksvm-{SPEC.key}/{fold}/seed-0" for fold in folds]
    assert [place.split("/", 1)[1] for place in deep] == [
        f"{fold}/seed-{seed}" for fold in folds for seed in range(2)
    ]
    assert len(noise) == 12


def test_rows_take_turns(folder: Path) -> None:
    plan = plan_batch(matrix(folder, MatrixRow(("pose",), "ranksvm"), ATTENTION))
    first = [job.recipe.head for job in plan.all_jobs[:4]]
    assert first == ["ranksvm", "rank-aware-attention"] * 2
    assert len(plan.all_jobs) == 6 + 12


def test_hostile_names_stay_within_the_batch(folder: Path) -> None:
    rows = [
        MatrixRow(("pose",), "ranksvm", name=name)
        for name in ("../../evil", "a/b", "a b", "a?b", "ü" * 300, ".")
    ]
    found = [own[0].split("/") for own in places(folder, rows)]
    assert all(len(parts) == 4 for parts in found)
    assert len({parts[0] for parts in found}) == len(rows)
    assert all(len(parts[0].encode()) <= 200 and parts[0][0] != "." for parts in found)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (MatrixRow(("pose",), "rank-svm"), "no head 'rank-svm'; choose one of"),
        (MatrixRow(("pose",), "ranksvm", options={"c": 1.0}), "ranksvm has no option 'c'; it has"),
        (
            MatrixRow(("pose",), "ranksvm", options={"C": "much"}),
            "C is 'much'; it must be a number",
        ),
        (MatrixRow(("pose",), "ranksvm", options={"C": -1.0}), "C"),
        (MatrixRow(("i3d",), "ranksvm"), "i3d"),
        (MatrixRow((), "ranksvm"), "ranksvm needs features"),
        (MatrixRow(("pose",), "ranksvm", fitting={"patience": 3}), "trains without epochs"),
        (replace(ATTENTION, fitting={"patience": 3}), "has patience, and no video validates; give"),
        (
            replace(ATTENTION, fitting={"patience": -3}),
            "row 'rank-aware-attention': patience is -3",
        ),
        (
            MatrixRow(("pose",), "ranksvm", label_range=(0, 2)),
            "video 'bend-0-3' has score 3, outside 0 to 2; correct the manifest, or the label_range",
        ),
        (MatrixRow(("pose",), recipe="nobody_2020/full"), "nobody_2020"),
        (MatrixRow(("pose",), recipe="doughty_cvpr2019/nothing"), "nothing"),
    ],
)
def test_what_does_not_exist_is_refused_before_the_first_run(
    folder: Path, row: MatrixRow, message: str
) -> None:
    with pytest.raises(UserError) as caught:
        plan_batch(matrix(folder, MatrixRow(("pose",), "ranksvm", name="good"), row))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_two_rows_of_one_name_and_feature_are_refused(folder: Path) -> None:
    twice = MatrixRow(("pose",), "ranksvm", options={"C": 2.0})
    with pytest.raises(RecipeError, match="give one a name of its own"):
        plan_batch(matrix(folder, MatrixRow(("pose",), "ranksvm"), twice))


def test_a_dataset_that_no_paper_of_the_rows_has_is_refused(folder: Path) -> None:
    row = replace(ATTENTION, head="", recipe="doughty_cvpr2019/full")
    with pytest.raises(RecipeError, match="dataset 'epicskills' is in none .* epic-skills, best"):
        plan_batch(replace(matrix(folder, row), dataset="epicskills"))
