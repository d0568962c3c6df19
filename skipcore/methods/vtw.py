"""VTW: visual tokens are withdrawn altogether from a layer on (AAAI 2025, 2405.05803)."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from skipcore.engine.layer_view import LayerView
from skipcore.methods.budget import Budget, Target
from skipcore.methods.dropping import Dropping
from skipcore.methods.method import Steps
from skipcore.methods.settings import Layer, is_all, resolve_layer, show_layers
from skipcore.plan.token_plan import TokenPlan


@dataclass(frozen=True)
class VTW(Dropping):
    """All visual tokens are dropped from layer K on: what text wants of them it has read by then.

    Attributes:
        layer: K (authors: about 15 of 32, found by the KL of the output on 20 samples; `calibrate` measures such).
        positions: the authors' code offers both: "original" is their default, "renumbered" their "reset".
    """

    name: ClassVar[str] = "VTW"
    budget: ClassVar[Budget | None] = Budget(0.5, "Layers that see visual tokens")

    layer: Layer = 0.5

    @property
    def label(self) -> str:
        """Such as "VTW after 50% of the layers"."""
        return f"{self.name} after {show_layers(self.layer)}"

    def with_budget(self, share: float, target: Target) -> VTW:
        """That share of the layers sees them."""
        return replace(self, layer=share)

    def budget_steps(self, target: Target) -> Sequence[Steps]:
        """One layer more in each step."""
        layers = target.layers
        return [Steps(layers, lambda step: replace(self, layer=step if step < layers else 1.0))]

    def decision_layers(self, num_layers: int) -> Collection[int]:
        """Layer K; 1.0 is no layer."""
        return () if is_all(self.layer) else (resolve_layer(self.layer, num_layers),)

    def decide(self, layer: int, view: LayerView, plan: TokenPlan) -> TokenPlan:
        """Drop them all."""
        return plan.without(plan.is_visual.nonzero().flatten(), layer)
