import errno
import os
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aqakit.features.errors import ManifestError
from aqakit.features.manifest import PARTS, VIDEO_SUFFIXES, Manifest, Pair, Video

REAL_PAIRS = Path(__file__).parents[3] / "shared" / "data" / "pairs"


def write(folder: Path, text: str | bytes, name: str = "videos.csv") -> Path:
    path = folder / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def error_of(table: Path, pairs: Path | None = None) -> str:
    """The one line that reading ends in."""
    with pytest.raises(ManifestError) as caught:
        Manifest.read(table, pairs)
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    return message


def test_every_column_in_any_order(tmp_path: Path) -> None:
    table = write(
        tmp_path,
        "score,path,id,start,end,trial,task,subject,difficulty,action_type,split\n"
        "12.5,videos/a.mp4,one,1,2.5,03,dive,Eve,3.2,tuck,train\n",
    )
    path = tmp_path / "videos" / "a.mp4"
    video = Video("one", path, 1.0, 2.5, "dive", "Eve", 12.5, 3.2, "tuck", trial="03")
    assert Manifest.read(table) == Manifest((video,), {"default": {"one": "train"}})


def test_scores_of_parts_are_kept_by_name(tmp_path: Path) -> None:
    table = write(
        tmp_path,
        "id,Score_Execution,score,score_time and motion,split\n"
        "a,7.5,80,3,train\nb,,70,-2,test\nc,,,,\n",
    )
    first, second, third = Manifest.read(table).videos
    assert first.parts == {"Execution": 7.5, "time and motion": 3}
    assert (second.score, second.parts) == (70, {"time and motion": -2})
    assert (third.score, third.parts) == (None, {})


def test_only_a_path_is_needed(tmp_path: Path) -> None:
    manifest = Manifest.read(write(tmp_path, "path\nsub/a.b.mp4\n/far/b.avi\n"))
    assert manifest.videos == (
        Video("a.b", tmp_path / "sub" / "a.b.mp4"),
        Video("b", Path("/far/b.avi")),
    )


def test_labels_alone_need_only_ids(tmp_path: Path) -> None:
    manifest = Manifest.read(write(tmp_path, "id,score\n-x,1\n_y,2\n"))
    assert [(v.id, v.path, v.score) for v in manifest.videos] == [("-x", None, 1), ("_y", None, 2)]


@pytest.mark.parametrize(
    "text",
    [
        b"\xef\xbb\xbfid,score\na,1\nb,2\n",
        b"id,score\r\na,1\r\nb,2\r\n",
        b"id,score\ra,1\rb,2",
        b"ID,Score,,\na,1,,\n\n , ,\nb,2\n\n\n",
        b"\n\nid, score\n a , 1 \nb,2",
        b'"id","score"\n"a","1"\n"b","2"\n',
    ],
)
def test_spreadsheets_odd_habits_are_tolerated(tmp_path: Path, text: bytes) -> None:
    assert Manifest.read(write(tmp_path, text)).videos == (Video("a", score=1), Video("b", score=2))


def test_short_rows_are_filled_up(tmp_path: Path) -> None:
    assert Manifest.read(write(tmp_path, "id,task,score\na\n")).videos == (Video("a"),)


