"""Layers: what the FFN changed in each layer, and what each layer keeps in the KV cache."""

from __future__ import annotations

from html import escape

import gradio as gr
import plotly.graph_objects as go

from app import figures, tables, wording
from app.keys import ROLE_NAMES, arm_keys, keys, ramp
from app.medians import medians_of
from app.overlay import common_scale
from app.panels import Changes
from app.panels.update_maps import update_map_cells, update_maps
from app.picking import PICK
from app.selection import first_choice
from profiling import Report

INTRO = "How much the FFN changes each token in each layer, how many tokens run there, and what the KV cache keeps."


class LayersPanel:
    """Heat map of the FFN update, its medians by role, and KV bytes."""

    def __init__(self) -> None:
        gr.HTML(f"<h2>Layers</h2><p class='intro'>{INTRO}</p>")
        with gr.Column(visible=False, elem_id="layers-result") as self.result:
            gr.HTML("<h3>FFN update of every token</h3>")
            self.update_key = gr.HTML()
            with gr.Column(elem_classes="sheets"):
                self.update_map = gr.HTML(elem_id="update-map")
                self.map_cells = gr.HTML(elem_id="update-map-cells", js_on_load=PICK)
            with gr.Column():
                gr.HTML("<h3>Median FFN update by role</h3>")
                self.medians_key = gr.HTML()
                self.medians = plot("medians")
                self.finding = gr.HTML()
                with gr.Accordion("As text", open=False):
                    self.medians_text = gr.HTML()
            with gr.Row(elem_id="layers-pair"):
                with gr.Column(min_width=320):
                    gr.HTML("<h3>Tokens of each layer</h3>")
                    self.rows_key = gr.HTML()
                    self.rows = plot("rows")
                    with gr.Accordion("As text", open=False):
                        self.rows_text = gr.HTML(elem_id="rows-text")
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
            self.map_cells,
            self.medians_key,
            self.medians,
            self.finding,
            self.medians_text,
            self.rows_key,
            self.rows,
            self.rows_text,
            self.kv_key,
            self.kv,
            self.kv_finding,
            self.kv_text,
        ]

    def show(self, report: Report, layer: int) -> Changes:
        """The charts of a report, with the layer of the slider, counted from 1, and the first token marked."""
        return self.marked(report, first_choice(report.arms[-1].trace), layer) | {
            self.result: gr.update(visible=True),
            self.update_key: update_key(report),
            self.update_map: update_maps(report),
            self.medians_key: medians_key(report),
            self.medians: figures.update_medians(report),
            self.finding: f'<p class="finding">{escape(medians_sentence(report))}</p>',
            self.medians_text: tables.medians_table(report),
            self.rows_key: keys(*arm_keys(report)),
            self.rows: figures.rows_by_layer(report),
            self.rows_text: tables.rows_table(report),
            self.kv_key: keys(*arm_keys(report), ("predicted", "predicted")),
            self.kv: figures.kv_by_layer(report),
            self.kv_finding: f'<p class="finding">{escape(kv_sentence(report))}</p>',
            self.kv_text: tables.kv_table(report),
        }

    def marked(self, report: Report, token: int, layer: int) -> Changes:
        """Frames around a token's column and a layer, counted from 1, in the heat map."""
        return {self.map_cells: update_map_cells(report, token, layer)}


def update_key(report: Report) -> str:
    """The key to the map of updates: what occurs in it, and the colours."""
    traces = [arm.trace for arm in report.arms]
    entries = [
        (f"{name}-token", name)
        for role, name in ROLE_NAMES.items()
        if any((trace.slot_role == role).any() for trace in traces)
    ]
    if any((trace.entered & ~trace.ran_ffn).any() for trace in traces):
        entries.append(("none", "no FFN ran"))
    if any((~trace.entered).any() for trace in traces):
        entries.append(("empty", "dropped"))
    return keys(*entries) + ramp(common_scale(traces))


def medians_key(report: Report) -> str:
    """The key to the medians: the groups that occur."""
    return keys(*((f"{name}-line", name) for name in medians_of(report, report.arms[0]) or {}))


def plot(name: str, figure: go.Figure | None = None) -> gr.Plot:
    """A chart without a frame of its own."""
    return gr.Plot(figure, show_label=False, container=False, elem_id=name, elem_classes="chart")


def medians_sentence(report: Report) -> str:
    """What the medians of the dense run say about the tokens that a method treats unlike others."""
    medians = medians_of(report, report.arms[0])
    if medians is None:
        return "The FFN update is not available: it was not recorded."
    name = report.arms[-1].name
    groups = [(group, values.mean()) for group, values in medians.items() if group != "text"]
    if len(groups) < 2:
        return f"{name} treats all visual tokens alike, so there are no medians to set side by side."
    (first, update), *others = groups
    rest = ", ".join(f"{group} ones by {update:.3f}" for group, update in others)
    return (
        f"Averaged over the layers of the dense run, the FFN changes tokens that are {first} with {name} by "
        f"{update:.3f} of their size, {rest}."
    )


def kv_sentence(report: Report) -> str:
    """Measured against predicted."""
    parts = []
    for arm in report.arms:
        exact = arm.kv_bytes == arm.kv_bytes_predicted
        predicted = "as predicted to the byte" if exact else f"predicted {wording.size(arm.kv_bytes_predicted)}"
        least, most = min(arm.layer_kv_bytes), max(arm.layer_kv_bytes)
        unequal = "" if least == most else f" ({wording.size(least)} to {wording.size(most)} a layer)"
        parts.append(f"{arm.name} keeps {wording.size(arm.kv_bytes)}{unequal}, {predicted}")
    return "; ".join(parts) + "."
