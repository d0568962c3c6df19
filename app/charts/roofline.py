"""Roofline: what prefill and decode of each arm reach of what the device gives."""

from __future__ import annotations

from dataclasses import dataclass

import plotly.graph_objects as go

from app import palette, wording
from app.charts.chart import Chart, style
from app.markup import arm_keys, html_table, keys
from profiling import Report
from profiling.predict.work import Work

SYMBOLS = {"prefill": "circle", "decode": "diamond"}
WIDEN = 3
"""How far the roofs go on beyond the points and the ridge, as a factor."""


@dataclass(frozen=True)
class RooflinePoint:
    """One phase of one arm.

    Attributes:
        phase: "prefill" or "decode".
        intensity: FLOP per byte.
        flops_per_s: achieved.
        work: the FLOPs and bytes it rests on.
        share_of_roof: of what the device gives at that intensity; None where its roofs are not known.
    """

    arm: str
    phase: str
    intensity: float
    flops_per_s: float
    work: Work
    share_of_roof: float | None


def points_of(report: Report) -> list[RooflinePoint]:
    """Prefill and decode of every arm; a phase that was not measured has no point."""
    points = []
    for arm in report.arms:
        for phase, work, ms in (
            ("prefill", arm.prefill_work, arm.prefill_ms),
            ("decode", arm.decode_work, arm.tpot_ms),
        ):
            if work is None or ms is None:
                continue
            reached = 1000 * work.flops / ms
            share = None if report.roof is None else reached / report.roof.at(work.intensity)
            points.append(RooflinePoint(arm.name, phase, work.intensity, reached, work, share))
    return points


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


def roofline_key(report: Report) -> str:
    """The arms and the phases."""
    return keys(*arm_keys(report), ("prefill-point", "prefill"), ("decode-point", "decode"))


def roofline_sentence(report: Report) -> str:
    """What the roofs rest on, and what the points say."""
    counted = (
        "Bytes are the least that must move: the decoder's weights, keys and values, and the residual stream in and "
        "out of every sub-layer."
    )
    if report.roof is None:
        return f"Roofs: not available; {report.unavailable.get('roof', 'they were not measured')}. {counted}"
    above = any((point.share_of_roof or 0) > 1 for point in points_of(report))
    cached = " A point above the roof works from the cache, which is faster than memory." if above else ""
    return f"Roofs: {report.roof.source}. {counted}{cached}"


def roofline_table(report: Report) -> str:
    """Arithmetic intensity and FLOP/s of every arm and phase, and the bytes they rest on."""
    rows = []
    for point in points_of(report):
        work = point.work
        rows.append(
            [
                f"{point.phase}: {point.arm}",
                f"{point.intensity:.3g} FLOP/B",
                f"{wording.operations(point.flops_per_s)}/s",
                wording.share(point.share_of_roof),
                *(wording.size(part) for part in (work.weight_bytes, work.kv_bytes, work.activation_bytes)),
            ]
        )
    if report.roof is not None:
        roof = report.roof
        peak = [f"{roof.ridge:.3g} FLOP/B", f"{wording.operations(roof.flops_per_s)}/s"]
        rows.append(["where the roofs meet", *peak, "100%", f"{wording.size(roof.bytes_per_s)}/s", "–", "–"])
    return html_table(["", "intensity", "reached", "of the roof", "weights", "KV", "activations"], rows)


ROOFLINE = Chart(
    "roofline",
    "What the device gives, and what is reached",
    roofline,
    roofline_key,
    roofline_sentence,
    roofline_table,
    finding_class="hint",
)
