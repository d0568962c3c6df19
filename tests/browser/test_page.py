"""The page in a browser: what a visitor sees and can do. Screenshots lie in tests/browser/screenshots."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from gradio_client import Client, handle_file
from PIL import Image, ImageDraw

from app.examples import load_examples, offered
from app.main import start
from app.page import build_page
from app.quality import weights_sha256
from app.world import world_of, world_sentence
from skipcore import Vlm

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
expect = sync_api.expect

CHROMIUM = Path("/usr/bin/chromium")
SCREENSHOTS = Path(__file__).resolve().parent / "screenshots"
CHARTS = ["update-map", "medians", "kv", "timeline", "phases"]
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

pytestmark = [
    pytest.mark.skipif(not CHROMIUM.exists(), reason=f"there is no {CHROMIUM}: apt-get install chromium"),
    # Gradio 6.31 counts its events in ways that pandas 3 deprecates
    pytest.mark.filterwarnings("ignore::DeprecationWarning:gradio.queueing"),
]


@pytest.fixture(scope="module")
def address(scenes: Vlm, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A running server with the built-in model, and a record of accuracy made up for it."""
    record = tmp_path_factory.mktemp("results") / "quality.json"
    content = json.loads((Path(__file__).parents[1] / "app" / "quality.json").read_text())
    record.write_text(json.dumps(content | {"model_sha256": weights_sha256(scenes)}))
    page = build_page(scenes, record)
    yield start(page, host="127.0.0.1")
    page.close(verbose=False)


@pytest.fixture(scope="module")
def browser() -> Iterator[sync_api.Browser]:
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def visit(browser: sync_api.Browser, address: str) -> Iterator:
    """Open the page as a new visitor."""
    contexts = []

    def open_page(width: int = 1400, theme: str = "light") -> sync_api.Page:
        context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=theme)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(SECONDS)
        page.goto(address)
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


def prepare(page: sync_api.Page, picture: Path) -> None:
    """The first example, or where there are none a picture and a question of our own."""
    if load_examples():
        page.locator("#examples button.gallery-item").first.click()
        expect(page.locator("#picture img")).to_be_visible()
    else:
        upload(page, picture)
        question(page).fill("What shape is in the picture?")


def upload(page: sync_api.Page, file: Path) -> None:
    clear = page.locator("#picture button[aria-label='Clear'], #picture button[title='Clear']")
    if clear.count():
        clear.first.click()
    page.locator("#picture input[type=file]").set_input_files(file)
    expect(page.locator("#picture img")).to_have_count(1)


def question(page: sync_api.Page) -> sync_api.Locator:
    return page.locator("#question textarea")


def ask_and_wait(page: sync_api.Page) -> None:
    page.click("#ask")
    expect(page.locator("#notice")).to_contain_text("Done", timeout=SECONDS)


def wait_until_it_runs(page: sync_api.Page) -> None:
    """Looks at every frame: a run is soon over."""
    page.wait_for_function("document.querySelector('#notice').textContent.includes('timed run')")


def screenshot(page: sync_api.Page, name: str) -> None:
    SCREENSHOTS.mkdir(exist_ok=True)
    page.wait_for_timeout(600)  # until the charts stand still
    page.screenshot(path=SCREENSHOTS / f"{name}.png", full_page=True)


def set_number(page: sync_api.Page, label: str, value: int) -> None:
    """Type a value into the number box of a slider in the settings."""
    if not page.locator("#retained").is_visible():
        page.locator("#settings button").first.click()
    box = page.locator("#settings").get_by_label(re.compile(f"number input for {label}", re.IGNORECASE))
    box.fill(str(value))
    box.blur()


def brightness(page: sync_api.Page, selector: str, property_name: str) -> float:
    """Mean of the RGB values of a colour that the browser computed, 0 to 255."""
    colour = page.locator(selector).first.evaluate("(element, name) => getComputedStyle(element)[name]", property_name)
    return sum(float(value) for value in re.findall(r"[\d.]+", colour)[:3]) / 3


