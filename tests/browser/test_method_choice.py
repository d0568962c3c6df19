"""Other methods than Skip-Vision, as a visitor chooses and sees them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

from visitor import SECONDS, ask_and_wait, choose_method, expect, prepare, screenshot, scrub


def test_fastv_drops_tokens_from_a_layer_on(visit, picture: Path) -> None:
    page = visit()
    prepare(page, picture)
    choose_method(page, "FastV")
    expect(page.locator("#method")).to_contain_text("the visual tokens that the prompt's last token attends to")
    budget = page.locator("#budget input[type=number]")
    budget.fill("25")
    budget.blur()
    ask_and_wait(page)
    expect(page.locator("#answer-1 h2")).to_have_text("FastV 25% after 1 layer")
    marks = page.locator("#overlay-legend li")
    expect(marks).to_have_text(["576 running in full"])
    whole = page.locator("#overlay img").get_attribute("src")
    scrub(page, 2)
    expect(marks).to_have_text(["144 running in full", "432 dropped at layer 2"])
    expect(page.locator("#overlay img")).to_have_attribute("alt", re.compile("Layer 3, 576 visual tokens: 144 running"))
    assert page.locator("#overlay img").get_attribute("src") != whole
    page.locator("#overlay-arm").get_by_text("Dense").click()
    expect(marks).to_have_text(["576 running in full"])
    page.locator("#overlay-arm").get_by_text("FastV").click()
    page.locator("#layers-pair").get_by_role("button", name="As text").first.click()
    expect(page.locator("#rows-text table")).to_contain_text("FastV 25% after 1 layer: run the FFN")
    expect(page.locator("#kv .main-svg").first).to_be_visible()
    screenshot(page, "fastv")


def test_only_the_controls_that_apply_are_there(visit) -> None:
    page = visit()
    page.locator("#settings button").first.click()
    expect(page.locator("#retained")).to_be_visible()
    expect(page.locator("#budget")).to_be_hidden()
    for name, means in (("ShortV", "Layers that freeze"), ("VTW", "Layers that see"), ("DivPrune", "tokens kept")):
        choose_method(page, name)
        expect(page.locator("#budget")).to_contain_text(means)
        expect(page.locator("#retained")).to_be_hidden()
    page.locator("#then-skip-vision input").check()
    expect(page.locator("#retained")).to_be_visible()
    choose_method(page, "Skip-Vision")
    expect(page.locator("#then-skip-vision")).to_be_hidden()
    expect(page.locator("#retained")).to_be_visible()


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize(
    "name, says",
    [
        ("ShortV", ["576 frozen (key and value only), from layer 3 on"]),
        ("VTW", ["576 dropped at layer 3"]),
        ("DivPrune", ["144 running in full", "432 dropped before the decoder"]),
    ],
)
def test_every_kind_of_method_fits_a_narrow_screen(
    visit, picture: Path, name: str, says: list[str], theme: str
) -> None:
    page = visit(width=390, theme=theme)
    prepare(page, picture)
    choose_method(page, name)
    ask_and_wait(page)
    scrub(page, 3)
    expect(page.locator("#overlay-legend li")).to_have_text(says)
    page.locator("#layers-pair").get_by_role("button", name="As text").first.click()
    expect(page.locator("#rows-text table")).to_be_visible(timeout=SECONDS)
    screenshot(page, f"{name.lower()}-{theme}")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
