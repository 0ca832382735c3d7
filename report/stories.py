"""The story of a video: what its head makes of it, and the few moments that tell the most.

A moment is a step that stands out of a curve. The first kind of curve that has such a step speaks:
values that attention weighs, attention alone, values, scores so far. How much a step counts does not
say whether it was good: attention to high skill may look for it in vain. So where a head gives both,
attention finds the moments and the step's value says what they are.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ..models.head import Explanation
from ..models.reading import Reading, reading_of
from .page import Moment, Story, Tells

_MOST = 3
_FEWEST_STEPS_BETWEEN = 2
_SHARE_BETWEEN = 0.1
# In standard deviations of a curve: a step within is one of many that are much alike.
_STANDS_OUT = 0.75
# Attention that is spread almost evenly tells nothing, however much its small waves stand out.
_TIMES_AN_EVEN_SHARE = 1.25
# A curve that differs by rounding alone is constant.
_ROUNDING = 1e-6
_UP, _DOWN = 1, -1

Array = NDArray[np.float64]


def story_of(explanation: Explanation, readings: Mapping[str, Reading]) -> Story:
    """What the head makes of one video, with its most telling moments.

    There are at most three that speak for the performance and three against it or, where none does,
    three that counted most. None is nearer to another than two steps or a tenth of the video. Flags
    are taken to speak against it. Steps of unknown times make no moments: no player could go there.

    Args:
        explanation: of the video.
        readings: of the head's file, how its curves are read.
    """
    story = Story(
        times=np.asarray(explanation.times, dtype=np.float64),
        curves=explanation.curves,
        readings={name: reading_of(name, readings) for name in explanation.curves},
        flags=explanation.flags,
        maps=explanation.maps,
        parts=explanation.scores,
        notes=explanation.notes,
    )
    return replace(story, moments=tuple(_moments(story)))


@dataclass(frozen=True)
class _Curve:
    """A curve that may speak.

    Args:
        reading: how it is read.
        told: (T,) its values or, of a score so far, the change at each step.
        pull: (T,) up or down: off the mean, as far as the step counts, or that change.
        outside: (T,) standard deviations that the pull is off its mean; 0 of a constant curve.
        may: (T,) which steps may be a moment.
        attention: what weighs it; None where nothing does.
    """

    reading: Reading
    told: Array
    pull: Array
    outside: Array
    may: NDArray[np.bool_]
    attention: "_Curve | None" = None

    def words(self, step: int, direction: int) -> str:
        """Why a step is a moment."""
        if self.attention is not None:
            found = "high" if direction == _UP else "low"
            return f"{self.attention.words(step, _UP)}, {found} score there"
        most = direction * self.told[step] >= np.nanmax(direction * self.told)
        if self.reading.kind == "running":
            way = "rise" if direction == _UP else "fall"
            return f"{'greatest ' if most else ''}{way} of the {self.reading.label}"
        return (
            f"{'high' if direction == _UP else 'low'}{'est' if most else ''} {self.reading.label}"
        )


@dataclass(frozen=True)
class _Found:
    """A step that stands out of a curve, upwards or downwards, or that is flagged."""

    curve: _Curve
    step: int
    direction: int
    tells: Tells
    flag: str = ""

    @property
    def strength(self) -> float:
        """How far it stands out."""
        return self.direction * float(self.curve.outside[self.step])

    @property
    def why(self) -> str:
        """Words for it."""
        words = self.curve.words(self.step, self.direction)
        return f"looks {self.flag}: {words}" if self.flag else words


def _moments(story: Story) -> list[Moment]:
    chosen: list[_Found] = []
    for one in sorted(_candidates(story), key=lambda own: (-own.strength, own.step)):
        known = bool(np.isfinite(story.times[one.step]).all())
        full = sum(other.tells == one.tells for other in chosen) >= _MOST
        if known and not full and all(_apart(story.times, one.step, o.step) for o in chosen):
            chosen.append(one)
    moments = [_moment(story.times[one.step].tolist(), one) for one in chosen]
    return sorted(moments, key=lambda moment: (moment.centre_seconds, moment.step))


def _moment(seconds: Sequence[float], found: _Found) -> Moment:
    start, centre, end = seconds
    return Moment(start, centre, end, found.tells, found.why, found.step)


def _apart(times: Array, step: int, other: int) -> bool:
    length = np.nanmax(times[:, 2]) - np.nanmin(times[:, 0])
    seconds = abs(times[step, 1] - times[other, 1])
    return abs(step - other) >= _FEWEST_STEPS_BETWEEN and seconds >= _SHARE_BETWEEN * length


def _candidates(story: Story) -> list[_Found]:
    """What speaks for it and against it, each by the first kind of curve that has something."""
    kinds = [*_kinds(story)]
    found: list[_Found] = []
    for tells in ("good", "bad"):
        own = ([one for one in kind if one.tells == tells] for kind in kinds)
        found += next(filter(None, own), [])
    attention = [_curve(story, name) for name in _shown(story, "attention")]
    return found or [one for curve in attention for one in _steps(curve, _UP, "notable")]


def _kinds(story: Story) -> Iterator[list[_Found]]:
    """What each kind of curve has to say, in the order in which they may speak."""
    curves = [_curve(story, name) for name in _shown(story)]
    weighers = {story.readings[name].weighed_by for name in story.curves}
    yield [*_flagged(story, curves)]
    yield [one for curve in curves if curve.attention for one in _spoken(curve)]
    alone = [_curve(story, name) for name in _shown(story, "attention") if name not in weighers]
    yield [one for curve in alone for one in _spoken(curve)]
    for kind in ("value", "running"):
        yield [one for curve in curves if curve.reading.kind == kind for one in _spoken(curve)]


def _shown(story: Story, *kinds: str) -> list[str]:
    """Names of curves that are no details, of these kinds or of all."""
    readings = story.readings.items()
    return [name for name, own in readings if not own.detail and (not kinds or own.kind in kinds)]


def _curve(story: Story, name: str) -> _Curve:
    reading = story.readings[name]
    values = np.asarray(story.curves[name], np.float64)
    scale = float(np.abs(values[np.isfinite(values)]).max(initial=0.0))
    if reading.kind == "running":
        told = np.diff(values, prepend=values[:1])
        return _Curve(reading, told, told, _outside(told, scale), np.isfinite(told))
    pull = values - _mean(values)
    if reading.kind == "attention":
        may = values > _TIMES_AN_EVEN_SHARE * _mean(values)
        return _Curve(reading, values, pull, _outside(pull, scale), may)
    if reading.weighed_by in story.curves:
        attention = _curve(story, reading.weighed_by)
        if attention.may.any():
            # Where weights sum to 1, the sum of these is what attention makes of the mean step.
            pull = pull * attention.told
            outside = _outside(pull, scale * float(np.nanmax(attention.told)))
            return _Curve(reading, values, pull, outside, attention.may, attention)
    return _Curve(reading, values, pull, _outside(pull, scale), np.isfinite(values))


def _mean(values: Array) -> float:
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else 0.0


def _outside(values: Array, scale: float) -> Array:
    known = np.isfinite(values)
    out = np.zeros(len(values))
    if known.any() and (deviation := values[known].std()) > _ROUNDING * scale:
        out[known] = (values[known] - values[known].mean()) / deviation
    return out


def _spoken(curve: _Curve) -> Iterator[_Found]:
    """What a curve has to say, for and against."""
    says = curve.reading.says
    if says in ("good", "both"):
        yield from _steps(curve, _UP, "good")
    if says in ("bad", "both"):
        yield from _steps(curve, _DOWN if says == "both" else _UP, "bad")


def _steps(curve: _Curve, direction: int, tells: Tells) -> Iterator[_Found]:
    """Steps that stand out of a curve, upwards or downwards."""
    height = direction * curve.outside
    around = np.pad(height, 1, constant_values=-np.inf)
    # Not the slope of a peak that is told already.
    peaks = (height >= around[:-2]) & (height >= around[2:])
    stands_out = peaks & curve.may & (height > _STANDS_OUT) & (direction * curve.pull > 0)
    for step in np.flatnonzero(stands_out).tolist():
        yield _Found(curve, step, direction, tells)


def _flagged(story: Story, curves: Sequence[_Curve]) -> Iterator[_Found]:
    """Flagged steps, the lowest of a value the furthest out."""
    curve = next((one for one in curves if one.reading.kind == "value" and one.outside.any()), None)
    if curve is None:
        return
    for name, flags in story.flags.items():
        for step in np.flatnonzero(flags).tolist():
            yield _Found(curve, step, _DOWN, "bad", name)
