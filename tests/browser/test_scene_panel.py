"""New scenes, examples, what the model knows, and its record, as a visitor sees them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

from visitor import SECONDS, ask_and_wait, expect, question, screenshot, sync_api, upload

from app.examples import load_examples, offered
from app.world import world_of, world_sentence
from skipcore import Vlm


def new_scene(page: sync_api.Page) -> None:
    before = page.locator("#picture img").get_attribute("src")
    page.click("#new-scene")
    expect(page.locator("#picture img")).not_to_have_attribute("src", before, timeout=SECONDS)
    expect(page.locator(".suggestion").first).to_be_visible()


def test_a_new_scene_offers_questions_and_marks_the_answers(visit) -> None:
    page = visit()
    new_scene(page)
    expect(page.locator("#scene-number")).to_contain_text(re.compile(r"scene \d+"))
    suggestion = page.locator(".suggestion").last
    asked = suggestion.inner_text()
    suggestion.click()
    expect(question(page)).to_have_value(asked)
    question(page).fill(asked.upper().rstrip("?."))  # typed anew, by a careless hand
    ask_and_wait(page)
    expect(page.locator("#asked")).to_contain_text(asked.upper().rstrip("?."))
    for number in range(2):
        said = page.locator(f"#answer-{number} .verdict").inner_text()
        assert said == "✓ right" or said.startswith("✗ wrong, the true answer: ")
    screenshot(page, "new-scene")
    question(page).fill("what would you like to drink?")
    ask_and_wait(page)
    expect(page.locator(".verdict")).to_have_count(0)


def test_another_picture_takes_the_truth_away(visit, picture: Path) -> None:
    page = visit()
    new_scene(page)
    upload(page, picture)
    expect(page.locator(".suggestion")).to_have_count(0)
    expect(page.locator("#scene-number")).not_to_contain_text(re.compile(r"scene \d"))
    assert question(page).input_value()  # the scene's question still stands there
    ask_and_wait(page)
    expect(page.locator(".verdict")).to_have_count(0)


def test_examples_are_marked(visit, scenes: Vlm) -> None:
    examples = offered(load_examples(), world_of(scenes))
    page = visit()
    page.locator("#examples button.gallery-item").nth(1).click()
    expect(question(page)).to_have_value(examples[1].question)
    ask_and_wait(page)
    expect(page.locator(".verdict")).to_have_count(2)


def test_the_page_tells_what_the_model_knows(visit, scenes: Vlm) -> None:
    world = world_of(scenes)
    assert world is not None
    page = visit()
    expect(page.locator("#world")).to_contain_text(world_sentence(world))
    expect(page.locator("#world")).to_contain_text("Photos")
    page.locator("#world-lists button").first.click()
    for word in ("circles", *world.colors, *(name for names in world.things.values() for name in names)):
        expect(page.locator("dl.world")).to_contain_text(word)
    if not world.things:
        expect(page.locator("dl.world")).not_to_contain_text("octopus")
    expect(page.locator("#examples button.gallery-item")).to_have_count(len(offered(load_examples(), world)))
    screenshot(page, "world")


def test_quality_of_every_split_as_text(visit) -> None:
    page = visit()
    table = page.locator("#quality-table table")
    expect(table).to_contain_text("41.0%", timeout=SECONDS)
    page.locator("#quality-split").get_by_text("easy-VQA").click()
    expect(table).to_contain_text("67.1%", timeout=SECONDS)
    expect(table).not_to_contain_text("41.0%")
