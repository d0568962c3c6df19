"""The menu of models, with a Hub on this machine: fetch with progress, load, use, unload; and no network."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch
from hub import hub
from shared_models import ROOT
from tiny_families import BUILDERS
from visitor import SECONDS, ask_and_wait, expect, question, upload

if TYPE_CHECKING:
    from playwright import sync_api

NAME = "HuggingFaceTB/SmolVLM-256M-Instruct"
OTHER = "HuggingFaceTB/SmolVLM-500M-Instruct"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A page in a process of its own, whose Hub knows one model under a name of the list: tiny and random."""
    torch.manual_seed(0)
    model, processor = BUILDERS["SmolVLM"]()
    folder = tmp_path_factory.mktemp("model")
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    with hub(NAME, folder, bytes_per_second=150_000) as endpoint:
        environment = os.environ | {
            "HF_HUB_OFFLINE": "0",
            "HF_ENDPOINT": endpoint,
            "HF_HOME": str(tmp_path_factory.mktemp("hub")),
            "OMP_NUM_THREADS": "1",
        }
        command = [sys.executable, "-m", "app", "--host", "127.0.0.1"]
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        with closing(process.stdout):
            line = next(line for line in process.stdout if "ready" in line)
            try:
                yield line.split("ready:")[1].strip()
            finally:
                process.terminate()
                process.wait(20)


@pytest.fixture
def page(browser: sync_api.Browser, served: str) -> Iterator[sync_api.Page]:
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    page = context.new_page()
    page.set_default_timeout(SECONDS)
    page.goto(served)
    page.wait_for_selector("#ask")
    page.locator("#models button").first.click()
    yield page
    context.close()


def status(page: sync_api.Page) -> sync_api.Locator:
    return page.locator("#model-status")


def choose(page: sync_api.Page, name: str) -> None:
    page.locator("#model-choice input").click()
    page.get_by_role("option", name=name, exact=True).click()


def test_a_model_is_fetched_loaded_used_and_unloaded(page: sync_api.Page, served: str, picture: Path) -> None:
    expect(status(page)).to_contain_text("Choose a model")
    choose(page, NAME)
    expect(status(page)).to_contain_text(f"{NAME} is not loaded: press Load.")
    page.click("#model-start")
    expect(status(page)).to_contain_text(re.compile(r"Fetching .*: \d+\.\d MB of 0\.\d MB"), timeout=SECONDS)
    expect(status(page)).to_contain_text("is loaded", timeout=SECONDS)
    expect(page.locator("#model-table")).to_contain_text(f"{NAME} (loaded)")
    expect(page.locator("#models")).to_contain_text(f"Model: {NAME} (SmolVLM")
    expect(page.locator("#world")).to_contain_text("is not known here")
    expect(page.locator("#new-scene")).to_be_hidden()
    expect(page.locator("#tokens-result")).to_be_hidden()  # what the other model did is gone

    other = page.context.browser.new_page()
    other.set_default_timeout(SECONDS)
    other.goto(served)
    expect(other.locator("#tokens-result")).to_be_visible()  # the recorded example of the first model
    expect(other.locator("#models")).to_contain_text("Model: built-in (LLaVA")
    other.locator("#models button").first.click()
    choose(other, NAME)
    expect(other.locator("#models")).to_contain_text(f"Model: {NAME} (SmolVLM")
    for visitor in (page, other):
        upload(visitor, picture)
        question(visitor).fill("What is it?")
        ask_and_wait(visitor)
        expect(visitor.locator("#answers-column")).to_contain_text(f"Model: {NAME}")
    expect(other.locator("#tokens-result")).to_be_visible()
    link = copied_link(other)
    assert "model=HuggingFaceTB%2FSmolVLM-256M-Instruct" in link

    page.click("#model-unload")
    expect(status(page)).to_contain_text("is in use")
    choose(page, "built-in")
    expect(status(page)).to_contain_text("built-in answers from now on.")
    expect(page.locator("#new-scene")).to_be_visible()
    expect(question(page)).to_have_value("What is it?")
    ask_and_wait(page)
    expect(page.locator("#answers-column")).not_to_contain_text(NAME)

    other.goto(link)  # its model is still loaded
    expect(other.locator("#models")).to_contain_text(f"Model: {NAME} (SmolVLM")
    expect(question(other)).to_have_value("What is it?")
    other.goto(served + "models/SmolVLM-256M-Instruct/?repeats=7")
    expect(other.locator("#models")).to_contain_text(f"Model: {NAME} (SmolVLM")
    other.close()
    page.wait_for_function(  # as long as the server takes to notice that nobody is there
        """async () => {
            const button = () => document.getElementById('model-unload');
            if (button()?.checkVisibility()) button().click();
            await new Promise(resolve => setTimeout(resolve, 1000));
            return !button()?.checkVisibility();
        }"""
    )
    expect(status(page)).to_contain_text(f"{NAME} is unloaded")
    expect(page.locator("#model-unload")).to_be_hidden()


def copied_link(page: sync_api.Page) -> str:
    page.click("#copy-link")
    expect(page.locator("#link textarea, #link input").first).to_have_value(re.compile("^http"))
    return page.locator("#link textarea, #link input").first.input_value()


def test_a_link_to_a_model_that_is_not_loaded_leads_to_the_choice(page: sync_api.Page, served: str) -> None:
    page.goto(served + "models/SmolVLM-256M-Instruct/?question=Is%20it%20red%3F&repeats=7&num_retained=0.25")
    expect(status(page)).to_contain_text(f"{NAME} is not loaded: press Load.", timeout=SECONDS)
    expect(page.locator("#model-choice input")).to_have_value(NAME)
    expect(question(page)).to_have_value("Is it red?")
    page.click("#model-start")
    expect(page.locator("#models")).to_contain_text(f"Model: {NAME} (SmolVLM", timeout=SECONDS)
    expect(question(page)).to_have_value("Is it red?")  # picture, question and settings are kept
    page.locator("#settings button").first.click()
    repeats = page.locator("#settings").get_by_label(re.compile("number input for Timed runs of each"))
    expect(repeats).to_have_value("7")


def test_a_model_that_cannot_be_had_is_one_sentence(page: sync_api.Page) -> None:
    choose(page, OTHER)
    page.click("#model-start")
    expect(status(page)).to_contain_text(f"The model '{OTHER}' cannot be loaded: ", timeout=SECONDS)
    expect(page.locator("#model-start")).to_be_enabled()
