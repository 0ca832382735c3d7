"""The figures of a page as SVG: no picture files, sharp at any size, in the page's own colours.

Whoever shows a figure gives it a heading and its caption. ``templates/figures.css`` holds all looks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from markupsafe import Markup

from .curves import learning_figures
from .heat import table_figures
from .page import Page
from .panel import WIDTH, Drawing
from .points import plane_figure, score_figure
from .templating import environment


@dataclass(frozen=True)
class Figure:
    """One figure of the page.

    Args:
        id: of its element, unique on the page; ids of its parts begin with it.
        title: a few words, for a heading.
        caption: what is to be seen, and how far to trust it.
        svg: the drawing. A point of a video links to ``#video-N``, N its place in the list of entries.
    """

    id: str
    title: str
    caption: str
    svg: Markup


def figures_of(page: Page) -> Sequence[Figure]:
    """Those figures that a page has data for, the most important first.

    Args:
        page: of a run.

    Raises:
        ValueError: a table of the page is not (n, m).
    """
    first = [score_figure(page), *learning_figures(page), plane_figure(page)]
    drawings = [drawing for drawing in first if drawing is not None] + table_figures(page)
    return [
        Figure(drawing.id, drawing.title, drawing.caption, Markup(_macro()(drawing, WIDTH)))
        for drawing in drawings
    ]


@cache
def _macro() -> Callable[[Drawing, float], Markup]:
    """What makes SVG of a drawing."""
    module: Any = environment().get_template("figures.html.j2").module
    made: Callable[[Drawing, float], Markup] = module.svg
    return made
