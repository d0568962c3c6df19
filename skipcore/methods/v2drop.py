"""V²Drop: keep the visual tokens that the decoder still changes (CVPR 2026)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from skipcore.engine.layer_view import LayerView, Look
from skipcore.methods.dropping import DropInStages, keep_best
from skipcore.methods.settings import Count, Layer
from skipcore.plan.token_plan import TokenPlan


@dataclass(frozen=True)
class V2Drop(DropInStages):
    """At each of some layers, only the visual tokens that the layer before changed most go on:
    score = ‖h^ℓ − h^(ℓ−1)‖₂. Attention-free.

    Attributes:
        layers: where tokens are dropped (authors, LLaVA: 3, 17 and 22 of 32).
        num_kept: visual tokens of each picture that are left there, of those it had at first, at least one (authors,
            LLaVA: a half, a quarter, and one token).
        positions: the authors' are "original".
    """

    name: ClassVar[str] = "V²Drop"
    looks: ClassVar[frozenset[Look]] = frozenset({Look.UPDATES})

    layers: Sequence[Layer] = (3 / 32, 17 / 32, 22 / 32)
    num_kept: Sequence[Count] = (0.5, 0.25, 1)

    def decide(self, layer: int, view: LayerView, plan: TokenPlan) -> TokenPlan:
        """Drop what changed least."""
        assert view.updates is not None
        return keep_best(plan, view, layer, view.updates, self.stages(len(plan.enters))[layer])
