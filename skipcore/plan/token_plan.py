"""What happens to each token: a method decides per picture (ImagePlan), the decoder runs per sample (TokenPlan)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import IntEnum

import torch
from torch import Tensor

from skipcore.errors import InputError
from skipcore.plan.averages import without_autocast
from skipcore.plan.image_plan import ImagePlan, VisualTokens
from skipcore.plan.tiles import Kind, PlacedPicture, Tiles
from skipcore.plan.tower_view import TowerView


class Role(IntEnum):
    """The part a token plays in the decoder."""

    TEXT = 0
    RETAINED = 1
    SKIPPED = 2
    SUMMARY = 3
    DROPPED = 4
    """Left out before the decoder: such a token has no slot."""


@dataclass(frozen=True)
class SummaryGroup:
    """A summary token's slot, and the slots that it pools before the first layer."""

    slot: int
    pooled: Tensor


@dataclass(frozen=True)
class TokenPlan:
    """What happens to each token of one sample. Slots are positions in the laid-out sequence; CPU tensors.

    Attributes:
        slot_source: [slots] prompt index of the token that the slot stands for. A summary has that of its picture's
            last visual token.
        slot_role: [slots] a `Role` each.
        slot_picture: [slots] which of the sample's pictures the slot belongs to; −1 for text.
        token_slot: [prompt] the slot each token of the prompt went to; −1 for padding and for dropped tokens.
        token_weight: [prompt] what each token counts for in its slot.
        enters: [layers, slots] whether the slot enters the layer at all: it gives a key and a value.
        runs_ffn: [layers, slots] whether the slot runs the layer's FFN.
        runs_attention: [layers, slots] whether the slot attends in the layer.
        in_cache: [layers, slots] whether the slot's key and value stay in the layer's KV cache.
        summaries: the summary tokens with the slots they pool.
        pictures: the tiles of each picture.
        num_tokens: tokens of the prompt, padding not counted.
        tied_to: [slots] the slot whose rows each slot shares; None where every slot has its own.
        gathered: [slots] what a method carries from one decision to the next; None for most.
    """

    slot_source: Tensor
    slot_role: Tensor
    slot_picture: Tensor
    token_slot: Tensor
    token_weight: Tensor
    enters: Tensor
    runs_ffn: Tensor
    runs_attention: Tensor
    in_cache: Tensor
    summaries: tuple[SummaryGroup, ...]
    pictures: tuple[Tiles, ...]
    num_tokens: int
    tied_to: Tensor | None = None
    gathered: Tensor | None = None

    @property
    def as_given(self) -> bool:
        """Whether the slots are the prompt's tokens, one by one and in their order."""
        of_tokens = self.token_slot[self.token_slot >= 0]
        return len(self.slot_source) == self.num_tokens and torch.equal(of_tokens, torch.arange(self.num_tokens))

    @property
    def unchanged(self) -> bool:
        """Whether this plan is what a dense model does anyway."""
        masks = self.enters, self.runs_ffn, self.runs_attention, self.in_cache
        return len(self.slot_source) == self.num_tokens and all(bool(mask.all()) for mask in masks)

    @property
    def is_visual(self) -> Tensor:
        """[slots] bool: the slot stands for visual tokens, and is no summary."""
        return (self.slot_role == Role.RETAINED) | (self.slot_role == Role.SKIPPED)

    def without(self, slots: Tensor, layer: int) -> TokenPlan:
        """The same plan, but some slots are gone from a layer on. Layers before it keep their keys and values."""
        masks = {}
        for name in ("enters", "runs_ffn", "runs_attention", "in_cache"):
            masks[name] = getattr(self, name).clone()
            masks[name][layer:, slots] = False
        return replace(self, **masks)

    def bypassing(self, slots: Tensor, ffn_layers: Sequence[int], attention_layers: Sequence[int]) -> TokenPlan:
        """The same plan, but some slots bypass the FFN, or the attention, of some layers."""
        runs_ffn, runs_attention = self.runs_ffn.clone(), self.runs_attention.clone()
        for mask, layers in ((runs_ffn, ffn_layers), (runs_attention, attention_layers)):
            mask[torch.tensor(list(layers), dtype=torch.long)[:, None], slots] = False
        return replace(self, runs_ffn=runs_ffn, runs_attention=runs_attention)


