"""Method: which one is compared with dense, and how much of the visual tokens it leaves."""

from __future__ import annotations

from typing import Any

import gradio as gr

from app.budgets import OFFERED, SKIP_VISION, budget_of, summary_of
from app.panels import QUIET, Changes

_QUIET: dict[str, Any] = {"queue": False} | QUIET


class MethodPanel:
    """A choice, and for all but Skip-Vision one control of the budget and whether Skip-Vision follows.

    Attributes:
        inputs: what `read` takes.
    """

    def __init__(self) -> None:
        self.method = gr.Dropdown(
            [(method.name, name) for name, method in OFFERED.items()],
            value=SKIP_VISION,
            label="Compare dense with",
            info=summary_of(OFFERED[SKIP_VISION]),
            elem_id="method",
        )
        self.budget = gr.Slider(0, 100, 50, step=1, precision=0, visible=False, elem_id="budget", buttons=[])
        self.then_skip_vision = gr.Checkbox(
            False, label="Then Skip-Vision on the tokens that are left", visible=False, elem_id="then-skip-vision"
        )
        self.inputs = [self.method, self.budget, self.then_skip_vision]

    def wire(self, skip_vision: gr.Column) -> None:
        """Let the choice show the controls that apply; `skip_vision` holds those of Skip-Vision."""
        outputs = [self.method, self.budget, self.then_skip_vision, skip_vision]
        self.method.input(lambda name: self.controls(name, skip_vision), self.method, outputs, **_QUIET)
        self.then_skip_vision.input(
            lambda follows: {skip_vision: gr.update(visible=follows)}, self.then_skip_vision, outputs, **_QUIET
        )

    def controls(self, name: str, skip_vision: gr.Column) -> Changes:
        """The controls of a method, at their usual values."""
        budget = budget_of(OFFERED[name])
        return {
            self.method: gr.update(info=summary_of(OFFERED[name])),
            self.budget: gr.update(visible=False)
            if budget is None
            else gr.update(label=f"{budget.means}, per cent", value=round(100 * budget.usual), visible=True),
            self.then_skip_vision: gr.update(value=False, visible=budget is not None),
            skip_vision: gr.update(visible=budget is None),
        }

    @staticmethod
    def read(name: str, budget: float, then_skip_vision: bool) -> dict[str, Any]:
        """What the controls say, as fields of `Settings`; what is hidden says nothing."""
        if name == SKIP_VISION:
            return {"method": name}
        return {"method": name, "budget": budget / 100, "then_skip_vision": then_skip_vision}
