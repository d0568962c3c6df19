"""What methods make of some questions: right answers, and agreement with the dense model along its own answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from skipcore import Dense, Method, Vlm
from skipcore.answering.agreement import Agreement
from skipcore.answering.batch import MAX_NEW_TOKENS, greedy, log_probs
from skipcore.answering.decoding import NextToken
from skipcore.builtin.evaluation.asked import AskedPicture
from skipcore.builtin.evaluation.many_answers import AskedQuestions


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
        on_answers: called with a number of answers, as they come.

    Returns:
        For each key an outcome to every question, in order.
    """
    questions = AskedQuestions(vlm, pictures, max_new_tokens)
    outcomes: dict[str, dict[int, Outcome]] = {key: {} for key in methods}
    for numbers in questions.batches():
        with vlm.lock:
            inputs = questions.inputs(numbers, Dense())
            dense = greedy(vlm, inputs, Dense(), max_new_tokens)
            expected = log_probs(vlm, inputs, Dense(), dense)
        by_logits = NextToken(vlm, inputs["input_ids"], max_new_tokens).by_logits_alone
        for key, method in methods.items():
            agreements, answers = [Agreement(0.0, 1.0)] * len(numbers), dense
            if not isinstance(method, Dense):
                with vlm.lock:
                    found = log_probs(vlm, questions.inputs(numbers, method), method, dense)
                    agreements = [Agreement.between(*pair) for pair in zip(expected, found, strict=True)]
                    is_known = [
                        by_logits and table.argmax(dim=-1).tolist() == own
                        for table, own in zip(found, dense, strict=True)
                    ]
                    others = [number for number, known in zip(numbers, is_known, strict=True) if not known]
                    generated = iter(
                        greedy(vlm, questions.inputs(others, method), method, max_new_tokens) if others else []
                    )
                    answers = [own if known else next(generated) for own, known in zip(dense, is_known, strict=True)]
            for number, answer, own, agreement in zip(numbers, answers, dense, agreements, strict=True):
                is_right = questions.answered(number, answer).is_right if has_truth else None
                outcomes[key][number] = Outcome(is_right, answer == own, agreement)
            on_answers(len(numbers))
    return {key: [of_method[number] for number in sorted(of_method)] for key, of_method in outcomes.items()}
