"""Seam 1: what the decoder is given. A prefill gets the prompt laid out, a decode step its true position and mask."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedConfig, PreTrainedModel

from skipcore.cache import Kept, KeptLayer, mask_over_stored, use_kept_layers
from skipcore.errors import InputError
from skipcore.families import Family, kinds_of
from skipcore.layout import Layout
from skipcore.tiles import Kind, PlacedPicture, find_pictures

if TYPE_CHECKING:
    from skipcore.methods.method import Method


@dataclass(frozen=True)
class Prompts:
    """A batch of prompts about to be prefilled. CPU tensors.

    Attributes:
        real: [batch, prompt] bool, False where there is padding.
        visual: [batch, prompt] bool, True where a visual token stands.
        pictures: of each prompt, in order.
    """

    real: Tensor
    visual: Tensor
    pictures: list[list[PlacedPicture]]


def read_prompts(family: Family, config: PreTrainedConfig, inputs: Mapping[str, Any]) -> Prompts:
    """Find the pictures of a batch of prompts.

    Args:
        inputs: what the model was given, and the sizes of what was encoded before.

    Raises:
        InputError: no ids, an unusual mask, or pictures that do not fill their places.
    """
    ids, mask = inputs.get("input_ids"), inputs.get("attention_mask")
    if ids is None:
        raise InputError("Pass input_ids to the model: a session finds the visual tokens by them.")
    if mask is not None and not (isinstance(mask, Tensor) and mask.ndim == 2):
        raise InputError("A session needs a two-dimensional attention_mask (1 for tokens, 0 for padding), or none.")
    kinds = kinds_of(config, ids).cpu()
    real = torch.ones_like(kinds, dtype=torch.bool) if mask is None else mask.bool().cpu()
    if not real.any(dim=1).all() or ((kinds != Kind.TEXT) & ~real).any():
        raise InputError("The attention_mask hides a whole prompt or visual tokens: only padding may be 0 in it.")
    pictures = _pictures(family, config, kinds, inputs)
    visual = torch.zeros_like(real)
    for row, placed in zip(visual, pictures, strict=True):
        for picture in placed:
            row[picture.positions] = True
    return Prompts(real, visual, pictures)


def _pictures(
    family: Family, config: PreTrainedConfig, kinds: Tensor, inputs: Mapping[str, Any]
) -> list[list[PlacedPicture]]:
    """Where every picture stands. `generate()` may repeat each prompt (beams), but never what was encoded."""
    if not kinds.any():
        return [[] for _ in kinds]
    pictures = family.pictures(config, inputs)
    known = sum(tile.num_places for each in pictures.values() for tiles in each for tile in tiles)
    repeats = max(1, int((kinds != Kind.TEXT).sum()) // max(1, known))
    found = find_pictures(kinds[::repeats], pictures)
    return [placed for placed in found for _ in range(repeats)]


def prefill_arguments(
    method: Method, family: Family, model: PreTrainedModel, layout: Layout, kwargs: dict[str, Any]
) -> dict[str, Any]:
    """The decoder's keyword arguments with the prompts laid out and a cache that stores what is kept."""
    decoder, embeds = model.get_decoder(), kwargs["inputs_embeds"]
    renumber = method.positions == "renumbered"
    kwargs = dict(
        kwargs,
        inputs_embeds=layout.embed(embeds, method.summary),
        position_ids=layout.positions(kwargs.get("position_ids"), renumber),
        attention_mask=None,
        skip_layout=layout,
    )
    kwargs |= family.follow(kwargs, layout)
    if family.masks is not None:
        kwargs["attention_mask"] = family.masks(model.config, layout, method.text_attends_skipped)
    if _wants_cache(decoder, kwargs):
        next_position = layout.num_slots if renumber else None
        text_after = layout.text_after
        kept = [
            Kept(
                slots,
                embeds.shape[1],
                layout.stored_real,
                next_position,
                positions=None if window is None else layout.slot_source,
                window=window,
                text_after=text_after,
            )
            for slots, window in zip(layout.kept, windows(decoder.config, len(layout.kept)), strict=True)
        ]
        kwargs["past_key_values"] = use_kept_layers(kwargs.get("past_key_values"), kept)
    else:
        kwargs["use_cache"] = False
    return kwargs


def decode_arguments(
    family: Family, config: PreTrainedConfig, cache: DynamicCache, kwargs: dict[str, Any]
) -> dict[str, Any]:
    """True positions, and a mask over the stored keys where one is needed.

    Args:
        config: of the decoder.
        cache: what `prefill_arguments` made.
    """
    layers: Sequence[KeptLayer] = cache.layers
    first = layers[0]
    embeds, positions = kwargs["inputs_embeds"], kwargs.get("position_ids")
    steps = torch.arange(embeds.shape[1], device=embeds.device)[None]
    if first.kept.next_position is not None:
        positions = first.kept.next_position.to(embeds.device) + first.decoded + steps
    elif positions is None:
        positions = steps + first.get_seq_length()
    mask: Any = mask_over_stored(first, embeds.shape[1])
    if family.masks is not None:  # one to each kind of layer
        kinds = dict(zip(config.layer_types, layers, strict=True))
        mask = {kind: mask_over_stored(layer, embeds.shape[1]) for kind, layer in kinds.items()}
    return dict(kwargs, position_ids=positions, attention_mask=mask)


def windows(config: PreTrainedConfig, num_layers: int) -> list[int | None]:
    """How far back each layer looks; None: all the way."""
    kinds = getattr(config, "layer_types", None) or ["full_attention"] * num_layers
    return [config.sliding_window if kind == "sliding_attention" else None for kind in kinds]


def _wants_cache(decoder: PreTrainedModel, kwargs: dict[str, Any]) -> bool:
    """Whether this prefill is to leave a cache. Training steps throw theirs away, so none is made unasked."""
    if kwargs.get("past_key_values") is not None:
        return True
    if (use_cache := kwargs.get("use_cache")) is not None:
        return bool(use_cache)
    return decoder.config.use_cache and not decoder.training
