"""Quality: how often the model answers rightly, against the FLOPs of reading picture and question."""

from __future__ import annotations

from html import escape
from pathlib import Path

import gradio as gr

from app import figures, wording
from app.figures.quality import MARKERS
from app.keys import keys
from app.panels.layers import plot
from app.quality import COMMAND, RECORD, Quality, read_quality, weights_sha256
from app.tables import quality_table
from skipcore import InputError, Vlm

INTRO = "How often the model answers rightly, and what that costs: measured once, on pictures it was not trained on."


class QualityPanel:
    """Accuracy against FLOPs for the loaded model, from a record; a sentence where there is none of it."""

    def __init__(self, vlm: Vlm, record: Path = RECORD) -> None:
        gr.HTML(f"<h2>Quality</h2><p class='intro'>{INTRO}</p>")
        try:
            quality = read_quality(record)
        except InputError as error:
            gr.HTML(_sentence(str(error)))
            return
        reason = why_not_shown(quality, weights_sha256(vlm))
        if quality is None or reason:
            gr.HTML(_sentence(reason))
        else:
            self._lay_out(quality)

    def _lay_out(self, quality: Quality) -> None:
        with gr.Row(elem_id="quality-pair"):
            with gr.Column(min_width=320):
                gr.HTML("<h3>Right answers against FLOPs</h3>")
                gr.HTML(split_keys(quality))
                plot("quality", figures.accuracy_by_flops(quality))
            with gr.Column(min_width=320):
                names = [(wording.split_name(split.name), number) for number, split in enumerate(quality.splits)]
                split = gr.Radio(names, value=0, label="Pictures", elem_id="quality-split")
                tables = [quality_table(each) for each in quality.splits]
                table = gr.HTML(tables[0], elem_id="quality-table")
        gr.HTML(_sentence(origin_sentence(quality)))
        split.input(
            lambda number: tables[number],
            split,
            table,
            queue=False,
            show_progress="hidden",
            api_visibility="private",
        )


def why_not_shown(quality: Quality | None, sha256: str | None) -> str:
    """Why a record says nothing about the loaded model, in a sentence; empty if it does."""
    if quality is None:
        return f"Not measured yet: `{COMMAND}` does it."
    if quality.model_sha256 != sha256:
        return (
            f"{RECORD.name} holds the figures of another model ({quality.model}, sha256 {quality.model_sha256[:12]}…), "
            f"which say nothing about this one: `{COMMAND}` measures it."
        )
    return "" if quality.splits else f"{RECORD.name} holds no figures: `{COMMAND}` measures them."


def split_keys(quality: Quality) -> str:
    """A marker for every split."""
    swatches = [
        (f"split-{number % len(MARKERS)}", wording.split_name(split.name))
        for number, split in enumerate(quality.splits)
    ]
    return keys(*swatches, ("blind", "a guess without looking at the picture"))


def origin_sentence(quality: Quality) -> str:
    """What the figures were measured on, and how to measure them again."""
    return (
        f"Model: {quality.model} (sha256 {quality.model_sha256[:12]}…), measured on {quality.device} "
        f"({quality.versions}), {quality.date}. Measure it again: `{COMMAND}`."
    )


def _sentence(text: str) -> str:
    """A sentence as HTML; what stands between backticks is code."""
    parts = escape(text).split("`")
    marked = "".join(f"<code>{part}</code>" if number % 2 else part for number, part in enumerate(parts))
    return f'<p class="conditions">{marked}</p>'
