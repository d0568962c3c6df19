"""The page: layout and wiring only. What it shows is in `panels`, what happens on Ask in `asking`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gradio as gr
from PIL import Image

from app.api import compare_endpoint
from app.asking import STOPPED, Asking
from app.comparing import DEVICE
from app.examples import known_of, load_examples, offered
from app.panels.answers import AnswersPanel
from app.panels.ask import AskPanel
from app.panels.benchmark import BenchmarkPanel
from app.panels.calibration import CalibrationPanel
from app.panels.latency import LatencyPanel
from app.panels.layers import LayersPanel
from app.panels.quality import QualityPanel
from app.panels.sweep import SweepPanel
from app.panels.tokens import TokensPanel
from app.quality import RECORD
from app.world import world_of
from skipcore import Vlm

TITLE = "Skip-Vision, side by side"
HEADER = f"""<header><h1>{TITLE}</h1>
<p>Ask a question about a picture. A dense model and the same model with Skip-Vision, or another method, answer it,
with every token, layer, byte and millisecond accounted for.</p></header>"""


def build_page(vlm: Vlm, record: Path = RECORD) -> gr.Blocks:
    """The whole page for one model, with its API.

    Args:
        record: of measured accuracy; the page does without where there is none of this model.

    Raises:
        InputError: the model's folder says badly what the model was trained on.
    """
    world = world_of(vlm)
    examples = offered(load_examples(), world)
    # Uploaded pictures are deleted within an hour and ten minutes.
    with gr.Blocks(title=TITLE, analytics_enabled=False, delete_cache=(600, 3600)) as page:
        report, stop = gr.State(None), gr.State(None)
        gr.HTML(HEADER)
        with gr.Row(elem_id="top"):
            with gr.Column(scale=2, min_width=320, elem_id="ask-column"):
                ask_panel = AskPanel(vlm, num_visual_tokens(vlm), examples, world)
            with gr.Column(scale=3, min_width=320, elem_id="answers-column"):
                answers = AnswersPanel(is_judge=world is not None)
        with gr.Column(elem_id="tokens-panel"):
            tokens = TokensPanel(report, vlm.model.get_decoder().config.num_hidden_layers)
        with gr.Column(elem_id="layers-panel"):
            layers = LayersPanel()
        with gr.Column(elem_id="latency-panel"):
            latency = LatencyPanel()
            BenchmarkPanel(vlm, ask_panel.inputs, ask_panel.settings)
        with gr.Column(elem_id="calibration-panel", visible=vlm.calibration is not None):
            CalibrationPanel(vlm)
        with gr.Column(elem_id="quality-panel"):
            QualityPanel(vlm, record)
            SweepPanel(vlm, ask_panel.inputs, ask_panel.settings)
        wire(Asking(vlm, ask_panel, answers, tokens, layers, latency, report, stop, known_of(examples)))
    return page


def wire(asking: Asking) -> None:
    """Events: Ask and Enter run, Stop ends; the API runs the same. All runs share the device's queue."""
    panel = asking.ask_panel
    quiet: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
    in_line = gr.on(
        [panel.ask_button.click, panel.question.submit],
        lambda: panel.running("In line for the device…"),
        None,
        panel.outputs,
        queue=False,
        **quiet,
    )
    asked = in_line.then(
        asking.ask,
        asking.inputs,
        asking.outputs,
        preprocess=False,  # Gradio would open the picture first, and its words about a bad one are not ours
        **quiet,
        **DEVICE,
    )
    # Gradio calls it a failure when a run leaves the line, and when the line is full, which it says in a toast.
    asked.failure(lambda: panel.idle(STOPPED), None, panel.outputs, queue=False, **quiet)
    panel.stop_button.click(
        asking.end,
        asking.stop,
        panel.outputs,
        cancels=[asked],  # takes a run that still waits in line out of it
        queue=False,
        **quiet,
    )
    gr.api(compare_endpoint(asking.vlm), api_name="compare", **DEVICE)


def num_visual_tokens(vlm: Vlm) -> int:
    """How many visual tokens the model makes of a square picture: the end of the sliders."""
    return vlm.num_visual_tokens(vlm.prepare(Image.new("RGB", (336, 336)), "?"))
