"""ShortV: visual tokens are frozen in layers that contribute little (ICCV 2025, 2504.00502)."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from skipcore.engine.layer_view import LayerView
from skipcore.methods.budget import Budget, Examples, Target
from skipcore.methods.method import Method, Steps
from skipcore.methods.settings import Count, resolve, show
from skipcore.plan.token_plan import TokenPlan


@dataclass(frozen=True)
class ShortV(Method):
    """In some layers all visual tokens are frozen: they neither attend nor run the FFN, but still give keys and values.
    The KV cache does not shrink.

    Attributes:
        num_frozen: how many layers freeze them, or a share of all (authors: 19 of 32 in LLaVA-1.5-7B).
        order: layers by rising contribution, as `skipcore.layer_contributions` measures it on your pictures; the first
            `num_frozen` freeze. None: from the last layer backwards, which the authors' published sets come close to.
    """

    name: ClassVar[str] = "ShortV"
    budget: ClassVar[Budget | None] = Budget(0.6, "Layers that freeze visual tokens")

    num_frozen: Count = 0.6
    order: Sequence[int] | None = None

    @property
    def label(self) -> str:
        """Such as "ShortV 60% of the layers"."""
        return f"{self.name} {show(self.num_frozen)} of the layers"

    def with_budget(self, share: float, target: Target) -> ShortV:
        """That share of the layers freezes them."""
        return replace(self, num_frozen=share)

    def budget_steps(self, target: Target) -> Sequence[Steps]:
        """From all layers frozen to none."""
        return [Steps(target.layers, lambda step: replace(self, num_frozen=target.layers - step))]

    def tuned(self, examples: Examples) -> ShortV:
        """In the order that is measured on the examples."""
        return replace(self, order=examples.layers_by_contribution)

    def decision_layers(self, num_layers: int) -> Collection[int]:
        """At the first layer, when the number of layers is known."""
        return (0,) if resolve(self.num_frozen, num_layers) else ()

    def decide(self, layer: int, view: LayerView, plan: TokenPlan) -> TokenPlan:
        """Freeze them in the chosen layers."""
        num_layers = len(plan.enters)
        order = range(num_layers - 1, -1, -1) if self.order is None else self.order
        frozen = [number for number in order if number < num_layers][: resolve(self.num_frozen, num_layers)]
        return plan.bypassing(plan.is_visual.nonzero().flatten(), frozen, frozen)
