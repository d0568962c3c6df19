"""What every chart of a report has, and how it looks: transparent, few lines, text in the color of the page
(theme.css sees to that)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from textwrap import wrap
from typing import Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from app import palette
from profiling import Report

GRID = "rgba(128, 132, 140, 0.22)"
DASHES = ("solid", "dash", "dot", "dashdot", "longdash")
"""One for each arm, so that no line is known by its color alone."""


@dataclass(frozen=True)
class Chart:
    """One chart of a report and what stands around it, each made from the report alone.

    Attributes:
        name: the `elem_id` of the figure, and the beginning of those of finding and table.
        title: the heading above.
        figure: None where the report has nothing to draw.
        key: HTML between heading and figure.
        finding: what the figure shows in a sentence, plain text.
        table: the values as HTML.
        finding_class: of the finding's paragraph in theme.css.
    """

    name: str
    title: str
    figure: Callable[[Report], go.Figure | None]
    key: Callable[[Report], str] | None = None
    finding: Callable[[Report], str] | None = None
    table: Callable[[Report], str] | None = None
    finding_class: str = "finding"


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


def plots(titles: Sequence[str], spacing: float, y: float, **options: Any) -> go.Figure:
    """Plots in a row, each under its title.

    Args:
        spacing: between two plots, as a share of the figure's width.
        y: of the titles, as a share of the height of the plots.
        options: of `make_subplots`.
    """
    figure = make_subplots(rows=1, cols=len(titles), horizontal_spacing=spacing, **options)
    for number, text in enumerate(titles):
        title(figure, text, x=number * (1 + spacing) / len(titles), y=y)
    return figure


def title(figure: go.Figure, text: str, x: float, y: float) -> None:
    """The name of one of several plots, over its left corner (in shares of the figure)."""
    figure.add_annotation(
        text=text, x=x, y=y, xref="paper", yref="paper", xanchor="left", yanchor="bottom", align="left", showarrow=False
    )


def wrapped(name: str) -> str:
    """The name of an arm in lines that fit beside or above a small plot."""
    return "<br>".join(wrap(name, 20, break_on_hyphens=False))


def arm_line(number: int) -> dict[str, Any]:
    """The line of a report's arm: its color and its dash."""
    return {"color": palette.arm_color(number), "width": 2, "dash": DASHES[number % len(DASHES)]}


def layer_axis(figure: go.Figure, layers: int, **where: Any) -> None:
    """Label the horizontal axis with some of the layers, counted from 1."""
    figure.update_xaxes(title_text="layer", dtick=max(1, layers // 8), showgrid=False, **where)