def test_named_splits(tmp_path: Path) -> None:
    table = write(tmp_path, "id,split,split_Fold1\na,train,test\nb,,Val\nc,test,\n")
    manifest = Manifest.read(table)
    assert manifest.splits == {
        "default": {"a": "train", "c": "test"},
        "Fold1": {"a": "test", "b": "val"},
    }
    assert manifest.part("Fold1", "val") == ("b",)
    with pytest.raises(ManifestError, match="^no split 'fold2'; choose one of: default, Fold1$"):
        manifest.part("fold2", "val")
    with pytest.raises(ManifestError, match="add a column split_x"):
        Manifest(manifest.videos).pairs_in("x", "test")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("id,path\na,x\nb,y\na,z\n", "{}, line 4: id 'a' again, as in {}, line 2; give each"),
        ("path\nx/a.mp4\ny/a.mp4\n", "{}, line 3: id 'a' again, as in {}, line 2; give each"),
        ("id,score\na,1\nb,good\n", "{}, line 3: score is 'good'; write a finite number"),
        ("id,score\na,nan\n", "{}, line 2: score is 'nan'; write a finite number"),
        ("id,score_a\nx,\ny,good\n", "{}, line 3: score_a is 'good'; write a finite number"),
        ("id,score_a\na,inf\n", "{}, line 2: score_a is 'inf'; write a finite number"),
        ("id,scores_a\na,1\n", "{}: unknown column 'scores_a'; use id, path, .*, split or split_<"),
        ("id,score_a,Score_a\na,1,2\n", "{}: column 'score_a' twice"),
        ("id,score_\na,1\n", "{}, line 2: the name of a part score is ''"),
        ("id,difficulty\na,-inf\n", "{}, line 2: difficulty is '-inf'; write a finite number"),
        ("id,start,end\na,5,5\n", "{}, line 2: end 5.0 is not after start 5.0"),
        ("id,end\na,0\n", "{}, line 2: end 0.0 is not after start 0"),
        ("id,start\na,-1\n", "{}, line 2: start is -1.0"),
        ("task,score\na,1\n", "{}: has no column 'path'"),
        ("id,colour\na,red\n", "{}: unknown column 'colour'; use id, path"),
        ("id;score\na;1\n", "{}: unknown column 'id;score'; use id, path"),
        ("id,score,Score\na,1,2\n", "{}: column 'score' twice"),
        ("id,split,split_default\na,test,test\n", "{}: columns 'split' and 'split_default' are"),
        ("id,split_a\na,training\n", "{}, line 2: split is 'training'; write train, val, test or"),
        ("id,score\na,1,5\n", "{}, line 2: 3 cells for 2 columns"),
        ("id,path,score\n,,5\n", "{}, line 2: neither path nor id"),
        ('id,task\na,"x\ny"\n', "{}, line 2: task is 'x\\\\ny'; use text of one line"),
        ('id,task\n"a"b",x\n', "{}, line 2: is not CSV"),
        ('id,task\n"a,x\n', "{}, line 2: is not CSV"),
        ("id,score\n", "{}: has a header only"),
        ("", "{}: is empty"),
        ("\ufeff \n\n", "{}: is empty"),
        ("id,score\n\nx,1\n\nx,2\n", "{}, line 5: id 'x' again, as in {}, line 3"),
        ("id\n" + "y" * 500 + "\n" + "y" * 500, "{}, line 3: id 'yyyyy"),
    ],
)
def test_what_is_wrong_is_named_with_file_and_line(tmp_path: Path, text: str, message: str) -> None:
    table = write(tmp_path, text)
    found = error_of(table)
    assert re.match(message.replace("{}", re.escape(str(table))), found), found
    assert len(found) < 500 + 2 * len(str(table))
    assert ";" in found  # what to do comes after it


def test_a_line_is_counted_from_where_a_row_begins(tmp_path: Path) -> None:
    table = write(tmp_path, 'id,path\na,"x\n\n\nz.mp4"\nb,y\nb,z\n')
    assert "line 7: id 'b' again, as in" in error_of(table)


def test_files_that_are_no_text(tmp_path: Path) -> None:
    assert "no such file" in error_of(tmp_path / "none.csv")
    assert "is a folder" in error_of(tmp_path)
    assert "is not UTF-8 text" in error_of(write(tmp_path, "id\na\n".encode("utf-16")))
    assert "is not UTF-8 text" in error_of(write(tmp_path, "id\nü\n".encode("latin-1")))
    assert "unknown column" in error_of(write(tmp_path, b"id\0,x\na,b\n"))
    assert "id is 'a\\x00b'" in error_of(write(tmp_path, b"id\na\0b\n"))


