"""The nouns of the scenes: how they are written, what an item may be called, and finding them in a text."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from functools import cache

from skipcore.builtin.scenes.scene_record import Item, Shape, Thing
from skipcore.builtin.scenes.things import GROUP_PLURALS, THINGS
from skipcore.builtin.scenes.vocabulary import COLORS, COUNT_WORDS, SHAPE_KINDS

PLURALS: dict[str, str] = {kind.name: kind.plural for kind in THINGS}
GROUP_OF: dict[str, str] = {kind.name: kind.group for kind in THINGS}
GROUP_NOUNS = {"instrument": "musical instrument", "clothing": "piece of clothing"}
"""Groups whose singular is not their own name."""
UNCLEAR_GROUPS = frozenset({"household object"})
"""Groups too loose to ask about: many things of other groups belong to a household as well."""
UNCLEAR: dict[str, tuple[str, ...]] = {
    "panda": ("bear",),
    "sailboat": ("ship",),
    "ambulance": ("car", "truck"),
    "motorcycle": ("scooter",),
    "scooter": ("motorcycle",),
    "watch": ("clock", "device", "piece of clothing"),
    "clock": ("watch", "device"),
    "flashlight": ("device", "tool"),
    "lightbulb": ("device",),
    "telescope": ("device", "tool"),
    "microscope": ("device", "tool"),
    "magnet": ("tool", "device"),
    "key": ("tool",),
    "lock": ("tool", "device"),
    "ladder": ("tool",),
    "pencil": ("tool",),
    "thermometer": ("tool", "device"),
    "toolbox": ("tool",),
    "broom": ("tool",),
    "bucket": ("tool",),
    "toothbrush": ("tool",),
    "umbrella": ("piece of clothing",),
    "crown": ("piece of clothing",),
    "backpack": ("piece of clothing",),
    "bell": ("musical instrument",),
    "rocket": ("airplane",),
    **{name: ("plant",) for name, group in GROUP_OF.items() if group == "food"},
}
"""Words that some would use for a thing and others would not: no question turns on them where the thing is shown."""


@dataclass(frozen=True)
class Word:
    """A noun's forms, ready for a template's slots.

    Attributes:
        forms: the slots' contents for this noun as the first one of a question.
        others: the same for the second one.
        blotted, blotted_others: the contents with the noun blotted out, generic words ("shape", "sign") kept.
    """

    forms: dict[str, str]
    others: dict[str, str]
    blotted: dict[str, str]
    blotted_others: dict[str, str]


def group_noun(thing: str) -> str | None:
    """What a thing's group is called in a question: "animal"; None where that would be unclear."""
    group = GROUP_OF.get(thing)
    if group is None or group in UNCLEAR_GROUPS:
        return None
    noun = GROUP_NOUNS.get(group, group)
    return None if noun in UNCLEAR.get(thing, ()) else noun


GROUPS: tuple[str, ...] = tuple(GROUP_NOUNS.get(group, group) for group in GROUP_PLURALS if group not in UNCLEAR_GROUPS)
SIBLINGS: dict[str, tuple[str, ...]] = {
    name: tuple(other for other, its_group in GROUP_OF.items() if its_group == group and other != name)
    for name, group in GROUP_OF.items()
}
THING_NAMES: tuple[str, ...] = tuple(PLURALS)
COLOR_NAMES: tuple[str, ...] = tuple(COLORS)


def article(noun: str) -> str:
    """ "a dog", "an owl", "a unicycle"."""
    is_vowel = noun[0] in "aeiou" and not noun.startswith(("uni", "uku", "eu", "one", "use"))
    return f"an {noun}" if is_vowel or noun.startswith("hour") else f"a {noun}"


def plural(phrase: str) -> str:
    """The plural of any noun a question is about: "dogs", "red circles", "food items"."""
    if phrase == "food":
        return "food items"
    if phrase == "piece of clothing":
        return "pieces of clothing"
    if phrase.startswith("sign that says "):
        return phrase.replace("sign that says", "signs that say", 1)
    if phrase in PLURALS:
        return PLURALS[phrase]
    first, _, last = phrase.rpartition(" ")
    ending = "crosses" if last == "cross" else f"{last}s"
    return f"{first} {ending}" if first else ending


