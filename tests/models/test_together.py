"""All ways to train several seeds give the same numbers, and tell how far they are."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from aqakit.features.errors import RecipeError
from aqakit.features.spec import FeatureKey
from aqakit.models import together
from aqakit.models.data import Targets, VideoFeatures
from aqakit.models.head import EpochLog, Fitting, Session
from aqakit.models.recipe import Recipe
from aqakit.models.together import Together, Work, train_seeds

SEEDS, EPOCHS = 3, 4
SETTINGS = (f"epochs={EPOCHS}", "hidden=4", "filters=2", "batch_pairs=8", "learning_rate=0.01")
WAYS: tuple[Together, ...] = tuple(way for way in get_args(Together) if way != "auto")
Told = list[tuple[float, int, int, Mapping[str, float]]]


def _recipe(*settings: str, head: str = "rank-aware-attention", seeds: int = SEEDS) -> Recipe:
    features = {"features": FeatureKey("i3d.rgb.pool")}
    return Recipe.make(head, features, "default", range(seeds), settings)


def _videos(count: int, seed: int) -> list[VideoFeatures]:
    rng = np.random.default_rng(seed)
    videos = []
    for number in range(count):
        values = rng.normal(number / 4, 1, (3 + number % 3, 4)).astype(np.float32)
        videos.append(VideoFeatures.of(f"{seed}-{number}", values, np.zeros((len(values), 3))))
    return videos


def _works(recipe: Recipe, tensorboard: Path | None = None) -> list[Work]:
    pairs = np.array([(a, b) for a in range(7) for b in range(a)])
    validation = _videos(4, 1), Targets(np.array([[2, 0], [3, 1], [1, 2]]))
    session = Session(validation, Fitting(patience=2))
    return [
        Work(
            seed,
            _videos(7, 0),
            Targets(np.random.default_rng(seed).permutation(pairs)),
            session,
            tensorboard and tensorboard / f"seed-{seed}",
        )
        for seed in recipe.seeds
    ]


@dataclass(frozen=True)
class Outcome:
    """What one way gave, told and left behind."""

    scores: NDArray[np.float64]
    logs: list[list[EpochLog]]
    told: Told
    checkpoints: list[str]
    tensorboard: Path


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory, one_thread: None) -> dict[str, Outcome]:
    found: dict[str, Outcome] = {}
    for way in WAYS:
        folder = tmp_path_factory.mktemp(way)
        (folder / "checkpoints").mkdir()
        told: Told = []
        recipe = _recipe(*SETTINGS)
        works = _works(recipe, folder / "events")
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(together, "_cores", lambda: 2)
            patch.setattr(together, "_POLL_SECONDS", 0.01)
            trained = train_seeds(
                recipe, works, "cpu", way, folder / "checkpoints", lambda *e, t=told: t.append(e)
            )
        found[way] = Outcome(
            np.stack([head.score(_videos(9, 2)) for head, _ in trained]),
            [log for _, log in trained],
            told,
            sorted(path.name for path in (folder / "checkpoints").iterdir()),
            folder / "events",
        )
    return found


def test_processes_give_the_same_bits_as_one_after_the_other(
    outcomes: dict[str, Outcome],
) -> None:
    one, other = outcomes["off"], outcomes["processes"]
    assert one.logs == other.logs
    np.testing.assert_array_equal(one.scores, other.scores)


def test_a_batch_gives_the_same_numbers_up_to_rounding(outcomes: dict[str, Outcome]) -> None:
    one, other = outcomes["off"], outcomes["batch"]
    np.testing.assert_allclose(other.scores, one.scores, rtol=1e-4, atol=1e-5)
    for ours, theirs in zip(other.logs, one.logs, strict=True):
        assert len(ours) == len(theirs)
        for found, expected in zip(ours, theirs, strict=True):
            assert found == pytest.approx(expected, rel=1e-4, abs=1e-5)


def test_seeds_differ_and_patience_stops_them_at_different_epochs(
    outcomes: dict[str, Outcome],
) -> None:
    """Else the comparisons above would say little."""
    scores = outcomes["off"].scores
    assert not np.allclose(scores[0], scores[1], atol=1e-2)
    assert len({len(log) for log in outcomes["off"].logs}) > 1


def test_one_after_the_other_every_epoch_is_told(outcomes: dict[str, Outcome]) -> None:
    expected = [
        (seed + epoch / EPOCHS, seed, epoch, losses)
        for seed, log in enumerate(outcomes["off"].logs)
        for epoch, losses in enumerate(log, 1)
    ]
    assert outcomes["off"].told == expected


def test_a_batch_tells_how_far_all_are(outcomes: dict[str, Outcome]) -> None:
    """By the first seed that has not stopped, until the last one has."""
    outcome = outcomes["batch"]
    expected = []
    for epoch in range(1, max(map(len, outcome.logs)) + 1):
        seed = next(seed for seed, log in enumerate(outcome.logs) if len(log) >= epoch)
        losses = outcome.logs[seed][epoch - 1]
        expected.append((SEEDS * epoch / EPOCHS, seed, epoch, losses))
    assert outcome.told == expected


def test_processes_tell_while_they_train(outcomes: dict[str, Outcome]) -> None:
    outcome = outcomes["processes"]
    assert outcome.told
    shares = [done for done, *_ in outcome.told]
    assert shares == sorted(shares)
    assert 0 < shares[0] <= shares[-1] <= SEEDS
    for _, seed, epoch, losses in outcome.told:
        assert losses == outcome.logs[seed][epoch - 1]


def test_each_way_has_checkpoints_of_its_own(outcomes: dict[str, Outcome]) -> None:
    seeds = [f"seed-{seed}" for seed in range(SEEDS)]
    found = {way: outcome.checkpoints for way, outcome in outcomes.items()}
    assert found == {"batch": ["batch"], "processes": seeds, "off": seeds}


@pytest.mark.parametrize("way", WAYS)
def test_event_files_hold_the_numbers_of_the_log(outcomes: dict[str, Outcome], way: str) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    outcome = outcomes[way]
    for seed, log in enumerate(outcome.logs):
        events = accumulator.EventAccumulator(str(outcome.tensorboard / f"seed-{seed}")).Reload()
        names = dict.fromkeys(name for losses in log for name in losses)
        assert sorted(events.Tags()["scalars"]) == sorted(names)
        for name in names:
            found = [(event.step, event.value) for event in events.Scalars(name)]
            expected = [(e, losses[name]) for e, losses in enumerate(log, 1) if name in losses]
            assert [step for step, _ in found] == [epoch for epoch, _ in expected]
            np.testing.assert_allclose(
                [value for _, value in found], [value for _, value in expected], rtol=1e-6
            )


@pytest.mark.parametrize(
    ("asked", "device", "cores", "small", "expected"),
    [
        ("auto", "cpu", 4, True, "processes"),
        ("auto", "cpu", 1, True, "off"),
        ("auto", "cuda:0", 4, True, "batch"),
        ("auto", "cpu", 4, False, "off"),
        ("auto", "cuda", 4, False, "off"),
        ("batch", "cpu", 4, False, "batch"),
        ("processes", "cuda", 1, True, "processes"),
        ("off", "cuda", 4, True, "off"),
    ],
)
def test_a_way_is_taken_that_pays(
    asked: Together,
    device: str,
    cores: int,
    small: bool,
    expected: Together,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(together, "_cores", lambda: cores)
    monkeypatch.setattr("aqakit.models.method.Method.small", small)
    recipe = _recipe()
    assert together._way(recipe, _works(recipe), device, asked) == expected
    assert together._way(recipe, _works(recipe)[:1], device, asked) == "off"


@pytest.mark.parametrize("way", ["batch", "processes"])
@pytest.mark.parametrize("seeds", [1, 2])
def test_a_head_that_is_not_deep_has_one_way(way: Together, seeds: int) -> None:
    recipe = _recipe(head="ranksvm", seeds=seeds)
    with pytest.raises(RecipeError, match="^ranksvm trains in no time; leave --together out$"):
        train_seeds(recipe, _works(recipe), "cpu", way, None, lambda *told: None)
    for fine in ("auto", "off"):
        found = train_seeds(recipe, _works(recipe), "cuda", fine, None, lambda *told: None)
        assert [log for _, log in found] == [[]] * seeds


@pytest.mark.parametrize("way", WAYS)
def test_what_goes_wrong_is_the_one_line_in_every_way(
    way: Together, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(together, "_cores", lambda: 2)
    recipe = _recipe(*SETTINGS)
    none = Targets(np.empty((0, 2), np.int64))
    works = [replace(work, targets=none) for work in _works(recipe)]
    with pytest.raises(RecipeError) as caught:
        train_seeds(recipe, works, "cpu", way, None, lambda *told: None)
    assert str(caught.value).startswith("no pair of two training videos")
    assert "\n" not in str(caught.value)