@pytest.mark.parametrize(
    "text",
    ["better,worse\na,b\nc,-d\n", "Better,Worse,\r\na,b,\r\nc,-d,,\r\n\r\n", "a b  \nc\t-d\n\n",
     "\ufeffbetter worse\n a b\nc -d", "worse,better\nb,a\n-d,c\n"],
)  # fmt: skip
def test_pairs_in_all_their_forms(tmp_path: Path, text: str) -> None:
    table = write(tmp_path, "id\na\nb\nc\n-d\n")
    manifest = Manifest.read(table, write(tmp_path, text, "pairs"))
    assert manifest.pairs == (Pair("a", "b"), Pair("c", "-d"))
    assert manifest.pair_splits == {}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "better,worse\na,b\na,x\n",
            "{}, line 3: no video 'x'; correct it or add the video to vid",
        ),
        ("a b\nx b\n", "{}, line 2: no video 'x'; correct it or add the video to videos.csv"),
        ("a b\n\nb a\n", "{}, line 3: 'b' better than 'a' is the reverse of {}, line 1; remove"),
        ("better,worse\na,a\n", "{}, line 2: pairs 'a' with itself; remove the line"),
        ("better,worse\na,\n", "{}, line 2: no video ''; correct it"),
        ("a b c\n", "{}, line 1: 3 words in 'a b c'; write the better and the worse"),
        ("a\n", "{}, line 1: 1 words in 'a'"),
        ("vid1,vid2\na,b\n", "{}: unknown column 'vid1'; use better, worse"),
        ("better,split\na,test\n", "{}: has no column 'worse'; begin it with better,worse"),
        ("better,worse,split\na,b,no\n", "{}, line 2: split is 'no'"),
        ("better,worse\n", "{}: has a header only"),
        ("", "{}: is empty"),
    ],
)
def test_what_is_wrong_with_pairs_is_named(tmp_path: Path, text: str, message: str) -> None:
    table = write(tmp_path, "id\na\nb\nc\n")
    pairs = write(tmp_path, text, "pairs.csv")
    found = error_of(table, pairs)
    assert re.match(message.replace("{}", re.escape(str(pairs))), found), found


def test_a_folder_is_read_with_the_pairs_in_it_or_others(tmp_path: Path) -> None:
    write(tmp_path, "id\na\nb\n")
    assert Manifest.read(tmp_path).pairs == ()
    write(tmp_path, "better,worse\na,b\n", "pairs.csv")
    assert Manifest.read(tmp_path).pairs == (Pair("a", "b"),)
    other = write(tmp_path, "b a\n", "other.txt")
    assert Manifest.read(tmp_path, other).pairs == (Pair("b", "a"),)
    # Of a table that is named, no pairs are guessed.
    assert Manifest.read(tmp_path / "videos.csv").pairs == ()


def test_what_is_wrong_in_a_folder_names_its_file(tmp_path: Path) -> None:
    write(tmp_path, "id\na\na\n")
    assert error_of(tmp_path).startswith(f"{tmp_path / 'videos.csv'}, line 3: id 'a' again")
    write(tmp_path, "id\na\n")
    write(tmp_path, "better,worse\na,x\n", "pairs.csv")
    assert error_of(tmp_path) == (
        f"{tmp_path / 'pairs.csv'}, line 2: no video 'x'; correct it or add the video to videos.csv"
    )


def test_missing_pairs(tmp_path: Path) -> None:
    table = write(tmp_path, "id\na\n")
    assert f"{tmp_path / 'no'}: no such file" in error_of(table, tmp_path / "no")
    assert "is a folder" in error_of(table, tmp_path)


def test_a_pair_listed_twice_counts_twice(tmp_path: Path) -> None:
    table = write(tmp_path, "id\na\nb\n")
    pairs = write(tmp_path, "better,worse,split\na,b,train\na,b,test\n", "pairs.csv")
    manifest = Manifest.read(table, pairs)
    assert manifest.pairs == (Pair("a", "b"),) * 2
    assert manifest.pairs_in("default", "test") == (Pair("a", "b"),)


def test_pairs_follow_their_videos_unless_the_list_says_otherwise() -> None:
    videos = tuple(map(Video, "abcd"))
    split = {"s": {"a": "train", "b": "train", "c": "test", "d": "test"}}
    pairs = (Pair("a", "b"), Pair("a", "c"), Pair("d", "c"))
    manifest = Manifest(videos, split, pairs)
    assert manifest.pairs_in("s", "train") == (Pair("a", "b"),)
    assert manifest.pairs_in("s", "test") == (Pair("d", "c"),)
    assert manifest.pairs_in("s", "val") == ()
    told = replace(manifest, pair_splits={"s": ("train", "test", "")})
    assert told.pairs_in("s", "test") == (Pair("a", "c"),)
    with pytest.raises(ManifestError, match="no split 't'; choose one of: s$"):
        told.pairs_in("t", "test")


