"""The example pictures and questions of `assets/examples`."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from app.truth import Known, digest_of_file
from skipcore.training.scenes.questions import Question

EXAMPLES = Path(__file__).resolve().parent.parent / "assets" / "examples"


@dataclass(frozen=True)
class Example:
    """A picture file and a question about it; `truth` holds the true answer where it is known."""

    image: str
    question: str
    truth: Question | None = None


def load_examples(folder: Path = EXAMPLES) -> list[Example]:
    """The examples in the order of `examples.json`; none where there is no such file."""
    listing = folder / "examples.json"
    if not listing.is_file():
        return []
    return [
        Example(str(folder / entry["image"]), entry["question"], _truth(entry))
        for entry in json.loads(listing.read_text(encoding="utf-8"))
        if (folder / entry["image"]).is_file()
    ]


def known_of(examples: list[Example]) -> tuple[Known, ...]:
    """What is known about the examples' pictures."""
    return tuple(Known(digest_of_file(each.image), (each.truth,)) for each in examples if each.truth is not None)


def _truth(entry: dict[str, str]) -> Question | None:
    if "answer" not in entry:
        return None
    return Question(entry["kind"], entry["question"], entry["answer"], form="")
