"""MTL-AQA: 1412 dives of 16 events (Parmar and Morris, CVPR 2019).

Three pickles of ``MTL-AQA_split_0_data``: annotations by (event, dive), and lists of the keys to
train on, 1059, and to test on, 353. Position, armstand, rotation, somersaults and twists of a dive
are numbers of classes whose names were not published; together they are its type. Videos are whole
events, ``01.mp4`` and so on, of which annotations count frames. The authors do not say how many a
second, and files from different sources differ.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..dataset import Imported, Source, VideoFiles
from ..errors import ManifestError
from ..manifest import DEFAULT_SPLIT, Manifest, Video
from ..pickles import read_pickle
from ..table import shortened
from ._split import Listed, train_test, unlisted_note

SUMMARY = "MTL-AQA: folder MTL-AQA_split_0_data with final_annotations_dict.pkl, or the repository"

_ANNOTATIONS = "final_annotations_dict.pkl"
_BELOW = Path("MTL-AQA_dataset_release", "Ready_2_Use", "MTL-AQA_split_0_data")
# The highest is that of the dataset, as Tang et al., CVPR 2020 say.
_HIGHEST = 104.5
# How many classes the authors' classifier tells apart.
_ATTRIBUTES = {
    "position": ("position", 3),
    "armstand": ("armstand", 2),
    "rotation_type": ("rotation", 4),
    "ss_no": ("somersaults", 10),
    "tw_no": ("twists", 8),
}


class _Dive(NamedTuple):
    """One annotation; frames count from 0, the last one does not belong to it."""

    event: int
    number: int
    start_frame: int
    end_frame: int
    score: float
    difficulty: float
    action_type: str

    @property
    def id(self) -> str:
        return _id(self.event, self.number)


def read(source: Source) -> Imported:
    """Videos such as ``01_01``, the first dive of the first event.

    A dive's video is a file of that name, cut already, or else the stretch of its event's file that
    its frames take at ``source.rate``.

    Raises:
        ManifestError: one line that names the file, what is wrong and the cure.
    """
    folder = source.folder
    if not (folder / _ANNOTATIONS).is_file() and (folder / _BELOW).is_dir():
        folder = folder / _BELOW
    if source.rate is not None and not 0 < source.rate < np.inf:
        raise ManifestError(f"--rate {source.rate:g} must be positive, in frames a second")
    dives = _dives(folder / _ANNOTATIONS)
    known = {dive.id for dive in dives}
    split = train_test(
        _listed(folder / "train_split_0.pkl", known), _listed(folder / "test_split_0.pkl", known)
    )
    files = VideoFiles(source)
    videos = tuple(_video(dive, files, source.rate) for dive in dives)
    return Imported.of(
        Manifest(videos, {DEFAULT_SPLIT: split}), unlisted_note(len(videos) - len(split))
    )


def _id(event: int, number: int) -> str:
    return f"{event:02d}_{number:02d}"


def _dives(path: Path) -> list[_Dive]:
    found = read_pickle(path)
    if not isinstance(found, dict) or not found:
        raise ManifestError(f"{path}: holds no annotations by key; get the authors' own file")
    return sorted(_dive(path, key, value) for key, value in found.items())


def _dive(path: Path, key: object, found: object) -> _Dive:
    event, number = _key(path, key)
    place = f"{path}, {_id(event, number)}"
    if not isinstance(found, dict):
        raise ManifestError(f"{place}: is no annotation by name; get the authors' own file")
    start, end = (_number(place, found, name, np.inf) for name in ("start_frame", "end_frame"))
    if end <= start or not (start.is_integer() and end.is_integer()):
        raise ManifestError(
            f"{place}: frames {start:g} to {end:g} are no stretch of whole frames; correct them"
        )
    return _Dive(
        event,
        number,
        int(start),
        int(end),
        _number(place, found, "final_score", _HIGHEST),
        _number(place, found, "difficulty", np.inf),
        " ".join(_classes(place, found)),
    )


def _key(path: Path, key: object) -> tuple[int, int]:
    if isinstance(key, tuple) and len(key) == 2:
        event, number = key
        if all(isinstance(part, int | np.integer) and part >= 0 for part in key):
            return int(event), int(number)
    raise ManifestError(
        f"{path}: {shortened(str(key))} is no key of event and dive such as (1, 1); correct it"
    )


def _number(place: str, found: Mapping[Any, Any], name: str, highest: float) -> float:
    value = found.get(name)
    if not isinstance(value, int | float | np.number) or isinstance(
        value, bool | np.complexfloating
    ):
        missing = "is missing" if name not in found else f"is {shortened(str(value))}"
        raise ManifestError(f"{place}: {name} {missing}; a number is needed, correct it")
    number = float(value)
    if not 0 <= number <= highest or number == np.inf:
        within = "of at least 0" if highest == np.inf else f"within 0 and {highest:g}"
        raise ManifestError(f"{place}: {name} is {number:g}, not finite and {within}; correct it")
    return number


def _classes(place: str, found: Mapping[Any, Any]) -> Iterator[str]:
    for name, (word, classes) in _ATTRIBUTES.items():
        number = _number(place, found, name, classes - 1)
        if not number.is_integer():
            raise ManifestError(f"{place}: {name} is {number:g}, no number of a class; correct it")
        yield f"{word}-{number:g}"


def _listed(path: Path, known: set[str]) -> Listed:
    found = read_pickle(path)
    if not isinstance(found, list | tuple):
        raise ManifestError(f"{path}: holds no list of keys; get the authors' own file")
    ids = [_id(*_key(path, key)) for key in found]
    for id in ids:
        if id not in known:
            raise ManifestError(f"{path}: lists '{id}', which {_ANNOTATIONS} lacks; correct one")
    return Listed(path, ids)


def _video(dive: _Dive, files: VideoFiles, rate: float | None) -> Video:
    cut = files.find(dive.id)
    event = None if cut else files.find(f"{dive.event:02d}")
    if event and rate is None:
        raise ManifestError(
            f"{event}: annotations count its frames; say how many a second it has with --rate, or "
            f"cut it into files such as {dive.id}.mp4 where events differ"
        )
    stretch = (
        (None, None) if cut or rate is None else (dive.start_frame / rate, dive.end_frame / rate)
    )
    return Video(
        id=dive.id,
        path=cut or event,
        start_seconds=stretch[0],
        end_seconds=stretch[1],
        task="diving",
        score=dive.score,
        difficulty=dive.difficulty,
        action_type=dive.action_type,
    )
