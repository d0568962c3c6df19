"""What each patch of a scene shows, and the heads that learn to predict it from a visual token.

A training signal beside the answers: 576 labels a picture instead of a few words, so the tower learns to see in a
fraction of the steps. The heads are dropped after training.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from skipcore.builtin.scenes.scene_record import Item, Scene, Sign, Thing, noun
from skipcore.builtin.scenes.things import THINGS
from skipcore.builtin.scenes.vocabulary import COLORS, SHAPE_KINDS, SIGN_WORDS
from skipcore.builtin.training.untrained import PATCH_SIDE

NOUNS = {name: index for index, name in enumerate(("", *(kind.name for kind in THINGS), *SHAPE_KINDS, "sign"))}
COLOR_NUMBERS = {name: index for index, name in enumerate(("", *COLORS))}
TEXTS = {text: index for index, text in enumerate(("", *SIGN_WORDS, *map(str, range(100))))}
BACKGROUND_WEIGHT = 0.15
"""Most patches show the ground; together they weigh this much against the others."""


@dataclass(frozen=True, eq=False)
class PatchLabels:
    """Labels of P patches: numbers of noun, color and text, each [P]; 0 where there is none.

    `offset` [P, 2] is the way from the patch's middle to the middle of the item it shows, in shares of the picture.
    """

    noun: np.ndarray
    color: np.ndarray
    text: np.ndarray
    offset: np.ndarray


def label_patches(scene: Scene, owners: np.ndarray, side: int) -> PatchLabels:
    """The labels of a picture resized to `side`; `owners` [height, width] is of `draw_with_owners`."""
    grid = side // PATCH_SIDE
    middles = (np.arange(grid) + 0.5) / grid
    rows = (middles * owners.shape[0]).astype(int)
    columns = (middles * owners.shape[1]).astype(int)
    owner = owners[np.ix_(rows, columns)].reshape(-1).astype(np.int64)
    numbers = np.array([(0, 0, 0), *(_numbers(item) for item in scene.items)], dtype=np.int64)[owner]
    places = np.array([(0.0, 0.0), *((item.spot.x, item.spot.y) for item in scene.items)], dtype=np.float32)[owner]
    here = np.stack([np.tile(middles, grid), np.repeat(middles, grid)], axis=1).astype(np.float32)
    return PatchLabels(numbers[:, 0], numbers[:, 1], numbers[:, 2], places - here)


def no_labels(side: int) -> PatchLabels:
    """Labels of a picture of which nothing is known: −1 everywhere."""
    count = (side // PATCH_SIDE) ** 2
    unknown = np.full(count, -1, dtype=np.int64)
    return PatchLabels(unknown, unknown, unknown, np.zeros((count, 2), dtype=np.float32))


def _numbers(item: Item) -> tuple[int, int, int]:
    color = 0 if isinstance(item, Thing) else COLOR_NUMBERS[item.color]
    text = TEXTS[item.text] if isinstance(item, Sign) else 0
    return NOUNS[noun(item)], color, text


class PatchHeads(nn.Module):
    """Reads noun, color, text and offset off a visual token as the decoder gets it."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.sizes = (len(NOUNS), len(COLOR_NUMBERS), len(TEXTS), 2)
        self.norm = nn.LayerNorm(width)
        self.read = nn.Linear(width, sum(self.sizes))

    def forward(self, features: Tensor, labels: Tensor, offset: Tensor) -> tuple[Tensor, Tensor]:
        """The loss [] and the share of item patches whose noun is predicted right [].

        Args:
            features: [B, P, d].
            labels: [3, B, P] numbers of noun, color and text; −1 where nothing is known.
            offset: [B, P, 2].
        """
        known = labels[0] >= 0
        noun, color, text, way = self.read(self.norm(features[known])).float().split(self.sizes, dim=-1)
        wanted = labels[:, known]
        is_item, is_sign = wanted[0] > 0, wanted[2] > 0
        weight = torch.where(is_item, 1 / is_item.sum().clamp(min=1), BACKGROUND_WEIGHT / (~is_item).sum().clamp(min=1))
        loss = (functional.cross_entropy(noun, wanted[0], reduction="none") * weight).sum()
        loss = loss + 0.5 * (functional.cross_entropy(color, wanted[1], reduction="none") * weight).sum()
        reading = functional.cross_entropy(text, wanted[2], reduction="none") * is_sign
        loss = loss + reading.sum() / is_sign.sum().clamp(min=1)
        distance = functional.smooth_l1_loss(way, offset[known], reduction="none", beta=0.05).sum(-1) * is_item
        loss = loss + 3 * distance.sum() / is_item.sum().clamp(min=1)
        is_right = (noun.argmax(-1) == wanted[0]) & is_item
        return loss, is_right.sum() / is_item.sum().clamp(min=1)
