"""Gradient steps against plain loops: every number of chance is drawn again from seed and epoch."""

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn, optim

from aqakit.models.data import Stream, VideoFeatures
from aqakit.models.feed import Feed, Scale, Wanted, statistics
from aqakit.models.head import Fitting
from aqakit.models.losses import margin_ranking_loss
from aqakit.models.members import Alone, Stacked
from aqakit.models.network import (
    Batch,
    Drawn,
    Losses,
    Network,
    Phase,
    Schedule,
    Stage,
    draw_dropout,
    dropout,
)
from aqakit.models.steps import Epoch, Trainee, means_of, turns_of
from aqakit.models.training import steps_of

VIDEOS, SEGMENTS, CHANNELS = 7, 4, 3
NO_SCALE = Scale({}, {})
PLAIN = Fitting()
CPU = torch.device("cpu")


def _generator(seed: int, stage: int, epoch: int, purpose: int) -> torch.Generator:
    (state,) = np.random.SeedSequence([seed, stage, epoch, purpose]).generate_state(1, np.uint64)
    return torch.Generator().manual_seed(int(state) >> 1)


class Two(Network):
    """Two linear scores of the mean segment; what it was given is kept."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.one = nn.Parameter(torch.randn(CHANNELS, generator=generator))
        self.two = nn.Parameter(torch.randn(CHANNELS, generator=generator))
        self.seen: list[Batch] = []

    def encode(self, batch: Batch, drawn: Drawn) -> Tensor:
        self.seen.append(batch)
        return torch.stack([self.mean(batch) @ self.one, (self.mean(batch) @ self.two).tanh()], 1)

    @staticmethod
    def mean(batch: Batch) -> Tensor:
        features = batch.values["features"]
        if batch.mask is None:
            return features.mean(dim=1)
        mask = batch.mask[..., None]
        return (features * mask).sum(dim=1) / mask.sum(dim=1)

    def given(self) -> list[Tensor]:
        return [batch.values["features"] for batch in self.seen]


def _one(network: Two, batch: Batch, scores: Tensor, pairs: Tensor, labels: Tensor) -> Losses:
    total = scores.sum(dim=1)  # both sets of parameters count
    better, worse = pairs.unbind(dim=1)
    return {"one": margin_ranking_loss(total[better], total[worse], 1.0)}


def _two(network: Two, batch: Batch, scores: Tensor, pairs: Tensor, labels: Tensor) -> Losses:
    product = scores.prod(dim=1)
    better, worse = pairs.unbind(dim=1)
    return {
        "two": margin_ranking_loss(product[better], product[worse], 0.5),
        "size": (scores[better].square() + scores[worse].square()).mean(dim=1),
    }


def _rates(phase: int) -> Callable[[int], float]:
    return lambda epoch: (0.1, 0.02)[phase] / (1 + epoch)


PHASES = (
    Phase(_one, optim.Adam, _rates(0), ("one",)),
    Phase(_two, optim.Adam, _rates(1), ("two",)),
)


def _videos(lengths: Sequence[int] = (SEGMENTS,) * VIDEOS) -> list[VideoFeatures]:
    rng = np.random.default_rng(0)
    return [
        VideoFeatures.of(
            f"v{number}", rng.normal(size=(length, CHANNELS)), np.zeros((length, 3), dtype=float)
        )
        for number, length in enumerate(lengths)
    ]


def _telling(alternatives: int = 1) -> list[VideoFeatures]:
    """Videos whose values tell which they are and, behind the point, which row of a step."""
    rows = np.arange(alternatives).repeat(CHANNELS).reshape(-1, CHANNELS) / 10
    videos = []
    for number in range(VIDEOS):
        values = number + np.tile(rows, (SEGMENTS, 1))
        stream = Stream(values, np.zeros((len(values), 3)), alternatives)
        videos.append(VideoFeatures(f"v{number}", {"features": stream}))
    return videos


def _pairs(count: int = 11) -> NDArray[np.int64]:
    every = [(i, j) for i in range(VIDEOS) for j in range(VIDEOS) if i != j]
    return np.random.default_rng(1).permutation(np.array(every))[:count]


def _trainee(
    network: Network,
    schedule: Schedule,
    seed: int = 0,
    phases: Sequence[Phase] = PHASES,
    labels: NDArray[np.float64] | None = None,
) -> Trainee:
    pairs = _pairs()
    labels = np.empty((len(pairs), 0)) if labels is None else labels
    stage = Stage(phases, pairs, labels, schedule)
    return Trainee(network, [stage], torch.arange(VIDEOS), NO_SCALE, seed)


def _steps(
    network: Network,
    schedule: Schedule,
    videos: Sequence[VideoFeatures] | None = None,
    seed: int = 0,
    phases: Sequence[Phase] = PHASES,
    fitting: Fitting = PLAIN,
    **labels: NDArray[np.float64],
) -> Iterator[dict[str, Tensor]]:
    feed = Feed(_videos() if videos is None else videos)
    return steps_of(_trainee(network, schedule, seed, phases, **labels), feed, fitting)


def _take(steps: Iterator[dict[str, Tensor]], count: int) -> list[dict[str, Tensor]]:
    return list(itertools.islice(steps, count))


def _plain_losses(network: Two, features: Tensor, batch: NDArray[np.int64], phase: int) -> Losses:
    """Both sides of every pair run on their own, as a Siamese network does."""
    sides = Batch({"features": torch.cat([features[batch[:, 0]], features[batch[:, 1]]])})
    pairs = torch.arange(2 * len(batch)).view(2, -1).T
    terms = (_one, _two)[phase](network, sides, network.encode(sides, {}), pairs, pairs)
    return {name: term.mean() for name, term in terms.items()}


@pytest.mark.parametrize("clip", [0.0, 0.5])
@pytest.mark.parametrize("carry", [False, True])
def test_steps_are_those_of_a_plain_loop(carry: bool, clip: float) -> None:
    network, plain = Two(), Two()
    pairs = _pairs()
    features = torch.from_numpy(np.stack([video.values for video in _videos()])).float()
    optimizers = [torch.optim.Adam([parameter]) for parameter in (plain.one, plain.two)]
    schedule = Schedule(1, 4, carry_gradients=carry)
    ours = _steps(network, schedule, seed=5, fitting=Fitting(clip_norm=clip))
    turn = 0
    for epoch in range(3):
        order = torch.randperm(len(pairs), generator=_generator(5, 0, epoch, 0)).numpy()
        if carry:
            plain.one.grad = None
        for first in range(0, len(pairs), 4):
            phase = turn % 2
            losses = _plain_losses(plain, features, pairs[order[first : first + 4]], phase)
            if not carry:
                plain.zero_grad()
            sum(losses.values(), torch.zeros(())).backward()
            if clip:
                nn.utils.clip_grad_norm_([(plain.one, plain.two)[phase]], clip)
            optimizers[phase].param_groups[0]["lr"] = _rates(phase)(epoch)
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
    fixed, carried = Two(), Two()
    _take(_steps(fixed, Schedule(1, 4)), 6)
    _take(_steps(carried, Schedule(1, 4, carry_gradients=True)), 6)
    assert not torch.allclose(fixed.two, carried.two, atol=1e-3)


def test_a_small_norm_limits_a_step() -> None:
    free, limited = Two(), Two()
    plain = [Phase(_one, lambda p: optim.SGD(p, 1.0), lambda epoch: 1.0)]
    before = torch.cat([free.one, free.two]).detach()
    for network, fitting in ((free, PLAIN), (limited, Fitting(clip_norm=0.01))):
        next(_steps(network, Schedule(1, 4), phases=plain, fitting=fitting))
    far, near = (torch.cat([n.one, n.two]).detach() - before for n in (free, limited))
    assert float(far.norm()) > 0.1
    assert float(near.norm()) == pytest.approx(0.01, rel=1e-3)
    torch.testing.assert_close(near / near.norm(), far / far.norm())


def test_a_step_leaves_the_other_parameters_and_their_gradients_alone() -> None:
    network = Two()
    steps = _steps(network, Schedule(1, 4))
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
    taken = _take(_steps(Two(), Schedule(1, 4)), 7)
    assert [list(losses) for losses in taken] == [["one"], ["two", "size"]] * 3 + [["one"]]


def test_means_are_over_the_steps_that_have_a_loss() -> None:
    steps = [{"a": torch.tensor([1.0, 2.0])}, {"b": torch.tensor([5.0, 6.0])}]
    steps.append({"a": torch.tensor([3.0, 6.0])})
    means = means_of(steps)
    assert list(means) == ["a", "b"]
    assert (means["a"].tolist(), means["b"].tolist()) == ([2, 4], [5, 6])


def test_a_phase_without_names_steps_everything_and_a_beginning_what_begins_so() -> None:
    members = Alone(Two())
    every = turns_of([Phase(_one, optim.Adam, _rates(0))], members)[0].parameters
    assert list(every) == list(members.parameters.values())
    (one,) = turns_of([Phase(_one, optim.Adam, _rates(0), ("o",))], members)[0].parameters
    assert one is members.parameters["one"]
    both = turns_of([Phase(_one, optim.Adam, _rates(0), ("o", "t"))], members)[0].parameters
    assert len(both) == 2
    with pytest.raises(ValueError, match=r"no parameter begins with any of \('three',\)"):
        turns_of([Phase(_one, optim.Adam, _rates(0), ("three",))], members)


def _watching(network: Two, seen: list[tuple[float, ...]]) -> Phase:
    """A phase that notes the values of each pair's videos, and its label."""

    def watch(_: Two, batch: Batch, scores: Tensor, pairs: Tensor, labels: Tensor) -> Losses:
        values = batch.values["features"][:, 0, 0]
        rows = torch.cat([values[pairs], labels], dim=1)
        seen.extend(tuple(row.tolist()) for row in rows)
        return {"one": scores[pairs[:, 0]].mean(dim=1)}

    return Phase(watch, optim.Adam, lambda epoch: 0.1)


