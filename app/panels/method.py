"""Method: which one is compared with dense, and how much of the visual tokens it leaves."""

from __future__ import annotations

from typing import Any

import gradio as gr

from app.panels import AT_ONCE, Changes
from app.runs.offered_methods import OFFERED, OWN, SKIP_VISION, summary_of
from app.server.pool import ModelPool
from app.wording import skipping_sentence
from skipcore import SkipVision, Vlm


class MethodPanel:
    """A choice, and for all but Skip-Vision one control of the budget and whether Skip-Vision follows.

    The model's own method, where it is no Skip-Vision whose settings are on the page, is a choice of its own, without
    controls, and the one to begin with.

    Attributes:
        inputs: what `read` takes.
    """

    def __init__(self, vlm: Vlm) -> None:
        self.method = gr.Dropdown(**_choices(vlm), label="Compare dense with", elem_id="method")
        self.budget = gr.Slider(0, 100, 50, step=1, precision=0, visible=False, elem_id="budget", buttons=[])
        self.then_skip_vision = gr.Checkbox(
            False, label="Then Skip-Vision on the tokens that are left", visible=False, elem_id="then-skip-vision"
        )
        self.inputs = [self.method, self.budget, self.then_skip_vision]

    def wire(self, skip_vision: gr.Column, pool: ModelPool, chosen: gr.State) -> None:
        """Let the choice show the controls that apply.

        Args:
            skip_vision: holds those of Skip-Vision.
            chosen: the name of the visitor's model.
        """
        outputs = [self.method, self.budget, self.then_skip_vision, skip_vision]
        self.method.input(
            lambda name, model: self.controls(name, skip_vision, pool.get(model).vlm),
            [self.method, chosen],
            outputs,
            **AT_ONCE,
        )
        self.then_skip_vision.input(
            lambda follows: {skip_vision: gr.update(visible=follows)}, self.then_skip_vision, outputs, **AT_ONCE
        )

    def show_model(self, vlm: Vlm, skip_vision: gr.Column) -> Changes:
        """The choices of another model, with the first one chosen."""
        return self.controls(first_choice(vlm), skip_vision, vlm) | {self.method: gr.update(**_choices(vlm))}

    def controls(self, name: str, skip_vision: gr.Column, vlm: Vlm) -> Changes:
        """The controls of a method, at their usual values."""
        budget = None if name == OWN else OFFERED[name].budget
        return {
            self.method: gr.update(info=_info(name, vlm)),
            self.budget: gr.update(visible=False)
            if budget is None
            else gr.update(label=f"{budget.means}, per cent", value=round(100 * budget.usual), visible=True),
            self.then_skip_vision: gr.update(value=False, visible=budget is not None),
            skip_vision: gr.update(visible=name == SKIP_VISION),
        }

    @staticmethod
    def read(name: str, budget: float, then_skip_vision: bool) -> dict[str, Any]:
        """What the controls say, as fields of `Settings`; what is hidden says nothing."""
        if name in (OWN, SKIP_VISION):
            return {"method": name}
        return {"method": name, "budget": budget / 100, "then_skip_vision": then_skip_vision}


def first_choice(vlm: Vlm) -> str:
    """The method to begin with."""
    return SKIP_VISION if isinstance(vlm.skipping, SkipVision) else OWN


def _choices(vlm: Vlm) -> dict[str, Any]:
    first = first_choice(vlm)
    own = [(f"{vlm.skipping.label} ({vlm.skipping_source})", OWN)] if first == OWN else []
    choices = [*own, *((method.name, name) for name, method in OFFERED.items())]
    return {"choices": choices, "value": first, "info": _info(first, vlm)}


def _info(name: str, vlm: Vlm) -> str:
    return skipping_sentence(vlm) if name == OWN else summary_of(OFFERED[name])
