"""The selected token and layer, shown alike on the picture and in the heat map, and chosen on either."""

from __future__ import annotations

from typing import Any

import gradio as gr

from app.panels import AT_ONCE, Changes
from app.panels.layers import LayersPanel
from app.panels.tokens import TokensPanel
from app.server.gradio_internals import payload
from app.tokens.selection import cell_of, slot_in_map, token_on_picture
from app.tokens.token_card import no_token
from app.tokens.token_grids import grids_of
from profiling import Report


def link(report: gr.State, tokens: TokensPanel, layers: LayersPanel) -> None:
    """Wire both panels to each other and to the controls.

    Args:
        report: the visitor's last report.
    """
    now = [report, tokens.selected, *tokens.controls]
    followers = [*tokens.selection_parts, *layers.map_cells]
    nothing: Changes = {tokens.card: gr.skip()}
    # Not “always_last” where a click names its cell: Gradio 6.31 sends the cell of the first click once more.
    last, every = AT_ONCE | {"trigger_mode": "always_last"}, AT_ONCE | {"trigger_mode": "multiple"}

    def select(report: Report | None, token: int | None, arm: int, view: str, layer: int) -> Changes:
        if report is None or token is None:
            return nothing
        return tokens.selection(report, token, arm, view, layer) | layers.marked(report, token, layer)

    def redraw(report: Report | None, token: int | None, arm: int, view: str, layer: int) -> Changes:
        return nothing if report is None or token is None else tokens.redrawn(report, token, arm, view, layer)

    def picked_on_picture(event: gr.EventData, report: Report | None, *controls: Any) -> Changes:
        if report is None:
            return nothing
        token = token_on_picture(grids_of(report), cell_of(payload(event)))
        return nothing if token is None else {tokens.selected: token} | select(report, token, *controls)

    def picked_in_map(event: gr.EventData, report: Report | None, token: int | None, *controls: Any) -> Changes:
        found = None if report is None else slot_in_map(report, cell_of(payload(event)))
        if report is None or token is None or found is None:
            return nothing
        arm, layer, slot = found
        trace = report.arms[arm].trace
        there = int(trace.slot_token[slot])
        chosen = (report, token if there < 0 else there, arm, controls[1], layer + 1)
        changes = select(*chosen) | {tokens.arm: arm, tokens.layer: layer + 1}
        if arm != controls[0]:
            changes |= redraw(*chosen)
        if there >= 0:
            return changes | {tokens.selected: there}
        return changes | layers.marked(report, token, layer + 1, (arm, slot)) | {tokens.card: no_token(trace, slot)}

    tokens.layer.input(select, now, followers, **last)
    gr.on([tokens.arm.input, tokens.view.input], redraw, now, [tokens.marks, *tokens.selection_parts], **last)
    tokens.cells.pick(picked_on_picture, [report, *tokens.controls], [tokens.selected, *followers], **every)
    in_map = [tokens.selected, tokens.arm, tokens.layer, tokens.marks, *followers]
    for cells in layers.map_cells:
        cells.pick(picked_in_map, now, in_map, **every)
