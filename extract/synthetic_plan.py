"""Script a manipulation task of known skill: where the tool and the pegs are, and what goes wrong.

A tool carries pegs one after another from a tray to the holes of a board, as in the peg transfer
task of surgical training. Skill in [0, 1] sets how much of four mistakes happens: tremor,
hesitation, detour and drop. Tempo, the number of pegs and the places of everything depend on the
seed alone, so that two scripts of one seed show the same task done better and worse.

A second tool may assist, see ``synthetic_second``. How well it keeps to the first is then the larger
part of the skill shown.

Inside this file lengths are in short sides of the picture; ``synthetic_scene`` draws the pixels.
"""

import itertools
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from .synthetic_chance import shares, stretches
from .synthetic_second import Fault, Second, draw_base, draw_faults, own_joints, second_path

Kind = Literal["tremor", "hesitation", "detour", "drop", "lag", "drift", "wrong-way"]
Box = tuple[int, int, int, int]
Points = NDArray[np.float64]

_EDGE = 0.06
_BOX_MARGIN = 0.09
_GRASP_SECONDS = 0.15
_FALL_SECONDS = 0.25
_SURPRISE_SECONDS = 0.1

# What the seed varies and skill does not.
_PEGS = (2, 3)
_SECONDS_PER_PEG = (1.5, 1.9)
_LIFT = (0.2, 0.3)

# How much goes wrong at skill 0, and the range of one mistake. Hesitation, detour and drops are for
# each peg, tremor is a share of the whole time; its amplitude is that of each sine. Tremor costs no
# time, so that the length of a video says little about skill.
_HESITATION_SECONDS, _HESITATION_RANGE = 0.18, (0.2, 0.4)
_DETOUR_LENGTH, _DETOUR_RANGE = 0.1, (0.1, 0.2)
_DROPS, _NO_DROPS_ABOVE = 0.35, 0.8
_TREMOR_SHARE, _TREMOR_RANGE = 0.85, (0.3, 0.8)
_TREMOR_AMPLITUDE, _TREMOR_HERTZ = (0.03, 0.1), (3.0, 8.0)
# Totals vary by this share either way between performances of one skill.
_LUCK = 0.05
# Of the true score, where a second tool assists.
SYNCHRONISATION_SHARE = 0.6
# Streams of random numbers of one seed; the scene has the two between.
_TASK_STREAM, _SLIP_STREAM, _TREMOR_STREAM, _FAULT_STREAM, _SWAY_STREAM = 0, 1, 2, 5, 6


@dataclass(frozen=True)
class Mistake:
    """One mistake, with the time and the part of the picture that hold it.

    Args:
        kind: what went wrong.
        start_seconds: its beginning.
        end_seconds: its end, at most the duration of the performance.
        box: x0, y0, x1, y1 in pixels, x1 and y1 exclusive; holds the tool whose mistake it is
            throughout, and a peg that falls.
    """

    kind: Kind
    start_seconds: float
    end_seconds: float
    box: Box


@dataclass(frozen=True, eq=False)
class Performance:
    """The script of one video.

    Args:
        id: name of the video.
        subject: who performs.
        skill: 0 (worst) to 1 (best); the true score.
        execution: 0 to 1, skill of the tool that carries pegs; all of the skill where it is alone.
        seed: of everything that skill does not set, here and in the picture.
        size: width and height in pixels.
        fps: frames a second.
        mistakes: in the order of their beginning.
        tool_path: (F, 2) x and y of the tool's tip in pixels, one row a frame.
        peg_paths: (F, P, 2) x and y of the centre of each peg in pixels.
        held: (F,) number of the peg in the gripper; -1 for none.
        holes: (P, 2) where each peg belongs, in pixels.
        second: the tool that assists; None where there is none.
    """

    id: str
    subject: str
    skill: float
    execution: float
    seed: int
    size: tuple[int, int]
    fps: float
    mistakes: tuple[Mistake, ...]
    tool_path: Points
    peg_paths: Points
    held: NDArray[np.int64]
    holes: Points
    second: Second | None = None

    @property
    def duration_seconds(self) -> float:
        """Time that the frames fill."""
        return len(self.tool_path) / self.fps


