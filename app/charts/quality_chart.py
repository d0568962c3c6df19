"""Chart of accuracy against FLOPs."""

from __future__ import annotations

import plotly.graph_objects as go

from app import palette
from app.charts.quality import Quality, SplitScores
from app.charts.style import style
from app.wording import split_name

MARKERS = ("circle", "square", "diamond", "triangle-up")
"""One for each split, so that no curve and no blind guess is known by its color alone."""


def accuracy_by_flops(quality: Quality) -> go.Figure:
    """One curve a split: share of right answers over prefill FLOPs (both percent); its blind guess as dashed line."""
    figure = go.Figure()
    for number, split in enumerate(quality.splits):
        _add_split(figure, split, number)
    for arm in quality.splits[0].curve if quality.splits else []:
        figure.add_annotation(
            x=100 * (arm.flops_ratio or 0),
            y=1,
            yref="paper",
            yanchor="bottom",
            text=arm.label,
            textangle=-65,
            xanchor="left",
            xshift=-6,
            showarrow=False,
            font={"size": 12},
        )
    figure.update_xaxes(title_text="prefill FLOPs, % of dense", range=[0, 108], ticksuffix=" %", nticks=6)
    figure.update_yaxes(ticksuffix=" %", nticks=7, range=[_lowest(quality), 101.5])
    return style(figure, height=400, top=70)


def _add_split(figure: go.Figure, split: SplitScores, number: int) -> None:
    arms, name = split.curve, split_name(split.name)
    color, symbol = palette.split_color(number), MARKERS[number % len(MARKERS)]
    figure.add_scatter(
        x=[0, 50 + 10 * number, 108],
        y=[100 * split.blind.accuracy] * 3,
        mode="lines+markers",
        line={"color": color, "dash": "dash", "width": 1.5},
        marker={"symbol": f"{symbol}-open", "size": [0, 9, 0], "color": color},  # one, beside those of other splits
        name=f"{name}: blind guess",
        hovertemplate=f"{name}: a blind guess is right in %{{y:.1f}}%<extra></extra>",
    )
    figure.add_scatter(
        x=[100 * (arm.flops_ratio or 0) for arm in arms],
        y=[100 * arm.score.accuracy for arm in arms],
        mode="lines+markers",
        line={"color": color, "width": 2},
        marker={"symbol": symbol, "size": 10, "color": color},
        name=name,
        customdata=[[arm.name, round(arm.score.accuracy * split.questions), split.questions] for arm in arms],
        hovertemplate=(
            f"{name}, %{{customdata[0]}}<br>%{{y:.1f}}% right: %{{customdata[1]:,}} of %{{customdata[2]:,}} questions"
            "<br>%{x:.1f}% of the dense FLOPs<extra></extra>"
        ),
    )


def _lowest(quality: Quality) -> int:
    """The end of the axis: the next ten below the lowest value."""
    values = [
        100 * score.accuracy for split in quality.splits for score in (split.blind, *(arm.score for arm in split.arms))
    ]
    return max(0, int(min(values, default=0) - 2) // 10 * 10)
