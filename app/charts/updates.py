"""Chart of the FFN update: its medians by role."""

from __future__ import annotations

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from app import palette
from app.charts.medians import Medians, medians_of
from app.charts.style import style, title, wrapped
from profiling import Report


def update_medians(report: Report) -> go.Figure | None:
    """Median FFN update by layer of retained, skipped, merged, dropped and text tokens, one plot for each arm.
    None where nothing was recorded."""
    tables = [(arm, medians) for arm in report.arms if (medians := medians_of(report, arm)) is not None]
    if not tables:
        return None
    figure = make_subplots(
        rows=1,
        cols=len(tables),
        shared_yaxes=True,
        horizontal_spacing=0.06,
    )
    for number, (arm, medians) in enumerate(tables, start=1):
        _add_medians(figure, medians, number)
        title(figure, wrapped(arm.name), x=(number - 1) * 1.06 / len(tables), y=1.01)
    figure.update_yaxes(type="log", dtick="D2", tickformat="~g")  # the text's update is many times the pictures'
    lines = max(wrapped(arm.name).count("<br>") for arm, _ in tables)
    return style(figure, height=290, top=28 + 18 * lines)


def _add_medians(figure: go.Figure, medians: Medians, column: int) -> None:
    styles = {
        "retained": (palette.RETAINED, "solid", "circle"),
        "skipped": (palette.SKIPPED, "dash", "square-open"),
        "merged": (palette.MERGED, "dot", "x"),
        "dropped": (palette.DROPPED, "dashdot", "triangle-up"),
        "text": (palette.TEXT, "solid", "diamond"),
    }
    for name, values in medians.items():
        if np.isnan(values).all():  # no FFN ran: there is nothing to draw
            continue
        color, dash, symbol = styles[name]
        figure.add_scatter(
            x=np.arange(1, len(values) + 1),
            y=values,
            mode="lines+markers",
            line={"color": color, "dash": dash, "width": 2},
            marker={"symbol": symbol, "size": 8, "color": color},
            name=name,
            hovertemplate=f"{name}, layer %{{x}}: %{{y:.3f}}<extra></extra>",
            row=1,
            col=column,
        )
    figure.update_xaxes(title_text="layer", dtick=max(1, len(values) // 8), showgrid=False, row=1, col=column)
