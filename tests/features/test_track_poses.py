import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aqakit.features.errors import VideoError
from aqakit.features.track_poses import read_coco, read_openpose
from aqakit.features.tracks import Reading, Track

RATE = Reading(rate=10)
NAN = np.nan


def person(*joints: tuple[float, float, float]) -> dict[str, Any]:
    return {"pose_keypoints_2d": [number for joint in joints for number in joint]}


def openpose(folder: Path, frames: dict[int, list[dict[str, Any]]]) -> Path:
    folder.mkdir(exist_ok=True)
    for number, people in frames.items():
        path = folder / f"clip_2_{number:012d}_keypoints.json"
        path.write_text(json.dumps({"version": 1.3, "people": people}))
    return folder


def coco(found: Any, reading: Reading = RATE) -> Track:
    return read_coco(Path("v.json"), json.dumps(found).encode(), reading)


def test_gaps_of_openpose(tmp_path: Path) -> None:
    folder = openpose(
        tmp_path / "v",
        {
            7: [person((1, 2, 0.5), (0, 0, 0))],
            8: [],
            10: [person((5, 6, 0.9), (7, 8, 0.9))],
        },
    )
    track = read_openpose(folder, RATE)
    expected = [[1, 2, NAN, NAN], [NAN] * 4, [NAN] * 4, [5, 6, 7, 8]]
    np.testing.assert_array_equal(track.values, expected)
    np.testing.assert_allclose(track.timeline.pts_seconds, [0, 0.1, 0.2, 0.3])
    assert track.columns == ()


def test_the_surest_person_or_the_one_at_a_place(tmp_path: Path) -> None:
    one, two = person((1, 1, 0.4)), person((2, 2, 0.6))
    folder = openpose(tmp_path / "v", {0: [one, two], 1: [two, one], 2: [one]})
    track = read_openpose(folder, RATE)
    assert track.values[:, 0].tolist() == [2, 2, 1]
    assert track.crowded is not None
    assert track.crowded.tolist() == [True, True, False]
    first, second = (read_openpose(folder, Reading(10, person=place)) for place in (0, 1))
    assert first.values[:, 0].tolist() == [1, 2, 1]
    np.testing.assert_array_equal(second.values[:, 0], [2, 1, NAN])


def test_joints_of_body_25_have_names(tmp_path: Path) -> None:
    body = person(*((float(j), 0.0, 1.0) for j in range(25)))
    track = read_openpose(openpose(tmp_path / "v", {0: [body]}), RATE)
    assert len(track.columns) == 50
    assert track.columns[:2] == ("Nose.x", "Nose.y")
    assert track.values[0, track.columns.index("LWrist.x")] == 7
    assert track.values[0, track.columns.index("RHeel.x")] == 24


def test_results_of_coco() -> None:
    results = [
        {"image_id": 3, "keypoints": [9, 9, 1], "score": 0.2},
        {"image_id": 3, "keypoints": [1, 2, 0.1], "score": 0.9},
        {"image_id": 1, "keypoints": [5, 6, 1]},
    ]
    track = coco(results)
    np.testing.assert_array_equal(track.values, [[5, 6], [NAN, NAN], [1, 2]])
    named = [{**one, "image_id": f"clip2_{one['image_id']:04d}.jpg"} for one in results]
    np.testing.assert_array_equal(coco(named).values, track.values)


def test_annotations_of_coco() -> None:
    joints = ["hand", "foot"]
    found = {
        "images": [
            {"id": 900, "file_name": "cam1/0002.png"},
            {"id": 17, "file_name": "cam1/0003.png"},
            {"id": 44, "file_name": "cam1/0001.png"},
        ],
        "annotations": [
            {"image_id": 900, "keypoints": [3, 4, 2, 0, 0, 0]},
            {"image_id": 17, "keypoints": [5, 6, 1, 7, 8, 2]},
        ],
        "categories": [{"id": 1, "keypoints": joints}],
    }
    track = coco(found)
    np.testing.assert_array_equal(track.values, [[NAN] * 4, [3, 4, NAN, NAN], [5, 6, 7, 8]])
    assert track.columns == ("hand.x", "hand.y", "foot.x", "foot.y")
    found["annotations"] = [{"image_id": 5, "keypoints": [1, 2, 1]}]
    with pytest.raises(VideoError, match="an annotation of image 5, which it does not list"):
        coco(found)


