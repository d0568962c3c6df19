"""Charts of what each layer takes in and keeps: rows and KV cache."""

from __future__ import annotations

from typing import Any

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from app import palette
from app.charts.rows import rows_of
from app.charts.style import style, title
from profiling import Report


def rows_by_layer(report: Report) -> go.Figure:
    """How many rows enter each layer, attend, run the FFN and stay in its KV cache: bars, and a step line for the first
    arm, which the others are compared with."""
    figure = make_subplots(rows=2, cols=2, horizontal_spacing=0.12, vertical_spacing=0.2, shared_xaxes=True)
    for number, arm in reversed(list(enumerate(report.arms))):
        for place, (does, counts) in enumerate(rows_of(arm.trace).items()):
            part = _steps if number == 0 else _bars
            hover = f"{arm.name}, layer %{{x}}: %{{y:,}} rows {does}<extra></extra>"
            layers = np.arange(1, len(counts) + 1)
            drawn = part(x=layers, y=counts, color=palette.arm_color(number), name=arm.name, hovertemplate=hover)
            figure.add_trace(drawn, row=1 + place // 2, col=1 + place % 2)
    for place, does in enumerate(rows_of(report.arms[0].trace)):
        title(figure, does, x=0.56 * (place % 2), y=1.01 if place < 2 else 0.41)
    figure.update_layout(bargap=0.35)
    figure.update_xaxes(dtick=max(1, len(report.arms[0].trace.entered) // 8), showgrid=False)
    figure.update_xaxes(title_text="layer", row=2)
    figure.update_yaxes(rangemode="tozero", nticks=5)
    return style(figure, height=330)


def _bars(color: str, **values: Any) -> go.Bar:
    return go.Bar(marker={"color": color}, **values)


def _steps(color: str, **values: Any) -> go.Scatter:
    line = {"color": color, "shape": "hvh", "width": 2}
    return go.Scatter(mode="lines+markers", line=line, marker={"size": 5}, **values)


def kv_by_layer(report: Report) -> go.Figure:
    """Bytes of the KV cache in each layer: measured as bars, predicted as markers."""
    figure = go.Figure()
    for number, arm in enumerate(report.arms):
        layers = np.arange(1, len(arm.layer_kv_bytes) + 1)
        figure.add_bar(
            x=layers,
            y=np.array(arm.layer_kv_bytes) / 1e3,
            name=f"{arm.name}, measured",
            marker={"color": palette.arm_color(number)},
            offsetgroup=str(number),
            customdata=arm.layer_kv_bytes,
            hovertemplate=f"{arm.name}, layer %{{x}}: %{{customdata:,}} bytes measured<extra></extra>",
        )
        figure.add_scatter(
            x=layers,
            y=np.array(arm.layer_kv_bytes_predicted) / 1e3,
            name="predicted",
            mode="markers",
            marker={"symbol": "diamond", "size": 9, "color": "#FFFFFF", "line": {"color": "#D55E00", "width": 2}},
            offsetgroup=str(number),
            customdata=arm.layer_kv_bytes_predicted,
            hovertemplate=f"{arm.name}, layer %{{x}}: %{{customdata:,}} bytes predicted<extra></extra>",
        )
    figure.update_layout(barmode="group", scattermode="group", bargap=0.35, bargroupgap=0.06)
    figure.update_xaxes(title_text="layer", dtick=max(1, len(report.arms[0].layer_kv_bytes) // 8), showgrid=False)
    figure.update_yaxes(title_text="kB", rangemode="tozero")
    return style(figure, height=290)
