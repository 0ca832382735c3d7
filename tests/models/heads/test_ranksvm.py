import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.preprocessing import StandardScaler

from aqakit.features.errors import RecipeError
from aqakit.models.data import Targets, VideoFeatures
from aqakit.models.heads import ranksvm
from aqakit.models.heads.ranksvm import Options
from aqakit.models.metrics import pairwise_accuracy
from aqakit.models.rank_svm import RankSVM


def _problem(seed: int, noise: float = 0.5) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Rows whose first channel holds the skill, and pairs by it."""
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(30, 5))
    skill = rows[:, 0] + noise * rng.normal(size=30)
    return rows, np.argwhere(skill[:, None] > skill)


def _features(rows: NDArray[np.float64]) -> list[VideoFeatures]:
    return [
        VideoFeatures.of(f"v{number}", row[None], np.array([[0.0, 0.5, 1]]))
        for number, row in enumerate(rows)
    ]


def test_it_learns_what_is_there_and_nothing_from_noise() -> None:
    rows, pairs = _problem(3)
    test_rows, test_pairs = _problem(4)
    head = ranksvm.build(Options(), 0, "cpu")
    head.fit(_features(rows), Targets(pairs))
    assert pairwise_accuracy(head.score(_features(test_rows)), test_pairs).accuracy > 0.8
    shuffled = []
    for seed in range(20):
        turn = np.random.default_rng(seed).random(len(pairs)) < 0.5
        head.fit(_features(rows), Targets(np.where(turn[:, None], pairs[:, ::-1], pairs)))
        scores = head.score(_features(test_rows))
        shuffled.append(pairwise_accuracy(scores, test_pairs).accuracy)
    assert 0.35 < np.mean(shuffled) < 0.65


def test_seed_and_device_do_not_matter() -> None:
    rows, pairs = _problem(5)
    scores = []
    for seed, device in ((0, "cpu"), (3, "cuda")):
        head = ranksvm.build(Options(), seed, device)
        head.fit(_features(rows), Targets(pairs))
        scores.append(head.score(_features(rows)))
    np.testing.assert_array_equal(scores[0], scores[1])


def test_missing_pairs_are_named() -> None:
    with pytest.raises(RecipeError, match="no pair of two training videos"):
        ranksvm.build(Options(), 0, "cpu").fit(
            _features(np.eye(3)), Targets(np.zeros((0, 2), np.int64), np.arange(3.0))
        )


@pytest.mark.parametrize("cost", [0.0, -1.0, float("nan"), float("inf")])
def test_options_are_checked(cost: float) -> None:
    with pytest.raises(ValueError, match=f"C is {cost}"):
        Options(C=cost)


def test_it_is_a_ranksvm_on_standardised_statistics() -> None:
    rng = np.random.default_rng(0)
    videos = [
        VideoFeatures.of(f"v{n}", rng.normal(size=(5, 2)), np.zeros((5, 3))) for n in range(9)
    ]
    pairs = np.array([[0, 1], [2, 3], [5, 4], [8, 7]])
    head = ranksvm.build(Options(C=0.3, pooling="mean-deviation"), 0, "cpu")
    head.fit(videos, Targets(pairs))
    rows = np.array([[*v.values.mean(axis=0), *v.values.std(axis=0)] for v in videos])
    rows = StandardScaler().fit_transform(rows)
    expected = RankSVM(0.3).fit(rows, pairs=pairs).predict(rows)
    np.testing.assert_allclose(head.score(videos), expected, rtol=1e-9)
