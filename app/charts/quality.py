"""Measured accuracy of a model against FLOPs, from a record of `python -m skipcore.builtin evaluate`."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import plotly.graph_objects as go

from app import ASSETS, palette, wording
from app.charts.chart import style
from app.markup import html_table, keys, paragraph
from app.world import KIND_NAMES
from skipcore import InputError

RECORD = ASSETS / "results" / "quality.json"
COMMAND = "python -m skipcore.builtin evaluate --output assets/results/quality.json"
MARKERS = ("circle", "square", "diamond", "triangle-up")
"""One for each split, so that no curve and no blind guess is known by its color alone."""


@dataclass(frozen=True)
class Score:
    """How one method, or a guesser who does not look, did on one split.

    Attributes:
        name: "Dense", "Skip-Vision 100+156".
        accuracy: share of right answers, 0 to 1.
        by_kind: the same by kind of question; a kind that was not asked is left out.
        flops_ratio: FLOPs of its prefill over dense ones; None where they were not counted.
        num_retained, num_skipped: None for dense.
    """

    name: str
    accuracy: float
    by_kind: dict[str, float]
    flops_ratio: float | None
    num_retained: int | None
    num_skipped: int | None

    @property
    def label(self) -> str:
        """ "dense", "100 + 156" with spaces that do not break."""
        space = "\N{NO-BREAK SPACE}"
        return "dense" if self.num_retained is None else f"{self.num_retained}{space}+{space}{self.num_skipped}"


@dataclass(frozen=True)
class SplitScores:
    """All methods on one split, and a guesser who does not look."""

    name: str
    questions: int
    pictures: int
    blind: Score
    arms: tuple[Score, ...]

    @property
    def curve(self) -> list[Score]:
        """The methods of a chart, the cheapest first: of several with the same counts (other retain rules) the first,
        and none whose FLOPs are not known."""
        first: dict[str, Score] = {}
        for arm in self.arms:
            first.setdefault(arm.label, arm)
        counted = [arm for arm in first.values() if arm.flops_ratio is not None]
        return sorted(counted, key=lambda arm: arm.flops_ratio or 0)

    @property
    def columns(self) -> list[str]:
        """A heading for every method: its label, or its name where an earlier one has that label."""
        labels = [arm.label for arm in self.arms]
        return [arm.name if arm.label in labels[:number] else arm.label for number, arm in enumerate(self.arms)]


@dataclass(frozen=True)
class Quality:
    """A record of one model's accuracy."""

    model: str
    model_sha256: str
    device: str
    versions: str
    date: str
    splits: tuple[SplitScores, ...]


def read_quality(file: Path = RECORD) -> Quality | None:
    """The record, or None where there is none.

    Raises:
        InputError: the file is not such a record.
    """
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        return Quality(
            content["model"],
            content["model_sha256"],
            _device(content["device"]),
            ", ".join(f"{name} {version}" for name, version in content["versions"].items()),
            content["date"],
            tuple(_split(name, values) for name, values in content["splits"].items() if values["arms"]),
        )
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"{file.name} is not a record of accuracy that can be read: write it anew with {COMMAND}."
        ) from error


def _split(name: str, values: dict[str, Any]) -> SplitScores:
    arms = tuple(map(_score, values["arms"]))
    return SplitScores(name, int(values["questions"]), int(values["pictures"]), _score(values["blind"]), arms)


def _score(values: dict[str, Any]) -> Score:
    settings, ratio = values.get("settings", {}), values.get("flops_ratio")
    return Score(
        values.get("name", "blind guess"),
        float(values["accuracy"]),
        {kind: float(share) for kind, share in values["by_kind"].items() if share is not None},
        None if ratio is None else float(ratio),
        settings.get("num_retained"),
        settings.get("num_skipped"),
    )


def _device(device: str | dict[str, Any]) -> str:
    """ "NVIDIA H200, bfloat16", from one name or from a report's device facts."""
    if isinstance(device, str):
        return device
    return ", ".join(str(device[key]) for key in ("name", "dtype") if key in device)


def accuracy_by_flops(quality: Quality) -> go.Figure:
    """One curve a split: share of right answers over prefill FLOPs (both percent); its blind guess as dashed line."""
    figure = go.Figure()
    for number, split in enumerate(quality.splits):
        _add_split(figure, split, number)
    for arm in quality.splits[0].curve if quality.splits else []:
        figure.add_annotation(
            x=100 * (arm.flops_ratio or 0),
            y=1,
            yref="paper",
            yanchor="bottom",
            text=arm.label,
            textangle=-65,
            xanchor="left",
            xshift=-6,
            showarrow=False,
            font={"size": 12},
        )
    figure.update_xaxes(title_text="prefill FLOPs, % of dense", range=[0, 108], ticksuffix="%", nticks=6)
    figure.update_yaxes(ticksuffix="%", nticks=7, range=[_lowest(quality), 101.5])
    return style(figure, height=400, top=70)


def _add_split(figure: go.Figure, split: SplitScores, number: int) -> None:
    arms, name = split.curve, wording.split_name(split.name)
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
    values = [100 * score.accuracy for split in quality.splits for score in (split.blind, *split.arms)]
    return max(0, int(min(values, default=0) - 2) // 10 * 10)


def split_keys(quality: Quality) -> str:
    """A marker for every split."""
    swatches = [
        (f"split-{number % len(MARKERS)}", wording.split_name(split.name))
        for number, split in enumerate(quality.splits)
    ]
    return keys(*swatches, ("blind", "a guess without looking at the picture"))


def quality_table(split: SplitScores) -> str:
    """Accuracy by kind of question (rows) and method (columns), the blind guess last; then what each method costs."""
    scores = [*split.arms, split.blind]
    kinds = dict.fromkeys(kind for score in scores for kind in score.by_kind)
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
    return html_table(["right answers", *split.columns, "blind guess"], rows) + about
