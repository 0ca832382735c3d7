"""What became of one video of an extraction; the closing table shows it."""

from collections.abc import Mapping
from dataclasses import dataclass, field

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
        failure: one line, of the features that are neither computed nor kept; None when all is well.
        known_before: the failure was on record and the video was not tried again.
        spent: seconds of work by what they were spent on, such as ``decode``, ``flow`` and ``model``;
            work done for several videos at once is counted with the first of them to finish.
    """

    video_id: str
    frames_decoded: int = 0
    computed: tuple[FeatureKey, ...] = ()
    kept: tuple[FeatureKey, ...] = ()
    seconds: float = 0.0
    notes: tuple[str, ...] = ()
    failure: str | None = None
    known_before: bool = False
    spent: Mapping[str, float] = field(default_factory=dict)

    @property
    def skipped(self) -> bool:
        """Whether nothing became of it, because another process has it in hand."""
        return not (self.computed or self.kept or self.failure)
