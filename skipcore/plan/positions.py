"""Renumbered positions where tokens are gone (`positions="renumbered"`).

Rotary positions matter only by their differences. Where tokens leave within the decoder, those that are left are
therefore counted backward from the prompt's last token, whose position is the same in every layer: the differences are
those of a count from 0, stage by stage, and decoding goes on from one position in all layers.
"""

from __future__ import annotations

import inspect

import torch
from torch import Tensor
from transformers import PreTrainedModel

from skipcore.plan.layer_rows import LayerRows


def last_position(positions: Tensor, num_slots: Tensor) -> Tensor:
    """[batch, 1] the position of each sample's last slot, of those of M-RoPE the largest.

    Args:
        positions: [batch, slots], or [axes, batch, slots] of M-RoPE, whose last three axes rotate.
        num_slots: [batch, 1] slots of each sample.
    """
    largest = positions[-3:].amax(dim=0) if positions.ndim == 3 else positions
    return largest.gather(1, num_slots - 1)


def renumbered_rows(positions: Tensor, num_slots: Tensor, rows: LayerRows) -> Tensor:
    """[…, batch, length] positions of what enters a layer: renumbered in samples that lost slots, else their own.

    Args:
        positions: […, batch, slots] of the layout.
        num_slots: [batch, 1] slots of each sample.
        rows: of the layer; some slots do not enter it.
    """
    assert rows.present is not None
    last = rows.last[:, None]
    rows_until_last = torch.arange(rows.length, device=last.device).minimum(last)
    renumbered = last_position(positions, num_slots) - last + rows_until_last
    own = positions.gather(-1, rows.present.expand(*positions.shape[:-1], -1))
    return torch.where(last + 1 < num_slots, renumbered, own)


def rotary(decoder: PreTrainedModel, layer: int, states: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
    """Cosines and sines [batch, length, head_dim] of positions, by the decoder's own rotary module.

    Args:
        layer: its number; some decoders rotate layers of a sliding window otherwise.
        states: of the dtype that is wanted.
        positions: [batch, length], or [axes, batch, length] of M-RoPE.
    """
    module = decoder.rotary_emb
    if "mrope_section" in (decoder.config.rope_parameters or {}):
        positions = positions[-3:] if positions.ndim == 3 else positions.expand(3, -1, -1)
    kinds = (decoder.config.layer_types[layer],) if "layer_type" in inspect.signature(module.forward).parameters else ()
    return module(states, positions, *kinds)
