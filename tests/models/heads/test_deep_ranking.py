import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from aqakit.features.errors import RecipeError
from aqakit.models.data import Stream, Targets, VideoFeatures
from aqakit.models.deep import DeepHead, Job, fit_batched
from aqakit.models.head import DEFAULT_SESSION
from aqakit.models.heads.deep_ranking import (
    DeepRanking,
    Options,
    SegmentRanker,
    build,
    losses,
    ranking_loss,
    similar_pairs,
    similarity_loss,
)
from aqakit.models.members import Stacked
from aqakit.models.metrics import pairwise_accuracy
from aqakit.models.network import Batch, along_steps, off_steps
from aqakit.models.two_stream import fused, steps_at, take_steps, video_scores

CHANNELS = {"rgb": 4, "flow": 3}
SEGMENTS = 6
SMALL = Options(epochs=4, batch_pairs=4, learning_rate=0.01, dropout=0.5, similarity=True)
SEEDS = st.integers(0, 1000)
QUICK = settings(max_examples=25, deadline=None)
CPU = torch.device("cpu")


def _network(
    seed: int = 0, roles: Sequence[str] = ("rgb", "flow"), segments: int = 3, dropout: float = 0.0
) -> SegmentRanker:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        shapes = {role: (CHANNELS[role],) for role in roles}
        return SegmentRanker(shapes, segments, dropout).double()


def _batch(seed: int, videos: int, mask: Tensor | None = None, segments: int = SEGMENTS) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    values = {
        role: torch.randn(videos, segments, channels, generator=generator, dtype=torch.float64)
        for role, channels in CHANNELS.items()
    }
    return Batch(values, mask)


def _mask(lengths: list[int], segments: int = SEGMENTS) -> Tensor:
    return torch.arange(segments) < torch.tensor(lengths)[:, None]


def _drawn(network: SegmentRanker, videos: int, seed: int = 0) -> dict[str, Tensor]:
    found = network.draw(videos, SEGMENTS, torch.Generator().manual_seed(seed), CPU)
    return {name: tensor.double() for name, tensor in found.items()}


def _plain_score(network: SegmentRanker, role: str, row: Tensor) -> float:
    layer: Any = network.rank[role]
    weights, bias = layer.weight[0].tolist(), layer.bias.item()
    return float(sum(w * x for w, x in zip(weights, row.tolist(), strict=True)) + bias)


# Which segments are drawn.


@given(SEEDS, st.lists(st.integers(1, 40), min_size=1, max_size=5), st.integers(1, 5))
@QUICK
def test_a_segment_of_each_part_is_drawn(seed: int, lengths: list[int], parts: int) -> None:
    longest = max(lengths)
    generator = torch.Generator().manual_seed(seed)
    places = torch.rand(len(lengths), parts, generator=generator, dtype=torch.float64)
    found = steps_at(places, _mask(lengths, longest), longest)
    for row, (length, chosen) in enumerate(zip(lengths, found.tolist(), strict=True)):
        for part, step in enumerate(chosen):
            assert step == min(
                math.floor((part + float(places[row, part])) * length / parts), length - 1
            )
            assert math.floor(part * length / parts) <= step < (part + 1) * length / parts
    if lengths.count(longest) == len(lengths):
        assert steps_at(places, None, longest).equal(found)


