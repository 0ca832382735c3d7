"""Protocols: who trains and who tests in each fold."""

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aqakit.features.errors import RecipeError
from aqakit.features.manifest import Manifest, Pair, Video
from aqakit.models.fold import make_fold
from aqakit.models.protocol import Kind, Protocol, settings_of, split_by


def table(subjects: int = 4, trials: int = 3) -> Manifest:
    return Manifest(
        tuple(
            Video(f"{name}{trial}", subject=name, trial=str(trial), score=float(place + trial))
            for place, name in enumerate("ABCDEFGH"[:subjects])
            for trial in range(1, trials + 1)
        )
    )


def held_out(manifest: Manifest, names: tuple[str, ...]) -> list[set[str]]:
    return [set(manifest.part(name, "test")) for name in names]


def test_leave_one_user_out_tests_each_subject_once_on_all_others() -> None:
    made, names = split_by(table(), Protocol("leave-one-user-out"))
    assert names == tuple(f"leave-one-user-out-{name}" for name in "ABCD")
    assert held_out(made, names) == [{f"{name}{n}" for n in (1, 2, 3)} for name in "ABCD"]
    for name in names:
        assert len(made.part(name, "train")) == 9
        fold = make_fold(made, name, {video.id for video in made.videos})
        assert fold.shared_subjects == ()


def test_leave_one_supertrial_out_tests_one_trial_of_all_subjects() -> None:
    made, names = split_by(table(), Protocol("leave-one-supertrial-out"))
    assert held_out(made, names) == [{f"{name}{n}" for name in "ABCD"} for n in (1, 2, 3)]
    fold = make_fold(made, names[0], {video.id for video in made.videos})
    assert fold.shared_subjects == ("A", "B", "C", "D")


@settings(max_examples=30, deadline=None)
@given(
    st.integers(2, 8), st.integers(1, 4), st.integers(2, 5), st.integers(1, 2), st.integers(0, 3)
)
def test_k_folds_test_every_video_once_a_repeat_and_keep_groups_whole(
    subjects: int, trials: int, folds: int, repeats: int, seed: int
) -> None:
    manifest = table(subjects, trials)
    kinds: tuple[tuple[Kind, int], ...] = (
        ("k-fold", len(manifest.videos)),
        ("group-k-fold", subjects),
    )
    for kind, there in kinds:
        protocol = Protocol(kind, folds=folds, repeats=repeats, seed=seed)
        if there < folds:
            with pytest.raises(RecipeError, match=f"{folds} folds of {there} "):
                split_by(manifest, protocol)
            continue
        made, names = split_by(manifest, protocol)
        assert len(names) == folds * repeats
        count = Counter(id for own in held_out(made, names) for id in own)
        assert count == dict.fromkeys((video.id for video in manifest.videos), repeats)
        if kind == "group-k-fold":
            for own in held_out(made, names):
                assert {f"{id[0]}{n}" for id in own for n in range(1, trials + 1)} == own


def test_repeats_are_drawn_anew_and_a_seed_gives_the_same_folds() -> None:
    protocol = Protocol("k-fold", folds=3, repeats=2)
    made, names = split_by(table(), protocol)
    assert names == (
        "k-fold-1.1",
        "k-fold-1.2",
        "k-fold-1.3",
        *(f"k-fold-2.{n}" for n in (1, 2, 3)),
    )
    assert held_out(made, names[:3]) != held_out(made, names[3:])
    again, _ = split_by(table(), protocol)
    other, _ = split_by(table(), replace(protocol, seed=5))
    assert again == made
    assert other != made


def test_fixed_puts_whole_subjects_where_they_are_named() -> None:
    made, names = split_by(table(), Protocol("fixed", train=("A", "B"), test=("D",)))
    assert names == ("fixed",)
    assert made.part("fixed", "train") == ("A1", "A2", "A3", "B1", "B2", "B3")
    assert made.part("fixed", "test") == ("D1", "D2", "D3")


def test_published_takes_the_splits_that_are_there() -> None:
    videos = table().videos
    manifest = Manifest(
        videos,
        {"one": {"A1": "train", "B1": "test"}},
        (Pair("A2", "A1"), Pair("B2", "B1")),
        {"pairs": ("train", "test")},
    )
    assert split_by(manifest, Protocol()) == (manifest, ("one", "pairs"))
    assert split_by(manifest, Protocol(splits=("pairs",)))[1] == ("pairs",)
    with pytest.raises(RecipeError, match="no split 'two'; choose one of: one, pairs"):
        split_by(manifest, Protocol(splits=("two",)))
    with pytest.raises(RecipeError, match="has no split; name another protocol"):
        split_by(table(), Protocol())


