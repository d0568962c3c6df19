"""A batch of TokenPlans laid out as one rectangle of slots, and the tensor moves that go with it.

Samples are padded on the *right*, whatever side the prompt is padded on: under causal attention no real row ever
sees a later one, so prefill needs no mask and no n × n tensor is built.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from skipcore.attention import BlindText, Queries, num_queries
from skipcore.plan import Role, TokenPlan
from skipcore.summary import AdaptiveSummary, summarise

Built = TypeVar("Built")


@dataclass(frozen=True)
class Layout:
    """Index tensors of one prefill, on the decoder's device. `rows` are indices into the flattened [batch · length].

    Attributes:
        length: slots per sample, padding included.
        slot_source: [batch, length] token of the prompt in whose place the slot stands (0 in padding).
        role: [batch, length] the `Role` of the slot (text in padding).
        picture: [batch, length] the picture it belongs to; −1 for text and padding.
        token_slot: [batch, prompt] slot whose final state each token of the prompt reads (0 in padding).
        real_tokens, target_rows: [real tokens] flattened prompt tokens and the rows they go to.
        row_weight: [batch · length, 1] 1 / number of tokens merged into the row.
        summaries: per group size, the rows pooled [groups, size] and the rows of the summary tokens [groups].
        ffn_rows: per layer, [rows] that run the FFN; None where all do.
        queries: per layer, the rows that attend; None where all do.
        kept: per layer, [batch, stored] slots that stay in the KV cache, padded on the left; None where all stay.
        stored_real: [batch, stored] False where a stored key is padding; None where there is no padding.
        blind_text: which rows attend without seeing skipped tokens; None where text sees all.
        renumbered: [batch, length] positions counted anew from 0.
        num_slots: [batch, 1] slots of each sample, padding not counted.
        text_after: slots of text after the last picture of a single sample; 0 for several.
    """

    length: int
    slot_source: Tensor
    role: Tensor
    picture: Tensor
    token_slot: Tensor
    real_tokens: Tensor
    target_rows: Tensor
    row_weight: Tensor
    summaries: tuple[tuple[Tensor, Tensor], ...]
    ffn_rows: tuple[Tensor | None, ...]
    queries: tuple[Queries | None, ...]
    kept: tuple[Tensor | None, ...]
    stored_real: Tensor | None
    blind_text: BlindText | None
    renumbered: Tensor
    num_slots: Tensor
    text_after: int

    @property
    def is_visual(self) -> Tensor:
        """[batch, length] bool: the slot stands for visual tokens, and is no summary."""
        return (self.role == Role.RETAINED) | (self.role == Role.SKIPPED)

    def to(self, device: torch.device) -> Layout:
        """The same layout on `device`; index tensors shared by layers stay shared."""
        return self if device == self.role.device else _to(device, self)

    def embed(self, inputs_embeds: Tensor, summary: AdaptiveSummary | None) -> Tensor:
        """[batch, prompt, d] → [batch, length, d]: merged tokens averaged, summary tokens pooled."""
        batch, _, width = inputs_embeds.shape
        tokens = inputs_embeds.flatten(0, 1).index_select(0, self.real_tokens)
        slots = tokens.new_zeros(batch * self.length, width).index_add(0, self.target_rows, tokens)
        slots = slots * self.row_weight.to(slots.dtype)
        for pooled_rows, summary_rows in self.summaries:
            groups = slots.index_select(0, pooled_rows.flatten()).unflatten(0, pooled_rows.shape)
            slots = slots.index_copy(0, summary_rows, summarise(groups, summary).to(slots.dtype))
        return slots.unflatten(0, (batch, self.length))

    def positions(self, position_ids: Tensor | None, renumber: bool) -> Tensor:
        """Position ids of the slots: of the prompt's own ids [..., batch, prompt], or counted anew."""
        if renumber:
            return self.renumbered
        if position_ids is None:
            return self.slot_source
        source = self.slot_source.expand(*position_ids.shape[:-2], -1, -1)
        return position_ids.expand(*position_ids.shape[:-2], len(self.slot_source), -1).gather(-1, source)

    def restore(self, hidden: Tensor) -> Tensor:
        """[batch, length, d] → [batch, prompt, d]: every token reads the slot it went to."""
        rows = self.token_slot + self._sample_offset()
        return hidden.flatten(0, 1).index_select(0, rows.flatten()).unflatten(0, self.token_slot.shape)

    def _sample_offset(self) -> Tensor:
        batch = len(self.slot_source)
        return torch.arange(0, batch * self.length, self.length, device=self.slot_source.device)[:, None]


