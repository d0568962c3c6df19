"""Attention in which text never sees skipped tokens, without a mask (paper, masked variant).

Two causal calls: all rows over all columns, and the visible rows over the visible columns. Taking columns away
keeps the order of the rest, so "text sees everything but the skipped" *is* square causal attention among the visible.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

PREFIX = "skipcore_"


@dataclass(frozen=True)
class BlindText:
    """Which rows attend without seeing skipped tokens.

    Attributes:
        visible: [batch, visible] slots that text may see, padded on the right.
        text_rows: [text] flattened [batch · slots] rows of text.
        text_in_visible: [text] the same rows in the flattened [batch · visible].
    """

    visible: Tensor
    text_rows: Tensor
    text_in_visible: Tensor


def implementation_for(base: str | None) -> str:
    """Name of the attention that adds blind text to the model's own one; registered on first use.

    transformers builds no mask for a name it has no mask function for: prefill runs plainly causal, which the
    right-padded layout makes exact, and non-monotonic positions are not mistaken for packed sequences.
    Eager attention cannot run without a mask, so sdpa takes its place.
    """
    base = "sdpa" if base in (None, "eager") else base
    name = PREFIX + base
    if name not in ALL_ATTENTION_FUNCTIONS.valid_keys():
        ALL_ATTENTION_FUNCTIONS.register(name, _with_blind_text(ALL_ATTENTION_FUNCTIONS[base]))
    return name


def _with_blind_text(attend: Callable) -> Callable:
    def attention(
        module: torch.nn.Module,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attention_mask: Tensor | None,
        blind_text: BlindText | None = None,
        **kwargs,
    ) -> tuple[Tensor, Tensor | None]:
        output, weights = attend(module, query, key, value, attention_mask, **kwargs)
        if blind_text is None:
            return output, weights
        among_visible, _ = attend(
            module, *(_columns(states, blind_text.visible) for states in (query, key, value)), None, **kwargs
        )
        text = among_visible.flatten(0, 1).index_select(0, blind_text.text_in_visible)
        rows = output.flatten(0, 1).index_copy(0, blind_text.text_rows, text)
        return rows.unflatten(0, output.shape[:2]), weights

    return attention


def _columns(states: Tensor, slots: Tensor) -> Tensor:
    """[batch, heads, slots, head_dim] at `slots` [batch, chosen]."""
    if len(slots) == 1:
        return states.index_select(2, slots[0])
    return states.gather(2, slots[:, None, :, None].expand(-1, states.shape[1], -1, states.shape[3]))
