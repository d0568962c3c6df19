"""The example pictures and questions of `assets/examples`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app import ASSETS
from app.truth import Known
from skipcore.builtin.questions.questions import Question
from skipcore.builtin.scenes.words import joined
from skipcore.builtin.scenes.world_file import World
from skipcore.provenance import file_sha256

EXAMPLES = ASSETS / "examples"
MOST_OFFERED = 6
OUTCOMES = {
    "right": "dense and Skip-Vision both answer {} right",
    "changed": "skipping makes the answer to {} wrong",
    "hard": "{} is hard for both",
}


@dataclass(frozen=True)
class Example:
    """A picture file and a question about it.

    Attributes:
        truth: the question with its true answer, where it is known.
        needs: which parts of a world the picture shows, see `World.parts`.
        outcome: how the built-in model answers, see `skipcore.builtin.scenes.numbered.Outcome`; empty where it is not
            known.
    """

    image: str
    question: str
    truth: Question | None = None
    needs: frozenset[str] = frozenset()
    outcome: str = ""

    @property
    def name(self) -> str:
        """The file's name without its ending, which links call the example by."""
        return Path(self.image).stem


def load_examples(folder: Path = EXAMPLES) -> list[Example]:
    """The examples in the order of `examples.json`; none where there is no such file."""
    listing = folder / "examples.json"
    if not listing.is_file():
        return []
    return [
        Example(
            str(folder / entry["image"]),
            entry["question"],
            _truth(entry),
            frozenset(entry.get("needs", ())),
            entry.get("outcome", ""),
        )
        for entry in json.loads(listing.read_text(encoding="utf-8"))
        if (folder / entry["image"]).is_file()
    ]


def offered(examples: list[Example], world: World | None) -> list[Example]:
    """The first few that lie inside a model's world; of all where that is not known."""
    if world is None:
        return examples[:MOST_OFFERED]
    inside = [
        each
        for each in examples
        if each.needs <= world.parts and (each.truth is None or each.truth.kind in world.kinds)
    ]
    return inside[:MOST_OFFERED]


def outcomes_sentence(examples: Sequence[Example]) -> str:
    """How the built-in model answers the examples, which are called by their numbers, from 1."""
    parts = []
    for outcome, says in OUTCOMES.items():
        numbers = [str(number) for number, example in enumerate(examples, start=1) if example.outcome == outcome]
        if numbers:
            parts.append(says.format(joined(numbers)))
    return f"As measured: {'; '.join(parts)}." if parts else ""


def known_of(examples: list[Example]) -> tuple[Known, ...]:
    """What is known about the examples' pictures."""
    return tuple(Known(file_sha256(each.image), (each.truth,)) for each in examples if each.truth is not None)


def _truth(entry: dict[str, Any]) -> Question | None:
    if "answer" not in entry:
        return None
    return Question(entry["kind"], entry["question"], entry["answer"], form="")
