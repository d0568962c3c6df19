"""The KV cache that keeps only what the plan keeps (skip-KV, paper step 4)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedConfig, PreTrainedModel
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

from skipcore.engine.row_selection import chosen
from skipcore.errors import InputError


@dataclass
class Kept:
    """What a prefill leaves in the cache, the same for every layer but for `slots`.

    Attributes:
        slots: [batch, stored] slots to store, or None to store all.
        prompt_length: positions that the prompt takes up, skipped and merged ones included.
        real: [batch, stored] False where a stored key is padding; None where none is.
        positions: [batch, stored] prompt index of every stored slot, on the CPU, so that no GPU is waited for to know
            what the window drops; None unless there is a window.
        window: a layer with a sliding window stores the last so many prompt indices; None: everything.
        text_after: so many tokens at the end of the prompt are text after its last picture: they can be cropped.
        next_position: [batch, 1] position of the first decoded token where the prompt was renumbered; None where the
            prompt keeps its own.
    """

    slots: Tensor | None
    prompt_length: int
    real: Tensor | None = None
    next_position: Tensor | None = None
    positions: Tensor | None = None
    window: int | None = None
    text_after: int = 0

    def for_samples(self, index: Tensor) -> Kept:
        """The same for a reordered or chosen batch."""
        rows = (self.real, self.next_position)
        real, next_position = (None if each is None else each[index.to(each.device)] for each in rows)
        positions = None if self.positions is None else _of_samples(self.positions, index)
        return replace(self, slots=None, real=real, next_position=next_position, positions=positions)


class KeptLayer(DynamicLayer):
    """One layer's keys and values: the prefilling layer gets all of them back, only the kept ones are stored.

    The layer knows two lengths. *Logical*: how many positions the prompt and the answer have, which is what
    `generate()` counts on. *Stored*: how many keys there are, which is what masks are sized by.

    A cache goes on outside the session too, unless it is of a padded batch or was renumbered: then
    only a session knows how to.
    """

    def __init__(self, kept: Kept) -> None:
        super().__init__()
        self.kept = replace(kept)
        self.decoded = 0
        self._next_dropped = 0  # nothing is dropped as long as the window reaches back to here

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: object, **kwargs: object
    ) -> tuple[Tensor, Tensor]:
        """Store [batch, heads, new, head_dim] keys and values; return what the layer attends to."""
        if self.is_initialized:
            first = self.get_seq_length()
            self.decoded += key_states.shape[-2]
            keys, values = super().update(key_states, value_states)
            if self.kept.positions is not None and self.kept.window is not None:
                new = torch.arange(first, self.get_seq_length()).expand(len(keys), -1)
                self.kept.positions = torch.cat([self.kept.positions, new], dim=1)
                self._forget(self.kept.positions, self.kept.window)
            return keys, values
        self.lazy_initialization(key_states, value_states)
        self.keys, self.values = _keep(key_states, self.kept.slots), _keep(value_states, self.kept.slots)
        return key_states, value_states

    def _forget(self, positions: Tensor, window: int) -> None:
        """Drop what lies outside the window of the next token, in every sample. Decided on the CPU alone."""
        assert self.keys is not None and self.values is not None
        if self._next_dropped > self.get_seq_length() - window:
            return
        near = _near(positions, self.get_seq_length(), window)
        first = int(near.int().argmax())
        columns: slice | Tensor = slice(first, None)
        if not bool(near[first:].all()):  # slots are not in the order of the prompt
            columns = near.nonzero().flatten()
        self.kept.positions = positions[:, columns]
        self._next_dropped = int(self.kept.positions.amax(dim=0).min())
        if self.kept.real is not None:
            padded = torch.nn.functional.pad(self.kept.real, (0, len(near) - self.kept.real.shape[1]), value=True)
            self.kept.real = _columns(padded, 1, columns)
        self.keys, self.values = _columns(self.keys, 2, columns), _columns(self.values, 2, columns)

    def get_seq_length(self) -> int:
        """The logical length."""
        return self.kept.prompt_length + self.decoded if self.is_initialized else 0

    @property
    def stored_length(self) -> int:
        """How many keys are stored."""
        return 0 if self.keys is None else self.keys.shape[-2]

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """Keys that `query_length` new rows attend to, and the logical position at which they seem to begin."""
        return self.stored_length + query_length, self.get_seq_length() - self.stored_length

    def crop(self, tokens_to_remove: int) -> None:
        """Remove the last `-tokens_to_remove` tokens: decoded ones, and of the prompt the text after its last picture.

        Raises:
            InputError: that reaches into a picture, or a sliding window has dropped what would be needed then.
        """
        of_prompt = max(0, -tokens_to_remove - self.decoded)
        if of_prompt > self.kept.text_after:
            raise InputError(
                "Only what followed the last picture can be cropped, since skipped tokens were dropped from the KV "
                "cache: start with an empty cache."
            )
        if self.kept.positions is not None:
            if int(self.kept.positions[:, 0].min()) > 0:
                raise InputError("What a sliding window has dropped cannot come back: start with an empty cache.")
            self.kept.positions = self.kept.positions[:, : self.stored_length + tokens_to_remove]
        super().crop(tokens_to_remove)
        self.decoded += tokens_to_remove + of_prompt
        self.kept.prompt_length -= of_prompt
        self.kept.text_after -= of_prompt
        if self.kept.next_position is not None:
            self.kept.next_position = self.kept.next_position - of_prompt

    def reorder_cache(self, beam_idx: Tensor) -> None:
        """Reorder the samples, for beam search."""
        super().reorder_cache(beam_idx)
        self.kept = self.kept.for_samples(beam_idx)

    def batch_select_indices(self, indices: Tensor) -> None:
        """Keep some samples only."""
        super().batch_select_indices(indices)
        self.kept = self.kept.for_samples(indices)

    def batch_repeat_interleave(self, repeats: int) -> None:
        """Repeat every sample."""
        index = torch.arange(len(self.keys)).repeat_interleave(repeats)
        super().batch_repeat_interleave(repeats)
        self.kept = self.kept.for_samples(index)


def within_window(kept: Kept, slots: Tensor, positions: Tensor) -> Kept:
    """What a layer keeps of a prompt, less what its window drops at once. CPU tensors.

    Args:
        kept: of a layer with a window; what it keeps without one.
        slots: [batch, stored] the slots that it would store.
        positions: [batch, slots] prompt index of every slot.
    """
    assert kept.window is not None
    positions = positions.gather(1, slots)
    near = _near(positions, kept.prompt_length, kept.window)
    if bool(near.all()):
        return replace(kept, positions=positions)
    real = None if kept.real is None else kept.real[:, near]
    return replace(kept, slots=slots[:, near], positions=positions[:, near], real=real)


def _near(positions: Tensor, length: int, window: int) -> Tensor:
    """[stored] bool: what the next token after `length` others still sees, in any sample."""
    return (positions > length - window).any(dim=0)


def _columns(states: Tensor, dim: int, columns: slice | Tensor) -> Tensor:
    """Some columns: a view of a slice, else a copy."""
    if isinstance(columns, slice):
        return states[(slice(None),) * dim + (columns,)]
    return states.index_select(dim, columns.to(states.device, non_blocking=True))


def _of_samples(positions: Tensor, index: Tensor) -> Tensor:
    """Rows of a CPU tensor; an index on a GPU is waited for only where rows differ."""
    if bool((positions == positions[:1]).all()):
        return positions[:1].expand(len(index), -1)
    return positions[index.cpu()]


def _keep(states: Tensor, kept: Tensor | None) -> Tensor:
    """[batch, heads, slots, head_dim] → [batch, heads, stored, head_dim], a copy with a storage of its own."""
    return states.clone() if kept is None else chosen(states, kept.to(states.device), 2)


def use_kept_layers(cache: DynamicCache | None, kept: Sequence[Kept]) -> DynamicCache:
    """Make `cache` (or a new one) store only what `kept` says of the prefill to come, layer by layer.

    The object that `generate()` holds stays the same; its empty layers are replaced.

    Raises:
        InputError: the cache is not an empty `DynamicCache` of plain layers.
    """
    cache = DynamicCache() if cache is None else cache
    known = (DynamicLayer, DynamicSlidingWindowLayer)
    if type(cache) is not DynamicCache or any(type(layer) not in known for layer in cache.layers):
        raise InputError(
            f"Skipping needs a plain DynamicCache, not {type(cache).__name__}: leave out "
            "cache_implementation and past_key_values."
        )
    cache.layers[:] = [KeptLayer(layer) for layer in kept]
    return cache


def holds_kept(cache: Any) -> bool:
    """Whether a cache holds what a prefill that skipped has kept."""
    return isinstance(cache, DynamicCache) and cache.get_seq_length() > 0 and isinstance(cache.layers[0], KeptLayer)


def storage_bytes(cache: DynamicCache, layer: int) -> int:
    """Bytes that a layer's keys and values really occupy: whole storages, not views of them."""
    stored = cache.layers[layer]
    storages = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in (stored.keys, stored.values)}
    return sum(storages.values())


def stored_tokens(cache: DynamicCache, layer: int) -> int:
    """How many tokens' keys a layer holds, per sample (padding included)."""
    return cache.layers[layer].keys.shape[-2]


def windows(config: PreTrainedConfig, num_layers: int) -> list[int | None]:
    """How far back each layer looks; None: all the way. Mistral's decoders name a window but no kinds of layers."""
    window = getattr(config, "sliding_window", None) if getattr(config, "use_sliding_window", True) else None
    kinds = getattr(config, "layer_types", None) or ["sliding_attention"] * num_layers
    return [window if kind == "sliding_attention" else None for kind in kinds]


def wants_cache(decoder: PreTrainedModel, kwargs: dict[str, Any]) -> bool:
    """Whether this prefill is to leave a cache. Training steps throw theirs away, so none is made unasked."""
    if kwargs.get("past_key_values") is not None:
        return True
    if (use_cache := kwargs.get("use_cache")) is not None:
        return bool(use_cache)
    return decoder.config.use_cache and not decoder.training
