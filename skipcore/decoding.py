"""How the next token follows from the logits: the model's generation config, then greedily or by drawing."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import (
    ExponentialDecayLengthPenalty,
    ForcedBOSTokenLogitsProcessor,
    ForcedEOSTokenLogitsProcessor,
    LogitsProcessor,
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

from skipcore.errors import InputError
from skipcore.vlm import Vlm

REFUSED: dict[str, Callable[[Any], bool]] = {
    "num_beams": lambda value: value > 1,
    "guidance_scale": lambda value: value != 1,
    "penalty_alpha": lambda value: value > 0,
    "watermarking_config": lambda value: True,
    "stop_strings": bool,
    "dola_layers": bool,
    "prompt_lookup_num_tokens": bool,
    "encoder_repetition_penalty": lambda value: value != 1,
    "encoder_no_repeat_ngram_size": lambda value: value > 0,
}
"""What a generation config may ask for that is not done here, with the values that do ask for it."""
SAMPLING = ("temperature", "top_k", "top_p", "min_p", "typical_p", "epsilon_cutoff", "eta_cutoff", "top_h")


@dataclass(frozen=True)
class Sampling:
    """How the next token is chosen.

    Attributes:
        temperature: 0 is greedy.
        top_p: smallest set of tokens with this probability, 0 < top_p ≤ 1.
        seed: of the random draws; None draws anew each time.
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


def end_tokens(vlm: Vlm) -> frozenset[int]:
    """Ids that end an answer: those of the generation config, or else of the tokenizer."""
    ends = vlm.model.generation_config.eos_token_id
    if ends is None:
        ends = vlm.processor.tokenizer.eos_token_id
    return frozenset() if ends is None else frozenset([ends] if isinstance(ends, int) else ends)


def until_end(tokens: Sequence[int], ends: Collection[int]) -> list[int]:
    """An answer's tokens up to the first that ends it, which is included."""
    last = next((number for number, token in enumerate(tokens) if token in ends), len(tokens))
    return list(tokens[: last + 1])


def logits_processors(vlm: Vlm, prompt_tokens: int, max_new_tokens: int) -> LogitsProcessorList:
    """What the model's generation config does to the logits, as `generate(do_sample=False)` does it, in its order.

    Settings of sampling are no part of it: see `Sampling`.

    Args:
        prompt_tokens: tokens before the answer.
        max_new_tokens: longest answer.

    Raises:
        InputError: the config asks for something that is not done here.
    """
    config = vlm.model.generation_config
    for name, asks in REFUSED.items():
        if (value := getattr(config, name, None)) is not None and asks(value):
            raise InputError(
                f"The model's generation config sets {name} to {value!r}, which is not done here: set "
                f"`vlm.model.generation_config.{name} = None`, or use the model's own generate() in a session."
            )
    ends, device = sorted(end_tokens(vlm)), str(vlm.device)
    return LogitsProcessorList(_processors(config, ends, device, prompt_tokens, max_new_tokens))


def _processors(
    config: Any, ends: list[int], device: str, prompt_tokens: int, max_new_tokens: int
) -> Iterator[LogitsProcessor]:
    def asked(name: str, nothing: object = None) -> Any:
        value = getattr(config, name, None)
        return None if value in (None, nothing) else value

    if (bias := asked("sequence_bias")) is not None:
        yield SequenceBiasLogitsProcessor(sequence_bias=bias)
    if (penalty := asked("repetition_penalty", 1.0)) is not None:
        yield RepetitionPenaltyLogitsProcessor(penalty)
    if (size := asked("no_repeat_ngram_size", 0)) is not None:
        yield NoRepeatNGramLogitsProcessor(size)
    if (words := asked("bad_words_ids")) is not None:
        yield NoBadWordsLogitsProcessor(words, ends or None)
    if (least := asked("min_length", 0)) is not None and ends and asked("min_new_tokens") is None:
        yield MinLengthLogitsProcessor(least, ends, device=device)
    if (least := asked("min_new_tokens", 0)) is not None and ends:
        yield MinNewTokensLengthLogitsProcessor(prompt_tokens, least, ends, device=device)
    if (forced := asked("forced_bos_token_id")) is not None:
        yield ForcedBOSTokenLogitsProcessor(forced)
    if (forced := asked("forced_eos_token_id")) is not None:
        yield ForcedEOSTokenLogitsProcessor(prompt_tokens + max_new_tokens, forced, device=device)
    if (decay := asked("exponential_decay_length_penalty")) is not None and ends:
        yield ExponentialDecayLengthPenalty(decay, ends, prompt_tokens)
    if (tokens := asked("suppress_tokens")) is not None:
        yield SuppressTokensLogitsProcessor(tokens, device=device)
    if (tokens := asked("begin_suppress_tokens")) is not None:
        yield SuppressTokensAtBeginLogitsProcessor(tokens, prompt_tokens, device=device)


