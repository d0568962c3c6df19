"""FastV: after a few layers, keep the visual tokens that the prompt's last token attends to (ECCV 2024, 2403.06764)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from skipcore.engine.layer_view import LayerView, Look
from skipcore.methods.dropping import DropOnce, keep_best
from skipcore.methods.method import DecoderShape
from skipcore.methods.settings import Count, Layer
from skipcore.plan.token_plan import TokenPlan
from skipcore.trace import Trace


@dataclass(frozen=True)
class FastV(DropOnce):
    """From layer K on, only the visual tokens of the highest scores: score = mean over the heads of the attention that
    the prompt's last token pays to them in layer K − 1.

    As the authors' variant with a KV cache: chosen once in the prefill; layers before K keep all keys and values, those
    from K on the kept ones; positions "original". Unlike it, no layer runs twice and one query row is scored beside the
    model's own attention, whatever kernel that is.

    Attributes:
        layer: K ≥ 1 (authors: 2 or 3 of 32).
        num_kept: visual tokens kept, 1 − R in the paper.
    """

    name: ClassVar[str] = "FastV"
    looks: ClassVar[frozenset[Look]] = frozenset({Look.ATTENTION_BEFORE})

    layer: Layer = 3
    num_kept: Count = 0.5

    def decide(self, layer: int, view: LayerView, plan: TokenPlan) -> TokenPlan:
        """Drop what the last token attends to least."""
        assert view.attention is not None
        return keep_best(plan, view, layer, view.attention, self.num_kept)

    def selection_flops(self, trace: Trace, decoder: DecoderShape) -> int:
        """One row of scores: 2Hhn for the n tokens of layer K − 1."""
        layers = self.decision_layers(decoder.layers)
        return sum(2 * decoder.heads * decoder.head_width * int(trace.entered[layer - 1].sum()) for layer in layers)
