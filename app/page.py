"""The page: layout and wiring only. What it shows is in `panels`, what happens on Ask in `asking`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr
from PIL import Image

from app.api import compare_endpoint, methods, models_endpoint
from app.charts.quality import RECORD
from app.examples import known_of, load_examples, offered
from app.panels import QUIET, Changes
from app.panels.answers import AnswersPanel
from app.panels.ask import AskPanel
from app.panels.benchmark import BenchmarkPanel
from app.panels.calibration import CalibrationPanel
from app.panels.components import status
from app.panels.follow import FollowPanel
from app.panels.lanes import LanesPanel
from app.panels.latency import LatencyPanel
from app.panels.layers import LayersPanel
from app.panels.link import LinkPanel
from app.panels.linked import link
from app.panels.models import ModelsPanel
from app.panels.quality import QualityPanel
from app.panels.tokens import TokensPanel
from app.panels.trade_off_panel import TradeOffPanel
from app.runs.ask import LINE_FULL, STOPPED, Asking
from app.runs.follow import Following
from app.runs.recorded import RECORDED, recorded_for
from app.runs.side_by_side import Racing
from app.server.device import DEVICE
from app.server.shelf import Shelf
from app.server.visitors import Line, left
from app.server.zero_gpu import is_lent
from app.tokens.overlay import View
from app.world import world_of
from skipcore import Dense, Vlm

TITLE = "Skip-Vision, side by side"
HEADER = f"""<header><h1>{TITLE}</h1>
<p>Ask a question about a picture. A dense model and the same model with Skip-Vision, or another method, answer it,
with every token, layer, byte and millisecond accounted for.</p></header>"""
ESCAPE_STOPS = """() => document.addEventListener('keydown', event => {
    if (event.key === 'Escape' && !event.defaultPrevented) document.querySelector('#stop:not(:disabled)')?.click();
})"""


def build_page(vlm: Vlm, record: Path = RECORD, recorded: Path = RECORDED, *, shelf: Shelf | None = None) -> gr.Blocks:
    """The whole page for one model, with its API.

    Args:
        record: of measured accuracy; the page does without where there is none of this model.
        recorded: a finished example that a first visit shows; likewise.
        shelf: that loads other models; None where this is the only one.

    Raises:
        InputError: the model's folder says badly what the model was trained on.
    """
    world = world_of(vlm)
    examples = offered(load_examples(), world)
    first = recorded_for(vlm, recorded)
    # Uploaded pictures are deleted within an hour and ten minutes.
    with gr.Blocks(title=TITLE, analytics_enabled=False, delete_cache=(600, 3600)) as page:
        report, finished, stop = gr.State(None), gr.State(None), gr.State(None)
        gr.HTML(HEADER)
        ModelsPanel(page, vlm, shelf)
        with gr.Row(elem_id="top"):
            with gr.Column(scale=2, min_width=320, elem_id="ask-column"):
                ask_panel = AskPanel(vlm, num_visual_tokens(vlm), examples, world)
                link_panel = LinkPanel(ask_panel, examples)
                link_panel.wire(page)
            with gr.Column(scale=3, min_width=320, elem_id="answers-column"):
                answers = AnswersPanel(world is not None, None if first is None else (first, examples[0].truth))
                with gr.Column(visible=not is_lent(vlm)):
                    lanes, follow = LanesPanel(), FollowPanel()
        with gr.Column(elem_id="tokens-panel"):
            tokens = TokensPanel(vlm.model.get_decoder().config.num_hidden_layers)
        with gr.Column(elem_id="layers-panel"):
            layers = LayersPanel()
        link(report, tokens, layers)
        with gr.Column(elem_id="latency-panel"):
            latency = LatencyPanel()
            BenchmarkPanel(vlm, ask_panel.inputs, ask_panel.settings)
        with gr.Column(elem_id="calibration-panel", visible=vlm.calibration is not None):
            CalibrationPanel(vlm)
        with gr.Column(elem_id="quality-panel"):
            QualityPanel(vlm, record)
            TradeOffPanel(vlm, ask_panel.inputs, ask_panel.settings)
        asking = Asking(
            vlm, ask_panel, answers, tokens, layers, latency, lanes, follow, report, finished, stop, known_of(examples)
        )
        page.unload(left)
        wire(Line(page, str(DEVICE["concurrency_id"])), asking)
        gr.api(compare_endpoint(vlm), api_name="compare", **DEVICE)
        gr.api(models_endpoint(vlm, shelf), api_name="models", queue=False)
        gr.api(methods, api_name="methods", queue=False)
        page.load(None, js=ESCAPE_STOPS, api_visibility="private")
        if first is not None:
            arms = (Dense(), vlm.skipping)
            shown = asking.show_panels(first, 1, View.STATE, 1)  # drawn once for all visitors

            def show_first(request: gr.Request) -> Changes:
                if link_panel.is_link(request):
                    return {report: None}
                return shown if is_lent(vlm) else shown | follow.start(vlm, first, arms)

            page.load(show_first, None, asking.drawn, queue=False, **QUIET)
    return page


def wire(line: Line, asking: Asking) -> None:
    """Events: Ask and Enter run, Stop ends. All runs share the device's queue."""
    panel = asking.ask_panel
    follow, lanes = asking.follow, asking.lanes
    following = Following(panel, follow, asking.stop)
    racing = Racing(asking.vlm, panel, lanes, follow.talk, asking.stop)
    looking = gr.Timer(1, active=False)  # at a visitor's place in line
    in_line = InLine(line, panel, looking)
    race = in_line.queued([lanes.button.click], racing, api_name="race")
    replay = race.success(racing.replay, [follow.talk, lanes.steps], racing.outputs, **QUIET)
    # Gradio would open the picture first, and its words about a bad one are not ours
    ask = in_line.queued([panel.ask_button.click, panel.question.submit], asking, api_name="ask", preprocess=False)
    controls = [asking.finished, *asking.tokens.controls]
    drawn = ask.success(asking.draw, controls, asking.drawn, api_name="draw", queue=False, **QUIET)
    drawn.failure(lambda: gr.update(interactive=True), None, panel.ask_button, queue=False, **QUIET)
    runs: list[Any] = [
        ask,
        in_line.queued([follow.button.click, follow.question.submit], following, api_name="follow_up"),
        race,
        replay,
    ]
    looking.tick(in_line.look, None, [panel.notice, panel.stop_button], queue=False, **QUIET)
    panel.stop_button.click(
        lambda stop: asking.end(stop) | {looking: gr.Timer(active=False)},
        asking.stop,
        [*panel.outputs, looking],
        cancels=runs,  # takes a run that still waits in line out of it
        queue=False,
        **QUIET,
    )


