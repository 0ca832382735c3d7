from pathlib import Path

import pytest

from aqakit.features import plugins
from aqakit.features.dataset import (
    ABSENT,
    DATASETS,
    Imported,
    Source,
    TaskCount,
    VideoFiles,
    count_tasks,
    write_absent,
)
from aqakit.features.errors import ManifestError
from aqakit.features.manifest import Manifest, Pair, Video

HERE = Path("somewhere.mp4")


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


@pytest.fixture
def imported() -> Imported:
    videos = (
        Video("a", HERE, task="dive", subject="Ann", score=3),
        Video("x", task="vault", subject="Bo", score=0),
        Video("b", task="dive", subject="Ann"),
        Video("c", HERE, task="dive", subject="Cy", score=4),
        Video("y", HERE, task="vault"),
        Video("n", HERE),
    )
    pairs = (Pair("a", "b"), Pair("a", "c"), Pair("x", "y"), Pair("b", "c"), Pair("a", "b"))
    return Imported.of(Manifest(videos, pairs=pairs), ["one note"])


def test_videos_without_a_path_are_absent(imported: Imported) -> None:
    assert imported.absent == ("x", "b")
    assert imported.notes == ("one note",)


def test_each_task_is_counted_in_the_order_in_which_it_comes(imported: Imported) -> None:
    assert count_tasks(imported) == [
        TaskCount("dive", 3, 1, subjects=2, scored=2, pairs=4, absent_pairs=3),
        TaskCount("vault", 2, 1, subjects=1, scored=1, pairs=1, absent_pairs=1),
        TaskCount("", 1, 0, subjects=0, scored=0, pairs=0, absent_pairs=0),
    ]


def test_what_is_absent_is_decided_by_the_import(imported: Imported) -> None:
    tracks = Imported(imported.manifest, absent=())
    assert [(count.absent, count.absent_pairs) for count in count_tasks(tracks)] == [(0, 0)] * 3


def test_absent_videos_are_written_with_the_pairs_that_lose_them(
    imported: Imported, tmp_path: Path
) -> None:
    write_absent(imported, tmp_path)
    assert (tmp_path / ABSENT).read_text() == "id,task,pairs\nx,vault,1\nb,dive,3\n"


def test_files_are_found_by_name_below_the_folder(tmp_path: Path) -> None:
    touch(tmp_path / "sub" / "a.b.AVI", tmp_path / "c.mp4", tmp_path / "c.txt", tmp_path / "d.csv")
    files = VideoFiles(Source(tmp_path))
    assert files.find("a.b") == tmp_path / "sub" / "a.b.AVI"
    assert files.find("c") == tmp_path / "c.mp4"
    assert files.find("d") is None
    assert files.find("a") is None


def test_files_are_looked_for_below_the_folder_of_videos_alone(tmp_path: Path) -> None:
    touch(tmp_path / "labels" / "a.mp4", tmp_path / "videos" / "b.mp4")
    files = VideoFiles(Source(tmp_path / "labels", tmp_path / "videos"))
    assert files.find("a") is None
    assert files.find("b") == tmp_path / "videos" / "b.mp4"


def test_one_name_in_two_folders(tmp_path: Path) -> None:
    touch(*(tmp_path / folder / "a.mp4" for folder in ("one", "two", "two/old")))
    files = VideoFiles(Source(tmp_path))
    assert files.find("a", within="one") == tmp_path / "one" / "a.mp4"
    assert files.find("a", within="two", without="old") == tmp_path / "two" / "a.mp4"
    assert files.find("a", within="three") is None
    with pytest.raises(ManifestError) as caught:
        files.find("a", within="two")
    assert str(caught.value) == (
        f"{tmp_path}/two/a.mp4 and {tmp_path}/two/old/a.mp4 have one name; move one away, or name "
        "the right folder with --videos"
    )


def test_no_folder_of_videos(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="no such folder; correct --videos"):
        VideoFiles(Source(tmp_path, tmp_path / "videos"))
    assert VideoFiles(Source(tmp_path / "archive.tar")).find("a") is None


@pytest.mark.parametrize("name", plugins.names(DATASETS))
def test_every_importer_says_in_one_line_what_it_reads(name: str) -> None:
    importer = plugins.load(DATASETS, name)
    assert len(importer.SUMMARY.splitlines()) == 1
    assert callable(importer.read)


@pytest.mark.parametrize("name", plugins.names(DATASETS))
def test_an_empty_folder_holds_no_dataset(name: str, tmp_path: Path) -> None:
    with pytest.raises(ManifestError) as caught:
        plugins.load(DATASETS, name).read(Source(tmp_path))
    message = str(caught.value)
    assert str(tmp_path) in message
    assert len(message.splitlines()) == 1
