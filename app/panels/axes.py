"""The two choices of what a trade-off shows."""

from __future__ import annotations

import gradio as gr

from app.charts.axes import AGREEMENT, COSTS

SCORE_NAME = "right answers (or answers as dense)"


def axis_choices(name: str, score: str = "score") -> list[gr.Dropdown]:
    """Cost, then score; their values are what `figures.race_chart` takes.

    Args:
        name: begins the ids of both.
        score: to start with.
    """
    scores = {"score": SCORE_NAME} | {key: axis.short for key, axis in AGREEMENT.items()}
    if score != "score":
        del scores["score"]
    with gr.Row():
        return [
            gr.Dropdown(
                [(title, key) for key, title in choices.items()],
                value=value,
                label=label,
                elem_id=f"{name}-{kind}",
                min_width=280,
            )
            for kind, label, value, choices in (
                ("cost", "Cost", "flops", {key: axis.short for key, axis in COSTS.items()}),
                ("score", "Against", score, scores),
            )
        ]
