"""Attention in which text never sees skipped tokens (paper, masked variant), and some rows do not attend at all.

Blind text takes two calls: causal attention among the rows up to the last visual one, over all columns; and the text's
rows over the visible columns. Taking columns away keeps the order of the rest, so "text sees everything but the
skipped" *is* causal attention among the visible: no mask over visual tokens is needed. Where skipped tokens skip the
attention, too, the other rows are gathered and attend under a mask of their own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

if TYPE_CHECKING:
    from skipcore.layout import Layout

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


@dataclass(frozen=True)
class Queries:
    """The rows that attend, in layers where others do not.

    Attributes:
        slots: [batch, queries] slots of the rows, padded on the right.
        mask: [batch, 1, queries, slots] bool, what each may see.
        rows: [rows] flattened [batch · slots] rows, padding left out.
        in_queries: [rows] the same rows in the flattened [batch · queries].
    """

    slots: Tensor
    mask: Tensor
    rows: Tensor
    in_queries: Tensor


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
    skip_layout: Layout | None = None,
    **kwargs,
) -> tuple[Tensor, Tensor | None]:
    """sdpa attention as transformers calls it, in which text may be blind to skipped tokens, or rows not attend.

    Registered under `NAME`, for which transformers knows no mask function: it builds no mask, so prefill runs plainly
    causal, which the right-padded layout makes exact, and positions with gaps are not mistaken for packed sequences.
    """
    if skip_layout is not None:
        if (queries := skip_layout.queries[int(module.layer_idx)]) is not None:  # type: ignore[arg-type]
            return _some_rows(module, query, key, value, attention_mask, queries, kwargs), None
        if skip_layout.blind_text is not None and attention_mask is None:
            return _blind_text(module, query, key, value, skip_layout.blind_text, kwargs), None
    return sdpa_attention_forward(module, query, key, value, attention_mask, **kwargs)


def _blind_text(
    module: torch.nn.Module, query: Tensor, key: Tensor, value: Tensor, blind_text: BlindText, kwargs: dict
) -> Tensor:
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
    return rows.unflatten(0, (batch, slots))


def _some_rows(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    queries: Queries,
    kwargs: dict,
) -> Tensor:
    """Zero in the rows that do not attend."""
    mask = queries.mask
    if attention_mask is not None:  # of a model that is not plainly causal
        columns = attention_mask.shape[-1]
        mask = attention_mask.gather(2, queries.slots[:, None, :, None].expand(-1, 1, -1, columns))
    attended, _ = sdpa_attention_forward(module, _at(query, queries.slots), key, value, mask, **kwargs)
    batch, slots = query.shape[0], query.shape[2]
    chosen = attended.flatten(0, 1).index_select(0, queries.in_queries)
    rows = attended.new_zeros(batch * slots, *attended.shape[2:]).index_copy(0, queries.rows, chosen)
    return rows.unflatten(0, (batch, slots))


ALL_ATTENTION_FUNCTIONS.register(NAME, attention)


def _at(states: Tensor, slots: Tensor) -> Tensor:
    """[batch, heads, slots, head_dim] at `slots` [batch, chosen]."""
    if len(slots) == 1:
        return states.index_select(2, slots[0])
    return states.gather(2, slots[:, None, :, None].expand(-1, states.shape[1], -1, states.shape[3]))