def test_every_epoch_sees_every_pair_once_with_its_label() -> None:
    network, seen = Two(), list[tuple[float, ...]]()
    labels = np.arange(11.0)[:, None] + 100
    steps = _steps(
        network, Schedule(1, 4), _telling(), phases=[_watching(network, seen)], labels=labels
    )
    _take(steps, 6)
    expected = sorted((float(a), float(b), float(n + 100)) for n, (a, b) in enumerate(_pairs()))
    assert sorted(seen[:11]) == expected
    assert sorted(seen[11:]) == expected
    assert seen[:11] != seen[11:]


def test_a_video_of_many_pairs_runs_once() -> None:
    network = Two()
    next(_steps(network, Schedule(1, 11)))
    (given,) = network.given()
    assert len(given) == len(np.unique(_pairs()))


@pytest.mark.parametrize("shared", [False, True])
def test_noise_is_gaussian_for_each_video_or_for_all(shared: bool) -> None:
    network = Two()
    _take(_steps(network, Schedule(1, 11, noise=0.5, shared_noise=shared)), 500)
    clean = torch.from_numpy(np.stack([video.values for video in _videos()])).float()
    noise = torch.stack(network.given()) - clean  # (500, V, T, C)
    alike = torch.allclose(noise, noise[:, :1].expand_as(noise), atol=1e-5)
    assert alike == shared
    assert float(noise.std()) == pytest.approx(0.5, rel=0.05)
    assert float(noise.mean()) == pytest.approx(0, abs=0.02)
    assert not torch.allclose(noise[0], noise[1])


