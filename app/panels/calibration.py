"""Calibration: which sub-layers a model may skip, as it was measured; only where the model was calibrated."""

from __future__ import annotations

import gradio as gr
import plotly.graph_objects as go

from app.charts.calibration import choices_table, divergence_map, finding, sublayers_table
from app.markup import paragraph
from app.panels import Changes
from app.panels.components import plot
from skipcore import Vlm

INTRO = (
    "How much the next token changes where all visual tokens skip one sub-layer alone. A dot marks what was chosen to "
    "skip."
)


class CalibrationPanel:
    """The map of divergences, and the choice beside the preset and rules that look at nothing.

    Attributes:
        outputs: what `show_model` changes.
    """

    def __init__(self, vlm: Vlm) -> None:
        chart, found, values = _content(vlm)
        with gr.Column(elem_id="calibration-panel", visible=vlm.calibration is not None) as self.column:
            gr.HTML(f"<h2>Calibration</h2><p class='intro'>{INTRO}</p>")
            self.chart = plot("calibration-map", chart)
            self.found = gr.HTML(found)
            with gr.Accordion("As text", open=False):
                self.values = gr.HTML(values)
        self.outputs = [self.column, self.chart, self.found, self.values]

    def show_model(self, vlm: Vlm) -> Changes:
        """The calibration of another model."""
        contents = zip(self.outputs[1:], _content(vlm), strict=True)
        return {self.column: gr.update(visible=vlm.calibration is not None), **dict(contents)}


def _content(vlm: Vlm) -> tuple[go.Figure | None, str, str]:
    """Chart, finding and values."""
    if (calibration := vlm.calibration) is None:
        return None, "", ""
    found = paragraph(finding(calibration)) + choices_table(calibration)
    return divergence_map(calibration), found, sublayers_table(calibration)
