"""Dossiers: the values of a page against a run whose every score is known, by plain loops."""

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from numpy.typing import NDArray

from aqakit.features.errors import RecipeError
from aqakit.features.manifest import Manifest, Pair, Video
from aqakit.models.fold import Fold, make_fold
from aqakit.models.head import EpochLog, Fitting, Head
from aqakit.models.recipe import Recipe
from aqakit.models.run import Run, read_rows, write_run
from aqakit.report.dossier import Told, page_of
from aqakit.report.page import Entry, Page, Story

ODD = ("<script>x</script>", "two\nlines", "😀 ü", "\u202eback", 'q"uo,te', "a" * 5000, " ", "v7")
NOTHING = Told({}, None, {}, {}, (), 0, "")
KEY = "c3d.rgb.fc6.clips-16.caffe.sha256-1f2e3d4c5b6a.float32"
IDS = ("v0", "v1", "v2", "v3", "v4", "v5", "v6", "v7")
PARTS = ("train", "train", "train", "val", "test", "test", "test", "test")
TRUTH = (1.0, 4.0, 2.0, 3.0, 8.0, 6.0, 5.0, 7.0)


class Untrained:
    """Stands for a head of which nothing is asked."""

    def save(self, folder: Path) -> None:
        (folder / "nothing").touch()


def recipe(**changes: Any) -> Recipe:
    made = Recipe.make("rank-aware-attention", {"features": KEY}, "default", (0, 4), ["epochs=2"])
    return replace(made, **changes)


def fold(
    ids: Sequence[str] = IDS,
    parts: Sequence[str] = PARTS,
    truth: Sequence[float | None] = TRUTH,
    lost: Sequence[str] = (),
    pairs: Sequence[tuple[int, int]] = (),
) -> Fold:
    videos = tuple(
        Video(id, subject=f"s{number % 3}" if number else None, score=score)
        for number, (id, score) in enumerate(zip(ids, truth, strict=True))
    )
    listed = tuple(Pair(ids[a], ids[b]) for a, b in pairs)
    manifest = Manifest(videos, {"default": dict(zip(ids, parts, strict=True))}, listed)
    return make_fold(manifest, "default", set(ids) - set(lost))


def scores_of(made: Fold, seeds: int = 2, seed: int = 0) -> NDArray[np.float64]:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(seeds, len(made.videos))) * [[1.0], [50.0]][:seeds] + 3


def write(
    folder: Path,
    made: Fold | None = None,
    scores: NDArray[np.float64] | None = None,
    kept: Recipe | None = None,
    logs: Sequence[list[EpochLog]] | None = None,
) -> Path:
    made, kept = made or fold(), kept or recipe()
    scores = scores_of(made) if scores is None else scores
    heads = cast(tuple[Head, ...], tuple(Untrained() for _ in kept.seeds))
    controls = {"constant": np.zeros(len(made.videos))}
    logs = logs or [[{"ranking": 1.0 / epoch} for epoch in (1, 2)] for _ in kept.seeds]
    write_run(Run(kept, made, scores, controls, tuple(logs), heads), folder)
    return folder


def story(number: int = 0) -> Story:
    return Story(np.full((2, 3), float(number)), {}, {})


def by_id(page: Page) -> dict[str, Entry]:
    return {entry.id: entry for entry in page.entries}


def merged_by_hand(scores: NDArray[np.float64], train: Sequence[int]) -> list[list[float]]:
    """Of each video its score by each seed, brought to mean 0 and deviation 1."""
    table = []
    for video in range(scores.shape[1]):
        row = []
        for own in scores.tolist():
            known = [own[place] for place in train]
            mean = sum(known) / len(known)
            deviation = (sum((one - mean) ** 2 for one in known) / len(known)) ** 0.5
            row.append((own[video] - mean) / deviation)
        table.append(row)
    return table


def test_entries_are_all_videos_the_best_first(tmp_path: Path) -> None:
    made = fold()
    scores = scores_of(made)
    page = page_of(write(tmp_path / "run", made, scores), (), NOTHING)
    table = merged_by_hand(scores, [0, 1, 2])
    means = [sum(row) / 2 for row in table]
    order = sorted(range(8), key=lambda video: -means[video])
    assert [entry.id for entry in page.entries] == [f"v{video}" for video in order]
    assert [entry.rank for entry in page.entries] == list(range(1, 9))
    for entry, video in zip(page.entries, order, strict=True):
        low, high = sorted(table[video])
        assert entry.score == pytest.approx(means[video])
        assert entry.deviation == pytest.approx((high - low) / 2**0.5)
        assert (entry.part, entry.truth) == (PARTS[video], TRUTH[video])
        assert entry.subject == (f"s{video % 3}" if video else "")
    assert not page.scaled