def test_a_first_visit_shows_what_to_do_and_no_empty_charts(visit) -> None:
    page = visit()
    expect(page.locator("h1")).to_have_text("Skip-Vision, side by side")
    for panel in ("tokens", "layers", "latency"):
        expect(page.locator(f"#{panel}-panel .intro")).to_be_visible()
    # the only chart that needs no question
    expect(page.locator("#quality .main-svg").first).to_be_visible(timeout=SECONDS)
    assert page.locator(".js-plotly-plot").count() == 1 and page.locator("#overlay img").count() == 0
    expect(page.locator("#stop")).to_be_disabled()
    screenshot(page, "first-visit")


def test_one_question_two_answers_and_every_panel(visit, picture: Path) -> None:
    page = visit()
    prepare(page, picture)
    ask_and_wait(page)
    for number, name in enumerate(("Dense", "Skip-Vision")):
        card = page.locator(f"#answer-{number}")
        expect(card.locator("h2")).to_contain_text(name)
        assert card.locator(".text").inner_text().strip()
        for measure in ("time to first token", "decode", "KV cache", "tokens in the cache"):
            expect(card).to_contain_text(measure)
    expect(page.locator("#headline .sentence")).to_contain_text("that saving became time")
    expect(page.locator("#headline .numbers dd")).to_have_count(4)
    for chart in CHARTS:
        expect(page.locator(f"#{chart} .main-svg").first).to_be_visible()
    expect(page.locator("#overlay img")).to_have_attribute("alt", re.compile("Of 576 visual tokens"))
    screenshot(page, "wide-light")


def test_the_overlay_answers_to_its_controls(visit, picture: Path) -> None:
    page = visit()
    prepare(page, picture)
    ask_and_wait(page)
    image = page.locator("#overlay img")
    seen = {image.get_attribute("src")}
    page.locator("#overlay-view").get_by_text("FFN update").click()
    expect(image).to_have_attribute("alt", re.compile("Layer 1: the FFN ran for"))
    seen.add(image.get_attribute("src"))
    screenshot(page, "ffn-update")
    slider = page.locator("#overlay-layer input[type=range]")
    slider.focus()
    slider.press("ArrowRight")
    expect(image).to_have_attribute("alt", re.compile("Layer 2"))
    seen.add(image.get_attribute("src"))
    page.locator("#overlay-arm").get_by_text("Dense").click()
    expect(image).to_have_attribute("alt", re.compile("ran for 576 of 576"))
    seen.add(image.get_attribute("src"))
    page.locator("#overlay-view").get_by_text("Merged into").click()
    expect(image).to_have_attribute("alt", "No token is merged.")
    page.locator("#overlay-arm").get_by_text("Skip-Vision").click()
    expect(image).to_have_attribute("alt", re.compile("320 tokens are merged"))
    seen.add(image.get_attribute("src"))
    assert len(seen) == 5
    screenshot(page, "merged-into")


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
    for word in ("circles", *world.colours, *(name for names in world.things.values() for name in names)):
        expect(page.locator("dl.world")).to_contain_text(word)
    if not world.things:
        expect(page.locator("dl.world")).not_to_contain_text("octopus")
    expect(page.locator("#examples button.gallery-item")).to_have_count(len(offered(load_examples(), world)))
    screenshot(page, "world")


def test_quality_of_every_split_as_text(visit) -> None:
    page = visit()
    table = page.locator("#quality-table table")
    expect(table).to_contain_text("41.0 %", timeout=SECONDS)
    page.locator("#quality-split").get_by_text("easy-VQA").click()
    expect(table).to_contain_text("67.1 %", timeout=SECONDS)
    expect(table).not_to_contain_text("41.0 %")


def test_enter_asks_and_the_values_are_there_as_text(visit, picture: Path) -> None:
    page = visit()
    prepare(page, picture)
    question(page).press("Enter")
    expect(page.locator("#notice")).to_contain_text("Done", timeout=SECONDS)
    for panel, says in (("tokens", "tokens in the decoder"), ("layers", "no FFN"), ("latency", "not available")):
        page.locator(f"#{panel}-panel").get_by_role("button", name="As text").first.click()
        expect(page.locator(f"#{panel}-panel table").first).to_be_visible()
        expect(page.locator(f"#{panel}-panel")).to_contain_text(says)
    screenshot(page, "as-text")


