"""One video with all its features, whatever state the file and the store are in.

Nothing of a video is stored before its last frame has been seen, so a process killed at any time
loses at most the video in hand.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from ..features.errors import UserError, VideoError
from ..features.manifest import Video
from ..features.outcome import Outcome
from ..features.source import Source
from ..features.store import FeatureStore
from .decode import TimelineDiffersError, check_file, scan
from .flow import TVL1
from .request import Feature
from .single_pass import Seen, compute


@dataclass(frozen=True)
class Extractor:
    """Computes whatever the store lacks of a video.

    Args:
        features: what to compute.
        store: where it goes.
        tvl1: an entered pool.
        versions: of libraries, for the provenance.
        overwrite: compute what the store has already, too.
        retry_failed: try a video again that failed before although its file has not changed.
    """

    features: Sequence[Feature]
    store: FeatureStore
    tvl1: TVL1
    versions: Mapping[str, str]
    overwrite: bool = False
    retry_failed: bool = False

    def extract(self, video: Video, on_frames: Callable[[int, int], None]) -> Outcome:
        """Compute and store one video's missing features.

        Args:
            video: of the manifest.
            on_frames: told of frames decoded and frames in all.

        Returns:
            What became of it. A video that cannot be used is recorded in the store and returned
            with its reason, never raised.

        Raises:
            DiskFullError: nothing more can be stored.
            UserError: the weights or the store are at fault, not the video.
        """
        began = time.monotonic()
        with self.store.claim(video.id) as mine:
            if not mine:
                return Outcome(video.id, notes=("another process has it in hand",))
            try:
                source = self._identify(video)
            except VideoError as error:
                return Outcome(video.id, failure=str(error))
            missing = [feature for feature in self.features if self._lacks(feature, video, source)]
            computed = tuple(feature.spec.key for feature in missing)
            kept = tuple(f.spec.key for f in self.features if f.spec.key not in computed)
            if not missing:
                return Outcome(video.id, kept=kept)
            known = None if self.retry_failed else self.store.failure(video.id, source)
            # Another feature may do with fewer frames than the one that failed.
            if known is not None and set(computed) <= set(known.keys):
                return Outcome(video.id, kept=kept, failure=known.reason, known_before=True)
            try:
                seen = self._compute(video, source, missing, on_frames)
            except Exception as error:  # noqa: BLE001 - see _reason
                reason = _reason(video, error)
                self.store.record_failure(video.id, reason, source, computed)
                elapsed = time.monotonic() - began
                return Outcome(video.id, kept=kept, seconds=elapsed, failure=reason)
            self.store.clear_failure(video.id)
            elapsed = time.monotonic() - began
            return Outcome(video.id, seen.frames, computed, kept, elapsed, seen.notes)

    def _identify(self, video: Video) -> Source:
        if video.path is None:
            raise VideoError(f"video '{video.id}' has no path; add one to the manifest")
        check_file(video.path)
        return self.store.source(video.path, video.start_seconds, video.end_seconds)

    def _lacks(self, feature: Feature, video: Video, source: Source) -> bool:
        return self.overwrite or not self.store.has(feature.spec.key, video.id, source)

    def _compute(
        self,
        video: Video,
        source: Source,
        features: Sequence[Feature],
        on_frames: Callable[[int, int], None],
    ) -> Seen:
        try:
            return self._compute_as_scanned(video, source, features, on_frames, exact=False)
        except TimelineDiffersError:
            return self._compute_as_scanned(video, source, features, on_frames, exact=True)

    def _compute_as_scanned(
        self,
        video: Video,
        source: Source,
        features: Sequence[Feature],
        on_frames: Callable[[int, int], None],
        exact: bool,
    ) -> Seen:
        assert video.path is not None  # identified before
        planned = scan(video.path, exact)
        return compute(
            planned,
            planned.window(video.start_seconds, video.end_seconds),
            features,
            begin=lambda feature, units: self.store.begin(
                feature.spec,
                video.id,
                source,
                shape=(len(units), *feature.row_shape),
                frames_per_unit=units.frames.shape[1],
            ),
            provenance={"stream": planned.facts.to_dict(), "libraries": dict(self.versions)},
            tvl1=self.tvl1,
            on_frames=on_frames,
        )


def _reason(video: Video, error: Exception) -> str:
    """Why a video failed, in one line; what is not the video's fault is raised again.

    An exception that nobody foresaw costs its video, not a night's batch.
    """
    if isinstance(error, VideoError):
        return str(error)
    if isinstance(error, UserError):
        raise error
    words = " ".join(str(error).split())[:200]
    return (
        f"{video.path}: unexpected {type(error).__name__} ({words}); convert the file, and report "
        "this line"
    )
