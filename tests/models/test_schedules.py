import pytest
from hypothesis import given
from hypothesis import strategies as st

from aqakit.models.schedules import constant, cycle, step_decay

EPOCHS = st.integers(0, 10_000)


@given(EPOCHS)
def test_constant_never_changes(epoch: int) -> None:
    assert constant(0.3)(epoch) == 0.3


def test_cycle_switches_where_the_paper_does() -> None:
    rate = cycle((1e-4, 1e-5, 1e-6), (20, 50, 100))
    expected = [1e-4] * 20 + [1e-5] * 30 + [1e-6] * 50
    assert [rate(epoch) for epoch in range(300)] == expected * 3


@given(EPOCHS, st.lists(st.integers(1, 5), min_size=1, max_size=4))
def test_cycle_holds_each_rate_for_its_stretch(epoch: int, lengths: list[int]) -> None:
    ends = [sum(lengths[: number + 1]) for number in range(len(lengths))]
    rates = [10.0**-number for number in range(len(lengths))]
    within, number = epoch % sum(lengths), 0
    while within >= lengths[number]:
        within -= lengths[number]
        number += 1
    assert cycle(rates, ends)(epoch) == rates[number]


@pytest.mark.parametrize(
    ("rates", "ends", "message"),
    [
        ((), (), "0 rates for 0 ends"),
        ((1.0, 2.0), (5,), "2 rates for 1 ends"),
        ((1.0, 2.0), (5, 5), r"ends are \(5, 5\)"),
        ((1.0,), (0,), r"ends are \(0,\)"),
    ],
)
def test_cycle_refuses_what_is_none(
    rates: tuple[float, ...], ends: tuple[int, ...], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        cycle(rates, ends)


def test_step_decay_steps_down() -> None:
    rate = step_decay(0.8, 0.5, 3)
    expected = [0.8] * 3 + [0.4] * 3 + [0.2] * 3
    assert [rate(epoch) for epoch in range(9)] == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("every", [0, -1])
def test_step_decay_refuses_no_steps(every: int) -> None:
    with pytest.raises(ValueError, match=f"every is {every}"):
        step_decay(1.0, 0.5, every)
