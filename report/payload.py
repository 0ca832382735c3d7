"""What the script of the page works with, as JSON that a ``<script>`` element can hold.

An index of all videos is read when the page opens. What the head makes of a video, and its pictures,
are texts of their own that are read when somebody opens its section. A curve is written as 16-bit
numbers in base64, a third of what its decimals take: 500 videos of 400 steps would fill the page.
"""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from ..models.reading import reading_of

if TYPE_CHECKING:
    from .page import Entry, Film, Moment, Story

# Code of a number that is not known; the others spread evenly from the lowest number to the highest.
UNKNOWN = 65535
_BRIGHTEST = 255
# None of these may stand in a script element, where "</script>" and "<!--" mean something.
_UNSAFE = {ord("<"): "\\u003c", ord(">"): "\\u003e", ord("&"): "\\u0026"}


def to_json(value: object) -> Markup:
    """Compact JSON, safe inside a ``<script>`` element."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return Markup(text.translate(_UNSAFE))


def index(entries: Sequence[Entry]) -> list[dict[str, Any]]:
    """What sections of other videos need to know of each."""
    return [_listed(entry) for entry in entries]


def _listed(entry: Entry) -> dict[str, Any]:
    film = entry.film
    return {
        "id": entry.id,
        "task": entry.task,
        "rank": entry.rank,
        "rival": entry.rival,
        "untold": entry.untold,
        "copy": film.copy is not None,
        "link": film.link,
        "begins": _rounded(film.begins_seconds),
        "missing": film.missing,
        "fault": film.fault,
        "media": holds_media(entry),
    }


def story(told: Story) -> dict[str, Any]:
    """What the head makes of one video."""
    start, centre, end = np.asarray(told.times, dtype=np.float64).reshape(-1, 3).T
    return {
        "steps": len(centre),
        "times": {"start": packed(start), "centre": packed(centre), "end": packed(end)},
        "curves": [_curve(name, told) for name in told.curves],
        "flags": [
            {"name": spoken(name), "steps": np.flatnonzero(flags).tolist()}
            for name, flags in told.flags.items()
        ],
        "maps": [{"name": spoken(name), **_maps(maps)} for name, maps in told.maps.items()],
        "moments": list(map(_moment, told.moments)),
    }


def media(entry: Entry) -> dict[str, Any]:
    """Pictures of one video: its copy, and a still of each moment (null where there is none)."""
    film = entry.film
    moments = () if entry.story is None else entry.story.moments
    return {
        "copy": None if film.copy is None else _base64(film.copy),
        "type": film.media_type,
        "stills": [_still(film, moment) for moment in moments],
    }


def holds_media(entry: Entry) -> bool:
    """Whether there is any picture to write for the script."""
    moments = () if entry.story is None else entry.story.moments
    stills = any(moment.centre_seconds in entry.film.stills for moment in moments)
    return stills or entry.film.copy is not None


def packed(values: NDArray[np.float64]) -> dict[str, Any]:
    """Numbers as 16 bits each between the lowest and the highest, little-endian, in base64.

    Args:
        values: (T,); those that are not finite are kept as unknown.

    Returns:
        ``low``, ``high``, and ``codes``, of which 0 stands for ``low``, 65534 for ``high`` and
        :data:`UNKNOWN` for no number.
    """
    known = np.isfinite(values)
    low, high = (values[known].min(), values[known].max()) if known.any() else (0.0, 0.0)
    codes = np.full(values.shape, UNKNOWN, dtype="<u2")
    codes[known] = np.rint((values[known] - low) / ((high - low) or 1.0) * (UNKNOWN - 1))
    ends = {"low": _rounded(low), "high": _rounded(high)}
    return {**ends, "codes": _base64(codes.tobytes())}


def _curve(name: str, told: Story) -> dict[str, Any]:
    reading = reading_of(name, told.readings)
    return {
        "label": reading.label,
        "meaning": reading.meaning,
        "kind": reading.kind,
        "says": reading.says,
        "detail": reading.detail,
        "values": packed(np.asarray(told.curves[name], dtype=np.float64)),
    }


def _maps(maps: NDArray[np.float64]) -> dict[str, Any]:
    """Eight bits a place, of which the highest is the largest weight of the whole video."""
    weights = np.nan_to_num(np.asarray(maps, dtype=np.float64), posinf=0.0, neginf=0.0)
    top = weights.max(initial=0.0)
    codes = np.rint(weights / (top or 1.0) * _BRIGHTEST).astype(np.uint8)
    return {"height": maps.shape[1], "width": maps.shape[2], "codes": _base64(codes.tobytes())}


def _moment(moment: Moment) -> dict[str, Any]:
    return {
        "start": _rounded(moment.start_seconds),
        "centre": _rounded(moment.centre_seconds),
        "end": _rounded(moment.end_seconds),
        "tells": moment.tells,
        "why": moment.why,
        "step": moment.step,
    }


def _still(film: Film, moment: Moment) -> str | None:
    found: Mapping[float, bytes] = film.stills
    picture = found.get(moment.centre_seconds)
    return None if picture is None else _base64(picture)


def _rounded(value: float) -> float | None:
    """To nine significant digits; None of what is no number."""
    return float(f"{value:.9g}") if math.isfinite(value) else None


def _base64(raw: bytes) -> str:
    return base64.b64encode(raw).decode("ascii")


def spoken(name: str) -> str:
    """A head's name for something, in words; one that holds an id of a video stays as it is."""
    return name.replace("_", " ") if name.isidentifier() else name
