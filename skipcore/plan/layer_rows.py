"""What one layer runs on, as index tensors: which slots enter it, attend, run the FFN and stay in its KV cache.

A layer's rows are the slots that enter it, in order. Samples are padded on the *right*, whatever side the
prompt is padded on: under causal attention no real row ever sees a later one, so prefill needs no mask and no n × n
tensor is built.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from skipcore.plan.averages import Averages, averages
from skipcore.plan.token_plan import Role, TokenPlan

Moved = TypeVar("Moved")

MOST_MASKED_ROWS = 512
"""So many rows at most attend under a mask: it grows with the prompt, not with its square."""


@dataclass(frozen=True)
class BlindText:
    """Which rows attend without seeing skipped tokens (paper, masked variant).

    Attributes:
        prefix: rows before this one attend to everything before them; all later ones are text, and computed again.
        visible: [batch, visible] rows that text may see, padded on the right.
        queries: [batch, queries] rows that are computed again, padded on the right.
        mask: [batch, 1, queries, visible] bool where the queries are fewer than the visible; None for square causal.
        text_rows: [text] rows of text, flattened.
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
    """The rows that attend, where they are so few that attention under a mask pays.

    Attributes:
        rows: [batch, queries] the rows, padded on the right.
        columns: they see rows before this one only.
        in_queries: [attending] the attending rows in the flattened [batch · queries].
    """

    rows: Tensor
    columns: int
    in_queries: Tensor


@dataclass(frozen=True)
class Ties:
    """Rows that are alike: projected and fed forward once.

    Attributes:
        inverse: [batch · length] which of them stands for each row (0 in padding).
        means: how the rows, padding left out, are averaged to the unique ones.
    """

    inverse: Tensor
    means: Averages


@dataclass(frozen=True)
class LayerRows:
    """One layer's index tensors. *Slots* are those of the whole layout, *rows* those of the layer's input; flattened
    rows are numbers in [batch · length].

    Attributes:
        length: rows per sample, padding included.
        present: [batch, length] slots that enter, padded on the right; None where all do.
        enters: [batch, slots] bool, which slots enter; None where all do.
        row_of_slot: [batch, slots] the row of every slot (0 where it does not enter); None where all do.
        last: [batch] the row of the sample's last token.
        role: [batch, length] the `Role` of each row (text in padding).
        ffn: flattened rows that run the FFN; None where all do.
        attending: flattened rows that attend; None where all do.
        queries: how they attend where they are few; None where attention runs over all rows.
        blind_text: which rows attend without seeing skipped tokens; None where text sees all.
        ties: rows that are alike; None where each is of its own.
        kept: [batch, stored] rows that stay in the KV cache, padded on the left; None where all stay.
        stored_real: [batch, stored] False where a stored key is padding; None where none is.
    """

    length: int
    present: Tensor | None
    enters: Tensor | None
    row_of_slot: Tensor | None
    last: Tensor
    role: Tensor
    ffn: Tensor | None
    attending: Tensor | None
    queries: Queries | None
    blind_text: BlindText | None
    ties: Ties | None
    kept: Tensor | None
    stored_real: Tensor | None

    def only(self, asking: Tensor) -> LayerRows:
        """The same, but only the rows where `asking` [batch, length] holds have queries."""
        return replace(self, attending=asking.flatten().nonzero().flatten())

    @property
    def hidden_from_text(self) -> Tensor | None:
        """[batch, length] bool: skipped rows, which text must not see; None where it may."""
        return None if self.blind_text is None else self.role == Role.SKIPPED


def rows_of_layers(plans: Sequence[TokenPlan], text_attends_skipped: bool) -> list[LayerRows]:
    """Each layer's rows for a batch; layers that agree share theirs. CPU tensors."""
    names = ("enters", "runs_ffn", "runs_attention", "in_cache")
    built: dict[tuple[bytes, ...], LayerRows] = {}
    layers = []
    for layer in range(len(plans[0].enters)):
        masks = [[getattr(plan, name)[layer] for plan in plans] for name in names]
        key = tuple(mask.numpy().tobytes() for of_samples in masks for mask in of_samples)
        if key not in built:
            built[key] = _build(plans, masks, text_attends_skipped)
        layers.append(built[key])
    return layers


def _build(plans: Sequence[TokenPlan], masks: Sequence[Sequence[Tensor]], text_attends_skipped: bool) -> LayerRows:
    enters, *of_slots = masks
    present = _indices(enters)
    runs_ffn, runs_attention, in_cache = (
        [mask[slots] for mask, slots in zip(own, present, strict=True)] for own in of_slots
    )
    length = max(map(len, present))
    roles = [plan.slot_role[slots] for plan, slots in zip(plans, present, strict=True)]
    row_of_slot = [(mask.cumsum(0) - 1) * mask for mask in enters]
    all_enter = _all(enters)
    equal = len({int(mask.sum()) for mask in in_cache}) == 1
    return LayerRows(
        length=length,
        present=None if all_enter else pad_sequence(present, batch_first=True),
        enters=None if all_enter else pad_sequence(list(enters), batch_first=True),
        row_of_slot=None if all_enter else pad_sequence(row_of_slot, batch_first=True),
        last=torch.tensor([len(slots) - 1 for slots in present]),
        role=pad_sequence(roles, batch_first=True),
        ffn=_flattened(runs_ffn, length),
        attending=None if _all(runs_attention) else _flattened(runs_attention, length),
        queries=_queries(runs_attention, length),
        blind_text=None if text_attends_skipped else _blind_text(roles, length),
        ties=_ties(plans, row_of_slot, length),
        kept=None if equal and _all(in_cache) else _left_padded(_indices(in_cache)),
        stored_real=None if equal else _left_padded([mask[mask] for mask in in_cache]),
    )


