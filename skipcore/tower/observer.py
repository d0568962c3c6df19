"""What a method may look at in the vision tower: attention, keys and features of patches, read off while it runs.

No n × n tensor: of a tower with a class token one query row is scored; without one, the attention that each patch
receives is summed up over chunks of rows.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from skipcore.engine.changes import Changes, attend_by
from skipcore.families.patches import has_class_token
from skipcore.plan.averages import without_autocast
from skipcore.plan.tower_view import TowerLook, TowerView
from skipcore.tower.blocks import Tower, TowerMerger, TowerObserver

NAME = "skipcore_tower"
CHUNK = 64
"""Rows whose attention is scored at a time."""


class TowerRecorder:
    """Takes note of the tower while it runs."""

    def __init__(self, class_token: bool, looks: frozenset[TowerLook], merging: TowerMerger | None = None) -> None:
        self.looks = looks
        self._merging = merging
        self._class_token = class_token
        self._found: dict[TowerLook, list[Tensor]] = {look: [] for look in looks}

    def see_attention(self, query: Tensor, key: Tensor, mask: Tensor | None, scaling: float) -> None:
        """Called with [images, heads, rows, head_dim] queries and keys, once or sequence after sequence."""
        if TowerLook.KEYS in self.looks:
            self._found[TowerLook.KEYS].append(key.mean(dim=1, dtype=torch.float32).flatten(0, 1))
        if TowerLook.ATTENTION in self.looks:
            score = attention_of_class if self._class_token else attention_received
            with without_autocast(query.device):
                self._found[TowerLook.ATTENTION].append(score(query, key, mask, scaling).flatten())

    def see_features(self, look: TowerLook, output: Any) -> None:
        """Called with a block's output [images, rows, width] or [rows, width]."""
        states = output[0] if isinstance(output, tuple) else output
        self._found[look].append(states.reshape(-1, states.shape[-1]))

    def rows(self) -> TowerView:
        """All rows of the tower, images one after the other."""
        rows = {look.value: torch.cat(found) for look, found in self._found.items() if found}
        return TowerView(**rows, groups=None if self._merging is None else self._merging.groups)


def attention_of_class(query: Tensor, key: Tensor, mask: Tensor | None, scaling: float) -> Tensor:
    """[images, rows] the class token's attention to each row, mean over the heads."""
    return _probabilities(query[:, :, :1], key, None if mask is None else mask[:, :, :1], scaling).mean(dim=1)[:, 0]


def attention_received(query: Tensor, key: Tensor, mask: Tensor | None, scaling: float) -> Tensor:
    """[images, rows] the attention that each row receives, mean over heads and rows: column means, streamed."""
    received = torch.zeros(len(key), key.shape[2], dtype=torch.float32, device=key.device)
    key = key.float()
    rows = query.shape[2]
    for first in range(0, rows, CHUNK):
        chunk = slice(first, first + CHUNK)
        own_mask = None if mask is None else mask[:, :, chunk]
        received += _probabilities(query[:, :, chunk], key, own_mask, scaling).sum(dim=2).mean(dim=1)
    return received / rows


def _probabilities(query: Tensor, key: Tensor, mask: Tensor | None, scaling: float) -> Tensor:
    scores = query.float() @ key.float().transpose(-1, -2) * scaling
    if mask is not None:
        scores = scores.masked_fill(~mask, -torch.inf) if mask.dtype == torch.bool else scores + mask
    return scores.softmax(dim=-1)


@contextmanager
def look_at_tower(
    model: PreTrainedModel, looks: frozenset[TowerLook], merging: TowerMerger | None = None
) -> Iterator[TowerRecorder | None]:
    """Record what is asked for while the tower runs in the body; None where nothing is.

    Args:
        merging: takes part in every block up to the last one that the projector reads.
    """
    if not looks:
        yield None
        return
    tower, recorder = Tower(model), TowerRecorder(has_class_token(model.config), looks, merging)
    blocks = {TowerLook.MIDDLE: len(tower.blocks) // 2 - 1, TowerLook.DEEP: tower.last}
    changes = Changes()
    try:
        for look, number in blocks.items():
            if look in looks:
                note = functools.partial(recorder.see_features, look)
                changes.after(tower.blocks[max(number, 0)], lambda block, args, output, note=note: note(output))
        if merging is not None:
            merging.install(changes)
            changes.set(map(tower.attention, range(tower.last + 1)), "skip_observer", merging)
        elif looks & {TowerLook.ATTENTION, TowerLook.KEYS}:
            changes.set([tower.attention(tower.last)], "skip_observer", recorder)
        if merging is not None or looks & {TowerLook.ATTENTION, TowerLook.KEYS}:
            attend_by(NAME, tower.encoder, cast(Any, tower.attention(tower.last).config), changes)
        yield recorder
    finally:
        changes.undo()


def _attend(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **kwargs: Any
) -> tuple[Tensor, Tensor | None]:
    """sdpa attention as transformers calls it, shown to what watches the module."""
    observer: TowerObserver | None = vars(module).get("skip_observer")
    if observer is not None:
        observer.see_attention(query.detach(), key.detach(), attention_mask, kwargs["scaling"])
    return sdpa_attention_forward(module, query, key, value, attention_mask, **kwargs)


ALL_ATTENTION_FUNCTIONS.register(NAME, _attend)
ALL_MASK_ATTENTION_FUNCTIONS.register(NAME, ALL_MASK_ATTENTION_FUNCTIONS["sdpa"])
