"""Qwen2-VL, Qwen2.5-VL, Qwen3-VL and its mixture of experts: any aspect ratio, videos, M-RoPE, DeepStack."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from transformers import PreTrainedConfig

from skipcore.families.family import Family, ModelInputs, Pictures
from skipcore.families.patches import cell_after_cell, cell_after_cell_in_windows, tiles_of
from skipcore.plan.layout import Layout
from skipcore.plan.tiles import Kind, Tiles


def _pictures(config: PreTrainedConfig, inputs: ModelInputs) -> Pictures:
    merge = config.vision_config.spatial_merge_size

    def tiles(name: str) -> list[Tiles]:
        grids = inputs.get(name)
        return [] if grids is None else tiles_of(grids, merge)

    return {Kind.IMAGE: tiles("image_grid_thw"), Kind.VIDEO: tiles("video_grid_thw")}


def _deepstack(kwargs: dict[str, Any], layout: Layout) -> dict[str, Any]:
    """DeepStack adds further features of each visual token to the residual after the first layers: those of merged
    tokens are averaged as the tokens are; summary tokens have none."""
    if (features := kwargs.get("deepstack_visual_embeds")) is None:
        return {}
    at, moved = kwargs["visual_pos_masks"], []
    stands_for = layout.stands_for(at)
    for each in features:
        of_prompt = each.new_zeros(*at.shape, each.shape[-1])
        of_prompt[at] = each
        moved.append(layout.embed(of_prompt, None)[stands_for])
    return {"visual_pos_masks": stands_for, "deepstack_visual_embeds": moved}


QWEN2_VL = Family(
    name="Qwen2-VL",
    model_types=("qwen2_vl",),
    pictures=_pictures,
    remembers=("rope_deltas",),
    patches=cell_after_cell,
    connector=("merger",),
)
QWEN2_5_VL = replace(QWEN2_VL, name="Qwen2.5-VL", model_types=("qwen2_5_vl",), patches=cell_after_cell_in_windows)
QWEN3_VL = replace(
    QWEN2_VL,
    name="Qwen3-VL",
    model_types=("qwen3_vl", "qwen3_vl_moe"),
    adds_between_layers=True,
    follow=_deepstack,
)
