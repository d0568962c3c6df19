"""What happens to each token: a method decides per picture (ImagePlan), the decoder runs per sample (TokenPlan)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import IntEnum

import torch
from torch import Tensor

from skipcore.tiles import Grid, PlacedPicture, Tiles


class Role(IntEnum):
    """The part a token plays in the decoder."""

    TEXT = 0
    RETAINED = 1
    SKIPPED = 2
    SUMMARY = 3


@dataclass(frozen=True)
class VisualTokens:
    """One picture as the decoder receives it: what a method may look at.

    Attributes:
        features: [N, d] projected visual tokens, tile after tile, row by row.
        grids: rows and columns of each tile (Σ rows · columns = N).
    """

    features: Tensor
    grids: tuple[Grid, ...]


@dataclass(frozen=True)
class ImagePlan:
    """What a method decides for one picture of N visual tokens.

    Attributes:
        retained: [N_r] indices of the tokens that run the whole block, in layout order.
        skipped: [N_s] indices of the tokens that run attention only, in layout order.
        destination: [N] where every token went, as a position in `cat(retained, skipped)`.
        summaries: whether a summary token follows each (non-empty) group.
        summary_start: the first summary pools `retained[summary_start:]` only.
        last_skipped_runs_ffn: the last skipped token runs the FFN too.
        layers: the layers in which skipped tokens bypass the FFN; None: all.
        skip_kv: whether the keys and values of skipped tokens leave the cache after prefill.
    """

    retained: Tensor
    skipped: Tensor
    destination: Tensor
    summaries: bool = True
    summary_start: int = 0
    last_skipped_runs_ffn: bool = False
    layers: tuple[int, ...] | None = None
    skip_kv: bool = True

    @staticmethod
    def keep_all(num_tokens: int) -> ImagePlan:
        """Every token retained, no summary: what a dense model does."""
        everyone = torch.arange(num_tokens)
        return ImagePlan(everyone, everyone[:0], everyone, summaries=False)


@dataclass(frozen=True)
class SummaryGroup:
    """A summary token's place and the slots it pools at the start."""

    slot: int
    pooled: Tensor


@dataclass(frozen=True)
class TokenPlan:
    """What happens to each token of one sample. Slots are places in the decoder's sequence; CPU tensors.

    Attributes:
        slot_source: [slots] the token of the prompt whose position the slot takes. A summary takes that
            of its picture's last visual token.
        slot_role: [slots] a `Role` each.
        slot_picture: [slots] which of the sample's pictures the slot belongs to; −1 for text.
        token_slot: [prompt] the slot each token of the prompt went to; −1 for padding.
        runs_ffn: [layers, slots] whether the slot runs the layer's FFN.
        in_cache: [layers, slots] whether the slot's key and value stay in the layer's KV cache.
        summaries: the summary tokens with the slots they pool.
        pictures: the tiles of each picture.
    """

    slot_source: Tensor
    slot_role: Tensor
    slot_picture: Tensor
    token_slot: Tensor
    runs_ffn: Tensor
    in_cache: Tensor
    summaries: tuple[SummaryGroup, ...]
    pictures: tuple[Tiles, ...]

    @property
    def unchanged(self) -> bool:
        """Whether this plan is what a dense model does anyway."""
        return len(self.slot_source) == int((self.token_slot >= 0).sum()) and bool(
            self.runs_ffn.all() and self.in_cache.all()
        )


