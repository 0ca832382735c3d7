"""``aqakit dataset ls``, ``import`` and ``split`` as a user runs them, and ``train`` on what they write."""

import csv
import re
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from aqakit.cli import main
from aqakit.features import plugins
from aqakit.features.dataset import ABSENT, DATASETS
from aqakit.features.manifest import Manifest
from aqakit.features.segments import Sampling
from aqakit.features.source import Source
from aqakit.features.spec import FeatureSpec
from aqakit.features.store import FeatureStore
from aqakit.models.run import read_rows

SPEC = FeatureSpec("pose", "track", "all", Sampling.parse("steps-4x2"), "raw")
SUBJECTS, TRIALS = ("ann", "bo", "cy", "dee"), 3
MOVEMENT = "Segmented Movements/Kinect/Positions/m01_s{:02}_e{:02}_positions{}.txt"


def aqakit(*words: object) -> Result:
    return CliRunner(env={"COLUMNS": "300"}).invoke(main, list(map(str, words)))


def one_line(result: Result, status: int = 1) -> str:
    assert result.exit_code == status, result.output
    assert result.output.startswith("Error: ")
    assert result.output.count("\n") == 1
    return result.output


def cells(text: str) -> list[list[str]]:
    """Of the rows of a table on a terminal."""
    return [re.split(r"\s{2,}", line.strip()) for line in text.splitlines()]


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """A lab's own table: 12 videos of 4 subjects, of which two have no file; and pairs beside it."""
    folder = tmp_path / "published"
    folder.mkdir()
    lines = ["video,subject,trial,score,task"]
    for place, subject in enumerate(SUBJECTS):
        for trial in range(TRIALS):
            lines.append(f"{subject}-{trial},{subject},{trial},{place + 10 * trial},lift")
            if (place, trial) not in ((0, 0), (3, 2)):
                (folder / f"{subject}-{trial}.mp4").touch()
    (folder / "videos.csv").write_text("\n".join(lines))
    pairs = [f"{s}-{t + 1} {s}-{t}" for s in SUBJECTS for t in range(TRIALS - 1)]
    (folder / "pairs.txt").write_text("\n".join(pairs))
    return folder


@pytest.fixture
def imported(table: Path, tmp_path: Path) -> Path:
    result = aqakit("dataset", "import", "generic-csv", table, "--out", tmp_path / "manifest")
    assert result.exit_code == 0, result.output
    return tmp_path / "manifest"


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """Features whose mean tells the trial, which is what the scores rise with."""
    store, rng = FeatureStore.create(tmp_path / "store"), np.random.default_rng(0)
    for place, subject in enumerate(SUBJECTS):
        for trial in range(TRIALS):
            values = rng.normal(3 * trial, 0.5, (4, 3)).astype(np.float32)
            name, digest = f"{subject}-{trial}", f"{10 * place + trial:064}"
            with store.begin(SPEC, name, Source(name, 1, 1, digest), values.shape, 2) as part:
                part.append(values)
                part.finish(np.zeros((4, 3)), np.zeros((4, 2)), {})
    return store.path


# ls and import.


def test_every_dataset_is_listed_with_what_is_read() -> None:
    result = aqakit("dataset", "ls")
    assert result.exit_code == 0
    found = {row[0]: row[1:] for row in cells(result.output)}
    for name in plugins.names(DATASETS):
        assert found[name] == [plugins.load(DATASETS, name).SUMMARY]
        assert name in aqakit("dataset", "import", "nobody", ".", "--out", "x").output


def test_an_import_counts_and_lists_what_is_absent(table: Path, tmp_path: Path) -> None:
    out = tmp_path / "manifest"
    result = aqakit("dataset", "import", "generic-csv", table, "--out", out)
    assert result.exit_code == 0, result.output
    assert ["lift", "12", "2", "4", "12", "8", "2"] in cells(result.output)
    assert f"12 videos, 2 without a file, 8 pairs in {out}" in result.output
    with (out / ABSENT).open() as file:
        rows = list(csv.DictReader(file))
    assert [tuple(row.values()) for row in rows] == [("ann-0", "lift", "1"), ("dee-2", "lift", "1")]
    manifest = Manifest.read(out)
    assert (len(manifest.videos), len(manifest.pairs)) == (12, 8)
    assert manifest.videos[1].path == table / "ann-1.mp4"
    assert (manifest.videos[1].subject, manifest.videos[1].trial) == ("ann", "1")


