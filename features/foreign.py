"""Feature arrays that other software made, brought into a store.

Nothing in such a file says what it is or when its rows were, so the user names what they are, and
what nobody told stays unknown: weights ``imported``, preset ``unknown``, times nan. With a manifest
that has start and end of a video, its T rows are taken for T equal parts of that stretch.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import cast, get_args

import numpy as np
from numpy.typing import NDArray

from .errors import ManifestError, RecipeError, VideoError
from .interchange import OnVideo, holds, ignore_videos, parse_word, put, read_array
from .manifest import Manifest, Video
from .outcome import Outcome
from .segments import Sampling, equal_parts
from .source import Source
from .spec import FeatureSpec, Stream
from .store import Feature, FeatureStore

UNKNOWN_TIMES = "times unknown, so no controls by duration"


@dataclass(frozen=True)
class Description:
    """What a user says of foreign arrays.

    Args:
        backbone: what made them.
        stream: what it saw.
        layer: which of its outputs they are.
        sampling: the units of their rows; None takes T rows for ``steps-Tx1``, T equal parts.
        preset: of the preprocessing.
    """

    backbone: str
    stream: Stream
    layer: str
    sampling: Sampling | None = None
    preset: str = "unknown"

    @classmethod
    def parse(cls, text: str, sampling: str | None, preset: str) -> "Description":
        """Read ``BACKBONE.STREAM.LAYER`` and the options beside it.

        Raises:
            RecipeError: a part that means nothing.
        """
        words = text.split(".")
        if len(words) != 3 or words[1] not in get_args(Stream):
            raise RecipeError(
                f"--as {text!r} must be BACKBONE.STREAM.LAYER, for example i3d.rgb.pool; a stream "
                f"is one of {', '.join(get_args(Stream))}"
            )
        return cls(
            parse_word("--as", words[0]),
            cast(Stream, words[1]),
            parse_word("--as", words[2]),
            None if sampling is None else Sampling.parse(sampling),
            parse_word("--preset", preset),
        )

    def spec(self, sampling: Sampling) -> FeatureSpec:
        """The feature that the arrays become."""
        return FeatureSpec(
            self.backbone, self.stream, self.layer, sampling, self.preset, weights="imported"
        )


def import_foreign(
    store: FeatureStore,
    folder: Path,
    description: Description,
    manifest: Manifest | None = None,
    on_video: OnVideo = ignore_videos,
) -> list[Outcome]:
    """Import every ``<id>_<stream>.npz`` of a folder.

    A file that changed since is imported anew; an unchanged one is kept.

    Args:
        store: to write.
        folder: of the files.
        description: what they are.
        manifest: whose start and end of each video date the rows.
        on_video: told how many files of how many are done, and the last one's video.

    Returns:
        What became of each file.

    Raises:
        RecipeError: no such file in the folder, or arrays of several lengths and no sampling.
        StoreError: the store cannot be written.
        DiskFullError: no space is left.
    """
    suffix = f"_{description.stream}.npz"
    files = sorted(path for path in folder.rglob(f"*{suffix}") if path.name[0] != ".")
    if not files:
        raise RecipeError(f"{folder}: no file <id>{suffix} in it; name the folder that holds them")
    spec = description.spec(description.sampling or _equal_parts_of(folder, files))
    videos = None if manifest is None else {video.id: video for video in manifest.videos}
    outcomes = []
    for number, path in enumerate(files, 1):
        video = path.relative_to(folder).as_posix().removesuffix(suffix)
        outcomes.append(_import(store, spec, path, video, videos))
        on_video(number, len(files), video)
    return outcomes


def _equal_parts_of(folder: Path, files: list[Path]) -> Sampling:
    """``steps-Tx1`` for the T rows that all readable arrays have."""
    lengths: set[int] = set()
    for path in files:
        try:
            lengths.add(len(read_array(path)))
        except VideoError:
            continue  # told when it is its turn
    if len(lengths) > 1:
        raise RecipeError(
            f"{folder}: its arrays have {min(lengths)} to {max(lengths)} rows; say what a row is, "
            "for example --sampling clips-16"
        )
    return Sampling("steps", 1, max(lengths, default=1))


def _import(
    store: FeatureStore,
    spec: FeatureSpec,
    path: Path,
    video: str,
    videos: dict[str, Video] | None,
) -> Outcome:
    with store.claim(video) as mine:
        if not mine:
            return Outcome(video, notes=("another process has it in hand",))
        try:
            stretch = _stretch(path, video, videos)
            source = store.source(path, *stretch)
            facts = {"times": "unknown" if stretch[1] is None else "equal parts of the stretch"}
            notes = (UNKNOWN_TIMES,) * (stretch[1] is None)
            if holds(store, spec, video, source, facts):
                return Outcome(video, kept=(spec.key,), notes=notes)
            values = _read(path, spec)
        except (ManifestError, VideoError) as error:
            return Outcome(video, failure=str(error))
        frame_times = np.full((len(values), spec.sampling.frames), np.nan)
        put(
            store,
            spec,
            video,
            source,
            Feature(values, _times(source, len(values)), frame_times, facts),
        )
        return Outcome(video, computed=(spec.key,), notes=notes)


def _stretch(
    path: Path, video: str, videos: dict[str, Video] | None
) -> tuple[float | None, float | None]:
    """Start and end of a video in seconds; neither without an end, which alone tells the length."""
    if not video:
        raise VideoError(f"{path}: names no video; put an id before the underscore")
    if videos is None:
        return None, None
    if video not in videos:
        raise ManifestError(
            f"{path}: no video '{video}' in the manifest; list it or rename the file"
        )
    known = videos[video]
    if known.end_seconds is None:
        return None, None
    return known.start_seconds or 0.0, known.end_seconds


def _read(path: Path, spec: FeatureSpec) -> NDArray[np.float32]:
    values = read_array(path)
    sampling = spec.sampling
    units = sampling.count and sampling.count * (1 + sampling.candidates)
    if units not in (None, len(values)):
        raise VideoError(
            f"{path}: {len(values)} rows, but {sampling.text} gives {units}; correct --sampling"
        )
    return values


def _times(source: Source, rows: int) -> NDArray[np.float64]:
    """(T, 3) start, centre and end of T equal parts of the stretch; nan where there is none."""
    if source.start_seconds is None or source.end_seconds is None:
        return np.full((rows, 3), np.nan)
    return equal_parts(source.start_seconds, source.end_seconds, rows)[1]
