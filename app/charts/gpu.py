"""The GPU over a run of each arm."""

from __future__ import annotations

from statistics import fmean

import plotly.graph_objects as go

from app import wording
from app.charts.chart import arm_line, plots, style
from app.markup import html_table
from profiling import Report

QUANTITIES = (
    ("utilization", "utilization", 100, "%"),
    ("memory_bytes", "memory in use", 1e-9, " GB"),
    ("power_w", "power", 1, " W"),
)


def gpu_over_time(report: Report) -> go.Figure:
    """Utilization, memory and power over the milliseconds of a run of its own of each arm."""
    figure = plots([label for _, label, _, _ in QUANTITIES], spacing=0.1, y=1.02)
    for column, (name, _, factor, unit) in enumerate(QUANTITIES, start=1):
        for number, arm in enumerate(report.arms):
            samples = arm.gpu_samples or ()
            figure.add_scatter(
                x=[sample.ms for sample in samples],
                y=[factor * getattr(sample, name) for sample in samples],
                mode="lines",
                line=arm_line(number),
                name=arm.name,
                hovertemplate=f"{arm.name}: %{{y:.3g}}{unit} at %{{x:.0f}} ms<extra></extra>",
                row=1,
                col=column,
            )
        figure.update_yaxes(rangemode="tozero", ticksuffix=unit, nticks=5, row=1, col=column)
        figure.update_xaxes(ticksuffix=" ms", nticks=4, row=1, col=column)
    return style(figure, height=250)


def gpu_sentence(report: Report) -> str:
    """What the samples are, or why there are none."""
    if report.arms[0].gpu_samples:
        return "One run of each, watched through NVML and in no time above; memory is that of all processes."
    return f"Not available; {report.unavailable.get('gpu_samples', 'it was not watched')}."


def gpu_table(report: Report) -> str:
    """Mean and most of utilization, memory and power by arm; nothing where no GPU was watched."""
    watched = [(arm.name, arm.gpu_samples) for arm in report.arms if arm.gpu_samples]
    if not watched:
        return ""
    rows = []
    for name, samples in watched:
        shares, watts = [each.utilization for each in samples], [each.power_w for each in samples]
        rows.append(
            [
                name,
                f"{wording.share(fmean(shares))} ({wording.share(max(shares))})",
                wording.size(max(each.memory_bytes for each in samples)),
                f"{fmean(watts):.0f} W ({max(watts):.0f} W)",
                str(len(samples)),
            ]
        )
    return html_table(["", "utilization: mean (most)", "memory, most", "power: mean (most)", "samples"], rows)
