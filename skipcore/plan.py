"""What happens to each token: a method decides per picture (ImagePlan), the decoder runs per sample (TokenPlan)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import IntEnum

import torch
from torch import Tensor

from skipcore.errors import InputError

Grid = tuple[int, int]


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
        features: [N, d] projected visual tokens.
        grid: rows and columns of the picture's token grid (rows · cols = N).
    """

    features: Tensor
    grid: Grid


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
    """

    retained: Tensor
    skipped: Tensor
    destination: Tensor
    summaries: bool = True
    summary_start: int = 0
    last_skipped_runs_ffn: bool = False

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
        token_slot: [prompt] the slot each token of the prompt went to; −1 for padding.
        runs_ffn: [layers, slots] whether the slot runs the layer's FFN.
        in_cache: [layers, slots] whether the slot's key and value stay in the layer's KV cache.
        summaries: the summary tokens with the slots they pool.
        grids: rows and columns of each picture.
    """

    slot_source: Tensor
    slot_role: Tensor
    token_slot: Tensor
    runs_ffn: Tensor
    in_cache: Tensor
    summaries: tuple[SummaryGroup, ...]
    grids: tuple[Grid, ...]

    @property
    def unchanged(self) -> bool:
        """Whether this plan is what a dense model does anyway."""
        return len(self.slot_source) == int((self.token_slot >= 0).sum()) and bool(
            self.runs_ffn.all() and self.in_cache.all()
        )


def plan_sample(
    visual: Tensor, real: Tensor, images: Sequence[ImagePlan], grids: Sequence[Grid], num_layers: int
) -> TokenPlan:
    """Lay one sample's prompt out: text in place, each picture as
    `[retained] [summary] [skipped] [summary]` (paper, one block).

    Args:
        visual: [prompt] bool, True where a visual token stands.
        real: [prompt] bool, False where there is padding.
        images: a plan for each picture, in the order of the prompt.
        grids: rows and columns of each picture.
        num_layers: layers of the decoder.
    """
    source: list[Tensor] = []
    role: list[Tensor] = []
    summaries: list[SummaryGroup] = []
    ffn_anyway: list[int] = []
    token_slot = torch.full((len(visual),), -1, dtype=torch.long)
    length = 0

    def place(tokens: Tensor, as_role: Role) -> Tensor:
        """Append slots for `tokens`; returns the slots."""
        nonlocal length
        slots = torch.arange(length, length + len(tokens))
        source.append(tokens)
        role.append(torch.full((len(tokens),), int(as_role), dtype=torch.int8))
        length += len(tokens)
        return slots

    def place_text(start: int, stop: int) -> None:
        tokens = torch.arange(start, stop)[real[start:stop] & ~visual[start:stop]]
        token_slot[tokens] = place(tokens, Role.TEXT)

    where = visual.nonzero().flatten()
    sizes = [len(image.destination) for image in images]
    reached = 0
    for image, positions in zip(images, where.split(sizes), strict=True):
        place_text(reached, int(positions[0]))
        groups = [(image.retained, Role.RETAINED, image.summary_start), (image.skipped, Role.SKIPPED, 0)]
        placed = []
        for tokens, group_role, summary_start in groups:
            slots = place(positions[tokens], group_role)
            placed.append(slots)
            if image.summaries and len(slots):
                summaries.append(SummaryGroup(length, slots[summary_start:]))
                place(positions[-1:], Role.SUMMARY)
        if image.last_skipped_runs_ffn and len(placed[1]):
            ffn_anyway.append(int(placed[1][-1]))
        token_slot[positions] = torch.cat(placed)[image.destination]
        reached = int(positions[-1]) + 1
    place_text(reached, len(visual))

    slot_role = torch.cat(role)
    kept = (slot_role != Role.SKIPPED).expand(num_layers, -1)
    runs_ffn = kept
    if ffn_anyway:
        runs_ffn = kept.clone()
        runs_ffn[:, ffn_anyway] = True
    return TokenPlan(torch.cat(source), slot_role, token_slot, runs_ffn, kept, tuple(summaries), tuple(grids))


def plan_batch(
    plan_image: Callable[[VisualTokens], ImagePlan],
    embeds: Tensor,
    visual: Tensor,
    real: Tensor,
    grids: Sequence[Grid],
    num_layers: int,
) -> list[TokenPlan]:
    """One plan for each sample of a batch.

    Args:
        plan_image: decides for one picture.
        embeds: [batch, prompt, d] embeddings of the prompt, visual features in their places.
        visual: [batch, prompt] bool, True where a visual token stands.
        real: [batch, prompt] bool, False where there is padding.
        grids: rows and columns of every picture, in the order of the batch.

    Raises:
        InputError: the pictures do not fill the places that the prompts hold for them.
    """
    sizes = [rows * columns for rows, columns in grids]
    if sum(sizes) != int(visual.sum()):
        raise InputError(
            f"The prompt has {int(visual.sum())} visual tokens, but its pictures make {sum(sizes)}: pass whole "
            "pictures, each with its place in the prompt."
        )
    plans, reached = [], 0
    for sample in range(len(visual)):
        features = embeds[sample][visual[sample].to(embeds.device)]
        own = reached
        while sum(sizes[own:reached]) < len(features):
            reached += 1
        if sum(sizes[own:reached]) != len(features):
            raise InputError("A picture's visual tokens are spread over two prompts of the batch.")
        pictures = zip(features.split(sizes[own:reached]), grids[own:reached], strict=True)
        images = [plan_image(VisualTokens(tokens, grid)) for tokens, grid in pictures]
        plans.append(plan_sample(visual[sample], real[sample], images, grids[own:reached], num_layers))
    return plans