def test_every_segment_of_a_part_is_as_likely() -> None:
    places = torch.rand(30000, 3, generator=torch.Generator().manual_seed(0))
    found = steps_at(places, None, 12)
    for part in range(3):
        counts = found[:, part].bincount(minlength=12) / 30000
        expected = [0.25 if step // 4 == part else 0 for step in range(12)]
        assert counts.tolist() == pytest.approx(expected, abs=0.02)


def test_a_place_that_is_rounded_up_stays_in_the_video() -> None:
    last = torch.nextafter(torch.ones(1, 3), torch.zeros(1, 3))
    assert steps_at(last, None, 400)[0, 2] == 399
    assert steps_at(last, _mask([1]), SEGMENTS).tolist() == [[0, 0, 0]]


def test_rows_are_taken_where_the_steps_are() -> None:
    rows = torch.arange(2 * 4 * 3).view(2, 4, 3).double()
    steps = torch.tensor([[0, 3], [2, 2]])
    assert take_steps(rows, steps).tolist() == [
        [rows[0, 0].tolist(), rows[0, 3].tolist()],
        [rows[1, 2].tolist(), rows[1, 2].tolist()],
    ]


@given(st.integers(1, 4), st.integers(1, 20), st.integers(1, 7), st.integers(0, 3))
@QUICK
def test_numbers_ride_along_the_steps(videos: int, count: int, steps: int, more: int) -> None:
    numbers = torch.arange(1, videos * count + 1).view(videos, count).double()
    carried = along_steps(numbers, steps)
    assert carried.shape[:2] == (videos, steps)
    grown = torch.cat([carried, torch.zeros(videos, more, carried.shape[2])], dim=1)
    assert off_steps(grown, count).equal(numbers)


# Losses.


def test_a_pair_is_ranked_segment_by_segment() -> None:
    better, worse = torch.tensor([[2.0, 0.0, 1.0, 0.5]]), torch.tensor([[0.0, 0.5, 1.0, 0.0]])
    assert ranking_loss(better, worse, 1.0).tolist() == [(0 + 1.5 + 1 + 0.5) / 4]
    # A pair in the right order as a whole still costs where single segments are not.
    assert better.mean() > worse.mean()


def test_videos_of_like_skill_may_differ_by_the_margin() -> None:
    one, other = torch.tensor([[0.0, 3.0, 1.0, 2.0]]), torch.tensor([[0.5, 1.0, 3.5, 2.0]])
    expected = [(0 + 1 + 1.5 + 0) / 4]
    assert similarity_loss(one, other, 1.0).tolist() == expected
    assert similarity_loss(other, one, 1.0).tolist() == expected


POSITIONS = torch.tensor([[0, 1], [2, 1], [3, 0], [2, 3]])
ORDERED = torch.tensor([[1.0], [0.0], [1.0], [0.0]], dtype=torch.float64)


@pytest.mark.parametrize("similarity", [True, False])
def test_loss_weighs_ranking_against_similarity(similarity: bool) -> None:
    network, batch = _network(), _batch(1, 4)
    options = replace(SMALL, margin=0.3, beta=0.7, similarity=similarity)
    encoding = network.encode(batch, _drawn(network, 4))
    found = losses(options, network, batch, encoding, POSITIONS, ORDERED)
    expected: dict[str, list[float]] = {}
    for role, scores in zip(("rgb", "flow"), encoding, strict=True):
        ranking, alike = [], []
        for (i, j), (label,) in zip(POSITIONS.tolist(), ORDERED.tolist(), strict=True):
            gaps = [a.item() - b.item() for a, b in zip(scores[i], scores[j], strict=True)]
            hinges = sum(max(0.0, 0.3 - gap) for gap in gaps) / 3
            excess = sum(max(0.0, abs(gap) - 0.3) for gap in gaps) / 3
            weight = 0.7 if similarity else 1.0
            ranking.append(weight * hinges if label else 0.0)
            alike.append(0.0 if label else 0.3 * excess)
        expected[f"ranking_{role}"] = ranking
        if similarity:
            expected[f"similarity_{role}"] = alike
    assert list(found) == list(expected)
    for name, terms in expected.items():
        assert found[name].tolist() == pytest.approx(terms)
        assert sum(terms) > 0


@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_gradients_of_network_and_losses(dropout: float) -> None:
    network = _network(dropout=dropout)
    batch, drawn = _batch(2, 4, _mask([6, 4, 2, 5])), _drawn(network, 4)
    names, values = zip(*network.named_parameters(), strict=True)
    options = replace(SMALL, margin=0.3)

    def terms(*parameters: Tensor) -> Tensor:
        def of(network: Any) -> Tensor:
            encoding = network.encode(batch, drawn)
            found = losses(options, network, batch, encoding, POSITIONS, ORDERED)
            return torch.stack(list(found.values()))

        state = dict(zip(names, parameters, strict=True))
        found: Tensor = torch.func.functional_call(network, state, (of,))
        return found

    assert torch.autograd.gradcheck(terms, values)


# The network.


@pytest.mark.parametrize("lengths", [None, [6, 1, 3]])
def test_all_segments_are_scored_where_none_are_drawn(lengths: list[int] | None) -> None:
    network = _network(dropout=0.9)
    mask = None if lengths is None else _mask(lengths)
    batch = _batch(3, 3, mask)
    for role, scores in zip(network.streams, network.encode(batch, {}), strict=True):
        means = video_scores(scores, mask)
        for video, length in enumerate(lengths or [SEGMENTS] * 3):
            rows = batch.values[role][video, :length]
            expected = [_plain_score(network, role, row) for row in rows]
            assert scores[video, :length].tolist() == pytest.approx(expected)
            assert means[video].item() == pytest.approx(sum(expected) / length)


@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_training_scores_what_is_drawn(dropout: float) -> None:
    network, lengths = _network(dropout=dropout), [6, 1, 3]
    batch, drawn = _batch(4, 3, _mask(lengths)), _drawn(network, 3)
    seen = set()
    for role, scores in zip(network.streams, network.encode(batch, drawn), strict=True):
        assert scores.shape == (3, 3)
        places = drawn[f"{role}_places"].flatten(1)
        kept = torch.ones(3, 3 * CHANNELS[role])
        if dropout:
            kept = drawn[f"{role}_kept"].flatten(1)[:, : 3 * CHANNELS[role]]
            assert set(kept.unique().tolist()) == {0, 2}
        for video, length in enumerate(lengths):
            for part in range(3):
                step = math.floor((part + float(places[video, part])) * length / 3)
                seen.add((role, video, step))
                own = kept[video, part * CHANNELS[role] : (part + 1) * CHANNELS[role]]
                row = batch.values[role][video, step] * own
                expected = _plain_score(network, role, row)
                assert scores[video, part].item() == pytest.approx(expected)
    assert len({step for role, video, step in seen if video == 0}) > 3  # streams draw their own


@pytest.mark.parametrize("training", [False, True])
@given(seed=SEEDS, order=st.permutations(range(4)))
@QUICK
def test_order_of_videos_changes_nothing(training: bool, seed: int, order: list[int]) -> None:
    network, batch = _network(dropout=0.5), _batch(seed, 4, _mask([6, 2, 5, 1]))
    drawn = _drawn(network, 4, seed) if training else {}
    assert batch.mask is not None
    moved = Batch({r: v[order] for r, v in batch.values.items()}, batch.mask[order])
    found = network.encode(moved, {name: tensor[order] for name, tensor in drawn.items()})
    for one, other in zip(found, network.encode(batch, drawn), strict=True):
        assert torch.allclose(one, other[order], rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("training", [False, True])
@given(seed=SEEDS, more=st.integers(0, 4), filler=st.floats(-1e6, 1e6))
@QUICK
def test_padding_changes_nothing(training: bool, seed: int, more: int, filler: float) -> None:
    network, batch = _network(dropout=0.5), _batch(seed, 2)
    drawn = _drawn(network, 2, seed) if training else {}
    padding = {r: torch.full((2, more, c), filler).double() for r, c in CHANNELS.items()}
    wider = {role: torch.cat([batch.values[role], padding[role]], dim=1) for role in CHANNELS}
    padded = Batch(wider, _mask([SEGMENTS] * 2, SEGMENTS + more))
    grown = {
        name: torch.cat([t, t.new_zeros(2, more, t.shape[2])], dim=1) for name, t in drawn.items()
    }
    pairs = zip(network.encode(batch, drawn), network.encode(padded, grown), strict=True)
    for plain, found in pairs:
        assert torch.allclose(found[:, : plain.shape[1]], plain, rtol=1e-10, atol=1e-10)
        if not training:
            means = video_scores(plain, None)
            assert torch.allclose(video_scores(found, padded.mask), means, rtol=1e-10, atol=1e-10)


@given(SEEDS, st.integers(1, 4))
@QUICK
def test_splitting_a_batch_changes_nothing(seed: int, first: int) -> None:
    network, batch = _network(), _batch(seed, 5)
    parts = [
        network.encode(Batch({r: v[part] for r, v in batch.values.items()}), {})
        for part in (slice(first), slice(first, None))
    ]
    whole = network.encode(batch, {})
    for *halves, together in zip(*parts, whole, strict=True):
        assert torch.allclose(torch.cat(halves), together, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("training", [False, True])
def test_many_networks_at_once_are_each_alone(training: bool) -> None:
    networks = [_network(seed, dropout=0.5) for seed in range(3)]
    stacked = Stacked(networks)
    masks = [_mask([6, 2, 5, number + 1]) for number in range(3)]
    batches = [_batch(number, 4, mask) for number, mask in enumerate(masks)]
    drawn = [_drawn(networks[0], 4, number) if training else {} for number in range(3)]
    together = Batch(
        {role: torch.stack([b.values[role] for b in batches]) for role in CHANNELS},
        torch.stack(masks),
    )
    numbers = {name: torch.stack([one[name] for one in drawn]) for name in drawn[0]}
    encoding = stacked.encode(together, numbers)
    positions = torch.stack([POSITIONS, POSITIONS.flip(0), POSITIONS.flip(1)])
    labels = torch.stack([ORDERED, 1 - ORDERED, ORDERED])
    phase = DeepRanking(SMALL).stages(_videos(0), _targets(), _rng())[0].phases[0]
    terms = stacked.losses(phase, together, encoding, positions, labels)
    for number, network in enumerate(networks):
        alone = network.encode(batches[number], drawn[number])
        for one, other in zip(encoding, alone, strict=True):
            assert torch.allclose(one[number], other)
        expected = losses(SMALL, network, batches[number], alone, positions[number], labels[number])
        assert terms.keys() == expected.keys()
        assert all(torch.allclose(terms[name][number], expected[name]) for name in terms)


def test_streams_are_fused_by_weight() -> None:
    rgb, flow = torch.tensor([1.0, 2.0]), torch.tensor([3.0, -2.0])
    assert fused({"rgb": rgb, "flow": flow}, 0.25).tolist() == [2.5, -1.0]
    assert fused({"flow": flow, "rgb": rgb}, 0.25).tolist() == [2.5, -1.0]
    assert fused({"flow": flow}, 0.25).equal(flow)
    assert fused({"rgb": rgb}, 0.25).equal(rgb)


# Pairs without preference.


def _listed(count: int, tasks: Sequence[str | None]) -> list[VideoFeatures]:
    return [
        VideoFeatures.of(f"v{n}", np.zeros((1, 1)), np.zeros((1, 3)), task=task)
        for n, task in zip(range(count), tasks, strict=True)
    ]


@given(
    st.integers(2, 7).flatmap(
        lambda n: st.tuples(
            st.lists(st.tuples(st.integers(0, n - 1), st.integers(0, n - 1)), min_size=1),
            st.lists(st.sampled_from(["a", "b", None]), min_size=n, max_size=n),
        )
    )
)
@settings(max_examples=100, deadline=None)
def test_videos_are_alike_where_no_chain_of_pairs_orders_them(
    drawn: tuple[list[tuple[int, int]], list[str | None]],
) -> None:
    pairs, tasks = drawn
    count = len(tasks)

    def reaches(start: int, end: int) -> bool:
        seen, waiting = {start}, [start]
        while waiting:
            here = waiting.pop()
            for better, worse in pairs:
                if better == here and worse == end:
                    return True
                if better == here and worse not in seen:
                    seen.add(worse)
                    waiting.append(worse)
        return False

    compared = {video for pair in pairs for video in pair}
    expected = [
        [i, j]
        for i in range(count)
        for j in range(i + 1, count)
        if {i, j} <= compared and tasks[i] == tasks[j] and not reaches(i, j) and not reaches(j, i)
    ]
    assert similar_pairs(_listed(count, tasks), np.array(pairs)).tolist() == expected


def test_a_missing_task_is_no_task_of_that_name() -> None:
    pairs = np.array([[0, 2], [1, 2]])
    assert similar_pairs(_listed(3, ["None", None, None]), pairs).tolist() == []
    assert similar_pairs(_listed(3, [None, None, None]), pairs).tolist() == [[0, 1]]


def test_pairs_without_preference_train_too() -> None:
    videos = _videos(0)
    pairs = np.array([[0, 1], [1, 2], [0, 3], [3, 4]])
    (stage,) = DeepRanking(SMALL).stages(videos, Targets(pairs), _rng())
    assert stage.examples.tolist() == [*pairs.tolist(), [1, 3], [1, 4], [2, 3], [2, 4]]
    assert stage.labels.ravel().tolist() == [1] * 4 + [0] * 4
    assert stage.schedule.vary
    plain = DeepRanking(replace(SMALL, similarity=False))
    (stage,) = plain.stages(videos, Targets(pairs), _rng())
    assert stage.examples.tolist() == pairs.tolist()
    assert stage.labels.ravel().tolist() == [1] * 4


# The head.


def _rng() -> np.random.Generator:
    return np.random.default_rng(0)


def _times(segments: int) -> NDArray[np.float64]:
    starts = np.arange(segments, dtype=np.float64)
    return np.stack([starts, starts + 0.5, starts + 1], axis=1)


def _videos(
    seed: int, count: int = 6, roles: Sequence[str] = ("rgb", "flow")
) -> list[VideoFeatures]:
    """Videos of 4 to 6 segments."""
    rng = np.random.default_rng(seed)
    found = []
    for number in range(count):
        length = 4 + number % 3
        values = {r: rng.normal(size=(length, c)).astype("f4") for r, c in CHANNELS.items()}
        streams = {role: Stream(values[role], _times(length)) for role in roles}
        found.append(VideoFeatures(f"v{number}", streams, task="knot"))
    return found


PAIRS = np.array([[0, 1], [1, 2], [0, 3], [4, 1], [5, 2]])


def _targets() -> Targets:
    return Targets(PAIRS)


def _fitted(
    options: Options = SMALL, roles: Sequence[str] = ("rgb", "flow"), seed: int = 0
) -> DeepHead:
    head = build(options, seed, "cpu")
    head.fit(_videos(0, roles=roles), _targets())
    return head


def _skilled(seed: int) -> tuple[list[VideoFeatures], NDArray[np.int64]]:
    """Skill shows in channel 0 of both streams; pairs are all pairs."""
    rng = np.random.default_rng(seed)
    skill = rng.normal(size=20)
    videos = []
    for number, level in enumerate(skill):
        values = {r: rng.normal(size=(8, c)) for r, c in CHANNELS.items()}
        for rows in values.values():
            rows[:, 0] += level
        streams = {role: Stream(rows, _times(8)) for role, rows in values.items()}
        videos.append(VideoFeatures(f"v{number}", streams))
    return videos, np.argwhere(skill[:, None] > skill)


@pytest.mark.parametrize("similarity", [True, False])
def test_it_learns_what_is_there(similarity: bool) -> None:
    (videos, pairs), (others, truth) = _skilled(0), _skilled(1)
    options = Options(epochs=20, dropout=0.2, learning_rate=0.01, similarity=similarity)
    head = build(options, 0, "cpu")
    log = head.fit(videos, Targets(pairs))
    assert log[-1]["ranking_rgb"] < 0.9 * log[0]["ranking_rgb"]
    right = pairwise_accuracy(head.score(others), truth).accuracy
    assert right > 0.85
    backwards = build(options, 0, "cpu")
    backwards.fit(videos, Targets(pairs[:, ::-1].copy()))
    assert pairwise_accuracy(backwards.score(others), truth).accuracy < 0.15


def test_similar_videos_are_pulled_together() -> None:
    videos = _videos(0)
    pairs = np.array([[0, 1], [2, 3]])
    gaps = {}
    for similarity in (True, False):
        options = Options(
            epochs=150, learning_rate=0.02, dropout=0.0, similarity=similarity, beta=0.1
        )
        head = build(options, 0, "cpu")
        head.fit(videos, Targets(pairs))
        scores = head.score(videos)
        gaps[similarity] = max(abs(scores[i] - scores[j]) for i, j in similar_pairs(videos, pairs))
    assert gaps[True] < 0.8 * gaps[False]


def test_streams_are_trained_each_on_its_own() -> None:
    videos = _videos(0)
    altered = [
        VideoFeatures(
            v.id,
            {
                "rgb": v.streams["rgb"],
                "flow": Stream(5 * v.streams["flow"].values[::-1], v.streams["flow"].times),
            },
            v.task,
        )
        for v in videos
    ]
    parts = []
    for training in (videos, altered):
        head = build(SMALL, 0, "cpu")
        head.fit(training, _targets())
        parts.append([head.explain(video).scores for video in videos])
    for one, other in zip(*parts, strict=True):
        assert one["rgb"] == other["rgb"]
        assert one["flow"] != pytest.approx(other["flow"])


@pytest.mark.parametrize("roles", [("rgb", "flow"), ("rgb",), ("flow",)])
def test_explanation_tells_what_made_the_score(roles: tuple[str, ...]) -> None:
    options = replace(SMALL, rgb_weight=0.3)
    head = _fitted(options, roles)
    network: Any = head._trained
    for video in _videos(7, roles=roles):
        explanation = head.explain(video)
        score = head.score([video])[0]
        assert np.array_equal(explanation.times, video.times)
        assert list(explanation.curves) == [*(f"{role}_score" for role in roles), "score"]
        assert list(explanation.scores) == list(roles)
        weights = {"rgb": 0.3, "flow": 0.7} if len(roles) == 2 else {roles[0]: 1.0}
        for role in roles:
            curve = explanation.curves[f"{role}_score"]
            assert curve.shape == (len(video.values),)
            assert curve.mean() == pytest.approx(explanation.scores[role], rel=1e-5)
            rows = torch.from_numpy(video.streams[role].values)
            expected = [_plain_score(network, role, row) for row in rows]
            assert curve.tolist() == pytest.approx(expected, rel=1e-5, abs=1e-6)
        total = sum(weights[role] * explanation.scores[role] for role in roles)
        assert total == pytest.approx(score, rel=1e-5)
        assert explanation.curves["score"].mean() == pytest.approx(score, rel=1e-5)


CHANGES: dict[str, Callable[[Options], Options]] = {
    "margin": lambda o: replace(o, margin=0.2),
    "beta": lambda o: replace(o, beta=0.9),
    "similarity": lambda o: replace(o, similarity=False),
    "segments": lambda o: replace(o, segments=2),
    "dropout": lambda o: replace(o, dropout=0.0),
    "rgb_weight": lambda o: replace(o, rgb_weight=0.7),
    "epochs": lambda o: replace(o, epochs=5),
    "batch_pairs": lambda o: replace(o, batch_pairs=3),
    "learning_rate": lambda o: replace(o, learning_rate=0.02),
    "momentum": lambda o: replace(o, momentum=0.0),
    "weight_decay": lambda o: replace(o, weight_decay=0.5),
    "standardise": lambda o: replace(o, standardise=True),
}


@pytest.mark.parametrize("name", CHANGES)
def test_each_option_matters(name: str) -> None:
    changed = CHANGES[name](SMALL)
    assert not np.allclose(_fitted(changed).score(_videos(1)), _fitted().score(_videos(1)))


@pytest.mark.parametrize("roles", [("rgb", "flow"), ("flow",)])
def test_a_saved_head_is_the_same_head(roles: tuple[str, ...], tmp_path: Path) -> None:
    head, again = _fitted(roles=roles), build(SMALL, 0, "cpu")
    head.save(tmp_path)
    again.load(tmp_path)
    videos = _videos(9, roles=roles)
    np.testing.assert_array_equal(head.score(videos), again.score(videos))
    assert head.explain(videos[0]).scores == again.explain(videos[0]).scores


def test_seeds_repeat_differ_and_train_at_once() -> None:
    first, same, other = (_fitted(seed=seed).score(_videos(1)) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, same)
    assert not np.allclose(first, other)
    heads = [build(SMALL, seed, "cpu") for seed in (0, 1)]
    fit_batched([Job(head, _videos(0), _targets(), DEFAULT_SESSION) for head in heads])
    for head, alone in zip(heads, (first, other), strict=True):
        np.testing.assert_allclose(head.score(_videos(1)), alone, rtol=1e-5, atol=1e-6)


def test_one_of_the_stored_frames_is_drawn() -> None:
    found = []
    for spread in (0.0, 1.0):
        rng = np.random.default_rng(0)
        videos = []
        for number in range(6):
            rows = rng.normal(size=(4, 1, 4)).repeat(3, axis=1)
            rows[:, :2] += spread * rng.normal(size=(4, 2, 4))  # all but the one that scores
            stream = Stream(rows.reshape(12, 4), _times(12), alternatives=3)
            videos.append(VideoFeatures(f"v{number}", {"rgb": stream}))
        head = build(SMALL, 0, "cpu")
        head.fit(videos, _targets())
        found.append(head.score(_videos(1, roles=("rgb",))))
    assert not np.allclose(found[0], found[1])


def test_missing_pairs_and_streams_are_named() -> None:
    head = build(SMALL, 0, "cpu")
    with pytest.raises(RecipeError, match="no pair of two training videos; add pairs"):
        head.fit(_videos(0), Targets(PAIRS[:0], np.arange(6.0)))
    other = [VideoFeatures.of("v0", np.zeros((4, 4)), _times(4))] * 2
    with pytest.raises(RecipeError, match="video 'v0' has none of rgb, flow; give one as"):
        head.fit(other, Targets(np.array([[0, 1]])))
    with pytest.raises(RecipeError, match="video 'v0' has no flow and the head was trained with"):
        _fitted().score(_videos(1, roles=("rgb",)))


@pytest.mark.parametrize(
    "options, message",
    [
        ({"segments": 0}, "segments is 0; it must be at least 1"),
        ({"epochs": 0}, "epochs is 0"),
        ({"batch_pairs": -2}, "batch_pairs is -2"),
        ({"margin": 0.0}, "margin is 0.0; it must be positive and finite"),
        ({"learning_rate": math.nan}, "learning_rate is nan"),
        ({"beta": 0.0}, "beta is 0.0; it must be more than 0 and at most 1"),
        ({"beta": 1.5}, "beta is 1.5"),
        ({"rgb_weight": -0.1}, "rgb_weight is -0.1; it must be from 0 to 1"),
        ({"dropout": 1.0}, "dropout is 1.0; it must be at least 0 and less than 1"),
        ({"momentum": -0.5}, "momentum is -0.5"),
        ({"weight_decay": math.inf}, "weight_decay is inf"),
    ],
)
def test_options_are_checked(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Options(**options)
