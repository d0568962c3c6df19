"""What differs between model families, one entry each: the only place that names internals of a family."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import isqrt
from typing import Any, cast

import torch
from PIL import Image
from torch import Tensor, nn
from transformers import PreTrainedConfig

from skipcore.errors import InputError
from skipcore.plan import Grid

ModelInputs = Mapping[str, Any]


@dataclass(frozen=True)
class Family:
    """The facts of one model family.

    Attributes:
        name: as people call it.
        model_type: `config.model_type` of its checkpoints.
        grids: rows and columns of every picture's token grid, from the inputs of the model.
        pictures: every picture as the model saw it (after resize and crop), from the processor and the inputs.
        prompt: the prompt for a question where the processor has no chat template.
        ffn_norm: the norm in each layer that feeds the `mlp`.
    """

    name: str
    model_type: str
    grids: Callable[[PreTrainedConfig, ModelInputs], list[Grid]]
    pictures: Callable[[Any, ModelInputs], list[Image.Image]]
    prompt: Callable[[str], str]
    ffn_norm: str = "post_attention_layernorm"


def family_of(config: PreTrainedConfig) -> Family:
    """The family of a model.

    Raises:
        InputError: the family is not supported; says which are.
    """
    family = FAMILIES.get(config.model_type)
    if family is None:
        supported = ", ".join(f"{f.name} ({f.model_type})" for f in FAMILIES.values())
        raise InputError(f"Models of type {config.model_type!r} are not supported; choose one of: {supported}.")
    return family


def visual_positions(config: PreTrainedConfig, input_ids: Tensor) -> Tensor:
    """[batch, prompt] bool: where visual tokens stand."""
    return input_ids == config.image_token_id


def decoder_layers(model: nn.Module) -> nn.ModuleList:
    """The decoder's layers, in order."""
    return cast(Any, model).get_decoder().layers


def _llava_grids(config: PreTrainedConfig, inputs: ModelInputs) -> list[Grid]:
    patch = config.vision_config.patch_size
    if (pixels := inputs.get("pixel_values")) is not None:
        grids = [(pixels.shape[-2] // patch, pixels.shape[-1] // patch)] * pixels.shape[0]
    else:
        encoded = (inputs.get("mm_encoder_outputs") or {}).get("image")
        counts = [] if encoded is None else [len(features) for features in encoded.pooler_output]
        grids = [(isqrt(count), isqrt(count)) for count in counts]
    if config.vision_feature_select_strategy == "full" and config.vision_config.model_type == "clip_vision_model":
        return [(1, rows * columns + 1) for rows, columns in grids]  # the class token has no place in the picture
    return grids


def _normalised_pictures(processor: Any, inputs: ModelInputs) -> list[Image.Image]:
    """Undo the normalisation of `pixel_values` [pictures, 3, height, width]."""
    pixels = inputs["pixel_values"].detach().float().cpu()
    image_processor = processor.image_processor
    mean = torch.tensor(image_processor.image_mean).view(3, 1, 1)
    std = torch.tensor(image_processor.image_std).view(3, 1, 1)
    as_bytes = ((pixels * std + mean) * 255).round().clamp(0, 255).to(torch.uint8)
    return [Image.fromarray(picture.permute(1, 2, 0).numpy()) for picture in as_bytes]


LLAVA = Family(
    name="LLaVA",
    model_type="llava",
    grids=_llava_grids,
    pictures=_normalised_pictures,
    prompt=lambda question: f"USER: <image>\n{question} ASSISTANT:",
)

FAMILIES = {family.model_type: family for family in (LLAVA,)}
