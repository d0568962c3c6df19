"""Attention over virtually unmerged tokens, exact form (DyMU, arXiv 2504.17040): logits from merged queries and keys.

With a query (q₁, q₂) and a key (k₁, k₂) of one rotary frequency θ, unrotated, at the places m and n:
logit = (q₁k₁ + q₂k₂)·cos((m − n)θ) + (q₁k₂ − q₂k₁)·sin((m − n)θ), summed over the frequencies. The products are those
of merged tokens; only the angles know of places. The value is that of ordinary attention over expanded tokens, the fast
form, which is the quicker one.
"""

from __future__ import annotations

import torch
from torch import Tensor

from skipcore.errors import InputError
from skipcore.plan.layer_rows import LayerRows, Ties

CHUNK = 8
"""Places whose logits are built at a time."""


def exact_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None,
    rotation: tuple[Tensor, Tensor],
    layer: LayerRows,
    ties: Ties,
    scaling: float,
) -> Tensor:
    """[batch, heads, length, head_dim] queries, keys and values, positions applied → [batch, length, heads, head_dim].

    Args:
        mask: [batch, 1, length, length] bool; None: causal.
        rotation: cosines and sines [batch or 1, length, head_dim], both halves alike, that were applied.

    Raises:
        InputError: the model rotates a part of its heads only, or channels side by side.
    """
    batch, heads, length, width = query.shape
    cosine, sine = (each.expand(batch, -1, -1) for each in rotation)
    if cosine.shape[-1] != width or not torch.equal(*cosine.chunk(2, dim=-1)):
        raise InputError("DyMU's exact form needs rotary positions over whole heads: use DyMU(exact=False).")
    half = width // 2
    cosine, sine = cosine[..., :half].float(), sine[..., :half].float()
    groups = heads // key.shape[1]
    outputs = []
    for sample in range(batch):
        leader = ties.unique[ties.inverse[sample * length : (sample + 1) * length]] % length
        cos, sin = cosine[sample], sine[sample]
        q1, q2 = _unrotated(query[sample], cos, sin)
        k1, k2 = (each.repeat_interleave(groups, dim=0)[:, leader] for each in _unrotated(key[sample], cos, sin))
        values = value[sample].repeat_interleave(groups, dim=0)
        rows = []
        for first in range(0, length, CHUNK):
            places = torch.arange(first, min(first + CHUNK, length), device=query.device)
            along = _angles(cos[places], sin[places], cos, sin)  # cosines and sines of (m − n)θ, [chunk, length, half]
            own1, own2 = (each[:, leader[places], None] for each in (q1, q2))
            logits = (own1 * k1[:, None] + own2 * k2[:, None]) * along[0]
            logits = logits + (own1 * k2[:, None] - own2 * k1[:, None]) * along[1]
            seen = places[:, None] >= torch.arange(length, device=query.device)
            if mask is not None:
                seen = mask[sample, 0, places]
            scores = (logits.sum(dim=-1) * scaling).masked_fill(~seen, -torch.inf).softmax(dim=-1)
            rows.append(scores.to(values.dtype) @ values)
        outputs.append(torch.cat(rows, dim=1).transpose(0, 1))
    return torch.stack(outputs)


def _unrotated(states: Tensor, cos: Tensor, sin: Tensor) -> tuple[Tensor, Tensor]:
    """[heads, length, head_dim] → the two halves before positions were applied, [heads, length, head_dim / 2] each."""
    one, two = states.float().chunk(2, dim=-1)
    size = cos.square() + sin.square()  # 1, but where a family scales its rotations
    return (one * cos + two * sin) / size, (two * cos - one * sin) / size


def _angles(cos: Tensor, sin: Tensor, all_cos: Tensor, all_sin: Tensor) -> tuple[Tensor, Tensor]:
    return (
        cos[:, None] * all_cos + sin[:, None] * all_sin,
        sin[:, None] * all_cos - cos[:, None] * all_sin,
    )
