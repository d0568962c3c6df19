"""Seam 4: attention in which text never sees skipped tokens (paper, masked variant), or some rows do not attend.

Blind text takes two calls: causal attention among the rows up to the last visual one, over all columns; and the text's
rows over the visible columns. Taking columns away keeps the order of the rest, so "text sees everything but the
skipped" *is* causal attention among the visible: no mask over visual tokens is needed. Where only a few rows attend,
they are gathered and attend under a small mask; where many do, attention runs over all rows, those that skip it with
queries of zero, whose outputs are not read: what is saved then are the projections of queries and outputs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from skipcore.engine.layer_view import Observation
from skipcore.engine.row_selection import chosen, scatter
from skipcore.plan.layer_rows import BlindText, LayerRows, Queries
from skipcore.plan.token_plan import Role

NAME = "skipcore_sdpa"


def attention(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    skip_rows: LayerRows | None = None,
    skip_observation: Observation | None = None,
    skip_decode_masks: Sequence[Tensor | None] | None = None,
    **kwargs,
) -> tuple[Tensor, Tensor | None]:
    """sdpa attention as transformers calls it, in which text may be blind to skipped tokens, or rows not attend.

    Registered under `NAME`, for which transformers knows no mask function: it builds no mask, so prefill runs plainly
    causal, which the right-padded layout makes exact, and positions with gaps are not mistaken for packed sequences.

    Args:
        skip_rows: of the layer that prefills.
        skip_observation: records queries and keys for a method that decides by them.
        skip_decode_masks: a mask for each layer, since layers may have stored different tokens.
    """
    kwargs.pop("skip_prefill", None)
    if skip_decode_masks is not None:
        attention_mask = skip_decode_masks[int(module.layer_idx)]  # type: ignore[arg-type]
    attend = partial(sdpa_attention_forward, module, **kwargs)
    if skip_rows is not None:
        if skip_observation is not None:
            skip_observation.see(query, key, attention_mask, skip_rows, kwargs.get("scaling"))
        if skip_rows.queries is not None and skip_rows.attending is not None:
            rows = skip_rows.attending, skip_rows.queries
            return _some_rows(attend, query, key, value, attention_mask, skip_rows, *rows), None
        if skip_rows.blind_text is not None and attention_mask is None:
            return _blind_text(attend, query, key, value, skip_rows.blind_text), None
    return attend(query, key, value, attention_mask)


def _blind_text(attend: Callable, query: Tensor, key: Tensor, value: Tensor, blind_text: BlindText) -> Tensor:
    """Two calls, see above."""
    before = slice(blind_text.prefix)
    seeing, _ = attend(query[:, :, before], key[:, :, before], value[:, :, before], None)
    visible = [chosen(states, blind_text.visible, 2) for states in (key, value)]
    blind, _ = attend(chosen(query, blind_text.queries, 2), *visible, blind_text.mask)
    batch, length = query.shape[0], query.shape[2]
    text = blind.flatten(0, 1).index_select(0, blind_text.text_in_queries)
    after = seeing.new_zeros(batch, length - blind_text.prefix, *seeing.shape[2:])
    rows = torch.cat([seeing, after], dim=1).flatten(0, 1).index_copy(0, blind_text.text_rows, text)
    return rows.unflatten(0, (batch, length))


def _some_rows(
    attend: Callable,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    layer: LayerRows,
    attending: Tensor,
    queries: Queries,
) -> Tensor:
    """Zero in the rows that do not attend."""
    columns, own = queries.columns, queries.rows
    if attention_mask is None:
        mask = _causal(own, columns, layer)
    else:  # of a model that is not plainly causal
        columns = attention_mask.shape[-1]
        mask = attention_mask.gather(2, own[:, None, :, None].expand(-1, 1, -1, columns))
    attended, _ = attend(chosen(query, own, 2), key[:, :, :columns], value[:, :, :columns], mask)
    return scatter(attended.flatten(0, 1).index_select(0, queries.in_queries), attending, layer)


def _causal(rows: Tensor, columns: int, layer: LayerRows) -> Tensor:
    """[batch, 1, queries, columns] bool: what `rows` [batch, queries] may see."""
    seen = torch.arange(columns, device=rows.device) <= rows[:, :, None]
    if (hidden := layer.hidden_from_text) is not None:
        is_text = (layer.role == Role.TEXT).gather(1, rows)
        seen &= ~(is_text[:, :, None] & hidden[:, None, :columns])
    return seen[:, None]


ALL_ATTENTION_FUNCTIONS.register(NAME, attention)