def lay_out(plans: Sequence[TokenPlan], text_attends_skipped: bool, device: torch.device) -> Layout:
    """Turn the samples' plans into the index tensors of one prefill."""
    length = max(len(plan.slot_source) for plan in plans)
    offsets = [sample * length for sample in range(len(plans))]
    token_slot = torch.stack([plan.token_slot for plan in plans])
    real = token_slot >= 0
    target_rows = (token_slot + torch.tensor(offsets)[:, None])[real]
    merged_into = torch.bincount(target_rows, minlength=len(plans) * length).clamp(min=1)
    sizes = torch.tensor([len(plan.slot_source) for plan in plans])
    slots = torch.arange(length).expand(len(plans), -1)
    last = (sizes - 1)[:, None]

    return _to(
        device,
        Layout(
            length=length,
            slot_source=pad_sequence([plan.slot_source for plan in plans], batch_first=True),
            role=pad_sequence([plan.slot_role for plan in plans], batch_first=True),
            picture=pad_sequence([plan.slot_picture for plan in plans], batch_first=True, padding_value=-1),
            token_slot=token_slot.clamp(min=0),
            real_tokens=real.flatten().nonzero().flatten(),
            target_rows=target_rows,
            row_weight=(1 / merged_into)[:, None],
            summaries=_summary_rows(plans, offsets),
            ffn_rows=_per_layer([plan.runs_ffn for plan in plans], lambda masks: _rows(masks, length)),
            queries=_per_layer(
                [plan.runs_attention for plan in plans],
                lambda masks: _queries(masks, plans, length, text_attends_skipped),
            ),
            kept=_per_layer([plan.in_cache for plan in plans], _left_padded),
            stored_real=_stored_real(plans),
            blind_text=None if text_attends_skipped else _blind_text(plans, length),
            renumbered=slots.minimum(last),
            num_slots=sizes[:, None],
            text_after=_text_after(plans[0]) if len(plans) == 1 else 0,
        ),
    )


def _per_layer(masks: Sequence[Tensor], build: Callable[[Sequence[Tensor]], Built]) -> tuple[Built, ...]:
    """`build` of the samples' masks [layers, slots] for each layer, once for all layers that agree."""
    built: dict[tuple[bytes, ...], Built] = {}
    layers = []
    for layer in range(len(masks[0])):
        of_layer = [mask[layer] for mask in masks]
        key = tuple(mask.numpy().tobytes() for mask in of_layer)
        if key not in built:
            built[key] = build(of_layer)
        layers.append(built[key])
    return tuple(layers)


def _rows(masks: Sequence[Tensor], length: int) -> Tensor | None:
    """Flattened rows where the masks hold; None where that is every row."""
    rows = torch.cat([mask.nonzero().flatten() + sample * length for sample, mask in enumerate(masks)])
    return None if len(rows) == len(masks) * length else rows