@given(st.lists(st.sampled_from(["x", "y", None]), min_size=1, max_size=8), st.data())
def test_tasks_part_a_manifest_into_manifests(tasks: list[str | None], data: st.DataObject) -> None:
    videos = tuple(Video(f"v{n}", task=task, score=float(n)) for n, task in enumerate(tasks))
    places = st.tuples(st.integers(0, len(tasks) - 1), st.integers(0, len(tasks) - 1))
    drawn = data.draw(st.lists(places.filter(lambda pair: pair[0] < pair[1]), max_size=8))
    pairs = tuple(Pair(f"v{a}", f"v{b}") for a, b in drawn)
    cells = tuple(data.draw(st.sampled_from(["", *PARTS])) for _ in pairs)
    split = {video.id: data.draw(st.sampled_from(PARTS)) for video in videos[::2]}
    manifest = Manifest(videos, {"s": split}, pairs, {"s": cells, "t": cells[::-1]})

    assert manifest.tasks == tuple(dict.fromkeys(task or "" for task in tasks))
    for task in manifest.tasks:
        own = manifest.of_task(task)
        inside = {video.id for video in videos if (video.task or "") == task}
        assert own.videos == tuple(video for video in videos if video.id in inside)
        assert own.splits == {"s": {id: part for id, part in split.items() if id in inside}}
        kept = [n for n, pair in enumerate(pairs) if pair.better in inside and pair.worse in inside]
        assert own.pairs == tuple(pairs[n] for n in kept)
        for name, whole in manifest.pair_splits.items():
            assert own.pair_splits[name] == tuple(whole[n] for n in kept)


def test_a_task_that_is_not_there_has_no_video() -> None:
    manifest = Manifest((Video("a", task="x"), Video("b", task="y")), pairs=(Pair("a", "b"),))
    assert manifest.of_task("z") == Manifest(())
    assert manifest.of_task("x").pairs == ()


def test_pairs_from_scores_compare_only_within_a_task() -> None:
    scores = [("a", "x", 1.0), ("b", "x", 2.0), ("c", "x", 2.0), ("d", "y", 9.0), ("e", "x", None)]
    manifest = Manifest(tuple(Video(id, task=task, score=score) for id, task, score in scores))
    assert manifest.pairs_from_scores() == (Pair("b", "a"), Pair("c", "a"))


@given(st.lists(st.tuples(st.sampled_from("xy"), st.none() | st.integers(0, 3)), max_size=12))
def test_pairs_from_scores_are_those_of_two_loops(rows: list[tuple[str, int | None]]) -> None:
    videos = tuple(
        Video(str(number), task=task, score=None if score is None else float(score))
        for number, (task, score) in enumerate(rows)
    )
    expected = tuple(
        Pair(a.id, b.id)
        for a in videos
        for b in videos
        if a.score is not None and b.score is not None and a.task == b.task and a.score > b.score
    )
    assert Manifest(videos).pairs_from_scores() == expected


def test_a_manifest_built_by_a_program_is_checked_alike() -> None:
    a, b = Video("a"), Video("b")
    cases: list[tuple[str, dict[str, object]]] = [
        ("video 2: id 'a' again, as in video 1", {"videos": (a, a)}),
        ("video 1: id is ' a'", {"videos": (Video(" a"),)}),
        ("video 1: id is ''", {"videos": (Video(""),)}),
        ("video 1: task is ''", {"videos": (Video("a", task=""),)}),
        ("video 1: trial is '1\\n'", {"videos": (Video("a", trial="1\n"),)}),
        ("video 1: score is nan", {"videos": (Video("a", score=float("nan")),)}),
        ("video 1: score_x is nan", {"videos": (Video("a", parts={"x": float("nan")}),)}),
        ("video 1: the name of a part score is ''", {"videos": (Video("a", parts={"": 1.0}),)}),
        ("video 1: the name of a part score is 'x", {"videos": (Video("a", parts={"x\n": 1.0}),)}),
        ("pair 1: no video 'c'", {"videos": (a, b), "pairs": (Pair("a", "c"),)}),
        ("pair 2: 'b' better", {"videos": (a, b), "pairs": (Pair("a", "b"), Pair("b", "a"))}),
        ("split 's': a part is 'x'", {"videos": (a,), "splits": {"s": {"a": "x"}}}),
        ("split 's': no video 'z'", {"videos": (a,), "splits": {"s": {"z": "test"}}}),
        ("splits: a name is ''", {"videos": (a,), "splits": {"": {"a": "test"}}}),
    ]
    for message, values in cases:
        with pytest.raises(ManifestError, match=f"^{re.escape(message)}"):
            Manifest(**values)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="1 cells of split 's' for 0 pairs"):
        Manifest((a,), pair_splits={"s": ("test",)})


