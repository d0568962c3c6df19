"""What a method asks to see of the vision tower, and what it is shown."""

from __future__ import annotations

from dataclasses import dataclass, fields
from enum import Enum

import torch
from torch import Tensor


class TowerLook(Enum):
    """What a method asks to see of the tower."""

    ATTENTION = "attention"
    """How much the class token attends to each token, mean over the heads; without one, how much all attend to it."""
    KEYS = "keys"
    """Keys, mean over the heads."""
    MIDDLE = "middle"
    """Features after the middle block."""
    DEEP = "deep"
    """Features of the block that the projector reads."""
    GROUPS = "groups"
    """Which patches have become one: of a tower in which they merge."""


@dataclass(frozen=True)
class TowerView:
    """One picture's visual tokens as the tower sees them, or (`TowerRows`) the rows of the tower itself. Attention and
    keys are of the last block that the projector reads. A token that is made of several patches shows their mean.

    Attributes:
        attention: [N]; None unless asked for, like the others.
        keys: [N, head_dim].
        middle, deep: [N, width].
        groups: [N, k] the groups of a token's k patches, or [rows] of the tower's rows.
    """

    attention: Tensor | None = None
    keys: Tensor | None = None
    middle: Tensor | None = None
    deep: Tensor | None = None
    groups: Tensor | None = None

    @property
    def num_rows(self) -> int:
        """How many tokens, or rows of the tower."""
        return next(len(each) for each in vars(self).values() if each is not None)

    def at(self, patches: Tensor) -> TowerView:
        """The tokens made of rows `patches` [N, k]."""

        def pooled(values: Tensor | None) -> Tensor | None:
            if values is None:
                return None
            index = patches.to(values.device)
            of_patches = values.index_select(0, index.flatten()).unflatten(0, index.shape)
            return of_patches.mean(dim=1, dtype=torch.float32) if values.is_floating_point() else of_patches

        return TowerView(**{field.name: pooled(getattr(self, field.name)) for field in fields(self)})
