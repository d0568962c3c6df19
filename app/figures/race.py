"""Chart of a race: score against FLOPs, a curve for each method."""

from __future__ import annotations

import plotly.graph_objects as go

from app import palette
from app.figures.style import style
from app.race import RaceData, RaceRow
from skipcore import METHODS

SYMBOLS = ("square", "triangle-up", "triangle-down", "diamond", "cross", "x", "triangle-left", "triangle-right", "star",
           "pentagon", "hexagon", "bowtie", "hourglass")  # fmt: skip
"""With colours that come round, so that no method is known by its colour alone."""


def race_chart(data: RaceData) -> go.Figure:
    """Share of right answers over prefill FLOPs (both percent); Skip-Vision with its intervals."""
    figure = go.Figure()
    peers = [name for name in dict.fromkeys(row.method for row in data.rows) if name not in ("Dense", "SkipVision")]
    looks = {
        name: (palette.PEERS[number % len(palette.PEERS)], SYMBOLS[number % len(SYMBOLS)])
        for number, name in enumerate(peers)
    }
    looks = {"Dense": (palette.INK, "star"), "SkipVision": (palette.SKIP_VISION, "circle"), **looks}
    for method, (colour, symbol) in looks.items():
        rows = sorted((row for row in data.rows if row.method == method), key=lambda row: row.flops)
        if rows:
            _add_method(figure, method, rows, colour, symbol)
    if data.blind is not None:
        figure.add_hline(100 * data.blind, line={"color": palette.TEXT, "dash": "dash", "width": 1.5})
    figure.update_xaxes(title_text="prefill FLOPs, % of dense", range=[0, 104], ticksuffix=" %", nticks=6)
    figure.update_yaxes(ticksuffix=" %", nticks=7)
    style(figure, height=460)
    return figure.update_layout(showlegend=True, legend={"orientation": "h", "y": -0.16, "font": {"size": 12}})


def _add_method(figure: go.Figure, method: str, rows: list[RaceRow], colour: str, symbol: str) -> None:
    own = method == "SkipVision"
    figure.add_scatter(
        x=[100 * row.flops for row in rows],
        y=[100 * row.score for row in rows],
        error_y={
            "array": [100 * (row.high - row.score) for row in rows],
            "arrayminus": [100 * (row.score - row.low) for row in rows],
            "thickness": 1,
            "width": 0,
            "visible": own,
        },
        mode="lines+markers",
        line={"color": colour, "width": 2.5 if own else 1},
        marker={"symbol": symbol, "size": 11 if own or method == "Dense" else 8, "color": colour},
        name=method_name(method),
        customdata=[row.label for row in rows],
        hovertemplate="%{customdata}<br>%{y:.1f} %, %{x:.1f} % of the dense FLOPs<extra></extra>",
    )


def method_name(method: str) -> str:
    """A method's class as people call it; one that is gone from the library, as it was written."""
    return METHODS[method].name if method in METHODS else method
