"""SmolVLM and Idefics3: tiles row by row, each between separators, then the whole picture."""

from __future__ import annotations

from typing import Any

from transformers import PreTrainedConfig

from skipcore.families.family import WHOLE, Box, Family, ModelInputs, Pictures, runs_of, square, tiles_then_whole
from skipcore.plan.tiles import Kind, Tile


def _pictures(config: PreTrainedConfig, inputs: ModelInputs) -> Pictures:
    """Every run of image tokens is a tile. The last tile of a picture follows a token that no other tile follows."""
    vision = config.vision_config
    tile = Tile(square((vision.image_size // vision.patch_size) ** 2 // config.scale_factor**2))
    pictures = []
    for ids, runs in zip(inputs["input_ids"], runs_of(config, inputs), strict=True):
        marks = [int(ids[first - 1]) for first, _ in runs]
        count = 0
        for mark in marks:
            count += 1
            if mark == marks[-1]:
                pictures.append((tile,) * count)
                count = 0
    return {Kind.IMAGE: pictures}


def _boxes(processor: Any, width: int, height: int, num_tiles: int) -> list[Box]:
    if num_tiles == 1:
        return [WHOLE]
    _, rows, columns = processor.image_processor.get_number_of_image_patches(height, width, {})
    return tiles_then_whole(rows, columns)


SMOLVLM = Family(
    name="SmolVLM", model_types=("smolvlm", "idefics3"), pictures=_pictures, boxes=_boxes, extra="num2words"
)
