"""What several panels are made of: a chart with its words, a choice of axes, a line of progress, and run controls."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from html import escape
from typing import Any

import gradio as gr
import plotly.graph_objects as go

from app.charts.chart import Chart
from app.charts.race import AGREEMENT, COSTS
from app.markup import paragraph
from app.panels import AT_ONCE, QUIET, Changes
from app.server.device import DEVICE
from app.server.refusals import Refusal, refusing
from profiling import Report


def status(sentence: str, *, failed: bool = False) -> str:
    """The line that says how a run goes; screen readers read it aloud when it changes."""
    return f'<p class="notice {"failed" if failed else "calm"}" role="status" aria-live="polite">{escape(sentence)}</p>'


def plot(name: str, figure: go.Figure | None = None) -> gr.Plot:
    """A figure without a frame of its own."""
    return gr.Plot(figure, show_label=False, container=False, elem_id=name, elem_classes="chart")


class ChartView:
    """A chart of a report, laid out where this is made: heading, key, figure, finding, and its table folded away.

    Args:
        with_table: whether the table comes with it.

    Attributes:
        outputs: what `show` changes.
    """

    def __init__(self, chart: Chart, *, with_table: bool = True) -> None:
        shown: dict[Any, Callable[[Report], Any]] = {}
        with gr.Column(min_width=320):
            gr.HTML(f"<h3>{chart.title}</h3>")
            if chart.key is not None:
                shown[gr.HTML()] = chart.key
            shown[plot(chart.name)] = chart.figure
            if (finding := chart.finding) is not None:
                said = gr.HTML(elem_id=f"{chart.name}-finding")
                shown[said] = lambda report: paragraph(finding(report), chart.finding_class)
            if with_table and chart.table is not None:
                with gr.Accordion("As text", open=False):
                    shown[gr.HTML(elem_id=f"{chart.name}-text")] = chart.table
        self._shown = shown
        self.outputs = list(shown)

    def show(self, report: Report) -> Changes:
        """The chart of a report."""
        return {component: make(report) for component, make in self._shown.items()}


def axis_choices(name: str, score: str = "score") -> list[gr.Dropdown]:
    """Cost, then score; their values are what `race_chart` takes.

    Args:
        name: begins the ids of both.
        score: to start with.
    """
    scores = {"score": "right answers (or answers as dense)"} | {key: axis.short for key, axis in AGREEMENT.items()}
    if score != "score":
        del scores["score"]
    costs = {key: axis.short for key, axis in COSTS.items()}
    with gr.Row():
        return [
            gr.Dropdown(
                [(title, key) for key, title in choices.items()],
                value=value,
                label=label,
                elem_id=f"{name}-{kind}",
                min_width=280,
            )
            for kind, label, value, choices in (("cost", "Cost", "flops", costs), ("score", "Against", score, scores))
        ]


class RunControls:
    """Start, Cancel and a line of progress, for a run that does not belong to Ask; laid out where this is made.

    Args:
        name: begins the `elem_id` of each.
        start: what the button says.
        sentence: the first line.
        stopped: the line after Cancel.

    Attributes:
        stop: the event that ends the visitor's run.
    """

    def __init__(self, name: str, start: str, sentence: str, stopped: str) -> None:
        self._stopped = stopped
        with gr.Row():
            self._start = gr.Button(start, elem_id=f"{name}-start")
            self._cancel = gr.Button("Cancel", interactive=False, elem_id=f"{name}-cancel")
        self._status = gr.HTML(status(sentence), elem_id=f"{name}-status")
        self.stop = gr.State(None)
        self.outputs = [self.stop, self._start, self._cancel, self._status]

    def wire(
        self,
        measure: Callable[..., Iterator[Changes]],
        inputs: Sequence[Any],
        outputs: Sequence[Any],
        waiting: str = "In line for the device…",
        queue: Mapping[str, Any] = DEVICE,
    ) -> gr.events.Dependency:
        """Let Start wait in line and run `measure`, which is returned, and Cancel end it.

        Args:
            outputs: what `measure` changes besides the controls.
            waiting: the line while it waits.
            queue: which line, as Gradio's events take it.
        """
        everything = [*self.outputs, *outputs]
        in_line = self._start.click(lambda: self.running(waiting), None, self.outputs, **AT_ONCE)
        ran = in_line.then(measure, list(inputs), everything, preprocess=False, **QUIET, **queue)
        ran.failure(lambda: self.idle(self._stopped), None, self.outputs, **AT_ONCE)
        self._cancel.click(self._end, self.stop, self.outputs, cancels=[ran], **AT_ONCE)
        return ran

    def follow(self, steps: Callable[[threading.Event], Iterator[Changes]]) -> Iterator[Changes]:
        """The changes of a run from its beginning to its end, however it ends; a refusal is shown in the line.

        Args:
            steps: the changes in between; ends when the event is set.
        """
        stop = threading.Event()
        yield {self.stop: stop} | self.running("Reading the picture and the question…")
        try:
            with refusing():
                yield from steps(stop)
            yield self.ended(stop)
        except Refusal as refusal:
            yield self.idle(str(refusal), failed=True)
        finally:
            stop.set()

    def running(self, sentence: str, *, can_stop: bool = True) -> Changes:
        """Cancel instead of Start."""
        return {
            self._start: gr.update(interactive=False),
            self._cancel: gr.update(interactive=can_stop),
            self._status: status(sentence),
        }

    def idle(self, sentence: str, *, failed: bool = False) -> Changes:
        """Start instead of Cancel."""
        return {
            self._start: gr.update(interactive=True),
            self._cancel: gr.update(interactive=False),
            self._status: status(sentence, failed=failed),
        }

    def ended(self, stop: threading.Event) -> Changes:
        """After the last step of a run."""
        return self.idle(self._stopped if stop.is_set() else "Done.")

    def _end(self, stop: threading.Event | None) -> Changes:
        if stop is not None:
            stop.set()
        return self.idle(self._stopped)
