"""Pointing at a token or at a place of the heat map; and the heat map under a finger."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

from visitor import ask_and_wait, expect, prepare, scrub, sync_api

PICTURE = "#overlay-cells .cells"
MAP = "#update-maps .cells[data-grid='{}']"
OFFSETS = "cells => [...document.querySelectorAll('section, h2, #token-card')].map(each => each.offsetTop)"
TOUCH = """([cells, x, y]) => cells.dispatchEvent(
  new PointerEvent('pointermove', {bubbles: true, pointerType: 'touch', clientX: x, clientY: y}))"""


def middle(page: sync_api.Page, cells: str, row: int, column: int) -> tuple[float, float]:
    """Where the middle of a cell is on the screen, scrolled to."""
    grid = page.locator(cells)
    grid.evaluate("cells => cells.scrollIntoView({block: 'center'})")
    page.wait_for_timeout(200)  # scrolling ends what is told
    rows, columns = (int(grid.get_attribute(f"data-{name}")) for name in ("rows", "columns"))
    box = grid.bounding_box()
    assert box is not None
    return box["x"] + (column + 0.5) * box["width"] / columns, box["y"] + (row + 0.5) * box["height"] / rows


def point(page: sync_api.Page, cells: str, row: int, column: int) -> None:
    page.mouse.move(*middle(page, cells, row, column))


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_token_is_told_at_once_and_in_the_layer_that_is_shown(visit, picture: Path, theme: str) -> None:
    page = visit(1400, theme)
    prepare(page, picture)
    ask_and_wait(page)
    tip, card = page.locator("#hover .tip"), page.locator("#token-card")
    expect(tip).to_be_hidden()
    at = middle(page, PICTURE, 10, 12)
    offsets, requests = page.evaluate(OFFSETS), []
    page.on("request", lambda request: requests.append(request.url))
    page.mouse.move(*at)
    expect(tip).to_be_visible()
    expect(tip.locator("p").first).to_have_text("Row 11, column 13")
    expect(tip).to_contain_text("Layer 1: ")
    expect(page.locator(f"{PICTURE} rect.pointed")).to_have_count(2)
    expect(page.locator(f"{PICTURE} rect.pointed").first).to_have_attribute("x", "12")
    assert page.evaluate(OFFSETS) == offsets and not requests
    first = tip.inner_text()
    page.mouse.move(at[0] + 200, at[1])
    expect(tip.locator("p").first).not_to_have_text("Row 11, column 13")
    assert not requests
    # the mouse rests, and a key shows another layer
    page.mouse.move(*at)
    scrub(page, 2)
    expect(tip).to_contain_text("Layer 3: ")
    assert tip.inner_text().replace("Layer 3", "Layer 1").split("FFN update")[0] == first.split("FFN update")[0]
    # a click still selects, and the card says the same
    words = re.search(r"Layer 3: (.*)", tip.inner_text()).group(1)
    page.mouse.click(*at)
    expect(card.locator("h3")).to_have_text("Row 11, column 13")
    expect(card).to_contain_text(re.compile(re.escape(words), re.IGNORECASE))
    page.mouse.move(5, 5)
    expect(tip).to_be_hidden()
    expect(page.locator("rect.pointed")).to_have_count(0)


def test_a_place_of_the_heat_map_is_told(visit, picture: Path) -> None:
    page = visit()
    prepare(page, picture)
    ask_and_wait(page)
    tip = page.locator("#hover .tip")
    point(page, MAP.format(0), 3, 0)
    expect(tip.locator("p")).to_have_text(
        ["Layer 4, slot 1 of 591", "text", "running in full", re.compile(r"FFN update about [\d.]+")]
    )
    point(page, MAP.format(1), 1, 150)
    expect(tip.locator("p")).to_have_text(
        [
            "Layer 2, slot 151 of 273",
            re.compile(r"skipped token, row \d+, column \d+"),
            "skipping the FFN, dropped from the KV cache",
            "No FFN ran",
        ]
    )
    # the picture tells of the arm that is shown
    page.locator("#overlay-arm").get_by_text("Dense").click()
    expect(page.locator("#overlay img")).to_have_attribute("alt", re.compile("576 running in full"))
    point(page, PICTURE, 0, 0)
    expect(tip.locator("p")).to_have_text(
        ["Row 1, column 1", "Layer 1: running in full", re.compile(r"FFN update about [\d.]+")]
    )


def in_sight(page: sync_api.Page, arm: int) -> bool:
    """The frame of the selected place lies within the room of its map."""
    frame = page.locator(f"{MAP.format(arm)} rect.chosen").last.bounding_box()
    room = page.locator("#update-maps .sheets").nth(arm).bounding_box()
    assert frame is not None and room is not None
    return room["x"] <= frame["x"] and frame["x"] + frame["width"] <= room["x"] + room["width"]


def test_on_a_phone_the_maps_scroll_and_the_page_does_not(visit, picture: Path) -> None:
    page = visit(390)
    prepare(page, picture)
    ask_and_wait(page)
    x, y = middle(page, PICTURE, 12, 12)
    page.locator(PICTURE).evaluate("(cells, [x, y]) => (" + TOUCH + ")([cells, x, y])", [x, y])
    expect(page.locator("#hover .tip")).to_be_hidden()  # a finger selects
    card, dense = page.locator("#token-card h3"), page.locator(MAP.format(0))
    for row, column in ((23, 23), (12, 1)):
        page.mouse.click(*middle(page, PICTURE, row, column))
        expect(card).to_have_text(f"Row {row + 1}, column {column + 1}")
        page.wait_for_timeout(300)
        assert in_sight(page, 0) and in_sight(page, 1)
    box = dense.bounding_box()
    assert box is not None and box["width"] >= 3 * 591
    before = int(dense.get_attribute("data-column"))
    dense.focus()
    for step in range(1, 4):
        page.locator(f"{MAP.format(0)}:focus").press("ArrowRight")
        expect(card).to_have_text(f"Row 13, column {2 + step}")
        expect(page.locator(f"{MAP.format(0)}:focus")).to_have_attribute("data-column", str(before + step))
    page.wait_for_timeout(300)
    assert in_sight(page, 0)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    numbers = page.locator("#update-maps .layer-numbers").first.bounding_box()
    assert numbers is not None and numbers["x"] >= 0
