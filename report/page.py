"""What the page of a run shows, as plain values: every number is made, only its look is not.

``dossier.py`` makes these from a run folder, ``render.py`` makes HTML of them. All times are seconds of
the video file's own clock, as a player shows them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from ..models.reading import Reading
    from ..models.row import Row

Tells = Literal["good", "bad", "notable"]


@dataclass(frozen=True)
class Moment:
    """A stretch of a video that did much to its score.

    Args:
        start_seconds: of the stretch.
        centre_seconds: where a picture of it is taken.
        end_seconds: of the stretch.
        tells: whether it speaks for the performance, against it, or neither.
        why: a few words, such as ``highest attention to low skill``.
        step: number of the step, from 0.
    """

    start_seconds: float
    centre_seconds: float
    end_seconds: float
    tells: Tells
    why: str
    step: int


@dataclass(frozen=True)
class Story:
    """What the head makes of one video.

    Args:
        times: (T, 3) start, centre and end of each step in seconds; nan where unknown.
        curves: by name, (T,).
        readings: by name of a curve, how a person reads it.
        flags: by name, (T,) which steps are found to be something, for example faulty.
        maps: by name, (T, H, W) weight of each place of the frame, not negative.
        parts: by name, what the score is made of.
        notes: by name, a few words.
        moments: the most telling ones, in order of time.
    """

    times: NDArray[np.float64]
    curves: Mapping[str, NDArray[np.float64]]
    readings: Mapping[str, Reading]
    flags: Mapping[str, NDArray[np.bool_]] = field(default_factory=dict)
    maps: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)
    parts: Mapping[str, float] = field(default_factory=dict)
    notes: Mapping[str, str] = field(default_factory=dict)
    moments: tuple[Moment, ...] = ()


@dataclass(frozen=True)
class Film:
    """What the player of a video plays and shows.

    Args:
        copy: a small MP4 or WebM, for the page itself; None where there is none.
        media_type: of the copy, for example ``video/mp4``.
        link: URL of the video's own file, relative or absolute; empty where there is none.
        begins_seconds: time, on the file's clock, of the first frame of the copy; 0 of a link.
        thumbnail: JPEG of the whole frame, about 120 pixels wide; None where there is none.
        stills: by centre of a moment in seconds, JPEG of the whole frame.
        missing: why there is nothing to play, one sentence; empty where there is.
        fault: what is wrong with what can be played, one sentence, such as a file that breaks off.
    """

    copy: bytes | None = None
    media_type: str = "video/mp4"
    link: str = ""
    begins_seconds: float = 0.0
    thumbnail: bytes | None = None
    stills: Mapping[float, bytes] = field(default_factory=dict)
    missing: str = ""
    fault: str = ""


@dataclass(frozen=True)
class Entry:
    """One video of the ranking, and its section.

    Args:
        id: any text.
        part: ``train``, ``val``, ``test``, or several joined by ``+``; ``new`` of a video that is in none.
        subject: who performs it; empty where unknown.
        task: what is performed; empty where unknown.
        score: of the model, one number for all seeds (``models/standing.py``).
        deviation: of the score over seeds; nan of one seed.
        rank: 1 for the best; ties share the better place.
        truth: label; nan where unknown.
        won: of its labelled pairs in which it is the better one, and of all; (0, 0) without pairs.
        agreed: test pairs of it that the model orders as the labels do, and of all.
        story: what the head makes of it; None where it cannot be told.
        untold: why there is no story, one sentence.
        film: what can be played.
        rival: place, in the list of entries, of the better-ranked video that it is first compared
            with; None of the best.
        remarks: what a careful person wants to know of the score, a few words each.
    """

    id: str
    part: str
    subject: str
    task: str
    score: float
    deviation: float
    rank: int
    truth: float
    won: tuple[int, int] = (0, 0)
    agreed: tuple[int, int] = (0, 0)
    story: Story | None = None
    untold: str = ""
    film: Film = Film()
    rival: int | None = None
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True)
class Plane:
    """Videos in the plane, alike ones near each other.

    Args:
        method: ``t-SNE`` or ``PCA``.
        places: (V, 2) of the entries with a story, in their order.
        members: (V,) places in the list of entries.
    """

    method: str
    places: NDArray[np.float64]
    members: NDArray[np.int64]


@dataclass(frozen=True)
class Page:
    """All that the page of a run shows.

    Args:
        title: the recipe's, for example ``rank-aware-attention``.
        facts: what was trained on what: term and description, in order.
        rows: of the table: the run's own, other runs beside it, then controls.
        warnings: sentences on how far to trust the numbers; what is worst first.
        notes: sentences that explain how the numbers on the page were made.
        entries: all videos, the best first.
        scaled: whether scores are on the scale of the labels.
        learning: by name of a loss or of the validation accuracy, by seed, its value epoch by epoch.
        plane: of the embeddings; None where the head embeds none.
        tables: by name, figures over all videos, such as ``filter_correlation``, (n, m).
    """

    title: str
    facts: Sequence[tuple[str, str]]
    rows: Sequence[Row]
    warnings: Sequence[str]
    notes: Sequence[str]
    entries: Sequence[Entry]
    scaled: bool = False
    learning: Mapping[str, Mapping[int, Sequence[float]]] = field(default_factory=dict)
    plane: Plane | None = None
    tables: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)
