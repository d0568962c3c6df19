"""Seam 1: what the decoder is given. A prefill gets the prompt laid out, a decode step its true position and mask."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedConfig, PreTrainedModel

from skipcore.engine.cache import Kept, KeptLayer, mask_over_stored, use_kept_layers, within_window
from skipcore.engine.layer_view import LayerView
from skipcore.errors import InputError
from skipcore.families import Family, kinds_of
from skipcore.plan.averages import without_autocast
from skipcore.plan.layer_rows import LayerRows, Memory, move, rows_of_layers
from skipcore.plan.layout import Layout, lay_out
from skipcore.plan.positions import counted_anew, last_position
from skipcore.plan.tiles import Kind, PlacedPicture, Tiles, find_pictures, misfit
from skipcore.plan.token_plan import TokenPlan

if TYPE_CHECKING:
    from skipcore.methods.method import Method


@dataclass(frozen=True)
class Prompts:
    """A batch of prompts about to be prefilled. CPU tensors.

    Attributes:
        real: [batch, prompt] bool, False where there is padding.
        visual: [batch, prompt] bool, True where a visual token stands.
        pictures: of each prompt, in order.
        tiles: of every picture and every video of the batch.
    """

    real: Tensor
    visual: Tensor
    pictures: list[list[PlacedPicture]]
    tiles: dict[Kind, list[Tiles]]


def read_prompts(
    family: Family, config: PreTrainedConfig, inputs: Mapping[str, Any], encoded: Collection[int] = ()
) -> Prompts:
    """Find the pictures of a batch of prompts.

    Args:
        inputs: what the model was given, and the sizes of what was encoded before.
        encoded: how many places pictures and videos filled when they were encoded, where that is known. `generate()`
            may have repeated every prompt since (beams).

    Raises:
        InputError: no ids, an unusual mask, or pictures that do not fill their places.
    """
    ids, mask = inputs.get("input_ids"), inputs.get("attention_mask")
    mask = mask.cpu() if isinstance(mask, Tensor) else mask
    if ids is None:
        raise InputError("Pass input_ids to the model: a session finds the visual tokens by them.")
    if mask is not None and not (isinstance(mask, Tensor) and mask.ndim == 2 and bool((mask == mask.bool()).all())):
        raise InputError("A session needs a two-dimensional attention_mask (1 for tokens, 0 for padding), or none.")
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
    """How often each prompt stands in [batch, prompt] one after the other, given the places that were encoded."""
    places = int((kinds != Kind.TEXT).sum())
    repeats = max(1, places // encoded) if encoded else 1
    if not torch.equal(kinds, kinds[::repeats].repeat_interleave(repeats, dim=0)):
        raise misfit()
    return repeats


class Prefill:
    """A batch of prompts on its way through the decoder: plans, and the index tensors that follow from them.

    The plans stand when the decoder begins. A method that decides within the decoder revises them at the door of the
    layers it names, and the rows of the layers to come are built anew.

    Attributes:
        plans: of each sample, as revised so far.
        layout: what goes into the decoder; on its device.
    """

    def __init__(self, method: Method, plans: list[TokenPlan], device: torch.device) -> None:
        self.method = method
        self.plans = plans
        self._memory: Memory = {}
        self._laid_out = lay_out(plans)
        self.layout = self.layout_on(device)
        self._rows = rows_of_layers(plans, method.text_attends_skipped)
        self._kept: Callable[[LayerRows, int | None], Kept] | None = None
        self._cache: DynamicCache | None = None
        self._windows: list[int | None] = []
        self._positions: Tensor | None = None  # of the slots, where they are counted anew
        self.waiting = {layer for layer in method.decision_layers(len(self._rows)) if 0 <= layer < len(self._rows)}
        """Layers at whose door the method has yet to decide."""

    def layout_on(self, device: torch.device) -> Layout:
        """The layout on a device."""
        return move(self._laid_out, device, self._memory)

    def rows(self, layer: int, device: torch.device) -> LayerRows:
        """A layer's rows on a device."""
        return move(self._rows[layer], device, self._memory)

    def positions(self, rows: LayerRows) -> Tensor | None:
        """[…, batch, places] positions of what enters a layer; None where it has those of its slots."""
        if self._positions is None or rows.present is None:
            return None
        device = rows.present.device
        return counted_anew(self._positions.to(device), self.layout_on(device).num_slots, rows)

    def restore(self, hidden: Tensor, layer: int | None) -> Tensor:
        """[batch, places, d] → [batch, prompt, d]: every token reads the slot it went to.

        Args:
            layer: in whose places the states stand; None where every slot has its own.
        """
        place = None if layer is None else self.rows(layer, hidden.device).place
        return self.layout_on(hidden.device).restore(hidden, place)

    def same_slots(self, layer: int, other: int) -> bool:
        """Whether the same slots enter two layers."""
        return self._rows[layer].present is self._rows[other].present or all(
            torch.equal(plan.enters[layer], plan.enters[other]) for plan in self.plans
        )

    def decide(self, layer: int, views: Sequence[LayerView]) -> None:
        """Let the method revise every sample's plan from a layer on."""
        self.waiting.discard(layer)
        with without_autocast(views[0].states.device):
            self.plans = [self.method.decide(layer, view, plan) for view, plan in zip(views, self.plans, strict=True)]
        self._rows[layer:] = rows_of_layers(self.plans, self.method.text_attends_skipped)[layer:]
        if self._cache is not None and self._kept is not None:
            for number in range(layer, len(self._rows)):
                self._cache.layers[number] = KeptLayer(self._kept(self._rows[number], self._windows[number]))

    def arguments(self, family: Family, model: PreTrainedModel, kwargs: dict[str, Any]) -> dict[str, Any]:
        """The decoder's keyword arguments with the prompts laid out and a cache that stores what is kept."""
        decoder, embeds, layout = model.get_decoder(), kwargs["inputs_embeds"], self.layout
        renumber = self.method.positions == "renumbered"
        positions = layout.positions(kwargs.get("position_ids"), renumber)
        self._positions = positions if renumber else None
        kwargs = dict(
            kwargs,
            inputs_embeds=layout.embed(embeds, self.method.summary),
            position_ids=positions,
            attention_mask=None,
            skip_prefill=self,
        )
        kwargs |= family.follow(kwargs, layout)
        if family.masks is not None:
            kwargs["attention_mask"] = family.masks(model.config, layout, self.method.text_attends_skipped)
        self._windows = windows(decoder.config, len(self._rows))
        window = min((own for own in self._windows if own is not None), default=None)
        if family.masks is None and window is not None and embeds.shape[1] > window:
            raise InputError(
                f"The prompt has {embeds.shape[1]:,} tokens, but the model's sliding window {window:,}: skipping needs "
                "a prompt within the window. Ask about a smaller picture, or ask densely."
            )
        if not _wants_cache(decoder, kwargs):
            return kwargs | {"use_cache": False}
        anew = renumber and bool(self._laid_out.changed.any())
        self._kept = self._keeper(embeds.shape[1], last_position(positions, layout.num_slots) + 1 if anew else None)
        kept = [self._kept(rows, window) for rows, window in zip(self._rows, self._windows, strict=True)]
        self._cache = use_kept_layers(kwargs.get("past_key_values"), kept)
        return kwargs | {"past_key_values": self._cache}

    def _keeper(self, prompt_length: int, next_position: Tensor | None) -> Callable[[LayerRows, int | None], Kept]:
        """What a layer of some rows and a window keeps; layers that agree share it."""
        source, device = self._laid_out.slot_source, self.layout.slot_source.device
        made: dict[tuple[int, int | None], tuple[LayerRows, Kept]] = {}

        def kept(rows: LayerRows, window: int | None) -> Kept:
            if (key := (id(rows), window)) not in made:  # the rows are kept, so that no others take their identity
                keeps = Kept(rows.kept, prompt_length, rows.stored_real, window=window)
                keeps.text_after, keeps.next_position = self._laid_out.text_after, next_position
                if window is not None:
                    slots = torch.arange(rows.length).expand(len(rows.role), -1) if rows.kept is None else rows.kept
                    places = source if rows.present is None else source.gather(1, rows.present)
                    keeps = within_window(keeps, slots, places)
                slots_there, real = (
                    None if each is None else move(each, device, self._memory) for each in (keeps.slots, keeps.real)
                )
                made[key] = rows, replace(keeps, slots=slots_there, real=real)
            return made[key][1]

        return kept


