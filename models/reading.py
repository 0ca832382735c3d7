"""How a person reads the curves of an explanation.

A head's file says it in ``READINGS``, by name of the curve; the number at the end of a name such as
``high_filter_3`` is left out there.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

from ..features import plugins
from .head import HEADS

# attention: weights, not negative. value: what a step is worth. running: a score so far, of which
# each step's change is what it is worth.
Kind = Literal["attention", "value", "running"]
# What a high value of the curve says of the performance; both: high is good and low is bad.
Says = Literal["good", "bad", "both", "nothing"]
_NUMBERED = re.compile(r"_(\d+)$")


@dataclass(frozen=True)
class Reading:
    """How one curve is read.

    Args:
        label: a few words for a legend.
        meaning: one sentence for somebody who has not read the paper.
        kind: of number.
        says: what a high value says of the performance.
        detail: whether it is shown only when asked for.
        weighed_by: of a value, name of the attention that says how much each step's counts; empty
            where all count the same.
    """

    label: str
    meaning: str
    kind: Kind
    says: Says
    detail: bool = False
    weighed_by: str = ""


def readings_of(head: str) -> Mapping[str, Reading]:
    """What a head's file says of its curves.

    Raises:
        RecipeError: no such head.
    """
    readings: Mapping[str, Reading] = plugins.load(HEADS, head).READINGS
    return readings


def reading_of(name: str, readings: Mapping[str, Reading]) -> Reading:
    """How a curve is read; by its bare name where the head's file does not say.

    Args:
        name: of the curve; its number, if so, ends the label too.
        readings: of the head's file.
    """
    if name in readings:
        return readings[name]
    number = _NUMBERED.search(name)
    shared = readings.get(name[: number.start()]) if number else None
    if number and shared:
        return replace(shared, label=f"{shared.label} {number[1]}")
    return Reading(name.replace("_", " "), "", "value", "nothing")
