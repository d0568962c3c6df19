"""Race: both answers written at the same moment, for the eye only."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import gradio as gr

from app.panels import Changes
from skipcore.answering.alternate import Step

RULES = (
    "Just for show: both answers are written at the same moment and share the device, step by step. "
    "No figure on this page comes from it."
)


class LanesPanel:
    """A button and two lanes, there once there is an answer to race for.

    Attributes:
        steps: of the visitor's last race.
    """

    def __init__(self) -> None:
        self.steps = gr.State([], time_to_live=3600)
        with gr.Column(visible=False, elem_id="race") as self.column:
            with gr.Row(elem_id="race-row"):
                self.button = gr.Button("Watch side by side", scale=0, min_width=200, elem_id="race-start")
                gr.HTML(f'<p class="hint">{RULES}</p>', elem_id="race-rules")
            self.lanes = gr.HTML(elem_id="lanes")
        self.outputs = [self.steps, self.column, self.lanes]

    def start(self) -> Changes:
        """Show the button, and clear the lanes of an earlier race."""
        return {self.column: gr.update(visible=True), self.lanes: ""}

    def show(self, names: Sequence[str], steps: Sequence[Step]) -> Changes:
        """The race as it stands after some steps."""
        return {self.lanes: lanes(names, steps)}


def lanes(names: Sequence[str], steps: Sequence[Step]) -> str:
    """Each arm's answer so far as HTML, and who was done first; all text is escaped."""
    last = {step.number: step for step in steps}
    done = [step.number for step in steps if step.done]
    parts = []
    for number, name in enumerate(names):
        text = last[number].text.strip() if number in last else ""
        place = "done first" if done[:1] == [number] else "done" if number in done else "reading" * (number not in last)
        parts.append(
            f'<div class="reply {"skip" if number else "dense"} {"done" if number in done else "live"}">'
            f'<h3>{escape(name)} <span class="place">{place}</span></h3>'
            f'<p class="said"><span>{escape(text) or "&nbsp;"}</span></p></div>'
        )
    return f'<div class="replies">{"".join(parts)}</div>'
