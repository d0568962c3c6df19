"""DART: drop what duplicates a few pivots (EMNLP 2025, 2502.11494)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import normalize

from skipcore.errors import InputError
from skipcore.looking import LayerView, Look
from skipcore.methods.dropping import DropOnce, visual_slots
from skipcore.methods.method import DecoderShape
from skipcore.methods.settings import Count, Layer, checked_whole, resolve
from skipcore.plan import Role, TokenPlan
from skipcore.trace import Trace


@dataclass(frozen=True)
class DART(DropOnce):
    """From layer K on, some pivots and the visual tokens that resemble them least: pivots are the visual and the text
    tokens of the largest key norms (L1, layer K − 1); each in turn adds an equal share of the visual tokens of the
    lowest cosine similarity to it among those not chosen yet. Attention-free; positions stay.

    Unlike the re-implementations that are known to us, the pivots count as kept tokens, so that exactly `num_kept` are
    left, and similarities are those of the hidden states without the next norm's weights.

    Attributes:
        layer: K ≥ 1 (authors: 2 of 32).
        num_kept: visual tokens kept of each picture.
        visual_pivots, text_pivots: authors: 10 and 5.
    """

    name: ClassVar[str] = "DART"
    looks: ClassVar[frozenset[Look]] = frozenset({Look.KEY_NORMS})

    layer: Layer = 2
    num_kept: Count = 0.5
    visual_pivots: int = 10
    text_pivots: int = 5

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("visual_pivots", "text_pivots"):
            object.__setattr__(self, name, checked_whole(name, getattr(self, name)))
        if not self.visual_pivots:
            raise InputError("visual_pivots must be at least 1.")

    def decide(self, layer: int, view: LayerView, plan: TokenPlan) -> TokenPlan:
        """Drop what resembles the pivots."""
        assert view.key_norms is not None
        norms = view.key_norms.cpu()
        text = (plan.slot_role[view.slots] == Role.TEXT).nonzero().flatten()
        of_text = text[norms[text].topk(min(self.text_pivots, len(text))).indices]
        unit = normalize(view.states.float(), dim=-1)
        gone = []
        for rows, tokens in visual_slots(plan, view):
            kept = self._kept(unit, norms, rows, of_text, resolve(self.num_kept, tokens))
            gone.append(view.slots[rows[~torch.isin(rows, kept)]])
        return plan.without(torch.cat(gone), layer) if gone else plan

    def _kept(self, unit: Tensor, norms: Tensor, rows: Tensor, of_text: Tensor, count: int) -> Tensor:
        """The rows of one picture that are kept."""
        count = min(count, len(rows))
        pivots = rows[norms[rows].topk(min(self.visual_pivots, count)).indices]
        chosen = torch.isin(rows, pivots)
        several = torch.cat([pivots, of_text])
        similarity = (unit[several.to(unit.device)] @ unit[rows.to(unit.device)].T).cpu()
        for number, row in enumerate(similarity):
            share = (count - int(chosen.sum())) // (len(several) - number)
            chosen[row.masked_fill(chosen, torch.inf).topk(share, largest=False).indices] = True
        return rows[chosen]

    def selection_flops(self, trace: Trace, decoder: DecoderShape) -> int:
        """2pnd for the similarities of n visual tokens to p pivots."""
        flops = 0
        for layer in self.decision_layers(decoder.layers):
            before, is_text = trace.entered[layer - 1], trace.slot_role == Role.TEXT
            text = min(self.text_pivots, int((before & is_text).sum()))
            for number, tokens in enumerate(trace.picture_tokens):
                n = int((before & (trace.slot_picture == number) & ~is_text).sum())
                pivots = min(self.visual_pivots, resolve(self.num_kept, tokens), n) + text
                flops += 2 * pivots * n * decoder.width
        return flops
