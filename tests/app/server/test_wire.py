"""What one answer's figures weigh on the wire: everything that tokens, layers and latency send at once."""

from __future__ import annotations

import json
from typing import Any

import gradio as gr
import plotly.graph_objects as go
import pytest
from PIL import Image

from app.examples import load_examples
from app.page import build_page
from app.panels.latency import LatencyPanel
from app.panels.layers import LayersPanel
from app.panels.tokens import TokensPanel
from app.server.models import KNOWN
from app.server.pool import ModelPool
from app.tokens.overlay import View
from profiling import Report, compare
from skipcore import Vlm

MOST = 300_000


@pytest.fixture(scope="module")
def report(scenes: Vlm) -> Report:
    """Of an example, as the page asks it."""
    example = load_examples()[0]
    return compare(scenes, Image.open(example.image), example.question, repeats=1, max_new_tokens=4)


def weight(value: Any) -> int:
    """Bytes of a component's new value in JSON. A plot is sent as JSON within JSON."""
    sent = value.to_json() if isinstance(value, go.Figure) else value
    return len(json.dumps(sent, ensure_ascii=False).encode())


def test_streaming_events_touch_few_outputs(scenes: Vlm) -> None:
    """Each message of an event costs as much as the event has outputs, changed or not."""
    page = build_page(ModelPool(scenes, known=KNOWN))
    streaming = {each["api_name"]: each for each in page.config["dependencies"] if each["types"]["generator"]}
    assert {"ask", "follow_up", "race", "measure", "load"} <= set(streaming)
    assert {name: len(each["outputs"]) for name, each in streaming.items() if len(each["outputs"]) >= 10} == {}
    of_ask = {page.blocks[number].elem_id for number in streaming["ask"]["outputs"]} - {None}
    assert of_ask == {"ask", "stop", "notice", "asked", "answer-0", "answer-1", "headline"}  # and no panel


@pytest.mark.parametrize("view", View)
def test_the_figures_of_an_answer_are_small(report: Report, view: View) -> None:
    with gr.Blocks():
        tokens, layers, latency = TokensPanel(5), LayersPanel(), LatencyPanel()
    changes = tokens.show(report, 1, view, 1) | layers.show(report, 1) | latency.show(report)
    weights = {component.elem_id or component.get_block_name(): weight(value) for component, value in changes.items()}
    total = sum(weight(value) for value in changes.values())
    print(f"{view}: {total / 1000:.0f} kB", {name: size for name, size in weights.items() if size > 3000})
    assert total <= MOST


def test_a_scrub_is_small(report: Report) -> None:
    with gr.Blocks():
        tokens, layers = TokensPanel(5), LayersPanel()
    changes = tokens.selection(report, 100, 1, View.STATE, 3) | layers.marked(report, 100, 3)
    assert sum(map(weight, changes.values())) < 20_000
