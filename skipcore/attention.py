"""Attention in which text never sees skipped tokens (paper, masked variant).

Two calls: causal attention among the rows up to the last visual one, over all columns; and the text's rows over the
visible columns. Taking columns away keeps the order of the rest, so "text sees everything but the skipped" *is* causal
attention among the visible: no mask over visual tokens is needed.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

NAME = "skipcore_sdpa"


@dataclass(frozen=True)
class BlindText:
    """Which rows attend without seeing skipped tokens.

    Attributes:
        prefix: rows before this one attend to everything before them; all later ones are text.
        visible: [batch, visible] slots that text may see, padded on the right.
        queries: [batch, queries] the slots whose rows are computed anew, padded on the right.
        mask: [batch, 1, queries, visible] bool where the queries are fewer than the visible; None for square causal.
        text_rows: [text] flattened [batch · slots] rows of text.
        text_in_queries: [text] the same rows in the flattened [batch · queries].
    """

    prefix: int
    visible: Tensor
    queries: Tensor
    mask: Tensor | None
    text_rows: Tensor
    text_in_queries: Tensor


def num_queries(num_after: int, num_visible: int) -> int:
    """How many rows the second call computes: the visible ones from the first blind text on, where they are few enough
    for a small mask to pay; else all visible ones, square and causal without a mask."""
    return num_after if 2 * num_after <= num_visible else num_visible


def attention(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    blind_text: BlindText | None = None,
    **kwargs,
) -> tuple[Tensor, Tensor | None]:
    """sdpa attention as transformers calls it, in which text rows may be blind to skipped tokens.

    Registered under `NAME`, for which transformers knows no mask function: it builds no mask, so prefill runs plainly
    causal, which the right-padded layout makes exact, and positions with gaps are not mistaken for packed sequences.
    """
    if blind_text is None:
        return sdpa_attention_forward(module, query, key, value, attention_mask, **kwargs)
    before = slice(blind_text.prefix)
    seeing, _ = sdpa_attention_forward(
        module, query[:, :, before], key[:, :, before], value[:, :, before], None, **kwargs
    )
    blind, _ = sdpa_attention_forward(
        module,
        _at(query, blind_text.queries),
        _at(key, blind_text.visible),
        _at(value, blind_text.visible),
        blind_text.mask,
        **kwargs,
    )
    batch, slots = query.shape[0], query.shape[2]
    text = blind.flatten(0, 1).index_select(0, blind_text.text_in_queries)
    after = seeing.new_zeros(batch, slots - blind_text.prefix, *seeing.shape[2:])
    rows = torch.cat([seeing, after], dim=1).flatten(0, 1).index_copy(0, blind_text.text_rows, text)
    return rows.unflatten(0, (batch, slots)), None


ALL_ATTENTION_FUNCTIONS.register(NAME, attention)


def _at(states: Tensor, slots: Tensor) -> Tensor:
    """[batch, heads, slots, head_dim] at `slots` [batch, chosen]."""
    if len(slots) == 1:
        return states.index_select(2, slots[0])
    return states.gather(2, slots[:, None, :, None].expand(-1, states.shape[1], -1, states.shape[3]))
