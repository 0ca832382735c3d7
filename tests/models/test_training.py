"""Whole trainings: what is logged, told and kept, and what an interruption costs: nothing."""

import functools
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn, optim

from aqakit.features.errors import RecipeError
from aqakit.models import checkpoint
from aqakit.models.data import VideoFeatures
from aqakit.models.feed import Feed, Scale
from aqakit.models.head import EpochLog, Fitting
from aqakit.models.losses import margin_ranking_loss
from aqakit.models.members import Alone
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
from aqakit.models.training import VALIDATION, Accuracy, Keeping, steps_of, train

CHANNELS, HIDDEN = 3, 4
LENGTHS = (3, 5, 2, 4, 1, 3, 4, 2)
# Of each member: its videos, and its number of pairs.
FOLDS = (((0, 1, 2, 3, 4), 11), ((4, 5, 6, 7, 1, 0), 9), ((7, 2, 5, 6), 10))
PLAIN = Fitting()
State = dict[str, Tensor]


class Toy(Network):
    """Encodes with ``first`` alone, reads with ``second``."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.first = nn.Linear(CHANNELS, HIDDEN)
            self.second = nn.Parameter(torch.randn(HIDDEN))
        self.double()

    def draw(
        self, videos: int, steps: int, generator: torch.Generator, device: torch.device
    ) -> Drawn:
        return {"keep": draw_dropout((videos, steps, HIDDEN), 0.2, generator, device)}

    def encode(self, batch: Batch, drawn: Drawn) -> Tensor:
        hidden = dropout(self.first(batch.values["features"]).tanh(), drawn, "keep")
        if batch.mask is None:
            return hidden.mean(dim=1)
        mask = batch.mask[..., None]
        return (hidden * mask).sum(dim=1) / mask.sum(dim=1)


def _one(network: Toy, batch: Batch, encoding: Tensor, pairs: Tensor, labels: Tensor) -> Losses:
    better, worse = (encoding[pairs] @ network.second).unbind(dim=1)
    return {"one": margin_ranking_loss(better, worse, 1.0)}


def _two(network: Toy, batch: Batch, encoding: Tensor, pairs: Tensor, labels: Tensor) -> Losses:
    better, worse = (encoding[pairs] @ network.second.tanh()).unbind(dim=1)
    return {
        "two": margin_ranking_loss(better, worse, 0.5),
        "size": encoding[pairs].square().sum(dim=(1, 2)),
    }


PHASES = (
    Phase(_one, optim.Adam, lambda epoch: 0.1 / (1 + epoch), ("second",)),
    Phase(_two, lambda p: optim.SGD(p, 1, 0.9), lambda epoch: 0.05, ("first",)),
)
JOINT = (Phase(_two, optim.Adam, lambda epoch: 0.03),)


def _pool() -> list[VideoFeatures]:
    rng = np.random.default_rng(0)
    return [
        VideoFeatures.of(f"v{n}", rng.normal(size=(length, CHANNELS)), np.zeros((length, 3)))
        for n, length in enumerate(LENGTHS)
    ]


@dataclass(frozen=True)
class Plan:
    """The stages of every member, and how all are fitted."""

    stages: Sequence[tuple[Sequence[Phase], Schedule]]
    fitting: Fitting = PLAIN

    @property
    def epochs(self) -> int:
        return sum(schedule.epochs for _, schedule in self.stages)


def _member(number: int, plan: Plan, among_all: bool = True) -> Trainee:
    own, count = FOLDS[number]
    every = [(a, b) for a in range(len(own)) for b in range(len(own)) if a != b]
    stages = []
    for stage, (phases, schedule) in enumerate(plan.stages):
        pairs = np.random.default_rng([number, stage]).permutation(np.array(every))[:count]
        stages.append(Stage(phases, pairs, np.empty((count, 0)), schedule))
    places = torch.tensor(own) if among_all else torch.arange(len(own))
    return Trainee(Toy(number), stages, places, Scale({}, {}), 7 * number)


def _feed(number: int | None = None) -> Feed:
    """Of all members, or of one alone."""
    videos = _pool() if number is None else [_pool()[place] for place in FOLDS[number][0]]
    return Feed(videos, dtype=torch.float64)


def _state(network: nn.Module) -> State:
    return {name: value.detach().clone() for name, value in network.state_dict().items()}


def _same(one: State, other: State) -> bool:
    return one.keys() == other.keys() and all(v.equal(other[name]) for name, v in one.items())


def _train(
    plan: Plan, number: int = 0, accuracy: Accuracy | None = None
) -> tuple[Network, list[EpochLog]]:
    trainee = _member(number, plan, among_all=False)
    (network,), (log,) = train([trainee], _feed(number), plan.fitting, [accuracy])
    return network, log


def _turns(*changed: tuple[int, int]) -> Plan:
    """Plans of stages of so many epochs and examples a mini-batch, with phases in turn."""
    return Plan([(PHASES, Schedule(epochs, batch)) for epochs, batch in changed])


def test_phases_take_turns_from_one_epoch_to_the_next() -> None:
    # 3 batches an epoch: one, two, one / two, one, two.
    _, log = _train(_turns((4, 4)))
    assert [list(epoch) for epoch in log] == [["one", "two", "size"], ["two", "size", "one"]] * 2


def test_an_epoch_logs_the_mean_of_each_loss_over_its_steps() -> None:
    plan = _turns((2, 4))
    steps = steps_of(_member(0, plan, among_all=False), _feed(0), PLAIN)
    taken = [next(steps) for _ in range(6)]
    _, log = _train(plan)
    assert log[0]["one"] == pytest.approx((float(taken[0]["one"]) + float(taken[2]["one"])) / 2)
    assert log[0]["size"] == pytest.approx(float(taken[1]["size"]))
    assert log[1]["two"] == pytest.approx((float(taken[3]["two"]) + float(taken[5]["two"])) / 2)


def test_each_epoch_is_told_with_how_many_there_are_in_all_stages() -> None:
    told: list[tuple[int, int, int, EpochLog]] = []
    plan = _turns((3, 4), (2, 4))
    members = [_member(number, plan) for number in range(2)]
    _, logs = train(
        members, _feed(), PLAIN, [None, None], on_epoch=lambda *epoch: told.append(epoch)
    )
    expected = [
        (member, epoch + 1, 5, logs[member][epoch]) for epoch in range(5) for member in (0, 1)
    ]
    assert told == expected


def test_without_pairs_nothing_can_be_learned() -> None:
    trainee = _member(0, _turns((1, 4), (1, 4)))
    none = replace(trainee.stages[1], examples=np.empty((0, 2), dtype=np.int64))
    trainee = replace(trainee, stages=[trainee.stages[0], none])
    with pytest.raises(RecipeError, match="no pair of two training videos"):
        train([trainee], _feed(), PLAIN, [None])


def _explode(network: Toy, batch: Batch, encoding: Tensor, *rest: Tensor) -> Losses:
    scores = encoding @ network.second
    return {"boom": -scores[rest[0][:, 0]].square().exp()}


@pytest.mark.parametrize("members", [1, 2])
def test_diverging_is_told_with_epoch_loss_and_cure(members: int) -> None:
    phase = Phase(_explode, lambda p: optim.SGD(p, 1), lambda epoch: 100.0)
    plan = Plan([(JOINT, Schedule(3, 11)), ([phase], Schedule(9, 11))])
    with pytest.raises(RecipeError) as caught:
        train([_member(n, plan) for n in range(members)], _feed(), PLAIN, [None] * members)
    message = str(caught.value)
    epoch = int(message.split()[4])
    assert message.startswith(f"training diverged in epoch {epoch} ({{'boom': ")
    assert 4 < epoch <= 12  # counted over both stages
    assert "lower learning_rate, or set standardise=true" in message
    assert "\n" not in message


def test_stages_follow_each_other_with_new_optimisers_and_numbers_of_chance() -> None:
    schedules = Schedule(2, 4, noise=0.1), Schedule(3, 6, noise=0.2)
    plan = Plan([(PHASES, schedules[0]), (JOINT, schedules[1])])
    network, log = _train(plan)
    plain = _member(0, plan, among_all=False)
    members = Alone(plain.network.train())
    expected = []
    for stage, epochs in ((0, 2), (1, 3)):
        turns = turns_of(plan.stages[stage][0], members)
        for number in range(epochs):
            epoch = Epoch(members, [plain], _feed(0), turns, stage, number, PLAIN)
            means = means_of(list(epoch.run()))
            expected.append({name: float(mean) for name, mean in means.items()})
    assert log == expected
    assert _same(_state(network), _state(plain.network))


def test_a_trained_network_is_ready_to_be_used() -> None:
    network, _ = _train(_turns((1, 4)))
    assert not network.training
    assert all(parameter.requires_grad for parameter in network.parameters())


# Members.

NOISY = Schedule(4, 4, noise=0.3)
SHARED = (replace(PHASES[0], keeps_encoding=True), PHASES[1])
PLANS = {
    "turns": Plan([(PHASES, NOISY)]),
    "shared encodings": Plan([(SHARED, NOISY)]),
    "carried gradients": Plan([(PHASES, replace(NOISY, carry_gradients=True))]),
    "stages": Plan([(SHARED, NOISY), (JOINT, Schedule(3, 6)), (PHASES, Schedule(2, 20))]),
    "clipped": Plan([(SHARED, NOISY)], Fitting(clip_norm=0.2)),
    "patience": Plan([(PHASES, Schedule(12, 4))], Fitting(patience=3)),
    "everything": Plan(
        [(JOINT, Schedule(2, 4)), (PHASES, replace(NOISY, epochs=10, carry_gradients=True))],
        Fitting(clip_norm=0.5, patience=2),
    ),
}
every_plan = pytest.mark.parametrize("plan", PLANS.values(), ids=PLANS)


def _wavering(number: int) -> Accuracy:
    """A number that goes up and down as a network learns, and only depends on its parameters."""
    weights = torch.linspace(-1, 1, HIDDEN).double()

    def of(network: Network) -> float:
        second = network.get_parameter("second").detach()
        return float(torch.sin(40 * (number + 1) * second @ weights))

    return of


def _train_all(
    plan: Plan, on_epoch: Callable[..., None] = lambda *epoch: None, keeping: Keeping | None = None
) -> tuple[list[Network], list[list[EpochLog]]]:
    members = [_member(number, plan) for number in range(len(FOLDS))]
    accuracies = [_wavering(number) for number in range(len(FOLDS))]
    return train(members, _feed(), plan.fitting, accuracies, keeping, on_epoch)


@every_plan
def test_members_learn_what_each_learns_alone(plan: Plan) -> None:
    networks, logs = _train_all(plan)
    for number, (network, log) in enumerate(zip(networks, logs, strict=True)):
        alone, expected = _train(plan, number, _wavering(number))
        assert len(log) == len(expected)
        for ours, theirs in zip(log, expected, strict=True):
            assert ours == pytest.approx(theirs, rel=0, abs=1e-8)
        for name, parameter in alone.named_parameters():
            found = network.get_parameter(name)
            torch.testing.assert_close(found, parameter, rtol=0, atol=1e-8)
        assert not network.training
        assert all(parameter.requires_grad for parameter in network.parameters())


def test_members_stop_at_different_epochs() -> None:
    """So the comparison above covers members that wait for others."""
    for name in ("patience", "everything"):
        lengths = [len(log) for log in _train_all(PLANS[name])[1]]
        assert len(set(lengths)) > 1
        assert min(lengths) < PLANS[name].epochs


# Validation.


class Script:
    """Gives accuracies one after the other; notes the networks that it was asked about."""

    def __init__(self, *accuracies: float) -> None:
        self.accuracies = accuracies
        self.states: list[State] = []

    def __call__(self, network: Network) -> float:
        assert not network.training
        self.states.append(_state(network))
        return self.accuracies[len(self.states) - 1]


def _validated(
    patience: int, *accuracies: float, first_stage: int = 0
) -> tuple[Script, State, list[EpochLog]]:
    stages = [(PHASES, Schedule(len(accuracies), 4))]
    if first_stage:
        stages.insert(0, (PHASES, Schedule(first_stage, 4)))
    script = Script(*accuracies)
    network, log = _train(Plan(stages, Fitting(patience=patience)), accuracy=script)
    return script, _state(network), log


@pytest.mark.parametrize(
    ("patience", "accuracies", "epochs", "best"),
    [
        (2, (0.5, 0.6, 0.6, 0.4, 0.9), 4, 1),  # as good is no better
        (2, (0.5, 0.6, 0.4, 0.7, 0.1, 0.2, 0.9), 6, 3),
        (1, (0.5, 0.4, 0.9), 2, 0),
        (3, (0.1, 0.2, 0.3, 0.2), 4, 2),  # over before patience is
        (9, (0.5, 0.4, 0.3), 3, 0),
        (2, (0.0, 0.0, 0.0, 0.5), 3, 0),
    ],
)
def test_patience_keeps_the_best_epoch(
    patience: int, accuracies: tuple[float, ...], epochs: int, best: int
) -> None:
    script, state, log = _validated(patience, *accuracies)
    assert [epoch[VALIDATION] for epoch in log] == list(accuracies[:epochs])
    assert _same(state, script.states[best])
    others = [other for number, other in enumerate(script.states) if number != best]
    assert not any(_same(state, other) for other in others)


def test_without_patience_the_last_epoch_is_kept_and_accuracy_only_logged() -> None:
    script, state, log = _validated(0, 0.9, 0.5, 0.1)
    assert [epoch[VALIDATION] for epoch in log] == [0.9, 0.5, 0.1]
    assert _same(state, script.states[2])


def test_only_the_last_stage_is_validated() -> None:
    script, state, log = _validated(1, 0.5, 0.4, 0.9, first_stage=3)
    assert len(log) == 5
    assert [VALIDATION in epoch for epoch in log] == [False] * 3 + [True] * 2
    assert _same(state, script.states[0])


def test_validation_changes_no_step() -> None:
    plan = Plan([(PHASES, Schedule(3, 4, noise=0.3))])
    network, log = _train(plan)
    watched, watched_log = _train(plan, accuracy=Script(0.1, 0.2, 0.3))
    assert _same(_state(network), _state(watched))
    assert [{k: v for k, v in epoch.items() if k != VALIDATION} for epoch in watched_log] == log


def test_networks_train_in_training_mode() -> None:
    modes: list[bool] = []

    def losses(network: Toy, batch: Batch, *rest: Tensor) -> Losses:
        modes.append(network.training)
        return _one(network, batch, *rest)

    plan = Plan([([replace(PHASES[0], losses=losses)], Schedule(3, 11))])
    _train(plan, accuracy=Script(0.1, 0.2, 0.3))
    assert modes == [True] * 3


def test_patience_without_validation_trains_to_the_end() -> None:
    network, log = _train(Plan([(PHASES, Schedule(5, 4))], Fitting(patience=1)))
    expected, _ = _train(_turns((5, 4)))
    assert len(log) == 5
    assert _same(_state(network), _state(expected))


def test_a_member_that_has_stopped_may_diverge() -> None:
    """What becomes of it while others go on is not used."""
    phase = Phase(_explode, lambda p: optim.SGD(p, 1), lambda epoch: 0 if epoch < 2 else 100.0)
    fine = Plan([(JOINT, Schedule(6, 11))], Fitting(patience=1))
    members = [_member(number, fine) for number in range(2)]

    def losses(
        network: Toy, batch: Batch, encoding: Tensor, pairs: Tensor, labels: Tensor
    ) -> Losses:
        exploding = _explode(network, batch, encoding, pairs)["boom"]
        return {"boom": torch.where(labels[:, 0] > 0, exploding, exploding * 0)}

    stages = []
    for number, member in enumerate(members):
        (stage,) = member.stages
        labels = np.full((len(stage.examples), 1), 1.0 - number)
        stages.append(replace(stage, phases=[replace(phase, losses=losses)], labels=labels))
    trainees = [replace(m, stages=[s]) for m, s in zip(members, stages, strict=True)]
    scripts = Script(0.5, 0.4), Script(*np.linspace(0.1, 0.6, 6).tolist())
    networks, logs = train(trainees, _feed(), fine.fitting, scripts)
    assert [len(log) for log in logs] == [2, 6]
    assert _same(_state(networks[0]), scripts[0].states[0])
    assert all(value.isfinite().all() for value in _state(networks[0]).values())


# Interruptions.


class _InterruptedError(Exception):
    pass


def _interrupting(at: int) -> Callable[..., None]:
    """A listener that ends a training when the first member has done so many epochs."""

    def listen(member: int, epoch: int, epochs: int, log: EpochLog) -> None:
        if epoch == at and member == 0:
            raise _InterruptedError

    return listen


@pytest.fixture
def keeping(tmp_path: Path) -> Keeping:
    return Keeping(tmp_path / "checkpoint", 0)


def _once(
    plan: Plan, together: bool, keeping: Keeping | None, on_epoch: Callable[..., None]
) -> tuple[list[State], list[list[EpochLog]]]:
    if together:
        networks, logs = _train_all(plan, on_epoch, keeping)
    else:
        members, accuracies = [_member(0, plan, among_all=False)], [_wavering(0)]
        networks, logs = train(members, _feed(0), plan.fitting, accuracies, keeping, on_epoch)
    return [_state(network) for network in networks], logs


@every_plan
@pytest.mark.parametrize("together", [False, True])
def test_an_interrupted_training_ends_with_the_same_bits(
    plan: Plan, together: bool, keeping: Keeping
) -> None:
    """Interrupted in every epoch; each call does one epoch more than the one before."""
    told: list[int] = []
    expected, expected_logs = _once(
        plan, together, None, lambda member, epoch, *rest: told.append(epoch)
    )
    last = max(map(len, expected_logs))
    for at in range(1, 1 + len(expected_logs[0])):
        with pytest.raises(_InterruptedError):
            _once(plan, together, keeping, _interrupting(at))
        assert (checkpoint.read(keeping.path) is None) == (at == 1)
    again: list[int] = []
    found, logs = _once(plan, together, keeping, lambda m, epoch, *rest: again.append(epoch))
    assert logs == expected_logs
    assert all(_same(ours, theirs) for ours, theirs in zip(found, expected, strict=True))
    first = len(expected_logs[0])
    assert again == [epoch for epoch in told if epoch >= first]
    assert max(again) == last


@pytest.mark.parametrize("together", [False, True])
def test_a_finished_training_takes_no_step_again(keeping: Keeping, together: bool) -> None:
    plan = PLANS["everything"]
    expected, expected_logs = _once(plan, together, keeping, lambda *epoch: None)
    found, logs = _once(plan, together, keeping, lambda *epoch: pytest.fail("trained again"))
    assert logs == expected_logs
    assert all(_same(ours, theirs) for ours, theirs in zip(found, expected, strict=True))


def test_a_checkpoint_is_written_at_once_as_often_as_asked_and_at_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, written = [0.0], list[int]()
    plan, keeping = _turns((10, 4)), Keeping(tmp_path / "checkpoint", 2.5)
    write = checkpoint.write

    def note(path: Path, content: dict[str, object]) -> None:
        written.append(len(content["logs"][0]))  # type: ignore[index]
        write(path, content)

    def tick(*epoch: object) -> None:
        clock[0] += 1

    monkeypatch.setattr("aqakit.models.training.time.monotonic", lambda: clock[0])
    monkeypatch.setattr(checkpoint, "write", note)
    _once(plan, False, keeping, tick)
    assert written == [1, 4, 7, 10, 10]


def test_a_rate_that_changes_goes_on_where_it_stands(keeping: Keeping) -> None:
    rates: list[float] = []

    def rate(epoch: int) -> float:
        rates.append(epoch)
        return 0.1 / (1 + epoch)

    plan = Plan([([replace(PHASES[0], rate=rate)], Schedule(5, 11))])
    with pytest.raises(_InterruptedError):
        _once(plan, False, keeping, _interrupting(4))
    _once(plan, False, keeping, lambda *epoch: None)
    assert rates == [0, 1, 2, 3, 3, 4]


def _damages() -> Iterator[tuple[str, Callable[[bytes], bytes]]]:
    yield "empty", lambda content: b""
    yield "text", lambda content: b"hello\nworld"
    yield "noise", lambda content: np.random.default_rng(0).bytes(3000)
    for share in (0.02, 0.5, 0.9, 0.999):
        yield f"cut at {share}", functools.partial(_cut, share)


def _cut(share: float, content: bytes) -> bytes:
    return content[: int(share * len(content))]


@pytest.mark.parametrize(("name", "damage"), list(_damages()), ids=[n for n, _ in _damages()])
def test_a_damaged_checkpoint_is_one_line(
    name: str, damage: Callable[[bytes], bytes], keeping: Keeping
) -> None:
    _once(_turns((2, 4)), False, keeping, lambda *epoch: None)
    keeping.path.write_bytes(damage(keeping.path.read_bytes()))
    with pytest.raises(RecipeError) as caught:
        _once(_turns((2, 4)), False, keeping, lambda *epoch: None)
    message = str(caught.value)
    assert message.startswith(f"{keeping.path} is no checkpoint of this training (")
    assert message.endswith("); remove it to start anew")
    assert "\n" not in message


@pytest.mark.parametrize("together", [False, True])
def test_the_checkpoint_of_another_training_is_one_line(keeping: Keeping, together: bool) -> None:
    plan = _turns((3, 4))
    with pytest.raises(_InterruptedError):
        _once(plan, together, keeping, _interrupting(2))
    for other in (not together, together):
        changed = plan if other != together else Plan([(JOINT, Schedule(3, 4))])
        with pytest.raises(RecipeError, match="is no checkpoint of this training .*; remove it"):
            _once(changed, other, keeping, lambda *epoch: None)
    _once(plan, together, keeping, lambda *epoch: None)


def test_steps_go_on_without_end() -> None:
    steps = steps_of(_member(0, _turns((1, 4)), among_all=False), _feed(0), PLAIN)
    taken = list(itertools.islice(steps, 20))
    assert all(loss.isfinite() and loss.ndim == 0 for losses in taken for loss in losses.values())
    assert len({float(losses.get("one", torch.zeros(()))) for losses in taken[::2]}) > 5