def check_prefill(model: PreTrainedModel, inputs: Mapping[str, Any], kwargs: dict[str, Any], real: Tensor) -> None:
    """Refuse what a prefill that is laid out anew would not heed.

    Args:
        inputs: what the model was given.
        kwargs: what its decoder was given.
        real: [batch, prompt] bool, False where there is padding.

    Raises:
        InputError: attention matrices are wanted, or a row holds several packed sequences.
    """
    decoder = model.get_decoder()
    _check_attentions(model.config, kwargs)
    positions = kwargs.get("position_ids")
    lengths = [name for name in ("cu_seq_lens_q", "cu_seq_lens_k", "seq_idx") if kwargs.get(name) is not None]
    if lengths or (positions is not None and _begins_anew(positions, real, _isolates(decoder, inputs, kwargs))):
        raise InputError(
            "Several sequences are packed into one row: give each a row of its own, padded. Skipping does not keep "
            "packed sequences apart."
        )


def _check_attentions(config: PreTrainedConfig, kwargs: dict[str, Any]) -> None:
    """Asked for by keyword, or in the config of the model or of its decoder."""
    asked = kwargs.get("output_attentions")
    if asked or (asked is None and any(each.output_attentions for each in (config, config.get_text_config()))):
        raise InputError(
            "Skipping makes no attention matrices to return: leave out output_attentions, or ask for them of the dense "
            "model."
        )


