"""Tokens: the picture as the model saw it, with what happened to each of its tokens."""

from __future__ import annotations

import json
from html import escape

import gradio as gr
import numpy as np

from app.markup import keys, layer_table, paragraph, ramp
from app.panels import AT_ONCE, Changes
from app.server.data_uri import data_uri
from app.tokens import script
from app.tokens.hover import hover
from app.tokens.overlay import Scale, View, looks_of, plain_pictures, scale_of, token_marks
from app.tokens.selection import first_choice, group_of, layer_number, picture_cells
from app.tokens.token_card import token_card
from app.tokens.token_grids import TokenGrid, grids_of
from app.tokens.token_states import State, marks, phrase, sentence, swatch, token_states
from profiling import Report
from skipcore import Trace

INTRO = (
    "The picture as the model saw it, and what each layer does with each of its tokens. Point at a token to see what "
    "it is; click or tap it to follow it, then go on with the arrow keys."
)
VIEWS = [("What happens", View.STATE), ("FFN update", View.UPDATE), ("Merged into", View.MERGES)]
WIPE = "share => document.getElementById('token-sheets').style.setProperty('--before', share + '%')"
"""Moves the edge between the plain picture and the marked one, in the browser alone."""


class TokensPanel:
    """The token overlay with its controls, and a card of the selected token.

    Three sheets of the same size lie over each other: the plain pictures, sent once, the marks of a layer, and the
    cells, which take the clicks and frame the selected token. Words for the token under the mouse are sent once, too.

    Attributes:
        controls: model, view and layer: inputs of `show` after the report, of the others after report and token.
        selected: number of the selected token.
        outputs: what `show` changes.
        selection_parts: what `selection` changes; `redrawn` changes the marks as well.
    """

    def __init__(self, num_layers: int) -> None:
        self.selected = gr.State(None)
        gr.HTML(f"<h2>Tokens</h2><p class='intro'>{INTRO}</p>")
        with gr.Row(visible=False, elem_id="tokens-result") as self.result:
            with gr.Column(scale=3, min_width=320):
                with gr.Column(elem_classes="sheets", elem_id="token-sheets"):
                    self.plain = gr.HTML(elem_id="overlay-plain")
                    self.marks = gr.HTML(elem_id="overlay")
                    self.cells = gr.HTML(elem_id="overlay-cells", js_on_load=script("cell_at", "pick"))
                    self.hover = gr.HTML(elem_id="hover", js_on_load=script("cell_at", "hover"))
                before = gr.Slider(
                    0, 100, 0, step=1, label="Before / after: plain up to here, %", elem_id="overlay-before", buttons=[]
                )
            with gr.Column(scale=2, min_width=300):
                self.arm = gr.Radio([("Skip-Vision", 1), ("Dense", 0)], value=1, label="Model", elem_id="overlay-arm")
                self.view = gr.Radio(VIEWS, value=View.STATE, label="Show", elem_id="overlay-view")
                self.layer = gr.Slider(
                    1, num_layers, 1, step=1, precision=0, label="Layer", elem_id="overlay-layer", buttons=[]
                )
                self.legend = gr.HTML(elem_id="overlay-legend")
                self.card = gr.HTML(elem_id="token-card")
                with gr.Accordion("As text", open=False):
                    self.text = gr.HTML()
        self.controls = [self.arm, self.view, self.layer]
        self.selection_parts = [self.cells, self.legend, self.card]
        once = [self.selected, self.result, self.arm, self.plain, self.hover, self.text]
        self.outputs = [*once, self.marks, *self.selection_parts]
        for control, js in ((before, WIPE), (self.layer, script("show_layer"))):
            control.change(None, control, None, js=js, **AT_ONCE)

    def show(self, report: Report, arm: int, view: View, layer: int) -> Changes:
        """The overlay of a new report, with the controls as they stand and a token to begin with."""
        token = first_choice(report.arms[-1].trace)
        plain = "".join(
            f'<img src="{data_uri(picture)}" alt="The picture as the model saw it">'
            for picture in plain_pictures(grids_of(report))
        )
        return {
            self.selected: token,
            self.result: gr.update(visible=True),
            self.arm: gr.update(choices=[(each.name, number) for number, each in enumerate(report.arms)][::-1]),
            self.plain: f'<div class="pictures">{plain}</div>',
            self.hover: hover(report),
            self.text: counts_table(report),
        } | self.redrawn(report, token, arm, view, layer)

    def redrawn(self, report: Report, token: int, arm: int, view: str, layer: int) -> Changes:
        """What depends on model and view: the marks of all layers, and what depends on the rest.

        Args:
            layer: counted from 1, as on the slider.
        """
        trace = report.arms[arm].trace
        marked = layered_marks(grids_of(report), trace, View(view), layer_number(trace, layer), scale_of(report))
        return {self.marks: marked} | self.selection(report, token, arm, view, layer)

    def selection(self, report: Report, token: int, arm: int, view: str, layer: int) -> Changes:
        """What depends on the selected token and the layer, counted from 1."""
        trace = report.arms[arm].trace
        number = layer_number(trace, layer)
        cells = picture_cells(grids_of(report), token, group_of(trace, token))
        return {
            self.cells: f'<div class="pictures" data-arm="{arm}">{cells}</div>',
            self.legend: legend(trace, View(view), number, scale_of(report)),
            self.card: token_card(report, arm, token, number),
        }