def test_scores_on_the_scale_of_the_labels_stay_as_they_are(tmp_path: Path) -> None:
    kept = Recipe.make("svr", {"features": KEY}, "default", [0])
    scores = scores_of(fold(), 1)
    page = page_of(write(tmp_path / "run", None, scores, kept, [[]]), (), NOTHING)
    assert page.scaled
    found = by_id(page)
    assert [found[f"v{number}"].score for number in range(8)] == scores[0].tolist()
    assert all(np.isnan(entry.deviation) for entry in page.entries)


def test_ties_share_the_better_place_in_the_order_of_the_run(tmp_path: Path) -> None:
    scores = np.array([[1.0, 2, 3, 5, 4, 5, 4, 0]] * 2)
    page = page_of(write(tmp_path / "run", None, scores), (), NOTHING)
    assert [(entry.id, entry.rank) for entry in page.entries] == [
        *(("v3", 1), ("v5", 1), ("v4", 3), ("v6", 3)),
        *(("v2", 5), ("v1", 6), ("v0", 7), ("v7", 8)),
    ]


def test_pairs_won_and_agreed_are_counted(tmp_path: Path) -> None:
    scores = np.array([[1.0, 2, 3, 5, 4, 5, 4, 0]] * 2)
    pairs = [("v1", "v0"), ("v4", "v5"), ("v4", "v7"), ("v7", "v5"), ("lost", "v4")]
    listed = [(1, 0), (4, 5), (4, 6), (4, 7), (7, 5), (5, 6)]
    run = write(tmp_path / "run", fold(pairs=listed), scores)
    found = by_id(page_of(run, (), replace(NOTHING, pairs=pairs)))
    assert {id: entry.won for id, entry in found.items()} == {
        **{id: (0, 0) for id in ("v2", "v3", "v6")},
        "v0": (0, 1),
        "v1": (1, 1),
        "v4": (2, 3),
        "v5": (0, 2),
        "v7": (1, 2),
    }
    # 4 > 5 is wrong, 4 > 6 a tie, 4 > 7 right, 7 > 5 wrong, 5 > 6 right.
    assert {id: entry.agreed for id, entry in found.items() if entry.agreed != (0, 0)} == {
        "v4": (1, 3),
        "v5": (1, 3),
        "v6": (1, 2),
        "v7": (1, 2),
    }


def test_a_video_is_compared_with_the_best_of_its_task_that_has_a_story(tmp_path: Path) -> None:
    scores = np.array([[8.0, 7, 6, 5, 4, 3, 2, 2]] * 2)
    run = write(tmp_path / "run", None, scores)
    tasks = {f"v{number}": "ab"[number % 2] for number in range(8)}
    stories = {"v4": story(), "v6": story()}
    page = page_of(run, (), replace(NOTHING, tasks=tasks, stories=stories))
    assert [entry.task for entry in page.entries] == ["a", "b"] * 4
    # Task a: 0, 2, 4, 6, of which 4 and 6 have stories; task b: 1, 3, 5, 7 without.
    assert [entry.rival for entry in page.entries] == [None, None, 0, 1, 0, 1, 4, 1]
    equal = page_of(write(tmp_path / "equal", None, np.ones((2, 8))), (), NOTHING)
    assert [entry.rival for entry in equal.entries] == [None] * 8


def test_stories_are_there_or_the_reason_is(tmp_path: Path) -> None:
    run = write(tmp_path / "run")
    some = by_id(page_of(run, (), replace(NOTHING, stories={"v1": story(1)})))
    assert some["v1"].story is not None
    assert some["v1"].untold == ""
    assert some["v2"].story is None
    assert some["v2"].untold == "Its features are not in the store, so nothing explains its score."
    none = page_of(run, (), replace(NOTHING, untold="The store has moved."))
    assert {entry.untold for entry in none.entries} == {"The store has moved."}
    assert none.notes[-1] == "The store has moved."


