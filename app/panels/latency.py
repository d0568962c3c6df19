"""Latency: where the time of each answer goes."""

from __future__ import annotations

from html import escape

import gradio as gr

from app import figures, tables, wording
from app.keys import arm_keys, keys
from app.panels import Changes
from app.panels.layers import plot
from profiling import Report

INTRO = "Where the time goes: encoding the picture, reading the prompt (prefill), writing the answer (decode)."


class LatencyPanel:
    """The answers as a time line, and every phase with its spread."""

    def __init__(self) -> None:
        gr.HTML(f"<h2>Latency</h2><p class='intro'>{INTRO}</p>")
        with gr.Column(visible=False, elem_id="latency-result") as self.result:
            with gr.Row(elem_id="latency-pair"):
                with gr.Column(min_width=320):
                    gr.HTML("<h3>From picture to last token</h3>")
                    self.timeline = plot("timeline")
                    self.finding = gr.HTML()
                with gr.Column(min_width=320):
                    gr.HTML("<h3>Each phase</h3>")
                    self.phases_key = gr.HTML()
                    self.phases = plot("phases")
            with gr.Accordion("As text", open=False):
                self.text = gr.HTML()
        self.outputs = [self.result, self.timeline, self.finding, self.phases_key, self.phases, self.text]

    def show(self, report: Report) -> Changes:
        """The charts of a report."""
        return {
            self.result: gr.update(visible=True),
            self.timeline: figures.timeline(report),
            self.finding: f'<p class="finding">{escape(latency_sentence(report))}</p>',
            self.phases_key: keys(*arm_keys(report), ("p90", "90th percentile"), ("whisker", "fastest to slowest run")),
            self.phases: figures.phases(report),
            self.text: tables.latency_table(report),
        }


def latency_sentence(report: Report) -> str:
    """Prefill of both arms in words."""
    first, last = report.arms[0], report.arms[-1]
    sentence = (
        f"The picture is encoded once for both ({wording.milliseconds(first.vision_ms)}). Prefill takes "
        f"{wording.milliseconds(first.prefill_ms)} dense and {wording.milliseconds(last.prefill_ms)} with {last.name}."
    )
    if report.repeats == 1:
        return sentence + " One run shows no spread: raise “Timed runs of each” for that."
    return sentence
