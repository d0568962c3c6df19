"""What a method may look at when it decides within the decoder, before a layer.

No n × n tensor: scores come from a few query rows, the rest are scalars per token.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity
from torch.nn.utils.rnn import pad_sequence

from skipcore.engine.row_selection import chosen
from skipcore.plan.averages import without_autocast
from skipcore.plan.layer_rows import LayerRows
from skipcore.plan.token_plan import Role


class Look(Enum):
    """What a method asks to see, beside the hidden states."""

    ATTENTION_BEFORE = auto()
    """How much the prompt's last token attended to each token in the layer before."""
    ATTENTION_AHEAD = auto()
    """How much it would attend in the layer to come."""
    TEXT_ATTENTION_AHEAD = auto()
    """How much the text after the last picture would attend in the layer to come."""
    KEY_NORMS = auto()
    """L1 norm of each token's keys in the layer before."""
    UPDATES = auto()
    """L2 norm of what the layer before added to each token."""
    TRANSITIONS = auto()
    """How the attention and the FFN of the layer before changed what they read of each token."""


AHEAD = frozenset({Look.ATTENTION_AHEAD, Look.TEXT_ATTENTION_AHEAD})
"""What the layer to come is asked for; all else is noted while the layer before runs."""


@dataclass(frozen=True)
class LayerView:
    """One sample before a layer. Only the slots that entered the layer before; on the model's device.

    Attributes:
        slots: [entered] their numbers, in order; CPU tensor.
        states: [entered, d] hidden states about to enter.
        attention: [entered] mean over the heads of the last token's attention, or over the text after the last
            picture; None unless asked for.
        key_norms: [entered] None unless asked for.
        updates: [entered] None unless asked for.
        transitions: [entered, 2, 2] of the attention and of the FFN, the cosine of what it reads (after the norm) and
            what it returns, and the ratio of their L2 norms, returned / read; zeros where it was skipped. None unless
            asked for.
        logits: hidden states [k, d] → logits [k, vocabulary] through the model's final norm and head.
        norm: hidden states [k, d] through the model's final norm.
    """

    slots: Tensor
    states: Tensor
    attention: Tensor | None
    key_norms: Tensor | None
    updates: Tensor | None
    transitions: Tensor | None
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
        """[batch, length] mean over heads and rows of the attention that was asked for."""
        self.key_norms: Tensor | None = None
        """[batch, length] Σ |key| over heads and channels."""

    def see(self, query: Tensor, key: Tensor, mask: Tensor | None, rows: LayerRows, scaling: float | None) -> None:
        """Called with [batch, heads, length, head_dim] queries and keys, positions applied."""
        if Look.KEY_NORMS in self._looks:
            self.key_norms = key.detach().abs().sum(dim=(1, 3), dtype=torch.float32)
        if self._looks & {Look.ATTENTION_BEFORE, *AHEAD}:
            with without_autocast(query.device):
                asking = asking_rows(self._looks, rows)
                self.attention = mean_attention(query.detach(), key.detach(), mask, asking, rows, scaling)
        if self._ends:
            raise Observed


def asking_rows(looks: frozenset[Look], rows: LayerRows) -> Tensor:
    """[batch, length] bool: the rows whose attention is wanted, every sample's last one or its text after the last
    picture."""
    numbers, last = torch.arange(rows.length, device=rows.last.device), rows.last[:, None]
    if Look.TEXT_ATTENTION_AHEAD not in looks:
        return numbers == last
    after_pictures = ((rows.role != Role.TEXT) * (numbers + 1)).amax(dim=1, keepdim=True)
    return (numbers >= after_pictures) & (numbers <= last)


def mean_attention(
    query: Tensor, key: Tensor, mask: Tensor | None, asking: Tensor, rows: LayerRows, scaling: float | None
) -> Tensor:
    """[batch, length] attention probabilities, mean over the heads and over the q rows where `asking` holds."""
    length, width = query.shape[2:]
    numbers = pad_sequence([of_sample.nonzero().flatten() for of_sample in asking], batch_first=True)  # [batch, q]
    own = chosen(query, numbers, 2).unflatten(1, (key.shape[1], -1))
    scores = (own.flatten(2, 3).float() @ key.float().transpose(-1, -2)).unflatten(2, own.shape[2:4]).flatten(1, 2)
    scores = scores * (width**-0.5 if scaling is None else scaling)  # [batch, heads, q, length]
    seen = torch.arange(length, device=query.device) <= numbers[:, :, None]
    if mask is not None:
        seen = chosen(mask, numbers, 2)[:, 0]
        seen = seen if seen.dtype == torch.bool else seen == 0
    if rows.hidden_from_text is not None:
        seen = seen & ~rows.hidden_from_text[:, None]
    of_rows = scores.masked_fill(~seen[:, None], -torch.inf).softmax(dim=-1).mean(dim=1)
    count = asking.sum(dim=1, keepdim=True)
    is_real = torch.arange(numbers.shape[1], device=query.device) < count
    return of_rows.masked_fill(~is_real[:, :, None], 0).sum(dim=1) / count


def transition(states: Tensor, output: Tensor) -> Tensor:
    """What a sub-layer reads and returns [..., d] → [..., 2] cosine and ratio of the norms, in float32."""
    states, output = states.detach().float(), output.detach().float()
    return torch.stack([cosine_similarity(states, output, dim=-1), output.norm(dim=-1) / states.norm(dim=-1)], dim=-1)