def plan(
    skill: float,
    seed: int,
    *,
    id: str = "synthetic",
    subject: str = "",
    size: tuple[int, int] = (160, 120),
    fps: float = 10.0,
    synchronisation: float | None = None,
) -> Performance:
    """Script one performance.

    Args:
        skill: of the tool that carries pegs, 0 (worst) to 1 (best).
        seed: not negative; another one gives another task, tempo, luck and scene.
        id: name of the video.
        subject: who performs.
        size: width and height in pixels.
        fps: frames a second.
        synchronisation: how well a second tool keeps to the first, 0 (worst) to 1 (best); None for
            no such tool. It changes nothing of what the first one does.

    Raises:
        ValueError: a skill or synchronisation outside [0, 1], or a size or rate that cannot be drawn.
    """
    for name, value in (("skill", skill), ("synchronisation", synchronisation)):
        if value is not None and not 0 <= value <= 1:
            raise ValueError(f"{name} is {value}; it lies in 0..1")
    if min(size) < 32 or not 1 <= fps < np.inf:
        raise ValueError(f"{size} at {fps} fps; expected at least 32 pixels and 1 frame a second")
    unit = float(min(size))
    picture = np.array(size) / unit
    task = _draw_task(picture, np.random.default_rng([seed, _TASK_STREAM]))
    script = _Script(task.speed, picture)
    slips = _draw_slips(1 - skill, task.legs, np.random.default_rng([seed, _SLIP_STREAM]))
    script.perform(task, slips)
    bursts = _draw_bursts(1 - skill, script.now, np.random.default_rng([seed, _TREMOR_STREAM]))
    # The last frame shows the end of the script.
    times = np.arange(np.ceil(script.now * fps) + 1) / fps
    tool = script.tool_at(times) + sum(burst.at(times) for burst in bursts)
    tool = tool.clip(_EDGE, picture - _EDGE)
    pegs, held = script.pegs_at(times, tool, task.pegs)
    spans = [*script.spans, *(_Span("tremor", b.start_seconds, b.end_seconds) for b in bursts)]
    mistakes = [_mistake(span, _seen(span, fps, tool, pegs), unit, size) for span in spans]
    second, score = None, skill
    if synchronisation is not None:
        second, faults = _assist(synchronisation, seed, script, times, unit)
        spans = [_Span(fault.kind, fault.start_seconds, fault.end_seconds) for fault in faults]
        places = second.path / unit
        mistakes += [_mistake(span, _seen(span, fps, places, pegs), unit, size) for span in spans]
        score = SYNCHRONISATION_SHARE * synchronisation + (1 - SYNCHRONISATION_SHARE) * skill
        score = round(score, 4)
    return Performance(
        id=id,
        subject=subject,
        skill=score,
        execution=skill,
        seed=seed,
        size=size,
        fps=fps,
        mistakes=tuple(sorted(mistakes, key=lambda mistake: mistake.start_seconds)),
        tool_path=tool * unit,
        peg_paths=pegs * unit,
        held=held,
        holes=task.holes * unit,
        second=second,
    )


def _assist(
    synchronisation: float, seed: int, script: "_Script", times: NDArray[np.float64], unit: float
) -> tuple[Second, tuple[Fault, ...]]:
    """The second tool and its mistakes."""
    picture = script.picture
    rng = np.random.default_rng([seed, _SWAY_STREAM])
    faults = draw_faults(synchronisation, script.now, np.random.default_rng([seed, _FAULT_STREAM]))
    path = second_path(script.tool_at, times, faults, picture, rng).clip(_EDGE, picture - _EDGE)
    return Second(synchronisation, path * unit, own_joints(times, rng), draw_base(rng)), faults