def describe(vlm: Vlm) -> str:
    """How answers are decoded, as a person is told: what of the generation config is followed, and what is left out."""
    config = vlm.model.generation_config
    names = (
        "sequence_bias", "repetition_penalty", "no_repeat_ngram_size", "bad_words_ids", "min_length", "min_new_tokens",
        "forced_bos_token_id", "forced_eos_token_id", "exponential_decay_length_penalty", "suppress_tokens",
        "begin_suppress_tokens",
    )  # fmt: skip
    idle: dict[str, object] = {"repetition_penalty": 1.0, "no_repeat_ngram_size": 0, "min_length": 0}
    followed = [name for name in names if getattr(config, name, None) not in (None, idle.get(name))]
    said = "greedy" + (f", with the model's own {', '.join(followed)}" if followed else "")
    return said + ("; the sampling of its generation config is left out" if config.do_sample else "")


class Chooser:
    """Logits → the next token of one answer.

    Args:
        vlm: the model that answers.
        prompt: token ids of the whole prompt, also where part of it was read before.
        max_new_tokens: longest answer.
        sampling: greedy or not.
        answered: token ids of the answer so far, where it goes on.
    """

    def __init__(
        self, vlm: Vlm, prompt: list[int], max_new_tokens: int, sampling: Sampling, answered: tuple[int, ...] = ()
    ) -> None:
        self._processors = logits_processors(vlm, len(prompt), max_new_tokens)
        self._ids = torch.tensor([[*prompt, *answered]], device=vlm.device)
        self._sampling = sampling
        self._generator = None if sampling.temperature == 0 else _generator(sampling, vlm.device)

    def __call__(self, logits: Tensor) -> int | None:
        """[1, vocabulary] → the token; None where some logits are not finite.

        The device is read once: the token and the check together.
        """
        is_finite = torch.isfinite(logits).all()
        scores = logits.float()
        if self._processors:
            scores = self._processors(self._ids, scores.clone())
        token = self._greedy(scores) if self._generator is None else self._drawn(scores, is_finite)
        number, fine = torch.stack([token, is_finite.long()]).tolist()
        if self._processors:
            self._ids = torch.cat([self._ids, token[None, None]], dim=1)
        return number if fine else None

    def _greedy(self, scores: Tensor) -> Tensor:
        return scores[0].argmax()

    def _drawn(self, scores: Tensor, is_finite: Tensor) -> Tensor:
        """Where the logits are not finite, the draw is from zeros: a draw from NaN would end a GPU's context."""
        safe = torch.where(is_finite, scores[0], torch.zeros_like(scores[0]))
        probabilities, order = (safe / self._sampling.temperature).softmax(dim=-1).sort(descending=True)
        beyond = probabilities.cumsum(dim=0) - probabilities >= self._sampling.top_p
        chosen = torch.multinomial(probabilities.masked_fill(beyond, 0), 1, generator=self._generator)
        return order[chosen[0]]


def _generator(sampling: Sampling, device: torch.device) -> torch.Generator:
    generator = torch.Generator(device)
    if sampling.seed is None:
        generator.seed()
    else:
        generator.manual_seed(sampling.seed)
    return generator
