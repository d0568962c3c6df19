"""Chart of the time between tokens over an answer."""

from __future__ import annotations

import plotly.graph_objects as go

from app import palette
from app.charts.steps import step_spreads
from app.charts.style import style
from profiling import Report

DASHES = ("solid", "dash", "dot", "dashdot", "longdash")
"""One for each arm, so that no line is known by its color alone."""


def inter_token(report: Report) -> go.Figure:
    """Inter-token latency of every arm, from the second token on: the median of the timed runs; the fastest and the
    slowest run as a band."""
    figure, longest = go.Figure(), max(arm.new_tokens for arm in report.arms)
    for number, arm in enumerate(report.arms):
        steps = step_spreads(arm)
        tokens, color = [step.token for step in steps], palette.arm_color(number)
        if arm.run_token_ms[1:]:
            figure.add_scatter(
                x=[*tokens, *reversed(tokens)],
                y=[*(step.max for step in steps), *(step.min for step in reversed(steps))],
                fill="toself",
                fillcolor=f"rgba{(*palette.rgb(color if number else palette.TEXT), 0.16)}",
                line={"width": 0},
                mode="lines",
                name=f"{arm.name}: range",
                hoverinfo="skip",
            )
        figure.add_scatter(
            x=tokens,
            y=[step.p50 for step in steps],
            mode="lines+markers" if len(steps) < 12 else "lines",
            line={"color": color, "width": 2, "dash": DASHES[number % len(DASHES)]},
            marker={"color": color, "size": 6},
            name=arm.name,
            hovertemplate=f"{arm.name}, token %{{x}}: %{{y:.2f}} ms<extra></extra>",
        )
    figure.update_xaxes(title_text="token of the answer", tick0=2, dtick=max(1, -(-longest // 8)))
    figure.update_yaxes(rangemode="tozero", ticksuffix=" ms", nticks=5)
    return style(figure, height=280, top=12)
