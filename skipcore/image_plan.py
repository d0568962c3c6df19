"""What a method looks at, and what it decides, for one picture before the decoder."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from skipcore.averages import averages
from skipcore.tiles import Grid
from skipcore.tower_view import TowerView


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
        destination: [N] where every token went, as a position in `cat(retained, skipped)`; −1: it is dropped.
        weight: [N] what each token counts for in the mean of those that went to the same place; None: all alike.
        summaries: whether a summary token follows each (non-empty) group.
        summary_start: the first summary pools `retained[summary_start:]` only.
        last_skipped_runs_ffn: the last skipped token runs the FFN too.
        in_place: tokens keep the prompt's order; there are no summaries then.
        layers: the layers in which skipped tokens bypass the FFN; None: all.
        attention_layers: the layers in which they bypass the attention: they give keys and values, but do not attend.
        skip_kv: whether the keys and values of skipped tokens leave the cache after prefill.
        ties: [N] the token whose rows each token shares: they are projected and fed forward once, and attend in all
            their places; None: every token has rows of its own.
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

    def merged(self, features: Tensor) -> Tensor:
        """Features [N, d] → [N_r + N_s, d]: the weighted means of the tokens that went to each place, in float32."""
        has_place = (self.destination >= 0).nonzero().flatten()
        weight = None if self.weight is None else self.weight[has_place]
        count = len(self.retained) + len(self.skipped)
        return averages(has_place, self.destination[has_place], count, weight).to(features.device).of(features)
