"""DivPrune: keep the visual tokens that are most diverse (CVPR 2025, 2503.02175)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import normalize

from skipcore.methods.dropping import DropBefore
from skipcore.methods.method import DecoderShape
from skipcore.methods.settings import resolve
from skipcore.plan.image_plan import ImagePlan, VisualTokens
from skipcore.trace import Trace

_CHUNK = 256
POOL = 1024
"""So many tokens are candidates for the next choices."""


@dataclass(frozen=True)
class DivPrune(DropBefore):
    """Greedy max–min diversity of the projected visual tokens under the distance 1 − cosine: first the token farthest
    from its nearest neighbor, then always the one farthest from all chosen ones. The others are dropped before the
    decoder.

    Tokens are chosen in the authors' order, and no n × n matrix is kept.

    Attributes:
        num_kept: of each picture (authors: a share of 0.098).
        positions: the authors' are "renumbered".
    """

    name: ClassVar[str] = "DivPrune"

    def plan(self, image: VisualTokens) -> ImagePlan:
        """Keep the most diverse."""
        n = len(image.features)
        count = resolve(self.num_kept, n)
        return ImagePlan.keep(torch.arange(n) if count == n else most_diverse(image.features, count), n)

    def selection_flops(self, trace: Trace, decoder: DecoderShape) -> int:
        """2n²d for the nearest neighbors, and 2nd for every token chosen but the last; of more than `POOL` tokens 2nd
        for every one chosen, and 2d·`POOL` for each after the first."""
        flops = 0
        for n in trace.picture_tokens:
            kept = resolve(self.num_kept, n)
            if 0 < kept < n:
                updates = n * (kept - 1) if n <= POOL else n * kept + POOL * (kept - 1)
                flops += 2 * decoder.width * (n * n + updates)
        return flops


def most_diverse(features: Tensor, count: int) -> Tensor:
    """[n, d] → [count] indices in the order they are chosen; on the features' device.

    A token's closeness, its largest similarity to a chosen one, only grows. So the next choice is among the `POOL`
    least close ones as long as its closeness is below that of all others: the pool alone is kept up to date, in a
    matrix that fits the processor's cache, and all tokens once the pool is used up, in one product of matrices.
    """
    unit = normalize(features.detach().float(), dim=-1)
    if count == 0:
        return torch.empty(0, dtype=torch.long, device=unit.device)
    is_pooled = len(unit) > POOL
    chosen = [_farthest(unit)]
    closeness = torch.full_like(unit[:, 0], -torch.inf)
    known = 0  # how many of the chosen ones `closeness` takes in
    while len(chosen) < count or (known < count and is_pooled):
        new = torch.tensor(chosen[known:], device=unit.device)
        closeness = torch.maximum(closeness, (unit @ unit[new].T).amax(dim=1)).index_fill(0, new, torch.inf)
        known = len(chosen)
        least = closeness.topk(min(POOL + 1, len(unit)), largest=False)
        bound = float(least.values[POOL]) if is_pooled else torch.inf
        pool = least.indices[:POOL].sort().values
        own, vectors = closeness[pool], unit[pool]
        while len(chosen) < count:
            if len(chosen) == known:
                token = int(closeness.argmin())  # the first of several that are least close need not be in the pool
            elif float(own.min()) < bound:
                token = int(pool[own.argmin()])
            else:
                break
            chosen.append(token)
            if len(chosen) < count or is_pooled:
                own = torch.maximum(own, (vectors @ unit[token, :, None])[:, 0]).masked_fill(pool == token, torch.inf)
    return torch.tensor(chosen, device=unit.device)


def _farthest(unit: Tensor) -> int:
    """The token farthest from its nearest neighbor."""
    nearest = []
    for first in range(0, len(unit), _CHUNK):
        similarity = unit[first : first + _CHUNK] @ unit.T
        rows = torch.arange(len(similarity), device=unit.device)
        similarity[rows, first + rows] = -torch.inf
        nearest.append(similarity.amax(dim=1))
    return int(torch.cat(nearest).argmin())
