"""UI-PRMD: ten movements of rehabilitation, done correctly and incorrectly, as skeletons.

Vakanski et al., "A Data Set of Human Body Movements for Physical Rehabilitation Exercises", Data 3(1),
2018: 10 movements x 10 subjects x 10 correct and 10 incorrect repetitions. Of its files, the segmented
positions of the Kinect are read:

    Segmented Movements/Kinect/Positions/m01_s01_e01_positions.txt                correct
    Incorrect Segmented Movements/Kinect/Positions/m01_s01_e01_positions_inc.txt  incorrect

m is the movement, s the subject, e the repetition. A file, which may be gzipped, holds a sample a line,
30 a second, of 22 joints x 3 coordinates in cm, between commas.

Only the first joint, the waist, has a position in space. Every other one is given in the frame of the
joint before it in its limb, where a bone lies along one axis: 32 of the 66 columns move, being lengths
of bones that vary with the pose. The other 34 hold a constant below 1e-4 cm, another one for each
subject, movement and way of doing it: it tells recordings of one subject apart by their label, and
whoever scales columns to one size makes it as large as the motion. So they are left out.
"""

import gzip
import hashlib
import re
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from lzma import LZMAError
from pathlib import Path, PurePosixPath

from ..dataset import Imported, Source
from ..errors import ManifestError, VideoError
from ..interchange import OnVideo
from ..manifest import Manifest, Pair, Video
from ..outcome import Outcome
from ..segments import Sampling
from ..source import Source as Origin
from ..store import FeatureStore
from ..track_features import Channel, Group, Recording, TrackRequest, import_recordings
from ..track_text import read_text_track
from ..tracks import Reading, Track

SUMMARY = "UI-PRMD (Vakanski et al. 2018): Kinect skeletons of 10 movements, folder, .tar or .zip"

MOVEMENTS = (
    "deep-squat",
    "hurdle-step",
    "inline-lunge",
    "side-lunge",
    "sit-to-stand",
    "standing-active-straight-leg-raise",
    "standing-shoulder-abduction",
    "standing-shoulder-extension",
    "standing-shoulder-internal-external-rotation",
    "standing-shoulder-scaption",
)
JOINTS = (
    *("waist", "spine", "chest", "neck", "head", "head-tip"),
    *("left-collar", "left-upper-arm", "left-forearm", "left-hand"),
    *("right-collar", "right-upper-arm", "right-forearm", "right-hand"),
    *("left-upper-leg", "left-lower-leg", "left-foot", "left-toes"),
    *("right-upper-leg", "right-lower-leg", "right-foot", "right-toes"),
)
COLUMNS = tuple(f"{joint}.{axis}" for joint in JOINTS for axis in "xyz")
# The coordinates in which a joint moves in the frame of the one before it.
MOVING = Group(
    "moving",
    (
        *("waist", "spine.y", "chest.y", "neck.y", "head.y", "head-tip.y"),
        *("left-collar", "left-upper-arm.x", "left-forearm.x", "left-hand.x"),
        *("right-collar", "right-upper-arm.x", "right-forearm.x", "right-hand.x"),
        *("left-upper-leg", "left-lower-leg.y", "left-foot.y", "left-toes.z"),
        *("right-upper-leg", "right-lower-leg.y", "right-foot.y", "right-toes.z"),
    ),
)
# A feature each: postures alone, and with how fast they change.
CHANNELS: tuple[tuple[Channel, ...], ...] = (("raw",), ("raw", "speed"))
SAMPLING = Sampling("steps", 4, 20)
RATE = 30.0

_SUBJECTS = _EPISODES = 10
# Whether the recordings below a folder are incorrect.
_KINDS = {"Segmented Movements": False, "Incorrect Segmented Movements": True}
_BELOW = ("Kinect", "Positions")
_NAME = re.compile(r"m(0[1-9]|10)_s(0[1-9]|10)_e(0[1-9]|10)_positions(_inc)?\.txt(\.gz)?")
_NAMED_IN_A_NOTE = 3
_GZIP = b"\x1f\x8b"
_BROKEN = (
    *(EOFError, OSError, zlib.error, LZMAError, tarfile.TarError, zipfile.BadZipFile),
    # zipfile: a member with a password, or packed in a way that it does not know.
    RuntimeError,
)


