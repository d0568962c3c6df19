"""Gemma 3: a picture's tokens see one another both ways, and most layers look back over a window only."""

from __future__ import annotations

import torch
from torch import Tensor
from transformers import PreTrainedConfig

from skipcore.families.family import Family, ModelInputs, Pictures, one_tile_each, runs_of, square
from skipcore.plan.layout import Layout
from skipcore.plan.token_plan import Role


def _pictures(config: PreTrainedConfig, inputs: ModelInputs) -> Pictures:
    runs = [run for prompt in runs_of(config, inputs) for run in prompt]
    return one_tile_each([square(config.mm_tokens_per_image)] * len(runs))


def _masks(config: PreTrainedConfig, layout: Layout, text_attends_skipped: bool) -> dict[str, Tensor]:
    """Which slots each slot sees, [batch, 1, length, length] bool, for the two kinds of layers.

    The stock model builds masks of this size, too: there is no causal call for tokens that see each other both ways.
    """
    slots = torch.arange(layout.length, device=layout.role.device)
    same_picture = (layout.picture[:, :, None] == layout.picture[:, None, :]) & (layout.picture[:, None, :] >= 0)
    source = layout.slot_source
    near = source[:, None, :] > source[:, :, None] - config.get_text_config().sliding_window
    seen = slots <= slots[:, None]
    masks = {"full_attention": seen | same_picture, "sliding_attention": (seen & near) | same_picture}
    if not text_attends_skipped:
        is_text, is_skipped = layout.role == Role.TEXT, layout.role == Role.SKIPPED
        allowed = ~(is_text[:, :, None] & is_skipped[:, None, :])
        masks = {name: mask & allowed for name, mask in masks.items()}
    return {name: mask[:, None] for name, mask in masks.items()}


GEMMA3 = Family(
    name="Gemma 3", model_types=("gemma3",), pictures=_pictures, ffn_norm="pre_feedforward_layernorm", masks=_masks
)