def test_places_of_the_plane_follow_the_entries(tmp_path: Path) -> None:
    scores = np.array([[1.0, 2, 3, 4, 5, 6, 7, 8]] * 2)
    run = write(tmp_path / "run", None, scores)
    stories = {id: story() for id in ("v1", "v7", "gone", "v4")}
    places = np.array([[1.0, 1], [7, 7], [0, 0], [4, 4]])
    tables = {"filter_correlation": np.eye(3)}
    told = replace(NOTHING, stories=stories, plane=("PCA", places), tables=tables)
    page = page_of(run, (), told)
    assert page.plane is not None
    assert page.plane.method == "PCA"
    assert page.plane.members.tolist() == [0, 3, 6]
    assert page.plane.places.tolist() == [[7, 7], [4, 4], [1, 1]]
    assert page.tables is tables
    assert page_of(run, (), NOTHING).plane is None
    with pytest.raises(ValueError, match=r"plane has shape \(2, 2\); it must be \(4, 2\)"):
        page_of(run, (), replace(told, plane=("PCA", np.zeros((2, 2)))))


def test_rows_are_the_run_then_others_beside_it_then_controls_once(tmp_path: Path) -> None:
    made = fold()
    run = write(tmp_path / "run", made)
    twin = write(tmp_path / "twin", made, scores_of(made, seed=1))
    noise = write(tmp_path / "noise", made, scores_of(made, seed=2), recipe(shuffled=True))
    plain = Recipe.make("ranksvm", {"features": KEY}, "default", [0])
    other = write(tmp_path / "other", made, scores_of(made, 1), plain, [[]])
    page = page_of(run, [other, twin / ".." / "run", twin, noise, twin / ".." / "other"], NOTHING)
    assert [row.name for row in page.rows] == [
        "rank-aware-attention (run)",
        "ranksvm",
        "rank-aware-attention (twin)",
        "rank-aware-attention (labels shuffled)",
        "control: constant",
    ]
    assert [row.accuracy for row in page.rows[:2]] == [
        read_rows(one)[0].accuracy for one in (run, other)
    ]
    alone = page_of(run, (), NOTHING)
    assert [row.name for row in alone.rows] == ["rank-aware-attention", "control: constant"]
    assert alone.title == "rank-aware-attention"
    assert page_of(noise, (), NOTHING).warnings[0].startswith("This run is itself a control")


def test_a_run_on_shuffled_labels_beside_it_counts_as_a_control(tmp_path: Path) -> None:
    made = fold()
    right = np.array([TRUTH] * 2)
    run = write(tmp_path / "run", made, -right)
    noise = write(tmp_path / "noise", made, right, recipe(shuffled=True))
    plain = write(tmp_path / "plain", made, right)
    assert "(labels shuffled)' (1.000)" in " ".join(page_of(run, [noise], NOTHING).warnings)
    beside = " ".join(page_of(run, [plain], NOTHING).warnings)
    assert "at least as well as this run" in beside, "the constant control ties"
    assert "rank-aware" not in beside


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (fold(), fold(parts=(*PARTS[:-1], "train"))),
        (fold(), fold(ids=[f"w{number}" for number in range(8)])),
        (fold(pairs=[(1, 0), (4, 5)]), fold(pairs=[(1, 0), (5, 4)])),
        (fold(pairs=[(1, 0), (4, 5)]), fold(pairs=[(1, 0), (4, 5), (4, 5)])),
        (fold(pairs=[(1, 0), (4, 5)]), fold(parts=(*PARTS[:-1], "val"), pairs=[(1, 0), (4, 5)])),
    ],
    ids=["parts", "ids", "order of a pair", "a pair twice", "videos without pairs"],
)
def test_a_run_with_another_test_is_not_put_beside(one: Fold, other: Fold, tmp_path: Path) -> None:
    run, beside = write(tmp_path / "run", one), write(tmp_path / "beside", other)
    with pytest.raises(RecipeError) as caught:
        page_of(run, [beside], NOTHING)
    assert str(caught.value) == (
        f"{beside} tests other videos or pairs than {run}; leave it out, or train it on the same "
        "labels and split"
    )


def test_a_run_with_other_training_videos_may_stand_beside(tmp_path: Path) -> None:
    run, other = write(tmp_path / "run"), write(tmp_path / "other", fold(lost=["v0"]))
    assert len(page_of(run, [other], NOTHING).rows) == 3


