"""LLaVA-NeXT and LLaVA-OneVision: the whole picture as one square, then all tiles of it as one large rectangle whose
padding is cut off and whose rows end in a newline token."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from transformers import PreTrainedConfig
from transformers.models.llava_next.modeling_llava_next import get_anyres_image_grid_shape, unpad_image

from skipcore.families.family import Family, ModelInputs, Pictures
from skipcore.families.patches import anyres
from skipcore.plan.tiles import Grid, Kind, Tile, Tiles


def _pictures(config: PreTrainedConfig, inputs: ModelInputs) -> Pictures:
    sizes = inputs.get("image_sizes")
    sizes = [] if sizes is None else sizes.tolist()
    together = inputs.get("batch_num_images")
    counts = [1] * len(sizes) if together is None else [n for n in together.tolist() for _ in range(n)]
    images = [_tiles(config, size, count == 1) for size, count in zip(sizes, counts, strict=True)]
    return {Kind.IMAGE: images, Kind.VIDEO: _videos(config, inputs)}


def _tiles(config: PreTrainedConfig, size: list[int], is_alone: bool) -> Tiles:
    vision = config.vision_config
    side = vision.image_size // vision.patch_size
    if not is_alone:  # several pictures in one prompt: LLaVA-OneVision leaves the large rectangles out
        return (Tile((side, side), after=1),)
    rows, columns = get_anyres_image_grid_shape(size, config.image_grid_pinpoints, vision.image_size)
    canvas = torch.empty(1, rows * side, columns * side, device="meta")
    _, height, width = unpad_image(canvas, size).shape
    return Tile((side, side)), Tile(_at_most(config, height, width, side), ends_rows=True)


def _at_most(config: PreTrainedConfig, height: int, width: int, side: int) -> Grid:
    """LLaVA-OneVision shrinks rectangles of more tokens than `vision_aspect_ratio` ("anyres_max_9") names tiles."""
    if (limit := getattr(config, "vision_aspect_ratio", None)) is None:
        return height, width
    ratio = math.sqrt(height * width / (int(limit.removeprefix("anyres_max_")) * side**2))
    return (int(height // ratio), int(width // ratio)) if ratio > 1.1 else (height, width)


def _videos(config: PreTrainedConfig, inputs: ModelInputs) -> list[Tiles]:
    """Frames pooled to half their side; one newline token ends the video."""
    if (pixels := inputs.get("pixel_values_videos")) is None:
        return []
    half = math.ceil(config.vision_config.image_size // config.vision_config.patch_size / 2)
    frames = pixels.shape[1]
    return [(Tile((half, half)),) * (frames - 1) + (Tile((half, half), after=1),)] * pixels.shape[0]


LLAVA_NEXT = Family(name="LLaVA-NeXT", model_types=("llava_next",), pictures=_pictures, patches=anyres)
LLAVA_ONEVISION = replace(LLAVA_NEXT, name="LLaVA-OneVision", model_types=("llava_onevision",))