def plan_sample(
    real: Tensor, pictures: Sequence[PlacedPicture], images: Sequence[ImagePlan], num_layers: int
) -> TokenPlan:
    """Lay one sample's prompt out: text where it is, each picture as
    `[retained] [summary] [skipped] [summary]` (paper, one block), or in the prompt's order. Text between the tiles of a
    picture stays among the retained tokens.

    The prompt's last token, by which the answer begins, is taken for text also where it is a visual token: it has a
    slot of its own at the end, runs everything and stays.

    Args:
        real: [prompt] bool, False where there is padding.
        pictures: with their prompt indices, in the order of the prompt.
        images: a plan for each picture.
        num_layers: layers of the decoder.

    Raises:
        InputError: a plan names a layer that the decoder does not have.
    """
    slots = _Slots()
    leaders: list[tuple[Tensor, Tensor]] = []
    summaries: list[SummaryGroup] = []
    skipped: list[tuple[ImagePlan, Tensor]] = []
    exempt: list[Tensor] = []  # the last of those that skip, where it is a token like any other
    token_slot = torch.full((len(real),), -1, dtype=torch.long)
    token_weight = torch.ones(len(real))
    is_text = real.clone()
    for picture in pictures:
        is_text[picture.positions] = False
    end = int(real.nonzero().max())
    ends_in_picture = not is_text[end]
    is_text[end] = True

    def text(start: int, stop: int) -> Tensor:
        return torch.arange(start, stop)[is_text[start:stop]]

    reached = 0
    for number, (picture, image) in enumerate(zip(pictures, images, strict=True)):
        first, last = int(picture.positions[0]), int(picture.positions[-1])
        if last == end and ends_in_picture:
            image = image.without_last()
        before, between = text(reached, first), text(first, last)
        (token_slot[before],) = slots.append(-1, (before, Role.TEXT))
        retained, away = (picture.positions[tokens] for tokens in (image.retained, image.skipped))
        groups = (retained, Role.RETAINED), (between, Role.TEXT), (away, Role.SKIPPED)
        if image.in_place:
            kept_slots, token_slot[between], skipped_slots = slots.append(number, *groups)
        else:
            kept_slots, token_slot[between] = slots.append(number, *groups[:2])
            summaries += slots.summarize(number, picture, image, kept_slots[image.summary_start :])
            (skipped_slots,) = slots.append(number, groups[2])
            summaries += slots.summarize(number, picture, image, skipped_slots)
        count = len(skipped_slots) - image.last_skipped_runs_ffn
        skipped.append((image, skipped_slots[: max(count, 0)]))
        exempt.append(skipped_slots[max(count, 0) :])
        went_to = torch.cat([kept_slots, skipped_slots, torch.tensor([-1])])
        token_slot[picture.positions] = went_to[image.destination]  # −1, dropped, reads the last one
        if image.ties is not None:
            leaders.append((picture.positions, picture.positions[image.ties]))
        if image.weight is not None:
            token_weight[picture.positions] = image.weight
        reached = min(last + 1, end)
    rest = text(reached, len(real))
    (token_slot[rest],) = slots.append(-1, (rest, Role.TEXT))

    enters, runs_ffn, runs_attention, in_cache = (
        torch.ones(num_layers, slots.length, dtype=torch.bool) for _ in range(4)
    )
    for image, away in skipped:
        runs_ffn[_layers(image.layers, num_layers)[:, None], away] = False
        runs_attention[_layers(image.attention_layers, num_layers)[:, None], away] = False
        if image.skip_kv:
            in_cache[:, away] = False
    slot_role = torch.cat(slots.role)
    slot_role[torch.cat([*exempt, token_slot[:0]])] = int(Role.RETAINED)
    tied_to = torch.arange(slots.length) if leaders else None
    for tied, leading_tokens in leaders:
        assert tied_to is not None
        own, leading = token_slot[tied], token_slot[leading_tokens]
        tied_to[own] = leading
        runs_ffn[:, own[own != leading]] = False
    return TokenPlan(
        tied_to=tied_to,
        slot_source=torch.cat(slots.source),
        slot_role=slot_role,
        slot_picture=torch.cat(slots.picture),
        token_slot=token_slot,
        token_weight=token_weight,
        enters=enters,
        runs_ffn=runs_ffn,
        runs_attention=runs_attention,
        in_cache=in_cache,
        summaries=tuple(summaries),
        pictures=tuple(picture.tiles for picture in pictures),
        num_tokens=int(real.sum()),
    )


