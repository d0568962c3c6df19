"""The race of both arms as a visitor watches it."""

from __future__ import annotations

import pytest

pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

from visitor import SECONDS, expect, screenshot


def test_a_race_is_watched_slowly_and_changes_no_figure(visit) -> None:
    page = visit()
    expect(page.locator("#race-rules")).to_contain_text("No figure on this page comes from it")
    before = [page.locator(selector).inner_text() for selector in ("#answer-0", "#answer-1", "#headline")]
    page.click("#race-start")
    expect(page.locator("#notice")).to_contain_text("slowed down", timeout=SECONDS)
    expect(page.locator("#lanes .live")).not_to_have_count(0)
    screenshot(page, "race")
    expect(page.locator("#notice")).to_contain_text("Both are done", timeout=SECONDS)
    for number in range(2):
        said = page.locator(f"#answer-{number} .text").inner_text()
        expect(page.locator("#lanes .said").nth(number)).to_have_text(said)
    expect(page.locator("#lanes .place", has_text="done first")).to_have_count(1)
    assert [page.locator(selector).inner_text() for selector in ("#answer-0", "#answer-1", "#headline")] == before
    page.click("#race-start")
    expect(page.locator("#notice")).to_contain_text("slowed down", timeout=SECONDS)
    page.keyboard.press("Escape")
    expect(page.locator("#notice")).to_contain_text("Stopped", timeout=2_000)
    expect(page.locator("#ask")).to_be_enabled()
