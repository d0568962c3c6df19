"""Trace: the immutable record of what happened to every token of one sample."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice

import torch
from torch import Tensor

from skipcore.plan.tiles import Grid
from skipcore.plan.token_plan import Role, TokenPlan


@dataclass(frozen=True, eq=False)
class Trace:
    """What happened in one sample's prefill. CPU tensors; N visual tokens, `slots` positions in the laid-out sequence.

    Attributes:
        image_grid: (rows, columns) of each tile; Σ rows · columns = N. Most families show a picture as one tile.
        tiles: how many tiles each picture has.
        token_slot: [N] slot each original visual token went to; −1: it was dropped before the decoder.
        role: [N] int8, `Role.RETAINED` or `Role.SKIPPED`, the role of the slot the token went to; or `Role.DROPPED`.
        slot_role: [slots] int8, a `Role` each.
        slot_picture: [slots] the picture it belongs to; −1 for text.
        slot_source: [slots] prompt index of the token that the slot stands for.
        slot_token: [slots] the visual token that the slot stands for; −1 for text and summaries. (A visual token
            that ends the prompt is taken for text: its slot's role is text, its own is retained.)
        tied_to: [slots] the slot whose rows each slot shares; such slots attend in positions of their own.
        entered: [layers, slots] bool: the slot entered the layer, and gave a key and a value.
        ran_ffn: [layers, slots] bool.
        ran_attention: [layers, slots] bool: the slot attended.
        in_cache: [layers, slots] bool: the slot's key and value stay in the KV cache after prefill.
        ffn_update: [layers, slots] ‖FFN output‖ / ‖residual‖, NaN where no FFN ran; None unless recorded.
        counts: [layers, 3] rows that entered the layer, that attended, and that ran the FFN, counted off the tensors
            that reached them in the running model; None for a batch of several samples, whose rows run together, and
            where nothing was hooked, as in a dense run that does not record.
        kv_tokens: [layers] tokens in the KV cache after prefill; None where the run used no cache.
        kv_bytes: [layers] bytes their keys and values occupy; None where the run used no cache.
    """

    image_grid: tuple[Grid, ...]
    tiles: tuple[int, ...]
    token_slot: Tensor
    role: Tensor
    slot_role: Tensor
    slot_picture: Tensor
    slot_source: Tensor
    slot_token: Tensor
    tied_to: Tensor
    entered: Tensor
    ran_ffn: Tensor
    ran_attention: Tensor
    in_cache: Tensor
    ffn_update: Tensor | None
    counts: Tensor | None
    kv_tokens: Tensor | None
    kv_bytes: Tensor | None

    @property
    def picture_tokens(self) -> tuple[int, ...]:
        """Visual tokens of each picture."""
        sizes = iter(rows * columns for rows, columns in self.image_grid)
        return tuple(sum(islice(sizes, count)) for count in self.tiles)

    @property
    def merged_into(self) -> Tensor:
        """[N] the visual token that each one was merged into, or is tied to; its own number for others. Undefined for
        dropped tokens."""
        return self.slot_token[self.tied_to[self.token_slot]]

    @property
    def merged(self) -> Tensor:
        """[N] bool: the token was merged into another one, or tied to it."""
        return (self.merged_into != torch.arange(len(self.token_slot))) & (self.token_slot >= 0)

    def of_tokens(self, of_slots: Tensor, otherwise: float | bool) -> Tensor:
        """[…, slots] → […, N]: every visual token reads its slot; dropped ones read `otherwise`."""
        return torch.where(self.token_slot >= 0, of_slots[..., self.token_slot], otherwise)

    def token_update(self, layer: int) -> Tensor | None:
        """[N] FFN update of each original visual token's slot in a layer (NaN where none ran)."""
        return None if self.ffn_update is None else self.of_tokens(self.ffn_update[layer], torch.nan)

    @property
    def visual_tokens(self) -> float:
        """Visual tokens that enter a layer, the mean over the layers: summaries are not among them."""
        is_visual = (self.slot_role == Role.RETAINED) | (self.slot_role == Role.SKIPPED)
        return float((self.entered & is_visual).sum(dim=1).double().mean())


def trace_of(
    plan: TokenPlan,
    visual: Tensor,
    ffn_update: Tensor | None,
    counts: Tensor | None,
    kv_tokens: Tensor | None,
    kv_bytes: Tensor | None,
) -> Trace:
    """Read a sample's trace off its plan and what was recorded.

    Args:
        visual: [prompt] bool, True for visual tokens.
        ffn_update: [layers, slots or more]: padding slots are cut off.
        counts: [layers, 3].
    """
    token_slot = plan.token_slot[visual]
    number = torch.full((len(visual),), -1)
    number[visual] = torch.arange(len(token_slot))
    role = torch.where(token_slot >= 0, plan.slot_role[token_slot], int(Role.DROPPED))
    role[role == Role.TEXT] = int(Role.RETAINED)
    return Trace(
        image_grid=tuple(tile.grid for tiles in plan.pictures for tile in tiles),
        tiles=tuple(len(tiles) for tiles in plan.pictures),
        token_slot=token_slot,
        role=role.to(torch.int8),
        slot_role=plan.slot_role,
        slot_picture=plan.slot_picture,
        slot_source=plan.slot_source,
        slot_token=torch.where(plan.slot_role == Role.SUMMARY, -1, number[plan.slot_source]),
        tied_to=torch.arange(len(plan.slot_role)) if plan.tied_to is None else plan.tied_to,
        entered=plan.enters,
        ran_ffn=plan.runs_ffn,
        ran_attention=plan.runs_attention,
        in_cache=plan.in_cache,
        ffn_update=None if ffn_update is None else ffn_update[:, : len(plan.slot_role)],
        counts=counts,
        kv_tokens=kv_tokens,
        kv_bytes=kv_bytes,
    )