@cache
def word(phrase: str) -> Word:
    """The forms of a noun."""
    kept = _blot(phrase)
    kept_plural = "signs that say {}" if kept.startswith("sign that") else f"{kept}s"
    return Word(
        _forms(phrase, plural(phrase)),
        {f"other_{slot}": form for slot, form in _forms(phrase, plural(phrase)).items()},
        _forms(kept, kept_plural),
        {f"other_{slot}": form for slot, form in _forms(kept, kept_plural).items()},
    )


def _forms(noun: str, several: str) -> dict[str, str]:
    is_mass = noun == "food"
    with_article = "some food" if is_mass else article(noun)
    return {
        "noun": noun,
        "a": with_article,
        "any": "any food" if is_mass else with_article,
        "plural": several,
        "are": "is",
        "do": "does",
    }


def _blot(phrase: str) -> str:
    """A noun with names blotted out, for the statistics of a guesser who does not look."""
    if phrase in ("thing", "shape", "sign"):
        return phrase
    if phrase in GROUPS:
        return "{group}"
    if phrase.startswith("sign that says "):
        return "sign that says {}"
    color, _, last = phrase.partition(" ")
    if color in COLORS and last:
        return f"{{color}} {last if last in ('shape', 'sign') else '{}'}"
    return "{}"


@cache
def _calls(kind: str, name: str, text: str) -> tuple[str, ...]:
    if kind == "thing":
        group = group_noun(name)
        return (name,) if group is None else (name, group)
    if kind == "shape":
        return (f"{name} {text}", text, f"{name} shape", "shape")
    return (f"{name} sign", "sign", f"sign that says {text}")


def calls(item: Item) -> tuple[str, ...]:
    """All an item may be called. A thing: name, group. A shape: "red circle", "circle", "red shape", "shape".

    A sign: "red sign", "sign", "sign that says stop".
    """
    if isinstance(item, Thing):
        return _calls("thing", item.name, "")
    if isinstance(item, Shape):
        return _calls("shape", item.color, item.kind)
    return _calls("sign", item.color, item.text.lower())


def short_name(item: Item) -> str:
    """ "dog", "red circle", "green sign"."""
    return calls(item)[0]


def long_name(item: Item) -> str:
    """As `short_name`, a sign with what it says: "green sign that says stop"."""
    if isinstance(item, Thing | Shape):
        return calls(item)[0]
    return f"{item.color} sign that says {item.text.lower()}"


def joined(words: list[str]) -> str:
    """ "a", "a and b", "a, b and c"."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


SINGULAR: dict[str, str] = {
    form: noun
    for noun in (
        *THING_NAMES,
        *SHAPE_KINDS,
        "sign",
        *(f"{color} {kind}" for color in COLORS for kind in (*SHAPE_KINDS, "sign")),
    )
    for form in (noun, plural(noun))
}
_COUNTS = {each: number for number, each in enumerate(COUNT_WORDS)} | {str(number): number for number in range(10)}
_NOUNS = "|".join(sorted(SINGULAR, key=len, reverse=True))
_MENTION = re.compile(
    rf"\b(?:(the|{'|'.join(_COUNTS)}) )?({_NOUNS})(?: that says? [\"']?(\w+)[\"']?)?\b",
)


def named(text: str) -> Counter[str]:
    """The items a text names, in full as it names them: "two dogs and a red sign that says 42".

    What is only spoken of again ("the dog is at the top") is not counted again.
    """
    found: Counter[str] = Counter()
    again: list[str] = []
    for lead, noun, says in _MENTION.findall(" ".join(text.lower().split())):
        name = SINGULAR[noun] + (f" that says {says}" if says else "")
        if lead == "the":
            again.append(name)
        else:
            found[name] += _COUNTS.get(lead, 1)
    for name in again:
        if not any(set(name.split()) <= set(known.split()) for known in found):
            found[name] += 1
    return +found
