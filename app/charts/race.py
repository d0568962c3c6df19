"""Methods against what they cost: the race at equal FLOPs, read from what `python -m profiling race-report` wrote, and
the trade-off of a visitor's own settings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path

import plotly.graph_objects as go

from app import palette, wording
from app.charts.chart import style
from app.markup import html_table, paragraph
from profiling.race.results import Cost, RaceResult, Row
from skipcore import METHODS
from skipcore.typed import read_json

COMMAND = "python -m profiling race"


@dataclass(frozen=True)
class RaceRow:
    """One method at one budget.

    Attributes:
        method: its class; those of one class are a curve.
        label: with its settings.
        budget: share of the dense prefill FLOPs that was wanted; None for dense.
        flops: share reached.
        is_at_budget: whether that is as good as the budget.
        score, low, high: share of right answers (or of answers equal to the dense model's), and its 95% interval,
            None for a single question.
        kl, top1: agreement with the dense model: KL in nats, and the share of next tokens found likeliest by both.
        prefill_time, kv_bytes: over the dense ones. These four are None where they were not measured.
        ahead, ahead_interval: score beyond Skip-Vision's at the same budget, question by question, and its 95%
            interval; None where they are not compared.
    """

    method: str
    label: str
    budget: float | None
    flops: float
    is_at_budget: bool
    score: float
    low: float | None
    high: float | None
    kl: float | None = None
    top1: float | None = None
    prefill_time: float | None = None
    kv_bytes: float | None = None
    ahead: float | None = None
    ahead_interval: float | None = None

    @property
    def is_beyond_chance(self) -> bool:
        """Whether the difference from Skip-Vision is larger than its interval."""
        return self.ahead is not None and self.ahead_interval is not None and abs(self.ahead) > self.ahead_interval


@dataclass(frozen=True)
class RaceData:
    """All methods on one data set.

    Attributes:
        blind: share of right answers of a guess without looking; None where answers are neither right nor wrong.
        sentences: one for each budget, who is ahead of Skip-Vision and who is behind.
    """

    name: str
    has_truth: bool
    blind: float | None
    rows: tuple[RaceRow, ...]
    sentences: tuple[str, ...]


def read_race(file: Path) -> RaceResult | None:
    """The record, or None where there is none.

    Raises:
        InputError: the file is not such a record.
    """
    return (
        read_json(RaceResult, file, f"the record of a race: write it again with {COMMAND}") if file.exists() else None
    )


def data_of(race: RaceResult) -> list[RaceData]:
    """What charts and tables show of a race."""
    return [
        RaceData(
            data.name,
            data.has_truth,
            data.blind,
            tuple(_row(row, data.dense.cost) for row in data.rows),
            tuple(race.sentences[data.name].values()),
        )
        for data in race.data
    ]


def _row(row: Row, dense: Cost | None) -> RaceRow:
    same = {field.name for field in fields(RaceRow)} & vars(row).keys()
    return RaceRow(
        **{name: getattr(row, name) for name in same},
        prefill_time=None if row.cost is None else row.cost.prefill_ratio,
        kv_bytes=None if row.cost is None or dense is None else row.cost.kv_bytes / dense.kv_bytes,
    )


@dataclass(frozen=True)
class Axis:
    """One quantity of a method.

    Attributes:
        title: beside the axis, unit included.
        short: in the head of a table.
        of: its value in the unit of the axis; None where it was not measured.
        suffix: of the ticks.
        digits: after the point, in text.
    """

    title: str
    short: str
    of: Callable[[RaceRow], float | None]
    suffix: str = "%"
    digits: int = 1

    def text(self, row: RaceRow) -> str:
        """The value in words; a dash where there is none."""
        value = self.of(row)
        return "–" if value is None else f"{value:.{self.digits}f}{self.suffix}"


def _percent(share: float | None) -> float | None:
    return None if share is None else 100 * share


COSTS = {
    "flops": Axis("prefill FLOPs, % of dense", "prefill FLOPs", lambda row: 100 * row.flops),
    "time": Axis("prefill time, % of dense", "prefill time", lambda row: _percent(row.prefill_time)),
    "kv": Axis("KV cache, % of dense", "KV cache", lambda row: _percent(row.kv_bytes)),
}
ACCURACY = Axis("right answers, %", "right answers", lambda row: 100 * row.score)
SAME = Axis("answers as the dense model, %", "answers as the dense model", lambda row: 100 * row.score)
AGREEMENT = {
    "top1": Axis("likeliest next token as dense, %", "likeliest token as dense", lambda row: _percent(row.top1)),
    "kl": Axis("KL to dense, nats (lower is nearer)", "KL to dense", lambda row: row.kl, "", 4),
}


def score_axis(name: str, has_truth: bool) -> Axis:
    """The axis of a dropdown's value: "score" is accuracy where there are true answers, or else sameness."""
    return AGREEMENT.get(name, ACCURACY if has_truth else SAME)


SYMBOLS = ("square", "triangle-up", "triangle-down", "diamond", "cross", "x", "triangle-left", "triangle-right", "star",
           "pentagon", "hexagon", "bowtie", "hourglass", "hexagram", "star-square", "diamond-wide")  # fmt: skip
"""With colors that come round, so that no method is known by its color alone."""


def race_chart(data: RaceData, cost: str = "flops", score: str = "score") -> go.Figure:
    """One axis over another; Skip-Vision with its intervals where there are any.

    Args:
        cost: "flops", "time" or "kv".
        score: "score" (right answers, or answers as the dense model's), "top1" or "kl".
    """
    figure, across, up = go.Figure(), COSTS[cost], score_axis(score, data.has_truth)
    peers = [name for name in dict.fromkeys(row.method for row in data.rows) if name not in ("Dense", "SkipVision")]
    looks = {
        name: (palette.PEERS[number % len(palette.PEERS)], SYMBOLS[number % len(SYMBOLS)])
        for number, name in enumerate(peers)
    }
    looks = {"Dense": (palette.INK, "star"), "SkipVision": (palette.SKIP_VISION, "circle"), **looks}
    for method, (color, symbol) in looks.items():
        rows = [row for row in data.rows if row.method == method and None not in (across.of(row), up.of(row))]
        if rows:
            rows.sort(key=lambda row: across.of(row) or 0)
            _add_method(figure, method, rows, (across, up), color, symbol)
    if data.blind is not None and score == "score":
        figure.add_hline(100 * data.blind, line={"color": palette.TEXT, "dash": "dash", "width": 1.5})
    figure.update_xaxes(title_text=across.title, rangemode="tozero", ticksuffix=across.suffix, nticks=6)
    figure.update_yaxes(title_text=up.title, ticksuffix=up.suffix, nticks=7, rangemode="tozero")
    if up.suffix:
        figure.update_yaxes(range=_range_of_shares(figure, data if score == "score" else None))
    style(figure, height=460)
    figure.update_layout(legend={"orientation": "h", "yref": "container", "y": 0, "yanchor": "bottom"})
    return figure.update_layout(showlegend=True, legend_font_size=12)


def _range_of_shares(figure: go.Figure, data: RaceData | None) -> list[float]:
    """From a little below the lowest value to a little above the highest, never a sliver about one value.

    Args:
        data: whose intervals and blind guess are to be seen too.
    """
    values = [value for curve in figure.data for value in curve.y]
    if data is not None:
        ends = [end for row in data.rows for end in (row.low, row.high)]
        values += [100 * end for end in (*ends, data.blind) if end is not None]
    lowest, highest = min(values, default=0), max(values, default=100)
    return [max(0, lowest - 10), min(102, highest + 5)]


def _add_method(
    figure: go.Figure, method: str, rows: list[RaceRow], axes: tuple[Axis, Axis], color: str, symbol: str
) -> None:
    own, (across, up) = method == "SkipVision", axes
    spread = [
        (row.high - row.score, row.score - row.low) for row in rows if row.high is not None and row.low is not None
    ]
    figure.add_scatter(
        x=[across.of(row) for row in rows],
        y=[up.of(row) for row in rows],
        error_y={
            "array": [100 * above for above, _ in spread],
            "arrayminus": [100 * below for _, below in spread],
            "thickness": 1,
            "width": 0,
            "visible": own and up in (ACCURACY, SAME) and len(spread) == len(rows),
        },
        mode="lines+markers",
        line={"color": color, "width": 2.5 if own else 1},
        marker={"symbol": symbol, "size": 11 if own or method == "Dense" else 8, "color": color},
        name=method_name(method),
        customdata=[[row.label, across.text(row), up.text(row)] for row in rows],
        hovertemplate=(
            f"%{{customdata[0]}}<br>{up.short}: %{{customdata[2]}}<br>{across.short}: %{{customdata[1]}}<extra></extra>"
        ),
    )


def method_name(method: str) -> str:
    """Return the name of a method by its class; the class where the library no longer has it."""
    return METHODS[method].name if method in METHODS else method


def race_table(data: RaceData) -> str:
    """Every method at every budget, the largest budget first and the best first in each."""
    axes = [*COSTS.values(), score_axis("score", data.has_truth), *AGREEMENT.values()]
    rows = [
        [
            row.label,
            "–" if row.budget is None else wording.share(row.budget),
            *(axis.text(row) + (" †" if axis is COSTS["flops"] and not row.is_at_budget else "") for axis in axes),
            "–" if row.low is None else f"{wording.accuracy(row.low)} to {wording.accuracy(row.high)}",
        ]
        for row in sorted(data.rows, key=lambda row: (-(row.budget or 1), -row.score))
    ]
    table = html_table(["method", "budget", *(axis.short for axis in axes), "95% interval"], rows)
    note = paragraph("† more than 2 points of the FLOPs away from the budget.", "hint")
    return table + note * any(not row.is_at_budget for row in data.rows)


def standings_table(data: RaceData) -> str:
    """Who is ahead of Skip-Vision at each budget, and who behind, with a row for each budget, the largest first."""
    rows = []
    for budget in sorted({row.budget for row in data.rows if row.budget is not None}, reverse=True):
        there = [row for row in data.rows if row.budget == budget]
        own = [wording.accuracy(row.score) for row in there if row.method == "SkipVision"]
        peers = [row for row in there if row.method != "SkipVision" and row.is_at_budget]
        sure = [row for row in peers if row.is_beyond_chance]
        ahead, behind = (
            [method_name(row.method) for row in sure if ((row.ahead or 0) > 0) is wins] for wins in (True, False)
        )
        cells = [", ".join(each) or "none" for each in (own, ahead, behind)]
        rows.append([wording.share(budget), *cells, f"{len(peers) - len(sure)}"])
    return html_table(["FLOPs", "Skip-Vision", "ahead of it", "behind it", "others, within chance"], rows)
