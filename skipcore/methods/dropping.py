"""Dropping visual tokens, before the decoder or before a layer, picture by picture: what methods share."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar

import torch
from torch import Tensor

from skipcore.engine.layer_view import LayerView
from skipcore.engine.planner import Execution, Positions
from skipcore.errors import InputError
from skipcore.methods.budget import Budget, Target
from skipcore.methods.method import Method, Steps
from skipcore.methods.settings import (
    Count,
    Layer,
    is_all,
    resolve,
    resolve_layer,
    show,
    show_layers,
)
from skipcore.plan.token_plan import TokenPlan


def visual_slots(plan: TokenPlan, view: LayerView) -> Iterator[tuple[Tensor, int]]:
    """Yield for every picture the rows of `view` that stand for its visual tokens, and the tokens it had at first."""
    for number, tiles in enumerate(plan.pictures):
        of_picture = plan.is_visual & (plan.slot_picture == number)
        yield of_picture[view.slots].nonzero().flatten(), sum(tile.num_tokens for tile in tiles)


def keep_best(plan: TokenPlan, view: LayerView, layer: int, scores: Tensor, num_kept: Count) -> TokenPlan:
    """Drop from a layer on all but each picture's visual tokens of the highest scores.

    Args:
        scores: [entered] of the rows of `view`.
        num_kept: of each picture, counted in or as a share of the tokens it had at first.
    """
    scores = scores.detach().float().cpu()
    dropped = []
    for rows, tokens in visual_slots(plan, view):
        order = scores[rows].argsort(descending=True, stable=True)
        dropped.append(view.slots[rows[order[resolve(num_kept, tokens) :]]])
    return plan.without(torch.cat(dropped), layer) if dropped else plan


@dataclass(frozen=True)
class Dropping(Method):
    """Base of methods that leave fewer visual tokens.

    The newline tokens that end the rows of LLaVA-NeXT's and LLaVA-OneVision's tiles are text here: they stay, whatever
    is dropped around them, and count toward no budget. (Code that takes all features of a picture for one span may drop
    the newlines among them, too.)

    Attributes:
        positions: "original": tokens that are left keep their positions; "renumbered": they are renumbered, from the
            layer on where some are dropped, in prefill and in decode; see `Execution`.
    """

    positions: Positions = field(default="original", kw_only=True)

    @property
    def execution(self) -> Execution:
        """With its positions."""
        return Execution(positions=self.positions)


@dataclass(frozen=True)
class DropBefore(Dropping):
    """Base of methods that leave fewer visual tokens of each picture before the decoder."""

    budget: ClassVar[Budget | None] = Budget(0.25)

    num_kept: Count = 0.25

    @property
    def label(self) -> str:
        """Such as "DivPrune 25%"."""
        return f"{self.name} {show(self.num_kept)}"

    def with_budget(self, share: float, target: Target) -> DropBefore:
        """Keep that many tokens."""
        return replace(self, num_kept=target.count(share))


@dataclass(frozen=True)
class DropOnce(Dropping):
    """Base of methods that drop visual tokens before one layer, by what they see of the layer before it."""

    budget: ClassVar[Budget | None] = Budget(0.5)

    layer: Layer = 3
    num_kept: Count = 0.5

    @property
    def label(self) -> str:
        """Such as "FastV 50% after 3 layers"."""
        return f"{self.name} {show(self.num_kept)} after {show_layers(self.layer)}"

    def decision_layers(self, num_layers: int) -> Collection[int]:
        """The layer, 1 at least."""
        return () if is_all(self.num_kept) else (max(1, resolve_layer(self.layer, num_layers)),)

    def with_budget(self, share: float, target: Target) -> DropOnce:
        """Keep that many tokens from the authors' layer on, scaled from their 32 layers."""
        return replace(self, layer=target.layer(type(self).layer), num_kept=target.count(share))

    def budget_steps(self, target: Target) -> Sequence[Steps]:
        """One token more in each step, from the authors' layer on; then from ever earlier ones."""
        tokens = target.tokens or 1

        def from_layer(layer: int) -> Steps:
            return Steps(tokens - 1, lambda step: replace(self.with_budget((step + 1) / tokens, target), layer=layer))

        return [from_layer(layer) for layer in range(target.layer(type(self).layer), 0, -1)]


@dataclass(frozen=True)
class DropInStages(Dropping):
    """Base of methods that drop visual tokens before several layers."""

    budget: ClassVar[Budget | None] = Budget(0.12, "Visual tokens left in the last layers")

    layers: Sequence[Layer] = ()
    num_kept: Sequence[Count] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.layers) != len(self.num_kept):
            raise InputError(f"{len(self.layers)} layers need as many entries in num_kept, not {len(self.num_kept)}.")

    @property
    def label(self) -> str:
        """Such as "PyramidDrop 50%, 25%, 12.5%"."""
        return f"{self.name} {', '.join(map(show, self.num_kept))}"

    def stages(self, num_layers: int) -> dict[int, Count]:
        """What is kept from which layer on. Where shares of the depth fall on one layer, the last of them holds."""
        stages = zip(self.layers, self.num_kept, strict=True)
        return {max(1, resolve_layer(layer, num_layers)): kept for layer, kept in stages if not is_all(kept)}

    def decision_layers(self, num_layers: int) -> Collection[int]:
        """The stages' first layers, 1 at least."""
        return self.stages(num_layers).keys()

    def with_budget(self, share: float, target: Target) -> DropInStages:
        """Leave that many tokens in the last stage; every stage keeps the same share of what is there, as PyramidDrop's
        authors do."""
        stages = len(self.num_kept)
        return replace(self, num_kept=[target.count(share ** ((stage + 1) / stages)) for stage in range(stages)])

    def budget_steps(self, target: Target) -> Sequence[Steps]:
        """The stages in their proportions: the largest grows by one token a step, and none beyond all tokens."""
        tokens = target.tokens or 1
        shares = [resolve(count, tokens) / tokens for count in self.num_kept]

        def at(step: int) -> Method:
            kept = [max(1, round((step + 1) * share / max(shares))) for share in shares]
            return replace(self, num_kept=[target.count(min(count, tokens) / tokens) for count in kept])

        return [Steps(round(tokens * max(shares) / min(shares)) - 1, at)]