@dataclass(frozen=True)
class InLine:
    """The device's line, and the notice that tells a visitor their place in it.

    Attributes:
        looking: ticks while a visitor waits or their run goes on.
    """

    line: Line
    panel: AskPanel
    looking: gr.Timer

    def queued(self, triggers: Sequence[Any], run: Asking | Following | Racing, **options: Any) -> gr.events.Dependency:
        """Let a run wait in line, and the page say so."""
        panel, line = self.panel, self.line
        in_line = gr.on(
            triggers,
            lambda: {
                panel.ask_button: gr.update(interactive=False),
                panel.notice: status(line.at_its_end()),
                self.looking: gr.Timer(active=True),
            },
            None,
            [panel.ask_button, panel.notice, self.looking],
            queue=False,
            **QUIET,
        )
        ran = in_line.then(run.ask, run.inputs, run.outputs, **options, **QUIET, **DEVICE)

        # Gradio calls it a failure when a run leaves the line, and when the line is full, which it says in a toast.
        def end() -> Changes:
            return panel.idle(LINE_FULL if line.is_full else STOPPED)

        ran.failure(end, None, panel.outputs, queue=False, **QUIET)
        ran.then(lambda: gr.Timer(active=False), None, self.looking, queue=False, **QUIET)
        return ran

    def look(self, request: gr.Request) -> Changes:
        """The visitor's place in line, and Stop: a run that the server does not have yet could not be taken out of the
        line, and would go on after all. Nothing where they are not in it yet, or not any more."""
        place = self.line.seen_by(request.session_hash)
        if place is None:
            return gr.skip()
        return {self.panel.notice: status(place), self.panel.stop_button: gr.update(interactive=True)}


def num_visual_tokens(vlm: Vlm) -> int:
    """How many visual tokens the model makes of a square picture: the end of the sliders."""
    return vlm.num_visual_tokens(vlm.prepare(Image.new("RGB", (336, 336)), "?"))
