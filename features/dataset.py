"""What an importer is: the published files of a dataset in, a manifest out.

A file of ``datasets/`` is an importer, and its name is the dataset's. It defines ``SUMMARY``, one
line that says what it reads, and ``read(source: Source) -> Imported``. One whose dataset holds measured
tracks, such as kinematics or skeletons, also defines
``fill(source: Source, store: FeatureStore, manifest: Manifest, on_video: OnVideo) -> list[Outcome]``,
which brings them into a store.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from .errors import ManifestError
from .manifest import VIDEO_SUFFIXES, Manifest, Pair, Video
from .table import write_csv

DATASETS = f"{__package__}.datasets"
ABSENT = "absent.csv"


@dataclass(frozen=True)
class Source:
    """Where the files of a dataset are.

    Args:
        folder: of its annotations, as it was published; or an archive where an importer says so.
        videos: folder below which its videos lie; None looks below ``folder``.
        rate: frames a second of the videos, where annotations count frames; None takes what the
            dataset's authors say.
    """

    folder: Path
    videos: Path | None = None
    rate: float | None = None


@dataclass(frozen=True)
class Imported:
    """What an importer made of a dataset.

    Args:
        manifest: videos, labels, pairs and published splits; the path of a video whose file is not
            there is None, its labels stay, as its features may come from elsewhere.
        absent: ids of these videos, in the order of the manifest.
        notes: what a user should know, one sentence each: repaired quirks, entries left out.
    """

    manifest: Manifest
    absent: tuple[str, ...]
    notes: tuple[str, ...] = ()

    @classmethod
    def of(cls, manifest: Manifest, notes: Iterable[str] = ()) -> "Imported":
        """With the videos that have no path as the absent ones."""
        absent = tuple(video.id for video in manifest.videos if video.path is None)
        return cls(manifest, absent, tuple(notes))


def write_absent(imported: Imported, folder: Path) -> None:
    """Write the videos without a file as ``absent.csv``: id, task, pairs that lose it.

    Raises:
        StoreError: it cannot be written.
    """
    tasks = {video.id: video.task or "" for video in imported.manifest.videos}
    lost = Counter(id for pair in imported.manifest.pairs for id in {*pair})
    rows = [[id, tasks[id], str(lost[id])] for id in imported.absent]
    write_csv(folder / ABSENT, [["id", "task", "pairs"], *rows])


@dataclass(frozen=True)
class TaskCount:
    """How much of one task there is.

    Args:
        task: its name; empty where tasks are not told apart.
        videos: in the manifest.
        absent: of these, without a file.
        subjects: who perform them; 0 where unknown.
        scored: videos with a score.
        pairs: of two of its videos, as they are listed.
        absent_pairs: of these, pairs with a video without a file.
    """

    task: str
    videos: int
    absent: int
    subjects: int
    scored: int
    pairs: int
    absent_pairs: int


def count_tasks(imported: Imported) -> list[TaskCount]:
    """Count each task's videos and pairs, in the order in which tasks come first."""
    manifest, gone = imported.manifest, set(imported.absent)
    tasks: dict[str, list[Video]] = {}
    for video in manifest.videos:
        tasks.setdefault(video.task or "", []).append(video)
    task_of = {video.id: video.task or "" for video in manifest.videos}
    pairs: dict[str, list[Pair]] = {}
    for pair in manifest.pairs:
        pairs.setdefault(task_of[pair.better], []).append(pair)
    return [
        TaskCount(
            task,
            len(videos),
            sum(video.id in gone for video in videos),
            len({video.subject for video in videos} - {None}),
            sum(video.score is not None for video in videos),
            len(pairs.get(task, ())),
            sum(not gone.isdisjoint(pair) for pair in pairs.get(task, ())),
        )
        for task, videos in tasks.items()
    ]


class VideoFiles:
    """The video files below a folder, by name.

    Args:
        source: whose ``videos`` or ``folder`` is searched.

    Raises:
        ManifestError: ``videos`` is no folder.
    """

    def __init__(self, source: Source) -> None:
        if source.videos is not None and not source.videos.is_dir():
            raise ManifestError(f"{source.videos}: no such folder; correct --videos")
        self._by_stem: dict[str, list[Path]] = {}
        root = source.videos or source.folder
        # Names above it are the user's own and say nothing; its own may be the one looked for.
        self._above = root.parent
        for path in sorted(root.rglob("*")) if root.is_dir() else ():
            if path.suffix.lower() in VIDEO_SUFFIXES and path.is_file():
                self._by_stem.setdefault(path.stem, []).append(path)

    def find(self, stem: str, within: str = "", without: str = "") -> Path | None:
        """The file of that name without suffix; None where there is none.

        Args:
            stem: name without suffix.
            within: a folder that must be in its path, where names come in several folders; empty
                for any.
            without: a folder that must not be in its path; empty for none.

        Raises:
            ManifestError: two files have it.
        """
        found = self._by_stem.get(stem, [])
        if within:
            found = [path for path in found if within in self._folders(path)]
        if without:
            found = [path for path in found if without not in self._folders(path)]
        if len(found) > 1:
            raise ManifestError(
                f"{found[0]} and {found[1]} have one name; move one away, or name the right folder "
                "with --videos"
            )
        return found[0] if found else None

    def _folders(self, path: Path) -> tuple[str, ...]:
        return path.parent.relative_to(self._above).parts
