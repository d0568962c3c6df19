"""Baselines that many methods do not beat: visual tokens kept at random, or evenly spaced over the picture."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from skipcore.methods.dropping import DropBefore
from skipcore.methods.retain import evenly, random
from skipcore.methods.settings import resolve
from skipcore.plan.image_plan import ImagePlan, VisualTokens


@dataclass(frozen=True)
class RandomTokens(DropBefore):
    """Visual tokens drawn without replacement are kept, the others dropped before the decoder.

    Attributes:
        num_kept: of each picture.
        seed: the same draws the same.
    """

    name: ClassVar[str] = "Random"

    seed: int = 0

    def plan(self, image: VisualTokens) -> ImagePlan:
        """Keep what is drawn."""
        n = len(image.features)
        return ImagePlan.keep(random(image, resolve(self.num_kept, n), self.seed), n)


@dataclass(frozen=True)
class UniformGrid(DropBefore):
    """Visual tokens on an even grid over each tile are kept, the others dropped before the decoder.

    Attributes:
        num_kept: of each picture.
    """

    name: ClassVar[str] = "Uniform grid"

    def plan(self, image: VisualTokens) -> ImagePlan:
        """Keep the grid: rows as many as columns for their lengths, and in each row an equal share of the tokens."""
        n = len(image.features)
        sizes = [rows * columns for rows, columns in image.grids]
        quotas = evenly(resolve(self.num_kept, n), sizes)
        kept, first = [], 0
        for (rows, columns), size, quota in zip(image.grids, sizes, quotas, strict=True):
            chosen_rows = min(rows, max(1, round((quota * rows / columns) ** 0.5), -(-quota // columns)))
            for number, share in enumerate(evenly(quota, [1] * chosen_rows)):
                row = int((number + 0.5) * rows / chosen_rows)
                kept.append(first + row * columns + ((torch.arange(share) + 0.5) * columns / max(share, 1)).long())
            first += size
        return ImagePlan.keep(torch.cat(kept), n)
