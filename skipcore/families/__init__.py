"""What differs between model families, one file and one entry each: only these files name their internals."""

from __future__ import annotations

from typing import Any, cast

from torch import nn
from transformers import PreTrainedConfig

from skipcore.errors import InputError
from skipcore.families.family import PIXELS, Family, ModelInputs, kinds_of
from skipcore.families.gemma3 import GEMMA3
from skipcore.families.glm4v import GLM4V
from skipcore.families.idefics3 import SMOLVLM
from skipcore.families.internvl import INTERNVL
from skipcore.families.llava import LLAVA
from skipcore.families.llava_next import LLAVA_NEXT, LLAVA_ONEVISION
from skipcore.families.mistral3 import MISTRAL3
from skipcore.families.qwen_vl import QWEN2_5_VL, QWEN2_VL, QWEN3_VL

FAMILIES = (
    LLAVA,
    LLAVA_NEXT,
    LLAVA_ONEVISION,
    QWEN2_VL,
    QWEN2_5_VL,
    QWEN3_VL,
    SMOLVLM,
    INTERNVL,
    GEMMA3,
    MISTRAL3,
    GLM4V,
)

__all__ = ["FAMILIES", "PIXELS", "Family", "ModelInputs", "decoder_layers", "family_of", "kinds_of"]


def family_of(config: PreTrainedConfig) -> Family:
    """The family of a model.

    Raises:
        InputError: the family is not supported; says which are.
    """
    for family in FAMILIES:
        if config.model_type in family.model_types:
            return family
    supported = ", ".join(f"{family.name} ({', '.join(family.model_types)})" for family in FAMILIES)
    raise InputError(f"Models of type {config.model_type!r} are not supported; choose one of: {supported}.")


def decoder_layers(model: nn.Module) -> nn.ModuleList:
    """The decoder's layers, in order."""
    return cast(Any, model).get_decoder().layers
