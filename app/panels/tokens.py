"""Tokens: the picture as the model saw it, with what happened to each of its tokens."""

from __future__ import annotations

import base64
from html import escape
from io import BytesIO

import gradio as gr
import numpy as np
from PIL import Image

from app.keys import keys, ramp
from app.marks import Mark, marks, phrase, sentence
from app.overlay import Scale, View, common_scale, token_pictures
from app.panels import Changes
from app.tables import html_table
from app.token_grids import token_grids
from app.token_states import State, token_states
from profiling import Report
from skipcore import Trace

INTRO = "The picture as the model saw it, and what each layer does with each of its tokens."
VIEWS = [("What happens", View.STATE), ("FFN update", View.UPDATE), ("Merged into", View.MERGES)]


class TokensPanel:
    """The token overlay with its controls.

    Args:
        report: the visitor's last report, for the controls to draw from.

    Attributes:
        controls: inputs of `show` after the report.
        outputs: what `show` changes.
    """

    def __init__(self, report: gr.State, num_layers: int) -> None:
        gr.HTML(f"<h2>Tokens</h2><p class='intro'>{INTRO}</p>")
        with gr.Row(visible=False, elem_id="tokens-result") as self.result:
            with gr.Column(scale=3, min_width=320):
                self.picture = gr.HTML(elem_id="overlay")
            with gr.Column(scale=2, min_width=300):
                self.arm = gr.Radio([("Skip-Vision", 1), ("Dense", 0)], value=1, label="Model", elem_id="overlay-arm")
                self.view = gr.Radio(VIEWS, value=View.STATE, label="Show", elem_id="overlay-view")
                self.layer = gr.Slider(
                    1, num_layers, 1, step=1, precision=0, label="Layer", elem_id="overlay-layer", buttons=[]
                )
                self.legend = gr.HTML(elem_id="overlay-legend")
                with gr.Accordion("As text", open=False):
                    self.text = gr.HTML()
        self.controls = [self.arm, self.view, self.layer]
        self.outputs = [self.result, self.arm, self.picture, self.legend, self.text]
        gr.on(
            [self.arm.input, self.view.input, self.layer.input],
            self._redraw,
            [report, *self.controls],
            [self.picture, self.legend],
            queue=False,
            show_progress="hidden",
            trigger_mode="always_last",
            api_visibility="private",
        )

    def show(self, report: Report, arm: int, view: View, layer: int) -> Changes:
        """The overlay of a new report, with the controls as they stand."""
        picture, legend = self._redraw(report, arm, view, layer)
        return {
            self.result: gr.update(visible=True),
            self.arm: gr.update(choices=[(each.name, number) for number, each in enumerate(report.arms)][::-1]),
            self.picture: picture,
            self.legend: legend,
            self.text: counts_table(report),
        }

    @staticmethod
    def _redraw(report: Report | None, arm: int, view: str, layer: int) -> tuple[str, str]:
        if report is None:
            return "", ""
        trace = report.arms[arm].trace
        number = min(int(layer), len(trace.ran_ffn)) - 1
        scale = common_scale([each.trace for each in report.arms])
        pictures = token_pictures(token_grids(report.pictures, report.tiles), trace, View(view), number, scale)
        description = escape(describe(trace, View(view), number))
        images = "".join(f'<img src="{data_uri(picture)}" alt="{description}">' for picture in pictures)
        return f'<div class="pictures">{images}</div>', legend(trace, View(view), number, scale)


def data_uri(picture: Image.Image) -> str:
    """A picture inside the page: no copy of a visitor's picture is left in a folder that the server serves."""
    buffer = BytesIO()
    picture.save(buffer, "WEBP", quality=80, method=1)
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode()


def describe(trace: Trace, view: View, layer: int) -> str:
    """What the overlay shows, in words."""
    states = token_states(trace)
    if view is View.STATE:
        return sentence(states, layer)
    if view is View.MERGES:
        count = int(states.merged.sum())
        if not count:
            return "No token is merged."
        takers = len(trace.taker[trace.merged].unique())
        return f"{count:,} tokens are merged, each along a line into one of {takers:,} others."
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
    finding = f'<p class="finding">{escape(describe(trace, view, layer))}</p>'
    gone = [("gone", "dropped")] if any(mark.state is State.GONE for mark in found) else []
    if view is View.MERGES:
        merges = [("taker", "took others in"), ("dot", "merged")] if states.merged.any() else []
        return finding + keys(*merges, *gone)
    stays = states.state[layer] != State.GONE
    skips = [("none", "no FFN ran")] if not trace.of_tokens(trace.ran_ffn[layer], False).numpy()[stays].all() else []
    return (
        finding
        + ramp(scale)
        + "<p class='hint'>FFN update: size of what the FFN adds, against the size of the token.</p>"
        + keys(*skips, *gone)
    )


def swatch(mark: Mark) -> str:
    """The classes of a mark's swatch in theme.css."""
    if mark.merged:
        return "merged"
    more = " leaves" * mark.leaves_cache + " halted" * mark.halted
    return mark.state.name.lower().replace("_", "-") + more


def counts_table(report: Report) -> str:
    """Visual tokens by mark in each layer of the last arm."""
    arm = report.arms[-1]
    states = token_states(arm.trace)
    by_layer = [marks(states, layer) for layer in range(len(states.state))]
    names = [{phrase(mark, when=False): mark.count for mark in found} for found in by_layer]
    head = list(dict.fromkeys(name for found in names for name in found))
    rows = [
        [f"Layer {number}", *(f"{found.get(name, 0):,}" for name in head)]
        for number, found in enumerate(names, start=1)
    ]
    return html_table([arm.name, *head], rows)
