"""Tokens merge within the vision tower, block by block (DToMe of DyMU, arXiv 2504.17040).

Merged tokens keep their positions: they are *tied*, have one value, and are projected and fed forward once.
Attention runs over all positions; over copies it is the same as DyMU's attention over merged tokens weighted by their
sizes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from skipcore.engine.changes import Changes
from skipcore.plan.averages import Averages, averages, without_autocast
from skipcore.tower.blocks import Tower, projections

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
        self._listed: Tensor | None = None  # see `listed`
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
    def listed(self) -> Tensor:
        """[groups] the first row of each group, in the order in which they are listed and halved: in each segment
        sources that did not merge, then the others."""
        assert self._listed is not None
        return self._listed

    @property
    def groups(self) -> Tensor:
        """[rows] the first row of the group that each row has ended in."""
        assert self._leader is not None
        return self._leader

    def _merge(self, number: int) -> Callable:
        def hook(attention: nn.Module, args: tuple, output: Any) -> None:
            rows = sum(len(keys) for keys, _ in self._segments)
            device = self._segments[0][0].device
            every_row = torch.arange(rows, device=device)
            leader = every_row if self._leader is None else self._leader
            listed = every_row if self._listed is None else self._listed
            halves, best, first = [], [], 0
            for keys, mask in self._segments:
                own = listed[(listed >= first) & (listed < first + len(keys))]
                halves.append((own[0::2], own[1::2]))
                with without_autocast(device):
                    best.append(self._best(own[0::2] - first, own[1::2] - first, keys, mask))
                first += len(keys)
            self._segments = []
            score = torch.cat([own for own, _ in best])
            joins = self._joining(number, score, rows)
            into, after = every_row.clone(), []
            for (sources, others), (_, index), joining in zip(
                halves, best, joins.split([len(own) for own, _ in best]), strict=True
            ):
                into[sources[joining]] = others[index[joining]]
                after += [sources[~joining], others]
            self._leader = self._settled(into[leader])
            self._listed = self._leader[torch.cat(after)]

        return hook

    def _best(self, sources: Tensor, others: Tensor, keys: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
        """How much each of a segment's sources resembles the one among the others that it resembles most, and which
        one that is. A class token resembles none."""
        if not len(sources) or not len(others):
            return keys.new_full((len(sources),), -torch.inf, dtype=torch.float32), torch.zeros_like(sources)
        unit = normalize(keys, dim=-1)
        best = []
        for chunk in sources.split(CHUNK):
            similarity = unit[chunk] @ unit[others].T
            if mask is not None:
                similarity = similarity.masked_fill(~mask[chunk][:, others], -torch.inf)
            best.append(similarity.max(dim=1))
        score, index = torch.cat([each.values for each in best]), torch.cat([each.indices for each in best])
        if self._class_token:
            score[0] = -torch.inf
        return score, index

    def _joining(self, number: int, score: Tensor, rows: int) -> Tensor:
        """[sources] bool, which of them merge in a block. Where thresholds are to be found: as many as the rate says,
        and the threshold is the score of the first that does not, 0 at least (as the authors' finder has it)."""
        if self._thresholds is not None:
            return score > self._thresholds[number]
        ranked = score.argsort(descending=True, stable=True)
        merged = min(round(self._rate * rows), int(score.isfinite().sum()))
        self.found.append(max(float(score[ranked[merged]]), 0.0) if merged < len(score) else 0.0)
        return torch.zeros_like(score, dtype=torch.bool).index_fill(0, ranked[:merged], True)

    def _settled(self, leader: Tensor) -> Tensor:
        """Take the groups on: [rows] one of the group of each → [rows] the first of it."""
        _, inverse = leader.cpu().unique(return_inverse=True)
        means = averages(torch.arange(len(inverse)), inverse, int(inverse.max()) + 1)
        self._means, self._inverse = means.to(leader.device), inverse.to(leader.device)
        return self._means.first[self._inverse]

    def _of_groups(self, states: Tensor) -> Tensor:
        """[…, width] → [groups, width]."""
        return self._means.of(states.reshape(-1, states.shape[-1]))

    def _gather_means(self, linear: nn.Module, args: tuple) -> tuple | None:
        if self._leader is None:
            return None
        self._shape = args[0].shape[:-1]
        return (self._of_groups(args[0]),)

    def _tie(self, norm: nn.Module, args: tuple) -> tuple:
        """Before the FFN: groups take on their mean, by an in-place copy, for the residual is the same tensor."""
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
    depend on how many rows come before it.

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
