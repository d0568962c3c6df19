"""The Pareto picture: score against FLOPs, a panel for each data set."""

from __future__ import annotations

from pathlib import Path

from profiling.race.results import OWN, DataResult, RaceResult, Row
from skipcore import METHODS
from skipcore.builtin.plot_file import plot_file

# Colors of Okabe and Ito, which color-blind people can distinguish; each with a marker, so that no method is known by
# its color alone.
OWN_COLOR = "#009E73"
COLORS = ("#E69F00", "#56B4E9", "#0072B2", "#D55E00", "#CC79A7", "#7F7F7F")
MARKERS = ("o", "s", "^", "v", "D", "P", "X", "<", ">", "p", "*", "d", "h", "x", "1", "H", "8", "2", "3")


def write_race_plot(race: RaceResult, output: Path) -> None:
    """Draw it.

    Args:
        output: a file that ends in .svg, .png or .pdf.

    Raises:
        InputError: matplotlib is not installed, or the picture cannot be written.
    """
    width = len(race.data)
    with plot_file(output, (5 * width + 2.2, 4.4)) as figure:
        panels = figure.subplots(1, width, squeeze=False)[0]
        for axes, data in zip(panels, race.data, strict=True):
            _draw(axes, data)
        handles, labels = panels[-1].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside right center", frameon=False)


def _draw(axes, data: DataResult) -> None:
    axes.set_title(f"{data.name}: {data.asked:,} questions", loc="left", fontsize=9)
    front = sorted((row for row in data.rows if row.on_front), key=lambda row: row.flops)
    flops, scores = _points(front)
    axes.step(
        [*flops, 100],
        [*scores, scores[-1]],
        where="post",
        color="#B0B0B0",
        linewidth=5,
        alpha=0.5,
        label="Pareto front",
    )
    if data.blind is not None:
        axes.axhline(100 * data.blind, color="#777777", linestyle=":", linewidth=1, label="blind guess")
    axes.scatter(*_points([data.dense]), marker="*", s=130, color="black", label="Dense", zorder=3)
    for method in METHODS:
        rows = sorted((row for row in data.rows if row.method == method), key=lambda row: row.flops)
        if rows and method != "Dense":
            _draw_method(axes, method, rows)
    axes.set(xlabel="prefill FLOPs, % of dense", xlim=(0, 105))
    axes.set_ylabel("right answers, %" if data.has_truth else "answers as the dense model, %")


def _draw_method(axes, method: str, rows: list[Row]) -> None:
    own = method == OWN
    color, marker = style_of(method)
    errors = [[100 * (row.score - row.low) for row in rows], [100 * (row.high - row.score) for row in rows]]
    axes.errorbar(
        *_points(rows),
        yerr=errors if own else None,
        color=color,
        marker=marker,
        markersize=8 if own else 6,
        linewidth=2.2 if own else 0.9,
        elinewidth=0.8,
        zorder=4 if own else 2,
        label=METHODS[method].name,
    )


def style_of(method: str) -> tuple[str, str]:
    """Color and marker, the same in every race."""
    if method == OWN:
        return OWN_COLOR, MARKERS[0]
    number = [name for name in METHODS if name not in (OWN, "Dense")].index(method)
    return COLORS[number % len(COLORS)], MARKERS[1 + number % (len(MARKERS) - 1)]


def _points(rows: list[Row]) -> tuple[list[float], list[float]]:
    return [100 * row.flops for row in rows], [100 * row.score for row in rows]