def test_a_folder_lists_its_videos(tmp_path: Path) -> None:
    for name in ("b.MP4", "a/x.mkv", "a/y.avi", "notes.txt", ".hidden.mp4", ".git/z.mp4", "-c.mov"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    manifest = Manifest.from_folder(tmp_path)
    assert {v.id: v.path for v in manifest.videos} == {
        "a/x": tmp_path / "a" / "x.mkv",
        "a/y": tmp_path / "a" / "y.avi",
        "b": tmp_path / "b.MP4",
        "-c": tmp_path / "-c.mov",
    }
    assert list(manifest.videos) == sorted(manifest.videos, key=lambda video: video.path or Path())


@pytest.mark.parametrize(
    ("names", "ids"),
    [
        (["a.mp4", "a.mkv", "b.mp4"], {"a.mp4", "a.mkv", "b"}),
        (["a.mp4", "a.mkv", "a.mkv.avi"], {"a.mp4", "a.mkv", "a.mkv.avi"}),
    ],
)
def test_files_that_would_share_an_id_keep_their_suffix(
    tmp_path: Path, names: list[str], ids: set[str]
) -> None:
    for name in names:
        (tmp_path / name).touch()
    assert {video.id for video in Manifest.from_folder(tmp_path).videos} == ids


def test_linked_folders_are_listed_once_and_by_their_real_path_if_they_have_one(
    tmp_path: Path,
) -> None:
    folder, elsewhere = tmp_path / "videos", tmp_path / "elsewhere" / "deep"
    for path in (folder / "real" / "a.mp4", elsewhere / "b.mp4"):
        path.parent.mkdir(parents=True)
        path.touch()
    (folder / "0-same").symlink_to(folder / "real")
    (folder / "far").symlink_to(elsewhere.parent)
    (elsewhere / "up").symlink_to(folder)
    (folder / "again").symlink_to(elsewhere)
    found = Manifest.from_folder(folder).videos
    assert [video.id for video in found] == ["again/b", "real/a"]
    assert [video.path and video.path.exists() for video in found] == [True, True]


def test_a_folder_that_cannot_be_listed_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "closed").mkdir()
    (tmp_path / "a.mp4").touch()
    scandir = os.scandir

    def refuse(path: str) -> Any:
        # As for a user without the right to; the tests may run as one who has every right.
        if str(path).endswith("closed"):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(
        ManifestError, match=r"closed: cannot be listed \(Permission denied\); make"
    ):
        Manifest.from_folder(tmp_path)


def test_a_file_whose_name_cannot_be_an_id_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").touch()
    (tmp_path / "b .mp4").touch()
    with pytest.raises(ManifestError, match=r"b \.mp4: id is 'b '; .*rename the file"):
        Manifest.from_folder(tmp_path)


def test_folders_without_videos_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.txt").touch()
    with pytest.raises(ManifestError, match=f"^{tmp_path}: no video in it .*.mp4.*; name the"):
        Manifest.from_folder(tmp_path)
    with pytest.raises(ManifestError, match="none: no such folder; name"):
        Manifest.from_folder(tmp_path / "none")
    (tmp_path / "a\nb.mp4").touch()
    with pytest.raises(ManifestError, match=r"id is 'a\\nb'.*rename the file"):
        Manifest.from_folder(tmp_path)


def test_a_name_that_is_no_utf8_is_told_when_written(tmp_path: Path) -> None:
    manifest = Manifest((Video("a\udcff", tmp_path / "a\udcff.mp4"),))
    with pytest.raises(ManifestError, match="is no UTF-8; rename the file"):
        manifest.write(tmp_path / "out")


