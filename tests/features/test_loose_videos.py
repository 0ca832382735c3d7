from pathlib import Path

import pytest

from aqakit.features.dataset import Source
from aqakit.features.errors import ManifestError
from aqakit.features.loose_columns import recognise
from aqakit.features.loose_table import read_loose_table
from aqakit.features.loose_videos import read_ids, read_videos, without_suffix
from aqakit.features.manifest import Video


def videos_of(source: Source, text: str) -> list[Video]:
    path = source.folder / "table.csv"
    path.write_text(text)
    table = read_loose_table(path)
    columns = recognise(table.written)
    return list(read_videos(table, columns, read_ids(table, columns), source))


def ids_of(folder: Path, text: str) -> list[str]:
    return [video.id for video in videos_of(Source(folder), text)]


def error_of(source: Source, text: str) -> str:
    with pytest.raises(ManifestError) as caught:
        videos_of(source, text)
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    return message.removeprefix(f"{source.folder}/table.csv, ")


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


@pytest.mark.parametrize(
    ("name", "bare"),
    [
        ("a.mp4", "a"),
        ("cam1\\a.b.AVI", "cam1/a.b"),
        ("a.b", "a.b"),
        ("x/y", "x/y"),
        ("x\\y", "x\\y"),
        (".mp4", ".mp4"),
    ],
)
def test_without_suffix(name: str, bare: str) -> None:
    assert without_suffix(name) == bare


def test_every_label(tmp_path: Path) -> None:
    text = (
        "video,start,end,task,participant,trial,score,dd,dive,execution\n"
        'a,1.5,0:03,dive,Ann,2,"80,5",3.2,107B,7\nb,,,,,,,,,\n'
    )
    assert videos_of(Source(tmp_path), text) == [
        Video(
            *("a", None, 1.5, 3.0, "dive", "Ann", 80.5, 3.2, "107B"),
            parts={"execution": 7},
            trial="2",
        ),
        Video("b"),
    ]


def test_ids_of_files_are_their_names_where_these_differ(tmp_path: Path) -> None:
    assert ids_of(tmp_path, "file\ncam1/a.mp4\ncam2\\b.avi\n") == ["a", "b"]
    assert ids_of(tmp_path, "file\ncam1/a.mp4\ncam2\\a.avi\n") == ["cam1/a", "cam2/a"]
    assert ids_of(tmp_path, "file\ncam1/a\ncam2/b\n") == ["a", "b"]
    assert ids_of(tmp_path, "video\ncam1/a.mp4\nb.mp4\n") == ["a", "b"]


def test_an_id_is_as_it_is_written(tmp_path: Path) -> None:
    assert ids_of(tmp_path, "video\ncam1/a\nb\n") == ["cam1/a", "b"]
    assert ids_of(tmp_path, "video\ncam1/a.mp4\ncam1/b\n") == ["cam1/a", "cam1/b"]
    assert ids_of(tmp_path, "video,file\n1,a.mp4\n2,b.mp4\n") == ["1", "2"]


def test_rows_without_a_name_and_of_one_name(tmp_path: Path) -> None:
    assert error_of(Source(tmp_path), "Video,score\na,1\n,2\n") == (
        "line 3: 'Video' is empty; name the video, or remove the line"
    )
    assert error_of(Source(tmp_path), "Video,Rater\na,Ann\na,Bo\n") == (
        f"line 3: 'a' again, as in {tmp_path}/table.csv, line 2; give each video one row, and each "
        "judge a column"
    )


def test_where_files_are(tmp_path: Path) -> None:
    labels, videos = tmp_path / "labels", tmp_path / "videos"
    wanted = [labels / "sub" / "a.mp4", videos / "2" / "s" / "b.mp4", videos / "deep" / "c.avi"]
    touch(*wanted, videos / "1" / "s" / "b.mp4", videos / "d.mp4", labels / "sub.mp4" / "1.png")
    text = "file\nsub/a.mp4\n2\\s\\b.mp4\nelsewhere/c.mp4\nsub.mp4\nd.mov\n"
    found = videos_of(Source(labels, videos), text)
    assert [video.path for video in found] == [*wanted, None, videos / "d.mp4"]


