"""Trade-off of the visitor's own picture and question: methods at several budgets, by agreement with dense."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from time import monotonic
from typing import Any

import gradio as gr

from app.charts.race import RaceRow, race_chart, race_table
from app.panels import AT_ONCE, Changes
from app.panels.components import RunControls, axis_choices, plot
from app.runs.eta import Eta
from app.runs.offered_methods import OFFERED, SKIP_VISION
from app.runs.trade_off import MAX_NEW_TOKENS, REPEATS, SHARES, as_data, parts_of, rows_of, trade_off
from app.server.pool import ModelPool
from app.settings import Settings

INTRO = (
    f"Each method at each budget answers the question above ({REPEATS} timed runs, up to {MAX_NEW_TOKENS} tokens), "
    "beside dense runs of its own. A budget is a share of the visual tokens, or of the layers, as under “Compare dense "
    "with”; what it costs is measured. One picture says little about others."
)
USUAL = [name for name in (SKIP_VISION, "FastV", "DivPrune", "UniformGrid") if name in OFFERED]
STOPPED = "Stopped. What was done stays."


class TradeOffPanel:
    """Choice of methods and budgets, Start and Cancel, progress, chart and table.

    Args:
        inputs: components with model, picture, question and settings.
        settings: makes `Settings` of a model and the values of the fourth and later ones.
    """

    def __init__(self, pool: ModelPool, inputs: Sequence[Any], settings: Callable[..., Settings]) -> None:
        self.pool, self.settings = pool, settings
        gr.HTML(f"<h3>Your picture and question</h3><p class='intro'>{INTRO}</p>", elem_id="sweep-intro")
        with gr.Row():
            methods = gr.CheckboxGroup(
                [(method.name, name) for name, method in OFFERED.items()], value=USUAL, label="Methods",
                elem_id="sweep-methods", min_width=320, scale=3,
            )  # fmt: skip
            shares = gr.CheckboxGroup(
                [(f"{share:.0%}", share) for share in SHARES],
                value=[0.5, 0.25],
                label="Budgets",
                elem_id="sweep-shares",
                min_width=200,
                scale=1,
            )
        self.controls = RunControls("sweep", "Measure the trade-off", "What is done when you cancel stays.", STOPPED)
        self.rows = gr.State([])
        with gr.Column(visible=False, elem_id="sweep-result") as self.result:
            self.axes = axis_choices("sweep", score="kl")
            self.chart = plot("sweep-chart")
            self.table = gr.HTML(elem_id="sweep-table")
        changed = [self.rows, self.result, self.chart, self.table]
        self.controls.wire(self.measure, [*inputs, *self.axes, methods, shares], changed)
        axes, drawn_from = [axis.input for axis in self.axes], [self.rows, *self.axes]
        gr.on(axes, lambda rows, *axes: race_chart(as_data(rows), *axes), drawn_from, self.chart, **AT_ONCE)

    def measure(self, name: str, picture: dict[str, Any] | None, question: str, *values: Any) -> Iterator[Changes]:
        """Run it; every part that is done is shown at once, and stays.

        Args:
            values: the settings, then both axes, methods and budgets.
        """
        *settings, cost, score, methods, shares = values

        def steps(stop: threading.Event) -> Iterator[Changes]:
            rows: list[RaceRow] = []
            parts, eta = parts_of(methods or (), shares or ()), Eta(monotonic)
            with self.pool.running(name) as model:
                chosen = self.settings(model, *settings)
                with closing(trade_off(model.vlm, picture, question, chosen, parts, stop)) as events:
                    for part, report in events:
                        if report is None:
                            eta.begin(len(parts))
                            yield self.controls.running(eta.sentence(part.name))
                        else:
                            rows += rows_of(part, report)
                            yield self.show(rows, cost, score)

        yield from self.controls.follow(steps)

    def show(self, rows: list[RaceRow], cost: str, score: str) -> Changes:
        """What is known so far."""
        data = as_data(rows)
        return {
            self.rows: list(rows),
            self.result: gr.update(visible=True),
            self.chart: race_chart(data, cost, score),
            self.table: race_table(data),
        }
