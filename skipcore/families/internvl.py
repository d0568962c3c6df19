"""InternVL: tiles row by row, then the whole picture; each tile's tokens shuffled together to a quarter."""

from __future__ import annotations

from typing import Any

from transformers import PreTrainedConfig
from transformers.models.got_ocr2.image_processing_got_ocr2 import get_optimal_tiled_canvas

from skipcore.families.family import WHOLE, Box, Family, ModelInputs, Pictures, runs_of, square, tiles_then_whole
from skipcore.plan.tiles import Kind, Tile


def _pictures(config: PreTrainedConfig, inputs: ModelInputs) -> Pictures:
    """Every run of image tokens is a picture, or one frame of a video."""
    tile = Tile(square(config.image_seq_length))
    runs = [run for prompt in runs_of(config, inputs) for run in prompt]
    return {Kind.IMAGE: [(tile,) * (length // tile.num_tokens) for _, length in runs]}


def _boxes(processor: Any, width: int, height: int, num_tiles: int) -> list[Box]:
    if num_tiles == 1:
        return [WHOLE]
    images = processor.image_processor
    side = images.size["height"], images.size["width"]
    columns, rows = get_optimal_tiled_canvas((height, width), side, images.min_patches, images.max_patches)
    return tiles_then_whole(rows, columns)


INTERNVL = Family(name="InternVL", model_types=("internvl",), pictures=_pictures, boxes=_boxes)
