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

from skipcore.attention import implementation_for, takes_masks
from skipcore.cache import mask_over_stored, storage_bytes, stored_tokens, use_kept_layers
from skipcore.errors import InputError
from skipcore.families import decoder_layers, family_of, visual_positions
from skipcore.layout import Layout, lay_out
from skipcore.plan import ImagePlan, TokenPlan, VisualTokens, plan_sample
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

    Raises (on entering):
        InputError: the model's family is not supported, or the model is in a session already.
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
        self._layout: Layout | None = None  # of the last prefill; None where the model runs as it is
        self._prefilling: Layout | None = None  # while prefill (and a recomputation of it) runs
        self._recorder: UpdateRecorder | None = None
        self._cache_sizes: tuple[Tensor, Tensor] | None = None
        self._traces: tuple[Trace, ...] | None = None

    # Entering and leaving

    def __enter__(self) -> Session:
        if self.model in _in_session:
            raise InputError("This model is in a session already: leave it before entering another one.")
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
        self._use_own_attention()
        self._inputs, self._prefilling, self._layout = {}, None, None
        _in_session.discard(self.model)

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
            tokens, size = self._cache_sizes or (None, None)
            self._traces = tuple(
                trace_of(
                    plan,
                    self._visual[sample],
                    None if updates is None else updates[sample],
                    None if tokens is None else torch.minimum(tokens, plan.in_cache.sum(dim=1)),
                    None if size is None else size // len(self._plans),
                )
                for sample, plan in enumerate(self._plans)
            )
        return self._traces

    @property
    def trace(self) -> Trace:
        """The trace of the batch's first sample; see `traces`."""
        return self.traces[0]

    # Seam 1: around the decoder

    def _before_decoder(self, decoder: nn.Module, args: tuple, kwargs: dict) -> tuple[tuple, dict] | None:
        cache = kwargs.get("past_key_values")
        if cache is not None and cache.get_seq_length() > 0:
            self._prefilling = None
            return None if self._layout is None else (args, self._decode_arguments(kwargs, cache))
        if (ids := self._inputs.get("input_ids")) is None:
            raise InputError("Pass input_ids to the model: a session finds the visual tokens by them.")
        kwargs = self._prefill_arguments(kwargs, ids)
        self._inputs = {}  # holds pictures: let them go
        return args, kwargs

    def _prefill_arguments(self, kwargs: dict, ids: Tensor) -> dict:
        embeds, mask = kwargs["inputs_embeds"], kwargs.get("attention_mask")
        if mask is not None and mask.ndim != 2:
            raise InputError("A session needs a two-dimensional attention_mask (1 for tokens, 0 for padding), or none.")
        self._visual = visual_positions(self.model.config, ids).cpu()
        real = torch.ones_like(self._visual) if mask is None else mask.bool().cpu()
        self._plans = self._plan(embeds, self._visual, real)
        self._traces = self._cache_sizes = None
        self._recorder = UpdateRecorder(len(self._layers)) if self.record else None
        if all(plan.unchanged for plan in self._plans):
            self._layout = self._prefilling = None
            self._use_own_attention()
            return kwargs

        layout = lay_out(
            self._plans, self.method.text_sees_skipped, embeds.device, allow_mask=takes_masks(self._own_attention)
        )
        self._layout = self._prefilling = layout
        if self._own_attention is not None:
            self._decoder.config._attn_implementation = implementation_for(self._own_attention)
        kwargs = dict(kwargs)
        kwargs["inputs_embeds"] = layout.embed(embeds, self.method.summary_module)
        kwargs["position_ids"] = layout.positions(
            kwargs.get("position_ids"), renumber=self.method.position_rule == "renumbered"
        )
        kwargs["attention_mask"] = None
        kwargs["blind_text"] = layout.blind_text
        if _wants_cache(self._decoder, kwargs):
            kwargs["past_key_values"] = use_kept_layers(
                kwargs.get("past_key_values"), list(layout.kept), logical_length=ids.shape[1]
            )
        else:
            kwargs["use_cache"] = False
        return kwargs

    def _plan(self, embeds: Tensor, visual: Tensor, real: Tensor) -> list[TokenPlan]:
        """One plan for each sample of the batch."""
        grids = self._family.grids(self.model.config, self._inputs) if visual.any() else []
        plans, next_image = [], 0
        for sample in range(len(visual)):
            features = embeds[sample][visual[sample].to(embeds.device)]
            images: list[ImagePlan] = []
            reached = 0
            while reached < len(features):
                rows, columns = grids[next_image + len(images)]
                picture = VisualTokens(features[reached : reached + rows * columns], (rows, columns))
                images.append(self.method.plan(picture))
                reached += rows * columns
            own_grids = grids[next_image : next_image + len(images)]
            next_image += len(images)
            plans.append(plan_sample(visual[sample], real[sample], images, own_grids, len(self._layers)))
        return plans

    def _decode_arguments(self, kwargs: dict, cache: DynamicCache) -> dict:
        """True positions, and a mask over the stored keys where one is needed."""
        assert self._layout is not None
        kwargs = dict(kwargs)
        embeds, positions = kwargs["inputs_embeds"], kwargs.get("position_ids")
        if positions is None:
            positions = torch.arange(embeds.shape[1], device=embeds.device)[None] + cache.get_seq_length()
        if self.method.position_rule == "renumbered":
            positions = positions - self._layout.dropped_positions
        kwargs["position_ids"] = positions
        kwargs["attention_mask"] = mask_over_stored(
            self._layout.stored_real, stored_tokens(cache, 0), embeds.shape[1], len(embeds), embeds.device
        )
        return kwargs

    def _after_decoder(self, decoder: nn.Module, args: tuple, kwargs: dict, output: Any) -> Any:
        cache = kwargs.get("past_key_values") or getattr(output, "past_key_values", None)
        if self._cache_sizes is None and isinstance(cache, DynamicCache) and cache.get_seq_length() > 0:
            layers = range(len(self._layers))
            self._cache_sizes = (
                torch.tensor([stored_tokens(cache, layer) for layer in layers]),
                torch.tensor([storage_bytes(cache, layer) for layer in layers]),
            )
        layout = self._prefilling
        if layout is None:
            return output
        if not torch.is_grad_enabled():  # otherwise checkpointed layers may run again in backward
            self._prefilling = None
        output.last_hidden_state = layout.restore(output.last_hidden_state)
        return output

    def _use_own_attention(self) -> None:
        if self._own_attention is not None:
            self._decoder.config._attn_implementation = self._own_attention

    # Seam 2: around each layer's FFN

    def _gather(self, layer: int) -> Callable:
        """Before the norm that feeds the FFN: only the rows that run it."""

        def hook(norm: nn.Module, args: tuple) -> tuple | None:
            if self._recorder is not None:
                self._recorder.before_ffn(args[0])
            if self._prefilling is None or (rows := self._prefilling.ffn_rows[layer]) is None:
                return None
            return (args[0].flatten(0, 1).index_select(0, rows)[None],)

        return hook

    def _scatter(self, layer: int) -> Callable:
        """After the FFN: its output in the rows that ran it, zero (the residual stays) in the others."""

        def hook(ffn: nn.Module, args: tuple, update: Tensor) -> Tensor | None:
            layout = self._prefilling
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
    """Whether this prefill is to leave a cache. Training steps throw theirs away, so none is made."""
    if kwargs.get("past_key_values") is not None:
        return True
    use_cache = kwargs.get("use_cache")
    return not decoder.training and bool(decoder.config.use_cache if use_cache is None else use_cache)
