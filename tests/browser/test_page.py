"""The page in a browser: what a visitor sees and can do. Screenshots lie in tests/browser/screenshots."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

from visitor import (
    SECONDS,
    ask_and_wait,
    expect,
    prepare,
    question,
    screenshot,
    scrub,
    set_number,
    sync_api,
    wait_until_it_runs,
)

CHARTS = ["medians", "rows", "kv", "timeline", "phases"]


def brightness(page: sync_api.Page, selector: str, property_name: str) -> float:
    """Mean of the RGB values of a color that the browser computed, 0 to 255."""
    color = page.locator(selector).first.evaluate("(element, name) => getComputedStyle(element)[name]", property_name)
    return sum(float(value) for value in re.findall(r"[\d.]+", color)[:3]) / 3


def test_one_question_two_answers_and_every_panel(visit, picture: Path) -> None:
    page = visit()
    prepare(page, picture)
    ask_and_wait(page)
    for number, name in enumerate(("Dense", "Skip-Vision")):
        card = page.locator(f"#answer-{number}")
        expect(card.locator("h2")).to_contain_text(name)
        assert card.locator(".text").inner_text().strip()
        for measure in ("time to first token", "decode", "KV cache", "tokens in the cache"):
            expect(card).to_contain_text(measure)
    expect(page.locator("#headline .sentence")).to_contain_text("that saving became time")
    expect(page.locator("#headline .numbers dd")).to_have_count(4)
    expect(page.locator("#update-maps img")).to_have_count(4)  # roles and updates of both arms
    for chart in CHARTS:
        expect(page.locator(f"#{chart} .main-svg").first).to_be_visible()
    expect(page.locator("#overlay img")).to_have_attribute(
        "alt", re.compile("Layer 1, 576 visual tokens: 100 running in full")
    )
    screenshot(page, "wide-light")


def test_the_overlay_answers_to_its_controls(visit, picture: Path) -> None:
    page = visit()
    prepare(page, picture)
    ask_and_wait(page)
    image = page.locator("#overlay img")
    seen = {image.get_attribute("src")}
    page.locator("#overlay-view").get_by_text("FFN update").click()
    expect(image).to_have_attribute("alt", re.compile("Layer 1: the FFN ran for"))
    seen.add(image.get_attribute("src"))
    screenshot(page, "ffn-update")
    scrub(page, 1)
    expect(image).to_have_attribute("alt", re.compile("Layer 2"))
    seen.add(image.get_attribute("src"))
    page.locator("#overlay-arm").get_by_text("Dense").click()
    expect(image).to_have_attribute("alt", re.compile("ran for 576 of 576"))
    seen.add(image.get_attribute("src"))
    page.locator("#overlay-view").get_by_text("Merged into").click()
    expect(image).to_have_attribute("alt", "No token is merged.")
    page.locator("#overlay-arm").get_by_text("Skip-Vision").click()
    expect(image).to_have_attribute("alt", re.compile("320 tokens are merged"))
    seen.add(image.get_attribute("src"))
    assert len(seen) == 5
    screenshot(page, "merged-into")


def test_enter_asks_and_the_values_are_there_as_text(visit, picture: Path) -> None:
    page = visit()
    prepare(page, picture)
    question(page).press("Enter")
    expect(page.locator("#notice")).to_contain_text("Done", timeout=SECONDS)
    for panel, says in (("tokens", "skipping the FFN"), ("layers", "no FFN"), ("latency", "not available")):
        page.locator(f"#{panel}-panel").get_by_role("button", name="As text").first.click()
        expect(page.locator(f"#{panel}-panel table").first).to_be_visible()
        expect(page.locator(f"#{panel}-panel")).to_contain_text(says)
    screenshot(page, "as-text")


def test_stop_ends_the_run_and_the_next_one_is_right(visit, picture: Path) -> None:
    page = visit()
    prepare(page, picture)
    set_number(page, "Timed runs of each", 20)
    page.click("#ask")
    wait_until_it_runs(page)
    page.click("#stop")
    expect(page.locator("#notice")).to_contain_text("Stopped", timeout=2_000)
    page.wait_for_timeout(1_000)
    expect(page.locator("#notice")).to_contain_text("Stopped")
    expect(page.locator("#stop")).to_be_disabled()
    set_number(page, "Timed runs of each", 1)
    ask_and_wait(page)


def test_narrow_screens_need_no_sideways_scrolling(visit, picture: Path) -> None:
    page = visit(width=390)
    prepare(page, picture)
    ask_and_wait(page)
    expect(page.locator("#phases .main-svg").first).to_be_visible()
    screenshot(page, "narrow-light")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


@pytest.mark.parametrize("width", [1400, 390])
def test_dark(visit, picture: Path, width: int) -> None:
    page = visit(width, theme="dark")
    prepare(page, picture)
    ask_and_wait(page)
    expect(page.locator("#phases .main-svg").first).to_be_visible()
    assert brightness(page, "body", "backgroundColor") < 50
    assert brightness(page, "#kv .xtick text", "fill") > 180
    assert brightness(page, "#kv .bars path", "fill") > 180  # the dense bars, ink by day
    screenshot(page, "wide-dark" if width == 1400 else "narrow-dark")
