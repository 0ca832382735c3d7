"""Protocols: how the videos of a manifest are split into folds.

A protocol adds splits to a manifest, one a fold, and :func:`.fold.make_fold` takes each. Folds are
made by scikit-learn's splitters; groups are subjects (users) or trials (supertrials).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import GroupKFold, GroupShuffleSplit, KFold

from ..features.errors import RecipeError
from ..features.manifest import Manifest, Video

Kind = Literal[
    "published",
    "k-fold",
    "group-k-fold",
    "leave-one-user-out",
    "leave-one-supertrial-out",
    "fixed",
]
_COLUMN = {
    "group-k-fold": "subject",
    "leave-one-user-out": "subject",
    "leave-one-supertrial-out": "trial",
    "fixed": "subject",
}
_Parts = dict[str, str]


@dataclass(frozen=True)
class Protocol:
    """How videos are split.

    Args:
        kind: ``published`` takes the splits of the manifest; ``k-fold`` spreads videos over folds,
            ``group-k-fold`` subjects; ``leave-one-user-out`` tests on one subject a fold,
            ``leave-one-supertrial-out`` on one trial number of all subjects (Ahmidi et al., IEEE
            TBME 2017); ``fixed`` names the subjects of each part.
        splits: of ``published``, their names; none takes all.
        folds: of the two k-folds.
        repeats: of the two k-folds, drawn anew each time.
        train: of ``fixed``, subjects.
        test: of ``fixed``, subjects.
        validation: share of the training groups that choose epochs instead of training: subjects
            where all are known, else videos; 0 takes none.
        seed: of whatever is drawn.

    Raises:
        RecipeError: settings that contradict each other or have no meaning.
    """

    kind: Kind = "published"
    splits: tuple[str, ...] = ()
    folds: int = 0
    repeats: int = 1
    train: tuple[str, ...] = ()
    test: tuple[str, ...] = ()
    validation: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind):
            raise RecipeError(
                f"no protocol '{self.kind}'; choose one of: {', '.join(get_args(Kind))}"
            )
        many = self.kind in ("k-fold", "group-k-fold")
        if many and self.folds < 2:
            raise RecipeError(f"protocol {self.kind} has folds = {self.folds}; it needs 2 or more")
        if self.repeats < 1:
            raise RecipeError(f"protocol {self.kind} has repeats = {self.repeats}; give 1 or more")
        for name, given, kinds in (
            ("folds", self.folds, "k-fold or group-k-fold"),
            ("repeats", self.repeats > 1, "k-fold or group-k-fold"),
            ("splits", self.splits, "published"),
            ("train", self.train, "fixed"),
            ("test", self.test, "fixed"),
        ):
            if given and self.kind not in kinds.split(" or "):
                raise RecipeError(f"protocol {self.kind} has no {name}; it is for {kinds}")
        if self.seed < 0:
            raise RecipeError(f"seed = {self.seed}; give 0 or more")
        if not 0 <= self.validation < 1:
            raise RecipeError(f"validation = {self.validation}; write a share from 0 to below 1")
        both = sorted({*self.train} & {*self.test})
        if both:
            raise RecipeError(
                f"protocol fixed: subject '{both[0]}' is in train and in test; leave it in one"
            )


def split_by(manifest: Manifest, protocol: Protocol) -> tuple[Manifest, tuple[str, ...]]:
    """A manifest with the splits of a protocol, and their names.

    Raises:
        RecipeError: the manifest cannot be split so.
    """
    if protocol.kind == "published":
        known = tuple(dict.fromkeys((*manifest.splits, *manifest.pair_splits)))
        names = protocol.splits or known
        for name in names:
            if name not in known:
                choice = f"choose one of: {', '.join(known)}" if known else "the manifest has none"
                raise RecipeError(f"no split '{name}'; {choice}")
        if not names:
            raise RecipeError("the manifest has no split; name another protocol than published")
        made = manifest
    else:
        folds = dict(_folds(manifest.videos, protocol))
        made = Manifest(manifest.videos, folds, manifest.pairs)
        names = tuple(folds)
    for name in names if protocol.validation else ():
        made = _with_validation(made, name, protocol)
    return made, names


def _folds(videos: Sequence[Video], protocol: Protocol) -> Iterator[tuple[str, _Parts]]:
    if protocol.kind == "fixed":
        yield "fixed", _fixed(videos, protocol)
    elif protocol.kind in ("leave-one-user-out", "leave-one-supertrial-out"):
        groups = _groups(videos, protocol)
        if len(set(groups)) < 2:
            raise RecipeError(
                f"protocol {protocol.kind} needs two {_COLUMN[protocol.kind]}s or more and the "
                f"manifest has {len(set(groups))}"
            )
        for name in sorted(set(groups)):
            held = np.array([group == name for group in groups])
            yield f"{protocol.kind}-{name}", _parts(videos, held)
    else:
        yield from _k_folds(videos, protocol)


def _k_folds(videos: Sequence[Video], protocol: Protocol) -> Iterator[tuple[str, _Parts]]:
    groups = _groups(videos, protocol) if protocol.kind == "group-k-fold" else None
    there = len(videos) if groups is None else len(set(groups))
    if there < protocol.folds:
        what = "videos" if groups is None else "subjects"
        raise RecipeError(
            f"protocol {protocol.kind} makes {protocol.folds} folds of {there} {what}; give fewer "
            "folds"
        )
    kind = KFold if groups is None else GroupKFold
    for repeat in range(protocol.repeats):
        seed = protocol.seed + repeat
        splitter = kind(protocol.folds, shuffle=True, random_state=seed)
        for number, (_, held) in enumerate(splitter.split(videos, groups=groups), 1):
            mask = np.zeros(len(videos), dtype=bool)
            mask[held] = True
            name = f"{number}" if protocol.repeats == 1 else f"{repeat + 1}.{number}"
            yield f"{protocol.kind}-{name}", _parts(videos, mask)


def _groups(videos: Sequence[Video], protocol: Protocol) -> list[str]:
    column = _COLUMN[protocol.kind]
    for video in videos:
        if getattr(video, column) is None:
            raise RecipeError(
                f"protocol {protocol.kind} needs every video's {column} and video '{video.id}' has "
                f"none; fill in the column {column}"
            )
    return [getattr(video, column) for video in videos]


def _parts(videos: Sequence[Video], held: NDArray[np.bool_]) -> _Parts:
    return {v.id: "test" if out else "train" for v, out in zip(videos, held, strict=True)}


def _fixed(videos: Sequence[Video], protocol: Protocol) -> _Parts:
    known = set(_groups(videos, protocol))
    for part, subjects in (("train", protocol.train), ("test", protocol.test)):
        if not subjects:
            raise RecipeError(f"protocol fixed names no subject in {part}")
        for subject in subjects:
            if subject not in known:
                raise RecipeError(
                    f"protocol fixed: no subject '{subject}'; the manifest has: "
                    f"{', '.join(sorted(known))}"
                )
    part_of = dict.fromkeys(protocol.train, "train") | dict.fromkeys(protocol.test, "test")
    return {video.id: part_of[video.subject] for video in videos if video.subject in part_of}


def _with_validation(manifest: Manifest, name: str, protocol: Protocol) -> Manifest:
    """Move a share of a split's training groups to its validation part."""
    training = [video for video in manifest.videos if video.id in _training(manifest, name)]
    groups = [video.subject for video in training]
    if any(group is None for group in groups):
        groups = [video.id for video in training]
    if len(set(groups)) < 2:
        raise RecipeError(
            f"split '{name}' has {len(set(groups))} training groups; validation needs 2 or more"
        )
    splitter = GroupShuffleSplit(1, test_size=protocol.validation, random_state=protocol.seed)
    try:
        _, moved = next(splitter.split(training, groups=groups))
    except ValueError:
        raise RecipeError(
            f"validation = {protocol.validation} of the {len(set(groups))} training groups of split "
            f"'{name}' leaves none to train or to validate; give another share"
        ) from None
    ids = {training[number].id for number in moved}
    splits, pair_splits = dict(manifest.splits), dict(manifest.pair_splits)
    if name in splits:
        splits[name] = {
            id: "val" if id in ids and part == "train" else part
            for id, part in splits[name].items()
        }
    if name in pair_splits:
        pair_splits[name] = tuple(_validating(manifest, name, ids))
    return replace(manifest, splits=splits, pair_splits=pair_splits)


def _training(manifest: Manifest, name: str) -> set[str]:
    if name in manifest.pair_splits:
        return {id for pair in manifest.pairs_in(name, "train") for id in pair}
    return set(manifest.part(name, "train"))


def _validating(manifest: Manifest, name: str, moved: set[str]) -> Iterator[str]:
    """The part of each pair: a training pair of two moved videos validates, of one is left out."""
    for pair, part in zip(manifest.pairs, manifest.pair_splits[name], strict=True):
        held = len(moved.intersection(pair)) if part == "train" else 0
        yield (part, "", "val")[held]


def settings_of(protocol: Protocol) -> Mapping[str, object]:
    """What a protocol says beyond its defaults, to keep beside results."""
    plain = Protocol()
    return {
        name: value
        for name, value in vars(protocol).items()
        if name == "kind" or value != getattr(plain, name)
    }
