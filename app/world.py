"""What the loaded model was trained on, in words, from its `world.json`."""

from __future__ import annotations

from html import escape

from skipcore import Vlm
from skipcore.builtin.scenes.words import GROUP_NOUNS, joined, plural
from skipcore.builtin.scenes.world_file import World, read_world

KIND_NAMES = {
    "existence": "is it there?",
    "count": "how many?",
    "color": "what color?",
    "place": "where? and what is there?",
    "relation": "left of, above, between, nearest",
    "comparison": "more or fewer?",
    "sign": "what does the sign say?",
    "identity": "what is this?",
    "description": "describe the picture",
    "absent": "about things that are not there",
}
"""The kinds of questions as the page calls them."""
FEW = 4
"""As many kinds of shapes are named one by one."""
UNKNOWN = "What this model was trained on is not known here: its folder holds no world.json."


def world_of(vlm: Vlm) -> World | None:
    """What a model was trained on; None where its folder does not say, or where it came from no folder.

    Raises:
        InputError: its `world.json` cannot be read.
    """
    folder = vlm.model.name_or_path
    return read_world(folder) if folder else None


def world_sentence(world: World | None) -> str:
    """What a model knows and what it does not, in a few sentences."""
    if world is None:
        return UNKNOWN
    parts = []
    if "things" in world.parts:
        counts = joined([_number(names, group) for group, names in world.things.items() if names])
        parts.append(f"{sum(map(len, world.things.values()))} everyday things drawn as emoji ({counts})")
    if "shapes" in world.parts:
        shapes = joined([plural(kind) for kind in world.shapes]) if len(world.shapes) <= FEW else "shapes"
        parts.append(f"{shapes} in {len(world.colors)} colors")
    if world.signs is not None:
        parts.append("signs with a word or a number")
    known = ", and ".join([", ".join(parts[:-1]), parts[-1]]) if len(parts) > 1 else "".join(parts)
    return (
        f"This model knows a small world: {known}. Photos and anything else lie outside it: it will answer, but only "
        f"guess. {world.note}"
    ).strip()


def world_lists(world: World) -> str:
    """All that a model knows, as HTML."""
    lists = [(_group_plural(group).capitalize(), list(names)) for group, names in world.things.items()]
    lists += [("Shapes", [plural(kind) for kind in world.shapes]), ("Colors", list(world.colors))]
    if world.signs is not None:
        first, last = world.signs.numbers
        lists.append(("Signs", [f"numbers from {first} to {last}", *world.signs.words]))
    lists.append(("Questions", [KIND_NAMES.get(kind, kind) for kind in world.kinds]))
    items = "".join(f"<dt>{escape(name)}</dt><dd>{escape(', '.join(words))}</dd>" for name, words in lists if words)
    return f'<dl class="world">{items}</dl>'


def _number(names: tuple[str, ...], group: str) -> str:
    return f"{len(names)} {_group_plural(group) if len(names) > 1 else GROUP_NOUNS.get(group, group)}"


def _group_plural(group: str) -> str:
    return plural(GROUP_NOUNS.get(group, group))
