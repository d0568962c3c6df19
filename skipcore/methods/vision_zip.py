"""VisionZip: dominant tokens by the tower's attention, contextual ones for what is left (CVPR 2025, 2412.04467)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch.nn.functional import normalize

from skipcore.methods.budget import Budget, Target
from skipcore.methods.dropping import Dropping
from skipcore.methods.method import DecoderShape, Steps
from skipcore.methods.settings import Count, resolve, show
from skipcore.plan.image_plan import ImagePlan, VisualTokens
from skipcore.plan.merge import nearest
from skipcore.plan.tower_view import TowerLook
from skipcore.trace import Trace


@dataclass(frozen=True)
class VisionZip(Dropping):
    """Kept are the tokens that the class token attends to most in the last block that the projector reads (without a
    class token: those that all patches attend to most), and evenly spaced targets among the others, each merged with
    the leftovers that resemble it most: cosine of the keys, mean over the heads.

    Unlike the authors' code: tokens merge after the projector, so that any family will do, and a target and the mean of
    its leftovers are averaged (theirs are summed, which doubles their norm); tokens stay in reading order (theirs are
    laid out dominant ones first); the class token itself is no visual token (theirs is one of the dominant ones); the
    tower runs its own attention kernel, and no full attention matrix is built.

    The budget is the picture's, and all its tiles compete for it. The authors' code chooses in each image of the tower
    by itself: where LLaVA-NeXT cuts a picture to five of them, 191 + 30 there are 5 · (191 + 30), and tokens merge with
    those of their own tile only. Here the tiles are one rectangle whose padding is cut off, which knows no tiles.

    Attributes:
        num_dominant, num_contextual: of each picture (authors: 191 + 30, 108 + 20 or 54 + 10 of 576).
        positions: the authors' are "renumbered".
    """

    name: ClassVar[str] = "VisionZip"
    budget: ClassVar[Budget | None] = Budget(0.25)
    tower_looks: ClassVar[frozenset[TowerLook]] = frozenset({TowerLook.ATTENTION, TowerLook.KEYS})

    num_dominant: Count = 191
    num_contextual: Count = 30

    @property
    def label(self) -> str:
        """Such as "VisionZip 191+30"."""
        return f"{self.name} {show(self.num_dominant)}+{show(self.num_contextual)}"

    def with_budget(self, share: float, target: Target) -> VisionZip:
        """That many tokens, 54 dominant ones to 10 contextual ones."""
        return replace(self, num_dominant=share * 54 / 64, num_contextual=share * 10 / 64)

    def budget_steps(self, target: Target) -> Sequence[Steps]:
        """One token more in each step, 191 dominant ones to 30 contextual ones."""
        tokens = target.tokens or 1

        def at(step: int) -> VisionZip:
            contextual = round(30 / 221 * (step + 1))
            dominant = target.count((step + 1 - contextual) / tokens)
            return replace(self, num_dominant=dominant, num_contextual=target.count(contextual / tokens))

        return [Steps(tokens - 1, at)]

    def plan(self, image: VisualTokens) -> ImagePlan:
        """Keep the dominant ones, merge the others to the targets."""
        assert image.tower is not None and image.tower.attention is not None and image.tower.keys is not None
        n = len(image.features)
        dominant, contextual = self._counts(n)
        if dominant + contextual >= n:
            return ImagePlan.keep_all(n)
        is_dominant = torch.zeros(n, dtype=torch.bool)
        is_dominant[image.tower.attention.float().cpu().argsort(descending=True, stable=True)[:dominant]] = True
        rest = (~is_dominant).nonzero().flatten()
        if not contextual:
            return ImagePlan.keep(is_dominant.nonzero().flatten(), n)
        is_target = torch.zeros(len(rest), dtype=torch.bool)
        is_target[:: max(1, len(rest) // contextual)] = True
        is_target &= is_target.cumsum(0) <= contextual
        targets, leftovers = rest[is_target], rest[~is_target]
        unit = normalize(image.tower.keys.float(), dim=-1)
        went_to = nearest(unit, leftovers.to(unit.device), targets.to(unit.device)).cpu()
        return _merged(n, is_dominant.nonzero().flatten(), targets, leftovers, went_to)

    def selection_flops(self, trace: Trace, decoder: DecoderShape) -> int:
        """2 · leftovers · targets · width of a key."""
        flops = 0
        for n in trace.picture_tokens:
            dominant, contextual = self._counts(n)
            flops += 2 * (n - dominant - contextual) * contextual * decoder.tower_head_width
        return flops

    def _counts(self, n: int) -> tuple[int, int]:
        dominant = resolve(self.num_dominant, n)
        return dominant, min(resolve(self.num_contextual, n), n - dominant)


def _merged(
    n: int, dominant: torch.Tensor, targets: torch.Tensor, leftovers: torch.Tensor, went_to: torch.Tensor
) -> ImagePlan:
    """Leftover i goes to target `went_to[i]`; all leftovers of a target together weigh what the target weighs."""
    kept = torch.cat([dominant, targets]).sort().values
    destination = torch.full((n,), -1)
    destination[kept] = torch.arange(len(kept))
    weight = torch.ones(n)
    weight[leftovers] = 1 / went_to.bincount(minlength=len(targets))[went_to]
    destination[leftovers] = destination[targets[went_to]]
    return ImagePlan(kept, kept[:0], destination, summaries=False, in_place=True, weight=weight)
