"""What a model was trained on: the file `world.json` of its folder, and the scenes and questions that lie within."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

from skipcore.builtin.questions.questions import KINDS, Question
from skipcore.builtin.scenes.sample import EVERYTHING, MOST_ITEMS, Contents
from skipcore.builtin.scenes.things import GROUP_PLURALS, THINGS
from skipcore.builtin.scenes.vocabulary import COLORS, COUNT_WORDS, SHAPE_KINDS, SIGN_WORDS
from skipcore.builtin.scenes.words import GROUP_NOUNS, plural
from skipcore.errors import InputError
from skipcore.typed import typed

WORLD_FILE = "world.json"
LARGEST_NUMBER = 99


@dataclass(frozen=True)
class Signs:
    """What signs say: words, and numbers from the first to the last, inclusive."""

    words: tuple[str, ...]
    numbers: tuple[int, int]


@dataclass(frozen=True)
class World:
    """What a model was trained on.

    Attributes:
        things: names of things by their group.
        shapes, colors: the kinds of shapes and the colors it knows by name.
        signs: what signs say; None: it knows no signs.
        kinds: of questions, see `questions.KINDS`.
        note: one more sentence about it.
        most_items: how many items a picture showed at most.
    """

    things: Mapping[str, tuple[str, ...]]
    shapes: tuple[str, ...]
    colors: tuple[str, ...]
    signs: Signs | None
    kinds: tuple[str, ...]
    note: str
    most_items: int = MOST_ITEMS

    @property
    def parts(self) -> frozenset[str]:
        """Which of "things", "shapes" and "signs" it has."""
        has = {"things": any(self.things.values()), "shapes": self.shapes and self.colors, "signs": self.signs}
        return frozenset(name for name, value in has.items() if value)

    @property
    def is_shapes_only(self) -> bool:
        """Whether it has nothing but shapes: such scenes are square, on plain pale ground."""
        return self.parts == {"shapes"}

    def contents(self) -> Contents | None:
        """What scenes may hold to lie within; None if nothing that can be drawn does. All the scenes: the usual."""
        names = {name for group in self.things.values() for name in group}
        things = tuple(kind.name for kind in THINGS if kind.name in names)
        shapes = tuple(kind for kind in SHAPE_KINDS if kind in self.shapes)
        colors = tuple(color for color in COLORS if color in self.colors)
        # signs say any of the scenes' words and numbers
        knows_signs = self.signs == Signs(SIGN_WORDS, (0, LARGEST_NUMBER))
        thing = EVERYTHING.thing if things else 0.0
        shape = EVERYTHING.shape if shapes and colors else 0.0
        sign = EVERYTHING.sign if knows_signs and colors else 0.0
        if not thing and not shape:
            return None
        total = thing + shape + sign if 0.0 in (thing, shape, sign) else 1.0
        return Contents(
            most_items=max(1, min(self.most_items, MOST_ITEMS)),
            thing=thing / total,
            shape=shape / total,
            sign=sign / total,
            things=things,
            shapes=shapes,
            colors=colors,
            grounds=("plain",) if self.is_shapes_only else EVERYTHING.grounds,
            pale_ground=self.is_shapes_only,
        )

    def knows(self, question: Question) -> bool:
        """Whether a question to a scene is of a kind the model knows and names nothing it never heard of."""
        return question.kind in self.kinds and not self._foreign.search(question.text)

    @cached_property
    def _foreign(self) -> re.Pattern[str]:
        """The words of the scenes that are not of this world."""
        known = {name for group in self.things.values() for name in group}
        nouns = [kind.name for kind in THINGS if kind.name not in known]
        nouns += [GROUP_NOUNS.get(group, group) for group in GROUP_PLURALS if not self.things.get(group)]
        nouns += [kind for kind in SHAPE_KINDS if kind not in self.shapes]
        nouns += [color for color in COLORS if color not in self.colors]
        nouns += [name for name in ("shape", "sign") if f"{name}s" not in self.parts]
        forms = sorted({form for noun in nouns for form in (noun, plural(noun))}, key=len, reverse=True)
        return re.compile(rf"\b(?:{'|'.join(map(re.escape, forms))})\b") if forms else re.compile(r"(?!)")


def scenes_world(contents: Contents = EVERYTHING) -> World:
    """All that scenes can show and ask; or scenes that hold some things only, no signs, or so many items."""
    return World(
        things={
            group: tuple(kind.name for kind in THINGS if kind.group == group and kind.name in contents.things)
            for group in GROUP_PLURALS
        },
        shapes=SHAPE_KINDS,
        colors=tuple(COLORS),
        signs=Signs(SIGN_WORDS, (0, LARGEST_NUMBER)) if contents.sign else None,
        kinds=tuple(kind for kind in KINDS if contents.sign or kind != "sign"),
        note=f"It was trained on drawn scenes of up to {COUNT_WORDS[contents.most_items]} items.",
        most_items=contents.most_items,
    )


def write_world(folder: str | Path, world: World | None = None) -> None:
    """Write what a model was trained on into its folder; by default all that the scenes show and ask."""
    content = asdict(world or scenes_world())
    Path(folder, WORLD_FILE).write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def read_world(folder: str | Path) -> World | None:
    """What the model of a folder was trained on; None where the folder does not say.

    Raises:
        InputError: the file is there but cannot be read.
    """
    file = Path(folder, WORLD_FILE)
    if not file.is_file():
        return None
    try:
        text = file.read_text(encoding="utf-8").replace('"colours"', '"colors"').replace('"colour"', '"color"')
        return typed(World, json.loads(text), file.name)  # folders of older versions spell it "colour"
    except (OSError, ValueError) as error:
        raise InputError(
            f"{file} does not say properly what the model was trained on ({error}): mend it, or delete it to use the "
            "model without."
        ) from error
