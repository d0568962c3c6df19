"""Latency, benchmark and trade-off as a visitor sees and uses them."""

from __future__ import annotations

import csv
import json
from io import StringIO
from pathlib import Path

import pytest

pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

from visitor import SECONDS, ask_and_wait, expect, prepare, screenshot


@pytest.mark.parametrize("theme, width", [("light", 1400), ("dark", 1400), ("light", 390)])
def test_latency_says_where_the_time_goes(visit, picture: Path, theme: str, width: int) -> None:
    page = visit(width=width, theme=theme)
    prepare(page, picture)
    ask_and_wait(page)
    expect(page.locator("#break-even")).to_contain_text("saved in prefill")
    for chart in ("steps", "roofline"):
        expect(page.locator(f"#{chart} .main-svg").first).to_be_visible()
    panel = page.locator("#latency-panel")
    expect(panel).to_contain_text("Roofs: measured on this CPU")
    panel.locator("#latency-result").get_by_role("button", name="As text").click()
    expect(page.locator("#latency-text")).to_contain_text("where the roofs meet")
    expect(page.locator("#latency-text")).to_contain_text("token 2")
    screenshot(page, f"latency-{theme}-{width}")
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_a_benchmark_ends_in_files_that_parse(visit, picture: Path) -> None:
    page = visit()
    prepare(page, picture)
    page.locator("#benchmark button").first.click()
    set_slider(page, "runs", 3)
    set_slider(page, "length", 5)
    page.click("#benchmark-start")
    expect(page.locator("#benchmark-status")).to_contain_text("Done", timeout=SECONDS)
    expect(page.locator("#benchmark-result table")).to_contain_text("prefill, p90")
    texts = {name: download(page, name) for name in ("json", "csv", "html", "trace")}
    report = json.loads(texts["json"])
    assert report["repeats"] == 3 and [arm["new_tokens"] for arm in report["arms"]] == [5, 5]
    rows = list(csv.DictReader(StringIO(texts["csv"])))
    assert [float(row["prefill_ms"]) for row in rows] == [arm["prefill_ms"] for arm in report["arms"]]
    slices = [event for event in json.loads(texts["trace"])["traceEvents"] if event["ph"] == "X"]
    assert len(slices) == 2 * 3 * (1 + 5)
    page.set_content(texts["html"])
    expect(page.locator("img")).to_have_count(2)
    assert page.evaluate("[...document.images].every(image => image.naturalWidth > 0)")
    screenshot(page, "benchmark-report")


def test_a_benchmark_is_cancelled_and_the_next_one_runs(visit, picture: Path) -> None:
    page = visit()
    prepare(page, picture)
    page.locator("#benchmark button").first.click()
    set_slider(page, "runs", 20)
    set_slider(page, "length", 128)
    page.click("#benchmark-start")
    expect(page.locator("#benchmark-status")).to_contain_text("left", timeout=SECONDS)
    page.click("#benchmark-cancel")
    expect(page.locator("#benchmark-status")).to_have_text("Stopped.")
    expect(page.locator("#download-json")).to_be_disabled()
    ask_and_wait(page)


def set_slider(page, name: str, value: int) -> None:
    box = page.locator(f"#{name} input[type=number]")
    expect(box).to_be_visible()
    page.wait_for_timeout(300)  # an accordion that opens sets its values once more
    box.fill(str(value))
    box.blur()
    expect(page.locator(f"#{name} input[type=range]")).to_have_value(str(value))


def download(page, name: str) -> str:
    with page.expect_download() as waiting:
        page.click(f"#download-{name}")
    return Path(waiting.value.path()).read_text()


@pytest.mark.parametrize("theme, width", [("light", 1400), ("dark", 390)])
def test_a_sweep_that_is_cancelled_keeps_what_is_done(visit, picture: Path, theme: str, width: int) -> None:
    page = visit(width=width, theme=theme)
    prepare(page, picture)
    page.locator("#sweep-methods").get_by_label("VTW").check()
    page.click("#sweep-start")
    expect(page.locator("#sweep-table tbody tr")).to_have_count(3, timeout=SECONDS)
    expect(page.locator("#sweep-status")).to_contain_text("left", timeout=SECONDS)
    page.click("#sweep-cancel")
    expect(page.locator("#sweep-status")).to_contain_text("Stopped")
    expect(page.locator("#sweep-start")).to_be_enabled()
    rows = page.locator("#sweep-table tbody tr")
    assert 3 <= rows.count() < 11
    expect(page.locator("#sweep-table")).to_contain_text("Skip-Vision")
    page.locator("#sweep-cost input").click()
    page.get_by_role("option", name="KV cache", exact=True).click()
    expect(page.locator("#sweep-chart")).to_contain_text("KV cache, % of dense")
    screenshot(page, f"sweep-{theme}-{width}")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    ask_and_wait(page)


def test_a_sweep_without_a_method_gets_a_sentence(visit, picture: Path) -> None:
    page = visit()
    prepare(page, picture)
    for box in page.locator("#sweep-methods input").all():
        box.uncheck()
    page.click("#sweep-start")
    expect(page.locator("#sweep-status")).to_contain_text("Choose at least one method")
