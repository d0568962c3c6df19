"""The KV cache that keeps only what the plan keeps (skip-KV, paper step 4)."""

from __future__ import annotations

import torch
from torch import Tensor
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

from skipcore.errors import InputError


class KeptLayer(DynamicLayer):
    """One layer's keys and values: the prefilling layer gets all of them back, only the kept ones are stored.

    The layer knows two lengths. *Logical*: how many positions the prompt and the answer have, which is what
    `generate()` counts on. *Stored*: how many keys there are, which is what masks are sized by.

    Args:
        kept: [batch, stored] slots to store, or None to store all.
        logical_length: positions that the prompt takes up.
    """

    def __init__(self, kept: Tensor | None, logical_length: int) -> None:
        super().__init__()
        self.kept = kept
        self.prompt_length = logical_length
        self.decoded = 0

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: object, **kwargs: object
    ) -> tuple[Tensor, Tensor]:
        """Store [batch, heads, new, head_dim] keys and values; return what the layer attends to."""
        if self.is_initialized:
            self.decoded += key_states.shape[-2]
            return super().update(key_states, value_states)
        self.lazy_initialization(key_states, value_states)
        self.keys, self.values = _keep(key_states, self.kept), _keep(value_states, self.kept)
        self.kept = None  # indices of the prefill: of no use, and wrong for a reordered batch, from here on
        return key_states, value_states

    def get_seq_length(self) -> int:
        """The logical length: original positions, skipped and merged ones included."""
        return self.prompt_length + self.decoded if self.is_initialized else 0

    @property
    def stored_length(self) -> int:
        """How many keys are stored."""
        return 0 if self.keys is None else self.keys.shape[-2]

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """Keys that `query_length` new rows attend to, and the offset of the first."""
        return self.stored_length + query_length, 0

    def crop(self, tokens_to_remove: int) -> None:
        """Remove the last `-tokens_to_remove` decoded tokens. The prompt cannot be cropped."""
        if -tokens_to_remove > self.decoded:
            raise InputError("Only decoded tokens can be cropped from a cache that dropped skipped tokens.")
        super().crop(tokens_to_remove)
        self.decoded += tokens_to_remove


def _keep(states: Tensor, kept: Tensor | None) -> Tensor:
    """[batch, heads, slots, head_dim] → [batch, heads, stored, head_dim], a copy with a storage of its own."""
    if kept is None:
        return states.clone()
    if len(kept) == 1:
        return states.index_select(2, kept[0])
    return states.gather(2, kept[:, None, :, None].expand(-1, states.shape[1], -1, states.shape[3]))


def use_kept_layers(cache: DynamicCache | None, kept: list[Tensor | None], logical_length: int) -> DynamicCache:
    """Make `cache` (or a new one) store only `kept[layer]` of the prefill to come.

    The object that `generate()` holds stays the same; its empty layers are replaced.

    Raises:
        InputError: the cache is not an empty `DynamicCache` of plain layers.
    """
    cache = DynamicCache() if cache is None else cache
    if type(cache) is not DynamicCache or any(type(layer) is not DynamicLayer for layer in cache.layers):
        raise InputError(
            f"Skipping needs a DynamicCache with full-attention layers, not {type(cache).__name__}: "
            "leave out cache_implementation and past_key_values."
        )
    cache.layers[:] = [KeptLayer(slots, logical_length) for slots in kept]
    return cache


def storage_bytes(cache: DynamicCache, layer: int) -> int:
    """Bytes that a layer's keys and values really occupy: whole storages, not views of them."""
    stored = cache.layers[layer]
    storages = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in (stored.keys, stored.values)}
    return sum(storages.values())


def stored_tokens(cache: DynamicCache, layer: int) -> int:
    """How many tokens' keys a layer holds, per sample (padding included)."""
    return cache.layers[layer].keys.shape[-2]


def mask_over_stored(
    stored_real: Tensor | None, stored: int, new: int, batch: int, device: torch.device
) -> Tensor | None:
    """Which stored keys, and which of the new ones, `new` rows may look at after the prefill.

    Args:
        stored_real: [batch, stored by the prefill] False where a stored key is padding; None where none is.
        stored: keys stored so far, those of decoded tokens included.

    Returns:
        Bool [batch, 1, new, stored + new], True where a row may look; None where every row may look everywhere.
    """
    if stored_real is None and new == 1:
        return None
    columns = torch.ones(batch, stored + new, dtype=torch.bool, device=device)
    if stored_real is not None:
        columns[:, : stored_real.shape[1]] = stored_real
    causal = torch.ones(new, stored + new, dtype=torch.bool, device=device).tril(diagonal=stored)
    return columns[:, None, None, :] & causal