def test_nothing_is_overwritten_unasked_and_nothing_old_is_left(
    table: Path, tmp_path: Path
) -> None:
    out = tmp_path / "manifest"
    words = ("dataset", "import", "generic-csv", table, "--out", out)
    for name in ("videos.csv", "pairs.csv", ABSENT):
        out.mkdir(exist_ok=True)
        (out / name).write_text("precious")
        assert f"{out / name} is there already; name another folder, or give --ov" in one_line(
            aqakit(*words)
        )
        assert [path.read_text() for path in out.iterdir()] == ["precious"]
        (out / name).unlink()
    assert aqakit(*words).exit_code == 0
    # All videos are there now, and no pairs.
    for name in ("ann-0", "dee-2"):
        (table / f"{name}.mp4").touch()
    (table / "pairs.txt").unlink()
    assert aqakit(*words, "--overwrite").exit_code == 0
    assert [path.name for path in out.iterdir()] == ["videos.csv"]


def test_a_mistake_in_the_files_leaves_what_is_there(imported: Path, table: Path) -> None:
    before = (imported / "videos.csv").read_bytes()
    (table / "videos.csv").write_text("video,score\na,1\na,2\n")
    result = aqakit("dataset", "import", "generic-csv", table, "--out", imported, "--overwrite")
    assert str(table / "videos.csv") in one_line(result)
    assert (imported / "videos.csv").read_bytes() == before
    assert (imported / ABSENT).exists()


def test_hostile_names_come_through(tmp_path: Path) -> None:
    folder, out = tmp_path / "[red]in", tmp_path / "[/bold]out"
    folder.mkdir()
    names = ['a "b", c', "-rf", "[bold]x", "é|&%"]
    with (folder / "videos.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "task", "score"])
        writer.writerows([name, "[cut]", place] for place, name in enumerate(names))
    result = aqakit("dataset", "import", "generic-csv", folder, "--out", out)
    assert result.exit_code == 0, result.output
    assert ["[cut]", "4", "4", "4"] in cells(result.output)
    assert str(out) in result.output
    assert [video.id for video in Manifest.read(out).videos] == names


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["nobody", "{}"], "no dataset 'nobody'; choose one of: aqa-7, best, epic-skills"),
        (["../models/heads/svr", "{}"], "no dataset '../models/heads/svr'; choose one of"),
        (["generic-csv", "{}/none"], "/none: no such file or folder; name that of the dataset's"),
        (["generic-csv", "{}", "--videos", "{}/none"], "/none: no such folder; correct --videos"),
        (
            ["generic-csv", "{}", "--store", "{}/store"],
            "generic-csv holds no tracks; leave --store out and run 'aqakit extract'",
        ),
        (["epic-skills", "{}"], "neither annotations/<Task>/splits nor splits/<task>"),
    ],
)
def test_a_mistake_is_one_line_and_writes_nothing(
    words: list[str], line: str, table: Path, tmp_path: Path
) -> None:
    filled = [word.format(table) for word in words]
    assert line in one_line(aqakit("dataset", "import", *filled, "--out", tmp_path / "out"))
    assert not (tmp_path / "out").exists()
    assert not (table / "store").exists()


