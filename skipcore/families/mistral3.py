"""Mistral Small 3 and Ministral 3: any aspect ratio, four patches to a token; text tokens of their own end the rows."""

from __future__ import annotations

from transformers import PreTrainedConfig

from skipcore.families.family import Family, ModelInputs, Pictures, one_tile_each
from skipcore.families.patches import image_after_image


def _pictures(config: PreTrainedConfig, inputs: ModelInputs) -> Pictures:
    side = config.vision_config.patch_size * config.spatial_merge_size
    sizes = inputs.get("image_sizes")
    return one_tile_each([] if sizes is None else [(height // side, width // side) for height, width in sizes.tolist()])


MISTRAL3 = Family(name="Mistral 3", model_types=("mistral3",), pictures=_pictures, patches=image_after_image)
