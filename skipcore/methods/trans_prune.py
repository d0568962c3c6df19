"""TransPrune: keep the visual tokens that the sub-layers still change and the text attends to (2025, 2507.20630)."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from skipcore.engine.layer_view import LayerView, Look
from skipcore.methods.dropping import DropInStages, keep_best, visual_slots
from skipcore.methods.method import DecoderShape
from skipcore.methods.settings import Count, Layer, resolve_layer
from skipcore.plan.token_plan import Role, TokenPlan
from skipcore.trace import Trace


@dataclass(frozen=True)
class TransPrune(DropInStages):
    """Before each of some layers, only the visual tokens of the highest scores go on: score = transitions gathered so
    far + attention, each a share of its sum over the picture. A sub-layer that reads x (after the norm) and returns y
    adds softmax(1 − cos(x, y)) · ‖y‖ / ‖x‖, the softmax over all tokens of the prompt. Attention is that of the text
    after the last picture in the layer to come, mean over heads and tokens. Formulas as in the authors' code.

    Unlike in it, several pictures are chosen from one by one, and prompts run in batches.

    Attributes:
        first: transitions are gathered from this layer on (authors: 6 of 32).
        layers: where tokens are dropped (authors: 7, 9 and 12 of 32).
        num_kept: visual tokens of each picture that are left there, of those it had at first.
        positions: the authors' are "renumbered".
    """

    name: ClassVar[str] = "TransPrune"

    layers: Sequence[Layer] = (7 / 32, 9 / 32, 12 / 32)
    num_kept: Sequence[Count] = (0.875, 0.625, 0.125)
    first: Layer = 6 / 32

    def decision_layers(self, num_layers: int) -> Collection[int]:
        """The stages' first layers, and those after the layers whose transitions count."""
        stages = self.stages(num_layers)
        return {*stages, *range(resolve_layer(self.first, num_layers) + 1, max(stages, default=0))}

    def looks_before(self, layer: int, num_layers: int) -> frozenset[Look]:
        """Transitions from the first layer on; the text's attention where tokens are dropped."""
        looks = {Look.TRANSITIONS} if layer > resolve_layer(self.first, num_layers) else set()
        return frozenset(looks | ({Look.TEXT_ATTENTION_AHEAD} if layer in self.stages(num_layers) else set()))

    def decide(self, layer: int, view: LayerView, plan: TokenPlan) -> TokenPlan:
        """Gather, and drop the lowest scores."""
        gathered = torch.zeros(len(plan.slot_role)) if plan.gathered is None else plan.gathered.clone()
        if view.transitions is not None:
            cosine, ratio = view.transitions.unbind(dim=-1)
            gathered[view.slots] += ((1 - cosine).softmax(dim=0) * ratio).sum(dim=1).cpu()
        plan = replace(plan, gathered=gathered)
        if view.attention is None:
            return plan
        scores = torch.zeros(len(view.slots))
        for rows, _ in visual_slots(plan, view):
            for values in (gathered[view.slots], view.attention.cpu()):
                scores[rows] += _shares(values[rows])
        return keep_best(plan, view, layer, scores, self.stages(len(plan.enters))[layer])

    def selection_flops(self, trace: Trace, decoder: DecoderShape) -> int:
        """Keys and values of the n tokens there are, 4ndH′h; queries of the q tokens of text after the last picture,
        2qdHh; their scores, 2qHhn."""
        flops, all_heads = 0, decoder.heads * decoder.head_width
        for layer in self.stages(decoder.layers):
            entered = trace.entered[layer - 1]
            n, of_picture = int(entered.sum()), (entered & (trace.slot_role != Role.TEXT)).nonzero()
            q = int(entered[int(of_picture[-1]) + 1 :].sum()) if len(of_picture) else n
            flops += 4 * n * decoder.width * decoder.key_value_heads * decoder.head_width
            flops += 2 * q * decoder.width * all_heads + 2 * q * all_heads * n
        return flops


def _shares(values: Tensor) -> Tensor:
    return values / (values.sum() + 1e-8)
