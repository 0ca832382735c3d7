"""Explanations on disk: whole, readable by other programs, whatever the videos are called."""

import csv
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from aqakit.features.errors import RecipeError
from aqakit.models.data import Targets, VideoFeatures
from aqakit.models.explanations import Explained, explain_all, write_explanations
from aqakit.models.head import Explanation
from aqakit.models.heads import rank_aware_attention, ranksvm, siamese_lstm

TIMES = np.array([[0.0, 0.5, 1.0], [1.0, 1.5, 2.0]])


def explained(*ids: str, maps: NDArray[np.float64] | None = None) -> Explained:
    found = {
        video: Explanation(
            TIMES,
            {"similarity": np.array([0.25, 0.75])},
            {"expert": 1.5},
            {} if maps is None else {"attention": maps},
            {"faulty": np.array([True, False])},
            {"expert": "<b>&"},
        )
        for video in ids
    }
    scores = {video: float(number) for number, video in enumerate(ids)}
    return Explained(scores, found, None)


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def videos(count: int) -> tuple[list[VideoFeatures], Targets]:
    rng = np.random.default_rng(0)
    times = np.stack([np.arange(3.0), np.arange(3.0) + 0.5, np.arange(3.0) + 1], axis=1)
    found = [
        VideoFeatures.of(f"v{number}", rng.normal(number / 2, 1, (3, 4)), times)
        for number in range(count)
    ]
    scores = np.arange(count, dtype=float)
    return found, Targets(np.argwhere(scores[:, None] > scores), scores)


@pytest.mark.parametrize(
    "ids", [("a", "b"), ("../up", "x/y", 'q"uote,comma', "long" * 100, "ü\u202e")]
)
def test_files_are_found_by_the_index_under_any_name(ids: Sequence[str], tmp_path: Path) -> None:
    write_explanations(explained(*ids), tmp_path / "why")
    index = json.loads((tmp_path / "why" / "explanations.json").read_text())
    assert list(index) == list(ids)
    assert [path.name for path in tmp_path.iterdir()] == ["why"]
    for number, video in enumerate(ids):
        entry = index[video]
        assert entry["score"] == number
        assert entry["parts"] == {"expert": 1.5}
        assert entry["notes"] == {"expert": "<b>&"}
        assert "maps" not in entry
        first, second = rows(tmp_path / "why" / entry["steps"])
        assert first == {
            "start_seconds": "0.0",
            "centre_seconds": "0.5",
            "end_seconds": "1.0",
            "similarity": "0.25",
            "faulty": "1",
        }
        assert second["faulty"] == "0"


def test_maps_are_kept_or_enlarged_and_a_wrong_size_leaves_what_was_there(tmp_path: Path) -> None:
    maps = np.full((2, 2, 2), 0.25)
    made = explained("v", maps=maps)
    for size, shape in ((None, (2, 2, 2)), ((4, 6), (2, 4, 6))):
        write_explanations(made, tmp_path / "why", size)
        (path,) = (tmp_path / "why").glob("*.npz")
        with np.load(path) as found:
            assert found["attention"].shape == shape
            np.testing.assert_allclose(found["attention"].sum(axis=(1, 2)), 1, rtol=1e-6)
    before = sorted((tmp_path / "why").iterdir())
    with pytest.raises(RecipeError, match="--size: size is "):
        write_explanations(made, tmp_path / "why", (1, 1))
    assert sorted((tmp_path / "why").iterdir()) == before
    assert [path.name for path in tmp_path.iterdir()] == ["why"]


def test_a_head_without_an_embedding_has_no_plane(tmp_path: Path) -> None:
    some, targets = videos(8)
    head = ranksvm.build(ranksvm.Options(), 0, "cpu")
    head.fit(some, targets)
    made = explain_all(head, some)
    assert made.embedding is None
    np.testing.assert_array_equal(list(made.scores.values()), head.score(some))
    write_explanations(made, tmp_path / "why")
    assert not (tmp_path / "why" / "embedding.csv").exists()


def test_embedded_videos_lie_in_the_plane_in_their_order(tmp_path: Path) -> None:
    some, targets = videos(9)
    options = siamese_lstm.Options(hidden=4, pairs=20, epochs=1, scoring_epochs=1)
    head = siamese_lstm.build(options, 0, "cpu")
    head.fit(some, targets)
    made = explain_all(head, some, seed=3)
    write_explanations(made, tmp_path / "why")
    places = rows(tmp_path / "why" / "embedding.csv")
    assert [place["id"] for place in places] == [video.id for video in some]
    assert made.embedding is not None
    for place, (x, y) in zip(places, made.embedding.tolist(), strict=True):
        assert (float(place["x"]), float(place["y"])) == (x, y)
    again = explain_all(head, some, seed=3).embedding
    assert again is not None
    np.testing.assert_array_equal(again, made.embedding)


def test_filters_are_compared_over_all_videos(tmp_path: Path) -> None:
    some, targets = videos(5)
    options = rank_aware_attention.Options(filters=2, hidden=3, epochs=2)
    head = rank_aware_attention.build(options, 0, "cpu")
    head.fit(some, targets)
    write_explanations(explain_all(head, some), tmp_path / "why")
    table = np.array(
        [
            list(map(float, row.values()))
            for row in rows(tmp_path / "why" / "filter_correlation.csv")
        ]
    )
    expected = np.zeros((2, 2))
    for video in some:
        curves = head.explain(video).curves
        for i in range(2):
            for j in range(2):
                pair = curves[f"high_filter_{i + 1}"], curves[f"low_filter_{j + 1}"]
                expected[i, j] += np.corrcoef(*pair)[0, 1] / len(some)
    np.testing.assert_allclose(table, expected, rtol=1e-6)
