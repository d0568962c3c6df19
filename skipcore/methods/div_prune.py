"""DivPrune: keep the visual tokens that are most diverse (CVPR 2025, 2503.02175)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import normalize

from skipcore.image_plan import ImagePlan, VisualTokens
from skipcore.methods.dropping import DropBefore
from skipcore.methods.method import DecoderShape
from skipcore.methods.settings import resolve
from skipcore.trace import Trace

_CHUNK = 256


@dataclass(frozen=True)
class DivPrune(DropBefore):
    """Greedy max–min diversity of the projected visual tokens under the distance 1 − cosine: first the token farthest
    from its nearest neighbour, then always the one farthest from all chosen ones. The others are dropped before the
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
        """2n²d for the nearest neighbours, and 2nd for every token chosen but the last."""
        counts = [(n, resolve(self.num_kept, n)) for n in trace.picture_tokens]
        return sum(2 * n * decoder.width * (n + kept - 1) for n, kept in counts if 0 < kept < n)


def most_diverse(features: Tensor, count: int) -> Tensor:
    """[n, d] → [count] indices in the order they are chosen; on the features' device."""
    unit = normalize(features.detach().float(), dim=-1)
    if count == 0:
        return torch.empty(0, dtype=torch.long, device=unit.device)
    nearest = []
    for first in range(0, len(unit), _CHUNK):
        similarity = unit[first : first + _CHUNK] @ unit.T
        rows = torch.arange(len(similarity), device=unit.device)
        similarity[rows, first + rows] = -torch.inf
        nearest.append(similarity.amax(dim=1))
    chosen = [torch.cat(nearest).argmin(keepdim=True)]
    # one product of matrix and vector and four small operations a token: as few as a greedy choice takes
    closeness = torch.full_like(unit[:, 0], -torch.inf)
    for _ in range(count - 1):
        torch.maximum(closeness, (unit @ unit.index_select(0, chosen[-1]).T)[:, 0], out=closeness)
        chosen.append(closeness.index_fill_(0, chosen[-1], torch.inf).argmin(keepdim=True))
    return torch.cat(chosen)