def test_a_common_name_is_looked_for_in_its_folder_alone(tmp_path: Path) -> None:
    path = tmp_path / "videos" / "ten" / "1.mp4"
    touch(path)
    assert videos_of(Source(tmp_path), "file\nthree/1.mp4\n")[0].path == path
    for text in ("file\nthree/1.mp4\nten/1.mp4\n", "id,file\na,three/1.mp4\nb,ten/1.mp4\n"):
        found = videos_of(Source(tmp_path), text)
        assert [video.path for video in found] == [None, path]


def test_the_folder_tells_files_of_one_name_apart(tmp_path: Path) -> None:
    paths = [tmp_path / "videos" / folder / "1.mp4" for folder in ("three", "ten")]
    touch(*paths)
    assert videos_of(Source(tmp_path), "file\nten/1.mp4\n")[0].path == paths[1]


def test_two_stretches_of_one_file(tmp_path: Path) -> None:
    touch(tmp_path / "videos" / "1.mp4")
    found = videos_of(Source(tmp_path), "id,file,start\na,1.mp4,0\nb,1.mp4,5\n")
    assert [video.path for video in found] == [tmp_path / "videos" / "1.mp4"] * 2


def test_files_of_ids(tmp_path: Path) -> None:
    touch(tmp_path / "videos" / "a.1.mp4", tmp_path / "b.mp4")
    found = videos_of(Source(tmp_path), "id,path\na.1,\nc,b.mp4\nd,\n")
    paths = [tmp_path / "videos" / "a.1.mp4", tmp_path / "b.mp4", None]
    assert [video.path for video in found] == paths


def test_judges(tmp_path: Path) -> None:
    text = (
        "video,Rater 1,Rater 2,Execution 1,Execution 2,Sync Judge 1,Sync Judge 2\n"
        "a,3,0,7,8.5,9,\nb,,,,,,\n"
    )
    first, second = videos_of(Source(tmp_path), text)
    assert first.score == 1.5
    assert first.parts == {
        "rater_1": 3,
        "rater_2": 0,
        "execution_1": 7,
        "execution_2": 8.5,
        "sync_judge_1": 9,
        "execution": 7.75,
        "synchronisation": 9,
    }
    assert (second.score, second.parts) == (None, {})


def test_frames_need_a_rate(tmp_path: Path) -> None:
    text = "video,StartFrame,EndFrame\na,30,59\nb,,\n"
    first, second = videos_of(Source(tmp_path, rate=30), text)
    assert (first.start_seconds, first.end_seconds) == (1.0, 2.0)
    assert (second.start_seconds, second.end_seconds) == (None, None)
    assert error_of(Source(tmp_path), text) == (
        "line 2: counts frames; give --rate, how many a second has"
    )


@pytest.mark.parametrize(
    ("cells", "told"),
    [
        ("5,5,1", "line 2: ends at 5 s, not after its start at 5 s; correct one"),
        ("-1,5,1", "line 2: starts at -1 s; count from the start of the file"),
        (",0,1", "line 2: ends at 0 s, not after its start at 0 s; correct one"),
        ("-1,,1", "line 2: starts at -1 s; count from the start of the file"),
        ("x,5,1", "line 2: 'Begin' is 'x'; write a number such as 12.5, or leave it empty"),
        ("1,5,good", "line 2: 'Grade' is 'good'; write a number such as 12.5, or leave it empty"),
    ],
)
def test_cells_without_meaning(cells: str, told: str, tmp_path: Path) -> None:
    assert error_of(Source(tmp_path), f"video,Begin,Stop,Grade\na,{cells}\n") == told
