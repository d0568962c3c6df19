"""Calibration: which sub-layers a model may skip, as it was measured; only where the model was calibrated."""

from __future__ import annotations

import gradio as gr

from app.charts.calibration import choices_table, divergence_map, finding, sublayers_table
from app.markup import paragraph
from app.panels.components import plot
from skipcore import Vlm

INTRO = (
    "How much the next token changes where all visual tokens skip one sub-layer alone. A dot marks what was chosen to "
    "skip."
)


class CalibrationPanel:
    """The map of divergences, and the choice beside the preset and rules that look at nothing."""

    def __init__(self, vlm: Vlm) -> None:
        if (calibration := vlm.calibration) is None:
            return
        gr.HTML(f"<h2>Calibration</h2><p class='intro'>{INTRO}</p>")
        plot("calibration-map", divergence_map(calibration))
        gr.HTML(paragraph(finding(calibration)) + choices_table(calibration))
        with gr.Accordion("As text", open=False):
            gr.HTML(sublayers_table(calibration))
