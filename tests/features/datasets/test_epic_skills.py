"""The real annotations where they are, and small files of both layouts for everything else."""

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest

from aqakit.features.dataset import Imported, Source, count_tasks
from aqakit.features.datasets.epic_skills import FOLDS, read
from aqakit.features.errors import ManifestError
from aqakit.features.manifest import Manifest, Pair, Video

Codes = list[tuple[str, str]]


def write(path: Path, lines: Iterable[str]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


def annotate(
    root: Path, sub_task: str, folds: list[tuple[Codes, Codes]], everything: Codes | None = None
) -> Path:
    """The CSV files of one sub-task, with (better, worse) codes of train and test of each fold."""
    folder, name = root / "annotations" / sub_task, sub_task.lower()
    if everything is None:
        everything = [*folds[0][0], *folds[0][1]]
    # The better one is the second as often as the first, under either name that its column has.
    rows = [
        ",".join((*((b, a) if n % 2 else (a, b)), a)) + "," * (n % 3)
        for n, (a, b) in enumerate(everything)
    ]
    write(folder / f"{name}_gt.csv", [f"Vid1,Vid2,{'Better,' if 'n' in name else 'Best'}", *rows])
    for fold, parts in zip(FOLDS, folds, strict=True):
        for word, pairs in zip(("train", "val"), parts, strict=True):
            path = folder / "splits" / f"{name}_{word}_{fold}.csv"
            write(path, ["Better,Worse,", *(f"{a},{b}" + "," * (fold > "2") for a, b in pairs)])
    return folder


def write_lists(root: Path, task: str, folds: list[tuple[Codes, Codes]]) -> Path:
    """The text files of one task, with (better, worse) names of train and test of each fold."""
    folder = root / "EPIC-Skills" / "splits" / task
    for fold, parts in zip(FOLDS, folds, strict=True):
        for word, pairs in zip(("train", "test"), parts, strict=True):
            lines = (f"{a} {b}" + " " * (fold > "2") for a, b in pairs)
            write(folder / f"{word}_split{fold}.txt", lines)
    return folder


FIRST: tuple[Codes, Codes] = ([("B1", "A2")], [("C3", "A2"), ("A2", "D4")])
SECOND: tuple[Codes, Codes] = ([("C3", "A2"), ("A2", "D4")], [("B1", "A2")])
CODES = [FIRST, SECOND, FIRST, SECOND]
SURGERY: list[tuple[Codes, Codes]] = [([("B001", "C002")], [("D003", "C002")])] * 4
DOUGH: list[tuple[Codes, Codes]] = [([("S07", "S11")], [("S11", "S55")])] * 4


def renamed(folds: list[tuple[Codes, Codes]], pattern: str) -> list[tuple[Codes, Codes]]:
    return [
        tuple([(pattern.format(a), pattern.format(b)) for a, b in part] for part in fold)  # type: ignore[misc]
        for fold in folds
    ]


def error_of(source: Source) -> str:
    with pytest.raises(ManifestError) as caught:
        read(source)
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    return message


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def labels(manifest: Manifest) -> list[tuple[str | None, ...]]:
    return [(v.id, v.task, v.action_type, v.subject, v.trial) for v in manifest.videos]


# The real files


@pytest.fixture
def real(real_data: Path) -> Imported:
    return read(Source(real_data / "pairs"))


def test_counts_equal_the_dataset_table_of_doughty_2019(real: Imported) -> None:
    """Table 1: videos and pairs of each task."""
    table = {
        "chopstick-using": (40, 536),
        "dough-rolling": (33, 181),
        "drawing": (40, 247),
        "surgery": (103, 1659),
    }
    assert {c.task: (c.videos, c.pairs) for c in count_tasks(real)} == table
    assert {c.task: c.subjects for c in count_tasks(real)} == {
        "chopstick-using": 8,
        "dough-rolling": 33,
        "drawing": 6,
        "surgery": 8,
    }
    assert len(real.absent) == 216


def test_counts_equal_those_of_sub_tasks_in_li_2019(real: Imported) -> None:
    """Section 4.1.2: videos of the sub-tasks of surgery, and all pairs of them at most."""
    videos = Counter(v.action_type for v in real.manifest.videos if v.task == "surgery")
    assert videos == {"knot-tying": 36, "needle-passing": 28, "suturing": 39}
    kind = {v.id: v.action_type for v in real.manifest.videos}
    pairs = Counter(kind[pair.better] for pair in real.manifest.pairs)
    assert pairs["knot-tying"] == 596 <= 36 * 35 // 2
    assert pairs["needle-passing"] == 362 <= 28 * 27 // 2
    # It has 701 for what can be listed at most of suturing, where that is 741: it counts what is.
    assert pairs["suturing"] == 701
    assert (pairs["hand-drawing"], pairs["sonic-drawing"]) == (129, 118)


def test_every_pair_is_in_one_part_of_every_fold(real: Imported) -> None:
    assert list(real.manifest.pair_splits) == list(FOLDS)
    for parts in real.manifest.pair_splits.values():
        assert set(parts) == {"train", "test"}
    first = real.manifest.pair_splits["1"]
    assert (first.count("train"), first.count("test")) == (
        314 + 106 + 62 + 65 + 335 + 166 + 382,
        222 + 75 + 67 + 53 + 261 + 196 + 319,
    )


def test_no_pair_crosses_sub_tasks(real: Imported) -> None:
    kind = {v.id: (v.task, v.action_type) for v in real.manifest.videos}
    assert all(kind[better] == kind[worse] for better, worse in real.manifest.pairs)


def test_both_layouts_hold_the_same(real: Imported, real_data: Path) -> None:
    annotations = read(Source(real_data / "pairs" / "epic_skills_2018")).manifest
    lists = read(Source(real_data / "pairs" / "raan_lists")).manifest
    assert annotations == real.manifest
    assert labels(lists) == labels(annotations)
    for fold in FOLDS:
        for part in ("train", "test"):
            ours, theirs = (Counter(m.pairs_in(fold, part)) for m in (annotations, lists))
            assert ours == theirs
    for task in ("chopstick-using", "dough-rolling", "drawing", "surgery"):
        assert f"{task} is there in both layouts, with the same pairs in every fold" in real.notes


def test_two_pairs_are_published_three_times(real: Imported) -> None:
    times = Counter(real.manifest.pairs)
    assert {pair: n for pair, n in times.items() if n > 1} == {
        Pair("B1", "G1"): 3,
        Pair("S33_roll_dough", "S08_roll_dough"): 3,
    }
    assert (
        "listed more than once, and count as often: 'B1' better than 'G1' (3 times), "
        "'S33_roll_dough' better than 'S08_roll_dough' (3 times)" in real.notes
    )


def test_dough_rolling_lasts_as_long_as_the_paper_says(real: Imported) -> None:
    """Table 1 has 102 +- 29 s; 30 frames a second give it but for a second."""
    lengths = [
        video.end_seconds - video.start_seconds
        for video in real.manifest.videos
        if video.end_seconds is not None and video.start_seconds is not None
    ]
    assert len(lengths) == 33
    assert np.mean(lengths) == pytest.approx(102, abs=1.5)
    assert np.std(lengths) == pytest.approx(29, abs=0.5)


# Small files


def test_annotations_and_lists_give_the_same(tmp_path: Path) -> None:
    annotate(tmp_path / "csv", "Sonic_Drawing", CODES)
    annotate(tmp_path / "csv", "Knot_Tying", SURGERY)
    write_lists(tmp_path / "txt", "drawing", renamed(CODES, "Sonic/{}-S"))
    write_lists(tmp_path / "txt", "surgery", renamed(SURGERY, "Knot_Tying/Knot_Tying_{}_capture2"))
    csv, txt = (read(Source(tmp_path / name)) for name in ("csv", "txt"))
    assert csv.manifest == txt.manifest
    assert csv.notes == txt.notes
    assert labels(csv.manifest) == [
        ("Sonic/A2-S", "drawing", "sonic-drawing", "A", "2"),
        ("Sonic/B1-S", "drawing", "sonic-drawing", "B", "1"),
        ("Sonic/C3-S", "drawing", "sonic-drawing", "C", "3"),
        ("Sonic/D4-S", "drawing", "sonic-drawing", "D", "4"),
        ("Knot_Tying/Knot_Tying_B001_capture2", "surgery", "knot-tying", "B", "001"),
        ("Knot_Tying/Knot_Tying_C002_capture2", "surgery", "knot-tying", "C", "002"),
        ("Knot_Tying/Knot_Tying_D003_capture2", "surgery", "knot-tying", "D", "003"),
    ]
    assert csv.manifest.pairs_in("1", "train") == (
        Pair("Sonic/B1-S", "Sonic/A2-S"),
        Pair("Knot_Tying/Knot_Tying_B001_capture2", "Knot_Tying/Knot_Tying_C002_capture2"),
    )
    assert csv.manifest.pair_splits["2"] == ("test", "train", "train", "train", "test")


def test_what_is_left_out_is_told(tmp_path: Path) -> None:
    annotate(tmp_path, "Chopstick_Using", CODES)
    assert read(Source(tmp_path)).notes == (
        (
            "left out, as its lists are not there: Dough_Rolling, Hand_Drawing, Sonic_Drawing, "
            "Knot_Tying, Needle_Passing, Suturing"
        ),
    )


@pytest.mark.parametrize("below", ["", "annotations", "annotations/Chopstick_Using"])
def test_any_folder_above_the_annotations_will_do(below: str, tmp_path: Path) -> None:
    annotate(tmp_path, "Chopstick_Using", CODES)
    assert len(read(Source(tmp_path / below)).manifest.videos) == 4


@pytest.mark.parametrize("below", ["", "EPIC-Skills", "EPIC-Skills/splits"])
def test_any_folder_above_the_lists_will_do(below: str, tmp_path: Path) -> None:
    write_lists(tmp_path, "chopstick_using", CODES)
    assert len(read(Source(tmp_path / below)).manifest.videos) == 4


def test_pairs_in_no_fold_are_pairs_too(tmp_path: Path) -> None:
    annotate(tmp_path, "Chopstick_Using", CODES, [("E5", "A2"), *FIRST[1], *FIRST[0]])
    imported = read(Source(tmp_path))
    assert imported.manifest.pairs[0] == Pair("E5", "A2")
    assert [parts[0] for parts in imported.manifest.pair_splits.values()] == [""] * 4
    assert "pairs in no fold: 1" in imported.notes


def test_pairs_of_folds_alone_are_pairs_too(tmp_path: Path) -> None:
    more: tuple[Codes, Codes] = ([*FIRST[0], ("E5", "A2")], FIRST[1])
    annotate(tmp_path, "Chopstick_Using", [*CODES[:3], more], FIRST[0])
    imported = read(Source(tmp_path))
    assert len(imported.manifest.pairs) == 4
    assert [parts[-1] for parts in imported.manifest.pair_splits.values()] == ["", "", "", "train"]
    assert not any("no fold" in note for note in imported.notes)


def test_where_the_layouts_differ_the_annotations_count(tmp_path: Path) -> None:
    annotate(tmp_path, "Chopstick_Using", CODES)
    write_lists(tmp_path, "chopstick_using", [*CODES[:3], ([("C3", "A2")], [("B1", "A2")])])
    imported = read(Source(tmp_path))
    assert imported.manifest.pair_splits["4"] == ("test", "train", "train")
    assert (
        "chopstick-using is there in both layouts, which differ in 1 lines of the annotations and 0 "
        "of the lists; the annotations count"
    ) in imported.notes


def test_files_of_the_stationary_camera_of_each_sub_task(tmp_path: Path) -> None:
    annotate(tmp_path / "labels", "Chopstick_Using", CODES)
    annotate(tmp_path / "labels", "Hand_Drawing", CODES)
    annotate(tmp_path / "labels", "Suturing", SURGERY)
    videos = tmp_path / "videos"
    wanted = {
        "A2": videos / "ChopstickUsing" / "Stationary" / "A2.MP4",
        "C3": videos / "ChopstickUsing" / "C3-S.mp4",
        "Hand/A2-S": videos / "HandDrawing" / "Stationary" / "A2.MP4",
        "Suturing/Suturing_B001_capture2": videos / "S" / "Suturing_B001_capture2.avi",
    }
    others = [
        videos / "ChopstickUsing" / "Headmounted" / "A2.MP4",
        videos / "ChopstickUsing" / "Headmounted" / "B1.MP4",
        videos / "S" / "Suturing_B001_capture1.avi",
        videos / "S" / "Suturing_C002_capture1.avi",
        videos / "D4.mp4",
    ]
    touch(*wanted.values(), *others)
    imported = read(Source(tmp_path / "labels", videos))
    assert {v.id: v.path for v in imported.manifest.videos if v.path} == wanted
    assert imported.absent == tuple(v.id for v in imported.manifest.videos if v.id not in wanted)


def test_dough_rolling_is_a_part_of_a_recording(tmp_path: Path) -> None:
    annotate(tmp_path, "Dough_Rolling", DOUGH)
    segments = ("S07_Pizza_7150991,30,59,", "S55_Pizza_7150991,0,0", "S11_Pizza_7150991,7,8")
    write(tmp_path / "dough_rolling_segments.csv", ["Video,StartFrame,EndFrame,", *segments])
    whole, cut = tmp_path / "v" / "S07_Pizza_7150991.avi", tmp_path / "v" / "S11_roll_dough.mp4"
    touch(whole, cut, tmp_path / "v" / "S11_Pizza_7150991.avi")
    imported = read(Source(tmp_path))
    assert imported.manifest.videos == (
        Video("S07_roll_dough", whole, 1.0, 2.0, "dough-rolling", "S07"),
        Video("S11_roll_dough", cut, task="dough-rolling", subject="S11"),
        Video("S55_roll_dough", None, 0.0, 1 / 30, "dough-rolling", "S55"),
    )
    assert "start and end of dough rolling follow from frames at 30 a second" in imported.notes
    other = read(Source(tmp_path, rate=10))
    assert (other.manifest.videos[0].start_seconds, other.manifest.videos[0].end_seconds) == (3, 6)
    assert "start and end of dough rolling follow from frames at 10 a second" in other.notes


def test_a_whole_recording_is_no_dough_rolling(tmp_path: Path) -> None:
    annotate(tmp_path, "Dough_Rolling", DOUGH)
    touch(tmp_path / "v" / "S07_Pizza_7150991.avi")
    imported = read(Source(tmp_path))
    assert len(imported.absent) == 3
    assert any("whole recordings of dough rolling are not used" in n for n in imported.notes)


# What a user can mend


def test_neither_layout(tmp_path: Path) -> None:
    write(tmp_path / "BEST" / "splits" / "origami" / "train.txt", ["a b"])
    assert error_of(Source(tmp_path)) == (
        f"{tmp_path}: neither annotations/<Task>/splits nor splits/<task> of EPIC-Skills is below "
        "it; name the folder of a copy of hazeld/EPIC-Skills2018"
    )
    assert "no such folder" in error_of(Source(tmp_path / "none"))


def test_a_file_of_a_fold_is_missing(tmp_path: Path) -> None:
    folder = annotate(tmp_path, "Chopstick_Using", CODES)
    gone = folder / "splits" / "chopstick_using_val_3.csv"
    gone.unlink()
    assert error_of(Source(tmp_path)) == f"{gone}: no such file; correct its path"


def test_two_copies(tmp_path: Path) -> None:
    one, two = (annotate(tmp_path / name, "Chopstick_Using", CODES) for name in ("one", "two"))
    assert error_of(Source(tmp_path)) == f"{one} and {two} hold the same; name the folder of one"
    segments = [
        write(tmp_path / name / "dough_rolling_segments.csv", ["Video,StartFrame,EndFrame"])
        for name in ("one", "three")
    ]
    (two / "splits").rename(tmp_path / "gone")
    assert error_of(Source(tmp_path)) == (
        f"{segments[0]} and {segments[1]} hold the same; name the folder of one"
    )


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        (
            ["Vid1,Vid2,Best", "A1,B2,C3"],
            "line 2: the better of 'A1' and 'B2' is 'C3'; write one of them",
        ),
        (["Vid1,Vid2,Best", "A1,B2,"], "line 2: the better of 'A1' and 'B2' is ''"),
        (["Vid1,Vid2", "A1,B2"], "has no column 'best'; fetch the published file again"),
        (["Vid1,Best", "A1,A1"], "has no column 'vid2'; fetch the published file again"),
        (["Vid1,Vid2,Best", "A1,B001,A1"], "line 2: 'B001' is no video of Chopstick_Using; fetch"),
        (["Vid1,Vid2,Best", "A1,A1,A1"], "line 2: pairs 'A1' with itself; remove the line"),
        (["Vid1,Vid2,Best", "A1,B2,A1", "A1,B2,B2"], "'A1' is the reverse of"),
    ],
)
def test_wrong_lines_of_all_pairs(rows: list[str], told: str, tmp_path: Path) -> None:
    folder = annotate(tmp_path, "Chopstick_Using", CODES)
    path = write(folder / "chopstick_using_gt.csv", rows)
    message = error_of(Source(tmp_path))
    assert str(path) in message
    assert told in message


