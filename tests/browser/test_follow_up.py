"""Follow-up questions as a visitor asks them."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

from held_runs import held
from visitor import SECONDS, ask_and_wait, expect, prepare, screenshot, sync_api

from skipcore import Vlm


def follow_up(page: sync_api.Page, text: str) -> None:
    box = page.locator("#follow-question textarea")
    box.fill(text)
    box.press("Enter")


def test_follow_ups_reuse_the_cache_and_a_new_question_starts_anew(visit, picture: Path) -> None:
    page = visit()
    turns = page.locator("#transcript ol.turns > li")
    follow_up(page, "is there a dog?")  # about the recorded example
    expect(turns).to_have_count(1, timeout=SECONDS)
    expect(page.locator("#notice")).to_contain_text("Done", timeout=SECONDS)
    expect(turns.first.locator(".said")).to_have_text(["no", "no"])
    for sentence in turns.first.locator(".hint").all_inner_texts():
        assert "tokens not read again" in sentence
    follow_up(page, "what is at the top?")
    expect(turns).to_have_count(2, timeout=SECONDS)
    expect(page.locator("#notice")).to_contain_text("Done", timeout=SECONDS)
    expect(page.locator("#follow-question textarea")).to_have_value("")
    screenshot(page, "follow-up")
    follow_up(page, " ")
    expect(page.locator("#notice .failed")).to_contain_text("Type a question")
    expect(turns).to_have_count(2)
    prepare(page, picture)
    ask_and_wait(page)
    expect(turns).to_have_count(0)


def test_a_follow_up_that_waits_in_line_can_be_stopped(visit, scenes: Vlm) -> None:
    first, second = visit(), visit()
    with held(scenes) as runs:
        first.click("#ask")
        run = runs.next()
        follow_up(second, "is there a dog?")
        expect(second.locator("#notice")).to_contain_text("In line")
        expect(second.locator("#stop")).to_be_enabled()
        second.keyboard.press("Escape")
        expect(second.locator("#notice")).to_contain_text("Stopped")
        first.keyboard.press("Escape")
        expect(first.locator("#notice")).to_contain_text("Stopped")
        run.go_on.set()
        follow_up(second, "is there a lion?")
        expect(second.locator("#notice")).to_contain_text("Done", timeout=SECONDS)
    assert run.layers == 1 and len(runs.all) == 2
    expect(second.locator("#transcript .said").first).to_have_text("yes")
