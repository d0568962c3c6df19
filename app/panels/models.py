"""Models: which one runs here, which others can be chosen, and what memory each needs."""

from __future__ import annotations

from typing import Any

import gradio as gr

from app.models import VARIABLE, models_for
from app.tables import html_table
from skipcore import Vlm

HOW = (
    "One model runs for everybody. Whoever runs the page chooses it: <code>python -m app --model NAME</code>, or "
    f"<code>{VARIABLE}</code> in the environment, as on a Space. Memory is of the weights, in bfloat16 on a GPU and in "
    "float32 on the CPU; pictures and answers need some more."
)
HEAD = ("Model", "family", "weights", "memory on a GPU", "on the CPU", "good for")


class ModelsPanel:
    """A table, folded away."""

    def __init__(self, vlm: Vlm) -> None:
        with gr.Accordion("Models", open=False, elem_id="models"):
            gr.HTML(f"<p class='intro'>{HOW}</p>{html_table(HEAD, [model_row(each) for each in models_for(vlm)])}")


def model_row(model: dict[str, Any]) -> list[str]:
    """One of `models_for` as cells of plain text."""
    return [
        model["name"] + (" (runs here)" if model["runs_here"] else ""),
        model["family"],
        _weights(model["weights"]),
        _memory(model["gib_bfloat16"]),
        _memory(model["gib_float32"]),
        model["about"],
    ]


def _weights(count: float) -> str:
    return f"{count / 1e9:.2f} billion" if count >= 1e8 else f"{count / 1e6:.1f} million"


def _memory(gib: float) -> str:
    return f"{gib:.1f} GiB" if gib >= 0.1 else f"{gib * 1024:.0f} MiB"
