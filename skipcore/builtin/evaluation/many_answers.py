"""Asking a model all questions of a split: pictures are encoded once for all methods, equal prompts go together."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from skipcore.answering.batch import MAX_NEW_TOKENS, BatchedQuestions, greedy, groups
from skipcore.builtin.evaluation.asked import AskedPicture
from skipcore.builtin.evaluation.finished import Finished, chunk_key, method_key
from skipcore.builtin.evaluation.scores import Answered, Score, Tally, score_of, tally_of
from skipcore.methods import Method
from skipcore.model.vlm import Vlm
from skipcore.provenance import modules_sha256

PICTURES_IN_A_CHUNK = {"cpu": 50, "cuda": 500}
"""What is lost at most when an evaluation is killed: a minute or so."""


class AskedQuestions(BatchedQuestions):
    """The questions to some pictures in batches, and what is true of each.

    Args:
        pictures: their questions are numbered one after the other.
        max_new_tokens: longest answer.
    """

    def __init__(self, vlm: Vlm, pictures: Sequence[AskedPicture], max_new_tokens: int) -> None:
        self._tokenizer = vlm.processor.tokenizer
        self._truth = [(question, picture.is_exact) for picture in pictures for question in picture.questions]
        asked = [(each.draw(), [question.text for question in each.questions]) for each in pictures]
        descriptions = {number for number, (question, _) in enumerate(self._truth) if question.kind == "description"}
        super().__init__(vlm, asked, max_new_tokens, descriptions)

    def answered(self, number: int, answer: Sequence[int]) -> Answered:
        """A question with an answer to it, given as token ids."""
        question, is_exact = self._truth[number]
        return Answered(question, self._tokenizer.decode(answer, skip_special_tokens=True), is_exact)


def evaluate(
    vlm: Vlm,
    asked: Sequence[AskedPicture],
    methods: Sequence[Method],
    finished: Finished | None = None,
    on_answers: Callable[[int], object] = lambda number: None,
) -> list[Score]:
    """The score of each method, every question asked alone and answered greedily; locks the model.

    Args:
        asked: at least one picture.
        finished: what was answered before; what is answered now is added to it.
        on_answers: called with a number of answers, as they come.

    Raises:
        InputError: nothing is asked, or a method's settings do not fit the model.
    """
    finished = finished or Finished()
    tallies = [Tally() for _ in methods]
    model_sha256 = modules_sha256(vlm.model)
    for chunk in groups(asked, PICTURES_IN_A_CHUNK.get(vlm.device.type, 50)):
        first = vlm.prepare(chunk[0].draw(), chunk[0].questions[0].text).inputs["input_ids"][0].tolist()
        key = chunk_key(vlm, model_sha256, chunk, first, MAX_NEW_TOKENS)
        questions: AskedQuestions | None = None
        for number, method in enumerate(methods):
            own_key = method_key(key, method)
            tally = finished.get(own_key)
            if tally is None:
                questions = questions or AskedQuestions(vlm, chunk, MAX_NEW_TOKENS)
                tally = tally_of(answers(vlm, questions, method, on_answers))
                finished.add(own_key, tally, method=method.name, settings=method.settings())
            else:
                on_answers(tally.asked.total())
            tallies[number] += tally
    return [score_of(method, tally) for method, tally in zip(methods, tallies, strict=True)]


def answers(
    vlm: Vlm, questions: AskedQuestions, method: Method, on_answers: Callable[[int], object]
) -> Iterator[Answered]:
    """The answer to each question, batch by batch."""
    for numbers in questions.batches():
        with vlm.lock:
            written = greedy(vlm, questions.inputs(numbers, method), method, MAX_NEW_TOKENS)
        on_answers(len(numbers))
        yield from map(questions.answered, numbers, written)
