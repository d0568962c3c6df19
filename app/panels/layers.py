"""Layers: what the FFN changed in each layer, and what each layer keeps in the KV cache."""

from __future__ import annotations

import gradio as gr

from app.charts.kv_bytes import KV_BYTES
from app.charts.layer_load import ROWS
from app.charts.medians import MEDIANS
from app.panels import Changes
from app.panels.components import ChartView
from app.tokens import script
from app.tokens.selection import first_choice
from app.tokens.update_map import update_key, update_map_cells, update_maps
from profiling import Report

INTRO = "How much the FFN changes each token in each layer, how many tokens run there, and what the KV cache keeps."
SIDEWAYS = "Scroll a map sideways to see all of its places."
ARMS = 2
"""Dense and a method: the page compares these."""


class LayersPanel:
    """Heat map of the FFN update, its medians by role, rows and KV bytes of each layer."""

    def __init__(self) -> None:
        gr.HTML(f"<h2>Layers</h2><p class='intro'>{INTRO}</p>")
        with gr.Column(visible=False, elem_id="layers-result") as self.result:
            gr.HTML(f"<h3>FFN update of every token</h3><p class='hint sideways'>{SIDEWAYS}</p>")
            self.update_key = gr.HTML()
            with gr.Column(elem_id="update-maps"):
                self.maps, self.map_cells = zip(*(self._sheets() for _ in range(ARMS)), strict=True)
            charts = [ChartView(MEDIANS)]
            with gr.Row(elem_id="layers-pair"):
                charts += [ChartView(ROWS), ChartView(KV_BYTES)]
        self._charts = charts
        own = [self.result, self.update_key, *self.maps, *self.map_cells]
        self.outputs = [*own, *(component for chart in charts for component in chart.outputs)]

    def show(self, report: Report, layer: int) -> Changes:
        """The charts of a report, with the layer of the slider, counted from 1, and the first token marked."""
        changes: Changes = {self.result: gr.update(visible=True), self.update_key: update_key(report)}
        changes |= zip(self.maps, update_maps(report), strict=True)
        changes |= self.marked(report, first_choice(report.arms[-1].trace), layer)
        for chart in self._charts:
            changes |= chart.show(report)
        return changes

    def marked(self, report: Report, token: int, layer: int, picked: tuple[int, int] | None = None) -> Changes:
        """Frames in the heat maps, see `update_map_cells`."""
        return dict(zip(self.map_cells, update_map_cells(report, token, layer, picked), strict=True))

    def _sheets(self) -> tuple[gr.HTML, gr.HTML]:
        """The container of the map of an arm, with its cells on top, which scroll together."""
        with gr.Column(elem_classes="sheets"):
            return gr.HTML(), gr.HTML(elem_classes="map-cells", js_on_load=script("cell_at", "pick", "in_sight"))
