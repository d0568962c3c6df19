"""Which rows of the vision tower feed each visual token: patches that are pooled, shuffled or merged to one token.

Each function returns, for every picture, [N, k] rows in the order in which the tower holds them, all images one after
the other. A method that scores tokens by what happens in the tower reads its scores through them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedConfig
from transformers.models.llava_next.modeling_llava_next import get_anyres_image_grid_shape, unpad_image
from transformers.vision_utils import get_vision_window_index

from skipcore.errors import InputError
from skipcore.plan.tiles import Tile, Tiles

ModelInputs = Mapping[str, Any]
Patches = Callable[[PreTrainedConfig, ModelInputs, Sequence[Tiles], int], list[Tensor]]
"""(config, inputs, the tiles of each picture, rows of the tower) → rows of each picture's tokens."""


def _cells(rows: int, columns: int, side: int) -> Tensor:
    """[rows · columns, side²] a grid of patches cut into square cells, row by row."""
    patches = torch.arange(rows * side * columns * side).view(rows, side, columns, side)
    return patches.permute(0, 2, 1, 3).reshape(rows * columns, side * side)


def has_class_token(config: PreTrainedConfig) -> bool:
    """Whether each image of the tower begins with a class token."""
    return config.vision_config.model_type in ("clip_vision_model", "internvl_vision")


def one_image_a_tile(
    config: PreTrainedConfig, inputs: ModelInputs, pictures: Sequence[Tiles], rows: int
) -> list[Tensor]:
    """Every tile is an image of its own in the tower, its patches row by row, after a class token if there is one."""
    per_image, class_token = rows // sum(map(len, pictures)), has_class_token(config)
    found, first = [], 0
    for tiles in pictures:
        of_tiles = []
        for tile in tiles:
            if tile.num_tokens == per_image:  # the class token is a visual token, too
                of_tiles.append(first + torch.arange(per_image)[:, None])
            else:
                side = round(((per_image - class_token) / tile.num_tokens) ** 0.5)
                of_tiles.append(first + class_token + _cells(*tile.grid, side))
            first += per_image
        found.append(torch.cat(of_tiles))
    return found


def cell_after_cell(
    config: PreTrainedConfig, inputs: ModelInputs, pictures: Sequence[Tiles], rows: int
) -> list[Tensor]:
    """The patches of a token follow one another, all images in one sequence."""
    counts = [sum(tile.num_tokens for tile in tiles) for tiles in pictures]
    return list(torch.arange(rows).view(sum(counts), -1).split(counts))


def cell_after_cell_in_windows(
    config: PreTrainedConfig, inputs: ModelInputs, pictures: Sequence[Tiles], rows: int
) -> list[Tensor]:
    """The same, but the tower holds the tokens in the order of its attention windows (Qwen2.5-VL)."""
    vision = config.vision_config
    grids = next(
        each
        for each in (inputs.get("image_grid_thw"), inputs.get("video_grid_thw"))
        if each is not None and tiles_of(each, vision.spatial_merge_size) == list(pictures)
    )
    window, _ = get_vision_window_index(
        grids.cpu(),
        spatial_merge_size=vision.spatial_merge_size,
        window_size=vision.window_size,
        patch_size=vision.patch_size,
    )
    cells = torch.cat(cell_after_cell(config, inputs, pictures, rows))[window.argsort()]
    return list(cells.split([sum(tile.num_tokens for tile in tiles) for tiles in pictures]))


def tiles_of(grids: Tensor, merge: int) -> list[Tiles]:
    """Of pictures, or of videos, of [n, 3] grids of patches: frames, rows and columns."""
    return [(Tile((rows // merge, columns // merge)),) * frames for frames, rows, columns in grids.tolist()]


def image_after_image(
    config: PreTrainedConfig, inputs: ModelInputs, pictures: Sequence[Tiles], rows: int
) -> list[Tensor]:
    """All images in one sequence, each row by row; a token is a square cell of patches (Pixtral's tower)."""
    tokens = [sum(tile.num_tokens for tile in tiles) for tiles in pictures]
    side = round((rows / sum(tokens)) ** 0.5)
    firsts = accumulate((count * side * side for count in tokens), initial=0)
    return [first + _cells(*tiles[0].grid, side) for first, tiles in zip(firsts, pictures, strict=False)]


def anyres(config: PreTrainedConfig, inputs: ModelInputs, pictures: Sequence[Tiles], rows: int) -> list[Tensor]:
    """The whole picture, then a rectangle put together of tiles, cut to the picture and shrunk where it is too large: a
    token of a shrunk rectangle reads the patch in its middle (LLaVA-NeXT, LLaVA-OneVision)."""
    vision, class_token = config.vision_config, has_class_token(config)
    side = vision.image_size // vision.patch_size
    if any(tiles[0].grid != (side, side) for tiles in pictures):
        raise InputError(
            "The frames of this model's videos are pooled, so that their visual tokens are no patches of the vision "
            "tower: choose a method that does not look at it."
        )
    per_image, first, found = side * side + class_token, 0, []
    for tiles, size in zip(pictures, inputs["image_sizes"].tolist(), strict=True):
        own, images = [first + class_token + torch.arange(side * side)], 1
        if len(tiles) > 1:
            lines, columns = get_anyres_image_grid_shape(size, config.image_grid_pinpoints, vision.image_size)
            own.append(own[0][0] + per_image + _rectangle(lines, columns, side, per_image, size, tiles))
            images += lines * columns
        first += per_image * images
        found.append(torch.cat(own)[:, None])
    return found


def _rectangle(lines: int, columns: int, side: int, per_image: int, size: list[int], tiles: Tiles) -> Tensor:
    """[N] rows of the large rectangle's tokens, counted from the first tile's first patch."""
    number = torch.arange(lines * columns).view(lines, 1, columns, 1) * per_image
    canvas = number + torch.arange(side * side).view(1, side, 1, side)
    seen = unpad_image(canvas.reshape(1, lines * side, columns * side), size)[0]
    across = [_middles(have, want) for have, want in zip(seen.shape, tiles[1].grid, strict=True)]
    return seen[across[0]][:, across[1]].flatten()


def _middles(have: int, want: int) -> Tensor:
    """`want` indices evenly among `have`."""
    return ((torch.arange(want) + 0.5) * (have / want)).long()