def read(source: Source) -> Imported:
    """Every recording as a video without a file; the correct ones of a subject above the others.

    An archive is read where it lies and never unpacked, so no path in it can lead anywhere; its
    links are left out.

    Args:
        source: its folder holds the dataset's two folders, or is a .tar or .zip of them.

    Raises:
        ManifestError: no such folder, an archive that cannot be read, no recordings of one of the
            two kinds, a recording twice, or a folder of videos.
    """
    if source.videos is not None:
        raise ManifestError(
            f"{source.videos}: UI-PRMD has skeletons, no videos; leave --videos out"
        )
    with _opened(source.folder) as files:
        found, strangers = _recordings(files)
    takes = sorted(found)
    for kind, incorrect in _KINDS.items():
        if not any(take.incorrect == incorrect for take in takes):
            both = " and ".join(map(repr, _KINDS))
            raise ManifestError(
                f"{source.folder}: no recordings in '{'/'.join((kind, *_BELOW))}'; name the folder, "
                f".tar or .zip that holds both {both}"
            )
    videos = tuple(take.video for take in takes)
    return Imported(Manifest(videos, pairs=_pairs(takes)), (), tuple(_notes(takes, strangers)))


def fill(
    source: Source, store: FeatureStore, manifest: Manifest, on_video: OnVideo
) -> list[Outcome]:
    """Bring the skeletons of a manifest's recordings into a store, as features of T steps.

    ``SAMPLING`` gives T; each of ``CHANNELS`` is a feature, of the 32 columns of ``MOVING``.

    Args:
        source: as for :func:`read`; its rate, if any, replaces that of the dataset.
        store: to write.
        manifest: of :func:`read`; start and end, if any, cut a recording.
        on_video: told how many recordings of how many are done, and the last one.

    Returns:
        What became of each recording of the manifest; a broken one fails alone.

    Raises:
        ManifestError: as :func:`read`.
        RecipeError: a rate that means nothing.
        StoreError: the store cannot be written.
        DiskFullError: no space is left.
    """
    reading = Reading(RATE if source.rate is None else source.rate)
    requests = [TrackRequest("kinect", SAMPLING, reading, (MOVING,), own) for own in CHANNELS]
    with _opened(source.folder) as files:
        found, _ = _recordings(files)
        by_id = {take.video.id: file for take, file in found.items()}
        recordings = [
            _recording(video, by_id[video.id], reading)
            if video.id in by_id
            else Outcome(
                video.id,
                failure=f"{source.folder}: no file of recording '{video.id}'; take it out of the "
                "manifest, or get the file again",
            )
            for video in manifest.videos
        ]
        made = []
        for number, request in enumerate(requests):
            told = _counting_on(on_video, number, len(requests))
            made.append(import_recordings(store, recordings, request, told))
    return [_joined(of_video) for of_video in zip(*made, strict=True)]


def _counting_on(on_video: OnVideo, before: int, rounds: int) -> OnVideo:
    """Tell of a round over all recordings as of a part of all rounds."""

    def told(done: int, count: int, video: str) -> None:
        on_video(before * count + done, rounds * count, video)

    return told


def _joined(parts: Sequence[Outcome]) -> Outcome:
    """What became of a recording in all features."""
    return replace(
        parts[0],
        computed=tuple(key for part in parts for key in part.computed),
        kept=tuple(key for part in parts for key in part.kept),
        failure=next((part.failure for part in parts if part.failure), None),
    )


# Recordings


@dataclass(frozen=True, order=True)
class _Take:
    """Which recording it is; in the order of the manifest."""

    movement: int
    subject: int
    incorrect: bool
    episode: int

    @property
    def video(self) -> Video:
        trial = f"e{self.episode:02}"
        subject = f"s{self.subject:02}"
        return Video(
            id=f"m{self.movement:02}_{subject}_{trial}{'_inc' * self.incorrect}",
            task=f"m{self.movement:02}-{MOVEMENTS[self.movement - 1]}",
            subject=subject,
            trial=trial,
            score=0 if self.incorrect else 1,
        )


def _pairs(takes: Sequence[_Take]) -> tuple[Pair, ...]:
    """Each correct repetition of a subject above each incorrect one of the same movement."""
    groups: dict[tuple[int, int], list[_Take]] = {}
    for take in takes:
        groups.setdefault((take.movement, take.subject), []).append(take)
    return tuple(
        Pair(better.video.id, worse.video.id)
        for group in groups.values()
        for better in group
        for worse in group
        if not better.incorrect and worse.incorrect
    )


def _notes(takes: Iterable[_Take], strangers: Sequence[str]) -> Iterator[str]:
    expected = [
        _Take(movement, subject, incorrect, episode).video.id
        for movement in range(1, len(MOVEMENTS) + 1)
        for subject in range(1, _SUBJECTS + 1)
        for incorrect in (False, True)
        for episode in range(1, _EPISODES + 1)
    ]
    there = {take.video.id for take in takes}
    missing = [id for id in expected if id not in there]
    if missing:
        yield f"{len(missing)} of the {len(expected)} recordings are missing: {_some(missing)}"
    if strangers:
        yield (
            "left out, as they are not named like m01_s01_e01_positions.txt, or _positions_inc.txt "
            f"in the folder of incorrect ones ({len(strangers)}): {_some(strangers)}"
        )


def _some(names: Sequence[str]) -> str:
    more = len(names) - _NAMED_IN_A_NOTE
    return ", ".join(names[:_NAMED_IN_A_NOTE]) + (f" and {more} more" if more > 0 else "")