def test_a_folder_that_cannot_be_made_is_one_line(table: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for out in (tmp_path / "file", tmp_path / "file" / "below"):
        result = aqakit("dataset", "import", "generic-csv", table, "--out", out)
        assert f"{out}: cannot be written (Not a directory); choose" in one_line(result)


@pytest.mark.parametrize("rate", ["0", "-30", "fast"])
def test_a_rate_that_is_none_is_wrong_usage(rate: str, table: Path, tmp_path: Path) -> None:
    words = ("dataset", "import", "generic-csv", table, "--out", tmp_path / "out", "--rate", rate)
    result = aqakit(*words)
    assert result.exit_code == 2
    assert "'--rate'" in result.output


def movements(folder: Path) -> Path:
    """UI-PRMD in small: two subjects, each doing a movement right and wrong."""
    rng = np.random.default_rng(0)
    for subject in (1, 2):
        for wrong in ("", "_inc"):
            path = folder / ("Incorrect " * bool(wrong) + MOVEMENT.format(subject, 1, wrong))
            path.parent.mkdir(parents=True, exist_ok=True)
            np.savetxt(path, rng.normal(size=(40, 66)).cumsum(axis=0), delimiter=",")
    return folder


def test_tracks_go_into_a_store_and_a_broken_one_ends_with_three(tmp_path: Path) -> None:
    folder, out = movements(tmp_path / "prmd"), tmp_path / "manifest"
    words = ("dataset", "import", "ui-prmd", folder, "--out", out)
    result = aqakit(*words, "--store", tmp_path / "store")
    assert result.exit_code == 0, result.output
    assert "4 imported, 0 there already, 0 failed" in result.output
    store = FeatureStore.open(tmp_path / "store")
    ids = {video.id for video in Manifest.read(out).videos}
    assert len(ids) == 4
    assert store.keys()
    for key in store.keys():
        assert set(store.videos(key)) == ids
    assert not (out / ABSENT).exists()
    (folder / MOVEMENT.format(2, 1, "")).write_text("1,2,3\n")
    broken = aqakit(*words, "--store", tmp_path / "other", "--overwrite")
    assert broken.exit_code == 3, broken.output
    assert "3 imported, 0 there already, 1 failed" in broken.output
    assert ["m01_s02_e01"] == [row[0] for row in cells(broken.output) if "m01_s02" in row[0]]


def test_without_a_store_no_tracks_are_read(tmp_path: Path) -> None:
    folder = movements(tmp_path / "prmd")
    result = aqakit("dataset", "import", "ui-prmd", folder, "--out", tmp_path / "manifest")
    assert result.exit_code == 0, result.output
    assert "imported" not in result.output
    assert not (tmp_path / "store").exists()


def test_the_real_files_of_epic_skills_have_the_papers_counts(
    real_data: Path, tmp_path: Path
) -> None:
    """Table 1 of Doughty et al., CVPR 2019: videos and pairs of each task."""
    out = tmp_path / "epic"
    folder = real_data / "pairs" / "epic_skills_2018"
    result = aqakit("dataset", "import", "epic-skills", folder, "--out", out)
    assert result.exit_code == 0, result.output
    found = {row[0]: row[1:] for row in cells(result.output)}
    for task, videos, pairs in (
        ("chopstick-using", "40", "536"),
        ("dough-rolling", "33", "181"),
        ("drawing", "40", "247"),
        ("surgery", "103", "1659"),
    ):
        assert (found[task][0], found[task][-2]) == (videos, pairs)
    assert f"216 videos, 216 without a file, 2623 pairs in {out}" in result.output
    with (out / ABSENT).open() as file:
        absent = list(csv.DictReader(file))
    assert len(absent) == 216
    # A pair that is lost is lost by both its videos.
    assert sum(int(row["pairs"]) for row in absent) == 2 * 2623
    assert Manifest.read(out).pair_splits.keys() == {"1", "2", "3", "4"}


# split, and then train.


@pytest.mark.parametrize(
    ("words", "names"),
    [
        (["leave-one-user-out"], [f"leave-one-user-out-{subject}" for subject in SUBJECTS]),
        (["leave-one-supertrial-out"], [f"leave-one-supertrial-out-{n}" for n in range(3)]),
        (["k-fold", "--folds", "3"], [f"k-fold-{n}" for n in (1, 2, 3)]),
        (["group-k-fold", "--folds=2", "--repeats=2"], [f"group-k-fold-{n}" for n in ("1.1", "1.2", "2.1", "2.2")]),
        (["fixed", "--train=ann", "--train=bo", "--test=dee"], ["fixed"]),
    ],
)  # fmt: skip
def test_folds_of_a_protocol_are_the_splits_of_the_new_manifest(
    words: list[str], names: list[str], imported: Path, tmp_path: Path
) -> None:
    out = tmp_path / "split"
    result = aqakit("dataset", "split", imported, "--out", out, "--protocol", *words)
    assert result.exit_code == 0, result.output
    assert result.output == f"{len(names)} folds in {out}\n"
    old, new = Manifest.read(imported), Manifest.read(out)
    assert list(new.splits) == names
    assert (new.videos, new.pairs) == (old.videos, old.pairs)
    by_subject = {video.id: video.subject for video in new.videos}
    for name in names:
        train, test = (
            {by_subject[id] for id in new.part(name, part)} for part in ("train", "test")
        )
        assert new.part(name, "test")
        assert words[0] in ("k-fold", "leave-one-supertrial-out") or not train & test


def test_what_was_split_trains_on_every_fold(imported: Path, store: Path, tmp_path: Path) -> None:
    out, run = tmp_path / "split", tmp_path / "run"
    words: list[object] = ["--protocol", "leave-one-user-out", "--validation", "0.3"]
    assert aqakit("dataset", "split", imported, "--out", out, *words).exit_code == 0
    split = "leave-one-user-out-cy"
    assert len(Manifest.read(out).part(split, "val")) == TRIALS
    words = ["--store", store, "--feature", "pose", "--head", "ranksvm", "--seeds", "1"]
    result = aqakit("train", out, *words, "--split", split, "--out", run)
    assert result.exit_code == 0, result.output
    own = read_rows(run)[0]
    # Its pairs are those that lie beside the table: two of each subject.
    assert (own.test_pairs, own.train_pairs, own.shared_subjects) == (2, 4, 0)
    assert own.accuracy == 1
    unknown = aqakit("train", out, *words, "--split", "fold9", "--out", tmp_path / "no")
    assert "no split 'fold9'; choose one of: leave-one-user-out-ann" in one_line(unknown)


def test_other_pairs_may_be_split(imported: Path, tmp_path: Path) -> None:
    (tmp_path / "few.csv").write_text("better,worse\nbo-2,bo-0\n")
    words = ["--pairs", tmp_path / "few.csv", "--protocol", "k-fold", "--folds", "2"]
    assert aqakit("dataset", "split", imported, "--out", tmp_path / "out", *words).exit_code == 0
    assert [tuple(pair) for pair in Manifest.read(tmp_path / "out").pairs] == [("bo-2", "bo-0")]


@pytest.mark.parametrize("name", ["videos.csv", "pairs.csv"])
def test_splitting_overwrites_nothing(name: str, imported: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / name).write_text("precious")
    words = ("--protocol", "leave-one-user-out", "--out", out)
    line = one_line(aqakit("dataset", "split", imported, *words))
    assert f"{out / name} is there already; name another folder" in line
    assert [path.read_text() for path in out.iterdir()] == ["precious"]


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--protocol", "loso"], "no protocol 'loso'; choose one of: published, k-fold"),
        (["--protocol", "k-fold"], "protocol k-fold has folds = 0; it needs 2 or more"),
        (["--protocol", "k-fold", "--folds", "13"], "makes 13 folds of 12 videos; give fewer"),
        (["--protocol", "group-k-fold", "--folds", "5"], "makes 5 folds of 4 subjects; give fewer"),
        (["--protocol", "leave-one-user-out", "--folds", "2"], "has no folds; it is for k-fold"),
        (
            ["--protocol", "fixed", "--train", "ann", "--test", "ann"],
            "subject 'ann' is in train and in test; leave it in one",
        ),
        (
            ["--protocol", "fixed", "--train", "ann", "--test", "eve"],
            "no subject 'eve'; the manifest has: ann, bo, cy, dee",
        ),
        (["--protocol", "published"], "the manifest has no split; name another protocol than"),
        (
            ["--protocol", "leave-one-user-out", "--validation", "1"],
            "validation = 1.0; write a share from 0 to below 1",
        ),
    ],
)
def test_a_manifest_that_cannot_be_split_so_is_one_line(
    words: list[str], line: str, imported: Path, tmp_path: Path
) -> None:
    result = aqakit("dataset", "split", imported, "--out", tmp_path / "out", *words)
    assert line in one_line(result)
    assert not (tmp_path / "out").exists()


def test_an_unknown_subject_or_trial_cannot_be_left_out(tmp_path: Path) -> None:
    table = tmp_path / "videos.csv"
    table.write_text("id,score,subject\na,1,x\nb,2,\n")
    for kind, column in (("leave-one-user-out", "subject"), ("leave-one-supertrial-out", "trial")):
        result = aqakit("dataset", "split", table, "--out", tmp_path / "o", "--protocol", kind)
        video = "b" if column == "subject" else "a"
        assert (
            f"needs every video's {column} and video '{video}' has none; fill in the column {column}"
        ) in one_line(result)
