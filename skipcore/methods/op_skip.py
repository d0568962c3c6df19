"""Op-Skip: layer by layer, visual tokens skip the attention, the FFN, both or nothing (2026, arXiv 2606.31903)."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from skipcore.engine.layer_view import LayerView
from skipcore.methods.budget import Budget, Examples, Target
from skipcore.methods.method import Method, Steps
from skipcore.methods.settings import Count, resolve, show
from skipcore.methods.spider import Contributions
from skipcore.plan.token_plan import TokenPlan

AUTHORS = (
    *(*range(63, 47, -1), 0, 42, 46, 5, 6, 34, 40, 44, 10, 32, 36, 38),
    *(2, 8, 14, 24, 12, 16, 22, 26, 18, 28, 30, 21),
)
"""Sub-layers of 64 as the authors' presets 8, 12, … 32 for LLaVA-1.5-7B add them; the first line is preset 20."""


@dataclass(frozen=True)
class OpSkip(Method):
    """In some layers all visual tokens skip the attention, the FFN or both; they still give keys and values. The KV
    cache does not shrink.

    Attributes:
        num_skipped: how many sub-layers are skipped, or a share of all; 28 of 64 are the authors' preset 20.
        order: sub-layers, those that are skipped first, counted from 0 as they run: the attention of layer 0, its FFN,
            the attention of layer 1 … See `calibrated`. None: the authors' order for LLaVA-1.5-7B, scaled to the depth;
            what they never skip comes last, from the last layer backwards.
    """

    name: ClassVar[str] = "Op-Skip"
    budget: ClassVar[Budget | None] = Budget(0.56, "Sub-layers that visual tokens run")

    num_skipped: Count = 28 / 64
    order: Sequence[int] | None = None

    @classmethod
    def calibrated(cls, calibration: Contributions, num_skipped: Count = 28 / 64) -> OpSkip:
        """In the order of rising KL that `calibrate` measured on your model with each sub-layer skipped alone."""
        kl = [one for layer in zip(calibration.attention_kl, calibration.ffn_kl, strict=True) for one in layer]
        return cls(num_skipped, sorted(range(len(kl)), key=kl.__getitem__))

    @property
    def label(self) -> str:
        """Such as "Op-Skip 43.8% of the sub-layers"."""
        return f"{self.name} {show(self.num_skipped)} of the sub-layers"

    def with_budget(self, share: float, target: Target) -> OpSkip:
        """That share of the sub-layers is run."""
        return replace(self, num_skipped=1 - share)

    def budget_steps(self, target: Target) -> Sequence[Steps]:
        """From all sub-layers skipped to none."""
        return [Steps(2 * target.layers, lambda step: replace(self, num_skipped=2 * target.layers - step))]

    def tuned(self, examples: Examples) -> OpSkip:
        """In the order of the model's calibration, if it has one."""
        return self if examples.vlm.calibration is None else OpSkip.calibrated(examples.vlm.calibration)

    def decision_layers(self, num_layers: int) -> Collection[int]:
        """The first layer, where the number of layers is known."""
        return (0,) if resolve(self.num_skipped, 2 * num_layers) else ()

    def decide(self, layer: int, view: LayerView, plan: TokenPlan) -> TokenPlan:
        """Let them skip."""
        count = 2 * len(plan.enters)
        order = _authors_order(count) if self.order is None else self.order
        skipped = [one for one in order if one < count][: resolve(self.num_skipped, count)]
        attention, ffn = ([one // 2 for one in skipped if one % 2 == kind] for kind in (0, 1))
        return plan.bypassing(plan.is_visual.nonzero().flatten(), ffn, attention)


def _authors_order(count: int) -> list[int]:
    """All of `count` sub-layers."""
    rank = {one: number for number, one in enumerate(AUTHORS)}
    last_first = range(count - 1, -1, -1)
    return sorted(last_first, key=lambda one: rank.get(2 * int((one // 2 + 0.5) * 64 / count) + one % 2, 64))
