"""The rows of each layer, text and summaries included: how many do what."""

from __future__ import annotations

from typing import Any

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from app import palette
from app.charts.chart import Chart, layer_axis, style, title
from app.markup import arm_keys, keys, layer_table
from profiling import Arm, Report
from skipcore import Trace
from skipcore.builtin.scenes.words import joined


def rows_of(trace: Trace) -> dict[str, list[int]]:
    """How many rows do what in each layer."""
    masks = {
        "enter the layer": trace.entered,
        "attend": trace.ran_attention,
        "run the FFN": trace.ran_ffn,
        "stay in the KV cache": trace.in_cache,
    }
    return {does: mask.sum(dim=1).tolist() for does, mask in masks.items()}


def rows_by_layer(report: Report) -> go.Figure:
    """How many rows enter each layer, attend, run the FFN and stay in its KV cache: bars, and a step line for the first
    arm, which the others are compared with."""
    figure = make_subplots(rows=2, cols=2, horizontal_spacing=0.12, vertical_spacing=0.2, shared_xaxes=True)
    for number, arm in reversed(list(enumerate(report.arms))):
        for plot, (does, counts) in enumerate(rows_of(arm.trace).items()):
            part = _steps if number == 0 else _bars
            hover = f"{arm.name}, layer %{{x}}: %{{y:,}} rows {does}<extra></extra>"
            layers = np.arange(1, len(counts) + 1)
            drawn = part(x=layers, y=counts, color=palette.arm_color(number), name=arm.name, hovertemplate=hover)
            figure.add_trace(drawn, row=1 + plot // 2, col=1 + plot % 2)
    for plot, does in enumerate(rows_of(report.arms[0].trace)):
        title(figure, does, x=0.56 * (plot % 2), y=1.01 if plot < 2 else 0.41)
    figure.update_layout(bargap=0.35)
    layer_axis(figure, len(report.arms[0].trace.entered), row=2)
    figure.update_xaxes(dtick=max(1, len(report.arms[0].trace.entered) // 8), showgrid=False, row=1)
    figure.update_yaxes(rangemode="tozero", nticks=5)
    return style(figure, height=330)


def _bars(color: str, **values: Any) -> go.Bar:
    return go.Bar(marker={"color": color}, **values)


def _steps(color: str, **values: Any) -> go.Scatter:
    line = {"color": color, "shape": "hvh", "width": 2}
    return go.Scatter(mode="lines+markers", line=line, marker={"size": 5}, **values)


def rows_sentence(report: Report) -> str:
    """What is skipped where, under every method."""
    return " ".join(map(skips_sentence, report.arms[1:]))


def skips_sentence(arm: Arm) -> str:
    """Which layers do not run in full, and how: "FastV: the FFN is skipped in no layer; …"."""
    trace = arm.trace
    masks = {
        "the FFN is skipped in": trace.entered & ~trace.ran_ffn,
        "attention is skipped in": trace.entered & ~trace.ran_attention,
        "places are gone in": ~trace.entered,
        "places that entered leave the KV cache of": trace.entered & ~trace.in_cache,
    }
    parts = [f"{does} {layers_named(mask.any(dim=1).tolist())}" for does, mask in masks.items() if mask.any()]
    if not parts:
        return f"{arm.name}: every layer runs in full for all that enters the decoder."
    return f"{arm.name}: {'; '.join(parts)}."


def layers_named(chosen: list[bool]) -> str:
    """Layers in words, counted from 1: [True, True, True, False, True] → "layers 1 to 3 and 5"."""
    if all(chosen):
        return "every layer"
    numbers = [number for number, is_chosen in enumerate(chosen, start=1) if is_chosen]
    runs: list[list[int]] = []
    for number in numbers:
        if runs and runs[-1][-1] == number - 1:
            runs[-1] = [runs[-1][0], number]
        else:
            runs.append([number])
    return f"layer{'s' * (len(numbers) > 1)} {joined([' to '.join(map(str, run)) for run in runs])}"


def rows_table(report: Report) -> str:
    """Rows that enter each layer, attend, run the FFN and stay in the KV cache, by arm."""
    return layer_table(
        *(
            (f"{arm.name}: {does}", [f"{count:,}" for count in counts])
            for arm in report.arms
            for does, counts in rows_of(arm.trace).items()
        )
    )


ROWS = Chart(
    "rows",
    "Tokens of each layer",
    rows_by_layer,
    lambda report: keys(*arm_keys(report)),
    rows_sentence,
    rows_table,
)
