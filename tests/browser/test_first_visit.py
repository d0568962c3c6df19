"""The first visit: a finished example at once, the keyboard, and nothing that jumps."""

from __future__ import annotations

import re

import pytest

pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

from visitor import SECONDS, ask_and_wait, expect, question, screenshot, set_number, wait_until_it_runs

READY_MS = 3_000
# counted from here on; what moves within half a second of a click is not counted by the browser
WATCH_SHIFTS = """() => { window.shifts = 0; new PerformanceObserver(list => {
    for (const entry of list.getEntries()) if (!entry.hadRecentInput) window.shifts += entry.value;
}).observe({type: 'layout-shift'}); }"""


def test_a_finished_example_stands_there_at_once(visit) -> None:
    page = visit()
    expect(page.locator("#asked .origin")).to_contain_text("Recorded on", timeout=READY_MS)
    expect(page.locator("#asked .asked")).to_have_text(question(page).input_value())
    for number in range(2):
        assert page.locator(f"#answer-{number} .text").inner_text().strip()
    expect(page.locator("#headline .numbers dd")).to_have_count(4)
    expect(page.locator("#overlay img")).to_have_attribute("alt", re.compile("Layer 1, 576 visual tokens"))
    for chart in ("rows", "timeline", "phases", "quality"):
        expect(page.locator(f"#{chart} .main-svg").first).to_be_visible(timeout=SECONDS)
    expect(page.locator("#stop")).to_be_disabled()
    screenshot(page, "first-visit")
    first = page.locator("#overlay img").get_attribute("src")
    page.locator("#overlay-view").get_by_text("FFN update").click()
    expect(page.locator("#overlay img")).not_to_have_attribute("src", first)
    ask_and_wait(page)
    expect(page.locator("#asked .origin")).to_contain_text("Measured here")
    expect(page.locator("#asked .origin")).not_to_contain_text("Recorded")


def test_escape_stops_and_enter_asks_again(visit) -> None:
    page = visit()
    set_number(page, "Timed runs of each", 20)
    question(page).press("Enter")
    wait_until_it_runs(page)
    page.keyboard.press("Escape")
    expect(page.locator("#notice")).to_contain_text("Stopped", timeout=2_000)
    page.keyboard.press("Escape")  # nothing runs, so nothing happens
    set_number(page, "Timed runs of each", 1)
    question(page).press("Enter")
    expect(page.locator("#notice")).to_contain_text("Done", timeout=SECONDS)


def test_the_focus_is_seen(visit) -> None:
    page = visit()
    question(page).focus()
    seen = set()
    for _ in range(4):
        page.keyboard.press("Tab")
        seen.add(page.evaluate("getComputedStyle(document.activeElement).outlineStyle + document.activeElement.id"))
    assert "solidask" in seen, seen


@pytest.mark.parametrize("width", [1400, 390])
def test_nothing_jumps_while_the_answers_are_written(visit, width: int) -> None:
    page = visit(width=width)
    expect(page.locator("#overlay img")).to_be_visible()
    ask_and_wait(page)
    page.wait_for_timeout(1_000)
    page.evaluate(WATCH_SHIFTS)
    page.evaluate("document.querySelector('#ask').click()")
    expect(page.locator("#notice")).not_to_contain_text("Done")
    expect(page.locator("#notice")).to_contain_text("Done", timeout=SECONDS)
    page.wait_for_timeout(500)
    assert page.evaluate("window.shifts") < 0.05


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_first_visit_fits_a_narrow_screen(visit, theme: str) -> None:
    page = visit(width=390, theme=theme)
    expect(page.locator("#overlay img")).to_be_visible()
    for part in ("#asked", "#answer-0", "#answer-1", "#headline", "#race-start", "#follow-question", "#phases"):
        box = page.locator(part).bounding_box()
        assert box is not None and box["x"] >= 0 and box["x"] + box["width"] <= 390, part
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    screenshot(page, f"first-visit-narrow-{theme}")
