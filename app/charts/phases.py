"""Each phase of an answer with its spread over the timed runs."""

from __future__ import annotations

import plotly.graph_objects as go

from app import palette, wording
from app.charts.chart import Chart, plots, style
from app.markup import arm_keys, html_table, keys, paragraph
from profiling import Report, Spread

TITLES = {"vision_ms": "vision", "prefill_ms": "prefill", "tpot_ms": "decode / token"}
IN_TABLE = {**TITLES, "tpot_ms": "decode, per token", "ttft_ms": "first token (median of vision + prefill)"}
UNAVAILABLE = {
    "peak_memory_bytes": "Peak memory",
    "energy_j": "Energy",
    "roof": "Roofs",
    "gpu_samples": "GPU over time",
}
"""How the page calls what a report says is not available."""


def phases(report: Report) -> go.Figure:
    """Vision, prefill and decode step of every arm: median as bar, 90th percentile as tick, fastest to slowest as
    whisker. Vision runs once for all arms."""
    figure = plots(list(TITLES.values()), spacing=0.1, y=1.02)
    for column, phase in enumerate(TITLES, start=1):
        shared = phase == "vision_ms"
        for number, arm in enumerate(report.arms[:1] if shared else report.arms):
            spread = arm.spread.get(phase)
            if spread is not None:
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
            marker={"symbol": "line-ew", "size": 22, "line": {"width": 2, "color": palette.DROPPED}},
            name="90th percentile",
            hoverinfo="skip",
            row=1,
            col=column,
        )


def phases_key(report: Report) -> str:
    """The arms, and what stands on their bars."""
    return keys(*arm_keys(report), ("p90", "90th percentile"), ("whisker", "fastest to slowest run"))


def phases_table(report: Report) -> str:
    """Median, 90th percentile and range of every phase and arm; then what else was measured, or why it was not."""
    rows = []
    for name, title in IN_TABLE.items():
        for arm in report.arms[:1] if name == "vision_ms" else report.arms:
            spread = arm.spread.get(name)
            label = title if name == "vision_ms" else f"{title}: {arm.name}"
            if spread is None:
                rows.append([label, *[wording.NOT_AVAILABLE] * 3])
                continue
            values = [f"{spread.p50:.2f} ms", f"{spread.p90:.2f} ms", f"{spread.min:.2f} to {spread.max:.2f} ms"]
            rows.append([label, *values])
    return html_table(["", "median", "p90", "fastest to slowest"], rows) + device_table(report)


def device_table(report: Report) -> str:
    """FLOPs, memory and energy by arm. Where a figure is None, the reason follows."""
    arms = report.arms
    rows = [
        ["prefill FLOPs, counted", *(wording.operations(arm.flops_prefill) for arm in arms)],
        ["prefill FLOPs, predicted", *(wording.operations(arm.flops_prefill_predicted) for arm in arms)],
        ["peak memory", *(wording.size(arm.peak_memory_bytes) for arm in arms)],
        ["energy", *(wording.shown(arm.energy_j, "{:.3g} J") for arm in arms)],
    ]
    reasons = "".join(
        paragraph(f"{UNAVAILABLE.get(name, name)}: not available; {reason}.", "reason")
        for name, reason in report.unavailable.items()
    )
    return html_table(["", *(arm.name for arm in arms)], rows) + reasons


PHASES = Chart("phases", "Each phase", phases, phases_key, table=phases_table)
