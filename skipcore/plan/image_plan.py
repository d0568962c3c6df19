"""What a method looks at, and what it decides, for one picture before the decoder."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from skipcore.plan.averages import averages
from skipcore.plan.tiles import Grid
from skipcore.plan.tower_view import TowerView


@dataclass(frozen=True)
class VisualTokens:
    """One picture as the decoder receives it: what a method may look at.

    Attributes:
        features: [N, d] projected visual tokens, tile after tile, row by row.
        grids: rows and columns of each tile (Σ rows · columns = N).
        tower: what the method asked to see of the vision tower; None where it asked for nothing.
    """

    features: Tensor
    grids: tuple[Grid, ...]
    tower: TowerView | None = None


@dataclass(frozen=True)
class ImagePlan:
    """What a method decides for one picture of N visual tokens.

    Attributes:
        retained: [N_r] indices of the tokens that run the whole block, in layout order.
        skipped: [N_s] indices of the tokens that bypass sub-layers, in layout order.
        destination: [N] where every token went, as an index into `cat(retained, skipped)`; −1: it is dropped.
        weight: [N] what each token counts for in the mean of those merged with it; None: all alike.
        summaries: whether a summary token follows each (non-empty) group.
        summary_start: the first summary pools `retained[summary_start:]` only.
        last_skipped_runs_ffn: the last skipped token runs the FFN and is a token like any other: its role is that of a
            retained one.
        in_place: tokens keep the prompt's order; there are no summaries then.
        layers: the layers in which skipped tokens bypass the FFN; None: all.
        attention_layers: the layers in which they bypass the attention: they give keys and values, but do not attend.
        skip_kv: whether skipped tokens are dropped from the KV cache after prefill.
        ties: [N] the token whose rows each token shares: they are projected and fed forward once, and attend in all
            their positions; None: every token has rows of its own.
    """

    retained: Tensor
    skipped: Tensor
    destination: Tensor
    summaries: bool = True
    summary_start: int = 0
    last_skipped_runs_ffn: bool = False
    in_place: bool = False
    layers: tuple[int, ...] | None = None
    attention_layers: tuple[int, ...] = ()
    skip_kv: bool = True
    weight: Tensor | None = None
    ties: Tensor | None = None

    @staticmethod
    def keep_all(num_tokens: int) -> ImagePlan:
        """Every token retained, no summary: what a dense model does."""
        return ImagePlan.keep(torch.arange(num_tokens), num_tokens)

    @staticmethod
    def keep(kept: Tensor, num_tokens: int) -> ImagePlan:
        """Some tokens retained in the order of the prompt, the others dropped."""
        kept = kept.cpu().sort().values
        destination = torch.full((num_tokens,), -1)
        destination[kept] = torch.arange(len(kept))
        return ImagePlan(kept, kept[:0], destination, summaries=False, in_place=True)

    def without_last(self) -> ImagePlan:
        """The same for all tokens but the last, which goes nowhere here. Where others were merged into it, the last of
        them takes its position."""
        last = len(self.destination) - 1
        kept, destination = torch.cat([self.retained, self.skipped]), self.destination.clone()
        index, destination[last] = int(destination[last]), -1
        num_retained = len(self.retained)
        if index >= 0 and int(kept[index]) == last:
            others = (destination == index).nonzero().flatten()
            if len(others):
                kept[index] = others[-1]
            else:
                kept = torch.cat([kept[:index], kept[index + 1 :]])
                destination[destination > index] -= 1
                num_retained -= index < num_retained
        ties = None if self.ties is None else self.ties.index_fill(0, torch.tensor([last]), last)
        retained, skipped = kept[:num_retained], kept[num_retained:]
        return replace(self, retained=retained, skipped=skipped, destination=destination, ties=ties)

    def merged(self, features: Tensor) -> Tensor:
        """Features [N, d] → [N_r + N_s, d]: the weighted means of the tokens that were merged, in float32."""
        is_kept = (self.destination >= 0).nonzero().flatten()
        weight = None if self.weight is None else self.weight[is_kept]
        count = len(self.retained) + len(self.skipped)
        return averages(is_kept, self.destination[is_kept], count, weight).to(features.device).of(features)
