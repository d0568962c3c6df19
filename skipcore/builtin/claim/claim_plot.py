"""The claim as a picture: what a step took, and what was learned by it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from skipcore.builtin.plot_file import DENSE, PATCHES, SKIP, plot_file
from skipcore.errors import InputError

COSTS = {"time_percent": ("time of a step", DENSE), "flops_percent": ("FLOPs of a step", PATCHES)}


def write_claim_plot(record: Path, output: Path) -> None:
    """Draw the record of `claim`: bars of time and FLOPs a step, and of right answers, for each training.

    Args:
        record: the JSON that `claim` wrote.
        output: a file that ends in .svg, .png or .pdf.

    Raises:
        InputError: the record cannot be read, or the picture not be written.
    """
    try:
        result = json.loads(record.read_text())
        arms = result["arms"]
        asked: dict[str, dict[str, float]] = {score["name"]: {} for score in arms[0]["evaluated"]}
        for name, by_arm in asked.items():
            for arm in arms:
                by_arm[arm["title"]] = next(100 * s["accuracy"] for s in arm["evaluated"] if s["name"] == name)
        costs = {label: {arm["title"]: arm[key] for arm in arms} for key, (label, _) in COSTS.items()}
        blind = 100 * result["split"]["blind"]["accuracy"]
    except (OSError, ValueError, KeyError, TypeError, StopIteration) as error:
        raise InputError(f"{record} is no record of `claim`: give the JSON that it wrote.") from error
    with plot_file(output, (9, 3.6)) as figure:
        cost, right = figure.subplots(1, 2)
        _bars(cost, costs, [color for _, color in COSTS.values()])
        cost.set(ylabel="dense = 100")
        _bars(right, asked, [DENSE, SKIP, "#E69F00"])
        right.axhline(blind, color="#777777", linestyle=":", linewidth=1, label="blind guess")
        right.set(ylabel="right answers, %", ylim=(0, 100))
        for axes in (cost, right):
            axes.legend(frameon=False, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2)


def _bars(axes: Any, groups: dict[str, dict[str, float]], colors: list[str]) -> None:
    """A group of bars for each training, each bar with its value above."""
    width = 0.8 / len(groups)
    for number, ((label, values), color) in enumerate(zip(groups.items(), colors, strict=True)):
        places = [place + (number - (len(groups) - 1) / 2) * width for place in range(len(values))]
        bars = axes.bar(places, list(values.values()), width=0.92 * width, color=color, label=label)
        axes.bar_label(bars, fmt="%.0f", fontsize=8)
    axes.set_xticks(range(len(values)), list(values))
