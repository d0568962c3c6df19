"""Charts of the GPU over a run of each arm."""

from __future__ import annotations

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from app import palette
from app.charts.steps_chart import DASHES
from app.charts.style import style, title
from profiling import Report

QUANTITIES = (
    ("utilization", "utilization", 100, " %"),
    ("memory_bytes", "memory in use", 1e-9, " GB"),
    ("power_w", "power", 1, " W"),
)


def gpu_over_time(report: Report) -> go.Figure:
    """Utilization, memory and power over the milliseconds of a run of its own of each arm."""
    figure = make_subplots(rows=1, cols=3, horizontal_spacing=0.1)
    for column, (name, label, factor, unit) in enumerate(QUANTITIES, start=1):
        title(figure, label, x=(column - 1) * 1.1 / 3, y=1.02)
        for number, arm in enumerate(report.arms):
            samples = arm.gpu_samples or ()
            figure.add_scatter(
                x=[sample.ms for sample in samples],
                y=[factor * getattr(sample, name) for sample in samples],
                mode="lines",
                line={"color": palette.arm_color(number), "width": 2, "dash": DASHES[number % len(DASHES)]},
                name=arm.name,
                hovertemplate=f"{arm.name}: %{{y:.3g}}{unit} at %{{x:.0f}} ms<extra></extra>",
                row=1,
                col=column,
            )
        figure.update_yaxes(rangemode="tozero", ticksuffix=unit, nticks=5, row=1, col=column)
        figure.update_xaxes(ticksuffix=" ms", nticks=4, row=1, col=column)
    return style(figure, height=250)
