"""A method at work on a model: installs the hooks, takes them away.

Four seams, and nothing else (see also `layout`, `cache` and `attention`):

1. before the decoder: lay the prompt out, rewrite positions and mask; after it, restore the sequence length;
2. around each layer's FFN: gather the rows that run it, scatter the result back;
3. the KV cache: full keys and values for the prefilling layer, only the kept ones stored;
4. the attention function: text that must not see skipped tokens.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle
from transformers import DynamicCache, PreTrainedModel

from skipcore.attention import NAME as BLIND_ATTENTION
from skipcore.cache import Kept, KeptLayer, mask_over_stored, storage_bytes, stored_tokens, use_kept_layers
from skipcore.errors import InputError
from skipcore.families import PIXELS, decoder_layers, family_of, kinds_of
from skipcore.layout import Layout, lay_out
from skipcore.plan import TokenPlan, plan_batch
from skipcore.recorder import UpdateRecorder
from skipcore.tiles import Kind, PlacedPicture, find_pictures
from skipcore.trace import Trace, trace_of

if TYPE_CHECKING:
    from skipcore.methods.method import Method

_in_session: WeakSet[nn.Module] = WeakSet()


class Session:
    """Use as `with method(model) as session:` around `generate()`, a forward loop, or a training step.

    Leaving it restores the model exactly, also after an exception. Sessions on one model cannot be nested, and hooks
    act in every thread: runs on one model take turns. A training step with gradient checkpointing keeps `backward`
    inside the session, since checkpointed layers run again there.

    Skipping always attends by sdpa, whatever the model's own attention is. A model wrapped by `torch.compile` is not
    seen by hooks: compile after entering, or not at all.

    Raises:
        InputError: the model's family is not supported; on entering, the model is in a session already or compiled,
            or the method's summary does not fit it.
    """

    def __init__(self, method: Method, model: PreTrainedModel, record: bool = False) -> None:
        self.method = method
        self.model = model
        self.record = record
        self._family = family_of(model.config)
        self._decoder: PreTrainedModel = model.get_decoder()
        self._layers = decoder_layers(model)
        self._handles: list[RemovableHandle] = []
        self._own_attention: str | None = None
        self._inputs: dict[str, Any] = {}
        self._encoded: dict[str, Any] = {}  # sizes and grids that the encoders were given
        self._plans: list[TokenPlan] = []
        self._visual: Tensor | None = None
        self._real: Tensor | None = None
        self._layout: Layout | None = None  # of the layer that runs; None where it runs as it is
        self._recorder: UpdateRecorder | None = None
        self._cache_sizes: tuple[Tensor, Tensor] | None = None
        self._traces: tuple[Trace, ...] | None = None

    # Entering and leaving

    def __enter__(self) -> Session:
        if self.model in _in_session:
            raise InputError("This model is in a session already: leave it before entering another one.")
        self._check_model()
        _in_session.add(self.model)
        self._own_attention = self._decoder.config._attn_implementation
        try:
            self._install()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *exception: object) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        self._attend_by(self._own_attention)
        self._inputs, self._encoded, self._layout = {}, {}, None
        for name in self._encoders:
            vars(self.model.base_model).pop(name, None)
        _in_session.discard(self.model)

    def _check_model(self) -> None:
        if any(getattr(m, "_compiled_call_impl", None) is not None for m in (self.model, self.model.base_model)):
            raise InputError("This model was compiled as a whole and sees no hooks: use it uncompiled in a session.")
        if (summary := self.method.summary) is None:
            return
        (width,) = summary.norm.normalized_shape
        if width != self._decoder.config.hidden_size:
            raise InputError(
                f"The method's summary is made for a hidden size of {width}, but the model has "
                f"{self._decoder.config.hidden_size}: use an AdaptiveSummary of that size, or none."
            )
        if (device := summary.score.weight.device) != self.model.device:
            raise InputError(f"The method's summary is on {device}, but the model on {self.model.device}: move one.")

    def _install(self) -> None:
        container, decoder = self.model.base_model, self._decoder
        arguments = list(inspect.signature(container.forward).parameters)

        def see_inputs(module: nn.Module, args: tuple, kwargs: dict) -> None:
            self._inputs = dict(zip(arguments, args, strict=False)) | kwargs

        self._handles += [
            container.register_forward_pre_hook(see_inputs, with_kwargs=True),
            decoder.register_forward_pre_hook(self._before_decoder, with_kwargs=True),
            decoder.register_forward_hook(self._after_decoder, with_kwargs=True),
        ]
        for name in self._encoders:
            setattr(container, name, self._noting(getattr(container, name)))
        for index, layer in enumerate(self._layers):
            norm, ffn = layer.get_submodule(self._family.ffn_norm), layer.get_submodule("mlp")
            self._handles += [
                layer.get_submodule("self_attn").register_forward_pre_hook(self._see_layout, with_kwargs=True),
                norm.register_forward_pre_hook(self._gather(index)),
                ffn.register_forward_hook(self._scatter(index)),
            ]

    @property
    def _encoders(self) -> list[str]:
        names = ("get_image_features", "get_video_features")
        return [name for name in names if hasattr(self.model.base_model, name)]

    def _noting(self, encode: Callable) -> Callable:
        """`generate()` encodes before the prefill and hands on features alone: note the sizes that came with them."""
        arguments = list(inspect.signature(encode).parameters)

        @functools.wraps(encode)
        def noted(*args: Any, **kwargs: Any) -> Any:
            given = dict(zip(arguments, args, strict=False)) | kwargs
            for name, value in given.items():
                self._encoded[name] = value.to("meta") if name in PIXELS.values() else value
            return encode(*args, **kwargs)

        return noted

    # What happened

    @property
    def traces(self) -> tuple[Trace, ...]:
        """A trace for each sample of the last prefill's batch.

        Raises:
            InputError: nothing was prefilled yet.
        """
        if self._traces is None:
            if self._visual is None:
                raise InputError("There is no trace yet: run the model inside the session first.")
            updates = None if self._recorder is None else self._recorder.updates()
            self._traces = tuple(
                self._trace(sample, None if updates is None else updates[sample]) for sample in range(len(self._plans))
            )
        return self._traces

    def _trace(self, sample: int, updates: Tensor | None) -> Trace:
        assert self._visual is not None and self._real is not None
        plan = self._plans[sample]
        if updates is not None and updates.shape[1] == self._real.shape[1] and self._unchanged:
            updates = updates[:, self._real[sample]]  # the model ran as it is: slots stand where the prompt's tokens do
        tokens = size = None
        if self._cache_sizes is not None:
            stored, of_batch = self._cache_sizes
            # A padded batch's storage holds padding too; a sample is charged for its own tokens.
            tokens = torch.minimum(stored, plan.in_cache.sum(dim=1))
            size = of_batch * tokens // (stored * len(self._plans))
        return trace_of(plan, self._visual[sample], updates, tokens, size)

    @property
    def trace(self) -> Trace:
        """The trace of the batch's first sample; see `traces`."""
        return self.traces[0]

    # Seam 1: around the decoder

    def _before_decoder(self, decoder: nn.Module, args: tuple, kwargs: dict) -> tuple[tuple, dict] | None:
        inputs, self._inputs = self._inputs, {}  # they hold pictures: let them go
        ids, cache = inputs.get("input_ids"), kwargs.get("past_key_values")
        if cache is not None and cache.get_seq_length() > 0:
            if ids is not None and ids.shape[1] > 1 and bool(kinds_of(self.model.config, ids).any()):
                raise InputError(
                    "In a session every picture must be in the first prefill, whole: start with an empty cache, "
                    "and without prefill_chunk_size."
                )
            if not isinstance(cache.layers[0], KeptLayer):
                self._attend_by(self._own_attention)
                return None
            self._attend_by(BLIND_ATTENTION)
            return args, self._decode_arguments(kwargs, cache)
        if ids is None:
            raise InputError("Pass input_ids to the model: a session finds the visual tokens by them.")
        return args, self._prefill_arguments(kwargs, inputs)

    def _prefill_arguments(self, kwargs: dict, inputs: dict[str, Any]) -> dict:
        embeds, mask = kwargs["inputs_embeds"], inputs.get("attention_mask")
        if mask is not None and not (isinstance(mask, Tensor) and mask.ndim == 2):
            raise InputError("A session needs a two-dimensional attention_mask (1 for tokens, 0 for padding), or none.")
        kinds = kinds_of(self.model.config, inputs["input_ids"]).cpu()
        self._real = torch.ones_like(kinds, dtype=torch.bool) if mask is None else mask.bool().cpu()
        if not self._real.any(dim=1).all() or ((kinds != Kind.TEXT) & ~self._real).any():
            raise InputError("The attention_mask hides a whole prompt or visual tokens: only padding may be 0 in it.")
        encoded, self._encoded = self._encoded, {}
        pictures = self._pictures(kinds, encoded | {name: given for name, given in inputs.items() if given is not None})
        self._visual = torch.zeros_like(self._real)
        for visual, placed in zip(self._visual, pictures, strict=True):
            for picture in placed:
                visual[picture.positions] = True
        self._plans = plan_batch(self.method.plan, embeds, self._real, pictures, len(self._layers))
        self._traces = self._cache_sizes = None
        self._recorder = UpdateRecorder(len(self._layers)) if self.record else None
        if self._unchanged:
            self._attend_by(self._own_attention)
            return kwargs

        layout = lay_out(self._plans, self.method.text_attends_skipped, embeds.device)
        self._attend_by(BLIND_ATTENTION)
        renumber = self.method.positions == "renumbered"
        kwargs = dict(
            kwargs,
            inputs_embeds=layout.embed(embeds, self.method.summary),
            position_ids=layout.positions(kwargs.get("position_ids"), renumber),
            attention_mask=None,
            skip_layout=layout,
            blind_text=layout.blind_text,
        )
        kwargs |= self._family.follow(kwargs, layout)
        if self._family.masks is not None:
            masks = self._family.masks(self.model.config, layout, self.method.text_attends_skipped)
            kwargs |= {"attention_mask": masks, "blind_text": None}
        if _wants_cache(self._decoder, kwargs):
            next_position = layout.num_slots if renumber else None
            kept = [
                Kept(
                    slots,
                    embeds.shape[1],
                    layout.stored_real,
                    next_position,
                    positions=None if window is None else layout.slot_source,
                    window=window,
                )
                for slots, window in zip(layout.kept, self._windows, strict=True)
            ]
            kwargs["past_key_values"] = use_kept_layers(kwargs.get("past_key_values"), kept)
        else:
            kwargs["use_cache"] = False
        return kwargs

    def _pictures(self, kinds: Tensor, inputs: dict[str, Any]) -> list[list[PlacedPicture]]:
        """Where every picture stands. `generate()` may repeat each prompt (beams), but never what was encoded."""
        if not kinds.any():
            return [[] for _ in kinds]
        pictures = self._family.pictures(self.model.config, inputs)
        known = sum(tile.num_places for each in pictures.values() for tiles in each for tile in tiles)
        repeats = max(1, int((kinds != Kind.TEXT).sum()) // max(1, known))
        found = find_pictures(kinds[::repeats], pictures)
        return [placed for placed in found for _ in range(repeats)]

    def _decode_arguments(self, kwargs: dict, cache: DynamicCache) -> dict:
        """True positions, and a mask over the stored keys where one is needed."""
        layer = cache.layers[0]
        embeds, positions = kwargs["inputs_embeds"], kwargs.get("position_ids")
        steps = torch.arange(embeds.shape[1], device=embeds.device)[None]
        if layer.kept.next_position is not None:
            positions = layer.kept.next_position.to(embeds.device) + layer.decoded + steps
        elif positions is None:
            positions = steps + layer.get_seq_length()
        mask: Any = mask_over_stored(layer, embeds.shape[1])
        if self._family.masks is not None:  # one to each kind of layer
            kinds = dict(zip(self._decoder.config.layer_types, cache.layers, strict=True))
            mask = {kind: mask_over_stored(each, embeds.shape[1]) for kind, each in kinds.items()}
        return dict(kwargs, position_ids=positions, attention_mask=mask)

    @property
    def _windows(self) -> list[int | None]:
        """How far back each layer looks; None: all the way."""
        config = self._decoder.config
        kinds = getattr(config, "layer_types", None) or ["full_attention"] * len(self._layers)
        return [config.sliding_window if kind == "sliding_attention" else None for kind in kinds]

    @property
    def _unchanged(self) -> bool:
        """Whether the last prefill ran as a dense one does."""
        return all(plan.unchanged for plan in self._plans)

    def _after_decoder(self, decoder: nn.Module, args: tuple, kwargs: dict, output: Any) -> Any:
        cache = kwargs.get("past_key_values") or getattr(output, "past_key_values", None)
        if self._cache_sizes is None and isinstance(cache, DynamicCache) and cache.get_seq_length() > 0:
            layers = range(len(self._layers))
            self._cache_sizes = (
                torch.tensor([stored_tokens(cache, layer) for layer in layers]),
                torch.tensor([storage_bytes(cache, layer) for layer in layers]),
            )
        layout = kwargs.get("skip_layout")
        if layout is not None:
            output.last_hidden_state = layout.restore(output.last_hidden_state)
            if output.hidden_states is not None:
                output.hidden_states = tuple(layout.restore(states) for states in output.hidden_states)
        return output

    def _attend_by(self, implementation: str | None) -> None:
        config = self._decoder.config
        if implementation is not None and config._attn_implementation != implementation:
            config._attn_implementation = implementation

    # Seam 2: around each layer's FFN

    def _see_layout(self, attention: nn.Module, args: tuple, kwargs: dict) -> None:
        """Attention is given the layout, and runs before the FFN: also where a checkpointed layer runs again."""
        self._layout = kwargs.get("skip_layout")

    def _gather(self, layer: int) -> Callable:
        """Before the norm that feeds the FFN: only the rows that run it."""

        def hook(norm: nn.Module, args: tuple) -> tuple | None:
            if self._recorder is not None:
                self._recorder.before_ffn(args[0])
            if self._layout is None or (rows := self._layout.ffn_rows[layer]) is None:
                return None
            return (args[0].flatten(0, 1).index_select(0, rows)[None],)

        return hook

    def _scatter(self, layer: int) -> Callable:
        """After the FFN: its output in the rows that ran it, zero (the residual stays) in the others."""

        def hook(ffn: nn.Module, args: tuple, update: Tensor) -> Tensor | None:
            layout = self._layout
            rows = layout.ffn_rows[layer] if layout is not None else None
            if self._recorder is not None:
                self._recorder.after_ffn(update, rows)
            if layout is None or rows is None:
                return None
            batch = len(layout.slot_source)
            everywhere = update.new_zeros(batch * layout.length, update.shape[-1]).index_copy(0, rows, update[0])
            return everywhere.unflatten(0, (batch, layout.length))

        return hook


def _wants_cache(decoder: PreTrainedModel, kwargs: dict) -> bool:
    """Whether this prefill is to leave a cache. Training steps throw theirs away, so none is made unasked."""
    if kwargs.get("past_key_values") is not None:
        return True
    if (use_cache := kwargs.get("use_cache")) is not None:
        return bool(use_cache)
    return decoder.config.use_cache and not decoder.training