@pytest.mark.parametrize("shared", [False, True])
def test_noise_is_that_of_the_epochs_own_generator(shared: bool) -> None:
    network, feed = Two(), Feed(_videos())
    schedule = Schedule(1, 4, noise=0.5, shared_noise=shared)
    _take(steps_of(_trainee(network, schedule, seed=3), feed, PLAIN), 6)
    given = iter(network.given())
    for epoch in range(2):
        order = torch.randperm(11, generator=_generator(3, 0, epoch, 0))
        generator = _generator(3, 0, epoch, 2)
        for batch in order.split(4):
            videos = torch.from_numpy(_pairs())[batch].unique()
            shape = (1 if shared else len(videos), SEGMENTS, CHANNELS)
            noise = 0.5 * torch.randn(shape, generator=generator)
            clean = feed.batch(Wanted(videos)).values["features"]
            torch.testing.assert_close(next(given), clean + noise)


@pytest.mark.parametrize("shared", [False, True])
def test_noise_leaves_padding_alone(shared: bool) -> None:
    network = Two()
    videos = _videos((4, 2, 3, 4, 1, 4, 2))
    _take(_steps(network, Schedule(1, 11, noise=0.5, shared_noise=shared), videos), 3)
    for batch in network.seen:
        assert batch.mask is not None
        values = batch.values["features"]
        assert not values[~batch.mask].any()
        assert values[batch.mask].all()


