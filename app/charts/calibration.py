"""What skipping each sub-layer alone does to the next token, as a map, and what was chosen to skip."""

from __future__ import annotations

import numpy as np
import plotly.graph_objects as go

from app import palette
from app.charts.chart import style
from app.markup import html_table, layer_table
from skipcore import Calibration

SMALLEST = 1e-6
"""Divergences below this, in nats, are noise and get the first color."""


def divergence_map(calibration: Calibration) -> go.Figure:
    """KL(dense ‖ skipping) by layer and sub-layer, on a logarithm; a dot marks what was chosen to skip."""
    rows = (
        ("attention", calibration.attention_kl, calibration.choice.attention_layers),
        ("FFN", calibration.ffn_kl, calibration.choice.layers),
    )
    values = np.array([divergences for _, divergences, _ in rows])
    layers = np.arange(1, values.shape[1] + 1)
    shown = np.log10(np.maximum(values, SMALLEST))
    figure = go.Figure(
        go.Heatmap(
            z=shown,
            x=layers,
            y=[name for name, _, _ in rows],
            customdata=values,
            colorscale=list(palette.RAMP),
            colorbar={"title": {"text": "KL, nats"}, "tickprefix": "10<sup>", "ticksuffix": "</sup>", "dtick": 1},
            hovertemplate="layer %{x}, %{y}: KL %{customdata:.2g} nats<extra></extra>",
            xgap=2,
            ygap=2,
        )
    )
    skipping = [(layer + 1, name) for name, _, chosen in rows for layer in chosen]
    figure.add_scatter(
        x=[layer for layer, _ in skipping],
        y=[name for _, name in skipping],
        mode="markers",
        marker={"color": "#FFFFFF", "size": 11, "line": {"color": "#22252B", "width": 2}},
        hoverinfo="skip",
    )
    figure.update_xaxes(title_text="layer", dtick=max(1, len(layers) // 16))
    return style(figure, height=190)


def finding(calibration: Calibration) -> str:
    """What was chosen, against the best of the other choices."""
    choice, rival = calibration.choice, min(calibration.rivals, key=lambda each: each.kl)
    return (
        f"At {choice.flops:.0%} of the prefill FLOPs and {choice.kv:.0%} of the KV cache, {choice.label} changes the "
        f"next token by {choice.kl:.2g} nats (KL), the best of the other choices ({rival.name}) by {rival.kl:.2g}."
    )


def choices_table(calibration: Calibration) -> str:
    """The choice and its rivals."""
    rows = [
        [each.name, each.label, f"{each.flops:.1%}", f"{each.kv:.1%}", f"{each.kl:.2g}", f"{each.top1:.0%}"]
        for each in (calibration.choice, *calibration.rivals)
    ]
    return html_table(["", "method", "prefill FLOPs", "KV cache", "KL, nats", "same likeliest token"], rows)


def sublayers_table(calibration: Calibration) -> str:
    """The values behind the map, and the FFN update of the tokens that would skip."""
    return layer_table(
        ("KL without attention", [f"{kl:.2g}" for kl in calibration.attention_kl]),
        ("KL without FFN", [f"{kl:.2g}" for kl in calibration.ffn_kl]),
        ("FFN update", [f"{update:.3f}" for update in calibration.ffn_update]),
    )
