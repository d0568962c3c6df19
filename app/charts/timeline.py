"""Each answer from picture to last token, as a time line."""

from __future__ import annotations

import plotly.graph_objects as go

from app import palette, wording
from app.charts.chart import Chart, style, wrapped
from profiling import Report


def timeline(report: Report) -> go.Figure:
    """Each arm's answer as stacked phases, each hatched in its own way."""
    figure = go.Figure()
    names = [wrapped(arm.name) for arm in report.arms]
    totals = [arm.vision_ms + arm.prefill_ms + arm.decode_ms for arm in report.arms]
    colors = [palette.arm_color(number) for number in range(len(names))]
    phases = [
        ("vision", "/", [arm.vision_ms for arm in report.arms]),
        ("prefill", "", [arm.prefill_ms for arm in report.arms]),
        ("decode", "|", [arm.decode_ms for arm in report.arms]),
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


def prefill_sentence(report: Report) -> str:
    """Prefill of the first and the last arm in words."""
    first, last = report.arms[0], report.arms[-1]
    sentence = (
        f"The picture is encoded once for both ({wording.milliseconds(first.vision_ms)}). Prefill takes "
        f"{wording.milliseconds(first.prefill_ms)} dense and {wording.milliseconds(last.prefill_ms)} with {last.name}."
    )
    if report.repeats == 1:
        return sentence + " One run shows no spread: raise “Timed runs of each” for that."
    return sentence


TIMELINE = Chart("timeline", "From picture to last token", timeline, finding=prefill_sentence)