def test_bad_input_gets_a_sentence_and_keeps_the_last_result(visit, picture: Path, tmp_path: Path) -> None:
    page = visit()
    prepare(page, picture)
    ask_and_wait(page)
    answer = page.locator("#answer-0").inner_text()
    whole = picture.read_bytes()
    bad = {
        "words.png": (b"I am not a picture", "not a picture that can be read"),
        "half.png": (whole[: len(whole) // 2], "damaged or cut short"),
    }
    Image.new("RGB", (1, 1)).save(tmp_path / "dot.png")
    bad["dot.png"] = ((tmp_path / "dot.png").read_bytes(), "only 1 × 1 pixels")
    for name, (content, says) in bad.items():
        (tmp_path / name).write_bytes(content)
        upload(page, tmp_path / name)
        page.click("#ask")
        expect(page.locator("#notice .failed")).to_contain_text(says)
    upload(page, picture)
    for text, says in (("", "Type a question"), ("x" * 100_000, "100,000 characters")):
        question(page).fill(text)
        page.click("#ask")
        expect(page.locator("#notice .failed")).to_contain_text(says)
    question(page).fill("What is it? 🔴")
    set_number(page, "Skipped tokens", 0)
    page.click("#ask")
    expect(page.locator("#notice .failed")).to_contain_text("“Skipped tokens” must be at least 1")
    screenshot(page, "bad-input")
    assert page.locator("#answer-0").inner_text() == answer
    assert page.locator(".toast-body").count() == 0
    set_number(page, "Skipped tokens", 40)
    ask_and_wait(page)
    expect(page.locator("#answer-1 h2")).to_contain_text("+40")


def test_stop_ends_the_run_and_the_next_one_is_right(visit, picture: Path) -> None:
    page = visit()
    prepare(page, picture)
    set_number(page, "Timed runs of each", 20)
    page.click("#ask")
    wait_until_it_runs(page)
    page.click("#stop")
    expect(page.locator("#notice")).to_contain_text("Stopped", timeout=2_000)
    page.wait_for_timeout(1_000)
    expect(page.locator("#notice")).to_contain_text("Stopped")
    expect(page.locator("#stop")).to_be_disabled()
    set_number(page, "Timed runs of each", 1)
    ask_and_wait(page)


def test_a_visitor_can_leave_the_line(visit, picture: Path) -> None:
    first, second = visit(), visit()
    for page in (first, second):
        prepare(page, picture)
    set_number(first, "Timed runs of each", 20)
    first.click("#ask")
    wait_until_it_runs(first)
    second.click("#ask")
    expect(second.locator("#notice")).to_contain_text("In line")
    second.click("#stop")
    expect(second.locator("#notice")).to_contain_text("Stopped")
    expect(first.locator("#notice")).to_contain_text("Done", timeout=SECONDS)
    second.wait_for_timeout(1_000)
    expect(second.locator("#notice")).to_contain_text("Stopped")
    assert second.locator("#headline .numbers").count() == 0
    ask_and_wait(second)


def test_a_visitor_who_leaves_frees_the_device(visit, address: str, picture: Path) -> None:
    page = visit()
    prepare(page, picture)
    set_number(page, "Timed runs of each", 20)
    set_number(page, "Longest answer, in tokens", 256)
    page.click("#ask")
    wait_until_it_runs(page)
    page.close()
    job = Client(address, verbose=False).submit(
        image=handle_file(picture), question="what?", max_new_tokens=2, api_name="/compare"
    )
    assert len(job.result(timeout=10)["arms"]) == 2


def test_narrow_screens_need_no_sideways_scrolling(visit, picture: Path) -> None:
    page = visit(width=390)
    prepare(page, picture)
    ask_and_wait(page)
    expect(page.locator("#phases .main-svg").first).to_be_visible()
    screenshot(page, "narrow-light")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


@pytest.mark.parametrize("width", [1400, 390])
def test_dark(visit, picture: Path, width: int) -> None:
    page = visit(width, theme="dark")
    prepare(page, picture)
    ask_and_wait(page)
    expect(page.locator("#phases .main-svg").first).to_be_visible()
    assert brightness(page, "body", "backgroundColor") < 50
    assert brightness(page, "#kv .xtick text", "fill") > 180
    assert brightness(page, "#kv .bars path", "fill") > 180  # the dense bars, ink by day
    screenshot(page, "wide-dark" if width == 1400 else "narrow-dark")
