from collections.abc import Sequence

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from aqakit.features.errors import RecipeError
from aqakit.models.data import FeatureTensors, VideoFeatures
from aqakit.models.losses import margin_ranking_loss
from aqakit.models.training import EpochLog, Losses, Phase, Schedule, steps_of, train

VIDEOS, SEGMENTS, CHANNELS = 7, 4, 3


class Two(nn.Module):
    """Two linear scores of the mean segment; what it was given is kept."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.one = nn.Parameter(torch.randn(CHANNELS, generator=generator))
        self.two = nn.Parameter(torch.randn(CHANNELS, generator=generator))
        self.seen: list[Tensor] = []

    def forward(self, features: Tensor, mask: Tensor | None) -> Tensor:
        self.seen.append(features)
        if mask is None:
            pooled = features.mean(dim=1)
        else:
            pooled = (features * mask[..., None]).sum(dim=1) / mask.sum(dim=1, keepdim=True)
        return torch.stack([pooled @ self.one, (pooled @ self.two).tanh()], dim=1)


def _one(scores: Tensor, better: Tensor, worse: Tensor) -> Losses:
    total = scores.sum(dim=1)  # both sets of parameters count
    return {"one": margin_ranking_loss(total[better], total[worse], 1.0)}


def _two(scores: Tensor, better: Tensor, worse: Tensor) -> Losses:
    product = scores.prod(dim=1)
    return {
        "two": margin_ranking_loss(product[better], product[worse], 0.5),
        "size": scores[better].square().mean() + scores[worse].square().mean(),
    }


def _phases(network: Two) -> list[Phase]:
    return [Phase([network.one], 0.1, _one), Phase([network.two], 0.02, _two)]


def _videos(lengths: Sequence[int] = (SEGMENTS,) * VIDEOS) -> list[VideoFeatures]:
    rng = np.random.default_rng(0)
    return [
        VideoFeatures(
            f"v{number}", rng.normal(size=(length, CHANNELS)), np.zeros((length, 3), dtype=float)
        )
        for number, length in enumerate(lengths)
    ]


def _pairs(count: int = 11) -> NDArray[np.int64]:
    every = [(i, j) for i in range(VIDEOS) for j in range(VIDEOS) if i != j]
    return np.random.default_rng(1).permutation(np.array(every))[:count]


def _train(
    schedule: Schedule, seed: int = 0, features: FeatureTensors | None = None
) -> tuple[Two, list[EpochLog]]:
    network = Two()
    features = features or FeatureTensors(_videos())
    return network, train(network, _phases(network), features, _pairs(), schedule, seed)


def _plain_losses(network: Two, features: Tensor, batch: NDArray[np.int64], phase: int) -> Losses:
    """Both sides of every pair run on their own, as a Siamese network does."""
    sides = torch.cat([features[batch[:, 0]], features[batch[:, 1]]])
    better, worse = torch.arange(2 * len(batch)).chunk(2)
    return (_one, _two)[phase](network(sides, None), better, worse)


@pytest.mark.parametrize("carry", [False, True])
def test_steps_are_those_of_a_plain_loop(carry: bool) -> None:
    network, plain = Two(), Two()
    pairs = _pairs()
    features = torch.from_numpy(np.stack([video.values for video in _videos()])).float()
    rates = {0: 0.1, 1: 0.02}
    optimizers = [
        torch.optim.Adam([parameter], lr=rates[phase])
        for phase, parameter in enumerate((plain.one, plain.two))
    ]
    schedule = Schedule(1, 4, carry_gradients=carry)
    ours = steps_of(network, _phases(network), FeatureTensors(_videos()), pairs, schedule, 5)
    generator = torch.Generator().manual_seed(5)
    turn = 0
    for _ in range(3):
        order = torch.randperm(len(pairs), generator=generator).numpy()
        if carry:
            plain.one.grad = None
        for first in range(0, len(pairs), 4):
            phase = turn % 2
            losses = _plain_losses(plain, features, pairs[order[first : first + 4]], phase)
            if not carry:
                plain.zero_grad()
            sum(losses.values(), torch.zeros(())).backward()
            optimizers[phase].step()
            if carry:
                optimizers[phase].zero_grad()
            turn += 1
            taken = next(ours)
            assert taken.keys() == losses.keys()
            for name, loss in losses.items():
                torch.testing.assert_close(taken[name], loss.detach(), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(network.one, plain.one, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(network.two, plain.two, rtol=1e-4, atol=1e-6)


def test_carried_gradients_change_the_steps() -> None:
    fixed, _ = _train(Schedule(2, 4))
    carried, _ = _train(Schedule(2, 4, carry_gradients=True))
    assert not torch.allclose(fixed.two, carried.two, atol=1e-3)


def test_a_step_leaves_the_other_parameters_and_their_gradients_alone() -> None:
    network = Two()
    steps = steps_of(
        network, _phases(network), FeatureTensors(_videos()), _pairs(), Schedule(1, 4), 0
    )
    for turn in range(7):
        stepped, fixed = (network.one, network.two)[:: 1 - turn % 2 * 2]
        before, other = stepped.detach().clone(), fixed.detach().clone()
        next(steps)
        assert fixed.equal(other)
        assert fixed.grad is None
        assert not stepped.equal(before)
        assert stepped.requires_grad
        assert not fixed.requires_grad


def test_phases_take_turns_from_one_epoch_to_the_next() -> None:
    # 3 batches an epoch: one, two, one / two, one, two.
    _, log = _train(Schedule(4, 4))
    assert [list(epoch) for epoch in log] == [["one", "two", "size"], ["two", "size", "one"]] * 2


def test_an_epoch_logs_the_mean_of_each_loss_over_its_steps() -> None:
    network = Two()
    features, schedule = FeatureTensors(_videos()), Schedule(2, 4)
    steps = steps_of(network, _phases(network), features, _pairs(), schedule, 0)
    taken = [next(steps) for _ in range(6)]
    _, log = _train(schedule)
    assert log[0]["one"] == pytest.approx((float(taken[0]["one"]) + float(taken[2]["one"])) / 2)
    assert log[0]["size"] == pytest.approx(float(taken[1]["size"]))
    assert log[1]["two"] == pytest.approx((float(taken[3]["two"]) + float(taken[5]["two"])) / 2)


def test_every_epoch_sees_every_pair_once() -> None:
    seen: list[tuple[int, int]] = []
    # Feature values tell which video it is.
    videos = [
        VideoFeatures(f"{n}", np.full((1, CHANNELS), n, dtype=float), np.zeros((1, 3)))
        for n in range(VIDEOS)
    ]
    network = Two()

    def watch(scores: Tensor, better: Tensor, worse: Tensor) -> Losses:
        values = network.seen[-1][:, 0, 0]
        seen.extend((int(values[b]), int(values[w])) for b, w in zip(better, worse, strict=True))
        return {"one": scores.mean()}

    phase = Phase([network.one, network.two], 0.1, watch)
    train(network, [phase], FeatureTensors(videos), _pairs(), Schedule(2, 4), 0)
    expected = sorted(map(tuple, _pairs().tolist()))
    assert sorted(seen[:11]) == expected
    assert sorted(seen[11:]) == expected
    assert seen[:11] != seen[11:]


def test_a_video_of_many_pairs_runs_once() -> None:
    network, _ = _train(Schedule(1, 11))
    assert len(network.seen) == 1
    assert len(network.seen[0]) == len(np.unique(_pairs()))


@pytest.mark.parametrize("shared", [False, True])
def test_noise_is_gaussian_for_each_video_or_for_all(shared: bool) -> None:
    network, _ = _train(Schedule(500, 11, noise=0.5, shared_noise=shared))
    clean = torch.from_numpy(np.stack([video.values for video in _videos()])).float()
    noise = torch.stack(network.seen) - clean  # (500, V, T, C)
    alike = torch.allclose(noise, noise[:, :1].expand_as(noise), atol=1e-5)
    assert alike == shared
    assert float(noise.std()) == pytest.approx(0.5, rel=0.05)
    assert float(noise.mean()) == pytest.approx(0, abs=0.02)
    assert not torch.allclose(noise[0], noise[1])


def test_the_features_stay_without_noise() -> None:
    features = FeatureTensors(_videos())
    before = features.batch(torch.arange(VIDEOS))[0].clone()
    _train(Schedule(2, 11, noise=0.5), features=features)
    assert features.batch(torch.arange(VIDEOS))[0].equal(before)


def test_the_seed_makes_every_number_and_global_generators_are_left_alone() -> None:
    schedule = Schedule(3, 4, noise=0.1)
    torch_state, numpy_state = torch.get_rng_state(), np.random.get_state(legacy=False)
    first, first_log = _train(schedule, seed=3)
    assert torch.get_rng_state().equal(torch_state)
    assert str(np.random.get_state(legacy=False)) == str(numpy_state)
    torch.rand(5)
    again, again_log = _train(schedule, seed=3)
    other, _ = _train(schedule, seed=4)
    assert first_log == again_log
    assert first.one.equal(again.one)
    assert first.two.equal(again.two)
    assert not first.one.equal(other.one)


@pytest.mark.parametrize("lengths", [(SEGMENTS,) * VIDEOS, (4, 2, 3, 4, 1, 4, 2)])
@pytest.mark.parametrize("batch_pairs", [2, 11])
def test_where_features_lie_changes_nothing(lengths: tuple[int, ...], batch_pairs: int) -> None:
    here = FeatureTensors(_videos(lengths))
    elsewhere = FeatureTensors(_videos(lengths), resident_bytes=0)
    schedule = Schedule(3, batch_pairs)
    one, one_log = _train(schedule, features=here)
    other, other_log = _train(schedule, features=elsewhere)
    for ours, theirs in zip(one_log, other_log, strict=True):
        assert ours == pytest.approx(theirs, rel=1e-5)
    torch.testing.assert_close(one.one, other.one)
    torch.testing.assert_close(one.two, other.two)


def test_each_epoch_is_told() -> None:
    told: list[tuple[int, EpochLog]] = []
    network = Two()
    log = train(
        network,
        _phases(network),
        FeatureTensors(_videos()),
        _pairs(),
        Schedule(3, 4),
        0,
        lambda epoch, losses: told.append((epoch, losses)),
    )
    assert told == list(enumerate(log, 1))


def test_without_pairs_nothing_can_be_learned() -> None:
    network = Two()
    none = np.empty((0, 2), dtype=np.int64)
    with pytest.raises(RecipeError, match="no pair of two training videos"):
        train(network, _phases(network), FeatureTensors(_videos()), none, Schedule(1, 4), 0)


def test_diverging_is_told_with_epoch_loss_and_cure() -> None:
    network = Two()

    def explode(scores: Tensor, better: Tensor, worse: Tensor) -> Losses:
        return {"boom": -scores.exp().sum()}

    phase = Phase([network.one, network.two], 100.0, explode)
    with pytest.raises(RecipeError, match=r"diverged in epoch [2-9].*boom.*lower learning_rate"):
        train(network, [phase], FeatureTensors(_videos()), _pairs(), Schedule(9, 11), 0)


class Staged(Two):
    """The same scores from a shared first stage: the mean segment times the second parameter."""

    encoded = 0

    def forward(self, features: Tensor, mask: Tensor | None) -> Tensor:
        return self.read(features, mask, self.encode(features, mask))

    def encode(self, features: Tensor, mask: Tensor | None) -> Tensor:
        self.encoded += len(features)
        return (features.mean(dim=1) @ self.two).tanh()

    def read(self, features: Tensor, mask: Tensor | None, encoding: Tensor) -> Tensor:
        return torch.stack([features.mean(dim=1) @ self.one, encoding], dim=1)


@pytest.mark.parametrize("batch_pairs, shares", [(11, True), (6, True), (1, False)])
def test_sharing_an_encoding_changes_no_number(batch_pairs: int, shares: bool) -> None:
    plain, staged = Two(), Staged()
    schedule = Schedule(1, batch_pairs)
    features, pairs = FeatureTensors(_videos()), _pairs()
    one = Phase([staged.one], 0.1, _one, keeps_encoding=True)
    two = Phase([staged.two], 0.02, _two)
    ours = steps_of(staged, [one, two], features, pairs, schedule, 5)
    expected = steps_of(plain, _phases(plain), features, pairs, schedule, 5)
    for _ in range(10):
        theirs = next(expected)
        found = next(ours)
        assert found.keys() == theirs.keys()
        for name, loss in theirs.items():
            torch.testing.assert_close(found[name], loss)
    torch.testing.assert_close(staged.one, plain.one)
    torch.testing.assert_close(staged.two, plain.two)
    given = sum(map(len, plain.seen))
    assert (staged.encoded < 0.8 * given) == shares
