"""GLM-4.1V, GLM-4.5V and GLM-4.6V: any aspect ratio, M-RoPE; the frames of a video count as pictures."""

from __future__ import annotations

from transformers import PreTrainedConfig

from skipcore.families.family import Family, ModelInputs, Pictures
from skipcore.families.patches import cell_after_cell, tiles_of
from skipcore.plan.tiles import Kind


def _pictures(config: PreTrainedConfig, inputs: ModelInputs) -> Pictures:
    """The stock models take pictures or videos, not both at once: no order between them is to be found."""
    merge = config.vision_config.spatial_merge_size
    grids = [inputs[name] for name in ("image_grid_thw", "video_grid_thw") if inputs.get(name) is not None]
    return {Kind.IMAGE: [tiles for each in grids for tiles in tiles_of(each, merge)]}


GLM4V = Family(
    name="GLM-4V",
    model_types=("glm4v", "glm4v_moe", "glm46v"),
    pictures=_pictures,
    patches=cell_after_cell,
    connector=("downsample", "merger"),
)