def test_the_features_stay_without_noise() -> None:
    feed = Feed(_videos())
    everything = Wanted(torch.arange(VIDEOS))
    before = feed.batch(everything).values["features"].clone()
    _take(steps_of(_trainee(Two(), Schedule(1, 11, noise=0.5)), feed, PLAIN), 2)
    assert feed.batch(everything).values["features"].equal(before)


def test_features_are_scaled_before_noise() -> None:
    videos = _videos((4, 2, 3, 4, 1, 4, 2))
    network, scale = Two(), statistics(videos).to("cpu", torch.float32)
    trainee = replace(_trainee(network, Schedule(1, 11)), scale=scale)
    next(steps_of(trainee, Feed(videos), PLAIN))
    expected = scale.apply(Feed(videos).batch(Wanted(torch.arange(VIDEOS))))
    assert network.given()[0].equal(expected.values["features"])


ALTERNATIVES = 5


def _draws(network: Two) -> list[Tensor]:
    """(V, T) which row of each step each batch held, by :func:`_telling`."""
    return [(given[..., 0] * 10).round().long() % 10 for given in network.given()]


@pytest.mark.parametrize("resident_bytes", [0, 1 << 20])
def test_one_alternative_of_each_step_is_drawn_anew_for_every_mini_batch(
    resident_bytes: int,
) -> None:
    network = Two()
    feed = Feed(_telling(ALTERNATIVES), resident_bytes=resident_bytes)
    _take(steps_of(_trainee(network, Schedule(1, 4, vary=True), seed=3), feed, PLAIN), 6)
    draws = iter(_draws(network))
    for epoch in range(2):
        order = torch.randperm(11, generator=_generator(3, 0, epoch, 0))
        generator = _generator(3, 0, epoch, 1)
        for batch in order.split(4):
            videos = torch.from_numpy(_pairs())[batch].unique()
            shape = (len(videos), SEGMENTS)
            assert next(draws).equal(torch.randint(ALTERNATIVES, shape, generator=generator))


def test_every_alternative_comes_equally_often() -> None:
    network = Two()
    _take(_steps(network, Schedule(1, 11, vary=True), _telling(ALTERNATIVES)), 200)
    counts = torch.cat([draw.flatten() for draw in _draws(network)]).bincount()
    assert len(counts) == ALTERNATIVES
    share = counts / counts.sum()
    torch.testing.assert_close(
        share, torch.full((ALTERNATIVES,), 1 / ALTERNATIVES), rtol=0.1, atol=0
    )


def test_without_variation_the_last_alternative_counts() -> None:
    network = Two()
    _take(_steps(network, Schedule(1, 4), _telling(ALTERNATIVES)), 6)
    assert all((draw == ALTERNATIVES - 1).all() for draw in _draws(network))


class Dropping(Two):
    """Keeps the masks that it drew and those that it was given."""

    def __init__(self) -> None:
        super().__init__()
        self.given_masks: list[Drawn] = []

    def draw(
        self, videos: int, steps: int, generator: torch.Generator, device: torch.device
    ) -> Drawn:
        return {"keep": draw_dropout((videos, steps, CHANNELS), 0.5, generator, device)}

    def encode(self, batch: Batch, drawn: Drawn) -> Tensor:
        self.given_masks.append(drawn)
        values = {"features": dropout(batch.values["features"], drawn, "keep")}
        return super().encode(Batch(values, batch.mask), drawn)


def test_a_networks_random_numbers_are_those_of_the_epochs_own_generator() -> None:
    network = Dropping()
    _take(_steps(network, Schedule(1, 4), seed=3), 6)
    given = iter(network.given_masks)
    for epoch in range(2):
        order = torch.randperm(11, generator=_generator(3, 0, epoch, 0))
        generator = _generator(3, 0, epoch, 3)
        for batch in order.split(4):
            videos = torch.from_numpy(_pairs())[batch].unique()
            mask = draw_dropout((len(videos), SEGMENTS, CHANNELS), 0.5, generator, CPU)
            assert next(given)["keep"].equal(mask)


