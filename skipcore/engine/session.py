"""A method at work on a model: installs the hooks, takes them away.

Four seams, and nothing else:

1. before the decoder: lay the prompt out, rewrite positions and mask (`prefill`, `decode_step`); after it, restore the
   length;
2. around each layer's sub-layers: gather the rows that run them, scatter the result back (`sublayers`);
3. the KV cache: full keys and values for the prefilling layer, only the kept ones stored (`cache`);
4. the attention function: text that must not see skipped tokens, rows that skip the attention (`attention`).
"""

from __future__ import annotations

from functools import partial
from typing import Any
from weakref import WeakSet

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from skipcore.engine.attention import NAME as SKIPPING_ATTENTION
from skipcore.engine.cache import holds_kept
from skipcore.engine.changes import Changes, attend_by
from skipcore.engine.checks import check_prefill, check_summary
from skipcore.engine.decode_step import decode_arguments
from skipcore.engine.encoding import Encoders, Encoding, by_name, remembered, without_contents
from skipcore.engine.last_prefill import LastPrefill
from skipcore.engine.planner import Planner
from skipcore.engine.prefill import Prefill
from skipcore.engine.prompts import plan_prompts
from skipcore.engine.recorder import UpdateRecorder
from skipcore.engine.sublayers import SubLayers
from skipcore.errors import InputError
from skipcore.families import decoder_layers, family_of, kinds_of
from skipcore.model.wrappers import check_recordable, check_uncompiled, check_uncompiled_caller, stock_model
from skipcore.trace import Trace

_in_session: WeakSet[nn.Module] = WeakSet()


