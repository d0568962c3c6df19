"""Charts of time: the phases of an answer."""

from __future__ import annotations

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from app import palette
from app.charts.style import style, title, wrapped
from profiling import Arm, Report, Spread

PHASES = {"vision_ms": "vision", "prefill_ms": "prefill", "tpot_ms": "decode / token"}


def timeline(report: Report) -> go.Figure:
    """Each arm's answer from picture to last token, as stacked phases, each hatched in its own way."""
    figure = go.Figure()
    names = [wrapped(arm.name) for arm in report.arms]
    totals = [arm.vision_ms + arm.prefill_ms + _decode_ms(arm) for arm in report.arms]
    colors = [palette.arm_color(number) for number in range(len(names))]
    phases = [
        ("vision", "/", [arm.vision_ms for arm in report.arms]),
        ("prefill", "", [arm.prefill_ms for arm in report.arms]),
        ("decode", "|", [_decode_ms(arm) for arm in report.arms]),
    ]
    for name, hatch, values in phases:
        figure.add_bar(
            y=names,
            x=values,
            orientation="h",
            name=name,
            marker={
                "color": colors,
                "line": {"color": colors, "width": 1},
                "pattern": {"shape": hatch, "size": 6, "solidity": 0.3},
            },
            hovertemplate=f"{name}%{{x:.1f}} ms<extra></extra>",
            width=0.52,
        )
    before = 0.0
    for name, _, values in phases:
        if values[0] > 0.04 * max(totals):  # a thinner segment has no room for its name
            figure.add_annotation(
                x=before + values[0] / 2, y=names[0], yshift=34, text=name, showarrow=False, font={"size": 12}
            )
        before += values[0]
    for name, total in zip(names, totals, strict=True):
        figure.add_annotation(x=total, y=name, text=f" {total:.0f} ms", showarrow=False, xanchor="left")
    figure.update_layout(barmode="stack")
    figure.update_xaxes(ticksuffix=" ms", nticks=6, range=[0, 1.22 * max(totals)])
    figure.update_yaxes(autorange="reversed", showgrid=False)
    return style(figure, height=90 + 76 * len(names), top=24)


def phases(report: Report) -> go.Figure:
    """Vision, prefill and decode step of every arm: median as bar, 90th percentile as tick, fastest to slowest as
    whisker. Vision runs once for all arms."""
    figure = make_subplots(rows=1, cols=3, horizontal_spacing=0.1)
    for column, (phase, name) in enumerate(PHASES.items(), start=1):
        title(figure, name, x=(column - 1) * 1.1 / 3, y=1.02)
        arms = report.arms[:1] if phase == "vision_ms" else report.arms
        for number, arm in enumerate(arms):
            spread = arm.spread.get(phase)
            if spread is not None:
                shared = phase == "vision_ms"
                color = palette.TEXT if shared else palette.arm_color(number)
                _add_spread(figure, "both" if shared else arm.name, spread, color, column)
        figure.update_yaxes(rangemode="tozero", ticksuffix=" ms", nticks=5, row=1, col=column)
        figure.update_xaxes(showticklabels=False, showgrid=False, row=1, col=column)
    figure.update_layout(bargap=0.45)
    return style(figure, height=270)


def _add_spread(figure: go.Figure, name: str, spread: Spread, color: str, column: int) -> None:
    figure.add_bar(
        x=[name],
        y=[spread.p50],
        name=name,
        marker={"color": color},
        error_y={
            "type": "data",
            "symmetric": False,
            "array": [spread.max - spread.p50],
            "arrayminus": [spread.p50 - spread.min],
            "color": palette.TEXT,
            "thickness": 1.5,
            "width": 5,
        }
        if spread.runs > 1
        else None,
        hovertemplate=f"{name}: median {spread.p50:.2f} ms, p90 {spread.p90:.2f}, {spread.min:.2f} to "
        f"{spread.max:.2f} in {spread.runs} run(s)<extra></extra>",
        row=1,
        col=column,
    )
    if spread.runs > 1:
        figure.add_scatter(
            x=[name],
            y=[spread.p90],
            mode="markers",
            marker={"symbol": "line-ew", "size": 22, "line": {"width": 2, "color": "#D55E00"}},
            name="90th percentile",
            hoverinfo="skip",
            row=1,
            col=column,
        )


def _decode_ms(arm: Arm) -> float:
    """All steps after the first token, at the median pace."""
    return 0.0 if arm.tpot_ms is None else arm.tpot_ms * (arm.new_tokens - 1)