def test_paths_below_the_folder_move_with_it(tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    Manifest((Video("a", old / "v" / "a.mp4"), Video("b", tmp_path / "b.mp4"))).write(old)
    old.rename(new)
    paths = [video.path for video in Manifest.read(new / "videos.csv").videos]
    assert paths == [new / "v" / "a.mp4", tmp_path / "b.mp4"]


LINES = (
    st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Zl", "Zp")), min_size=1)
    .map(str.strip)
    .filter(bool)
)
NUMBERS = st.one_of(st.none(), st.floats(allow_nan=False, allow_infinity=False))
LABELS = st.one_of(st.none(), LINES)
FINITE = st.floats(allow_nan=False, allow_infinity=False)
PART_SCORES = st.dictionaries(st.sampled_from(["execution", "Flow of ops", "ü,_"]), FINITE)
NAMES = st.sampled_from(["a.mp4", "sub/b c.mkv", 'ü,".avi', "/far/d.mov"])


@st.composite
def manifests(draw: st.DrawFn) -> Manifest:
    ids = draw(st.lists(LINES, min_size=2, max_size=6, unique=True))
    videos = tuple(
        Video(
            id=id,
            path=draw(st.one_of(st.none(), NAMES.map(lambda name: Path("/house") / name))),
            start_seconds=draw(st.one_of(st.none(), st.floats(0, 10))),
            end_seconds=draw(st.one_of(st.none(), st.floats(10.5, 1e9))),
            task=draw(LABELS),
            subject=draw(LABELS),
            score=draw(NUMBERS),
            difficulty=draw(NUMBERS),
            action_type=draw(LABELS),
            parts=draw(PART_SCORES),
            trial=draw(LABELS),
        )
        for id in ids
    )
    names = st.lists(st.sampled_from(["default", "fold_1", "Ü 2"]), unique=True)
    splits = {
        name: draw(st.dictionaries(st.sampled_from(ids), st.sampled_from(PARTS)))
        for name in draw(names)
    }
    places = st.tuples(st.integers(0, len(ids) - 1), st.integers(0, len(ids) - 1))
    drawn = draw(st.lists(places.filter(lambda pair: pair[0] < pair[1])))
    pairs = tuple(Pair(ids[i], ids[j]) for i, j in drawn)
    cells = st.sampled_from(["", *PARTS])
    pair_splits = {name: tuple(draw(cells) for _ in pairs) for name in draw(names) if pairs}
    return Manifest(videos, splits, pairs, pair_splits)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(manifests())
def test_what_is_written_reads_back(tmp_path: Path, manifest: Manifest) -> None:
    # Pairs of an earlier manifest are not of this one.
    (tmp_path / "pairs.csv").unlink(missing_ok=True)
    table, pairs = manifest.write(tmp_path)
    assert Manifest.read(table, pairs) == manifest
    assert Manifest.read(tmp_path) == manifest


@pytest.mark.skipif(not REAL_PAIRS.exists(), reason="the published pair lists are not here")
def test_published_pair_lists_are_read(tmp_path: Path) -> None:
    lists = [
        path
        for path in sorted(REAL_PAIRS.rglob("*"))
        if path.is_file() and "splits" in (path.parent.name, path.parent.parent.name)
    ]
    read = 0
    for path in lists:
        words = re.split(r"[\s,]+", path.read_text(encoding="utf-8-sig"))
        ids = sorted({word for word in words if word} - {"Better", "Worse"})
        lines = path.read_text(encoding="utf-8-sig").split("\n")
        expected = len([x for x in lines if x.strip()]) - lines[0].startswith("Better")
        if any(len(re.findall(r"[^\s,]+", line)) == 1 for line in lines):
            continue  # a list of videos, not of pairs
        table = write(tmp_path, "id\n" + "\n".join(ids))
        assert len(Manifest.read(table, path).pairs) == expected, path
        read += 1
    assert read > 40


def test_suffixes_are_lower_case() -> None:
    assert all(suffix == suffix.lower() and suffix[0] == "." for suffix in VIDEO_SUFFIXES)
