"""Tokens merge within the vision tower, block by block (DToMe of DyMU, arXiv 2504.17040).

Merged tokens keep their places: they are *tied*, have one value, and are projected and fed forward once. Attention runs
over all places; over copies it is the same as DyMU's attention over merged tokens weighted by their sizes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from skipcore.averages import Averages, averages, without_autocast
from skipcore.changes import Changes
from skipcore.tower import Tower, projections

CHUNK = 512
"""Tokens compared with their candidates at a time."""


class TowerMerging:
    """Hooks on a tower that tie tokens after every block's attention.

    Args:
        tower: its blocks up to the last one that the projector reads take part.
        thresholds: of each block: a token merges with the one it resembles most, where they resemble more than that.
        rate: instead of thresholds, the share of all rows that merges in each block; the thresholds are found then.
        class_token: whether each image begins with one; it never merges into another.

    Attributes:
        found: the thresholds that the rate took, block by block.
    """

    def __init__(self, tower: Tower, thresholds: Sequence[float] | None, rate: float, class_token: bool) -> None:
        self._tower = tower
        self._thresholds = thresholds
        self._rate = rate
        self._class_token = class_token
        self._leader: Tensor | None = None  # [rows] the first row of each row's group; None before the first block
        self._means, self._inverse = Averages(torch.empty(0), ()), torch.empty(0)
        self._shape = torch.Size()
        self._segments: list[tuple[Tensor, Tensor | None]] = []  # keys of each image, and which see which; None: all
        self.found: list[float] = []

    def install(self, changes: Changes) -> None:
        """Hook the blocks."""
        for number in range(self._tower.last + 1):
            block, attention = self._tower.blocks[number], self._tower.attention(number)
            for projection in projections(attention):
                changes.before(projection, self._gather_means)
                changes.after(projection, self._expand)
            norm, ffn = _ffn_of(block)
            changes.after(attention, self._merge(number))
            changes.before(norm, self._tie)
            changes.after(ffn, self._expand)

    def see_attention(self, query: Tensor, key: Tensor, mask: Tensor | None, scaling: float) -> None:
        """Called with a block's keys [images, heads, rows, head_dim], once or sequence after sequence."""
        for image, own in enumerate(key):
            keys = own.mean(dim=0, dtype=torch.float32)
            if mask is None:
                self._segments.append((keys, None))
                continue
            seen = mask[min(image, len(mask) - 1), 0]
            seen = seen if seen.dtype == torch.bool else seen >= 0
            self._segments += [(keys[part], seen[part, part]) for part in _images_of(seen)]

    @property
    def groups(self) -> Tensor:
        """[rows] the first row of the group that each row has ended in."""
        assert self._leader is not None
        return self._leader

    def _merge(self, number: int) -> Callable:
        def hook(attention: nn.Module, args: tuple, output: Any) -> None:
            rows = sum(len(keys) for keys, _ in self._segments)
            device = self._segments[0][0].device
            leader = torch.arange(rows, device=device) if self._leader is None else self._leader
            proposals, first = [], 0
            for keys, mask in self._segments:
                with without_autocast(device):
                    proposals.append(self._proposals(leader[first : first + len(keys)] - first, keys, mask, first))
                first += len(keys)
            self._segments = []
            source, target, score = (torch.cat(each) for each in zip(*proposals, strict=True))
            threshold = self._threshold(number, score, rows)
            joins = score > threshold
            into = torch.arange(rows, device=device)
            into[source[joins]] = target[joins]
            self._settle(into[leader])

        return hook

    def _proposals(
        self, leader: Tensor, keys: Tensor, mask: Tensor | None, first: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Every other group of a segment, the group that resembles it most among the rest, and how much."""
        groups = leader.unique()
        sources, candidates = groups[0::2], groups[1::2]
        if self._class_token:
            sources = sources[1:]
        if not len(sources) or not len(candidates):
            nothing = sources[:0]
            return nothing, nothing, keys.new_empty(0, dtype=torch.float32)
        unit = normalize(keys, dim=-1)
        best = []
        for chunk in sources.split(CHUNK):
            similarity = unit[chunk] @ unit[candidates].T
            if mask is not None:
                similarity = similarity.masked_fill(~mask[chunk][:, candidates], -torch.inf)
            best.append(similarity.max(dim=1))
        score, index = torch.cat([each.values for each in best]), torch.cat([each.indices for each in best])
        return sources + first, candidates[index] + first, score

    def _threshold(self, number: int, score: Tensor, rows: int) -> float:
        if self._thresholds is not None:
            return self._thresholds[number]
        merged = min(round(self._rate * rows), len(score))
        cut = 1.0 if not merged else float(score.sort(descending=True).values[merged - 1]) - 1e-6
        self.found.append(max(cut, 0.0))
        return self.found[-1]

    def _settle(self, leader: Tensor) -> None:
        """Take the groups on."""
        _, inverse = leader.cpu().unique(return_inverse=True)
        means = averages(torch.arange(len(inverse)), inverse, int(inverse.max()) + 1)
        self._means, self._inverse = means.to(leader.device), inverse.to(leader.device)
        self._leader = self._means.first[self._inverse]

    def _of_groups(self, states: Tensor) -> Tensor:
        """[…, width] → [groups, width]."""
        return self._means.of(states.reshape(-1, states.shape[-1]))

    def _gather_means(self, linear: nn.Module, args: tuple) -> tuple | None:
        if self._leader is None:
            return None
        self._shape = args[0].shape[:-1]
        return (self._of_groups(args[0]),)

    def _tie(self, norm: nn.Module, args: tuple) -> tuple:
        """Before the FFN: groups take on their mean, in place, for the residual is the same tensor."""
        self._shape = args[0].shape[:-1]
        means = self._of_groups(args[0])
        args[0].copy_(means[self._inverse].view(args[0].shape))
        return (means,)

    def _expand(self, module: nn.Module, args: tuple, output: Tensor) -> Tensor | None:
        """[groups, width] → [all rows, width]."""
        if self._leader is None:
            return None
        return output[self._inverse].view(*self._shape, output.shape[-1])


def _images_of(seen: Tensor) -> list[slice]:
    """The images of one sequence, of which rows of others are not seen (Pixtral's tower): what merges in one must not
    hang on how many rows stand before it.

    Args:
        seen: [rows, rows] bool. Padding sees nothing of itself and ends no image.
    """
    itself = seen.diagonal()
    begins = (~seen.diagonal(-1) & itself[1:] & itself[:-1]).nonzero().flatten() + 1
    edges = [0, *begins.tolist(), len(seen)]
    return [slice(first, last) for first, last in pairwise(edges)]


def _ffn_of(block: nn.Module) -> tuple[nn.Module, nn.Module]:
    """The norm that feeds a block's FFN, and the FFN."""
    norms = ("layer_norm2", "norm2", "layernorm_after", "ffn_norm")
    norm = next(getattr(block, name) for name in norms if hasattr(block, name))
    return norm, block.mlp if hasattr(block, "mlp") else block.feed_forward  # type: ignore[return-value]
