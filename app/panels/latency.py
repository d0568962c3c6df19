"""Latency: where the time of each answer goes."""

from __future__ import annotations

import gradio as gr

from app import wording
from app.charts.gpu import gpu_over_time, gpu_sentence, gpu_table
from app.charts.phases import PHASES
from app.charts.roofline import ROOFLINE
from app.charts.steps import STEPS
from app.charts.timeline import TIMELINE
from app.markup import arm_keys, keys, paragraph
from app.panels import Changes
from app.panels.components import ChartView, plot
from profiling import Arm, Report
from profiling.predict.break_even import break_even

INTRO = "Where the time goes: encoding the picture, reading the prompt (prefill), writing the answer (decode)."


class LatencyPanel:
    """The answers as a time line, every phase with its spread, and what device and GPU did."""

    def __init__(self) -> None:
        gr.HTML(f"<h2>Latency</h2><p class='intro'>{INTRO}</p>")
        with gr.Column(visible=False, elem_id="latency-result") as self.result:
            with gr.Row(elem_id="latency-pair"):
                charts = [ChartView(TIMELINE), ChartView(PHASES, with_table=False)]
            self.break_even = gr.HTML(elem_id="break-even")
            with gr.Row(elem_id="latency-depth"):
                charts += [ChartView(STEPS, with_table=False), ChartView(ROOFLINE, with_table=False)]
            gr.HTML("<h3>GPU over time</h3>")
            self.gpu_note = gr.HTML(elem_id="gpu-note")
            with gr.Column(visible=False) as self.gpu_result:
                self.gpu_key = gr.HTML()
                self.gpu = plot("gpu")
            with gr.Accordion("As text", open=False):
                self.text = gr.HTML(elem_id="latency-text")
        self._charts = charts
        own = [self.result, self.break_even, self.gpu_note, self.gpu_result, self.gpu_key, self.gpu, self.text]
        self.outputs = [*own, *(component for chart in charts for component in chart.outputs)]

    def show(self, report: Report) -> Changes:
        """The charts of a report."""
        changes = {
            self.result: gr.update(visible=True),
            self.break_even: paragraph(break_even_sentence(report)),
            self.gpu_note: paragraph(gpu_sentence(report), "hint"),
            self.gpu_result: gr.update(visible=bool(report.arms[0].gpu_samples)),
            self.gpu_key: keys(*arm_keys(report)),
            self.gpu: gpu_over_time(report),
            self.text: tables(report),
        }
        for chart in self._charts:
            changes |= chart.show(report)
        return changes


def tables(report: Report) -> str:
    """The values of all charts."""
    found = [chart.table(report) for chart in (PHASES, ROOFLINE, STEPS) if chart.table is not None]
    return "".join(found) + gpu_table(report)


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
    tokens = report.visual_tokens
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
