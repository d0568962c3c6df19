"""Latency: where the time of each answer goes."""

from __future__ import annotations

from html import escape

import gradio as gr

from app import charts as figures
from app import wording
from app.charts import tables
from app.charts.latency_tables import gpu_table, roofline_table, steps_table
from app.charts.roofline import roofline_sentence
from app.markup import arm_keys, keys
from app.panels import Changes
from app.panels.layers import plot
from profiling import Arm, Report
from profiling.predict.break_even import break_even

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
            self.break_even = gr.HTML(elem_id="break-even")
            with gr.Row(elem_id="latency-depth"):
                with gr.Column(min_width=320):
                    gr.HTML("<h3>Time between tokens over the answer</h3>")
                    self.steps_key = gr.HTML()
                    self.steps = plot("steps")
                with gr.Column(min_width=320):
                    gr.HTML("<h3>What the device gives, and what is reached</h3>")
                    self.roofline_key = gr.HTML()
                    self.roofline = plot("roofline")
                    self.roofline_note = gr.HTML()
            gr.HTML("<h3>GPU over time</h3>")
            self.gpu_note = gr.HTML(elem_id="gpu-note")
            with gr.Column(visible=False) as self.gpu_result:
                self.gpu_key = gr.HTML()
                self.gpu = plot("gpu")
            with gr.Accordion("As text", open=False):
                self.text = gr.HTML(elem_id="latency-text")
        self.outputs = [
            self.result,
            self.timeline,
            self.finding,
            self.phases_key,
            self.phases,
            self.break_even,
            self.steps_key,
            self.steps,
            self.roofline_key,
            self.roofline,
            self.roofline_note,
            self.gpu_note,
            self.gpu_result,
            self.gpu_key,
            self.gpu,
            self.text,
        ]

    def show(self, report: Report) -> Changes:
        """The charts of a report."""
        return {
            self.result: gr.update(visible=True),
            self.timeline: figures.timeline(report),
            self.finding: f'<p class="finding">{escape(latency_sentence(report))}</p>',
            self.phases_key: keys(*arm_keys(report), ("p90", "90th percentile"), ("whisker", "fastest to slowest run")),
            self.phases: figures.phases(report),
            self.break_even: f'<p class="finding">{escape(break_even_sentence(report))}</p>',
            self.steps_key: keys(*arm_keys(report), *[("whisker", "fastest to slowest run")] * (report.repeats > 1)),
            self.steps: figures.inter_token(report),
            self.roofline_key: keys(*arm_keys(report), ("prefill-point", "prefill"), ("decode-point", "decode")),
            self.roofline: figures.roofline(report),
            self.roofline_note: f'<p class="hint">{escape(roofline_sentence(report))}</p>',
            self.gpu_note: f'<p class="hint">{escape(gpu_sentence(report))}</p>',
            self.gpu_result: gr.update(visible=bool(report.arms[0].gpu_samples)),
            self.gpu_key: keys(*arm_keys(report)),
            self.gpu: figures.gpu_over_time(report),
            self.text: tables.latency_table(report) + roofline_table(report) + steps_table(report) + gpu_table(report),
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


def break_even_sentence(report: Report) -> str:
    """FLOPs saved, time saved, and from where on that pays; what it rests on is said too."""
    first, last = report.arms[0], report.arms[-1]
    saved = report.savings.get(last.name)
    if saved is None:
        return "Only one method ran, so there is nothing to break even with."
    gained = first.prefill_ms - last.prefill_ms
    change = (
        f"{wording.operations(max(0, first.flops_prefill - last.flops_prefill))} saved in prefill "
        f"({wording.share(saved.flops_prefill)}) became {wording.milliseconds(abs(gained))} "
        f"{'saved' if gained >= 0 else 'lost'} ({wording.change(saved.prefill_time)} time)."
    )
    tokens = sum(rows * columns for rows, columns in report.image_grid)
    found, reason = break_even(first, last, tokens)
    if found is None:
        return f"{change} Break-even point: not available; {reason}."
    pays = (
        f"{last.name} pays from about {found.visual_tokens:,} visual tokens on"
        if found.visual_tokens
        else f"{last.name} pays at any number of visual tokens"
    )
    own = found.own_cost_ms
    cost = f"the method itself costs {wording.milliseconds(own)}" if own > 0 else "the method itself costs nothing more"
    return (
        f"{change} {pays} (there are {tokens:,} here): the FLOPs saved are {wording.milliseconds(found.ideal_ms)} at "
        f"the pace of the dense prefill, {wording.operations(found.pace)}/s beyond the "
        f"{wording.milliseconds(found.fixed_ms)} of a decode step, and {cost}. A cost model with measured values, at "
        "the same shares of tokens; not a measurement at that length." + _chance(first, last)
    )


def _chance(first: Arm, last: Arm) -> str:
    """A warning where single runs of both arms took the same time."""
    one, other = first.spread["prefill_ms"], last.spread["prefill_ms"]
    if one.runs == 1:
        return " It rests on one run of each: more timed runs tell more."
    if one.min <= other.max and other.min <= one.max:
        return " The runs of both overlap, so it may be chance: more timed runs on a quiet machine tell more."
    return ""


def gpu_sentence(report: Report) -> str:
    """What the samples are, or why there are none."""
    if report.arms[0].gpu_samples:
        return "One run of each, watched through NVML and in no time above; memory is that of all processes."
    return f"Not available; {report.unavailable.get('gpu_samples', 'it was not watched')}."
