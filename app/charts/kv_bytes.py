"""The KV cache by layer, measured beside predicted."""

from __future__ import annotations

import numpy as np
import plotly.graph_objects as go

from app import palette, wording
from app.charts.chart import Chart, layer_axis, style
from app.markup import arm_keys, keys, layer_table
from profiling import Report


def kv_by_layer(report: Report) -> go.Figure:
    """Bytes of the KV cache in each layer: measured as bars, predicted as markers."""
    figure = go.Figure()
    for number, arm in enumerate(report.arms):
        layers, group = np.arange(1, len(arm.layer_kv_bytes) + 1), str(number)
        hover = f"{arm.name}, layer %{{x}}: %{{customdata:,}} bytes"
        figure.add_bar(
            x=layers,
            y=np.array(arm.layer_kv_bytes) / 1e3,
            name=f"{arm.name}, measured",
            marker={"color": palette.arm_color(number)},
            offsetgroup=group,
            customdata=arm.layer_kv_bytes,
            hovertemplate=f"{hover} measured<extra></extra>",
        )
        figure.add_scatter(
            x=layers,
            y=np.array(arm.layer_kv_bytes_predicted) / 1e3,
            name="predicted",
            mode="markers",
            marker={"symbol": "diamond", "size": 9, "color": "#FFFFFF", "line": {"color": palette.DROPPED, "width": 2}},
            offsetgroup=group,
            customdata=arm.layer_kv_bytes_predicted,
            hovertemplate=f"{hover} predicted<extra></extra>",
        )
    figure.update_layout(barmode="group", scattermode="group", bargap=0.35, bargroupgap=0.06)
    layer_axis(figure, len(report.arms[0].layer_kv_bytes))
    figure.update_yaxes(title_text="kB", rangemode="tozero")
    return style(figure, height=290)


def kv_sentence(report: Report) -> str:
    """Measured against predicted."""
    parts = []
    for arm in report.arms:
        exact = arm.kv_bytes == arm.kv_bytes_predicted
        predicted = "as predicted to the byte" if exact else f"predicted {wording.size(arm.kv_bytes_predicted)}"
        least, most = min(arm.layer_kv_bytes), max(arm.layer_kv_bytes)
        unequal = "" if least == most else f" ({wording.size(least)} to {wording.size(most)} a layer)"
        parts.append(f"{arm.name} keeps {wording.size(arm.kv_bytes)}{unequal}, {predicted}")
    return "; ".join(parts) + "."


def kv_table(report: Report) -> str:
    """Bytes of the KV cache by layer and arm, measured and predicted."""
    pairs = [
        pair
        for arm in report.arms
        for pair in ((f"{arm.name}: measured", arm.layer_kv_bytes), ("predicted", arm.layer_kv_bytes_predicted))
    ]
    return layer_table(*((heading, [f"{count:,} B" for count in counts]) for heading, counts in pairs))


KV_BYTES = Chart(
    "kv",
    "KV cache by layer",
    kv_by_layer,
    lambda report: keys(*arm_keys(report), ("predicted", "predicted")),
    kv_sentence,
    kv_table,
)
