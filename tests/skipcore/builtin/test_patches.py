"""Patch labels: true to the picture, and heads that can learn them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

pytest.importorskip("easy_vqa")

from skipcore.builtin.scenes.draw import draw_with_owners
from skipcore.builtin.scenes.sample import sample_scene
from skipcore.builtin.scenes.scene_record import Background, Scene, Shape, Sign, Spot, Thing, noun
from skipcore.builtin.scenes.vocabulary import COLORS
from skipcore.builtin.training.patch_labels import (
    COLOR_NUMBERS,
    NOUNS,
    TEXTS,
    PatchHeads,
    PatchLabels,
    label_patches,
    no_labels,
)
from skipcore.builtin.training.untrained import PATCH_SIDE

GROUND = Background("plain", (240, 240, 240), (240, 240, 240), 0)
HAND_MADE = Scene(
    GROUND,
    (
        Shape("circle", "red", COLORS["red"], Spot(0.25, 0.25, 0.4)),
        Thing("dog", "noto", Spot(0.75, 0.25, 0.4)),
        Sign("stop", "Roboto", "blue", COLORS["blue"], (255, 255, 255), Spot(0.5, 0.75, 0.5)),
    ),
)


def hand_made_owners(height: int, width: int) -> np.ndarray:
    """Circle, dog and sign as rectangles; every other pixel is of the ground."""
    owners = np.zeros((height, width), dtype=np.uint8)
    owners[: height // 2, : width // 2] = 1
    owners[: height // 2, width // 2 :] = 2
    owners[3 * height // 4 :, :] = 3
    return owners


@pytest.mark.parametrize(("height", "width"), [(56, 56), (112, 56), (80, 200)])
def test_labels_of_a_hand_made_scene(height: int, width: int) -> None:
    """4 x 4 patches: two rows of circle and dog, one of the ground, one of the sign."""
    labels = label_patches(HAND_MADE, hand_made_owners(height, width), 4 * PATCH_SIDE)
    circle, dog, sign = NOUNS["circle"], NOUNS["dog"], NOUNS["sign"]
    red, blue, stop = COLOR_NUMBERS["red"], COLOR_NUMBERS["blue"], TEXTS["stop"]
    top = [circle, circle, dog, dog]
    assert labels.noun.tolist() == [*top, *top, 0, 0, 0, 0, sign, sign, sign, sign]
    assert labels.color.tolist() == [*[red, red, 0, 0] * 2, 0, 0, 0, 0, blue, blue, blue, blue]
    assert labels.text.tolist() == [0] * 12 + [stop] * 4
    first, last = labels.offset[0], labels.offset[15]
    assert first.tolist() == pytest.approx([0.25 - 0.125, 0.25 - 0.125])
    assert last.tolist() == pytest.approx([0.5 - 0.875, 0.75 - 0.875])


def test_labels_are_what_the_picture_shows() -> None:
    """Against the picture itself: the pixel in a patch's middle belongs to the item that the label names."""
    for seed in range(20):
        scene = sample_scene(np.random.default_rng(seed))
        owners = draw_with_owners(scene, 168)[1]
        labels = label_patches(scene, owners, 168)
        for patch in range(144):
            row, column = divmod(patch, 12)
            owner = owners[row * 14 + 7, column * 14 + 7]
            assert labels.noun[patch] == (NOUNS[noun(scene.items[owner - 1])] if owner else 0)
            if owner:
                spot = scene.items[owner - 1].spot
                middle = np.array([(column + 0.5) / 12, (row + 0.5) / 12])
                assert labels.offset[patch] + middle == pytest.approx([spot.x, spot.y], abs=1e-6)


def tensors(labels: list[PatchLabels]) -> tuple[torch.Tensor, torch.Tensor]:
    numbers = np.stack([[each.noun, each.color, each.text] for each in labels], axis=1)
    return torch.from_numpy(numbers), torch.from_numpy(np.stack([each.offset for each in labels]))


def test_heads_learn_a_few_pictures_by_heart() -> None:
    labels, offset = tensors([label_patches(HAND_MADE, hand_made_owners(56, 56), 56)] * 2)
    features = torch.nn.Parameter(torch.randn(2, 16, 48))
    heads = PatchHeads(48)
    optimizer = torch.optim.AdamW([features, *heads.parameters()], lr=0.02)
    first, right = heads(features, labels, offset)
    assert first > 3 and right < 0.5
    for _ in range(150):
        optimizer.zero_grad()
        heads(features, labels, offset)[0].backward()
        optimizer.step()
    loss, right = heads(features, labels, offset)
    assert loss < 0.05 and right == 1


def test_every_label_counts() -> None:
    """A wrong noun, color, text or offset each makes the loss of trained heads jump."""
    labels, offset = tensors([label_patches(HAND_MADE, hand_made_owners(56, 56), 56)])
    features = torch.nn.Parameter(torch.randn(1, 16, 48))
    heads = PatchHeads(48)
    optimizer = torch.optim.AdamW([features, *heads.parameters()], lr=0.02)
    for _ in range(150):
        optimizer.zero_grad()
        heads(features, labels, offset)[0].backward()
        optimizer.step()
    with torch.no_grad():
        good = heads(features, labels, offset)[0]
        for kind in range(3):
            wrong = labels.clone()
            wrong[kind, 0, 12:] = wrong[kind, 0, 12:] % 5 + 1
            assert heads(features, wrong, offset)[0] > good + 0.5, kind
        assert heads(features, labels, offset + 0.3)[0] > good + 0.5


def test_where_nothing_is_known_nothing_is_learned() -> None:
    labels, offset = tensors([no_labels(56)] * 2)
    heads, features = PatchHeads(48), torch.randn(2, 16, 48, requires_grad=True)
    loss, right = heads(features, labels, offset)
    assert loss == 0 and right == 0
    loss.backward()
    for gradient in (features.grad, *(weights.grad for weights in heads.parameters())):
        assert gradient is None or (gradient == 0).all()


def test_unknown_pictures_leave_the_known_ones_alone() -> None:
    known = label_patches(HAND_MADE, hand_made_owners(56, 56), 56)
    heads, features = PatchHeads(48), torch.randn(2, 16, 48)
    alone = heads(features[:1], *tensors([known]))
    mixed = heads(features, *tensors([known, no_labels(56)]))
    torch.testing.assert_close(mixed, alone)


def test_pictures_of_the_ground_alone_are_learned_too() -> None:
    """No item, no sign: every mean is over nothing, or over the ground."""
    labels, offset = tensors([label_patches(HAND_MADE, np.zeros((56, 56), dtype=np.uint8), 56)])
    heads, features = PatchHeads(48), torch.randn(1, 16, 48, requires_grad=True)
    loss, right = heads(features, labels, offset)
    loss.backward()
    assert torch.isfinite(loss) and loss > 0 and right == 0
    assert torch.isfinite(features.grad).all()