def test_facts_say_what_was_trained_on_what(tmp_path: Path) -> None:
    facts = dict(page_of(write(tmp_path / "run"), (), NOTHING).facts)
    assert facts.pop("made by").startswith("aqakit ")
    assert facts == {
        "Model": "rank-aware-attention",
        "Features": KEY,
        "Trained on": "3 videos of 2 subjects, in 3 pairs",
        "Validated on": "1 video of 1 subject",
        "Tested on": "4 videos of 3 subjects, in 6 pairs",
        "Split": "default",
        "Seeds": "2: 0, 4",
        "Settings": "epochs 2",
    }


def test_facts_name_roles_settings_and_what_is_left_out(tmp_path: Path) -> None:
    kept = Recipe.make(
        "siamese-lstm",
        {"features": KEY, "variant-1": KEY + ".zoom-125", "variant-2": KEY + ".zoom-80"},
        "fold-1",
        (3,),
        ["learning_rate=0.5", "standardise=true"],
        name="jain/full",
        task="diving",
        fitting=Fitting(patience=5),
        start_from="runs/before",
    )
    ids = [*IDS, *(f"gone {n}" for n in range(7))]
    made = fold(ids, [*PARTS, *["train"] * 7], [*TRUTH, *range(7)], lost=ids[8:])
    page = page_of(write(tmp_path / "run", made, scores_of(made, 1), kept), (), NOTHING)
    facts = dict(page.facts)
    assert facts["Model"] == "jain/full, head siamese-lstm"
    assert facts["Features"] == f"{KEY}; 2 altered versions of the videos for training"
    assert facts["Task"] == "diving"
    assert {entry.task for entry in page.entries} == {"diving"}
    assert facts["Trained on"] == "3 videos of 2 subjects, with their scores"
    assert facts["Started from"] == "runs/before"
    settings = facts["Settings"].split(", ")
    assert {"learning_rate 0.5", "standardise true", "patience 5"} < set(settings)
    assert {word.split()[0] for word in settings} - {
        "learning_rate",
        "standardise",
        "patience",
    } == {"epochs", "scoring_epochs"}
    named = ", ".join(f"'gone {number}'" for number in range(5))
    assert facts["Left out"].startswith(f"7 videos without features ({named}, ...), ")
    assert facts["Left out"].endswith(" pairs that cannot be used")
    streams = Recipe.make("deep-ranking", {"rgb": "a", "flow": "b"}, "default", [0])
    both = page_of(write(tmp_path / "both", None, scores_of(fold(), 1), streams), (), NOTHING)
    assert dict(both.facts)["Features"] == "flow: b; rgb: a"


def test_learning_curves_come_by_loss_and_seed(tmp_path: Path) -> None:
    logs: list[list[EpochLog]] = [
        [{"metric": 2.0}, {"metric": 1.0}, {"scoring": 5.0, "validation_accuracy": 0.5}],
        [{"metric": 3.0}],
    ]
    page = page_of(write(tmp_path / "run", logs=logs), (), NOTHING)
    nan = float("nan")
    expected = {
        "metric": {0: [2.0, 1.0, nan], 4: [3.0]},
        "scoring": {0: [nan, nan, 5.0], 4: [nan]},
        "validation_accuracy": {0: [nan, nan, 0.5], 4: [nan]},
    }
    assert repr(page.learning) == repr(expected)
    plain = Recipe.make("ranksvm", {"features": KEY}, "default", [0])
    none = page_of(write(tmp_path / "none", None, scores_of(fold(), 1), plain, [[]]), (), NOTHING)
    assert none.learning == {}


def notes(run: Path, **changes: Any) -> str:
    return " ".join(page_of(run, (), replace(NOTHING, **changes)).notes)


def test_notes_say_how_the_numbers_of_this_page_were_made(tmp_path: Path) -> None:
    run = write(tmp_path / "run")
    own = notes(run)
    assert "mean 0 and deviation 1 over the training videos, then averaged over 2 seeds" in own
    assert "Ranks are among all 8 videos of the page." in own
    assert "Videos marked trained" in own
    assert "Label is the score" in own
    assert "Agreed counts" in own
    assert "Won counts" not in own
    assert "moments" not in own
    more = notes(run, stories={"v1": story()}, seed=4, pairs=[("v1", "v0")], tasks={"v1": "other"})
    assert "what one model, that of seed 4, makes of each step" in more
    assert "Won counts" in more
    assert "8 videos of the page, whatever their task." in more
    plain = Recipe.make("svr", {"features": KEY}, "default", [0])
    single = write(tmp_path / "single", None, scores_of(fold(), 1), plain, [[]])
    alone = notes(single, stories={"v1": story()})
    assert "no unit" not in alone
    assert "trainings that differ" not in alone
    assert "what one model makes of each step" in alone
    pairs = fold(truth=[None] * 8, pairs=[(1, 0), (4, 5)])
    unlabelled = notes(write(tmp_path / "pairs", pairs, scores_of(pairs)))
    assert "Truth" not in unlabelled