def layered_marks(grids: list[TokenGrid], trace: Trace, view: View, layer: int, scale: Scale) -> str:
    """The marks of a layer, from 0, as pictures; those of all layers, each look once, wait beside them as JSON."""
    looks = looks_of(trace, view)
    sheets = {look: [data_uri(marks) for marks in token_marks(grids, trace, view, look, scale)] for look in set(looks)}
    words = [describe(trace, view, number) for number in range(len(looks))]
    images = "".join(
        f'<img src="{sheet}" alt="{escape(words[layer])}" decoding="sync">' for sheet in sheets[looks[layer]]
    )
    layers = json.dumps({"sheets": sheets, "looks": looks, "words": words}, ensure_ascii=False, separators=(",", ":"))
    return f'<div class="pictures {view}" data-layers="{escape(layers)}">{images}</div>'


def describe(trace: Trace, view: View, layer: int) -> str:
    """What the overlay shows, in words."""
    states = token_states(trace)
    if view is View.STATE:
        return sentence(states, layer)
    if view is View.MERGES:
        count = int(states.merged.sum())
        if not count:
            return "No token is merged."
        targets = len(trace.merged_into[trace.merged].unique())
        return f"{count:,} tokens are merged, each along a line into one of {targets:,} others."
    update = trace.token_update(layer)
    if update is None:
        return "The FFN update was not recorded."
    ran, total = update[~update.isnan()].numpy(), len(trace.role)
    if not len(ran):
        return f"Layer {layer + 1}: the FFN ran for no visual token."
    return (
        f"Layer {layer + 1}: the FFN ran for {len(ran):,} of {total:,} visual tokens and changed them by "
        f"{np.median(ran):.3f} of their size at the median."
    )


def legend(trace: Trace, view: View, layer: int, scale: Scale) -> str:
    """The key to the overlay, with only what occurs in the layer, and what it shows in words."""
    states = token_states(trace)
    found = marks(states, layer)
    if view is View.STATE:
        total = states.state.shape[1]
        return f'<p class="finding">Layer {layer + 1}, {total:,} visual tokens:</p>' + keys(
            *((swatch(mark), f"{mark.count:,} {phrase(mark)}") for mark in found)
        )
    finding = paragraph(describe(trace, view, layer))
    dropped = [("dropped", "dropped")] if any(mark.state is State.DROPPED for mark in found) else []
    if view is View.MERGES:
        merges = [("merge-target", "merge target"), ("dot", "merged")] if states.merged.any() else []
        return finding + keys(*merges, *dropped)
    stays = states.state[layer] != State.DROPPED
    skips = [("none", "no FFN ran")] if not trace.of_tokens(trace.ran_ffn[layer], False).numpy()[stays].all() else []
    return (
        finding
        + ramp(scale)
        + "<p class='hint'>FFN update: size of what the FFN adds, against the size of the token.</p>"
        + keys(*skips, *dropped)
    )


def counts_table(report: Report) -> str:
    """Visual tokens by mark in each layer of the last arm."""
    arm = report.arms[-1]
    states = token_states(arm.trace)
    by_layer = [marks(states, layer) for layer in range(len(states.state))]
    names = [{phrase(mark, when=False): mark.count for mark in found} for found in by_layer]
    head = list(dict.fromkeys(name for found in names for name in found))
    return layer_table(*((name, [f"{found.get(name, 0):,}" for found in names]) for name in head), corner=arm.name)
