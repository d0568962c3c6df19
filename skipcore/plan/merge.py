"""Token merge: fewer visual tokens, and the map from every original token to where it went."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import normalize

from skipcore.plan.averages import at_least_float32

MergeOrder = Literal["raster", "redundancy"]

_CHUNK = 1024  # sources compared with all destinations at a time: bounds the similarity matrix


@dataclass(frozen=True)
class Merge:
    """Which of `n` tokens stay (the destinations) and which destination each token went to.

    Attributes:
        destinations: [kept] indices of the tokens that stay, in output order.
        assignment: [n] for every token the position of its destination in `destinations`.
    """

    destinations: Tensor
    assignment: Tensor


def redundancy(features: Tensor) -> Tensor:
    """How much each token resembles the others: the sum of its cosine similarities to them.

    Paper, token merge, step 1. The n × n similarity matrix is not needed: with unit vectors m,
    Σ_{j≠i} m_i·m_j = m_i·(Σ_j m_j) − 1. Computed in float64, so that the order is that of the exact sums.

    Args:
        features: [n, d].

    Returns:
        [n] in [1 − n, n − 1].
    """
    # MPS has no float64.
    exact = torch.float32 if features.device.type == "mps" else torch.float64
    unit = normalize(features.detach().to(exact), dim=-1)
    return unit @ unit.sum(dim=0) - 1


def merge_tokens(features: Tensor, num_kept: int, order: MergeOrder = "raster") -> Merge:
    """Merge `n` tokens to `num_kept` as Skip-Vision does (paper, token merge, steps 1–4).

    The `n − num_kept` most redundant tokens are the sources; each goes to the destination it resembles
    most. The values of the merged tokens (the mean of a destination and its sources) are not computed
    here but where the sequence is laid out, so that gradients flow through one place only.

    Args:
        features: [n, d] projected visual tokens.
        num_kept: how many stay, 1 ≤ num_kept. With num_kept ≥ n nothing is merged.
        order: of the destinations: `"raster"` (in the order of the picture) or `"redundancy"`
            (highest first, as the authors' code leaves them).
    """
    n, device = len(features), features.device
    if num_kept >= n:
        every = torch.arange(n, device=device)
        return Merge(every, every)
    by_redundancy = redundancy(features).argsort(descending=True, stable=True)
    sources, destinations = by_redundancy[: n - num_kept], by_redundancy[n - num_kept :]
    if order == "raster":
        destinations = destinations.sort().values
    # In bfloat16 many similarities are equal, and tokens would go elsewhere.
    unit = normalize(features.detach().to(at_least_float32(features.dtype)), dim=-1)
    assignment = torch.empty(n, dtype=torch.long, device=device)
    assignment[destinations] = torch.arange(num_kept, device=device)
    assignment[sources] = nearest(unit, sources, destinations)
    return Merge(destinations, assignment)


def nearest(unit: Tensor, sources: Tensor, destinations: Tensor) -> Tensor:
    """[n, d] unit vectors → [sources] which of the destinations each source resembles most, chunk by chunk."""
    targets = unit[destinations].T
    return torch.cat([(unit[chunk] @ targets).argmax(dim=-1) for chunk in sources.split(_CHUNK)])