class Session:
    """Use as `with method(model) as session:` around `generate()`, a forward loop, or a training step.

    Leaving it restores the model exactly, also after an exception. Sessions on one model cannot be nested, and hooks
    act in every thread: runs on one model take turns. A training step with gradient checkpointing keeps `backward`
    inside the session, since checkpointed layers run again there.

    Layers are hooked while they prefill, and while they run again in `backward`; decode steps run them unhooked.
    Skipping always attends by sdpa, whatever the model's own attention is. It refuses `output_attentions` and sequences
    that are packed into one row. Copies of the model that are made inside a session (`copy.deepcopy`, `pickle`,
    `torch.save`) are of the model without it.

    Without a cache (`use_cache=False`) `generate()` prefills the whole prompt and answer again for every token, and the
    method decides again each time, by the newest token: answers can differ from those with a cache. Assisted decoding
    prefills its first guesses along with the prompt, with the same effect.

    A merged token has the final state of the slot it went to, and a dropped one none of its own: give what directly
    follows a picture the label −100. Elsewhere the loss is the mean over tokens, as the stock model's.

    What PEFT or `DistributedDataParallel` wrap around a model is looked through: run the wrapper or the model. The
    wrapper does not synchronize gradients of the method's own modules.

    A model that `torch.compile` compiles as a whole is refused, since compiled code passes hooks by. Compile its layers
    or their FFNs, before or after entering; both are exact, and pay in decode steps:

        for layer in model.get_decoder().layers:
            layer.compile()  # or layer.mlp.compile(), with which updates can be recorded, too

    Attributes:
        method: at work.
        model: the transformers model, without what was wrapped around it.
        record: whether FFN updates are measured.

    Raises:
        InputError: the model's family is not supported, or it is wrapped in something unknown; on entering, the model
            is in a session already or compiled, or the method's summary does not fit it.
    """

    def __init__(self, method: Planner, model: nn.Module, record: bool = False) -> None:
        self.method = method
        self.model = stock_model(model)
        self.record = record
        self._family = family_of(self.model.config)
        self._container: PreTrainedModel = self.model.base_model
        self._decoder: PreTrainedModel = self.model.get_decoder()
        self._num_layers = len(decoder_layers(self.model))
        self._sublayers = SubLayers(self._family, self._decoder, self._logits)
        self._encoders = Encoders(partial(method.at_tower, self.model))
        self._entered = False
        self._hooks = Changes()  # on model and decoder, from entering to leaving
        self._attention = Changes()  # while the decoder attends by the skipping attention
        self._inputs: dict[str, Any] = {}  # of the forward pass that runs
        self._running: Prefill | None = None  # while the decoder runs
        self._last: LastPrefill | None = None

    # Entering and leaving

    def __enter__(self) -> Session:
        if self._decoder in _in_session:
            raise InputError("This model is in a session already: leave it before entering another one.")
        check_uncompiled(self.model, self._container, self._decoder)
        if self.record:
            check_recordable(decoder_layers(self.model))
        check_summary(self.method.execution.summary, self.model)
        _in_session.add(self._decoder)
        self._entered = True
        try:
            self._hooks.before(self._container, self._before_container, with_kwargs=True)
            self._hooks.before(self._decoder, self._before_decoder, with_kwargs=True)
            self._hooks.after(self._decoder, self._after_decoder, with_kwargs=True, always_call=True)
            self._encoders.install(self._container, self._hooks)
            self._attend_by_skipping(not self.method.execution.keeps_all)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *exception: object) -> None:
        self._entered = False
        self._sublayers.undo()
        self._attention.undo()
        self._hooks.undo()
        self._encoders.known, self._inputs, self._running = {}, {}, None
        _in_session.discard(self._decoder)

    # Before the decoder

    def _before_container(self, container: nn.Module, args: tuple, kwargs: dict) -> tuple[tuple, dict] | None:
        if not self._entered:
            return None
        self._inputs = given = by_name(container.forward, args, kwargs)
        self._encoders.known = {}
        if self._family.masks is None or not holds_kept(given.get("past_key_values")):
            return None
        # Decode steps have masks of their own: spare the model to build some.
        return (), given | {"attention_mask": dict.fromkeys(self._decoder.config.layer_types)}

    @torch.compiler.disable
    def _before_decoder(self, decoder: nn.Module, args: tuple, kwargs: dict) -> tuple[tuple, dict] | None:
        if not self._entered:
            return None  # compiled code may remember hooks that are gone
        self._check_run(decoder)
        inputs, self._inputs = self._inputs, {}  # they hold pictures: do not keep them
        encodings, self._encoders.known = self._encoders.known, {}
        self._running = None
        self._sublayers.undo()
        ids, cache = inputs.get("input_ids"), kwargs.get("past_key_values")
        if cache is None or cache.get_seq_length() == 0:
            return args, self._prefill(kwargs, inputs, encodings)
        if ids is not None and ids.shape[1] > 1 and bool(kinds_of(self.model.config, ids).any()):
            raise InputError(
                "In a session every picture must be in the first prefill, whole: start with an empty cache, "
                "and without prefill_chunk_size."
            )
        if not holds_kept(cache):
            self._attend_by_skipping(False)
            return None
        self._attend_by_skipping(True)
        # Hooks for decode steps would go on here, as in a prefill; `_after_decoder` takes them off again.
        return args, decode_arguments(self._family, self.model.config.get_text_config(), cache, kwargs)

    def _check_run(self, decoder: nn.Module) -> None:
        """Refuse what can have happened to the model since entering."""
        check_uncompiled_caller()
        check_uncompiled(self.model, self._container, self._decoder)
        if decoder is not self._decoder:
            raise InputError(
                "A copy of the model runs with this session's hooks (DataParallel makes such): run the model itself."
            )

    def _prefill(self, kwargs: dict, inputs: dict[str, Any], encodings: dict[str, Encoding]) -> dict:
        """Plan a prefill; the decoder's keyword arguments for it."""
        method, embeds = self.method, kwargs["inputs_embeds"]
        self._last = None
        check_summary(method.execution.summary, self.model)
        features = inputs.get("mm_encoder_outputs") or {}
        encodings = {kind: known for kind, own in features.items() if (known := remembered(own))} | encodings
        given = {name: value for known in encodings.values() for name, value in known.given.items()}
        given |= {name: value for name, value in inputs.items() if value is not None}
        self._sublayers.recorder = UpdateRecorder(self._num_layers) if self.record else None
        self._sublayers.counts = []
        if self.record or not method.execution.keeps_all:
            self._sublayers.install(method.execution.ties_rows, counting=True)
        if method.execution.keeps_all:  # the baseline must cost nothing: read the prompts when a trace is asked for
            given, embeds = without_contents(given), embeds.to("meta")
        plan = partial(plan_prompts, method, self._family, self.model.config, self._num_layers)
        last = LastPrefill(partial(plan, given, embeds, encodings), self._sublayers.recorder, self._sublayers.counts)
        if not method.execution.keeps_all:
            last.read()
            decides = bool(last.prompts.visual.any()) and bool(method.decision_layers(self._num_layers))
            last.laid_out = decides or not all(plan.unchanged for plan in last.plans)
        self._last = last
        self._attend_by_skipping(last.laid_out)
        if not last.laid_out:
            return kwargs
        check_prefill(self.model, inputs, kwargs, last.prompts.real)
        self._running = Prefill(method, last.plans, embeds.device)
        return self._running.arguments(self._family, self.model, kwargs)

    # After the decoder

    @torch.compiler.disable
    def _after_decoder(self, decoder: nn.Module, args: tuple, kwargs: dict, output: Any) -> Any:
        """Also where the decoder raised: the output is None then."""
        if not self._entered:
            return None
        self._sublayers.undo()
        prefill, self._running = self._running, None
        if output is not None:
            if self._last is not None:
                self._last.keep_sizes(kwargs.get("past_key_values") or getattr(output, "past_key_values", None))
                if prefill is not None:
                    self._last.plans = prefill.plans
            if prefill is not None:
                prefill.restore_output(output, self._family.adds_between_layers)
            self._await_backward(output, prefill is not None)
        self._attend_by_skipping(not self.method.execution.keeps_all)
        return output

    def _await_backward(self, output: Any, skipping: bool) -> None:
        """Checkpointed layers run again in `backward`, and must find the hooks and the attention that they had."""
        outputs = [output.last_hidden_state, *(states for states in output.hidden_states or () if states is not None)]
        outputs = [states for states in outputs if states.requires_grad]
        if self.method.execution.keeps_all or not outputs:
            return
        checkpointed = any(getattr(module, "gradient_checkpointing", False) for module in self._decoder.modules())

        def begins(gradient: Tensor) -> None:
            if self._entered:
                self._sublayers.install(self.method.execution.ties_rows)
                self._attend_by_skipping(skipping)
            elif checkpointed and skipping:
                raise InputError("Keep backward inside the session: checkpointed layers run again there.")

        for states in outputs:
            states.register_hook(begins)

    def _logits(self, states: Tensor) -> Tensor:
        """Hidden states [k, d] through the decoder's norm and the model's head."""
        return self.model.get_output_embeddings()(self._decoder.norm(states))

    def _attend_by_skipping(self, skipping: bool) -> None:
        """Let the decoder attend by the skipping attention, or by its own.

        Between runs of a method that skips it is the former: a model that was compiled as a whole before then does not
        take its old code for right, and is refused.
        """
        if skipping != (self._decoder.config._attn_implementation == SKIPPING_ATTENTION):
            self._attention.undo()
            if skipping:
                attend_by(SKIPPING_ATTENTION, self._decoder, self._decoder.config, self._attention)

    # What happened

    @property
    def traces(self) -> tuple[Trace, ...]:
        """A trace for each sample of the last prefill's batch.

        Raises:
            InputError: nothing was prefilled yet.
        """
        if self._last is None:
            raise InputError("There is no trace yet: run the model inside the session first.")
        return self._last.traces

    @property
    def trace(self) -> Trace:
        """The trace of the batch's first sample; see `traces`."""
        return self.traces[0]
