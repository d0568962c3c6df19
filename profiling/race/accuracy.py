"""What methods make of some questions: right answers, and agreement with the dense model along its own answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from profiling.race.asking import MAX_NEW_TOKENS, Encoder, Prompt, batches, greedy, log_probs, prompts_of
from skipcore import Dense, Method, Vlm
from skipcore.answering.agreement import Agreement
from skipcore.answering.decoding import NextToken
from skipcore.builtin.evaluation import AskedPicture
from skipcore.builtin.evaluation.scores import Answered


@dataclass(frozen=True)
class Outcome:
    """What a method made of one question.

    Attributes:
        is_right: None where there is no truth.
        is_same: whether its answer is the dense model's, token for token.
        agreement: along the dense model's answer.
    """

    is_right: bool | None
    is_same: bool
    agreement: Agreement


def measure_questions(
    vlm: Vlm,
    pictures: Sequence[AskedPicture],
    methods: Mapping[str, Method],
    has_truth: bool,
    on_answers: Callable[[int], object] = lambda number: None,
    max_new_tokens: int = MAX_NEW_TOKENS,
) -> dict[str, list[Outcome]]:
    """Ask every question under every method, greedily; locks the model.

    The dense model answers once and all methods are held against it. A method reads the dense answer first: where it
    finds every token of it likeliest, that is its own greedy answer too, and only the others are generated; all of them
    where the model's generation config changes the logits before a token is chosen.

    Args:
        pictures: their questions are few enough to hold their features.
        methods: by any key.
        on_answers: told how many answers there are more.

    Returns:
        For each key an outcome to every question, in order.
    """
    prompts, encoder = prompts_of(vlm, pictures, max_new_tokens), Encoder(vlm)
    outcomes: dict[str, dict[int, Outcome]] = {key: {} for key in methods}
    for rows in batches(vlm, prompts):
        with vlm.lock:
            inputs = encoder.inputs(rows, Dense())
            dense = greedy(vlm, Dense(), inputs, max_new_tokens)
            expected = log_probs(vlm, Dense(), inputs, dense)
        by_logits = NextToken(vlm, inputs["input_ids"], max_new_tokens).by_logits_alone
        for key, method in methods.items():
            with vlm.lock:
                agreements = [Agreement(0.0, 1.0)] * len(rows)
                answers = dense
                if not isinstance(method, Dense):
                    found = log_probs(vlm, method, encoder.inputs(rows, method), dense)
                    agreements = [Agreement.between(*pair) for pair in zip(expected, found, strict=True)]
                    likeliest = [table.argmax(dim=-1).tolist() if by_logits else [] for table in found]
                    answers = _answers(vlm, method, encoder, rows, dense, likeliest, max_new_tokens)
            for row, answer, own, agreement in zip(rows, answers, dense, agreements, strict=True):
                is_right = _is_right(vlm, row, answer) if has_truth else None
                outcomes[key][row.number] = Outcome(is_right, answer == own, agreement)
            on_answers(len(rows))
    return {key: [of_method[number] for number in sorted(of_method)] for key, of_method in outcomes.items()}


def _answers(
    vlm: Vlm,
    method: Method,
    encoder: Encoder,
    rows: Sequence[Prompt],
    dense: Sequence[list[int]],
    likeliest: Sequence[list[int]],
    max_new_tokens: int,
) -> list[list[int]]:
    """The method's own greedy answers."""
    others = [number for number, own in enumerate(dense) if likeliest[number] != own]
    if not others:
        return list(dense)
    inputs = encoder.inputs([rows[number] for number in others], method)
    generated = dict(zip(others, greedy(vlm, method, inputs, max_new_tokens), strict=True))
    return [generated.get(number, own) for number, own in enumerate(dense)]


def _is_right(vlm: Vlm, prompt: Prompt, answer: list[int]) -> bool:
    text = vlm.processor.tokenizer.decode(answer, skip_special_tokens=True)
    return Answered(prompt.question, text, prompt.is_exact).is_right