def _isolates(decoder: PreTrainedModel, inputs: Mapping[str, Any], kwargs: dict[str, Any]) -> bool:
    """Whether the stock decoder would keep sequences apart wherever positions do not go on by one: without a mask and
    without a cache (`transformers.masking_utils.find_packed_sequence_indices`)."""
    return inputs.get("attention_mask") is None and not _wants_cache(decoder, kwargs)


def _begins_anew(position_ids: Tensor, real: Tensor, isolates: bool) -> bool:
    """Whether positions [..., batch or 1, prompt] go back, or do not go on by one where that `isolates`. Of M-RoPE
    [3 or 4, batch or 1, prompt] the text's positions count, where there are some; else those in time, which may go back
    after a video, but not to where the prompt began."""
    axes = 1 if position_ids.ndim == 2 else len(position_ids)
    own = position_ids.reshape(axes, -1, position_ids.shape[-1])[0].cpu().expand(len(real), -1)
    steps, within = own.diff(dim=1), real[:, 1:] & real[:, :-1]
    if axes == 3:
        first = own.gather(1, real.long().argmax(dim=1, keepdim=True))
        return bool((within & (steps < 0) & (own[:, 1:] <= first)).any())
    return bool((within & ((steps != 1) if isolates else (steps < 0))).any())


def decode_arguments(
    family: Family, config: PreTrainedConfig, cache: DynamicCache, kwargs: dict[str, Any]
) -> dict[str, Any]:
    """True positions, and a mask over the stored keys where one is needed.

    Args:
        config: of the decoder.
        cache: what `prefill_arguments` made.
    """
    _check_attentions(config, kwargs)
    layers: Sequence[KeptLayer] = cache.layers
    first = layers[0]
    new = kwargs["inputs_embeds"].shape[1]
    embeds, positions = kwargs["inputs_embeds"], kwargs.get("position_ids")
    steps = torch.arange(embeds.shape[1], device=embeds.device)[None]
    if first.kept.next_position is not None:
        positions = first.kept.next_position.to(embeds.device) + first.decoded + steps
    elif positions is None:
        positions = steps + first.get_seq_length()
    return dict(
        kwargs,
        position_ids=positions,
        attention_mask=None if family.masks is None else dict.fromkeys(config.layer_types),
        skip_decode_masks=_decode_masks(layers, new),
    )


def _decode_masks(layers: Sequence[KeptLayer], new: int) -> list[Tensor | None]:
    """A mask over the stored keys for each layer; layers that stored the same share theirs."""
    made: dict[tuple[int, int, int], Tensor | None] = {}
    masks = []
    for layer in layers:
        key = id(layer.kept.real), id(layer.kept.positions), layer.stored_length
        if key not in made:
            made[key] = mask_over_stored(layer, new)
        masks.append(made[key])
    return masks


def windows(config: PreTrainedConfig, num_layers: int) -> list[int | None]:
    """How far back each layer looks; None: all the way. Mistral's decoders name a window but no kinds of layers."""
    window = getattr(config, "sliding_window", None) if getattr(config, "use_sliding_window", True) else None
    kinds = getattr(config, "layer_types", None) or ["sliding_attention"] * num_layers
    return [window if kind == "sliding_attention" else None for kind in kinds]


def _wants_cache(decoder: PreTrainedModel, kwargs: dict[str, Any]) -> bool:
    """Whether this prefill is to leave a cache. Training steps throw theirs away, so none is made unasked."""
    if kwargs.get("past_key_values") is not None:
        return True
    if (use_cache := kwargs.get("use_cache")) is not None:
        return bool(use_cache)
    return decoder.config.use_cache and not decoder.training
