"""A batch of TokenPlans laid out as one rectangle of slots: what goes into the decoder, and how its output goes back.

Samples are padded on the right; see `rows`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from skipcore.plan.averages import Averages, averages
from skipcore.plan.summary import AdaptiveSummary, summarize
from skipcore.plan.token_plan import Role, TokenPlan


@dataclass(frozen=True)
class Layout:
    """Index tensors of one prefill. `rows` are indices into the flattened [batch · length].

    Attributes:
        length: slots per sample, padding included.
        slot_source: [batch, length] prompt index of the token that the slot stands for (0 in padding).
        role: [batch, length] the `Role` of the slot (text in padding).
        picture: [batch, length] the picture it belongs to; −1 for text and padding.
        token_slot: [batch, prompt] slot whose final state each token of the prompt reads (0 in padding, and for dropped
            tokens).
        means: how the flattened prompt's tokens are averaged to rows.
        summaries: per group size, the rows pooled [groups, size] and the rows of the summary tokens [groups].
        renumbered: [batch, length] positions counted from 0.
        num_slots: [batch, 1] slots of each sample, padding not counted.
        changed: [batch, 1] bool, whether the sample's slots are others than the tokens of its prompt, one by one.
        text_after: slots of text after the last picture of a single sample; 0 for several.
        as_given: every token has the slot of its own number, so that the prompt is laid out already.
    """

    length: int
    slot_source: Tensor
    role: Tensor
    picture: Tensor
    token_slot: Tensor
    means: Averages
    summaries: tuple[tuple[Tensor, Tensor], ...]
    renumbered: Tensor
    num_slots: Tensor
    changed: Tensor
    text_after: int
    as_given: bool

    def stands_for(self, tokens: Tensor) -> Tensor:
        """Of [batch, prompt] bool → [batch, length] bool: the slot stands for such a token, and is no summary."""
        is_real = torch.arange(self.length, device=tokens.device) < self.num_slots
        return tokens.gather(1, self.slot_source) & (self.role != Role.SUMMARY) & is_real

    def embed(self, inputs_embeds: Tensor, summary: AdaptiveSummary | None) -> Tensor:
        """[batch, prompt, d] → [batch, length, d]: merged tokens averaged, summary tokens pooled."""
        if self.as_given:
            return inputs_embeds
        slots = self.means.of(inputs_embeds.flatten(0, 1))
        for pooled_rows, summary_rows in self.summaries:
            groups = slots.index_select(0, pooled_rows.flatten()).unflatten(0, pooled_rows.shape)
            slots = slots.index_copy(0, summary_rows, summarize(groups, summary).to(slots.dtype))
        return slots.unflatten(0, (len(inputs_embeds), self.length))

    def positions(self, position_ids: Tensor | None, renumber: bool) -> Tensor:
        """Position ids of the slots: of the prompt's own ids [..., batch, prompt], or renumbered where it changed."""
        own = self.slot_source
        if position_ids is not None:
            source = self.slot_source.expand(*position_ids.shape[:-2], -1, -1)
            own = position_ids.expand(*position_ids.shape[:-2], len(self.slot_source), -1).gather(-1, source)
        return torch.where(self.changed, self.renumbered, own) if renumber else own

    def restore(self, hidden: Tensor, row_of_slot: Tensor | None) -> Tensor:
        """[batch, rows, d] → [batch, prompt, d]: every token reads the slot it went to.

        Args:
            row_of_slot: [batch, length] the row of every slot in `hidden`; None where rows are slots.
        """
        rows = self.token_slot if row_of_slot is None else row_of_slot.gather(1, self.token_slot)
        offset = torch.arange(0, len(hidden) * hidden.shape[1], hidden.shape[1], device=hidden.device)[:, None]
        return hidden.flatten(0, 1).index_select(0, (rows + offset).flatten()).unflatten(0, rows.shape)


def lay_out(plans: Sequence[TokenPlan]) -> Layout:
    """Turn the samples' plans into the index tensors of one prefill. CPU tensors."""
    length = max(len(plan.slot_source) for plan in plans)
    offsets = [sample * length for sample in range(len(plans))]
    token_slot = torch.stack([plan.token_slot for plan in plans])
    has_slot = token_slot >= 0
    sizes = torch.tensor([len(plan.slot_source) for plan in plans])
    as_given = bool((token_slot == torch.arange(token_slot.shape[1])).all()) and length == token_slot.shape[1]
    return Layout(
        length=length,
        slot_source=pad_sequence([plan.slot_source for plan in plans], batch_first=True),
        role=pad_sequence([plan.slot_role for plan in plans], batch_first=True),
        picture=pad_sequence([plan.slot_picture for plan in plans], batch_first=True, padding_value=-1),
        token_slot=token_slot.clamp(min=0),
        means=averages(
            has_slot.flatten().nonzero().flatten(),
            (token_slot + torch.tensor(offsets)[:, None])[has_slot],
            len(plans) * length,
            torch.stack([plan.token_weight for plan in plans])[has_slot],
        ),
        summaries=_summary_rows(plans, offsets),
        renumbered=torch.arange(length).expand(len(plans), -1).minimum((sizes - 1)[:, None]),
        num_slots=sizes[:, None],
        changed=torch.tensor([[not plan.as_given] for plan in plans]),
        text_after=_text_after(plans[0]) if len(plans) == 1 else 0,
        as_given=as_given,
    )


def _text_after(plan: TokenPlan) -> int:
    """Slots of text after the last picture."""
    return int((plan.slot_role == Role.TEXT).flip(0).long().cumprod(0).sum())


def _summary_rows(plans: Sequence[TokenPlan], offsets: Sequence[int]) -> tuple[tuple[Tensor, Tensor], ...]:
    """Summary groups of all samples, stacked by size so that equal ones are pooled in one call."""
    groups = [
        (group.pooled + offset, group.slot + offset)
        for plan, offset in zip(plans, offsets, strict=True)
        for group in plan.summaries
    ]
    groups.sort(key=lambda group: len(group[0]))
    by_size = [list(same) for _, same in groupby(groups, key=lambda group: len(group[0]))]
    return tuple(
        (torch.stack([rows for rows, _ in same]), torch.tensor([slot for _, slot in same])) for same in by_size
    )