def test_validation_takes_whole_training_subjects_and_never_a_test_video() -> None:
    made, names = split_by(table(), Protocol("leave-one-user-out", validation=0.34))
    for name in names:
        held = {id[0] for id in made.part(name, "val")}
        assert len(made.part(name, "val")) == 3 * len(held) == 6
        assert held.isdisjoint(id[0] for id in made.part(name, "train"))
        assert len(made.part(name, "test")) == 3


def test_validation_of_split_pairs_leaves_out_pairs_of_one_moved_video() -> None:
    videos = tuple(Video(f"v{number}") for number in range(6))
    ids = [(a, b) for a in range(6) for b in range(a)]
    pairs = tuple(Pair(f"v{a}", f"v{b}") for a, b in ids)
    cells = tuple("test" if a == 5 else "train" for a, _ in ids)
    manifest = Manifest(videos, {}, pairs, {"1": cells})
    made, _ = split_by(manifest, Protocol(validation=0.4))
    moved = {id for pair in made.pairs_in("1", "val") for id in pair}
    assert len(moved) == 2
    assert made.pairs_in("1", "test") == manifest.pairs_in("1", "test")
    for pair, part in zip(made.pairs, made.pair_splits["1"], strict=True):
        if "v5" not in pair:
            assert part == ("train", "", "val")[len(moved.intersection(pair))]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            {"kind": "leave-one-out"},
            "no protocol 'leave-one-out'; choose one of: published, k-fold",
        ),
        ({"kind": "k-fold"}, "protocol k-fold has folds = 0; it needs 2 or more"),
        ({"kind": "k-fold", "folds": 2, "repeats": 0}, "repeats = 0; give 1 or more"),
        ({"folds": 3}, "protocol published has no folds; it is for k-fold or group-k-fold"),
        ({"kind": "k-fold", "folds": 2, "splits": ("1",)}, "has no splits; it is for published"),
        ({"seed": -1}, "seed = -1; give 0 or more"),
        ({"validation": 1.0}, "validation = 1.0; write a share from 0 to below 1"),
        (
            {"kind": "fixed", "train": ("A", "B"), "test": ("B",)},
            "subject 'B' is in train and in test; leave it in one",
        ),
    ],
)
def test_settings_that_contradict_each_other_are_refused(
    words: dict[str, object], message: str
) -> None:
    with pytest.raises(RecipeError) as caught:
        Protocol(**words)  # type: ignore[arg-type]
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("protocol", "message"),
    [
        (
            Protocol("fixed", train=("A",), test=("Z",)),
            "no subject 'Z'; the manifest has: A, B, C, D",
        ),
        (Protocol("fixed", train=("A",)), "names no subject in test"),
        (Protocol("leave-one-user-out", validation=0.5), ""),
    ],
)
def test_a_manifest_that_cannot_be_split_so_is_refused(protocol: Protocol, message: str) -> None:
    if message:
        with pytest.raises(RecipeError, match=message):
            split_by(table(), protocol)
    else:
        with pytest.raises(RecipeError, match="has 1 training groups; validation needs 2 or more"):
            split_by(table(2), protocol)


def test_a_video_without_a_subject_or_a_single_group_is_named() -> None:
    manifest = table(1)
    with pytest.raises(RecipeError, match="needs two subjects or more and the manifest has 1"):
        split_by(manifest, Protocol("leave-one-user-out"))
    nameless = Manifest((*manifest.videos, Video("x", trial="1")))
    with pytest.raises(RecipeError, match="video 'x' has none; fill in the column subject"):
        split_by(nameless, Protocol("leave-one-user-out"))


def test_a_share_that_leaves_nobody_to_train_is_told() -> None:
    with pytest.raises(
        RecipeError, match=r"validation = 0.9 of the 2 training groups .* leaves none"
    ):
        split_by(table(3), Protocol("leave-one-user-out", validation=0.9))


def test_what_is_kept_beside_results_is_what_was_said() -> None:
    assert settings_of(Protocol()) == {"kind": "published"}
    assert settings_of(Protocol("k-fold", folds=3)) == {"kind": "k-fold", "folds": 3}
