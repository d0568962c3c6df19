"""A running page, a browser, and visitors to open it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from PIL import Image, ImageDraw

from app.page import build_page
from app.server.launch import start
from skipcore import Vlm
from skipcore.provenance import folder_sha256

if TYPE_CHECKING:
    from playwright import sync_api

CHROMIUM = Path("/usr/bin/chromium")
SECONDS = 30_000
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests of this folder need a browser."""
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(
                pytest.mark.skipif(not CHROMIUM.exists(), reason=f"no {CHROMIUM}: apt-get install chromium")
            )
            # Gradio 6.31 counts its events in ways that pandas 3 deprecates
            item.add_marker(pytest.mark.filterwarnings("ignore::DeprecationWarning:gradio.queueing"))


@pytest.fixture(scope="module")
def address(scenes: Vlm, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A running server with the built-in model, and a record of accuracy made up for it."""
    record = tmp_path_factory.mktemp("results") / "quality.json"
    content = json.loads((Path(__file__).parents[1] / "data" / "quality.json").read_text())
    record.write_text(json.dumps(content | {"model_sha256": folder_sha256(scenes.model.name_or_path)}))
    page = build_page(scenes, record)
    yield start(page, host="127.0.0.1")
    page.close(verbose=False)


@pytest.fixture(scope="module")
def browser() -> Iterator[sync_api.Browser]:
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def visit(browser: sync_api.Browser, address: str) -> Iterator:
    """Open the page as a new visitor."""
    contexts = []

    def open_page(width: int = 1400, theme: str = "light", query: str = "") -> sync_api.Page:
        context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=theme)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(SECONDS)
        page.goto(address + query)
        page.wait_for_selector("#ask")
        return page

    yield open_page
    for context in contexts:
        context.close()


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    scene = Image.new("RGB", (240, 200), "#9cc4e4")
    draw = ImageDraw.Draw(scene)
    draw.ellipse([30, 40, 110, 120], fill="#d33f3f")
    draw.rectangle([140, 90, 210, 170], fill="#2e9e5b")
    scene.save(tmp_path / "picture.png")
    return tmp_path / "picture.png"
