"""PyramidDrop: fewer visual tokens in every stage of the decoder (CVPR 2025, 2410.17247)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from skipcore.engine.layer_view import LayerView, Look
from skipcore.methods.dropping import DropInStages, keep_best
from skipcore.methods.method import DecoderShape
from skipcore.methods.settings import Count, Layer
from skipcore.plan.token_plan import TokenPlan
from skipcore.trace import Trace


@dataclass(frozen=True)
class PyramidDrop(DropInStages):
    """At each of some layers, only the visual tokens of the highest scores go on: score = mean over the heads of the
    attention that the prompt's last token would pay to them in that layer, softmax(q·Kᵀ/√d).

    Unlike the authors' code, only keys and values of all tokens and the query of the last one are computed for the
    scores (theirs project queries of all, too).

    Attributes:
        layers: where tokens are dropped (authors: 8, 16 and 24 of 32).
        num_kept: visual tokens of each picture that are left there, of those it had at first.
        positions: the authors' are "renumbered" after every drop, so that each stage has positions of its own.
    """

    name: ClassVar[str] = "PyramidDrop"
    looks: ClassVar[frozenset[Look]] = frozenset({Look.ATTENTION_AHEAD})

    layers: Sequence[Layer] = (0.25, 0.5, 0.75)
    num_kept: Sequence[Count] = (0.5, 0.25, 0.125)

    def decide(self, layer: int, view: LayerView, plan: TokenPlan) -> TokenPlan:
        """Drop what the last token would attend to least."""
        assert view.attention is not None
        return keep_best(plan, view, layer, view.attention, self.stages(len(plan.enters))[layer])

    def selection_flops(self, trace: Trace, decoder: DecoderShape) -> int:
        """Keys and values of the n tokens there are, 4ndH′h; the last token's query, 2dHh; one row of scores, 2Hhn."""
        flops, all_heads = 0, decoder.heads * decoder.head_width
        for layer in self.stages(decoder.layers):
            n = int(trace.entered[layer - 1].sum())
            flops += 4 * n * decoder.width * decoder.key_value_heads * decoder.head_width
            flops += 2 * decoder.width * all_heads + 2 * all_heads * n
        return flops
