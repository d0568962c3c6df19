"""The prompts of a batch: where their pictures are, and what a method plans for their tokens."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedConfig

from skipcore.engine.encoding import Encoding
from skipcore.engine.planner import Planner
from skipcore.errors import InputError
from skipcore.families import Family, kinds_of
from skipcore.plan.tiles import Kind, PlacedPicture, Tiles, find_pictures, misfit
from skipcore.plan.token_plan import TokenPlan, plan_batch
from skipcore.plan.tower_view import TowerView


@dataclass(frozen=True)
class Prompts:
    """A batch of prompts about to be prefilled. CPU tensors.

    Attributes:
        real: [batch, prompt] bool, False for padding.
        visual: [batch, prompt] bool, True for visual tokens.
        pictures: of each prompt, in order.
        tiles: of every picture and every video of the batch.
    """

    real: Tensor
    visual: Tensor
    pictures: list[list[PlacedPicture]]
    tiles: dict[Kind, list[Tiles]]


def plan_prompts(
    method: Planner,
    family: Family,
    config: PreTrainedConfig,
    num_layers: int,
    given: Mapping[str, Any],
    embeds: Tensor,
    encodings: Mapping[str, Encoding],
) -> tuple[Prompts, list[TokenPlan]]:
    """Find the pictures, and let the method plan what happens to their tokens.

    Args:
        num_layers: of the decoder.
        given: what the model and its encoders were given.
        embeds: [batch, prompt, d].
        encodings: of the pictures and of the videos, where they are known.

    Raises:
        InputError: see `read_prompts`; or the method needs to see the vision tower, and was not shown it.
    """
    known = encodings.keys() >= (given.get("mm_encoder_outputs") or {}).keys()
    encoded = [each.num_tokens for each in encodings.values()] if known else []
    prompts = read_prompts(family, config, given, encoded)
    towers = {}
    if method.tower_looks and prompts.visual.any():
        for kind, tiles in prompts.tiles.items():
            if tiles:
                tower = _tower_of(kind, encodings, method.label)
                patches = family.patches(config, given, tiles, tower.num_rows)
                towers[kind] = [tower.at(own) for own in patches]
    return prompts, plan_batch(method.plan, embeds, prompts.real, prompts.pictures, num_layers, towers)


def read_prompts(
    family: Family, config: PreTrainedConfig, inputs: Mapping[str, Any], encoded: Collection[int] = ()
) -> Prompts:
    """Find the pictures of a batch of prompts.

    Args:
        inputs: what the model was given, and the sizes of what was encoded before.
        encoded: how many tokens pictures and videos had when they were encoded, where that is known. `generate()` may
            have repeated every prompt since (beams).

    Raises:
        InputError: no ids, an unusual mask, or pictures that do not fit the visual tokens of the prompts.
    """
    ids, mask = inputs.get("input_ids"), inputs.get("attention_mask")
    mask = mask.cpu() if isinstance(mask, Tensor) else mask
    if ids is None:
        raise InputError("Pass input_ids to the model: a session finds the visual tokens by them.")
    if mask is not None and not (isinstance(mask, Tensor) and mask.ndim == 2 and bool((mask == mask.bool()).all())):
        raise InputError("Pass a two-dimensional attention_mask (1 for tokens, 0 for padding), or none.")
    kinds = kinds_of(config, ids).cpu()
    real = torch.ones_like(kinds, dtype=torch.bool) if mask is None else mask.bool()
    if not real.any(dim=1).all() or ((kinds != Kind.TEXT) & ~real).any():
        raise InputError("The attention_mask hides a whole prompt or visual tokens: only padding may be 0 in it.")
    repeats = _repeats(kinds, sum(encoded))
    own = kinds[::repeats]
    tiles = family.pictures(config, {**inputs, "input_ids": ids[::repeats]}) if kinds.any() else {}
    found = find_pictures(own, tiles) if kinds.any() else [[] for _ in own]
    pictures = [placed for placed in found for _ in range(repeats)]
    visual = torch.zeros_like(real)
    for row, placed in zip(visual, pictures, strict=True):
        for picture in placed:
            row[picture.positions] = True
    return Prompts(real, visual, pictures, tiles)


def _repeats(kinds: Tensor, encoded: int) -> int:
    """How often each prompt comes in [batch, prompt], one copy after the other, given how many tokens were encoded."""
    num_visual = int((kinds != Kind.TEXT).sum())
    repeats = max(1, num_visual // encoded) if encoded else 1
    if not torch.equal(kinds, kinds[::repeats].repeat_interleave(repeats, dim=0)):
        raise misfit()
    return repeats


def _tower_of(kind: Kind, encodings: Mapping[str, Encoding], label: str) -> TowerView:
    """What the method asked to see of the vision tower, for all pictures or all videos."""
    encoding = encodings.get(kind.name.lower())
    if encoding is None and len(encodings) == 1:  # a video whose frames count as pictures
        (encoding,) = encodings.values()
    if encoding is None or encoding.tower is None:
        raise InputError(
            f"{label} looks at the vision tower, but the picture was encoded without it: pass the pixels, or features "
            "of `vlm.encode(prepared, method)`."
        )
    return encoding.tower
