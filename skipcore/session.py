"""A method at work on a model: installs the hooks, takes them away.

Four seams, and nothing else (see also `layout`, `cache` and `attention`):

1. before the decoder: lay the prompt out, rewrite positions and mask; after it, restore the sequence length;
2. around each layer's FFN: gather the rows that run it, scatter the result back;
3. the KV cache: full keys and values for the prefilling layer, only the kept ones stored;
4. the attention function: text that must not see skipped tokens.
"""

from __future__ import annotations

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
from skipcore.families import decoder_layers, family_of, visual_positions
from skipcore.layout import Layout, lay_out
from skipcore.plan import TokenPlan, plan_batch
from skipcore.recorder import UpdateRecorder
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
        self._inputs, self._layout = {}, None
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
        for index, layer in enumerate(self._layers):
            norm, ffn = layer.get_submodule(self._family.ffn_norm), layer.get_submodule("mlp")
            self._handles += [
                layer.get_submodule("self_attn").register_forward_pre_hook(self._see_layout, with_kwargs=True),
                norm.register_forward_pre_hook(self._gather(index)),
                ffn.register_forward_hook(self._scatter(index)),
            ]

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
            if ids is not None and ids.shape[1] > 1 and bool(visual_positions(self.model.config, ids).any()):
                raise InputError(
                    "In a session every picture must be in the first prefill, whole: start with an empty cache, "
                    "and without prefill_chunk_size."
                )
            if not isinstance(cache.layers[0], KeptLayer):
                self._attend_by(self._own_attention)
                return None
            self._attend_by(BLIND_ATTENTION)
            return args, _decode_arguments(kwargs, cache.layers[0])
        if ids is None:
            raise InputError("Pass input_ids to the model: a session finds the visual tokens by them.")
        return args, self._prefill_arguments(kwargs, inputs)

    def _prefill_arguments(self, kwargs: dict, inputs: dict[str, Any]) -> dict:
        embeds, mask = kwargs["inputs_embeds"], kwargs.get("attention_mask")
        if mask is not None and mask.ndim != 2:
            raise InputError("A session needs a two-dimensional attention_mask (1 for tokens, 0 for padding), or none.")
        self._visual = visual_positions(self.model.config, inputs["input_ids"]).cpu()
        self._real = torch.ones_like(self._visual) if mask is None else mask.bool().cpu()
        if not self._real.any(dim=1).all() or (self._visual & ~self._real).any():
            raise InputError("The attention_mask hides a whole prompt or visual tokens: only padding may be 0 in it.")
        grids = self._family.grids(self.model.config, inputs) if self._visual.any() else []
        self._plans = plan_batch(self.method.plan, embeds, self._visual, self._real, grids, len(self._layers))
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
        if _wants_cache(self._decoder, kwargs):
            next_position = layout.num_slots if renumber else None
            kept = [Kept(slots, embeds.shape[1], layout.stored_real, next_position) for slots in layout.kept]
            kwargs["past_key_values"] = use_kept_layers(kwargs.get("past_key_values"), kept)
        else:
            kwargs["use_cache"] = False
        return kwargs

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


def _decode_arguments(kwargs: dict, layer: KeptLayer) -> dict:
    """True positions, and a mask over the stored keys where one is needed."""
    embeds, positions = kwargs["inputs_embeds"], kwargs.get("position_ids")
    steps = torch.arange(embeds.shape[1], device=embeds.device)[None]
    if layer.kept.next_position is not None:
        positions = layer.kept.next_position.to(embeds.device) + layer.decoded + steps
    elif positions is None:
        positions = steps + layer.get_seq_length()
    return dict(kwargs, position_ids=positions, attention_mask=mask_over_stored(layer, embeds.shape[1]))


def _wants_cache(decoder: PreTrainedModel, kwargs: dict) -> bool:
    """Whether this prefill is to leave a cache. Training steps throw theirs away, so none is made unasked."""
    if kwargs.get("past_key_values") is not None:
        return True
    if (use_cache := kwargs.get("use_cache")) is not None:
        return bool(use_cache)
    return decoder.config.use_cache and not decoder.training
