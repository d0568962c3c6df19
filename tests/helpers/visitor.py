"""What a visitor does on the page."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from app.examples import load_examples

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
expect = sync_api.expect

SCREENSHOTS = Path(__file__).resolve().parents[1] / "browser" / "screenshots"
SECONDS = 30_000


def prepare(page: sync_api.Page, picture: Path) -> None:
    """The first example, or where there are none a picture and a question of our own."""
    if load_examples():
        page.locator("#examples button.gallery-item").first.click()
        expect(page.locator("#picture img")).to_be_visible()
    else:
        upload(page, picture)
        question(page).fill("What shape is in the picture?")


def upload(page: sync_api.Page, file: Path) -> None:
    clear = page.locator("#picture button[aria-label='Clear'], #picture button[title='Clear']")
    if clear.count():
        clear.first.click()
    page.locator("#picture input[type=file]").set_input_files(file)
    expect(page.locator("#picture img")).to_have_count(1)


def question(page: sync_api.Page) -> sync_api.Locator:
    return page.locator("#question textarea")


def choose_method(page: sync_api.Page, name: str) -> None:
    page.locator("#method input").click()
    page.get_by_role("option", name=name, exact=True).click()
    expect(page.locator("#budget")).to_be_visible(visible=name != "Skip-Vision")


def scrub(page: sync_api.Page, layers: int) -> None:
    """Go so many layers on."""
    slider = page.locator("#overlay-layer input[type=range]")
    slider.focus()
    for _ in range(layers):
        slider.press("ArrowRight")


def ask_and_wait(page: sync_api.Page) -> None:
    page.click("#ask")
    expect(page.locator("#notice")).to_contain_text("Done", timeout=SECONDS)
    expect(page.locator("#ask")).to_be_enabled(timeout=SECONDS)  # all panels are drawn


def wait_until_it_runs(page: sync_api.Page) -> None:
    """Looks at every frame: a run is soon over."""
    page.wait_for_function("document.querySelector('#notice').textContent.includes('timed run')")


def screenshot(page: sync_api.Page, name: str) -> None:
    SCREENSHOTS.mkdir(exist_ok=True)
    page.wait_for_timeout(600)  # until the charts stand still
    page.screenshot(path=SCREENSHOTS / f"{name}.png", full_page=True)


def set_number(page: sync_api.Page, label: str, value: int) -> None:
    """Type a value into the number box of a slider in the settings."""
    if not page.locator("#retained").is_visible():
        page.locator("#settings button").first.click()
        page.locator("#retained").wait_for()
        page.wait_for_timeout(300)  # what is typed while they unfold is lost
    box = page.locator("#settings").get_by_label(re.compile(f"number input for {label}", re.IGNORECASE))
    box.fill(str(value))
    box.blur()
    slider = page.locator("#settings").get_by_label(re.compile(f"range slider for {label}", re.IGNORECASE))
    sync_api.expect(slider).to_have_value(str(value))
