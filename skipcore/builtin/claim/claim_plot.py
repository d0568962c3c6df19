"""The claim as a picture: what a step took, and what was learned by it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from skipcore.builtin.claim.claim_record import Claim
from skipcore.builtin.plot_file import DENSE, PATCHES, SKIP, plot_file
from skipcore.typed import read_json

COSTS = {"time_percent": ("time of a step", DENSE), "flops_percent": ("FLOPs of a step", PATCHES)}


def write_claim_plot(record: Path, output: Path) -> None:
    """Draw the record of `claim`: bars of time and FLOPs a step, and of right answers, for each training.

    Args:
        record: the JSON that `claim` wrote.
        output: a file that ends in .svg, .png or .pdf.

    Raises:
        InputError: the record cannot be read, or the picture not be written.
    """
    claim = read_json(Claim, record, "a record of `claim`: give the JSON that it wrote")
    names = [score.name for score in claim.arms[0].evaluated]
    asked = {
        name: {
            arm.title: next(100 * each.accuracy for each in arm.evaluated if each.name == name) for arm in claim.arms
        }
        for name in names
    }
    costs = {label: {arm.title: getattr(arm, name) for arm in claim.arms} for name, (label, _) in COSTS.items()}
    blind = 100 * claim.split.blind.accuracy
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
