"""Questions to a scene's record, each with a true, clear answer in words, worded in many ways."""

from __future__ import annotations

from bisect import bisect
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from itertools import accumulate

from numpy.random import Generator

from skipcore.builtin.questions.absent import absent
from skipcore.builtin.questions.amounts import comparison, count, existence
from skipcore.builtin.questions.describe import description
from skipcore.builtin.questions.looks import color, identity, sign
from skipcore.builtin.questions.question import Question
from skipcore.builtin.questions.relations import place, relation
from skipcore.builtin.questions.typing_noise import as_typed
from skipcore.builtin.questions.wording_samples import every_answer, every_phrase
from skipcore.builtin.scenes.scene_record import Scene
from skipcore.builtin.scenes.seen import Seen
from skipcore.builtin.scenes.vocabulary import COUNT_WORDS
from skipcore.builtin.scenes.words import named

__all__ = [
    "DEFAULT_SHARES", "KINDS", "Question", "as_typed", "ask", "ask_several", "every_answer", "every_phrase",
    "is_right", "named", "suggested",
]  # fmt: skip

_MAKERS: dict[str, Callable[[Seen, Generator], Question | None]] = {
    "existence": existence,
    "count": count,
    "color": color,
    "place": place,
    "relation": relation,
    "comparison": comparison,
    "sign": sign,
    "identity": identity,
    "description": description,
    "absent": absent,
}
KINDS = tuple(_MAKERS)
DEFAULT_SHARES: dict[str, float] = {
    "existence": 0.12,
    "count": 0.11,
    "color": 0.09,
    "place": 0.14,
    "relation": 0.17,
    "comparison": 0.05,
    "sign": 0.12,
    "identity": 0.08,
    "description": 0.08,
    "absent": 0.04,
}
"""How often each kind is tried; kinds that a scene does not allow for give way to the others."""
_TRIES, _TRIES_OF_A_KIND = 60, 4
_WHERE = ("at the ", "on the ", "in the ")
_ARTICLES = ("a ", "an ", "the ", "some ")


def ask(
    scene: Scene,
    rng: Generator,
    kinds: Mapping[str, float] | None = None,
    clean: bool = False,
    foreign: frozenset[str] = frozenset(),
) -> Question:
    """One random question with a clear answer, as somebody might type it.

    Args:
        scene: it shows one item at least.
        kinds: how often each kind is tried. If the scene allows for none of them, the question is whether something
            is there.
        clean: without capitals, slips and polite words.
        foreign: names of things that the question does not name unless the scene shows them.
    """
    question = _draw(Seen(scene, foreign), rng, _weights(kinds))
    if clean:
        return question
    return Question(question.kind, as_typed(question.text, rng), question.answer, question.form, question.about)


def ask_several(
    scene: Scene,
    rng: Generator,
    number: int,
    kinds: Mapping[str, float] | None = None,
    foreign: frozenset[str] = frozenset(),
) -> list[Question]:
    """That many different questions to one scene, fewer if it does not allow for so many; arguments as of `ask`."""
    seen, weights = Seen(scene, foreign), _weights(kinds)
    questions: dict[str, Question] = {}
    for _ in range(8 * number + 8):
        if len(questions) == number:
            break
        question = _draw(seen, rng, weights)
        if question.text not in questions:
            text = as_typed(question.text, rng)
            questions[question.text] = Question(question.kind, text, question.answer, question.form, question.about)
    return list({question.text: question for question in questions.values()}.values())


def suggested(
    scene: Scene,
    rng: Generator,
    number: int = 6,
    kinds: Sequence[str] = KINDS,
    fits: Callable[[Question], bool] = lambda question: True,
    foreign: frozenset[str] = frozenset(),
) -> list[Question]:
    """A varied set for a page to offer: clean wording, every kind once before any comes again.

    Args:
        kinds: the questions are of these.
        fits: whether a question may be asked; others are drawn again.
        foreign: as of `ask`.
    """
    seen = Seen(scene, foreign)
    order = [kinds[index] for index in rng.permutation(len(kinds))]
    chosen: dict[str, Question] = {}
    for kind in [*order, *order, *order]:
        if len(chosen) == number:
            break
        drawn = (_MAKERS[kind](seen, rng) for _ in range(12))
        question = next((each for each in drawn if each is not None and fits(each)), None)
        if question is not None:
            chosen.setdefault(question.text, question)
    return list(chosen.values())


def _weights(kinds: Mapping[str, float] | None) -> tuple[tuple[str, ...], tuple[float, ...]]:
    return _cumulated(tuple((DEFAULT_SHARES if kinds is None else kinds).items()))


@cache
def _cumulated(shares: tuple[tuple[str, float], ...]) -> tuple[tuple[str, ...], tuple[float, ...]]:
    kept = [(kind, share) for kind, share in shares if share > 0]
    return tuple(kind for kind, _ in kept), tuple(accumulate(share for _, share in kept))


def _draw(seen: Seen, rng: Generator, weights: tuple[tuple[str, ...], tuple[float, ...]]) -> Question:
    kinds, sums = weights
    for _ in range(_TRIES):
        kind = kinds[min(bisect(sums, rng.random() * sums[-1]), len(kinds) - 1)]
        for _ in range(_TRIES_OF_A_KIND):
            question = _MAKERS[kind](seen, rng)
            if question is not None:
                return question
    while True:  # half of its answers are "yes", and every scene has something to say yes to
        question = existence(seen, rng)
        if question is not None:
            return question


def is_right(question: Question, answer: str) -> bool:
    """Whether an answer says what the true one says, whatever its capitals, final punctuation or leading article.

    A description is right if it names every item and none that is not there, in any order; a number may stand in
    digits, and "yes, there is" is as good as "yes".
    """
    if question.kind == "description":
        return named(answer) == named(question.answer)
    if question.answer in ("yes", "no"):
        return _plain(answer, "").replace(",", " ").split(" ")[0] == question.answer
    return _plain(answer, question.kind) == _plain(question.answer, question.kind)


def _plain(answer: str, kind: str) -> str:
    text = " ".join(answer.lower().split()).strip(" .!?,;:\"'")
    for start in (_WHERE if kind == "place" else ()) + _ARTICLES:
        text = text.removeprefix(start)
    if kind == "count" and text.isdecimal() and int(text) < len(COUNT_WORDS):
        return COUNT_WORDS[int(text)]
    return text
