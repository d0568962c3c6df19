"""Chart of a trade-off: accuracy or agreement against a cost, a curve for each method."""

from __future__ import annotations

import plotly.graph_objects as go

from app import palette
from app.charts.axes import ACCURACY, COSTS, SAME, Axis, score_axis
from app.charts.race import RaceData, RaceRow
from app.charts.style import style
from skipcore import METHODS

SYMBOLS = ("square", "triangle-up", "triangle-down", "diamond", "cross", "x", "triangle-left", "triangle-right", "star",
           "pentagon", "hexagon", "bowtie", "hourglass")  # fmt: skip
"""With colors that come round, so that no method is known by its color alone."""


def race_chart(data: RaceData, cost: str = "flops", score: str = "score") -> go.Figure:
    """One axis over another; Skip-Vision with its intervals where there are any.

    Args:
        cost: "flops", "time" or "kv".
        score: "score" (right answers, or answers as the dense model's), "top1" or "kl".
    """
    figure, across, up = go.Figure(), COSTS[cost], score_axis(score, data.has_truth)
    peers = [name for name in dict.fromkeys(row.method for row in data.rows) if name not in ("Dense", "SkipVision")]
    looks = {
        name: (palette.PEERS[number % len(palette.PEERS)], SYMBOLS[number % len(SYMBOLS)])
        for number, name in enumerate(peers)
    }
    looks = {"Dense": (palette.INK, "star"), "SkipVision": (palette.SKIP_VISION, "circle"), **looks}
    for method, (color, symbol) in looks.items():
        rows = [row for row in data.rows if row.method == method and None not in (across.of(row), up.of(row))]
        if rows:
            rows.sort(key=lambda row: across.of(row) or 0)
            _add_method(figure, method, rows, (across, up), color, symbol)
    if data.blind is not None and score == "score":
        figure.add_hline(100 * data.blind, line={"color": palette.TEXT, "dash": "dash", "width": 1.5})
    figure.update_xaxes(title_text=across.title, rangemode="tozero", ticksuffix=across.suffix, nticks=6)
    figure.update_yaxes(title_text=up.title, ticksuffix=up.suffix, nticks=7, rangemode="tozero")
    if up.suffix:
        figure.update_yaxes(range=_range_of_shares(figure, data if score == "score" else None))
    style(figure, height=460)
    figure.update_layout(legend={"orientation": "h", "yref": "container", "y": 0, "yanchor": "bottom"})
    return figure.update_layout(showlegend=True, legend_font_size=12)


def _range_of_shares(figure: go.Figure, data: RaceData | None) -> list[float]:
    """From a little below the lowest value to a little above the highest, never a sliver about one value.

    Args:
        data: whose intervals and blind guess are to be seen too.
    """
    values = [value for curve in figure.data for value in curve.y]
    if data is not None:
        ends = [end for row in data.rows for end in (row.low, row.high)]
        values += [100 * end for end in (*ends, data.blind) if end is not None]
    lowest, highest = min(values, default=0), max(values, default=100)
    return [max(0, lowest - 10), min(102, highest + 5)]


def _add_method(
    figure: go.Figure, method: str, rows: list[RaceRow], axes: tuple[Axis, Axis], color: str, symbol: str
) -> None:
    own, (across, up) = method == "SkipVision", axes
    spread = [
        (row.high - row.score, row.score - row.low) for row in rows if row.high is not None and row.low is not None
    ]
    figure.add_scatter(
        x=[across.of(row) for row in rows],
        y=[up.of(row) for row in rows],
        error_y={
            "array": [100 * above for above, _ in spread],
            "arrayminus": [100 * below for _, below in spread],
            "thickness": 1,
            "width": 0,
            "visible": own and up in (ACCURACY, SAME) and len(spread) == len(rows),
        },
        mode="lines+markers",
        line={"color": color, "width": 2.5 if own else 1},
        marker={"symbol": symbol, "size": 11 if own or method == "Dense" else 8, "color": color},
        name=method_name(method),
        customdata=[[row.label, across.text(row), up.text(row)] for row in rows],
        hovertemplate=(
            f"%{{customdata[0]}}<br>{up.short}: %{{customdata[2]}}<br>{across.short}: %{{customdata[1]}}<extra></extra>"
        ),
    )


def method_name(method: str) -> str:
    """A method's class as people call it; one that is gone from the library, as it was written."""
    return METHODS[method].name if method in METHODS else method