@dataclass(frozen=True, eq=False)
class _Leg:
    """An arc from one place to another: a quadratic Bezier curve, lifted upwards in its middle."""

    start: Points
    end: Points
    lift: float = 0.0

    def at(self, fraction: NDArray[np.float64] | float) -> Points:
        """(..., 2) place after a fraction of the leg."""
        f = np.asarray(fraction)[..., None]
        middle = (self.start + self.end) / 2 - np.array([0.0, self.lift])
        return np.asarray((1 - f) ** 2 * self.start + 2 * f * (1 - f) * middle + f**2 * self.end)

    def length(self, begin: float = 0.0, end: float = 1.0) -> float:
        """Way along the arc between two fractions."""
        steps = np.diff(self.at(np.linspace(begin, end, 33)), axis=0)
        return float(np.hypot(steps[:, 0], steps[:, 1]).sum())


@dataclass(frozen=True, eq=False)
class _Task:
    """What is to be done: legs to each peg and on to its hole by turns, then back to rest."""

    pegs: Points
    holes: Points
    legs: Sequence[_Leg]
    speed: float


def _draw_task(picture: Points, rng: np.random.Generator) -> _Task:
    """Places, order and tempo."""
    count = int(rng.integers(_PEGS[0], _PEGS[1], endpoint=True))
    rows = (np.arange(count) - (count - 1) / 2)[:, None] * [0.03, 0.15]
    shift = rng.uniform(-0.04, 0.04, 2)
    pegs = picture * [0.35, 0.64] + shift + rows + rng.uniform(-0.02, 0.02, (count, 2))
    holes = picture * [0.65, 0.64] + shift - rows + rng.uniform(-0.03, 0.03, (count, 2))
    rest = picture * [0.5, 0.4] + rng.uniform(-0.04, 0.04, 2)
    stops = [rest, *np.stack([pegs, holes], axis=1).reshape(-1, 2), rest]
    legs = [
        _Leg(start, end, float(rng.uniform(*_LIFT) * np.hypot(*(end - start))))
        for start, end in itertools.pairwise(stops)
    ]
    moving_seconds = count * (rng.uniform(*_SECONDS_PER_PEG) - 2 * _GRASP_SECONDS)
    return _Task(pegs, holes, legs, sum(leg.length() for leg in legs) / moving_seconds)


@dataclass(frozen=True)
class _Slip:
    """A mistake that is going to happen after a fraction of a leg.

    ``amount`` is in seconds for a hesitation, in short sides for a detour (to the left where
    negative) and sideways for a drop.
    """

    kind: Kind
    fraction: float
    amount: float


def _draw_slips(
    clumsiness: float, legs: Sequence[_Leg], rng: np.random.Generator
) -> Mapping[int, Sequence[_Slip]]:
    """The slips of each leg, by its number; none while the tool goes back to rest."""
    slips: dict[int, list[_Slip]] = defaultdict(list)
    working = len(legs) - 1
    pegs = working // 2
    totals = pegs * clumsiness * rng.uniform(1 - _LUCK, 1 + _LUCK, 2)
    for seconds in shares(_HESITATION_SECONDS * totals[0], _HESITATION_RANGE, rng):
        slips[int(rng.integers(working))].append(
            _Slip("hesitation", rng.uniform(0.2, 0.6), seconds)
        )
    for length in shares(_DETOUR_LENGTH * totals[1], _DETOUR_RANGE, rng):
        side = length * float(rng.choice([-1, 1]))
        slips[int(rng.integers(working))].append(_Slip("detour", rng.uniform(0.2, 0.6), side))
    expected = pegs * _DROPS * max(0.0, clumsiness + _NO_DROPS_ABOVE - 1) / _NO_DROPS_ABOVE
    drops = min(int(expected + rng.random()), pegs)
    for peg in rng.choice(pegs, drops, replace=False):
        # A drop comes last on its leg: the tool goes on from where the peg fell.
        drop = _Slip("drop", rng.uniform(0.6, 0.75), rng.uniform(-0.08, 0.08))
        slips[2 * int(peg) + 1].append(drop)
    return {leg: sorted(found, key=lambda slip: slip.fraction) for leg, found in slips.items()}


