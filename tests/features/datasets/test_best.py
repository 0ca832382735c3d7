"""The real lists where they are, and small files of their layout for everything else."""

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pytest

from aqakit.features.dataset import Imported, Source, count_tasks
from aqakit.features.datasets.best import read
from aqakit.features.errors import ManifestError
from aqakit.features.manifest import Pair, Video

# Table 1 of Doughty et al., CVPR 2019: pairs, mean and deviation of the length in seconds.
TABLE = {
    "scrambled-eggs": (2112, 170, 113),
    "tie-tie": (3843, 81, 47),
    "apply-eyeliner": (3743, 122, 105),
    "braid-hair": (3847, 179, 91),
    "origami": (3237, 386, 193),
}
LISTED = {
    "scrambled-eggs": (1134, 154),
    "tie-tie": (2176, 233),
    "apply-eyeliner": (2115, 235),
    "braid-hair": (2179, 234),
    "origami": (1793, 212),
}

TIES = [
    "tie_tie,-a_,1.5,20.25",
    "tie_tie,_b-,0.0,10",
    "tie_tie,c,2,3",
    "tie_tie,d,0,1e2",
    "tie_tie,e,0,9",
    "tie_tie,f,0,9",
]


def write(path: Path, lines: Iterable[str]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


def publish(
    root: Path,
    rows: Sequence[str],
    train: Sequence[str] = ("-a_ _b- ", "", "c -a_"),
    test: Sequence[str] = ("e d",),
    train_videos: Sequence[str] = ("_b-", "c", "-a_ "),
    test_videos: Sequence[str] = ("e", "d"),
) -> Path:
    """``BEST.csv`` and the lists of one task."""
    table = root / "data" / "BEST" / "BEST.csv"
    write(table, ["task,vid_id,start_seconds,end_seconds\r", *rows])
    splits = table.parent / "splits" / "tie_tie"
    write(splits / "train.txt", train)
    write(splits / "test.txt", test)
    write(splits / "train_vid_list.txt", train_videos)
    write(splits / "test_vid_list.txt", test_videos)
    return table


def error_of(root: Path) -> str:
    with pytest.raises(ManifestError) as caught:
        read(Source(root))
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    return message


# The real files


@pytest.fixture
def real(real_data: Path) -> Imported:
    return read(Source(real_data / "pairs"))


def test_videos_and_their_lengths_are_those_of_the_paper(real: Imported) -> None:
    for count in count_tasks(real):
        lengths = [
            video.end_seconds - video.start_seconds
            for video in real.manifest.videos
            if video.task == count.task
            if video.end_seconds is not None and video.start_seconds is not None
        ]
        assert count.videos == len(lengths) == 100
        assert (round(np.mean(lengths)), round(np.std(lengths))) == TABLE[count.task][1:]
    assert len(real.absent) == 500


def test_lists_hold_the_pairs_of_the_paper_that_stay_within_a_part(real: Imported) -> None:
    """A share of (75 * 74 + 25 * 24) / (100 * 99) = 0.62 of all couples does."""
    manifest = real.manifest
    task_of = {video.id: video.task for video in manifest.videos}
    assert {count.task: count.pairs for count in count_tasks(real)} == {
        task: sum(listed) for task, listed in LISTED.items()
    }
    for task, listed in LISTED.items():
        parts = [
            sum(task_of[pair.better] == task for pair in manifest.pairs_in("default", part))
            for part in ("train", "test")
        ]
        assert parts == [*listed]
        assert sum(listed) / TABLE[task][0] == pytest.approx(0.62, abs=0.011)


def test_the_split_is_of_75_and_25_videos_of_each_task(real: Imported) -> None:
    task_of = {video.id: video.task for video in real.manifest.videos}
    for part, number in (("train", 75), ("test", 25)):
        ids = real.manifest.part("default", part)
        assert Counter(map(task_of.__getitem__, ids)) == dict.fromkeys(TABLE, number)
    assert real.notes == ()


# Small files


def test_videos_split_and_pairs(tmp_path: Path) -> None:
    publish(tmp_path, TIES[:5])
    imported = read(Source(tmp_path))
    assert imported.manifest.videos == (
        Video("-a_", None, 1.5, 20.25, "tie-tie"),
        Video("_b-", None, 0.0, 10.0, "tie-tie"),
        Video("c", None, 2.0, 3.0, "tie-tie"),
        Video("d", None, 0.0, 100.0, "tie-tie"),
        Video("e", None, 0.0, 9.0, "tie-tie"),
    )
    assert imported.manifest.pairs_in("default", "train") == (Pair("-a_", "_b-"), Pair("c", "-a_"))
    assert imported.manifest.pairs_in("default", "test") == (Pair("e", "d"),)
    assert imported.absent == ("-a_", "_b-", "c", "d", "e")
    assert imported.notes == ()


def test_files_are_found_by_id(tmp_path: Path) -> None:
    publish(tmp_path / "labels", TIES)
    path = tmp_path / "videos" / "tie_tie" / "-a_.mp4"
    path.parent.mkdir(parents=True)
    path.touch()
    imported = read(Source(tmp_path / "labels", tmp_path / "videos"))
    assert imported.manifest.videos[0].path == path
    assert imported.absent == ("_b-", "c", "d", "e", "f")
    assert "empty their cells for videos that were cut" in imported.notes[-1]


def test_videos_in_no_list_are_kept(tmp_path: Path) -> None:
    publish(tmp_path, TIES)
    imported = read(Source(tmp_path))
    assert imported.manifest.videos[-1].id == "f"
    assert "f" not in imported.manifest.splits["default"]
    assert imported.notes == ("videos in no part of the split: 1, the first 'f'",)


def test_videos_in_a_list_alone_are_kept(tmp_path: Path) -> None:
    publish(tmp_path, TIES[1:5])
    imported = read(Source(tmp_path))
    assert imported.manifest.videos[-1] == Video("-a_", task="tie-tie")
    assert imported.manifest.splits["default"]["-a_"] == "train"
    assert imported.notes == ("'-a_' of tie-tie has no start and end, as BEST.csv lacks it",)


def test_a_task_without_lists_is_told(tmp_path: Path) -> None:
    table = publish(tmp_path, [*TIES[:5], "origami,o,0,1"])
    imported = read(Source(tmp_path))
    assert [count.task for count in count_tasks(imported)] == ["tie-tie", "origami"]
    folder = table.parent / "splits" / "origami"
    assert imported.notes[0] == f"origami has no pairs, as {folder} is not there"


def test_a_pair_listed_twice_is_told(tmp_path: Path) -> None:
    publish(tmp_path, TIES[:5], test=["e d", "e d"])
    imported = read(Source(tmp_path))
    assert imported.manifest.pairs.count(Pair("e", "d")) == 2
    assert "'e' better than 'd' (2 times)" in imported.notes[0]


# What a user can mend


def test_no_table_or_two(tmp_path: Path) -> None:
    assert error_of(tmp_path) == (
        f"{tmp_path}: no BEST.csv in it; name the folder of a copy of "
        "hazeld/rank-aware-attention-network"
    )
    one, two = (publish(tmp_path / name, TIES) for name in ("one", "two"))
    assert error_of(tmp_path) == f"{one} and {two} hold the same; name the folder of one"


def test_no_splits(tmp_path: Path) -> None:
    table = publish(tmp_path, ["origami,o,0,1"])
    assert error_of(tmp_path) == f"{table}: no folder splits beside it; fetch it as well"


def test_a_list_is_missing(tmp_path: Path) -> None:
    path = publish(tmp_path, TIES).parent / "splits" / "tie_tie" / "test_vid_list.txt"
    path.unlink()
    assert error_of(tmp_path) == f"{path}: no such file; correct its path"


def test_a_column_is_missing(tmp_path: Path) -> None:
    table = write(tmp_path / "BEST.csv", ["task,vid_id,end_seconds", "origami,a,3"])
    assert error_of(tmp_path) == (
        f"{table}: has no column 'start_seconds'; fetch the published file again"
    )


@pytest.mark.parametrize("times", ["5,5", "5,4", "-1,4", "nan,4", "1,inf", ",4", "1,x"])
def test_a_stretch_without_meaning(times: str, tmp_path: Path) -> None:
    table = publish(tmp_path, [*TIES, f"tie_tie,g,{times}"])
    start, end = times.split(",")
    assert error_of(tmp_path) == (
        f"{table}, line 8: goes from second {start!r} to {end!r}; fetch the published file again"
    )


def test_a_video_twice(tmp_path: Path) -> None:
    table = publish(tmp_path, [*TIES, "origami,c,0,1"])
    assert error_of(tmp_path) == f"{table}, line 8: 'c' again, as in {table}, line 4; remove one"


def test_a_video_in_both_parts(tmp_path: Path) -> None:
    table = publish(tmp_path, TIES, test_videos=["e", "d", "c"])
    assert error_of(tmp_path) == (
        f"{table.parent}/splits/tie_tie/test_vid_list.txt: lists 'c', as train_vid_list.txt does; "
        "remove one"
    )


def test_a_video_of_another_task(tmp_path: Path) -> None:
    table = publish(tmp_path, [*TIES[:4], "origami,e,0,1"])
    assert error_of(tmp_path) == (
        f"{table.parent}/splits/tie_tie: lists 'e', which is of origami in {table}; correct one"
    )


def test_a_pair_across_parts(tmp_path: Path) -> None:
    table = publish(tmp_path, TIES, test=["e d", "e c"])
    assert error_of(tmp_path) == (
        f"{table.parent}/splits/tie_tie/test.txt, line 2: 'c' is not in test_vid_list.txt; list it "
        "there, or remove the line"
    )
