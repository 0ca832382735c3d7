"""Who trains and who tests: a manifest's split over the videos whose features are there."""

import hashlib
import json
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ..features.errors import ManifestError
from ..features.manifest import PARTS, Manifest, Video, order_by_score
from .data import Targets


@dataclass(frozen=True)
class Fold:
    """Videos and pairs of one split; all positions are among ``videos``.

    Args:
        videos: of both parts, in the order of the manifest.
        train: (n,) positions of training videos.
        test: (m,) positions of test videos.
        validation: (k,) positions of validation videos, on which epochs are chosen; often none.
        train_pairs: (P, 2) positions of the better and the worse video.
        test_pairs: (Q, 2) likewise.
        validation_pairs: (R, 2) likewise.
        dropped_videos: ids in any part whose features are not there.
        dropped_pairs: pairs of any part that lost a video.
        parted_pairs: listed ones of a training and a validation video, which neither can use.
    """

    videos: tuple[Video, ...]
    train: NDArray[np.int64]
    test: NDArray[np.int64]
    validation: NDArray[np.int64]
    train_pairs: NDArray[np.int64]
    test_pairs: NDArray[np.int64]
    validation_pairs: NDArray[np.int64]
    dropped_videos: tuple[str, ...]
    dropped_pairs: int
    parted_pairs: int = 0

    @property
    def seen(self) -> NDArray[np.int64]:
        """(Q,) how many videos of each test pair also train or validate; 0 in an honest split."""
        known = np.union1d(self.train, self.validation)
        return np.asarray(np.isin(self.test_pairs, known).sum(axis=1))

    @property
    def shared_subjects(self) -> tuple[str, ...]:
        """Who performs in the training and in the test part; nobody in a split of users."""
        train, test = ({self.videos[n].subject for n in part} for part in (self.train, self.test))
        return tuple(sorted(name for name in train & test if name is not None))

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
        places = (
            *(self.train, self.test, self.validation),
            *(self.train_pairs, self.test_pairs, self.validation_pairs),
        )
        known = [videos, self.dropped_videos, *(array.tolist() for array in places)]
        return hashlib.sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()

    def training_targets(self) -> Targets:
        """Pairs and scores by position among the training videos."""
        return self._targets(self.train, self.train_pairs)

    def validation_targets(self) -> Targets:
        """Pairs and scores by position among the validation videos."""
        return self._targets(self.validation, self.validation_pairs)

    def _targets(self, members: NDArray[np.int64], pairs: NDArray[np.int64]) -> Targets:
        place = np.full(len(self.videos), -1)
        place[members] = np.arange(len(members))
        scores = self.scores
        names = dict.fromkeys(name for number in members for name in self.videos[number].parts)
        parts = {
            name: np.array([self.videos[n].parts.get(name, np.nan) for n in members])
            for name in names
        }
        subjects = tuple(self.videos[number].subject for number in members)
        return Targets(place[pairs], None if scores is None else scores[members], parts, subjects)


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
    pairs = {part: _pairs(manifest, split, part) for part in PARTS}
    members = {part: _members(manifest, split, part, pairs[part]) for part in PARTS}
    wanted = set().union(*members.values())
    videos = tuple(v for v in manifest.videos if v.id in wanted and v.id in available)
    place = {video.id: number for number, video in enumerate(videos)}
    kept = {part: _kept(manifest.videos, pairs[part], place) for part in PARTS}
    places = {
        part: np.array([place[v.id] for v in videos if v.id in members[part]], dtype=np.int64)
        for part in PARTS
    }
    fold = Fold(
        videos,
        train=places["train"],
        test=places["test"],
        validation=places["val"],
        train_pairs=kept["train"],
        test_pairs=kept["test"],
        validation_pairs=kept["val"],
        dropped_videos=tuple(
            v.id for v in manifest.videos if v.id in wanted and v.id not in available
        ),
        dropped_pairs=sum(len(pairs[part]) - len(kept[part]) for part in PARTS),
        parted_pairs=_parted(manifest, members["train"], members["val"]),
    )
    for part in ("train", "test"):
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
    known = [part for part in (targets.scores, *targets.parts.values()) if part is not None]
    if not known:
        return Targets(pairs, subjects=targets.subjects)
    # One permutation for all, so that the parts of a score still belong to it.
    order = rng.permutation(len(known[0]))
    scores = None if targets.scores is None else targets.scores[order]
    parts = {name: part[order] for name, part in targets.parts.items()}
    return Targets(pairs, scores, parts, targets.subjects)


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


def _parted(manifest: Manifest, train: set[str], validation: set[str]) -> int:
    only = validation - train
    return sum(
        len(only.intersection(pair)) == 1 and len(train.intersection(pair)) == 1
        for pair in (manifest.pairs if only else ())
    )


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
