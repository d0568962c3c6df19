"""A model for lmms-eval: `lmms-eval --model skipcore --model_args pretrained=FOLDER,method=FastV,num_kept=0.25 …`.

lmms-eval finds it by the entry point in pyproject.toml; nothing else imports this file or needs lmms-eval.
"""

from __future__ import annotations

import ast
import os
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, fields, replace
from typing import Any, NoReturn, cast

import torch
from lmms_eval.api.instance import GenerationResult, Instance, TokenCounts
from lmms_eval.api.model import lmms
from lmms_eval.utils import simple_parse_args_string
from tqdm import tqdm

from skipcore import METHODS, InputError, Method, Sampling, Vlm, load
from skipcore.answering.decoding import FOLLOWED, REFUSED
from skipcore.answering.generate import check_max_new_tokens, generate
from skipcore.methods import Combined

OWN = "own"
NO_EFFECT: dict[str, tuple[object, ...]] = REFUSED | FOLLOWED | {"top_k": (0, 1)}
"""Decoding options that are not offered, with the values that need none (top_k=1 is greedy). What the model's own
generation config says of them is followed."""


def manifest() -> Any:
    """Return what the entry point says to lmms-eval."""
    # `lmms_eval.models` loads this file by the entry point, so this file must not need it when it is loaded first.
    from lmms_eval.models.registry_v2 import ModelManifest

    return ModelManifest("skipcore", chat_class_path=f"{__name__}.{SkipcoreModel.__name__}")


class SkipcoreModel(lmms):
    """Any model that skipcore loads, under any of its methods.

    A question that cannot be put (too long for the model, a video, …) ends the evaluation: a score over the others
    would not be the benchmark's.

    Args:
        pretrained: model folder or Hub id.
        method: a name in `METHODS`, or "own" for `Vlm.skipping`: calibrated, or trained with, or the preset.
        then_skip_vision: let `Vlm.skip_vision` follow on the tokens that another method retains.
        device, dtype, attention, revision, calibration: as `load` takes them.
        batch_size: 1.
        max_batch_size: has no effect, as batches are never sized automatically.
        settings: of the method; those left out are the method's defaults, or the model's own ones.

    Raises:
        InputError: a setting is impossible, or the model cannot be loaded.
    """

    is_simple = False

    def __init__(
        self,
        pretrained: str = "",
        method: str = OWN,
        then_skip_vision: bool | str = False,
        device: str | None = None,
        dtype: str = "auto",
        attention: str = "auto",
        revision: str | None = None,
        calibration: str | None = None,
        batch_size: int | str = 1,
        max_batch_size: int | None = None,
        **settings: Any,
    ) -> None:
        super().__init__()
        if not pretrained:
            raise InputError("Name the model: --model_args pretrained=<folder or Hub id>.")
        if str(batch_size) != "1":
            raise InputError(f"skipcore answers one question at a time: use --batch_size 1, not {batch_size}.")
        if os.environ.get("WORLD_SIZE", "1") != "1":
            raise InputError("skipcore evaluates in one process: start it without accelerate launch or torchrun.")
        chosen = None if method == OWN else method_of(method, settings)  # a mistake shows before the model is loaded
        if (follows := _value(then_skip_vision)) not in (True, False) or (follows and chosen is None):
            raise InputError("then_skip_vision is True or False, and True only with another method, such as FastV.")
        self.vlm: Vlm = load(
            str(pretrained),
            revision=None if revision is None else str(revision),
            device=device,
            dtype=dtype,
            attention=attention,
            calibration=calibration,
        )
        if follows and chosen is not None:
            chosen = Combined(chosen, self.vlm.skip_vision)
        self.method = chosen or with_settings(self.vlm.skipping, settings)

    @classmethod
    def create_from_arg_string(
        cls, arg_string: str, additional_config: Mapping[str, Any] | None = None
    ) -> SkipcoreModel:
        """From --model_args, which go before --batch_size and --device."""
        others = {name: value for name, value in (additional_config or {}).items() if value is not None}
        try:
            given = simple_parse_args_string(arg_string)
        except ValueError as error:
            raise InputError(f"--model_args must be name=value,name=value,…, not {arg_string!r}.") from error
        return cls(**others | given)

    @property
    def device(self) -> torch.device:
        """Where the model's inputs go."""
        return self.vlm.device

    def generate_until(self, requests: list[Instance]) -> list[GenerationResult]:
        """Answer every request, one after the other."""
        return [self._answer(*request.args) for request in tqdm(requests, desc=self.method.label, disable=None)]

    def _answer(
        self, context: str, messages_of: Any, options: dict[str, Any], doc_id: int, task: str, split: str
    ) -> GenerationResult:
        try:
            messages = chat_messages(messages_of(self.task_dict[task][split][doc_id]))
            check_against(self.vlm, options)
            return answer(self.vlm, self.method, messages, Decoding.of(options))
        except InputError as error:
            raise InputError(f"Question {doc_id} of the task {task}: {error}") from error

    def loglikelihood(self, requests: list[Instance]) -> NoReturn:
        """Not supported."""
        raise InputError("skipcore writes answers and scores no given ones: choose a task with generate_until.")

    def generate_until_multi_round(self, requests: list[Instance]) -> NoReturn:
        """Not supported."""
        raise InputError("skipcore answers in one round: choose a task with generate_until.")


