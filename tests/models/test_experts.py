import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from aqakit.models.data import VideoFeatures
from aqakit.models.experts import Whom, choose_experts, frequent_kinds, kind_of

KINDS = ("a", "b", "b", "a", "b", "b")
SCORES = np.array([5.0, 9, 3, 8, 9, 3])
WHOM: tuple[Whom, ...] = ("best", "worst", "constant")


def _typed(*kinds: str | tuple[str, str] | None) -> list[VideoFeatures]:
    """Videos of these action types, or of these tasks and action types."""
    found = []
    for number, kind in enumerate(kinds):
        task, action = kind if isinstance(kind, tuple) else (None, kind)
        values, times = np.zeros((2, 3)), np.zeros((2, 3))
        video = VideoFeatures.of(f"v{number}", values, times, task=task, action_type=action)
        found.append(video)
    return found


def _experts_by(
    whom: Whom = "best",
    count: int = 0,
    scores: NDArray[np.float64] = SCORES,
    kind: str | None = "b",
) -> list[int]:
    experts = choose_experts(_typed(*KINDS), scores, whom, count)
    (video,) = _typed(kind)
    return [experts.positions[i] for i in experts.of(video)]


@pytest.mark.parametrize(
    ("whom", "count", "of_a", "of_b", "of_others"),
    [
        ("best", 0, [3], [1, 4], [1, 4]),
        ("best", 1, [3], [1], [1]),
        ("best", 3, [3, 0], [1, 4, 2], [1, 4, 3]),
        ("worst", 0, [0], [2, 5], [2, 5]),
        ("worst", 1, [0], [2], [2]),
        ("constant", 0, [1, 4], [1, 4], [1, 4]),
        ("constant", 1, [1], [1], [1]),
    ],
)
def test_experts_are_of_the_videos_action_type(
    whom: Whom, count: int, of_a: list[int], of_b: list[int], of_others: list[int]
) -> None:
    assert _experts_by(whom, count, kind="a") == of_a
    assert _experts_by(whom, count, kind="b") == of_b
    assert _experts_by(whom, count, kind="never seen") == of_others
    assert _experts_by(whom, count, kind=None) == of_others


def test_videos_without_a_score_are_no_experts() -> None:
    scores = SCORES.copy()
    scores[[1, 3, 0]] = np.nan
    assert _experts_by(scores=scores, kind="b") == [4]
    assert _experts_by(scores=scores, kind="a") == [4]  # none of its own is left


def test_an_unknown_type_falls_back_on_its_task_and_then_on_all() -> None:
    videos = _typed(("dive", "x"), ("dive", "y"), ("vault", "x"))
    experts = choose_experts(videos, np.array([60.0, 70, 15]), "best", 0)
    cases = {
        ("dive", "x"): ("dive, x", 0),
        ("vault", "x"): ("vault, x", 2),
        ("vault", "z"): ("vault", 2),
        ("dive", "z"): ("dive", 1),
        ("skate", "x"): ("all", 1),
    }
    for kind, (name, position) in cases.items():
        (video,) = _typed(kind)
        assert experts.name_of(video) == name
        assert [experts.positions[i] for i in experts.of(video)] == [position]


def test_without_action_types_all_videos_are_of_one() -> None:
    experts = choose_experts(_typed(*[None] * 6), SCORES, "best", 0)
    (video,) = _typed(None)
    assert [experts.positions[i] for i in experts.of(video)] == [1, 4]
    assert experts.name_of(video) == "all"


@given(st.permutations(range(6)), st.sampled_from(WHOM), st.integers(0, 3))
@settings(max_examples=25, deadline=None)
def test_order_of_videos_does_not_choose_experts(order: list[int], whom: Whom, count: int) -> None:
    videos = _typed(*KINDS)
    one = choose_experts(videos, SCORES, whom, count)
    other = choose_experts([videos[i] for i in order], SCORES[order], whom, count)
    for video in videos:
        here = [one.positions[i] for i in one.of(video)]
        assert here == [order[other.positions[i]] for i in other.of(video)]


def test_frequent_kinds_come_first_and_equally_frequent_ones_by_name() -> None:
    videos = _typed("c", ("dive", "a"), "b", None, "c", ("dive", "a"), "b", "c")
    assert frequent_kinds(videos) == [(None, "c"), (None, "b"), ("dive", "a"), (None, None)]
    assert frequent_kinds(videos[::-1]) == frequent_kinds(videos)
    assert [kind_of(video) for video in videos[:2]] == [(None, "c"), ("dive", "a")]