WORDS = st.sampled_from(
    ["image_id", "keypoints", "score", "images", "annotations", "categories", "id", "file_name"]
)
LEAVES = st.one_of(
    st.none(), st.booleans(), st.integers(), st.just(10**400), st.floats(), WORDS, st.text("01a")
)
TRIPLES = st.lists(st.floats() | st.integers(), min_size=3, max_size=6)


@settings(max_examples=300)
@given(
    st.recursive(
        LEAVES | TRIPLES,
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(WORDS, inner, max_size=6),
        max_leaves=20,
    )
    | st.lists(st.fixed_dictionaries({"image_id": LEAVES, "keypoints": TRIPLES, "score": LEAVES}))
)
def test_any_json_is_a_track_or_one_line(found: Any) -> None:
    try:
        track = coco(found)
    except VideoError as error:
        assert "\n" not in str(error)
    else:
        assert np.isfinite(track.values).any(axis=1).sum() <= len(found)


RESULT = {"image_id": 1, "keypoints": [1, 2, 1]}


@pytest.mark.parametrize(
    ("found", "words"),
    [
        ([], "no frame shows a person; leave the video out"),
        ("text", "is no COCO keypoint file"),
        ({"images": []}, "lacks 'annotations' where it belongs"),
        ([{"keypoints": [1, 2, 1]}], "lacks 'image_id' where it belongs"),
        ([{"image_id": "first", "keypoints": [1, 2, 1]}], "no frame number in 'first'"),
        ([{"image_id": 1, "keypoints": [1, 2]}], "a person's keypoints are 2 values"),
        ([{"image_id": 1, "keypoints": [1, "2", 1]}], "a person's keypoints are 3 values"),
        ([{"image_id": 1, "keypoints": []}], "a person's keypoints are 0 values"),
        ([RESULT, {"image_id": 2, "keypoints": [1] * 6}], "people have [1, 2] joints"),
        ([RESULT, {**RESULT, "image_id": 10**12}], "2 frames are numbered 1 to 1000000000000"),
        ([3], "lacks 'image_id' where it belongs"),
        (
            {"annotations": [], "images": [{"id": 1, "file_name": f} for f in ("a/1", "b/1")]},
            "lists two images of one frame; write a file a video",
        ),
        ([{**RESULT, "score": 10**400}], "a number has hundreds of digits"),
    ],
)
def test_broken_coco(found: Any, words: str) -> None:
    with pytest.raises(VideoError) as caught:
        coco(found)
    assert str(caught.value).startswith("v.json: ")
    assert words in str(caught.value)


def test_broken_openpose(tmp_path: Path) -> None:
    folder = openpose(tmp_path / "v", {0: [person((1, 2, 1))], 1: []})
    path = folder / "clip_2_000000000001_keypoints.json"
    for content, words in [
        ("{", "is no whole JSON"),
        ("", "is empty"),
        ("{}", "lacks 'people' where it belongs"),
        ('{"people": [{}]}', "lacks 'pose_keypoints_2d' where it belongs"),
        ('{"people": [7]}', "lacks 'pose_keypoints_2d' where it belongs"),
    ]:
        path.write_text(content)
        with pytest.raises(VideoError) as caught:
            read_openpose(folder, RATE)
        assert str(caught.value).startswith(f"{path}: {words}")
    path.write_text('{"people": []}')
    path.rename(folder / "again_0_keypoints.json")
    with pytest.raises(VideoError, match="frame 0 again; give each video a folder of its own"):
        read_openpose(folder, RATE)
    (tmp_path / "none").mkdir()
    with pytest.raises(VideoError, match="none: holds no \\*_keypoints.json; name a folder"):
        read_openpose(tmp_path / "none", RATE)
