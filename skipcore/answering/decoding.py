"""How the next token follows from the logits: the model's generation config, then greedily or by drawing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor
from transformers import (
    DynamicCache,
    EncoderNoRepeatNGramLogitsProcessor,
    EncoderRepetitionPenaltyLogitsProcessor,
    ExponentialDecayLengthPenalty,
    ForcedBOSTokenLogitsProcessor,
    ForcedEOSTokenLogitsProcessor,
    GenerationConfig,
    LogitsProcessorList,
    MinLengthLogitsProcessor,
    MinNewTokensLengthLogitsProcessor,
    NoBadWordsLogitsProcessor,
    NoRepeatNGramLogitsProcessor,
    RepetitionPenaltyLogitsProcessor,
    SequenceBiasLogitsProcessor,
    SuppressTokensAtBeginLogitsProcessor,
    SuppressTokensLogitsProcessor,
)

from skipcore.engine.finite import is_distribution, not_finite
from skipcore.errors import InputError
from skipcore.model.vlm import Vlm

NOT_FINITE = -1
"""Stands for a token where the logits are not finite."""

REFUSED: dict[str, tuple[object, ...]] = {
    "num_beams": (None, 1),
    "num_beam_groups": (None, 1),
    "constraints": (None, []),
    "force_words_ids": (None, []),
    "penalty_alpha": (None, 0, 0.0),
    "dola_layers": (None,),
    "guidance_scale": (None, 1, 1.0),
    "watermarking_config": (None,),
    "stop_strings": (None, []),
    "token_healing": (None, False),
}
"""Settings of a generation config that would change a greedy answer and are not followed, with the values that ask for
nothing."""

FOLLOWED: dict[str, tuple[object, ...]] = {
    "sequence_bias": (None,),
    "encoder_repetition_penalty": (None, 1.0),
    "repetition_penalty": (None, 1.0),
    "no_repeat_ngram_size": (None, 0),
    "encoder_no_repeat_ngram_size": (None, 0),
    "bad_words_ids": (None,),
    "min_length": (None, 0),
    "min_new_tokens": (None, 0),
    "forced_bos_token_id": (None,),
    "forced_eos_token_id": (None,),
    "exponential_decay_length_penalty": (None,),
    "suppress_tokens": (None,),
    "begin_suppress_tokens": (None,),
}
"""Those that are followed."""


@dataclass(frozen=True)
class Sampling:
    """How the next token is chosen, after the model's generation config has changed the logits.

    Attributes:
        temperature: 0 is greedy.
        top_p: smallest set of tokens with this probability, 0 < top_p ≤ 1.
        seed: of the random draws; None draws differently each time.
    """

    temperature: float = 0.0
    top_p: float = 1.0
    seed: int | None = None

    def __post_init__(self) -> None:
        if not all(isinstance(each, int | float) for each in (self.temperature, self.top_p)):
            raise InputError("temperature and top_p must be numbers.")
        if self.seed is not None and not (isinstance(self.seed, int) and 0 <= self.seed < 2**63):
            raise InputError(f"seed must be a whole number from 0 on, or None, not {self.seed!r}.")
        if not 0 <= self.temperature <= 10:
            raise InputError(f"temperature must lie between 0 (greedy) and 10, not {self.temperature}.")
        if not 0 < self.top_p <= 1:
            raise InputError(f"top_p must be above 0 and at most 1, not {self.top_p}.")


class NextToken:
    """Chooses the tokens of one answer, or of a batch of answers to prompts of one length without padding.

    A greedy choice is that of `generate(do_sample=False)`, token by token: all that the generation config says about
    penalties, minimum lengths and tokens that are forbidden or forced is followed. Its sampling settings (do_sample,
    temperature, top_k, top_p, …) are not: `Sampling` decides. Nor are `max_length`, `max_time`, settings of caches, and
    `remove_invalid_values`, as logits that are not finite are an error. Where the config names no end of the answer,
    the tokenizer's ends it.

    Args:
        vlm: whose generation config is followed.
        prompt: token ids of the whole prompt [rows, tokens], also of what a KV cache holds already.
        max_new_tokens: longest answer.
        sampling: default greedy.

    Raises:
        InputError: the generation config asks for what cannot be followed, such as beam search.
    """

    def __init__(self, vlm: Vlm, prompt: Tensor, max_new_tokens: int, sampling: Sampling | None = None) -> None:
        self._ids = prompt
        self._processors = processors_of(vlm, prompt, max_new_tokens)
        self._sampling = sampling or Sampling()
        self._generator: torch.Generator | None = None
        if self._sampling.temperature:
            self._generator = torch.Generator(vlm.device)
            if self._sampling.seed is None:
                self._generator.seed()
            else:
                self._generator.manual_seed(self._sampling.seed)

    @property
    def by_logits_alone(self) -> bool:
        """Whether a greedy choice is simply the likeliest token."""
        return not self._processors

    def __call__(self, logits: Tensor) -> Tensor:
        """The next token of each row, on the device; nothing waits for it.

        Args:
            logits: [rows, vocabulary].

        Returns:
            [rows]; `NOT_FINITE` where a row's logits are no distribution, see `skipcore.finite`.
        """
        finite = is_distribution(logits)
        scores = logits
        if self._processors:
            scores = self._processors(self._ids, logits.to(self._ids.device, torch.float32, copy=True))
        chosen = scores.argmax(dim=-1) if self._generator is None else self._draw(scores)
        if self._processors:
            self._ids = torch.cat([self._ids, chosen[:, None]], dim=1)
        return torch.where(finite.to(chosen.device), chosen, NOT_FINITE)

    def _draw(self, scores: Tensor) -> Tensor:
        """Draw one row after the other, so that a seed means the same in every batch."""
        drawn = []
        for row in scores:
            probabilities, order = (row.float() / self._sampling.temperature).softmax(dim=-1).sort(descending=True)
            beyond = probabilities.cumsum(dim=0) - probabilities >= self._sampling.top_p
            weights = probabilities.masked_fill(beyond, 0).nan_to_num(1.0)  # NaN would end the CUDA context
            drawn.append(order[torch.multinomial(weights, 1, generator=self._generator)])
        return torch.cat(drawn)


@torch.inference_mode()  # as a decorator, so that the mode does not leak to the consumer between two steps
def decode(vlm: Vlm, inputs: dict[str, Any], cache: DynamicCache, chooser: NextToken) -> Iterator[list[int]]:
    """The one decode loop: prefill and then step after step without end, inside the caller's session and lock.

    Args:
        inputs: keyword arguments of the model for a batch without padding.
        cache: takes in all that is read.
        chooser: of each next token.

    Yields:
        The next token of each row, when it is there.

    Raises:
        InputError: the model computes numbers that are not finite.
    """
    is_new, step = cache.get_seq_length() == 0, inputs
    while True:
        logits = vlm.model(**step, past_key_values=cache, use_cache=True, logits_to_keep=1).logits[:, -1]
        tokens = chooser(logits).tolist()
        if NOT_FINITE in tokens:
            before = DynamicCache(config=vlm.model.config) if is_new and step is inputs else cache
            again = partial(vlm.model, **step, past_key_values=before, use_cache=True, logits_to_keep=1)
            raise not_finite(vlm.model, again)
        yield tokens
        step = {"input_ids": torch.tensor([[token] for token in tokens], device=vlm.device)}


def end_tokens(vlm: Vlm) -> frozenset[int]:
    """Ids that end an answer: those of the generation config, or else of the tokenizer."""
    ends = vlm.model.generation_config.eos_token_id
    if ends is None:
        ends = vlm.processor.tokenizer.eos_token_id
    return frozenset() if ends is None else frozenset([ends] if isinstance(ends, int) else ends)


def until_end(tokens: Iterable[int], ends: Iterable[int]) -> list[int]:
    """The tokens up to the first that ends the answer, with it."""
    ends, found = set(ends), []
    for token in tokens:
        found.append(token)
        if token in ends:
            break
    return found


def processors_of(vlm: Vlm, prompt: Tensor, max_new_tokens: int) -> LogitsProcessorList:
    """What the generation config does to the logits of a greedy answer, in the order of `generate()`.

    Args:
        prompt: token ids [rows, tokens].
        max_new_tokens: longest answer.

    Raises:
        InputError: see `NextToken`; or a setting is impossible.
    """
    _check(vlm.model.generation_config)
    try:
        return _built(vlm, prompt, max_new_tokens)
    except (ValueError, TypeError) as error:
        raise InputError(
            f"The model's generation config cannot be followed ({error}): correct it in vlm.model.generation_config."
        ) from error


def _built(vlm: Vlm, prompt: Tensor, max_new_tokens: int) -> LogitsProcessorList:
    config: GenerationConfig = vlm.model.generation_config
    length, device = prompt.shape[1], prompt.device
    ends = sorted(end_tokens(vlm))
    eos: Any = torch.tensor(ends, device=device) if ends else None
    min_new = config.min_new_tokens or 0
    min_length = min_new + length if config.min_new_tokens is not None else config.min_length or 0
    found = LogitsProcessorList()
    if config.sequence_bias is not None:
        found.append(SequenceBiasLogitsProcessor(sequence_bias=config.sequence_bias))
    if config.encoder_repetition_penalty not in (None, 1.0):
        found.append(EncoderRepetitionPenaltyLogitsProcessor(config.encoder_repetition_penalty, prompt))
    if config.repetition_penalty not in (None, 1.0):
        found.append(RepetitionPenaltyLogitsProcessor(config.repetition_penalty))
    if config.no_repeat_ngram_size:
        found.append(NoRepeatNGramLogitsProcessor(config.no_repeat_ngram_size))
    if config.encoder_no_repeat_ngram_size:
        found.append(EncoderNoRepeatNGramLogitsProcessor(config.encoder_no_repeat_ngram_size, prompt))
    if config.bad_words_ids is not None:
        found.append(NoBadWordsLogitsProcessor(config.bad_words_ids, eos))
    if eos is not None and min_length:
        found.append(MinLengthLogitsProcessor(min_length, eos, device=str(device)))
    if eos is not None and min_new:
        found.append(MinNewTokensLengthLogitsProcessor(length, min_new, eos, device=str(device)))
    if config.forced_bos_token_id is not None:
        found.append(ForcedBOSTokenLogitsProcessor(config.forced_bos_token_id))
    if config.forced_eos_token_id is not None:
        longest = length + max_new_tokens
        found.append(ForcedEOSTokenLogitsProcessor(longest, config.forced_eos_token_id, device=str(device)))
    if eos is not None and config.exponential_decay_length_penalty is not None:
        found.append(ExponentialDecayLengthPenalty(config.exponential_decay_length_penalty, eos, length))
    if config.suppress_tokens is not None:
        found.append(SuppressTokensLogitsProcessor(config.suppress_tokens, device=str(device)))
    if config.begin_suppress_tokens is not None:
        begin = length + (length == 1 and config.forced_bos_token_id is not None)
        found.append(SuppressTokensAtBeginLogitsProcessor(config.begin_suppress_tokens, begin, device=str(device)))
    return found


def _check(config: GenerationConfig) -> None:
    for name, harmless in REFUSED.items():
        value = getattr(config, name, None)
        if value not in harmless:
            raise InputError(
                f"The model's generation config asks for {name}={value!r}, which is not supported: set "
                f"vlm.model.generation_config.{name} to {harmless[0]}."
            )


def describe(vlm: Vlm) -> str:
    """Say in words how answers are decoded: what of the generation config is followed, and what is left out."""
    config: GenerationConfig = vlm.model.generation_config
    followed = [name for name, idle in FOLLOWED.items() if getattr(config, name, None) not in idle]
    said = "greedy" + (f", with the model's own {', '.join(followed)}" if followed else "")
    return said + ("; the sampling of its generation config is left out" if config.do_sample else "")
