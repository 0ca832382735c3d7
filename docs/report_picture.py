"""The picture of a report in the README, from the demo's page.

    make demo && .venv/bin/python docs/report_picture.py demo/report.html

Left the top of the page; right the section of the worst test video that has moments for and against it,
its player at the first moment against it.
"""

import shutil
import sys
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from playwright.sync_api import Page, sync_playwright

WIDTH, HEIGHT, GAP = 1000, 1180, 24
COLOURS = 128


def picture(png: bytes) -> NDArray[np.uint8]:
    """(H, W, 3) of a PNG, cut or padded to one height."""
    found = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR)
    assert found is not None
    padded = np.full((HEIGHT, WIDTH, 3), found[-1, -1], np.uint8)
    cut = found[:HEIGHT, :WIDTH]
    left = (WIDTH - cut.shape[1]) // 2
    padded[: len(cut), left : left + cut.shape[1]] = cut
    return padded


def of_section(tab: Page) -> bytes:
    """The section, opened."""
    for section in reversed(tab.locator("details.video:has(.badge.tested)").all()):
        section.locator("summary").click()
        moments = section.locator(".moments button")
        moments.first.wait_for()
        if section.locator(".moments .bad").count() and section.locator(".moments .good").count():
            section.locator(".moments .bad").first.click()
            tab.wait_for_timeout(1000)
            section.scroll_into_view_if_needed()
            tab.mouse.move(0, 0)
            return section.screenshot()
        section.locator("summary").click()
    raise SystemExit("no test video has moments for and against it")


def main(page: Path, out: Path) -> None:
    """Open the page twice and write both pictures side by side."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-gpu"]
        )
        tab = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT})
        tab.goto(page.resolve().as_uri())
        top = picture(tab.screenshot())
        section = picture(of_section(tab))
        browser.close()
    gap = np.full((HEIGHT, GAP, 3), 128, np.uint8)
    cv2.imwrite(str(out), fewer_colours(np.hstack([top, gap, section])))


def fewer_colours(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The picture at two thirds of its size, in steps that compress well."""
    small = cv2.resize(image, None, fx=2 / 3, fy=2 / 3, interpolation=cv2.INTER_AREA)
    step = 256 // COLOURS
    return (small // step * step).astype(np.uint8)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(__file__).with_name("report.png"))
