"""LLaVA-1.5: one picture, one square of visual tokens. Pixtral, by the same classes: any aspect ratio."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor
from transformers import PreTrainedConfig

from skipcore.families.family import WHOLE, Box, Family, ModelInputs, Pictures, one_tile_each, square
from skipcore.families.patches import image_after_image, one_image_a_tile
from skipcore.plan.tiles import Tiles


def _pictures(config: PreTrainedConfig, inputs: ModelInputs) -> Pictures:
    patch = config.vision_config.patch_size
    if (sizes := inputs.get("image_sizes")) is not None:  # Pixtral's; pixels are padded to the largest picture
        grids = [(height // patch, width // patch) for height, width in sizes.tolist()]
    elif (pixels := inputs.get("pixel_values")) is not None:
        grids = [(pixels.shape[-2] // patch, pixels.shape[-1] // patch)] * pixels.shape[0]
    else:
        encoded = (inputs.get("mm_encoder_outputs") or {}).get("image")
        of_squares = config.vision_config.model_type != "pixtral"
        grids = [square(len(own)) for own in encoded.pooler_output] if encoded is not None and of_squares else []
    if config.vision_feature_select_strategy == "full" and config.vision_config.model_type == "clip_vision_model":
        grids = [(1, rows * columns + 1) for rows, columns in grids]  # the class token shows no part of the picture
    return one_tile_each(grids)


def _boxes(processor: Any, width: int, height: int, num_tiles: int) -> list[Box]:
    """The square in the middle where the processor crops the picture to it, else the whole picture."""
    images = processor.image_processor
    if not (images.do_center_crop and "shortest_edge" in dict(images.size)):
        return [WHOLE]
    scale = images.size["shortest_edge"] / min(width, height)
    shown = images.crop_size["width"] / (width * scale), images.crop_size["height"] / (height * scale)
    (left, right), (top, bottom) = ((0.5 - share / 2, 0.5 + share / 2) for share in shown)
    return [(left, top, right, bottom)]


def _patches(config: PreTrainedConfig, inputs: ModelInputs, pictures: Sequence[Tiles], rows: int) -> list[Tensor]:
    of_pixtral = config.vision_config.model_type == "pixtral"
    return (image_after_image if of_pixtral else one_image_a_tile)(config, inputs, pictures, rows)


def _follow_up(processor: Any, answer: str, question: str) -> str:
    return f" {answer}{processor.tokenizer.eos_token}USER: {question} ASSISTANT:"


LLAVA = Family(
    name="LLaVA",
    model_types=("llava",),
    pictures=_pictures,
    boxes=_boxes,
    prompt=lambda processor, question: f"USER: {question} ASSISTANT:",
    follow_up=_follow_up,
    patches=_patches,
)
