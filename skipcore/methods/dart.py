"""DART: drop what duplicates a few pivots (EMNLP 2025, 2502.11494)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import normalize

from skipcore.engine.layer_view import LayerView, Look
from skipcore.errors import InputError
from skipcore.methods.dropping import DropOnce, visual_slots
from skipcore.methods.method import DecoderShape
from skipcore.methods.settings import Count, Layer, resolve
from skipcore.plan.token_plan import Role, TokenPlan
from skipcore.trace import Trace


@dataclass(frozen=True)
class DART(DropOnce):
    """From layer K on, some pivots and the visual tokens that resemble them least: pivots are the tokens of the largest
    key norms (L1, layer K − 1) in the picture and in the text behind it; each in turn adds an equal share of the visual
    tokens of the lowest cosine similarity to it among those not chosen yet, of hidden states through the decoder's
    final norm. Attention-free.

    The pivots take their turns in the order of the authors' code, which is that of a Python set of their positions.
    Unlike in it, `num_kept` counts the visual pivots in (theirs: 4 + 128 are 132 here), several pictures are chosen
    from one by one, and text behind a picture never means the tokens of another one.

    Attributes:
        layer: K ≥ 1 (authors: 2 of 32).
        num_kept: visual tokens kept of each picture (authors: 132 of 576).
        visual_pivots, text_pivots: authors: 4 and 4.
        positions: the authors' are "original".
    """

    name: ClassVar[str] = "DART"
    looks: ClassVar[frozenset[Look]] = frozenset({Look.KEY_NORMS})

    layer: Layer = 2
    num_kept: Count = 0.5
    visual_pivots: int = 4
    text_pivots: int = 4

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.visual_pivots:
            raise InputError("visual_pivots must be at least 1.")

    def decide(self, layer: int, view: LayerView, plan: TokenPlan) -> TokenPlan:
        """Drop what resembles the pivots."""
        assert view.key_norms is not None
        norms = view.key_norms.cpu()
        text = (plan.slot_role[view.slots] == Role.TEXT).nonzero().flatten()
        unit = normalize(view.norm(view.states).float(), dim=-1)
        dropped = []
        for rows, tokens in visual_slots(plan, view):
            if len(rows):
                kept = self._kept(unit, norms, rows, text[text > rows[-1]], resolve(self.num_kept, tokens))
                dropped.append(view.slots[rows[~torch.isin(rows, kept)]])
        return plan.without(torch.cat(dropped), layer) if dropped else plan

    def pivots(self, norms: Tensor, rows: Tensor, text: Tensor, count: int) -> tuple[Tensor, list[int]]:
        """The visual pivots, and all pivots in the order of their turns.

        Args:
            norms: [entered] of the keys.
            rows: of a picture's visual tokens.
            text: rows of the text behind it.
            count: visual tokens to keep.
        """
        visual = rows[norms[rows].topk(min(self.visual_pivots, count)).indices]
        of_text = text[norms[text].topk(min(self.text_pivots, len(text))).indices]
        return visual, list({*visual.tolist(), *of_text.tolist()})

    def _kept(self, unit: Tensor, norms: Tensor, rows: Tensor, text: Tensor, count: int) -> Tensor:
        """The rows of one picture that are kept."""
        count = min(count, len(rows))
        visual, turns = self.pivots(norms, rows, text, count)
        chosen = torch.isin(rows, visual)
        similarity = (unit[torch.tensor(turns, dtype=torch.long).to(unit.device)] @ unit[rows.to(unit.device)].T).cpu()
        for number, row in enumerate(similarity):
            share = (count - int(chosen.sum())) // (len(turns) - number)
            chosen[row.masked_fill(chosen, torch.inf).topk(share, largest=False).indices] = True
        return rows[chosen]

    def selection_flops(self, trace: Trace, decoder: DecoderShape) -> int:
        """2pnd for the similarities of n visual tokens to p pivots."""
        flops = 0
        for layer in self.decision_layers(decoder.layers):
            before, is_text = trace.entered[layer - 1], trace.slot_role == Role.TEXT
            for number, tokens in enumerate(trace.picture_tokens):
                own = (before & (trace.slot_picture == number) & ~is_text).nonzero().flatten()
                if len(own):
                    behind = int((before & is_text)[int(own[-1]) :].sum())
                    pivots = min(self.visual_pivots, resolve(self.num_kept, tokens), len(own))
                    flops += 2 * (pivots + min(self.text_pivots, behind)) * len(own) * decoder.width
        return flops