def test_the_seed_makes_every_number_and_global_generators_are_left_alone() -> None:
    schedule = Schedule(1, 4, noise=0.1, vary=True)

    def trained(seed: int) -> tuple[Dropping, list[float]]:
        network = Dropping()
        taken = _take(_steps(network, schedule, _telling(3), seed), 9)
        return network, [float(loss) for losses in taken for loss in losses.values()]

    torch_state, numpy_state = torch.get_rng_state(), np.random.get_state(legacy=False)
    first, first_losses = trained(3)
    assert torch.get_rng_state().equal(torch_state)
    assert str(np.random.get_state(legacy=False)) == str(numpy_state)
    torch.rand(5)
    again, again_losses = trained(3)
    other, _ = trained(4)
    assert first_losses == again_losses
    assert first.one.equal(again.one)
    assert first.two.equal(again.two)
    assert not first.one.equal(other.one)


@pytest.mark.parametrize("lengths", [(SEGMENTS,) * VIDEOS, (4, 2, 3, 4, 1, 4, 2)])
@pytest.mark.parametrize("batch", [2, 11])
def test_where_features_lie_changes_nothing(lengths: tuple[int, ...], batch: int) -> None:
    """Also while the next batch is being read, which draws from the same generators."""
    found = []
    for resident_bytes in (1 << 20, 0):
        network = Dropping()
        trainee = _trainee(network, Schedule(1, batch, noise=0.1, vary=True))
        videos = [
            VideoFeatures(video.id, {"features": Stream(np.repeat(video.values, 2, 0) + [[0], [1]] * len(video.values), np.zeros((2 * len(video.values), 3)), 2)})
            for video in _videos(lengths)
        ]  # fmt: skip
        feed = Feed(videos, resident_bytes=resident_bytes)
        found.append((network, _take(steps_of(trainee, feed, PLAIN), 9)))
    (one, losses), (other, other_losses) = found
    for ours, theirs in zip(losses, other_losses, strict=True):
        assert ours.keys() == theirs.keys()
        assert all(loss.equal(theirs[name]) for name, loss in ours.items())
    assert one.one.equal(other.one)
    assert one.two.equal(other.two)


class Staged(Two):
    """The same scores from a shared first stage: the mean segment times the second parameter."""

    encoded = 0

    def encode(self, batch: Batch, drawn: Drawn) -> Tensor:
        self.encoded += len(batch.values["features"])
        return (self.mean(batch) @ self.two).tanh()

    def read(self, batch: Batch, encoding: Tensor) -> Tensor:
        return torch.stack([self.mean(batch) @ self.one, encoding], dim=1)


def _read_one(network: Staged, batch: Batch, encoding: Tensor, *rest: Tensor) -> Losses:
    return _one(network, batch, network.read(batch, encoding), *rest)


def _read_two(network: Staged, batch: Batch, encoding: Tensor, *rest: Tensor) -> Losses:
    return _two(network, batch, network.read(batch, encoding), *rest)


@pytest.mark.parametrize("batch_pairs, shares", [(11, False), (6, True), (4, True), (1, False)])
def test_sharing_an_encoding_changes_no_number(batch_pairs: int, shares: bool) -> None:
    plain, staged = Two(), Staged()
    schedule = Schedule(1, batch_pairs)
    phases = [
        replace(PHASES[0], losses=_read_one, keeps_encoding=True),
        replace(PHASES[1], losses=_read_two),
    ]
    ours = _steps(staged, schedule, seed=5, phases=phases)
    expected = _steps(plain, schedule, seed=5)
    for _ in range(12):
        theirs = next(expected)
        found = next(ours)
        assert found.keys() == theirs.keys()
        for name, loss in theirs.items():
            torch.testing.assert_close(found[name], loss)
    torch.testing.assert_close(staged.one, plain.one)
    torch.testing.assert_close(staged.two, plain.two)
    given = sum(map(len, plain.given()))
    assert (staged.encoded < 0.8 * given) == shares


