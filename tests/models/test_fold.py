"""Splits: positions against a slow reading of the manifest, and what is dropped is counted."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from aqakit.features.errors import ManifestError
from aqakit.features.manifest import Manifest, Pair, Video, order_by_score
from aqakit.models import fold as fold_module
from aqakit.models.data import Targets
from aqakit.models.fold import make_fold, shuffled

PARTS = ["train", "train", "train", "test", "test", "test", "val"]


def manifest(pairs: list[tuple[str, str]], scores: bool = False) -> Manifest:
    videos = tuple(
        Video(f"v{n}", subject=f"s{n % 3}", score=float(n) if scores else None)
        for n in range(len(PARTS))
    )
    split = {video.id: part for video, part in zip(videos, PARTS, strict=True)}
    return Manifest(videos, {"default": split}, tuple(Pair(*pair) for pair in pairs))


ALL = {f"v{n}" for n in range(len(PARTS))}
PAIRS = [("v0", "v1"), ("v2", "v1"), ("v3", "v4"), ("v5", "v3"), ("v0", "v3"), ("v6", "v0")]


def test_pairs_belong_to_the_part_of_both_videos() -> None:
    fold = make_fold(manifest(PAIRS), "default", ALL)
    ids = [video.id for video in fold.videos]
    assert ids == ["v0", "v1", "v2", "v3", "v4", "v5", "v6"]
    named = [tuple(ids[place] for place in pair) for pair in fold.train_pairs]
    assert named == [("v0", "v1"), ("v2", "v1")]
    named = [tuple(ids[place] for place in pair) for pair in fold.test_pairs]
    assert named == [("v3", "v4"), ("v5", "v3")]
    assert (fold.dropped_videos, fold.dropped_pairs, fold.seen.tolist()) == ((), 0, [0, 0])
    places = [*fold.train, *fold.test, *fold.validation]
    assert sorted(places) == list(range(7))
    assert fold.validation.tolist() == [6]
    assert fold.validation_pairs.shape == (0, 2)


def test_videos_without_features_are_dropped_with_their_pairs_and_counted() -> None:
    fold = make_fold(manifest(PAIRS), "default", ALL - {"v2", "v4"})
    assert fold.dropped_videos == ("v2", "v4")
    assert fold.dropped_pairs == 2
    assert (len(fold.train_pairs), len(fold.test_pairs)) == (1, 1)


def test_pairs_follow_from_scores_where_none_are_listed() -> None:
    fold = make_fold(manifest([], scores=True), "default", ALL)
    assert (len(fold.train_pairs), len(fold.test_pairs)) == (3, 3)
    assert all(fold.videos[a].score > fold.videos[b].score for a, b in fold.test_pairs)
    scores = fold.scores
    assert scores is not None
    assert scores.tolist() == [0, 1, 2, 3, 4, 5, 6]


def test_pairs_from_scores_are_made_within_each_part_only(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []

    def count(videos: Sequence[Video]) -> NDArray[np.int64]:
        seen.append(len(order_by_score(videos)))
        return order_by_score(videos)

    monkeypatch.setattr(Manifest, "pairs_from_scores", lambda self: pytest.fail("made all pairs"))
    monkeypatch.setattr(fold_module, "order_by_score", count)
    table = manifest([], scores=True)
    fold = make_fold(table, "default", ALL - {"v1", "v4"})
    assert seen == [3, 0, 3]  # train, one video of val, and test
    assert (len(fold.train_pairs), len(fold.test_pairs), fold.dropped_pairs) == (1, 1, 4)


def test_scores_that_order_no_two_videos_of_a_task_are_no_labels() -> None:
    table = manifest([], scores=True)
    alone = tuple(replace(video, task=video.id) for video in table.videos)
    alike = tuple(replace(video, score=1.0) for video in table.videos)
    for videos in (alone, alike):
        with pytest.raises(ManifestError, match="no pairs and no two different scores"):
            make_fold(replace(table, videos=videos), "default", ALL)


def test_the_digest_tells_labels_apart_and_not_where_files_lie() -> None:
    def digest(table: Manifest, available: set[str] = ALL) -> str:
        return make_fold(table, "default", available).digest

    table = manifest(PAIRS)

    def changed(**values: Any) -> Manifest:
        return replace(table, videos=(replace(table.videos[0], **values), *table.videos[1:]))

    same = digest(table)
    assert digest(changed(path=Path("elsewhere/v0.mp4"))) == same
    others = [
        digest(changed(score=1.0)),
        digest(changed(start_seconds=1.0)),
        digest(changed(subject="someone else")),
        digest(manifest(PAIRS[:3])),
        digest(table, ALL - {"v4"}),
        digest(table, ALL - {"v6"}),
        digest(changed(parts={"execution": 1.0})),
        digest(changed(task="suturing")),
        digest(changed(action_type="tuck")),
        digest(replace(table, splits={"default": {**table.splits["default"], "v5": "val"}})),
    ]
    assert len({same, *others}) == 11


def test_a_split_of_pairs_counts_test_pairs_with_a_training_video() -> None:
    table = manifest(PAIRS)
    split = ("train", "test", "test", "test", "test", "")
    by_pairs = Manifest(table.videos, {}, table.pairs, {"fold1": split})
    fold = make_fold(by_pairs, "fold1", ALL)
    assert (len(fold.train_pairs), len(fold.test_pairs)) == (1, 4)
    assert fold.seen.tolist() == [1, 0, 0, 1]


@given(
    st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=4, max_size=12),
    st.lists(st.sampled_from(["train", "test", "val", ""]), min_size=12, max_size=12),
)
def test_seen_counts_the_videos_of_each_test_pair_that_train_or_validate(
    places: list[tuple[int, int]], cells: list[str]
) -> None:
    # Lower numbers are better, so that no pair is the reverse of another.
    pairs = [(f"v{min(pair)}", f"v{max(pair)}") for pair in places if pair[0] != pair[1]]
    parts = ("train", "test", *cells)[: len(pairs)]
    if len(pairs) < 2:
        return
    table = replace(manifest(pairs), splits={}, pair_splits={"1": parts})
    trained, known = (
        {id for pair, part in zip(pairs, parts, strict=True) if part in kinds for id in pair}
        for kinds in (("train",), ("train", "val"))
    )
    fold = make_fold(table, "1", ALL)
    ids = [video.id for video in fold.videos]
    expected = [
        sum(id in known for id in pair)
        for pair, part in zip(pairs, parts, strict=True)
        if part == "test"
    ]
    assert fold.seen.tolist() == expected
    assert {ids[place] for place in fold.train} == trained


def test_who_trains_and_is_tested_is_told_and_nobody_unknown() -> None:
    table = manifest(PAIRS)
    # Videos are of subjects s0, s1, s2 in turn, and both parts have three of them.
    assert make_fold(table, "default", ALL).shared_subjects == ("s0", "s1", "s2")
    assert make_fold(table, "default", ALL - {"v2"}).shared_subjects == ("s0", "s1")
    nameless = tuple(replace(v, subject=None if v.id != "v6" else "s6") for v in table.videos)
    assert make_fold(replace(table, videos=nameless), "default", ALL).shared_subjects == ()
    apart = tuple(
        replace(video, subject=f"{part}-{n % 2}")
        for n, (video, part) in enumerate(zip(table.videos, PARTS, strict=True))
    )
    assert make_fold(replace(table, videos=apart), "default", ALL).shared_subjects == ()
    # A validation subject is neither.
    chosen = (*apart[:6], replace(apart[6], subject="test-1"))
    assert make_fold(replace(table, videos=chosen), "default", ALL).shared_subjects == ()


@pytest.mark.parametrize(
    ("pairs", "available", "words"),
    [
        ([], ALL, "no pairs and no two different scores; give --pairs"),
        (PAIRS[:2], ALL, "no pair of two test videos in split 'default'"),
        (PAIRS, set(), r"no pair of two train videos.*\(7 videos have no features\)"),
    ],
)
def test_nothing_to_learn_or_test(
    pairs: list[tuple[str, str]], available: set[str], words: str
) -> None:
    with pytest.raises(ManifestError, match=words):
        make_fold(manifest(pairs), "default", available)


def test_targets_are_positions_among_training_videos() -> None:
    table = manifest(PAIRS, scores=True)
    order = (*table.videos[3:], *table.videos[:3])
    fold = make_fold(Manifest(order, table.splits, table.pairs), "default", ALL)
    targets = fold.training_targets()
    ids = [fold.videos[place].id for place in fold.train]
    assert [(ids[a], ids[b]) for a, b in targets.pairs] == [("v0", "v1"), ("v2", "v1")]
    assert targets.scores is not None
    assert targets.scores.tolist() == [0, 1, 2]


def with_validation(pairs: list[tuple[str, str]], scores: bool = False) -> Manifest:
    """Videos 4 to 6 are of part val, and there is another one."""
    table = manifest([], scores)
    videos = [replace(v, parts={"execution": 10.0 + n}) for n, v in enumerate(table.videos)]
    videos[5] = replace(videos[5], parts={"difficulty": 2.5})
    videos.append(Video("v7", score=7.0 if scores else None))
    split = (
        dict(table.splits["default"]) | dict.fromkeys(("v4", "v5", "v6"), "val") | {"v7": "test"}
    )
    return Manifest(tuple(videos), {"default": split}, tuple(Pair(*pair) for pair in pairs))


EVERYONE = ALL | {"v7"}
VALIDATION_PAIRS = [
    *PAIRS[:2],
    ("v7", "v3"),
    ("v6", "v4"),
    ("v4", "v5"),
    ("v6", "v0"),
    ("v7", "v6"),
]


def test_validation_pairs_are_of_two_validation_videos() -> None:
    fold = make_fold(with_validation(VALIDATION_PAIRS), "default", EVERYONE)
    ids = [video.id for video in fold.videos]

    def named(pairs: NDArray[np.int64]) -> list[tuple[str, str]]:
        return [(ids[a], ids[b]) for a, b in pairs]

    assert named(fold.validation_pairs) == [("v6", "v4"), ("v4", "v5")]
    assert named(fold.train_pairs) == PAIRS[:2]
    assert named(fold.test_pairs) == [("v7", "v3")]
    assert [ids[place] for place in fold.validation] == ["v4", "v5", "v6"]
    fold = make_fold(with_validation(VALIDATION_PAIRS), "default", EVERYONE - {"v6"})
    assert (fold.dropped_videos, fold.dropped_pairs) == (("v6",), 1)
    assert [fold.videos[place].id for place in fold.validation] == ["v4", "v5"]


def test_validation_targets_are_positions_among_validation_videos() -> None:
    table = with_validation(VALIDATION_PAIRS, scores=True)
    order = (*table.videos[5:], *table.videos[:5])
    fold = make_fold(Manifest(order, table.splits, table.pairs), "default", EVERYONE)
    for targets, members in (
        (fold.validation_targets(), fold.validation),
        (fold.training_targets(), fold.train),
    ):
        videos = [fold.videos[place] for place in members]
        assert targets.scores is not None
        assert targets.scores.tolist() == [video.score for video in videos]
        for name, values in targets.parts.items():
            found = [video.parts.get(name, np.nan) for video in videos]
            np.testing.assert_array_equal(values, found)
    ids = [fold.videos[place].id for place in fold.validation]
    pairs = [(ids[a], ids[b]) for a, b in fold.validation_targets().pairs]
    assert pairs == [("v6", "v4"), ("v4", "v5")]
    assert fold.validation_targets().parts.keys() == {"execution", "difficulty"}
    assert fold.training_targets().parts.keys() == {"execution"}


def test_without_scores_targets_have_pairs_and_parts() -> None:
    targets = make_fold(with_validation(VALIDATION_PAIRS), "default", EVERYONE).training_targets()
    assert targets.scores is None
    assert targets.parts["execution"].tolist() == [10, 11, 12]


@pytest.mark.parametrize("scores", [False, True])
def test_parts_of_a_score_are_shuffled_with_it(scores: bool) -> None:
    values = np.arange(50.0)
    parts = {"execution": 2 * values, "difficulty": values + 100}
    targets = Targets(np.zeros((0, 2), np.int64), values if scores else None, parts)
    noise = shuffled(targets, np.random.default_rng(0))
    order = noise.parts["difficulty"] - 100
    assert sorted(order) == values.tolist()
    assert not np.array_equal(order, values)
    np.testing.assert_array_equal(noise.parts["execution"], 2 * order)
    if scores:
        assert noise.scores is not None
        np.testing.assert_array_equal(noise.scores, order)
    else:
        assert noise.scores is None


@given(st.integers(0, 10**6), st.integers(1, 60))
def test_shuffling_keeps_who_is_compared_and_all_scores(seed: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    scores = rng.random(count)
    targets = Targets(rng.integers(0, 9, (count, 2)), scores)
    noise = shuffled(targets, rng)
    np.testing.assert_array_equal(np.sort(noise.pairs, axis=1), np.sort(targets.pairs, axis=1))
    assert noise.scores is not None
    np.testing.assert_array_equal(np.sort(noise.scores), np.sort(scores))


def test_half_of_the_pairs_are_reversed() -> None:
    pairs = np.tile([[0, 1]], (4000, 1))
    noise = shuffled(Targets(pairs), np.random.default_rng(0))
    assert 0.45 < noise.pairs[:, 0].mean() < 0.55


def test_listed_pairs_of_a_training_and_a_validation_video_are_counted() -> None:
    pairs = tuple(Pair(f"v{a}", f"v{b}") for a, b in ((1, 0), (2, 1), (3, 1), (5, 4), (3, 2)))
    parts = {"v0": "train", "v1": "train", "v2": "val", "v3": "val", "v4": "test", "v5": "test"}
    fold = make_fold(Manifest(manifest([]).videos, {"one": parts}, pairs), "one", ALL)
    assert (len(fold.train_pairs), len(fold.validation_pairs)) == (1, 1)
    assert (fold.parted_pairs, fold.dropped_pairs) == (2, 0)
