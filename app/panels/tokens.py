"""Tokens: the picture as the model saw it, with what happened to each of its tokens."""

from __future__ import annotations

import base64
from html import escape
from io import BytesIO

import gradio as gr
import numpy as np
from PIL import Image

from app.keys import keys, ramp
from app.overlay import View, common_scale, token_pictures
from app.panels import Changes
from app.tables import html_table
from app.token_grids import token_grids
from profiling import Report
from skipcore import Role, Trace

INTRO = "The picture as the model saw it: which tokens stay, which skip the FFN, and which are merged away."
VIEWS = [("Role", View.ROLE), ("FFN update", View.UPDATE), ("Merged into", View.MERGES)]
SKIP_VISION, DENSE = "Skip-Vision", "Dense"


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
                self.arm = gr.Radio([SKIP_VISION, DENSE], value=SKIP_VISION, label="Model", elem_id="overlay-arm")
                self.view = gr.Radio(VIEWS, value=View.ROLE, label="Show", elem_id="overlay-view")
                self.layer = gr.Slider(
                    1, num_layers, 1, step=1, precision=0, label="Layer", elem_id="overlay-layer", buttons=[]
                )
                self.legend = gr.HTML(elem_id="overlay-legend")
                with gr.Accordion("As text", open=False):
                    self.text = gr.HTML()
        self.controls = [self.arm, self.view, self.layer]
        self.outputs = [self.result, self.picture, self.legend, self.text]
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

    def show(self, report: Report, arm: str, view: View, layer: int) -> Changes:
        """The overlay of a new report, with the controls as they stand."""
        picture, legend = self._redraw(report, arm, view, layer)
        return {
            self.result: gr.update(visible=True),
            self.picture: picture,
            self.legend: legend,
            self.text: counts_table(report),
        }

    @staticmethod
    def _redraw(report: Report | None, arm: str, view: str, layer: int) -> tuple[str, str]:
        if report is None:
            return "", ""
        trace = report.arms[0 if arm == DENSE else -1].trace
        number = min(int(layer), len(trace.ran_ffn)) - 1
        scale = common_scale([each.trace for each in report.arms])
        pictures = token_pictures(token_grids(report.pictures, report.tiles), trace, View(view), number, scale)
        description = describe(trace, View(view), number)
        images = "".join(f'<img src="{data_uri(picture)}" alt="{escape(description)}">' for picture in pictures)
        return f'<div class="pictures">{images}</div>', legend(
            View(view), description, scale, skipped_text(trace, number)
        )


def data_uri(picture: Image.Image) -> str:
    """A picture inside the page: no copy of a visitor's picture is left in a folder that the server serves."""
    buffer = BytesIO()
    picture.save(buffer, "WEBP", quality=80, method=1)
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode()


def describe(trace: Trace, view: View, layer: int) -> str:
    """What the overlay shows, in words."""
    counts = _counts(trace)
    total = len(trace.role)
    if view is View.ROLE:
        if counts["retained"] == total:
            return f"All {total} visual tokens run every layer in full."
        return (
            f"Of {total} visual tokens {counts['retained']} are retained, {counts['skipped']} {_skip(trace)}, "
            f"and {counts['merged']} are merged into skipped ones."
        )
    if view is View.MERGES:
        if not counts["merged"]:
            return "No token is merged."
        return f"{counts['merged']} tokens are merged, each along a line into one of {_takers(trace)} skipped tokens."
    update = trace.token_update(layer)
    if update is None:
        return "The FFN update was not recorded."
    ran = update[~update.isnan()].numpy()
    if not len(ran):
        return f"Layer {layer + 1}: the FFN ran for no visual token."
    return (
        f"Layer {layer + 1}: the FFN ran for {len(ran)} of {total} visual tokens and changed them by "
        f"{np.median(ran):.3f} of their size at the median."
    )


def _skip(trace: Trace) -> str:
    """What skipped tokens do, over all layers."""
    ffn, attention = (int((~ran).any(dim=1).sum()) for ran in (trace.ran_ffn, trace.ran_attention))
    if not attention and ffn == len(trace.ran_ffn):
        return "skip the FFN"
    return f"skip the FFN in {ffn} and the attention in {attention} of {len(trace.ran_ffn)} layers"


def skipped_text(trace: Trace, layer: int) -> str:
    """What skipped tokens do in a layer, and whether they leave the KV cache."""
    skipped = trace.slot_role == Role.SKIPPED
    parts = [
        f"no {name}"
        for name, ran in (("FFN", trace.ran_ffn), ("attention", trace.ran_attention))
        if (~ran[layer, skipped]).any()
    ]
    leaves = bool((~trace.in_cache[:, skipped]).any())
    return f"skipped: {' and '.join(parts) or 'runs this layer'}, {'leaves' if leaves else 'stays in'} the KV cache"


def legend(view: View, description: str, scale: tuple[float, float], skipped: str) -> str:
    """The key to the overlay, and what it shows in words."""
    finding = f'<p class="finding">{escape(description)}</p>'
    if view is View.ROLE:
        return finding + keys(
            ("retained", "retained: runs the whole block"),
            ("skipped", skipped),
            ("merged", "merged into a skipped token"),
        )
    if view is View.MERGES:
        return finding + keys(("retained", "retained"), ("taker", "skipped, took others in"), ("dot", "merged"))
    return (
        finding
        + ramp(scale)
        + "<p class='hint'>FFN update: size of what the FFN adds, against the size of the token.</p>"
        + keys(("none", "no FFN ran"))
    )


def counts_table(report: Report) -> str:
    """Visual tokens by role and arm, and slots of the decoder."""
    rows = []
    for arm in report.arms:
        counts = _counts(arm.trace)
        slots = len(arm.trace.slot_role)
        rows.append([arm.name, *(f"{counts[name]:,}" for name in ("retained", "skipped", "merged")), f"{slots:,}"])
    return html_table(["", "retained", "skipped", "merged", "tokens in the decoder"], rows)


def _counts(trace: Trace) -> dict[str, int]:
    merged = trace.merged
    return {
        "retained": int(((trace.role == Role.RETAINED) & ~merged).sum()),
        "skipped": int(((trace.role == Role.SKIPPED) & ~merged).sum()),
        "merged": int(merged.sum()),
    }


def _takers(trace: Trace) -> int:
    return len(trace.token_slot[trace.merged].unique())
