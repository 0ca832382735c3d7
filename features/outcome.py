"""What became of one video of an extraction; the closing table shows it."""

from dataclasses import dataclass

from .spec import FeatureKey


@dataclass(frozen=True)
class Outcome:
    """What became of one video.

    Args:
        video_id: of the manifest.
        frames_decoded: 0 where nothing had to be done.
        computed: features that were computed now.
        kept: features that the store held already.
        seconds: wall time.
        notes: what a careful person wants to know, such as padding.
        failure: one line; None when all is well.
        known_before: the failure was on record and the video was not tried again.
    """

    video_id: str
    frames_decoded: int = 0
    computed: tuple[FeatureKey, ...] = ()
    kept: tuple[FeatureKey, ...] = ()
    seconds: float = 0.0
    notes: tuple[str, ...] = ()
    failure: str | None = None
    known_before: bool = False
