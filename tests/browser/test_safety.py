"""Visitors who share the device, who leave, and who mean no good: as each of them sees it in a browser."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlencode

import pytest
from held_runs import LONGEST, held
from PIL import Image

pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

from visitor import SECONDS, ask_and_wait, expect, question, screenshot, set_number, sync_api, upload

from app.examples import Example, load_examples
from app.server.visitors import _running
from skipcore import Dense, Vlm, ask

EXAMPLES = load_examples()[:3]

OF_THE_SERVER = re.compile(r"Traceback|File \"|site-packages|/tmp|/home|/root|/etc/|\.py\b|Error\b")
MARKUP = "<img src=x onerror=injected=1><script>injected=1</script></p><style>*{display:none}</style>"
KEPT = ("#asked", "#answer-0", "#answer-1", "#headline", "#overlay", "#update-maps")
INJECTED = "() => window.injected || document.querySelectorAll('[onerror], [onload], [src=x], p script').length"


@pytest.fixture(scope="module")
def alone(scenes: Vlm) -> list[tuple[Example, list[str]]]:
    """The first examples with both answers that the model gives when nobody else is there."""
    methods = (Dense(), scenes.skipping)
    return [(each, [ask(scenes, each.image, each.question, method) for method in methods]) for each in EXAMPLES]


def choose(page: sync_api.Page, number: int) -> None:
    """Take one of the examples."""
    page.locator("#examples button.gallery-item").nth(number).click()
    expect(question(page)).to_have_value(EXAMPLES[number].question)


def expect_answers(page: sync_api.Page, example: Example, answers: list[str]) -> None:
    expect(page.locator("#notice")).to_contain_text("Done", timeout=SECONDS)
    expect(page.locator("#asked .asked")).to_have_text(example.question)
    expect(page.locator("#asked .origin")).to_contain_text("Measured here")
    for number, answer in enumerate(answers):
        expect(page.locator(f"#answer-{number} .text")).to_have_text(answer)


def test_those_who_wait_see_their_place_move_up_and_get_their_own_answers(visit, scenes: Vlm, alone) -> None:
    pages = [visit() for _ in range(3)]
    with held(scenes, runs=2) as runs:
        choose(pages[0], 0)
        pages[0].click("#ask")
        first = runs.next()
        for number, place in ((1, "you are next"), (2, "1 before you")):
            choose(pages[number], number)
            pages[number].click("#ask")
            expect(pages[number].locator("#notice")).to_contain_text(f"In line for the device, {place}")
            expect(pages[number].locator("#ask")).to_be_disabled()
            expect(pages[number].locator("#asked .origin")).to_contain_text("Recorded on")
        screenshot(pages[1], "in-line")
        first.go_on.set()
        second = runs.next()
        expect(pages[2].locator("#notice")).to_contain_text("you are next")
        second.go_on.set()
    for number, page in enumerate(pages):
        expect_answers(page, *alone[number])


def test_a_visitor_who_closes_the_page_lets_the_next_one_on(visit, scenes: Vlm, alone) -> None:
    leaving, waiting = visit(), visit()
    with held(scenes) as runs:
        leaving.click("#ask")
        run = runs.next()
        choose(waiting, 1)
        waiting.click("#ask")
        expect(waiting.locator("#notice")).to_contain_text("you are next")
        [[stop]] = _running.values()
        leaving.close()
        assert stop.wait(LONGEST)
        run.go_on.set()
        expect_answers(waiting, *alone[1])
    assert run.layers == 1


def test_visitors_who_leave_the_line_disturb_nobody(visit, scenes: Vlm, alone) -> None:
    running, stops, escapes, stays = (visit() for _ in range(4))
    with held(scenes) as runs:
        choose(running, 0)
        running.click("#ask")
        run = runs.next()
        for number, page in ((1, stops), (1, escapes), (2, stays)):
            choose(page, number)
            page.click("#ask")
            expect(page.locator("#notice")).to_contain_text("In line")
        stops.click("#stop")
        expect(escapes.locator("#stop")).to_be_enabled()
        escapes.keyboard.press("Escape")
        for page in (stops, escapes):
            expect(page.locator("#notice")).to_contain_text("Stopped")
        expect(stays.locator("#notice")).to_contain_text("you are next")
        run.go_on.set()
        expect_answers(running, *alone[0])
        expect_answers(stays, *alone[2])
    assert len(runs.all) == 2
    for page in (stops, escapes):
        expect(page.locator("#notice")).to_contain_text("Stopped")
        expect(page.locator("#stop")).to_be_disabled()
        expect(page.locator("#asked .origin")).to_contain_text("Recorded on")
    stops.click("#ask")
    expect_answers(stops, *alone[1])


def test_stop_cannot_be_pressed_before_the_server_could_heed_it(visit, scenes: Vlm) -> None:
    running, waiting = visit(), visit()
    with held(scenes) as runs:
        running.click("#ask")
        run = runs.next()
        on_their_way: list[sync_api.Route] = []
        waiting.route("**/queue/join*", lambda route: on_their_way.append(route), times=1)
        waiting.click("#ask")
        expect(waiting.locator("#notice")).to_contain_text("In line")
        waiting.wait_for_timeout(1_500)  # the page looks at the line every second
        waiting.keyboard.press("Escape")
        expect(waiting.locator("#notice")).to_contain_text("In line")
        on_their_way.pop().continue_()
        waiting.click("#stop")
        expect(waiting.locator("#notice")).to_contain_text("Stopped")
        run.go_on.set()
        expect(running.locator("#notice")).to_contain_text("Done", timeout=SECONDS)
        ask_and_wait(running)
    assert len(runs.all) == 2  # both of the visitor who did not stop


@pytest.fixture
def alarms(visit) -> Iterator[Callable[..., sync_api.Page]]:
    """Open the page as a visitor in whose browser nothing may go wrong: no error, no dialog."""
    heard: list[str] = []

    def open_page(query: str = "") -> sync_api.Page:
        page = visit(query=query)
        page.on("console", lambda message: heard.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: heard.append(str(error)))
        page.on("dialog", lambda dialog: (heard.append(dialog.message), dialog.dismiss()))
        return page

    yield open_page
    assert heard == []


def test_bad_input_gets_a_sentence_and_keeps_what_was_there(alarms, alone, tmp_path: Path) -> None:
    page = alarms()
    choose(page, 0)
    ask_and_wait(page)
    before = [page.locator(part).inner_html() for part in KEPT]
    good = Path(EXAMPLES[0].image)
    Image.new("RGB", (1, 1)).save(tmp_path / "dot.png")
    files = {
        "words.png": (b"I am not a picture", "not a picture that can be read"),
        "page.png": (MARKUP.encode(), "not a picture that can be read"),
        "half.png": (good.read_bytes()[:600], "damaged or cut short"),
        "dot.png": ((tmp_path / "dot.png").read_bytes(), "only 1 × 1 pixels"),
        "<img src=x onerror=injected=1>.png": (b"\x89PNG\r\n\x1a\n", "not a picture that can be read"),
    }
    for name, (content, says) in files.items():
        (tmp_path / name).write_bytes(content)
        upload(page, tmp_path / name)
        expect_refusal(page, says)
    choose(page, 0)
    for text, says in {
        "": "Type a question",
        "x" * 100_000: "100,000 characters",
        MARKUP * 2_000: "characters",
        f"<image>{MARKUP}": "special meaning",
    }.items():
        question(page).fill(text)
        expect_refusal(page, says)
    question(page).fill(EXAMPLES[0].question)
    set_number(page, "Skipped tokens", 0)
    expect_refusal(page, "“Skipped tokens” must be at least 1")
    screenshot(page, "bad-input")
    assert [page.locator(part).inner_html() for part in KEPT] == before
    set_number(page, "Skipped tokens", 156)
    choose(page, 1)
    page.click("#ask")
    expect_answers(page, *alone[1])
    expect_nothing_of_the_server(page)


def expect_refusal(page: sync_api.Page, says: str) -> None:
    page.click("#ask")
    expect(page.locator("#notice .failed")).to_contain_text(says, timeout=SECONDS)
    expect(page.locator("#ask")).to_be_enabled()
    expect(page.locator(".toast-body")).to_have_count(0)
    expect_nothing_of_the_server(page)


def expect_nothing_of_the_server(page: sync_api.Page) -> None:
    """And nothing that a visitor wrote is a part of the page."""
    assert not OF_THE_SERVER.search(page.locator("body").inner_text())
    assert not page.evaluate(INJECTED)


def test_markup_is_shown_as_it_was_typed(alarms, alone, tmp_path: Path) -> None:
    page = alarms()
    picture = tmp_path / "<img src=x onerror=injected=1>.png"
    picture.write_bytes(Path(EXAMPLES[0].image).read_bytes())
    upload(page, picture)
    question(page).fill(MARKUP)
    ask_and_wait(page)
    expect(page.locator("#asked .asked")).to_have_text(MARKUP)
    expect_nothing_of_the_server(page)
    page.locator("#follow-question textarea").fill(MARKUP)
    page.locator("#follow-question textarea").press("Enter")
    expect(page.locator("#transcript .turns .asked")).to_have_text(MARKUP, timeout=SECONDS)
    expect(page.locator("#notice")).to_contain_text("Done", timeout=SECONDS)
    page.click("#race-start")
    expect(page.locator("#notice")).to_contain_text("Both are done", timeout=SECONDS)
    expect_nothing_of_the_server(page)
    page = alarms("?" + urlencode({"question": MARKUP, "example": MARKUP, "method": MARKUP}))
    expect(question(page)).to_have_value(MARKUP)
    expect_nothing_of_the_server(page)
    choose(page, 2)
    page.click("#ask")
    expect_answers(page, *alone[2])
