import json
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics.pairwise import rbf_kernel
from sklearn.model_selection import GroupKFold
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from aqakit.features.errors import RecipeError
from aqakit.models.data import Targets, VideoFeatures
from aqakit.models.pooling import Moments
from aqakit.models.rank_svm import RankSVM
from aqakit.models.ranking import RankingOptions, ranking_head

SUBJECTS = tuple(f"s{number // 4}" for number in range(40))


def _problem() -> tuple[list[VideoFeatures], Targets]:
    """Many channels of noise, so that a small C is best; each subject has an offset of its own."""
    rng = np.random.default_rng(0)
    skill = rng.normal(size=40)
    rows = rng.normal(size=(40, 30))
    rows[:, 0] += skill
    rows += np.repeat(3 * rng.normal(size=(10, 30)), 4, axis=0)
    noisy = skill + rng.normal(size=40)
    pairs = np.argwhere(noisy[:, None] > noisy[None, :])
    videos = [VideoFeatures.of(f"v{n}", row[None], np.zeros((1, 3))) for n, row in enumerate(rows)]
    return videos, Targets(pairs, subjects=SUBJECTS)


def test_the_search_is_a_slow_one_by_hand() -> None:
    videos, targets = _problem()
    head = ranking_head(RankingOptions(C=2.0, search="grid"), Moments("mean"))
    head.fit(videos, targets)
    rows = np.concatenate([video.values for video in videos])
    pairs = targets.pairs.tolist()
    costs = [2.0 / 30 * factor for factor in (0.01, 0.1, 1, 10, 100)]
    correct = dict.fromkeys(costs, 0)
    for train, held_out in GroupKFold(5).split(rows, groups=np.arange(40) // 4):
        scaler = StandardScaler().fit(rows[train])
        place = {row: number for number, row in enumerate(train.tolist())}
        learned = np.array([[place[a], place[b]] for a, b in pairs if a in place and b in place])
        asked = [(a, b) for a, b in pairs if a in held_out and b in held_out]
        for cost in costs:
            machine = RankSVM(cost).fit(scaler.transform(rows[train]), pairs=learned)
            scores = machine.predict(scaler.transform(rows))
            correct[cost] += sum(scores[a] > scores[b] for a, b in asked)
    best = max(costs, key=lambda cost: correct[cost])
    assert len(set(correct.values())) > 1
    expected = RankSVM(best).fit(StandardScaler().fit_transform(rows), pairs=targets.pairs)
    expected_scores = expected.predict(StandardScaler().fit_transform(rows))
    np.testing.assert_allclose(head.score(videos), expected_scores, rtol=1e-6)
    assert head.explain(videos[0]).notes == {"C": format(best, "g")}


def test_the_kernel_machine_is_libsvm_on_the_kernel_of_pairs() -> None:
    videos, targets = _problem()
    head = ranking_head(RankingOptions(C=0.5, kernel="rbf", gamma=0.7), Moments("mean"))
    pairs = targets.pairs[::9]
    head.fit(videos, Targets(pairs))
    scaled = StandardScaler().fit_transform(np.concatenate([video.values for video in videos]))
    kernel = rbf_kernel(scaled, gamma=0.7 / 30)
    turned = np.concatenate([pairs, pairs[:, ::-1]])
    of_pairs = kernel[turned[:, 0]] - kernel[turned[:, 1]]  # (2 P, V)
    gram = of_pairs[:, turned[:, 0]] - of_pairs[:, turned[:, 1]]
    labels = np.repeat([1, -1], len(pairs))
    machine = SVC(kernel="precomputed", C=0.5, tol=1e-8).fit(gram, labels)
    weights = np.zeros(len(turned))
    weights[machine.support_] = machine.dual_coef_[0]
    expected = weights @ of_pairs
    found = head.score(videos)
    np.testing.assert_allclose(found - found.mean(), expected - expected.mean(), atol=2e-4)
    assert np.ptp(found) > 0.5


def test_a_search_with_a_kernel_tries_c_and_gamma_and_comes_back_from_its_file(
    tmp_path: Path,
) -> None:
    videos, targets = _problem()
    options = RankingOptions(kernel="rbf", search="grid")
    head = ranking_head(options, Moments("mean"))
    head.fit(videos, targets)
    head.save(tmp_path)
    tried = json.loads((tmp_path / "search.json").read_text())["tried"]
    assert {(one["C"], one["gamma"]) for one in tried} == {
        (cost, width / 30) for cost in (0.1, 1.0, 10.0) for width in (0.1, 0.3, 1.0)
    }
    again = ranking_head(options, Moments("mean"))
    again.load(tmp_path)
    assert again.score(videos).tolist() == head.score(videos).tolist()
    assert list(again.explain(videos[0]).curves) == ["occlusion"]


def test_subjects_are_kept_apart_where_they_are_known(tmp_path: Path) -> None:
    videos, targets = _problem()
    held_out = []
    for subjects in (SUBJECTS, ()):
        head = ranking_head(RankingOptions(search="grid"), Moments("mean"))
        head.fit(videos, Targets(targets.pairs, subjects=subjects))
        head.save(tmp_path)
        record = json.loads((tmp_path / "search.json").read_text())
        held_out.append([tried["accuracy"] for tried in record["tried"]])
    assert held_out[0] != held_out[1]


def test_what_cannot_be_searched_is_one_line() -> None:
    videos, _ = _problem()
    head = ranking_head(RankingOptions(search="grid"), Moments("mean"))
    message = (
        "^search=grid cannot try its settings, none of 1 pairs can be held out while another one "
        "trains within the training part; give it more pairs or scores, or set search=none$"
    )
    with pytest.raises(RecipeError, match=message):
        head.fit(videos, Targets(np.array([[0, 1]]), subjects=SUBJECTS))


def test_missing_pairs_are_named_before_anything_is_searched() -> None:
    videos, _ = _problem()
    head = ranking_head(RankingOptions(search="grid"), Moments("mean"))
    with pytest.raises(RecipeError, match="no pair of two training videos"):
        head.fit(videos, Targets(np.zeros((0, 2), np.int64), subjects=SUBJECTS))
