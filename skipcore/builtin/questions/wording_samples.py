"""Samples of all that questions and answers are worded in, for a tokenizer to learn from."""

from __future__ import annotations

from skipcore.builtin.questions import phrasings
from skipcore.builtin.questions.relations import WHATS, WHETHERS
from skipcore.builtin.scenes.vocabulary import COLORS, COUNT_WORDS, SHAPE_KINDS, SIGN_WORDS
from skipcore.builtin.scenes.words import GROUPS, THING_NAMES, article, joined, plural, word


def _nouns() -> list[str]:
    shapes = [f"{color} {kind}" for color in COLORS for kind in (*SHAPE_KINDS, "shape", "sign")]
    return [*THING_NAMES, *GROUPS, *SHAPE_KINDS, "shape", "sign", "thing", *shapes]


def _templates() -> list[str]:
    plain = [
        *phrasings.EXISTENCE, *phrasings.EXISTENCE_OF_SEVERAL, *phrasings.COUNT, *phrasings.MORE, *phrasings.AS_MANY,
        *phrasings.WHICH_MORE, *phrasings.COLOR, *phrasings.WHERE, *phrasings.BETWEEN, *phrasings.NEAREST,
        *phrasings.READ_SIGN, *phrasings.READ_NUMBER, *phrasings.READ_WORD, *phrasings.WHAT_IS_THIS,
        *phrasings.WHICH_OF_GROUP, *phrasings.WHAT_SHAPE, *phrasings.DESCRIBE_SEVERAL,
        *(template for templates in phrasings.OUTERMOST.values() for template in templates),
        *(template for table in (WHATS, WHETHERS) for templates in table.values() for template in templates),
    ]  # fmt: skip
    for templates in (phrasings.COLOR_THERE, phrasings.WHAT_THERE, phrasings.WHETHER_THERE):
        plain += phrasings.with_words(templates, "<place>", phrasings.PLACES)
    plain += phrasings.with_words(phrasings.WHETHER_SAYS, "<text>", (*SIGN_WORDS, "7", "42", "86"))
    plain += phrasings.with_words(phrasings.WHAT_SHAPE_OF_COLOR, "<color>", tuple(COLORS))
    return plain


def every_phrase() -> list[str]:
    """Every wording of a question with some noun, and every noun in some wordings."""
    nouns, templates = _nouns(), _templates()
    phrases = [
        template.format(**word(noun).forms, **word(other).others)
        for number, template in enumerate(templates)
        for turn in range(3)
        for noun, other in [(nouns[(7 * number + 89 * turn) % len(nouns)], nouns[(11 * number + turn) % len(nouns)])]
    ]
    phrases += [
        template.format(**word(noun).forms)
        for noun in nouns
        for template in (phrasings.EXISTENCE[0], phrasings.COUNT[0], phrasings.WHERE[0], phrasings.NEAREST[0])
    ]
    phrases += [f"{before}where is the dog?" for before in phrasings.BEFORE]
    phrases += [f"where is the dog{after}?" for after in phrasings.AFTER]
    return list(dict.fromkeys(phrases))


def every_answer() -> list[str]:
    """Every answer of one or two words, and descriptions with every noun and number."""
    signs = [f"{color} sign" for color in COLORS]
    shapes = [f"{color} {kind}" for color in COLORS for kind in SHAPE_KINDS]
    names = [*THING_NAMES, *SHAPE_KINDS, *shapes, *signs]
    says = (*SIGN_WORDS, *(str(number) for number in range(100)))
    long_signs = [f"{tuple(COLORS)[number % len(COLORS)]} sign that says {text}" for number, text in enumerate(says)]
    answers = ["yes", "no", "equally many", *COUNT_WORDS, *COLORS, *phrasings.PLACES, *says]
    answers += [article(name) for name in (*names, *long_signs)]
    answers += [plural(name) for name in _nouns()]
    answers += [f"there is no {name}" for name in _nouns()]
    listed = [*(name for name in names), *long_signs]
    for number, name in enumerate(listed):
        size = 2 + number % 8
        others = [article(listed[(number + 37 * step) % len(listed)]) for step in range(1, size - 1)]
        place = phrasings.PLACES[number % 9]
        answers.append(
            f"There are {COUNT_WORDS[size]} things. From left to right: "
            f"{joined([article(name), *others, f'two {plural(THING_NAMES[number % len(THING_NAMES)])}'])}. "
            f"The {name.partition(' that')[0]} is {place}."
        )
        answers.append(f"There is one thing: {article(name)}. It is {place}.")
    return list(dict.fromkeys(answers))
