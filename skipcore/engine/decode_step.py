"""Seam 1 after a prefill that skipped: true positions, and masks over the keys that the cache stores."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedConfig

from skipcore.engine.cache import KeptLayer
from skipcore.engine.checks import check_attentions
from skipcore.families import Family


def decode_arguments(
    family: Family, config: PreTrainedConfig, cache: DynamicCache, kwargs: dict[str, Any]
) -> dict[str, Any]:
    """The decoder's keyword arguments with true positions, and a mask over the stored keys for each layer.

    Args:
        config: of the decoder.
        cache: what a prefill that skipped has left.
    """
    check_attentions(config, kwargs)
    layers: Sequence[KeptLayer] = cache.layers
    first, embeds, positions = layers[0], kwargs["inputs_embeds"], kwargs.get("position_ids")
    new = embeds.shape[1]
    steps = torch.arange(new, device=embeds.device)[None]
    if first.kept.next_position is not None:
        positions = first.kept.next_position.to(embeds.device) + first.decoded + steps
    elif positions is None:
        positions = steps + first.get_seq_length()
    return dict(
        kwargs,
        position_ids=positions,
        attention_mask=None if family.masks is None else dict.fromkeys(config.layer_types),
        skip_decode_masks=_masks(layers, new),
    )


def _masks(layers: Sequence[KeptLayer], new: int) -> list[Tensor | None]:
    """A mask for each layer; layers that stored the same share theirs."""
    made: dict[tuple[int, int, int], Tensor | None] = {}
    masks = []
    for layer in layers:
        key = id(layer.kept.real), id(layer.kept.positions), layer.stored_length
        if key not in made:
            made[key] = mask_over_stored(layer, new)
        masks.append(made[key])
    return masks


def mask_over_stored(layer: KeptLayer, new: int) -> Tensor | None:
    """Which stored keys, and which of the new ones, `new` rows may look at after the prefill.

    Returns:
        Bool [batch, 1, new, stored + new], True where a row may look; None where every row may look everywhere.
    """
    real, stored, positions = layer.kept.real, layer.stored_length, layer.kept.positions
    assert layer.keys is not None
    if real is None and new == 1 and (positions is None or len(positions) == 1):
        return None  # a single sample has dropped what lies outside the window
    columns = torch.ones(len(layer.keys), stored + new, dtype=torch.bool, device=layer.keys.device)
    if real is not None:
        columns[:, : real.shape[1]] = real
    seen = columns[:, None] & torch.ones(new, stored + new, dtype=torch.bool, device=columns.device).tril(stored)
    if positions is not None and layer.kept.window is not None:
        rows = torch.arange(new, device=columns.device) + layer.get_seq_length()
        keys = torch.cat([positions.to(rows.device), rows.expand(len(positions), -1)], dim=1)
        seen &= keys[:, None] > rows[:, None] - layer.kept.window
    return seen[:, None]
