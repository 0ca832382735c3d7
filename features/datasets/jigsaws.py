"""JIGSAWS: surgeons at a robot's console (Gao et al., M2CAI 2014).

Three tasks, each a folder with ``meta_file_<Task>.txt``, ``video`` and ``kinematics/AllGestures``:
39 trials of suturing, 28 of needle passing, 36 of knot tying, by 8 surgeons. A score is the global
rating, the sum of six components of 1 to 5. Folds that leave a surgeon or a trial of each surgeon
out follow from subject and trial. A file ``splits.pkl`` in the folder, as released with Tang et
al., CVPR 2020, adds the widely used four folds, which mix surgeons between them.

Kinematics come at 30 Hz in 76 columns: 19 of each manipulator, namely position of the tip 3, its
rotation 9, linear and angular velocity 3 each, and angle of the gripper 1.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from ..dataset import Imported, Source, VideoFiles
from ..errors import ManifestError
from ..interchange import OnVideo
from ..manifest import Manifest, Video
from ..outcome import Outcome
from ..pickles import read_pickle
from ..segments import Sampling
from ..store import FeatureStore
from ..table import read_text, shortened
from ..track_features import Group, TrackRequest, import_tracks
from ..tracks import Reading

SUMMARY = "JIGSAWS: folder with Suturing, Needle_Passing and Knot_Tying"

TASKS = {"Suturing": "suturing", "Needle_Passing": "needle-passing", "Knot_Tying": "knot-tying"}
COMPONENTS = (
    *("respect-for-tissue", "suture-needle-handling", "time-and-motion", "flow-of-operation"),
    *("overall-performance", "quality-of-final-product"),
)
_LEVELS = {"N": "novice", "I": "intermediate", "E": "expert"}
_FOLDS = "splits.pkl"

_RATE = 30.0
_MASTERS, _SLAVES = ("0-37",), ("38-75",)
_MANIPULATORS = TrackRequest(
    "kinematics",
    Sampling("steps", 8, 200),
    Reading(_RATE),
    (
        Group("all", ("0-75",)),
        Group("master-left", ("0-18",)),
        Group("master-right", ("19-37",)),
        Group("slave-left", ("38-56",)),
        Group("slave-right", ("57-75",)),
    ),
)
# Gao et al., ECCV 2020, figure 1 and section 5.1: masters against slaves, in 10 steps.
_ROLES = TrackRequest(
    "kinematics",
    Sampling("steps", 16, 10),
    Reading(_RATE),
    (Group("primary", _MASTERS), Group("secondary", _SLAVES)),
)


class _Trial(NamedTuple):
    """A line of a meta file."""

    id: str
    subject: str
    number: str
    level: str
    rating: int
    components: tuple[int, ...]


def read(source: Source) -> Imported:
    """Videos such as ``Suturing_B001``, seen by the left camera.

    Raises:
        ManifestError: one line that names the file, what is wrong and the cure.
    """
    metas = _meta_files(source.folder)
    if not metas:
        raise ManifestError(
            f"{source.folder}: no meta_file_Suturing.txt, nor one of the other tasks, below it; "
            "name the folder that holds the tasks' folders"
        )
    trials = {task: _trials(path, task) for task, path in metas.items()}
    files = VideoFiles(source)
    videos = [_video(files, task, trial) for task in trials for trial in trials[task]]
    notes = [
        f"no meta_file_{task}.txt, so {TASKS[task]} is left out"
        for task in TASKS
        if task not in metas
    ]
    notes.append(_levels([trial for found in trials.values() for trial in found]))
    splits: dict[str, dict[str, str]] = {}
    if (source.folder / _FOLDS).is_file():
        ids = {task: [trial.id for trial in found] for task, found in trials.items()}
        splits = _four_folds(source.folder / _FOLDS, ids)
        if _mix_surgeons(videos, splits):
            notes.append(f"the folds of {_FOLDS} mix surgeons: those tested on also train")
    return Imported.of(Manifest(tuple(videos), splits), notes)


def fill(
    source: Source, store: FeatureStore, manifest: Manifest, on_video: OnVideo
) -> list[Outcome]:
    """Bring the kinematics into a store.

    ``kinematics.track.primary`` (the masters) and ``secondary`` (the slaves) have 10 steps, as Gao
    et al., ECCV 2020; ``all`` and each manipulator have 200, fine enough for frequencies.

    Returns:
        What became of each video; one without usable kinematics fails alone.

    Raises:
        ManifestError: a task has two meta files.
        StoreError: the store cannot be written.
    """
    paths = _kinematics(source.folder, [video.id for video in manifest.videos])
    found = [path for path in paths.values() if path.is_file()]
    fine = import_tracks(store, found, _MANIPULATORS, manifest, on_video)
    coarse = import_tracks(store, found, _ROLES, manifest)
    made = {one.video_id: _both(one, other) for one, other in zip(fine, coarse, strict=True)}
    return [made.get(id) or _without(id, path) for id, path in paths.items()]


def _meta_files(folder: Path) -> dict[str, Path]:
    """By task, its meta file, wherever its archive was unpacked."""
    found = {task: sorted(folder.rglob(f"meta_file_{task}.txt")) for task in TASKS}
    for paths in found.values():
        if len(paths) > 1:
            raise ManifestError(f"{paths[0]} and {paths[1]} are one task; name a folder with one")
    return {task: paths[0] for task, paths in found.items() if paths}


def _trials(path: Path, task: str) -> list[_Trial]:
    trials: dict[str, _Trial] = {}
    for number, line in enumerate(read_text(path).splitlines(), 1):
        if line.strip():
            trial = _trial(f"{path}, line {number}", task, line.split())
            if trial.id in trials:
                raise ManifestError(f"{path}, line {number}: {trial.id} again; remove one line")
            trials[trial.id] = trial
    return list(trials.values())


def _trial(place: str, task: str, words: Sequence[str]) -> _Trial:
    form = f"{task}_B001 N 13 3 2 1 2 2 3"
    if len(words) != 9 or not all(word.isdecimal() for word in words[2:]):
        raise ManifestError(
            f"{place}: {shortened(' '.join(words))} is not of the form {form!r}; correct it"
        )
    match = re.fullmatch(rf"{task}_([A-Z])0*(\d+)", words[0])
    if match is None:
        raise ManifestError(
            f"{place}: {shortened(words[0])} is no trial such as {form.split()[0]}; correct it"
        )
    if words[1] not in _LEVELS:
        raise ManifestError(
            f"{place}: level is {shortened(words[1])}, none of N, I and E; correct it"
        )
    rating, *components = map(int, words[2:])
    for name, value in zip(COMPONENTS, components, strict=True):
        if not 1 <= value <= 5:
            raise ManifestError(f"{place}: {name} is {value}, not within 1 and 5; correct it")
    if rating != sum(components):
        raise ManifestError(
            f"{place}: the global rating is {rating}, but its components sum to {sum(components)}; "
            "correct one"
        )
    return _Trial(words[0], match[1], match[2], words[1], rating, tuple(components))


def _video(files: VideoFiles, task: str, trial: _Trial) -> Video:
    return Video(
        id=trial.id,
        path=files.find(f"{trial.id}_capture1"),
        task=TASKS[task],
        subject=trial.subject,
        trial=trial.number,
        score=float(trial.rating),
        parts=dict(zip(COMPONENTS, map(float, trial.components), strict=True)),
    )


def _levels(trials: Sequence[_Trial]) -> str:
    """What the surgeons say of themselves, which no column of a manifest holds."""
    surgeons = {
        level: sorted({trial.subject for trial in trials if trial.level == letter})
        for letter, level in _LEVELS.items()
    }
    said = [f"{level} {', '.join(names)}" for level, names in surgeons.items() if names]
    return f"self-proclaimed levels of the surgeons: {'; '.join(said)}"


def _four_folds(path: Path, ids: Mapping[str, Sequence[str]]) -> dict[str, dict[str, str]]:
    """Splits ``1``, ``2`` and so on, of which each tests on one fold and trains on the others."""
    found = read_pickle(path)
    fold_of: dict[str, int] = {}
    counts = set()
    for task in ids:
        folds = _folds(path, found, task)
        counts.add(len(folds))
        for number, fold in enumerate(folds):
            for id in fold:
                if not isinstance(id, str) or id not in ids[task]:
                    raise ManifestError(
                        f"{path}: {shortened(str(id))} has no line in the meta file; get both again"
                    )
                if id in fold_of:
                    raise ManifestError(f"{path}: '{id}' is listed twice; it belongs to one fold")
                fold_of[id] = number
    missing = [id for known in ids.values() for id in known if id not in fold_of]
    if missing or len(counts) > 1:
        what = (
            f"'{missing[0]}' is in no fold" if missing else "tasks have different numbers of folds"
        )
        raise ManifestError(f"{path}: {what}; get the file again")
    return {
        str(test + 1): {id: "test" if fold == test else "train" for id, fold in fold_of.items()}
        for test in range(max(counts))
    }


def _mix_surgeons(videos: Sequence[Video], splits: Mapping[str, Mapping[str, str]]) -> bool:
    """Whether some surgeon is in the training and in the test part of one task."""
    parts = {
        (name, video.task, video.subject, split[video.id])
        for name, split in splits.items()
        for video in videos
    }
    return len({part[:3] for part in parts}) < len(parts)


def _folds(path: Path, found: Any, task: str) -> Sequence[Sequence[Any]]:
    folds = found.get(task) if isinstance(found, dict) else None
    if not isinstance(folds, list | tuple) or len(folds) < 2:
        raise ManifestError(f"{path}: has no folds of {task}; get the file again")
    if not all(isinstance(fold, list | tuple) for fold in folds):
        raise ManifestError(f"{path}: a fold of {task} is no list of trials; get the file again")
    return folds


def _kinematics(folder: Path, ids: Sequence[str]) -> dict[str, Path]:
    """By id, where the kinematics of a trial must be."""
    metas = _meta_files(folder)
    homes = {task: path.parent for task, path in metas.items()}
    below = Path("kinematics", "AllGestures")
    tasks = {id: id.rpartition("_")[0] for id in ids}
    return {id: homes.get(task, folder / task) / below / f"{id}.txt" for id, task in tasks.items()}


def _both(one: Outcome, other: Outcome) -> Outcome:
    return replace(
        one,
        computed=one.computed + other.computed,
        kept=one.kept + other.kept,
        notes=tuple(dict.fromkeys(one.notes + other.notes)),
        failure=one.failure or other.failure,
    )


def _without(id: str, path: Path) -> Outcome:
    return Outcome(id, failure=f"{path}: no such file; get the kinematics of its task")
