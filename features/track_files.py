"""Files of tracks: which there are, whose they are, and what they hold.

.txt .csv .tsv .dat     one sample a line, see :mod:`aqakit.features.track_text`; may be gzipped
.npz                    ``tracks`` or ``arr_0``, (M, C) or (M, J, D), and ``times``, (M,) seconds
.json                   COCO keypoints, see :mod:`aqakit.features.track_poses`; may be gzipped
a folder                OpenPose keypoints, one ``*_keypoints.json`` a frame
"""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from .errors import VideoError
from .npz import read_npz
from .track_poses import POSE_SUFFIX, read_coco, read_openpose
from .track_text import read_text_track
from .tracks import Reading, Track, make_timeline, read_bytes

SUFFIXES = frozenset({".txt", ".csv", ".tsv", ".dat", ".npz", ".json"})


def find_tracks(paths: Iterable[Path]) -> list[Path]:
    """Files of tracks, and folders of OpenPose, that a user means.

    Args:
        paths: a file is taken as it is; below a folder, all with a known suffix, none hidden.

    Raises:
        VideoError: no such path, or a folder without tracks.
    """
    found: list[Path] = []
    for path in paths:
        if not path.exists():
            raise VideoError(f"{path}: no such file or folder; correct the path")
        inside = sorted(_below(path)) if path.is_dir() else [path]
        if not inside:
            raise VideoError(
                f"{path}: no tracks in it (looked for {', '.join(sorted(SUFFIXES))}, the same with "
                f".gz, and folders of *{POSE_SUFFIX}); name the folder that holds them"
            )
        found += inside
    return list(dict.fromkeys(found))


def _below(folder: Path) -> Iterator[Path]:
    for parent, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if name[0] != ".")
        if any(name.endswith(POSE_SUFFIX) for name in files):
            yield Path(parent)
            continue
        for name in files:
            if name[0] != "." and _suffix(Path(name)) in SUFFIXES:
                yield Path(parent) / name


def track_name(path: Path) -> str:
    """The id that a file or folder of a track stands for: its name without suffixes."""
    if path.is_dir():
        return path.resolve().name
    return path.name.removesuffix(".gz").removesuffix(_suffix(path))


def _suffix(path: Path) -> str:
    """The suffix of a file's own format, below that of gzip."""
    return Path(path.name.removesuffix(".gz")).suffix


def read_track(path: Path, reading: Reading) -> Track:
    """Read one file or folder.

    Raises:
        VideoError: it is broken, empty, or needs to be told a rate.
    """
    suffix = _suffix(path)
    is_pose = path.is_dir() or suffix == ".json"
    if reading.person is not None and not is_pose:
        raise VideoError(f"{path}: is no pose file, which has people; leave --person out")
    if reading.time_column is not None and (is_pose or suffix == ".npz"):
        raise VideoError(f"{path}: is no text file with columns; leave --time out")
    if path.is_dir():
        return read_openpose(path, reading)
    if suffix == ".npz":
        return _read_npz(path, reading)
    data = read_bytes(path)
    return (
        read_coco(path, data, reading)
        if suffix == ".json"
        else read_text_track(path, data, reading)
    )


def _read_npz(path: Path, reading: Reading) -> Track:
    found = read_npz(path, ("tracks", "arr_0", "times"))
    name = next((name for name in ("tracks", "arr_0") if name in found), None)
    if name is None:
        raise VideoError(f"{path}: has neither 'tracks' nor 'arr_0'; save its array as one of them")
    array = found[name]
    if array.ndim not in (2, 3) or not array.size:
        raise VideoError(
            f"{path}: '{name}' has shape {array.shape}; it must be (M, C) or (M, J, D), not empty"
        )
    values = array.reshape(len(array), -1).astype(np.float64)
    times = found.get("times")
    if times is not None:
        if times.shape != (len(values),):
            raise VideoError(
                f"{path}: 'times' has shape {times.shape}; it must be ({len(values)},)"
            )
        times = times.astype(np.float64)
    timeline = make_timeline(path, times, len(values), reading.rate)
    return Track(timeline, np.where(np.isfinite(values), values, np.nan))
