"""A guesser who does not look: the most common answer to each form of question, counted on training questions.

What it reaches is what the wording alone gives away; a score says something only beside it.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from itertools import count, islice

import numpy as np

from skipcore.builtin.evaluation.asked import EASY_VQA, QUESTIONS_A_PICTURE, AskedPicture, easy_question
from skipcore.builtin.evaluation.scores import Answered, Tally, tally_of
from skipcore.builtin.questions.questions import Question, ask_several
from skipcore.builtin.scenes.easy_vqa import load_split
from skipcore.builtin.scenes.sample import EVERYTHING, Contents, sample_scene
from skipcore.builtin.scenes.splits import seed_of

TRAINING_QUESTIONS = 20_000


@dataclass(frozen=True)
class BlindGuesser:
    """The most common answers to each form of question, and to each kind that a form looks like."""

    by_form: dict[str, str]
    by_kind: dict[str, str]

    def guess(self, question: Question) -> str:
        """The answer to the question's form; to a form never met, that of its kind."""
        return self.by_form.get(question.form) or self.by_kind.get(_kind(question), "yes")


def guesser_from(questions: Iterable[Question]) -> BlindGuesser:
    """Count answers; of two that are as common the first met is taken."""
    forms: dict[str, Counter[str]] = defaultdict(Counter)
    kinds: dict[str, Counter[str]] = defaultdict(Counter)
    for question in questions:
        forms[question.form][question.answer] += 1
        kinds[_kind(question)][question.answer] += 1
    return BlindGuesser(_most_common(forms), _most_common(kinds))


@cache
def guesser_for(split: str, num_questions: int = TRAINING_QUESTIONS, contents: Contents = EVERYTHING) -> BlindGuesser:
    """The guesser of a split: counted on all of easy-VQA's train split, or on so many questions to training scenes."""
    if split == EASY_VQA:
        pairs = (pair for picture in load_split("train") for pair in picture.questions)
        return guesser_from(easy_question(text, answer) for text, answer in pairs)
    return guesser_from(islice(_training_questions(contents), num_questions))


def blind_tally(guesser: BlindGuesser, asked: Iterable[AskedPicture]) -> Tally:
    """What the guesser reaches."""
    return tally_of(
        Answered(question, guesser.guess(question), picture.is_exact)
        for picture in asked
        for question in picture.questions
    )


def _training_questions(contents: Contents) -> Iterable[Question]:
    """Questions to scenes as training shows them; nothing needs to be drawn."""
    for index in count():
        rng = np.random.default_rng(seed_of("train", index))
        scene = sample_scene(rng, "train", contents)
        yield from ask_several(scene, rng, QUESTIONS_A_PICTURE, None, contents.foreign)


def _kind(question: Question) -> str:
    """The kind the wording belongs to: all a guesser knows of a question about something absent."""
    return question.form.partition(":")[0]


def _most_common(counters: dict[str, Counter[str]]) -> dict[str, str]:
    return {name: counter.most_common(1)[0][0] for name, counter in counters.items()}
