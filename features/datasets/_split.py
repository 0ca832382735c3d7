"""A published split into videos to train on and videos to test on."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from ..errors import ManifestError


class Listed(NamedTuple):
    """Ids in one part of a split, and the file that says so."""

    path: Path
    ids: Sequence[str]


def train_test(train: Listed, test: Listed) -> dict[str, str]:
    """The part, ``train`` or ``test``, of each video.

    Raises:
        ManifestError: a video is listed twice, in one part or in both.
    """
    return dict(_parts(train, test))


def _parts(train: Listed, test: Listed) -> Iterator[tuple[str, str]]:
    seen: dict[str, Path] = {}
    for part, listed in (("train", train), ("test", test)):
        for video in listed.ids:
            if video in seen:
                other = "twice" if seen[video] == listed.path else f"and in {seen[video]} as well"
                raise ManifestError(
                    f"{listed.path}: lists '{video}' {other}; a video belongs to one part, once"
                )
            seen[video] = listed.path
            yield video, part


def unlisted_note(count: int) -> list[str]:
    """What to tell of videos that are in no part; nothing of none."""
    return [f"videos in neither list, and so in no part of the split: {count}"] if count else []
