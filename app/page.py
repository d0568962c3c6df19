"""The page: layout and wiring only. What it shows is in `panels`, what happens on Ask in `runs`."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from app.api import compare_endpoint, methods, models_endpoint
from app.charts.quality import RECORD
from app.panels import AT_ONCE, QUIET, Changes
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
from app.runs.ask import LINE_FULL, STOPPED, AskRun
from app.runs.follow import FollowUpRun
from app.runs.recorded import RECORDED, recorded_for
from app.runs.side_by_side import SideBySideRun
from app.server.device import DEVICE
from app.server.pool import ModelPool
from app.server.visitors import Line, left
from app.server.zero_gpu import is_lent
from app.tokens.overlay import View
from skipcore import Dense, Vlm

Run = AskRun | FollowUpRun | SideBySideRun
TITLE = "Skip-Vision, side by side"
HEADER = f"""<header><h1>{TITLE}</h1>
<p>Ask a question about a picture. A dense model and the same model with Skip-Vision, or another method, answer it,
with every token, layer, byte and millisecond accounted for.</p></header>"""
ESCAPE_STOPS = """() => document.addEventListener('keydown', event => {
    if (event.key === 'Escape' && !event.defaultPrevented) document.querySelector('#stop:not(:disabled)')?.click();
})"""


def build_page(pool: ModelPool | Vlm, record: Path = RECORD, recorded: Path = RECORDED) -> gr.Blocks:
    """The whole page for the models of a pool, with its API.

    Args:
        pool: or the one model that there is.
        record: of measured accuracy; the page does without where there is none of the visitor's model.
        recorded: a finished example that a first visit shows, of the first model.

    Raises:
        InputError: the model's folder says badly what the model was trained on.
    """
    if isinstance(pool, Vlm):
        pool = ModelPool(pool)
    first = pool.first
    report_at_first = recorded_for(first.vlm, recorded)
    at_first = None if report_at_first is None else (report_at_first, first.examples[0].truth, first.is_judge)
    # Uploaded pictures are deleted within an hour and ten minutes.
    with gr.Blocks(title=TITLE, analytics_enabled=False, delete_cache=(600, 3600)) as page:
        report, finished, stop = gr.State(None), gr.State(None), gr.State(None)
        gr.HTML(HEADER)
        models = ModelsPanel(pool)
        with gr.Row(elem_id="top"):
            with gr.Column(scale=2, min_width=320, elem_id="ask-column"):
                ask_panel = AskPanel(pool, models.chosen)
                link_panel = LinkPanel(ask_panel, pool)
            with gr.Column(scale=3, min_width=320, elem_id="answers-column"):
                answers = AnswersPanel(at_first)
                with gr.Column(visible=not is_lent(first.vlm)):
                    lanes, follow = LanesPanel(), FollowPanel()
        with gr.Column(elem_id="tokens-panel"):
            tokens = TokensPanel(first.num_layers)
        with gr.Column(elem_id="layers-panel"):
            layers = LayersPanel()
        link(report, tokens, layers)
        with gr.Column(elem_id="latency-panel"):
            latency = LatencyPanel()
            BenchmarkPanel(pool, ask_panel.inputs, ask_panel.settings)
        calibration = CalibrationPanel(first.vlm)
        with gr.Column(elem_id="quality-panel"):
            quality = QualityPanel(first.vlm, record)
            TradeOffPanel(pool, ask_panel.inputs, ask_panel.settings)
        asking = AskRun(pool, ask_panel, answers, tokens, layers, latency, lanes, follow, report, finished, stop)
        following = FollowUpRun(ask_panel, follow, stop)
        pool.before_unload.append(following.last.forget)
        wire(Line(page, str(DEVICE["concurrency_id"])), asking, following)

        shown_at_first: Changes = {}
        if report_at_first is not None:  # drawn once for all visitors
            shown_at_first = asking.show_panels(report_at_first, 1, View.STATE, 1)

        def recorded_run() -> Changes:
            if report_at_first is None or is_lent(first.vlm):
                return shown_at_first
            return shown_at_first | follow.start(first.vlm, report_at_first, (Dense(), first.vlm.skipping))

        def show_model(name: str | None, running: threading.Event | None, request: gr.Request) -> Changes:
            """The page for the model that a visitor has just chosen; the settings of their link are kept."""
            if name is None:
                return gr.skip()
            model = pool.get(name)
            changes = models.title(model) | ask_panel.show_model(model) | calibration.show_model(model.vlm)
            changes |= quality.show_model(model.vlm) | asking.clear()
            changes[tokens.layer] = gr.update(maximum=model.num_layers, value=1)
            if running is not None and not running.is_set():
                changes |= asking.end(running)
            if model is first:
                changes |= answers.start(at_first) | recorded_run()
            return changes | link_panel.open(request, model, settings_only=True)

        def arrive(request: gr.Request) -> Changes:
            """The page as its address wants it: which model, and what a link says; the recorded run at first."""
            opened = models.open(request)
            model = pool.get(opened.get(models.chosen))
            linked = link_panel.open(request, model)
            if model is not first:
                opened |= show_model(model.name, None, request)
            elif not linked:
                opened |= recorded_run()
            return opened | linked or gr.skip()

        of_model = [models.fold, *ask_panel.of_model, *calibration.outputs, *quality.outputs, tokens.layer]
        of_model = _once([*of_model, *asking.outputs, *asking.drawn, *link_panel.opened])
        models.wire(show_model, [stop], of_model)
        page.load(arrive, None, _once([*models.outputs, *of_model]), **AT_ONCE)
        page.load(None, js=ESCAPE_STOPS, api_visibility="private")

        def leave(request: gr.Request) -> None:
            left(request)
            pool.leave(str(request.session_hash))

        page.unload(leave)
        gr.api(compare_endpoint(pool), api_name="compare", **DEVICE)
        gr.api(models_endpoint(pool), api_name="models", queue=False)
        gr.api(methods, api_name="methods", queue=False)
    return page


def _once(components: Sequence[Any]) -> list[Any]:
    return list(dict.fromkeys(components))


def wire(line: Line, asking: AskRun, following: FollowUpRun) -> None:
    """Events: Ask and Enter run, Stop ends. All runs share the device's queue."""
    panel = asking.ask_panel
    follow, lanes = asking.follow, asking.lanes
    racing = SideBySideRun(panel, lanes, follow.talk, asking.stop)
    looking = gr.Timer(1, active=False)  # at a visitor's turn
    in_line = InLine(line, panel, looking)
    race = in_line.queued([lanes.button.click], racing, api_name="race")
    replay = race.success(racing.replay, [follow.talk, lanes.steps], racing.outputs, **QUIET)
    # Gradio would open the picture first, and its words about a bad one are not ours
    ask = in_line.queued([panel.ask_button.click, panel.question.submit], asking, api_name="ask", preprocess=False)
    controls = [asking.finished, *asking.tokens.controls]
    drawn = ask.success(asking.draw, controls, asking.drawn, api_name="draw", **AT_ONCE)
    drawn.failure(lambda: gr.update(interactive=True), None, panel.ask_button, **AT_ONCE)
    runs: list[Any] = [
        ask,
        in_line.queued([follow.button.click, follow.question.submit], following, api_name="follow_up"),
        race,
        replay,
    ]
    looking.tick(in_line.look, None, [panel.notice, panel.stop_button], **AT_ONCE)
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

    def queued(self, triggers: Sequence[Any], run: Run, **options: Any) -> gr.events.Dependency:
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

        ran.failure(end, None, panel.outputs, **AT_ONCE)
        ran.then(lambda: gr.Timer(active=False), None, self.looking, **AT_ONCE)
        return ran

    def look(self, request: gr.Request) -> Changes:
        """Show the visitor's place in the waiting line, and Stop: a run that the server does not have yet could not be
        taken out of the line, and would go on after all. Nothing where they are not in it yet, or not any more."""
        place = self.line.seen_by(request.session_hash)
        if place is None:
            return gr.skip()
        return {self.panel.notice: status(place), self.panel.stop_button: gr.update(interactive=True)}