def _indices(masks: Sequence[Tensor]) -> list[Tensor]:
    """Where each mask holds."""
    return [mask.nonzero().flatten() for mask in masks]


def _all(masks: Sequence[Tensor]) -> bool:
    return all(bool(mask.all()) for mask in masks)


def _left_padded(of_samples: list[Tensor]) -> Tensor:
    return pad_sequence(of_samples, batch_first=True, padding_side="left")


def attend_masked(num_attending: int, length: int) -> bool:
    """Whether so few of `length` rows attend that a mask over their columns costs less than causal attention over all
    rows, whose kernel needs no mask and no copies of keys and values that heads share."""
    return num_attending <= min(MOST_MASKED_ROWS, length // 2)


def num_queries(num_after: int, num_visible: int) -> int:
    """How many rows the second call of blind text computes: the visible ones from the first blind text on, where they
    are few enough for a small mask to pay; else all visible ones, square and causal without a mask."""
    return num_after if 2 * num_after <= num_visible else num_visible


def _flattened(masks: Sequence[Tensor], length: int) -> Tensor | None:
    """Flattened rows where the masks hold; None where that is every row, padding included."""
    rows = torch.cat([own + sample * length for sample, own in enumerate(_indices(masks))])
    return None if len(rows) == len(masks) * length else rows


def _queries(masks: Sequence[Tensor], length: int) -> Queries | None:
    """The rows where the masks hold; None where that is every row, or too many rows."""
    rows = _indices(masks)
    if _all(masks) or not attend_masked(max(map(len, rows)), length):
        return None
    padded = pad_sequence(rows, batch_first=True)
    numbers = [torch.arange(len(own)) + sample * padded.shape[1] for sample, own in enumerate(rows)]
    return Queries(padded, int(padded.max()) + 1, torch.cat(numbers))


def _ties(plans: Sequence[TokenPlan], row_of_slot: Sequence[Tensor], length: int) -> Ties | None:
    """Of tied slots; all of them enter every layer."""
    if all(plan.tied_to is None for plan in plans):
        return None
    leaders, real = [], []
    for sample, (plan, own) in enumerate(zip(plans, row_of_slot, strict=True)):
        tied_to = torch.arange(len(own)) if plan.tied_to is None else plan.tied_to
        leaders.append(own[tied_to] + sample * length)
        real.append(own + sample * length)
    rows = torch.cat(real)
    unique, of_rows = torch.cat(leaders).unique(return_inverse=True)
    inverse = torch.zeros(len(plans) * length, dtype=torch.long)
    inverse[rows] = of_rows
    return Ties(inverse, averages(rows, of_rows, len(unique)))


def _blind_text(roles: Sequence[Tensor], length: int) -> BlindText | None:
    """The rows of the masked variant; None where nothing is skipped."""
    skipped = [role == Role.SKIPPED for role in roles]
    if not any(bool(mask.any()) for mask in skipped):
        return None
    text = [role == Role.TEXT for role in roles]
    visible = _indices([~mask for mask in skipped])
    prefix = max(int((~is_text).nonzero().max()) + 1 if bool((~is_text).any()) else 0 for is_text in text)
    # Text before the first skipped token sees the same either way. A sample that skips nothing may reach beyond the
    # prefix, too: its later rows are computed with the blind ones.
    blind = [
        is_text & ((mask.cumsum(0) > 0) | (torch.arange(len(mask)) >= prefix))
        for is_text, mask in zip(text, skipped, strict=True)
    ]
    starts = [
        int((~is_blind[columns]).long().cumprod(0).sum()) for is_blind, columns in zip(blind, visible, strict=True)
    ]
    most_visible = max(len(columns) for columns in visible)
    rows = max(len(columns) - start for columns, start in zip(visible, starts, strict=True))
    if num_queries(rows, most_visible) == most_visible:
        rows, starts = most_visible, [0] * len(roles)
    queries = [columns[start:] for columns, start in zip(visible, starts, strict=True)]
    text_rows, text_in_queries = [], []
    for sample, (is_blind, own) in enumerate(zip(blind, queries, strict=True)):
        chosen = is_blind[own].nonzero().flatten()
        text_in_queries.append(chosen + sample * rows)
        text_rows.append(own[chosen] + sample * length)
    causal = torch.arange(most_visible) <= torch.arange(rows)[:, None] + torch.tensor(starts)[:, None, None, None]
    return BlindText(
        prefix=prefix,
        visible=pad_sequence(visible, batch_first=True),
        queries=pad_sequence(queries, batch_first=True),
        mask=None if rows == most_visible else causal,
        text_rows=torch.cat(text_rows),
        text_in_queries=torch.cat(text_in_queries),
    )


Memory = dict[tuple[int, torch.device], tuple[Any, Any]]
"""What was moved where, by identity: originals, kept so that nothing else takes their identity, and what was moved."""


def move(value: Moved, device: torch.device, memory: Memory) -> Moved:
    """The same tree of frozen dataclasses, tuples and tensors on a device; what is shared stays shared."""
    if isinstance(value, Tensor | tuple) or is_dataclass(value):
        if (key := (id(value), device)) not in memory:
            memory[key] = value, _moved(value, device, memory)
        return memory[key][1]
    return value


def _moved(value: Any, device: torch.device, memory: Memory) -> Any:
    if isinstance(value, Tensor):
        return value.to(device, non_blocking=True)
    if isinstance(value, tuple):
        return tuple(move(item, device, memory) for item in value)
    return type(value)(**{field.name: move(getattr(value, field.name), device, memory) for field in fields(value)})
