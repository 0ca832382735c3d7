"""Rules of axe-core over the page, in both colour schemes, on a phone and on a desk."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from aqakit.report.page import Entry, Page, Plane


@pytest.fixture(scope="session")
def axe() -> str:
    """The program that checks a page."""
    package = pytest.importorskip("axe_playwright_python", reason="axe-core is not installed")
    return (Path(package.__file__).parent / "axe.min.js").read_text(encoding="utf-8")


def faults(tab: Any, axe: str) -> list[str]:
    """What is seriously amiss, and where."""
    tab.evaluate(axe)
    found = tab.evaluate("() => axe.run(document, {resultTypes: ['violations', 'incomplete']})")
    return [
        f"{fault['id']}: {node['target']} {node.get('failureSummary', '')}"
        for fault in found["violations"]
        if fault["impact"] in {"serious", "critical"}
        for node in fault["nodes"]
    ]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
def test_axe_finds_no_serious_fault(
    width: int,
    scheme: str,
    axe: str,
    opened: Callable[..., Any],
    made_page: Callable[..., Page],
    told_entries: list[Entry],
) -> None:
    page = made_page(
        told_entries,
        learning={"loss": {0: [3.0, 2.0, 1.0], 1: [2.5, 2.0, 1.5]}},
        plane=Plane("PCA", np.array([[0.0, 1.0], [2.0, 0.5], [1.0, 1.0]]), np.arange(3)),
        tables={"filter_correlation": np.array([[0.9, -0.4], [0.1, -0.9]])},
    )
    tab = opened(page, width=width, scheme=scheme)
    for details in tab.locator("details > summary").all():
        details.click()
    tab.wait_for_selector("#video-1 .comparison select")
    tab.locator("#video-1").get_by_role("button", name="Show where it looked").click()
    tab.locator("#video-1").get_by_role("button", name="Show 2 more curves").click()
    assert faults(tab, axe) == []
    assert tab.evaluate("document.documentElement.scrollWidth") == width


def test_axe_would_find_one(
    axe: str,
    opened: Callable[..., Any],
    made_page: Callable[..., Page],
    made_entry: Callable[..., Entry],
) -> None:
    tab = opened(made_page([made_entry(0)]))
    tab.evaluate("document.querySelector('.ranking button').replaceChildren()")
    assert any(fault.startswith("button-name") for fault in faults(tab, axe))
