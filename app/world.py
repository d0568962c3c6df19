"""What the built-in model knows, and what lies outside its world; every list is derived from the scenes' tables."""

from __future__ import annotations

from collections import Counter
from html import escape

from skipcore.training.scenes.things import GROUP_PLURALS, THINGS
from skipcore.training.scenes.vocabulary import COLOURS, SHAPE_KINDS, SIGN_WORDS
from skipcore.training.scenes.words import GROUP_NOUNS, joined, plural

BUILT_IN = "scenes"

KIND_NAMES = {
    "existence": "is it there?",
    "count": "how many?",
    "colour": "what colour?",
    "place": "where? and what is there?",
    "relation": "left of, above, between, nearest",
    "comparison": "more or fewer?",
    "sign": "what does the sign say?",
    "identity": "what is this?",
    "description": "describe the picture",
    "absent": "about things that are not there",
}
"""The kinds of questions as the page calls them."""


def is_built_in(name: str) -> bool:
    """Whether a model of this name was trained on the scenes."""
    return name == BUILT_IN


def world_sentence() -> str:
    """What the built-in model knows and what it does not, in three sentences."""
    groups = Counter(kind.group for kind in THINGS)
    counts = joined([f"{groups[group]} {_group_plural(group)}" for group in GROUP_PLURALS])
    return (
        f"The built-in model knows a small world: {len(THINGS)} everyday things drawn as emoji ({counts}), "
        f"shapes in {len(COLOURS)} colours, and signs with a word or a number. "
        "Photos and anything else lie outside it: it will answer, but only guess."
    )


def world_lists() -> str:
    """All the built-in model knows, as HTML."""
    lists = [
        (_group_plural(group).capitalize(), [kind.name for kind in THINGS if kind.group == group])
        for group in GROUP_PLURALS
    ]
    lists += [
        ("Shapes", [plural(kind) for kind in SHAPE_KINDS]),
        ("Colours", list(COLOURS)),
        ("Signs", ["numbers from 0 to 99", *SIGN_WORDS]),
        ("Questions", list(KIND_NAMES.values())),
    ]
    items = "".join(f"<dt>{escape(name)}</dt><dd>{escape(', '.join(words))}</dd>" for name, words in lists)
    return f'<dl class="world">{items}</dl>'


def _group_plural(group: str) -> str:
    return plural(GROUP_NOUNS.get(group, group))