def test_nothing_is_shared_where_gradients_are_carried() -> None:
    staged = Staged()
    phases = [
        replace(PHASES[0], losses=_read_one, keeps_encoding=True),
        replace(PHASES[1], losses=_read_two),
    ]
    _take(_steps(staged, Schedule(1, 6, carry_gradients=True), phases=phases), 2)
    order = torch.randperm(11, generator=_generator(0, 0, 0, 0))
    batches = [torch.from_numpy(_pairs())[batch].unique() for batch in order.split(6)]
    assert staged.encoded == sum(map(len, batches))


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float64"])
def test_labels_and_losses_have_the_precision_of_the_parameters(precision: str) -> None:
    kind = torch.float64 if precision == "float64" else torch.float32
    network, seen = Two().to(kind), list[torch.dtype]()

    def watch(_: Two, batch: Batch, scores: Tensor, pairs: Tensor, labels: Tensor) -> Losses:
        seen.extend(
            [labels.dtype, torch.mm(batch.values["features"][0], network.one[:, None]).dtype]
        )
        return {"one": scores[pairs[:, 0]].mean(dim=1) - labels[:, 0]}

    trainee = _trainee(
        network, Schedule(1, 11), phases=[Phase(watch, optim.Adam, lambda epoch: 0.1)],
        labels=np.ones((11, 1)),
    )  # fmt: skip
    fitting = Fitting(precision=precision)  # type: ignore[arg-type]
    next(steps_of(trainee, Feed(_videos(), dtype=kind), fitting))
    assert seen == [kind, torch.bfloat16 if precision == "bfloat16" else kind]
    assert network.one.dtype == kind


# Members side by side.

LENGTHS = (3, 5, 2, 4, 6, 1, 3, 4, 2)
# Of each member: its videos, of which only the second has the longest, and its number of examples.
FOLDS = (((0, 1, 2, 3, 5), 11), ((4, 5, 6, 7, 8, 0), 9), ((8, 2, 5, 7), 10))
HIDDEN = 5


class Toy(Network):
    """Encodes with ``first`` alone, reads with ``second``."""

    def __init__(self, seed: int, drops: bool) -> None:
        super().__init__()
        self.drops = drops
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.first = nn.Linear(CHANNELS, HIDDEN)
            self.second = nn.Parameter(torch.randn(HIDDEN))
        self.double()

    def draw(
        self, videos: int, steps: int, generator: torch.Generator, device: torch.device
    ) -> Drawn:
        if not self.drops:
            return {}
        return {"keep": draw_dropout((videos, steps, HIDDEN), 0.3, generator, device)}

    def encode(self, batch: Batch, drawn: Drawn) -> Tensor:
        hidden = dropout(self.first(batch.values["features"]).tanh(), drawn, "keep")
        if batch.mask is None:
            return hidden.mean(dim=1)
        mask = batch.mask[..., None]
        return (hidden * mask).sum(dim=1) / mask.sum(dim=1)


def _rank(network: Toy, batch: Batch, encoding: Tensor, pairs: Tensor, labels: Tensor) -> Losses:
    better, worse = (encoding[pairs] @ network.second).unbind(dim=1)
    return {"rank": margin_ranking_loss(better, worse, 1.0) * labels[:, 0]}


def _apart(network: Toy, batch: Batch, encoding: Tensor, pairs: Tensor, labels: Tensor) -> Losses:
    """A distance, whose gradient is not finite for a video beside itself."""
    better, worse = encoding[pairs].unbind(dim=1)
    closeness = 1 - (better - worse).square().sum(dim=1).sqrt()
    return {"apart": closeness, "rank": _rank(network, batch, encoding, pairs, labels)["rank"]}


@dataclass(frozen=True)
class Way:
    """How members are trained beside each other."""

    schedule: Schedule
    fitting: Fitting = PLAIN
    drops: bool = False
    shares: bool = False
    scaled: bool = False
    ragged: bool = True


ALL = Schedule(1, 4, noise=0.3, vary=True)
WAYS = {
    "plain": Way(Schedule(1, 4)),
    "all as long": Way(ALL, drops=True, ragged=False),
    "noise": Way(Schedule(1, 4, noise=0.3)),
    "one noise for all": Way(Schedule(1, 4, noise=0.3, shared_noise=True)),
    "dropout": Way(Schedule(1, 4), drops=True),
    "alternatives": Way(Schedule(1, 4, vary=True)),
    "clipped": Way(Schedule(1, 4), Fitting(clip_norm=0.1)),
    "scaled": Way(Schedule(1, 4), scaled=True),
    "carried gradients": Way(Schedule(1, 4, carry_gradients=True), Fitting(clip_norm=0.3)),
    "shared encodings": Way(Schedule(1, 4, noise=0.3), shares=True),
    "everything": Way(ALL, Fitting(clip_norm=0.5), drops=True, shares=True, scaled=True),
}


