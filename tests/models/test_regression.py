import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.model_selection import GroupKFold
from sklearn.svm import SVR
from sklearn.utils.estimator_checks import check_estimator

from aqakit.features.errors import RecipeError
from aqakit.models.data import Targets, VideoFeatures
from aqakit.models.pooling import Moments
from aqakit.models.regression import Kernel, RegressionOptions, regression_head, regressor
from aqakit.models.searched import Searched

NO_PAIRS = np.zeros((0, 2), np.int64)
KERNELS: list[Kernel] = ["rbf", "linear", "polynomial"]


def _problem() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """40 rows of other scales, and their scores; the last channel is a constant."""
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(40, 4)) * [1, 10, 100, 0] + [0, 5, 0, 7]
    return rows, 50 + 10 * rows[:, 0] + rows[:, 1] ** 2 / 10 + rng.normal(size=40)


def _videos(rows: NDArray[np.float64]) -> list[VideoFeatures]:
    return [VideoFeatures.of(f"v{n}", row[None], np.zeros((1, 3))) for n, row in enumerate(rows)]


def _scaled(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    deviation = rows.std(axis=0)
    return np.asarray((rows - rows.mean(axis=0)) / np.where(deviation > 0, deviation, 1))


@pytest.mark.parametrize("kernel", KERNELS)
def test_it_is_a_scikit_learn_estimator(kernel: Kernel) -> None:
    check_estimator(regressor(RegressionOptions(kernel, degree=2)), on_skip=None)


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("degree", [1, 2])
def test_kernels_are_what_the_options_say(kernel: Kernel, degree: int) -> None:
    rows, scores = _problem()
    options = RegressionOptions(kernel, degree, C=2.0, epsilon=0.2)
    head = regression_head(options, Moments("mean"), "svr", "ranksvm")
    head.fit(_videos(rows), Targets(NO_PAIRS, scores))
    x = _scaled(rows)
    gamma = 1 / (x.shape[1] * x.var())
    products = x @ x.T
    gram = {
        "linear": products,
        "rbf": np.exp(-gamma * ((x[:, None] - x[None]) ** 2).sum(axis=2)),
        "polynomial": (gamma * products + 1) ** degree,
    }[kernel]
    machine = SVR(kernel="precomputed", C=2.0, epsilon=0.2)
    machine.fit(gram, (scores - scores.mean()) / scores.std())
    expected = machine.predict(gram) * scores.std() + scores.mean()
    np.testing.assert_allclose(head.score(_videos(rows)), expected, atol=0.05)


@pytest.mark.parametrize("kernel", KERNELS)
def test_the_search_is_a_slow_one_by_hand(kernel: Kernel) -> None:
    rows, scores = _problem()
    known = np.arange(40) != 3  # one video has no score and is of an own subject
    groups = np.where(known, np.arange(40) % 8, 9)
    subjects = tuple(f"s{group}" for group in groups)
    options = RegressionOptions(kernel, degree=2, C=3.0, epsilon=0.2, search="grid")
    head = regression_head(options, Moments("mean"), "svr", "ranksvm")
    head.fit(_videos(rows), Targets(NO_PAIRS, np.where(known, scores, np.nan), subjects=subjects))

    costs = [3.0 * factor for factor in (0.1, 1, 10, 100, 1000)]
    if kernel == "linear":
        costs = [3.0 / 4 * factor for factor in (0.01, 0.1, 1, 10, 100)]
    gammas = [0.0] if kernel == "linear" else [0.1 / 4, 1 / 4, 10 / 4]
    rows, truth = rows[known], scores[known]
    folds = list(GroupKFold(5).split(rows, groups=groups[known]))
    correct = {}
    for cost in costs:
        for epsilon in (0.2, 1.0):
            for gamma in gammas:
                correct[cost, epsilon, gamma] = 0
                for train, held_out in folds:
                    machine = regressor(options)
                    chosen = {"C": cost, "epsilon": epsilon}
                    if gamma:
                        chosen["gamma"] = gamma
                    machine.regressor.named_steps["regress"].set_params(**chosen)
                    found = machine.fit(rows[train], truth[train]).predict(rows)
                    correct[cost, epsilon, gamma] += sum(
                        found[a] > found[b] and truth[a] > truth[b]
                        for a in held_out
                        for b in held_out
                    )
    cost, epsilon, gamma = max(correct, key=lambda setting: correct[setting])
    expected = {"C": format(cost, "g"), "epsilon": format(epsilon, "g")}
    if gamma:
        expected["gamma"] = format(gamma, "g")
    assert head.explain(_videos(rows)[0]).notes == expected
    assert len(set(correct.values())) > 1


def test_a_head_without_a_search_has_chosen_nothing() -> None:
    rows, scores = _problem()
    head = regression_head(RegressionOptions(), Moments("mean"), "svr", "ranksvm")
    head.fit(_videos(rows), Targets(NO_PAIRS, scores))
    assert head.explain(_videos(rows)[0]).notes == {}


def test_equal_scores_cannot_be_searched() -> None:
    rows, _ = _problem()
    head = regression_head(RegressionOptions(search="grid"), Moments("mean"), "svr", "ranksvm")
    with pytest.raises(RecipeError, match="none of 0 pairs can be held out"):
        head.fit(_videos(rows), Targets(NO_PAIRS, np.ones(40)))


def test_missing_scores_are_named() -> None:
    rows, _ = _problem()
    head = regression_head(RegressionOptions(), Moments("mean"), "some-head", "another")
    message = "some-head learns from scores and 0 training videos .* or take another, which learns"
    with pytest.raises(RecipeError, match=message):
        head.fit(_videos(rows), Targets(NO_PAIRS))


def test_options_are_checked() -> None:
    with pytest.raises(ValueError, match="degree is 0"):
        RegressionOptions(degree=0)
    with pytest.raises(ValueError, match="C is 0"):
        RegressionOptions(C=0.0)
    with pytest.raises(ValueError, match="epsilon is -1"):
        RegressionOptions(epsilon=-1.0)


def test_the_search_counts_pairs_of_the_labels_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[NDArray[np.int64] | None] = []
    fit = Searched.fit

    def watch(self: Searched, X: object, y: object, pairs: object, groups: object) -> Searched:
        seen.append(pairs)  # type: ignore[arg-type]
        return fit(self, X, y, pairs, groups)  # type: ignore[arg-type]

    monkeypatch.setattr(Searched, "fit", watch)
    rows, scores = _problem()
    tasks = np.arange(40) % 2
    within = np.argwhere((scores[:, None] > scores) & (tasks[:, None] == tasks))
    scores[[0, 7]] = np.nan
    head = regression_head(RegressionOptions(search="grid"), Moments("mean"), "svr", "ranksvm")
    head.fit(_videos(rows), Targets(within, scores))
    assert seen[0] is not None
    known = np.delete(np.arange(40), [0, 7])
    found = {(known[a], known[b]) for a, b in seen[0]}
    assert found == {(a, b) for a, b in within.tolist() if not {a, b} & {0, 7}}
    head.fit(_videos(rows), Targets(NO_PAIRS, scores))
    assert seen[1] is None
