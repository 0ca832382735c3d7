"""Who trains and who tests: a manifest's split over the videos whose features are there."""

import hashlib
import json
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ..features.errors import ManifestError
from ..features.manifest import Manifest, Video, order_by_score
from .data import Targets


@dataclass(frozen=True)
class Fold:
    """Videos and pairs of one split; all positions are among ``videos``.

    Args:
        videos: of both parts, in the order of the manifest.
        train: (n,) positions of training videos.
        test: (m,) positions of test videos.
        train_pairs: (P, 2) positions of the better and the worse video.
        test_pairs: (Q, 2) likewise.
        dropped_videos: ids in either part whose features are not there.
        dropped_pairs: pairs of either part that lost a video.
        seen_test_pairs: test pairs of which a video also trains; 0 in an honest split of videos.
    """

    videos: tuple[Video, ...]
    train: NDArray[np.int64]
    test: NDArray[np.int64]
    train_pairs: NDArray[np.int64]
    test_pairs: NDArray[np.int64]
    dropped_videos: tuple[str, ...]
    dropped_pairs: int
    seen_test_pairs: int

    @property
    def scores(self) -> NDArray[np.float64] | None:
        """(V,) labels, nan where unknown; None where no video has one."""
        known = [video.score for video in self.videos]
        if all(score is None for score in known):
            return None
        return np.array([np.nan if score is None else score for score in known])

    @property
    def digest(self) -> str:
        """Changes with the videos, their stretches and labels, the split and the pairs."""
        videos = [asdict(replace(video, path=None)) for video in self.videos]
        places = (self.train, self.test, self.train_pairs, self.test_pairs)
        known = [videos, self.dropped_videos, *(array.tolist() for array in places)]
        return hashlib.sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()

    def training_targets(self) -> Targets:
        """Pairs and scores by position among the training videos."""
        place = np.full(len(self.videos), -1)
        place[self.train] = np.arange(len(self.train))
        scores = self.scores
        return Targets(place[self.train_pairs], None if scores is None else scores[self.train])


def make_fold(manifest: Manifest, split: str, available: Collection[str]) -> Fold:
    """Take one split of a manifest.

    Pairs are those of the manifest or, where it has none, follow from its scores. A pair needs both
    videos in one part, unless the list of pairs has a column for the split.

    Args:
        manifest: videos, labels and splits.
        split: its name.
        available: ids of the videos that have features.

    Raises:
        ManifestError: no such split, no labels, or nothing left to train or to test on.
    """
    if not manifest.pairs and not _scores_differ(manifest.videos):
        raise ManifestError("no pairs and no two different scores; give --pairs, or a column score")
    pairs = {part: _pairs(manifest, split, part) for part in ("train", "test")}
    members = {part: _members(manifest, split, part, pairs[part]) for part in pairs}
    wanted = members["train"] | members["test"]
    videos = tuple(v for v in manifest.videos if v.id in wanted and v.id in available)
    place = {video.id: number for number, video in enumerate(videos)}
    kept = {part: _kept(manifest.videos, pairs[part], place) for part in pairs}
    train = np.array([place[v.id] for v in videos if v.id in members["train"]], dtype=np.int64)
    fold = Fold(
        videos,
        train=train,
        test=np.array([place[v.id] for v in videos if v.id in members["test"]], dtype=np.int64),
        train_pairs=kept["train"],
        test_pairs=kept["test"],
        dropped_videos=tuple(
            v.id for v in manifest.videos if v.id in wanted and v.id not in available
        ),
        dropped_pairs=sum(len(pairs[part]) - len(kept[part]) for part in pairs),
        seen_test_pairs=int(np.isin(kept["test"], train).any(axis=1).sum()),
    )
    for part in pairs:
        if not len(kept[part]):
            lost = f" ({len(fold.dropped_videos)} videos have no features)" * bool(
                fold.dropped_videos
            )
            raise ManifestError(
                f"no pair of two {part} videos in split '{split}'{lost}; put more videos into it, "
                "list their pairs, or extract their features"
            )
    return fold


def shuffled(targets: Targets, rng: np.random.Generator) -> Targets:
    """Labels turned into noise: each pair reversed by the toss of a coin, scores permuted."""
    turn = rng.random(len(targets.pairs)) < 0.5
    pairs = np.where(turn[:, None], targets.pairs[:, ::-1], targets.pairs)
    scores = None if targets.scores is None else rng.permutation(targets.scores)
    return Targets(pairs, scores)


def _scores_differ(videos: Sequence[Video]) -> bool:
    """Whether two videos of one task have different scores."""
    scored = [video for video in videos if video.score is not None]
    tasks = {video.task for video in scored}
    return len({(video.task, video.score) for video in scored}) > len(tasks)


def _pairs(manifest: Manifest, split: str, part: str) -> NDArray[np.int64]:
    """(P, 2) positions of the better and the worse video of each pair of a part."""
    place = {video.id: number for number, video in enumerate(manifest.videos)}
    if manifest.pairs:
        pairs = manifest.pairs_in(split, part)
        found = [(place[pair.better], place[pair.worse]) for pair in pairs]
        return np.array(found, dtype=np.int64).reshape(-1, 2)
    # Only within the part: of all videos there would be many times as many.
    members = np.array([place[id] for id in manifest.part(split, part)], dtype=np.int64)
    return members[order_by_score([manifest.videos[number] for number in members])]


def _members(manifest: Manifest, split: str, part: str, pairs: NDArray[np.int64]) -> set[str]:
    """Ids of a part: its videos, or those of its pairs where only pairs are split."""
    listed = manifest.part(split, part) if split in manifest.splits else ()
    return set(listed) | {manifest.videos[number].id for number in np.unique(pairs)}


def _kept(
    videos: Sequence[Video], pairs: NDArray[np.int64], place: dict[str, int]
) -> NDArray[np.int64]:
    """Pairs of which both videos have a new place, by it."""
    moved = np.array([place.get(video.id, -1) for video in videos], dtype=np.int64)[pairs]
    return moved[(moved >= 0).all(axis=1)]
