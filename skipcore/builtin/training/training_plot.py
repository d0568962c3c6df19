"""The log of a run as a picture: losses above, shares of right answers below, over the steps of all stages."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from skipcore.builtin.plot_file import DENSE, PATCHES, SKIP, plot_file
from skipcore.errors import InputError
from skipcore.json_lines import read_lines

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LOSSES = {
    "loss_dense": ("answers, dense", DENSE, "-"),
    "loss_skip": ("answers, Skip-Vision", SKIP, "-"),
    "loss_patches": ("patches", PATCHES, "-"),
}
SHARES = {
    "right_dense_scenes": ("scenes, dense", DENSE, "-"),
    "right_skip_scenes": ("scenes, Skip-Vision", SKIP, "-"),
    "right_dense_easy_vqa": ("easy-VQA, dense", DENSE, "--"),
    "right_skip_easy_vqa": ("easy-VQA, Skip-Vision", SKIP, "--"),
    "right_dense_easy_drawn": ("easy, freshly drawn, dense", DENSE, ":"),
    "right_skip_easy_drawn": ("easy, freshly drawn, Skip-Vision", SKIP, ":"),
    "patches_right": ("patches named", PATCHES, "-"),
}


@dataclass(frozen=True)
class Curves:
    """What a log tells.

    Attributes:
        stages: name and first step of each stage, steps counted over all stages.
        last_step: the last step in the log.
        points: (step, value) of each measured name, in order.
    """

    stages: tuple[tuple[str, int], ...]
    last_step: int
    points: dict[str, list[tuple[int, float]]] = field(default_factory=dict)


def read_log(log: Path) -> Curves:
    """The curves in the log of a run (see `progress`). Steps done again after a kill count once.

    Raises:
        InputError: there is no such log, or nothing in it.
    """
    lines = [line for line in read_lines(log) if {"stage", "step", "steps"} <= set(line)]
    if not lines:
        raise InputError(f"The log {log} holds no steps yet. Train some steps first.")
    lengths = {line["stage"]: line["steps"] for line in lines}
    starts, total = {}, 0
    for stage, length in lengths.items():
        starts[stage] = total
        total += length
    latest = {starts[line["stage"]] + line["step"]: line for line in lines}
    points: dict[str, list[tuple[int, float]]] = {}
    for step, line in sorted(latest.items()):
        for name, value in line.items():
            if name in LOSSES or name in SHARES:
                points.setdefault(name, []).append((step, value))
    return Curves(tuple(starts.items()), max(latest), points)


def write_plot(log: Path, output: Path) -> None:
    """Draw the log of a run.

    Args:
        log: the JSON lines that `Progress` wrote.
        output: a file that ends in .svg, .png or .pdf; its folder is made where it is missing.

    Raises:
        InputError: the log is missing or empty, or the picture cannot be written.
    """
    curves = read_log(log)
    with plot_file(output, (9, 6)) as figure:
        from matplotlib.ticker import LogLocator, NullFormatter

        losses, shares = figure.subplots(2, sharex=True)
        _draw_curves(losses, curves, LOSSES)
        _draw_curves(shares, curves, SHARES)
        losses.set(ylabel="loss", yscale="log")
        losses.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        losses.yaxis.set_major_formatter("{x:g}")
        losses.yaxis.set_minor_formatter(NullFormatter())
        shares.set(ylabel="share right", ylim=(0, 1), xlabel="step", xlim=(0, curves.last_step))
        for name, start in curves.stages:
            losses.text(start, 1.01, f" {name}", transform=losses.get_xaxis_transform(), va="bottom", color="#555555")


def _draw_curves(axes: Axes, curves: Curves, kinds: dict[str, tuple[str, str, str]]) -> None:
    """Every measured curve of these kinds, broken at the borders of the stages."""
    borders = [start for _, start in curves.stages[1:]]
    for start in borders:
        axes.axvline(start, color="#999999", linewidth=0.8)
    for name, (label, color, line) in kinds.items():
        if points := curves.points.get(name):
            marker = "o" if len(points) == 1 else None
            gaps = [(start + 0.5, math.nan) for start in borders]
            steps, values = zip(*sorted([*points, *gaps]), strict=True)
            axes.plot(steps, values, color=color, linestyle=line, linewidth=1.4, marker=marker, label=label)
    axes.grid(axis="y", color="#e5e5e5", linewidth=0.6)
    axes.set_axisbelow(True)
    if axes.get_legend_handles_labels()[1]:
        axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