@dataclass(frozen=True)
class Decoding:
    """How an answer is written and where it ends.

    Attributes:
        max_new_tokens: at most; fewer where the model's context ends.
        until: texts before which the answer ends.
        sampling: how tokens are chosen.
    """

    max_new_tokens: int = 1024
    until: tuple[str, ...] = ()
    sampling: Sampling = field(default_factory=Sampling)

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> Decoding:
        """A task's `generation_kwargs`; greedy unless they ask for sampling, drawn by torch's seed.

        Raises:
            InputError: an option is impossible, or not supported.
        """
        until = options.get("until") or ()
        several = [until] if isinstance(until, str) else until
        # lmms-eval writes its few-shot delimiter "\n\n" into tasks that name no end; it would cut off paragraphs, so
        # its own models ignore it too.
        ends = tuple(end for end in several if end and end != "\n\n")
        max_new_tokens = check_max_new_tokens(options.get("max_new_tokens", cls.max_new_tokens))
        for name, harmless in NO_EFFECT.items():
            if (value := options.get(name)) is not None and value not in harmless:
                raise InputError(f"The decoding option {name}={value} is not supported: leave it out of --gen_kwargs.")
        asked = {name: value for name, value in options.items() if value is not None}
        sampled = asked.get("do_sample")
        temperature = asked.get("temperature", 1.0 if sampled else 0.0)
        if not temperature or sampled is False or asked.get("top_k") == 1:
            return cls(max_new_tokens, ends)
        seed = int(torch.randint(2**62, ()))  # of lmms-eval's --seed, and another one for every repeat
        return cls(max_new_tokens, ends, Sampling(temperature, asked.get("top_p", 1.0), seed))


def check_against(vlm: Vlm, options: Mapping[str, Any]) -> None:
    """Raises InputError where a task switches off what the model's generation config asks for."""
    for name, idle in FOLLOWED.items():
        asked, own = options.get(name), getattr(vlm.model.generation_config, name, None)
        if asked is not None and own not in idle and asked != own:
            raise InputError(
                f"The task asks for {name}={asked}, but the model's generation config for {name}={own}, which is "
                "followed: change generation_config.json, or leave the option out of --gen_kwargs."
            )


def chat_messages(messages: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Turn lmms-eval's messages, whose pictures stand under "url", into those of transformers."""
    return [
        {
            "role": message["role"],
            "content": [
                {"type": "image", "image": part["url"]} if part["type"] == "image" else dict(part)
                for part in message["content"]
            ],
        }
        for message in messages
    ]


def answer(vlm: Vlm, method: Method, messages: Sequence[dict[str, Any]], decoding: Decoding) -> GenerationResult:
    """Answer the last of some chat messages, up to the first of the texts that end it."""
    prepared = vlm.prepare_messages(messages, 1, method)
    most = min(decoding.max_new_tokens, vlm.context_length - prepared.num_tokens)
    text, written = "", 0
    with vlm.lock:
        tokens = generate(vlm, prepared.inputs, method(vlm.model), most, sampling=decoding.sampling)
        with closing(tokens):
            for token in tokens:
                text, written = text + token.text, written + 1
                if ends := [start for end in decoding.until if (start := text.find(end)) >= 0]:
                    text = text[: min(ends)]
                    break
    return GenerationResult(text.strip(), TokenCounts(input_tokens=prepared.num_tokens, output_tokens=written))


def method_of(name: str, settings: Mapping[str, Any]) -> Method:
    """Return a method by its name in `METHODS`, with settings as a command line gives them.

    Raises:
        InputError: there is no such method or setting, or a setting is impossible.
    """
    if name not in METHODS:
        raise InputError(f"There is no method {name!r}: choose {OWN} or one of {', '.join(METHODS)}.")
    return with_settings(METHODS[name](), settings)


def with_settings(method: Method, settings: Mapping[str, Any]) -> Method:
    """Change a method's settings as a command line gives them: texts are read as Python literals.

    Raises:
        InputError: there is no such setting, or it is impossible.
    """
    known = [each.name for each in fields(cast(Any, method)) if each.name != "summary"]
    for name in settings:
        if name not in known:
            offered = f"it has {', '.join(known)}" if known else "it has none"
            raise InputError(f"{type(method).__name__} has no setting {name!r}: {offered}.")
    return replace(cast(Any, method), **{name: _value(value) for name, value in settings.items()})


def _value(text: Any) -> Any:
    """Read a number, list or None out of a text; other texts stay as they are. No code is run."""
    if not isinstance(text, str):
        return text
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return text