class _Slots:
    """The slots of one sample, appended group by group."""

    def __init__(self) -> None:
        self.source: list[Tensor] = []
        self.role: list[Tensor] = []
        self.picture: list[Tensor] = []
        self.length = 0

    def append(self, number: int, *groups: tuple[Tensor, Role]) -> tuple[Tensor, ...]:
        """Append slots for tokens of picture `number`, several groups in the order of the prompt; returns the slots of
        each group."""
        tokens = torch.cat([own for own, _ in groups])
        roles = torch.cat([torch.full((len(own),), int(role), dtype=torch.int8) for own, role in groups])
        order = tokens.argsort() if len(groups) > 1 else torch.arange(len(tokens))
        self.source.append(tokens[order])
        self.role.append(roles[order])
        self.picture.append(torch.where(roles[order] == Role.TEXT, -1, number))
        slots = torch.empty_like(tokens)
        slots[order] = torch.arange(self.length, self.length + len(tokens))
        self.length += len(tokens)
        return slots.split([len(own) for own, _ in groups])

    def summarize(
        self, number: int, picture: PlacedPicture, image: ImagePlan, pooled: Tensor
    ) -> tuple[SummaryGroup, ...]:
        """Append a summary token of some slots, where the plan wants one."""
        if not image.summaries or not len(pooled):
            return ()
        (slot,) = self.append(number, (picture.positions[-1:], Role.SUMMARY))
        return (SummaryGroup(int(slot), pooled),)


def _layers(chosen: tuple[int, ...] | None, num_layers: int) -> Tensor:
    """Indices of the chosen layers; None: of all."""
    if chosen is None:
        return torch.arange(num_layers)
    if beyond := [layer for layer in chosen if layer >= num_layers]:
        raise InputError(f"The model has layers 0 to {num_layers - 1}, but the method names layer {beyond[0]}.")
    return torch.tensor(chosen, dtype=torch.long)


def plan_batch(
    plan_image: Callable[[VisualTokens], ImagePlan],
    embeds: Tensor,
    real: Tensor,
    pictures: Sequence[Sequence[PlacedPicture]],
    num_layers: int,
    towers: Mapping[Kind, Sequence[TowerView]],
) -> list[TokenPlan]:
    """One plan for each sample of a batch.

    Args:
        plan_image: decides for one picture.
        embeds: [batch, prompt, d] embeddings of the prompt, visual features included.
        real: [batch, prompt] bool, False where there is padding.
        pictures: of each sample, see `find_pictures`.
        towers: of each picture and each video of the batch, where the method asked to see the tower.
    """
    plans = []
    for sample, own in enumerate(pictures):
        images = []
        for picture in own:
            features = embeds[sample].index_select(0, picture.positions.to(embeds.device))
            tower = towers[picture.kind][picture.number] if picture.kind in towers else None
            tokens = VisualTokens(features, tuple(tile.grid for tile in picture.tiles), tower)
            with without_autocast(embeds.device):
                images.append(plan_image(tokens))
        plans.append(plan_sample(real[sample], own, images, num_layers))
    return plans