def test_scaled_scores_of_several_seeds_say_so(tmp_path: Path) -> None:
    kept = Recipe.make("aim", {"scene": KEY}, "default", (0, 1), ["variant=scene-only"])
    said = notes(write(tmp_path / "run", kept=kept))
    assert "is the mean of 2 trainings that differ by the seed" in said
    assert "no unit" not in said


def test_ids_may_be_any_text(tmp_path: Path) -> None:
    named = fold()
    videos = tuple(replace(v, id=id) for v, id in zip(named.videos, ODD, strict=True))
    made = replace(named, videos=videos)
    run = write(tmp_path / "run 😀", made)
    told = replace(NOTHING, stories={ODD[0]: story()}, tasks={ODD[1]: "<b>"}, pairs=[ODD[:2]])
    found = by_id(page_of(run, [run], told))
    assert set(found) == set(ODD)
    assert found[ODD[0]].story is not None
    assert found[ODD[0]].won == (1, 1)
    assert found[ODD[1]].task == "<b>"


def test_a_run_of_long_ago_has_a_page_without_what_it_did_not_keep(tmp_path: Path) -> None:
    run = write(tmp_path / "run")
    (run / "environment.json").unlink()
    (run / "training_log.csv").unlink()
    page = page_of(run, (), NOTHING)
    assert "made by" not in dict(page.facts)
    assert page.learning == {}
    assert len(page.entries) == 8
    (run / "environment.json").write_text("[not json")
    assert "made by" not in dict(page_of(run, (), NOTHING).facts)


def test_what_is_no_run_is_named_with_its_cure(tmp_path: Path) -> None:
    def message(folder: Path) -> str:
        with pytest.raises(RecipeError) as caught:
            page_of(folder, (), NOTHING)
        assert "\n" not in str(caught.value)
        return str(caught.value)

    absent = tmp_path / "absent"
    assert message(absent) == f"{absent} is no run; name a folder that 'aqakit train' wrote"
    batch = tmp_path / "batch"
    for name in ("b", "a"):
        write(batch / name)
    assert message(batch) == (
        f"{batch} holds several runs; name one of them, for example {batch / 'a'}"
    )


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("recipe.json", "{}"),
        ("metrics.json", "{}"),
        ("predictions.csv", ""),
        ("predictions.csv", "id,part,subject,truth,seed_0\nv0,train,,,1\n"),
        ("training_log.csv", "seed,epoch,loss\n0,1,low\n"),
        ("training_log.csv", "seed,epoch,loss\n0,1,1,2\n"),
        ("training_log.csv", "epoch,loss\n1,1\n"),
    ],
)
def test_a_damaged_file_ends_in_one_line(name: str, content: str, tmp_path: Path) -> None:
    run = write(tmp_path / "run")
    (run / name).write_text(content)
    with pytest.raises(RecipeError) as caught:
        page_of(run, (), NOTHING)
    assert str(tmp_path / "run") in str(caught.value)
    assert "again" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_run_without_a_seed_or_a_training_video_in_its_table_is_named(tmp_path: Path) -> None:
    run = write(tmp_path / "run")
    with (run / "predictions.csv").open(newline="") as file:
        rows = [*csv.reader(file)]
    changed: Mapping[str, list[list[str]]] = {
        "seed_4": [[cell.replace("seed_4", "seed_5") for cell in row] for row in rows],
        "reference": [[cell.replace("train", "test") for cell in row] for row in rows],
    }
    for word, table in changed.items():
        with (run / "predictions.csv").open("w", newline="") as file:
            csv.writer(file).writerows(table)
        with pytest.raises(RecipeError, match=f"is no run that can be read .*{word}"):
            page_of(run, (), NOTHING)


def test_facts_need_no_list_of_what_was_dropped(tmp_path: Path) -> None:
    made = fold(lost=["v2"])
    run = write(tmp_path / "run", made)
    known = json.loads((run / "metrics.json").read_text())
    del known["dropped"]
    (run / "metrics.json").write_text(json.dumps(known))
    assert dict(page_of(run, (), NOTHING).facts)["Left out"].startswith(
        "1 video without features, "
    )
