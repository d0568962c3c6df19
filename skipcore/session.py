"""A method at work on a model: installs the hooks, takes them away.

Four seams, and nothing else:

1. before the decoder: lay the prompt out, rewrite positions and mask (`prefill`); after it, restore the length;
2. around each layer's sub-layers: gather the rows that run them, scatter the result back (`sublayers`);
3. the KV cache: full keys and values for the prefilling layer, only the kept ones stored (`cache`);
4. the attention function: text that must not see skipped tokens, rows that skip the attention (`attention`).
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

import torch
from torch import Tensor, nn
from transformers import DynamicCache, PreTrainedModel

from skipcore.attention import NAME as SKIPPING_ATTENTION
from skipcore.cache import KeptLayer, storage_bytes, stored_tokens
from skipcore.changes import Changes, attend_by
from skipcore.encoding import Encoding, remember, remembered, without_contents
from skipcore.errors import InputError
from skipcore.families import decoder_layers, family_of, kinds_of
from skipcore.hardware import input_device
from skipcore.plan import TokenPlan, plan_batch
from skipcore.prefill import Prefill, Prompts, check_prefill, decode_arguments, read_prompts
from skipcore.recorder import UpdateRecorder
from skipcore.sublayers import SubLayers
from skipcore.tiles import Kind
from skipcore.tower_view import TowerView
from skipcore.trace import Trace, trace_of
from skipcore.wrappers import check_recordable, check_uncompiled, check_uncompiled_caller, stock_model

if TYPE_CHECKING:
    from skipcore.methods.method import Method

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

    Without a cache (`use_cache=False`) `generate()` prefills the whole prompt and answer anew for every token, and the
    method decides anew each time, by the newest token: answers can differ from those with a cache. Assisted decoding
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

    def __init__(self, method: Method, model: nn.Module, record: bool = False) -> None:
        self.method = method
        self.model = stock_model(model)
        self.record = record
        self._family = family_of(self.model.config)
        self._container: PreTrainedModel = self.model.base_model
        self._decoder: PreTrainedModel = self.model.get_decoder()
        self._num_layers = len(decoder_layers(self.model))
        self._sublayers = SubLayers(self._family, self._decoder, self._logits)
        self._entered = False
        self._hooks = Changes()  # on model and decoder, from entering to leaving
        self._attention = Changes()  # while the decoder attends by the skipping attention
        self._inputs: dict[str, Any] = {}
        self._encodings: dict[str, Encoding] = {}  # of the forward that runs, by kind
        self._encodes = False
        self._unread: tuple[dict[str, Any], Tensor, dict[str, Encoding]] | None = None  # see `_read`
        self._prompts: Prompts | None = None
        self._plans: list[TokenPlan] = []
        self._running: Prefill | None = None  # while the decoder runs
        self._laid_out = False  # whether the last prefill was laid out anew
        self._cache_sizes: tuple[Tensor, Tensor] | None = None
        self._traces: tuple[Trace, ...] | None = None

    # Entering and leaving

    def __enter__(self) -> Session:
        if self._decoder in _in_session:
            raise InputError("This model is in a session already: leave it before entering another one.")
        check_uncompiled(self.model, self._container, self._decoder)
        if self.record:
            check_recordable(decoder_layers(self.model))
        self._check_summary()
        _in_session.add(self._decoder)
        self._entered = True
        try:
            self._install()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *exception: object) -> None:
        self._entered = False
        self._sublayers.undo()
        self._attention.undo()
        self._hooks.undo()
        self._inputs, self._encodings, self._running = {}, {}, None
        _in_session.discard(self._decoder)

    def _check_summary(self) -> None:
        if (summary := self.method.summary) is None:
            return
        (width,) = summary.norm.normalized_shape
        if width != self._decoder.config.hidden_size:
            raise InputError(
                f"The method's summary is made for a hidden size of {width}, but the model has "
                f"{self._decoder.config.hidden_size}: use an AdaptiveSummary of that size, or none."
            )
        if (device := summary.score.weight.device) != (place := input_device(self.model)):
            raise InputError(f"The method's summary is on {device}, but the model on {place}: move one.")

    def _install(self) -> None:
        self._hooks.before(self._container, self._before_container, with_kwargs=True)
        self._hooks.before(self._decoder, self._before_decoder, with_kwargs=True)
        self._hooks.after(self._decoder, self._after_decoder, with_kwargs=True, always_call=True)
        for name in ("get_image_features", "get_video_features"):
            if hasattr(self._container, name):
                self._hooks.set([self._container], name, self._noting(getattr(self._container, name)))
        self._attend_by_skipping(not self.method.keeps_all)

    def _noting(self, encode: Callable) -> Callable:
        """`generate()` encodes before the prefill and hands on features alone: sizes travel with them, and what was
        seen of the tower."""

        @functools.wraps(encode)
        def noted(*args: Any, **kwargs: Any) -> Any:
            if self._encodes:  # Qwen3-VL encodes a video as a picture
                return encode(*args, **kwargs)
            self._encodes = True
            try:
                with self.method.at_tower(self.model) as recorder:
                    features = encode(*args, **kwargs)
                if getattr(features, "pooler_output", None) is not None:
                    kind = "image" if "image" in encode.__name__ else "video"
                    tower = None if recorder is None else recorder.rows()
                    self._encodings[kind] = remember(features, _by_name(encode, args, kwargs), tower)
                return features
            finally:
                self._encodes = False

        return noted

    # Around the decoder

    def _before_container(self, container: nn.Module, args: tuple, kwargs: dict) -> tuple[tuple, dict] | None:
        if not self._entered:
            return None
        self._inputs = given = _by_name(container.forward, args, kwargs)
        self._encodings = {}
        if self._family.masks is None or not _holds_kept(given.get("past_key_values")):
            return None
        # Decode steps have masks of their own: spare the model to build some.
        return (), given | {"attention_mask": dict.fromkeys(self._decoder.config.layer_types)}

    @torch.compiler.disable
    def _before_decoder(self, decoder: nn.Module, args: tuple, kwargs: dict) -> tuple[tuple, dict] | None:
        if not self._entered:
            return None  # compiled code may remember hooks that are gone
        self._check_run(decoder)
        inputs, self._inputs = self._inputs, {}  # they hold pictures: let them go
        self._running = None
        self._sublayers.undo()
        encodings, self._encodings = self._encodings, {}
        ids, cache = inputs.get("input_ids"), kwargs.get("past_key_values")
        if cache is None or cache.get_seq_length() == 0:
            return args, self._begin(kwargs, inputs, encodings)
        if ids is not None and ids.shape[1] > 1 and bool(kinds_of(self.model.config, ids).any()):
            raise InputError(
                "In a session every picture must be in the first prefill, whole: start with an empty cache, "
                "and without prefill_chunk_size."
            )
        if not _holds_kept(cache):
            self._attend_by_skipping(False)
            return None
        self._attend_by_skipping(True)
        # Hooks for decode steps would go on here, as in a prefill; `_after_decoder` takes them off again.
        return args, decode_arguments(self._family, self.model.config.get_text_config(), cache, kwargs)

    def _check_run(self, decoder: nn.Module) -> None:
        """What can have happened to the model since entering."""
        check_uncompiled_caller()
        check_uncompiled(self.model, self._container, self._decoder)
        if decoder is not self._decoder:
            raise InputError(
                "A copy of the model runs with this session's hooks (DataParallel makes such): run the model itself."
            )

    def _begin(self, kwargs: dict, inputs: dict[str, Any], encodings: dict[str, Encoding]) -> dict:
        features = inputs.get("mm_encoder_outputs") or {}
        encodings = {kind: known for kind, own in features.items() if (known := remembered(own))} | encodings
        given = {name: value for known in encodings.values() for name, value in known.given.items()}
        given |= {name: value for name, value in inputs.items() if value is not None}
        embeds = kwargs["inputs_embeds"]
        self._prompts = self._traces = self._cache_sizes = None
        self._check_summary()
        self._sublayers.recorder = UpdateRecorder(self._num_layers) if self.record else None
        self._sublayers.counts = []
        if self.record or not self.method.keeps_all:
            self._sublayers.install(self.method.ties_rows, counting=True)
        if self.method.keeps_all:  # the baseline must cost nothing: read the prompts when a trace is asked for
            self._unread = without_contents(given), embeds.to("meta"), encodings
        else:
            self._read(given, embeds, encodings)
        self._laid_out = not (self.method.keeps_all or (self._unchanged and not self._decides))
        if not self._laid_out:
            self._attend_by_skipping(False)
            return kwargs
        assert self._prompts is not None
        check_prefill(self.model, inputs, kwargs, self._prompts.real)
        self._attend_by_skipping(True)
        self._running = Prefill(self.method, self._plans, embeds.device)
        return self._running.arguments(self._family, self.model, kwargs)

    def _tower_views(
        self, prompts: Prompts, given: dict[str, Any], encodings: dict[str, Encoding]
    ) -> dict[Kind, list[TowerView]]:
        """What the method asked to see of the tower, picture by picture."""
        if not self.method.tower_looks or not prompts.visual.any():
            return {}
        views = {}
        for kind, tiles in prompts.tiles.items():
            if not tiles:
                continue
            encoding = encodings.get(kind.name.lower())
            if encoding is None and len(encodings) == 1:  # frames of a video that stand in the places of pictures
                (encoding,) = encodings.values()
            if encoding is None or encoding.tower is None:
                raise InputError(
                    f"{self.method.label} looks at the vision tower, but the picture was encoded without it: pass the "
                    "pixels, or features of `vlm.encode(prepared, method)`."
                )
            patches = self._family.patches(self.model.config, given, tiles, encoding.tower.num_rows)
            views[kind] = [encoding.tower.at(own) for own in patches]
        return views

    def _read(self, given: dict[str, Any], embeds: Tensor, encodings: dict[str, Encoding]) -> None:
        """Find the pictures and plan what happens to their tokens.

        Args:
            given: what the model and its encoders were given.
            embeds: [batch, prompt, d].
            encodings: of the pictures and of the videos, where they are known.
        """
        known = encodings.keys() >= (given.get("mm_encoder_outputs") or {}).keys()
        places = [each.places for each in encodings.values()] if known else []
        prompts = read_prompts(self._family, self.model.config, given, places)
        towers = self._tower_views(prompts, given, encodings)
        self._plans = plan_batch(self.method.plan, embeds, prompts.real, prompts.pictures, self._num_layers, towers)
        self._prompts, self._unread = prompts, None

    @property
    def _decides(self) -> bool:
        """Whether the method has something to decide within the decoder."""
        assert self._prompts is not None
        return bool(self._prompts.visual.any()) and bool(self.method.decision_layers(self._num_layers))

    @property
    def _unchanged(self) -> bool:
        """Whether the plans are what a dense prefill does anyway."""
        return all(plan.unchanged for plan in self._plans)

    @torch.compiler.disable
    def _after_decoder(self, decoder: nn.Module, args: tuple, kwargs: dict, output: Any) -> Any:
        """Also where the decoder raised: the output is None then."""
        if not self._entered:
            return None
        self._sublayers.undo()
        prefill, self._running = self._running, None
        if output is not None:
            self._keep_sizes(kwargs.get("past_key_values") or getattr(output, "past_key_values", None))
            if prefill is not None:
                self._plans = prefill.plans
                self._restore(prefill, output)
            self._await_backward(output, prefill is not None)
        self._attend_by_skipping(not self.method.keeps_all)
        return output

    def _restore(self, prefill: Prefill, output: Any) -> None:
        """Give the decoder's output the length of the prompt."""
        put_back = self._family.adds_between_layers  # then every slot has its place after each layer
        after = [0, *([None] * self._num_layers if put_back else range(self._num_layers))]
        output.last_hidden_state = prefill.restore(output.last_hidden_state, after[-1])
        if output.hidden_states is not None:  # what entered the first layer, and what each one left; some, if asked
            output.hidden_states = tuple(
                None if states is None else prefill.restore(states, layer)
                for states, layer in zip(output.hidden_states, after, strict=True)
            )

    def _keep_sizes(self, cache: Any) -> None:
        """Of the cache that the last prefill left."""
        if self._cache_sizes is None and isinstance(cache, DynamicCache) and cache.get_seq_length() > 0:
            layers = range(self._num_layers)
            self._cache_sizes = (
                torch.tensor([stored_tokens(cache, layer) for layer in layers]),
                torch.tensor([storage_bytes(cache, layer) for layer in layers]),
            )

    def _await_backward(self, output: Any, skipping: bool) -> None:
        """Checkpointed layers run again in `backward`, and must find the hooks and the attention that they had."""
        outputs = [output.last_hidden_state, *(states for states in output.hidden_states or () if states is not None)]
        outputs = [states for states in outputs if states.requires_grad]
        if self.method.keeps_all or not outputs:
            return
        checkpointed = any(getattr(module, "gradient_checkpointing", False) for module in self._decoder.modules())

        def begins(gradient: Tensor) -> None:
            if self._entered:
                self._sublayers.install(self.method.ties_rows)
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
        if self._traces is None:
            if self._unread is not None:
                self._read(*self._unread)
            if self._prompts is None:
                raise InputError("There is no trace yet: run the model inside the session first.")
            updates = None if self._sublayers.recorder is None else self._sublayers.recorder.updates()
            self._traces = tuple(
                self._trace(self._prompts, sample, None if updates is None else updates[sample])
                for sample in range(len(self._plans))
            )
        return self._traces

    def _trace(self, prompts: Prompts, sample: int, updates: Tensor | None) -> Trace:
        plan = self._plans[sample]
        if updates is not None and not self._laid_out:
            updates = updates[:, prompts.real[sample]]  # slots stand where the prompt's tokens do
        tokens = size = None
        if self._cache_sizes is not None:
            stored, of_batch = self._cache_sizes
            # A padded batch's storage holds padding too; a sample is charged for its own tokens.
            tokens = torch.minimum(stored, plan.in_cache.sum(dim=1))
            size = of_batch * tokens // (stored * len(self._plans))
        counted = len(self._plans) == 1 and bool(self._sublayers.counts)
        counts = torch.tensor(self._sublayers.counts) if counted else None
        return trace_of(plan, prompts.visual[sample], updates, counts, tokens, size)

    @property
    def trace(self) -> Trace:
        """The trace of the batch's first sample; see `traces`."""
        return self.traces[0]


def _holds_kept(cache: Any) -> bool:
    """Whether a cache holds what a prefill that skipped has kept."""
    return isinstance(cache, DynamicCache) and cache.get_seq_length() > 0 and isinstance(cache.layers[0], KeptLayer)


def _by_name(function: Callable, args: tuple, kwargs: dict[str, Any]) -> dict[str, Any]:
    """What a function is called with, by the names of its parameters."""
    return dict(zip(inspect.signature(function).parameters, args, strict=False)) | kwargs if args else kwargs
