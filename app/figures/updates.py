"""Charts of the FFN update: of every place in every layer, and its medians by role."""

from __future__ import annotations

from itertools import groupby

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from app import palette
from app.figures.style import HATCH, style, title, wrapped
from app.medians import Medians, medians_of
from app.overlay import common_scale, share_of_scale
from profiling import Report
from skipcore import Role, Trace

ROLE_NAMES = {Role.TEXT: "text", Role.RETAINED: "retained", Role.SUMMARY: "summary", Role.SKIPPED: "skipped"}


def update_map(report: Report) -> go.Figure | None:
    """Heat map of the FFN update, layer × place in the decoder's sequence, one for each arm, with a strip of roles.
    None where nothing was recorded."""
    arms = [arm for arm in report.arms if arm.trace.ffn_update is not None]
    if not arms:
        return None
    figure = make_subplots(rows=2 * len(arms), cols=1)
    share = 1 / len(arms)
    scale = common_scale([arm.trace for arm in arms])
    for number, arm in enumerate(arms):
        top = 1 - number * share
        _add_role_strip(figure, arm.trace, 2 * number + 1)
        _add_update_rows(figure, arm.trace, 2 * number + 2, scale)
        figure.update_yaxes(domain=[top - 0.12 * share, top - 0.05 * share], row=2 * number + 1, col=1)
        figure.update_yaxes(domain=[top - 0.80 * share, top - 0.15 * share], row=2 * number + 2, col=1)
        title(figure, arm.name, x=0, y=top - 0.04 * share)
    figure.update_layout(
        coloraxis={
            "cmin": 0,
            "cmax": 1,
            "colorscale": list(palette.RAMP),
            "showscale": False,
        },
        bargap=0,
        barmode="overlay",
    )
    return style(figure, height=36 + 196 * len(arms), top=8)


def _add_role_strip(figure: go.Figure, trace: Trace, row: int) -> None:
    for role, name in ROLE_NAMES.items():
        runs = [run for run in _runs(trace.slot_role.numpy()) if run[0] == role]
        if not runs:
            continue
        figure.add_bar(
            x=[(start + stop - 1) / 2 for _, start, stop in runs],
            y=[1] * len(runs),
            width=[stop - start for _, start, stop in runs],
            marker={"color": palette.ROLES[role], "line": {"width": 0}},
            name=name,
            hovertext=[f"{name}: {stop - start} places, {start} to {stop - 1}" for _, start, stop in runs],
            hoverinfo="text",
            row=row,
            col=1,
        )
    slots = len(trace.slot_role)
    figure.update_xaxes(visible=False, range=[-0.5, slots - 0.5], row=row, col=1)
    figure.update_yaxes(visible=False, range=[0, 1], row=row, col=1)


def _add_update_rows(figure: go.Figure, trace: Trace, row: int, scale: tuple[float, float]) -> None:
    assert trace.ffn_update is not None
    update = trace.ffn_update.float().numpy()
    layers, slots = update.shape
    figure.add_heatmap(
        z=share_of_scale(update, scale).astype(np.float32),
        customdata=update,
        x=np.arange(slots),
        y=np.arange(1, layers + 1),
        coloraxis="coloraxis",
        hovertemplate="place %{x}, layer %{y}<br>FFN update %{customdata:.3f}<extra></extra>",
        hoverongaps=False,
        row=row,
        col=1,
    )
    no_ffn = (trace.entered & ~trace.ran_ffn).numpy()  # what is gone is left empty
    gaps = [(layer, start, stop) for layer in range(layers) for skips, start, stop in _runs(no_ffn[layer]) if skips]
    if gaps:
        figure.add_bar(
            x=[(start + stop - 1) / 2 for _, start, stop in gaps],
            y=[1] * len(gaps),
            base=[layer + 0.5 for layer, _, _ in gaps],
            width=[stop - start for _, start, stop in gaps],
            marker=HATCH,
            name="no FFN",
            hovertext=[f"layer {layer + 1}: no FFN at places {start} to {stop - 1}" for layer, start, stop in gaps],
            hoverinfo="text",
            row=row,
            col=1,
        )
    figure.update_xaxes(range=[-0.5, slots - 0.5], showgrid=False, row=row, col=1)
    figure.update_yaxes(
        title_text="layer", range=[layers + 0.5, 0.5], showgrid=False, dtick=max(1, layers // 8), row=row, col=1
    )


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
        colour, dash, symbol = styles[name]
        figure.add_scatter(
            x=np.arange(1, len(values) + 1),
            y=values,
            mode="lines+markers",
            line={"color": colour, "dash": dash, "width": 2},
            marker={"symbol": symbol, "size": 8, "color": colour},
            name=name,
            hovertemplate=f"{name}, layer %{{x}}: %{{y:.3f}}<extra></extra>",
            row=1,
            col=column,
        )
    figure.update_xaxes(title_text="layer", dtick=max(1, len(values) // 8), showgrid=False, row=1, col=column)


def _runs(values: np.ndarray) -> list[tuple[int, int, int]]:
    """(value, start, stop) of each stretch of equal values."""
    runs, start = [], 0
    for value, group in groupby(values.tolist()):
        stop = start + len(list(group))
        runs.append((value, start, stop))
        start = stop
    return runs