def _queries(
    masks: Sequence[Tensor], plans: Sequence[TokenPlan], length: int, text_attends_skipped: bool
) -> Queries | None:
    """The rows where the masks hold, and what each of them sees; None where that is every row."""
    if all(bool(mask.all()) for mask in masks):
        return None
    slots = [mask.nonzero().flatten() for mask in masks]
    padded = pad_sequence(slots, batch_first=True)
    seen = torch.arange(length) <= padded[:, :, None]
    if not text_attends_skipped:
        role = pad_sequence([plan.slot_role for plan in plans], batch_first=True)
        seen &= ~((role == Role.TEXT).gather(1, padded)[:, :, None] & (role == Role.SKIPPED)[:, None, :])
    return Queries(
        slots=padded,
        mask=seen[:, None],
        rows=torch.cat([chosen + sample * length for sample, chosen in enumerate(slots)]),
        in_queries=torch.cat(
            [torch.arange(len(chosen)) + sample * padded.shape[1] for sample, chosen in enumerate(slots)]
        ),
    )


def _left_padded(masks: Sequence[Tensor]) -> Tensor | None:
    """[batch, stored] indices where the masks hold, the ends aligned; None where every slot of equal samples is."""
    if len({len(mask) for mask in masks}) == 1 and all(bool(mask.all()) for mask in masks):
        return None
    return pad_sequence([mask.nonzero().flatten() for mask in masks], batch_first=True, padding_side="left")


def _stored_real(plans: Sequence[TokenPlan]) -> Tensor | None:
    """Which stored keys are real; None where all are. Every layer of a plan stores equally many tokens."""
    ones = [torch.ones(int(plan.in_cache[0].sum()), dtype=torch.bool) for plan in plans]
    if len({len(row) for row in ones}) == 1:
        return None
    return pad_sequence(ones, batch_first=True, padding_side="left")


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


def _blind_text(plans: Sequence[TokenPlan], length: int) -> BlindText | None:
    """The rows of the masked variant; None where nothing is skipped."""
    skipped = [plan.slot_role == Role.SKIPPED for plan in plans]
    if not any(bool(mask.any()) for mask in skipped):
        return None
    text = [plan.slot_role == Role.TEXT for plan in plans]
    visible = [(~mask).nonzero().flatten() for mask in skipped]
    # Text before the first skipped token sees the same either way.
    blind = [is_text & (mask.cumsum(0) > 0) for is_text, mask in zip(text, skipped, strict=True)]
    starts = [
        int((~is_blind[columns]).long().cumprod(0).sum()) for is_blind, columns in zip(blind, visible, strict=True)
    ]
    most_visible = max(len(columns) for columns in visible)
    rows = max(len(columns) - start for columns, start in zip(visible, starts, strict=True))
    if num_queries(rows, most_visible) == most_visible:
        rows, starts = most_visible, [0] * len(plans)
    queries = [columns[start:] for columns, start in zip(visible, starts, strict=True)]
    text_rows, text_in_queries = [], []
    for sample, (is_blind, slots) in enumerate(zip(blind, queries, strict=True)):
        chosen = is_blind[slots].nonzero().flatten()
        text_in_queries.append(chosen + sample * rows)
        text_rows.append(slots[chosen] + sample * length)
    causal = torch.arange(most_visible) <= torch.arange(rows)[:, None] + torch.tensor(starts)[:, None, None, None]
    return BlindText(
        prefix=max(int((~is_text).nonzero().max()) + 1 if bool((~is_text).any()) else 0 for is_text in text),
        visible=pad_sequence(visible, batch_first=True),
        queries=pad_sequence(queries, batch_first=True),
        mask=None if rows == most_visible else causal,
        text_rows=torch.cat(text_rows),
        text_in_queries=torch.cat(text_in_queries),
    )


def _to(device: torch.device, layout: Layout) -> Layout:
    moved: dict[int, Any] = {}

    def move(value: Any) -> Any:
        if isinstance(value, tuple):
            return tuple(move(item) for item in value)
        if not isinstance(value, Tensor | BlindText | Queries):
            return value
        if id(value) not in moved:
            moved[id(value)] = (
                value.to(device, non_blocking=True)
                if isinstance(value, Tensor)
                else type(value)(**{name: move(item) for name, item in vars(value).items()})
            )
        return moved[id(value)]

    return Layout(**{name: move(value) for name, value in vars(layout).items()})