# Files


@dataclass(frozen=True)
class _File:
    """A file in a folder or an archive.

    Args:
        path: of the file; of a member, below that of its archive.
        mtime_ns: when it was changed; of a member, when its archive was.
        read: gives its bytes, as they are stored.
    """

    path: Path
    mtime_ns: int
    read: Callable[[], bytes]


def _recordings(files: Mapping[str, _File]) -> tuple[dict[_Take, _File], tuple[str, ...]]:
    """The recordings, and the paths of other files that lie among them."""
    found: dict[_Take, _File] = {}
    strangers = []
    for name, file in sorted(files.items()):
        *above, last = PurePosixPath(name).parts
        if len(above) < 3 or tuple(above[-2:]) != _BELOW or last.startswith("."):
            continue
        incorrect = _KINDS.get(above[-3])
        if incorrect is None:
            continue
        match = _NAME.fullmatch(last)
        if match is None or bool(match[4]) != incorrect:
            strangers.append(name)
            continue
        take = _Take(int(match[1]), int(match[2]), incorrect, int(match[3]))
        if take in found:
            raise ManifestError(
                f"{found[take].path} and {file.path} are one recording; move one away"
            )
        found[take] = file
    return found, tuple(strangers)


def _recording(video: Video, file: _File, reading: Reading) -> Recording:
    return Recording(
        video.id,
        file.path,
        partial(_track, file, reading),
        partial(_origin, file),
        video.start_seconds,
        video.end_seconds,
    )


def _origin(file: _File) -> Origin:
    data = _stored(file)
    return Origin(file.path.name, len(data), file.mtime_ns, hashlib.sha256(data).hexdigest())


def _stored(file: _File) -> bytes:
    try:
        return file.read()
    except _BROKEN as error:
        raise VideoError(f"{file.path}: cannot be read ({_reason(error)}); get it again") from None


def _track(file: _File, reading: Reading) -> Track:
    data = _stored(file)
    try:
        data = gzip.decompress(data) if data.startswith(_GZIP) else data
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise VideoError(f"{file.path}: is no whole gzip file ({error}); get it again") from None
    if not data.strip():
        raise VideoError(f"{file.path}: is empty; get it again")
    track = read_text_track(file.path, data, reading)
    # A first line that is not all numbers would else pass for a header, and a sample be lost.
    if track.columns:
        raise VideoError(f"{file.path}: its first line is not all numbers; get it again")
    if track.values.shape[1] != len(COLUMNS):
        raise VideoError(
            f"{file.path}: has {track.values.shape[1]} columns, not {len(COLUMNS)} "
            f"({len(JOINTS)} joints x 3); get it again"
        )
    return replace(track, columns=COLUMNS)


@contextmanager
def _opened(folder: Path) -> Iterator[dict[str, _File]]:
    """The files of a folder or an archive by their paths in it, to be read while it is open."""
    if folder.is_dir():
        yield dict(_files_below(folder))
        return
    with ExitStack() as stack:
        try:
            changed = folder.stat().st_mtime_ns
            archive = _archive(folder)
            stack.enter_context(archive)
            members = _members(archive)
        except _BROKEN as error:
            raise ManifestError(
                f"{folder}: is no folder, .tar or .zip that can be read ({_reason(error)}); name "
                "the dataset's folder, or get the archive again"
            ) from None
        yield {name: _File(folder / name, changed, read) for name, read in members.items()}


def _archive(path: Path) -> tarfile.TarFile | zipfile.ZipFile:
    # An uncompressed .tar may end with a whole .zip, which zipfile would find.
    return tarfile.open(path) if tarfile.is_tarfile(path) else zipfile.ZipFile(path)


def _reason(error: BaseException) -> str:
    """What went wrong, on one line and without the path."""
    known = error.strerror if isinstance(error, OSError) else None
    return known or " ".join(str(error).split())


def _files_below(folder: Path) -> Iterator[tuple[str, _File]]:
    for path in folder.rglob("*.*"):
        if path.is_file():
            name = path.relative_to(folder).as_posix()
            yield name, _File(path, path.stat().st_mtime_ns, path.read_bytes)


def _members(archive: tarfile.TarFile | zipfile.ZipFile) -> dict[str, Callable[[], bytes]]:
    """Real files of an archive; a later one of a name replaces an earlier one."""
    if isinstance(archive, zipfile.ZipFile):
        return {
            info.filename: partial(archive.read, info)
            for info in archive.infolist()
            if not info.is_dir()
        }
    return {info.name: partial(_unpack, archive, info) for info in archive if info.isfile()}


def _unpack(archive: tarfile.TarFile, info: tarfile.TarInfo) -> bytes:
    stream = archive.extractfile(info)
    assert stream is not None  # as it is a real file
    return stream.read()
