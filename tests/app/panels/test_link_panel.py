"""The page of a link is the page that the link was made on, whatever the model and the method."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qsl

import gradio as gr
import pytest
from tiny_families import tiny_model

from app.examples import Example, load_examples
from app.links import settings_that_apply
from app.panels.ask import AskPanel
from app.panels.link import OPENED, WITH_PICTURE, WITHOUT_PICTURE, LinkPanel
from app.runs.offered_methods import OFFERED
from app.server.pool import ModelPool
from app.settings import Settings
from skipcore import Vlm


@pytest.fixture(scope="module")
def examples() -> list[Example]:
    return load_examples()


def page(vlm: Vlm) -> LinkPanel:
    pool = ModelPool(vlm)
    with gr.Blocks():
        return LinkPanel(AskPanel(pool, gr.State(pool.first.name)), pool)


def opened(panel: LinkPanel, query: dict[str, str]) -> dict[Any, Any]:
    return panel.open(SimpleNamespace(query_params=query), panel._pool.first)


@pytest.fixture(scope="module")
def counting(scenes: Vlm) -> LinkPanel:
    """A page whose sliders count tokens."""
    return page(scenes)


@pytest.fixture(scope="module")
def sharing() -> LinkPanel:
    """A page whose sliders are in per cent."""
    return page(tiny_model("Qwen2.5-VL"))


def shown(panel: LinkPanel, query: str) -> dict[Any, Any]:
    """Every control's value after the page was opened with a query."""
    changes = opened(panel, dict(parse_qsl(query.removeprefix("?"))))
    values = {component: component.value for component in panel.ask_panel.inputs}
    for component, change in changes.items():
        is_update = isinstance(change, dict) and "__type__" in change
        if not is_update or "value" in change:
            values[component] = change["value"] if is_update else change
    return values


def settings_of(panel: LinkPanel, values: dict[Any, Any]) -> Settings:
    _, _, _, *chosen = (values[component] for component in panel.ask_panel.inputs)
    return panel.ask_panel.settings(panel._pool.first, *chosen)


def link_to(panel: LinkPanel, values: dict[Any, Any]) -> str:
    name, _, question, *chosen = (values[component] for component in panel.ask_panel.inputs)
    return panel.make(name, None, question, *chosen, None)["value"]


@pytest.mark.parametrize("kind", ["counting", "sharing"])
@pytest.mark.parametrize("follows", [False, True])
@pytest.mark.parametrize("method", OFFERED)
def test_settings_make_the_round_trip(kind: str, method: str, follows: bool, request: pytest.FixtureRequest) -> None:
    panel = request.getfixturevalue(kind)
    ask = panel.ask_panel
    values = {component: component.value for component in ask.inputs} | {
        ask.question: "Où est-ce ? 🔴",
        ask.retained: 37,
        ask.skipped: 58,
        ask.retain: "raster",
        ask.text_attends_skipped: True,
        ask.max_new_tokens: 7,
        ask.repeats: 5,
        ask.method.method: method,
        ask.method.budget: 29,
        ask.method.then_skip_vision: follows,
    }
    query = link_to(panel, values)
    there = shown(panel, query)
    assert there[ask.question] == "Où est-ce ? 🔴" and OPENED in there[ask.notice]
    assert settings_that_apply(settings_of(panel, there)) == settings_that_apply(settings_of(panel, values))
    assert link_to(panel, there) == query


def test_examples_and_scenes_are_opened(counting: LinkPanel, examples: list[Example]) -> None:
    ask = counting.ask_panel
    example = examples[1]
    there = shown(counting, f"?example={example.name}")
    assert (there[ask.picture], there[ask.question]) == (example.image, example.question)
    assert shown(counting, f"?example={example.name}&question=Why%3F")[ask.question] == "Why?"
    scene = shown(counting, "?scene=12&question=Why%3F")
    assert scene[ask.scene.known].scene == 12 and scene[ask.question] == "Why?"
    assert shown(counting, "?scene=12")[ask.question] in [
        each.text.capitalize() for each in scene[ask.scene.known].questions
    ]


def test_a_link_of_another_kind_of_model_says_what_it_cannot_show(counting: LinkPanel, sharing: LinkPanel) -> None:
    usual = sharing.ask_panel.retained.value
    there = shown(sharing, "?num_retained=100&repeats=2")
    assert there[sharing.ask_panel.retained] == usual and there[sharing.ask_panel.repeats] == 2
    assert "num_retained cannot be used here" in there[sharing.ask_panel.notice]
    assert shown(counting, "?num_retained=0.25")[counting.ask_panel.retained] == 144


@pytest.mark.parametrize(
    "query, is_link", [({}, False), ({"view": "api"}, False), ({"repeats": "3"}, True), ({"repeats": "x"}, True)]
)
def test_a_link_is_known_by_its_query(counting: LinkPanel, query: dict[str, str], is_link: bool) -> None:
    assert bool(opened(counting, query)) == is_link


@pytest.mark.parametrize("query", ["", "?__theme=dark&view=api"])
def test_an_address_that_says_nothing_changes_nothing(counting: LinkPanel, query: str) -> None:
    usual = {component: component.value for component in counting.ask_panel.inputs}
    assert shown(counting, query) == usual


def test_a_link_says_whether_the_picture_is_in_it(counting: LinkPanel, monkeypatch: pytest.MonkeyPatch) -> None:
    name, _, _, *values = (component.value for component in counting.ask_panel.inputs)
    own = counting.make(name, None, "What?", *values, None)
    assert own["info"] == WITHOUT_PICTURE and "example" not in own["value"]
    digest, example = next(iter(counting._by_digest.items()))
    monkeypatch.setattr("app.panels.link.digest_of_upload", lambda picture: digest)
    kept = counting.make(name, {"path": "x"}, "What?", *values, None)
    assert kept["info"] == WITH_PICTURE and f"example={example}" in kept["value"]
