"""How every chart looks: transparent, few lines, text in the color of the page (theme.css sees to that)."""

from __future__ import annotations

from textwrap import wrap
from typing import Any

import plotly.graph_objects as go

from app import palette

GRID = "rgba(128, 132, 140, 0.22)"

HATCH: dict[str, Any] = {
    "color": "rgba(128, 132, 140, 0.10)",
    "line": {"width": 0},
    "pattern": {"shape": "/", "fgcolor": palette.NO_FFN, "size": 7, "solidity": 0.18, "fillmode": "overlay"},
}


def style(figure: go.Figure, height: int, top: int = 28) -> go.Figure:
    """Give a figure the look of the product; `top` leaves room for titles."""
    figure.update_layout(
        template="none",
        height=height,
        margin={"l": 44, "r": 8, "t": top, "b": 8},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        font={"family": "IBM Plex Sans, system-ui, sans-serif", "size": 13},
        showlegend=False,  # the key stands above the chart, as HTML that wraps on narrow screens
        hoverlabel={"bgcolor": "#22252B", "bordercolor": "#22252B", "font": {"color": "#FFFFFF", "size": 12}},
        uirevision="kept",
        dragmode=False,
    )
    figure.update_xaxes(gridcolor=GRID, zeroline=False, linecolor=GRID, automargin=True, fixedrange=True)
    figure.update_xaxes(title_font_size=12, tickfont_size=12)
    figure.update_yaxes(title_font_size=12, tickfont_size=12)
    figure.update_yaxes(gridcolor=GRID, zeroline=False, linecolor=GRID, automargin=True, fixedrange=True)
    return figure


def title(figure: go.Figure, text: str, x: float, y: float) -> None:
    """The name of one of several plots, over its left corner (in shares of the figure)."""
    figure.add_annotation(
        text=text, x=x, y=y, xref="paper", yref="paper", xanchor="left", yanchor="bottom", align="left", showarrow=False
    )


def wrapped(name: str) -> str:
    """The name of an arm in lines that fit beside or above a small plot."""
    return "<br>".join(wrap(name, 20, break_on_hyphens=False))
