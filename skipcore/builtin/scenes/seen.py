"""What can be said clearly of a scene: what is there by any name, which name means one item only, what lies where."""

from __future__ import annotations

from numpy.random import Generator

from skipcore.builtin.questions.question import chance, pick
from skipcore.builtin.scenes.scene_record import Item, Scene, Shape, Sign, Spot, Thing
from skipcore.builtin.scenes.vocabulary import SHAPE_KINDS, SIGN_WORDS
from skipcore.builtin.scenes.words import COLOR_NAMES, GROUPS, SIBLINGS, THING_NAMES, UNCLEAR, calls

BORDER_MARGIN = 0.03
"""Centers nearer than this to a border of the 3 x 3 grid are in no cell clearly."""
TRIES = 12
_COLUMN_ONLY = {3: 0, 5: 2}
_ROW_ONLY = {1: 0, 7: 2}


class Seen:
    """A scene with its items by every name they may be called.

    Attributes:
        foreign: names of things that no question may name.
        counts: how many items each name fits.
        unclear: the names that some would give to one of the items and others would not.
        owner: one item that each name fits.
    """

    __slots__ = ("counts", "foreign", "items", "owner", "unclear")

    def __init__(self, scene: Scene, foreign: frozenset[str] = frozenset()) -> None:
        if not scene.items:
            raise ValueError("A scene without items: there is nothing to ask about.")
        self.items = scene.items
        self.foreign = foreign
        self.counts: dict[str, int] = {}
        self.owner: dict[str, Item] = {}
        self.unclear: set[str] = set()
        counts, owner = self.counts, self.owner
        for item in scene.items:
            for name in calls(item):
                counts[name] = counts.get(name, 0) + 1
                owner[name] = item
            if isinstance(item, Thing) and item.name in UNCLEAR:
                self.unclear.update(UNCLEAR[item.name])

    def is_absent(self, name: str) -> bool:
        """Whether clearly nothing is called so."""
        return name not in self.counts and name not in self.unclear

    def is_only(self, name: str) -> bool:
        """Whether clearly one item is called so."""
        return self.counts.get(name) == 1 and name not in self.unclear

    def reference(self, item: Item, rng: Generator) -> str | None:
        """A name that means this item only, mostly its usual one."""
        names = [name for name in calls(item) if self.is_only(name)]
        if not names:
            return None
        if isinstance(item, Thing) and names[0] == item.name and chance(rng, 0.85):
            return names[0]
        if len(names) > 1 and names[-1].startswith("sign that") and chance(rng, 0.85):
            names.pop()
        return pick(names, rng)


def absent_like(seen: Seen, item: Item, level: int, rng: Generator) -> str | None:
    """A name of the same make as the item's name number `level` (see `words.calls`) that fits nothing in the scene.

    Hard to tell apart on purpose: things of the same group, the item's color on another kind of shape, and colors
    and kinds that the scene does show, but not together.
    """
    for _ in range(TRIES):
        name = _decoy(seen, item, level, rng)
        if name is not None and name not in seen.foreign and seen.is_absent(name):
            return name
    return None


def _decoy(seen: Seen, item: Item, level: int, rng: Generator) -> str | None:
    if isinstance(item, Thing):
        if level == 1:
            return pick(GROUPS, rng)
        siblings = SIBLINGS.get(item.name, ())
        return pick(siblings, rng) if siblings and chance(rng, 0.5) else pick(THING_NAMES, rng)
    if isinstance(item, Sign):
        if level == 1:
            return None
        if level == 0:
            return f"{_other_color(seen, rng)} sign"
        return f"sign that says {other_text(item, rng)}"
    if level == 0:
        draw = rng.random()
        color = item.color if draw < 0.5 else _other_color(seen, rng)
        return f"{color} {item.kind if draw > 0.6 else pick(SHAPE_KINDS, rng)}"
    if level == 1:
        return pick(SHAPE_KINDS, rng)
    return f"{_other_color(seen, rng)} shape" if level == 2 else None


def _other_color(seen: Seen, rng: Generator) -> str:
    """A color, often one that another item of the scene has."""
    other = pick(seen.items, rng)
    if isinstance(other, Shape | Sign) and chance(rng, 0.5):
        return other.color
    return pick(COLOR_NAMES, rng)


def other_text(sign: Sign, rng: Generator) -> str:
    """What such a sign does not say: another word, or another number, half of them with one digit changed."""
    while True:
        if not sign.is_number:
            text = pick(SIGN_WORDS, rng)
        elif chance(rng, 0.5):
            place = int(rng.random() * len(sign.text))
            text = sign.text[:place] + str(int(rng.random() * 10)) + sign.text[place + 1 :]
            if text[0] == "0" and len(text) > 1:
                continue
        else:
            text = str(int(rng.random() * 100))
        if text != sign.text.lower():
            return text


def _thirds(share: float) -> tuple[int, ...]:
    """The third that a place lies in, or both if it is near the border."""
    for third, border in ((0, 1 / 3), (1, 2 / 3)):
        if share < border - BORDER_MARGIN:
            return (third,)
        if share <= border + BORDER_MARGIN:
            return (third, third + 1)
    return (2,)


def cell(spot: Spot) -> int | None:
    """The number of the cell (row by row, as `phrasings.PLACES`) a spot clearly lies in."""
    columns, rows = _thirds(spot.x), _thirds(spot.y)
    return 3 * rows[0] + columns[0] if len(columns) == len(rows) == 1 else None


def may_be_at(spot: Spot, place: int) -> bool:
    """Whether somebody could say that the spot is at that place.

    Who says "on the left" or "at the top" may mean the whole column or row.
    """
    if place in _COLUMN_ONLY:
        return _COLUMN_ONLY[place] in _thirds(spot.x)
    if place in _ROW_ONLY:
        return _ROW_ONLY[place] in _thirds(spot.y)
    return place % 3 in _thirds(spot.x) and place // 3 in _thirds(spot.y)


def alone_at(items: tuple[Item, ...], place: int) -> Item | None:
    """The item that clearly is at that place, and clearly the only one."""
    there = [item for item in items if may_be_at(item.spot, place)]
    return there[0] if len(there) == 1 and cell(there[0].spot) == place else None
