from itertools import combinations
from pathlib import Path

import pytest

from aqakit.features.dataset import Imported, Source, TaskCount, count_tasks, write_absent
from aqakit.features.datasets.generic_csv import read
from aqakit.features.errors import ManifestError
from aqakit.features.manifest import Manifest, Pair, Video


def write(path: Path, *lines: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


def error_of(source: Source) -> str:
    with pytest.raises(ManifestError) as caught:
        read(source)
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    return message


# Two datasets of papers


def write_tasd_2(folder: Path) -> Path:
    """As many samples as table 1 of Gao et al., ECCV 2020, has, original and mirrored."""
    header = (
        "Video,Sport,Degree of Difficulty,"
        "Execution Judge 1,Execution Judge 2,Sync Judge 1,Sync Judge 2,Sync Judge 3,Score,Set"
    )
    rows = [
        f"{sport}/{number:03d}.avi,{sport},3.{number % 5},7.5,8.5,{number % 10},9,8,"
        f"{70 + number % 20}.5,{'Training' if number < train else 'Testing'}"
        for sport, train, test in (("SyncDiving-3m", 188, 50), ("SyncDiving-10m", 293, 75))
        for number in range(train + test)
    ]
    return write(folder / "TASD-2.csv", header, *rows)


def test_tasd_2(tmp_path: Path) -> None:
    write_tasd_2(tmp_path)
    path = tmp_path / "SyncDiving-3m" / "001.avi"
    path.parent.mkdir()
    path.touch()
    imported = read(Source(tmp_path))
    manifest = imported.manifest
    assert count_tasks(imported) == [
        TaskCount("SyncDiving-3m", 238, 237, subjects=0, scored=238, pairs=0, absent_pairs=0),
        TaskCount("SyncDiving-10m", 368, 368, subjects=0, scored=368, pairs=0, absent_pairs=0),
    ]
    parts = [
        [len(manifest.of_task(task).part("default", part)) for part in ("train", "test")]
        for task in manifest.tasks
    ]
    assert parts == [[188, 50], [293, 75]]
    assert manifest.videos[1] == Video(
        *("SyncDiving-3m/001", path, None, None, "SyncDiving-3m", None, 71.5, 3.1),
        parts={
            "execution_judge_1": 7.5,
            "execution_judge_2": 8.5,
            "sync_judge_1": 1,
            "sync_judge_2": 9,
            "sync_judge_3": 8,
            "execution": 8,
            "synchronisation": 6,
        },
    )
    assert imported.notes[0] == (
        "TASD-2.csv: id from 'Video'; task from 'Sport'; score from 'Score'; difficulty from "
        "'Degree of Difficulty'; score_execution_judge_1 from 'Execution Judge 1'; "
        "score_execution_judge_2 from 'Execution Judge 2'; score_sync_judge_1 from 'Sync Judge 1'; "
        "score_sync_judge_2 from 'Sync Judge 2'; score_sync_judge_3 from 'Sync Judge 3'; "
        "score_execution from the mean of 'Execution Judge 1', 'Execution Judge 2'; "
        "score_synchronisation from the mean of 'Sync Judge 1', 'Sync Judge 2', 'Sync Judge 3'; "
        "splits from 'Set'"
    )


def write_infant_grasp(folder: Path) -> list[str]:
    """As many videos, pairs and preferences as Li et al., 2019, have, in four folds of pairs."""
    ids = [f"grasp_{number:02d}" for number in range(94)]
    write(folder / "videos.csv", "file,infant", *(f"{id}.mp4,{id[-1]}" for id in ids))
    rows = []
    for number, (first, second) in enumerate(combinations(ids, 2)):
        better = ("1", "2")[number % 2] if number < 3318 else "0"
        rows.append(f"{first},{second},{better},{number % 4 + 1}")
    write(folder / "annotations.csv", "Video1,Video2,Better,Fold", *rows)
    return ids


def test_infant_grasp(tmp_path: Path) -> None:
    ids = write_infant_grasp(tmp_path)
    imported = read(Source(tmp_path))
    manifest = imported.manifest
    assert [video.id for video in manifest.videos] == ids
    assert count_tasks(imported) == [TaskCount("", 94, 94, 10, 0, 3318, 3318)]
    assert "pairs left out, as neither video is better: 1053" in imported.notes
    assert manifest.pairs[:2] == (Pair(ids[0], ids[1]), Pair(ids[2], ids[0]))
    assert list(manifest.pair_splits) == ["1", "2", "3", "4"]
    for fold, parts in manifest.pair_splits.items():
        wanted = ["test" if number % 4 + 1 == int(fold) else "train" for number in range(3318)]
        assert list(parts) == wanted


def test_infant_grasp_as_lists_of_each_fold(tmp_path: Path) -> None:
    write_infant_grasp(tmp_path / "table")
    table = read(Source(tmp_path / "table")).manifest
    for fold in table.pair_splits:
        for part in ("train", "test"):
            lines = (f"{better} {worse} " for better, worse in table.pairs_in(fold, part))
            write(tmp_path / "lists" / "splits" / f"{part}_split{fold}.txt", *lines)
    imported = read(Source(tmp_path / "lists"))
    lists = imported.manifest
    assert {video.id for video in lists.videos} == {video.id for video in table.videos}
    for fold in table.pair_splits:
        for part in ("train", "test"):
            assert {*lists.pairs_in(fold, part)} == {*table.pairs_in(fold, part)}
    assert imported.notes == ("there is no table of videos; they are those of the pairs",)


def test_real_lists_of_pairs(real_data: Path) -> None:
    folder = real_data / "pairs" / "raan_lists" / "EPIC-Skills" / "splits" / "chopstick_using"
    imported = read(Source(folder))
    assert count_tasks(imported) == [TaskCount("", 40, 40, 0, 0, 536, 536)]
    first = imported.manifest.pair_splits["1"]
    assert (first.count("train"), first.count("test")) == (314, 222)


def test_a_manifest_comes_back(tmp_path: Path) -> None:
    videos = (
        Video("a", tmp_path / "a.mp4", 1.0, 2.0, "dive", "Ann", 3.0, 2.5, "tuck", {"flow": 1.0}),
        Video("b", None, task="dive", trial="2"),
    )
    manifest = Manifest(
        *(videos, {"default": {"a": "train"}, "user": {"a": "test", "b": "val"}}),
        *((Pair("a", "b"),), {"user": ("test",)}),
    )
    manifest.write(tmp_path)
    write_absent(Imported.of(manifest), tmp_path)
    (tmp_path / "a.mp4").touch()
    assert read(Source(tmp_path)).manifest == manifest


# Where tables and pairs are


def test_a_table_by_its_name_and_the_pairs_that_belong_to_it(tmp_path: Path) -> None:
    table = write(tmp_path / "week1.csv", "video", "a", "b")
    write(tmp_path / "week2.csv", "video", "c")
    write(tmp_path / "train.txt", "a b")
    assert read(Source(table)).manifest.pairs == ()
    write(tmp_path / "week2_pairs.csv", "better,worse", "c,a")
    write(tmp_path / "week1_pairs.csv", "better,worse", "b,a")
    assert read(Source(table)).manifest.pairs == (Pair("b", "a"),)
    assert "week2_pairs.csv, line 2: no video 'a'" in error_of(Source(tmp_path / "week2.csv"))


@pytest.mark.parametrize("name", ["pairs.txt", "week1_pairs.txt", "week1-pairs.tsv", "pairs.csv"])
def test_names_of_pairs_beside_a_table(name: str, tmp_path: Path) -> None:
    table = write(tmp_path / "week1.csv", "video", "a", "b")
    lines = ["b a"] if name.endswith("txt") else ["worse;better", "a;b"]
    write(tmp_path / name, *lines)
    assert read(Source(table)).manifest.pairs == (Pair("b", "a"),)


def test_pairs_by_their_name_alone(tmp_path: Path) -> None:
    write(tmp_path / "videos.csv", "video", "a", "b", "c")
    pairs = write(tmp_path / "pairs.csv", "better,worse", "clips/b.mp4,a")
    (tmp_path / "clips").mkdir()
    (tmp_path / "clips" / "b.mp4").touch()
    manifest = read(Source(pairs)).manifest
    assert manifest.videos == (Video("clips/b", tmp_path / "clips" / "b.mp4"), Video("a"))


def test_pairs_of_a_folder_are_found_by_their_columns(tmp_path: Path) -> None:
    write(tmp_path / "labels.tsv", "Clip\tRating", "a\t1", "b\t2")
    write(tmp_path / "who won.csv", "First,Second,Winner,Set", "a,b,b,train")
    write(tmp_path / "pairs.txt", "b a")
    write(tmp_path / "cameras.csv", "Camera,Height", "1,2")
    imported = read(Source(tmp_path))
    assert imported.manifest.pairs == (Pair("b", "a"), Pair("b", "a"))
    assert imported.manifest.pair_splits == {"default": ("train", "")}
    assert "cameras.csv is not read, as no column of it names videos" in imported.notes
    assert "listed more than once" in imported.notes[-1]


def test_pairs_name_videos_by_file_too(tmp_path: Path) -> None:
    write(tmp_path / "videos.csv", "file", "clips/a.mp4", "clips/b.mp4")
    write(tmp_path / "pairs.csv", "better,worse", "clips/b.mp4,a.mp4", "b,a")
    assert read(Source(tmp_path)).manifest.pairs == (Pair("b", "a"), Pair("b", "a"))


def test_videos_in_a_folder_of_their_own(tmp_path: Path) -> None:
    table = write(tmp_path / "labels" / "videos.csv", "video", "a", "b")
    (tmp_path / "clips").mkdir()
    (tmp_path / "clips" / "a.mp4").touch()
    imported = read(Source(table, tmp_path / "clips"))
    assert imported.absent == ("b",)


def test_folds_of_videos(tmp_path: Path) -> None:
    write(tmp_path / "videos.csv", "video,fold,score", "a,1,3", "b,2,4", "c,,5")
    assert read(Source(tmp_path)).manifest.splits == {
        "1": {"a": "test", "b": "train"},
        "2": {"a": "train", "b": "test"},
    }


def test_columns_that_are_not_used_are_told(tmp_path: Path) -> None:
    write(tmp_path / "t.csv", "video,Age,Shoe size,score", "a,1,2,3")
    read_from, not_used = read(Source(tmp_path)).notes
    assert read_from == "t.csv: id from 'video'; score from 'score'"
    assert not_used == (
        "t.csv: not used: 'Age', 'Shoe size'; a column called score_<name> is kept as the score of "
        "a part"
    )


# What a user can mend


def test_nothing_to_read(tmp_path: Path) -> None:
    assert error_of(Source(tmp_path)) == (
        f"{tmp_path}: no table and no pairs in it; name a CSV file"
    )
    path = write(tmp_path / "t.csv", "Age,Score", "1,2")
    told = f"{path}: no column names the videos; call one 'id' or 'path'"
    assert error_of(Source(tmp_path)) == error_of(Source(path)) == told
    assert "no such file" in error_of(Source(tmp_path / "none.csv"))


def test_two_tables(tmp_path: Path) -> None:
    one = write(tmp_path / "one.csv", "video", "a", "b")
    two = write(tmp_path / "two.csv", "video", "a", "b")
    cure = "move one away, or name the table of videos"
    assert error_of(Source(tmp_path)) == f"{one} and {two} both list videos; {cure}"
    for path in (one, two):
        write(path, "better,worse", "a,b")
    assert error_of(Source(tmp_path)) == f"{one} and {two} both list pairs; {cure}"


def test_a_pair_of_an_unknown_video(tmp_path: Path) -> None:
    write(tmp_path / "videos.csv", "video", "a", "b")
    pairs = write(tmp_path / "pairs.csv", "better,worse", "a,b", "a,c.mp4")
    assert error_of(Source(tmp_path)) == (
        f"{pairs}, line 3: no video 'c.mp4'; list it in the table of videos, or remove the line"
    )
    (tmp_path / "videos.csv").unlink()
    write(pairs, "better,worse", "a,b", "a,")
    assert f"{pairs}, line 3: no video ''" in error_of(Source(tmp_path))


def test_judges_who_disagree(tmp_path: Path) -> None:
    pairs = write(tmp_path / "pairs.csv", "better,worse", "a,b", "a,b", "b,a")
    assert error_of(Source(tmp_path)) == (
        f"{pairs}, line 4: 'b' better than 'a' is the reverse of {pairs}, line 2; remove one"
    )


def test_a_pair_of_two_tasks(tmp_path: Path) -> None:
    write(tmp_path / "videos.csv", "video,task", "a,dive", "b,vault", "c,")
    pairs = write(tmp_path / "pairs.csv", "better,worse", "b,a")
    assert error_of(Source(tmp_path)) == (
        f"{pairs}, line 2: compares a video of vault with one of dive; correct the tasks, or remove "
        "the line"
    )
    write(pairs, "better,worse", "c,a")
    assert "compares a video of no task with one of dive" in error_of(Source(tmp_path))
