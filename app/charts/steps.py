"""The time between tokens over an answer."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import zip_longest
from statistics import median

import plotly.graph_objects as go

from app import palette
from app.charts.chart import Chart, arm_line, style
from app.markup import arm_keys, html_table, keys, paragraph
from profiling import Arm, Report


@dataclass(frozen=True)
class Step:
    """One decode step over the timed runs, in milliseconds; `token` counts from 1, the first decode step makes 2."""

    token: int
    p50: float
    min: float
    max: float


def step_spreads(arm: Arm) -> list[Step]:
    """Every decode step that all timed runs took."""
    by_step = arm.decode_steps_ms
    return [Step(token, median(times), min(times), max(times)) for token, times in enumerate(by_step, start=2)]


def inter_token(report: Report) -> go.Figure:
    """Inter-token latency of every arm, from the second token on: the median of the timed runs; the fastest and the
    slowest run as a band."""
    figure, longest = go.Figure(), max(arm.new_tokens for arm in report.arms)
    for number, arm in enumerate(report.arms):
        steps = step_spreads(arm)
        tokens, color = [step.token for step in steps], palette.arm_color(number)
        if arm.run_token_ms[1:]:
            figure.add_scatter(
                x=[*tokens, *reversed(tokens)],
                y=[*(step.max for step in steps), *(step.min for step in reversed(steps))],
                fill="toself",
                fillcolor=f"rgba{(*palette.rgb(color if number else palette.TEXT), 0.16)}",
                line={"width": 0},
                mode="lines",
                name=f"{arm.name}: range",
                hoverinfo="skip",
            )
        figure.add_scatter(
            x=tokens,
            y=[step.p50 for step in steps],
            mode="lines+markers" if len(steps) < 12 else "lines",
            line=arm_line(number),
            marker={"color": color, "size": 6},
            name=arm.name,
            hovertemplate=f"{arm.name}, token %{{x}}: %{{y:.2f}} ms<extra></extra>",
        )
    figure.update_xaxes(title_text="token of the answer", tick0=2, dtick=max(1, -(-longest // 8)))
    figure.update_yaxes(rangemode="tozero", ticksuffix=" ms", nticks=5)
    return style(figure, height=280, top=12)


def steps_key(report: Report) -> str:
    """The arms, and the whisker where there are several runs."""
    return keys(*arm_keys(report), *[("whisker", "fastest to slowest run")] * (report.repeats > 1))


def steps_table(report: Report) -> str:
    """Median time of every decode step by arm, with the fastest and the slowest run."""
    by_token = zip_longest(*(step_spreads(arm) for arm in report.arms))
    rows = [[f"token {number}", *map(_cell, steps)] for number, steps in enumerate(by_token, start=2)]
    if not rows:
        return paragraph("Time between tokens: not available; the answers have one token.", "reason")
    return html_table(["", *(f"{arm.name}: median (range)" for arm in report.arms)], rows)


def _cell(step: Step | None) -> str:
    return "–" if step is None else f"{step.p50:.2f} ms ({step.min:.2f} to {step.max:.2f})"


STEPS = Chart("steps", "Time between tokens over the answer", inter_token, steps_key, table=steps_table)
