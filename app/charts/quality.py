"""Measured accuracy of a model against FLOPs, from a record of `python -m skipcore.builtin evaluate`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import plotly.graph_objects as go

from app import ASSETS, palette, wording
from app.charts.chart import style
from app.markup import html_table, keys, paragraph
from app.world import KIND_NAMES
from skipcore.builtin.evaluation.quality_record import Accuracy, ArmScore, Quality, SplitQuality
from skipcore.typed import read_json

RECORD = ASSETS / "results" / "quality.json"
COMMAND = "python -m skipcore.builtin evaluate --output assets/results/quality.json"
MARKERS = ("circle", "square", "diamond", "triangle-up")
"""One for each split, so that no curve and no blind guess is known by its color alone."""


def read_quality(file: Path = RECORD) -> Quality | None:
    """The record, with the splits that were asked under some method; None where there is none.

    Raises:
        InputError: the file is not such a record.
    """
    if not file.exists():
        return None
    quality = read_json(Quality, file, f"a record of accuracy: write it again with {COMMAND}")
    return replace(quality, splits={name: split for name, split in quality.splits.items() if split.arms})


def label_of(arm: ArmScore) -> str:
    """ "dense", "100 + 156" with spaces that do not break."""
    kept, skipped, space = arm.settings.get("num_retained"), arm.settings.get("num_skipped"), "\N{NO-BREAK SPACE}"
    return "dense" if kept is None else f"{kept}{space}+{space}{skipped}"


def curve_of(split: SplitQuality) -> list[ArmScore]:
    """The methods of a chart, the cheapest first: of several with the same counts (other retain rules) the first, and
    none whose FLOPs are not known."""
    first: dict[str, ArmScore] = {}
    for arm in split.arms:
        first.setdefault(label_of(arm), arm)
    return sorted((arm for arm in first.values() if arm.flops_ratio is not None), key=lambda arm: arm.flops_ratio or 0)


def columns_of(split: SplitQuality) -> list[str]:
    """A heading for every method: its label, or its name where an earlier one has that label."""
    labels = [label_of(arm) for arm in split.arms]
    return [
        arm.name if label in labels[:number] else label
        for number, (arm, label) in enumerate(zip(split.arms, labels, strict=True))
    ]


def accuracy_by_flops(quality: Quality) -> go.Figure:
    """One curve a split: share of right answers over prefill FLOPs (both percent); its blind guess as dashed line."""
    figure = go.Figure()
    for number, (name, split) in enumerate(quality.splits.items()):
        _add_split(figure, name, split, number)
    for arm in curve_of(next(iter(quality.splits.values()))) if quality.splits else []:
        figure.add_annotation(
            x=100 * (arm.flops_ratio or 0),
            y=1,
            yref="paper",
            yanchor="bottom",
            text=label_of(arm),
            textangle=-65,
            xanchor="left",
            xshift=-6,
            showarrow=False,
            font={"size": 12},
        )
    figure.update_xaxes(title_text="prefill FLOPs, % of dense", range=[0, 108], ticksuffix="%", nticks=6)
    figure.update_yaxes(ticksuffix="%", nticks=7, range=[_lowest(quality), 101.5])
    return style(figure, height=400, top=70)


def _add_split(figure: go.Figure, split_name: str, split: SplitQuality, number: int) -> None:
    arms, name = curve_of(split), wording.split_name(split_name)
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
        y=[100 * arm.accuracy for arm in arms],
        mode="lines+markers",
        line={"color": color, "width": 2},
        marker={"symbol": symbol, "size": 10, "color": color},
        name=name,
        customdata=[[arm.name, round(arm.accuracy * split.questions), split.questions] for arm in arms],
        hovertemplate=(
            f"{name}, %{{customdata[0]}}<br>%{{y:.1f}}% right: %{{customdata[1]:,}} of %{{customdata[2]:,}} questions"
            "<br>%{x:.1f}% of the dense FLOPs<extra></extra>"
        ),
    )


def _lowest(quality: Quality) -> int:
    """The end of the axis: the next ten below the lowest value."""
    splits = quality.splits.values()
    shares = [share for split in splits for share in (split.blind.accuracy, *(arm.accuracy for arm in split.arms))]
    values = [100 * share for share in shares]
    return max(0, int(min(values, default=0) - 2) // 10 * 10)


def split_keys(quality: Quality) -> str:
    """A marker for every split."""
    swatches = [
        (f"split-{number % len(MARKERS)}", wording.split_name(name)) for number, name in enumerate(quality.splits)
    ]
    return keys(*swatches, ("blind", "a guess without looking at the picture"))


def quality_table(split: SplitQuality) -> str:
    """Accuracy by kind of question (rows) and method (columns), the blind guess last; then what each method costs."""
    scores: list[ArmScore | Accuracy] = [*split.arms, split.blind]
    kinds = dict.fromkeys(kind for score in scores for kind, share in score.by_kind.items() if share is not None)
    ordered = [kind for kind in KIND_NAMES if kind in kinds] + [kind for kind in kinds if kind not in KIND_NAMES]
    rows = [["all questions", *(wording.accuracy(score.accuracy) for score in scores)]]
    rows += [
        [KIND_NAMES.get(kind, kind), *(wording.accuracy(score.by_kind.get(kind)) for score in scores)]
        for kind in ordered
    ]
    ratios = (arm.flops_ratio for arm in split.arms)
    costs = (wording.NOT_AVAILABLE if ratio is None else wording.accuracy(ratio) for ratio in ratios)
    rows.append(["prefill FLOPs, of dense", *costs, "–"])
    asked = f"{split.questions:,} questions about {split.pictures:,} pictures"
    about = paragraph(f"{asked}; retained + skipped tokens of each picture.", "hint")
    return html_table(["right answers", *columns_of(split), "blind guess"], rows) + about
