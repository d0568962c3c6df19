"""What a method may look at when it decides within the decoder, before a layer.

No n × n tensor: scores come from one query row, norms are scalars per token.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto

import torch
from torch import Tensor

from skipcore.plan.averages import without_autocast
from skipcore.plan.layer_rows import LayerRows


class Look(Enum):
    """What a method asks to see, beside the hidden states."""

    ATTENTION_BEFORE = auto()
    """How much the prompt's last token attended to each token in the layer before."""
    ATTENTION_AHEAD = auto()
    """How much it would attend in the layer to come."""
    KEY_NORMS = auto()
    """L1 norm of each token's keys in the layer before."""
    UPDATES = auto()
    """L2 norm of what the layer before added to each token."""


@dataclass(frozen=True)
class LayerView:
    """One sample before a layer. Only the slots that entered the layer before; on the model's device.

    Attributes:
        slots: [entered] their numbers, in order; CPU tensor.
        states: [entered, d] hidden states about to enter.
        attention: [entered] mean over the heads of the last token's attention; None unless asked for.
        key_norms: [entered] None unless asked for.
        updates: [entered] None unless asked for.
        logits: hidden states [k, d] → logits [k, vocabulary] through the model's final norm and head.
        norm: hidden states [k, d] through the model's final norm.
    """

    slots: Tensor
    states: Tensor
    attention: Tensor | None
    key_norms: Tensor | None
    updates: Tensor | None
    logits: Callable[[Tensor], Tensor]
    norm: Callable[[Tensor], Tensor]


class Observed(Exception):
    """Ends an attention that runs for its observation alone."""


class Observation:
    """Takes note of one layer's attention for the decision that follows it.

    Args:
        looks: what is wanted.
        ends: the attention runs for this alone, and ends with `Observed` once it was seen.
    """

    def __init__(self, looks: frozenset[Look], ends: bool = False) -> None:
        self._looks = looks
        self._ends = ends
        self.attention: Tensor | None = None
        """[batch, length] mean over the heads of the last token's attention."""
        self.key_norms: Tensor | None = None
        """[batch, length] Σ |key| over heads and channels."""

    def see(self, query: Tensor, key: Tensor, mask: Tensor | None, rows: LayerRows, scaling: float | None) -> None:
        """Called with [batch, heads, length, head_dim] queries and keys, positions applied."""
        if Look.KEY_NORMS in self._looks:
            self.key_norms = key.detach().abs().sum(dim=(1, 3), dtype=torch.float32)
        if self._looks & {Look.ATTENTION_BEFORE, Look.ATTENTION_AHEAD}:
            with without_autocast(query.device):
                self.attention = last_row(query.detach(), key.detach(), mask, rows, scaling)
        if self._ends:
            raise Observed


def last_row(query: Tensor, key: Tensor, mask: Tensor | None, rows: LayerRows, scaling: float | None) -> Tensor:
    """[batch, length] attention probabilities of every sample's last token, mean over the heads."""
    heads, length, width = query.shape[1:]
    last = rows.last[:, None, None, None]
    own = query.gather(2, last.expand(-1, heads, 1, width))[:, :, 0].unflatten(1, (key.shape[1], -1))
    scores = (own.float() @ key.float().transpose(-1, -2)).flatten(1, 2)  # [batch, heads, length]
    scores = scores * (width**-0.5 if scaling is None else scaling)
    seen = torch.arange(length, device=query.device) <= rows.last[:, None]
    if mask is not None:
        seen = mask.gather(2, last.expand(-1, 1, 1, length))[:, 0, 0]
        seen = seen if seen.dtype == torch.bool else seen == 0
    if rows.hidden_from_text is not None:
        seen = seen & ~rows.hidden_from_text
    return scores.masked_fill(~seen[:, None], -torch.inf).softmax(dim=-1).mean(dim=1)