@dataclass(frozen=True, eq=False)
class _Burst:
    """A while of hand shake: two sines along each axis, growing and dying away."""

    start_seconds: float
    end_seconds: float
    amplitude: float
    hertz: NDArray[np.float64]  # (2, 2) sines by axes
    phase: NDArray[np.float64]

    def at(self, seconds: NDArray[np.float64]) -> Points:
        """(F, 2) offset from the steady hand."""
        progress = (seconds - self.start_seconds) / (self.end_seconds - self.start_seconds)
        envelope = (4 * np.minimum(progress, 1 - progress)).clip(0, 1)
        waves = np.sin(2 * np.pi * self.hertz * seconds[:, None, None] + self.phase).sum(axis=1)
        # The hand shakes along the arm, which comes from above, more than across it.
        return np.asarray(self.amplitude * envelope[:, None] * waves * [0.5, 1.0])


def _draw_bursts(clumsiness: float, seconds: float, rng: np.random.Generator) -> list[_Burst]:
    """Bursts that do not overlap, anywhere in the performance."""
    total = _TREMOR_SHARE * clumsiness * rng.uniform(1 - _LUCK, 1 + _LUCK) * seconds
    low, high = _TREMOR_AMPLITUDE
    bursts = []
    for start, end in stretches(total, _TREMOR_RANGE, seconds, rng):
        amplitude = (low + (high - low) * clumsiness) * rng.uniform(1 - _LUCK, 1 + _LUCK)
        hertz, phase = rng.uniform(*_TREMOR_HERTZ, (2, 2)), rng.uniform(0, 2 * np.pi, (2, 2))
        bursts.append(_Burst(start, end, amplitude, hertz, phase))
    return bursts


@dataclass(frozen=True)
class _Span:
    """A mistake as it happened; ``peg`` is the one that fell."""

    kind: Kind
    start_seconds: float
    end_seconds: float
    peg: int | None = None


@dataclass(frozen=True, eq=False)
class _Move:
    """Part of a leg, at rest at both ends; no part at all is a stay."""

    start_seconds: float
    end_seconds: float
    leg: _Leg
    begin: float
    end: float

    def at(self, seconds: NDArray[np.float64]) -> Points:
        """(F, 2) place at each time; minimum jerk, as human reaching (Flash and Hogan, 1985)."""
        u = ((seconds - self.start_seconds) / (self.end_seconds - self.start_seconds)).clip(0, 1)
        eased = u**3 * (10 - 15 * u + 6 * u**2)
        return self.leg.at(self.begin + (self.end - self.begin) * eased)


@dataclass(frozen=True, eq=False)
class _Grip:
    """From a time on, a peg is held, or falls to where it lands and arrives there in a while."""

    seconds: float
    peg: int
    landing: Points | None = None
    fall_seconds: float = _FALL_SECONDS