def test_a_pair_that_trains_and_tests(tmp_path: Path) -> None:
    leak: tuple[Codes, Codes] = (FIRST[0], FIRST[0])
    annotate(tmp_path, "Chopstick_Using", [*CODES[:3], leak])
    assert "is for test, but for train in" in error_of(Source(tmp_path))


def test_a_video_of_another_task_in_a_list(tmp_path: Path) -> None:
    folds = renamed(CODES, "Hand/{}-S")
    folder = write_lists(tmp_path, "drawing", [*folds[:3], ([("Hand/A2-S", "A2")], folds[0][1])])
    assert error_of(Source(tmp_path)) == (
        f"{folder / 'train_split4.txt'}, line 1: 'A2' is no video of drawing; fetch the published "
        "file again"
    )


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ("S07_Pizza_7150991,20,10", "goes from frame '20' to '10'"),
        ("S07_Pizza_7150991,,10", "goes from frame '' to '10'"),
        ("S07_Pizza_7150991,1.5,10", "goes from frame '1.5' to '10'"),
        ("S07_Brownie_7150991,1,10", "video is 'S07_Brownie_7150991'"),
        ("S11_Pizza_7150991,1,10", "video is 'S11_Pizza_7150991', which is no recording or there"),
    ],
)
def test_wrong_segments(row: str, told: str, tmp_path: Path) -> None:
    annotate(tmp_path, "Dough_Rolling", DOUGH)
    rows = ["Video,StartFrame,EndFrame,", "S11_Pizza_7150991,1,10", row]
    path = write(tmp_path / "dough_rolling_segments.csv", rows)
    message = error_of(Source(tmp_path))
    assert message.startswith(f"{path}, line 3: {told}")
    assert message.endswith("fetch the published file again")
