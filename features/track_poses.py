"""Poses that other software estimated, as tracks: (M, 2 J), x and y of each joint in turn.

* OpenPose (``--write_json``): a folder a video, a file a frame, ``<name>_<frame>_keypoints.json``, in
  it ``people[].pose_keypoints_2d`` = x, y, confidence of each joint.
* COCO keypoints: a file a video; a list of results ``{image_id, keypoints, score}``, or an annotation
  file with ``images`` and ``annotations``. ``keypoints`` = x, y, confidence (or visibility) of each
  joint; of ``image_id``, text such as ``0012.jpg`` included, the last number counts frames.

Time 0 is the first frame that a file or folder knows. A frame without the person, or missing between
others, and a joint of confidence or visibility 0, are gaps. Where a frame shows several people, the one
with the highest score (else: mean confidence) is taken, frame by frame; nobody is followed.
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import VideoError
from .tracks import Reading, Track, make_timeline, read_bytes

POSE_SUFFIX = "_keypoints.json"

# doc/02_output.md of OpenPose: the order of BODY_25 and of its COCO model.
_BODY_25 = (
    "Nose Neck RShoulder RElbow RWrist LShoulder LElbow LWrist MidHip RHip RKnee RAnkle LHip LKnee "
    "LAnkle REye LEye REar LEar LBigToe LSmallToe LHeel RBigToe RSmallToe RHeel"
)
_COCO_18 = (
    "Nose Neck RShoulder RElbow RWrist LShoulder LElbow LWrist RHip RKnee RAnkle LHip LKnee LAnkle "
    "REye LEye REar LEar"
)
# The category "person" of the COCO keypoint annotations.
_COCO_17 = (
    "nose left_eye right_eye left_ear right_ear left_shoulder right_shoulder left_elbow right_elbow "
    "left_wrist right_wrist left_hip right_hip left_knee right_knee left_ankle right_ankle"
)
_JOINTS = {len(names.split()): tuple(names.split()) for names in (_BODY_25, _COCO_18, _COCO_17)}
# Frame numbers that leave so many frames out do not count the frames of one video.
_MOST_MISSING = 100

_Person = tuple[list[float], float]  # x, y, confidence in turn; score


def pose_files(folder: Path) -> list[Path]:
    """The files of OpenPose in a folder, one a frame, by name."""
    return sorted(path for path in folder.iterdir() if path.name.endswith(POSE_SUFFIX))


def read_openpose(folder: Path, reading: Reading) -> Track:
    """Read the frames of one video.

    Raises:
        VideoError: a file is broken, or no frame shows the person.
    """
    paths = pose_files(folder)
    if not paths:
        raise VideoError(f"{folder}: holds no *{POSE_SUFFIX}; name a folder that OpenPose wrote")
    frames: dict[int, list[_Person]] = {}
    for path in paths:
        frame = _frame_number(path, path.name.removesuffix(POSE_SUFFIX))
        if frame in frames:
            raise VideoError(f"{path}: frame {frame} again; give each video a folder of its own")
        people = _field(path, _json(path, read_bytes(path)), "people", list)
        frames[frame] = [
            _person(path, _field(path, someone, "pose_keypoints_2d", list), None)
            for someone in people
        ]
    return _track(folder, frames, (), reading)


def read_coco(path: Path, data: bytes, reading: Reading) -> Track:
    """Read the content of a COCO keypoint file.

    Args:
        path: of the file, for messages.
        data: its content, unpacked.
        reading: rate and person.

    Raises:
        VideoError: the file is broken, or no frame shows the person.
    """
    found = _json(path, data)
    if isinstance(found, dict):
        results = _field(path, found, "annotations", list)
        images = _field(path, found, "images", list)
        order = {str(_field(path, one, "id", int, str)): _image_frame(path, one) for one in images}
        if len(set(order.values())) < len(images):
            raise VideoError(f"{path}: lists two images of one frame; write a file a video")
        joints = _category_joints(found)
    else:
        results, order, joints = found, None, ()
    if not isinstance(results, list):
        raise VideoError(f"{path}: is no COCO keypoint file; name a list of results or annotations")
    frames: dict[int, list[_Person]] = {} if order is None else {n: [] for n in order.values()}
    for one in results:
        image = str(_field(path, one, "image_id", int, str))
        if order is not None and image not in order:
            raise VideoError(f"{path}: an annotation of image {image}, which it does not list")
        frame = _frame_number(path, image) if order is None else order[image]
        keypoints = _field(path, one, "keypoints", list)
        frames.setdefault(frame, []).append(_person(path, keypoints, one.get("score")))
    return _track(path, frames, joints, reading)


def _image_frame(path: Path, image: Mapping[str, Any]) -> int:
    name = image.get("file_name")
    return _frame_number(path, str(image["id"] if name is None else Path(str(name)).name))


def _category_joints(found: Mapping[str, Any]) -> tuple[str, ...]:
    """Names that the file itself gives its joints; none where it does not."""
    categories = found.get("categories")
    for category in categories if isinstance(categories, list) else ():
        if isinstance(category, dict) and isinstance(category.get("keypoints"), list):
            return tuple(map(str, category["keypoints"]))
    return ()


def _json(path: Path, data: bytes) -> Any:
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise VideoError(f"{path}: is no whole JSON ({error}); copy it again") from None


def _field(path: Path, found: Any, name: str, *kinds: type) -> Any:
    value = found.get(name) if isinstance(found, dict) else None
    if not isinstance(value, kinds):
        raise VideoError(f"{path}: lacks '{name}' where it belongs; it is no such pose file")
    return value


def _frame_number(path: Path, text: str) -> int:
    numbers = re.findall(r"[0-9]{1,18}", text)
    if not numbers:
        raise VideoError(f"{path}: no frame number in {text!r}; rename it as OpenPose does")
    return int(numbers[-1])


def _person(path: Path, numbers: list[Any], score: Any) -> _Person:
    if not numbers or len(numbers) % 3 or not all(isinstance(n, int | float) for n in numbers):
        raise VideoError(
            f"{path}: a person's keypoints are {len(numbers)} values; they must be numbers, x, y "
            "and confidence of each joint"
        )
    try:
        joints = list(map(float, numbers))
        if isinstance(score, int | float):
            return joints, float(score)
    except OverflowError:
        raise VideoError(f"{path}: a number has hundreds of digits; get the file again") from None
    return joints, sum(joints[2::3]) / len(joints[2::3])


def _track(
    path: Path, frames: Mapping[int, Sequence[_Person]], joints: tuple[str, ...], reading: Reading
) -> Track:
    """Join the chosen person of each frame."""
    people = [person for shown in frames.values() for person in shown]
    sizes = {len(numbers) // 3 for numbers, _ in people}
    if not sizes:
        raise VideoError(f"{path}: no frame shows a person; leave the video out")
    if len(sizes) > 1:
        raise VideoError(f"{path}: people have {sorted(sizes)} joints; write it with one model")
    size = sizes.pop()
    first, last = min(frames), max(frames)
    if last - first >= _MOST_MISSING * len(frames):
        raise VideoError(
            f"{path}: {len(frames)} frames are numbered {first} to {last}; number the frames of one "
            "video in turn"
        )
    values = np.full((last - first + 1, 2 * size), np.nan)
    crowded = np.zeros(len(values), dtype=np.bool_)
    for frame, shown in frames.items():
        crowded[frame - first] = len(shown) > 1
        person = _choose(shown, reading.person)
        if person is not None:
            values[frame - first] = _coordinates(person)
    timeline = make_timeline(path, None, len(values), reading.rate)
    return Track(timeline, values, _columns(joints, size), crowded)


def _choose(shown: Sequence[_Person], place: int | None) -> _Person | None:
    """The person at a place, or the surest one; None where the frame does not show it."""
    if place is not None:
        return shown[place] if place < len(shown) else None
    return max(shown, key=lambda person: person[1], default=None)


def _coordinates(person: _Person) -> NDArray[np.float64]:
    """(2 J,) x and y of each joint; nan where its confidence is 0."""
    triples = np.array(person[0], dtype=np.float64).reshape(-1, 3)  # (J, 3)
    sure = (triples[:, 2:] > 0) & np.isfinite(triples[:, :2]).all(axis=1, keepdims=True)
    return np.where(sure, triples[:, :2], np.nan).reshape(-1)


def _columns(joints: Iterable[str], size: int) -> tuple[str, ...]:
    names = tuple(joints)
    if len(names) != size:
        names = _JOINTS.get(size, ())
    return tuple(f"{name}.{axis}" for name in names for axis in "xy")
