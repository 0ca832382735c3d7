"""The page of a run as one HTML file that opens from disk and asks nothing of a network.

Everything is inside: styles, the script, pictures, and small copies of the videos. A policy in the page
itself lets no other script, style or address in, so no name of a video, whatever it holds, can do harm.
"""

from __future__ import annotations

import base64
import hashlib
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from jinja2 import Environment
from markupsafe import Markup

from ..models.result import CONTROL
from ..models.row import Row
from .cells import interval, number, spread
from .figures import figures_of
from .page import Entry, Page
from .payload import holds_media, index, media, spoken, story, to_json
from .templating import TEMPLATES, environment

MADE_BY = "made by"
_STYLES = ("page.css", "figures.css")
# In the order in which they need each other.
_SCRIPTS = (
    "elements.js",
    "words.js",
    "stories.js",
    "scale.js",
    "lanes.js",
    "drawing.js",
    "legend.js",
    "timeline.js",
    "overlay.js",
    "stage.js",
    "compare.js",
    "section.js",
    "ranking.js",
    "page.js",
)
# What no HTML file may hold: control characters, and halves of characters (of file names that are no
# text) that no file can be written with.
_UNWRITABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")
_PARTS = {"train": "trained", "val": "validated", "test": "tested"}


@dataclass(frozen=True)
class Column:
    """Of the table of rows.

    Args:
        title: over the column.
        cells: one a row; empty where there is nothing to say.
    """

    title: str
    cells: Sequence[str]


def render(page: Page) -> str:
    """The whole HTML; the same page gives the same text."""
    style, script = _joined(_STYLES), _program()
    html = (
        _environment()
        .get_template("page.html.j2")
        .render(
            page=page,
            policy=_policy(style, script, page.entries),
            style=Markup(style),
            script=Markup(script),
            columns=_columns(page.rows),
            figures=figures_of(page),
            facts=[fact for fact in page.facts if fact[0] != MADE_BY],
            maker=dict(page.facts).get(MADE_BY, "aqakit"),
            parts=sorted({word for entry in page.entries for word in _parts(entry)}),
            index=to_json(index(page.entries)),
        )
    )
    return _UNWRITABLE.sub("\ufffd", html)


@cache
def _environment() -> Environment:
    own = environment()
    own.globals["CONTROL"] = CONTROL
    own.filters |= {
        "number": number,
        "exact": lambda value: "" if math.isnan(value) else repr(float(value)),
        "of": lambda counts: f"{counts[0]} of {counts[1]}" if counts[1] else "",
        "share": lambda counts: repr(counts[0] / counts[1]) if counts[1] else "",
        "parts": _parts,
        "jpeg": lambda raw: f"data:image/jpeg;base64,{base64.b64encode(raw).decode('ascii')}",
        "json": to_json,
        "spoken": spoken,
        "story": story,
        "media": media,
        "holds_media": holds_media,
    }
    return own


def _parts(entry: Entry) -> list[str]:
    """What was done with a video, in words."""
    return [_PARTS.get(part, part) for part in entry.part.split("+") if part]


def _columns(rows: Sequence[Row]) -> list[Column]:
    """As a terminal shows them; those in which no row has something to say are left out."""
    found = (
        Column("accuracy", ["" if math.isnan(row.accuracy) else spread(row) for row in rows]),
        Column("95 % interval", [interval(row.interval) for row in rows]),
        Column("seen none", [number(row.seen_none) if row.seen_test_pairs else "" for row in rows]),
        Column("seen one", [number(row.seen_one) for row in rows]),
        Column("Spearman", [number(row.spearman) for row in rows]),
        Column("ties", [f"{row.ties:.0%}" if row.ties > 0 else "" for row in rows]),
        Column("seeds", [str(row.seeds) for row in rows]),
    )
    return [column for column in found if any(column.cells)]


def _policy(style: str, script: str, entries: Sequence[Entry]) -> str:
    """Of content: this very style and script, and pictures that are in the page."""
    # Files that a page from disk, or from a server, refers to in place.
    linked = " 'self' file:" if any(entry.film.link for entry in entries) else ""
    return "; ".join(
        [
            "default-src 'none'",
            f"style-src {_hashed(style)}",
            f"script-src {_hashed(script)}",
            "img-src data:",
            f"media-src blob:{linked}",
            "base-uri 'none'",
            "form-action 'none'",
        ]
    )


def _hashed(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode('ascii')}'"


@cache
def _program() -> str:
    """All scripts as one, whose names nobody else sees."""
    return f'"use strict";\n(() => {{\n{_joined(_SCRIPTS)}}})();\n'


@cache
def _joined(names: Sequence[str]) -> str:
    return "".join((TEMPLATES / name).read_text(encoding="utf-8") for name in names)