def _phases_of(way: Way) -> list[Phase]:
    first = Phase(_rank, optim.Adam, _rates(0), ("second",), keeps_encoding=way.shares)
    return [first, Phase(_apart, lambda p: optim.SGD(p, 1, 0.9), _rates(1), ("first",))]


def _pool(way: Way) -> list[VideoFeatures]:
    rng = np.random.default_rng(7)
    videos = []
    for number, length in enumerate(LENGTHS):
        rows = 3 * (length if way.ragged else 4)
        stream = Stream(3 * rng.normal(size=(rows, CHANNELS)) + 1, np.zeros((rows, 3)), 3)
        videos.append(VideoFeatures(f"v{number}", {"features": stream}))
    return videos


def _member(number: int, way: Way, places: Sequence[int] | None = None) -> Trainee:
    own, count = FOLDS[number]
    every = [(a, b) for a in range(len(own)) for b in range(len(own)) if a != b]
    rng = np.random.default_rng(number)
    pairs = rng.permutation(np.array(every))[:count]
    labels = rng.uniform(0.5, 2, (count, 1))
    videos = [_pool(way)[place] for place in own]
    scale = statistics(videos).to("cpu", torch.float64) if way.scaled else NO_SCALE
    stage = Stage(_phases_of(way), pairs, labels, way.schedule)
    network = Toy(number, way.drops)
    chosen = range(len(own)) if places is None else places
    return Trainee(network, [stage], torch.tensor(list(chosen)), scale, 10 * number + 1)


def _run(
    members: Alone | Stacked, trainees: Sequence[Trainee], videos: Sequence[VideoFeatures], way: Way
) -> list[Losses]:
    feed = Feed(videos, dtype=torch.float64)
    turns = turns_of(trainees[0].stages[0].phases, members)
    epochs = [Epoch(members, trainees, feed, turns, 0, number, way.fitting) for number in range(3)]
    return [losses for epoch in epochs for losses in epoch.run()]


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_members_take_the_steps_that_each_takes_alone(way: Way) -> None:
    together = [_member(number, way, own) for number, (own, _) in enumerate(FOLDS)]
    assert [one.steps_of(0) for one in together] == [3, 3, 3]
    assert [one.shares(0) for one in together] == [way.shares] * 3
    stack = Stacked([one.network for one in together])
    found = _run(stack, together, _pool(way), way)
    for number, (own, _) in enumerate(FOLDS):
        alone = _member(number, way)
        before = {name: p.detach().clone() for name, p in alone.network.named_parameters()}
        members = Alone(alone.network)
        expected = _run(members, [alone], [_pool(way)[place] for place in own], way)
        for ours, theirs in zip(found, expected, strict=True):
            assert ours.keys() == theirs.keys()
            for name, loss in theirs.items():
                torch.testing.assert_close(ours[name][number], loss[0], rtol=0, atol=1e-10)
        for name, parameter in members.parameters.items():
            torch.testing.assert_close(
                stack.parameters[name][number], parameter, rtol=0, atol=1e-10
            )
            assert not torch.allclose(parameter, before[name], rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", [name for name in WAYS if name != "plain"])
def test_every_way_changes_the_steps(name: str) -> None:
    """Else the comparison above would say nothing about it."""
    found = []
    for way in (WAYS["plain"], WAYS[name]):
        trainee = _member(0, way)
        videos = [_pool(way)[place] for place in FOLDS[0][0]]
        _run(Alone(trainee.network), [trainee], videos, way)
        found.append(trainee.network.get_parameter("first.weight").detach())
    plain, changed = found
    assert not torch.allclose(plain, changed, rtol=0, atol=1e-6)


def test_sharing_is_judged_by_how_many_videos_two_batches_have_in_common() -> None:
    def shares(videos: int, batch: int, keeps: bool = True) -> bool:
        rng = np.random.default_rng(0)
        pairs = np.stack([rng.permutation(videos)[:2] for _ in range(10 * videos)])
        phase = replace(PHASES[0], keeps_encoding=keeps)
        stage = Stage([phase], pairs, np.empty((len(pairs), 0)), Schedule(1, batch))
        return Trainee(Two(), [stage], torch.arange(videos), NO_SCALE, 0).shares(0)

    # All 75 videos are in each batch of 128 pairs; of 1000 a batch of 16 holds others than the next.
    assert shares(75, 128)
    assert not shares(1000, 16)
    assert not shares(75, 128, keeps=False)