def plan_sample(
    real: Tensor, pictures: Sequence[PlacedPicture], images: Sequence[ImagePlan], num_layers: int
) -> TokenPlan:
    """Lay one sample's prompt out: text in place, each picture as
    `[retained] [summary] [skipped] [summary]` (paper, one block). Text between the tiles of a picture stays in its
    place among the retained tokens.

    Args:
        real: [prompt] bool, False where there is padding.
        pictures: where they stand, in the order of the prompt.
        images: a plan for each picture.
        num_layers: layers of the decoder.
    """
    source: list[Tensor] = []
    role: list[Tensor] = []
    of_picture: list[Tensor] = []
    summaries: list[SummaryGroup] = []
    skipped: list[tuple[ImagePlan, Tensor]] = []
    token_slot = torch.full((len(real),), -1, dtype=torch.long)
    is_text = real.clone()
    for picture in pictures:
        is_text[picture.positions] = False
    length = reached = number = 0

    def place(tokens: Tensor, roles: Tensor) -> Tensor:
        """Append slots for `tokens`; returns the slots."""
        nonlocal length
        slots = torch.arange(length, length + len(tokens))
        source.append(tokens)
        role.append(roles)
        of_picture.append(torch.where(roles == Role.TEXT, -1, number))
        length += len(tokens)
        return slots

    def text(start: int, stop: int) -> tuple[Tensor, Tensor]:
        tokens = torch.arange(start, stop)[is_text[start:stop]]
        return tokens, _roles(tokens, Role.TEXT)

    def summarise(pooled: Tensor) -> None:
        """Append a summary token of some slots, where the plan wants one."""
        if image.summaries and len(pooled):
            summaries.append(SummaryGroup(length, pooled))
            place(picture.positions[-1:], _roles(pooled[:1], Role.SUMMARY))

    for number, (picture, image) in enumerate(zip(pictures, images, strict=True)):  # noqa: B007 (`place` reads it)
        first, last = int(picture.positions[0]), int(picture.positions[-1])
        before, roles = text(reached, first)
        token_slot[before] = place(before, roles)
        between, roles = text(first, last)
        kept = picture.positions[image.retained]
        tokens = torch.cat([kept, between])
        order = tokens.argsort() if len(between) else torch.arange(len(tokens))
        slots = torch.empty_like(tokens)
        slots[order] = place(tokens[order], torch.cat([_roles(kept, Role.RETAINED), roles])[order])
        token_slot[between] = slots[len(kept) :]
        groups = [slots[: len(kept)]]
        summarise(groups[0][image.summary_start :])
        groups.append(place(away := picture.positions[image.skipped], _roles(away, Role.SKIPPED)))
        summarise(groups[1])
        skipped.append((image, groups[1]))
        token_slot[picture.positions] = torch.cat(groups)[image.destination]
        reached = last + 1
    rest, roles = text(reached, len(real))
    token_slot[rest] = place(rest, roles)

    runs_ffn, in_cache = _everywhere(num_layers, length), _everywhere(num_layers, length)
    for image, slots in skipped:
        bypassing = slots[:-1] if image.last_skipped_runs_ffn else slots
        if image.layers is None:
            runs_ffn[:, bypassing] = False
        else:
            runs_ffn[torch.tensor(image.layers)[:, None], bypassing] = False
        if image.skip_kv:
            in_cache[:, slots] = False
    tiles = tuple(picture.tiles for picture in pictures)
    return TokenPlan(
        torch.cat(source),
        torch.cat(role),
        torch.cat(of_picture),
        token_slot,
        runs_ffn,
        in_cache,
        tuple(summaries),
        tiles,
    )


def _roles(tokens: Tensor, role: Role) -> Tensor:
    return torch.full((len(tokens),), int(role), dtype=torch.int8)


def _everywhere(num_layers: int, length: int) -> Tensor:
    return torch.ones(num_layers, length, dtype=torch.bool)


def plan_batch(
    plan_image: Callable[[VisualTokens], ImagePlan],
    embeds: Tensor,
    real: Tensor,
    pictures: Sequence[Sequence[PlacedPicture]],
    num_layers: int,
) -> list[TokenPlan]:
    """One plan for each sample of a batch.

    Args:
        plan_image: decides for one picture.
        embeds: [batch, prompt, d] embeddings of the prompt, visual features in their places.
        real: [batch, prompt] bool, False where there is padding.
        pictures: of each sample, see `find_pictures`.
    """
    plans = []
    for sample, own in enumerate(pictures):
        images = []
        for picture in own:
            features = embeds[sample].index_select(0, picture.positions.to(embeds.device))
            images.append(plan_image(VisualTokens(features, tuple(tile.grid for tile in picture.tiles))))
        plans.append(plan_sample(real[sample], own, images, num_layers))
    return plans
