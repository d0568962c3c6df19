"""What happens between Ask and the last figure: events of a run in, changes of the page out."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import gradio as gr

from app.page_model import PageModel
from app.panels import Changes
from app.panels.answers import AnswersPanel, LiveAnswer
from app.panels.ask import AskPanel
from app.panels.follow import FollowPanel
from app.panels.lanes import LanesPanel
from app.panels.latency import LatencyPanel
from app.panels.layers import LayersPanel
from app.panels.tokens import TokensPanel
from app.runs.comparison import run
from app.server.pool import ModelPool
from app.server.refusals import Refusal, refusing
from app.server.zero_gpu import is_lent
from app.settings import Settings
from app.truth import truth_of
from profiling import Report
from profiling.events import Encoding, NewText, Progress, Started, Traced
from skipcore import Dense
from skipcore.builtin.questions.questions import Question

SEES, READS = "Encoding the picture…", "Each reads the prompt once, recorded…"
STOPPED = "Stopped. Ask again whenever you like."
LINE_FULL = "The line for the device is full: ask again in a minute."


@dataclass(frozen=True, eq=False)
class Finished:
    """A run that has ended with a report, for the panels to draw."""

    report: Report
    settings: Settings
    model: PageModel


@dataclass(frozen=True)
class AskRun:
    """The panels at work together on one visitor's questions.

    While it runs, a run changes the answers and the notice alone: each message of an event costs as much as the event
    has outputs, which takes time from the model. What a report shows besides is drawn once, by `draw`.

    Attributes:
        report: the last report that was drawn.
        finished: the visitor's last run; None while one goes on, and where the last one gave no report.
        stop: the event that ends the visitor's run.
    """

    pool: ModelPool
    ask_panel: AskPanel
    answers: AnswersPanel
    tokens: TokensPanel
    layers: LayersPanel
    latency: LatencyPanel
    lanes: LanesPanel
    follow: FollowPanel
    report: gr.State
    finished: gr.State
    stop: gr.State

    @property
    def inputs(self) -> list[Any]:
        """Components whose values `ask` takes, in its order."""
        return [*self.ask_panel.inputs, self.ask_panel.scene.known]

    @property
    def outputs(self) -> list[Any]:
        """Every component that `ask` may change."""
        return [self.finished, self.stop, *self.ask_panel.outputs, *self.answers.outputs]

    @property
    def drawn(self) -> list[Any]:
        """Every component that `draw` may change."""
        panels = (self.tokens, self.layers, self.latency, self.lanes, self.follow)
        return [self.report, self.ask_panel.ask_button, *(component for panel in panels for component in panel.outputs)]

    def ask(self, name: str, picture: dict[str, Any] | None, question: str, *values: Any) -> Iterator[Changes]:
        """Run one comparison and show it as it goes. On bad input what was there before stays.

        Args:
            name: of the visitor's model.
            picture: the uploaded file as the browser sends it.
            values: the settings, and what is known about the visitor's scene.
        """
        *chosen, scene = values
        stop = threading.Event()
        yield {self.stop: stop, self.finished: None} | self.ask_panel.running("Reading the picture and the question…")
        try:
            # refusing also what is wrong with values that the page itself never sends
            with refusing(), self.pool.running(name) as model:
                settings = self.ask_panel.settings(model, *chosen)
                truth = truth_of(picture, question, (scene, *model.known))
                with closing(run(model.vlm, picture, question, settings, stop)) as events:
                    yield from self._follow(events, question, settings, truth, model)
            if stop.is_set():
                yield self.ask_panel.idle(STOPPED)
        except Refusal as refusal:
            yield self.ask_panel.idle(str(refusal), failed=True)
        finally:
            stop.set()  # also when the visitor left: whatever still runs ends before its next token

    def _follow(
        self, events: Iterator[Any], question: str, settings: Settings, truth: Question | None, model: PageModel
    ) -> Iterator[Changes]:
        live: list[LiveAnswer] = []
        names: tuple[str, ...] = ()
        vision_ms = 0.0
        for event in events:
            match event:
                case Encoding():
                    yield self.ask_panel.running(SEES)
                case Started():
                    names = event.arms
                    live = [LiveAnswer(name) for name in names]
                    yield self.ask_panel.running(READS)
                case Traced(number, trace):
                    live[number] = live[number].with_trace(trace)
                case Progress(number, timed_run, runs, vision_ms):
                    # from here on no setting can be refused any more, so the last answers may go
                    progress = self.ask_panel.running(f"{names[number]}: timed run {timed_run} of {runs}…")
                    yield self.answers.show_question(question) | self.answers.show_live(live, truth) | progress
                case NewText(number):
                    live[number] = live[number].with_text(event, vision_ms)
                    yield self.answers.show_live(live, truth, number)
                case Report():
                    done = self.ask_panel.idle("Done. Change the question or the settings and ask again.")
                    done[self.ask_panel.ask_button] = gr.skip()  # `draw` has it
                    answers = self.answers.show(event, truth, model.is_judge)
                    yield {self.finished: Finished(event, settings, model)} | answers | done

    def draw(self, finished: Finished | None, *controls: Any) -> Changes:
        """Draw all panels below the answers, begin a new conversation, and let the visitor ask again.

        Nothing changes where there is no new report.

        Args:
            controls: of the token overlay.
        """
        if finished is None:
            return gr.skip()
        report, vlm = finished.report, finished.model.vlm
        shown = self.show_panels(report, *controls) | {self.ask_panel.ask_button: gr.update(interactive=True)}
        if is_lent(vlm):
            return shown
        return shown | self.follow.start(vlm, report, (Dense(), finished.settings.compared(vlm)))

    def show_panels(self, report: Report, *controls: Any) -> Changes:
        """All that a report shows beside its answers."""
        return (
            {self.report: report}
            | self.tokens.show(report, *controls)
            | self.layers.show(report, controls[-1])
            | self.latency.show(report)
            | self.lanes.start()
        )

    def clear(self) -> Changes:
        """Nothing asked yet, as after the choice of another model."""
        hidden = [self.tokens.result, self.layers.result, self.latency.result, self.lanes.column, self.follow.column]
        nothing: Changes = dict.fromkeys((self.report, self.finished, self.follow.talk))
        return nothing | {each: gr.update(visible=False) for each in hidden} | self.answers.start()

    def end(self, stop: threading.Event | None) -> Changes:
        """What the Stop button does: end the run that `stop` belongs to."""
        if stop is not None:
            stop.set()
        return self.ask_panel.idle(STOPPED)
