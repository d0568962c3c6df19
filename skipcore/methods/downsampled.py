"""A baseline that beats many methods (VTC-Bench, ACL 2026): the same question about a smaller picture."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from PIL import Image
from torch import Tensor

from skipcore.methods.budget import Target
from skipcore.methods.dropping import DropBefore
from skipcore.methods.retain import evenly
from skipcore.methods.settings import resolve
from skipcore.plan.image_plan import ImagePlan, VisualTokens


@dataclass(frozen=True)
class Downsampled(DropBefore):
    """The picture is scaled down to the wanted share of its pixels and up again, so that it shows no more than the
    small one would; neighboring visual tokens are averaged to as few as the small one would make.

    The vision tower still runs at full size: what is saved is the decoder's. Outside `answer`, `Chat` and `compare`
    (in `generate()` in a session, say) the picture has become pixels before the method sees it: then tokens are
    averaged alone.

    Attributes:
        num_kept: visual tokens of each picture, to the nearest grid (a share of the pixels is the same share).
    """

    name: ClassVar[str] = "Downsampled picture"

    def with_budget(self, share: float, target: Target) -> Downsampled:
        """Always a share, since a count says nothing of pixels."""
        return replace(self, num_kept=share)

    def picture(self, picture: Image.Image) -> Image.Image:
        """Scale down and up again; with a count of tokens the picture stays as it is."""
        if not isinstance(self.num_kept, float):
            return picture
        width, height = (max(1, round(side * self.num_kept**0.5)) for side in picture.size)
        return picture.resize((width, height), Image.Resampling.BICUBIC).resize(picture.size, Image.Resampling.BICUBIC)

    def plan(self, image: VisualTokens) -> ImagePlan:
        """Average the tokens of each cell of a coarser grid; a cell has the position of the token in its middle."""
        n = len(image.features)
        quotas = evenly(resolve(self.num_kept, n), [rows * columns for rows, columns in image.grids])
        cell_of: list[Tensor] = []
        middles: list[Tensor] = []
        first = 0
        for (rows, columns), quota in zip(image.grids, quotas, strict=True):
            down = min(rows, max(1, round((quota * rows / columns) ** 0.5)))
            across = min(columns, max(1, quota // down))
            row, column = torch.arange(rows) * down // rows, torch.arange(columns) * across // columns
            cell_of.append((row[:, None] * across + column).flatten() + sum(len(own) for own in middles))
            in_row, in_column = _middles(row), _middles(column)
            middles.append((first + in_row[:, None] * columns + in_column).flatten())
            first += rows * columns
        kept = torch.cat(middles)  # in reading order of each tile, and so in rising order
        return ImagePlan(kept, kept[:0], torch.cat(cell_of), summaries=False, in_place=True)


def _middles(cell_of: Tensor) -> Tensor:
    """Return the index in the middle of each cell of a line."""
    sizes = cell_of.bincount()
    return sizes.cumsum(0) - sizes + sizes // 2
