"""Layers: what the FFN changed in each layer, and what each layer keeps in the KV cache."""

from __future__ import annotations

from html import escape

import gradio as gr
import plotly.graph_objects as go

from app import charts as figures
from app import wording
from app.charts import tables
from app.charts.medians import medians_of
from app.markup import arm_keys, keys, ramp
from app.panels import Changes
from app.panels.update_maps import IN_SIGHT, update_map_cells, update_maps
from app.tokens.overlay import common_scale
from app.tokens.picking import PICK
from app.tokens.selection import first_choice
from app.wording import ROLE_NAMES
from profiling import Arm, Report

INTRO = "How much the FFN changes each token in each layer, how many tokens run there, and what the KV cache keeps."
SIDEWAYS = "Scroll a map sideways to see all of its places."
ARMS = 2
"""Dense and a method: the page compares these."""


class LayersPanel:
    """Heat map of the FFN update, its medians by role, and KV bytes."""

    def __init__(self) -> None:
        gr.HTML(f"<h2>Layers</h2><p class='intro'>{INTRO}</p>")
        with gr.Column(visible=False, elem_id="layers-result") as self.result:
            gr.HTML(f"<h3>FFN update of every token</h3><p class='hint sideways'>{SIDEWAYS}</p>")
            self.update_key = gr.HTML()
            with gr.Column(elem_id="update-maps"):
                self.maps, self.map_cells = zip(*(self._sheets() for _ in range(ARMS)), strict=True)
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
                    self.rows_finding = gr.HTML(elem_id="rows-finding")
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
            *self.maps,
            *self.map_cells,
            self.medians_key,
            self.medians,
            self.finding,
            self.medians_text,
            self.rows_key,
            self.rows,
            self.rows_finding,
            self.rows_text,
            self.kv_key,
            self.kv,
            self.kv_finding,
            self.kv_text,
        ]

    def show(self, report: Report, layer: int) -> Changes:
        """The charts of a report, with the layer of the slider, counted from 1, and the first token marked."""
        maps: Changes = dict(zip(self.maps, update_maps(report), strict=True))
        return (
            self.marked(report, first_choice(report.arms[-1].trace), layer)
            | maps
            | {
                self.result: gr.update(visible=True),
                self.update_key: update_key(report),
                self.medians_key: medians_key(report),
                self.medians: figures.update_medians(report),
                self.finding: f'<p class="finding">{escape(medians_sentence(report))}</p>',
                self.medians_text: tables.medians_table(report),
                self.rows_key: keys(*arm_keys(report)),
                self.rows: figures.rows_by_layer(report),
                self.rows_finding: f'<p class="finding">{escape(" ".join(map(skips_sentence, report.arms[1:])))}</p>',
                self.rows_text: tables.rows_table(report),
                self.kv_key: keys(*arm_keys(report), ("predicted", "predicted")),
                self.kv: figures.kv_by_layer(report),
                self.kv_finding: f'<p class="finding">{escape(kv_sentence(report))}</p>',
                self.kv_text: tables.kv_table(report),
            }
        )

    def marked(self, report: Report, token: int, layer: int, picked: tuple[int, int] | None = None) -> Changes:
        """Frames in the heat maps, see `update_map_cells`."""
        return dict(zip(self.map_cells, update_map_cells(report, token, layer, picked), strict=True))

    def _sheets(self) -> tuple[gr.HTML, gr.HTML]:
        """Room for the map of an arm, and for its cells on top, which scroll together."""
        with gr.Column(elem_classes="sheets"):
            return gr.HTML(), gr.HTML(elem_classes="map-cells", js_on_load=PICK + IN_SIGHT)


def update_key(report: Report) -> str:
    """The key to the map of updates: what occurs in it, and the colors."""
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


def skips_sentence(arm: Arm) -> str:
    """Which layers do not run in full, and how: "FastV: the FFN is skipped in no layer; …"."""
    trace = arm.trace
    masks = {
        "the FFN is skipped in": trace.entered & ~trace.ran_ffn,
        "attention is skipped in": trace.entered & ~trace.ran_attention,
        "places are gone in": ~trace.entered,
        "places that entered leave the KV cache of": trace.entered & ~trace.in_cache,
    }
    parts = [f"{does} {layers_named(mask.any(dim=1).tolist())}" for does, mask in masks.items() if mask.any()]
    if not parts:
        return f"{arm.name}: every layer runs in full for all that enters the decoder."
    return f"{arm.name}: {'; '.join(parts)}."


def layers_named(chosen: list[bool]) -> str:
    """Layers in words, counted from 1: [True, True, True, False, True] → "layers 1 to 3 and 5"."""
    if all(chosen):
        return "every layer"
    numbers = [number for number, is_chosen in enumerate(chosen, start=1) if is_chosen]
    runs: list[list[int]] = []
    for number in numbers:
        if runs and runs[-1][-1] == number - 1:
            runs[-1] = [runs[-1][0], number]
        else:
            runs.append([number])
    named = [" to ".join(map(str, run)) for run in runs]
    listed = f"{', '.join(named[:-1])} and {named[-1]}" if len(named) > 1 else named[0]
    return f"layer{'s' * (len(numbers) > 1)} {listed}"
