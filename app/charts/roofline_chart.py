"""Roofline: what prefill and decode of each arm reach of what the device gives."""

from __future__ import annotations

import plotly.graph_objects as go

from app import palette
from app.charts.roofline import points_of
from app.charts.style import style
from profiling import Report

SYMBOLS = {"prefill": "circle", "decode": "diamond"}
WIDEN = 3
"""How far the roofs go on beyond the points and the ridge, as a factor."""


def roofline(report: Report) -> go.Figure:
    """Achieved FLOP/s over arithmetic intensity, on logarithmic axes, under the device's roofs where they are known."""
    figure, points = go.Figure(), points_of(report)
    if report.roof is not None:
        roof = report.roof
        ends = [roof.ridge, *(point.intensity for point in points)]
        line = sorted({min(ends) / WIDEN, roof.ridge, max(ends) * WIDEN})
        figure.add_scatter(
            x=line,
            y=[roof.at(intensity) for intensity in line],
            mode="lines",
            line={"color": palette.TEXT, "width": 2},
            name="roof",
            hovertemplate="at %{x:.3g} FLOP/B the device gives %{y:.3s}FLOP/s at most<extra></extra>",
        )
    for point in points:
        number = [arm.name for arm in report.arms].index(point.arm)
        color = palette.arm_color(number)
        figure.add_scatter(
            x=[point.intensity],
            y=[point.flops_per_s],
            mode="markers",
            marker={
                "symbol": SYMBOLS[point.phase] + ("-open" if number else ""),
                "size": 13,
                "color": color,
                "line": {"width": 2.5, "color": color},
            },
            name=f"{point.arm}: {point.phase}",
            hovertemplate=f"{point.arm}, {point.phase}: %{{y:.3s}}FLOP/s at %{{x:.3g}} FLOP/B<extra></extra>",
        )
    figure.update_xaxes(type="log", title_text="arithmetic intensity, FLOP per byte", dtick=1)
    figure.update_yaxes(type="log", title_text="FLOP/s", tickformat=".0s", dtick=1)
    return style(figure, height=320, top=12)
