"""Calibration: which sub-layers a model may skip, as it was measured; only where the model was calibrated."""

from __future__ import annotations

from html import escape

import gradio as gr

from app import charts as figures
from app.markup import html_table
from app.panels.layers import plot
from skipcore import Calibration, Vlm

INTRO = (
    "How much the next token changes where all visual tokens skip one sub-layer alone. A dot marks what was chosen to "
    "skip."
)


class CalibrationPanel:
    """The map of divergences, and the choice beside the preset and rules that look at nothing."""

    def __init__(self, vlm: Vlm) -> None:
        if (calibration := vlm.calibration) is None:
            return
        gr.HTML(f"<h2>Calibration</h2><p class='intro'>{INTRO}</p>")
        plot("calibration-map", figures.divergence_map(calibration))
        gr.HTML(f'<p class="finding">{escape(finding(calibration))}</p>{choices_table(calibration)}')
        with gr.Accordion("As text", open=False):
            gr.HTML(sublayers_table(calibration))


def finding(calibration: Calibration) -> str:
    """What was chosen, against the best of the other choices."""
    choice, rival = calibration.choice, min(calibration.rivals, key=lambda each: each.kl)
    return (
        f"At {choice.flops:.0%} of the prefill FLOPs and {choice.kv:.0%} of the KV cache, {choice.label} changes the "
        f"next token by {choice.kl:.2g} nats (KL), the best of the other choices ({rival.name}) by {rival.kl:.2g}."
    )


def choices_table(calibration: Calibration) -> str:
    """The choice and its rivals."""
    rows = [
        [each.name, each.label, f"{each.flops:.1%}", f"{each.kv:.1%}", f"{each.kl:.2g}", f"{each.top1:.0%}"]
        for each in (calibration.choice, *calibration.rivals)
    ]
    return html_table(["", "method", "prefill FLOPs", "KV cache", "KL, nats", "same likeliest token"], rows)


def sublayers_table(calibration: Calibration) -> str:
    """The values behind the map, and the FFN update of the tokens that would skip."""
    columns = zip(calibration.attention_kl, calibration.ffn_kl, calibration.ffn_update, strict=True)
    rows = [
        [f"Layer {layer}", f"{attention:.2g}", f"{ffn:.2g}", f"{update:.3f}"]
        for layer, (attention, ffn, update) in enumerate(columns, start=1)
    ]
    return html_table(["", "KL without attention", "KL without FFN", "FFN update"], rows)
