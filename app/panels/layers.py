"""Layers: what the FFN changed in each layer, and what each layer keeps in the KV cache."""

from __future__ import annotations

import gradio as gr
import plotly.graph_objects as go

from app import figures, tables, wording
from app.keys import arm_keys, keys, ramp
from app.medians import medians_of
from app.overlay import common_scale
from app.panels import Changes
from profiling import Report

INTRO = "How much the FFN changes each token in each layer, and what each layer keeps in the KV cache."
UPDATE_KEY = keys(
    ("text-token", "text"),
    ("retained-token", "retained"),
    ("summary-token", "summary"),
    ("skipped-token", "skipped"),
    ("none", "no FFN ran"),
)
MEDIANS_KEY = keys(
    ("retained-line", "retained"), ("skipped-line", "skipped"), ("merged-line", "merged"), ("text-line", "text")
)


class LayersPanel:
    """Heat map of the FFN update, its medians by role, and KV bytes."""

    def __init__(self) -> None:
        gr.HTML(f"<h2>Layers</h2><p class='intro'>{INTRO}</p>")
        with gr.Column(visible=False, elem_id="layers-result") as self.result:
            gr.HTML("<h3>FFN update of every token</h3>")
            self.update_key = gr.HTML()
            self.update_map = plot("update-map")
            with gr.Row(elem_id="layers-pair"):
                with gr.Column(min_width=320):
                    gr.HTML("<h3>Median FFN update by role</h3>")
                    gr.HTML(MEDIANS_KEY)
                    self.medians = plot("medians")
                    self.finding = gr.HTML()
                    with gr.Accordion("As text", open=False):
                        self.medians_text = gr.HTML()
                with gr.Column(min_width=320):
                    gr.HTML("<h3>KV cache by layer</h3>")
                    self.kv_key = gr.HTML()
                    self.kv = plot("kv")
                    self.kv_finding = gr.HTML()
                    with gr.Accordion("As text", open=False):
                        self.kv_text = gr.HTML()
        self.outputs = [
            self.result,
            self.update_key,
            self.update_map,
            self.medians,
            self.finding,
            self.medians_text,
            self.kv_key,
            self.kv,
            self.kv_finding,
            self.kv_text,
        ]

    def show(self, report: Report) -> Changes:
        """The charts of a report."""
        return {
            self.result: gr.update(visible=True),
            self.update_key: UPDATE_KEY + ramp(common_scale([arm.trace for arm in report.arms])),
            self.update_map: figures.update_map(report),
            self.medians: figures.update_medians(report),
            self.finding: f'<p class="finding">{medians_sentence(report)}</p>',
            self.medians_text: tables.medians_table(report),
            self.kv_key: keys(*arm_keys(report), ("predicted", "predicted")),
            self.kv: figures.kv_by_layer(report),
            self.kv_finding: f'<p class="finding">{kv_sentence(report)}</p>',
            self.kv_text: tables.kv_table(report),
        }


def plot(name: str, figure: go.Figure | None = None) -> gr.Plot:
    """A chart without a frame of its own."""
    return gr.Plot(figure, show_label=False, container=False, elem_id=name, elem_classes="chart")


def medians_sentence(report: Report) -> str:
    """What the medians say about the tokens that Skip-Vision lets skip."""
    medians = medians_of(report, report.arms[0])
    if medians is None:
        return "The FFN update is not available: it was not recorded."
    if "skipped" not in medians or "retained" not in medians:
        return "With these settings no token skips the FFN."
    skipped, retained = medians["skipped"].mean(), medians["retained"].mean()
    return (
        f"In the dense run the FFN changes the tokens that Skip-Vision skips by {skipped:.3f} and those it retains "
        f"by {retained:.3f} of their size, averaged over the layers."
    )


def kv_sentence(report: Report) -> str:
    """Measured against predicted."""
    parts = []
    for arm in report.arms:
        exact = arm.kv_bytes == arm.kv_bytes_predicted
        predicted = "as predicted to the byte" if exact else f"predicted {wording.size(arm.kv_bytes_predicted)}"
        parts.append(f"{arm.name} keeps {wording.size(arm.kv_bytes)}, {predicted}")
    return "; ".join(parts) + "."