class _Script:
    """Grows by one action after another; times are read off when it is complete."""

    def __init__(self, speed: float, picture: Points) -> None:
        self.now = 0.0
        self.picture = picture
        self.spans: list[_Span] = []
        self._speed = speed
        self._moves: list[_Move] = []
        self._grips: list[_Grip] = []

    def perform(self, task: _Task, slips: Mapping[int, Sequence[_Slip]]) -> None:
        """The whole task."""
        for peg, hole in enumerate(task.holes):
            self._walk(task.legs[2 * peg], slips.get(2 * peg, ()), peg)
            self._grasp(peg)
            self._walk(task.legs[2 * peg + 1], slips.get(2 * peg + 1, ()), peg)
            self._grips.append(_Grip(self.now, peg, hole, _GRASP_SECONDS))
            self._stay(_GRASP_SECONDS)
        self._walk(task.legs[-1])

    def tool_at(self, seconds: NDArray[np.float64]) -> Points:
        """(F, 2) place of the steady hand."""
        starts = [move.start_seconds for move in self._moves]
        current = np.searchsorted(starts, seconds, side="right") - 1
        places = np.empty((len(seconds), 2))
        for number, move in enumerate(self._moves):
            places[current == number] = move.at(seconds[current == number])
        return places

    def pegs_at(
        self, seconds: NDArray[np.float64], tool: Points, start: Points
    ) -> tuple[Points, NDArray[np.int64]]:
        """(F, P, 2) places of the pegs and (F,) the one that is held, given (F, 2) of the tool."""
        places = np.repeat(start[None], len(seconds), axis=0)
        held = np.full(len(seconds), -1)
        for grip in self._grips:
            later = np.flatnonzero(seconds >= grip.seconds)
            if grip.landing is None:
                places[later, grip.peg] = tool[later]
                held[later] = grip.peg
            elif len(later):
                fallen = ((seconds[later] - grip.seconds) / grip.fall_seconds).clip(0, 1)[
                    :, None
                ] ** 2
                released_at = tool[later[0]]
                places[later, grip.peg] = released_at + (grip.landing - released_at) * fallen
                held[later] = -1
        return places, held

    def _walk(self, leg: _Leg, slips: Sequence[_Slip] = (), peg: int = -1) -> None:
        done = 0.0
        for slip in slips:
            self._go(leg, done, slip.fraction)
            done, began = slip.fraction, self.now
            if slip.kind == "hesitation":
                self._stay(slip.amount)
            elif slip.kind == "detour":
                self._detour(leg, done, slip.amount)
            else:
                leg, done = self._drop(leg, done, slip.amount, peg), 0.0
            dropped = peg if slip.kind == "drop" else None
            self.spans.append(_Span(slip.kind, began, self.now, dropped))
        self._go(leg, done, 1.0)

    def _detour(self, leg: _Leg, done: float, sideways: float) -> None:
        """Off the path at right angles, and back."""
        here = leg.at(done)
        along = (leg.end - leg.start) / np.hypot(*(leg.end - leg.start))
        astray = self._inside(here + sideways * np.array([-along[1], along[0]]))
        self._go(_Leg(here, astray))
        self._go(_Leg(astray, here))

    def _drop(self, leg: _Leg, done: float, sideways: float, peg: int) -> _Leg:
        """Lose the peg and fetch it; the rest of the way starts where it fell."""
        here = leg.at(done)
        landing = self._inside(here + [sideways, leg.lift * done + 0.1])
        self._grips.append(_Grip(self.now, peg, landing))
        self._stay(_FALL_SECONDS + _SURPRISE_SECONDS)
        self._go(_Leg(here, landing))
        self._grasp(peg)
        return _Leg(landing, leg.end, leg.lift / 2)

    def _inside(self, place: Points) -> Points:
        return place.clip(2 * _EDGE, self.picture - 2 * _EDGE)

    def _go(self, leg: _Leg, begin: float = 0.0, end: float = 1.0) -> None:
        self._add(leg, begin, end, leg.length(begin, end) / self._speed)

    def _stay(self, seconds: float) -> None:
        self._add(self._moves[-1].leg, self._moves[-1].end, self._moves[-1].end, seconds)

    def _grasp(self, peg: int) -> None:
        self._stay(_GRASP_SECONDS)
        self._grips.append(_Grip(self.now, peg))

    def _add(self, leg: _Leg, begin: float, end: float, seconds: float) -> None:
        if seconds > 0:
            self._moves.append(_Move(self.now, self.now + seconds, leg, begin, end))
            self.now += seconds


def _seen(span: _Span, fps: float, tool: Points, pegs: Points) -> Points:
    """(N, 2) places of what a mistake moves, in the frames that show it."""
    first = int(span.start_seconds * fps)
    stop = int(np.ceil(span.end_seconds * fps)) + 1
    places = tool[first:stop]
    if span.peg is not None:
        places = np.concatenate([places, pegs[first:stop, span.peg]])
    return places


def _mistake(span: _Span, places: Points, unit: float, size: tuple[int, int]) -> Mistake:
    return Mistake(span.kind, span.start_seconds, span.end_seconds, _box(places, unit, size))


def _box(places: Points, unit: float, size: tuple[int, int]) -> Box:
    """Smallest box around places and a margin as wide as the gripper, within the picture."""
    low = np.floor((places.min(axis=0) - _BOX_MARGIN) * unit).clip(0)
    high = np.ceil((places.max(axis=0) + _BOX_MARGIN) * unit).clip(max=size)
    return (int(low[0]), int(low[1]), int(high[0]), int(high[1]))
