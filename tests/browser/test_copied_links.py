"""Links as visitors make, send and open them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

from visitor import SECONDS, ask_and_wait, choose_method, expect, question, set_number, sync_api, upload

from app.examples import load_examples
from app.panels.link import WITH_PICTURE, WITHOUT_PICTURE


def link_of(page: sync_api.Page) -> str:
    page.click("#copy-link")
    box = page.locator("#link textarea, #link input").first
    expect(box).to_have_value(re.compile("^http"))
    return box.input_value()


def opened(visit, link: str) -> sync_api.Page:
    """A new visitor who was sent the link."""
    page = visit()
    page.goto(link)
    expect(page.locator("#notice")).to_contain_text("Opened from a link")
    return page


def test_an_example_with_its_settings_is_opened_from_a_link(visit) -> None:
    sender = visit()
    sender.locator("#examples button.gallery-item").nth(2).click()
    expect(question(sender)).to_have_value(load_examples()[2].question, timeout=SECONDS)
    sender.wait_for_timeout(500)  # until the click's picture and question are both there
    question(sender).fill("Is there a <b>star</b> & more?")
    set_number(sender, "Retained tokens", 36)
    set_number(sender, "Timed runs of each", 1)
    link = link_of(sender)
    assert sender.locator("#link").inner_text().find(WITH_PICTURE) >= 0
    receiver = opened(visit, link)
    expect(question(receiver)).to_have_value("Is there a <b>star</b> & more?")
    receiver.locator("#settings button").first.click()
    number = receiver.get_by_label(re.compile("number input for Retained tokens", re.IGNORECASE))
    expect(number).to_have_value("36")
    assert link_of(receiver) == link
    ask_and_wait(receiver)
    expect(receiver.locator("#answer-1")).to_contain_text("36+")


def test_a_scene_and_another_method_are_opened_from_a_link(visit) -> None:
    sender = visit()
    sender.click("#new-scene")
    expect(sender.locator("#scene-number")).to_contain_text(re.compile(r"scene \d+"), timeout=SECONDS)
    choose_method(sender, "FastV")
    link = link_of(sender)
    assert "method=FastV" in link and re.search(r"scene=\d+", link) and "num_retained" not in link
    receiver = opened(visit, link)
    expect(receiver.locator("#scene-number")).to_have_text(sender.locator("#scene-number").inner_text())
    expect(receiver.locator(".suggestion").first).to_be_visible()
    expect(receiver.locator("#budget")).to_be_visible()
    assert link_of(receiver) == link


def test_ones_own_picture_is_not_in_a_link(visit, picture: Path) -> None:
    page = visit()
    upload(page, picture)
    question(page).fill("What shape is it?")
    page.wait_for_timeout(500)
    link = link_of(page)
    assert "example=" not in link and "scene=" not in link and "picture" not in link
    expect(page.locator("#link")).to_contain_text(WITHOUT_PICTURE)


def test_a_bad_link_opens_the_page_as_usual_and_says_so(visit) -> None:
    page = visit()
    usual = question(page).input_value()
    page = opened(visit, page.url.split("?")[0] + "?example=../secret&repeats=9999&question=%20&num_retained=x")
    expect(page.locator("#notice")).to_contain_text("about example, question, num_retained, repeats cannot be used")
    expect(question(page)).to_have_value(usual)
    ask_and_wait(page)
