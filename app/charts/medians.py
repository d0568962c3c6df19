"""Median FFN update by layer and by role of the token."""

from __future__ import annotations

import numpy as np
import plotly.graph_objects as go

from app import palette
from app.charts.chart import Chart, layer_axis, plots, style, wrapped
from app.markup import keys, layer_table
from app.tokens.token_states import State, token_states
from profiling import Arm, Report
from skipcore import Role, Trace

Medians = dict[str, np.ndarray]
LOOKS = {
    "retained": (palette.RETAINED, "solid", "circle"),
    "skipped": (palette.SKIPPED, "dash", "square-open"),
    "merged": (palette.MERGED, "dot", "x"),
    "dropped": (palette.DROPPED, "dashdot", "triangle-up"),
    "text": (palette.TEXT, "solid", "diamond"),
}
"""Color, dash and marker of each group."""
NOT_RECORDED = "The FFN update is not available: it was not recorded."


def medians_of(report: Report, arm: Arm) -> Medians | None:
    """Median FFN update of an arm in each layer, for "retained", "skipped", "merged", "dropped" and "text" tokens.

    The report's last arm decides which tokens these are, so that the dense arm shows how much the tokens that a method
    skips or drops would have been changed. NaN where no FFN ran; None where nothing was recorded.
    """
    trace = arm.trace
    if trace.ffn_update is None:
        return None
    update = trace.of_tokens(trace.ffn_update.float(), np.nan).numpy()
    medians = {name: _median(update[:, tokens]) for name, tokens in _groups(report.arms[-1].trace).items()}
    medians["text"] = _median(trace.ffn_update[:, trace.slot_role == Role.TEXT].float().numpy())
    return medians


def _groups(trace: Trace) -> dict[str, np.ndarray]:
    """Names of the groups that have members, with their original tokens as booleans [N]."""
    states, role = token_states(trace), trace.role.numpy()
    dropped = states.state[-1] == State.DROPPED
    stays = ~dropped & ~states.merged
    groups = {
        "retained": stays & (role == Role.RETAINED),
        "skipped": stays & (role == Role.SKIPPED),
        "merged": states.merged & ~dropped,
        "dropped": dropped,
    }
    return {name: tokens for name, tokens in groups.items() if tokens.any()}


def _median(values: np.ndarray) -> np.ndarray:
    """[layers, tokens] → [layers], over the tokens whose FFN ran."""
    return np.array([np.median(row[np.isfinite(row)]) if np.isfinite(row).any() else np.nan for row in values])


def update_medians(report: Report) -> go.Figure | None:
    """One plot for each arm, in it a line for retained, skipped, merged, dropped and text tokens. None where nothing
    was recorded."""
    found = {wrapped(arm.name): medians for arm in report.arms if (medians := medians_of(report, arm)) is not None}
    if not found:
        return None
    figure = plots(list(found), spacing=0.06, y=1.01, shared_yaxes=True)
    for column, medians in enumerate(found.values(), start=1):
        _add_medians(figure, medians, column)
    figure.update_yaxes(type="log", dtick="D2", tickformat="~g")  # the text's update is many times the pictures'
    lines = max(name.count("<br>") for name in found)
    return style(figure, height=290, top=28 + 18 * lines)


def _add_medians(figure: go.Figure, medians: Medians, column: int) -> None:
    for name, values in medians.items():
        if np.isnan(values).all():  # no FFN ran: there is nothing to draw
            continue
        color, dash, symbol = LOOKS[name]
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
    layer_axis(figure, len(values), row=1, col=column)


def medians_key(report: Report) -> str:
    """The key to the medians: the groups that occur."""
    return keys(*((f"{name}-line", name) for name in medians_of(report, report.arms[0]) or {}))


def medians_sentence(report: Report) -> str:
    """What the medians of the dense run say about the tokens that a method treats unlike others."""
    medians = medians_of(report, report.arms[0])
    if medians is None:
        return NOT_RECORDED
    name = report.arms[-1].name
    groups = [(group, values.mean()) for group, values in medians.items() if group != "text"]
    if len(groups) < 2:
        return f"{name} treats all visual tokens alike, so there are no medians to set side by side."
    (first, update), *others = groups
    rest = ", ".join(f"{group} ones by {update:.3f}" for group, update in others)
    return (
        f"Averaged over the layers of the dense run, the FFN changes tokens that are {first} with {name} by "
        f"{update:.3f} of their size, {rest}."
    )


def medians_table(report: Report) -> str:
    """Median FFN update by layer, arm and group; a dash where all of them are dropped."""
    columns = [
        (f"{arm.name}: {group}", [_cell(group, value) for value in values.tolist()])
        for arm in report.arms
        for group, values in (medians_of(report, arm) or {}).items()
    ]
    return layer_table(*columns) if columns else f"<p>{NOT_RECORDED}</p>"


def _cell(group: str, median: float) -> str:
    if np.isnan(median):
        return "–" if group == "dropped" else "no FFN"
    return f"{median:.3f}"


MEDIANS = Chart("medians", "Median FFN update by role", update_medians, medians_key, medians_sentence, medians_table)
